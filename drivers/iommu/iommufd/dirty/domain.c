// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page table of an HWPT as a provider: the IOMMU sets dirty bits in it
 */
#include <linux/iommu.h>
#include <linux/iova_bitmap.h>
#include <linux/percpu.h>
#include <linux/sizes.h>

#include "../io_pagetable.h"
#include "dirty.h"

/*
 * One flush of all between the first and the last page that was dirty would make
 * devices walk again for everything in between, much of which may be clean.
 * Where a gap is wide, what lies before it is flushed on its own; but flushes
 * cost too, so not more often than a few times a read.
 */
#define FLUSH_GAP	SZ_256M
#define MAX_FLUSHES	16

static struct iommufd_dirty_hwpt *
to_dirty_hwpt(struct iommufd_dirty_provider *provider)
{
	return container_of(provider, struct iommufd_dirty_hwpt, iommu);
}

static void flush_before(struct iommufd_dirty_hwpt *dirty, unsigned long iova)
{
	struct iommu_iotlb_gather *gather = dirty->gather;

	if (iova <= gather->end || iova - gather->end < FLUSH_GAP ||
	    gather->start > gather->end || !dirty->flushes)
		return;
	dirty->flushes--;
	iommu_iotlb_sync(dirty->iommu.hwpt->common.domain, gather);
}

static void domain_sink_range(void *data, unsigned long iova, size_t length)
{
	struct iommufd_hwpt_paging *hwpt = data;
	struct iommufd_dirty_hwpt *dirty = &hwpt->dirty;

	if (iova - dirty->gather->end >= FLUSH_GAP)
		flush_before(dirty, iova);
	iommufd_dirty_record(&hwpt->ioas->iopt.dirty, &dirty->iommu, iova,
			     iova + length - 1);
}

/* The same of all entries of a table at once, which are of one size */
static void domain_sink_words(void *data, unsigned long iova,
			      unsigned int shift, const u64 *words,
			      unsigned int nr)
{
	struct iommufd_hwpt_paging *hwpt = data;
	struct iommufd_dirty_hwpt *dirty = &hwpt->dirty;

	if (iova - dirty->gather->end >= FLUSH_GAP)
		flush_before(dirty, iova);
	iommufd_dirty_record_words(&hwpt->ioas->iopt.dirty, &dirty->iommu, iova,
				   shift, words, nr);
}

static const struct iova_bitmap_sink domain_sink = {
	.set = domain_sink_range,
	.set_words = domain_sink_words,
};

/*
 * The page table code found an entry dirty when it took it out: hardware set the
 * bit after all was collected that was known when unmapping began.  The range is
 * still mapped as far as the IOAS knows, so there are chunks for it.
 */
static void unmap_sink_range(void *data, unsigned long iova, size_t length)
{
	struct iommufd_hwpt_paging *hwpt = data;

	/* Others know better, or it is from before: nothing stops during an unmap */
	if (!READ_ONCE(hwpt->dirty.iommu.running))
		return;
	iommufd_dirty_push_unflushed(&hwpt->ioas->iopt.dirty,
				     &hwpt->dirty.iommu, iova,
				     iova + length - 1);
}

static const struct iova_bitmap_sink unmap_sink = {
	.set = unmap_sink_range,
};

/* NULL: of memory, which nobody takes away but by unmapping the area */
static struct iopt_pages *dmabuf_of(const struct iopt_area *area)
{
	return iopt_is_dmabuf(area->pages) ? area->pages : NULL;
}

static bool follows(struct iopt_area *area, unsigned long last)
{
	return area->pages && !dmabuf_of(area) &&
	       iopt_area_iova(area) == last + 1;
}

/*
 * Areas from @area on that follow each other: in one go, so that tables with parts of
 * two are read as a whole.  One of a dmabuf is on its own: it has a lock to be read
 * under, and no table that others have a part of goes when it is revoked.  @next is
 * what comes behind, of those in [@iova, @last].
 */
static struct iommufd_dirty_extent
extent_of(struct iopt_area *area, unsigned long iova, unsigned long last,
	  struct iopt_area **next)
{
	struct iommufd_dirty_extent extent = {
		.iova = iopt_area_iova(area),
		.dmabuf = dmabuf_of(area),
	};

	do {
		extent.last = iopt_area_last_iova(area);
		area = iopt_area_iter_next(area, iova, last);
	} while (!extent.dmabuf && area && follows(area, extent.last));
	*next = area;
	return extent;
}

/* False: there are too many, or one is being mapped or unmapped */
static bool learn_extents(struct io_pagetable *iopt)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct iopt_area *area, *next;
	unsigned int nr = 0;

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area; area = next) {
		if (!area->pages || nr == IOMMUFD_DIRTY_EXTENTS)
			return false;
		tracker->extents[nr++] = extent_of(area, 0, ULONG_MAX, &next);
	}
	tracker->nr_extents = nr;
	return nr;
}

static bool know_extents(struct io_pagetable *iopt, unsigned long iova,
			 unsigned long last)
{
	struct iopt_area *area;

	if (iopt->dirty.nr_extents)
		return true;
	/* Of one area there is nothing to go through, as when it is unmapped */
	area = iopt_area_iter_first(iopt, iova, last);
	return area && iopt_area_iter_next(area, iova, last) &&
	       learn_extents(iopt);
}

/*
 * An entry of the page table may be larger than the range, then all of it is recorded;
 * what lies outside waits for whoever asks for it.
 */
static int read_range(struct iommu_domain *domain, unsigned long iova,
		      unsigned long last, unsigned long flags,
		      struct iommu_dirty_bitmap *bitmap)
{
	return domain->dirty_ops->read_and_clear_dirty(domain, iova,
						       last - iova + 1, flags,
						       bitmap);
}

/*
 * A revoke unmaps, and frees tables, with neither iova_rwsem nor the tracker's lock:
 * all that keeps it out is the lock that it holds.  What it found dirty has been
 * pushed when it lets go of that, and nothing is left to be read.
 */
static int read_dmabuf(struct iommu_domain *domain, struct iopt_pages *dmabuf,
		       unsigned long iova, unsigned long last,
		       unsigned long flags, struct iommu_dirty_bitmap *bitmap)
{
	guard(mutex)(&dmabuf->mutex);
	if (iopt_dmabuf_revoked(dmabuf))
		return 0;
	return read_range(domain, iova, last, flags, bitmap);
}

static int read_extent(struct iommu_domain *domain,
		       const struct iommufd_dirty_extent *extent,
		       unsigned long iova, unsigned long last,
		       unsigned long flags, struct iommu_dirty_bitmap *bitmap)
{
	iova = max(iova, extent->iova);
	last = min(last, extent->last);
	if (iova > last)
		return 0;
	if (extent->dmabuf)
		return read_dmabuf(domain, extent->dmabuf, iova, last, flags,
				   bitmap);
	return read_range(domain, iova, last, flags, bitmap);
}

static int read_known(struct io_pagetable *iopt, struct iommu_domain *domain,
		      unsigned long iova, unsigned long last,
		      unsigned long flags, struct iommu_dirty_bitmap *bitmap)
{
	unsigned int i;
	int rc = 0;

	for (i = 0; i != iopt->dirty.nr_extents && !rc; i++)
		rc = read_extent(domain, &iopt->dirty.extents[i], iova, last,
				 flags, bitmap);
	return rc;
}

static int read_areas(struct io_pagetable *iopt, struct iommu_domain *domain,
		      unsigned long iova, unsigned long last,
		      unsigned long flags, struct iommu_dirty_bitmap *bitmap)
{
	struct iommufd_dirty_extent extent;
	struct iopt_area *area, *next;
	int rc = 0;

	for (area = iopt_area_iter_first(iopt, iova, last); area && !rc;
	     area = next) {
		/* Being mapped or unmapped, which looks after itself */
		if (!area->pages) {
			next = iopt_area_iter_next(area, iova, last);
			continue;
		}
		extent = extent_of(area, iova, last, &next);
		rc = read_extent(domain, &extent, iova, last, flags, bitmap);
	}
	return rc;
}

static int walk(struct io_pagetable *iopt,
		struct iommufd_dirty_provider *provider, unsigned long iova,
		unsigned long last, unsigned long flags,
		struct iova_bitmap *sink)
{
	struct iommufd_dirty_hwpt *dirty = to_dirty_hwpt(provider);
	struct iommu_domain *domain = provider->hwpt->common.domain;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap bitmap;
	int rc;

	/*
	 * A device is attached before all is mapped for it, and then not attached
	 * when that reaches further than its page table.
	 */
	iova = max_t(u64, iova, domain->geometry.aperture_start);
	last = min_t(u64, last, domain->geometry.aperture_end);
	if (iova > last)
		return 0;

	iommu_dirty_bitmap_init(&bitmap, sink, &gather);
	dirty->gather = &gather;
	dirty->flushes = MAX_FLUSHES;
	if (know_extents(iopt, iova, last))
		rc = read_known(iopt, domain, iova, last, flags, &bitmap);
	else
		rc = read_areas(iopt, domain, iova, last, flags, &bitmap);
	if (!(flags & IOMMU_DIRTY_NO_CLEAR))
		iommu_iotlb_sync(domain, &gather);
	dirty->gather = NULL;
	return rc;
}

static int domain_start(struct io_pagetable *iopt,
			struct iommufd_dirty_provider *provider)
{
	struct iommu_domain *domain = provider->hwpt->common.domain;
	int rc;

	rc = walk(iopt, provider, 0, ULONG_MAX, 0, NULL);
	if (rc)
		return rc;
	/* From the first time on, for good: unmapping looks at it unlocked */
	WRITE_ONCE(domain->unmap_dirty, to_dirty_hwpt(provider)->unmap_sink);
	return domain->dirty_ops->set_dirty_tracking(domain, true);
}

/* If the driver fails to, bits are set that nobody looks at */
static void domain_stop(struct io_pagetable *iopt,
			struct iommufd_dirty_provider *provider)
{
	struct iommu_domain *domain = provider->hwpt->common.domain;

	domain->dirty_ops->set_dirty_tracking(domain, false);
}

static int domain_collect(struct io_pagetable *iopt,
			  struct iommufd_dirty_provider *provider,
			  unsigned long iova, unsigned long last, bool clear)
{
	return walk(iopt, provider, iova, last,
		    clear ? 0 : IOMMU_DIRTY_NO_CLEAR,
		    to_dirty_hwpt(provider)->sink);
}

static const struct iommufd_dirty_provider_ops domain_ops = {
	.name = "iommu",
	.type = IOMMU_DIRTY_PROVIDER_IOMMU,
	.start = domain_start,
	.stop = domain_stop,
	.collect = domain_collect,
};

static struct iova_bitmap *alloc_sink(const struct iova_bitmap_sink *fns,
				      struct iommufd_hwpt_paging *hwpt)
{
	struct iova_bitmap *sink = iova_bitmap_alloc_sink(fns, hwpt);

	return IS_ERR(sink) ? NULL : sink;
}

/**
 * iommufd_dirty_domain_init() - Make a provider of an HWPT's page table
 * @hwpt: the HWPT; its domain may have no dirty_ops, then there is none
 *
 * Context: process.
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_dirty_domain_init(struct iommufd_hwpt_paging *hwpt)
{
	struct iommufd_dirty_provider *provider = &hwpt->dirty.iommu;
	struct io_pagetable *iopt = &hwpt->ioas->iopt;
	struct iommu_domain *domain = hwpt->common.domain;

	if (!domain->dirty_ops)
		return 0;
	hwpt->dirty.sink = alloc_sink(&domain_sink, hwpt);
	hwpt->dirty.unmap_sink = alloc_sink(&unmap_sink, hwpt);
	provider->pushed = alloc_percpu_gfp(u64, GFP_KERNEL_ACCOUNT);
	if (!hwpt->dirty.sink || !hwpt->dirty.unmap_sink || !provider->pushed)
		return -ENOMEM;

	provider->ops = &domain_ops;
	provider->hwpt = hwpt;
	provider->exact = true;
	provider->shift = __ffs(domain->pgsize_bitmap);
	provider->granule_min = 1UL << provider->shift;
	provider->granule_max = iopt->disable_large_pages ?
					provider->granule_min :
					1UL << __fls(domain->pgsize_bitmap);
	iommufd_dirty_provider_add(iopt, provider);
	return 0;
}

/**
 * iommufd_dirty_domain_remove() - The page table of an HWPT goes
 * @hwpt: the HWPT, its domain still in the IOAS
 *
 * Context: process.
 */
void iommufd_dirty_domain_remove(struct iommufd_hwpt_paging *hwpt)
{
	if (hwpt->dirty.iommu.ops)
		iommufd_dirty_provider_remove(&hwpt->ioas->iopt,
					      &hwpt->dirty.iommu);
}

/**
 * iommufd_dirty_domain_free() - The page table of an HWPT is gone
 * @hwpt: the HWPT, its domain freed
 */
void iommufd_dirty_domain_free(struct iommufd_hwpt_paging *hwpt)
{
	if (hwpt->dirty.sink)
		iova_bitmap_free(hwpt->dirty.sink);
	if (hwpt->dirty.unmap_sink)
		iova_bitmap_free(hwpt->dirty.unmap_sink);
	free_percpu(hwpt->dirty.iommu.pushed);
}
