// SPDX-License-Identifier: GPL-2.0-only
/* Time by the CPU's counter: see stopwatch.h */
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
#define TRIES		10

struct moment {
	unsigned long long ns;
	unsigned long long tick;
};

static struct moment first;
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

/* Both clocks at once: of some tries the one in which nobody came in between */
static struct moment both(void)
{
	unsigned long long before, after, ns, least = ~0ULL;
	struct moment best = {};

	for (int i = 0; i < TRIES; i++) {
		before = ticks();
		ns = now_ns();
		after = ticks();
		if (after - before >= least)
			continue;
		least = after - before;
		best = (struct moment){ ns, before + least / 2 };
	}
	return best;
}

void stopwatch_init(void)
{
	struct moment now;

	first = both();
	do {
		now = both();
	} while (now.ns - first.ns < LEARN_NS);
	ns_per_tick = (double)(now.ns - first.ns) / (now.tick - first.tick);
}

unsigned long long stopwatch_ns(void)
{
	return (ticks() - first.tick) * ns_per_tick;
}

bool stopwatch_right(void)
{
	struct moment now = both();
	double clock = now.ns - first.ns;
	double ours = (now.tick - first.tick) * ns_per_tick;

	return ours > clock * 0.99 && ours < clock * 1.01;
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
