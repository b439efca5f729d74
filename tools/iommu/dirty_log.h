/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * How to read a dirty log of iommufd, to be copied into a VMM. Bit n stands for page n
 * of the log, bit n of the summary for the line of bits n * 512 to n * 512 + 511. The
 * kernel sets a page's bit after it was written, and then, unless it is set, that of
 * the summary. Taking goes the other way round: first the summary, then the bits.
 * - A bit set before we get to its word is taken; who copies the page after that
 *   sees what was written before the bit was set.
 * - One set later is set after we cleared the summary. The kernel, who looks there
 *   after it, finds it clear, or set anew: either way it is set when the kernel is
 *   through, and who takes next finds the bit.
 * For that each side must be done with its first step before it begins the second. The
 * kernel's atomic operations are full barriers, and here all that clears, or looks after
 * clearing, is __ATOMIC_SEQ_CST: with less a machine may look at bits while the cleared
 * summary is still on its way to memory.
 * A line of which the range has only a part keeps its summary bit, since the other bits
 * are found by nothing else, not even for a moment. One over nothing costs a look.
 * Several threads may take at once: each bit goes to one of them. Who must know that
 * everything was taken waits for the others, and when two of them get the same page
 * it is for them to see that the older copy does not come last.
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

static inline void dirty_log_unmap(struct dirty_log *log) { munmap(log->bits, log->bytes); }

/* Those bits of a word that are of [@first, @end) */
static inline uint64_t dirty_log_mask(size_t word, size_t first, size_t end)
{
	size_t at = word * 64, lo = first > at ? first - at : 0;
	size_t hi = end > at ? end - at : 0;

	if (lo >= 64 || lo >= hi)
		return 0;
	return ~0ULL << lo & (hi < 64 ? ~(~0ULL << hi) : ~0ULL);
}

static inline uint64_t dirty_log_clear(uint64_t *word, uint64_t mask)
{
	if (!(__atomic_load_n(word, __ATOMIC_SEQ_CST) & mask))
		return 0;
	if (mask == ~0ULL)
		return __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST);
	return __atomic_fetch_and(word, ~mask, __ATOMIC_SEQ_CST) & mask;
}

static inline size_t dirty_log_lines(const struct dirty_log *log, const size_t *line, size_t nr,
				     size_t first, size_t end, dirty_log_fn *fn, void *data)
{
	size_t taken = 0;

	for (; nr--; line++) {
		int all = *line * DIRTY_LOG_LINE >= first && (*line + 1) * DIRTY_LOG_LINE <= end;

		for (size_t w = *line * 8; w != *line * 8 + 8; w++) {
			uint64_t mask = all ? ~0ULL : dirty_log_mask(w, first, end);
			uint64_t word = dirty_log_clear(&log->bits[w], mask);

			taken += __builtin_popcountll(word);
			if (word)
				fn(data, w * 64, word);
		}
	}
	return taken;
}

/* Takes the @count bits from @first on; returns how many were set */
static inline size_t dirty_log_take(const struct dirty_log *log, size_t first,
				    size_t count, dirty_log_fn *fn, void *data)
{
	const size_t end = first + count, up = DIRTY_LOG_LINE - 1;
	size_t line = first / DIRTY_LOG_LINE, line_end = (end + up) / DIRTY_LOG_LINE;
	size_t whole = (first + up) / DIRTY_LOG_LINE, found[3 * 64], nr = 0, taken = 0;
	size_t whole_end = end == log->nr ? line_end : end / DIRTY_LOG_LINE;

	for (size_t s = line / 64; count && s * 64 < line_end; s++) {
		uint64_t *summary = &log->summary[s], clear, lines;

		if (s != line / 64 && s != (line_end - 1) / 64 &&
		    !__atomic_load_n(summary, __ATOMIC_RELAXED))
			continue;
		clear = dirty_log_mask(s, whole, whole_end);
		lines = dirty_log_mask(s, line, line_end) & ~clear;
		lines |= dirty_log_clear(summary, clear);
		/* Memory is slow: ask for many before waiting for one */
		for (; lines; lines &= lines - 1) {
			found[nr] = s * 64 + __builtin_ctzll(lines);
			__builtin_prefetch(log->bits + found[nr++] * 8, 1);
		}
		if (nr > 2 * 64) {
			taken += dirty_log_lines(log, found, nr, first, end, fn, data);
			nr = 0;
		}
	}
	return taken + dirty_log_lines(log, found, nr, first, end, fn, data);
}

struct dirty_log_flat { size_t first; uint64_t *bitmap; };

static inline void dirty_log_or(void *data, size_t bit, uint64_t word)
{
	const struct dirty_log_flat *flat = data;
	size_t at = bit < flat->first ? 0 : bit - flat->first;

	word >>= bit < flat->first ? flat->first - bit : 0;
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
