// SPDX-License-Identifier: GPL-2.0-only
/*
 * The dirty log: IOMMU_DIRTY_LOG_ALLOC, IOMMU_DIRTY_LOG_SYNC and its mapping
 */
#include <linux/bits.h>
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/hugetlb.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>
#include <linux/shmem_fs.h>
#include <linux/vmalloc.h>
#include <trace/events/iommufd_dirty.h>
#include <uapi/linux/iommufd.h>

#include "../io_pagetable.h"
#include "dirty.h"

#define MAX_BITS	BIT_ULL(33)

#define INDEX_FLAGS \
	(IOMMU_DIRTY_LOG_IOVA | IOMMU_DIRTY_LOG_USER | IOMMU_DIRTY_LOG_FILE)

static struct iommufd_dirty_log *to_log(struct iommufd_object *obj)
{
	return container_of(obj, struct iommufd_dirty_log, obj);
}

/**
 * iommufd_dirty_log_count() - Bits of a log have been set
 * @log: the log
 * @set: how many
 *
 * Context: any, interrupts included.
 */
void iommufd_dirty_log_count(struct iommufd_dirty_log *log, unsigned long set)
{
	u64 now;

	/* All who set bits meet here, so only where somebody wants to know */
	if (!log->event || !set)
		return;
	now = atomic64_add_return(set, &log->set);
	if (div64_u64(now, log->threshold) !=
	    div64_u64(now - set, log->threshold))
		eventfd_signal(log->event);
}

/* ---- Memory ---- */

static int charge_user(struct user_struct *user, unsigned long npages)
{
	unsigned long limit = rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT;
	long old = atomic_long_read(&user->locked_vm);

	do {
		if (old + npages > limit)
			return -ENOMEM;
	} while (!atomic_long_try_cmpxchg(&user->locked_vm, &old,
					  old + npages));
	return 0;
}

/* As what an IOAS pins is accounted, see iopt_pages_update_pinned() */
static int charge(struct iommufd_dirty_log *log, unsigned long npages)
{
	int rc = 0;

	log->account_mode = log->ictx->account_mode;
	if (capable(CAP_IPC_LOCK))
		log->account_mode = IOPT_PAGES_ACCOUNT_NONE;
	if (log->account_mode == IOPT_PAGES_ACCOUNT_USER)
		rc = charge_user(log->user, npages);
	else if (log->account_mode == IOPT_PAGES_ACCOUNT_MM)
		rc = account_locked_vm(log->mm, npages, true);
	if (rc)
		return rc;
	atomic64_add(npages, &log->mm->pinned_vm);
	log->npages = npages;
	return 0;
}

static void uncharge(struct iommufd_dirty_log *log)
{
	if (log->account_mode == IOPT_PAGES_ACCOUNT_USER) {
		atomic_long_sub(log->npages, &log->user->locked_vm);
	} else if (log->account_mode == IOPT_PAGES_ACCOUNT_MM &&
		   mmget_not_zero(log->mm)) {
		account_locked_vm(log->mm, log->npages, false);
		mmput(log->mm);
	}
	atomic64_sub(log->npages, &log->mm->pinned_vm);
}

static int alloc_bits(struct iommufd_dirty_log *log)
{
	unsigned long nr = ((log->length - 1) >> log->shift) + 1;
	int rc;

	rc = charge(log, dirty_log_bits_size(nr) >> PAGE_SHIFT);
	if (rc)
		return rc;
	return dirty_log_bits_alloc(&log->bits, nr);
}

/**
 * iommufd_dirty_log_mmap() - Map a log to user space
 * @obj: of a log; the mapping is a user of it
 * @vma: the mapping: shared, of the whole log
 *
 * Context: process; the mmap lock is held.
 *
 * Return: 0 or what mapping the pages failed with.
 */
int iommufd_dirty_log_mmap(struct iommufd_object *obj,
			   struct vm_area_struct *vma)
{
	void *page = to_log(obj)->bits.bits;
	unsigned long addr;
	int rc;

	vm_flags_mod(vma, VM_DONTEXPAND | VM_DONTDUMP, VM_MAYEXEC);
	for (addr = vma->vm_start; addr != vma->vm_end; addr += PAGE_SIZE) {
		rc = vm_insert_page(vma, addr, vmalloc_to_page(page));
		if (rc)
			return rc;
		page += PAGE_SIZE;
	}
	return 0;
}

/* ---- Feeds ---- */

static int add_feed(struct iommufd_dirty_log *log, struct io_pagetable *iopt)
{
	struct iommufd_dirty_feed *feed;
	int rc;

	feed = kzalloc_obj(*feed, GFP_KERNEL_ACCOUNT);
	if (!feed)
		return -ENOMEM;
	rc = dirty_feed_start(feed, log, iopt);
	if (rc)
		kfree(feed);
	return rc;
}

static void remove_feed(struct iommufd_dirty_feed *feed)
{
	dirty_feed_stop(feed);
	kfree(feed);
}

static void remove_feeds_of(struct iommufd_dirty_log *log,
			    struct io_pagetable *iopt)
{
	struct iommufd_dirty_feed *feed, *next;

	guard(mutex)(&log->lock);
	list_for_each_entry_safe(feed, next, &log->feeds, node)
		if (!iopt || feed->iopt == iopt)
			remove_feed(feed);
}

/**
 * iommufd_dirty_ctx_init() - Make what the logs of an iommufd share
 * @ctx: to initialize
 */
void iommufd_dirty_ctx_init(struct iommufd_dirty_ctx *ctx)
{
	mutex_init(&ctx->lock);
	INIT_LIST_HEAD(&ctx->logs);
	INIT_LIST_HEAD(&ctx->ioases);
}

/**
 * iommufd_dirty_log_ioas_add() - There is an IOAS: logs of memory hear of it
 * @ictx: the iommufd
 * @ioas: the IOAS; nothing is mapped or attached
 *
 * Context: process.
 *
 * Return: 0 or -ENOMEM.
 */
int iommufd_dirty_log_ioas_add(struct iommufd_ctx *ictx,
			       struct iommufd_ioas *ioas)
{
	struct io_pagetable *iopt = &ioas->iopt;
	struct iommufd_dirty_log *log;
	int rc;

	guard(mutex)(&ictx->dirty.lock);
	list_for_each_entry(log, &ictx->dirty.logs, node) {
		scoped_guard(mutex, &log->lock)
			rc = add_feed(log, iopt);
		if (rc)
			goto err_remove;
	}
	iopt->dirty.ctx = &ictx->dirty;
	list_add_tail(&iopt->dirty.ctx_node, &ictx->dirty.ioases);
	return 0;

err_remove:
	list_for_each_entry_continue_reverse(log, &ictx->dirty.logs, node)
		remove_feeds_of(log, iopt);
	return rc;
}

/**
 * iommufd_dirty_log_ioas_remove() - An IOAS goes
 * @ioas: the IOAS; nothing is mapped.  Need not have been added.
 *
 * Context: process.
 */
void iommufd_dirty_log_ioas_remove(struct iommufd_ioas *ioas)
{
	struct iommufd_dirty_ctx *ctx = ioas->iopt.dirty.ctx;
	struct iommufd_dirty_log *log;

	if (!ctx)
		return;
	guard(mutex)(&ctx->lock);
	list_del(&ioas->iopt.dirty.ctx_node);
	list_for_each_entry(log, &ctx->logs, node)
		remove_feeds_of(log, &ioas->iopt);
}

static int start_ioas(struct iommufd_dirty_log *log)
{
	guard(mutex)(&log->lock);
	return add_feed(log, &log->ioas->iopt);
}

static int start_memory(struct iommufd_dirty_log *log)
{
	struct iommufd_dirty_ctx *ctx = &log->ictx->dirty;
	struct iommufd_dirty_tracker *tracker;
	int rc;

	guard(mutex)(&ctx->lock);
	guard(mutex)(&log->lock);
	/* First, so that an IOAS that goes finds it when that fails half way */
	list_add_tail(&log->node, &ctx->logs);
	list_for_each_entry(tracker, &ctx->ioases, ctx_node) {
		rc = add_feed(log, container_of(tracker, struct io_pagetable,
						dirty));
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- The object ---- */

static int check_alloc(const struct iommu_dirty_log_alloc *cmd)
{
	bool event = cmd->flags & IOMMU_DIRTY_LOG_EVENTFD;
	u32 index = cmd->flags & INDEX_FLAGS;
	u64 last, nr;

	if (cmd->flags & ~(INDEX_FLAGS | IOMMU_DIRTY_LOG_EVENTFD))
		return -EOPNOTSUPP;
	/* A long must look the same as a part of a 64-bit word */
	if (IS_ENABLED(CONFIG_CPU_BIG_ENDIAN) && !IS_ENABLED(CONFIG_64BIT))
		return -EOPNOTSUPP;
	if (!index ||
	    ((index & IOMMU_DIRTY_LOG_IOVA) && index != IOMMU_DIRTY_LOG_IOVA))
		return -EINVAL;
	if (!is_power_of_2(cmd->page_size) ||
	    cmd->page_size < (1 << DIRTY_LOG_MIN_SHIFT) || !cmd->length ||
	    !PAGE_ALIGNED(cmd->start | cmd->length | cmd->file_start))
		return -EINVAL;
	/* What does not count must be 0, so that it can count one day */
	if ((!(index & IOMMU_DIRTY_LOG_IOVA) && cmd->ioas_id) ||
	    (index == IOMMU_DIRTY_LOG_FILE && cmd->start) ||
	    (!(index & IOMMU_DIRTY_LOG_FILE) && (cmd->fd || cmd->file_start)) ||
	    (!event && cmd->eventfd) || event != !!cmd->threshold)
		return -EINVAL;
	if (check_add_overflow(cmd->start, cmd->length - 1, &last) ||
	    last > ULONG_MAX)
		return -EOVERFLOW;
	/*
	 * A file ends there, and an offset of memory must leave a bit free, see
	 * to_entry() of feed.c
	 */
	if (!(index & IOMMU_DIRTY_LOG_IOVA) &&
	    (check_add_overflow(cmd->file_start, cmd->length - 1, &last) ||
	     last > LONG_MAX))
		return -EOVERFLOW;
	nr = ((cmd->length - 1) >> ilog2(cmd->page_size)) + 1;
	if (nr > MAX_BITS || nr > LONG_MAX)
		return -EFBIG;
	return 0;
}

static int get_parts(struct iommufd_dirty_log *log, struct iommufd_ucmd *ucmd,
		     const struct iommu_dirty_log_alloc *cmd)
{
	log->mm = current->mm;
	mmgrab(log->mm);
	log->user = get_uid(current_user());

	if (log->flags & IOMMU_DIRTY_LOG_IOVA) {
		struct iommufd_ioas *ioas = iommufd_get_ioas(log->ictx,
							     cmd->ioas_id);

		if (IS_ERR(ioas))
			return PTR_ERR(ioas);
		refcount_inc(&ioas->obj.users);
		log->ioas = ioas;
		iommufd_put_object(log->ictx, &ioas->obj);
	}
	if (log->flags & IOMMU_DIRTY_LOG_FILE) {
		log->file = fget(cmd->fd);
		if (!log->file)
			return -EBADF;
		/* Nothing else can be mapped; and others may hold this very iommufd */
		if (!shmem_file(log->file) && !is_file_hugepages(log->file))
			return -EINVAL;
	}
	if (log->flags & IOMMU_DIRTY_LOG_EVENTFD) {
		struct eventfd_ctx *event = eventfd_ctx_fdget(cmd->eventfd);

		if (IS_ERR(event))
			return PTR_ERR(event);
		log->event = event;
		log->threshold = cmd->threshold;
	}
	return 0;
}

static int alloc_mmap(struct iommufd_dirty_log *log, unsigned long *offset)
{
	struct iommufd_mmap *mmap;
	int rc;

	mmap = kzalloc_obj(*mmap, GFP_KERNEL_ACCOUNT);
	if (!mmap)
		return -ENOMEM;
	mmap->owner = &log->obj;
	mmap->length = dirty_log_bits_size(log->bits.nr);
	rc = mtree_alloc_range(&log->ictx->mt_mmap, offset, mmap, mmap->length,
			       PAGE_SIZE, ULONG_MAX, GFP_KERNEL);
	if (rc) {
		kfree(mmap);
		return rc;
	}
	mmap->vm_pgoff = *offset >> PAGE_SHIFT;
	log->mmap = mmap;
	return 0;
}

static void free_mmap(struct iommufd_dirty_log *log)
{
	if (log->mmap)
		mtree_erase(&log->ictx->mt_mmap,
			    log->mmap->vm_pgoff << PAGE_SHIFT);
	kfree(log->mmap);
	log->mmap = NULL;
}

static int respond(struct iommufd_dirty_log *log, struct iommufd_ucmd *ucmd,
		   struct iommu_dirty_log_alloc *cmd)
{
	unsigned long offset;
	int rc;

	/*
	 * Nobody maps it before nothing can fail any more, nor when something did:
	 * without users there is nothing to be found at its offset.
	 */
	refcount_set(&log->obj.users, 0);
	rc = alloc_mmap(log, &offset);
	if (!rc) {
		cmd->out_log_id = log->obj.id;
		cmd->out_mmap_offset = offset;
		cmd->out_mmap_length = log->mmap->length;
		cmd->out_summary_offset = dirty_log_bits_summary(log->bits.nr);
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	}
	if (rc)
		free_mmap(log);
	refcount_set(&log->obj.users, 1);
	return rc;
}

int iommufd_dirty_log_alloc(struct iommufd_ucmd *ucmd)
{
	struct iommu_dirty_log_alloc *cmd = ucmd->cmd;
	struct iommufd_dirty_log *log;
	int rc;

	rc = check_alloc(cmd);
	if (rc)
		return rc;

	/* On failure it is destroyed with what it has by then */
	log = iommufd_object_alloc_ucmd(ucmd, log, IOMMUFD_OBJ_DIRTY_LOG);
	if (IS_ERR(log))
		return PTR_ERR(log);
	log->ictx = ucmd->ictx;
	mutex_init(&log->lock);
	INIT_LIST_HEAD(&log->feeds);
	INIT_LIST_HEAD(&log->node);
	log->flags = cmd->flags;
	log->start = cmd->start;
	log->length = cmd->length;
	log->file_start = cmd->file_start;
	log->shift = ilog2(cmd->page_size);

	rc = get_parts(log, ucmd, cmd);
	if (!rc)
		rc = alloc_bits(log);
	if (!rc)
		rc = log->ioas ? start_ioas(log) : start_memory(log);
	return rc ?: respond(log, ucmd, cmd);
}

/**
 * iommufd_dirty_log_destroy() - A log goes
 * @obj: of a log, which need not have come as far as being started
 *
 * Context: process; nobody uses it or maps it.
 */
void iommufd_dirty_log_destroy(struct iommufd_object *obj)
{
	struct iommufd_dirty_log *log = to_log(obj);

	free_mmap(log);
	/* At once: it gets no new feeds, and an IOAS that goes leaves none behind */
	scoped_guard(mutex, &log->ictx->dirty.lock) {
		list_del_init(&log->node);
		remove_feeds_of(log, NULL);
	}
	dirty_log_bits_free(&log->bits);
	uncharge(log);
	if (log->event)
		eventfd_ctx_put(log->event);
	if (log->file)
		fput(log->file);
	if (log->ioas)
		refcount_dec(&log->ioas->obj.users);
	free_uid(log->user);
	mmdrop(log->mm);
	mutex_destroy(&log->lock);
}

/* ---- Sync ---- */

static int sync_range(const struct iommufd_dirty_log *log,
		      const struct iommu_dirty_log_sync *cmd,
		      unsigned long *offset, unsigned long *end)
{
	u64 last;

	if (!(cmd->flags & IOMMU_DIRTY_LOG_SYNC_RANGE)) {
		*offset = 0;
		*end = log->length - 1;
		return cmd->offset || cmd->length ? -EINVAL : 0;
	}
	if (!cmd->length)
		return -EINVAL;
	if (check_add_overflow(cmd->offset, cmd->length - 1, &last))
		return -EOVERFLOW;
	if (last > log->length - 1)
		return -EINVAL;
	*offset = cmd->offset;
	*end = last;
	return 0;
}

static int sync_log(struct iommufd_dirty_log *log,
		    struct iommu_dirty_log_sync *cmd)
{
	bool clear = !(cmd->flags & IOMMU_DIRTY_LOG_SYNC_NO_CLEAR);
	struct iommufd_dirty_feed *feed;
	unsigned long offset, end;
	u64 start = 0;
	int rc;

	rc = sync_range(log, cmd, &offset, &end);
	if (rc)
		return rc;

	if (trace_iommufd_dirty_log_sync_enabled())
		start = ktime_get_ns();
	cmd->out_dirty = 0;
	scoped_guard(mutex, &log->lock)
		list_for_each_entry(feed, &log->feeds, node)
			cmd->out_dirty += dirty_feed_sync(feed, offset, end,
							  clear);
	cmd->out_lost = atomic64_xchg(&log->lost, 0);
	trace_iommufd_dirty_log_sync(log->obj.id, offset, end, clear,
				     cmd->out_dirty, cmd->out_lost,
				     start ? ktime_get_ns() - start : 0);
	return 0;
}

int iommufd_dirty_log_sync(struct iommufd_ucmd *ucmd)
{
	struct iommu_dirty_log_sync *cmd = ucmd->cmd;
	struct iommufd_dirty_log *log;
	struct iommufd_object *obj;
	int rc;

	if ((cmd->flags & ~(IOMMU_DIRTY_LOG_SYNC_RANGE |
			    IOMMU_DIRTY_LOG_SYNC_NO_CLEAR)) ||
	    cmd->__reserved)
		return -EOPNOTSUPP;

	obj = iommufd_get_object(ucmd->ictx, cmd->log_id, IOMMUFD_OBJ_DIRTY_LOG);
	if (IS_ERR(obj))
		return PTR_ERR(obj);
	log = to_log(obj);
	rc = sync_log(log, cmd);
	if (!rc) {
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
		/* Nobody has been told */
		if (rc)
			atomic64_add(cmd->out_lost, &log->lost);
	}
	iommufd_put_object(ucmd->ictx, obj);
	return rc;
}
