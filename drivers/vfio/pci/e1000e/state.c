// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the state of an 82574L is
 *
 * Nearly all of it is in registers that can be read, and written back: a table says
 * which, and which of their bits.  Reserved bits are not saved, and not loaded.
 *
 * What can not be treated so:
 *
 * * IMS has a register to set bits and one to clear them; ICR is cleared when it is
 *   read, and set by ICS: hold.c.
 * * Counters are cleared when they are read, and cannot be set.  They travel as
 *   numbers that are added to what is counted after.
 * * MDIC and EERD have the result of what they were last told to do; a guest may have
 *   been about to read it.  They are told to read the same again.
 * * The transmitter keeps the last context descriptor of each queue (checksum and
 *   segmentation, datasheet 7.2.5) where nobody can read it.  A driver that sends
 *   frames which refer to a context that came with an earlier frame finds another one, or
 *   none, after a migration.  Linux' driver sends the context with each frame.
 * * Half a frame of which the rest was not rung for: the same.
 *
 * What stays behind: the NVM, with the MAC address that the device has after a reset;
 * management by a BMC, which is the host's; the semaphore SWSM, for the same reason;
 * patterns of frames that wake up the system; diagnostic registers of the FIFOs.
 */
#include <kunit/visibility.h>
#include <linux/bitfield.h>
#include <linux/cleanup.h>
#include <linux/iopoll.h>
#include <linux/slab.h>

#include "e1000e.h"

#define STATE_VERSION	1

/* ---- Registers ---- */

/**
 * struct reg_range - registers of the same kind
 * @offset: of the first
 * @stride: from each to the next
 * @nr: how many
 * @mask: bits that are kept
 */
struct reg_range {
	u16 offset;
	u16 stride;
	u16 nr;
	u32 mask;
};

#define ONE(_offset, _mask)	{ _offset, 0, 1, _mask }
#define QUEUES(_offset, _mask)	{ _offset, QUEUE_STRIDE, NR_QUEUES, _mask }
#define ARRAY(_offset, _nr, _mask) { _offset, 4, _nr, _mask }

/* In the order in which they are loaded; a new one changes STATE_VERSION */
static const struct reg_range ranges[] = {
	ONE(PBA, 0x003f003f),			/* before the reset */
	ONE(CTRL, 0x5bfc1b6d),
	ONE(CTRL_EXT, 0xb9de8ffc),
	ONE(FCAL, 0xffffffff),
	ONE(FCAH, 0x0000ffff),
	ONE(FCT, 0x0000ffff),
	ONE(FCTTV, 0x0000ffff),
	ONE(FCRTV, 0x0000ffff),
	ONE(FCRTL, 0x8000fff8),
	ONE(FCRTH, 0x0000fff8),
	ONE(VET, 0x0000ffff),
	ONE(LEDCTL, 0xefefefef),
	ONE(EXTCNF_CTRL, 0x00000020),
	ONE(GCR, 0x0040003f),
	ONE(GCR2, 0x00000001),
	ONE(WUC, 0x0000000b),
	ONE(WUFC, 0x000f00ff),

	ONE(ITR, 0x0000ffff),
	ARRAY(EITR, NR_EITR, 0x0000ffff),
	ONE(EIAC, 0x01f00000),
	ONE(IAM, ICR_CAUSES),
	ONE(IVAR, 0x800fffff),

	ONE(RXCSUM, 0x00003bff),
	ONE(RFCTL, 0x0003ffff),
	ONE(PSRCTL, 0x3f3f3f7f),
	ONE(RDTR, 0x0000ffff),
	ONE(RADV, 0x0000ffff),
	ONE(RSRPD, 0x00000fff),
	ONE(RAID, 0x0000ffff),
	QUEUES(RXDCTL, 0x013f3f3f),
	QUEUES(RDBAL, 0xfffffff0),
	QUEUES(RDBAH, 0xffffffff),
	QUEUES(RDLEN, 0x000fff80),
	QUEUES(RDH, 0x0000ffff),
	QUEUES(RDT, 0x0000ffff),
	ONE(RCTL, 0x7edfbffe),

	ONE(TIPG, 0x3fffffff),
	ONE(AIT, 0x0000ffff),
	ONE(TIDV, 0x0000ffff),
	ONE(TADV, 0x0000ffff),
	QUEUES(TXDCTL, 0xff7f3f3f),
	QUEUES(TARC, 0x7fe007ff),
	QUEUES(TDBAL, 0xfffffff0),
	QUEUES(TDBAH, 0xffffffff),
	QUEUES(TDLEN, 0x000fff80),
	QUEUES(TDH, 0x0000ffff),
	QUEUES(TDT, 0x0000ffff),
	ONE(TCTL, 0x7ffffffa),

	{ RAL, 8, 16, 0xffffffff },
	{ RAH, 8, 16, 0x8003ffff },
	ARRAY(MTA, 128, 0xffffffff),
	ARRAY(VFTA, 128, 0xffffffff),
	ONE(MRQC, 0x001f0003),
	ARRAY(RETA, 32, 0x80808080),
	ARRAY(RSSRK, 10, 0xffffffff),

	ONE(TIMINCA, 0xffffffff),
	ONE(SYSTIML, 0xffffffff),		/* holds SYSTIMH when read */
	ONE(SYSTIMH, 0xffffffff),
	ONE(TSYNCTXCTL, 0x00000010),
	ONE(TSYNCRXCTL, 0x0000001e),
	ONE(RXMTRL, 0xffffffff),
	ONE(RXUDP, 0x0000ffff),
};

/**
 * struct reg - one of all of them
 * @range: it is of
 * @nth: there
 * @index: in struct e1000e_state
 */
struct reg {
	const struct reg_range *range;
	unsigned int nth;
	unsigned int index;
};

static bool more_regs(const struct reg *reg)
{
	return reg->range != ranges + ARRAY_SIZE(ranges);
}

static void next_reg(struct reg *reg)
{
	reg->index++;
	if (++reg->nth == reg->range->nr) {
		reg->nth = 0;
		reg->range++;
	}
}

#define for_each_reg(at) \
	for (*(at) = (struct reg){ ranges }; more_regs(at); next_reg(at))

static u32 offset_of(const struct reg *reg)
{
	return reg->range->offset + reg->nth * reg->range->stride;
}

/**
 * e1000e_saved_offset() - Which register is it that is saved there?
 * @index: in &e1000e_state.regs
 *
 * Return: the offset of the register.
 */
VISIBLE_IF_KUNIT u32 e1000e_saved_offset(unsigned int index)
{
	struct reg reg;

	for_each_reg(&reg)
		if (reg.index == index)
			return offset_of(&reg);
	return U32_MAX;
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_saved_offset);

static int save_regs(struct e1000e *e, u32 *values)
{
	struct reg reg;
	u32 value;
	int held;

	for_each_reg(&reg) {
		if (WARN_ON_ONCE(reg.index == NR_SAVED_REGS))
			return -EINVAL;
		held = e1000e_held_index(offset_of(&reg));
		value = held >= 0 ? e->shadow[held] :
				    e1000e_get(e, offset_of(&reg));
		values[reg.index] = value & reg.range->mask;
	}
	return WARN_ON_ONCE(reg.index != NR_SAVED_REGS) ? -EINVAL : 0;
}

static void load_reg(struct e1000e *e, u32 offset, u32 mask, u32 value)
{
	int held = e1000e_held_index(offset);

	if (held >= 0) {
		e->shadow[held] = value;
		return;
	}
	if (~mask)
		value |= e1000e_get(e, offset) & ~mask;
	e1000e_set(e, offset, value);
}

/* The split of the packet buffer takes effect by a reset, which it survives */
static void load_regs(struct e1000e *e, const u32 *values)
{
	struct reg reg;

	for_each_reg(&reg) {
		load_reg(e, offset_of(&reg), reg.range->mask,
			 values[reg.index]);
		if (offset_of(&reg) == PBA) {
			e1000e_hw_reset(e);
			e1000e_set(e, CTRL, e1000e_get(e, CTRL) |
					    CTRL_GIO_DISABLE);
		}
	}
	e1000e_flush(e);
}

static u32 value_of(const u32 *values, u32 offset)
{
	struct reg reg;

	for_each_reg(&reg)
		if (offset_of(&reg) == offset)
			return values[reg.index];
	return 0;
}

/* The registers of each ring are at the same distance from its first one */
static bool ring_valid(const u32 *values, u32 base)
{
	u32 nr = value_of(values, base + RDLEN - RDBAL) / DESC_SIZE;

	return !nr || (value_of(values, base + RDH - RDBAL) < nr &&
		       value_of(values, base + RDT - RDBAL) < nr);
}

static int check_regs(const u32 *values)
{
	struct reg reg;
	unsigned int q;

	for_each_reg(&reg)
		if (values[reg.index] & ~reg.range->mask)
			return -ERANGE;
	for (q = 0; q != NR_QUEUES; q++)
		if (!ring_valid(values, RDBAL + q * QUEUE_STRIDE) ||
		    !ring_valid(values, TDBAL + q * QUEUE_STRIDE))
			return -ERANGE;
	return 0;
}

/* ---- The rest ---- */

static void save_soft(struct e1000e *e)
{
	u32 mdic;

	/* Of a device that was never told anything it is not ready either */
	read_poll_timeout(e1000e_get, mdic, mdic & MDIC_READY, 10, MDIC_US,
			  false, e, MDIC);
	e->soft.mdic = mdic & (MDIC_REG | MDIC_PHY | MDIC_READY);
	e->soft.eerd = e1000e_get(e, EERD) & (EERD_ADDR | EERD_DONE);
	e->soft.status = e1000e_get(e, STATUS) &
			 (STATUS_LU | STATUS_FD | STATUS_SPEED);
}

static int check_soft(const u32 *values)
{
	const struct e1000e_soft *soft = (const struct e1000e_soft *)values;

	if (soft->ims & ~ICR_CAUSES || soft->icr & ~ICR_CAUSES ||
	    soft->mdic & ~(MDIC_REG | MDIC_PHY | MDIC_READY) ||
	    soft->eerd & ~(EERD_ADDR | EERD_DONE) ||
	    soft->status & ~(STATUS_LU | STATUS_FD | STATUS_SPEED))
		return -ERANGE;
	return 0;
}

/* Whoever waits for the end of what he asked for finds it */
static void load_soft(struct e1000e *e, const struct e1000e_soft *soft)
{
	if (soft->mdic & MDIC_READY)
		e1000e_phy_access(e, MDIC_READ |
				  (soft->mdic & (MDIC_REG | MDIC_PHY)));
	if (soft->eerd & EERD_DONE)
		e1000e_set(e, EERD, (soft->eerd & EERD_ADDR) | EERD_START);
}

static void save_stats(struct e1000e *e)
{
	unsigned int i;
	u64 sum;

	for (i = 0; i != NR_STATS; i++) {
		sum = (u64)e->stats[i] + e1000e_get(e, STATS + i * 4);
		e->stats[i] = min_t(u64, sum, U32_MAX);
	}
}

/* ---- What is in a stream ---- */

enum {
	SECTION_REGS = 1,
	SECTION_PHY = 2,
	SECTION_STATS = 3,
	SECTION_SOFT = 4,
};

static int load_section(struct vfio_mig *mig,
			const struct vfio_mig_section *section)
{
	return vfio_mig_take_words(mig, section, &to_e1000e(mig)->loading);
}

#define WORDS(_type, _member, _check) \
	VFIO_MIG_WORDS(_type, struct e1000e_state, _member, load_section, _check)

static const struct vfio_mig_section_type sections[] = {
	WORDS(SECTION_REGS, regs, check_regs),
	WORDS(SECTION_PHY, phy, e1000e_phy_check),
	WORDS(SECTION_STATS, stats, NULL),
	WORDS(SECTION_SOFT, soft, check_soft),
};

const struct vfio_mig_identity e1000e_identity = {
	.name = "intel-82574l",
	.version = STATE_VERSION,
	.oldest = STATE_VERSION,
	VFIO_MIG_SECTIONS(sections),
};
EXPORT_SYMBOL_IF_KUNIT(e1000e_identity);

/* ---- What the library calls ---- */

static int stop_dma(struct vfio_mig *mig)
{
	return e1000e_hold(to_e1000e(mig));
}

static int start_dma(struct vfio_mig *mig)
{
	struct e1000e *e = to_e1000e(mig);

	e1000e_let_go(e);
	if (e->unread)
		e1000e_learn_later(e);
	return 0;
}

static int stop(struct vfio_mig *mig)
{
	e1000e_mask(to_e1000e(mig));
	return 0;
}

static int run(struct vfio_mig *mig)
{
	e1000e_unmask(to_e1000e(mig));
	return 0;
}

static int read_state(struct e1000e *e, struct e1000e_state *state)
{
	int rc;

	rc = save_regs(e, state->regs);
	if (rc)
		return rc;
	save_soft(e);
	rc = e1000e_phy_save(e, state->phy);
	load_soft(e, &e->soft);
	if (rc)
		return rc;
	save_stats(e);
	memcpy(state->stats, e->stats, sizeof(state->stats));
	state->soft = e->soft;
	return 0;
}

static int save(struct vfio_mig *mig)
{
	struct e1000e_state *state __free(kfree) = kzalloc_obj(*state);

	if (!state)
		return -ENOMEM;
	return read_state(to_e1000e(mig), state) ?:
	       vfio_mig_put_words(mig, state);
}

/* The device is stopped and stays so: what starts it is loaded into @e */
static int load_end(struct vfio_mig *mig)
{
	struct e1000e *e = to_e1000e(mig);
	const struct e1000e_state *state = &e->loading;
	int rc;

	e1000e_track_before(e);
	load_regs(e, state->regs);
	e->unread = true;
	e1000e_track_anew(e);
	e->soft = state->soft;
	save_stats(e);			/* what was counted here is not the guest's */
	memcpy(e->stats, state->stats, sizeof(e->stats));
	rc = e1000e_phy_load(e, state->phy, state->soft.status);
	load_soft(e, &state->soft);
	return rc;
}

/* By the driver's own means, see main.c, or those of PCI; here without the device */
static void reset(struct vfio_mig *mig)
{
	struct e1000e *e = to_e1000e(mig);

	guard(mutex)(&e->pci.lock);
	e1000e_track_lost(e);
	e->held = false;
	e->unread = false;
	memset(&e->soft, 0, sizeof(e->soft));
	memset(e->stats, 0, sizeof(e->stats));
}

const struct vfio_mig_ops e1000e_mig_ops = {
	.stop_dma = stop_dma,
	.start_dma = start_dma,
	.stop = stop,
	.run = run,
	.save = save,
	.load_end = load_end,
	.reset = reset,
};
EXPORT_SYMBOL_IF_KUNIT(e1000e_mig_ops);
