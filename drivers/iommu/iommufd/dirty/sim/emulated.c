// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated device behind no IOMMU: a mediated device
 *
 * Its platform device is only what the mediated device hangs off; user space makes
 * that one, as any other:
 *
 *	echo UUID > .../dsim.NAME/mdev_supported_types/dsim-emulated-pci/create
 *
 * It reaches memory through the vfio core.  That copies for it, or lends it pages
 * which it then writes by itself for as long as it keeps them.
 */
#include <linux/highmem.h>
#include <linux/mdev.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "dsim.h"

/* ---- Memory ---- */

/**
 * struct dsim_pin - a page that the device keeps
 * @page: the page, or NULL
 * @iova: where it is mapped
 */
struct dsim_pin {
	struct page *page;
	u64 iova;
};

static void unpin(struct dsim_device *ddev, struct dsim_pin *pin)
{
	lockdep_assert_held(&ddev->lock);
	if (!pin->page)
		return;
	vfio_unpin_pages(&ddev->vdev, pin->iova, 1);
	pin->page = NULL;
}

static struct page *find_pinned(struct dsim_device *ddev, u64 iova)
{
	unsigned int i;

	for (i = 0; i != ddev->nr_pins; i++)
		if (ddev->pins[i].page && ddev->pins[i].iova == iova)
			return ddev->pins[i].page;
	return NULL;
}

/* The page at @iova, kept from now on in place of the one kept longest */
static int get_pinned(struct dsim_device *ddev, u64 iova, struct page **page)
{
	struct dsim_pin *pin = &ddev->pins[ddev->next_pin];
	int rc;

	*page = find_pinned(ddev, iova);
	if (*page)
		return 0;
	unpin(ddev, pin);
	rc = vfio_pin_pages(&ddev->vdev, iova, 1, IOMMU_READ | IOMMU_WRITE,
			    page);
	if (rc < 0)
		return rc;
	pin->page = *page;
	pin->iova = iova;
	ddev->next_pin = (ddev->next_pin + 1) % ddev->nr_pins;
	return 0;
}

static int write_pinned(struct dsim_device *ddev, u64 iova, const void *buf,
			size_t n)
{
	struct page *page;
	int rc;

	rc = get_pinned(ddev, ALIGN_DOWN(iova, PAGE_SIZE), &page);
	if (!rc)
		memcpy_to_page(page, offset_in_page(iova), buf, n);
	return rc;
}

/**
 * dsim_emulated_move() - Read or write memory
 * @ddev: the device; its lock is held
 * @iova: the address
 * @buf: the bytes
 * @n: how many, all in one page
 * @access: DSIM_PERM_R or DSIM_PERM_W
 *
 * Context: process; may fault, and takes locks of the IOAS.
 *
 * Return: why it failed, or DSIM_FAULT_NONE.
 */
enum dsim_fault dsim_emulated_move(struct dsim_device *ddev, u64 iova,
				   void *buf, size_t n, u8 access)
{
	bool write = access == DSIM_PERM_W;
	int rc;

	lockdep_assert_held(&ddev->lock);
	if (write && ddev->nr_pins)
		rc = write_pinned(ddev, iova, buf, n);
	else
		rc = vfio_dma_rw(&ddev->vdev, iova, buf, n, write);
	switch (rc) {
	case 0:
		break;
	case -ENOENT:
		return DSIM_FAULT_NOT_PRESENT;
	case -EPERM:
		return write ? DSIM_FAULT_WRITE : DSIM_FAULT_READ;
	default:
		return DSIM_FAULT_BUS;
	}

	guard(spinlock)(&ddev->port->lock);
	if (write)
		ddev->port->stats.bytes_written += n;
	else
		ddev->port->stats.bytes_read += n;
	return DSIM_FAULT_NONE;
}

/**
 * dsim_emulated_rest() - Give back the pages that the device keeps
 * @ddev: the device, open; its lock is held
 */
void dsim_emulated_rest(struct dsim_device *ddev)
{
	unsigned int i;

	for (i = 0; i != ddev->nr_pins; i++)
		unpin(ddev, &ddev->pins[i]);
	ddev->next_pin = 0;
}

/**
 * dsim_emulated_unmap() - A range goes: give back what is kept of it
 * @vdev: the device
 * @iova: first address
 * @length: bytes
 *
 * Context: process; takes the device's lock, which waits for a descriptor.
 */
void dsim_emulated_unmap(struct vfio_device *vdev, u64 iova, u64 length)
{
	struct dsim_device *ddev = container_of(vdev, struct dsim_device, vdev);
	u64 last = iova + (length - 1);
	unsigned int i;

	guard(mutex)(&ddev->lock);
	for (i = 0; i != ddev->nr_pins; i++) {
		struct dsim_pin *pin = &ddev->pins[i];

		if (pin->iova <= last && pin->iova + (PAGE_SIZE - 1) >= iova)
			unpin(ddev, pin);
	}
}

/**
 * dsim_emulated_init() - Have room for the pages that a device keeps
 * @ddev: the device; its port is known
 *
 * Return: 0 or -ENOMEM.
 */
int dsim_emulated_init(struct dsim_device *ddev)
{
	ddev->emulated = ddev->port->options.emulated;
	ddev->nr_pins = ddev->emulated ? ddev->port->options.pins : 0;
	if (!ddev->nr_pins)
		return 0;
	ddev->pins = kzalloc_objs(*ddev->pins, ddev->nr_pins);
	return ddev->pins ? 0 : -ENOMEM;
}

/**
 * dsim_emulated_destroy() - The device goes
 * @ddev: the device, which is closed
 */
void dsim_emulated_destroy(struct dsim_device *ddev)
{
	kfree(ddev->pins);
}

/* ---- The mediated device ---- */

static int mdev_probe(struct mdev_device *mdev)
{
	return dsim_vfio_add(&mdev->dev);
}

static void mdev_remove(struct mdev_device *mdev)
{
	dsim_vfio_remove(&mdev->dev);
}

static struct mdev_driver dsim_mdev_driver = {
	.device_api = VFIO_DEVICE_API_PCI_STRING,
	.max_instances = 1,
	.probe = mdev_probe,
	.remove = mdev_remove,
	.driver = {
		.name = "dsim_mdev",
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
	},
};

/* ---- What it hangs off ---- */

/**
 * struct dsim_parent - data of the platform device
 * @port: options, and counters of every mediated device there was
 * @parent: for the core of mediated devices
 * @type: the only type of them
 * @types: a list of one, which is how the core wants it
 */
struct dsim_parent {
	struct dsim_port port;
	struct mdev_parent parent;
	struct mdev_type type;
	struct mdev_type *types;
};

static int parent_probe(struct platform_device *pdev)
{
	struct dsim_parent *parent;
	int rc;

	if (pdev->dev.type != &dsim_parent_type)
		return -ENODEV;

	parent = kzalloc_obj(*parent);
	if (!parent)
		return -ENOMEM;
	dsim_port_init(&parent->port, &pdev->dev);
	parent->type.sysfs_name = "pci";
	parent->type.pretty_name = "simulated DMA device behind no IOMMU";
	parent->types = &parent->type;
	platform_set_drvdata(pdev, parent);
	rc = mdev_register_parent(&parent->parent, &pdev->dev,
				  &dsim_mdev_driver, &parent->types, 1);
	if (rc) {
		platform_set_drvdata(pdev, NULL);
		kfree(parent);
	}
	return rc;
}

static void parent_remove(struct platform_device *pdev)
{
	struct dsim_parent *parent = platform_get_drvdata(pdev);

	mdev_unregister_parent(&parent->parent);
	kfree(parent);
}

const struct device_type dsim_parent_type = {
	.name = "dsim-emulated",
};

static struct platform_driver dsim_parent_driver = {
	.driver.name = "dsim-emulated",
	.probe = parent_probe,
	.remove = parent_remove,
};

/**
 * dsim_port_of() - Find the port of a device
 * @dev: the platform device, or a mediated device that hangs off it
 *
 * Return: the port; NULL when the device could not be set up.
 */
struct dsim_port *dsim_port_of(struct device *dev)
{
	struct dsim_parent *parent;

	if (dev->type == &dsim_device_type)
		return dev_iommu_priv_get(dev);
	if (dev->type != &dsim_parent_type)
		dev = dev->parent;
	parent = dev_get_drvdata(dev);
	return parent ? &parent->port : NULL;
}

/**
 * dsim_emulated_register() - Register the drivers
 *
 * Return: 0 or an errno.
 */
int dsim_emulated_register(void)
{
	int rc;

	rc = mdev_register_driver(&dsim_mdev_driver);
	if (rc)
		return rc;
	rc = platform_driver_register(&dsim_parent_driver);
	if (rc)
		mdev_unregister_driver(&dsim_mdev_driver);
	return rc;
}

/**
 * dsim_emulated_unregister() - Undo dsim_emulated_register(); no device is left
 */
void dsim_emulated_unregister(void)
{
	platform_driver_unregister(&dsim_parent_driver);
	mdev_unregister_driver(&dsim_mdev_driver);
}
