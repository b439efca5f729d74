// SPDX-License-Identifier: GPL-2.0-only
/*
 * All as a provider: of a device that nobody tracks, every page that it can
 * write is dirty at every read
 */
#include <kunit/visibility.h>

#include "../io_pagetable.h"
#include "dirty.h"

static int all_collect(struct io_pagetable *iopt,
		       struct iommufd_dirty_provider *provider,
		       unsigned long iova, unsigned long last, bool clear)
{
	iommufd_dirty_record_mapped(iopt, provider, iova, last);
	return 0;
}

static const struct iommufd_dirty_provider_ops all_ops = {
	.name = "all",
	.type = IOMMU_DIRTY_PROVIDER_ALL,
	.collect = all_collect,
};

/**
 * iommufd_dirty_all_init() - Make a provider for devices that nobody tracks
 * @provider: to fill in
 * @hwpt: where the devices are attached
 */
void iommufd_dirty_all_init(struct iommufd_dirty_provider *provider,
			    struct iommufd_hwpt_paging *hwpt)
{
	provider->ops = &all_ops;
	provider->hwpt = hwpt;
	provider->shift = PAGE_SHIFT;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_all_init);
