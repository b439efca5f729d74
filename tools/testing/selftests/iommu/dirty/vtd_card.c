// SPDX-License-Identifier: GPL-2.0-only
/*
 * A real PCI function that migrates: what its variant driver and the library's part
 * for PCI make of user space that means no good
 *
 * Needs root, and an Intel 82574L bound to e1000e_vfio_pci, behind an IOMMU.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "dsim_user.h"

#define DRIVER		"/sys/bus/pci/drivers/e1000e_vfio_pci"
#define STREAM_MAX	8192

#define STOP		VFIO_DEVICE_STATE_STOP
#define RUNNING		VFIO_DEVICE_STATE_RUNNING
#define STOP_COPY	VFIO_DEVICE_STATE_STOP_COPY
#define RESUMING	VFIO_DEVICE_STATE_RESUMING
#define RUNNING_P2P	VFIO_DEVICE_STATE_RUNNING_P2P

#define BAR0		VFIO_PCI_BAR0_REGION_INDEX
#define BAR3		VFIO_PCI_BAR3_REGION_INDEX
#define BAR3_SIZE	0x4000

/* The card, by its datasheet */
#define STATUS		0x0008
#define RCTL		0x0100
#define TCTL		0x0400
#define TCTL_EN		0x2
#define RDBAL		0x2800
#define TDBAL		0x3800
#define TDLEN		0x3808
#define TDT		0x3818
#define SLOTS		64
#define SEND		0x0b		/* all of a frame; checksum; tell when done */
#define DONE		0x1

struct tx {
	uint64_t buffer;
	uint16_t length;
	uint8_t cso;
	uint8_t cmd;
	uint8_t status;
	uint8_t css;
	uint16_t special;
};

/* For checksums: where they are in the frames that follow, and a frame */
struct context {
	uint8_t ipcss, ipcso;
	uint16_t ipcse;
	uint8_t tucss, tucso;
	uint16_t tucse;
	uint16_t paylen;
	uint8_t dtyp;
	uint8_t cmd;
	uint8_t status;
	uint8_t hdrlen;
	uint16_t mss;
};

struct data {
	uint64_t buffer;
	uint16_t length;
	uint8_t dtyp;
	uint8_t cmd;
	uint8_t status;
	uint8_t popts;
	uint16_t vlan;
};

#define DEXT		0x20
#define CONTEXT_TCP4	0x03
#define DATA		0x10
#define TSE		0x04
#define IXSM		0x01
#define TXSM		0x02

/* Ten bytes of data, and 0xaabb for a checksum */
static const uint8_t tcp_frame[] = {
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0, 0x01, 0x08, 0x00,
	0x45, 0, 0, 50, 0, 1, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
	0, 1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 1, 0,
	0xaa, 0xbb, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10,
};

FIXTURE(card)
{
	struct dsim dev;
	struct vm vm;
	volatile uint32_t *bar;
	uint32_t tail;
	uint8_t stream[STREAM_MAX];
	ssize_t len;
};

/* The first one that the driver has */
static bool find_card(char *node, size_t size)
{
	char path[PATH_MAX];
	struct dirent *e, *v;
	bool found = false;
	DIR *dir, *vfio;

	dir = opendir(DRIVER);
	while (dir && !found && (e = readdir(dir))) {
		snprintf(path, sizeof(path), DRIVER "/%s/vfio-dev", e->d_name);
		vfio = opendir(path);
		while (vfio && (v = readdir(vfio)))
			if (!strncmp(v->d_name, "vfio", 4)) {
				snprintf(node, size, "/dev/vfio/devices/%.32s",
					 v->d_name);
				found = true;
			}
		if (vfio)
			closedir(vfio);
	}
	if (dir)
		closedir(dir);
	return found;
}

static volatile uint32_t *map_bar(struct dsim *d)
{
	struct vfio_region_info info = { .argsz = sizeof(info), .index = BAR3 };
	void *bar;

	if (ioctl(d->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
		return NULL;
	bar = mmap(NULL, BAR3_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd,
		   info.offset);
	return bar == MAP_FAILED ? NULL : bar;
}

static __thread sigjmp_buf no_page;

static void on_sigbus(int sig)
{
	siglongjmp(no_page, 1);
}

/* Read a mapped word, and write it back; false when that gets SIGBUS */
static bool touch(volatile uint32_t *word)
{
	if (sigsetjmp(no_page, 1))
		return false;
	*word = *word;
	return true;
}

static uint32_t get(struct dsim *d, uint32_t reg)
{
	uint32_t value = 0;

	return dsim_read(d, BAR0, reg, &value, 4) == 4 ? value : 0;
}

static void set(struct dsim *d, uint32_t reg, uint32_t value)
{
	dsim_write(d, BAR0, reg, &value, 4);
}

/* A ring to send from, as a guest's driver sets it up */
static int start(struct dsim *d, struct vm *vm)
{
	int rc = dsim_enable_bus(d);

	memset(vm->ring, 0, SLOTS * sizeof(struct tx));
	set(d, TDBAL, RING_IOVA);
	set(d, TDLEN, SLOTS * sizeof(struct tx));
	set(d, TCTL, TCTL_EN);
	return rc;
}

static volatile struct tx *put(struct dsim *d, struct vm *vm, uint32_t *tail)
{
	struct tx *slot = (struct tx *)vm->ring + *tail;

	*slot = (struct tx){ .buffer = DATA_IOVA, .length = 64, .cmd = SEND };
	*tail = (*tail + 1) % SLOTS;
	set(d, TDT, *tail);
	return slot;
}

static bool is_sent(volatile struct tx *slot, unsigned int ms)
{
	unsigned long long end = now_ms() + ms;

	while (!(slot->status & DONE) && now_ms() < end)
		usleep(1000);
	return slot->status & DONE;
}

FIXTURE_SETUP(card)
{
	struct sigaction action = { .sa_handler = on_sigbus };
	char node[PATH_MAX];
	int fd;

	if (!find_card(node, sizeof(node)))
		SKIP(return, "no 82574L is bound to e1000e_vfio_pci");
	sigaction(SIGBUS, &action, NULL);
	self->dev.fd = open(node, O_RDWR | O_CLOEXEC);
	ASSERT_LE(0, self->dev.fd);
	ASSERT_EQ(0, vm_create(&self->vm));
	ASSERT_EQ(0, dsim_bind(&self->dev, self->vm.iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(&self->vm, &self->dev, 0, &self->vm.hwpt));
	ASSERT_EQ(0, dsim_attach(&self->dev, self->vm.hwpt));
	ASSERT_EQ(0, vm_alloc_memory(&self->vm, 64 * SZ_4K, false));
	ASSERT_EQ(0, vm_map_memory(&self->vm));
	ASSERT_EQ(0, dsim_enable_bus(&self->dev));
	self->bar = map_bar(&self->dev);
	ASSERT_NE(NULL, self->bar);
	ASSERT_EQ(0, dsim_mig_set(&self->dev, STOP_COPY, &fd));
	self->len = read_stream(fd, self->stream, STREAM_MAX);
	ASSERT_LT(0, self->len);
	close(fd);
	ASSERT_EQ(0, dsim_reset(&self->dev));
	ASSERT_EQ(0, start(&self->dev, &self->vm));
}

FIXTURE_TEARDOWN(card)
{
	if (self->bar)
		munmap((void *)self->bar, BAR3_SIZE);
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
}

static bool has_mmio(uint32_t state)
{
	return state == RUNNING || state == RUNNING_P2P;
}

/* The checksums that the card is asked for are in frames, not in memory */
TEST_F(card, only_reads_what_it_sends)
{
	struct context context = {
		.ipcss = 14, .ipcso = 24, .ipcse = 33,
		.tucss = 34, .tucso = 50, .paylen = 10,
		.cmd = DEXT | CONTEXT_TCP4, .hdrlen = 54, .mss = 6,
	};
	struct data data = {
		.buffer = DATA_IOVA, .length = sizeof(tcp_frame),
		.dtyp = DATA, .popts = IXSM | TXSM,
	};
	static const uint8_t segments[] = { 0, TSE };
	struct tx *ring = self->vm.ring;
	unsigned int tail = 0;

	for (size_t i = 0; i < ARRAY_LEN(segments); i++) {
		context.cmd |= segments[i];
		data.cmd = DEXT | SEND | segments[i];
		memcpy(self->vm.data, tcp_frame, sizeof(tcp_frame));
		memcpy(&ring[tail], &context, sizeof(context));
		memcpy(&ring[tail + 1], &data, sizeof(data));
		tail += 2;
		set(&self->dev, TDT, tail);
		ASSERT_TRUE(is_sent(&ring[tail - 1], 1000));
		EXPECT_EQ(0, memcmp(self->vm.data, tcp_frame,
				    sizeof(tcp_frame)));
	}
}

/* MMIO, mapped and not, is there while the card runs; config space always */
TEST_F(card, mmio)
{
	static const uint32_t states[] = {
		RUNNING, STOP, STOP_COPY, RUNNING, RESUMING, RUNNING, RUNNING_P2P,
	};
	struct dsim *d = &self->dev;
	int fd;

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		bool there = has_mmio(states[i]);

		if (i && states[i - 1] == RESUMING) {
			ASSERT_EQ(0, dsim_reset(d));
			ASSERT_EQ(0, dsim_enable_bus(d));
		}
		ASSERT_EQ(0, dsim_mig_set(d, states[i], &fd));
		for (size_t at = 0; at < BAR3_SIZE / 4; at += SZ_4K / 4)
			EXPECT_EQ(there, touch(self->bar + at));
		EXPECT_EQ(there, get(d, STATUS) != ~0U);
		EXPECT_EQ(0x8086, dsim_cfg(d, CFG_VENDOR, 2));
		if (fd >= 0)
			close(fd);
	}
	/* nor while memory does not decode */
	ASSERT_EQ(0, dsim_cfg_write(d, CFG_COMMAND, 2, CFG_COMMAND_MASTER));
	EXPECT_FALSE(touch(self->bar));
	EXPECT_EQ(~0U, get(d, STATUS));
	ASSERT_EQ(0, dsim_enable_bus(d));
	EXPECT_TRUE(touch(self->bar));
}

/* What is rung while DMA is stopped is sent later, here or after a load */
TEST_F(card, p2p_holds_work)
{
	struct dsim *d = &self->dev;
	volatile struct tx *slot;
	int fd;

	EXPECT_TRUE(is_sent(put(d, &self->vm, &self->tail), 5000));
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING_P2P, NULL));
		slot = put(d, &self->vm, &self->tail);
		EXPECT_EQ(self->tail, get(d, TDT));
		EXPECT_FALSE(is_sent(slot, 50));
		if (i & 1) {
			ASSERT_EQ(0, dsim_mig_set(d, STOP_COPY, &fd));
			self->len = read_stream(fd, self->stream, STREAM_MAX);
			ASSERT_LT(0, self->len);
			close(fd);
			ASSERT_EQ(0, dsim_reset(d));
			ASSERT_EQ(0, dsim_enable_bus(d));
			ASSERT_EQ(0, dsim_mig_set(d, RESUMING, &fd));
			ASSERT_EQ(0, write_stream(fd, self->stream, self->len));
			ASSERT_EQ(0, dsim_mig_set(d, RUNNING_P2P, NULL));
			close(fd);
			EXPECT_FALSE(is_sent(slot, 50));
		}
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
		EXPECT_TRUE(is_sent(slot, 5000));
	}
}

/* ---- All at once ---- */

struct race {
	struct dsim *d;
	struct vm *vm;
	volatile uint32_t *bar;
	uint8_t *stream;
	ssize_t len;
	unsigned long long end;
	uint64_t seed;
	int fd;
	unsigned long counts[8];
};

/* Which of the threads counts; for the log */
enum { STATES, LOADS, RESETS, MAPPED, ACCESSES, IOCTLS, FRAMES, TRACKED };

static void keep(struct race *r, int fd)
{
	int old = __atomic_exchange_n(&r->fd, fd, __ATOMIC_SEQ_CST);

	if (old >= 0)
		close(old);
}

static void *race_states(void *arg)
{
	struct race *r = arg;
	int fd;

	while (now_ms() < r->end) {
		if (!dsim_mig_set(r->d, 1 + rnd(&r->seed) % 7, &fd))
			r->counts[STATES]++;
		if (fd >= 0)
			keep(r, fd);
	}
	return NULL;
}

/* States that are whole, and some with a byte that is not */
static void *race_loads(void *arg)
{
	uint8_t stream[STREAM_MAX];
	struct race *r = arg;
	int fd;

	while (now_ms() < r->end) {
		if (dsim_mig_set(r->d, RESUMING, &fd) || fd < 0)
			continue;
		memcpy(stream, r->stream, r->len);
		if (rnd(&r->seed) & 1)
			stream[rnd(&r->seed) % r->len] ^= 1 + rnd(&r->seed) % 255;
		write_stream(fd, stream, r->len);
		if (!dsim_mig_set(r->d, rnd(&r->seed) & 1 ? STOP : RUNNING, NULL))
			r->counts[LOADS]++;
		close(fd);
	}
	return NULL;
}

/* Data come from a mapping of the card, and go there, or wherever */
static void *race_data(void *arg)
{
	struct race *r = arg;
	uint8_t buf[5000];

	while (now_ms() < r->end) {
		int fd = __atomic_load_n(&r->fd, __ATOMIC_SEQ_CST);

		if (rnd(&r->seed) & 1)
			read(fd, rnd(&r->seed) & 1 ? buf : (void *)r->bar, 4096);
		else
			write(fd, rnd(&r->seed) & 1 ? buf : (void *)r->bar, 4096);
	}
	return NULL;
}

static void *race_resets(void *arg)
{
	struct race *r = arg;

	while (now_ms() < r->end) {
		r->counts[RESETS] += !dsim_reset(r->d);
		usleep(rnd(&r->seed) % 20000);
	}
	return NULL;
}

/* A mapping that is hammered, and others that come and go, for the CPU and for DMA */
static void *race_mapped(void *arg)
{
	struct race *r = arg;

	while (now_ms() < r->end)
		for (int i = 0; i < 100; i++)
			r->counts[MAPPED] += touch(r->bar + rnd(&r->seed) %
						   (BAR3_SIZE / 4));
	return NULL;
}

static void *race_maps(void *arg)
{
	struct race *r = arg;

	while (now_ms() < r->end) {
		volatile uint32_t *bar = map_bar(r->d);

		if (!bar)
			continue;
		touch(bar + rnd(&r->seed) % (BAR3_SIZE / 4));
		vm_map(r->vm, NOWHERE_IOVA, (void *)bar, SZ_4K, MAP_RW);
		vm_unmap(r->vm, NOWHERE_IOVA, SZ_4K);
		munmap((void *)bar, BAR3_SIZE);
	}
	return NULL;
}

/* Registers and config space, with anything, of any length, anywhere */
static void *race_accesses(void *arg)
{
	static const uint32_t regions[] = {
		BAR0, BAR0, VFIO_PCI_BAR2_REGION_INDEX, BAR3,
		VFIO_PCI_BAR1_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
		VFIO_PCI_ROM_REGION_INDEX, VFIO_PCI_BAR4_REGION_INDEX,
	};
	struct race *r = arg;
	uint8_t buf[64];

	while (now_ms() < r->end) {
		uint32_t region = regions[rnd(&r->seed) % 8];
		uint64_t at = rnd(&r->seed) % (region == BAR0 ? 0x20010 : 0x4010);
		size_t n = rnd(&r->seed) % 3 ? 4 : rnd(&r->seed) % sizeof(buf);

		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = rnd(&r->seed);
		if (n == 4)
			at &= ~3ULL;
		if (rnd(&r->seed) & 1)
			r->counts[ACCESSES] += dsim_read(r->d, region, at, buf, n) > 0;
		else
			r->counts[ACCESSES] += dsim_write(r->d, region, at, buf, n) > 0;
	}
	return NULL;
}

/* Every ioctl that takes a struct with a size, with whatever is in it */
static void *race_ioctls(void *arg)
{
	struct race *r = arg;
	uint32_t words[64];

	while (now_ms() < r->end) {
		uint32_t nr = rnd(&r->seed) % 22;

		for (size_t i = 0; i < sizeof(words) / 4; i++)
			words[i] = rnd(&r->seed) % 16;
		words[0] = sizeof(words);
		/* not: let go of the page table that all others use */
		if (nr != 18 && nr != 19 && nr != 20)
			r->counts[IOCTLS] += !ioctl(r->d->fd, _IO(VFIO_TYPE,
						    VFIO_BASE + nr), words);
		ioctl(r->fd, _IO(VFIO_TYPE, VFIO_BASE + nr), words);
	}
	return NULL;
}

/* Frames to send, from rings that are there or not, and rings to receive into */
static void *race_dma(void *arg)
{
	volatile struct tx *last = NULL;
	struct race *r = arg;
	uint32_t tail = 0;

	while (now_ms() < r->end) {
		start(r->d, r->vm);
		set(r->d, RDBAL, rnd(&r->seed) & 1 ? DATA_IOVA : NOWHERE_IOVA);
		set(r->d, RDBAL + 8, 0x1000);
		set(r->d, RDBAL + 0x18, rnd(&r->seed) % 300);
		set(r->d, RCTL, rnd(&r->seed));
		for (int i = 0; i < 20; i++)
			last = put(r->d, r->vm, &tail);
		r->counts[FRAMES] += is_sent(last, 2);
	}
	return NULL;
}

/* Logged by whoever can, and asked for */
static void *race_tracker(void *arg)
{
	const struct vfio_device_feature_dma_logging_range range = {
		.iova = DATA_IOVA, .length = 64 * SZ_4K,
	};
	struct race *r = arg;
	uint64_t bitmap[64], page_size;

	while (now_ms() < r->end) {
		page_size = SZ_4K;
		dsim_log_start(r->d, &range, 1, &page_size);
		for (int i = 0; i < 5; i++)
			r->counts[TRACKED] += !dsim_log_report(r->d, DATA_IOVA,
							       64 * SZ_4K, SZ_4K,
							       bitmap);
		dsim_log_stop(r->d);
	}
	return NULL;
}

/* $HOSTILE_SECONDS long, if that is set; the kernel must neither fall over nor say a word */
TEST_F_TIMEOUT(card, hostile, LONG)
{
	static void *(*const runs[])(void *) = {
		race_states, race_states, race_loads, race_data, race_resets,
		race_mapped, race_maps, race_accesses, race_ioctls, race_dma,
		race_tracker,
	};
	const char *seconds = getenv("HOSTILE_SECONDS");
	struct dsim *d = &self->dev;
	struct race r = {
		.d = d,
		.vm = &self->vm,
		.bar = self->bar,
		.stream = self->stream,
		.len = self->len,
		.seed = 31,
		.fd = -1,
	};
	pthread_t threads[ARRAY_LEN(runs)];
	size_t i, n = ARRAY_LEN(runs);

	if (!seconds)
		SKIP(return, "HOSTILE_SECONDS is not set");
	r.end = now_ms() + strtoul(seconds, NULL, 10) * 1000;
	for (i = 0; i < n; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, runs[i], &r));
	for (i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	keep(&r, -1);
	TH_LOG("%lu state changes, %lu loads, %lu resets, %lu mapped accesses, %lu others, %lu ioctls, %lu times sent, %lu reports",
	       r.counts[STATES], r.counts[LOADS], r.counts[RESETS],
	       r.counts[MAPPED], r.counts[ACCESSES], r.counts[IOCTLS],
	       r.counts[FRAMES], r.counts[TRACKED]);
	EXPECT_LT(0, r.counts[STATES]);
	EXPECT_LT(0, r.counts[RESETS]);
	EXPECT_LT(0, r.counts[MAPPED]);
	EXPECT_LT(0, r.counts[ACCESSES]);
	/* it is as good as ever */
	ASSERT_EQ(0, dsim_reset(d));
	ASSERT_EQ(0, start(d, &self->vm));
	self->tail = 0;
	EXPECT_TRUE(is_sent(put(d, &self->vm, &self->tail), 5000));
}

TEST_HARNESS_MAIN
