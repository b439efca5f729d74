/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An 82574L that is nothing but memory, for KUnit tests of its driver
 */
#ifndef _E1000E_VFIO_FAKE_H
#define _E1000E_VFIO_FAKE_H

#include <kunit/test.h>
#include <linux/fs.h>

#include "e1000e.h"

#define FAKE_WORDS	(REGS_USED / 4)
#define FAKE_TRACE	4096
/* Memory that it can reach, at this address */
#define FAKE_IOVA	0x100000000ULL
#define FAKE_MEMORY	0x40000

/**
 * struct fake - a device
 * @e: what the driver makes of it; first, so that either can be told from the other
 * @regs: the registers
 * @phy: registers of the PHY, by page and number
 * @stuck: it does not send
 * @busy: it goes on being a master
 * @writes: how many there were, of any register
 * @trace: which registers were written, in this order
 * @reads: how many there were
 * @read: which registers were read, in this order
 * @mem: what is at %FAKE_IOVA
 * @later: the driver wants to learn its rings, by e1000e_learn_rings()
 * @locked: memory was read with a lock held
 */
struct fake {
	struct e1000e e;
	u32 regs[FAKE_WORDS];
	u16 phy[8][32];
	bool stuck;
	bool busy;
	unsigned int writes;
	u32 trace[FAKE_TRACE];
	unsigned int reads;
	u32 read[FAKE_TRACE];
	u8 *mem;
	bool later;
	bool locked;
};

static inline u32 *fake_reg(struct fake *f, u32 offset)
{
	return &f->regs[offset / 4];
}

struct fake *fake_make(struct kunit *test);
int fake_nth(const u32 *trace, unsigned int nr, u32 offset);
struct file *fake_set_state(struct fake *f, u32 state);
void fake_done(struct file *file);

#endif
