// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that stand still: in STOP, STOP_COPY and RESUMING a device that nobody
 * tracks does not count. It counts again before it can write, and when a reset
 * makes it run without a word nothing that it wrote is lost.
 */
#include <pthread.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "policy_user.h"
#include "log_user.h"

#define NAME	"selftest-still"
#define DIRTY	IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define PAGES	256
#define ONE_PAGE_IOVA	NOWHERE_IOVA

#define STOP		VFIO_DEVICE_STATE_STOP
#define RUNNING		VFIO_DEVICE_STATE_RUNNING
#define RUNNING_P2P	VFIO_DEVICE_STATE_RUNNING_P2P
#define STOP_COPY	VFIO_DEVICE_STATE_STOP_COPY
#define RESUMING	VFIO_DEVICE_STATE_RESUMING
#define PRE_COPY	VFIO_DEVICE_STATE_PRE_COPY

/* ---- A device that nobody tracks, on an HWPT that can be read ---- */

FIXTURE(still)
{
	struct dsim dev;
	struct vm vm;
	struct shadow shadow;
	void *page;
};

FIXTURE_SETUP(still)
{
	const struct dsim_config config = {
		.format = "vtdss", .page_sizes = SZ_4K, .no_ad = true,
		.precopy = true,
	};
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	size_t large;

	d->fd = -1;
	vm->iommufd = -1;
	vm->memfd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base())
		SKIP(return, "the base kernel refuses devices that nobody tracks");
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, dsim_create(d, NAME, &config));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_memory(vm, PAGES * SZ_4K, false));
	ASSERT_EQ(0, vm_learn_leaves(vm, SZ_4K, &large));
	self->page = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);
	ASSERT_EQ(0, shadow_init(&self->shadow, vm));
	ASSERT_EQ(0, set_policy(vm, vm->ioas, ALL));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, DIRTY, &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, vm->ring));
}

FIXTURE_TEARDOWN(still)
{
	shadow_free(&self->shadow);
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	if (self->page)
		munmap(self->page, SZ_4K);
	if (dsim_available() && !on_base())
		EXPECT_EQ(0, dsim_remove(NAME));
}

/* Whoever has it open is not asked */
static int bus_reset(void)
{
	return dsim_set(NAME, "reset", "1");
}

/* It writes to the page that is mapped alone; the oracle knows of the status */
static int dma_alone(struct dsim *d, struct shadow *s)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL, .dst = ONE_PAGE_IOVA, .len = 8, .value = 1,
	};
	struct dsim_desc nop = { .op = DSIM_OP_NOP };

	shadow_desc(s, d->tail, &nop);
	return dsim_run(d, &desc) == DSIM_DESC_DONE ? 0 : -EIO;
}

/* What one device that stands still looks like */
#define EXPECT_STILL(_vm, _d)                                                  \
	do {                                                                   \
		struct iommu_dirty_get_coverage cmd_;                          \
		struct iommu_dirty_device_coverage e_;                         \
		ASSERT_EQ(0, get_coverage(_vm, (_vm)->ioas, &cmd_, &e_));      \
		EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, cmd_.out_coverage);      \
		EXPECT_EQ(1, cmd_.out_granule_max);                            \
		EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, e_.coverage);            \
		EXPECT_EQ(IOMMU_DIRTY_PROVIDER_NONE, e_.provider);             \
		EXPECT_EQ(IOMMU_DIRTY_DEVICE_STILL, e_.flags);                 \
		ASSERT_EQ(0, get_coverage(_vm, (_d)->devid, NULL, &e_));       \
		EXPECT_EQ(IOMMU_DIRTY_DEVICE_STILL, e_.flags);                 \
	} while (0)

#define EXPECT_COUNTS(_vm, _coverage, _provider)                               \
	do {                                                                   \
		struct iommu_dirty_get_coverage cmd_;                          \
		struct iommu_dirty_device_coverage e_;                         \
		ASSERT_EQ(0, get_coverage(_vm, (_vm)->ioas, &cmd_, &e_));      \
		EXPECT_EQ(_coverage, cmd_.out_coverage);                       \
		EXPECT_EQ(_provider, e_.provider);                             \
		EXPECT_EQ(0, e_.flags);                                        \
	} while (0)

/* ---- States ---- */

TEST_F(still, all_until_it_stops)
{
	struct iommu_dirty_device_coverage e;
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	for (unsigned int i = 0; i < 3; i++) {
		EXPECT_COUNTS(vm, IOMMU_DIRTY_COVERAGE_ALL,
			      IOMMU_DIRTY_PROVIDER_ALL);
		ASSERT_EQ(0, dma_pages(d, s, 10 * i, 3));
		shadow_wrote_all(s);
		EXPECT_READ(s, vm->hwpt);
		/* P2P and PRE_COPY are states in which it writes */
		if (i == 1)
			ASSERT_EQ(0, dsim_mig_set(d, RUNNING_P2P, NULL));
		if (i == 2)
			ASSERT_EQ(0, dsim_mig_set(d, PRE_COPY, NULL));
		EXPECT_COUNTS(vm, IOMMU_DIRTY_COVERAGE_ALL,
			      IOMMU_DIRTY_PROVIDER_ALL);
		if (i != 1)
			ASSERT_EQ(0, dma_pages(d, s, 10 * i + 5, 1));
		/* what it wrote before it stopped, once, and then nothing */
		ASSERT_EQ(0, dsim_mig_set(d, i == 2 ? STOP_COPY : STOP, NULL));
		shadow_wrote_all(s);
		EXPECT_READ(s, vm->hwpt);
		EXPECT_READ(s, vm->hwpt);
		EXPECT_STILL(vm, d);
		ASSERT_EQ(0, dsim_mig_set(d, STOP_COPY, NULL));
		EXPECT_READ(s, vm->hwpt);
		EXPECT_STILL(vm, d);
		ASSERT_EQ(0, get_coverage(vm, d->devid, NULL, &e));
		EXPECT_EQ(IOMMU_DIRTY_REASON_STILL,
			  e.reasons[IOMMU_DIRTY_PROVIDER_ALL]);
		/* and what it writes when it runs again */
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
		ASSERT_EQ(0, dma_pages(d, s, 10 * i + 7, 1));
		shadow_wrote_all(s);
		EXPECT_READ(s, vm->hwpt);
	}
	ASSERT_EQ(0, dsim_mig_set(d, RESUMING, NULL));
	shadow_wrote_all(s);
	EXPECT_READ(s, vm->hwpt);
	EXPECT_READ(s, vm->hwpt);
	EXPECT_STILL(vm, d);
	EXPECT_EQ(0, get_lost(vm));
	EXPECT_TRUE(shadow_data_equal(s));
}

/* Policy has it that what nobody tracks cannot be read */
TEST_F(still, runs_only_unread)
{
	const uint32_t states[] = { RUNNING, RUNNING_P2P, PRE_COPY };
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, set_policy(vm, vm->ioas, INHERIT));
	EXPECT_COUNTS(vm, IOMMU_DIRTY_COVERAGE_NONE, IOMMU_DIRTY_PROVIDER_NONE);
	EXPECT_EQ(-EOPNOTSUPP, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, dma_pages(d, s, 1, 1));
	shadow_clean(s);
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	EXPECT_STILL(vm, d);
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	EXPECT_READ(s, vm->hwpt);
	for (unsigned int i = 0; i < ARRAY_LEN(states); i++) {
		EXPECT_EQ(-EBUSY, dsim_mig_set(d, states[i], NULL));
		EXPECT_EQ(STOP, dsim_mig_get(d));
		EXPECT_READ(s, vm->hwpt);
		EXPECT_STILL(vm, d);
	}
	EXPECT_EQ(0, dsim_mig_set(d, STOP_COPY, NULL));
	EXPECT_EQ(-EBUSY, dsim_mig_set(d, RUNNING, NULL));
	EXPECT_EQ(STOP_COPY, dsim_mig_get(d));
	EXPECT_READ(s, vm->hwpt);

	/* as soon as somebody stands for it */
	ASSERT_EQ(0, set_policy(vm, vm->ioas, ALL));
	EXPECT_READ(s, vm->hwpt);
	EXPECT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
	EXPECT_COUNTS(vm, IOMMU_DIRTY_COVERAGE_ALL, IOMMU_DIRTY_PROVIDER_ALL);
	ASSERT_EQ(0, dma_pages(d, s, 3, 1));
	shadow_wrote_all(s);
	EXPECT_READ(s, vm->hwpt);
	EXPECT_EQ(-EBUSY, set_policy(vm, vm->ioas, INHERIT));
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	EXPECT_EQ(0, set_policy(vm, vm->ioas, INHERIT));
	shadow_wrote_all(s);
	EXPECT_READ(s, vm->hwpt);

	/* or nobody reads */
	EXPECT_EQ(-EBUSY, dsim_mig_set(d, RUNNING, NULL));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	EXPECT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
	EXPECT_EQ(-EOPNOTSUPP, vm_track(vm, vm->hwpt, true));
	EXPECT_EQ(0, get_lost(vm));
}

/* What is attached while it stands still, and what is detached */
TEST_F(still, comes_and_goes)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, dsim_detach(d));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	EXPECT_STILL(vm, d);
	EXPECT_READ(s, vm->hwpt);
	ASSERT_EQ(0, dsim_detach(d));
	EXPECT_READ(s, vm->hwpt);
	/* what nobody may stand for is not attached to what is to be read */
	ASSERT_EQ(0, set_policy(vm, vm->ioas, INHERIT));
	EXPECT_EQ(-EINVAL, dsim_attach(d, vm->hwpt));
	ASSERT_EQ(0, set_policy(vm, vm->ioas, ALL));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
	ASSERT_EQ(0, dma_pages(d, s, 9, 1));
	shadow_wrote_all(s);
	EXPECT_READ(s, vm->hwpt);
	EXPECT_EQ(0, get_lost(vm));
}

/* A log of the IOAS is for all that is there */
TEST_F(still, log)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOMMU_DIRTY_LOG_IOVA,
		.ioas_id = self->vm.ioas,
		.start = DATA_IOVA,
		.length = PAGES * SZ_4K,
		.page_size = SZ_4K,
	};
	uint64_t bits[PAGES / 64] = {};
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	struct dlog log = {};

	ASSERT_EQ(0, set_policy(vm, vm->ioas, INHERIT));
	EXPECT_EQ(-EOPNOTSUPP, dlog_open(&log, vm->iommufd, &cmd));
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, dlog_open(&log, vm->iommufd, &cmd));
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	EXPECT_EQ(0, dlog_take(&log, bits));
	EXPECT_EQ(-EBUSY, dsim_mig_set(d, RUNNING, NULL));
	/* run by a reset */
	ASSERT_EQ(0, bus_reset());
	ASSERT_EQ(0, dsim_start(d, vm->ring));
	ASSERT_EQ(0, dma_pages(d, s, 9, 1));
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	EXPECT_EQ(PAGES, dlog_take(&log, bits));
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	EXPECT_EQ(PAGES, dlog_take(&log, bits));
	ASSERT_EQ(0, dlog_sync(&log, NULL));
	EXPECT_EQ(0, dlog_take(&log, bits));
	ASSERT_EQ(0, dlog_close(&log));
}

/* ---- Resets ---- */

/* Then it runs, and nobody said so */
static int reset_and_run(struct vm *vm, struct dsim *d, bool by_user)
{
	return (by_user ? dsim_reset(d) : bus_reset()) ?:
	       dsim_start(d, vm->ring);
}

TEST_F(still, is_reset)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	for (unsigned int i = 0; i < 6; i++) {
		EXPECT_READ(s, vm->hwpt);
		ASSERT_EQ(0, reset_and_run(vm, d, i % 2));
		ASSERT_EQ(0, dma_pages(d, s, 10 * i, 1));
		shadow_wrote_all(s);
		if (i / 2 == 0) {
			/* found by a read */
			EXPECT_READ(s, vm->hwpt);
			ASSERT_EQ(0, dma_pages(d, s, 10 * i + 1, 1));
			shadow_wrote_all(s);
		} else if (i / 2 == 1) {
			/* by who asks */
			EXPECT_COUNTS(vm, IOMMU_DIRTY_COVERAGE_ALL,
				      IOMMU_DIRTY_PROVIDER_ALL);
		}
		/* or when it stops again: nothing is to be seen of it then */
		ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
		EXPECT_READ(s, vm->hwpt);
		EXPECT_STILL(vm, d);
		EXPECT_EQ(i + 1, get_lost(vm));
	}
}

/* Nobody may stand for it, and it runs all the same */
TEST_F(still, is_reset_uncovered)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	unsigned int lost = 0;

	ASSERT_EQ(0, set_policy(vm, vm->ioas, INHERIT));
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	for (unsigned int i = 0; i < 4; i++) {
		EXPECT_READ(s, vm->hwpt);
		ASSERT_EQ(0, reset_and_run(vm, d, i % 2));
		for (unsigned int k = 0; k < i; k++) {
			ASSERT_EQ(0, dma_pages(d, s, 10 * i + k, 1));
			shadow_wrote_all(s);
			EXPECT_READ(s, vm->hwpt);
			EXPECT_EQ(++lost, get_lost(vm));
			EXPECT_COUNTS(vm, IOMMU_DIRTY_COVERAGE_NONE,
				      IOMMU_DIRTY_PROVIDER_NONE);
		}
		/* what it wrote between the last read and this */
		ASSERT_EQ(0, dma_pages(d, s, 10 * i + 5, 1));
		ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
		shadow_wrote_all(s);
		EXPECT_READ(s, vm->hwpt);
		EXPECT_STILL(vm, d);
		EXPECT_EQ(++lost, get_lost(vm));
	}
	/* a reader that comes then is refused */
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	ASSERT_EQ(0, reset_and_run(vm, d, false));
	EXPECT_EQ(-EOPNOTSUPP, vm_track(vm, vm->hwpt, true));

	/* what it wrote until somebody stands for it */
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, reset_and_run(vm, d, false));
	ASSERT_EQ(0, dma_pages(d, s, 100, 1));
	ASSERT_EQ(0, set_policy(vm, vm->ioas, ALL));
	EXPECT_COUNTS(vm, IOMMU_DIRTY_COVERAGE_ALL, IOMMU_DIRTY_PROVIDER_ALL);
	shadow_wrote_all(s);
	EXPECT_READ(s, vm->hwpt);
	EXPECT_TRUE(shadow_data_equal(s));
}

/* What it wrote to is unmapped before anybody looks */
TEST_F(still, is_reset_and_unmapped)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	uint64_t bit;

	ASSERT_EQ(0, vm_map(vm, ONE_PAGE_IOVA, self->page, SZ_4K, MAP_RW));
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	for (unsigned int i = 0; i < 2; i++) {
		ASSERT_EQ(0, set_policy(vm, vm->ioas, i ? INHERIT : ALL));
		ASSERT_EQ(0, reset_and_run(vm, d, false));
		ASSERT_EQ(0, dma_alone(d, s));
		ASSERT_EQ(0, vm_unmap(vm, ONE_PAGE_IOVA, SZ_4K));
		bit = 0;
		ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, ONE_PAGE_IOVA, SZ_4K, 0,
					  &bit));
		EXPECT_EQ(1, bit);
		ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
		shadow_wrote_all(s);
		EXPECT_READ(s, vm->hwpt);
		/* and nothing when it did not run */
		ASSERT_EQ(0, vm_map(vm, ONE_PAGE_IOVA, self->page, SZ_4K,
				    MAP_RW));
		ASSERT_EQ(0, vm_unmap(vm, ONE_PAGE_IOVA, SZ_4K));
		bit = 0;
		ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, ONE_PAGE_IOVA, SZ_4K, 0,
					  &bit));
		EXPECT_EQ(0, bit);
		ASSERT_EQ(0, vm_map(vm, ONE_PAGE_IOVA, self->page, SZ_4K,
				    MAP_RW));
	}
}

/* It is detached before anybody looks */
TEST_F(still, is_reset_and_detached)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, reset_and_run(vm, d, false));
	ASSERT_EQ(0, dma_pages(d, s, 50, 1));
	ASSERT_EQ(0, dsim_detach(d));
	shadow_wrote_all(s);
	EXPECT_READ(s, vm->hwpt);
	EXPECT_READ(s, vm->hwpt);
}

/* A loaded state that is none: it is in ERROR, where nobody knows */
TEST_F(still, is_broken)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_mig_set(d, RESUMING, NULL));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	EXPECT_READ(s, vm->hwpt);
	EXPECT_NE(0, dsim_mig_set(d, STOP, NULL));
	EXPECT_EQ(VFIO_DEVICE_STATE_ERROR, dsim_mig_get(d));
	EXPECT_COUNTS(vm, IOMMU_DIRTY_COVERAGE_ALL, IOMMU_DIRTY_PROVIDER_ALL);
	shadow_wrote_all(s);
	EXPECT_READ(s, vm->hwpt);
}

/* ---- What is seen from outside ---- */

TEST_F(still, tracepoint)
{
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	char what[100], *text;

	if (!trace_begin())
		SKIP(return, "no events in this kernel");
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
	text = trace_end();
	ASSERT_NE(NULL, text);
	for (int is = 0; is < 2; is++) {
		snprintf(what, sizeof(what), "device=%u still=%d", d->devid, is);
		EXPECT_TRUE(trace_has(text, "iommufd_dirty_still:", what));
		snprintf(what, sizeof(what), "device=%u pasid=0 from=%u to=%u",
			 d->devid,
			 is ? IOMMU_DIRTY_PROVIDER_ALL : IOMMU_DIRTY_PROVIDER_NONE,
			 is ? IOMMU_DIRTY_PROVIDER_NONE : IOMMU_DIRTY_PROVIDER_ALL);
		EXPECT_TRUE(trace_has(text, "iommufd_dirty_provider:", what));
	}
	free(text);
}

/* ---- All at once ---- */

struct churn {
	struct dsim *dev;
	pthread_rwlock_t lock;
	bool stop;
	int rc;
};

/*
 * Two of them: one change of the state comes into the other's way. A reset does not
 * come into that of a change, from which it could not be told.
 */
static void *churn_state(void *data)
{
	const uint32_t states[] = { STOP, STOP_COPY, RUNNING, RUNNING };
	struct churn *c = data;
	uint64_t seed = (uintptr_t)&seed;

	while (!__atomic_load_n(&c->stop, __ATOMIC_RELAXED)) {
		pthread_rwlock_rdlock(&c->lock);
		dsim_mig_set(c->dev, states[rnd(&seed) % 4], NULL);
		pthread_rwlock_unlock(&c->lock);
		if (rnd(&seed) % 32)
			continue;
		pthread_rwlock_wrlock(&c->lock);
		c->rc |= bus_reset();
		pthread_rwlock_unlock(&c->lock);
	}
	return NULL;
}

/* What was written when a read began is in that one, or was in one before */
TEST_F(still, under_load)
{
	struct churn c = { .dev = &self->dev,
			   .lock = PTHREAD_RWLOCK_INITIALIZER };
	unsigned long long end = now_ms() + 1500;
	unsigned int writes = 0, missed = 0;
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	pthread_t thread[2];

	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, churn_state, &c));
	/* on a slow machine until there was something to be seen */
	for (unsigned int i = 0; now_ms() < end ||
	     (writes <= 10 && now_ms() < end + 20000); i++) {
		unsigned int page = i * 7 % PAGES;
		uint64_t *word = (uint64_t *)(vm->data + page * SZ_4K);
		struct dsim_desc fill = {
			.op = DSIM_OP_FILL, .dst = DATA_IOVA + page * SZ_4K,
			.len = SZ_4K, .value = i + 1,
		};
		bool wrote = false, reported = false;

		/* a reset may have come, at any time */
		dsim_start(d, vm->ring);
		dsim_put(d, &fill);
		dsim_kick(d);
		for (int k = 0; k < 5 && !wrote; k++) {
			uint64_t bit = 0;

			wrote = __atomic_load_n(word, __ATOMIC_ACQUIRE) == i + 1;
			ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, fill.dst, SZ_4K,
						  0, &bit));
			reported |= bit;
		}
		writes += wrote;
		missed += wrote && !reported;
	}
	__atomic_store_n(&c.stop, true, __ATOMIC_RELAXED);
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	EXPECT_EQ(0, c.rc);
	EXPECT_LT(10, writes);
	EXPECT_EQ(0, missed);

	/* at rest it is exact */
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	ASSERT_EQ(0, shadow_read(s, vm->hwpt, 0));
	shadow_clean(s);
	EXPECT_READ(s, vm->hwpt);
	EXPECT_STILL(vm, d);
}

TEST_HARNESS_MAIN
