// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated device: registers, doorbells and the descriptor ring
 *
 * A thread executes one descriptor at a time under the device's lock.  To
 * quiesce is to take the lock and clear @running: when that returns, nothing is
 * in flight and nothing follows.  Doorbells rung meanwhile stay in the
 * registers, so that the work starts later, here or where the state was loaded.
 */
#include <linux/delay.h>
#include <linux/iopoll.h>
#include <linux/kthread.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "dsim.h"

#define BOUNCE_SIZE	PAGE_SIZE

/* How often the mapped doorbell is looked at, while it is mapped */
#define POLL_MIN_US	50
#define POLL_MAX_US	1000

/* What is in the ring may take so long, before the device is kept from the bus */
#define DRAIN_US	2000

static u32 *doorbell(struct dsim_device *ddev)
{
	return ddev->doorbell_page + (DSIM_DOORBELL_TAIL - DSIM_DOORBELL_PAGE);
}

static void set_doorbell(struct dsim_device *ddev, u32 value)
{
	WRITE_ONCE(*doorbell(ddev), value);
	ddev->regs.doorbell = value;
}

static u32 ring_entries(const struct dsim_regs *regs)
{
	return 1U << regs->ring_order;
}

static bool tail_valid(const struct dsim_regs *regs)
{
	return regs->tail - regs->head <= ring_entries(regs);
}

static void set_tail(struct dsim_device *ddev, u32 tail)
{
	struct dsim_regs *regs = &ddev->regs;

	if (!(regs->ctrl & DSIM_CTRL_ENABLE) || regs->error)
		return;
	regs->tail = tail;
	if (!tail_valid(regs))
		regs->error = true;
}

/**
 * dsim_engine_sync_doorbell() - Take over what the mapped doorbell says
 * @ddev: the device; its lock is held
 */
void dsim_engine_sync_doorbell(struct dsim_device *ddev)
{
	u32 value = READ_ONCE(*doorbell(ddev));

	lockdep_assert_held(&ddev->lock);
	if (value == ddev->regs.doorbell)
		return;
	ddev->regs.doorbell = value;
	set_tail(ddev, value);
}

/* ---- Descriptors ---- */

static int do_copy(struct dsim_device *ddev, const struct dsim_desc *desc,
		   struct dsim_dma_fault *fault)
{
	u64 src = le64_to_cpu(desc->src);
	u64 dst = le64_to_cpu(desc->dst);
	u32 len = le32_to_cpu(desc->len);
	int rc;
	u32 n;

	for (; len; len -= n, src += n, dst += n) {
		n = min_t(u32, len, BOUNCE_SIZE);
		rc = dsim_dma_read(ddev, src, ddev->bounce, n, fault);
		if (!rc)
			rc = dsim_dma_write(ddev, dst, ddev->bounce, n,
					    fault);
		if (rc)
			return rc;
	}
	return 0;
}

static int do_fill(struct dsim_device *ddev, const struct dsim_desc *desc,
		   struct dsim_dma_fault *fault)
{
	u64 dst = le64_to_cpu(desc->dst);
	u32 len = le32_to_cpu(desc->len);
	__le64 *pattern = ddev->bounce;
	unsigned int i;
	int rc;
	u32 n;

	for (i = 0; i != BOUNCE_SIZE / sizeof(*pattern); i++)
		pattern[i] = desc->value;
	for (; len; len -= n, dst += n) {
		n = min_t(u32, len, BOUNCE_SIZE);
		rc = dsim_dma_write(ddev, dst, pattern, n, fault);
		if (rc)
			return rc;
	}
	return 0;
}

static int do_elements(struct dsim_device *ddev, const struct dsim_desc *desc,
		       struct dsim_dma_fault *fault)
{
	u32 stride = le32_to_cpu(desc->stride);
	u32 count = le32_to_cpu(desc->count);
	u64 value = le64_to_cpu(desc->value);
	u64 dst = le64_to_cpu(desc->dst);
	__le64 word;
	int rc;
	u32 i;

	for (i = 0; i != count; i++, dst += stride) {
		if (desc->op == DSIM_OP_ADD) {
			rc = dsim_dma_add(ddev, dst, value, fault);
		} else {
			word = cpu_to_le64(value + i);
			rc = dsim_dma_write(ddev, dst, &word,
					    sizeof(word), fault);
		}
		if (rc)
			return rc;
	}
	return 0;
}

static bool desc_valid(const struct dsim_desc *desc)
{
	if ((desc->flags & ~DSIM_DESC_IRQ) || desc->reserved0 ||
	    desc->reserved1 || desc->reserved2)
		return false;

	switch (desc->op) {
	case DSIM_OP_NOP:
		return true;
	case DSIM_OP_COPY:
	case DSIM_OP_FILL:
		return le32_to_cpu(desc->len) <= DSIM_MAX_LEN;
	case DSIM_OP_SCATTER:
	case DSIM_OP_ADD:
		return le32_to_cpu(desc->count) <= DSIM_MAX_COUNT &&
		       !(le32_to_cpu(desc->stride) % sizeof(u64)) &&
		       !(le64_to_cpu(desc->dst) % sizeof(u64));
	default:
		return false;
	}
}

static enum dsim_desc_status execute(struct dsim_device *ddev,
				     const struct dsim_desc *desc,
				     struct dsim_dma_fault *fault)
{
	int rc = 0;

	if (!desc_valid(desc))
		return DSIM_DESC_BAD;

	switch (desc->op) {
	case DSIM_OP_COPY:
		rc = do_copy(ddev, desc, fault);
		break;
	case DSIM_OP_FILL:
		rc = do_fill(ddev, desc, fault);
		break;
	case DSIM_OP_SCATTER:
	case DSIM_OP_ADD:
		rc = do_elements(ddev, desc, fault);
		break;
	}
	return rc ? DSIM_DESC_FAULT : DSIM_DESC_DONE;
}

static void record_fault(struct dsim_regs *regs,
			 const struct dsim_dma_fault *fault)
{
	regs->faults++;
	regs->fault = *fault;
}

/*
 * The status is written last, so that a driver which sees it sees all that the
 * descriptor did, and HEAD moves after it: a descriptor whose status is in
 * memory is never executed twice, wherever the device migrates to.
 */
static void run_one(struct dsim_device *ddev)
{
	struct dsim_regs *regs = &ddev->regs;
	u64 addr = regs->ring + (u64)(regs->head & (ring_entries(regs) - 1)) *
			sizeof(struct dsim_desc);
	struct dsim_dma_fault fault;
	enum dsim_desc_status result;
	struct dsim_desc desc;
	__le32 status;

	if (dsim_dma_read(ddev, addr, &desc, sizeof(desc), &fault)) {
		record_fault(regs, &fault);
		regs->error = true;
		return;
	}

	result = execute(ddev, &desc, &fault);
	if (result == DSIM_DESC_FAULT)
		record_fault(regs, &fault);

	smp_wmb(); /* data before status */
	status = cpu_to_le32(result);
	if (dsim_dma_write(ddev, addr + offsetof(struct dsim_desc, status),
			   &status, sizeof(status), &fault)) {
		record_fault(regs, &fault);
		regs->error = true;
		return;
	}

	regs->head++;
	regs->completed++;
	scoped_guard(spinlock, &ddev->port->lock)
		ddev->port->stats.descs++;

	if (desc.flags & DSIM_DESC_IRQ && regs->ctrl & DSIM_CTRL_IRQ) {
		regs->irq_status |= 1;
		dsim_pci_raise_msi(ddev);
	}
}

/* ---- The thread ---- */

static bool has_work(const struct dsim_regs *regs)
{
	return (regs->ctrl & DSIM_CTRL_ENABLE) && !regs->error &&
	       regs->head != regs->tail;
}

enum step {
	STEP_RAN,	/* a descriptor was executed: look for the next */
	STEP_POLL,	/* idle, but a doorbell that does not trap may ring */
	STEP_SLEEP,	/* idle until kicked */
};

static enum step engine_step(struct dsim_device *ddev)
{
	guard(mutex)(&ddev->lock);
	dsim_engine_sync_doorbell(ddev);
	if (!ddev->running || !dsim_pci_master_enabled(ddev) ||
	    !(ddev->regs.ctrl & DSIM_CTRL_ENABLE))
		return STEP_SLEEP;
	if (has_work(&ddev->regs)) {
		run_one(ddev);
		return STEP_RAN;
	}
	return READ_ONCE(ddev->doorbell_mapped) ? STEP_POLL : STEP_SLEEP;
}

static bool must_wake(struct dsim_device *ddev)
{
	return atomic_read(&ddev->kicked) || kthread_should_stop();
}

static void wait_us(struct dsim_device *ddev, unsigned long us)
{
	/*
	 * The timer clears the task that the macro looks at before it sleeps, and
	 * wakes it after that: with a plain access each, whoever waits like this.
	 */
	data_race(wait_event_interruptible_hrtimeout(ddev->wait,
						     must_wake(ddev),
						     us_to_ktime(us)));
}

static int engine_thread(void *data)
{
	struct dsim_device *ddev = data;
	unsigned long poll = POLL_MIN_US;

	while (!kthread_should_stop()) {
		atomic_set(&ddev->kicked, 0);
		switch (engine_step(ddev)) {
		case STEP_RAN:
			poll = POLL_MIN_US;
			cond_resched();
			break;
		case STEP_POLL:
			wait_us(ddev, poll);
			poll = min(poll * 2, POLL_MAX_US);
			break;
		case STEP_SLEEP:
			wait_event_idle(ddev->wait, must_wake(ddev));
			break;
		}
	}
	return 0;
}

/**
 * dsim_engine_kick() - Have the device look for work
 * @ddev: the device
 *
 * Context: any.
 */
void dsim_engine_kick(struct dsim_device *ddev)
{
	atomic_set(&ddev->kicked, 1);
	wake_up(&ddev->wait);
}

/**
 * dsim_engine_start() - Start executing descriptors
 * @ddev: the device, being opened
 *
 * Return: 0 or an errno.
 */
int dsim_engine_start(struct dsim_device *ddev)
{
	struct task_struct *thread;

	thread = kthread_run(engine_thread, ddev, "dsim/%s",
			     dev_name(ddev->vdev.dev));
	if (IS_ERR(thread))
		return PTR_ERR(thread);
	ddev->thread = thread;
	return 0;
}

/**
 * dsim_engine_stop() - Stop executing descriptors for good
 * @ddev: the device, being closed
 */
void dsim_engine_stop(struct dsim_device *ddev)
{
	kthread_stop(ddev->thread);
	ddev->thread = NULL;
	guard(mutex)(&ddev->lock);
	dsim_emulated_rest(ddev);
}

/**
 * dsim_engine_set_running() - Allow DMA, or stop it
 * @ddev: the device
 * @running: which
 *
 * When DMA was stopped and this returns, all that the device will ever write
 * is in memory, and its translations have set their dirty bits.
 *
 * Context: process; takes the device's lock.
 */
void dsim_engine_set_running(struct dsim_device *ddev, bool running)
{
	scoped_guard(mutex, &ddev->lock) {
		ddev->running = running;
		if (!running)
			dsim_emulated_rest(ddev);
	}
	dsim_engine_kick(ddev);
}

static bool drained(struct dsim_device *ddev)
{
	guard(mutex)(&ddev->lock);
	dsim_engine_sync_doorbell(ddev);
	return !has_work(&ddev->regs) || !dsim_pci_master_enabled(ddev);
}

/**
 * dsim_engine_drain() - Give the device time for what is in its ring
 * @ddev: the device
 *
 * Its driver goes on ringing, and may win.
 *
 * Context: process; takes the device's lock.
 */
void dsim_engine_drain(struct dsim_device *ddev)
{
	bool done;

	read_poll_timeout(drained, done, done, POLL_MIN_US, DRAIN_US, false,
			  ddev);
}

/**
 * dsim_engine_set_master() - Keep the device from the bus, or no longer
 * @ddev: the device
 * @on: which; then it is a master if config space says so
 *
 * As dsim_engine_set_running(), but that the device knows nothing of it: it keeps what it
 * has to do.
 *
 * Context: process; takes the device's lock.
 */
void dsim_engine_set_master(struct dsim_device *ddev, bool on)
{
	scoped_guard(mutex, &ddev->lock) {
		ddev->master_off = !on;
		if (!on)
			dsim_emulated_rest(ddev);
	}
	dsim_engine_kick(ddev);
}

/**
 * dsim_engine_notice_mapping() - The doorbell page was mapped
 * @ddev: the device
 *
 * Context: any; takes no lock of ours, since mmap runs under mmap_lock and
 * registers are copied from user space under the device's.
 */
void dsim_engine_notice_mapping(struct dsim_device *ddev)
{
	WRITE_ONCE(ddev->doorbell_mapped, true);
	dsim_engine_kick(ddev);
}

/**
 * dsim_engine_reset() - Put the registers into their initial state
 * @ddev: the device; its lock is held
 */
void dsim_engine_reset(struct dsim_device *ddev)
{
	lockdep_assert_held(&ddev->lock);
	ddev->regs = (struct dsim_regs){};
	memset(ddev->doorbell_page, 0, PAGE_SIZE);
	if (ddev->mem)
		memset(ddev->mem, 0, (size_t)ddev->mem_pages * DSIM_MEM_PAGE);
	dsim_tracker_reset(ddev);
	dsim_emulated_rest(ddev);
}

/**
 * dsim_engine_regs_valid() - Could the device be in this state?
 * @regs: registers from an untrusted source
 *
 * Return: true when dsim_engine_load() may take them.
 */
bool dsim_engine_regs_valid(const struct dsim_regs *regs)
{
	return !(regs->ctrl & ~(DSIM_CTRL_ENABLE | DSIM_CTRL_IRQ)) &&
	       !(regs->ring % sizeof(struct dsim_desc)) &&
	       regs->ring_order <= DSIM_RING_ORDER_MAX &&
	       (regs->error || tail_valid(regs)) &&
	       !(regs->irq_status & ~1U) && !(regs->mem_at % 4) &&
	       regs->fault.reason <= DSIM_FAULT_BUS;
}

/**
 * dsim_engine_ring() - The mapped doorbell rings
 * @ddev: the device
 * @tail: what it rings
 *
 * As if user space had written to it: the device finds it when it looks.
 *
 * Context: any.
 */
void dsim_engine_ring(struct dsim_device *ddev, u32 tail)
{
	WRITE_ONCE(*doorbell(ddev), tail);
	dsim_engine_kick(ddev);
}

/**
 * dsim_engine_rung() - What the mapped doorbell was rung with last
 * @ddev: the device
 *
 * Context: any.
 *
 * Return: the tail.
 */
u32 dsim_engine_rung(struct dsim_device *ddev)
{
	return READ_ONCE(*doorbell(ddev));
}

/**
 * dsim_engine_load() - Take over the registers of another device
 * @ddev: the device; its lock is held
 * @regs: valid registers
 */
void dsim_engine_load(struct dsim_device *ddev, const struct dsim_regs *regs)
{
	lockdep_assert_held(&ddev->lock);
	ddev->regs = *regs;
	set_doorbell(ddev, regs->doorbell);
}

/* ---- Memory of the device's own ---- */

/* The word that the next access is to, or NULL behind the end */
static __le32 *mem_word(struct dsim_device *ddev)
{
	u32 at = ddev->regs.mem_at;

	if (at / DSIM_MEM_PAGE >= ddev->mem_pages)
		return NULL;
	return (__le32 *)(ddev->mem + at);
}

static u32 mem_read(struct dsim_device *ddev)
{
	__le32 *word = mem_word(ddev);

	if (!word)
		return 0;
	ddev->regs.mem_at += sizeof(*word);
	return le32_to_cpu(*word);
}

static void mem_write(struct dsim_device *ddev, u32 value)
{
	__le32 *word = mem_word(ddev);

	if (!word)
		return;
	*word = cpu_to_le32(value);
	__set_bit(ddev->regs.mem_at / DSIM_MEM_PAGE, ddev->mem_changed);
	ddev->regs.mem_at += sizeof(*word);
	vfio_mig_precopy_changed(&ddev->mig);
}

/* ---- Registers ---- */

/**
 * dsim_engine_reg_read() - Read a register
 * @ddev: the device; its lock is held
 * @offset: in the first page of BAR 0, a multiple of 4
 *
 * Return: the value; zero where there is no register.
 */
u32 dsim_engine_reg_read(struct dsim_device *ddev, u32 offset)
{
	struct dsim_regs *regs = &ddev->regs;

	lockdep_assert_held(&ddev->lock);
	switch (offset) {
	case DSIM_REG_ID:
		return DSIM_ID;
	case DSIM_REG_VERSION:
		return DSIM_VERSION;
	case DSIM_REG_CTRL:
		return regs->ctrl;
	case DSIM_REG_STATUS:
		return (has_work(regs) ? DSIM_STATUS_BUSY : 0) |
		       (regs->error ? DSIM_STATUS_ERROR : 0);
	case DSIM_REG_RING_LO:
		return lower_32_bits(regs->ring);
	case DSIM_REG_RING_HI:
		return upper_32_bits(regs->ring);
	case DSIM_REG_RING_ORDER:
		return regs->ring_order;
	case DSIM_REG_HEAD:
		return regs->head;
	case DSIM_REG_TAIL:
		return regs->tail;
	case DSIM_REG_IRQ_STATUS:
		return regs->irq_status;
	case DSIM_REG_COMPLETED:
		return regs->completed;
	case DSIM_REG_FAULTS:
		return regs->faults;
	case DSIM_REG_FAULT_LO:
		return lower_32_bits(regs->fault.iova);
	case DSIM_REG_FAULT_HI:
		return upper_32_bits(regs->fault.iova);
	case DSIM_REG_FAULT_REASON:
		return regs->fault.reason;
	case DSIM_REG_SCRATCH:
		return regs->scratch;
	case DSIM_REG_MEM_SIZE:
		return ddev->mem_pages * DSIM_MEM_PAGE;
	case DSIM_REG_MEM_AT:
		return regs->mem_at;
	case DSIM_REG_MEM_DATA:
		return mem_read(ddev);
	default:
		return 0;
	}
}

static void write_ctrl(struct dsim_device *ddev, u32 value)
{
	struct dsim_regs *regs = &ddev->regs;
	u32 old = regs->ctrl;

	regs->ctrl = value & (DSIM_CTRL_ENABLE | DSIM_CTRL_IRQ);
	if (!(old & DSIM_CTRL_ENABLE) && (regs->ctrl & DSIM_CTRL_ENABLE)) {
		regs->head = 0;
		regs->tail = 0;
		regs->error = false;
		set_doorbell(ddev, 0);
		/* to a driver that migrates, a device set up anew is a new one */
		vfio_mig_precopy_reinit(&ddev->mig);
	}
}

/**
 * dsim_engine_reg_write() - Write a register
 * @ddev: the device; its lock is held
 * @offset: in the first page of BAR 0, a multiple of 4
 * @value: what to write; bits and registers that do not exist are ignored
 */
void dsim_engine_reg_write(struct dsim_device *ddev, u32 offset, u32 value)
{
	struct dsim_regs *regs = &ddev->regs;
	bool enabled = regs->ctrl & DSIM_CTRL_ENABLE;

	lockdep_assert_held(&ddev->lock);
	switch (offset) {
	case DSIM_REG_CTRL:
		write_ctrl(ddev, value);
		break;
	case DSIM_REG_RING_LO:
		if (!enabled)
			regs->ring = (upper_32_bits(regs->ring) * BIT_ULL(32)) |
				     ALIGN_DOWN(value, sizeof(struct dsim_desc));
		break;
	case DSIM_REG_RING_HI:
		if (!enabled)
			regs->ring = (value * BIT_ULL(32)) |
				     lower_32_bits(regs->ring);
		break;
	case DSIM_REG_RING_ORDER:
		if (!enabled)
			regs->ring_order = min(value, DSIM_RING_ORDER_MAX);
		break;
	case DSIM_REG_TAIL:
	case DSIM_DOORBELL_TAIL:
		set_tail(ddev, value);
		break;
	case DSIM_REG_IRQ_STATUS:
		regs->irq_status &= ~value;
		break;
	case DSIM_REG_SCRATCH:
		regs->scratch = value;
		break;
	case DSIM_REG_MEM_AT:
		regs->mem_at = ALIGN_DOWN(value, 4);
		break;
	case DSIM_REG_MEM_DATA:
		mem_write(ddev, value);
		break;
	default:
		return;
	}
	dsim_engine_kick(ddev);
}
