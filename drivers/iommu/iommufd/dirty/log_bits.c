// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bits of a dirty log: set by the kernel, taken by user space, no lock
 * between them
 */
#include <kunit/visibility.h>
#include <linux/align.h>
#include <linux/atomic.h>
#include <linux/bitmap.h>
#include <linux/log2.h>
#include <linux/math.h>
#include <linux/mm.h>
#include <linux/vmalloc.h>

#include "dirty.h"

#define LINE_BYTES	64
#define LINE_LONGS	(LINE_BYTES / sizeof(long))
#define LINE_BITS	(LINE_BYTES * BITS_PER_BYTE)

static atomic_long_t *as_atomic(unsigned long *word)
{
	return (atomic_long_t *)word;
}

/**
 * dirty_log_bits_summary() - Where the summary of a log begins
 * @nr: number of bits
 *
 * Return: bytes from the first bit on, a multiple of the page size.
 */
size_t dirty_log_bits_summary(unsigned long nr)
{
	return PAGE_ALIGN(DIV_ROUND_UP(nr, BITS_PER_BYTE));
}
EXPORT_SYMBOL_IF_KUNIT(dirty_log_bits_summary);

/**
 * dirty_log_bits_size() - How much memory a log takes
 * @nr: number of bits
 *
 * Return: bytes, a multiple of the page size.
 */
size_t dirty_log_bits_size(unsigned long nr)
{
	size_t lines = DIV_ROUND_UP(nr, LINE_BITS);

	return dirty_log_bits_summary(nr) +
	       PAGE_ALIGN(DIV_ROUND_UP(lines, BITS_PER_BYTE));
}
EXPORT_SYMBOL_IF_KUNIT(dirty_log_bits_size);

/**
 * dirty_log_bits_alloc() - Make a log in which nothing is dirty
 * @log: to initialize
 * @nr: number of bits, at least 1
 *
 * Context: process, may sleep.
 *
 * Return: 0 or -ENOMEM.
 */
int dirty_log_bits_alloc(struct dirty_log_bits *log, unsigned long nr)
{
	/* Whole pages, zeroed: user space is to see nothing else */
	log->bits = vmalloc_huge(dirty_log_bits_size(nr),
				 GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!log->bits)
		return -ENOMEM;
	log->summary = (void *)log->bits + dirty_log_bits_summary(nr);
	log->nr = nr;
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_log_bits_alloc);

/**
 * dirty_log_bits_free() - Free the bits of a log
 * @log: nobody sets bits any more, no user space maps them; may be without bits
 */
void dirty_log_bits_free(struct dirty_log_bits *log)
{
	vfree(log->bits);
	log->bits = NULL;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_log_bits_free);

/*
 * A bit that is set already is no reason to do nothing: it may be taken at this
 * moment, by one who copies the page before what was written is seen.  fetch_or
 * is a full barrier: what was written comes before the bit, and the bit before a
 * look at the summary.
 */
static unsigned int or_word(struct dirty_log_bits *log, unsigned long word,
			    unsigned long mask)
{
	unsigned long line = word / LINE_LONGS;
	unsigned long *summary = &log->summary[BIT_WORD(line)];
	unsigned long old;

	old = atomic_long_fetch_or(mask, as_atomic(&log->bits[word]));
	if (!(READ_ONCE(*summary) & BIT_MASK(line)))
		atomic_long_or(BIT_MASK(line), as_atomic(summary));
	return dirty_weight(mask & ~old);
}

/**
 * dirty_log_bits_or() - Set the bits that are set in a word
 * @log: the log
 * @bit: what bit 0 of @mask stands for, any
 * @mask: the word; none of its bits stands for one beyond the log
 *
 * Context: any, interrupts included.
 *
 * Return: how many of them were clear.
 */
unsigned int dirty_log_bits_or(struct dirty_log_bits *log, unsigned long bit,
			       unsigned long mask)
{
	unsigned int shift = bit % BITS_PER_LONG;
	unsigned long word = BIT_WORD(bit);
	unsigned int set = 0;

	if (mask << shift)
		set = or_word(log, word, mask << shift);
	if (shift && mask >> (BITS_PER_LONG - shift))
		set += or_word(log, word + 1, mask >> (BITS_PER_LONG - shift));
	return set;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_log_bits_or);

/**
 * dirty_log_bits_set() - Set a range of bits
 * @log: the log
 * @first: first bit
 * @last: last bit
 *
 * Context: any, interrupts included.
 *
 * Return: how many of them were clear.
 */
unsigned long dirty_log_bits_set(struct dirty_log_bits *log,
				 unsigned long first, unsigned long last)
{
	unsigned long word, mask = BITMAP_FIRST_WORD_MASK(first);
	unsigned long set = 0;

	for (word = BIT_WORD(first); word <= BIT_WORD(last); word++) {
		if (word == BIT_WORD(last))
			mask &= BITMAP_LAST_WORD_MASK(last + 1);
		set += or_word(log, word, mask);
		mask = ~0UL;
	}
	return set;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_log_bits_set);
