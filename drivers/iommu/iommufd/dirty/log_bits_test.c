// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the bits of a dirty log
 *
 * A byte for each bit is the model.  The summary must have the bit of each 64
 * bytes in which a bit was set, and no other.
 */
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/sizes.h>

#include "dirty.h"

#define NR		70001U	/* bits: three pages, and a line that is not full */
#define LINE_BITS	512U
#define LINES		DIV_ROUND_UP(NR, LINE_BITS)

struct fixture {
	struct dirty_log_bits log;
	u8 *model;
	struct rnd_state rnd;
};

KUNIT_DEFINE_ACTION_WRAPPER(free_action, dirty_log_bits_free,
			    struct dirty_log_bits *);

static int log_bits_test_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	test->priv = f;
	prandom_seed_state(&f->rnd, 11);
	KUNIT_ASSERT_EQ(test, 0, dirty_log_bits_alloc(&f->log, NR));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, free_action,
							   &f->log));
	f->model = kunit_kzalloc(test, NR, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->model);
	return 0;
}

/* To the model: how many bits are news to it */
static unsigned long put(struct fixture *f, unsigned long first,
			 unsigned long last)
{
	unsigned long news = 0;

	for (; first <= last; first++) {
		news += !f->model[first];
		f->model[first] = 1;
	}
	return news;
}

static unsigned long below(struct fixture *f, unsigned long n)
{
	return prandom_u32_state(&f->rnd) % n;
}

/* All of the memory, to its last bit */
static void compare(struct kunit *test)
{
	struct fixture *f = test->priv;
	size_t summary = dirty_log_bits_summary(NR) * BITS_PER_BYTE;
	size_t end = dirty_log_bits_size(NR) * BITS_PER_BYTE;
	unsigned long *want = kunit_kzalloc(test, end / BITS_PER_BYTE,
					    GFP_KERNEL);
	unsigned long i;

	KUNIT_ASSERT_NOT_NULL(test, want);
	for (i = 0; i != NR; i++) {
		if (!f->model[i])
			continue;
		__set_bit(i, want);
		__set_bit(summary + i / LINE_BITS, want);
	}
	KUNIT_EXPECT_TRUE(test, bitmap_equal(f->log.bits, want, end));
	kunit_kfree(test, want);
}

static void wipe(struct fixture *f)
{
	memset(f->log.bits, 0, dirty_log_bits_size(NR));
	memset(f->model, 0, NR);
}

static void sizes(struct kunit *test)
{
	static const struct {
		unsigned long nr;
		size_t bits;
		size_t summary;
	} shapes[] = {
		/* in pages */
		{ 1, 1, 1 },
		{ PAGE_SIZE * 8, 1, 1 },
		{ PAGE_SIZE * 8 + 1, 2, 1 },
		{ PAGE_SIZE * 8 * LINE_BITS, LINE_BITS, 1 },
		{ PAGE_SIZE * 8 * LINE_BITS + 1, LINE_BITS + 1, 2 },
	};
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(shapes); i++) {
		KUNIT_EXPECT_EQ(test, dirty_log_bits_summary(shapes[i].nr),
				shapes[i].bits * PAGE_SIZE);
		KUNIT_EXPECT_EQ(test, dirty_log_bits_size(shapes[i].nr),
				(shapes[i].bits + shapes[i].summary) *
				PAGE_SIZE);
	}
}

static void starts_clean(struct kunit *test)
{
	compare(test);
}

static void sets_ranges(struct kunit *test)
{
	static const unsigned long edges[][2] = {
		{ 0, 0 }, { 63, 64 }, { 64, 127 }, { 511, 512 }, { 1, 510 },
		{ 512, 1023 }, { NR - 1, NR - 1 }, { 0, NR - 1 },
	};
	struct fixture *f = test->priv;
	unsigned long first, last;
	unsigned int i;

	for (i = 0; i != 200; i++) {
		if (i < ARRAY_SIZE(edges)) {
			first = edges[i][0];
			last = edges[i][1];
		} else {
			first = below(f, NR);
			last = first + below(f, min(NR - first, 3000UL));
		}
		KUNIT_ASSERT_EQ(test, put(f, first, last),
				dirty_log_bits_set(&f->log, first, last));
		/* a second time nothing is news */
		KUNIT_ASSERT_EQ(test, 0,
				dirty_log_bits_set(&f->log, first, last));
		if (i % 8 == 7) {
			compare(test);
			wipe(f);
		}
	}
}

static void sets_words(struct kunit *test)
{
	struct fixture *f = test->priv;
	unsigned int i, b, news;
	unsigned long bit, mask;

	for (i = 0; i != 2000; i++) {
		bit = below(f, NR - BITS_PER_LONG);
		if (i == 0)
			bit = NR - BITS_PER_LONG;
		mask = prandom_u32_state(&f->rnd);
		mask |= (u64)prandom_u32_state(&f->rnd) << 32;
		if (i % 3 == 1)
			mask &= BIT(below(f, BITS_PER_LONG));
		news = 0;
		for_each_set_bit(b, &mask, BITS_PER_LONG)
			news += put(f, bit + b, bit + b);
		KUNIT_ASSERT_EQ(test, news,
				dirty_log_bits_or(&f->log, bit, mask));
		if (i % 100 == 99) {
			compare(test);
			wipe(f);
		}
	}
	/* what lies behind the last bit is not touched for a word that ends there */
	KUNIT_EXPECT_EQ(test, 1, dirty_log_bits_or(&f->log, NR - 1, 1));
	put(f, NR - 1, NR - 1);
	compare(test);
}

/*
 * A bit stands from before, its summary bit was taken: who took that is about to
 * take the bit too, or was here already.  Set again, it must be found again.
 */
static void set_bit_is_summed_up_again(struct kunit *test)
{
	struct fixture *f = test->priv;

	put(f, 700, 700);
	KUNIT_EXPECT_EQ(test, 1, dirty_log_bits_set(&f->log, 700, 700));
	f->log.summary[0] = 0;
	KUNIT_EXPECT_EQ(test, 0, dirty_log_bits_set(&f->log, 700, 700));
	compare(test);
	f->log.summary[0] = 0;
	KUNIT_EXPECT_EQ(test, 0, dirty_log_bits_or(&f->log, 690, BIT(10)));
	compare(test);
}

/* ---- Setting against taking ---- */

#define SETTERS	2
#define TAKES	20000

/**
 * struct race - who sets, and what it wrote before
 * @log: the log
 * @page: of each bit, what a device would have written there
 * @seed: of its choice of bits
 */
struct race {
	struct dirty_log_bits *log;
	u32 *page;
	u32 seed;
};

/* Each setter has its own bits, those of its parity, but shares their words */
static int setter(void *data)
{
	struct race *race = data;
	struct rnd_state rnd;
	unsigned int i, bit;

	prandom_seed_state(&rnd, race->seed);
	for (i = 0; !kthread_should_stop(); i++) {
		/* few lines, so that setter and taker meet */
		bit = prandom_u32_state(&rnd) % (4 * LINE_BITS / SETTERS) *
			      SETTERS + race->seed;
		WRITE_ONCE(race->page[bit], race->page[bit] + 1);
		dirty_log_bits_set(race->log, bit, bit);
		if (i % 64 == 0)
			cond_resched();
	}
	return 0;
}

/* As user space does: the summary first, then the bits; then it copies the page */
static unsigned int take(struct dirty_log_bits *log, const u32 *page, u32 *copy)
{
	unsigned long lines, bits;
	unsigned int line, word, bit, n = 0;

	lines = xchg(&log->summary[0], 0);
	for_each_set_bit(line, &lines, BITS_PER_LONG) {
		for (word = 0; word != LINE_BITS / BITS_PER_LONG; word++) {
			unsigned int at = line * (LINE_BITS / BITS_PER_LONG) +
					  word;

			bits = xchg(&log->bits[at], 0);
			for_each_set_bit(bit, &bits, BITS_PER_LONG) {
				copy[at * BITS_PER_LONG + bit] =
					READ_ONCE(page[at * BITS_PER_LONG + bit]);
				n++;
			}
		}
	}
	return n;
}

static void nothing_is_lost(struct kunit *test)
{
	struct fixture *f = test->priv;
	u32 *page = kunit_kcalloc(test, NR, sizeof(*page), GFP_KERNEL);
	u32 *copy = kunit_kcalloc(test, NR, sizeof(*copy), GFP_KERNEL);
	struct race race[SETTERS];
	struct task_struct *task[SETTERS];
	unsigned long wrong = 0, end;
	unsigned int i, taken = 0;

	KUNIT_ASSERT_NOT_NULL(test, page);
	KUNIT_ASSERT_NOT_NULL(test, copy);
	for (i = 0; i != SETTERS; i++) {
		race[i] = (struct race){ &f->log, page, i };
		task[i] = kthread_run(setter, &race[i], "dirty_log_setter");
		KUNIT_ASSERT_FALSE(test, IS_ERR(task[i]));
	}
	end = jiffies + 20 * HZ;
	do {
		taken += take(&f->log, page, copy);
		cond_resched();
	} while (taken < TAKES && time_before(jiffies, end));
	for (i = 0; i != SETTERS; i++)
		kthread_stop(task[i]);
	taken += take(&f->log, page, copy);

	for (i = 0; i != NR; i++)
		wrong += page[i] != copy[i];
	KUNIT_EXPECT_EQ(test, 0, wrong);
	/* they did meet: most was taken while others were set */
	KUNIT_EXPECT_GE(test, taken, TAKES);
	compare(test);		/* nothing is left */
}

#define DUELS	20000

/**
 * struct duel - one bit, set and looked for at the same time, again and again
 * @log: the log
 * @go: the round to be set
 * @done: the round that was
 */
struct duel {
	struct dirty_log_bits *log;
	unsigned int go;
	unsigned int done;
};

static int duellist(void *data)
{
	struct duel *duel = data;
	unsigned int round = 1;

	while (!kthread_should_stop()) {
		if (READ_ONCE(duel->go) != round) {
			cond_resched();
			continue;
		}
		dirty_log_bits_set(duel->log, 700, 700);
		/* pairs with the look before the last take */
		smp_store_release(&duel->done, round++);
	}
	return 0;
}

/*
 * Nobody sets another bit of the line, which would bring back a summary bit that
 * was taken too early: what is set is found, by the take after it at the latest
 */
static void found_by_the_next_take(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct duel duel = { .log = &f->log };
	u32 *page = kunit_kcalloc(test, NR, sizeof(*page), GFP_KERNEL);
	struct task_struct *task;
	unsigned long end = jiffies + 5 * HZ;
	unsigned int round, found, wrong = 0;
	bool set;

	KUNIT_ASSERT_NOT_NULL(test, page);
	task = kthread_run(duellist, &duel, "dirty_log_duel");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	for (round = 1; round <= DUELS && time_before(jiffies, end); round++) {
		found = 0;
		WRITE_ONCE(duel.go, round);
		do {
			/* what was set by then, this take has to find */
			set = smp_load_acquire(&duel.done) == round;
			found += take(&f->log, page, page);
			if (!found)
				cond_resched();
		} while (!set);
		wrong += found != 1;
	}
	kthread_stop(task);
	KUNIT_EXPECT_EQ(test, 0, wrong);
}

static struct kunit_case log_bits_test_cases[] = {
	KUNIT_CASE(sizes),
	KUNIT_CASE(starts_clean),
	KUNIT_CASE(sets_ranges),
	KUNIT_CASE(sets_words),
	KUNIT_CASE(set_bit_is_summed_up_again),
	KUNIT_CASE_SLOW(nothing_is_lost),
	KUNIT_CASE_SLOW(found_by_the_next_take),
	{}
};

static struct kunit_suite log_bits_test_suite = {
	.name = "iommufd_dirty_log_bits",
	.init = log_bits_test_init,
	.test_cases = log_bits_test_cases,
};
kunit_test_suite(log_bits_test_suite);
