// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated device as a vfio device: what user space opens
 */
#include <linux/bitmap.h>
#include <linux/eventfd.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>

#include "dsim.h"

/* Larger accesses are cut; nothing needs them */
#define RW_CHUNK	64

static struct dsim_device *to_dsim(struct vfio_device *vdev)
{
	return container_of(vdev, struct dsim_device, vdev);
}

/* ---- Life ---- */

static void dsim_release(struct vfio_device *vdev)
{
	struct dsim_device *ddev = to_dsim(vdev);

	vfio_mig_destroy(&ddev->mig);
	dsim_tracker_destroy(ddev);
	dsim_emulated_destroy(ddev);
	kfree(ddev->bounce);
	vfree(ddev->doorbell_page);
	vfree(ddev->mem);
	bitmap_free(ddev->mem_changed);
}

static int dsim_init(struct vfio_device *vdev)
{
	struct dsim_device *ddev = to_dsim(vdev);
	int rc = -ENOMEM;

	ddev->port = dsim_port_of(vdev->dev);
	mutex_init(&ddev->lock);
	init_waitqueue_head(&ddev->wait);
	dsim_tracker_init(ddev);
	ddev->bounce = kmalloc(PAGE_SIZE, GFP_KERNEL);
	ddev->doorbell_page = vmalloc_user(PAGE_SIZE);
	if (!ddev->bounce || !ddev->doorbell_page)
		goto err_free;
	rc = dsim_emulated_init(ddev);
	if (rc)
		goto err_free;
	rc = -ENOMEM;
	ddev->mem_pages = ddev->port->options.mem_pages;
	if (ddev->mem_pages) {
		ddev->mem = vzalloc((size_t)ddev->mem_pages * DSIM_MEM_PAGE);
		ddev->mem_changed = bitmap_zalloc(ddev->mem_pages, GFP_KERNEL);
		if (!ddev->mem || !ddev->mem_changed)
			goto err_free;
	}
	rc = dsim_migration_init(ddev);
	if (rc)
		goto err_free;
	vfio_mig_reset(&ddev->mig);
	return 0;

err_free:
	dsim_release(vdev);
	return rc;
}

static int dsim_open_device(struct vfio_device *vdev)
{
	struct dsim_device *ddev = to_dsim(vdev);

	ddev->doorbell_mapped = false;
	ddev->trapped = false;
	vfio_mig_reset(&ddev->mig);
	return dsim_engine_start(ddev);
}

static void dsim_close_device(struct vfio_device *vdev)
{
	struct dsim_device *ddev = to_dsim(vdev);

	dsim_engine_stop(ddev);
	vfio_mig_close(&ddev->mig);
	dsim_pci_release_irqs(ddev);
}

static void dsim_request(struct vfio_device *vdev, unsigned int count)
{
	struct dsim_device *ddev = to_dsim(vdev);

	guard(mutex)(&ddev->lock);
	if (ddev->req)
		eventfd_signal(ddev->req);
	else if (!count)
		dev_notice(vdev->dev, "waiting for the user to close it\n");
}

/* ---- Access ---- */

/* The doorbell in the page that can be mapped, while that is trapped */
static bool access_trap(struct dsim_device *ddev, u8 *buf, size_t count,
			u32 offset, bool write)
{
	bool done = false;

	if (!ddev->port->options.trap)
		return false;
	scoped_guard(mutex, &ddev->lock)
		if (!dsim_pci_memory_enabled(ddev))
			return false;
	if (vfio_mig_mmio_begin(&ddev->mig)) {
		if (offset == DSIM_DOORBELL_TAIL && count == sizeof(u32))
			done = vfio_mig_trap_access(&ddev->mig,
						    DSIM_REGION_OFFSET(0) +
						    offset, buf, count, write);
		else
			vfio_mig_trap_sync(&ddev->trap);
	}
	vfio_mig_mmio_end(&ddev->mig);
	return done;
}

static ssize_t access_bar(struct dsim_device *ddev, u8 *buf, size_t count,
			  u32 offset, bool write)
{
	bool enabled, starts;
	u32 doorbell;
	ssize_t rc;

	if (access_trap(ddev, buf, count, offset, write))
		return count;
	scoped_guard(mutex, &ddev->lock) {
		enabled = ddev->regs.ctrl & DSIM_CTRL_ENABLE;
		if (vfio_mig_mmio_begin(&ddev->mig))
			rc = dsim_pci_bar_rw(ddev, buf, count, offset, write);
		else
			rc = dsim_pci_no_bar_rw(buf, count, offset, write);
		vfio_mig_mmio_end(&ddev->mig);
		starts = !enabled && ddev->regs.ctrl & DSIM_CTRL_ENABLE;
		doorbell = ddev->regs.doorbell;
	}
	/* that clears the doorbell */
	if (starts && ddev->port->options.trap)
		vfio_mig_trap_update(&ddev->trap, 0, doorbell);
	return rc;
}

static ssize_t access_chunk(struct dsim_device *ddev, unsigned int region,
			    u8 *buf, size_t count, u32 offset, bool write)
{
	if (region == VFIO_PCI_BAR0_REGION_INDEX)
		return access_bar(ddev, buf, count, offset, write);

	guard(mutex)(&ddev->lock);
	switch (region) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		return dsim_pci_config_rw(ddev, buf, count, offset, write);
	default:
		return -EINVAL;
	}
}

static ssize_t dsim_rw(struct vfio_device *vdev, char __user *ubuf,
		       size_t count, loff_t *ppos, bool write)
{
	struct dsim_device *ddev = to_dsim(vdev);
	unsigned int region = *ppos >> DSIM_REGION_SHIFT;
	u64 offset = *ppos & (BIT_ULL(DSIM_REGION_SHIFT) - 1);
	u8 buf[RW_CHUNK];
	ssize_t done, rc;
	size_t n;

	/* No region has more than this; @offset fits the accessors afterwards */
	if (offset > DSIM_BAR_SIZE)
		return -EINVAL;

	for (done = 0; done != count; done += n) {
		n = min_t(size_t, count - done, RW_CHUNK);
		if (write && copy_from_user(buf, ubuf + done, n))
			return done ?: -EFAULT;
		rc = access_chunk(ddev, region, buf, n, offset + done, write);
		if (rc < 0)
			return done ?: rc;
		if (!write && copy_to_user(ubuf + done, buf, n))
			return done ?: -EFAULT;
		*ppos += n;
	}
	return done;
}

static ssize_t dsim_read(struct vfio_device *vdev, char __user *ubuf,
			 size_t count, loff_t *ppos)
{
	return dsim_rw(vdev, ubuf, count, ppos, false);
}

static ssize_t dsim_write(struct vfio_device *vdev, const char __user *ubuf,
			  size_t count, loff_t *ppos)
{
	return dsim_rw(vdev, (char __user *)ubuf, count, ppos, true);
}

static vm_fault_t doorbell_fault(struct vm_fault *vmf)
{
	u64 pos = DSIM_REGION_OFFSET(0) + DSIM_DOORBELL_PAGE;
	struct dsim_device *ddev = vmf->vma->vm_private_data;
	vm_fault_t rc = VM_FAULT_SIGBUS;
	struct page *page;

	if (vfio_mig_mmio_begin(&ddev->mig)) {
		page = vfio_mig_trap_page(&ddev->mig, pos) ?:
		       vmalloc_to_page(ddev->doorbell_page);
		rc = vmf_insert_page(vmf->vma, vmf->address, page);
	}
	vfio_mig_mmio_end(&ddev->mig);
	return rc;
}

static const struct vm_operations_struct doorbell_vm_ops = {
	.fault = doorbell_fault,
};

/* The doorbell page, nothing else, and shared: a copy would ring for nobody */
static int dsim_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	struct dsim_device *ddev = to_dsim(vdev);
	u64 start = (u64)vma->vm_pgoff << PAGE_SHIFT;

	if (start != DSIM_REGION_OFFSET(VFIO_PCI_BAR0_REGION_INDEX) +
		     DSIM_DOORBELL_PAGE ||
	    vma->vm_end - vma->vm_start != PAGE_SIZE ||
	    !(vma->vm_flags & VM_SHARED))
		return -EINVAL;

	vm_flags_set(vma, VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_ops = &doorbell_vm_ops;
	vma->vm_private_data = ddev;
	dsim_engine_notice_mapping(ddev);
	return 0;
}

/* ---- Information ---- */

static int add_sparse_mmap(struct vfio_info_cap *caps)
{
	struct vfio_region_info_cap_sparse_mmap *cap;
	size_t size = struct_size(cap, areas, 1);
	int rc;

	cap = kzalloc(size, GFP_KERNEL);
	if (!cap)
		return -ENOMEM;
	cap->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
	cap->header.version = 1;
	cap->nr_areas = 1;
	cap->areas[0].offset = DSIM_DOORBELL_PAGE;
	cap->areas[0].size = PAGE_SIZE;
	rc = vfio_info_add_capability(caps, &cap->header, size);
	kfree(cap);
	return rc;
}

static int dsim_get_region_info(struct vfio_device *vdev,
				struct vfio_region_info *info,
				struct vfio_info_cap *caps)
{
	if (info->index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;

	info->offset = DSIM_REGION_OFFSET(info->index);
	info->size = 0;
	info->flags = 0;
	switch (info->index) {
	case VFIO_PCI_CONFIG_REGION_INDEX:
		info->size = DSIM_CONFIG_SIZE;
		info->flags = VFIO_REGION_INFO_FLAG_READ |
			      VFIO_REGION_INFO_FLAG_WRITE;
		return 0;
	case VFIO_PCI_BAR0_REGION_INDEX:
		info->size = DSIM_BAR_SIZE;
		info->flags = VFIO_REGION_INFO_FLAG_READ |
			      VFIO_REGION_INFO_FLAG_WRITE |
			      VFIO_REGION_INFO_FLAG_MMAP;
		return add_sparse_mmap(caps);
	}
	return 0;
}

static long get_info(void __user *uarg)
{
	struct vfio_device_info info = {};
	size_t minsz = offsetofend(struct vfio_device_info, num_irqs);

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	info.flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = VFIO_PCI_NUM_REGIONS;
	info.num_irqs = VFIO_PCI_NUM_IRQS;
	return copy_to_user(uarg, &info, minsz) ? -EFAULT : 0;
}

static long get_irq_info(void __user *uarg)
{
	struct vfio_irq_info info;
	size_t minsz = offsetofend(struct vfio_irq_info, count);
	int rc;

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;
	rc = dsim_pci_get_irq_info(&info);
	if (rc)
		return rc;
	return copy_to_user(uarg, &info, minsz) ? -EFAULT : 0;
}

static long dsim_ioctl(struct vfio_device *vdev, unsigned int cmd,
		       unsigned long arg)
{
	struct dsim_device *ddev = to_dsim(vdev);
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return get_info(uarg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return get_irq_info(uarg);
	case VFIO_DEVICE_SET_IRQS:
		return dsim_pci_set_irqs(ddev, uarg);
	case VFIO_DEVICE_RESET:
		vfio_mig_reset(&ddev->mig);
		return 0;
	default:
		return -ENOTTY;
	}
}

#define COMMON_OPS					\
	.name = "dirty-sim",				\
	.init = dsim_init,				\
	.release = dsim_release,			\
	.open_device = dsim_open_device,		\
	.close_device = dsim_close_device,		\
	.read = dsim_read,				\
	.write = dsim_write,				\
	.mmap = dsim_mmap,				\
	.ioctl = dsim_ioctl,				\
	.get_region_info_caps = dsim_get_region_info,	\
	.request = dsim_request

static const struct vfio_device_ops dsim_vfio_ops = {
	COMMON_OPS,
	.bind_iommufd = dsim_tracker_bind,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
};

static const struct vfio_device_ops dsim_emulated_ops = {
	COMMON_OPS,
	.bind_iommufd = vfio_iommufd_emulated_bind,
	.unbind_iommufd = vfio_iommufd_emulated_unbind,
	.attach_ioas = vfio_iommufd_emulated_attach_ioas,
	.detach_ioas = vfio_iommufd_emulated_detach_ioas,
	.dma_unmap = dsim_emulated_unmap,
};

/**
 * dsim_bus_reset() - Reset a device as a reset of its bus does
 * @pdev: the device
 *
 * Nobody asked its user.
 *
 * Context: process.
 *
 * Return: 0; or -EOPNOTSUPP for an emulated device, which is on no bus.
 */
int dsim_bus_reset(struct platform_device *pdev)
{
	struct dsim_device *ddev;

	if (pdev->dev.type != &dsim_device_type)
		return -EOPNOTSUPP;
	guard(device)(&pdev->dev);
	ddev = platform_get_drvdata(pdev);
	if (ddev)
		vfio_mig_reset(&ddev->mig);
	return 0;
}

/* ---- Driver ---- */

/**
 * dsim_vfio_add() - Make a vfio device of a device
 * @dev: a platform device behind the IOMMU, or a mediated device behind none
 *
 * Return: 0 or an errno.
 */
int dsim_vfio_add(struct device *dev)
{
	bool emulated = dsim_port_of(dev)->options.emulated;
	struct dsim_device *ddev;
	int rc;

	ddev = vfio_alloc_device(dsim_device, vdev, dev,
				 emulated ? &dsim_emulated_ops :
					    &dsim_vfio_ops);
	if (IS_ERR(ddev))
		return PTR_ERR(ddev);
	rc = emulated ? vfio_register_emulated_iommu_dev(&ddev->vdev) :
			vfio_register_group_dev(&ddev->vdev);
	if (rc)
		goto err_put;
	rc = vfio_mig_add_attributes(&ddev->mig);
	if (rc)
		goto err_unregister;
	dev_set_drvdata(dev, ddev);
	return 0;

err_unregister:
	vfio_unregister_group_dev(&ddev->vdev);
err_put:
	vfio_put_device(&ddev->vdev);
	return rc;
}

/**
 * dsim_vfio_remove() - Undo dsim_vfio_add()
 * @dev: the device
 *
 * Waits for the user of the device to close it.
 */
void dsim_vfio_remove(struct device *dev)
{
	struct dsim_device *ddev = dev_get_drvdata(dev);

	vfio_mig_remove_attributes(&ddev->mig);
	vfio_unregister_group_dev(&ddev->vdev);
	vfio_put_device(&ddev->vdev);
}

static int dsim_probe(struct platform_device *pdev)
{
	if (pdev->dev.type != &dsim_device_type)
		return -ENODEV;
	return dsim_vfio_add(&pdev->dev);
}

static void dsim_remove(struct platform_device *pdev)
{
	dsim_vfio_remove(&pdev->dev);
}

/* Tells our devices from whatever else is on the bus */
const struct device_type dsim_device_type = {
	.name = "dsim",
};

struct platform_driver dsim_platform_driver = {
	.driver.name = "dsim",
	.driver_managed_dma = true,
	.probe = dsim_probe,
	.remove = dsim_remove,
};
