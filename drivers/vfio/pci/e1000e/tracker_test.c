// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the 82574L's dirty tracker: what it makes of heads, tails and
 * descriptors, round the ends of rings of each kind, and what it says when it does not know
 */
#include <kunit/static_stub.h>
#include <linux/cleanup.h>
#include <linux/iommufd_dirty.h>
#include <linux/iova_bitmap.h>

#include "fake.h"

#define RING		FAKE_IOVA
#define TX_RING		(FAKE_IOVA + 0x10000)
#define SLOTS		256
#define PER_PAGE	(PAGE_SIZE / DESC_SIZE)
/* Each buffer begins in a page of its own, where nothing else is */
#define BUFFER(_slot)	(0x200000000ULL + (u64)(_slot) * 0x10000)
#define MAX_PAGES	64

/**
 * struct ctx - what a test has
 * @f: the device
 * @dirty: pages that were reported, in no order
 * @nr: how many
 */
struct ctx {
	struct fake *f;
	unsigned long dirty[MAX_PAGES];
	unsigned int nr;
};

static void note_page(void *data, unsigned long iova, size_t length)
{
	struct ctx *ctx = data;

	if (ctx->nr < MAX_PAGES && length == PAGE_SIZE)
		ctx->dirty[ctx->nr] = iova;
	ctx->nr++;
}

static const struct iova_bitmap_sink sink = { .set = note_page };

static int collect_range(struct kunit *test, struct ctx *ctx, u64 iova,
			 u64 length)
{
	struct iova_bitmap *bitmap = iova_bitmap_alloc_sink(&sink, ctx);
	int rc;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, bitmap);
	ctx->nr = 0;
	rc = e1000e_track_ops.collect(&ctx->f->e, iova, length, bitmap);
	iova_bitmap_free(bitmap);
	return rc;
}

static int collect(struct kunit *test, struct ctx *ctx)
{
	return collect_range(test, ctx, 0, 1ULL << 40);
}

static bool is_dirty(struct ctx *ctx, u64 iova)
{
	unsigned int i;

	for (i = 0; i < min_t(unsigned int, ctx->nr, MAX_PAGES); i++)
		if (ctx->dirty[i] == (iova & PAGE_MASK))
			return true;
	return false;
}

/* ---- The guest's side ---- */

static void put_desc(struct fake *f, unsigned int slot, u64 buffer)
{
	__le64 *desc = (__le64 *)(f->mem + slot * DESC_SIZE);

	desc[0] = cpu_to_le64(buffer);
}

/* The tail is written as main.c has it: learnt of first, with no lock held */
static void ring(struct fake *f, u32 tail)
{
	struct e1000e *e = &f->e;
	struct e1000e_slots new;

	scoped_guard(mutex, &e->pci.lock)
		new = e1000e_new_slots(e, 0, e1000e_user_read(e, RDT), tail);
	e1000e_learn(e, &new);
	scoped_guard(mutex, &e->pci.lock)
		e1000e_user_write(e, RDT, tail);
}

static void user_write(struct fake *f, u32 offset, u32 value)
{
	guard(mutex)(&f->e.pci.lock);
	e1000e_user_write(&f->e, offset, value);
}

static int start(struct fake *f)
{
	u64 page_size = PAGE_SIZE;

	return e1000e_track_ops.start(&f->e, NULL, 0, &page_size);
}

static void restart(struct kunit *test, struct fake *f)
{
	e1000e_track_ops.stop(&f->e);
	KUNIT_ASSERT_EQ(test, 0, start(f));
}

/* Rings of 256 descriptors, receiving into 2 KiB, of which nothing is rung for yet */
static struct ctx *make(struct kunit *test)
{
	struct ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	struct fake *f = fake_make(test);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	ctx->f = f;
	for (i = 0; i != SLOTS; i++)
		put_desc(f, i, BUFFER(i));
	*fake_reg(f, RDBAL) = lower_32_bits(RING);
	*fake_reg(f, RDBAH) = upper_32_bits(RING);
	*fake_reg(f, RDLEN) = SLOTS * DESC_SIZE;
	*fake_reg(f, TDBAL) = lower_32_bits(TX_RING);
	*fake_reg(f, TDBAH) = upper_32_bits(TX_RING);
	*fake_reg(f, TDLEN) = SLOTS * 4 * DESC_SIZE;
	*fake_reg(f, RCTL) = RCTL_EN;
	f->stuck = true;
	return ctx;
}

static void expect_nothing(struct kunit *test, struct ctx *ctx)
{
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 0);
}

/* ---- Rings ---- */

/* No descriptor is out: nothing is written, here or beyond the head */
static void empty_ring(struct kunit *test)
{
	struct ctx *ctx = make(test);

	KUNIT_ASSERT_EQ(test, 0, start(ctx->f));
	expect_nothing(test, ctx);
	/* nor after it was filled and emptied */
	ring(ctx->f, 8);
	*fake_reg(ctx->f, RDH) = 8;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 8 + 1);
	expect_nothing(test, ctx);
}

/* All but one descriptor are out: what the head passed was written, and only that */
static void full_ring(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i;

	ring(f, SLOTS - 1);
	*fake_reg(f, RCTL) = 0;		/* nothing is under way */
	KUNIT_ASSERT_EQ(test, 0, start(f));
	expect_nothing(test, ctx);
	*fake_reg(f, RDH) = 10;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 10 + 1);
	for (i = 0; i != 10; i++)
		KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(i)));
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, RING));
	expect_nothing(test, ctx);
	*fake_reg(f, RDH) = SLOTS - 1;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, SLOTS - 1 - 10 + 1);
}

/* Round the end, also when descriptors are read in pieces and from both sides of it */
static void wraps(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i;

	*fake_reg(f, RDH) = SLOTS - 3;
	*fake_reg(f, RDT) = SLOTS - 3;
	ring(f, 90);
	*fake_reg(f, RCTL) = 0;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	*fake_reg(f, RDH) = 4;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 7 + 1);
	for (i = SLOTS - 3; i != SLOTS + 4; i++)
		KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(i % SLOTS)));
	for (i = 0; i != 90; i++)
		KUNIT_EXPECT_EQ(test, f->e.tracker.rx[0].buffers[i], BUFFER(i));
	KUNIT_EXPECT_EQ(test, f->e.tracker.rx[0].buffers[90], U64_MAX);
}

/* A slot is used again: its buffer now is another one, what was in it before is told */
static void slot_again(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	*fake_reg(f, RDLEN) = 8 * DESC_SIZE;
	ring(f, 2);
	*fake_reg(f, RCTL) = 0;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	*fake_reg(f, RDH) = 2;
	put_desc(f, 0, BUFFER(1000));
	put_desc(f, 1, BUFFER(1001));
	ring(f, 1);
	*fake_reg(f, RDH) = 1;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(0)));
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(1)));
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(1000)));
	KUNIT_EXPECT_FALSE(test, is_dirty(ctx, BUFFER(1001)));
}

/* A frame under way takes as many buffers as the largest needs, and not those past the tail */
static void beyond_the_head(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i;

	ring(f, 100);
	KUNIT_ASSERT_EQ(test, 0, start(f));
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	for (i = 0; i != 8; i++)
		KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(i)));
	KUNIT_EXPECT_FALSE(test, is_dirty(ctx, BUFFER(8)));
	KUNIT_EXPECT_EQ(test, ctx->nr, 8 + 1);
	*fake_reg(f, RDH) = 97;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 3 + 1);
	KUNIT_EXPECT_FALSE(test, is_dirty(ctx, BUFFER(100)));
	/* nothing is, once DMA is stopped */
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING_P2P));
	expect_nothing(test, ctx);
}

/* Buffers of each size, which lie over two pages or more */
static void buffer_sizes(struct kunit *test)
{
	static const struct {
		u32 rctl;
		u32 size;
	} sizes[] = {
		{ 0, 2048 }, { 1 << 16, 1024 }, { 2 << 16, 512 },
		{ 3 << 16, 256 }, { RCTL_BSEX | 1 << 16, 16384 },
		{ RCTL_BSEX | 2 << 16, 8192 }, { RCTL_BSEX | 3 << 16, 4096 },
		{ 5U << 27, 5 * 1024 }, { 15U << 27, 15 * 1024 },
	};
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i, over;
	u64 at, last;

	KUNIT_ASSERT_EQ(test, 0, start(f));
	for (i = 0; i != ARRAY_SIZE(sizes); i++) {
		*fake_reg(f, RCTL) = sizes[i].rctl;
		for (over = 0; over != 2; over++) {
			/* up to the end of a page, or one byte over it */
			at = BUFFER(i) + 0x8000 - sizes[i].size + over;
			put_desc(f, *fake_reg(f, RDT), at);
			ring(f, (*fake_reg(f, RDT) + 1) % SLOTS);
			*fake_reg(f, RDH) = *fake_reg(f, RDT);
			KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
			last = at + sizes[i].size - 1;
			KUNIT_EXPECT_EQ(test, ctx->nr, 1 +
					(last / PAGE_SIZE - at / PAGE_SIZE + 1));
			KUNIT_EXPECT_TRUE(test, is_dirty(ctx, at));
			KUNIT_EXPECT_TRUE(test, is_dirty(ctx, last));
		}
	}
}

/* Descriptors that were sent are written back; the one at the head may be */
static void transmit(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	*fake_reg(f, TCTL) = TCTL_EN;
	*fake_reg(f, TDH) = 4 * SLOTS - 2;
	*fake_reg(f, TDT) = 4 * SLOTS - 2;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	expect_nothing(test, ctx);
	user_write(f, TDT, PER_PAGE + 5);
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 1);
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, TX_RING + 3 * PAGE_SIZE));
	*fake_reg(f, TDH) = 1;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 2);
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, TX_RING));
	*fake_reg(f, TDH) = PER_PAGE + 5;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 2);
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, TX_RING + PAGE_SIZE));
	expect_nothing(test, ctx);
}

/* A ring that is given up is counted by where it was */
static void ring_moves(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	ring(f, 20);
	user_write(f, TDT, 3);
	KUNIT_ASSERT_EQ(test, 0, start(f));
	*fake_reg(f, RDH) = 2;
	*fake_reg(f, TDH) = 3;
	user_write(f, RCTL, 0);
	user_write(f, RDBAL, lower_32_bits(RING) + 0x8000);
	user_write(f, TDBAL, lower_32_bits(TX_RING) + 0x8000);
	user_write(f, RDH, 0);
	user_write(f, TDH, 0);
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, RING));
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, TX_RING));
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(1)));
	KUNIT_EXPECT_FALSE(test, is_dirty(ctx, RING + 0x8000));
	KUNIT_EXPECT_FALSE(test, is_dirty(ctx, TX_RING + 0x8000));
	expect_nothing(test, ctx);
}

/* Of the second ring too, a tail lets the device come round to where its head was */
static void second_ring(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i;

	*fake_reg(f, TDBAL + QUEUE_STRIDE) = lower_32_bits(TX_RING);
	*fake_reg(f, TDBAH + QUEUE_STRIDE) = upper_32_bits(TX_RING);
	*fake_reg(f, TDLEN + QUEUE_STRIDE) = SLOTS * 4 * DESC_SIZE;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	user_write(f, TDT + QUEUE_STRIDE, 2 * PER_PAGE + 1);
	*fake_reg(f, TDH + QUEUE_STRIDE) = 2 * PER_PAGE + 1;
	user_write(f, TDT + QUEUE_STRIDE, 1);
	*fake_reg(f, TDH + QUEUE_STRIDE) = 1;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 4);
	for (i = 0; i != 4; i++)
		KUNIT_EXPECT_TRUE(test, is_dirty(ctx, TX_RING + i * PAGE_SIZE));
}

/* While the user writes a register, the device sends */
static void set_and_send(struct e1000e *e, u32 offset, u32 value)
{
	struct fake *f = container_of(e, struct fake, e);

	*fake_reg(f, offset) = value;
	*fake_reg(f, TDH) = 5;
}

/* A head that was written says nothing of the others */
static void other_heads(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	user_write(f, TDT, 5);
	KUNIT_ASSERT_EQ(test, 0, start(f));
	kunit_activate_static_stub(test, e1000e_set, set_and_send);
	user_write(f, RDH, 0);
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 1);
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, TX_RING));
}

/* What may come until a ring changes counts, as far as there are descriptors */
static void up_to_the_tail(struct kunit *test)
{
	static const u32 regs[] = {
		RCTL, RFCTL, RDBAL, RDBAH, RDLEN, RDH, RDBAL0_ALIAS,
		RDBAH0_ALIAS, RDLEN0_ALIAS, RDH0_ALIAS, TDBAL, TDBAH, TDLEN,
		TDH, TDBAL0_ALIAS, TDBAH0_ALIAS, TDLEN0_ALIAS, TDH0_ALIAS, CTRL,
	};
	struct fake *f;
	struct ctx *ctx;
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(regs); i++) {
		ctx = make(test);
		f = ctx->f;
		ring(f, 40);
		*fake_reg(f, TCTL) = TCTL_EN;
		*fake_reg(f, TDT) = PER_PAGE + 1;
		KUNIT_ASSERT_EQ(test, 0, start(f));
		/* where it does not run on as before, that may be an error too */
		user_write(f, regs[i], regs[i] == CTRL ? CTRL_RST : 0);
		*fake_reg(f, RCTL) = 0;
		*fake_reg(f, TCTL) = 0;
		collect(test, ctx);
		KUNIT_EXPECT_EQ_MSG(test, ctx->nr, 40 + 1 + 2, "0x%x", regs[i]);
	}
	/* but not because of what leaves the rings alone */
	ctx = make(test);
	ring(ctx->f, 40);
	KUNIT_ASSERT_EQ(test, 0, start(ctx->f));
	user_write(ctx->f, CTRL, 0);
	user_write(ctx->f, RDTR, 0);
	user_write(ctx->f, RDT, 41);
	*fake_reg(ctx->f, RCTL) = 0;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 8 + 1);
}

/* A range is asked for, the rest waits */
static void by_range(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	ring(f, 3);
	*fake_reg(f, RCTL) = 0;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	*fake_reg(f, RDH) = 3;
	KUNIT_EXPECT_EQ(test, 0, collect_range(test, ctx, BUFFER(1), 1));
	KUNIT_EXPECT_EQ(test, ctx->nr, 1);
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(1)));
	KUNIT_EXPECT_EQ(test, 0, collect_range(test, ctx, 0, BUFFER(1)));
	KUNIT_EXPECT_EQ(test, ctx->nr, 2);
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 1);
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(2)));
}

/* ---- What cannot be known ---- */

/* Descriptors that cannot be read, and come to be used: never nothing, always an error */
static void bad_base(struct kunit *test)
{
	static const u64 bases[] = {
		0, FAKE_IOVA + FAKE_MEMORY - DESC_SIZE, U64_MAX & ~0xfULL,
	};
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(bases); i++) {
		*fake_reg(f, RDH) = 0;
		*fake_reg(f, RDT) = 0;
		*fake_reg(f, RDBAL) = lower_32_bits(bases[i]);
		*fake_reg(f, RDBAH) = upper_32_bits(bases[i]);
		*fake_reg(f, RCTL) = 0;
		ring(f, 2);
		KUNIT_ASSERT_EQ(test, 0, start(f));
		KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
		*fake_reg(f, RDH) = 1;
		KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
		e1000e_track_ops.stop(&f->e);
		KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	}
}

/* A ring that was never set up writes nothing; one that did, and is none, is an error */
static void bad_lengths(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	*fake_reg(f, RDLEN) = 0;
	*fake_reg(f, TDLEN) = 0;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	expect_nothing(test, ctx);
	/* the receiver is on, and has descriptors */
	ring(f, 5);
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	*fake_reg(f, RCTL) = 0;
	restart(test, f);
	expect_nothing(test, ctx);
	*fake_reg(f, RDH) = 3;
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	restart(test, f);
	expect_nothing(test, ctx);
	*fake_reg(f, TDH) = 3;
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	/* out of the ring, and back */
	*fake_reg(f, RDLEN) = 0x80;
	*fake_reg(f, RDT) = 0xffff;
	*fake_reg(f, RDH) = 0xffff;
	restart(test, f);
	ring(f, 8);
	ring(f, 0xffff);
	expect_nothing(test, ctx);
	*fake_reg(f, RDH) = 0;
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	restart(test, f);
	*fake_reg(f, RDLEN) = U32_MAX;
	*fake_reg(f, RDH) = 1;
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	KUNIT_EXPECT_FALSE(test, f->locked);
}

/* A tail that is never reached: there is an end to it, and an error, not a clean page */
static void bad_tail(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	*fake_reg(f, RDT) = 0xffff;
	*fake_reg(f, TDT) = 0xffff;
	*fake_reg(f, TCTL) = TCTL_EN;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	user_write(f, RCTL, 0);
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 5);	/* both rings */
}

/* All ones: of a device that is gone nobody knows what it wrote */
static void nobody_answers(struct kunit *test)
{
	static const u32 heads[] = {
		RDH, RDH + QUEUE_STRIDE, TDH, TDH + QUEUE_STRIDE,
	};
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(heads); i++) {
		KUNIT_ASSERT_EQ(test, 0, start(f));
		expect_nothing(test, ctx);
		*fake_reg(f, heads[i]) = U32_MAX;
		KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
		/* nor since when */
		restart(test, f);
		KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
		e1000e_track_ops.stop(&f->e);
		*fake_reg(f, heads[i]) = 0;
	}
}

/* Addresses without end: there is one to what is stored, and it begins anew after that */
static void log_is_bounded(struct kunit *test)
{
	const unsigned int slots = 4096, words = BIT(17);
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int nr = 0;
	u32 tail = 0;

	*fake_reg(f, RDLEN) = slots * DESC_SIZE;
	*fake_reg(f, RCTL) = 0;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	while (nr <= words) {
		put_desc(f, tail, BUFFER(nr++));
		tail = (tail + 1) % slots;
		if (tail % 2048 && nr <= words)
			continue;
		ring(f, tail);
		*fake_reg(f, RDH) = tail;
	}
	KUNIT_EXPECT_EQ(test, -ENOSPC, collect(test, ctx));
	/* the ring's own 64 KiB were one of them */
	KUNIT_EXPECT_EQ(test, ctx->nr, words - 1 + 16);
	KUNIT_EXPECT_TRUE(test, xa_empty(&f->e.tracker.log));
	KUNIT_EXPECT_EQ(test, f->e.tracker.words, 0);
	restart(test, f);
	put_desc(f, tail, BUFFER(nr));
	ring(f, tail + 1);
	*fake_reg(f, RDH) = tail + 1;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_TRUE(test, is_dirty(ctx, BUFFER(nr)));
}

/* Buffers at the end of all addresses, and one at that which means: none is known */
static void bad_buffers(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	put_desc(f, 0, U64_MAX - 100);
	put_desc(f, 1, U64_MAX);
	ring(f, 2);
	*fake_reg(f, RCTL) = 0;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	*fake_reg(f, RDH) = 1;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 1);
	*fake_reg(f, RDH) = 2;
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
}

/* Descriptors with several buffers are not read, so they are not known when used */
static void split_packets(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	*fake_reg(f, RCTL) = RCTL_DTYP;
	*fake_reg(f, RFCTL) = RFCTL_EXSTEN;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	ring(f, 4);
	*fake_reg(f, RDH) = 1;
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
}

/* As Linux does when its frames get larger: no buffer of before is taken for one of now */
static void larger_frames(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	/* each slot had a buffer once */
	*fake_reg(f, RCTL) = 0;
	ring(f, SLOTS - 1);
	*fake_reg(f, RDH) = SLOTS - 1;
	ring(f, SLOTS - 2);
	*fake_reg(f, RDH) = SLOTS - 2;
	KUNIT_ASSERT_EQ(test, 0, start(f));
	user_write(f, RFCTL, RFCTL_EXSTEN);
	user_write(f, RCTL, RCTL_DTYP);
	expect_nothing(test, ctx);
	ring(f, 10);
	expect_nothing(test, ctx);
	user_write(f, RCTL, RCTL_DTYP | RCTL_EN);
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	user_write(f, RCTL, RCTL_DTYP);
	restart(test, f);
	*fake_reg(f, RDH) = 0;
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 0);
	/* what was not read is not known later either, when they are small again */
	user_write(f, RCTL, 0);
	restart(test, f);
	*fake_reg(f, RDH) = 10;
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	KUNIT_EXPECT_FALSE(test, is_dirty(ctx, BUFFER(0)));
	restart(test, f);
	ring(f, 12);
	*fake_reg(f, RDH) = 12;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 2 + 1);
}

/* Whatever makes another ring of it: its descriptors are not those of before */
static void ring_changes(struct kunit *test)
{
	static const u32 regs[] = {
		RDBAL, RDBAH, RDLEN, RDH, RDBAL0_ALIAS, RDBAH0_ALIAS,
		RDLEN0_ALIAS, RDH0_ALIAS,
	};
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i;

	*fake_reg(f, RCTL) = 0;
	for (i = 0; i != ARRAY_SIZE(regs); i++) {
		*fake_reg(f, RDH) = 0;
		*fake_reg(f, RDT) = 0;
		ring(f, 8);
		KUNIT_ASSERT_EQ(test, 0, start(f));
		/* to what it had, which is another one all the same */
		user_write(f, regs[i], *fake_reg(f, e1000e_canonical(regs[i])));
		*fake_reg(f, RDH) = 3;
		KUNIT_EXPECT_EQ_MSG(test, -EIO, collect(test, ctx), "0x%x",
				    regs[i]);
		KUNIT_EXPECT_FALSE(test, is_dirty(ctx, BUFFER(0)));
		e1000e_track_ops.stop(&f->e);
	}
	/* a tail, and a register of the other ring, do not */
	*fake_reg(f, RDH) = 0;
	*fake_reg(f, RDT) = 0;
	ring(f, 8);
	KUNIT_ASSERT_EQ(test, 0, start(f));
	user_write(f, RDBAL + QUEUE_STRIDE, 0);
	user_write(f, RDTR, 0);
	user_write(f, TDBAL, 0);
	user_write(f, RDT, 9);
	*fake_reg(f, RDH) = 8;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 8 + 1);
}

static void expect_known(struct kunit *test, struct fake *f, bool known)
{
	KUNIT_EXPECT_EQ(test, !!f->e.tracker.rx[0].slots, known);
	*fake_reg(f, RDLEN) = SLOTS * DESC_SIZE;
	*fake_reg(f, RDBAL) = lower_32_bits(RING);
	*fake_reg(f, RDBAH) = upper_32_bits(RING);
	*fake_reg(f, RDT) = 0;
	ring(f, 8);
	KUNIT_EXPECT_EQ(test, f->e.tracker.rx[0].slots, SLOTS);
}

/* No ring outlives a reset, a state that is loaded, or sleep */
static void rings_go(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	struct vfio_mig *mig = &f->e.pci.mig;

	expect_known(test, f, false);
	user_write(f, CTRL, 0);
	expect_known(test, f, true);
	user_write(f, CTRL, CTRL_RST);
	expect_known(test, f, false);
	scoped_guard(mutex, &f->e.pci.lock)
		e1000e_driver.renew(mig);
	expect_known(test, f, false);
	vfio_mig_reset(mig);
	expect_known(test, f, false);
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_STOP));
	expect_known(test, f, true);
	user_write(f, CTRL, CTRL_RST);
	expect_known(test, f, false);
	scoped_guard(mutex, &f->e.pci.lock)
		e1000e_mig_ops.load_end(mig);
	expect_known(test, f, false);
	KUNIT_ASSERT_EQ(test, 0, start(f));
	e1000e_driver.sleeps(mig);
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	expect_known(test, f, false);
}

/* ---- Life ---- */

/* The other one had the lock first, and closed */
static int begin_closed(struct vfio_mig_pci *pci)
{
	down_write(pci->mig.mmio_lock);
	mutex_lock(&pci->lock);
	to_e1000e(&pci->mig)->tracker.open = false;
	return 0;
}

static int begin_fails(struct vfio_mig_pci *pci)
{
	return -EIO;
}

static void closed_meanwhile(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int reads;

	KUNIT_ASSERT_EQ(test, 0, start(f));
	kunit_activate_static_stub(test, vfio_mig_pci_begin, begin_closed);
	reads = f->reads;
	expect_nothing(test, ctx);
	KUNIT_EXPECT_FALSE(test, f->e.tracker.open);
	e1000e_track_ops.stop(&f->e);
	f->e.tracker.open = true;
	KUNIT_EXPECT_EQ(test, -ENODEV, start(f));
	KUNIT_EXPECT_FALSE(test, f->e.tracker.on);
	KUNIT_EXPECT_EQ(test, f->reads, reads);
}

/* What it wrote before it was closed is told after, or that nobody knows */
static void closes(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	struct vfio_mig *mig = &f->e.pci.mig;
	unsigned int reads;

	ring(f, 8);
	KUNIT_ASSERT_EQ(test, 0, start(f));
	*fake_reg(f, RDH) = 3;
	e1000e_driver.closing(mig);
	reads = f->reads;
	KUNIT_EXPECT_EQ(test, 0, collect(test, ctx));
	KUNIT_EXPECT_EQ(test, ctx->nr, 3 + 1);
	KUNIT_EXPECT_EQ(test, f->reads, reads);
	KUNIT_EXPECT_EQ(test, -ENODEV, start(f));
	/* it does not stop */
	scoped_guard(mutex, &f->e.pci.lock)
		e1000e_let_go(&f->e);
	f->e.tracker.open = true;
	restart(test, f);
	f->busy = true;
	e1000e_driver.closing(mig);
	KUNIT_EXPECT_FALSE(test, f->e.tracker.open);
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	/* it sleeps */
	f->e.tracker.open = true;
	restart(test, f);
	kunit_activate_static_stub(test, vfio_mig_pci_begin, begin_fails);
	e1000e_driver.closing(mig);
	KUNIT_EXPECT_FALSE(test, f->e.tracker.open);
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
}

/* Of the window in I/O space, only what it shows is a register of the device */
static void io_window(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	struct vfio_mig *mig = &f->e.pci.mig;
	const unsigned int bar = VFIO_PCI_BAR2_REGION_INDEX;
	u32 value = 8;

	f->e.soft.io_addr = RDT;
	e1000e_driver.before_access(mig, bar, IO_ADDR, &value);
	KUNIT_EXPECT_EQ(test, f->e.tracker.rx[0].slots, 0);
	e1000e_driver.before_access(mig, bar, IO_DATA + 4, &value);
	KUNIT_EXPECT_EQ(test, f->e.tracker.rx[0].slots, 0);
	e1000e_driver.before_access(mig, bar, IO_DATA, &value);
	KUNIT_EXPECT_EQ(test, f->e.tracker.rx[0].slots, SLOTS);
	KUNIT_EXPECT_EQ(test, f->e.tracker.rx[0].buffers[7], BUFFER(7));
}

/* A reset that nobody counted before: an error, until it is started anew */
static void reset_is_told(struct kunit *test)
{
	struct ctx *ctx = make(test);

	KUNIT_ASSERT_EQ(test, 0, start(ctx->f));
	vfio_mig_reset(&ctx->f->e.pci.mig);
	KUNIT_EXPECT_EQ(test, -EIO, collect(test, ctx));
	e1000e_track_ops.stop(&ctx->f->e);
	KUNIT_ASSERT_EQ(test, 0, start(ctx->f));
	expect_nothing(test, ctx);
	WRITE_ONCE(ctx->f->e.tracker.open, false);
	e1000e_track_ops.stop(&ctx->f->e);
	KUNIT_EXPECT_EQ(test, -ENODEV, start(ctx->f));
}

/* ---- Rings that were loaded ---- */

/* The device gets no descriptor before it was read, and it is read with no lock held */
static void loaded_rings(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	struct e1000e *e = &f->e;
	unsigned int i;

	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_STOP));
	/* as if it had been loaded */
	*fake_reg(f, RDH) = 250;
	e->shadow[HELD_RDT0] = 20;
	e->unread = true;
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING));
	KUNIT_EXPECT_TRUE(test, f->later);
	KUNIT_EXPECT_EQ(test, *fake_reg(f, RDT), 250);
	/* it stops and starts before anybody came to it */
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING_P2P));
	KUNIT_EXPECT_EQ(test, e->shadow[HELD_RDT0], 20);
	e1000e_learn_rings(&e->learn);
	KUNIT_EXPECT_EQ(test, *fake_reg(f, RDT), 250);
	KUNIT_EXPECT_TRUE(test, e->unread);
	f->later = false;
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING));
	KUNIT_EXPECT_TRUE(test, f->later);
	e1000e_learn_rings(&e->learn);
	KUNIT_EXPECT_FALSE(test, e->unread);
	KUNIT_EXPECT_FALSE(test, f->locked);
	KUNIT_EXPECT_EQ(test, *fake_reg(f, RDT), 20);
	for (i = 250; i != SLOTS + 20; i++)
		KUNIT_EXPECT_EQ(test, e->tracker.rx[0].buffers[i % SLOTS],
				BUFFER(i % SLOTS));
	KUNIT_EXPECT_EQ(test, e->tracker.rx[0].buffers[20], U64_MAX);
	/* a reset leaves nothing to learn */
	e->unread = true;
	vfio_mig_reset(&e->pci.mig);
	KUNIT_EXPECT_FALSE(test, e->unread);
}

static struct kunit_case tracker_cases[] = {
	KUNIT_CASE(empty_ring),
	KUNIT_CASE(full_ring),
	KUNIT_CASE(wraps),
	KUNIT_CASE(slot_again),
	KUNIT_CASE(beyond_the_head),
	KUNIT_CASE(buffer_sizes),
	KUNIT_CASE(transmit),
	KUNIT_CASE(ring_moves),
	KUNIT_CASE(second_ring),
	KUNIT_CASE(other_heads),
	KUNIT_CASE(up_to_the_tail),
	KUNIT_CASE(by_range),
	KUNIT_CASE(bad_base),
	KUNIT_CASE(bad_lengths),
	KUNIT_CASE(bad_tail),
	KUNIT_CASE(nobody_answers),
	KUNIT_CASE(log_is_bounded),
	KUNIT_CASE(bad_buffers),
	KUNIT_CASE(split_packets),
	KUNIT_CASE(larger_frames),
	KUNIT_CASE(ring_changes),
	KUNIT_CASE(rings_go),
	KUNIT_CASE(closed_meanwhile),
	KUNIT_CASE(closes),
	KUNIT_CASE(io_window),
	KUNIT_CASE(reset_is_told),
	KUNIT_CASE(loaded_rings),
	{}
};

static struct kunit_suite tracker_suite = {
	.name = "vfio_mig_e1000e_tracker",
	.test_cases = tracker_cases,
};
kunit_test_suite(tracker_suite);
