/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * Which pages did devices write?  Who can tell, and who is to be asked
 *
 * Part of the iommufd API: user space includes <linux/iommufd.h>.
 */
#ifndef _UAPI_IOMMUFD_DIRTY_H
#define _UAPI_IOMMUFD_DIRTY_H

#include <linux/ioctl.h>
#include <linux/types.h>

/*
 * The ioctls are of IOMMUFD_TYPE.  Their numbers stand apart from those of
 * iommufd itself, see the enum in <linux/iommufd.h>.
 */
enum {
	IOMMUFD_CMD_DIRTY_GET_COVERAGE = 0xb0,
	IOMMUFD_CMD_DIRTY_SET_POLICY = 0xb1,
	IOMMUFD_CMD_DIRTY_LOG_ALLOC = 0xb2,
	IOMMUFD_CMD_DIRTY_LOG_SYNC = 0xb3,
};

/**
 * enum iommu_dirty_provider - Who knows what a device wrote
 * @IOMMU_DIRTY_PROVIDER_NONE: Nobody
 * @IOMMU_DIRTY_PROVIDER_IOMMU: The IOMMU, by the dirty bits of an HWPT's page
 *                              table. Exact to its entries.
 * @IOMMU_DIRTY_PROVIDER_DEVICE: The device, by a tracker of its own. Exact to
 *                               what it tells apart.
 * @IOMMU_DIRTY_PROVIDER_ACCESS: The kernel itself, when a device that it
 *                               emulates writes to memory. Exact to the page.
 * @IOMMU_DIRTY_PROVIDER_ALL: Nobody, so all that the device could have written
 *                            is dirty at every read
 * @IOMMU_DIRTY_PROVIDERS: How many there are
 */
enum iommu_dirty_provider {
	IOMMU_DIRTY_PROVIDER_NONE = 0,
	IOMMU_DIRTY_PROVIDER_IOMMU = 1,
	IOMMU_DIRTY_PROVIDER_DEVICE = 2,
	IOMMU_DIRTY_PROVIDER_ACCESS = 3,
	IOMMU_DIRTY_PROVIDER_ALL = 4,
	IOMMU_DIRTY_PROVIDERS,
};

/**
 * enum iommu_dirty_coverage - How well is known what was written
 * @IOMMU_DIRTY_COVERAGE_NONE: Some device writes what nobody can tell
 * @IOMMU_DIRTY_COVERAGE_ALL: Nothing is missed, but all that some device could
 *                            have written is dirty at every read
 * @IOMMU_DIRTY_COVERAGE_EXACT: What is dirty was written, up to the granule
 */
enum iommu_dirty_coverage {
	IOMMU_DIRTY_COVERAGE_NONE = 0,
	IOMMU_DIRTY_COVERAGE_ALL = 1,
	IOMMU_DIRTY_COVERAGE_EXACT = 2,
};

/**
 * enum iommu_dirty_reason - What is with a provider, and why
 * @IOMMU_DIRTY_REASON_USED: It stands for the device
 * @IOMMU_DIRTY_REASON_READY: It could, another one is better
 * @IOMMU_DIRTY_REASON_NO_SUPPORT: The hardware or its driver cannot do it
 * @IOMMU_DIRTY_REASON_NO_HWPT: Not with this attachment: the HWPT was not
 *                              allocated with IOMMU_HWPT_ALLOC_DIRTY_TRACKING
 * @IOMMU_DIRTY_REASON_POLICY: It could, but policy does not allow it
 * @IOMMU_DIRTY_REASON_FAILED: It was tried, and failed
 * @IOMMU_DIRTY_REASON_DETACHED: It could, but the device is attached to nothing
 * @IOMMU_DIRTY_REASON_STILL: It could, but the device cannot write at present, so
 *                            nobody needs to stand for it
 */
enum iommu_dirty_reason {
	IOMMU_DIRTY_REASON_USED = 0,
	IOMMU_DIRTY_REASON_READY = 1,
	IOMMU_DIRTY_REASON_NO_SUPPORT = 2,
	IOMMU_DIRTY_REASON_NO_HWPT = 3,
	IOMMU_DIRTY_REASON_POLICY = 4,
	IOMMU_DIRTY_REASON_FAILED = 5,
	IOMMU_DIRTY_REASON_DETACHED = 6,
	IOMMU_DIRTY_REASON_STILL = 7,
};

/**
 * enum iommu_dirty_device_flags - Flags of struct iommu_dirty_device_coverage
 * @IOMMU_DIRTY_DEVICE_STILL: The device cannot write at present: it is in one of
 *                            the migration states STOP, STOP_COPY and RESUMING
 */
enum iommu_dirty_device_flags {
	IOMMU_DIRTY_DEVICE_STILL = 1 << 0,
};

/**
 * struct iommu_dirty_device_coverage - Who tells what one device writes
 * @id: ID of the device, or of the access of an emulated device
 * @hwpt_id: ID of the HWPT that it is attached to, or of the parent of that
 *           one; 0: none, as for accesses
 * @pasid: PASID that it is attached with; 0: without
 * @coverage: Of enum iommu_dirty_coverage. Of a device that cannot write at present
 *            nothing is missed, so it is exact if nobody stands for it.
 * @provider: Of enum iommu_dirty_provider: who stands for it
 * @allowed: Providers that policy allows for it, a bit (1 << provider) each
 * @reasons: Of enum iommu_dirty_reason, for each of enum iommu_dirty_provider.
 *           That of IOMMU_DIRTY_PROVIDER_NONE is 0.
 * @granule_min: Bytes that the provider tells apart at best
 * @granule_max: Bytes that it tells apart at worst, a page table entry of the
 *               largest size; 0: nothing, all of a mapping is dirty
 * @flags: Combination of enum iommu_dirty_device_flags
 * @__reserved: 0
 *
 * A later kernel may append to it.
 */
struct iommu_dirty_device_coverage {
	__u32 id;
	__u32 hwpt_id;
	__u32 pasid;
	__u32 coverage;
	__u32 provider;
	__u32 allowed;
	__u8 reasons[8];
	__aligned_u64 granule_min;
	__aligned_u64 granule_max;
	__u32 flags;
	__u32 __reserved;
};

/**
 * struct iommu_dirty_get_coverage - ioctl(IOMMU_DIRTY_GET_COVERAGE)
 * @size: sizeof(struct iommu_dirty_get_coverage)
 * @flags: Must be 0
 * @id: ID of an IOAS, for all devices and accesses that are attached to it, or
 *      of a device, wherever it is attached
 * @num_devices: Input: how many entries there is room for at @devices.
 *               Output: how many there are. A device has one for each
 *               attachment.
 * @entry_size: Input: bytes from one entry to the next, what user space knows
 *              as sizeof(struct iommu_dirty_device_coverage). Output: what the
 *              kernel knows. The kernel fills in what both know, and zeroes what
 *              it does not.
 * @out_coverage: Of enum iommu_dirty_coverage, the worst of all devices
 * @devices: User pointer to an array of struct iommu_dirty_device_coverage
 * @out_granule_max: The worst of all devices, as in the entries
 * @out_allowed: Policy in force for @id, a bit (1 << provider) each
 * @out_readers: How many ask what was written, at present; of an IOAS only
 * @out_lost: How often exactness was lost, so that a range was reported dirty
 *            instead; of an IOAS only
 *
 * Tells whether the pages that devices write can be known, how exactly, and if
 * not, why. It is what is now: attaching, detaching and policy change it.
 *
 * Fails with EMSGSIZE when there are more entries than room; those that fit are
 * written, and all outputs are valid.
 */
struct iommu_dirty_get_coverage {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 num_devices;
	__u32 entry_size;
	__u32 out_coverage;
	__aligned_u64 devices;
	__aligned_u64 out_granule_max;
	__u32 out_allowed;
	__u32 out_readers;
	__aligned_u64 out_lost;
};
#define IOMMU_DIRTY_GET_COVERAGE \
	_IO(IOMMUFD_TYPE, IOMMUFD_CMD_DIRTY_GET_COVERAGE)

/**
 * enum iommu_dirty_policy_flags - Flags for IOMMU_DIRTY_SET_POLICY
 * @IOMMU_DIRTY_POLICY_INHERIT: Forget what was set for the object: a device
 *                              follows its IOAS, an IOAS the host
 */
enum iommu_dirty_policy_flags {
	IOMMU_DIRTY_POLICY_INHERIT = 1 << 0,
};

/**
 * struct iommu_dirty_set_policy - ioctl(IOMMU_DIRTY_SET_POLICY)
 * @size: sizeof(struct iommu_dirty_set_policy)
 * @flags: Combination of enum iommu_dirty_policy_flags
 * @id: ID of an IOAS or of a device
 * @providers: Those that may stand for a device, a bit (1 << provider) each, at
 *             least one of IOMMU_DIRTY_PROVIDER_IOMMU, _DEVICE and _ALL. 0 with
 *             IOMMU_DIRTY_POLICY_INHERIT. Of those that can, the kernel takes
 *             an exact one before one that is not, then the one with the smaller
 *             granule, then the one that its driver rates higher.
 *
 * Policy of a device comes before that of its IOAS, and that before the host's,
 * the parameter dirty_providers of the module iommufd. Accesses need none, they
 * are always known.
 *
 * Takes effect at once, also while dirty pages are being tracked; no write is
 * lost when one provider takes over from another. So does that of the host, but
 * for a device that nobody else can stand for.
 *
 * Fails with EBUSY when pages are being tracked and a device would be left that
 * nobody stands for. Then nothing changes.
 */
struct iommu_dirty_set_policy {
	__u32 size;
	__u32 flags;
	__u32 id;
	__u32 providers;
};
#define IOMMU_DIRTY_SET_POLICY _IO(IOMMUFD_TYPE, IOMMUFD_CMD_DIRTY_SET_POLICY)

/**
 * enum iommu_dirty_log_alloc_flags - Flags for IOMMU_DIRTY_LOG_ALLOC
 * @IOMMU_DIRTY_LOG_IOVA: The log stands for IOVAs of one IOAS. Alone, or with
 *                        IOMMU_DIRTY_LOG_EVENTFD.
 * @IOMMU_DIRTY_LOG_USER: It stands for memory, known by the caller's addresses:
 *                        what is mapped from there by IOMMU_IOAS_MAP
 * @IOMMU_DIRTY_LOG_FILE: It stands for memory, known by its place in a file: what
 *                        is mapped from there by IOMMU_IOAS_MAP_FILE. With
 *                        IOMMU_DIRTY_LOG_USER: the same memory under both names,
 *                        for who maps it in both ways.
 * @IOMMU_DIRTY_LOG_EVENTFD: An eventfd is to be signalled
 */
enum iommu_dirty_log_alloc_flags {
	IOMMU_DIRTY_LOG_IOVA = 1 << 0,
	IOMMU_DIRTY_LOG_USER = 1 << 1,
	IOMMU_DIRTY_LOG_FILE = 1 << 2,
	IOMMU_DIRTY_LOG_EVENTFD = 1 << 3,
};

/**
 * struct iommu_dirty_log_alloc - ioctl(IOMMU_DIRTY_LOG_ALLOC)
 * @size: sizeof(struct iommu_dirty_log_alloc)
 * @flags: Combination of enum iommu_dirty_log_alloc_flags, that says what the
 *         log stands for
 * @ioas_id: With IOMMU_DIRTY_LOG_IOVA: the IOAS, which cannot be destroyed before
 *           the log. Else 0.
 * @out_log_id: ID of the log, for IOMMU_DIRTY_LOG_SYNC and IOMMU_DESTROY
 * @start: First IOVA, or first address of the caller's. A multiple of the
 *         system's page size. 0 with IOMMU_DIRTY_LOG_FILE alone.
 * @length: Bytes that the log stands for, a multiple of the system's page size
 * @page_size: Bytes that a bit stands for, a power of two, at least 4096. Bit 0
 *             stands for those from the start on; the last bit may stand for
 *             fewer.
 * @file_start: With IOMMU_DIRTY_LOG_FILE: offset in the file of what bit 0
 *              stands for, a multiple of the system's page size. Else 0.
 * @fd: With IOMMU_DIRTY_LOG_FILE: the file, the same as that of
 *      IOMMU_IOAS_MAP_FILE, or another one opened on the same memory: of a memfd,
 *      tmpfs or hugetlbfs; others fail with EINVAL. Else 0.
 * @eventfd: With IOMMU_DIRTY_LOG_EVENTFD: an eventfd. Else 0.
 * @threshold: With IOMMU_DIRTY_LOG_EVENTFD: it is signalled each time that this
 *             many more bits have been set, at least 1. Else 0.
 * @out_mmap_offset: Offset for mmap() of the iommufd
 * @out_mmap_length: Bytes to map from there, all of them at once, shared
 * @out_summary_offset: Where in these bytes the summary begins
 *
 * Allocates a dirty log: a bitmap that the kernel sets bits in and that user
 * space maps and clears bits of. From here on what devices write to what the
 * log stands for sets bits, some at once, others when the log is synced. A log
 * of IOVAs hears of one IOAS; one of memory of every IOAS of this iommufd,
 * also of those allocated later, and whatever is mapped or unmapped in them.
 *
 * At the beginning of the mapping lie the bits: bit n is bit n % 64 of the 64-bit
 * word n / 64, in the byte order of the machine. The summary has a bit for each 64
 * bytes of them, 512 bits: bit n of it is set after one of the bits n * 512 to
 * n * 512 + 511 was.
 *
 * User space takes what is dirty in that order: it exchanges a word of the
 * summary for 0, atomically, and then, for each bit that was set, the 8 words of
 * bits that it stands for. A bit set by the kernel meanwhile is either among
 * those taken or leaves its bit in the summary. The other way round bits get lost.
 * What user space writes to the mapping concerns nobody else.
 *
 * The memory is accounted as what the IOAS pins is.
 *
 * Fails with EOPNOTSUPP when there is a device, on the IOAS or, for a log of
 * memory, on any, that nobody can tell the writes of: IOMMU_DIRTY_GET_COVERAGE
 * tells more. While the log lives no such device can be attached. Fails with
 * ENOMEM when the memory is not there, or more than may be locked; with EFBIG
 * for more than 2^33 bits.
 */
struct iommu_dirty_log_alloc {
	__u32 size;
	__u32 flags;
	__u32 ioas_id;
	__u32 out_log_id;
	__aligned_u64 start;
	__aligned_u64 length;
	__aligned_u64 page_size;
	__aligned_u64 file_start;
	__s32 fd;
	__s32 eventfd;
	__aligned_u64 threshold;
	__aligned_u64 out_mmap_offset;
	__aligned_u64 out_mmap_length;
	__aligned_u64 out_summary_offset;
};
#define IOMMU_DIRTY_LOG_ALLOC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_DIRTY_LOG_ALLOC)

/**
 * enum iommu_dirty_log_sync_flags - Flags for IOMMU_DIRTY_LOG_SYNC
 * @IOMMU_DIRTY_LOG_SYNC_RANGE: Not all of the log, only a range
 * @IOMMU_DIRTY_LOG_SYNC_NO_CLEAR: What is dirty need not be told apart from what
 *                                 will be: it may be reported once more by the
 *                                 next sync. Spares flushing the IOTLB, for the
 *                                 last sync, when devices are stopped.
 */
enum iommu_dirty_log_sync_flags {
	IOMMU_DIRTY_LOG_SYNC_RANGE = 1 << 0,
	IOMMU_DIRTY_LOG_SYNC_NO_CLEAR = 1 << 1,
};

/**
 * struct iommu_dirty_log_sync - ioctl(IOMMU_DIRTY_LOG_SYNC)
 * @size: sizeof(struct iommu_dirty_log_sync)
 * @flags: Combination of enum iommu_dirty_log_sync_flags
 * @log_id: ID of the log
 * @__reserved: Must be 0
 * @offset: With IOMMU_DIRTY_LOG_SYNC_RANGE: where the range begins, in bytes
 *          from what bit 0 stands for on. Else 0.
 * @length: With IOMMU_DIRTY_LOG_SYNC_RANGE: bytes of the range, at least 1. Else
 *          0.
 * @out_dirty: How many bits this has set that were clear
 * @out_lost: How often, since the last sync, exactness was lost, so that a range
 *            was reported dirty instead
 *
 * Asks those who must be asked what was written. When this returns, all that
 * devices wrote before it was called has its bit set, or had it taken before. It
 * may set bits outside of the range too.
 */
struct iommu_dirty_log_sync {
	__u32 size;
	__u32 flags;
	__u32 log_id;
	__u32 __reserved;
	__aligned_u64 offset;
	__aligned_u64 length;
	__aligned_u64 out_dirty;
	__aligned_u64 out_lost;
};
#define IOMMU_DIRTY_LOG_SYNC _IO(IOMMUFD_TYPE, IOMMUFD_CMD_DIRTY_LOG_SYNC)

#endif
