// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the way from providers to dirty logs
 *
 * One fake provider, that is a byte for each page of IOVA, and fake areas.  What
 * must be in a log is a byte for each of its bits.
 */
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/interval_tree.h>
#include <linux/prandom.h>
#include <linux/sizes.h>

#include "../io_pagetable.h"
#include "dirty.h"

#define BASE	SZ_1G		/* of IOVA */
#define NR	512U		/* pages from there on */
#define MEMORY	(5UL * SZ_1G)	/* user address that page 0 of memory has */
#define AREAS	8
#define LOGS	2

/**
 * struct fixture - an IOAS, a provider, and logs
 * @ioas: the IOAS
 * @hwpt: whose page table the fake provider stands for
 * @dirty: the provider's dirty bits, by page of IOVA
 * @late: the same, that it only sees when it takes the page out
 * @collect_rc: what it fails with
 * @area: of the IOAS, those with pages are mapped
 * @pages: of each, its memory
 * @log: the logs
 * @feed: of each
 * @want: what must be set in each
 */
struct fixture {
	struct iommufd_ioas ioas;
	struct iommufd_hwpt_paging hwpt;
	u8 dirty[NR];
	u8 late[NR];
	int collect_rc;
	struct iopt_area area[AREAS];
	struct iopt_pages pages[AREAS];
	struct iommufd_dirty_log log[LOGS];
	struct iommufd_dirty_feed feed[LOGS];
	u8 want[LOGS][NR];
};

static struct fixture *fix;	/* suites run one at a time */

static struct io_pagetable *iopt(void)
{
	return &fix->ioas.iopt;
}

static unsigned long page(unsigned int i)
{
	return BASE + (unsigned long)i * PAGE_SIZE;
}

/* ---- The fake provider ---- */

static void record(struct iommufd_dirty_provider *provider, const u8 *dirty,
		   unsigned long iova, unsigned long last)
{
	unsigned int i;

	for (i = 0; i != NR; i++)
		if (dirty[i] && page(i) >= iova && page(i) <= last)
			iommufd_dirty_record(&iopt()->dirty, provider, page(i),
					     page(i + 1) - 1);
}

static int fake_start(struct io_pagetable *unused,
		      struct iommufd_dirty_provider *provider)
{
	memset(fix->dirty, 0, NR);
	return 0;
}

static int fake_collect(struct io_pagetable *unused,
			struct iommufd_dirty_provider *provider,
			unsigned long iova, unsigned long last, bool clear)
{
	unsigned int i;

	if (fix->collect_rc)
		return fix->collect_rc;
	record(provider, fix->dirty, iova, last);
	for (i = 0; clear && i != NR; i++)
		if (page(i) >= iova && page(i) <= last)
			fix->dirty[i] = 0;
	return 0;
}

static int fake_unmap(struct io_pagetable *unused,
		      struct iommufd_dirty_provider *provider,
		      unsigned long iova, unsigned long last)
{
	record(provider, fix->dirty, iova, last);
	record(provider, fix->late, iova, last);
	return 0;
}

static const struct iommufd_dirty_provider_ops fake_ops = {
	.name = "fake",
	.type = IOMMU_DIRTY_PROVIDER_IOMMU,
	.start = fake_start,
	.collect = fake_collect,
	.unmap = fake_unmap,
};

static struct iommufd_dirty_provider *provider(void)
{
	return &fix->hwpt.dirty.iommu;
}

/* ---- Mappings ---- */

/* Pages [@first, @first + @nr) map memory from page @at on */
static int map(unsigned int i, unsigned int first, unsigned int nr,
	       unsigned int at)
{
	struct iopt_area *area = &fix->area[i];
	int rc;

	memset(area, 0, sizeof(*area));
	area->node.start = page(first);
	area->node.last = page(first + nr) - 1;
	area->pages_node.start = at;
	area->iommu_prot = IOMMU_READ | IOMMU_WRITE;
	area->iopt = iopt();
	scoped_guard(rwsem_write, &iopt()->iova_rwsem)
		interval_tree_insert(&area->node, &iopt()->area_itree);
	rc = iommufd_dirty_map(area, &fix->pages[i]);
	area->pages = &fix->pages[i];
	return rc;
}

static void begin_unmap(unsigned int i)
{
	struct iopt_area *area = &fix->area[i];

	scoped_guard(rwsem_write, &iopt()->iova_rwsem) {
		iommufd_dirty_unmap(iopt(), iopt_area_iova(area),
				    iopt_area_last_iova(area));
		area->pages = NULL;
	}
}

/* From here on something else may be mapped there */
static void release(unsigned int i)
{
	struct iopt_area *area = &fix->area[i];
	unsigned long iova = iopt_area_iova(area);
	unsigned long last = iopt_area_last_iova(area);
	unsigned int first = (iova - BASE) / PAGE_SIZE;
	unsigned int nr = (last - iova) / PAGE_SIZE + 1;

	memset(fix->dirty + first, 0, nr);
	memset(fix->late + first, 0, nr);
	iommufd_dirty_unmap_flushed(iopt(), iova, last);
	scoped_guard(rwsem_write, &iopt()->iova_rwsem)
		interval_tree_remove(&area->node, &iopt()->area_itree);
}

static void end_unmap(unsigned int i)
{
	release(i);
	iommufd_dirty_unmapped(iopt(), iopt_area_iova(&fix->area[i]),
			       iopt_area_last_iova(&fix->area[i]));
}

static void unmap(unsigned int i)
{
	begin_unmap(i);
	end_unmap(i);
}

/* ---- Logs ---- */

static int open(struct kunit *test, unsigned int l, u32 flags,
		unsigned long start, unsigned long pages, unsigned int shift)
{
	struct iommufd_dirty_log *log = &fix->log[l];
	int rc;

	mutex_init(&log->lock);
	INIT_LIST_HEAD(&log->feeds);
	log->flags = flags;
	log->start = start;
	log->length = pages * PAGE_SIZE;
	log->shift = shift;
	log->mm = (void *)fix;		/* nobody looks into it */
	rc = dirty_log_bits_alloc(&log->bits,
				  ((log->length - 1) >> shift) + 1);
	if (rc)
		return rc;
	guard(mutex)(&log->lock);
	return dirty_feed_start(&fix->feed[l], log, iopt());
}

#define OPEN_IOVA(l, first, pages, shift)                                    \
	KUNIT_ASSERT_EQ(test, 0, open(test, l, IOMMU_DIRTY_LOG_IOVA,         \
				      page(first), pages, shift))
#define OPEN_MEMORY(l, first, pages, shift)                                  \
	KUNIT_ASSERT_EQ(test, 0, open(test, l, IOMMU_DIRTY_LOG_USER,         \
				      MEMORY + (first) * PAGE_SIZE, pages,   \
				      shift))

static void close(unsigned int l)
{
	struct iommufd_dirty_log *log = &fix->log[l];

	if (!log->bits.bits)
		return;
	scoped_guard(mutex, &log->lock)
		dirty_feed_stop(&fix->feed[l]);
	dirty_log_bits_free(&log->bits);
}

static unsigned long sync_range(unsigned int l, unsigned long first,
				unsigned long pages, bool clear)
{
	guard(mutex)(&fix->log[l].lock);
	return dirty_feed_sync(&fix->feed[l], first * PAGE_SIZE,
			       (first + pages) * PAGE_SIZE - 1, clear);
}

static unsigned long sync(unsigned int l)
{
	return sync_range(l, 0, fix->log[l].length / PAGE_SIZE, true);
}

static void want(unsigned int l, unsigned int first, unsigned int end)
{
	memset(fix->want[l] + first, 1, end - first);
}

/* All that is wanted is set, and nothing else; it is taken */
static void expect(struct kunit *test, unsigned int l)
{
	struct dirty_log_bits *bits = &fix->log[l].bits;
	unsigned int i, lost = 0, extra = 0, unsummed = 0;

	for (i = 0; i != bits->nr; i++) {
		bool set = test_bit(i, bits->bits);

		lost += !set && fix->want[l][i];
		extra += set && !fix->want[l][i];
		unsummed += set && !test_bit(i / 512, bits->summary);
	}
	KUNIT_EXPECT_EQ(test, 0, lost);
	KUNIT_EXPECT_EQ(test, 0, extra);
	KUNIT_EXPECT_EQ(test, 0, unsummed);
	bitmap_zero(bits->bits, bits->nr);
	bits->summary[0] = 0;
	memset(fix->want[l], 0, NR);
}

static void dma(unsigned int first, unsigned int end)
{
	memset(fix->dirty + first, 1, end - first);
}

/* ---- Fixture ---- */

static int feed_test_init(struct kunit *test)
{
	unsigned int i;

	fix = kunit_kzalloc(test, sizeof(*fix), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fix);
	init_rwsem(&iopt()->iova_rwsem);
	init_rwsem(&iopt()->domains_rwsem);
	iopt()->area_itree = RB_ROOT_CACHED;
	xa_init(&iopt()->access_list);
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_init(iopt()));
	fix->hwpt.ioas = &fix->ioas;
	provider()->ops = &fake_ops;
	provider()->hwpt = &fix->hwpt;
	provider()->exact = true;
	provider()->shift = PAGE_SHIFT;
	iommufd_dirty_provider_add(iopt(), provider());
	for (i = 0; i != AREAS; i++) {
		fix->pages[i].type = IOPT_ADDRESS_USER;
		fix->pages[i].uptr = (void __user *)MEMORY;
		fix->pages[i].source_mm = (void *)fix;
	}
	return 0;
}

static void feed_test_exit(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i != LOGS; i++)
		close(i);
	iommufd_dirty_provider_remove(iopt(), provider());
	iommufd_dirty_destroy(iopt());
}

/* ---- By IOVA ---- */

/* What one collects is for the other too, but not before that one asks */
static void staged_until_sync(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, map(0, 0, NR, 0));
	dma(0, NR);			/* before there is a log */
	OPEN_IOVA(0, 0, NR, PAGE_SHIFT);
	OPEN_IOVA(1, 0, NR, PAGE_SHIFT);
	KUNIT_EXPECT_EQ(test, 0, sync(0));
	expect(test, 0);

	dma(63, 65);
	expect(test, 0);
	KUNIT_EXPECT_EQ(test, 2, sync(0));
	expect(test, 1);		/* the IOTLB was flushed for another */
	want(0, 63, 65);
	expect(test, 0);
	KUNIT_EXPECT_EQ(test, 2, sync(1));
	want(1, 63, 65);
	expect(test, 1);
	KUNIT_EXPECT_EQ(test, 0, sync(0));
	KUNIT_EXPECT_EQ(test, 0, sync(1));

	/* without clearing it comes again, to who took it and to who did not */
	dma(5, 6);
	KUNIT_EXPECT_EQ(test, 1, sync_range(0, 0, NR, false));
	want(0, 5, 6);
	expect(test, 0);
	KUNIT_EXPECT_EQ(test, 1, sync(0));
	want(0, 5, 6);
	expect(test, 0);
	KUNIT_EXPECT_EQ(test, 1, sync(1));
	want(1, 5, 6);
	expect(test, 1);
}

/* What is pushed is complete, so it is there at once, and counted to no sync */
static void pushed_at_once(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, map(0, 0, NR, 0));
	OPEN_IOVA(0, 100, 200, PAGE_SHIFT);
	OPEN_MEMORY(1, 0, NR, PAGE_SHIFT);
	iommufd_dirty_access_wrote(iopt(), page(99) + 7, page(100));
	want(0, 0, 1);
	want(1, 99, 101);
	expect(test, 0);
	expect(test, 1);
	iommufd_dirty_access_wrote(iopt(), page(299), page(301) - 1);
	want(0, 199, 200);
	want(1, 299, 301);
	expect(test, 0);
	expect(test, 1);
	iommufd_dirty_access_wrote(iopt(), page(0), page(100) - 1);
	iommufd_dirty_access_wrote(iopt(), page(300), page(NR) - 1);
	want(1, 0, 100);
	want(1, 300, NR);
	expect(test, 0);
	expect(test, 1);
	KUNIT_EXPECT_EQ(test, 0, sync(0));
	KUNIT_EXPECT_EQ(test, 0, sync(1));
}

/* What an unmap finds goes to the log when nothing can be written any more */
static void unmap_drains(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, map(0, 0, 200, 0));
	KUNIT_ASSERT_EQ(test, 0, map(1, 200, 200, 0));
	OPEN_IOVA(0, 0, NR, PAGE_SHIFT);
	OPEN_MEMORY(1, 0, NR, PAGE_SHIFT);
	dma(10, 20);
	dma(210, 215);
	memset(fix->late + 30, 1, 3);
	begin_unmap(0);
	expect(test, 0);
	expect(test, 1);
	/* the page table code saw one more as it took it out */
	iommufd_dirty_push_unflushed(&iopt()->dirty, &iopt()->dirty.access,
				     page(50), page(51) - 1);
	expect(test, 0);
	expect(test, 1);
	end_unmap(0);
	want(0, 10, 20);
	want(0, 30, 33);
	want(0, 50, 51);
	want(1, 10, 20);
	want(1, 30, 33);
	want(1, 50, 51);
	expect(test, 0);
	expect(test, 1);
	/* of the other area nothing, until somebody asks */
	KUNIT_EXPECT_EQ(test, 5, sync(0));
	KUNIT_EXPECT_EQ(test, 5, sync(1));
	want(0, 210, 215);
	want(1, 10, 15);
	expect(test, 0);
	expect(test, 1);
}

static void failure_is_counted(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, map(0, 0, 100, 300));
	OPEN_IOVA(0, 0, NR, PAGE_SHIFT);
	OPEN_MEMORY(1, 310, 50, PAGE_SHIFT);
	dma(3, 4);
	fix->collect_rc = -EIO;
	KUNIT_EXPECT_EQ(test, 100, sync(0));
	KUNIT_EXPECT_EQ(test, 1, atomic64_read(&fix->log[0].lost));
	KUNIT_EXPECT_EQ(test, 1, atomic64_read(&fix->log[1].lost));
	want(0, 0, 100);
	expect(test, 0);
	fix->collect_rc = 0;
	/* it was lost for the other one too; what stood is not forgotten */
	KUNIT_EXPECT_EQ(test, 50, sync(1));
	want(1, 0, 50);
	expect(test, 1);
	KUNIT_EXPECT_EQ(test, 1, sync(0));
	want(0, 3, 4);
	expect(test, 0);
	KUNIT_EXPECT_EQ(test, 1, atomic64_read(&fix->log[0].lost));
}

/* More to a bit than to one that is pending, from any page on */
static void larger_pages(struct kunit *test)
{
	unsigned int shift, first, i;

	KUNIT_ASSERT_EQ(test, 0, map(0, 0, NR, 0));
	for (shift = PAGE_SHIFT + 1; shift != PAGE_SHIFT + 12; shift++) {
		unsigned int per = 1U << (shift - PAGE_SHIFT);

		for (first = 0; first <= 6; first += 3) {
			OPEN_IOVA(0, first, NR - first, shift);
			OPEN_MEMORY(1, first, NR - first, shift);
			for (i = 0; i < NR; i += 37) {
				dma(i, i + 1);
				if (i < first)
					continue;
				want(0, (i - first) / per,
				     (i - first) / per + 1);
			}
			memcpy(fix->want[1], fix->want[0], NR);
			sync(0);
			sync(1);
			expect(test, 0);
			expect(test, 1);
			/* words full of bits, and their ends */
			dma(60, 200);
			want(0, (60 - first) / per, (199 - first) / per + 1);
			memcpy(fix->want[1], fix->want[0], NR);
			sync(1);
			sync(0);
			expect(test, 0);
			expect(test, 1);
			close(0);
			close(1);
		}
	}
}

/* ---- By memory ---- */

/* Areas that begin before the log, end behind it, or lie aside */
static void ends_of_the_log(struct kunit *test)
{
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, map(0, 0, 60, 70));	/* ends in it */
	KUNIT_ASSERT_EQ(test, 0, map(1, 60, 40, 140));	/* begins in it */
	KUNIT_ASSERT_EQ(test, 0, map(2, 100, 90, 90));	/* on both sides */
	OPEN_MEMORY(0, 100, 60, PAGE_SHIFT);
	/* the same, mapped while the log is there */
	KUNIT_ASSERT_EQ(test, 0, map(3, 200, 60, 70));
	KUNIT_ASSERT_EQ(test, 0, map(4, 260, 40, 140));
	KUNIT_ASSERT_EQ(test, 0, map(5, 300, 90, 90));
	/* just aside of it */
	KUNIT_ASSERT_EQ(test, 0, map(6, 400, 20, 80));
	KUNIT_ASSERT_EQ(test, 0, map(7, 420, 20, 160));
	for (i = 0; i != 400; i += 200) {
		dma(i + 29, i + 30);		/* page 99 */
		KUNIT_EXPECT_EQ(test, 0, sync(0));
		dma(i + 30, i + 31);		/* 100 */
		want(0, 0, 1);
		dma(i + 59, i + 60);		/* 129 */
		want(0, 29, 30);
		sync(0);
		expect(test, 0);
		dma(i + 60, i + 61);		/* 140 */
		want(0, 40, 41);
		dma(i + 79, i + 81);		/* 159 and 160 */
		want(0, 59, 60);
		sync(0);
		expect(test, 0);
		dma(i + 109, i + 111);		/* 99 and 100 */
		want(0, 0, 1);
		dma(i + 169, i + 171);		/* 159 and 160 */
		want(0, 59, 60);
		sync(0);
		expect(test, 0);
		iommufd_dirty_access_wrote(iopt(), page(i), page(i + 190) - 1);
		want(0, 0, 60);
		expect(test, 0);
	}
	dma(400, 440);
	iommufd_dirty_access_wrote(iopt(), page(400), page(440) - 1);
	KUNIT_EXPECT_EQ(test, 0, sync(0));
	expect(test, 0);
}

/* Other memory: of another process, or a file's */
static void not_its_memory(struct kunit *test)
{
	fix->pages[0].source_mm = NULL;
	fix->pages[1].type = IOPT_ADDRESS_FILE;
	fix->pages[2].type = IOPT_ADDRESS_DMABUF;
	KUNIT_ASSERT_EQ(test, 0, map(0, 0, 10, 0));
	OPEN_MEMORY(0, 0, NR, PAGE_SHIFT);
	KUNIT_ASSERT_EQ(test, 0, map(1, 10, 10, 0));
	KUNIT_ASSERT_EQ(test, 0, map(2, 20, 10, 0));
	KUNIT_ASSERT_EQ(test, 0, map(3, 30, 10, 0));
	dma(0, 39);
	iommufd_dirty_access_wrote(iopt(), page(0), page(30) - 1);
	expect(test, 0);
	KUNIT_EXPECT_EQ(test, 9, sync(0));
	want(0, 0, 9);
	expect(test, 0);
}

/* A part of what is known as one range goes, from its middle and its ends */
static void unmapped_in_parts(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, map(0, 0, 100, 50));
	OPEN_MEMORY(0, 0, NR, PAGE_SHIFT);
	dma(0, 100);
	begin_unmap(0);
	scoped_guard(rwsem_write, &iopt()->iova_rwsem) {
		/* an area that was split is split in the tree only */
		interval_tree_remove(&fix->area[0].node, &iopt()->area_itree);
		fix->area[0].node.last = page(40) - 1;
		fix->area[0].pages = &fix->pages[0];
		interval_tree_insert(&fix->area[0].node, &iopt()->area_itree);
		fix->area[1] = fix->area[0];
		fix->area[1].node.start = page(60);
		fix->area[1].node.last = page(100) - 1;
		fix->area[1].pages_node.start = 110;
		interval_tree_insert(&fix->area[1].node, &iopt()->area_itree);
	}
	memset(fix->dirty, 0, NR);
	iommufd_dirty_unmap_flushed(iopt(), page(40), page(60) - 1);
	iommufd_dirty_unmapped(iopt(), page(40), page(60) - 1);
	want(0, 90, 110);
	expect(test, 0);
	/* what stays is where it was, what went is nowhere */
	iommufd_dirty_access_wrote(iopt(), page(0), page(100) - 1);
	want(0, 50, 90);
	want(0, 110, 150);
	expect(test, 0);
	KUNIT_EXPECT_EQ(test, 0, sync_range(0, 90, 20, true));
	KUNIT_EXPECT_EQ(test, 80, sync(0));
	want(0, 50, 90);
	want(0, 110, 150);
	expect(test, 0);
	/* and something else comes there */
	KUNIT_ASSERT_EQ(test, 0, map(2, 40, 20, 400));
	dma(39, 61);
	KUNIT_EXPECT_EQ(test, 22, sync(0));
	want(0, 89, 90);
	want(0, 110, 111);
	want(0, 400, 420);
	expect(test, 0);
}

/* The mapping came to nothing: it is forgotten, and with it its memory */
/* Before the first unmap is through, other memory comes to its addresses */
static void mapped_again_at_once(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, map(0, 0, 20, 50));
	OPEN_MEMORY(0, 0, NR, PAGE_SHIFT);
	dma(3, 5);
	begin_unmap(0);
	release(0);
	KUNIT_ASSERT_EQ(test, 0, map(1, 0, 20, 200));
	iommufd_dirty_access_wrote(iopt(), page(7), page(8) - 1);
	dma(9, 10);
	iommufd_dirty_unmapped(iopt(), page(0), page(20) - 1);
	want(0, 53, 55);
	want(0, 207, 208);
	expect(test, 0);
	KUNIT_EXPECT_EQ(test, 1, sync(0));
	want(0, 209, 210);
	expect(test, 0);
}

static void failed_map_leaves_nothing(struct kunit *test)
{
	struct iopt_area *area = &fix->area[0];
	struct dirty_bitmap *pending = &fix->feed[0].reader.pending;

	OPEN_MEMORY(0, 0, NR, PAGE_SHIFT);
	KUNIT_ASSERT_EQ(test, 0, map(0, 0, 100, 50));
	area->pages = NULL;
	iommufd_dirty_map_failed(area);
	KUNIT_EXPECT_TRUE(test, mtree_empty(&fix->feed[0].map));
	scoped_guard(rwsem_write, &iopt()->iova_rwsem)
		interval_tree_remove(&area->node, &iopt()->area_itree);
	KUNIT_EXPECT_FALSE(test, xa_empty(&pending->chunks));
	KUNIT_EXPECT_EQ(test, 0, sync(0));
	KUNIT_EXPECT_TRUE(test, xa_empty(&pending->chunks));
	expect(test, 0);
}

/*
 * Anything mapped anywhere, written, synced and unmapped: at the end of a sync of
 * all, or an unmap, the log has all that was written through that.
 */
static void any_mapping(struct kunit *test)
{
	struct { unsigned int first, nr, at; } is[AREAS] = {};
	struct rnd_state rnd;
	unsigned int round, i, n, p;

	prandom_seed_state(&rnd, 5);
	OPEN_MEMORY(0, 50, 300, PAGE_SHIFT + 1);
	for (round = 0; round != 1500; round++) {
		i = prandom_u32_state(&rnd) % AREAS;
		if (!is[i].nr) {
			/* a slot of IOVA for each, memory of all */
			is[i].nr = 1 + prandom_u32_state(&rnd) % (NR / AREAS);
			is[i].first = i * (NR / AREAS);
			is[i].at = prandom_u32_state(&rnd) % 400;
			KUNIT_ASSERT_EQ(test, 0, map(i, is[i].first, is[i].nr,
						     is[i].at));
		}
		for (n = prandom_u32_state(&rnd) % 4; n; n--) {
			p = prandom_u32_state(&rnd) % is[i].nr;
			dma(is[i].first + p, is[i].first + p + 1);
			if (is[i].at + p < 50 || is[i].at + p >= 350)
				continue;
			want(0, (is[i].at + p - 50) / 2,
			     (is[i].at + p - 50) / 2 + 1);
		}
		if (prandom_u32_state(&rnd) % 3 == 0) {
			unmap(i);
			is[i].nr = 0;
		}
		if (prandom_u32_state(&rnd) % 4 == 0) {
			p = prandom_u32_state(&rnd) % 300;
			n = 1 + prandom_u32_state(&rnd) % (300 - p);
			sync_range(0, p, n, prandom_u32_state(&rnd) % 2);
		}
		if (round % 20 == 19) {
			sync(0);
			expect(test, 0);
		}
	}
}

static struct kunit_case feed_test_cases[] = {
	KUNIT_CASE(staged_until_sync),
	KUNIT_CASE(pushed_at_once),
	KUNIT_CASE(unmap_drains),
	KUNIT_CASE(failure_is_counted),
	KUNIT_CASE_SLOW(larger_pages),
	KUNIT_CASE(ends_of_the_log),
	KUNIT_CASE(not_its_memory),
	KUNIT_CASE(unmapped_in_parts),
	KUNIT_CASE(mapped_again_at_once),
	KUNIT_CASE(failed_map_leaves_nothing),
	KUNIT_CASE_SLOW(any_mapping),
	{}
};

static struct kunit_suite feed_test_suite = {
	.name = "iommufd_dirty_feed",
	.init = feed_test_init,
	.exit = feed_test_exit,
	.test_cases = feed_test_cases,
};
kunit_test_suite(feed_test_suite);
