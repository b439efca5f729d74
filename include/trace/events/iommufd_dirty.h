/* SPDX-License-Identifier: GPL-2.0-only */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM iommufd_dirty

#if !defined(_TRACE_IOMMUFD_DIRTY_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_IOMMUFD_DIRTY_H

#include <linux/tracepoint.h>
#include <uapi/linux/iommufd_dirty.h>

/* @ioas and @hwpt are object IDs, for one process; hwpt 0 is all of the IOAS */

DECLARE_EVENT_CLASS(iommufd_dirty_reader,
	TP_PROTO(u32 ioas, u32 hwpt),
	TP_ARGS(ioas, hwpt),
	TP_STRUCT__entry(
		__field(u32, ioas)
		__field(u32, hwpt)
	),
	TP_fast_assign(
		__entry->ioas = ioas;
		__entry->hwpt = hwpt;
	),
	TP_printk("ioas=%u hwpt=%u", __entry->ioas, __entry->hwpt)
);

DEFINE_EVENT(iommufd_dirty_reader, iommufd_dirty_start,
	TP_PROTO(u32 ioas, u32 hwpt), TP_ARGS(ioas, hwpt));

DEFINE_EVENT(iommufd_dirty_reader, iommufd_dirty_stop,
	TP_PROTO(u32 ioas, u32 hwpt), TP_ARGS(ioas, hwpt));

/* One read: @dirty in pages of the user's size, times in nanoseconds */
TRACE_EVENT(iommufd_dirty_read,
	TP_PROTO(u32 ioas, u32 hwpt, unsigned long iova, unsigned long last,
		 bool clear, u64 dirty, u64 collect_ns, u64 ns, int rc),
	TP_ARGS(ioas, hwpt, iova, last, clear, dirty, collect_ns, ns, rc),
	TP_STRUCT__entry(
		__field(u32, ioas)
		__field(u32, hwpt)
		__field(unsigned long, iova)
		__field(unsigned long, last)
		__field(bool, clear)
		__field(u64, dirty)
		__field(u64, collect_ns)
		__field(u64, ns)
		__field(int, rc)
	),
	TP_fast_assign(
		__entry->ioas = ioas;
		__entry->hwpt = hwpt;
		__entry->iova = iova;
		__entry->last = last;
		__entry->clear = clear;
		__entry->dirty = dirty;
		__entry->collect_ns = collect_ns;
		__entry->ns = ns;
		__entry->rc = rc;
	),
	TP_printk("ioas=%u hwpt=%u iova=0x%lx last=0x%lx clear=%d dirty=%llu collect_ns=%llu ns=%llu rc=%d",
		  __entry->ioas, __entry->hwpt, __entry->iova, __entry->last,
		  __entry->clear, __entry->dirty, __entry->collect_ns,
		  __entry->ns, __entry->rc)
);

/* What took it from one provider: @pages in the units that this one knows */
TRACE_EVENT(iommufd_dirty_collect,
	TP_PROTO(u32 ioas, u32 hwpt, const char *provider, unsigned long iova,
		 unsigned long last, u64 pages, u64 ns),
	TP_ARGS(ioas, hwpt, provider, iova, last, pages, ns),
	TP_STRUCT__entry(
		__field(u32, ioas)
		__field(u32, hwpt)
		__string(provider, provider)
		__field(unsigned long, iova)
		__field(unsigned long, last)
		__field(u64, pages)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->ioas = ioas;
		__entry->hwpt = hwpt;
		__assign_str(provider);
		__entry->iova = iova;
		__entry->last = last;
		__entry->pages = pages;
		__entry->ns = ns;
	),
	TP_printk("ioas=%u hwpt=%u provider=%s iova=0x%lx last=0x%lx pages=%llu ns=%llu",
		  __entry->ioas, __entry->hwpt, __get_str(provider),
		  __entry->iova, __entry->last, __entry->pages, __entry->ns)
);

/* Marked by the kernel, on behalf of an emulated device */
TRACE_EVENT(iommufd_dirty_mark,
	TP_PROTO(u32 ioas, unsigned long iova, unsigned long last),
	TP_ARGS(ioas, iova, last),
	TP_STRUCT__entry(
		__field(u32, ioas)
		__field(unsigned long, iova)
		__field(unsigned long, last)
	),
	TP_fast_assign(
		__entry->ioas = ioas;
		__entry->iova = iova;
		__entry->last = last;
	),
	TP_printk("ioas=%u iova=0x%lx last=0x%lx", __entry->ioas,
		  __entry->iova, __entry->last)
);

/* A provider failed: all of the range was reported dirty instead */
TRACE_EVENT(iommufd_dirty_lost,
	TP_PROTO(u32 ioas, u32 hwpt, const char *provider, unsigned long iova,
		 unsigned long last, int rc),
	TP_ARGS(ioas, hwpt, provider, iova, last, rc),
	TP_STRUCT__entry(
		__field(u32, ioas)
		__field(u32, hwpt)
		__string(provider, provider)
		__field(unsigned long, iova)
		__field(unsigned long, last)
		__field(int, rc)
	),
	TP_fast_assign(
		__entry->ioas = ioas;
		__entry->hwpt = hwpt;
		__assign_str(provider);
		__entry->iova = iova;
		__entry->last = last;
		__entry->rc = rc;
	),
	TP_printk("ioas=%u hwpt=%u provider=%s iova=0x%lx last=0x%lx rc=%d",
		  __entry->ioas, __entry->hwpt, __get_str(provider),
		  __entry->iova, __entry->last, __entry->rc)
);

/* One sync of a dirty log: @dirty is bits newly set, @ns 0 if not measured */
TRACE_EVENT(iommufd_dirty_log_sync,
	TP_PROTO(u32 log, unsigned long offset, unsigned long end, bool clear,
		 u64 dirty, u64 lost, u64 ns),
	TP_ARGS(log, offset, end, clear, dirty, lost, ns),
	TP_STRUCT__entry(
		__field(u32, log)
		__field(unsigned long, offset)
		__field(unsigned long, end)
		__field(bool, clear)
		__field(u64, dirty)
		__field(u64, lost)
		__field(u64, ns)
	),
	TP_fast_assign(
		__entry->log = log;
		__entry->offset = offset;
		__entry->end = end;
		__entry->clear = clear;
		__entry->dirty = dirty;
		__entry->lost = lost;
		__entry->ns = ns;
	),
	TP_printk("log=%u offset=0x%lx end=0x%lx clear=%d dirty=%llu lost=%llu ns=%llu",
		  __entry->log, __entry->offset, __entry->end, __entry->clear,
		  __entry->dirty, __entry->lost, __entry->ns)
);

TRACE_DEFINE_ENUM(IOMMU_DIRTY_REASON_USED);
TRACE_DEFINE_ENUM(IOMMU_DIRTY_REASON_READY);
TRACE_DEFINE_ENUM(IOMMU_DIRTY_REASON_NO_SUPPORT);
TRACE_DEFINE_ENUM(IOMMU_DIRTY_REASON_NO_HWPT);
TRACE_DEFINE_ENUM(IOMMU_DIRTY_REASON_POLICY);
TRACE_DEFINE_ENUM(IOMMU_DIRTY_REASON_FAILED);
TRACE_DEFINE_ENUM(IOMMU_DIRTY_REASON_STILL);

#define DIRTY_WHY(_w)						\
	__print_symbolic(_w,					\
			 { IOMMU_DIRTY_REASON_USED, "used" },	\
			 { IOMMU_DIRTY_REASON_READY, "ready" },	\
			 { IOMMU_DIRTY_REASON_NO_SUPPORT, "no_support" },	\
			 { IOMMU_DIRTY_REASON_NO_HWPT, "no_hwpt" },	\
			 { IOMMU_DIRTY_REASON_POLICY, "policy" },	\
			 { IOMMU_DIRTY_REASON_FAILED, "failed" },	\
			 { IOMMU_DIRTY_REASON_STILL, "still" })

/* Another provider stands for a device now; 0 is none.  And why not the others. */
TRACE_EVENT(iommufd_dirty_provider,
	TP_PROTO(u32 ioas, u32 hwpt, u32 device, u32 pasid, u32 from, u32 to,
		 const u8 *why),
	TP_ARGS(ioas, hwpt, device, pasid, from, to, why),
	TP_STRUCT__entry(
		__field(u32, ioas)
		__field(u32, hwpt)
		__field(u32, device)
		__field(u32, pasid)
		__field(u32, from)
		__field(u32, to)
		__field(u8, why_iommu)
		__field(u8, why_device)
		__field(u8, why_all)
	),
	TP_fast_assign(
		__entry->ioas = ioas;
		__entry->hwpt = hwpt;
		__entry->device = device;
		__entry->pasid = pasid;
		__entry->from = from;
		__entry->to = to;
		__entry->why_iommu = why[IOMMU_DIRTY_PROVIDER_IOMMU];
		__entry->why_device = why[IOMMU_DIRTY_PROVIDER_DEVICE];
		__entry->why_all = why[IOMMU_DIRTY_PROVIDER_ALL];
	),
	TP_printk("ioas=%u hwpt=%u device=%u pasid=%u from=%u to=%u why_iommu=%s why_device=%s why_all=%s",
		  __entry->ioas, __entry->hwpt, __entry->device,
		  __entry->pasid, __entry->from, __entry->to,
		  DIRTY_WHY(__entry->why_iommu),
		  DIRTY_WHY(__entry->why_device), DIRTY_WHY(__entry->why_all))
);

/* A device cannot write any more, or can again, by its migration state */
TRACE_EVENT(iommufd_dirty_still,
	TP_PROTO(u32 device, bool still),
	TP_ARGS(device, still),
	TP_STRUCT__entry(
		__field(u32, device)
		__field(bool, still)
	),
	TP_fast_assign(
		__entry->device = device;
		__entry->still = still;
	),
	TP_printk("device=%u still=%d", __entry->device, __entry->still)
);

#endif

#include <trace/define_trace.h>
