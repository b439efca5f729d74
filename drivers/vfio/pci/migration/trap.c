// SPDX-License-Identifier: GPL-2.0-only
/*
 * Traps: see what is written to mapped registers, for a while
 *
 * Nobody can be told of a store to a page of a BAR that is mapped, and a page that is
 * taken away for good costs who touches it its life.  So while a trap is on, the
 * page is one of memory, a shadow, which reads back what was written, as the
 * registers do that a driver names.  A thread looks at it, and whatever changed is
 * handed to the driver, in the order in which the driver named the registers; that
 * is what the device would have seen, some tens of microseconds later.  While
 * the trap is off, the page is the device's own, and costs nothing.
 *
 * For that the registers have to be of a kind: what is written stays there to be
 * read, writing it once more means nothing, and of several values in a row only the
 * last one counts.  Doorbells that tell a tail are, and where rings lie; those that
 * take an event are not.
 *
 * Nothing is lost when a trap goes on or off.  Both take the page away before they
 * look, so that a store was made before, and is found, or faults, and waits for
 * where it has to go now.  Registers are looked at backwards and handed on forwards:
 * who sees a tail sees the ring that was written before it.
 */
#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "migration.h"

/* How long something written may wait; longer when nothing was for a while */
#define POLL_MIN_US	20
#define POLL_MAX_US	200

static __le32 *word(struct vfio_mig_trap *trap, unsigned int reg)
{
	return trap->shadow + trap->regs[reg].offset;
}

static void put_word(struct vfio_mig_trap *trap, unsigned int reg, u32 value)
{
	WRITE_ONCE(*word(trap, reg), cpu_to_le32(value));
	trap->known[reg] = value;
}

/* The device changed it, unless the user does so at this very moment */
static void refresh(struct vfio_mig_trap *trap, unsigned int reg)
{
	u32 value = trap->ops->read(trap, reg), known = trap->known[reg];

	if (value != known &&
	    cmpxchg(word(trap, reg), cpu_to_le32(known), cpu_to_le32(value)) ==
	    cpu_to_le32(known))
		trap->known[reg] = value;
}

/* Returns true when something had changed */
static bool look(struct vfio_mig_trap *trap)
{
	bool changed = false;
	unsigned int i;

	lockdep_assert_held(&trap->lock);
	if (!trap->on || trap->held)
		return false;

	for (i = trap->nr_regs; i--; ) {
		trap->seen[i] = le32_to_cpu(READ_ONCE(*word(trap, i)));
		/* pairs with the order in which the user wrote them */
		smp_rmb();
	}
	for (i = 0; i != trap->nr_regs; i++) {
		if (trap->seen[i] == trap->known[i])
			continue;
		trap->known[i] = trap->seen[i];
		trap->ops->write(trap, i, trap->seen[i]);
		changed = true;
	}
	for (i = 0; i != trap->nr_regs; i++)
		if (trap->regs[i].live)
			refresh(trap, i);
	return changed;
}

static void zap(struct vfio_mig_trap *trap)
{
	unmap_mapping_range(trap->mig->vdev->inode->i_mapping, trap->start,
			    trap->size, 1);
}

/**
 * vfio_mig_trap_sync() - Hand on what was written so far, in the midst of an access
 * @trap: the trap
 *
 * For a driver's write handler, between vfio_mig_mmio_begin() and vfio_mig_mmio_end():
 * before the write of a register which is not of the trap and needs that order.
 *
 * Context: process; takes @trap's lock.
 */
void vfio_mig_trap_sync(struct vfio_mig_trap *trap)
{
	lockdep_assert_held(trap->mig->mmio_lock);
	guard(mutex)(&trap->lock);
	look(trap);
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_sync);

/**
 * vfio_mig_trap_update() - The device has changed a register by itself
 * @trap: the trap, on or off
 * @reg: index of the register
 * @value: what it has now
 *
 * At once, and not only when a register that is live is looked at: as when another
 * register was written that clears this one.  What was written to it before and not
 * handed on, because the trap is held, is dropped.
 *
 * Context: process; takes @trap's lock.
 */
void vfio_mig_trap_update(struct vfio_mig_trap *trap, unsigned int reg,
			  u32 value)
{
	guard(mutex)(&trap->lock);
	put_word(trap, reg, value);
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_update);

/**
 * vfio_mig_trap_poll() - Hand on what was written so far
 * @trap: the trap
 *
 * What was written before this was called was handed to @ops->write when it returns;
 * unless the trap is held, the device does not run, or its registers do not decode.
 *
 * Context: process; takes the mmio_lock to read.
 *
 * Return: true when something was handed on.
 */
bool vfio_mig_trap_poll(struct vfio_mig_trap *trap)
{
	struct vfio_mig *mig = trap->mig;
	bool changed = false;

	if (vfio_mig_mmio_begin(mig) && mig_decodes(mig)) {
		guard(mutex)(&trap->lock);
		changed = look(trap);
	}
	vfio_mig_mmio_end(mig);
	return changed;
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_poll);

static int poll_thread(void *data)
{
	struct vfio_mig_trap *trap = data;
	unsigned int us = POLL_MIN_US;

	while (!kthread_should_stop()) {
		us = vfio_mig_trap_poll(trap) ? POLL_MIN_US :
						min(us * 2, POLL_MAX_US);
		usleep_range(us, us * 2);
	}
	return 0;
}

/**
 * mig_traps_look() - MMIO was just taken away: see what was written until then
 * @mig: the device; its mmio_lock is held for writing
 */
void mig_traps_look(struct vfio_mig *mig)
{
	struct vfio_mig_trap *trap;

	if (!mig_decodes(mig))
		return;
	list_for_each_entry(trap, &mig->traps, node) {
		guard(mutex)(&trap->lock);
		look(trap);
	}
}

/* ---- On and off ---- */

/* Returns false when nobody would answer; who is kept out is kept out nevertheless */
static bool begin(struct vfio_mig *mig)
{
	if (mig->bus && !mig->bus->begin(mig))
		return true;
	down_write(mig->mmio_lock);
	return !mig->bus;
}

static void end(struct vfio_mig *mig, bool answers)
{
	if (mig->bus && answers)
		mig->bus->end(mig);
	else
		up_write(mig->mmio_lock);
}

static int start(struct vfio_mig_trap *trap)
{
	struct vfio_mig *mig = trap->mig;
	struct task_struct *thread;
	unsigned int i;
	bool answers;

	thread = kthread_create(poll_thread, trap, "vfio-trap/%s",
				dev_name(mig->vdev->dev));
	if (IS_ERR(thread))
		return PTR_ERR(thread);

	answers = begin(mig);
	if (answers) {
		zap(trap);
		guard(mutex)(&trap->lock);
		memset(trap->shadow, 0, trap->size);
		for (i = 0; i != trap->nr_regs; i++)
			put_word(trap, i, trap->ops->read(trap, i));
		trap->held = false;
		trap->on = true;
	}
	end(mig, answers);
	if (!answers) {
		kthread_stop(thread);
		return -EIO;
	}
	trap->thread = thread;
	wake_up_process(thread);
	return 0;
}

static void finish(struct vfio_mig_trap *trap)
{
	struct vfio_mig *mig = trap->mig;
	bool answers = begin(mig);

	zap(trap);
	scoped_guard(mutex, &trap->lock) {
		trap->held = false;
		if (answers)
			look(trap);
		trap->on = false;
	}
	end(mig, answers);
	kthread_stop(trap->thread);
	trap->thread = NULL;
}

/**
 * vfio_mig_trap_on() - See what is written from now on
 * @trap: the trap
 *
 * Counts: it is on until vfio_mig_trap_off() was called as often.  What was written
 * before went to the device; what is written after goes to @ops->write.
 *
 * Context: process; takes the mmio_lock for writing, so neither from
 * vfio_mig_ops.reset nor with that held.
 *
 * Return: 0; -EIO when the device's registers cannot be read; or another errno.
 */
int vfio_mig_trap_on(struct vfio_mig_trap *trap)
{
	int rc = 0;

	guard(mutex)(&trap->switch_lock);
	if (!trap->users)
		rc = start(trap);
	if (!rc)
		trap->users++;
	return rc;
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_on);

/**
 * vfio_mig_trap_off() - No longer
 * @trap: the trap, which is on
 *
 * What was written while it was on, also while it was held, was handed to @ops->write
 * when this returns.
 *
 * Context: as vfio_mig_trap_on().
 */
void vfio_mig_trap_off(struct vfio_mig_trap *trap)
{
	guard(mutex)(&trap->switch_lock);
	/* the device may have been closed meanwhile, and that turns it off */
	if (trap->users && !--trap->users)
		finish(trap);
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_off);

/**
 * mig_traps_off() - Nobody has the device open any more
 * @mig: the device, being closed
 */
void mig_traps_off(struct vfio_mig *mig)
{
	struct vfio_mig_trap *trap;

	list_for_each_entry(trap, &mig->traps, node) {
		guard(mutex)(&trap->switch_lock);
		if (trap->users)
			finish(trap);
		trap->users = 0;
	}
}

/* ---- Hold and replay ---- */

/**
 * vfio_mig_trap_hold() - Keep what is written for later, or hand it on again
 * @trap: the trap, which is on
 * @hold: which
 *
 * A driver's stop_dma and start_dma.  When this has returned, no @ops->write is under
 * way, and none follows before the trap is let go of or turned off.  What is written
 * can be read back meanwhile, and is handed on then.
 *
 * Context: process; takes @trap's lock only.
 */
void vfio_mig_trap_hold(struct vfio_mig_trap *trap, bool hold)
{
	guard(mutex)(&trap->lock);
	trap->held = hold;
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_hold);

/**
 * vfio_mig_trap_value() - What a register was told last
 * @trap: the trap, which is on
 * @reg: its index
 *
 * So that what was held can travel: a device that is stopped has no MMIO, and this
 * does not change any more.
 *
 * Return: the value.
 */
u32 vfio_mig_trap_value(struct vfio_mig_trap *trap, unsigned int reg)
{
	return le32_to_cpu(READ_ONCE(*word(trap, reg)));
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_value);

/**
 * vfio_mig_trap_set() - As if the user had written it
 * @trap: the trap, which is on
 * @reg: index of the register
 * @value: the value
 *
 * For what travelled: it is handed on as soon as the trap is not held.
 */
void vfio_mig_trap_set(struct vfio_mig_trap *trap, unsigned int reg, u32 value)
{
	WRITE_ONCE(*word(trap, reg), cpu_to_le32(value));
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_set);

/**
 * vfio_mig_trap_reset() - The device was reset, and its registers with it
 * @trap: the trap, on or off
 *
 * For a driver's reset op.  What was written and not handed on was to a device that
 * is no more.
 *
 * Context: process; takes @trap's lock only.
 */
void vfio_mig_trap_reset(struct vfio_mig_trap *trap)
{
	unsigned int i;

	guard(mutex)(&trap->lock);
	memset(trap->shadow, 0, trap->size);
	for (i = 0; i != trap->nr_regs; i++)
		put_word(trap, i, trap->regs[i].reset);
	trap->held = false;
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_reset);

/* ---- Where the user's accesses come ---- */

static struct vfio_mig_trap *find(struct vfio_mig *mig, u64 pos)
{
	struct vfio_mig_trap *trap;

	lockdep_assert_held(mig->mmio_lock);
	list_for_each_entry(trap, &mig->traps, node)
		if (trap->on && pos >= trap->start &&
		    pos - trap->start < trap->size)
			return trap;
	return NULL;
}

/**
 * vfio_mig_trap_page() - What to map instead of the device's own page
 * @mig: the device
 * @pos: which page, as an offset in the device's file
 *
 * For a driver's fault handler, between vfio_mig_mmio_begin() and vfio_mig_mmio_end().
 *
 * Return: the page; NULL when the device's own is to be mapped.
 */
struct page *vfio_mig_trap_page(struct vfio_mig *mig, u64 pos)
{
	struct vfio_mig_trap *trap = find(mig, pos);

	return trap ? vmalloc_to_page(trap->shadow + (pos - trap->start)) :
		      NULL;
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_page);

/**
 * vfio_mig_trap_covers() - Is a page one that a trap may take?
 * @mig: the device
 * @pos: the first byte of a range, as an offset in the device's file
 * @size: bytes in it
 *
 * Return: true when a huge page over that range could hide a trap's.
 */
bool vfio_mig_trap_covers(struct vfio_mig *mig, u64 pos, u64 size)
{
	struct vfio_mig_trap *trap;

	list_for_each_entry(trap, &mig->traps, node)
		if (pos < trap->start + trap->size && trap->start < pos + size)
			return true;
	return false;
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_covers);

static bool is_reg(struct vfio_mig_trap *trap, u64 offset)
{
	unsigned int i;

	for (i = 0; i != trap->nr_regs; i++)
		if (trap->regs[i].offset == ALIGN_DOWN(offset, 4))
			return true;
	return false;
}

/**
 * vfio_mig_trap_access() - read() or write() of a register
 * @mig: the device
 * @pos: where, as an offset in the device's file
 * @data: what is written; or room for what is read
 * @size: 1, 2 or 4, of which @pos is a multiple
 * @write: which
 *
 * For a driver's read and write handlers, between vfio_mig_mmio_begin() and
 * vfio_mig_mmio_end(), while the registers decode.  It is made as if through a mapping,
 * and handed on at once.
 *
 * Return: false when it is none of a trap's registers: it is the device's own then.
 */
bool vfio_mig_trap_access(struct vfio_mig *mig, u64 pos, void *data,
			  unsigned int size, bool write)
{
	struct vfio_mig_trap *trap = find(mig, pos);
	void *at;

	if (!trap || !is_reg(trap, pos - trap->start))
		return false;
	guard(mutex)(&trap->lock);
	/* what was stored before comes before */
	look(trap);
	at = trap->shadow + (pos - trap->start);
	if (write) {
		memcpy(at, data, size);
		look(trap);
	} else {
		memcpy(data, at, size);
	}
	return true;
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_access);

/* ---- Life ---- */

static void destroy(struct vfio_mig_trap *trap)
{
	list_del(&trap->node);
	vfree(trap->shadow);
	kfree(trap->known);
	kfree(trap->seen);
}

/**
 * vfio_mig_trap_init() - Make a trap
 * @trap: to be initialised; lives as long as @mig does
 * @mig: the device, after vfio_mig_init() and before it is registered
 * @ops: the driver's
 * @start: first byte, as an offset in the device's file; page aligned
 * @size: bytes, likewise.  All of it is mapped as the shadow: the registers that
 *	  @regs does not name read as zero there, and what is written to them is lost
 * @regs: the registers, in the order in which they are to be handed on
 * @nr_regs: how many
 *
 * vfio_mig_destroy() frees what it has.
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int vfio_mig_trap_init(struct vfio_mig_trap *trap, struct vfio_mig *mig,
		       const struct vfio_mig_trap_ops *ops, u64 start, u32 size,
		       const struct vfio_mig_trap_reg *regs,
		       unsigned int nr_regs)
{
	unsigned int i;

	if (!size || !PAGE_ALIGNED(start) || !PAGE_ALIGNED(size) || !nr_regs)
		return -EINVAL;
	for (i = 0; i != nr_regs; i++)
		if (regs[i].offset % 4 || regs[i].offset >= size)
			return -EINVAL;

	*trap = (struct vfio_mig_trap){
		.mig = mig,
		.ops = ops,
		.start = start,
		.size = size,
		.regs = regs,
		.nr_regs = nr_regs,
		.shadow = vmalloc_user(size),
		.known = kcalloc(nr_regs, sizeof(*trap->known), GFP_KERNEL),
		.seen = kcalloc(nr_regs, sizeof(*trap->seen), GFP_KERNEL),
	};
	mutex_init(&trap->switch_lock);
	mutex_init(&trap->lock);
	list_add_tail(&trap->node, &mig->traps);
	if (!trap->shadow || !trap->known || !trap->seen) {
		destroy(trap);
		return -ENOMEM;
	}
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_mig_trap_init);

/**
 * mig_traps_destroy() - Free what traps have
 * @mig: the device, which nobody has any more
 */
void mig_traps_destroy(struct vfio_mig *mig)
{
	struct vfio_mig_trap *trap, *next;

	list_for_each_entry_safe(trap, next, &mig->traps, node)
		destroy(trap);
}
