/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a dirty_bitmap is made of: for those who set its bits, and who take them
 */
#ifndef __IOMMUFD_DIRTY_CHUNK_H
#define __IOMMUFD_DIRTY_CHUNK_H

#include <linux/bitmap.h>
#include <linux/log2.h>

#include "dirty.h"

/* A word of words: small, so that scattered mappings cost little */
#define CHUNK_BITS_SHIFT	(2 * ilog2(BITS_PER_LONG))
#define CHUNK_BITS		BIT(CHUNK_BITS_SHIFT)
#define CHUNK_WORDS		BITS_PER_LONG

/**
 * struct dirty_chunk - bits of what follows each other
 * @bits: the bits
 * @some: which words of @bits may have any
 * @full: which words are all set, whatever @bits has
 *
 * Many bits are set by one, where they come as a large entry of a page table, and
 * few bits are found without a look at each word.
 */
struct dirty_chunk {
	unsigned long bits[CHUNK_WORDS];
	unsigned long some;
	unsigned long full;
};

/* Of &dirty_bitmap.chunks: there may be something to take */
#define PENDING			XA_MARK_0

static inline unsigned int chunk_shift(const struct dirty_bitmap *bitmap)
{
	return bitmap->shift + CHUNK_BITS_SHIFT;
}

static inline unsigned long chunk_iova(const struct dirty_bitmap *bitmap,
				       unsigned long index)
{
	return index << chunk_shift(bitmap);
}

static inline unsigned long chunk_last(const struct dirty_bitmap *bitmap,
				       unsigned long index)
{
	return chunk_iova(bitmap, index) + ((1UL << chunk_shift(bitmap)) - 1);
}

static inline atomic_long_t *as_atomic(unsigned long *word)
{
	return (atomic_long_t *)word;
}

static inline unsigned long words_of(unsigned int first, unsigned int last)
{
	return GENMASK(BIT_WORD(last), BIT_WORD(first));
}

/* Which bits of word @w lie in [@first, @last] */
static inline unsigned long bits_of(unsigned int w, unsigned int first,
				    unsigned int last)
{
	unsigned long mask = ~0UL;

	if (w == BIT_WORD(first))
		mask &= BITMAP_FIRST_WORD_MASK(first);
	if (w == BIT_WORD(last))
		mask &= BITMAP_LAST_WORD_MASK(last + 1);
	return mask;
}

/* Those words of which all bits lie in [@first, @last] */
static inline unsigned long whole_words(unsigned int first, unsigned int last)
{
	unsigned long words = words_of(first, last);

	if (bits_of(BIT_WORD(first), first, last) != ~0UL)
		words &= ~BIT(BIT_WORD(first));
	if (bits_of(BIT_WORD(last), first, last) != ~0UL)
		words &= ~BIT(BIT_WORD(last));
	return words;
}

static inline unsigned int bit_in_chunk(const struct dirty_bitmap *bitmap,
					unsigned long iova)
{
	return (iova >> bitmap->shift) & (CHUNK_BITS - 1);
}

/* The part of chunk @index that belongs to a range which begins at @iova */
static inline unsigned int first_bit(const struct dirty_bitmap *bitmap,
				     unsigned long index, unsigned long iova)
{
	return bit_in_chunk(bitmap, max(iova, chunk_iova(bitmap, index)));
}

/* The same of a range which ends at @last */
static inline unsigned int last_bit(const struct dirty_bitmap *bitmap,
				    unsigned long index, unsigned long last)
{
	return bit_in_chunk(bitmap, min(last, chunk_last(bitmap, index)));
}

void dirty_chunk_pending(struct dirty_bitmap *bitmap, unsigned long index);
#if IS_ENABLED(CONFIG_KUNIT)
bool dirty_chunk_is_pending(struct xa_state *xas,
			    const struct dirty_chunk *chunk);
#endif
bool dirty_parts_make_room(struct dirty_parts *parts);

#endif
