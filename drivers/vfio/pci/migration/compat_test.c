// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the version string: each way in which a device may not suit
 * another, and each way in which a string may be none
 */
#include <kunit/test.h>
#include <linux/vfio_pci_migration.h>

#include "migration.h"

static const struct vfio_mig_section_type types[] = {
	{ .type = 1, .max = 1 },
};

static const struct vfio_mig_identity self = {
	.name = "test",
	.vendor = 0x1234,
	.device = 0x00ab,
	.subvendor = 0x9abc,
	.subdevice = 0xdef0,
	.version = 7,
	.oldest = 5,
	.features = 0x8000000000000005,
	.sections = types,
	.nr_sections = 1,
};

struct compat_case {
	const char *string;
	int want;
};

#define SELF "vfio-migration-1 test 1234:00ab:9abc:def0 7 0x8000000000000005"

static const struct compat_case cases[] = {
	{ SELF, 0 },
	{ SELF "\n", 0 },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 5 0x0", 0 },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 5 0x1", 0 },
	/* newer */
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 8 0x0", -EPROTONOSUPPORT },
	{ "vfio-migration-2 test 1234:00ab:9abc:def0 7 0x0", -EPROTONOSUPPORT },
	{ "vfio-migration-2 and what that then means", -EPROTONOSUPPORT },
	/* older */
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 4 0x0", -ESTALE },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 0 0x0", -ESTALE },
	/* lacks a feature */
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 7 0x2", -EOPNOTSUPP },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 7 0x4000000000000000",
	  -EOPNOTSUPP },
	/* another device */
	{ "vfio-migration-1 tests 1234:00ab:9abc:def0 7 0x0", -ENODEV },
	{ "vfio-migration-1 test 1235:00ab:9abc:def0 7 0x0", -ENODEV },
	{ "vfio-migration-1 test 1234:00ac:9abc:def0 7 0x0", -ENODEV },
	{ "vfio-migration-1 test 1234:00ab:9abd:def0 7 0x0", -ENODEV },
	{ "vfio-migration-1 test 1234:00ab:9abc:def1 7 0x0", -ENODEV },
	/* none */
	{ "", -EINVAL },
	{ "\n", -EINVAL },
	{ "test", -EINVAL },
	{ "vfio-migration-", -EINVAL },
	{ "vfio-migration-0 test 1234:00ab:9abc:def0 7 0x0", -EINVAL },
	{ "vfio-migration-65537 test 1234:00ab:9abc:def0 7 0x0", -EINVAL },
	{ "vfio-migration-1", -EINVAL },
	{ "vfio-migration-1 test", -EINVAL },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 7", -EINVAL },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 7 0", -EINVAL },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 7 0x0 x", -EINVAL },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 7 0x0 ", -EINVAL },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 7 0x00", -EINVAL },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 65543 0x0", -EINVAL },
	{ "vfio-migration-1 test 1234:00ab:9abc:def0 -1 0x0", -EINVAL },
	{ "vfio-migration-1 test 1234:ab:9abc:def0 7 0x0", -EINVAL },
	{ "vfio-migration-1 test 1234:00AB:9abc:def0 7 0x0", -EINVAL },
	{ "vfio-migration-1 test 11234:00ab:9abc:def0 7 0x0", -EINVAL },
	{ "vfio-migration-1  test 1234:00ab:9abc:def0 7 0x0", -EINVAL },
	{ " vfio-migration-1 test 1234:00ab:9abc:def0 7 0x0", -EINVAL },
	{ "vfio-migration-1 abcdefghijklmnopqrstuvwx 1234:00ab:9abc:def0 7 0x0",
	  -EINVAL },
};

static void compat_strings(struct kunit *test)
{
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(cases); i++)
		KUNIT_EXPECT_EQ_MSG(test, mig_compatible(&self, cases[i].string),
				    cases[i].want, "'%s'", cases[i].string);
}

/* A name of the greatest length is not cut */
static void compat_long_name(struct kunit *test)
{
	static const char string[] =
		"vfio-migration-1 abcdefghijklmnopqrstuvw 1234:00ab:9abc:def0 7 0x0";
	struct vfio_mig_identity id = self;

	id.name = "abcdefghijklmnopqrstuvw";
	KUNIT_EXPECT_EQ(test, 0, mig_compatible(&id, string));
}

static struct kunit_case compat_cases[] = {
	KUNIT_CASE(compat_strings),
	KUNIT_CASE(compat_long_name),
	{}
};

static struct kunit_suite compat_suite = {
	.name = "vfio_mig_compat",
	.test_cases = compat_cases,
};

kunit_test_suite(compat_suite);
