// SPDX-License-Identifier: GPL-2.0-only
/* Helpers to drive the simulated DMA device: see dsim_user.h */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "dsim_user.h"

#define CONFIGFS	"/sys/kernel/config/dirty_sim"
#define SYSFS		"/sys/devices/platform/dsim.%s"
#define UUID_LEN	36

/* No step of the device takes longer, unless something is broken */
#define WAIT_MS		60000

unsigned long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

uint64_t rnd(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	*state = x;
	return x * 0x2545f4914f6cdd1dULL;
}

static void nap(unsigned int us)
{
	struct timespec ts = { .tv_nsec = us * 1000L };

	nanosleep(&ts, NULL);
}

static int ioctl_errno(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) < 0 ? -errno : 0;
}

/* ---- configfs ---- */

bool dsim_available(void)
{
	return access(CONFIGFS, F_OK) == 0;
}

int dsim_set(const char *name, const char *attr, const char *value)
{
	char path[PATH_MAX];
	int fd, rc = 0;

	snprintf(path, sizeof(path), CONFIGFS "/%s/%s", name, attr);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	if (write(fd, value, strlen(value)) != (ssize_t)strlen(value))
		rc = -errno;
	close(fd);
	return rc;
}

static int set_number(const char *name, const char *attr, uint64_t number)
{
	char value[32];

	snprintf(value, sizeof(value), "0x%llx", (unsigned long long)number);
	return dsim_set(name, attr, value);
}

/* Returns the counter, or -errno */
long long dsim_stat(const char *name, const char *stat)
{
	char path[PATH_MAX], line[128], key[64];
	long long value, found = -ENOENT;
	FILE *f;

	snprintf(path, sizeof(path), CONFIGFS "/%s/stats", name);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "%63s %lld", key, &value) == 2 &&
		    !strcmp(key, stat))
			found = value;
	fclose(f);
	return found;
}

int dsim_remove(const char *name)
{
	char path[PATH_MAX];
	int rc;

	rc = dsim_set(name, "live", "0");
	if (rc)
		return rc;
	snprintf(path, sizeof(path), CONFIGFS "/%s", name);
	return rmdir(path) ? -errno : 0;
}

/* The mediated device of an emulated one, which is made by its user */
int dsim_make_mdev(struct dsim *d)
{
	char path[PATH_MAX], uuid[UUID_LEN + 1] = "";
	int fd, rc = 0;

	fd = open("/proc/sys/kernel/random/uuid", O_RDONLY);
	if (fd < 0 || read(fd, uuid, UUID_LEN) != UUID_LEN)
		rc = -errno;
	close(fd);
	if (rc)
		return rc;
	snprintf(path, sizeof(path),
		 SYSFS "/mdev_supported_types/dsim-emulated-pci/create", d->name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	if (write(fd, uuid, UUID_LEN) != UUID_LEN)
		rc = -errno;
	close(fd);
	if (!rc)
		snprintf(d->sysfs, sizeof(d->sysfs), SYSFS "/%s", d->name, uuid);
	return rc;
}

int dsim_create(struct dsim *d, const char *name,
		const struct dsim_config *config)
{
	char path[PATH_MAX];
	int rc;

	memset(d, 0, sizeof(*d));
	d->fd = -1;
	snprintf(d->name, sizeof(d->name), "%s", name);

	snprintf(path, sizeof(path), CONFIGFS "/%s", name);
	if (mkdir(path, 0700)) {
		if (errno != EEXIST)
			return -errno;
		/* left behind by a test that was killed */
		rc = dsim_remove(name);
		if (rc)
			return rc;
		if (mkdir(path, 0700))
			return -errno;
	}
	rc = dsim_set(name, "format", config->format);
	if (!rc && config->page_sizes)
		rc = set_number(name, "page_sizes", config->page_sizes);
	if (!rc && config->iotlb_entries)
		rc = set_number(name, "iotlb_entries", config->iotlb_entries);
	if (!rc && config->no_ad)
		rc = dsim_set(name, "ad", "0");
	if (!rc && config->emulated)
		rc = dsim_set(name, "emulated", "1");
	if (!rc && config->pins)
		rc = set_number(name, "pins", config->pins);
	if (!rc && config->no_p2p)
		rc = dsim_set(name, "p2p", "0");
	if (!rc && config->precopy)
		rc = dsim_set(name, "precopy", "1");
	if (!rc && config->revoke_mmio)
		rc = dsim_set(name, "revoke_mmio", "1");
	if (!rc && config->trapped)
		rc = dsim_set(name, "trap", "1");
	if (!rc && config->no_quiesce)
		rc = dsim_set(name, "no_quiesce", "1");
	if (!rc && config->memory)
		rc = set_number(name, "memory", config->memory);
	if (!rc && config->tracker)
		rc = dsim_set(name, "tracker", config->tracker);
	if (!rc && config->granule)
		rc = set_number(name, "granule", config->granule);
	if (!rc && config->ranges)
		rc = set_number(name, "ranges", config->ranges);
	if (!rc && config->rating)
		rc = dsim_set(name, "rating", config->rating > 0 ? "1" : "-1");
	if (!rc)
		rc = dsim_set(name, "live", "1");
	snprintf(d->sysfs, sizeof(d->sysfs), SYSFS, name);
	if (!rc && config->emulated)
		rc = dsim_make_mdev(d);
	if (rc) {
		dsim_set(name, "live", "0");
		rmdir(path);
	}
	return rc;
}

/* ---- vfio ---- */

/* The device node appears with the device; its name is under vfio-dev/ */
int dsim_open(struct dsim *d)
{
	char path[PATH_MAX], node[PATH_MAX] = "";
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "%s/vfio-dev", d->sysfs);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((entry = readdir(dir)))
		if (!strncmp(entry->d_name, "vfio", 4))
			snprintf(node, sizeof(node), "/dev/vfio/devices/%s",
				 entry->d_name);
	closedir(dir);
	if (!node[0])
		return -ENODEV;
	d->fd = open(node, O_RDWR | O_CLOEXEC);
	return d->fd < 0 ? -errno : 0;
}

int dsim_bind(struct dsim *d, int iommufd)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};
	int rc = ioctl_errno(d->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);

	d->devid = bind.out_devid;
	return rc;
}

int dsim_attach(struct dsim *d, uint32_t pt_id)
{
	struct vfio_device_attach_iommufd_pt attach = {
		.argsz = sizeof(attach),
		.pt_id = pt_id,
	};

	return ioctl_errno(d->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);
}

int dsim_detach(struct dsim *d)
{
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = sizeof(detach),
	};

	return ioctl_errno(d->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
}

static int region_offset(struct dsim *d, uint32_t index, uint64_t *offset)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = index,
	};
	int rc;

	if (!d->region[index]) {
		rc = ioctl_errno(d->fd, VFIO_DEVICE_GET_REGION_INFO, &info);
		if (rc)
			return rc;
		d->region[index] = info.offset + 1;
	}
	*offset = d->region[index] - 1;
	return 0;
}

int dsim_map_doorbell(struct dsim *d)
{
	uint64_t offset;
	void *page;
	int rc;

	rc = region_offset(d, VFIO_PCI_BAR0_REGION_INDEX, &offset);
	if (rc)
		return rc;
	page = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, d->fd,
		    offset + DSIM_DOORBELL_PAGE);
	if (page == MAP_FAILED)
		return -errno;
	d->doorbell = (void *)((char *)page +
			       (DSIM_DOORBELL_TAIL - DSIM_DOORBELL_PAGE));
	return 0;
}

void dsim_unmap_doorbell(struct dsim *d)
{
	uintptr_t at = (uintptr_t)d->doorbell & ~(SZ_4K - 1);

	if (at)
		munmap((void *)at, SZ_4K);
	d->doorbell = NULL;
}

/* A mapping holds the file, so the device is not let go of before both went */
void dsim_close(struct dsim *d)
{
	dsim_unmap_doorbell(d);
	if (d->fd >= 0)
		close(d->fd);
	d->fd = -1;
}

int dsim_reset(struct dsim *d)
{
	return ioctl_errno(d->fd, VFIO_DEVICE_RESET, NULL);
}

/* A negative eventfd takes the interrupt away */
int dsim_set_irq(struct dsim *d, uint32_t index, int eventfd)
{
	struct {
		struct vfio_irq_set set;
		int32_t eventfd;
	} arg = {
		.set = {
			.argsz = sizeof(arg),
			.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				 VFIO_IRQ_SET_DATA_EVENTFD,
			.index = index,
			.count = 1,
		},
		.eventfd = eventfd,
	};

	return ioctl_errno(d->fd, VFIO_DEVICE_SET_IRQS, &arg);
}

int dsim_read(struct dsim *d, uint32_t index, uint64_t at, void *buf, size_t n)
{
	uint64_t offset;
	ssize_t got;
	int rc;

	rc = region_offset(d, index, &offset);
	if (rc)
		return rc;
	got = pread(d->fd, buf, n, offset + at);
	return got < 0 ? -errno : got;
}

int dsim_write(struct dsim *d, uint32_t index, uint64_t at, const void *buf,
	       size_t n)
{
	uint64_t offset;
	ssize_t put;
	int rc;

	rc = region_offset(d, index, &offset);
	if (rc)
		return rc;
	put = pwrite(d->fd, buf, n, offset + at);
	return put < 0 ? -errno : put;
}

/* A register that cannot be read reads as all ones, as on a bus */
uint32_t dsim_reg(struct dsim *d, uint32_t reg)
{
	uint32_t value;

	if (dsim_read(d, VFIO_PCI_BAR0_REGION_INDEX, reg, &value, 4) != 4)
		return ~0U;
	return value;
}

static int whole(int rc, size_t n)
{
	if (rc < 0)
		return rc;
	return (size_t)rc == n ? 0 : -EIO;
}

int dsim_reg_write(struct dsim *d, uint32_t reg, uint32_t value)
{
	return whole(dsim_write(d, VFIO_PCI_BAR0_REGION_INDEX, reg, &value, 4),
		     4);
}

uint32_t dsim_cfg(struct dsim *d, uint32_t at, size_t n)
{
	uint32_t value = 0;

	if (dsim_read(d, VFIO_PCI_CONFIG_REGION_INDEX, at, &value, n) != (int)n)
		return ~0U;
	return value;
}

int dsim_cfg_write(struct dsim *d, uint32_t at, size_t n, uint32_t value)
{
	return whole(dsim_write(d, VFIO_PCI_CONFIG_REGION_INDEX, at, &value, n),
		     n);
}

/* ---- The ring ---- */

int dsim_enable_bus(struct dsim *d)
{
	return dsim_cfg_write(d, CFG_COMMAND, 2,
			      dsim_cfg(d, CFG_COMMAND, 2) |
			      CFG_COMMAND_MEM | CFG_COMMAND_MASTER);
}

/* Enable a ring that lies at @iova; @ring is where this process sees it */
int dsim_start_at(struct dsim *d, struct dsim_desc *ring, uint64_t iova)
{
	int rc = dsim_enable_bus(d);

	memset(ring, 0, RING_BYTES);
	d->ring = ring;
	d->tail = 0;
	if (!rc)
		rc = dsim_reg_write(d, DSIM_REG_CTRL, 0);
	if (!rc)
		rc = dsim_reg_write(d, DSIM_REG_RING_LO, (uint32_t)iova);
	if (!rc)
		rc = dsim_reg_write(d, DSIM_REG_RING_HI, iova >> 32);
	if (!rc)
		rc = dsim_reg_write(d, DSIM_REG_RING_ORDER, RING_ORDER);
	if (!rc)
		rc = dsim_reg_write(d, DSIM_REG_CTRL,
				    DSIM_CTRL_ENABLE | DSIM_CTRL_IRQ);
	return rc;
}

/* Where most tests have it */
int dsim_start(struct dsim *d, struct dsim_desc *ring)
{
	return dsim_start_at(d, ring, RING_IOVA);
}

/* Put a descriptor into the next slot, without telling the device */
struct dsim_desc *dsim_put(struct dsim *d, const struct dsim_desc *desc)
{
	struct dsim_desc *slot = &d->ring[d->tail++ % RING_ENTRIES];

	*slot = *desc;
	slot->status = DSIM_DESC_PENDING;
	return slot;
}

/* Tell the device, by the doorbell that the test chose */
int dsim_kick(struct dsim *d)
{
	if (d->trap || !d->doorbell)
		return dsim_reg_write(d, DSIM_REG_TAIL, d->tail);
	__atomic_store_n(d->doorbell, d->tail, __ATOMIC_RELEASE);
	return 0;
}

/* Wait until the device consumed everything; its writes are visible then */
int dsim_wait(struct dsim *d)
{
	unsigned long long end = now_ms() + WAIT_MS;

	while (dsim_reg(d, DSIM_REG_HEAD) != d->tail) {
		if (dsim_reg(d, DSIM_REG_STATUS) & DSIM_STATUS_ERROR)
			return -EIO;
		if (now_ms() > end)
			return -ETIMEDOUT;
		nap(20);
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return 0;
}

/*
 * One descriptor from start to end: its status, or -errno. The test's pages are
 * made anew in every run, so the slot that is used is no secret to the oracle.
 */
int dsim_run(struct dsim *d, const struct dsim_desc *desc)
{
	struct dsim_desc *slot = dsim_put(d, desc);
	int rc = dsim_kick(d);

	if (!rc)
		rc = dsim_wait(d);
	return rc ?: (int)__atomic_load_n(&slot->status, __ATOMIC_ACQUIRE);
}

/* True when nothing is executed for @ms milliseconds */
bool dsim_rests(struct dsim *d, unsigned int ms)
{
	long long before = dsim_stat(d->name, "descs");

	nap(0);
	for (unsigned int i = 0; i < ms; i++)
		nap(1000);
	return before >= 0 && dsim_stat(d->name, "descs") == before;
}

/* ---- Memory of the device's own ---- */

int dsim_mem_write(struct dsim *d, uint32_t at, uint32_t word)
{
	return dsim_reg_write(d, DSIM_REG_MEM_AT, at) ?:
	       dsim_reg_write(d, DSIM_REG_MEM_DATA, word);
}

uint32_t dsim_mem_read(struct dsim *d, uint32_t at)
{
	if (dsim_reg_write(d, DSIM_REG_MEM_AT, at))
		return ~0U;
	return dsim_reg(d, DSIM_REG_MEM_DATA);
}

/* ---- DMA logging ---- */

struct log_arg {
	struct vfio_device_feature feature;
	union {
		struct vfio_device_feature_dma_logging_control control;
		struct vfio_device_feature_dma_logging_report report;
	};
} __attribute__((aligned(8)));

static int log_feature(struct dsim *d, struct log_arg *arg, uint32_t flags)
{
	arg->feature.argsz = sizeof(*arg);
	arg->feature.flags = flags;
	return ioctl_errno(d->fd, VFIO_DEVICE_FEATURE, arg);
}

int dsim_log_probe(struct dsim *d)
{
	const uint32_t all[] = { VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
				 VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP };
	struct log_arg arg = {};
	int rc;

	rc = log_feature(d, &arg, VFIO_DEVICE_FEATURE_PROBE |
				  VFIO_DEVICE_FEATURE_GET |
				  VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT);
	for (unsigned int i = 0; i < ARRAY_LEN(all); i++)
		if (log_feature(d, &arg, VFIO_DEVICE_FEATURE_PROBE |
					 VFIO_DEVICE_FEATURE_SET | all[i]) != rc)
			return -EPROTO;
	return rc;
}

int dsim_log_start(struct dsim *d,
		   const struct vfio_device_feature_dma_logging_range *ranges,
		   unsigned int nr, uint64_t *page_size)
{
	struct log_arg arg = { .control = {
		.page_size = *page_size,
		.num_ranges = nr,
		.ranges = (uintptr_t)ranges,
	} };
	int rc = log_feature(d, &arg, VFIO_DEVICE_FEATURE_SET |
				      VFIO_DEVICE_FEATURE_DMA_LOGGING_START);

	*page_size = arg.control.page_size;
	return rc;
}

int dsim_log_stop(struct dsim *d)
{
	struct log_arg arg = {};

	return log_feature(d, &arg, VFIO_DEVICE_FEATURE_SET |
				    VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP);
}

int dsim_log_report(struct dsim *d, uint64_t iova, uint64_t length,
		    uint64_t page_size, void *bitmap)
{
	struct log_arg arg = { .report = {
		.iova = iova,
		.length = length,
		.page_size = page_size,
		.bitmap = (uintptr_t)bitmap,
	} };

	return log_feature(d, &arg, VFIO_DEVICE_FEATURE_GET |
				    VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT);
}

/* ---- Migration ---- */

struct mig_arg {
	struct vfio_device_feature feature;
	struct vfio_device_feature_mig_state state;
};

int dsim_mig_set(struct dsim *d, uint32_t state, int *data_fd)
{
	struct mig_arg arg = {
		.feature = {
			.argsz = sizeof(arg),
			.flags = VFIO_DEVICE_FEATURE_SET |
				 VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
		},
		.state = {
			.device_state = state,
			.data_fd = -1,
		},
	};
	int rc = ioctl_errno(d->fd, VFIO_DEVICE_FEATURE, &arg);

	if (data_fd)
		*data_fd = arg.state.data_fd;
	else if (!rc && arg.state.data_fd >= 0)
		close(arg.state.data_fd);
	return rc;
}

/* The state, or -errno */
int dsim_mig_get(struct dsim *d)
{
	struct mig_arg arg = {
		.feature = {
			.argsz = sizeof(arg),
			.flags = VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
		},
	};
	int rc = ioctl_errno(d->fd, VFIO_DEVICE_FEATURE, &arg);

	return rc ?: (int)arg.state.device_state;
}

/* The whole stream: its length, or -errno; -EFBIG when it is larger than @size */
ssize_t read_stream(int fd, void *buf, size_t size)
{
	size_t have = 0;
	ssize_t n;

	while (have < size) {
		n = read(fd, (char *)buf + have, size - have);
		if (n < 0)
			return -errno;
		if (!n)
			return have;
		have += n;
	}
	return -EFBIG;
}

int write_stream(int fd, const void *buf, size_t size)
{
	size_t done = 0;
	ssize_t n;

	while (done < size) {
		n = write(fd, (const char *)buf + done, size - done);
		if (n < 0)
			return -errno;
		if (!n)
			return -EIO;
		done += n;
	}
	return 0;
}

/* ---- vm ---- */

/* Another address space in the same iommufd */
int vm_alloc_ioas(struct vm *vm)
{
	struct iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
	int rc = ioctl_errno(vm->iommufd, IOMMU_IOAS_ALLOC, &alloc);

	vm->ioas = alloc.out_ioas_id;
	return rc;
}

int vm_create(struct vm *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->memfd = -1;
	vm->iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	return vm->iommufd < 0 ? -errno : vm_alloc_ioas(vm);
}

void vm_destroy(struct vm *vm)
{
	if (vm->iommufd >= 0)
		close(vm->iommufd);
	vm->iommufd = -1;
	if (vm->ring)
		munmap(vm->ring, LOW_BYTES);
	if (vm->area)
		munmap(vm->area, vm->area_size);
	if (vm->memfd >= 0)
		close(vm->memfd);
	vm->memfd = -1;
	free(vm->leaf);
	vm->ring = NULL;
	vm->area = NULL;
	vm->data = NULL;
	vm->leaf = NULL;
}

int vm_alloc_hwpt(struct vm *vm, struct dsim *d, uint32_t flags, uint32_t *hwpt)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = flags,
		.dev_id = d->devid,
		.pt_id = vm->ioas,
	};
	int rc = ioctl_errno(vm->iommufd, IOMMU_HWPT_ALLOC, &alloc);

	*hwpt = alloc.out_hwpt_id;
	return rc;
}

int vm_destroy_object(struct vm *vm, uint32_t id)
{
	struct iommu_destroy destroy = { .size = sizeof(destroy), .id = id };

	return ioctl_errno(vm->iommufd, IOMMU_DESTROY, &destroy);
}

/* Memory for the ring and the data; -ENOMEM when there are no huge pages */
int vm_alloc_memory(struct vm *vm, size_t data_size, bool huge)
{
	int flags = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
	void *p;

	p = mmap(NULL, LOW_BYTES, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	vm->ring = p;

	if (huge) {
		vm->area_size = data_size;
		p = mmap(NULL, vm->area_size, PROT_READ | PROT_WRITE,
			 flags | MAP_HUGETLB, -1, 0);
	} else {
		/* some to spare, so that there is a choice of frames */
		vm->area_size = data_size + 31 * SZ_4K;
		vm->memfd = memfd_create("dsim", MFD_CLOEXEC);
		if (vm->memfd < 0 || ftruncate(vm->memfd, vm->area_size))
			return -errno;
		p = mmap(NULL, vm->area_size, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_POPULATE, vm->memfd, 0);
	}
	if (p == MAP_FAILED)
		return -errno;
	vm->area = p;
	vm->data = p;
	vm->data_size = data_size;
	memset(vm->area, 0, vm->area_size);

	vm->leaf = malloc(data_size / SZ_4K);
	if (!vm->leaf)
		return -ENOMEM;
	memset(vm->leaf, 12, data_size / SZ_4K);
	return 0;
}

int vm_map(struct vm *vm, uint64_t iova, void *mem, size_t size, uint32_t prot)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | prot,
		.ioas_id = vm->ioas,
		.user_va = (uintptr_t)mem,
		.length = size,
		.iova = iova,
	};

	return ioctl_errno(vm->iommufd, IOMMU_IOAS_MAP, &map);
}

int vm_map_file(struct vm *vm, int fd, uint64_t iova, uint64_t start,
		uint64_t length)
{
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA,
		.ioas_id = vm->ioas,
		.fd = fd,
		.start = start,
		.length = length,
		.iova = iova,
	};

	return ioctl_errno(vm->iommufd, IOMMU_IOAS_MAP_FILE, &map);
}

int vm_unmap(struct vm *vm, uint64_t iova, size_t size)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = vm->ioas,
		.iova = iova,
		.length = size,
	};

	return ioctl_errno(vm->iommufd, IOMMU_IOAS_UNMAP, &unmap);
}

int vm_map_memory(struct vm *vm)
{
	uint8_t *ring = vm->ring;
	int rc = 0;

	/* page by page, so that the ring has 4K leaves in every format */
	for (size_t at = 0; !rc && at < RING_BYTES; at += SZ_4K)
		rc = vm_map(vm, RING_IOVA + at, ring + at, SZ_4K, MAP_RW);
	return rc ?:
	       vm_map(vm, RING_IOVA + RING_BYTES, ring + RING_BYTES,
		      LOW_BYTES - RING_BYTES, MAP_RW) ?:
	       vm_map(vm, DATA_IOVA, vm->data, vm->data_size, MAP_RW);
}

/*
 * Work out which leaves the IOMMU makes of pages that lie in these frames from
 * DATA_IOVA on: software takes the largest size allowed to which address, frame
 * and what is left of a contiguous run are aligned.
 * Returns the number of pages that lie in leaves of more than one.
 */
static size_t leaves(const uint64_t *frame, size_t pages, uint64_t page_sizes,
		     uint8_t *leaf)
{
	size_t large = 0, end, at;

	for (at = 0; at < pages;) {
		for (end = at + 1; end < pages &&
		     frame[end] == frame[end - 1] + 1; end++)
			;
		while (at < end) {
			uint64_t align = DATA_IOVA / SZ_4K + at;
			unsigned int order = 0;

			align |= frame[at];
			for (unsigned int o = 1; o < 28; o++)
				if ((page_sizes & (SZ_4K << o)) &&
				    !(align & ((1UL << o) - 1)) &&
				    (1UL << o) <= end - at)
					order = o;
			memset(leaf + at, 12 + order, 1UL << order);
			if (order)
				large += 1UL << order;
			at += 1UL << order;
		}
	}
	return large;
}

/* The frames of the area's pages. Needs root, for /proc/self/pagemap. */
static int read_frames(struct vm *vm, uint64_t *frame)
{
	size_t pages = vm->area_size / SZ_4K;
	int fd, rc = 0;

	fd = open("/proc/self/pagemap", O_RDONLY);
	if (fd < 0)
		return -errno;
	if (pread(fd, frame, pages * sizeof(*frame),
		  (uintptr_t)vm->area / SZ_4K * sizeof(*frame)) !=
	    (ssize_t)(pages * sizeof(*frame)))
		rc = -EIO;
	close(fd);
	for (size_t i = 0; !rc && i < pages; i++) {
		frame[i] &= (1ULL << 55) - 1;
		if (!frame[i])
			rc = -EPERM;
	}
	return rc;
}

struct page_of_file {
	uint64_t frame;
	size_t index;
};

static int by_frame(const void *a, const void *b)
{
	const struct page_of_file *p = a, *q = b;

	return (p->frame > q->frame) - (p->frame < q->frame);
}

/*
 * Memory of a kernel that has no huge pages is contiguous too, if one puts its
 * pages in order.
 */
static int sort_pages(struct vm *vm, uint64_t *frame)
{
	size_t pages = vm->area_size / SZ_4K;
	struct page_of_file *sorted;
	int rc = 0;

	sorted = calloc(pages, sizeof(*sorted));
	if (!sorted)
		return -ENOMEM;
	for (size_t i = 0; i < pages; i++) {
		sorted[i].frame = frame[i];
		sorted[i].index = i;
	}
	qsort(sorted, pages, sizeof(*sorted), by_frame);
	for (size_t i = 0; !rc && i < pages; i++)
		if (mmap(vm->area + i * SZ_4K, SZ_4K, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_POPULATE, vm->memfd,
			 sorted[i].index * SZ_4K) == MAP_FAILED)
			rc = -errno;
	free(sorted);
	return rc ?: read_frames(vm, frame);
}

/*
 * Learn what leaves the data will have, and lay it out in its area so that they
 * are as large as they can be. Call it before the data is mapped or used.
 */
int vm_learn_leaves(struct vm *vm, uint64_t page_sizes, size_t *large)
{
	size_t area = vm->area_size / SZ_4K, pages = vm->data_size / SZ_4K;
	size_t best = 0, n;
	uint64_t *frame;
	int rc;

	frame = calloc(area, sizeof(*frame));
	if (!frame)
		return -ENOMEM;
	rc = read_frames(vm, frame);
	if (!rc && page_sizes != SZ_4K && vm->memfd >= 0)
		rc = sort_pages(vm, frame);
	if (rc)
		goto out;

	*large = 0;
	for (size_t shift = 0; shift <= area - pages; shift++) {
		n = leaves(frame + shift, pages, page_sizes, vm->leaf);
		if (n > *large) {
			*large = n;
			best = shift;
		}
	}
	leaves(frame + best, pages, page_sizes, vm->leaf);
	vm->data = vm->area + best * SZ_4K;
out:
	free(frame);
	return rc;
}

int vm_track(struct vm *vm, uint32_t hwpt, bool enable)
{
	struct iommu_hwpt_set_dirty_tracking set = {
		.size = sizeof(set),
		.flags = enable ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE : 0,
		.hwpt_id = hwpt,
	};

	return ioctl_errno(vm->iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set);
}

int vm_get_dirty(struct vm *vm, uint32_t hwpt, uint64_t iova, uint64_t size,
		 uint32_t flags, uint64_t *bitmap)
{
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.hwpt_id = hwpt,
		.flags = flags,
		.iova = iova,
		.length = size,
		.page_size = SZ_4K,
		.data = (uintptr_t)bitmap,
	};

	return ioctl_errno(vm->iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get);
}

/* ---- The oracle ---- */

static void bit_set(uint64_t *map, size_t bit)
{
	map[bit / 64] |= 1ULL << (bit % 64);
}

int shadow_init(struct shadow *s, struct vm *vm)
{
	memset(s, 0, sizeof(*s));
	s->vm = vm;
	s->start = RING_IOVA;
	s->size = DATA_IOVA + vm->data_size - s->start;
	s->words = (s->size / SZ_4K + 63) / 64;
	s->data = malloc(vm->data_size);
	s->want = calloc(s->words, 8);
	s->got = calloc(s->words, 8);
	if (!s->data || !s->want || !s->got)
		return -ENOMEM;
	memcpy(s->data, vm->data, vm->data_size);
	return 0;
}

void shadow_free(struct shadow *s)
{
	free(s->data);
	free(s->want);
	free(s->got);
	memset(s, 0, sizeof(*s));
}

/* The device wrote [iova, iova + len): whole leaves become dirty */
void shadow_wrote(struct shadow *s, uint64_t iova, uint64_t len)
{
	uint64_t end = iova + len;

	while (iova < end) {
		uint64_t size = SZ_4K, at;

		if (iova >= DATA_IOVA)
			size = 1ULL << s->vm->leaf[(iova - DATA_IOVA) / SZ_4K];
		at = iova & ~(size - 1);
		for (uint64_t page = at; page < at + size; page += SZ_4K)
			bit_set(s->want, (page - s->start) / SZ_4K);
		iova = at + size;
	}
}

static void shadow_store(struct shadow *s, uint64_t iova, uint64_t value)
{
	memcpy(s->data + (iova - DATA_IOVA), &value, sizeof(value));
	shadow_wrote(s, iova, sizeof(value));
}

/* Do what the device is to do with a valid descriptor that lies in @slot */
void shadow_desc(struct shadow *s, uint32_t slot, const struct dsim_desc *desc)
{
	uint8_t *dst = s->data + (desc->dst - DATA_IOVA);
	uint64_t at, old;

	switch (desc->op) {
	case DSIM_OP_COPY:
		memcpy(dst, s->data + (desc->src - DATA_IOVA), desc->len);
		shadow_wrote(s, desc->dst, desc->len);
		break;
	case DSIM_OP_FILL:
		for (uint32_t i = 0; i < desc->len; i++)
			dst[i] = desc->value >> (i % 8 * 8);
		shadow_wrote(s, desc->dst, desc->len);
		break;
	case DSIM_OP_SCATTER:
		for (uint32_t i = 0; i < desc->count; i++)
			shadow_store(s, desc->dst + (uint64_t)i * desc->stride,
				     desc->value + i);
		break;
	case DSIM_OP_ADD:
		for (uint32_t i = 0; i < desc->count; i++) {
			at = desc->dst + (uint64_t)i * desc->stride;
			memcpy(&old, s->data + (at - DATA_IOVA), sizeof(old));
			shadow_store(s, at, old + desc->value);
		}
		break;
	}
	/* the status word, which every descriptor gets */
	shadow_wrote(s, RING_IOVA + slot % RING_ENTRIES * sizeof(*desc) +
			offsetof(struct dsim_desc, status), 4);
}

void shadow_clean(struct shadow *s)
{
	memset(s->want, 0, s->words * 8);
}

int shadow_read(struct shadow *s, uint32_t hwpt, uint32_t flags)
{
	memset(s->got, 0, s->words * 8);
	return vm_get_dirty(s->vm, hwpt, s->start, s->size, flags, s->got);
}

static size_t bits_in_first_only(const struct shadow *s, const uint64_t *a,
				 const uint64_t *b, uint64_t *first)
{
	size_t n = 0;

	for (size_t i = 0; i < s->words; i++) {
		uint64_t word = a[i] & ~b[i];

		if (word && !n && first)
			*first = s->start +
				 (i * 64 + __builtin_ctzll(word)) * SZ_4K;
		n += __builtin_popcountll(word);
	}
	return n;
}

size_t shadow_lost(const struct shadow *s, uint64_t *first)
{
	return bits_in_first_only(s, s->want, s->got, first);
}

size_t shadow_extra(const struct shadow *s, uint64_t *first)
{
	return bits_in_first_only(s, s->got, s->want, first);
}

size_t shadow_count(const struct shadow *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->words; i++)
		n += __builtin_popcountll(s->want[i]);
	return n;
}

bool shadow_data_equal(const struct shadow *s)
{
	return !memcmp(s->data, s->vm->data, s->vm->data_size);
}

bool on_base(void)
{
	const char *kernel = getenv("TESTBED_KERNEL");

	return kernel && !strcmp(kernel, "base");
}
