/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Programming model of the simulated DMA-queue device
 *
 * Shared by the device itself and by every program that drives it: the
 * selftests through a vfio cdev, a guest through sysfs.
 *
 * The device consumes a ring of 64-byte descriptors that lies in memory it
 * reaches by DMA.  The driver fills descriptors, then writes the new tail to
 * one of two doorbells.  The device executes them in order, writes the status
 * word of each by DMA, advances HEAD and, when asked, raises its MSI.
 *
 * BAR 0 has two pages.  Page 0 holds the registers; every access to it traps.
 * Page 1 can be mapped and holds a doorbell that the device polls.
 */
#ifndef _DSIM_REGS_H
#define _DSIM_REGS_H

#include <linux/types.h>

#define DSIM_PCI_VENDOR_ID	0x1234
#define DSIM_PCI_DEVICE_ID	0xd512

#define DSIM_BAR_SIZE		0x2000

/* Page 0: registers, 32 bits wide, little endian, naturally aligned */
#define DSIM_REG_ID		0x00	/* RO: DSIM_ID */
#define DSIM_REG_VERSION	0x04	/* RO: DSIM_VERSION */
#define DSIM_REG_CTRL		0x08	/* RW: DSIM_CTRL_* */
#define DSIM_REG_STATUS		0x0c	/* RO: DSIM_STATUS_* */
#define DSIM_REG_RING_LO	0x10	/* RW while disabled: ring address, */
#define DSIM_REG_RING_HI	0x14	/*    64-byte aligned */
#define DSIM_REG_RING_ORDER	0x18	/* RW while disabled: log2 of entries */
#define DSIM_REG_HEAD		0x1c	/* RO: descriptors consumed, free running */
#define DSIM_REG_TAIL		0x20	/* RW: descriptors produced, free running */
#define DSIM_REG_IRQ_STATUS	0x24	/* RW1C: bit 0, completion */
#define DSIM_REG_COMPLETED	0x28	/* RO: descriptors done since reset */
#define DSIM_REG_FAULTS		0x2c	/* RO: translation faults since reset */
#define DSIM_REG_FAULT_LO	0x30	/* RO: address of the last fault */
#define DSIM_REG_FAULT_HI	0x34
#define DSIM_REG_FAULT_REASON	0x38	/* RO: enum dsim_fault of the last fault */
#define DSIM_REG_SCRATCH	0x3c	/* RW: no function; travels in migration */
/* Memory of the device's own: no function either, but much to migrate */
#define DSIM_REG_MEM_SIZE	0x40	/* RO: bytes */
#define DSIM_REG_MEM_AT		0x44	/* RW: where the next access goes */
#define DSIM_REG_MEM_DATA	0x48	/* RW: the word there; MEM_AT goes on by 4 */

/* Page 1: the mappable doorbell; same meaning as DSIM_REG_TAIL */
#define DSIM_DOORBELL_PAGE	0x1000
#define DSIM_DOORBELL_TAIL	0x1000

#define DSIM_ID			0x4d495344	/* "DSIM" */
#define DSIM_VERSION		1

/*
 * Setting ENABLE starts at HEAD = TAIL = 0 and zeroes the mapped doorbell.
 * Clearing it stops the device once the current descriptor is done.
 */
#define DSIM_CTRL_ENABLE	0x1
#define DSIM_CTRL_IRQ		0x2	/* raise MSI for descriptors that ask */

#define DSIM_STATUS_BUSY	0x1	/* HEAD != TAIL */
/* The ring is unusable (bad tail, unreadable descriptor): needs a disable */
#define DSIM_STATUS_ERROR	0x2

#define DSIM_RING_ORDER_MAX	16

enum dsim_op {
	/* Nothing but the completion */
	DSIM_OP_NOP = 0,
	/* dst[0..len) = src[0..len); ascending, overlap is the driver's affair */
	DSIM_OP_COPY = 1,
	/* dst[0..len) = value, repeated every 8 bytes from dst on */
	DSIM_OP_FILL = 2,
	/* for i < count: the u64 at dst + i * stride = value + i */
	DSIM_OP_SCATTER = 3,
	/* for i < count: the u64 at dst + i * stride += value */
	DSIM_OP_ADD = 4,
};

#define DSIM_DESC_IRQ		0x1	/* raise MSI when done */

enum dsim_desc_status {
	DSIM_DESC_PENDING = 0,
	DSIM_DESC_DONE = 1,
	DSIM_DESC_FAULT = 2,	/* a translation failed part way */
	DSIM_DESC_BAD = 3,	/* unknown op, flag, misaligned or too large */
};

/* Limits of one descriptor, so that a quiesce never waits long */
#define DSIM_MAX_LEN		(16U << 20)	/* bytes of COPY and FILL */
#define DSIM_MAX_COUNT		65536U		/* elements of SCATTER and ADD */

/**
 * struct dsim_desc - one descriptor, little endian, 64 bytes
 * @op: enum dsim_op
 * @flags: DSIM_DESC_*
 * @reserved0: must be zero
 * @status: enum dsim_desc_status; the device writes these 4 bytes when done
 * @src: DMA address of the source of COPY
 * @dst: DMA address of the destination; 8-byte aligned for SCATTER and ADD
 * @value: the pattern or the addend
 * @len: bytes of COPY and FILL, up to DSIM_MAX_LEN
 * @stride: bytes between elements of SCATTER and ADD, a multiple of 8
 * @count: elements of SCATTER and ADD, up to DSIM_MAX_COUNT
 * @reserved1: must be zero
 * @cookie: the driver's own; the device ignores it
 * @reserved2: must be zero
 */
struct dsim_desc {
	__u8 op;
	__u8 flags;
	__le16 reserved0;
	__le32 status;
	__le64 src;
	__le64 dst;
	__le64 value;
	__le32 len;
	__le32 stride;
	__le32 count;
	__le32 reserved1;
	__le64 cookie;
	__le64 reserved2;
};

/* Why a translation failed; names and meanings follow the IOMMUs modelled */
enum dsim_fault {
	DSIM_FAULT_NONE = 0,
	DSIM_FAULT_NO_DOMAIN = 1,	/* no paging domain attached: blocked */
	DSIM_FAULT_RANGE = 2,		/* address outside the table's width */
	DSIM_FAULT_NOT_PRESENT = 3,
	DSIM_FAULT_READ = 4,		/* no read permission */
	DSIM_FAULT_WRITE = 5,		/* no write permission */
	DSIM_FAULT_RESERVED = 6,	/* reserved bit set in an entry */
	DSIM_FAULT_BUS = 7,		/* the output address is not memory */
};

#endif
