/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The grammar of ioctls: what their structures are made of
 *
 * Each ioctl is a table of fields, and of each field is known what it stands for: an
 * object of some type, an address, a length. So a call can be made that makes sense,
 * from what there is at this moment, and then one or two of its fields be put wrong.
 * What the kernel writes in return is watched: nothing beside the structure and the
 * buffer that it points to.
 */
#ifndef __FUZZ_GRAMMAR_H
#define __FUZZ_GRAMMAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dsim_user.h"

#define DEVS		5U
#define IOASES		3U
#define HWPTS		(2 * DEVS)
#define LOGS		4U

/* What is mapped, at most: slots of IOVAs for as much memory */
#define WINDOW		0x10000000UL
#define SLOTS		32U
#define SLOT_BYTES	(4 * SZ_4K)
#define MEMORY_BYTES	(SLOTS * SLOT_BYTES)
/* and, where no call that makes sense goes, the rings of the devices */
#define RINGS		0x08000000UL
#define FILE_BYTES	(MEMORY_BYTES + DEVS * RING_BYTES)

#define COMMONS_BYTES	SZ_4K
#define FLUX_BYTES	(16 * SZ_4K)
#define STREAM_BYTES	(64 * 1024)
#define MAPPINGS	4U
#define LAST_CALLS	16U
#define ERRNOS		134U	/* one more than the last */

/*
 * Files have numbers of their own for good: one that another thread closes or puts in
 * the place of another is never taken for something else.
 */
enum {
	FD_IOMMU = 100,
	FD_MEMORY,		/* all that is mapped */
	FD_FLUX,		/* memory whose size changes */
	FD_EVENT,
	FD_DEVICE = 110,
	FD_STREAM = 120,
	FD_SPARE = 130,		/* one for each thread */
	FD_CONFIG = 140,	/* those that are written to, see config_files */
	FD_END = 200,
};

/**
 * enum value - what a field stands for
 * @SIZE: bytes of the structure
 * @IOAS: an object, and so on
 * @PT: an IOAS or an HWPT
 * @OBJECT: any
 * @IOVA: of a slot
 * @LENGTH: of some slots from there on
 * @PAGE_SIZE: of a bitmap
 * @MEMORY: address of memory to map
 * @FILE_AT: the same in FD_MEMORY
 * @BUFFER: address that is written to; see &struct call.mend
 * @BITS: any of these
 * @BELOW: a number
 * @CONST: this one
 */
enum value {
	SIZE, IOAS, HWPT, DEVICE, LOG, PT, OBJECT,
	IOVA, LENGTH, PAGE_SIZE, MEMORY, FILE_AT, BUFFER,
	BITS, BELOW, CONST,
	VALUES,
};

/**
 * struct field - of a structure
 * @value: what it stands for
 * @at: where it is
 * @bytes: of it
 * @arg: of BITS, BELOW and CONST
 */
struct field {
	uint8_t value;
	uint8_t at;
	uint8_t bytes;
	uint64_t arg;
};

struct fuzzer;

/**
 * struct call - a kind of call
 * @name: in the table
 * @weight: how often, beside the others
 * @act: makes it, if it is no ioctl; the result is that of ioctl() or -errno
 * @fd: first of the files that it is for
 * @fds: how many of them there are
 * @cmd: the ioctl
 * @size: of its structure, at most ARG_MAX
 * @fields: of it
 * @nfields: how many
 * @mend: what fields have to do with each other; may be NULL
 * @tame: keeps what is wrong within bounds; may be NULL
 * @buffer: which of @fields is the buffer, if @room
 * @room: bytes that may be written to the buffer, by what the structure says
 * @done: it succeeded, and this is what came back; may be NULL
 */
struct call {
	const char *name;
	unsigned int weight;
	long (*act)(struct fuzzer *f);
	unsigned int fd;
	unsigned int fds;
	unsigned long cmd;
	unsigned int size;
	const struct field *fields;
	unsigned int nfields;
	void (*mend)(struct fuzzer *f, void *arg);
	void (*tame)(void *arg);
	unsigned int buffer;
	uint64_t (*room)(const void *arg);
	void (*done)(struct fuzzer *f, const void *arg);
};

/**
 * struct mapping - of a file, into this process
 * @at: where, NULL: none
 * @bytes: how much
 */
struct mapping {
	void *at;
	size_t bytes;
};

/**
 * struct fuzzer - a thread that makes calls
 * @nr: which
 * @random: what it does is decided by this only
 * @arg: page of the structure, between two that cannot be accessed
 * @out: two pages of the buffer, likewise
 * @dev: what this call is about: a device,
 * @ioas: an IOAS,
 * @slot: slots,
 * @slots: and how many
 * @given: the buffer of this call, or NULL
 * @room: bytes of it
 * @mappings: logs and doorbells
 * @stream: what was read of one
 * @filled: bytes of it
 * @fed: bytes of it that were written since
 */
struct fuzzer {
	unsigned int nr;
	uint64_t random;
	uint8_t *arg;
	uint8_t *out;
	unsigned int dev;
	unsigned int ioas;
	unsigned int slot;
	unsigned int slots;
	uint8_t *given;
	size_t room;
	struct mapping mappings[MAPPINGS];
	uint8_t *stream;
	size_t filled;
	size_t fed;
};

/**
 * struct log_map - what there is to know of a log
 * @offset: for mmap()
 * @bytes: to map
 * @length: bytes that it stands for
 */
struct log_map {
	uint64_t offset;
	uint64_t bytes;
	uint64_t length;
};

/**
 * struct world - what all threads of a life share, and fight for
 *
 * No lock protects it: what is out of date by the time that it is used is one more
 * thing that may be wrong with a call.
 *
 * @ioas: objects, 0: none
 * @hwpt: HWPTs, for each device two of its format
 * @device: devices, once bound
 * @log: logs
 * @log_map: of each of them
 * @dsim: the devices of this life
 * @memory: mapping of FD_MEMORY
 * @commons: structures that another thread changes meanwhile
 * @flux: memory that comes and goes
 * @readonly: memory
 * @nothing: addresses without any
 * @files_only: nothing is mapped by its address
 * @control: bitmaps are one byte longer than they should be, which must be noticed
 */
struct world {
	uint32_t ioas[IOASES];
	uint32_t hwpt[HWPTS];
	uint32_t device[DEVS];
	uint32_t log[LOGS];
	struct log_map log_map[LOGS];
	struct dsim dsim[DEVS];
	uint8_t *memory;
	uint8_t *commons;
	uint8_t *flux;
	uint8_t *readonly;
	uint8_t *nothing;
	bool files_only;
	bool control;
};

extern struct world world;
extern const struct call ioctl_calls[];
extern const unsigned int nr_ioctl_calls;

/* @random: as for rnd() */
static inline unsigned int one_below(uint64_t *random, unsigned int n)
{
	return (rnd(random) >> 20) % n;
}

static inline unsigned int below(struct fuzzer *f, unsigned int n)
{
	return one_below(&f->random, n);
}

/*
 * Where memory may lie: no arithmetic of a wrong argument leads from one place to
 * another. The first 16 are those of fuzzers.
 */
static inline void *fuzz_address(unsigned int nr)
{
	return (void *)(0x200000000000UL + ((uint64_t)nr << 40));
}

void fuzz_init(struct fuzzer *f, unsigned int nr, uint64_t seed);
/* Chooses what the next call is about */
void fuzz_pick(struct fuzzer *f);
/* Makes a call: 0 or more, or -errno */
long fuzz_ioctl(struct fuzzer *f, const struct call *c);
/* Memory that is not what it should be */
void *bad_memory(struct fuzzer *f);
/* A number that is seldom right */
uint64_t edge(struct fuzzer *f);

#endif
