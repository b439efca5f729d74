// SPDX-License-Identifier: GPL-2.0-only
/*
 * Coverage: which provider stands for which device, how well, and why not better;
 * and policy, which says what is allowed to
 */
#include <kunit/visibility.h>
#include <linux/iommu.h>
#include <linux/iommufd_dirty.h>
#include <linux/moduleparam.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <trace/events/iommufd_dirty.h>

#include "../io_pagetable.h"
#include "dirty.h"

/* ---- Policy of the host ---- */

#define CHOICES	(BIT(IOMMU_DIRTY_PROVIDER_IOMMU) | \
		 BIT(IOMMU_DIRTY_PROVIDER_DEVICE) | \
		 BIT(IOMMU_DIRTY_PROVIDER_ALL))

/* A client that finds a device untracked can refuse to migrate, so let it */
static u32 host_allowed = BIT(IOMMU_DIRTY_PROVIDER_IOMMU) |
			  BIT(IOMMU_DIRTY_PROVIDER_DEVICE);

static const char *const names[IOMMU_DIRTY_PROVIDERS] = {
	[IOMMU_DIRTY_PROVIDER_NONE] = "none",
	[IOMMU_DIRTY_PROVIDER_IOMMU] = "iommu",
	[IOMMU_DIRTY_PROVIDER_DEVICE] = "device",
	[IOMMU_DIRTY_PROVIDER_ACCESS] = "access",
	[IOMMU_DIRTY_PROVIDER_ALL] = "all",
};

static int host_allowed_set(const char *val, const struct kernel_param *kp)
{
	char *copy __free(kfree) = kstrdup(val, GFP_KERNEL);
	char *rest, *name;
	u32 allowed = 0;
	int type;

	if (!copy)
		return -ENOMEM;
	rest = strim(copy);
	while ((name = strsep(&rest, ","))) {
		type = match_string(names, ARRAY_SIZE(names), name);
		if (type < 0 || !(BIT(type) & CHOICES))
			return -EINVAL;
		allowed |= BIT(type);
	}
	WRITE_ONCE(host_allowed, allowed);
	iommufd_dirty_update_all();
	return 0;
}

static int host_allowed_get(char *buffer, const struct kernel_param *kp)
{
	u32 allowed = READ_ONCE(host_allowed);
	int type, len = 0;

	for (type = 0; type != IOMMU_DIRTY_PROVIDERS; type++)
		if (allowed & BIT(type))
			len += sysfs_emit_at(buffer, len, "%s%s",
					     len ? "," : "", names[type]);
	return len + sysfs_emit_at(buffer, len, "\n");
}

static const struct kernel_param_ops host_allowed_ops = {
	.set = host_allowed_set,
	.get = host_allowed_get,
};

module_param_cb(dirty_providers, &host_allowed_ops, NULL, 0644);
MODULE_PARM_DESC(dirty_providers,
		 "Who may tell which pages a device wrote, unless user space says otherwise: of iommu, device, all, separated by commas (default: iommu,device)");

/* @tracker and @idev may be NULL, if not known yet */
static u32 allowed_for(const struct iommufd_dirty_tracker *tracker,
		       const struct iommufd_device *idev)
{
	u32 allowed = 0;

	if (idev)
		allowed = READ_ONCE(idev->dirty_allowed);
	if (!allowed && tracker)
		allowed = READ_ONCE(tracker->allowed);
	return allowed ?: READ_ONCE(host_allowed);
}

/* ---- Choice ---- */

/* Whether @a tells more than @b */
static bool better(const struct iommufd_dirty_provider *a,
		   const struct iommufd_dirty_provider *b)
{
	if (!b || a->exact != b->exact)
		return !b || a->exact;
	if (a->granule_max != b->granule_max)
		return a->granule_max - 1 < b->granule_max - 1; /* 0 is the worst */
	return a->rating > b->rating;
}

static struct iommufd_dirty_provider *
best_of(const struct iommufd_dirty_tracker *tracker,
	const struct iommufd_dirty_attachment *at)
{
	u32 allowed = allowed_for(tracker, at->idev);
	struct iommufd_dirty_provider *found = NULL;
	int type;

	for (type = 0; type != IOMMU_DIRTY_PROVIDERS; type++)
		if (at->can[type] && (allowed & BIT(type)) &&
		    !at->can[type]->failed && better(at->can[type], found))
			found = at->can[type];
	return found;
}

/**
 * iommufd_dirty_is_read() - Whether anybody reads what a device writes
 * @tracker: of the IOAS; its lock is held
 * @at: the device's attachment
 *
 * Return: true when there is a reader that has to know.
 */
bool iommufd_dirty_is_read(const struct iommufd_dirty_tracker *tracker,
			   const struct iommufd_dirty_attachment *at)
{
	struct iommufd_dirty_reader *reader;

	list_for_each_entry(reader, &tracker->readers, node) {
		/* Who reads of no HWPT in particular reads of all */
		bool reads = !reader->hwpt || reader->hwpt == at->hwpt;

		if (reader->logs ? reader->idev == at->idev : reads)
			return true;
	}
	return false;
}

static bool has_device(const struct iommufd_dirty_tracker *tracker,
		       const struct iommufd_hwpt_paging *hwpt)
{
	struct iommufd_dirty_attachment *at;

	list_for_each_entry(at, &tracker->attached, node)
		if (at->hwpt == hwpt)
			return true;
	return false;
}

/**
 * iommufd_dirty_choose() - Find a provider for each device
 * @tracker: of the IOAS; its lock is held
 *
 * Says in &iommufd_dirty_attachment.next which one, and in
 * &iommufd_dirty_provider.wanted whether any device needs it.  What stands for
 * all devices of an HWPT is wanted too while there are none.  A device that stands
 * still has one only if that is exact.
 *
 * Return: 0, or -EOPNOTSUPP when there is none for a device of an HWPT that is
 * being read.
 */
int iommufd_dirty_choose(struct iommufd_dirty_tracker *tracker)
{
	struct iommufd_dirty_provider *provider;
	struct iommufd_dirty_attachment *at;
	int rc = 0;

	lockdep_assert_held(&tracker->lock);
	list_for_each_entry(provider, &tracker->providers, node)
		provider->wanted = provider == &tracker->access ||
				   (provider->hwpt &&
				    provider == &provider->hwpt->dirty.iommu &&
				    !has_device(tracker, provider->hwpt));
	list_for_each_entry(at, &tracker->attached, node) {
		at->still = READ_ONCE(at->idev->dirty_still.still) &&
			    iommufd_dirty_is_still(at->idev);
		at->next = best_of(tracker, at);
		if (at->still && at->next && !at->next->exact)
			at->next = NULL;
		if (at->next)
			at->next->wanted = true;
		else if (!at->still && iommufd_dirty_is_read(tracker, at))
			rc = -EOPNOTSUPP;
	}
	return rc;
}

static enum iommu_dirty_provider
type_of(const struct iommufd_dirty_provider *provider)
{
	return provider ? provider->ops->type : IOMMU_DIRTY_PROVIDER_NONE;
}

/* Why @type does not stand for @idev, which is attached as @at says, or not */
static enum iommu_dirty_reason reason(struct iommufd_device *idev,
				      const struct iommufd_dirty_attachment *at,
				      bool still, u32 allowed, int type)
{
	bool supported;

	supported = type == IOMMU_DIRTY_PROVIDER_ALL ||
		    (type == IOMMU_DIRTY_PROVIDER_DEVICE &&
		     idev->dirty_device.ops) ||
		    (type == IOMMU_DIRTY_PROVIDER_IOMMU &&
		     device_iommu_capable(idev->dev, IOMMU_CAP_DIRTY_TRACKING));
	if (at && at->can[type]) {
		if (at->does == at->can[type])
			return IOMMU_DIRTY_REASON_USED;
		supported = true;
	}
	if (!supported)
		return IOMMU_DIRTY_REASON_NO_SUPPORT;
	if (!(allowed & BIT(type)))
		return IOMMU_DIRTY_REASON_POLICY;
	if (!at)
		return IOMMU_DIRTY_REASON_DETACHED;
	if (!at->can[type])
		return IOMMU_DIRTY_REASON_NO_HWPT;
	if (at->can[type]->failed)
		return IOMMU_DIRTY_REASON_FAILED;
	if (still && !at->does)
		return IOMMU_DIRTY_REASON_STILL;
	return IOMMU_DIRTY_REASON_READY;
}

static void trace_chosen(struct io_pagetable *iopt,
			 const struct iommufd_dirty_attachment *at,
			 enum iommu_dirty_provider from)
{
	struct iommufd_ioas *ioas = container_of(iopt, struct iommufd_ioas,
						 iopt);
	u32 allowed = allowed_for(&iopt->dirty, at->idev);
	u8 why[IOMMU_DIRTY_PROVIDERS];
	int type;

	for (type = 0; type != IOMMU_DIRTY_PROVIDERS; type++)
		why[type] = reason(at->idev, at, at->still, allowed, type);
	trace_iommufd_dirty_provider(ioas->obj.id, at->hwpt->common.obj.id,
				     at->idev->obj.id, at->pasid, from,
				     type_of(at->does), why);
}

/**
 * iommufd_dirty_chosen() - The providers that were found do run
 * @iopt: the IOAS; its tracker's lock is held
 */
void iommufd_dirty_chosen(struct io_pagetable *iopt)
{
	struct iommufd_dirty_attachment *at;
	enum iommu_dirty_provider from;

	lockdep_assert_held(&iopt->dirty.lock);
	list_for_each_entry(at, &iopt->dirty.attached, node) {
		/* What it wrote before somebody stood for it */
		if (at->next && iommufd_dirty_is_woken(&iopt->dirty, at))
			iommufd_dirty_report_unknown(iopt, at, 0, ULONG_MAX);
		at->idle = !at->next && at->still;
		if (at->does == at->next)
			continue;
		from = type_of(at->does);
		at->does = at->next;
		if (trace_iommufd_dirty_provider_enabled())
			trace_chosen(iopt, at, from);
	}
}

/* ---- Devices ---- */

/**
 * iommufd_dirty_capable() - Whether what a device writes can be known
 * @idev: the device, attached or not
 *
 * What its IOAS allows is not asked, since it may have none yet.
 *
 * Return: true when a provider could stand for it that policy allows.
 */
bool iommufd_dirty_capable(struct iommufd_device *idev)
{
	u32 allowed = allowed_for(NULL, idev);

	return (allowed & BIT(IOMMU_DIRTY_PROVIDER_ALL)) ||
	       ((allowed & BIT(IOMMU_DIRTY_PROVIDER_DEVICE)) &&
		idev->dirty_device.ops) ||
	       ((allowed & BIT(IOMMU_DIRTY_PROVIDER_IOMMU)) &&
		device_iommu_capable(idev->dev, IOMMU_CAP_DIRTY_TRACKING));
}

/**
 * iommufd_dirty_hwpt_alloc_flags() - An HWPT is about to get its domain
 * @hwpt: the HWPT
 * @idev: the device that it is for
 * @flags: what user space asks for.  IOMMU_HWPT_ALLOC_DIRTY_TRACKING is taken
 *	   away where the IOMMU's driver has nothing to do with it.
 *
 * Return: 0, or -EOPNOTSUPP when dirty tracking is asked for and there is no way.
 */
int iommufd_dirty_hwpt_alloc_flags(struct iommufd_hwpt_paging *hwpt,
				   struct iommufd_device *idev, u32 *flags)
{
	u32 allowed = allowed_for(&hwpt->ioas->iopt.dirty, idev);
	u32 can = BIT(IOMMU_DIRTY_PROVIDER_ALL);

	hwpt->dirty.asked = *flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	if (!hwpt->dirty.asked)
		return 0;
	if (idev->dirty_device.ops)
		can |= BIT(IOMMU_DIRTY_PROVIDER_DEVICE);
	if (device_iommu_capable(idev->dev, IOMMU_CAP_DIRTY_TRACKING))
		can |= BIT(IOMMU_DIRTY_PROVIDER_IOMMU);
	else
		*flags &= ~IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
	return allowed & can ? 0 : -EOPNOTSUPP;
}

static bool is_nested(const struct iommufd_hw_pagetable *hwpt)
{
	return hwpt->obj.type == IOMMUFD_OBJ_HWPT_NESTED;
}

/**
 * iommufd_dirty_same_way() - Whether what a device writes is known alike
 * @a: where it is attached
 * @b: where it is to be
 *
 * Return: true when both translate to the same IOAS by the same table, and by that
 * alone or with one of the guest's before it.
 */
bool iommufd_dirty_same_way(struct iommufd_hw_pagetable *a,
			    struct iommufd_hw_pagetable *b)
{
	return find_hwpt_paging(a) == find_hwpt_paging(b) &&
	       is_nested(a) == is_nested(b);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_same_way);

static struct iommufd_dirty_attachment *
find_attach(struct iommufd_hw_pagetable *hwpt, struct iommufd_device *idev,
	    ioasid_t pasid)
{
	struct iommufd_dirty_attachment *at;

	hlist_for_each_entry(at, &idev->dirty_attached, idev_node)
		if (at->hwpt == find_hwpt_paging(hwpt) &&
		    at->nested == is_nested(hwpt) && at->pasid == pasid)
			return at;
	return NULL;
}

static int attach_locked(struct io_pagetable *iopt,
			 struct iommufd_dirty_attachment *at)
{
	int rc;

	list_add_tail(&at->node, &iopt->dirty.attached);
	rc = iommufd_dirty_update(iopt);
	if (!rc && (best_of(&iopt->dirty, at) || !at->hwpt->dirty.asked))
		return 0;
	list_del(&at->node);
	iommufd_dirty_update(iopt);
	/* As IOMMU drivers say that domain and device do not fit together */
	return rc == -ENOMEM ? rc : -EINVAL;
}

/**
 * iommufd_dirty_attach() - A device is about to be able to write to an IOAS
 * @hwpt: where it is being attached
 * @idev: the device
 * @pasid: with this PASID
 *
 * The device's own tracker knows addresses as the device has them.  Where the guest
 * translates these first it is of no use.
 *
 * Context: process; the lock of the device's group is held.
 *
 * Return: 0; -EINVAL when nothing can stand for the device and the HWPT was
 * allocated for dirty tracking; -ENOMEM.
 */
int iommufd_dirty_attach(struct iommufd_hw_pagetable *hwpt,
			 struct iommufd_device *idev, ioasid_t pasid)
{
	struct iommufd_hwpt_paging *paging = find_hwpt_paging(hwpt);
	struct iommufd_dirty_attachment *at;
	struct io_pagetable *iopt;
	int rc = 0;

	if (!paging)
		return 0;
	at = kzalloc_obj(*at, GFP_KERNEL_ACCOUNT);
	if (!at)
		return -ENOMEM;
	at->hwpt = paging;
	at->nested = is_nested(hwpt);
	at->idev = idev;
	at->pasid = pasid;
	if (paging->dirty.sink)
		at->can[IOMMU_DIRTY_PROVIDER_IOMMU] = &paging->dirty.iommu;
	at->can[IOMMU_DIRTY_PROVIDER_ALL] = &paging->dirty.all;
	if (!at->nested)
		rc = iommufd_dirty_device_attach(at);
	if (rc)
		goto err_free;

	iopt = &paging->ioas->iopt;
	/* An operator wants to know before a migration begins */
	iommufd_dirty_stats_add(iopt);
	iommufd_dirty_lock(iopt);
	rc = attach_locked(iopt, at);
	iommufd_dirty_unlock(iopt);
	if (rc)
		goto err_detach;
	hlist_add_head(&at->idev_node, &idev->dirty_attached);
	return 0;

err_detach:
	iommufd_dirty_device_detach(at);
err_free:
	kfree(at);
	return rc;
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_attach);

/**
 * iommufd_dirty_detach() - A device can no longer write to an IOAS
 * @hwpt: as for iommufd_dirty_attach()
 * @idev: likewise
 * @pasid: likewise
 *
 * Context: process; the lock of the device's group is held.
 */
void iommufd_dirty_detach(struct iommufd_hw_pagetable *hwpt,
			  struct iommufd_device *idev, ioasid_t pasid)
{
	struct iommufd_hwpt_paging *paging = find_hwpt_paging(hwpt);
	struct iommufd_dirty_attachment *at;
	struct io_pagetable *iopt;

	if (!paging)
		return;
	at = find_attach(hwpt, idev, pasid);
	if (WARN_ON(!at))
		return;
	iopt = &paging->ioas->iopt;
	hlist_del(&at->idev_node);
	iommufd_dirty_lock(iopt);
	iommufd_dirty_report_woken(iopt, 0, ULONG_MAX);
	list_del(&at->node);
	/* What stood for no other is stopped, and collected */
	iommufd_dirty_update(iopt);
	iommufd_dirty_unlock(iopt);
	iommufd_dirty_device_detach(at);
	kfree(at);
	iommufd_dirty_device_left(idev, iopt);
}
EXPORT_SYMBOL_IF_KUNIT(iommufd_dirty_detach);

/**
 * iommufd_dirty_can_log() - Whether DMA logging of a device tells the truth
 * @idev: the device
 *
 * What is attached to an HWPT that was allocated for dirty tracking is asked there,
 * but for a device with a tracker of its own, which has always had DMA logging.
 *
 * Context: process.
 *
 * Return: true when it logs; when it is known what the device writes where it is
 * attached; or, as long as it is not, when it could be.
 */
bool iommufd_dirty_can_log(struct iommufd_device *idev)
{
	struct iommufd_dirty_attachment *at;

	guard(mutex)(&idev->igroup->lock);
	if (idev->dirty_logging)
		return true;
	hlist_for_each_entry(at, &idev->dirty_attached, idev_node) {
		struct iommufd_dirty_tracker *tracker =
			&at->hwpt->ioas->iopt.dirty;

		if (at->pasid != IOMMU_NO_PASID)
			continue;
		if (at->hwpt->dirty.asked && !idev->dirty_device.ops)
			return false;
		guard(mutex)(&tracker->lock);
		return best_of(tracker, at);
	}
	return iommufd_dirty_capable(idev);
}
EXPORT_SYMBOL_NS_GPL(iommufd_dirty_can_log, "IOMMUFD");

/* ---- Coverage, for user space ---- */

static enum iommu_dirty_coverage
coverage_of(const struct iommufd_dirty_provider *provider)
{
	if (!provider)
		return IOMMU_DIRTY_COVERAGE_NONE;
	return provider->exact ? IOMMU_DIRTY_COVERAGE_EXACT :
				 IOMMU_DIRTY_COVERAGE_ALL;
}

static void fill_device(struct iommu_dirty_device_coverage *entry,
			const struct iommufd_dirty_tracker *tracker,
			struct iommufd_device *idev,
			const struct iommufd_dirty_attachment *at)
{
	bool still = iommufd_dirty_is_still(idev);
	int type;

	entry->id = idev->obj.id;
	entry->flags = still ? IOMMU_DIRTY_DEVICE_STILL : 0;
	entry->allowed = allowed_for(tracker, idev);
	for (type = IOMMU_DIRTY_PROVIDER_NONE + 1; type != IOMMU_DIRTY_PROVIDERS;
	     type++)
		entry->reasons[type] = reason(idev, at, still, entry->allowed,
					      type);
	if (!at)
		return;
	entry->hwpt_id = at->hwpt->common.obj.id;
	entry->pasid = at->pasid;
	entry->coverage = still && !at->does ? IOMMU_DIRTY_COVERAGE_EXACT :
					       coverage_of(at->does);
	entry->provider = type_of(at->does);
	if (at->does) {
		entry->granule_min = at->does->granule_min;
		entry->granule_max = at->does->granule_max;
	}
}

static void fill_access(struct iommu_dirty_device_coverage *entry,
			const struct iommufd_dirty_tracker *tracker,
			const struct iommufd_access *access)
{
	entry->id = access->obj.id;
	entry->coverage = IOMMU_DIRTY_COVERAGE_EXACT;
	entry->provider = IOMMU_DIRTY_PROVIDER_ACCESS;
	entry->allowed = BIT(IOMMU_DIRTY_PROVIDER_ACCESS);
	entry->granule_min = tracker->access.granule_min;
	entry->granule_max = tracker->access.granule_max;
	memset(entry->reasons, IOMMU_DIRTY_REASON_NO_SUPPORT,
	       IOMMU_DIRTY_PROVIDERS);
	entry->reasons[IOMMU_DIRTY_PROVIDER_NONE] = 0;
	entry->reasons[IOMMU_DIRTY_PROVIDER_ACCESS] = IOMMU_DIRTY_REASON_USED;
}

/**
 * struct coverage - what one call finds
 * @entries: of devices and accesses
 * @nr: how many there are
 * @room: how many there is room for in @entries
 */
struct coverage {
	struct iommu_dirty_device_coverage *entries;
	u32 nr;
	u32 room;
};

static struct iommu_dirty_device_coverage *next_entry(struct coverage *c)
{
	return c->nr++ < c->room ? &c->entries[c->nr - 1] : NULL;
}

/* What is now: where nobody reads the host's policy may have changed since */
static void look(struct io_pagetable *iopt)
{
	if (list_empty(&iopt->dirty.readers))
		iommufd_dirty_update(iopt);
	iommufd_dirty_look_for_woken(iopt);
}

/* Counts all, fills in what there is room for */
static void list_ioas(struct coverage *c, struct io_pagetable *iopt)
{
	struct iommu_dirty_device_coverage *entry;
	struct iommufd_dirty_attachment *at;
	struct iommufd_access *access;
	unsigned long index;

	list_for_each_entry(at, &iopt->dirty.attached, node) {
		entry = next_entry(c);
		if (entry)
			fill_device(entry, &iopt->dirty, at->idev, at);
	}
	xa_for_each(&iopt->access_list, index, access) {
		if (iommufd_access_is_internal(access))
			continue;
		entry = next_entry(c);
		if (entry)
			fill_access(entry, &iopt->dirty, access);
	}
}

static void list_device(struct coverage *c, struct iommufd_device *idev)
{
	struct iommu_dirty_device_coverage *entry;
	struct iommufd_dirty_attachment *at;

	hlist_for_each_entry(at, &idev->dirty_attached, idev_node) {
		struct io_pagetable *iopt = &at->hwpt->ioas->iopt;

		entry = next_entry(c);
		iommufd_dirty_lock(iopt);
		look(iopt);
		if (entry)
			fill_device(entry, &iopt->dirty, idev, at);
		iommufd_dirty_unlock(iopt);
	}
	if (!c->nr) {
		entry = next_entry(c);
		if (entry)
			fill_device(entry, NULL, idev, NULL);
	}
}

/* Twice, since room is made when it is known how many there are */
static int gather(struct coverage *c, struct io_pagetable *iopt,
		  struct iommufd_device *idev)
{
	struct iommu_dirty_device_coverage *entries;
	u32 room;

	for (;;) {
		c->nr = 0;
		if (iopt) {
			iommufd_dirty_lock(iopt);
			look(iopt);
			list_ioas(c, iopt);
			iommufd_dirty_unlock(iopt);
		} else {
			guard(mutex)(&idev->igroup->lock);
			list_device(c, idev);
		}
		if (c->nr <= c->room)
			return 0;
		room = c->nr;
		entries = kvcalloc(room, sizeof(*entries), GFP_KERNEL_ACCOUNT);
		if (!entries)
			return -ENOMEM;
		kvfree(c->entries);
		c->entries = entries;
		c->room = room;
	}
}

static int give_entries(struct iommu_dirty_get_coverage *cmd,
			const struct coverage *c)
{
	u8 __user *to = u64_to_user_ptr(cmd->devices);
	u32 i, n = min(cmd->num_devices, c->nr);
	int rc;

	for (i = 0; i != n; i++, to += cmd->entry_size) {
		rc = copy_struct_to_user(to, cmd->entry_size, &c->entries[i],
					 sizeof(c->entries[i]), NULL);
		if (rc)
			return rc;
	}
	return 0;
}

static void sum_up(struct iommu_dirty_get_coverage *cmd,
		   const struct coverage *c)
{
	u64 worst = 1;
	u32 i;

	cmd->out_coverage = IOMMU_DIRTY_COVERAGE_EXACT;
	for (i = 0; i != c->nr; i++) {
		const struct iommu_dirty_device_coverage *e = &c->entries[i];

		cmd->out_coverage = min(cmd->out_coverage, e->coverage);
		/* Of what is not written there is nothing to be told apart */
		if ((e->flags & IOMMU_DIRTY_DEVICE_STILL) && !e->provider)
			continue;
		/* Of nothing known, and all of a mapping, 0 is the worst */
		if (e->granule_max - 1 > worst - 1)
			worst = e->granule_max;
	}
	cmd->out_granule_max = worst;
}

static int get_coverage(struct iommu_dirty_get_coverage *cmd,
			struct io_pagetable *iopt, struct iommufd_device *idev)
{
	struct iommufd_dirty_tracker *tracker = iopt ? &iopt->dirty : NULL;
	struct coverage c = {};
	int rc;

	rc = gather(&c, iopt, idev);
	if (!rc)
		rc = give_entries(cmd, &c);
	if (!rc) {
		sum_up(cmd, &c);
		rc = c.nr > cmd->num_devices ? -EMSGSIZE : 0;
		cmd->num_devices = c.nr;
		cmd->entry_size = sizeof(*c.entries);
		cmd->out_allowed = allowed_for(tracker, idev);
		cmd->out_readers = 0;
		cmd->out_lost = 0;
		if (tracker) {
			guard(mutex)(&tracker->lock);
			cmd->out_readers = list_count_nodes(&tracker->readers);
			cmd->out_lost = atomic64_read(&tracker->lost);
		}
	}
	kvfree(c.entries);
	return rc;
}

/* ---- Coverage, for people ---- */

static const char *const coverages[] = {
	[IOMMU_DIRTY_COVERAGE_NONE] = "none",
	[IOMMU_DIRTY_COVERAGE_ALL] = "all",
	[IOMMU_DIRTY_COVERAGE_EXACT] = "exact",
};

static const char *const reasons[] = {
	[IOMMU_DIRTY_REASON_USED] = "used",
	[IOMMU_DIRTY_REASON_READY] = "ready",
	[IOMMU_DIRTY_REASON_NO_SUPPORT] = "no_support",
	[IOMMU_DIRTY_REASON_NO_HWPT] = "no_hwpt",
	[IOMMU_DIRTY_REASON_POLICY] = "policy",
	[IOMMU_DIRTY_REASON_FAILED] = "failed",
	[IOMMU_DIRTY_REASON_DETACHED] = "detached",
	[IOMMU_DIRTY_REASON_STILL] = "still",
};

static void show_entry(struct seq_file *m, const char *device,
		       const struct iommu_dirty_device_coverage *e)
{
	int type;

	seq_printf(m, " %s %u %u %u %s %s %llu %llu", device, e->id,
		   e->hwpt_id, e->pasid, coverages[e->coverage],
		   names[e->provider], e->granule_min, e->granule_max);
	for (type = IOMMU_DIRTY_PROVIDER_NONE + 1; type != IOMMU_DIRTY_PROVIDERS;
	     type++)
		seq_printf(m, " %s", reasons[e->reasons[type]]);
	seq_putc(m, '\n');
}

/**
 * iommufd_dirty_show_coverage() - A line for each device and access of an IOAS
 * @m: where to
 * @iopt: the IOAS; NULL: the line that names the columns
 * @pid: whose IOAS it is
 *
 * Context: process.
 */
void iommufd_dirty_show_coverage(struct seq_file *m, struct io_pagetable *iopt,
				 pid_t pid)
{
	struct iommu_dirty_device_coverage entry;
	struct iommufd_dirty_attachment *at;
	struct iommufd_access *access;
	unsigned long index;
	u32 ioas_id;

	if (!iopt) {
		seq_puts(m, "pid ioas device id hwpt pasid coverage provider granule_min granule_max iommu device access all\n");
		return;
	}
	ioas_id = container_of(iopt, struct iommufd_ioas, iopt)->obj.id;
	iommufd_dirty_lock(iopt);
	iommufd_dirty_look_for_woken(iopt);
	list_for_each_entry(at, &iopt->dirty.attached, node) {
		entry = (struct iommu_dirty_device_coverage){};
		fill_device(&entry, &iopt->dirty, at->idev, at);
		seq_printf(m, "%d %u", pid, ioas_id);
		show_entry(m, dev_name(at->idev->dev), &entry);
	}
	xa_for_each(&iopt->access_list, index, access) {
		if (iommufd_access_is_internal(access))
			continue;
		entry = (struct iommu_dirty_device_coverage){};
		fill_access(&entry, &iopt->dirty, access);
		seq_printf(m, "%d %u", pid, ioas_id);
		show_entry(m, "emulated", &entry);
	}
	iommufd_dirty_unlock(iopt);
}

/* The IOAS or the device that an ioctl is about */
static struct iommufd_object *get_subject(struct iommufd_ucmd *ucmd, u32 id,
					  struct io_pagetable **iopt,
					  struct iommufd_device **idev)
{
	struct iommufd_object *obj;

	obj = iommufd_get_object(ucmd->ictx, id, IOMMUFD_OBJ_ANY);
	if (IS_ERR(obj))
		return obj;
	*iopt = NULL;
	*idev = NULL;
	switch (obj->type) {
	case IOMMUFD_OBJ_IOAS:
		*iopt = &container_of(obj, struct iommufd_ioas, obj)->iopt;
		return obj;
	case IOMMUFD_OBJ_DEVICE:
		*idev = container_of(obj, struct iommufd_device, obj);
		return obj;
	default:
		iommufd_put_object(ucmd->ictx, obj);
		return ERR_PTR(-EINVAL);
	}
}

int iommufd_dirty_get_coverage(struct iommufd_ucmd *ucmd)
{
	struct iommu_dirty_get_coverage *cmd = ucmd->cmd;
	struct io_pagetable *iopt;
	struct iommufd_device *idev;
	struct iommufd_object *obj;
	int rc, full;

	if (cmd->flags)
		return -EOPNOTSUPP;
	if (cmd->num_devices &&
	    cmd->entry_size < sizeof(struct iommu_dirty_device_coverage))
		return -EINVAL;
	/* What is not known is zeroed, so there is an end to it */
	if (cmd->entry_size > PAGE_SIZE)
		return -E2BIG;
	obj = get_subject(ucmd, cmd->id, &iopt, &idev);
	if (IS_ERR(obj))
		return PTR_ERR(obj);

	full = get_coverage(cmd, iopt, idev);
	iommufd_put_object(ucmd->ictx, obj);
	if (full && full != -EMSGSIZE)
		return full;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	return rc ?: full;
}

/* ---- Policy, for user space ---- */

static int refused(int rc)
{
	return !rc || rc == -ENOMEM ? rc : -EBUSY;
}

static int set_ioas_policy(struct io_pagetable *iopt, u32 allowed)
{
	u32 old;
	int rc;

	iommufd_dirty_lock(iopt);
	old = iopt->dirty.allowed;
	WRITE_ONCE(iopt->dirty.allowed, allowed);
	rc = iommufd_dirty_update(iopt);
	if (rc) {
		WRITE_ONCE(iopt->dirty.allowed, old);
		iommufd_dirty_update(iopt);
	}
	iommufd_dirty_unlock(iopt);
	return refused(rc);
}

static int update_attached(struct iommufd_device *idev)
{
	struct iommufd_dirty_attachment *at;
	int rc, ret = 0;

	hlist_for_each_entry(at, &idev->dirty_attached, idev_node) {
		struct io_pagetable *iopt = &at->hwpt->ioas->iopt;

		iommufd_dirty_lock(iopt);
		rc = iommufd_dirty_update(iopt);
		iommufd_dirty_unlock(iopt);
		ret = ret ?: rc;
	}
	return ret;
}

static int set_device_policy(struct iommufd_device *idev, u32 allowed)
{
	u32 old;
	int rc;

	guard(mutex)(&idev->igroup->lock);
	old = idev->dirty_allowed;
	WRITE_ONCE(idev->dirty_allowed, allowed);
	rc = update_attached(idev);
	if (!rc)
		return 0;
	WRITE_ONCE(idev->dirty_allowed, old);
	update_attached(idev);
	return refused(rc);
}

int iommufd_dirty_set_policy(struct iommufd_ucmd *ucmd)
{
	struct iommu_dirty_set_policy *cmd = ucmd->cmd;
	bool inherit = cmd->flags & IOMMU_DIRTY_POLICY_INHERIT;
	struct io_pagetable *iopt;
	struct iommufd_device *idev;
	struct iommufd_object *obj;
	int rc;

	if ((cmd->flags & ~IOMMU_DIRTY_POLICY_INHERIT) ||
	    (cmd->providers & ~(u32)CHOICES))
		return -EOPNOTSUPP;
	if (inherit == !!cmd->providers)
		return -EINVAL;
	obj = get_subject(ucmd, cmd->id, &iopt, &idev);
	if (IS_ERR(obj))
		return PTR_ERR(obj);

	if (iopt)
		rc = set_ioas_policy(iopt, cmd->providers);
	else
		rc = set_device_policy(idev, cmd->providers);
	iommufd_put_object(ucmd->ictx, obj);
	return rc;
}
