// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what the VT-d driver programs for dirty tracking
 *
 * No emulator tracks dirty pages in the second stage, so here the driver runs over
 * an IOMMU that is only memory: its operations are called as iommufd calls them,
 * PASID table entries are read as hardware would, and what the driver asks hardware
 * to forget is written down in place of the invalidation queue.
 */
#include <kunit/static_stub.h>
#include <kunit/test.h>
#include <linux/iommu.h>
#include <linux/mman.h>
#include <linux/pci.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-pages.h"
#include "iommu.h"
#include "pasid.h"

#define SSADE		BIT_ULL(9)	/* of a PASID table entry */
#define PWSNP		BIT_ULL(23)	/* of its second word */

/* Capabilities, as their macros in iommu.h read them */
#define ECAP_COHERENT	BIT_ULL(0)
#define ECAP_NEST	BIT_ULL(26)
#define ECAP_PASID	BIT_ULL(40)
#define ECAP_SMTS	BIT_ULL(43)
#define ECAP_SSADS	BIT_ULL(45)
#define ECAP_SSTS	BIT_ULL(46)
#define ECAP_FSTS	BIT_ULL(47)
#define ECAP_SMPWC	BIT_ULL(48)

#define ECAP_SECOND	(ECAP_COHERENT | ECAP_NEST | ECAP_PASID | ECAP_SMTS | \
			 ECAP_SSADS | ECAP_SSTS | ECAP_SMPWC)
#define ECAP_FIRST	(ECAP_COHERENT | ECAP_SMTS | ECAP_FSTS | ECAP_SMPWC)

/* 4-level tables, 48 bits, leaves of 2M and 1G */
#define CAP		(BIT_ULL(10) | 47ULL << 16 | 3ULL << 34)

#define NR_DEVICES	3
#define NR_FLUSHES	32

struct fake_device {
	struct pci_dev pci;
	struct dev_iommu dev_iommu;
	struct device_domain_info info;
	struct pasid_table table;
	struct pasid_dir_entry dir[PAGE_SIZE / sizeof(struct pasid_dir_entry)];
};

enum flush_kind { PASID_CACHE = QI_PC_TYPE, IOTLB = QI_IOTLB_TYPE,
		  DEVICE_TLB = QI_DIOTLB_TYPE };

/* One request, and in how many entries SSADE was set by then */
struct flush {
	enum flush_kind kind;
	u16 id;		/* of the domain, or of the device if the TLB is its */
	unsigned int ssade;
};

struct fixture {
	struct intel_iommu iommu[2];
	struct pci_bus bus;
	struct pci_ops pci_ops;
	struct pci_sysdata sysdata;
	struct fake_device *device[NR_DEVICES];
	struct flush flush[NR_FLUSHES];
	unsigned int nr_flushes;
};

static struct fixture *fix;	/* suites run one at a time */

/* ---- Hardware ---- */

static struct pasid_entry *entry_of(unsigned int nr, u32 pasid)
{
	struct pasid_dir_entry *dir = &fix->device[nr]->dir[pasid >> PASID_PDE_SHIFT];
	struct pasid_entry *entries = get_pasid_table_from_pde(dir);

	return entries ? &entries[pasid & PASID_PTE_MASK] : NULL;
}

static u64 first_word(unsigned int nr)
{
	struct pasid_entry *entry = entry_of(nr, IOMMU_NO_PASID);

	return entry ? entry->val[0] : 0;
}

static bool ssade(unsigned int nr)
{
	return first_word(nr) & SSADE;
}

static u64 pgtt(unsigned int nr)
{
	return first_word(nr) >> 6 & 7;
}

static void note_flush(enum flush_kind kind, u16 id)
{
	struct flush *flush = &fix->flush[fix->nr_flushes];
	unsigned int i;

	KUNIT_ASSERT_LT(kunit_get_current_test(), fix->nr_flushes, NR_FLUSHES);
	fix->nr_flushes++;
	flush->kind = kind;
	flush->id = id;
	flush->ssade = 0;
	for (i = 0; i < NR_DEVICES; i++)
		flush->ssade += ssade(i);
}

static int fake_qi_submit_sync(struct intel_iommu *iommu, struct qi_desc *desc,
			       unsigned int count, unsigned long options)
{
	for (; count; count--, desc++) {
		switch (desc->qw0 & 0xf) {
		case QI_PC_TYPE:
			note_flush(PASID_CACHE, desc->qw0 >> 16);
			break;
		case QI_DIOTLB_TYPE:
			note_flush(DEVICE_TLB, desc->qw0 >> 32);
			break;
		}
	}
	return 0;
}

static void fake_flush_iotlb(struct intel_iommu *iommu, u16 did, u64 addr,
			     unsigned int size_order, u64 type)
{
	if (type == DMA_TLB_DSI_FLUSH)
		note_flush(IOTLB, did);
}

/* There is a device where somebody looks for one */
static int fake_config_read(struct pci_bus *bus, unsigned int devfn, int where,
			    int size, u32 *val)
{
	*val = where == PCI_VENDOR_ID ? 0x11e81234 : 0;
	return PCIBIOS_SUCCESSFUL;
}

static void make_iommu(struct intel_iommu *iommu, int seq_id, u64 ecap)
{
	iommu->cap = CAP;
	iommu->ecap = ecap;
	iommu->seq_id = seq_id;
	iommu->agaw = 2;
	iommu->msagaw = 2;
	iommu->node = NUMA_NO_NODE;
	iommu->gcmd = DMA_GCMD_TE;
	iommu->flush.flush_iotlb = fake_flush_iotlb;
	mutex_init(&iommu->did_lock);
	mutex_init(&iommu->iopf_lock);
	ida_init(&iommu->domain_ida);
	spin_lock_init(&iommu->lock);
	strscpy(iommu->name, "fake", sizeof(iommu->name));
}

static void make_device(struct kunit *test, unsigned int nr)
{
	struct fake_device *fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fake);
	fake->pci.devfn = PCI_DEVFN(nr + 1, 0);
	fake->pci.bus = &fix->bus;
	fake->pci.dev.bus = &pci_bus_type;
	fake->pci.dev.init_name = "fake device";
	fake->pci.dev.iommu = &fake->dev_iommu;
	set_dev_node(&fake->pci.dev, NUMA_NO_NODE);
	fake->dev_iommu.iommu_dev = &fix->iommu[0].iommu;
	fake->dev_iommu.priv = &fake->info;
	fake->table.table = fake->dir;
	fake->table.max_pasid = ARRAY_SIZE(fake->dir) << PASID_PDE_SHIFT;
	fake->info.iommu = &fix->iommu[0];
	fake->info.dev = &fake->pci.dev;
	fake->info.devfn = fake->pci.devfn;
	fake->info.pasid_table = &fake->table;
	fix->device[nr] = fake;
}

static int make_fixture(struct kunit *test)
{
	unsigned int i;

	fix = kunit_kzalloc(test, sizeof(*fix), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, fix);
	fix->pci_ops.read = fake_config_read;
	fix->sysdata.node = NUMA_NO_NODE;
	fix->bus.ops = &fix->pci_ops;
	fix->bus.sysdata = &fix->sysdata;
	make_iommu(&fix->iommu[0], 0, ECAP_SECOND);
	make_iommu(&fix->iommu[1], 1, ECAP_SECOND);
	for (i = 0; i < NR_DEVICES; i++)
		make_device(test, i);
	kunit_activate_static_stub(test, qi_submit_sync, fake_qi_submit_sync);
	return 0;
}

static struct device *dev(unsigned int nr)
{
	return &fix->device[nr]->pci.dev;
}

static void detach(unsigned int nr)
{
	struct iommu_domain *blocked = intel_iommu_ops.blocked_domain;

	blocked->ops->attach_dev(blocked, dev(nr), NULL);
}

static void free_fixture(struct kunit *test)
{
	unsigned int i, j;

	for (i = 0; i < NR_DEVICES; i++) {
		for (j = 0; j < ARRAY_SIZE(fix->device[i]->dir); j++)
			iommu_free_pages(get_pasid_table_from_pde(&fix->device[i]->dir[j]));
	}
	for (i = 0; i < ARRAY_SIZE(fix->iommu); i++)
		ida_destroy(&fix->iommu[i].domain_ida);
}

/* ---- As iommufd does ---- */

static struct iommu_domain *alloc(unsigned int nr, u32 flags)
{
	return intel_iommu_ops.domain_alloc_paging_flags(dev(nr), flags, NULL);
}

static struct iommu_domain *must_alloc(struct kunit *test, u32 flags)
{
	struct iommu_domain *domain = alloc(0, flags);

	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	if (flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING)
		KUNIT_ASSERT_NOT_NULL(test, domain->dirty_ops);
	return domain;
}

/* As a guest's first stage over @parent */
static struct iommu_domain *must_nest(struct kunit *test,
				      struct iommu_domain *parent)
{
	struct iommu_hwpt_vtd_s1 s1 = { .pgtbl_addr = SZ_4K, .addr_width = 48 };
	struct iommu_user_data data = {
		.type = IOMMU_HWPT_DATA_VTD_S1,
		.len = sizeof(s1),
	};
	struct iommu_domain *domain;
	unsigned long user;

	user = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_NE(test, user, 0UL);
	data.uptr = (void __user *)user;
	KUNIT_ASSERT_EQ(test, copy_to_user(data.uptr, &s1, sizeof(s1)), 0);
	domain = intel_iommu_ops.domain_alloc_nested(dev(0), parent, 0, &data);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	return domain;
}

static int attach(struct iommu_domain *domain, unsigned int nr)
{
	return domain->ops->attach_dev(domain, dev(nr), NULL);
}

/* What was flushed before is of no interest after */
static int track(struct iommu_domain *domain, bool enable)
{
	fix->nr_flushes = 0;
	return domain->dirty_ops->set_dirty_tracking(domain, enable);
}

static void put(struct iommu_domain *domain)
{
	domain->ops->free(domain);
}

/*
 * Hardware may go on with what it cached before an entry changed: its copies of the
 * entry, then translations made with them, in the order of "Guidance to Software for
 * Invalidations". Each must have been asked for when all @entries were as they are.
 */
static void expect_flushed(struct kunit *test, unsigned int entries)
{
	unsigned int pasid_cache = 0, iotlb = 0, i;

	for (i = 0; i < fix->nr_flushes; i++) {
		if (fix->flush[i].ssade != entries)
			continue;
		if (fix->flush[i].kind == PASID_CACHE)
			pasid_cache++;
		if (fix->flush[i].kind == IOTLB && pasid_cache)
			iotlb++;
	}
	KUNIT_EXPECT_GT(test, pasid_cache, 0);
	KUNIT_EXPECT_GT(test, iotlb, 0);
}

static unsigned int flushes(enum flush_kind kind, u16 id)
{
	unsigned int nr = 0, i;

	for (i = 0; i < fix->nr_flushes; i++)
		nr += fix->flush[i].kind == kind && fix->flush[i].id == id;
	return nr;
}

/* ---- Who can track ---- */

/* Which stage it is that tracks, 0 if none does */
static const struct {
	u64 ecap;
	u64 pgtt;
} abilities[] = {
	{ ECAP_SECOND, PASID_ENTRY_PGTT_SL_ONLY },
	{ ECAP_SECOND & ~ECAP_SSADS, 0 },
	{ ECAP_SECOND & ~ECAP_SMPWC, 0 },
	{ ECAP_SECOND & ~ECAP_SMTS, 0 },
	{ ECAP_FIRST, PASID_ENTRY_PGTT_FL_ONLY },
	{ ECAP_FIRST & ~ECAP_SMPWC, 0 },
	{ ECAP_FIRST & ~ECAP_FSTS, 0 },
	{ ECAP_FIRST & ~ECAP_SMTS, 0 },
	{ ECAP_FIRST | ECAP_SECOND, PASID_ENTRY_PGTT_SL_ONLY },
	{ (ECAP_FIRST | ECAP_SECOND) & ~ECAP_SSADS, PASID_ENTRY_PGTT_FL_ONLY },
	{ (ECAP_FIRST | ECAP_SECOND) & ~ECAP_SMPWC, 0 },
};

static void who_can_track(struct kunit *test)
{
	struct iommu_domain *domain;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(abilities); i++) {
		fix->iommu[0].ecap = abilities[i].ecap;
		KUNIT_EXPECT_EQ_MSG(test,
				    intel_iommu_ops.capable(dev(0), IOMMU_CAP_DIRTY_TRACKING),
				    !!abilities[i].pgtt, "case %u", i);
		domain = alloc(0, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
		if (!abilities[i].pgtt) {
			KUNIT_EXPECT_PTR_EQ_MSG(test, domain, ERR_PTR(-EOPNOTSUPP),
						"case %u", i);
			continue;
		}
		KUNIT_ASSERT_FALSE_MSG(test, IS_ERR(domain), "case %u", i);
		KUNIT_EXPECT_EQ(test, attach(domain, 0), 0);
		KUNIT_EXPECT_EQ_MSG(test, pgtt(0), abilities[i].pgtt, "case %u", i);
		detach(0);
		put(domain);
	}
}

/* A domain that tracks goes to no IOMMU that cannot: nothing would be dirty there */
static void refused_where_it_cannot(struct kunit *test)
{
	static const u64 ecap[][2] = {
		{ ECAP_SECOND, ECAP_SECOND & ~ECAP_SSADS },
		{ ECAP_SECOND, ECAP_SECOND & ~ECAP_SMPWC },
		{ ECAP_FIRST, ECAP_FIRST & ~ECAP_SMPWC },
		{ ECAP_FIRST, ECAP_SECOND },
	};
	struct iommu_domain *domain;
	unsigned int i;

	fix->device[1]->info.iommu = &fix->iommu[1];
	for (i = 0; i < ARRAY_SIZE(ecap); i++) {
		fix->iommu[0].ecap = ecap[i][0];
		fix->iommu[1].ecap = ecap[i][1];
		domain = must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
		KUNIT_EXPECT_EQ(test, attach(domain, 0), 0);
		KUNIT_EXPECT_EQ_MSG(test, attach(domain, 1), -EINVAL, "case %u", i);
		KUNIT_EXPECT_EQ(test, first_word(1), 0ULL);
		detach(0);
		put(domain);
	}
}

/* ---- Second stage ---- */

static void switched_for_every_device(struct kunit *test)
{
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	u64 before[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		KUNIT_ASSERT_EQ(test, attach(domain, i), 0);
		KUNIT_EXPECT_FALSE(test, ssade(i));
		before[i] = first_word(i);
	}
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, first_word(i), before[i] | SSADE);
	expect_flushed(test, 2);

	/* what is on already costs nothing */
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	KUNIT_EXPECT_EQ(test, fix->nr_flushes, 0);

	KUNIT_EXPECT_EQ(test, track(domain, false), 0);
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, first_word(i), before[i]);
	expect_flushed(test, 0);
	KUNIT_EXPECT_EQ(test, track(domain, false), 0);
	KUNIT_EXPECT_EQ(test, fix->nr_flushes, 0);

	for (i = 0; i < 2; i++)
		detach(i);
	put(domain);
}

/* Each has its own number of the domain, under which it is flushed */
static void switched_on_every_iommu(struct kunit *test)
{
	struct iommu_domain *other = must_alloc(test, 0);
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	unsigned int i;
	u16 did;

	fix->device[1]->info.iommu = &fix->iommu[1];
	KUNIT_ASSERT_EQ(test, attach(other, 2), 0);
	for (i = 0; i < 2; i++)
		KUNIT_ASSERT_EQ(test, attach(domain, i), 0);
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_TRUE(test, ssade(i));
		did = pasid_get_domain_id(entry_of(i, IOMMU_NO_PASID));
		KUNIT_EXPECT_EQ(test, flushes(PASID_CACHE, did), 1);
		KUNIT_EXPECT_EQ(test, flushes(IOTLB, did), 1);
	}
	KUNIT_EXPECT_NE(test, pasid_get_domain_id(entry_of(0, IOMMU_NO_PASID)),
			pasid_get_domain_id(entry_of(1, IOMMU_NO_PASID)));
	/* another domain's device is none of its business */
	KUNIT_EXPECT_FALSE(test, ssade(2));

	for (i = 0; i < 3; i++)
		detach(i);
	put(domain);
	put(other);
}

static void attached_while_on(struct kunit *test)
{
	struct iommu_domain *plain = must_alloc(test, 0);
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);

	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	KUNIT_EXPECT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_TRUE(test, ssade(0));
	/* replaced by one that does not track, and back */
	KUNIT_EXPECT_EQ(test, attach(plain, 0), 0);
	KUNIT_EXPECT_EQ(test, pgtt(0), PASID_ENTRY_PGTT_SL_ONLY);
	KUNIT_EXPECT_FALSE(test, ssade(0));
	KUNIT_EXPECT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_TRUE(test, ssade(0));
	/* gone, it is out of reach of the domain */
	detach(0);
	KUNIT_EXPECT_EQ(test, first_word(0), 0ULL);
	KUNIT_EXPECT_EQ(test, track(domain, false), 0);
	KUNIT_EXPECT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_FALSE(test, ssade(0));

	detach(0);
	put(domain);
	put(plain);
}

/* What a device that translates by itself keeps has to go too */
static void device_tlbs_are_flushed(struct kunit *test)
{
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);

	fix->device[1]->info.ats_enabled = true;
	KUNIT_ASSERT_EQ(test, attach(domain, 0), 0);
	KUNIT_ASSERT_EQ(test, attach(domain, 1), 0);
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	KUNIT_EXPECT_EQ(test, flushes(DEVICE_TLB, pci_dev_id(&fix->device[0]->pci)), 0);
	KUNIT_EXPECT_EQ(test, flushes(DEVICE_TLB, pci_dev_id(&fix->device[1]->pci)), 1);
	KUNIT_EXPECT_EQ(test, fix->flush[fix->nr_flushes - 1].ssade, 2);

	detach(0);
	detach(1);
	put(domain);
}

/* No emulated device sends requests with a PASID, but their entries are there */
static void pasids_are_switched_too(struct kunit *test)
{
	struct iommu_domain *blocked = intel_iommu_ops.blocked_domain;
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
				 IOMMU_HWPT_ALLOC_PASID);
	const u32 early = 5, late = 77;

	KUNIT_ASSERT_EQ(test, domain->ops->set_dev_pasid(domain, dev(0), early, NULL), 0);
	KUNIT_EXPECT_EQ(test, entry_of(0, early)->val[0] & SSADE, 0ULL);
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	KUNIT_EXPECT_EQ(test, entry_of(0, early)->val[0] & SSADE, SSADE);
	KUNIT_ASSERT_EQ(test, domain->ops->set_dev_pasid(domain, dev(0), late, NULL), 0);
	KUNIT_EXPECT_EQ(test, entry_of(0, late)->val[0] & SSADE, SSADE);
	KUNIT_EXPECT_EQ(test, track(domain, false), 0);
	KUNIT_EXPECT_EQ(test, entry_of(0, early)->val[0] & SSADE, 0ULL);
	KUNIT_EXPECT_EQ(test, entry_of(0, late)->val[0] & SSADE, 0ULL);

	blocked->ops->set_dev_pasid(blocked, dev(0), early, domain);
	blocked->ops->set_dev_pasid(blocked, dev(0), late, domain);
	put(domain);
}

/* One that cannot follow takes all back to where they were, and the caller is told */
static void all_or_none(struct kunit *test)
{
	struct iommu_domain *domain =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	struct pasid_entry *odd;
	unsigned int i;

	for (i = 0; i < NR_DEVICES; i++)
		KUNIT_ASSERT_EQ(test, attach(domain, i), 0);
	odd = entry_of(1, IOMMU_NO_PASID);
	pasid_set_translation_type(odd, PASID_ENTRY_PGTT_PT);
	KUNIT_EXPECT_EQ(test, track(domain, true), -EOPNOTSUPP);
	for (i = 0; i < NR_DEVICES; i++)
		KUNIT_EXPECT_FALSE(test, ssade(i));
	expect_flushed(test, 0);

	/* nothing remembers that it failed */
	pasid_set_translation_type(odd, PASID_ENTRY_PGTT_SL_ONLY);
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	for (i = 0; i < NR_DEVICES; i++)
		KUNIT_EXPECT_TRUE(test, ssade(i));

	for (i = 0; i < NR_DEVICES; i++)
		detach(i);
	put(domain);
}

/* ---- Nested: a guest's first stage over a second stage that tracks ---- */

static void nested_follow_their_parent(struct kunit *test)
{
	struct iommu_domain *parent =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
				 IOMMU_HWPT_ALLOC_NEST_PARENT);
	struct iommu_domain *child[2];
	unsigned int i;

	for (i = 0; i < 2; i++) {
		child[i] = must_nest(test, parent);
		KUNIT_ASSERT_EQ(test, attach(child[i], i), 0);
		KUNIT_EXPECT_EQ(test, pgtt(i), PASID_ENTRY_PGTT_NESTED);
		KUNIT_EXPECT_FALSE(test, ssade(i));
	}
	KUNIT_ASSERT_EQ(test, attach(parent, 2), 0);

	KUNIT_EXPECT_EQ(test, track(parent, true), 0);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_TRUE(test, ssade(i));
	expect_flushed(test, 3);

	/* from parent to child, while it is on */
	KUNIT_EXPECT_EQ(test, attach(child[1], 2), 0);
	KUNIT_EXPECT_EQ(test, pgtt(2), PASID_ENTRY_PGTT_NESTED);
	KUNIT_EXPECT_TRUE(test, ssade(2));

	KUNIT_EXPECT_EQ(test, track(parent, false), 0);
	for (i = 0; i < 3; i++)
		KUNIT_EXPECT_FALSE(test, ssade(i));
	expect_flushed(test, 0);

	for (i = 0; i < 3; i++)
		detach(i);
	put(child[0]);
	put(child[1]);
	put(parent);
}

static void nested_all_or_none(struct kunit *test)
{
	struct iommu_domain *parent =
		must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING |
				 IOMMU_HWPT_ALLOC_NEST_PARENT);
	struct iommu_domain *child = must_nest(test, parent);
	struct pasid_entry *odd;
	unsigned int i;

	KUNIT_ASSERT_EQ(test, attach(parent, 0), 0);
	KUNIT_ASSERT_EQ(test, attach(child, 1), 0);
	KUNIT_ASSERT_EQ(test, attach(child, 2), 0);
	odd = entry_of(1, IOMMU_NO_PASID);
	pasid_set_translation_type(odd, PASID_ENTRY_PGTT_PT);
	KUNIT_EXPECT_EQ(test, track(parent, true), -EOPNOTSUPP);
	for (i = 0; i < NR_DEVICES; i++)
		KUNIT_EXPECT_FALSE(test, ssade(i));
	pasid_set_translation_type(odd, PASID_ENTRY_PGTT_NESTED);

	for (i = 0; i < NR_DEVICES; i++)
		detach(i);
	put(child);
	put(parent);
}

/* ---- First stage: hardware always tracks ---- */

static void first_stage_has_no_switch(struct kunit *test)
{
	struct iommu_domain *domain;
	u64 before;

	fix->iommu[0].ecap = ECAP_FIRST;
	domain = must_alloc(test, IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	KUNIT_ASSERT_EQ(test, attach(domain, 0), 0);
	KUNIT_EXPECT_EQ(test, pgtt(0), PASID_ENTRY_PGTT_FL_ONLY);
	/* walks see what software clears, and it sees what they set */
	KUNIT_EXPECT_EQ(test, entry_of(0, IOMMU_NO_PASID)->val[1] & PWSNP, PWSNP);

	before = first_word(0);
	KUNIT_EXPECT_EQ(test, track(domain, true), 0);
	KUNIT_EXPECT_EQ(test, first_word(0), before);
	KUNIT_EXPECT_EQ(test, track(domain, false), 0);
	KUNIT_EXPECT_EQ(test, first_word(0), before);

	detach(0);
	put(domain);
}

static struct kunit_case cases[] = {
	KUNIT_CASE(who_can_track),
	KUNIT_CASE(refused_where_it_cannot),
	KUNIT_CASE(switched_for_every_device),
	KUNIT_CASE(switched_on_every_iommu),
	KUNIT_CASE(attached_while_on),
	KUNIT_CASE(device_tlbs_are_flushed),
	KUNIT_CASE(pasids_are_switched_too),
	KUNIT_CASE(all_or_none),
	KUNIT_CASE(nested_follow_their_parent),
	KUNIT_CASE(nested_all_or_none),
	KUNIT_CASE(first_stage_has_no_switch),
	{}
};

static struct kunit_suite suite = {
	.name = "intel_iommu_dirty",
	.init = make_fixture,
	.exit = free_fixture,
	.test_cases = cases,
};

kunit_test_suite(suite);

MODULE_DESCRIPTION("KUnit tests of dirty tracking by VT-d");
MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
MODULE_LICENSE("GPL");
