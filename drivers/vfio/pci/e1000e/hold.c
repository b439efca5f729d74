// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers as the user sees them, and DMA that is stopped behind his back
 *
 * The 82574L is asked to stop by the enable bits of its transmitter and its
 * receiver and by GIO Master Disable (datasheet, 5.2.5.1), and it does not forget
 * anything over that.  Its user is not to notice: while DMA is stopped, the registers
 * that have those bits, and the tails of the rings, which are its doorbells, are
 * answered from memory.  What was written to them meanwhile is given to the device
 * when DMA starts again, or travels.
 *
 * So all accesses of the user come here, in any state: the BAR is never mapped.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/iopoll.h>

#include "e1000e.h"

/* A frame that is on its way in or out: the guest's own driver waits as long */
#define FRAME_US	10000
/* What is in the rings to be sent; longer only if the link is down or paused */
#define DRAIN_US	100000
/* The datasheet names no limit; Linux' driver takes this one */
#define GIO_US		80000

static void __iomem *reg(struct e1000e *e, u32 offset)
{
	return e->pci.core.barmap[VFIO_PCI_BAR0_REGION_INDEX] + offset;
}

/**
 * e1000e_get() - Read a register of the device
 * @e: the device, with its lock held
 * @offset: of the register
 *
 * Return: the value.
 */
u32 e1000e_get(struct e1000e *e, u32 offset)
{
	KUNIT_STATIC_STUB_REDIRECT(e1000e_get, e, offset);
	return readl(reg(e, offset));
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_get);

/**
 * e1000e_set() - Write a register of the device
 * @e: the device, with its lock held
 * @offset: of the register
 * @value: what to write
 */
void e1000e_set(struct e1000e *e, u32 offset, u32 value)
{
	KUNIT_STATIC_STUB_REDIRECT(e1000e_set, e, offset, value);
	writel(value, reg(e, offset));
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_set);

static const u16 held_offset[NR_HELD] = {
	[HELD_CTRL] = CTRL,
	[HELD_RCTL] = RCTL,
	[HELD_TCTL] = TCTL,
	[HELD_RDT0] = RDT,
	[HELD_RDT1] = RDT + QUEUE_STRIDE,
	[HELD_TDT0] = TDT,
	[HELD_TDT1] = TDT + QUEUE_STRIDE,
};

/**
 * e1000e_held_index() - Is it a register that starts DMA?
 * @offset: of the register
 *
 * Return: its number among those, or -1.
 */
int e1000e_held_index(u32 offset)
{
	unsigned int i;

	for (i = 0; i != NR_HELD; i++)
		if (held_offset[i] == offset)
			return i;
	return -1;
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_held_index);

/**
 * e1000e_canonical() - Some registers are at two places, for older drivers' sake
 * @offset: of the register
 *
 * Return: where it is else, if it matters here.
 */
u32 e1000e_canonical(u32 offset)
{
	switch (offset) {
	case CTRL_ALIAS:
		return CTRL;
	case RDTR_ALIAS:
		return RDTR;
	case RDBAL0_ALIAS:
		return RDBAL;
	case RDBAH0_ALIAS:
		return RDBAH;
	case RDLEN0_ALIAS:
		return RDLEN;
	case RDH0_ALIAS:
		return RDH;
	case RDT0_ALIAS:
		return RDT;
	case TDBAL0_ALIAS:
		return TDBAL;
	case TDBAH0_ALIAS:
		return TDBAH;
	case TDLEN0_ALIAS:
		return TDLEN;
	case TDH0_ALIAS:
		return TDH;
	case TDT0_ALIAS:
		return TDT;
	case TIDV_ALIAS:
		return TIDV;
	default:
		return offset;
	}
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_canonical);

/* ---- Counters ---- */

/* The high half of a counter of 64 bits is read after the low one */
static bool has_high_half(u32 offset)
{
	return offset == GORCL || offset == GOTCL || offset == TORL ||
	       offset == TOTL;
}

/* What was counted here, and what was counted before; both are gone then */
static u32 read_stat(struct e1000e *e, u32 offset)
{
	u32 *before = &e->stats[(offset - STATS) / 4];
	u64 sum = (u64)e1000e_get(e, offset) + *before;

	*before = 0;
	if (has_high_half(offset)) {
		before[1] += upper_32_bits(sum);
		return lower_32_bits(sum);
	}
	return min_t(u64, sum, U32_MAX);
}

/* ---- Accesses of the user ---- */

/**
 * e1000e_user_read() - The user reads a register
 * @e: the device, with its lock held
 * @offset: of the register, in the BAR, a multiple of four
 *
 * Return: what he is to see.
 */
u32 e1000e_user_read(struct e1000e *e, u32 offset)
{
	u32 value;
	int i;

	lockdep_assert_held(&e->pci.lock);
	offset = e1000e_canonical(offset);
	if (offset >= STATS && offset < STATS + NR_STATS * 4)
		return read_stat(e, offset);
	if (!e->held)
		return e1000e_get(e, offset);

	i = e1000e_held_index(offset);
	if (i >= 0)
		return e->shadow[i];
	value = e1000e_get(e, offset);
	if (offset == STATUS && !(e->shadow[HELD_CTRL] & CTRL_GIO_DISABLE))
		value |= STATUS_GIO_ENABLED;
	return value;
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_user_read);

static bool is_rx_tail(unsigned int held)
{
	return held == HELD_RDT0 || held == HELD_RDT1;
}

static void get_shadows(struct e1000e *e)
{
	unsigned int i;

	for (i = 0; i != NR_HELD; i++)
		if (!e->unread || !is_rx_tail(i))
			e->shadow[i] = e1000e_get(e, held_offset[i]);
}

/* The bit that clears itself is not for a shadow; a reset stops DMA by itself */
static void write_held_ctrl(struct e1000e *e, u32 value)
{
	if (value & CTRL_RST) {
		e1000e_hw_reset(e);
		e->unread = false;
		get_shadows(e);
	} else {
		e->shadow[HELD_CTRL] = value & ~CTRL_PHY_RST;
	}
	e1000e_set(e, CTRL, e->shadow[HELD_CTRL] | CTRL_GIO_DISABLE |
			    (value & CTRL_PHY_RST));
}

/**
 * e1000e_user_write() - The user writes a register
 * @e: the device, with its lock held
 * @offset: of the register, in the BAR, a multiple of four
 * @value: what he writes
 */
void e1000e_user_write(struct e1000e *e, u32 offset, u32 value)
{
	int i;

	lockdep_assert_held(&e->pci.lock);
	offset = e1000e_canonical(offset);
	e1000e_track_write(e, offset, value);
	i = e->held ? e1000e_held_index(offset) : -1;
	if (i == HELD_CTRL)
		write_held_ctrl(e, value);
	else if (i >= 0)
		e->shadow[i] = value;
	else
		e1000e_set(e, offset, value);
	e1000e_track_written(e, offset, value);
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_user_write);

/* ---- DMA ---- */

static bool drained(struct e1000e *e)
{
	unsigned int q;

	if (!(e->shadow[HELD_TCTL] & TCTL_EN))
		return true;
	for (q = 0; q != NR_QUEUES; q++)
		if (e1000e_get(e, TDH + q * QUEUE_STRIDE) !=
		    e->shadow[HELD_TDT0 + q])
			return false;
	return true;
}

/*
 * Interrupts that are put off, since there were others a moment ago, are nowhere to be
 * read: make them come, or wait until they did.  The registers count 1024 ns and
 * 256 ns.
 */
static void flush_interrupts(struct e1000e *e)
{
	u32 longest = e1000e_get(e, ITR);
	unsigned int i;

	e1000e_set(e, RDTR, e1000e_get(e, RDTR) | DELAY_FLUSH);
	e1000e_set(e, TIDV, e1000e_get(e, TIDV) | DELAY_FLUSH);
	for (i = 0; i != NR_EITR; i++)
		longest = max(longest, e1000e_get(e, EITR + i * 4));
	fsleep((longest & 0xffff) / 4 + 1);
}

/**
 * e1000e_hold() - Stop DMA
 * @e: the device, with its lock held
 *
 * What cannot be sent in time, because the link is down, say, stays in the ring, and
 * is sent after e1000e_let_go() or from where the state was loaded.
 *
 * Return: 0; -EIO when nobody answers, -EBUSY when the device does not stop.
 */
int e1000e_hold(struct e1000e *e)
{
	u32 status;
	bool done;

	lockdep_assert_held(&e->pci.lock);
	if (e1000e_get(e, STATUS) == U32_MAX)
		return -EIO;
	get_shadows(e);
	e->held = true;

	/* Nothing is rung any more */
	read_poll_timeout(drained, done, done, 50, DRAIN_US, false, e);
	e1000e_set(e, RCTL, e->shadow[HELD_RCTL] & ~RCTL_EN);
	e1000e_set(e, TCTL, e->shadow[HELD_TCTL] & ~TCTL_EN);
	e1000e_flush(e);
	fsleep(FRAME_US);
	flush_interrupts(e);

	e1000e_set(e, CTRL, e->shadow[HELD_CTRL] | CTRL_GIO_DISABLE);
	if (!read_poll_timeout(e1000e_get, status,
			       !(status & STATUS_GIO_ENABLED), 100, GIO_US,
			       false, e, STATUS))
		return 0;
	e1000e_let_go(e);
	return -EBUSY;
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_hold);

/**
 * e1000e_let_go() - Start DMA again
 * @e: the device, with its lock held
 *
 * The tails come before what enables the rings: these may be others' rings than when
 * DMA stopped.  Receive rings that were not read yet are empty until then.
 */
void e1000e_let_go(struct e1000e *e)
{
	static const u8 order[] = {
		HELD_CTRL, HELD_RDT0, HELD_RDT1, HELD_TDT0, HELD_TDT1,
		HELD_RCTL, HELD_TCTL,
	};
	unsigned int i;
	u32 offset, value;

	lockdep_assert_held(&e->pci.lock);
	for (i = 0; i != ARRAY_SIZE(order); i++) {
		offset = held_offset[order[i]];
		value = e->shadow[order[i]];
		if (e->unread && is_rx_tail(order[i]))
			value = e1000e_get(e, offset - RDT + RDH);
		e1000e_set(e, offset, value);
	}
	e1000e_flush(e);
	e->held = false;
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_let_go);

/* ---- Interrupts ---- */

/**
 * e1000e_mask() - No more interrupts; note which there were to be
 * @e: the device, with its lock held
 *
 * ICR is cleared when it is read, and all of it if no cause is enabled: which
 * is the one way to read it that is the same in every mode.
 */
void e1000e_mask(struct e1000e *e)
{
	lockdep_assert_held(&e->pci.lock);
	e->soft.ims = e1000e_get(e, IMS) & ICR_CAUSES;
	e1000e_set(e, IMC, U32_MAX);
	e1000e_flush(e);
	e->soft.icr = e1000e_get(e, ICR) & ICR_CAUSES;
}

/**
 * e1000e_unmask() - Interrupts again, and those that were noted
 * @e: the device, with its lock held
 */
void e1000e_unmask(struct e1000e *e)
{
	lockdep_assert_held(&e->pci.lock);
	e1000e_set(e, ICS, e->soft.icr);
	e1000e_set(e, IMS, e->soft.ims);
	e1000e_flush(e);
}

/* ---- Reset ---- */

/**
 * e1000e_hw_reset() - Reset the device, but for its PHY
 * @e: the device, with its lock held
 *
 * It must be left alone until it has read its NVM.
 */
void e1000e_hw_reset(struct e1000e *e)
{
	lockdep_assert_held(&e->pci.lock);
	e1000e_set(e, IMC, U32_MAX);
	e1000e_set(e, RCTL, 0);
	e1000e_set(e, TCTL, 0);
	e1000e_flush(e);
	e1000e_set(e, CTRL, e1000e_get(e, CTRL) | CTRL_RST);
	fsleep(FRAME_US);
	e1000e_set(e, IMC, U32_MAX);
	e1000e_get(e, ICR);
	e1000e_track_anew(e);
}
