// SPDX-License-Identifier: GPL-2.0-only
/*
 * Coverage and policy: who tells what a device wrote, how well, and why not
 * better. With what changes them while pages are being tracked: no write is lost
 * between one provider and the next.
 */
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "kselftest_harness.h"
#include "policy_user.h"
#include "../../../../../drivers/iommu/iommufd/iommufd_test.h"

#define TRACKS	"selftest-ad"
#define BLIND	"selftest-noad"

#define PARAMETER	"/sys/module/iommufd/parameters/dirty_providers"

#define ACCESS	(1U << IOMMU_DIRTY_PROVIDER_ACCESS)

#define DIRTY	IOMMU_HWPT_ALLOC_DIRTY_TRACKING

static const struct dsim_config tracks = { .format = "vtdss",
					   .page_sizes = SZ_4K };
static const struct dsim_config blind = { .format = "vtdss",
					  .page_sizes = SZ_4K,
					  .no_ad = true };

/* ---- The ioctls ---- */

#define ENTRIES	8

struct answer {
	struct iommu_dirty_get_coverage cmd;
	struct iommu_dirty_device_coverage entries[ENTRIES];
};

static int coverage(struct vm *vm, uint32_t id, struct answer *a)
{
	memset(a, 0x5a, sizeof(*a));
	a->cmd = (struct iommu_dirty_get_coverage){
		.size = sizeof(a->cmd),
		.id = id,
		.num_devices = ENTRIES,
		.entry_size = sizeof(a->entries[0]),
		.devices = (uintptr_t)a->entries,
	};
	return ioctl(vm->iommufd, IOMMU_DIRTY_GET_COVERAGE, &a->cmd) ? -errno : 0;
}

static bool offered(struct vm *vm, struct dsim *d)
{
	struct iommu_hw_info info = { .size = sizeof(info), .dev_id = d->devid };

	return !ioctl(vm->iommufd, IOMMU_GET_HW_INFO, &info) &&
	       (info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING);
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static ssize_t read_file(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n, len = 0;

	if (fd < 0)
		return -errno;
	while (len < (ssize_t)size - 1 &&
	       (n = read(fd, buf + len, size - 1 - len)) > 0)
		len += n;
	close(fd);
	buf[len] = 0;
	return len;
}

/* ---- Two devices, of which one has an IOMMU without dirty bits ---- */

FIXTURE(coverage)
{
	struct dsim ad;
	struct dsim noad;
	struct vm vm;
	struct shadow shadow;
};

FIXTURE_SETUP(coverage)
{
	struct vm *vm = &self->vm;
	struct answer a;
	size_t large;

	self->ad.fd = -1;
	self->noad.fd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, vm_create(vm));
	if (on_base()) {
		EXPECT_EQ(-ENOTTY, coverage(vm, vm->ioas, &a));
		EXPECT_EQ(-ENOTTY, set_policy(vm, vm->ioas, ALL));
		SKIP(return, "the base kernel knows neither coverage nor policy");
	}
	ASSERT_EQ(0, dsim_create(&self->ad, TRACKS, &tracks));
	ASSERT_EQ(0, dsim_create(&self->noad, BLIND, &blind));
	ASSERT_EQ(0, dsim_open(&self->ad));
	ASSERT_EQ(0, dsim_open(&self->noad));
	ASSERT_EQ(0, dsim_bind(&self->ad, vm->iommufd));
	ASSERT_EQ(0, dsim_bind(&self->noad, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_memory(vm, 256 * SZ_4K, false));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &self->ad, DIRTY, &vm->hwpt));
	ASSERT_EQ(0, vm_learn_leaves(vm, SZ_4K, &large));
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, shadow_init(&self->shadow, vm));
}

FIXTURE_TEARDOWN(coverage)
{
	shadow_free(&self->shadow);
	dsim_close(&self->ad);
	dsim_close(&self->noad);
	vm_destroy(&self->vm);
	if (!on_base()) {
		EXPECT_EQ(0, dsim_remove(TRACKS));
		EXPECT_EQ(0, dsim_remove(BLIND));
	}
}

TEST_F(coverage, says_why)
{
	struct iommu_dirty_device_coverage *e;
	struct vm *vm = &self->vm;
	uint32_t plain;
	struct answer a;

	/* nothing attached: what could be */
	ASSERT_EQ(0, coverage(vm, self->ad.devid, &a));
	e = &a.entries[0];
	EXPECT_EQ(1, a.cmd.num_devices);
	EXPECT_EQ(sizeof(*e), a.cmd.entry_size);
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_NONE, a.cmd.out_coverage);
	EXPECT_EQ(IOMMU | DEVICE, a.cmd.out_allowed);
	EXPECT_EQ(self->ad.devid, e->id);
	EXPECT_EQ(0, e->hwpt_id);
	EXPECT_EQ(IOMMU_DIRTY_PROVIDER_NONE, e->provider);
	EXPECT_EQ(IOMMU_DIRTY_REASON_DETACHED,
		  e->reasons[IOMMU_DIRTY_PROVIDER_IOMMU]);
	EXPECT_EQ(IOMMU_DIRTY_REASON_NO_SUPPORT,
		  e->reasons[IOMMU_DIRTY_PROVIDER_DEVICE]);
	EXPECT_EQ(IOMMU_DIRTY_REASON_POLICY,
		  e->reasons[IOMMU_DIRTY_PROVIDER_ALL]);
	ASSERT_EQ(0, coverage(vm, self->noad.devid, &a));
	EXPECT_EQ(IOMMU_DIRTY_REASON_NO_SUPPORT,
		  a.entries[0].reasons[IOMMU_DIRTY_PROVIDER_IOMMU]);

	/* an IOAS without devices misses nothing */
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(0, a.cmd.num_devices);
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, a.cmd.out_coverage);

	/* an HWPT that was not made for it */
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &self->ad, 0, &plain));
	ASSERT_EQ(0, dsim_attach(&self->ad, plain));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(1, a.cmd.num_devices);
	EXPECT_EQ(plain, e->hwpt_id);
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_NONE, a.cmd.out_coverage);
	EXPECT_EQ(IOMMU_DIRTY_REASON_NO_HWPT,
		  e->reasons[IOMMU_DIRTY_PROVIDER_IOMMU]);

	/* replaced by one that was */
	ASSERT_EQ(0, dsim_attach(&self->ad, vm->hwpt));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(1, a.cmd.num_devices);
	EXPECT_EQ(vm->hwpt, e->hwpt_id);
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, a.cmd.out_coverage);
	EXPECT_EQ(IOMMU_DIRTY_PROVIDER_IOMMU, e->provider);
	EXPECT_EQ(IOMMU_DIRTY_REASON_USED,
		  e->reasons[IOMMU_DIRTY_PROVIDER_IOMMU]);
	EXPECT_EQ(SZ_4K, e->granule_min);
	EXPECT_EQ(SZ_4K, e->granule_max);
	EXPECT_EQ(SZ_4K, a.cmd.out_granule_max);
	EXPECT_EQ(0, a.cmd.out_readers);
	EXPECT_EQ(0, a.cmd.out_lost);
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(1, a.cmd.out_readers);

	/* the least common denominator */
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &self->noad, 0, &plain));
	ASSERT_EQ(0, dsim_attach(&self->noad, plain));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(2, a.cmd.num_devices);
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_NONE, a.cmd.out_coverage);
	EXPECT_EQ(0, a.cmd.out_granule_max);
	ASSERT_EQ(0, set_policy(vm, vm->ioas, IOMMU | ALL));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_ALL, a.cmd.out_coverage);
	EXPECT_EQ(IOMMU | ALL, a.cmd.out_allowed);
	ASSERT_EQ(0, dsim_detach(&self->noad));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(1, a.cmd.num_devices);
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, a.cmd.out_coverage);
	EXPECT_EQ(IOMMU_DIRTY_REASON_READY,
		  e->reasons[IOMMU_DIRTY_PROVIDER_ALL]);
}

TEST_F(coverage, offers_follow_it)
{
	struct vm *vm = &self->vm;
	uint32_t hwpt;

	EXPECT_TRUE(offered(vm, &self->ad));
	EXPECT_FALSE(offered(vm, &self->noad));
	EXPECT_EQ(-EOPNOTSUPP, vm_alloc_hwpt(vm, &self->noad, DIRTY, &hwpt));

	/* by the device's policy */
	ASSERT_EQ(0, set_policy(vm, self->noad.devid, ALL));
	EXPECT_TRUE(offered(vm, &self->noad));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &self->noad, DIRTY, &hwpt));
	ASSERT_EQ(0, vm_destroy_object(vm, hwpt));
	ASSERT_EQ(0, set_policy(vm, self->noad.devid, DEVICE));
	EXPECT_FALSE(offered(vm, &self->noad));
	EXPECT_EQ(-EOPNOTSUPP, vm_alloc_hwpt(vm, &self->noad, DIRTY, &hwpt));
	ASSERT_EQ(0, set_policy(vm, self->noad.devid, 0));
	ASSERT_EQ(0, set_policy(vm, self->ad.devid, DEVICE));
	EXPECT_FALSE(offered(vm, &self->ad));
	EXPECT_EQ(-EOPNOTSUPP, vm_alloc_hwpt(vm, &self->ad, DIRTY, &hwpt));
	ASSERT_EQ(0, set_policy(vm, self->ad.devid, 0));
	EXPECT_TRUE(offered(vm, &self->ad));

	/* by that of the IOAS */
	ASSERT_EQ(0, set_policy(vm, vm->ioas, ALL));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &self->noad, DIRTY, &hwpt));
	ASSERT_EQ(0, set_policy(vm, vm->ioas, 0));
	/* it is there, but nothing stands for the device now */
	EXPECT_EQ(-EINVAL, dsim_attach(&self->noad, hwpt));
}

TEST_F(coverage, host_policy)
{
	struct vm *vm = &self->vm;
	char text[100];

	ASSERT_LT(0, read_file(PARAMETER, text, sizeof(text)));
	EXPECT_STREQ("iommu,device\n", text);
	EXPECT_EQ(-EINVAL, write_file(PARAMETER, "access"));
	EXPECT_EQ(-EINVAL, write_file(PARAMETER, "none"));
	EXPECT_EQ(-EINVAL, write_file(PARAMETER, "iommu,"));
	EXPECT_EQ(-EINVAL, write_file(PARAMETER, "\n"));
	EXPECT_EQ(-EINVAL, write_file(PARAMETER, "iommu all"));
	EXPECT_FALSE(offered(vm, &self->noad));
	EXPECT_EQ(0, write_file(PARAMETER, "iommu,device,all\n"));
	EXPECT_TRUE(offered(vm, &self->noad));
	EXPECT_LT(0, read_file(PARAMETER, text, sizeof(text)));
	EXPECT_STREQ("iommu,device,all\n", text);
	EXPECT_EQ(0, write_file(PARAMETER, "iommu,device"));
	EXPECT_FALSE(offered(vm, &self->noad));
}

/* A device that nothing tracks, in a VM that may be migrated all the same */
TEST_F(coverage, all_is_dirty)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	uint32_t hwpt;
	void *mem;

	ASSERT_EQ(0, set_policy(vm, vm->ioas, IOMMU | ALL));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &self->noad, DIRTY, &hwpt));
	ASSERT_EQ(0, dsim_attach(&self->noad, hwpt));
	ASSERT_EQ(0, vm_track(vm, hwpt, true));
	ASSERT_EQ(0, dsim_map_doorbell(&self->noad));
	ASSERT_EQ(0, dsim_start(&self->noad, vm->ring));

	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, dma_pages(&self->noad, s, 7, 3));
		shadow_wrote_all(s);
		EXPECT_READ(s, hwpt);
	}
	/* not what it cannot write */
	mem = mmap(NULL, 4 * SZ_4K, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, vm_map(vm, NOWHERE_IOVA, mem, 2 * SZ_4K,
			    IOMMU_IOAS_MAP_READABLE));
	ASSERT_EQ(0, vm_map(vm, NOWHERE_IOVA + 3 * SZ_4K, mem + 2 * SZ_4K,
			    SZ_4K, MAP_RW));
	for (int round = 0; round < 2; round++) {
		uint64_t bits = 0;

		ASSERT_EQ(0, vm_get_dirty(vm, hwpt, NOWHERE_IOVA, 8 * SZ_4K, 0,
					  &bits));
		EXPECT_EQ(8, bits);
	}
	/* once more after it is unmapped, and then no more */
	ASSERT_EQ(0, vm_unmap(vm, NOWHERE_IOVA + 3 * SZ_4K, SZ_4K));
	for (int round = 0; round < 2; round++) {
		uint64_t bits = 0;

		ASSERT_EQ(0, vm_get_dirty(vm, hwpt, NOWHERE_IOVA, 8 * SZ_4K, 0,
					  &bits));
		EXPECT_EQ(round ? 0 : 8, bits);
	}
	shadow_wrote_all(s);
	EXPECT_READ(s, hwpt);
	/* and once more after the device has gone */
	ASSERT_EQ(0, dsim_detach(&self->noad));
	shadow_wrote_all(s);
	EXPECT_READ(s, hwpt);
	EXPECT_READ(s, hwpt);
}

/* The IOMMU has dirty bits, but they cannot be switched on */
TEST_F(coverage, iommu_refuses)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;

	ASSERT_EQ(0, set_policy(vm, vm->ioas, IOMMU));
	ASSERT_EQ(0, dsim_attach(&self->ad, vm->hwpt));
	ASSERT_EQ(0, dsim_map_doorbell(&self->ad));
	ASSERT_EQ(0, dsim_start(&self->ad, vm->ring));
	ASSERT_EQ(0, dsim_set(TRACKS, "fault_ad", "1"));
	EXPECT_EQ(-EIO, vm_track(vm, vm->hwpt, true));

	/* who may know nothing instead does */
	ASSERT_EQ(0, set_policy(vm, vm->ioas, IOMMU | ALL));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	EXPECT_EQ(IOMMU_DIRTY_PROVIDER_ALL, get_provider(vm, vm->ioas));
	ASSERT_EQ(0, dma_pages(&self->ad, s, 5, 2));
	shadow_wrote_all(s);
	EXPECT_READ(s, vm->hwpt);
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));

	ASSERT_EQ(0, dsim_set(TRACKS, "fault_ad", "0"));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	EXPECT_EQ(IOMMU_DIRTY_PROVIDER_IOMMU, get_provider(vm, vm->ioas));
	for (int round = 0; round < 2; round++) {
		ASSERT_EQ(0, dma_pages(&self->ad, s, 7, 3));
		EXPECT_READ(s, vm->hwpt);
	}
}

/* Policy changes while the device writes: nothing is lost in between */
TEST_F(coverage, hands_over)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	struct answer a;

	ASSERT_EQ(0, dsim_attach(&self->ad, vm->hwpt));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, dsim_map_doorbell(&self->ad));
	ASSERT_EQ(0, dsim_start(&self->ad, vm->ring));
	EXPECT_READ(s, vm->hwpt);

	for (unsigned int round = 0; round < 3; round++) {
		uint32_t id = round == 1 ? vm->ioas : self->ad.devid;

		ASSERT_EQ(0, dma_pages(&self->ad, s, 20 * round, 5));
		EXPECT_READ(s, vm->hwpt);
		ASSERT_EQ(0, dma_pages(&self->ad, s, 20 * round + 7, 2));
		ASSERT_EQ(0, set_policy(vm, id, ALL));
		ASSERT_EQ(0, coverage(vm, self->ad.devid, &a));
		EXPECT_EQ(IOMMU_DIRTY_PROVIDER_ALL, a.entries[0].provider);
		EXPECT_EQ(IOMMU_DIRTY_COVERAGE_ALL, a.cmd.out_coverage);
		ASSERT_EQ(0, dma_pages(&self->ad, s, 20 * round + 12, 1));
		shadow_wrote_all(s);
		EXPECT_READ(s, vm->hwpt);
		ASSERT_EQ(0, dma_pages(&self->ad, s, 20 * round + 13, 1));
		ASSERT_EQ(0, set_policy(vm, id, round == 2 ? IOMMU : 0));
		ASSERT_EQ(0, coverage(vm, self->ad.devid, &a));
		EXPECT_EQ(IOMMU_DIRTY_PROVIDER_IOMMU, a.entries[0].provider);
		/* what it wrote while nobody tracked it */
		shadow_wrote_all(s);
		EXPECT_READ(s, vm->hwpt);
		ASSERT_EQ(0, dma_pages(&self->ad, s, 20 * round + 15, 4));
		EXPECT_READ(s, vm->hwpt);
		EXPECT_READ(s, vm->hwpt);
	}
	EXPECT_TRUE(shadow_data_equal(s));

	/* what is needed cannot be taken away */
	EXPECT_EQ(-EBUSY, set_policy(vm, vm->ioas, DEVICE) ?:
			  set_policy(vm, self->ad.devid, 0));
	EXPECT_EQ(-EBUSY, set_policy(vm, self->ad.devid, DEVICE));
	ASSERT_EQ(0, coverage(vm, self->ad.devid, &a));
	EXPECT_EQ(IOMMU_DIRTY_PROVIDER_IOMMU, a.entries[0].provider);
	EXPECT_EQ(IOMMU, a.entries[0].allowed);
	ASSERT_EQ(0, set_policy(vm, vm->ioas, 0));
	ASSERT_EQ(0, set_policy(vm, self->ad.devid, 0));
	EXPECT_EQ(-EBUSY, set_policy(vm, vm->ioas, DEVICE));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(IOMMU | DEVICE, a.cmd.out_allowed);
	EXPECT_EQ(IOMMU_DIRTY_PROVIDER_IOMMU, a.entries[0].provider);
	ASSERT_EQ(0, dma_pages(&self->ad, s, 100, 1));
	EXPECT_READ(s, vm->hwpt);
	/* once nobody reads it can, and then nobody can begin to */
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	ASSERT_EQ(0, set_policy(vm, self->ad.devid, DEVICE));
	EXPECT_EQ(-EOPNOTSUPP, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, set_policy(vm, self->ad.devid, IOMMU));
	EXPECT_EQ(0, vm_track(vm, vm->hwpt, true));
}

/* One device, two HWPTs that are read, back and forth under DMA */
TEST_F(coverage, device_moves)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	uint32_t hwpt[2] = { vm->hwpt };

	ASSERT_EQ(0, vm_alloc_hwpt(vm, &self->ad, DIRTY, &hwpt[1]));
	ASSERT_EQ(0, dsim_attach(&self->ad, hwpt[0]));
	ASSERT_EQ(0, vm_track(vm, hwpt[0], true));
	ASSERT_EQ(0, vm_track(vm, hwpt[1], true));
	ASSERT_EQ(0, dsim_map_doorbell(&self->ad));
	ASSERT_EQ(0, dsim_start(&self->ad, vm->ring));
	for (unsigned int i = 0; i < 20; i++) {
		ASSERT_EQ(0, dma_pages(&self->ad, s, 10 * i, 3));
		/* sometimes what was written is read before it moves */
		if (i % 3 == 0)
			EXPECT_READ(s, hwpt[i % 2]);
		if (i % 4 == 3)
			ASSERT_EQ(0, dsim_detach(&self->ad));
		ASSERT_EQ(0, dsim_attach(&self->ad, hwpt[(i + 1) % 2]));
		EXPECT_READ(s, hwpt[i % 2]);
		EXPECT_READ(s, hwpt[(i + 1) % 2]);
	}
}

/* ---- What it refuses ---- */

TEST_F(coverage, bad_coverage)
{
	struct iommu_dirty_get_coverage *cmd;
	struct vm *vm = &self->vm;
	const uint32_t ids[] = { 0, 12345, ~0U, vm->hwpt };
	struct vm other;
	struct {
		struct iommu_dirty_get_coverage cmd;
		uint32_t more[2];
	} longer = {};
	struct answer a;
	uint8_t *page;

#define CMD_IS(_rc)                                                            \
	EXPECT_EQ(_rc, ioctl(vm->iommufd, IOMMU_DIRTY_GET_COVERAGE, cmd) ?     \
		       -errno : 0)

	ASSERT_EQ(0, dsim_attach(&self->ad, vm->hwpt));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	cmd = &a.cmd;
	cmd->num_devices = ENTRIES;

	/* size */
	cmd->size = sizeof(*cmd) - 1;
	CMD_IS(-EINVAL);
	cmd->size = 0;
	CMD_IS(-EINVAL);
	cmd->size = sizeof(*cmd);
	longer.cmd = *cmd;
	longer.cmd.size = sizeof(longer);
	cmd = &longer.cmd;
	CMD_IS(0);
	longer.cmd.num_devices = ENTRIES;
	longer.more[1] = 1;
	CMD_IS(-E2BIG);
	cmd = &a.cmd;

	cmd->flags = 1;
	CMD_IS(-EOPNOTSUPP);
	cmd->flags = 0;

	/* objects that are none, of another kind, of another context */
	for (unsigned int i = 0; i < 4; i++) {
		cmd->id = ids[i];
		CMD_IS(i == 3 ? -EINVAL : -ENOENT);
	}
	ASSERT_EQ(0, vm_create(&other));
	EXPECT_EQ(-ENOENT, coverage(&other, self->ad.devid, &a));
	EXPECT_EQ(-ENOENT, set_policy(&other, self->ad.devid, ALL));
	vm_destroy(&other);

	/* entries */
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	cmd->num_devices = 0;
	cmd->entry_size = 0;
	memset(a.entries, 0x5a, sizeof(a.entries));
	CMD_IS(-EMSGSIZE);
	EXPECT_EQ(1, cmd->num_devices);
	EXPECT_EQ(sizeof(a.entries[0]), cmd->entry_size);
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, cmd->out_coverage);
	EXPECT_EQ(0x5a5a5a5a, a.entries[0].id);
	cmd->entry_size = sizeof(a.entries[0]) - 1;
	CMD_IS(-EINVAL);
	cmd->entry_size = SZ_4K + 1;
	CMD_IS(-E2BIG);
	/* what user space knows and the kernel does not is zeroed, no more */
	cmd->num_devices = 1;
	cmd->entry_size = sizeof(a.entries[0]) + 16;
	CMD_IS(0);
	EXPECT_EQ(self->ad.devid, a.entries[0].id);
	EXPECT_EQ(0, a.entries[1].id);
	EXPECT_EQ(0, a.entries[1].coverage);
	EXPECT_EQ(0x5a5a5a5a, a.entries[1].provider);

	page = mmap(NULL, 2 * SZ_4K, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, mprotect(page + SZ_4K, SZ_4K, PROT_READ));
	cmd->entry_size = sizeof(a.entries[0]);
	cmd->devices = (uintptr_t)page + SZ_4K;
	CMD_IS(-EFAULT);
	cmd->devices = (uintptr_t)page + SZ_4K - 8;
	CMD_IS(-EFAULT);
	cmd->devices = ~0ULL - 8;
	CMD_IS(-EFAULT);
	cmd->devices = 0;
	CMD_IS(-EFAULT);
#undef CMD_IS
}

TEST_F(coverage, bad_policy)
{
	struct vm *vm = &self->vm;
	struct iommu_dirty_set_policy good = {
		.size = sizeof(good),
		.id = vm->ioas,
		.providers = ALL,
	};
	struct {
		struct iommu_dirty_set_policy cmd;
		uint32_t more;
	} cmd;
	struct answer a;

#define BAD(_rc, ...)                                                          \
	do {                                                                   \
		cmd.cmd = good;                                                \
		cmd.more = 0;                                                  \
		__VA_ARGS__;                                                   \
		EXPECT_EQ(_rc, ioctl(vm->iommufd, IOMMU_DIRTY_SET_POLICY,      \
				     &cmd) ? -errno : 0);                      \
		ASSERT_EQ(0, coverage(vm, vm->ioas, &a));                      \
		EXPECT_EQ(IOMMU | DEVICE, a.cmd.out_allowed);                  \
	} while (0)

	BAD(-EINVAL, cmd.cmd.size = sizeof(good) - 1);
	BAD(-EINVAL, cmd.cmd.size = 0);
	BAD(-E2BIG, cmd.cmd.size = sizeof(cmd); cmd.more = 1);
	BAD(-EOPNOTSUPP, cmd.cmd.flags = 2);
	BAD(-EOPNOTSUPP, cmd.cmd.flags = ~0U);
	BAD(-EINVAL, cmd.cmd.flags = IOMMU_DIRTY_POLICY_INHERIT);
	BAD(-EINVAL, cmd.cmd.providers = 0);
	BAD(-EOPNOTSUPP, cmd.cmd.providers = 1);
	BAD(-EOPNOTSUPP, cmd.cmd.providers = ACCESS);
	BAD(-EOPNOTSUPP, cmd.cmd.providers = ALL | 1U << IOMMU_DIRTY_PROVIDERS);
	BAD(-EOPNOTSUPP, cmd.cmd.providers = 1U << 31);
	BAD(-ENOENT, cmd.cmd.id = 0);
	BAD(-ENOENT, cmd.cmd.id = 12345);
	BAD(-EINVAL, cmd.cmd.id = vm->hwpt);
	/* and so that it is known that the rest was right */
	EXPECT_EQ(0, ioctl(vm->iommufd, IOMMU_DIRTY_SET_POLICY, &good));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(ALL, a.cmd.out_allowed);
#undef BAD
}

/* ---- What is seen from outside ---- */

#define TRACING	"/sys/kernel/tracing"
#define EVENTS	TRACING "/events/iommufd_dirty/enable"

static bool has_line(const char *text, const char *event, const char *what)
{
	char line[300];

	while (*text) {
		size_t n = strcspn(text, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)n, text);
		if (strstr(line, event) && strstr(line, what))
			return true;
		text += n + (text[n] == '\n');
	}
	return false;
}

TEST_F(coverage, tracepoints)
{
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	static char text[1 << 16];
	char what[100];

	if (access(EVENTS, W_OK) &&
	    mount("tracefs", TRACING, "tracefs", 0, NULL) && errno != EBUSY)
		SKIP(return, "no tracefs in this kernel");
	if (access(EVENTS, W_OK))
		SKIP(return, "no events in this kernel");
	ASSERT_EQ(0, write_file(TRACING "/trace", "\n"));
	ASSERT_EQ(0, write_file(EVENTS, "1"));
	ASSERT_EQ(0, dsim_attach(&self->ad, vm->hwpt));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, dsim_map_doorbell(&self->ad));
	ASSERT_EQ(0, dsim_start(&self->ad, vm->ring));
	ASSERT_EQ(0, dma_pages(&self->ad, s, 9, 4));
	EXPECT_READ(s, vm->hwpt);
	ASSERT_EQ(0, set_policy(vm, self->ad.devid, ALL));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	ASSERT_EQ(0, write_file(EVENTS, "0"));
	ASSERT_LT(0, read_file(TRACING "/trace", text, sizeof(text)));

	snprintf(what, sizeof(what), "ioas=%u hwpt=%u", vm->ioas, vm->hwpt);
	EXPECT_TRUE(has_line(text, "iommufd_dirty_start:", what));
	EXPECT_TRUE(has_line(text, "iommufd_dirty_stop:", what));
	/* the page of the ring, and four of the data */
	snprintf(what, sizeof(what), "iova=0x%lx last=0x%lx clear=1 dirty=5 ",
		 RING_IOVA, RING_IOVA + s->size - 1);
	EXPECT_TRUE(has_line(text, "iommufd_dirty_read:", what));
	EXPECT_TRUE(has_line(text, "iommufd_dirty_collect:", "provider=iommu"));
	EXPECT_TRUE(has_line(text, "iommufd_dirty_collect:", "pages=5 "));
	snprintf(what, sizeof(what), "device=%u pasid=0 from=%u to=%u",
		 self->ad.devid, IOMMU_DIRTY_PROVIDER_IOMMU,
		 IOMMU_DIRTY_PROVIDER_ALL);
	EXPECT_TRUE(has_line(text, "iommufd_dirty_provider:", what)) {
		TH_LOG("%s", text);
	}
}

TEST_F(coverage, counters)
{
	static const char path[] = "/sys/kernel/debug/iommufd_dirty/providers";
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	char text[4096], want[100];

	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	ASSERT_LT(0, read_file(path, text, sizeof(text)));
	EXPECT_EQ(0, strncmp(text, "pid ioas hwpt provider state reads pages ns lost\n",
			     48));
	ASSERT_EQ(0, dsim_attach(&self->ad, vm->hwpt));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASSERT_EQ(0, dsim_map_doorbell(&self->ad));
	ASSERT_EQ(0, dsim_start(&self->ad, vm->ring));
	ASSERT_EQ(0, dma_pages(&self->ad, s, 9, 4));
	EXPECT_READ(s, vm->hwpt);
	ASSERT_LT(0, read_file(path, text, sizeof(text)));
	snprintf(want, sizeof(want), "\n%d %u %u iommu on 1 5 ", getpid(),
		 vm->ioas, vm->hwpt);
	EXPECT_NE(NULL, strstr(text, want)) {
		TH_LOG("%s", text);
	}
	snprintf(want, sizeof(want), "\n%d %u %u all off 0 0 0 0\n", getpid(),
		 vm->ioas, vm->hwpt);
	EXPECT_NE(NULL, strstr(text, want));
	/* gone with the IOAS */
	dsim_close(&self->ad);
	dsim_close(&self->noad);
	close(vm->iommufd);
	vm->iommufd = -1;
	ASSERT_LT(0, read_file(path, text, sizeof(text)));
	snprintf(want, sizeof(want), "\n%d ", getpid());
	EXPECT_EQ(NULL, strstr(text, want));
}

/* ---- PASIDs, and HWPTs in HWPTs: the mock of iommufd's own tests has them ---- */

FIXTURE(mock)
{
	struct vm vm;
	uint32_t stdev;
	uint32_t dev;
	void *mem;
};

static int mock(struct vm *vm, uint32_t op, struct iommu_test_cmd *cmd)
{
	cmd->size = sizeof(*cmd);
	cmd->op = op;
	return ioctl(vm->iommufd, IOMMU_TEST_CMD, cmd) ? -errno : 0;
}

FIXTURE_SETUP(mock)
{
	struct iommu_test_cmd cmd = {
		.mock_domain_flags.dev_flags = MOCK_FLAGS_DEVICE_PASID,
	};
	struct iommu_option small_leaves = {
		.size = sizeof(small_leaves),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
	};
	struct vm *vm = &self->vm;
	int rc;

	if (on_base())
		SKIP(return, "the base kernel knows no coverage");
	ASSERT_EQ(0, vm_create(vm));
	cmd.id = vm->ioas;
	rc = mock(vm, IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS, &cmd);
	if (rc == -ENOTTY)
		SKIP(return, "this kernel has no mock: CONFIG_IOMMUFD_TEST");
	ASSERT_EQ(0, rc);
	self->stdev = cmd.mock_domain_flags.out_stdev_id;
	self->dev = cmd.mock_domain_flags.out_idev_id;
	/* A leaf for each page, however the memory happens to lie */
	small_leaves.object_id = vm->ioas;
	ASSERT_EQ(0, ioctl(vm->iommufd, IOMMU_OPTION, &small_leaves));
	self->mem = mmap(NULL, 16 * SZ_4K, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	ASSERT_EQ(0, vm_map(vm, MOCK_APERTURE_START, self->mem, 16 * SZ_4K,
			    MAP_RW));
}

FIXTURE_TEARDOWN(mock)
{
	vm_destroy(&self->vm);
	if (self->mem)
		munmap(self->mem, 16 * SZ_4K);
}

static int mock_hwpt(struct vm *vm, uint32_t dev, uint32_t parent,
		     uint32_t flags, struct iommu_hwpt_selftest *data,
		     uint32_t *hwpt)
{
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = flags,
		.dev_id = dev,
		.pt_id = parent,
		.data_type = data ? IOMMU_HWPT_DATA_SELFTEST : 0,
		.data_len = data ? sizeof(*data) : 0,
		.data_uptr = (uintptr_t)data,
	};
	int rc = ioctl(vm->iommufd, IOMMU_HWPT_ALLOC, &cmd) ? -errno : 0;

	*hwpt = cmd.out_hwpt_id;
	return rc;
}

/* The mock device writes @page: the mock sets the dirty bit */
static int mock_write(struct vm *vm, uint32_t hwpt, unsigned int page)
{
	uint64_t bits[4] = {};
	struct iommu_test_cmd cmd = {
		.id = hwpt,
		.dirty = {
			.iova = MOCK_APERTURE_START,
			.length = 16 * SZ_4K,
			.page_size = MOCK_PAGE_SIZE,
			.uptr = (uintptr_t)bits,
		},
	};

	bits[0] = 3UL << (page * SZ_4K / MOCK_PAGE_SIZE);
	return mock(vm, IOMMU_TEST_OP_DIRTY, &cmd);
}

static uint64_t mock_read(struct vm *vm, uint32_t hwpt)
{
	uint64_t bits = 0;

	return vm_get_dirty(vm, hwpt, MOCK_APERTURE_START, 16 * SZ_4K, 0,
			    &bits) ? ~0ULL : bits;
}

static int mock_replace(struct vm *vm, uint32_t stdev, uint32_t hwpt)
{
	struct iommu_test_cmd cmd = {
		.id = stdev,
		.mock_domain_replace.pt_id = hwpt,
	};

	return mock(vm, IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE, &cmd);
}

TEST_F(mock, nested_parent)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	struct vm *vm = &self->vm;
	uint32_t parent, nested[2];
	struct answer a;

	ASSERT_EQ(0, mock_hwpt(vm, self->dev, vm->ioas,
			       DIRTY | IOMMU_HWPT_ALLOC_NEST_PARENT, NULL,
			       &parent));
	ASSERT_EQ(0, mock_hwpt(vm, self->dev, parent, 0, &data, &nested[0]));
	ASSERT_EQ(0, mock_hwpt(vm, self->dev, parent, 0, &data, &nested[1]));
	ASSERT_EQ(0, mock_replace(vm, self->stdev, nested[0]));
	ASSERT_EQ(0, vm_track(vm, parent, true));
	/* it is the parent that says what was written */
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(1, a.cmd.num_devices);
	EXPECT_EQ(parent, a.entries[0].hwpt_id);
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, a.cmd.out_coverage);
	ASSERT_EQ(0, mock_write(vm, parent, 3));
	EXPECT_EQ(1 << 3, mock_read(vm, parent));
	/* from one to the other below the same parent */
	ASSERT_EQ(0, mock_write(vm, parent, 5));
	ASSERT_EQ(0, mock_replace(vm, self->stdev, nested[1]));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(1, a.cmd.num_devices);
	EXPECT_EQ(parent, a.entries[0].hwpt_id);
	EXPECT_EQ(1 << 5, mock_read(vm, parent));
	EXPECT_EQ(0, mock_read(vm, parent));
	/* and away from it */
	ASSERT_EQ(0, mock_write(vm, parent, 6));
	ASSERT_EQ(0, mock_replace(vm, self->stdev, vm->ioas));
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(1, a.cmd.num_devices);
	EXPECT_NE(parent, a.entries[0].hwpt_id);
	EXPECT_EQ(1 << 6, mock_read(vm, parent));
}

TEST_F(mock, pasid)
{
	struct iommu_test_cmd cmd = {};
	struct vm *vm = &self->vm;
	uint32_t hwpt[2];
	struct answer a;

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, mock_hwpt(vm, self->dev, vm->ioas,
				       DIRTY | IOMMU_HWPT_ALLOC_PASID, NULL,
				       &hwpt[i]));
		ASSERT_EQ(0, vm_track(vm, hwpt[i], true));
	}
	ASSERT_EQ(0, mock_replace(vm, self->stdev, hwpt[0]));
	cmd.id = self->stdev;
	cmd.pasid_attach.pasid = 100;
	cmd.pasid_attach.pt_id = hwpt[1];
	ASSERT_EQ(0, mock(vm, IOMMU_TEST_OP_PASID_ATTACH, &cmd));
	ASSERT_EQ(0, coverage(vm, self->dev, &a));
	EXPECT_EQ(2, a.cmd.num_devices);
	for (int i = 0; i < 2; i++) {
		struct iommu_dirty_device_coverage *e = &a.entries[i];

		EXPECT_EQ(self->dev, e->id);
		EXPECT_EQ(e->pasid ? hwpt[1] : hwpt[0], e->hwpt_id);
		EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, e->coverage);
	}
	EXPECT_EQ(100, a.entries[0].pasid + a.entries[1].pasid);
	ASSERT_EQ(0, mock_write(vm, hwpt[0], 1));
	ASSERT_EQ(0, mock_write(vm, hwpt[1], 2));
	EXPECT_EQ(1 << 1, mock_read(vm, hwpt[0]));
	EXPECT_EQ(1 << 2, mock_read(vm, hwpt[1]));

	/* replaced while it writes */
	ASSERT_EQ(0, mock_write(vm, hwpt[1], 4));
	memset(&cmd, 0, sizeof(cmd));
	cmd.id = self->stdev;
	cmd.pasid_replace.pasid = 100;
	cmd.pasid_replace.pt_id = hwpt[0];
	ASSERT_EQ(0, mock(vm, IOMMU_TEST_OP_PASID_REPLACE, &cmd));
	EXPECT_EQ(1 << 4, mock_read(vm, hwpt[1]));
	/* one that it may not have leaves it where it is */
	cmd.pasid_replace.pasid = IOMMU_TEST_PASID_RESERVED;
	cmd.pasid_replace.pt_id = hwpt[1];
	EXPECT_NE(0, mock(vm, IOMMU_TEST_OP_PASID_REPLACE, &cmd));
	memset(&cmd, 0, sizeof(cmd));
	cmd.id = self->stdev;
	cmd.pasid_detach.pasid = 100;
	ASSERT_EQ(0, mock(vm, IOMMU_TEST_OP_PASID_DETACH, &cmd));
	ASSERT_EQ(0, coverage(vm, self->dev, &a));
	EXPECT_EQ(1, a.cmd.num_devices);
	EXPECT_EQ(0, a.entries[0].pasid);
}

/* The access of an emulated device needs no policy */
TEST_F(mock, access)
{
	struct iommu_test_cmd cmd = {};
	struct vm *vm = &self->vm;
	struct answer a;
	int fd;

	cmd.id = vm->ioas;
	ASSERT_EQ(0, mock(vm, IOMMU_TEST_OP_CREATE_ACCESS, &cmd));
	fd = cmd.create_access.out_access_fd;
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(2, a.cmd.num_devices);
	EXPECT_EQ(IOMMU_DIRTY_PROVIDER_ACCESS, a.entries[1].provider);
	EXPECT_EQ(IOMMU_DIRTY_COVERAGE_EXACT, a.entries[1].coverage);
	EXPECT_EQ(SZ_4K, a.entries[1].granule_max);
	EXPECT_EQ(0, a.entries[1].hwpt_id);
	close(fd);
	ASSERT_EQ(0, coverage(vm, vm->ioas, &a));
	EXPECT_EQ(1, a.cmd.num_devices);
}

TEST_HARNESS_MAIN
