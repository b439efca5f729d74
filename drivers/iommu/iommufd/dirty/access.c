// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses as a provider: emulated devices write by the CPU, through
 * iommufd_access_rw() or into pages that they pinned
 */
#include <kunit/visibility.h>
#include <linux/interval_tree.h>
#include <linux/iommufd_dirty.h>
#include <linux/overflow.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <trace/events/iommufd_dirty.h>

#include "../io_pagetable.h"
#include "dirty.h"

/**
 * struct dirty_pin - a range that an access has pinned
 * @node: the range, in &iommufd_dirty_tracker.pins
 * @access: who pinned it
 * @pins: how often
 * @writes: how often to be written.  When one of several pins goes nobody says
 *	    which, so the range counts as written until the last is gone.
 *
 * Under pins_lock.
 */
struct dirty_pin {
	struct interval_tree_node node;
	struct iommufd_access *access;
	unsigned int pins;
	unsigned int writes;
};

/**
 * iommufd_dirty_access_wrote() - A range was written by the CPU
 * @iopt: the IOAS
 * @iova: first address
 * @last: last address
 *
 * Context: any, interrupts included; the range is mapped.
 */
void iommufd_dirty_access_wrote(struct io_pagetable *iopt, unsigned long iova,
				unsigned long last)
{
	struct iommufd_ioas *ioas = container_of(iopt, struct iommufd_ioas,
						 iopt);
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;

	trace_iommufd_dirty_mark(ioas->obj.id, iova, last);
	iommufd_dirty_push(tracker, &tracker->access, iova, last);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_access_wrote);

/**
 * iommufd_access_mark_dirty() - Say that pages were written
 * @access: who wrote them
 * @iova: first address
 * @length: how many bytes, at least 1
 *
 * For a driver that pinned pages without IOMMUFD_ACCESS_RW_WRITE, since most of
 * them are only read, and writes to some after all; or that knows better than
 * "all that is pinned" what it wrote.  To be called after writing.
 * iommufd_access_rw() and pins with IOMMUFD_ACCESS_RW_WRITE need it not.
 *
 * Pages that are not mapped are passed over.
 *
 * Context: any, interrupts included.  The caller has pages of the same IOAS
 * pinned through @access until this returns.
 */
void iommufd_access_mark_dirty(struct iommufd_access *access,
			       unsigned long iova, size_t length)
{
	unsigned long last;

	if (WARN_ON_ONCE(!length || !access->ioas_unpin ||
			 check_add_overflow(iova, length - 1, &last)))
		return;
	iommufd_dirty_access_wrote(&access->ioas_unpin->iopt, iova, last);
}
EXPORT_SYMBOL_NS_GPL(iommufd_access_mark_dirty, "IOMMUFD");

static struct dirty_pin *find_pin(struct iommufd_dirty_tracker *tracker,
				  struct iommufd_access *access,
				  unsigned long iova, unsigned long last)
{
	struct interval_tree_node *node;
	struct dirty_pin *pin;

	for (node = interval_tree_iter_first(&tracker->pins, iova, last); node;
	     node = interval_tree_iter_next(node, iova, last)) {
		pin = container_of(node, struct dirty_pin, node);
		if (pin->access == access && node->start == iova &&
		    node->last == last)
			return pin;
	}
	return NULL;
}

/**
 * iommufd_dirty_access_pin() - A range is pinned
 * @iopt: the IOAS
 * @access: who pins
 * @iova: first address
 * @last: last address
 * @write: to be written
 *
 * Pins are known whether or not anybody reads, since a reader may start while
 * they are held.
 *
 * Context: process; before the pages can be written.
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_dirty_access_pin(struct io_pagetable *iopt,
			     struct iommufd_access *access, unsigned long iova,
			     unsigned long last, bool write)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct dirty_pin *new, *pin;

	new = kzalloc_obj(*new, GFP_KERNEL_ACCOUNT);
	if (!new)
		return -ENOMEM;

	scoped_guard(mutex, &tracker->pins_lock) {
		pin = find_pin(tracker, access, iova, last);
		if (!pin) {
			pin = new;
			new = NULL;
			pin->node.start = iova;
			pin->node.last = last;
			pin->access = access;
			interval_tree_insert(&pin->node, &tracker->pins);
		}
		pin->pins++;
		pin->writes += write;
	}
	kfree(new);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_access_pin);

static void put_pin(struct iommufd_dirty_tracker *tracker,
		    struct dirty_pin *pin)
{
	lockdep_assert_held(&tracker->pins_lock);
	if (--pin->pins)
		return;
	interval_tree_remove(&pin->node, &tracker->pins);
	kfree(pin);
}

/**
 * iommufd_dirty_access_unpin() - A pin of a range goes
 * @iopt: the IOAS
 * @access: who pinned it
 * @iova: first address, as it was pinned
 * @last: last address, as it was pinned
 *
 * What was pinned to be written is dirty once more.
 *
 * Context: process; the range is mapped.
 */
void iommufd_dirty_access_unpin(struct io_pagetable *iopt,
				struct iommufd_access *access,
				unsigned long iova, unsigned long last)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct dirty_pin *pin;

	/* Marked while it is still found: no read comes in between */
	guard(mutex)(&tracker->pins_lock);
	pin = find_pin(tracker, access, iova, last);
	if (!pin)
		return;
	if (pin->writes)
		iommufd_dirty_access_wrote(iopt, iova, last);
	put_pin(tracker, pin);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_access_unpin);

/**
 * iommufd_dirty_access_pin_failed() - A pin came to nothing
 * @iopt: the IOAS
 * @access: who pinned
 * @iova: first address, as given to iommufd_dirty_access_pin()
 * @last: last address, likewise
 * @write: likewise
 *
 * Context: process.
 */
void iommufd_dirty_access_pin_failed(struct io_pagetable *iopt,
				     struct iommufd_access *access,
				     unsigned long iova, unsigned long last,
				     bool write)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct dirty_pin *pin;

	guard(mutex)(&tracker->pins_lock);
	pin = find_pin(tracker, access, iova, last);
	if (WARN_ON(!pin))
		return;
	pin->writes -= write;
	put_pin(tracker, pin);
}

/*
 * What is pinned to be written may be written at any time.  A pin is known before it is
 * known whether all of it is mapped.
 */
static int access_collect(struct io_pagetable *iopt,
			  struct iommufd_dirty_provider *provider,
			  unsigned long iova, unsigned long last, bool clear)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct interval_tree_node *node;

	guard(mutex)(&tracker->pins_lock);
	for (node = interval_tree_iter_first(&tracker->pins, iova, last); node;
	     node = interval_tree_iter_next(node, iova, last)) {
		if (container_of(node, struct dirty_pin, node)->writes)
			iommufd_dirty_record_mapped(iopt, provider,
						    max(iova, node->start),
						    min(last, node->last));
	}
	return 0;
}

static const struct iommufd_dirty_provider_ops access_ops = {
	.name = "access",
	.type = IOMMU_DIRTY_PROVIDER_ACCESS,
	.collect = access_collect,
};

/**
 * iommufd_dirty_access_init() - Make the provider of an IOAS's accesses
 * @tracker: of the IOAS
 *
 * Context: process.
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_dirty_access_init(struct iommufd_dirty_tracker *tracker)
{
	struct iommufd_dirty_provider *provider = &tracker->access;
	u64 __percpu *pushed = alloc_percpu_gfp(u64, GFP_KERNEL_ACCOUNT);

	if (!pushed)
		return -ENOMEM;
	mutex_init(&tracker->pins_lock);
	tracker->pins = RB_ROOT_CACHED;
	*provider = (struct iommufd_dirty_provider){
		.ops = &access_ops,
		.exact = true,
		.shift = PAGE_SHIFT,
		.granule_min = PAGE_SIZE,
		.granule_max = PAGE_SIZE,
		/* Accesses may mark whenever anybody reads */
		.wanted = true,
		.pushed = pushed,
	};
	return 0;
}
