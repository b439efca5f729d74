// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a fuzzer of ioctls has found, one by one
 *
 * Each of these once had the kernel report something, or stand still. What it reports is
 * for whoever runs this to see, as for all tests; here it is seen that nothing takes
 * longer than it should, and that what is refused is.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "dsim_user.h"
#include "log_user.h"

#define NAME		"misuse"
#define SECONDS		2
#define TIMES		5
#define ANSWER_BYTES	(16UL << 20)
/* The kernel gives up waiting after a minute */
#define SOON_MS		30000
/* Further than the device's page table reaches */
#define FAR_IOVA	(1ULL << 50)
/* More than there is memory for a bit for each page of */
#define TOO_MUCH	(1ULL << 46)

FIXTURE(misuse)
{
	struct dsim dev;
	struct vm vm;
};

FIXTURE_SETUP(misuse)
{
	struct dsim_config config = { .format = "armlpae", .page_sizes = SZ_4K };

	self->dev.fd = -1;
	self->vm.iommufd = -1;
	self->vm.memfd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base())
		SKIP(return, "the base does what was mended");
	ASSERT_EQ(0, vm_create(&self->vm));
	ASSERT_EQ(0, vm_alloc_memory(&self->vm, 16 * SZ_4K, false));
	ASSERT_EQ(0, dsim_create(&self->dev, NAME, &config));
}

FIXTURE_TEARDOWN(misuse)
{
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	if (dsim_available() && !on_base())
		EXPECT_EQ(0, dsim_remove(NAME));
}

/* Whatever its IOAS maps */
static int log_everything(struct vm *vm)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOMMU_DIRTY_LOG_IOVA,
		.ioas_id = vm->ioas,
		.length = SZ_2M,
		.page_size = SZ_4K,
	};

	return dlog_alloc(vm->iommufd, &cmd);
}

/* ---- A log of memory and an IOAS go at the same time ---- */

struct ends {
	struct vm *vm;
	unsigned long long until;
	unsigned long times;
};

static void *end_ioases(void *arg)
{
	struct ends *e = arg;
	struct vm other = { .iommufd = e->vm->iommufd };

	while (now_ms() < e->until)
		if (!vm_alloc_ioas(&other) &&
		    !vm_destroy_object(&other, other.ioas))
			e->times++;
	return NULL;
}

TEST_F(misuse, log_and_ioas_go)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOMMU_DIRTY_LOG_USER,
		.start = (uintptr_t)self->vm.area,
		.length = 16 * SZ_4K,
		.page_size = SZ_4K,
	};
	struct ends e = {
		.vm = &self->vm,
		.until = now_ms() + SECONDS * 1000,
	};
	unsigned long times = 0;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, end_ioases, &e));
	while (now_ms() < e.until) {
		ASSERT_EQ(0, dlog_alloc(self->vm.iommufd, &cmd));
		ASSERT_EQ(0, vm_destroy_object(&self->vm, cmd.out_log_id));
		times++;
	}
	pthread_join(thread, NULL);
	TH_LOG("%lu logs, %lu IOASes", times, e.times);
	EXPECT_LT(0, times);
	EXPECT_LT(0, e.times);
}

/* ---- A device is closed while somebody asks about it ---- */

struct asks {
	struct vm *vm;
	uint32_t devid;
	void *answer;
	int began;
	int ended;
};

/* Room that is not used is cleared, page by page, and the device is held meanwhile */
static void *ask(void *arg)
{
	struct asks *a = arg;
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = a->devid,
		.data_len = ANSWER_BYTES,
		.data_uptr = (uintptr_t)a->answer,
	};

	__atomic_store_n(&a->began, 1, __ATOMIC_RELEASE);
	ioctl(a->vm->iommufd, IOMMU_GET_HW_INFO, &info);
	__atomic_store_n(&a->ended, 1, __ATOMIC_RELEASE);
	return NULL;
}

TEST_F_TIMEOUT(misuse, closed_while_asked, LONG)
{
	unsigned long long begin, took = 0;
	struct dsim *d = &self->dev;
	unsigned int met = 0;
	pthread_t thread;
	void *answer;

	answer = mmap(NULL, ANSWER_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, answer);
	for (int i = 0; i < TIMES && took < SOON_MS; i++) {
		struct asks a = { .vm = &self->vm, .answer = answer };

		ASSERT_EQ(0, dsim_open(d));
		ASSERT_EQ(0, dsim_bind(d, self->vm.iommufd));
		a.devid = d->devid;
		ASSERT_EQ(0, madvise(answer, ANSWER_BYTES, MADV_DONTNEED));
		ASSERT_EQ(0, pthread_create(&thread, NULL, ask, &a));
		while (!__atomic_load_n(&a.began, __ATOMIC_ACQUIRE))
			usleep(100);
		usleep(1000);
		met += !__atomic_load_n(&a.ended, __ATOMIC_ACQUIRE);
		begin = now_ms();
		dsim_close(d);
		took = now_ms() - begin;
		pthread_join(thread, NULL);
	}
	munmap(answer, ANSWER_BYTES);
	/* else nothing was tried */
	EXPECT_LT(0, met);
	EXPECT_GT(SOON_MS, took);
}

/* ---- What is mapped is out of a page table's reach ---- */

TEST_F(misuse, mapped_too_far)
{
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_map(vm, DATA_IOVA, vm->data, SZ_4K, MAP_RW));
	ASSERT_EQ(0, vm_map(vm, FAR_IOVA, vm->data, SZ_4K, MAP_RW));
	ASSERT_EQ(0, log_everything(vm));
	EXPECT_EQ(-EINVAL, dsim_attach(d, vm->ioas));
	ASSERT_EQ(0, vm_unmap(vm, FAR_IOVA, SZ_4K));
	EXPECT_EQ(0, dsim_attach(d, vm->ioas));
}

/* ---- More is mapped than there is ---- */

TEST_F_TIMEOUT(misuse, killed_while_it_maps, LONG)
{
	unsigned long long begin;
	struct vm *vm = &self->vm;
	int status;
	pid_t pid;

	ASSERT_EQ(0, log_everything(vm));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* there is nothing there, and nobody looks yet */
		vm_map(vm, SZ_2M, (void *)SZ_2M, TOO_MUCH, MAP_RW);
		_exit(0);
	}
	usleep(50000);
	begin = now_ms();
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_GT(SOON_MS, now_ms() - begin);
	/* in the middle of it, else nothing was tried */
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(0, vm_map(vm, SZ_2M, vm->data, SZ_4K, MAP_RW));
}

/* ---- A report that begins in the middle of a page ---- */

TEST_F(misuse, reported_across_pages)
{
	struct vfio_device_feature_dma_logging_range range = {
		.iova = DATA_IOVA, .length = 16 * SZ_4K,
	};
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL, .dst = DATA_IOVA, .len = 16 * SZ_4K,
	};
	uint64_t page_size = SZ_4K, bitmap = 0;
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, dsim_attach(d, vm->ioas));
	ASSERT_EQ(0, dsim_start(d, vm->ring));
	ASSERT_EQ(0, dsim_log_start(d, &range, 1, &page_size));
	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &desc));
	/* a bit of the eight stands for parts of two pages; a ninth is not there */
	ASSERT_EQ(0, dsim_log_report(d, DATA_IOVA + 512, 8 * SZ_4K, SZ_4K,
				     &bitmap));
	EXPECT_EQ(0xff, bitmap);
}

/* ---- A mapping that nobody may access ---- */

TEST_F(misuse, mapped_for_nobody)
{
	struct iommu_vfio_ioas ioas = {
		.size = sizeof(ioas),
		.op = IOMMU_VFIO_IOAS_SET,
		.ioas_id = self->vm.ioas,
	};
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.vaddr = (uintptr_t)self->vm.data,
		.iova = DATA_IOVA,
		.size = SZ_4K,
	};

	ASSERT_EQ(0, ioctl(self->vm.iommufd, IOMMU_VFIO_IOAS, &ioas));
	EXPECT_EQ(-1, ioctl(self->vm.iommufd, VFIO_IOMMU_MAP_DMA, &map));
	EXPECT_EQ(EINVAL, errno);
	map.flags = VFIO_DMA_MAP_FLAG_READ;
	EXPECT_EQ(0, ioctl(self->vm.iommufd, VFIO_IOMMU_MAP_DMA, &map));
}

TEST_HARNESS_MAIN
