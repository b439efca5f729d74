/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Simulated IOMMU and DMA-queue device: what the parts share
 *
 *   main.c       configfs: makes and removes devices
 *   iommu.c      the IOMMU driver; software's side of the page tables
 *   walk.c       the IOMMU hardware: the page walker
 *   tlb.c        the IOMMU hardware: the IOTLB
 *   dma.c        what a device sees of the IOMMU: read and write by address
 *   emulated.c   the same for one behind no IOMMU; its life as a mediated device
 *   engine.c     the device: registers and descriptor ring
 *   pci.c        the device: config space, BAR, interrupts
 *   migration.c  the device: what a migration stops and carries
 *   tracker.c    the device: its own dirty tracker
 *   vfio.c       the device, as a vfio device
 *
 * The hardware side never calls the page table code that software uses: it
 * reads and updates the entries in memory as the specifications say, so that a
 * driver which forgets a flush or clears the wrong bit loses dirty bits here
 * exactly as it would on a real machine.
 */
#ifndef _DSIM_H
#define _DSIM_H

#include <linux/generic_pt/iommu.h>
#include <linux/io-pgtable.h>
#include <linux/iommu.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_migration.h>
#include <linux/wait.h>
#include <uapi/linux/iommufd.h>

#include "dsim_regs.h"

/* The unpatched kernel has nobody who listens to a device that tells */
#ifdef IOMMU_DIRTY_SET_POLICY
#define DSIM_CAN_PUSH	1
#include <linux/iommufd_dirty.h>
#else
#define DSIM_CAN_PUSH	0
#endif

/* ---- Walker ---- */

#define DSIM_PERM_R	0x1
#define DSIM_PERM_W	0x2

/**
 * enum dsim_pte_kind - what the walker makes of an entry
 * @DSIM_PTE_NONE: not present
 * @DSIM_PTE_TABLE: points to a table of a lower level
 * @DSIM_PTE_LEAF: translates
 * @DSIM_PTE_RESERVED: present, with a reserved bit or encoding
 */
enum dsim_pte_kind {
	DSIM_PTE_NONE,
	DSIM_PTE_TABLE,
	DSIM_PTE_LEAF,
	DSIM_PTE_RESERVED,
};

/**
 * struct dsim_pte - a decoded entry
 * @kind: what it is; the other members depend on it
 * @perm: DSIM_PERM_*, ANDed over the levels of a walk
 * @level: for a table, the level of its entries; 0 translates 4 KiB
 * @size_lg2: for a leaf, log2 of the bytes it translates
 * @pa: physical address of the table or of the start of the page
 */
struct dsim_pte {
	enum dsim_pte_kind kind;
	u8 perm;
	u8 level;
	u8 size_lg2;
	u64 pa;
};

/**
 * struct dsim_format - a page table format, as hardware reads it
 * @name: what the user chooses it by
 * @accessed: the accessed bit
 * @dirty: the dirty bit, in leaf entries
 * @dirty_is_clear: a page is dirty when @dirty is clear
 * @accessed_tables: hardware sets @accessed in entries that point to tables
 * @always_ad: accessed and dirty bits are architectural, or go with the table:
 *	       nothing turns them on and off while it is in use
 * @sign_extend: addresses are canonical; otherwise the upper bits must be zero
 * @decode: decode @entry, found at @level, as hardware that sets accessed and
 *	    dirty bits reads it, or as other hardware does
 */
struct dsim_format {
	const char *name;
	u64 accessed;
	u64 dirty;
	bool dirty_is_clear;
	bool accessed_tables;
	bool always_ad;
	bool sign_extend;
	struct dsim_pte (*decode)(u64 entry, unsigned int level, bool ad);
};

enum dsim_format_id {
	DSIM_VTDSS,
	DSIM_AMDV1,
	DSIM_X86_64,
	DSIM_ARMLPAE,
	DSIM_NR_FORMATS,
};

extern const struct dsim_format dsim_formats[DSIM_NR_FORMATS];

/**
 * struct dsim_root - what a context, PASID or device table entry tells hardware
 * @format: how entries are encoded
 * @top: physical address of the top table, and in the low bits the number of
 *	 levels, 2 to 6: one word, since AMD's tables grow while in use
 * @ad: set accessed and dirty bits
 */
struct dsim_root {
	const struct dsim_format *format;
	u64 top;
	bool ad;
};

static inline u64 dsim_top(u64 pa, unsigned int levels)
{
	return pa | levels;
}

/**
 * struct dsim_xlate - a translation, by walk or from the IOTLB
 * @iova: first address that it covers, aligned to its size
 * @pa: where that address lies
 * @size_lg2: log2 of its size
 * @perm: DSIM_PERM_*
 * @dirty: a write through it needs no update of the page table: D is known to
 *	   be set, or D is not kept
 * @a_set: entries in which the walk set A
 * @d_set: the walk set D
 */
struct dsim_xlate {
	u64 iova;
	u64 pa;
	u8 size_lg2;
	u8 perm;
	bool dirty;
	u8 a_set;
	bool d_set;
};

struct dsim_tlb;

enum dsim_fault dsim_walk(const struct dsim_root *root, struct dsim_tlb *tlb,
			  u64 iova, u8 access, bool keep_clean,
			  struct dsim_xlate *out);

/* ---- IOTLB and paging-structure caches ---- */

#define DSIM_CACHED_LEVELS	3
#define DSIM_CACHED_TABLES	16

/**
 * struct dsim_table - where a walk may begin, instead of at the top
 * @iova: first address that goes through the table, aligned to their size
 * @pa: where the table lies
 * @size_lg2: log2 of the size of all that goes through it; 0 is an empty entry
 * @level: of its entries
 * @perm: DSIM_PERM_* that all entries on the way to it grant
 *
 * While it is cached, no accessed bit is set on the way to the table.
 */
struct dsim_table {
	u64 iova;
	u64 pa;
	u8 size_lg2;
	u8 level;
	u8 perm;
};

#define DSIM_TLB_ENTRIES_DEFAULT	256
#define DSIM_TLB_ENTRIES_MAX		65536

/**
 * struct dsim_tlb - translations that a device's requests use without a walk
 * @entries: direct mapped by page number, sizes mixed
 * @order: log2 of the number of entries
 * @sizes: bit n set: entries of size 2^n may be present
 * @sticky_dirty: fault injection, see dsim_tlb_flush()
 * @tables: paging-structure caches, one for each level of entries that point to
 *	    tables, from the lowest on; direct mapped by address
 *
 * An entry remembers whether D is set in the page table, so that writes through
 * it touch the table once.  Nothing but a flush makes it forget; clearing D in
 * the table without one loses every later write through the entry.
 */
struct dsim_tlb {
	struct dsim_tlb_entry *entries;
	unsigned int order;
	u64 sizes;
	bool sticky_dirty;
	struct dsim_table tables[DSIM_CACHED_LEVELS][DSIM_CACHED_TABLES];
};

int dsim_tlb_init(struct dsim_tlb *tlb, unsigned int nr);
void dsim_tlb_destroy(struct dsim_tlb *tlb);
bool dsim_tlb_lookup(const struct dsim_tlb *tlb, u64 iova, u8 access,
		     struct dsim_xlate *out);
bool dsim_tlb_recalls_dirty(const struct dsim_tlb *tlb, u64 iova);
void dsim_tlb_insert(struct dsim_tlb *tlb, const struct dsim_xlate *xlate);
unsigned int dsim_tlb_flush(struct dsim_tlb *tlb, u64 start, u64 last);
const struct dsim_table *dsim_tlb_table(const struct dsim_tlb *tlb, u64 iova);
void dsim_tlb_insert_table(struct dsim_tlb *tlb, unsigned int level,
			   const struct dsim_table *table);
void dsim_tlb_flush_tables(struct dsim_tlb *tlb, u64 start, u64 last);

/* ---- IOMMU and its view of a device ---- */

/**
 * enum dsim_tracker_kind - the device's own dirty tracker
 * @DSIM_TRACKER_NONE: there is none
 * @DSIM_TRACKER_PULL: it keeps a log, and is asked
 * @DSIM_TRACKER_PUSH: it tells
 */
enum dsim_tracker_kind {
	DSIM_TRACKER_NONE,
	DSIM_TRACKER_PULL,
	DSIM_TRACKER_PUSH,
};

/**
 * struct dsim_options - how a device was asked to be; fixed while it lives
 * @format: index into dsim_formats
 * @page_sizes: bitmap of page sizes the IOMMU may use; 0 is every one
 * @tlb_entries: size of the IOTLB, a power of two
 * @ad: the IOMMU has accessed and dirty bits
 * @emulated: there is no IOMMU, the four above mean nothing
 * @pins: pages that an emulated device keeps pinned while it writes; 0: each write
 *	  is a copy
 * @p2p: the device has the RUNNING_P2P state
 * @precopy: the device has the PRE_COPY states
 * @revoke_mmio: there is no MMIO while the device does not run
 * @trap: the doorbell is trapped, and what is rung is held, while DMA is stopped
 * @no_quiesce: it cannot be told to stop: it is drained, and kept from the bus
 * @mem_pages: pages of memory that the device has of its own
 * @tracker: its own dirty tracker
 * @granule: bytes that this one tells apart, a power of two
 * @ranges: how many ranges it can log; 0: any number
 * @rating: of a tracker that pushes
 */
struct dsim_options {
	enum dsim_format_id format;
	u64 page_sizes;
	unsigned int tlb_entries;
	bool ad;
	bool emulated;
	unsigned int pins;
	bool p2p;
	bool precopy;
	bool revoke_mmio;
	bool trap;
	bool no_quiesce;
	unsigned int mem_pages;
	enum dsim_tracker_kind tracker;
	u64 granule;
	unsigned int ranges;
	int rating;
};

/**
 * struct dsim_stats - counters of one device, since it was made
 * @walks: page walks
 * @hits: requests that the IOTLB answered
 * @a_set: accessed bits set
 * @d_set: dirty bits set
 * @faults: failed translations
 * @flushes: IOTLB flushes that reached this device
 * @flushed: translations that they dropped
 * @descs: descriptors executed
 * @bytes_read: bytes read from memory
 * @bytes_written: bytes written to memory
 */
struct dsim_stats {
	u64 walks;
	u64 hits;
	u64 a_set;
	u64 d_set;
	u64 faults;
	u64 flushes;
	u64 flushed;
	u64 descs;
	u64 bytes_read;
	u64 bytes_written;
};

/**
 * struct dsim_port - where a device's requests leave for memory
 * @dev: the device
 * @options: what its maker asked for
 * @lock: held over translation and data movement of a request.  A flush takes
 *	  it too, so when a flush returns, no request uses what was flushed: page
 *	  table pages may be freed and dirty bits may be believed.
 *	  Nests inside struct dsim_domain's lock.
 * @domain: the page table in use, NULL is blocked; under @lock
 * @node: link in the domain's list, under the domain's lock
 * @ad_broken: dirty tracking cannot be switched on, by fault injection; under @lock
 * @tlb: under @lock; these four are of use behind the IOMMU only
 * @tracker: is told of writes, or NULL; under @lock
 * @stats: under @lock
 *
 * Made when the device is added to the IOMMU, freed with it; without one, a member
 * of what the platform device's driver keeps.
 */
struct dsim_port {
	struct device *dev;
	struct dsim_options options;
	spinlock_t lock;
	struct dsim_domain *domain;
	struct list_head node;
	bool ad_broken;
	struct dsim_tlb tlb;
	struct dsim_tracker *tracker;
	struct dsim_stats stats;
};

/**
 * struct dsim_domain - a page table
 * @domain: for the IOMMU core
 * @iommu: the generic page table, unless it is an io-pgtable; overlays @domain
 * @vtdss: format DSIM_VTDSS
 * @amdv1: format DSIM_AMDV1
 * @x86_64: format DSIM_X86_64
 * @armlpae: format DSIM_ARMLPAE, beside @domain
 * @format: which of them
 * @lock: protects @ports and writing @root
 * @ports: devices attached
 * @root: what hardware is told of the table; walkers read it without @lock
 */
struct dsim_domain {
	union {
		struct iommu_domain domain;
		struct pt_iommu iommu;
		struct pt_iommu_vtdss vtdss;
		struct pt_iommu_amdv1 amdv1;
		struct pt_iommu_x86_64 x86_64;
	};
	struct io_pgtable_ops *armlpae;
	enum dsim_format_id format;
	spinlock_t lock;
	struct list_head ports;
	struct dsim_root root;
};
PT_IOMMU_CHECK_DOMAIN(struct dsim_domain, iommu, domain);
PT_IOMMU_CHECK_DOMAIN(struct dsim_domain, vtdss.iommu, domain);
PT_IOMMU_CHECK_DOMAIN(struct dsim_domain, amdv1.iommu, domain);
PT_IOMMU_CHECK_DOMAIN(struct dsim_domain, x86_64.iommu, domain);

void dsim_port_init(struct dsim_port *port, struct device *dev);
int dsim_iommu_init(void);
void dsim_iommu_exit(void);
int dsim_iommu_add_device(struct device *dev);
bool dsim_iommu_format_built(enum dsim_format_id format);
bool dsim_iommu_format_has_dirty(enum dsim_format_id format);
struct dsim_domain *dsim_domain_alloc(enum dsim_format_id format, bool dirty,
				      u64 page_sizes);
void dsim_domain_free(struct dsim_domain *dom);

struct dsim_device;

/**
 * struct dsim_dma_fault - which address failed and why
 * @iova: the address
 * @reason: why
 */
struct dsim_dma_fault {
	u64 iova;
	enum dsim_fault reason;
};

int dsim_dma_read(struct dsim_device *ddev, u64 iova, void *buf, size_t len,
		  struct dsim_dma_fault *fault);
int dsim_dma_write(struct dsim_device *ddev, u64 iova, const void *buf,
		   size_t len, struct dsim_dma_fault *fault);
int dsim_dma_add(struct dsim_device *ddev, u64 iova, u64 addend,
		 struct dsim_dma_fault *fault);

/* ---- Device ---- */

struct eventfd_ctx;
struct dsim_log_range;
struct dsim_pin;
struct task_struct;

/* The device's own memory is saved by pages of this size */
#define DSIM_MEM_PAGE		4096
#define DSIM_MEM_PAGES_MAX	4096

/* They are searched one by one */
#define DSIM_PINS_MAX		64

/**
 * struct dsim_regs - the device's state, but for its own memory
 * @ctrl: DSIM_CTRL_*
 * @error: DSIM_STATUS_ERROR is latched
 * @ring: address of the ring
 * @ring_order: log2 of its entries
 * @head: descriptors consumed
 * @tail: descriptors produced, as last told by either doorbell
 * @doorbell: what the mapped doorbell held when last looked at
 * @irq_status: bit 0, completion
 * @completed: descriptors done
 * @faults: translation faults
 * @fault: the last of them
 * @scratch: no function
 * @mem_at: where in the device's own memory the next access goes, in bytes
 */
struct dsim_regs {
	u32 ctrl;
	bool error;
	u64 ring;
	u32 ring_order;
	u32 head;
	u32 tail;
	u32 doorbell;
	u32 irq_status;
	u32 completed;
	u32 faults;
	struct dsim_dma_fault fault;
	u32 scratch;
	u32 mem_at;
};

/**
 * struct dsim_tracker - a device's own dirty tracker
 * @lock: serializes software that starts, reads and stops the log; outside of the
 *	  port's lock
 * @on: writes are logged, or pushed; under the port's lock
 * @broken: it cannot be used, by fault injection; under the port's lock
 * @mute: it notices no write, by fault injection; under the port's lock
 * @slow: microseconds that each answer takes longer, by fault injection
 * @granule: bytes that it tells apart; changes while it is off
 * @nr_ranges: how many of @ranges there are
 * @ranges: what is logged; both change under @lock while it is off
 * @idev: to whom writes are told; NULL: they are logged
 * @ops: of one that pushes
 */
struct dsim_tracker {
	struct mutex lock;
	bool on;
	bool broken;
	bool mute;
	unsigned int slow;
	u64 granule;
	unsigned int nr_ranges;
	struct dsim_log_range *ranges;
	struct iommufd_device *idev;
#if DSIM_CAN_PUSH
	struct iommufd_dirty_device_ops ops;
#endif
};

#define DSIM_CONFIG_SIZE	256

/* As vfio-pci does, so that a VMM needs to know nothing else */
#define DSIM_REGION_SHIFT	40
#define DSIM_REGION_OFFSET(index)	((u64)(index) << DSIM_REGION_SHIFT)

/**
 * struct dsim_device - a simulated device
 * @vdev: the vfio device; its reference count is this structure's
 * @port: the way to memory
 * @tracker: its own dirty tracker
 * @thread: executes descriptors while the device is open
 * @wait: where @thread sleeps
 * @kicked: something happened since @thread last looked
 * @bounce: a page through which @thread moves data
 * @doorbell_page: the page that user space maps
 * @doorbell_mapped: it was mapped since open, so it must be polled
 * @mem_pages: size of @mem
 * @emulated: it is behind no IOMMU
 * @nr_pins: room in @pins
 * @identity: whose state its migration carries
 * @lock: protects everything below.  @thread holds it over each descriptor, so
 *	  whoever clears @running under it knows that no DMA follows.  User memory
 *	  may be accessed under it, and the migration's mmio_lock nests inside.
 * @running: the migration state allows DMA
 * @master_off: the migration keeps it from the bus, whatever @config says
 * @regs: the registers
 * @mem: memory of the device's own
 * @mem_changed: bit n set: page n was written since it was last saved
 * @config: config space
 * @msi: eventfd to signal, or NULL
 * @req: eventfd by which the user is asked to let go of the device
 * @pins: pages that an emulated device keeps
 * @next_pin: which of them goes next
 * @mig: migration; its lock is outside of @lock, and protects everything below
 * @trap: of the mapped doorbell
 * @trapped: it was turned on since the device was opened
 * @loaded_regs: registers, while they are loaded
 * @loaded_ring: what the doorbell was last rung with, likewise
 * @loaded_mem: memory of the device's own, while it is loaded
 */
struct dsim_device {
	struct vfio_device vdev;
	struct dsim_port *port;
	struct dsim_tracker tracker;
	struct task_struct *thread;
	wait_queue_head_t wait;
	atomic_t kicked;
	void *bounce;
	void *doorbell_page;
	bool doorbell_mapped;
	unsigned int mem_pages;
	bool emulated;
	unsigned int nr_pins;
	struct vfio_mig_identity identity;

	struct mutex lock;
	bool running;
	bool master_off;
	struct dsim_regs regs;
	u8 *mem;
	unsigned long *mem_changed;
	u8 config[DSIM_CONFIG_SIZE];
	struct eventfd_ctx *msi;
	struct eventfd_ctx *req;
	struct dsim_pin *pins;
	unsigned int next_pin;

	struct vfio_mig mig;
	struct vfio_mig_trap trap;
	bool trapped;
	struct dsim_regs loaded_regs;
	u32 loaded_ring;
	u8 *loaded_mem;
};

/* engine.c */
int dsim_engine_start(struct dsim_device *ddev);
void dsim_engine_stop(struct dsim_device *ddev);
void dsim_engine_kick(struct dsim_device *ddev);
void dsim_engine_notice_mapping(struct dsim_device *ddev);
void dsim_engine_set_running(struct dsim_device *ddev, bool running);
void dsim_engine_drain(struct dsim_device *ddev);
void dsim_engine_set_master(struct dsim_device *ddev, bool on);
void dsim_engine_sync_doorbell(struct dsim_device *ddev);
void dsim_engine_ring(struct dsim_device *ddev, u32 tail);
u32 dsim_engine_rung(struct dsim_device *ddev);
void dsim_engine_load(struct dsim_device *ddev, const struct dsim_regs *regs);
bool dsim_engine_regs_valid(const struct dsim_regs *regs);
void dsim_engine_reset(struct dsim_device *ddev);
u32 dsim_engine_reg_read(struct dsim_device *ddev, u32 offset);
void dsim_engine_reg_write(struct dsim_device *ddev, u32 offset, u32 value);

/* pci.c */
u16 dsim_pci_subdevice(struct dsim_device *ddev);
void dsim_pci_reset(struct dsim_device *ddev);
bool dsim_pci_memory_enabled(struct dsim_device *ddev);
bool dsim_pci_master_enabled(struct dsim_device *ddev);
ssize_t dsim_pci_config_rw(struct dsim_device *ddev, u8 *buf, size_t count,
			   u32 offset, bool write);
ssize_t dsim_pci_bar_rw(struct dsim_device *ddev, u8 *buf, size_t count,
			u32 offset, bool write);
ssize_t dsim_pci_no_bar_rw(u8 *buf, size_t count, u32 offset, bool write);
void dsim_pci_raise_msi(struct dsim_device *ddev);
int dsim_pci_get_irq_info(struct vfio_irq_info *info);
long dsim_pci_set_irqs(struct dsim_device *ddev, void __user *uarg);
void dsim_pci_release_irqs(struct dsim_device *ddev);

/* migration.c */
int dsim_migration_init(struct dsim_device *ddev);

/* tracker.c */
void dsim_tracker_init(struct dsim_device *ddev);
void dsim_tracker_destroy(struct dsim_device *ddev);
void dsim_tracker_wrote(struct dsim_tracker *tracker, u64 iova, size_t len);
void dsim_tracker_reset(struct dsim_device *ddev);
int dsim_tracker_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx,
		      u32 *id);
void dsim_tracker_break(struct dsim_port *port, bool broken);
void dsim_tracker_mute(struct dsim_port *port, bool mute);
void dsim_tracker_slow(struct dsim_port *port, unsigned int us);

/* emulated.c */
enum dsim_fault dsim_emulated_move(struct dsim_device *ddev, u64 iova,
				   void *buf, size_t n, u8 access);
void dsim_emulated_rest(struct dsim_device *ddev);
void dsim_emulated_unmap(struct vfio_device *vdev, u64 iova, u64 length);
int dsim_emulated_init(struct dsim_device *ddev);
void dsim_emulated_destroy(struct dsim_device *ddev);
struct dsim_port *dsim_port_of(struct device *dev);
int dsim_emulated_register(void);
void dsim_emulated_unregister(void);
extern const struct device_type dsim_parent_type;

/* vfio.c */
int dsim_vfio_add(struct device *dev);
void dsim_vfio_remove(struct device *dev);
int dsim_bus_reset(struct platform_device *pdev);

extern struct platform_driver dsim_platform_driver;
extern const struct device_type dsim_device_type;

#endif
