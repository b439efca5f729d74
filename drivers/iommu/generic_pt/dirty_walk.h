/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reading the dirty bits of a table of the lowest level
 *
 * All of its items are leaf entries, or parts of contiguous ones, and of a guest's
 * memory most are there. To decode each on its own takes many times what it takes
 * to read them, so they are looked at by words: what up to 64 items have in common
 * says whether one of them is dirty, and their dirty bits make one word of what
 * is reported.
 *
 * A format takes part by saying where its items have the dirty bit. It defines
 *
 *   PT_ITEM_DIRTY	the dirty bit
 *   PT_ITEM_CONTIG	bits of which one is set in each item of a contiguous entry.
 *			Any of its items may have its dirty bit, also one that lies
 *			outside of the range, so these are decoded.
 *   pt_item_make_write_clean(item, entry)
 *			Clear the dirty bit of an item that was read as @entry, dirty
 *
 * Part of iommu_pt.h.
 */
#ifndef __GENERIC_PT_DIRTY_WALK_H
#define __GENERIC_PT_DIRTY_WALK_H

#ifdef PT_ITEM_DIRTY

static inline bool pt_has_items(const struct pt_state *pts)
{
	return pts->level == 0;
}

/* All bits that some of the items up to @end have */
static inline u64 or_items(const struct pt_state *pts, unsigned int end)
{
	const u64 *item = pt_cur_table(pts, const u64) + pts->index;
	const u64 *last = pt_cur_table(pts, const u64) + end;
	u64 any = 0;

	for (; item + 8 <= last; item += 8)
		any |= READ_ONCE(item[0]) | READ_ONCE(item[1]) |
		       READ_ONCE(item[2]) | READ_ONCE(item[3]) |
		       READ_ONCE(item[4]) | READ_ONCE(item[5]) |
		       READ_ONCE(item[6]) | READ_ONCE(item[7]);
	for (; item != last; item++)
		any |= READ_ONCE(*item);
	return any;
}

static inline u64 gather_dirty(const struct pt_state *pts, unsigned int end)
{
	const u64 *table = pt_cur_table(pts, const u64);
	unsigned int i;
	u64 bits = 0;

	for (i = pts->index; i != end; i++)
		bits |= (u64)!!(READ_ONCE(table[i]) & PT_ITEM_DIRTY) << (i % 64);
	return bits;
}

/* Of the 64 items around the current one, @bits are dirty */
static inline void record_items(struct pt_state *pts, u64 bits,
				struct pt_iommu_dirty_args *dirty)
{
	unsigned int lg2sz = pt_table_item_lg2sz(pts);
	u64 *items = pt_cur_table(pts, u64) + round_down(pts->index, 64);
	pt_vaddr_t va, first, end;
	unsigned int i;

	pt_index_to_va(pts);
	va = log2_set_mod(pts->range->va, 0, lg2sz + 6);
	if (dirty->dirty->bitmap)
		iova_bitmap_set_bits(dirty->dirty->bitmap, va, lg2sz, bits);
	if (dirty->flags & IOMMU_DIRTY_NO_CLEAR)
		return;

	first = va + log2_mul(__ffs64(bits), lg2sz);
	end = va + log2_mul(fls64(bits), lg2sz);
	for (; bits; bits &= bits - 1) {
		i = __ffs64(bits);
		pt_item_make_write_clean(&items[i], READ_ONCE(items[i]));
	}
	iommu_iotlb_gather_add_range(dirty->dirty->gather, first, end - first);
}

/* One by one, up to @end or the end of a contiguous entry that goes on there */
static inline void read_entries(struct pt_state *pts, unsigned int end,
				struct pt_iommu_dirty_args *dirty)
{
	pt_index_to_va(pts);
	while (pts->index < end) {
		pt_load_entry(pts);
		if (pts->type == PT_ENTRY_OA && pt_entry_is_write_dirty(pts))
			record_dirty(pts, dirty);
		pt_next_entry(pts);
	}
}

static inline void read_items(struct pt_state *pts,
			      struct pt_iommu_dirty_args *dirty)
{
	unsigned int end;
	u64 any;

	_pt_iter_first(pts);
	while (pts->index < pts->end_index) {
		end = min(round_down(pts->index, 64) + 64U, pts->end_index);
		any = or_items(pts, end);
		if (any & PT_ITEM_CONTIG) {
			read_entries(pts, end, dirty);
			continue;
		}
		if (any & PT_ITEM_DIRTY)
			record_items(pts, gather_dirty(pts, end), dirty);
		pts->index = end;
	}
}

#else

static inline bool pt_has_items(const struct pt_state *pts)
{
	return false;
}

static inline void read_items(struct pt_state *pts,
			      struct pt_iommu_dirty_args *dirty)
{
}

#endif
#endif
