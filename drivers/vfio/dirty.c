// SPDX-License-Identifier: GPL-2.0-only
/*
 * DMA logging of vfio devices, for the dirty tracking of iommufd
 *
 * A driver's struct vfio_log_ops become the provider "device" of the IOAS that the
 * device is attached to, without a change to the driver.
 */
#include <linux/iommufd_dirty.h>
#include <linux/pm_runtime.h>
#include <linux/vfio.h>

#include "dirty.h"

/* As many as drivers are sure to take from user space: they fit into a page */
#define MAX_RANGES \
	(PAGE_SIZE / sizeof(struct vfio_device_feature_dma_logging_range))

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

	if (nr > MAX_RANGES) {
		vfio_combine_iova_ranges(ranges, nr, MAX_RANGES);
		nr = MAX_RANGES;
	}
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

/**
 * vfio_dirty_bind() - A device was bound to an iommufd
 * @vdev: the device; it is attached to nothing
 *
 * Context: process.
 */
void vfio_dirty_bind(struct vfio_device *vdev)
{
	if (vdev->log_ops)
		iommufd_device_set_dirty_ops(vdev->iommufd_device, &log_ops,
					     vdev);
}
