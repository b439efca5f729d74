// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices behind no IOMMU, which write by the kernel's copies or to pages that they
 * keep pinned, alone and beside one behind an IOMMU
 *
 * Two devices share an IOAS and all of its memory: one emulated, one not. What both
 * wrote is known to the page; what is pinned to be written counts as written in each
 * read, and once more when it no longer is. The unpatched kernel knows only the
 * other one's writes, and that is checked as exactly.
 */
#include <limits.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "dsim_user.h"

#define NAME		"selftest-emu"
#define OTHER		"selftest-iommu"
#define TARGET		"selftest-emu2"
#define DIRTY		IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define PAGES		256
#define DATA_SIZE	(PAGES * SZ_4K)
#define PINS_MAX	64
/* The other device's ring */
#define OTHER_RING	0x8000UL
#define DOORBELL_IOVA	(NOWHERE_IOVA + SZ_2M)

/**
 * struct kept - the pages that the emulated device keeps, as it must choose them
 * @nr: how many at most
 * @next: the one that is given back next
 * @page: their IOVAs, or 0
 */
struct kept {
	unsigned int nr;
	unsigned int next;
	uint64_t page[PINS_MAX];
};

FIXTURE(emulated)
{
	struct dsim dev;
	struct dsim other;
	struct dsim target;
	struct vm vm;
	struct shadow shadow;
	struct kept kept;
};

FIXTURE_VARIANT(emulated)
{
	unsigned int pins;
};

FIXTURE_VARIANT_ADD(emulated, copies) { .pins = 0 };
FIXTURE_VARIANT_ADD(emulated, keeps_some) { .pins = 5 };

static const struct dsim_config by_iommu = {
	.format = "vtdss",
	.page_sizes = SZ_4K,
};

static struct dsim_config config(unsigned int pins)
{
	return (struct dsim_config){
		.format = "vtdss", .emulated = true, .pins = pins,
	};
}

FIXTURE_SETUP(emulated)
{
	struct dsim *d = &self->dev, *o = &self->other;
	struct dsim_config emulated = config(variant->pins);
	struct vm *vm = &self->vm;
	size_t large;

	d->fd = -1;
	o->fd = -1;
	self->target.fd = -1;
	vm->iommufd = -1;
	vm->memfd = -1;
	self->kept.nr = variant->pins;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, dsim_create(d, NAME, &emulated));
	ASSERT_EQ(0, dsim_create(o, OTHER, &by_iommu));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_open(o));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, dsim_bind(o, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_memory(vm, DATA_SIZE, false));
	ASSERT_EQ(0, vm_learn_leaves(vm, SZ_4K, &large));
	ASSERT_EQ(0, shadow_init(&self->shadow, vm));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, o, DIRTY, &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(o, vm->hwpt));
	ASSERT_EQ(0, dsim_attach(d, vm->ioas));
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_map_doorbell(o));
	ASSERT_EQ(0, dsim_start(d, vm->ring));
	ASSERT_EQ(0, dsim_start_at(o, vm->ring + OTHER_RING,
				   RING_IOVA + OTHER_RING));
}

FIXTURE_TEARDOWN(emulated)
{
	shadow_free(&self->shadow);
	dsim_close(&self->dev);
	dsim_close(&self->other);
	dsim_close(&self->target);
	vm_destroy(&self->vm);
	if (dsim_available()) {
		EXPECT_EQ(0, dsim_remove(NAME));
		EXPECT_EQ(0, dsim_remove(OTHER));
	}
	dsim_remove(TARGET);
}

/* ---- What must be dirty ---- */

/* By the emulated device, of whose writes the unpatched kernel says nothing */
static void must_be_dirty(struct shadow *s, uint64_t page)
{
	if (page >= s->start && page < s->start + s->size && !on_base())
		shadow_wrote(s, page, SZ_4K);
}

static void keep(struct shadow *s, struct kept *k, uint64_t page)
{
	for (unsigned int i = 0; i < k->nr; i++)
		if (k->page[i] == page)
			return;
	/* what is given back is dirty once more */
	if (k->page[k->next])
		must_be_dirty(s, k->page[k->next]);
	k->page[k->next] = page;
	k->next = (k->next + 1) % k->nr;
}

static void emulated_wrote(struct shadow *s, struct kept *k, uint64_t iova,
			   uint64_t len)
{
	uint64_t page;

	for (page = iova & ~(SZ_4K - 1); page < iova + len; page += SZ_4K) {
		must_be_dirty(s, page);
		if (k->nr)
			keep(s, k, page);
	}
}

static void must_be_dirty_still(struct shadow *s, const struct kept *k)
{
	for (unsigned int i = 0; i < k->nr; i++)
		if (k->page[i])
			must_be_dirty(s, k->page[i]);
}

static void keeps_nothing(struct shadow *s, struct kept *k)
{
	must_be_dirty_still(s, k);
	memset(k->page, 0, sizeof(k->page));
	k->next = 0;
}

static uint64_t status_of(uint64_t ring, uint32_t slot)
{
	return ring + slot % RING_ENTRIES * sizeof(struct dsim_desc) +
	       offsetof(struct dsim_desc, status);
}

/* Data as ever, and in the order in which the device writes pages */
static void emulated_desc(struct shadow *s, struct kept *k, uint32_t slot,
			  const struct dsim_desc *desc)
{
	struct shadow data = *s;

	/* what is dirty is worked out here, and not there */
	data.want = calloc(s->words, 8);
	shadow_desc(&data, slot, desc);
	free(data.want);
	switch (desc->op) {
	case DSIM_OP_COPY:
	case DSIM_OP_FILL:
		emulated_wrote(s, k, desc->dst, desc->len);
		break;
	case DSIM_OP_SCATTER:
	case DSIM_OP_ADD:
		for (uint32_t i = 0; i < desc->count; i++)
			emulated_wrote(s, k, desc->dst +
				       (uint64_t)i * desc->stride, 8);
		break;
	}
	emulated_wrote(s, k, status_of(RING_IOVA, slot), 4);
}

static void other_desc(struct shadow *s, uint32_t slot,
		       const struct dsim_desc *desc)
{
	struct shadow data = *s;

	/* the library knows one ring, this one is elsewhere */
	data.start = RING_IOVA;
	data.want = calloc(s->words, 8);
	shadow_desc(&data, slot, desc);
	free(data.want);
	if (desc->op == DSIM_OP_COPY || desc->op == DSIM_OP_FILL)
		shadow_wrote(s, desc->dst, desc->len);
	else
		for (uint32_t i = 0; i < desc->count; i++)
			shadow_wrote(s, desc->dst + (uint64_t)i * desc->stride,
				     8);
	shadow_wrote(s, status_of(RING_IOVA + OTHER_RING, slot), 4);
}

static void random_desc(uint64_t *seed, struct dsim_desc *desc)
{
	static const uint8_t ops[] = { DSIM_OP_COPY, DSIM_OP_FILL,
				       DSIM_OP_SCATTER, DSIM_OP_ADD };

	*desc = (struct dsim_desc){
		.op = ops[rnd(seed) % ARRAY_LEN(ops)],
		.src = DATA_IOVA + rnd(seed) % (DATA_SIZE / 2),
		.value = rnd(seed),
		.len = rnd(seed) % (5 * SZ_4K) + 1,
		.stride = (rnd(seed) % 3000 + 1) * 8,
		.count = rnd(seed) % 10 + 1,
	};
	/* a COPY that overlaps what it copies is no function of its ends */
	desc->dst = DATA_IOVA + DATA_SIZE / 2 +
		    rnd(seed) % (DATA_SIZE / 2 - 10 * 3000 * 8 - SZ_4K) / 8 * 8;
}

/* What the union must be, and is */
#define READ(_s, _k, _flags)                                                   \
	do {                                                                   \
		uint64_t first_ = 0;                                           \
		must_be_dirty_still(_s, _k);                                   \
		ASSERT_EQ(0, shadow_read(_s, (_s)->vm->hwpt, _flags));         \
		COMPARE(_s);                                                   \
	} while (0)

#define COMPARE(_s)                                                            \
	do {                                                                   \
		EXPECT_EQ(0, shadow_lost(_s, &first_)) {                       \
			TH_LOG("first lost: 0x%llx", (long long)first_);       \
		}                                                              \
		EXPECT_EQ(0, shadow_extra(_s, &first_)) {                      \
			TH_LOG("first invented: 0x%llx", (long long)first_);   \
		}                                                              \
	} while (0)

#define TAKE(_s, _k)                                                           \
	do {                                                                   \
		READ(_s, _k, 0);                                               \
		shadow_clean(_s);                                              \
	} while (0)

/* ---- Tests ---- */

TEST_F(emulated, is_mediated)
{
	char link[256], *subsystem;
	struct dsim none;

	snprintf(link, sizeof(link), "%s/subsystem", self->dev.sysfs);
	subsystem = realpath(link, NULL);
	ASSERT_NE(NULL, subsystem);
	EXPECT_STREQ("/sys/bus/mdev", subsystem);
	free(subsystem);
	/* there is one */
	none = self->dev;
	EXPECT_EQ(-EUSERS, dsim_make_mdev(&none));
	EXPECT_EQ(-EBUSY, dsim_set(NAME, "pins", "1"));
	EXPECT_EQ(-EBUSY, dsim_set(NAME, "emulated", "0"));
	/* nobody but the kernel knows what it writes */
	EXPECT_EQ(-EINVAL, dsim_create(&none, TARGET, &(struct dsim_config){
		.format = "vtdss", .emulated = true, .tracker = "pull" }));
	EXPECT_EQ(-EINVAL, dsim_create(&none, TARGET, &(struct dsim_config){
		.format = "vtdss", .emulated = true, .pins = PINS_MAX + 1 }));
}

/* Both write all over the same memory */
TEST_F(emulated, exact)
{
	struct dsim *d = &self->dev, *o = &self->other;
	struct shadow *s = &self->shadow;
	struct kept *k = &self->kept;
	struct dsim_desc desc;
	uint64_t seed = 5;

	random_desc(&seed, &desc);
	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
	emulated_desc(s, k, 0, &desc);
	ASSERT_EQ(0, vm_track(&self->vm, self->vm.hwpt, true));
	shadow_clean(s);
	/* what is pinned before anybody asks counts too */
	TAKE(s, k);
	for (unsigned int round = 0; round < 15; round++) {
		for (unsigned int i = 0; i < round % 7; i++) {
			random_desc(&seed, &desc);
			emulated_desc(s, k, d->tail, &desc);
			ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
			if (i % 2)
				continue;
			random_desc(&seed, &desc);
			other_desc(s, o->tail, &desc);
			ASSERT_EQ(DSIM_DESC_DONE, dsim_run(o, &desc));
		}
		READ(s, k, IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR);
		TAKE(s, k);
	}
	EXPECT_TRUE(shadow_data_equal(s));

	/* a device that stops gives back what it keeps: dirty once, then clean */
	ASSERT_EQ(0, dsim_mig_set(d, VFIO_DEVICE_STATE_RUNNING_P2P, NULL));
	keeps_nothing(s, k);
	TAKE(s, k);
	TAKE(s, k);
	ASSERT_EQ(0, dsim_mig_set(d, VFIO_DEVICE_STATE_RUNNING, NULL));
	random_desc(&seed, &desc);
	emulated_desc(s, k, d->tail, &desc);
	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
	/* so does one that is reset */
	ASSERT_EQ(0, dsim_reset(d));
	keeps_nothing(s, k);
	TAKE(s, k);
	TAKE(s, k);
}

/* Where there is nothing to write to */
TEST_F(emulated, faults)
{
	struct dsim_desc desc = { .op = DSIM_OP_FILL, .len = 2 * SZ_4K,
				  .dst = DATA_IOVA + DATA_SIZE - SZ_4K };
	uint64_t at = DATA_IOVA + DATA_SIZE, value;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;

	/* what lies in front of it is written */
	memset(vm->data + DATA_SIZE - SZ_4K, 1, SZ_4K);
	EXPECT_EQ(DSIM_DESC_FAULT, dsim_run(d, &desc));
	EXPECT_EQ(DSIM_FAULT_NOT_PRESENT, dsim_reg(d, DSIM_REG_FAULT_REASON));
	EXPECT_EQ((uint32_t)at, dsim_reg(d, DSIM_REG_FAULT_LO));
	memcpy(&value, vm->data + DATA_SIZE - 8, 8);
	EXPECT_EQ(0, value);

	ASSERT_EQ(0, vm_map(vm, NOWHERE_IOVA, vm->data, SZ_4K,
			    IOMMU_IOAS_MAP_READABLE));
	desc.dst = NOWHERE_IOVA;
	EXPECT_EQ(DSIM_DESC_FAULT, dsim_run(d, &desc));
	EXPECT_EQ(DSIM_FAULT_WRITE, dsim_reg(d, DSIM_REG_FAULT_REASON));
	desc = (struct dsim_desc){ .op = DSIM_OP_COPY, .src = NOWHERE_IOVA,
				   .dst = DATA_IOVA + SZ_4K, .len = SZ_4K };
	vm->data[17] = 99;
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
	EXPECT_EQ(99, vm->data[SZ_4K + 17]);

	/* without an address space it cannot so much as read its ring */
	ASSERT_EQ(0, dsim_detach(d));
	dsim_put(d, &desc);
	EXPECT_EQ(0, dsim_kick(d));
	EXPECT_EQ(-EIO, dsim_wait(d));
}

/* What is mapped and unmapped: an unmap waits for what is pinned, and loses nothing */
TEST_F(emulated, follows_mappings)
{
	struct dsim_desc desc = { .op = DSIM_OP_FILL, .len = 8 };
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	uint64_t bits, want;

	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	for (unsigned int i = 0; i < 5; i++) {
		ASSERT_EQ(0, vm_map(vm, NOWHERE_IOVA, vm->data, 64 * SZ_4K,
				    MAP_RW));
		for (unsigned int page = 3; page < 64; page += 10 + i) {
			desc.dst = NOWHERE_IOVA + page * SZ_4K;
			ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
		}
		want = 0;
		for (unsigned int page = 3; page < 64; page += 10 + i)
			want |= 1ULL << page;
		ASSERT_EQ(0, vm_unmap(vm, NOWHERE_IOVA, 64 * SZ_4K));
		bits = 0;
		ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, NOWHERE_IOVA,
					  64 * SZ_4K, 0, &bits));
		EXPECT_EQ(on_base() ? 0 : want, bits);
		bits = 0;
		ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, NOWHERE_IOVA,
					  64 * SZ_4K, 0, &bits));
		EXPECT_EQ(0, bits);
	}
}

/* The same while it writes: what was written was reported, what failed was not */
TEST_F(emulated, unmapped_under_load)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	unsigned int done = 0, failed = 0;
	uint64_t seed = 7;

	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	for (unsigned int round = 0; round < 12; round++) {
		struct dsim_desc *slots[64];
		uint64_t bits = 0, want = 0;

		ASSERT_EQ(0, vm_map(vm, NOWHERE_IOVA, vm->data, 64 * SZ_4K,
				    MAP_RW));
		for (unsigned int page = 0; page < 64; page++)
			slots[page] = dsim_put(d, &(struct dsim_desc){
				.op = DSIM_OP_FILL, .len = SZ_4K,
				.dst = NOWHERE_IOVA + page * SZ_4K });
		ASSERT_EQ(0, dsim_kick(d));
		usleep(rnd(&seed) % 3000);
		if (round % 2) {
			ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, NOWHERE_IOVA,
						  64 * SZ_4K, 0, &bits));
			usleep(rnd(&seed) % 1000);
		}
		ASSERT_EQ(0, vm_unmap(vm, NOWHERE_IOVA, 64 * SZ_4K));
		ASSERT_EQ(0, dsim_wait(d));
		ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, NOWHERE_IOVA,
					  64 * SZ_4K, 0, &bits));
		for (unsigned int page = 0; page < 64; page++) {
			if (slots[page]->status == DSIM_DESC_DONE) {
				want |= 1ULL << page;
				done++;
			} else {
				EXPECT_EQ(DSIM_DESC_FAULT, slots[page]->status);
				failed++;
			}
		}
		EXPECT_EQ(on_base() ? 0 : want, bits);
	}
	EXPECT_LT(0, done);
	TH_LOG("%u written, %u came too late", done, failed);
}

/* Its DMA logging is answered by the tracker: all that is written to the IOAS */
TEST_F(emulated, logs)
{
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev, *o = &self->other;
	struct kept *k = &self->kept;
	struct vfio_device_feature_dma_logging_range range = {
		.iova = s->start, .length = s->size,
	};
	struct dsim_desc desc;
	uint64_t seed = 9, size = SZ_4K, first_ = 0;

	EXPECT_EQ(on_base() ? -ENOTTY : 0, dsim_log_probe(d));
	EXPECT_EQ(on_base() ? -ENOTTY : 0, dsim_log_start(d, &range, 1, &size));
	if (on_base())
		return;
	EXPECT_EQ(SZ_4K, size);
	/* the other one's HWPT is asked there */
	EXPECT_EQ(-ENOTTY, dsim_log_probe(o));
	for (unsigned int round = 0; round < 10; round++) {
		random_desc(&seed, &desc);
		emulated_desc(s, k, d->tail, &desc);
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
		random_desc(&seed, &desc);
		other_desc(s, o->tail, &desc);
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(o, &desc));
		must_be_dirty_still(s, k);
		memset(s->got, 0, s->words * 8);
		ASSERT_EQ(0, dsim_log_report(d, s->start, s->size, SZ_4K,
					     s->got));
		COMPARE(s);
		shadow_clean(s);
	}
	/* it ends with the attachment */
	ASSERT_EQ(0, dsim_detach(d));
	EXPECT_EQ(-EINVAL, dsim_log_report(d, s->start, s->size, SZ_4K, s->got));
}

/*
 * Peer to peer: each rings the other's doorbell by DMA, through what the IOAS maps,
 * and the page that it lies in is dirty as any other.
 */
TEST_F(emulated, peers)
{
	struct dsim *dev[2] = { &self->dev, &self->other };
	struct vm *vm = &self->vm;
	uint64_t bits;

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, vm_map(vm, DOORBELL_IOVA + i * SZ_4K,
				    (void *)((uintptr_t)dev[i]->doorbell &
					     ~(SZ_4K - 1)), SZ_4K, MAP_RW));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	for (unsigned int round = 0; round < 8; round++) {
		int i = round % 2;
		struct dsim *from = dev[i], *to = dev[!i];
		struct dsim_desc *slot;

		slot = dsim_put(to, &(struct dsim_desc){
			.op = DSIM_OP_FILL, .dst = DATA_IOVA + round * SZ_4K,
			.len = 8, .value = round + 1 });
		EXPECT_EQ(DSIM_DESC_DONE, dsim_run(from, &(struct dsim_desc){
			.op = DSIM_OP_FILL, .dst = DOORBELL_IOVA + !i * SZ_4K,
			.len = 4, .value = to->tail }));
		ASSERT_EQ(0, dsim_wait(to));
		EXPECT_EQ(DSIM_DESC_DONE, slot->status);
		EXPECT_EQ(round + 1, *(uint64_t *)(vm->data + round * SZ_4K));
		if (variant->pins)
			continue;
		bits = 0;
		ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, DOORBELL_IOVA,
					  2 * SZ_4K, 0, &bits));
		EXPECT_EQ(on_base() && !i ? 0 : 1U << !i, bits);
	}
}

/* All states, by the same library as the others */
TEST_F(emulated, migrates)
{
	struct dsim *d = &self->dev, *t = &self->target;
	struct dsim_config emulated = config(variant->pins);
	struct shadow *s = &self->shadow;
	struct kept *k = &self->kept;
	struct vm *vm = &self->vm;
	struct dsim_desc desc;
	uint8_t stream[SZ_4K];
	uint64_t seed = 13;
	ssize_t length;
	int fd;

	ASSERT_EQ(0, dsim_create(t, TARGET, &emulated));
	ASSERT_EQ(0, dsim_open(t));
	ASSERT_EQ(0, dsim_bind(t, vm->iommufd));
	ASSERT_EQ(0, dsim_attach(t, vm->ioas));
	for (unsigned int i = 0; i < 10; i++) {
		random_desc(&seed, &desc);
		emulated_desc(s, k, d->tail, &desc);
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
	}
	ASSERT_EQ(0, dsim_mig_set(d, VFIO_DEVICE_STATE_RUNNING_P2P, NULL));
	/* asked of one that is quiet, done by the other */
	random_desc(&seed, &desc);
	emulated_desc(s, k, d->tail, &desc);
	dsim_put(d, &desc);
	ASSERT_EQ(0, dsim_kick(d));
	EXPECT_TRUE(dsim_rests(d, 5));
	ASSERT_EQ(0, dsim_mig_set(d, VFIO_DEVICE_STATE_STOP_COPY, &fd));
	length = read_stream(fd, stream, sizeof(stream));
	close(fd);
	ASSERT_LT(0, length);
	ASSERT_EQ(0, dsim_mig_set(t, VFIO_DEVICE_STATE_RESUMING, &fd));
	ASSERT_EQ(0, write_stream(fd, stream, length));
	close(fd);
	t->ring = d->ring;
	t->tail = d->tail;
	ASSERT_EQ(0, dsim_enable_bus(t));
	ASSERT_EQ(0, dsim_mig_set(t, VFIO_DEVICE_STATE_RUNNING, NULL));
	ASSERT_EQ(0, dsim_wait(t));
	EXPECT_EQ(11, dsim_reg(t, DSIM_REG_COMPLETED));
	EXPECT_TRUE(shadow_data_equal(s));
}

TEST_HARNESS_MAIN
