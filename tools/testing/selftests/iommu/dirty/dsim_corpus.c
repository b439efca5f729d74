// SPDX-License-Identifier: GPL-2.0-only
/*
 * Loads migration streams that a fuzzer made: $CORPUS is their folder, and
 * $CORPUS/../verdicts has a line for each, the errno with which the same parser
 * refused it in user space, and its name
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "kselftest_harness.h"
#include "dsim_user.h"

#define NAME		"selftest"
/* That for which the streams are */
#define MEMORY		0x10000
#define STREAM_MAX	(1 << 20)

#define ERROR		VFIO_DEVICE_STATE_ERROR
#define STOP		VFIO_DEVICE_STATE_STOP
#define RUNNING		VFIO_DEVICE_STATE_RUNNING
#define RESUMING	VFIO_DEVICE_STATE_RESUMING

FIXTURE(corpus)
{
	struct dsim dev;
	struct vm vm;
	uint8_t *stream;
	const char *dir;
};

FIXTURE_SETUP(corpus)
{
	static const struct dsim_config config = {
		.format = "vtdss",
		.memory = MEMORY,
	};

	self->dir = getenv("CORPUS");
	if (!self->dir)
		SKIP(return, "CORPUS names no folder");
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	self->stream = malloc(STREAM_MAX);
	ASSERT_NE(NULL, self->stream);
	ASSERT_EQ(0, dsim_create(&self->dev, NAME, &config));
	ASSERT_EQ(0, vm_create(&self->vm));
	ASSERT_EQ(0, dsim_open(&self->dev));
	ASSERT_EQ(0, dsim_bind(&self->dev, self->vm.iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(&self->vm, &self->dev, 0, &self->vm.hwpt));
	ASSERT_EQ(0, dsim_attach(&self->dev, self->vm.hwpt));
	ASSERT_EQ(0, vm_alloc_memory(&self->vm, SZ_4K, false));
	ASSERT_EQ(0, vm_map_memory(&self->vm));
}

FIXTURE_TEARDOWN(corpus)
{
	free(self->stream);
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	EXPECT_EQ(0, dsim_remove(NAME));
}

static ssize_t read_file(const char *dir, const char *name, uint8_t *buf)
{
	char path[2 * PATH_MAX];
	size_t n;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "r");
	if (!f)
		return -errno;
	n = fread(buf, 1, STREAM_MAX, f);
	fclose(f);
	return n;
}

static int load(struct dsim *d, const uint8_t *stream, size_t len)
{
	int fd, rc;

	rc = dsim_mig_set(d, RESUMING, &fd);
	if (rc)
		return rc;
	write_stream(fd, stream, len);
	rc = dsim_mig_set(d, STOP, NULL);
	close(fd);
	return rc;
}

/*
 * What the parser refused is refused, with its errno or, by the driver, with ERANGE
 * before it came to that; what it did not refuse loads or gets ERANGE.
 */
TEST_F_TIMEOUT(corpus, same_verdict, LONG)
{
	static const struct dsim_desc nop = { .op = DSIM_OP_NOP };
	unsigned int loaded = 0, refused = 0;
	char line[PATH_MAX], name[NAME_MAX + 1];
	int want, rc;
	ssize_t len;
	FILE *list;

	snprintf(line, sizeof(line), "%s/../verdicts", self->dir);
	list = fopen(line, "r");
	ASSERT_NE(NULL, list);
	while (fgets(line, sizeof(line), list)) {
		rc = sscanf(line, "%d %255s", &want, name);
		ASSERT_EQ(2, rc);
		len = read_file(self->dir, name, self->stream);
		ASSERT_LE(0, len);
		rc = load(&self->dev, self->stream, len);
		EXPECT_TRUE(rc == -want || rc == -ERANGE) {
			TH_LOG("%s: %d, not %d", name, rc, -want);
		}
		EXPECT_EQ(rc ? ERROR : STOP, dsim_mig_get(&self->dev));
		ASSERT_EQ(0, dsim_reset(&self->dev));
		rc ? refused++ : loaded++;
	}
	fclose(list);
	TH_LOG("%u streams loaded, %u refused", loaded, refused);
	/* the good ones are among them */
	EXPECT_LE(3, loaded);
	EXPECT_LT(0, refused);

	EXPECT_EQ(RUNNING, dsim_mig_get(&self->dev));
	ASSERT_EQ(0, dsim_start(&self->dev, self->vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(&self->dev, &nop));
}

TEST_HARNESS_MAIN
