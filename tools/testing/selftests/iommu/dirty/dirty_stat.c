// SPDX-License-Identifier: GPL-2.0-only
/*
 * tools/iommu/dirty-stat: what it says is what was written
 */
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include "kselftest_harness.h"
#include "policy_user.h"

#define DEBUGFS	"/sys/kernel/debug"
#define TABLES	DEBUGFS "/iommufd_dirty"
#define PAGES	37

/* What the tool printed last */
static char out[16384];

FIXTURE(stat) {
	struct dsim dev;
	struct vm vm;
	struct shadow shadow;
};

FIXTURE_SETUP(stat)
{
	struct dsim_config config = {
		.format = "vtdss",
		.page_sizes = SZ_4K | SZ_2M,
	};

	if (!dsim_available())
		SKIP(return, "no simulator");
	if (access(TABLES, F_OK))
		mount("none", DEBUGFS, "debugfs", 0, NULL);
	if (access(TABLES, F_OK))
		SKIP(return, "no tables in debugfs");
	out[0] = 0;
	ASSERT_EQ(0, vm_create(&self->vm));
	ASSERT_EQ(0, dsim_create(&self->dev, "stat0", &config));
	ASSERT_EQ(0, dsim_open(&self->dev));
	ASSERT_EQ(0, dsim_bind(&self->dev, self->vm.iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(&self->vm, &self->dev,
				   IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				   &self->vm.hwpt));
	ASSERT_EQ(0, vm_alloc_memory(&self->vm, 0x100000, false));
	ASSERT_EQ(0, vm_map_memory(&self->vm));
	ASSERT_EQ(0, dsim_attach(&self->dev, self->vm.hwpt));
	ASSERT_EQ(0, dsim_start(&self->dev, self->vm.ring));
	ASSERT_EQ(0, shadow_init(&self->shadow, &self->vm));
}

FIXTURE_TEARDOWN(stat)
{
	shadow_free(&self->shadow);
	dsim_close(&self->dev);
	dsim_remove(self->dev.name);
	vm_destroy(&self->vm);
}

/* Runs the tool, which lies beside us, and has its output */
static int dirty_stat(const char *options)
{
	char path[PATH_MAX], command[PATH_MAX + 256];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	size_t n;
	FILE *f;
	int status;

	if (length < 0)
		return -errno;
	path[length] = 0;
	snprintf(command, sizeof(command), "%s/tools/dirty-stat %s 2>&1",
		 dirname(path), options);
	f = popen(command, "r");
	if (!f)
		return -errno;
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = 0;
	status = pclose(f);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -EINTR;
}

static int ours(const char *options)
{
	char all[128];

	snprintf(all, sizeof(all), "-p %d %s", getpid(), options);
	return dirty_stat(all);
}

static int write_pages(struct dsim *dev, unsigned int nr)
{
	struct dsim_desc fill = {
		.dst = DATA_IOVA,
		.len = nr * SZ_4K,
		.op = DSIM_OP_FILL,
	};

	return dsim_run(dev, &fill);
}

static bool says(const char *what)
{
	if (strstr(out, what))
		return true;
	printf("# no '%s' in: %s\n", what, out);
	return false;
}

/* A number of the provider that stands for the device */
static long long number(const char *key)
{
	const char *p = strstr(out, "\"provider\":\"iommu\",\"state\"");
	char name[64];

	snprintf(name, sizeof(name), "\"%s\":", key);
	p = p ? strstr(p, "\"total\":") : NULL;
	p = p ? strstr(p, name) : NULL;
	return p ? atoll(p + strlen(name)) : -1;
}

/* Before a migration: can it be done? */
TEST_F(stat, coverage_before_tracking)
{
	ASSERT_EQ(0, ours("-d 0"));
	EXPECT_TRUE(says("exact to 4K..2M, by iommu (device: no_support, all: policy)"));
}

TEST_F(stat, counts_what_was_written)
{
	long long pages;

	ASSERT_EQ(0, vm_track(&self->vm, self->vm.hwpt, true));
	ASSERT_EQ(0, shadow_read(&self->shadow, self->vm.hwpt, 0));
	ASSERT_EQ(0, ours("--json 0"));
	pages = number("pages");
	ASSERT_LE(0, pages);

	ASSERT_EQ(DSIM_DESC_DONE, write_pages(&self->dev, PAGES));
	ASSERT_EQ(0, shadow_read(&self->shadow, self->vm.hwpt, 0));
	ASSERT_EQ(0, ours("--json 0"));
	/* and a page of the ring, where the descriptor was written back */
	EXPECT_EQ(PAGES + 1, number("pages") - pages);
	EXPECT_EQ(0, number("lost"));
	EXPECT_TRUE(says("\"coverage\":\"exact\",\"provider\":\"iommu\""));
	EXPECT_TRUE(says("\"reasons\":{\"iommu\":\"used\",\"device\":\"no_support\""));

	ASSERT_EQ(0, ours("0"));
	EXPECT_TRUE(says("busy%"));
	EXPECT_TRUE(says(" iommu    on "));
	/* A device that is tracked exactly is not worth a line */
	EXPECT_EQ(NULL, strstr(out, "exact"));
}

/* What nobody tracks is said without being asked for */
TEST_F(stat, untracked_devices)
{
	struct vm *vm = &self->vm;

	ASSERT_EQ(0, set_policy(vm, self->dev.devid, DEVICE));
	ASSERT_EQ(0, ours("0"));
	EXPECT_TRUE(says("NOT TRACKED (iommu: policy, device: no_support, all: policy)"));
	ASSERT_EQ(0, set_policy(vm, self->dev.devid, ALL));
	ASSERT_EQ(0, ours("0"));
	EXPECT_TRUE(says("all dirty at every read (iommu: policy, device: no_support)"));
}

/* The second line is of what happened since the first */
TEST_F(stat, rates)
{
	const char *p;

	ASSERT_EQ(0, vm_track(&self->vm, self->vm.hwpt, true));
	ASSERT_EQ(DSIM_DESC_DONE, write_pages(&self->dev, PAGES));
	ASSERT_EQ(0, shadow_read(&self->shadow, self->vm.hwpt, 0));
	ASSERT_EQ(0, ours("-j 0.2 2"));
	p = strchr(out, '\n');
	ASSERT_NE(NULL, p);
	p = strstr(p, "\"provider\":\"iommu\",\"state\"");
	ASSERT_NE(NULL, p);
	EXPECT_NE(NULL, strstr(p, "\"state\":\"on\",\"reads_per_s\":0.000,\"pages_per_s\":0.000"));
}

TEST_F(stat, bad_options)
{
	EXPECT_EQ(2, dirty_stat("often"));
	EXPECT_TRUE(says("not 'often'"));
	EXPECT_EQ(2, dirty_stat("1 0"));
	EXPECT_EQ(2, dirty_stat("-- -1"));
	EXPECT_EQ(2, dirty_stat("-p 0"));
	EXPECT_EQ(2, dirty_stat("1 1 1"));
	EXPECT_EQ(2, dirty_stat("--what"));
	EXPECT_EQ(0, dirty_stat("--help"));
}

TEST_HARNESS_MAIN
