/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What dirty_torture must be told by each reader, worked out from what it commanded
 *
 * The oracle knows nothing of the kernel. It knows each descriptor, since the program
 * wrote it; that it was executed, since the device writes a status, or, where there is
 * none, since memory holds its value; and what each reader was told.
 *
 * The rule, for each reader and each page, at each read:
 *
 *  - Lost: a write whose status was seen before the read began, and which no read of
 *    this reader has reported while it was in flight or after, is not in this one
 *    either.
 *  - Stale: after the read, the reader's copy of the page, made anew whenever the page was
 *    reported, is not what memory holds, while nothing in flight reaches the page. This
 *    finds what the first rule cannot: a write that was reported too early.
 *  - Invented: a page is reported that no write was in flight to since the last read,
 *    nor any in the same granule. It is not judged where the kernel says that it does
 *    not know (IOMMU_DIRTY_GET_COVERAGE: coverage, out_lost).
 *
 * A write in flight during a read may be in this one or the next, and has to be in at
 * least one of them. One that may have gone by either of two page tables, since its
 * device was moved meanwhile, need not be reported to who hears of one of them only, and
 * that is forgiven once. The same goes for DMA logging, which is for devices that are
 * known, and one that is not.
 *
 * So that the memory of one page can be looked at for each way by which it was written,
 * each has a word of its own in it: a way is a device, what it is attached to (a seat)
 * and the slot of IOVA space.
 */
#ifndef __TORTURE_ORACLE_H
#define __TORTURE_ORACLE_H

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "dsim_user.h"

#define DEVICES		8U
#define IOASES		2U
#define HWPTS		6U
/* The IOASes themselves, then HWPTs */
#define SEATS		(IOASES + HWPTS)
#define NO_SEAT		SEATS
/* IOVA space that is watched, of each IOAS */
#define SLOTS		8U
#define SLOT_PAGES	24U
#define PAGES		(SLOTS * SLOT_PAGES)
/* The memory that is mapped there */
#define MEM_PAGES	256U
#define PAGE_WORDS	(SZ_4K / 8)
#define MAP_WORDS	(MEM_PAGES / 64)
/* HWPTs, DMA logging of devices, dirty logs */
#define LOGS		4U
#define READER_VFIO	HWPTS
#define READER_LOG	(READER_VFIO + DEVICES)
#define READERS		(READER_LOG + LOGS)
/* A descriptor reaches no further */
#define SPAN_PAGES	8U
/* Pages that a device keeps pinned */
#define PINS		5U

static_assert(DEVICES * SEATS * SLOTS == PAGE_WORDS, "a word for each way");

struct pages {
	uint64_t word[MAP_WORDS];
};

/**
 * struct write - a descriptor that was given to a device
 * @seat: by which the device was to go
 * @first: page of IOVA space
 * @pages: how many
 * @mem: page of memory, or -1
 * @value: of the first page's word, one more for each
 * @adds: adds to the words instead
 * @granule: pages that who tracks it tells apart
 * @known: somebody stands for the device
 * @hears: of each reader: whether it is to be told
 * @told: of each reader: pages that it was told of while this was in flight
 */
struct write {
	unsigned int seat;
	unsigned int first;
	unsigned int pages;
	int mem;
	uint64_t value;
	bool adds;
	unsigned int granule;
	bool known;
	enum hears { NOT, PERHAPS, SURELY } hears[READERS];
	uint8_t told[READERS];
};

/**
 * struct writer - a device
 * @seat: what it is attached to
 * @emulated: every HWPT of its IOAS hears it
 * @pins: it keeps what it writes to
 * @ring: its descriptors, which have the status
 * @queue: those given to it, by their place in the ring
 * @head: the first that is in flight
 * @tail: behind the last
 * @kept: pages that it keeps, each at its place
 * @next: place of the next one
 * @kept_lost: it is not known what it keeps, but that it is of the two
 * @touched: pages that it was told to write since it kept nothing
 * @touched_mem: the same by memory
 */
struct writer {
	unsigned int seat;
	bool emulated;
	bool pins;
	struct dsim_desc *ring;
	struct write queue[RING_ENTRIES];
	uint32_t head, tail;
	struct {
		int page;
		int mem;
	} kept[PINS];
	unsigned int next;
	bool kept_lost;
	struct pages touched, touched_mem;
};

/**
 * struct told - a reader, and what it was told
 * @lock: of who reads it
 * @on: it is to be told
 * @by_memory: it is indexed by pages of memory, not of IOVA space
 * @ioas: that it hears of, if not by memory
 * @seat: that it hears of besides emulated devices, or NO_SEAT: all of @ioas
 * @scope: pages that it is for
 * @shift: log2 of the pages that a bit stands for, when others read
 * @must: that the next read has to report
 * @may: that it may report
 * @unsure: whose copy need not be right
 * @stolen: reported since the last judgement, to others that read it
 * @by: device and seat that wrote what the next read has to report
 * @copy: of the memory, as whoever moves a VM has it
 * @blurred: what was invented is not judged in the next read
 * @name: for messages
 */
struct told {
	pthread_mutex_t lock;
	bool on;
	bool by_memory;
	unsigned int ioas;
	unsigned int seat;
	struct pages scope;
	unsigned int shift;
	struct pages must, may, unsure, stolen;
	struct {
		uint8_t dev, seat;
	} by[MEM_PAGES];
	uint64_t (*copy)[PAGE_WORDS];
	bool blurred;
	char name[40];
};

/**
 * struct slot - a piece of IOVA space and the memory that lies there
 * @mem: page of memory of its first page, or -1
 * @mapped: its pages that are mapped
 * @piece: by which call each was
 */
struct slot {
	int mem;
	uint32_t mapped;
	uint8_t piece[SLOT_PAGES];
};

/* What was found, for the figures */
struct judged {
	unsigned long reads;
	unsigned long blurred;
	unsigned long pages;
	unsigned long reported;
	unsigned long compared;
	unsigned long writes;
	unsigned long written;
};

extern struct writer writers[DEVICES];
extern struct told readers[READERS];
extern struct slot slots[IOASES][SLOTS];
extern uint8_t *memory;
/* Says it, and does not return */
extern void (*oracle_failed)(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

static inline bool page_in(const struct pages *p, unsigned int page)
{
	return p->word[page / 64] >> page % 64 & 1;
}

static inline void page_put(struct pages *p, unsigned int page)
{
	p->word[page / 64] |= 1ULL << page % 64;
}

static inline unsigned int seat_ioas(unsigned int seat)
{
	return seat < IOASES ? seat : (seat - IOASES) % IOASES;
}

/* Offset in its page of the word of a way */
static inline unsigned int word_of(unsigned int dev, unsigned int seat,
				   unsigned int slot)
{
	return (dev * SEATS + seat) * SLOTS + slot;
}

void oracle_init(struct judged *figures);

/* What devices are told to do */
void oracle_submit(unsigned int dev, const struct write *w);
unsigned int oracle_harvest(unsigned int dev);
void oracle_dropped(unsigned int dev);
void oracle_moved(unsigned int dev, unsigned int seat, bool known);
void oracle_rests(unsigned int dev);
bool oracle_in_flight(unsigned int ioas, unsigned int slot);

/* What is mapped */
void oracle_mapped(unsigned int ioas, unsigned int slot, int mem);
void oracle_unmapped(unsigned int ioas, unsigned int slot, uint32_t pages);

/* Readers; who reads holds the lock */
void oracle_start(unsigned int reader);
void oracle_stop(unsigned int reader);
void oracle_blur(unsigned int ioas);
void oracle_stolen(struct told *r, const struct pages *got);
void oracle_before(struct told *r, struct pages *allowed, struct pages *moving);
void oracle_judge(struct told *r, const struct pages *asked,
		  const struct pages *got, const struct pages *allowed,
		  const struct pages *moving, unsigned int shift, bool peek);

#endif
