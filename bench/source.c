// SPDX-License-Identifier: GPL-2.0-only
/* Who knows what devices wrote, and how it is read: see source.h */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

#include "source.h"

static const struct source sources[] = {
	{ .name = "vtdss", .config = { .format = "vtdss" } },
	{ .name = "amdv1", .config = { .format = "amdv1" } },
	{ .name = "x86_64", .config = { .format = "x86_64" } },
	{ .name = "armlpae", .config = { .format = "armlpae" } },
	{ .name = "pull",
	  .config = { .format = "vtdss", .no_ad = true, .tracker = "pull" } },
	{ .name = "push",
	  .config = { .format = "vtdss", .no_ad = true, .tracker = "push" } },
	{ .name = "all",
	  .config = { .format = "vtdss", .no_ad = true }, .all = true },
	{ .name = "pull/report", .how = REPORT,
	  .config = { .format = "vtdss", .no_ad = true, .tracker = "pull" } },
	{ .name = "vtdss/log", .how = LOG, .config = { .format = "vtdss" } },
	{ .name = "push/log", .how = LOG,
	  .config = { .format = "vtdss", .no_ad = true, .tracker = "push" } },
	{ .name = "access/log", .how = LOG,
	  .config = { .format = "vtdss", .emulated = true } },
};

const struct source *find_source(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(sources); i++)
		if (!strcmp(name, sources[i].name))
			return &sources[i];
	return NULL;
}

int reader_attach(struct reader *r)
{
	struct vm *vm = r->vm;
	__u32 to = vm->ioas;
	int rc = 0;

	if (r->source->all)
		rc = set_policy(vm, vm->ioas, ALL);
	if (!rc && !r->source->config.emulated && r->source->how != REPORT) {
		rc = vm_alloc_hwpt(vm, &r->dev[0], IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				   &vm->hwpt);
		to = vm->hwpt;
	}
	for (unsigned int i = 0; !rc && i < r->devices; i++)
		rc = dsim_attach(&r->dev[i], to);
	return rc;
}

static int open_log(struct reader *r)
{
	struct iommu_dirty_log_alloc alloc = {
		.size = sizeof(alloc),
		.flags = IOMMU_DIRTY_LOG_IOVA,
		.ioas_id = r->vm->ioas,
		.start = DATA_IOVA,
		.length = r->bytes,
		.page_size = SZ_4K,
	};
	int rc;

	if (ioctl(r->vm->iommufd, IOMMU_DIRTY_LOG_ALLOC, &alloc))
		return -errno;
	r->log_id = alloc.out_log_id;
	rc = dirty_log_map(&r->log, r->vm->iommufd, &alloc);
	/* no page fault is measured: it is written to, and stays as it is */
	for (size_t at = 0; !rc && at < r->log.bytes; at += SZ_4K)
		__atomic_fetch_or(&r->log.bits[at / sizeof(long)], 0,
				  __ATOMIC_RELAXED);
	return rc;
}

static int close_log(struct reader *r)
{
	dirty_log_unmap(&r->log);
	return vm_destroy_object(r->vm, r->log_id);
}

static int start_logging(struct reader *r)
{
	struct vfio_device_feature_dma_logging_range range = {
		.iova = DATA_IOVA,
		.length = r->bytes,
	};
	unsigned long page_size = SZ_4K;
	int rc = 0;

	for (unsigned int i = 0; !rc && i < r->devices; i++)
		rc = dsim_log_start(&r->dev[i], &range, 1, &page_size);
	return rc;
}

static int stop_logging(struct reader *r)
{
	int rc = 0;

	for (unsigned int i = 0; !rc && i < r->devices; i++)
		rc = dsim_log_stop(&r->dev[i]);
	return rc;
}

int reader_begin(struct reader *r)
{
	r->on = true;
	switch (r->source->how) {
	case GET:
		return vm_track(r->vm, r->vm->hwpt, true);
	case REPORT:
		return start_logging(r);
	default:
		return open_log(r);
	}
}

int reader_end(struct reader *r)
{
	r->on = false;
	switch (r->source->how) {
	case GET:
		return vm_track(r->vm, r->vm->hwpt, false);
	case REPORT:
		return stop_logging(r);
	default:
		return close_log(r);
	}
}

static int take_log(struct reader *r, unsigned long *bitmap)
{
	struct iommu_dirty_log_sync sync = {
		.size = sizeof(sync),
		.log_id = r->log_id,
	};

	if (ioctl(r->vm->iommufd, IOMMU_DIRTY_LOG_SYNC, &sync))
		return -errno;
	dirty_log_take_flat(&r->log, 0, r->log.nr, bitmap);
	return 0;
}

static int report_all(struct reader *r, unsigned long *bitmap)
{
	int rc = 0;

	for (unsigned int i = 0; !rc && i < r->devices; i++)
		rc = dsim_log_report(&r->dev[i], DATA_IOVA, r->bytes, SZ_4K, bitmap);
	return rc;
}

int reader_read(struct reader *r, unsigned long *bitmap)
{
	switch (r->source->how) {
	case GET:
		return vm_get_dirty(r->vm, r->vm->hwpt, DATA_IOVA, r->bytes, 0, bitmap);
	case REPORT:
		return report_all(r, bitmap);
	default:
		return take_log(r, bitmap);
	}
}
