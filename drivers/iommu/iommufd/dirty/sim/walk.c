// SPDX-License-Identifier: GPL-2.0-only
/*
 * The page walker of the simulated IOMMU
 *
 * Formats and the rules for accessed and dirty bits are taken from
 *   - Intel Virtualization Technology for Directed I/O, sections 3.6 and 9.7
 *     (first stage), 3.7 and 9.8 (second stage);
 *   - AMD I/O Virtualization Technology (IOMMU), section 2.2.3 (host page
 *     tables) and the HAD field of the device table entry;
 *   - Arm Architecture Reference Manual (DDI 0487), chapter D8: "Translation
 *     table descriptor formats", "Memory access control", "Hardware updates to
 *     the translation tables" (their numbers differ from issue to issue), which
 *     the SMMUv3 architecture (IHI 0070), section 3.13, takes over.
 *
 * Entries change under the walker: software installs, clears and cleans them
 * at any time.  So an entry is read once, and updated by compare and exchange
 * against what was read; when that fails, the walk starts over.
 */
#include <kunit/visibility.h>
#include <linux/bitfield.h>
#include <linux/bits.h>
#include <linux/io.h>
#include <linux/mm.h>
#include <linux/processor.h>

#include "dsim.h"

#define TABLE_ADDR	GENMASK_ULL(51, 12)
#define LEVEL_BITS	9

static u8 level_shift(unsigned int level)
{
	return 12 + LEVEL_BITS * level;
}

/* Bits of an address field that a leaf of this size must have as zero */
static u64 below_page(u8 size_lg2)
{
	return GENMASK_ULL(size_lg2 - 1, 12) & TABLE_ADDR;
}

static struct dsim_pte table_pte(u64 entry, u8 perm, u8 level)
{
	return (struct dsim_pte){
		.kind = DSIM_PTE_TABLE,
		.perm = perm,
		.level = level,
		.pa = entry & TABLE_ADDR,
	};
}

static struct dsim_pte leaf_pte(u64 pa, u8 perm, u8 size_lg2)
{
	return (struct dsim_pte){
		.kind = DSIM_PTE_LEAF,
		.perm = perm,
		.size_lg2 = size_lg2,
		.pa = pa,
	};
}

#define PTE_NONE	((struct dsim_pte){ .kind = DSIM_PTE_NONE })
#define PTE_RESERVED	((struct dsim_pte){ .kind = DSIM_PTE_RESERVED })

/* VT-d second stage: there is no present bit, R or W make an entry present */
#define VTDSS_R		BIT_ULL(0)
#define VTDSS_W		BIT_ULL(1)
#define VTDSS_PS	BIT_ULL(7)
#define VTDSS_A		BIT_ULL(8)
#define VTDSS_D		BIT_ULL(9)

static struct dsim_pte vtdss_decode(u64 entry, unsigned int level, bool ad)
{
	u8 perm = 0;

	if (entry & VTDSS_R)
		perm |= DSIM_PERM_R;
	if (entry & VTDSS_W)
		perm |= DSIM_PERM_W;
	if (!perm)
		return PTE_NONE;
	if (level == 0)
		return leaf_pte(entry & TABLE_ADDR, perm, level_shift(0));
	if (!(entry & VTDSS_PS))
		return table_pte(entry, perm, level - 1);
	/* Pages end at 1 GiB; the address bits below the page are reserved */
	if (level > 2 || (entry & below_page(level_shift(level))))
		return PTE_RESERVED;
	return leaf_pte(entry & TABLE_ADDR, perm, level_shift(level));
}

/*
 * x86-64, as VT-d first stage reads it.  Requests of a device are user
 * requests unless a PASID says otherwise, so U/S must be set on every level.
 */
#define X86_P		BIT_ULL(0)
#define X86_RW		BIT_ULL(1)
#define X86_US		BIT_ULL(2)
#define X86_A		BIT_ULL(5)
#define X86_D		BIT_ULL(6)
#define X86_PS		BIT_ULL(7)
#define X86_PAT_LARGE	BIT_ULL(12)

static struct dsim_pte x86_64_decode(u64 entry, unsigned int level, bool ad)
{
	u8 perm = 0;

	if (!(entry & X86_P))
		return PTE_NONE;
	if (entry & X86_US) {
		perm |= DSIM_PERM_R;
		if (entry & X86_RW)
			perm |= DSIM_PERM_W;
	}
	if (level == 0)
		return leaf_pte(entry & TABLE_ADDR, perm, level_shift(0));
	if (!(entry & X86_PS))
		return table_pte(entry, perm, level - 1);
	entry &= ~X86_PAT_LARGE;
	if (level > 2 || (entry & below_page(level_shift(level))))
		return PTE_RESERVED;
	return leaf_pte(entry & TABLE_ADDR, perm, level_shift(level));
}

/*
 * AMD host tables: an entry says itself what level it points to, and may skip
 * levels.  Next level 7 is a page whose size is coded in the address: the
 * lowest zero bit from bit 12 on, at n, makes a page of 2^(n + 1) bytes, and all
 * entries of the table that such a page spans hold the same value.  Hardware
 * sets A and D in the one that it walked through.
 */
#define AMDV1_PR		BIT_ULL(0)
#define AMDV1_A			BIT_ULL(5)
#define AMDV1_D			BIT_ULL(6)
#define AMDV1_NEXT_LEVEL	GENMASK_ULL(11, 9)
#define AMDV1_IR		BIT_ULL(61)
#define AMDV1_IW		BIT_ULL(62)

static struct dsim_pte amdv1_decode(u64 entry, unsigned int level, bool ad)
{
	unsigned int next = FIELD_GET(AMDV1_NEXT_LEVEL, entry);
	u64 addr = entry & TABLE_ADDR;
	u8 perm = 0;
	u8 size_lg2;

	if (!(entry & AMDV1_PR))
		return PTE_NONE;
	if (entry & AMDV1_IR)
		perm |= DSIM_PERM_R;
	if (entry & AMDV1_IW)
		perm |= DSIM_PERM_W;

	if (next == 0) {
		if (addr & below_page(level_shift(level)))
			return PTE_RESERVED;
		return leaf_pte(addr, perm, level_shift(level));
	}
	if (next == 7) {
		size_lg2 = 13 + ffz(addr >> 12);
		if (size_lg2 <= level_shift(level) ||
		    size_lg2 >= level_shift(level + 1))
			return PTE_RESERVED;
		return leaf_pte(addr & ~below_page(size_lg2), perm, size_lg2);
	}
	/* The specification counts levels from 1 */
	if (next > level)
		return PTE_RESERVED;
	return table_pte(entry, perm, next - 1);
}

/*
 * Arm VMSAv8-64 stage 1, 4 KiB granule, 48-bit addresses, as an SMMUv3 reads it
 * for a request that is not privileged.  The specification counts levels the
 * other way: our level 0 is its level 3.
 *
 * There is no dirty bit.  AP[2] forbids writing; with DBM ("dirty bit modifier")
 * set too, the page is writable and clean, and hardware that manages the dirty
 * state clears AP[2] on the first write.  Hardware that does not takes AP[2] as
 * it is.  Access flags are in pages and blocks only.  What a descriptor says
 * of memory types is the interconnect's affair.
 */
#define ARM_VALID		BIT_ULL(0)
#define ARM_TABLE_OR_PAGE	BIT_ULL(1)
#define ARM_AP1_UNPRIVILEGED	BIT_ULL(6)
#define ARM_AP2_READ_ONLY	BIT_ULL(7)
#define ARM_AF			BIT_ULL(10)
#define ARM_DBM			BIT_ULL(51)
#define ARM_APTABLE0_PRIVILEGED	BIT_ULL(61)
#define ARM_APTABLE1_READ_ONLY	BIT_ULL(62)
#define ARM_OUTPUT_ADDR		GENMASK_ULL(47, 12)

static struct dsim_pte armlpae_decode(u64 entry, unsigned int level, bool ad)
{
	u64 addr = entry & ARM_OUTPUT_ADDR;
	u8 perm = DSIM_PERM_R | DSIM_PERM_W;
	bool clean;

	if (!(entry & ARM_VALID))
		return PTE_NONE;

	if (level && (entry & ARM_TABLE_OR_PAGE)) {
		if (entry & ARM_APTABLE1_READ_ONLY)
			perm &= ~DSIM_PERM_W;
		if (entry & ARM_APTABLE0_PRIVILEGED)
			perm = 0;
		return table_pte(addr, perm, level - 1);
	}
	/* Blocks end at 1 GiB, and in the last level there are none */
	if (level > 2 || (!level && !(entry & ARM_TABLE_OR_PAGE)))
		return PTE_RESERVED;

	clean = ad && (entry & ARM_DBM);
	if ((entry & ARM_AP2_READ_ONLY) && !clean)
		perm &= ~DSIM_PERM_W;
	/* Nobody sets the access flag: that is a fault which software wants */
	if (!(entry & ARM_AP1_UNPRIVILEGED) || (!ad && !(entry & ARM_AF)))
		perm = 0;
	/* Address bits below a block are RES0, which hardware ignores */
	return leaf_pte(addr & ~below_page(level_shift(level)), perm,
			level_shift(level));
}

const struct dsim_format dsim_formats[DSIM_NR_FORMATS] = {
	[DSIM_VTDSS] = {
		.name = "vtdss",
		.accessed = VTDSS_A,
		.dirty = VTDSS_D,
		.accessed_tables = true,
		.decode = vtdss_decode,
	},
	[DSIM_AMDV1] = {
		.name = "amdv1",
		.accessed = AMDV1_A,
		.dirty = AMDV1_D,
		.decode = amdv1_decode,
	},
	[DSIM_X86_64] = {
		.name = "x86_64",
		.accessed = X86_A,
		.dirty = X86_D,
		.accessed_tables = true,
		.always_ad = true,
		.sign_extend = true,
		.decode = x86_64_decode,
	},
	[DSIM_ARMLPAE] = {
		.name = "armlpae",
		.accessed = ARM_AF,
		.dirty = ARM_AP2_READ_ONLY,
		.dirty_is_clear = true,
		.always_ad = true,
		.decode = armlpae_decode,
	},
};
EXPORT_SYMBOL_IF_KUNIT(dsim_formats);

/* Update an entry that still holds @seen; false when it changed */
static bool entry_update(u64 *entry, u64 seen, u64 update)
{
	return update == seen || cmpxchg64(entry, seen, update) == seen;
}

static bool is_dirty(const struct dsim_format *format, u64 entry)
{
	return !(entry & format->dirty) == format->dirty_is_clear;
}

static u64 make_dirty(const struct dsim_format *format, u64 entry)
{
	if (format->dirty_is_clear)
		return entry & ~format->dirty;
	return entry | format->dirty;
}

static bool iova_in_range(const struct dsim_format *format, unsigned int levels,
			  u64 iova)
{
	unsigned int bits = min_t(unsigned int, level_shift(levels), 64);

	if (bits == 64)
		return true;
	if (format->sign_extend)
		return (s64)(iova << (64 - bits)) >> (64 - bits) == (s64)iova;
	return !(iova >> bits);
}

static u64 *entry_of(u64 table, u64 iova, unsigned int level)
{
	u64 index = (iova >> level_shift(level)) & GENMASK(LEVEL_BITS - 1, 0);

	if (!pfn_valid(PHYS_PFN(table)))
		return NULL;
	return (u64 *)phys_to_virt(table) + index;
}

/* A level may be skipped only where the address has no bits for it */
static bool skipped_bits_zero(u64 iova, unsigned int from, unsigned int to)
{
	if (to + 1 == from)
		return true;
	return !(iova & GENMASK_ULL(level_shift(from) - 1, level_shift(to + 1)));
}

static void cache_table(struct dsim_tlb *tlb, u64 iova, unsigned int level,
			const struct dsim_pte *pte, u8 perm)
{
	u8 size_lg2 = level_shift(level);

	if (!tlb)
		return;
	dsim_tlb_insert_table(tlb, level, &(struct dsim_table){
		.iova = iova & ~(BIT_ULL(size_lg2) - 1),
		.pa = pte->pa,
		.size_lg2 = size_lg2,
		.level = pte->level,
		.perm = perm,
	});
}

/* One attempt; -EAGAIN when an entry changed under it */
static int try_walk(const struct dsim_root *root, struct dsim_tlb *tlb,
		    u64 iova, u8 access, bool keep_clean,
		    struct dsim_xlate *out)
{
	const struct dsim_format *format = root->format;
	const struct dsim_table *cached = NULL;
	u64 top = READ_ONCE(root->top);
	unsigned int level = (top & ~TABLE_ADDR) - 1;
	u64 table = top & TABLE_ADDR;
	bool ad = READ_ONCE(root->ad);
	u8 perm = DSIM_PERM_R | DSIM_PERM_W;
	struct dsim_pte pte;
	u64 *entry;
	u64 seen, update;

	if (!iova_in_range(format, level + 1, iova))
		return DSIM_FAULT_RANGE;
	if (tlb)
		cached = dsim_tlb_table(tlb, iova);
	if (cached) {
		level = cached->level;
		table = cached->pa;
		perm = cached->perm;
	}
	for (;;) {
		entry = entry_of(table, iova, level);
		if (!entry)
			return DSIM_FAULT_BUS;
		seen = READ_ONCE(*entry);
		pte = format->decode(seen, level, ad);
		perm &= pte.perm;

		if (pte.kind == DSIM_PTE_NONE)
			return DSIM_FAULT_NOT_PRESENT;
		if (pte.kind == DSIM_PTE_RESERVED)
			return DSIM_FAULT_RESERVED;
		if (pte.kind == DSIM_PTE_LEAF)
			break;

		if (!skipped_bits_zero(iova, level, pte.level))
			return DSIM_FAULT_NOT_PRESENT;
		/* Hardware may set A on the way even when the walk then fails */
		if (ad && format->accessed_tables) {
			if (!entry_update(entry, seen, seen | format->accessed))
				return -EAGAIN;
			out->a_set += !(seen & format->accessed);
		}
		cache_table(tlb, iova, level, &pte, perm);
		table = pte.pa;
		level = pte.level;
	}

	if ((access & DSIM_PERM_R) && !(perm & DSIM_PERM_R))
		return DSIM_FAULT_READ;
	if ((access & DSIM_PERM_W) && !(perm & DSIM_PERM_W))
		return DSIM_FAULT_WRITE;

	update = seen;
	if (ad) {
		update |= format->accessed;
		if ((access & DSIM_PERM_W) && !keep_clean)
			update = make_dirty(format, update);
	}
	if (!entry_update(entry, seen, update))
		return -EAGAIN;

	out->a_set += !!(update & ~seen & format->accessed);
	out->d_set = !!((update ^ seen) & format->dirty);
	out->size_lg2 = pte.size_lg2;
	out->iova = iova & ~(BIT_ULL(pte.size_lg2) - 1);
	out->pa = pte.pa;
	out->perm = perm;
	out->dirty = !ad || keep_clean || is_dirty(format, update);
	return DSIM_FAULT_NONE;
}

/**
 * dsim_walk() - Translate an address as the IOMMU's hardware does
 * @root: the page table
 * @tlb: has the paging-structure caches, which the walk begins at and adds to; NULL:
 *	 there are none
 * @iova: the address
 * @access: DSIM_PERM_* that the request needs
 * @keep_clean: fault injection: do not set D for a write
 * @out: the translation, valid when DSIM_FAULT_NONE is returned.  @out->a_set
 *	 counts also when the walk failed.
 *
 * Sets accessed bits on the way and the dirty bit of the leaf, each atomically.
 *
 * Context: any; the caller keeps the table's pages from being freed.
 *
 * Return: DSIM_FAULT_NONE, or why the translation failed.
 */
enum dsim_fault dsim_walk(const struct dsim_root *root, struct dsim_tlb *tlb,
			  u64 iova, u8 access, bool keep_clean,
			  struct dsim_xlate *out)
{
	u8 a_set = 0;
	int ret;

	do {
		*out = (struct dsim_xlate){ .a_set = a_set };
		ret = try_walk(root, tlb, iova, access, keep_clean, out);
		a_set = out->a_set;
		if (ret == -EAGAIN)
			cpu_relax();
	} while (ret == -EAGAIN);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(dsim_walk);
