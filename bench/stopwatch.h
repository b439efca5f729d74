/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Time by the CPU's counter
 *
 * To ask the kernel for the time is a system call on UML, which takes as long as all of a
 * harvest of what is clean. Where there is no such counter that we know, the kernel is
 * asked all the same.
 */
#ifndef BENCH_STOPWATCH_H
#define BENCH_STOPWATCH_H

#include <stdbool.h>

/* The kernel's clock */
unsigned long long now_ns(void);
/* Learns how quick the counter is, which takes a moment */
void stopwatch_init(void);
/* ns since some time */
unsigned long long stopwatch_ns(void);
/* Since it was made, it went as the kernel's clock did */
bool stopwatch_right(void);

#endif
