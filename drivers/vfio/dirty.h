/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty tracking of iommufd, for vfio devices
 */
#ifndef __VFIO_DIRTY_H
#define __VFIO_DIRTY_H

#include <linux/vfio.h>

void vfio_dirty_bind(struct vfio_device *vdev);

#if IS_ENABLED(CONFIG_IOMMUFD)
struct file *vfio_dirty_set_state(struct vfio_device *vdev,
				  enum vfio_device_mig_state state);
bool vfio_dirty_can_log(struct vfio_device *vdev);
bool vfio_dirty_tracked(struct vfio_device *vdev);
int vfio_dirty_log_start(struct vfio_device *vdev,
			 struct rb_root_cached *ranges, u32 nr, u64 *page_size);
int vfio_dirty_log_stop(struct vfio_device *vdev);
int vfio_dirty_log_report(struct vfio_device *vdev,
			  const struct vfio_device_feature_dma_logging_report *report);
#else
static inline struct file *
vfio_dirty_set_state(struct vfio_device *vdev, enum vfio_device_mig_state state)
{
	return vdev->mig_ops->migration_set_state(vdev, state);
}

static inline bool vfio_dirty_can_log(struct vfio_device *vdev)
{
	return vdev->log_ops;
}

static inline bool vfio_dirty_tracked(struct vfio_device *vdev)
{
	return false;
}

static inline int vfio_dirty_log_start(struct vfio_device *vdev,
				       struct rb_root_cached *ranges, u32 nr,
				       u64 *page_size)
{
	return vdev->log_ops->log_start(vdev, ranges, nr, page_size);
}

static inline int vfio_dirty_log_stop(struct vfio_device *vdev)
{
	return vdev->log_ops->log_stop(vdev);
}

static inline int
vfio_dirty_log_report(struct vfio_device *vdev,
		      const struct vfio_device_feature_dma_logging_report *report)
{
	return -EINVAL;
}
#endif

#endif
