/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Dirty tracking of iommufd: what other kernel code may call
 */
#ifndef __LINUX_IOMMUFD_DIRTY_H
#define __LINUX_IOMMUFD_DIRTY_H

#include <linux/types.h>
#include <uapi/linux/iommufd_dirty.h>

struct iommufd_access;
struct iommufd_device;
struct iova_bitmap;
struct rb_root_cached;

/**
 * struct iommufd_dirty_device_ops - a device that knows what it writes
 * @rating: of two ways to track a device that tell the same pages apart, the one
 *	    with the higher rating is taken; the IOMMU's is 0
 * @start: Begin to track.  What was written before concerns nobody.  @ranges has
 *	   @nr struct interval_tree_node, up to 256, which do not overlap; a driver
 *	   that can do less combines them, in the tree.  @page_size is what is
 *	   asked for, and then what the device tells apart, a power of two up to
 *	   1 GiB.
 * @stop: Track no more.  Is called after a failure too, and when the device was
 *	  closed.
 * @collect: Record what was written to a part of one range since it was last
 *	     collected, by iova_bitmap_set(), and forget it.  What is recorded may
 *	     be more than was asked for.  An error says that something may be
 *	     missing: everything is reported dirty, and the driver stopped and
 *	     started anew.  NULL: the driver says so itself by
 *	     iommufd_dirty_mark(), of all addresses, whatever @ranges says.
 *
 * Context: process, may sleep, one call at a time for a device.  A lock that a
 * driver takes here must not be held while it calls into iommufd, or while it
 * accesses mappings that could be made or changed by its user.
 */
struct iommufd_dirty_device_ops {
	int rating;
	int (*start)(void *data, struct rb_root_cached *ranges, u32 nr,
		     u64 *page_size);
	void (*stop)(void *data);
	int (*collect)(void *data, unsigned long iova, unsigned long length,
		       struct iova_bitmap *dirty);
};

#if IS_ENABLED(CONFIG_IOMMUFD)
void iommufd_access_mark_dirty(struct iommufd_access *access,
			       unsigned long iova, size_t length);

void iommufd_device_set_dirty_ops(struct iommufd_device *idev,
				  const struct iommufd_dirty_device_ops *ops,
				  void *data);
void iommufd_dirty_mark(struct iommufd_device *idev, unsigned long iova,
			size_t length);
void iommufd_dirty_lost(struct iommufd_device *idev);
int iommufd_dirty_hold(struct iommufd_device *idev, unsigned long iova,
		       size_t length);
void iommufd_dirty_release(struct iommufd_device *idev, unsigned long iova,
			   size_t length);

void iommufd_device_set_still(struct iommufd_device *idev,
			      bool (*is_still)(void *data), void *data);
int iommufd_dirty_state_begin(struct iommufd_device *idev, bool writes);
void iommufd_dirty_state_end(struct iommufd_device *idev);
int iommufd_device_read(struct iommufd_device *idev, unsigned long iova,
			void *data, size_t length);

bool iommufd_dirty_can_log(struct iommufd_device *idev);
int iommufd_dirty_logging_start(struct iommufd_device *idev,
				struct iommufd_access *access);
void iommufd_dirty_logging_stop(struct iommufd_device *idev,
				struct iommufd_access *access);
int iommufd_dirty_logging_report(struct iommufd_device *idev,
				 struct iommufd_access *access,
				 unsigned long iova, unsigned long length,
				 u64 page_size, void __user *data);
#else
static inline void iommufd_access_mark_dirty(struct iommufd_access *access,
					     unsigned long iova, size_t length)
{
}
#endif

#endif
