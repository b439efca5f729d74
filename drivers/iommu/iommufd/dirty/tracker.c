// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracker of an IOAS: brings bits from providers to readers
 */
#include <kunit/visibility.h>
#include <linux/bitmap.h>
#include <linux/iommu.h>
#include <linux/ktime.h>
#include <linux/percpu.h>
#include <linux/rculist.h>
#include <trace/events/iommufd_dirty.h>

#include "../io_pagetable.h"
#include "dirty.h"

static u32 ioas_id(struct io_pagetable *iopt)
{
	return container_of(iopt, struct iommufd_ioas, iopt)->obj.id;
}

static u32 hwpt_id(const struct iommufd_hwpt_paging *hwpt)
{
	return hwpt ? hwpt->common.obj.id : 0;
}

static bool concerns(const struct iommufd_dirty_provider *provider,
		     const struct iommufd_dirty_reader *reader)
{
	return !provider->hwpt || !reader->hwpt ||
	       provider->hwpt == reader->hwpt;
}

static struct iommufd_dirty_reader *
next_reader(struct iommufd_dirty_tracker *tracker,
	    const struct iommufd_dirty_provider *provider,
	    struct iommufd_dirty_reader *reader)
{
	reader = list_prepare_entry(reader, &tracker->readers, node);
	list_for_each_entry_continue(reader, &tracker->readers, node)
		if (concerns(provider, reader))
			return reader;
	return NULL;
}

#define for_each_reader_of(reader, tracker, provider)                \
	for (reader = next_reader(tracker, provider, NULL); reader;  \
	     reader = next_reader(tracker, provider, reader))

static bool has_reader(struct iommufd_dirty_tracker *tracker,
		       const struct iommufd_dirty_provider *provider)
{
	return next_reader(tracker, provider, NULL);
}

/* ---- From a provider to its readers ---- */

static unsigned long nr_pages(const struct iommufd_dirty_provider *provider,
			      unsigned long iova, unsigned long last)
{
	return (last >> provider->shift) - (iova >> provider->shift) + 1;
}

/**
 * iommufd_dirty_provider_pages() - How much a provider has reported
 * @provider: the provider
 *
 * Context: any; the tracker's lock is held.
 *
 * Return: bits recorded and pushed, in units of its shift.
 */
u64 iommufd_dirty_provider_pages(const struct iommufd_dirty_provider *provider)
{
	u64 pages = provider->pages;
	int cpu;

	if (provider->pushed)
		for_each_possible_cpu(cpu)
			pages += READ_ONCE(*per_cpu_ptr(provider->pushed, cpu));
	return pages;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_provider_pages);

/* What was gathered goes to the readers */
static void flush_word(struct iommufd_dirty_tracker *tracker,
		       struct iommufd_dirty_provider *provider)
{
	unsigned long bits = provider->bits;
	struct iommufd_dirty_reader *reader;

	if (!bits)
		return;
	provider->bits = 0;
	provider->pages += dirty_weight(bits);
	for_each_reader_of(reader, tracker, provider)
		dirty_cursor_or(&reader->cursor, provider->iova,
				provider->shift, bits);
}

/**
 * iommufd_dirty_record_range() - A range of any size and alignment was written
 * @tracker: the tracker
 * @provider: who says so; it is being collected from
 * @iova: first address
 * @last: last address
 *
 * Context: as iommufd_dirty_record().
 */
void iommufd_dirty_record_range(struct iommufd_dirty_tracker *tracker,
				struct iommufd_dirty_provider *provider,
				unsigned long iova, unsigned long last)
{
	struct iommufd_dirty_reader *reader;

	lockdep_assert_held(&tracker->lock);
	provider->pages += nr_pages(provider, iova, last);
	for_each_reader_of(reader, tracker, provider)
		dirty_cursor_set(&reader->cursor, iova, last);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_record_range);

/**
 * iommufd_dirty_record_mapped() - What can be written of a range was
 * @iopt: the IOAS
 * @provider: who says so; it is being collected from
 * @iova: first address
 * @last: last address
 *
 * Context: as iommufd_dirty_record(); iova_rwsem is held.
 */
void iommufd_dirty_record_mapped(struct io_pagetable *iopt,
				 struct iommufd_dirty_provider *provider,
				 unsigned long iova, unsigned long last)
{
	struct iopt_area *area;

	for (area = iopt_area_iter_first(iopt, iova, last); area;
	     area = iopt_area_iter_next(area, iova, last)) {
		unsigned long first = max(iova, iopt_area_iova(area));
		unsigned long end = min(last, iopt_area_last_iova(area));

		if (area->pages && (area->iommu_prot & IOMMU_WRITE))
			iommufd_dirty_record_range(&iopt->dirty, provider,
						   first, end);
	}
}

/* The word before is complete, or this is not for a word */
void iommufd_dirty_record_slow(struct iommufd_dirty_tracker *tracker,
			       struct iommufd_dirty_provider *provider,
			       unsigned long iova, unsigned long last)
{
	unsigned int shift = provider->shift;

	flush_word(tracker, provider);
	if (iova >> shift != last >> shift) {
		iommufd_dirty_record_range(tracker, provider, iova, last);
		return;
	}
	provider->iova = round_down(iova, (unsigned long)BITS_PER_LONG << shift);
	provider->bits = BIT((iova - provider->iova) >> shift);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_record_slow);

static void record_word(struct iommufd_dirty_tracker *tracker,
			struct iommufd_dirty_provider *provider,
			unsigned long iova, unsigned int shift, u64 bits)
{
	DECLARE_BITMAP(map, 64);
	unsigned int first, end;

	if (shift == provider->shift && BITS_PER_LONG == 64) {
		flush_word(tracker, provider);
		provider->iova = iova;
		provider->bits = bits;
		return;
	}
	/* Larger ones, which are many at once where much was written */
	bitmap_from_u64(map, bits);
	for_each_set_bitrange(first, end, map, 64)
		iommufd_dirty_record_range(tracker, provider,
					   iova + ((unsigned long)first << shift),
					   iova + ((unsigned long)end << shift) - 1);
}

/**
 * iommufd_dirty_record_words() - Many pages were written
 * @tracker: the tracker
 * @provider: who says so; it is being collected from
 * @iova: what bit 0 of the first word stands for, aligned to what a word does
 * @shift: log2 of the bytes of a page
 * @words: the pages
 * @nr: how many words
 *
 * Context: as iommufd_dirty_record().
 */
void iommufd_dirty_record_words(struct iommufd_dirty_tracker *tracker,
				struct iommufd_dirty_provider *provider,
				unsigned long iova, unsigned int shift,
				const u64 *words, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i != nr; i++, iova += 64UL << shift)
		if (words[i])
			record_word(tracker, provider, iova, shift, words[i]);
}

static void push(struct iommufd_dirty_tracker *tracker,
		 struct iommufd_dirty_provider *provider, unsigned long iova,
		 unsigned long last, bool flushed)
{
	struct iommufd_dirty_reader *reader;

	if (list_empty(&tracker->readers))
		return;
	/* As events of memory management are counted: cheap comes before exact */
	raw_cpu_add(*provider->pushed, nr_pages(provider, iova, last));
	guard(rcu)();
	list_for_each_entry_rcu(reader, &tracker->readers, node) {
		if (!concerns(provider, reader))
			continue;
		if (reader->feed && flushed)
			dirty_feed_mark(reader->feed, iova, last);
		else
			dirty_bitmap_set(&reader->pending, iova, last);
	}
}

/**
 * iommufd_dirty_push() - A range was written, and nobody asked
 * @tracker: the tracker
 * @provider: who says so; one that pushes
 * @iova: first address
 * @last: last address
 *
 * To be called after writing: whoever sees it dirty may copy it at once.
 *
 * Context: any, interrupts included; the range is mapped.
 */
void iommufd_dirty_push(struct iommufd_dirty_tracker *tracker,
			struct iommufd_dirty_provider *provider,
			unsigned long iova, unsigned long last)
{
	push(tracker, provider, iova, last, true);
}

/**
 * iommufd_dirty_push_unflushed() - The same, before it is all written
 * @tracker: the tracker
 * @provider: who says so; one that pushes
 * @iova: first address
 * @last: last address
 *
 * The range is being unmapped, and may be written to until that has come to its
 * end.  Nobody sees it dirty before.
 *
 * Context: any, interrupts included; from within an unmap.
 */
void iommufd_dirty_push_unflushed(struct iommufd_dirty_tracker *tracker,
				  struct iommufd_dirty_provider *provider,
				  unsigned long iova, unsigned long last)
{
	push(tracker, provider, iova, last, false);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_push_unflushed);

/**
 * iommufd_dirty_report_all() - What was written is not known
 * @iopt: the IOAS
 * @provider: who should know
 * @iova: first address
 * @last: last address
 * @rc: what went wrong
 *
 * Whatever went wrong, the pages may have been written: say so, once, and count
 * it.
 *
 * Context: process; iova_rwsem and the tracker's lock are held.
 */
void iommufd_dirty_report_all(struct io_pagetable *iopt,
			      struct iommufd_dirty_provider *provider,
			      unsigned long iova, unsigned long last, int rc)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct iommufd_dirty_reader *reader;
	struct iopt_area *area;

	provider->lost++;
	atomic64_inc(&tracker->lost);
	trace_iommufd_dirty_lost(ioas_id(iopt), hwpt_id(provider->hwpt),
				 provider->ops->name, iova, last, rc);
	for_each_reader_of(reader, tracker, provider)
		if (reader->feed)
			atomic64_inc(&reader->feed->log->lost);
	for (area = iopt_area_iter_first(iopt, iova, last); area;
	     area = iopt_area_iter_next(area, iova, last))
		for_each_reader_of(reader, tracker, provider)
			dirty_bitmap_set(&reader->pending,
					 max(iova, iopt_area_iova(area)),
					 min(last, iopt_area_last_iova(area)));
}

static int finish_record(struct iommufd_dirty_tracker *tracker,
			 struct iommufd_dirty_provider *provider)
{
	struct iommufd_dirty_reader *reader;
	int rc = 0;

	flush_word(tracker, provider);
	for_each_reader_of(reader, tracker, provider) {
		dirty_cursor_finish(&reader->cursor);
		/* Nothing is mapped there, so something is wrong */
		if (WARN_ON_ONCE(reader->cursor.missed))
			rc = -EFAULT;
		reader->cursor.missed = false;
	}
	return rc;
}

/* Bits enter the readers' pending bits before they leave where they came from */
static void collect_from(struct io_pagetable *iopt,
			 struct iommufd_dirty_provider *provider,
			 unsigned long iova, unsigned long last, bool clear,
			 bool unmap)
{
	u64 start = ktime_get_ns(), ns, pages = provider->pages;
	int rc, missed;

	lockdep_assert_held(&iopt->iova_rwsem);
	lockdep_assert_held(&iopt->dirty.lock);

	if (unmap && provider->ops->unmap)
		rc = provider->ops->unmap(iopt, provider, iova, last);
	else
		rc = provider->ops->collect(iopt, provider, iova, last, clear);
	missed = finish_record(&iopt->dirty, provider);
	if (rc || missed)
		iommufd_dirty_report_all(iopt, provider, iova, last,
					 rc ?: missed);

	ns = ktime_get_ns() - start;
	provider->ns += ns;
	provider->reads++;
	trace_iommufd_dirty_collect(ioas_id(iopt), hwpt_id(provider->hwpt),
				    provider->ops->name, iova, last,
				    provider->pages - pages, ns);
}

/**
 * iommufd_dirty_collect() - Have providers record what a reader wants to know
 * @iopt: the IOAS
 * @reader: the reader
 * @iova: first address
 * @last: last address
 * @clear: and not record it again
 *
 * Context: process; iommufd_dirty_lock() is held.
 */
void iommufd_dirty_collect(struct io_pagetable *iopt,
			   struct iommufd_dirty_reader *reader,
			   unsigned long iova, unsigned long last, bool clear)
{
	struct iommufd_dirty_provider *provider;

	iommufd_dirty_look_for_woken(iopt);
	/* Those for whom nobody stands all the same */
	iommufd_dirty_report_woken(iopt, 0, ULONG_MAX);
	list_for_each_entry(provider, &iopt->dirty.providers, node)
		if (provider->running && concerns(provider, reader))
			collect_from(iopt, provider, iova, last, clear, false);
}

/* ---- Providers ---- */

static int start_provider(struct io_pagetable *iopt,
			  struct iommufd_dirty_provider *provider)
{
	int rc = 0;

	provider->bits = 0;
	if (provider->ops->start)
		rc = provider->ops->start(iopt, provider);
	WRITE_ONCE(provider->running, !rc);
	provider->failed = rc;
	return rc;
}

static void stop_provider(struct io_pagetable *iopt,
			  struct iommufd_dirty_provider *provider)
{
	if (has_reader(&iopt->dirty, provider))
		collect_from(iopt, provider, 0, ULONG_MAX, true, false);
	if (provider->ops->stop)
		provider->ops->stop(iopt, provider);
	WRITE_ONCE(provider->running, false);
}

/**
 * iommufd_dirty_lock() - Keep still what providers are chosen for
 * @iopt: the IOAS
 *
 * Nothing is being unmapped either: a provider that starts could not forget what
 * was written before to an area that it no longer sees.
 *
 * Context: process; none of the IOAS's locks is held.
 */
void iommufd_dirty_lock(struct io_pagetable *iopt)
{
	down_write(&iopt->dirty.unmapping);
	down_read(&iopt->iova_rwsem);
	mutex_lock(&iopt->dirty.lock);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_lock);

/**
 * iommufd_dirty_unlock() - Undo iommufd_dirty_lock()
 * @iopt: the IOAS
 */
void iommufd_dirty_unlock(struct io_pagetable *iopt)
{
	mutex_unlock(&iopt->dirty.lock);
	up_read(&iopt->iova_rwsem);
	up_write(&iopt->dirty.unmapping);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_unlock);

/**
 * iommufd_dirty_update() - Have those providers run that are to
 * @iopt: the IOAS
 *
 * To be called when readers, devices or policy have changed.  New providers
 * start before old ones stop, and what these know is collected, so nothing is
 * lost in between.
 *
 * Context: process; iommufd_dirty_lock() is held.
 *
 * Return: 0, or an error when somebody reads an HWPT and there is a device on it
 * that no provider stands for.  Then no provider has stopped, and after undoing
 * the change and calling this again all is as it was.
 */
int iommufd_dirty_update(struct io_pagetable *iopt)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct iommufd_dirty_provider *provider;
	int rc, failed = 0;

	lockdep_assert_held_write(&tracker->unmapping);
	lockdep_assert_held(&iopt->iova_rwsem);
	lockdep_assert_held(&tracker->lock);

	list_for_each_entry(provider, &tracker->providers, node)
		provider->failed = false;
again:
	rc = iommufd_dirty_choose(tracker);
	if (rc)
		return failed ?: rc;
	list_for_each_entry(provider, &tracker->providers, node) {
		if (provider->running || !provider->wanted ||
		    !has_reader(tracker, provider))
			continue;
		/* No device needs it, and it failed already */
		if (provider->failed)
			return failed;
		rc = start_provider(iopt, provider);
		if (rc)
			failed = rc;
		/* That it failed, or what it tells apart, is known now */
		goto again;
	}

	iommufd_dirty_chosen(iopt);
	list_for_each_entry(provider, &tracker->providers, node)
		if (provider->running &&
		    (!provider->wanted || !has_reader(tracker, provider)))
			stop_provider(iopt, provider);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_update);

/**
 * iommufd_dirty_provider_add() - There is a provider
 * @iopt: the IOAS
 * @provider: the provider, filled in by the caller
 *
 * Context: process.
 */
void iommufd_dirty_provider_add(struct io_pagetable *iopt,
				struct iommufd_dirty_provider *provider)
{
	guard(mutex)(&iopt->dirty.lock);
	list_add_tail(&provider->node, &iopt->dirty.providers);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_provider_add);

/**
 * iommufd_dirty_provider_remove() - A provider goes
 * @iopt: the IOAS
 * @provider: stands for no device any more
 *
 * What it knows is collected.
 *
 * Context: process.
 */
void iommufd_dirty_provider_remove(struct io_pagetable *iopt,
				   struct iommufd_dirty_provider *provider)
{
	iommufd_dirty_lock(iopt);
	if (provider->running)
		stop_provider(iopt, provider);
	list_del(&provider->node);
	iommufd_dirty_unlock(iopt);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_provider_remove);

/* ---- Readers ---- */

static int populate(struct iommufd_dirty_reader *reader, struct iopt_area *area,
		    const struct iopt_pages *pages)
{
	int rc;

	rc = dirty_bitmap_populate(&reader->pending, iopt_area_iova(area),
				   iopt_area_last_iova(area));
	if (!rc && reader->feed)
		rc = dirty_feed_map(reader->feed, area, pages);
	return rc;
}

static int start_locked(struct io_pagetable *iopt,
			struct iommufd_dirty_reader *reader)
{
	struct iopt_area *area;
	int rc;

	/* Those without pages are yet to come to iommufd_dirty_map() */
	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		rc = area->pages ? populate(reader, area, area->pages) : 0;
		if (rc)
			return rc;
	}
	/* What was written before is for those who read already */
	iommufd_dirty_collect(iopt, reader, 0, ULONG_MAX, true);
	list_add_rcu(&reader->node, &iopt->dirty.readers);
	rc = iommufd_dirty_update(iopt);
	if (rc) {
		list_del_rcu(&reader->node);
		iommufd_dirty_update(iopt);
	}
	return rc;
}

/* As iommufd_dirty_lock(), and nothing is half mapped */
static void lock_to_start(struct io_pagetable *iopt)
{
	down_write(&iopt->dirty.unmapping);
	down_write(&iopt->domains_rwsem);
	down_read(&iopt->iova_rwsem);
	mutex_lock(&iopt->dirty.lock);
}

static void unlock_started(struct io_pagetable *iopt)
{
	mutex_unlock(&iopt->dirty.lock);
	up_read(&iopt->iova_rwsem);
	up_write(&iopt->domains_rwsem);
	up_write(&iopt->dirty.unmapping);
}

/**
 * iommufd_dirty_reader_start() - Begin to keep bits for a reader
 * @iopt: the IOAS
 * @reader: not active
 * @hwpt: one of the IOAS, of which it reads; NULL: of all
 * @shift: log2 of the bytes that its pending bits tell apart
 *
 * Context: process; the reader's lock is held.
 *
 * Return: 0, -ENOMEM, -EINTR, -EOPNOTSUPP when there is a device that no provider stands
 * for, or what a provider failed with.
 */
int iommufd_dirty_reader_start(struct io_pagetable *iopt,
			       struct iommufd_dirty_reader *reader,
			       struct iommufd_hwpt_paging *hwpt,
			       unsigned int shift)
{
	int rc;

	lockdep_assert_held(&reader->lock);
	reader->hwpt = hwpt;
	dirty_bitmap_init(&reader->pending, shift);
	reader->cursor = (struct dirty_cursor){ .bitmap = &reader->pending };
	reader->must_prune = false;
	iommufd_dirty_stats_add(iopt);

	lock_to_start(iopt);
	rc = start_locked(iopt, reader);
	unlock_started(iopt);
	if (rc) {
		synchronize_rcu();
		dirty_bitmap_destroy(&reader->pending);
		return rc;
	}
	reader->active = true;
	trace_iommufd_dirty_start(ioas_id(iopt), hwpt_id(hwpt));
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_reader_start);

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
	/* Those who go on reading may get another provider by this */
	iommufd_dirty_lock(iopt);
	list_del_rcu(&reader->node);
	iommufd_dirty_update(iopt);
	iommufd_dirty_unlock(iopt);
	synchronize_rcu();
	dirty_bitmap_destroy(&reader->pending);
	trace_iommufd_dirty_stop(ioas_id(iopt), hwpt_id(reader->hwpt));
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_reader_stop);

static bool has_area(void *data, unsigned long iova, unsigned long last)
{
	return iopt_area_iter_first(data, iova, last);
}

/* Under the reader's lock, iova_rwsem and the tracker's */
static void prune(struct io_pagetable *iopt,
		  struct iommufd_dirty_reader *reader, unsigned long iova,
		  unsigned long last)
{
	if (dirty_bitmap_prune(&reader->pending, iova, last, has_area, iopt))
		reader->must_prune = true;
}

/* What is being unmapped is no longer walked: the lock waits for its bits */
static void collect(struct io_pagetable *iopt,
		    struct iommufd_dirty_reader *reader, unsigned long iova,
		    unsigned long last, bool clear, struct dirty_parts *found)
{
	iommufd_dirty_lock(iopt);
	reader->cursor.found = found;
	iommufd_dirty_collect(iopt, reader, iova, last, clear);
	/* What comes for others to read is found by its marks */
	reader->cursor.found = NULL;
	iommufd_dirty_unlock(iopt);
}

/**
 * iommufd_dirty_prune() - Free what could not be freed when its mapping went
 * @iopt: the IOAS
 * @reader: active
 *
 * Context: process; iommufd_dirty_lock() is held, and what else the reader's
 * chunks are freed under.
 */
void iommufd_dirty_prune(struct io_pagetable *iopt,
			 struct iommufd_dirty_reader *reader)
{
	if (!reader->must_prune)
		return;
	reader->must_prune = false;
	prune(iopt, reader, 0, ULONG_MAX);
}

/*
 * Bits that were taken may have come, since the collecting, from another one or
 * from an unmap.  Until those have flushed the IOTLB a device may go on writing to
 * these pages without a new bit: they must not be copied before.
 */
static void settle(struct io_pagetable *iopt,
		   struct iommufd_dirty_reader *reader)
{
	iommufd_dirty_lock(iopt);
	iommufd_dirty_prune(iopt, reader);
	iommufd_dirty_unlock(iopt);
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
	bool traced = trace_iommufd_dirty_read_enabled();
	u64 start = 0, collected = 0, count = 0;
	struct dirty_parts found = {};
	int rc;

	lockdep_assert_held(&reader->lock);
	if (traced)
		start = ktime_get_ns();
	collect(iopt, reader, user->iova, user->last, clear, &found);
	if (traced)
		collected = ktime_get_ns();
	rc = dirty_bitmap_read(&reader->pending, &found, user, clear,
			       traced ? &count : NULL);
	if (traced)
		trace_iommufd_dirty_read(ioas_id(iopt), hwpt_id(reader->hwpt),
					 user->iova, user->last, clear, count,
					 collected - start,
					 ktime_get_ns() - start, rc);
	settle(iopt, reader);
	return rc;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_reader_read);

/* ---- Mappings ---- */

/**
 * iommufd_dirty_init() - Make the tracker of an IOAS
 * @iopt: the IOAS
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_dirty_init(struct io_pagetable *iopt)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	int rc;

	rc = iommufd_dirty_access_init(tracker);
	if (rc)
		return rc;
	mutex_init(&tracker->lock);
	init_rwsem(&tracker->unmapping);
	INIT_LIST_HEAD(&tracker->readers);
	INIT_LIST_HEAD(&tracker->providers);
	INIT_LIST_HEAD(&tracker->attached);
	INIT_LIST_HEAD(&tracker->stats_node);
	tracker->allowed = 0;
	tracker->nr_extents = 0;
	tracker->stats_users = 0;
	atomic64_set(&tracker->lost, 0);
	tracker->ctx = NULL;
	iommufd_dirty_provider_add(iopt, &tracker->access);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_init);

/**
 * iommufd_dirty_destroy() - The IOAS goes
 * @iopt: the IOAS; nobody reads, nothing is attached or pinned
 */
void iommufd_dirty_destroy(struct io_pagetable *iopt)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;

	iommufd_dirty_stats_remove(iopt);
	iommufd_dirty_provider_remove(iopt, &tracker->access);
	free_percpu(tracker->access.pushed);
	WARN_ON(!list_empty(&tracker->readers));
	WARN_ON(!list_empty(&tracker->providers));
	WARN_ON(!list_empty(&tracker->attached));
	WARN_ON(!RB_EMPTY_ROOT(&tracker->pins.rb_root));
	mutex_destroy(&tracker->pins_lock);
	mutex_destroy(&tracker->lock);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_destroy);

/**
 * iommufd_dirty_ioas_init() - Make the dirty tracking of an IOAS
 * @ictx: the iommufd
 * @ioas: the IOAS
 *
 * Context: process.
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_dirty_ioas_init(struct iommufd_ctx *ictx,
			    struct iommufd_ioas *ioas)
{
	int rc;

	rc = iommufd_dirty_init(&ioas->iopt);
	if (rc)
		return rc;
	rc = iommufd_dirty_log_ioas_add(ictx, ioas);
	if (rc)
		iommufd_dirty_destroy(&ioas->iopt);
	return rc;
}

/**
 * iommufd_dirty_ioas_destroy() - An IOAS goes
 * @ioas: the IOAS; nothing is mapped, attached or pinned
 *
 * Context: process.
 */
void iommufd_dirty_ioas_destroy(struct iommufd_ioas *ioas)
{
	iommufd_dirty_log_ioas_remove(ioas);
	iommufd_dirty_destroy(&ioas->iopt);
}

/**
 * iommufd_dirty_map() - An area is about to be mapped
 * @area: the area, which has no pages yet
 * @pages: what it is to map
 *
 * Context: process; domains_rwsem is held, and the area reserves its range.
 *
 * Return: 0, or -ENOMEM or -EINTR when it must not be mapped, since its bits could not be
 * kept; iommufd_dirty_map_failed() is called then too.
 */
int iommufd_dirty_map(struct iopt_area *area, struct iopt_pages *pages)
{
	struct io_pagetable *iopt = area->iopt;
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct iommufd_dirty_provider *provider;
	struct iommufd_dirty_reader *reader;
	int rc;

	guard(rwsem_read)(&iopt->iova_rwsem);
	guard(mutex)(&tracker->lock);
	tracker->nr_extents = 0;
	list_for_each_entry(reader, &tracker->readers, node) {
		rc = populate(reader, area, pages);
		if (rc)
			return rc;
	}
	list_for_each_entry(provider, &iopt->dirty.providers, node)
		if (provider->running && provider->ops->map)
			provider->ops->map(iopt, provider, iopt_area_iova(area),
					   iopt_area_last_iova(area));
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_map);

/**
 * iommufd_dirty_map_failed() - What was about to be mapped will not be
 * @area: the area; what was mapped of it is gone
 *
 * Context: process; domains_rwsem is held, and the area still reserves its range.
 */
void iommufd_dirty_map_failed(struct iopt_area *area)
{
	struct iommufd_dirty_tracker *tracker = &area->iopt->dirty;
	struct iommufd_dirty_reader *reader;

	guard(mutex)(&tracker->lock);
	list_for_each_entry(reader, &tracker->readers, node) {
		reader->must_prune = true;
		if (reader->feed)
			dirty_feed_unmap(reader->feed, iopt_area_iova(area),
					 iopt_area_last_iova(area));
	}
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_map_failed);

/**
 * iommufd_dirty_unmap_begin() - Something may be unmapped from here on
 * @iopt: the IOAS
 *
 * Context: process; none of the IOAS's locks is held.
 */
void iommufd_dirty_unmap_begin(struct io_pagetable *iopt)
{
	down_read(&iopt->dirty.unmapping);
}

/**
 * iommufd_dirty_unmap_end() - What was to be unmapped is gone
 * @iopt: the IOAS
 *
 * Context: process; none of the IOAS's locks is held.
 */
void iommufd_dirty_unmap_end(struct io_pagetable *iopt)
{
	up_read(&iopt->dirty.unmapping);
}

/**
 * iommufd_dirty_unmap() - A mapped range is about to be unmapped
 * @iopt: the IOAS
 * @iova: first address
 * @last: last address
 *
 * Takes what is known of it now.  The bits vanish with the mapping, there is
 * nothing to clear or flush.  What the device manages to write from here on,
 * until its translations are gone, the page table code reports.
 *
 * Context: process; iova_rwsem is held for writing, so no read comes between
 * this and the moment when the area is no longer read.
 */
void iommufd_dirty_unmap(struct io_pagetable *iopt, unsigned long iova,
			 unsigned long last)
{
	struct iommufd_dirty_provider *provider;

	lockdep_assert_held_write(&iopt->iova_rwsem);
	guard(mutex)(&iopt->dirty.lock);
	iopt->dirty.nr_extents = 0;
	list_for_each_entry(provider, &iopt->dirty.providers, node)
		if (provider->running)
			collect_from(iopt, provider, iova, last, false, true);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_unmap);

/**
 * iommufd_dirty_unmap_flushed() - Nobody can write to a range any more
 * @iopt: the IOAS
 * @iova: first address
 * @last: last address
 *
 * Context: process; iova_rwsem is not held, the IOTLB is flushed.  The area still
 * reserves the range: what comes there next must not be taken for what was there.
 */
void iommufd_dirty_unmap_flushed(struct io_pagetable *iopt, unsigned long iova,
				 unsigned long last)
{
	struct iommufd_dirty_provider *provider;
	struct iommufd_dirty_reader *reader;

	guard(rwsem_read)(&iopt->iova_rwsem);
	guard(mutex)(&iopt->dirty.lock);
	list_for_each_entry(provider, &iopt->dirty.providers, node)
		if (provider->running && provider->ops->unmap_flushed)
			provider->ops->unmap_flushed(iopt, provider, iova,
						     last);
	iommufd_dirty_report_woken(iopt, iova, last);
	list_for_each_entry(reader, &iopt->dirty.readers, node)
		if (reader->feed)
			dirty_feed_unmap(reader->feed, iova, last);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_unmap_flushed);

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

	guard(rwsem_read)(&iopt->iova_rwsem);
	guard(mutex)(&iopt->dirty.lock);
	list_for_each_entry(reader, &iopt->dirty.readers, node) {
		if (reader->feed) {
			prune(iopt, reader, iova, last);
			continue;
		}
		/* A read may wait for its user's memory for long: it prunes itself */
		if (!mutex_trylock(&reader->lock)) {
			reader->must_prune = true;
			continue;
		}
		prune(iopt, reader, iova, last);
		mutex_unlock(&reader->lock);
	}
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_unmapped);
