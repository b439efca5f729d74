// SPDX-License-Identifier: GPL-2.0-only
/*
 * Pending dirty bits of one reader
 */
#include <kunit/visibility.h>
#include <linux/bitmap.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "dirty.h"

/*
 * A chunk is small, so that scattered mappings cost little, and a power of two,
 * so that nothing is wasted: what remains is 9 bytes of the xarray, below 2 %.
 */
#define CHUNK_BITS_SHIFT	12
#define CHUNK_BITS		BIT(CHUNK_BITS_SHIFT)
#define CHUNK_BYTES		(CHUNK_BITS / BITS_PER_BYTE)

#define PENDING			XA_MARK_0

static unsigned int chunk_shift(const struct dirty_bitmap *bitmap)
{
	return bitmap->shift + CHUNK_BITS_SHIFT;
}

static unsigned long chunk_iova(const struct dirty_bitmap *bitmap,
				unsigned long index)
{
	return index << chunk_shift(bitmap);
}

static unsigned long chunk_last(const struct dirty_bitmap *bitmap,
				unsigned long index)
{
	return chunk_iova(bitmap, index) + ((1UL << chunk_shift(bitmap)) - 1);
}

/* Marking paths run in interrupts, so the xarray's lock is taken with those off */
static void set_pending(struct dirty_bitmap *bitmap, unsigned long index)
{
	unsigned long flags;

	if (xa_get_mark(&bitmap->chunks, index, PENDING))
		return;
	xa_lock_irqsave(&bitmap->chunks, flags);
	__xa_set_mark(&bitmap->chunks, index, PENDING);
	xa_unlock_irqrestore(&bitmap->chunks, flags);
}

static bool all_pending(struct dirty_bitmap *bitmap,
			const unsigned long *index, unsigned int n)
{
	while (n--)
		if (!xa_get_mark(&bitmap->chunks, index[n], PENDING))
			return false;
	return true;
}

static void set_all_pending(struct dirty_bitmap *bitmap,
			    const unsigned long *index, unsigned int n)
{
	unsigned long flags;

	if (all_pending(bitmap, index, n))
		return;
	xa_lock_irqsave(&bitmap->chunks, flags);
	while (n--)
		__xa_set_mark(&bitmap->chunks, index[n], PENDING);
	xa_unlock_irqrestore(&bitmap->chunks, flags);
}

static void clear_all_pending(struct dirty_bitmap *bitmap,
			      const unsigned long *index, unsigned int n)
{
	unsigned long flags;

	xa_lock_irqsave(&bitmap->chunks, flags);
	while (n--)
		__xa_clear_mark(&bitmap->chunks, index[n], PENDING);
	xa_unlock_irqrestore(&bitmap->chunks, flags);
	smp_mb(); /* the marks before the bits; pairs with the setter's */
}

/**
 * dirty_bitmap_init() - Make an empty bitmap
 * @bitmap: to initialize
 * @shift: log2 of the bytes that a bit stands for
 */
void dirty_bitmap_init(struct dirty_bitmap *bitmap, unsigned int shift)
{
	xa_init_flags(&bitmap->chunks, XA_FLAGS_LOCK_IRQ | XA_FLAGS_ACCOUNT);
	bitmap->shift = shift;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_init);

/**
 * dirty_bitmap_destroy() - Free a bitmap that nobody uses any more
 * @bitmap: the bitmap
 */
void dirty_bitmap_destroy(struct dirty_bitmap *bitmap)
{
	unsigned long index;
	void *chunk;

	xa_for_each(&bitmap->chunks, index, chunk)
		kfree(chunk);
	xa_destroy(&bitmap->chunks);
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_destroy);

/**
 * dirty_bitmap_populate() - Make setting the bits of a range possible
 * @bitmap: the bitmap
 * @iova: first address
 * @last: last address
 *
 * What is mapped need not be there, so it may be more than there is memory for the
 * bits of. It is nobody else's who has to go for it then, nor are there bits for
 * somebody who is being killed.
 *
 * Context: process, may sleep; serialized by the owner.
 *
 * Return: 0, -ENOMEM or -EINTR; then chunks that were added stay, empty, until
 * they are pruned.
 */
int dirty_bitmap_populate(struct dirty_bitmap *bitmap, unsigned long iova,
			  unsigned long last)
{
	unsigned long index = iova >> chunk_shift(bitmap);
	unsigned long end = last >> chunk_shift(bitmap);
	void *chunk;
	int rc;

	for (;; index++) {
		if (!xa_load(&bitmap->chunks, index)) {
			if (fatal_signal_pending(current))
				return -EINTR;
			chunk = kzalloc(CHUNK_BYTES, GFP_KERNEL_ACCOUNT |
						     __GFP_RETRY_MAYFAIL |
						     __GFP_NOWARN);
			if (!chunk)
				return -ENOMEM;
			rc = xa_insert_irq(&bitmap->chunks, index, chunk,
					   GFP_KERNEL_ACCOUNT);
			if (rc) {
				kfree(chunk);
				return rc;
			}
		}
		if (index == end)
			return 0;
		cond_resched();
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_populate);

/**
 * dirty_bitmap_prune() - Free chunks that nobody needs
 * @bitmap: the bitmap
 * @iova: first address
 * @last: last address
 * @keep: says whether anything is mapped in the range of a chunk
 * @data: for @keep
 *
 * Chunks with pending bits stay: what was written before it was unmapped is
 * still to be read.
 *
 * Context: process, may sleep; serialized by the owner.
 *
 * Return: true when such chunks are left.
 */
bool dirty_bitmap_prune(struct dirty_bitmap *bitmap, unsigned long iova,
			unsigned long last,
			bool (*keep)(void *data, unsigned long iova,
				     unsigned long last),
			void *data)
{
	unsigned long index;
	bool left = false;
	void *chunk;

	xa_for_each_range(&bitmap->chunks, index, chunk,
			  iova >> chunk_shift(bitmap),
			  last >> chunk_shift(bitmap)) {
		if (keep(data, chunk_iova(bitmap, index),
			 chunk_last(bitmap, index)))
			continue;
		if (xa_get_mark(&bitmap->chunks, index, PENDING)) {
			left = true;
			continue;
		}
		xa_erase_irq(&bitmap->chunks, index);
		kvfree_rcu_mightsleep(chunk);
		cond_resched();
	}
	return left;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_prune);

static atomic_long_t *as_atomic(unsigned long *word)
{
	return (atomic_long_t *)word;
}

/* Set bits [@first, @last] of a chunk, atomically against every other setter */
static void chunk_set(unsigned long *chunk, unsigned int first,
		      unsigned int last)
{
	unsigned long *word = chunk + BIT_WORD(first);
	unsigned long *end = chunk + BIT_WORD(last);
	unsigned long mask = BITMAP_FIRST_WORD_MASK(first);

	for (; word <= end; word++, mask = ~0UL) {
		if (word == end)
			mask &= BITMAP_LAST_WORD_MASK(last + 1);
		/* All of a word is set by storing it, whoever takes bits of it */
		if (mask == ~0UL)
			WRITE_ONCE(*word, mask);
		/* Most marks are of what is pending already */
		else if ((READ_ONCE(*word) & mask) != mask)
			atomic_long_or(mask, as_atomic(word));
	}
}

/*
 * The same for who wrote memory by the CPU.  A bit that is set already is no
 * reason to do nothing: it may be taken at this moment, by one who copies the page
 * before what was written is seen.  So what was written comes before the bit, and
 * the bit before a look at the mark: fetch_or is a full barrier.
 */
static void chunk_push(unsigned long *chunk, unsigned int first,
		       unsigned int last)
{
	unsigned long *word = chunk + BIT_WORD(first);
	unsigned long *end = chunk + BIT_WORD(last);
	unsigned long mask = BITMAP_FIRST_WORD_MASK(first);

	for (; word <= end; word++, mask = ~0UL) {
		if (word == end)
			mask &= BITMAP_LAST_WORD_MASK(last + 1);
		atomic_long_fetch_or(mask, as_atomic(word));
	}
}

static unsigned int bit_in_chunk(const struct dirty_bitmap *bitmap,
				 unsigned long iova)
{
	return (iova >> bitmap->shift) & (CHUNK_BITS - 1);
}

/* The part of chunk @index that belongs to a range which begins at @iova */
static unsigned int first_bit(const struct dirty_bitmap *bitmap,
			      unsigned long index, unsigned long iova)
{
	return bit_in_chunk(bitmap, max(iova, chunk_iova(bitmap, index)));
}

/* The same of a range which ends at @last */
static unsigned int last_bit(const struct dirty_bitmap *bitmap,
			     unsigned long index, unsigned long last)
{
	return bit_in_chunk(bitmap, min(last, chunk_last(bitmap, index)));
}

/**
 * dirty_bitmap_set() - Set the bits of a range
 * @bitmap: the bitmap
 * @iova: first address
 * @last: last address
 *
 * Context: any, interrupts included; the bitmap is kept by the caller, its
 * chunks by RCU.
 *
 * Return: false when a part of the range has no chunk, since nothing is mapped
 * there.
 */
bool dirty_bitmap_set(struct dirty_bitmap *bitmap, unsigned long iova,
		      unsigned long last)
{
	XA_STATE(xas, &bitmap->chunks, iova >> chunk_shift(bitmap));
	unsigned long index = iova >> chunk_shift(bitmap);
	unsigned long end = last >> chunk_shift(bitmap);
	unsigned long *chunk;
	bool complete = true;

	guard(rcu)();
	for (;; index++) {
		xas_set(&xas, index);
		do {
			chunk = xas_load(&xas);
		} while (xas_retry(&xas, chunk));
		if (chunk) {
			chunk_push(chunk, first_bit(bitmap, index, iova),
				   last_bit(bitmap, index, last));
			/* Marked already, most times: no second walk to see it */
			if (!xas_get_mark(&xas, PENDING))
				set_pending(bitmap, index);
		} else {
			complete = false;
		}
		if (index == end)
			return complete;
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_set);

/* ---- Cursor ---- */

static void cursor_mark(struct dirty_cursor *cursor)
{
	smp_mb(); /* the bits before the marks are looked at */
	set_all_pending(cursor->bitmap, cursor->left, cursor->nr_left);
	cursor->nr_left = 0;
}

static void cursor_leave(struct dirty_cursor *cursor)
{
	if (!cursor->chunk)
		return;
	cursor->chunk = NULL;
	cursor->left[cursor->nr_left++] = cursor->index;
	if (cursor->nr_left == DIRTY_MARKS)
		cursor_mark(cursor);
}

static bool cursor_move(struct dirty_cursor *cursor, unsigned long index)
{
	if (cursor->chunk && index == cursor->index)
		return true;
	cursor_leave(cursor);
	cursor->index = index;
	cursor->chunk = xa_load(&cursor->bitmap->chunks, index);
	if (!cursor->chunk)
		cursor->missed = true;
	return cursor->chunk;
}

/**
 * dirty_cursor_or() - Set the bits that are set in a word
 * @cursor: the cursor
 * @iova: what bit 0 of @bits stands for, aligned to what all of them do
 * @shift: log2 of the bytes that a bit of @bits stands for
 * @bits: the word
 *
 * Context: as dirty_cursor_set().
 */
void dirty_cursor_or(struct dirty_cursor *cursor, unsigned long iova,
		     unsigned int shift, unsigned long bits)
{
	struct dirty_bitmap *bitmap = cursor->bitmap;
	unsigned int bit;

	if (shift == bitmap->shift) {
		unsigned int word = BIT_WORD(bit_in_chunk(bitmap, iova));

		if (cursor_move(cursor, iova >> chunk_shift(bitmap)) &&
		    (READ_ONCE(cursor->chunk[word]) & bits) != bits)
			atomic_long_or(bits, as_atomic(&cursor->chunk[word]));
		return;
	}
	for_each_set_bit(bit, &bits, BITS_PER_LONG) {
		unsigned long first = iova + ((unsigned long)bit << shift);

		dirty_cursor_set(cursor, first, first + ((1UL << shift) - 1));
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_cursor_or);

/**
 * dirty_cursor_set() - Set the bits of a range, near to those set before
 * @cursor: the cursor
 * @iova: first address
 * @last: last address
 *
 * Context: process; the owner lets nobody free chunks until
 * dirty_cursor_finish().
 */
void dirty_cursor_set(struct dirty_cursor *cursor, unsigned long iova,
		      unsigned long last)
{
	struct dirty_bitmap *bitmap = cursor->bitmap;
	unsigned long index = iova >> chunk_shift(bitmap);
	unsigned long end = last >> chunk_shift(bitmap);

	for (;; index++) {
		if (cursor_move(cursor, index))
			chunk_set(cursor->chunk, first_bit(bitmap, index, iova),
				  last_bit(bitmap, index, last));
		if (index == end)
			return;
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_cursor_set);

/**
 * dirty_cursor_finish() - Leave the bitmap so that its bits can be found
 * @cursor: the cursor
 */
void dirty_cursor_finish(struct dirty_cursor *cursor)
{
	cursor_leave(cursor);
	if (cursor->nr_left)
		cursor_mark(cursor);
}
EXPORT_SYMBOL_IF_KUNIT(dirty_cursor_finish);

/* ---- To user space ---- */

/**
 * struct user_page - a page of the user's bitmap
 * @index: user address >> PAGE_SHIFT
 * @page: pinned
 */
struct user_page {
	unsigned long index;
	struct page *page;
};

/**
 * struct part - what a read takes from a chunk
 * @chunk: which stays until the read has ended
 * @index: of the chunk
 * @first: its first bit that is pending and asked for, when the read began
 * @last: the last
 */
struct part {
	unsigned long *chunk;
	unsigned long index;
	u16 first;
	u16 last;
};

/**
 * struct transfer - one read
 * @bitmap: from here
 * @user: to there
 * @clear: bits read are pending no more
 * @count: adds up bits given, or NULL
 * @parts: of the chunks that had pending bits when the read began, ascending
 * @nr_parts: how many
 * @pages: the pages of the user's bitmap that they go to, ascending
 * @nr_pages: how many
 * @nr_pinned: how many of them are pinned
 * @cur: the page last written to
 *
 * All that can fail is done before the first bit is taken: there is no way to
 * tell a user which bits of a failed read are valid.
 */
struct transfer {
	struct dirty_bitmap *bitmap;
	const struct dirty_user_bitmap *user;
	bool clear;
	u64 *count;
	struct part *parts;
	unsigned long nr_parts;
	struct user_page *pages;
	unsigned long nr_pages;
	unsigned long nr_pinned;
	unsigned long cur;
};

/* What a bit stands for, as far as the user asks for it */
static unsigned long bit_iova(const struct transfer *t, unsigned long index,
			      unsigned int bit)
{
	return max(t->user->iova, chunk_iova(t->bitmap, index) +
				  ((unsigned long)bit << t->bitmap->shift));
}

static unsigned long bit_last(const struct transfer *t, unsigned long index,
			      unsigned int bit)
{
	return min(t->user->last, chunk_iova(t->bitmap, index) +
				  ((bit + 1UL) << t->bitmap->shift) - 1);
}

/* Bits are counted from bit 0 of the byte at user address 0 */
static u64 user_bit(const struct dirty_user_bitmap *user, unsigned long iova)
{
	return (u64)user->data * BITS_PER_BYTE +
	       ((iova - user->iova) >> user->shift);
}

static unsigned long user_page_of(const struct transfer *t, unsigned long iova)
{
	return user_bit(t->user, iova) / BITS_PER_BYTE / PAGE_SIZE;
}

/* Room for so many at first */
#define FIRST_PARTS	64

static bool find_part(const struct transfer *t, unsigned long index,
		      unsigned long *chunk, struct part *part)
{
	unsigned int end = last_bit(t->bitmap, index, t->user->last) + 1;
	unsigned int bit = first_bit(t->bitmap, index, t->user->iova);

	/* A bit that is set while this looks is found now, or by the next read */
	bit = data_race(find_next_bit(chunk, end, bit));
	if (bit == end)
		return false;
	part->chunk = chunk;
	part->index = index;
	part->first = bit;
	/* The same; nobody takes meanwhile, so it is that one or a later one */
	part->last = data_race(find_last_bit(chunk, end));
	return true;
}

/* False when it came to the end; else there is no room left, or others want to run */
static bool find_more(struct transfer *t, struct xa_state *xas,
		      unsigned long room)
{
	unsigned long last = t->user->last >> chunk_shift(t->bitmap);
	void *chunk;

	guard(rcu)();
	/* Not by the macro, which looks at marks inline, as others change them */
	while ((chunk = xas_find_marked(xas, last, PENDING))) {
		if (xas_retry(xas, chunk))
			continue;
		if (find_part(t, xas->xa_index, chunk, &t->parts[t->nr_parts]))
			t->nr_parts++;
		if (t->nr_parts != room && !need_resched())
			continue;
		xas_pause(xas);
		return true;
	}
	return false;
}

static int grow_parts(struct transfer *t, unsigned long *room)
{
	unsigned long more = *room ? 2 * *room : FIRST_PARTS;
	struct part *parts;

	parts = kvrealloc(t->parts, more * sizeof(*parts), GFP_KERNEL_ACCOUNT);
	if (!parts)
		return -ENOMEM;
	t->parts = parts;
	*room = more;
	return 0;
}

/*
 * In one go: if they were counted first, those that get their mark in between would
 * take the room of those behind them, which had it before the read began.
 */
static int find_parts(struct transfer *t)
{
	XA_STATE(xas, &t->bitmap->chunks,
		 t->user->iova >> chunk_shift(t->bitmap));
	unsigned long room = 0;
	int rc;

	/* A mark that comes while this looks is of the next read */
	if (!data_race(xa_marked(&t->bitmap->chunks, PENDING)))
		return 0;
	do {
		cond_resched();
		rc = t->nr_parts == room ? grow_parts(t, &room) : 0;
		if (rc)
			return rc;
	} while (find_more(t, &xas, room));
	return 0;
}

/* Counts each page once, since parts ascend and so do their pages */
static unsigned long list_pages(struct transfer *t, struct user_page *pages)
{
	unsigned long i, index, nr = 0, next = 0;

	for (i = 0; i != t->nr_parts; i++) {
		struct part *p = &t->parts[i];
		unsigned long end = user_page_of(t, bit_last(t, p->index,
							     p->last));

		index = user_page_of(t, bit_iova(t, p->index, p->first));
		for (index = max(index, next); index <= end; index++) {
			if (pages)
				pages[nr].index = index;
			nr++;
		}
		next = max(next, end + 1);
	}
	return nr;
}

#define PIN_BATCH	32

static int pin_pages(struct transfer *t)
{
	struct page *pages[PIN_BATCH];
	unsigned int n, i;
	long pinned;

	t->nr_pages = list_pages(t, NULL);
	t->pages = kvmalloc_array(t->nr_pages, sizeof(*t->pages),
				  GFP_KERNEL_ACCOUNT);
	if (!t->pages)
		return -ENOMEM;
	list_pages(t, t->pages);

	while (t->nr_pinned != t->nr_pages) {
		struct user_page *up = t->pages + t->nr_pinned;

		for (n = 1; n != PIN_BATCH && t->nr_pinned + n != t->nr_pages &&
		     up[n].index == up[0].index + n; n++)
			;
		pinned = pin_user_pages_fast(up[0].index << PAGE_SHIFT, n,
					     FOLL_WRITE, pages);
		if (pinned <= 0)
			return pinned == -ENOMEM ? -ENOMEM : -EFAULT;
		for (i = 0; i != pinned; i++)
			up[i].page = pages[i];
		t->nr_pinned += pinned;
		cond_resched();
	}
	return 0;
}

static void unpin_pages(struct transfer *t)
{
	unsigned long i;

	for (i = 0; i != t->nr_pinned; i++)
		unpin_user_pages_dirty_lock(&t->pages[i].page, 1, true);
}

/*
 * OR into one aligned word of the user's.  Other threads of the user, and other
 * reads into the same bitmap, change it at the same time.  A word that the
 * bitmap shares with something else at its ends is changed only in its bits.
 */
static void or_word(struct transfer *t, u64 bit, unsigned long mask)
{
	unsigned long addr = bit / BITS_PER_LONG * sizeof(long);
	void *kaddr;

	if (t->count)
		*t->count += hweight_long(mask);
	while (t->pages[t->cur].index < addr >> PAGE_SHIFT)
		t->cur++;
	while (t->pages[t->cur].index > addr >> PAGE_SHIFT)
		t->cur--;
	kaddr = kmap_local_page(t->pages[t->cur].page) + offset_in_page(addr);
	/* All of a word is set by storing it, whoever sets or clears bits of it */
	if (mask == ~0UL)
		WRITE_ONCE(*(unsigned long *)kaddr, mask);
	else
		atomic_long_or(mask, kaddr);
	kunmap_local(kaddr);
}

/* @bits from user bit @bit on */
static void or_bits(struct transfer *t, u64 bit, unsigned long bits)
{
	unsigned int shift = bit % BITS_PER_LONG;

	if (bits << shift)
		or_word(t, bit, bits << shift);
	if (shift && bits >> (BITS_PER_LONG - shift))
		or_word(t, bit + BITS_PER_LONG, bits >> (BITS_PER_LONG - shift));
}

static void or_range(struct transfer *t, u64 first, u64 last)
{
	while (first <= last) {
		unsigned int n = min_t(u64, last - first + 1, BITS_PER_LONG);

		or_bits(t, first, GENMASK(n - 1, 0));
		first += n;
	}
}

/* A word of pending bits, of which the lowest stands for @iova */
static void give_word(void *data, unsigned long iova, unsigned long word)
{
	struct transfer *t = data;
	unsigned int bit, shift = t->bitmap->shift;

	if (t->user->shift == shift &&
	    IS_ALIGNED(t->user->iova, 1UL << shift)) {
		/* The first word may begin before what the user asked for */
		if (iova < t->user->iova) {
			word >>= (t->user->iova - iova) >> shift;
			iova = t->user->iova;
		}
		or_bits(t, user_bit(t->user, iova), word);
		return;
	}

	/* The user's pages are larger or smaller than ours, or lie across them */
	for_each_set_bit(bit, &word, BITS_PER_LONG) {
		unsigned long first = iova + ((unsigned long)bit << shift);
		unsigned long last = first + ((1UL << shift) - 1);

		or_range(t, user_bit(t->user, max(first, t->user->iova)),
			 user_bit(t->user, min(last, t->user->last)));
	}
}

static unsigned long take_word(unsigned long *word, unsigned long mask)
{
	if (mask == ~0UL)
		return atomic_long_xchg(as_atomic(word), 0);
	return mask & atomic_long_fetch_andnot(mask, as_atomic(word));
}

/*
 * Calls @fn with each word of bits [@first, @last] of a chunk that has any set. The
 * mark of one that is to be cleared was cleared before.
 */
static __always_inline void walk_chunk(struct dirty_bitmap *bitmap,
				       unsigned long *chunk,
				       unsigned long index, unsigned int first,
				       unsigned int last, bool clear,
				       dirty_word_fn_t fn, void *data)
{
	unsigned int w;

	for (w = BIT_WORD(first); w <= BIT_WORD(last); w++) {
		unsigned long mask = ~0UL, word;

		if (w == BIT_WORD(first))
			mask &= BITMAP_FIRST_WORD_MASK(first);
		if (w == BIT_WORD(last))
			mask &= BITMAP_LAST_WORD_MASK(last + 1);
		word = READ_ONCE(chunk[w]) & mask;
		if (word && clear)
			word = take_word(&chunk[w], mask);
		if (word)
			fn(data, chunk_iova(bitmap, index) +
				 ((unsigned long)w * BITS_PER_LONG <<
				  bitmap->shift), word);
	}
	/* Other bits are still to be read; who sets one meanwhile marks it, too */
	if (clear && !data_race(bitmap_empty(chunk, CHUNK_BITS)))
		set_pending(bitmap, index);
}

/* As many as have their marks cleared at once */
static void give_parts(struct transfer *t, const struct part *parts,
		       unsigned int n)
{
	unsigned long index[DIRTY_MARKS];
	unsigned int i;

	for (i = 0; i != n; i++)
		index[i] = parts[i].index;
	if (t->clear)
		clear_all_pending(t->bitmap, index, n);
	for (i = 0; i != n; i++)
		walk_chunk(t->bitmap, parts[i].chunk, index[i], parts[i].first,
			   parts[i].last, t->clear, give_word, t);
}

/**
 * dirty_bitmap_take() - Take a range's pending bits
 * @bitmap: the bitmap
 * @iova: first address
 * @last: last address
 * @fn: gets them; bits outside of the range are left out
 * @data: for @fn
 *
 * Context: process, may sleep; serialized by the owner.
 */
void dirty_bitmap_take(struct dirty_bitmap *bitmap, unsigned long iova,
		       unsigned long last, dirty_word_fn_t fn, void *data)
{
	unsigned long at = iova >> chunk_shift(bitmap);
	unsigned long end = last >> chunk_shift(bitmap);
	unsigned long index[DIRTY_MARKS];
	void *chunk, *chunks[DIRTY_MARKS];
	unsigned int i, n;

	chunk = xa_find(&bitmap->chunks, &at, end, PENDING);
	while (chunk) {
		for (n = 0; chunk && n != DIRTY_MARKS; n++) {
			index[n] = at;
			chunks[n] = chunk;
			chunk = xa_find_after(&bitmap->chunks, &at, end,
					      PENDING);
		}
		clear_all_pending(bitmap, index, n);
		for (i = 0; i != n; i++)
			walk_chunk(bitmap, chunks[i], index[i],
				   first_bit(bitmap, index[i], iova),
				   last_bit(bitmap, index[i], last), true, fn,
				   data);
		cond_resched();
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_take);

/**
 * dirty_bitmap_read() - Give a range's pending bits to the user
 * @bitmap: the bitmap
 * @user: where they go; they are ORed in
 * @clear: the bits given are pending no more
 * @count: the bits given are counted here, in pages of the user's; or NULL
 *
 * A bit that stands for more than a user's page sets several, and the other
 * way round several of ours make one.
 *
 * Context: process, may sleep and fault; serialized by the owner.
 *
 * Return: 0; -EFAULT when a page of the user's that would get bits cannot be
 * written; -ENOMEM.  On failure every bit stays pending and none was given.
 */
int dirty_bitmap_read(struct dirty_bitmap *bitmap,
		      const struct dirty_user_bitmap *user, bool clear,
		      u64 *count)
{
	struct transfer t = {
		.bitmap = bitmap,
		.user = user,
		.clear = clear,
		.count = count,
	};
	unsigned long i, n;
	int rc;

	rc = find_parts(&t);
	if (rc || !t.nr_parts)
		goto out;
	rc = pin_pages(&t);
	if (rc)
		goto out;
	for (i = 0; i != t.nr_parts; i += n) {
		n = min(t.nr_parts - i, DIRTY_MARKS);
		give_parts(&t, &t.parts[i], n);
		cond_resched();
	}
out:
	unpin_pages(&t);
	kvfree(t.pages);
	kvfree(t.parts);
	return rc;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_read);
