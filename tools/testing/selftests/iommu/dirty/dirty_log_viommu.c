// SPDX-License-Identifier: GPL-2.0-only
/*
 * A guest with a virtual IOMMU: it maps and unmaps all the time, and the VMM
 * reads pages of RAM from one dirty log of memory, and follows nothing
 *
 * Four devices of four formats in three address spaces, two of them in the same.
 * Each has a thread that maps a few pages of RAM, by address, by file or as a copy
 * of another mapping, has the device write to them, and unmaps them; sometimes
 * while the device is still at it.  One thread takes from the log all the time and
 * copies each page that it finds, as a migration does.
 *
 * The oracle is outside of the kernel:
 *
 *  - nothing is lost: whenever all devices rest, after one more sync the copy is
 *    RAM, page by page;
 *  - nothing is invented: a page is found only if a write to it began that the
 *    pass before could not know of.
 *
 * DIRTY_VIOMMU_OPS (100000) maps and unmaps are made, or as many as there is time
 * for in DIRTY_VIOMMU_SECONDS (10, 0 for no limit). DIRTY_VIOMMU_SEED (the time)
 * decides what each thread does, not how they interleave.
 */
#include <pthread.h>
#include <time.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "dsim_user.h"
#include "log_user.h"

#define DEVICES		4
#define SPACES		3
#define RAM_PAGES	2048U
#define RAM_BYTES	(RAM_PAGES * SZ_4K)
#define SLOTS		8	/* mappings that a device has at a time */
#define SLOT_PAGES	8U
#define BATCH		4U	/* descriptors at a time */
#define ROUND_OPS	50	/* of a device, until all rest */

/* All of RAM in each address space, to copy mappings from, and to write through */
#define RAM_IOVA	0x100000000ULL
/* Of each device */
#define WINDOW(_i)	(0x40000000ULL + (_i) * 0x1000000ULL)
#define RING(_i)	(0x20000000ULL + (_i) * 0x100000ULL)

/* Leaves of one page, so that what is dirty is what was written */
static const struct {
	struct dsim_config config;
	unsigned int space;
} layout[DEVICES] = {
	{ { .format = "vtdss", .page_sizes = SZ_4K }, 0 },
	{ { .format = "amdv1", .page_sizes = SZ_4K }, 1 },
	{ { .format = "x86_64", .page_sizes = SZ_4K }, 2 },
	{ { .format = "armlpae", .page_sizes = SZ_4K }, 2 },
};

/* A page as the devices write it: a number of each */
struct page {
	uint64_t of[DEVICES];
};

struct slot {
	bool mapped;
	uint64_t iova;
	unsigned int first;		/* page of RAM */
	unsigned int pages;
	unsigned int wrote[SLOT_PAGES];	/* to each, since it was mapped */
};

struct device {
	unsigned int index;
	struct dsim dsim;
	struct vm vm;			/* its address space */
	void *ring;
	struct slot slots[SLOTS];
	uint64_t seed;
	uint64_t number;		/* what it wrote last */
};

/*
 * Of each page: writes that began; that are over; and that are over and were
 * unmapped, so that they are in the log.
 */
static unsigned int begun[RAM_PAGES], ended[RAM_PAGES], delivered[RAM_PAGES];

static struct device devices[DEVICES];
static struct vm spaces[SPACES];
static uint8_t *ram;
static int ram_fd;
static struct dlog dirty_log;

static pthread_barrier_t rest;
static unsigned long ops, writes, errors;
static int stop, pause_taker;

static unsigned int get(unsigned int *n)
{
	return __atomic_load_n(n, __ATOMIC_SEQ_CST);
}

static void add(unsigned int *n, unsigned int more)
{
	__atomic_add_fetch(n, more, __ATOMIC_SEQ_CST);
}

static int must(const char *what, int rc)
{
	if (rc && __atomic_add_fetch(&errors, 1, __ATOMIC_SEQ_CST) < 10)
		ksft_print_msg("%s: %s\n", what, strerror(-rc));
	return rc;
}

static uint64_t below(uint64_t *seed, uint64_t n)
{
	return (rnd(seed) >> 20) % n;
}

/* ---- Mappings, as a VMM makes them for its guest ---- */

static int map_slot(struct device *d, struct slot *s)
{
	uint64_t at = s->first * SZ_4K, length = s->pages * SZ_4K;
	struct iommu_ioas_map_file file = {
		.size = sizeof(file),
		.flags = MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA,
		.ioas_id = d->vm.ioas,
		.fd = ram_fd,
		.start = at,
		.length = length,
		.iova = s->iova,
	};
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA,
		.dst_ioas_id = d->vm.ioas,
		.src_ioas_id = spaces[below(&d->seed, SPACES)].ioas,
		.length = length,
		.dst_iova = s->iova,
		.src_iova = RAM_IOVA + at,
	};

	switch (below(&d->seed, 3)) {
	case 0:
		return ioctl(d->vm.iommufd, IOMMU_IOAS_MAP_FILE, &file) ?
		       -errno : 0;
	case 1:
		return ioctl(d->vm.iommufd, IOMMU_IOAS_COPY, &copy) ?
		       -errno : 0;
	default:
		return vm_map(&d->vm, s->iova, ram + at, length, MAP_RW);
	}
}

/* One write to a page, its own word of it, through the slot or past it */
static void put_write(struct device *d, struct slot *s, unsigned int page,
		      bool past)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL,
		.len = 8,
		.value = ++d->number,
	};

	desc.dst = past ? RAM_IOVA + (s->first + page) * SZ_4K :
			  s->iova + page * SZ_4K;
	desc.dst += offsetof(struct page, of) + d->index * 8;
	add(&begun[s->first + page], 1);
	dsim_put(&d->dsim, &desc);
}

static void write_slot(struct device *d, struct slot *s, bool wait)
{
	unsigned int n = 1 + below(&d->seed, BATCH), page[BATCH];
	bool past = wait && below(&d->seed, 8) == 0;

	for (unsigned int i = 0; i < n; i++) {
		page[i] = below(&d->seed, s->pages);
		put_write(d, s, page[i], past);
	}
	must("doorbell", dsim_kick(&d->dsim));
	if (wait)
		must("wait", dsim_wait(&d->dsim));
	for (unsigned int i = 0; i < n; i++) {
		if (wait)
			add(&ended[s->first + page[i]], 1);
		/* what was not written through the slot is not there when it goes */
		if (!past)
			s->wrote[page[i]] += wait ? 1 : 0x10000;
	}
	__atomic_add_fetch(&writes, n, __ATOMIC_RELAXED);
}

static void unmap_slot(struct device *d, struct slot *s)
{
	must("unmap", vm_unmap(&d->vm, s->iova, s->pages * SZ_4K));
	/* what was under way is over, written or not */
	must("wait", dsim_wait(&d->dsim));
	for (unsigned int i = 0; i < s->pages; i++) {
		unsigned int under_way = s->wrote[i] >> 16;

		add(&ended[s->first + i], under_way);
		add(&delivered[s->first + i],
		    under_way + (s->wrote[i] & 0xffff));
		s->wrote[i] = 0;
	}
	s->mapped = false;
}

static void one_op(struct device *d)
{
	unsigned int i = below(&d->seed, SLOTS);
	struct slot *s = &d->slots[i];
	bool wait = below(&d->seed, 4);

	if (!s->mapped) {
		s->pages = 1 + below(&d->seed, SLOT_PAGES);
		s->first = below(&d->seed, RAM_PAGES - s->pages);
		/* anywhere in its part of the window */
		s->iova = WINDOW(d->index) + i * SZ_2M +
			  below(&d->seed, 100) * SZ_4K;
		must("map", map_slot(d, s));
		s->mapped = true;
		write_slot(d, s, true);
	} else {
		if (!wait || below(&d->seed, 2))
			write_slot(d, s, wait);
		unmap_slot(d, s);
	}
	__atomic_add_fetch(&ops, 1, __ATOMIC_RELAXED);
}

static void *work(void *arg)
{
	struct device *d = arg;

	for (;;) {
		pthread_barrier_wait(&rest);
		if (__atomic_load_n(&stop, __ATOMIC_SEQ_CST))
			return NULL;
		for (int i = 0; i < ROUND_OPS &&
		     !__atomic_load_n(&errors, __ATOMIC_RELAXED); i++)
			one_op(d);
		/* all that it did is over, and the next round has not begun */
		pthread_barrier_wait(&rest);
	}
}

/* ---- The VMM that migrates ---- */

static struct page copies[RAM_PAGES];
static unsigned int known[RAM_PAGES];	/* writes that an earlier pass had */
static uint64_t found[RAM_PAGES / 64];
static unsigned long passes, taken_pages, invented, told;

static void copy_page(unsigned int page)
{
	const struct page *from = (void *)(ram + page * SZ_4K);

	for (int i = 0; i < DEVICES; i++)
		copies[page].of[i] = __atomic_load_n(&from->of[i],
						     __ATOMIC_SEQ_CST);
}

static void pass(bool sync)
{
	static unsigned int now[RAM_PAGES];

	/* of these it will be certain that they are not news to the next one */
	for (unsigned int page = 0; page < RAM_PAGES; page++)
		now[page] = get(sync ? &ended[page] : &delivered[page]);
	if (sync)
		must("sync", dlog_sync(&dirty_log, NULL));
	memset(found, 0, sizeof(found));
	taken_pages += dlog_take(&dirty_log, found);
	for (unsigned int page = 0; page < RAM_PAGES; page++) {
		if (!(found[page / 64] >> page % 64 & 1))
			continue;
		copy_page(page);
		if (get(&begun[page]) > known[page])
			continue;
		invented++;
		if (told++ < 10)
			ksft_print_msg("page %u was found, but not written\n",
				       page);
	}
	for (unsigned int page = 0; page < RAM_PAGES; page++)
		if (now[page] > known[page])
			known[page] = now[page];
	passes++;
}

static pthread_mutex_t taking = PTHREAD_MUTEX_INITIALIZER;

static void *take_on(void *arg)
{
	uint64_t seed = *(uint64_t *)arg;

	while (!__atomic_load_n(&stop, __ATOMIC_SEQ_CST)) {
		pthread_mutex_lock(&taking);
		pass(below(&seed, 3) == 0);
		pthread_mutex_unlock(&taking);
		/* let the other one have it */
		while (__atomic_load_n(&pause_taker, __ATOMIC_SEQ_CST))
			nanosleep(&(struct timespec){ .tv_nsec = 50000 }, NULL);
	}
	return NULL;
}

/* Nothing is under way: pages that are not what was copied */
static unsigned int compare(void)
{
	unsigned int lost = 0;

	__atomic_store_n(&pause_taker, 1, __ATOMIC_SEQ_CST);
	pthread_mutex_lock(&taking);
	pass(true);
	for (unsigned int page = 0; page < RAM_PAGES; page++) {
		if (!memcmp(&copies[page], ram + page * SZ_4K,
			    sizeof(copies[page])))
			continue;
		lost++;
		if (told++ < 10)
			ksft_print_msg("page %u was written, but not found\n",
				       page);
		copy_page(page);
	}
	/* everything was taken, and nobody writes */
	if (!dlog_is_clean(&dirty_log))
		must("bits are left", -EIO);
	__atomic_store_n(&pause_taker, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&taking);
	return lost;
}

/* ---- Setting up ---- */

static int start_device(struct device *d, int iommufd)
{
	struct dsim *dev = &d->dsim;
	const unsigned int i = d->index;
	char name[32];
	int rc;

	snprintf(name, sizeof(name), "log-viommu%u", i);
	d->vm = spaces[layout[i].space];
	d->ring = mmap(NULL, RING_BYTES, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (d->ring == MAP_FAILED)
		return -errno;
	rc = dsim_create(dev, name, &layout[i].config) ?:
	     dsim_open(dev) ?:
	     dsim_bind(dev, iommufd) ?:
	     vm_alloc_hwpt(&d->vm, dev, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
			   &d->vm.hwpt) ?:
	     dsim_attach(dev, d->vm.hwpt) ?:
	     vm_map(&d->vm, RING(i), d->ring, RING_BYTES, MAP_RW) ?:
	     dsim_map_doorbell(dev) ?:
	     dsim_start(dev, d->ring);
	if (rc)
		return rc;
	/* a ring of its own, where there are two in an address space */
	return dsim_reg_write(dev, DSIM_REG_CTRL, 0) ?:
	       dsim_reg_write(dev, DSIM_REG_RING_LO, (uint32_t)RING(i)) ?:
	       dsim_reg_write(dev, DSIM_REG_RING_HI, RING(i) >> 32) ?:
	       dsim_reg_write(dev, DSIM_REG_CTRL, DSIM_CTRL_ENABLE);
}

static unsigned long number(const char *name, unsigned long otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 0) : otherwise;
}

FIXTURE(viommu)
{
	int iommufd;
};

FIXTURE_SETUP(viommu)
{
	struct iommu_dirty_log_alloc cmd = {
		.flags = IOMMU_DIRTY_LOG_USER | IOMMU_DIRTY_LOG_FILE,
		.length = RAM_BYTES,
		.page_size = SZ_4K,
	};

	self->iommufd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base())
		SKIP(return, "the base kernel has no dirty logs");
	ram_fd = memfd_create("ram", MFD_CLOEXEC);
	ASSERT_LE(0, ram_fd);
	ASSERT_EQ(0, ftruncate(ram_fd, RAM_BYTES));
	ram = mmap(NULL, RAM_BYTES, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_POPULATE, ram_fd, 0);
	ASSERT_NE(MAP_FAILED, ram);
	ASSERT_EQ(0, vm_create(&spaces[0]));
	self->iommufd = spaces[0].iommufd;
	for (int i = 1; i < SPACES; i++) {
		spaces[i] = spaces[0];
		ASSERT_EQ(0, vm_alloc_ioas(&spaces[i]));
	}
	for (int i = 0; i < SPACES; i++)
		ASSERT_EQ(0, vm_map(&spaces[i], RAM_IOVA, ram, RAM_BYTES,
				    MAP_RW));
	for (int i = 0; i < DEVICES; i++) {
		devices[i].index = i;
		devices[i].dsim.fd = -1;
	}
	for (int i = 0; i < DEVICES; i++)
		ASSERT_EQ(0, start_device(&devices[i], self->iommufd));
	cmd.start = (uintptr_t)ram;
	cmd.fd = ram_fd;
	ASSERT_EQ(0, dlog_open(&dirty_log, self->iommufd, &cmd));
}

FIXTURE_TEARDOWN(viommu)
{
	if (!ram)
		return;
	for (int i = 0; i < DEVICES; i++)
		dsim_close(&devices[i].dsim);
	dlog_unmap(&dirty_log);
	if (self->iommufd >= 0)
		close(self->iommufd);
	for (int i = 0; i < DEVICES; i++) {
		if (devices[i].dsim.name[0]) {
			EXPECT_EQ(0, dsim_remove(devices[i].dsim.name));
		}
	}
	munmap(ram, RAM_BYTES);
	close(ram_fd);
}

TEST_F_TIMEOUT(viommu, churn, 3600)
{
	unsigned long wanted = number("DIRTY_VIOMMU_OPS", 100000);
	unsigned long seconds = number("DIRTY_VIOMMU_SECONDS", 10);
	uint64_t seed = number("DIRTY_VIOMMU_SEED", now_ms()) * 2 + 1;
	unsigned long long began = now_ms(), end = began + seconds * 1000;
	pthread_t thread[DEVICES], taker;
	unsigned long rounds = 0;
	unsigned int lost = 0;

	TH_LOG("DIRTY_VIOMMU_SEED=%llu", (unsigned long long)seed / 2);
	ASSERT_EQ(0, pthread_barrier_init(&rest, NULL, DEVICES + 1));
	ASSERT_EQ(0, pthread_create(&taker, NULL, take_on, &seed));
	for (int i = 0; i < DEVICES; i++) {
		devices[i].seed = seed * (2 * i + 3);
		ASSERT_EQ(0, pthread_create(&thread[i], NULL, work,
					    &devices[i]));
	}
	do {
		pthread_barrier_wait(&rest);
		/* they work, until all have come here again */
		pthread_barrier_wait(&rest);
		lost += compare();
		rounds++;
	} while (ops < wanted && !lost && !invented && !errors &&
		 (!seconds || now_ms() < end));
	__atomic_store_n(&stop, 1, __ATOMIC_SEQ_CST);
	pthread_barrier_wait(&rest);
	for (int i = 0; i < DEVICES; i++)
		pthread_join(thread[i], NULL);
	pthread_join(taker, NULL);
	TH_LOG("%lu maps and unmaps, %lu writes, %lu passes took %lu pages, %lu comparisons, %llu ms",
	       ops, writes, passes, taken_pages, rounds, now_ms() - began);
	EXPECT_EQ(0, errors);
	EXPECT_EQ(0, lost);
	EXPECT_EQ(0, invented);
	/* it was not by doing nothing */
	EXPECT_LE(DEVICES * ROUND_OPS, ops);
	EXPECT_LT(ops / 4, taken_pages);
	EXPECT_LT(rounds, passes);
}

TEST_HARNESS_MAIN
