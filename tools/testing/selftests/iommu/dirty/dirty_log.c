// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty logs of IOVAs: what IOMMU_DIRTY_LOG_ALLOC and SYNC refuse, what becomes
 * of mappings, and that a bit is set when and only when a device wrote to what it
 * stands for.
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "dsim_user.h"
#include "policy_user.h"
#include "log_user.h"
#include "../../../../../drivers/iommu/iommufd/iommufd_test.h"

#define TRACKS		"log-ad"
#define BLIND		"log-noad"

#define SZ_1G		0x40000000UL
#define SIZES_LARGE	(SZ_4K | SZ_2M | SZ_1G)
#define SIZES_MIXED	0x7f000UL

#define DIRTY		IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define IOVA		IOMMU_DIRTY_LOG_IOVA
#define USER		IOMMU_DIRTY_LOG_USER
#define IN_FILE		IOMMU_DIRTY_LOG_FILE
#define EVENTFD		IOMMU_DIRTY_LOG_EVENTFD
#define RANGE		IOMMU_DIRTY_LOG_SYNC_RANGE
#define NO_CLEAR	IOMMU_DIRTY_LOG_SYNC_NO_CLEAR

/* Bits to fill a page, and of a summary's bit */
#define PAGE_BITS	(SZ_4K * 8)
#define LINE_BITS	512UL

static uint64_t page_align(uint64_t n)
{
	return (n + SZ_4K - 1) & ~(SZ_4K - 1);
}

/* ---- Without a device: objects and mappings ---- */

FIXTURE(log)
{
	struct vm vm;
	struct iommu_dirty_log_alloc good;
};

FIXTURE_SETUP(log)
{
	struct iommu_dirty_log_alloc good = {
		.flags = IOVA,
		.length = 64 * SZ_4K,
		.page_size = SZ_4K,
	};

	ASSERT_EQ(0, vm_create(&self->vm));
	good.ioas_id = self->vm.ioas;
	if (on_base()) {
		EXPECT_EQ(-ENOTTY, dlog_alloc(self->vm.iommufd, &good));
		SKIP(return, "the base kernel has no dirty logs");
	}
	self->good = good;
}

FIXTURE_TEARDOWN(log)
{
	vm_destroy(&self->vm);
}

/* A log of @pages pages of bits and one of the summary */
static int open_pages(struct dlog *log, struct vm *vm, unsigned int pages)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOVA,
		.ioas_id = vm->ioas,
		.length = pages * PAGE_BITS * SZ_4K,
		.page_size = SZ_4K,
	};

	return dlog_open(log, vm->iommufd, &cmd);
}

static int destroy(struct dlog *log)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = log->id };

	return ioctl(log->iommufd, IOMMU_DESTROY, &cmd) ? -errno : 0;
}

TEST_F(log, bad_alloc)
{
	const uint64_t high = 1ULL << 63;
	struct vm *vm = &self->vm;
	struct {
		struct iommu_dirty_log_alloc cmd;
		uint64_t more;
	} c;
	int memfd = memfd_create("log", MFD_CLOEXEC);
	int null = open("/dev/null", O_RDWR);
	struct dlog other;
	int ends[2];

	ASSERT_LE(0, memfd);
	ASSERT_LE(0, null);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	ASSERT_EQ(0, dlog_open(&other, vm->iommufd, &self->good));

#define BAD(_rc, ...)                                                          \
	do {                                                                   \
		c.cmd = self->good;                                            \
		c.cmd.size = sizeof(c.cmd);                                    \
		c.more = 0;                                                    \
		__VA_ARGS__;                                                   \
		EXPECT_EQ(_rc, ioctl(vm->iommufd, IOMMU_DIRTY_LOG_ALLOC, &c) ? \
			       -errno : 0) {                                   \
			TH_LOG("%s", #__VA_ARGS__);                            \
		}                                                              \
	} while (0)
#define BAD_USER(_rc, ...)                                                     \
	BAD(_rc, c.cmd.flags = USER; c.cmd.ioas_id = 0; __VA_ARGS__)
#define BAD_FILE(_rc, ...)                                                     \
	BAD(_rc, c.cmd.flags = IN_FILE; c.cmd.ioas_id = 0; c.cmd.fd = memfd;   \
	    __VA_ARGS__)
#define BAD_EVENT(_rc, ...)                                                    \
	BAD(_rc, c.cmd.flags |= EVENTFD; c.cmd.threshold = 1; __VA_ARGS__)

	BAD(-EINVAL, c.cmd.size = sizeof(c.cmd) - 1);
	BAD(-EINVAL, c.cmd.size = 0);
	BAD(-E2BIG, c.cmd.size = sizeof(c); c.more = 1);

	BAD(-EINVAL, c.cmd.flags = 0);
	BAD(-EINVAL, c.cmd.flags = IOVA | USER);
	BAD(-EINVAL, c.cmd.flags = IOVA | IN_FILE);
	BAD(-EINVAL, c.cmd.flags = IOVA | USER | IN_FILE);
	BAD_EVENT(-EINVAL, c.cmd.flags = EVENTFD);
	BAD(-EOPNOTSUPP, c.cmd.flags |= 1 << 4);
	BAD(-EOPNOTSUPP, c.cmd.flags |= 1U << 31);
	BAD(-EOPNOTSUPP, c.cmd.flags = ~0U);

	BAD(-EINVAL, c.cmd.page_size = 0);
	BAD(-EINVAL, c.cmd.page_size = 1);
	BAD(-EINVAL, c.cmd.page_size = SZ_4K / 2);
	BAD(-EINVAL, c.cmd.page_size = SZ_4K - 1);
	BAD(-EINVAL, c.cmd.page_size = SZ_4K + 1);
	BAD(-EINVAL, c.cmd.page_size = 3 * SZ_4K);
	BAD(-EINVAL, c.cmd.page_size = ~0ULL);
	BAD(-EINVAL, c.cmd.length = 0);
	BAD(-EINVAL, c.cmd.length = 1);
	BAD(-EINVAL, c.cmd.length = SZ_4K - 1);
	BAD(-EINVAL, c.cmd.length = ~0ULL);
	BAD(-EINVAL, c.cmd.start = 1);
	BAD(-EINVAL, c.cmd.start = SZ_4K / 2);
	BAD_FILE(-EINVAL, c.cmd.file_start = SZ_4K / 2);

	/* what does not count */
	BAD(-EINVAL, c.cmd.fd = memfd);
	BAD(-EINVAL, c.cmd.fd = -1);
	BAD(-EINVAL, c.cmd.file_start = SZ_4K);
	BAD(-EINVAL, c.cmd.eventfd = memfd);
	BAD(-EINVAL, c.cmd.threshold = 1);
	BAD_USER(-EINVAL, c.cmd.ioas_id = vm->ioas);
	BAD_USER(-EINVAL, c.cmd.fd = memfd);
	BAD_USER(-EINVAL, c.cmd.file_start = SZ_4K);
	BAD_FILE(-EINVAL, c.cmd.ioas_id = vm->ioas);
	BAD_FILE(-EINVAL, c.cmd.start = SZ_4K);
	BAD_EVENT(-EINVAL, c.cmd.threshold = 0);

	/* ranges that end nowhere */
	BAD(-EOVERFLOW, c.cmd.start = -SZ_4K; c.cmd.length = 2 * SZ_4K);
	BAD(-EOVERFLOW, c.cmd.start = high; c.cmd.length = high + SZ_4K);
	BAD_USER(-EOVERFLOW, c.cmd.start = -SZ_4K; c.cmd.length = 2 * SZ_4K);
	BAD_USER(-EOVERFLOW, c.cmd.length = high + SZ_4K);
	BAD_FILE(-EOVERFLOW, c.cmd.file_start = high - SZ_4K;
		 c.cmd.length = 2 * SZ_4K);
	BAD_FILE(-EOVERFLOW, c.cmd.file_start = high);
	BAD_FILE(-EOVERFLOW, c.cmd.file_start = -SZ_4K;
		 c.cmd.length = 2 * SZ_4K);
	BAD_FILE(-EOVERFLOW, c.cmd.length = high + SZ_4K);
	BAD(-EFBIG, c.cmd.length = ((1ULL << 33) + 1) * SZ_4K);
	BAD(-EFBIG, c.cmd.length = -SZ_4K);
	BAD(-EFBIG, c.cmd.length = ((1ULL << 33) + 1) * SZ_2M;
	    c.cmd.page_size = SZ_2M);
	BAD_USER(-EFBIG, c.cmd.length = ((1ULL << 33) + 1) * SZ_4K);

	/* objects and files that are none, or of another kind */
	BAD(-ENOENT, c.cmd.ioas_id = 0);
	BAD(-ENOENT, c.cmd.ioas_id = 12345);
	BAD(-ENOENT, c.cmd.ioas_id = ~0U);
	BAD(-ENOENT, c.cmd.ioas_id = other.id);
	BAD_FILE(-EBADF, c.cmd.fd = -1);
	BAD_FILE(-EBADF, c.cmd.fd = 12345);
	BAD_FILE(-EBADF, c.cmd.flags |= USER; c.cmd.fd = -1);
	/* what can never be mapped, and may hold the iommufd that it is of */
	BAD_FILE(-EINVAL, c.cmd.fd = vm->iommufd);
	BAD_FILE(-EINVAL, c.cmd.fd = ends[0]);
	BAD_FILE(-EINVAL, c.cmd.flags |= USER; c.cmd.fd = ends[1]);
	BAD_FILE(-EINVAL, c.cmd.fd = null);
	BAD_EVENT(-EBADF, c.cmd.eventfd = -1);
	BAD_EVENT(-EBADF, c.cmd.eventfd = 12345);
	BAD_EVENT(-EINVAL, c.cmd.eventfd = memfd);

	/* and the last of each that are right */
	BAD(0, c.cmd.size = sizeof(c));
	BAD(0, c.cmd.start = -SZ_4K; c.cmd.length = SZ_4K);
	BAD(0, c.cmd.length = -SZ_4K; c.cmd.page_size = high);
	BAD(0, c.cmd.length = -SZ_4K; c.cmd.page_size = 1ULL << 44);
	BAD_USER(0, c.cmd.start = -SZ_4K; c.cmd.length = SZ_4K);
	BAD_FILE(0, c.cmd.file_start = high - SZ_4K; c.cmd.length = SZ_4K);
	BAD_FILE(0, c.cmd.flags |= USER; c.cmd.start = SZ_4K;
		 c.cmd.file_start = 7 * SZ_4K);
#undef BAD
	close(ends[0]);
	close(ends[1]);
	close(null);
	close(memfd);
}

/* The answer cannot be written: it is as if nobody had asked */
TEST_F(log, answer_is_lost)
{
	struct iommu_dirty_log_alloc *cmd;
	struct vm *vm = &self->vm;

	cmd = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmd);
	*cmd = self->good;
	cmd->size = sizeof(*cmd);
	ASSERT_EQ(0, mprotect(cmd, SZ_4K, PROT_READ));
	EXPECT_EQ(-1, ioctl(vm->iommufd, IOMMU_DIRTY_LOG_ALLOC, cmd));
	EXPECT_EQ(EFAULT, errno);
	/* no log is left that holds the IOAS */
	EXPECT_EQ(0, vm_destroy_object(vm, vm->ioas));
	munmap(cmd, SZ_4K);
}

struct mapper {
	int iommufd;
	size_t length;
	atomic_bool end;
	unsigned int mapped;
};

static void *map_on(void *data)
{
	struct mapper *m = data;
	void *p;

	while (!m->end) {
		/* where the first log of an iommufd is */
		p = mmap(NULL, m->length, PROT_READ, MAP_SHARED, m->iommufd,
			 SZ_4K);
		if (p == MAP_FAILED)
			continue;
		m->mapped++;
		munmap(p, m->length);
	}
	return NULL;
}

/* Nor is there anything to be mapped, at any moment, by who guesses where it will be */
TEST_F(log, answer_is_lost_and_mapped)
{
	struct mapper m = { .iommufd = self->vm.iommufd, .length = 2 * SZ_4K };
	struct iommu_dirty_log_alloc *cmd;
	struct dlog log;
	pthread_t thread;
	void *p;

	/* the guess is right */
	ASSERT_EQ(0, dlog_open(&log, m.iommufd, &self->good));
	EXPECT_EQ(m.length, log.size);
	p = mmap(NULL, m.length, PROT_READ, MAP_SHARED, m.iommufd, SZ_4K);
	EXPECT_NE(MAP_FAILED, p);
	munmap(p, m.length);
	dlog_close(&log);

	cmd = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, cmd);
	*cmd = self->good;
	cmd->size = sizeof(*cmd);
	ASSERT_EQ(0, mprotect(cmd, SZ_4K, PROT_READ));
	ASSERT_EQ(0, pthread_create(&thread, NULL, map_on, &m));
	for (unsigned int i = 0; i < 3000; i++)
		ASSERT_EQ(-1, ioctl(m.iommufd, IOMMU_DIRTY_LOG_ALLOC, cmd));
	m.end = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, m.mapped);
	munmap(cmd, SZ_4K);
}

TEST_F(log, layout)
{
	static const struct {
		uint64_t length;
		uint64_t page_size;
	} shapes[] = {
		{ SZ_4K, SZ_4K },
		{ SZ_4K, SZ_1G },
		{ SZ_2M, SZ_2M },
		{ SZ_2M + SZ_4K, SZ_2M },
		{ PAGE_BITS * SZ_4K, SZ_4K },
		{ (PAGE_BITS + 1) * SZ_4K, SZ_4K },
		/* where the summary fills a page, and one more */
		{ PAGE_BITS * LINE_BITS * SZ_4K, SZ_4K },
		{ (PAGE_BITS * LINE_BITS + 1) * SZ_4K, SZ_4K },
	};
	struct dlog log[ARRAY_LEN(shapes)];
	struct vm *vm = &self->vm;

	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		uint64_t lines;

		self->good.length = shapes[i].length;
		self->good.page_size = shapes[i].page_size;
		ASSERT_EQ(0, dlog_open(&log[i], vm->iommufd, &self->good));
		lines = (log[i].nr + LINE_BITS - 1) / LINE_BITS;
		EXPECT_EQ(page_align((log[i].nr + 7) / 8), log[i].summary_at);
		EXPECT_EQ(log[i].summary_at + page_align((lines + 7) / 8),
			  log[i].size);
		EXPECT_EQ(0, log[i].offset % SZ_4K);
		EXPECT_TRUE(dlog_is_clean(&log[i]));
		/* none lies within another */
		for (size_t j = 0; j < i; j++)
			EXPECT_TRUE(log[j].offset + log[j].size <= log[i].offset ||
				    log[i].offset + log[i].size <= log[j].offset);
		/* nor is the memory the same */
		log[i].bits[0] = i + 1;
	}
	for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
		EXPECT_EQ(i + 1, log[i].bits[0]);
		EXPECT_EQ(0, dlog_close(&log[i]));
	}
}

TEST_F(log, bad_sync)
{
	const uint64_t length = self->good.length;
	struct iommu_dirty_log_sync *rdonly;
	struct vm *vm = &self->vm;
	struct {
		struct iommu_dirty_log_sync cmd;
		uint64_t more;
	} c;
	struct dlog log;

	ASSERT_EQ(0, dlog_open(&log, vm->iommufd, &self->good));

#define SYNC(_rc, ...)                                                         \
	do {                                                                   \
		memset(&c, 0, sizeof(c));                                      \
		c.cmd.size = sizeof(c.cmd);                                    \
		c.cmd.log_id = log.id;                                         \
		__VA_ARGS__;                                                   \
		EXPECT_EQ(_rc, ioctl(vm->iommufd, IOMMU_DIRTY_LOG_SYNC, &c) ?  \
			       -errno : 0) {                                   \
			TH_LOG("%s", #__VA_ARGS__);                            \
		}                                                              \
	} while (0)
#define SYNC_RANGE(_rc, _offset, _length)                                      \
	SYNC(_rc, c.cmd.flags = RANGE; c.cmd.offset = _offset;                 \
	     c.cmd.length = _length)

	SYNC(-EINVAL, c.cmd.size = sizeof(c.cmd) - 1);
	SYNC(-EINVAL, c.cmd.size = 0);
	SYNC(-E2BIG, c.cmd.size = sizeof(c); c.more = 1);
	SYNC(-EOPNOTSUPP, c.cmd.flags = 1 << 2);
	SYNC(-EOPNOTSUPP, c.cmd.flags = ~0U);
	SYNC(-EOPNOTSUPP, c.cmd.__reserved = 1);
	SYNC(-ENOENT, c.cmd.log_id = 0);
	SYNC(-ENOENT, c.cmd.log_id = 12345);
	SYNC(-ENOENT, c.cmd.log_id = vm->ioas);
	SYNC(-EINVAL, c.cmd.offset = 1);
	SYNC(-EINVAL, c.cmd.length = length);
	SYNC_RANGE(-EINVAL, 0, 0);
	SYNC_RANGE(-EINVAL, 0, length + 1);
	SYNC_RANGE(-EINVAL, length, 1);
	SYNC_RANGE(-EINVAL, length - 1, 2);
	SYNC_RANGE(-EINVAL, ~0ULL, 1);
	SYNC_RANGE(-EOVERFLOW, ~0ULL, 2);
	SYNC_RANGE(-EOVERFLOW, 2, ~0ULL);
	/* and what is right: the outputs count for nothing */
	SYNC_RANGE(0, 0, 1);
	SYNC_RANGE(0, length - 1, 1);
	SYNC_RANGE(0, 0, length);
	SYNC(0, c.cmd.size = sizeof(c));
	SYNC(0, c.cmd.flags = NO_CLEAR; c.cmd.out_dirty = c.cmd.out_lost = 7);
	EXPECT_EQ(0, c.cmd.out_dirty);
	EXPECT_EQ(0, c.cmd.out_lost);

	rdonly = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, rdonly);
	SYNC(0, *rdonly = c.cmd);
	ASSERT_EQ(0, mprotect(rdonly, SZ_4K, PROT_READ));
	EXPECT_EQ(-1, ioctl(vm->iommufd, IOMMU_DIRTY_LOG_SYNC, rdonly));
	EXPECT_EQ(EFAULT, errno);
	munmap(rdonly, SZ_4K);

	ASSERT_EQ(0, dlog_close(&log));
	SYNC(-ENOENT);
#undef SYNC
}

static int try_mmap(struct dlog *log, size_t size, int prot, int flags,
		    uint64_t offset)
{
	void *p = mmap(NULL, size, prot, flags, log->iommufd, offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, size);
	return 0;
}

TEST_F(log, bad_mmap)
{
	const int rw = PROT_READ | PROT_WRITE;
	struct vm *vm = &self->vm;
	struct dlog log, stranger;
	struct vm other;

	ASSERT_EQ(0, open_pages(&log, vm, 4));
	ASSERT_EQ(5 * SZ_4K, log.size);
	dlog_unmap(&log);

#define MMAP_IS(_rc, _size, _prot, _flags, _offset)                            \
	EXPECT_EQ(_rc, try_mmap(&log, _size, _prot, _flags, _offset))

	MMAP_IS(-EINVAL, log.size, rw, MAP_PRIVATE, log.offset);
	MMAP_IS(-EINVAL, log.size, PROT_READ, MAP_PRIVATE, log.offset);
	MMAP_IS(-EPERM, log.size, rw | PROT_EXEC, MAP_SHARED, log.offset);
	MMAP_IS(-EPERM, log.size, PROT_READ | PROT_EXEC, MAP_SHARED,
		log.offset);
	/* a part of it, or more */
	MMAP_IS(-ENXIO, SZ_4K, rw, MAP_SHARED, log.offset);
	MMAP_IS(-ENXIO, log.summary_at, rw, MAP_SHARED, log.offset);
	MMAP_IS(-ENXIO, log.size - SZ_4K, rw, MAP_SHARED, log.offset);
	MMAP_IS(-ENXIO, log.size + SZ_4K, rw, MAP_SHARED, log.offset);
	for (uint64_t at = SZ_4K; at <= log.size; at += SZ_4K) {
		MMAP_IS(-ENXIO, log.size, rw, MAP_SHARED, log.offset + at);
		MMAP_IS(-ENXIO, SZ_4K, rw, MAP_SHARED, log.offset + at);
		MMAP_IS(-ENXIO, log.size - at ?: SZ_4K, rw, MAP_SHARED,
			log.offset + at);
	}
	MMAP_IS(-ENXIO, log.size, rw, MAP_SHARED, 0);
	MMAP_IS(-ENXIO, log.size, rw, MAP_SHARED, 1ULL << 40);
	/* what is right, again and again */
	MMAP_IS(0, log.size, rw, MAP_SHARED, log.offset);
	MMAP_IS(0, log.size, PROT_READ, MAP_SHARED, log.offset);
	MMAP_IS(0, log.size, PROT_NONE, MAP_SHARED, log.offset);

	/* not through another iommufd */
	ASSERT_EQ(0, vm_create(&other));
	stranger = log;
	stranger.iommufd = other.iommufd;
	EXPECT_EQ(-ENXIO, try_mmap(&stranger, log.size, rw, MAP_SHARED,
				   log.offset));
	vm_destroy(&other);

	/* nor once it is gone, not even that of another one in its place */
	ASSERT_EQ(0, destroy(&log));
	MMAP_IS(-ENXIO, log.size, rw, MAP_SHARED, log.offset);
	ASSERT_EQ(0, open_pages(&stranger, vm, 5));
	if (stranger.offset == log.offset) {
		MMAP_IS(-ENXIO, log.size, rw, MAP_SHARED, log.offset);
	}
	EXPECT_EQ(0, dlog_close(&stranger));
}

TEST_F(log, never_executable)
{
	struct dlog log;

	ASSERT_EQ(0, open_pages(&log, &self->vm, 1));
	EXPECT_EQ(-1, mprotect(log.bits, log.size, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect(log.bits, SZ_4K, PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, mprotect(log.bits, log.size, PROT_READ));
	EXPECT_EQ(0, mprotect(log.bits, log.size, PROT_READ | PROT_WRITE));
	log.bits[0] = 1;
	EXPECT_EQ(0, dlog_close(&log));
}

/* As long as any part of a mapping is there, so is the log */
TEST_F(log, unmapped_in_parts)
{
	struct dlog log;
	char *p;

	ASSERT_EQ(0, open_pages(&log, &self->vm, 4));
	p = (char *)log.bits;
	EXPECT_EQ(-EBUSY, destroy(&log));
	ASSERT_EQ(0, munmap(p + 2 * SZ_4K, SZ_4K));
	EXPECT_EQ(-EBUSY, destroy(&log));
	p[SZ_4K] = 1;
	p[4 * SZ_4K] = 1;
	ASSERT_EQ(0, munmap(p, 2 * SZ_4K));
	EXPECT_EQ(-EBUSY, destroy(&log));
	ASSERT_EQ(0, munmap(p + 4 * SZ_4K, SZ_4K));
	EXPECT_EQ(-EBUSY, destroy(&log));
	ASSERT_EQ(0, munmap(p + 3 * SZ_4K, SZ_4K));
	/* what was written there is still there */
	ASSERT_EQ(0, dlog_map(&log));
	EXPECT_EQ(1, ((char *)log.bits)[SZ_4K]);
	EXPECT_EQ(1, ((char *)log.bits)[4 * SZ_4K]);
	EXPECT_EQ(0, dlog_close(&log));
	EXPECT_EQ(-ENOENT, destroy(&log));
}

TEST_F(log, mapped_twice)
{
	struct dlog log, again;

	ASSERT_EQ(0, open_pages(&log, &self->vm, 2));
	again = log;
	ASSERT_EQ(0, dlog_map(&again));
	EXPECT_NE(log.bits, again.bits);
	log.bits[7] = 0x1234;
	again.summary[0] = 0x5678;
	EXPECT_EQ(0x1234, again.bits[7]);
	EXPECT_EQ(0x5678, log.summary[0]);
	dlog_unmap(&log);
	EXPECT_EQ(-EBUSY, destroy(&again));
	EXPECT_EQ(0x1234, again.bits[7]);
	EXPECT_EQ(0, dlog_close(&again));
}

TEST_F(log, remapped)
{
	struct dlog log;
	char *to;

	ASSERT_EQ(0, open_pages(&log, &self->vm, 4));
	log.bits[0] = 17;
	/* it does not grow, nor is it doubled */
	EXPECT_EQ(MAP_FAILED, mremap(log.bits, log.size, log.size + SZ_4K,
				     MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(MAP_FAILED, mremap(log.bits, 0, log.size, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	to = mmap(NULL, log.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, to);
	ASSERT_EQ(to, mremap(log.bits, log.size, log.size,
			     MREMAP_MAYMOVE | MREMAP_FIXED, to));
	log.bits = (void *)to;
	EXPECT_EQ(17, log.bits[0]);
	EXPECT_EQ(-EBUSY, destroy(&log));
	/* it shrinks, as when a part is unmapped */
	ASSERT_EQ(to, mremap(to, log.size, 2 * SZ_4K, 0));
	log.size = 2 * SZ_4K;
	EXPECT_EQ(17, log.bits[0]);
	EXPECT_EQ(-EBUSY, destroy(&log));
	EXPECT_EQ(0, dlog_close(&log));
}

/* The kernel has no need of the pages that a process lets go of */
TEST_F(log, let_go_of)
{
	struct dlog log;
	int status;
	pid_t pid;

	ASSERT_EQ(0, open_pages(&log, &self->vm, 1));
	log.bits[3] = 99;
	ASSERT_EQ(0, madvise(log.bits, SZ_4K, MADV_DONTNEED));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		signal(SIGBUS, SIG_DFL);
		_exit(log.bits[3] == 99 ? 2 : 3);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(SIGBUS, WTERMSIG(status));
	dlog_unmap(&log);
	ASSERT_EQ(0, dlog_map(&log));
	EXPECT_EQ(99, log.bits[3]);
	EXPECT_EQ(0, dlog_close(&log));
}

TEST_F(log, forked)
{
	int hold[2], status;
	struct dlog log;
	pid_t pid;
	char c;

	ASSERT_EQ(0, open_pages(&log, &self->vm, 3));
	ASSERT_EQ(0, pipe(hold));
	log.bits[1] = 5;
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		bool ok = log.bits[1] == 5;

		__atomic_store_n(&log.bits[2], 6, __ATOMIC_RELEASE);
		close(hold[1]);
		/* until the other one has let go of it */
		if (read(hold[0], &c, 1))
			ok = false;
		ok = ok && log.bits[2] == 6 && !munmap(log.bits, SZ_4K);
		_exit(!ok);	/* with the rest of it mapped */
	}
	close(hold[0]);
	while (!__atomic_load_n(&log.bits[2], __ATOMIC_ACQUIRE))
		usleep(1000);
	dlog_unmap(&log);
	EXPECT_EQ(-EBUSY, destroy(&log));
	close(hold[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(0, destroy(&log));
}

/* The file is closed: what is mapped stays, and goes with the mapping */
TEST_F(log, closed_while_mapped)
{
	struct dlog log;

	ASSERT_EQ(0, open_pages(&log, &self->vm, 3));
	log.bits[5] = 123;
	close(self->vm.iommufd);
	self->vm.iommufd = -1;
	EXPECT_EQ(123, log.bits[5]);
	log.summary[0] = 1;
	ASSERT_EQ(0, munmap(log.bits, SZ_4K));
	EXPECT_EQ(1, log.summary[0]);
	ASSERT_EQ(0, munmap((char *)log.bits + SZ_4K, log.size - SZ_4K));
}

TEST_F(log, holds_its_ioas)
{
	struct vm *vm = &self->vm;
	struct dlog log[2];

	ASSERT_EQ(0, dlog_open(&log[0], vm->iommufd, &self->good));
	ASSERT_EQ(0, dlog_open(&log[1], vm->iommufd, &self->good));
	EXPECT_EQ(-EBUSY, vm_destroy_object(vm, vm->ioas));
	ASSERT_EQ(0, dlog_close(&log[0]));
	EXPECT_EQ(-EBUSY, vm_destroy_object(vm, vm->ioas));
	ASSERT_EQ(0, dlog_close(&log[1]));
	EXPECT_EQ(0, vm_destroy_object(vm, vm->ioas));
}

/* ---- The memory that it takes ---- */

#define NOBODY		12345
#define LIMIT_PAGES	16
#define LIMIT_BYTES	(LIMIT_PAGES * SZ_4K)
#define LOG_PAGES	2	/* of the smallest log */

/* A line of /proc/self/status, in pages */
static long status_pages(const char *key)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[200];
	long kb = -1;

	while (f && kb < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			kb = atol(line + strlen(key));
	if (f)
		fclose(f);
	return kb < 0 ? kb : kb / 4;
}

/*
 * As many logs as may be locked, and not one more: the number of a step that went
 * wrong. With @by_process they count to the process, else to its user.
 */
static int fill_limit(int iommufd, struct iommu_dirty_log_alloc *good,
		      bool by_process)
{
	const struct rlimit limit = {
		.rlim_cur = LIMIT_BYTES,
		.rlim_max = LIMIT_BYTES,
	};
	uint32_t id[LIMIT_PAGES / LOG_PAGES];
	struct iommu_dirty_log_alloc cmd;
	long locked, pinned;

	if (setrlimit(RLIMIT_MEMLOCK, &limit) ||
	    setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(NOBODY, NOBODY, NOBODY))
		return 1;
	/* one that is too large on its own */
	cmd = *good;
	cmd.length = PAGE_BITS * LIMIT_BYTES;
	if (dlog_alloc(iommufd, &cmd) != -ENOMEM)
		return 2;
	locked = status_pages("VmLck:");
	pinned = status_pages("VmPin:");
	if (locked < 0 || pinned < 0)
		return 3;
	for (int round = 0; round < 2; round++) {
		for (size_t i = 0; i < ARRAY_LEN(id); i++) {
			cmd = *good;
			if (dlog_alloc(iommufd, &cmd))
				return 4;
			id[i] = cmd.out_log_id;
		}
		cmd = *good;
		if (dlog_alloc(iommufd, &cmd) != -ENOMEM)
			return 5;
		if (status_pages("VmPin:") != pinned + LIMIT_PAGES)
			return 6;
		if (status_pages("VmLck:") !=
		    locked + (by_process ? LIMIT_PAGES : 0))
			return 7;
		/* what the second round leaves, its process does */
		for (size_t i = 0; !round && i < ARRAY_LEN(id); i++) {
			struct iommu_destroy destroy = {
				.size = sizeof(destroy),
				.id = id[i],
			};

			if (ioctl(iommufd, IOMMU_DESTROY, &destroy))
				return 8;
		}
	}
	return 0;
}

FIXTURE(limit)
{
	int unused;
};

FIXTURE_VARIANT(limit)
{
	bool by_process;
};

FIXTURE_VARIANT_ADD(limit, by_user)
{
};

FIXTURE_VARIANT_ADD(limit, by_process)
{
	.by_process = true,
};

FIXTURE_SETUP(limit)
{
	if (on_base())
		SKIP(return, "the base kernel has no dirty logs");
}

FIXTURE_TEARDOWN(limit)
{
}

TEST_F(limit, memlock)
{
	struct iommu_dirty_log_alloc good = {
		.flags = USER,
		.length = SZ_4K,
		.page_size = SZ_4K,
	};
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = variant->by_process,
	};
	int iommufd, status;
	pid_t pid;

	/* what one has left counts no more for the next one */
	for (int i = 0; i < 2; i++) {
		iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
		ASSERT_LE(0, iommufd);
		ASSERT_EQ(0, ioctl(iommufd, IOMMU_OPTION, &option));
		pid = fork();
		ASSERT_LE(0, pid);
		if (!pid)
			_exit(fill_limit(iommufd, &good, variant->by_process));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFEXITED(status));
		EXPECT_EQ(0, WEXITSTATUS(status));
		close(iommufd);
	}
}

/* ---- Devices that nobody tracks ---- */

FIXTURE(coverage)
{
	struct dsim ad;
	struct dsim noad;
	struct vm vm;
	uint32_t plain;
	void *mem;
};

FIXTURE_SETUP(coverage)
{
	static const struct dsim_config tracks = { .format = "vtdss",
						   .page_sizes = SZ_4K };
	static const struct dsim_config blind = { .format = "vtdss",
						  .page_sizes = SZ_4K,
						  .no_ad = true };
	struct vm *vm = &self->vm;

	self->ad.fd = -1;
	self->noad.fd = -1;
	self->vm.iommufd = -1;
	self->mem = MAP_FAILED;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base())
		SKIP(return, "the base kernel has no dirty logs");
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, dsim_create(&self->ad, TRACKS, &tracks));
	ASSERT_EQ(0, dsim_create(&self->noad, BLIND, &blind));
	ASSERT_EQ(0, dsim_open(&self->ad));
	ASSERT_EQ(0, dsim_open(&self->noad));
	ASSERT_EQ(0, dsim_bind(&self->ad, vm->iommufd));
	ASSERT_EQ(0, dsim_bind(&self->noad, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &self->ad, DIRTY, &vm->hwpt));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &self->noad, 0, &self->plain));
	self->mem = mmap(NULL, 64 * SZ_4K, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	ASSERT_EQ(0, vm_map(vm, DATA_IOVA, self->mem, 64 * SZ_4K, MAP_RW));
}

FIXTURE_TEARDOWN(coverage)
{
	dsim_close(&self->ad);
	dsim_close(&self->noad);
	vm_destroy(&self->vm);
	if (self->mem != MAP_FAILED)
		munmap(self->mem, 64 * SZ_4K);
	if (!on_base()) {
		EXPECT_EQ(0, dsim_remove(TRACKS));
		EXPECT_EQ(0, dsim_remove(BLIND));
	}
}

/* Of the 64 pages at DATA_IOVA, by address or by memory */
static int open_64(struct dlog *log, struct vm *vm, uint32_t flags, void *mem)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = flags,
		.ioas_id = flags & IOVA ? vm->ioas : 0,
		.start = flags & IOVA ? DATA_IOVA : (uintptr_t)mem,
		.length = 64 * SZ_4K,
		.page_size = SZ_4K,
	};

	return dlog_open(log, vm->iommufd, &cmd);
}

TEST_F(coverage, uncovered_is_refused)
{
	struct vm *vm = &self->vm, empty = *vm;
	struct dlog log;

	/* the device that nobody tracks is there first */
	ASSERT_EQ(0, dsim_attach(&self->ad, vm->hwpt));
	ASSERT_EQ(0, dsim_attach(&self->noad, self->plain));
	EXPECT_EQ(-EOPNOTSUPP, open_64(&log, vm, IOVA, self->mem));
	EXPECT_EQ(-EOPNOTSUPP, open_64(&log, vm, USER, self->mem));
	/* on another IOAS it does not matter to a log of IOVAs */
	ASSERT_EQ(0, vm_alloc_ioas(&empty));
	ASSERT_EQ(0, open_64(&log, &empty, IOVA, self->mem));
	ASSERT_EQ(0, dlog_close(&log));
	EXPECT_EQ(-EOPNOTSUPP, open_64(&log, &empty, USER, self->mem));
	ASSERT_EQ(0, dsim_detach(&self->noad));

	/* the log is there first */
	for (int by_memory = 0; by_memory < 2; by_memory++) {
		ASSERT_EQ(0, open_64(&log, vm, by_memory ? USER : IOVA,
				     self->mem));
		EXPECT_EQ(-EINVAL, dsim_attach(&self->noad, self->plain));
		EXPECT_EQ(-EINVAL, dsim_attach(&self->noad, vm->ioas));
		/* nor can it move there, or what stands for the other one go */
		EXPECT_EQ(-EBUSY, set_policy(vm, self->ad.devid, DEVICE));
		ASSERT_EQ(0, dsim_detach(&self->ad));
		ASSERT_EQ(0, dsim_attach(&self->ad, vm->hwpt));
		ASSERT_EQ(0, dlog_close(&log));
		ASSERT_EQ(0, dsim_attach(&self->noad, self->plain));
		ASSERT_EQ(0, dsim_detach(&self->noad));
	}
}

/* A log of memory hears of all IOASes, so none may have such a device */
TEST_F(coverage, uncovered_on_any_ioas)
{
	struct vm *vm = &self->vm, other = *vm;
	uint32_t plain;
	struct dlog log;

	ASSERT_EQ(0, vm_alloc_ioas(&other));
	ASSERT_EQ(0, vm_alloc_hwpt(&other, &self->noad, 0, &plain));
	ASSERT_EQ(0, dsim_attach(&self->noad, plain));
	EXPECT_EQ(-EOPNOTSUPP, open_64(&log, vm, USER, self->mem));
	ASSERT_EQ(0, open_64(&log, vm, IOVA, self->mem));
	ASSERT_EQ(0, dlog_close(&log));
	ASSERT_EQ(0, dsim_detach(&self->noad));
	ASSERT_EQ(0, open_64(&log, vm, USER, self->mem));
	EXPECT_EQ(-EINVAL, dsim_attach(&self->noad, plain));
	ASSERT_EQ(0, dlog_close(&log));
}

/* Where policy lets nobody stand for a device, all of it is dirty */
TEST_F(coverage, all_is_dirty)
{
	struct vm *vm = &self->vm;
	uint64_t got, dirty;
	struct dlog log;

	ASSERT_EQ(0, set_policy(vm, self->noad.devid, ALL));
	ASSERT_EQ(0, dsim_attach(&self->noad, self->plain));
	ASSERT_EQ(0, open_64(&log, vm, IOVA, self->mem));
	for (int i = 0; i < 3; i++) {
		got = 0;
		EXPECT_EQ(0, dlog_sync(&log, &dirty));
		EXPECT_EQ(64, dirty);
		EXPECT_EQ(64, dlog_take(&log, &got));
		EXPECT_EQ(~0ULL, got);
	}
	/* once more when it goes, and then no more */
	ASSERT_EQ(0, dsim_detach(&self->noad));
	ASSERT_EQ(0, dlog_sync(&log, &dirty));
	EXPECT_EQ(64, dirty);
	EXPECT_EQ(64, dlog_take(&log, &got));
	ASSERT_EQ(0, dlog_sync(&log, &dirty));
	EXPECT_EQ(0, dirty);
	EXPECT_TRUE(dlog_is_clean(&log));
	ASSERT_EQ(0, dlog_close(&log));
}

/* ---- Exactness, over the simulator ---- */

#define DATA_4K		(512 * SZ_4K)
#define DATA_2M		(4 * SZ_2M)
#define VIEWS		6

/**
 * struct view - a log, and what it must tell
 * @log: the log
 * @start: IOVA that it begins with
 * @length: bytes
 * @page_size: of a bit
 * @want: for each page of the shadow's window: written, and not taken yet
 * @got: bits as taken
 */
struct view {
	struct dlog log;
	uint64_t start;
	uint64_t length;
	uint64_t page_size;
	uint64_t *want;
	uint64_t *got;
};

FIXTURE(exact)
{
	struct dsim dev;
	struct vm vm;
	struct shadow shadow;
	uint64_t seed;
	struct view view[VIEWS];
};

FIXTURE_VARIANT(exact)
{
	struct dsim_config config;
	size_t data_size;
	bool huge;
	bool once;	/* what has nothing to do with the format is done here */
};

FIXTURE_VARIANT_ADD(exact, vtdss_4k)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
	.once = true,
};

FIXTURE_VARIANT_ADD(exact, vtdss_2m)
{
	.config = { .format = "vtdss", .page_sizes = SIZES_LARGE },
	.data_size = DATA_2M,
	.huge = true,
};

FIXTURE_VARIANT_ADD(exact, amdv1_4k)
{
	.config = { .format = "amdv1", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(exact, amdv1_2m)
{
	.config = { .format = "amdv1", .page_sizes = SIZES_LARGE },
	.data_size = DATA_2M,
	.huge = true,
};

FIXTURE_VARIANT_ADD(exact, amdv1_mixed)
{
	.config = { .format = "amdv1", .page_sizes = SIZES_MIXED },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(exact, x86_64_4k)
{
	.config = { .format = "x86_64", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(exact, x86_64_2m)
{
	.config = { .format = "x86_64", .page_sizes = SIZES_LARGE },
	.data_size = DATA_2M,
	.huge = true,
};

FIXTURE_VARIANT_ADD(exact, armlpae_4k)
{
	.config = { .format = "armlpae", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(exact, armlpae_2m)
{
	.config = { .format = "armlpae", .page_sizes = SIZES_LARGE },
	.data_size = DATA_2M,
	.huge = true,
};

FIXTURE_SETUP(exact)
{
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	size_t large = 0;

	d->fd = -1;
	vm->iommufd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base())
		SKIP(return, "the base kernel has no dirty logs");
	if (variant->huge && access("/sys/kernel/mm/hugepages", F_OK))
		SKIP(return, "this kernel has no huge pages");
	self->seed = 0x2545f4914f6cdd1dULL;
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, vm_alloc_memory(vm, variant->data_size, variant->huge));
	ASSERT_EQ(0, vm_learn_leaves(vm, variant->config.page_sizes, &large));
	if (variant->huge) {
		ASSERT_EQ(vm->data_size / SZ_4K, large);
	} else if (variant->config.page_sizes != SZ_4K && !large) {
		SKIP(return, "no two contiguous aligned pages in this memory");
	}
	ASSERT_EQ(0, dsim_create(d, TRACKS, &variant->config));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, DIRTY, &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, shadow_init(s, vm));
	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, vm->ring));
}

FIXTURE_TEARDOWN(exact)
{
	for (int i = 0; i < VIEWS; i++) {
		dlog_unmap(&self->view[i].log);
		free(self->view[i].want);
		free(self->view[i].got);
	}
	shadow_free(&self->shadow);
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	if (self->dev.name[0]) {
		EXPECT_EQ(0, dsim_remove(TRACKS));
	}
}

static int view_open(struct view *v, const struct shadow *s, uint64_t start,
		     uint64_t length, uint64_t page_size)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOVA,
		.ioas_id = s->vm->ioas,
		.start = start,
		.length = length,
		.page_size = page_size,
	};
	int rc = dlog_open(&v->log, s->vm->iommufd, &cmd);

	v->start = start;
	v->length = length;
	v->page_size = page_size;
	v->want = calloc(s->words, 8);
	v->got = calloc(BITS_TO_WORDS(v->log.nr), 8);
	return rc ?: v->want && v->got ? 0 : -ENOMEM;
}

/* Of the whole window */
static int view_all(struct view *v, const struct shadow *s, uint64_t page_size)
{
	return view_open(v, s, s->start, s->size, page_size);
}

/* Bits that @v must have, of what is wanted in its range and in @start, @length */
static void view_expect(const struct view *v, const struct shadow *s,
			uint64_t start, uint64_t length, uint64_t *bits)
{
	memset(bits, 0, BITS_TO_WORDS(v->log.nr) * 8);
	for (size_t page = 0; page < s->size / SZ_4K; page++) {
		uint64_t iova = s->start + page * SZ_4K, bit;

		if (!(v->want[page / 64] >> page % 64 & 1) ||
		    iova < v->start || iova - v->start >= v->length ||
		    iova < start || iova - start >= length)
			continue;
		bit = (iova - v->start) / v->page_size;
		bits[bit / 64] |= 1ULL << bit % 64;
	}
}

static size_t count_bits(const struct view *v, const uint64_t *a,
			 const uint64_t *not_in)
{
	size_t n = 0;

	for (size_t i = 0; i < BITS_TO_WORDS(v->log.nr); i++)
		n += __builtin_popcountll(a[i] & ~(not_in ? not_in[i] : 0));
	return n;
}

/* What was written since the last time, to each view */
static void views_wrote(struct view *views, struct shadow *s)
{
	for (int i = 0; i < VIEWS; i++)
		for (size_t w = 0; views[i].want && w < s->words; w++)
			views[i].want[w] |= s->want[w];
	shadow_clean(s);
}

/* Take what is set now: it must be all that was written, and nothing else */
#define TAKE(_v)                                                               \
	do {                                                                   \
		struct view *v_ = (_v);                                        \
		size_t n_ = BITS_TO_WORDS(v_->log.nr);                         \
		uint64_t *want_ = calloc(n_, 8);                               \
		memset(v_->got, 0, n_ * 8);                                    \
		dlog_take(&v_->log, v_->got);                                  \
		view_expect(v_, &self->shadow, 0, ~0ULL, want_);               \
		EXPECT_EQ(0, count_bits(v_, want_, v_->got));                  \
		EXPECT_EQ(0, count_bits(v_, v_->got, want_));                  \
		EXPECT_TRUE(dlog_is_clean(&v_->log));                          \
		memset(v_->want, 0, self->shadow.words * 8);                   \
		free(want_);                                                   \
	} while (0)

#define SYNC_AND_TAKE(_v)                                                      \
	do {                                                                   \
		ASSERT_EQ(0, dlog_sync(&(_v)->log, NULL));                     \
		TAKE(_v);                                                      \
	} while (0)

static int poke(struct dsim *d, struct shadow *s, uint64_t iova,
		uint32_t stride, uint32_t count)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_SCATTER,
		.dst = iova,
		.stride = stride,
		.count = count,
		.value = rnd(&(uint64_t){ iova + d->tail + 1 }),
	};
	int rc;

	shadow_wrote(s, RING_IOVA + d->tail % RING_ENTRIES * sizeof(desc) +
		     offsetof(struct dsim_desc, status), 4);
	for (uint64_t i = 0; i < count; i++)
		if (iova >= s->start && iova < s->start + s->size)
			shadow_wrote(s, iova + i * stride, 8);
	rc = dsim_run(d, &desc);
	return rc == DSIM_DESC_DONE ? 0 : rc < 0 ? rc : -EIO;
}

static int random_writes(struct dsim *d, struct shadow *s, uint64_t *seed,
			 unsigned int n)
{
	while (n--) {
		struct dsim_desc desc = {
			.op = DSIM_OP_FILL,
			.len = 1 + rnd(seed) % (2 * SZ_4K),
			.value = rnd(seed),
		};

		if (rnd(seed) % 4 == 0) {
			desc.op = DSIM_OP_SCATTER;
			desc.count = 1 + rnd(seed) % 16;
			desc.stride = rnd(seed) % 2048 * 8;
			desc.len = 0;
		}
		desc.dst = DATA_IOVA +
			   rnd(seed) % (s->vm->data_size - 16 * 16384UL) / 8 * 8;
		shadow_desc(s, d->tail, &desc);
		dsim_put(d, &desc);
	}
	return dsim_kick(d) ?: dsim_wait(d);
}

#define POKE_PAGES(iova, count)                                                \
	do {                                                                   \
		ASSERT_EQ(0, poke(&self->dev, &self->shadow, iova, SZ_4K,      \
				  count));                                     \
		views_wrote(self->view, &self->shadow);                        \
	} while (0)
#define POKE(iova)	POKE_PAGES(iova, 1)

/* What was written before a log was there is not in it */
TEST_F(exact, starts_clean)
{
	struct shadow *s = &self->shadow;
	struct view *v = self->view;

	if (!variant->once)
		SKIP(return, "nothing to do with the format");
	ASSERT_EQ(0, random_writes(&self->dev, s, &self->seed, 20));
	shadow_clean(s);
	ASSERT_EQ(0, view_all(v, s, SZ_4K));
	EXPECT_TRUE(dlog_is_clean(&v->log));
	SYNC_AND_TAKE(v);
	/* of two, neither has what is older than it */
	POKE(DATA_IOVA + 3 * SZ_4K);
	ASSERT_EQ(0, view_all(v + 1, s, SZ_4K));
	POKE(DATA_IOVA + 5 * SZ_4K);
	SYNC_AND_TAKE(v + 1);
	SYNC_AND_TAKE(v);
	/* nor that of one in whose place it came */
	POKE(DATA_IOVA + 7 * SZ_4K);
	ASSERT_EQ(0, dlog_close(&v->log));
	free(v->want);
	free(v->got);
	ASSERT_EQ(0, view_all(v, s, SZ_4K));
	SYNC_AND_TAKE(v);
	SYNC_AND_TAKE(v + 1);
}

/*
 * Logs of every page size, one that begins and ends anywhere, and the HWPT's
 * reader, each read when it likes: nobody takes what is another's.
 */
TEST_F(exact, many_readers)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	uint64_t *hwpt_want, dirty;

	hwpt_want = calloc(s->words, 8);
	ASSERT_NE(NULL, hwpt_want);
	ASSERT_EQ(0, view_all(self->view + 0, s, SZ_4K));
	ASSERT_EQ(0, view_all(self->view + 1, s, 2 * SZ_4K));
	ASSERT_EQ(0, view_all(self->view + 2, s, 0x10000));
	ASSERT_EQ(0, view_all(self->view + 3, s, SZ_2M));
	ASSERT_EQ(0, view_all(self->view + 4, s, SZ_1G));
	ASSERT_EQ(0, view_open(self->view + 5, s, s->start + 67 * SZ_4K,
			       301 * SZ_4K, SZ_4K));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));

	for (int round = 0; round < 30; round++) {
		ASSERT_EQ(0, random_writes(&self->dev, s, &self->seed,
					   rnd(&self->seed) % 4));
		for (size_t w = 0; w < s->words; w++)
			hwpt_want[w] |= s->want[w];
		views_wrote(self->view, s);
		for (int i = 0; i < VIEWS; i++) {
			struct view *v = &self->view[i];
			uint64_t was = count_bits(v, v->log.bits, NULL);

			if (rnd(&self->seed) % 3 == 0)
				continue;
			/* it counts what was clear, and a second time nothing */
			ASSERT_EQ(0, dlog_sync(&v->log, &dirty));
			EXPECT_EQ(count_bits(v, v->log.bits, NULL), was + dirty);
			ASSERT_EQ(0, dlog_sync(&v->log, &dirty));
			EXPECT_EQ(0, dirty);
			if (rnd(&self->seed) % 2)
				TAKE(v);
		}
		if (rnd(&self->seed) % 2) {
			memcpy(s->want, hwpt_want, s->words * 8);
			ASSERT_EQ(0, shadow_read(s, vm->hwpt, 0));
			EXPECT_EQ(0, shadow_lost(s, NULL));
			EXPECT_EQ(0, shadow_extra(s, NULL));
			shadow_clean(s);
			memset(hwpt_want, 0, s->words * 8);
		}
		/* it comes and goes; the logs know nothing of that */
		if (round % 10 == 9) {
			ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
			ASSERT_EQ(0, random_writes(&self->dev, s, &self->seed,
						   1));
			views_wrote(self->view, s);
			ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
			memset(hwpt_want, 0, s->words * 8);
		}
		if (_metadata->exit_code)
			break;
	}
	for (int i = 0; i < VIEWS; i++)
		SYNC_AND_TAKE(&self->view[i]);
	EXPECT_TRUE(shadow_data_equal(s));
	free(hwpt_want);
}

/* What is asked for is there; of the rest nothing is invented, and nothing lost */
TEST_F(exact, ranges)
{
	struct shadow *s = &self->shadow;
	struct view *v = self->view;
	uint64_t *all, *part;
	size_t words;

	ASSERT_EQ(0, view_all(v, s, SZ_4K));
	words = BITS_TO_WORDS(v->log.nr);
	all = calloc(words, 8);
	part = calloc(words, 8);
	ASSERT_TRUE(all && part);
	for (int round = 0; round < 24 && !_metadata->exit_code; round++) {
		struct iommu_dirty_log_sync cmd = { .flags = RANGE };

		ASSERT_EQ(0, random_writes(&self->dev, s, &self->seed, 6));
		views_wrote(v, s);
		cmd.offset = rnd(&self->seed) % v->length;
		cmd.length = 1 + rnd(&self->seed) % (v->length - cmd.offset);
		/* a range within a page is of that page */
		view_expect(v, s, (v->start + cmd.offset) & ~(SZ_4K - 1),
			    cmd.length + cmd.offset % SZ_4K, part);
		view_expect(v, s, 0, ~0ULL, all);
		ASSERT_EQ(0, dlog_sync_cmd(&v->log, &cmd));
		EXPECT_EQ(0, count_bits(v, part, v->log.bits)) {
			TH_LOG("lost in 0x%llx + 0x%llx",
			       (long long)cmd.offset, (long long)cmd.length);
		}
		EXPECT_EQ(0, count_bits(v, v->log.bits, all));
		if (round % 4 == 3)
			SYNC_AND_TAKE(v);
	}
	free(all);
	free(part);
}

/* Without clearing: what is written afterwards must not go missing */
TEST_F(exact, no_clear)
{
	struct iommu_dirty_log_sync peek = { .flags = NO_CLEAR };
	struct shadow *s = &self->shadow;
	struct view *v = self->view;
	uint64_t again;

	ASSERT_EQ(0, view_all(v, s, SZ_4K));
	ASSERT_EQ(0, view_all(v + 1, s, SZ_4K));
	for (int round = 0; round < 5; round++) {
		POKE_PAGES(DATA_IOVA, 3 + round);
		ASSERT_EQ(0, dlog_sync_cmd(&v->log, &peek));
		again = count_bits(v, v->log.bits, NULL);
		EXPECT_EQ(again, peek.out_dirty);
		TAKE(v);
		/* to the same pages, whose dirty bits stand in the IOTLB */
		POKE_PAGES(DATA_IOVA, 3 + round);
		ASSERT_EQ(0, dlog_sync(&v->log, NULL));
		TAKE(v);
		SYNC_AND_TAKE(v);
		SYNC_AND_TAKE(v + 1);
		/* nothing was written: at most what was there is there again */
		POKE_PAGES(DATA_IOVA + 20 * SZ_4K, 2);
		ASSERT_EQ(0, dlog_sync_cmd(&v->log, &peek));
		TAKE(v);
		ASSERT_EQ(0, dlog_sync(&v->log, &again));
		EXPECT_LE(again, peek.out_dirty);
		dlog_take(&v->log, v->got);
		SYNC_AND_TAKE(v);
		SYNC_AND_TAKE(v + 1);
	}
}

/* What was written to a range is in the log when unmapping it returns */
TEST_F(exact, unmapped)
{
	const uint64_t pages = 24, iova = NOWHERE_IOVA + 5 * SZ_4K;
	struct shadow *s = &self->shadow;
	struct view *v = self->view;
	struct vm *vm = &self->vm;
	uint64_t dirty, bits;
	struct dlog log;
	uint8_t *mem = (uint8_t *)vm->ring + RING_BYTES;
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOVA,
		.ioas_id = vm->ioas,
		.start = NOWHERE_IOVA,
		.length = 64 * SZ_4K,
		.page_size = SZ_4K,
	};

	ASSERT_EQ(0, view_all(v, s, SZ_4K));
	ASSERT_EQ(0, dlog_open(&log, vm->iommufd, &cmd));
	for (int round = 0; round < 6; round++) {
		uint64_t want = 0;

		/* page by page, so that each has a leaf of its own */
		for (uint64_t i = 0; i < pages; i++)
			ASSERT_EQ(0, vm_map(vm, iova + i * SZ_4K,
					    mem + i * SZ_4K, SZ_4K, MAP_RW));
		for (uint64_t i = 0; i < pages; i += 1 + round % 3) {
			want |= 1ULL << (i + 5);
			POKE(iova + i * SZ_4K);
		}
		/* some of it is known already, the rest when it goes */
		if (round % 2) {
			ASSERT_EQ(0, dlog_sync(&log, &dirty));
			EXPECT_EQ(__builtin_popcountll(want), dirty);
		}
		ASSERT_EQ(0, vm_unmap(vm, iova, pages * SZ_4K));
		bits = 0;
		EXPECT_EQ(__builtin_popcountll(want), dlog_take(&log, &bits));
		EXPECT_EQ(want, bits);
		ASSERT_EQ(0, dlog_sync(&log, &dirty));
		EXPECT_EQ(0, dirty);
		EXPECT_TRUE(dlog_is_clean(&log));
	}
	/* nobody else was told of it */
	SYNC_AND_TAKE(v);
	ASSERT_EQ(0, dlog_close(&log));
}

TEST_F(exact, eventfd)
{
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct vm *vm = &self->vm;
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOVA | EVENTFD,
		.ioas_id = vm->ioas,
		.start = NOWHERE_IOVA,
		.length = 32 * SZ_4K,
		.page_size = SZ_4K,
		.eventfd = event,
		.threshold = 8,
	};
	struct pollfd ready = { .fd = event, .events = POLLIN };
	uint8_t *mem = (uint8_t *)vm->ring + RING_BYTES;
	uint64_t told = 0, bits = 0;
	struct dlog log;

	if (!variant->once)
		SKIP(return, "nothing to do with the format");
	ASSERT_LE(0, event);
	ASSERT_EQ(0, dlog_open(&log, vm->iommufd, &cmd));
	/* page by page, so that each has a leaf of its own */
	for (int i = 0; i < 32; i++)
		ASSERT_EQ(0, vm_map(vm, NOWHERE_IOVA + i * SZ_4K,
				    mem + i * SZ_4K, SZ_4K, MAP_RW));
	POKE_PAGES(NOWHERE_IOVA, 7);
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	EXPECT_EQ(0, poll(&ready, 1, 0));
	/* again the same, whose bits are set */
	POKE_PAGES(NOWHERE_IOVA, 7);
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	EXPECT_EQ(0, poll(&ready, 1, 0));
	/* the eighth */
	POKE(NOWHERE_IOVA + 7 * SZ_4K);
	EXPECT_EQ(0, poll(&ready, 1, 0));
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	EXPECT_EQ(1, poll(&ready, 1, 0));
	EXPECT_EQ(8, read(event, &told, 8));
	EXPECT_EQ(1, told);
	EXPECT_EQ(8, dlog_take(&log, &bits));
	/* they count anew once they were taken, also those of an unmap */
	POKE_PAGES(NOWHERE_IOVA, 5);
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	EXPECT_EQ(0, poll(&ready, 1, 0));
	POKE_PAGES(NOWHERE_IOVA + 20 * SZ_4K, 3);
	EXPECT_EQ(0, poll(&ready, 1, 0));
	ASSERT_EQ(0, vm_unmap(vm, NOWHERE_IOVA + 20 * SZ_4K, 12 * SZ_4K));
	EXPECT_EQ(1, poll(&ready, 1, 0));
	EXPECT_EQ(8, read(event, &told, 8));
	EXPECT_EQ(1, told);
	/* the log has its own hold of it */
	close(event);
	POKE_PAGES(NOWHERE_IOVA + 8 * SZ_4K, 12);
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	ASSERT_EQ(0, dlog_close(&log));
}

/* The pages of a log itself, mapped for devices: they harm whoever did it */
TEST_F(exact, log_as_memory)
{
	struct shadow *s = &self->shadow;
	struct view *v = self->view;
	struct vm *vm = &self->vm;
	struct dlog log;

	if (!variant->once)
		SKIP(return, "nothing to do with the format");
	ASSERT_EQ(0, view_all(v, s, SZ_4K));
	ASSERT_EQ(0, open_pages(&log, vm, 1));
	ASSERT_EQ(0, vm_map(vm, NOWHERE_IOVA, log.bits, log.size, MAP_RW));
	POKE_PAGES(NOWHERE_IOVA, 2);
	EXPECT_NE(0, log.bits[0]);
	EXPECT_NE(0, log.summary[0]);
	/* it goes, the pages stay as long as a device may write to them */
	ASSERT_EQ(0, dlog_close(&log));
	POKE_PAGES(NOWHERE_IOVA, 2);
	ASSERT_EQ(0, vm_unmap(vm, NOWHERE_IOVA, log.size));
	SYNC_AND_TAKE(v);
}

/* A leaf of 1G sets the bits of all that it maps, whatever a bit stands for */
#define GIGA_RESERVE                                                           \
	"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"

static bool reserve_giga(const char *n)
{
	int fd = open(GIGA_RESERVE, O_WRONLY);
	bool ok = fd >= 0 && write(fd, n, 1) == 1;

	if (fd >= 0)
		close(fd);
	return ok;
}

TEST_F(exact, leaf_of_1g)
{
	static const uint64_t sizes[] = { SZ_4K, 0x10000, SZ_2M, SZ_1G,
					  2 * SZ_1G };
	struct dlog log[ARRAY_LEN(sizes)];
	struct vm *vm = &self->vm;
	uint64_t *bits;
	uint8_t *mem;

	if (!(variant->config.page_sizes & SZ_1G))
		SKIP(return, "not with these leaves");
	if (!reserve_giga("1"))
		SKIP(return, "this kernel has no pages of 1G");
	mem = mmap(NULL, SZ_1G, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | 30 << MAP_HUGE_SHIFT,
		   -1, 0);
	if (mem == MAP_FAILED) {
		reserve_giga("0");
		SKIP(return, "no page of 1G to be had");
	}
	bits = calloc(SZ_1G / SZ_4K / 64, 8);
	ASSERT_NE(NULL, bits);
	ASSERT_EQ(0, vm_map(vm, 2 * SZ_1G, mem, SZ_1G, MAP_RW));
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		struct iommu_dirty_log_alloc cmd = {
			.flags = IOVA,
			.ioas_id = vm->ioas,
			.start = 2 * SZ_1G,
			.length = SZ_1G,
			.page_size = sizes[i],
		};

		ASSERT_EQ(0, dlog_open(&log[i], vm->iommufd, &cmd));
	}
	POKE(2 * SZ_1G + 123 * SZ_4K);
	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		uint64_t dirty, n = sizes[i] < SZ_1G ? SZ_1G / sizes[i] : 1;

		ASSERT_EQ(0, dlog_sync(&log[i], &dirty));
		EXPECT_EQ(n, dirty);
		EXPECT_EQ(n, dlog_take(&log[i], bits));
		EXPECT_TRUE(dlog_is_clean(&log[i]));
		EXPECT_EQ(0, dlog_close(&log[i]));
	}
	ASSERT_EQ(0, vm_unmap(vm, 2 * SZ_1G, SZ_1G));
	munmap(mem, SZ_1G);
	free(bits);
	reserve_giga("0");
}

/* ---- What is pushed: accesses of emulated devices, over iommufd's mock ---- */

#define MOCK_IOVA	0x2000000UL
#define MOCK_PAGES	64UL
#define MOCK_BYTES	(MOCK_PAGES * SZ_4K)

FIXTURE(pushed)
{
	struct vm vm;
	int rw;
	int pin;
	uint8_t *mem;
	uint8_t buf[MOCK_BYTES];
};

static int mock(struct vm *vm, uint32_t op, struct iommu_test_cmd *cmd)
{
	cmd->size = sizeof(*cmd);
	cmd->op = op;
	return ioctl(vm->iommufd, IOMMU_TEST_CMD, cmd) ? -errno : 0;
}

static int mock_access(struct vm *vm, uint32_t flags)
{
	struct iommu_test_cmd cmd = {
		.id = vm->ioas,
		.create_access = { .flags = flags },
	};

	return mock(vm, IOMMU_TEST_OP_CREATE_ACCESS, &cmd) ?:
	       (int)cmd.create_access.out_access_fd;
}

static int mock_write(struct vm *vm, int access, uint64_t iova,
		      uint64_t length, void *data, uint32_t flags)
{
	struct iommu_test_cmd cmd = {
		.id = access,
		.access_rw = {
			.iova = iova,
			.length = length,
			.uptr = (uintptr_t)data,
			.flags = MOCK_ACCESS_RW_WRITE | flags,
		},
	};

	return mock(vm, IOMMU_TEST_OP_ACCESS_RW, &cmd);
}

FIXTURE_SETUP(pushed)
{
	struct iommu_test_cmd cmd = {};
	struct vm *vm = &self->vm;
	int rc;

	self->rw = -1;
	self->pin = -1;
	self->mem = MAP_FAILED;
	self->vm.iommufd = -1;
	if (on_base())
		SKIP(return, "the base kernel has no dirty logs");
	ASSERT_EQ(0, vm_create(vm));
	cmd.id = vm->ioas;
	rc = mock(vm, IOMMU_TEST_OP_CREATE_ACCESS, &cmd);
	if (rc == -ENOTTY)
		SKIP(return, "this kernel has no mock: CONFIG_IOMMUFD_TEST");
	ASSERT_EQ(0, rc);
	self->rw = cmd.create_access.out_access_fd;
	self->pin = mock_access(vm, MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES);
	ASSERT_LE(0, self->pin);
	self->mem = mmap(NULL, MOCK_BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	ASSERT_EQ(0, vm_map(vm, MOCK_IOVA, self->mem, MOCK_BYTES / 2, MAP_RW));
	ASSERT_EQ(0, vm_map(vm, MOCK_IOVA + MOCK_BYTES / 2,
			    self->mem + MOCK_BYTES / 2, MOCK_BYTES / 2, MAP_RW));
}

FIXTURE_TEARDOWN(pushed)
{
	if (self->rw >= 0)
		close(self->rw);
	if (self->pin >= 0)
		close(self->pin);
	vm_destroy(&self->vm);
	if (self->mem != MAP_FAILED)
		munmap(self->mem, MOCK_BYTES);
}

/* Bits [first, last] of the 64 */
static uint64_t bits_from(unsigned int first, unsigned int last)
{
	return (~0ULL >> (63 - (last - first))) << first;
}

/* A write is in the log when it returns; nobody need ask */
TEST_F(pushed, without_sync)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOVA,
		.ioas_id = self->vm.ioas,
		.start = MOCK_IOVA,
		.length = MOCK_BYTES,
		.page_size = SZ_4K,
	};
	static const struct {
		uint64_t at;
		uint64_t length;
	} pieces[] = {
		{ 0, 1 }, { SZ_4K - 1, 1 }, { SZ_4K - 1, 2 },
		{ 7 * SZ_4K, SZ_4K }, { 9 * SZ_4K + 100, 3 * SZ_4K },
		{ MOCK_BYTES / 2 - 1, 2 }, { MOCK_BYTES - 1, 1 },
		{ 0, MOCK_BYTES },
	};
	struct vm *vm = &self->vm;
	struct dlog log, coarse;
	uint64_t dirty;

	ASSERT_EQ(0, dlog_open(&log, vm->iommufd, &cmd));
	cmd.page_size = 4 * SZ_4K;
	cmd.start = MOCK_IOVA + SZ_4K;
	cmd.length -= SZ_4K;
	ASSERT_EQ(0, dlog_open(&coarse, vm->iommufd, &cmd));
	for (size_t i = 0; i < 2 * ARRAY_LEN(pieces); i++) {
		uint64_t at = pieces[i / 2].at, length = pieces[i / 2].length;
		uint64_t bits = 0, want = 0;
		uint64_t first = at / SZ_4K, last = (at + length - 1) / SZ_4K;

		ASSERT_EQ(0, mock_write(vm, self->rw, MOCK_IOVA + at, length,
					self->buf,
					i % 2 ? MOCK_ACCESS_RW_SLOW_PATH : 0));
		dlog_take(&log, &bits);
		EXPECT_EQ(bits_from(first, last), bits);
		EXPECT_TRUE(dlog_is_clean(&log));
		/* one that begins a page later, with four pages to a bit */
		if (last)
			want = bits_from(first ? (first - 1) / 4 : 0,
					 (last - 1) / 4);
		bits = 0;
		dlog_take(&coarse, &bits);
		EXPECT_EQ(want, bits);
		ASSERT_EQ(0, dlog_sync(&log, &dirty));
		EXPECT_EQ(0, dirty);
		EXPECT_TRUE(dlog_is_clean(&coarse));
	}
	EXPECT_EQ(0, dlog_close(&log));
	EXPECT_EQ(0, dlog_close(&coarse));
}

/* Pinned to be written: dirty at each sync, and once more by itself at the end */
TEST_F(pushed, pinned)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOVA,
		.ioas_id = self->vm.ioas,
		.start = MOCK_IOVA,
		.length = MOCK_BYTES,
		.page_size = SZ_4K,
	};
	struct iommu_test_cmd pin = {
		.id = self->pin,
		.access_pages = {
			.iova = MOCK_IOVA + 5 * SZ_4K,
			.length = 9 * SZ_4K,
			.flags = MOCK_FLAGS_ACCESS_WRITE,
		},
	};
	struct iommu_test_cmd unpin = { .id = self->pin };
	struct vm *vm = &self->vm;
	struct dlog log;
	uint64_t bits;

	ASSERT_EQ(0, dlog_open(&log, vm->iommufd, &cmd));
	ASSERT_EQ(0, mock(vm, IOMMU_TEST_OP_ACCESS_PAGES, &pin));
	EXPECT_TRUE(dlog_is_clean(&log));
	for (int i = 0; i < 3; i++) {
		bits = 0;
		ASSERT_EQ(0, dlog_sync(&log, NULL));
		EXPECT_EQ(9, dlog_take(&log, &bits));
		EXPECT_EQ(bits_from(5, 13), bits);
	}
	unpin.destroy_access_pages.access_pages_id =
		pin.access_pages.out_access_pages_id;
	ASSERT_EQ(0, mock(vm, IOMMU_TEST_OP_DESTROY_ACCESS_PAGES, &unpin));
	bits = 0;
	EXPECT_EQ(9, dlog_take(&log, &bits));
	EXPECT_EQ(bits_from(5, 13), bits);
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	EXPECT_TRUE(dlog_is_clean(&log));
	EXPECT_EQ(0, dlog_close(&log));
}

TEST_F(pushed, eventfd)
{
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOVA | EVENTFD,
		.ioas_id = self->vm.ioas,
		.start = MOCK_IOVA,
		.length = MOCK_BYTES,
		.page_size = SZ_4K,
		.eventfd = event,
		.threshold = 3,
	};
	uint64_t told, bits = 0, events = 0;
	struct vm *vm = &self->vm;
	struct dlog log;

	ASSERT_LE(0, event);
	ASSERT_EQ(0, dlog_open(&log, vm->iommufd, &cmd));
	for (unsigned int i = 0; i < MOCK_PAGES; i++) {
		ASSERT_EQ(0, mock_write(vm, self->rw, MOCK_IOVA + i * SZ_4K, 1,
					self->buf, 0));
		if (read(event, &told, 8) == 8) {
			EXPECT_EQ(1, told);
			EXPECT_EQ(2, i % 3);
			events++;
		}
	}
	EXPECT_EQ(MOCK_PAGES / 3, events);
	/* many at once are one event, and leave their rest */
	dlog_take(&log, &bits);
	ASSERT_EQ(0, mock_write(vm, self->rw, MOCK_IOVA, 4 * SZ_4K, self->buf,
				0));
	EXPECT_EQ(8, read(event, &told, 8));
	EXPECT_EQ(1, told);
	ASSERT_EQ(0, mock_write(vm, self->rw, MOCK_IOVA + 4 * SZ_4K, SZ_4K,
				self->buf, 0));
	EXPECT_EQ(8, read(event, &told, 8));
	close(event);
	EXPECT_EQ(0, dlog_close(&log));
}

TEST_HARNESS_MAIN
