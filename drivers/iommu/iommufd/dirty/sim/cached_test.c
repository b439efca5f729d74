// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of reading dirty bits while the IOMMU has translations and tables
 * cached: what a device writes is to be found, whatever the caches keep from the
 * page table
 */
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/io.h>
#include <linux/iova_bitmap.h>
#include <linux/jiffies.h>
#include <linux/kthread.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/spinlock.h>

#include "dsim.h"

#define R	DSIM_PERM_R
#define W	DSIM_PERM_W

/* Eight tables of leaves, on both sides of where another table points to them */
#define PAGES	4096
#define BASE	((u64)SZ_1G - SZ_8M)
#define TABLE	((u64)SZ_2M)

static const struct cached_case {
	const char *name;
	enum dsim_format_id id;
} cached_cases[] = {
	{ "vtdss", DSIM_VTDSS },
	{ "amdv1", DSIM_AMDV1 },
	{ "x86_64", DSIM_X86_64 },
	{ "armlpae", DSIM_ARMLPAE },
};
KUNIT_ARRAY_PARAM_DESC(cached, cached_cases, name);

/* Formats whose tables have accessed bits */
static const struct cached_case skipped_cases[] = {
	{ "vtdss", DSIM_VTDSS },
	{ "x86_64", DSIM_X86_64 },
};
KUNIT_ARRAY_PARAM_DESC(skipped, skipped_cases, name);

/**
 * struct cached - a page table, and one device behind it
 * @dom: maps PAGES pages of 4K from BASE on
 * @ops: of @dom, but for what a flush does
 * @tlb: of the device, under @lock
 * @lock: as &dsim_port.lock
 * @keep_tables: the driver flushes translations only
 * @before_flush: what the device does in the meantime; or NULL
 * @flushes: how often tables were to be flushed
 * @while_read: what happens when the first page is reported; or NULL
 * @was: what the entry to the first table was then
 * @is: what became of it
 * @sink: sets bits of @seen
 * @seen: pages that were reported
 * @rnd: for what is done at random
 * @dirty: pages that D was set in and that were not reported since
 * @late: the tables were read, and D is set for the next time
 * @later: @dirty, of what is late
 */
struct cached {
	struct dsim_domain *dom;
	struct iommu_domain_ops ops;
	struct dsim_tlb tlb;
	spinlock_t lock;
	bool keep_tables;
	void (*before_flush)(struct cached *c);
	unsigned int flushes;
	void (*while_read)(struct cached *c);
	u64 was;
	u64 is;
	struct iova_bitmap *sink;
	DECLARE_BITMAP(seen, PAGES);
	struct rnd_state rnd;
	DECLARE_BITMAP(dirty, PAGES);
	bool late;
	DECLARE_BITMAP(later, PAGES);
};

/* Test cases run one after the other */
static struct cached *the_cached;

static void see(void *data, unsigned long iova, size_t len)
{
	struct cached *c = data;

	bitmap_set(c->seen, (iova - BASE) / SZ_4K, len / SZ_4K);
	if (c->while_read)
		c->while_read(c);
	c->while_read = NULL;
}

static const struct iova_bitmap_sink see_sink = { .set = see };

KUNIT_DEFINE_ACTION_WRAPPER(domain_action, dsim_domain_free,
			    struct dsim_domain *);
KUNIT_DEFINE_ACTION_WRAPPER(tlb_action, dsim_tlb_destroy, struct dsim_tlb *);
KUNIT_DEFINE_ACTION_WRAPPER(sink_action, iova_bitmap_free,
			    struct iova_bitmap *);

/* As the driver of the simulated IOMMU does it */
static void sync(struct iommu_domain *domain,
		 struct iommu_iotlb_gather *gather)
{
	struct cached *c = the_cached;

	c->late = !gather->pt.table_levels_bitmap;
	if (c->before_flush)
		c->before_flush(c);
	c->late = false;
	guard(spinlock)(&c->lock);
	dsim_tlb_flush(&c->tlb, gather->start, gather->end);
	if (!gather->pt.table_levels_bitmap)
		return;
	c->flushes++;
	if (!c->keep_tables)
		dsim_tlb_flush_tables(&c->tlb, gather->start, gather->end);
}

static struct cached *make(struct kunit *test, enum dsim_format_id id)
{
	struct cached *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	unsigned int i;

	if (!dsim_iommu_format_built(id))
		kunit_skip(test, "this kernel has no such page tables");
	KUNIT_ASSERT_NOT_NULL(test, c);
	spin_lock_init(&c->lock);
	c->sink = iova_bitmap_alloc_sink(&see_sink, c);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, c->sink);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, sink_action, c->sink));
	KUNIT_ASSERT_EQ(test, 0, dsim_tlb_init(&c->tlb, 64));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, tlb_action, &c->tlb));
	c->dom = dsim_domain_alloc(id, true, SZ_4K);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, c->dom);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, domain_action, c->dom));
	the_cached = c;
	c->ops = *c->dom->domain.ops;
	c->ops.iotlb_sync = sync;
	c->dom->domain.ops = &c->ops;
	c->dom->root.ad = true;
	for (i = 0; i != PAGES; i++)
		KUNIT_ASSERT_EQ(test, 0,
				iommu_map(&c->dom->domain, BASE + i * SZ_4K,
					  SZ_4G + (i & 1) * SZ_4K, SZ_4K,
					  IOMMU_READ | IOMMU_WRITE,
					  GFP_KERNEL));
	return c;
}

/* One request of the device, as dma.c makes it; true when it set D */
static bool request(struct cached *c, u64 iova, u8 access)
{
	struct dsim_xlate x;

	guard(spinlock)(&c->lock);
	if (dsim_tlb_lookup(&c->tlb, iova, access, &x))
		return false;
	if (dsim_walk(&c->dom->root, &c->tlb, iova, access, false, &x))
		return false;
	dsim_tlb_insert(&c->tlb, &x);
	return x.d_set;
}

static void read_range(struct kunit *test, struct cached *c, u64 iova, u64 len,
		       struct iova_bitmap *sink, unsigned long flags)
{
	const struct iommu_dirty_ops *ops = c->dom->domain.dirty_ops;
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;

	bitmap_zero(c->seen, PAGES);
	iommu_dirty_bitmap_init(&dirty, sink, &gather);
	KUNIT_ASSERT_EQ(test, 0,
			ops->read_and_clear_dirty(&c->dom->domain, iova, len,
						  flags, &dirty));
	iommu_iotlb_sync(&c->dom->domain, &gather);
}

/* Everything, around it too, so that all tables are read as a whole */
static unsigned int read_all(struct kunit *test, struct cached *c)
{
	read_range(test, c, 0, 2ULL * SZ_1G, c->sink, 0);
	return bitmap_weight(c->seen, PAGES);
}

static u64 *entry_of(struct cached *c, u64 iova, unsigned int level)
{
	u64 table = c->dom->root.top & GENMASK_ULL(51, 12);
	unsigned int at;
	u64 *entry;

	for (at = 3; ; at--) {
		entry = (u64 *)phys_to_virt(table) +
			((iova >> (12 + 9 * at)) & 511);
		if (at == level)
			return entry;
		table = *entry & GENMASK_ULL(51, 12);
	}
}

/* Behind hardware's back: D, and no A on the way */
static void set_dirty_only(struct kunit *test, struct cached *c, u64 iova)
{
	const struct dsim_format *format = &dsim_formats[c->dom->format];
	u64 *entry = entry_of(c, iova, 0);

	KUNIT_ASSERT_FALSE(test, *entry & format->dirty);
	*entry |= format->dirty;
}

static void skips_what_is_quiet(struct kunit *test)
{
	const struct cached_case *p = test->param_value;
	struct cached *c = make(test, p->id);

	/* Written and read: found; then all is quiet */
	request(c, BASE, W);
	request(c, BASE + 5 * TABLE, R);
	KUNIT_EXPECT_EQ(test, read_all(test, c), 1);
	KUNIT_EXPECT_EQ(test, c->flushes, 1);

	/* Nobody looks there, and nothing is to be flushed */
	set_dirty_only(test, c, BASE + 3 * SZ_4K);
	KUNIT_EXPECT_EQ(test, read_all(test, c), 0);
	KUNIT_EXPECT_EQ(test, c->flushes, 1);
	/* Until a walk comes by, which has not to write */
	request(c, BASE + 7 * SZ_4K, R);
	KUNIT_EXPECT_EQ(test, read_all(test, c), 1);
	KUNIT_EXPECT_TRUE(test, test_bit(3, c->seen));

	/* Side by side with others that go through the same tables */
	request(c, BASE + 6 * TABLE, W);
	request(c, BASE, W);
	KUNIT_EXPECT_EQ(test, read_all(test, c), 2);
}

/* Tracking starts: what was accessed before, and what of it is cached, is unknown */
static void starts_by_looking(struct kunit *test)
{
	const struct cached_case *p = test->param_value;
	struct cached *c = make(test, p->id);

	read_all(test, c);
	read_range(test, c, 0, 2ULL * SZ_1G, NULL, 0);
	set_dirty_only(test, c, BASE + 9 * SZ_4K);
	set_dirty_only(test, c, BASE + 7 * TABLE);
	/* By one who asks for a part, or clears nothing, too */
	read_range(test, c, BASE + 7 * TABLE + SZ_4K, SZ_4K, c->sink, 0);
	KUNIT_EXPECT_EQ(test, bitmap_weight(c->seen, PAGES), 0);
	read_range(test, c, 0, 2ULL * SZ_1G, c->sink, IOMMU_DIRTY_NO_CLEAR);
	KUNIT_EXPECT_EQ(test, bitmap_weight(c->seen, PAGES), 2);
	KUNIT_EXPECT_EQ(test, read_all(test, c), 2);
	set_dirty_only(test, c, BASE + 7 * TABLE);
	KUNIT_EXPECT_EQ(test, read_all(test, c), 0);
}

/* Whoever asks for a part, or clears nothing, leaves the rest to be found */
static void parts_stay_accessed(struct kunit *test)
{
	const struct cached_case *p = test->param_value;
	struct cached *c = make(test, p->id);

	request(c, BASE + 3 * SZ_4K, W);
	request(c, BASE + 500 * SZ_4K, W);
	read_range(test, c, BASE, TABLE - SZ_4K, c->sink, IOMMU_DIRTY_NO_CLEAR);
	KUNIT_EXPECT_EQ(test, bitmap_weight(c->seen, PAGES), 2);
	read_range(test, c, BASE, 100 * SZ_4K, c->sink, 0);
	KUNIT_EXPECT_EQ(test, bitmap_weight(c->seen, PAGES), 1);
	read_range(test, c, 0, 2ULL * SZ_1G, c->sink, IOMMU_DIRTY_NO_CLEAR);
	KUNIT_EXPECT_EQ(test, bitmap_weight(c->seen, PAGES), 1);
	KUNIT_EXPECT_EQ(test, c->flushes, 0);
	KUNIT_EXPECT_EQ(test, read_all(test, c), 1);
	KUNIT_EXPECT_TRUE(test, test_bit(500, c->seen));
}

static void write_page_20(struct cached *c)
{
	c->before_flush = NULL;
	request(c, BASE + 20 * SZ_4K, W);
}

/*
 * While accessed bits are taken, a write goes by tables that are cached, and sets
 * none. When it is found is not said, but it is.
 */
static void write_before_flush(struct kunit *test)
{
	const struct cached_case *p = test->param_value;
	struct cached *c = make(test, p->id);
	unsigned int i, found;

	for (i = 0; i != 4; i++) {
		request(c, BASE + (100 + i) * SZ_4K, R);
		c->before_flush = write_page_20;
		found = read_all(test, c);
		KUNIT_EXPECT_NULL(test, c->before_flush);
		KUNIT_EXPECT_EQ(test, found + read_all(test, c), 1);
	}
	KUNIT_EXPECT_EQ(test, c->flushes, 4);
}

/* These tests see it when the driver flushes translations only */
static void tables_not_flushed(struct kunit *test)
{
	const struct cached_case *p = test->param_value;
	struct cached *c = make(test, p->id);

	request(c, BASE, R);
	c->keep_tables = true;
	KUNIT_EXPECT_EQ(test, read_all(test, c), 0);
	KUNIT_EXPECT_TRUE(test, request(c, BASE + SZ_4K, W));
	KUNIT_EXPECT_EQ(test, read_all(test, c), 0);
}

static void take_out_table(struct cached *c)
{
	c->was = *entry_of(c, BASE, 1);
	c->is = 0;
	*entry_of(c, BASE, 1) = c->is;
}

/* Which is to be read, as the one before it */
static void put_other_table(struct cached *c)
{
	u64 address = GENMASK_ULL(51, 12);

	c->was = *entry_of(c, BASE, 1);
	c->is = (*entry_of(c, BASE + TABLE, 1) & address) | (c->was & ~address);
	*entry_of(c, BASE, 1) = c->is;
}

/* What goes while it is read does not come back, and what follows it is not changed */
static void table_replaced(struct kunit *test)
{
	void (*const ways[])(struct cached *c) = { take_out_table,
						   put_other_table };
	const struct cached_case *p = test->param_value;
	struct cached *c = make(test, p->id);
	u64 *entry = entry_of(c, BASE, 1);
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(ways); i++) {
		request(c, BASE, W);
		c->while_read = ways[i];
		KUNIT_EXPECT_EQ(test, read_all(test, c), 1);
		KUNIT_EXPECT_NE(test, c->is, c->was);
		KUNIT_EXPECT_EQ(test, *entry, c->is);
		*entry = c->was;
		KUNIT_EXPECT_EQ(test, read_all(test, c), 0);
	}
}

/* ---- Anything, against what is known of it ---- */

static void random_range(struct rnd_state *rnd, u64 *iova, u64 *len)
{
	unsigned int first = prandom_u32_state(rnd) % PAGES;

	*iova = 0;
	*len = 2ULL * SZ_1G;
	switch (prandom_u32_state(rnd) % 4) {
	case 0:
		*iova = BASE + first * SZ_4K;
		*len = (1 + prandom_u32_state(rnd) % (PAGES - first)) * SZ_4K;
		break;
	case 1:
		*iova = BASE + round_down(first, 512) * SZ_4K;
		*len = TABLE;
		break;
	}
}

static void random_requests(struct cached *c)
{
	unsigned int n = prandom_u32_state(&c->rnd) % 8;

	while (n--) {
		/* Few tables and few pages, most times */
		unsigned int mask = prandom_u32_state(&c->rnd) % 4 ?
				    0x607 : PAGES - 1;
		unsigned int page = prandom_u32_state(&c->rnd) & mask;
		u8 access = prandom_u32_state(&c->rnd) % 2 ? R : W;

		if (request(c, BASE + page * SZ_4K, access))
			set_bit(page, c->late ? c->later : c->dirty);
	}
}

static void any_order(struct kunit *test)
{
	const struct cached_case *p = test->param_value;
	struct cached *c = make(test, p->id);
	unsigned long *want = kunit_kzalloc(test, PAGES / 8, GFP_KERNEL);
	unsigned int round, first, n;
	u64 iova, len;

	KUNIT_ASSERT_NOT_NULL(test, want);
	prandom_seed_state(&c->rnd, 0xd1237);
	c->before_flush = random_requests;
	for (round = 0; round != 4000; round++) {
		bool starts = !(prandom_u32_state(&c->rnd) % 64);
		bool keep = !starts && !(prandom_u32_state(&c->rnd) % 4);

		if (prandom_u32_state(&c->rnd) % 2)
			random_requests(c);

		random_range(&c->rnd, &iova, &len);
		first = iova > BASE ? (iova - BASE) / SZ_4K : 0;
		n = min_t(u64, len / SZ_4K, PAGES - first);
		bitmap_zero(want, PAGES);
		bitmap_set(want, first, n);
		bitmap_and(want, want, c->dirty, PAGES);
		if (starts) {
			/* What is written meanwhile is older than the start */
			c->before_flush = NULL;
			read_range(test, c, iova, len, NULL, 0);
			c->before_flush = random_requests;
			bitmap_andnot(c->dirty, c->dirty, want, PAGES);
			continue;
		}
		read_range(test, c, iova, len, c->sink,
			   keep ? IOMMU_DIRTY_NO_CLEAR : 0);
		KUNIT_ASSERT_TRUE_MSG(test,
				      bitmap_subset(want, c->seen, PAGES),
				      "lost: round %u, pages %u and %u more",
				      round, first, n);
		/* And what was written meanwhile, now or later */
		KUNIT_ASSERT_TRUE_MSG(test,
				      bitmap_subset(c->seen, c->dirty, PAGES),
				      "not written: round %u, pages %u and %u more",
				      round, first, n);
		if (!keep)
			bitmap_andnot(c->dirty, c->dirty, c->seen, PAGES);
		bitmap_or(c->dirty, c->dirty, c->later, PAGES);
		bitmap_zero(c->later, PAGES);
	}
}

struct writer {
	struct cached *c;
	unsigned long d_set;
};

static int write_now_and_then(void *data)
{
	struct writer *w = data;
	struct rnd_state rnd;
	unsigned int i;

	prandom_seed_state(&rnd, 77);
	while (!kthread_should_stop()) {
		u32 at = prandom_u32_state(&rnd);

		for (i = 0; i != 1 + at % 16; i++)
			w->d_set += request(w->c, BASE + (at & 0xe00) * SZ_4K +
					    (prandom_u32_state(&rnd) % 64) * SZ_4K,
					    i % 2 ? R : W);
		/* Tables become quiet, or are about to */
		if (!(at % 8))
			fsleep(at % 512);
		cond_resched();
	}
	return 0;
}

/* Each D that the device sets is reported once, whatever the read is doing */
static void read_while_written(struct kunit *test)
{
	const struct cached_case *p = test->param_value;
	struct writer w = { .c = make(test, p->id) };
	unsigned long end, reported = 0, reads;
	struct task_struct *thread;
	unsigned int i;

	thread = kthread_run(write_now_and_then, &w, "dsim_writer");
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, thread);
	end = jiffies + HZ / 2;
	for (reads = 0; time_before(jiffies, end); reads++) {
		reported += read_all(test, w.c);
		cond_resched();
	}
	kthread_stop(thread);
	for (i = 0; i != 4; i++)
		reported += read_all(test, w.c);
	KUNIT_EXPECT_NE(test, w.d_set, 0);
	KUNIT_EXPECT_EQ(test, w.d_set, reported);
	kunit_info(test, "%lu times dirty in %lu reads\n", w.d_set, reads);
}

static struct kunit_case dsim_cached_test_cases[] = {
	KUNIT_CASE_PARAM(skips_what_is_quiet, skipped_gen_params),
	KUNIT_CASE_PARAM(starts_by_looking, skipped_gen_params),
	KUNIT_CASE_PARAM(parts_stay_accessed, skipped_gen_params),
	KUNIT_CASE_PARAM(write_before_flush, skipped_gen_params),
	KUNIT_CASE_PARAM(tables_not_flushed, skipped_gen_params),
	KUNIT_CASE_PARAM(table_replaced, skipped_gen_params),
	KUNIT_CASE_PARAM(any_order, cached_gen_params),
	KUNIT_CASE_PARAM(read_while_written, cached_gen_params),
	{}
};

static struct kunit_suite dsim_cached_suite = {
	.name = "dsim_cached",
	.test_cases = dsim_cached_test_cases,
};

kunit_test_suite(dsim_cached_suite);
