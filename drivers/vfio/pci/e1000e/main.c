// SPDX-License-Identifier: GPL-2.0-only
/*
 * Intel 82574L as a vfio device that migrates
 *
 * What is not of this device is the library's.  Its registers are accessed by read and
 * write only, see hold.c, and so is the window to them in I/O space, which
 * would lead around that.  The BAR of MSI-X may be mapped.  The flash is not the
 * user's: it is the card's firmware that lies there, no state.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/cleanup.h>
#include <linux/module.h>
#include <linux/pm_runtime.h>
#include <linux/uaccess.h>

#include "e1000e.h"

static struct e1000e *to_e1000e(struct vfio_device *vdev)
{
	return container_of(vdev, struct e1000e, pci.core.vdev);
}

/**
 * e1000e_begin() - We are about to access registers
 * @e: the device
 *
 * Nobody else does until e1000e_end().
 *
 * Return: 0 or an errno.
 */
int e1000e_begin(struct e1000e *e)
{
	int rc;

	KUNIT_STATIC_STUB_REDIRECT(e1000e_begin, e);
	rc = vfio_mig_pci_begin(&e->pci);
	if (!rc)
		mutex_lock(&e->lock);
	return rc;
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_begin);

/**
 * e1000e_end() - We are done
 * @e: the device
 */
void e1000e_end(struct e1000e *e)
{
	KUNIT_STATIC_STUB_REDIRECT(e1000e_end, e);
	mutex_unlock(&e->lock);
	vfio_mig_pci_end(&e->pci);
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_end);

/* ---- The user's accesses ---- */

/* In I/O space there are two registers: which one, and that one */
static void access_window(struct e1000e *e, u32 offset, u32 *value, bool write)
{
	bool there = e->soft.io_addr < REGS_SIZE && !(e->soft.io_addr & 3);

	if (offset == IO_ADDR && write)
		e->soft.io_addr = *value;
	else if (offset == IO_ADDR)
		*value = e->soft.io_addr;
	else if (offset != IO_DATA || !there)
		*value = 0;
	else if (write)
		e1000e_user_write(e, e->soft.io_addr, *value);
	else
		*value = e1000e_user_read(e, e->soft.io_addr);
}

static void access_reg(struct e1000e *e, unsigned int bar, u32 offset,
		       u32 *value, bool write)
{
	if (!write)
		*value = U32_MAX;
	if (vfio_mig_mmio_begin(&e->pci.mig) &&
	    __vfio_pci_memory_enabled(&e->pci.core)) {
		guard(mutex)(&e->lock);
		if (bar == VFIO_PCI_BAR2_REGION_INDEX)
			access_window(e, offset, value, write);
		else if (write)
			e1000e_user_write(e, offset, *value);
		else
			*value = e1000e_user_read(e, offset);
	}
	vfio_mig_mmio_end(&e->pci.mig);
}

/*
 * The tail of a receive ring is about to be written: what it gives the device is
 * looked at before.  No lock is held in between, since user memory is accessed; who
 * changes it meanwhile misleads his own tracking.
 */
static void learn_before(struct e1000e *e, unsigned int bar, u32 offset,
			 u32 tail)
{
	struct e1000e_slots new = {};
	unsigned int q;

	if (bar == VFIO_PCI_BAR2_REGION_INDEX)
		offset = READ_ONCE(e->soft.io_addr);
	offset = e1000e_canonical(offset);
	if (offset != RDT && offset != RDT + QUEUE_STRIDE)
		return;
	q = offset != RDT;
	if (vfio_mig_mmio_begin(&e->pci.mig) &&
	    __vfio_pci_memory_enabled(&e->pci.core)) {
		guard(mutex)(&e->lock);
		new = e1000e_new_slots(e, q, e1000e_user_read(e, offset), tail);
	}
	vfio_mig_mmio_end(&e->pci.mig);
	e1000e_learn(e, &new);
}

/* The rings of a state that was loaded are the device's before the user sees it */
static void wait_for_rings(struct e1000e *e)
{
	if (READ_ONCE(e->unread) && !READ_ONCE(e->held)) {
		e1000e_learn_later(e);
		flush_work(&e->learn);
	}
}

/* Registers are of 32 bits, and undefined otherwise */
static ssize_t access_regs(struct e1000e *e, char __user *buf, size_t count,
			   loff_t *ppos, bool write)
{
	unsigned int bar = VFIO_PCI_OFFSET_TO_INDEX(*ppos);
	u64 pos = *ppos & VFIO_PCI_OFFSET_MASK;
	u64 size = pci_resource_len(e->pci.core.pdev, bar);
	size_t done;
	u32 value;

	if (pos >= size || pos % 4 || count % 4)
		return -EINVAL;
	count = min_t(u64, count, size - pos);
	wait_for_rings(e);
	for (done = 0; done != count; done += 4) {
		if (write && copy_from_user(&value, buf + done, 4))
			return -EFAULT;
		if (write)
			learn_before(e, bar, pos + done, value);
		access_reg(e, bar, pos + done, &value, write);
		if (!write && copy_to_user(buf + done, &value, 4))
			return -EFAULT;
	}
	*ppos += done;
	return done;
}

/* The serial number is the MAC address of the card: a guest that moves has none */
static ssize_t read_config(struct e1000e *e, char __user *buf, size_t count,
			   loff_t *ppos)
{
	u16 dsn = pci_find_ext_capability(e->pci.core.pdev, PCI_EXT_CAP_ID_DSN);
	loff_t pos = *ppos & VFIO_PCI_OFFSET_MASK, at;
	size_t offset, length;
	ssize_t done;

	done = vfio_mig_pci_read(&e->pci.core.vdev, buf, count, ppos);
	if (done > 0 && dsn &&
	    vfio_pci_core_range_intersect_range(pos, done, dsn + 4, 8, &at,
						&length, &offset) &&
	    clear_user(buf + at, length))
		return -EFAULT;
	return done;
}

static ssize_t e1000e_read(struct vfio_device *vdev, char __user *buf,
			   size_t count, loff_t *ppos)
{
	switch (VFIO_PCI_OFFSET_TO_INDEX(*ppos)) {
	case VFIO_PCI_BAR0_REGION_INDEX:
	case VFIO_PCI_BAR2_REGION_INDEX:
		return access_regs(to_e1000e(vdev), buf, count, ppos, false);
	case VFIO_PCI_BAR1_REGION_INDEX:
		return -EINVAL;
	case VFIO_PCI_CONFIG_REGION_INDEX:
		return read_config(to_e1000e(vdev), buf, count, ppos);
	}
	return vfio_mig_pci_read(vdev, buf, count, ppos);
}

static ssize_t e1000e_write(struct vfio_device *vdev, const char __user *buf,
			    size_t count, loff_t *ppos)
{
	switch (VFIO_PCI_OFFSET_TO_INDEX(*ppos)) {
	case VFIO_PCI_BAR0_REGION_INDEX:
	case VFIO_PCI_BAR2_REGION_INDEX:
		return access_regs(to_e1000e(vdev), (char __user *)buf, count,
				   ppos, true);
	case VFIO_PCI_BAR1_REGION_INDEX:
		return -EINVAL;
	}
	return vfio_mig_pci_write(vdev, buf, count, ppos);
}

static int e1000e_get_region_info(struct vfio_device *vdev,
				  struct vfio_region_info *info,
				  struct vfio_info_cap *caps)
{
	int rc;

	rc = vfio_pci_ioctl_get_region_info(vdev, info, caps);
	if (!rc && info->index == VFIO_PCI_BAR1_REGION_INDEX) {
		info->size = 0;
		info->flags = 0;
	}
	return rc;
}

/* ---- Life ---- */

static int e1000e_reset(struct e1000e *e)
{
	int rc;

	rc = e1000e_begin(e);
	if (rc)
		return rc;
	e1000e_track_before(e);
	e1000e_hw_reset(e);
	e1000e_track_heads(e);
	e1000e_end(e);
	return 0;
}

/* Not every way to reset a function reaches all of the device, but this one does */
static long e1000e_ioctl(struct vfio_device *vdev, unsigned int cmd,
			 unsigned long arg)
{
	long rc;

	rc = vfio_mig_pci_ioctl(vdev, cmd, arg);
	if (cmd == VFIO_DEVICE_RESET && !rc)
		rc = e1000e_reset(to_e1000e(vdev));
	return rc;
}

static int e1000e_open_device(struct vfio_device *vdev)
{
	struct e1000e *e = to_e1000e(vdev);
	int rc;

	rc = vfio_mig_pci_open_device(vdev);
	if (rc)
		return rc;
	e->pci.core.bar_mmap_supported[VFIO_PCI_BAR0_REGION_INDEX] = false;
	e->pci.core.bar_mmap_supported[VFIO_PCI_BAR1_REGION_INDEX] = false;
	rc = e1000e_reset(e);
	if (rc)
		vfio_mig_pci_close_device(vdev);
	else
		WRITE_ONCE(e->tracker.open, true);
	return rc;
}

/* If anybody wants to know what it writes, it stops first, and is asked then */
static void e1000e_close_device(struct vfio_device *vdev)
{
	struct e1000e *e = to_e1000e(vdev);

	cancel_work_sync(&e->learn);
	if (!e1000e_begin(e)) {
		if (e->tracker.on && !e->held)
			e1000e_hold(e);
		e1000e_track_before(e);
		e1000e_end(e);
	}
	WRITE_ONCE(e->tracker.open, false);
	vfio_mig_pci_close_device(vdev);
}

static int e1000e_init(struct vfio_device *vdev)
{
	struct e1000e *e = to_e1000e(vdev);

	mutex_init(&e->lock);
	INIT_WORK(&e->learn, e1000e_learn_rings);
	xa_init(&e->tracker.log);
	return vfio_mig_pci_init(to_vfio_mig_pci(vdev), &e1000e_mig_ops,
				 &e1000e_identity, VFIO_MIG_P2P);
}

static void e1000e_release(struct vfio_device *vdev)
{
	e1000e_tracker_destroy(&to_e1000e(vdev)->tracker);
	vfio_pci_core_release_dev(vdev);
}

static const struct vfio_device_ops e1000e_ops = {
	.name = "e1000e-vfio-pci",
	.init = e1000e_init,
	.release = e1000e_release,
	.open_device = e1000e_open_device,
	.close_device = e1000e_close_device,
	.read = e1000e_read,
	.write = e1000e_write,
	.ioctl = e1000e_ioctl,
	.get_region_info_caps = e1000e_get_region_info,
	.mmap = vfio_mig_pci_mmap,
	.device_feature = vfio_pci_core_ioctl_feature,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
	.match_token_uuid = vfio_pci_core_match_token_uuid,
	.bind_iommufd = e1000e_bind_iommufd,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
};

static int e1000e_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct e1000e *e;

	e = vfio_alloc_device(e1000e, pci.core.vdev, &pdev->dev, &e1000e_ops);
	return IS_ERR(e) ? PTR_ERR(e) : vfio_mig_pci_register(&e->pci);
}

static const struct pci_device_id e1000e_ids[] = {
	{ PCI_DRIVER_OVERRIDE_DEVICE_VFIO(PCI_VENDOR_ID_INTEL, E1000E_PCI_DEVICE) },
	{}
};
MODULE_DEVICE_TABLE(pci, e1000e_ids);

static struct pci_driver e1000e_driver = {
	.name = KBUILD_MODNAME,
	.id_table = e1000e_ids,
	.probe = e1000e_probe,
	.remove = vfio_mig_pci_remove,
	.err_handler = &vfio_mig_pci_err_handlers,
	.driver_managed_dma = true,
};
module_pci_driver(e1000e_driver);

MODULE_DESCRIPTION("Intel 82574L for virtual machines that migrate");
MODULE_LICENSE("GPL");
