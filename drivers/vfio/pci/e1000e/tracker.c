// SPDX-License-Identifier: GPL-2.0-only
/*
 * The device's own dirty tracker: its rings tell what it writes
 *
 * The 82574L writes to receive buffers, and to descriptors that it is done with.  It
 * learns of a buffer when the tail of a receive ring is written, and that is a trap
 * here in any case: the new descriptors are read before the device gets to know of
 * them, since it overwrites them, and the addresses of their buffers are kept.  How
 * far it has come the head says, and when that has been read, what is before it has
 * arrived in memory.  So as often as it is asked, and before what is known of a ring is
 * changed, what lies between the head then and the head now is logged.
 *
 * Frames that are under way, beyond the head, count as written too, unless DMA is
 * stopped: one of the largest size.
 *
 * When a descriptor is not known, because it could not be read, is of the kind that
 * splits packets, or is of a ring that was set up anew since, tracking has failed, and
 * everything is reported dirty.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/bitfield.h>
#include <linux/cleanup.h>
#include <linux/iommufd.h>
#include <linux/iommufd_dirty.h>
#include <linux/iova_bitmap.h>
#include <linux/slab.h>

#include "e1000e.h"

/* Largest frame that the receiver takes */
#define FRAME_MAX	16384
/* How far beyond the head: frames may come as long as there are descriptors */
#define ALL_OF_IT	U32_MAX

/* So many descriptors are read at once */
#define BATCH		64

/* No buffer is there */
#define UNKNOWN		U64_MAX

/* The log: pages of so many in a word that an xarray can hold, and so many words */
#define LOG_BITS	16
#define LOG_SHIFT	(PAGE_SHIFT + 4)
#define LOG_MAX		BIT(17)

MODULE_IMPORT_NS("IOMMUFD");

static u32 ring_reg(unsigned int q, u32 reg)
{
	return reg + q * QUEUE_STRIDE;
}

static u64 rx_base(struct e1000e *e, unsigned int q)
{
	return (u64)e1000e_get(e, ring_reg(q, RDBAH)) << 32 |
	       e1000e_get(e, ring_reg(q, RDBAL));
}

static u32 rx_slots(struct e1000e *e, unsigned int q)
{
	return e1000e_get(e, ring_reg(q, RDLEN)) / DESC_SIZE;
}

/* As the receiver is set up, or will be */
static u32 rctl(struct e1000e *e)
{
	return e->held ? e->shadow[HELD_RCTL] : e1000e_get(e, RCTL);
}

static u32 buffer_size(u32 rctl)
{
	if (rctl & RCTL_FLXBUF)
		return FIELD_GET(RCTL_FLXBUF, rctl) * 1024;
	return (2048 >> FIELD_GET(RCTL_BSIZE, rctl)) *
	       (rctl & RCTL_BSEX ? 16 : 1);
}

/* Descriptors that split packets are larger, and have several buffers */
static bool splits_packets(struct e1000e *e)
{
	return rctl(e) & RCTL_DTYP && e1000e_get(e, RFCTL) & RFCTL_EXSTEN;
}

/* ---- The log ---- */

/* A guest may name any address, mapped or not: there is an end to what is stored */
static void log_page(struct e1000e_tracker *t, u64 iova)
{
	unsigned long index = iova >> LOG_SHIFT;
	unsigned long bits = BIT((iova >> PAGE_SHIFT) % LOG_BITS);
	void *entry = xa_load(&t->log, index);

	if (entry && xa_to_value(entry) & bits)
		return;
	if (entry) {
		bits |= xa_to_value(entry);
	} else if (t->words == LOG_MAX) {
		t->error = -ENOSPC;
		return;
	}
	if (xa_err(xa_store(&t->log, index, xa_mk_value(bits),
			    GFP_KERNEL_ACCOUNT)))
		t->error = -ENOMEM;
	else if (!entry)
		t->words++;
}

static void log_write(struct e1000e_tracker *t, u64 iova, u32 length)
{
	u64 page;

	for (page = round_down(iova, PAGE_SIZE); page < iova + length;
	     page += PAGE_SIZE)
		log_page(t, page);
}

static void log_buffer(struct e1000e *e, unsigned int q, u32 slot, u32 size)
{
	struct e1000e_tracker *t = &e->tracker;
	u64 buffer = UNKNOWN;

	if (slot < t->rx[q].slots)
		buffer = t->rx[q].buffers[slot];
	if (buffer == UNKNOWN)
		t->error = -EIO;
	else
		log_write(t, buffer, size);
}

/* ---- From the rings to the log ---- */

/**
 * struct ring - a ring, when it is counted
 * @base: its address
 * @slots: how many descriptors it has
 * @seen: its head, when it was last counted
 * @head: its head now
 * @tail: where what the device may use ends
 * @runs: the device may be past the head before it is looked at again
 */
struct ring {
	u64 base;
	u32 slots;
	u32 seen;
	u32 head;
	u32 tail;
	bool runs;
};

/* @bal: the first register of those of queue 0; the others lie alike for both kinds */
static struct ring get_ring(struct e1000e *e, unsigned int q, u32 bal,
			    unsigned int held, bool on, u32 seen)
{
	u32 at = ring_reg(q, bal) - RDBAL;
	struct ring ring = {
		.base = (u64)e1000e_get(e, at + RDBAH) << 32 |
			e1000e_get(e, at + RDBAL),
		.slots = e1000e_get(e, at + RDLEN) / DESC_SIZE,
		.seen = seen,
		.head = e1000e_get(e, at + RDH),
		.tail = e->held ? e->shadow[held + q] :
				  e1000e_get(e, at + RDT),
	};

	ring.runs = !e->held && on && ring.head != ring.tail;
	return ring;
}

/* A head where none can be says that what was written is not known */
static bool to_be_counted(struct e1000e_tracker *t, const struct ring *ring)
{
	if (ring->head == U32_MAX) {	/* nobody answers */
		t->error = -EIO;
		return false;
	}
	if (ring->head == ring->seen && !ring->runs)
		return false;
	if (ring->slots > RING_MAX || ring->head >= ring->slots ||
	    ring->seen >= ring->slots) {
		t->error = -EIO;
		return false;
	}
	return true;
}

static void log_desc(struct e1000e_tracker *t, const struct ring *ring,
		     u32 slot)
{
	log_write(t, ring->base + slot * DESC_SIZE, DESC_SIZE);
}

/* The tail may be beyond the ring, which is no reason to go round more than once */
static void count_rx(struct e1000e *e, unsigned int q, u32 ahead)
{
	struct e1000e_tracker *t = &e->tracker;
	u32 size = buffer_size(rctl(e)), slot, nr;
	struct ring ring = get_ring(e, q, RDBAL, HELD_RDT0,
				    rctl(e) & RCTL_EN, t->rx_seen[q]);

	if (!to_be_counted(t, &ring))
		return;
	t->rx_seen[q] = ring.head;
	if (splits_packets(e)) {
		t->error = -EIO;
		return;
	}
	for (slot = ring.seen; slot != ring.head;
	     slot = (slot + 1) % ring.slots) {
		log_buffer(e, q, slot, size);
		log_desc(t, &ring, slot);
	}
	if (!ring.runs)
		return;
	nr = min(DIV_ROUND_UP_ULL(ahead, size), ring.slots);
	for (; nr && slot != ring.tail; nr--) {
		log_buffer(e, q, slot, size);
		log_desc(t, &ring, slot);
		slot = (slot + 1) % ring.slots;
	}
}

static void count_tx(struct e1000e *e, unsigned int q, u32 ahead)
{
	struct e1000e_tracker *t = &e->tracker;
	struct ring ring = get_ring(e, q, TDBAL, HELD_TDT0,
				    e1000e_get(e, TCTL) & TCTL_EN,
				    t->tx_seen[q]);
	u32 slot, nr;

	if (!to_be_counted(t, &ring))
		return;
	t->tx_seen[q] = ring.head;
	for (slot = ring.seen; slot != ring.head;
	     slot = (slot + 1) % ring.slots)
		log_desc(t, &ring, slot);
	if (!ring.runs)
		return;
	nr = ahead == ALL_OF_IT ? ring.slots : 1;
	for (; nr && slot != ring.tail; nr--) {
		log_desc(t, &ring, slot);
		slot = (slot + 1) % ring.slots;
	}
}

static void look_from_here(struct e1000e *e)
{
	unsigned int q;

	for (q = 0; q != NR_QUEUES; q++) {
		e->tracker.rx_seen[q] = e1000e_get(e, ring_reg(q, RDH));
		e->tracker.tx_seen[q] = e1000e_get(e, ring_reg(q, TDH));
	}
}

static void count(struct e1000e *e, u32 ahead)
{
	unsigned int q;

	for (q = 0; q != NR_QUEUES; q++) {
		count_rx(e, q, ahead);
		count_tx(e, q, ahead);
	}
}

/* ---- What changes the rings ---- */

static void forget(struct e1000e_rx *rx)
{
	kvfree(rx->buffers);
	rx->buffers = NULL;
	rx->slots = 0;
}

static void forget_all(struct e1000e *e)
{
	unsigned int q;

	for (q = 0; q != NR_QUEUES; q++)
		forget(&e->tracker.rx[q]);
}

/* Each ring has its registers in the same order, at the same distance from the other's */
static bool is_of(u32 offset, u32 first, unsigned int *q, u32 *reg)
{
	if (offset < first || offset >= first + NR_QUEUES * QUEUE_STRIDE)
		return false;
	*q = (offset - first) / QUEUE_STRIDE;
	*reg = offset - *q * QUEUE_STRIDE;
	return true;
}

static bool resets(u32 offset, u32 value)
{
	return offset == CTRL && value & CTRL_RST;
}

/**
 * e1000e_track_before() - What is known of the rings is about to change
 * @e: the device, with its lock held
 *
 * What was written to memory so far has to be told with the rings as they are.
 */
void e1000e_track_before(struct e1000e *e)
{
	lockdep_assert_held(&e->pci.lock);
	if (e->tracker.on)
		count(e, FRAME_MAX);
}

/**
 * e1000e_track_write() - The user is about to write a register
 * @e: the device, with its lock held
 * @offset: of the register
 * @value: what he writes
 *
 * A tail gives the device descriptors, with which it could come round to where its head
 * was.  After what changes a ring itself, the head says nothing of what comes until
 * then any more.
 */
void e1000e_track_write(struct e1000e *e, u32 offset, u32 value)
{
	unsigned int q;
	u32 reg;

	lockdep_assert_held(&e->pci.lock);
	if (!e->tracker.on)
		return;
	if (resets(offset, value) || offset == RCTL || offset == RFCTL ||
	    (is_of(offset, RDBAL, &q, &reg) && reg <= RDH) ||
	    (is_of(offset, TDBAL, &q, &reg) && reg <= TDH))
		count(e, ALL_OF_IT);
	else if ((is_of(offset, RDBAL, &q, &reg) && reg == RDT) ||
		 (is_of(offset, TDBAL, &q, &reg) && reg == TDT))
		count(e, FRAME_MAX);
}

/* While it resets it is left alone: its heads are zero then */
static void was_reset(struct e1000e *e)
{
	struct e1000e_tracker *t = &e->tracker;

	forget_all(e);
	memset(t->rx_seen, 0, sizeof(t->rx_seen));
	memset(t->tx_seen, 0, sizeof(t->tx_seen));
}

/**
 * e1000e_track_written() - The user has written a register
 * @e: the device, with its lock held
 * @offset: of the register
 * @value: what he has written
 *
 * The descriptors of a ring that changed are others, and of a head that was written,
 * and of no other, it is not known how it got there.
 */
void e1000e_track_written(struct e1000e *e, u32 offset, u32 value)
{
	struct e1000e_tracker *t = &e->tracker;
	unsigned int q;
	u32 reg;

	lockdep_assert_held(&e->pci.lock);
	if (resets(offset, value)) {
		was_reset(e);
	} else if (is_of(offset, RDBAL, &q, &reg) && reg <= RDH) {
		forget(&t->rx[q]);
		if (reg == RDH && t->on)
			t->rx_seen[q] = e1000e_get(e, offset);
	} else if (offset == TDH || offset == TDH + QUEUE_STRIDE) {
		if (t->on)
			t->tx_seen[offset != TDH] = e1000e_get(e, offset);
	}
}

/**
 * e1000e_track_anew() - All rings are other ones than before, and counted till then
 * @e: the device, with its lock held
 */
void e1000e_track_anew(struct e1000e *e)
{
	lockdep_assert_held(&e->pci.lock);
	forget_all(e);
	if (e->tracker.on)
		look_from_here(e);
}

/**
 * e1000e_track_lost() - The device does what nobody can count, or was reset
 * @e: the device, with its lock held
 */
void e1000e_track_lost(struct e1000e *e)
{
	lockdep_assert_held(&e->pci.lock);
	forget_all(e);
	e->tracker.error = -EIO;
}

/* ---- What is in the receive rings ---- */

static int resize(struct e1000e_rx *rx, u32 slots)
{
	u64 *buffers;

	if (rx->slots == slots)
		return 0;
	buffers = kvmalloc_array(slots, sizeof(*buffers), GFP_KERNEL_ACCOUNT);
	if (!buffers)
		return -ENOMEM;
	memset(buffers, 0xff, array_size(slots, sizeof(*buffers)));
	kvfree(rx->buffers);
	rx->buffers = buffers;
	rx->slots = slots;
	return 0;
}

/**
 * e1000e_fetch() - Read descriptors from memory, as the device would
 * @e: the device, with no lock of ours held
 * @iova: of the first
 * @desc: where they go
 * @length: bytes
 *
 * Return: 0 or an errno.
 */
int e1000e_fetch(struct e1000e *e, u64 iova, void *desc, size_t length)
{
	KUNIT_STATIC_STUB_REDIRECT(e1000e_fetch, e, iova, desc, length);
	if (!e->pci.core.vdev.iommufd_device)
		return -ENODEV;
	return iommufd_device_read(e->pci.core.vdev.iommufd_device, iova, desc,
				   length);
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_fetch);

static u32 read_slots(struct e1000e *e, const struct e1000e_slots *new,
		      u32 slot, u64 *buffers)
{
	u32 end = slot <= new->tail ? new->tail : new->slots;
	u32 nr = min_t(u32, end - slot, BATCH), i;
	struct {
		__le64 buffer;
		__le64 rest;
	} desc[BATCH];
	int rc;

	rc = e1000e_fetch(e, new->base + slot * DESC_SIZE, desc,
			  nr * DESC_SIZE);
	for (i = 0; i != nr; i++)
		buffers[i] = rc ? UNKNOWN : le64_to_cpu(desc[i].buffer);
	return nr;
}

/**
 * e1000e_new_slots() - Which descriptors of a receive ring are new?
 * @e: the device, with its lock held
 * @q: number of the ring
 * @from: the first one
 * @tail: where they end
 *
 * Return: them, for e1000e_learn().
 */
struct e1000e_slots e1000e_new_slots(struct e1000e *e, unsigned int q,
				     u32 from, u32 tail)
{
	struct e1000e_slots new = {
		.q = q,
		.base = rx_base(e, q),
		.slots = rx_slots(e, q),
		.from = from,
		.tail = tail,
	};

	lockdep_assert_held(&e->pci.lock);
	/* Their slots had others before, which the device is done with */
	e1000e_track_before(e);
	if (splits_packets(e) || !new.slots || new.slots > RING_MAX ||
	    from >= new.slots || tail >= new.slots ||
	    resize(&e->tracker.rx[q], new.slots)) {
		forget(&e->tracker.rx[q]);
		new.from = new.tail;
	}
	return new;
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_new_slots);

/**
 * e1000e_learn() - Get to know them, before the device does
 * @e: the device, with no lock of ours held
 * @new: which
 */
void e1000e_learn(struct e1000e *e, const struct e1000e_slots *new)
{
	struct e1000e_rx *rx = &e->tracker.rx[new->q];
	u32 slot = new->from, nr;
	u64 buffers[BATCH];

	while (slot != new->tail) {
		nr = read_slots(e, new, slot, buffers);
		scoped_guard(mutex, &e->pci.lock)
			if (slot + nr <= rx->slots)
				memcpy(rx->buffers + slot, buffers,
				       nr * sizeof(*buffers));
		slot = (slot + nr) % new->slots;
	}
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_learn);

/* What is in the receive rings of a state that was loaded; they are empty until then */
static int learn_ring(struct e1000e *e, unsigned int q)
{
	struct e1000e_slots new;
	int rc;

	rc = vfio_mig_pci_begin(&e->pci);
	if (rc)
		return rc;
	new = e1000e_new_slots(e, q, e1000e_get(e, ring_reg(q, RDH)),
			       e->shadow[HELD_RDT0 + q]);
	vfio_mig_pci_end(&e->pci);
	e1000e_learn(e, &new);
	return 0;
}

/**
 * e1000e_learn_rings() - Read the receive rings of a state that was loaded
 * @work: of a device
 *
 * Only then the device gets them.  If DMA stopped meanwhile, or nobody answers, the
 * next start does it.
 *
 * Context: process, with no lock held: user memory is read.
 */
void e1000e_learn_rings(struct work_struct *work)
{
	struct e1000e *e = container_of(work, struct e1000e, learn);
	unsigned int q;

	for (q = 0; q != NR_QUEUES; q++)
		if (learn_ring(e, q))
			return;
	if (vfio_mig_pci_begin(&e->pci))
		return;
	if (e->unread && !e->held) {
		for (q = 0; q != NR_QUEUES; q++)
			e1000e_set(e, ring_reg(q, RDT),
				   e->shadow[HELD_RDT0 + q]);
		e->unread = false;
	}
	vfio_mig_pci_end(&e->pci);
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_learn_rings);

/* ---- What iommufd calls ---- */

static int track_start(void *data, struct rb_root_cached *ranges, u32 nr,
		       u64 *page_size)
{
	struct e1000e *e = data;
	int rc;

	if (!READ_ONCE(e->tracker.open))
		return -ENODEV;
	rc = vfio_mig_pci_begin(&e->pci);
	if (rc)
		return rc;
	/* It may have been closed meanwhile */
	if (e->tracker.open) {
		look_from_here(e);
		e->tracker.error = 0;
		e->tracker.on = true;
		*page_size = PAGE_SIZE;
	} else {
		rc = -ENODEV;
	}
	vfio_mig_pci_end(&e->pci);
	return rc;
}

static void track_stop(void *data)
{
	struct e1000e *e = data;

	guard(mutex)(&e->pci.lock);
	e->tracker.on = false;
	xa_destroy(&e->tracker.log);
	e->tracker.words = 0;
}

static void report(struct e1000e_tracker *t, unsigned long index,
		   unsigned long bits, unsigned long iova, unsigned long last,
		   struct iova_bitmap *dirty)
{
	unsigned long bit, page, left = bits;

	for_each_set_bit(bit, &bits, LOG_BITS) {
		page = (index << LOG_SHIFT) + (bit << PAGE_SHIFT);
		if (page < round_down(iova, PAGE_SIZE) || page > last)
			continue;
		iova_bitmap_set(dirty, page, PAGE_SIZE);
		left &= ~BIT(bit);
	}
	/* Takes no memory where there is an entry already */
	if (left) {
		xa_store(&t->log, index, xa_mk_value(left), GFP_KERNEL_ACCOUNT);
	} else {
		xa_erase(&t->log, index);
		t->words--;
	}
}

static int count_now(struct e1000e *e)
{
	int rc;

	/* It is closed with the heads counted, and starts nothing after */
	if (!READ_ONCE(e->tracker.open))
		return 0;
	rc = vfio_mig_pci_begin(&e->pci);
	if (rc)
		return rc;
	if (e->tracker.open)
		e1000e_track_before(e);
	vfio_mig_pci_end(&e->pci);
	return 0;
}

static int track_collect(void *data, unsigned long iova, unsigned long length,
			 struct iova_bitmap *dirty)
{
	unsigned long last = iova + length - 1, index;
	struct e1000e *e = data;
	void *entry;
	int rc;

	rc = count_now(e);
	if (rc)
		return rc;
	guard(mutex)(&e->pci.lock);
	xa_for_each_range(&e->tracker.log, index, entry, iova >> LOG_SHIFT,
			  last >> LOG_SHIFT)
		report(&e->tracker, index, xa_to_value(entry), iova, last,
		       dirty);
	return e->tracker.on ? e->tracker.error : -EIO;
}

/* Where the IOMMU can do it, it tells what was written; this, what may have been */
const struct iommufd_dirty_device_ops e1000e_track_ops = {
	.rating = -1,
	.start = track_start,
	.stop = track_stop,
	.collect = track_collect,
};
EXPORT_SYMBOL_IF_KUNIT(e1000e_track_ops);

/**
 * e1000e_learn_later() - Have e1000e_learn_rings() called
 * @e: the device
 *
 * Context: any.
 */
void e1000e_learn_later(struct e1000e *e)
{
	KUNIT_STATIC_STUB_REDIRECT(e1000e_learn_later, e);
	schedule_work(&e->learn);
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_learn_later);

/**
 * e1000e_tracker_bound() - The device was bound to an iommufd, which is to ask here
 * @mig: of the device
 */
void e1000e_tracker_bound(struct vfio_mig *mig)
{
	struct e1000e *e = to_e1000e(mig);

	iommufd_device_set_dirty_ops(e->pci.core.vdev.iommufd_device,
				     &e1000e_track_ops, e);
}

/* ---- Life ---- */

/**
 * e1000e_tracker_init() - A new device
 * @mig: of the device
 *
 * Return: 0.
 */
int e1000e_tracker_init(struct vfio_mig *mig)
{
	struct e1000e *e = to_e1000e(mig);

	INIT_WORK(&e->learn, e1000e_learn_rings);
	xa_init_flags(&e->tracker.log, XA_FLAGS_ACCOUNT);
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_tracker_init);

/**
 * e1000e_tracker_destroy() - The device goes
 * @mig: of the device
 */
void e1000e_tracker_destroy(struct vfio_mig *mig)
{
	struct e1000e_tracker *t = &to_e1000e(mig)->tracker;
	unsigned int q;

	xa_destroy(&t->log);
	for (q = 0; q != NR_QUEUES; q++)
		forget(&t->rx[q]);
}
EXPORT_SYMBOL_IF_KUNIT(e1000e_tracker_destroy);
