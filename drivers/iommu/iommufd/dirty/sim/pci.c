// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated device's PCI personality
 *
 * A conventional function with one BAR and MSI: as much as a VMM that takes it
 * through vfio needs to show it to a guest.
 */
#include <linux/eventfd.h>
#include <linux/pci_regs.h>
#include <linux/string.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>

#include "dsim.h"

#define MSI_CAP		0x40
#define MSI_CAP_SIZE	14	/* 64-bit address, no masking */

/*
 * Bits that software may write.  What is not listed reads as it was built.
 */
static const struct {
	u8 offset;
	u8 size;
	u32 mask;
} writable[] = {
	{ PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
			  PCI_COMMAND_INTX_DISABLE },
	{ PCI_CACHE_LINE_SIZE, 1, 0xff },
	{ PCI_LATENCY_TIMER, 1, 0xff },
	{ PCI_BASE_ADDRESS_0, 4, ~(DSIM_BAR_SIZE - 1) },
	{ PCI_INTERRUPT_LINE, 1, 0xff },
	{ MSI_CAP + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE },
	{ MSI_CAP + PCI_MSI_ADDRESS_LO, 4, ~3U },
	{ MSI_CAP + PCI_MSI_ADDRESS_HI, 4, ~0U },
	{ MSI_CAP + PCI_MSI_DATA_64, 2, 0xffff },
};

static u8 writable_bits(u32 offset)
{
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(writable); i++)
		if (offset >= writable[i].offset &&
		    offset < writable[i].offset + writable[i].size)
			return writable[i].mask >>
			       (8 * (offset - writable[i].offset));
	return 0;
}

static u16 command(struct dsim_device *ddev)
{
	return get_unaligned_le16(&ddev->config[PCI_COMMAND]);
}

/**
 * dsim_pci_memory_enabled() - Does the BAR decode?
 * @ddev: the device; its lock is held
 *
 * Return: the memory space bit of the command register.
 */
bool dsim_pci_memory_enabled(struct dsim_device *ddev)
{
	return command(ddev) & PCI_COMMAND_MEMORY;
}

/**
 * dsim_pci_master_enabled() - May the device do DMA?
 * @ddev: the device; its lock is held
 *
 * Return: the bus master bit of the command register, as the hardware has it: the one
 * that software sees in config space is what it wrote.
 */
bool dsim_pci_master_enabled(struct dsim_device *ddev)
{
	return command(ddev) & PCI_COMMAND_MASTER && !ddev->master_off;
}

/**
 * dsim_pci_subdevice() - What tells apart devices that are not the same
 * @ddev: the device
 *
 * Return: the subsystem ID, which says how much memory is on the board.
 */
u16 dsim_pci_subdevice(struct dsim_device *ddev)
{
	return DSIM_PCI_DEVICE_ID + ddev->mem_pages;
}

/**
 * dsim_pci_reset() - Put config space into its initial state
 * @ddev: the device; its lock is held
 */
void dsim_pci_reset(struct dsim_device *ddev)
{
	u8 *c = ddev->config;

	memset(c, 0, DSIM_CONFIG_SIZE);
	put_unaligned_le16(DSIM_PCI_VENDOR_ID, c + PCI_VENDOR_ID);
	put_unaligned_le16(DSIM_PCI_DEVICE_ID, c + PCI_DEVICE_ID);
	put_unaligned_le16(PCI_STATUS_CAP_LIST, c + PCI_STATUS);
	c[PCI_REVISION_ID] = DSIM_VERSION;
	/* Base class 0xff: no class fits */
	c[PCI_CLASS_DEVICE + 1] = 0xff;
	put_unaligned_le16(DSIM_PCI_VENDOR_ID, c + PCI_SUBSYSTEM_VENDOR_ID);
	put_unaligned_le16(dsim_pci_subdevice(ddev), c + PCI_SUBSYSTEM_ID);
	c[PCI_CAPABILITY_LIST] = MSI_CAP;
	c[MSI_CAP + PCI_CAP_LIST_ID] = PCI_CAP_ID_MSI;
	put_unaligned_le16(PCI_MSI_FLAGS_64BIT, c + MSI_CAP + PCI_MSI_FLAGS);
}

/**
 * dsim_pci_config_rw() - Access config space
 * @ddev: the device; its lock is held
 * @buf: bytes to read into or to write
 * @count: how many
 * @offset: where
 * @write: which
 *
 * Return: @count, or -EINVAL when the access leaves config space.
 */
ssize_t dsim_pci_config_rw(struct dsim_device *ddev, u8 *buf, size_t count,
			   u32 offset, bool write)
{
	size_t i;

	if (offset >= DSIM_CONFIG_SIZE || count > DSIM_CONFIG_SIZE - offset)
		return -EINVAL;
	if (!write) {
		memcpy(buf, ddev->config + offset, count);
		return count;
	}
	for (i = 0; i != count; i++) {
		u8 mask = writable_bits(offset + i);
		u8 *byte = &ddev->config[offset + i];

		*byte = (*byte & ~mask) | (buf[i] & mask);
	}
	/* Bus mastering may have been what the ring waited for */
	dsim_engine_kick(ddev);
	return count;
}

static bool is_register(u32 offset, size_t left)
{
	return offset % 4 == 0 && left >= 4 &&
	       (offset < DSIM_DOORBELL_PAGE || offset == DSIM_DOORBELL_TAIL);
}

static void bar_read(struct dsim_device *ddev, u8 *buf, size_t count,
		     u32 offset)
{
	bool first = true;
	u32 value;

	for (; count; count--, offset++, buf++) {
		if (offset >= DSIM_DOORBELL_PAGE) {
			*buf = READ_ONCE(((u8 *)ddev->doorbell_page)
					 [offset - DSIM_DOORBELL_PAGE]);
			continue;
		}
		/* each register once, since that may change it */
		if (first || offset % 4 == 0)
			value = dsim_engine_reg_read(ddev, ALIGN_DOWN(offset, 4));
		first = false;
		*buf = value >> (8 * (offset % 4));
	}
}

/* Registers take whole words only, as those of most devices do */
static void bar_write(struct dsim_device *ddev, const u8 *buf, size_t count,
		      u32 offset)
{
	size_t n;

	for (; count; count -= n, offset += n, buf += n) {
		n = is_register(offset, count) ? 4 : 1;
		if (n == 4)
			dsim_engine_reg_write(ddev, offset,
					      get_unaligned_le32(buf));
	}
}

/**
 * dsim_pci_bar_rw() - Trapped access to BAR 0
 * @ddev: the device; its lock is held
 * @buf: bytes to read into or to write
 * @count: how many
 * @offset: where
 * @write: which
 *
 * While memory decoding is off, reads give all ones and writes are dropped.
 *
 * Return: @count, or -EINVAL when the access leaves the BAR.
 */
ssize_t dsim_pci_bar_rw(struct dsim_device *ddev, u8 *buf, size_t count,
			u32 offset, bool write)
{
	if (offset >= DSIM_BAR_SIZE || count > DSIM_BAR_SIZE - offset)
		return -EINVAL;

	/* What was written to the mapped doorbell before was written before */
	dsim_engine_sync_doorbell(ddev);
	if (!dsim_pci_memory_enabled(ddev))
		return dsim_pci_no_bar_rw(buf, count, offset, write);
	if (write)
		bar_write(ddev, buf, count, offset);
	else
		bar_read(ddev, buf, count, offset);
	return count;
}

/**
 * dsim_pci_no_bar_rw() - Trapped access to a BAR 0 that is not there right now
 * @buf: bytes to read into or to write
 * @count: how many
 * @offset: where
 * @write: which
 *
 * Return: @count, or -EINVAL when the access leaves the BAR.
 */
ssize_t dsim_pci_no_bar_rw(u8 *buf, size_t count, u32 offset, bool write)
{
	if (offset >= DSIM_BAR_SIZE || count > DSIM_BAR_SIZE - offset)
		return -EINVAL;
	if (!write)
		memset(buf, 0xff, count);
	return count;
}

/* ---- Interrupts ---- */

/**
 * dsim_pci_raise_msi() - Signal the one vector
 * @ddev: the device; its lock is held
 */
void dsim_pci_raise_msi(struct dsim_device *ddev)
{
	lockdep_assert_held(&ddev->lock);
	if (ddev->msi)
		eventfd_signal(ddev->msi);
}

static unsigned int nr_vectors(u32 index)
{
	switch (index) {
	case VFIO_PCI_MSI_IRQ_INDEX:
	case VFIO_PCI_REQ_IRQ_INDEX:
		return 1;
	default:
		return 0;
	}
}

/**
 * dsim_pci_get_irq_info() - Describe an interrupt index
 * @info: in: index; out: count and flags
 *
 * Return: 0 or -EINVAL.
 */
int dsim_pci_get_irq_info(struct vfio_irq_info *info)
{
	if (info->index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	info->count = nr_vectors(info->index);
	info->flags = info->count ? VFIO_IRQ_INFO_EVENTFD |
				    VFIO_IRQ_INFO_NORESIZE : 0;
	return 0;
}

static void replace_eventfd(struct dsim_device *ddev,
			    struct eventfd_ctx **where, struct eventfd_ctx *ctx)
{
	struct eventfd_ctx *old;

	scoped_guard(mutex, &ddev->lock) {
		old = *where;
		*where = ctx;
	}
	if (old)
		eventfd_ctx_put(old);
}

static void fire(struct dsim_device *ddev, struct eventfd_ctx **where)
{
	guard(mutex)(&ddev->lock);
	if (*where)
		eventfd_signal(*where);
}

static int set_irq(struct dsim_device *ddev, const struct vfio_irq_set *hdr,
		   const void *data)
{
	struct eventfd_ctx **where = hdr->index == VFIO_PCI_MSI_IRQ_INDEX ?
				     &ddev->msi : &ddev->req;
	struct eventfd_ctx *ctx = NULL;

	if (!(hdr->flags & VFIO_IRQ_SET_ACTION_TRIGGER))
		return -EINVAL;

	switch (hdr->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		if (!hdr->count)
			replace_eventfd(ddev, where, NULL);
		else
			fire(ddev, where);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		if (hdr->count && *(const u8 *)data)
			fire(ddev, where);
		return 0;
	case VFIO_IRQ_SET_DATA_EVENTFD:
		if (!hdr->count)
			return -EINVAL;
		if (*(const s32 *)data >= 0) {
			ctx = eventfd_ctx_fdget(*(const s32 *)data);
			if (IS_ERR(ctx))
				return PTR_ERR(ctx);
		}
		replace_eventfd(ddev, where, ctx);
		return 0;
	}
	return -EINVAL;
}

/**
 * dsim_pci_set_irqs() - VFIO_DEVICE_SET_IRQS
 * @ddev: the device
 * @uarg: user's struct vfio_irq_set
 *
 * Return: 0 or an errno.
 */
long dsim_pci_set_irqs(struct dsim_device *ddev, void __user *uarg)
{
	size_t minsz = offsetofend(struct vfio_irq_set, count);
	struct vfio_irq_set hdr;
	void *data = NULL;
	size_t data_size;
	int rc;

	if (copy_from_user(&hdr, uarg, minsz))
		return -EFAULT;
	if (hdr.index >= VFIO_PCI_NUM_IRQS)
		return -EINVAL;
	rc = vfio_set_irqs_validate_and_prepare(&hdr, nr_vectors(hdr.index),
						VFIO_PCI_NUM_IRQS, &data_size);
	if (rc)
		return rc;
	if (data_size) {
		data = memdup_user(uarg + minsz, data_size);
		if (IS_ERR(data))
			return PTR_ERR(data);
	}
	rc = set_irq(ddev, &hdr, data);
	kfree(data);
	return rc;
}

/**
 * dsim_pci_release_irqs() - Drop the user's eventfds
 * @ddev: the device, being closed
 */
void dsim_pci_release_irqs(struct dsim_device *ddev)
{
	replace_eventfd(ddev, &ddev->msi, NULL);
	replace_eventfd(ddev, &ddev->req, NULL);
}
