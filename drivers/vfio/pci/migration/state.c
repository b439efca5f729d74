// SPDX-License-Identifier: GPL-2.0-only
/*
 * The states of a device that migrates, and the ways between them
 *
 * vfio's core says which states lead from one to another.  From each to the next
 * is an arc, an arc is a few steps, and a step is a driver's op or something with
 * the data file.  If a step fails, those before it are undone, and the device
 * is where it was; if that cannot be, it is in the state ERROR, and a reset makes
 * it RUNNING again.
 *
 * A reset may come at any time, also from where a lock is held that a driver's op
 * waits for.  So who cannot wait leaves it to the holder of the state lock, as
 * several drivers do that have no library.
 */
#include <kunit/visibility.h>
#include <linux/cleanup.h>
#include <linux/export.h>
#include <linux/file.h>
#include <linux/module.h>
#include <linux/vfio.h>

#include "migration.h"

/* ---- Steps ---- */

/**
 * mig_call() - Call an op that may want the device to itself
 * @mig: the device; its state lock is held
 * @op: the driver's
 *
 * Return: what it returns; or why nobody gets at the device.
 */
int mig_call(struct vfio_mig *mig, int (*op)(struct vfio_mig *mig))
{
	int rc;

	if (!mig->exclusive)
		return op(mig);
	rc = mig->bus->begin_op(mig);
	if (rc)
		return rc;
	rc = op(mig);
	mig->bus->end_op(mig);
	return rc;
}
EXPORT_SYMBOL_IF_KUNIT(mig_call);

static int stop_dma(struct vfio_mig *mig)
{
	return mig_call(mig, mig->ops->stop_dma);
}

static int start_dma(struct vfio_mig *mig)
{
	return mig_call(mig, mig->ops->start_dma);
}

static int master_off(struct vfio_mig *mig)
{
	return mig->ops->master_off ? mig->ops->master_off(mig) : 0;
}

static int master_on(struct vfio_mig *mig)
{
	return mig->ops->master_on ? mig->ops->master_on(mig) : 0;
}

static int stop(struct vfio_mig *mig)
{
	return mig->ops->stop ? mig_call(mig, mig->ops->stop) : 0;
}

static int run(struct vfio_mig *mig)
{
	return mig->ops->run ? mig_call(mig, mig->ops->run) : 0;
}

static int open_saving(struct vfio_mig *mig)
{
	return mig_file_open(mig, true);
}

static int open_loading(struct vfio_mig *mig)
{
	return mig_file_open(mig, false);
}

static int end_file(struct vfio_mig *mig)
{
	mig_file_end(mig);
	return 0;
}

static int begin_precopy(struct vfio_mig *mig)
{
	int rc;

	rc = mig->ops->precopy_begin(mig);
	if (rc)
		return rc;
	mig->precopy = true;
	mig_file_begin_precopy(mig);
	return 0;
}

static int end_precopy(struct vfio_mig *mig)
{
	if (mig->precopy) {
		mig->precopy = false;
		if (mig->ops->precopy_end)
			mig->ops->precopy_end(mig);
	}
	return 0;
}

static int begin_loading(struct vfio_mig *mig)
{
	int rc = 0;

	if (mig->ops->load_begin)
		rc = mig->ops->load_begin(mig);
	mig->loading = !rc;
	return rc;
}

static int abort_loading(struct vfio_mig *mig)
{
	if (mig->loading) {
		mig->loading = false;
		if (mig->ops->load_abort)
			mig->ops->load_abort(mig);
	}
	return 0;
}

static int load(struct vfio_mig *mig)
{
	int rc = mig_file_load(mig);

	if (!rc)
		mig->loading = false;
	return rc;
}

static int mmio_off(struct vfio_mig *mig)
{
	mig_mmio_off(mig);
	return 0;
}

static int mmio_on(struct vfio_mig *mig)
{
	mig_mmio_on(mig);
	return 0;
}

enum step {
	NONE,
	MMIO_OFF,
	MMIO_ON,
	STOP_DMA,
	START_DMA,
	MASTER_OFF,
	MASTER_ON,
	STOP,
	RUN,
	OPEN_SAVING,
	BEGIN_PRECOPY,
	SAVE,
	END_PRECOPY,
	BEGIN_LOADING,
	OPEN_LOADING,
	LOAD,
	END_FILE,
};

/*
 * A step without an undo cannot fail, or nothing that comes after it on its arc
 * can.  After a load that failed there is no way back: what came was no state, or
 * half of one is in the device.
 */
static const struct {
	int (*take)(struct vfio_mig *mig);
	int (*undo)(struct vfio_mig *mig);
	bool fatal;
} steps[] = {
	[MMIO_OFF] = { mmio_off, mmio_on },
	[MMIO_ON] = { mmio_on, mmio_off },
	[STOP_DMA] = { stop_dma, start_dma },
	[START_DMA] = { start_dma, stop_dma },
	[MASTER_OFF] = { master_off, master_on },
	[MASTER_ON] = { master_on, master_off },
	[STOP] = { stop, run },
	[RUN] = { run, stop },
	[OPEN_SAVING] = { open_saving, end_file },
	[BEGIN_PRECOPY] = { begin_precopy, end_precopy },
	[SAVE] = { mig_file_save },
	[END_PRECOPY] = { end_precopy },
	[BEGIN_LOADING] = { begin_loading, abort_loading },
	[OPEN_LOADING] = { open_loading, end_file },
	[LOAD] = { load, .fatal = true },
	[END_FILE] = { end_file },
};

/* ---- Arcs ---- */

#define MAX_STEPS	6

/**
 * struct arc - from one state to the next
 * @from: the one
 * @to: the other
 * @opens: it returns a data file
 * @steps: what is done, in this order
 */
struct arc {
	u8 from;
	u8 to;
	bool opens;
	u8 steps[MAX_STEPS];
};

#define ARC(_from, _to, ...) {					\
	.from = VFIO_DEVICE_STATE_##_from,			\
	.to = VFIO_DEVICE_STATE_##_to,				\
	.steps = { __VA_ARGS__ },				\
}

#define ARC_OPENS(_from, _to, ...) {				\
	.from = VFIO_DEVICE_STATE_##_from,			\
	.to = VFIO_DEVICE_STATE_##_to,				\
	.opens = true,						\
	.steps = { __VA_ARGS__ },				\
}

/*
 * A device that lacks P2P or PRE_COPY is never led through those states; that is
 * what the arcs are for that take two states' steps at once.
 */
static const struct arc arcs[] = {
	ARC(RUNNING, RUNNING_P2P, STOP_DMA, MASTER_OFF),
	ARC(RUNNING_P2P, RUNNING, MASTER_ON, START_DMA),
	ARC(RUNNING_P2P, STOP, MMIO_OFF, STOP),
	ARC(STOP, RUNNING_P2P, RUN, MMIO_ON),
	ARC(RUNNING, STOP, STOP_DMA, MASTER_OFF, MMIO_OFF, STOP),
	ARC(STOP, RUNNING, RUN, MMIO_ON, MASTER_ON, START_DMA),

	ARC_OPENS(STOP, STOP_COPY, OPEN_SAVING, SAVE),
	ARC(STOP_COPY, STOP, END_FILE),
	ARC_OPENS(STOP, RESUMING, BEGIN_LOADING, OPEN_LOADING),
	ARC(RESUMING, STOP, LOAD, END_FILE),

	ARC_OPENS(RUNNING, PRE_COPY, OPEN_SAVING, BEGIN_PRECOPY),
	ARC(PRE_COPY, RUNNING, END_PRECOPY, END_FILE),
	ARC(PRE_COPY, STOP_COPY,
	    STOP_DMA, MASTER_OFF, MMIO_OFF, STOP, SAVE, END_PRECOPY),
	ARC_OPENS(RUNNING_P2P, PRE_COPY_P2P, OPEN_SAVING, BEGIN_PRECOPY),
	ARC(PRE_COPY_P2P, RUNNING_P2P, END_PRECOPY, END_FILE),
	ARC(PRE_COPY, PRE_COPY_P2P, STOP_DMA, MASTER_OFF),
	ARC(PRE_COPY_P2P, PRE_COPY, MASTER_ON, START_DMA),
	ARC(PRE_COPY_P2P, STOP_COPY, MMIO_OFF, STOP, SAVE, END_PRECOPY),
};

static const struct arc *find_arc(u32 from, u32 to)
{
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(arcs); i++)
		if (arcs[i].from == from && arcs[i].to == to)
			return &arcs[i];
	return NULL;
}

/* All that belongs to a transfer, in whatever state it is */
static void end_transfer(struct vfio_mig *mig)
{
	end_precopy(mig);
	abort_loading(mig);
	mig_file_end(mig);
}

static int fail(struct vfio_mig *mig, int rc)
{
	dev_warn_ratelimited(mig->vdev->dev,
			     "migration state lost, a reset is needed: %pe\n",
			     ERR_PTR(rc));
	end_transfer(mig);
	mig_mmio_off(mig);
	WRITE_ONCE(mig->state, VFIO_DEVICE_STATE_ERROR);
	return rc;
}

/* Returns 0; or why not, with the device where it was or in ERROR */
static int take_arc(struct vfio_mig *mig, const struct arc *arc)
{
	int i, rc;

	for (i = 0; i != MAX_STEPS && arc->steps[i] != NONE; i++) {
		rc = steps[arc->steps[i]].take(mig);
		if (rc == -ENOTRECOVERABLE ||
		    (rc && steps[arc->steps[i]].fatal))
			return fail(mig, rc);
		if (rc)
			goto undo;
	}
	WRITE_ONCE(mig->state, arc->to);
	return 0;

undo:
	while (i--) {
		if (steps[arc->steps[i]].undo(mig))
			return fail(mig, rc);
	}
	return rc;
}

/* ---- The lock, and reset ---- */

static void do_reset(struct vfio_mig *mig)
{
	end_transfer(mig);
	mig->ops->reset(mig);
	if (mig->bus)
		mig->bus->reset(mig);
	mig_mmio_on(mig);
}

void mig_lock(struct vfio_mig *mig)
{
	mutex_lock(&mig->state_lock);
}

static bool take_pending(struct vfio_mig *mig)
{
	guard(spinlock)(&mig->reset_lock);
	if (mig->reset_pending) {
		mig->reset_pending = false;
		/* Who looks finds it running before it can run */
		WRITE_ONCE(mig->state, VFIO_DEVICE_STATE_RUNNING);
		return true;
	}
	/* Whoever asks from now on gets the lock */
	mutex_unlock(&mig->state_lock);
	return false;
}

void mig_unlock(struct vfio_mig *mig)
{
	while (take_pending(mig))
		do_reset(mig);
}

/**
 * vfio_mig_reset() - The device was reset, or is to be
 * @mig: the device
 *
 * Whatever its state, ERROR too, the device is RUNNING and new when this returns,
 * and data files have ended.  A state change that is under way ends first.
 *
 * Context: process; takes the state lock, so the caller holds no lock that an op
 * takes.
 */
void vfio_mig_reset(struct vfio_mig *mig)
{
	mig_lock(mig);
	scoped_guard(spinlock, &mig->reset_lock)
		mig->reset_pending = true;
	mig_unlock(mig);
}
EXPORT_SYMBOL_GPL(vfio_mig_reset);

/**
 * vfio_mig_reset_locked() - The same, where waiting could deadlock
 * @mig: the device
 *
 * For reset handlers of the PCI core and whoever else holds locks that an op may
 * wait for.  A state change that is under way goes on after this returned, and the
 * device is reset when that ends: before anybody can see its state.
 *
 * Context: process; may call @ops->reset, and waits for nothing else.
 */
void vfio_mig_reset_locked(struct vfio_mig *mig)
{
	scoped_guard(spinlock, &mig->reset_lock) {
		mig->reset_pending = true;
		if (!mutex_trylock(&mig->state_lock))
			return;
	}
	mig_unlock(mig);
}
EXPORT_SYMBOL_GPL(vfio_mig_reset_locked);

static bool reset_is_pending(struct vfio_mig *mig)
{
	guard(spinlock)(&mig->reset_lock);
	return mig->reset_pending;
}

/* ---- What vfio's core calls ---- */

static struct vfio_mig *to_mig(struct vfio_device *vdev)
{
	return container_of(vdev->mig_ops, struct vfio_mig, vfio_ops);
}

/* Only the last arc on a way opens a file, so there is never one too many */
static struct file *go_to(struct vfio_mig *mig,
			  enum vfio_device_mig_state goal)
{
	enum vfio_device_mig_state next;
	const struct arc *arc = NULL;
	int rc;

	/* The core warns about a question from here */
	if (mig->state == VFIO_DEVICE_STATE_ERROR)
		return ERR_PTR(-EIO);

	while (mig->state != goal) {
		rc = vfio_mig_get_next_state(mig->vdev, mig->state, goal, &next);
		if (rc)
			return ERR_PTR(rc);
		arc = find_arc(mig->state, next);
		if (WARN_ON_ONCE(!arc))
			return ERR_PTR(-EINVAL);
		rc = take_arc(mig, arc);
		if (!rc && reset_is_pending(mig))
			rc = -ECANCELED;
		if (rc)
			return ERR_PTR(rc);
	}
	return arc && arc->opens ? get_file(mig->file->file) : NULL;
}

static struct file *mig_set_state(struct vfio_device *vdev,
				  enum vfio_device_mig_state goal)
{
	struct vfio_mig *mig = to_mig(vdev);
	struct file *file;

	mig_lock(mig);
	file = go_to(mig, goal);
	mig_unlock(mig);
	return file;
}

/*
 * iommufd asks this too, with locks held that an op may take, so it waits for no op.
 * During a state change it tells where the device is on the way.
 */
static int mig_get_state(struct vfio_device *vdev,
			 enum vfio_device_mig_state *state)
{
	struct vfio_mig *mig = to_mig(vdev);

	guard(spinlock)(&mig->reset_lock);
	*state = mig->reset_pending ? VFIO_DEVICE_STATE_RUNNING :
				      READ_ONCE(mig->state);
	return 0;
}

/* One section of each kind, if the driver does not know better */
static u64 save_size(struct vfio_mig *mig)
{
	const struct vfio_mig_identity *id = mig->identity;
	u64 size = 0;
	unsigned int i;

	if (mig->ops->save_size)
		return mig->ops->save_size(mig);
	for (i = 0; i != id->nr_sections; i++)
		size += VFIO_MIG_SECTION_OVERHEAD + id->sections[i].max;
	return size;
}

static int mig_get_data_size(struct vfio_device *vdev, unsigned long *size)
{
	struct vfio_mig *mig = to_mig(vdev);

	mig_lock(mig);
	*size = save_size(mig) + VFIO_MIG_STREAM_OVERHEAD;
	mig_unlock(mig);
	return 0;
}

/* ---- Life ---- */

static bool identity_valid(const struct vfio_mig_identity *id)
{
	size_t len = strlen(id->name);
	unsigned int i, j;

	if (!len || len > VFIO_MIG_MAX_NAME || strpbrk(id->name, " \t\n") ||
	    id->oldest > id->version || !id->nr_sections ||
	    id->nr_sections > VFIO_MIG_MAX_SECTION_TYPES)
		return false;
	for (i = 0; i != id->nr_sections; i++) {
		if (id->sections[i].type == MIG_SECTION_END ||
		    !id->sections[i].load)
			return false;
		for (j = 0; j != i; j++)
			if (id->sections[i].type == id->sections[j].type)
				return false;
	}
	return true;
}

static bool ops_valid(const struct vfio_mig_ops *ops, unsigned int flags)
{
	bool precopy = ops->precopy_begin && ops->precopy_bytes &&
		       ops->precopy_save;

	return ops->stop_dma && ops->start_dma && ops->save && ops->load_end &&
	       ops->reset && !ops->stop == !ops->run &&
	       !ops->master_off == !ops->master_on &&
	       (precopy || !(flags & VFIO_MIG_PRE_COPY));
}

/* Is it known how large a stream may get? */
static bool is_bounded(const struct vfio_mig_ops *ops,
		       const struct vfio_mig_identity *id)
{
	unsigned int i;

	for (i = 0; i != id->nr_sections; i++)
		if (id->sections[i].repeats && !ops->save_size)
			return false;
	return true;
}

/**
 * vfio_mig_init() - Make a device one that migrates
 * @mig: to be initialised; lives as long as @vdev does
 * @vdev: the device, not yet registered
 * @ops: the driver's
 * @identity: the device's; lives as long as @vdev does
 * @flags: of enum vfio_mig_flags
 *
 * The device is RUNNING; a driver calls vfio_mig_reset() when its device is opened,
 * vfio_mig_close() when closed, and vfio_mig_destroy() from
 * &vfio_device_ops.release.
 *
 * Return: 0, or -EINVAL when @ops or @identity are not as they have to be.
 */
int vfio_mig_init(struct vfio_mig *mig, struct vfio_device *vdev,
		  const struct vfio_mig_ops *ops,
		  const struct vfio_mig_identity *identity, unsigned int flags)
{
	if (!ops_valid(ops, flags) || !identity_valid(identity) ||
	    !is_bounded(ops, identity))
		return -EINVAL;

	*mig = (struct vfio_mig){
		.vdev = vdev,
		.ops = ops,
		.identity = identity,
		.vfio_ops = {
			.migration_set_state = mig_set_state,
			.migration_get_state = mig_get_state,
			.migration_get_data_size = mig_get_data_size,
		},
		.exclusive = flags & VFIO_MIG_EXCLUSIVE,
		.revokes_mmio = flags & VFIO_MIG_REVOKE_MMIO,
		.state = VFIO_DEVICE_STATE_RUNNING,
	};
	init_rwsem(&mig->own_mmio_lock);
	mig->mmio_lock = &mig->own_mmio_lock;
	INIT_LIST_HEAD(&mig->traps);
	mutex_init(&mig->state_lock);
	spin_lock_init(&mig->reset_lock);
	init_waitqueue_head(&mig->wait);

	vdev->mig_ops = &mig->vfio_ops;
	vdev->migration_flags = VFIO_MIGRATION_STOP_COPY;
	if (flags & VFIO_MIG_P2P)
		vdev->migration_flags |= VFIO_MIGRATION_P2P;
	if (flags & VFIO_MIG_PRE_COPY)
		vdev->migration_flags |= VFIO_MIGRATION_PRE_COPY;
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_mig_init);

/**
 * vfio_mig_close() - End what the user had open, and turn off what is on
 * @mig: the device, being closed
 *
 * The state stays what it is, so the driver resets before it is used again.
 *
 * Context: process; takes the state lock.
 */
void vfio_mig_close(struct vfio_mig *mig)
{
	mig_traps_off(mig);
	mig_lock(mig);
	end_transfer(mig);
	mig_unlock(mig);
}
EXPORT_SYMBOL_GPL(vfio_mig_close);

/**
 * vfio_mig_destroy() - Free what a device has, its traps among it
 * @mig: the device, which nobody has any more; or zeroes, which are none
 */
void vfio_mig_destroy(struct vfio_mig *mig)
{
	if (mig->vdev)
		mig_traps_destroy(mig);
}
EXPORT_SYMBOL_GPL(vfio_mig_destroy);

MODULE_DESCRIPTION("Library for vfio devices that migrate");
MODULE_LICENSE("GPL");
