// SPDX-License-Identifier: GPL-2.0-only
/*
 * taking REPEATS GB...: measures, in a test machine, what it costs to read a dirty
 * log of so much IOVA, on an IOAS that maps all of it and whose writers push, so
 * that none is asked. Prints for bench/report-logs, times in ns:
 *
 *	kernel RELEASE
 *	syscall NS		a system call that does nothing
 *	idle GB SYNC NS		IOMMU_DIRTY_LOG_SYNC, and with it a take of all that
 *				finds nothing
 *	take GB DIRTY CACHE NS	a take of all
 *	look GB DIRTY CACHE NS	the same from the bits alone, as from a flat bitmap:
 *				each word is looked at, and exchanged if it is set
 *	exchange GB DIRTY CACHE NS	each word is exchanged
 *	pass GB DIRTY CACHE NS	each word is loaded, and 0 is stored, which is no way
 *				to take it: how fast the memory is
 *	done
 *
 * CACHE is warm after the bits have just been set, cold after other memory was
 * written. What is dirty is set here: where bits came from does not show when they
 * are taken. No time is printed before what was taken was compared with that.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "dsim_user.h"
#include "dirty_log.h"
#include "stopwatch.h"

/* Mapped again and again, so that a large guest needs little memory */
#define MEMORY		(64UL << 20)
#define MAX_GB		1024
/* Larger than the caches of most */
#define OTHER_DATA	(128UL << 20)

/* One page of so many is dirty */
static const size_t every[] = { 10000, 1 };

struct bench {
	size_t gb;
	struct vm vm;
	__u32 log_id;
	struct dirty_log log;
	char *other;
};

/* Asking for the time is a system call, and so is slower than what is timed */
#define BATCH		64

static void must(const struct bench *b, const char *what, int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "error: %zu GB: %s: %s\n", b->gb, what, strerror(-rc));
	exit(1);
}

static void setup(struct bench *b)
{
	struct iommu_dirty_log_alloc alloc = {
		.size = sizeof(alloc),
		.flags = IOMMU_DIRTY_LOG_IOVA,
		.start = DATA_IOVA,
		.length = b->gb << 30,
		.page_size = SZ_4K,
	};
	struct vm *vm = &b->vm;

	must(b, "open iommufd", vm_create(vm));
	must(b, "get memory", vm_alloc_memory(vm, MEMORY, false));
	must(b, "map memory", vm_map_memory(vm));
	for (size_t at = MEMORY; at < b->gb << 30; at += MEMORY)
		must(b, "map memory again",
		     vm_map(vm, DATA_IOVA + at, vm->data, MEMORY, MAP_RW));
	alloc.ioas_id = vm->ioas;
	if (ioctl(vm->iommufd, IOMMU_DIRTY_LOG_ALLOC, &alloc))
		must(b, "allocate a log", -errno);
	b->log_id = alloc.out_log_id;
	must(b, "map the log", dirty_log_map(&b->log, vm->iommufd, &alloc));
}

static void teardown(struct bench *b)
{
	dirty_log_unmap(&b->log);
	must(b, "destroy the log", vm_destroy_object(&b->vm, b->log_id));
	vm_destroy(&b->vm);
}

static void sync_log(struct bench *b)
{
	struct iommu_dirty_log_sync sync = {
		.size = sizeof(sync),
		.log_id = b->log_id,
	};

	if (ioctl(b->vm.iommufd, IOMMU_DIRTY_LOG_SYNC, &sync))
		must(b, "sync", -errno);
	if (sync.out_dirty || sync.out_lost)
		must(b, "what nobody wrote is dirty", -EIO);
}

/* Words that were taken, each from where it was, and no other, give the same sum */
static inline void add_word(void *data, size_t bit, unsigned long word)
{
	unsigned long *sum = data;

	*sum += word * (bit / 64 * 2 + 1);
}

static void take(struct dirty_log *log, unsigned long *sum)
{
	dirty_log_take(log, 0, log->nr, add_word, sum);
}

static void measure_syscall(unsigned int repeats)
{
	while (repeats--) {
		unsigned long long ns = now_ns();

		for (int n = 0; n < BATCH; n++)
			syscall(SYS_getppid);
		printf("syscall %llu\n", (now_ns() - ns) / BATCH);
	}
}

static void measure_idle(struct bench *b, unsigned int repeats)
{
	unsigned long sum = 0;

	while (repeats--) {
		unsigned long long start = now_ns(), synced, end;

		for (int n = 0; n < BATCH; n++)
			sync_log(b);
		synced = now_ns();
		for (int n = 0; n < BATCH; n++) {
			sync_log(b);
			take(&b->log, &sum);
		}
		end = now_ns();
		if (sum)
			must(b, "what nobody wrote was taken", -EIO);
		printf("idle %zu %llu %llu\n", b->gb, (synced - start) / BATCH,
		       (end - synced) / BATCH);
	}
}

/* Make every @step-th page dirty */
static unsigned long make_dirty(struct dirty_log *log, size_t step)
{
	unsigned long sum = 0;

	if (step == 1) {
		memset(log->bits, 0xff, log->nr / 8);
		memset(log->summary, 0xff, log->nr / DIRTY_LOG_LINE / 8);
		for (size_t bit = 0; bit < log->nr; bit += 64)
			add_word(&sum, bit, ~0ULL);
		return sum;
	}
	for (size_t bit = 0; bit < log->nr; bit += step) {
		size_t line = bit / DIRTY_LOG_LINE;

		log->bits[bit / 64] |= 1ULL << bit % 64;
		log->summary[line / 64] |= 1ULL << line % 64;
		add_word(&sum, bit / 64 * 64, 1ULL << bit % 64);
	}
	return sum;
}

static void look(struct dirty_log *log, unsigned long *sum)
{
	for (size_t w = 0; w < log->nr / 64; w++)
		if (__atomic_load_n(&log->bits[w], __ATOMIC_RELAXED))
			add_word(sum, w * 64,
				 __atomic_exchange_n(&log->bits[w], 0,
						     __ATOMIC_SEQ_CST));
}

static void exchange(struct dirty_log *log, unsigned long *sum)
{
	for (size_t w = 0; w < log->nr / 64; w++)
		add_word(sum, w * 64, __atomic_exchange_n(&log->bits[w], 0,
							  __ATOMIC_SEQ_CST));
}

static void pass(struct dirty_log *log, unsigned long *sum)
{
	volatile unsigned long *bits = log->bits;

	for (size_t w = 0; w < log->nr / 64; w++) {
		unsigned long word = bits[w];

		bits[w] = 0;
		add_word(sum, w * 64, word);
	}
}

static const struct way {
	const char *name;
	void (*fn)(struct dirty_log *log, unsigned long *sum);
} ways[] = {
	{ "take", take },
	{ "look", look },
	{ "exchange", exchange },
	{ "pass", pass },
};

static void measure(struct bench *b, const struct way *way, size_t step, bool cold)
{
	unsigned long want = make_dirty(&b->log, step), got = 0;
	unsigned long long ns;

	if (cold)
		memset(b->other, want, OTHER_DATA);
	ns = now_ns();
	way->fn(&b->log, &got);
	ns = now_ns() - ns;
	if (want != got)
		must(b, "other pages were taken than were dirty", -EIO);
	printf("%s %zu %zu %s %llu\n", way->name, b->gb,
	       (b->log.nr + step - 1) / step, cold ? "cold" : "warm", ns);
	/* Only who takes has cleared it */
	memset(b->log.summary, 0, b->log.nr / DIRTY_LOG_LINE / 8);
}

static void measure_all(struct bench *b, unsigned int repeats)
{
	for (size_t e = 0; e < ARRAY_LEN(every); e++)
		for (int cold = 0; cold < 2; cold++)
			for (unsigned int n = 0; n < repeats; n++)
				for (size_t w = 0; w < ARRAY_LEN(ways); w++)
					measure(b, &ways[w], every[e], cold);
}

int main(int argc, char **argv)
{
	int repeats = argc > 2 ? atoi(argv[1]) : 0;
	struct utsname name;

	if (repeats < 1)
		return 2;
	uname(&name);
	printf("kernel %s\n", name.release);
	measure_syscall(10 * repeats);
	for (int s = 2; s < argc; s++) {
		struct bench b = { .gb = atoi(argv[s]) };

		if (b.gb < 1 || b.gb > MAX_GB)
			return 2;
		b.other = malloc(OTHER_DATA);
		if (!b.other)
			must(&b, "get memory", -ENOMEM);
		setup(&b);
		measure_idle(&b, 10 * repeats);
		measure_all(&b, repeats);
		teardown(&b);
		free(b.other);
	}
	printf("done\n");
	return 0;
}
