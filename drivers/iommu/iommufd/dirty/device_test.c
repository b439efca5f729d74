// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of devices that track themselves, over a driver that is fake
 *
 * Its log is a byte for each page.  It fails, combines ranges and rounds up as it
 * is told to, and checks that it is only asked for what it logs.
 */
#include <kunit/test.h>
#include <linux/interval_tree.h>
#include <linux/iommufd_dirty.h>
#include <linux/iova_bitmap.h>
#include <linux/mman.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>

#include "../io_pagetable.h"
#include "dirty.h"

#define BASE	0x80000000UL
#define NR	512U		/* pages from BASE on that tests look at */
#define MAPPED	256U		/* of which the first are mapped */
#define RANGES	256U		/* a driver takes as many */

struct fixture {
	struct iommufd_ioas ioas;
	struct iommufd_hwpt_paging hwpt[2];
	struct iommufd_device idev;
	struct iopt_area area[3];
	struct iommufd_dirty_reader reader[2];
	unsigned long user;

	/* the driver */
	u8 log[NR];
	bool on;
	u64 page_size;
	unsigned long max_last;	/* it logs nothing beyond */
	unsigned int starts;
	int start_rc;
	int collect_rc;
	unsigned int nr;
	unsigned long first[RANGES];
	unsigned long last[RANGES];
	bool still;
};

static struct fixture *fix;	/* suites run one at a time */

static unsigned long page(unsigned int i)
{
	return BASE + (unsigned long)i * PAGE_SIZE;
}

static struct io_pagetable *iopt(void)
{
	return &fix->ioas.iopt;
}

/* ---- The driver ---- */

static int fake_start(void *data, struct rb_root_cached *ranges, u32 nr,
		      u64 *page_size)
{
	struct interval_tree_node *node;
	unsigned int i = 0;

	if (fix->start_rc)
		return fix->start_rc;
	if (fix->on || nr > ARRAY_SIZE(fix->first))
		return -EINVAL;
	for (node = interval_tree_iter_first(ranges, 0, ULONG_MAX); node;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX), i++) {
		if (node->last > fix->max_last)
			return -ERANGE;
		if (i && node->start <= fix->last[i - 1])
			return -EEXIST;
		fix->first[i] = node->start;
		fix->last[i] = node->last;
	}
	fix->nr = nr;
	fix->on = true;
	fix->starts++;
	memset(fix->log, 0, NR);
	*page_size = max(*page_size, fix->page_size);
	return 0;
}

static void fake_stop(void *data)
{
	fix->on = false;
}

static int fake_collect(void *data, unsigned long iova, unsigned long length,
			struct iova_bitmap *dirty)
{
	unsigned int i, r;

	if (fix->collect_rc)
		return fix->collect_rc;
	for (r = 0; r != fix->nr; r++)
		if (iova >= fix->first[r] && iova + length - 1 <= fix->last[r])
			break;
	if (!fix->on || r == fix->nr)
		return -EINVAL;
	for (i = 0; i != NR; i++) {
		if (!fix->log[i] || page(i) < iova ||
		    page(i) > iova + length - 1)
			continue;
		iova_bitmap_set(dirty, page(i), PAGE_SIZE);
		fix->log[i] = 0;
	}
	return 0;
}

static const struct iommufd_dirty_device_ops pull_ops = {
	.start = fake_start,
	.stop = fake_stop,
	.collect = fake_collect,
};

static const struct iommufd_dirty_device_ops push_ops = {
	.rating = 5,
	.start = fake_start,
	.stop = fake_stop,
};

static void dma(unsigned int first, unsigned int end)
{
	memset(fix->log + first, 1, end - first);
}

/* ---- Fixture ---- */

static void insert(struct iopt_area *area, unsigned long iova,
		   unsigned long last)
{
	area->node.start = iova;
	area->node.last = last;
	area->pages = ERR_PTR(-EINVAL);	/* mapped, and nobody looks into it */
	area->iommu_prot = IOMMU_READ | IOMMU_WRITE;
	area->iopt = iopt();
	down_write(&iopt()->iova_rwsem);
	interval_tree_insert(&area->node, &iopt()->area_itree);
	up_write(&iopt()->iova_rwsem);
}

static void insert_area(unsigned int i, unsigned long iova, unsigned long last)
{
	insert(&fix->area[i], iova, last);
}

static int map(unsigned int i)
{
	return iommufd_dirty_map(&fix->area[i], fix->area[i].pages);
}

static int device_test_init(struct kunit *test)
{
	unsigned int i;

	fix = kunit_kzalloc(test, sizeof(*fix), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fix);
	init_rwsem(&iopt()->iova_rwsem);
	init_rwsem(&iopt()->domains_rwsem);
	iopt()->area_itree = RB_ROOT_CACHED;
	xa_init(&iopt()->access_list);
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_init(iopt()));
	for (i = 0; i != 2; i++) {
		fix->hwpt[i].ioas = &fix->ioas;
		fix->hwpt[i].common.obj.type = IOMMUFD_OBJ_HWPT_PAGING;
		mutex_init(&fix->reader[i].lock);
		iommufd_dirty_all_init(&fix->hwpt[i].dirty.all, &fix->hwpt[i]);
		iommufd_dirty_provider_add(iopt(), &fix->hwpt[i].dirty.all);
	}
	fix->max_last = ULONG_MAX;
	insert_area(0, page(0), page(MAPPED) - 1);
	fix->user = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
				  PROT_READ | PROT_WRITE,
				  MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(fix->user));
	return 0;
}

static void device_test_exit(struct kunit *test)
{
	struct iommufd_dirty_attachment *at;
	struct hlist_node *next;
	unsigned int i;

	for (i = 0; i != 2; i++) {
		guard(mutex)(&fix->reader[i].lock);
		if (fix->reader[i].active)
			iommufd_dirty_reader_stop(iopt(), &fix->reader[i]);
	}
	hlist_for_each_entry_safe(at, next, &fix->idev.dirty_attached, idev_node)
		iommufd_dirty_detach(&at->hwpt->common, at->idev,
				     at->pasid);
	KUNIT_EXPECT_FALSE(test, fix->on);
	KUNIT_EXPECT_NULL(test, fix->idev.dirty_device.iopt);
	for (i = 0; i != 2; i++)
		iommufd_dirty_provider_remove(iopt(), &fix->hwpt[i].dirty.all);
	iommufd_dirty_destroy(iopt());
}

/* ---- What tests do ---- */

static int start(unsigned int r)
{
	guard(mutex)(&fix->reader[r].lock);
	return iommufd_dirty_reader_start(iopt(), &fix->reader[r],
					  &fix->hwpt[r], PAGE_SHIFT);
}

static int attach(unsigned int hwpt)
{
	return iommufd_dirty_attach(&fix->hwpt[hwpt].common, &fix->idev, 0);
}

static void begin(struct kunit *test, const struct iommufd_dirty_device_ops *ops)
{
	iommufd_device_set_dirty_ops(&fix->idev, ops, NULL);
	KUNIT_ASSERT_EQ(test, 0, attach(0));
	KUNIT_ASSERT_EQ(test, 0, start(0));
	KUNIT_ASSERT_EQ(test, 1, fix->starts);
}

/* Reader @r is given [@first, @end) and nothing else */
static void expect_part(struct kunit *test, unsigned int r, unsigned int from,
			unsigned int until, unsigned int first,
			unsigned int end)
{
	struct dirty_user_bitmap user = {
		.iova = page(from),
		.last = page(until) - 1,
		.shift = PAGE_SHIFT,
		.data = fix->user,
	};
	u8 bits[NR / 8];
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, clear_user((void __user *)fix->user,
					    sizeof(bits)));
	scoped_guard(mutex, &fix->reader[r].lock)
		KUNIT_ASSERT_EQ(test, 0,
				iommufd_dirty_reader_read(iopt(),
							  &fix->reader[r],
							  &user, true));
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(bits, (void __user *)fix->user,
						sizeof(bits)));
	for (i = 0; i != until - from; i++)
		KUNIT_EXPECT_EQ_MSG(test, from + i >= first && from + i < end,
				    !!(bits[i / 8] & BIT(i % 8)), "page %u",
				    from + i);
}

static void expect(struct kunit *test, unsigned int r, unsigned int first,
		   unsigned int end)
{
	expect_part(test, r, 0, NR, first, end);
}

static u64 lost(void)
{
	return atomic64_read(&iopt()->dirty.lost);
}

/* ---- Tests ---- */

static void reads_and_clears(struct kunit *test)
{
	dma(0, NR);	/* before anybody reads */
	begin(test, &pull_ops);
	expect(test, 0, 0, 0);
	dma(60, 70);
	/* The driver is asked for more, and forgets it: it waits */
	expect_part(test, 0, 64, 65, 64, 65);
	expect_part(test, 0, 65, NR, 65, 70);
	expect(test, 0, 60, 64);
	expect(test, 0, 0, 0);
	/* Not what is not mapped, even if the device says so */
	dma(MAPPED - 3, MAPPED + 3);
	expect(test, 0, MAPPED - 3, MAPPED);
	KUNIT_EXPECT_EQ(test, 0, lost());
}

/* What follows each other need not be alike */
static void crosses_areas(struct kunit *test)
{
	struct iommufd_dirty_attachment *at;

	begin(test, &pull_ops);
	insert_area(1, page(MAPPED), page(MAPPED + 10) - 1);
	fix->area[1].iommu_prot = IOMMU_READ;
	KUNIT_ASSERT_EQ(test, 0, map(1));
	insert_area(2, page(MAPPED + 10), page(MAPPED + 20) - 1);
	KUNIT_ASSERT_EQ(test, 0, map(2));
	fix->area[2].pages = NULL;	/* being unmapped */

	dma(MAPPED - 2, MAPPED + 12);
	expect_part(test, 0, 0, MAPPED + 10, MAPPED - 2, MAPPED);
	expect_part(test, 0, MAPPED + 10, NR, MAPPED + 10, MAPPED + 12);
	expect(test, 0, 0, 0);
	/* Each counts, whichever way it took */
	hlist_for_each_entry(at, &fix->idev.dirty_attached, idev_node)
		KUNIT_EXPECT_EQ(test, 4,
				iommufd_dirty_provider_pages(&at->own.provider));
}

static void has_room(struct kunit *test)
{
	begin(test, &pull_ops);
	KUNIT_EXPECT_EQ(test, BASE, fix->first[0]);
	KUNIT_EXPECT_EQ(test, BASE + SZ_1G - 1, fix->last[0]);
	/* Near: nothing is to be done, what is known stays known */
	dma(1, 2);
	insert_area(1, page(300), page(310) - 1);
	KUNIT_ASSERT_EQ(test, 0, map(1));
	KUNIT_EXPECT_EQ(test, 1, fix->starts);
	expect(test, 0, 1, 2);
	dma(305, 306);
	expect(test, 0, 305, 306);
}

/* What the device is told to log begins at address 0, then */
static void lies_low(struct kunit *test)
{
	insert_area(1, SZ_1M, SZ_2M - 1);
	insert_area(2, SZ_16M, SZ_32M - 1);
	begin(test, &pull_ops);
	KUNIT_EXPECT_EQ(test, 2, fix->nr);
	KUNIT_EXPECT_EQ(test, 0, fix->first[0]);
	KUNIT_EXPECT_EQ(test, SZ_1G - 1, fix->last[0]);
	KUNIT_EXPECT_EQ(test, BASE, fix->first[1]);
}

static void starts_anew(struct kunit *test)
{
	unsigned long far = BASE + 5UL * SZ_1G;

	begin(test, &pull_ops);
	dma(1, 2);
	insert_area(1, far, far + SZ_4K - 1);
	KUNIT_ASSERT_EQ(test, 0, map(1));
	KUNIT_EXPECT_EQ(test, 2, fix->starts);
	KUNIT_EXPECT_EQ(test, 2, fix->nr);
	/* All may have been written in between */
	expect(test, 0, 0, MAPPED);
	KUNIT_EXPECT_EQ(test, 1, lost());
	dma(7, 8);
	expect(test, 0, 7, 8);
	expect(test, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, 1, lost());
}

static bool is_logged(unsigned long iova)
{
	unsigned int r;

	for (r = 0; r != fix->nr; r++)
		if (fix->first[r] <= iova && fix->last[r] >= iova)
			return true;
	return false;
}

/* More than a driver takes */
static void is_scattered(struct kunit *test)
{
	const unsigned int nr = 3 * RANGES;
	struct iopt_area *areas = kunit_kcalloc(test, nr, sizeof(*areas),
						GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, areas);
	for (i = 0; i != nr; i++)
		insert(&areas[i], (i + 1) * 5ULL * SZ_1G,
		       (i + 1) * 5ULL * SZ_1G + SZ_4K - 1);
	begin(test, &pull_ops);
	KUNIT_EXPECT_LT(test, 1, fix->nr);
	KUNIT_EXPECT_LE(test, fix->nr, RANGES);
	for (i = 0; i != nr; i++)
		KUNIT_EXPECT_TRUE(test, is_logged(iopt_area_iova(&areas[i])));
	KUNIT_EXPECT_TRUE(test, is_logged(page(0)));
	dma(1, 2);
	expect(test, 0, 1, 2);
	KUNIT_EXPECT_EQ(test, 0, lost());
}

static void has_no_room(struct kunit *test)
{
	fix->max_last = page(MAPPED) - 1;
	begin(test, &pull_ops);
	KUNIT_EXPECT_EQ(test, page(0), fix->first[0]);
	KUNIT_EXPECT_EQ(test, page(MAPPED) - 1, fix->last[0]);
	dma(MAPPED - 1, MAPPED);
	expect(test, 0, MAPPED - 1, MAPPED);
	/* What it cannot log makes everything dirty */
	insert_area(1, page(300), page(310) - 1);
	KUNIT_ASSERT_EQ(test, 0, map(1));
	expect_part(test, 0, 0, MAPPED, 0, MAPPED);
	expect_part(test, 0, 0, MAPPED, 0, MAPPED);
	expect_part(test, 0, 256, NR, 300, 310);
	KUNIT_EXPECT_EQ(test, 3, lost());
}

static void fails(struct kunit *test)
{
	begin(test, &pull_ops);
	dma(3, 4);
	fix->collect_rc = -EIO;
	/* Of what was not asked for now, too, and then it works again */
	expect_part(test, 0, 0, 10, 0, 10);
	KUNIT_EXPECT_EQ(test, 1, lost());
	KUNIT_EXPECT_EQ(test, 2, fix->starts);
	fix->collect_rc = 0;
	expect(test, 0, 10, MAPPED);
	dma(5, 6);
	expect(test, 0, 5, 6);
	KUNIT_EXPECT_EQ(test, 1, lost());
	/* The driver says so itself */
	dma(9, 10);
	iommufd_dirty_lost(&fix->idev);
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, 2, lost());
}

/* From when the translations are gone on */
static void unmap_rest(void)
{
	iommufd_dirty_unmap_flushed(iopt(), page(0), page(MAPPED) - 1);
	down_write(&iopt()->iova_rwsem);
	interval_tree_remove(&fix->area[0].node, &iopt()->area_itree);
	up_write(&iopt()->iova_rwsem);
	iommufd_dirty_unmapped(iopt(), page(0), page(MAPPED) - 1);
}

/* What is written until the translations are gone is asked for once more */
static void unmaps(struct kunit *test)
{
	begin(test, &pull_ops);
	dma(10, 11);
	down_write(&iopt()->iova_rwsem);
	iommufd_dirty_unmap(iopt(), page(0), page(MAPPED) - 1);
	up_write(&iopt()->iova_rwsem);
	dma(11, 13);
	unmap_rest();
	dma(13, 14);	/* a write that faults */
	expect(test, 0, 10, 13);
	expect(test, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, lost());
}

/* The same, and the log fails in between */
static void unmaps_and_fails(struct kunit *test)
{
	begin(test, &pull_ops);
	down_write(&iopt()->iova_rwsem);
	iommufd_dirty_unmap(iopt(), page(0), page(MAPPED) - 1);
	up_write(&iopt()->iova_rwsem);
	fix->collect_rc = -EIO;
	unmap_rest();
	fix->collect_rc = 0;
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, 0);
}

static void two_readers(struct kunit *test)
{
	begin(test, &pull_ops);
	KUNIT_ASSERT_EQ(test, 0, attach(1));
	dma(1, 3);
	/* One more begins: what was written before is not for it */
	KUNIT_ASSERT_EQ(test, 0, start(1));
	KUNIT_EXPECT_EQ(test, 1, fix->starts);
	expect(test, 1, 0, 0);
	expect(test, 0, 1, 3);
	dma(4, 5);
	expect(test, 1, 4, 5);
	expect(test, 0, 4, 5);
	/* One goes, the log stays with the other */
	iommufd_dirty_detach(&fix->hwpt[0].common, &fix->idev, 0);
	KUNIT_EXPECT_TRUE(test, fix->on);
	dma(6, 7);
	expect(test, 1, 6, 7);
	expect(test, 0, 0, 0);
}

static void tells_what_it_tells_apart(struct kunit *test)
{
	struct iommufd_dirty_attachment *at;

	fix->page_size = SZ_64K;
	begin(test, &pull_ops);
	at = hlist_entry(fix->idev.dirty_attached.first,
			 struct iommufd_dirty_attachment, idev_node);
	KUNIT_EXPECT_PTR_EQ(test, &at->own.provider, at->does);
	KUNIT_EXPECT_EQ(test, SZ_64K, at->own.provider.granule_min);
	KUNIT_EXPECT_EQ(test, SZ_64K, at->own.provider.granule_max);
}

static void pushes(struct kunit *test)
{
	struct iommufd_dirty_attachment *at;

	begin(test, &push_ops);
	KUNIT_EXPECT_EQ(test, 0, fix->first[0]);
	KUNIT_EXPECT_EQ(test, ULONG_MAX, fix->last[0]);
	at = hlist_entry(fix->idev.dirty_attached.first,
			 struct iommufd_dirty_attachment, idev_node);
	KUNIT_EXPECT_EQ(test, 5, at->own.provider.rating);
	iommufd_dirty_mark(&fix->idev, page(5) + 10, PAGE_SIZE);
	expect(test, 0, 5, 7);
	expect(test, 0, 0, 0);
	/* Dirty until told, as far as it is mapped */
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_hold(&fix->idev, page(250),
						    10 * PAGE_SIZE));
	expect(test, 0, 250, MAPPED);
	expect(test, 0, 250, MAPPED);
	iommufd_dirty_release(&fix->idev, page(250), 10 * PAGE_SIZE);
	expect_part(test, 0, 0, MAPPED, 250, MAPPED);
	expect_part(test, 0, 0, MAPPED, 0, 0);
	KUNIT_EXPECT_EQ(test, -EINVAL, iommufd_dirty_hold(&fix->idev, 0, 0));
	KUNIT_EXPECT_EQ(test, -EINVAL, iommufd_dirty_hold(&fix->idev, ~0UL, 2));
}

/* ---- DMA logging ---- */

static void expect_report(struct kunit *test, struct iommufd_access *access,
			  unsigned int first, unsigned int end)
{
	struct iommufd_device *idev = access ? NULL : &fix->idev;
	u8 bits[NR / 8];
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, clear_user((void __user *)fix->user,
					    sizeof(bits)));
	KUNIT_ASSERT_EQ(test, 0,
			iommufd_dirty_logging_report(idev, access, BASE,
						     NR * PAGE_SIZE, PAGE_SIZE,
						     (void __user *)fix->user));
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(bits, (void __user *)fix->user,
						sizeof(bits)));
	for (i = 0; i != NR; i++)
		KUNIT_EXPECT_EQ_MSG(test, i >= first && i < end,
				    !!(bits[i / 8] & BIT(i % 8)), "page %u", i);
}

/* A device and an emulated one log: each gets what both write */
static void both_log(struct kunit *test)
{
	struct iommufd_access *access = kunit_kzalloc(test, sizeof(*access),
						      GFP_KERNEL);
	struct iommufd_device *idev = &fix->idev;
	struct iommufd_group *igroup = kunit_kzalloc(test, sizeof(*igroup),
						     GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, access);
	KUNIT_ASSERT_NOT_NULL(test, igroup);
	mutex_init(&access->ioas_lock);
	mutex_init(&igroup->lock);
	idev->igroup = igroup;
	iommufd_device_set_dirty_ops(idev, &pull_ops, NULL);
	KUNIT_EXPECT_EQ(test, -EINVAL, iommufd_dirty_logging_start(idev, NULL));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommufd_dirty_logging_start(NULL, access));
	access->ioas = &fix->ioas;
	KUNIT_ASSERT_EQ(test, 0, attach(0));
	KUNIT_EXPECT_TRUE(test, iommufd_dirty_can_log(idev));
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_logging_start(NULL, access));
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_logging_start(idev, NULL));
	KUNIT_EXPECT_EQ(test, -EINVAL, iommufd_dirty_logging_start(idev, NULL));

	dma(3, 5);
	expect_report(test, access, 3, 5);
	iommufd_dirty_access_wrote(iopt(), page(5), page(7) - 1);
	expect_report(test, NULL, 3, 7);
	expect_report(test, access, 5, 7);
	expect_report(test, NULL, 0, 0);
	/* What stands for a device that logs cannot be taken away */
	iommufd_dirty_lock(iopt());
	iopt()->dirty.allowed = BIT(IOMMU_DIRTY_PROVIDER_IOMMU);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, iommufd_dirty_update(iopt()));
	iopt()->dirty.allowed = 0;
	KUNIT_EXPECT_EQ(test, 0, iommufd_dirty_update(iopt()));
	iommufd_dirty_unlock(iopt());

	/* It ends with the attachment */
	mutex_lock(&igroup->lock);
	iommufd_dirty_detach(&fix->hwpt[0].common, idev, 0);
	mutex_unlock(&igroup->lock);
	KUNIT_EXPECT_NULL(test, idev->dirty_logging);
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommufd_dirty_logging_report(idev, NULL, BASE, PAGE_SIZE,
						     PAGE_SIZE,
						     (void __user *)fix->user));
	iommufd_dirty_logging_stop(NULL, access);
	iommufd_dirty_logging_stop(NULL, access);
	KUNIT_EXPECT_NULL(test, access->dirty_logging);
}

/* Nobody knows what the device writes, so nobody says so */
static void does_not_log(struct kunit *test)
{
	struct iommufd_group *igroup = kunit_kzalloc(test, sizeof(*igroup),
						     GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, igroup);
	mutex_init(&igroup->lock);
	fix->idev.igroup = igroup;
	KUNIT_ASSERT_EQ(test, 0, attach(0));
	KUNIT_EXPECT_FALSE(test, iommufd_dirty_can_log(&fix->idev));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			iommufd_dirty_logging_start(&fix->idev, NULL));
	KUNIT_EXPECT_TRUE(test, list_empty(&iopt()->dirty.readers));
	mutex_lock(&igroup->lock);
	iommufd_dirty_detach(&fix->hwpt[0].common, &fix->idev, 0);
	mutex_unlock(&igroup->lock);
}

/* ---- Standing still ---- */

static bool fake_is_still(void *data)
{
	return fix->still;
}

static void begin_untracked(struct kunit *test)
{
	struct iommufd_group *igroup = kunit_kzalloc(test, sizeof(*igroup),
						     GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, igroup);
	mutex_init(&igroup->lock);
	fix->idev.igroup = igroup;
	iommufd_device_set_still(&fix->idev, fake_is_still, NULL);
	iopt()->dirty.allowed = BIT(IOMMU_DIRTY_PROVIDER_ALL);
	KUNIT_ASSERT_EQ(test, 0, attach(0));
	KUNIT_ASSERT_EQ(test, 0, start(0));
	expect(test, 0, 0, MAPPED);
}

/* @rc: what it is told before its state changes to @still, then it does not */
static void change(struct kunit *test, bool still, int rc)
{
	KUNIT_EXPECT_EQ(test, rc,
			iommufd_dirty_state_begin(&fix->idev, !still));
	if (!rc)
		fix->still = still;
	iommufd_dirty_state_end(&fix->idev);
}

static int allow(u32 allowed)
{
	int rc;

	iommufd_dirty_lock(iopt());
	iopt()->dirty.allowed = allowed;
	rc = iommufd_dirty_update(iopt());
	iommufd_dirty_unlock(iopt());
	return rc;
}

static void stands_still(struct kunit *test)
{
	begin_untracked(test);
	change(test, false, 0);
	expect(test, 0, 0, MAPPED);
	/* What it wrote before, once */
	change(test, true, 0);
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, 0);
	change(test, true, 0);
	expect(test, 0, 0, 0);
	/* It counts before it runs */
	KUNIT_EXPECT_EQ(test, 0, iommufd_dirty_state_begin(&fix->idev, true));
	expect(test, 0, 0, MAPPED);
	/* and no more when it did not come to that */
	iommufd_dirty_state_end(&fix->idev);
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, lost());

	/* Nobody may stand for it: it cannot run */
	KUNIT_EXPECT_EQ(test, 0, allow(BIT(IOMMU_DIRTY_PROVIDER_IOMMU)));
	change(test, false, -EBUSY);
	expect(test, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, 0, allow(BIT(IOMMU_DIRTY_PROVIDER_ALL)));
	expect(test, 0, 0, 0);
	change(test, false, 0);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			allow(BIT(IOMMU_DIRTY_PROVIDER_IOMMU)));
	KUNIT_EXPECT_EQ(test, 0, allow(BIT(IOMMU_DIRTY_PROVIDER_ALL)));
	expect(test, 0, 0, MAPPED);
	KUNIT_EXPECT_EQ(test, 0, lost());
}

/* By a reset, without a word */
static void is_woken(struct kunit *test)
{
	begin_untracked(test);
	change(test, true, 0);
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, 0);
	fix->still = false;
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, MAPPED);
	KUNIT_EXPECT_EQ(test, 1, lost());
	change(test, true, 0);
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, 0);
	/* Nobody looked before it stood still again */
	fix->still = false;
	change(test, true, 0);
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, 2, lost());

	/* Nobody may stand for it */
	KUNIT_EXPECT_EQ(test, 0, allow(BIT(IOMMU_DIRTY_PROVIDER_IOMMU)));
	fix->still = false;
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, MAPPED);
	KUNIT_EXPECT_EQ(test, 4, lost());
	change(test, true, 0);
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, 0);
	fix->still = false;
	/* What was unmapped before anybody looked */
	iommufd_dirty_unmap_flushed(iopt(), page(3), page(5) - 1);
	fix->still = true;
	expect(test, 0, 3, 5);
	fix->still = false;
	iommufd_dirty_detach(&fix->hwpt[0].common, &fix->idev, 0);
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, 0);
}

/* Who is exact goes on standing for it: there is nothing to be started again */
static void stands_still_and_tracks(struct kunit *test)
{
	struct iommufd_group *igroup = kunit_kzalloc(test, sizeof(*igroup),
						     GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, igroup);
	mutex_init(&igroup->lock);
	fix->idev.igroup = igroup;
	iommufd_device_set_still(&fix->idev, fake_is_still, NULL);
	begin(test, &pull_ops);
	dma(3, 5);
	change(test, true, 0);
	expect(test, 0, 3, 5);
	expect(test, 0, 0, 0);
	change(test, false, 0);
	dma(7, 8);
	expect(test, 0, 7, 8);
	KUNIT_EXPECT_EQ(test, 1, fix->starts);
	KUNIT_EXPECT_EQ(test, 0, lost());
}

/* Where the guest translates first, the device knows others' addresses */
static void is_nested(struct kunit *test)
{
	struct iommufd_hwpt_nested *nested = kunit_kzalloc(test, sizeof(*nested),
							   GFP_KERNEL);
	struct iommufd_hw_pagetable *parent = &fix->hwpt[0].common;

	KUNIT_ASSERT_NOT_NULL(test, nested);
	nested->common.obj.type = IOMMUFD_OBJ_HWPT_NESTED;
	nested->parent = &fix->hwpt[0];
	KUNIT_EXPECT_TRUE(test, iommufd_dirty_same_way(parent, parent));
	KUNIT_EXPECT_FALSE(test, iommufd_dirty_same_way(parent,
							&nested->common));
	begin(test, &pull_ops);
	dma(3, 5);
	expect(test, 0, 3, 5);

	/* As replacing one by the other does: nobody else could stand for it */
	KUNIT_EXPECT_EQ(test, -EINVAL, iommufd_dirty_attach(&nested->common,
							    &fix->idev, 0));
	iopt()->dirty.allowed = BIT(IOMMU_DIRTY_PROVIDER_DEVICE) |
				BIT(IOMMU_DIRTY_PROVIDER_ALL);
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_attach(&nested->common,
						      &fix->idev, 0));
	iommufd_dirty_detach(parent, &fix->idev, 0);
	KUNIT_EXPECT_FALSE(test, fix->on);
	expect(test, 0, 0, MAPPED);
	expect(test, 0, 0, MAPPED);

	KUNIT_ASSERT_EQ(test, 0, attach(0));
	iommufd_dirty_detach(&nested->common, &fix->idev, 0);
	KUNIT_EXPECT_TRUE(test, fix->on);
	expect(test, 0, 0, MAPPED);
	dma(7, 8);
	expect(test, 0, 7, 8);
}

static struct kunit_case device_test_cases[] = {
	KUNIT_CASE(reads_and_clears),
	KUNIT_CASE(crosses_areas),
	KUNIT_CASE(has_room),
	KUNIT_CASE(lies_low),
	KUNIT_CASE(starts_anew),
	KUNIT_CASE_SLOW(is_scattered),
	KUNIT_CASE(has_no_room),
	KUNIT_CASE(fails),
	KUNIT_CASE(unmaps),
	KUNIT_CASE(unmaps_and_fails),
	KUNIT_CASE(two_readers),
	KUNIT_CASE(tells_what_it_tells_apart),
	KUNIT_CASE(pushes),
	KUNIT_CASE(both_log),
	KUNIT_CASE(does_not_log),
	KUNIT_CASE(stands_still),
	KUNIT_CASE(is_woken),
	KUNIT_CASE(stands_still_and_tracks),
	KUNIT_CASE(is_nested),
	{}
};

static struct kunit_suite device_test_suite = {
	.name = "iommufd_dirty_device",
	.init = device_test_init,
	.exit = device_test_exit,
	.test_cases = device_test_cases,
};
kunit_test_suite(device_test_suite);
