// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the simulated IOMMU, walker and IOTLB, and of the dirty bits in
 * the page tables that it walks
 *
 * Tables are made by hand, with the bits written out as the specifications
 * number them, so that neither the walker's nor the kernel's idea of a format
 * proves itself.  The last tests hold walker and kernel against each other.
 */
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/iova_bitmap.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/sort.h>

#include "dsim.h"

#define R	DSIM_PERM_R
#define W	DSIM_PERM_W

/* An address with a different index on each of four levels, and an offset */
#define IOVA	((1ULL << 39) + (2ULL << 30) + (3ULL << 21) + (4ULL << 12) + 5)

/* ---- Formats, as the specifications number their bits ---- */

struct format_case {
	const char *name;
	enum dsim_format_id id;
	u64 a, d;
	bool a_in_tables;
	/* d is Arm's AP[2]: set in what is clean */
	bool d_is_clear;
	/* knows no page that is written and not read */
	bool no_write_only;
};

static const struct format_case format_cases[] = {
	{ "vtdss", DSIM_VTDSS, BIT_ULL(8), BIT_ULL(9), true },
	{ "amdv1", DSIM_AMDV1, BIT_ULL(5), BIT_ULL(6), false },
	{ "x86_64", DSIM_X86_64, BIT_ULL(5), BIT_ULL(6), true },
	{ "armlpae", DSIM_ARMLPAE, BIT_ULL(10), BIT_ULL(7), .d_is_clear = true,
	  .no_write_only = true },
};
KUNIT_ARRAY_PARAM_DESC(format, format_cases, name);

static bool is_dirty(const struct format_case *f, u64 entry)
{
	return !(entry & f->d) == f->d_is_clear;
}

static u64 make_dirty(const struct format_case *f, u64 entry)
{
	return f->d_is_clear ? entry & ~f->d : entry | f->d;
}

/* @level: of the entries in the table pointed to */
static u64 table_entry(enum dsim_format_id id, unsigned int level, u64 pa,
		       u8 perm)
{
	switch (id) {
	case DSIM_VTDSS:
		return pa | (perm & R ? BIT_ULL(0) : 0) |
		       (perm & W ? BIT_ULL(1) : 0);
	case DSIM_AMDV1:
		return pa | BIT_ULL(0) | (u64)(level + 1) << 9 |
		       (perm & R ? BIT_ULL(61) : 0) |
		       (perm & W ? BIT_ULL(62) : 0);
	case DSIM_ARMLPAE:
		return pa | BIT_ULL(0) | BIT_ULL(1) |
		       (perm & R ? 0 : BIT_ULL(61)) |
		       (perm & W ? 0 : BIT_ULL(62));
	default:
		return pa | BIT_ULL(0) | (perm & R ? BIT_ULL(2) : 0) |
		       (perm & W ? BIT_ULL(1) : 0);
	}
}

/* Clean, and not accessed */
static u64 leaf_entry(enum dsim_format_id id, unsigned int level, u64 pa,
		      u8 perm)
{
	u64 entry = table_entry(id, 0, pa, perm) & ~(7ULL << 9);

	if (id == DSIM_ARMLPAE)
		return pa | BIT_ULL(0) | (level ? 0 : BIT_ULL(1)) | BIT_ULL(7) |
		       (perm & R ? BIT_ULL(6) : 0) |
		       (perm & W ? BIT_ULL(51) : 0);
	return id != DSIM_AMDV1 && level ? entry | BIT_ULL(7) : entry;
}

/* ---- Tables by hand ---- */

struct tables {
	struct dsim_root root;
	u64 *table[6];		/* one table of each level; [0] holds PTEs */
};

KUNIT_DEFINE_ACTION_WRAPPER(free_page_action, free_page, unsigned long);

static unsigned int index_of(u64 iova, unsigned int level)
{
	return (iova >> (12 + 9 * level)) & 511;
}

/* Tables of every level, linked along IOVA; the lowest are empty */
static struct tables *make_tables(struct kunit *test, enum dsim_format_id id,
				  unsigned int levels)
{
	struct tables *t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, t);
	for (i = 0; i != levels; i++) {
		unsigned long page = get_zeroed_page(GFP_KERNEL);

		KUNIT_ASSERT_NE(test, page, 0);
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action_or_reset(test, free_page_action,
							  (void *)page));
		t->table[i] = (u64 *)page;
	}
	for (i = 1; i != levels; i++)
		t->table[i][index_of(IOVA, i)] =
			table_entry(id, i - 1, virt_to_phys(t->table[i - 1]),
				    R | W);
	t->root = (struct dsim_root){
		.format = &dsim_formats[id],
		.top = dsim_top(virt_to_phys(t->table[levels - 1]), levels),
		.ad = true,
	};
	return t;
}

static u64 *entry_at(struct tables *t, unsigned int level)
{
	return &t->table[level][index_of(IOVA, level)];
}

static enum dsim_fault walk(struct tables *t, u64 iova, u8 access,
			    struct dsim_xlate *x)
{
	return dsim_walk(&t->root, NULL, iova, access, false, x);
}

/* ---- Walker ---- */

static void walk_leaf_sizes(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	unsigned int level;

	for (level = 0; level != 3; level++) {
		struct tables *t = make_tables(test, f->id, 4);
		u64 size = 1ULL << (12 + 9 * level);
		u64 pa = 0x123ULL << 30;
		struct dsim_xlate x;

		*entry_at(t, level) = leaf_entry(f->id, level, pa, R | W);
		KUNIT_ASSERT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_NONE);
		KUNIT_EXPECT_EQ(test, x.pa, pa);
		KUNIT_EXPECT_EQ(test, x.iova, IOVA & ~(size - 1));
		KUNIT_EXPECT_EQ(test, x.size_lg2, 12 + 9 * level);
		KUNIT_EXPECT_EQ(test, x.perm, R | W);
	}
}

static void walk_accessed_dirty(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct tables *t = make_tables(test, f->id, 4);
	u64 leaf = leaf_entry(f->id, 0, 0x1000, R | W);
	u64 upper[4];
	struct dsim_xlate x;
	unsigned int i;

	for (i = 1; i != 4; i++)
		upper[i] = *entry_at(t, i);
	*entry_at(t, 0) = leaf;

	/* A read sets A on its way and nothing else */
	KUNIT_ASSERT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_NONE);
	KUNIT_EXPECT_EQ(test, *entry_at(t, 0), leaf | f->a);
	for (i = 1; i != 4; i++)
		KUNIT_EXPECT_EQ(test, *entry_at(t, i),
				upper[i] | (f->a_in_tables ? f->a : 0));
	KUNIT_EXPECT_FALSE(test, x.dirty);
	KUNIT_EXPECT_FALSE(test, x.d_set);
	KUNIT_EXPECT_EQ(test, x.a_set, f->a_in_tables ? 4 : 1);

	/* A write adds D, in the leaf alone */
	KUNIT_ASSERT_EQ(test, walk(t, IOVA, W, &x), DSIM_FAULT_NONE);
	KUNIT_EXPECT_EQ(test, *entry_at(t, 0), make_dirty(f, leaf | f->a));
	for (i = 1; i != 4; i++)
		KUNIT_EXPECT_EQ(test, *entry_at(t, i) & ~f->a, upper[i]);
	KUNIT_EXPECT_TRUE(test, x.dirty);
	KUNIT_EXPECT_TRUE(test, x.d_set);
	KUNIT_EXPECT_EQ(test, x.a_set, 0);

	/* A read of what is dirty knows that it is */
	KUNIT_ASSERT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_NONE);
	KUNIT_EXPECT_TRUE(test, x.dirty);
	KUNIT_EXPECT_FALSE(test, x.d_set);

	/* Cleared by software, it is set again */
	*entry_at(t, 0) = leaf | f->a;
	KUNIT_ASSERT_EQ(test, walk(t, IOVA, R | W, &x), DSIM_FAULT_NONE);
	KUNIT_EXPECT_EQ(test, *entry_at(t, 0), make_dirty(f, leaf | f->a));
	KUNIT_EXPECT_TRUE(test, x.d_set);
}

static void walk_ad_off(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct tables *t = make_tables(test, f->id, 4);
	/* Where hardware keeps neither, Arm's software has set both */
	u64 leaf = f->d_is_clear ?
		   make_dirty(f, leaf_entry(f->id, 0, 0x1000, R | W) | f->a) :
		   leaf_entry(f->id, 0, 0x1000, R | W);
	u64 upper = *entry_at(t, 3);
	struct dsim_xlate x;

	t->root.ad = false;
	*entry_at(t, 0) = leaf;
	KUNIT_ASSERT_EQ(test, walk(t, IOVA, R | W, &x), DSIM_FAULT_NONE);
	KUNIT_EXPECT_EQ(test, *entry_at(t, 0), leaf);
	KUNIT_EXPECT_EQ(test, *entry_at(t, 3), upper);
	/* Nothing to set, so nothing is missed by not walking again */
	KUNIT_EXPECT_TRUE(test, x.dirty);
}

static void walk_keep_clean(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct tables *t = make_tables(test, f->id, 4);
	struct dsim_xlate x;

	*entry_at(t, 0) = leaf_entry(f->id, 0, 0x1000, R | W);
	KUNIT_ASSERT_EQ(test, dsim_walk(&t->root, NULL, IOVA, W, true, &x),
			DSIM_FAULT_NONE);
	KUNIT_EXPECT_FALSE(test, is_dirty(f, *entry_at(t, 0)));
	KUNIT_EXPECT_TRUE(test, x.dirty);
}

static void walk_permissions(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct dsim_xlate x;
	unsigned int level;

	/* What one level forbids is forbidden */
	for (level = 0; level != 4; level++) {
		struct tables *t = make_tables(test, f->id, 4);
		u64 *e = entry_at(t, level);

		*entry_at(t, 0) = leaf_entry(f->id, 0, 0x1000, R | W);
		*e = level ? table_entry(f->id, level - 1,
					 virt_to_phys(t->table[level - 1]), R) :
			     leaf_entry(f->id, 0, 0x1000, R);
		KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_NONE);
		KUNIT_EXPECT_EQ(test, x.perm, R);
		KUNIT_EXPECT_EQ(test, walk(t, IOVA, W, &x), DSIM_FAULT_WRITE);
		KUNIT_EXPECT_EQ(test, walk(t, IOVA, R | W, &x),
				DSIM_FAULT_WRITE);
		KUNIT_EXPECT_FALSE(test, is_dirty(f, *entry_at(t, 0)));

		if (f->no_write_only)
			continue;
		*e = level ? table_entry(f->id, level - 1,
					 virt_to_phys(t->table[level - 1]), W) :
			     leaf_entry(f->id, 0, 0x1000, W);
		KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_READ);
	}
}

static void walk_not_present(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct dsim_xlate x;
	unsigned int level;

	for (level = 0; level != 4; level++) {
		struct tables *t = make_tables(test, f->id, 4);

		*entry_at(t, 0) = leaf_entry(f->id, 0, 0x1000, R | W);
		*entry_at(t, level) = 0;
		KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x),
				DSIM_FAULT_NOT_PRESENT);
		KUNIT_EXPECT_EQ(test, *entry_at(t, level), 0);
	}
}

static void walk_range(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct tables *t = make_tables(test, f->id, 4);
	struct dsim_xlate x;

	KUNIT_EXPECT_EQ(test, walk(t, 1ULL << 48, R, &x), DSIM_FAULT_RANGE);
	KUNIT_EXPECT_EQ(test, walk(t, ~0ULL, R, &x),
			f->id == DSIM_X86_64 ? DSIM_FAULT_NOT_PRESENT :
					       DSIM_FAULT_RANGE);
	/* 2^47 is canonical nowhere, and an address like any other elsewhere */
	KUNIT_EXPECT_EQ(test, walk(t, 1ULL << 47, R, &x),
			f->id == DSIM_X86_64 ? DSIM_FAULT_RANGE :
					       DSIM_FAULT_NOT_PRESENT);
}

static void walk_reserved(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct tables *t = make_tables(test, f->id, 5);
	u64 pa = 0x40000000, low = BIT_ULL(13);
	struct dsim_xlate x;

	/* An address that a 2 MiB page cannot have; Arm ignores such bits */
	*entry_at(t, 1) = leaf_entry(f->id, 1, pa | low, R);
	if (f->id == DSIM_ARMLPAE) {
		KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_NONE);
		KUNIT_EXPECT_EQ(test, x.pa, pa);
	} else {
		KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_RESERVED);
		KUNIT_EXPECT_EQ(test, *entry_at(t, 1),
				leaf_entry(f->id, 1, pa | low, R));
	}

	if (f->id == DSIM_AMDV1)
		return;
	/* Pages of 512 GiB and 256 TiB do not exist */
	*entry_at(t, 3) = leaf_entry(f->id, 3, 0, R);
	KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_RESERVED);
	*entry_at(t, 4) = leaf_entry(f->id, 4, 0, R);
	KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_RESERVED);
}

static void walk_x86_pat(struct kunit *test)
{
	struct tables *t = make_tables(test, DSIM_X86_64, 4);
	struct dsim_xlate x;

	/* Bit 12 of a large page is PAT, not address */
	*entry_at(t, 1) = leaf_entry(DSIM_X86_64, 1, 0x40000000 | BIT(12), R);
	KUNIT_ASSERT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_NONE);
	KUNIT_EXPECT_EQ(test, x.pa, 0x40000000);
}

/* PTE with next level 7 whose page has @size_lg2 bits */
static u64 amdv1_sized(u64 pa, unsigned int size_lg2)
{
	return pa | GENMASK_ULL(size_lg2 - 2, 12) * (size_lg2 > 13) |
	       BIT_ULL(0) | 7ULL << 9 | 3ULL << 61;
}

static void walk_amdv1_sizes(struct kunit *test)
{
	unsigned int lg2;
	struct dsim_xlate x;

	for (lg2 = 13; lg2 != 39; lg2++) {
		struct tables *t = make_tables(test, DSIM_AMDV1, 4);
		unsigned int level = (lg2 - 12) / 9;
		u64 pa = 0x5ULL << 40;

		/* Powers of 512 are what next level 0 is for */
		if ((lg2 - 12) % 9 == 0)
			continue;
		*entry_at(t, level) = amdv1_sized(pa, lg2);
		KUNIT_ASSERT_EQ_MSG(test, walk(t, IOVA, W, &x),
				    DSIM_FAULT_NONE, "size 2^%u", lg2);
		KUNIT_EXPECT_EQ(test, x.size_lg2, lg2);
		KUNIT_EXPECT_EQ(test, x.pa, pa);
		KUNIT_EXPECT_EQ(test, x.iova, IOVA & ~((1ULL << lg2) - 1));
		/* Only the entry on the way, not the others of the page */
		KUNIT_EXPECT_EQ(test, *entry_at(t, level),
				amdv1_sized(pa, lg2) | BIT(5) | BIT(6));
	}
}

static void walk_amdv1_bad_sizes(struct kunit *test)
{
	struct tables *t = make_tables(test, DSIM_AMDV1, 4);
	struct dsim_xlate x;

	/* Of another level */
	*entry_at(t, 0) = amdv1_sized(0, 22);
	KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_RESERVED);
	*entry_at(t, 1) = amdv1_sized(0, 13);
	KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_RESERVED);
}

static void walk_amdv1_levels(struct kunit *test)
{
	struct tables *t = make_tables(test, DSIM_AMDV1, 4);
	u64 low = IOVA & (SZ_2M - 1);
	u64 skip = table_entry(DSIM_AMDV1, 0, virt_to_phys(t->table[0]), R | W);
	struct dsim_xlate x;

	/* From the top straight to PTEs: right where the address has zeros */
	t->table[0][index_of(low, 0)] = leaf_entry(DSIM_AMDV1, 0, 0x9000, R);
	t->table[3][0] = skip;
	KUNIT_ASSERT_EQ(test, walk(t, low, R, &x), DSIM_FAULT_NONE);
	KUNIT_EXPECT_EQ(test, x.pa, 0x9000);
	*entry_at(t, 3) = skip;
	KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_NOT_PRESENT);

	/* Levels only fall, so that no table can make the walk go round */
	t->table[3][0] = table_entry(DSIM_AMDV1, 3, virt_to_phys(t->table[3]),
				     R);
	KUNIT_EXPECT_EQ(test, walk(t, low, R, &x), DSIM_FAULT_RESERVED);
}

/* What DBM, AP[2:1] and AF make of a page, with HD and HA, and without */
static void walk_arm_dirty_state(struct kunit *test)
{
	static const struct {
		u64 bits;
		enum dsim_fault read, write;	/* by hardware with HD and HA */
		enum dsim_fault old_read, old_write;	/* by other hardware */
	} cases[] = {
		/* AF, AP[1]: writable without DBM, and dirty with it */
		{ BIT(10) | BIT(6), 0, 0, 0, 0 },
		{ BIT_ULL(51) | BIT(10) | BIT(6), 0, 0, 0, 0 },
		/* AP[2]: read only without DBM, writable and clean with it */
		{ BIT(10) | BIT(7) | BIT(6), 0, DSIM_FAULT_WRITE,
		  0, DSIM_FAULT_WRITE },
		{ BIT_ULL(51) | BIT(10) | BIT(7) | BIT(6), 0, 0,
		  0, DSIM_FAULT_WRITE },
		/* no AF */
		{ BIT(6), 0, 0, DSIM_FAULT_READ, DSIM_FAULT_WRITE },
		/* no AP[1]: privileged only */
		{ BIT_ULL(51) | BIT(10) | BIT(7), DSIM_FAULT_READ,
		  DSIM_FAULT_WRITE, DSIM_FAULT_READ, DSIM_FAULT_WRITE },
	};
	struct tables *t = make_tables(test, DSIM_ARMLPAE, 4);
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(cases); i++) {
		u64 leaf = 0x1000 | BIT(1) | BIT(0) | cases[i].bits;
		u64 after = leaf;
		struct dsim_xlate x;

		*entry_at(t, 0) = leaf;
		t->root.ad = true;
		KUNIT_EXPECT_EQ_MSG(test, walk(t, IOVA, R, &x), cases[i].read,
				    "case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, walk(t, IOVA, W, &x), cases[i].write,
				    "case %u", i);
		/* AP[2] is cleared for a write, never DBM, nor without DBM */
		if (!cases[i].write)
			after = (leaf | BIT(10)) & ~BIT_ULL(7);
		KUNIT_EXPECT_EQ_MSG(test, *entry_at(t, 0), after, "case %u", i);
		*entry_at(t, 0) = leaf;
		t->root.ad = false;
		KUNIT_EXPECT_EQ_MSG(test, walk(t, IOVA, R, &x),
				    cases[i].old_read, "case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, walk(t, IOVA, W, &x),
				    cases[i].old_write, "case %u", i);
		KUNIT_EXPECT_EQ_MSG(test, *entry_at(t, 0), leaf, "case %u", i);
	}

	/* In the last level there are no blocks, and above it no pages */
	t->root.ad = true;
	*entry_at(t, 0) &= ~BIT_ULL(1);
	KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &(struct dsim_xlate){}),
			DSIM_FAULT_RESERVED);
}

/* ---- IOTLB ---- */

KUNIT_DEFINE_ACTION_WRAPPER(tlb_destroy_action, dsim_tlb_destroy,
			    struct dsim_tlb *);

static struct dsim_tlb *make_tlb(struct kunit *test, unsigned int nr)
{
	struct dsim_tlb *tlb = kunit_kzalloc(test, sizeof(*tlb), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, tlb);
	KUNIT_ASSERT_EQ(test, dsim_tlb_init(tlb, nr), 0);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, tlb_destroy_action,
						  tlb));
	return tlb;
}

static void insert(struct dsim_tlb *tlb, u64 iova, u8 size_lg2, u8 perm,
		   bool dirty)
{
	struct dsim_xlate x = {
		.iova = iova,
		.pa = iova + SZ_1G,
		.size_lg2 = size_lg2,
		.perm = perm,
		.dirty = dirty,
	};

	dsim_tlb_insert(tlb, &x);
}

static void tlb_hits(struct kunit *test)
{
	struct dsim_tlb *tlb = make_tlb(test, 16);
	struct dsim_xlate x;

	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, 0, R, &x));
	insert(tlb, SZ_2M, 21, R | W, true);
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, SZ_2M, R | W, &x));
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, SZ_4M - 1, W, &x));
	KUNIT_EXPECT_EQ(test, x.pa, SZ_1G + SZ_2M);
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, SZ_2M - 1, R, &x));
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, SZ_4M, R, &x));
	/* The same slot, another page: the newer one stays */
	insert(tlb, SZ_2M + 16ULL * SZ_2M, 21, R, false);
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, SZ_2M, R, &x));
}

static void tlb_clean_write_misses(struct kunit *test)
{
	struct dsim_tlb *tlb = make_tlb(test, 16);
	struct dsim_xlate x;

	insert(tlb, 0, 12, R | W, false);
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, 0, R, &x));
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, 0, W, &x));
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, 0, R | W, &x));
	insert(tlb, 0, 12, R | W, true);
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, 0, W, &x));
	insert(tlb, 0, 12, R, true);
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, 0, W, &x));
}

static void tlb_flush_overlap(struct kunit *test)
{
	struct dsim_tlb *tlb = make_tlb(test, 16);
	struct dsim_xlate x;

	insert(tlb, 0, 12, R, false);
	insert(tlb, SZ_2M, 21, R, false);
	insert(tlb, 0x5000, 12, R, false);

	/* Between them: nobody is hit */
	KUNIT_EXPECT_EQ(test, dsim_tlb_flush(tlb, 0x1000, 0x4fff), 0);
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, 0, R, &x));
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, 0x5000, R, &x));

	/* A byte of a large page drops it all */
	KUNIT_EXPECT_EQ(test, 1, dsim_tlb_flush(tlb, SZ_2M + 0x7777,
						SZ_2M + 0x7777));
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, SZ_4M - 1, R, &x));
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, 0, R, &x));

	KUNIT_EXPECT_EQ(test, dsim_tlb_flush(tlb, 0, ~0ULL), 2);
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, 0, R, &x));
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, 0x5000, R, &x));
	KUNIT_EXPECT_EQ(test, tlb->sizes, 0);
}

static void tlb_sticky_dirty(struct kunit *test)
{
	struct dsim_tlb *tlb = make_tlb(test, 16);
	struct dsim_xlate x;

	insert(tlb, 0, 12, R | W, true);
	KUNIT_EXPECT_FALSE(test, dsim_tlb_recalls_dirty(tlb, 0));
	tlb->sticky_dirty = true;
	insert(tlb, 0x1000, 12, R | W, false);
	dsim_tlb_flush(tlb, 0, ~0ULL);
	/* Translates no more, and still claims that D is set */
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, 0, R, &x));
	KUNIT_EXPECT_TRUE(test, dsim_tlb_recalls_dirty(tlb, 0));
	KUNIT_EXPECT_FALSE(test, dsim_tlb_recalls_dirty(tlb, 0x1000));
	tlb->sticky_dirty = false;
	dsim_tlb_flush(tlb, 0, ~0ULL);
	KUNIT_EXPECT_FALSE(test, dsim_tlb_recalls_dirty(tlb, 0));
}

/* ---- The walker against the kernel's page tables ---- */

KUNIT_DEFINE_ACTION_WRAPPER(domain_free_action, dsim_domain_free,
			    struct dsim_domain *);

static struct dsim_domain *make_domain(struct kunit *test,
				       enum dsim_format_id id, u64 page_sizes)
{
	struct dsim_domain *dom;

	if (!dsim_iommu_format_built(id))
		kunit_skip(test, "this kernel has no such page tables");
	dom = dsim_domain_alloc(id, true, page_sizes);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, dom);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, domain_free_action,
						  dom));
	dom->root.ad = true;
	return dom;
}

/* Mappings as varied as the kernel makes them, each address translated alike */
static void walk_agrees(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct dsim_domain *dom = make_domain(test, f->id, 0);
	struct rnd_state rnd;
	u64 iova = SZ_1M;
	unsigned int i, j;

	prandom_seed_state(&rnd, 0x5eed);
	for (i = 0; i != 64; i++) {
		u64 len = SZ_4K * (1 + prandom_u32_state(&rnd) % 2048);
		u64 pa = (u64)SZ_4K * (prandom_u32_state(&rnd) >> 4);
		struct dsim_xlate x;

		/* Half of them as aligned as large pages need */
		if (i % 2) {
			iova = ALIGN(iova, SZ_2M);
			pa = ALIGN(pa, SZ_2M);
		}
		KUNIT_ASSERT_EQ(test, 0,
				iommu_map(&dom->domain, iova, pa, len,
					  IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
		for (j = 0; j != 64; j++) {
			u64 off = prandom_u32_state(&rnd) % len;

			KUNIT_ASSERT_EQ(test, DSIM_FAULT_NONE,
					dsim_walk(&dom->root, NULL, iova + off, W,
						  false, &x));
			KUNIT_ASSERT_EQ(test, x.pa + (iova + off - x.iova),
					pa + off);
		}
		/* And a hole after each */
		KUNIT_ASSERT_EQ(test, DSIM_FAULT_NOT_PRESENT,
				dsim_walk(&dom->root, NULL, iova + len, R, false,
					  &x));
		iova += len + SZ_4K;
	}
}

/* ---- Dirty bits of the kernel's page tables ---- */

#define MAX_SPANS	8

struct span {
	u64 iova;
	u64 len;
};

/* What a page table reported */
struct report {
	struct iova_bitmap *sink;
	unsigned int n;
	struct span spans[MAX_SPANS];
};

static void report_span(void *data, unsigned long iova, size_t len)
{
	struct report *report = data;

	if (report->n < MAX_SPANS)
		report->spans[report->n] = (struct span){ iova, len };
	report->n++;
}

static const struct iova_bitmap_sink report_sink = { .set = report_span };

KUNIT_DEFINE_ACTION_WRAPPER(sink_free_action, iova_bitmap_free,
			    struct iova_bitmap *);

static struct report *make_report(struct kunit *test)
{
	struct report *report = kunit_kzalloc(test, sizeof(*report),
					      GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, report);
	report->sink = iova_bitmap_alloc_sink(&report_sink, report);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, report->sink);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, sink_free_action,
						  report->sink));
	return report;
}

static int compare_spans(const void *a, const void *b)
{
	return cmp_int(((const struct span *)a)->iova,
		       ((const struct span *)b)->iova);
}

/* Exactly these, whatever their order; and forget them */
#define EXPECT_REPORT(test, report, ...)				\
	expect_report(test, report, (struct span[]){ __VA_ARGS__ },	\
		      sizeof((struct span[]){ __VA_ARGS__ }) /		\
		      sizeof(struct span), __LINE__)

static void expect_report(struct kunit *test, struct report *report,
			  const struct span *spans, unsigned int n, int line)
{
	unsigned int i;

	KUNIT_EXPECT_EQ_MSG(test, report->n, n, "line %d", line);
	sort(report->spans, min(report->n, MAX_SPANS), sizeof(struct span),
	     compare_spans, NULL);
	for (i = 0; i < min(n, report->n); i++) {
		KUNIT_EXPECT_EQ_MSG(test, report->spans[i].iova, spans[i].iova,
				    "span %u, line %d", i, line);
		KUNIT_EXPECT_EQ_MSG(test, report->spans[i].len, spans[i].len,
				    "span %u, line %d", i, line);
	}
	report->n = 0;
}

static void map(struct kunit *test, struct dsim_domain *dom, u64 iova, u64 pa,
		u64 len)
{
	KUNIT_ASSERT_EQ(test, 0,
			iommu_map(&dom->domain, iova, pa, len,
				  IOMMU_READ | IOMMU_WRITE, GFP_KERNEL));
}

static void unmap(struct kunit *test, struct dsim_domain *dom, u64 iova,
		  u64 len)
{
	KUNIT_ASSERT_EQ(test, len, iommu_unmap(&dom->domain, iova, len));
}

static void access(struct kunit *test, struct dsim_domain *dom, u64 iova,
		   u8 perm)
{
	struct dsim_xlate x;

	KUNIT_ASSERT_EQ(test, DSIM_FAULT_NONE,
			dsim_walk(&dom->root, NULL, iova, perm, false, &x));
}

static void read_dirty(struct kunit *test, struct dsim_domain *dom, u64 iova,
		       u64 len, struct report *report)
{
	const struct iommu_dirty_ops *ops = dom->domain.dirty_ops;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;

	iommu_dirty_bitmap_init(&dirty, report->sink, &gather);
	KUNIT_ASSERT_EQ(test, 0,
			ops->read_and_clear_dirty(&dom->domain, iova, len, 0,
						  &dirty));
}

static void read_part_of_leaf(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct dsim_domain *dom = make_domain(test, f->id, SZ_4K | SZ_2M);
	struct report *report = make_report(test);
	u64 leaf = SZ_1G, size = SZ_2M;

	/* Clean until it is written */
	map(test, dom, leaf, SZ_1G, 4 * size);
	read_dirty(test, dom, leaf, 4 * size, report);
	EXPECT_REPORT(test, report);

	/* From the middle of one to the beginning of another */
	access(test, dom, leaf, W);
	access(test, dom, leaf + size, R);
	access(test, dom, leaf + 2 * size, W);
	access(test, dom, leaf + 3 * size, W);
	read_dirty(test, dom, leaf + size / 2, size + size / 2 + SZ_4K, report);
	EXPECT_REPORT(test, report, { leaf, size }, { leaf + 2 * size, size });
	read_dirty(test, dom, leaf, 4 * size, report);
	EXPECT_REPORT(test, report, { leaf + 3 * size, size });

	/* Over a hole */
	unmap(test, dom, leaf + size, size);
	access(test, dom, leaf, W);
	access(test, dom, leaf + 2 * size, W);
	read_dirty(test, dom, leaf - SZ_4K, 5 * size, report);
	EXPECT_REPORT(test, report, { leaf, size }, { leaf + 2 * size, size });
}

/* A table that grows as it is mapped: above its top is nothing, and no error */
static void read_above_top(struct kunit *test)
{
	struct dsim_domain *dom = make_domain(test, DSIM_AMDV1, SZ_4K);
	const struct iommu_dirty_ops *ops = dom->domain.dirty_ops;
	struct report *report = make_report(test);
	u64 top = 1ULL << 39, root = dom->root.top;

	read_dirty(test, dom, top - SZ_1G, 2ULL * SZ_1G, report);
	read_dirty(test, dom, top, SZ_1G, report);
	read_dirty(test, dom, 4 * top, 16 * top, report);
	EXPECT_REPORT(test, report);

	map(test, dom, top - SZ_4K, SZ_1G, SZ_4K);
	access(test, dom, top - SZ_4K, W);
	read_dirty(test, dom, top, SZ_1G, report);
	EXPECT_REPORT(test, report);
	read_dirty(test, dom, top - SZ_1G, 2ULL * SZ_1G, report);
	EXPECT_REPORT(test, report, { top - SZ_4K, SZ_4K });
	KUNIT_EXPECT_EQ(test, dom->root.top, root);

	map(test, dom, top, SZ_2G, SZ_4K);
	KUNIT_EXPECT_NE(test, dom->root.top, root);
	access(test, dom, top - SZ_4K, W);
	access(test, dom, top, W);
	read_dirty(test, dom, top, SZ_1G, report);
	EXPECT_REPORT(test, report, { top, SZ_4K });
	read_dirty(test, dom, 0, 2 * top, report);
	EXPECT_REPORT(test, report, { top - SZ_4K, SZ_4K });

	/* Where no top would reach to */
	KUNIT_EXPECT_EQ(test, -ERANGE,
			ops->read_and_clear_dirty(&dom->domain, 1ULL << 48,
						  SZ_4K, 0, NULL));
	KUNIT_EXPECT_EQ(test, -ERANGE,
			ops->read_and_clear_dirty(&dom->domain, top,
						  1ULL << 48, 0, NULL));
}

/* ---- Entries of all sizes, against what is known of them ---- */

#define REF_PAGES	4096
#define REF_BASE	((u64)SZ_1G - SZ_8M)

/**
 * struct ref - a page table, and what must be read from it
 * @sink: where it is read to, either page by page or by words
 * @seen: pages reported
 * @want: pages that must be
 * @nr: number of entries
 * @entries: of the table, ascending; in pages from REF_BASE on
 */
struct ref {
	struct iova_bitmap *sink;
	DECLARE_BITMAP(seen, REF_PAGES);
	DECLARE_BITMAP(want, REF_PAGES);
	unsigned int nr;
	struct {
		unsigned int page;
		unsigned int pages;
		bool dirty;
	} entries[REF_PAGES];
};

static void ref_set(void *data, unsigned long iova, size_t len)
{
	struct ref *ref = data;

	bitmap_set(ref->seen, (iova - REF_BASE) / SZ_4K, len / SZ_4K);
}

static void ref_set_words(void *data, unsigned long iova, unsigned int shift,
			  const u64 *words, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i != nr * 64; i++)
		if (words[i / 64] & BIT_ULL(i % 64))
			ref_set(data, iova + ((unsigned long)i << shift),
				1UL << shift);
}

static const struct iova_bitmap_sink ref_sinks[] = {
	{ .set = ref_set },
	{ .set = ref_set, .set_words = ref_set_words },
};

static void ref_map(struct kunit *test, struct dsim_domain *dom,
		    struct ref *ref, struct rnd_state *rnd)
{
	unsigned long sizes = dom->domain.pgsize_bitmap & GENMASK(21, 12);
	unsigned int page = 0, lg2, pages;

	while (page < REF_PAGES) {
		if (!(prandom_u32_state(rnd) % 4)) {
			page += prandom_u32_state(rnd) % 70;
			continue;
		}
		lg2 = 12 + prandom_u32_state(rnd) % 10;
		if (!(sizes & BIT(lg2)) || prandom_u32_state(rnd) % 2)
			lg2 = 12;
		pages = BIT(lg2 - 12);
		page = round_up(page, pages);
		if (page + pages > REF_PAGES)
			return;
		/* Aligned to just its own size, so that it is one entry */
		map(test, dom, REF_BASE + page * SZ_4K, 4ULL * SZ_1G + BIT(lg2),
		    BIT(lg2));
		ref->entries[ref->nr].page = page;
		ref->entries[ref->nr++].pages = pages;
		page += pages;
	}
}

static void ref_write(struct kunit *test, struct dsim_domain *dom,
		      struct ref *ref, struct rnd_state *rnd)
{
	unsigned int i, n = prandom_u32_state(rnd) % ref->nr;
	bool most = prandom_u32_state(rnd) % 2;

	for (i = most ? 0 : n; i < ref->nr; i += most ? 1 : 1 + n) {
		unsigned int at = prandom_u32_state(rnd) % ref->entries[i].pages;

		access(test, dom,
		       REF_BASE + (ref->entries[i].page + at) * SZ_4K, W);
		ref->entries[i].dirty = true;
	}
}

static void ref_read(struct kunit *test, struct dsim_domain *dom,
		     struct ref *ref, struct rnd_state *rnd)
{
	unsigned int first = prandom_u32_state(rnd) % REF_PAGES, i;
	unsigned int end = first + 1 +
			   prandom_u32_state(rnd) % (REF_PAGES - first);
	unsigned long flags = prandom_u32_state(rnd) % 3 ?
			      0 : IOMMU_DIRTY_NO_CLEAR;
	const struct iommu_dirty_ops *ops = dom->domain.dirty_ops;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;

	bitmap_zero(ref->seen, REF_PAGES);
	bitmap_zero(ref->want, REF_PAGES);
	for (i = 0; i != ref->nr; i++) {
		unsigned int page = ref->entries[i].page;
		unsigned int pages = ref->entries[i].pages;

		if (!ref->entries[i].dirty || page + pages <= first ||
		    page >= end)
			continue;
		bitmap_set(ref->want, page, pages);
		ref->entries[i].dirty = flags;
	}
	iommu_dirty_bitmap_init(&dirty, ref->sink, &gather);
	KUNIT_ASSERT_EQ(test, 0,
			ops->read_and_clear_dirty(&dom->domain,
						  REF_BASE + first * SZ_4K,
						  (end - first) * SZ_4K, flags,
						  &dirty));
	KUNIT_EXPECT_TRUE_MSG(test,
			      bitmap_equal(ref->seen, ref->want, REF_PAGES),
			      "pages %u to %u, flags %lx", first, end, flags);
	/* What was cleaned is to be flushed, all of it */
	if (flags || bitmap_empty(ref->want, REF_PAGES))
		return;
	KUNIT_EXPECT_LE(test, gather.start, REF_BASE + SZ_4K *
			find_first_bit(ref->want, REF_PAGES));
	KUNIT_EXPECT_GE(test, gather.end, REF_BASE + SZ_4K *
			(find_last_bit(ref->want, REF_PAGES) + 1) - 1);
}

static void read_entries_of_all_sizes(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	unsigned int i, round;
	struct rnd_state rnd;

	for (i = 0; i != 6; i++) {
		struct dsim_domain *dom = make_domain(test, f->id, 0);
		struct ref *ref = kunit_kzalloc(test, sizeof(*ref),
						GFP_KERNEL);

		KUNIT_ASSERT_NOT_NULL(test, ref);
		prandom_seed_state(&rnd, 1 + i);
		ref->sink = iova_bitmap_alloc_sink(&ref_sinks[i % 2], ref);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, ref->sink);
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action_or_reset(test,
							  sink_free_action,
							  ref->sink));
		ref_map(test, dom, ref, &rnd);
		for (round = 0; round != 40; round++) {
			ref_write(test, dom, ref, &rnd);
			ref_read(test, dom, ref, &rnd);
		}
	}
}

static void unmap_each_size(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	unsigned long sizes = make_domain(test, f->id, 0)->domain.pgsize_bitmap;
	unsigned int lg2;

	for_each_set_bit(lg2, &sizes, 31) {
		u64 size = BIT_ULL(lg2), iova = SZ_1G, pa = 5ULL * SZ_1G;
		struct dsim_domain *dom = make_domain(test, f->id, SZ_4K | size);
		struct report *report = make_report(test);

		dom->domain.unmap_dirty = report->sink;
		map(test, dom, iova, pa, 5 * size);
		access(test, dom, iova + 2 * size - 1, W);
		access(test, dom, iova + 2 * size, R);
		access(test, dom, iova + 3 * size, W);
		unmap(test, dom, iova, 5 * size);
		EXPECT_REPORT(test, report, { iova + size, size },
			      { iova + 3 * size, size });

		/* Clean, and dirty but read before */
		map(test, dom, iova, pa, 2 * size);
		access(test, dom, iova + size, W);
		read_dirty(test, dom, iova, 2 * size, report);
		EXPECT_REPORT(test, report, { iova + size, size });
		unmap(test, dom, iova, 2 * size);
		EXPECT_REPORT(test, report);

		/* Nobody wants to know */
		dom->domain.unmap_dirty = NULL;
		map(test, dom, iova, pa, size);
		access(test, dom, iova, W);
		unmap(test, dom, iova, size);
		EXPECT_REPORT(test, report);
	}
}

/* Leaves of more than one size, and a table that goes as a whole, in one unmap */
static void unmap_mixed(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct dsim_domain *dom = make_domain(test, f->id, SZ_4K | SZ_2M);
	struct report *report = make_report(test);
	u64 iova = SZ_1G - SZ_4K, at = SZ_1G + SZ_2M;
	unsigned int i;

	dom->domain.unmap_dirty = report->sink;
	map(test, dom, iova, 2ULL * SZ_1G - SZ_4K, SZ_4K + SZ_2M);
	/* 4K each, since they lie in memory the other way round */
	for (i = 0; i != 512; i++)
		map(test, dom, at + i * SZ_4K, SZ_1G - i * SZ_4K, SZ_4K);
	access(test, dom, iova, W);
	access(test, dom, SZ_1G + SZ_4K, W);
	access(test, dom, at, W);
	access(test, dom, at + 7 * SZ_4K, W);
	access(test, dom, at + 8 * SZ_4K, R);
	access(test, dom, at + SZ_2M - SZ_4K, W);
	unmap(test, dom, iova, SZ_4K + 2 * SZ_2M);
	EXPECT_REPORT(test, report, { iova, SZ_4K }, { SZ_1G, SZ_2M },
		      { at, SZ_4K }, { at + 7 * SZ_4K, SZ_4K },
		      { at + SZ_2M - SZ_4K, SZ_4K });
}

struct writer {
	struct dsim_domain *dom;
	u64 iova;
	unsigned long d_set;
};

static int write_all_the_time(void *data)
{
	struct writer *w = data;
	struct dsim_xlate x;

	while (!kthread_should_stop()) {
		if (!dsim_walk(&w->dom->root, NULL, w->iova, W, false, &x))
			w->d_set += x.d_set;
		cond_resched();
	}
	return 0;
}

/* A device writes to a page that comes and goes: each D it set is reported */
static void unmap_while_written(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct writer w = {
		.dom = make_domain(test, f->id, SZ_4K),
		.iova = SZ_1G,
	};
	struct report *report = make_report(test);
	struct task_struct *thread;
	unsigned long end, rounds = 0;

	/* Its neighbour keeps the table, which the walk is in */
	map(test, w.dom, w.iova + SZ_4K, SZ_1G, SZ_4K);
	w.dom->domain.unmap_dirty = report->sink;
	thread = kthread_run(write_all_the_time, &w, "dsim_writer");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, thread);
	/* Often enough to meet each other, however busy the machine is */
	for (end = jiffies + 5 * HZ;
	     report->n < 20000 && time_before(jiffies, end); cond_resched()) {
		if (iommu_map(&w.dom->domain, w.iova, SZ_2M, SZ_4K,
			      IOMMU_READ | IOMMU_WRITE, GFP_KERNEL))
			break;
		iommu_unmap(&w.dom->domain, w.iova, SZ_4K);
		rounds++;
	}
	kthread_stop(thread);
	KUNIT_EXPECT_NE(test, w.d_set, 0);
	KUNIT_EXPECT_EQ(test, w.d_set, report->n);
	kunit_info(test, "%lu times dirty in %lu rounds\n", w.d_set, rounds);
}

static struct kunit_case dsim_walk_cases[] = {
	KUNIT_CASE_PARAM(walk_leaf_sizes, format_gen_params),
	KUNIT_CASE_PARAM(walk_accessed_dirty, format_gen_params),
	KUNIT_CASE_PARAM(walk_ad_off, format_gen_params),
	KUNIT_CASE_PARAM(walk_keep_clean, format_gen_params),
	KUNIT_CASE_PARAM(walk_permissions, format_gen_params),
	KUNIT_CASE_PARAM(walk_not_present, format_gen_params),
	KUNIT_CASE_PARAM(walk_range, format_gen_params),
	KUNIT_CASE_PARAM(walk_reserved, format_gen_params),
	KUNIT_CASE(walk_x86_pat),
	KUNIT_CASE(walk_amdv1_sizes),
	KUNIT_CASE(walk_amdv1_bad_sizes),
	KUNIT_CASE(walk_amdv1_levels),
	KUNIT_CASE(walk_arm_dirty_state),
	KUNIT_CASE_PARAM(walk_agrees, format_gen_params),
	{}
};

static struct kunit_suite dsim_walk_suite = {
	.name = "dsim_walk",
	.test_cases = dsim_walk_cases,
};

static struct kunit_case dsim_dirty_cases[] = {
	KUNIT_CASE_PARAM(read_entries_of_all_sizes, format_gen_params),
	KUNIT_CASE_PARAM(read_part_of_leaf, format_gen_params),
	KUNIT_CASE(read_above_top),
	KUNIT_CASE_PARAM(unmap_each_size, format_gen_params),
	KUNIT_CASE_PARAM(unmap_mixed, format_gen_params),
	KUNIT_CASE_PARAM(unmap_while_written, format_gen_params),
	{}
};

static struct kunit_suite dsim_dirty_suite = {
	.name = "dsim_dirty",
	.test_cases = dsim_dirty_cases,
};

static struct kunit_case dsim_tlb_cases[] = {
	KUNIT_CASE(tlb_hits),
	KUNIT_CASE(tlb_clean_write_misses),
	KUNIT_CASE(tlb_flush_overlap),
	KUNIT_CASE(tlb_sticky_dirty),
	{}
};

static struct kunit_suite dsim_tlb_suite = {
	.name = "dsim_tlb",
	.test_cases = dsim_tlb_cases,
};

kunit_test_suites(&dsim_walk_suite, &dsim_dirty_suite, &dsim_tlb_suite);

MODULE_DESCRIPTION("KUnit tests of the simulated IOMMU");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_IMPORT_NS("IOMMUFD");
