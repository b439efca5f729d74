// SPDX-License-Identifier: GPL-2.0-only
/*
 * No MMIO while the device does not run
 *
 * User space is asked to leave a stopped device alone, and a hostile one does not.
 * So its mappings are taken away with the state in which they were of use, and a
 * page comes back when it is touched in one in which it is again.
 */
#include <linux/cleanup.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/mm.h>

#include "migration.h"

/**
 * mig_mmio_off() - Take MMIO away from user space
 * @mig: the device; its state lock is held
 *
 * When it returns, no access is under way and none follows; and what was written to
 * registers with a trap was handed on, or is held there.
 */
void mig_mmio_off(struct vfio_mig *mig)
{
	if (!mig->revokes_mmio)
		return;
	guard(rwsem_write)(mig->mmio_lock);
	WRITE_ONCE(mig->mmio_off, true);
	/* of all regions: config space is not there to be mapped */
	unmap_mapping_range(mig->vdev->inode->i_mapping, 0, 0, 1);
	mig_traps_look(mig);
}

/**
 * mig_mmio_on() - Give it back
 * @mig: the device; its state lock is held
 *
 * Without the lock: nobody has to be waited for, and a reset may hold it.
 */
void mig_mmio_on(struct vfio_mig *mig)
{
	WRITE_ONCE(mig->mmio_off, false);
}

/**
 * vfio_mig_mmio_begin() - May MMIO be accessed, or a page of it be mapped?
 * @mig: the device
 *
 * For a driver's read, write and fault handlers.  If not, reads give all ones, writes
 * are dropped, and a fault is answered by SIGBUS.  The answer holds until
 * vfio_mig_mmio_end(), which has to follow in either case; so a fault handler puts
 * the page into the page table in between, by vmf_insert_pfn() or the like.
 *
 * Context: process; takes a lock that nests inside mmap_lock, and inside which
 * user memory must not be accessed.
 *
 * Return: true when the device runs, or its driver does not ask for this.
 */
bool vfio_mig_mmio_begin(struct vfio_mig *mig)
{
	down_read(mig->mmio_lock);
	return !READ_ONCE(mig->mmio_off);
}
EXPORT_SYMBOL_GPL(vfio_mig_mmio_begin);

/**
 * vfio_mig_mmio_end() - Done with that
 * @mig: the device
 */
void vfio_mig_mmio_end(struct vfio_mig *mig)
{
	up_read(mig->mmio_lock);
}
EXPORT_SYMBOL_GPL(vfio_mig_mmio_end);
