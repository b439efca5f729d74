/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Measuring while nobody else uses the core
 *
 * Who has a CPU of a host may have one of two threads of a core, and whoever has the other
 * makes all take up to twice as long, for some 10 ms here and there. What was measured
 * meanwhile is measured again, for a while.
 *
 *	struct attempt try = {};
 *
 *	do {
 *		prepare();
 *		attempt_begin(&try);
 *		ns = measure();
 *	} while (attempt_again(&try));
 */
#ifndef BENCH_QUIET_H
#define BENCH_QUIET_H

#include <stdbool.h>

struct attempt {
	unsigned long long since;
};

/* Waits for the core, for a moment */
void attempt_begin(struct attempt *try);
/* Somebody used the core meanwhile, and there is time to try again */
bool attempt_again(struct attempt *try);

/* How often there was no time for that, of how many */
extern unsigned int attempts_disturbed, attempts;

#endif
