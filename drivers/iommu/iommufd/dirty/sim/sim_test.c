// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the simulated IOMMU: walker and IOTLB
 *
 * Tables are made by hand, with the bits written out as the specifications
 * number them, so that neither the walker's nor the kernel's idea of a format
 * proves itself.  The last test holds the walker against generic_pt.
 */
#include <kunit/test-bug.h>
#include <kunit/test.h>
#include <linux/bits.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/prandom.h>
#include <linux/sizes.h>

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
};

static const struct format_case format_cases[] = {
	{ "vtdss", DSIM_VTDSS, BIT_ULL(8), BIT_ULL(9), true },
	{ "amdv1", DSIM_AMDV1, BIT_ULL(5), BIT_ULL(6), false },
	{ "x86_64", DSIM_X86_64, BIT_ULL(5), BIT_ULL(6), true },
};
KUNIT_ARRAY_PARAM_DESC(format, format_cases, name);

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
	default:
		return pa | BIT_ULL(0) | (perm & R ? BIT_ULL(2) : 0) |
		       (perm & W ? BIT_ULL(1) : 0);
	}
}

static u64 leaf_entry(enum dsim_format_id id, unsigned int level, u64 pa,
		      u8 perm)
{
	u64 entry = table_entry(id, 0, pa, perm) & ~(7ULL << 9);

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
	return dsim_walk(&t->root, iova, access, false, x);
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
	KUNIT_EXPECT_EQ(test, *entry_at(t, 0), leaf | f->a | f->d);
	for (i = 1; i != 4; i++)
		KUNIT_EXPECT_EQ(test, *entry_at(t, i) & f->d, 0);
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
	KUNIT_EXPECT_EQ(test, *entry_at(t, 0), leaf | f->a | f->d);
}

static void walk_ad_off(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct tables *t = make_tables(test, f->id, 4);
	u64 leaf = leaf_entry(f->id, 0, 0x1000, R | W);
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
	KUNIT_ASSERT_EQ(test, dsim_walk(&t->root, IOVA, W, true, &x),
			DSIM_FAULT_NONE);
	KUNIT_EXPECT_EQ(test, *entry_at(t, 0) & f->d, 0);
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
		KUNIT_EXPECT_EQ(test, *entry_at(t, 0) & f->d, 0);

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

	/* An address that a 2 MiB page cannot have */
	*entry_at(t, 1) = leaf_entry(f->id, 1, pa | low, R);
	KUNIT_EXPECT_EQ(test, walk(t, IOVA, R, &x), DSIM_FAULT_RESERVED);
	KUNIT_EXPECT_EQ(test, *entry_at(t, 1),
			leaf_entry(f->id, 1, pa | low, R));

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
	dsim_tlb_flush(tlb, 0x1000, 0x4fff);
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, 0, R, &x));
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, 0x5000, R, &x));

	/* A byte of a large page drops it all */
	dsim_tlb_flush(tlb, SZ_2M + 0x7777, SZ_2M + 0x7777);
	KUNIT_EXPECT_FALSE(test, dsim_tlb_lookup(tlb, SZ_4M - 1, R, &x));
	KUNIT_EXPECT_TRUE(test, dsim_tlb_lookup(tlb, 0, R, &x));

	dsim_tlb_flush(tlb, 0, ~0ULL);
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

/* ---- The walker against generic_pt ---- */

KUNIT_DEFINE_ACTION_WRAPPER(deinit_action, pt_iommu_deinit, struct pt_iommu *);

static struct pt_iommu *make_vtdss(struct kunit *test, struct dsim_root *root)
{
	struct pt_iommu_vtdss *pt = kunit_kzalloc(test, sizeof(*pt),
						  GFP_KERNEL);
	struct pt_iommu_vtdss_cfg cfg = {
		.common.hw_max_vasz_lg2 = 48,
		.common.hw_max_oasz_lg2 = 52,
		.top_level = 3,
	};
	struct pt_iommu_vtdss_hw_info info;

	KUNIT_ASSERT_NOT_NULL(test, pt);
	pt->iommu.nid = NUMA_NO_NODE;
	KUNIT_ASSERT_EQ(test, pt_iommu_vtdss_init(pt, &cfg, GFP_KERNEL), 0);
	pt_iommu_vtdss_hw_info(pt, &info);
	root->top = dsim_top(info.ssptptr, info.aw + 2);
	return &pt->iommu;
}

/* A table that never grows: all of its addresses are below 2^39 */
static DEFINE_SPINLOCK(amdv1_top_lock);

static spinlock_t *amdv1_get_top_lock(struct pt_iommu *iommu)
{
	return &amdv1_top_lock;
}

static void amdv1_change_top(struct pt_iommu *iommu, phys_addr_t top_paddr,
			     unsigned int top_level)
{
	KUNIT_FAIL(kunit_get_current_test(), "the top changed");
}

static const struct pt_iommu_driver_ops amdv1_driver_ops = {
	.get_top_lock = amdv1_get_top_lock,
	.change_top = amdv1_change_top,
};

static struct pt_iommu *make_amdv1(struct kunit *test, struct dsim_root *root)
{
	struct pt_iommu_amdv1 *pt = kunit_kzalloc(test, sizeof(*pt),
						  GFP_KERNEL);
	struct pt_iommu_amdv1_cfg cfg = {
		.common.hw_max_vasz_lg2 = 48,
		.common.hw_max_oasz_lg2 = 52,
		.common.features = BIT(PT_FEAT_DYNAMIC_TOP) |
				   BIT(PT_FEAT_AMDV1_ENCRYPT_TABLES) |
				   BIT(PT_FEAT_AMDV1_FORCE_COHERENCE),
		.starting_level = 2,
	};
	struct pt_iommu_amdv1_hw_info info;

	KUNIT_ASSERT_NOT_NULL(test, pt);
	pt->iommu.nid = NUMA_NO_NODE;
	pt->iommu.driver_ops = &amdv1_driver_ops;
	KUNIT_ASSERT_EQ(test, pt_iommu_amdv1_init(pt, &cfg, GFP_KERNEL), 0);
	pt_iommu_amdv1_hw_info(pt, &info);
	root->top = dsim_top(info.host_pt_root, info.mode);
	return &pt->iommu;
}

static struct pt_iommu *make_x86_64(struct kunit *test, struct dsim_root *root)
{
	struct pt_iommu_x86_64 *pt = kunit_kzalloc(test, sizeof(*pt),
						   GFP_KERNEL);
	struct pt_iommu_x86_64_cfg cfg = {
		.common.features = BIT(PT_FEAT_SIGN_EXTEND),
		.common.hw_max_vasz_lg2 = 48,
		.common.hw_max_oasz_lg2 = 52,
		.top_level = 3,
	};
	struct pt_iommu_x86_64_hw_info info;

	KUNIT_ASSERT_NOT_NULL(test, pt);
	pt->iommu.nid = NUMA_NO_NODE;
	KUNIT_ASSERT_EQ(test, pt_iommu_x86_64_init(pt, &cfg, GFP_KERNEL), 0);
	pt_iommu_x86_64_hw_info(pt, &info);
	root->top = dsim_top(info.gcr3_pt, info.levels);
	return &pt->iommu;
}

static struct pt_iommu *make_pt(struct kunit *test, enum dsim_format_id id,
				struct dsim_root *root)
{
	struct pt_iommu *pt;

	*root = (struct dsim_root){ .format = &dsim_formats[id], .ad = true };
	switch (id) {
	case DSIM_VTDSS:
		pt = make_vtdss(test, root);
		break;
	case DSIM_AMDV1:
		pt = make_amdv1(test, root);
		break;
	default:
		pt = make_x86_64(test, root);
		break;
	}
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, deinit_action, pt));
	return pt;
}

/* Mappings as varied as generic_pt makes them, each address translated alike */
static void walk_agrees(struct kunit *test)
{
	const struct format_case *f = test->param_value;
	struct rnd_state rnd;
	struct dsim_root root;
	struct pt_iommu *pt = make_pt(test, f->id, &root);
	u64 iova = SZ_1M;
	unsigned int i, j;

	prandom_seed_state(&rnd, 0x5eed);
	for (i = 0; i != 64; i++) {
		u64 len = SZ_4K * (1 + prandom_u32_state(&rnd) % 2048);
		u64 pa = (u64)SZ_4K * (prandom_u32_state(&rnd) >> 4);
		struct dsim_xlate x;
		size_t mapped = 0;

		/* Half of them as aligned as large pages need */
		if (i % 2) {
			iova = ALIGN(iova, SZ_2M);
			pa = ALIGN(pa, SZ_2M);
		}
		KUNIT_ASSERT_EQ(test, 0,
				pt->ops->map_range(pt, iova, pa, len,
						   IOMMU_READ | IOMMU_WRITE,
						   GFP_KERNEL, &mapped));
		for (j = 0; j != 64; j++) {
			u64 off = prandom_u32_state(&rnd) % len;

			KUNIT_ASSERT_EQ(test, DSIM_FAULT_NONE,
					dsim_walk(&root, iova + off, W, false,
						  &x));
			KUNIT_ASSERT_EQ(test, x.pa + (iova + off - x.iova),
					pa + off);
		}
		/* And a hole after each */
		KUNIT_ASSERT_EQ(test, DSIM_FAULT_NOT_PRESENT,
				dsim_walk(&root, iova + len, R, false, &x));
		iova += len + SZ_4K;
	}
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
	KUNIT_CASE_PARAM(walk_agrees, format_gen_params),
	{}
};

static struct kunit_suite dsim_walk_suite = {
	.name = "dsim_walk",
	.test_cases = dsim_walk_cases,
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

kunit_test_suites(&dsim_walk_suite, &dsim_tlb_suite);

MODULE_DESCRIPTION("KUnit tests of the simulated IOMMU");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("GENERIC_PT_IOMMU");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
