// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA of the simulated device through its simulated IOMMU, in every format:
 * what the operations do, and what happens when they must not
 */
#include "kselftest_harness.h"
#include "dsim_user.h"

#define NAME		"selftest"
#define DATA_PAGES	64

FIXTURE(dma)
{
	struct dsim dev;
	struct vm vm;
	struct shadow shadow;
};

FIXTURE_VARIANT(dma)
{
	struct dsim_config config;
	bool trap;
	/* the format can say "write, but not read" */
	bool write_only;
};

FIXTURE_VARIANT_ADD(dma, vtdss_mapped_doorbell)
{
	.config = { .format = "vtdss" },
	.write_only = true,
};

FIXTURE_VARIANT_ADD(dma, vtdss_trapped_doorbell)
{
	.config = { .format = "vtdss" },
	.trap = true,
	.write_only = true,
};

FIXTURE_VARIANT_ADD(dma, amdv1)
{
	.config = { .format = "amdv1" },
	.write_only = true,
};

FIXTURE_VARIANT_ADD(dma, x86_64)
{
	.config = { .format = "x86_64" },
};

FIXTURE_VARIANT_ADD(dma, armlpae)
{
	.config = { .format = "armlpae" },
};

FIXTURE_SETUP(dma)
{
	struct dsim *d = &self->dev;

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, dsim_create(d, NAME, &variant->config));
	d->trap = variant->trap;
	ASSERT_EQ(0, vm_create(&self->vm));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, self->vm.iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(&self->vm, d, 0, &self->vm.hwpt));
	ASSERT_EQ(0, dsim_attach(d, self->vm.hwpt));
	ASSERT_EQ(0, vm_alloc_memory(&self->vm, DATA_PAGES * SZ_4K, false));
	for (size_t i = 0; i < self->vm.data_size; i++)
		self->vm.data[i] = i * 7 + i / SZ_4K;
	ASSERT_EQ(0, vm_map_memory(&self->vm));
	ASSERT_EQ(0, shadow_init(&self->shadow, &self->vm));
	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
}

FIXTURE_TEARDOWN(dma)
{
	shadow_free(&self->shadow);
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	EXPECT_EQ(0, dsim_remove(NAME));
}

/* Run a descriptor, and do the same in the shadow; both must agree after it */
#define RUN(...)                                                               \
	do {                                                                   \
		struct dsim_desc _d = { __VA_ARGS__ };                         \
		shadow_desc(&self->shadow, self->dev.tail, &_d);               \
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(&self->dev, &_d));          \
		ASSERT_TRUE(shadow_data_equal(&self->shadow));                 \
	} while (0)

TEST_F(dma, nop)
{
	/* once around the ring and on */
	for (uint32_t i = 0; i < RING_ENTRIES + 9; i++)
		RUN(.op = DSIM_OP_NOP);
	EXPECT_EQ(RING_ENTRIES + 9, dsim_reg(&self->dev, DSIM_REG_COMPLETED));
	EXPECT_EQ(RING_ENTRIES + 9, dsim_reg(&self->dev, DSIM_REG_HEAD));
	EXPECT_EQ(RING_ENTRIES + 9, dsim_reg(&self->dev, DSIM_REG_TAIL));
	EXPECT_EQ(0, dsim_reg(&self->dev, DSIM_REG_STATUS));
}

TEST_F(dma, fill)
{
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .value = ~0ULL, .len = 1);
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .value = 0x0102030405060708,
	    .len = SZ_4K);
	/* any alignment, across pages; the pattern starts where the data does */
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA + 3 * SZ_4K - 13,
	    .value = 0x1122334455667788, .len = 2 * SZ_4K + 5);
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .value = 42,
	    .len = self->vm.data_size);
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .value = 43, .len = 0);
}

TEST_F(dma, copy)
{
	RUN(.op = DSIM_OP_COPY, .src = DATA_IOVA,
	    .dst = DATA_IOVA + 8 * SZ_4K, .len = SZ_4K);
	RUN(.op = DSIM_OP_COPY, .src = DATA_IOVA + 17,
	    .dst = DATA_IOVA + 9 * SZ_4K - 5, .len = 3 * SZ_4K + 11);
	RUN(.op = DSIM_OP_COPY, .src = DATA_IOVA,
	    .dst = DATA_IOVA + DATA_PAGES / 2 * SZ_4K,
	    .len = DATA_PAGES / 2 * SZ_4K);
	RUN(.op = DSIM_OP_COPY, .src = DATA_IOVA, .dst = DATA_IOVA, .len = 0);
}

TEST_F(dma, scatter)
{
	RUN(.op = DSIM_OP_SCATTER, .dst = DATA_IOVA, .value = 1000,
	    .stride = SZ_4K, .count = DATA_PAGES);
	RUN(.op = DSIM_OP_SCATTER, .dst = DATA_IOVA + 8, .value = ~0ULL - 2,
	    .stride = 8, .count = 2000);
	/* all on one spot: the last one stays */
	RUN(.op = DSIM_OP_SCATTER, .dst = DATA_IOVA + 64, .value = 5,
	    .stride = 0, .count = 10);
	RUN(.op = DSIM_OP_SCATTER, .dst = DATA_IOVA, .stride = 8, .count = 0);
}

TEST_F(dma, add)
{
	RUN(.op = DSIM_OP_ADD, .dst = DATA_IOVA, .value = 3, .stride = SZ_4K,
	    .count = DATA_PAGES);
	RUN(.op = DSIM_OP_ADD, .dst = DATA_IOVA + 16, .value = -1ULL,
	    .stride = 24, .count = 1000);
	RUN(.op = DSIM_OP_ADD, .dst = DATA_IOVA + 24, .value = 1,
	    .stride = 0, .count = 100);
}

/* A full ring in one go, each descriptor depending on the one before */
TEST_F(dma, order_and_batch)
{
	struct dsim *d = &self->dev;

	for (int round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < RING_ENTRIES; i++) {
			struct dsim_desc desc = {
				.op = i % 2 ? DSIM_OP_COPY : DSIM_OP_FILL,
				.src = DATA_IOVA,
				.dst = DATA_IOVA + (i % 2) * (i % 60) * SZ_4K,
				.value = i + round,
				.len = 128,
			};

			if (desc.op == DSIM_OP_COPY && desc.dst == DATA_IOVA)
				desc.dst += SZ_4K;
			shadow_desc(&self->shadow, d->tail, &desc);
			dsim_put(d, &desc);
		}
		d->trap = !d->trap;	/* both doorbells, in turn */
		ASSERT_EQ(0, dsim_kick(d));
		ASSERT_EQ(0, dsim_wait(d));
		for (uint32_t i = 0; i < RING_ENTRIES; i++) {
			ASSERT_EQ(DSIM_DESC_DONE, d->ring[i].status);
		}
		ASSERT_TRUE(shadow_data_equal(&self->shadow));
	}
}

/* The device writes 4 bytes of a descriptor and nothing else */
TEST_F(dma, descriptor_is_left_alone)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL,
		.dst = DATA_IOVA,
		.len = 8,
		.value = 1,
		.cookie = 0xfeedfacecafebeef,
	};

	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(&self->dev, &desc));
	desc.status = DSIM_DESC_DONE;
	EXPECT_EQ(0, memcmp(&desc, &self->dev.ring[0], sizeof(desc)));
	for (uint32_t i = sizeof(desc); i < RING_BYTES; i++) {
		ASSERT_EQ(0, ((uint8_t *)self->dev.ring)[i]);
	}
}

TEST_F(dma, bad_descriptors)
{
	static const struct dsim_desc bad[] = {
		{ .op = DSIM_OP_ADD + 1 },
		{ .op = 255 },
		{ .op = DSIM_OP_NOP, .flags = 0x2 },
		{ .op = DSIM_OP_NOP, .reserved0 = 1 },
		{ .op = DSIM_OP_NOP, .reserved1 = 1 },
		{ .op = DSIM_OP_NOP, .reserved2 = 1 },
		{ .op = DSIM_OP_FILL, .dst = DATA_IOVA,
		  .len = DSIM_MAX_LEN + 1 },
		{ .op = DSIM_OP_COPY, .src = DATA_IOVA, .dst = DATA_IOVA,
		  .len = UINT32_MAX },
		{ .op = DSIM_OP_SCATTER, .dst = DATA_IOVA, .stride = 8,
		  .count = DSIM_MAX_COUNT + 1 },
		{ .op = DSIM_OP_SCATTER, .dst = DATA_IOVA, .stride = 12,
		  .count = 1 },
		{ .op = DSIM_OP_SCATTER, .dst = DATA_IOVA + 4, .stride = 8,
		  .count = 1 },
		{ .op = DSIM_OP_ADD, .dst = DATA_IOVA + 1, .stride = 8,
		  .count = 1 },
		{ .op = DSIM_OP_ADD, .dst = DATA_IOVA, .stride = 4,
		  .count = 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT_EQ(DSIM_DESC_BAD, dsim_run(&self->dev, &bad[i])) {
			TH_LOG("descriptor %zu", i);
		}
	}
	EXPECT_TRUE(shadow_data_equal(&self->shadow));
	/* none of them is a fault, and the ring goes on */
	EXPECT_EQ(0, dsim_reg(&self->dev, DSIM_REG_FAULTS));
	EXPECT_EQ(0, dsim_reg(&self->dev, DSIM_REG_STATUS));
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .value = 1, .len = 64);
}

TEST_F(dma, bad_tail)
{
	struct dsim_desc nop = { .op = DSIM_OP_NOP };
	struct dsim *d = &self->dev;

	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
	d->tail += RING_ENTRIES + 1;
	ASSERT_EQ(0, dsim_kick(d));
	EXPECT_EQ(-EIO, dsim_wait(d));
	EXPECT_EQ(DSIM_STATUS_ERROR, dsim_reg(d, DSIM_REG_STATUS));
	EXPECT_EQ(1, dsim_reg(d, DSIM_REG_COMPLETED));

	/* a good tail does not mend it; a new start does */
	d->tail = 2;
	ASSERT_EQ(0, dsim_kick(d));
	EXPECT_EQ(-EIO, dsim_wait(d));
	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_STATUS));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
}

TEST_F(dma, bad_ring)
{
	struct dsim_desc nop = { .op = DSIM_OP_NOP };
	struct dsim *d = &self->dev;

	/* an order that is too large, an address that is not aligned */
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_CTRL, 0));
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_RING_ORDER, UINT32_MAX));
	EXPECT_EQ(DSIM_RING_ORDER_MAX, dsim_reg(d, DSIM_REG_RING_ORDER));
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_RING_LO, RING_IOVA + 63));
	EXPECT_EQ(RING_IOVA, dsim_reg(d, DSIM_REG_RING_LO));

	/* a ring that is nowhere stops the device, and is not written to */
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_RING_LO, NOWHERE_IOVA));
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_CTRL, DSIM_CTRL_ENABLE));
	d->tail = 1;
	ASSERT_EQ(0, dsim_kick(d));
	EXPECT_EQ(-EIO, dsim_wait(d));
	EXPECT_EQ(DSIM_STATUS_ERROR, dsim_reg(d, DSIM_REG_STATUS));
	EXPECT_EQ(1, dsim_reg(d, DSIM_REG_FAULTS));
	EXPECT_EQ(NOWHERE_IOVA, dsim_reg(d, DSIM_REG_FAULT_LO));
	EXPECT_EQ(DSIM_FAULT_NOT_PRESENT, dsim_reg(d, DSIM_REG_FAULT_REASON));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_HEAD));
	EXPECT_TRUE(shadow_data_equal(&self->shadow));

	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
}

/* Run a descriptor that must fault; check what the device says of it */
#define FAULTS(_addr, _reason, ...)                                            \
	do {                                                                   \
		struct dsim_desc _d = { __VA_ARGS__ };                         \
		uint32_t _n = dsim_reg(&self->dev, DSIM_REG_FAULTS);           \
		uint64_t _a = _addr;                                           \
		EXPECT_EQ(DSIM_DESC_FAULT, dsim_run(&self->dev, &_d));         \
		EXPECT_EQ(_n + 1, dsim_reg(&self->dev, DSIM_REG_FAULTS));      \
		EXPECT_EQ((uint32_t)_a, dsim_reg(&self->dev,                   \
						 DSIM_REG_FAULT_LO));          \
		EXPECT_EQ(_a >> 32, dsim_reg(&self->dev, DSIM_REG_FAULT_HI));  \
		EXPECT_EQ(_reason, dsim_reg(&self->dev,                        \
					    DSIM_REG_FAULT_REASON));           \
	} while (0)

TEST_F(dma, fault_not_present)
{
	long long before = dsim_stat(NAME, "faults");
	uint64_t end = DATA_IOVA + self->vm.data_size;

	FAULTS(NOWHERE_IOVA, DSIM_FAULT_NOT_PRESENT, .op = DSIM_OP_FILL,
	       .dst = NOWHERE_IOVA, .len = 8);
	FAULTS(NOWHERE_IOVA + 8, DSIM_FAULT_NOT_PRESENT, .op = DSIM_OP_COPY,
	       .src = NOWHERE_IOVA + 8, .dst = DATA_IOVA, .len = 8);
	FAULTS(NOWHERE_IOVA, DSIM_FAULT_NOT_PRESENT, .op = DSIM_OP_ADD,
	       .dst = NOWHERE_IOVA, .stride = 8, .count = 2);
	EXPECT_TRUE(shadow_data_equal(&self->shadow));

	/* part way: what came before it was written, nothing after */
	FAULTS(end, DSIM_FAULT_NOT_PRESENT, .op = DSIM_OP_SCATTER,
	       .dst = end - SZ_4K, .stride = SZ_4K, .count = 3, .value = 9);
	memcpy(self->shadow.data + self->vm.data_size - SZ_4K,
	       &(uint64_t){ 9 }, 8);
	EXPECT_TRUE(shadow_data_equal(&self->shadow));
	EXPECT_EQ(before + 4, dsim_stat(NAME, "faults"));

	/* the ring goes on */
	EXPECT_EQ(0, dsim_reg(&self->dev, DSIM_REG_STATUS));
	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .value = 1, .len = 64);
}

TEST_F(dma, fault_out_of_range)
{
	/* wider than any table; bit 63 makes it no canonical address either */
	uint64_t far = 0x8010000000000000;

	FAULTS(far, DSIM_FAULT_RANGE, .op = DSIM_OP_FILL, .dst = far, .len = 8);
	FAULTS(far, DSIM_FAULT_RANGE, .op = DSIM_OP_COPY, .src = far,
	       .dst = DATA_IOVA, .len = 8);
	EXPECT_TRUE(shadow_data_equal(&self->shadow));
}

TEST_F(dma, fault_read_only)
{
	uint64_t iova = NOWHERE_IOVA;

	ASSERT_EQ(0, vm_map(&self->vm, iova, self->vm.data, 2 * SZ_4K,
			    IOMMU_IOAS_MAP_READABLE));
	FAULTS(iova + 16, DSIM_FAULT_WRITE, .op = DSIM_OP_FILL,
	       .dst = iova + 16, .len = 8);
	FAULTS(iova, DSIM_FAULT_WRITE, .op = DSIM_OP_ADD, .dst = iova,
	       .stride = 8, .count = 1, .value = 1);
	/* reading is fine, and a write after it still is not: the IOTLB knows */
	EXPECT_EQ(DSIM_DESC_DONE,
		  dsim_run(&self->dev, &(struct dsim_desc){
				.op = DSIM_OP_COPY, .src = iova,
				.dst = DATA_IOVA + 4 * SZ_4K, .len = SZ_4K }));
	memcpy(self->shadow.data + 4 * SZ_4K, self->shadow.data, SZ_4K);
	FAULTS(iova, DSIM_FAULT_WRITE, .op = DSIM_OP_FILL, .dst = iova,
	       .len = 8);
	EXPECT_TRUE(shadow_data_equal(&self->shadow));
	ASSERT_EQ(0, vm_unmap(&self->vm, iova, 2 * SZ_4K));
}

TEST_F(dma, fault_write_only)
{
	uint64_t iova = NOWHERE_IOVA;

	if (!variant->write_only)
		SKIP(return, "format %s has no write-only entries",
		     variant->config.format);
	ASSERT_EQ(0, vm_map(&self->vm, iova, self->vm.data, SZ_4K,
			    IOMMU_IOAS_MAP_WRITEABLE));
	FAULTS(iova, DSIM_FAULT_READ, .op = DSIM_OP_COPY, .src = iova,
	       .dst = DATA_IOVA + SZ_4K, .len = 8);
	EXPECT_TRUE(shadow_data_equal(&self->shadow));
	EXPECT_EQ(DSIM_DESC_DONE,
		  dsim_run(&self->dev, &(struct dsim_desc){
				.op = DSIM_OP_FILL, .dst = iova, .len = 8,
				.value = 77 }));
	EXPECT_EQ(77, *(uint64_t *)self->vm.data);
	ASSERT_EQ(0, vm_unmap(&self->vm, iova, SZ_4K));
}

/* The IOTLB held the translation; after the unmap it must not any more */
TEST_F(dma, unmap_is_seen)
{
	uint64_t iova = NOWHERE_IOVA;
	uint8_t *page = self->vm.data + 7 * SZ_4K;

	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(0, vm_map(&self->vm, iova, page, SZ_4K, MAP_RW));
		ASSERT_EQ(DSIM_DESC_DONE,
			  dsim_run(&self->dev, &(struct dsim_desc){
					.op = DSIM_OP_FILL, .dst = iova,
					.len = SZ_4K, .value = i }));
		ASSERT_EQ(i, *(uint64_t *)page);
		ASSERT_EQ(0, vm_unmap(&self->vm, iova, SZ_4K));
		FAULTS(iova, DSIM_FAULT_NOT_PRESENT, .op = DSIM_OP_FILL,
		       .dst = iova, .len = SZ_4K, .value = 99);
		ASSERT_EQ(i, *(uint64_t *)page);
	}
	/* what is mapped anew is another page, not the one of before */
	ASSERT_EQ(0, vm_map(&self->vm, iova, page + SZ_4K, SZ_4K, MAP_RW));
	ASSERT_EQ(DSIM_DESC_DONE,
		  dsim_run(&self->dev, &(struct dsim_desc){
				.op = DSIM_OP_FILL, .dst = iova,
				.len = SZ_4K, .value = 1234 }));
	EXPECT_EQ(19, *(uint64_t *)page);
	EXPECT_EQ(1234, *(uint64_t *)(page + SZ_4K));
}

TEST_F(dma, detached_device_is_blocked)
{
	struct dsim_desc nop = { .op = DSIM_OP_NOP };
	struct dsim *d = &self->dev;

	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
	ASSERT_EQ(0, dsim_detach(d));
	dsim_put(d, &nop);
	ASSERT_EQ(0, dsim_kick(d));
	EXPECT_EQ(-EIO, dsim_wait(d));
	EXPECT_EQ(DSIM_FAULT_NO_DOMAIN, dsim_reg(d, DSIM_REG_FAULT_REASON));
	EXPECT_EQ(DSIM_DESC_PENDING, d->ring[1].status);

	ASSERT_EQ(0, dsim_attach(d, self->vm.hwpt));
	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
}

/* Another table is another world, at once */
TEST_F(dma, attach_replaces)
{
	struct dsim_desc fill = {
		.op = DSIM_OP_FILL,
		.dst = DATA_IOVA,
		.len = 8,
	};
	struct dsim *d = &self->dev;
	struct vm other = self->vm;

	ASSERT_EQ(0, vm_alloc_ioas(&other));
	ASSERT_NE(self->vm.ioas, other.ioas);
	for (size_t at = 0; at < RING_BYTES; at += SZ_4K) {
		ASSERT_EQ(0, vm_map(&other, RING_IOVA + at,
				    (uint8_t *)other.ring + at, SZ_4K, MAP_RW));
	}
	/* there, the first data page is what here is the second */
	ASSERT_EQ(0, vm_map(&other, DATA_IOVA, self->vm.data + SZ_4K, SZ_4K,
			    MAP_RW));
	ASSERT_EQ(0, vm_alloc_hwpt(&other, d, 0, &other.hwpt));

	for (int i = 1; i < 10; i++) {
		fill.value = i;
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &fill));
		ASSERT_EQ(i, ((uint64_t *)self->vm.data)[0]);
		ASSERT_EQ(0, dsim_attach(d, other.hwpt));
		fill.value = i + 100;
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &fill));
		ASSERT_EQ(i, ((uint64_t *)self->vm.data)[0]);
		ASSERT_EQ(i + 100, ((uint64_t *)(self->vm.data + SZ_4K))[0]);
		ASSERT_EQ(0, dsim_attach(d, self->vm.hwpt));
	}
}

/* Without bus mastering the device must not reach for memory; then it does */
TEST_F(dma, bus_master_gates)
{
	struct dsim_desc nop = { .op = DSIM_OP_NOP };
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_cfg_write(d, CFG_COMMAND, 2, CFG_COMMAND_MEM));
	dsim_put(d, &nop);
	ASSERT_EQ(0, dsim_kick(d));
	EXPECT_TRUE(dsim_rests(d, 50));
	EXPECT_EQ(DSIM_DESC_PENDING, d->ring[0].status);
	ASSERT_EQ(0, dsim_enable_bus(d));
	EXPECT_EQ(0, dsim_wait(d));
	EXPECT_EQ(DSIM_DESC_DONE, d->ring[0].status);
}

/* The counters that tests and people go by */
TEST_F(dma, stats)
{
	long long written = dsim_stat(NAME, "bytes_written");
	long long read = dsim_stat(NAME, "bytes_read");
	long long descs = dsim_stat(NAME, "descs");
	uint32_t ring = sizeof(struct dsim_desc);

	RUN(.op = DSIM_OP_FILL, .dst = DATA_IOVA, .len = 1000);
	EXPECT_EQ(written + 1000 + 4, dsim_stat(NAME, "bytes_written"));
	EXPECT_EQ(read + ring, dsim_stat(NAME, "bytes_read"));
	EXPECT_EQ(descs + 1, dsim_stat(NAME, "descs"));
	EXPECT_LT(0, dsim_stat(NAME, "walks"));
	EXPECT_LT(0, dsim_stat(NAME, "hits"));
	EXPECT_EQ(-ENOENT, dsim_stat(NAME, "no-such"));
}

TEST_HARNESS_MAIN
