// SPDX-License-Identifier: GPL-2.0-only
/*
 * What people and tools see: tracepoints, and two tables in debugfs; and what host
 * policy reaches
 */
#include <linux/debugfs.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/wait.h>

#include "../io_pagetable.h"
#include "dirty.h"

#define CREATE_TRACE_POINTS
#include <trace/events/iommufd_dirty.h>

/* Protects the list, and @stats_users of those in it.  Nothing is waited for under it. */
static DEFINE_MUTEX(stats_lock);
static LIST_HEAD(stats_list);
static DECLARE_WAIT_QUEUE_HEAD(stats_left);
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
	mutex_lock(&stats_lock);
	while (iopt->dirty.stats_users) {
		mutex_unlock(&stats_lock);
		wait_event(stats_left, !READ_ONCE(iopt->dirty.stats_users));
		mutex_lock(&stats_lock);
	}
	list_del_init(&iopt->dirty.stats_node);
	mutex_unlock(&stats_lock);
}

/*
 * All that is shown.  Who has one of them in hand keeps it from going, and not the
 * others from coming and going: its user may hold its locks for as long as he likes.
 */
static void walk_shown(void (*fn)(struct io_pagetable *iopt, void *data),
		       void *data)
{
	struct iommufd_dirty_tracker *tracker;

	mutex_lock(&stats_lock);
	list_for_each_entry(tracker, &stats_list, stats_node) {
		tracker->stats_users++;
		mutex_unlock(&stats_lock);
		fn(to_iopt(tracker), data);
		mutex_lock(&stats_lock);
		WRITE_ONCE(tracker->stats_users, tracker->stats_users - 1);
		if (!tracker->stats_users)
			wake_up_all(&stats_left);
	}
	mutex_unlock(&stats_lock);
}

static void update_one(struct io_pagetable *iopt, void *data)
{
	iommufd_dirty_lock(iopt);
	iommufd_dirty_update(iopt);
	iommufd_dirty_unlock(iopt);
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
	walk_shown(update_one, NULL);
}

static void show_providers(struct io_pagetable *iopt, void *data)
{
	struct iommufd_ioas *ioas = container_of(iopt, struct iommufd_ioas,
						 iopt);
	struct iommufd_dirty_tracker *tracker = &iopt->dirty;
	struct iommufd_dirty_provider *p;
	struct seq_file *m = data;

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
	seq_puts(m, "pid ioas hwpt provider state reads pages ns lost\n");
	walk_shown(show_providers, m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(providers);

static void show_coverage(struct io_pagetable *iopt, void *data)
{
	iommufd_dirty_show_coverage(data, iopt, iopt->dirty.pid);
}

static int coverage_show(struct seq_file *m, void *unused)
{
	iommufd_dirty_show_coverage(m, NULL, 0);
	walk_shown(show_coverage, m);
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
