// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA logging of a vfio device, as a reader
 *
 * A client that knows nothing of HWPTs asks each device what it wrote.  It is
 * answered with all that is written to the IOAS of the device, whoever it is that
 * knows, and each device that is asked has bits of its own.
 */
#include <linux/iommufd_dirty.h>
#include <linux/kref.h>
#include <linux/log2.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "../io_pagetable.h"
#include "dirty.h"

/**
 * struct iommufd_dirty_logging - logging of one device or access
 * @ref: one is of the device or access, one of each report
 * @iopt: the IOAS
 * @reader: of all that is written there
 *
 * Found under the lock of the device's group, or the access's ioas_lock, which are
 * outside of the reader's lock.  Ends before the device or access leaves the IOAS,
 * so @iopt is there while the reader is active.
 */
struct iommufd_dirty_logging {
	struct kref ref;
	struct io_pagetable *iopt;
	struct iommufd_dirty_reader reader;
};

/* ---- Who logs: a device, or an access ---- */

static struct mutex *lock_of(struct iommufd_device *idev,
			     struct iommufd_access *access)
{
	return idev ? &idev->igroup->lock : &access->ioas_lock;
}

/* Under that lock */
static struct iommufd_dirty_logging **slot_of(struct iommufd_device *idev,
					      struct iommufd_access *access)
{
	return idev ? &idev->dirty_logging : &access->dirty_logging;
}

static struct io_pagetable *iopt_of(struct iommufd_device *idev,
				    struct iommufd_access *access)
{
	struct iommufd_dirty_attachment *at;

	if (!idev)
		return access->ioas ? &access->ioas->iopt : NULL;
	hlist_for_each_entry(at, &idev->dirty_attached, idev_node)
		if (at->pasid == IOMMU_NO_PASID)
			return &at->hwpt->ioas->iopt;
	return NULL;
}

static void logging_free(struct kref *ref)
{
	struct iommufd_dirty_logging *logging =
		container_of(ref, struct iommufd_dirty_logging, ref);

	mutex_destroy(&logging->reader.lock);
	kfree(logging);
}

static void logging_end(struct iommufd_dirty_logging **slot)
{
	struct iommufd_dirty_logging *logging = *slot;

	if (!logging)
		return;
	*slot = NULL;
	scoped_guard(mutex, &logging->reader.lock)
		iommufd_dirty_reader_stop(logging->iopt, &logging->reader);
	kref_put(&logging->ref, logging_free);
}

/* ---- For vfio ---- */

/**
 * iommufd_dirty_logging_start() - Begin to log what is written to an IOAS
 * @idev: the device that is to log, or NULL
 * @access: if that is NULL, the access that is to
 *
 * Context: process.
 *
 * Return: 0; -EINVAL when it is attached to nothing, or logs already; -EOPNOTSUPP
 * when nobody stands for the device; -ENOMEM; or what a provider failed with.
 */
int iommufd_dirty_logging_start(struct iommufd_device *idev,
				struct iommufd_access *access)
{
	struct iommufd_dirty_logging *logging, **slot;
	int rc = -EINVAL;

	logging = kzalloc_obj(*logging, GFP_KERNEL_ACCOUNT);
	if (!logging)
		return -ENOMEM;
	kref_init(&logging->ref);
	mutex_init(&logging->reader.lock);
	logging->reader.logs = true;
	logging->reader.idev = idev;

	guard(mutex)(lock_of(idev, access));
	slot = slot_of(idev, access);
	logging->iopt = iopt_of(idev, access);
	if (logging->iopt && !*slot) {
		guard(mutex)(&logging->reader.lock);
		rc = iommufd_dirty_reader_start(logging->iopt,
						&logging->reader, NULL,
						PAGE_SHIFT);
	}
	if (rc)
		kref_put(&logging->ref, logging_free);
	else
		*slot = logging;
	return rc;
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_logging_start, "IOMMUFD");

/**
 * iommufd_dirty_logging_stop() - End to log
 * @idev: as for iommufd_dirty_logging_start()
 * @access: likewise; may not be logging
 *
 * Context: process.
 */
void iommufd_dirty_logging_stop(struct iommufd_device *idev,
				struct iommufd_access *access)
{
	guard(mutex)(lock_of(idev, access));
	logging_end(slot_of(idev, access));
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_logging_stop, "IOMMUFD");

/**
 * iommufd_dirty_logging_report() - Give what was written since the last report
 * @idev: as for iommufd_dirty_logging_start()
 * @access: likewise
 * @iova: what bit 0 stands for
 * @length: bytes that bits are given for, of which the end does not overflow
 * @page_size: what a bit stands for
 * @data: where the bits go; they are ORed
 *
 * Context: process, may fault.
 *
 * Return: 0; -EINVAL for a bad length or page size, or when it does not log;
 * -EFAULT or -ENOMEM, then nothing was taken.
 */
int iommufd_dirty_logging_report(struct iommufd_device *idev,
				 struct iommufd_access *access,
				 unsigned long iova, unsigned long length,
				 u64 page_size, void __user *data)
{
	struct dirty_user_bitmap user = {
		.iova = iova,
		.last = iova + length - 1,
		.data = (unsigned long)data,
	};
	struct iommufd_dirty_logging *logging;
	unsigned long bits;
	int rc = -EINVAL;

	if (!length || !is_power_of_2(page_size))
		return -EINVAL;
	user.shift = ilog2(page_size);
	bits = ((length - 1) >> user.shift) + 1;
	if (!access_ok(data, DIV_ROUND_UP(bits, BITS_PER_BYTE)))
		return -EFAULT;

	scoped_guard(mutex, lock_of(idev, access)) {
		logging = *slot_of(idev, access);
		if (!logging)
			return -EINVAL;
		kref_get(&logging->ref);
	}
	scoped_guard(mutex, &logging->reader.lock)
		if (logging->reader.active)
			rc = iommufd_dirty_reader_read(logging->iopt,
						       &logging->reader, &user,
						       true);
	kref_put(&logging->ref, logging_free);
	return rc;
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_logging_report, "IOMMUFD");

/* ---- For iommufd ---- */

/**
 * iommufd_dirty_device_left() - A device was detached
 * @idev: the device
 * @iopt: the IOAS that it may have left
 *
 * Context: process; the lock of the device's group is held.
 */
void iommufd_dirty_device_left(struct iommufd_device *idev,
			       struct io_pagetable *iopt)
{
	struct iommufd_dirty_attachment *at;

	if (!idev->dirty_logging || idev->dirty_logging->iopt != iopt)
		return;
	hlist_for_each_entry(at, &idev->dirty_attached, idev_node)
		if (&at->hwpt->ioas->iopt == iopt)
			return;
	logging_end(&idev->dirty_logging);
}

/**
 * iommufd_dirty_access_left() - An access leaves its IOAS
 * @access: the access, which writes no more
 *
 * Context: process; the access's ioas_lock is held.
 */
void iommufd_dirty_access_left(struct iommufd_access *access)
{
	lockdep_assert_held(&access->ioas_lock);
	logging_end(&access->dirty_logging);
}

/**
 * iommufd_dirty_auto_fits() - Whether a device is to share an HWPT
 * @idev: the device, which is to be attached to an IOAS
 * @hwpt: one that was made by iommufd_dirty_auto_domain()
 *
 * A device whose writes an IOMMU can track does not join those where it does not,
 * unless the rest of its group is there.
 *
 * Return: true when it is.
 */
bool iommufd_dirty_auto_fits(struct iommufd_device *idev,
			     struct iommufd_hwpt_paging *hwpt)
{
	return hwpt->dirty.sink || !xa_empty(&idev->igroup->pasid_attach) ||
	       !device_iommu_capable(idev->dev, IOMMU_CAP_DIRTY_TRACKING);
}

/**
 * iommufd_dirty_auto_domain() - Make the HWPT of a device that is attached to an
 *				 IOAS
 * @idev: the device
 * @ioas: the IOAS
 * @pasid: with this PASID
 * @immediate_attach: as for iommufd_hwpt_paging_alloc()
 *
 * Nobody can ask this HWPT, but a device that is attached to it may log.  So its
 * page table is one that tracks, if there is one.
 *
 * Context: process; the IOAS's mutex is held.
 *
 * Return: the HWPT, or an error.
 */
struct iommufd_hwpt_paging *
iommufd_dirty_auto_domain(struct iommufd_device *idev,
			  struct iommufd_ioas *ioas, ioasid_t pasid,
			  bool immediate_attach)
{
	struct iommufd_hwpt_paging *hwpt;

	if (device_iommu_capable(idev->dev, IOMMU_CAP_DIRTY_TRACKING)) {
		hwpt = iommufd_hwpt_paging_alloc(idev->ictx, ioas, idev, pasid,
						 IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
						 immediate_attach, NULL);
		if (!IS_ERR(hwpt)) {
			hwpt->dirty.asked = false;
			return hwpt;
		}
	}
	return iommufd_hwpt_paging_alloc(idev->ictx, ioas, idev, pasid, 0,
					 immediate_attach, NULL);
}
