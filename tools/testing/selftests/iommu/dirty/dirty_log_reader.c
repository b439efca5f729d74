// SPDX-License-Identifier: GPL-2.0-only
/*
 * The reader of dirty logs in tools/iommu, over memory in which this program sets
 * bits as the kernel does: every range is taken exactly, and of what is set while
 * others take nothing is lost, invented or stranded. Needs no device.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <linux/iommufd.h>
#ifndef IOMMU_DIRTY_LOG_ALLOC /* the base's headers have none of it */
#include "../../../../../include/uapi/linux/iommufd_dirty.h"
#endif

#include "kselftest_harness.h"
#include "dsim_user.h"
#include "../../../../iommu/dirty_log.h"

#define BITS		100003UL	/* ends within a line, and within a word */
#define WORDS		((BITS + 63) / 64)
#define LINES		((BITS + DIRTY_LOG_LINE - 1) / DIRTY_LOG_LINE)
#define SUMMARY_WORDS	((LINES + 63) / 64)

FIXTURE(reader)
{
	struct dirty_log log;
	uint64_t *want;		/* what was set and not taken */
	uint64_t *got;
};

FIXTURE_SETUP(reader)
{
	/* Whole lines, since the last one is looked at as such */
	self->log.bits = calloc(LINES * 8, sizeof(uint64_t));
	self->log.summary = calloc(SUMMARY_WORDS, sizeof(uint64_t));
	self->log.nr = BITS;
	self->want = calloc(WORDS, sizeof(uint64_t));
	self->got = calloc(WORDS, sizeof(uint64_t));
	ASSERT_TRUE(self->log.bits && self->log.summary && self->want &&
		    self->got);
}

FIXTURE_TEARDOWN(reader)
{
	free(self->log.bits);
	free(self->log.summary);
	free(self->want);
	free(self->got);
}

static bool test_bit(const uint64_t *bitmap, size_t bit)
{
	return bitmap[bit / 64] >> bit % 64 & 1;
}

/* As the kernel does */
static void set(struct dirty_log *log, size_t bit)
{
	uint64_t *summary = &log->summary[bit / DIRTY_LOG_LINE / 64];
	uint64_t mask = 1ULL << bit / DIRTY_LOG_LINE % 64;

	__atomic_fetch_or(&log->bits[bit / 64], 1ULL << bit % 64,
			  __ATOMIC_SEQ_CST);
	if (!(__atomic_load_n(summary, __ATOMIC_SEQ_CST) & mask))
		__atomic_fetch_or(summary, mask, __ATOMIC_SEQ_CST);
}

/* A set bit that who takes next would not find */
static bool is_stranded(const struct dirty_log *log)
{
	for (size_t line = 0; line != LINES; line++)
		for (size_t w = line * 8; w != line * 8 + 8; w++)
			if (log->bits[w] && !test_bit(log->summary, line))
				return true;
	return false;
}

/* Take a range and compare. @want is left without it. */
static bool takes(struct dirty_log *log, uint64_t *want, uint64_t *got,
		  size_t first, size_t count)
{
	bool same = true;
	size_t n;

	memset(got, 0, WORDS * sizeof(uint64_t));
	n = dirty_log_take_flat(log, first, count, got);
	for (size_t bit = 0; bit != count; bit++) {
		bool wanted = test_bit(want, first + bit);

		same &= wanted == test_bit(got, bit);
		n -= wanted;
		want[(first + bit) / 64] &= ~(1ULL << (first + bit) % 64);
	}
	for (size_t bit = count; bit != WORDS * 64; bit++)
		same &= !test_bit(got, bit);
	/* What is not in the range is as it was */
	return same && !n && !memcmp(log->bits, want, WORDS * sizeof(uint64_t)) &&
	       !is_stranded(log);
}

TEST_F(reader, takes_any_range)
{
	uint64_t seed = 1;

	ASSERT_TRUE(takes(&self->log, self->want, self->got, 0, BITS));
	for (int round = 0; round != 400; round++) {
		size_t spread = round % 3 ? BITS : 2000;
		size_t first = rnd(&seed) % spread;
		size_t count = rnd(&seed) % (BITS - first + 1);

		if (round % 5 == 0)
			count = BITS - first;
		else if (round % 3 == 0)
			count %= 1500;
		for (size_t n = rnd(&seed) % 5000; n; n--) {
			size_t bit = rnd(&seed) % spread;

			set(&self->log, bit);
			self->want[bit / 64] |= 1ULL << bit % 64;
		}
		ASSERT_TRUE(takes(&self->log, self->want, self->got, first, count))
			TH_LOG("round %d: %zu bits from %zu on", round, count, first);
	}
	/* With the rest, summary bits over nothing go too */
	ASSERT_TRUE(takes(&self->log, self->want, self->got, 0, BITS));
	for (size_t s = 0; s != SUMMARY_WORDS; s++)
		EXPECT_EQ(0, self->log.summary[s]);
}

/* ---- Two who set, two who take ---- */

#define PAGES	16384	/* few lines, so that they meet often */
#define ROUNDS	400
#define SETTERS	2
#define THREADS	4

/**
 * struct shared - what the threads share
 * @log: the log
 * @page: what is in the pages. Each setter has every other one, so that they share
 *	  words and lines, and counts it up.
 * @copy: the newest content that was copied by one who took the page's bit
 * @setting: setters that are not yet done with the round
 * @barrier: where all threads and the test meet before and after a round
 */
struct shared {
	struct dirty_log *log;
	unsigned int page[PAGES];
	unsigned int copy[PAGES];
	unsigned int setting;
	pthread_barrier_t barrier;
};

struct part {
	struct shared *shared;
	pthread_t thread;
	uint64_t seed;
	unsigned int id;
	size_t taken;
};

static void write_pages(struct part *part)
{
	struct shared *sh = part->shared;
	size_t at = rnd(&part->seed);

	/* Each page once, so that no later write hides that one was lost */
	for (size_t n = 0; n != PAGES / SETTERS; n++) {
		size_t page = (at += 389) % (PAGES / SETTERS) * SETTERS +
			      part->id;

		__atomic_store_n(&sh->page[page], sh->page[page] + 1,
				 __ATOMIC_RELAXED);
		set(sh->log, page);
	}
	__atomic_sub_fetch(&sh->setting, 1, __ATOMIC_RELEASE);
}

static void copy_pages(void *data, size_t bit, uint64_t word)
{
	struct shared *sh = data;

	for (; word; word &= word - 1) {
		size_t page = bit + __builtin_ctzll(word);
		unsigned int now = __atomic_load_n(&sh->page[page],
						   __ATOMIC_RELAXED);
		unsigned int *copy = &sh->copy[page];
		unsigned int old = __atomic_load_n(copy, __ATOMIC_RELAXED);

		/* Another one may be about to write an older copy */
		while (old < now &&
		       !__atomic_compare_exchange_n(copy, &old, now, false,
						    __ATOMIC_RELAXED,
						    __ATOMIC_RELAXED))
			;
	}
}

static void take_pages(struct part *part)
{
	struct shared *sh = part->shared;

	do {
		size_t first = rnd(&part->seed) % PAGES;
		size_t count = rnd(&part->seed) % (PAGES - first) + 1;

		/* One takes all, the other one parts */
		if (part->id % 2) {
			first = 0;
			count = PAGES;
		}
		part->taken += dirty_log_take(sh->log, first, count, copy_pages,
					      sh);
	} while (__atomic_load_n(&sh->setting, __ATOMIC_ACQUIRE));
}

static void *take_part(void *arg)
{
	struct part *part = arg;

	for (int round = 0; round != ROUNDS; round++) {
		pthread_barrier_wait(&part->shared->barrier);
		if (part->id < SETTERS)
			write_pages(part);
		else
			take_pages(part);
		pthread_barrier_wait(&part->shared->barrier);
	}
	return NULL;
}

TEST_F(reader, loses_nothing)
{
	struct shared sh = { .log = &self->log };
	struct part parts[THREADS] = {};
	size_t stranded = 0, lost = 0, taken = 0;

	self->log.nr = PAGES;
	pthread_barrier_init(&sh.barrier, NULL, THREADS + 1);
	for (unsigned int i = 0; i != THREADS; i++) {
		parts[i] = (struct part){ .shared = &sh, .seed = i + 1, .id = i };
		ASSERT_EQ(0, pthread_create(&parts[i].thread, NULL, take_part,
					    &parts[i]));
	}
	for (int round = 0; round != ROUNDS; round++) {
		sh.setting = SETTERS;
		pthread_barrier_wait(&sh.barrier);
		pthread_barrier_wait(&sh.barrier);
		stranded += is_stranded(&self->log);
		taken += dirty_log_take(&self->log, 0, PAGES, copy_pages, &sh);
		lost += !!memcmp(sh.page, sh.copy, sizeof(sh.page));
	}
	for (unsigned int i = 0; i != THREADS; i++) {
		pthread_join(parts[i].thread, NULL);
		taken += parts[i].taken;
	}
	pthread_barrier_destroy(&sh.barrier);
	EXPECT_EQ(0, stranded);
	EXPECT_EQ(0, lost);
	/* Each bit was taken as often as it was set */
	EXPECT_EQ((size_t)ROUNDS * PAGES, taken);
	TH_LOG("%zu of %zu bits taken while bits were set",
	       parts[2].taken + parts[3].taken, taken);
}

TEST_HARNESS_MAIN
