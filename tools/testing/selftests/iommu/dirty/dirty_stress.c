// SPDX-License-Identifier: GPL-2.0-only
/*
 * Everything at once, and an oracle that knows what readers must have been told
 *
 * Two address spaces. On the first are three devices of three formats, each
 * with an HWPT of its own. On the second is one device that moves between two
 * HWPTs. In each, at the same time:
 *
 *  - each device has a thread that feeds its ring, and in between turns tracking
 *    off and on, replaces, destroys and makes HWPTs, detaches and closes;
 *  - each HWPT has two threads that read it, in every way there is;
 *  - a thread unmaps and maps what no device writes to at this moment;
 *  - a thread writes as an emulated device does, where the kernel lets it.
 *
 * The oracle is outside of the kernel. Everything done is an event that begins
 * and ends at a tick of one clock: which pages were written, asked for, said to
 * be dirty. From that follows, for each page of each read, what is certain:
 *
 *  - lost: a write ended before the read began; neither the read nor another one
 *    that could have seen the write before it reported the page;
 *  - invented: the page was reported, but every write to it had ended before an
 *    earlier read took it, or began after the read ended.
 *
 * A device's thread stops its HWPT's readers every moment, reads once more while
 * nothing is under way, and judges, so that in the end nothing is in doubt.
 *
 * DIRTY_STRESS_SECONDS (60) and DIRTY_STRESS_SEED (the time) are taken from the
 * environment. The seed decides what each thread does, not how they interleave.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest.h"
#include "dsim_user.h"
#include "../../../../../drivers/iommu/iommufd/iommufd_test.h"

/*
 * The window that is watched: rings, then slots of an odd number of pages with
 * holes between them. Its second half is one page of 2M where there are any.
 */
#define WINDOW		0x10000000UL
#define PAGES		1024U
#define WORDS		(PAGES / 64)
#define RING_PAGES	(RING_BYTES / SZ_4K)
#define SLOTS_AT	20U
#define SLOT_STEP	35U
#define SLOT_PAGES	33U
#define HUGE_PAGES	(SZ_2M / SZ_4K)
#define MAX_SLOTS	((PAGES - SLOTS_AT) / SLOT_STEP)
/* The same memory once more, outside of the window, to copy mappings from */
#define SOURCE		(WINDOW + 0x10000000UL)

/* A descriptor reaches no further */
#define SPAN		(3 * SZ_4K)

#define MAX_DEVICES	4
#define MAX_READERS	5
#define ROUND_MS	200
#define ROUND_EVENTS	200
#define MAX_EVENTS	2048
#define TOLD		12

/* ---- Events ---- */

enum kind {
	WROTE,		/* it was */
	MAYBE,		/* it may have been */
	READ,
	PEEK,		/* a read that clears nothing */
	RESET,		/* what was written up to here is nobody's affair */
	FAILED,		/* a read, since there was nothing to read */
};

/* Something that was done to an HWPT */
struct event {
	enum kind kind;
	uint64_t begin;			/* tick before it */
	uint64_t end;			/* tick after it */
	int shift;			/* pages of a bit, -1: half of one */
	uint64_t asked[WORDS];		/* pages that were asked for */
	uint64_t said[WORDS];		/* written, or reported as such */
	bool muddled;			/* tracking stopped meanwhile */
};

/* A range that is mapped and unmapped as a whole */
struct slot {
	pthread_rwlock_t lock;		/* to unmap it; shared to write it */
	unsigned int first;
	unsigned int pages;
	uint8_t *mem;
	bool huge;			/* one leaf */
};

/* An HWPT, and those that take its place */
struct reader {
	struct space *space;
	char name[32];
	uint32_t hwpt;
	bool born_dirty;		/* mapping makes dirty */
	pthread_rwlock_t gate;		/* to judge; shared to add events */
	pthread_mutex_t lock;		/* of the log */
	unsigned int n;
	struct event log[MAX_EVENTS];	/* since the round began */
};

struct space {
	struct vm vm;
	uint8_t *mem;
	uint8_t *huge;
	struct slot slots[MAX_SLOTS + 1];
	unsigned int nslots;
	struct reader *readers[MAX_READERS];
	unsigned int nreaders;
	int access;			/* of an emulated device, or -1 */
};

struct device {
	struct dsim dsim;
	struct space *space;
	struct reader *readers[2];	/* that it moves between */
	unsigned int nreaders;
	unsigned int cur;		/* the one it is attached to */
	unsigned int ring_page;
	uint64_t seed;
};

static struct space spaces[2];
static struct reader readers[MAX_READERS];
static struct device devices[MAX_DEVICES];
static unsigned int nreaders, ndevices;

static struct {
	unsigned long operations;
	unsigned long reads;
	unsigned long faults;
	unsigned long maps;
	unsigned long descriptors;
	unsigned long accesses;
	unsigned long resets;
	unsigned long moves;
	unsigned long flips;
	unsigned long rounds;
	unsigned long written;
	unsigned long checked;
	unsigned long lost;
	unsigned long invented;
	unsigned long errors;
	unsigned long now;
	unsigned long most;
} sum;

static uint64_t base_seed;
static bool expect_loss;
static int stop;

#define ADD(what, n)	__atomic_add_fetch(&sum.what, n, __ATOMIC_RELAXED)
#define GET(what)	__atomic_load_n(&(what), __ATOMIC_ACQUIRE)

static uint64_t tick(void)
{
	static uint64_t clock;

	return __atomic_add_fetch(&clock, 1, __ATOMIC_SEQ_CST);
}

/* What goes on in the kernel at once */
static void enter(void)
{
	unsigned long now = ADD(now, 1);
	unsigned long most = GET(sum.most);

	while (now > most && !__atomic_compare_exchange_n(&sum.most, &most, now,
							  false,
							  __ATOMIC_RELAXED,
							  __ATOMIC_RELAXED))
		;
	ADD(operations, 1);
}

static int leave(int rc)
{
	ADD(now, -1);
	return rc;
}

/* No call may fail but where the caller knows why */
static int must(const char *what, int rc)
{
	if (rc && ADD(errors, 1) <= TOLD)
		ksft_print_msg("%s: %s\n", what, strerror(-rc));
	if (rc)
		__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	return rc;
}

static void nap(unsigned int us)
{
	struct timespec ts = { .tv_nsec = us * 1000L };

	nanosleep(&ts, NULL);
}

static uint64_t below(uint64_t *seed, uint64_t n)
{
	return (rnd(seed) >> 20) % n;
}

static bool has(const uint64_t *map, unsigned int page)
{
	return map[page / 64] >> (page % 64) & 1;
}

static void put(uint64_t *map, unsigned int page, unsigned int n)
{
	for (; n--; page++)
		map[page / 64] |= 1ULL << (page % 64);
}

static unsigned int count(const uint64_t *map)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < WORDS; i++)
		n += __builtin_popcountll(map[i]);
	return n;
}

static uint64_t iova_of(unsigned int page)
{
	return WINDOW + page * SZ_4K;
}

static void record(struct reader *r, const struct event *e)
{
	pthread_mutex_lock(&r->lock);
	if (r->n < MAX_EVENTS)
		r->log[r->n++] = *e;
	else
		must("too many events in a round", -EOVERFLOW);
	pthread_mutex_unlock(&r->lock);
	if (e->kind == WROTE)
		ADD(written, count(e->said));
}

static void record_reset(struct reader *r, uint64_t begin, uint64_t end)
{
	struct event e = { .kind = RESET, .begin = begin, .end = end };

	put(e.asked, 0, PAGES);
	put(e.said, 0, PAGES);
	record(r, &e);
}

/* ---- The oracle ---- */

/* Events of a round, by their beginning */
struct story {
	const struct event *event[MAX_EVENTS];
	unsigned int n;
};

static bool clears(const struct event *e)
{
	return e->kind == READ || e->kind == RESET;
}

/* Its bits are those of single pages */
static bool exact(const struct event *e)
{
	return (e->kind == READ || e->kind == PEEK) && e->shift <= 0;
}

static bool overlap(const struct event *a, const struct event *b)
{
	return a->begin < b->end && b->begin < a->end;
}

/*
 * A read that says that a page is clean. The last write that ended before it,
 * or the last look that found the page dirty, must be covered by somebody who
 * took the page no earlier.
 */
static bool is_lost(const struct story *s, const struct event *read,
		    unsigned int page)
{
	uint64_t wrote = 0, taken = 0;

	for (unsigned int i = 0; i < s->n; i++) {
		const struct event *e = s->event[i];

		if (e->begin > read->end)
			break;
		if (!has(e->said, page))
			continue;
		if (clears(e)) {
			if (e != read && e->end > taken)
				taken = e->end;
		} else if (e->kind == WROTE || (exact(e) && !e->muddled)) {
			if (e->end < read->begin && e->begin > wrote)
				wrote = e->begin;
		}
	}
	return wrote > taken;
}

/*
 * A read that says that a page is dirty. Some write must have ended after the
 * beginning of whatever took the page before, and begun before the read ended.
 * Of two reads at once that both took the page, nobody knows which was first:
 * there must have been a write since the first one began.
 */
static bool is_invented(const struct story *s, const struct event *read,
			unsigned int page)
{
	uint64_t since = 0, twin_begin = UINT64_MAX, twin_end = read->end;
	bool known = false, twin_known = false;

	for (unsigned int i = 0; i < s->n; i++) {
		const struct event *e = s->event[i];

		if (e->begin > read->begin)
			break;
		if (!clears(e) || !has(e->asked, page) || e == read ||
		    e->muddled)
			continue;
		if (e->end < read->begin) {
			since = e->begin;
		} else if (exact(e) && read->kind == READ &&
			   has(e->said, page)) {
			twin_begin = e->begin < twin_begin ? e->begin :
							     twin_begin;
			twin_end = e->end > twin_end ? e->end : twin_end;
		}
	}
	for (unsigned int i = 0; i < s->n; i++) {
		const struct event *e = s->event[i];

		if ((e->kind != WROTE && e->kind != MAYBE) ||
		    !has(e->said, page))
			continue;
		known |= e->end > since && e->begin < read->end;
		twin_known |= e->end > twin_begin && e->begin < twin_end;
	}
	return !known || (twin_begin != UINT64_MAX && !twin_known);
}

static void tell(const struct reader *r, const struct event *e,
		 unsigned int page, const char *what)
{
	static unsigned int told;

	if (expect_loss || __atomic_add_fetch(&told, 1, __ATOMIC_RELAXED) > TOLD)
		return;
	ksft_print_msg("%s: page %u %s by %s of 2^%d pages, ticks %lu to %lu\n",
		       r->name, page, what, e->kind == PEEK ? "peek" : "read",
		       e->shift, (unsigned long)e->begin,
		       (unsigned long)e->end);
	for (unsigned int i = 0; i < r->n; i++) {
		const struct event *o = &r->log[i];
		static const char *const name[] = { "wrote", "maybe", "read",
						    "peek", "reset" };

		if (o->kind != FAILED && has(o->said, page))
			ksft_print_msg("    %s %lu to %lu\n", name[o->kind],
				       (unsigned long)o->begin,
				       (unsigned long)o->end);
	}
}

static void judge_read(const struct reader *r, const struct story *s,
		       const struct event *read, const uint64_t *touched)
{
	unsigned int step = read->shift > 0 ? 1U << read->shift : 1;
	bool invented;

	for (unsigned int page = 0; page < PAGES; page += step) {
		if (!has(read->asked, page))
			continue;
		/* one page of what a bit stands for is enough to explain it */
		invented = has(read->said, page) && !read->muddled;
		for (unsigned int i = page; i < page + step; i++) {
			if (!has(read->said, i)) {
				if (!has(touched, i) || !is_lost(s, read, i))
					continue;
				ADD(lost, 1);
				tell(r, read, i, "lost");
			} else if (invented) {
				invented = is_invented(s, read, i);
			}
		}
		if (invented) {
			ADD(invented, 1);
			tell(r, read, page, "invented");
		}
	}
	ADD(checked, count(read->asked));
}

/* Which HWPT was asked, and what it had been asked before, is not known then */
static void find_muddled(struct reader *r)
{
	for (unsigned int i = 0; i < r->n; i++) {
		struct event *e = &r->log[i];

		for (unsigned int j = 0; j < r->n; j++)
			e->muddled |= e->kind != RESET &&
				      r->log[j].kind == RESET &&
				      overlap(e, &r->log[j]);
		if (e->kind == FAILED && !e->muddled)
			must("read while nobody stopped tracking", -EINVAL);
	}
}

static int by_begin(const void *a, const void *b)
{
	const struct event *const *e = a, *const *f = b;

	return ((*e)->begin > (*f)->begin) - ((*e)->begin < (*f)->begin);
}

static void judge(struct reader *r)
{
	uint64_t touched[WORDS] = {};
	struct story s = { .n = r->n };

	find_muddled(r);
	for (unsigned int i = 0; i < s.n; i++) {
		s.event[i] = &r->log[i];
		for (unsigned int w = 0; w < WORDS; w++)
			if (r->log[i].kind != RESET)
				touched[w] |= r->log[i].said[w];
	}
	qsort(s.event, s.n, sizeof(s.event[0]), by_begin);
	for (unsigned int i = 0; i < s.n; i++)
		if (s.event[i]->kind == READ || s.event[i]->kind == PEEK)
			judge_read(r, &s, s.event[i], touched);
	ADD(rounds, 1);
}

/* ---- Readers ---- */

/* How to read; a bit is as in struct event */
struct question {
	unsigned int first;
	unsigned int pages;
	int shift;
	bool peek;
	uint8_t *map;
	size_t room;			/* bytes that can be written there */
};

static unsigned int bits_of(const struct question *q)
{
	return q->shift < 0 ? q->pages * 2 : q->pages >> q->shift;
}

static void understand(const struct question *q, struct event *e)
{
	size_t bytes = (bits_of(q) + 7) / 8;

	put(e->asked, q->first, q->pages);
	for (unsigned int bit = 0; bit < bits_of(q); bit++) {
		/* what cannot be written to got no bits, or the call failed */
		if (bit / 8 >= (q->room < bytes ? q->room : bytes) ||
		    !(q->map[bit / 8] >> (bit % 8) & 1))
			continue;
		if (q->shift < 0)
			put(e->said, q->first + bit / 2, 1);
		else
			put(e->said, q->first + (bit << q->shift),
			    1U << q->shift);
	}
}

/* The caller holds the gate */
static void ask(struct reader *r, const struct question *q)
{
	struct event e = {
		.kind = q->peek ? PEEK : READ,
		.shift = q->shift,
		/* before the id is looked at: it may be one of the past then */
		.begin = tick(),
	};
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.hwpt_id = GET(r->hwpt),
		.flags = q->peek ? IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR : 0,
		.iova = iova_of(q->first),
		.length = q->pages * SZ_4K,
		.page_size = q->shift < 0 ? SZ_4K / 2 : SZ_4K << q->shift,
		.data = (uintptr_t)q->map,
	};
	size_t bytes = (bits_of(q) + 7) / 8;
	int rc;

	memset(q->map, 0, q->room < bytes ? q->room : bytes);
	enter();
	rc = leave(ioctl(r->space->vm.iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP,
			 &get) ? -errno : 0);
	e.end = tick();
	ADD(reads, 1);
	if (rc == -EFAULT && q->room < bytes) {
		ADD(faults, 1);
		return;
	}
	if (rc == -EINVAL || rc == -ENOENT)
		e.kind = FAILED;
	else if (must("read", rc))
		return;
	understand(q, &e);
	record(r, &e);
}

static void ask_all(struct reader *r)
{
	uint8_t map[PAGES / 8];
	struct question q = {
		.pages = PAGES,
		.map = map,
		.room = sizeof(map),
	};

	ask(r, &q);
}

/* @buf is two pages, behind which is nothing */
static void ask_anything(struct reader *r, uint8_t *buf, uint64_t *seed)
{
	struct question q = {
		.pages = PAGES,
		.peek = !below(seed, 4),
	};
	unsigned int group, bytes;

	if (!below(seed, 3))
		q.shift = (int)below(seed, 11) - 1;
	group = q.shift > 0 ? 1U << q.shift : 1;
	if (below(seed, 3)) {
		q.first = below(seed, PAGES) / group * group;
		q.pages = (1 + below(seed, (PAGES - q.first) / group)) * group;
	}
	bytes = (bits_of(&q) + 7) / 8;
	q.map = buf + below(seed, 2 * SZ_4K - bytes);
	if (!below(seed, 8))
		q.map = buf + 2 * SZ_4K - 1 - below(seed, bytes);
	q.room = buf + 2 * SZ_4K - q.map;
	ask(r, &q);
}

struct reading {
	struct reader *reader;
	uint64_t seed;
	unsigned int rest;
};

static void *read_on(void *arg)
{
	struct reading *me = arg;
	struct reader *r = me->reader;
	uint8_t *buf;

	buf = mmap(NULL, 3 * SZ_4K, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (buf == MAP_FAILED || mprotect(buf + 2 * SZ_4K, SZ_4K, PROT_NONE)) {
		must("memory for a reader", -errno);
		return NULL;
	}
	while (!GET(stop)) {
		pthread_rwlock_rdlock(&r->gate);
		if (GET(r->n) < ROUND_EVENTS)
			ask_anything(r, buf, &me->seed);
		pthread_rwlock_unlock(&r->gate);
		nap(below(&me->seed, me->rest));
	}
	munmap(buf, 3 * SZ_4K);
	return NULL;
}

/* ---- Mappings ---- */

static int map_some(struct space *space, const struct slot *s, unsigned int at,
		    unsigned int n, bool copy)
{
	struct iommu_ioas_copy cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | MAP_RW,
		.dst_ioas_id = space->vm.ioas,
		.src_ioas_id = space->vm.ioas,
		.length = n * SZ_4K,
		.dst_iova = iova_of(s->first + at),
		.src_iova = SOURCE + (s->first + at) * SZ_4K,
	};

	enter();
	if (copy && !s->huge)
		return leave(ioctl(space->vm.iommufd, IOMMU_IOAS_COPY, &cmd) ?
			     -errno : 0);
	return leave(vm_map(&space->vm, cmd.dst_iova, s->mem + at * SZ_4K,
			    cmd.length, MAP_RW));
}

/* In pieces, so that areas begin and end anywhere in a word of a bitmap */
static int map_slot(struct space *space, const struct slot *s, uint64_t *seed)
{
	unsigned int at, n;
	int rc = 0;

	for (at = 0; !rc && at < s->pages; at += n) {
		n = s->pages - at;
		if (!s->huge && below(seed, 2))
			n = 1 + below(seed, n);
		rc = map_some(space, s, at, n, below(seed, 2));
	}
	return must("map", rc);
}

/* What software that maps sets D in may be reported, once */
static void map_born_dirty(struct space *space, const struct slot *s,
			   uint64_t *seed)
{
	struct event e = { .kind = MAYBE };

	for (unsigned int i = 0; i < space->nreaders; i++)
		if (space->readers[i]->born_dirty)
			pthread_rwlock_rdlock(&space->readers[i]->gate);
	put(e.said, s->first, s->pages);
	e.begin = tick();
	map_slot(space, s, seed);
	e.end = tick();
	for (unsigned int i = 0; i < space->nreaders; i++) {
		if (!space->readers[i]->born_dirty)
			continue;
		record(space->readers[i], &e);
		pthread_rwlock_unlock(&space->readers[i]->gate);
	}
}

struct working {
	struct space *space;
	uint64_t seed;
};

/* The caller holds the slot's lock for writing */
static void remap(struct space *space, const struct slot *s, uint64_t *seed)
{
	enter();
	must("unmap", leave(vm_unmap(&space->vm, iova_of(s->first),
				     s->pages * SZ_4K)));
	if (!GET(stop))
		map_born_dirty(space, s, seed);
	ADD(maps, 1);
}

static void *map_on(void *arg)
{
	struct working *me = arg;
	struct slot *s;

	while (!GET(stop)) {
		s = &me->space->slots[below(&me->seed, me->space->nslots)];
		pthread_rwlock_wrlock(&s->lock);
		remap(me->space, s, &me->seed);
		pthread_rwlock_unlock(&s->lock);
		nap(below(&me->seed, 200));
	}
	return NULL;
}

/* ---- Writers ---- */

static void wrote(const struct slot *s, uint64_t *pages, uint64_t at,
		  uint64_t bytes)
{
	unsigned int first = at / SZ_4K, last = (at + bytes - 1) / SZ_4K;

	if (s->huge)
		put(pages, s->first, s->pages);
	else
		put(pages, s->first + first, last - first + 1);
}

/* Slots that will not be unmapped; their number */
static unsigned int hold(struct space *space, struct slot **held,
			 unsigned int max, uint64_t *seed)
{
	unsigned int n = 0;

	while (max--) {
		struct slot *s = &space->slots[below(seed, space->nslots)];

		if (!pthread_rwlock_tryrdlock(&s->lock))
			held[n++] = s;
	}
	return n;
}

static void let_go(struct slot **held, unsigned int n)
{
	while (n--)
		pthread_rwlock_unlock(&held[n]->lock);
}

static struct dsim_desc any_desc(const struct slot *s, uint64_t *pages,
				 uint64_t *seed)
{
	uint64_t room = s->pages * SZ_4K - SPAN;
	uint64_t at = below(seed, room), bytes = 1 + below(seed, SPAN);
	struct dsim_desc d = {
		.op = DSIM_OP_COPY + below(seed, 4),
		.src = iova_of(s->first) + below(seed, room),
		.value = rnd(seed),
		.len = bytes,
	};

	if (d.op == DSIM_OP_SCATTER || d.op == DSIM_OP_ADD) {
		at &= ~7UL;
		d.len = 0;
		d.src = 0;
		d.count = 1 + below(seed, 3);
		/* in each page that is written, or else more than is so */
		d.stride = below(seed, 2) ? 8 : SZ_4K;
		bytes = (d.count - 1) * d.stride + 8;
	}
	d.dst = iova_of(s->first) + at;
	wrote(s, pages, at, bytes);
	return d;
}

static unsigned int queue(struct device *d, uint64_t *pages, struct slot **held,
			  unsigned int nheld)
{
	unsigned int n = 1 + below(&d->seed, below(&d->seed, 8) ? 8 : 200);

	for (unsigned int i = 0; i < n; i++) {
		struct slot *s = held[below(&d->seed, nheld)];
		struct dsim_desc desc = any_desc(s, pages, &d->seed);
		unsigned int slot = d->dsim.tail % RING_ENTRIES;

		dsim_put(&d->dsim, &desc);
		put(pages, d->ring_page + slot * sizeof(desc) / SZ_4K, 1);
	}
	return n;
}

static int start_ring(struct device *d)
{
	struct dsim *dev = &d->dsim;
	uint64_t iova = iova_of(d->ring_page);

	dev->ring = (void *)(d->space->mem + d->ring_page * SZ_4K);
	memset(dev->ring, 0, RING_BYTES);
	dev->tail = 0;
	return must("start of a ring",
		    dsim_enable_bus(dev) ?:
		    dsim_reg_write(dev, DSIM_REG_CTRL, 0) ?:
		    dsim_reg_write(dev, DSIM_REG_RING_LO, (uint32_t)iova) ?:
		    dsim_reg_write(dev, DSIM_REG_RING_HI, iova >> 32) ?:
		    dsim_reg_write(dev, DSIM_REG_RING_ORDER, RING_ORDER) ?:
		    dsim_reg_write(dev, DSIM_REG_CTRL, DSIM_CTRL_ENABLE));
}

static struct reader *current_reader(const struct device *d)
{
	return d->readers[d->cur];
}

/* Replaces the page table; DMA under way goes on through the other, or faults */
static void move(struct device *d)
{
	d->cur = (d->cur + 1) % d->nreaders;
	enter();
	must("replace",
	     leave(dsim_attach(&d->dsim, current_reader(d)->hwpt)));
	ADD(moves, 1);
}

static void check_status(const struct device *d, unsigned int n)
{
	for (unsigned int i = d->dsim.tail - n; i != d->dsim.tail; i++)
		if (d->dsim.ring[i % RING_ENTRIES].status != DSIM_DESC_DONE)
			must("DMA", -EIO);
}

#ifdef IOMMU_DIRTY_SET_POLICY
static int set_policy(struct device *d, uint32_t flags, uint32_t providers)
{
	struct iommu_dirty_set_policy cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.id = d->dsim.devid,
		.providers = providers,
	};

	enter();
	return leave(ioctl(d->space->vm.iommufd, IOMMU_DIRTY_SET_POLICY, &cmd) ?
		     -errno : 0);
}

/* For a moment nobody tracks the device, so all may be dirty, and no less is */
static void flip(struct device *d)
{
	struct event e = { .kind = MAYBE, .begin = tick() };

	put(e.said, 0, PAGES);
	must("policy", set_policy(d, 0, 1 << IOMMU_DIRTY_PROVIDER_ALL) ?:
	     set_policy(d, IOMMU_DIRTY_POLICY_INHERIT, 0));
	e.end = tick();
	record(current_reader(d), &e);
	ADD(flips, 1);
}
#else
static void flip(struct device *d) {}
#endif

/*
 * One batch from the first descriptor to the last, and what is done meanwhile.
 * When the page table is replaced, nobody knows which of the two saw which write.
 */
static void run_on(struct device *d, struct slot **held, unsigned int nheld,
		   void (*meanwhile)(struct device *d), bool told)
{
	bool moving = meanwhile == move;
	struct reader *r = current_reader(d);
	struct event e = { .kind = moving ? MAYBE : WROTE, .begin = tick() };
	unsigned int n = queue(d, e.said, held, nheld);
	int rc;

	enter();
	rc = dsim_kick(&d->dsim);
	if (meanwhile)
		meanwhile(d);
	if (!rc)
		rc = dsim_wait(&d->dsim);
	leave(rc);
	e.end = tick();
	if (moving && rc == -EIO)
		start_ring(d);
	else if (!must("ring", rc) && !moving)
		check_status(d, n);
	ADD(descriptors, n);
	if (told)
		record(r, &e);
	if (told && moving)
		record(current_reader(d), &e);
}

static void run_batch(struct device *d, void (*meanwhile)(struct device *d),
		      bool told)
{
	struct slot *held[3];
	unsigned int n = hold(d->space, held, 3, &d->seed);

	if (n)
		run_on(d, held, n, meanwhile, told);
	let_go(held, n);
}

/* What was written to the last moment before it is unmapped */
static void write_and_unmap(struct device *d)
{
	struct slot *s = &d->space->slots[below(&d->seed, d->space->nslots)];

	if (pthread_rwlock_trywrlock(&s->lock))
		return;
	run_on(d, &s, 1, NULL, true);
	remap(d->space, s, &d->seed);
	pthread_rwlock_unlock(&s->lock);
}

/* As an emulated device: every reader of the space is to know */
static int write_by_access(struct space *space, const struct slot *s,
			   uint64_t at, uint8_t *buf, size_t bytes)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_ACCESS_RW,
		.id = space->access,
		.access_rw = {
			.iova = iova_of(s->first) + at,
			.length = bytes,
			.uptr = (uintptr_t)buf,
			.flags = MOCK_ACCESS_RW_WRITE,
		},
	};

	enter();
	return leave(ioctl(space->vm.iommufd,
			   _IO(IOMMUFD_TYPE, IOMMUFD_CMD_BASE + 32), &cmd) ?
		     -errno : 0);
}

static void *access_on(void *arg)
{
	struct working *me = arg;
	struct space *space = me->space;
	static uint8_t buf[SPAN];
	struct slot *s;

	while (!GET(stop)) {
		struct event e = { .kind = WROTE };
		uint64_t at, bytes = 1 + below(&me->seed, SPAN);

		if (!hold(space, &s, 1, &me->seed))
			continue;
		at = below(&me->seed, s->pages * SZ_4K - SPAN);
		for (unsigned int i = 0; i < space->nreaders; i++)
			pthread_rwlock_rdlock(&space->readers[i]->gate);
		/* by the CPU: to the page, whatever the leaf */
		put(e.said, s->first + at / SZ_4K,
		    (at + bytes - 1) / SZ_4K - at / SZ_4K + 1);
		e.begin = tick();
		must("access", write_by_access(space, s, at, buf, bytes));
		e.end = tick();
		for (unsigned int i = 0; i < space->nreaders; i++) {
			record(space->readers[i], &e);
			pthread_rwlock_unlock(&space->readers[i]->gate);
		}
		let_go(&s, 1);
		ADD(accesses, 1);
		nap(below(&me->seed, 500));
	}
	return NULL;
}

/* ---- Coming and going ---- */

static int track(struct reader *r, uint32_t hwpt, bool on)
{
	enter();
	return must(on ? "start of tracking" : "end of tracking",
		    leave(vm_track(&r->space->vm, hwpt, on)));
}

static void restart(struct device *d)
{
	struct reader *r = current_reader(d);
	uint64_t begin = tick();

	track(r, r->hwpt, false);
	/* not to be reported, since nobody is there to be told */
	run_batch(d, NULL, false);
	track(r, r->hwpt, true);
	record_reset(r, begin, tick());
	ADD(resets, 1);
}

static int alloc_hwpt(struct device *d, uint32_t *id)
{
	enter();
	return must("HWPT",
		    leave(vm_alloc_hwpt(&d->space->vm, &d->dsim,
					IOMMU_HWPT_ALLOC_DIRTY_TRACKING, id)));
}

/*
 * A new HWPT takes the place of another, whose last bits are read before it is
 * destroyed under its readers. Ids are used again, so nobody makes another one
 * while a reader may still ask for the old.
 */
static void recreate(struct device *d)
{
	static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
	struct reader *r = current_reader(d);
	uint32_t old = r->hwpt, new;
	unsigned long long end;
	uint64_t begin;
	int rc;

	pthread_mutex_lock(&one);
	ask_all(r);
	begin = tick();
	if (alloc_hwpt(d, &new) || track(r, new, true))
		goto out;
	enter();
	if (must("attach", leave(dsim_attach(&d->dsim, new))))
		goto out;
	__atomic_store_n(&r->hwpt, new, __ATOMIC_RELEASE);
	if (below(&d->seed, 2))
		track(r, old, false);
	/* busy as long as somebody reads, and soon nobody does any more */
	end = now_ms() + 60000;
	do {
		enter();
		rc = leave(vm_destroy_object(&r->space->vm, old));
	} while (rc == -EBUSY && now_ms() < end);
	must("destroy", rc);
	record_reset(r, begin, tick());
	ADD(resets, 1);
	pthread_rwlock_wrlock(&r->gate);
	pthread_rwlock_unlock(&r->gate);
out:
	pthread_mutex_unlock(&one);
}

static void detach(struct device *d)
{
	enter();
	must("detach", leave(dsim_detach(&d->dsim)));
	nap(below(&d->seed, 200));
	enter();
	must("attach",
	     leave(dsim_attach(&d->dsim, current_reader(d)->hwpt)));
	ADD(moves, 1);
}

static int open_device(struct device *d)
{
	return must("open", dsim_open(&d->dsim) ?:
		    dsim_bind(&d->dsim, d->space->vm.iommufd));
}

static void reopen(struct device *d)
{
	enter();
	dsim_close(&d->dsim);
	if (!open_device(d) &&
	    !must("attach", dsim_attach(&d->dsim, current_reader(d)->hwpt)))
		start_ring(d);
	leave(0);
	ADD(moves, 1);
}

static void do_anything(struct device *d)
{
	switch (below(&d->seed, 48)) {
	case 0:
		restart(d);
		break;
	case 1:
		recreate(d);
		break;
	case 2:
		detach(d);
		break;
	case 3:
		reopen(d);
		break;
	case 4 ... 9:
		write_and_unmap(d);
		break;
	case 10 ... 13:
		run_batch(d, d->nreaders > 1 ? move : NULL, true);
		break;
	case 14:
		run_batch(d, flip, true);
		break;
	default:
		run_batch(d, NULL, true);
		break;
	}
}

/* Nothing is under way: what is dirty must come now, and nothing after it */
static void settle(struct reader *r)
{
	uint64_t begin;

	pthread_rwlock_wrlock(&r->gate);
	begin = tick();
	ask_all(r);
	judge(r);
	r->n = 0;
	record_reset(r, begin, tick());
	pthread_rwlock_unlock(&r->gate);
}

static bool round_over(const struct device *d, unsigned long long end)
{
	for (unsigned int i = 0; i < d->nreaders; i++)
		if (GET(d->readers[i]->n) >= ROUND_EVENTS)
			return true;
	return now_ms() > end || GET(stop);
}

static void *drive(void *arg)
{
	struct device *d = arg;

	while (!GET(stop)) {
		unsigned long long end = now_ms() + ROUND_MS;

		do
			do_anything(d);
		while (!round_over(d, end));
		for (unsigned int i = 0; i < d->nreaders && !GET(sum.errors); i++)
			settle(d->readers[i]);
	}
	return NULL;
}

/* ---- Setting up ---- */

static void init_lock(pthread_rwlock_t *lock)
{
	pthread_rwlockattr_t attr;

	/* or those who read all the time keep those who write out */
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr,
				      PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(lock, &attr);
}

static void add_slot(struct space *space, unsigned int first,
		     unsigned int pages, uint8_t *mem, bool huge)
{
	struct slot *s = &space->slots[space->nslots++];

	*s = (struct slot){
		.first = first,
		.pages = pages,
		.mem = mem,
		.huge = huge,
	};
	init_lock(&s->lock);
}

static int open_access(struct space *space)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_CREATE_ACCESS,
		.id = space->vm.ioas,
	};

	if (ioctl(space->vm.iommufd,
		  _IO(IOMMUFD_TYPE, IOMMUFD_CMD_BASE + 32), &cmd))
		return -1;
	return cmd.create_access.out_access_fd;
}

static int make_space(struct space *space)
{
	int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
	unsigned int end = PAGES;

	memset(space, 0, sizeof(*space));
	if (must("iommufd", vm_create(&space->vm)))
		return -1;
	space->mem = mmap(NULL, PAGES * SZ_4K, PROT_READ | PROT_WRITE, flags,
			  -1, 0);
	if (space->mem == MAP_FAILED)
		return must("memory", -errno);
	space->huge = mmap(NULL, SZ_2M, PROT_READ | PROT_WRITE,
			   flags | MAP_HUGETLB, -1, 0);
	if (space->huge == MAP_FAILED) {
		space->huge = NULL;
	} else {
		end -= HUGE_PAGES;
		add_slot(space, end, HUGE_PAGES, space->huge, true);
	}
	for (unsigned int at = SLOTS_AT; at + SLOT_PAGES <= end; at += SLOT_STEP)
		add_slot(space, at, SLOT_PAGES, space->mem + at * SZ_4K, false);
	space->access = open_access(space);
	return must("map", vm_map(&space->vm, WINDOW, space->mem,
				  MAX_DEVICES * RING_BYTES, MAP_RW) ?:
		    vm_map(&space->vm, SOURCE, space->mem, PAGES * SZ_4K,
			   MAP_RW));
}

static void free_space(struct space *space)
{
	if (space->access >= 0)
		close(space->access);
	vm_destroy(&space->vm);
	munmap(space->mem, PAGES * SZ_4K);
	if (space->huge)
		munmap(space->huge, SZ_2M);
}

static int add_reader(struct device *d, const char *format)
{
	struct reader *r = &readers[nreaders++];

	r->space = d->space;
	r->n = 0;
	r->born_dirty = false;
	snprintf(r->name, sizeof(r->name), "%s.%u", format, nreaders - 1);
	init_lock(&r->gate);
	pthread_mutex_init(&r->lock, NULL);
	d->readers[d->nreaders++] = r;
	d->space->readers[d->space->nreaders++] = r;
	return alloc_hwpt(d, &r->hwpt) ?: track(r, r->hwpt, true);
}

/* -ENODEV when this kernel cannot track in that format */
static int add_device(struct space *space, const char *format,
		      unsigned int hwpts, bool no_flush)
{
	struct dsim_config config = {
		.format = format,
		.page_sizes = SZ_4K | SZ_2M,
	};
	struct device *d = &devices[ndevices];
	char name[16];
	int rc;

	memset(d, 0, sizeof(*d));
	snprintf(name, sizeof(name), "stress%u", ndevices);
	rc = dsim_create(&d->dsim, name, &config);
	if (rc == -EINVAL)
		return -ENODEV;
	if (must("device", rc))
		return rc;
	d->space = space;
	d->ring_page = ndevices * RING_PAGES;
	d->seed = base_seed * (ndevices + 1) | 1;
	ndevices++;
	if (no_flush)
		must("fault_no_flush",
		     dsim_set(name, "fault_no_flush", "1"));
	rc = open_device(d);
	while (!rc && hwpts--)
		rc = add_reader(d, format);
	return rc ?:
	       must("attach", dsim_attach(&d->dsim, d->readers[0]->hwpt)) ?:
	       start_ring(d);
}

/* After it nothing is dirty, and it is known what mapping makes so */
static void map_all(struct space *space, uint64_t *seed)
{
	for (unsigned int i = 0; i < space->nslots; i++)
		map_slot(space, &space->slots[i], seed);
	for (unsigned int i = 0; i < space->nreaders; i++) {
		struct reader *r = space->readers[i];
		uint64_t begin = tick();

		ask_all(r);
		r->born_dirty = r->n && count(r->log[0].said);
		r->n = 0;
		record_reset(r, begin, tick());
	}
}

static int set_up(bool no_flush)
{
	uint64_t seed = base_seed;
	int rc;

	ndevices = 0;
	nreaders = 0;
	rc = make_space(&spaces[0]) ?: make_space(&spaces[1]) ?:
	     add_device(&spaces[0], "vtdss", 1, no_flush) ?:
	     add_device(&spaces[0], "amdv1", 1, no_flush);
	if (!rc && !on_base())
		rc = add_device(&spaces[0], "x86_64", 1, no_flush);
	if (!rc)
		rc = add_device(&spaces[1], "armlpae", 2, no_flush);
	if (rc == -ENODEV)
		rc = add_device(&spaces[1], "vtdss", 2, no_flush);
	if (rc)
		return rc;
	map_all(&spaces[0], &seed);
	map_all(&spaces[1], &seed);
	return 0;
}

static void tear_down(void)
{
	for (unsigned int i = 0; i < ndevices; i++)
		dsim_close(&devices[i].dsim);
	free_space(&spaces[0]);
	free_space(&spaces[1]);
	for (unsigned int i = 0; i < ndevices; i++)
		must("removal", dsim_remove(devices[i].dsim.name));
}

/* ---- The run ---- */

static pthread_t threads[32];
static unsigned int nthreads;

static void spawn(void *(*fn)(void *), void *arg)
{
	int rc = pthread_create(&threads[nthreads], NULL, fn, arg);

	if (!must("thread", -rc))
		nthreads++;
}

static void run(unsigned int seconds)
{
	static struct reading reading[2 * MAX_READERS];
	static struct working working[4];
	unsigned long long end;
	uint64_t seed = base_seed ^ 0x9e3779b97f4a7c15ULL;

	for (unsigned int i = 0; i < ndevices; i++)
		spawn(drive, &devices[i]);
	for (unsigned int i = 0; i < 2 * nreaders; i++) {
		reading[i] = (struct reading){
			.reader = &readers[i / 2],
			.seed = rnd(&seed) | 1,
			.rest = i % 2 ? 20000 : 3000,
		};
		spawn(read_on, &reading[i]);
	}
	for (unsigned int i = 0; i < 4; i++) {
		working[i] = (struct working){
			.space = &spaces[i / 2],
			.seed = rnd(&seed) | 1,
		};
		if (i % 2 == 0)
			spawn(map_on, &working[i]);
		else if (spaces[i / 2].access >= 0)
			spawn(access_on, &working[i]);
	}
	for (end = now_ms() + seconds * 1000ULL; now_ms() < end && !GET(stop);)
		nap(10000);
	__atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
	while (nthreads)
		pthread_join(threads[--nthreads], NULL);
}

static void report(unsigned long long ms)
{
	ksft_print_msg("%llu.%llu s: %lu operations, at most %lu at once\n",
		       ms / 1000, ms / 100 % 10, sum.operations, sum.most);
	ksft_print_msg("%lu reads (%lu a second, %lu with a bad pointer), %lu maps, %lu descriptors, %lu accesses\n",
		       sum.reads, (unsigned long)(sum.reads * 1000 / (ms + 1)),
		       sum.faults, sum.maps, sum.descriptors, sum.accesses);
	ksft_print_msg("%lu restarts, %lu moves, %lu flips of policy, %lu rounds\n",
		       sum.resets, sum.moves, sum.flips, sum.rounds);
	ksft_print_msg("%lu pages written, %lu checked, %lu lost, %lu invented, %lu errors\n",
		       sum.written, sum.checked, sum.lost, sum.invented,
		       sum.errors);
}

/* True when it ran as it should, whatever it found */
static bool stress(unsigned int seconds, bool no_flush)
{
	unsigned long long began;

	memset(&sum, 0, sizeof(sum));
	expect_loss = no_flush || on_base();
	stop = 0;
	if (!set_up(no_flush)) {
		began = now_ms();
		run(seconds);
		report(now_ms() - began);
	}
	tear_down();
	return !sum.errors && sum.most > 1 && sum.reads && sum.maps &&
	       sum.written && sum.checked;
}

static unsigned long from_environment(const char *name, unsigned long otherwise)
{
	const char *value = getenv(name);
	char *end;
	unsigned long n;

	if (!value)
		return otherwise;
	n = strtoul(value, &end, 0);
	if (!n || *end || *value == '-')
		ksft_exit_fail_msg("%s must be a positive number\n", name);
	return n;
}

int main(void)
{
	unsigned int seconds;
	bool ran;

	ksft_print_header();
	if (!dsim_available())
		ksft_exit_skip("iommufd_dirty_sim is not loaded\n");
	seconds = from_environment("DIRTY_STRESS_SECONDS", on_base() ? 10 : 60);
	base_seed = from_environment("DIRTY_STRESS_SEED", time(NULL));
	ksft_set_plan(2);
	ksft_print_msg("DIRTY_STRESS_SEED=%lu\n", (unsigned long)base_seed);

	ran = stress(seconds, false);
	if (on_base() && ran && sum.lost)
		ksft_test_result_xfail("known on base: %lu pages lost\n",
				       sum.lost);
	else
		ksft_test_result(ran && !on_base() && !sum.lost &&
				 !sum.invented, "nothing lost, nothing invented\n");

	if (on_base()) {
		ksft_test_result_skip("the base loses pages anyhow\n");
		ksft_finished();
	}
	ran = stress(3, true);
	ksft_test_result(ran && sum.lost,
			 "an IOTLB that is not flushed loses pages\n");
	ksft_finished();
}
