// SPDX-License-Identifier: GPL-2.0-only
/*
 * User space that does to its dirty log whatever it likes harms itself only
 *
 * One log's bits and summary are scribbled over, its mapping is made, cut up and
 * given up, it is synced over any range, and other logs come and go, all at once,
 * while a device writes and memory is mapped and unmapped. The kernel must have
 * nothing to say to that, and another log stays exact to the page.
 *
 * DIRTY_LOG_STRESS_SECONDS (8) are taken from the environment.
 */
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "dsim_user.h"
#include "log_user.h"

#define NAME		"log-stress"
#define DATA_SIZE	(1024 * SZ_4K)
#define EXTRA		NOWHERE_IOVA
#define EXTRA_PAGES	32U
#define THREADS		5

FIXTURE(stress)
{
	struct dsim dev;
	struct vm vm;
	struct shadow shadow;
	struct dlog exact;
	struct dlog extra;
};

static struct {
	struct vm *vm;
	struct dlog bad;		/* everybody's */
	struct iommu_dirty_log_alloc like;
	int stop;
	unsigned long scribbles;
	unsigned long syncs;
	unsigned long mappings;
	unsigned long logs;
	unsigned long errors;
} all;

static bool stopped(void)
{
	return __atomic_load_n(&all.stop, __ATOMIC_RELAXED);
}

static void count(unsigned long *n)
{
	__atomic_add_fetch(n, 1, __ATOMIC_RELAXED);
}

/* Whatever is wrong is told by the sum of errors, and by the first few of them */
static void must(const char *what, int rc)
{
	if (rc && __atomic_add_fetch(&all.errors, 1, __ATOMIC_RELAXED) < 10)
		ksft_print_msg("%s: %s\n", what, strerror(-rc));
}

static uint64_t below(uint64_t *seed, uint64_t n)
{
	return (rnd(seed) >> 20) % n;
}

static uint64_t garbage(uint64_t *seed)
{
	switch (below(seed, 4)) {
	case 0:
		return 0;
	case 1:
		return ~0ULL;
	default:
		return rnd(seed);
	}
}

static void scribble_once(const struct dlog *log, uint64_t *seed)
{
	uint64_t *word = log->bits + below(seed, log->size / 8);

	if (below(seed, 2))
		*(volatile uint64_t *)word = garbage(seed);
	else
		__atomic_exchange_n(word, garbage(seed), __ATOMIC_RELAXED);
}

static void *scribble(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	while (!stopped()) {
		for (int i = 0; i < 64; i++)
			scribble_once(&all.bad, &seed);
		count(&all.scribbles);
	}
	return NULL;
}

static void *sync_on(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	while (!stopped()) {
		struct iommu_dirty_log_sync cmd = {
			.flags = below(&seed, 4),
		};

		if (cmd.flags & IOMMU_DIRTY_LOG_SYNC_RANGE) {
			cmd.offset = below(&seed, all.like.length);
			cmd.length = 1 + below(&seed,
					       all.like.length - cmd.offset);
		}
		must("sync", dlog_sync_cmd(&all.bad, &cmd));
		/* it counts what it found clear, whatever was there */
		if (cmd.out_dirty > all.bad.nr || cmd.out_lost)
			must("answer of a sync", -ERANGE);
		count(&all.syncs);
	}
	return NULL;
}

/* The same log, mapped and unmapped by a part at a time */
static void *map_on(void *arg)
{
	uint64_t seed = (uintptr_t)arg;

	while (!stopped()) {
		struct dlog log = all.bad;
		size_t cut, rest;
		char *at;

		must("mmap", dlog_map(&log));
		for (int i = 0; i < 16; i++)
			scribble_once(&log, &seed);
		/* a page of it, then what is on either side: not what comes there */
		at = (char *)log.bits;
		cut = below(&seed, log.size / SZ_4K) * SZ_4K;
		rest = log.size - cut - SZ_4K;
		munmap(at + cut, SZ_4K);
		if (cut)
			munmap(at, cut);
		if (rest)
			munmap(at + cut + SZ_4K, rest);
		count(&all.mappings);
	}
	return NULL;
}

/* Logs of all kinds, that live for a moment */
static void *alloc_on(void *arg)
{
	int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	uint64_t seed = (uintptr_t)arg;

	while (!stopped()) {
		struct iommu_dirty_log_alloc cmd = all.like;
		struct dlog log;

		if (below(&seed, 2)) {
			cmd.flags = IOMMU_DIRTY_LOG_USER;
			cmd.ioas_id = 0;
			cmd.start = (uintptr_t)all.vm->area;
			cmd.length = all.vm->area_size;
		}
		if (below(&seed, 2)) {
			cmd.flags |= IOMMU_DIRTY_LOG_EVENTFD;
			cmd.eventfd = event;
			cmd.threshold = 1 + below(&seed, 100);
		}
		cmd.page_size <<= below(&seed, 12);
		must("alloc", dlog_open(&log, all.vm->iommufd, &cmd));
		if (!log.bits)
			continue;
		for (int i = 0; i < 16; i++)
			scribble_once(&log, &seed);
		if (below(&seed, 2))
			must("sync", dlog_sync(&log, NULL));
		must("destroy", dlog_close(&log));
		count(&all.logs);
	}
	close(event);
	return NULL;
}

FIXTURE_SETUP(stress)
{
	static const struct dsim_config config = { .format = "vtdss",
						   .page_sizes = SZ_4K };
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	size_t large;

	d->fd = -1;
	vm->iommufd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base())
		SKIP(return, "the base kernel has no dirty logs");
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, vm_alloc_memory(vm, DATA_SIZE, false));
	ASSERT_EQ(0, vm_learn_leaves(vm, SZ_4K, &large));
	ASSERT_EQ(0, dsim_create(d, NAME, &config));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				   &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, shadow_init(&self->shadow, vm));
	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, vm->ring));
}

FIXTURE_TEARDOWN(stress)
{
	shadow_free(&self->shadow);
	dlog_unmap(&all.bad);
	dlog_unmap(&self->exact);
	dlog_unmap(&self->extra);
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	if (self->dev.name[0]) {
		EXPECT_EQ(0, dsim_remove(NAME));
	}
}

static int random_writes(struct dsim *d, struct shadow *s, uint64_t *seed,
			 unsigned int n)
{
	while (n--) {
		struct dsim_desc desc = {
			.op = DSIM_OP_FILL,
			.len = 1 + below(seed, 2 * SZ_4K),
			.value = rnd(seed),
			.dst = DATA_IOVA + below(seed, DATA_SIZE - 3 * SZ_4K),
		};

		shadow_desc(s, d->tail, &desc);
		dsim_put(d, &desc);
	}
	return dsim_kick(d) ?: dsim_wait(d);
}

/* Pages that are mapped, written and unmapped: which ones, or an errno */
static int write_extra(struct dsim *d, struct shadow *s, uint64_t *seed,
		       uint64_t *want)
{
	struct vm *vm = s->vm;
	unsigned int first = below(seed, EXTRA_PAGES);
	unsigned int n = 1 + below(seed, EXTRA_PAGES - first);
	uint64_t iova = EXTRA + first * SZ_4K;
	struct dsim_desc desc = {
		.op = DSIM_OP_SCATTER,
		.dst = iova,
		.stride = SZ_4K,
		.count = n,
	};
	int rc;

	shadow_wrote(s, RING_IOVA + d->tail % RING_ENTRIES * sizeof(desc) +
		     offsetof(struct dsim_desc, status), 4);
	rc = vm_map(vm, iova, (uint8_t *)vm->ring + RING_BYTES, n * SZ_4K,
		    MAP_RW);
	if (rc)
		return rc;
	rc = dsim_run(d, &desc);
	if (rc != DSIM_DESC_DONE)
		return rc < 0 ? rc : -EIO;
	*want = (n == 64 ? ~0ULL : (1ULL << n) - 1) << first;
	return vm_unmap(vm, iova, n * SZ_4K);
}

TEST_F_TIMEOUT(stress, scribbled_over, LONG)
{
	const char *text = getenv("DIRTY_LOG_STRESS_SECONDS");
	unsigned long seconds = text ? strtoul(text, NULL, 0) : 8;
	static void *(*const work[THREADS])(void *) = {
		scribble, scribble, sync_on, map_on, alloc_on
	};
	unsigned long long end = now_ms() + seconds * 1000;
	struct shadow *s = &self->shadow;
	uint64_t seed = 0x9e3779b97f4a7c15ULL;
	struct vm *vm = &self->vm;
	pthread_t thread[THREADS];
	unsigned long rounds = 0;

	all.vm = vm;
	all.like = (struct iommu_dirty_log_alloc){
		.flags = IOMMU_DIRTY_LOG_IOVA,
		.ioas_id = vm->ioas,
		.start = s->start,
		.length = s->size,
		.page_size = SZ_4K,
	};
	ASSERT_EQ(0, dlog_open(&all.bad, vm->iommufd, &all.like));
	ASSERT_EQ(0, dlog_open(&self->exact, vm->iommufd, &all.like));
	all.like.start = EXTRA;
	all.like.length = EXTRA_PAGES * SZ_4K;
	ASSERT_EQ(0, dlog_open(&self->extra, vm->iommufd, &all.like));
	all.like.start = s->start;
	all.like.length = s->size;
	for (uintptr_t i = 0; i < THREADS; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, work[i],
					    (void *)(i + 1)));

	while (now_ms() < end && !_metadata->exit_code && !all.errors) {
		uint64_t want = 0, got = 0;

		EXPECT_EQ(0, random_writes(&self->dev, s, &seed,
					   below(&seed, 5)));
		EXPECT_EQ(0, write_extra(&self->dev, s, &seed, &want));
		dlog_take(&self->extra, &got);
		EXPECT_EQ(want, got);
		EXPECT_EQ(0, dlog_sync(&self->exact, NULL));
		memset(s->got, 0, s->words * 8);
		dlog_take(&self->exact, s->got);
		EXPECT_EQ(0, shadow_lost(s, NULL));
		EXPECT_EQ(0, shadow_extra(s, NULL));
		EXPECT_TRUE(dlog_is_clean(&self->exact));
		EXPECT_TRUE(dlog_is_clean(&self->extra));
		shadow_clean(s);
		rounds++;
	}
	__atomic_store_n(&all.stop, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	TH_LOG("%lu rounds, %lu scribbles, %lu syncs, %lu mappings, %lu logs",
	       rounds, 64 * all.scribbles, all.syncs, all.mappings, all.logs);
	EXPECT_TRUE(shadow_data_equal(s));
	EXPECT_EQ(0, all.errors);
	EXPECT_LT(0, rounds);
	EXPECT_LT(0, all.scribbles);
	EXPECT_LT(0, all.syncs);
	EXPECT_LT(0, all.mappings);
	EXPECT_LT(0, all.logs);
	EXPECT_EQ(0, dlog_close(&self->exact));
	EXPECT_EQ(0, dlog_close(&self->extra));
	EXPECT_EQ(0, dlog_close(&all.bad));
}

TEST_HARNESS_MAIN
