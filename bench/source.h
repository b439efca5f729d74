/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Who knows what devices wrote, and how it is read: what all measurements share
 *
 * As in dsim_user.h, functions return 0 or a negative errno unless they say
 * otherwise.
 */
#ifndef __BENCH_SOURCE_H
#define __BENCH_SOURCE_H

#include <sys/types.h>

#include "policy_user.h"
#include "dirty_log.h"

/**
 * enum how - the interface by which dirty pages are read
 * @GET: IOMMU_HWPT_GET_DIRTY_BITMAP
 * @REPORT: VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, of each device
 * @LOG: IOMMU_DIRTY_LOG_SYNC, and a take of all
 */
enum how { GET, REPORT, LOG };

/**
 * struct source - who knows, and how it is read
 * @name: of the provider, and of the interface unless that is GET
 * @config: of the simulated devices
 * @how: the interface
 * @all: nobody knows: all is dirty
 */
struct source {
	const char *name;
	struct dsim_config config;
	enum how how;
	bool all;
};

/* NULL when there is none */
const struct source *find_source(const char *name);

/**
 * struct reader - dirty pages of one vm
 * @source: who knows
 * @vm: whose memory it is; its IOVAs from DATA_IOVA on are read
 * @dev: the devices that write to it, bound
 * @devices: how many
 * @bytes: how much is read
 * @on: pages are tracked
 * @log_id: the dirty log, while there is one
 * @log: the same, mapped
 */
struct reader {
	const struct source *source;
	struct vm *vm;
	struct dsim *dev;
	unsigned int devices;
	size_t bytes;
	bool on;
	__u32 log_id;
	struct dirty_log log;
};

/* Attach all devices as the source needs it; -EOPNOTSUPP: not in this kernel */
int reader_attach(struct reader *r);
int reader_begin(struct reader *r);
int reader_end(struct reader *r);
/* OR what was written since the last call into @bitmap, a bit a page */
int reader_read(struct reader *r, unsigned long *bitmap);

#endif
