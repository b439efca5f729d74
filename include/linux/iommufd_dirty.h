/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty tracking of iommufd: what other kernel code may call
 */
#ifndef __LINUX_IOMMUFD_DIRTY_H
#define __LINUX_IOMMUFD_DIRTY_H

#include <linux/types.h>
#include <uapi/linux/iommufd_dirty.h>

struct iommufd_access;

#if IS_ENABLED(CONFIG_IOMMUFD)
void iommufd_access_mark_dirty(struct iommufd_access *access,
			       unsigned long iova, size_t length);
#else
static inline void iommufd_access_mark_dirty(struct iommufd_access *access,
					     unsigned long iova, size_t length)
{
}
#endif

#endif
