/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers to drive the simulated DMA device (dsim_regs.h) from user space
 *
 * Three things, each built on the one before:
 *
 *  - struct dsim: a device, made through configfs, opened through its vfio
 *    cdev, with its registers and its ring;
 *  - struct vm: an iommufd with one IOAS and HWPT that stand for one guest;
 *  - struct shadow: the oracle, which knows what memory must hold and which
 *    pages the device must have written.
 *
 * Functions return 0 or a negative errno unless they say otherwise, so that
 * the tests can name the error they want.
 */
#ifndef __DSIM_USER_H
#define __DSIM_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <linux/vfio.h>
#include <linux/iommufd.h>

#include "dsim_regs.h"

#define ARRAY_LEN(a)	(sizeof(a) / sizeof((a)[0]))

#define SZ_4K		0x1000UL
#define SZ_2M		0x200000UL

/* PCI config space; the numbers are those of the PCI specification */
#define CFG_VENDOR	0x00
#define CFG_DEVICE	0x02
#define CFG_COMMAND	0x04
#define CFG_COMMAND_MEM		0x2
#define CFG_COMMAND_MASTER	0x4
#define CFG_STATUS	0x06
#define CFG_STATUS_CAPS		0x10
#define CFG_HEADER_TYPE	0x0e
#define CFG_BAR0	0x10
#define CFG_ROM		0x30
#define CFG_CAP_PTR	0x34
#define CFG_INT_PIN	0x3d
#define CFG_SIZE	256
#define CAP_ID_MSI	0x05
#define MSI_FLAGS	2
#define MSI_FLAGS_ENABLE	0x1
#define MSI_FLAGS_64BIT		0x80

/* The order of the ring that dsim_start() makes: 256 entries in four pages */
#define RING_ORDER	8
#define RING_ENTRIES	256U
#define RING_BYTES	(RING_ENTRIES * sizeof(struct dsim_desc))

/*
 * Where things lie in a vm's IOVA space. The ring is always mapped with 4K
 * pages, the data with what the test asks for. Memory that nobody uses lies
 * between them, since reading dirty pages ends at the first hole.
 */
#define DATA_IOVA	0x10000000UL
#define RING_IOVA	(DATA_IOVA - LOW_BYTES)
#define LOW_BYTES	0x40000UL
/* Never mapped, just behind the most that any test maps */
#define NOWHERE_IOVA	0x20000000UL

/**
 * struct dsim_config - how to make a device
 * @format: page table format of its IOMMU
 * @page_sizes: bitmap of leaf sizes that the IOMMU may use, 0 for all
 * @iotlb_entries: size of the IOTLB, 0 for the usual
 * @no_ad: the IOMMU has no accessed and dirty bits
 * @emulated: there is no IOMMU
 * @pins: pages that such a device keeps, 0: each write is a copy
 * @no_p2p: the device has no RUNNING_P2P
 * @precopy: the device has PRE_COPY
 * @revoke_mmio: the device has no MMIO while it does not run
 * @trapped: its mapped doorbell is trapped, and held, while DMA is stopped
 * @no_quiesce: it is drained and kept from the bus, for it cannot be told to stop
 * @memory: bytes of memory of the device's own
 * @tracker: the device's own: "pull" or "push"; NULL: none
 * @granule: bytes that this one tells apart, 0 for a page
 * @ranges: how many ranges it can log, 0 for any number
 * @rating: of one that pushes: 1, 0 or -1
 */
struct dsim_config {
	const char *format;
	uint64_t page_sizes;
	unsigned int iotlb_entries;
	bool no_ad;
	bool emulated;
	unsigned int pins;
	bool no_p2p;
	bool precopy;
	bool revoke_mmio;
	bool trapped;
	bool no_quiesce;
	unsigned int memory;
	const char *tracker;
	uint64_t granule;
	unsigned int ranges;
	int rating;
};

/**
 * struct dsim - an open simulated device
 * @name: its name in configfs
 * @sysfs: its folder in sysfs
 * @fd: the vfio cdev, -1 while closed
 * @devid: its iommufd object, once bound
 * @region: where in @fd each region lies, and 1 more, or 0 while not known
 * @doorbell: the mapped doorbell, NULL while unmapped
 * @ring: the descriptors, as this process sees them
 * @tail: descriptors submitted so far, free running
 * @trap: ring the trapped doorbell, not the mapped one
 */
struct dsim {
	char name[32];
	char sysfs[128];
	int fd;
	uint32_t devid;
	uint64_t region[VFIO_PCI_NUM_REGIONS];
	uint32_t *doorbell;
	struct dsim_desc *ring;
	uint32_t tail;
	bool trap;
};

/* configfs */
bool dsim_available(void);
int dsim_create(struct dsim *d, const char *name,
		const struct dsim_config *config);
int dsim_make_mdev(struct dsim *d);
int dsim_set(const char *name, const char *attr, const char *value);
long long dsim_stat(const char *name, const char *stat);
int dsim_remove(const char *name);

/* vfio */
int dsim_open(struct dsim *d);
int dsim_bind(struct dsim *d, int iommufd);
int dsim_attach(struct dsim *d, uint32_t pt_id);
int dsim_detach(struct dsim *d);
int dsim_map_doorbell(struct dsim *d);
void dsim_unmap_doorbell(struct dsim *d);
void dsim_close(struct dsim *d);
int dsim_reset(struct dsim *d);
int dsim_set_irq(struct dsim *d, uint32_t index, int eventfd);

/* Region access; index is that of vfio-pci. The result is bytes or -errno. */
int dsim_read(struct dsim *d, uint32_t index, uint64_t at, void *buf, size_t n);
int dsim_write(struct dsim *d, uint32_t index, uint64_t at, const void *buf,
	       size_t n);
uint32_t dsim_reg(struct dsim *d, uint32_t reg);
int dsim_reg_write(struct dsim *d, uint32_t reg, uint32_t value);
uint32_t dsim_cfg(struct dsim *d, uint32_t at, size_t n);
int dsim_cfg_write(struct dsim *d, uint32_t at, size_t n, uint32_t value);

/* The ring */
int dsim_enable_bus(struct dsim *d);
int dsim_start(struct dsim *d, struct dsim_desc *ring);
int dsim_start_at(struct dsim *d, struct dsim_desc *ring, uint64_t iova);
struct dsim_desc *dsim_put(struct dsim *d, const struct dsim_desc *desc);
int dsim_kick(struct dsim *d);
int dsim_wait(struct dsim *d);
int dsim_run(struct dsim *d, const struct dsim_desc *desc);
bool dsim_rests(struct dsim *d, unsigned int ms);

/* Memory of the device's own, by words */
int dsim_mem_write(struct dsim *d, uint32_t at, uint32_t word);
uint32_t dsim_mem_read(struct dsim *d, uint32_t at);

/* DMA logging, by VFIO_DEVICE_FEATURE_DMA_LOGGING_* */
int dsim_log_probe(struct dsim *d);
int dsim_log_start(struct dsim *d,
		   const struct vfio_device_feature_dma_logging_range *ranges,
		   unsigned int nr, uint64_t *page_size);
int dsim_log_stop(struct dsim *d);
int dsim_log_report(struct dsim *d, uint64_t iova, uint64_t length,
		    uint64_t page_size, void *bitmap);

/* Migration; the state is enum vfio_device_mig_state */
int dsim_mig_set(struct dsim *d, uint32_t state, int *data_fd);
int dsim_mig_get(struct dsim *d);
ssize_t read_stream(int fd, void *buf, size_t size);
int write_stream(int fd, const void *buf, size_t size);

/**
 * struct vm - one IOAS and what stands in it
 * @iommufd: the file
 * @ioas: its only address space
 * @hwpt: the page table that devices attach to
 * @ring: memory at RING_IOVA, LOW_BYTES of it, the ring first
 * @memfd: file behind @area, unless that is of huge pages
 * @area: memory that holds @data, and some more to choose from
 * @area_size: its size
 * @data: memory at DATA_IOVA
 * @data_size: its size
 * @leaf: for each 4K page of @data, log2 of the size of the leaf it lies in
 */
struct vm {
	int iommufd;
	uint32_t ioas;
	uint32_t hwpt;
	void *ring;
	int memfd;
	uint8_t *area;
	size_t area_size;
	uint8_t *data;
	size_t data_size;
	uint8_t *leaf;
};

int vm_create(struct vm *vm);
int vm_alloc_ioas(struct vm *vm);
void vm_destroy(struct vm *vm);
int vm_alloc_hwpt(struct vm *vm, struct dsim *d, uint32_t flags,
		  uint32_t *hwpt);
int vm_alloc_memory(struct vm *vm, size_t data_size, bool huge);
int vm_map_memory(struct vm *vm);
int vm_map(struct vm *vm, uint64_t iova, void *mem, size_t size, uint32_t prot);
int vm_map_file(struct vm *vm, int fd, uint64_t iova, uint64_t start,
		uint64_t length);
int vm_unmap(struct vm *vm, uint64_t iova, size_t size);
int vm_learn_leaves(struct vm *vm, uint64_t page_sizes, size_t *large);
int vm_track(struct vm *vm, uint32_t hwpt, bool enable);
int vm_get_dirty(struct vm *vm, uint32_t hwpt, uint64_t iova, uint64_t size,
		 uint32_t flags, uint64_t *bitmap);
int vm_destroy_object(struct vm *vm, uint32_t id);

#define MAP_RW	(IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)

/**
 * struct shadow - what must be true
 * @vm: whose memory it follows
 * @data: what vm->data must hold
 * @start: first IOVA of the window of dirty pages: the ring to the data's end
 * @size: of the window
 * @want: one bit for each page of the window: written and not yet read back
 * @got: the same as reported by the kernel, zeroed before each read
 */
struct shadow {
	struct vm *vm;
	uint8_t *data;
	uint64_t start;
	size_t size;
	size_t words;
	uint64_t *want;
	uint64_t *got;
};

int shadow_init(struct shadow *s, struct vm *vm);
void shadow_free(struct shadow *s);
void shadow_wrote(struct shadow *s, uint64_t iova, uint64_t len);
void shadow_desc(struct shadow *s, uint32_t slot, const struct dsim_desc *desc);
void shadow_clean(struct shadow *s);
int shadow_read(struct shadow *s, uint32_t hwpt, uint32_t flags);
/* Pages that are wrong in one way; the first of them, when asked */
size_t shadow_lost(const struct shadow *s, uint64_t *first);
size_t shadow_extra(const struct shadow *s, uint64_t *first);
size_t shadow_count(const struct shadow *s);
bool shadow_data_equal(const struct shadow *s);

/* xorshift64*: the same numbers on each run with the same seed */
uint64_t rnd(uint64_t *state);

unsigned long long now_ms(void);

/* On the unpatched kernel, whose defects are expected */
bool on_base(void);

/*
 * Machines are emulated, kernels instrumented, hosts busy: a test that hangs is
 * to end, one that is slow is not. Include this after the harness.
 */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	240
/* and for those that move much, in seconds too */
#define LONG			600

#endif
