/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * How to read a dirty log of iommufd, to be copied into a VMM.
 * Bit n stands for the n-th page of the log, bit n of the summary for the line of
 * bits n * 512 to n * 512 + 511. When a page was written the kernel sets its bit,
 * and then, unless it is set, that of the summary. Taking goes the other way round:
 * first the summary, then the bits.
 *
 * - A bit set before we get to its word is taken, and who copies the page sees it all.
 * - One set after we were at its word is set after we cleared the summary. The
 *   kernel, who looks there later, finds it clear, or set anew; either way it is set
 *   when the kernel is through, and who takes next finds the bit.
 *
 * Each side must be done with its first step before the second: atomic operations of
 * the kernel are full barriers, and here all that clears, or looks after clearing, is
 * __ATOMIC_SEQ_CST, or the cleared summary may still be on its way to memory.
 *
 * A line of which the range has only a part keeps its summary bit: to clear it and
 * set it again would hide what remains. A summary bit over nothing costs a look.
 *
 * Several threads may take at once: each bit goes to one. Who must know that all was
 * taken waits for the others; the older of two copies of a page must not come last.
 */
#ifndef _IOMMU_DIRTY_LOG_H
#define _IOMMU_DIRTY_LOG_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <linux/iommufd.h>

#define DIRTY_LOG_LINE	512	/* bits that one of the summary stands for */

struct dirty_log {
	uint64_t *bits, *summary;
	size_t nr, bytes;	/* how many bits, how large the mapping is */
};

/* Gets the pages from @bit on, a multiple of 64, that are set in @word */
typedef void dirty_log_fn(void *data, size_t bit, uint64_t word);

static inline int dirty_log_map(struct dirty_log *log, int iommufd,
				const struct iommu_dirty_log_alloc *alloc)
{
	void *bits = mmap(NULL, alloc->out_mmap_length, PROT_READ | PROT_WRITE,
			  MAP_SHARED, iommufd, alloc->out_mmap_offset);

	if (bits == MAP_FAILED)
		return -errno;

	log->bits = bits;
	log->summary = log->bits + alloc->out_summary_offset / sizeof(uint64_t);
	log->nr = (alloc->length - 1) / alloc->page_size + 1;
	log->bytes = alloc->out_mmap_length;
	return 0;
}

static inline void dirty_log_unmap(struct dirty_log *log)
{
	munmap(log->bits, log->bytes);
}

/* Those bits of a word that are of [@first, @end) */
static inline uint64_t dirty_log_mask(size_t word, size_t first, size_t end)
{
	size_t at = word * 64;
	uint64_t mask = ~0ULL;

	if (first >= end || first >= at + 64 || end <= at)
		return 0;
	if (first > at)
		mask <<= first - at;
	if (end < at + 64)
		mask &= ~0ULL >> (at + 64 - end);
	return mask;
}

static inline uint64_t dirty_log_clear(uint64_t *word, uint64_t mask)
{
	if (!(__atomic_load_n(word, __ATOMIC_SEQ_CST) & mask))
		return 0;
	if (mask == ~0ULL)
		return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
	return __atomic_fetch_and(word, ~mask, __ATOMIC_SEQ_CST) & mask;
}

/* Takes the @count bits from @first on; returns how many were set */
static inline size_t dirty_log_take(const struct dirty_log *log, size_t first,
				    size_t count, dirty_log_fn *fn, void *data)
{
	const size_t end = first + count, up = DIRTY_LOG_LINE - 1;
	size_t line = first / DIRTY_LOG_LINE, line_end = (end + up) / DIRTY_LOG_LINE;
	size_t whole = (first + up) / DIRTY_LOG_LINE, taken = 0;
	size_t whole_end = end == log->nr ? line_end : end / DIRTY_LOG_LINE;

	for (size_t s = line / 64; count && s * 64 < line_end; s++) {
		uint64_t *summary = &log->summary[s], clear, lines;

		if (s != line / 64 && s != (line_end - 1) / 64 &&
		    !__atomic_load_n(summary, __ATOMIC_RELAXED))
			continue;
		clear = dirty_log_mask(s, whole, whole_end);
		lines = dirty_log_mask(s, line, line_end) & ~clear;
		lines |= dirty_log_clear(summary, clear);
		/* Ask for all of them before waiting for one */
		for (uint64_t l = lines; l; l &= l - 1)
			__builtin_prefetch(log->bits + (s * 64 + __builtin_ctzll(l)) * 8, 1);
		for (; lines; lines &= lines - 1) {
			size_t w = (s * 64 + __builtin_ctzll(lines)) * 8, w_end = w + 8;
			int all = w * 64 >= first && w_end * 64 <= end;

			for (; w != w_end; w++) {
				uint64_t mask = all ? ~0ULL : dirty_log_mask(w, first, end);
				uint64_t word = dirty_log_clear(&log->bits[w], mask);

				taken += __builtin_popcountll(word);
				if (word)
					fn(data, w * 64, word);
			}
		}
	}
	return taken;
}

struct dirty_log_flat { size_t first; uint64_t *bitmap; };

static inline void dirty_log_or(void *data, size_t bit, uint64_t word)
{
	const struct dirty_log_flat *flat = data;
	size_t at = bit < flat->first ? 0 : bit - flat->first;

	if (bit < flat->first)
		word >>= flat->first - bit;
	flat->bitmap[at / 64] |= word << at % 64;
	if (at % 64 && word >> (64 - at % 64))
		flat->bitmap[at / 64 + 1] |= word >> (64 - at % 64);
}

/* The same, ORed into a bitmap of the caller's, whose bit 0 is @first */
static inline size_t dirty_log_take_flat(const struct dirty_log *log, size_t first,
					 size_t count, uint64_t *bitmap)
{
	struct dirty_log_flat flat = { first, bitmap };

	return dirty_log_take(log, first, count, dirty_log_or, &flat);
}

#endif
