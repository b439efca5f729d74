// SPDX-License-Identifier: GPL-2.0-only
/*
 * Simulated IOMMU and DMA-queue device: how devices are made
 *
 *	mkdir /sys/kernel/config/dirty_sim/NAME
 *	echo amdv1 > /sys/kernel/config/dirty_sim/NAME/format
 *	echo 1 > /sys/kernel/config/dirty_sim/NAME/live
 *
 * makes the platform device dsim.NAME, behind the simulated IOMMU and bound to
 * its vfio driver; or, with the option emulated, behind none, and for a mediated
 * device to hang off.  Options can be set until a device is live.
 */
#include <linux/cleanup.h>
#include <linux/configfs.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/platform_device.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/time64.h>

#include "dsim.h"

static char *format = "vtdss";
module_param(format, charp, 0444);
MODULE_PARM_DESC(format, "page table format of new devices: vtdss, amdv1, x86_64 or armlpae");

static unsigned int iotlb_entries = DSIM_TLB_ENTRIES_DEFAULT;
module_param(iotlb_entries, uint, 0444);
MODULE_PARM_DESC(iotlb_entries, "IOTLB entries of new devices, a power of two up to 65536");

static enum dsim_format_id default_format;

/**
 * struct dsim_item - a directory in configfs
 * @group: the directory
 * @lock: protects everything below
 * @options: how the device is to be
 * @fault_no_flush: fault injection, see dsim_tlb_flush()
 * @fault_ad: fault injection, see &dsim_port.ad_broken
 * @fault_tracker: fault injection, see dsim_tracker_break()
 * @fault_mute: fault injection, see dsim_tracker_mute()
 * @fault_slow: fault injection, see dsim_tracker_slow()
 * @pdev: the device while it is live
 */
struct dsim_item {
	struct config_group group;
	struct mutex lock;
	struct dsim_options options;
	bool fault_no_flush;
	bool fault_ad;
	bool fault_tracker;
	bool fault_mute;
	unsigned int fault_slow;
	struct platform_device *pdev;
};

static struct dsim_item *to_item(struct config_item *item)
{
	return container_of(to_config_group(item), struct dsim_item, group);
}

static int parse_format(const char *name)
{
	unsigned int i;

	for (i = 0; i != DSIM_NR_FORMATS; i++)
		if (sysfs_streq(name, dsim_formats[i].name))
			return dsim_iommu_format_built(i) ? i : -EOPNOTSUPP;
	return -EINVAL;
}

static bool entries_valid(unsigned int nr)
{
	return is_power_of_2(nr) && nr <= DSIM_TLB_ENTRIES_MAX;
}

/* ---- The device ---- */

static void apply_faults(struct dsim_item *di)
{
	struct dsim_port *port = dsim_port_of(&di->pdev->dev);

	scoped_guard(spinlock, &port->lock) {
		port->tlb.sticky_dirty = di->fault_no_flush;
		port->ad_broken = di->fault_ad;
	}
	dsim_tracker_break(port, di->fault_tracker);
	dsim_tracker_mute(port, di->fault_mute);
	dsim_tracker_slow(port, di->fault_slow);
}

static int go_live(struct dsim_item *di)
{
	bool emulated = di->options.emulated;
	struct platform_device *pdev;
	int rc;

	/* The kernel knows what such a device writes, it tells nobody */
	if (emulated && di->options.tracker != DSIM_TRACKER_NONE)
		return -EINVAL;
	pdev = platform_device_alloc(emulated ? "dsim-emulated" : "dsim",
				     PLATFORM_DEVID_NONE);
	if (!pdev)
		return -ENOMEM;
	rc = platform_device_add_data(pdev, &di->options, sizeof(di->options));
	if (rc)
		goto err_put;

	/*
	 * What platform_device_add() would do, but for adding: an IOMMU must be
	 * named for the device first.
	 */
	pdev->dev.parent = &platform_bus;
	pdev->dev.bus = &platform_bus_type;
	pdev->dev.type = emulated ? &dsim_parent_type : &dsim_device_type;
	rc = dev_set_name(&pdev->dev, "dsim.%s",
			  config_item_name(&di->group.cg_item));
	if (rc)
		goto err_put;
	rc = emulated ? device_add(&pdev->dev) :
			dsim_iommu_add_device(&pdev->dev);
	if (rc)
		goto err_put;

	/* Neither the IOMMU core nor the driver core report a failed probe */
	if (!dsim_port_of(&pdev->dev) || !platform_get_drvdata(pdev)) {
		platform_device_unregister(pdev);
		return -ENODEV;
	}
	di->pdev = pdev;
	apply_faults(di);
	return 0;

err_put:
	platform_device_put(pdev);
	return rc;
}

/* Waits for the user of the device to close it, and asks for that */
static void go_away(struct dsim_item *di)
{
	platform_device_unregister(di->pdev);
	di->pdev = NULL;
}

/* ---- Attributes ---- */

static ssize_t dsim_live_show(struct config_item *item, char *page)
{
	struct dsim_item *di = to_item(item);

	guard(mutex)(&di->lock);
	return sysfs_emit(page, "%d\n", !!di->pdev);
}

static ssize_t dsim_live_store(struct config_item *item, const char *page,
			       size_t count)
{
	struct dsim_item *di = to_item(item);
	bool live;
	int rc;

	rc = kstrtobool(page, &live);
	if (rc)
		return rc;
	guard(mutex)(&di->lock);
	if (live && !di->pdev) {
		rc = go_live(di);
		if (rc)
			return rc;
	} else if (!live && di->pdev) {
		go_away(di);
	}
	return count;
}
CONFIGFS_ATTR(dsim_, live);

static ssize_t dsim_format_show(struct config_item *item, char *page)
{
	struct dsim_item *di = to_item(item);

	return sysfs_emit(page, "%s\n", dsim_formats[di->options.format].name);
}

static ssize_t dsim_format_store(struct config_item *item, const char *page,
				 size_t count)
{
	struct dsim_item *di = to_item(item);
	int id = parse_format(page);

	if (id < 0)
		return id;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	di->options.format = id;
	return count;
}
CONFIGFS_ATTR(dsim_, format);

static ssize_t dsim_page_sizes_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "0x%llx\n", to_item(item)->options.page_sizes);
}

static ssize_t dsim_page_sizes_store(struct config_item *item,
				     const char *page, size_t count)
{
	struct dsim_item *di = to_item(item);
	u64 sizes;
	int rc;

	rc = kstrtou64(page, 0, &sizes);
	if (rc)
		return rc;
	/* iommufd wants the CPU's page size, every format here has it */
	if (sizes && (!(sizes & PAGE_SIZE) || sizes & (PAGE_SIZE - 1)))
		return -EINVAL;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	di->options.page_sizes = sizes;
	return count;
}
CONFIGFS_ATTR(dsim_, page_sizes);

static ssize_t dsim_iotlb_entries_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n", to_item(item)->options.tlb_entries);
}

static ssize_t dsim_iotlb_entries_store(struct config_item *item,
					const char *page, size_t count)
{
	struct dsim_item *di = to_item(item);
	unsigned int nr;
	int rc;

	rc = kstrtouint(page, 0, &nr);
	if (rc)
		return rc;
	if (!entries_valid(nr))
		return -EINVAL;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	di->options.tlb_entries = nr;
	return count;
}
CONFIGFS_ATTR(dsim_, iotlb_entries);

static ssize_t store_flag(struct dsim_item *di, const char *page, size_t count,
			  bool *flag)
{
	bool value;
	int rc;

	rc = kstrtobool(page, &value);
	if (rc)
		return rc;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	*flag = value;
	return count;
}

/* An attribute that is on or off: where it is in @di, and how it is set */
#define DSIM_FLAG(_name, _flag, _set)					\
static ssize_t dsim_##_name##_show(struct config_item *item, char *page) \
{									\
	struct dsim_item *di = to_item(item);				\
									\
	return sysfs_emit(page, "%d\n", *(_flag));			\
}									\
static ssize_t dsim_##_name##_store(struct config_item *item,		\
				    const char *page, size_t count)	\
{									\
	struct dsim_item *di = to_item(item);				\
									\
	return _set(di, page, count, _flag);				\
}									\
CONFIGFS_ATTR(dsim_, _name)

DSIM_FLAG(ad, &di->options.ad, store_flag);
DSIM_FLAG(emulated, &di->options.emulated, store_flag);

static ssize_t dsim_pins_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n", to_item(item)->options.pins);
}

static ssize_t dsim_pins_store(struct config_item *item, const char *page,
			       size_t count)
{
	struct dsim_item *di = to_item(item);
	unsigned int pins;
	int rc;

	rc = kstrtouint(page, 0, &pins);
	if (rc)
		return rc;
	if (pins > DSIM_PINS_MAX)
		return -EINVAL;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	di->options.pins = pins;
	return count;
}
CONFIGFS_ATTR(dsim_, pins);

DSIM_FLAG(p2p, &di->options.p2p, store_flag);
DSIM_FLAG(precopy, &di->options.precopy, store_flag);
DSIM_FLAG(revoke_mmio, &di->options.revoke_mmio, store_flag);
DSIM_FLAG(trap, &di->options.trap, store_flag);
DSIM_FLAG(no_quiesce, &di->options.no_quiesce, store_flag);

static ssize_t dsim_memory_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n",
			  to_item(item)->options.mem_pages * DSIM_MEM_PAGE);
}

static ssize_t dsim_memory_store(struct config_item *item, const char *page,
				 size_t count)
{
	struct dsim_item *di = to_item(item);
	unsigned int size;
	int rc;

	rc = kstrtouint(page, 0, &size);
	if (rc)
		return rc;
	if (size % DSIM_MEM_PAGE || size / DSIM_MEM_PAGE > DSIM_MEM_PAGES_MAX)
		return -EINVAL;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	di->options.mem_pages = size / DSIM_MEM_PAGE;
	return count;
}
CONFIGFS_ATTR(dsim_, memory);

static const char *const tracker_names[] = {
	[DSIM_TRACKER_NONE] = "none",
	[DSIM_TRACKER_PULL] = "pull",
	[DSIM_TRACKER_PUSH] = "push",
};

static ssize_t dsim_tracker_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%s\n",
			  tracker_names[to_item(item)->options.tracker]);
}

static ssize_t dsim_tracker_store(struct config_item *item, const char *page,
				  size_t count)
{
	struct dsim_item *di = to_item(item);
	int kind = sysfs_match_string(tracker_names, page);

	if (kind < 0)
		return kind;
	if (kind == DSIM_TRACKER_PUSH && !DSIM_CAN_PUSH)
		return -EOPNOTSUPP;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	di->options.tracker = kind;
	return count;
}
CONFIGFS_ATTR(dsim_, tracker);

static ssize_t dsim_granule_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "0x%llx\n", to_item(item)->options.granule);
}

static ssize_t dsim_granule_store(struct config_item *item, const char *page,
				  size_t count)
{
	struct dsim_item *di = to_item(item);
	u64 granule;
	int rc;

	rc = kstrtou64(page, 0, &granule);
	if (rc)
		return rc;
	if (!is_power_of_2(granule) || granule < PAGE_SIZE || granule > SZ_1G)
		return -EINVAL;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	di->options.granule = granule;
	return count;
}
CONFIGFS_ATTR(dsim_, granule);

static ssize_t dsim_ranges_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n", to_item(item)->options.ranges);
}

static ssize_t dsim_ranges_store(struct config_item *item, const char *page,
				 size_t count)
{
	struct dsim_item *di = to_item(item);
	unsigned int ranges;
	int rc;

	rc = kstrtouint(page, 0, &ranges);
	if (rc)
		return rc;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	di->options.ranges = ranges;
	return count;
}
CONFIGFS_ATTR(dsim_, ranges);

static ssize_t dsim_rating_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%d\n", to_item(item)->options.rating);
}

static ssize_t dsim_rating_store(struct config_item *item, const char *page,
				 size_t count)
{
	struct dsim_item *di = to_item(item);
	int rating;
	int rc;

	rc = kstrtoint(page, 0, &rating);
	if (rc)
		return rc;
	guard(mutex)(&di->lock);
	if (di->pdev)
		return -EBUSY;
	di->options.rating = rating;
	return count;
}
CONFIGFS_ATTR(dsim_, rating);

static ssize_t store_fault(struct dsim_item *di, const char *page, size_t count,
			   bool *fault)
{
	bool value;
	int rc;

	rc = kstrtobool(page, &value);
	if (rc)
		return rc;
	guard(mutex)(&di->lock);
	*fault = value;
	if (di->pdev)
		apply_faults(di);
	return count;
}

DSIM_FLAG(fault_tracker, &di->fault_tracker, store_fault);
DSIM_FLAG(fault_mute, &di->fault_mute, store_fault);
DSIM_FLAG(fault_no_flush, &di->fault_no_flush, store_fault);
DSIM_FLAG(fault_ad, &di->fault_ad, store_fault);

static ssize_t dsim_fault_slow_show(struct config_item *item, char *page)
{
	return sysfs_emit(page, "%u\n", to_item(item)->fault_slow);
}

static ssize_t dsim_fault_slow_store(struct config_item *item,
				     const char *page, size_t count)
{
	struct dsim_item *di = to_item(item);
	unsigned int us;
	int rc;

	rc = kstrtouint(page, 0, &us);
	if (rc)
		return rc;
	if (us > USEC_PER_SEC)
		return -EINVAL;
	guard(mutex)(&di->lock);
	di->fault_slow = us;
	if (di->pdev)
		apply_faults(di);
	return count;
}
CONFIGFS_ATTR(dsim_, fault_slow);

static ssize_t dsim_reset_store(struct config_item *item, const char *page,
				size_t count)
{
	struct dsim_item *di = to_item(item);
	bool value;
	int rc;

	rc = kstrtobool(page, &value);
	if (rc)
		return rc;
	guard(mutex)(&di->lock);
	if (value && di->pdev)
		rc = dsim_bus_reset(di->pdev);
	return rc ?: count;
}
CONFIGFS_ATTR_WO(dsim_, reset);

static ssize_t dsim_stats_show(struct config_item *item, char *page)
{
	struct dsim_item *di = to_item(item);
	struct dsim_stats stats = {};
	struct dsim_port *port;

	guard(mutex)(&di->lock);
	if (di->pdev) {
		port = dsim_port_of(&di->pdev->dev);
		scoped_guard(spinlock, &port->lock)
			stats = port->stats;
	}
	return sysfs_emit(page,
			  "walks %llu\nhits %llu\na_set %llu\nd_set %llu\n"
			  "faults %llu\nflushes %llu\nflushed %llu\ndescs %llu\n"
			  "bytes_read %llu\nbytes_written %llu\n",
			  stats.walks, stats.hits, stats.a_set, stats.d_set,
			  stats.faults, stats.flushes, stats.flushed,
			  stats.descs, stats.bytes_read, stats.bytes_written);
}
CONFIGFS_ATTR_RO(dsim_, stats);

static struct configfs_attribute *dsim_item_attrs[] = {
	&dsim_attr_live,
	&dsim_attr_format,
	&dsim_attr_page_sizes,
	&dsim_attr_iotlb_entries,
	&dsim_attr_ad,
	&dsim_attr_emulated,
	&dsim_attr_pins,
	&dsim_attr_p2p,
	&dsim_attr_precopy,
	&dsim_attr_revoke_mmio,
	&dsim_attr_trap,
	&dsim_attr_no_quiesce,
	&dsim_attr_memory,
	&dsim_attr_tracker,
	&dsim_attr_granule,
	&dsim_attr_ranges,
	&dsim_attr_rating,
	&dsim_attr_fault_tracker,
	&dsim_attr_fault_mute,
	&dsim_attr_fault_no_flush,
	&dsim_attr_fault_ad,
	&dsim_attr_fault_slow,
	&dsim_attr_reset,
	&dsim_attr_stats,
	NULL,
};

/* ---- Directories ---- */

static void dsim_item_release(struct config_item *item)
{
	struct dsim_item *di = to_item(item);

	if (di->pdev)
		go_away(di);
	kfree(di);
}

static struct configfs_item_operations dsim_item_ops = {
	.release = dsim_item_release,
};

static const struct config_item_type dsim_item_type = {
	.ct_owner = THIS_MODULE,
	.ct_item_ops = &dsim_item_ops,
	.ct_attrs = dsim_item_attrs,
};

static struct config_group *dsim_make_group(struct config_group *group,
					    const char *name)
{
	struct dsim_item *di;

	di = kzalloc_obj(*di);
	if (!di)
		return ERR_PTR(-ENOMEM);
	mutex_init(&di->lock);
	di->options.format = default_format;
	di->options.tlb_entries = iotlb_entries;
	di->options.ad = true;
	di->options.p2p = true;
	di->options.granule = PAGE_SIZE;
	config_group_init_type_name(&di->group, name, &dsim_item_type);
	return &di->group;
}

static struct configfs_group_operations dsim_group_ops = {
	.make_group = dsim_make_group,
};

static const struct config_item_type dsim_subsys_type = {
	.ct_owner = THIS_MODULE,
	.ct_group_ops = &dsim_group_ops,
};

static struct configfs_subsystem dsim_subsys = {
	.su_group = {
		.cg_item = {
			.ci_namebuf = "dirty_sim",
			.ci_type = &dsim_subsys_type,
		},
	},
};

static int check_parameters(void)
{
	int id = parse_format(format);

	if (id < 0) {
		pr_err("format=%s: must be vtdss, amdv1, x86_64 or, where the kernel has it, armlpae\n",
		       format);
		return id;
	}
	default_format = id;
	if (!entries_valid(iotlb_entries)) {
		pr_err("iotlb_entries=%u: must be a power of two from 1 to %u\n",
		       iotlb_entries, DSIM_TLB_ENTRIES_MAX);
		return -EINVAL;
	}
	return 0;
}

static int __init dsim_module_init(void)
{
	int rc;

	rc = check_parameters();
	if (rc)
		return rc;
	rc = dsim_iommu_init();
	if (rc)
		return rc;
	rc = platform_driver_register(&dsim_platform_driver);
	if (rc)
		goto err_iommu;
	rc = dsim_emulated_register();
	if (rc)
		goto err_driver;
	config_group_init(&dsim_subsys.su_group);
	mutex_init(&dsim_subsys.su_mutex);
	rc = configfs_register_subsystem(&dsim_subsys);
	if (rc)
		goto err_emulated;
	return 0;

err_emulated:
	dsim_emulated_unregister();
err_driver:
	platform_driver_unregister(&dsim_platform_driver);
err_iommu:
	dsim_iommu_exit();
	return rc;
}

static void __exit dsim_module_exit(void)
{
	configfs_unregister_subsystem(&dsim_subsys);
	dsim_emulated_unregister();
	platform_driver_unregister(&dsim_platform_driver);
	dsim_iommu_exit();
}

module_init(dsim_module_init);
module_exit(dsim_module_exit);

MODULE_DESCRIPTION("Simulated IOMMU and DMA-queue device for dirty tracking");
MODULE_LICENSE("GPL");
MODULE_IMPORT_NS("GENERIC_PT_IOMMU");
MODULE_IMPORT_NS("IOMMUFD");
