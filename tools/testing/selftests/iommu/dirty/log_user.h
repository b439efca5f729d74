/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers to test dirty logs from user space
 *
 * As in dsim_user.h, functions return 0 or a negative errno unless they say
 * otherwise.
 */
#ifndef __LOG_USER_H
#define __LOG_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/iommufd.h>
#ifndef IOMMU_DIRTY_LOG_ALLOC /* the base's headers have none of it */
#include "../../../../../include/uapi/linux/iommufd_dirty.h"
#endif

/**
 * struct dlog - a dirty log, mapped
 * @iommufd: the file that it belongs to
 * @id: its object
 * @nr: bits
 * @offset: for mmap()
 * @size: bytes to map
 * @summary_at: where in these bytes the summary begins
 * @bits: the mapping, NULL while there is none
 * @summary: in it
 */
struct dlog {
	int iommufd;
	uint32_t id;
	uint64_t nr;
	uint64_t offset;
	size_t size;
	size_t summary_at;
	uint64_t *bits;
	uint64_t *summary;
};

#define BITS_TO_WORDS(nr)	(((nr) + 63) / 64)

/* Allocate only; @cmd->size is filled in, and what the kernel answers */
int dlog_alloc(int iommufd, struct iommu_dirty_log_alloc *cmd);
/* Allocate and map */
int dlog_open(struct dlog *log, int iommufd,
	      const struct iommu_dirty_log_alloc *cmd);
int dlog_map(struct dlog *log);
void dlog_unmap(struct dlog *log);
/* Unmap and destroy */
int dlog_close(struct dlog *log);

/* Of all; @dirty, if not NULL, is how many bits it says it has set */
int dlog_sync(struct dlog *log, uint64_t *dirty);
/* As @cmd says; its size and log are filled in */
int dlog_sync_cmd(struct dlog *log, struct iommu_dirty_log_sync *cmd);

/* Take all that is set, by the summary, and add it to @bitmap: how many bits */
size_t dlog_take(struct dlog *log, uint64_t *bitmap);
/* Nothing is set, neither a bit nor one of the summary */
bool dlog_is_clean(const struct dlog *log);

#endif
