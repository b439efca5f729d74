// SPDX-License-Identifier: GPL-2.0-only
/*
 * The simulated device as a vfio device: regions, config space, interrupts,
 * reset, and coming and going
 */
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "dsim_user.h"

#define NAME	"selftest"
#define BAR0	VFIO_PCI_BAR0_REGION_INDEX
#define CONFIG	VFIO_PCI_CONFIG_REGION_INDEX

static const struct dsim_config vtdss = { .format = "vtdss" };

/* What a descriptor that only asks for an interrupt looks like */
static const struct dsim_desc nop_irq = {
	.op = DSIM_OP_NOP,
	.flags = DSIM_DESC_IRQ,
};

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

/* Take what an eventfd counted; 0 when there is nothing */
static uint64_t take(int fd)
{
	uint64_t n = 0;

	return read(fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

FIXTURE(vfio)
{
	struct dsim dev;
	struct vm vm;
	int event;
};

FIXTURE_SETUP(vfio)
{
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	self->event = eventfd(0, EFD_NONBLOCK);
	ASSERT_LE(0, self->event);
	ASSERT_EQ(0, dsim_create(&self->dev, NAME, &vtdss));
	ASSERT_EQ(0, vm_create(&self->vm));
	ASSERT_EQ(0, dsim_open(&self->dev));
	ASSERT_EQ(0, dsim_bind(&self->dev, self->vm.iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(&self->vm, &self->dev, 0, &self->vm.hwpt));
	ASSERT_EQ(0, dsim_attach(&self->dev, self->vm.hwpt));
	ASSERT_EQ(0, vm_alloc_memory(&self->vm, 16 * SZ_4K, false));
	ASSERT_EQ(0, vm_map_memory(&self->vm));
}

FIXTURE_TEARDOWN(vfio)
{
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	EXPECT_EQ(0, dsim_remove(NAME));
}

TEST_F(vfio, device_info)
{
	struct vfio_device_info info = { .argsz = sizeof(info) };

	ASSERT_EQ(0, ioctl(self->dev.fd, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET, info.flags);
	EXPECT_EQ(VFIO_PCI_NUM_REGIONS, info.num_regions);
	EXPECT_EQ(VFIO_PCI_NUM_IRQS, info.num_irqs);

	info.argsz = offsetof(struct vfio_device_info, num_irqs);
	EXPECT_EQ(-1, ioctl(self->dev.fd, VFIO_DEVICE_GET_INFO, &info));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(vfio, region_info)
{
	struct {
		struct vfio_region_info info;
		uint8_t caps[256];
	} region;
	struct vfio_region_info_cap_sparse_mmap *sparse;
	struct vfio_region_info *info = &region.info;

	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		memset(&region, 0, sizeof(region));
		info->argsz = sizeof(*info);
		info->index = i;
		ASSERT_EQ(0, ioctl(self->dev.fd, VFIO_DEVICE_GET_REGION_INFO,
				   info));
		switch (i) {
		case BAR0:
			EXPECT_EQ(DSIM_BAR_SIZE, info->size);
			EXPECT_EQ(VFIO_REGION_INFO_FLAG_READ |
				  VFIO_REGION_INFO_FLAG_WRITE |
				  VFIO_REGION_INFO_FLAG_MMAP |
				  VFIO_REGION_INFO_FLAG_CAPS, info->flags);
			/* no room for the capability yet: told how much */
			EXPECT_LT(sizeof(*info), info->argsz);
			EXPECT_EQ(0, info->cap_offset);
			break;
		case CONFIG:
			EXPECT_EQ(CFG_SIZE, info->size);
			EXPECT_EQ(VFIO_REGION_INFO_FLAG_READ |
				  VFIO_REGION_INFO_FLAG_WRITE, info->flags);
			break;
		default:
			EXPECT_EQ(0, info->size);
		}
	}

	memset(&region, 0, sizeof(region));
	info->argsz = sizeof(region);
	info->index = BAR0;
	ASSERT_EQ(0, ioctl(self->dev.fd, VFIO_DEVICE_GET_REGION_INFO, info));
	ASSERT_LE(sizeof(*info), info->cap_offset);
	ASSERT_GE(sizeof(region) - sizeof(*sparse), info->cap_offset);
	sparse = (void *)((uint8_t *)&region + info->cap_offset);
	EXPECT_EQ(VFIO_REGION_INFO_CAP_SPARSE_MMAP, sparse->header.id);
	EXPECT_EQ(1, sparse->header.version);
	EXPECT_EQ(0, sparse->header.next);
	ASSERT_EQ(1, sparse->nr_areas);
	EXPECT_EQ(DSIM_DOORBELL_PAGE, sparse->areas[0].offset);
	EXPECT_EQ(SZ_4K, sparse->areas[0].size);

	info->argsz = sizeof(*info);
	info->index = VFIO_PCI_NUM_REGIONS;
	EXPECT_EQ(-1, ioctl(self->dev.fd, VFIO_DEVICE_GET_REGION_INFO, info));
	EXPECT_EQ(EINVAL, errno);
	info->index = UINT32_MAX;
	EXPECT_EQ(-1, ioctl(self->dev.fd, VFIO_DEVICE_GET_REGION_INFO, info));
	EXPECT_EQ(EINVAL, errno);
	info->index = BAR0;
	info->argsz = sizeof(*info) - 8;
	EXPECT_EQ(-1, ioctl(self->dev.fd, VFIO_DEVICE_GET_REGION_INFO, info));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(vfio, bad_offsets)
{
	struct vfio_region_info info = { .argsz = sizeof(info) };
	uint32_t value = 0;
	uint64_t config;

	ASSERT_EQ(0, dsim_enable_bus(&self->dev));

	/* behind the end of a region, and across it */
	EXPECT_EQ(-EINVAL, dsim_read(&self->dev, BAR0, DSIM_BAR_SIZE, &value,
				     4));
	EXPECT_EQ(-EINVAL, dsim_write(&self->dev, BAR0, DSIM_BAR_SIZE, &value,
				      4));
	EXPECT_EQ(-EINVAL, dsim_read(&self->dev, CONFIG, CFG_SIZE, &value, 4));
	EXPECT_EQ(-EINVAL, dsim_write(&self->dev, CONFIG, CFG_SIZE, &value, 4));

	/* a region of no size, and none at all */
	EXPECT_EQ(-EINVAL, dsim_read(&self->dev, VFIO_PCI_BAR1_REGION_INDEX, 0,
				     &value, 4));
	EXPECT_EQ(-EINVAL, dsim_read(&self->dev, VFIO_PCI_VGA_REGION_INDEX, 0,
				     &value, 4));
	info.index = CONFIG;
	ASSERT_EQ(0, ioctl(self->dev.fd, VFIO_DEVICE_GET_REGION_INFO, &info));
	config = info.offset;
	info.index = CONFIG - 1;
	ASSERT_EQ(0, ioctl(self->dev.fd, VFIO_DEVICE_GET_REGION_INFO, &info));
	config += 20 * (config - info.offset);
	EXPECT_EQ(-1, pread(self->dev.fd, &value, 4, config));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pwrite(self->dev.fd, &value, 4, config));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(self->dev.fd, &value, 4, INT64_MAX - 3));
	EXPECT_EQ(EINVAL, errno);

	/* a bad buffer is an error of its own, and harms nothing */
	EXPECT_EQ(-EFAULT, dsim_read(&self->dev, BAR0, DSIM_REG_ID, NULL, 4));
	EXPECT_EQ(-EFAULT, dsim_write(&self->dev, BAR0, DSIM_REG_SCRATCH, NULL,
				      4));
	EXPECT_EQ(DSIM_ID, dsim_reg(&self->dev, DSIM_REG_ID));
}

TEST_F(vfio, mmap_only_the_doorbell)
{
	struct vfio_region_info info = {
		.argsz = sizeof(info),
		.index = BAR0,
	};
	int prot = PROT_READ | PROT_WRITE;
	int fd = self->dev.fd;
	void *p;

	ASSERT_EQ(0, ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info));

	/* the registers trap, so their page is not to be had, nor both at once */
	EXPECT_EQ(MAP_FAILED, mmap(NULL, SZ_4K, prot, MAP_SHARED, fd,
				   info.offset));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * SZ_4K, prot, MAP_SHARED, fd,
				   info.offset));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * SZ_4K, prot, MAP_SHARED, fd,
				   info.offset + DSIM_DOORBELL_PAGE));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, SZ_4K, prot, MAP_SHARED, fd,
				   info.offset + DSIM_BAR_SIZE));
	EXPECT_EQ(EINVAL, errno);
	info.index = CONFIG;
	ASSERT_EQ(0, ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, SZ_4K, prot, MAP_SHARED, fd,
				   info.offset));
	EXPECT_EQ(EINVAL, errno);

	ASSERT_EQ(0, dsim_map_doorbell(&self->dev));
	/* two mappings are two views of one register */
	info.index = BAR0;
	ASSERT_EQ(0, ioctl(fd, VFIO_DEVICE_GET_REGION_INFO, &info));
	p = mmap(NULL, SZ_4K, prot, MAP_SHARED, fd,
		 info.offset + DSIM_DOORBELL_PAGE);
	ASSERT_NE(MAP_FAILED, p);
	__atomic_store_n(self->dev.doorbell, 0x1234, __ATOMIC_RELEASE);
	EXPECT_EQ(0x1234, __atomic_load_n((uint32_t *)p, __ATOMIC_ACQUIRE));
	munmap(p, SZ_4K);
}

TEST_F(vfio, config_ids)
{
	struct dsim *d = &self->dev;

	EXPECT_EQ(DSIM_PCI_VENDOR_ID, dsim_cfg(d, CFG_VENDOR, 2));
	EXPECT_EQ(DSIM_PCI_DEVICE_ID, dsim_cfg(d, CFG_DEVICE, 2));
	EXPECT_EQ(DSIM_PCI_DEVICE_ID << 16 | DSIM_PCI_VENDOR_ID,
		  dsim_cfg(d, CFG_VENDOR, 4));
	EXPECT_EQ(DSIM_PCI_VENDOR_ID >> 8, dsim_cfg(d, CFG_VENDOR + 1, 1));
	EXPECT_EQ(0, dsim_cfg(d, CFG_HEADER_TYPE, 1));
	EXPECT_EQ(0, dsim_cfg(d, CFG_INT_PIN, 1));

	/* read only */
	ASSERT_EQ(0, dsim_cfg_write(d, CFG_VENDOR, 4, 0));
	EXPECT_EQ(DSIM_PCI_DEVICE_ID << 16 | DSIM_PCI_VENDOR_ID,
		  dsim_cfg(d, CFG_VENDOR, 4));
}

TEST_F(vfio, config_command)
{
	struct dsim *d = &self->dev;
	uint16_t bits = CFG_COMMAND_MEM | CFG_COMMAND_MASTER;

	EXPECT_EQ(0, dsim_cfg(d, CFG_COMMAND, 2) & bits);
	ASSERT_EQ(0, dsim_cfg_write(d, CFG_COMMAND, 2, bits));
	EXPECT_EQ(bits, dsim_cfg(d, CFG_COMMAND, 2) & bits);
	/* a byte is enough */
	ASSERT_EQ(0, dsim_cfg_write(d, CFG_COMMAND, 1, CFG_COMMAND_MEM));
	EXPECT_EQ(CFG_COMMAND_MEM, dsim_cfg(d, CFG_COMMAND, 2) & bits);
	/* there is no I/O space to turn on, and upper bits stay zero */
	ASSERT_EQ(0, dsim_cfg_write(d, CFG_COMMAND, 2, 0xffff));
	EXPECT_EQ(bits, dsim_cfg(d, CFG_COMMAND, 2) & (bits | 1));
	EXPECT_EQ(0, dsim_cfg(d, CFG_COMMAND, 2) & 0xf800);
}

TEST_F(vfio, config_bar_sizing)
{
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_cfg_write(d, CFG_BAR0, 4, UINT32_MAX));
	EXPECT_EQ((uint32_t)-DSIM_BAR_SIZE, dsim_cfg(d, CFG_BAR0, 4));
	ASSERT_EQ(0, dsim_cfg_write(d, CFG_BAR0, 4, 0xfebc2000));
	EXPECT_EQ(0xfebc2000, dsim_cfg(d, CFG_BAR0, 4));
	for (int i = 1; i < 6; i++) {
		ASSERT_EQ(0, dsim_cfg_write(d, CFG_BAR0 + 4 * i, 4,
					    UINT32_MAX));
		EXPECT_EQ(0, dsim_cfg(d, CFG_BAR0 + 4 * i, 4));
	}
	ASSERT_EQ(0, dsim_cfg_write(d, CFG_ROM, 4, 0xfffff800));
	EXPECT_EQ(0, dsim_cfg(d, CFG_ROM, 4));
}

static uint32_t find_cap(struct dsim *d, uint8_t id)
{
	uint32_t at = dsim_cfg(d, CFG_CAP_PTR, 1);

	/* no list is longer than this without a loop */
	for (int i = 0; at && i < 48; i++) {
		if (dsim_cfg(d, at, 1) == id)
			return at;
		at = dsim_cfg(d, at + 1, 1);
	}
	return 0;
}

TEST_F(vfio, config_msi)
{
	struct dsim *d = &self->dev;
	uint32_t msi, flags;

	EXPECT_EQ(CFG_STATUS_CAPS, dsim_cfg(d, CFG_STATUS, 2) &
		  CFG_STATUS_CAPS);
	msi = find_cap(d, CAP_ID_MSI);
	ASSERT_NE(0, msi);
	flags = dsim_cfg(d, msi + MSI_FLAGS, 2);
	EXPECT_EQ(MSI_FLAGS_64BIT, flags & MSI_FLAGS_64BIT);
	/* one vector asked for, none enabled */
	EXPECT_EQ(0, flags & 0x7e);
	EXPECT_EQ(0, flags & MSI_FLAGS_ENABLE);

	/* address, its upper half, and data keep what is written */
	ASSERT_EQ(0, dsim_cfg_write(d, msi + 4, 4, 0xfee01004));
	EXPECT_EQ(0xfee01004, dsim_cfg(d, msi + 4, 4));
	ASSERT_EQ(0, dsim_cfg_write(d, msi + 8, 4, 0x12345678));
	EXPECT_EQ(0x12345678, dsim_cfg(d, msi + 8, 4));
	ASSERT_EQ(0, dsim_cfg_write(d, msi + 12, 2, 0x4321));
	EXPECT_EQ(0x4321, dsim_cfg(d, msi + 12, 2));
	/* the two low bits of the address are zero */
	ASSERT_EQ(0, dsim_cfg_write(d, msi + 4, 4, 0xfee00003));
	EXPECT_EQ(0xfee00000, dsim_cfg(d, msi + 4, 4));
	/* the enable bit is the only flag that can be written usefully */
	ASSERT_EQ(0, dsim_cfg_write(d, msi + MSI_FLAGS, 2,
				    flags | MSI_FLAGS_ENABLE));
	EXPECT_EQ(flags | MSI_FLAGS_ENABLE, dsim_cfg(d, msi + MSI_FLAGS, 2));
	/* the list itself cannot be changed */
	flags = dsim_cfg(d, msi, 2);
	ASSERT_EQ(0, dsim_cfg_write(d, msi, 2, 0xffff));
	EXPECT_EQ(flags, dsim_cfg(d, msi, 2));
}

TEST_F(vfio, registers)
{
	struct dsim *d = &self->dev;
	uint32_t value;

	ASSERT_EQ(0, dsim_enable_bus(d));
	EXPECT_EQ(DSIM_ID, dsim_reg(d, DSIM_REG_ID));
	EXPECT_EQ(DSIM_VERSION, dsim_reg(d, DSIM_REG_VERSION));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_CTRL));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_STATUS));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_SCRATCH));

	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_SCRATCH, 0xcafe1234));
	EXPECT_EQ(0xcafe1234, dsim_reg(d, DSIM_REG_SCRATCH));
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_ID, 0));
	EXPECT_EQ(DSIM_ID, dsim_reg(d, DSIM_REG_ID));

	/* nobody answers while memory space is off */
	ASSERT_EQ(0, dsim_cfg_write(d, CFG_COMMAND, 2, CFG_COMMAND_MASTER));
	value = 0;
	if (dsim_read(d, BAR0, DSIM_REG_ID, &value, 4) == 4) {
		EXPECT_EQ(UINT32_MAX, value);
	}
	dsim_reg_write(d, DSIM_REG_SCRATCH, 1);
	ASSERT_EQ(0, dsim_enable_bus(d));
	EXPECT_EQ(0xcafe1234, dsim_reg(d, DSIM_REG_SCRATCH));
}

TEST_F(vfio, ring_registers_are_locked_while_enabled)
{
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	dsim_reg_write(d, DSIM_REG_RING_LO, 0x40);
	dsim_reg_write(d, DSIM_REG_RING_HI, 1);
	dsim_reg_write(d, DSIM_REG_RING_ORDER, 3);
	EXPECT_EQ(RING_IOVA, dsim_reg(d, DSIM_REG_RING_LO));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_RING_HI));
	EXPECT_EQ(RING_ORDER, dsim_reg(d, DSIM_REG_RING_ORDER));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
}

TEST_F(vfio, irq_info)
{
	struct vfio_irq_info info = { .argsz = sizeof(info) };
	static const struct { uint32_t index, count; } want[] = {
		{ VFIO_PCI_INTX_IRQ_INDEX, 0 },
		{ VFIO_PCI_MSI_IRQ_INDEX, 1 },
		{ VFIO_PCI_MSIX_IRQ_INDEX, 0 },
		{ VFIO_PCI_ERR_IRQ_INDEX, 0 },
		{ VFIO_PCI_REQ_IRQ_INDEX, 1 },
	};

	for (size_t i = 0; i < ARRAY_LEN(want); i++) {
		info.index = want[i].index;
		ASSERT_EQ(0, ioctl(self->dev.fd, VFIO_DEVICE_GET_IRQ_INFO,
				   &info));
		EXPECT_EQ(want[i].count, info.count);
		if (want[i].count) {
			EXPECT_EQ(VFIO_IRQ_INFO_EVENTFD,
				  info.flags & VFIO_IRQ_INFO_EVENTFD);
		}
	}
	info.index = VFIO_PCI_NUM_IRQS;
	EXPECT_EQ(-1, ioctl(self->dev.fd, VFIO_DEVICE_GET_IRQ_INFO, &info));
	EXPECT_EQ(EINVAL, errno);
}

/* SET_IRQS with no data or one byte of it */
static int set_irqs(struct dsim *d, uint32_t flags, uint32_t index,
		    uint32_t start, uint32_t count, uint8_t data)
{
	struct {
		struct vfio_irq_set set;
		uint8_t data;
	} arg = {
		.set = {
			.argsz = sizeof(arg.set) +
				 !!(flags & VFIO_IRQ_SET_DATA_BOOL),
			.flags = flags,
			.index = index,
			.start = start,
			.count = count,
		},
		.data = data,
	};

	return ioctl(d->fd, VFIO_DEVICE_SET_IRQS, &arg) ? -errno : 0;
}

TEST_F(vfio, msi)
{
	uint32_t none = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE;
	uint32_t one = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_BOOL;
	struct dsim_desc quiet = { .op = DSIM_OP_NOP };
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_set_irq(d, VFIO_PCI_MSI_IRQ_INDEX, self->event));
	ASSERT_EQ(0, dsim_start(d, self->vm.ring));

	/* only a descriptor that asks */
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &quiet));
	EXPECT_FALSE(readable(self->event, 50));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_IRQ_STATUS));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
	EXPECT_TRUE(readable(self->event, 5000));
	EXPECT_EQ(1, take(self->event));
	EXPECT_EQ(1, dsim_reg(d, DSIM_REG_IRQ_STATUS));
	/* write one to clear */
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_IRQ_STATUS, 0));
	EXPECT_EQ(1, dsim_reg(d, DSIM_REG_IRQ_STATUS));
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_IRQ_STATUS, 1));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_IRQ_STATUS));

	/* the user may raise it */
	EXPECT_EQ(0, set_irqs(d, none, VFIO_PCI_MSI_IRQ_INDEX, 0, 1, 0));
	EXPECT_EQ(1, take(self->event));
	EXPECT_EQ(0, set_irqs(d, one, VFIO_PCI_MSI_IRQ_INDEX, 0, 1, 1));
	EXPECT_EQ(1, take(self->event));
	EXPECT_EQ(0, set_irqs(d, one, VFIO_PCI_MSI_IRQ_INDEX, 0, 1, 0));
	EXPECT_EQ(0, take(self->event));

	/* not with interrupts off */
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_CTRL, DSIM_CTRL_ENABLE));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
	EXPECT_FALSE(readable(self->event, 50));

	/* and not once it was taken away, in either way */
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_CTRL,
				    DSIM_CTRL_ENABLE | DSIM_CTRL_IRQ));
	ASSERT_EQ(0, dsim_set_irq(d, VFIO_PCI_MSI_IRQ_INDEX, -1));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
	EXPECT_FALSE(readable(self->event, 50));
	ASSERT_EQ(0, dsim_set_irq(d, VFIO_PCI_MSI_IRQ_INDEX, self->event));
	EXPECT_EQ(0, set_irqs(d, none, VFIO_PCI_MSI_IRQ_INDEX, 0, 0, 0));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
	EXPECT_FALSE(readable(self->event, 50));
}

TEST_F(vfio, bad_irqs)
{
	uint32_t none = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE;
	struct dsim *d = &self->dev;

	EXPECT_EQ(-EINVAL, set_irqs(d, none, VFIO_PCI_NUM_IRQS, 0, 1, 0));
	EXPECT_EQ(-EINVAL, set_irqs(d, none, VFIO_PCI_MSI_IRQ_INDEX, 1, 1, 0));
	EXPECT_EQ(-EINVAL, set_irqs(d, none, VFIO_PCI_MSI_IRQ_INDEX, 0, 2, 0));
	EXPECT_EQ(-EINVAL, set_irqs(d, none, VFIO_PCI_MSI_IRQ_INDEX, UINT32_MAX,
				    1, 0));
	EXPECT_EQ(-EINVAL, set_irqs(d, none, VFIO_PCI_INTX_IRQ_INDEX, 0, 1, 0));
	EXPECT_EQ(-EINVAL, set_irqs(d, 0, VFIO_PCI_MSI_IRQ_INDEX, 0, 1, 0));
	EXPECT_EQ(-EINVAL, set_irqs(d, none | VFIO_IRQ_SET_DATA_BOOL,
				    VFIO_PCI_MSI_IRQ_INDEX, 0, 1, 0));
	/* a file that is no eventfd */
	EXPECT_EQ(-EINVAL, dsim_set_irq(d, VFIO_PCI_MSI_IRQ_INDEX, d->fd));
	EXPECT_EQ(-EBADF, dsim_set_irq(d, VFIO_PCI_MSI_IRQ_INDEX, 9999));
}

TEST_F(vfio, reset)
{
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_SCRATCH, 77));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
	}
	EXPECT_EQ(3, dsim_reg(d, DSIM_REG_COMPLETED));

	ASSERT_EQ(0, dsim_reset(d));
	ASSERT_EQ(0, dsim_enable_bus(d));
	EXPECT_EQ(DSIM_ID, dsim_reg(d, DSIM_REG_ID));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_CTRL));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_STATUS));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_RING_LO));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_HEAD));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_TAIL));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_IRQ_STATUS));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_COMPLETED));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_FAULTS));
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_SCRATCH));

	/* the address space and the mapped doorbell are still there */
	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
	EXPECT_EQ(1, dsim_reg(d, DSIM_REG_COMPLETED));
}

/* What was set before a file was closed is gone when it is opened again */
TEST_F(vfio, open_again)
{
	struct dsim *d = &self->dev;

	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
	ASSERT_EQ(0, dsim_reg_write(d, DSIM_REG_SCRATCH, 77));
	for (int i = 0; i < 3; i++) {
		dsim_close(d);
		ASSERT_EQ(0, dsim_open(d));
		ASSERT_EQ(0, dsim_bind(d, self->vm.iommufd));
		EXPECT_EQ(0, dsim_cfg(d, CFG_COMMAND, 2) & CFG_COMMAND_MASTER);
		ASSERT_EQ(0, dsim_enable_bus(d));
		EXPECT_EQ(0, dsim_reg(d, DSIM_REG_CTRL));
		EXPECT_EQ(0, dsim_reg(d, DSIM_REG_SCRATCH));
		EXPECT_EQ(0, dsim_reg(d, DSIM_REG_COMPLETED));
		ASSERT_EQ(0, dsim_attach(d, self->vm.hwpt));
		ASSERT_EQ(0, dsim_start(d, self->vm.ring));
		EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
	}
}

/* A device belongs to one user at a time */
TEST_F(vfio, second_open_cannot_bind)
{
	struct dsim other = self->dev;

	ASSERT_EQ(0, dsim_open(&other));
	EXPECT_NE(0, dsim_bind(&other, self->vm.iommufd));
	close(other.fd);
	EXPECT_EQ(DSIM_PCI_VENDOR_ID, dsim_cfg(&self->dev, CFG_VENDOR, 2));
}

/* Every order of letting go, with work in flight */
TEST_F(vfio, close_in_any_order)
{
	static const uint8_t orders[6][3] = {
		{ 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
		{ 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 },
	};
	struct dsim_desc work = {
		.op = DSIM_OP_FILL,
		.dst = DATA_IOVA,
		.len = 16 * SZ_4K,
	};
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;

	for (size_t i = 0; i < ARRAY_LEN(orders); i++) {
		ASSERT_EQ(0, dsim_map_doorbell(d));
		ASSERT_EQ(0, dsim_start(d, vm->ring));
		for (int n = 0; n < 100; n++)
			dsim_put(d, &work);
		ASSERT_EQ(0, dsim_kick(d));
		for (int n = 0; n < 3; n++) {
			switch (orders[i][n]) {
			case 0:
				close(d->fd);
				d->fd = -1;
				break;
			case 1:
				dsim_unmap_doorbell(d);
				break;
			case 2:
				vm_destroy(vm);
				break;
			}
		}
		ASSERT_EQ(0, vm_create(vm));
		ASSERT_EQ(0, dsim_open(d));
		ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
		ASSERT_EQ(0, vm_alloc_hwpt(vm, d, 0, &vm->hwpt));
		ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
		ASSERT_EQ(0, vm_alloc_memory(vm, 16 * SZ_4K, false));
		ASSERT_EQ(0, vm_map_memory(vm));
	}
}

/* The admin removes a device that is in use: its user is asked, and waited for */
TEST_F(vfio, removal_asks_the_user)
{
	struct dsim *d = &self->dev;
	int status;
	pid_t pid;

	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	ASSERT_EQ(0, dsim_set_irq(d, VFIO_PCI_REQ_IRQ_INDEX, self->event));

	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		/* only the parent's descriptors keep the device in use */
		close(d->fd);
		dsim_unmap_doorbell(d);
		_exit(dsim_set(NAME, "live", "0") ? 1 : 0);
	}
	EXPECT_TRUE(readable(self->event, 10000));
	EXPECT_EQ(0, waitpid(pid, &status, WNOHANG));
	/* it works on until its user lets go */
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));

	dsim_close(d);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
	EXPECT_EQ(-ENOENT, dsim_open(d));

	ASSERT_EQ(0, dsim_set(NAME, "live", "1"));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, self->vm.iommufd));
	ASSERT_EQ(0, dsim_attach(d, self->vm.hwpt));
	ASSERT_EQ(0, dsim_start(d, self->vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop_irq));
}

/* What is wrong with a device's options is said before it lives */
TEST(bad_options)
{
	struct dsim_config config = vtdss;
	struct dsim d;

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");

	config.format = "none-such";
	EXPECT_EQ(-EINVAL, dsim_create(&d, NAME, &config));
	config.format = "vtdss";
	/* an IOMMU without 4K pages cannot serve this machine */
	config.page_sizes = SZ_2M;
	EXPECT_EQ(-EINVAL, dsim_create(&d, NAME, &config));
	config.page_sizes = SZ_4K;
	config.iotlb_entries = 3;
	EXPECT_EQ(-EINVAL, dsim_create(&d, NAME, &config));
	config.iotlb_entries = 1 << 20;
	EXPECT_EQ(-EINVAL, dsim_create(&d, NAME, &config));
	config.iotlb_entries = 8;
	ASSERT_EQ(0, dsim_create(&d, NAME, &config));
	/* options hold still while the device lives */
	EXPECT_EQ(-EBUSY, dsim_set(NAME, "format", "amdv1"));
	EXPECT_EQ(-EBUSY, dsim_set(NAME, "page_sizes", "0x1000"));
	EXPECT_EQ(-EBUSY, dsim_set(NAME, "ad", "0"));
	EXPECT_EQ(-EINVAL, dsim_set(NAME, "live", "maybe"));
	EXPECT_EQ(0, dsim_remove(NAME));
}

/* Devices come and go without leaving anything behind */
TEST(make_and_remove_many)
{
	static const char *const formats[] = {
		"vtdss", "amdv1", "x86_64", "armlpae",
	};
	struct dsim d[8];
	char name[32];

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	for (int round = 0; round < 3; round++) {
		for (size_t i = 0; i < ARRAY_LEN(d); i++) {
			struct dsim_config config = {
				.format = formats[i % ARRAY_LEN(formats)],
			};

			snprintf(name, sizeof(name), NAME "%zu", i);
			ASSERT_EQ(0, dsim_create(&d[i], name, &config));
			ASSERT_EQ(0, dsim_open(&d[i]));
		}
		for (size_t i = 0; i < ARRAY_LEN(d); i++) {
			dsim_close(&d[i]);
			ASSERT_EQ(0, dsim_remove(d[i].name));
		}
	}
}

TEST_HARNESS_MAIN
