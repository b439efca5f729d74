// SPDX-License-Identifier: GPL-2.0-only
/*
 * count GB DIRT TIMES: takes a dirty log of so much memory so many times, for a tool
 * that counts instructions, where no counter of the CPU does. The log is ordinary
 * memory here: it is the program's side that is counted, tools/iommu/dirty_log.h.
 *
 * DIRT is none, or all, or spread: one page of 10000; with "set-" before it the pages
 * are set each time, and not taken. What one take costs is the difference of the two,
 * by TIMES.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/iommufd.h>
#ifndef IOMMU_DIRTY_LOG_ALLOC /* the base's headers have none of it */
#include "../include/uapi/linux/iommufd_dirty.h"
#endif
#include "dirty_log.h"

static void set_page(struct dirty_log *log, size_t bit)
{
	size_t line = bit / DIRTY_LOG_LINE;

	log->bits[bit / 64] |= 1ULL << bit % 64;
	log->summary[line / 64] |= 1ULL << line % 64;
}

static void add(void *data, size_t bit, unsigned long word)
{
	*(unsigned long *)data += bit ^ word;
}

int main(int argc, char **argv)
{
	size_t step, pages = argc == 4 ? strtoul(argv[1], NULL, 10) << 18 : 0;
	struct dirty_log log = { .nr = pages };
	unsigned long sum = 0, taken = 0;
	const char *dirt = argv[2];
	bool take = true;

	if (!pages)
		return 2;
	if (!strncmp(dirt, "set-", 4)) {
		dirt += 4;
		take = false;
	}
	step = !strcmp(dirt, "all") ? 1 : !strcmp(dirt, "spread") ? 10000 : 0;
	log.bits = calloc(pages / 64, sizeof(long));
	log.summary = calloc(pages / DIRTY_LOG_LINE / 64, sizeof(long));
	if (!log.bits || !log.summary)
		return 1;
	for (int times = atoi(argv[3]); times > 0; times--) {
		for (size_t bit = 0; step && bit < pages; bit += step)
			set_page(&log, bit);
		if (take)
			taken += dirty_log_take(&log, 0, pages, add, &sum);
	}
	/* what is not used is not computed */
	printf("%llu %llu\n", (unsigned long long)taken, (unsigned long long)sum);
	return 0;
}
