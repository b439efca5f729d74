// SPDX-License-Identifier: GPL-2.0-only
/*
 * Variant drivers of vfio-pci: what is the same in each that migrates
 *
 * struct vfio_mig_pci_driver is a whole driver but for its device.  What vfio-pci's
 * core does, it goes on doing; between user space and it is what migration asks for:
 *
 * * BARs are accessed and mapped here, so that there is no MMIO, nor port I/O, while
 *   the device does not run.  Reads give all ones then and writes are dropped, as they
 *   are while memory decoding is off; a fault gets SIGBUS.  Config space goes on
 *   working.
 * * A BAR may have its registers accessed by the driver alone, see regs.c, or be none
 *   of the user's at all.
 * * The serial number of a card says which one it is, and a guest may find itself on
 *   another one: it reads as zero.
 * * A device that is kept from the bus has its bus master bit off, and the user, who may
 *   write it meanwhile, is shown what he wrote.
 * * A reset, whoever asked for it and by which method, is one of migration too.
 * * VFIO_DEVICE_IOEVENTFD is refused: the kernel would write to the BAR behind our
 *   back.  No driver offers dma-bufs of its BARs either.
 *
 * The core's memory_lock is held to read over each access to a BAR, and so serves as
 * the library's mmio_lock.  The core takes it for writing over a reset, in which
 * reset_done is called: that is why a driver's @ops->reset neither takes it nor
 * touches the device.
 */
#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/cleanup.h>
#include <linux/export.h>
#include <linux/io-64-nonatomic-lo-hi.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/pci.h>
#include <linux/pm_runtime.h>
#include <linux/uaccess.h>
#include <linux/vfio_pci_migration.h>

#include "migration.h"

static struct vfio_mig_pci *from_core(struct vfio_pci_core_device *core)
{
	return container_of(core, struct vfio_mig_pci, core);
}

static bool is_bar(unsigned int index)
{
	return index < PCI_STD_NUM_BARS;
}

/* ---- Trapped access to a BAR ---- */

/* What one access moves */
union word {
	u8 bytes[8];
	u8 b;
	u16 w;
	u32 l;
	u64 q;
};

static unsigned int widest(struct vfio_mig_pci *pci, unsigned int bar, u64 pos,
			   size_t left)
{
	bool traps = vfio_mig_trap_covers(&pci->mig,
					  VFIO_PCI_INDEX_TO_OFFSET(bar) + pos,
					  sizeof(union word));
	/* registers that may be trapped have 32 bits, and are met one by one */
	unsigned int width = traps ? 4 : sizeof(union word);

	while (width > left || pos % width)
		width /= 2;
	return width;
}

static void io_read(struct vfio_pci_core_device *core, void __iomem *io,
		    union word *word, unsigned int width)
{
	switch (width) {
	case 8:
		vfio_pci_core_ioread64(core, false, &word->q, io);
		break;
	case 4:
		vfio_pci_core_ioread32(core, false, &word->l, io);
		break;
	case 2:
		vfio_pci_core_ioread16(core, false, &word->w, io);
		break;
	default:
		vfio_pci_core_ioread8(core, false, &word->b, io);
	}
}

static void io_write(struct vfio_pci_core_device *core, void __iomem *io,
		     const union word *word, unsigned int width)
{
	switch (width) {
	case 8:
		vfio_pci_core_iowrite64(core, false, word->q, io);
		break;
	case 4:
		vfio_pci_core_iowrite32(core, false, word->l, io);
		break;
	case 2:
		vfio_pci_core_iowrite16(core, false, word->w, io);
		break;
	default:
		vfio_pci_core_iowrite8(core, false, word->b, io);
	}
}

/* The vectors of MSI-X are the kernel's own */
static bool is_msix_table(struct vfio_pci_core_device *core, unsigned int bar,
			  u64 pos)
{
	return bar == core->msix_bar && pos >= core->msix_offset &&
	       pos < core->msix_offset + core->msix_size;
}

static bool decodes(struct vfio_pci_core_device *core, unsigned int bar)
{
	return pci_resource_flags(core->pdev, bar) & IORESOURCE_IO ||
	       __vfio_pci_memory_enabled(core);
}

static bool trapped(struct vfio_mig_pci *pci, unsigned int bar, u64 pos,
		    union word *word, unsigned int width, bool write)
{
	return vfio_mig_trap_access(&pci->mig,
				    VFIO_PCI_INDEX_TO_OFFSET(bar) + pos,
				    word, width, write);
}

/* Where @bar is not there for the user, @word has all ones, as a bus would answer */
static void access_word(struct vfio_mig_pci *pci, unsigned int bar,
			void __iomem *io, u64 pos, union word *word,
			unsigned int width, bool write)
{
	struct vfio_pci_core_device *core = &pci->core;

	if (!write)
		memset(word, 0xff, sizeof(*word));
	if (is_msix_table(core, bar, pos))
		return;
	if (vfio_mig_mmio_begin(&pci->mig) && decodes(core, bar)) {
		if (trapped(pci, bar, pos, word, width, write))
			;
		else if (write)
			io_write(core, io + pos, word, width);
		else
			io_read(core, io + pos, word, width);
	}
	vfio_mig_mmio_end(&pci->mig);
}

static ssize_t access_bar(struct vfio_mig_pci *pci, unsigned int bar,
			  char __user *ubuf, size_t count, u64 pos, bool write)
{
	u64 size = pci_resource_len(pci->core.pdev, bar);
	unsigned int width;
	void __iomem *io;
	union word word;
	size_t done;

	if (pos >= size)
		return -EINVAL;
	io = vfio_pci_core_get_iomap(&pci->core, bar);
	if (IS_ERR(io))
		return PTR_ERR(io);

	count = min_t(u64, count, size - pos);
	for (done = 0; done != count; done += width) {
		width = widest(pci, bar, pos + done, count - done);
		if (write && copy_from_user(&word, ubuf + done, width))
			return -EFAULT;
		access_word(pci, bar, io, pos + done, &word, width, write);
		if (!write && copy_to_user(ubuf + done, &word, width))
			return -EFAULT;
	}
	return done;
}

static ssize_t bar_rw(struct vfio_mig_pci *pci, char __user *ubuf, size_t count,
		      loff_t *ppos, bool write)
{
	ssize_t done;

	done = access_bar(pci, VFIO_PCI_OFFSET_TO_INDEX(*ppos), ubuf, count,
			  *ppos & VFIO_PCI_OFFSET_MASK, write);
	if (done > 0)
		*ppos += done;
	return done;
}

/* A page at most is read at once: a region may be as long as the user likes */
static ssize_t all_ones(char __user *ubuf, size_t count, loff_t *ppos,
			bool write)
{
	size_t done = write ? count : 0;

	count = min(count, PAGE_SIZE);
	while (!write && done != count && !put_user(0xff, ubuf + done))
		done++;
	*ppos += done;
	return done || !count ? done : -EFAULT;
}

static bool runs(struct vfio_mig_pci *pci)
{
	bool on = vfio_mig_mmio_begin(&pci->mig);

	vfio_mig_mmio_end(&pci->mig);
	return on;
}

/*
 * The expansion ROM and what regions a driver has added are the core's to access,
 * with a user copy in between.  So no lock is held, and what began while the device
 * ran may end after that.
 */
static bool other_region_off(struct vfio_mig_pci *pci, loff_t pos)
{
	return VFIO_PCI_OFFSET_TO_INDEX(pos) != VFIO_PCI_CONFIG_REGION_INDEX &&
	       !runs(pci);
}

/* Which card this is, is nothing that could be the same on the next one */
static ssize_t read_config(struct vfio_mig_pci *pci, char __user *buf,
			   size_t count, loff_t *ppos)
{
	loff_t pos = *ppos & VFIO_PCI_OFFSET_MASK, at;
	size_t offset, length;
	ssize_t done;

	done = vfio_pci_core_read(&pci->core.vdev, buf, count, ppos);
	if (done > 0 && pci->dsn &&
	    vfio_pci_core_range_intersect_range(pos, done, pci->dsn + 4, 8, &at,
						&length, &offset) &&
	    clear_user(buf + at, length))
		return -EFAULT;
	return done;
}

static ssize_t access_any_bar(struct vfio_mig_pci *pci, char __user *ubuf,
			      size_t count, loff_t *ppos, bool write)
{
	const struct vfio_mig_pci_driver *driver = mig_pci_driver(pci);
	unsigned int bar = VFIO_PCI_OFFSET_TO_INDEX(*ppos);
	struct device *dev = &pci->core.pdev->dev;
	ssize_t done;

	if (driver->hidden_bars & BIT(bar))
		return -EINVAL;
	if (pm_runtime_resume_and_get(dev))
		return -EIO;
	if (driver->reg_bars & BIT(bar))
		done = mig_pci_access_regs(pci, ubuf, count, ppos, write);
	else
		done = bar_rw(pci, ubuf, count, ppos, write);
	pm_runtime_put(dev);
	return done;
}

static void sleeps(struct vfio_mig_pci *pci)
{
	if (mig_pci_driver(pci)->sleeps)
		mig_pci_driver(pci)->sleeps(&pci->mig);
}

static bool has_power_state(struct vfio_mig_pci *pci, loff_t pos, size_t count)
{
	u8 pm_cap = pci->core.pdev->pm_cap;
	size_t offset, length;
	loff_t at;

	return pm_cap &&
	       vfio_pci_core_range_intersect_range(pos & VFIO_PCI_OFFSET_MASK,
						   count, pm_cap + PCI_PM_CTRL,
						   2, &at, &length, &offset);
}

static ssize_t pci_read(struct vfio_device *vdev, char __user *buf,
			size_t count, loff_t *ppos)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);

	if (is_bar(VFIO_PCI_OFFSET_TO_INDEX(*ppos)))
		return access_any_bar(pci, buf, count, ppos, false);
	if (VFIO_PCI_OFFSET_TO_INDEX(*ppos) == VFIO_PCI_CONFIG_REGION_INDEX)
		return read_config(pci, buf, count, ppos);
	if (other_region_off(pci, *ppos))
		return all_ones(buf, count, ppos, false);
	return vfio_pci_core_read(vdev, buf, count, ppos);
}

static ssize_t pci_write(struct vfio_device *vdev, const char __user *buf,
			 size_t count, loff_t *ppos)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);
	char __user *ubuf = (char __user *)buf;

	if (is_bar(VFIO_PCI_OFFSET_TO_INDEX(*ppos)))
		return access_any_bar(pci, ubuf, count, ppos, true);
	if (other_region_off(pci, *ppos))
		return all_ones(ubuf, count, ppos, true);
	if (VFIO_PCI_OFFSET_TO_INDEX(*ppos) == VFIO_PCI_CONFIG_REGION_INDEX &&
	    has_power_state(pci, *ppos, count))
		sleeps(pci);
	return vfio_pci_core_write(vdev, buf, count, ppos);
}

static int get_region_info(struct vfio_device *vdev,
			   struct vfio_region_info *info,
			   struct vfio_info_cap *caps)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);
	int rc;

	rc = vfio_pci_ioctl_get_region_info(vdev, info, caps);
	if (!rc && is_bar(info->index) &&
	    mig_pci_driver(pci)->hidden_bars & BIT(info->index)) {
		info->size = 0;
		info->flags = 0;
	}
	return rc;
}

/* ---- Mapped access to a BAR ---- */

static u64 file_pos(struct vm_area_struct *vma, unsigned long addr)
{
	return (u64)linear_page_index(vma, addr) << PAGE_SHIFT;
}

static unsigned long bar_pfn(struct vfio_pci_core_device *core, u64 pos)
{
	return PHYS_PFN(pci_resource_start(core->pdev,
					   VFIO_PCI_OFFSET_TO_INDEX(pos)) +
			(pos & VFIO_PCI_OFFSET_MASK));
}

/*
 * A trap's page is memory in a mapping of device pages.  It is cached, as it is in
 * the kernel, and not counted: it lives as long as the file that is mapped.
 */
static vm_fault_t insert(struct vfio_pci_core_device *core,
			 struct vm_fault *vmf, u64 pos, unsigned int order)
{
	struct page *page = vfio_mig_trap_page(&from_core(core)->mig, pos);

	if (!page)
		return vfio_pci_vmf_insert_pfn(core, vmf, bar_pfn(core, pos),
					       order);
	if (core->pm_runtime_engaged || !__vfio_pci_memory_enabled(core))
		return VM_FAULT_SIGBUS;
	return vmf_insert_pfn_prot(vmf->vma, vmf->address, page_to_pfn(page),
				   vm_get_page_prot(vmf->vma->vm_flags));
}

static vm_fault_t bar_huge_fault(struct vm_fault *vmf, unsigned int order)
{
	unsigned long addr = ALIGN_DOWN(vmf->address, PAGE_SIZE << order);
	struct vfio_pci_core_device *core = vmf->vma->vm_private_data;
	struct vfio_mig_pci *pci = from_core(core);
	vm_fault_t rc = VM_FAULT_SIGBUS;
	u64 pos;

	/* The head of a huge page may lie before the mapping: compare first */
	if (order && addr < vmf->vma->vm_start)
		return VM_FAULT_FALLBACK;
	pos = file_pos(vmf->vma, addr);
	if (!is_aligned_for_order(vmf->vma, addr, bar_pfn(core, pos), order) ||
	    (order && vfio_mig_trap_covers(&pci->mig, pos, PAGE_SIZE << order)))
		return VM_FAULT_FALLBACK;

	if (vfio_mig_mmio_begin(&pci->mig))
		rc = insert(core, vmf, pos, order);
	vfio_mig_mmio_end(&pci->mig);
	return rc;
}

static vm_fault_t bar_fault(struct vm_fault *vmf)
{
	return bar_huge_fault(vmf, 0);
}

static const struct vm_operations_struct bar_vm_ops = {
	.fault = bar_fault,
#ifdef CONFIG_ARCH_SUPPORTS_HUGE_PFNMAP
	.huge_fault = bar_huge_fault,
#endif
};

/* A BAR may be mapped in any state; its pages are there while the device runs */
static int pci_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	int rc;

	rc = vfio_pci_core_mmap(vdev, vma);
	if (!rc && is_bar(VFIO_PCI_OFFSET_TO_INDEX((u64)vma->vm_pgoff <<
						   PAGE_SHIFT)))
		vma->vm_ops = &bar_vm_ops;
	return rc;
}

/* ---- A driver's own access ---- */

/*
 * Another bit, which disables interrupts, is changed by the handler of interrupts, and
 * must be found again as that has left it: it does so with this lock held.
 */
static void change_command(struct vfio_mig_pci *pci, u16 bit, bool on)
{
	struct pci_dev *pdev = pci->core.pdev;
	u16 command;

	guard(spinlock_irqsave)(&pci->core.irqlock);
	pci_read_config_word(pdev, PCI_COMMAND, &command);
	command = on ? command | bit : command & ~bit;
	pci_write_config_word(pdev, PCI_COMMAND, command);
}

/* Have its memory decode, with user space and resets kept out */
static int begin(struct vfio_mig_pci *pci)
{
	struct pci_dev *pdev = pci->core.pdev;

	if (pm_runtime_resume_and_get(&pdev->dev))
		return -EIO;
	down_write(&pci->core.memory_lock);
	if (pdev->current_state != PCI_D0) {
		up_write(&pci->core.memory_lock);
		pm_runtime_put(&pdev->dev);
		return -EIO;
	}
	pci_read_config_word(pdev, PCI_COMMAND, &pci->command);
	if (!(pci->command & PCI_COMMAND_MEMORY))
		change_command(pci, PCI_COMMAND_MEMORY, true);
	return 0;
}

static void end(struct vfio_mig_pci *pci)
{
	if (!(pci->command & PCI_COMMAND_MEMORY))
		change_command(pci, PCI_COMMAND_MEMORY, false);
	up_write(&pci->core.memory_lock);
	pm_runtime_put(&pci->core.pdev->dev);
}

/**
 * vfio_mig_pci_begin() - The driver is about to access the device
 * @pci: the device, which is open
 *
 * Until vfio_mig_pci_end(), which has to follow unless this failed, neither the user
 * nor a reset gets at the device, and its memory decodes, which it often does not at
 * the time when a state is saved or loaded.  pci->core.barmap[] has the BARs.
 *
 * Context: process; for whatever is not an op that %VFIO_MIG_EXCLUSIVE has in between,
 * nor @ops->reset.  Takes the core's memory_lock,
 * which is vfio_mig->mmio_lock, for writing, and @pci's lock.
 *
 * Return: 0; or -EIO when the device is asleep, as the user wished.
 */
int vfio_mig_pci_begin(struct vfio_mig_pci *pci)
{
	int rc;

	KUNIT_STATIC_STUB_REDIRECT(vfio_mig_pci_begin, pci);
	rc = begin(pci);
	if (!rc)
		mutex_lock(&pci->lock);
	return rc;
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_begin);

/**
 * vfio_mig_pci_end() - The driver is done
 * @pci: the device
 */
void vfio_mig_pci_end(struct vfio_mig_pci *pci)
{
	KUNIT_STATIC_STUB_REDIRECT(vfio_mig_pci_end, pci);
	mutex_unlock(&pci->lock);
	end(pci);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_end);

/* ---- Hardware that can only be kept from the bus ---- */

/* What the user wants of bus mastering, while he does not get it */
static __le16 *wish(struct vfio_pci_core_device *core)
{
	return (__le16 *)&core->vconfig[PCI_COMMAND];
}

/**
 * vfio_mig_pci_master_off() - &vfio_mig_ops.master_off of a PCI device
 * @mig: of a struct vfio_mig_pci
 *
 * Bus mastering is off until vfio_mig_pci_master_on(), whatever the user writes to the
 * command register; he goes on reading there what he wrote.  When this returns, nothing
 * that the device has asked for is under way.
 *
 * That is enough for a device that keeps its requests, interrupts by message too, for
 * as long as it is not a master.
 *
 * Context: process; takes the core's memory_lock.
 *
 * Return: 0; -EIO when the device is asleep, as the user wished; -ETIMEDOUT when
 * something stays under way: then it is a master again, if it was one.
 */
int vfio_mig_pci_master_off(struct vfio_mig *mig)
{
	struct vfio_mig_pci *pci = mig_to_vfio_mig_pci(mig);
	int rc;

	rc = begin(pci);
	if (rc)
		return rc;
	*wish(&pci->core) &= ~cpu_to_le16(PCI_COMMAND_MASTER);
	*wish(&pci->core) |= cpu_to_le16(pci->command & PCI_COMMAND_MASTER);
	WRITE_ONCE(pci->core.master_off, true);
	change_command(pci, PCI_COMMAND_MASTER, false);
	end(pci);

	/* What it wrote comes before its answer to this */
	if (pci_wait_for_pending_transaction(pci->core.pdev))
		return 0;
	return vfio_mig_pci_master_on(mig) ? -ENOTRECOVERABLE : -ETIMEDOUT;
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_master_off);

/**
 * vfio_mig_pci_master_on() - &vfio_mig_ops.master_on of a PCI device
 * @mig: of a struct vfio_mig_pci
 *
 * It is a master if the user wants it, by what he wrote last.
 *
 * Context: process; takes the core's memory_lock.
 *
 * Return: 0, or -EIO when the device is asleep, as the user wished.
 */
int vfio_mig_pci_master_on(struct vfio_mig *mig)
{
	struct vfio_mig_pci *pci = mig_to_vfio_mig_pci(mig);
	int rc;

	rc = begin(pci);
	if (rc)
		return rc;
	WRITE_ONCE(pci->core.master_off, false);
	change_command(pci, PCI_COMMAND_MASTER,
		       *wish(&pci->core) & cpu_to_le16(PCI_COMMAND_MASTER));
	end(pci);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_master_on);

/* Without the lock, which a reset may hold: who writes to a device in reset races */
static void bus_reset(struct vfio_mig *mig)
{
	struct vfio_mig_pci *pci = mig_to_vfio_mig_pci(mig);

	if (!pci->core.master_off)
		return;
	WRITE_ONCE(pci->core.master_off, false);
	if (*wish(&pci->core) & cpu_to_le16(PCI_COMMAND_MASTER))
		change_command(pci, PCI_COMMAND_MASTER, true);
}

static int bus_begin(struct vfio_mig *mig)
{
	return begin(mig_to_vfio_mig_pci(mig));
}

static void bus_end(struct vfio_mig *mig)
{
	end(mig_to_vfio_mig_pci(mig));
}

static bool bus_decodes(struct vfio_mig *mig)
{
	struct vfio_pci_core_device *core = &mig_to_vfio_mig_pci(mig)->core;

	return !core->pm_runtime_engaged &&
	       core->pdev->current_state == PCI_D0 &&
	       __vfio_pci_memory_enabled(core);
}

static int bus_begin_op(struct vfio_mig *mig)
{
	return vfio_mig_pci_begin(mig_to_vfio_mig_pci(mig));
}

static void bus_end_op(struct vfio_mig *mig)
{
	vfio_mig_pci_end(mig_to_vfio_mig_pci(mig));
}

static const struct vfio_mig_bus bus = {
	.begin = bus_begin,
	.end = bus_end,
	.decodes = bus_decodes,
	.reset = bus_reset,
	.begin_op = bus_begin_op,
	.end_op = bus_end_op,
};

/* ---- Life ---- */

/* What a reset of the function does not reach */
static int renew(struct vfio_mig_pci *pci)
{
	const struct vfio_mig_pci_driver *driver = mig_pci_driver(pci);
	int rc;

	if (!driver->renew)
		return 0;
	rc = vfio_mig_pci_begin(pci);
	if (rc)
		return rc;
	driver->renew(&pci->mig);
	vfio_mig_pci_end(pci);
	return 0;
}

static long pci_ioctl(struct vfio_device *vdev, unsigned int cmd,
		      unsigned long arg)
{
	long rc;

	if (cmd == VFIO_DEVICE_IOEVENTFD)
		return -ENOTTY;
	rc = vfio_pci_core_ioctl(vdev, cmd, arg);
	if (cmd == VFIO_DEVICE_RESET && !rc)
		rc = renew(to_vfio_mig_pci(vdev));
	return rc;
}

/* To sleep, or to wake: what the device wrote since it was last told may be lost again */
static bool is_power(u32 flags)
{
	if (flags & VFIO_DEVICE_FEATURE_PROBE ||
	    !(flags & VFIO_DEVICE_FEATURE_SET))
		return false;
	switch (flags & VFIO_DEVICE_FEATURE_MASK) {
	case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY:
	case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP:
	case VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
		return true;
	default:
		return false;
	}
}

static int device_feature(struct vfio_device *vdev, u32 flags, void __user *arg,
			  size_t argsz)
{
	if (is_power(flags))
		sleeps(to_vfio_mig_pci(vdev));
	return vfio_pci_core_ioctl_feature(vdev, flags, arg, argsz);
}

static void do_close(struct vfio_mig_pci *pci)
{
	vfio_mig_close(&pci->mig);
	/* the core leaves it no master in any case */
	pci->core.master_off = false;
	vfio_pci_core_close_device(&pci->core.vdev);
}

/* What a driver answers for, it has to have */
static int check_bars(struct vfio_mig_pci *pci)
{
	const struct vfio_mig_pci_driver *driver = mig_pci_driver(pci);
	unsigned int bar;
	void __iomem *io;

	for (bar = 0; is_bar(bar); bar++) {
		if (!(driver->reg_bars & BIT(bar)) ||
		    !(pci_resource_flags(pci->core.pdev, bar) & IORESOURCE_MEM))
			continue;
		io = vfio_pci_core_get_iomap(&pci->core, bar);
		if (IS_ERR(io))
			return PTR_ERR(io);
	}
	return 0;
}

static int open_device(struct vfio_device *vdev)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);
	const struct vfio_mig_pci_driver *driver = mig_pci_driver(pci);
	unsigned int bar;
	int rc;

	rc = vfio_pci_core_enable(&pci->core);
	if (rc)
		return rc;
	/* Now that it is awake: one that sleeps is found to have none */
	pci->dsn = pci_find_ext_capability(pci->core.pdev, PCI_EXT_CAP_ID_DSN);
	vfio_mig_reset(&pci->mig);
	vfio_pci_core_finish_enable(&pci->core);
	for (bar = 0; is_bar(bar); bar++)
		if ((driver->reg_bars | driver->hidden_bars) & BIT(bar))
			pci->core.bar_mmap_supported[bar] = false;
	rc = check_bars(pci) ?: renew(pci);
	if (rc)
		do_close(pci);
	return rc;
}

static void close_device(struct vfio_device *vdev)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);

	if (mig_pci_driver(pci)->closing)
		mig_pci_driver(pci)->closing(&pci->mig);
	do_close(pci);
}

static int bind_iommufd(struct vfio_device *vdev, struct iommufd_ctx *ictx,
			u32 *id)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);
	int rc;

	rc = vfio_iommufd_physical_bind(vdev, ictx, id);
	if (!rc && mig_pci_driver(pci)->bound)
		mig_pci_driver(pci)->bound(&pci->mig);
	return rc;
}

static int init(struct vfio_device *vdev)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);
	const struct vfio_mig_pci_driver *driver = mig_pci_driver(pci);
	struct pci_dev *pdev = to_pci_dev(vdev->dev);
	int rc;

	if (driver->reg_bars && (!driver->reg_read || !driver->reg_write))
		return -EINVAL;
	mutex_init(&pci->lock);
	pci->identity = *driver->identity;
	pci->identity.vendor = pdev->vendor;
	pci->identity.device = pdev->device;
	pci->identity.subvendor = pdev->subsystem_vendor;
	pci->identity.subdevice = pdev->subsystem_device;

	rc = vfio_mig_init(&pci->mig, vdev, driver->ops, &pci->identity,
			   driver->flags | VFIO_MIG_REVOKE_MMIO);
	if (rc)
		return rc;
	pci->mig.mmio_lock = &pci->core.memory_lock;
	pci->mig.bus = &bus;
	rc = vfio_pci_core_init_dev(vdev);
	if (rc || !driver->init)
		return rc;
	rc = driver->init(&pci->mig);
	if (!rc)
		return 0;
	/* Nobody calls release() for it: some of its traps may be there */
	vfio_mig_destroy(&pci->mig);
	vfio_pci_core_release_dev(vdev);
	return rc;
}

static void release(struct vfio_device *vdev)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);

	if (mig_pci_driver(pci)->release)
		mig_pci_driver(pci)->release(&pci->mig);
	vfio_mig_destroy(&pci->mig);
	vfio_pci_core_release_dev(vdev);
}

VISIBLE_IF_KUNIT const struct vfio_device_ops mig_pci_device_ops = {
	.init = init,
	.release = release,
	.open_device = open_device,
	.close_device = close_device,
	.ioctl = pci_ioctl,
	.get_region_info_caps = get_region_info,
	.device_feature = device_feature,
	.read = pci_read,
	.write = pci_write,
	.mmap = pci_mmap,
	.request = vfio_pci_core_request,
	.match = vfio_pci_core_match,
	.match_token_uuid = vfio_pci_core_match_token_uuid,
	.bind_iommufd = bind_iommufd,
	.unbind_iommufd = vfio_iommufd_physical_unbind,
	.attach_ioas = vfio_iommufd_physical_attach_ioas,
	.detach_ioas = vfio_iommufd_physical_detach_ioas,
};
EXPORT_SYMBOL_IF_KUNIT(mig_pci_device_ops);

/* ---- Driver ---- */

/*
 * The function was reset, by whatever method and on whoever's behalf; the core may
 * hold memory_lock
 */
static void reset_done(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = pci_get_drvdata(pdev);

	vfio_mig_reset_locked(&from_core(core)->mig);
}

static const struct pci_error_handlers err_handlers = {
	.reset_done = reset_done,
	.error_detected = vfio_pci_core_aer_err_detected,
};

static int probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct vfio_mig_pci_driver *driver =
		container_of(pdev->driver, struct vfio_mig_pci_driver, pci);
	struct vfio_device *vdev;
	struct vfio_mig_pci *pci;
	int rc;

	vdev = _vfio_alloc_device(driver->size, &pdev->dev, &driver->vfio);
	if (IS_ERR(vdev))
		return PTR_ERR(vdev);
	pci = to_vfio_mig_pci(vdev);
	pci_set_drvdata(pdev, &pci->core);
	rc = vfio_pci_core_register_device(&pci->core);
	if (rc)
		goto err_put;
	rc = vfio_mig_add_attributes(&pci->mig);
	if (rc)
		goto err_unregister;
	return 0;

err_unregister:
	vfio_pci_core_unregister_device(&pci->core);
err_put:
	vfio_put_device(vdev);
	return rc;
}

/* Waits for the user to close it */
static void remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = pci_get_drvdata(pdev);

	vfio_mig_remove_attributes(&from_core(core)->mig);
	vfio_pci_core_unregister_device(core);
	vfio_put_device(&core->vdev);
}

/**
 * __vfio_mig_pci_register_driver() - Register a driver, by vfio_mig_pci_register_driver()
 * @driver: the driver
 * @owner: its module
 * @mod_name: the name of that
 *
 * Return: 0 or an errno.
 */
int __vfio_mig_pci_register_driver(struct vfio_mig_pci_driver *driver,
				   struct module *owner, const char *mod_name)
{
	driver->vfio = mig_pci_device_ops;
	driver->vfio.name = driver->name;
	driver->pci.probe = probe;
	driver->pci.remove = remove;
	driver->pci.err_handler = &err_handlers;
	driver->pci.driver_managed_dma = true;
	return __pci_register_driver(&driver->pci, owner, mod_name);
}
EXPORT_SYMBOL_GPL(__vfio_mig_pci_register_driver);

/**
 * vfio_mig_pci_unregister_driver() - Unregister it
 * @driver: the driver
 */
void vfio_mig_pci_unregister_driver(struct vfio_mig_pci_driver *driver)
{
	pci_unregister_driver(&driver->pci);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_unregister_driver);

MODULE_DESCRIPTION("Migration of vfio-pci devices, for their variant drivers");
MODULE_LICENSE("GPL");
