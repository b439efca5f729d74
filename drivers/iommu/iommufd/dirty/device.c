// SPDX-License-Identifier: GPL-2.0-only
/*
 * A device's own tracker as a provider: the device knows what it wrote
 *
 * The driver's log is started over what the IOAS maps, with room to spare, since
 * most of what is mapped later lies near to what is.  When something is mapped
 * elsewhere the log has to be started anew, and between its end and its new start
 * the device writes what nobody sees: then everything is reported dirty, once.
 * The same holds when the log fails, or is gone after a reset of the device.
 *
 * A driver can only read and clear.  What it gives is for all readers, whatever
 * the one who asks wants: it waits for them in their pending bits.
 */
#include <kunit/visibility.h>
#include <linux/interval_tree.h>
#include <linux/iommufd.h>
#include <linux/iommufd_dirty.h>
#include <linux/iova_bitmap.h>
#include <linux/overflow.h>
#include <linux/percpu.h>
#include <linux/rculist.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <trace/events/iommufd_dirty.h>

#include "../io_pagetable.h"
#include "dirty.h"

/* Ranges are made wider than what is mapped, up to multiples of this */
#define ROOM	SZ_1G

/* So many ranges every driver takes: as many as user space could ask it for */
#define MAX_RANGES	256

/* What a driver is asked for at once begins and ends with a word of its log */
#define WORD	BITS_PER_LONG

/**
 * struct dirty_range - a range that the driver logs
 * @first: first address
 * @last: last address
 */
struct dirty_range {
	unsigned long first;
	unsigned long last;
};

/**
 * struct dirty_hold - a range that is dirty until told
 * @node: the range, in &iommufd_dirty_device.held
 */
struct dirty_hold {
	struct interval_tree_node node;
};

static struct iommufd_dirty_user *
to_user(struct iommufd_dirty_provider *provider)
{
	return container_of(provider, struct iommufd_dirty_user, provider);
}

/* ---- From the device to readers ---- */

static void push(struct iommufd_dirty_user *user, unsigned long iova,
		 unsigned long last)
{
	iommufd_dirty_push(&user->iopt->dirty, &user->provider, iova, last);
}

/*
 * What the device tells apart may be larger than what is mapped, and it may log
 * writes that fault.  Areas that are being mapped or unmapped count: their pages
 * can be written already, or still.
 */
static void push_mapped(struct iommufd_dirty_user *user, unsigned long iova,
			unsigned long last)
{
	struct iopt_area *area;

	for (area = iopt_area_iter_first(user->iopt, iova, last); area;
	     area = iopt_area_iter_next(area, iova, last))
		if (area->iommu_prot & IOMMU_WRITE)
			push(user, max(iova, iopt_area_iova(area)),
			     min(last, iopt_area_last_iova(area)));
}

static bool lies_in(struct iopt_area *area, unsigned long iova,
		    unsigned long last)
{
	return area && iopt_area_iova(area) <= iova &&
	       iopt_area_last_iova(area) >= last;
}

/* Pages come in ascending order, most of them in the area of the one before */
static bool find_area(struct iommufd_dirty_device *device, unsigned long iova,
		      unsigned long last)
{
	if (!lies_in(device->area, iova, last))
		device->area = iopt_area_iter_first(device->iopt, iova, last);
	return lies_in(device->area, iova, last);
}

/* As all is recorded that is collected, not one by one; false: it has to be pushed */
static bool record(struct iommufd_dirty_device *device, unsigned long iova,
		   unsigned long last)
{
	struct iopt_area *area;

	if (!find_area(device, iova, last))
		return false;
	area = device->area;
	/* While it is being mapped or unmapped it may have no chunks */
	if (!area->pages)
		return false;
	if (area->iommu_prot & IOMMU_WRITE)
		iommufd_dirty_record(&device->iopt->dirty,
				     &device->asking->provider, iova, last);
	return true;
}

static void sink_set(void *data, unsigned long iova, size_t length)
{
	struct iommufd_dirty_device *device = data;
	unsigned long last = iova + length - 1;
	struct iommufd_dirty_user *user;

	list_for_each_entry(user, &device->users, node)
		if (user != device->asking || !record(device, iova, last))
			push_mapped(user, iova, last);
}

static const struct iova_bitmap_sink device_sink = {
	.set = sink_set,
};

static void push_held(struct iommufd_dirty_user *user, unsigned long iova,
		      unsigned long last)
{
	struct iommufd_dirty_device *device = user->device;
	struct interval_tree_node *node;

	guard(spinlock_irqsave)(&device->held_lock);
	for (node = interval_tree_iter_first(&device->held, iova, last); node;
	     node = interval_tree_iter_next(node, iova, last))
		push_mapped(user, max(iova, node->start),
			    min(last, node->last));
}

/* ---- The driver's log ---- */

/* What was written since, or before, is not known */
static void leave_gap(struct iommufd_dirty_device *device, int rc)
{
	struct iommufd_dirty_user *user;

	list_for_each_entry(user, &device->users, node)
		user->gap = rc;
}

static unsigned int count_areas(struct io_pagetable *iopt)
{
	struct iopt_area *area;
	unsigned int nr = 0;

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX))
		nr++;
	return nr;
}

/* Ascending, none touches the next */
static unsigned int list_ranges(struct io_pagetable *iopt, unsigned long room,
				struct interval_tree_node *nodes)
{
	struct iopt_area *area;
	unsigned int nr = 0;

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		unsigned long first = round_down(iopt_area_iova(area), room);
		unsigned long last = iopt_area_last_iova(area) | (room - 1);

		/* Both may be below where the first one begins: no first - 1 */
		if (!nr || (first > nodes[nr - 1].last &&
			    first - nodes[nr - 1].last > 1))
			nodes[nr++].start = first;
		nodes[nr - 1].last = last;
	}
	return nr;
}

/* Ranges that are far apart are many: then those less far apart become one */
static unsigned int fit_ranges(struct io_pagetable *iopt,
			       struct interval_tree_node *nodes)
{
	unsigned long room = ROOM;
	unsigned int nr;

	while ((nr = list_ranges(iopt, room, nodes)) > MAX_RANGES)
		room *= 2;
	return nr;
}

static void set_granule(struct iommufd_dirty_user *user)
{
	user->provider.granule_min = user->device->page_size;
	user->provider.granule_max = user->device->page_size;
}

/* The driver may have combined ranges: these are the ones that it has */
static void take_ranges(struct iommufd_dirty_device *device,
			struct rb_root_cached *root)
{
	struct interval_tree_node *node;
	struct iommufd_dirty_user *user;
	unsigned int nr = 0;

	for (node = interval_tree_iter_first(root, 0, ULONG_MAX); node;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX))
		device->ranges[nr++] = (struct dirty_range){
			.first = node->start,
			.last = node->last,
		};
	device->nr_ranges = nr;
	list_for_each_entry(user, &device->users, node)
		set_granule(user);
}

static int start_driver(struct iommufd_dirty_device *device,
			struct interval_tree_node *nodes, unsigned int nr)
{
	struct rb_root_cached root = RB_ROOT_CACHED;
	u64 page_size = PAGE_SIZE;
	unsigned int i;
	int rc;

	for (i = 0; i != nr; i++)
		interval_tree_insert(&nodes[i], &root);
	rc = device->ops->start(device->data, &root, nr, &page_size);
	if (rc)
		return rc;
	if (!is_power_of_2(page_size) || page_size > SZ_1G) {
		device->ops->stop(device->data);
		return -EINVAL;
	}
	device->page_size = page_size;
	device->started = true;
	take_ranges(device, &root);
	return 0;
}

static void stop_log(struct iommufd_dirty_device *device)
{
	if (device->started)
		device->ops->stop(device->data);
	device->started = false;
	kvfree(device->ranges);
	device->ranges = NULL;
	device->nr_ranges = 0;
}

/* One that is not asked tells all, wherever it is */
static int start_pushing(struct iommufd_dirty_device *device)
{
	struct interval_tree_node everything = { .last = ULONG_MAX };

	return start_driver(device, &everything, 1);
}

static int start_log(struct iommufd_dirty_device *device)
{
	unsigned int nr = device->ops->collect ? count_areas(device->iopt) : 1;
	struct interval_tree_node *nodes __free(kvfree) = NULL;
	int rc;

	/* Nothing can be written, and drivers do not like to log nothing */
	if (!nr)
		return 0;
	nodes = kvmalloc_array(nr, sizeof(*nodes), GFP_KERNEL_ACCOUNT);
	device->ranges = kvmalloc_array(nr, sizeof(*device->ranges),
					GFP_KERNEL_ACCOUNT);
	if (!nodes || !device->ranges)
		rc = -ENOMEM;
	else if (!device->ops->collect)
		rc = start_pushing(device);
	else
		rc = start_driver(device, nodes,
				  fit_ranges(device->iopt, nodes));
	/* There may be no room, at the end of what it can address */
	if (rc && rc != -ENOMEM && device->ops->collect) {
		nr = list_ranges(device->iopt, PAGE_SIZE, nodes);
		if (nr <= MAX_RANGES)
			rc = start_driver(device, nodes, nr);
	}
	if (rc)
		stop_log(device);
	return rc;
}

static int restart_log(struct iommufd_dirty_device *device, int why)
{
	int rc;

	if (device->started || why)
		leave_gap(device, why ?: -ENOSPC);
	stop_log(device);
	WRITE_ONCE(device->error, 0);
	rc = start_log(device);
	if (!rc)
		return 0;
	WRITE_ONCE(device->error, rc);
	leave_gap(device, rc);
	return rc;
}

static int read_range(struct iommufd_dirty_device *device,
		      const struct dirty_range *range, unsigned long iova,
		      unsigned long last)
{
	unsigned long base = round_down(range->first, device->page_size);
	unsigned long word = device->page_size * WORD;

	iova = max(iova, range->first);
	last = min(last, range->last);
	if (iova > last)
		return 0;
	iova = max(range->first, base + round_down(iova - base, word));
	last = min(range->last, base + ((last - base) | (word - 1)));
	return device->ops->collect(device->data, iova, last - iova + 1,
				    device->sink);
}

static int read_log(struct iommufd_dirty_device *device, unsigned long iova,
		    unsigned long last)
{
	unsigned int i;
	int rc = 0;

	if (!device->ops->collect)
		return 0;
	for (i = 0; i != device->nr_ranges && !rc; i++)
		rc = read_range(device, &device->ranges[i], iova, last);
	if (rc) {
		WRITE_ONCE(device->error, rc);
		leave_gap(device, rc);
	}
	return rc;
}

static bool is_logged(const struct iommufd_dirty_device *device,
		      unsigned long iova, unsigned long last)
{
	unsigned int i;

	for (i = 0; i != device->nr_ranges; i++)
		if (device->ranges[i].first <= iova &&
		    device->ranges[i].last >= last)
			return true;
	return false;
}

/* ---- The provider ---- */

static int begin(struct iommufd_dirty_device *device)
{
	int rc;

	device->sink = iova_bitmap_alloc_sink(&device_sink, device);
	if (IS_ERR_OR_NULL(device->sink))
		return device->sink ? PTR_ERR(device->sink) : -EOPNOTSUPP;
	WRITE_ONCE(device->error, 0);
	rc = start_log(device);
	if (rc)
		iova_bitmap_free(device->sink);
	return rc;
}

static void leave(struct iommufd_dirty_user *user)
{
	list_del_rcu(&user->node);
	/* It may join again at once, and who marks still stand on it */
	synchronize_rcu();
}

/* Another IOAS may have the device */
static void let_go(struct iommufd_dirty_device *device)
{
	/* All that was done under this tracker's lock is seen under the next's */
	smp_store_release(&device->iopt, NULL);
}

static int device_start(struct io_pagetable *iopt,
			struct iommufd_dirty_provider *provider)
{
	struct iommufd_dirty_user *user = to_user(provider);
	struct iommufd_dirty_device *device = user->device;
	struct io_pagetable *other;
	int rc = 0;

	other = cmpxchg(&device->iopt, NULL, iopt);
	if (other && other != iopt)
		return -EBUSY;
	user->gap = 0;
	/* What was written before is for those who are there already */
	if (other)
		read_log(device, 0, ULONG_MAX);
	list_add_tail_rcu(&user->node, &device->users);
	if (!other)
		rc = begin(device);
	if (rc) {
		leave(user);
		let_go(device);
		return rc;
	}
	if (device->started)
		set_granule(user);
	return 0;
}

static void device_stop(struct io_pagetable *iopt,
			struct iommufd_dirty_provider *provider)
{
	struct iommufd_dirty_user *user = to_user(provider);
	struct iommufd_dirty_device *device = user->device;

	leave(user);
	if (!list_empty(&device->users))
		return;
	stop_log(device);
	iova_bitmap_free(device->sink);
	let_go(device);
}

static int device_collect(struct io_pagetable *iopt,
			  struct iommufd_dirty_provider *provider,
			  unsigned long iova, unsigned long last, bool clear)
{
	struct iommufd_dirty_user *user = to_user(provider);
	struct iommufd_dirty_device *device = user->device;
	int error = READ_ONCE(device->error);

	if (!error) {
		device->asking = user;
		error = read_log(device, iova, last);
		device->asking = NULL;
		device->area = NULL;
	}
	if (error)
		restart_log(device, error);
	push_held(user, iova, last);
	if (!user->gap)
		return 0;
	/* Of all ranges, since it is reported only once */
	iommufd_dirty_report_all(iopt, provider, 0, ULONG_MAX, user->gap);
	user->gap = 0;
	return 0;
}

/* What was written since the range was collected, to be unmapped */
static void device_unmap_flushed(struct io_pagetable *iopt,
				 struct iommufd_dirty_provider *provider,
				 unsigned long iova, unsigned long last)
{
	struct iommufd_dirty_user *user = to_user(provider);

	if (!READ_ONCE(user->device->error))
		read_log(user->device, iova, last);
	push_held(user, iova, last);
	/* Where there is a gap it is not reported with what is still mapped */
	if (user->gap || READ_ONCE(user->device->error))
		push_mapped(user, iova, last);
}

static void device_map(struct io_pagetable *iopt,
		       struct iommufd_dirty_provider *provider,
		       unsigned long iova, unsigned long last)
{
	struct iommufd_dirty_device *device = to_user(provider)->device;

	if (device->ops->collect && !READ_ONCE(device->error) &&
	    !is_logged(device, iova, last))
		restart_log(device, 0);
}

static const struct iommufd_dirty_provider_ops device_ops = {
	.name = "device",
	.type = IOMMU_DIRTY_PROVIDER_DEVICE,
	.start = device_start,
	.stop = device_stop,
	.collect = device_collect,
	.map = device_map,
	.unmap_flushed = device_unmap_flushed,
};

/**
 * iommufd_dirty_device_attach() - A device may have a tracker of its own
 * @at: its attachment, which nobody else knows yet
 *
 * Context: process.
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_dirty_device_attach(struct iommufd_dirty_attachment *at)
{
	struct iommufd_dirty_device *device = &at->idev->dirty_device;
	struct iommufd_dirty_user *user = &at->own;
	unsigned long granule;
	u64 __percpu *pushed;

	if (!device->ops)
		return 0;
	pushed = alloc_percpu_gfp(u64, GFP_KERNEL_ACCOUNT);
	if (!pushed)
		return -ENOMEM;
	granule = READ_ONCE(device->page_size) ?: PAGE_SIZE;
	user->device = device;
	user->iopt = &at->hwpt->ioas->iopt;
	user->provider = (struct iommufd_dirty_provider){
		.ops = &device_ops,
		.hwpt = at->hwpt,
		.exact = true,
		.shift = PAGE_SHIFT,
		.granule_min = granule,
		.granule_max = granule,
		.rating = device->ops->rating,
		.pushed = pushed,
	};
	at->can[IOMMU_DIRTY_PROVIDER_DEVICE] = &user->provider;
	iommufd_dirty_provider_add(user->iopt, &user->provider);
	return 0;
}

/**
 * iommufd_dirty_device_detach() - Undo iommufd_dirty_device_attach()
 * @at: the attachment, which nobody else knows any more
 *
 * Context: process.
 */
void iommufd_dirty_device_detach(struct iommufd_dirty_attachment *at)
{
	if (!at->own.device)
		return;
	iommufd_dirty_provider_remove(at->own.iopt, &at->own.provider);
	free_percpu(at->own.provider.pushed);
}

/* ---- For drivers ---- */

/**
 * iommufd_device_set_dirty_ops() - A device knows what it writes
 * @idev: the device; it was just bound, and is attached to nothing
 * @ops: what its driver can do
 * @data: passed to @ops
 *
 * Both are used until the device is unbound, then no more.
 *
 * Context: process.
 */
void iommufd_device_set_dirty_ops(struct iommufd_device *idev,
				  const struct iommufd_dirty_device_ops *ops,
				  void *data)
{
	struct iommufd_dirty_device *device = &idev->dirty_device;

	if (WARN_ON(device->ops || !hlist_empty(&idev->dirty_attached)))
		return;
	INIT_LIST_HEAD(&device->users);
	spin_lock_init(&device->held_lock);
	device->held = RB_ROOT_CACHED;
	device->data = data;
	device->ops = ops;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_set_dirty_ops, "IOMMUFD");

static void mark(struct iommufd_dirty_device *device, unsigned long iova,
		 unsigned long last)
{
	struct iommufd_dirty_user *user;

	guard(rcu)();
	list_for_each_entry_rcu(user, &device->users, node) {
		struct iommufd_ioas *ioas = container_of(user->iopt,
							 struct iommufd_ioas,
							 iopt);

		trace_iommufd_dirty_mark(ioas->obj.id, iova, last);
		push(user, iova, last);
	}
}

/**
 * iommufd_dirty_mark() - A device wrote
 * @idev: the device, which has struct iommufd_dirty_device_ops
 * @iova: first address
 * @length: how many bytes, at least 1
 *
 * For a driver that learns of writes without asking.  The pages are dirty once.
 * To be called after the write, and no later than the IOMMU has flushed what
 * translated it.  A driver that may learn of it later has a
 * &iommufd_dirty_device_ops.collect, which waits until it has.
 *
 * Before start() and after stop() it does nothing.
 *
 * Context: any, interrupts included.
 */
void iommufd_dirty_mark(struct iommufd_device *idev, unsigned long iova,
			size_t length)
{
	unsigned long last;

	if (WARN_ON_ONCE(!idev->dirty_device.ops || !length ||
			 check_add_overflow(iova, length - 1, &last)))
		return;
	mark(&idev->dirty_device, iova, last);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_mark, "IOMMUFD");

/**
 * iommufd_dirty_lost() - What a device wrote is not known any more
 * @idev: the device, which has struct iommufd_dirty_device_ops
 *
 * After a reset that ended its tracking, or when it failed or overflowed.  At the
 * next read all that the device could have written is reported dirty, which is
 * counted, and the driver is stopped and started anew.  When &start fails, so it
 * goes on with each read.
 *
 * Who returns an error from &iommufd_dirty_device_ops.collect need not call it.
 *
 * Context: any, interrupts included.
 */
void iommufd_dirty_lost(struct iommufd_device *idev)
{
	if (!WARN_ON_ONCE(!idev->dirty_device.ops))
		WRITE_ONCE(idev->dirty_device.error, -EIO);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_lost, "IOMMUFD");

/**
 * iommufd_dirty_hold() - A device may write to a range at any time
 * @idev: the device, which has struct iommufd_dirty_device_ops
 * @iova: first address
 * @length: how many bytes, at least 1
 *
 * What is mapped of it is dirty at every read until iommufd_dirty_release(), and
 * once after.  For rings and mailboxes, of which it is not worth while to tell
 * each write.
 *
 * Context: process.
 *
 * Return: 0, -EINVAL or -ENOMEM.
 */
int iommufd_dirty_hold(struct iommufd_device *idev, unsigned long iova,
		       size_t length)
{
	struct iommufd_dirty_device *device = &idev->dirty_device;
	struct dirty_hold *hold;
	unsigned long last;

	if (!device->ops || !length ||
	    check_add_overflow(iova, length - 1, &last))
		return -EINVAL;
	hold = kzalloc_obj(*hold, GFP_KERNEL_ACCOUNT);
	if (!hold)
		return -ENOMEM;
	hold->node.start = iova;
	hold->node.last = last;
	guard(spinlock_irqsave)(&device->held_lock);
	interval_tree_insert(&hold->node, &device->held);
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_hold, "IOMMUFD");

/**
 * iommufd_dirty_release() - Undo iommufd_dirty_hold()
 * @idev: the device
 * @iova: as it was held
 * @length: likewise
 *
 * Everything has to be released before the device is unbound.
 *
 * Context: any, interrupts included.
 */
void iommufd_dirty_release(struct iommufd_device *idev, unsigned long iova,
			   size_t length)
{
	struct iommufd_dirty_device *device = &idev->dirty_device;
	unsigned long last = iova + length - 1;
	struct interval_tree_node *node;

	guard(spinlock_irqsave)(&device->held_lock);
	for (node = interval_tree_iter_first(&device->held, iova, last); node;
	     node = interval_tree_iter_next(node, iova, last))
		if (node->start == iova && node->last == last)
			break;
	if (WARN_ON_ONCE(!node))
		return;
	/* Marked while it is still held: no read comes in between */
	mark(device, iova, last);
	interval_tree_remove(node, &device->held);
	kfree(container_of(node, struct dirty_hold, node));
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_release, "IOMMUFD");

static int read_memory(struct io_pagetable *iopt, unsigned long iova,
		       void *data, unsigned long last)
{
	struct iopt_area_contig_iter iter;
	struct iopt_area *area;
	int rc;

	guard(rwsem_read)(&iopt->iova_rwsem);
	iopt_for_each_contig_area(&iter, area, iopt, iova, last) {
		unsigned long end = min(last, iopt_area_last_iova(area));
		unsigned long bytes = end - iter.cur_iova + 1;

		if (area->prevent_access || !(area->iommu_prot & IOMMU_READ))
			return -EPERM;
		rc = iopt_pages_rw_access(area->pages,
					  iopt_area_start_byte(area,
							       iter.cur_iova),
					  data, bytes, IOMMUFD_ACCESS_RW_READ);
		if (rc)
			return rc;
		data += bytes;
	}
	return iopt_area_contig_done(&iter) ? 0 : -ENOENT;
}

/**
 * iommufd_device_read() - Read what a device would read
 * @idev: the device, which has struct iommufd_dirty_device_ops
 * @iova: first address, as the device has it
 * @data: where it goes
 * @length: how many bytes, at least 1
 *
 * For a driver that learns from descriptors in memory what the device will write.
 *
 * Context: process, without locks that are taken by an op of the above.  Accesses
 * user memory, which may be a mapping of anything.
 *
 * Return: 0; -ENOENT when nothing is mapped there, or nothing attached, or when the
 * guest translates what the device asks for; -EPERM,
 * -EINVAL when it cannot be read, -EFAULT.
 */
int iommufd_device_read(struct iommufd_device *idev, unsigned long iova,
			void *data, size_t length)
{
	struct iommufd_dirty_attachment *at;
	unsigned long last;

	if (!length || check_add_overflow(iova, length - 1, &last))
		return -EINVAL;
	guard(mutex)(&idev->igroup->lock);
	hlist_for_each_entry(at, &idev->dirty_attached, idev_node)
		if (at->pasid == IOMMU_NO_PASID && !at->nested)
			return read_memory(&at->hwpt->ioas->iopt, iova, data,
					   last);
	return -ENOENT;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_read, "IOMMUFD");
