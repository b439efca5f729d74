// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty tracking by IOMMU_HWPT_GET_DIRTY_BITMAP against a device whose every
 * write is known: what it reports must equal what was written, page by page
 * for 4K leaves, leaf by leaf for larger ones. More is as wrong as less.
 */
#include <sys/ioctl.h>

#include "kselftest_harness.h"
#include "dsim_user.h"

#define NAME		"selftest"
#define SECOND		"selftest2"

#define DATA_4K		(512 * SZ_4K)
#define DATA_2M		(4 * SZ_2M)

/* The tests' own page size is 4K: leaves larger than it, as AMD allows */
#define SIZES_MIXED	0x7f000UL

static bool has_huge_pages(void)
{
	return access("/sys/kernel/mm/hugepages", F_OK) == 0;
}

FIXTURE(dirty)
{
	struct dsim dev;
	struct vm vm;
	struct shadow shadow;
	uint64_t seed;
};

FIXTURE_VARIANT(dirty)
{
	struct dsim_config config;
	size_t data_size;
	bool huge;
	/* the base maps what is dirty already, until it is first read */
	bool born_dirty_on_base;
	/* forgets too soon for a flush to matter */
	bool tiny_iotlb;
};

FIXTURE_VARIANT_ADD(dirty, vtdss_4k)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(dirty, vtdss_2m)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K | SZ_2M },
	.data_size = DATA_2M,
	.huge = true,
};

/* Every request evicts what the one before left in the IOTLB */
FIXTURE_VARIANT_ADD(dirty, vtdss_tiny_iotlb)
{
	.config = {
		.format = "vtdss",
		.page_sizes = SZ_4K,
		.iotlb_entries = 1,
	},
	.data_size = DATA_4K,
	.tiny_iotlb = true,
};

FIXTURE_VARIANT_ADD(dirty, amdv1_4k)
{
	.config = { .format = "amdv1", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(dirty, amdv1_2m)
{
	.config = { .format = "amdv1", .page_sizes = SZ_4K | SZ_2M },
	.data_size = DATA_2M,
	.huge = true,
};

/* Whatever leaves the contiguity of ordinary memory gives, all sizes mixed */
FIXTURE_VARIANT_ADD(dirty, amdv1_mixed)
{
	.config = { .format = "amdv1", .page_sizes = SIZES_MIXED },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(dirty, x86_64_4k)
{
	.config = { .format = "x86_64", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(dirty, x86_64_2m)
{
	.config = { .format = "x86_64", .page_sizes = SZ_4K | SZ_2M },
	.data_size = DATA_2M,
	.huge = true,
};

FIXTURE_VARIANT_ADD(dirty, armlpae_4k)
{
	.config = { .format = "armlpae", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
	.born_dirty_on_base = true,
};

FIXTURE_VARIANT_ADD(dirty, armlpae_2m)
{
	.config = { .format = "armlpae", .page_sizes = SZ_4K | SZ_2M },
	.data_size = DATA_2M,
	.huge = true,
	.born_dirty_on_base = true,
};

#define BORN_DIRTY	(on_base() && variant->born_dirty_on_base)

FIXTURE_SETUP(dirty)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	size_t large = 0;

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base() && !strcmp(variant->config.format, "x86_64"))
		SKIP(return, "the base kernel has no dirty tracking for x86_64");
	if (variant->huge && !has_huge_pages())
		SKIP(return, "this kernel has no huge pages");

	self->seed = 0x9e3779b97f4a7c15ULL;
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, vm_alloc_memory(vm, variant->data_size, variant->huge)) {
		if (variant->huge)
			TH_LOG("reserve %lu huge pages",
			       2 * variant->data_size / SZ_2M);
	}
	ASSERT_EQ(0, vm_learn_leaves(vm, variant->config.page_sizes, &large));
	if (variant->huge) {
		ASSERT_EQ(vm->data_size / SZ_4K, large);
	} else if (variant->config.page_sizes != SZ_4K && !large) {
		SKIP(return, "no two contiguous aligned pages in this memory");
	}

	ASSERT_EQ(0, dsim_create(d, NAME, &variant->config));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				   &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, shadow_init(&self->shadow, vm));
	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, vm->ring));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
}

FIXTURE_TEARDOWN(dirty)
{
	shadow_free(&self->shadow);
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	EXPECT_EQ(0, dsim_remove(NAME));
}

/* Compare the bitmap last read with what it must be */
#define ASSERT_EXACT()                                                         \
	do {                                                                   \
		uint64_t _at = 0;                                              \
		ASSERT_EQ(0, shadow_lost(&self->shadow, &_at)) {               \
			TH_LOG("LOST, of %zu, the first at %#llx",             \
			       shadow_count(&self->shadow),                    \
			       (unsigned long long)_at);                       \
		}                                                              \
		ASSERT_EQ(0, shadow_extra(&self->shadow, &_at)) {              \
			TH_LOG("NOT WRITTEN, beside %zu, the first at %#llx",  \
			       shadow_count(&self->shadow),                    \
			       (unsigned long long)_at);                       \
		}                                                              \
	} while (0)

/* Read and clear, compare, and start afresh */
#define READ_EXACT()                                                           \
	do {                                                                   \
		ASSERT_EQ(0, shadow_read(&self->shadow, self->vm.hwpt, 0));    \
		ASSERT_EXACT();                                                \
		shadow_clean(&self->shadow);                                   \
	} while (0)

#define RUN(...)                                                               \
	do {                                                                   \
		struct dsim_desc _d = { __VA_ARGS__ };                         \
		shadow_desc(&self->shadow, self->dev.tail, &_d);               \
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(&self->dev, &_d));          \
	} while (0)

/* A valid descriptor that stays inside the data */
static struct dsim_desc random_desc(uint64_t *seed, size_t size)
{
	struct dsim_desc desc = { .op = rnd(seed) % 5, .value = rnd(seed) };
	uint64_t half = size / 2;

	switch (desc.op) {
	case DSIM_OP_COPY:
		/* between the halves, so that they do not overlap */
		desc.len = rnd(seed) % (3 * SZ_4K);
		desc.src = DATA_IOVA + rnd(seed) % (half - desc.len);
		desc.dst = DATA_IOVA + rnd(seed) % (half - desc.len);
		if (rnd(seed) % 2)
			desc.src += half;
		else
			desc.dst += half;
		break;
	case DSIM_OP_FILL:
		desc.len = rnd(seed) % (3 * SZ_4K);
		desc.dst = DATA_IOVA + rnd(seed) % (size - desc.len);
		break;
	case DSIM_OP_SCATTER:
	case DSIM_OP_ADD:
		desc.count = rnd(seed) % 48;
		desc.stride = rnd(seed) % 1024 * 8;
		desc.dst = DATA_IOVA +
			   rnd(seed) % (size - 8 - 48 * 8192UL) / 8 * 8;
		break;
	}
	return desc;
}

TEST_F(dirty, nothing_written)
{
	READ_EXACT();
	/* what the CPU writes is no DMA */
	memset(self->vm.data, 1, self->vm.data_size);
	READ_EXACT();
	READ_EXACT();
}

TEST_F(dirty, status_word_alone)
{
	for (uint32_t i = 0; i < 2 * RING_ENTRIES; i += 40) {
		self->dev.trap = i & 8;
		for (int n = 0; n < 40; n++)
			RUN(.op = DSIM_OP_NOP);
		READ_EXACT();
	}
}

TEST_F(dirty, each_operation)
{
	size_t pages = self->vm.data_size / SZ_4K;

	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 5 * SZ_4K, .len = 1,
	    .value = 9);
	READ_EXACT();
	/* the last byte of one page and the first of the next */
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 9 * SZ_4K - 1, .len = 2);
	READ_EXACT();
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + self->vm.data_size - 1,
	    .len = 1);
	READ_EXACT();
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .len = 0);
	READ_EXACT();
	/* the source of a copy is read, not written */
	RUN(.op = DSIM_OP_COPY, .src = DATA_IOVA + 100 * SZ_4K,
	    .dst = DATA_IOVA + 300 * SZ_4K + 100, .len = 3 * SZ_4K);
	READ_EXACT();
	RUN(.op = DSIM_OP_SCATTER, .dst = DATA_IOVA + 8, .value = 1,
	    .stride = 3 * SZ_4K, .count = pages / 3);
	READ_EXACT();
	RUN(.op = DSIM_OP_SCATTER, .dst = DATA_IOVA, .stride = 8, .count = 0);
	READ_EXACT();
	RUN(.op = DSIM_OP_ADD, .dst = DATA_IOVA + 16, .value = 1,
	    .stride = 2 * SZ_4K, .count = pages / 2);
	READ_EXACT();
	/* every page there is, and after it none */
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .len = self->vm.data_size,
	    .value = 3);
	READ_EXACT();
	READ_EXACT();
	ASSERT_TRUE(shadow_data_equal(&self->shadow));
}

/* The IOTLB knows that D was set: without a flush no second write is seen */
TEST_F(dirty, write_after_clear)
{
	for (int i = 0; i < 64; i++) {
		RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 7 * SZ_4K,
		    .len = 64, .value = i);
		RUN(.op = DSIM_OP_ADD, .dst = DATA_IOVA + 8 * SZ_4K,
		    .count = 1, .value = 1);
		READ_EXACT();
	}
}

/* The IOTLB entry made by a read must not hide that D is still to be set */
TEST_F(dirty, write_after_read)
{
	for (int i = 0; i < 16; i++) {
		RUN(.op = DSIM_OP_COPY, .src = DATA_IOVA,
		    .dst = DATA_IOVA + self->vm.data_size / 2, .len = SZ_4K);
		READ_EXACT();
		RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .len = 8, .value = i);
		READ_EXACT();
	}
}

TEST_F(dirty, no_clear)
{
	uint32_t peek = IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR;

	RUN(.op = DSIM_OP_SCATTER, .dst = DATA_IOVA, .stride = 5 * SZ_4K,
	    .count = 50);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, shadow_read(&self->shadow, self->vm.hwpt, peek));
		ASSERT_EXACT();
	}
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 2 * SZ_4K, .len = 8);
	ASSERT_EQ(0, shadow_read(&self->shadow, self->vm.hwpt, peek));
	ASSERT_EXACT();
	READ_EXACT();
	READ_EXACT();
}

TEST_F(dirty, random_operations)
{
	for (int round = 0; round < 40; round++) {
		unsigned int n = 1 + rnd(&self->seed) % RING_ENTRIES;

		for (unsigned int i = 0; i < n; i++) {
			struct dsim_desc desc = random_desc(&self->seed,
							    self->vm.data_size);

			shadow_desc(&self->shadow, self->dev.tail, &desc);
			dsim_put(&self->dev, &desc);
		}
		self->dev.trap = round & 1;
		ASSERT_EQ(0, dsim_kick(&self->dev));
		ASSERT_EQ(0, dsim_wait(&self->dev));
		ASSERT_TRUE(shadow_data_equal(&self->shadow));
		READ_EXACT();
	}
	EXPECT_EQ(0, dsim_reg(&self->dev, DSIM_REG_FAULTS));
}

/*
 * Precopy as a VMM does it: the device writes while dirty pages are read and
 * copied. Nothing that was written may be missing in the copy at the end, and
 * nothing that was not written may ever be reported.
 */
TEST_F(dirty, copy_while_writing)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	size_t reported = 0;
	uint8_t *copy;
	uint64_t *all;

	copy = malloc(vm->data_size);
	all = calloc(s->words, 8);
	ASSERT_NE(NULL, copy);
	ASSERT_NE(NULL, all);
	memcpy(copy, vm->data, vm->data_size);

	for (int round = 0; round <= 60; round++) {
		uint32_t room = RING_ENTRIES -
			(self->dev.tail - dsim_reg(&self->dev, DSIM_REG_HEAD));

		for (; round < 60 && room; room--) {
			struct dsim_desc desc = random_desc(&self->seed,
							    vm->data_size);

			shadow_desc(s, self->dev.tail, &desc);
			dsim_put(&self->dev, &desc);
		}
		ASSERT_EQ(0, dsim_kick(&self->dev));
		if (round == 60) {
			ASSERT_EQ(0, dsim_wait(&self->dev));
		}
		ASSERT_EQ(0, shadow_read(s, vm->hwpt, 0));
		for (size_t i = 0; i < s->size / SZ_4K; i++) {
			uint64_t iova = s->start + i * SZ_4K;

			if (!(s->got[i / 64] & (1ULL << (i % 64))))
				continue;
			reported++;
			all[i / 64] |= 1ULL << (i % 64);
			if (iova >= DATA_IOVA)
				memcpy(copy + (iova - DATA_IOVA),
				       vm->data + (iova - DATA_IOVA), SZ_4K);
		}
	}
	EXPECT_TRUE(shadow_data_equal(s));
	EXPECT_EQ(0, memcmp(copy, vm->data, vm->data_size));
	memcpy(s->got, all, s->words * 8);
	ASSERT_EXACT();
	EXPECT_LE(shadow_count(s), reported);
	shadow_clean(s);
	READ_EXACT();
	free(copy);
	free(all);
}

/* What is not asked for stays pending */
TEST_F(dirty, part_of_the_window)
{
	struct shadow *s = &self->shadow;
	uint64_t mid = DATA_IOVA + self->vm.data_size / 2;
	size_t bits = (mid - s->start) / SZ_4K;

	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .len = self->vm.data_size);
	memset(s->got, 0, s->words * 8);
	ASSERT_EQ(0, bits % 64);
	ASSERT_EQ(0, vm_get_dirty(s->vm, s->vm->hwpt, s->start, mid - s->start,
				  0, s->got));
	ASSERT_EQ(0, vm_get_dirty(s->vm, s->vm->hwpt, s->start, mid - s->start,
				  0, s->got));
	for (size_t i = 0; i < bits / 64; i++) {
		ASSERT_EQ(s->want[i], s->got[i]);
	}
	for (size_t i = bits / 64; i < s->words; i++) {
		ASSERT_EQ(0, s->got[i]);
	}
	/* the other half, by a read of everything */
	memset(s->want, 0, bits / 8);
	READ_EXACT();
}

/* The bitmap is ORed into: several page tables share one in QEMU */
TEST_F(dirty, bits_are_added)
{
	struct shadow *s = &self->shadow;
	/* a page that nobody writes */
	size_t bit = RING_BYTES / SZ_4K + 3;

	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 20 * SZ_4K, .len = 8);
	memset(s->got, 0, s->words * 8);
	s->got[bit / 64] |= 1ULL << (bit % 64);
	ASSERT_EQ(0, vm_get_dirty(s->vm, s->vm->hwpt, s->start, s->size, 0,
				  s->got));
	s->want[bit / 64] |= 1ULL << (bit % 64);
	ASSERT_EXACT();
}

/* A coarser bitmap is the same answer, coarser */
TEST_F(dirty, bitmap_of_64k)
{
	struct shadow *s = &self->shadow;
	size_t units = s->size / (16 * SZ_4K);
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.hwpt_id = s->vm->hwpt,
		.iova = s->start,
		.length = s->size,
		.page_size = 16 * SZ_4K,
		.data = (uintptr_t)s->got,
	};

	RUN(.op = DSIM_OP_SCATTER, .dst = DATA_IOVA + SZ_4K,
	    .stride = 40 * SZ_4K, .count = 12);
	memset(s->got, 0, s->words * 8);
	ASSERT_EQ(0, ioctl(s->vm->iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get));
	for (size_t i = 0; i < units; i++) {
		bool want = (s->want[i / 4] >> (i % 4 * 16)) & 0xffff;
		bool got = s->got[i / 64] & (1ULL << (i % 64));

		ASSERT_EQ(want, got) {
			TH_LOG("unit %zu of %zu", i, units);
		}
	}
	shadow_clean(s);
	READ_EXACT();
}

TEST_F(dirty, tracking_starts_clean)
{
	ASSERT_EQ(0, vm_track(&self->vm, self->vm.hwpt, false));
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .len = 8 * SZ_4K);
	ASSERT_EQ(0, vm_track(&self->vm, self->vm.hwpt, true));
	shadow_clean(&self->shadow);
	READ_EXACT();
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 4 * SZ_4K, .len = 8);
	READ_EXACT();
}

/* Memory that comes and goes while tracking is on */
TEST_F(dirty, map_while_tracking)
{
	uint64_t iova = DATA_IOVA + self->vm.data_size;
	uint8_t *page = self->vm.data;
	struct shadow *s = &self->shadow;
	uint64_t word;

	for (int i = 0; i < 8; i++) {
		ASSERT_EQ(0, vm_map(&self->vm, iova, page + i * SZ_4K, SZ_4K,
				    MAP_RW));
		word = 0;
		ASSERT_EQ(0, vm_get_dirty(&self->vm, self->vm.hwpt, iova, SZ_4K,
					  0, &word));
		EXPECT_EQ(BORN_DIRTY, word);
		word = 0;
		if (i & 1) {
			ASSERT_EQ(DSIM_DESC_DONE,
				  dsim_run(&self->dev, &(struct dsim_desc){
					.op = DSIM_OP_FILL, .dst = iova,
					.len = 8 }));
			shadow_wrote(s, RING_IOVA, 8);
		}
		ASSERT_EQ(0, vm_get_dirty(&self->vm, self->vm.hwpt, iova, SZ_4K,
					  0, &word));
		EXPECT_EQ(i & 1, word);
		ASSERT_EQ(0, vm_unmap(&self->vm, iova, SZ_4K));
	}
	READ_EXACT();
}

TEST_F(dirty, faults_are_clean)
{
	uint64_t iova = DATA_IOVA + self->vm.data_size;
	struct shadow *s = &self->shadow;
	uint64_t word = 0;

	ASSERT_EQ(0, vm_map(&self->vm, iova, self->vm.data, SZ_4K,
			    IOMMU_IOAS_MAP_READABLE));
	/* read only: reads, to fill the IOTLB, then a write that fails */
	RUN(.op = DSIM_OP_NOP);
	ASSERT_EQ(DSIM_DESC_FAULT,
		  dsim_run(&self->dev, &(struct dsim_desc){
			.op = DSIM_OP_FILL, .dst = iova, .len = 8 }));
	ASSERT_EQ(DSIM_FAULT_WRITE, dsim_reg(&self->dev,
					     DSIM_REG_FAULT_REASON));
	ASSERT_EQ(DSIM_DESC_FAULT,
		  dsim_run(&self->dev, &(struct dsim_desc){
			.op = DSIM_OP_ADD, .dst = iova, .count = 1 }));
	ASSERT_EQ(0, vm_get_dirty(&self->vm, self->vm.hwpt, iova, SZ_4K, 0,
				  &word));
	EXPECT_EQ(0, word);
	/* nothing there */
	ASSERT_EQ(DSIM_DESC_FAULT,
		  dsim_run(&self->dev, &(struct dsim_desc){
			.op = DSIM_OP_FILL, .dst = NOWHERE_IOVA, .len = 8 }));
	/* part way: the pages before the fault were written */
	ASSERT_EQ(DSIM_DESC_FAULT,
		  dsim_run(&self->dev, &(struct dsim_desc){
			.op = DSIM_OP_SCATTER, .dst = iova - SZ_4K,
			.stride = SZ_4K, .count = 2 }));
	shadow_wrote(s, RING_IOVA, 8);
	shadow_wrote(s, iova - SZ_4K, 8);
	READ_EXACT();
}

/* Bits are the page table's: what happens to the device does not lose them */
TEST_F(dirty, kept_over_reset_and_detach)
{
	struct dsim *d = &self->dev;

	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .len = 3 * SZ_4K);
	ASSERT_EQ(0, dsim_reset(d));
	READ_EXACT();

	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + SZ_4K, .len = 3 * SZ_4K);
	ASSERT_EQ(0, dsim_detach(d));
	READ_EXACT();

	ASSERT_EQ(0, dsim_attach(d, self->vm.hwpt));
	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 2 * SZ_4K, .len = SZ_4K);
	dsim_close(d);
	READ_EXACT();
}

/* Two devices behind one page table: their union, by one read */
TEST_F(dirty, two_devices_one_table)
{
	struct dsim second;

	ASSERT_EQ(0, dsim_create(&second, SECOND, &variant->config));
	ASSERT_EQ(0, dsim_open(&second));
	ASSERT_EQ(0, dsim_bind(&second, self->vm.iommufd));
	ASSERT_EQ(0, dsim_attach(&second, self->vm.hwpt));
	/* they take turns on one ring: the second starts where it starts */
	for (int i = 0; i < 8; i++) {
		struct dsim_desc desc = {
			.op = DSIM_OP_FILL,
			.dst = DATA_IOVA + (100 + 3 * i) * SZ_4K,
			.len = 8,
			.value = i,
		};

		ASSERT_EQ(0, dsim_start(&self->dev, self->vm.ring));
		RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 2 * i * SZ_4K,
		    .len = 8, .value = i);
		ASSERT_EQ(0, dsim_start(&second, self->vm.ring));
		shadow_desc(&self->shadow, second.tail, &desc);
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(&second, &desc));
		/* both write one page: each one's IOTLB must be flushed */
		desc.dst = DATA_IOVA + 200 * SZ_4K;
		shadow_desc(&self->shadow, second.tail, &desc);
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(&second, &desc));
		if (i & 1)
			RUN(.op = DSIM_OP_FILL, .dst = desc.dst, .len = 8);
		READ_EXACT();
	}
	dsim_close(&second);
	EXPECT_EQ(0, dsim_remove(SECOND));
}

/* Two devices, a page table each: each table tells its own device's writes */
TEST_F(dirty, two_devices_two_tables)
{
	uint64_t mine = DATA_IOVA + 30 * SZ_4K;
	uint64_t other = DATA_IOVA + 200 * SZ_4K;
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL,
		.dst = other,
		.len = 8,
	};
	struct dsim second;
	uint32_t hwpt;

	ASSERT_EQ(0, dsim_create(&second, SECOND, &variant->config));
	ASSERT_EQ(0, dsim_open(&second));
	ASSERT_EQ(0, dsim_bind(&second, self->vm.iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(&self->vm, &second,
				   IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &hwpt));
	ASSERT_EQ(0, dsim_attach(&second, hwpt));
	ASSERT_EQ(0, vm_track(&self->vm, hwpt, true));

	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, dsim_start(&self->dev, self->vm.ring));
		RUN(.op = DSIM_OP_FILL, .dst = mine, .len = 8, .value = i);
		ASSERT_EQ(0, dsim_start(&second, self->vm.ring));
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(&second, &desc));
		READ_EXACT();
		shadow_wrote(&self->shadow, RING_IOVA, 8);
		shadow_wrote(&self->shadow, other, 8);
		ASSERT_EQ(0, shadow_read(&self->shadow, hwpt, 0));
		ASSERT_EXACT();
		shadow_clean(&self->shadow);
	}
	dsim_close(&second);
	EXPECT_EQ(0, vm_destroy_object(&self->vm, hwpt));
	EXPECT_EQ(0, dsim_remove(SECOND));
}

/*
 * Negative control. With an IOTLB that remembers over flushes that D was set,
 * as if nobody had flushed, pages are lost, and the oracle of all the tests
 * here sees it. Were this to pass unseen, none of them would mean anything.
 */
TEST_F(dirty, control_no_flush_loses_pages)
{
	struct shadow *s = &self->shadow;
	uint64_t at = 0;

	if (variant->tiny_iotlb)
		SKIP(return, "an IOTLB of one entry remembers nothing");
	ASSERT_EQ(0, dsim_set(NAME, "fault_no_flush", "1"));
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 7 * SZ_4K, .len = 8);
	READ_EXACT();
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 7 * SZ_4K, .len = 8);
	ASSERT_EQ(0, shadow_read(s, self->vm.hwpt, 0));
	/* both what was filled and the ring: everything that was written */
	EXPECT_EQ(shadow_count(s), shadow_lost(s, &at));
	EXPECT_LT(0, shadow_count(s));
	EXPECT_EQ(0, shadow_extra(s, NULL));

	/*
	 * And the cause was the fault, not the test. What the IOTLB remembers
	 * wrongly goes with a flush of everything, as an attach does it.
	 */
	ASSERT_EQ(0, dsim_set(NAME, "fault_no_flush", "0"));
	ASSERT_EQ(0, dsim_detach(&self->dev));
	ASSERT_EQ(0, dsim_attach(&self->dev, self->vm.hwpt));
	ASSERT_EQ(0, dsim_start(&self->dev, self->vm.ring));
	ASSERT_EQ(0, shadow_read(s, self->vm.hwpt, 0));
	shadow_clean(s);
	for (int i = 0; i < 4; i++) {
		RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 7 * SZ_4K, .len = 8);
		READ_EXACT();
	}
}

/* Who can track, who says so, and what is refused */
FIXTURE(offer)
{
	struct dsim dev;
	struct vm vm;
};

FIXTURE_VARIANT(offer)
{
	struct dsim_config config;
	bool on_base;
	bool on_ours;
};

FIXTURE_VARIANT_ADD(offer, vtdss)
{
	.config = { .format = "vtdss" },
	.on_base = true,
	.on_ours = true,
};

FIXTURE_VARIANT_ADD(offer, vtdss_without_ad)
{
	.config = { .format = "vtdss", .no_ad = true },
};

FIXTURE_VARIANT_ADD(offer, amdv1)
{
	.config = { .format = "amdv1" },
	.on_base = true,
	.on_ours = true,
};

FIXTURE_VARIANT_ADD(offer, amdv1_without_ad)
{
	.config = { .format = "amdv1", .no_ad = true },
};

FIXTURE_VARIANT_ADD(offer, x86_64)
{
	.config = { .format = "x86_64" },
	.on_ours = true,
};

FIXTURE_VARIANT_ADD(offer, armlpae)
{
	.config = { .format = "armlpae" },
	.on_base = true,
	.on_ours = true,
};

FIXTURE_VARIANT_ADD(offer, armlpae_without_ad)
{
	.config = { .format = "armlpae", .no_ad = true },
};

FIXTURE_SETUP(offer)
{
	struct dsim *d = &self->dev;

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, dsim_create(d, NAME, &variant->config));
	ASSERT_EQ(0, vm_create(&self->vm));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, self->vm.iommufd));
}

FIXTURE_TEARDOWN(offer)
{
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	EXPECT_EQ(0, dsim_remove(NAME));
}

TEST_F(offer, is_what_it_says)
{
	bool offered = on_base() ? variant->on_base : variant->on_ours;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = d->devid,
	};
	uint64_t bitmap[8] = {};
	uint32_t hwpt;

	ASSERT_EQ(0, ioctl(vm->iommufd, IOMMU_GET_HW_INFO, &info));
	EXPECT_EQ(offered, info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
	if (offered) {
		ASSERT_EQ(0, vm_alloc_hwpt(vm, d,
					   IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
					   &hwpt));
		ASSERT_EQ(0, vm_track(vm, hwpt, true));
		ASSERT_EQ(0, vm_track(vm, hwpt, true));
		ASSERT_EQ(0, vm_get_dirty(vm, hwpt, 0, SZ_2M, 0, bitmap));
		ASSERT_EQ(0, vm_track(vm, hwpt, false));
		ASSERT_EQ(0, vm_destroy_object(vm, hwpt));
	} else {
		EXPECT_EQ(-EOPNOTSUPP,
			  vm_alloc_hwpt(vm, d, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
					&hwpt));
	}

	/* a page table that was not asked to track does not */
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, 0, &hwpt));
	EXPECT_EQ(-EOPNOTSUPP, vm_track(vm, hwpt, true));
	EXPECT_EQ(-EOPNOTSUPP, vm_get_dirty(vm, hwpt, 0, SZ_2M, 0, bitmap));
}

/* A table of one format is not for a device behind an IOMMU of another */
TEST_F(offer, foreign_table_is_refused)
{
	struct dsim_config config = {
		.format = strcmp(variant->config.format, "vtdss") ?
			  "vtdss" : "amdv1",
	};
	struct dsim other;
	uint32_t hwpt;

	ASSERT_EQ(0, dsim_create(&other, SECOND, &config));
	ASSERT_EQ(0, dsim_open(&other));
	ASSERT_EQ(0, dsim_bind(&other, self->vm.iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(&self->vm, &other, 0, &hwpt));
	EXPECT_EQ(-EINVAL, dsim_attach(&self->dev, hwpt));
	EXPECT_EQ(0, dsim_attach(&other, hwpt));
	dsim_close(&other);
	EXPECT_EQ(0, vm_destroy_object(&self->vm, hwpt));
	EXPECT_EQ(0, dsim_remove(SECOND));
}

TEST_HARNESS_MAIN
