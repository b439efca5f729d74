// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of sections that are words: they arrive as they left, little endian, with
 * no more and no fewer of them, and none that the driver's check refuses
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mman.h>
#include <linux/uaccess.h>
#include <linux/unaligned.h>

#include "migration.h"

#define HEADER		64
#define FIRST_AT	(HEADER + VFIO_MIG_SECTION_OVERHEAD)
#define SIZE		(VFIO_MIG_STREAM_OVERHEAD +			\
			 2 * VFIO_MIG_SECTION_OVERHEAD + sizeof(struct state))

struct state {
	u32 first[3];
	u32 second[2];
};

/**
 * struct regs - a device that is nothing but its state
 * @vdev: the vfio device
 * @mig: its migration
 * @state: the state
 * @loading: what of another came
 */
struct regs {
	struct vfio_device vdev;
	struct vfio_mig mig;
	struct state state;
	struct state loading;
};

static struct regs *to_regs(struct vfio_mig *mig)
{
	return container_of(mig, struct regs, mig);
}

static int regs_op(struct vfio_mig *mig)
{
	return 0;
}

static int regs_save(struct vfio_mig *mig)
{
	return vfio_mig_put_words(mig, &to_regs(mig)->state);
}

static int regs_load(struct vfio_mig *mig,
		     const struct vfio_mig_section *section)
{
	return vfio_mig_take_words(mig, section, &to_regs(mig)->loading);
}

static int regs_load_end(struct vfio_mig *mig)
{
	to_regs(mig)->state = to_regs(mig)->loading;
	return 0;
}

static void regs_reset(struct vfio_mig *mig)
{
	memset(&to_regs(mig)->state, 0, sizeof(struct state));
}

/* The last word is not to have its high bit */
static int regs_check(const u32 *words)
{
	return words[2] & BIT(31) ? -ERANGE : 0;
}

static const struct vfio_mig_ops mig_ops = {
	.stop_dma = regs_op,
	.start_dma = regs_op,
	.save = regs_save,
	.load_end = regs_load_end,
	.reset = regs_reset,
};

static const struct vfio_mig_section_type sections[] = {
	VFIO_MIG_WORDS(1, struct state, first, regs_load, regs_check),
	VFIO_MIG_WORDS(2, struct state, second, regs_load, NULL),
};

static const struct vfio_mig_identity identity = {
	.name = "regs",
	VFIO_MIG_SECTIONS(sections),
};

static void release(struct device *dev)
{
	kfree(container_of(dev, struct regs, vdev.device));
}

static void close_regs(void *data)
{
	struct regs *r = data;

	vfio_mig_close(&r->mig);
	vfio_put_device(&r->vdev);
}

static struct regs *make(struct kunit *test)
{
	struct regs *r = kzalloc_obj(*r);
	static unsigned int nr;
	char name[16];

	KUNIT_ASSERT_NOT_NULL(test, r);
	snprintf(name, sizeof(name), "regs%u", nr++);
	r->vdev.dev = kunit_device_register(test, name);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, r->vdev.dev);
	device_initialize(&r->vdev.device);
	r->vdev.device.release = release;
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_init(&r->mig, &r->vdev, &mig_ops,
					       &identity, 0));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, close_regs, r));
	return r;
}

static struct file *set(struct regs *r, u32 state)
{
	return r->vdev.mig_ops->migration_set_state(&r->vdev, state);
}

static void done(struct file *file)
{
	if (!IS_ERR_OR_NULL(file))
		__fput_sync(file);
}

static void words_travel(struct kunit *test)
{
	static const struct state state = {
		{ 0x01020304, 0, 0x7fffffff }, { U32_MAX, 1 },
	};
	struct regs *r = make(test);
	u8 stream[SIZE];
	struct file *file;
	unsigned long size;
	u8 __user *user;

	user = (u8 __user *)kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
					  PROT_READ | PROT_WRITE,
					  MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NOT_NULL(test, (void __force *)user);
	r->state = state;
	file = set(r, VFIO_DEVICE_STATE_STOP_COPY);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_EXPECT_EQ(test, file->f_op->read(file, user, PAGE_SIZE, NULL),
			SIZE);
	done(file);
	/* one of each kind, since the driver does not say how many there are */
	KUNIT_EXPECT_EQ(test, 0, r->vdev.mig_ops->migration_get_data_size(&r->vdev,
									  &size));
	KUNIT_EXPECT_EQ(test, size, SIZE);
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(stream, user, SIZE));
	KUNIT_EXPECT_EQ(test, get_unaligned_le32(stream + FIRST_AT), 0x01020304);
	KUNIT_EXPECT_EQ(test, stream[FIRST_AT], 4);

	vfio_mig_reset(&r->mig);
	KUNIT_EXPECT_EQ(test, r->state.first[0], 0);
	file = set(r, VFIO_DEVICE_STATE_RESUMING);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	KUNIT_EXPECT_EQ(test, file->f_op->write(file, user, SIZE, NULL), SIZE);
	KUNIT_EXPECT_NULL(test, set(r, VFIO_DEVICE_STATE_STOP));
	done(file);
	KUNIT_EXPECT_MEMEQ(test, &r->state, &state, sizeof(state));
}

static void words_checked(struct kunit *test)
{
	struct regs *r = make(test);
	__le32 words[4] = { 0, 0, cpu_to_le32(5), 0 };
	struct vfio_mig_section section = { .type = 1, .data = words };

	for (section.length = 0; section.length <= sizeof(words);
	     section.length++)
		KUNIT_EXPECT_EQ(test, mig_load_section(&r->mig, &section),
				section.length == 12 ? 0 : -ERANGE);
	KUNIT_EXPECT_EQ(test, r->loading.first[2], 5);
	section.length = 12;
	words[2] = cpu_to_le32(BIT(31));
	KUNIT_EXPECT_EQ(test, -ERANGE, mig_load_section(&r->mig, &section));
	section.type = 3;
	KUNIT_EXPECT_EQ(test, -ERANGE, mig_load_section(&r->mig, &section));
	/* no alignment is promised, and none is relied on */
	section.type = 2;
	section.length = 8;
	section.data = (u8 *)words + 1;
	words[0] = cpu_to_le32(0x04030201);
	words[1] = cpu_to_le32(0x08070605);
	KUNIT_EXPECT_EQ(test, 0, mig_load_section(&r->mig, &section));
	KUNIT_EXPECT_EQ(test, r->loading.second[0], 0x05040302);
}

/* What is always of one length is not put with another */
static void words_put(struct kunit *test)
{
	struct regs *r = make(test);
	static const u32 words[4];
	struct file *file;

	file = set(r, VFIO_DEVICE_STATE_STOP_COPY);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, file);
	mutex_lock(&r->mig.state_lock);
	KUNIT_EXPECT_EQ(test, 0, vfio_mig_put(&r->mig, 1, words, 12));
	KUNIT_EXPECT_EQ(test, -EINVAL, vfio_mig_put(&r->mig, 1, words, 8));
	mutex_unlock(&r->mig.state_lock);
	done(file);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(words_travel),
	KUNIT_CASE(words_checked),
	KUNIT_CASE(words_put),
	{}
};

static struct kunit_suite suite = {
	.name = "vfio_mig_words",
	.test_cases = cases,
};
kunit_test_suite(suite);
