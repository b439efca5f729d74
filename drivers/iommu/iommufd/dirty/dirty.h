/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty tracking of an IOAS: what the parts share
 *
 *   bitmap.c    sparse bitmap of pending bits, and its way to user space
 *   tracker.c   one per IOAS: readers, mappings, what is taken and who gets it
 *   domain.c    provider: the page table of an HWPT
 *   device.c    provider: a device's own tracker
 *   access.c    provider: emulated devices, which write through accesses
 *   all.c       provider: nobody knows, so everything is dirty
 *   coverage.c  which provider stands for which device, and policy
 *   still.c     devices that cannot write, and need none
 *   hwpt.c      the HWPT as a reader: SET and GET of its dirty bitmap
 *   log.c       the dirty log: bits that user space maps
 *   log_bits.c  its bits, set here and taken there
 *   logging.c   DMA logging of a vfio device, as a reader
 *   feed.c      the reader that fills a log with what an IOAS's devices write
 *   stats.c     tracepoints and debugfs
 *
 * A provider knows which pages were written.  A reader wants to know.  Each
 * reader has pending bits of its own, so that two readers never take bits from
 * each other; what is taken from a provider enters those of every reader that it
 * concerns before it is forgotten where it came from.
 *
 * Locks, outermost first: iommufd_dirty_still.lock, the lock of an iommufd group,
 * iommufd_dirty_ctx.lock, iommufd_dirty_log.lock, iommufd_dirty_reader.lock,
 * iommufd_dirty_tracker.unmapping, domains_rwsem, iova_rwsem,
 * iommufd_dirty_tracker.lock, pins_lock; or iopt_pages.mutex of a dmabuf, in place of
 * the last.  Marking paths take none of them, they run under RCU.
 */
#ifndef __IOMMUFD_DIRTY_H
#define __IOMMUFD_DIRTY_H

#include <linux/bitops.h>
#include <linux/interval_tree.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/list.h>
#include <linux/log2.h>
#include <linux/maple_tree.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/xarray.h>
#include <uapi/linux/iommufd.h>

struct dirty_feed_largest;
struct dirty_range;
struct eventfd_ctx;
struct io_pagetable;
struct iommu_iotlb_gather;
struct iommufd_access;
struct iommufd_ctx;
struct iommufd_device;
struct iommufd_dirty_ctx;
struct dirty_chunk;
struct iommufd_dirty_device_ops;
struct iommufd_dirty_feed;
struct iommufd_dirty_provider;
struct iommufd_hw_pagetable;
struct iommufd_hwpt_paging;
struct iommufd_ioas;
struct iommufd_ucmd;
struct iopt_area;
struct iopt_pages;
struct iova_bitmap;
struct seq_file;
struct vm_area_struct;

/* Most words have one bit, and not all machines count in one step */
static inline unsigned int dirty_weight(unsigned long bits)
{
	return is_power_of_2(bits) ? 1 : hweight_long(bits);
}

/* ---- Pending bits ---- */

/**
 * struct dirty_bitmap - sparse bitmap over the IOVA space
 * @chunks: by IOVA >> @chunk_shift, a chunk of bits.  XA_MARK_0 says that the
 *	    chunk may hold a set bit; reading follows the marks, so its cost
 *	    follows what is dirty.
 * @shift: log2 of the bytes that a bit stands for
 *
 * Chunks exist for all that is mapped, so that setting a bit never allocates.
 *
 * Bits are set from any context by atomic operations: first the bit, then, in the
 * chunk, that its word has some, then the mark.  They are taken the other way round:
 * first the mark, then which words have some, then the bits.  A bit set in between is
 * either taken with the others, or left behind with its mark.  Who reads what it has
 * collected itself needs no marks for that, see struct dirty_cursor.  Taking, adding
 * and freeing chunks is serialized by the owner; chunks are freed after a grace period
 * of RCU.
 */
struct dirty_bitmap {
	struct xarray chunks;
	unsigned int shift;
};

/* Chunks that are gone through at once: to lock, or to wait, for each costs more */
#define DIRTY_MARKS	32

/**
 * struct dirty_left - what is to be written to a chunk
 * @chunk: the chunk
 * @index: of @chunk
 * @some: words that were written to, or will be
 * @full: words to be set
 * @bits: to be set in one more word
 * @word: in this
 */
struct dirty_left {
	struct dirty_chunk *chunk;
	unsigned long index;
	unsigned long some;
	unsigned long full;
	unsigned long bits;
	unsigned int word;
};

/**
 * struct dirty_part - what is taken from a chunk
 * @chunk: stays until all is done
 * @index: of the chunk
 * @first: no bit before is pending and asked for, when the read began
 * @last: nor one behind
 */
struct dirty_part {
	struct dirty_chunk *chunk;
	unsigned long index;
	u16 first;
	u16 last;
};

/**
 * struct dirty_parts - chunks that are read at once
 * @part: what is taken from them, ascending
 * @nr: how many
 * @room: for so many
 */
struct dirty_parts {
	struct dirty_part *part;
	unsigned long nr;
	unsigned long room;
};

/**
 * struct dirty_cursor - where a walk over many bits stands
 * @bitmap: the bitmap
 * @found: who reads at once, before others do or chunks are freed, is told here which
 *	   chunks have bits: most get no mark; or NULL
 * @missed: a bit was set where there is no chunk
 * @nr_left: how many of @left there are
 * @left: the last chunks that were come to
 *
 * Spares looking up the chunk for each word, waiting for it to come from memory, and
 * locking for each mark.  All is written at the end of the walk.  Chunks are not freed
 * meanwhile.
 */
struct dirty_cursor {
	struct dirty_bitmap *bitmap;
	struct dirty_parts *found;
	bool missed;
	unsigned int nr_left;
	struct dirty_left left[DIRTY_MARKS];
};

/**
 * struct dirty_user_bitmap - where a reader wants its bits
 * @iova: what bit 0 stands for, aligned to the page size
 * @last: last address that the bitmap stands for
 * @shift: log2 of the bytes that a bit stands for
 * @data: user address of the bitmap, any alignment
 */
struct dirty_user_bitmap {
	unsigned long iova;
	unsigned long last;
	unsigned int shift;
	unsigned long data;
};

/**
 * struct dirty_taker - who gets bits that were pending
 * @word: a word with some set, of which the lowest bit stands for @iova
 * @range: all of a range is set, which begins and ends with a word
 */
struct dirty_taker {
	void (*word)(void *data, unsigned long iova, unsigned long word);
	void (*range)(void *data, unsigned long iova, unsigned long last);
};

int dirty_bitmap_module_init(void);
void dirty_bitmap_module_exit(void);
void dirty_bitmap_init(struct dirty_bitmap *bitmap, unsigned int shift);
void dirty_bitmap_destroy(struct dirty_bitmap *bitmap);
int dirty_bitmap_populate(struct dirty_bitmap *bitmap, unsigned long iova,
			  unsigned long last);
bool dirty_bitmap_prune(struct dirty_bitmap *bitmap, unsigned long iova,
			unsigned long last,
			bool (*keep)(void *data, unsigned long iova,
				     unsigned long last),
			void *data);
bool dirty_bitmap_set(struct dirty_bitmap *bitmap, unsigned long iova,
		      unsigned long last);
int dirty_bitmap_read(struct dirty_bitmap *bitmap,
		      struct dirty_parts *found,
		      const struct dirty_user_bitmap *user, bool clear,
		      u64 *count);
void dirty_bitmap_take(struct dirty_bitmap *bitmap, unsigned long iova,
		       unsigned long last, const struct dirty_taker *taker,
		       void *data);

void dirty_cursor_or(struct dirty_cursor *cursor, unsigned long iova,
		     unsigned int shift, unsigned long bits);
void dirty_cursor_set(struct dirty_cursor *cursor, unsigned long iova,
		      unsigned long last);
void dirty_cursor_finish(struct dirty_cursor *cursor);

/* ---- Readers ---- */

/**
 * struct iommufd_dirty_reader - one who wants to know what was written
 * @lock: serializes starting, reading and stopping.  Outside of the tracker's
 *	  lock, so that copying to user memory, which may sleep for long, holds up
 *	  nobody else.
 * @active: started, and in the tracker's list; under @lock
 * @node: link in that list
 * @hwpt: reads what is written through this HWPT, and by accesses; NULL: all
 * @logs: reads for one device or access: others may be there that nobody tracks
 * @idev: the device that it reads for, or NULL
 * @feed: it is part of this, and brings bits to a dirty log; or NULL
 * @pending: bits not yet read.  Bits are taken, and chunks freed, under @lock;
 *	     of a feed, under the tracker's.
 * @must_prune: there are chunks over nothing mapped, to be freed when they can
 *		be; under the tracker's lock
 * @cursor: where the walk of a provider stands; under the tracker's lock
 *
 * Part of what reads, so it lives as long.  Marking paths find it under RCU
 * while it is active.
 */
struct iommufd_dirty_reader {
	struct mutex lock;
	bool active;
	struct list_head node;
	struct iommufd_hwpt_paging *hwpt;
	bool logs;
	struct iommufd_device *idev;
	struct iommufd_dirty_feed *feed;
	struct dirty_bitmap pending;
	bool must_prune;
	struct dirty_cursor cursor;
};

/* ---- Providers ---- */

/**
 * struct iommufd_dirty_provider_ops - what a provider can do
 * @name: for people
 * @type: for the ioctls
 * @start: Begin to track.  What was written before concerns nobody.  May fail;
 *	   then it has not begun.
 * @stop: Track no more; what was written until then was collected.
 * @collect: Record what was written in a range since it was last cleared, and,
 *	     with @clear, clear it where it came from, after that.  An error says
 *	     that bits may be missing; the range is then reported dirty.
 * @unmap: Record what was written in a range that is to be unmapped.  Without
 *	   it @collect does.
 * @map: A range is about to be mapped, and can be written from then on.
 * @unmap_flushed: A range that @unmap was called for can no longer be written; its
 *		   area goes after this.  What was written since is pushed, it is
 *		   not recorded.
 *
 * All are called with iova_rwsem held, for writing when a range is to be unmapped,
 * and with the tracker's lock, so one at a time.  They may sleep.  @collect and
 * @unmap record by iommufd_dirty_record(), _range() and _words(), which may sleep,
 * too.
 */
struct iommufd_dirty_provider_ops {
	const char *name;
	enum iommu_dirty_provider type;
	int (*start)(struct io_pagetable *iopt,
		     struct iommufd_dirty_provider *provider);
	void (*stop)(struct io_pagetable *iopt,
		     struct iommufd_dirty_provider *provider);
	int (*collect)(struct io_pagetable *iopt,
		       struct iommufd_dirty_provider *provider,
		       unsigned long iova, unsigned long last, bool clear);
	int (*unmap)(struct io_pagetable *iopt,
		     struct iommufd_dirty_provider *provider,
		     unsigned long iova, unsigned long last);
	void (*map)(struct io_pagetable *iopt,
		    struct iommufd_dirty_provider *provider,
		    unsigned long iova, unsigned long last);
	void (*unmap_flushed)(struct io_pagetable *iopt,
			      struct iommufd_dirty_provider *provider,
			      unsigned long iova, unsigned long last);
};

/**
 * struct iommufd_dirty_provider - one who knows what was written
 * @ops: what it can do
 * @node: link in the tracker's list, from iommufd_dirty_provider_add() until
 *	  iommufd_dirty_provider_remove()
 * @hwpt: concerns the readers of this HWPT; NULL: every reader
 * @exact: it knows; otherwise it says that everything was written
 * @granule_min: bytes that it tells apart at best
 * @granule_max: bytes that it tells apart at worst; 0: none, all of a mapping
 * @rating: of two that are alike otherwise, the higher one is taken
 * @wanted: it stands for a device, or there is nobody else
 * @running: between start and stop
 * @failed: it could not be started
 * @shift: log2 of the bytes that a bit of @bits stands for
 * @iova: what bit 0 of @bits stands for
 * @bits: recorded, and not yet with the readers
 * @reads: times that it was collected from
 * @pages: bits recorded, in units of @shift
 * @pushed: the same of those pushed, per CPU, since whoever pushes shall not wait
 *	    for another; NULL: it never pushes
 * @ns: time spent collecting
 * @lost: times that its range was reported dirty, since it failed
 *
 * Part of what provides, so it lives as long.  All is under the tracker's lock,
 * but what @pushed points to.
 */
struct iommufd_dirty_provider {
	const struct iommufd_dirty_provider_ops *ops;
	struct list_head node;
	struct iommufd_hwpt_paging *hwpt;
	bool exact;
	unsigned long granule_min;
	unsigned long granule_max;
	int rating;

	bool wanted;
	bool running;
	bool failed;

	unsigned int shift;
	unsigned long iova;
	unsigned long bits;

	u64 reads;
	u64 pages;
	u64 __percpu *pushed;
	u64 ns;
	u64 lost;
};

/**
 * struct iommufd_dirty_device - a device's own tracker
 * @ops: what the driver can do; NULL: there is none.  Fixed before the device is
 *	 attached.
 * @data: for @ops
 * @iopt: the IOAS that it tracks at present, or NULL
 * @users: struct iommufd_dirty_user for which it runs
 * @started: the driver was started
 * @error: why the driver must be started anew, or 0
 * @page_size: bytes that it tells apart
 * @nr_ranges: how many of @ranges there are
 * @ranges: what the driver logs
 * @sink: takes what the driver reports
 * @asking: of @users, for whom the log is being read, or NULL
 * @area: where the last page was that it had, meanwhile; kept by iova_rwsem
 * @held_lock: protects @held
 * @held: ranges that are dirty until told, see iommufd_dirty_hold()
 *
 * Part of the device.  A driver has one log for all that the device writes, and
 * knows addresses only: it tracks one IOAS at a time.  While @iopt is set, all of
 * the rest is under the lock of that tracker, and @users is read under it or RCU.
 * @error may be set at any time.
 */
struct iommufd_dirty_device {
	const struct iommufd_dirty_device_ops *ops;
	void *data;
	struct io_pagetable *iopt;
	struct list_head users;
	bool started;
	int error;
	u64 page_size;
	unsigned int nr_ranges;
	struct dirty_range *ranges;
	struct iova_bitmap *sink;
	struct iommufd_dirty_user *asking;
	struct iopt_area *area;
	spinlock_t held_lock;
	struct rb_root_cached held;
};

/**
 * struct iommufd_dirty_user - a device's own tracker, as a provider
 * @provider: of the bits that the device writes through one HWPT
 * @device: the tracker
 * @iopt: of the HWPT
 * @node: link in &iommufd_dirty_device.users while it runs
 * @gap: nobody logged for a while: all is to be reported dirty
 *
 * Part of the attachment, under the tracker's lock.
 */
struct iommufd_dirty_user {
	struct iommufd_dirty_provider provider;
	struct iommufd_dirty_device *device;
	struct io_pagetable *iopt;
	struct list_head node;
	int gap;
};

/**
 * struct iommufd_dirty_attachment - a device that writes to the IOAS
 * @node: link in the tracker's list
 * @idev_node: link in the device's list, under its group's lock
 * @idev: the device
 * @hwpt: the HWPT that it is attached to, or the parent of that
 * @nested: the parent it is: what the device knows of are no addresses of the IOAS
 * @pasid: with this PASID
 * @can: by type, the providers that there are for it, whatever policy says
 * @next: the one that is to stand for it; NULL: none can, or it stands still
 * @does: the one that does
 * @still: it stands still, so that none is needed that is not exact
 * @idle: none does, and it stood still when that was found right
 * @own: the device's own tracker, if it has one
 *
 * Exists from before the device can write until after it no longer can.  All but
 * @idev_node is under the tracker's lock.
 */
struct iommufd_dirty_attachment {
	struct list_head node;
	struct hlist_node idev_node;
	struct iommufd_device *idev;
	struct iommufd_hwpt_paging *hwpt;
	bool nested;
	ioasid_t pasid;
	struct iommufd_dirty_provider *can[IOMMU_DIRTY_PROVIDERS];
	struct iommufd_dirty_provider *next;
	struct iommufd_dirty_provider *does;
	bool still;
	bool idle;
	struct iommufd_dirty_user own;
};

/**
 * struct iommufd_dirty_still - whether a device stands still
 * @lock: held while the device's state changes
 * @is_still: asks the device, see iommufd_device_set_still(); NULL: it never does
 * @data: for @is_still
 * @still: it did when its state was last changed, and its state is not about to
 *	   change to one in which it does not.  Written under @lock and the lock of
 *	   its group, before trackers are updated for it.
 * @wrote: it did not when the change of its state began; under @lock
 *
 * Part of the device.
 */
struct iommufd_dirty_still {
	struct mutex lock;
	bool (*is_still)(void *data);
	void *data;
	bool still;
	bool wrote;
};

/* ---- Tracker ---- */

/* Of most guests the mapped IOVAs have fewer gaps, and devices' BARs among them */
#define IOMMUFD_DIRTY_EXTENTS	16

/**
 * struct iommufd_dirty_extent - areas that follow each other
 * @iova: first address
 * @last: last address
 * @dmabuf: what it maps, if that is one that may be revoked, and then there is one
 *	    area only; else NULL
 */
struct iommufd_dirty_extent {
	unsigned long iova;
	unsigned long last;
	struct iopt_pages *dmabuf;
};

/**
 * struct iommufd_dirty_tracker - the dirty tracking of an IOAS
 * @lock: serializes taking bits from providers, and readers, providers and
 *	  devices coming and going
 * @readers: written under @lock, read under it or RCU
 * @providers: under @lock
 * @attached: devices, as struct iommufd_dirty_attachment; under @lock
 * @allowed: providers that the user allows here, a mask by type; 0: no word on
 *	     it.  Under @lock.
 * @unmapping: held for reading while anything is being unmapped.  Its bits may be
 *	       on their way; a read waits until they have arrived, and a start
 *	       lets none be, since they are older than it.
 * @extents: all areas, none of which is being mapped or unmapped.  Forgotten before
 *	     one is: to go through many areas takes longer than all else in a read
 *	     of what nobody wrote to.  Under @lock.
 * @nr_extents: how many, or 0: not known
 * @access: provider: accesses
 * @pins_lock: protects @pins
 * @pins: what accesses have pinned, by IOVA; dirty at every read if to be written
 * @lost: times that exactness was lost and a range reported dirty instead
 * @ctx: what the dirty logs of the iommufd share, or NULL
 * @ctx_node: link in the list of its IOASes
 * @stats_node: link in the list of all that are shown in debugfs
 * @stats_users: how many look at it from there
 * @pid: who read first
 */
struct iommufd_dirty_tracker {
	struct mutex lock;
	struct list_head readers;
	struct list_head providers;
	struct list_head attached;
	u32 allowed;
	struct rw_semaphore unmapping;
	struct iommufd_dirty_extent extents[IOMMUFD_DIRTY_EXTENTS];
	unsigned int nr_extents;

	struct iommufd_dirty_provider access;
	struct mutex pins_lock;
	struct rb_root_cached pins;

	atomic64_t lost;
	struct iommufd_dirty_ctx *ctx;
	struct list_head ctx_node;
	struct list_head stats_node;
	unsigned int stats_users;
	pid_t pid;
};

int iommufd_dirty_init(struct io_pagetable *iopt);
void iommufd_dirty_destroy(struct io_pagetable *iopt);
int iommufd_dirty_ioas_init(struct iommufd_ctx *ictx,
			    struct iommufd_ioas *ioas);
void iommufd_dirty_ioas_destroy(struct iommufd_ioas *ioas);
int iommufd_dirty_map(struct iopt_area *area, struct iopt_pages *pages);
void iommufd_dirty_map_failed(struct iopt_area *area);
void iommufd_dirty_unmap_begin(struct io_pagetable *iopt);
void iommufd_dirty_unmap_end(struct io_pagetable *iopt);
void iommufd_dirty_unmap(struct io_pagetable *iopt, unsigned long iova,
			 unsigned long last);
void iommufd_dirty_unmap_flushed(struct io_pagetable *iopt, unsigned long iova,
				 unsigned long last);
void iommufd_dirty_unmapped(struct io_pagetable *iopt, unsigned long iova,
			    unsigned long last);

void iommufd_dirty_provider_add(struct io_pagetable *iopt,
				struct iommufd_dirty_provider *provider);
void iommufd_dirty_provider_remove(struct io_pagetable *iopt,
				   struct iommufd_dirty_provider *provider);
void iommufd_dirty_lock(struct io_pagetable *iopt);
void iommufd_dirty_unlock(struct io_pagetable *iopt);
int iommufd_dirty_update(struct io_pagetable *iopt);

int iommufd_dirty_reader_start(struct io_pagetable *iopt,
			       struct iommufd_dirty_reader *reader,
			       struct iommufd_hwpt_paging *hwpt,
			       unsigned int shift);
void iommufd_dirty_reader_stop(struct io_pagetable *iopt,
			       struct iommufd_dirty_reader *reader);
void iommufd_dirty_collect(struct io_pagetable *iopt,
			   struct iommufd_dirty_reader *reader,
			   unsigned long iova, unsigned long last, bool clear);
void iommufd_dirty_prune(struct io_pagetable *iopt,
			 struct iommufd_dirty_reader *reader);
int iommufd_dirty_reader_read(struct io_pagetable *iopt,
			      struct iommufd_dirty_reader *reader,
			      const struct dirty_user_bitmap *user, bool clear);

void iommufd_dirty_record_slow(struct iommufd_dirty_tracker *tracker,
			       struct iommufd_dirty_provider *provider,
			       unsigned long iova, unsigned long last);
void iommufd_dirty_record_words(struct iommufd_dirty_tracker *tracker,
				struct iommufd_dirty_provider *provider,
				unsigned long iova, unsigned int shift,
				const u64 *words, unsigned int nr);
void iommufd_dirty_push(struct iommufd_dirty_tracker *tracker,
			struct iommufd_dirty_provider *provider,
			unsigned long iova, unsigned long last);
void iommufd_dirty_push_unflushed(struct iommufd_dirty_tracker *tracker,
				  struct iommufd_dirty_provider *provider,
				  unsigned long iova, unsigned long last);
u64 iommufd_dirty_provider_pages(const struct iommufd_dirty_provider *provider);
void iommufd_dirty_report_all(struct io_pagetable *iopt,
			      struct iommufd_dirty_provider *provider,
			      unsigned long iova, unsigned long last, int rc);
void iommufd_dirty_record_range(struct iommufd_dirty_tracker *tracker,
				struct iommufd_dirty_provider *provider,
				unsigned long iova, unsigned long last);
void iommufd_dirty_record_mapped(struct io_pagetable *iopt,
				 struct iommufd_dirty_provider *provider,
				 unsigned long iova, unsigned long last);

/**
 * iommufd_dirty_record() - A range was written
 * @tracker: the tracker
 * @provider: who says so; it is being collected from
 * @iova: first address
 * @last: last address
 *
 * What a page table knows comes entry by entry and in order: bits are gathered
 * to words before they go to the readers.
 *
 * Context: from the provider's collect() and unmap().
 */
static inline void iommufd_dirty_record(struct iommufd_dirty_tracker *tracker,
					struct iommufd_dirty_provider *provider,
					unsigned long iova, unsigned long last)
{
	unsigned long bit = (iova - provider->iova) >> provider->shift;

	if (bit < BITS_PER_LONG &&
	    bit == (last - provider->iova) >> provider->shift)
		provider->bits |= BIT(bit);
	else
		iommufd_dirty_record_slow(tracker, provider, iova, last);
}

/* ---- Provider: the page table of an HWPT ---- */

/**
 * struct iommufd_dirty_hwpt - what an HWPT has to do with dirty tracking
 * @asked: it was allocated with IOMMU_HWPT_ALLOC_DIRTY_TRACKING: devices that
 *	   nobody tracks cannot be attached, and it can be read
 * @reader: who reads it with SET and GET
 * @iommu: provider: its page table
 * @sink: makes the domain's dirty_ops record with @iommu
 * @unmap_sink: makes the page table code mark what unmapping finds dirty
 * @gather: what is to be flushed, while it is collected from
 * @flushes: how often it may still be flushed before the end
 * @all: provider: everything is dirty
 */
struct iommufd_dirty_hwpt {
	bool asked;
	struct iommufd_dirty_reader reader;
	struct iommufd_dirty_provider iommu;
	struct iova_bitmap *sink;
	struct iova_bitmap *unmap_sink;
	struct iommu_iotlb_gather *gather;
	unsigned int flushes;
	struct iommufd_dirty_provider all;
};

int iommufd_dirty_domain_init(struct iommufd_hwpt_paging *hwpt);
void iommufd_dirty_domain_remove(struct iommufd_hwpt_paging *hwpt);
void iommufd_dirty_domain_free(struct iommufd_hwpt_paging *hwpt);

/* ---- Provider: a device's own tracker ---- */

int iommufd_dirty_device_attach(struct iommufd_dirty_attachment *at);
void iommufd_dirty_device_detach(struct iommufd_dirty_attachment *at);

/* ---- Provider: everything ---- */

void iommufd_dirty_all_init(struct iommufd_dirty_provider *provider,
			    struct iommufd_hwpt_paging *hwpt);

/* ---- Provider: accesses of emulated devices ---- */

int iommufd_dirty_access_init(struct iommufd_dirty_tracker *tracker);
void iommufd_dirty_access_wrote(struct io_pagetable *iopt, unsigned long iova,
				unsigned long last);
int iommufd_dirty_access_pin(struct io_pagetable *iopt,
			     struct iommufd_access *access, unsigned long iova,
			     unsigned long last, bool write);
void iommufd_dirty_access_pin_failed(struct io_pagetable *iopt,
				     struct iommufd_access *access,
				     unsigned long iova, unsigned long last,
				     bool write);
void iommufd_dirty_access_unpin(struct io_pagetable *iopt,
				struct iommufd_access *access,
				unsigned long iova, unsigned long last);

/* ---- Coverage ---- */

int iommufd_dirty_choose(struct iommufd_dirty_tracker *tracker);
void iommufd_dirty_chosen(struct io_pagetable *iopt);
bool iommufd_dirty_is_read(const struct iommufd_dirty_tracker *tracker,
			   const struct iommufd_dirty_attachment *at);
bool iommufd_dirty_capable(struct iommufd_device *idev);
int iommufd_dirty_hwpt_alloc_flags(struct iommufd_hwpt_paging *hwpt,
				   struct iommufd_device *idev, u32 *flags);
bool iommufd_dirty_same_way(struct iommufd_hw_pagetable *a,
			    struct iommufd_hw_pagetable *b);
int iommufd_dirty_attach(struct iommufd_hw_pagetable *hwpt,
			 struct iommufd_device *idev, ioasid_t pasid);
void iommufd_dirty_detach(struct iommufd_hw_pagetable *hwpt,
			  struct iommufd_device *idev, ioasid_t pasid);

int iommufd_dirty_get_coverage(struct iommufd_ucmd *ucmd);
int iommufd_dirty_set_policy(struct iommufd_ucmd *ucmd);

/* ---- Devices that stand still ---- */

bool iommufd_dirty_is_still(struct iommufd_device *idev);
bool iommufd_dirty_is_woken(const struct iommufd_dirty_tracker *tracker,
			    const struct iommufd_dirty_attachment *at);
void iommufd_dirty_report_unknown(struct io_pagetable *iopt,
				  struct iommufd_dirty_attachment *at,
				  unsigned long iova, unsigned long last);
void iommufd_dirty_report_woken(struct io_pagetable *iopt, unsigned long iova,
				unsigned long last);
void iommufd_dirty_look_for_woken(struct io_pagetable *iopt);

/* ---- The HWPT ---- */

int iommufd_dirty_hwpt_init(struct iommufd_hwpt_paging *hwpt);
void iommufd_dirty_hwpt_release(struct iommufd_hwpt_paging *hwpt);

/* ---- DMA logging of vfio devices ---- */

void iommufd_dirty_device_left(struct iommufd_device *idev,
			       struct io_pagetable *iopt);
void iommufd_dirty_access_left(struct iommufd_access *access);
bool iommufd_dirty_auto_fits(struct iommufd_device *idev,
			     struct iommufd_hwpt_paging *hwpt);
struct iommufd_hwpt_paging *
iommufd_dirty_auto_domain(struct iommufd_device *idev,
			  struct iommufd_ioas *ioas, ioasid_t pasid,
			  bool immediate_attach);

/* ---- Dirty logs ---- */

#define DIRTY_LOG_MIN_SHIFT	12

/**
 * struct dirty_log_bits - bits that the kernel sets and user space takes
 * @bits: one for each page of the log
 * @summary: one for each 64 bytes of @bits, in the same memory
 * @nr: how many bits there are
 *
 * User space maps this memory and may write to it whatever it likes: the kernel
 * sets bits, and looks at them only to see whether they are set.
 *
 * Who sets has written the page, then
 *
 *	S1	sets the bit, whether it is set already or not
 *	S2	looks at that of the summary, and sets it unless it is set
 *
 * and who takes
 *
 *	T1	clears a word of the summary
 *	T2	clears the words of the lines that were set in it
 *	T3	copies the pages whose bits were set
 *
 * All that sets or clears is atomic, and S1, T1 and T2 are full barriers besides: what
 * comes before one of them in its thread has happened when what comes after does.
 *
 * T2 after S1: the bit is taken, and T3 comes after the page was written.  That is
 * why S1 may not be left out for a bit that is seen set: it may be taken at this
 * moment, by one who copies the page before the new data is seen.
 *
 * T2 before S1: then T1 is before T2, and S2 after S1, so the look at the summary
 * is after T1.  It is seen clear, and set; or it is seen set, by one who set it after
 * T1.  Either way it is set after T1, and there is another T1 to come.
 *
 * So whenever S2 is done a bit has that of the summary, or was taken, or is about to
 * be by one between T1 and T2.  Who takes a part of a line leaves its bit in the
 * summary: to set it again after T1 would hide the rest of the line from others.  A bit
 * of the summary over nothing costs a look.
 *
 * tools/verification/models/iommufd_dirty_log has this as a model to check.
 */
struct dirty_log_bits {
	unsigned long *bits;
	unsigned long *summary;
	unsigned long nr;
};

size_t dirty_log_bits_summary(unsigned long nr);
size_t dirty_log_bits_size(unsigned long nr);
int dirty_log_bits_alloc(struct dirty_log_bits *log, unsigned long nr);
void dirty_log_bits_free(struct dirty_log_bits *log);
unsigned int dirty_log_bits_or(struct dirty_log_bits *log, unsigned long bit,
			       unsigned long mask);
unsigned long dirty_log_bits_set(struct dirty_log_bits *log,
				 unsigned long first, unsigned long last);

/**
 * struct iommufd_dirty_ctx - what the dirty logs of an iommufd share
 * @lock: protects the lists
 * @logs: those of memory, by their node
 * @ioases: all, by &iommufd_dirty_tracker.ctx_node
 */
struct iommufd_dirty_ctx {
	struct mutex lock;
	struct list_head logs;
	struct list_head ioases;
};

/**
 * struct iommufd_dirty_log - the object
 * @obj: for the user
 * @ictx: the iommufd
 * @node: link in the list of logs of memory, under the lock of iommufd_dirty_ctx
 * @lock: protects @feeds, and serializes syncs
 * @feeds: one for each IOAS that it hears of
 * @flags: of enum iommu_dirty_log_alloc_flags
 * @start: first IOVA or user address
 * @length: bytes
 * @file_start: offset in @file of the same
 * @shift: log2 of the bytes that a bit stands for
 * @ioas: of a log of IOVAs: which it has a reference to; else NULL
 * @mm: of who allocated it: user addresses are of this, its memory counts there
 * @user: likewise
 * @file: the file, or NULL
 * @bits: what user space maps
 * @mmap: says so to mmap().  Mappings are users of @obj, so it is not destroyed
 *	  under them.
 * @account_mode: where @npages are accounted
 * @npages: pages of memory accounted
 * @event: to be signalled, or NULL
 * @threshold: each time that so many more bits were set
 * @set: bits that were set, if there is @event
 * @lost: times that exactness was lost, since the last sync
 *
 * All but the lists and the last two is constant once user space knows it.
 */
struct iommufd_dirty_log {
	struct iommufd_object obj;
	struct iommufd_ctx *ictx;
	struct list_head node;
	struct mutex lock;
	struct list_head feeds;

	u32 flags;
	unsigned int shift;
	unsigned long start;
	unsigned long length;
	unsigned long file_start;
	struct iommufd_ioas *ioas;
	struct mm_struct *mm;
	struct user_struct *user;
	struct file *file;

	struct dirty_log_bits bits;
	struct iommufd_mmap *mmap;
	unsigned int account_mode;
	unsigned long npages;

	struct eventfd_ctx *event;
	u64 threshold;
	atomic64_t set;
	atomic64_t lost;
};

/**
 * struct iommufd_dirty_feed - brings what is written through an IOAS to a log
 * @reader: of the IOAS
 * @log: to there
 * @iopt: the IOAS
 * @node: link in the log's list
 * @map: of a log of memory: where the IOAS maps what the log stands for.  By IOVA,
 *	 a value: the offset in the log less the IOVA.  Written under the tracker's
 *	 lock, read under RCU; follows what the IOAS maps.
 * @largest: the largest entry of it that there has been since one like that was
 *	     unmapped, or NULL; likewise
 */
struct iommufd_dirty_feed {
	struct iommufd_dirty_reader reader;
	struct iommufd_dirty_log *log;
	struct io_pagetable *iopt;
	struct list_head node;
	struct maple_tree map;
	struct dirty_feed_largest __rcu *largest;
};

int dirty_feed_start(struct iommufd_dirty_feed *feed,
		     struct iommufd_dirty_log *log, struct io_pagetable *iopt);
void dirty_feed_stop(struct iommufd_dirty_feed *feed);
void dirty_feed_mark(struct iommufd_dirty_feed *feed, unsigned long iova,
		     unsigned long last);
unsigned long dirty_feed_sync(struct iommufd_dirty_feed *feed,
			      unsigned long offset, unsigned long end,
			      bool clear);
int dirty_feed_map(struct iommufd_dirty_feed *feed, struct iopt_area *area,
		   const struct iopt_pages *pages);
void dirty_feed_unmap(struct iommufd_dirty_feed *feed, unsigned long iova,
		      unsigned long last);

void iommufd_dirty_ctx_init(struct iommufd_dirty_ctx *ctx);
int iommufd_dirty_log_ioas_add(struct iommufd_ctx *ictx,
			       struct iommufd_ioas *ioas);
void iommufd_dirty_log_ioas_remove(struct iommufd_ioas *ioas);
void iommufd_dirty_log_count(struct iommufd_dirty_log *log, unsigned long set);
int iommufd_dirty_log_mmap(struct iommufd_object *obj,
			   struct vm_area_struct *vma);
void iommufd_dirty_log_destroy(struct iommufd_object *obj);
int iommufd_dirty_log_alloc(struct iommufd_ucmd *ucmd);
int iommufd_dirty_log_sync(struct iommufd_ucmd *ucmd);

/* ---- Statistics ---- */

void iommufd_dirty_stats_add(struct io_pagetable *iopt);
void iommufd_dirty_stats_remove(struct io_pagetable *iopt);
void iommufd_dirty_update_all(void);
void iommufd_dirty_show_coverage(struct seq_file *m, struct io_pagetable *iopt,
				 pid_t pid);
void iommufd_dirty_stats_init(void);
void iommufd_dirty_stats_exit(void);

#endif
