// SPDX-License-Identifier: GPL-2.0-only
/*
 * Data files: what user space reads while it saves a device, and writes while it
 * loads one
 *
 * User space may do so from many threads at once, with bad memory, or with memory
 * that is a mapping of the very device.  So it is accessed with no lock held, and
 * what it is given or gives is settled before or after that.
 */
#include <kunit/visibility.h>
#include <linux/anon_inodes.h>
#include <linux/cleanup.h>
#include <linux/device/driver.h>
#include <linux/export.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "migration.h"

/* How much of what is written is taken at once */
#define WRITE_CHUNK	SZ_64K

/* ---- Saving: the stream that waits to be read ---- */

static int append(struct vfio_mig_file *f, const void *data, size_t len)
{
	struct page *page;
	size_t n;
	int rc;

	for (; len; len -= n, data += n, f->filled += n) {
		n = min(len, PAGE_SIZE - offset_in_page(f->filled));
		page = xa_load(&f->pages, f->filled >> PAGE_SHIFT);
		if (!page) {
			page = alloc_page(GFP_KERNEL_ACCOUNT);
			if (!page)
				return -ENOMEM;
			rc = xa_err(xa_store(&f->pages, f->filled >> PAGE_SHIFT,
					     page, GFP_KERNEL_ACCOUNT));
			if (rc) {
				__free_page(page);
				return rc;
			}
		}
		memcpy(page_address(page) + offset_in_page(f->filled), data, n);
	}
	return 0;
}

/* Pages that lie behind @keep bytes altogether */
static void drop_pages(struct vfio_mig_file *f, u64 keep)
{
	struct page *page;
	unsigned long i;

	xa_for_each_start(&f->pages, i, page, DIV_ROUND_UP(keep, PAGE_SIZE)) {
		xa_erase(&f->pages, i);
		put_page(page);
	}
}

static void publish(struct vfio_mig_file *f, bool whole)
{
	scoped_guard(mutex, &f->lock) {
		f->ready = f->filled;
		f->whole = whole;
	}
	wake_up(&f->mig->wait);
}

/**
 * mig_section_type() - What kind of section is that?
 * @id: the device's
 * @type: the number of the kind
 *
 * Return: the kind; NULL when there is none.
 */
const struct vfio_mig_section_type *
mig_section_type(const struct vfio_mig_identity *id, u32 type)
{
	unsigned int i;

	for (i = 0; i != id->nr_sections; i++)
		if (id->sections[i].type == type)
			return &id->sections[i];
	return NULL;
}

static bool length_valid(const struct vfio_mig_section_type *type, u32 length)
{
	return type->exact ? length == type->max : length <= type->max;
}

/**
 * vfio_mig_put() - Put a section into the stream
 * @mig: the device that is saved
 * @type: the kind of section
 * @data: its bytes
 * @length: how many, up to the maximum of the kind
 *
 * Context: only from @ops->save and @ops->precopy_save.
 *
 * Return: 0 or an errno; whatever the caller makes of that, its op has failed.
 */
int vfio_mig_put(struct vfio_mig *mig, u32 type, const void *data, u32 length)
{
	const struct vfio_mig_section_type *kind;
	struct vfio_mig_file *f = mig->file;
	u8 header[MIG_SECTION_SIZE];

	lockdep_assert_held(&mig->state_lock);
	kind = mig_section_type(mig->identity, type);
	if (!f->put_error && (!kind || !length_valid(kind, length)))
		f->put_error = -EINVAL;
	if (!f->put_error) {
		mig_write_section(&f->writer, header, type, data, length);
		f->put_error = append(f, header, sizeof(header)) ?:
			       append(f, data, length);
	}
	return f->put_error;
}
EXPORT_SYMBOL_GPL(vfio_mig_put);

/* Have the driver put something: all of it, or nothing */
static int fill(struct vfio_mig_file *f, int (*put)(struct vfio_mig *mig))
{
	struct mig_writer before = f->writer;
	int rc;

	rc = put(f->mig);
	if (!rc)
		rc = f->put_error;
	f->put_error = 0;
	if (rc) {
		drop_pages(f, f->ready);
		f->filled = f->ready;
		f->writer = before;
	}
	return rc;
}

static int put_header(struct vfio_mig *mig)
{
	struct vfio_mig_file *f = mig->file;
	u8 header[MIG_HEADER_SIZE];

	mig_write_header(&f->writer, header, mig->identity);
	return append(f, header, sizeof(header));
}

static int put_all(struct vfio_mig *mig)
{
	struct vfio_mig_file *f = mig->file;
	u8 end[MIG_SECTION_SIZE + MIG_END_SIZE];
	int rc;

	rc = mig_call(mig, mig->ops->save);
	if (rc)
		return rc;
	mig_write_end(&f->writer, end);
	return append(f, end, sizeof(end));
}

/**
 * mig_file_save() - Put what is left of the state into the stream, and its end
 * @mig: the device, stopped; its state lock is held
 *
 * Return: 0 or an errno; then the stream is what it was.
 */
int mig_file_save(struct vfio_mig *mig)
{
	int rc;

	rc = fill(mig->file, put_all);
	if (!rc)
		publish(mig->file, true);
	return rc;
}

/**
 * mig_file_begin_precopy() - Account for precopy's initial data
 * @mig: the device, whose precopy has begun; its state lock is held
 */
void mig_file_begin_precopy(struct vfio_mig *mig)
{
	struct vfio_mig_file *f = mig->file;

	atomic_set(&mig->changed, 1);
	atomic_set(&mig->reinit, 0);
	guard(mutex)(&f->lock);
	f->initial_end = f->ready + mig->ops->precopy_bytes(mig);
}

/* Returns 1 when there is something to read, 0 at the end, or an errno */
static int refill_locked(struct vfio_mig_file *f)
{
	struct vfio_mig *mig = f->mig;
	int rc;

	lockdep_assert_held(&mig->state_lock);
	if (f->ended)
		return -ENODEV;
	if (f->ready != f->taken)
		return 1;
	if (f->whole)
		return 0;

	/* What changes from here on is reported anew */
	atomic_xchg(&mig->changed, 0);
	rc = fill(f, mig->ops->precopy_save);
	if (rc) {
		atomic_set(&mig->changed, 1);
		return rc;
	}
	if (f->filled == f->ready) {
		guard(mutex)(&f->lock);
		f->initial_end = f->taken;
		return -ENOMSG;
	}
	/* That may not have been all */
	atomic_set(&mig->changed, 1);
	publish(f, false);
	return 1;
}

static int refill(struct vfio_mig_file *f)
{
	int rc;

	mig_lock(f->mig);
	rc = refill_locked(f);
	mig_unlock(f->mig);
	return rc;
}

/**
 * vfio_mig_precopy_changed() - Some of what precopy saved changed
 * @mig: the device
 *
 * Wakes up who waits for more to read.  May be called at any time, and for nothing.
 *
 * Context: any, interrupts included.
 */
void vfio_mig_precopy_changed(struct vfio_mig *mig)
{
	if (!atomic_xchg(&mig->changed, 1))
		wake_up(&mig->wait);
}
EXPORT_SYMBOL_GPL(vfio_mig_precopy_changed);

/**
 * vfio_mig_precopy_reinit() - So much changed that precopy begins anew
 * @mig: the device
 *
 * What @ops->precopy_bytes reports counts as initial data again, for a user that
 * knows of this; for others it is changed data as any other.
 *
 * Context: any, interrupts included.
 */
void vfio_mig_precopy_reinit(struct vfio_mig *mig)
{
	atomic_set(&mig->reinit, 1);
	vfio_mig_precopy_changed(mig);
}
EXPORT_SYMBOL_GPL(vfio_mig_precopy_reinit);

/* ---- Saving: reading ---- */

static void take(struct vfio_mig_file *f, size_t n)
{
	unsigned long index = f->taken >> PAGE_SHIFT;

	f->taken += n;
	if (f->taken >> PAGE_SHIFT != index)
		put_page(xa_erase(&f->pages, index));
}

/* The page from which to read next, with a reference; NULL when none is ready */
static struct page *peek(struct vfio_mig_file *f, u64 *pos, size_t *n)
{
	struct page *page;

	guard(mutex)(&f->lock);
	if (f->ended)
		return ERR_PTR(-ENODEV);
	if (f->ready == f->taken)
		return NULL;
	*pos = f->taken;
	*n = min3((u64)*n, f->ready - *pos, PAGE_SIZE - offset_in_page(*pos));
	page = xa_load(&f->pages, *pos >> PAGE_SHIFT);
	get_page(page);
	return page;
}

/*
 * Up to a page.  Bytes count as read when they were copied, so that bad memory
 * loses none; if somebody else has read them by then, they are his.
 */
static ssize_t read_some(struct vfio_mig_file *f, char __user *ubuf,
			 size_t count)
{
	unsigned long left;
	struct page *page;
	size_t n;
	u64 pos;

	for (;;) {
		n = count;
		page = peek(f, &pos, &n);
		if (IS_ERR_OR_NULL(page))
			return PTR_ERR_OR_ZERO(page);
		left = copy_to_user(ubuf, page_address(page) +
				    offset_in_page(pos), n);
		put_page(page);
		if (left)
			return -EFAULT;

		guard(mutex)(&f->lock);
		if (f->ended)
			return -ENODEV;
		if (f->taken == pos) {
			take(f, n);
			return n;
		}
	}
}

static ssize_t mig_file_read(struct file *file, char __user *ubuf,
			     size_t count, loff_t *unused)
{
	struct vfio_mig_file *f = file->private_data;
	ssize_t done = 0, n;
	int rc;

	while (done != count) {
		n = read_some(f, ubuf + done, count - done);
		if (n < 0)
			return done ?: n;
		done += n;
		if (n)
			continue;
		if (done)
			break;
		rc = refill(f);
		if (rc <= 0)
			return rc;
	}
	return done;
}

static bool precopy_info(struct vfio_mig_file *f, struct vfio_precopy_info *info)
{
	struct vfio_mig *mig = f->mig;
	u64 end;

	lockdep_assert_held(&mig->state_lock);
	if (f->ended || !mig->precopy)
		return false;

	end = f->ready + mig->ops->precopy_bytes(mig);
	guard(mutex)(&f->lock);
	if (mig->vdev->precopy_info_v2 && atomic_xchg(&mig->reinit, 0)) {
		f->initial_end = end;
		info->flags |= VFIO_PRECOPY_INFO_REINIT;
	}
	info->initial_bytes = min(f->initial_end, end) -
			      min(f->initial_end, f->taken);
	info->dirty_bytes = end - f->taken - info->initial_bytes;
	return true;
}

static long mig_file_ioctl(struct file *file, unsigned int cmd,
			   unsigned long arg)
{
	struct vfio_mig_file *f = file->private_data;
	struct vfio_precopy_info info = {};
	bool valid;
	int rc;

	rc = vfio_check_precopy_ioctl(f->mig->vdev, cmd, arg, &info);
	if (rc)
		return rc;
	mig_lock(f->mig);
	valid = precopy_info(f, &info);
	mig_unlock(f->mig);
	if (!valid)
		return -EINVAL;
	return copy_to_user((void __user *)arg, &info,
			    offsetofend(struct vfio_precopy_info,
					dirty_bytes)) ? -EFAULT : 0;
}

/* ---- Loading ---- */

static void drop_payload(struct vfio_mig_file *f)
{
	kvfree(f->payload);
	f->payload = NULL;
}

/* The parser is done with one payload when it asks for room for the next */
static int begin_section(void *ctx, const struct vfio_mig_section_type *type,
			 u32 length, void **payload)
{
	struct vfio_mig_file *f = ctx;

	drop_payload(f);
	/* the kind's maximum bounds it, the user pays */
	f->payload = kvmalloc(length, GFP_KERNEL_ACCOUNT);
	if (!f->payload)
		return -ENOMEM;
	f->section = (struct vfio_mig_section){
		.type = type->type,
		.version = f->parser.version,
		.features = f->parser.features,
		.length = length,
		.data = f->payload,
	};
	*payload = f->payload;
	return 0;
}

/**
 * mig_load_section() - Have the driver take a section
 * @mig: the device; its state lock is held
 * @section: which, whole
 *
 * Return: 0 or an errno; -ERANGE when the section has not the length of its kind.
 */
int mig_load_section(struct vfio_mig *mig,
		     const struct vfio_mig_section *section)
{
	const struct vfio_mig_section_type *type;

	type = mig_section_type(mig->identity, section->type);
	if (!type || !length_valid(type, section->length))
		return -ERANGE;
	return type->load(mig, section);
}
EXPORT_SYMBOL_IF_KUNIT(mig_load_section);

static int end_section(void *ctx)
{
	struct vfio_mig_file *f = ctx;

	return mig_load_section(f->mig, &f->section);
}

static const struct mig_sink sink = {
	.begin = begin_section,
	.end = end_section,
};

static void warn_refused(struct vfio_mig_file *f, int rc)
{
	dev_warn_ratelimited(f->mig->vdev->dev,
			     "migration stream refused, %s, in section %u behind byte %llu: %pe\n",
			     mig_refusal(rc), f->parser.seq, f->parser.length,
			     ERR_PTR(rc));
}

static int feed_locked(struct vfio_mig_file *f, const void *data, size_t len)
{
	int before = f->parser.error, rc;

	lockdep_assert_held(&f->mig->state_lock);
	if (f->ended)
		return -ENODEV;
	rc = mig_parse(&f->parser, data, len);
	if (rc && !before)
		warn_refused(f, rc);
	return rc;
}

static int feed(struct vfio_mig_file *f, const void *data, size_t len)
{
	int rc;

	mig_lock(f->mig);
	rc = feed_locked(f, data, len);
	mig_unlock(f->mig);
	return rc;
}

static ssize_t mig_file_write(struct file *file, const char __user *ubuf,
			      size_t count, loff_t *unused)
{
	size_t chunk = min_t(size_t, count, WRITE_CHUNK), n;
	struct vfio_mig_file *f = file->private_data;
	ssize_t done;
	int rc = 0;
	void *buf;

	buf = kvmalloc(chunk, GFP_KERNEL_ACCOUNT);
	if (!buf)
		return -ENOMEM;
	for (done = 0; done != count; done += n) {
		n = min(count - done, chunk);
		rc = copy_from_user(buf, ubuf + done, n) ? -EFAULT :
		     feed(f, buf, n);
		if (rc)
			break;
	}
	kvfree(buf);
	return done ?: rc;
}

/**
 * mig_file_load() - What was written becomes the device's state
 * @mig: the device, stopped; its state lock is held
 *
 * Return: 0; or an errno, and then the device is in no defined state.
 */
int mig_file_load(struct vfio_mig *mig)
{
	struct vfio_mig_file *f = mig->file;
	int rc;

	rc = f->parser.error;
	if (rc)
		return rc;
	rc = mig_parse_finish(&f->parser);
	if (!rc)
		rc = mig_call(mig, mig->ops->load_end);
	if (rc)
		warn_refused(f, rc);
	return rc;
}

/* ---- Both ---- */

static __poll_t mig_file_poll(struct file *file, struct poll_table_struct *wait)
{
	struct vfio_mig_file *f = file->private_data;
	struct vfio_mig *mig = f->mig;

	poll_wait(file, &mig->wait, wait);
	guard(mutex)(&f->lock);
	if (f->ended)
		return EPOLLERR | EPOLLHUP | EPOLLIN | EPOLLRDNORM;
	if (!f->saving)
		return EPOLLOUT | EPOLLWRNORM;
	if (f->whole || f->ready != f->taken || atomic_read(&mig->changed))
		return EPOLLIN | EPOLLRDNORM;
	return 0;
}

static int mig_file_release(struct inode *inode, struct file *file)
{
	struct vfio_mig_file *f = file->private_data;
	struct vfio_device *vdev = f->mig->vdev;
	struct module *driver = f->driver;

	kfree(f);
	/* That may call the driver */
	vfio_put_device(vdev);
	module_put(driver);
	return 0;
}

static const struct file_operations saving_fops = {
	.owner = THIS_MODULE,
	.read = mig_file_read,
	.unlocked_ioctl = mig_file_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.poll = mig_file_poll,
	.release = mig_file_release,
};

static const struct file_operations loading_fops = {
	.owner = THIS_MODULE,
	.write = mig_file_write,
	.poll = mig_file_poll,
	.release = mig_file_release,
};

/**
 * mig_file_open() - Begin a transfer
 * @mig: the device; its state lock is held, and no other transfer goes on
 * @saving: its direction
 *
 * Return: 0 with vfio_mig->file set, or an errno.
 */
int mig_file_open(struct vfio_mig *mig, bool saving)
{
	struct vfio_mig_file *f;
	int rc;

	f = kzalloc_obj(*f, GFP_KERNEL_ACCOUNT);
	if (!f)
		return -ENOMEM;
	f->mig = mig;
	f->saving = saving;
	f->driver = mig->vdev->dev->driver->owner;
	mutex_init(&f->lock);
	xa_init(&f->pages);
	f->file = anon_inode_getfile("[vfio-migration]",
				     saving ? &saving_fops : &loading_fops, f,
				     saving ? O_RDONLY : O_WRONLY);
	if (IS_ERR(f->file)) {
		rc = PTR_ERR(f->file);
		kfree(f);
		return rc;
	}
	stream_open(file_inode(f->file), f->file);
	/* Both are there while the device is open, and it is */
	get_device(&mig->vdev->device);
	__module_get(f->driver);
	mig->file = f;

	if (!saving) {
		mig_parse_init(&f->parser, mig->identity, &sink, f);
		return 0;
	}
	rc = fill(f, put_header);
	if (rc)
		mig_file_end(mig);
	else
		publish(f, false);
	return rc;
}

/**
 * mig_file_end() - End the transfer that goes on, if any
 * @mig: the device; its state lock is held
 *
 * Whoever still has the file open finds that it ended, and it holds no memory.
 */
void mig_file_end(struct vfio_mig *mig)
{
	struct vfio_mig_file *f = mig->file;

	if (!f)
		return;
	mig->file = NULL;
	scoped_guard(mutex, &f->lock) {
		f->ended = true;
		drop_pages(f, 0);
	}
	drop_payload(f);
	wake_up(&mig->wait);
	fput(f->file);
}
