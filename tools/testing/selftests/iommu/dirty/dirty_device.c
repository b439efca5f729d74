// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that track themselves, behind an IOMMU that cannot: what they say is
 * what the HWPT's reader is given, through mappings that come and go, failures,
 * resets, and the change from one provider to another
 */
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "policy_user.h"

#define NAME	"selftest-own"
#define DIRTY	IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define SZ_64K	0x10000UL
#define PAGES	256

/* Near: in what the tracker logs besides what was asked for. Far: not. */
#define NEAR	NOWHERE_IOVA
#define FAR	(DATA_IOVA + (1ULL << 36))

FIXTURE(own)
{
	struct dsim dev;
	struct vm vm;
	struct shadow shadow;
	uint8_t *more;
};

FIXTURE_VARIANT(own)
{
	struct dsim_config config;
};

FIXTURE_VARIANT_ADD(own, pull)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K,
		    .no_ad = true, .tracker = "pull" },
};

FIXTURE_VARIANT_ADD(own, pull_64k_one_range)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K,
		    .no_ad = true, .tracker = "pull", .granule = SZ_64K,
		    .ranges = 1 },
};

FIXTURE_VARIANT_ADD(own, push)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K,
		    .no_ad = true, .tracker = "push" },
};

FIXTURE_VARIANT_ADD(own, beside_iommu)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K,
		    .tracker = "pull" },
};

FIXTURE_SETUP(own)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	size_t large;

	d->fd = -1;
	vm->iommufd = -1;
	vm->memfd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base())
		SKIP(return, "the base kernel asks the IOMMU only");
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, dsim_create(d, NAME, &variant->config));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_memory(vm, PAGES * SZ_4K, false));
	ASSERT_EQ(0, vm_learn_leaves(vm, SZ_4K, &large));
	self->more = mmap(NULL, 64 * SZ_4K, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->more);
	ASSERT_EQ(0, shadow_init(&self->shadow, vm));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, DIRTY, &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
}

FIXTURE_TEARDOWN(own)
{
	shadow_free(&self->shadow);
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	if (self->more)
		munmap(self->more, 64 * SZ_4K);
	if (dsim_available() && !on_base())
		EXPECT_EQ(0, dsim_remove(NAME));
}

/* ---- What tests do ---- */

static int begin(struct vm *vm, struct dsim *d)
{
	return vm_map_memory(vm) ?:
	       vm_track(vm, vm->hwpt, true) ?:
	       dsim_map_doorbell(d) ?:
	       dsim_start(d, vm->ring);
}

/* Somewhere else; the oracle knows of the status word only */
static int dma_at(struct dsim *d, struct shadow *s, uint64_t iova)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL, .dst = iova + 8, .len = 16, .value = iova,
	};
	struct dsim_desc nop = { .op = DSIM_OP_NOP };

	shadow_desc(s, d->tail, &nop);
	return dsim_run(d, &desc) != DSIM_DESC_DONE;
}

/* All of a granule is dirty when any of it was written */
static void widen(struct shadow *s, uint64_t granule)
{
	uint64_t pages = (granule ?: SZ_4K) / SZ_4K;
	uint64_t mask = pages == 64 ? ~0ULL : (1ULL << pages) - 1;

	for (size_t i = 0; i < s->words; i++)
		for (unsigned int bit = 0; bit < 64; bit += pages)
			if (s->want[i] & (mask << bit))
				s->want[i] |= mask << bit;
}

static uint64_t dirty_at(struct vm *vm, uint64_t iova)
{
	uint64_t bits = 0;
	int rc = vm_get_dirty(vm, vm->hwpt, iova, 64 * SZ_4K, 0, &bits);

	return rc ? rc : bits;
}

#define EQUAL(_s)                                                              \
	do {                                                                   \
		uint64_t first_ = 0;                                           \
		EXPECT_EQ(0, shadow_lost(_s, &first_)) {                       \
			TH_LOG("first lost: 0x%llx", (long long)first_);       \
		}                                                              \
		EXPECT_EQ(0, shadow_extra(_s, &first_)) {                      \
			TH_LOG("first invented: 0x%llx", (long long)first_);   \
		}                                                              \
	} while (0)

#define READ(_s)                                                               \
	do {                                                                   \
		widen(_s, variant->config.granule);                            \
		ASSERT_EQ(0, shadow_read(_s, self->vm.hwpt, 0));               \
		EQUAL(_s);                                                     \
		shadow_clean(_s);                                              \
	} while (0)

#define BEGIN()	ASSERT_EQ(0, begin(&self->vm, &self->dev))

/* ---- Reading ---- */

TEST_F(own, says_what_it_wrote)
{
	struct iommu_dirty_device_coverage e;
	struct iommu_dirty_get_coverage cmd;
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	BEGIN();
	READ(s);
	for (unsigned int i = 0; i < 8; i++) {
		ASSERT_EQ(0, dma_pages(d, s, 31 * i, 1 + i));
		ASSERT_EQ(0, dma_pages(d, s, 7, 1));
		if (i % 2)
			READ(s);
	}
	READ(s);
	EXPECT_TRUE(shadow_data_equal(s));
	EXPECT_EQ(0, get_lost(vm));

	ASSERT_EQ(0, get_coverage(vm, vm->ioas, &cmd, &e));
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, cmd.out_coverage);
	if (variant->config.no_ad) {
		EXPECT_EQ(IOMMU_DIRTY_PROVIDER_DEVICE, e.provider);
		EXPECT_EQ(variant->config.granule ?: SZ_4K, e.granule_max);
		EXPECT_EQ(IOMMU_DIRTY_REASON_NO_SUPPORT,
			  e.reasons[IOMMU_DIRTY_PROVIDER_IOMMU]);
	} else {
		EXPECT_EQ(IOMMU_DIRTY_REASON_READY,
			  e.reasons[IOMMU_DIRTY_PROVIDER_DEVICE]);
	}
}

/* What a device can only read and clear waits for who did not ask for it */
TEST_F(own, parts_and_no_clear)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	uint64_t bits[PAGES / 64];

	BEGIN();
	ASSERT_EQ(0, dma_pages(d, s, 0, PAGES));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, shadow_read(s, vm->hwpt,
					 IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR));
		widen(s, variant->config.granule);
		EQUAL(s);
	}
	/* page by page, every third */
	for (unsigned int page = 0; page < PAGES; page += 3) {
		uint64_t bit = 0;

		ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt,
					  DATA_IOVA + page * SZ_4K, SZ_4K, 0,
					  &bit));
		EXPECT_EQ(1, bit);
	}
	memset(bits, 0, sizeof(bits));
	ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, DATA_IOVA, PAGES * SZ_4K, 0,
				  bits));
	for (unsigned int page = 0; page < PAGES; page++)
		EXPECT_EQ(page % 3 != 0, bits[page / 64] >> page % 64 & 1);
	/* into memory that is none: nothing is lost */
	ASSERT_EQ(0, dma_pages(d, s, 9, 2));
	EXPECT_EQ(-EFAULT, vm_get_dirty(vm, vm->hwpt, DATA_IOVA, PAGES * SZ_4K,
					0, (void *)8));
	shadow_clean(s);
	shadow_wrote(s, DATA_IOVA + 9 * SZ_4K, 2 * SZ_4K);
	shadow_wrote(s, RING_IOVA, SZ_4K);
	READ(s);
	READ(s);
}

/* ---- Mappings ---- */

TEST_F(own, follows_mappings)
{
	bool own = variant->config.no_ad && !strcmp(variant->config.tracker,
						    "pull");
	uint64_t granule = variant->config.granule ?: SZ_4K;
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	uint64_t want;

	BEGIN();
	for (int i = 0; i < 3; i++) {
		/* in reach of what is logged */
		ASSERT_EQ(0, dma_pages(d, s, 3 + i, 1));
		ASSERT_EQ(0, vm_map(vm, NEAR, self->more, 64 * SZ_4K, MAP_RW));
		ASSERT_EQ(0, dma_at(d, s, NEAR + 20 * SZ_4K));
		want = granule == SZ_4K ? 1ULL << 20 : 0xffffULL << 16;
		EXPECT_EQ(want, dirty_at(vm, NEAR));
		READ(s);
		EXPECT_EQ(0, get_lost(vm));
		ASSERT_EQ(0, dma_at(d, s, NEAR + 63 * SZ_4K));
		ASSERT_EQ(0, vm_unmap(vm, NEAR, 64 * SZ_4K));
		want = granule == SZ_4K ? 1ULL << 63 : 0xffffULL << 48;
		EXPECT_EQ(want, dirty_at(vm, NEAR));
		EXPECT_EQ(0, dirty_at(vm, NEAR));
		READ(s);
	}
	/* out of reach: what was written may have been missed, once */
	ASSERT_EQ(0, dma_pages(d, s, 50, 1));
	ASSERT_EQ(0, vm_map(vm, FAR, self->more, 64 * SZ_4K, MAP_RW));
	ASSERT_EQ(0, dma_pages(d, s, 70, 1));
	if (own)
		shadow_wrote_all(s);
	READ(s);
	EXPECT_EQ(own, get_lost(vm));
	dirty_at(vm, FAR);
	/* and then it is exact again, there too */
	ASSERT_EQ(0, dma_pages(d, s, 71, 1));
	ASSERT_EQ(0, dma_at(d, s, FAR));
	EXPECT_EQ(granule == SZ_4K ? 1 : 0xffff, dirty_at(vm, FAR));
	READ(s);
	ASSERT_EQ(0, vm_unmap(vm, FAR, 64 * SZ_4K));
	ASSERT_EQ(0, vm_map(vm, FAR, self->more, 64 * SZ_4K, MAP_RW));
	EXPECT_EQ(0, dirty_at(vm, FAR));
	READ(s);
	EXPECT_EQ(own, get_lost(vm));
}

/* Tracking begins before anything is mapped */
TEST_F(own, starts_over_nothing)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, vm->ring));
	READ(s);
	ASSERT_EQ(0, dma_pages(d, s, 1, 3));
	READ(s);
	EXPECT_EQ(0, get_lost(vm));
	/* and ends, and begins over what is there: clean */
	ASSERT_EQ(0, dma_pages(d, s, 10, 3));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	ASSERT_EQ(0, dma_pages(d, s, 20, 3));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	shadow_clean(s);
	READ(s);
	ASSERT_EQ(0, dma_pages(d, s, 30, 3));
	READ(s);
	EXPECT_EQ(0, get_lost(vm));
}

/* A page next to a hole: what is not mapped is not dirty */
TEST_F(own, not_what_is_not_mapped)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	BEGIN();
	ASSERT_EQ(0, vm_map(vm, NEAR + 2 * SZ_4K, self->more, SZ_4K, MAP_RW));
	ASSERT_EQ(0, vm_map(vm, NEAR + 3 * SZ_4K, self->more, SZ_4K,
			    IOMMU_IOAS_MAP_READABLE));
	ASSERT_EQ(0, vm_map(vm, NEAR + 5 * SZ_4K, self->more, SZ_4K, MAP_RW));
	ASSERT_EQ(0, dma_at(d, s, NEAR + 2 * SZ_4K));
	EXPECT_EQ(variant->config.granule ? 1 << 2 | 1 << 5 : 1 << 2,
		  dirty_at(vm, NEAR));
	EXPECT_EQ(0, dirty_at(vm, NEAR));
}

/* ---- Failures ---- */

TEST_F(own, fails_and_recovers)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	if (!variant->config.no_ad)
		SKIP(return, "the IOMMU is asked");
	BEGIN();
	ASSERT_EQ(0, dma_pages(d, s, 5, 1));
	ASSERT_EQ(0, dsim_set(NAME, "fault_tracker", "1"));
	ASSERT_EQ(0, dma_pages(d, s, 6, 1));
	/* as long as it is broken nothing is known */
	for (int i = 0; i < 3; i++) {
		shadow_wrote_all(s);
		READ(s);
		EXPECT_EQ(i + 1, get_lost(vm));
	}
	/* it works again: what was written before that is not known either */
	ASSERT_EQ(0, dma_pages(d, s, 7, 1));
	ASSERT_EQ(0, dsim_set(NAME, "fault_tracker", "0"));
	ASSERT_EQ(0, dma_pages(d, s, 8, 1));
	shadow_wrote_all(s);
	READ(s);
	EXPECT_EQ(4, get_lost(vm));
	ASSERT_EQ(0, dma_pages(d, s, 9, 1));
	READ(s);
	READ(s);
	EXPECT_EQ(4, get_lost(vm));
	EXPECT_TRUE(shadow_data_equal(s));

	/* broken while something is unmapped, and when tracking is to begin */
	ASSERT_EQ(0, vm_map(vm, NEAR, self->more, 2 * SZ_4K, MAP_RW));
	ASSERT_EQ(0, dma_at(d, s, NEAR));
	ASSERT_EQ(0, dsim_set(NAME, "fault_tracker", "1"));
	ASSERT_EQ(0, vm_unmap(vm, NEAR, 2 * SZ_4K));
	EXPECT_EQ(3, dirty_at(vm, NEAR));
	EXPECT_EQ(0, dirty_at(vm, NEAR));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	EXPECT_EQ(-EIO, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, set_policy(vm, vm->ioas, DEVICE | ALL));
	EXPECT_EQ(0, vm_track(vm, vm->hwpt, true));
	EXPECT_EQ(IOMMU_DIRTY_PROVIDER_ALL, get_provider(vm, vm->ioas));
	shadow_wrote_all(s);
	READ(s);
	ASSERT_EQ(0, dsim_set(NAME, "fault_tracker", "0"));
}

TEST_F(own, is_reset)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	if (!variant->config.no_ad)
		SKIP(return, "the IOMMU is asked");
	BEGIN();
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, dma_pages(d, s, 5, 1));
		ASSERT_EQ(0, dsim_reset(d));
		ASSERT_EQ(0, dsim_start(d, vm->ring));
		ASSERT_EQ(0, dma_pages(d, s, 6, 1));
		shadow_wrote_all(s);
		READ(s);
		EXPECT_EQ(i + 1, get_lost(vm));
		ASSERT_EQ(0, dma_pages(d, s, 7, 1));
		READ(s);
		EXPECT_EQ(i + 1, get_lost(vm));
	}
}

/* ---- From one provider to another ---- */

TEST_F(own, hands_over)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	uint32_t other = variant->config.no_ad ? ALL : IOMMU;

	BEGIN();
	ASSERT_EQ(0, set_policy(vm, vm->ioas, DEVICE));
	EXPECT_EQ(IOMMU_DIRTY_PROVIDER_DEVICE, get_provider(vm, vm->ioas));
	for (unsigned int i = 0; i < 5; i++) {
		uint32_t id = i % 2 ? vm->ioas : d->devid;

		ASSERT_EQ(0, dma_pages(d, s, 20 * i, 5));
		if (i & 1)
			READ(s);
		ASSERT_EQ(0, set_policy(vm, id, other));
		ASSERT_EQ(0, dma_pages(d, s, 20 * i + 7, 1));
		if (other == ALL)
			shadow_wrote_all(s);
		if (i & 2)
			READ(s);
		ASSERT_EQ(0, set_policy(vm, id, DEVICE));
		EXPECT_EQ(IOMMU_DIRTY_PROVIDER_DEVICE, get_provider(vm, vm->ioas));
		ASSERT_EQ(0, dma_pages(d, s, 20 * i + 9, 1));
		if (other == ALL)
			shadow_wrote_all(s);
		READ(s);
		READ(s);
		ASSERT_EQ(0, set_policy(vm, d->devid, 0));
	}
	EXPECT_EQ(0, get_lost(vm));
}

/* One log, two HWPTs that are read */
TEST_F(own, device_moves)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	uint32_t hwpt[2] = { vm->hwpt };

	ASSERT_EQ(0, set_policy(vm, vm->ioas, DEVICE));
	BEGIN();
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, DIRTY, &hwpt[1]));
	ASSERT_EQ(0, vm_track(vm, hwpt[1], true));
	for (unsigned int i = 0; i < 10; i++) {
		ASSERT_EQ(0, dma_pages(d, s, 16 * i, 3));
		if (i % 3 == 0) {
			READ(s);
		}
		if (i % 4 == 3)
			ASSERT_EQ(0, dsim_detach(d));
		ASSERT_EQ(0, dsim_attach(d, hwpt[(i + 1) % 2]));
		READ(s);
		vm->hwpt = hwpt[(i + 1) % 2];
		READ(s);
	}
	EXPECT_EQ(0, get_lost(vm));
}

/* It knows addresses only, so it can track one address space at a time */
TEST_F(own, one_ioas_at_a_time)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct vm other = *vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, vm_alloc_ioas(&other));
	ASSERT_EQ(0, vm_alloc_hwpt(&other, d, DIRTY, &other.hwpt));
	ASSERT_EQ(0, set_policy(vm, d->devid, DEVICE));
	BEGIN();
	ASSERT_EQ(0, vm_track(&other, other.hwpt, true));
	EXPECT_EQ(-EINVAL, dsim_attach(d, other.hwpt));
	ASSERT_EQ(0, dma_pages(d, s, 5, 1));
	READ(s);
	ASSERT_EQ(0, dsim_detach(d));
	EXPECT_EQ(0, dsim_attach(d, other.hwpt));
}

/* ---- All at once ---- */

struct churn {
	struct vm *vm;
	uint8_t *mem;
	uint32_t dev;
	bool stop;
	int rc;
};

/* Maps and unmaps what nobody writes, near and far */
static void *churn_mappings(void *data)
{
	struct churn *c = data;

	for (unsigned int i = 0; !__atomic_load_n(&c->stop, __ATOMIC_RELAXED) &&
	     !c->rc; i++) {
		uint64_t iova = i % 8 ? NEAR + (i % 5) * SZ_64K : FAR;

		c->rc = vm_map(c->vm, iova, c->mem, 16 * SZ_4K, MAP_RW) ?:
			vm_unmap(c->vm, iova, 16 * SZ_4K);
	}
	return NULL;
}

static void *churn_policy(void *data)
{
	struct churn *c = data;

	for (unsigned int i = 0; !__atomic_load_n(&c->stop, __ATOMIC_RELAXED) &&
	     !c->rc; i++)
		c->rc = set_policy(c->vm, c->dev, i % 2 ? DEVICE : DEVICE | IOMMU);
	return NULL;
}

/* What is far makes everything dirty at times: nothing may be missing */
TEST_F(own, under_load)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	struct churn c[2] = {
		{ .vm = vm, .mem = self->more },
		{ .vm = vm, .dev = d->devid },
	};
	unsigned long long end = now_ms() + 1000;
	pthread_t thread[2];
	uint64_t first;

	BEGIN();
	ASSERT_EQ(0, pthread_create(&thread[0], NULL, churn_mappings, &c[0]));
	ASSERT_EQ(0, pthread_create(&thread[1], NULL, churn_policy, &c[1]));
	for (unsigned int i = 0; now_ms() < end; i++) {
		ASSERT_EQ(0, dma_pages(d, s, i * 7 % 200, 1 + i % 9));
		if (i % 3 == 2)
			continue;
		ASSERT_EQ(0, shadow_read(s, vm->hwpt, 0));
		EXPECT_EQ(0, shadow_lost(s, &first)) {
			TH_LOG("first lost: 0x%llx", (long long)first);
		}
		shadow_clean(s);
	}
	for (int i = 0; i < 2; i++) {
		__atomic_store_n(&c[i].stop, true, __ATOMIC_RELAXED);
		pthread_join(thread[i], NULL);
		EXPECT_EQ(0, c[i].rc);
	}
	/* at rest it is exact */
	ASSERT_EQ(0, shadow_read(s, vm->hwpt, 0));
	EXPECT_EQ(0, shadow_lost(s, &first));
	shadow_clean(s);
	READ(s);
	ASSERT_EQ(0, dma_pages(d, s, 11, 2));
	READ(s);
	EXPECT_TRUE(shadow_data_equal(s));
}

TEST_HARNESS_MAIN
