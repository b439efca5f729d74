// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the states and the data files, with a device that is nothing but
 * what its driver was told: each way through the states, with each step failing,
 * and with a reset in each
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vfio_pci_migration.h>

#define ERROR		VFIO_DEVICE_STATE_ERROR
#define STOP		VFIO_DEVICE_STATE_STOP
#define RUNNING		VFIO_DEVICE_STATE_RUNNING
#define STOP_COPY	VFIO_DEVICE_STATE_STOP_COPY
#define RESUMING	VFIO_DEVICE_STATE_RESUMING
#define RUNNING_P2P	VFIO_DEVICE_STATE_RUNNING_P2P
#define PRE_COPY	VFIO_DEVICE_STATE_PRE_COPY
#define PRE_COPY_P2P	VFIO_DEVICE_STATE_PRE_COPY_P2P
#define NR		VFIO_DEVICE_STATE_NR

/* ---- The device ---- */

#define VALUE		1
#define CHUNK		2
#define CHUNKS		4
/* more than a page, and no multiple of anything */
#define CHUNK_SIZE	5003
#define CHUNK_BYTES	(VFIO_MIG_SECTION_OVERHEAD + CHUNK_SIZE)
#define STREAM_SIZE	(VFIO_MIG_STREAM_OVERHEAD +			\
			 VFIO_MIG_SECTION_OVERHEAD + sizeof(u32) +	\
			 CHUNKS * CHUNK_BYTES)
#define USER_SIZE	(16 * PAGE_SIZE)

/**
 * struct fake - a device, and what happens to it
 * @vdev: the vfio device
 * @mig: its migration
 * @calls: ops called that may fail
 * @fail_at: the one that fails, counted by @calls
 * @fail_with: with which errno; those after it as well when @fail_on
 * @fail_on: go on failing
 * @reset_at: the one in which the device is reset
 * @dma: it does DMA
 * @master: the bus lets it
 * @alone: an op has it to itself
 * @run: it runs
 * @precopy: what changes is noted
 * @loading: a state is being loaded
 * @wrong: an op was called when it must not be
 * @resets: how many there were
 * @value: the state, apart from its chunks, which are made of it
 * @loaded_value: the next one
 * @loaded: sections of it that came
 * @changed: bit n: chunk n was not saved yet
 * @released: what to set when it is gone, or NULL
 */
struct fake {
	struct vfio_device vdev;
	struct vfio_mig mig;
	unsigned int calls;
	unsigned int fail_at;
	int fail_with;
	bool fail_on;
	unsigned int reset_at;
	bool dma;
	bool master;
	bool alone;
	bool run;
	bool precopy;
	bool loading;
	bool wrong;
	unsigned int resets;
	u32 value;
	u32 loaded_value;
	unsigned int loaded;
	unsigned long changed;
	bool *released;
};

static struct fake *to_fake(struct vfio_mig *mig)
{
	return container_of(mig, struct fake, mig);
}

/* Each op that may fail begins with this: right now? and does it? */
static int call(struct fake *f, bool right)
{
	if (!right)
		f->wrong = true;
	f->calls++;
	if (f->calls == f->reset_at)
		vfio_mig_reset_locked(&f->mig);
	if (f->fail_at && (f->calls == f->fail_at ||
			   (f->fail_on && f->calls > f->fail_at)))
		return f->fail_with;
	return 0;
}

static int fake_begin_op(struct vfio_mig *mig)
{
	to_fake(mig)->alone = true;
	return 0;
}

static void fake_end_op(struct vfio_mig *mig)
{
	to_fake(mig)->alone = false;
}

static void fake_bus_reset(struct vfio_mig *mig)
{
}

static const struct vfio_mig_bus fake_bus = {
	.reset = fake_bus_reset,
	.begin_op = fake_begin_op,
	.end_op = fake_end_op,
};

/* One of those that have it to themselves, if the device is so */
static int call_alone(struct fake *f, bool right)
{
	return call(f, right && f->alone == f->mig.exclusive);
}

static int fake_stop_dma(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = call_alone(f, f->dma && f->run && f->master);

	if (!rc)
		f->dma = false;
	return rc;
}

static int fake_start_dma(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = call_alone(f, !f->dma && f->run && f->master);

	if (!rc)
		f->dma = true;
	return rc;
}

static int fake_master_off(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = call(f, !f->dma && f->run && f->master);

	if (!rc)
		f->master = false;
	return rc;
}

static int fake_master_on(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = call(f, !f->dma && f->run && !f->master);

	if (!rc)
		f->master = true;
	return rc;
}

static int fake_stop(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = call_alone(f, !f->dma && f->run);

	if (!rc)
		f->run = false;
	return rc;
}

static int fake_run(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = call_alone(f, !f->dma && !f->run);

	if (!rc)
		f->run = true;
	return rc;
}

static u64 fake_save_size(struct vfio_mig *mig)
{
	return STREAM_SIZE - VFIO_MIG_STREAM_OVERHEAD;
}

static int put_chunk(struct fake *f)
{
	unsigned int i = __ffs(f->changed);
	u8 *chunk = kmalloc(CHUNK_SIZE, GFP_KERNEL);
	int rc;

	if (!chunk)
		return -ENOMEM;
	memset(chunk, f->value + i, CHUNK_SIZE);
	rc = vfio_mig_put(&f->mig, CHUNK, chunk, CHUNK_SIZE);
	kfree(chunk);
	return rc;
}

static int fake_save(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc;

	if (!f->precopy)
		f->changed = GENMASK(CHUNKS - 1, 0);
	for (; f->changed; f->changed &= f->changed - 1) {
		rc = put_chunk(f);
		if (rc)
			return rc;
	}
	rc = vfio_mig_put(mig, VALUE, &f->value, sizeof(f->value));
	if (rc)
		return rc;
	/* late, so that there is something to drop */
	rc = call_alone(f, !f->dma && !f->run && !f->loading);
	if (rc)
		f->changed = GENMASK(CHUNKS - 1, 0);
	return rc;
}

static int fake_load_begin(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = call(f, !f->dma && !f->run && !f->precopy && !f->loading);

	if (!rc) {
		f->loading = true;
		f->loaded = 0;
	}
	return rc;
}

static int fake_load_section(struct vfio_mig *mig,
			     const struct vfio_mig_section *section)
{
	struct fake *f = to_fake(mig);
	int rc = call(f, f->loading);

	if (rc)
		return rc;
	f->loaded++;
	if (section->version != 3 || section->features != 9)
		return -ERANGE;
	if (section->type == CHUNK)
		return section->length == CHUNK_SIZE ? 0 : -ERANGE;
	if (section->length != sizeof(u32))
		return -ERANGE;
	memcpy(&f->loaded_value, section->data, sizeof(u32));
	return 0;
}

static int fake_load_end(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = call_alone(f, f->loading);

	if (rc)
		return rc;
	f->value = f->loaded_value;
	f->loading = false;
	return 0;
}

static void fake_load_abort(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);

	if (!f->loading)
		f->wrong = true;
	f->loading = false;
}

static int fake_precopy_begin(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = call(f, f->run && !f->precopy && !f->loading);

	if (!rc) {
		f->precopy = true;
		f->changed = GENMASK(CHUNKS - 1, 0);
	}
	return rc;
}

static u64 fake_precopy_bytes(struct vfio_mig *mig)
{
	return hweight_long(to_fake(mig)->changed) * CHUNK_BYTES;
}

static int fake_precopy_save(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);
	int rc = 0;

	if (!f->changed)
		return call(f, f->precopy);
	rc = put_chunk(f) ?: call(f, f->precopy);
	if (!rc)
		f->changed &= f->changed - 1;
	return rc;
}

static void fake_precopy_end(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);

	if (!f->precopy)
		f->wrong = true;
	f->precopy = false;
}

static void fake_reset(struct vfio_mig *mig)
{
	struct fake *f = to_fake(mig);

	if (f->precopy || f->loading)
		f->wrong = true;
	f->dma = true;
	f->master = true;
	f->run = true;
	f->value = 0;
	f->resets++;
}

#define OPS							\
	.stop_dma = fake_stop_dma,				\
	.start_dma = fake_start_dma,				\
	.stop = fake_stop,					\
	.run = fake_run,					\
	.save_size = fake_save_size,				\
	.save = fake_save,					\
	.load_begin = fake_load_begin,				\
	.load_end = fake_load_end,				\
	.load_abort = fake_load_abort,				\
	.reset = fake_reset

#define PRECOPY_OPS						\
	.precopy_begin = fake_precopy_begin,			\
	.precopy_bytes = fake_precopy_bytes,			\
	.precopy_save = fake_precopy_save,			\
	.precopy_end = fake_precopy_end

#define MASTER_OPS						\
	.master_off = fake_master_off,				\
	.master_on = fake_master_on

/* by whether it has precopy, and is kept from the bus */
static const struct vfio_mig_ops ops[2][2] = {
	{ { OPS }, { OPS, MASTER_OPS } },
	{ { OPS, PRECOPY_OPS }, { OPS, PRECOPY_OPS, MASTER_OPS } },
};

static const struct vfio_mig_section_type types[] = {
	{ .type = VALUE, .max = sizeof(u32), .required = true,
	  .load = fake_load_section },
	{ .type = CHUNK, .max = CHUNK_SIZE, .repeats = true,
	  .load = fake_load_section },
};

static const struct vfio_mig_identity identity = {
	.name = "fake",
	.version = 3,
	.oldest = 3,
	.features = 9,
	.sections = types,
	.nr_sections = ARRAY_SIZE(types),
};

/* ---- The test's hands ---- */

/**
 * struct ctx - what a test has
 * @f: the device
 * @user: memory of user space, %USER_SIZE bytes
 * @bad: memory that user space does not have
 * @stream: a good stream
 * @released: the device is gone
 */
struct ctx {
	struct fake *f;
	u8 __user *user;
	u8 __user *bad;
	u8 *stream;
	bool released;
};

static void fake_release(struct device *dev)
{
	struct fake *f = container_of(dev, struct fake, vdev.device);

	if (f->released)
		*f->released = true;
	kfree(f);
}

static void close_fake(void *data)
{
	struct fake *f = data;

	/* A file that is closed only now may outlive the test */
	f->released = NULL;
	vfio_mig_close(&f->mig);
	vfio_put_device(&f->vdev);
}

/* The ways in which a device may be less than it could */
struct combination {
	const char *name;
	bool p2p;
	bool precopy;
	bool master;
	bool exclusive;
};

static const struct combination combinations[] = {
	{ "stop_copy", false, false },
	{ "p2p", true, false },
	{ "precopy", false, true },
	{ "p2p_precopy", true, true },
	{ "master", false, false, true },
	{ "master_p2p", true, false, true },
	{ "master_precopy", false, true, true },
	{ "master_p2p_precopy", true, true, true },
	{ "exclusive", true, true, false, true },
};
KUNIT_ARRAY_PARAM_DESC(combination, combinations, name);

static struct ctx *make(struct kunit *test, const struct combination *c)
{
	struct ctx *ctx = kunit_kzalloc(test, sizeof(*ctx), GFP_KERNEL);
	struct fake *f = kzalloc_obj(*f);
	static unsigned int nr;
	char name[16];

	KUNIT_ASSERT_NOT_NULL(test, ctx);
	KUNIT_ASSERT_NOT_NULL(test, f);
	ctx->f = f;
	f->released = &ctx->released;
	snprintf(name, sizeof(name), "migrates%u", nr++);
	f->vdev.dev = kunit_device_register(test, name);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, f->vdev.dev);
	device_initialize(&f->vdev.device);
	f->vdev.device.release = fake_release;
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_init(&f->mig, &f->vdev,
					       &ops[c->precopy][c->master],
					       &identity,
					       (c->p2p ? VFIO_MIG_P2P : 0) |
					       (c->precopy ?
						VFIO_MIG_PRE_COPY : 0) |
					       (c->exclusive ?
						VFIO_MIG_EXCLUSIVE : 0)));
	f->mig.bus = &fake_bus;
	vfio_mig_reset(&f->mig);
	KUNIT_ASSERT_EQ(test, f->resets, 1);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, close_fake, f));

	ctx->user = (u8 __user *)kunit_vm_mmap(test, NULL, 0, USER_SIZE,
					       PROT_READ | PROT_WRITE,
					       MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NOT_NULL(test, (void __force *)ctx->user);
	ctx->bad = (u8 __user *)kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_NONE,
					      MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NOT_NULL(test, (void __force *)ctx->bad);
	return ctx;
}

static struct file *set(struct ctx *ctx, u32 state)
{
	struct vfio_device *vdev = &ctx->f->vdev;

	return vdev->mig_ops->migration_set_state(vdev, state);
}

static u32 get(struct ctx *ctx)
{
	struct vfio_device *vdev = &ctx->f->vdev;
	enum vfio_device_mig_state state;

	return vdev->mig_ops->migration_get_state(vdev, &state) ? NR : state;
}

static ssize_t do_read(struct ctx *ctx, struct file *file, size_t n)
{
	return file->f_op->read(file, ctx->user, n, NULL);
}

static ssize_t do_write(struct ctx *ctx, struct file *file, size_t at, size_t n)
{
	if (copy_to_user(ctx->user, ctx->stream + at, n))
		return -EFAULT;
	return file->f_op->write(file, ctx->user, n, NULL);
}

static __poll_t do_poll(struct file *file)
{
	struct poll_table_struct none = {};

	return vfs_poll(file, &none);
}

static long precopy_info(struct ctx *ctx, struct file *file,
			 struct vfio_precopy_info *info)
{
	long rc;

	*info = (struct vfio_precopy_info){ .argsz = sizeof(*info) };
	if (copy_to_user(ctx->user, info, sizeof(*info)))
		return -EFAULT;
	rc = file->f_op->unlocked_ioctl(file, VFIO_MIG_GET_PRECOPY_INFO,
					(unsigned long)ctx->user);
	if (copy_from_user(info, ctx->user, sizeof(*info)))
		return -EFAULT;
	return rc;
}

/* Done with a file, which then is gone at once */
static void done(struct file *file)
{
	if (!IS_ERR_OR_NULL(file))
		__fput_sync(file);
}

/* Save once, so that there is a stream to load, and be RUNNING again */
static void learn_stream(struct kunit *test, struct ctx *ctx)
{
	struct file *file;

	ctx->f->value = 0x30;
	ctx->stream = kunit_kzalloc(test, STREAM_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx->stream);
	file = set(ctx, STOP_COPY);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_ASSERT_EQ(test, do_read(ctx, file, USER_SIZE), STREAM_SIZE);
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(ctx->stream, ctx->user,
						STREAM_SIZE));
	KUNIT_ASSERT_EQ(test, do_read(ctx, file, USER_SIZE), 0);
	done(file);
	KUNIT_ASSERT_NULL(test, set(ctx, RUNNING));
}

static bool saves(u32 state)
{
	return state == STOP_COPY || state == PRE_COPY || state == PRE_COPY_P2P;
}

/* What each state means for the device */
static void expect_state(struct kunit *test, struct ctx *ctx, u32 state)
{
	struct fake *f = ctx->f;

	KUNIT_EXPECT_EQ(test, get(ctx), state);
	KUNIT_EXPECT_EQ(test, f->dma, state == RUNNING || state == PRE_COPY);
	KUNIT_EXPECT_EQ(test, f->master,
			f->dma || !f->mig.ops->master_off);
	KUNIT_EXPECT_EQ(test, f->run, f->dma || state == RUNNING_P2P ||
			state == PRE_COPY_P2P);
	KUNIT_EXPECT_EQ(test, f->precopy,
			state == PRE_COPY || state == PRE_COPY_P2P);
	KUNIT_EXPECT_EQ(test, f->loading, state == RESUMING);
	KUNIT_EXPECT_EQ(test, !!f->mig.file, saves(state) || state == RESUMING);
	KUNIT_EXPECT_FALSE(test, f->wrong);
}

static bool has_state(struct ctx *ctx, u32 state)
{
	u32 flags = ctx->f->vdev.migration_flags;

	switch (state) {
	case STOP:
	case RUNNING:
	case STOP_COPY:
	case RESUMING:
		return true;
	case RUNNING_P2P:
		return flags & VFIO_MIGRATION_P2P;
	case PRE_COPY:
		return flags & VFIO_MIGRATION_PRE_COPY;
	case PRE_COPY_P2P:
		return flags & VFIO_MIGRATION_PRE_COPY &&
		       flags & VFIO_MIGRATION_P2P;
	}
	return false;
}

/* Into @state, from anywhere; a device that loads has got all of a stream */
static struct file *bring_to(struct kunit *test, struct ctx *ctx, u32 state)
{
	struct file *file;

	vfio_mig_reset(&ctx->f->mig);
	file = set(ctx, state);
	KUNIT_ASSERT_FALSE(test, IS_ERR(file));
	if (state == RESUMING)
		KUNIT_ASSERT_EQ(test, STREAM_SIZE,
				do_write(ctx, file, 0, STREAM_SIZE));
	expect_state(test, ctx, state);
	return file;
}

/* ---- States ---- */

static bool opens(u32 from, u32 to)
{
	if (from == to || (from != STOP_COPY && saves(from) && saves(to)))
		return false;
	return saves(to) || to == RESUMING;
}

/* From each state to each: reached, or refused as the interface says */
static void state_pairs(struct kunit *test)
{
	struct ctx *ctx = make(test, test->param_value);
	struct file *before, *file;
	bool refused;
	u32 from, to;

	learn_stream(test, ctx);
	for (from = 0; from != NR; from++) {
		if (!has_state(ctx, from))
			continue;
		for (to = 0; to <= NR; to++) {
			before = bring_to(test, ctx, from);
			file = set(ctx, to);
			refused = !has_state(ctx, to) ||
				  (from == STOP_COPY && to != from &&
				   (to == PRE_COPY || to == PRE_COPY_P2P));
			if (refused) {
				KUNIT_EXPECT_PTR_EQ(test, file,
						    ERR_PTR(-EINVAL));
				expect_state(test, ctx, from);
			} else {
				KUNIT_EXPECT_FALSE(test, IS_ERR(file));
				KUNIT_EXPECT_EQ(test, !!file, opens(from, to));
				expect_state(test, ctx, to);
			}
			done(file);
			done(before);
		}
	}
}

/*
 * Each op on each way fails.  The device then is in a state on the way, whole, or
 * in ERROR when what failed was to load; and a reset brings it back.
 */
static void fail_each(struct kunit *test, struct ctx *ctx, u32 from, u32 to)
{
	struct fake *f = ctx->f;
	struct file *before, *file;
	unsigned int n, calls;
	u32 state;

	for (n = 1; ; n++) {
		before = bring_to(test, ctx, from);
		calls = f->calls;
		f->fail_at = calls + n;
		file = set(ctx, to);
		f->fail_at = 0;
		if (!IS_ERR(file)) {
			/* fewer ops than that */
			KUNIT_EXPECT_LT(test, f->calls, calls + n);
			expect_state(test, ctx, to);
			done(file);
			done(before);
			return;
		}
		KUNIT_EXPECT_PTR_EQ(test, file, ERR_PTR(f->fail_with));
		state = get(ctx);
		if (state == ERROR) {
			KUNIT_EXPECT_TRUE(test, from == RESUMING ||
					  f->fail_with == -ENOTRECOVERABLE);
			KUNIT_EXPECT_NULL(test, f->mig.file);
			KUNIT_EXPECT_FALSE(test, f->precopy || f->loading);
			KUNIT_EXPECT_PTR_EQ(test, set(ctx, RUNNING),
					    ERR_PTR(-EIO));
			KUNIT_EXPECT_FALSE(test, f->wrong);
		} else {
			KUNIT_EXPECT_NE(test, f->fail_with, -ENOTRECOVERABLE);
			expect_state(test, ctx, state);
			/* and it is as good as any: the same again does it */
			file = set(ctx, to);
			KUNIT_EXPECT_FALSE(test, IS_ERR(file));
			expect_state(test, ctx, to);
			done(file);
		}
		done(before);
		vfio_mig_reset(&f->mig);
		expect_state(test, ctx, RUNNING);
	}
}

typedef void (*pair_fn)(struct kunit *test, struct ctx *ctx, u32 from, u32 to);

static void try_each_pair(struct kunit *test, struct ctx *ctx, pair_fn fn)
{
	u32 from, to;

	learn_stream(test, ctx);
	for (from = 0; from != NR; from++)
		for (to = 0; to != NR; to++)
			if (from != to && has_state(ctx, from) &&
			    has_state(ctx, to) &&
			    !(from == STOP_COPY && saves(to)))
				fn(test, ctx, from, to);
}

static void state_failures(struct kunit *test)
{
	struct ctx *ctx = make(test, test->param_value);

	ctx->f->fail_with = -EREMOTEIO;
	try_each_pair(test, ctx, fail_each);
}

static void state_fatal_failures(struct kunit *test)
{
	struct ctx *ctx = make(test, test->param_value);

	ctx->f->fail_with = -ENOTRECOVERABLE;
	try_each_pair(test, ctx, fail_each);
}

/* What fails cannot be undone either: defined again after a reset */
static void fail_for_good(struct kunit *test, struct ctx *ctx, u32 from, u32 to)
{
	struct fake *f = ctx->f;
	struct file *before, *file;
	unsigned int n, calls;

	for (n = 1; ; n++) {
		before = bring_to(test, ctx, from);
		calls = f->calls;
		f->fail_at = calls + n;
		f->fail_on = true;
		file = set(ctx, to);
		f->fail_at = 0;
		f->fail_on = false;
		done(before);
		done(file);
		if (!IS_ERR(file))
			return;
		if (get(ctx) != ERROR)
			expect_state(test, ctx, get(ctx));
		vfio_mig_reset(&f->mig);
		expect_state(test, ctx, RUNNING);
	}
}

static void state_lasting_failures(struct kunit *test)
{
	struct ctx *ctx = make(test, test->param_value);

	ctx->f->fail_with = -EREMOTEIO;
	try_each_pair(test, ctx, fail_for_good);
}

/* A reset comes while each op runs, from one that holds the op's locks */
static void reset_in_each(struct kunit *test, struct ctx *ctx, u32 from, u32 to)
{
	struct fake *f = ctx->f;
	struct file *before, *file;
	unsigned int n, resets;

	for (n = 1; ; n++) {
		before = bring_to(test, ctx, from);
		resets = f->resets;
		f->reset_at = f->calls + n;
		file = set(ctx, to);
		f->reset_at = 0;
		if (f->resets == resets) {
			expect_state(test, ctx, to);
			done(file);
			done(before);
			return;
		}
		KUNIT_EXPECT_PTR_EQ(test, file, ERR_PTR(-ECANCELED));
		KUNIT_EXPECT_EQ(test, f->resets, resets + 1);
		expect_state(test, ctx, RUNNING);
		if (before && from == RESUMING)
			KUNIT_EXPECT_EQ(test, do_write(ctx, before, 0, 1),
					-ENODEV);
		else if (before)
			KUNIT_EXPECT_EQ(test, do_read(ctx, before, 1), -ENODEV);
		done(before);
	}
}

static void state_resets(struct kunit *test)
{
	struct ctx *ctx = make(test, test->param_value);

	try_each_pair(test, ctx, reset_in_each);
}

/* ---- Saving ---- */

static const struct combination everything = { "", true, true };

static void file_reads(struct kunit *test)
{
	struct ctx *ctx = make(test, &everything);
	size_t at, n;
	struct file *file;
	u8 *again;

	learn_stream(test, ctx);
	again = kunit_kzalloc(test, STREAM_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, again);
	ctx->f->value = 0x30;
	file = set(ctx, STOP_COPY);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_EXPECT_TRUE(test, do_poll(file) & EPOLLIN);
	for (at = 0; at != STREAM_SIZE; at += n) {
		/* bad memory takes nothing away */
		KUNIT_ASSERT_EQ(test, file->f_op->read(file, ctx->bad, 700, NULL),
				-EFAULT);
		n = min_t(size_t, 701, STREAM_SIZE - at);
		KUNIT_ASSERT_EQ(test, do_read(ctx, file, 701), n);
		KUNIT_ASSERT_EQ(test, 0, copy_from_user(again + at, ctx->user, n));
	}
	KUNIT_EXPECT_MEMEQ(test, again, ctx->stream, STREAM_SIZE);
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, 1), 0);
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, 1), 0);
	KUNIT_EXPECT_TRUE(test, do_poll(file) & EPOLLIN);
	KUNIT_ASSERT_NULL(test, set(ctx, STOP));
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, 1), -ENODEV);
	KUNIT_EXPECT_TRUE(test, do_poll(file) & EPOLLERR);
	done(file);
}

static void data_size(struct kunit *test)
{
	struct ctx *ctx = make(test, &everything);
	struct vfio_device *vdev = &ctx->f->vdev;
	unsigned long size;

	KUNIT_EXPECT_EQ(test, 0,
			vdev->mig_ops->migration_get_data_size(vdev, &size));
	KUNIT_EXPECT_EQ(test, size, STREAM_SIZE);
}

/* Read until there is nothing for now */
static size_t drain(struct kunit *test, struct ctx *ctx, struct file *file)
{
	size_t all = 0;
	ssize_t n;

	while ((n = do_read(ctx, file, 1000)) > 0)
		all += n;
	KUNIT_EXPECT_EQ(test, n, -ENOMSG);
	return all;
}

static void expect_info(struct kunit *test, struct ctx *ctx, struct file *file,
			u64 initial, u64 dirty, u32 flags)
{
	struct vfio_precopy_info info;

	KUNIT_EXPECT_EQ(test, 0, precopy_info(ctx, file, &info));
	KUNIT_EXPECT_EQ(test, info.initial_bytes, initial);
	KUNIT_EXPECT_EQ(test, info.dirty_bytes, dirty);
	KUNIT_EXPECT_EQ(test, info.flags, flags);
}

#define HEADER	64

static void precopy_accounting(struct kunit *test)
{
	struct ctx *ctx = make(test, &everything);
	struct fake *f = ctx->f;
	struct vfio_precopy_info info;
	struct file *file;

	file = set(ctx, PRE_COPY);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	expect_info(test, ctx, file, HEADER + CHUNKS * CHUNK_BYTES, 0, 0);
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, HEADER + 10), HEADER);
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, 10), 10);
	expect_info(test, ctx, file, CHUNKS * CHUNK_BYTES - 10, 0, 0);

	/* what changes before it was saved makes no difference */
	f->changed |= BIT(3);
	expect_info(test, ctx, file, CHUNKS * CHUNK_BYTES - 10, 0, 0);
	/* what changes after comes on top */
	f->changed |= BIT(0);
	vfio_mig_precopy_changed(&f->mig);
	expect_info(test, ctx, file, CHUNKS * CHUNK_BYTES - 10, CHUNK_BYTES, 0);

	KUNIT_EXPECT_TRUE(test, do_poll(file) & EPOLLIN);
	KUNIT_EXPECT_EQ(test, drain(test, ctx, file),
			(CHUNKS + 1) * CHUNK_BYTES - 10);
	expect_info(test, ctx, file, 0, 0, 0);
	KUNIT_EXPECT_EQ(test, do_poll(file), 0);

	f->changed |= BIT(2);
	vfio_mig_precopy_changed(&f->mig);
	KUNIT_EXPECT_TRUE(test, do_poll(file) & EPOLLIN);
	expect_info(test, ctx, file, 0, CHUNK_BYTES, 0);

	/* the same in PRE_COPY_P2P, and nowhere else */
	KUNIT_ASSERT_NULL(test, set(ctx, PRE_COPY_P2P));
	expect_info(test, ctx, file, 0, CHUNK_BYTES, 0);
	KUNIT_EXPECT_EQ(test, drain(test, ctx, file), CHUNK_BYTES);
	f->changed |= BIT(1);
	KUNIT_ASSERT_NULL(test, set(ctx, STOP_COPY));
	KUNIT_EXPECT_EQ(test, precopy_info(ctx, file, &info), -EINVAL);
	/* what is left, the value and the end mark, and then the end */
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, USER_SIZE),
			CHUNK_BYTES + 2 * VFIO_MIG_SECTION_OVERHEAD + 4 + 16);
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, 1), 0);
	KUNIT_ASSERT_NULL(test, set(ctx, STOP));
	KUNIT_EXPECT_EQ(test, precopy_info(ctx, file, &info), -EINVAL);
	KUNIT_EXPECT_FALSE(test, f->wrong);
	done(file);
}

static void precopy_reinit(struct kunit *test)
{
	struct ctx *ctx = make(test, &everything);
	struct fake *f = ctx->f;
	struct file *file;

	file = set(ctx, PRE_COPY);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	drain(test, ctx, file);
	f->changed = BIT(0) | BIT(1);
	vfio_mig_precopy_reinit(&f->mig);
	/* a user that does not know of it is not told, then or later */
	expect_info(test, ctx, file, 0, 2 * CHUNK_BYTES, 0);
	KUNIT_EXPECT_TRUE(test, do_poll(file) & EPOLLIN);

	f->vdev.precopy_info_v2 = 1;
	expect_info(test, ctx, file, 2 * CHUNK_BYTES, 0,
		    VFIO_PRECOPY_INFO_REINIT);
	/* told once */
	expect_info(test, ctx, file, 2 * CHUNK_BYTES, 0, 0);
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, 100), 100);
	f->changed |= BIT(0);
	expect_info(test, ctx, file, 2 * CHUNK_BYTES - 100, CHUNK_BYTES, 0);
	KUNIT_EXPECT_EQ(test, drain(test, ctx, file), 3 * CHUNK_BYTES - 100);
	expect_info(test, ctx, file, 0, 0, 0);
	done(file);
}

/* A save that fails half way leaves a stream that can be gone on with */
static void precopy_failures(struct kunit *test)
{
	struct ctx *ctx = make(test, &everything);
	struct fake *f = ctx->f;
	struct file *file;
	size_t len = 0;
	ssize_t n;

	learn_stream(test, ctx);
	ctx->stream = kunit_kzalloc(test, 4 * STREAM_SIZE, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, ctx->stream);
	f->value = 0x77;
	f->fail_with = -EREMOTEIO;
	file = set(ctx, PRE_COPY);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, HEADER), HEADER);
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(ctx->stream, ctx->user, HEADER));
	len = HEADER;

	f->fail_at = f->calls + 1;
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, 1), -EREMOTEIO);
	/* stop_dma and stop go well, save does not, and both are undone */
	f->fail_at = f->calls + 3;
	KUNIT_EXPECT_PTR_EQ(test, set(ctx, STOP_COPY), ERR_PTR(-EREMOTEIO));
	f->fail_at = 0;
	expect_state(test, ctx, PRE_COPY_P2P);
	KUNIT_ASSERT_NULL(test, set(ctx, PRE_COPY));

	while ((n = do_read(ctx, file, 3000)) > 0) {
		KUNIT_ASSERT_EQ(test, 0, copy_from_user(ctx->stream + len,
							ctx->user, n));
		len += n;
	}
	KUNIT_EXPECT_EQ(test, n, -ENOMSG);
	KUNIT_ASSERT_NULL(test, set(ctx, STOP_COPY));
	while ((n = do_read(ctx, file, 3000)) > 0) {
		KUNIT_ASSERT_EQ(test, 0, copy_from_user(ctx->stream + len,
							ctx->user, n));
		len += n;
	}
	KUNIT_EXPECT_EQ(test, n, 0);
	done(file);

	vfio_mig_reset(&f->mig);
	file = set(ctx, RESUMING);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_EXPECT_EQ(test, do_write(ctx, file, 0, len), len);
	KUNIT_EXPECT_NULL(test, set(ctx, STOP));
	KUNIT_EXPECT_EQ(test, f->value, 0x77);
	done(file);
}

/* What a driver puts by mistake never becomes part of a stream */
static void put_checks(struct kunit *test)
{
	struct ctx *ctx = make(test, &everything);
	struct fake *f = ctx->f;
	struct file *file;
	u32 word = 0;

	file = set(ctx, PRE_COPY);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	mutex_lock(&f->mig.state_lock);
	KUNIT_EXPECT_EQ(test, vfio_mig_put(&f->mig, 99, &word, 4), -EINVAL);
	mutex_unlock(&f->mig.state_lock);
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, HEADER), HEADER);
	/* latched until the op has failed by it, whatever it returns */
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, 1), -EINVAL);
	KUNIT_EXPECT_EQ(test, do_read(ctx, file, 1), 1);
	done(file);
}

/* ---- Loading ---- */

static void file_writes(struct kunit *test)
{
	struct ctx *ctx = make(test, &everything);
	struct fake *f = ctx->f;
	struct file *file;
	size_t at, n;

	learn_stream(test, ctx);
	file = bring_to(test, ctx, STOP);
	file = set(ctx, RESUMING);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_EXPECT_TRUE(test, do_poll(file) & EPOLLOUT);
	for (at = 0; at != STREAM_SIZE; at += n) {
		KUNIT_ASSERT_EQ(test, file->f_op->write(file, ctx->bad, 9, NULL),
				-EFAULT);
		KUNIT_ASSERT_EQ(test, file->f_op->write(file, ctx->bad, 0, NULL),
				0);
		n = min_t(size_t, 701, STREAM_SIZE - at);
		KUNIT_ASSERT_EQ(test, do_write(ctx, file, at, n), n);
	}
	KUNIT_EXPECT_EQ(test, f->loaded, CHUNKS + 1);
	KUNIT_EXPECT_EQ(test, f->value, 0);
	KUNIT_EXPECT_NULL(test, set(ctx, RUNNING));
	expect_state(test, ctx, RUNNING);
	KUNIT_EXPECT_EQ(test, f->value, 0x30);
	KUNIT_EXPECT_EQ(test, do_write(ctx, file, 0, 1), -ENODEV);
	KUNIT_EXPECT_TRUE(test, do_poll(file) & EPOLLERR);
	done(file);
}

/* Refused while it is written, and when it is to be used; then a reset helps */
static void load_refused(struct kunit *test)
{
	struct ctx *ctx = make(test, &everything);
	struct fake *f = ctx->f;
	struct file *file;

	learn_stream(test, ctx);
	file = set(ctx, RESUMING);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	ctx->stream[100] ^= 1;
	KUNIT_EXPECT_EQ(test, do_write(ctx, file, 0, STREAM_SIZE), -EBADMSG);
	ctx->stream[100] ^= 1;
	KUNIT_EXPECT_EQ(test, do_write(ctx, file, 0, STREAM_SIZE), -EBADMSG);
	KUNIT_EXPECT_PTR_EQ(test, set(ctx, STOP), ERR_PTR(-EBADMSG));
	KUNIT_EXPECT_EQ(test, get(ctx), ERROR);
	KUNIT_EXPECT_PTR_EQ(test, set(ctx, STOP), ERR_PTR(-EIO));
	KUNIT_EXPECT_EQ(test, f->value, 0x30);
	done(file);

	file = bring_to(test, ctx, RESUMING);
	KUNIT_EXPECT_NULL(test, set(ctx, RUNNING));
	expect_state(test, ctx, RUNNING);
	done(file);

	/* the driver refuses a section */
	vfio_mig_reset(&f->mig);
	file = set(ctx, RESUMING);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	f->fail_with = -ERANGE;
	f->fail_at = f->calls + 3;
	KUNIT_EXPECT_EQ(test, do_write(ctx, file, 0, STREAM_SIZE), -ERANGE);
	KUNIT_EXPECT_PTR_EQ(test, set(ctx, STOP), ERR_PTR(-ERANGE));
	KUNIT_EXPECT_EQ(test, get(ctx), ERROR);
	KUNIT_EXPECT_FALSE(test, f->wrong);
	done(file);

	/* nothing came */
	vfio_mig_reset(&f->mig);
	file = set(ctx, RESUMING);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_EXPECT_PTR_EQ(test, set(ctx, RUNNING), ERR_PTR(-ENODATA));
	KUNIT_EXPECT_EQ(test, get(ctx), ERROR);
	done(file);
}

/* ---- Life ---- */

/* Files keep what they need, and nothing else keeps the device */
static void file_outlives(struct kunit *test)
{
	static const u32 states[] = { STOP_COPY, RESUMING, PRE_COPY };
	struct file *file;
	struct ctx *ctx;
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(states); i++) {
		ctx = make(test, &everything);
		file = set(ctx, states[i]);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
		kunit_remove_action(test, close_fake, ctx->f);
		vfio_mig_close(&ctx->f->mig);
		vfio_put_device(&ctx->f->vdev);
		KUNIT_EXPECT_FALSE(test, ctx->released);
		if (states[i] == RESUMING)
			KUNIT_EXPECT_EQ(test, -ENODEV,
					file->f_op->write(file, ctx->user, 1,
							  NULL));
		else
			KUNIT_EXPECT_EQ(test, do_read(ctx, file, 1), -ENODEV);
		KUNIT_EXPECT_TRUE(test, do_poll(file) & EPOLLERR);
		done(file);
		KUNIT_EXPECT_TRUE(test, ctx->released);
	}
}

static void init_checks(struct kunit *test)
{
	struct vfio_mig_section_type bad_types[2] = {};
	struct fake *f = kunit_kzalloc(test, sizeof(*f), GFP_KERNEL);
	struct vfio_mig_identity id = identity;
	struct vfio_mig_ops bad = ops[1][1];

	KUNIT_ASSERT_NOT_NULL(test, f);
#define INIT(_ops, _id) \
	vfio_mig_init(&f->mig, &f->vdev, _ops, _id, VFIO_MIG_PRE_COPY)
	KUNIT_EXPECT_EQ(test, INIT(&ops[1][1], &id), 0);
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][1], &id), -EINVAL);
	bad.precopy_end = NULL;
	KUNIT_EXPECT_EQ(test, INIT(&bad, &id), 0);
	bad.precopy_bytes = NULL;
	KUNIT_EXPECT_EQ(test, INIT(&bad, &id), -EINVAL);
	/* without a bound, though a section repeats */
	bad = ops[1][1];
	bad.save_size = NULL;
	KUNIT_EXPECT_EQ(test, INIT(&bad, &id), -EINVAL);
	bad = ops[1][1];
	bad.run = NULL;
	KUNIT_EXPECT_EQ(test, INIT(&bad, &id), -EINVAL);
	bad = ops[1][1];
	bad.master_on = NULL;
	KUNIT_EXPECT_EQ(test, INIT(&bad, &id), -EINVAL);
	bad = ops[1][1];
	bad.reset = NULL;
	KUNIT_EXPECT_EQ(test, INIT(&bad, &id), -EINVAL);
#undef INIT

#define INIT(_ops, _id) vfio_mig_init(&f->mig, &f->vdev, _ops, _id, 0)
	id.name = "";
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][0], &id), -EINVAL);
	id.name = "a name";
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][0], &id), -EINVAL);
	id.name = "abcdefghijklmnopqrstuvwx";
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][0], &id), -EINVAL);
	id = identity;
	id.oldest = 4;
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][0], &id), -EINVAL);
	id = identity;
	id.nr_sections = VFIO_MIG_MAX_SECTION_TYPES + 1;
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][0], &id), -EINVAL);
	/* the end mark's type, one twice, and one that nobody takes */
	id.nr_sections = 1;
	id.sections = bad_types;
	bad_types[0].load = fake_load_section;
	bad_types[1].load = fake_load_section;
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][0], &id), -EINVAL);
	id.nr_sections = 2;
	bad_types[0].type = 5;
	bad_types[1].type = 5;
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][0], &id), -EINVAL);
	bad_types[1].type = 6;
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][0], &id), 0);
	bad_types[1].load = NULL;
	KUNIT_EXPECT_EQ(test, INIT(&ops[0][0], &id), -EINVAL);
#undef INIT
}

static struct kunit_case state_cases[] = {
	KUNIT_CASE_PARAM(state_pairs, combination_gen_params),
	KUNIT_CASE_PARAM(state_failures, combination_gen_params),
	KUNIT_CASE_PARAM(state_fatal_failures, combination_gen_params),
	KUNIT_CASE_PARAM(state_lasting_failures, combination_gen_params),
	KUNIT_CASE_PARAM(state_resets, combination_gen_params),
	KUNIT_CASE(file_reads),
	KUNIT_CASE(data_size),
	KUNIT_CASE(precopy_accounting),
	KUNIT_CASE(precopy_reinit),
	KUNIT_CASE(precopy_failures),
	KUNIT_CASE(put_checks),
	KUNIT_CASE(file_writes),
	KUNIT_CASE(load_refused),
	KUNIT_CASE(file_outlives),
	KUNIT_CASE(init_checks),
	{}
};

static struct kunit_suite state_suite = {
	.name = "vfio_mig_state",
	.test_cases = state_cases,
};

kunit_test_suite(state_suite);

MODULE_DESCRIPTION("KUnit tests of the migration library");
MODULE_LICENSE("GPL");
