// SPDX-License-Identifier: GPL-2.0-only
/* Time by the CPU's counter: see stopwatch.h */
#include <stdlib.h>
#include <time.h>

#include "stopwatch.h"

unsigned long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

#ifdef __x86_64__

#include <x86intrin.h>

#define LEARN_NS	50000000ULL

static unsigned long long first_ns, first_tick;
static double ns_per_tick;

/* Neither before what is measured has ended, nor after what follows has begun */
static unsigned long long ticks(void)
{
	unsigned long long now;

	_mm_lfence();
	now = __rdtsc();
	_mm_lfence();
	return now;
}

void stopwatch_init(void)
{
	unsigned long long ns;

	first_ns = now_ns();
	first_tick = ticks();
	do {
		ns = now_ns() - first_ns;
	} while (ns < LEARN_NS);
	ns_per_tick = (double)ns / (ticks() - first_tick);
}

unsigned long long stopwatch_ns(void)
{
	return (ticks() - first_tick) * ns_per_tick;
}

bool stopwatch_right(void)
{
	unsigned long long clock = now_ns() - first_ns, ours = stopwatch_ns();

	return llabs((long long)(clock - ours)) < (long long)clock / 100;
}

#else

void stopwatch_init(void)
{
}

unsigned long long stopwatch_ns(void)
{
	return now_ns();
}

bool stopwatch_right(void)
{
	return true;
}

#endif
