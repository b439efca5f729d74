// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of registers that the user never maps, with a card that is nothing but
 * numbers: what the driver is called for, with which locks, and what it is not
 */
#include <kunit/test.h>
#include <linux/fs.h>
#include <linux/mman.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/uaccess.h>

#include "migration.h"

/* One BAR of registers, and one that is not the user's */
#define REGS		0
#define FLASH		1
#define NR_REGS		4
#define MAX_CALLS	16

/**
 * struct call - what the driver was called for
 * @op: 'b'efore a read, 'B'efore a write, 'r'ead, 'w'rite
 * @offset: of the register
 * @value: what is written
 */
struct call {
	char op;
	u32 offset;
	u32 value;
};

/**
 * struct card - a device
 * @pci: what the library makes of it; first
 * @driver: its driver
 * @pdev: its function
 * @inode: stands for its file
 * @vconfig: config space, as the user has written it
 * @regs: the registers
 * @calls: of the driver
 * @nr: how many
 * @wrong: one with other locks than there should be
 * @slept: how often it was told that the device sleeps
 * @user: memory of user space, a page, with none behind it
 */
struct card {
	struct vfio_mig_pci pci;
	struct vfio_mig_pci_driver driver;
	struct pci_dev pdev;
	struct inode inode;
	__le16 vconfig[PCI_STD_HEADER_SIZEOF / 2];
	u32 regs[NR_REGS];
	struct call calls[MAX_CALLS];
	unsigned int nr;
	bool wrong;
	unsigned int slept;
	char __user *user;
};

static struct card *to_card(struct vfio_mig *mig)
{
	return container_of(mig, struct card, pci.mig);
}

static void note(struct card *c, char op, unsigned int bar, u32 offset,
		 u32 value)
{
	bool locked = mutex_is_locked(&c->pci.lock);
	bool gated = rwsem_is_locked(&c->pci.core.memory_lock);
	bool unlocked = op == 'b' || op == 'B';

	if (bar != REGS || locked == unlocked || gated == unlocked)
		c->wrong = true;
	if (c->nr != MAX_CALLS)
		c->calls[c->nr++] = (struct call){ op, offset, value };
}

static void card_before(struct vfio_mig *mig, unsigned int bar, u32 offset,
			const u32 *written)
{
	note(to_card(mig), written ? 'B' : 'b', bar, offset,
	     written ? *written : 0);
}

static u32 card_read(struct vfio_mig *mig, unsigned int bar, u32 offset)
{
	note(to_card(mig), 'r', bar, offset, 0);
	return to_card(mig)->regs[offset / 4];
}

static void card_write(struct vfio_mig *mig, unsigned int bar, u32 offset,
		       u32 value)
{
	note(to_card(mig), 'w', bar, offset, value);
	to_card(mig)->regs[offset / 4] = value;
}

static void card_sleeps(struct vfio_mig *mig)
{
	struct card *c = to_card(mig);

	if (mutex_is_locked(&c->pci.lock) ||
	    rwsem_is_locked(&c->pci.core.memory_lock))
		c->wrong = true;
	c->slept++;
}

static int card_op(struct vfio_mig *mig)
{
	return 0;
}

static int card_load(struct vfio_mig *mig, const struct vfio_mig_section *s)
{
	return 0;
}

static void card_reset(struct vfio_mig *mig)
{
}

static const struct vfio_mig_ops mig_ops = {
	.stop_dma = card_op,
	.start_dma = card_op,
	.save = card_op,
	.load_end = card_op,
	.reset = card_reset,
};

static const struct vfio_mig_section_type section = {
	.type = 1,
	.load = card_load,
};

static const struct vfio_mig_identity identity = {
	.name = "card",
	.sections = &section,
	.nr_sections = 1,
};

static struct card *make(struct kunit *test)
{
	struct card *c = kunit_kzalloc(test, sizeof(*c), GFP_KERNEL);
	struct vfio_device *vdev;

	KUNIT_ASSERT_NOT_NULL(test, c);
	vdev = &c->pci.core.vdev;
	c->driver.vfio = mig_pci_device_ops;
	c->driver.reg_bars = BIT(REGS);
	c->driver.hidden_bars = BIT(FLASH);
	c->driver.before_access = card_before;
	c->driver.reg_read = card_read;
	c->driver.reg_write = card_write;
	c->driver.sleeps = card_sleeps;
	device_initialize(&c->pdev.dev);
	/* it stays awake: nothing of it is to run when it is gone */
	pm_runtime_get_noresume(&c->pdev.dev);
	pm_runtime_set_active(&c->pdev.dev);
	pm_runtime_enable(&c->pdev.dev);
	c->pdev.resource[REGS] = DEFINE_RES_MEM(0x1000, NR_REGS * 4);
	c->pdev.resource[FLASH] = DEFINE_RES_MEM(0x2000, 0x1000);
	c->pdev.current_state = PCI_D0;
	c->vconfig[PCI_COMMAND / 2] = cpu_to_le16(PCI_COMMAND_MEMORY);
	c->pci.core.pdev = &c->pdev;
	c->pci.core.vconfig = (u8 *)c->vconfig;
	init_rwsem(&c->pci.core.memory_lock);
	mutex_init(&c->pci.lock);
	address_space_init_once(&c->inode.i_data);
	c->inode.i_mapping = &c->inode.i_data;
	vdev->inode = &c->inode;
	vdev->dev = &c->pdev.dev;
	vdev->ops = &c->driver.vfio;
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_init(&c->pci.mig, vdev, &mig_ops,
					       &identity,
					       VFIO_MIG_REVOKE_MMIO));
	c->pci.mig.mmio_lock = &c->pci.core.memory_lock;

	c->user = (char __user *)kunit_vm_mmap(test, NULL, 0, 2 * PAGE_SIZE,
					       PROT_READ | PROT_WRITE,
					       MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NOT_NULL(test, (void __force *)c->user);
	KUNIT_ASSERT_EQ(test, 0, vm_munmap((unsigned long)c->user + PAGE_SIZE,
					   PAGE_SIZE));
	return c;
}

/* At @pos of @bar, from or to what is @at of the user's page; it moves by what it returns */
static ssize_t rw(struct kunit *test, struct card *c, unsigned int bar, u64 pos,
		  size_t at, size_t count, bool write)
{
	loff_t begin = VFIO_PCI_INDEX_TO_OFFSET(bar) + pos, ppos = begin;
	struct vfio_device *vdev = &c->pci.core.vdev;
	ssize_t done;

	c->nr = 0;
	done = write ? vdev->ops->write(vdev, c->user + at, count, &ppos) :
		       vdev->ops->read(vdev, c->user + at, count, &ppos);
	KUNIT_EXPECT_EQ(test, ppos - begin, done < 0 ? 0 : done);
	KUNIT_EXPECT_FALSE(test, c->wrong);
	return done;
}

static void put(struct kunit *test, struct card *c, size_t at, u32 value)
{
	KUNIT_ASSERT_EQ(test, 0, copy_to_user(c->user + at, &value, 4));
}

static u32 get(struct kunit *test, struct card *c, size_t at)
{
	u32 value;

	KUNIT_ASSERT_EQ(test, 0, copy_from_user(&value, c->user + at, 4));
	return value;
}

static void expect_call(struct kunit *test, struct card *c, unsigned int nth,
			char op, u32 offset, u32 value)
{
	KUNIT_ASSERT_LT(test, nth, c->nr);
	KUNIT_EXPECT_EQ(test, c->calls[nth].op, op);
	KUNIT_EXPECT_EQ(test, c->calls[nth].offset, offset);
	KUNIT_EXPECT_EQ(test, c->calls[nth].value, value);
}

/* One by one, in order, each with a look before it for which nothing is locked */
static void regs_one_by_one(struct kunit *test)
{
	struct card *c = make(test);
	unsigned int i;

	for (i = 0; i != NR_REGS; i++)
		put(test, c, i * 4, 100 + i);
	KUNIT_EXPECT_EQ(test, rw(test, c, REGS, 0, 0, NR_REGS * 4, true),
			NR_REGS * 4);
	KUNIT_EXPECT_EQ(test, c->nr, 2 * NR_REGS);
	for (i = 0; i != NR_REGS; i++) {
		expect_call(test, c, 2 * i, 'B', i * 4, 100 + i);
		expect_call(test, c, 2 * i + 1, 'w', i * 4, 100 + i);
	}
	for (i = 0; i != NR_REGS; i++)
		c->regs[i] = 200 + i;
	KUNIT_EXPECT_EQ(test, rw(test, c, REGS, 4, 0, 8, false), 8);
	KUNIT_EXPECT_EQ(test, c->nr, 4);
	for (i = 0; i != 2; i++) {
		expect_call(test, c, 2 * i, 'b', 4 + i * 4, 0);
		expect_call(test, c, 2 * i + 1, 'r', 4 + i * 4, 0);
		KUNIT_EXPECT_EQ(test, get(test, c, i * 4), 201 + i);
	}
	KUNIT_EXPECT_EQ(test, rw(test, c, REGS, 0, 0, 0, true), 0);
	KUNIT_EXPECT_EQ(test, c->nr, 0);
	/* a driver need not look */
	c->driver.before_access = NULL;
	KUNIT_EXPECT_EQ(test, rw(test, c, REGS, 0, 0, 4, true), 4);
	expect_call(test, c, 0, 'w', 0, 201);
}

/* What ends beyond the BAR is cut; what begins there, or is no whole register, is refused */
static void regs_bounds(struct kunit *test)
{
	struct card *c = make(test);
	unsigned int write, n;

	for (write = 0; write != 2; write++) {
		KUNIT_EXPECT_EQ(test, rw(test, c, REGS, 8, 0, 64, write), 8);
		KUNIT_EXPECT_EQ(test, c->nr, 4);
		for (n = 1; n != 4; n++) {
			KUNIT_EXPECT_EQ(test, -EINVAL,
					rw(test, c, REGS, n, 0, 4, write));
			KUNIT_EXPECT_EQ(test, -EINVAL,
					rw(test, c, REGS, 0, 0, n, write));
			KUNIT_EXPECT_EQ(test, -EINVAL,
					rw(test, c, REGS, 0, 0, 4 + n, write));
		}
		KUNIT_EXPECT_EQ(test, -EINVAL, rw(test, c, REGS, NR_REGS * 4, 0,
						  4, write));
		KUNIT_EXPECT_EQ(test, -EINVAL, rw(test, c, REGS, SZ_1G, 0, 4,
						  write));
		KUNIT_EXPECT_EQ(test, c->nr, 0);
	}
}

/* Bad memory in the midst: those before it were accessed, and none behind it */
static void regs_fault(struct kunit *test)
{
	struct card *c = make(test);

	put(test, c, PAGE_SIZE - 4, 5);
	KUNIT_EXPECT_EQ(test, -EFAULT,
			rw(test, c, REGS, 0, PAGE_SIZE - 4, 12, true));
	KUNIT_EXPECT_EQ(test, c->nr, 2);
	expect_call(test, c, 1, 'w', 0, 5);
	c->regs[0] = 6;
	KUNIT_EXPECT_EQ(test, -EFAULT,
			rw(test, c, REGS, 0, PAGE_SIZE - 4, 12, false));
	KUNIT_EXPECT_EQ(test, get(test, c, PAGE_SIZE - 4), 6);
	KUNIT_EXPECT_EQ(test, c->nr, 4);
	expect_call(test, c, 3, 'r', 4, 0);
}

/* Nothing is there: all ones, and what is written is dropped */
static void expect_gone(struct kunit *test, struct card *c)
{
	c->regs[0] = 7;
	put(test, c, 0, 8);
	KUNIT_EXPECT_EQ(test, rw(test, c, REGS, 0, 0, 8, true), 8);
	KUNIT_EXPECT_EQ(test, c->regs[0], 7);
	KUNIT_EXPECT_EQ(test, c->nr, 2);
	expect_call(test, c, 1, 'B', 4, get(test, c, 4));
	KUNIT_EXPECT_EQ(test, rw(test, c, REGS, 0, 0, 8, false), 8);
	KUNIT_EXPECT_EQ(test, get(test, c, 0), U32_MAX);
	KUNIT_EXPECT_EQ(test, get(test, c, 4), U32_MAX);
	KUNIT_EXPECT_EQ(test, c->nr, 2);
	KUNIT_EXPECT_FALSE(test, vfio_mig_pci_user_begin(&c->pci));
	KUNIT_EXPECT_FALSE(test, rwsem_is_locked(&c->pci.core.memory_lock));
	KUNIT_EXPECT_FALSE(test, mutex_is_locked(&c->pci.lock));
}

static void expect_there(struct kunit *test, struct card *c)
{
	put(test, c, 0, 9);
	KUNIT_EXPECT_EQ(test, rw(test, c, REGS, 0, 0, 4, true), 4);
	KUNIT_EXPECT_EQ(test, c->regs[0], 9);
}

static void set_state(struct kunit *test, struct card *c, u32 state)
{
	struct vfio_device *vdev = &c->pci.core.vdev;

	KUNIT_ASSERT_NULL(test, vdev->mig_ops->migration_set_state(vdev, state));
}

static void regs_gate(struct kunit *test)
{
	struct card *c = make(test);

	expect_there(test, c);
	set_state(test, c, VFIO_DEVICE_STATE_STOP);
	expect_gone(test, c);
	set_state(test, c, VFIO_DEVICE_STATE_RUNNING);
	expect_there(test, c);
	c->vconfig[PCI_COMMAND / 2] = 0;
	expect_gone(test, c);
	c->vconfig[PCI_COMMAND / 2] = cpu_to_le16(PCI_COMMAND_MEMORY);
	c->pdev.current_state = PCI_D3hot;
	expect_gone(test, c);
	c->pdev.current_state = PCI_D0;
	expect_there(test, c);
}

/* A BAR that is not the user's is none */
static void hidden_bar(struct kunit *test)
{
	struct card *c = make(test);
	struct vfio_device *vdev = &c->pci.core.vdev;
	struct vfio_region_info info = { .index = FLASH };
	struct vfio_info_cap caps = {};

	KUNIT_EXPECT_EQ(test, -EINVAL, rw(test, c, FLASH, 0, 0, 4, false));
	KUNIT_EXPECT_EQ(test, -EINVAL, rw(test, c, FLASH, 0, 0, 4, true));
	KUNIT_EXPECT_EQ(test, 0, vdev->ops->get_region_info_caps(vdev, &info,
								 &caps));
	KUNIT_EXPECT_EQ(test, info.size, 0);
	KUNIT_EXPECT_EQ(test, info.flags, 0);
	info.index = REGS;
	KUNIT_EXPECT_EQ(test, 0, vdev->ops->get_region_info_caps(vdev, &info,
								 &caps));
	KUNIT_EXPECT_EQ(test, info.size, NR_REGS * 4);
	KUNIT_EXPECT_EQ(test, info.flags, VFIO_REGION_INFO_FLAG_READ |
			VFIO_REGION_INFO_FLAG_WRITE);
	KUNIT_EXPECT_EQ(test, c->nr, 0);
}

/* A device that does not wake up is accessed in no way */
static void regs_asleep(struct kunit *test)
{
	struct card *c = make(test);

	if (!IS_ENABLED(CONFIG_PM))
		kunit_skip(test, "it never sleeps");
	pm_runtime_disable(&c->pdev.dev);
	pm_runtime_set_suspended(&c->pdev.dev);
	KUNIT_EXPECT_EQ(test, -EIO, rw(test, c, REGS, 0, 0, 4, false));
	KUNIT_EXPECT_EQ(test, -EIO, rw(test, c, REGS, 0, 0, 4, true));
	KUNIT_EXPECT_EQ(test, c->nr, 0);
}

/* Where a device loses its registers by the user's wish, its driver is told before */
static void sleeps(struct kunit *test)
{
	static const struct {
		u64 pos;
		size_t count;
		bool write;
		bool sleeps;
	} config[] = {
		{ 0x44, 1, true, true }, { 0x44, 2, true, true },
		{ 0x45, 1, true, true }, { 0x40, 8, true, true },
		{ 0, PAGE_SIZE, true, true }, { 0x44, 2, false, false },
		{ 0x43, 1, true, false }, { 0x46, 2, true, false },
		{ 0, 0x44, true, false }, { 0x44, 0, true, false },
	};
	const u32 set = VFIO_DEVICE_FEATURE_SET;
	const u32 entry = VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP;
	struct card *c = make(test);
	struct vfio_device *vdev = &c->pci.core.vdev;
	unsigned int i;

	c->pdev.pm_cap = 0x40;
	for (i = 0; i != ARRAY_SIZE(config); i++) {
		c->slept = 0;
		/* the core has no config space here, and refuses it */
		rw(test, c, VFIO_PCI_CONFIG_REGION_INDEX, config[i].pos, 0,
		   config[i].count, config[i].write);
		KUNIT_EXPECT_EQ_MSG(test, c->slept, config[i].sleeps, "%u", i);
	}
	c->slept = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			vdev->ops->device_feature(vdev, set | entry, NULL, 0));
	KUNIT_EXPECT_EQ(test, c->slept, 1);
	vdev->ops->device_feature(vdev, entry, NULL, 0);
	vdev->ops->device_feature(vdev, set | VFIO_DEVICE_FEATURE_PROBE | entry,
				  NULL, 0);
	vdev->ops->device_feature(vdev, set | VFIO_DEVICE_FEATURE_MASK, NULL, 0);
	KUNIT_EXPECT_EQ(test, c->slept, 1);
	/* a card without power management; a driver that does not care */
	c->pdev.pm_cap = 0;
	rw(test, c, VFIO_PCI_CONFIG_REGION_INDEX, 0, 0, PAGE_SIZE, true);
	KUNIT_EXPECT_EQ(test, c->slept, 1);
	c->driver.sleeps = NULL;
	c->pdev.pm_cap = 0x40;
	rw(test, c, VFIO_PCI_CONFIG_REGION_INDEX, 0, 0, PAGE_SIZE, true);
}

/* Where nothing is, a page at most is read at once; bytes that were read are passed by */
static void other_region(struct kunit *test)
{
	const unsigned int rom = VFIO_PCI_ROM_REGION_INDEX;
	struct card *c = make(test);

	set_state(test, c, VFIO_DEVICE_STATE_STOP);
	/* up to where memory ends, or not all that there is */
	KUNIT_EXPECT_EQ(test, PAGE_SIZE,
			rw(test, c, rom, 0, 0, SZ_1G, false));
	KUNIT_EXPECT_EQ(test, get(test, c, PAGE_SIZE - 4), U32_MAX);
	KUNIT_EXPECT_EQ(test, 4,
			rw(test, c, rom, 0, PAGE_SIZE - 4, 8, false));
	KUNIT_EXPECT_EQ(test, -EFAULT, rw(test, c, rom, 0, PAGE_SIZE, 8, false));
	KUNIT_EXPECT_EQ(test, 0, rw(test, c, rom, 0, PAGE_SIZE, 0, false));
	KUNIT_EXPECT_EQ(test, SZ_1G, rw(test, c, rom, 0, 0, SZ_1G, true));
	c->user = (char __user *)kunit_vm_mmap(test, NULL, 0, 2 * PAGE_SIZE,
					       PROT_READ | PROT_WRITE,
					       MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NOT_NULL(test, (void __force *)c->user);
	KUNIT_EXPECT_EQ(test, PAGE_SIZE,
			rw(test, c, rom, 0, 0, 2 * PAGE_SIZE, false));
}

/* Registers without a driver to answer */
static void nobody_answers(struct kunit *test)
{
	struct card *c = make(test);
	struct vfio_device *vdev = &c->pci.core.vdev;

	c->driver.reg_read = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, vdev->ops->init(vdev));
	c->driver.reg_read = card_read;
	c->driver.reg_write = NULL;
	KUNIT_EXPECT_EQ(test, -EINVAL, vdev->ops->init(vdev));
}

static struct kunit_case cases[] = {
	KUNIT_CASE(regs_one_by_one),
	KUNIT_CASE(regs_bounds),
	KUNIT_CASE(regs_fault),
	KUNIT_CASE(regs_gate),
	KUNIT_CASE(regs_asleep),
	KUNIT_CASE(hidden_bar),
	KUNIT_CASE(sleeps),
	KUNIT_CASE(other_region),
	KUNIT_CASE(nobody_answers),
	{}
};

static struct kunit_suite suite = {
	.name = "vfio_mig_regs",
	.test_cases = cases,
};
kunit_test_suite(suite);

MODULE_DESCRIPTION("KUnit tests of what variant drivers of vfio-pci share");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
