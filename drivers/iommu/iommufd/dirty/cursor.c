// SPDX-License-Identifier: GPL-2.0-only
/*
 * Setting bits of a reader by who goes through much of its IOVA space
 */
#include <kunit/visibility.h>
#include <linux/mm.h>
#include <linux/prefetch.h>
#include <linux/slab.h>

#include "chunk.h"

/* Most marks are of what is pending already */
static void or_missing(unsigned long *word, unsigned long bits)
{
	if ((READ_ONCE(*word) & bits) != bits)
		atomic_long_or(bits, as_atomic(word));
}

static bool all_pending(struct dirty_bitmap *bitmap,
			const struct dirty_left *left, unsigned int n)
{
	while (n--)
		if (!xa_get_mark(&bitmap->chunks, left[n].index, PENDING))
			return false;
	return true;
}

static void set_all_pending(struct dirty_bitmap *bitmap,
			    const struct dirty_left *left, unsigned int n)
{
	unsigned long flags;

	if (all_pending(bitmap, left, n))
		return;
	xa_lock_irqsave(&bitmap->chunks, flags);
	while (n--)
		__xa_set_mark(&bitmap->chunks, left[n].index, PENDING);
	xa_unlock_irqrestore(&bitmap->chunks, flags);
}

/*
 * Chunks that a read came to itself need no marks to be found. Only while they ascend,
 * as they do where one provider is collected from. Returns how many were added.
 */
static unsigned int add_found(struct dirty_cursor *cursor)
{
	struct dirty_parts *found = cursor->found;
	unsigned int i;

	for (i = 0; i != cursor->nr_left; i++) {
		struct dirty_left *left = &cursor->left[i];

		if (found->nr &&
		    left->index <= found->part[found->nr - 1].index)
			break;
		if (!dirty_parts_make_room(found))
			break;
		found->part[found->nr++] = (struct dirty_part){
			.chunk = left->chunk,
			.index = left->index,
		};
	}
	return i;
}

/*
 * Chunks lie anywhere in memory, so what is to be written to one is fetched first, and
 * written when many have come together.
 */
static void cursor_flush(struct dirty_cursor *cursor)
{
	struct dirty_left *end = cursor->left + cursor->nr_left, *left;
	unsigned int n;

	for (left = cursor->left; left != end; left++) {
		struct dirty_chunk *chunk = left->chunk;

		if (left->full)
			or_missing(&chunk->full, left->full);
		if (left->bits)
			or_missing(&chunk->bits[left->word], left->bits);
	}
	smp_mb(); /* the bits before a look at what tells of them */
	for (left = cursor->left; left != end; left++)
		if (left->some)
			or_missing(&left->chunk->some, left->some);
	smp_mb(); /* and that before a look at the marks */
	n = cursor->found ? add_found(cursor) : 0;
	set_all_pending(cursor->bitmap, cursor->left + n, cursor->nr_left - n);
	cursor->nr_left = 0;
}

/* The chunk last written to */
static struct dirty_left *cursor_at(struct dirty_cursor *cursor)
{
	return &cursor->left[cursor->nr_left - 1];
}

static struct dirty_left *cursor_move(struct dirty_cursor *cursor,
				      unsigned long index)
{
	struct dirty_chunk *chunk;

	if (cursor->nr_left && index == cursor_at(cursor)->index)
		return cursor_at(cursor);
	chunk = xa_load(&cursor->bitmap->chunks, index);
	if (!chunk) {
		cursor->missed = true;
		return NULL;
	}
	if (cursor->nr_left == DIRTY_MARKS)
		cursor_flush(cursor);
	prefetchw(&chunk->some);
	cursor->left[cursor->nr_left++] = (struct dirty_left){
		.index = index,
		.chunk = chunk,
	};
	return cursor_at(cursor);
}

static void left_or(struct dirty_left *left, unsigned int word,
		    unsigned long bits)
{
	if (bits == ~0UL) {
		left->full |= BIT(word);
		return;
	}
	left->some |= BIT(word);
	if (left->bits)
		or_missing(&left->chunk->bits[left->word], left->bits);
	else
		prefetchw(&left->chunk->bits[word]);
	left->word = word;
	left->bits = bits;
}

/* Bits [@first, @last] */
static void left_set(struct dirty_left *left, unsigned int first,
		     unsigned int last)
{
	unsigned long full = whole_words(first, last);
	unsigned long some = words_of(first, last) & ~full;

	left->full |= full;
	for (; some; some &= some - 1)
		left_or(left, __ffs(some), bits_of(__ffs(some), first, last));
}

/**
 * dirty_cursor_or() - Set the bits that are set in a word
 * @cursor: the cursor
 * @iova: what bit 0 of @bits stands for, aligned to what all of them do
 * @shift: log2 of the bytes that a bit of @bits stands for
 * @bits: the word
 *
 * Context: as dirty_cursor_set().
 */
void dirty_cursor_or(struct dirty_cursor *cursor, unsigned long iova,
		     unsigned int shift, unsigned long bits)
{
	struct dirty_bitmap *bitmap = cursor->bitmap;
	struct dirty_left *left;
	unsigned int bit;

	if (shift == bitmap->shift) {
		left = cursor_move(cursor, iova >> chunk_shift(bitmap));
		if (left)
			left_or(left, BIT_WORD(bit_in_chunk(bitmap, iova)),
				bits);
		return;
	}
	for_each_set_bit(bit, &bits, BITS_PER_LONG) {
		unsigned long first = iova + ((unsigned long)bit << shift);

		dirty_cursor_set(cursor, first, first + ((1UL << shift) - 1));
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_cursor_or);

/**
 * dirty_cursor_set() - Set the bits of a range, near to those set before
 * @cursor: the cursor
 * @iova: first address
 * @last: last address
 *
 * Context: process; the owner lets nobody free chunks until
 * dirty_cursor_finish().
 */
void dirty_cursor_set(struct dirty_cursor *cursor, unsigned long iova,
		      unsigned long last)
{
	struct dirty_bitmap *bitmap = cursor->bitmap;
	unsigned long index = iova >> chunk_shift(bitmap);
	unsigned long end = last >> chunk_shift(bitmap);
	struct dirty_left *left;

	for (;; index++) {
		left = cursor_move(cursor, index);
		if (left)
			left_set(left, first_bit(bitmap, index, iova),
				 last_bit(bitmap, index, last));
		if (index == end)
			return;
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_cursor_set);

/**
 * dirty_cursor_finish() - Leave the bitmap so that its bits can be found
 * @cursor: the cursor
 */
void dirty_cursor_finish(struct dirty_cursor *cursor)
{
	if (cursor->nr_left)
		cursor_flush(cursor);
}
EXPORT_SYMBOL_IF_KUNIT(dirty_cursor_finish);
