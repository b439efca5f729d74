// SPDX-License-Identifier: GPL-2.0-only
/* What readers must be told: the rule is in torture_oracle.h */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "torture_oracle.h"

struct writer writers[DEVICES];
struct told readers[READERS];
struct slot slots[IOASES][SLOTS];
uint8_t *memory;
void (*oracle_failed)(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

static struct judged *figures;
/* Who copies pages looks at slots while others are mapped */
static pthread_rwlock_t slots_lock;

/* Others go on reading while these are set */
static uint64_t word_in(int mem, unsigned int word)
{
	uint64_t *page = (uint64_t *)(memory + mem * SZ_4K);

	return __atomic_load_n(&page[word], __ATOMIC_ACQUIRE);
}

static void put_all(struct pages *to, const struct pages *from)
{
	for (unsigned int i = 0; i < MAP_WORDS; i++)
		to->word[i] |= from->word[i];
}

static void drop_all(struct pages *to, const struct pages *from)
{
	for (unsigned int i = 0; i < MAP_WORDS; i++)
		to->word[i] &= ~from->word[i];
}

static unsigned int count(const struct pages *p)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < MAP_WORDS; i++)
		n += __builtin_popcountll(p->word[i]);
	return n;
}

/* The memory at a page of IOVA space, or -1 */
static int mem_at(unsigned int ioas, unsigned int page)
{
	const struct slot *s = &slots[ioas][page / SLOT_PAGES];

	if (!(s->mapped >> page % SLOT_PAGES & 1))
		return -1;
	return s->mem + page % SLOT_PAGES;
}

/* ---- Who hears what ---- */

static bool hears_seat(const struct told *r, unsigned int dev,
		       unsigned int seat)
{
	if (r->by_memory)
		return true;
	if (seat_ioas(seat) != r->ioas)
		return false;
	return r->seat == NO_SEAT || r->seat == seat || writers[dev].emulated;
}

static enum hears hears(unsigned int nr, unsigned int dev, unsigned int seat,
			bool known)
{
	if (!readers[nr].on || !hears_seat(&readers[nr], dev, seat))
		return NOT;
	return known || nr < READER_VFIO || nr >= READER_LOG ? SURELY : PERHAPS;
}

static void put_if_in_scope(const struct told *r, struct pages *p, int page)
{
	if (page >= 0 && page < (int)MEM_PAGES && page_in(&r->scope, page))
		page_put(p, page);
}

/* The page of a write as the reader has it, or -1 */
static int page_of(const struct told *r, const struct write *w, unsigned int i)
{
	int page = r->by_memory ? w->mem + (int)i : (int)(w->first + i);

	if (r->by_memory && w->mem < 0)
		return -1;
	return page_in(&r->scope, page) ? page : -1;
}

/* All that may be reported for one page of a write: its granule */
static void put_granule(const struct told *r, struct pages *p,
			const struct write *w, unsigned int i)
{
	unsigned int page = w->first + i, base = page & ~(w->granule - 1);

	for (unsigned int at = base; at < base + w->granule; at++) {
		if (!r->by_memory)
			put_if_in_scope(r, p, at);
		else if (w->mem >= 0)
			put_if_in_scope(r, p, w->mem + (int)(at - w->first));
	}
}

/* ---- Copies ---- */

static void copy_page(struct told *r, unsigned int page)
{
	int mem = r->by_memory ? (int)page : mem_at(r->ioas, page);

	if (mem >= 0)
		for (unsigned int i = 0; i < PAGE_WORDS; i++)
			r->copy[page][i] = word_in(mem, i);
}

static void copy_pages(struct told *r, const struct pages *which)
{
	pthread_rwlock_rdlock(&slots_lock);
	for (unsigned int page = 0; page < MEM_PAGES; page++)
		if (page_in(which, page))
			copy_page(r, page);
	pthread_rwlock_unlock(&slots_lock);
}

static bool word_is_stale(const struct told *r, unsigned int page, int mem,
			  unsigned int word)
{
	return r->copy[page][word] != word_in(mem, word);
}

/* Of a page of IOVA space only what was written by ways that the reader hears */
static int stale_word(const struct told *r, unsigned int page)
{
	int mem = r->by_memory ? (int)page : mem_at(r->ioas, page);
	unsigned int word;

	if (mem < 0)
		return -1;
	if (r->by_memory) {
		for (word = 0; word < PAGE_WORDS; word++)
			if (word_is_stale(r, page, mem, word))
				return word;
		return -1;
	}
	for (unsigned int dev = 0; dev < DEVICES; dev++)
		for (unsigned int seat = 0; seat < SEATS; seat++) {
			word = word_of(dev, seat, page / SLOT_PAGES);
			if (hears_seat(r, dev, seat) &&
			    word_is_stale(r, page, mem, word))
				return word;
		}
	return -1;
}

/* ---- Writes ---- */

void oracle_submit(unsigned int dev, const struct write *w)
{
	struct writer *d = &writers[dev];
	struct write *q = &d->queue[d->tail++ % RING_ENTRIES];

	*q = *w;
	for (unsigned int i = 0; i < w->pages; i++) {
		page_put(&d->touched, w->first + i);
		if (w->mem >= 0)
			page_put(&d->touched_mem, w->mem + i);
	}
	for (unsigned int i = 0; i < READERS; i++) {
		q->told[i] = 0;
		q->hears[i] = hears(i, dev, q->seat, q->known);
	}
	figures->writes++;
	figures->written += w->pages;
}

/* A descriptor's page of the ring, which lies outside of what is watched */
#define RING_PAGE(at)	(MEM_PAGES + (at) * sizeof(struct dsim_desc) / SZ_4K)

/* A page that is given back is dirty once more */
static void given_back(unsigned int dev, unsigned int place)
{
	struct writer *d = &writers[dev];

	for (unsigned int i = 0; i < READERS; i++) {
		struct told *r = &readers[i];

		if (r->on && d->seat != NO_SEAT && hears_seat(r, dev, d->seat))
			put_if_in_scope(r, &r->may, r->by_memory ?
					d->kept[place].mem :
					d->kept[place].page);
	}
	d->kept[place].page = -1;
	d->kept[place].mem = -1;
}

/* As the device chooses them: see get_pinned() of the simulator */
static void keep(unsigned int dev, unsigned int page, int mem)
{
	struct writer *d = &writers[dev];

	for (unsigned int i = 0; i < PINS; i++)
		if (d->kept[i].page == (int)page)
			return;
	given_back(dev, d->next);
	d->kept[d->next].page = page;
	d->kept[d->next].mem = mem;
	d->next = (d->next + 1) % PINS;
}

/* What it may keep if that is not known exactly */
static void put_touched(const struct told *r, struct pages *p, unsigned int dev)
{
	const struct writer *d = &writers[dev];

	for (unsigned int page = 0; page < MEM_PAGES; page++)
		if (page_in(r->by_memory ? &d->touched_mem : &d->touched, page))
			put_if_in_scope(r, p, page);
}

/* It keeps nothing any more */
void oracle_rests(unsigned int dev)
{
	static const struct pages none;
	struct writer *d = &writers[dev];

	for (unsigned int i = 0; i < PINS; i++)
		given_back(dev, i);
	for (unsigned int i = 0; i < READERS && d->kept_lost; i++)
		if (readers[i].on && d->seat != NO_SEAT &&
		    hears_seat(&readers[i], dev, d->seat))
			put_touched(&readers[i], &readers[i].may, dev);
	d->next = 0;
	d->kept_lost = false;
	d->touched = none;
	d->touched_mem = none;
}

static void page_ended(unsigned int dev, const struct write *w, unsigned int nr,
		       unsigned int i, bool executed)
{
	struct told *r = &readers[nr];
	int page = page_of(r, w, i);

	put_granule(r, &r->may, w, i);
	if (page < 0)
		return;
	if (w->hears[nr] == PERHAPS) {
		page_put(&r->unsure, page);
	} else if (executed && !(w->told[nr] >> i & 1)) {
		page_put(&r->must, page);
		r->by[page].dev = dev;
		r->by[page].seat = w->seat;
	}
}

/*
 * It is in flight no more. Without a status, or with that of a fault, memory says which
 * of its pages were written, but for what was added.
 */
static void ended(unsigned int dev, const struct write *w, bool done)
{
	unsigned int word = word_of(dev, w->seat, w->first / SLOT_PAGES);
	struct writer *d = &writers[dev];

	for (unsigned int i = 0; i < w->pages; i++) {
		bool executed = done || (!w->adds && w->mem >= 0 &&
			word_in(w->mem + i, word) == w->value + i);

		for (unsigned int nr = 0; nr < READERS; nr++)
			if (readers[nr].on && w->hears[nr] != NOT)
				page_ended(dev, w, nr, i, executed);
		if (d->pins && executed)
			keep(dev, w->first + i, w->mem < 0 ? -1 : w->mem + (int)i);
	}
	if (d->pins && !done)
		d->kept_lost = true;
	/* The status is written like everything else */
	if (d->pins)
		keep(dev, RING_PAGE(w - d->queue), -1);
}

/* Takes notice of what the device is done with; how many are in flight */
unsigned int oracle_harvest(unsigned int dev)
{
	struct writer *d = &writers[dev];

	for (; d->head != d->tail; d->head++) {
		uint32_t at = d->head % RING_ENTRIES;
		uint32_t status = __atomic_load_n(&d->ring[at].status,
						  __ATOMIC_ACQUIRE);

		if (status == DSIM_DESC_PENDING)
			break;
		ended(dev, &d->queue[at], status == DSIM_DESC_DONE);
	}
	return d->tail - d->head;
}

/* The ring is no more, and what was in flight is either in memory or never will be */
void oracle_dropped(unsigned int dev)
{
	struct writer *d = &writers[dev];

	oracle_harvest(dev);
	for (; d->head != d->tail; d->head++)
		ended(dev, &d->queue[d->head % RING_ENTRIES], false);
	d->head = 0;
	d->tail = 0;
}

static enum hears both(enum hears a, enum hears b)
{
	if (a == b)
		return a;
	return PERHAPS;
}

/* To another seat of the same IOAS, from the middle of what is in flight */
void oracle_moved(unsigned int dev, unsigned int seat, bool known)
{
	struct writer *d = &writers[dev];

	for (uint32_t at = d->head; at != d->tail; at++) {
		struct write *w = &d->queue[at % RING_ENTRIES];

		for (unsigned int i = 0; i < READERS; i++)
			if (readers[i].on)
				w->hears[i] = both(w->hears[i],
						   hears(i, dev, seat, known));
	}
	d->seat = seat;
}

bool oracle_in_flight(unsigned int ioas, unsigned int slot)
{
	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		struct writer *d = &writers[dev];

		for (uint32_t at = d->head; at != d->tail; at++) {
			struct write *w = &d->queue[at % RING_ENTRIES];

			if (seat_ioas(w->seat) == ioas &&
			    w->first / SLOT_PAGES == slot)
				return true;
		}
	}
	return false;
}

/* ---- Mappings ---- */

/* Nothing is in flight to it. Who maps knows what is there, and need not be told. */
void oracle_mapped(unsigned int ioas, unsigned int slot, int mem)
{
	struct slot *s = &slots[ioas][slot];

	pthread_rwlock_wrlock(&slots_lock);
	s->mem = mem;
	s->mapped = (1U << SLOT_PAGES) - 1;
	for (unsigned int i = 0; i < READERS; i++) {
		struct told *r = &readers[i];

		if (!r->on || r->by_memory || r->ioas != ioas)
			continue;
		for (unsigned int at = 0; at < SLOT_PAGES; at++)
			copy_page(r, slot * SLOT_PAGES + at);
	}
	pthread_rwlock_unlock(&slots_lock);
}

void oracle_unmapped(unsigned int ioas, unsigned int slot, uint32_t pages)
{
	pthread_rwlock_wrlock(&slots_lock);
	slots[ioas][slot].mapped &= ~pages;
	pthread_rwlock_unlock(&slots_lock);
	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		struct writer *d = &writers[dev];

		for (unsigned int i = 0; i < PINS; i++) {
			int page = d->kept[i].page;

			if (page >= 0 && d->seat != NO_SEAT &&
			    seat_ioas(d->seat) == ioas &&
			    page / (int)SLOT_PAGES == (int)slot &&
			    pages >> page % SLOT_PAGES & 1)
				given_back(dev, i);
		}
	}
}

/* ---- Readers ---- */

void oracle_init(struct judged *f)
{
	pthread_mutexattr_t attr;

	figures = f;
	pthread_rwlock_init(&slots_lock, NULL);
	pthread_mutexattr_init(&attr);
	for (unsigned int i = 0; i < READERS; i++) {
		pthread_mutex_init(&readers[i].lock, &attr);
		readers[i].on = false;
		readers[i].copy = mmap(NULL, MEM_PAGES * SZ_4K,
				       PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	}
	for (unsigned int ioas = 0; ioas < IOASES; ioas++)
		for (unsigned int i = 0; i < SLOTS; i++)
			slots[ioas][i] = (struct slot){ .mem = -1 };
	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		writers[dev].seat = NO_SEAT;
		for (unsigned int i = 0; i < PINS; i++) {
			writers[dev].kept[i].page = -1;
			writers[dev].kept[i].mem = -1;
		}
	}
}

/*
 * It began to read, and then copied everything. What is in flight was written either
 * before that or after.
 */
void oracle_start(unsigned int nr)
{
	static const struct pages none;
	struct told *r = &readers[nr];

	pthread_mutex_lock(&r->lock);
	r->must = none;
	r->may = none;
	r->unsure = none;
	r->stolen = none;
	r->blurred = false;
	copy_pages(r, &r->scope);
	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		struct writer *d = &writers[dev];

		for (uint32_t at = d->head; at != d->tail; at++) {
			struct write *w = &d->queue[at % RING_ENTRIES];

			w->hears[nr] = hears_seat(r, dev, w->seat) ?
				       PERHAPS : NOT;
			w->told[nr] = 0;
		}
	}
	r->on = true;
	pthread_mutex_unlock(&r->lock);
}

void oracle_stop(unsigned int nr)
{
	struct told *r = &readers[nr];

	pthread_mutex_lock(&r->lock);
	r->on = false;
	pthread_mutex_unlock(&r->lock);
}

void oracle_blur(unsigned int ioas)
{
	for (unsigned int i = 0; i < READERS; i++)
		if (readers[i].by_memory || readers[i].ioas == ioas)
			readers[i].blurred = true;
}

void oracle_stolen(struct told *r, const struct pages *got)
{
	put_all(&r->stolen, got);
	copy_pages(r, got);
}

/*
 * Before a read: harvests, then says what may be reported for the sake of what is in
 * flight or kept (@allowed), and which pages may still change (@moving)
 */
void oracle_before(struct told *r, struct pages *allowed, struct pages *moving)
{
	unsigned int nr = r - readers;

	memset(allowed, 0, sizeof(*allowed));
	memset(moving, 0, sizeof(*moving));
	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		struct writer *d = &writers[dev];

		oracle_harvest(dev);
		for (uint32_t at = d->head; at != d->tail; at++) {
			struct write *w = &d->queue[at % RING_ENTRIES];

			if (w->hears[nr] == NOT)
				continue;
			for (unsigned int i = 0; i < w->pages; i++) {
				put_granule(r, allowed, w, i);
				if (page_of(r, w, i) >= 0)
					page_put(moving, page_of(r, w, i));
			}
		}
		if (!d->pins || d->seat == NO_SEAT ||
		    !hears_seat(r, dev, d->seat))
			continue;
		if (d->kept_lost)
			put_touched(r, allowed, dev);
		for (unsigned int i = 0; i < PINS; i++)
			put_if_in_scope(r, allowed, r->by_memory ?
					d->kept[i].mem : d->kept[i].page);
	}
}

static void tell_in_flight(struct told *r, const struct pages *got)
{
	unsigned int nr = r - readers;
	int page;

	for (unsigned int dev = 0; dev < DEVICES; dev++) {
		struct writer *d = &writers[dev];

		for (uint32_t at = d->head; at != d->tail; at++) {
			struct write *w = &d->queue[at % RING_ENTRIES];

			for (unsigned int i = 0; i < w->pages; i++) {
				page = page_of(r, w, i);
				if (page >= 0 && page_in(got, page))
					w->told[nr] |= 1U << i;
			}
		}
	}
}

/* Bits of 2^@shift pages, by the first page of the scope: is none of them allowed? */
static void judge_invented(const struct told *r, const struct pages *got,
			   const struct pages *may, unsigned int shift)
{
	unsigned int base = 0, page, i;

	while (base < MEM_PAGES && !page_in(&r->scope, base))
		base++;
	for (page = base; page < MEM_PAGES; page += 1U << shift) {
		bool known = false, said = false;

		for (i = page; i < page + (1U << shift) && i < MEM_PAGES; i++) {
			known |= page_in(may, i);
			said |= page_in(got, i);
		}
		if (said && !known)
			oracle_failed("%s: page %u is invented", r->name, page);
	}
}

/* @got is what was reported to this read, which may be more than was asked for */
void oracle_judge(struct told *r, const struct pages *asked,
		  const struct pages *got, const struct pages *allowed,
		  const struct pages *moving, unsigned int shift, bool peek)
{
	struct pages all = r->stolen, may = r->may, must = r->must;
	unsigned int page;
	int word;

	put_all(&all, got);
	put_all(&may, allowed);
	drop_all(&must, &all);
	for (page = 0; page < MEM_PAGES; page++)
		if (page_in(&must, page) && page_in(asked, page))
			oracle_failed("%s: page %u, which device %u wrote by seat %u, is lost",
				      r->name, page, r->by[page].dev,
				      r->by[page].seat);
	if (!r->blurred) {
		judge_invented(r, got, &may, shift);
		judge_invented(r, &r->stolen, &may, r->shift);
	}
	figures->reads++;
	figures->blurred += r->blurred;
	figures->pages += count(asked);
	figures->reported += count(got);
	if (peek)
		return;

	copy_pages(r, got);
	tell_in_flight(r, &all);
	for (page = 0; page < MEM_PAGES; page++) {
		if (!page_in(asked, page) || page_in(moving, page))
			continue;
		if (page_in(&r->unsure, page))
			copy_page(r, page);
		word = stale_word(r, page);
		if (word >= 0)
			oracle_failed("%s: page %u, of device %u by seat %u, slot %u, is stale",
				      r->name, page, word / (SEATS * SLOTS),
				      word / SLOTS % SEATS, word % SLOTS);
		figures->compared++;
	}
	/* a log is taken as a whole, whatever was asked for */
	put_all(&r->stolen, got);
	drop_all(&r->must, asked);
	drop_all(&r->may, asked);
	drop_all(&r->unsure, asked);
	drop_all(&r->stolen, asked);
	if (count(asked) == count(&r->scope))
		r->blurred = false;
}
