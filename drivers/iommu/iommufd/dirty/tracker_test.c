// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the tracker: readers and coverage over providers that are fake
 *
 * A fake provider is a byte for each page, which the test sets as a device would.
 * What readers are given must equal what was set since they were last given it.
 */
#include <kunit/test.h>
#include <linux/interval_tree.h>
#include <linux/ktime.h>
#include <linux/mman.h>
#include <linux/prandom.h>
#include <linux/sizes.h>
#include <linux/uaccess.h>

#include "../io_pagetable.h"
#include "dirty.h"

#define BASE	SZ_1G
#define NR	1000U		/* pages from BASE on that tests look at */
#define HOLE	400U		/* first page of those that are not mapped */
#define BEHIND	500U		/* first page after them */

struct fake {
	struct iommufd_dirty_provider *provider;
	u8 dirty[NR];
	int start_rc;
	int collect_rc;
	unsigned int began;	/* value of the clock at the last start, or 0 */
	unsigned int ended;	/* the same of the last stop */
};

struct fixture {
	struct iommufd_ioas ioas;
	struct iommufd_hwpt_paging hwpt[2];
	struct iommufd_device idev[2];
	struct iopt_area area[2];
	struct iommufd_dirty_provider device;
	struct fake iommu[2];
	struct fake own;	/* behind @device */
	struct iommufd_dirty_reader reader[2];
	unsigned int clock;
	unsigned long user;
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

static struct fake *to_fake(struct iommufd_dirty_provider *provider)
{
	if (provider == &fix->device)
		return &fix->own;
	return &fix->iommu[provider == &fix->hwpt[1].dirty.iommu];
}

/* ---- Fake providers ---- */

static int fake_start(struct io_pagetable *unused,
		      struct iommufd_dirty_provider *provider)
{
	struct fake *fake = to_fake(provider);

	if (fake->start_rc)
		return fake->start_rc;
	memset(fake->dirty, 0, NR);
	fake->began = ++fix->clock;
	return 0;
}

static void fake_stop(struct io_pagetable *unused,
		      struct iommufd_dirty_provider *provider)
{
	to_fake(provider)->ended = ++fix->clock;
}

static int fake_collect(struct io_pagetable *iopt,
			struct iommufd_dirty_provider *provider,
			unsigned long iova, unsigned long last, bool clear)
{
	struct fake *fake = to_fake(provider);
	unsigned int i;

	if (fake->collect_rc)
		return fake->collect_rc;
	for (i = 0; i != NR; i++) {
		if (!fake->dirty[i] || page(i) < iova || page(i) > last)
			continue;
		iommufd_dirty_record(&iopt->dirty, provider, page(i),
				     page(i + 1) - 1);
		if (clear)
			fake->dirty[i] = 0;
	}
	return 0;
}

static const struct iommufd_dirty_provider_ops fake_iommu_ops = {
	.name = "fake iommu",
	.type = IOMMU_DIRTY_PROVIDER_IOMMU,
	.start = fake_start,
	.stop = fake_stop,
	.collect = fake_collect,
};

static const struct iommufd_dirty_provider_ops fake_device_ops = {
	.name = "fake device",
	.type = IOMMU_DIRTY_PROVIDER_DEVICE,
	.start = fake_start,
	.stop = fake_stop,
	.collect = fake_collect,
};

static void make_fake(struct iommufd_dirty_provider *provider,
		      const struct iommufd_dirty_provider_ops *ops,
		      struct iommufd_hwpt_paging *hwpt)
{
	to_fake(provider)->provider = provider;
	provider->ops = ops;
	provider->hwpt = hwpt;
	provider->exact = true;
	provider->shift = PAGE_SHIFT;
	provider->granule_min = PAGE_SIZE;
	provider->granule_max = SZ_2M;
	iommufd_dirty_provider_add(iopt(), provider);
}

/* ---- Fixture ---- */

static void insert_area(unsigned int i, unsigned int first, unsigned int end)
{
	struct iopt_area *area = &fix->area[i];

	area->node.start = page(first);
	area->node.last = page(end) - 1;
	area->pages = ERR_PTR(-EINVAL);	/* mapped, and nobody looks into it */
	area->iommu_prot = IOMMU_READ | IOMMU_WRITE;
	area->iopt = iopt();
	down_write(&iopt()->iova_rwsem);
	interval_tree_insert(&area->node, &iopt()->area_itree);
	up_write(&iopt()->iova_rwsem);
}

static void remove_area(unsigned int i)
{
	struct iopt_area *area = &fix->area[i];

	down_write(&iopt()->iova_rwsem);
	interval_tree_remove(&area->node, &iopt()->area_itree);
	up_write(&iopt()->iova_rwsem);
	area->pages = NULL;
}

static int tracker_test_init(struct kunit *test)
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
		struct iommufd_hwpt_paging *hwpt = &fix->hwpt[i];

		hwpt->ioas = &fix->ioas;
		hwpt->common.obj.id = 10 + i;
		hwpt->common.obj.type = IOMMUFD_OBJ_HWPT_PAGING;
		make_fake(&hwpt->dirty.iommu, &fake_iommu_ops, hwpt);
		/* There is a page table to read, see iommufd_dirty_attach() */
		hwpt->dirty.sink = ERR_PTR(-EINVAL);
		iommufd_dirty_all_init(&hwpt->dirty.all, hwpt);
		iommufd_dirty_provider_add(iopt(), &hwpt->dirty.all);
		fix->idev[i].obj.id = 20 + i;
		mutex_init(&fix->reader[i].lock);
	}
	insert_area(0, 0, HOLE);
	insert_area(1, BEHIND, NR);
	fix->user = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
				  PROT_READ | PROT_WRITE,
				  MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE(fix->user));
	return 0;
}

static void stop(unsigned int r)
{
	guard(mutex)(&fix->reader[r].lock);
	if (fix->reader[r].active)
		iommufd_dirty_reader_stop(iopt(), &fix->reader[r]);
}

static void tracker_test_exit(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i != 2; i++) {
		struct iommufd_dirty_attachment *at;
		struct hlist_node *next;

		stop(i);
		hlist_for_each_entry_safe(at, next, &fix->idev[i].dirty_attached,
					  idev_node)
			iommufd_dirty_detach(&at->hwpt->common, at->idev,
					     at->pasid);
	}
	for (i = 0; i != 2; i++) {
		iommufd_dirty_provider_remove(iopt(), &fix->hwpt[i].dirty.iommu);
		iommufd_dirty_provider_remove(iopt(), &fix->hwpt[i].dirty.all);
	}
	if (fix->device.ops)
		iommufd_dirty_provider_remove(iopt(), &fix->device);
	iommufd_dirty_destroy(iopt());
}

/* ---- What tests do ---- */

static int start(unsigned int r, struct iommufd_hwpt_paging *hwpt)
{
	guard(mutex)(&fix->reader[r].lock);
	return iommufd_dirty_reader_start(iopt(), &fix->reader[r], hwpt,
					  PAGE_SHIFT);
}

static void read_raw(struct kunit *test, unsigned int r, bool clear, u8 *got)
{
	struct dirty_user_bitmap user = {
		.iova = BASE,
		.last = page(NR) - 1,
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
							  &user, clear));
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(bits, (void __user *)fix->user,
						sizeof(bits)));
	for (i = 0; i != NR; i++)
		got[i] = !!(bits[i / 8] & BIT(i % 8));
}

/* Reader @r is given [@first, @end) and nothing else */
static void expect(struct kunit *test, unsigned int r, bool clear,
		   unsigned int first, unsigned int end)
{
	u8 *got = kunit_kzalloc(test, 2 * NR, GFP_KERNEL);
	u8 *want = got + NR;

	KUNIT_ASSERT_NOT_NULL(test, got);
	memset(want + first, 1, end - first);
	read_raw(test, r, clear, got);
	KUNIT_EXPECT_EQ(test, 0, memcmp(got, want, NR));
	kunit_kfree(test, got);
}

static void expect_none(struct kunit *test, unsigned int r)
{
	expect(test, r, true, 0, 0);
}

/* All that is mapped, and not the hole */
static void expect_all(struct kunit *test, unsigned int r)
{
	u8 *got = kunit_kzalloc(test, 2 * NR, GFP_KERNEL);
	u8 *want = got + NR;

	KUNIT_ASSERT_NOT_NULL(test, got);
	memset(want, 1, NR);
	memset(want + HOLE, 0, BEHIND - HOLE);
	read_raw(test, r, true, got);
	KUNIT_EXPECT_EQ(test, 0, memcmp(got, want, NR));
	kunit_kfree(test, got);
}

static void dma(struct fake *fake, unsigned int first, unsigned int end)
{
	memset(fake->dirty + first, 1, end - first);
}

static int attach(unsigned int device, unsigned int hwpt)
{
	return iommufd_dirty_attach(&fix->hwpt[hwpt].common, &fix->idev[device],
				    0);
}

static void detach(unsigned int device, unsigned int hwpt)
{
	iommufd_dirty_detach(&fix->hwpt[hwpt].common, &fix->idev[device], 0);
}

static struct iommufd_dirty_attachment *attached(unsigned int device)
{
	return hlist_entry_safe(fix->idev[device].dirty_attached.first,
				struct iommufd_dirty_attachment, idev_node);
}

static int update(void)
{
	int rc;

	iommufd_dirty_lock(iopt());
	rc = iommufd_dirty_update(iopt());
	iommufd_dirty_unlock(iopt());
	return rc;
}

static int allow(u32 allowed)
{
	iopt()->dirty.allowed = allowed;
	return update();
}

static enum iommu_dirty_provider does(unsigned int device)
{
	return attached(device)->does ? attached(device)->does->ops->type :
					IOMMU_DIRTY_PROVIDER_NONE;
}

#define IOMMU	BIT(IOMMU_DIRTY_PROVIDER_IOMMU)
#define DEVICE	BIT(IOMMU_DIRTY_PROVIDER_DEVICE)
#define ALL	BIT(IOMMU_DIRTY_PROVIDER_ALL)

/* Gives device @device a tracker of its own */
static void add_own(unsigned int device)
{
	make_fake(&fix->device, &fake_device_ops, attached(device)->hwpt);
	attached(device)->can[IOMMU_DIRTY_PROVIDER_DEVICE] = &fix->device;
}

/* ---- Readers ---- */

static void reads_what_was_written(struct kunit *test)
{
	dma(&fix->iommu[0], 0, NR);	/* before anybody reads */
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	expect_none(test, 0);
	dma(&fix->iommu[0], 63, 65);
	expect(test, 0, false, 63, 65);
	expect(test, 0, true, 63, 65);
	expect_none(test, 0);
	dma(&fix->iommu[0], BEHIND, NR);
	expect(test, 0, true, BEHIND, NR);
	stop(0);
	KUNIT_EXPECT_GT(test, fix->iommu[0].ended, fix->iommu[0].began);
}

static void no_reader_steals(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	dma(&fix->iommu[0], 1, 4);
	/* The second starts clean, and takes nothing from the first */
	KUNIT_ASSERT_EQ(test, 0, start(1, NULL));
	expect_none(test, 1);
	expect(test, 0, true, 1, 4);

	dma(&fix->iommu[0], 7, 9);
	expect(test, 1, true, 7, 9);
	expect(test, 0, true, 7, 9);
	/* One goes, the provider stays with the other */
	stop(0);
	dma(&fix->iommu[0], 2, 3);
	expect(test, 1, true, 2, 3);
	KUNIT_EXPECT_EQ(test, 0, fix->iommu[0].ended);
}

static void reads_only_its_own(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	KUNIT_ASSERT_EQ(test, 0, start(1, &fix->hwpt[1]));
	dma(&fix->iommu[0], 5, 6);
	dma(&fix->iommu[1], 6, 8);
	expect(test, 1, true, 6, 8);
	expect(test, 0, true, 5, 6);
	expect_none(test, 0);
	expect_none(test, 1);
}

static void any_pattern(struct kunit *test)
{
	u8 *want = kunit_kzalloc(test, 2 * NR, GFP_KERNEL);
	u8 *got = want + NR;
	struct rnd_state rnd;
	unsigned int i, n, round;

	KUNIT_ASSERT_NOT_NULL(test, want);
	prandom_seed_state(&rnd, 7);
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	for (round = 0; round != 50; round++) {
		memset(want, 0, NR);
		for (n = prandom_u32_state(&rnd) % NR; n; n--) {
			i = prandom_u32_state(&rnd) % NR;
			if (i >= HOLE && i < BEHIND)
				continue;
			want[i] = 1;
			dma(&fix->iommu[0], i, i + 1);
		}
		read_raw(test, 0, true, got);
		KUNIT_ASSERT_EQ(test, 0, memcmp(got, want, NR));
	}
}

static void provider_goes(struct kunit *test)
{
	struct iommufd_dirty_provider *iommu = &fix->hwpt[0].dirty.iommu;

	KUNIT_ASSERT_EQ(test, 0, start(0, NULL));
	dma(&fix->iommu[0], 30, 33);
	iommufd_dirty_provider_remove(iopt(), iommu);
	KUNIT_EXPECT_GT(test, fix->iommu[0].ended, fix->iommu[0].began);
	dma(&fix->iommu[0], 40, 41);	/* nobody asks it any more */
	expect(test, 0, true, 30, 33);
	expect_none(test, 0);
	/* and comes back, clean */
	iommufd_dirty_provider_add(iopt(), iommu);
	KUNIT_ASSERT_EQ(test, 0, update());
	expect_none(test, 0);
	dma(&fix->iommu[0], 50, 51);
	expect(test, 0, true, 50, 51);
}

/* ---- Mappings ---- */

static void unmap_keeps_what_was_written(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	dma(&fix->iommu[0], 10, 20);
	down_write(&iopt()->iova_rwsem);
	iommufd_dirty_unmap(iopt(), page(0), page(HOLE) - 1);
	up_write(&iopt()->iova_rwsem);
	memset(fix->iommu[0].dirty, 0, NR);	/* gone with the page table */
	remove_area(0);
	iommufd_dirty_unmapped(iopt(), page(0), page(HOLE) - 1);
	expect(test, 0, true, 10, 20);
	expect_none(test, 0);
}

static void maps_while_read(struct kunit *test)
{
	remove_area(0);
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	insert_area(0, 0, HOLE);
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_map(&fix->area[0],
						   fix->area[0].pages));
	dma(&fix->iommu[0], 0, HOLE);
	expect(test, 0, true, 0, HOLE);
}

/* ---- Failures ---- */

static void failure_reports_all_once(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	dma(&fix->iommu[0], 3, 4);
	fix->iommu[0].collect_rc = -EIO;
	expect_all(test, 0);
	KUNIT_EXPECT_EQ(test, 1, atomic64_read(&iopt()->dirty.lost));
	KUNIT_EXPECT_EQ(test, 1, fix->hwpt[0].dirty.iommu.lost);
	fix->iommu[0].collect_rc = 0;
	expect(test, 0, true, 3, 4);
	expect_none(test, 0);
	KUNIT_EXPECT_EQ(test, 1, atomic64_read(&iopt()->dirty.lost));
}

static void start_fails(struct kunit *test)
{
	fix->iommu[0].start_rc = -EIO;
	KUNIT_EXPECT_EQ(test, -EIO, start(0, &fix->hwpt[0]));
	KUNIT_EXPECT_TRUE(test, list_empty(&iopt()->dirty.readers));
	KUNIT_EXPECT_FALSE(test, fix->hwpt[0].dirty.iommu.running);

	KUNIT_ASSERT_EQ(test, 0, attach(0, 0));
	KUNIT_EXPECT_EQ(test, -EIO, start(0, &fix->hwpt[0]));
	/* Where something else may stand for the device, it does */
	KUNIT_ASSERT_EQ(test, 0, allow(IOMMU | ALL));
	KUNIT_EXPECT_EQ(test, 0, start(0, &fix->hwpt[0]));
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_ALL, does(0));
	expect_all(test, 0);
	/* And the next time somebody asks, it is tried again */
	fix->iommu[0].start_rc = 0;
	KUNIT_ASSERT_EQ(test, 0, update());
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_IOMMU, does(0));
}

/* ---- Coverage ---- */

static void exact_comes_first(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, attach(0, 0));
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_IOMMU, does(0));
	add_own(0);
	/* By granule, then by rating, and not before any of them by policy */
	fix->device.granule_max = PAGE_SIZE;
	KUNIT_EXPECT_EQ(test, 0, allow(IOMMU | DEVICE | ALL));
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_DEVICE, does(0));
	fix->device.granule_max = SZ_2M;
	fix->device.rating = -1;
	KUNIT_EXPECT_EQ(test, 0, update());
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_IOMMU, does(0));
	fix->device.rating = 1;
	KUNIT_EXPECT_EQ(test, 0, update());
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_DEVICE, does(0));
	fix->device.granule_max = SZ_1G;
	KUNIT_EXPECT_EQ(test, 0, update());
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_IOMMU, does(0));
	fix->device.granule_max = 0;	/* all of a mapping */
	KUNIT_EXPECT_EQ(test, 0, update());
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_IOMMU, does(0));
	fix->device.granule_max = PAGE_SIZE;
	fix->device.exact = false;
	KUNIT_EXPECT_EQ(test, 0, update());
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_IOMMU, does(0));
	fix->device.exact = true;
	KUNIT_EXPECT_EQ(test, 0, allow(DEVICE | ALL));
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_DEVICE, does(0));
	KUNIT_EXPECT_EQ(test, 0, allow(ALL));
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_ALL, does(0));
	/* The device's own policy comes before that of the IOAS */
	fix->idev[0].dirty_allowed = IOMMU;
	KUNIT_EXPECT_EQ(test, 0, update());
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_IOMMU, does(0));
	fix->idev[0].dirty_allowed = 0;
}

static void uncovered_is_refused(struct kunit *test)
{
	struct iommufd_hwpt_paging *hwpt = &fix->hwpt[0];

	hwpt->dirty.sink = NULL;	/* an IOMMU that does not track */
	iommufd_dirty_provider_remove(iopt(), &hwpt->dirty.iommu);
	KUNIT_EXPECT_EQ(test, 0, attach(0, 0));
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_NONE, does(0));
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, start(0, hwpt));
	detach(0, 0);

	/* Allocated for dirty tracking: no device that nobody tracks */
	hwpt->dirty.asked = true;
	KUNIT_EXPECT_EQ(test, -EINVAL, attach(0, 0));
	KUNIT_EXPECT_TRUE(test, list_empty(&iopt()->dirty.attached));
	KUNIT_EXPECT_EQ(test, 0, allow(ALL));
	KUNIT_EXPECT_EQ(test, 0, attach(0, 0));
	KUNIT_EXPECT_EQ(test, 0, start(0, hwpt));
	/* What is needed cannot be taken away */
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, allow(IOMMU));
	KUNIT_EXPECT_EQ(test, 0, allow(ALL));
	expect_all(test, 0);
	iommufd_dirty_provider_add(iopt(), &hwpt->dirty.iommu);
}

static void all_reports_once_more(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, allow(ALL));
	KUNIT_ASSERT_EQ(test, 0, attach(0, 0));
	KUNIT_ASSERT_EQ(test, 0, attach(1, 0));
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	KUNIT_EXPECT_EQ(test, 0, fix->iommu[0].began);
	expect_all(test, 0);
	expect_all(test, 0);
	fix->area[1].iommu_prot = IOMMU_READ;	/* no device can write there */
	expect(test, 0, true, 0, HOLE);
	fix->area[1].iommu_prot |= IOMMU_WRITE;
	/* One goes; what it wrote until then is known by the other's */
	detach(0, 0);
	expect_all(test, 0);
	detach(1, 0);
	expect_all(test, 0);
	expect_none(test, 0);
}

/* The last device of several leaves all that it may have written behind */
static void all_reports_who_goes(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, allow(ALL));
	KUNIT_ASSERT_EQ(test, 0, attach(0, 0));
	KUNIT_ASSERT_EQ(test, 0, attach(1, 0));
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	detach(0, 0);
	fix->idev[1].dirty_allowed = IOMMU;	/* now nothing is all dirty */
	KUNIT_ASSERT_EQ(test, 0, update());
	expect_all(test, 0);
	expect_none(test, 0);
	fix->idev[1].dirty_allowed = 0;
}

static void hands_over_without_a_gap(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, 0, attach(0, 0));
	add_own(0);
	KUNIT_ASSERT_EQ(test, 0, allow(IOMMU));
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	dma(&fix->iommu[0], 100, 120);

	KUNIT_ASSERT_EQ(test, 0, allow(DEVICE));
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_DEVICE, does(0));
	/* The new one began before the old one ended */
	KUNIT_EXPECT_LT(test, fix->own.began, fix->iommu[0].ended);
	KUNIT_EXPECT_NE(test, 0, fix->own.began);
	dma(&fix->own, 200, 201);
	dma(&fix->iommu[0], 300, 301);	/* nobody asks it any more */
	{
		u8 *got = kunit_kzalloc(test, 2 * NR, GFP_KERNEL);
		u8 *want = got + NR;

		KUNIT_ASSERT_NOT_NULL(test, got);
		memset(want + 100, 1, 20);
		want[200] = 1;
		read_raw(test, 0, true, got);
		KUNIT_EXPECT_EQ(test, 0, memcmp(got, want, NR));
	}

	/* One that cannot start does not take over */
	fix->iommu[0].start_rc = -EIO;
	KUNIT_EXPECT_EQ(test, -EIO, allow(IOMMU));
	KUNIT_ASSERT_EQ(test, 0, allow(DEVICE));
	KUNIT_EXPECT_EQ(test, 0, fix->own.ended);
	dma(&fix->own, 7, 8);
	expect(test, 0, true, 7, 8);
}

static void covers_each_device(struct kunit *test)
{
	/* Two devices, one HWPT, each with a provider of its own */
	KUNIT_ASSERT_EQ(test, 0, attach(0, 0));
	KUNIT_ASSERT_EQ(test, 0, attach(1, 0));
	add_own(0);
	fix->idev[0].dirty_allowed = DEVICE;
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_DEVICE, does(0));
	KUNIT_EXPECT_EQ(test, IOMMU_DIRTY_PROVIDER_IOMMU, does(1));
	dma(&fix->iommu[0], 11, 12);
	dma(&fix->own, 12, 13);
	expect(test, 0, true, 11, 13);
	/* The page table is left alone when nobody needs it */
	detach(1, 0);
	KUNIT_EXPECT_NE(test, 0, fix->iommu[0].ended);
	fix->idev[0].dirty_allowed = 0;
}

/* ---- Accesses ---- */

static void accesses_mark(struct kunit *test)
{
	struct iommufd_access *access = kunit_kzalloc(test, sizeof(*access),
						      GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, access);
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	KUNIT_ASSERT_EQ(test, 0, start(1, NULL));
	iommufd_dirty_access_wrote(iopt(), page(5) + 10, page(7));
	expect(test, 0, true, 5, 8);
	expect(test, 1, true, 5, 8);
	expect_none(test, 0);

	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_access_pin(iopt(), access,
							  page(20),
							  page(30) - 1, true));
	expect(test, 0, true, 20, 30);
	expect(test, 0, true, 20, 30);
	iommufd_dirty_access_unpin(iopt(), access, page(20), page(30) - 1);
	expect(test, 0, true, 20, 30);
	expect_none(test, 0);
	expect(test, 1, true, 20, 30);

	/* Pinned to be read; the driver says what it wrote after all */
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_access_pin(iopt(), access,
							  page(20),
							  page(30) - 1, false));
	expect_none(test, 0);
	access->ioas_unpin = &fix->ioas;
	iommufd_access_mark_dirty(access, page(25), 1);
	expect(test, 0, true, 25, 26);
	iommufd_dirty_access_unpin(iopt(), access, page(20), page(30) - 1);
	expect_none(test, 0);
}

/* A pin is known before it is known that it ends in a hole, or where nothing is */
static void accesses_pin_what_is_not_there(struct kunit *test)
{
	struct iommufd_access *access = kunit_kzalloc(test, sizeof(*access),
						      GFP_KERNEL);
	unsigned long last = page(NR) + SZ_64M;
	u8 *got = kunit_kzalloc(test, NR, GFP_KERNEL);
	unsigned int i;

	KUNIT_ASSERT_NOT_NULL(test, access);
	KUNIT_ASSERT_NOT_NULL(test, got);
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_access_pin(iopt(), access,
							  page(HOLE - 3), last,
							  true));
	read_raw(test, 0, true, got);
	for (i = 0; i != NR; i++)
		KUNIT_EXPECT_EQ(test, got[i],
				(i >= HOLE - 3 && i < HOLE) || i >= BEHIND);
	/* What must not be written is not, whoever asked for it */
	fix->area[1].iommu_prot = IOMMU_READ;
	expect(test, 0, true, HOLE - 3, HOLE);
	fix->area[1].iommu_prot |= IOMMU_WRITE;
	KUNIT_EXPECT_EQ(test, 0, atomic64_read(&iopt()->dirty.lost));
	iommufd_dirty_access_unpin(iopt(), access, page(HOLE - 3), last);
}

/* So much that a read has to make room for what it finds */
static void accesses_pin_much(struct kunit *test)
{
	struct iommufd_access *access = kunit_kzalloc(test, sizeof(*access),
						      GFP_KERNEL);
	struct iopt_area *area = kunit_kzalloc(test, sizeof(*area), GFP_KERNEL);
	struct dirty_user_bitmap user = {
		.iova = SZ_2G,
		.last = SZ_2G + SZ_1G - 1,
		.shift = ilog2(SZ_16M),
		.data = fix->user,
	};
	unsigned long bits;

	KUNIT_ASSERT_NOT_NULL(test, access);
	KUNIT_ASSERT_NOT_NULL(test, area);
	KUNIT_ASSERT_LT(test, page(NR), user.iova);
	*area = fix->area[0];
	area->node.start = user.iova;
	area->node.last = user.last;
	interval_tree_insert(&area->node, &iopt()->area_itree);
	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_access_pin(iopt(), access,
							  user.iova, user.last,
							  true));
	scoped_guard(mutex, &fix->reader[0].lock)
		KUNIT_EXPECT_EQ(test, 0,
				iommufd_dirty_reader_read(iopt(),
							  &fix->reader[0],
							  &user, true));
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(&bits, (void __user *)fix->user,
						sizeof(bits)));
	KUNIT_EXPECT_EQ(test, bits, ~0UL);
	iommufd_dirty_access_unpin(iopt(), access, user.iova, user.last);
	interval_tree_remove(&area->node, &iopt()->area_itree);
}

/* Not a test of speed: these machines are noisy.  It says what it saw. */
static void what_a_mark_costs(struct kunit *test)
{
	const unsigned int rounds = 200;
	unsigned int i, n;
	u64 ns;

	KUNIT_ASSERT_EQ(test, 0, start(0, &fix->hwpt[0]));
	ns = ktime_get_ns();
	for (n = 0; n != rounds; n++)
		for (i = 0; i != HOLE; i++)
			iommufd_dirty_access_wrote(iopt(), page(i),
						   page(i + 1) - 1);
	ns = ktime_get_ns() - ns;
	kunit_info(test, "%llu ps a page\n", ns * 1000 / (rounds * HOLE));
	expect(test, 0, true, 0, HOLE);
}

static struct kunit_case tracker_test_cases[] = {
	KUNIT_CASE(reads_what_was_written),
	KUNIT_CASE(no_reader_steals),
	KUNIT_CASE(reads_only_its_own),
	KUNIT_CASE(any_pattern),
	KUNIT_CASE(provider_goes),
	KUNIT_CASE(unmap_keeps_what_was_written),
	KUNIT_CASE(maps_while_read),
	KUNIT_CASE(failure_reports_all_once),
	KUNIT_CASE(start_fails),
	KUNIT_CASE(exact_comes_first),
	KUNIT_CASE(uncovered_is_refused),
	KUNIT_CASE(all_reports_once_more),
	KUNIT_CASE(all_reports_who_goes),
	KUNIT_CASE(hands_over_without_a_gap),
	KUNIT_CASE(covers_each_device),
	KUNIT_CASE(accesses_mark),
	KUNIT_CASE(accesses_pin_what_is_not_there),
	KUNIT_CASE(accesses_pin_much),
	KUNIT_CASE(what_a_mark_costs),
	{}
};

static struct kunit_suite tracker_test_suite = {
	.name = "iommufd_dirty_tracker",
	.init = tracker_test_init,
	.exit = tracker_test_exit,
	.test_cases = tracker_test_cases,
};
kunit_test_suite(tracker_test_suite);
