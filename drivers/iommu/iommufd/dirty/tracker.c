// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracker of an IOAS: brings bits from providers to readers
 */
#include <linux/iommu.h>
#include <linux/iova_bitmap.h>
#include <linux/rculist.h>

#include "../io_pagetable.h"
#include "dirty.h"

/* ---- The domain as a provider ---- */

static void reader_sink(void *data, unsigned long iova, size_t length)
{
	struct iommufd_dirty_reader *reader = data;

	dirty_cursor_set(&reader->cursor, iova, iova + length - 1);
}

static bool has_area(void *data, unsigned long iova, unsigned long last)
{
	return iopt_area_iter_first(data, iova, last);
}

/*
 * Whatever went wrong, the pages may have been written: say so, once, and count
 * it.
 */
static void report_all(struct iommufd_dirty_tracker *tracker,
		       struct iommufd_dirty_reader *reader, unsigned long iova,
		       unsigned long last)
{
	atomic64_inc(&tracker->lost);
	dirty_bitmap_set(&reader->pending, iova, last);
}

/*
 * Take the bits of a mapped range.  An entry of the page table may be larger
 * than the range, then all of it enters the pending bits, where what lies
 * outside waits for whoever asks for it.
 */
static void walk_domain(struct iommufd_dirty_tracker *tracker,
			struct iommufd_dirty_reader *reader,
			unsigned long iova, unsigned long last,
			unsigned long flags, struct iommu_iotlb_gather *gather)
{
	struct iommu_dirty_bitmap dirty = {
		.bitmap = reader->sink,
		.gather = gather,
	};
	int rc;

	lockdep_assert_held(&tracker->lock);
	rc = reader->domain->dirty_ops->read_and_clear_dirty(reader->domain,
							     iova,
							     last - iova + 1,
							     flags, &dirty);
	dirty_cursor_finish(&reader->cursor);
	if (rc || WARN_ON_ONCE(reader->cursor.missed)) {
		reader->cursor.missed = false;
		report_all(tracker, reader, iova, last);
	}
}

/* Bits enter @reader's pending bits before they leave the page table */
static void collect(struct io_pagetable *iopt,
		    struct iommufd_dirty_reader *reader, unsigned long iova,
		    unsigned long last, bool clear)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct iommu_iotlb_gather gather;
	struct iopt_area *area;

	iommu_iotlb_gather_init(&gather);
	guard(mutex)(&tracker->lock);
	guard(rwsem_read)(&iopt->iova_rwsem);

	for (area = iopt_area_iter_first(iopt, iova, last); area;
	     area = iopt_area_iter_next(area, iova, last)) {
		/* Being mapped or unmapped, which looks after itself */
		if (!area->pages)
			continue;
		walk_domain(tracker, reader, max(iova, iopt_area_iova(area)),
			    min(last, iopt_area_last_iova(area)),
			    clear ? 0 : IOMMU_DIRTY_NO_CLEAR, &gather);
	}
	if (clear)
		iommu_iotlb_sync(reader->domain, &gather);
	iommufd_dirty_access_collect(tracker, reader, iova, last);
}

/* ---- Readers ---- */

static int start_locked(struct io_pagetable *iopt,
			struct iommufd_dirty_reader *reader)
{
	const struct iommu_dirty_ops *ops = reader->domain->dirty_ops;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;
	struct iopt_area *area;
	int rc = 0;

	/* Areas that are only being mapped too: their map call may be past us */
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		rc = dirty_bitmap_populate(&reader->pending,
					   iopt_area_iova(area),
					   iopt_area_last_iova(area));
		if (rc)
			return rc;
	}

	/* What was written before is not this reader's affair */
	iommu_dirty_bitmap_init(&dirty, NULL, &gather);
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area && !rc;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX))
		if (area->pages)
			rc = ops->read_and_clear_dirty(reader->domain,
						       iopt_area_iova(area),
						       iopt_area_length(area),
						       0, &dirty);
	iommu_iotlb_sync(reader->domain, &gather);
	if (rc)
		return rc;

	rc = ops->set_dirty_tracking(reader->domain, true);
	if (rc)
		return rc;
	list_add_rcu(&reader->node, &iopt->dirty.readers);
	return 0;
}

/**
 * iommufd_dirty_reader_start() - Begin to keep bits for a reader
 * @iopt: the IOAS
 * @reader: not active
 * @domain: one of the IOAS, with dirty_ops
 *
 * Context: process; the reader's lock is held.
 *
 * Return: 0, -ENOMEM, or what the domain's driver failed with.
 */
int iommufd_dirty_reader_start(struct io_pagetable *iopt,
			       struct iommufd_dirty_reader *reader,
			       struct iommu_domain *domain)
{
	int rc;

	lockdep_assert_held(&reader->lock);
	reader->domain = domain;
	reader->sink = iova_bitmap_alloc_sink(reader_sink, reader);
	if (IS_ERR_OR_NULL(reader->sink))
		return reader->sink ? PTR_ERR(reader->sink) : -EOPNOTSUPP;
	/* No entry of the page table stands for less, no access is finer */
	dirty_bitmap_init(&reader->pending,
			  min(__ffs(domain->pgsize_bitmap), PAGE_SHIFT));
	reader->cursor = (struct dirty_cursor){ .bitmap = &reader->pending };
	reader->must_prune = false;

	scoped_guard(mutex, &iopt->dirty.lock)
		scoped_guard(rwsem_read, &iopt->iova_rwsem)
			rc = start_locked(iopt, reader);
	if (rc) {
		dirty_bitmap_destroy(&reader->pending);
		iova_bitmap_free(reader->sink);
		return rc;
	}
	reader->active = true;
	return 0;
}

/**
 * iommufd_dirty_reader_stop() - Keep no more bits, forget those kept
 * @iopt: the IOAS
 * @reader: active
 *
 * Context: process; the reader's lock is held.
 */
void iommufd_dirty_reader_stop(struct io_pagetable *iopt,
			       struct iommufd_dirty_reader *reader)
{
	lockdep_assert_held(&reader->lock);
	reader->active = false;
	scoped_guard(mutex, &iopt->dirty.lock)
		list_del_rcu(&reader->node);
	synchronize_rcu();
	dirty_bitmap_destroy(&reader->pending);
	iova_bitmap_free(reader->sink);
}

/* Under the reader's lock and the tracker's */
static void prune(struct io_pagetable *iopt,
		  struct iommufd_dirty_reader *reader, unsigned long iova,
		  unsigned long last)
{
	guard(rwsem_read)(&iopt->iova_rwsem);
	if (dirty_bitmap_prune(&reader->pending, iova, last, has_area, iopt))
		reader->must_prune = true;
}

/**
 * iommufd_dirty_reader_read() - Collect from the providers and give to the user
 * @iopt: the IOAS
 * @reader: active
 * @user: which range, and where its bits go
 * @clear: bits given are pending no more
 *
 * Context: process, may fault; the reader's lock is held.
 *
 * Return: as dirty_bitmap_read().
 */
int iommufd_dirty_reader_read(struct io_pagetable *iopt,
			      struct iommufd_dirty_reader *reader,
			      const struct dirty_user_bitmap *user, bool clear)
{
	int rc;

	lockdep_assert_held(&reader->lock);
	collect(iopt, reader, user->iova, user->last, clear);
	rc = dirty_bitmap_read(&reader->pending, user, clear);

	scoped_guard(mutex, &iopt->dirty.lock)
		if (reader->must_prune) {
			reader->must_prune = false;
			prune(iopt, reader, 0, ULONG_MAX);
		}
	return rc;
}

/* ---- Mappings ---- */

/**
 * iommufd_dirty_init() - Make the tracker of an IOAS
 * @tracker: to initialize
 */
void iommufd_dirty_init(struct iommufd_dirty_tracker *tracker)
{
	mutex_init(&tracker->lock);
	INIT_LIST_HEAD(&tracker->readers);
	spin_lock_init(&tracker->pins_lock);
	tracker->pins = RB_ROOT_CACHED;
	atomic64_set(&tracker->lost, 0);
}

/**
 * iommufd_dirty_destroy() - The IOAS goes
 * @tracker: its tracker; nobody reads and nothing is pinned
 */
void iommufd_dirty_destroy(struct iommufd_dirty_tracker *tracker)
{
	WARN_ON(!list_empty(&tracker->readers));
	WARN_ON(!RB_EMPTY_ROOT(&tracker->pins.rb_root));
	mutex_destroy(&tracker->lock);
}

/**
 * iommufd_dirty_map() - A range is about to be mapped
 * @iopt: the IOAS
 * @iova: first address
 * @last: last address
 *
 * Context: process; domains_rwsem is held, and areas reserve the range.
 *
 * Return: 0, or -ENOMEM when the range must not be mapped, since its bits could
 * not be kept.
 */
int iommufd_dirty_map(struct io_pagetable *iopt, unsigned long iova,
		      unsigned long last)
{
	struct iommufd_dirty_reader *reader;
	int rc;

	guard(mutex)(&iopt->dirty.lock);
	list_for_each_entry(reader, &iopt->dirty.readers, node) {
		rc = dirty_bitmap_populate(&reader->pending, iova, last);
		if (rc)
			return rc;
	}
	return 0;
}

/**
 * iommufd_dirty_map_failed() - What was about to be mapped will not be
 * @iopt: the IOAS
 *
 * Context: process; the areas may still reserve the range.
 */
void iommufd_dirty_map_failed(struct io_pagetable *iopt)
{
	struct iommufd_dirty_reader *reader;

	guard(mutex)(&iopt->dirty.lock);
	list_for_each_entry(reader, &iopt->dirty.readers, node)
		reader->must_prune = true;
}

/**
 * iommufd_dirty_unmap() - A mapped range is about to be unmapped
 * @iopt: the IOAS
 * @iova: first address
 * @last: last address
 *
 * Takes the bits that its translations still hold.  Nobody else walks them: the
 * area has lost its pages already.
 *
 * Context: process; domains_rwsem is held, iova_rwsem is not.
 */
void iommufd_dirty_unmap(struct io_pagetable *iopt, unsigned long iova,
			 unsigned long last)
{
	struct iommufd_dirty_reader *reader;

	guard(mutex)(&iopt->dirty.lock);
	/* The bits vanish with the entries, there is nothing to clear or flush */
	list_for_each_entry(reader, &iopt->dirty.readers, node)
		walk_domain(&iopt->dirty, reader, iova, last,
			    IOMMU_DIRTY_NO_CLEAR, NULL);
}

/**
 * iommufd_dirty_unmapped() - A range was unmapped, its area is gone
 * @iopt: the IOAS
 * @iova: first address
 * @last: last address
 *
 * Context: process; iova_rwsem is not held.
 */
void iommufd_dirty_unmapped(struct io_pagetable *iopt, unsigned long iova,
			    unsigned long last)
{
	struct iommufd_dirty_reader *reader;

	guard(mutex)(&iopt->dirty.lock);
	list_for_each_entry(reader, &iopt->dirty.readers, node) {
		/* A read may wait for its user's memory for long: it prunes itself */
		if (!mutex_trylock(&reader->lock)) {
			reader->must_prune = true;
			continue;
		}
		prune(iopt, reader, iova, last);
		mutex_unlock(&reader->lock);
	}
}
