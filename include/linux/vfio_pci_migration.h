/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Library for vfio devices that migrate
 *
 * A driver says how its device is stopped and started and what its state is; the
 * library is everything else that <linux/vfio.h> and user space ask for: the
 * states and the ways between them, data files, the stream with its checks,
 * precopy, reset and recovery.  It needs no more than a struct vfio_device.
 *
 * For variant drivers of vfio-pci there is more, CONFIG_VFIO_MIGRATION_PCI: struct
 * vfio_mig_pci_driver and the functions vfio_mig_pci_*().
 */
#ifndef _LINUX_VFIO_PCI_MIGRATION_H
#define _LINUX_VFIO_PCI_MIGRATION_H

#include <linux/types.h>

struct vfio_mig;
struct vfio_mig_section;

/**
 * struct vfio_mig_section_type - a kind of section in a device's stream
 * @type: its number, not 0
 * @max: the most bytes that one may have
 * @exact: has as many, always
 * @required: a stream without one is no whole state
 * @repeats: may come more than once; what comes later replaces or adds to what
 *	     came before, as the driver likes
 * @load: take one.  Keep it apart from the device: the stream may yet turn out to be
 *	  none, and its user may never finish it.  Everything in it is hostile,
 *	  refuse with -ERANGE what no device of this kind could have saved.  Called as
 *	  an op of struct vfio_mig_ops is.
 * @words: of a section that is an array of words, how many; see %VFIO_MIG_WORDS
 * @at: where these are in a structure of the driver
 * @check: these came; could a device have them?  0 or -ERANGE.  Optional.
 */
struct vfio_mig_section_type {
	u32 type;
	u32 max;
	bool exact;
	bool required;
	bool repeats;
	int (*load)(struct vfio_mig *mig, const struct vfio_mig_section *section);
	u32 words;
	u32 at;
	int (*check)(const u32 *words);
};

/* As many as one word has bits */
#define VFIO_MIG_MAX_SECTION_TYPES	64
/* The longest name: it is followed by at least one zero in the stream */
#define VFIO_MIG_MAX_NAME		23

/**
 * struct vfio_mig_identity - whose state a stream holds, and which of them loads
 * @name: of the kind of state, usually the driver's; not empty, without spaces,
 *	  at most %VFIO_MIG_MAX_NAME bytes
 * @vendor: PCI vendor ID, or another number that tells devices apart
 * @device: PCI device ID
 * @subvendor: PCI subsystem vendor ID
 * @subdevice: PCI subsystem ID
 * @version: of what the driver saves
 * @oldest: oldest version that it loads
 * @features: driver's own bits: what the device's state makes use of, when it is
 *	      saved; and what it can make use of, when one is loaded
 * @sections: the kinds of sections
 * @nr_sections: how many, up to %VFIO_MIG_MAX_SECTION_TYPES
 *
 * Does not change while the device is registered.
 */
struct vfio_mig_identity {
	const char *name;
	u16 vendor;
	u16 device;
	u16 subvendor;
	u16 subdevice;
	u16 version;
	u16 oldest;
	u64 features;
	const struct vfio_mig_section_type *sections;
	unsigned int nr_sections;
};

#ifdef __KERNEL__

#include <linux/atomic.h>
#include <linux/device.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/vfio.h>
#include <linux/vfio_pci_core.h>
#include <linux/wait.h>

struct vfio_mig_file;

/* What a driver has as u32 @_member[] in its @_state, @_check, or NULL, looks at; required */
#define VFIO_MIG_WORDS(_type, _state, _member, _load, _check)		\
	{								\
		.type = _type,						\
		.max = sizeof_field(_state, _member),			\
		.exact = true,						\
		.required = true,					\
		.load = _load,						\
		.words = sizeof_field(_state, _member) / sizeof(u32),	\
		.at = offsetof(_state, _member),			\
		.check = _check,					\
	}

/* The table of them, in a struct vfio_mig_identity */
#define VFIO_MIG_SECTIONS(_sections)					\
	.sections = _sections, .nr_sections = ARRAY_SIZE(_sections)

/**
 * struct vfio_mig_section - a section of a stream that is loaded
 * @type: its kind
 * @version: of the state that it is a part of
 * @features: which that state makes use of
 * @length: bytes at @data; no more than the kind's maximum
 * @data: the bytes, as a hostile user may have chosen them: the CRC proves nothing
 *
 * Valid during the call that it was handed to.
 */
struct vfio_mig_section {
	u32 type;
	u16 version;
	u64 features;
	u32 length;
	const void *data;
};

/**
 * struct vfio_mig_ops - what a driver does
 * @stop_dma: let the device finish what it writes to memory, and start no more.
 *	Registers and doorbells stay alive; what they ask for is kept for later.
 *	When it returns, nothing of the device is under way.
 * @start_dma: the opposite.
 * @master_off: after @stop_dma, which let the device finish what it can: keep it from the
 *	bus, whatever else it is about to do, and wait until nothing that it asked for is
 *	under way.  For a device that cannot be told to stop; it keeps its requests, or
 *	has none when it is idle.  vfio_mig_pci_master_off(), for a PCI device.  Optional.
 * @master_on: the opposite, before @start_dma.  Is not called over a reset.
 * @stop: after @stop_dma: change nothing any more, neither inside the device nor
 *	outside.  Optional.
 * @run: the opposite.  Optional.
 * @save_size: an upper bound of the bytes that @save and everything before it put
 *	into a stream, with %VFIO_MIG_SECTION_OVERHEAD for each section.  Optional, unless
 *	a kind of section repeats: else it is one of each kind.
 * @save: put what makes the state whole into the stream, by vfio_mig_put().  The
 *	device is stopped.  After precopy, what was put then and did not change
 *	since may be left out.
 * @load_begin: the device is stopped, and a stream will come.  Optional.
 * @load_end: all of the stream came, and it was right, and each section's @load took
 *	it: make what was kept the device's state, or refuse it.  A device that could
 *	not is in no defined state, from which only a reset recovers; as for every
 *	failed load.
 * @load_abort: throw away what was kept.  Follows on @load_begin when there is no
 *	@load_end, and on a failed @load_end.  Optional.
 * @precopy_begin: from now on note what changes of the state that precopy can
 *	save; all of it counts as changed.
 * @precopy_bytes: bytes that @precopy_save would put into the stream, now and
 *	until it has nothing left, with %VFIO_MIG_SECTION_OVERHEAD for each section.
 * @precopy_save: put some of what changed into the stream, a megabyte or so; none
 *	only if nothing changed.  If it fails, what it put is dropped, and has to
 *	count as changed still.
 * @precopy_end: no longer note what changes.  Optional.
 * @reset: the state of a device that was just reset, by software alone if need be;
 *	also when its hardware was reset while one of the other ops ran.
 *
 * All are called in process context with vfio_mig->state_lock held, so one at a
 * time; ops without a result must not fail.  An op that fails leaves the device as
 * it was, or returns -ENOTRECOVERABLE, and then the device is in the state ERROR.
 *
 * The ops of precopy are those of a device that has PRE_COPY, by %VFIO_MIG_PRE_COPY.
 */
struct vfio_mig_ops {
	int (*stop_dma)(struct vfio_mig *mig);
	int (*start_dma)(struct vfio_mig *mig);
	int (*master_off)(struct vfio_mig *mig);
	int (*master_on)(struct vfio_mig *mig);
	int (*stop)(struct vfio_mig *mig);
	int (*run)(struct vfio_mig *mig);

	u64 (*save_size)(struct vfio_mig *mig);
	int (*save)(struct vfio_mig *mig);

	int (*load_begin)(struct vfio_mig *mig);
	int (*load_end)(struct vfio_mig *mig);
	void (*load_abort)(struct vfio_mig *mig);

	int (*precopy_begin)(struct vfio_mig *mig);
	u64 (*precopy_bytes)(struct vfio_mig *mig);
	int (*precopy_save)(struct vfio_mig *mig);
	void (*precopy_end)(struct vfio_mig *mig);

	void (*reset)(struct vfio_mig *mig);
};

/* Bytes of a stream that are not a section's own, one by one and altogether */
#define VFIO_MIG_SECTION_OVERHEAD	20
#define VFIO_MIG_STREAM_OVERHEAD	100

/**
 * struct vfio_mig_attributes - files in the folder of one device
 * @version: migration/version: what is saved here
 * @compatible: migration/compatible: would it be loaded here?
 * @list: both
 * @group: both
 *
 * Of each device its own, since they are all that there is to come from a file to
 * its struct vfio_mig.
 */
struct vfio_mig_attributes {
	struct device_attribute version;
	struct device_attribute compatible;
	struct attribute *list[3];
	struct attribute_group group;
};

/**
 * struct vfio_mig_bus - getting at registers that do not always answer
 * @begin: keep user space and resets out by holding vfio_mig->mmio_lock for writing,
 *	and have the registers answer; or an errno, and nothing is held
 * @end: the opposite
 * @decodes: do they answer right now?  vfio_mig->mmio_lock is held
 * @reset: the device was reset: it is kept from the bus no more.  vfio_mig->mmio_lock
 *	may be held
 * @begin_op: @begin, and what else makes the device the driver's alone; before an op,
 *	with %VFIO_MIG_EXCLUSIVE
 * @end_op: the opposite
 */
struct vfio_mig_bus {
	int (*begin)(struct vfio_mig *mig);
	void (*end)(struct vfio_mig *mig);
	bool (*decodes)(struct vfio_mig *mig);
	void (*reset)(struct vfio_mig *mig);
	int (*begin_op)(struct vfio_mig *mig);
	void (*end_op)(struct vfio_mig *mig);
};

/**
 * struct vfio_mig - migration of one device; a member of the driver's own structure
 * @vdev: the device
 * @ops: the driver's
 * @identity: the device's
 * @vfio_ops: what <linux/vfio.h> calls.  One for each device, since a pointer to
 *	it is all that there is to come from @vdev to this structure.
 * @attributes: files in sysfs
 * @exclusive: most ops have the device to themselves
 * @revokes_mmio: there is no MMIO while the device does not run
 * @mmio_lock: held to read while MMIO is accessed or mapped, to write while that
 *	becomes forbidden; nests inside @state_lock and mmap_lock.  A lock that the
 *	bus has for this, or @own_mmio_lock.
 * @own_mmio_lock: of a device whose bus has none
 * @mmio_off: it is forbidden; set under @mmio_lock, cleared without
 * @bus: how registers are got at; NULL: they always answer
 * @traps: of struct vfio_mig_trap; do not change while the device is registered
 * @state_lock: protects everything below, and is held over the driver's ops; never
 *	over an access to user memory.
 * @state: enum vfio_device_mig_state; read under @reset_lock too
 * @file: data file of the transfer that goes on, or NULL
 * @precopy: @ops->precopy_begin was called, and precopy has not ended
 * @loading: @ops->load_begin was called, none of those that end it were
 * @reset_lock: makes giving back @state_lock and asking for a reset exclude each
 *	other; innermost
 * @reset_pending: whoever holds @state_lock resets before giving it back; under
 *	@reset_lock
 * @changed: vfio_mig_precopy_changed() was called since precopy last saved
 * @reinit: vfio_mig_precopy_reinit() was called since user space was last told
 * @wait: those who poll a data file
 *
 * A data file holds a reference on @vdev, and so on this structure, and on the
 * driver's module.  It calls no op once its transfer has ended.
 */
struct vfio_mig {
	struct vfio_device *vdev;
	const struct vfio_mig_ops *ops;
	const struct vfio_mig_identity *identity;
	struct vfio_migration_ops vfio_ops;
	struct vfio_mig_attributes attributes;

	bool exclusive;
	bool revokes_mmio;
	struct rw_semaphore *mmio_lock;
	struct rw_semaphore own_mmio_lock;
	bool mmio_off;
	const struct vfio_mig_bus *bus;
	struct list_head traps;

	struct mutex state_lock;
	enum vfio_device_mig_state state;
	struct vfio_mig_file *file;
	bool precopy;
	bool loading;

	spinlock_t reset_lock;
	bool reset_pending;

	atomic_t changed;
	atomic_t reinit;
	wait_queue_head_t wait;
};

/**
 * enum vfio_mig_flags - what the library is to make of a device
 * @VFIO_MIG_P2P: @stop_dma may be called for itself: the device has RUNNING_P2P
 * @VFIO_MIG_PRE_COPY: the ops of precopy may be called: the device has PRE_COPY
 * @VFIO_MIG_REVOKE_MMIO: user space gets at no MMIO while the device does not run.
 *	The driver asks vfio_mig_mmio_begin() before it gives any.  What was mapped for
 *	DMA by others stays mapped, and a VMM that maps a BAR for DMA while the device
 *	does not run is refused.
 * @VFIO_MIG_EXCLUSIVE: of a PCI device: @stop_dma, @start_dma, @stop, @run, @save and
 *	@load_end access it, and are called between what vfio_mig_pci_begin() and
 *	vfio_mig_pci_end() do.  So they turn no trap on or off.
 */
enum vfio_mig_flags {
	VFIO_MIG_P2P = 1 << 0,
	VFIO_MIG_REVOKE_MMIO = 1 << 1,
	VFIO_MIG_PRE_COPY = 1 << 2,
	VFIO_MIG_EXCLUSIVE = 1 << 3,
};

int vfio_mig_init(struct vfio_mig *mig, struct vfio_device *vdev,
		  const struct vfio_mig_ops *ops,
		  const struct vfio_mig_identity *identity, unsigned int flags);
void vfio_mig_close(struct vfio_mig *mig);
void vfio_mig_destroy(struct vfio_mig *mig);
void vfio_mig_reset(struct vfio_mig *mig);
void vfio_mig_reset_locked(struct vfio_mig *mig);

bool vfio_mig_mmio_begin(struct vfio_mig *mig);
void vfio_mig_mmio_end(struct vfio_mig *mig);

int vfio_mig_add_attributes(struct vfio_mig *mig);
void vfio_mig_remove_attributes(struct vfio_mig *mig);

int vfio_mig_put(struct vfio_mig *mig, u32 type, const void *data, u32 length);

int vfio_mig_put_words(struct vfio_mig *mig, const void *state);
int vfio_mig_take_words(struct vfio_mig *mig,
			const struct vfio_mig_section *section, void *state);

void vfio_mig_precopy_changed(struct vfio_mig *mig);
void vfio_mig_precopy_reinit(struct vfio_mig *mig);

/* ---- Traps ---- */

struct vfio_mig_trap;

/**
 * struct vfio_mig_trap_reg - a register that a trap sees written
 * @offset: from the trap's start, a multiple of 4
 * @reset: what it has after a reset
 * @live: the device changes it as well
 *
 * It has 32 bits, is little endian, and reads back what was written.  Writing the
 * value that it has means nothing, and is not seen.
 */
struct vfio_mig_trap_reg {
	u32 offset;
	u32 reset;
	bool live;
};

/**
 * struct vfio_mig_trap_ops - what a driver does with them
 * @write: the user has written it: tell the device
 * @read: what does the device have there?
 *
 * Both are called in process context with vfio_mig->mmio_lock held, one at a time for
 * each trap.
 */
struct vfio_mig_trap_ops {
	void (*write)(struct vfio_mig_trap *trap, unsigned int reg, u32 value);
	u32 (*read)(struct vfio_mig_trap *trap, unsigned int reg);
};

/**
 * struct vfio_mig_trap - pages of a BAR whose registers can be watched
 * @mig: the device
 * @node: in its list
 * @ops: the driver's
 * @start: first byte, as an offset in the device's file
 * @size: bytes
 * @regs: the registers
 * @nr_regs: how many
 * @switch_lock: protects @users and @thread; outside of vfio_mig->mmio_lock
 * @users: how often it was turned on
 * @thread: looks at @shadow while it is on
 * @on: user space has @shadow, not the device's pages; changes under
 *	vfio_mig->mmio_lock for writing
 * @shadow: what user space maps and writes
 * @lock: protects what follows, and is held over @ops; inside vfio_mig->mmio_lock
 * @held: what is written is not handed on
 * @known: for each register, what was handed on, or read
 * @seen: for each register, what it had when @shadow was looked at
 */
struct vfio_mig_trap {
	struct vfio_mig *mig;
	struct list_head node;
	const struct vfio_mig_trap_ops *ops;
	u64 start;
	u32 size;
	const struct vfio_mig_trap_reg *regs;
	unsigned int nr_regs;

	struct mutex switch_lock;
	unsigned int users;
	struct task_struct *thread;

	bool on;
	void *shadow;

	struct mutex lock;
	bool held;
	u32 *known;
	u32 *seen;
};

int vfio_mig_trap_init(struct vfio_mig_trap *trap, struct vfio_mig *mig,
		       const struct vfio_mig_trap_ops *ops, u64 start, u32 size,
		       const struct vfio_mig_trap_reg *regs,
		       unsigned int nr_regs);
int vfio_mig_trap_on(struct vfio_mig_trap *trap);
void vfio_mig_trap_off(struct vfio_mig_trap *trap);
bool vfio_mig_trap_poll(struct vfio_mig_trap *trap);
void vfio_mig_trap_sync(struct vfio_mig_trap *trap);
void vfio_mig_trap_update(struct vfio_mig_trap *trap, unsigned int reg,
			  u32 value);
void vfio_mig_trap_hold(struct vfio_mig_trap *trap, bool hold);
u32 vfio_mig_trap_value(struct vfio_mig_trap *trap, unsigned int reg);
void vfio_mig_trap_set(struct vfio_mig_trap *trap, unsigned int reg, u32 value);
void vfio_mig_trap_reset(struct vfio_mig_trap *trap);

struct page *vfio_mig_trap_page(struct vfio_mig *mig, u64 pos);
bool vfio_mig_trap_covers(struct vfio_mig *mig, u64 pos, u64 size);
bool vfio_mig_trap_access(struct vfio_mig *mig, u64 pos, void *data,
			  unsigned int size, bool write);

/* ---- Variant drivers of vfio-pci ---- */

/**
 * struct vfio_mig_pci - a PCI device that migrates; first in the driver's structure
 * @core: the vfio-pci device
 * @mig: its migration; its mmio_lock is @core's memory_lock
 * @identity: whose state it has: the driver's, with the four IDs of this device
 * @command: what the command register had before vfio_mig_pci_begin(); under
 *	@core's memory_lock
 * @dsn: where in config space the serial number is, or 0; found when it is opened
 * @lock: makes accesses to registers one at a time, those of the user and those of the
 *	driver, and protects what else the driver likes.  Nests inside @core's
 *	memory_lock, which is held to read over the user's, and to write over the
 *	driver's; a trap's lock and this are not held at once.
 */
struct vfio_mig_pci {
	struct vfio_pci_core_device core;
	struct vfio_mig mig;
	struct vfio_mig_identity identity;
	u16 command;
	u16 dsn;
	struct mutex lock;
};

static inline struct vfio_mig_pci *to_vfio_mig_pci(struct vfio_device *vdev)
{
	return container_of(vdev, struct vfio_mig_pci, core.vdev);
}

static inline struct vfio_mig_pci *mig_to_vfio_mig_pci(struct vfio_mig *mig)
{
	return container_of(mig, struct vfio_mig_pci, mig);
}

/**
 * struct vfio_mig_pci_driver - a variant driver of vfio-pci
 * @pci: its name and its table of IDs; the library has the rest
 * @name: of the vfio device
 * @size: %VFIO_MIG_PCI_SIZE of the driver's structure
 * @ops: how the device migrates
 * @identity: whose state it is, without the four IDs; its name and sections stay there
 * @flags: of enum vfio_mig_flags; %VFIO_MIG_REVOKE_MMIO goes without saying
 * @reg_bars: bit n: BAR n has registers of 32 bits which are never mapped, and each access
 *	of the user, a whole register, is one of @reg_read or @reg_write.  There is
 *	none while memory decoding is off, nor in an I/O BAR.
 * @hidden_bars: bit n: BAR n is not the user's
 * @init: make the driver's own members, as traps.  Optional.
 * @release: free them.  Traps are freed by the library.  Optional.
 * @renew: make new what a reset of the function does not reach.  The device was opened,
 *	or VFIO_DEVICE_RESET came; it is called between what vfio_mig_pci_begin() and
 *	vfio_mig_pci_end() do.  Optional.
 * @closing: the user closes the device, of which everything works still.  Not called
 *	when the device could not be opened.  Optional.
 * @sleeps: the user is about to put it to sleep, or to wake it, and it may lose its
 *	registers.  No lock is held, and it need not come to that.  Optional.
 * @bound: it was bound to an iommufd, so vfio_device->iommufd_device is there.  Optional.
 * @before_access: the user is about to read a register, or to write it, and then @written
 *	is what.  No lock is held: user memory may be accessed, and @reg_write may find the
 *	device in another state.  Optional.
 * @reg_read: what does the user read there?  Called as @reg_write.
 * @reg_write: the user has written a register; between what vfio_mig_pci_user_begin()
 *	and vfio_mig_pci_user_end() do.
 * @vfio: what <linux/vfio.h> calls; the library's.  From here it finds the driver of a
 *	device.
 *
 * All there is to a variant driver that is not of its device::
 *
 *	struct nic {
 *		struct vfio_mig_pci pci;
 *		...
 *	};
 *
 *	static struct vfio_mig_pci_driver nic_driver = {
 *		.pci.name = KBUILD_MODNAME,
 *		.pci.id_table = nic_ids,
 *		.name = "nic-vfio-pci",
 *		.size = VFIO_MIG_PCI_SIZE(struct nic, pci),
 *		.ops = &nic_mig_ops,
 *		.identity = &nic_identity,
 *		.flags = VFIO_MIG_P2P,
 *	};
 *	module_vfio_mig_pci_driver(nic_driver);
 *
 * All functions are called in process context.
 */
struct vfio_mig_pci_driver {
	struct pci_driver pci;
	char *name;
	size_t size;
	const struct vfio_mig_ops *ops;
	const struct vfio_mig_identity *identity;
	unsigned int flags;
	unsigned int reg_bars;
	unsigned int hidden_bars;

	int (*init)(struct vfio_mig *mig);
	void (*release)(struct vfio_mig *mig);
	void (*renew)(struct vfio_mig *mig);
	void (*closing)(struct vfio_mig *mig);
	void (*sleeps)(struct vfio_mig *mig);
	void (*bound)(struct vfio_mig *mig);

	void (*before_access)(struct vfio_mig *mig, unsigned int bar,
			      u32 offset, const u32 *written);
	u32 (*reg_read)(struct vfio_mig *mig, unsigned int bar, u32 offset);
	void (*reg_write)(struct vfio_mig *mig, unsigned int bar, u32 offset,
			  u32 value);

	struct vfio_device_ops vfio;
};

/* Of a structure that begins with its struct vfio_mig_pci */
#define VFIO_MIG_PCI_SIZE(_type, _member)				\
	(sizeof(_type) + BUILD_BUG_ON_ZERO(offsetof(_type, _member)))

int __vfio_mig_pci_register_driver(struct vfio_mig_pci_driver *driver,
				   struct module *owner, const char *mod_name);
void vfio_mig_pci_unregister_driver(struct vfio_mig_pci_driver *driver);

#define vfio_mig_pci_register_driver(driver) \
	__vfio_mig_pci_register_driver(driver, THIS_MODULE, KBUILD_MODNAME)

#define module_vfio_mig_pci_driver(driver)				\
	module_driver(driver, vfio_mig_pci_register_driver,		\
		      vfio_mig_pci_unregister_driver)

int vfio_mig_pci_begin(struct vfio_mig_pci *pci);
void vfio_mig_pci_end(struct vfio_mig_pci *pci);
bool vfio_mig_pci_user_begin(struct vfio_mig_pci *pci);
void vfio_mig_pci_user_end(struct vfio_mig_pci *pci);
int vfio_mig_pci_master_off(struct vfio_mig *mig);
int vfio_mig_pci_master_on(struct vfio_mig *mig);

#endif /* __KERNEL__ */
#endif
