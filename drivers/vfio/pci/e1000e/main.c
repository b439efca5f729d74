// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82574L as a vfio device that migrates
 *
 * What is not of this device is the library's.  Its registers are accessed by read and
 * write only, see hold.c, and so is the window to them in I/O space, which
 * would lead around that.  The BAR of MSI-X may be mapped.  The flash is not the
 * user's: it is the card's firmware that lies there, no state.
 */
#include <kunit/visibility.h>
#include <linux/cleanup.h>
#include <linux/module.h>

#include "e1000e.h"

/* ---- The user's accesses ---- */

/* The window in I/O space has two registers: which one it shows, and that one */
static bool is_shown(struct e1000e *e, u32 offset)
{
	return offset == IO_DATA && e->soft.io_addr < REGS_SIZE &&
	       !(e->soft.io_addr & 3);
}

static u32 reg_read(struct vfio_mig *mig, unsigned int bar, u32 offset)
{
	struct e1000e *e = to_e1000e(mig);

	if (bar == VFIO_PCI_BAR0_REGION_INDEX)
		return e1000e_user_read(e, offset);
	if (offset == IO_ADDR)
		return e->soft.io_addr;
	return is_shown(e, offset) ? e1000e_user_read(e, e->soft.io_addr) : 0;
}

static void reg_write(struct vfio_mig *mig, unsigned int bar, u32 offset,
		      u32 value)
{
	struct e1000e *e = to_e1000e(mig);

	if (bar == VFIO_PCI_BAR0_REGION_INDEX)
		e1000e_user_write(e, offset, value);
	else if (offset == IO_ADDR)
		e->soft.io_addr = value;
	else if (is_shown(e, offset))
		e1000e_user_write(e, e->soft.io_addr, value);
}

/* The rings of a state that was loaded are the device's before the user sees it */
static void wait_for_rings(struct e1000e *e)
{
	if (READ_ONCE(e->unread) && !READ_ONCE(e->held)) {
		e1000e_learn_later(e);
		flush_work(&e->learn);
	}
}

/*
 * The tail of a receive ring is about to be written: what it gives the device is
 * looked at before.  No lock is held in between, since user memory is accessed; who
 * changes it meanwhile misleads his own tracking.
 */
static void learn_before(struct e1000e *e, u32 offset, u32 tail)
{
	struct e1000e_slots new;

	offset = e1000e_canonical(offset);
	if (offset != RDT && offset != RDT + QUEUE_STRIDE)
		return;
	if (!vfio_mig_pci_user_begin(&e->pci))
		return;
	new = e1000e_new_slots(e, offset != RDT, e1000e_user_read(e, offset),
			       tail);
	vfio_mig_pci_user_end(&e->pci);
	e1000e_learn(e, &new);
}

static void before_access(struct vfio_mig *mig, unsigned int bar, u32 offset,
			  const u32 *written)
{
	struct e1000e *e = to_e1000e(mig);

	wait_for_rings(e);
	if (bar == VFIO_PCI_BAR2_REGION_INDEX) {
		if (!is_shown(e, offset))
			return;
		offset = READ_ONCE(e->soft.io_addr);
	}
	if (written)
		learn_before(e, offset, *written);
}

/* ---- Life ---- */

/* Not every way to reset a function reaches all of the device, but this one does */
static void renew(struct vfio_mig *mig)
{
	struct e1000e *e = to_e1000e(mig);

	e1000e_track_before(e);
	e1000e_hw_reset(e);
	WRITE_ONCE(e->tracker.open, true);
}

/* If anybody wants to know what it writes, it stops first, and is asked then */
static void closing(struct vfio_mig *mig)
{
	struct e1000e *e = to_e1000e(mig);

	cancel_work_sync(&e->learn);
	/* Whoever gets the lock after finds it closed: there are no registers any more */
	if (vfio_mig_pci_begin(&e->pci)) {
		guard(mutex)(&e->pci.lock);
		e1000e_track_lost(e);
		WRITE_ONCE(e->tracker.open, false);
		return;
	}
	/* If it does not stop, it writes on until it is no bus master any more */
	if (e->tracker.on && !e->held && e1000e_hold(e))
		e1000e_track_lost(e);
	e1000e_track_before(e);
	WRITE_ONCE(e->tracker.open, false);
	vfio_mig_pci_end(&e->pci);
}

/* It forgets its registers while it sleeps, and where its heads were */
static void sleeps(struct vfio_mig *mig)
{
	struct e1000e *e = to_e1000e(mig);

	guard(mutex)(&e->pci.lock);
	e1000e_track_lost(e);
}

static const struct pci_device_id e1000e_ids[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(PCI_VENDOR_ID_INTEL, E1000E_PCI_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, e1000e_ids);

VISIBLE_IF_KUNIT struct vfio_mig_pci_driver e1000e_driver = {
	.pci.name = KBUILD_MODNAME,
	.pci.id_table = e1000e_ids,
	.name = "e1000e-vfio-pci",
	.size = VFIO_MIG_PCI_SIZE(struct e1000e, pci),
	.ops = &e1000e_mig_ops,
	.identity = &e1000e_identity,
	.flags = VFIO_MIG_P2P | VFIO_MIG_EXCLUSIVE,
	.reg_bars = BIT(VFIO_PCI_BAR0_REGION_INDEX) |
		    BIT(VFIO_PCI_BAR2_REGION_INDEX),
	.hidden_bars = BIT(VFIO_PCI_BAR1_REGION_INDEX),
	.init = e1000e_tracker_init,
	.release = e1000e_tracker_destroy,
	.renew = renew,
	.closing = closing,
	.sleeps = sleeps,
	.bound = e1000e_tracker_bound,
	.before_access = before_access,
	.reg_read = reg_read,
	.reg_write = reg_write,
};
EXPORT_SYMBOL_IF_KUNIT(e1000e_driver);
module_vfio_mig_pci_driver(e1000e_driver);

MODULE_DESCRIPTION("Intel 82574L for virtual machines that migrate");
MODULE_LICENSE("GPL");
