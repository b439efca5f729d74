// SPDX-License-Identifier: GPL-2.0-only
/*
 * Devices that stand still: in a state in which they cannot write they need
 * nobody who knows what they wrote
 *
 * A provider that is exact goes on standing for such a device, it has nothing to
 * say.  What nobody tracks no longer counts.  It counts again before its state is
 * changed.  But a reset, of this device or of others with it, makes it run without
 * a word.  So where nobody stands for a device it is asked again whenever it
 * matters: at each read, when something was unmapped, when it is detached, when
 * its state is changed, and when somebody is to stand for it.  If it was woken, all
 * is dirty.
 */
#include <kunit/visibility.h>
#include <linux/export.h>
#include <linux/iommufd_dirty.h>
#include <trace/events/iommufd_dirty.h>

#include "../io_pagetable.h"
#include "dirty.h"

/**
 * iommufd_dirty_is_still() - Whether a device cannot write, at present
 * @idev: the device
 *
 * Context: process; takes locks of the device's driver.
 *
 * Return: true when it says so.
 */
bool iommufd_dirty_is_still(struct iommufd_device *idev)
{
	struct iommufd_dirty_still *still = &idev->dirty_still;

	return still->is_still && still->is_still(still->data);
}

/**
 * iommufd_dirty_is_woken() - Whether a device writes what nobody knows
 * @tracker: of the IOAS; its lock is held
 * @at: the device's attachment
 *
 * Context: process; takes locks of the device's driver.
 *
 * Return: true when nobody stands for it since it stood still, and it does no
 * more, and somebody has to know what it writes.
 */
bool iommufd_dirty_is_woken(const struct iommufd_dirty_tracker *tracker,
			    const struct iommufd_dirty_attachment *at)
{
	return at->idle && iommufd_dirty_is_read(tracker, at) &&
	       !iommufd_dirty_is_still(at->idev);
}

static bool any_is_woken(const struct iommufd_dirty_tracker *tracker)
{
	struct iommufd_dirty_attachment *at;

	list_for_each_entry(at, &tracker->attached, node)
		if (iommufd_dirty_is_woken(tracker, at))
			return true;
	return false;
}

/**
 * iommufd_dirty_report_unknown() - A device may have written what nobody knows
 * @iopt: the IOAS
 * @at: the device's attachment
 * @iova: first address
 * @last: last address
 *
 * Context: process; iova_rwsem and the tracker's lock are held.
 */
void iommufd_dirty_report_unknown(struct io_pagetable *iopt,
				  struct iommufd_dirty_attachment *at,
				  unsigned long iova, unsigned long last)
{
	iommufd_dirty_report_all(iopt, &at->hwpt->dirty.all, iova, last,
				 -EOPNOTSUPP);
}

/**
 * iommufd_dirty_report_woken() - The same, of all devices that were woken
 * @iopt: the IOAS
 * @iova: first address
 * @last: last address
 *
 * Context: process; iova_rwsem and the tracker's lock are held.
 */
void iommufd_dirty_report_woken(struct io_pagetable *iopt, unsigned long iova,
				unsigned long last)
{
	struct iommufd_dirty_attachment *at;

	lockdep_assert_held(&iopt->dirty.lock);
	list_for_each_entry(at, &iopt->dirty.attached, node)
		if (iommufd_dirty_is_woken(&iopt->dirty, at))
			iommufd_dirty_report_unknown(iopt, at, iova, last);
}

/**
 * iommufd_dirty_look_for_woken() - Have devices count that were woken by a reset
 * @iopt: the IOAS
 *
 * Finds somebody to stand for them, if there is anybody.
 *
 * Context: process; iommufd_dirty_lock() is held.
 */
void iommufd_dirty_look_for_woken(struct io_pagetable *iopt)
{
	if (any_is_woken(&iopt->dirty))
		iommufd_dirty_update(iopt);
}

/* Providers start and stop as it needs them */
static int set_still(struct iommufd_device *idev, bool is)
{
	struct iommufd_dirty_attachment *at;
	int rc, ret = 0;

	trace_iommufd_dirty_still(idev->obj.id, is);
	idev->dirty_still.still = is;
	hlist_for_each_entry(at, &idev->dirty_attached, idev_node) {
		struct io_pagetable *iopt = &at->hwpt->ioas->iopt;

		iommufd_dirty_lock(iopt);
		rc = iommufd_dirty_update(iopt);
		iommufd_dirty_unlock(iopt);
		ret = ret ?: rc;
	}
	return ret;
}

/* It was woken, and now that it stands still again nobody can see that */
static void report_before(struct iommufd_device *idev)
{
	struct iommufd_dirty_attachment *at;

	hlist_for_each_entry(at, &idev->dirty_attached, idev_node) {
		struct io_pagetable *iopt = &at->hwpt->ioas->iopt;

		iommufd_dirty_lock(iopt);
		if (at->idle && iommufd_dirty_is_read(&iopt->dirty, at))
			iommufd_dirty_report_unknown(iopt, at, 0, ULONG_MAX);
		iommufd_dirty_unlock(iopt);
	}
}

/* ---- For drivers ---- */

/**
 * iommufd_device_set_still() - A device can say whether it stands still
 * @idev: the device; it was just bound, and is attached to nothing
 * @is_still: whether the device is in a state in which it cannot write to memory.
 *	      It leaves that state only between iommufd_dirty_state_begin() and
 *	      iommufd_dirty_state_end(), or by a reset, and after a reset it says
 *	      no until the next state change.  Called until the device is
 *	      unbound, in process context, with locks of iommufd held: it must not
 *	      call back, nor wait for a lock under which anybody does.
 * @data: passed to it
 *
 * Context: process.
 */
void iommufd_device_set_still(struct iommufd_device *idev,
			      bool (*is_still)(void *data), void *data)
{
	struct iommufd_dirty_still *still = &idev->dirty_still;

	if (WARN_ON(still->is_still || !hlist_empty(&idev->dirty_attached)))
		return;
	mutex_init(&still->lock);
	still->data = data;
	still->is_still = is_still;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_set_still, "IOMMUFD");

/**
 * iommufd_dirty_state_begin() - The state of a device is about to change
 * @idev: the device, with iommufd_device_set_still()
 * @writes: it may write to memory in the new state, or on the way there
 *
 * What it writes from here on is known, if it can be.  There is one change at a
 * time, until iommufd_dirty_state_end(), which has to follow in any case.
 *
 * When the device is reset between this and the change itself, from one state in
 * which it stands still to another, nobody can tell it from one that was not.
 *
 * Context: process; no lock that @is_still takes is held.
 *
 * Return: 0; -EBUSY when pages are being tracked and nobody could tell what the
 * device writes, so that its state must not change; or -ENOMEM.
 */
int iommufd_dirty_state_begin(struct iommufd_device *idev, bool writes)
{
	struct iommufd_dirty_still *still = &idev->dirty_still;
	int rc;

	mutex_lock(&still->lock);
	guard(mutex)(&idev->igroup->lock);
	still->wrote = !iommufd_dirty_is_still(idev);
	if (!still->still || (!writes && !still->wrote))
		return 0;
	rc = set_still(idev, false);
	/* It runs already, by a reset, so there is nothing to refuse */
	if (!rc || still->wrote)
		return 0;
	set_still(idev, true);
	return rc == -ENOMEM ? rc : -EBUSY;
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_state_begin, "IOMMUFD");

/**
 * iommufd_dirty_state_end() - The state of a device has changed, or has not
 * @idev: the device, after iommufd_dirty_state_begin()
 *
 * If it stands still now, what it wrote before is collected where nobody goes on
 * standing for it.
 *
 * Context: process; no lock that @is_still takes is held.
 */
void iommufd_dirty_state_end(struct iommufd_device *idev)
{
	struct iommufd_dirty_still *still = &idev->dirty_still;
	bool is;

	lockdep_assert_held(&still->lock);
	scoped_guard(mutex, &idev->igroup->lock) {
		is = iommufd_dirty_is_still(idev);
		if (is && still->wrote)
			report_before(idev);
		if (is != still->still)
			set_still(idev, is);
	}
	mutex_unlock(&still->lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_state_end, "IOMMUFD");
