// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM does to migrate a VM whose devices write to memory by DMA: an
 * example to read, which Documentation/userspace-api/iommufd-dirty.rst shows, and
 * a test: in the end both memories must be the same.
 *
 * It runs on kernels without IOMMU_DIRTY_GET_COVERAGE too, as a VMM has to.
 *
 * Between [brackets] is what the documentation shows. The VM itself is below: a
 * simulated device that goes on writing, and a destination in the same process.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>

#include <linux/iommufd.h>
#include <linux/vfio.h>
#ifndef IOMMU_DIRTY_GET_COVERAGE /* the base's headers have none of it */
#include "../../../../../include/uapi/linux/iommufd_dirty.h"
#endif

#include "kselftest_harness.h"
#include "dsim_user.h"

#define PAGE		4096UL
#define FEW_PAGES	32	/* sent while the VM stands still */
#define MAX_ROUNDS	30

/* [state] */
/* A part of the VM's memory: where devices see it, where the VMM does */
struct ram {
	uint64_t iova;
	uint8_t *memory;
	size_t pages;
	uint64_t *bitmap;	/* a bit for each page: to be sent */
};

struct vmm {
	int iommufd;
	uint32_t ioas;
	uint32_t hwpt[2];	/* IDs, one for each device here */
	unsigned int hwpts;
	struct ram ram[2];
	unsigned int rams;
};
/* [/state] */

/* What the VM is made of: see below */
static void send_page(struct vmm *vmm, struct ram *ram, size_t page);
static int stop_vm(struct vmm *vmm);

/* [capability] */
/* Whether what a device writes can be known; every kernel since 6.7 tells */
static bool can_track(struct vmm *vmm, uint32_t device)
{
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = device,
	};

	return !ioctl(vmm->iommufd, IOMMU_GET_HW_INFO, &info) &&
	       (info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
}
/* [/capability] */

/* [policy] */
/*
 * Better to send all memory that a device can write than not to migrate at all.
 * What the kernel can track exactly it still does.
 */
static int accept_all(struct vmm *vmm, uint32_t id)
{
	struct iommu_dirty_set_policy policy = {
		.size = sizeof(policy),
		.id = id,
		.providers = 1 << IOMMU_DIRTY_PROVIDER_IOMMU |
			     1 << IOMMU_DIRTY_PROVIDER_DEVICE |
			     1 << IOMMU_DIRTY_PROVIDER_ALL,
	};

	return ioctl(vmm->iommufd, IOMMU_DIRTY_SET_POLICY, &policy) ? -errno : 0;
}
/* [/policy] */

/* [plug] */
/* Give a device, bound to the iommufd, an HWPT whose dirty pages can be read */
static int plug(struct vmm *vmm, int vfio_fd, uint32_t device)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
		.dev_id = device,
		.pt_id = vmm->ioas,
	};
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
	};

	if (!can_track(vmm, device))
		return -EOPNOTSUPP;
	if (ioctl(vmm->iommufd, IOMMU_HWPT_ALLOC, &alloc))
		return -errno;
	attach.pt_id = alloc.out_hwpt_id;
	if (ioctl(vfio_fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		return -errno;
	vmm->hwpt[vmm->hwpts++] = alloc.out_hwpt_id;
	return 0;
}
/* [/plug] */

/* [coverage] */
/*
 * How well it is known what the devices of an IOAS write, or what one device
 * does: the worst of them, and one entry for each. The caller frees @devices.
 */
static int get_coverage(struct vmm *vmm, uint32_t id,
			struct iommu_dirty_get_coverage *coverage,
			struct iommu_dirty_device_coverage **devices)
{
	uint32_t room = 8;

	for (;;) {
		*devices = calloc(room, sizeof(**devices));
		if (!*devices)
			return -ENOMEM;
		*coverage = (struct iommu_dirty_get_coverage){
			.size = sizeof(*coverage),
			.id = id,
			.num_devices = room,
			.entry_size = sizeof(**devices),
			.devices = (uintptr_t)*devices,
		};
		if (!ioctl(vmm->iommufd, IOMMU_DIRTY_GET_COVERAGE, coverage))
			return 0;
		free(*devices);
		*devices = NULL;
		if (errno != EMSGSIZE)
			return -errno;
		room = coverage->num_devices;	/* there are more than that */
	}
}

/* To be asked before a migration starts, and each time it is to be explained */
static int worst_coverage(struct vmm *vmm)
{
	static const char *const why[] = {
		"used", "ready", "not supported", "HWPT not made for it",
		"not allowed by policy", "failed", "not attached",
	};
	struct iommu_dirty_device_coverage *devices, *d;
	struct iommu_dirty_get_coverage coverage;
	int rc;

	rc = get_coverage(vmm, vmm->ioas, &coverage, &devices);
	if (rc == -ENOTTY)	/* an older kernel: the capability must do */
		return IOMMU_DIRTY_COVERAGE_EXACT;
	if (rc)
		return rc;
	for (d = devices; d != devices + coverage.num_devices; d++) {
		uint8_t iommu = d->reasons[IOMMU_DIRTY_PROVIDER_IOMMU];

		if (d->coverage != IOMMU_DIRTY_COVERAGE_EXACT)
			printf("# device %u: dirty bits of the IOMMU: %s\n",
			       d->id, iommu < ARRAY_LEN(why) ? why[iommu] : "?");
	}
	free(devices);
	return coverage.out_coverage;
}
/* [/coverage] */

/* [track] */
static int track(struct vmm *vmm, bool enable)
{
	for (unsigned int i = 0; i < vmm->hwpts; i++) {
		struct iommu_hwpt_set_dirty_tracking set = {
			.size = sizeof(set),
			.flags = enable ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
			.hwpt_id = vmm->hwpt[i],
		};

		if (ioctl(vmm->iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set))
			return -errno;
	}
	return 0;
}
/* [/track] */

/* [read] */
/*
 * The kernel only sets bits, so those of all HWPTs add up in one bitmap, and so
 * do those of an earlier call that failed. KVM's log of what vCPUs wrote can be
 * ORed into the same one.
 */
static int get_dirty(struct vmm *vmm, struct ram *ram)
{
	for (unsigned int i = 0; i < vmm->hwpts; i++) {
		struct iommu_hwpt_get_dirty_bitmap get = {
			.size = sizeof(get),
			.hwpt_id = vmm->hwpt[i],
			.iova = ram->iova,
			.length = ram->pages * PAGE,
			.page_size = PAGE,
			.data = (uintptr_t)ram->bitmap,
		};

		if (ioctl(vmm->iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get))
			return -errno;
	}
	return 0;
}

/*
 * First the bits are read, then the pages are: what is written to a page while
 * it is sent is in the next bitmap. Returns how many pages there were.
 */
static long send_dirty(struct vmm *vmm)
{
	long sent = 0;

	for (struct ram *ram = vmm->ram; ram != vmm->ram + vmm->rams; ram++) {
		int rc = get_dirty(vmm, ram);

		if (rc)
			return rc;
		for (size_t page = 0; page < ram->pages; page++) {
			uint64_t bit = 1ULL << page % 64;

			if (!(ram->bitmap[page / 64] & bit))
				continue;
			ram->bitmap[page / 64] &= ~bit;
			send_page(vmm, ram, page);
			sent++;
		}
	}
	return sent;
}
/* [/read] */

/* [migrate] */
/* Returns how many pages were sent while the VM stood still */
static long migrate(struct vmm *vmm)
{
	int rounds = MAX_ROUNDS;
	long left;
	int rc;

	rc = worst_coverage(vmm);
	if (rc < 0)
		return rc;
	if (rc == IOMMU_DIRTY_COVERAGE_NONE)
		return -EOPNOTSUPP;
	/* All of it is dirty each time: more rounds make it no less */
	if (rc == IOMMU_DIRTY_COVERAGE_ALL)
		rounds = 0;

	/* From here on the kernel knows what is written, so send what was */
	left = track(vmm, true);
	if (left)
		goto out;
	for (struct ram *ram = vmm->ram; ram != vmm->ram + vmm->rams; ram++)
		for (size_t page = 0; page < ram->pages; page++)
			send_page(vmm, ram, page);

	for (; rounds; rounds--) {
		left = send_dirty(vmm);
		if (left < 0)
			goto out;
		if (left <= FEW_PAGES)
			break;
	}

	/* No more DMA: what is dirty now is the rest */
	left = stop_vm(vmm);
	if (!left)
		left = send_dirty(vmm);
out:
	track(vmm, false);
	return left;
}
/* [/migrate] */

/* ---- The VM: simulated devices, each with memory that it writes ---- */

#define DATA_PAGES	1024U
#define HOT_PAGES	200U	/* that a device writes, at random */

/**
 * struct writer - a device and the guest's driver of it
 * @d: the device
 * @first: first page of the data that it writes
 * @thread: the driver
 * @running: @thread exists
 * @stop: it is to end
 * @done: descriptors that were executed
 * @rc: why it ended
 */
struct writer {
	struct dsim d;
	uint64_t first;
	pthread_t thread;
	bool running;
	bool stop;
	unsigned int done;
	int rc;
};

/**
 * struct machine - source and destination of a migration
 * @vmm: must be first
 * @vm: the source's memory
 * @destination: of each part of the memory
 * @writers: the devices
 * @sent: pages sent after the first time
 * @cold: of these, such that no device writes
 * @first_round: pages that are still to be sent for the first time
 */
struct machine {
	struct vmm vmm;
	struct vm vm;
	uint8_t *destination[2];
	struct writer writers[2];
	unsigned int sent;
	unsigned int cold;
	unsigned int first_round;
};

static struct machine *to_machine(struct vmm *vmm)
{
	return (struct machine *)vmm;
}

/* Rings lie one behind the other in the part of memory that is below the data */
static uint64_t ring_at(unsigned int writer)
{
	return writer * RING_BYTES;
}

static bool is_hot(struct machine *m, struct ram *ram, size_t page)
{
	for (unsigned int i = 0; i < m->vmm.hwpts; i++) {
		uint64_t first = m->writers[i].first, size = HOT_PAGES;

		if (ram == &m->vmm.ram[0]) {
			first = ring_at(i) / PAGE;
			size = RING_BYTES / PAGE;
		}
		if (page >= first && page < first + size)
			return true;
	}
	return false;
}

static void send_page(struct vmm *vmm, struct ram *ram, size_t page)
{
	struct machine *m = to_machine(vmm);

	memcpy(m->destination[ram - vmm->ram] + page * PAGE,
	       ram->memory + page * PAGE, PAGE);
	if (m->first_round) {
		m->first_round--;
		/* networks are slower than this: give devices time to write */
		if (m->first_round % 16 == 0)
			usleep(100);
		return;
	}
	m->sent++;
	m->cold += !is_hot(m, ram, page);
}

static void *drive(void *arg)
{
	struct writer *w = arg;
	uint64_t seed = w->first + 1;

	while (!__atomic_load_n(&w->stop, __ATOMIC_ACQUIRE)) {
		struct dsim_desc desc = {
			.op = DSIM_OP_FILL,
			.dst = DATA_IOVA + (w->first + rnd(&seed) % HOT_PAGES) * PAGE,
			.len = PAGE,
			.value = rnd(&seed),
		};

		w->rc = dsim_run(&w->d, &desc);
		if (w->rc != DSIM_DESC_DONE)
			break;
		w->rc = 0;
		__atomic_add_fetch(&w->done, 1, __ATOMIC_RELEASE);
		usleep(200);
	}
	return NULL;
}

static int stop_writer(struct writer *w)
{
	if (!w->running)
		return 0;
	__atomic_store_n(&w->stop, true, __ATOMIC_RELEASE);
	pthread_join(w->thread, NULL);
	w->running = false;
	return w->rc ? -EIO : dsim_mig_set(&w->d, VFIO_DEVICE_STATE_STOP, NULL);
}

/* The device is seen to write while it is tracked, however slow the machine is */
static void wait_for_writes(struct writer *w)
{
	unsigned int until = __atomic_load_n(&w->done, __ATOMIC_ACQUIRE) + 10;

	while (w->running && !w->rc &&
	       __atomic_load_n(&w->done, __ATOMIC_ACQUIRE) < until)
		usleep(1000);
}

static int stop_vm(struct vmm *vmm)
{
	struct machine *m = to_machine(vmm);
	int rc = 0;

	for (unsigned int i = 0; i < vmm->hwpts; i++) {
		wait_for_writes(&m->writers[i]);
		rc = stop_writer(&m->writers[i]) ?: rc;
	}
	return rc;
}

/* The device is attached: have its driver run */
static int start_writer(struct machine *m, unsigned int i)
{
	struct writer *w = &m->writers[i];
	int rc;

	w->first = i * DATA_PAGES / 2;
	rc = dsim_start(&w->d, (void *)((uint8_t *)m->vm.ring + ring_at(i)));
	/* where the ring is can be changed while it is disabled */
	rc = rc ?: dsim_reg_write(&w->d, DSIM_REG_CTRL, 0);
	rc = rc ?: dsim_reg_write(&w->d, DSIM_REG_RING_LO, RING_IOVA + ring_at(i));
	rc = rc ?: dsim_reg_write(&w->d, DSIM_REG_CTRL, DSIM_CTRL_ENABLE);
	if (rc)
		return rc;
	rc = -pthread_create(&w->thread, NULL, drive, w);
	w->running = !rc;
	return rc;
}

FIXTURE(example)
{
	struct machine m;
};

static int add_ram(struct machine *m, uint64_t iova, void *memory, size_t size)
{
	struct ram *ram = &m->vmm.ram[m->vmm.rams];

	ram->iova = iova;
	ram->memory = memory;
	ram->pages = size / PAGE;
	ram->bitmap = calloc((ram->pages + 63) / 64, sizeof(uint64_t));
	m->destination[m->vmm.rams] = malloc(size);
	if (!ram->bitmap || !m->destination[m->vmm.rams])
		return -ENOMEM;
	m->first_round += ram->pages;
	m->vmm.rams++;
	return 0;
}

FIXTURE_SETUP(example)
{
	struct machine *m = &self->m;

	m->writers[0].d.fd = -1;
	m->writers[1].d.fd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, vm_create(&m->vm));
	m->vmm.iommufd = m->vm.iommufd;
	m->vmm.ioas = m->vm.ioas;
	ASSERT_EQ(0, vm_alloc_memory(&m->vm, DATA_PAGES * PAGE, false));
	ASSERT_EQ(0, add_ram(m, RING_IOVA, m->vm.ring, LOW_BYTES));
	ASSERT_EQ(0, add_ram(m, DATA_IOVA, m->vm.data, DATA_PAGES * PAGE));
	ASSERT_EQ(0, vm_map_memory(&m->vm));
}

FIXTURE_TEARDOWN(example)
{
	struct machine *m = &self->m;

	for (int i = 0; i < 2; i++) {
		stop_writer(&m->writers[i]);
		dsim_close(&m->writers[i].d);
		free(m->vmm.ram[i].bitmap);
		free(m->destination[i]);
	}
	vm_destroy(&m->vm);
	for (int i = 0; i < 2; i++)
		if (m->writers[i].d.name[0])
			EXPECT_EQ(0, dsim_remove(m->writers[i].d.name));
}

/* A device that the VMM is given: open and bound to the iommufd */
static int add_device(struct machine *m, unsigned int i, const char *format,
		      bool tracks)
{
	struct dsim_config config = {
		.format = format,
		.page_sizes = SZ_4K,
		.no_ad = !tracks,
	};
	struct dsim *d = &m->writers[i].d;
	int rc;

	rc = dsim_create(d, i ? "example-b" : "example-a", &config);
	rc = rc ?: dsim_open(d);
	return rc ?: dsim_bind(d, m->vmm.iommufd);
}

#define EXPECT_SAME_MEMORY(_m)                                                 \
	do {                                                                   \
		for (int i_ = 0; i_ < 2; i_++)                                 \
			EXPECT_EQ(0, memcmp((_m)->destination[i_],             \
					    (_m)->vmm.ram[i_].memory,          \
					    (_m)->vmm.ram[i_].pages * PAGE));  \
	} while (0)

TEST_F(example, migrates)
{
	struct machine *m = &self->m;
	struct vmm *vmm = &m->vmm;
	long left;

	for (int i = 0; i < 2; i++) {
		struct dsim *d = &m->writers[i].d;

		ASSERT_EQ(0, add_device(m, i, i ? "amdv1" : "vtdss", true));
		ASSERT_EQ(0, plug(vmm, d->fd, d->devid));
		ASSERT_EQ(0, start_writer(m, i));
	}
	left = migrate(vmm);
	/* each device wrote at least ten times since, and its ring's status */
	EXPECT_LT(0, left);
	EXPECT_LT(2, m->sent);
	EXPECT_EQ(0, m->cold);
	EXPECT_SAME_MEMORY(m);
	TH_LOG("%u pages sent again, %ld of them while it stood still", m->sent,
	       left);
}

/* One of the devices is tracked by nobody */
TEST_F(example, migrates_untracked)
{
	struct machine *m = &self->m;
	struct vmm *vmm = &m->vmm;
	struct dsim *d = &m->writers[0].d;

	ASSERT_EQ(0, add_device(m, 0, "vtdss", false));
	EXPECT_EQ(-EOPNOTSUPP, plug(vmm, d->fd, d->devid));
	if (on_base()) {
		EXPECT_EQ(-ENOTTY, accept_all(vmm, d->devid));
		EXPECT_FALSE(can_track(vmm, d->devid));
		return;
	}
	ASSERT_EQ(0, accept_all(vmm, d->devid));
	ASSERT_EQ(0, plug(vmm, d->fd, d->devid));
	ASSERT_EQ(0, start_writer(m, 0));
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_ALL, worst_coverage(vmm));
	/* all of it once more, and no rounds in between */
	EXPECT_EQ(DATA_PAGES + LOW_BYTES / PAGE, migrate(vmm));
	EXPECT_EQ(DATA_PAGES + LOW_BYTES / PAGE, m->sent);
	EXPECT_SAME_MEMORY(m);
}

/* A VMM that did not ask for dirty tracking is told so, by a kernel that can */
TEST_F(example, refuses_what_is_not_known)
{
	struct machine *m = &self->m;
	struct vmm *vmm = &m->vmm;
	struct dsim *d = &m->writers[0].d;
	uint32_t hwpt;

	ASSERT_EQ(0, add_device(m, 0, "vtdss", true));
	ASSERT_EQ(0, vm_alloc_hwpt(&m->vm, d, 0, &hwpt));
	ASSERT_EQ(0, dsim_attach(d, hwpt));
	vmm->hwpt[vmm->hwpts++] = hwpt;
	EXPECT_EQ(-EOPNOTSUPP, migrate(vmm));
	EXPECT_EQ(0, m->sent);
}

TEST_HARNESS_MAIN
