// SPDX-License-Identifier: GPL-2.0-only
/* Measuring while nobody else uses the core: see quiet.h */
#include "quiet.h"
#include "stopwatch.h"

/* How long to wait for the core, and how long to try again */
#define WAIT_NS		200000000ULL
#define TRY_NS		1000000000ULL
/* Some 10 us; more would be disturbed by what does not matter */
#define ROUNDS		8000

unsigned int attempts_disturbed, attempts;

/* Much that does not wait for each other, so that who shares the core is in the way */
static unsigned long long some_work(void)
{
	unsigned long long a = 1, b = 3, c = 5, d = 7, e = 9, f = 11, ns = stopwatch_ns();

	for (unsigned int i = 0; i < ROUNDS; i++) {
		a += i ^ b;
		b += a >> 3;
		c += i ^ 5;
		d ^= c + i;
		e += d | i;
		f ^= e;
		asm volatile("" : "+r" (a), "+r" (b), "+r" (c), "+r" (d), "+r" (e), "+r" (f));
	}
	return stopwatch_ns() - ns;
}

/* It takes as long as it ever took */
static bool core_is_ours(void)
{
	static unsigned long long best = -1ULL;
	unsigned long long ns = some_work();

	if (ns < best)
		best = ns;
	return ns <= best + best / 10;
}

void attempt_begin(struct attempt *try)
{
	unsigned long long now = stopwatch_ns();

	if (!try->since)
		try->since = now;
	while (!core_is_ours() && stopwatch_ns() - now < WAIT_NS)
		;
}

bool attempt_again(struct attempt *try)
{
	bool disturbed = !core_is_ours();

	if (disturbed && stopwatch_ns() - try->since < TRY_NS)
		return true;
	attempts++;
	attempts_disturbed += disturbed;
	return false;
}
