// SPDX-License-Identifier: GPL-2.0-only
/*
 * Variant drivers of vfio-pci: what is the same in each that migrates
 *
 * struct vfio_mig_pci shows a whole driver but for its device.  What vfio-pci's core
 * does, it goes on doing; between user space and it is what migration asks for:
 *
 * * BARs are accessed and mapped here, so that there is no MMIO, nor port I/O, while
 *   the device does not run.  Reads give all ones then and writes are dropped, as they
 *   are while memory decoding is off; a fault gets SIGBUS.  Config space goes on
 *   working.
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
	struct device *dev = &pci->core.pdev->dev;
	ssize_t done;

	if (pm_runtime_resume_and_get(dev))
		return -EIO;
	done = access_bar(pci, VFIO_PCI_OFFSET_TO_INDEX(*ppos), ubuf, count,
			  *ppos & VFIO_PCI_OFFSET_MASK, write);
	pm_runtime_put(dev);
	if (done > 0)
		*ppos += done;
	return done;
}

static ssize_t all_ones(char __user *ubuf, size_t count, loff_t *ppos,
			bool write)
{
	size_t done;

	for (done = 0; !write && done != count; done++)
		if (put_user(0xff, ubuf + done))
			return done ?: -EFAULT;
	*ppos += count;
	return count;
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

/**
 * vfio_mig_pci_read() - &vfio_device_ops.read of a struct vfio_mig_pci
 * @vdev: the device
 * @buf: user's buffer
 * @count: bytes
 * @ppos: region and offset in it
 *
 * Return: bytes read or an errno.
 */
ssize_t vfio_mig_pci_read(struct vfio_device *vdev, char __user *buf,
			  size_t count, loff_t *ppos)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);

	if (is_bar(VFIO_PCI_OFFSET_TO_INDEX(*ppos)))
		return bar_rw(pci, buf, count, ppos, false);
	if (other_region_off(pci, *ppos))
		return all_ones(buf, count, ppos, false);
	return vfio_pci_core_read(vdev, buf, count, ppos);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_read);

/**
 * vfio_mig_pci_write() - &vfio_device_ops.write of a struct vfio_mig_pci
 * @vdev: the device
 * @buf: user's buffer
 * @count: bytes
 * @ppos: region and offset in it
 *
 * Return: bytes written, dropped ones included, or an errno.
 */
ssize_t vfio_mig_pci_write(struct vfio_device *vdev, const char __user *buf,
			   size_t count, loff_t *ppos)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);
	char __user *ubuf = (char __user *)buf;

	if (is_bar(VFIO_PCI_OFFSET_TO_INDEX(*ppos)))
		return bar_rw(pci, ubuf, count, ppos, true);
	if (other_region_off(pci, *ppos))
		return all_ones(ubuf, count, ppos, true);
	return vfio_pci_core_write(vdev, buf, count, ppos);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_write);

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

/**
 * vfio_mig_pci_mmap() - &vfio_device_ops.mmap of a struct vfio_mig_pci
 * @vdev: the device
 * @vma: the mapping
 *
 * A BAR may be mapped in any state; its pages are there while the device runs.
 *
 * Return: 0 or an errno.
 */
int vfio_mig_pci_mmap(struct vfio_device *vdev, struct vm_area_struct *vma)
{
	int rc;

	rc = vfio_pci_core_mmap(vdev, vma);
	if (!rc && is_bar(VFIO_PCI_OFFSET_TO_INDEX((u64)vma->vm_pgoff <<
						   PAGE_SHIFT)))
		vma->vm_ops = &bar_vm_ops;
	return rc;
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_mmap);

/* ---- A driver's own access ---- */

/**
 * vfio_mig_pci_begin() - The driver is about to access the device
 * @pci: the device, which is open
 *
 * Until vfio_mig_pci_end(), which has to follow unless this failed, neither the user
 * nor a reset gets at the device, and its memory decodes, which it often does not at
 * the time when a state is saved or loaded.  pci->core.barmap[] has the BARs.
 *
 * Context: process; for a driver's ops but @ops->reset.  Takes the core's memory_lock,
 * which is vfio_mig->mmio_lock.
 *
 * Return: 0; or -EIO when the device is asleep, as the user wished.
 */
int vfio_mig_pci_begin(struct vfio_mig_pci *pci)
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
		pci_write_config_word(pdev, PCI_COMMAND,
				      pci->command | PCI_COMMAND_MEMORY);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_begin);

/**
 * vfio_mig_pci_end() - The driver is done
 * @pci: the device
 */
void vfio_mig_pci_end(struct vfio_mig_pci *pci)
{
	struct pci_dev *pdev = pci->core.pdev;

	if (!(pci->command & PCI_COMMAND_MEMORY))
		pci_write_config_word(pdev, PCI_COMMAND, pci->command);
	up_write(&pci->core.memory_lock);
	pm_runtime_put(&pdev->dev);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_end);

/* ---- Hardware that can only be kept from the bus ---- */

/* What the user wants of bus mastering, while he does not get it */
static __le16 *wish(struct vfio_pci_core_device *core)
{
	return (__le16 *)&core->vconfig[PCI_COMMAND];
}

/* Config space is written, and @pci->command is what it has, or will be given back */
static void set_master(struct vfio_mig_pci *pci, bool on)
{
	struct pci_dev *pdev = pci->core.pdev;
	u16 command;

	pci_read_config_word(pdev, PCI_COMMAND, &command);
	command &= ~PCI_COMMAND_MASTER;
	pci->command &= ~PCI_COMMAND_MASTER;
	if (on) {
		command |= PCI_COMMAND_MASTER;
		pci->command |= PCI_COMMAND_MASTER;
	}
	pci_write_config_word(pdev, PCI_COMMAND, command);
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

	rc = vfio_mig_pci_begin(pci);
	if (rc)
		return rc;
	*wish(&pci->core) &= ~cpu_to_le16(PCI_COMMAND_MASTER);
	*wish(&pci->core) |= cpu_to_le16(pci->command & PCI_COMMAND_MASTER);
	WRITE_ONCE(pci->core.master_off, true);
	set_master(pci, false);
	vfio_mig_pci_end(pci);

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

	rc = vfio_mig_pci_begin(pci);
	if (rc)
		return rc;
	WRITE_ONCE(pci->core.master_off, false);
	set_master(pci, *wish(&pci->core) & cpu_to_le16(PCI_COMMAND_MASTER));
	vfio_mig_pci_end(pci);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_master_on);

/* Without the lock, which a reset may hold: who writes to a device in reset races */
static void bus_reset(struct vfio_mig *mig)
{
	struct vfio_pci_core_device *core = &mig_to_vfio_mig_pci(mig)->core;

	if (!core->master_off)
		return;
	WRITE_ONCE(core->master_off, false);
	if (*wish(core) & cpu_to_le16(PCI_COMMAND_MASTER))
		pci_set_master(core->pdev);
}

static int bus_begin(struct vfio_mig *mig)
{
	return vfio_mig_pci_begin(mig_to_vfio_mig_pci(mig));
}

static void bus_end(struct vfio_mig *mig)
{
	vfio_mig_pci_end(mig_to_vfio_mig_pci(mig));
}

static bool bus_decodes(struct vfio_mig *mig)
{
	struct vfio_pci_core_device *core = &mig_to_vfio_mig_pci(mig)->core;

	return !core->pm_runtime_engaged &&
	       core->pdev->current_state == PCI_D0 &&
	       __vfio_pci_memory_enabled(core);
}

static const struct vfio_mig_bus bus = {
	.begin = bus_begin,
	.end = bus_end,
	.decodes = bus_decodes,
	.reset = bus_reset,
};

/* ---- Life ---- */

/**
 * vfio_mig_pci_ioctl() - &vfio_device_ops.ioctl of a struct vfio_mig_pci
 * @vdev: the device
 * @cmd: which
 * @arg: user's
 *
 * Return: what the ioctl says, or an errno.
 */
long vfio_mig_pci_ioctl(struct vfio_device *vdev, unsigned int cmd,
			unsigned long arg)
{
	if (cmd == VFIO_DEVICE_IOEVENTFD)
		return -ENOTTY;
	return vfio_pci_core_ioctl(vdev, cmd, arg);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_ioctl);

/**
 * vfio_mig_pci_open_device() - &vfio_device_ops.open_device of a struct vfio_mig_pci
 * @vdev: the device
 *
 * The device is RUNNING, and as new as the core could make it.
 *
 * Return: 0 or an errno.
 */
int vfio_mig_pci_open_device(struct vfio_device *vdev)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);
	int rc;

	rc = vfio_pci_core_enable(&pci->core);
	if (rc)
		return rc;
	vfio_mig_reset(&pci->mig);
	vfio_pci_core_finish_enable(&pci->core);
	return 0;
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_open_device);

/**
 * vfio_mig_pci_close_device() - &vfio_device_ops.close_device of a struct vfio_mig_pci
 * @vdev: the device
 */
void vfio_mig_pci_close_device(struct vfio_device *vdev)
{
	struct vfio_mig_pci *pci = to_vfio_mig_pci(vdev);

	vfio_mig_close(&pci->mig);
	/* the core leaves it no master in any case */
	pci->core.master_off = false;
	vfio_pci_core_close_device(vdev);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_close_device);

/*
 * The function was reset, by whatever method and on whoever's behalf; the core may
 * hold memory_lock
 */
static void reset_done(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = pci_get_drvdata(pdev);

	vfio_mig_reset_locked(&from_core(core)->mig);
}

const struct pci_error_handlers vfio_mig_pci_err_handlers = {
	.reset_done = reset_done,
	.error_detected = vfio_pci_core_aer_err_detected,
};
EXPORT_SYMBOL_GPL(vfio_mig_pci_err_handlers);

/**
 * vfio_mig_pci_init() - Make a PCI device one that migrates
 * @pci: the device; to be called from &vfio_device_ops.init
 * @ops: the driver's
 * @identity: the driver's, without the four IDs; its name and sections stay there
 * @flags: of enum vfio_mig_flags; %VFIO_MIG_REVOKE_MMIO goes without saying
 *
 * Return: 0; -EINVAL when @ops or @identity are not as they have to be; or another
 * errno.
 */
int vfio_mig_pci_init(struct vfio_mig_pci *pci, const struct vfio_mig_ops *ops,
		      const struct vfio_mig_identity *identity,
		      unsigned int flags)
{
	struct vfio_device *vdev = &pci->core.vdev;
	struct pci_dev *pdev = to_pci_dev(vdev->dev);
	int rc;

	pci->identity = *identity;
	pci->identity.vendor = pdev->vendor;
	pci->identity.device = pdev->device;
	pci->identity.subvendor = pdev->subsystem_vendor;
	pci->identity.subdevice = pdev->subsystem_device;

	rc = vfio_mig_init(&pci->mig, vdev, ops, &pci->identity,
			   flags | VFIO_MIG_REVOKE_MMIO);
	if (rc)
		return rc;
	pci->mig.mmio_lock = &pci->core.memory_lock;
	pci->mig.bus = &bus;
	return vfio_pci_core_init_dev(vdev);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_init);

/**
 * vfio_mig_pci_register() - Let user space have the device
 * @pci: the device, allocated in the driver's probe
 *
 * If this fails, the device is put; else vfio_mig_pci_remove() does that.
 *
 * Return: 0 or an errno.
 */
int vfio_mig_pci_register(struct vfio_mig_pci *pci)
{
	int rc;

	pci_set_drvdata(pci->core.pdev, &pci->core);
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
	vfio_put_device(&pci->core.vdev);
	return rc;
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_register);

/**
 * vfio_mig_pci_remove() - &pci_driver.remove of a struct vfio_mig_pci
 * @pdev: the device
 *
 * Context: process; waits for the user to close it.
 */
void vfio_mig_pci_remove(struct pci_dev *pdev)
{
	struct vfio_pci_core_device *core = pci_get_drvdata(pdev);

	vfio_mig_remove_attributes(&from_core(core)->mig);
	vfio_pci_core_unregister_device(core);
	vfio_put_device(&core->vdev);
}
EXPORT_SYMBOL_GPL(vfio_mig_pci_remove);

MODULE_DESCRIPTION("Migration of vfio-pci devices, for their variant drivers");
MODULE_LICENSE("GPL");
