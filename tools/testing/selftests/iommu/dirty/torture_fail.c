// SPDX-License-Identifier: GPL-2.0-only
/* Failures in ioctls: see torture_fail.h */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/syscall.h>

#include "dsim_user.h"
#include "log_user.h"
#include "torture_fail.h"

#define DEBUGFS		"/sys/kernel/debug/"
/* Nothing has so many things that may fail */
#define NTH_MAX		5000
/* The arguments of all ioctls that are used here are smaller */
#define ARG_MAX		512

static struct fail_figures *kinds;
/* /proc/thread-self/fail-nth of who has it on, or -1 */
static __thread int nth_fd = -1;
static __thread bool retried;

static bool put(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, value, strlen(value)) == (ssize_t)strlen(value);
	close(fd);
	return done;
}

bool fail_init(struct fail_figures *figures)
{
	kinds = figures;
	/* allocations that may wait may fail too; nothing is printed for each */
	return put(DEBUGFS "failslab/ignore-gfp-wait", "N") &&
	       put(DEBUGFS "failslab/verbose", "0") &&
	       put(DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N") &&
	       put(DEBUGFS "fail_page_alloc/ignore-gfp-highmem", "N") &&
	       put(DEBUGFS "fail_page_alloc/min-order", "0") &&
	       put(DEBUGFS "fail_page_alloc/verbose", "0") &&
	       put(DEBUGFS "fail_usercopy/verbose", "0") &&
	       !access("/proc/thread-self/fail-nth", W_OK);
}

void fail_begin(void)
{
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
}

void fail_end(void)
{
	if (nth_fd >= 0)
		close(nth_fd);
	nth_fd = -1;
}

bool fail_retried(void)
{
	return retried;
}

/* The features of a vfio device are calls of their own */
#define FEATURE(_nr)	(VFIO_DEVICE_FEATURE | (unsigned long)(_nr) << 32)

static struct fail_figures *kind_of(unsigned long cmd, const void *arg)
{
	const struct vfio_device_feature *feature = arg;
	unsigned int i;

	if (cmd == VFIO_DEVICE_FEATURE)
		cmd = FEATURE(feature->flags & VFIO_DEVICE_FEATURE_MASK);
	for (i = 0; i + 1 < FAIL_KINDS && kinds[i].cmd; i++)
		if (kinds[i].cmd == cmd)
			break;
	kinds[i].cmd = cmd;
	return &kinds[i];
}

static void arm(unsigned int nth)
{
	char buf[16];
	int n = snprintf(buf, sizeof(buf), "%u", nth);

	if (pwrite(nth_fd, buf, n, 0) != n)
		abort();
}

/*
 * Whether it failed something. To ask, and to say that it is over, are copies from and to
 * user space themselves, and may be what fails.
 */
static bool disarm(void)
{
	char buf[16] = "";
	ssize_t n = pread(nth_fd, buf, sizeof(buf) - 1, 0);
	bool used = n > 0 && !atoi(buf);

	if (n > 0 && !used)
		while (pwrite(nth_fd, "0", 1, 0) < 0 && errno == EFAULT)
			;
	return used;
}

static size_t size_of_arg(const void *arg)
{
	uint32_t size = arg ? *(const uint32_t *)arg : 0;

	return size < ARG_MAX ? size : ARG_MAX;
}

static int try_all(int fd, unsigned long cmd, void *arg)
{
	struct fail_figures *kind = kind_of(cmd, arg);
	size_t size = size_of_arg(arg);
	char before[ARG_MAX];
	bool used;
	int rc, err;

	retried = false;
	memcpy(before, arg ?: "", size);
	__atomic_add_fetch(&kind->calls, 1, __ATOMIC_RELAXED);
	for (unsigned int nth = kind->next ?: 1; nth < NTH_MAX; nth++) {
		arm(nth);
		rc = syscall(SYS_ioctl, fd, cmd, arg);
		err = errno;
		used = disarm();
		if (used) {
			kind->injected++;
			kind->borne += !rc;
			if (kind->highest < nth)
				kind->highest = nth;
		}
		if (!used || !rc) {
			kind->next = used ? nth + 1 : 1;
			errno = err;
			return rc;
		}
		retried = true;
		if (arg)
			memcpy(arg, before, size);
	}
	abort();
}

/* Takes the place of libc's */
int ioctl(int fd, unsigned long cmd, ...)
{
	va_list args;
	void *arg;

	va_start(args, cmd);
	arg = va_arg(args, void *);
	va_end(args);
	if (nth_fd < 0)
		return syscall(SYS_ioctl, fd, cmd, arg);
	return try_all(fd, cmd, arg);
}

const char *fail_name(unsigned long cmd)
{
	static const struct {
		unsigned long cmd;
		const char *name;
	} names[] = {
		{ IOMMU_IOAS_ALLOC, "IOAS_ALLOC" },
		{ IOMMU_IOAS_MAP, "IOAS_MAP" },
		{ IOMMU_IOAS_MAP_FILE, "IOAS_MAP_FILE" },
		{ IOMMU_IOAS_COPY, "IOAS_COPY" },
		{ IOMMU_IOAS_UNMAP, "IOAS_UNMAP" },
		{ IOMMU_IOAS_CHANGE_PROCESS, "IOAS_CHANGE_PROCESS" },
		{ IOMMU_HWPT_ALLOC, "HWPT_ALLOC" },
		{ IOMMU_DESTROY, "DESTROY" },
		{ IOMMU_HWPT_SET_DIRTY_TRACKING, "SET_DIRTY_TRACKING" },
		{ IOMMU_HWPT_GET_DIRTY_BITMAP, "GET_DIRTY_BITMAP" },
		{ IOMMU_DIRTY_GET_COVERAGE, "DIRTY_GET_COVERAGE" },
		{ IOMMU_DIRTY_SET_POLICY, "DIRTY_SET_POLICY" },
		{ IOMMU_DIRTY_LOG_ALLOC, "DIRTY_LOG_ALLOC" },
		{ IOMMU_DIRTY_LOG_SYNC, "DIRTY_LOG_SYNC" },
		{ FEATURE(VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE), "MIG_DEVICE_STATE" },
		{ FEATURE(VFIO_DEVICE_FEATURE_DMA_LOGGING_START), "DMA_LOGGING_START" },
		{ FEATURE(VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP), "DMA_LOGGING_STOP" },
		{ FEATURE(VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT), "DMA_LOGGING_REPORT" },
		{ VFIO_DEVICE_BIND_IOMMUFD, "VFIO_BIND_IOMMUFD" },
		{ VFIO_DEVICE_ATTACH_IOMMUFD_PT, "VFIO_ATTACH" },
		{ VFIO_DEVICE_DETACH_IOMMUFD_PT, "VFIO_DETACH" },
		{ VFIO_DEVICE_GET_REGION_INFO, "VFIO_GET_REGION_INFO" },
		{ VFIO_DEVICE_RESET, "VFIO_RESET" },
	};

	for (unsigned int i = 0; i < ARRAY_LEN(names); i++)
		if (names[i].cmd == cmd)
			return names[i].name;
	return "another ioctl";
}
