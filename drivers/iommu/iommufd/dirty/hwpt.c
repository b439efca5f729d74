// SPDX-License-Identifier: GPL-2.0-only
/*
 * The HWPT as a reader: IOMMU_HWPT_SET_DIRTY_TRACKING and
 * IOMMU_HWPT_GET_DIRTY_BITMAP
 */
#include <linux/bitops.h>
#include <linux/iommu.h>
#include <linux/log2.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../iommufd_private.h"
#include "dirty.h"

/* No entry of the page table stands for less, no access is finer */
static unsigned int reader_shift(const struct iommufd_hwpt_paging *hwpt)
{
	return min(__ffs(hwpt->common.domain->pgsize_bitmap), PAGE_SHIFT);
}

int iommufd_hwpt_set_dirty_tracking(struct iommufd_ucmd *ucmd)
{
	struct iommu_hwpt_set_dirty_tracking *cmd = ucmd->cmd;
	struct iommufd_dirty_reader *reader;
	struct iommufd_hwpt_paging *hwpt;
	struct io_pagetable *iopt;
	bool enable;
	int rc = 0;

	if (cmd->flags & ~IOMMU_HWPT_DIRTY_TRACKING_ENABLE)
		return -EOPNOTSUPP;

	hwpt = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);

	enable = cmd->flags & IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
	iopt = &hwpt->ioas->iopt;
	reader = &hwpt->dirty.reader;
	scoped_guard(mutex, &reader->lock) {
		if (!hwpt->dirty.asked)
			rc = -EOPNOTSUPP;
		else if (enable && !reader->active)
			rc = iommufd_dirty_reader_start(iopt, reader, hwpt,
							reader_shift(hwpt));
		else if (!enable && reader->active)
			iommufd_dirty_reader_stop(iopt, reader);
	}
	iommufd_put_object(ucmd->ictx, &hwpt->common.obj);
	return rc;
}

static int get_bitmap(struct iommufd_hwpt_paging *hwpt,
		      struct iommu_hwpt_get_dirty_bitmap *cmd)
{
	bool clear = !(cmd->flags & IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR);
	struct io_pagetable *iopt = &hwpt->ioas->iopt;
	struct dirty_user_bitmap user = {
		.iova = cmd->iova,
		.last = cmd->iova + cmd->length - 1,
		.data = cmd->data,
	};
	u64 bytes;
	int rc;

	rc = iommufd_check_iova_range(iopt, cmd);
	if (rc)
		return rc;
	if (!is_power_of_2(cmd->page_size))
		return -EINVAL;
	user.shift = ilog2(cmd->page_size);
	bytes = DIV_ROUND_UP_ULL(((user.last - user.iova) >> user.shift) + 1,
				 BITS_PER_BYTE);
	if (!hwpt->dirty.asked)
		return -EOPNOTSUPP;
	if (!access_ok(u64_to_user_ptr(cmd->data), bytes))
		return -EFAULT;

	guard(mutex)(&hwpt->dirty.reader.lock);
	/* Without tracking there is no truth to tell */
	if (!hwpt->dirty.reader.active)
		return -EINVAL;
	return iommufd_dirty_reader_read(iopt, &hwpt->dirty.reader, &user,
					 clear);
}

int iommufd_hwpt_get_dirty_bitmap(struct iommufd_ucmd *ucmd)
{
	struct iommu_hwpt_get_dirty_bitmap *cmd = ucmd->cmd;
	struct iommufd_hwpt_paging *hwpt;
	int rc;

	if ((cmd->flags & ~IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR) ||
	    cmd->__reserved)
		return -EOPNOTSUPP;

	hwpt = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);
	rc = get_bitmap(hwpt, cmd);
	iommufd_put_object(ucmd->ictx, &hwpt->common.obj);
	return rc;
}

/**
 * iommufd_dirty_hwpt_init() - There is an HWPT
 * @hwpt: the HWPT; it has its domain, which nothing is attached to yet
 *
 * Context: process.
 *
 * Return: 0 or -ENOMEM; then too it is to be undone by
 * iommufd_dirty_hwpt_release().
 */
int iommufd_dirty_hwpt_init(struct iommufd_hwpt_paging *hwpt)
{
	mutex_init(&hwpt->dirty.reader.lock);
	iommufd_dirty_all_init(&hwpt->dirty.all, hwpt);
	iommufd_dirty_provider_add(&hwpt->ioas->iopt, &hwpt->dirty.all);
	return iommufd_dirty_domain_init(hwpt);
}

/**
 * iommufd_dirty_hwpt_release() - The HWPT goes
 * @hwpt: the HWPT, its domain still in the IOAS; nothing is attached.  It need
 *	  not have come as far as iommufd_dirty_hwpt_init().
 *
 * Context: process.
 */
void iommufd_dirty_hwpt_release(struct iommufd_hwpt_paging *hwpt)
{
	struct io_pagetable *iopt = &hwpt->ioas->iopt;

	if (!hwpt->dirty.all.ops)
		return;
	scoped_guard(mutex, &hwpt->dirty.reader.lock)
		if (hwpt->dirty.reader.active)
			iommufd_dirty_reader_stop(iopt, &hwpt->dirty.reader);
	iommufd_dirty_domain_remove(hwpt);
	iommufd_dirty_provider_remove(iopt, &hwpt->dirty.all);
	hwpt->dirty.all.ops = NULL;
}
