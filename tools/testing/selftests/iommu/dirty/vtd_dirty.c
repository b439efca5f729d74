// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty tracking by the first-stage tables of VT-d, with the real driver: what
 * PCI devices of QEMU write is reported, exactly and once, for leaves of 4K, 2M
 * and 1G.
 *
 * Needs root, vfio-pci bound to an "edu" device (with dma_mask=0xffffffff) and to
 * an "nvme" one, and 2M and 1G huge pages. Where the IOMMU cannot do it, or claims
 * no coherent page walk, the only test is that dirty tracking is refused.
 *
 * EMULATOR_LACKS names a correction that the emulator is without: all-flags or
 * write-hit. The tests that must see it then assert that pages are lost, and end
 * as expected failures; all others have to pass as always.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <time.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "dsim_user.h"

#define SZ_1G		0x40000000UL
#define HUGE_2M		(21 << 26)	/* MAP_HUGE_2MB, MAP_HUGE_1GB */
#define HUGE_1G		(30 << 26)

/*
 * Pages for the devices' own use, then the data, right behind it one page more.
 * Bus addresses that edu's 32 address bits reach, beside the MSI range.
 */
#define LOW_IOVA	0x10000000UL
#define LOW_PAGES	16
#define SQ_IOVA		LOW_IOVA
#define CQ_IOVA		(LOW_IOVA + SZ_4K)
#define PATTERN_IOVA	(LOW_IOVA + 2 * SZ_4K)
#define MEM_IOVA	0x40000000UL

#define PEEK		IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR

/* From the specification: scalable mode, first stage, coherent walks */
#define ECAP_SMTS	(1ULL << 43)
#define ECAP_FSTS	(1ULL << 47)
#define ECAP_SMPWC	(1ULL << 48)

/* What a test sees when it is missing */
#define ALL_FLAGS	1
#define WRITE_HIT	2

static int lacks(void)
{
	const char *what = getenv("EMULATOR_LACKS");

	if (!what || !*what)
		return 0;
	if (!strcmp(what, "all-flags"))
		return ALL_FLAGS;
	return strcmp(what, "write-hit") ? -1 : WRITE_HIT;
}

/* ---- PCI devices ---- */

enum pci_model { EDU, NVME };

static const struct {
	const char *name;
	unsigned int vendor, device;
	size_t bar;
} models[] = {
	[EDU] = { "edu", 0x1234, 0x11e8, SZ_4K },
	[NVME] = { "nvme", 0x1b36, 0x0010, 2 * SZ_4K },
};

/**
 * struct source - a device that is made to read and write
 * @model: which
 * @dev: the vfio device
 * @bar: its registers
 * @edu: what edu holds in its buffer
 * @sq: queue that nvme takes commands from
 * @cq: queue that it tells completions by
 * @at: commands so far
 */
struct source {
	enum pci_model model;
	struct dsim dev;
	volatile uint8_t *bar;
	uint8_t edu[SZ_4K];
	volatile uint32_t *sq, *cq;
	unsigned int at;
};

static unsigned int sysfs_number(const char *device, const char *name)
{
	char path[PATH_MAX];
	unsigned int n = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", device,
		 name);
	f = fopen(path, "r");
	if (f) {
		if (fscanf(f, "%i", &n) != 1)
			n = 0;
		fclose(f);
	}
	return n;
}

/* The name of a device's vfio cdev, or none */
static bool find_cdev(const char *device, char *node, size_t size)
{
	char path[PATH_MAX];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vfio-dev", device);
	dir = opendir(path);
	if (!dir)
		return false;
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, "vfio", 4)) {
			snprintf(node, size, "/dev/vfio/devices/%.32s",
				 entry->d_name);
			found = true;
		}
	closedir(dir);
	return found;
}

static bool find_device(enum pci_model model, char *node, size_t size)
{
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	dir = opendir("/sys/bus/pci/devices");
	if (!dir)
		return false;
	while (!found && (entry = readdir(dir)))
		found = sysfs_number(entry->d_name, "vendor") ==
				models[model].vendor &&
			sysfs_number(entry->d_name, "device") ==
				models[model].device &&
			find_cdev(entry->d_name, node, size);
	closedir(dir);
	return found;
}

static bool devices_available(void)
{
	char node[PATH_MAX];

	return find_device(EDU, node, sizeof(node)) &&
	       find_device(NVME, node, sizeof(node));
}

static int source_open(struct source *s, enum pci_model model, int iommufd)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	char node[PATH_MAX];
	void *bar;
	int rc;

	s->model = model;
	s->dev.fd = -1;
	if (!find_device(model, node, sizeof(node)))
		return -ENODEV;
	s->dev.fd = open(node, O_RDWR | O_CLOEXEC);
	if (s->dev.fd < 0)
		return -errno;
	rc = dsim_bind(&s->dev, iommufd) ?: dsim_enable_bus(&s->dev);
	if (rc)
		return rc;
	if (ioctl(s->dev.fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return -errno;
	bar = mmap(NULL, models[model].bar, PROT_READ | PROT_WRITE, MAP_SHARED,
		   s->dev.fd, info.offset);
	if (bar == MAP_FAILED)
		return -errno;
	s->bar = bar;
	return 0;
}

static void source_close(struct source *s)
{
	if (s->bar)
		munmap((void *)s->bar, models[s->model].bar);
	s->bar = NULL;
	dsim_close(&s->dev);
}

static uint32_t reg(struct source *s, size_t at)
{
	return *(volatile uint32_t *)(s->bar + at);
}

static void set_reg(struct source *s, size_t at, uint32_t value)
{
	*(volatile uint32_t *)(s->bar + at) = value;
}

/* Wait until the bits of a register are as told */
static int wait_reg(struct source *s, size_t at, uint32_t mask, uint32_t value)
{
	unsigned long long end = now_ms() + 30000;

	while ((reg(s, at) & mask) != value) {
		if (now_ms() > end)
			return -ETIMEDOUT;
		usleep(1000);
	}
	return 0;
}

/* edu: one transfer between memory and its buffer, 100 ms each */
#define EDU_SRC		0x80
#define EDU_DST		0x88
#define EDU_COUNT	0x90
#define EDU_CMD		0x98
#define EDU_CMD_RUN	1U
#define EDU_CMD_WRITE	2U
#define EDU_BUFFER	0x40000U

static void edu_start(struct source *s, uint64_t iova, uint32_t len, bool write)
{
	set_reg(s, EDU_SRC, write ? EDU_BUFFER : iova);
	set_reg(s, EDU_DST, write ? iova : EDU_BUFFER);
	set_reg(s, EDU_COUNT, len);
	set_reg(s, EDU_CMD, EDU_CMD_RUN | (write ? EDU_CMD_WRITE : 0));
}

static int edu_wait(struct source *s)
{
	return wait_reg(s, EDU_CMD, EDU_CMD_RUN, 0);
}

static int edu_dma(struct source *s, uint64_t iova, uint32_t len, bool write)
{
	edu_start(s, iova, len, write);
	return edu_wait(s);
}

/*
 * nvme: the admin queue alone, of a controller without a disk. Identify writes
 * 4096 bytes to where it is told; the time stamp, 8 bytes, is read and written.
 */
#define NVME_CC		0x14
#define NVME_CSTS	0x1c
#define NVME_AQA	0x24
#define NVME_ASQ	0x28
#define NVME_ACQ	0x30
#define NVME_SQ_TAIL	0x1000
#define NVME_CQ_HEAD	0x1004
#define NVME_CC_GO	((4U << 20) | (6U << 16) | 1)	/* entry sizes, enable */
#define NVME_ENTRIES	16U
#define NVME_IDENTIFY	0x06
#define NVME_SET	0x09
#define NVME_GET	0x0a
#define NVME_TIMESTAMP	0x0e

static int nvme_start(struct source *s)
{
	int rc;

	set_reg(s, NVME_CC, 0);
	rc = wait_reg(s, NVME_CSTS, 1, 0);
	if (rc)
		return rc;
	set_reg(s, NVME_AQA, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	set_reg(s, NVME_ASQ, SQ_IOVA);
	set_reg(s, NVME_ASQ + 4, 0);
	set_reg(s, NVME_ACQ, CQ_IOVA);
	set_reg(s, NVME_ACQ + 4, 0);
	set_reg(s, NVME_CC, NVME_CC_GO);
	s->at = 0;
	return wait_reg(s, NVME_CSTS, 1, 1);
}

static void nvme_submit(struct source *s, uint8_t op, uint64_t iova,
			uint32_t dw10)
{
	volatile uint32_t *sqe = s->sq + s->at % NVME_ENTRIES * 16;
	uint64_t next = (iova & ~(SZ_4K - 1)) + SZ_4K;

	for (int i = 0; i < 16; i++)
		sqe[i] = 0;
	sqe[0] = op | s->at << 16;
	sqe[6] = iova;
	sqe[7] = iova >> 32;
	if (op == NVME_IDENTIFY && iova % SZ_4K) {
		sqe[8] = next;
		sqe[9] = next >> 32;
	}
	sqe[10] = dw10;
	__atomic_thread_fence(__ATOMIC_RELEASE);
	set_reg(s, NVME_SQ_TAIL, (s->at + 1) % NVME_ENTRIES);
}

/* Wait for the one command that is under way; -EIO when it failed */
static int nvme_wait(struct source *s)
{
	volatile uint32_t *cqe = s->cq + s->at % NVME_ENTRIES * 4;
	uint32_t phase = !(s->at / NVME_ENTRIES & 1);
	unsigned long long end = now_ms() + 30000;

	while ((cqe[3] >> 16 & 1) != phase)
		if (now_ms() > end)
			return -ETIMEDOUT;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	s->at++;
	set_reg(s, NVME_CQ_HEAD, s->at % NVME_ENTRIES);
	return cqe[3] >> 17 ? -EIO : 0;
}

/* ---- What must be true ---- */

/**
 * struct area - memory whose pages are asked for at once
 * @iova: where
 * @size: of it
 * @leaf: size of the table entries that map it
 * @mem: where this process sees it
 * @want: one bit for each page: to be reported
 * @got: reported
 */
struct area {
	uint64_t iova;
	size_t size;
	size_t leaf;
	uint8_t *mem;
	uint64_t *want, *got;
};

enum { LOW, DATA, TAIL, AREAS };

/**
 * struct scene - a device, its memory and what was found
 * @vm: address space and page table
 * @src: the device
 * @area: what is mapped
 * @lost: pages that were written and not reported
 * @extra: pages that were reported and not written
 */
struct scene {
	struct vm vm;
	struct source src;
	struct area area[AREAS];
	size_t lost;
	size_t extra;
};

FIXTURE(vtd)
{
	struct scene t;
};

FIXTURE_VARIANT(vtd)
{
	enum pci_model model;
	size_t leaf;
	size_t size;
	int huge;
};

FIXTURE_VARIANT_ADD(vtd, edu_4k)
{
	.model = EDU,
	.leaf = SZ_4K,
	.size = 32 * SZ_4K,
};

FIXTURE_VARIANT_ADD(vtd, edu_2m)
{
	.model = EDU,
	.leaf = SZ_2M,
	.size = 4 * SZ_2M,
	.huge = MAP_HUGETLB | HUGE_2M,
};

FIXTURE_VARIANT_ADD(vtd, edu_1g)
{
	.model = EDU,
	.leaf = SZ_1G,
	.size = SZ_1G,
	.huge = MAP_HUGETLB | HUGE_1G,
};

FIXTURE_VARIANT_ADD(vtd, nvme_4k)
{
	.model = NVME,
	.leaf = SZ_4K,
	.size = 32 * SZ_4K,
};

FIXTURE_VARIANT_ADD(vtd, nvme_2m)
{
	.model = NVME,
	.leaf = SZ_2M,
	.size = 4 * SZ_2M,
	.huge = MAP_HUGETLB | HUGE_2M,
};

FIXTURE_VARIANT_ADD(vtd, nvme_1g)
{
	.model = NVME,
	.leaf = SZ_1G,
	.size = SZ_1G,
	.huge = MAP_HUGETLB | HUGE_1G,
};

static struct area *area_of(struct scene *t, uint64_t iova)
{
	for (struct area *a = t->area; a < t->area + AREAS; a++)
		if (iova >= a->iova && iova < a->iova + a->size)
			return a;
	return NULL;
}

static uint8_t *memory(struct scene *t, uint64_t iova)
{
	struct area *a = area_of(t, iova);

	return a->mem + (iova - a->iova);
}

/* A device wrote: whole leaves are dirty */
static void wrote(struct scene *t, uint64_t iova, size_t len)
{
	uint64_t end = iova + len;

	while (iova < end) {
		struct area *a = area_of(t, iova);
		uint64_t first = iova & ~(a->leaf - 1);

		for (uint64_t p = (first - a->iova) / SZ_4K;
		     p < (first - a->iova + a->leaf) / SZ_4K; p++)
			a->want[p / 64] |= 1ULL << p % 64;
		iova = first + a->leaf;
	}
}

static void forget(struct area *a)
{
	memset(a->want, 0, (a->size / SZ_4K + 63) / 64 * 8);
}

static int nvme_command(struct scene *t, struct source *s, uint8_t op, uint64_t iova,
			uint32_t dw10)
{
	wrote(t, CQ_IOVA, 16);
	nvme_submit(s, op, iova, dw10);
	return nvme_wait(s);
}

/* Give an attached device its queues, or something to write */
static int source_start(struct scene *t, struct source *s)
{
	if (s->model == NVME) {
		s->sq = (void *)memory(t, SQ_IOVA);
		s->cq = (void *)memory(t, CQ_IOVA);
		return nvme_start(s);
	}
	for (size_t i = 0; i < SZ_4K; i++)
		s->edu[i] = i * 7 + i / 251 + 1;
	memcpy(memory(t, PATTERN_IOVA), s->edu, SZ_4K);
	return edu_dma(s, PATTERN_IOVA, SZ_4K, false);
}

/* The device reads 8 bytes */
static int dma_read(struct scene *t, struct source *s, uint64_t iova)
{
	uint64_t stamp = 0x123456789ULL;
	int rc;

	if (s->model == NVME) {
		memcpy(memory(t, iova), &stamp, sizeof(stamp));
		return nvme_command(t, s, NVME_SET, iova, NVME_TIMESTAMP);
	}
	rc = edu_dma(s, iova, 8, false);
	memcpy(s->edu, memory(t, iova), 8);
	return rc;
}

/*
 * The device writes @len bytes, which must be 8, at any place within a page, or
 * 4096, at any multiple of four. That they came is seen by what memory holds.
 */
static int dma_write(struct scene *t, struct source *s, uint64_t iova, size_t len)
{
	uint64_t last = iova + len - 1;
	int rc;

	wrote(t, iova, len);
	memset(memory(t, iova), 0xa5, 8);
	memset(memory(t, last & ~7ULL), 0xa5, (last & 7) + 1);
	if (s->model == NVME) {
		uint64_t value;

		/* identify: the controller, which is all zeros in the end */
		rc = len == 8 ? nvme_command(t, s, NVME_GET, iova,
					     NVME_TIMESTAMP) :
				nvme_command(t, s, NVME_IDENTIFY, iova, 1);
		memcpy(&value, memory(t, iova), sizeof(value));
		if (!rc && (value == 0xa5a5a5a5a5a5a5a5ULL ||
			    *memory(t, last) == 0xa5))
			rc = -ENODATA;
		return rc;
	}
	rc = edu_dma(s, iova, len, true);
	for (size_t i = 0; !rc && i < len; i++)
		if (*memory(t, iova + i) != s->edu[i])
			rc = -ENODATA;
	return rc;
}

/* Ask for the pages of [iova, iova + len) in @a and compare them */
static int judge(struct scene *t, struct area *a, uint64_t iova, size_t len,
		 uint32_t flags)
{
	size_t first = (iova - a->iova) / SZ_4K;
	int rc;

	memset(a->got, 0, (a->size / SZ_4K + 63) / 64 * 8);
	rc = vm_get_dirty(&t->vm, t->vm.hwpt, iova, len, flags, a->got);
	for (size_t i = 0; !rc && i < (a->size / SZ_4K + 63) / 64 * 64; i++) {
		size_t page = first + i;
		bool got = a->got[i / 64] >> i % 64 & 1, want = false;

		/* of 1G, most is clean */
		if (i % 64 == 0 && page % 64 == 0 && i + 64 <= len / SZ_4K &&
		    !a->got[i / 64] && !a->want[page / 64]) {
			i += 63;
			continue;
		}
		if (i < len / SZ_4K) {
			want = a->want[page / 64] >> page % 64 & 1;
			if (!(flags & PEEK))
				a->want[page / 64] &= ~(1ULL << page % 64);
		}
		t->lost += want && !got;
		t->extra += got && !want;
	}
	return rc;
}

static int judge_all(struct scene *t, uint32_t flags)
{
	int rc = 0;

	for (struct area *a = t->area; !rc && a < t->area + AREAS; a++)
		rc = judge(t, a, a->iova, a->size, flags);
	return rc;
}

#define EXACT()                                                                \
	do {                                                                   \
		ASSERT_EQ(0, self->t.extra);                                     \
		if (!lacks())                                                  \
			ASSERT_EQ(0, self->t.lost);                              \
	} while (0)

#define ASK(flags)                                                             \
	do {                                                                   \
		ASSERT_EQ(0, judge_all(&self->t, flags));                          \
		EXACT();                                                       \
	} while (0)

#define ASK_RANGE(iova, len, flags)                                            \
	do {                                                                   \
		ASSERT_EQ(0, judge(&self->t, area_of(&self->t, iova), iova, len,       \
				   flags));                                    \
		EXACT();                                                       \
	} while (0)

#define READ(iova)	ASSERT_EQ(0, dma_read(&self->t, &self->t.src, iova))
#define WRITE(iova, n)	ASSERT_EQ(0, dma_write(&self->t, &self->t.src, iova, n))

/*
 * The end of each test: on an emulator that lacks what it @sees, it must have seen
 * that. nvme always writes, completions at least.
 */
#define END(sees)                                                              \
	do {                                                                   \
		int _sees = (sees) |                                           \
			    (variant->model == NVME ? ALL_FLAGS : 0);           \
		if (!(lacks() & _sees)) {                                      \
			ASSERT_EQ(0, self->t.lost);                              \
			break;                                                 \
		}                                                              \
		ASSERT_LT(0, self->t.lost);                                      \
		snprintf(_metadata->results->reason,                           \
			 sizeof(_metadata->results->reason),                   \
			 "the emulator lacks %s: %zu pages lost",              \
			 getenv("EMULATOR_LACKS"), self->t.lost);                \
		if (_metadata->exit_code == KSFT_PASS)                         \
			_metadata->exit_code = KSFT_XFAIL;                     \
	} while (0)

static int hw_info(struct vm *vm, struct dsim *d, uint64_t *ecap, uint64_t *caps)
{
	struct iommu_hw_info_vtd vtd = {};
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = d->devid,
		.data_len = sizeof(vtd),
		.data_uptr = (uintptr_t)&vtd,
	};

	if (ioctl(vm->iommufd, IOMMU_GET_HW_INFO, &info))
		return -errno;
	if (info.out_data_type != IOMMU_HW_INFO_TYPE_INTEL_VTD)
		return -EOPNOTSUPP;
	*ecap = vtd.ecap_reg;
	*caps = info.out_capabilities;
	return 0;
}

static bool can_track(uint64_t ecap)
{
	uint64_t all = ECAP_SMTS | ECAP_FSTS | ECAP_SMPWC;

	return (ecap & all) == all;
}

static int area_init(struct area *a, uint64_t iova, size_t size, size_t leaf,
		     int huge)
{
	size_t bytes = (size / SZ_4K + 63) / 64 * 8;
	void *mem;

	mem = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE | huge, -1, 0);
	a->mem = mem == MAP_FAILED ? NULL : mem;
	a->iova = iova;
	a->size = size;
	a->leaf = leaf;
	a->want = calloc(1, bytes);
	a->got = calloc(1, bytes);
	return a->mem && a->want && a->got ? 0 : -ENOMEM;
}

/* Page by page for leaves of 4K, or neighbours might share a larger one */
static int area_map(struct vm *vm, struct area *a)
{
	size_t step = a->leaf == SZ_4K ? SZ_4K : a->size;
	int rc = 0;

	for (size_t at = 0; !rc && at < a->size; at += step)
		rc = vm_map(vm, a->iova + at, a->mem + at, step, MAP_RW);
	return rc;
}

static int track_from_now_on(struct scene *t)
{
	for (int i = 0; i < AREAS; i++)
		forget(&t->area[i]);
	return vm_track(&t->vm, t->vm.hwpt, true);
}

FIXTURE_SETUP(vtd)
{
	struct source *s = &self->t.src;
	struct vm *vm = &self->t.vm;
	uint64_t ecap, caps;

	s->dev.fd = -1;
	vm->iommufd = -1;
	if (!devices_available())
		SKIP(return, "vfio-pci has no edu or no nvme");
	ASSERT_LE(0, lacks());
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, source_open(s, variant->model, vm->iommufd));
	ASSERT_EQ(0, hw_info(vm, &s->dev, &ecap, &caps));
	if (!can_track(ecap))
		SKIP(return, "this IOMMU has no coherent first stage");

	ASSERT_EQ(0, area_init(&self->t.area[LOW], LOW_IOVA, LOW_PAGES * SZ_4K,
			       SZ_4K, 0));
	ASSERT_EQ(0, area_init(&self->t.area[DATA], MEM_IOVA, variant->size,
			       variant->leaf, variant->huge)) {
		TH_LOG("reserve huge pages");
	}
	ASSERT_EQ(0, area_init(&self->t.area[TAIL], MEM_IOVA + variant->size,
			       SZ_4K, SZ_4K, 0));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &s->dev, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				   &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(&s->dev, vm->hwpt));
	for (int i = 0; i < AREAS; i++)
		ASSERT_EQ(0, area_map(vm, &self->t.area[i]));

	ASSERT_EQ(0, source_start(&self->t, s));
	ASSERT_EQ(0, track_from_now_on(&self->t));
}

FIXTURE_TEARDOWN(vtd)
{
	source_close(&self->t.src);
	vm_destroy(&self->t.vm);
	for (struct area *a = self->t.area; a < self->t.area + AREAS; a++) {
		if (a->mem)
			munmap(a->mem, a->size);
		free(a->want);
		free(a->got);
	}
}

/* Somewhere in the middle, and in the last leaf */
#define MIDDLE		(MEM_IOVA + variant->size / 2 + 3 * SZ_4K)
#define LAST		(MEM_IOVA + variant->size - 2 * SZ_4K)

/* Neither mapping nor reading makes anything dirty */
TEST_F_TIMEOUT(vtd, reads_are_clean, LONG)
{
	ASK(0);
	READ(MIDDLE);
	READ(LAST);
	READ(MEM_IOVA + variant->size);
	ASK(PEEK);
	ASK(0);
	END(0);
}

TEST_F_TIMEOUT(vtd, writes_are_reported_once, LONG)
{
	WRITE(MIDDLE + 8, 8);
	ASK(0);
	ASK(0);
	WRITE(LAST, SZ_4K);
	WRITE(MEM_IOVA, 8);
	ASK(0);
	ASK(0);
	END(ALL_FLAGS);
}

/* The translation is in the IOTLB, dirty, when the bit is cleared */
TEST_F_TIMEOUT(vtd, write_after_clear, LONG)
{
	for (int i = 0; i < 4; i++) {
		WRITE(MIDDLE, 8);
		WRITE(MIDDLE + 16, 8);
		ASK(0);
	}
	ASK(0);
	END(ALL_FLAGS);
}

/* The translation is in the IOTLB, clean, when the device writes */
TEST_F_TIMEOUT(vtd, read_then_write, LONG)
{
	READ(MIDDLE);
	WRITE(MIDDLE, 8);
	ASK(0);
	READ(MIDDLE);
	ASK(0);
	WRITE(MIDDLE + 8, 8);
	ASK(0);
	ASK(0);
	END(ALL_FLAGS | WRITE_HIT);
}

/* One transfer that writes to two leaves, of different sizes at the end */
TEST_F_TIMEOUT(vtd, straddling, LONG)
{
	uint64_t end = MEM_IOVA + variant->size;

	WRITE(end - 2048, SZ_4K);
	ASK(0);
	if (variant->size > variant->leaf) {
		WRITE(MEM_IOVA + variant->leaf - 4, SZ_4K);
		ASK(PEEK);
		ASK(0);
	}
	WRITE(end - 16, 8);
	ASK(0);
	ASK(0);
	END(ALL_FLAGS);
}

TEST_F_TIMEOUT(vtd, no_clear, LONG)
{
	WRITE(MIDDLE, 8);
	ASK(PEEK);
	ASK(PEEK);
	WRITE(LAST, 8);
	ASK(PEEK);
	ASK(0);
	ASK(PEEK);
	ASK(0);
	END(ALL_FLAGS);
}

/* Parts of a leaf are parts of its answer, and each page is told once */
TEST_F_TIMEOUT(vtd, parts_of_leaves, LONG)
{
	uint64_t leaf = MIDDLE & ~(variant->leaf - 1);
	size_t part = variant->leaf == SZ_4K ? SZ_4K : variant->leaf / 4;

	WRITE(MIDDLE, 8);
	ASK_RANGE(leaf, part, PEEK);
	ASK_RANGE(leaf + variant->leaf - part, part, 0);
	ASK_RANGE(leaf, part, 0);
	ASK(PEEK);
	WRITE(leaf, 8);
	ASK_RANGE(leaf, SZ_4K, 0);
	ASK(0);
	ASK(0);
	END(ALL_FLAGS);
}

/*
 * What was written before it was unmapped is reported, once, also when there is
 * something else in its place.
 */
TEST_F_TIMEOUT(vtd, unmap_while_dirty, LONG)
{
	struct area *data = &self->t.area[DATA], *tail = &self->t.area[TAIL];
	struct vm *vm = &self->t.vm;

	WRITE(tail->iova, 8);
	WRITE(MIDDLE, 8);
	READ(LAST);
	ASSERT_EQ(0, vm_unmap(vm, data->iova, data->size));
	ASK(PEEK);
	ASSERT_EQ(0, vm_unmap(vm, tail->iova, tail->size));
	ASK(0);
	ASK(0);
	ASSERT_EQ(0, area_map(vm, data));
	ASSERT_EQ(0, area_map(vm, tail));
	ASK(0);
	WRITE(LAST, 8);
	ASSERT_EQ(0, vm_unmap(vm, data->iova, data->size));
	ASSERT_EQ(0, area_map(vm, data));
	ASK(0);
	ASK(0);
	END(ALL_FLAGS);
}

static void spin(unsigned long us)
{
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += us / 1000000;
	end.tv_nsec += us % 1000000 * 1000;
	do {
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((now.tv_sec - end.tv_sec) * 1000000000LL + now.tv_nsec -
		 end.tv_nsec < 0);
}

/*
 * The write comes at about the moment when the page is unmapped. What the page
 * holds then says whether it came before, and so must the bitmap. When it came
 * later the device gets an error, and the kernel logs a fault.
 */
TEST_F_TIMEOUT(vtd, written_while_it_is_unmapped, LONG)
{
	struct area *tail = &self->t.area[TAIL];
	struct source *s = &self->t.src;
	bool edu = variant->model == EDU;
	unsigned int rounds = edu ? 12 : 100, written = 0;
	/* microseconds; edu takes its time, which is all known of it */
	unsigned long delay = edu ? 150000 : 20000;
	volatile uint64_t *word = (void *)tail->mem;

	for (unsigned int i = 0; i < rounds; i++) {
		*word = ~0ULL;
		if (edu) {
			edu_start(s, tail->iova, 8, true);
		} else {
			wrote(&self->t, CQ_IOVA, 16);
			nvme_submit(s, NVME_GET, tail->iova, NVME_TIMESTAMP);
		}
		spin(delay);
		ASSERT_EQ(0, vm_unmap(&self->t.vm, tail->iova, tail->size));
		ASSERT_NE(-ETIMEDOUT, edu ? edu_wait(s) : nvme_wait(s));
		if (*word != ~0ULL) {
			wrote(&self->t, tail->iova, 8);
			written++;
			delay -= delay / 8;
		} else {
			delay += delay / 16 + 1;
		}
		ASK(0);
		ASSERT_EQ(0, area_map(&self->t.vm, tail));
		ASK(0);
	}
	TH_LOG("%u of %u came in time, in the end after %lu us", written, rounds,
	       delay);
	ASSERT_LT(0, written);
	END(ALL_FLAGS);
}

/* What was written while nobody tracked is not reported */
TEST_F_TIMEOUT(vtd, tracking_off_and_on, LONG)
{
	struct vm *vm = &self->t.vm;

	WRITE(MIDDLE, 8);
	ASK(PEEK);
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	WRITE(LAST, 8);
	ASSERT_EQ(0, track_from_now_on(&self->t));
	ASK(0);
	WRITE(LAST, 8);
	ASK(0);
	ASK(0);
	END(ALL_FLAGS);
}

/* Two tables of the same memory: each has what was written through it */
TEST_F_TIMEOUT(vtd, two_hwpts, LONG)
{
	struct vm *vm = &self->t.vm;
	uint32_t first = vm->hwpt, second;
	struct source other = {};
	enum pci_model model = variant->model == EDU ? NVME : EDU;

	ASSERT_EQ(0, source_open(&other, model, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &other.dev,
				   IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &second));
	ASSERT_EQ(0, dsim_attach(&other.dev, second));
	ASSERT_EQ(0, source_start(&self->t, &other));
	ASSERT_EQ(0, vm_track(vm, second, true));
	for (int i = 0; i < 2; i++) {
		WRITE(MIDDLE, 8);
		ASK(0);
		vm->hwpt = second;
		ASK(0);
		ASSERT_EQ(0, dma_write(&self->t, &other, LAST, 8));
		vm->hwpt = first;
		for (int j = 0; j < AREAS; j++)
			ASSERT_EQ(0, vm_get_dirty(vm, first,
						  self->t.area[j].iova,
						  self->t.area[j].size, 0,
						  self->t.area[j].got));
		for (int j = 0; j < AREAS; j++)
			for (size_t w = 0;
			     w < (self->t.area[j].size / SZ_4K + 63) / 64; w++)
				ASSERT_EQ(0, self->t.area[j].got[w]);
		vm->hwpt = second;
		ASK(0);
		vm->hwpt = first;
	}
	source_close(&other);
	END(ALL_FLAGS);
}

/* Both at once in one table */
TEST_F_TIMEOUT(vtd, two_devices, LONG)
{
	struct vm *vm = &self->t.vm;
	struct source other = {};
	enum pci_model model = variant->model == EDU ? NVME : EDU;

	ASSERT_EQ(0, source_open(&other, model, vm->iommufd));
	ASSERT_EQ(0, dsim_attach(&other.dev, vm->hwpt));
	ASSERT_EQ(0, source_start(&self->t, &other));
	for (int i = 0; i < 2; i++) {
		WRITE(MIDDLE, 8);
		ASSERT_EQ(0, dma_write(&self->t, &other, MIDDLE, 8));
		ASK(0);
		ASSERT_EQ(0, dma_write(&self->t, &other, LAST, 8));
		ASK(0);
		WRITE(LAST + 8, 8);
		ASK(0);
	}
	ASK(0);
	source_close(&other);
	END(ALL_FLAGS);
}

/* ---- Reading while the device writes ---- */

/**
 * struct collector - a thread that reads and clears all the time
 * @vm: whose
 * @area: what
 * @seen: how often each page was reported
 * @reads: so many
 * @rc: first error
 * @stop: after one read more
 */
struct collector {
	struct vm *vm;
	struct area *area;
	uint8_t *seen;
	unsigned int reads;
	int rc;
	bool stop;
};

static void *collect(void *arg)
{
	struct collector *c = arg;
	struct area *a = c->area;
	size_t pages = a->size / SZ_4K;
	bool last;

	do {
		last = __atomic_load_n(&c->stop, __ATOMIC_ACQUIRE);
		memset(a->got, 0, (pages + 63) / 64 * 8);
		c->rc = vm_get_dirty(c->vm, c->vm->hwpt, a->iova, a->size, 0,
				     a->got);
		for (size_t i = 0; i < pages; i++)
			c->seen[i] += a->got[i / 64] >> i % 64 & 1;
		c->reads++;
	} while (!last && !c->rc);
	return NULL;
}

/*
 * Each leaf is written once while another thread reads and clears all the time:
 * it must be reported once.
 */
TEST_F_TIMEOUT(vtd, clearing_while_writing, LONG)
{
	struct area *a = &self->t.area[DATA];
	size_t pages = a->size / SZ_4K, leaves = a->size / a->leaf;
	struct collector c = { .vm = &self->t.vm, .area = a };
	unsigned int rounds = 1;
	pthread_t thread;

	/* it is quick, but to look at the bits of 1G is not */
	if (variant->model == NVME)
		rounds = variant->leaf == SZ_1G ? 10 : 200 / leaves;
	c.seen = calloc(1, pages);
	ASSERT_NE(NULL, c.seen);
	for (unsigned int round = 0; round < rounds; round++) {
		memset(c.seen, 0, pages);
		c.stop = false;
		ASSERT_EQ(0, pthread_create(&thread, NULL, collect, &c));
		for (size_t i = 0; i < leaves; i++)
			WRITE(a->iova + i * a->leaf + i % 8 * 8, 8);
		__atomic_store_n(&c.stop, true, __ATOMIC_RELEASE);
		pthread_join(thread, NULL);
		ASSERT_EQ(0, c.rc);
		for (size_t i = 0; i < pages; i++) {
			ASSERT_GE(1, c.seen[i]);
			self->t.lost += !c.seen[i];
		}
		forget(a);
		EXACT();
	}
	TH_LOG("%u reads while %zu leaves were written", c.reads,
	       rounds * leaves);
	free(c.seen);
	ASK(0);
	END(ALL_FLAGS);
}

/* ---- What the IOMMU says ---- */

/* The flag is accepted where it works, and refused where it does not */
TEST(told_and_refused)
{
	struct source s = {};
	uint64_t ecap, caps;
	uint32_t hwpt;
	struct vm vm;

	if (!devices_available())
		SKIP(return, "vfio-pci has no edu or no nvme");
	ASSERT_EQ(0, vm_create(&vm));
	ASSERT_EQ(0, source_open(&s, EDU, vm.iommufd));
	ASSERT_EQ(0, hw_info(&vm, &s.dev, &ecap, &caps));
	TH_LOG("ecap %#llx, coherent first stage: %d", (unsigned long long)ecap,
	       can_track(ecap));
	ASSERT_EQ(can_track(ecap), !!(caps & IOMMU_HW_CAP_DIRTY_TRACKING));
	ASSERT_EQ(can_track(ecap) ? 0 : -EOPNOTSUPP,
		  vm_alloc_hwpt(&vm, &s.dev, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				&hwpt));
	/* no second stage, nothing to nest in */
	ASSERT_EQ(-EOPNOTSUPP,
		  vm_alloc_hwpt(&vm, &s.dev, IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
				IOMMU_HWPT_ALLOC_NEST_PARENT, &hwpt));
	/* and without the flag it is as it was */
	ASSERT_EQ(0, vm_alloc_hwpt(&vm, &s.dev, 0, &hwpt));
	ASSERT_EQ(0, dsim_attach(&s.dev, hwpt));
	ASSERT_NE(0, vm_track(&vm, hwpt, true));
	source_close(&s);
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
