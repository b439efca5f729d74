/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A load for the simulated DMA device that knows what memory must hold
 *
 * The device writes into an area of huge pages; the CPU never does, except
 * for the descriptors of the ring.  For each page of the area the load keeps,
 * in memory that only the CPU writes, what the last descriptor submitted for
 * that page makes of it.  The device runs descriptors in order, so once that
 * descriptor is complete the page must hold exactly that.
 *
 * The area, in pages:   ring | counters | hot ... | cold ...
 * Cold pages are written once, at the start; hot ones all the time.
 */
#ifndef _DEMO_WORKLOAD_H
#define _DEMO_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dsim_regs.h"

#define PAGE_BYTES	4096u
#define PAGE_WORDS	(PAGE_BYTES / 8)
#define HUGE_PAGES	512u			/* pages in a huge page */
#define HUGE_BYTES	((size_t)HUGE_PAGES * PAGE_BYTES)
#define MAX_HUGE	32u

#define RING_ORDER	8u
#define RING_ENTRIES	(1u << RING_ORDER)
#define RING_PAGES	4u			/* 64 bytes each */
#define COUNTER_PAGES	64u
#define FIRST_HOT	(RING_PAGES + COUNTER_PAGES)

enum page_kind {
	PAGE_FILLED,	/* every word is value */
	PAGE_RAMP,	/* word i is value + i */
	PAGE_COUNTERS,	/* word i is the sum of all addends submitted for it */
};

/* What a page must hold; its last word has a life of its own */
struct page_model {
	uint64_t value;
	uint64_t last_word;
	uint32_t submitted;	/* valid once that many descriptors are done */
	uint32_t kind;
};

struct workload {
	unsigned int number;	/* of the device */
	volatile uint8_t *bar;
	uint8_t *area;
	uint64_t dma[MAX_HUGE];	/* where the device sees each huge page */
	uint32_t nr_pages;
	uint32_t first_cold;

	uint32_t submitted;	/* descriptors given to the device */
	uint32_t done;		/* descriptors whose status we have seen */
	uint32_t rung;		/* the part of submitted that it was told of */
	uint32_t kicks;
	uint32_t completed_base;
	uint32_t idle_polls;	/* polls without progress while some are due */
	uint64_t serial;	/* makes each value written unique */
	uint64_t random;

	uint64_t samples;
	uint32_t bad_samples;
	uint32_t errors;	/* descriptors that did not end as DONE */
	uint32_t lost_status;	/* done, says HEAD, but memory says pending */
	bool stuck;

	struct page_model page[MAX_HUGE * HUGE_PAGES];
	uint64_t total[COUNTER_PAGES * PAGE_WORDS];
};

struct verdict {
	uint32_t pages;
	uint32_t stale;
	uint32_t first;		/* page number of the first stale one */
	uint32_t submitted;
	uint32_t completed;	/* by the device's own count */
	uint32_t faults;
	bool ok;
};

/* The caller has set number, bar, area, dma, nr_pages and first_cold; all else is 0 */
bool workload_start(struct workload *w);
void workload_stop(struct workload *w);

/* One turn: take completions, submit up to @descs, check @samples pages */
void workload_turn(struct workload *w, uint32_t descs, uint32_t samples);

/* Wait for everything submitted, then check every page and the counts */
void workload_verify(struct workload *w, struct verdict *v);

/* Given by the program: one line for the reader, and a pause */
void report(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void pause_ms(unsigned int ms);

#endif
