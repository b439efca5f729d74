// SPDX-License-Identifier: GPL-2.0-only
/*
 * How what is written through an IOAS comes to a dirty log
 *
 * Who says what was written at once, and when it is all over, sets the log's bits
 * directly.  What is taken from hardware is not over when its bit is seen: until
 * the IOTLB is flushed the device may go on writing to the page without a new
 * bit.  User space takes bits at any time, so it must not see this one before.
 * Such bits wait with those pending of the feed's reader, and are moved to the log
 * where no flush is outstanding: at the end of a sync, or when an unmapped range is
 * gone from the IOTLB.
 */
#include <kunit/visibility.h>
#include <linux/file.h>
#include <linux/maple_tree.h>
#include <linux/mm.h>
#include <linux/xarray.h>

#include "../io_pagetable.h"
#include "dirty.h"

/**
 * struct span - a range of IOVAs that follow each other in the log too
 * @iova: first address
 * @last: last address
 * @offset: what @iova is in the log, in bytes from its beginning on
 */
struct span {
	unsigned long iova;
	unsigned long last;
	unsigned long offset;
};

/**
 * struct dirty_feed_largest - the largest range that was mapped, for a first look
 * @span: the range
 * @rcu: to free it
 */
struct dirty_feed_largest {
	struct span span;
	struct rcu_head rcu;
};

static bool by_memory(const struct iommufd_dirty_feed *feed)
{
	return !(feed->log->flags & IOMMU_DIRTY_LOG_IOVA);
}

/* The difference of offset and IOVA, as an entry of the map */
static void *to_entry(unsigned long iova, unsigned long offset)
{
	return xa_mk_value((offset - iova) & LONG_MAX);
}

static unsigned long to_offset(void *entry, unsigned long iova)
{
	return (iova + xa_to_value(entry)) & LONG_MAX;
}

/* On its own, since a state of the tree costs to be made ready */
static noinline bool find_in_map(struct iommufd_dirty_feed *feed,
				 unsigned long iova, unsigned long last,
				 struct span *span)
{
	MA_STATE(mas, &feed->map, iova, iova);
	void *entry = mas_find(&mas, last);

	if (!entry)
		return false;
	span->iova = max(iova, mas.index);
	span->last = min(last, mas.last);
	span->offset = to_offset(entry, span->iova);
	return true;
}

static bool find_mapped(struct iommufd_dirty_feed *feed, unsigned long iova,
			unsigned long last, struct span *span)
{
	struct dirty_feed_largest *largest;

	guard(rcu)();
	largest = rcu_dereference(feed->largest);
	if (largest && iova >= largest->span.iova &&
	    iova <= largest->span.last) {
		span->iova = iova;
		span->last = min(last, largest->span.last);
		span->offset = largest->span.offset +
			       (iova - largest->span.iova);
		return true;
	}
	return find_in_map(feed, iova, last, span);
}

/* The first part of a range that the log stands for */
static bool find_span(struct iommufd_dirty_feed *feed, unsigned long iova,
		      unsigned long last, struct span *span)
{
	const struct iommufd_dirty_log *log = feed->log;

	if (by_memory(feed))
		return find_mapped(feed, iova, last, span);
	span->iova = max(iova, log->start);
	span->last = min(last, log->start + (log->length - 1));
	span->offset = span->iova - log->start;
	return span->iova <= span->last;
}

static bool next_span(struct iommufd_dirty_feed *feed, unsigned long last,
		      struct span *span)
{
	return span->last < last && find_span(feed, span->last + 1, last, span);
}

static unsigned long set_span(struct iommufd_dirty_log *log,
			      const struct span *span)
{
	unsigned long end = span->offset + (span->last - span->iova);

	return dirty_log_bits_set(&log->bits, span->offset >> log->shift,
				  end >> log->shift);
}

/**
 * dirty_feed_mark() - A range was written, all that there was to write
 * @feed: the feed
 * @iova: first address
 * @last: last address
 *
 * Context: any, interrupts included.
 */
void dirty_feed_mark(struct iommufd_dirty_feed *feed, unsigned long iova,
		     unsigned long last)
{
	unsigned long set = 0;
	struct span span;
	bool more;

	for (more = find_span(feed, iova, last, &span); more;
	     more = next_span(feed, last, &span))
		set += set_span(feed->log, &span);
	iommufd_dirty_log_count(feed->log, set);
}

/* ---- From pending bits to the log ---- */

/**
 * struct drain - what is moved to a log
 * @feed: from its reader
 * @set: bits of the log that were clear
 */
struct drain {
	struct iommufd_dirty_feed *feed;
	unsigned long set;
};

static void drain_range(void *data, unsigned long iova, unsigned long last)
{
	struct drain *drain = data;
	struct span span;
	bool more;

	for (more = find_span(drain->feed, iova, last, &span); more;
	     more = next_span(drain->feed, last, &span))
		drain->set += set_span(drain->feed->log, &span);
}

static void drain_word(void *data, unsigned long iova, unsigned long word)
{
	struct drain *drain = data;
	struct iommufd_dirty_log *log = drain->feed->log;
	unsigned int first, end, shift = drain->feed->reader.pending.shift;
	unsigned long last = iova + (((unsigned long)BITS_PER_LONG << shift) - 1);
	struct span span;

	if (!find_span(drain->feed, iova, last, &span))
		return;
	/* Most times a word of ours is one of the log's, or lies across two */
	if (log->shift == shift && span.iova == iova && span.last == last &&
	    IS_ALIGNED(span.offset, 1UL << shift)) {
		drain->set += dirty_log_bits_or(&log->bits, span.offset >> shift,
						word);
		return;
	}
	for_each_set_bitrange(first, end, &word, BITS_PER_LONG)
		drain_range(drain, iova + ((unsigned long)first << shift),
			    iova + ((unsigned long)end << shift) - 1);
}

static const struct dirty_taker log_taker = {
	.word = drain_word,
	.range = drain_range,
};

static unsigned long drain(struct iommufd_dirty_feed *feed, unsigned long iova,
			   unsigned long last)
{
	struct drain d = { .feed = feed };

	lockdep_assert_held(&feed->iopt->dirty.lock);
	dirty_bitmap_take(&feed->reader.pending, iova, last, &log_taker,
			  &d);
	iommufd_dirty_log_count(feed->log, d.set);
	return d.set;
}

/* The IOVAs between which all lies that the log's range [@offset, @end] is */
static bool find_hull(struct iommufd_dirty_feed *feed, unsigned long offset,
		      unsigned long end, struct span *hull)
{
	bool more, found = false;
	struct span span;

	for (more = find_span(feed, 0, ULONG_MAX, &span); more;
	     more = next_span(feed, ULONG_MAX, &span)) {
		if (span.offset > end ||
		    span.offset + (span.last - span.iova) < offset)
			continue;
		if (!found)
			hull->iova = span.iova;
		hull->last = span.last;
		found = true;
	}
	return found;
}

static bool find_range(struct iommufd_dirty_feed *feed, unsigned long offset,
		       unsigned long end, struct span *range)
{
	if (!by_memory(feed)) {
		range->iova = feed->log->start + offset;
		range->last = feed->log->start + end;
		return true;
	}
	if (offset || end != feed->log->length - 1)
		return find_hull(feed, offset, end, range);
	/* The map may be large, so it is not walked just to leave out its ends */
	range->iova = 0;
	range->last = ULONG_MAX;
	return !mtree_empty(&feed->map);
}

/**
 * dirty_feed_sync() - Bring to the log what was written until now
 * @feed: the feed
 * @offset: first byte of the log's range
 * @end: last byte
 * @clear: what is taken from a provider is not to be reported again
 *
 * Context: process; the log's lock is held.
 *
 * Return: how many bits of the log were clear that are set now.
 */
unsigned long dirty_feed_sync(struct iommufd_dirty_feed *feed,
			      unsigned long offset, unsigned long end,
			      bool clear)
{
	unsigned long set = 0;
	struct span range;

	/* Waits until what is being unmapped is drained, and its IOTLB flushed */
	iommufd_dirty_lock(feed->iopt);
	if (find_range(feed, offset, end, &range)) {
		iommufd_dirty_collect(feed->iopt, &feed->reader, range.iova,
				      range.last, clear);
		set = drain(feed, range.iova, range.last);
	}
	iommufd_dirty_prune(feed->iopt, &feed->reader);
	iommufd_dirty_unlock(feed->iopt);
	return set;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_feed_sync);

/* ---- Mappings ---- */

/* Where in the log the pages are that an area takes its slice of */
static bool pages_in_log(const struct iommufd_dirty_log *log,
			 const struct iopt_pages *pages, unsigned long *base,
			 unsigned long *start)
{
	switch (pages->type) {
	case IOPT_ADDRESS_USER:
		*base = (unsigned long)pages->uptr;
		*start = log->start;
		return (log->flags & IOMMU_DIRTY_LOG_USER) &&
		       pages->source_mm == log->mm;
	case IOPT_ADDRESS_FILE:
		*base = pages->start;
		*start = log->file_start;
		return (log->flags & IOMMU_DIRTY_LOG_FILE) &&
		       file_inode(pages->file) == file_inode(log->file);
	default:
		return false;
	}
}

/*
 * Most VMs map most of their memory at once, and what is written there is found
 * without the map.  Without memory for it the map does.
 */
static void note_largest(struct iommufd_dirty_feed *feed,
			 const struct span *span)
{
	struct dirty_feed_largest *old, *new;

	old = rcu_dereference_protected(feed->largest,
					lockdep_is_held(&feed->iopt->dirty.lock));
	if (old && old->span.last - old->span.iova >= span->last - span->iova)
		return;
	new = kmalloc_obj(*new, GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!new)
		return;
	new->span = *span;
	rcu_assign_pointer(feed->largest, new);
	kfree_rcu(old, rcu);
}

static void forget_largest(struct iommufd_dirty_feed *feed, unsigned long iova,
			   unsigned long last)
{
	struct dirty_feed_largest *old;

	old = rcu_dereference_protected(feed->largest,
					lockdep_is_held(&feed->iopt->dirty.lock));
	if (!old || last < old->span.iova || iova > old->span.last)
		return;
	RCU_INIT_POINTER(feed->largest, NULL);
	kfree_rcu(old, rcu);
}

/**
 * dirty_feed_map() - An area is about to be mapped, or is
 * @feed: the feed
 * @area: the area
 * @pages: what it is to map
 *
 * Context: process; domains_rwsem and the tracker's lock are held.
 *
 * Return: 0 or -ENOMEM.
 */
int dirty_feed_map(struct iommufd_dirty_feed *feed, struct iopt_area *area,
		   const struct iopt_pages *pages)
{
	unsigned long iova = iopt_area_iova(area);
	unsigned long last = iopt_area_last_iova(area);
	unsigned long base, start, first, end;
	struct span span;
	int rc;

	if (!by_memory(feed) || !pages_in_log(feed->log, pages, &base, &start))
		return 0;
	/* As offsets in the log, which the area may begin before and end behind */
	first = base + iopt_area_start_byte(area, iova);
	end = first + (last - iova);
	if (end < start || first > start + (feed->log->length - 1))
		return 0;
	if (first < start) {
		iova += start - first;
		first = start;
	}
	span.iova = iova;
	span.last = iova + (min(end, start + (feed->log->length - 1)) - first);
	span.offset = first - start;
	rc = mtree_store_range(&feed->map, span.iova, span.last,
			       to_entry(span.iova, span.offset),
			       GFP_KERNEL_ACCOUNT);
	if (!rc)
		note_largest(feed, &span);
	return rc;
}

/**
 * dirty_feed_unmap() - A range was unmapped, its IOTLB flushed
 * @feed: the feed
 * @iova: first address
 * @last: last address
 *
 * What was written to it goes to the log while it is known what it was.
 *
 * Context: process; the tracker's lock is held.
 */
void dirty_feed_unmap(struct iommufd_dirty_feed *feed, unsigned long iova,
		      unsigned long last)
{
	MA_STATE(mas, &feed->map, iova, last);

	drain(feed, iova, last);
	if (!by_memory(feed))
		return;
	forget_largest(feed, iova, last);
	mas_lock(&mas);
	/* Unmapping can't fail; a part of an entry splits it, which takes memory */
	WARN_ON(mas_store_gfp(&mas, NULL, GFP_KERNEL_ACCOUNT | __GFP_NOFAIL));
	mas_unlock(&mas);
}

/* ---- Coming and going ---- */

/**
 * dirty_feed_start() - Begin to bring what is written through an IOAS
 * @feed: zeroed
 * @log: to there
 * @iopt: the IOAS
 *
 * Context: process; the log's lock is held.
 *
 * Return: as iommufd_dirty_reader_start().
 */
int dirty_feed_start(struct iommufd_dirty_feed *feed,
		     struct iommufd_dirty_log *log, struct io_pagetable *iopt)
{
	int rc;

	feed->log = log;
	feed->iopt = iopt;
	feed->reader.feed = feed;
	mutex_init(&feed->reader.lock);
	mt_init_flags(&feed->map, MT_FLAGS_USE_RCU);
	RCU_INIT_POINTER(feed->largest, NULL);

	/* No page of an IOMMU is smaller */
	scoped_guard(mutex, &feed->reader.lock)
		rc = iommufd_dirty_reader_start(iopt, &feed->reader, NULL,
						DIRTY_LOG_MIN_SHIFT);
	if (rc) {
		kfree(rcu_access_pointer(feed->largest));
		mtree_destroy(&feed->map);
		return rc;
	}
	list_add_tail(&feed->node, &log->feeds);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_feed_start);

/**
 * dirty_feed_stop() - Bring no more
 * @feed: started; what is pending is forgotten
 *
 * Context: process; the log's lock is held.
 */
void dirty_feed_stop(struct iommufd_dirty_feed *feed)
{
	list_del(&feed->node);
	/* Waits for those who mark */
	scoped_guard(mutex, &feed->reader.lock)
		iommufd_dirty_reader_stop(feed->iopt, &feed->reader);
	/* Nobody is left who looks at either */
	kfree(rcu_access_pointer(feed->largest));
	mtree_destroy(&feed->map);
	mutex_destroy(&feed->reader.lock);
}
EXPORT_SYMBOL_IF_KUNIT(dirty_feed_stop);
