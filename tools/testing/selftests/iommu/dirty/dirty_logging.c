// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA logging, for clients that know devices and no HWPTs: attached to an IOAS,
 * they start, report and stop by VFIO_DEVICE_FEATURE_DMA_LOGGING_*
 *
 * A device with a log of its own is asked on the unpatched kernel too.
 */
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "policy_user.h"

#define NAME	"selftest-log"
#define OTHER	"selftest-log2"
#define DIRTY	IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define PAGES	256
#define SZ_64K	0x10000UL
#define RANGE	struct vfio_device_feature_dma_logging_range

FIXTURE(logging)
{
	struct dsim dev;
	struct dsim other;
	struct vm vm;
	struct shadow shadow;
};

FIXTURE_VARIANT(logging)
{
	struct dsim_config config;
	bool on_base;	/* so has it on the unpatched kernel */
};

FIXTURE_VARIANT_ADD(logging, by_iommu)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K },
	.on_base = false,
};

FIXTURE_VARIANT_ADD(logging, by_itself_64k)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K,
		    .no_ad = true, .tracker = "pull", .granule = SZ_64K },
	.on_base = true,
};

FIXTURE_VARIANT_ADD(logging, by_either)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K,
		    .tracker = "pull" },
	.on_base = true,
};

FIXTURE_SETUP(logging)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	size_t large;

	d->fd = -1;
	self->other.fd = -1;
	vm->iommufd = -1;
	vm->memfd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, dsim_create(d, NAME, &variant->config));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_memory(vm, PAGES * SZ_4K, false));
	ASSERT_EQ(0, vm_learn_leaves(vm, SZ_4K, &large));
	if (variant->config.granule)
		memset(vm->leaf, __builtin_ctzl(variant->config.granule), PAGES);
	ASSERT_EQ(0, shadow_init(&self->shadow, vm));
	ASSERT_EQ(0, dsim_attach(d, vm->ioas));
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, vm->ring));
}

FIXTURE_TEARDOWN(logging)
{
	shadow_free(&self->shadow);
	dsim_close(&self->dev);
	dsim_close(&self->other);
	vm_destroy(&self->vm);
	if (dsim_available())
		EXPECT_EQ(0, dsim_remove(NAME));
	dsim_remove(OTHER);
}

/* ---- What tests do ---- */

/* Ring and data, as one range */
static int start(struct dsim *d, struct shadow *s)
{
	RANGE range = { .iova = s->start, .length = s->size };
	uint64_t page_size = SZ_4K;

	return dsim_log_start(d, &range, 1, &page_size);
}

/* What the ring's pages look like to a device that tells larger ones apart */
static void widen_ring(struct shadow *s, uint64_t granule)
{
	uint64_t page, at;

	for (page = 0; granule && page < RING_BYTES; page += SZ_4K)
		if (s->want[page / SZ_4K / 64] >> page / SZ_4K % 64 & 1)
			for (at = page & ~(granule - 1); at <= (page | (granule - 1));
			     at += SZ_4K)
				s->want[at / SZ_4K / 64] |= 1ULL << at / SZ_4K % 64;
}

#define REPORT(_d, _s)                                                         \
	do {                                                                   \
		uint64_t first_ = 0;                                           \
		widen_ring(_s, variant->config.granule);                       \
		memset((_s)->got, 0, (_s)->words * 8);                         \
		ASSERT_EQ(0, dsim_log_report(_d, (_s)->start, (_s)->size, SZ_4K, \
					     (_s)->got));                      \
		EXPECT_EQ(0, shadow_lost(_s, &first_)) {                       \
			TH_LOG("first lost: 0x%llx", (long long)first_);       \
		}                                                              \
		EXPECT_EQ(0, shadow_extra(_s, &first_)) {                      \
			TH_LOG("first invented: 0x%llx", (long long)first_);   \
		}                                                              \
	} while (0)

#define HAS_IT()	(variant->on_base || !on_base())

/* ---- Tests ---- */

TEST_F(logging, offered)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	uint32_t hwpt;

	EXPECT_EQ(HAS_IT() ? 0 : -ENOTTY, dsim_log_probe(d));
	EXPECT_EQ(HAS_IT() ? 0 : -ENOTTY, start(d, &self->shadow));
	EXPECT_EQ(HAS_IT() ? 0 : -ENOTTY, dsim_log_stop(d));
	if (variant->config.no_ad || on_base())
		return;
	/* who has allocated an HWPT for it asks there */
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, DIRTY, &hwpt));
	ASSERT_EQ(0, dsim_attach(d, hwpt));
	EXPECT_EQ(variant->config.tracker ? 0 : -ENOTTY, dsim_log_probe(d));
	/* and one that was not allocated for it does not track */
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, 0, &hwpt));
	ASSERT_EQ(0, dsim_attach(d, hwpt));
	EXPECT_EQ(variant->config.tracker ? 0 : -ENOTTY, dsim_log_probe(d));
	EXPECT_EQ(variant->config.tracker ? 0 : -ENOTTY,
		  start(d, &self->shadow));
}

TEST_F(logging, reports)
{
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev;

	if (!HAS_IT())
		SKIP(return, "the base kernel asks devices only");
	ASSERT_EQ(0, dma_pages(d, s, 0, 20));
	ASSERT_EQ(0, start(d, s));
	shadow_clean(s);
	REPORT(d, s);
	for (unsigned int i = 0; i < 10; i++) {
		ASSERT_EQ(0, dma_pages(d, s, 23 * i, 1 + i));
		if (i % 3 == 2)
			continue;
		REPORT(d, s);
		shadow_clean(s);
	}
	REPORT(d, s);
	EXPECT_TRUE(shadow_data_equal(s));
	EXPECT_EQ(-EINVAL, start(d, s));
	ASSERT_EQ(0, dsim_log_stop(d));
	EXPECT_EQ(-EINVAL, dsim_log_report(d, s->start, s->size, SZ_4K, s->got));
	/* and once more */
	ASSERT_EQ(0, dma_pages(d, s, 0, 20));
	ASSERT_EQ(0, start(d, s));
	shadow_clean(s);
	ASSERT_EQ(0, dma_pages(d, s, 100, 20));
	REPORT(d, s);
}

/* What is mapped and unmapped meanwhile */
TEST_F(logging, follows_mappings)
{
	uint64_t granule = variant->config.granule ?: SZ_4K, want, bits;
	struct dsim_desc desc = { .op = DSIM_OP_FILL, .len = 8 };
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;

	if (on_base())
		SKIP(return, "the base kernel asks one device only");
	ASSERT_EQ(0, start(d, s));
	for (unsigned int i = 0; i < 3; i++) {
		ASSERT_EQ(0, vm_map(vm, NOWHERE_IOVA, vm->data, 64 * SZ_4K,
				    MAP_RW));
		desc.dst = NOWHERE_IOVA + 3 * SZ_4K;
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
		bits = 0;
		ASSERT_EQ(0, dsim_log_report(d, NOWHERE_IOVA, 64 * SZ_4K, SZ_4K,
					     &bits));
		want = granule == SZ_4K ? 1 << 3 : 0xffff;
		EXPECT_EQ(want, bits);
		desc.dst = NOWHERE_IOVA + 60 * SZ_4K;
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
		ASSERT_EQ(0, vm_unmap(vm, NOWHERE_IOVA, 64 * SZ_4K));
		bits = 0;
		ASSERT_EQ(0, dsim_log_report(d, NOWHERE_IOVA, 64 * SZ_4K, SZ_4K,
					     &bits));
		want = granule == SZ_4K ? 1ULL << 60 : 0xffffULL << 48;
		EXPECT_EQ(want, bits);
	}
}

/* Two devices: each is told what both wrote, and takes nothing from the other */
TEST_F(logging, each_gets_all)
{
	static const struct dsim_config plain = { .format = "vtdss",
						  .page_sizes = SZ_4K };
	struct dsim *d = &self->dev, *o = &self->other;
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL, .dst = DATA_IOVA + 40 * SZ_4K, .len = 8,
	};
	struct dsim_desc *slot;
	uint64_t bits[2][PAGES / 64];

	if (on_base())
		SKIP(return, "the base kernel asks one device only");
	ASSERT_EQ(0, dsim_create(o, OTHER, &plain));
	ASSERT_EQ(0, dsim_open(o));
	ASSERT_EQ(0, dsim_bind(o, vm->iommufd));
	ASSERT_EQ(0, dsim_attach(o, vm->ioas));
	ASSERT_EQ(0, start(d, s));
	ASSERT_EQ(0, start(o, s));
	shadow_clean(s);
	ASSERT_EQ(0, dma_pages(d, s, 7, 1));
	REPORT(o, s);
	REPORT(d, s);
	shadow_clean(s);
	REPORT(o, s);
	/* the other one writes: the first one's ring is its ring, too */
	ASSERT_EQ(0, dsim_start(o, vm->ring));
	slot = dsim_put(o, &desc);
	ASSERT_EQ(0, dsim_kick(o));
	ASSERT_EQ(0, dsim_wait(o));
	ASSERT_EQ(DSIM_DESC_DONE, slot->status);
	memset(bits, 0, sizeof(bits));
	ASSERT_EQ(0, dsim_log_report(d, DATA_IOVA, PAGES * SZ_4K, SZ_4K, bits[0]));
	ASSERT_EQ(0, dsim_log_report(o, DATA_IOVA, PAGES * SZ_4K, SZ_4K, bits[1]));
	for (unsigned int i = 0; i < PAGES / 64; i++) {
		EXPECT_EQ(i == 0 ? 1ULL << 40 : 0, bits[0][i]);
		EXPECT_EQ(bits[0][i], bits[1][i]);
	}
	/* one ends, the other goes on */
	ASSERT_EQ(0, dsim_log_stop(o));
	EXPECT_EQ(-EINVAL, dsim_log_report(o, s->start, s->size, SZ_4K, s->got));
	ASSERT_EQ(0, dsim_log_stop(d));
	EXPECT_EQ(0, dsim_log_stop(d));
}

/* It ends with the attachment, also while it logs */
TEST_F(logging, ends)
{
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	struct vm other = *vm;

	if (on_base())
		SKIP(return, "the base kernel asks one device only");
	ASSERT_EQ(0, start(d, s));
	ASSERT_EQ(0, dsim_detach(d));
	EXPECT_EQ(-EINVAL, dsim_log_report(d, s->start, s->size, SZ_4K, s->got));
	EXPECT_EQ(-EINVAL, start(d, s));
	ASSERT_EQ(0, dsim_attach(d, vm->ioas));
	EXPECT_EQ(-EINVAL, dsim_log_report(d, s->start, s->size, SZ_4K, s->got));
	ASSERT_EQ(0, start(d, s));
	shadow_clean(s);
	ASSERT_EQ(0, dma_pages(d, s, 1, 1));
	REPORT(d, s);
	/* to another address space; the first one can go */
	ASSERT_EQ(0, vm_alloc_ioas(&other));
	ASSERT_EQ(0, dsim_attach(d, other.ioas));
	EXPECT_EQ(-EINVAL, dsim_log_report(d, s->start, s->size, SZ_4K, s->got));
	ASSERT_EQ(0, vm_destroy_object(vm, vm->ioas));
	ASSERT_EQ(0, start(d, s));
}

TEST_F(logging, bad_input)
{
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev;
	const RANGE good = { .iova = s->start, .length = s->size };
	const uint64_t bad_sizes[] = { 0, 1, 2048, SZ_4K + 1, 3 * SZ_4K, ~0ULL };
	RANGE range[2];
	uint64_t size;

	if (on_base())
		SKIP(return, "the base kernel asks one device only");
#define START_IS(_rc, _nr, _size)                                              \
	do {                                                                   \
		size = _size;                                                  \
		EXPECT_EQ(_rc, dsim_log_start(d, range, _nr, &size));          \
		EXPECT_EQ(-EINVAL, dsim_log_report(d, s->start, SZ_4K, SZ_4K,  \
						   s->got));                   \
	} while (0)

	for (unsigned int i = 0; i < ARRAY_LEN(bad_sizes); i++) {
		range[0] = good;
		START_IS(-EINVAL, 1, bad_sizes[i]);
	}
	START_IS(-EINVAL, 0, SZ_4K);
	START_IS(-E2BIG, 1 << 20, SZ_4K);
	range[0].length = 0;
	START_IS(-EINVAL, 1, SZ_4K);
	range[0].length = s->size - 1;
	START_IS(-EINVAL, 1, SZ_4K);
	range[0] = good;
	range[0].iova++;
	START_IS(-EINVAL, 1, SZ_4K);
	range[0].iova = ~0xfffULL;
	START_IS(-EOVERFLOW, 1, SZ_4K);
	range[0] = good;
	range[1] = good;
	START_IS(-EINVAL, 2, SZ_4K);	/* they overlap */
#undef START_IS

	ASSERT_EQ(0, start(d, s));
	for (unsigned int i = 0; i < ARRAY_LEN(bad_sizes); i++)
		EXPECT_EQ(-EINVAL, dsim_log_report(d, s->start, s->size,
						   bad_sizes[i], s->got));
	EXPECT_EQ(-EINVAL, dsim_log_report(d, s->start, 0, SZ_4K, s->got));
	EXPECT_EQ(-EOVERFLOW, dsim_log_report(d, ~0xfffULL, 2 * SZ_4K, SZ_4K,
					      s->got));
	shadow_clean(s);
	ASSERT_EQ(0, dma_pages(d, s, 1, 1));
	/* a bitmap that is none takes nothing */
	EXPECT_EQ(-EFAULT, dsim_log_report(d, s->start, s->size, SZ_4K, (void *)8));
	EXPECT_EQ(-EFAULT, dsim_log_report(d, s->start, s->size, SZ_4K,
					   (void *)~0xfffUL));
	REPORT(d, s);
}

/* ---- A VMM that migrates by it, as cloud-hypervisor does ---- */

#define REGIONS	4

/* Copies what is dirty; the guest's memory is regions, each asked for by itself */
static int send_round(struct dsim *d, struct vm *vm, const RANGE *regions,
		      uint64_t page_size, uint8_t *dest)
{
	uint64_t bits[PAGES / 64], at;
	int rc;

	for (unsigned int r = 0; r < REGIONS; r++) {
		memset(bits, 0, sizeof(bits));
		rc = dsim_log_report(d, regions[r].iova, regions[r].length, page_size,
				     bits);
		if (rc)
			return rc;
		for (at = 0; at < regions[r].length; at += page_size) {
			uint64_t off = regions[r].iova - DATA_IOVA + at;

			if (bits[at / page_size / 64] >>
			    at / page_size % 64 & 1)
				memcpy(dest + off, vm->data + off, page_size);
		}
	}
	return 0;
}

TEST_F(logging, migrates)
{
	RANGE regions[REGIONS];
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	uint64_t page_size = SZ_4K;
	uint8_t *dest;

	if (!HAS_IT())
		SKIP(return, "the base kernel asks devices only");
	dest = malloc(PAGES * SZ_4K);
	ASSERT_NE(NULL, dest);
	ASSERT_EQ(0, dsim_log_probe(d));
	for (unsigned int r = 0; r < REGIONS; r++)
		regions[r] = (RANGE){
			.iova = DATA_IOVA + r * (PAGES / REGIONS) * SZ_4K,
			.length = PAGES / REGIONS * SZ_4K,
		};
	ASSERT_EQ(0, dsim_log_start(d, regions, REGIONS, &page_size));
	ASSERT_EQ(0, dma_pages(d, s, 0, PAGES));
	memcpy(dest, vm->data, PAGES * SZ_4K);
	for (unsigned int round = 0; round < 5; round++) {
		for (unsigned int i = 0; i < 10; i++)
			ASSERT_EQ(0, dma_pages(d, s, (round * 50 + i * 11) % 250,
					       1 + i % 5));
		ASSERT_EQ(0, send_round(d, vm, regions, page_size, dest));
		ASSERT_EQ(0, dma_pages(d, s, round, 1));
	}
	ASSERT_EQ(0, dsim_mig_set(d, VFIO_DEVICE_STATE_STOP, NULL));
	ASSERT_EQ(0, send_round(d, vm, regions, page_size, dest));
	ASSERT_EQ(0, dsim_log_stop(d));
	EXPECT_TRUE(shadow_data_equal(s));
	EXPECT_EQ(0, memcmp(dest, vm->data, PAGES * SZ_4K));
	free(dest);
}

TEST_HARNESS_MAIN
