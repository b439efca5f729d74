// SPDX-License-Identifier: GPL-2.0-only
/*
 * Mappings that change while pages are being tracked: copies, files, other
 * processes, remapping, memory that is taken away, and everything going away at once
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
#include "../../../../../drivers/iommu/iommufd/iommufd_test.h"

#define NAME	"selftest-map"
#define DIRTY	IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define PAGES	64
#define ALIAS	NOWHERE_IOVA

static const struct dsim_config config = { .format = "vtdss",
					   .page_sizes = SZ_4K };

FIXTURE(mappings)
{
	struct dsim dev;
	struct vm vm;
	int memfd;
	uint8_t *mem;
};

/* PAGES pages of a file at DATA_IOVA, the ring below */
FIXTURE_SETUP(mappings)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;

	d->fd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, dsim_create(d, NAME, &config));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, DIRTY, &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	self->memfd = memfd_create("dirty", MFD_CLOEXEC);
	ASSERT_LE(0, self->memfd);
	ASSERT_EQ(0, ftruncate(self->memfd, LOW_BYTES + PAGES * SZ_4K));
	self->mem = mmap(NULL, LOW_BYTES + PAGES * SZ_4K,
			 PROT_READ | PROT_WRITE, MAP_SHARED, self->memfd, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
}

FIXTURE_TEARDOWN(mappings)
{
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	munmap(self->mem, LOW_BYTES + PAGES * SZ_4K);
	close(self->memfd);
	EXPECT_EQ(0, dsim_remove(NAME));
}

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

/* Ring and data, as files, and the device at work on them */
static int begin(struct vm *vm, struct dsim *d, int memfd, void *mem)
{
	return vm_map_file(vm, memfd, RING_IOVA, 0, LOW_BYTES) ?:
	       vm_map_file(vm, memfd, DATA_IOVA, LOW_BYTES, PAGES * SZ_4K) ?:
	       vm_track(vm, vm->hwpt, true) ?:
	       dsim_map_doorbell(d) ?:
	       dsim_start(d, mem);
}

#define BEGIN()	ASSERT_EQ(0, begin(&self->vm, &self->dev, self->memfd, self->mem))

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

/* Which of the PAGES pages from @iova on are dirty */
static uint64_t dirty(struct vm *vm, uint32_t hwpt, uint64_t iova)
{
	uint64_t bits = 0;
	int rc = vm_get_dirty(vm, hwpt, iova, PAGES * SZ_4K, 0, &bits);

	return rc ? rc : bits;
}

#define DATA_DIRTY()	dirty(&self->vm, self->vm.hwpt, DATA_IOVA)
#define ALIAS_DIRTY()	dirty(&self->vm, self->vm.hwpt, ALIAS)

TEST_F(mappings, copied)
{
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	BEGIN();
	ASSERT_EQ(0, dma(d, DATA_IOVA + 3 * SZ_4K));
	ASSERT_EQ(0, copy(vm, vm->ioas, ALIAS, DATA_IOVA, PAGES * SZ_4K));
	/* the same memory, written through two addresses: each is its own */
	EXPECT_EQ(0, ALIAS_DIRTY());
	ASSERT_EQ(0, dma(d, ALIAS + 5 * SZ_4K));
	EXPECT_EQ(1 << 3, DATA_DIRTY());
	EXPECT_EQ(1 << 5, ALIAS_DIRTY());
	ASSERT_EQ(0, dma(d, DATA_IOVA + 7 * SZ_4K));
	ASSERT_EQ(0, dma(d, ALIAS + 9 * SZ_4K));
	if (on_base())
		SKIP(return, "the base kernel forgets what is unmapped");
	ASSERT_EQ(0, vm_unmap(vm, ALIAS, PAGES * SZ_4K));
	EXPECT_EQ(1 << 7, DATA_DIRTY());
	EXPECT_EQ(1 << 9, ALIAS_DIRTY());
	EXPECT_EQ(0, ALIAS_DIRTY());
	/* a part of it, from the middle on */
	ASSERT_EQ(0, copy(vm, vm->ioas, ALIAS, DATA_IOVA + 10 * SZ_4K,
			  4 * SZ_4K));
	ASSERT_EQ(0, dma(d, ALIAS + 2 * SZ_4K));
	EXPECT_EQ(1 << 2, ALIAS_DIRTY());
	EXPECT_EQ(0, DATA_DIRTY());
}

TEST_F(mappings, copied_to_another_ioas)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	struct vm other = *vm;
	uint32_t first = vm->hwpt;

	BEGIN();
	ASSERT_EQ(0, vm_alloc_ioas(&other));
	ASSERT_EQ(0, copy(vm, other.ioas, RING_IOVA, RING_IOVA, LOW_BYTES));
	ASSERT_EQ(0, vm_alloc_hwpt(&other, d, DIRTY, &other.hwpt));
	ASSERT_EQ(0, vm_track(&other, other.hwpt, true));
	/* copied while it is tracked */
	ASSERT_EQ(0, copy(vm, other.ioas, DATA_IOVA, DATA_IOVA, PAGES * SZ_4K));
	ASSERT_EQ(0, dma(d, DATA_IOVA));
	ASSERT_EQ(0, dsim_attach(d, other.hwpt));
	ASSERT_EQ(0, dma(d, DATA_IOVA + SZ_4K));
	EXPECT_EQ(1, dirty(vm, first, DATA_IOVA));
	EXPECT_EQ(2, dirty(vm, other.hwpt, DATA_IOVA));
	ASSERT_EQ(0, dsim_attach(d, first));
	ASSERT_EQ(0, dma(d, DATA_IOVA + 2 * SZ_4K));
	EXPECT_EQ(0, dirty(vm, other.hwpt, DATA_IOVA));
	EXPECT_EQ(4, dirty(vm, first, DATA_IOVA));
	ASSERT_EQ(0, vm_destroy_object(vm, other.hwpt));
	ASSERT_EQ(0, vm_destroy_object(vm, other.ioas));
	EXPECT_EQ(0, dirty(vm, first, DATA_IOVA));
}

/* The VMM executes itself anew and keeps its devices */
TEST_F(mappings, another_process)
{
	struct iommu_ioas_change_process cmd = { .size = sizeof(cmd) };
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	int status;
	pid_t pid;

	BEGIN();
	ASSERT_EQ(0, dma(d, DATA_IOVA + 4 * SZ_4K));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		int bad = ioctl(vm->iommufd, IOMMU_IOAS_CHANGE_PROCESS, &cmd);

		bad |= dma(d, DATA_IOVA + 6 * SZ_4K) << 1;
		bad |= (dirty(vm, vm->hwpt, DATA_IOVA) != (1 << 4 | 1 << 6)) << 2;
		bad |= dma(d, DATA_IOVA + 8 * SZ_4K) << 3;
		_exit(bad & 0xff);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	d->tail += 2;	/* what the other one submitted */
	/* that process is gone, and nothing with it */
	EXPECT_EQ(1 << 8, DATA_DIRTY());
	ASSERT_EQ(0, ioctl(vm->iommufd, IOMMU_IOAS_CHANGE_PROCESS, &cmd));
	ASSERT_EQ(0, dma(d, DATA_IOVA));
	EXPECT_EQ(1, DATA_DIRTY());
}

/* What is mapped where something else was starts clean; nothing old is lost */
TEST_F(mappings, remapped)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;

	if (on_base())
		SKIP(return, "the base kernel forgets what is unmapped");
	BEGIN();
	for (unsigned int i = 0; i < 10; i++) {
		uint64_t cut = (3 + i) * SZ_4K;

		ASSERT_EQ(0, dma(d, DATA_IOVA + i * SZ_4K));
		ASSERT_EQ(0, dma(d, DATA_IOVA + 40 * SZ_4K));
		if (i % 2)
			EXPECT_EQ(1ULL << i | 1ULL << 40, DATA_DIRTY());
		ASSERT_EQ(0, vm_unmap(vm, DATA_IOVA, PAGES * SZ_4K));
		/* in two parts, each time at another place */
		ASSERT_EQ(0, vm_map_file(vm, self->memfd, DATA_IOVA, LOW_BYTES,
					 cut));
		ASSERT_EQ(0, vm_map_file(vm, self->memfd, DATA_IOVA + cut,
					 LOW_BYTES + cut, PAGES * SZ_4K - cut));
		EXPECT_EQ(i % 2 ? 0 : 1ULL << i | 1ULL << 40, DATA_DIRTY());
		EXPECT_EQ(0, DATA_DIRTY());
	}
}

TEST_F(mappings, all_unmapped)
{
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;

	if (on_base())
		SKIP(return, "the base kernel forgets what is unmapped");
	BEGIN();
	ASSERT_EQ(0, dma(d, DATA_IOVA + 63 * SZ_4K));
	ASSERT_EQ(0, dma(d, DATA_IOVA));
	ASSERT_EQ(0, vm_unmap(vm, 0, UINT64_MAX));
	EXPECT_EQ(1ULL << 63 | 1, DATA_DIRTY());
	EXPECT_EQ(0, DATA_DIRTY());
}

/* Until the device has written @value there; false when it takes ten seconds */
static bool see(const uint8_t *mem, uint64_t value)
{
	unsigned long long end = now_ms() + 10000;

	while (__atomic_load_n((uint64_t *)mem, __ATOMIC_RELAXED) != value)
		if (now_ms() > end)
			return false;
	return true;
}

#define MANY	4096

/*
 * Pages that the device writes while they are being unmapped: after what is known
 * of them was collected, and before it can reach them no more
 */
TEST_F(mappings, unmapped_while_written)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_SCATTER,
		.dst = ALIAS,
		.stride = SZ_4K,
		.count = MANY,
	};
	uint64_t want[MANY / 64], got[MANY / 64];
	unsigned int wrote, i, amid = 0;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	uint8_t *mem;
	int memfd;

	if (on_base())
		SKIP(return, "the base kernel forgets what is unmapped");
	BEGIN();
	d->trap = true;
	memfd = memfd_create("many", MFD_CLOEXEC);
	ASSERT_LE(0, memfd);
	ASSERT_EQ(0, ftruncate(memfd, MANY * SZ_4K));
	mem = mmap(NULL, MANY * SZ_4K, PROT_READ, MAP_SHARED, memfd, 0);
	ASSERT_NE(MAP_FAILED, mem);

	for (desc.value = 1; desc.value <= 50; desc.value++) {
		ASSERT_EQ(0, vm_map_file(vm, memfd, ALIAS, 0, MANY * SZ_4K));
		desc.value <<= 32;
		ASSERT_NE(NULL, dsim_put(d, &desc));
		ASSERT_EQ(0, dsim_kick(d));
		/* it has begun, and has far to go */
		ASSERT_TRUE(see(mem, desc.value));
		ASSERT_EQ(0, vm_unmap(vm, ALIAS, MANY * SZ_4K));
		dsim_wait(d);

		memset(want, 0, sizeof(want));
		for (wrote = 0, i = 0; i < MANY; i++) {
			if (*(uint64_t *)(mem + i * SZ_4K) != desc.value + i)
				continue;
			want[i / 64] |= 1ULL << i % 64;
			wrote++;
		}
		memset(got, 0, sizeof(got));
		ASSERT_EQ(0, vm_get_dirty(vm, vm->hwpt, ALIAS, MANY * SZ_4K, 0,
					  got));
		ASSERT_EQ(0, memcmp(want, got, sizeof(got)));
		amid += wrote != MANY;
		desc.value >>= 32;
	}
	EXPECT_LT(0, amid);
	munmap(mem, MANY * SZ_4K);
	close(memfd);
}

/* ---- A dmabuf, whose exporter takes it back at any time ---- */

/* The kernel may return 0 for it, so the lowest that is free is what it is */
static int dmabuf_get(int iommufd, uint32_t length)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DMABUF_GET,
		.dmabuf_get = { .length = length, .open_flags = O_CLOEXEC },
	};
	int fd = dup(iommufd);

	close(fd);
	return ioctl(iommufd, IOMMU_TEST_CMD, &cmd) < 0 ? -1 : fd;
}

static int dmabuf_revoke(int iommufd, int fd)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DMABUF_REVOKE,
		.dmabuf_revoke = { .dmabuf_fd = fd, .revoked = true },
	};

	return ioctl(iommufd, IOMMU_TEST_CMD, &cmd) ? -errno : 0;
}

/* Memory before it and behind it, all in one table */
TEST_F(mappings, dmabuf_revoked)
{
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	int fd;

	if (on_base())
		SKIP(return, "the base kernel forgets what is unmapped");
	BEGIN();
	fd = dmabuf_get(vm->iommufd, 8 * SZ_4K);
	if (fd < 0)
		SKIP(return, "the kernel has no dmabuf to test with");
	ASSERT_EQ(0, vm_map_file(vm, self->memfd, ALIAS, 0, 8 * SZ_4K));
	ASSERT_EQ(0, vm_map_file(vm, fd, ALIAS + 8 * SZ_4K, 0, 8 * SZ_4K));
	ASSERT_EQ(0, vm_map_file(vm, self->memfd, ALIAS + 16 * SZ_4K,
				 8 * SZ_4K, 8 * SZ_4K));
	EXPECT_EQ(0, ALIAS_DIRTY());
	ASSERT_EQ(0, dma(d, ALIAS + 7 * SZ_4K));
	ASSERT_EQ(0, dma(d, ALIAS + 8 * SZ_4K));
	ASSERT_EQ(0, dma(d, ALIAS + 16 * SZ_4K));
	EXPECT_EQ(1 << 7 | 1 << 8 | 1 << 16, ALIAS_DIRTY());
	EXPECT_EQ(0, ALIAS_DIRTY());

	/* what is dirty when it goes is not forgotten */
	ASSERT_EQ(0, dma(d, ALIAS + 6 * SZ_4K));
	ASSERT_EQ(0, dma(d, ALIAS + 15 * SZ_4K));
	ASSERT_EQ(0, dma(d, ALIAS + 17 * SZ_4K));
	ASSERT_EQ(0, dmabuf_revoke(vm->iommufd, fd));
	EXPECT_EQ(1 << 6 | 1 << 15 | 1 << 17, ALIAS_DIRTY());
	EXPECT_EQ(0, ALIAS_DIRTY());
	EXPECT_NE(0, dma(d, ALIAS + 9 * SZ_4K));
	EXPECT_EQ(0, dma(d, ALIAS + 5 * SZ_4K));
	EXPECT_EQ(1 << 5, ALIAS_DIRTY());

	/* its area is still there: tracking stops and starts over it */
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, dma(d, ALIAS + 4 * SZ_4K));
	EXPECT_EQ(1 << 4, ALIAS_DIRTY());
	ASSERT_EQ(0, vm_unmap(vm, ALIAS + 8 * SZ_4K, 8 * SZ_4K));
	ASSERT_EQ(0, dma(d, ALIAS + 18 * SZ_4K));
	EXPECT_EQ(1 << 18, ALIAS_DIRTY());
	close(fd);
}

#define BUF_PAGES	(SZ_2M / SZ_4K)
#define BUF_SECONDS	4

/* Who reads all the time, under @lock, and lets others have that when they @wait */
struct busy {
	struct vm *vm;
	pthread_mutex_t lock;
	bool wait;
	uint64_t seen[BUF_PAGES / 64 + 1];
	unsigned long reads;
	int error;
	bool stop;
};

/* A page behind the dmabuf, too */
static int busy_read(struct busy *b)
{
	return vm_get_dirty(b->vm, b->vm->hwpt, ALIAS,
			    (BUF_PAGES + 1) * SZ_4K, 0, b->seen);
}

static void *keep_reading(void *arg)
{
	struct busy *b = arg;

	while (!__atomic_load_n(&b->stop, __ATOMIC_RELAXED)) {
		if (__atomic_load_n(&b->wait, __ATOMIC_RELAXED)) {
			sched_yield();
			continue;
		}
		pthread_mutex_lock(&b->lock);
		b->error = b->error ?: busy_read(b);
		b->reads++;
		pthread_mutex_unlock(&b->lock);
	}
	return NULL;
}

/* The table of its pages goes with it, while it is read */
TEST_F(mappings, dmabuf_revoked_while_read)
{
	struct busy b = {
		.vm = &self->vm,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	unsigned long long end = now_ms() + BUF_SECONDS * 1000;
	uint64_t seed = 7, want[BUF_PAGES / 64 + 1];
	unsigned int rounds, i, page;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;
	pthread_t thread;
	int fd;

	if (on_base())
		SKIP(return, "the base kernel reads tables that are gone");
	BEGIN();
	fd = dmabuf_get(vm->iommufd, SZ_2M);
	if (fd < 0)
		SKIP(return, "the kernel has no dmabuf to test with");
	close(fd);
	ASSERT_EQ(0, vm_map_file(vm, self->memfd, ALIAS + SZ_2M, 0, SZ_4K));
	ASSERT_EQ(0, pthread_create(&thread, NULL, keep_reading, &b));

	for (rounds = 0; now_ms() < end; rounds++) {
		fd = dmabuf_get(vm->iommufd, SZ_2M);
		ASSERT_LE(0, fd);
		ASSERT_EQ(0, vm_map_file(vm, fd, ALIAS, 0, SZ_2M));
		memset(want, 0, sizeof(want));
		want[BUF_PAGES / 64] = 1;
		ASSERT_EQ(0, dma(d, ALIAS + SZ_2M));
		for (i = 0; i < 3; i++) {
			page = (rnd(&seed) >> 20) % BUF_PAGES;
			want[page / 64] |= 1ULL << page % 64;
			ASSERT_EQ(0, dma(d, ALIAS + page * SZ_4K));
		}
		ASSERT_EQ(0, dmabuf_revoke(vm->iommufd, fd));

		__atomic_store_n(&b.wait, true, __ATOMIC_RELAXED);
		pthread_mutex_lock(&b.lock);
		EXPECT_EQ(0, busy_read(&b));
		EXPECT_EQ(0, memcmp(want, b.seen, sizeof(want)));
		/* a start goes over what is revoked, too */
		if (rounds % 4 == 0) {
			ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
			ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
		}
		memset(b.seen, 0, sizeof(b.seen));
		pthread_mutex_unlock(&b.lock);
		__atomic_store_n(&b.wait, false, __ATOMIC_RELAXED);
		ASSERT_EQ(0, vm_unmap(vm, ALIAS, SZ_2M));
		close(fd);
	}
	__atomic_store_n(&b.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	EXPECT_EQ(0, b.error);
	TH_LOG("%u revoked, %lu reads", rounds, b.reads);
}

/* The file goes before the device, amid tracking; the kernel log stays quiet */
TEST_F(mappings, file_closed)
{
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	BEGIN();
	ASSERT_EQ(0, dma(d, DATA_IOVA));
	EXPECT_EQ(-EBUSY, vm_destroy_object(vm, vm->ioas));
	EXPECT_EQ(-EBUSY, vm_destroy_object(vm, vm->hwpt));
	close(vm->iommufd);
	vm->iommufd = -1;
	/* the vfio device holds on to its context */
	EXPECT_EQ(0, dma(d, DATA_IOVA));
}

/* Detached, its HWPT gone while it is read, and all again in the same IOAS */
TEST_F(mappings, page_table_comes_and_goes)
{
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	BEGIN();
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, dma(d, DATA_IOVA + i * SZ_4K));
		if (i % 2)
			EXPECT_EQ(1ULL << i, DATA_DIRTY());
		ASSERT_EQ(0, dsim_detach(d));
		ASSERT_EQ(0, vm_destroy_object(vm, vm->hwpt));
		ASSERT_EQ(0, vm_alloc_hwpt(vm, d, DIRTY, &vm->hwpt));
		ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
		ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
		EXPECT_EQ(0, DATA_DIRTY());
	}
}

TEST_HARNESS_MAIN
