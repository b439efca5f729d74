/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Intel 82574L for virtual machines that migrate: what the parts share
 *
 *   main.c    a vfio device
 *   hold.c    registers as the user sees them; stopping DMA and starting it
 *   state.c   what the state is, and loading it
 *   phy.c     the part of it that is behind MDIC
 *   tracker.c what it writes to memory
 *   regs.h    of the datasheet
 */
#ifndef _E1000E_VFIO_H
#define _E1000E_VFIO_H

#include <linux/io.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/vfio_pci_core.h>
#include <linux/vfio_pci_migration.h>
#include <linux/workqueue.h>
#include <linux/xarray.h>

#include "regs.h"

/* Registers that start DMA, or stop it */
enum e1000e_held {
	HELD_CTRL,
	HELD_RCTL,
	HELD_TCTL,
	HELD_RDT0,
	HELD_RDT1,
	HELD_TDT0,
	HELD_TDT1,
};

#define NR_HELD		7

/* As many as the tables in phy.c and state.c say */
#define NR_SAVED_REGS	403
#define NR_PHY_REGS	17

/**
 * struct e1000e_soft - what is not in a register that can be read and written
 * @ims: causes that interrupt
 * @icr: causes that are there and were not taken notice of
 * @io_addr: register that the window in I/O space shows
 * @mdic: the last access to the PHY
 * @eerd: the last read of the NVM
 * @status: of the device; says how the link was
 */
struct e1000e_soft {
	u32 ims;
	u32 icr;
	u32 io_addr;
	u32 mdic;
	u32 eerd;
	u32 status;
};

#define NR_SOFT		(sizeof(struct e1000e_soft) / sizeof(u32))

/**
 * struct e1000e_state - all that travels
 * @regs: by the table in state.c
 * @phy: by the table in phy.c
 * @stats: counters that are cleared when they are read
 * @soft: the rest
 */
struct e1000e_state {
	u32 regs[NR_SAVED_REGS];
	u32 phy[NR_PHY_REGS];
	u32 stats[NR_STATS];
	struct e1000e_soft soft;
};

/**
 * struct e1000e_rx - what is known of a receive ring
 * @buffers: of each descriptor, the address of its buffer
 * @slots: how many
 */
struct e1000e_rx {
	u64 *buffers;
	u32 slots;
};

/**
 * struct e1000e_tracker - what the device writes
 * @rx: the receive rings, known whether or not anything is tracked
 * @rx_seen: their heads, when what is before them was last logged
 * @tx_seen: likewise, of the transmit rings
 * @log: pages that were written, some in each word
 * @words: how many it has
 * @error: some are missing
 * @open: there are registers; iommufd lets go of a device after it was closed
 * @on: it is tracked what the device writes
 *
 * All under &vfio_mig_pci.lock.
 */
struct e1000e_tracker {
	struct e1000e_rx rx[NR_QUEUES];
	u32 rx_seen[NR_QUEUES];
	u32 tx_seen[NR_QUEUES];
	struct xarray log;
	unsigned int words;
	int error;
	bool open;
	bool on;
};

/**
 * struct e1000e_slots - descriptors of a receive ring that are new
 * @q: number of the ring
 * @base: its address
 * @slots: how many it has
 * @from: the first new one
 * @tail: where they end; at @from if there is none that can be read
 */
struct e1000e_slots {
	unsigned int q;
	u64 base;
	u32 slots;
	u32 from;
	u32 tail;
};

/**
 * struct e1000e - a device
 * @pci: the vfio device and its migration; its lock protects everything below
 * @learn: reads the receive rings of a state that was loaded, since an op of the library
 *	   must not access user memory
 * @unread: it has not done so yet: the device has none of their descriptors, @shadow
 *	    has their tails, and an access of the user waits for it
 * @held: DMA is stopped, and @shadow has what the user wrote
 * @shadow: the registers of enum e1000e_held
 * @soft: see there; io_addr counts always, the others on their way
 * @stats: what was counted elsewhere: added to what is counted when that is read
 * @loading: what came so far
 * @tracker: see there
 */
struct e1000e {
	struct vfio_mig_pci pci;

	struct work_struct learn;
	bool unread;
	bool held;
	u32 shadow[NR_HELD];
	struct e1000e_soft soft;
	u32 stats[NR_STATS];
	struct e1000e_state loading;
	struct e1000e_tracker tracker;
};

static inline struct e1000e *to_e1000e(struct vfio_mig *mig)
{
	return container_of(mig, struct e1000e, pci.mig);
}

u32 e1000e_get(struct e1000e *e, u32 offset);
void e1000e_set(struct e1000e *e, u32 offset, u32 value);

/* Writes before are done when it returns */
static inline void e1000e_flush(struct e1000e *e)
{
	e1000e_get(e, STATUS);
}

/* hold.c */
u32 e1000e_user_read(struct e1000e *e, u32 offset);
void e1000e_user_write(struct e1000e *e, u32 offset, u32 value);
int e1000e_hold(struct e1000e *e);
void e1000e_let_go(struct e1000e *e);
void e1000e_mask(struct e1000e *e);
void e1000e_unmask(struct e1000e *e);
void e1000e_hw_reset(struct e1000e *e);
int e1000e_held_index(u32 offset);
u32 e1000e_canonical(u32 offset);

/* phy.c */
int e1000e_phy_access(struct e1000e *e, u32 mdic);
int e1000e_phy_save(struct e1000e *e, u32 *values);
int e1000e_phy_check(const u32 *values);
int e1000e_phy_load(struct e1000e *e, const u32 *values, u32 old_status);

/* tracker.c */
void e1000e_track_before(struct e1000e *e);
void e1000e_track_write(struct e1000e *e, u32 offset, u32 value);
void e1000e_track_written(struct e1000e *e, u32 offset, u32 value);
void e1000e_track_anew(struct e1000e *e);
void e1000e_track_lost(struct e1000e *e);
struct e1000e_slots e1000e_new_slots(struct e1000e *e, unsigned int q,
				     u32 from, u32 tail);
int e1000e_fetch(struct e1000e *e, u64 iova, void *desc, size_t length);
void e1000e_learn(struct e1000e *e, const struct e1000e_slots *slots);
void e1000e_learn_later(struct e1000e *e);
void e1000e_learn_rings(struct work_struct *work);
void e1000e_tracker_bound(struct vfio_mig *mig);
int e1000e_tracker_init(struct vfio_mig *mig);
void e1000e_tracker_destroy(struct vfio_mig *mig);

extern const struct iommufd_dirty_device_ops e1000e_track_ops;

/* state.c */
extern const struct vfio_mig_ops e1000e_mig_ops;
extern const struct vfio_mig_identity e1000e_identity;
#if IS_ENABLED(CONFIG_KUNIT)
u32 e1000e_saved_offset(unsigned int index);

/* main.c */
extern struct vfio_mig_pci_driver e1000e_driver;
#endif

#endif
