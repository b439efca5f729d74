// SPDX-License-Identifier: GPL-2.0-only
/*
 * The driver of the simulated IOMMU
 *
 * Page tables are the kernel's own (generic_pt, io-pgtable).  The driver tells
 * the hardware model where a table lies, and flushes its IOTLBs.
 */
#include <kunit/visibility.h>
#include <linux/cleanup.h>
#include <linux/module.h>
#include <linux/property.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "dsim.h"
#include "iommu-pages.h"
#include "iommu-priv.h"

/*
 * With another IOMMU driver around, a device must say that it is ours when it is
 * added.  The core has a helper for this that is built for iommufd's own test
 * driver, and for us in a kernel that knows of us.  Without it (this module
 * built for another kernel) ours must be the only IOMMU.
 */
#define HAVE_DEVICE_ADD \
	(IS_ENABLED(CONFIG_IOMMUFD_TEST) || IS_ENABLED(CONFIG_IOMMUFD_DIRTY_SIM))

/*
 * Where the kernel can, x86-64 entries of a table that is tracked start clean, and
 * accessed bits say where to look for dirty ones.  Again, one that knows of us does.
 */
#if IS_ENABLED(CONFIG_IOMMUFD_DIRTY_SIM)
#define VTDSS_TRACKED	BIT(PT_FEAT_TABLE_ACCESSED)
#define X86_64_TRACKED \
	(BIT(PT_FEAT_X86_64_START_CLEAN) | BIT(PT_FEAT_TABLE_ACCESSED))
#else
#define VTDSS_TRACKED	0
#define X86_64_TRACKED	0
#endif

static struct iommu_device dsim_iommu;
static struct platform_device *dsim_iommu_pdev;

static struct dsim_domain *to_dsim_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct dsim_domain, domain);
}

/* ---- Flushes ---- */

static void flush_range(struct dsim_domain *dom, u64 start, u64 last,
			bool tables)
{
	struct dsim_port *port;

	guard(spinlock)(&dom->lock);
	list_for_each_entry(port, &dom->ports, node) {
		guard(spinlock)(&port->lock);
		port->stats.flushed += dsim_tlb_flush(&port->tlb, start, last);
		if (tables)
			dsim_tlb_flush_tables(&port->tlb, start, last);
		port->stats.flushes++;
	}
}

static void dsim_flush_iotlb_all(struct iommu_domain *domain)
{
	flush_range(to_dsim_domain(domain), 0, U64_MAX, true);
}

static void dsim_iotlb_sync(struct iommu_domain *domain,
			    struct iommu_iotlb_gather *gather)
{
	bool tables = !iommu_pages_list_empty(&gather->freelist) ||
		      gather->pt.table_levels_bitmap;

	if (gather->start <= gather->end)
		flush_range(to_dsim_domain(domain), gather->start, gather->end,
			    tables);
	iommu_put_pages_list(&gather->freelist);
}

/* ---- Attachment ---- */

static void attach(struct dsim_port *port, struct dsim_domain *dom)
{
	struct dsim_domain *old = port->domain;

	if (old) {
		guard(spinlock)(&old->lock);
		list_del_init(&port->node);
	}

	/* From here on the device is blocked, its requests through @old done */
	scoped_guard(spinlock, &port->lock) {
		port->domain = NULL;
		dsim_tlb_flush(&port->tlb, 0, U64_MAX);
		dsim_tlb_flush_tables(&port->tlb, 0, U64_MAX);
	}

	if (dom) {
		guard(spinlock)(&dom->lock);
		list_add_tail(&port->node, &dom->ports);
		scoped_guard(spinlock, &port->lock)
			port->domain = dom;
	}
}

static int dsim_attach_dev(struct iommu_domain *domain, struct device *dev,
			   struct iommu_domain *old)
{
	struct dsim_port *port = dev_iommu_priv_get(dev);
	struct dsim_domain *dom = to_dsim_domain(domain);

	if (dom->format != port->options.format ||
	    (domain->dirty_ops && !port->options.ad))
		return -EINVAL;
	attach(port, dom);
	return 0;
}

/*
 * The device only ever does DMA for a vfio user, so identity is a domain that
 * nothing runs under: it is blocked too, and no bug of ours reaches memory.
 */
static int dsim_block_dev(struct iommu_domain *domain, struct device *dev,
			  struct iommu_domain *old)
{
	attach(dev_iommu_priv_get(dev), NULL);
	return 0;
}

static const struct iommu_domain_ops dsim_block_ops = {
	.attach_dev = dsim_block_dev,
};

static struct iommu_domain dsim_identity_domain = {
	.type = IOMMU_DOMAIN_IDENTITY,
	.ops = &dsim_block_ops,
};

static struct iommu_domain dsim_blocked_domain = {
	.type = IOMMU_DOMAIN_BLOCKED,
	.ops = &dsim_block_ops,
};

/* ---- Domains ---- */

static bool refuses_ad(struct dsim_domain *dom)
{
	struct dsim_port *port;

	guard(spinlock)(&dom->lock);
	list_for_each_entry(port, &dom->ports, node) {
		guard(spinlock)(&port->lock);
		if (port->ad_broken)
			return true;
	}
	return false;
}

static int dsim_set_dirty_tracking(struct iommu_domain *domain, bool enable)
{
	struct dsim_domain *dom = to_dsim_domain(domain);

	if (enable && refuses_ad(dom))
		return -EIO;
	if (dsim_formats[dom->format].always_ad)
		return 0;
	/* A context entry changes: every translation made under it must go */
	WRITE_ONCE(dom->root.ad, enable);
	flush_range(dom, 0, U64_MAX, true);
	return 0;
}

static void dsim_free(struct iommu_domain *domain)
{
	dsim_domain_free(to_dsim_domain(domain));
}

#define COMMON_DOMAIN_OPS						\
	.attach_dev = dsim_attach_dev,					\
	.flush_iotlb_all = dsim_flush_iotlb_all,			\
	.iotlb_sync = dsim_iotlb_sync,					\
	.free = dsim_free

#define DOMAIN_OPS(fmt)							\
static const struct iommu_domain_ops dsim_##fmt##_ops = {		\
	IOMMU_PT_DOMAIN_OPS(fmt),					\
	COMMON_DOMAIN_OPS,						\
};									\
static const struct iommu_dirty_ops dsim_##fmt##_dirty_ops = {		\
	IOMMU_PT_DIRTY_OPS(fmt),					\
	.set_dirty_tracking = dsim_set_dirty_tracking,			\
}

DOMAIN_OPS(vtdss);
DOMAIN_OPS(amdv1);
DOMAIN_OPS(x86_64);

static int vtdss_init(struct dsim_domain *dom, bool dirty)
{
	struct pt_iommu_vtdss_cfg cfg = {
		.common.hw_max_vasz_lg2 = 48,
		.common.hw_max_oasz_lg2 = 52,
		.common.features = BIT(PT_FEAT_FLUSH_RANGE) |
				   (dirty ? VTDSS_TRACKED : 0),
		.top_level = 3,
	};
	struct pt_iommu_vtdss_hw_info info;
	int rc;

	rc = pt_iommu_vtdss_init(&dom->vtdss, &cfg, GFP_KERNEL);
	if (rc)
		return rc;
	pt_iommu_vtdss_hw_info(&dom->vtdss, &info);
	dom->root.top = dsim_top(info.ssptptr, info.aw + 2);
	return 0;
}

/* AMD's tables start with three levels and grow by putting a new top above */
static spinlock_t *amdv1_get_top_lock(struct pt_iommu *iommu)
{
	return &container_of(iommu, struct dsim_domain, iommu)->lock;
}

static void amdv1_change_top(struct pt_iommu *iommu, phys_addr_t top_paddr,
			     unsigned int top_level)
{
	struct dsim_domain *dom = container_of(iommu, struct dsim_domain,
					       iommu);

	lockdep_assert_held(&dom->lock);
	/* The old top stays where it was, below: nothing cached is wrong */
	WRITE_ONCE(dom->root.top, dsim_top(top_paddr, top_level + 1));
}

static const struct pt_iommu_driver_ops amdv1_driver_ops = {
	.get_top_lock = amdv1_get_top_lock,
	.change_top = amdv1_change_top,
};

static int amdv1_init(struct dsim_domain *dom, bool dirty)
{
	struct pt_iommu_amdv1_cfg cfg = {
		.common.hw_max_vasz_lg2 = 48,
		.common.hw_max_oasz_lg2 = 52,
		/* The format is not built without the last three */
		.common.features = BIT(PT_FEAT_FLUSH_RANGE) |
				   BIT(PT_FEAT_DYNAMIC_TOP) |
				   BIT(PT_FEAT_AMDV1_ENCRYPT_TABLES) |
				   BIT(PT_FEAT_AMDV1_FORCE_COHERENCE),
		.starting_level = 2,
	};
	struct pt_iommu_amdv1_hw_info info;
	int rc;

	dom->iommu.driver_ops = &amdv1_driver_ops;
	rc = pt_iommu_amdv1_init(&dom->amdv1, &cfg, GFP_KERNEL);
	if (rc)
		return rc;
	pt_iommu_amdv1_hw_info(&dom->amdv1, &info);
	dom->root.top = dsim_top(info.host_pt_root, info.mode);
	return 0;
}

static int x86_64_init(struct dsim_domain *dom, bool dirty)
{
	struct pt_iommu_x86_64_cfg cfg = {
		.common.hw_max_vasz_lg2 = 48,
		.common.hw_max_oasz_lg2 = 52,
		.common.features = BIT(PT_FEAT_FLUSH_RANGE) |
				   BIT(PT_FEAT_SIGN_EXTEND) |
				   (dirty ? X86_64_TRACKED : 0),
		.top_level = 3,
	};
	struct pt_iommu_x86_64_hw_info info;
	int rc;

	rc = pt_iommu_x86_64_init(&dom->x86_64, &cfg, GFP_KERNEL);
	if (rc)
		return rc;
	pt_iommu_x86_64_hw_info(&dom->x86_64, &info);
	dom->root.top = dsim_top(info.gcr3_pt, info.levels);
	return 0;
}

/* ---- Arm's tables, of io-pgtable ---- */

static int armlpae_map_pages(struct iommu_domain *domain, unsigned long iova,
			     phys_addr_t paddr, size_t pgsize, size_t pgcount,
			     int prot, gfp_t gfp, size_t *mapped)
{
	struct io_pgtable_ops *ops = to_dsim_domain(domain)->armlpae;

	return ops->map_pages(ops, iova, paddr, pgsize, pgcount, prot, gfp,
			      mapped);
}

static size_t armlpae_unmap_pages(struct iommu_domain *domain,
				  unsigned long iova, size_t pgsize,
				  size_t pgcount,
				  struct iommu_iotlb_gather *gather)
{
	struct io_pgtable_ops *ops = to_dsim_domain(domain)->armlpae;

	return ops->unmap_pages(ops, iova, pgsize, pgcount, gather);
}

static phys_addr_t armlpae_iova_to_phys(struct iommu_domain *domain,
					dma_addr_t iova)
{
	struct io_pgtable_ops *ops = to_dsim_domain(domain)->armlpae;

	return ops->iova_to_phys(ops, iova);
}

static int armlpae_read_and_clear_dirty(struct iommu_domain *domain,
					unsigned long iova, size_t size,
					unsigned long flags,
					struct iommu_dirty_bitmap *dirty)
{
	struct io_pgtable_ops *ops = to_dsim_domain(domain)->armlpae;

	return ops->read_and_clear_dirty(ops, iova, size, flags, dirty);
}

static const struct iommu_domain_ops dsim_armlpae_ops = {
	.map_pages = armlpae_map_pages,
	.unmap_pages = armlpae_unmap_pages,
	.iova_to_phys = armlpae_iova_to_phys,
	COMMON_DOMAIN_OPS,
};

static const struct iommu_dirty_ops dsim_armlpae_dirty_ops = {
	.read_and_clear_dirty = armlpae_read_and_clear_dirty,
	.set_dirty_tracking = dsim_set_dirty_tracking,
};

static void armlpae_flush_all(void *cookie)
{
	flush_range(cookie, 0, U64_MAX, true);
}

/* A table went; it is freed as soon as no walk uses it any more */
static void armlpae_flush_walk(unsigned long iova, size_t size, size_t granule,
			       void *cookie)
{
	flush_range(cookie, iova, iova + size - 1, true);
}

static void armlpae_add_page(struct iommu_iotlb_gather *gather,
			     unsigned long iova, size_t granule, void *cookie)
{
	iommu_iotlb_gather_add_range(gather, iova, granule);
}

static const struct iommu_flush_ops armlpae_flush_ops = {
	.tlb_flush_all = armlpae_flush_all,
	.tlb_flush_walk = armlpae_flush_walk,
	.tlb_add_page = armlpae_add_page,
};

static int armlpae_init(struct dsim_domain *dom, bool dirty)
{
	struct io_pgtable_cfg cfg = {
		.quirks = dirty ? IO_PGTABLE_QUIRK_ARM_HD : 0,
		.pgsize_bitmap = SZ_4K | SZ_2M | SZ_1G,
		.ias = 48,
		.oas = 48,
		.coherent_walk = true,
		.tlb = &armlpae_flush_ops,
		.iommu_dev = &dsim_iommu_pdev->dev,
	};

	if (!IS_ENABLED(CONFIG_IOMMU_IO_PGTABLE_LPAE))
		return -EOPNOTSUPP;
	dom->armlpae = alloc_io_pgtable_ops(ARM_64_LPAE_S1, &cfg, dom);
	if (!dom->armlpae)
		return -ENOMEM;
	dom->domain.pgsize_bitmap = cfg.pgsize_bitmap;
	dom->domain.geometry = (struct iommu_domain_geometry){
		.aperture_end = GENMASK_ULL(47, 0),
		.force_aperture = true,
	};
	/* HA and HD are in the context descriptor, which goes with the table */
	dom->root.ad = dirty;
	dom->root.top = dsim_top(cfg.arm_lpae_s1_cfg.ttbr, 4);
	return 0;
}

/* ---- All formats ---- */

static const struct {
	const struct iommu_domain_ops *ops;
	const struct iommu_dirty_ops *dirty_ops;
	int (*init)(struct dsim_domain *dom, bool dirty);
} formats[DSIM_NR_FORMATS] = {
	[DSIM_VTDSS] = { &dsim_vtdss_ops, &dsim_vtdss_dirty_ops, vtdss_init },
	[DSIM_AMDV1] = { &dsim_amdv1_ops, &dsim_amdv1_dirty_ops, amdv1_init },
	[DSIM_X86_64] = { &dsim_x86_64_ops, &dsim_x86_64_dirty_ops, x86_64_init },
	[DSIM_ARMLPAE] = { &dsim_armlpae_ops, &dsim_armlpae_dirty_ops,
			   armlpae_init },
};

/**
 * dsim_iommu_format_built() - Does this kernel have page tables of a format?
 * @format: the format
 *
 * Return: false where only some architectures, and test builds, have it.
 */
bool dsim_iommu_format_built(enum dsim_format_id format)
{
	return format != DSIM_ARMLPAE ||
	       IS_ENABLED(CONFIG_IOMMU_IO_PGTABLE_LPAE);
}
EXPORT_SYMBOL_IF_KUNIT(dsim_iommu_format_built);

/**
 * dsim_domain_alloc() - Make an empty page table
 * @format: its format
 * @dirty: to track dirty pages
 * @page_sizes: bitmap of page sizes to use; 0 is every one
 *
 * Return: the domain, or an ERR_PTR.
 */
struct dsim_domain *dsim_domain_alloc(enum dsim_format_id format, bool dirty,
				      u64 page_sizes)
{
	struct dsim_domain *dom;
	int rc;

	dom = kzalloc_obj(*dom);
	if (!dom)
		return ERR_PTR(-ENOMEM);
	dom->domain.type = IOMMU_DOMAIN_UNMANAGED;
	dom->domain.ops = formats[format].ops;
	dom->iommu.nid = NUMA_NO_NODE;
	dom->format = format;
	dom->root.format = &dsim_formats[format];
	dom->root.ad = dsim_formats[format].always_ad;
	spin_lock_init(&dom->lock);
	INIT_LIST_HEAD(&dom->ports);
	rc = formats[format].init(dom, dirty);
	if (rc) {
		kfree(dom);
		return ERR_PTR(rc);
	}
	if (dirty)
		dom->domain.dirty_ops = formats[format].dirty_ops;
	if (page_sizes)
		dom->domain.pgsize_bitmap &= page_sizes;
	return dom;
}
EXPORT_SYMBOL_IF_KUNIT(dsim_domain_alloc);

/**
 * dsim_domain_free() - Free a page table and what it maps with
 * @dom: the domain, attached to nothing
 */
void dsim_domain_free(struct dsim_domain *dom)
{
	WARN_ON(!list_empty(&dom->ports));
	/* Each does nothing where the table is not of its kind */
	pt_iommu_deinit(&dom->iommu);
	if (IS_ENABLED(CONFIG_IOMMU_IO_PGTABLE_LPAE))
		free_io_pgtable_ops(dom->armlpae);
	kfree(dom);
}
EXPORT_SYMBOL_IF_KUNIT(dsim_domain_free);

static struct iommu_domain *
dsim_domain_alloc_paging_flags(struct device *dev, u32 flags,
			       const struct iommu_user_data *user_data)
{
	struct dsim_port *port = dev_iommu_priv_get(dev);
	bool dirty = flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	struct dsim_domain *dom;

	if ((flags & ~IOMMU_HWPT_ALLOC_DIRTY_TRACKING) || user_data)
		return ERR_PTR(-EOPNOTSUPP);
	if (dirty && !device_iommu_capable(dev, IOMMU_CAP_DIRTY_TRACKING))
		return ERR_PTR(-EOPNOTSUPP);

	dom = dsim_domain_alloc(port->options.format, dirty,
				port->options.page_sizes);
	if (IS_ERR(dom))
		return ERR_CAST(dom);
	return &dom->domain;
}

/**
 * dsim_iommu_format_has_dirty() - Can this kernel track dirty pages in a format?
 * @format: the format
 *
 * Upstream's x86-64 format has no dirty bits.  Asking it is the only way to
 * know, since this module also runs on kernels other than its own.  Nothing is
 * mapped, which some formats call an error of its own.
 *
 * Return: true when read_and_clear_dirty() works.
 */
bool dsim_iommu_format_has_dirty(enum dsim_format_id format)
{
	struct iommu_dirty_bitmap dirty = {};
	struct dsim_domain *dom;
	int rc;

	dom = dsim_domain_alloc(format, true, 0);
	if (IS_ERR(dom))
		return false;
	rc = formats[format].dirty_ops->read_and_clear_dirty(&dom->domain, 0,
							     SZ_4K,
							     IOMMU_DIRTY_NO_CLEAR,
							     &dirty);
	dsim_domain_free(dom);
	return rc != -EOPNOTSUPP;
}

/* ---- Devices ---- */

static bool format_has_dirty[DSIM_NR_FORMATS];

static bool dsim_capable(struct device *dev, enum iommu_cap cap)
{
	struct dsim_port *port = dev_iommu_priv_get(dev);

	switch (cap) {
	case IOMMU_CAP_CACHE_COHERENCY:
		return true;
	case IOMMU_CAP_DIRTY_TRACKING:
		return port->options.ad && format_has_dirty[port->options.format];
	default:
		return false;
	}
}

/**
 * dsim_port_init() - Make the port of a device
 * @port: zeroed
 * @dev: the device; its platform data is its struct dsim_options
 */
void dsim_port_init(struct dsim_port *port, struct device *dev)
{
	port->dev = dev;
	port->options = *(struct dsim_options *)dev_get_platdata(dev);
	spin_lock_init(&port->lock);
	INIT_LIST_HEAD(&port->node);
}

static struct iommu_device *dsim_probe_device(struct device *dev)
{
	struct dsim_port *port;
	int rc;

	if (dev->type != &dsim_device_type)
		return ERR_PTR(-ENODEV);

	port = kzalloc_obj(*port);
	if (!port)
		return ERR_PTR(-ENOMEM);
	dsim_port_init(port, dev);
	rc = dsim_tlb_init(&port->tlb, port->options.tlb_entries);
	if (rc) {
		kfree(port);
		return ERR_PTR(rc);
	}
	dev_iommu_priv_set(dev, port);
	return &dsim_iommu;
}

static void dsim_release_device(struct device *dev)
{
	struct dsim_port *port = dev_iommu_priv_get(dev);

	attach(port, NULL);
	dsim_tlb_destroy(&port->tlb);
	kfree(port);
}

static int dsim_def_domain_type(struct device *dev)
{
	return IOMMU_DOMAIN_IDENTITY;
}

static const struct iommu_ops dsim_iommu_ops = {
	.owner = THIS_MODULE,
	.identity_domain = &dsim_identity_domain,
	.blocked_domain = &dsim_blocked_domain,
	.release_domain = &dsim_blocked_domain,
	.capable = dsim_capable,
	.domain_alloc_paging_flags = dsim_domain_alloc_paging_flags,
	.def_domain_type = dsim_def_domain_type,
	.device_group = generic_device_group,
	.probe_device = dsim_probe_device,
	.release_device = dsim_release_device,
};

/**
 * dsim_iommu_add_device() - Add a device behind the simulated IOMMU
 * @dev: the device, initialized; its platform data is its struct dsim_options
 *
 * Return: 0, or what device_add() failed with.
 */
int dsim_iommu_add_device(struct device *dev)
{
#if HAVE_DEVICE_ADD
	return iommu_mock_device_add(dev, &dsim_iommu);
#else
	return device_add(dev);
#endif
}

/**
 * dsim_iommu_init() - Register the IOMMU
 *
 * Return: 0 or an errno.
 */
int dsim_iommu_init(void)
{
	unsigned int i;
	int rc;

	dsim_iommu_pdev = platform_device_register_simple("dsim-iommu",
							  PLATFORM_DEVID_NONE,
							  NULL, 0);
	if (IS_ERR(dsim_iommu_pdev))
		return PTR_ERR(dsim_iommu_pdev);

	for (i = 0; i != DSIM_NR_FORMATS; i++)
		format_has_dirty[i] = dsim_iommu_format_has_dirty(i);

	rc = iommu_device_sysfs_add(&dsim_iommu, &dsim_iommu_pdev->dev, NULL,
				    "%s", dev_name(&dsim_iommu_pdev->dev));
	if (rc)
		goto err_pdev;

	if (HAVE_DEVICE_ADD) {
		dsim_iommu.fwnode = fwnode_create_software_node(NULL, NULL);
		if (IS_ERR(dsim_iommu.fwnode)) {
			rc = PTR_ERR(dsim_iommu.fwnode);
			goto err_sysfs;
		}
	}

	rc = iommu_device_register(&dsim_iommu, &dsim_iommu_ops, NULL);
	if (rc)
		goto err_fwnode;
	return 0;

err_fwnode:
	fwnode_remove_software_node(dsim_iommu.fwnode);
err_sysfs:
	iommu_device_sysfs_remove(&dsim_iommu);
err_pdev:
	platform_device_unregister(dsim_iommu_pdev);
	return rc;
}

/**
 * dsim_iommu_exit() - Undo dsim_iommu_init(); no device is left
 */
void dsim_iommu_exit(void)
{
	iommu_device_unregister(&dsim_iommu);
	fwnode_remove_software_node(dsim_iommu.fwnode);
	iommu_device_sysfs_remove(&dsim_iommu);
	platform_device_unregister(dsim_iommu_pdev);
}
