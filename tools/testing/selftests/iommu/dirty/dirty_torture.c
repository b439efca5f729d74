// SPDX-License-Identifier: GPL-2.0-only
/*
 * Random operations, in an order that a seed gives, until something is lost
 *
 * Eight simulated devices of all kinds write to two address spaces: behind IOMMUs of each
 * format, with trackers of their own, emulated by copies and by pinned pages. All that
 * there is to read is read: HWPTs, DMA logging of devices, mapped dirty logs of IOVAs and
 * of memory. One thread does one operation after another; the devices run meanwhile, and
 * so do two threads that read all readers and give what they got to the oracle
 * (torture_oracle.h), which judges every read of the first thread.
 *
 * A run is a sequence of lives. Each is a process of its own, since ends of processes are
 * among what is tried: orderly, by exit in the middle of everything, by SIGKILL, by
 * fork with the child or the parent going on. What a life does depends on its number and
 * the seed only, so it can be lived again:
 *
 *	DIRTY_TORTURE_SECONDS	how long in all (10)
 *	DIRTY_TORTURE_SEED	the time, if not given; printed
 *	DIRTY_TORTURE_LIFE	the first life (0)
 *	DIRTY_TORTURE_VERBOSE	1: every operation is printed
 *	DIRTY_TORTURE_CONTROL	1: no IOTLB is flushed, which has to be noticed
 *	DIRTY_TORTURE_FAIL	1: every ioctl with every failure, see torture_fail.h
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "kselftest.h"
#include "dsim_user.h"
#include "life.h"
#include "log_user.h"
#include "policy_user.h"
#include "torture_fail.h"
#include "torture_oracle.h"

#define DIRTY		IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define HOST_POLICY	"/sys/module/iommufd/parameters/dirty_providers"
#define WINDOW		0x10000000UL
#define RINGS		0x08000000UL
/* Memory that is mapped, then the rings, all in one file */
#define FILE_BYTES	(MEM_PAGES * SZ_4K + DEVICES * RING_BYTES)
#define THIEVES		2U
#define STEPS		400U
#define STREAM_BYTES	(256 * 1024)
#define LAST_STEPS	24U

/* ---- What there is ---- */

static const struct dsim_config configs[DEVICES] = {
	{ .format = "vtdss", .page_sizes = SZ_4K, .iotlb_entries = 16 },
	{ .format = "amdv1", .page_sizes = 5 * SZ_4K, .precopy = true,
	  .memory = 16384 },
	{ .format = "x86_64", .page_sizes = SZ_4K, .trapped = true },
	{ .format = "armlpae", .page_sizes = SZ_4K, .no_quiesce = true },
	{ .format = "vtdss", .page_sizes = SZ_4K, .no_ad = true,
	  .tracker = "pull", .granule = 4 * SZ_4K },
	{ .format = "amdv1", .page_sizes = 5 * SZ_4K, .tracker = "push",
	  .rating = 1 },
	{ .format = "vtdss", .emulated = true },
	{ .format = "vtdss", .emulated = true, .pins = PINS },
};

/* Pages that IOMMU or tracker tell apart at worst, also when sharing an HWPT */
static const unsigned int granules[DEVICES] = { 1, 4, 1, 1, 4, 4, 1, 1 };

/**
 * struct device - one of them, in this life
 * @dsim: the device
 * @open: so it is
 * @still: in a migration state in which it does not write
 * @broken: its tracker is
 */
struct device {
	struct dsim dsim;
	bool open;
	bool still;
	bool broken;
};

static struct device devices[DEVICES];
static struct vm vms[IOASES];	/* one iommufd, an IOAS each */
static uint32_t hwpts[HWPTS];
static int formats[HWPTS];	/* device that each was made for, or -1 */
static struct dlog logs[LOGS];
static int memory_fd;
static long long lost[READERS][IOASES];
static int holder;		/* a child that has all files too */
static bool by_user, by_file;	/* how this life maps */

/* Survives processes */
static struct shared {
	uint64_t seed;
	unsigned long long end;
	unsigned long life, step, steps;
	unsigned long stolen, moved, migrated, resets, mapped, unmapped, copied;
	unsigned long takeovers, forks, kills, started, policies, refused;
	struct judged judged;
	struct fail_figures fail[FAIL_KINDS];
	char last[LAST_STEPS][80];
	struct life_fate fate;
} *run;

static bool failing, verbose, control;
static uint64_t seed;		/* of this step */

/* ---- Words ---- */

static void __attribute__((format(printf, 1, 2))) did(const char *fmt, ...)
{
	char *line = run->last[run->step % LAST_STEPS];
	int n = strlen(line);
	va_list args;

	va_start(args, fmt);
	vsnprintf(line + n, sizeof(run->last[0]) - n, fmt, args);
	va_end(args);
}

static int must(const char *what, int rc)
{
	if (rc)
		failed("%s: %s", what, strerror(-rc));
	return rc;
}

/* May be refused, for reasons that documentation gives */
static bool done(const char *what, int rc)
{
	if (!rc)
		return true;
	did(" refused (%d)", -rc);
	run->refused++;
	if (rc != -EBUSY && rc != -EINVAL && rc != -EOPNOTSUPP &&
	    rc != -ENOTTY && rc != -EIO)
		must(what, rc);
	return false;
}

static unsigned int below(unsigned int n)
{
	return (rnd(&seed) >> 20) % n;
}

/* ---- Devices ---- */

static struct dsim_desc *ring_of(unsigned int dev)
{
	return (void *)(memory + MEM_PAGES * SZ_4K + dev * RING_BYTES);
}

static void start_ring(unsigned int dev)
{
	oracle_dropped(dev);
	must("start of a ring",
	     dsim_start_at(&devices[dev].dsim, ring_of(dev),
			   RINGS + dev * RING_BYTES));
}

/* Nothing is in flight any more, and nothing follows */
static void stop_ring(unsigned int dev)
{
	must("stop of a ring",
	     dsim_reg_write(&devices[dev].dsim, DSIM_REG_CTRL, 0));
	oracle_dropped(dev);
}

static bool runs(unsigned int dev)
{
	return devices[dev].open && writers[dev].seat != NO_SEAT &&
	       !devices[dev].still;
}

/* Until it has nothing to do. Its ring may have gone, when it lost its table. */
static void wait_for(unsigned int dev)
{
	int rc;

	if (!runs(dev))
		return;
	rc = dsim_wait(&devices[dev].dsim);
	if (rc == -EIO)
		start_ring(dev);
	else if (rc)
		failed("wait for device %u, which did %u of %u and knows of %u, in state %d: %s",
		       dev, dsim_reg(&devices[dev].dsim, DSIM_REG_HEAD),
		       devices[dev].dsim.tail,
		       dsim_reg(&devices[dev].dsim, DSIM_REG_TAIL),
		       dsim_mig_get(&devices[dev].dsim), strerror(-rc));
	if (oracle_harvest(dev))
		failed("device %u is done, and has descriptors without status",
		       dev);
}

static void wait_for_all(unsigned int ioas)
{
	for (unsigned int dev = 0; dev < DEVICES; dev++)
		if (writers[dev].seat != NO_SEAT &&
		    seat_ioas(writers[dev].seat) == ioas)
			wait_for(dev);
}

/* Policy allows it, and then it comes and goes with whatever else changes */
static bool may_be_all_dirty(unsigned int dev)
{
	struct iommu_dirty_device_coverage entry = {};

	if (configs[dev].emulated)
		return false;
	must("coverage", get_coverage(&vms[0], devices[dev].dsim.devid, NULL,
				      &entry));
	return entry.allowed & ALL;
}

/* For whom all is dirty, and once more when somebody else stands for it */
static void blur_for(unsigned int dev)
{
	if (devices[dev].open && writers[dev].seat != NO_SEAT &&
	    vms[0].iommufd >= 0 && may_be_all_dirty(dev))
		oracle_blur(seat_ioas(writers[dev].seat));
}

static void blur_for_all(void)
{
	for (unsigned int dev = 0; dev < DEVICES; dev++)
		blur_for(dev);
}

/* Else it is not in DMA logging, and no other reader can be there */
static bool is_known(unsigned int dev)
{
	return configs[dev].emulated ||
	       get_provider(&vms[0], devices[dev].dsim.devid) !=
	       IOMMU_DIRTY_PROVIDER_NONE;
}

static void put_descriptor(unsigned int dev, bool known)
{
	struct writer *d = &writers[dev];
	unsigned int ioas = seat_ioas(d->seat), at = below(SLOTS);
	unsigned int first = below(SLOT_PAGES - SPAN_PAGES);
	const struct slot *s = &slots[ioas][at];
	struct write w = {
		.seat = d->seat,
		.first = at * SLOT_PAGES + first,
		.pages = 1 + below(SPAN_PAGES),
		.mem = s->mapped ? s->mem + (int)first : -1,
		.value = rnd(&seed) << 8,
		.granule = granules[dev],
		.known = known,
	};
	struct dsim_desc desc = {
		.dst = WINDOW + w.first * SZ_4K + 8 * word_of(dev, d->seat, at),
		.value = w.value,
	};

	/* few to where nothing is: they only fault */
	if (!s->mapped && below(16))
		return;
	switch (below(4)) {
	case 0:
		desc.op = DSIM_OP_ADD;
		w.adds = true;
		break;
	case 1:
		desc.op = DSIM_OP_FILL;
		desc.len = 8;
		w.pages = 1;
		break;
	default:
		desc.op = DSIM_OP_SCATTER;
	}
	if (desc.op != DSIM_OP_FILL) {
		desc.stride = SZ_4K;
		desc.count = w.pages;
	}
	oracle_submit(dev, &w);
	dsim_put(&devices[dev].dsim, &desc);
}

static void op_dma(unsigned int dev)
{
	unsigned int n = 1 + below(below(4) ? 8 : 60);
	bool known;

	/* one that can, if there is one */
	for (unsigned int i = 0; i < DEVICES && !runs(dev); i++)
		dev = (dev + 1) % DEVICES;
	if (!runs(dev))
		return;
	if (oracle_harvest(dev) + n > RING_ENTRIES)
		wait_for(dev);
	did(" %u: %u", dev, n);
	known = is_known(dev);
	while (n--)
		put_descriptor(dev, known);
	must("kick", dsim_kick(&devices[dev].dsim));
	if (!below(3))
		wait_for(dev);
}

/* ---- Readers ---- */

static struct vm *vm_of(unsigned int reader)
{
	return &vms[readers[reader].ioas];
}

/**
 * struct question - a read
 * @first: page of the scope
 * @pages: how many
 * @shift: log2 of the pages of a bit
 * @peek: clear nothing
 * @bad: the bitmap cannot be written to
 */
struct question {
	unsigned int first;
	unsigned int pages;
	unsigned int shift;
	bool peek;
	bool bad;
};

static void put_bits(struct pages *got, const struct question *q,
		     const uint8_t *bitmap, unsigned int at)
{
	for (unsigned int i = 0; i < q->pages; i++) {
		unsigned int bit = i >> q->shift;

		if (bitmap[bit / 8] >> bit % 8 & 1)
			page_put(got, at + i);
	}
}

/* The bitmap begins anywhere, and nothing beside it may be touched */
static int ask_bitmap(unsigned int nr, const struct question *q,
		      struct pages *got)
{
	unsigned int bits = q->pages >> q->shift;
	uint8_t buf[128] = {}, *map = buf + 1 + (q->first + q->pages) % 7;
	uint64_t iova = WINDOW + q->first * SZ_4K;
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.flags = q->peek ? IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR : 0,
		.iova = iova,
		.length = q->pages * SZ_4K,
		.page_size = SZ_4K << q->shift,
		.data = q->bad ? 8 : (uintptr_t)map,
	};
	int rc;

	if (nr >= READER_VFIO) {
		rc = dsim_log_report(&devices[nr - READER_VFIO].dsim, iova,
				     get.length, get.page_size,
				     (void *)(uintptr_t)get.data);
	} else {
		get.hwpt_id = hwpts[nr];
		rc = ioctl(vm_of(nr)->iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP,
			   &get) ? -errno : 0;
	}
	if (rc || q->bad)
		return rc;
	put_bits(got, q, map, q->first);
	memset(map, 0, (bits + 7) / 8);
	for (unsigned int i = 0; i < sizeof(buf); i++)
		if (buf[i])
			failed("%s: byte %d beside the bitmap was written",
			       readers[nr].name, (int)(&buf[i] - map));
	return 0;
}

static void scope_begin(const struct told *r, unsigned int *first,
			unsigned int *pages)
{
	*first = 0;
	while (!page_in(&r->scope, *first))
		++*first;
	*pages = 0;
	while (*first + *pages < MEM_PAGES &&
	       page_in(&r->scope, *first + *pages))
		++*pages;
}

/* A log is synced in a part or as a whole, and taken as a whole */
static int ask_log(unsigned int nr, const struct question *q, struct pages *got,
		   bool sync)
{
	struct dlog *log = &logs[nr - READER_LOG];
	struct iommu_dirty_log_sync cmd = {
		.flags = q->peek ? IOMMU_DIRTY_LOG_SYNC_NO_CLEAR : 0,
	};
	uint64_t bitmap[MAP_WORDS] = {};
	struct question all = { .shift = readers[nr].shift };
	int rc = 0;

	scope_begin(&readers[nr], &all.first, &all.pages);
	if (q->pages != all.pages) {
		cmd.flags |= IOMMU_DIRTY_LOG_SYNC_RANGE;
		cmd.offset = (q->first - all.first) * SZ_4K;
		cmd.length = q->pages * SZ_4K;
	}
	if (sync)
		rc = dlog_sync_cmd(log, &cmd);
	dlog_take(log, bitmap);
	put_bits(got, &all, (uint8_t *)bitmap, all.first);
	return rc;
}

/*
 * Where the kernel says that it does not know, nothing is invented. Whether it says
 * so now, which holds for the next read too: what it did not know is dirty once more.
 */
static bool learn_coverage(unsigned int nr)
{
	struct told *r = &readers[nr];
	bool all = false;

	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		unsigned int seat = writers[dev].seat;

		if (devices[dev].open && seat != NO_SEAT &&
		    (r->by_memory || seat_ioas(seat) == r->ioas))
			all |= may_be_all_dirty(dev);
	}
	r->blurred |= all;
	for (unsigned int ioas = 0; ioas < IOASES; ioas++) {
		long long now = get_lost(&vms[ioas]);

		if (now < 0)
			must("coverage", now);
		if (r->by_memory || r->ioas == ioas)
			r->blurred |= now != lost[nr][ioas];
		lost[nr][ioas] = now;
	}
	return all;
}

static struct question any_question(unsigned int nr)
{
	struct told *r = &readers[nr];
	struct question q;
	unsigned int group;

	scope_begin(r, &q.first, &q.pages);
	q.shift = nr < READER_LOG && !below(4) ? below(4) : r->shift;
	q.peek = !below(5) && (nr < READER_VFIO || nr >= READER_LOG);
	q.bad = nr < READER_LOG && !below(10);
	/* the last bit of a log may stand for fewer */
	group = 1U << q.shift;
	if (!below(3) && q.pages >= group) {
		unsigned int at = below(q.pages / group) * group;
		unsigned int n = (1 + below((q.pages - at) / group)) * group;

		if (at + n <= q.pages) {
			q.first += at;
			q.pages = n;
		}
	}
	return q;
}

static void ask(unsigned int nr, const struct question *q)
{
	struct told *r = &readers[nr];
	struct pages asked = {}, got = {}, allowed, moving;
	bool is_log = nr >= READER_LOG, all;
	int rc;

	pthread_mutex_lock(&r->lock);
	oracle_before(r, &allowed, &moving);
	rc = is_log ? ask_log(nr, q, &got, true) : ask_bitmap(nr, q, &got);
	all = learn_coverage(nr);
	for (unsigned int i = 0; i < q->pages; i++)
		page_put(&asked, q->first + i);
	/* nothing was to be told, or nothing was, and all of it stays */
	if (q->bad && rc == -EFAULT)
		;
	else if (!must("read", rc))
		oracle_judge(r, &asked, &got, &allowed, &moving, q->shift,
			     q->peek && !is_log);
	r->blurred |= all;
	/* what such a sync found is found once more */
	if (is_log && q->peek)
		for (unsigned int i = 0; i < MAP_WORDS; i++)
			r->may.word[i] |= got.word[i];
	pthread_mutex_unlock(&r->lock);
}

static void op_read(unsigned int nr)
{
	struct question q;

	for (unsigned int i = 0; i < READERS && !readers[nr].on; i++)
		nr = (nr + 1) % READERS;
	if (!readers[nr].on)
		return;
	q = any_question(nr);
	did(" %s: %u pages from %u, 2^%u%s%s", readers[nr].name, q.pages,
	    q.first, q.shift, q.peek ? ", peek" : "", q.bad ? ", bad" : "");
	ask(nr, &q);
}

static void read_whole(unsigned int nr)
{
	struct question q = { .shift = readers[nr].shift };

	scope_begin(&readers[nr], &q.first, &q.pages);
	ask(nr, &q);
}

static void begin_reader(unsigned int nr, unsigned int ioas, unsigned int seat,
			 unsigned int first, unsigned int pages, bool memory_log)
{
	struct told *r = &readers[nr];

	memset(&r->scope, 0, sizeof(r->scope));
	for (unsigned int i = 0; i < pages; i++)
		page_put(&r->scope, first + i);
	r->ioas = ioas;
	r->seat = seat;
	r->by_memory = memory_log;
	oracle_start(nr);
	/* whatever was lost before is nobody's affair */
	for (unsigned int i = 0; i < IOASES; i++)
		lost[nr][i] = get_lost(&vms[i]);
	run->started++;
}

static void op_track(unsigned int k)
{
	struct told *r = &readers[k];

	if (!hwpts[k])
		return;
	if (r->on && below(4))
		return;
	did(" hwpt %u %s", k, r->on ? "off" : "on");
	if (r->on) {
		oracle_stop(k);
		must("end of tracking", vm_track(vm_of(k), hwpts[k], false));
		return;
	}
	snprintf(r->name, sizeof(r->name), "hwpt %u", k);
	r->shift = 0;
	if (done("start of tracking", vm_track(&vms[k % IOASES], hwpts[k], true)))
		begin_reader(k, k % IOASES, IOASES + k, 0, PAGES, false);
}

static void end_logging(unsigned int dev)
{
	unsigned int nr = READER_VFIO + dev;

	if (!readers[nr].on)
		return;
	oracle_stop(nr);
	must("end of logging", dsim_log_stop(&devices[dev].dsim));
}

static void op_logging(unsigned int dev)
{
	struct vfio_device_feature_dma_logging_range range = {
		.iova = WINDOW,
		.length = PAGES * SZ_4K,
	};
	struct told *r = &readers[READER_VFIO + dev];
	unsigned int seat = writers[dev].seat;
	uint64_t page_size = SZ_4K << below(3);

	if (!devices[dev].open || seat >= IOASES)
		return;
	if (r->on) {
		did(" %u off", dev);
		if (!below(3))
			end_logging(dev);
		return;
	}
	did(" %u on", dev);
	snprintf(r->name, sizeof(r->name), "logging of %u", dev);
	r->shift = 0;
	if (done("start of logging",
		 dsim_log_start(&devices[dev].dsim, &range, 1, &page_size)))
		begin_reader(READER_VFIO + dev, seat, NO_SEAT, 0, PAGES, false);
}

/* A child that has all files and mappings */
static void let_holder_go(void)
{
	if (!holder)
		return;
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	holder = 0;
}

static void free_log(unsigned int i)
{
	if (!readers[READER_LOG + i].on)
		return;
	let_holder_go();
	oracle_stop(READER_LOG + i);
	must("end of a log", dlog_close(&logs[i]));
}

static void op_log(unsigned int i)
{
	struct told *r = &readers[READER_LOG + i];
	unsigned int max, first, pages, ioas = below(IOASES);
	bool of_memory = below(2);
	struct iommu_dirty_log_alloc cmd = {};

	if (r->on) {
		did(" %u freed", i);
		if (!below(3))
			free_log(i);
		return;
	}
	max = of_memory ? MEM_PAGES : PAGES;
	first = below(3) ? 0 : below(max / 2);
	pages = below(3) ? max - first : 1 + below(max - first);
	r->shift = below(3) ? 0 : below(4);
	cmd.page_size = SZ_4K << r->shift;
	cmd.length = pages * SZ_4K;
	if (of_memory) {
		if (by_user) {
			cmd.flags |= IOMMU_DIRTY_LOG_USER;
			cmd.start = (uintptr_t)memory + first * SZ_4K;
		}
		if (by_file) {
			cmd.flags |= IOMMU_DIRTY_LOG_FILE;
			cmd.fd = memory_fd;
			cmd.file_start = first * SZ_4K;
		}
	} else {
		cmd.flags = IOMMU_DIRTY_LOG_IOVA;
		cmd.ioas_id = vms[ioas].ioas;
		cmd.start = WINDOW + first * SZ_4K;
	}
	snprintf(r->name, sizeof(r->name), "log %u of %s", i,
		 of_memory ? "memory" : ioas ? "IOAS 1" : "IOAS 0");
	did(" %s, %u pages from %u, 2^%u", r->name, pages, first, r->shift);
	if (done("log", dlog_open(&logs[i], vms[0].iommufd, &cmd)))
		begin_reader(READER_LOG + i, ioas, NO_SEAT, first, pages,
			     of_memory);
}

/* ---- Others who read ---- */

static pthread_t thieves[THIEVES];
static bool thieves_stop;

static void steal(unsigned int nr, uint64_t *random)
{
	struct told *r = &readers[nr];
	struct question q = { .shift = r->shift };
	struct pages got = {};
	uint64_t what = rnd(random) >> 20;
	int rc;

	scope_begin(r, &q.first, &q.pages);
	q.peek = what % 4 == 0 && nr < READER_VFIO;
	rc = nr >= READER_LOG ? ask_log(nr, &q, &got, what % 3) :
				ask_bitmap(nr, &q, &got);
	must("read by another thread", rc);
	if (!q.peek)
		oracle_stolen(r, &got);
	__atomic_add_fetch(&run->stolen, 1, __ATOMIC_RELAXED);
}

static void *steal_on(void *arg)
{
	uint64_t random = run->seed + (uintptr_t)arg + 1;

	while (!__atomic_load_n(&thieves_stop, __ATOMIC_ACQUIRE)) {
		unsigned int nr = (rnd(&random) >> 20) % READERS;
		struct told *r = &readers[nr];

		pthread_mutex_lock(&r->lock);
		if (r->on)
			steal(nr, &random);
		pthread_mutex_unlock(&r->lock);
		nap((rnd(&random) >> 20) % 3000);
	}
	return NULL;
}

static void thieves_begin(void)
{
	thieves_stop = false;
	for (uintptr_t i = 0; i < THIEVES; i++)
		must("thread", -pthread_create(&thieves[i], NULL, steal_on,
					       (void *)i));
}

static void thieves_end(void)
{
	__atomic_store_n(&thieves_stop, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < THIEVES; i++)
		pthread_join(thieves[i], NULL);
}

/* ---- Attaching ---- */

static bool fits(unsigned int dev, unsigned int seat)
{
	unsigned int k = seat - IOASES;

	if (seat < IOASES)
		return true;
	return !configs[dev].emulated && hwpts[k] && formats[k] >= 0 &&
	       !strcmp(configs[dev].format, configs[formats[k]].format);
}

/* What it keeps pinned it gives back at a reset only */
static void rest(unsigned int dev)
{
	if (!writers[dev].pins)
		return;
	must("reset", dsim_reset(&devices[dev].dsim));
	oracle_dropped(dev);
	oracle_rests(dev);
	devices[dev].still = false;
}

static void op_attach(unsigned int dev)
{
	unsigned int seat = below(SEATS), old = writers[dev].seat;
	struct dsim *d = &devices[dev].dsim;
	bool within, ring_on;
	uint32_t id;

	/* one of the HWPTs for it more often than by chance */
	for (unsigned int i = 0; i < 6 && (!fits(dev, seat) || i < 2); i++)
		seat = fits(dev, seat) && i ? seat : below(SEATS);
	if (!devices[dev].open || !fits(dev, seat) || seat == old)
		return;
	did(" %u from %u to %u", dev, old, seat);
	end_logging(dev);
	within = old != NO_SEAT && seat_ioas(old) == seat_ioas(seat);
	ring_on = within && !writers[dev].pins;
	if (old != NO_SEAT && !ring_on) {
		rest(dev);
		stop_ring(dev);
	}
	/* for a moment it is there, also when it is refused */
	if (may_be_all_dirty(dev)) {
		oracle_blur(0);
		oracle_blur(1);
	}
	id = seat < IOASES ? vms[seat].ioas : hwpts[seat - IOASES];
	if (done("attach", dsim_attach(d, id))) {
		if (ring_on)
			oracle_moved(dev, seat, is_known(dev));
		writers[dev].seat = seat;
		blur_for(dev);
		run->moved++;
	}
	if (!ring_on && writers[dev].seat != NO_SEAT)
		start_ring(dev);
}

static void op_detach(unsigned int dev)
{
	if (!devices[dev].open || writers[dev].seat == NO_SEAT)
		return;
	did(" %u from %u", dev, writers[dev].seat);
	end_logging(dev);
	if (below(2))
		stop_ring(dev);
	rest(dev);
	blur_for(dev);
	must("detach", dsim_detach(&devices[dev].dsim));
	oracle_dropped(dev);
	writers[dev].seat = NO_SEAT;
}

static void close_device(unsigned int dev)
{
	if (!devices[dev].open)
		return;
	let_holder_go();
	oracle_stop(READER_VFIO + dev);
	blur_for(dev);
	dsim_close(&devices[dev].dsim);
	oracle_dropped(dev);
	oracle_rests(dev);
	writers[dev].seat = NO_SEAT;
	devices[dev].open = false;
}

/* Somebody has to stand for a device whose tracker is broken */
static void allow_all(unsigned int dev)
{
	if (devices[dev].open)
		must("policy", set_policy(&vms[0], devices[dev].dsim.devid,
					  DEVICE | ALL));
}

static void op_open(unsigned int dev)
{
	struct device *d = &devices[dev];

	if (d->open) {
		if (below(4))
			return;
		did(" %u closed", dev);
		close_device(dev);
		return;
	}
	did(" %u", dev);
	let_holder_go();
	must("open", dsim_open(&d->dsim));
	must("bind", dsim_bind(&d->dsim, vms[0].iommufd));
	d->open = true;
	d->still = false;
	if (d->broken)
		allow_all(dev);
}

static bool hwpt_in_use(unsigned int k)
{
	for (unsigned int dev = 0; dev < DEVICES; dev++)
		if (writers[dev].seat == IOASES + k)
			return true;
	return false;
}

static void op_hwpt(unsigned int k)
{
	unsigned int dev = below(DEVICES);

	for (unsigned int i = 0; i < DEVICES && !devices[dev].open; i++)
		dev = (dev + 1) % DEVICES;
	if (hwpts[k]) {
		if (hwpt_in_use(k) || below(4))
			return;
		did(" %u destroyed", k);
		oracle_stop(k);
		must("destroy", vm_destroy_object(&vms[0], hwpts[k]));
		hwpts[k] = 0;
		return;
	}
	if (!devices[dev].open || configs[dev].emulated)
		return;
	did(" %u for %u", k, dev);
	if (done("HWPT", vm_alloc_hwpt(&vms[k % IOASES], &devices[dev].dsim,
				       DIRTY, &hwpts[k])))
		formats[k] = dev;
	else
		hwpts[k] = 0;
}

/* ---- Mappings ---- */

/* When only the answer failed it was mapped, and tried once more it is there already */
static int mapped(int rc)
{
	return rc == -EEXIST && fail_retried() ? 0 : rc;
}

static int map_piece(unsigned int ioas, uint64_t iova, unsigned int mem,
		     size_t bytes)
{
	if (by_file && (!by_user || below(2)))
		return vm_map_file(&vms[ioas], memory_fd, iova, mem * SZ_4K,
				   bytes);
	return vm_map(&vms[ioas], iova, memory + mem * SZ_4K, bytes, MAP_RW);
}

static int copy_piece(unsigned int ioas, uint64_t iova, unsigned int from_ioas,
		      uint64_t from, size_t bytes)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | MAP_RW,
		.dst_ioas_id = vms[ioas].ioas,
		.src_ioas_id = vms[from_ioas].ioas,
		.length = bytes,
		.dst_iova = iova,
		.src_iova = from,
	};

	run->copied++;
	return ioctl(vms[0].iommufd, IOMMU_IOAS_COPY, &cmd) ? -errno : 0;
}

static void map_slot(unsigned int ioas, unsigned int at)
{
	unsigned int from_ioas = below(IOASES), from = below(SLOTS), page, n;
	struct slot *s = &slots[ioas][at];
	const struct slot *source = &slots[from_ioas][from];
	int mem = below(MEM_PAGES - SLOT_PAGES);
	bool copies = source->mapped == (1U << SLOT_PAGES) - 1 && below(2);
	uint64_t iova = WINDOW + at * SLOT_PAGES * SZ_4K;
	uint64_t there = WINDOW + from * SLOT_PAGES * SZ_4K;
	int rc;

	if (oracle_in_flight(ioas, at))
		wait_for_all(ioas);
	/* those that stand still keep theirs in flight */
	if (oracle_in_flight(ioas, at))
		return;
	if (copies)
		mem = source->mem;
	did(" %u.%u to %d%s", ioas, at, mem, copies ? ", copied" : "");
	for (page = 0; page < SLOT_PAGES; page += n) {
		n = below(2) ? SLOT_PAGES - page : 1 + below(SLOT_PAGES - page);
		rc = copies && below(2) ?
		     copy_piece(ioas, iova + page * SZ_4K, from_ioas,
				there + page * SZ_4K, n * SZ_4K) :
		     map_piece(ioas, iova + page * SZ_4K, mem + page,
			       n * SZ_4K);
		must("map", mapped(rc));
		memset(s->piece + page, page, n);
	}
	oracle_mapped(ioas, at, mem);
	run->mapped++;
}

/* All of it, or one piece */
static void unmap_slot(unsigned int ioas, unsigned int at)
{
	struct slot *s = &slots[ioas][at];
	unsigned int page = below(SLOT_PAGES), first = 0, end = SLOT_PAGES;
	uint32_t pages;
	int rc;

	for (unsigned int dev = 0; dev < DEVICES; dev++)
		if (writers[dev].pins)
			wait_for(dev);
	if (!below(3)) {
		for (first = page; first && s->piece[first - 1] == s->piece[page];)
			first--;
		for (end = page; end < SLOT_PAGES && s->piece[end] == s->piece[page];)
			end++;
	}
	pages = ((1U << end) - 1) & ~((1U << first) - 1);
	if (!(s->mapped & pages))
		return;
	did(" %u.%u, %u to %u", ioas, at, first, end);
	rc = vm_unmap(&vms[ioas],
		      WINDOW + (at * SLOT_PAGES + first) * SZ_4K,
		      (end - first) * SZ_4K);
	/* what failed after some pieces has unmapped these */
	if (rc != -ENOENT || !fail_retried())
		must("unmap", rc);
	oracle_unmapped(ioas, at, pages);
	run->unmapped++;
}

static void op_map(unsigned int ioas)
{
	unsigned int at = below(SLOTS);

	if (slots[ioas][at].mapped)
		unmap_slot(ioas, at);
	else
		map_slot(ioas, at);
}

/* ---- States ---- */

static int set_state(unsigned int dev, uint32_t state, int *fd)
{
	struct device *d = &devices[dev];
	int rc;

	blur_for(dev);
	rc = dsim_mig_set(&d->dsim, state, fd);
	if (rc == -EBUSY)
		return rc;
	must("migration state", rc);
	blur_for(dev);
	d->still = state == VFIO_DEVICE_STATE_RUNNING_P2P ||
		   state == VFIO_DEVICE_STATE_STOP ||
		   state == VFIO_DEVICE_STATE_STOP_COPY ||
		   state == VFIO_DEVICE_STATE_RESUMING;
	if (d->still) {
		oracle_harvest(dev);
		/* what it has kept it gives back, as at a reset */
		if (writers[dev].pins)
			oracle_rests(dev);
	}
	return 0;
}

static void op_reset(unsigned int dev)
{
	struct device *d = &devices[dev];

	if (!d->open)
		return;
	did(" %u", dev);
	/* who is behind no bus has no reset of one */
	if (configs[dev].emulated || below(2))
		must("reset", dsim_reset(&d->dsim));
	else
		must("bus reset", dsim_set(d->dsim.name, "reset", "1"));
	oracle_dropped(dev);
	oracle_rests(dev);
	blur_for(dev);
	d->still = false;
	if (writers[dev].seat != NO_SEAT)
		start_ring(dev);
	run->resets++;
}

/* To itself: registers and ring are in the stream, and go on */
static void migrate(unsigned int dev)
{
	bool precopy = configs[dev].precopy && below(2), load = below(2);
	uint8_t *stream;
	int fd = -1;
	ssize_t n;

	/* either way it is one stream */
	if (precopy)
		must("state", set_state(dev, VFIO_DEVICE_STATE_PRE_COPY, &fd));
	must("state", set_state(dev, VFIO_DEVICE_STATE_STOP_COPY,
				precopy ? NULL : &fd));
	/* it went with the copy of its number that failed */
	if (fd < 0 && failing)
		return;
	stream = malloc(STREAM_BYTES);
	n = read_stream(fd, stream, STREAM_BYTES);
	if (n < 0)
		must("stream", n);
	close(fd);
	if (load)
		must("state", set_state(dev, VFIO_DEVICE_STATE_RESUMING, &fd));
	if (load && fd < 0 && failing) {
		op_reset(dev);
	} else if (load) {
		must("stream", write_stream(fd, stream, n));
		must("state", set_state(dev, VFIO_DEVICE_STATE_STOP, NULL));
		close(fd);
	}
	free(stream);
	run->migrated++;
}

static void op_state(unsigned int dev)
{
	if (!devices[dev].open || writers[dev].seat == NO_SEAT)
		return;
	did(" %u", dev);
	if (!devices[dev].still) {
		switch (below(4)) {
		case 0:
			must("state", set_state(dev, VFIO_DEVICE_STATE_RUNNING_P2P,
						NULL));
			break;
		case 1:
			must("state", set_state(dev, VFIO_DEVICE_STATE_STOP, NULL));
			break;
		default:
			migrate(dev);
		}
		if (below(4) == 0)
			return;		/* as it is, for a while */
	}
	did(" runs");
	done("state", set_state(dev, VFIO_DEVICE_STATE_RUNNING, NULL));
}

/* ---- Who is asked ---- */

static void set_host_policy(const char *names)
{
	int fd = open(HOST_POLICY, O_WRONLY);

	if (fd < 0 || write(fd, names, strlen(names)) < 0)
		failed("host policy: %s", strerror(errno));
	close(fd);
}

/* All may be dirty for a while: not for long, since nothing can be judged so long */
static void policy_of_device(unsigned int dev, uint32_t providers)
{
	uint32_t id = devices[dev].dsim.devid;

	did(" of %u: 0x%x", dev, providers);
	if (done("policy", set_policy(&vms[0], id, providers)) &&
	    (providers & ALL) && below(8)) {
		blur_for(dev);
		op_dma(dev);
		/* nobody else may stand for it, and then it is not known */
		wait_for(dev);
		done("policy", set_policy(&vms[0], id, INHERIT));
	}
}

/* Those that leave somebody to stand for each device */
static void op_policy(unsigned int dev)
{
	static const uint32_t choices[] = {
		INHERIT, IOMMU | DEVICE, DEVICE | ALL, IOMMU | ALL, ALL,
	};
	unsigned int n = below(ARRAY_LEN(choices) + 1);

	for (unsigned int i = 0; i < DEVICES &&
	     (!devices[dev].open || configs[dev].emulated); i++)
		dev = (dev + 1) % DEVICES;
	blur_for_all();
	if (n == ARRAY_LEN(choices)) {
		did(" of the host");
		set_host_policy("iommu,device,all");
		op_dma(dev);
		blur_for_all();
		wait_for_all(0);
		wait_for_all(1);
		set_host_policy("iommu,device");
	} else if (devices[dev].open && !configs[dev].emulated &&
		   !devices[dev].broken) {
		policy_of_device(dev, choices[n]);
	}
	blur_for_all();
	run->policies++;
}

/* Its tracker fails, and is mended */
static void op_break(unsigned int unused)
{
	const unsigned int dev = 4;
	struct device *d = &devices[dev];

	blur_for_all();
	d->broken = !d->broken && !below(3);
	if (d->broken)
		allow_all(dev);
	did(" %s", d->broken ? "broken" : "whole");
	must("fault", dsim_set(d->dsim.name, "fault_tracker",
			       d->broken ? "1" : "0"));
	blur_for_all();
}

/* ---- Processes ---- */

/* A child has all files and mappings, and does nothing with them */
static void op_fork(unsigned int unused)
{
	let_holder_go();
	did(" holder");
	run->forks++;
	holder = fork();
	if (holder < 0)
		failed("fork: %s", strerror(errno));
	if (!holder) {
		pause();
		_exit(0);
	}
}

static void close_everything(void)
{
	for (unsigned int i = 0; i < LOGS; i++)
		if (readers[READER_LOG + i].on)
			dlog_unmap(&logs[i]);
	for (unsigned int dev = 0; dev < DEVICES; dev++)
		if (devices[dev].open)
			dsim_close(&devices[dev].dsim);
	close(vms[0].iommufd);
}

/* As a VMM that is replaced by a newer one: the child goes on, and accounts for all */
static void op_takeover(unsigned int unused)
{
	struct iommu_ioas_change_process cmd = { .size = sizeof(cmd) };
	int status, gone[2];
	char byte;
	pid_t pid;

	if (by_user)
		return;
	let_holder_go();
	did(" takeover");
	thieves_end();
	fail_end();
	if (pipe(gone))
		failed("pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0)
		failed("fork: %s", strerror(errno));
	if (pid) {
		close(gone[0]);
		close_everything();
		close(gone[1]);
		waitpid(pid, &status, 0);
		_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 0);
	}
	/* a log that it has mapped cannot be destroyed yet */
	close(gone[1]);
	if (read(gone[0], &byte, 1))
		failed("the process before had something to say");
	close(gone[0]);
	if (failing)
		fail_begin();
	must("change of process",
	     ioctl(vms[0].iommufd, IOMMU_IOAS_CHANGE_PROCESS, &cmd) ? -errno : 0);
	thieves_begin();
	run->takeovers++;
}

/* ---- A life ---- */

static void settle(void)
{
	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		if (devices[dev].open && devices[dev].still &&
		    writers[dev].seat != NO_SEAT)
			done("state", set_state(dev, VFIO_DEVICE_STATE_RUNNING,
						NULL));
		wait_for(dev);
	}
	for (unsigned int nr = 0; nr < READERS; nr++)
		if (readers[nr].on)
			read_whole(nr);
}

static void op_settle(unsigned int unused)
{
	settle();
}

/* Each is called with a random number below a limit */
static const struct {
	const char *name;
	unsigned int weight;
	void (*fn)(unsigned int n);
	unsigned int below;
} ops[] = {
	{ "dma", 120, op_dma, DEVICES },
	{ "read", 90, op_read, READERS },
	{ "map", 40, op_map, IOASES },
	{ "attach", 24, op_attach, DEVICES },
	{ "detach", 3, op_detach, DEVICES },
	{ "open", 8, op_open, DEVICES },
	{ "hwpt", 16, op_hwpt, HWPTS },
	{ "track", 16, op_track, HWPTS },
	{ "logging", 12, op_logging, DEVICES },
	{ "log", 10, op_log, LOGS },
	{ "state", 8, op_state, DEVICES },
	{ "reset", 4, op_reset, DEVICES },
	{ "policy", 4, op_policy, DEVICES },
	{ "break", 2, op_break, 1 },
	{ "fork", 2, op_fork, 1 },
	{ "takeover", 1, op_takeover, 1 },
	{ "settle", 3, op_settle, 1 },
};

static void do_op(unsigned int i)
{
	run->last[run->step % LAST_STEPS][0] = 0;
	did("%lu: %s", run->step, ops[i].name);
	ops[i].fn(below(ops[i].below));
	if (verbose)
		ksft_print_msg("%s\n", run->last[run->step % LAST_STEPS]);
}

static void do_something(void)
{
	unsigned int sum = 0, n;

	for (unsigned int i = 0; i < ARRAY_LEN(ops); i++)
		sum += ops[i].weight;
	n = below(sum);
	for (unsigned int i = 0; i < ARRAY_LEN(ops); i++) {
		if (n < ops[i].weight) {
			do_op(i);
			return;
		}
		n -= ops[i].weight;
	}
}

/* Steps of a life have random numbers of their own, however many the others took */
static void next_step(void)
{
	seed = (run->seed * 1000003 + run->life) * 1000003 + ++run->step;
	seed = seed * 0x9e3779b97f4a7c15ULL | 1;
	rnd(&seed);
	rnd(&seed);
	run->steps++;
}

static void begin_life(void)
{
	int rc;

	run->step = 0;
	memset(run->last, 0, sizeof(run->last));
	next_step();
	/* as the life before did not leave it */
	set_host_policy("iommu,device");
	must("fault", dsim_set(devices[4].dsim.name, "fault_tracker", "0"));
	for (unsigned int dev = 0; dev < DEVICES && !configs[dev].emulated; dev++)
		must("fault", dsim_set(devices[dev].dsim.name, "fault_no_flush",
				       control ? "1" : "0"));
	by_user = run->life % 3 != 1;
	by_file = run->life % 3 != 0;
	memory_fd = memfd_create("torture", MFD_CLOEXEC);
	if (memory_fd < 0 || ftruncate(memory_fd, FILE_BYTES))
		failed("memory: %s", strerror(errno));
	memory = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_POPULATE, memory_fd, 0);
	if (memory == MAP_FAILED)
		failed("memory: %s", strerror(errno));
	oracle_failed = failed;
	oracle_init(&run->judged);
	if (failing)
		fail_begin();
	must("iommufd", vm_create(&vms[0]));
	for (unsigned int i = 0; i < IOASES; i++) {
		if (i) {
			vms[i] = vms[0];
			must("IOAS", vm_alloc_ioas(&vms[i]));
		}
		rc = by_user ?
		     vm_map(&vms[i], RINGS, ring_of(0), DEVICES * RING_BYTES,
			    MAP_RW) :
		     vm_map_file(&vms[i], memory_fd, RINGS, MEM_PAGES * SZ_4K,
				 DEVICES * RING_BYTES);
		must("map", mapped(rc));
		for (unsigned int at = 0; at < SLOTS; at++)
			if (below(4))
				map_slot(i, at);
	}
	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		writers[dev].ring = ring_of(dev);
		writers[dev].emulated = configs[dev].emulated;
		writers[dev].pins = configs[dev].pins;
	}
	for (unsigned int dev = 0; dev < DEVICES; dev++)
		if (below(4))
			op_open(dev);
	for (unsigned int k = 0; k < HWPTS; k++)
		op_hwpt(k);
	for (unsigned int dev = 0; dev < DEVICES; dev++)
		op_attach(dev);
	for (unsigned int k = 0; k < HWPTS; k++)
		op_track(k);
	thieves_begin();
}

static void end_life(void)
{
	switch (below(4)) {
	case 0:
		run->kills++;
		kill(getpid(), SIGKILL);
		break;
	case 1:
		_exit(0);
	}
	let_holder_go();
	settle();
	settle();
	thieves_end();
	for (unsigned int i = 0; i < LOGS; i++)
		free_log(i);
	if (below(2)) {
		close(vms[0].iommufd);
		vms[0].iommufd = -1;
	}
	for (unsigned int dev = 0; dev < DEVICES; dev++)
		close_device(dev);
	_exit(0);
}

static void live(void)
{
	unsigned int steps;

	setpgid(0, 0);
	begin_life();
	steps = 1 + below(below(4) ? STEPS : 4 * STEPS);
	while (steps-- && now_ms() < run->end) {
		next_step();
		do_something();
	}
	next_step();
	end_life();
}

/* ---- The run ---- */

static void tell_progress(unsigned long long began)
{
	const struct judged *j = &run->judged;

	ksft_print_msg("%llu s, life %lu: %lu operations, %lu writes of %lu pages\n",
		       (now_ms() - began) / 1000, run->life, run->steps,
		       j->writes, j->written);
	ksft_print_msg("  %lu reads, %lu by others; %lu pages checked, %lu compared, %lu dirty\n",
		       j->reads, run->stolen, j->pages, j->compared,
		       j->reported);
}

static unsigned long steps_made(void)
{
	return run->steps;
}

/* False when it does not go on */
static bool watch(pid_t pid, unsigned long long began)
{
	const struct life life = {
		.done = steps_made,
		.tell = tell_progress,
		.stuck = "no step",
		.nap_us = 20000,
	};

	return life_watch(&life, pid, began);
}

static void tell_failure(void)
{
	ksft_print_msg("FAILED: %s\n", life_fate->why);
	ksft_print_msg("DIRTY_TORTURE_SEED=%lu DIRTY_TORTURE_LIFE=%lu, step %lu; the last:\n",
		       (unsigned long)run->seed, run->life, run->step);
	for (unsigned long i = 0; i < LAST_STEPS; i++) {
		const char *line = run->last[(run->step + 1 + i) % LAST_STEPS];

		if (*line)
			ksft_print_msg("    %s\n", line);
	}
}

static void tell_figures(unsigned long long began)
{
	unsigned long calls = 0, injected = 0, borne = 0;

	tell_progress(began);
	ksft_print_msg("%lu maps, %lu unmaps, %lu copies, %lu moves, %lu migrations, %lu resets\n",
		       run->mapped, run->unmapped, run->copied, run->moved,
		       run->migrated, run->resets);
	ksft_print_msg("%lu policies, %lu readers, %lu forks, %lu takeovers, %lu kills\n",
		       run->policies, run->started, run->forks, run->takeovers,
		       run->kills);
	ksft_print_msg("%lu of %lu reads where nothing is exact, %lu calls refused\n",
		       run->judged.blurred, run->judged.reads, run->refused);
	if (!failing)
		return;
	for (unsigned int i = 0; i < FAIL_KINDS; i++) {
		const struct fail_figures *f = &run->fail[i];

		if (!f->cmd)
			continue;
		ksft_print_msg("%-22s %8lu calls %8lu failures %8lu borne, the highest %u\n",
			       fail_name(f->cmd), f->calls, f->injected,
			       f->borne, f->highest);
		calls += f->calls;
		injected += f->injected;
		borne += f->borne;
	}
	ksft_print_msg("%-22s %8lu calls %8lu failures %8lu borne\n", "in all",
		       calls, injected, borne);
}

static void tear_down(void)
{
	char name[16];

	set_host_policy("iommu,device");
	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		snprintf(name, sizeof(name), "torture%u", dev);
		dsim_remove(name);
	}
}

static void set_up(void)
{
	char name[16];

	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		int rc;

		snprintf(name, sizeof(name), "torture%u", dev);
		rc = dsim_create(&devices[dev].dsim, name, &configs[dev]);
		if (rc)
			ksft_exit_fail_msg("%s: %s\n", name, strerror(-rc));
	}
}

int main(void)
{
	unsigned long long began;
	bool well = true;
	pid_t pid;

	ksft_print_header();
	if (!dsim_available())
		ksft_exit_skip("iommufd_dirty_sim is not loaded\n");
	if (on_base())
		ksft_exit_skip("the base loses pages anyhow\n");
	setvbuf(stdout, NULL, _IOLBF, 0);
	run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	life_fate = &run->fate;
	run->end = from_environment("DIRTY_TORTURE_SECONDS", 10) * 1000ULL;
	run->seed = from_environment("DIRTY_TORTURE_SEED", time(NULL));
	run->life = from_environment("DIRTY_TORTURE_LIFE", 0);
	failing = from_environment("DIRTY_TORTURE_FAIL", 0);
	control = from_environment("DIRTY_TORTURE_CONTROL", 0);
	verbose = from_environment("DIRTY_TORTURE_VERBOSE", 0);
	ksft_set_plan(1);
	ksft_print_msg("DIRTY_TORTURE_SEED=%lu\n", (unsigned long)run->seed);
	if (failing && !fail_init(run->fail))
		ksft_exit_skip("the kernel injects no failures\n");
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	set_up();

	began = now_ms();
	run->end += began;
	for (; well && now_ms() < run->end; run->life += well) {
		pid = fork();
		if (!pid)
			live();
		well = pid > 0 && watch(pid, began);
		/* its children have its files: no new life before they are gone */
		kill(-pid, SIGKILL);
		while (waitpid(-1, NULL, 0) > 0)
			;
	}
	if (!well)
		tell_failure();
	tell_figures(began);
	tear_down();
	ksft_test_result(well && run->judged.compared && run->judged.reported,
			 "nothing lost, nothing invented\n");
	ksft_finished();
}
