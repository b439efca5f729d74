/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading the dirty bits of a page table quickly
 *
 * Tables of any level are read by words: where there are leaf entries, large or small,
 * there are many. To decode each on its own takes many times what it takes to read
 * them. What eight items have in common says whether one of them is dirty, and the
 * dirty bits of a table make eight words of what is reported. What is left are entries
 * to other tables, and contiguous ones: these are decoded.
 *
 * A format takes part by saying where its items have the dirty bit. It defines
 *
 *   PT_ITEM_DIRTY	the dirty bit
 *   PT_ITEM_CONTIG	bits of which one is set in each item of a contiguous entry.
 *			Any of its items may have its dirty bit, also one that lies
 *			outside of the range, so these are decoded.
 *   PT_ITEM_TABLE	bits of which one is set in each entry that points to a table
 *   PT_ITEM_LARGE	the bit that tells a large leaf entry from one that points to a
 *			table; 0 where the bits above do
 *   pt_item_make_write_clean(item, entry)
 *			Clear the dirty bit of an item that was read as @entry, dirty
 *
 * Tables that nobody used are not read at all, where hardware says so
 * (PT_FEAT_TABLE_ACCESSED). Such a format also defines
 *
 *   PT_TABLE_ACCESSED	the bit that hardware sets in an entry that points to a table
 *			whenever a walk goes through it
 *
 * Part of iommu_pt.h.
 */
#ifndef __GENERIC_PT_DIRTY_WALK_H
#define __GENERIC_PT_DIRTY_WALK_H

#include <linux/prefetch.h>

/*
 * The range whose dirty bits are read, as far as the table reaches. One that grows as
 * it is mapped has nothing above its top, and who asks need not know where that is.
 *
 * Return: 1, 0 when nothing is left, or -ERRNO where no top would reach to.
 */
static inline int make_read_range(struct pt_common *common,
				  struct pt_range *range, unsigned long iova,
				  unsigned long size)
{
	pt_vaddr_t prefix = pt_full_va_prefix(common), first, last;
	unsigned int top_lg2;
	int ret;

	ret = make_range_no_check(common, range, iova, size);
	if (ret)
		return ret;
	top_lg2 = range->max_vasz_lg2;
	range->max_vasz_lg2 = common->max_vasz_lg2;
	ret = pt_check_range(range);
	if (ret)
		return ret;
	range->max_vasz_lg2 = top_lg2;
	if (!pt_feature(common, PT_FEAT_DYNAMIC_TOP))
		return 1;

	first = fvalog2_set_mod(prefix, 0, top_lg2);
	last = fvalog2_set_mod_max(prefix, top_lg2);
	if (range->va > last || range->last_va < first)
		return 0;
	range->va = max(range->va, first);
	range->last_va = min(range->last_va, last);
	return 1;
}

#ifdef PT_ITEM_DIRTY

#define PT_HAS_ITEMS	true

#define ITEMS_OF_WORD	64
#define TABLE_ITEMS	(BIT(PT_TABLEMEM_LG2SZ) / sizeof(u64))
#define ITEM_WORDS	(TABLE_ITEMS / ITEMS_OF_WORD)

static __always_inline u64 item_bit(u64 entry, u64 which, unsigned int bit)
{
	return (u64)!!(entry & which) << bit;
}

/* What has @but counts as empty; a constant, so 0 costs nothing */
static __always_inline u64 read_item(const u64 *item, u64 but)
{
	u64 entry = READ_ONCE(*item);

	return entry & but ? 0 : entry;
}

/*
 * Which of eight items have @which and not @but, and in @any all bits that some of
 * them have
 */
static __always_inline u64 read_eight(const u64 *item, u64 which, u64 but,
				      u64 *any)
{
	u64 a = read_item(&item[0], but), b = read_item(&item[1], but);
	u64 c = read_item(&item[2], but), d = read_item(&item[3], but);
	u64 e = read_item(&item[4], but), f = read_item(&item[5], but);
	u64 g = read_item(&item[6], but), h = read_item(&item[7], but);
	u64 some = a | b | c | d | e | f | g | h;

	*any |= some;
	if (!(some & which))
		return 0;
	if (a & b & c & d & e & f & g & h & which)
		return 0xff;
	return item_bit(a, which, 0) | item_bit(b, which, 1) |
	       item_bit(c, which, 2) | item_bit(d, which, 3) |
	       item_bit(e, which, 4) | item_bit(f, which, 5) |
	       item_bit(g, which, 6) | item_bit(h, which, 7);
}

/* The same of up to 64, from @i to @end; bit 0 is the first of 64 */
static __always_inline u64 read_word(const u64 *table, unsigned int i,
				     unsigned int end, u64 which, u64 but,
				     u64 *any)
{
	u64 bits = 0, entry;

	*any = 0;
	while (i != end) {
		if (i % 8 == 0 && end - i >= 8) {
			bits |= read_eight(table + i, which, but, any)
				<< (i % ITEMS_OF_WORD);
			i += 8;
			continue;
		}
		entry = read_item(&table[i], but);
		*any |= entry;
		bits |= item_bit(entry, which, i % ITEMS_OF_WORD);
		i++;
	}
	return bits;
}

/* The first that is set, from @i on; TABLE_ITEMS: none */
static inline unsigned int next_item(const u64 *words, unsigned int i)
{
	unsigned int w = i / ITEMS_OF_WORD;
	u64 bits;

	if (w == ITEM_WORDS)
		return TABLE_ITEMS;
	bits = words[w] & (U64_MAX << (i % ITEMS_OF_WORD));
	while (!bits) {
		if (++w == ITEM_WORDS)
			return TABLE_ITEMS;
		bits = words[w];
	}
	return w * ITEMS_OF_WORD + __ffs64(bits);
}

static inline unsigned int end_of_word(const struct pt_state *pts,
				       unsigned int i)
{
	return min(round_down(i, ITEMS_OF_WORD) + ITEMS_OF_WORD,
		   pts->end_index);
}

/* Which entries in the range to tables have @which; false: none */
static __always_inline bool find_tables(const struct pt_state *pts, u64 which,
					u64 *words)
{
	const u64 *table = pt_cur_table(pts, const u64);
	unsigned int i, end;
	u64 any, some = 0;

	for (i = pts->index; i < pts->end_index; i = end) {
		end = end_of_word(pts, i);
		words[i / ITEMS_OF_WORD] = read_word(table, i, end, which,
						     PT_ITEM_LARGE, &any);
		some |= words[i / ITEMS_OF_WORD];
	}
	return some;
}

/* The range of the first entry may begin inside of it */
static inline void load_item(struct pt_state *pts, unsigned int i)
{
	if (pts->index != i) {
		pts->index = i;
		pt_index_to_va(pts);
	}
	pt_load_entry(pts);
}

#ifdef PT_TABLE_ACCESSED

/*
 * Skipping what was not accessed
 *
 * Hardware sets A in each entry that a walk goes through, before it reads the next
 * one: where A of an entry to a table is clear, no walk came by since it was cleared,
 * and no D was set below. Except that an IOMMU may keep the entry in a
 * paging-structure cache, from where it walks on and sets no A. So a read of dirty
 * bits takes the accessed ones first: A becomes LOOK, a bit for software, and what
 * is cached of all these entries is flushed. Only then are the tables below entries
 * with LOOK read. Whatever is written through them from the flush on sets A again,
 * for the next read.
 *
 * IOTLBs know nothing but what was accessed, so this flush empties them of a range
 * whenever the range is read.
 *
 * An entry that lies in the range with a part only keeps its bits, and so do all
 * when nothing is to be cleared; either bit is a reason to read the table. Reading
 * without a bitmap is how tracking starts: then all are to be looked at next time.
 *
 * VT-d specification, sections 3.6 and 9.7 (first stage), 3.7 and 9.8 (second stage,
 * with SSADE): accessed flags; 6.2: paging-structure caches; 6.5.2.3 and 6.5.2.4:
 * their invalidation, with IH clear.
 */
enum {
	SW_BIT_LOOK = 1,
};

/*
 * Hardware may be setting A. Where anything else is not as it was loaded, there is
 * another table now or none, and an entry made of what was must not come back.
 */
static inline void change_entry(const struct pt_state *pts, u64 clear, u64 set)
{
	const u64 may_differ = PT_TABLE_ACCESSED | pt_sw_bit(SW_BIT_LOOK);
	u64 *entry = pt_cur_table(pts, u64) + pts->index;
	u64 seen = pts->entry;

	while (!((seen ^ pts->entry) & ~may_differ) &&
	       !try_cmpxchg64(entry, &seen, (seen & ~clear) | set))
		;
}

static inline bool is_whole(const struct pt_state *pts)
{
	return pt_entry_fully_covered(pts, pt_table_item_lg2sz(pts));
}

/* Until it is flushed, what is cached of the entry sets no A */
static inline void gather_table(const struct pt_state *pts,
				struct iommu_iotlb_gather *gather)
{
	iommu_iotlb_gather_add_range(gather, pts->range->va,
				     log2_to_int(pt_table_item_lg2sz(pts)));
	gather->pt.table_levels_bitmap |= BIT(pts->level);
}

static inline int __take_accessed(struct pt_range *range, void *arg,
				  unsigned int level, struct pt_table_p *table)
{
	struct pt_state pts = pt_init(range, level, table);
	struct iommu_iotlb_gather *gather = arg;
	u64 words[ITEM_WORDS] = {};
	unsigned int i;
	int ret;

	_pt_iter_first(&pts);
	if (!find_tables(&pts, PT_TABLE_ACCESSED, words))
		return 0;
	for (i = next_item(words, 0); i != TABLE_ITEMS;
	     i = next_item(words, i + 1)) {
		load_item(&pts, i);
		if (pts.type != PT_ENTRY_TABLE)
			continue;
		if (is_whole(&pts)) {
			change_entry(&pts, PT_TABLE_ACCESSED,
				     pt_sw_bit(SW_BIT_LOOK));
			gather_table(&pts, gather);
		}
		if (level == 1)
			continue;
		ret = pt_descend(&pts, arg, __take_accessed);
		if (ret)
			return ret;
	}
	return 0;
}

static inline int take_accessed(struct iommu_domain *domain,
				struct pt_range range,
				const struct pt_iommu_dirty_args *dirty)
{
	struct iommu_iotlb_gather *gather = dirty->dirty->gather;
	int ret;

	if (!pt_feature(range.common, PT_FEAT_TABLE_ACCESSED) ||
	    !dirty->dirty->bitmap || (dirty->flags & IOMMU_DIRTY_NO_CLEAR))
		return 0;
	ret = pt_walk_range(&range, __take_accessed, gather);
	if (gather->pt.table_levels_bitmap)
		iommu_iotlb_sync(domain, gather);
	return ret;
}

/* Which entries to tables are to be read: those that have one of these bits */
static inline u64 table_bits(const struct pt_state *pts,
			     const struct pt_iommu_dirty_args *dirty)
{
	if (!pts_feature(pts, PT_FEAT_TABLE_ACCESSED) || !dirty->dirty->bitmap)
		return PT_ITEM_TABLE;
	return PT_TABLE_ACCESSED | pt_sw_bit(SW_BIT_LOOK);
}

static __always_inline int read_table(struct pt_state *pts,
				      struct pt_iommu_dirty_args *dirty,
				      pt_level_fn_t fn)
{
	const u64 look = pt_sw_bit(SW_BIT_LOOK);
	bool looked = is_whole(pts) && (pts->entry & look);
	int ret;

	ret = pt_descend(pts, dirty, fn);
	if (ret || (dirty->flags & IOMMU_DIRTY_NO_CLEAR) ||
	    !pts_feature(pts, PT_FEAT_TABLE_ACCESSED))
		return ret;
	if (!dirty->dirty->bitmap)
		change_entry(pts, 0, look);
	else if (looked)
		change_entry(pts, look, 0);
	return 0;
}

#else

static inline int take_accessed(struct iommu_domain *domain,
				struct pt_range range,
				const struct pt_iommu_dirty_args *dirty)
{
	return 0;
}

static inline u64 table_bits(const struct pt_state *pts,
			     const struct pt_iommu_dirty_args *dirty)
{
	return PT_ITEM_TABLE;
}

static __always_inline int read_table(struct pt_state *pts,
				      struct pt_iommu_dirty_args *dirty,
				      pt_level_fn_t fn)
{
	return pt_descend(pts, dirty, fn);
}

#endif

static inline void clean_item(u64 *item)
{
	pt_item_make_write_clean(item, READ_ONCE(*item));
}

static inline void clean_word(u64 *items, u64 bits)
{
	unsigned int i;

	if (bits == U64_MAX) {
		for (i = 0; i != ITEMS_OF_WORD; i += 4) {
			clean_item(&items[i]);
			clean_item(&items[i + 1]);
			clean_item(&items[i + 2]);
			clean_item(&items[i + 3]);
		}
		return;
	}
	for (; bits; bits &= bits - 1)
		clean_item(&items[__ffs64(bits)]);
}

/* Report what is dirty in the table of @va and following, and clean it */
static inline void record_items(struct pt_state *pts, pt_vaddr_t va,
				const u64 *words,
				struct pt_iommu_dirty_args *dirty)
{
	unsigned int lg2sz = pt_table_item_lg2sz(pts);
	unsigned int w, first = 0, end = 0;

	if (dirty->dirty->bitmap)
		iova_bitmap_set_words(dirty->dirty->bitmap, va, lg2sz, words,
				      ITEM_WORDS);
	if (dirty->flags & IOMMU_DIRTY_NO_CLEAR)
		return;

	for (w = 0; w != ITEM_WORDS; w++) {
		if (!words[w])
			continue;
		if (!end)
			first = w * ITEMS_OF_WORD + __ffs64(words[w]);
		end = w * ITEMS_OF_WORD + fls64(words[w]);
		clean_word(pt_cur_table(pts, u64) + w * ITEMS_OF_WORD,
			   words[w]);
	}
	iommu_iotlb_gather_add_range(dirty->dirty->gather,
				     va + log2_mul(first, lg2sz),
				     log2_mul(end - first, lg2sz));
}

/*
 * Tables lie anywhere in memory, and to wait for it is most of what reading them costs.
 * So what is read next is fetched in time, from one table to the next.
 */
#define WORDS_AHEAD	2

static inline void prefetch_word(const u64 *table, unsigned int w)
{
	unsigned int i;

	if (w >= ITEM_WORDS)
		return;
	table += w * ITEMS_OF_WORD;
	for (i = 0; i < ITEMS_OF_WORD; i += L1_CACHE_BYTES / sizeof(*table))
		prefetch(table + i);
}

static inline void prefetch_table(const struct pt_state *pts, unsigned int i)
{
	struct pt_state next = *pts;

	if (i == TABLE_ITEMS)
		return;
	next.index = i;
	pt_load_entry(&next);
	if (next.type != PT_ENTRY_TABLE)
		return;
	for (i = 0; i != WORDS_AHEAD; i++)
		prefetch_word((u64 *)next.table_lower, i);
}

/* Entries that are not told by words: one by one */
static inline int read_entries(struct pt_state *pts, const u64 *words,
			       struct pt_iommu_dirty_args *dirty,
			       pt_level_fn_t fn)
{
	unsigned int next, i = next_item(words, 0);
	int ret;

	for (; i != TABLE_ITEMS; i = next) {
		load_item(pts, i);
		if (pts->type == PT_ENTRY_OA) {
			if (pt_entry_is_write_dirty(pts))
				record_dirty(pts, dirty);
			/* Behind the last item of a contiguous entry */
			pt_next_entry(pts);
			next = next_item(words, pts->index);
			continue;
		}
		next = next_item(words, i + 1);
		if (pts->type != PT_ENTRY_TABLE)
			continue;
		prefetch_table(pts, next);
		ret = read_table(pts, dirty, fn);
		if (ret)
			return ret;
	}
	return 0;
}

static inline int read_items(struct pt_state *pts,
			     struct pt_iommu_dirty_args *dirty,
			     pt_level_fn_t fn)
{
	pt_vaddr_t va = fvalog2_set_mod(pts->range->va, 0,
					pt_table_oa_lg2sz(pts));
	u64 others = PT_ITEM_CONTIG | (pts->level ? table_bits(pts, dirty) : 0);
	u64 words[ITEM_WORDS] = {}, entries[ITEM_WORDS] = {};
	const u64 *table = pt_cur_table(pts, const u64);
	u64 any, some = 0, some_others = 0;
	unsigned int i, end, w;
	int ret = 0;

	_pt_iter_first(pts);
	for (i = pts->index; i < pts->end_index; i = end) {
		end = end_of_word(pts, i);
		w = i / ITEMS_OF_WORD;
		prefetch_word(table, w + WORDS_AHEAD);
		words[w] = read_word(table, i, end, PT_ITEM_DIRTY, 0, &any);
		if (any & others) {
			/* Leaf entries are accessed too, and there are many */
			entries[w] = read_word(table, i, end, others,
					       PT_ITEM_LARGE, &any);
			words[w] &= ~entries[w];
		}
		some |= words[w];
		some_others |= entries[w];
	}
	if (some)
		record_items(pts, va, words, dirty);
	if (some_others)
		ret = read_entries(pts, entries, dirty, fn);
	return ret;
}

#else

#define PT_HAS_ITEMS	false

static inline int read_items(struct pt_state *pts,
			     struct pt_iommu_dirty_args *dirty,
			     pt_level_fn_t fn)
{
	return 0;
}

static inline int take_accessed(struct iommu_domain *domain,
				struct pt_range range,
				const struct pt_iommu_dirty_args *dirty)
{
	return 0;
}

#endif
#endif
