// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated device's migration: how it stops, and what its state is
 *
 * The state is a few registers and the device's own memory.  Both are kept apart
 * from the device while they are loaded, and taken over when all of them came.
 */
#include <linux/bitmap.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "dsim.h"

/* ---- What is in a stream ---- */

enum {
	SECTION_REGS = 1,
	SECTION_PAGE = 2,
};

#define STATE_VERSION	1

/* Everything little endian, without padding */
struct saved_regs {
	__le32 ctrl;
	__le32 ring_order;
	__le64 ring;
	__le32 error;
	__le32 head;
	__le32 tail;
	__le32 doorbell;
	__le32 irq_status;
	__le32 completed;
	__le32 faults;
	__le32 fault_reason;
	__le64 fault_iova;
	__le32 scratch;
	__le32 mem_at;
	__le32 mem_pages;
	__le32 rung;
};
static_assert(sizeof(struct saved_regs) == 72);

struct saved_page {
	__le32 index;
	u8 data[DSIM_MEM_PAGE];
} __packed;

static void encode(struct saved_regs *s, const struct dsim_device *ddev,
		   u32 rung)
{
	const struct dsim_regs *regs = &ddev->regs;

	*s = (struct saved_regs){
		.ctrl = cpu_to_le32(regs->ctrl),
		.ring_order = cpu_to_le32(regs->ring_order),
		.ring = cpu_to_le64(regs->ring),
		.error = cpu_to_le32(regs->error),
		.head = cpu_to_le32(regs->head),
		.tail = cpu_to_le32(regs->tail),
		.doorbell = cpu_to_le32(regs->doorbell),
		.irq_status = cpu_to_le32(regs->irq_status),
		.completed = cpu_to_le32(regs->completed),
		.faults = cpu_to_le32(regs->faults),
		.fault_reason = cpu_to_le32(regs->fault.reason),
		.fault_iova = cpu_to_le64(regs->fault.iova),
		.scratch = cpu_to_le32(regs->scratch),
		.mem_at = cpu_to_le32(regs->mem_at),
		.mem_pages = cpu_to_le32(ddev->mem_pages),
		.rung = cpu_to_le32(rung),
	};
}

static int decode(struct dsim_regs *regs, const struct saved_regs *s,
		  const struct dsim_device *ddev)
{
	*regs = (struct dsim_regs){
		.ctrl = le32_to_cpu(s->ctrl),
		.ring_order = le32_to_cpu(s->ring_order),
		.ring = le64_to_cpu(s->ring),
		.error = le32_to_cpu(s->error),
		.head = le32_to_cpu(s->head),
		.tail = le32_to_cpu(s->tail),
		.doorbell = le32_to_cpu(s->doorbell),
		.irq_status = le32_to_cpu(s->irq_status),
		.completed = le32_to_cpu(s->completed),
		.faults = le32_to_cpu(s->faults),
		.fault.reason = le32_to_cpu(s->fault_reason),
		.fault.iova = le64_to_cpu(s->fault_iova),
		.scratch = le32_to_cpu(s->scratch),
		.mem_at = le32_to_cpu(s->mem_at),
	};
	if (le32_to_cpu(s->error) > 1 ||
	    le32_to_cpu(s->mem_pages) != ddev->mem_pages ||
	    !dsim_engine_regs_valid(regs))
		return -ERANGE;
	return 0;
}

/* ---- Stopping ---- */

static struct dsim_device *to_dsim(struct vfio_mig *mig)
{
	return container_of(mig, struct dsim_device, mig);
}

/*
 * A device that keeps what is rung while it is stopped needs no more than to stop.
 * With a trap it is one that would not: what is rung waits there.  Only a reset leaves
 * the trap on while the device runs.  One that cannot be told to stop goes on, and what
 * it does not get done in time it does when it is let onto the bus again.
 */
static int stop_dma(struct vfio_mig *mig)
{
	struct dsim_device *ddev = to_dsim(mig);
	int rc;

	if (ddev->port->options.trap) {
		if (!ddev->trapped) {
			rc = vfio_mig_trap_on(&ddev->trap);
			if (rc)
				return rc;
			ddev->trapped = true;
		}
		vfio_mig_trap_hold(&ddev->trap, true);
	}
	if (ddev->port->options.no_quiesce)
		dsim_engine_drain(ddev);
	else
		dsim_engine_set_running(ddev, false);
	return 0;
}

static int start_dma(struct vfio_mig *mig)
{
	struct dsim_device *ddev = to_dsim(mig);

	dsim_engine_set_running(ddev, true);
	if (ddev->trapped) {
		ddev->trapped = false;
		vfio_mig_trap_off(&ddev->trap);
	}
	return 0;
}

/* It is kept from the bus only if it cannot be told to stop */
static int master_off(struct vfio_mig *mig)
{
	if (to_dsim(mig)->port->options.no_quiesce)
		dsim_engine_set_master(to_dsim(mig), false);
	return 0;
}

static int master_on(struct vfio_mig *mig)
{
	if (to_dsim(mig)->port->options.no_quiesce)
		dsim_engine_set_master(to_dsim(mig), true);
	return 0;
}

/*
 * These take no lock of the device, which is outside of the mmio_lock: an emulated
 * one accesses user memory under it, and that may be the doorbell of another.
 */
static void trap_write(struct vfio_mig_trap *trap, unsigned int reg, u32 value)
{
	struct dsim_device *ddev = container_of(trap, struct dsim_device, trap);

	dsim_engine_ring(ddev, value);
}

static u32 trap_read(struct vfio_mig_trap *trap, unsigned int reg)
{
	struct dsim_device *ddev = container_of(trap, struct dsim_device, trap);

	return dsim_engine_rung(ddev);
}

static const struct vfio_mig_trap_ops trap_ops = {
	.write = trap_write,
	.read = trap_read,
};

static const struct vfio_mig_trap_reg trap_regs[] = {
	{ .offset = DSIM_DOORBELL_TAIL - DSIM_DOORBELL_PAGE },
};

/* ---- Saving ---- */

static u64 changed_bytes(struct dsim_device *ddev)
{
	return (u64)bitmap_weight(ddev->mem_changed, ddev->mem_pages) *
	       (VFIO_MIG_SECTION_OVERHEAD + sizeof(struct saved_page));
}

static u64 save_size(struct vfio_mig *mig)
{
	return VFIO_MIG_SECTION_OVERHEAD + sizeof(struct saved_regs) +
	       (u64)to_dsim(mig)->mem_pages *
	       (VFIO_MIG_SECTION_OVERHEAD + sizeof(struct saved_page));
}

/* Up to @max pages that changed; on failure all of them count as changed */
static int put_pages(struct dsim_device *ddev, unsigned int max)
{
	struct saved_page *page;
	unsigned long i;
	int rc = 0;

	page = kmalloc_obj(*page);
	if (!page)
		return -ENOMEM;
	guard(mutex)(&ddev->lock);
	for_each_set_bit(i, ddev->mem_changed, ddev->mem_pages) {
		if (!max--)
			break;
		page->index = cpu_to_le32(i);
		memcpy(page->data, ddev->mem + i * DSIM_MEM_PAGE,
		       DSIM_MEM_PAGE);
		rc = vfio_mig_put(&ddev->mig, SECTION_PAGE, page, sizeof(*page));
		if (rc) {
			bitmap_fill(ddev->mem_changed, ddev->mem_pages);
			break;
		}
		__clear_bit(i, ddev->mem_changed);
	}
	kfree(page);
	return rc;
}

static void all_changed(struct dsim_device *ddev)
{
	guard(mutex)(&ddev->lock);
	bitmap_fill(ddev->mem_changed, ddev->mem_pages);
}

static int save(struct vfio_mig *mig)
{
	struct dsim_device *ddev = to_dsim(mig);
	struct saved_regs regs;
	int rc;

	if (!mig->precopy)
		all_changed(ddev);
	rc = put_pages(ddev, UINT_MAX);
	if (rc)
		return rc;
	scoped_guard(mutex, &ddev->lock) {
		dsim_engine_sync_doorbell(ddev);
		encode(&regs, ddev, ddev->trapped ?
			vfio_mig_trap_value(&ddev->trap, 0) :
			ddev->regs.doorbell);
	}
	rc = vfio_mig_put(mig, SECTION_REGS, &regs, sizeof(regs));
	if (rc)
		all_changed(ddev);
	return rc;
}

/* ---- Precopy: of the memory, of which is noted all the time what changes ---- */

/* A quarter of a megabyte */
#define PRECOPY_PAGES	64

static int precopy_begin(struct vfio_mig *mig)
{
	all_changed(to_dsim(mig));
	return 0;
}

static u64 precopy_bytes(struct vfio_mig *mig)
{
	struct dsim_device *ddev = to_dsim(mig);

	guard(mutex)(&ddev->lock);
	return changed_bytes(ddev);
}

static int precopy_save(struct vfio_mig *mig)
{
	return put_pages(to_dsim(mig), PRECOPY_PAGES);
}

/* ---- Loading ---- */

static int load_begin(struct vfio_mig *mig)
{
	struct dsim_device *ddev = to_dsim(mig);

	ddev->loaded_mem = NULL;
	if (!ddev->mem_pages)
		return 0;
	ddev->loaded_mem = __vmalloc((size_t)ddev->mem_pages * DSIM_MEM_PAGE,
				     GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	return ddev->loaded_mem ? 0 : -ENOMEM;
}

static int load_page(struct vfio_mig *mig, const struct vfio_mig_section *section)
{
	const struct saved_page *page = section->data;
	struct dsim_device *ddev = to_dsim(mig);
	u32 index = le32_to_cpu(page->index);

	if (index >= ddev->mem_pages)
		return -ERANGE;
	memcpy(ddev->loaded_mem + index * DSIM_MEM_PAGE, page->data,
	       DSIM_MEM_PAGE);
	return 0;
}

static int load_regs(struct vfio_mig *mig, const struct vfio_mig_section *section)
{
	const struct saved_regs *s = section->data;
	struct dsim_device *ddev = to_dsim(mig);

	ddev->loaded_ring = le32_to_cpu(s->rung);
	return decode(&ddev->loaded_regs, s, ddev);
}

static const struct vfio_mig_section_type sections[] = {
	{ .type = SECTION_REGS, .max = sizeof(struct saved_regs), .exact = true,
	  .required = true, .load = load_regs },
	{ .type = SECTION_PAGE, .max = sizeof(struct saved_page), .exact = true,
	  .repeats = true, .load = load_page },
};

static void load_abort(struct vfio_mig *mig)
{
	struct dsim_device *ddev = to_dsim(mig);

	vfree(ddev->loaded_mem);
	ddev->loaded_mem = NULL;
}

/* What was held there, or rung at the last moment: it waits here, or is the device's */
static void load_ring(struct dsim_device *ddev)
{
	if (ddev->trapped) {
		vfio_mig_trap_update(&ddev->trap, 0, ddev->loaded_regs.doorbell);
		vfio_mig_trap_set(&ddev->trap, 0, ddev->loaded_ring);
	} else if (ddev->loaded_ring != ddev->loaded_regs.doorbell) {
		dsim_engine_ring(ddev, ddev->loaded_ring);
	}
}

static int load_end(struct vfio_mig *mig)
{
	struct dsim_device *ddev = to_dsim(mig);

	scoped_guard(mutex, &ddev->lock) {
		dsim_engine_load(ddev, &ddev->loaded_regs);
		swap(ddev->mem, ddev->loaded_mem);
	}
	load_ring(ddev);
	load_abort(mig);
	return 0;
}

/* ---- Reset ---- */

static void reset(struct vfio_mig *mig)
{
	struct dsim_device *ddev = to_dsim(mig);

	scoped_guard(mutex, &ddev->lock) {
		dsim_engine_reset(ddev);
		dsim_pci_reset(ddev);
		ddev->running = true;
		ddev->master_off = false;
	}
	if (ddev->port->options.trap)
		vfio_mig_trap_reset(&ddev->trap);
}

/* ---- What the library calls ---- */

static const struct vfio_mig_ops mig_ops = {
	.stop_dma = stop_dma,
	.start_dma = start_dma,
	.master_off = master_off,
	.master_on = master_on,
	.save_size = save_size,
	.save = save,
	.precopy_begin = precopy_begin,
	.precopy_bytes = precopy_bytes,
	.precopy_save = precopy_save,
	.load_begin = load_begin,
	.load_end = load_end,
	.load_abort = load_abort,
	.reset = reset,
};

/**
 * dsim_migration_init() - Make the device one that migrates
 * @ddev: the device, not yet registered
 *
 * Return: 0 or an errno.
 */
int dsim_migration_init(struct dsim_device *ddev)
{
	const struct dsim_options *options = &ddev->port->options;
	unsigned int flags;
	int rc;

	flags = (options->p2p ? VFIO_MIG_P2P : 0) |
		(options->precopy ? VFIO_MIG_PRE_COPY : 0) |
		(options->revoke_mmio ? VFIO_MIG_REVOKE_MMIO : 0);
	ddev->identity = (struct vfio_mig_identity){
		.name = "dirty-sim",
		.vendor = DSIM_PCI_VENDOR_ID,
		.device = DSIM_PCI_DEVICE_ID,
		.subvendor = DSIM_PCI_VENDOR_ID,
		.subdevice = dsim_pci_subdevice(ddev),
		.version = STATE_VERSION,
		.oldest = STATE_VERSION,
		VFIO_MIG_SECTIONS(sections),
	};
	rc = vfio_mig_init(&ddev->mig, &ddev->vdev, &mig_ops, &ddev->identity,
			   flags);
	if (rc || !options->trap)
		return rc;
	return vfio_mig_trap_init(&ddev->trap, &ddev->mig, &trap_ops,
				  DSIM_REGION_OFFSET(0) + DSIM_DOORBELL_PAGE,
				  PAGE_SIZE, trap_regs, ARRAY_SIZE(trap_regs));
}
