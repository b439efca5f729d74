// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what the state of an 82574L is: which registers, which of their bits,
 * in which order; and what is refused
 */
#include <linux/cleanup.h>
#include <linux/mii.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>

#include "../migration/migration.h"
#include "fake.h"

/* Kinds of sections, and how many words each has */
enum { REGS = 1, PHY, COUNTERS, SOFT, NR_SECTIONS = SOFT };

static const unsigned int words_of[] = {
	[REGS] = NR_SAVED_REGS,
	[PHY] = NR_PHY_REGS,
	[COUNTERS] = NR_STATS,
	[SOFT] = NR_SOFT,
};

/* Words of each section, as they are in a stream */
struct state {
	__le32 words[NR_SECTIONS + 1][NR_SAVED_REGS];
};

/**
 * struct ctx - what a test has
 * @f: a device, in STOP
 * @ones: what another saved that has nothing but ones: the bits that travel
 * @state: to be loaded
 */
struct ctx {
	struct fake *f;
	struct state ones;
	struct state state;
};

static u32 word(const struct state *state, unsigned int type, unsigned int i)
{
	return le32_to_cpu(state->words[type][i]);
}

static unsigned int index_of(u32 offset)
{
	unsigned int i;

	for (i = 0; i != NR_SAVED_REGS && e1000e_saved_offset(i) != offset; )
		i++;
	return i;
}

static void put_reg(struct state *state, u32 offset, u32 value)
{
	state->words[REGS][index_of(offset)] = cpu_to_le32(value);
}

static u32 get_reg(const struct state *state, u32 offset)
{
	return word(state, REGS, index_of(offset));
}

/* Save, and take apart what the library made of it; it stays in STOP_COPY */
static void save(struct kunit *test, struct fake *f, struct state *state)
{
	unsigned int type, size = 64 + 36, at = 64;
	struct file *file;
	u8 __user *user;
	u8 *stream;

	file = fake_set_state(f, VFIO_DEVICE_STATE_STOP_COPY);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	for (type = REGS; type <= NR_SECTIONS; type++)
		size += VFIO_MIG_SECTION_OVERHEAD + words_of[type] * 4;
	stream = kunit_kzalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, stream);
	user = (u8 __user *)kunit_vm_mmap(test, NULL, 0, PAGE_ALIGN(size),
					  PROT_READ | PROT_WRITE,
					  MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NOT_NULL(test, (void __force *)user);
	KUNIT_ASSERT_EQ(test, file->f_op->read(file, user, size, NULL), size);
	fake_done(file);
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(stream, user, size));
	for (type = REGS; type <= NR_SECTIONS; type++) {
		KUNIT_ASSERT_EQ(test, get_unaligned_le32(stream + at), type);
		KUNIT_ASSERT_EQ(test, get_unaligned_le32(stream + at + 8),
				words_of[type] * 4);
		at += VFIO_MIG_SECTION_OVERHEAD;
		memcpy(state->words[type], stream + at, words_of[type] * 4);
		at += words_of[type] * 4;
	}
}

static int load_section(struct fake *f, unsigned int type, const void *data,
			u32 length)
{
	const struct vfio_mig_section section = {
		.type = type,
		.version = 1,
		.length = length,
		.data = data,
	};

	return mig_load_section(&f->e.pci.mig, &section);
}

static int load(struct fake *f, const struct state *state)
{
	unsigned int type;
	int rc = 0;

	for (type = REGS; !rc && type <= NR_SECTIONS; type++)
		rc = load_section(f, type, state->words[type],
				  words_of[type] * 4);
	return rc ?: mig_call(&f->e.pci.mig, e1000e_mig_ops.load_end);
}

static struct ctx *make(struct kunit *test)
{
	struct ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	struct fake *f = fake_make(test);

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_STOP));
	memset(f->regs, 0xff, sizeof(f->regs));
	memset(f->phy, 0xff, sizeof(f->phy));
	memset(f->e.shadow, 0xff, sizeof(f->e.shadow));
	memset(&f->e.soft, 0xff, sizeof(f->e.soft));
	f->e.soft.ims = ICR_CAUSES;
	f->e.soft.icr = ICR_CAUSES;
	save(test, f, &ctx->ones);
	ctx->f = fake_make(test);
	KUNIT_ASSERT_NULL(test, fake_set_state(ctx->f, VFIO_DEVICE_STATE_STOP));
	return ctx;
}

static bool is_ring_end(u32 offset)
{
	offset &= ~QUEUE_STRIDE;
	return offset == RDH || offset == RDT || offset == TDH || offset == TDT;
}

/* Rings as large as they can be, with every head and tail at @end */
static void make_rings(struct state *state, u32 end)
{
	unsigned int i;

	for (i = 0; i != NR_SAVED_REGS; i++)
		if (is_ring_end(e1000e_saved_offset(i)))
			state->words[REGS][i] = cpu_to_le32(end);
}

/* ---- The table ---- */

static void table_is_sane(struct kunit *test)
{
	/* to read these changes them, or to write them does something else */
	static const u32 never[] = {
		STATUS, EERD, MDIC, ICR, ICS, IMS, IMC, CTRL_ALIAS, RDH0_ALIAS,
		RDT0_ALIAS, TDH0_ALIAS, TDT0_ALIAS,
	};
	struct ctx *ctx = make(test);
	unsigned int i, j, held = 0;

	for (i = 0; i != NR_SAVED_REGS; i++) {
		u32 offset = e1000e_saved_offset(i);

		KUNIT_EXPECT_EQ(test, offset % 4, 0);
		KUNIT_EXPECT_LT(test, offset, REGS_USED);
		KUNIT_EXPECT_FALSE(test, offset >= STATS &&
				   offset < STATS + NR_STATS * 4);
		KUNIT_EXPECT_NE(test, word(&ctx->ones, REGS, i), 0);
		KUNIT_EXPECT_EQ(test, index_of(offset), i);
		for (j = 0; j != ARRAY_SIZE(never); j++)
			KUNIT_EXPECT_NE(test, offset, never[j]);
		held += e1000e_held_index(offset) >= 0;
	}
	KUNIT_EXPECT_EQ(test, held, NR_HELD);
	KUNIT_EXPECT_EQ(test, e1000e_saved_offset(NR_SAVED_REGS), U32_MAX);
}

/* Bits that start something, or are no state, or that an address does not have */
static void bits_that_stay(struct kunit *test)
{
	static const struct {
		u32 offset;
		u32 without;
	} regs[] = {
		{ CTRL, CTRL_RST | CTRL_PHY_RST },
		{ CTRL_EXT, BIT(13) },		/* reads the NVM again */
		{ RDTR, DELAY_FLUSH },
		{ TIDV, DELAY_FLUSH },
		{ RDBAL, 0xf },
		{ TDBAL, 0xf },
		{ RDLEN, 0x7f },
		{ TDLEN, 0x7f },
	};
	struct ctx *ctx = make(test);
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(regs); i++)
		KUNIT_EXPECT_EQ_MSG(test, 0, regs[i].without &
				    get_reg(&ctx->ones, regs[i].offset),
				    "register %#x", regs[i].offset);
	KUNIT_EXPECT_EQ(test, 0, word(&ctx->ones, PHY, 0) &
			(BMCR_RESET | BMCR_ANRESTART));
}

/* Each register arrives, and goes on from there as it came */
static void regs_arrive(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i;
	u32 offset, got;
	int held;

	/* a value that no two share, in rings that are possible */
	for (i = 0; i != NR_SAVED_REGS; i++)
		ctx->state.words[REGS][i] =
			cpu_to_le32(word(&ctx->ones, REGS, i) &
				    (0x9e3779b9 * (i + 1)));
	for (i = 0; i != NR_QUEUES; i++) {
		put_reg(&ctx->state, RDLEN + i * QUEUE_STRIDE, 0x1000);
		put_reg(&ctx->state, RDH + i * QUEUE_STRIDE, 3 + i);
		put_reg(&ctx->state, RDT + i * QUEUE_STRIDE, 255);
		put_reg(&ctx->state, TDLEN + i * QUEUE_STRIDE, 0x2000);
		put_reg(&ctx->state, TDH + i * QUEUE_STRIDE, 511);
		put_reg(&ctx->state, TDT + i * QUEUE_STRIDE, 5 + i);
	}
	for (i = 0; i != NR_STATS; i++)
		ctx->state.words[COUNTERS][i] = cpu_to_le32(1000 + i);
	KUNIT_ASSERT_EQ(test, 0, load(f, &ctx->state));
	for (i = 0; i != NR_SAVED_REGS; i++) {
		offset = e1000e_saved_offset(i);
		held = e1000e_held_index(offset);
		got = held >= 0 ? f->e.shadow[held] : *fake_reg(f, offset);
		KUNIT_EXPECT_EQ_MSG(test, got, word(&ctx->state, REGS, i),
				    "register %#x", offset);
	}
	memset(&ctx->ones, 0, sizeof(ctx->ones));
	save(test, f, &ctx->ones);
	for (i = 0; i != NR_SAVED_REGS; i++)
		KUNIT_EXPECT_EQ(test, word(&ctx->ones, REGS, i),
				word(&ctx->state, REGS, i));
	for (i = 0; i != NR_STATS; i++)
		KUNIT_EXPECT_EQ(test, word(&ctx->ones, COUNTERS, i), 1000 + i);
}

/* Bits that do not travel are those of the card that loads, unless its reset clears them */
static void reserved_bits_stay(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	*fake_reg(f, PBA) = U32_MAX;
	f->phy[0][MII_BMCR] = 0x003f;
	KUNIT_ASSERT_EQ(test, 0, load(f, &ctx->state));
	KUNIT_EXPECT_EQ(test, *fake_reg(f, PBA), 0xffc0ffc0);
	KUNIT_EXPECT_EQ(test, f->phy[0][MII_BMCR], 0x003f);
}

/* In the order that the datasheet asks for; and nothing that starts DMA before it may */
static void order(struct kunit *test)
{
	static const u32 pairs[][2] = {
		{ PBA, CTRL }, { CTRL, RDBAL }, { RDBAL, RDLEN }, { RDBAH, RDLEN },
		{ RDLEN, RDH }, { TDBAL, TDLEN }, { TDLEN, TDH }, { RFCTL, RDH },
		{ SYSTIML, SYSTIMH },
	};
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	unsigned int i;
	int first;

#define WRITTEN(_offset) fake_nth(f->trace, f->writes, _offset)
	f->writes = 0;
	KUNIT_ASSERT_EQ(test, 0, load(f, &ctx->state));
	for (i = 0; i != ARRAY_SIZE(pairs); i++) {
		first = WRITTEN(pairs[i][0]);
		KUNIT_EXPECT_GE(test, first, 0);
		KUNIT_EXPECT_LT_MSG(test, first, WRITTEN(pairs[i][1]),
				    "%#x before %#x", pairs[i][0], pairs[i][1]);
	}
	KUNIT_EXPECT_EQ(test, WRITTEN(RDT), -1);
	KUNIT_EXPECT_EQ(test, WRITTEN(TDT), -1);
	KUNIT_EXPECT_TRUE(test, *fake_reg(f, CTRL) & CTRL_GIO_DISABLE);
	f->writes = 0;
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING));
	KUNIT_EXPECT_GE(test, WRITTEN(TDT), 0);
	KUNIT_EXPECT_LT(test, WRITTEN(TDT), WRITTEN(TCTL));
	KUNIT_EXPECT_GE(test, WRITTEN(RDT), 0);
	KUNIT_EXPECT_LT(test, WRITTEN(RDT), WRITTEN(RCTL));
	KUNIT_EXPECT_FALSE(test, *fake_reg(f, CTRL) & CTRL_GIO_DISABLE);
	/* reading the low half of the time holds the high one */
	KUNIT_EXPECT_LT(test, index_of(SYSTIML), index_of(SYSTIMH));
}

/* ---- What is refused ---- */

static void expect_refused(struct kunit *test, struct ctx *ctx,
			   unsigned int type, unsigned int i, u32 value)
{
	__le32 before = ctx->ones.words[type][i];

	ctx->ones.words[type][i] = cpu_to_le32(value);
	KUNIT_EXPECT_EQ_MSG(test, -ERANGE,
			    load_section(ctx->f, type, ctx->ones.words[type],
					 words_of[type] * 4),
			    "section %u, word %u: %#x", type, i, value);
	ctx->ones.words[type][i] = before;
}

static void expect_taken(struct kunit *test, struct ctx *ctx, unsigned int type)
{
	KUNIT_EXPECT_EQ(test, 0, load_section(ctx->f, type,
					      ctx->ones.words[type],
					      words_of[type] * 4));
}

/* The device was not touched, and is as good as any after a reset */
static void expect_untouched(struct kunit *test, struct ctx *ctx)
{
	struct fake *f = ctx->f;

	KUNIT_EXPECT_EQ(test, f->writes, 0);
	vfio_mig_reset(&f->e.pci.mig);
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_STOP));
	KUNIT_EXPECT_EQ(test, 0, load(f, &ctx->ones));
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING));
}

/* One bit more than there may be, in each word; the window's address may be any */
static void bad_bits(struct kunit *test)
{
	static const unsigned int types[] = { REGS, PHY, SOFT };
	struct ctx *ctx = make(test);
	unsigned int t, i, bit, tried = 0;
	u32 all;

	make_rings(&ctx->ones, 0xfff7);
	ctx->f->writes = 0;
	for (t = 0; t != ARRAY_SIZE(types); t++) {
		expect_taken(test, ctx, types[t]);
		for (i = 0; i != words_of[types[t]]; i++) {
			all = word(&ctx->ones, types[t], i);
			if (types[t] == REGS && is_ring_end(e1000e_saved_offset(i)))
				all = U16_MAX;
			for (bit = 0; bit != 32; bit++) {
				if (all & BIT(bit))
					continue;
				expect_refused(test, ctx, types[t], i,
					       word(&ctx->ones, types[t], i) |
					       BIT(bit));
				tried++;
			}
		}
	}
	KUNIT_EXPECT_GT(test, tried, 1000);
	expect_untouched(test, ctx);
}

/* Heads and tails outside of their rings, of each length; where there is none, any */
static void bad_rings(struct kunit *test)
{
	static const u32 ends[] = { RDH, RDT, TDH, TDT };
	static const u32 lengths[] = { 0x80, 0x1000, 0xfff80 };
	struct ctx *ctx = make(test);
	unsigned int i, n, q;
	u32 at, length, slots;

	ctx->f->writes = 0;
	for (n = 0; n != ARRAY_SIZE(lengths) * NR_QUEUES; n++) {
		q = n % NR_QUEUES * QUEUE_STRIDE;
		slots = lengths[n / NR_QUEUES] / DESC_SIZE;
		make_rings(&ctx->ones, 0);
		for (i = 0; i != ARRAY_SIZE(ends); i++) {
			at = index_of(ends[i] + q);
			length = ends[i] < TDBAL ? RDLEN : TDLEN;
			put_reg(&ctx->ones, length + q, slots * DESC_SIZE);
			ctx->ones.words[REGS][at] = cpu_to_le32(slots - 1);
			expect_taken(test, ctx, REGS);
			expect_refused(test, ctx, REGS, at, slots);
			expect_refused(test, ctx, REGS, at, U16_MAX);
			put_reg(&ctx->ones, length + q, 0);
			ctx->ones.words[REGS][at] = cpu_to_le32(U16_MAX);
			expect_taken(test, ctx, REGS);
			put_reg(&ctx->ones, length + q, slots * DESC_SIZE);
			ctx->ones.words[REGS][at] = cpu_to_le32(0);
		}
	}
	expect_untouched(test, ctx);
}

/* Sections of other lengths and of no known kind */
static void bad_lengths(struct kunit *test)
{
	struct ctx *ctx = make(test);
	unsigned int type, length;

	make_rings(&ctx->ones, 0);
	ctx->f->writes = 0;
	for (type = REGS; type <= NR_SECTIONS; type++) {
		for (length = 0; length != words_of[type] * 4; length++)
			KUNIT_EXPECT_EQ(test, -ERANGE,
					load_section(ctx->f, type,
						     ctx->ones.words[type],
						     length));
		expect_taken(test, ctx, type);
	}
	KUNIT_EXPECT_EQ(test, -ERANGE, load_section(ctx->f, NR_SECTIONS + 1,
						    ctx->ones.words[REGS], 4));
	expect_untouched(test, ctx);
}

/* ---- The rest ---- */

/* Interrupts that were pending, and enabled, are so again; the link's is added */
static void interrupts_arrive(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;

	ctx->state.words[SOFT][0] = cpu_to_le32(0x5);
	ctx->state.words[SOFT][1] = cpu_to_le32(0x80);
	*fake_reg(f, STATUS) = STATUS_LU;
	KUNIT_ASSERT_EQ(test, 0, load(f, &ctx->state));
	KUNIT_EXPECT_EQ(test, *fake_reg(f, IMS), 0);
	KUNIT_EXPECT_EQ(test, *fake_reg(f, ICR), 0);
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING));
	KUNIT_EXPECT_EQ(test, *fake_reg(f, IMS), 0x5);
	KUNIT_EXPECT_EQ(test, *fake_reg(f, ICR), 0x80 | ICR_LSC);
}

/* Counters go on from what was counted, and stop at the end; 64 bits carry */
static void counters_go_on(struct kunit *test)
{
	struct ctx *ctx = make(test);
	struct fake *f = ctx->f;
	struct e1000e *e = &f->e;
	u32 first;

	ctx->state.words[COUNTERS][0] = cpu_to_le32(5);
	ctx->state.words[COUNTERS][1] = cpu_to_le32(U32_MAX);
	ctx->state.words[COUNTERS][(GORCL - STATS) / 4] = cpu_to_le32(U32_MAX);
	KUNIT_ASSERT_EQ(test, 0, load(f, &ctx->state));
	*fake_reg(f, STATS) = 7;
	*fake_reg(f, STATS + 4) = 7;
	*fake_reg(f, GORCL) = 2;
	guard(mutex)(&e->pci.lock);
	KUNIT_EXPECT_EQ(test, e1000e_user_read(e, STATS), 12);
	KUNIT_EXPECT_EQ(test, e1000e_user_read(e, STATS), 0);
	KUNIT_EXPECT_EQ(test, e1000e_user_read(e, STATS + 4), U32_MAX);
	first = e1000e_user_read(e, GORCL);
	KUNIT_EXPECT_EQ(test, first, 1);
	KUNIT_EXPECT_EQ(test, e1000e_user_read(e, GORCL + 4), 1);
}

/* ---- Holding ---- */

/* What is written to what starts DMA waits, and reads back; what is written else does not */
static void hold_keeps(struct kunit *test)
{
	static const u32 held[] = {
		CTRL, RCTL, TCTL, RDT, RDT + QUEUE_STRIDE, TDT,
		TDT + QUEUE_STRIDE,
	};
	struct fake *f = fake_make(test);
	struct e1000e *e = &f->e;
	unsigned int i;

	*fake_reg(f, TDT) = 4;
	*fake_reg(f, TDH) = 4;
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING_P2P));
	scoped_guard(mutex, &e->pci.lock) {
		KUNIT_EXPECT_TRUE(test, e1000e_user_read(e, STATUS) &
				  STATUS_GIO_ENABLED);
		KUNIT_EXPECT_EQ(test, e1000e_user_read(e, TDT0_ALIAS), 4);
		for (i = 0; i != ARRAY_SIZE(held); i++) {
			e1000e_user_write(e, held[i], 0x40 + i * 4);
			KUNIT_EXPECT_EQ(test, e1000e_user_read(e, held[i]),
					0x40 + i * 4);
			if (i)
				KUNIT_EXPECT_NE(test, *fake_reg(f, held[i]),
						0x40 + i * 4);
		}
		KUNIT_EXPECT_TRUE(test, *fake_reg(f, CTRL) & CTRL_GIO_DISABLE);
		e1000e_user_write(e, RDBAL, 0x1000);
	}
	KUNIT_EXPECT_EQ(test, *fake_reg(f, RDBAL), 0x1000);
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING));
	for (i = 0; i != ARRAY_SIZE(held); i++)
		KUNIT_EXPECT_EQ(test, *fake_reg(f, held[i]), 0x40 + i * 4);
}

/* A device that is reset meanwhile stays quiet, and forgets what waited */
static void hold_survives_reset(struct kunit *test)
{
	struct fake *f = fake_make(test);
	struct e1000e *e = &f->e;

	*fake_reg(f, RCTL) = RCTL_EN;
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING_P2P));
	KUNIT_EXPECT_FALSE(test, *fake_reg(f, RCTL) & RCTL_EN);
	scoped_guard(mutex, &e->pci.lock) {
		e1000e_user_write(e, TDT, 9);
		e1000e_user_write(e, CTRL, CTRL_RST);
		KUNIT_EXPECT_EQ(test, e1000e_user_read(e, TDT), 0);
		KUNIT_EXPECT_EQ(test, e1000e_user_read(e, RCTL), 0);
		KUNIT_EXPECT_EQ(test, e1000e_user_read(e, CTRL), 0);
	}
	KUNIT_EXPECT_EQ(test, *fake_reg(f, CTRL), CTRL_GIO_DISABLE);
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING));
	KUNIT_EXPECT_EQ(test, *fake_reg(f, CTRL), 0);
}

/* What cannot be sent in time stays in the ring; who does not stop runs on */
static void hold_fails(struct kunit *test)
{
	struct fake *f = fake_make(test);

	f->stuck = true;
	*fake_reg(f, TCTL) = TCTL_EN;
	*fake_reg(f, RCTL) = RCTL_EN;
	*fake_reg(f, TDT) = 9;
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING_P2P));
	KUNIT_EXPECT_FALSE(test, *fake_reg(f, TCTL) & TCTL_EN);
	KUNIT_EXPECT_EQ(test, *fake_reg(f, TDH), 0);
	KUNIT_ASSERT_NULL(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING));
	KUNIT_EXPECT_EQ(test, *fake_reg(f, TDT), 9);

	f->busy = true;
	KUNIT_EXPECT_PTR_EQ(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING_P2P),
			    ERR_PTR(-EBUSY));
	KUNIT_EXPECT_FALSE(test, f->e.held);
	KUNIT_EXPECT_TRUE(test, *fake_reg(f, TCTL) & TCTL_EN);
	KUNIT_EXPECT_TRUE(test, *fake_reg(f, RCTL) & RCTL_EN);
	KUNIT_EXPECT_FALSE(test, *fake_reg(f, CTRL) & CTRL_GIO_DISABLE);
	*fake_reg(f, STATUS) = U32_MAX;
	KUNIT_EXPECT_PTR_EQ(test, fake_set_state(f, VFIO_DEVICE_STATE_RUNNING_P2P),
			    ERR_PTR(-EIO));
	KUNIT_EXPECT_FALSE(test, f->e.held);
}

static struct kunit_case state_cases[] = {
	KUNIT_CASE(table_is_sane),
	KUNIT_CASE(bits_that_stay),
	KUNIT_CASE(regs_arrive),
	KUNIT_CASE(reserved_bits_stay),
	KUNIT_CASE(order),
	KUNIT_CASE(bad_bits),
	KUNIT_CASE(bad_rings),
	KUNIT_CASE(bad_lengths),
	KUNIT_CASE(interrupts_arrive),
	KUNIT_CASE(counters_go_on),
	KUNIT_CASE(hold_keeps),
	KUNIT_CASE(hold_survives_reset),
	KUNIT_CASE(hold_fails),
	{}
};

static struct kunit_suite state_suite = {
	.name = "vfio_mig_e1000e_state",
	.test_cases = state_cases,
};
kunit_test_suite(state_suite);

MODULE_DESCRIPTION("KUnit tests of the migration of an 82574L");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_IMPORT_NS("IOMMUFD");
