// SPDX-License-Identifier: GPL-2.0-only
/*
 * Accesses as a provider: emulated devices write by the CPU, through
 * iommufd_access_rw() or into pages that they pinned
 */
#include <linux/interval_tree.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "../io_pagetable.h"
#include "dirty.h"

/**
 * struct dirty_pin - pages that an access may be writing to at any time
 * @node: the range, in &iommufd_dirty_tracker.pins
 * @access: who pinned it
 */
struct dirty_pin {
	struct interval_tree_node node;
	struct iommufd_access *access;
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
	struct iommufd_dirty_reader *reader;

	guard(rcu)();
	list_for_each_entry_rcu(reader, &iopt->dirty.readers, node)
		dirty_bitmap_set(&reader->pending, iova, last);
}

/**
 * iommufd_dirty_access_pin() - A range is pinned to be written
 * @iopt: the IOAS
 * @access: who pins
 * @iova: first address
 * @last: last address
 *
 * Pins are known whether or not anybody reads, since a reader may start while
 * they are held.
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_dirty_access_pin(struct io_pagetable *iopt,
			     struct iommufd_access *access, unsigned long iova,
			     unsigned long last)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct dirty_pin *pin;

	pin = kzalloc_obj(*pin, GFP_KERNEL_ACCOUNT);
	if (!pin)
		return -ENOMEM;
	pin->node.start = iova;
	pin->node.last = last;
	pin->access = access;
	guard(spinlock)(&tracker->pins_lock);
	interval_tree_insert(&pin->node, &tracker->pins);
	return 0;
}

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
 * iommufd_dirty_access_unpin() - A range is pinned no more
 * @iopt: the IOAS
 * @access: who pinned it
 * @iova: first address, as it was pinned
 * @last: last address, as it was pinned
 * @written: false when the pin came to nothing
 *
 * What was pinned to be written is dirty once more.  A range that an access
 * pinned for reading too may be either of its pins; it is taken for the written
 * one, and the other is then nothing that anybody waits for.
 *
 * Context: the range is mapped.
 */
void iommufd_dirty_access_unpin(struct io_pagetable *iopt,
				struct iommufd_access *access,
				unsigned long iova, unsigned long last,
				bool written)
{
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct dirty_pin *pin;

	/* Marked while it is still found: no read comes in between */
	scoped_guard(spinlock, &tracker->pins_lock) {
		pin = find_pin(tracker, access, iova, last);
		if (!pin)
			return;
		if (written)
			iommufd_dirty_access_wrote(iopt, iova, last);
		interval_tree_remove(&pin->node, &tracker->pins);
	}
	kfree(pin);
}

/**
 * iommufd_dirty_access_collect() - Mark what is pinned to be written
 * @tracker: the tracker; its lock is held
 * @reader: for whom
 * @iova: first address
 * @last: last address
 */
void iommufd_dirty_access_collect(struct iommufd_dirty_tracker *tracker,
				  struct iommufd_dirty_reader *reader,
				  unsigned long iova, unsigned long last)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&tracker->lock);
	guard(spinlock)(&tracker->pins_lock);
	for (node = interval_tree_iter_first(&tracker->pins, iova, last); node;
	     node = interval_tree_iter_next(node, iova, last))
		dirty_bitmap_set(&reader->pending, max(iova, node->start),
				 min(last, node->last));
}
