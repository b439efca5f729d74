/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty tracking of iommufd, for vfio devices
 */
#ifndef __VFIO_DIRTY_H
#define __VFIO_DIRTY_H

struct vfio_device;

void vfio_dirty_bind(struct vfio_device *vdev);

#endif
