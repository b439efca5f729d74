// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA logging of vfio devices, for the dirty tracking of iommufd
 *
 * A driver's struct vfio_log_ops become the provider "device" of the IOAS that the
 * device is attached to, without a change to the driver.  Who asks for DMA logging
 * is answered by iommufd, for devices without such ops too.  Where there is no
 * iommufd the ops are called as ever.
 *
 * iommufd also hears of migration states, since a device that is stopped need not
 * be tracked.
 */
#include <linux/iommufd_dirty.h>
#include <linux/pm_runtime.h>
#include <linux/vfio.h>

#include "dirty.h"

/* iommufd asks at any time, the device may sleep then */
static int wake(struct vfio_device *vdev)
{
	struct device *dev = vdev->dev;

	return dev->driver && dev->driver->pm ? pm_runtime_resume_and_get(dev) :
						0;
}

static void let_sleep(struct vfio_device *vdev)
{
	struct device *dev = vdev->dev;

	if (dev->driver && dev->driver->pm)
		pm_runtime_put(dev);
}

static int start_log(void *data, struct rb_root_cached *ranges, u32 nr,
		     u64 *page_size)
{
	struct vfio_device *vdev = data;
	int rc;

	rc = wake(vdev);
	if (rc)
		return rc;
	rc = vdev->log_ops->log_start(vdev, ranges, nr, page_size);
	let_sleep(vdev);
	return rc;
}

static void stop_log(void *data)
{
	struct vfio_device *vdev = data;

	if (wake(vdev))
		return;
	vdev->log_ops->log_stop(vdev);
	let_sleep(vdev);
}

static int read_log(void *data, unsigned long iova, unsigned long length,
		    struct iova_bitmap *dirty)
{
	struct vfio_device *vdev = data;
	int rc;

	rc = wake(vdev);
	if (rc)
		return rc;
	rc = vdev->log_ops->log_read_and_clear(vdev, iova, length, dirty);
	let_sleep(vdev);
	return rc;
}

static const struct iommufd_dirty_device_ops log_ops = {
	.start = start_log,
	.stop = stop_log,
	.collect = read_log,
};

/* ---- Migration states ---- */

static bool can_write(enum vfio_device_mig_state state)
{
	return state != VFIO_DEVICE_STATE_STOP &&
	       state != VFIO_DEVICE_STATE_STOP_COPY &&
	       state != VFIO_DEVICE_STATE_RESUMING;
}

/* Drivers take a lock for this.  Of physical devices none calls iommufd under it. */
static bool is_still(void *data)
{
	struct vfio_device *vdev = data;
	enum vfio_device_mig_state state;

	return vdev->mig_ops &&
	       !vdev->mig_ops->migration_get_state(vdev, &state) &&
	       !can_write(state);
}

/**
 * vfio_dirty_set_state() - Change the migration state of a device
 * @vdev: the device, which has migration_set_state()
 * @state: as the user has it, not checked
 *
 * Before the device can write it is known what it writes.
 *
 * Context: process.
 *
 * Return: as migration_set_state(); -EBUSY when pages are being tracked and nobody
 * could tell what the device writes.
 */
struct file *vfio_dirty_set_state(struct vfio_device *vdev,
				  enum vfio_device_mig_state state)
{
	struct iommufd_device *idev = vdev->iommufd_device;
	struct file *file;
	int rc;

	if (!idev)
		return vdev->mig_ops->migration_set_state(vdev, state);
	rc = iommufd_dirty_state_begin(idev, can_write(state));
	file = rc ? ERR_PTR(rc) :
		    vdev->mig_ops->migration_set_state(vdev, state);
	iommufd_dirty_state_end(idev);
	return file;
}

/* ---- Life ---- */

/**
 * vfio_dirty_bind() - A device was bound to an iommufd
 * @vdev: the device; it is attached to nothing
 *
 * Context: process.
 */
void vfio_dirty_bind(struct vfio_device *vdev)
{
	iommufd_device_set_still(vdev->iommufd_device, is_still, vdev);
	if (vdev->log_ops)
		iommufd_device_set_dirty_ops(vdev->iommufd_device, &log_ops,
					     vdev);
}

/* ---- VFIO_DEVICE_FEATURE_DMA_LOGGING_* ---- */

/**
 * vfio_dirty_tracked() - Whether iommufd answers for a device
 * @vdev: the device
 *
 * Return: true when it is bound to an iommufd.
 */
bool vfio_dirty_tracked(struct vfio_device *vdev)
{
	return vdev->iommufd_device || vdev->iommufd_access;
}

/**
 * vfio_dirty_can_log() - Whether a device has DMA logging
 * @vdev: the device
 *
 * An emulated device writes by the kernel, which always knows.
 *
 * Return: true when it does.
 */
bool vfio_dirty_can_log(struct vfio_device *vdev)
{
	if (!vfio_dirty_tracked(vdev))
		return vdev->log_ops;
	return vdev->iommufd_access ||
	       iommufd_dirty_can_log(vdev->iommufd_device);
}

/**
 * vfio_dirty_log_start() - Begin to log
 * @vdev: the device
 * @ranges: struct interval_tree_node, valid, that do not overlap
 * @nr: how many
 * @page_size: a power of two that is asked for, and what it will be
 *
 * iommufd logs all that the IOAS maps, at any time, to the page.
 *
 * Return: 0 or an errno.
 */
int vfio_dirty_log_start(struct vfio_device *vdev,
			 struct rb_root_cached *ranges, u32 nr, u64 *page_size)
{
	if (!vfio_dirty_tracked(vdev))
		return vdev->log_ops->log_start(vdev, ranges, nr, page_size);
	return iommufd_dirty_logging_start(vdev->iommufd_device,
					   vdev->iommufd_access);
}

/**
 * vfio_dirty_log_stop() - End to log
 * @vdev: the device
 *
 * Return: 0, or what the driver failed with.
 */
int vfio_dirty_log_stop(struct vfio_device *vdev)
{
	if (!vfio_dirty_tracked(vdev))
		return vdev->log_ops->log_stop(vdev);
	iommufd_dirty_logging_stop(vdev->iommufd_device, vdev->iommufd_access);
	return 0;
}

/**
 * vfio_dirty_log_report() - Give what was written since the last report
 * @vdev: a device that iommufd answers for
 * @report: what is asked for; its page size is valid, its end does not overflow
 *
 * Return: 0 or an errno.
 */
int vfio_dirty_log_report(struct vfio_device *vdev,
			  const struct vfio_device_feature_dma_logging_report *report)
{
	return iommufd_dirty_logging_report(vdev->iommufd_device,
					    vdev->iommufd_access, report->iova,
					    report->length, report->page_size,
					    u64_to_user_ptr(report->bitmap));
}
