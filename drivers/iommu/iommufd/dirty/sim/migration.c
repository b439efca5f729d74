// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated device's migration states
 *
 * RUNNING does everything, RUNNING_P2P keeps registers and doorbells alive and
 * does no DMA, STOP and the states beyond it differ from that only in what the
 * VMM may ask.  The state is a few registers: it is written into a buffer when
 * STOP_COPY is entered, and taken from one when RESUMING is left.
 *
 * A data file owns its buffer and knows nothing of the device, so it may live
 * longer than the device does.  The device holds a reference on the file, and
 * ends it when the state that it belongs to is left.
 */
#include <linux/anon_inodes.h>
#include <linux/crc32c.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "dsim.h"

/* ---- Stream ---- */

#define STREAM_MAGIC	0x4d415453494d5344ULL	/* "DSMISTAM" */
#define STREAM_VERSION	1

/* Everything little endian, without padding */
struct dsim_stream {
	__le64 magic;
	__le32 version;
	__le32 length;		/* of the whole stream */
	__le32 device;		/* device ID << 16 | vendor ID */
	__le32 ctrl;
	__le64 ring;
	__le32 ring_order;
	__le32 error;
	__le32 head;
	__le32 tail;
	__le32 doorbell;
	__le32 irq_status;
	__le32 completed;
	__le32 faults;
	__le64 fault_iova;
	__le32 fault_reason;
	__le32 scratch;
	__le32 reserved;
	__le32 crc;		/* CRC32C of everything before */
};
static_assert(sizeof(struct dsim_stream) == 88);

#define STREAM_DEVICE	(DSIM_PCI_DEVICE_ID << 16 | DSIM_PCI_VENDOR_ID)

static u32 stream_crc(const struct dsim_stream *s)
{
	return crc32c(~0U, s, offsetof(struct dsim_stream, crc));
}

static void encode(struct dsim_stream *s, const struct dsim_regs *regs)
{
	*s = (struct dsim_stream){
		.magic = cpu_to_le64(STREAM_MAGIC),
		.version = cpu_to_le32(STREAM_VERSION),
		.length = cpu_to_le32(sizeof(*s)),
		.device = cpu_to_le32(STREAM_DEVICE),
		.ctrl = cpu_to_le32(regs->ctrl),
		.ring = cpu_to_le64(regs->ring),
		.ring_order = cpu_to_le32(regs->ring_order),
		.error = cpu_to_le32(regs->error),
		.head = cpu_to_le32(regs->head),
		.tail = cpu_to_le32(regs->tail),
		.doorbell = cpu_to_le32(regs->doorbell),
		.irq_status = cpu_to_le32(regs->irq_status),
		.completed = cpu_to_le32(regs->completed),
		.faults = cpu_to_le32(regs->faults),
		.fault_iova = cpu_to_le64(regs->fault.iova),
		.fault_reason = cpu_to_le32(regs->fault.reason),
		.scratch = cpu_to_le32(regs->scratch),
	};
	s->crc = cpu_to_le32(stream_crc(s));
}

/* Whose stream it is comes first, so that the errno tells what is wrong */
static int decode(const struct dsim_stream *s, size_t filled,
		  struct dsim_regs *regs)
{
	if (filled < offsetofend(struct dsim_stream, device))
		return -ENODATA;
	if (le64_to_cpu(s->magic) != STREAM_MAGIC)
		return -EINVAL;
	if (le32_to_cpu(s->version) != STREAM_VERSION)
		return -EPROTONOSUPPORT;
	if (le32_to_cpu(s->device) != STREAM_DEVICE)
		return -ENODEV;
	if (le32_to_cpu(s->length) != sizeof(*s))
		return -EMSGSIZE;
	if (filled != sizeof(*s))
		return -ENODATA;
	if (le32_to_cpu(s->crc) != stream_crc(s))
		return -EBADMSG;

	*regs = (struct dsim_regs){
		.ctrl = le32_to_cpu(s->ctrl),
		.ring = le64_to_cpu(s->ring),
		.ring_order = le32_to_cpu(s->ring_order),
		.error = le32_to_cpu(s->error),
		.head = le32_to_cpu(s->head),
		.tail = le32_to_cpu(s->tail),
		.doorbell = le32_to_cpu(s->doorbell),
		.irq_status = le32_to_cpu(s->irq_status),
		.completed = le32_to_cpu(s->completed),
		.faults = le32_to_cpu(s->faults),
		.fault.iova = le64_to_cpu(s->fault_iova),
		.fault.reason = le32_to_cpu(s->fault_reason),
		.scratch = le32_to_cpu(s->scratch),
	};
	if (le32_to_cpu(s->error) > 1 || s->reserved ||
	    !dsim_engine_regs_valid(regs))
		return -EINVAL;
	return 0;
}

/* ---- Data files ---- */

/**
 * struct dsim_mig_file - one transfer
 * @file: what user space reads or writes
 * @lock: protects the rest; never held over an access to user memory
 * @ended: the state was left; nothing is transferred any more
 * @error: the stream was refused while it was written, what came so far with it
 * @filled: bytes of @stream that are valid
 * @taken: bytes of it that the user has read
 * @stream: the state
 */
struct dsim_mig_file {
	struct file *file;
	struct mutex lock;
	bool ended;
	int error;
	size_t filled;
	size_t taken;
	struct dsim_stream stream;
};

static ssize_t save_read(struct file *file, char __user *ubuf, size_t count,
			 loff_t *unused)
{
	struct dsim_mig_file *mig = file->private_data;
	struct dsim_stream stream;
	size_t pos;

	scoped_guard(mutex, &mig->lock) {
		if (mig->ended)
			return -ENODEV;
		pos = mig->taken;
		count = min(count, mig->filled - pos);
		memcpy(&stream, &mig->stream, sizeof(stream));
		mig->taken += count;
	}
	/* A reader that passes bad memory has lost the stream, nobody else has */
	if (copy_to_user(ubuf, (u8 *)&stream + pos, count))
		return -EFAULT;
	return count;
}

static ssize_t resume_write(struct file *file, const char __user *ubuf,
			    size_t count, loff_t *unused)
{
	struct dsim_mig_file *mig = file->private_data;
	struct dsim_stream part;

	if (copy_from_user(&part, ubuf, min(count, sizeof(part))))
		return -EFAULT;

	guard(mutex)(&mig->lock);
	if (mig->ended)
		return -ENODEV;
	if (mig->error)
		return mig->error;
	if (count > sizeof(mig->stream) - mig->filled) {
		mig->error = -EFBIG;
		return mig->error;
	}
	memcpy((u8 *)&mig->stream + mig->filled, &part, count);
	mig->filled += count;
	return count;
}

static int mig_file_release(struct inode *inode, struct file *file)
{
	kfree(file->private_data);
	return 0;
}

static const struct file_operations save_fops = {
	.owner = THIS_MODULE,
	.read = save_read,
	.release = mig_file_release,
};

static const struct file_operations resume_fops = {
	.owner = THIS_MODULE,
	.write = resume_write,
	.release = mig_file_release,
};

/* The caller gets two references: one is the device's, one is for the user */
static struct dsim_mig_file *mig_file_new(const struct file_operations *fops,
					  int flags)
{
	struct dsim_mig_file *mig;

	mig = kzalloc_obj(*mig, GFP_KERNEL_ACCOUNT);
	if (!mig)
		return ERR_PTR(-ENOMEM);
	mutex_init(&mig->lock);
	mig->file = anon_inode_getfile("[dsim-migration]", fops, mig, flags);
	if (IS_ERR(mig->file)) {
		int rc = PTR_ERR(mig->file);

		kfree(mig);
		return ERR_PTR(rc);
	}
	stream_open(file_inode(mig->file), mig->file);
	get_file(mig->file);
	return mig;
}

static void mig_file_end(struct dsim_mig_file **where)
{
	struct dsim_mig_file *mig = *where;

	if (!mig)
		return;
	*where = NULL;
	scoped_guard(mutex, &mig->lock)
		mig->ended = true;
	fput(mig->file);
}

/* ---- States ---- */

static struct file *start_saving(struct dsim_device *ddev)
{
	struct dsim_mig_file *mig;

	mig = mig_file_new(&save_fops, O_RDONLY);
	if (IS_ERR(mig))
		return ERR_CAST(mig);
	scoped_guard(mutex, &ddev->lock) {
		dsim_engine_sync_doorbell(ddev);
		encode(&mig->stream, &ddev->regs);
	}
	mig->filled = sizeof(mig->stream);
	ddev->saving = mig;
	return mig->file;
}

static struct file *start_resuming(struct dsim_device *ddev)
{
	struct dsim_mig_file *mig;

	mig = mig_file_new(&resume_fops, O_WRONLY);
	if (IS_ERR(mig))
		return ERR_CAST(mig);
	ddev->resuming = mig;
	return mig->file;
}

static int finish_resuming(struct dsim_device *ddev)
{
	struct dsim_mig_file *mig = ddev->resuming;
	struct dsim_regs regs;
	int rc;

	scoped_guard(mutex, &mig->lock) {
		rc = mig->error ?: decode(&mig->stream, mig->filled, &regs);
		mig->ended = true;
	}
	mig_file_end(&ddev->resuming);
	if (rc) {
		dev_warn_ratelimited(ddev->vdev.dev,
				     "migration stream refused: %pe\n",
				     ERR_PTR(rc));
		return rc;
	}
	scoped_guard(mutex, &ddev->lock)
		dsim_engine_load(ddev, &regs);
	return 0;
}

#define ARC(from, to) \
	((VFIO_DEVICE_STATE_##from) << 8 | (VFIO_DEVICE_STATE_##to))

/*
 * One arc.  Returns a data file, NULL where the arc has none, or an error; then
 * the device stays in the state it was in, but for a refused stream.
 */
static struct file *take_arc(struct dsim_device *ddev,
			     enum vfio_device_mig_state to)
{
	int rc;

	switch (ddev->state << 8 | to) {
	case ARC(RUNNING, RUNNING_P2P):
	case ARC(RUNNING, STOP):
		dsim_engine_set_running(ddev, false);
		return NULL;
	case ARC(RUNNING_P2P, RUNNING):
	case ARC(STOP, RUNNING):
		dsim_engine_set_running(ddev, true);
		return NULL;
	case ARC(RUNNING_P2P, STOP):
	case ARC(STOP, RUNNING_P2P):
		return NULL;
	case ARC(STOP, STOP_COPY):
		return start_saving(ddev);
	case ARC(STOP_COPY, STOP):
		mig_file_end(&ddev->saving);
		return NULL;
	case ARC(STOP, RESUMING):
		return start_resuming(ddev);
	case ARC(RESUMING, STOP):
		rc = finish_resuming(ddev);
		if (!rc)
			return NULL;
		/* What arrived is no state; only a reset gives one */
		ddev->state = VFIO_DEVICE_STATE_ERROR;
		return ERR_PTR(rc);
	}
	return ERR_PTR(-EINVAL);
}

static struct file *dsim_set_state(struct vfio_device *vdev,
				   enum vfio_device_mig_state new_state)
{
	struct dsim_device *ddev = container_of(vdev, struct dsim_device, vdev);
	enum vfio_device_mig_state next;
	struct file *file = NULL;
	int rc;

	guard(mutex)(&ddev->state_lock);
	/* The core's table warns about a question from here */
	if (ddev->state == VFIO_DEVICE_STATE_ERROR)
		return ERR_PTR(-EIO);

	while (ddev->state != new_state) {
		rc = vfio_mig_get_next_state(vdev, ddev->state, new_state,
					     &next);
		if (rc)
			return ERR_PTR(rc);
		file = take_arc(ddev, next);
		if (IS_ERR(file))
			return file;
		ddev->state = next;
	}
	return file;
}

static int dsim_get_state(struct vfio_device *vdev,
			  enum vfio_device_mig_state *state)
{
	struct dsim_device *ddev = container_of(vdev, struct dsim_device, vdev);

	guard(mutex)(&ddev->state_lock);
	*state = ddev->state;
	return 0;
}

static int dsim_get_data_size(struct vfio_device *vdev, unsigned long *size)
{
	*size = sizeof(struct dsim_stream);
	return 0;
}

const struct vfio_migration_ops dsim_migration_ops = {
	.migration_set_state = dsim_set_state,
	.migration_get_state = dsim_get_state,
	.migration_get_data_size = dsim_get_data_size,
};

static void end_files(struct dsim_device *ddev)
{
	mig_file_end(&ddev->saving);
	mig_file_end(&ddev->resuming);
}

/**
 * dsim_migration_reset() - Reset the whole device, from any state
 * @ddev: the device
 *
 * Ends in RUNNING with initial registers; open data files end.
 *
 * Context: process; takes the device's locks.
 */
void dsim_migration_reset(struct dsim_device *ddev)
{
	guard(mutex)(&ddev->state_lock);
	end_files(ddev);
	scoped_guard(mutex, &ddev->lock) {
		dsim_engine_reset(ddev);
		dsim_pci_reset(ddev);
		ddev->running = true;
	}
	ddev->state = VFIO_DEVICE_STATE_RUNNING;
}

/**
 * dsim_migration_close() - End what the user had open
 * @ddev: the device, being closed
 *
 * Context: process; takes the device's locks.
 */
void dsim_migration_close(struct dsim_device *ddev)
{
	guard(mutex)(&ddev->state_lock);
	end_files(ddev);
}
