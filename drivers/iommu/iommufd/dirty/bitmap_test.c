// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of pending dirty bits
 *
 * A byte for each granule is the model; what a read gives to user memory must
 * equal what the model says, and nothing beside the bitmap may change.
 */
#include <kunit/test.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>

#include "chunk.h"

#define SHIFT		12
#define CHUNK		SZ_16M		/* of IOVA, with that shift */
#define BASE		(3UL * CHUNK - SZ_64K)
#define NR		(2 * 4096 + 48)	/* granules: parts of four chunks */
#define BYTES		((unsigned long)NR << SHIFT)
#define CANARY		64		/* bytes on either side of a bitmap */

struct fixture {
	struct dirty_bitmap bitmap;
	struct dirty_parts found;
	u8 *model;
	u8 *copy;
	unsigned long user;
	size_t user_size;
};

KUNIT_DEFINE_ACTION_WRAPPER(destroy_action, dirty_bitmap_destroy,
			    struct dirty_bitmap *);

static int bitmap_test_init(struct kunit *test)
{
	struct fixture *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, f);
	test->priv = f;
	dirty_bitmap_init(&f->bitmap, SHIFT);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, destroy_action,
						  &f->bitmap));
	KUNIT_ASSERT_EQ(test, 0, dirty_bitmap_populate(&f->bitmap, BASE,
						       BASE + BYTES - 1));
	f->user_size = 16 * PAGE_SIZE;
	f->model = kunit_kzalloc(test, NR, GFP_KERNEL);
	f->copy = kunit_kzalloc(test, f->user_size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->model);
	KUNIT_ASSERT_NOT_NULL(test, f->copy);
	f->user = kunit_vm_mmap(test, NULL, 0, f->user_size,
				PROT_READ | PROT_WRITE,
				MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(f->user));
	return 0;
}

static unsigned long granule(unsigned int i)
{
	return BASE + ((unsigned long)i << SHIFT);
}

static void set(struct kunit *test, unsigned int first, unsigned int nr)
{
	struct fixture *f = test->priv;

	memset(f->model + first, 1, nr);
	KUNIT_ASSERT_TRUE(test, dirty_bitmap_set(&f->bitmap, granule(first),
						 granule(first + nr) - 1));
}

static int read(struct fixture *f, const struct dirty_user_bitmap *user)
{
	return dirty_bitmap_read(&f->bitmap, &f->found, user, true, NULL);
}

/*
 * Read [@first, @first + @nr) at @data with pages of 2^@shift, over memory that
 * is all @fill, and compare with the model.
 */
static void read_and_compare(struct kunit *test, unsigned int first,
			     unsigned int nr, unsigned int shift, bool clear,
			     unsigned int at, u8 fill)
{
	struct fixture *f = test->priv;
	struct dirty_user_bitmap user = {
		.iova = granule(first),
		.last = granule(first + nr) - 1,
		.shift = shift,
		.data = f->user + CANARY + at,
	};
	unsigned long bits = (user.last - user.iova + 1) >> shift;
	unsigned long bytes = DIV_ROUND_UP(bits, BITS_PER_BYTE);
	u8 *want = kunit_kzalloc(test, f->user_size, GFP_KERNEL);
	u64 count = 0, dirty = 0;
	unsigned long i, b;

	KUNIT_ASSERT_NOT_NULL(test, want);
	KUNIT_ASSERT_LE(test, CANARY + at + bytes + CANARY, f->user_size);
	memset(want, fill, f->user_size);
	KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)f->user, want,
					      f->user_size));
	for (i = 0; i != nr; i++) {
		unsigned long start = ((unsigned long)i << SHIFT) >> shift;
		unsigned long end = (((i + 1UL) << SHIFT) - 1) >> shift;

		if (!f->model[first + i])
			continue;
		dirty++;
		for (b = start; b <= end; b++)
			want[CANARY + at + b / 8] |= BIT(b % 8);
		if (clear)
			f->model[first + i] = 0;
	}

	KUNIT_ASSERT_EQ(test, 0, dirty_bitmap_read(&f->bitmap, &f->found,
						   &user, clear, &count));
	if (shift == SHIFT)
		KUNIT_ASSERT_EQ(test, count, dirty);
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(f->copy,
						(void __user *)f->user,
						f->user_size));
	KUNIT_EXPECT_MEMEQ(test, f->copy, want, f->user_size);
	kunit_kfree(test, want);
}

static void read_all(struct kunit *test)
{
	read_and_compare(test, 0, NR, SHIFT, true, 0, 0);
}

/* ---- Tests ---- */

static void empty_is_clean(struct kunit *test)
{
	read_all(test);
	/* ORed in: what is there stays */
	read_and_compare(test, 0, NR, SHIFT, true, 0, 0x55);
}

static void each_edge(struct kunit *test)
{
	static const unsigned int at[] = {
		0, 1, 15, 16, 17, 63, 64, 16 + 4095, 16 + 4096, NR - 1
	};
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(at); i++) {
		set(test, at[i], 1);
		read_and_compare(test, 0, NR, SHIFT, false, 0, 0);
		read_all(test);
		read_all(test);
	}
	/* A range over all chunks, as a huge page table entry makes it */
	set(test, 0, NR);
	read_all(test);
}

static void what_is_not_asked_for_stays(struct kunit *test)
{
	unsigned int i;

	set(test, 0, NR);
	/* One page from the middle, its neighbours, and then the rest */
	read_and_compare(test, 4000, 1, SHIFT, true, 0, 0);
	read_and_compare(test, 3999, 3, SHIFT, true, 0, 0);
	for (i = 0; i < NR; i += NR / 4)
		read_and_compare(test, i, NR / 4, SHIFT, true, 0, 0);
	read_all(test);
}

static void any_alignment(struct kunit *test)
{
	struct rnd_state rnd;
	unsigned int at, i;

	prandom_seed_state(&rnd, 1);
	for (at = 0; at != 20; at++) {
		for (i = 0; i != 200; i++)
			set(test, prandom_u32_state(&rnd) % NR, 1);
		read_and_compare(test, at, NR - 2 * at, SHIFT, false, at, 0);
		read_and_compare(test, 0, NR, SHIFT, true,
				 PAGE_SIZE - CANARY - 3 + at, 0x80);
	}
}

static void any_page_size(struct kunit *test)
{
	static const unsigned int shifts[] = { 10, 11, 13, 16, 17 };
	struct rnd_state rnd;
	unsigned int i, j;

	prandom_seed_state(&rnd, 2);
	for (i = 0; i != ARRAY_SIZE(shifts); i++) {
		/* As aligned as a page of the user's */
		unsigned int align = shifts[i] > SHIFT ?
				     1 << (shifts[i] - SHIFT) : 1;
		unsigned int first = (ALIGN(BASE, 1UL << shifts[i]) - BASE) >>
				     SHIFT;
		unsigned int nr = round_down(NR - first, align);

		for (j = 0; j != 300; j++)
			set(test, prandom_u32_state(&rnd) % NR, 1);
		read_and_compare(test, first, nr, shifts[i], false, 3, 0);
		read_and_compare(test, first, nr, shifts[i], true, 0, 0);
		read_all(test);
	}
}

/* A range that begins and ends inside of what one of our bits stands for */
static void parts_of_a_bit(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dirty_user_bitmap user = {
		.iova = granule(20) + SZ_1K,
		.last = granule(23) + SZ_2K - 1,
		.shift = ilog2(SZ_1K),
		.data = f->user + CANARY,
	};
	u64 want = GENMASK_ULL(12, 0);
	u64 got[2] = {};

	set(test, 18, 8);
	KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)user.data, got,
					      sizeof(got)));
	KUNIT_ASSERT_EQ(test, 0, read(f, &user));
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(got, (void __user *)user.data,
						sizeof(got)));
	KUNIT_EXPECT_EQ(test, got[0], want);
	KUNIT_EXPECT_EQ(test, got[1], 0ULL);
	memset(f->model + 20, 0, 4);
	read_all(test);
}

/* Bits of the user's are as large as ours, and each lies across two of them */
static void across_bits(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dirty_user_bitmap user = {
		.iova = granule(20) + SZ_1K,
		.last = granule(28) + SZ_1K - 1,
		.shift = SHIFT,
		.data = f->user + CANARY,
	};
	u64 got = 0;

	set(test, 20, 9);
	KUNIT_ASSERT_EQ(test, 0, copy_to_user((void __user *)user.data, &got,
					      sizeof(got)));
	KUNIT_ASSERT_EQ(test, 0, read(f, &user));
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(&got, (void __user *)user.data,
						sizeof(got)));
	KUNIT_EXPECT_EQ(test, got, 0xffULL);
	memset(f->model + 20, 0, 9);
	read_all(test);
}

static void random_walk(struct kunit *test)
{
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, 3);
	for (i = 0; i != 2000; i++) {
		unsigned int first = prandom_u32_state(&rnd) % NR;
		unsigned int nr = 1 + prandom_u32_state(&rnd) % (NR - first);

		switch (prandom_u32_state(&rnd) % 4) {
		case 0:
			set(test, first, nr);
			break;
		case 1:
			set(test, first, 1);
			break;
		default:
			read_and_compare(test, first, nr, SHIFT,
					 prandom_u32_state(&rnd) % 2,
					 prandom_u32_state(&rnd) % 16, 0);
			break;
		}
	}
}

/* A page that cannot be written: nothing is taken, not even what could be */
static void failure_keeps_all(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dirty_user_bitmap user = {
		.iova = BASE,
		.last = BASE + BYTES - 1,
		.shift = SHIFT,
	};

	set(test, 0, 100);
	set(test, NR - 100, 100);
	/* The bitmap's last bytes lie behind the mapping */
	user.data = f->user + f->user_size - NR / 16;
	KUNIT_EXPECT_EQ(test, -EFAULT, read(f, &user));
	read_all(test);

	/* Where no bits go, no memory is needed, in the same chunk neither */
	user.data = f->user + f->user_size - 4;
	user.iova = granule(16);
	user.last = granule(16 + 64) - 1;
	set(test, 40, 8);
	set(test, 16 + 63, 1);
	KUNIT_EXPECT_EQ(test, -EFAULT, read(f, &user));
	read_all(test);
	set(test, 40, 8);
	memset(f->model, 0, 100);
	KUNIT_EXPECT_EQ(test, 0, read(f, &user));
	read_all(test);

	user.data = f->user + f->user_size - NR / 16;
	user.iova = BASE;
	user.last = BASE + BYTES - 1;
	set(test, 0, 100);
	memset(f->model, 0, 100);
	KUNIT_EXPECT_EQ(test, 0, read(f, &user));
	read_all(test);
}

static void cursor_sets_alike(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dirty_cursor cursor = { .bitmap = &f->bitmap };
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, 4);
	for (i = 0; i != 60; i++) {
		unsigned int first = prandom_u32_state(&rnd) % NR;
		unsigned int nr = 1 + prandom_u32_state(&rnd) %
				      min(NR - first, 90U);

		dirty_cursor_set(&cursor, granule(first),
				 granule(first + nr) - 1);
		memset(f->model + first, 1, nr);
	}
	dirty_cursor_finish(&cursor);
	KUNIT_EXPECT_FALSE(test, cursor.missed);
	read_all(test);

	dirty_cursor_set(&cursor, BASE + 64 * CHUNK, BASE + 64 * CHUNK);
	dirty_cursor_finish(&cursor);
	KUNIT_EXPECT_TRUE(test, cursor.missed);
}

/* Words of granules of our own size, a smaller and a larger one */
static void cursor_ors_words(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dirty_cursor cursor = { .bitmap = &f->bitmap };
	struct rnd_state rnd;
	unsigned int i, bit;

	prandom_seed_state(&rnd, 5);
	for (i = 0; i != 90; i++) {
		unsigned int shift = SHIFT - 2 + i % 3 * 2;
		unsigned long span = (unsigned long)BITS_PER_LONG << shift;
		unsigned long start = round_up(BASE, span);
		unsigned long room = (BASE + BYTES - start) / span;
		unsigned long iova = start + prandom_u32_state(&rnd) % room * span;
		u64 bits = prandom_u32_state(&rnd);

		bits = bits << 32 | (bits & prandom_u32_state(&rnd));
		dirty_cursor_or(&cursor, iova, shift, bits);
		for_each_set_bit(bit, (unsigned long *)&bits, BITS_PER_LONG) {
			unsigned long first = iova + ((unsigned long)bit << shift);
			unsigned long last = first + (1UL << shift) - 1;

			first = (first - BASE) >> SHIFT;
			last = (last - BASE) >> SHIFT;
			memset(f->model + first, 1, last - first + 1);
		}
		if (i % 30 == 29) {
			dirty_cursor_finish(&cursor);
			KUNIT_EXPECT_FALSE(test, cursor.missed);
			read_all(test);
		}
	}
}

static void record(struct fixture *f, struct dirty_cursor *cursor,
		   unsigned int first, unsigned int nr)
{
	dirty_cursor_set(cursor, granule(first), granule(first + nr) - 1);
	memset(f->model + first, 1, nr);
}

/* What a reader came to itself, with what others marked, and without */
static void found_without_marks(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dirty_cursor cursor = { .bitmap = &f->bitmap };
	struct dirty_user_bitmap nowhere = {
		.iova = BASE,
		.last = BASE + BYTES - 1,
		.shift = SHIFT,
		.data = f->user + f->user_size,
	};
	struct rnd_state rnd;
	unsigned int i, at;

	prandom_seed_state(&rnd, 6);
	for (i = 0; i != 600; i++) {
		unsigned int how = prandom_u32_state(&rnd);

		cursor.found = &f->found;
		/* Ascending as a page table is read, sometimes with a step back */
		for (at = prandom_u32_state(&rnd) % 4096; at < NR - 200;
		     at += 1 + prandom_u32_state(&rnd) % 4096)
			record(f, &cursor, at, 1 + prandom_u32_state(&rnd) % 200);
		if (how & 1)
			record(f, &cursor, prandom_u32_state(&rnd) % NR, 1);
		dirty_cursor_finish(&cursor);
		cursor.found = NULL;
		if ((how & 6) == 6)
			set(test, prandom_u32_state(&rnd) % NR, 1);

		/* Whatever becomes of this read, the next one has the rest */
		at = prandom_u32_state(&rnd) % NR;
		if ((how & 0x18) == 0x18)
			KUNIT_ASSERT_EQ(test, -EFAULT, read(f, &nowhere));
		else
			read_and_compare(test, at,
					 1 + prandom_u32_state(&rnd) % (NR - at),
					 SHIFT, how & 0x20, how >> 8 & 15, 0);
		KUNIT_ASSERT_EQ(test, f->found.nr, 0UL);
		if (how & 0x40)
			read_all(test);
	}
	KUNIT_EXPECT_FALSE(test, cursor.missed);
	read_all(test);
	read_all(test);
	/* And no mark is left for nothing */
	KUNIT_EXPECT_FALSE(test, xa_marked(&f->bitmap.chunks, XA_MARK_0));
}

static bool keep_none(void *data, unsigned long iova, unsigned long last)
{
	return false;
}

static bool keep_first(void *data, unsigned long iova, unsigned long last)
{
	return BASE >= iova && BASE <= last;
}

static void prune_frees_what_is_clean(struct kunit *test)
{
	struct fixture *f = test->priv;

	set(test, NR / 2, 1);
	/* What is pending stays though nothing is mapped there any more */
	KUNIT_EXPECT_TRUE(test, dirty_bitmap_prune(&f->bitmap, 0, ULONG_MAX,
						   keep_first, NULL));
	KUNIT_EXPECT_FALSE(test, dirty_bitmap_set(&f->bitmap, granule(NR - 1),
						  granule(NR) - 1));
	set(test, 0, 1);
	read_all(test);
	KUNIT_EXPECT_FALSE(test, dirty_bitmap_prune(&f->bitmap, 0, ULONG_MAX,
						    keep_none, NULL));
	KUNIT_EXPECT_TRUE(test, xa_empty(&f->bitmap.chunks));
}

/* ---- Setters against a taker ---- */

struct setter {
	struct dirty_bitmap *bitmap;
	u8 *set;		/* by granule: set at least once */
	unsigned int nr;	/* how many it sets in all */
	u32 seed;
	struct completion done;
};

static int setter_thread(void *data)
{
	struct setter *s = data;
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, s->seed);
	for (i = 0; i != s->nr; i++) {
		unsigned int g = prandom_u32_state(&rnd) % NR;

		/* The other one may do so at this moment */
		WRITE_ONCE(s->set[g], 1);
		dirty_bitmap_set(s->bitmap, granule(g), granule(g + 1) - 1);
		if (i % 64 == 0)
			cond_resched();
	}
	complete(&s->done);
	return 0;
}

static void take(struct kunit *test, u8 *taken)
{
	struct fixture *f = test->priv;
	struct dirty_user_bitmap user = {
		.iova = BASE,
		.last = BASE + BYTES - 1,
		.shift = SHIFT,
		.data = f->user,
	};
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, read(f, &user));
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(f->copy,
						(void __user *)f->user,
						DIV_ROUND_UP(NR, 8)));
	for (i = 0; i != NR; i++)
		taken[i] |= !!(f->copy[i / 8] & BIT(i % 8));
	KUNIT_ASSERT_EQ(test, 0, clear_user((void __user *)f->user,
					    DIV_ROUND_UP(NR, 8)));
}

static void none_lost_none_invented(struct kunit *test)
{
	struct fixture *f = test->priv;
	u8 *taken = kunit_kzalloc(test, NR, GFP_KERNEL);
	struct setter s[2];
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, taken);
	for (i = 0; i != ARRAY_SIZE(s); i++) {
		s[i] = (struct setter){
			.bitmap = &f->bitmap,
			.set = f->model,
			.nr = 200000,
			.seed = i,
		};
		init_completion(&s[i].done);
		KUNIT_ASSERT_FALSE(test,
				   IS_ERR(kthread_run(setter_thread, &s[i],
						      "dirty-setter/%u", i)));
	}
	while (!completion_done(&s[0].done) || !completion_done(&s[1].done)) {
		take(test, taken);
		cond_resched();
	}
	wait_for_completion(&s[0].done);
	wait_for_completion(&s[1].done);
	take(test, taken);
	KUNIT_EXPECT_MEMEQ(test, taken, f->model, NR);
	/* Nothing is left, with or without its mark */
	memset(taken, 0, NR);
	take(test, taken);
	KUNIT_EXPECT_NULL(test, memchr_inv(taken, 0, NR));
}

/*
 * One word, set a bit at a time, each of which has to be taken before the next
 * one is set: one that vanishes between a look and the taking is missed at once.
 */
#define WORD	16U		/* first granule of a chunk, see BASE */

struct follower {
	struct dirty_bitmap *bitmap;
	unsigned int taken[BITS_PER_LONG];
	unsigned int nr;
	bool lost;
	struct completion done;
};

static int follower_thread(void *data)
{
	struct follower *f = data;
	unsigned long end, enough = jiffies + 3 * HZ;
	unsigned int i, bit, before;
	struct rnd_state rnd;

	prandom_seed_state(&rnd, 9);
	/* With all debugging on it takes a thousand times as long */
	for (i = 0; i != f->nr && !f->lost && time_before(jiffies, enough); i++) {
		bit = 1 + i % (BITS_PER_LONG - 2);
		/* At any moment of a read, not always at the same one */
		ndelay(prandom_u32_state(&rnd) % 4096);
		before = READ_ONCE(f->taken[bit]);
		dirty_bitmap_set(f->bitmap, granule(WORD + bit),
				 granule(WORD + bit + 1) - 1);
		end = jiffies + 10 * HZ;
		while (READ_ONCE(f->taken[bit]) == before) {
			if (time_after(jiffies, end)) {
				f->lost = true;
				break;
			}
			cond_resched();
		}
	}
	complete(&f->done);
	return 0;
}

static void each_mark_is_taken(struct kunit *test)
{
	struct fixture *f = test->priv;
	struct dirty_user_bitmap user = {
		.iova = granule(WORD),
		.last = granule(WORD + BITS_PER_LONG) - 1,
		.shift = SHIFT,
		.data = f->user,
	};
	struct follower *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);
	struct task_struct *task;
	unsigned int bit, cpu, words = 0;
	unsigned long word;

	KUNIT_ASSERT_NOT_NULL(test, s);
	s->bitmap = &f->bitmap;
	s->nr = 20000;
	init_completion(&s->done);
	task = kthread_create(follower_thread, s, "dirty-follower");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	/* They meet only if each has a CPU */
	migrate_disable();
	cpu = cpumask_any_but(cpu_online_mask, smp_processor_id());
	if (cpu < nr_cpu_ids)
		kthread_bind(task, cpu);
	wake_up_process(task);
	while (!completion_done(&s->done)) {
		/* So that there is always something to take: a bit, or a word */
		dirty_bitmap_set(&f->bitmap, user.last, user.last);
		if (words++ % 2)
			dirty_bitmap_set(&f->bitmap, user.iova, user.iova);
		if (clear_user((void __user *)f->user, sizeof(word)) ||
		    read(f, &user) ||
		    copy_from_user(&word, (void __user *)f->user, sizeof(word)))
			break;
		for_each_set_bit(bit, &word, BITS_PER_LONG)
			WRITE_ONCE(s->taken[bit], s->taken[bit] + 1);
		cond_resched();
	}
	migrate_enable();
	wait_for_completion(&s->done);
	KUNIT_EXPECT_FALSE(test, s->lost);
}

static struct dirty_chunk *find(struct xa_state *xas)
{
	guard(rcu)();
	return xas_load(xas);
}

static bool is_pending(struct xa_state *xas, const struct dirty_chunk *chunk)
{
	guard(rcu)();
	return dirty_chunk_is_pending(xas, chunk);
}

/* A chunk that is found as the only one has the mark of all; then it is not alone */
static void mark_is_its_own(struct kunit *test)
{
	struct dirty_bitmap *bitmap = kunit_kzalloc(test, sizeof(*bitmap),
						    GFP_KERNEL);
	XA_STATE(before, &bitmap->chunks, 0);
	XA_STATE(after, &bitmap->chunks, 0);
	struct dirty_chunk *chunk;

	KUNIT_ASSERT_NOT_NULL(test, bitmap);
	dirty_bitmap_init(bitmap, SHIFT);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, destroy_action,
							   bitmap));
	KUNIT_ASSERT_EQ(test, 0, dirty_bitmap_populate(bitmap, 0, 0));
	chunk = find(&before);
	KUNIT_ASSERT_NOT_NULL(test, chunk);
	KUNIT_EXPECT_FALSE(test, is_pending(&before, chunk));

	KUNIT_ASSERT_EQ(test, 0, dirty_bitmap_populate(bitmap, CHUNK, CHUNK));
	KUNIT_ASSERT_TRUE(test, dirty_bitmap_set(bitmap, CHUNK, CHUNK));
	KUNIT_EXPECT_FALSE(test, is_pending(&before, chunk));

	KUNIT_ASSERT_PTR_EQ(test, chunk, find(&after));
	KUNIT_EXPECT_FALSE(test, is_pending(&after, chunk));
	KUNIT_ASSERT_TRUE(test, dirty_bitmap_set(bitmap, 0, 0));
	KUNIT_EXPECT_TRUE(test, is_pending(&after, chunk));
}

static struct kunit_case bitmap_cases[] = {
	KUNIT_CASE(empty_is_clean),
	KUNIT_CASE(each_edge),
	KUNIT_CASE(what_is_not_asked_for_stays),
	KUNIT_CASE(any_alignment),
	KUNIT_CASE(any_page_size),
	KUNIT_CASE(parts_of_a_bit),
	KUNIT_CASE(across_bits),
	KUNIT_CASE_SLOW(random_walk),
	KUNIT_CASE(failure_keeps_all),
	KUNIT_CASE(cursor_sets_alike),
	KUNIT_CASE(cursor_ors_words),
	KUNIT_CASE_SLOW(found_without_marks),
	KUNIT_CASE(prune_frees_what_is_clean),
	KUNIT_CASE(mark_is_its_own),
	KUNIT_CASE_SLOW(none_lost_none_invented),
	KUNIT_CASE_SLOW(each_mark_is_taken),
	{}
};

static struct kunit_suite bitmap_suite = {
	.name = "iommufd_dirty_bitmap",
	.init = bitmap_test_init,
	.test_cases = bitmap_cases,
};

kunit_test_suite(bitmap_suite);

MODULE_DESCRIPTION("KUnit tests of dirty tracking");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_IMPORT_NS("IOMMUFD");
