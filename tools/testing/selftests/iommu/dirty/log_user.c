// SPDX-License-Identifier: GPL-2.0-only
/* Helpers to test dirty logs: see log_user.h */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "log_user.h"
#include "../../../../iommu/dirty_log.h"

int dlog_alloc(int iommufd, struct iommu_dirty_log_alloc *cmd)
{
	cmd->size = sizeof(*cmd);
	return ioctl(iommufd, IOMMU_DIRTY_LOG_ALLOC, cmd) ? -errno : 0;
}

int dlog_map(struct dlog *log)
{
	void *p = mmap(NULL, log->size, PROT_READ | PROT_WRITE, MAP_SHARED,
		       log->iommufd, log->offset);

	if (p == MAP_FAILED)
		return -errno;
	log->bits = p;
	log->summary = (void *)((char *)p + log->summary_at);
	return 0;
}

void dlog_unmap(struct dlog *log)
{
	if (log->bits)
		munmap(log->bits, log->size);
	log->bits = NULL;
	log->summary = NULL;
}

int dlog_open(struct dlog *log, int iommufd,
	      const struct iommu_dirty_log_alloc *cmd)
{
	struct iommu_dirty_log_alloc alloc = *cmd;
	int rc = dlog_alloc(iommufd, &alloc);

	memset(log, 0, sizeof(*log));
	if (rc)
		return rc;
	log->iommufd = iommufd;
	log->id = alloc.out_log_id;
	log->nr = (alloc.length - 1) / alloc.page_size + 1;
	log->offset = alloc.out_mmap_offset;
	log->size = alloc.out_mmap_length;
	log->summary_at = alloc.out_summary_offset;
	return dlog_map(log);
}

int dlog_close(struct dlog *log)
{
	struct iommu_destroy destroy = {
		.size = sizeof(destroy),
		.id = log->id,
	};

	dlog_unmap(log);
	return ioctl(log->iommufd, IOMMU_DESTROY, &destroy) ? -errno : 0;
}

int dlog_sync_cmd(struct dlog *log, struct iommu_dirty_log_sync *cmd)
{
	cmd->size = sizeof(*cmd);
	cmd->log_id = log->id;
	return ioctl(log->iommufd, IOMMU_DIRTY_LOG_SYNC, cmd) ? -errno : 0;
}

int dlog_sync(struct dlog *log, uint64_t *dirty)
{
	struct iommu_dirty_log_sync cmd = {};
	int rc = dlog_sync_cmd(log, &cmd);

	if (dirty)
		*dirty = cmd.out_dirty;
	return rc;
}

/* As VMMs do */
size_t dlog_take(struct dlog *log, uint64_t *bitmap)
{
	const struct dirty_log reader = {
		.bits = log->bits,
		.summary = log->summary,
		.nr = log->nr,
		.bytes = log->size,
	};

	return dirty_log_take_flat(&reader, 0, log->nr, bitmap);
}

bool dlog_is_clean(const struct dlog *log)
{
	for (size_t i = 0; i < log->size / sizeof(*log->bits); i++)
		if (__atomic_load_n(&log->bits[i], __ATOMIC_RELAXED))
			return false;
	return true;
}
