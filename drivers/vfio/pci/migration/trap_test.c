// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of traps, with registers that are numbers and a user who stores to the
 * shadow: what is written is handed on once, in order, and never lost
 */
#include <kunit/device.h>
#include <kunit/test.h>
#include <linux/anon_inodes.h>
#include <linux/cleanup.h>
#include <linux/delay.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vfio_pci_migration.h>

/* A ring's base and tail, and a head that the device moves */
enum {
	BASE,
	TAIL,
	HEAD,
	NR_REGS,
};

#define START	(3 * PAGE_SIZE)
#define TAIL_AT	0x100

static const struct vfio_mig_trap_reg regs[NR_REGS] = {
	[BASE] = { .offset = 0x800, .reset = 7 },
	[TAIL] = { .offset = TAIL_AT },
	[HEAD] = { .offset = 0xffc, .live = true },
};

/**
 * struct board - a device
 * @vdev: the vfio device
 * @mig: its migration
 * @trap: over its registers
 * @inode: stands for its file
 * @regs: the registers
 * @base_at_tail: what BASE was when TAIL was last written
 * @writes: how many there were of each
 * @bus_resets: how often the bus was told of a reset
 * @answers: they can be got at
 * @stopped: nothing may be written
 * @wrong: it was
 */
struct board {
	struct vfio_device vdev;
	struct vfio_mig mig;
	struct vfio_mig_trap trap;
	struct inode inode;
	u32 regs[NR_REGS];
	u32 base_at_tail;
	unsigned int writes[NR_REGS];
	unsigned int bus_resets;
	bool answers;
	bool stopped;
	bool wrong;
};

static struct board *to_board(struct vfio_mig_trap *trap)
{
	return container_of(trap, struct board, trap);
}

static void board_write(struct vfio_mig_trap *trap, unsigned int reg, u32 value)
{
	struct board *b = to_board(trap);

	if (b->stopped || reg == HEAD)
		b->wrong = true;
	b->regs[reg] = value;
	b->writes[reg]++;
	if (reg == TAIL)
		b->base_at_tail = b->regs[BASE];
}

static u32 board_read(struct vfio_mig_trap *trap, unsigned int reg)
{
	return READ_ONCE(to_board(trap)->regs[reg]);
}

static const struct vfio_mig_trap_ops trap_ops = {
	.write = board_write,
	.read = board_read,
};

static int board_begin(struct vfio_mig *mig)
{
	struct board *b = container_of(mig, struct board, mig);

	if (!b->answers)
		return -EIO;
	down_write(mig->mmio_lock);
	return 0;
}

static void board_end(struct vfio_mig *mig)
{
	up_write(mig->mmio_lock);
}

static bool board_decodes(struct vfio_mig *mig)
{
	return container_of(mig, struct board, mig)->answers;
}

static void board_bus_reset(struct vfio_mig *mig)
{
	container_of(mig, struct board, mig)->bus_resets++;
}

static const struct vfio_mig_bus board_bus = {
	.begin = board_begin,
	.end = board_end,
	.decodes = board_decodes,
	.reset = board_bus_reset,
};

static int board_op(struct vfio_mig *mig)
{
	return 0;
}

static int board_load(struct vfio_mig *mig, const struct vfio_mig_section *s)
{
	return 0;
}

static void board_reset(struct vfio_mig *mig)
{
}

static const struct vfio_mig_ops mig_ops = {
	.stop_dma = board_op,
	.start_dma = board_op,
	.save = board_op,
	.load_end = board_op,
	.reset = board_reset,
};

static const struct vfio_mig_section_type section = {
	.type = 1,
	.load = board_load,
};

static const struct vfio_mig_identity identity = {
	.name = "board",
	.sections = &section,
	.nr_sections = 1,
};

static void free_board(void *data)
{
	struct board *b = data;

	vfio_mig_close(&b->mig);
	vfio_mig_destroy(&b->mig);
}

static struct board *make(struct kunit *test)
{
	struct board *b = kunit_kzalloc(test, sizeof(*b), GFP_KERNEL);
	static unsigned int nr;
	char name[16];

	KUNIT_ASSERT_NOT_NULL(test, b);
	snprintf(name, sizeof(name), "board%u", nr++);
	b->vdev.dev = kunit_device_register(test, name);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, b->vdev.dev);
	address_space_init_once(&b->inode.i_data);
	b->inode.i_mapping = &b->inode.i_data;
	b->vdev.inode = &b->inode;
	b->answers = true;
	b->regs[BASE] = 1;
	b->regs[TAIL] = 2;
	b->regs[HEAD] = 3;
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_init(&b->mig, &b->vdev, &mig_ops,
					       &identity,
					       VFIO_MIG_REVOKE_MMIO));
	b->mig.bus = &board_bus;
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_init(&b->trap, &b->mig, &trap_ops,
						    START, PAGE_SIZE, regs,
						    NR_REGS));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, free_board, b));
	return b;
}

/* The user's side of it */
static __le32 *shadow(struct board *b, unsigned int reg)
{
	return b->trap.shadow + regs[reg].offset;
}

static void store(struct board *b, unsigned int reg, u32 value)
{
	/* in the order in which they are made */
	smp_store_release(shadow(b, reg), cpu_to_le32(value));
}

static u32 fetch(struct board *b, unsigned int reg)
{
	return le32_to_cpu(READ_ONCE(*shadow(b, reg)));
}

/* Until it is on, the device has its own page; then it has one like that */
static void trap_takes_over(struct kunit *test)
{
	struct board *b = make(test);
	unsigned int i;

	vfio_mig_mmio_begin(&b->mig);
	KUNIT_EXPECT_NULL(test, vfio_mig_trap_page(&b->mig, START));
	vfio_mig_mmio_end(&b->mig);

	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	for (i = 0; i != NR_REGS; i++) {
		KUNIT_EXPECT_EQ(test, fetch(b, i), b->regs[i]);
		KUNIT_EXPECT_EQ(test, b->writes[i], 0);
	}
	vfio_mig_mmio_begin(&b->mig);
	KUNIT_EXPECT_NOT_NULL(test, vfio_mig_trap_page(&b->mig, START));
	KUNIT_EXPECT_NULL(test, vfio_mig_trap_page(&b->mig, START - PAGE_SIZE));
	KUNIT_EXPECT_NULL(test, vfio_mig_trap_page(&b->mig, START + PAGE_SIZE));
	vfio_mig_mmio_end(&b->mig);
	KUNIT_EXPECT_TRUE(test, vfio_mig_trap_covers(&b->mig, 0, START + 1));
	KUNIT_EXPECT_FALSE(test, vfio_mig_trap_covers(&b->mig, 0, START));
	KUNIT_EXPECT_FALSE(test, vfio_mig_trap_covers(&b->mig, START + PAGE_SIZE,
						      PAGE_SIZE));
	vfio_mig_trap_off(&b->trap);
	vfio_mig_mmio_begin(&b->mig);
	KUNIT_EXPECT_NULL(test, vfio_mig_trap_page(&b->mig, START));
	vfio_mig_mmio_end(&b->mig);
}

static void trap_hands_on(struct kunit *test)
{
	struct board *b = make(test);

	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	store(b, TAIL, 20);
	vfio_mig_trap_poll(&b->trap);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 20);
	KUNIT_EXPECT_EQ(test, b->writes[TAIL], 1);
	/* the same once more is nothing */
	store(b, TAIL, 20);
	KUNIT_EXPECT_FALSE(test, vfio_mig_trap_poll(&b->trap));
	KUNIT_EXPECT_EQ(test, b->writes[TAIL], 1);
	/* by itself */
	store(b, TAIL, 21);
	fsleep(100000);
	KUNIT_EXPECT_EQ(test, READ_ONCE(b->regs[TAIL]), 21);
	/* at the last moment */
	store(b, TAIL, 22);
	vfio_mig_trap_off(&b->trap);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 22);
	KUNIT_EXPECT_EQ(test, b->writes[BASE], 0);
	KUNIT_EXPECT_FALSE(test, b->wrong);
}

/* On twice is off after two */
static void trap_counts(struct kunit *test)
{
	struct board *b = make(test);

	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	vfio_mig_trap_off(&b->trap);
	store(b, TAIL, 20);
	vfio_mig_trap_poll(&b->trap);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 20);
	vfio_mig_trap_off(&b->trap);
	store(b, TAIL, 21);
	vfio_mig_trap_poll(&b->trap);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 20);
	/* one too many, after the device was closed, is nothing */
	vfio_mig_trap_off(&b->trap);
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	KUNIT_EXPECT_EQ(test, fetch(b, TAIL), 20);
	vfio_mig_close(&b->mig);
	vfio_mig_trap_off(&b->trap);
	KUNIT_EXPECT_FALSE(test, b->wrong);
}

static void trap_holds(struct kunit *test)
{
	struct board *b = make(test);

	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	vfio_mig_trap_hold(&b->trap, true);
	WRITE_ONCE(b->stopped, true);
	store(b, BASE, 10);
	store(b, TAIL, 20);
	KUNIT_EXPECT_FALSE(test, vfio_mig_trap_poll(&b->trap));
	fsleep(10000);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 2);
	KUNIT_EXPECT_EQ(test, vfio_mig_trap_value(&b->trap, TAIL), 20);
	WRITE_ONCE(b->stopped, false);
	vfio_mig_trap_hold(&b->trap, false);
	vfio_mig_trap_poll(&b->trap);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 20);
	KUNIT_EXPECT_EQ(test, b->base_at_tail, 10);

	/* what travelled to here is handed on as if it had been written here */
	vfio_mig_trap_hold(&b->trap, true);
	vfio_mig_trap_set(&b->trap, TAIL, 30);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 20);
	vfio_mig_trap_off(&b->trap);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 30);
	KUNIT_EXPECT_EQ(test, b->writes[TAIL], 2);
	KUNIT_EXPECT_FALSE(test, b->wrong);
}

/* Registers that the device changes */
static void trap_follows(struct kunit *test)
{
	struct board *b = make(test);

	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	WRITE_ONCE(b->regs[HEAD], 50);
	vfio_mig_trap_poll(&b->trap);
	KUNIT_EXPECT_EQ(test, fetch(b, HEAD), 50);

	vfio_mig_trap_hold(&b->trap, true);
	store(b, TAIL, 20);
	vfio_mig_trap_update(&b->trap, TAIL, 0);
	b->regs[TAIL] = 0;
	KUNIT_EXPECT_EQ(test, fetch(b, TAIL), 0);
	vfio_mig_trap_hold(&b->trap, false);
	vfio_mig_trap_poll(&b->trap);
	/* that dropped what was held; what is written next is seen */
	KUNIT_EXPECT_EQ(test, b->writes[TAIL], 0);
	store(b, TAIL, 2);
	vfio_mig_trap_poll(&b->trap);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 2);

	vfio_mig_trap_hold(&b->trap, true);
	store(b, TAIL, 60);
	vfio_mig_trap_reset(&b->trap);
	KUNIT_EXPECT_EQ(test, fetch(b, BASE), 7);
	vfio_mig_trap_poll(&b->trap);
	KUNIT_EXPECT_EQ(test, b->writes[BASE], 0);
	KUNIT_EXPECT_EQ(test, b->writes[TAIL], 1);
	KUNIT_EXPECT_FALSE(test, b->wrong);
}

/* read() and write() come to the same place, in order with stores */
static void trap_accesses(struct kunit *test)
{
	struct board *b = make(test);
	__le32 value = cpu_to_le32(20);
	u8 byte = 1;

	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	store(b, BASE, 10);
	vfio_mig_mmio_begin(&b->mig);
	KUNIT_EXPECT_TRUE(test, vfio_mig_trap_access(&b->mig, START + TAIL_AT,
						     &value, 4, true));
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 20);
	KUNIT_EXPECT_EQ(test, b->base_at_tail, 10);
	KUNIT_EXPECT_TRUE(test, vfio_mig_trap_access(&b->mig,
						     START + TAIL_AT + 1,
						     &byte, 1, true));
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 256 + 20);
	KUNIT_EXPECT_TRUE(test, vfio_mig_trap_access(&b->mig, START + TAIL_AT,
						     &value, 4, false));
	KUNIT_EXPECT_EQ(test, le32_to_cpu(value), 256 + 20);
	/* what is no register is the device's */
	KUNIT_EXPECT_FALSE(test, vfio_mig_trap_access(&b->mig,
						      START + TAIL_AT + 4,
						      &value, 4, true));
	KUNIT_EXPECT_FALSE(test, vfio_mig_trap_access(&b->mig, TAIL_AT, &value,
						      4, true));
	vfio_mig_mmio_end(&b->mig);
}

static void set_answers(struct board *b, bool answers)
{
	guard(rwsem_write)(b->mig.mmio_lock);
	b->answers = answers;
}

/* While nobody answers, what is written waits */
static void trap_waits(struct kunit *test)
{
	struct board *b = make(test);

	b->answers = false;
	KUNIT_EXPECT_EQ(test, -EIO, vfio_mig_trap_on(&b->trap));
	b->answers = true;
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	set_answers(b, false);
	store(b, TAIL, 20);
	KUNIT_EXPECT_FALSE(test, vfio_mig_trap_poll(&b->trap));
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 2);
	set_answers(b, true);
	vfio_mig_trap_poll(&b->trap);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 20);
}

static struct file *set(struct board *b, u32 state)
{
	return b->vdev.mig_ops->migration_set_state(&b->vdev, state);
}

/* A device that is stopped was told all that was written until then */
static void trap_stops(struct kunit *test)
{
	struct board *b = make(test);

	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	store(b, TAIL, 20);
	KUNIT_ASSERT_NULL(test, set(b, VFIO_DEVICE_STATE_STOP));
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 20);
	store(b, TAIL, 21);
	fsleep(10000);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 20);
	KUNIT_ASSERT_NULL(test, set(b, VFIO_DEVICE_STATE_RUNNING));
	vfio_mig_trap_poll(&b->trap);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], 21);
	KUNIT_EXPECT_EQ(test, b->bus_resets, 0);
	vfio_mig_reset(&b->mig);
	KUNIT_EXPECT_EQ(test, b->bus_resets, 1);
}

static bool has_mmio(struct board *b)
{
	bool has = vfio_mig_mmio_begin(&b->mig);

	vfio_mig_mmio_end(&b->mig);
	return has;
}

/* MMIO goes where the device stops, not where its DMA does; by each arc there */
static void mmio_follows_state(struct kunit *test)
{
	static const struct {
		u32 state;
		bool mmio;
	} way[] = {
		{ VFIO_DEVICE_STATE_RUNNING_P2P, true },
		{ VFIO_DEVICE_STATE_STOP, false },
		{ VFIO_DEVICE_STATE_RUNNING_P2P, true },
		{ VFIO_DEVICE_STATE_STOP, false },
		{ VFIO_DEVICE_STATE_RUNNING, true },
	};
	struct board *b;
	unsigned int p2p, i;

	for (p2p = 0; p2p != 2; p2p++) {
		b = make(test);
		if (p2p)
			b->vdev.migration_flags |= VFIO_MIGRATION_P2P;
		KUNIT_EXPECT_TRUE(test, has_mmio(b));
		for (i = 0; i != ARRAY_SIZE(way); i++) {
			if (!p2p && way[i].state == VFIO_DEVICE_STATE_RUNNING_P2P)
				continue;
			KUNIT_ASSERT_NULL(test, set(b, way[i].state));
			KUNIT_EXPECT_EQ(test, has_mmio(b), way[i].mmio);
		}
	}
}

/* ---- What the user has mapped ---- */

#define PAGES	5

/**
 * struct window - memory that stands for the regions of a device, as a file
 * @file: the file, which is the device's
 * @page: all of its pages
 * @faults: how often one was to be mapped
 * @user: where it is mapped
 */
struct window {
	struct file *file;
	struct page *page;
	unsigned int faults;
	u8 __user *user;
};

static vm_fault_t window_fault(struct vm_fault *vmf)
{
	struct window *w = vmf->vma->vm_file->private_data;

	w->faults++;
	get_page(w->page);
	vmf->page = w->page;
	return 0;
}

static const struct vm_operations_struct window_vm_ops = {
	.fault = window_fault,
};

static int window_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &window_vm_ops;
	return 0;
}

static const struct file_operations window_fops = {
	.mmap = window_mmap,
};

static void close_window(void *data)
{
	struct window *w = data;

	/* The mapping has its own references, and goes with the test's memory */
	fput(w->file);
	put_page(w->page);
}

static struct window *open_window(struct kunit *test, struct board *b)
{
	struct window *w = kunit_kzalloc(test, sizeof(*w), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, w);
	w->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	KUNIT_ASSERT_NOT_NULL(test, w->page);
	w->file = anon_inode_create_getfile("window", &window_fops, w, O_RDWR,
					    NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, w->file);
	w->user = (u8 __user *)kunit_vm_mmap(test, w->file, 0,
					     PAGES * PAGE_SIZE,
					     PROT_READ | PROT_WRITE, MAP_SHARED,
					     0);
	KUNIT_ASSERT_FALSE(test, IS_ERR_VALUE((unsigned long)w->user));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, close_window,
							   w));
	b->vdev.inode = file_inode(w->file);
	return w;
}

/* Returns how many of its pages had to be mapped for that */
static unsigned int touch(struct kunit *test, struct window *w)
{
	unsigned int before = w->faults, i;

	for (i = 0; i != PAGES; i++)
		KUNIT_EXPECT_EQ(test, 0, put_user(1, w->user + i * PAGE_SIZE));
	return w->faults - before;
}

/* A page that was mapped before would go on to be the device's, or the shadow */
static void trap_unmaps_its_page(struct kunit *test)
{
	struct board *b = make(test);
	struct window *w = open_window(test, b);

	KUNIT_EXPECT_EQ(test, touch(test, w), PAGES);
	KUNIT_EXPECT_EQ(test, touch(test, w), 0);
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	KUNIT_EXPECT_EQ(test, touch(test, w), 1);
	KUNIT_EXPECT_EQ(test, touch(test, w), 0);
	vfio_mig_trap_off(&b->trap);
	KUNIT_EXPECT_EQ(test, touch(test, w), 1);
}

static void mmio_off_unmaps_all(struct kunit *test)
{
	struct board *b = make(test);
	struct window *w = open_window(test, b);

	KUNIT_EXPECT_EQ(test, touch(test, w), PAGES);
	KUNIT_ASSERT_NULL(test, set(b, VFIO_DEVICE_STATE_STOP));
	KUNIT_EXPECT_EQ(test, touch(test, w), PAGES);
	KUNIT_ASSERT_NULL(test, set(b, VFIO_DEVICE_STATE_RUNNING));
	KUNIT_EXPECT_EQ(test, touch(test, w), 0);
}

#define ROUNDS	300

struct ringer {
	struct board *b;
	u32 rung;
};

/* Each ring is a base and a tail that go together */
static int ring(void *data)
{
	struct ringer *r = data;

	while (!kthread_should_stop()) {
		r->rung++;
		store(r->b, BASE, r->rung);
		store(r->b, TAIL, r->rung);
		cond_resched();
	}
	return 0;
}

/* Held and let go of under load: a tail never comes before its base */
static void trap_under_load(struct kunit *test)
{
	struct board *b = make(test);
	struct ringer r = { .b = b };
	struct task_struct *thread;
	unsigned int i, early = 0;

	KUNIT_ASSERT_EQ(test, 0, vfio_mig_trap_on(&b->trap));
	thread = kthread_run(ring, &r, "trap-ringer");
	KUNIT_ASSERT_FALSE(test, IS_ERR(thread));
	/* A thread that is stopped before it ever ran rings nothing */
	for (i = 0; i < ROUNDS || !READ_ONCE(r.rung); i++) {
		vfio_mig_trap_hold(&b->trap, true);
		WRITE_ONCE(b->stopped, true);
		if (b->writes[TAIL] && b->base_at_tail < b->regs[TAIL])
			early++;
		cond_resched();
		WRITE_ONCE(b->stopped, false);
		vfio_mig_trap_hold(&b->trap, false);
		vfio_mig_trap_poll(&b->trap);
	}
	kthread_stop(thread);
	vfio_mig_trap_off(&b->trap);
	KUNIT_EXPECT_EQ(test, early, 0);
	KUNIT_EXPECT_EQ(test, b->regs[TAIL], r.rung);
	KUNIT_EXPECT_EQ(test, b->regs[BASE], r.rung);
	KUNIT_EXPECT_GT(test, b->writes[TAIL], 0);
	KUNIT_EXPECT_FALSE(test, b->wrong);
}

static void trap_init_checks(struct kunit *test)
{
	static const struct vfio_mig_trap_reg odd = { .offset = 2 };
	static const struct vfio_mig_trap_reg out = { .offset = PAGE_SIZE };
	struct board *b = make(test);
	struct vfio_mig_trap trap;

#define EXPECT_REFUSED(_start, _size, _regs, _nr)			\
	KUNIT_EXPECT_EQ(test, -EINVAL,					\
			vfio_mig_trap_init(&trap, &b->mig, &trap_ops,	\
					   _start, _size, _regs, _nr))
	EXPECT_REFUSED(1, PAGE_SIZE, regs, NR_REGS);
	EXPECT_REFUSED(0, 0, regs, NR_REGS);
	EXPECT_REFUSED(0, PAGE_SIZE - 1, regs, NR_REGS);
	EXPECT_REFUSED(0, PAGE_SIZE, regs, 0);
	EXPECT_REFUSED(0, PAGE_SIZE, &odd, 1);
	EXPECT_REFUSED(0, PAGE_SIZE, &out, 1);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(trap_takes_over),
	KUNIT_CASE(trap_hands_on),
	KUNIT_CASE(trap_counts),
	KUNIT_CASE(trap_holds),
	KUNIT_CASE(trap_follows),
	KUNIT_CASE(trap_accesses),
	KUNIT_CASE(trap_waits),
	KUNIT_CASE(trap_stops),
	KUNIT_CASE(mmio_follows_state),
	KUNIT_CASE(trap_unmaps_its_page),
	KUNIT_CASE(mmio_off_unmaps_all),
	KUNIT_CASE(trap_under_load),
	KUNIT_CASE(trap_init_checks),
	{}
};

static struct kunit_suite suite = {
	.name = "vfio_mig_trap",
	.test_cases = cases,
};
kunit_test_suite(suite);
