/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A process that works until its time is over, seen from its parent: it goes on, stands
 * still, or dies
 */
#ifndef LIFE_H
#define LIFE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/**
 * struct life - what is known of one from outside
 * @done: how much it has done; as long as that changes, it goes on
 * @tell: says so to the user, now and then
 * @stuck: what is wrong when it does not
 * @nap_us: how long to wait before looking again
 * @failed: something is wrong; it may have said so itself
 * @why: what
 * @why_size: room for that
 */
struct life {
	unsigned long (*done)(void);
	void (*tell)(unsigned long long began);
	const char *stuck;
	unsigned int nap_us;
	bool *failed;
	char *why;
	size_t why_size;
};

/* Until it ends; false when something is wrong */
bool life_watch(const struct life *life, pid_t pid, unsigned long long began);

void nap(unsigned int us);

#endif
