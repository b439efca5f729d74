/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty tracking of an IOAS: what the parts share
 *
 *   bitmap.c    sparse bitmap of pending bits, and its way to user space
 *   tracker.c   one per IOAS: readers, mappings, and taking bits from providers
 *   access.c    provider: emulated devices, which write through accesses
 *   hwpt.c      the HWPT as a reader: SET and GET of its dirty bitmap
 *
 * A provider knows which pages were written: the page table of an HWPT, an
 * emulated device that writes through an access.  A reader wants to know.  Each
 * reader has pending bits of its own, so that two readers never take bits from
 * each other; what is taken from a provider enters them before it is forgotten
 * where it came from.
 */
#ifndef __IOMMUFD_DIRTY_H
#define __IOMMUFD_DIRTY_H

#include <linux/interval_tree.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/xarray.h>

struct io_pagetable;
struct iommu_domain;
struct iommufd_access;
struct iommufd_hwpt_paging;
struct iova_bitmap;

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
 * Bits are set from any context by atomic operations: first the bit, then the
 * mark.  They are taken the other way round: first the mark, then the bits.  A
 * bit set in between is either taken with the others, or left behind with its
 * mark.  Taking, adding and freeing chunks is serialized by the owner; chunks
 * are freed after a grace period of RCU.
 */
struct dirty_bitmap {
	struct xarray chunks;
	unsigned int shift;
};

/**
 * struct dirty_cursor - where a walk over many bits stands
 * @bitmap: the bitmap
 * @index: of @chunk
 * @chunk: the chunk last written to, or NULL
 * @word: index of the word of @chunk that @bits belong to
 * @bits: set, and not yet in @chunk
 * @missed: a bit was set where there is no chunk
 *
 * Spares looking up the chunk for each bit, and an atomic operation for each of
 * a word's.  What it holds, and the chunk's mark, go to the bitmap when the walk
 * moves on, and at its end; until then the owner must not take bits.
 */
struct dirty_cursor {
	struct dirty_bitmap *bitmap;
	unsigned long index;
	unsigned long *chunk;
	unsigned int word;
	unsigned long bits;
	bool missed;
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
		      const struct dirty_user_bitmap *user, bool clear);

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
 * @domain: reads what is written through this domain, and by accesses
 * @pending: bits not yet read.  Bits are taken, and chunks freed, under @lock.
 * @must_prune: there are chunks over nothing mapped, to be freed when they can
 *		be; under the tracker's lock
 * @cursor: where the walk of @domain stands; under the tracker's lock
 * @sink: makes the domain's dirty_ops set bits through @cursor
 *
 * Part of what reads, so it lives as long.  Marking paths find it under RCU
 * while it is active.
 */
struct iommufd_dirty_reader {
	struct mutex lock;
	bool active;
	struct list_head node;
	struct iommu_domain *domain;
	struct dirty_bitmap pending;
	bool must_prune;
	struct dirty_cursor cursor;
	struct iova_bitmap *sink;
};

/* ---- Tracker ---- */

/**
 * struct iommufd_dirty_tracker - the dirty tracking of an IOAS
 * @lock: serializes taking bits from providers, and readers coming and going.
 *	  Order: domains_rwsem, @lock, iova_rwsem.
 * @readers: written under @lock, read under it or RCU
 * @pins_lock: protects @pins
 * @pins: what accesses have pinned, by IOVA; dirty at every read if to be written
 * @lost: times that exactness was lost and a range reported dirty instead
 */
struct iommufd_dirty_tracker {
	struct mutex lock;
	struct list_head readers;
	spinlock_t pins_lock;
	struct rb_root_cached pins;
	atomic64_t lost;
};

void iommufd_dirty_init(struct iommufd_dirty_tracker *tracker);
void iommufd_dirty_destroy(struct iommufd_dirty_tracker *tracker);
int iommufd_dirty_map(struct io_pagetable *iopt, unsigned long iova,
		      unsigned long last);
void iommufd_dirty_map_failed(struct io_pagetable *iopt);
void iommufd_dirty_unmap(struct io_pagetable *iopt, unsigned long iova,
			 unsigned long last);
void iommufd_dirty_unmapped(struct io_pagetable *iopt, unsigned long iova,
			    unsigned long last);

int iommufd_dirty_reader_start(struct io_pagetable *iopt,
			       struct iommufd_dirty_reader *reader,
			       struct iommu_domain *domain);
void iommufd_dirty_reader_stop(struct io_pagetable *iopt,
			       struct iommufd_dirty_reader *reader);
int iommufd_dirty_reader_read(struct io_pagetable *iopt,
			      struct iommufd_dirty_reader *reader,
			      const struct dirty_user_bitmap *user, bool clear);

void iommufd_dirty_hwpt_release(struct iommufd_hwpt_paging *hwpt);

/* ---- Provider: accesses of emulated devices ---- */

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
void iommufd_dirty_access_collect(struct iommufd_dirty_tracker *tracker,
				  struct iommufd_dirty_reader *reader,
				  unsigned long iova, unsigned long last);

#endif
