// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit: what it costs to mark a page dirty in a log
 *
 * Of each run it says what was seen, in ps, and fails only when bits are missing:
 * machines that tests run on are noisy.  bench/logs measures with it.  All of the
 * way is measured, from what an access calls when it has written a page to the bit.
 */
#include <kunit/test.h>
#include <linux/bitmap.h>
#include <linux/completion.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/sizes.h>
#include <linux/sort.h>

#include "../io_pagetable.h"
#include "dirty.h"

#define BASE	SZ_1G
#define BATCH	1024U		/* pages between looks at the clock: two lines */
#define NR	(8 * BATCH)	/* pages that one CPU marks */
#define ROUNDS	64U
#define TIMES	(ROUNDS * NR / BATCH)

struct fixture {
	struct iommufd_ioas ioas;
	struct iopt_area area;
	struct iopt_pages pages;
	struct iommufd_dirty_log log;
	struct iommufd_dirty_feed feed;
	atomic_t waiting;
};

/**
 * struct marker - one CPU's part
 * @fix: what is marked
 * @first: the first of its pages
 * @ps: what a page took, for each batch
 * @done: it is through
 */
struct marker {
	struct fixture *fix;
	unsigned int first;
	u64 ps[TIMES];
	struct completion done;
};

static unsigned long page(unsigned int i)
{
	return BASE + (unsigned long)i * PAGE_SIZE;
}

/* A log of all pages that two CPUs mark, over an IOAS that maps them */
static struct fixture *make_log(struct kunit *test, u32 flags)
{
	struct fixture *fix = kunit_kzalloc(test, sizeof(*fix), GFP_KERNEL);
	struct io_pagetable *iopt;
	struct iommufd_dirty_log *log;

	KUNIT_ASSERT_NOT_NULL(test, fix);
	iopt = &fix->ioas.iopt;
	init_rwsem(&iopt->iova_rwsem);
	init_rwsem(&iopt->domains_rwsem);
	iopt->area_itree = RB_ROOT_CACHED;
	xa_init(&iopt->access_list);
	KUNIT_ASSERT_EQ(test, 0, iommufd_dirty_init(iopt));

	/* Memory from address 0 on of a process that there is not */
	fix->pages.type = IOPT_ADDRESS_USER;
	fix->area.node.start = page(0);
	fix->area.node.last = page(2 * NR) - 1;
	fix->area.pages = &fix->pages;
	fix->area.iommu_prot = IOMMU_READ | IOMMU_WRITE;
	fix->area.iopt = iopt;
	interval_tree_insert(&fix->area.node, &iopt->area_itree);

	log = &fix->log;
	mutex_init(&log->lock);
	INIT_LIST_HEAD(&log->feeds);
	log->flags = flags;
	log->start = flags == IOMMU_DIRTY_LOG_IOVA ? BASE : 0;
	log->length = 2UL * NR * PAGE_SIZE;
	log->shift = PAGE_SHIFT;
	KUNIT_ASSERT_EQ(test, 0, dirty_log_bits_alloc(&log->bits, 2 * NR));
	scoped_guard(mutex, &log->lock)
		KUNIT_ASSERT_EQ(test, 0,
				dirty_feed_start(&fix->feed, log, iopt));
	return fix;
}

static void destroy_log(struct fixture *fix)
{
	scoped_guard(mutex, &fix->log.lock)
		dirty_feed_stop(&fix->feed);
	dirty_log_bits_free(&fix->log.bits);
	iommufd_dirty_destroy(&fix->ioas.iopt);
}

static void mark_batch(struct fixture *fix, unsigned int first)
{
	unsigned int i;

	for (i = first; i != first + BATCH; i++)
		iommufd_dirty_access_wrote(&fix->ioas.iopt, page(i),
					   page(i + 1) - 1);
}

/* Each round marks pages that are clean, in lines that are not */
static void mark_rounds(struct marker *marker)
{
	unsigned long *bits = marker->fix->log.bits.bits;
	unsigned int i, first;
	u64 ns;

	for (i = 0; i != TIMES; i++) {
		first = marker->first + i * BATCH % NR;
		bitmap_clear(bits, first, BATCH);
		ns = ktime_get_ns();
		mark_batch(marker->fix, first);
		marker->ps[i] = (ktime_get_ns() - ns) * 1000 / BATCH;
	}
}

static int less(const void *a, const void *b)
{
	return *(const u64 *)a < *(const u64 *)b ? -1 : 1;
}

static u64 median(struct marker *marker)
{
	sort(marker->ps, TIMES, sizeof(u64), less, NULL);
	return marker->ps[TIMES / 2];
}

static struct marker *make_marker(struct kunit *test, struct fixture *fix,
				  unsigned int first)
{
	struct marker *marker = kunit_kzalloc(test, sizeof(*marker),
					      GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, marker);
	marker->fix = fix;
	marker->first = first;
	init_completion(&marker->done);
	return marker;
}

/* All that were marked are set, and have the summary's bit */
static void expect_marked(struct kunit *test, struct fixture *fix,
			  unsigned int nr)
{
	const struct dirty_log_bits *bits = &fix->log.bits;

	KUNIT_EXPECT_EQ(test, nr, bitmap_weight(bits->bits, bits->nr));
	KUNIT_EXPECT_EQ(test, nr / 512,
			bitmap_weight(bits->summary, bits->nr / 512));
}

static void one_cpu(struct kunit *test, u32 flags)
{
	struct fixture *fix = make_log(test, flags);
	struct marker *marker = make_marker(test, fix, 0);

	mark_rounds(marker);
	kunit_info(test, "%llu ps a page\n", median(marker));
	expect_marked(test, fix, NR);
	destroy_log(fix);
}

static void mark_by_iova(struct kunit *test)
{
	one_cpu(test, IOMMU_DIRTY_LOG_IOVA);
}

static void mark_by_memory(struct kunit *test)
{
	one_cpu(test, IOMMU_DIRTY_LOG_USER);
}

static int mark_thread(void *data)
{
	struct marker *marker = data;

	/* Neither begins before the other one runs */
	atomic_dec(&marker->fix->waiting);
	while (atomic_read(&marker->fix->waiting))
		cpu_relax();
	mark_rounds(marker);
	complete(&marker->done);
	return 0;
}

/* Two CPUs, each marks pages whose bits are in cache lines of its own */
static void mark_by_two_cpus(struct kunit *test)
{
	struct task_struct *thread[2];
	struct marker *marker[2];
	struct fixture *fix;
	unsigned int i, cpu;

	if (num_online_cpus() < 2)
		kunit_skip(test, "there is one CPU");
	fix = make_log(test, IOMMU_DIRTY_LOG_IOVA);
	atomic_set(&fix->waiting, 2);
	cpu = cpumask_first(cpu_online_mask);
	for (i = 0; i != 2; i++) {
		marker[i] = make_marker(test, fix, i * NR);
		thread[i] = kthread_create_on_cpu(mark_thread, marker[i], cpu,
						  "mark/%u");
		KUNIT_ASSERT_FALSE(test, IS_ERR(thread[i]));
		cpu = cpumask_next(cpu, cpu_online_mask);
	}
	for (i = 0; i != 2; i++)
		wake_up_process(thread[i]);
	for (i = 0; i != 2; i++) {
		wait_for_completion(&marker[i]->done);
		kunit_info(test, "%llu ps a page\n", median(marker[i]));
	}
	expect_marked(test, fix, 2 * NR);
	destroy_log(fix);
}

static struct kunit_case mark_test_cases[] = {
	KUNIT_CASE(mark_by_iova),
	KUNIT_CASE(mark_by_memory),
	KUNIT_CASE(mark_by_two_cpus),
	{}
};

static struct kunit_suite mark_test_suite = {
	.name = "iommufd_dirty_mark",
	.test_cases = mark_test_cases,
};
kunit_test_suite(mark_test_suite);
