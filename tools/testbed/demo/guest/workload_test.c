// SPDX-License-Identifier: GPL-2.0
/*
 * Does the load notice?  Runs it against a device in software that can be told
 * to go wrong in the ways that a bad migration makes a real one go wrong.
 * Prints TAP.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "workload.h"

#define NR_HUGE		4u
#define TURNS		60

enum sabotage {
	NONE,
	STALE_HOT,	/* a hot page goes back to what it held before */
	STALE_WORD,	/* one word of a cold page does */
	LOSE_ADD,	/* a descriptor is skipped but completed */
	REPEAT_ADD,	/* a descriptor runs twice */
	LOSE_STATUS,	/* a status word never reaches memory */
	BAD_STATUS,
	LOSE_COUNT,	/* the device forgets one in COMPLETED */
	NR_SABOTAGE,
};

static const char * const names[NR_SABOTAGE] = {
	[NONE] = "sound device: nothing to report",
	[STALE_HOT] = "stale hot page is found",
	[STALE_WORD] = "stale word of a cold page is found",
	[LOSE_ADD] = "lost descriptor is found",
	[REPEAT_ADD] = "repeated descriptor is found",
	[LOSE_STATUS] = "stale status word is found, and ends no wait",
	[BAD_STATUS] = "failed descriptor is found",
	[LOSE_COUNT] = "wrong completion count is found",
};

static struct workload w;
static uint32_t bar[DSIM_BAR_SIZE / 4];
static uint8_t *area;
static volatile enum sabotage wanted;
static volatile bool finish;

static uint32_t reg_get(uint32_t reg)
{
	return __atomic_load_n(&bar[reg / 4], __ATOMIC_SEQ_CST);
}

static void reg_set(uint32_t reg, uint32_t value)
{
	__atomic_store_n(&bar[reg / 4], value, __ATOMIC_SEQ_CST);
}

/* Huge pages lie in reverse for the device, so that mixing them up shows */
static uint64_t bus_address(uint32_t huge)
{
	return 0x100000000ull + (NR_HUGE - 1 - huge) * HUGE_BYTES;
}

static uint64_t *from_bus(uint64_t dma)
{
	uint64_t offset = dma - 0x100000000ull;
	uint32_t huge = NR_HUGE - 1 - offset / HUGE_BYTES;

	return (uint64_t *)(area + huge * HUGE_BYTES + offset % HUGE_BYTES);
}

static void execute(const struct dsim_desc *d)
{
	uint64_t *dst = from_bus(d->dst);

	switch (d->op) {
	case DSIM_OP_COPY:
		memcpy(dst, from_bus(d->src), d->len);
		break;
	case DSIM_OP_FILL:
		for (uint32_t i = 0; i < d->len / 8; i++)
			dst[i] = d->value;
		break;
	case DSIM_OP_SCATTER:
		for (uint32_t i = 0; i < d->count; i++)
			dst[i * (d->stride / 8)] = d->value + i;
		break;
	case DSIM_OP_ADD:
		for (uint32_t i = 0; i < d->count; i++)
			dst[i * (d->stride / 8)] += d->value;
		break;
	}
}

static void step(uint32_t head)
{
	struct dsim_desc *d = (struct dsim_desc *)from_bus(bus_address(0)) +
			      head % RING_ENTRIES;
	bool add = d->op == DSIM_OP_ADD;
	uint32_t status = DSIM_DESC_DONE, count = 1;

	if (wanted == REPEAT_ADD && add)
		execute(d);
	if (wanted != LOSE_ADD || !add)
		execute(d);
	if (wanted == BAD_STATUS)
		status = DSIM_DESC_FAULT;
	if (wanted == LOSE_COUNT)
		count = 0;
	if (wanted != LOSE_STATUS)
		__atomic_store_n(&d->status, status, __ATOMIC_RELEASE);
	/* done once; those about ADD wait for the first one */
	if (add || (wanted != LOSE_ADD && wanted != REPEAT_ADD))
		wanted = NONE;
	reg_set(DSIM_REG_COMPLETED, reg_get(DSIM_REG_COMPLETED) + count);
	reg_set(DSIM_REG_HEAD, head + 1);
}

static void *device(void *unused)
{
	uint32_t head = 0, tail = 0, seen[2] = {};
	static const uint32_t bells[2] = { DSIM_REG_TAIL, DSIM_DOORBELL_TAIL };

	while (!finish) {
		for (int i = 0; i < 2; i++) {
			uint32_t value = reg_get(bells[i]);

			if (value != seen[i] && (int32_t)(value - tail) > 0)
				tail = value;
			seen[i] = value;
		}
		while (head != tail)
			step(head++);
		pause_ms(0);
	}
	return unused;
}

void report(const char *fmt, ...)
{
	va_list args;

	printf("# ");
	va_start(args, fmt);
	vprintf(fmt, args);
	va_end(args);
	putchar('\n');
}

void pause_ms(unsigned int ms)
{
	struct timespec t = { .tv_nsec = ms ? ms * 10000L : 1000 };

	nanosleep(&t, NULL);
}

static bool run(enum sabotage what)
{
	static uint8_t old[PAGE_BYTES];
	uint8_t *hot, *cold;
	struct verdict v;
	pthread_t thread;
	bool ok, right;

	memset(&w, 0, sizeof(w));
	memset(bar, 0, sizeof(bar));
	memset(area, 0, NR_HUGE * HUGE_BYTES);
	w.bar = (uint8_t *)bar;
	w.area = area;
	w.nr_pages = NR_HUGE * HUGE_PAGES;
	w.first_cold = 3 * HUGE_PAGES;
	for (uint32_t i = 0; i < NR_HUGE; i++)
		w.dma[i] = bus_address(i);
	reg_set(DSIM_REG_ID, DSIM_ID);
	reg_set(DSIM_REG_VERSION, DSIM_VERSION);
	wanted = NONE;
	finish = false;
	pthread_create(&thread, NULL, device, NULL);

	ok = workload_start(&w);
	for (int i = 0; i < TURNS; i++) {
		workload_turn(&w, 50, 8);
		pause_ms(10);
		if (i == TURNS / 2) {
			workload_verify(&w, &v);
			ok = ok && v.ok;
			wanted = what;
		}
	}
	workload_verify(&w, &v);
	hot = area + (size_t)FIRST_HOT * PAGE_BYTES;
	cold = area + (size_t)(w.first_cold + 7) * PAGE_BYTES;
	if (what == STALE_HOT) {
		/* as if the copy taken before that write had been kept */
		memcpy(old, hot, PAGE_BYTES);
		while (!memcmp(old, hot, PAGE_BYTES)) {
			workload_turn(&w, 50, 0);
			workload_verify(&w, &v);
		}
		memcpy(hot, old, PAGE_BYTES);
	}
	if (what == STALE_WORD)
		((uint64_t *)cold)[PAGE_WORDS / 2]--;
	workload_verify(&w, &v);
	workload_stop(&w);
	finish = true;
	pthread_join(thread, NULL);

	switch (what) {
	case NONE:
		right = v.ok && w.samples && w.submitted == v.completed;
		break;
	case STALE_HOT:
		right = v.stale == 1 && v.first == FIRST_HOT;
		break;
	case STALE_WORD:
		right = v.stale == 1 && v.first == w.first_cold + 7;
		break;
	case LOSE_ADD:
	case REPEAT_ADD:
		right = v.stale >= 1 && v.first < FIRST_HOT;
		break;
	case LOSE_STATUS:
		right = w.lost_status == 1 && !v.stale;
		break;
	case BAD_STATUS:
		right = w.errors == 1 && !v.stale;
		break;
	default:
		right = v.completed + 1 == v.submitted && !v.stale;
	}
	return ok && right && v.ok == (what == NONE);
}

int main(void)
{
	int failed = 0;

	area = aligned_alloc(HUGE_BYTES, NR_HUGE * HUGE_BYTES);
	if (!area)
		return 2;
	printf("1..%d\n", NR_SABOTAGE);
	for (int i = 0; i < NR_SABOTAGE; i++) {
		bool ok = run(i);

		failed += !ok;
		printf("%sok %d - %s\n", ok ? "" : "not ", i + 1, names[i]);
	}
	return failed ? 1 : 0;
}
