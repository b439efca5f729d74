// SPDX-License-Identifier: GPL-2.0-only
/*
 * What people and tools see: tracepoints, and two tables in debugfs; and what host
 * policy reaches
 */
#include <linux/debugfs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>

#include "../io_pagetable.h"
#include "dirty.h"

#define CREATE_TRACE_POINTS
#include <trace/events/iommufd_dirty.h>

static DEFINE_MUTEX(stats_lock);
static LIST_HEAD(stats_list);
static struct dentry *stats_dir;

static struct io_pagetable *to_iopt(struct iommufd_dirty_tracker *tracker)
{
	return container_of(tracker, struct io_pagetable, dirty);
}

/**
 * iommufd_dirty_stats_add() - An IOAS has devices or is read: there is something
 *			       to see
 * @iopt: the IOAS; may be known already
 *
 * Context: process.
 */
void iommufd_dirty_stats_add(struct io_pagetable *iopt)
{
	guard(mutex)(&stats_lock);
	if (!list_empty(&iopt->dirty.stats_node))
		return;
	iopt->dirty.pid = task_tgid_nr(current);
	list_add_tail(&iopt->dirty.stats_node, &stats_list);
}

/**
 * iommufd_dirty_stats_remove() - An IOAS goes
 * @iopt: the IOAS; need not be known
 *
 * Context: process.
 */
void iommufd_dirty_stats_remove(struct io_pagetable *iopt)
{
	guard(mutex)(&stats_lock);
	list_del_init(&iopt->dirty.stats_node);
}

/**
 * iommufd_dirty_update_all() - Have policy of the host take effect
 *
 * On all that is shown.  Where nobody would be left to stand for a device that
 * is being read, all stays as it is.
 *
 * Context: process.
 */
void iommufd_dirty_update_all(void)
{
	struct iommufd_dirty_tracker *tracker;

	guard(mutex)(&stats_lock);
	list_for_each_entry(tracker, &stats_list, stats_node) {
		struct io_pagetable *iopt = to_iopt(tracker);

		iommufd_dirty_lock(iopt);
		iommufd_dirty_update(iopt);
		iommufd_dirty_unlock(iopt);
	}
}

static void show_tracker(struct seq_file *m,
			 struct iommufd_dirty_tracker *tracker)
{
	struct io_pagetable *iopt = to_iopt(tracker);
	struct iommufd_ioas *ioas = container_of(iopt, struct iommufd_ioas,
						 iopt);
	struct iommufd_dirty_provider *p;

	guard(mutex)(&tracker->lock);
	list_for_each_entry(p, &tracker->providers, node)
		seq_printf(m, "%d %u %u %s %s %llu %llu %llu %llu\n",
			   tracker->pid, ioas->obj.id,
			   p->hwpt ? p->hwpt->common.obj.id : 0, p->ops->name,
			   p->running ? "on" : p->failed ? "failed" : "off",
			   p->reads, iommufd_dirty_provider_pages(p), p->ns,
			   p->lost);
}

static int providers_show(struct seq_file *m, void *unused)
{
	struct iommufd_dirty_tracker *tracker;

	seq_puts(m, "pid ioas hwpt provider state reads pages ns lost\n");
	guard(mutex)(&stats_lock);
	list_for_each_entry(tracker, &stats_list, stats_node)
		show_tracker(m, tracker);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(providers);

static int coverage_show(struct seq_file *m, void *unused)
{
	struct iommufd_dirty_tracker *tracker;

	iommufd_dirty_show_coverage(m, NULL, 0);
	guard(mutex)(&stats_lock);
	list_for_each_entry(tracker, &stats_list, stats_node)
		iommufd_dirty_show_coverage(m, to_iopt(tracker), tracker->pid);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(coverage);

/**
 * iommufd_dirty_stats_init() - Make the tables in debugfs
 */
void iommufd_dirty_stats_init(void)
{
	stats_dir = debugfs_create_dir("iommufd_dirty", NULL);
	debugfs_create_file("providers", 0400, stats_dir, NULL,
			    &providers_fops);
	debugfs_create_file("coverage", 0400, stats_dir, NULL, &coverage_fops);
}

/**
 * iommufd_dirty_stats_exit() - Remove them
 */
void iommufd_dirty_stats_exit(void)
{
	debugfs_remove(stats_dir);
}
