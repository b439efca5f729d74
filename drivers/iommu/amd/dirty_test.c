// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what the AMD driver programs for dirty tracking
 *
 * No emulator of this IOMMU sets dirty bits, so here the driver runs over one that is
 * only memory: its operations are called as iommufd calls them, device table entries
 * are read as hardware would, and commands from the buffer in which they wait.
 */
#include <kunit/test.h>
#include <linux/bitfield.h>
#include <linux/iommu.h>
#include <linux/pci.h>
#include <linux/sizes.h>
#include <uapi/linux/iommufd.h>

#include "amd_iommu.h"

#define NR_DEVICES	3
#define NR_IDS		256U		/* requesters on the bus */
#define ANY_SEGMENT	0x7fff
#define MMIO_SIZE	SZ_16K

struct fake_device {
	struct pci_dev pci;
	struct dev_iommu dev_iommu;
	struct iommu_dev_data data;
	DECLARE_BITMAP(aliases, NR_IDS);	/* by devfn */
};

struct fixture {
	struct amd_iommu iommu;
	struct amd_iommu_pci_seg segment;
	struct pci_bus bus;
	struct pci_sysdata sysdata;
	struct fake_device *device[NR_DEVICES];
	u64 semaphore;
	u32 seen;	/* commands before this one are of no interest */
	u8 vasize;
	bool hatdis;
};

static struct fixture *fix;	/* suites run one at a time */

/* ---- Hardware ---- */

static u16 id_of(unsigned int nr)
{
	return pci_dev_id(&fix->device[nr]->pci);
}

static u64 entry(u16 id)
{
	return fix->segment.dev_table[id].data[0];
}

static u64 had(u16 id)
{
	return entry(id) & DTE_FLAG_HAD;
}

static u64 levels(u16 id)
{
	return FIELD_GET(DTE_MODE_MASK, entry(id));
}

static unsigned int nr_commands(void)
{
	return (fix->iommu.cmd_buf_tail - fix->seen) / sizeof(struct iommu_cmd);
}

static struct iommu_cmd *command(unsigned int i)
{
	return (struct iommu_cmd *)(fix->iommu.cmd_buf + fix->seen) + i;
}

static unsigned int type_of(unsigned int i)
{
	return command(i)->data[1] >> 28;
}

/* Where in the buffer the last of a type is, for @id if that is not 0; -1 for none */
static int last_command(unsigned int type, u16 id)
{
	int i;

	for (i = nr_commands() - 1; i >= 0; i--) {
		if (type_of(i) == type && (!id || (u16)command(i)->data[0] == id))
			break;
	}
	return i;
}

static void *zeroed(struct kunit *test, size_t size)
{
	void *memory = kunit_kzalloc(test, size, GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, memory);
	return memory;
}

static void make_iommu(struct kunit *test)
{
	struct amd_iommu_pci_seg *segment = &fix->segment;
	struct amd_iommu *iommu = &fix->iommu;
	unsigned int i;

	segment->id = pci_domain_nr(&fix->bus);
	segment->last_bdf = NR_IDS - 1;
	segment->dev_table = zeroed(test, NR_IDS * sizeof(*segment->dev_table));
	segment->alias_table = zeroed(test, NR_IDS * sizeof(*segment->alias_table));
	segment->rlookup_table = zeroed(test, NR_IDS * sizeof(*segment->rlookup_table));
	for (i = 0; i < NR_IDS; i++) {
		segment->alias_table[i] = i;
		segment->rlookup_table[i] = iommu;
		segment->dev_table[i].data[0] = DTE_FLAG_V;
	}
	init_llist_head(&segment->dev_data_list);
	list_add(&segment->list, &amd_iommu_pci_seg_list);

	raw_spin_lock_init(&iommu->lock);
	iommu->pci_seg = segment;
	iommu->features = FEATURE_HDSUP;
	iommu->mmio_base = (void __iomem *)zeroed(test, MMIO_SIZE);
	iommu->cmd_buf = zeroed(test, CMD_BUFFER_SIZE);
	/* whatever it is that somebody waits for, it is done */
	fix->semaphore = S64_MAX;
	iommu->cmd_sem = &fix->semaphore;
}

static void make_device(struct kunit *test, unsigned int nr)
{
	struct fake_device *fake = zeroed(test, sizeof(*fake));

	fake->pci.devfn = PCI_DEVFN(nr + 1, 0);
	fake->pci.bus = &fix->bus;
	fake->pci.dev.bus = &pci_bus_type;
	fake->pci.dev.init_name = "fake device";
	fake->pci.dev.iommu = &fake->dev_iommu;
	set_dev_node(&fake->pci.dev, NUMA_NO_NODE);
	fake->dev_iommu.iommu_dev = &fix->iommu.iommu;
	fake->dev_iommu.priv = &fake->data;
	mutex_init(&fake->data.mutex);
	spin_lock_init(&fake->data.dte_lock);
	fake->data.dev = &fake->pci.dev;
	fake->data.devid = pci_dev_id(&fake->pci);
	llist_add(&fake->data.dev_data_list, &fix->segment.dev_data_list);
	fix->device[nr] = fake;
}

static int make_fixture(struct kunit *test)
{
	unsigned int i;

	/* What is set here, and the list of segments, is for all of the machine */
	if (!list_empty(&amd_iommu_pci_seg_list))
		kunit_skip(test, "there is a real one");
	fix = zeroed(test, sizeof(*fix));
	fix->sysdata.domain = ANY_SEGMENT;
	fix->sysdata.node = NUMA_NO_NODE;
	fix->bus.sysdata = &fix->sysdata;
	make_iommu(test);
	for (i = 0; i < NR_DEVICES; i++)
		make_device(test, i);
	fix->hatdis = amd_iommu_hatdis;
	fix->vasize = amd_iommu_hpt_vasize;
	amd_iommu_hatdis = false;
	amd_iommu_hpt_vasize = 64;
	return 0;
}

static bool is_ours(struct iommu_dev_data *data)
{
	unsigned int i;

	for (i = 0; i < NR_DEVICES; i++) {
		if (data == &fix->device[i]->data)
			return true;
	}
	return false;
}

static void free_fixture(struct kunit *test)
{
	struct iommu_dev_data *data, *next;
	struct llist_node *list;

	if (!fix)
		return;
	amd_iommu_hatdis = fix->hatdis;
	amd_iommu_hpt_vasize = fix->vasize;
	list_del(&fix->segment.list);
	/* what the driver made for aliases it never frees */
	list = llist_del_all(&fix->segment.dev_data_list);
	llist_for_each_entry_safe(data, next, list, dev_data_list) {
		if (!is_ours(data))
			kfree(data);
	}
}

/* The device's requests may come under that of @alias as well */
static void alias_by_pci(unsigned int nr, u16 alias)
{
	__set_bit(alias & 0xff, fix->device[nr]->aliases);
	fix->device[nr]->pci.dma_alias_mask = fix->device[nr]->aliases;
}

static void alias_by_firmware(unsigned int nr, u16 alias)
{
	fix->segment.alias_table[id_of(nr)] = alias;
}

/* ---- As iommufd does ---- */

static struct device *dev(unsigned int nr)
{
	return &fix->device[nr]->pci.dev;
}

static struct iommu_domain *alloc(u32 flags)
{
	return amd_iommu_ops.domain_alloc_paging_flags(dev(0), flags, NULL);
}

static struct iommu_domain *must_alloc(struct kunit *test, u32 flags)
{
	struct iommu_domain *domain = alloc(flags);

	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	if (flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
		KUNIT_ASSERT_NOT_NULL(test, domain->dirty_ops);
	return domain;
}

static int attach(struct iommu_domain *domain, unsigned int nr)
{
	return domain->ops->attach_dev(domain, dev(nr), NULL);
}

static void detach(unsigned int nr)
{
	struct iommu_domain *blocked = amd_iommu_ops.blocked_domain;

	blocked->ops->attach_dev(blocked, dev(nr), NULL);
}

static int track(struct iommu_domain *domain, bool enable)
{
	fix->seen = fix->iommu.cmd_buf_tail;
	return domain->dirty_ops->set_dirty_tracking(domain, enable);
}

static void put(struct iommu_domain *domain)
{
	domain->ops->free(domain);
}

/*
 * Hardware forgot its copy of the entry, then what it translated with it, and the
 * driver waited for that
 */
static void expect_flushed(struct kunit *test, u16 id)
{
	int dte = last_command(CMD_INV_DEV_ENTRY, id);
	int pages = last_command(CMD_INV_IOMMU_PAGES, 0);
	int wait = last_command(CMD_COMPL_WAIT, 0);

	KUNIT_EXPECT_GE(test, dte, 0);
	KUNIT_EXPECT_GT(test, pages, dte);
	KUNIT_EXPECT_GT(test, wait, pages);
}

/* ---- Who can track ---- */

static void who_can_track(struct kunit *test)
{
	static const struct {
		u64 features;
		bool hatdis;
		bool can;
	} cases[] = {
		{ FEATURE_HDSUP, false, true },
		{ ~FEATURE_HDSUP, false, false },
		/* without host translation there is nothing that has dirty bits */
		{ FEATURE_HDSUP, true, false },
	};
	struct iommu_domain *domain;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		fix->iommu.features = cases[i].features;
		amd_iommu_hatdis = cases[i].hatdis;
		KUNIT_EXPECT_EQ_MSG(test,
				    amd_iommu_ops.capable(dev(0), IOMMU_CAP_DIRTY_TRACKING),
				    cases[i].can, "case %u", i);
		domain = alloc(IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
		if (cases[i].can) {
			KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(domain), "case %u", i);
			put(domain);
		} else {
			KUNIT_EXPECT_PTR_EQ_MSG(test, domain, ERR_PTR(-EOPNOTSUPP),
						"case %u", i);
		}
	}
}

static void refused_where_it_cannot(struct kunit *test)
{
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	u64 before = entry(id_of(0));

	fix->iommu.features = 0;
	KUNIT_EXPECT_EQ(test, attach(domain, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, entry(id_of(0)), before);
	put(domain);
}

/* ---- The switch ---- */

static void switched_for_every_device(struct kunit *test)
{
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	u64 before[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, attach(domain, i), 0);
		KUNIT_EXPECT_EQ(test, had(id_of(i)), 0ULL);
		before[i] = entry(id_of(i));
	}
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, entry(id_of(i)), before[i] | DTE_FLAG_HAD);
		expect_flushed(test, id_of(i));
	}
	KUNIT_EXPECT_EQ(test, had(id_of(2)), 0ULL);

	/* what is on already costs nothing */
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	KUNIT_EXPECT_EQ(test, nr_commands(), 0);

	KUNIT_EXPECT_EQ(test, track(domain, false), 0);
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, entry(id_of(i)), before[i]);
		expect_flushed(test, id_of(i));
	}
	KUNIT_EXPECT_EQ(test, track(domain, false), 0);
	KUNIT_EXPECT_EQ(test, nr_commands(), 0);

	for (i = 0; i < 2; i++)
		detach(i);
	put(domain);
}

static void attached_while_on(struct kunit *test)
{
	struct iommu_domain *plain = must_alloc(test, 0);
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);

	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	KUNIT_EXPECT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_EQ(test, had(id_of(0)), DTE_FLAG_HAD);
	/* replaced by one that does not track, and back */
	KUNIT_EXPECT_EQ(test, attach(plain, 0), 0);
	KUNIT_EXPECT_EQ(test, had(id_of(0)), 0ULL);
	KUNIT_EXPECT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_EQ(test, had(id_of(0)), DTE_FLAG_HAD);
	/* gone, it is out of reach of the domain */
	detach(0);
	KUNIT_EXPECT_EQ(test, had(id_of(0)), 0ULL);
	KUNIT_EXPECT_EQ(test, track(domain, false), 0);
	KUNIT_EXPECT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_EQ(test, had(id_of(0)), 0ULL);

	detach(0);
	put(domain);
	put(plain);
}

/* ---- Aliases: the entry that counts is that of the request's own number ---- */

static void expect_aliases(struct kunit *test, u16 alias)
{
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);

	KUNIT_ASSERT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_EQ(test, entry(alias), entry(id_of(0)));
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	KUNIT_EXPECT_EQ(test, had(id_of(0)), DTE_FLAG_HAD);
	KUNIT_EXPECT_EQ(test, entry(alias), entry(id_of(0)));
	expect_flushed(test, alias);
	KUNIT_EXPECT_EQ(test, track(domain, false), 0);
	KUNIT_EXPECT_EQ(test, had(id_of(0)), 0ULL);
	KUNIT_EXPECT_EQ(test, entry(alias), entry(id_of(0)));
	expect_flushed(test, alias);

	/* as if it had come with the device */
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	detach(0);
	KUNIT_EXPECT_EQ(test, entry(alias), entry(id_of(0)));
	KUNIT_ASSERT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_EQ(test, had(alias), DTE_FLAG_HAD);

	detach(0);
	put(domain);
}

static void aliases_by_pci(struct kunit *test)
{
	alias_by_pci(0, PCI_DEVFN(9, 1));
	expect_aliases(test, PCI_DEVFN(9, 1));
}

static void aliases_by_firmware(struct kunit *test)
{
	alias_by_firmware(0, PCI_DEVFN(10, 0));
	expect_aliases(test, PCI_DEVFN(10, 0));
}

/* ---- A table that grows while it tracks ---- */

static void grows_while_on(struct kunit *test)
{
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	u64 before;

	alias_by_pci(0, PCI_DEVFN(9, 1));
	KUNIT_ASSERT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	before = levels(id_of(0));
	KUNIT_EXPECT_EQ(test, iommu_map(domain, SZ_4T, SZ_1M, SZ_4K,
					IOMMU_READ | IOMMU_WRITE, GFP_KERNEL), 0);
	KUNIT_EXPECT_GT(test, levels(id_of(0)), before);
	KUNIT_EXPECT_EQ(test, had(id_of(0)), DTE_FLAG_HAD);
	KUNIT_EXPECT_EQ(test, entry(PCI_DEVFN(9, 1)), entry(id_of(0)));

	detach(0);
	put(domain);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(who_can_track),
	KUNIT_CASE(refused_where_it_cannot),
	KUNIT_CASE(switched_for_every_device),
	KUNIT_CASE(attached_while_on),
	KUNIT_CASE(aliases_by_pci),
	KUNIT_CASE(aliases_by_firmware),
	KUNIT_CASE(grows_while_on),
	{}
};

static struct kunit_suite suite = {
	.name = "amd_iommu_dirty",
	.init = make_fixture,
	.exit = free_fixture,
	.test_cases = cases,
};

kunit_test_suite(suite);

MODULE_DESCRIPTION("KUnit tests of dirty tracking by the AMD IOMMU");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_LICENSE("GPL");
