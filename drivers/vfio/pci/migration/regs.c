// SPDX-License-Identifier: GPL-2.0-only
/*
 * Registers that the user never maps: each access to them is the driver's to answer
 *
 * A BAR of such registers is accessed by read and write only, one register of 32 bits
 * after the other.  No lock is held over the access to the user's buffer in between,
 * which may be a mapping of this very device.
 */
#include <kunit/static_stub.h>
#include <linux/export.h>
#include <linux/pci.h>
#include <linux/uaccess.h>

#include "migration.h"

/**
 * vfio_mig_pci_user_begin() - Access registers on the user's behalf
 * @pci: the device
 *
 * As @reg_read and @reg_write are called, for a driver's @before_access.  The registers
 * answer and are nobody else's until vfio_mig_pci_user_end(), which has to follow
 * if this returns true.
 *
 * Context: process; takes the core's memory_lock, which is vfio_mig->mmio_lock, to
 * read, and @pci's lock.
 *
 * Return: false when there is nothing for the user now: the device does not run, or
 * its memory does not decode.
 */
bool vfio_mig_pci_user_begin(struct vfio_mig_pci *pci)
{
	KUNIT_STATIC_STUB_REDIRECT(vfio_mig_pci_user_begin, pci);
	if (vfio_mig_mmio_begin(&pci->mig) &&
	    __vfio_pci_memory_enabled(&pci->core)) {
		mutex_lock(&pci->lock);
		return true;
	}
	vfio_mig_mmio_end(&pci->mig);
	return false;
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_user_begin);

/**
 * vfio_mig_pci_user_end() - Done with that
 * @pci: the device
 */
void vfio_mig_pci_user_end(struct vfio_mig_pci *pci)
{
	KUNIT_STATIC_STUB_REDIRECT(vfio_mig_pci_user_end, pci);
	mutex_unlock(&pci->lock);
	vfio_mig_mmio_end(&pci->mig);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_user_end);

static u32 read_reg(struct vfio_mig_pci *pci, unsigned int bar, u32 offset)
{
	u32 value;

	if (!vfio_mig_pci_user_begin(pci))
		return U32_MAX;
	value = mig_pci_driver(pci)->reg_read(&pci->mig, bar, offset);
	vfio_mig_pci_user_end(pci);
	return value;
}

static void write_reg(struct vfio_mig_pci *pci, unsigned int bar, u32 offset,
		      u32 value)
{
	if (!vfio_mig_pci_user_begin(pci))
		return;
	mig_pci_driver(pci)->reg_write(&pci->mig, bar, offset, value);
	vfio_mig_pci_user_end(pci);
}

static void before_access(struct vfio_mig_pci *pci, unsigned int bar,
			  u32 offset, const u32 *written)
{
	if (mig_pci_driver(pci)->before_access)
		mig_pci_driver(pci)->before_access(&pci->mig, bar, offset,
						   written);
}

static int access_reg(struct vfio_mig_pci *pci, unsigned int bar, u32 offset,
		      char __user *ubuf, bool write)
{
	u32 value;

	if (!write) {
		before_access(pci, bar, offset, NULL);
		value = read_reg(pci, bar, offset);
		return copy_to_user(ubuf, &value, sizeof(value)) ? -EFAULT : 0;
	}
	if (copy_from_user(&value, ubuf, sizeof(value)))
		return -EFAULT;
	before_access(pci, bar, offset, &value);
	write_reg(pci, bar, offset, value);
	return 0;
}

/**
 * mig_pci_access_regs() - read() or write() of a BAR of registers
 * @pci: the device
 * @ubuf: user's buffer
 * @count: bytes, a multiple of four; what lies beyond the BAR is left out
 * @ppos: BAR and offset in it, likewise
 * @write: which
 *
 * Context: process; no lock is held.
 *
 * Return: bytes, dropped ones included; -EINVAL when they are not whole registers or
 * not of the BAR; -EFAULT.
 */
ssize_t mig_pci_access_regs(struct vfio_mig_pci *pci, char __user *ubuf,
			    size_t count, loff_t *ppos, bool write)
{
	unsigned int bar = VFIO_PCI_OFFSET_TO_INDEX(*ppos);
	u64 pos = *ppos & VFIO_PCI_OFFSET_MASK;
	u64 size = pci_resource_len(pci->core.pdev, bar);
	size_t done;
	int rc;

	if (pos >= size || pos % 4 || count % 4)
		return -EINVAL;
	count = min_t(u64, count, size - pos);
	for (done = 0; done != count; done += 4) {
		rc = access_reg(pci, bar, pos + done, ubuf + done, write);
		if (rc)
			return rc;
	}
	*ppos += done;
	return done;
}
