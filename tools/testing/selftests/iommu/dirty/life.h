/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that works until its time is over, seen from its parent: it goes on, stands
 * still, or dies
 */
#ifndef LIFE_H
#define LIFE_H

#include <stdbool.h>
#include <sys/types.h>

/**
 * struct life_fate - what became of one, in memory that it shares with its parent
 * @failed: something is wrong
 * @why: what
 */
struct life_fate {
	bool failed;
	char why[200];
};

/* For both to see; set before the first one begins */
extern struct life_fate *life_fate;

/**
 * struct life - what is known of one from outside
 * @done: how much it has done; as long as that changes, it goes on
 * @tell: says so to the user, now and then
 * @stuck: what is wrong when it does not
 * @nap_us: how long to wait before looking again
 */
struct life {
	unsigned long (*done)(void);
	void (*tell)(unsigned long long began);
	const char *stuck;
	unsigned int nap_us;
};

/* Ends the process; the first reason stays */
void failed(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

/* Until it ends; false when something is wrong, of which it may have said so itself */
bool life_watch(const struct life *life, pid_t pid, unsigned long long began);

void nap(unsigned int us);

unsigned long from_environment(const char *name, unsigned long otherwise);

#endif
