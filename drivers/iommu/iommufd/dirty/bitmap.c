// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pending dirty bits of one reader
 */
#include <kunit/visibility.h>
#include <linux/init.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "chunk.h"

static struct kmem_cache *chunk_cache;

/**
 * dirty_chunk_is_pending() - Whether the chunk that was found has its mark
 * @xas: has found it, under RCU and without the xarray's lock
 * @chunk: the chunk
 *
 * The tree may change its shape at any moment.  Then what was looked at is another
 * one's mark, or one that nobody clears any more; but then the chunk is no longer
 * found there, and that is seen after the mark was.
 *
 * Context: any, after a full barrier that is after the bits.
 *
 * Return: true when it does; false when it may not.
 */
VISIBLE_IF_KUNIT bool dirty_chunk_is_pending(struct xa_state *xas,
					     const struct dirty_chunk *chunk)
{
	if (!xas_get_mark(xas, PENDING))
		return false;
	/* Pairs with the xarray's lock, between a change of shape and a mark */
	smp_rmb();
	return xas_reload(xas) == chunk;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_chunk_is_pending);

static void set_pending(struct dirty_bitmap *bitmap, unsigned long index)
{
	unsigned long flags;

	xa_lock_irqsave(&bitmap->chunks, flags);
	__xa_set_mark(&bitmap->chunks, index, PENDING);
	xa_unlock_irqrestore(&bitmap->chunks, flags);
}

static struct dirty_chunk *find_chunk(struct xa_state *xas)
{
	struct dirty_chunk *chunk;

	do {
		chunk = xas_load(xas);
	} while (xas_retry(xas, chunk));
	return chunk;
}

/**
 * dirty_chunk_pending() - There may be something to take from a chunk
 * @bitmap: the bitmap
 * @index: of the chunk
 *
 * Context: any, interrupts included, so the xarray's lock is taken with those off.
 */
void dirty_chunk_pending(struct dirty_bitmap *bitmap, unsigned long index)
{
	XA_STATE(xas, &bitmap->chunks, index);
	struct dirty_chunk *chunk;

	scoped_guard(rcu) {
		chunk = find_chunk(&xas);
		if (!chunk || dirty_chunk_is_pending(&xas, chunk))
			return;
	}
	set_pending(bitmap, index);
}

/**
 * dirty_bitmap_module_init() - Before there is any bitmap
 *
 * Return: 0 or -ENOMEM.
 */
int __init dirty_bitmap_module_init(void)
{
	chunk_cache = KMEM_CACHE(dirty_chunk, SLAB_HWCACHE_ALIGN | SLAB_ACCOUNT);
	return chunk_cache ? 0 : -ENOMEM;
}

/**
 * dirty_bitmap_module_exit() - There will be no more
 */
void dirty_bitmap_module_exit(void)
{
	kmem_cache_destroy(chunk_cache);
}

/**
 * dirty_bitmap_init() - Make an empty bitmap
 * @bitmap: to initialize
 * @shift: log2 of the bytes that a bit stands for
 */
void dirty_bitmap_init(struct dirty_bitmap *bitmap, unsigned int shift)
{
	xa_init_flags(&bitmap->chunks, XA_FLAGS_LOCK_IRQ | XA_FLAGS_ACCOUNT);
	bitmap->shift = shift;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_init);

/**
 * dirty_bitmap_destroy() - Free a bitmap that nobody uses any more
 * @bitmap: the bitmap
 */
void dirty_bitmap_destroy(struct dirty_bitmap *bitmap)
{
	unsigned long index;
	void *chunk;

	xa_for_each(&bitmap->chunks, index, chunk)
		kmem_cache_free(chunk_cache, chunk);
	xa_destroy(&bitmap->chunks);
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_destroy);

/**
 * dirty_bitmap_populate() - Make setting the bits of a range possible
 * @bitmap: the bitmap
 * @iova: first address
 * @last: last address
 *
 * What is mapped need not be there, so it may be more than there is memory for the
 * bits of. It is nobody else's who has to go for it then, nor are there bits for
 * somebody who is being killed.
 *
 * Context: process, may sleep; serialized by the owner.
 *
 * Return: 0, -ENOMEM or -EINTR; then chunks that were added stay, empty, until
 * they are pruned.
 */
int dirty_bitmap_populate(struct dirty_bitmap *bitmap, unsigned long iova,
			  unsigned long last)
{
	unsigned long index = iova >> chunk_shift(bitmap);
	unsigned long end = last >> chunk_shift(bitmap);
	void *chunk;
	int rc;

	for (;; index++) {
		if (!xa_load(&bitmap->chunks, index)) {
			if (fatal_signal_pending(current))
				return -EINTR;
			chunk = kmem_cache_zalloc(chunk_cache,
						  GFP_KERNEL_ACCOUNT |
						  __GFP_RETRY_MAYFAIL |
						  __GFP_NOWARN);
			if (!chunk)
				return -ENOMEM;
			rc = xa_insert_irq(&bitmap->chunks, index, chunk,
					   GFP_KERNEL_ACCOUNT);
			if (rc) {
				kmem_cache_free(chunk_cache, chunk);
				return rc;
			}
		}
		if (index == end)
			return 0;
		cond_resched();
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_populate);

/**
 * dirty_bitmap_prune() - Free chunks that nobody needs
 * @bitmap: the bitmap
 * @iova: first address
 * @last: last address
 * @keep: says whether anything is mapped in the range of a chunk
 * @data: for @keep
 *
 * Chunks with pending bits stay: what was written before it was unmapped is
 * still to be read.
 *
 * Context: process, may sleep; serialized by the owner.
 *
 * Return: true when such chunks are left.
 */
bool dirty_bitmap_prune(struct dirty_bitmap *bitmap, unsigned long iova,
			unsigned long last,
			bool (*keep)(void *data, unsigned long iova,
				     unsigned long last),
			void *data)
{
	unsigned long index;
	bool left = false;
	void *chunk;

	xa_for_each_range(&bitmap->chunks, index, chunk,
			  iova >> chunk_shift(bitmap),
			  last >> chunk_shift(bitmap)) {
		if (keep(data, chunk_iova(bitmap, index),
			 chunk_last(bitmap, index)))
			continue;
		if (xa_get_mark(&bitmap->chunks, index, PENDING)) {
			left = true;
			continue;
		}
		xa_erase_irq(&bitmap->chunks, index);
		kvfree_rcu_mightsleep(chunk);
		cond_resched();
	}
	return left;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_prune);

/*
 * Set bits [@first, @last] of a chunk, for who wrote memory by the CPU.  A bit that is
 * set already is no reason to do nothing: it may be taken at this moment, by one who
 * copies the page before what was written is seen.  So what was written comes before
 * the bit, the bit before a look at @some, and this before a look at the mark: fetch_or
 * is a full barrier.
 */
static void chunk_push(struct dirty_chunk *chunk, unsigned int first,
		       unsigned int last)
{
	unsigned long full = whole_words(first, last);
	unsigned long some = words_of(first, last) & ~full, left;

	if (full)
		atomic_long_fetch_or(full, as_atomic(&chunk->full));
	for (left = some; left; left &= left - 1)
		atomic_long_fetch_or(bits_of(__ffs(left), first, last),
				     as_atomic(&chunk->bits[__ffs(left)]));
	if ((READ_ONCE(chunk->some) & some) != some)
		atomic_long_fetch_or(some, as_atomic(&chunk->some));
}

/**
 * dirty_bitmap_set() - Set the bits of a range
 * @bitmap: the bitmap
 * @iova: first address
 * @last: last address
 *
 * Context: any, interrupts included; the bitmap is kept by the caller, its
 * chunks by RCU.
 *
 * Return: false when a part of the range has no chunk, since nothing is mapped
 * there.
 */
bool dirty_bitmap_set(struct dirty_bitmap *bitmap, unsigned long iova,
		      unsigned long last)
{
	XA_STATE(xas, &bitmap->chunks, iova >> chunk_shift(bitmap));
	unsigned long index = iova >> chunk_shift(bitmap);
	unsigned long end = last >> chunk_shift(bitmap);
	struct dirty_chunk *chunk;
	bool complete = true;

	guard(rcu)();
	for (;; index++) {
		xas_set(&xas, index);
		chunk = find_chunk(&xas);
		if (chunk) {
			chunk_push(chunk, first_bit(bitmap, index, iova),
				   last_bit(bitmap, index, last));
			/* Marked already, most times: no second walk to see it */
			if (!dirty_chunk_is_pending(&xas, chunk))
				set_pending(bitmap, index);
		} else {
			complete = false;
		}
		if (index == end)
			return complete;
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_set);

/**
 * dirty_parts_make_room() - For one more
 * @parts: initialized to 0; its @part is freed by kvfree()
 *
 * Context: process, may sleep.
 *
 * Return: false when there is no memory; then all is as it was.
 */
bool dirty_parts_make_room(struct dirty_parts *parts)
{
	unsigned long room = max(2 * parts->room, DIRTY_MARKS);
	struct dirty_part *part;

	if (parts->nr != parts->room)
		return true;
	part = kvrealloc(parts->part, room * sizeof(*part),
			 GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!part)
		return false;
	parts->part = part;
	parts->room = room;
	return true;
}
