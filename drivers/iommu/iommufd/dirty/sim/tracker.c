// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated device's own dirty tracker
 *
 * The device knows what it writes: by address as it says it, before translation.
 * Either it keeps a log that is asked (pull), as struct vfio_log_ops has it, or
 * it says each write at once (push).  A push device is told to begin and to end,
 * and needs a kernel that listens.
 *
 * What is hardware here runs under the lock of the port, as all else that a
 * request does: when a flush returns, what was written before is logged.
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/interval_tree.h>
#include <linux/iommufd.h>
#include <linux/iova_bitmap.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "dsim.h"

/* A log of more is refused, as hardware has limits too: 512 GB of 4 KiB */
#define LOG_BITS_MAX	BIT(27)

/**
 * struct dsim_log_range - a range that is logged
 * @first: first address
 * @last: last address
 * @bits: one for each granule that any of it lies in
 */
struct dsim_log_range {
	u64 first;
	u64 last;
	unsigned long *bits;
};

static struct dsim_device *to_dsim(struct vfio_device *vdev)
{
	return container_of(vdev, struct dsim_device, vdev);
}

/* What bit 0 of a range stands for */
static u64 base_of(const struct dsim_tracker *tracker,
		   const struct dsim_log_range *range)
{
	return round_down(range->first, tracker->granule);
}

static u64 bit_of(const struct dsim_tracker *tracker,
		  const struct dsim_log_range *range, u64 iova)
{
	return (iova - base_of(tracker, range)) / tracker->granule;
}

/* ---- Hardware ---- */

static void log_write(struct dsim_tracker *tracker, u64 iova, u64 last)
{
	unsigned int i;

	for (i = 0; i != tracker->nr_ranges; i++) {
		struct dsim_log_range *range = &tracker->ranges[i];
		u64 first = max(iova, range->first);
		u64 end = min(last, range->last);

		if (first > end)
			continue;
		first = bit_of(tracker, range, first);
		end = bit_of(tracker, range, end);
		bitmap_set(range->bits, first, end - first + 1);
	}
}

#if DSIM_CAN_PUSH
static void push_write(struct dsim_tracker *tracker, u64 iova, u64 last)
{
	iommufd_dirty_mark(tracker->idev, iova, last - iova + 1);
}

static void tell_lost(struct dsim_tracker *tracker)
{
	if (tracker->on && tracker->idev)
		iommufd_dirty_lost(tracker->idev);
}
#else
static void push_write(struct dsim_tracker *tracker, u64 iova, u64 last) {}
static void tell_lost(struct dsim_tracker *tracker) {}
#endif

/**
 * dsim_tracker_wrote() - The device wrote memory
 * @tracker: of the device, or NULL
 * @iova: first address
 * @len: bytes, at least 1
 *
 * Context: the port's lock is held.
 */
void dsim_tracker_wrote(struct dsim_tracker *tracker, u64 iova, size_t len)
{
	if (!tracker || !tracker->on || tracker->mute)
		return;
	if (tracker->idev)
		push_write(tracker, iova, iova + len - 1);
	else
		log_write(tracker, iova, iova + len - 1);
}

/* ---- The log ---- */

static void free_ranges(struct dsim_log_range *ranges, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i != nr; i++)
		kvfree(ranges[i].bits);
	kvfree(ranges);
}

static int alloc_range(struct dsim_log_range *range,
		       const struct interval_tree_node *node, u64 granule,
		       u64 *left)
{
	u64 nr;

	range->first = node->start;
	range->last = node->last;
	nr = range->last / granule - range->first / granule + 1;
	if (!nr || nr > *left)
		return -E2BIG;
	*left -= nr;
	range->bits = kvcalloc(BITS_TO_LONGS(nr), sizeof(long),
			       GFP_KERNEL_ACCOUNT);
	return range->bits ? 0 : -ENOMEM;
}

static int alloc_ranges(struct rb_root_cached *root, unsigned int nr,
			u64 granule, struct dsim_log_range **out)
{
	struct dsim_log_range *ranges;
	struct interval_tree_node *node;
	u64 left = LOG_BITS_MAX;
	unsigned int i = 0;
	int rc;

	ranges = kvcalloc(nr, sizeof(*ranges), GFP_KERNEL_ACCOUNT);
	if (!ranges)
		return -ENOMEM;
	for (node = interval_tree_iter_first(root, 0, ULONG_MAX); node;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		rc = alloc_range(&ranges[i++], node, granule, &left);
		if (rc) {
			free_ranges(ranges, nr);
			return rc;
		}
	}
	*out = ranges;
	return 0;
}

/* What stays of a log that a reset ended too */
static void forget_log(struct dsim_device *ddev)
{
	struct dsim_tracker *tracker = &ddev->tracker;

	lockdep_assert_held(&tracker->lock);
	scoped_guard(spinlock, &ddev->port->lock)
		tracker->on = false;
	free_ranges(tracker->ranges, tracker->nr_ranges);
	tracker->ranges = NULL;
	tracker->nr_ranges = 0;
}

static int dsim_log_start(struct vfio_device *vdev, struct rb_root_cached *root,
			  u32 nr, u64 *page_size)
{
	struct dsim_device *ddev = to_dsim(vdev);
	const struct dsim_options *options = &ddev->port->options;
	struct dsim_tracker *tracker = &ddev->tracker;
	struct dsim_log_range *ranges;
	int rc;

	guard(mutex)(&tracker->lock);
	if (READ_ONCE(tracker->on))
		return -EINVAL;
	if (READ_ONCE(tracker->broken))
		return -EIO;
	if (options->ranges && nr > options->ranges) {
		vfio_combine_iova_ranges(root, nr, options->ranges);
		nr = options->ranges;
	}
	rc = alloc_ranges(root, nr, options->granule, &ranges);
	if (rc)
		return rc;
	forget_log(ddev);
	scoped_guard(spinlock, &ddev->port->lock) {
		tracker->ranges = ranges;
		tracker->nr_ranges = nr;
		tracker->granule = options->granule;
		tracker->on = true;
	}
	*page_size = options->granule;
	return 0;
}

static int dsim_log_stop(struct vfio_device *vdev)
{
	struct dsim_device *ddev = to_dsim(vdev);

	guard(mutex)(&ddev->tracker.lock);
	forget_log(ddev);
	return 0;
}

/* All of a word, of which @mask is cleared */
static unsigned long take_word(struct dsim_port *port, unsigned long *word,
			       unsigned long mask)
{
	unsigned long bits;

	guard(spinlock)(&port->lock);
	bits = *word;
	*word &= ~mask;
	return bits;
}

/*
 * A granule of which only a part is asked for is reported and stays in the log,
 * for whoever asks for the rest.
 */
static void report_word(struct dsim_device *ddev, struct dsim_log_range *range,
			unsigned long index, u64 iova, u64 last,
			struct iova_bitmap *dirty)
{
	u64 granule = ddev->tracker.granule;
	u64 base = base_of(&ddev->tracker, range) +
		   index * BITS_PER_LONG * granule;
	unsigned long whole = 0, bits, bit;
	u64 first, end;

	for (bit = 0; bit != BITS_PER_LONG; bit++) {
		first = max(base + bit * granule, range->first);
		end = min(base + bit * granule + (granule - 1), range->last);
		if (first >= iova && end <= last)
			whole |= BIT(bit);
	}
	bits = take_word(ddev->port, &range->bits[index], whole);
	for_each_set_bit(bit, &bits, BITS_PER_LONG) {
		first = max3(base + bit * granule, range->first, iova);
		end = min3(base + bit * granule + (granule - 1), range->last,
			   last);
		if (first <= end)
			iova_bitmap_set(dirty, first, end - first + 1);
	}
}

static struct dsim_log_range *find_range(struct dsim_tracker *tracker, u64 iova,
					 u64 last)
{
	unsigned int i;

	for (i = 0; i != tracker->nr_ranges; i++)
		if (iova >= tracker->ranges[i].first &&
		    last <= tracker->ranges[i].last)
			return &tracker->ranges[i];
	return NULL;
}

static int dsim_log_read_and_clear(struct vfio_device *vdev,
				   unsigned long iova, unsigned long length,
				   struct iova_bitmap *dirty)
{
	struct dsim_device *ddev = to_dsim(vdev);
	struct dsim_tracker *tracker = &ddev->tracker;
	u64 last = iova + length - 1;
	struct dsim_log_range *range;
	unsigned long index, end;
	unsigned int slow;

	guard(mutex)(&tracker->lock);
	slow = READ_ONCE(tracker->slow);
	if (slow)
		fsleep(slow);
	if (READ_ONCE(tracker->broken))
		return -EIO;
	if (!READ_ONCE(tracker->on) || !length || last < iova)
		return -EINVAL;
	range = find_range(tracker, iova, last);
	if (!range)
		return -EINVAL;
	index = bit_of(tracker, range, iova) / BITS_PER_LONG;
	end = bit_of(tracker, range, last) / BITS_PER_LONG;
	for (; index <= end; index++) {
		/* Bits only come: one that is missed here is of the next read */
		if (data_race(range->bits[index]))
			report_word(ddev, range, index, iova, last, dirty);
		cond_resched();
	}
	return 0;
}

static const struct vfio_log_ops dsim_log_ops = {
	.log_start = dsim_log_start,
	.log_stop = dsim_log_stop,
	.log_read_and_clear = dsim_log_read_and_clear,
};

/* ---- Telling ---- */

#if DSIM_CAN_PUSH
static int push_start(void *data, struct rb_root_cached *ranges, u32 nr,
		      u64 *page_size)
{
	struct dsim_device *ddev = data;

	guard(spinlock)(&ddev->port->lock);
	if (ddev->tracker.broken)
		return -EIO;
	ddev->tracker.idev = ddev->vdev.iommufd_device;
	ddev->tracker.on = true;
	return 0;
}

static void push_stop(void *data)
{
	struct dsim_device *ddev = data;

	guard(spinlock)(&ddev->port->lock);
	ddev->tracker.on = false;
}

static const struct iommufd_dirty_device_ops push_ops = {
	.start = push_start,
	.stop = push_stop,
};

static void listen(struct dsim_device *ddev)
{
	struct iommufd_dirty_device_ops *ops = &ddev->tracker.ops;

	*ops = push_ops;
	ops->rating = ddev->port->options.rating;
	iommufd_device_set_dirty_ops(ddev->vdev.iommufd_device, ops, ddev);
}
#else
static void listen(struct dsim_device *ddev) {}
#endif

/* ---- The device ---- */

/**
 * dsim_tracker_init() - Give a device the tracker that was asked for
 * @ddev: the device; its port is known
 */
void dsim_tracker_init(struct dsim_device *ddev)
{
	enum dsim_tracker_kind kind = ddev->port->options.tracker;

	mutex_init(&ddev->tracker.lock);
	if (kind == DSIM_TRACKER_PULL)
		ddev->vdev.log_ops = &dsim_log_ops;
	scoped_guard(spinlock, &ddev->port->lock)
		ddev->port->tracker = kind == DSIM_TRACKER_NONE ?
					      NULL : &ddev->tracker;
}

/**
 * dsim_tracker_bind() - A device is bound to an iommufd
 * @vdev: the device
 * @ictx: the iommufd
 * @id: where the ID of the device goes
 *
 * Return: 0 or an errno.
 */
int dsim_tracker_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx,
		      u32 *id)
{
	struct dsim_device *ddev = to_dsim(vdev);
	int rc;

	rc = vfio_iommufd_physical_bind(vdev, ictx, id);
	if (!rc && ddev->port->options.tracker == DSIM_TRACKER_PUSH)
		listen(ddev);
	return rc;
}

/**
 * dsim_tracker_destroy() - The device goes
 * @ddev: the device, which no longer runs
 */
void dsim_tracker_destroy(struct dsim_device *ddev)
{
	free_ranges(ddev->tracker.ranges, ddev->tracker.nr_ranges);
	mutex_destroy(&ddev->tracker.lock);
}

/**
 * dsim_tracker_reset() - The device is reset, its tracker with it
 * @ddev: the device
 *
 * Tracking has ended, and what was logged is gone, as after a reset of a
 * function: whoever asks is told so.
 */
void dsim_tracker_reset(struct dsim_device *ddev)
{
	guard(spinlock)(&ddev->port->lock);
	tell_lost(&ddev->tracker);
	/* Whoever asks for the log looks without the port's lock */
	WRITE_ONCE(ddev->tracker.on, false);
}

/**
 * dsim_tracker_break() - Inject a fault: the tracker fails, or works again
 * @port: where the device is
 * @broken: which; what it knew is lost
 */
void dsim_tracker_break(struct dsim_port *port, bool broken)
{
	guard(spinlock)(&port->lock);
	if (!port->tracker || port->tracker->broken == broken)
		return;
	tell_lost(port->tracker);
	WRITE_ONCE(port->tracker->broken, broken);
	WRITE_ONCE(port->tracker->on, false);
}

/**
 * dsim_tracker_mute() - Inject a fault: the tracker misses what is written
 * @port: where the device is
 * @mute: which
 *
 * Nobody is told, as by hardware that is wrong.
 */
void dsim_tracker_mute(struct dsim_port *port, bool mute)
{
	guard(spinlock)(&port->lock);
	if (port->tracker)
		port->tracker->mute = mute;
}

/**
 * dsim_tracker_slow() - Inject a fault: the tracker takes its time
 * @port: where the device is
 * @us: microseconds that it takes longer for each answer
 *
 * As one that is asked by a command to the device's firmware.
 */
void dsim_tracker_slow(struct dsim_port *port, unsigned int us)
{
	guard(spinlock)(&port->lock);
	if (port->tracker)
		WRITE_ONCE(port->tracker->slow, us);
}
