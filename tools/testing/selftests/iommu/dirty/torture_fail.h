/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every ioctl of this program with every failure in it
 *
 * Once it is on, ioctl() is tried with the first thing in the kernel that may fail
 * failing, an allocation or a copy from or to user space, then with the second, until
 * nothing is left that could. One that fails must have done nothing, so it is just
 * called again. One that succeeds though something failed is done; what comes behind
 * that is for the next one of its kind, which begins there.
 */
#ifndef __TORTURE_FAIL_H
#define __TORTURE_FAIL_H

#include <stdbool.h>

#define FAIL_KINDS	40U

/**
 * struct fail_figures - of one ioctl
 * @cmd: which
 * @calls: by the program
 * @injected: failures
 * @borne: of these, that the call succeeded in spite of
 * @highest: which was the last thing that was ever made to fail
 * @next: what the next call begins with
 */
struct fail_figures {
	unsigned long cmd;
	unsigned long calls;
	unsigned long injected;
	unsigned long borne;
	unsigned int highest;
	unsigned int next;
};

/* @figures has FAIL_KINDS entries. False when the kernel cannot do it. */
bool fail_init(struct fail_figures *figures);
/* For this thread, from now on */
void fail_begin(void);
void fail_end(void);
/* Whether the last ioctl() failed at least once because of it */
bool fail_retried(void);
const char *fail_name(unsigned long cmd);

#endif
