// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty logs of memory: known by address, by place in a file, or both, whatever
 * IOAS maps it, wherever, how often, and for how long
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "dsim_user.h"
#include "log_user.h"
#include "../../../../../drivers/iommu/iommufd/iommufd_test.h"

#define NAME	"log-memory"
#define DIRTY	IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define USER	IOMMU_DIRTY_LOG_USER
#define IN_FILE	IOMMU_DIRTY_LOG_FILE
#define PAGES	64U
#define ALL	(~0ULL)
#define BIT(n)	(1ULL << (n))

/* Where tests map the same memory once more, and once more */
#define ALIAS	NOWHERE_IOVA
#define THIRD	(NOWHERE_IOVA + 0x1000000UL)

struct memory {
	int fd;
	uint8_t *ring;		/* the ring, then PAGES of data */
	uint8_t *data;
};

FIXTURE(memory)
{
	struct dsim dev;
	struct vm vm;
	struct memory mem;
	uint32_t how;	/* USER or IN_FILE */
};

FIXTURE_VARIANT(memory)
{
	uint32_t how;
};

FIXTURE_VARIANT_ADD(memory, by_address)
{
	.how = USER,
};

FIXTURE_VARIANT_ADD(memory, by_file)
{
	.how = IN_FILE,
};

FIXTURE_SETUP(memory)
{
	static const struct dsim_config config = { .format = "vtdss",
						   .page_sizes = SZ_4K };
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;

	d->fd = -1;
	vm->iommufd = -1;
	self->mem.fd = -1;
	self->mem.ring = MAP_FAILED;
	self->how = variant->how;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base())
		SKIP(return, "the base kernel has no dirty logs");
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, dsim_create(d, NAME, &config));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, DIRTY, &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	self->mem.fd = memfd_create("memory", MFD_CLOEXEC);
	ASSERT_LE(0, self->mem.fd);
	ASSERT_EQ(0, ftruncate(self->mem.fd, LOW_BYTES + PAGES * SZ_4K));
	self->mem.ring = mmap(NULL, LOW_BYTES + PAGES * SZ_4K,
			      PROT_READ | PROT_WRITE, MAP_SHARED, self->mem.fd,
			      0);
	ASSERT_NE(MAP_FAILED, self->mem.ring);
	self->mem.data = self->mem.ring + LOW_BYTES;
	ASSERT_EQ(0, vm_map_file(vm, self->mem.fd, RING_IOVA, 0, LOW_BYTES));
	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, (void *)self->mem.ring));
}

FIXTURE_TEARDOWN(memory)
{
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	if (self->mem.ring != MAP_FAILED)
		munmap(self->mem.ring, LOW_BYTES + PAGES * SZ_4K);
	if (self->mem.fd >= 0)
		close(self->mem.fd);
	if (self->dev.name[0]) {
		EXPECT_EQ(0, dsim_remove(NAME));
	}
}

/* @n pages of the data from page @first on, by address or from the file */
static int map_as(const struct memory *mem, struct vm *vm, uint32_t how,
		  uint64_t iova, unsigned int first, unsigned int n)
{
	if (how == USER)
		return vm_map(vm, iova, mem->data + first * SZ_4K, n * SZ_4K,
			      MAP_RW);
	return vm_map_file(vm, mem->fd, iova, LOW_BYTES + first * SZ_4K,
			   n * SZ_4K);
}

#define MAP(_iova, _first, _n)                                                 \
	ASSERT_EQ(0, map_as(&self->mem, &self->vm, self->how, _iova, _first, _n))
#define UNMAP(_iova, _n)                                                       \
	ASSERT_EQ(0, vm_unmap(&self->vm, _iova, (_n) * SZ_4K))

/* A log of these pages */
static int open_as(const struct memory *mem, struct vm *vm, struct dlog *log,
		   uint32_t how, unsigned int first, unsigned int n,
		   uint64_t page_size)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = how,
		.length = n * SZ_4K,
		.page_size = page_size,
	};

	if (how & USER)
		cmd.start = (uintptr_t)mem->data + first * SZ_4K;
	if (how & IN_FILE) {
		cmd.fd = mem->fd;
		cmd.file_start = LOW_BYTES + first * SZ_4K;
	}
	return dlog_open(log, vm->iommufd, &cmd);
}

#define OPEN(_log, _first, _n)                                                 \
	ASSERT_EQ(0, open_as(&self->mem, &self->vm, _log, self->how, _first,   \
			     _n, SZ_4K))

static int copy(struct vm *vm, uint32_t to, uint64_t dst, uint64_t src,
		uint64_t length)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA,
		.dst_ioas_id = to,
		.src_ioas_id = vm->ioas,
		.length = length,
		.dst_iova = dst,
		.src_iova = src,
	};

	return ioctl(vm->iommufd, IOMMU_IOAS_COPY, &cmd) ? -errno : 0;
}

static int dma(struct dsim *d, uint64_t iova)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL,
		.dst = iova + 8,
		.len = 16,
		.value = iova,
	};

	return dsim_run(d, &desc) != DSIM_DESC_DONE;
}

#define DMA(_iova)	ASSERT_EQ(0, dma(&self->dev, _iova))

/* What is set, without asking anybody */
static uint64_t taken(struct dlog *log)
{
	uint64_t bits = 0;

	dlog_take(log, &bits);
	return bits;
}

static uint64_t synced(struct dlog *log)
{
	return dlog_sync(log, NULL) ? 0xbad : taken(log);
}

TEST_F(memory, at_many_addresses)
{
	struct vm *vm = &self->vm;
	struct dlog log;

	MAP(DATA_IOVA, 0, PAGES);
	OPEN(&log, 0, PAGES);
	/* each in its own way: a copy, mapped again, in part, shifted, doubled */
	ASSERT_EQ(0, copy(vm, vm->ioas, ALIAS, DATA_IOVA, PAGES * SZ_4K));
	MAP(THIRD, 10, 20);
	MAP(THIRD + 20 * SZ_4K, 10, 20);
	ASSERT_EQ(0, copy(vm, vm->ioas, THIRD + 40 * SZ_4K,
			  DATA_IOVA + 50 * SZ_4K, 14 * SZ_4K));
	DMA(DATA_IOVA + 3 * SZ_4K);
	DMA(ALIAS + 5 * SZ_4K);
	DMA(THIRD + 7 * SZ_4K);			/* 17 */
	DMA(THIRD + 28 * SZ_4K);		/* 18 */
	DMA(THIRD + 53 * SZ_4K);		/* 63 */
	EXPECT_EQ(BIT(3) | BIT(5) | BIT(17) | BIT(18) | BIT(63), synced(&log));
	/* one page, through all of them */
	DMA(DATA_IOVA + 17 * SZ_4K);
	DMA(ALIAS + 17 * SZ_4K);
	DMA(THIRD + 7 * SZ_4K);
	DMA(THIRD + 27 * SZ_4K);
	EXPECT_EQ(BIT(17), synced(&log));
	EXPECT_EQ(0, synced(&log));
	/* one of them goes, and takes nothing with it */
	DMA(ALIAS + 20 * SZ_4K);
	DMA(DATA_IOVA + 21 * SZ_4K);
	UNMAP(ALIAS, PAGES);
	EXPECT_EQ(BIT(20), taken(&log));
	EXPECT_EQ(BIT(21), synced(&log));
	DMA(DATA_IOVA);
	EXPECT_EQ(BIT(0), synced(&log));
	EXPECT_TRUE(dlog_is_clean(&log));
	ASSERT_EQ(0, dlog_close(&log));
}

/* An IOVA is now this memory, now that */
TEST_F(memory, remapped)
{
	struct dlog log;

	OPEN(&log, 0, PAGES);
	for (unsigned int i = 0; i < 20; i++) {
		unsigned int first = i * 7 % 50;

		MAP(DATA_IOVA, first, 10);
		MAP(DATA_IOVA + 10 * SZ_4K, 63 - first, 1);
		DMA(DATA_IOVA + 2 * SZ_4K);
		DMA(DATA_IOVA + 10 * SZ_4K);
		if (i % 2)
			EXPECT_EQ(BIT(first + 2) | BIT(63 - first),
				  synced(&log));
		UNMAP(DATA_IOVA, 11);
		EXPECT_EQ(i % 2 ? 0 : BIT(first + 2) | BIT(63 - first),
			  taken(&log));
	}
	EXPECT_EQ(0, synced(&log));
	EXPECT_TRUE(dlog_is_clean(&log));
	ASSERT_EQ(0, dlog_close(&log));
}

/* Another thread has its mapping there as soon as there is room for it */
struct successor {
	struct vm *vm;
	uint64_t iova;
	uint8_t *mem;
	int ready;
	int rc;
};

static void *succeed(void *arg)
{
	struct successor *next = arg;

	do {
		__atomic_store_n(&next->ready, 1, __ATOMIC_RELEASE);
		next->rc = vm_map(next->vm, next->iova, next->mem, 2 * SZ_4K,
				  MAP_RW);
	} while (next->rc == -EEXIST);
	return NULL;
}

/* What was written before is of the old memory, what is after of the new */
TEST_F(memory, taken_over_at_once)
{
	struct dlog log;

	if (self->how != USER)
		SKIP(return, "once will do");
	OPEN(&log, 0, PAGES);
	for (unsigned int i = 0; i < 50 && !_metadata->exit_code; i++) {
		unsigned int old = i % 16, new = 32 + i % 16;
		struct successor next = {
			.vm = &self->vm,
			.iova = DATA_IOVA,
			.mem = self->mem.data + new * SZ_4K,
		};
		pthread_t thread;

		MAP(DATA_IOVA, old, 2);
		DMA(DATA_IOVA + SZ_4K);
		ASSERT_EQ(0, pthread_create(&thread, NULL, succeed, &next));
		while (!__atomic_load_n(&next.ready, __ATOMIC_ACQUIRE))
			sched_yield();
		UNMAP(DATA_IOVA, 2);
		EXPECT_EQ(BIT(old + 1), taken(&log));
		ASSERT_EQ(0, pthread_join(thread, NULL));
		ASSERT_EQ(0, next.rc);
		DMA(DATA_IOVA);
		EXPECT_EQ(BIT(new), synced(&log));
		UNMAP(DATA_IOVA, 2);
		EXPECT_EQ(0, taken(&log));
	}
	ASSERT_EQ(0, dlog_close(&log));
}

/* A log of a part; areas that end in it, begin in it, lie within, on both sides */
TEST_F(memory, ends_of_the_log)
{
	struct dlog log;

	for (int late = 0; late < 2; late++) {
		if (!late)
			OPEN(&log, 20, 24);
		MAP(DATA_IOVA, 0, 30);
		MAP(DATA_IOVA + 64 * SZ_4K, 35, 29);
		MAP(DATA_IOVA + 128 * SZ_4K, 21, 5);
		MAP(DATA_IOVA + 192 * SZ_4K, 0, PAGES);
		MAP(DATA_IOVA + 256 * SZ_4K, 0, 20);
		MAP(DATA_IOVA + 320 * SZ_4K, 44, 20);
		if (late)
			OPEN(&log, 20, 24);
		DMA(DATA_IOVA + 19 * SZ_4K);		/* just before it */
		DMA(DATA_IOVA + 73 * SZ_4K);		/* 44, behind it */
		DMA(DATA_IOVA + 211 * SZ_4K);		/* 19 */
		DMA(DATA_IOVA + 236 * SZ_4K);		/* 44 */
		DMA(DATA_IOVA + 275 * SZ_4K);		/* 19 */
		DMA(DATA_IOVA + 320 * SZ_4K);		/* 44 */
		EXPECT_EQ(0, synced(&log));
		DMA(DATA_IOVA + 20 * SZ_4K);
		EXPECT_EQ(BIT(0), synced(&log));
		DMA(DATA_IOVA + 29 * SZ_4K);
		EXPECT_EQ(BIT(9), synced(&log));
		DMA(DATA_IOVA + 64 * SZ_4K);		/* 35 */
		DMA(DATA_IOVA + 72 * SZ_4K);		/* 43 */
		EXPECT_EQ(BIT(15) | BIT(23), synced(&log));
		DMA(DATA_IOVA + 128 * SZ_4K);		/* 21 */
		DMA(DATA_IOVA + 132 * SZ_4K);		/* 25 */
		EXPECT_EQ(BIT(1) | BIT(5), synced(&log));
		DMA(DATA_IOVA + 212 * SZ_4K);		/* 20 */
		DMA(DATA_IOVA + 235 * SZ_4K);		/* 43 */
		UNMAP(DATA_IOVA, 384);
		EXPECT_EQ(BIT(0) | BIT(23), taken(&log));
		EXPECT_TRUE(dlog_is_clean(&log));
		ASSERT_EQ(0, dlog_close(&log));
	}
}

/* Several pages to a bit, and the log not aligned to that */
TEST_F(memory, large_pages)
{
	struct dlog four, all;

	MAP(DATA_IOVA, 0, PAGES);
	MAP(ALIAS, 1, PAGES - 1);
	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &four, self->how, 3, 50,
			     4 * SZ_4K));
	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &all, self->how, 3, 50,
			     SZ_2M));
	DMA(DATA_IOVA + 2 * SZ_4K);
	DMA(DATA_IOVA + 53 * SZ_4K);
	EXPECT_EQ(0, synced(&four));
	EXPECT_EQ(0, synced(&all));
	DMA(DATA_IOVA + 3 * SZ_4K);
	DMA(ALIAS + 6 * SZ_4K);				/* 7 */
	DMA(DATA_IOVA + 52 * SZ_4K);			/* the last, of two */
	EXPECT_EQ(BIT(0) | BIT(1) | BIT(12), synced(&four));
	EXPECT_EQ(BIT(0), synced(&all));
	EXPECT_EQ(0, synced(&all));
	ASSERT_EQ(0, dlog_close(&four));
	ASSERT_EQ(0, dlog_close(&all));
}

/* A range is one of memory, whatever the order of its addresses */
TEST_F(memory, ranges)
{
	struct iommu_dirty_log_sync cmd = {
		.flags = IOMMU_DIRTY_LOG_SYNC_RANGE,
		.offset = 20 * SZ_4K,
		.length = 10 * SZ_4K,
	};
	const uint64_t range = (BIT(10) - 1) << 20;
	uint64_t want, got;
	struct dlog log;

	for (unsigned int i = 0; i < PAGES; i++)
		MAP(DATA_IOVA + i * SZ_4K, i * 37 % PAGES, 1);
	MAP(ALIAS, 0, PAGES);
	OPEN(&log, 0, PAGES);
	for (unsigned int i = 0; i < PAGES; i += 3) {
		DMA(DATA_IOVA + i * SZ_4K);
		DMA(ALIAS + i * SZ_4K);
	}
	want = 0;
	for (unsigned int i = 0; i < PAGES; i += 3)
		want |= BIT(i * 37 % PAGES) | BIT(i);
	ASSERT_EQ(0, dlog_sync_cmd(&log, &cmd));
	got = taken(&log);
	EXPECT_EQ(want & range, got & range);
	EXPECT_EQ(0, got & ~want);
	/* the rest waits */
	got |= synced(&log);
	EXPECT_EQ(want, got);
	ASSERT_EQ(0, dlog_close(&log));
}

/* By address, by file, and by both names: what each hears of */
TEST_F(memory, by_name)
{
	struct dlog user, file, both;
	struct vm *vm = &self->vm;

	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &user, USER, 0, PAGES,
			     SZ_4K));
	ASSERT_EQ(0, map_as(&self->mem, vm, USER, DATA_IOVA, 0, PAGES));
	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &file, IN_FILE, 0, PAGES,
			     SZ_4K));
	ASSERT_EQ(0, map_as(&self->mem, vm, IN_FILE, ALIAS, 0, PAGES));
	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &both, USER | IN_FILE, 0,
			     PAGES, SZ_4K));
	DMA(DATA_IOVA + 3 * SZ_4K);
	DMA(ALIAS + 5 * SZ_4K);
	EXPECT_EQ(BIT(3), synced(&user));
	EXPECT_EQ(BIT(5), synced(&file));
	EXPECT_EQ(BIT(3) | BIT(5), synced(&both));
	DMA(DATA_IOVA + 7 * SZ_4K);
	DMA(ALIAS + 7 * SZ_4K);
	UNMAP(DATA_IOVA, PAGES);
	UNMAP(ALIAS, PAGES);
	EXPECT_EQ(BIT(7), taken(&user));
	EXPECT_EQ(BIT(7), taken(&file));
	EXPECT_EQ(BIT(7), taken(&both));
	ASSERT_EQ(0, dlog_close(&both));
	ASSERT_EQ(0, dlog_close(&user));
	ASSERT_EQ(0, dlog_close(&file));
}

/* Several IOASes: there before the log or made after, gone before or left over */
TEST_F(memory, several_ioases)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	struct vm before = *vm, after = *vm;
	struct dlog log, later;

	ASSERT_EQ(0, vm_alloc_ioas(&before));
	MAP(DATA_IOVA, 0, PAGES);
	ASSERT_EQ(0, copy(vm, before.ioas, DATA_IOVA, DATA_IOVA, 32 * SZ_4K));
	OPEN(&log, 0, PAGES);
	ASSERT_EQ(0, vm_alloc_ioas(&after));
	ASSERT_EQ(0, copy(vm, after.ioas, RING_IOVA, RING_IOVA, LOW_BYTES));
	ASSERT_EQ(0, copy(vm, before.ioas, RING_IOVA, RING_IOVA, LOW_BYTES));
	/* upside down */
	ASSERT_EQ(0, copy(vm, after.ioas, DATA_IOVA + 32 * SZ_4K, DATA_IOVA,
			  32 * SZ_4K));
	ASSERT_EQ(0, copy(vm, after.ioas, DATA_IOVA, DATA_IOVA + 32 * SZ_4K,
			  32 * SZ_4K));
	ASSERT_EQ(0, vm_alloc_hwpt(&before, d, DIRTY, &before.hwpt));
	ASSERT_EQ(0, vm_alloc_hwpt(&after, d, DIRTY, &after.hwpt));
	DMA(DATA_IOVA + 1 * SZ_4K);
	ASSERT_EQ(0, dsim_attach(d, before.hwpt));
	DMA(DATA_IOVA + 2 * SZ_4K);
	OPEN(&later, 0, PAGES);
	ASSERT_EQ(0, dsim_attach(d, after.hwpt));
	DMA(DATA_IOVA + 3 * SZ_4K);			/* 35 */
	DMA(DATA_IOVA + 36 * SZ_4K);			/* 4 */
	EXPECT_EQ(BIT(35) | BIT(4), synced(&later));
	EXPECT_EQ(BIT(1) | BIT(2) | BIT(35) | BIT(4), synced(&log));

	/* one goes with what was written through it */
	DMA(DATA_IOVA + 40 * SZ_4K);			/* 8 */
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	ASSERT_EQ(0, vm_destroy_object(vm, after.hwpt));
	ASSERT_EQ(0, vm_destroy_object(vm, after.ioas));
	EXPECT_EQ(BIT(8), taken(&log));
	EXPECT_EQ(BIT(8), taken(&later));
	ASSERT_EQ(0, vm_destroy_object(vm, before.hwpt));
	ASSERT_EQ(0, vm_destroy_object(vm, before.ioas));
	EXPECT_EQ(0, synced(&log));
	DMA(DATA_IOVA + 9 * SZ_4K);
	EXPECT_EQ(BIT(9), synced(&log));
	EXPECT_EQ(BIT(9), synced(&later));
	/* a log of memory keeps no IOAS, and outlives them all */
	ASSERT_EQ(0, dsim_detach(d));
	ASSERT_EQ(0, vm_destroy_object(vm, vm->hwpt));
	ASSERT_EQ(0, vm_destroy_object(vm, vm->ioas));
	EXPECT_EQ(0, synced(&log));
	EXPECT_TRUE(dlog_is_clean(&log));
	ASSERT_EQ(0, dlog_close(&log));
	dlog_unmap(&later);		/* and the file takes it with it */
}

/* The file is the same through whichever descriptor */
TEST_F(memory, file_opened_again)
{
	struct dlog log, stranger;
	char path[64];
	int again, other;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", self->mem.fd);
	again = open(path, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, again);
	other = memfd_create("other", MFD_CLOEXEC);
	ASSERT_LE(0, other);
	ASSERT_EQ(0, ftruncate(other, LOW_BYTES + PAGES * SZ_4K));
	ASSERT_EQ(0, vm_map_file(&self->vm, again, DATA_IOVA, LOW_BYTES,
				 PAGES * SZ_4K));
	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &log, IN_FILE, 0, PAGES,
			     SZ_4K));
	close(again);
	again = self->mem.fd;
	self->mem.fd = other;
	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &stranger, IN_FILE, 0,
			     PAGES, SZ_4K));
	self->mem.fd = again;
	close(other);
	DMA(DATA_IOVA + 11 * SZ_4K);
	EXPECT_EQ(BIT(11), synced(&log));
	EXPECT_EQ(0, synced(&stranger));
	EXPECT_TRUE(dlog_is_clean(&stranger));
	ASSERT_EQ(0, dlog_close(&log));
	ASSERT_EQ(0, dlog_close(&stranger));
}

/* Another process: its addresses are its own, files are everybody's */
TEST_F(memory, another_process)
{
	struct iommu_ioas_change_process change = { .size = sizeof(change) };
	struct dlog user, file, mine;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	int status;
	pid_t pid;

	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &user, USER, 0, PAGES,
			     SZ_4K));
	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &file, IN_FILE, 0, PAGES,
			     SZ_4K));
	ASSERT_EQ(0, map_as(&self->mem, vm, IN_FILE, DATA_IOVA, 0, PAGES));
	DMA(DATA_IOVA + 1 * SZ_4K);
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int bad = !!ioctl(vm->iommufd, IOMMU_IOAS_CHANGE_PROCESS,
				  &change);

		bad |= dma(d, DATA_IOVA + 2 * SZ_4K) << 1;
		bad |= (synced(&file) != (BIT(1) | BIT(2))) << 2;
		/* at the same address as the other one's */
		bad |= !!map_as(&self->mem, vm, USER, ALIAS, 0, PAGES) << 3;
		bad |= !!open_as(&self->mem, vm, &mine, USER, 0, PAGES,
				 SZ_4K) << 4;
		bad |= dma(d, ALIAS + 3 * SZ_4K) << 5;
		bad |= (synced(&mine) != BIT(3)) << 6;
		bad |= (synced(&user) != 0) << 7;
		_exit(bad & 0xff);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	d->tail += 2;	/* what the other one submitted */
	/* what that one mapped is mapped still, and not ours */
	DMA(ALIAS + 4 * SZ_4K);
	DMA(DATA_IOVA + 5 * SZ_4K);
	EXPECT_EQ(0, synced(&user));
	EXPECT_EQ(BIT(5), synced(&file));
	ASSERT_EQ(0, map_as(&self->mem, vm, USER, THIRD, 0, PAGES));
	DMA(THIRD + 6 * SZ_4K);
	EXPECT_EQ(BIT(6), synced(&user));
	EXPECT_EQ(0, synced(&file));
	ASSERT_EQ(0, dlog_close(&user));
	ASSERT_EQ(0, dlog_close(&file));
}

/* Mapping fails, half way: nothing is invented, and it can be had all the same */
TEST_F(memory, failed_maps)
{
	struct vm *vm = &self->vm;
	struct dlog log;
	uint8_t *hole;

	hole = mmap(NULL, 16 * SZ_4K, PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, hole);
	ASSERT_EQ(0, munmap(hole + 8 * SZ_4K, SZ_4K));
	self->mem.data = hole;
	ASSERT_EQ(0, open_as(&self->mem, &self->vm, &log, USER, 0, 16, SZ_4K));
	for (unsigned int i = 0; i < 20; i++) {
		ASSERT_EQ(-EFAULT, vm_map(vm, DATA_IOVA + i * SZ_2M, hole,
					  16 * SZ_4K, MAP_RW));
		EXPECT_EQ(0, synced(&log));
		ASSERT_EQ(0, vm_map(vm, DATA_IOVA + i * SZ_2M, hole, 8 * SZ_4K,
				    MAP_RW));
		DMA(DATA_IOVA + i * SZ_2M + (i % 8) * SZ_4K);
		EXPECT_EQ(BIT(i % 8), synced(&log));
	}
	EXPECT_TRUE(dlog_is_clean(&log));
	ASSERT_EQ(0, dlog_close(&log));
	munmap(hole, 16 * SZ_4K);
}

/* ---- Accesses of emulated devices, over iommufd's own mock ---- */

static int mock_write(struct vm *vm, int access, uint64_t iova, uint64_t length,
		      void *data)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.id = access,
		.access_rw = {
			.iova = iova,
			.length = length,
			.uptr = (uintptr_t)data,
			.flags = MOCK_ACCESS_RW_WRITE,
		},
	};

	return ioctl(vm->iommufd, IOMMU_TEST_CMD, &cmd) ? -errno : 0;
}

/* Written at once; and memory that begins anywhere in a page, as it may be mapped */
TEST_F(memory, accesses)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_CREATE_ACCESS,
	};
	static uint8_t buf[PAGES * SZ_4K];
	struct vm vm = self->vm;
	struct dlog log;
	int access;

	ASSERT_EQ(0, vm_alloc_ioas(&vm));
	cmd.id = vm.ioas;
	if (ioctl(vm.iommufd, IOMMU_TEST_CMD, &cmd) && errno == ENOTTY)
		SKIP(return, "this kernel has no mock: CONFIG_IOMMUFD_TEST");
	access = cmd.create_access.out_access_fd;
	ASSERT_LT(0, access);
	OPEN(&log, 4, 50);
	ASSERT_EQ(0, map_as(&self->mem, &vm, self->how, DATA_IOVA, 0, PAGES));
	ASSERT_EQ(0, mock_write(&vm, access, DATA_IOVA + 3 * SZ_4K, 2 * SZ_4K,
				buf));
	EXPECT_EQ(BIT(0), taken(&log));
	ASSERT_EQ(0, mock_write(&vm, access, DATA_IOVA, sizeof(buf), buf));
	EXPECT_EQ(BIT(50) - 1, taken(&log));

	/* 100 bytes into page 10, to an address that is no page's either */
	if (self->how == USER) {
		uint64_t iova = ALIAS + 200;

		ASSERT_EQ(0, vm_map(&vm, iova, self->mem.data + 10 * SZ_4K + 100,
				    3 * SZ_4K, MAP_RW));
		ASSERT_EQ(0, mock_write(&vm, access, iova + SZ_4K - 101, 1,
					buf));
		EXPECT_EQ(BIT(6), taken(&log));
		ASSERT_EQ(0, mock_write(&vm, access, iova + SZ_4K - 100, 1,
					buf));
		EXPECT_EQ(BIT(7), taken(&log));
		ASSERT_EQ(0, mock_write(&vm, access, iova + SZ_4K - 101, 2,
					buf));
		EXPECT_EQ(BIT(6) | BIT(7), taken(&log));
		ASSERT_EQ(0, mock_write(&vm, access, iova, 3 * SZ_4K, buf));
		EXPECT_EQ(BIT(10) - BIT(6), taken(&log));
	}
	EXPECT_EQ(0, synced(&log));
	EXPECT_TRUE(dlog_is_clean(&log));
	close(access);
	ASSERT_EQ(0, dlog_close(&log));
	ASSERT_EQ(0, vm_destroy_object(&vm, vm.ioas));
}

TEST_HARNESS_MAIN
