// SPDX-License-Identifier: GPL-2.0-only
/*
 * The IOTLB of the simulated IOMMU, and its paging-structure caches
 *
 * Translations of any size, one structure for all, direct mapped.  A page of
 * 1 GiB is one entry: once it is known to be dirty, no write within it reaches
 * the page table until it is flushed.
 */
#include <kunit/visibility.h>
#include <linux/bits.h>
#include <linux/log2.h>
#include <linux/slab.h>

#include "dsim.h"

/**
 * struct dsim_tlb_entry - one translation
 * @iova: first address, aligned to the size
 * @pa: where it lies
 * @size_lg2: log2 of the size; 0 is an empty entry
 * @perm: DSIM_PERM_*; 0 is an entry that does not translate any more and is
 *	  kept for its @dirty alone (only with sticky_dirty)
 * @dirty: D is known to be set in the page table
 */
struct dsim_tlb_entry {
	u64 iova;
	u64 pa;
	u8 size_lg2;
	u8 perm;
	bool dirty;
};

static struct dsim_tlb_entry *slot(const struct dsim_tlb *tlb, u64 iova,
				   u8 size_lg2)
{
	u64 nr = iova >> size_lg2;

	return &tlb->entries[nr & (BIT(tlb->order) - 1)];
}

static struct dsim_tlb_entry *find(const struct dsim_tlb *tlb, u64 iova)
{
	u64 sizes = tlb->sizes;

	while (sizes) {
		u8 size_lg2 = __ffs64(sizes);
		struct dsim_tlb_entry *e = slot(tlb, iova, size_lg2);

		if (e->size_lg2 == size_lg2 &&
		    e->iova == (iova & ~(BIT_ULL(size_lg2) - 1)))
			return e;
		sizes &= sizes - 1;
	}
	return NULL;
}

/**
 * dsim_tlb_init() - Make an empty IOTLB
 * @tlb: to initialize
 * @nr: number of entries, a power of two
 *
 * Return: 0 or -ENOMEM.
 */
int dsim_tlb_init(struct dsim_tlb *tlb, unsigned int nr)
{
	tlb->entries = kvcalloc(nr, sizeof(*tlb->entries), GFP_KERNEL);
	if (!tlb->entries)
		return -ENOMEM;
	tlb->order = ilog2(nr);
	tlb->sizes = 0;
	tlb->sticky_dirty = false;
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(dsim_tlb_init);

/**
 * dsim_tlb_destroy() - Free what dsim_tlb_init() allocated
 * @tlb: the IOTLB
 */
void dsim_tlb_destroy(struct dsim_tlb *tlb)
{
	kvfree(tlb->entries);
}
EXPORT_SYMBOL_IF_KUNIT(dsim_tlb_destroy);

/**
 * dsim_tlb_lookup() - Translate without a walk
 * @tlb: the IOTLB
 * @iova: the address
 * @access: DSIM_PERM_* that the request needs
 * @out: the translation
 *
 * A write through an entry that is not known to be dirty misses, since the walk
 * must set D first.
 *
 * Return: true when @out is valid.
 */
bool dsim_tlb_lookup(const struct dsim_tlb *tlb, u64 iova, u8 access,
		     struct dsim_xlate *out)
{
	const struct dsim_tlb_entry *e = find(tlb, iova);

	if (!e || (e->perm & access) != access)
		return false;
	if ((access & DSIM_PERM_W) && !e->dirty)
		return false;
	*out = (struct dsim_xlate){
		.iova = e->iova,
		.pa = e->pa,
		.size_lg2 = e->size_lg2,
		.perm = e->perm,
		.dirty = e->dirty,
	};
	return true;
}
EXPORT_SYMBOL_IF_KUNIT(dsim_tlb_lookup);

/**
 * dsim_tlb_recalls_dirty() - Does a flushed entry still claim that D is set?
 * @tlb: the IOTLB
 * @iova: the address
 *
 * Only with fault injection, see dsim_tlb_flush().
 *
 * Return: true when the walker is to believe that D needs no setting.
 */
bool dsim_tlb_recalls_dirty(const struct dsim_tlb *tlb, u64 iova)
{
	const struct dsim_tlb_entry *e;

	if (!tlb->sticky_dirty)
		return false;
	e = find(tlb, iova);
	return e && e->dirty;
}
EXPORT_SYMBOL_IF_KUNIT(dsim_tlb_recalls_dirty);

/**
 * dsim_tlb_insert() - Remember a translation
 * @tlb: the IOTLB
 * @xlate: what a walk found
 */
void dsim_tlb_insert(struct dsim_tlb *tlb, const struct dsim_xlate *xlate)
{
	*slot(tlb, xlate->iova, xlate->size_lg2) = (struct dsim_tlb_entry){
		.iova = xlate->iova,
		.pa = xlate->pa,
		.size_lg2 = xlate->size_lg2,
		.perm = xlate->perm,
		.dirty = xlate->dirty,
	};
	tlb->sizes |= BIT_ULL(xlate->size_lg2);
}
EXPORT_SYMBOL_IF_KUNIT(dsim_tlb_insert);

/**
 * dsim_tlb_flush() - Forget every translation that overlaps a range
 * @tlb: the IOTLB
 * @start: first address
 * @last: last address
 *
 * With @tlb->sticky_dirty, translations are forgotten but not that they were
 * dirty: to software this is a driver which does not flush after it cleared D.
 * Memory stays safe, dirty bits get lost.
 *
 * Return: how many translations were forgotten.
 */
unsigned int dsim_tlb_flush(struct dsim_tlb *tlb, u64 start, u64 last)
{
	unsigned int flushed = 0;
	struct dsim_tlb_entry *e;
	u64 sizes = 0;

	for (e = tlb->entries; e != tlb->entries + BIT(tlb->order); e++) {
		if (!e->size_lg2)
			continue;
		if (e->iova <= last &&
		    e->iova + (BIT_ULL(e->size_lg2) - 1) >= start) {
			flushed += !!e->perm;
			e->perm = 0;
			if (!tlb->sticky_dirty || !e->dirty)
				e->size_lg2 = 0;
		}
		if (e->size_lg2)
			sizes |= BIT_ULL(e->size_lg2);
	}
	tlb->sizes = sizes;
	return flushed;
}
EXPORT_SYMBOL_IF_KUNIT(dsim_tlb_flush);

static unsigned int table_slot(u64 iova, u8 size_lg2)
{
	return (iova >> size_lg2) % DSIM_CACHED_TABLES;
}

static u64 table_last(const struct dsim_table *table)
{
	return table->iova + (BIT_ULL(table->size_lg2) - 1);
}

/**
 * dsim_tlb_table() - The lowest table on the way to an address that is cached
 * @tlb: the caches
 * @iova: the address
 *
 * Return: the table, or NULL; then the walk begins at the top.
 */
const struct dsim_table *dsim_tlb_table(const struct dsim_tlb *tlb, u64 iova)
{
	unsigned int i;

	for (i = 0; i != DSIM_CACHED_LEVELS; i++) {
		u8 size_lg2 = 12 + 9 * (i + 1);
		const struct dsim_table *t =
			&tlb->tables[i][table_slot(iova, size_lg2)];

		if (t->size_lg2 && iova >= t->iova && iova <= table_last(t))
			return t;
	}
	return NULL;
}
EXPORT_SYMBOL_IF_KUNIT(dsim_tlb_table);

/**
 * dsim_tlb_insert_table() - Remember where a walk went through
 * @tlb: the caches
 * @level: of the entry that points to the table, at least 1; not all are cached
 * @table: the table; its @size_lg2 is that of what the entry stands for
 */
void dsim_tlb_insert_table(struct dsim_tlb *tlb, unsigned int level,
			   const struct dsim_table *table)
{
	if (level > DSIM_CACHED_LEVELS)
		return;
	tlb->tables[level - 1][table_slot(table->iova, table->size_lg2)] =
		*table;
}
EXPORT_SYMBOL_IF_KUNIT(dsim_tlb_insert_table);

/**
 * dsim_tlb_flush_tables() - Forget tables on the way to any address of a range
 * @tlb: the caches
 * @start: first address
 * @last: last address
 *
 * Nothing more than that: hardware keeps what other addresses go through, also
 * where it lies below an entry that was forgotten.
 */
void dsim_tlb_flush_tables(struct dsim_tlb *tlb, u64 start, u64 last)
{
	struct dsim_table *t = &tlb->tables[0][0];
	struct dsim_table *end = t + DSIM_CACHED_LEVELS * DSIM_CACHED_TABLES;

	for (; t != end; t++)
		if (t->size_lg2 && t->iova <= last && table_last(t) >= start)
			t->size_lg2 = 0;
}
EXPORT_SYMBOL_IF_KUNIT(dsim_tlb_flush_tables);
