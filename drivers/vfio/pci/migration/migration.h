/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Migration library: what the parts share
 *
 *   state.c      the states of a device and the ways between them; reset
 *   file.c       data files: what user space reads and writes, precopy
 *   stream.c     the bytes in them; also compiles for user space
 *   compat.c     asking beforehand, in sysfs
 *   mmio.c       no MMIO while the device does not run
 *   trap.c       seeing what is written to registers that are mapped
 *   pci.c        all of this for a variant driver of vfio-pci; a module of its own
 */
#ifndef _VFIO_MIGRATION_H
#define _VFIO_MIGRATION_H

#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/vfio_pci_migration.h>
#include <linux/xarray.h>

#include "stream.h"

/**
 * struct vfio_mig_file - one transfer, in one direction
 * @mig: the device
 * @file: what user space has open
 * @driver: the driver's module
 * @saving: it is read; else it is written
 * @writer: of the stream that is saved; under vfio_mig->state_lock
 * @filled: bytes that the driver put, part of which may have to be dropped; under
 *	    vfio_mig->state_lock
 * @put_error: why some of them are missing; likewise
 * @parser: of the stream that is loaded; likewise
 * @section: the section that it is in, likewise
 * @payload: the bytes of @section, likewise
 * @lock: protects everything below; nests inside vfio_mig->state_lock, and is
 *	  held for moments only, never over an access to user memory
 * @ended: the transfer is over; nothing is read or written any more
 * @whole: all that there ever will be is ready
 * @ready: bytes of the stream that may be read
 * @taken: bytes of it that were read
 * @initial_end: where in the stream precopy's initial data end
 * @pages: the stream from @taken on, by page.  A reader takes a reference on a
 *	   page under @lock and copies from it without; bytes that are ready do
 *	   not change.
 *
 * The device holds a reference on @file while the transfer goes on; @file holds one
 * on the device, and one on the driver's module, until it is released.
 */
struct vfio_mig_file {
	struct vfio_mig *mig;
	struct file *file;
	struct module *driver;
	bool saving;

	struct mig_writer writer;
	u64 filled;
	int put_error;
	struct mig_parser parser;
	struct vfio_mig_section section;
	void *payload;

	struct mutex lock;
	bool ended;
	bool whole;
	u64 ready;
	u64 taken;
	u64 initial_end;
	struct xarray pages;
};

/* state.c */
int mig_call(struct vfio_mig *mig, int (*op)(struct vfio_mig *mig));
void mig_lock(struct vfio_mig *mig);
void mig_unlock(struct vfio_mig *mig);

/* file.c */
const struct vfio_mig_section_type *
mig_section_type(const struct vfio_mig_identity *id, u32 type);
int mig_load_section(struct vfio_mig *mig,
		     const struct vfio_mig_section *section);
int mig_file_open(struct vfio_mig *mig, bool saving);
void mig_file_end(struct vfio_mig *mig);
void mig_file_begin_precopy(struct vfio_mig *mig);
int mig_file_save(struct vfio_mig *mig);
int mig_file_load(struct vfio_mig *mig);

/* mmio.c */
void mig_mmio_off(struct vfio_mig *mig);
void mig_mmio_on(struct vfio_mig *mig);

/* Of CONFIG_VFIO_MIGRATION_PCI: regs.c */
ssize_t mig_pci_access_regs(struct vfio_mig_pci *pci, char __user *ubuf,
			    size_t count, loff_t *ppos, bool write);

/* pci.c */
#if IS_ENABLED(CONFIG_KUNIT)
extern const struct vfio_device_ops mig_pci_device_ops;
#endif

static inline const struct vfio_mig_pci_driver *
mig_pci_driver(struct vfio_mig_pci *pci)
{
	return container_of(pci->core.vdev.ops, struct vfio_mig_pci_driver,
			    vfio);
}

static inline bool mig_decodes(struct vfio_mig *mig)
{
	return !mig->bus || mig->bus->decodes(mig);
}

/* trap.c */
void mig_traps_look(struct vfio_mig *mig);
void mig_traps_off(struct vfio_mig *mig);
void mig_traps_destroy(struct vfio_mig *mig);

/* compat.c */
int mig_compatible(const struct vfio_mig_identity *id, const char *string);

#endif
