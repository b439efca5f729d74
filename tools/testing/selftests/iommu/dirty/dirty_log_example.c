// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a VMM does to migrate a VM with dirty logs: an example to read, which
 * Documentation/userspace-api/iommufd-dirty.rst shows, and a test: in the end both
 * memories must be the same.
 *
 * The guest has an IOMMU of its own. It maps each page for one DMA and unmaps it
 * again, and the VMM, who has this done by iommufd, keeps no account of it: its
 * logs are of memory.
 *
 * Between [brackets] is what the documentation shows. The VM itself is below.
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
#ifndef IOMMU_DIRTY_LOG_ALLOC /* the base's headers have none of it */
#include "../../../../../include/uapi/linux/iommufd_dirty.h"
#endif

#include "kselftest_harness.h"
#include "dsim_user.h"
#include "../../../../iommu/dirty_log.h"

#define PAGE		4096UL
#define FEW_PAGES	16	/* sent while the VM stands still */
#define MAX_ROUNDS	30

/* [state] */
/* A part of the VM's memory, and the log of what devices write to it */
struct ram {
	uint8_t *memory;
	size_t pages;
	uint32_t log_id;
	struct dirty_log log;	/* of tools/iommu/dirty_log.h */
	struct vmm *vmm;
};

struct vmm {
	int iommufd;
	struct ram ram[2];
	unsigned int rams;
};
/* [/state] */

/* What the VM is made of: see below */
static void send_page(struct ram *ram, size_t page);
static int stop_vm(struct vmm *vmm);

/* [start] */
/* From here on the log knows what devices write to this memory */
static int start_log(struct ram *ram)
{
	struct iommu_dirty_log_alloc alloc = {
		.size = sizeof(alloc),
		.flags = IOMMU_DIRTY_LOG_USER,
		.start = (uintptr_t)ram->memory,
		.length = ram->pages * PAGE,
		.page_size = PAGE,
	};

	if (ioctl(ram->vmm->iommufd, IOMMU_DIRTY_LOG_ALLOC, &alloc))
		return -errno;
	ram->log_id = alloc.out_log_id;
	return dirty_log_map(&ram->log, ram->vmm->iommufd, &alloc);
}

/* A mapped log cannot be destroyed */
static void stop_log(struct ram *ram)
{
	struct iommu_destroy destroy = {
		.size = sizeof(destroy),
		.id = ram->log_id,
	};

	if (ram->log.bits)
		dirty_log_unmap(&ram->log);
	if (ram->log_id)
		ioctl(ram->vmm->iommufd, IOMMU_DESTROY, &destroy);
	ram->log.bits = NULL;
	ram->log_id = 0;
}
/* [/start] */

/* [read] */
static int sync_log(struct ram *ram)
{
	struct iommu_dirty_log_sync sync = {
		.size = sizeof(sync),
		.log_id = ram->log_id,
	};

	return ioctl(ram->vmm->iommufd, IOMMU_DIRTY_LOG_SYNC, &sync) ? -errno : 0;
}

/* The bits are no longer set: what is written from here on sets them again */
static void send_pages(void *data, size_t first, uint64_t word)
{
	for (; word; word &= word - 1)
		send_page(data, first + __builtin_ctzll(word));
}

/* Returns how many pages there were */
static long send_dirty(struct vmm *vmm)
{
	long sent = 0;

	for (struct ram *ram = vmm->ram; ram != vmm->ram + vmm->rams; ram++) {
		int rc = sync_log(ram);

		if (rc)
			return rc;
		sent += dirty_log_take(&ram->log, 0, ram->log.nr, send_pages, ram);
	}
	return sent;
}
/* [/read] */

/* [migrate] */
/* Returns how many pages were sent while the VM stood still */
static long migrate(struct vmm *vmm)
{
	struct ram *ram, *end = vmm->ram + vmm->rams;
	long left = 0;

	for (ram = vmm->ram; ram != end && !left; ram++)
		left = start_log(ram);
	if (left)
		goto out;
	for (ram = vmm->ram; ram != end; ram++)
		for (size_t page = 0; page < ram->pages; page++)
			send_page(ram, page);

	for (int round = 0; round != MAX_ROUNDS; round++) {
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
	for (ram = vmm->ram; ram != end; ram++)
		stop_log(ram);
	return left;
}
/* [/migrate] */

/* ---- The VM: a simulated device, and a guest that maps pages for it ---- */

#define DATA_PAGES	1024U
#define HOT_PAGES	200U	/* that are mapped for the device, at random */
#define WINDOW_IOVA	DATA_IOVA
#define WINDOW_PAGES	16U	/* where the guest maps them */
#define LAST_WRITES	20	/* after the last round, however slow the machine is */

/**
 * struct machine - source and destination of a migration
 * @vmm: must be first
 * @vm: the source's memory
 * @d: the device
 * @destination: of each part of the memory
 * @guest: the thread that drives the device
 * @running: there is one
 * @stop: it is to end
 * @writes: that the device has done
 * @rc: why the guest ended
 * @sent: pages sent after the first time
 * @cold: of these, such that no device writes
 * @first_round: pages still to be sent for the first time
 */
struct machine {
	struct vmm vmm;
	struct vm vm;
	struct dsim d;
	uint8_t *destination[2];
	pthread_t guest;
	bool running;
	bool stop;
	unsigned int writes;
	int rc;
	unsigned int sent;
	unsigned int cold;
	unsigned int first_round;
};

static void send_page(struct ram *ram, size_t page)
{
	struct machine *m = (struct machine *)ram->vmm;
	size_t part = ram - m->vmm.ram;

	memcpy(m->destination[part] + page * PAGE, ram->memory + page * PAGE, PAGE);
	if (m->first_round) {
		m->first_round--;
		/* networks are slower than this: give the device time to write */
		if (m->first_round % 16 == 0)
			usleep(100);
		return;
	}
	m->sent++;
	m->cold += page >= (part ? HOT_PAGES : RING_BYTES / PAGE);
}

/* One DMA, through a mapping that is made for it */
static int write_page(struct machine *m, uint64_t *seed)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL,
		.dst = WINDOW_IOVA + rnd(seed) % WINDOW_PAGES * PAGE,
		.len = PAGE,
		.value = rnd(seed),
	};
	int rc;

	rc = vm_map(&m->vm, desc.dst, m->vm.data + rnd(seed) % HOT_PAGES * PAGE,
		    PAGE, MAP_RW);
	if (rc)
		return rc;
	rc = dsim_run(&m->d, &desc) == DSIM_DESC_DONE ? 0 : -EIO;
	return vm_unmap(&m->vm, desc.dst, PAGE) ?: rc;
}

static void *drive(void *arg)
{
	struct machine *m = arg;
	uint64_t seed = 1;

	while (!__atomic_load_n(&m->stop, __ATOMIC_ACQUIRE)) {
		m->rc = write_page(m, &seed);
		__atomic_add_fetch(&m->writes, 1, __ATOMIC_RELEASE);
		if (m->rc)
			break;
		usleep(100);
	}
	return NULL;
}

static void stop_guest(struct machine *m)
{
	if (!m->running)
		return;
	__atomic_store_n(&m->stop, true, __ATOMIC_RELEASE);
	pthread_join(m->guest, NULL);
	m->running = false;
}

static int stop_vm(struct vmm *vmm)
{
	struct machine *m = (struct machine *)vmm;
	unsigned int writes = __atomic_load_n(&m->writes, __ATOMIC_ACQUIRE);

	for (int ms = 0; ms != 5000; ms++) {
		if (__atomic_load_n(&m->writes, __ATOMIC_ACQUIRE) - writes >=
		    LAST_WRITES)
			break;
		usleep(1000);
	}
	stop_guest(m);
	return m->rc ?: dsim_mig_set(&m->d, VFIO_DEVICE_STATE_STOP, NULL);
}

static int add_ram(struct machine *m, void *memory, size_t size)
{
	struct ram *ram = &m->vmm.ram[m->vmm.rams];

	*ram = (struct ram){
		.memory = memory,
		.pages = size / PAGE,
		.vmm = &m->vmm,
	};
	m->destination[m->vmm.rams] = malloc(size);
	if (!m->destination[m->vmm.rams])
		return -ENOMEM;
	m->first_round += ram->pages;
	m->vmm.rams++;
	return 0;
}

FIXTURE(log_example)
{
	struct machine m;
};

FIXTURE_SETUP(log_example)
{
	struct dsim_config config = { .format = "vtdss", .page_sizes = SZ_4K };
	struct machine *m = &self->m;
	struct vm *vm = &m->vm;

	m->d.fd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, vm_create(vm));
	m->vmm.iommufd = vm->iommufd;
	ASSERT_EQ(0, vm_alloc_memory(vm, DATA_PAGES * PAGE, false));
	ASSERT_EQ(0, add_ram(m, vm->ring, LOW_BYTES));
	ASSERT_EQ(0, add_ram(m, vm->data, DATA_PAGES * PAGE));
	ASSERT_EQ(0, vm_map(vm, RING_IOVA, vm->ring, LOW_BYTES, MAP_RW));

	ASSERT_EQ(0, dsim_create(&m->d, "log-example", &config));
	ASSERT_EQ(0, dsim_open(&m->d));
	ASSERT_EQ(0, dsim_bind(&m->d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &m->d, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				   &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(&m->d, vm->hwpt));
	ASSERT_EQ(0, dsim_start(&m->d, vm->ring));
}

FIXTURE_TEARDOWN(log_example)
{
	struct machine *m = &self->m;

	stop_guest(m);
	dsim_close(&m->d);
	vm_destroy(&m->vm);
	if (m->d.name[0])
		EXPECT_EQ(0, dsim_remove(m->d.name));
	free(m->destination[0]);
	free(m->destination[1]);
}

TEST_F(log_example, migrates)
{
	struct machine *m = &self->m;
	long left;

	ASSERT_EQ(0, pthread_create(&m->guest, NULL, drive, m));
	m->running = true;
	left = migrate(&m->vmm);
	if (left == -ENOTTY)
		SKIP(return, "this kernel has no dirty logs");
	/* At least one page of data, and the ring, whose status was written */
	EXPECT_LE(2, left);
	EXPECT_LE(left, m->sent);
	EXPECT_EQ(0, m->cold);
	for (unsigned int i = 0; i < m->vmm.rams; i++)
		EXPECT_EQ(0, memcmp(m->destination[i], m->vmm.ram[i].memory,
				    m->vmm.ram[i].pages * PAGE));
	TH_LOG("%u writes, %u pages sent again, %ld of them while it stood still",
	       m->writes, m->sent, left);
}

TEST_HARNESS_MAIN
