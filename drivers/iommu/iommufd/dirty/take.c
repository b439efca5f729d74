// SPDX-License-Identifier: GPL-2.0-only
/*
 * Taking a reader's pending bits: for a log, or to the user
 */
#include <kunit/visibility.h>
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/prefetch.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include "chunk.h"

static void clear_all_pending(struct dirty_bitmap *bitmap,
			      const struct dirty_part *parts, unsigned int n)
{
	unsigned long flags;

	xa_lock_irqsave(&bitmap->chunks, flags);
	while (n--)
		__xa_clear_mark(&bitmap->chunks, parts[n].index, PENDING);
	xa_unlock_irqrestore(&bitmap->chunks, flags);
	smp_mb(); /* the marks before what is in the chunks; pairs with the setter's */
}

static unsigned long take_word(unsigned long *word, unsigned long mask)
{
	if (!(READ_ONCE(*word) & mask))
		return 0;
	if (mask == ~0UL)
		return atomic_long_xchg(as_atomic(word), 0);
	return mask & atomic_long_fetch_andnot(mask, as_atomic(word));
}

static unsigned long get_word(unsigned long *word, unsigned long mask,
			      bool clear)
{
	return clear ? take_word(word, mask) : READ_ONCE(*word) & mask;
}

/* @rest of a word is still to be read, and so may be other bits of it */
static void leave_rest(struct dirty_chunk *chunk, unsigned int w,
		       unsigned long rest)
{
	if (rest)
		atomic_long_or(rest, as_atomic(&chunk->bits[w]));
	if (READ_ONCE(chunk->bits[w]))
		atomic_long_or(BIT(w), as_atomic(&chunk->some));
}

/* How many words from @w on are full */
static unsigned int count_full(unsigned long full, unsigned int w)
{
	full = ~(full >> w);
	return full ? __ffs(full) : CHUNK_WORDS;
}

static unsigned long word_iova(const struct dirty_bitmap *bitmap,
			       unsigned long index, unsigned int w)
{
	return chunk_iova(bitmap, index) +
	       ((unsigned long)w * BITS_PER_LONG << bitmap->shift);
}

/* Hands out a chunk's bits, and takes what is not told by @full from its words */
static __always_inline void walk_chunk(struct dirty_bitmap *bitmap,
				       const struct dirty_part *p,
				       unsigned long full, unsigned long some,
				       bool clear,
				       const struct dirty_taker *taker,
				       void *data)
{
	unsigned long whole = full & whole_words(p->first, p->last);
	unsigned long words, mask, word;
	unsigned int w, n;

	for (words = (full & ~whole) | some; words; words &= words - 1) {
		w = __ffs(words);
		mask = bits_of(w, p->first, p->last);
		word = full & BIT(w) ? mask : 0;
		if (some & BIT(w))
			word |= get_word(&p->chunk->bits[w], mask, clear);
		if (clear && mask != ~0UL)
			leave_rest(p->chunk, w, full & BIT(w) ? ~mask : 0);
		if (word && !(whole & BIT(w)))
			taker->word(data, word_iova(bitmap, p->index, w), word);
	}
	for (; whole; whole &= ~GENMASK(w + n - 1, w)) {
		w = __ffs(whole);
		n = count_full(whole, w);
		taker->range(data, word_iova(bitmap, p->index, w),
			     word_iova(bitmap, p->index, w + n) - 1);
	}
	/* Other bits are still to be read; who sets one meanwhile marks it, too */
	if (clear && (READ_ONCE(p->chunk->full) | READ_ONCE(p->chunk->some)))
		dirty_chunk_pending(bitmap, p->index);
}

/*
 * Takes up to DIRTY_MARKS parts, whose marks, if any, were cleared before.  First what
 * tells of words, from all, which is a full barrier for each that has any.  Then the
 * words, and what is done with them is not held up by that.
 */
static __always_inline void walk_parts(struct dirty_bitmap *bitmap,
				       const struct dirty_part *parts,
				       unsigned int n, bool clear,
				       const struct dirty_taker *taker,
				       void *data)
{
	unsigned long full[DIRTY_MARKS], some[DIRTY_MARKS];
	unsigned int i;

	for (i = 0; i != n; i++) {
		const struct dirty_part *p = &parts[i];
		unsigned long words = words_of(p->first, p->last);

		full[i] = get_word(&p->chunk->full, words, clear);
		some[i] = get_word(&p->chunk->some, words, clear);
	}
	for (i = 0; i != n; i++)
		walk_chunk(bitmap, &parts[i], full[i], some[i], clear, taker,
			   data);
}

/**
 * dirty_bitmap_take() - Take a range's pending bits
 * @bitmap: the bitmap
 * @iova: first address
 * @last: last address
 * @taker: gets them; bits outside of the range are left out
 * @data: for @taker
 *
 * Context: process, may sleep; serialized by the owner.
 */
void dirty_bitmap_take(struct dirty_bitmap *bitmap, unsigned long iova,
		       unsigned long last, const struct dirty_taker *taker,
		       void *data)
{
	unsigned long index = iova >> chunk_shift(bitmap);
	unsigned long end = last >> chunk_shift(bitmap);
	struct dirty_part parts[DIRTY_MARKS];
	struct dirty_chunk *chunk;
	unsigned int n;

	chunk = xa_find(&bitmap->chunks, &index, end, PENDING);
	while (chunk) {
		for (n = 0; chunk && n != DIRTY_MARKS; n++) {
			parts[n] = (struct dirty_part){
				.chunk = chunk,
				.index = index,
				.first = first_bit(bitmap, index, iova),
				.last = last_bit(bitmap, index, last),
			};
			chunk = xa_find_after(&bitmap->chunks, &index, end,
					      PENDING);
		}
		clear_all_pending(bitmap, parts, n);
		walk_parts(bitmap, parts, n, true, taker, data);
		cond_resched();
	}
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_take);

/* ---- To user space ---- */

/**
 * struct transfer - one read
 * @bitmap: from here
 * @user: to there
 * @clear: bits read are pending no more
 * @count: adds up bits given, or NULL
 * @parts: of the chunks that had pending bits when the read began, ascending
 * @marked: they have marks
 * @numbers: the pages of the user's bitmap that they go to, as user addresses >>
 *	     PAGE_SHIFT, ascending
 * @pages: the same, as far as they are pinned
 * @nr_pages: how many
 * @nr_pinned: how many are pinned
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
	struct dirty_parts *parts;
	bool marked;
	unsigned long *numbers;
	struct page **pages;
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

/* Bits of a word that are set and lie in the part */
static unsigned long pending_bits(const struct dirty_part *p, unsigned int w)
{
	unsigned long bits = READ_ONCE(p->chunk->bits[w]);

	if (READ_ONCE(p->chunk->full) & BIT(w))
		bits = ~0UL;
	return bits & bits_of(w, p->first, p->last);
}

/* From words to bits; false: there are none, yet */
static bool narrow(struct dirty_part *p, unsigned long words)
{
	for (; words; words &= words - 1)
		if (pending_bits(p, __ffs(words)))
			break;
	while (words && !pending_bits(p, __fls(words)))
		words &= ~BIT(__fls(words));
	if (!words)
		return false;
	p->last = __fls(words) * BITS_PER_LONG +
		  __fls(pending_bits(p, __fls(words)));
	p->first = __ffs(words) * BITS_PER_LONG +
		   __ffs(pending_bits(p, __ffs(words)));
	return true;
}

/*
 * False: there is nothing of what is asked for.  What comes while this looks is of this
 * read or of the next; nobody takes meanwhile.
 */
static bool look_into(const struct transfer *t, struct dirty_part *p)
{
	unsigned long words;

	/* A provider may know of more than it was asked for */
	if (chunk_last(t->bitmap, p->index) < t->user->iova ||
	    chunk_iova(t->bitmap, p->index) > t->user->last)
		return false;
	p->first = first_bit(t->bitmap, p->index, t->user->iova);
	p->last = last_bit(t->bitmap, p->index, t->user->last);
	words = words_of(p->first, p->last) &
		(READ_ONCE(p->chunk->some) | READ_ONCE(p->chunk->full));
	if (!words)
		return false;
	p->first = max(p->first, __ffs(words) * BITS_PER_LONG);
	p->last = min(p->last,
		      __fls(words) * BITS_PER_LONG + BITS_PER_LONG - 1);
	/* A page of the user's to which no bit goes need not be there */
	if (user_page_of(t, bit_iova(t, p->index, p->first)) !=
	    user_page_of(t, bit_last(t, p->index, p->last)))
		return narrow(p, words);
	return true;
}

/* Nothing is asked for of this one; a mark that nobody needs makes others slow */
static void pass_over(struct dirty_bitmap *bitmap, struct dirty_part *part)
{
	struct dirty_chunk *chunk = part->chunk;

	if (!(READ_ONCE(chunk->some) | READ_ONCE(chunk->full)))
		clear_all_pending(bitmap, part, 1);
	if (READ_ONCE(chunk->some) | READ_ONCE(chunk->full))
		dirty_chunk_pending(bitmap, part->index);
}

/* From @from on, those of which something is asked for */
static void look_into_parts(struct transfer *t, unsigned long from)
{
	struct dirty_parts *parts = t->parts;
	unsigned long i, nr = from;

	for (i = from; i != parts->nr; i++) {
		if (look_into(t, &parts->part[i]))
			parts->part[nr++] = parts->part[i];
		else
			pass_over(t->bitmap, &parts->part[i]);
	}
	parts->nr = nr;
}

/* False when it came to the end; else there is no room left, or others want to run */
static bool find_more(struct transfer *t, struct xa_state *xas)
{
	unsigned long last = t->user->last >> chunk_shift(t->bitmap);
	struct dirty_parts *parts = t->parts;
	unsigned long from = parts->nr;
	struct dirty_chunk *chunk;

	guard(rcu)();
	/* Not by the macro, which looks at marks inline, as others change them */
	while ((chunk = xas_find_marked(xas, last, PENDING))) {
		if (xas_retry(xas, chunk))
			continue;
		prefetchw(&chunk->some);
		parts->part[parts->nr++] = (struct dirty_part){
			.chunk = chunk,
			.index = xas->xa_index,
		};
		if (parts->nr != parts->room &&
		    parts->nr - from != DIRTY_MARKS && !need_resched())
			continue;
		xas_pause(xas);
		return true;
	}
	return false;
}

/*
 * In one go: if they were counted first, those that get their mark in between would
 * take the room of those behind them, which had it before the read began.
 */
static int find_marked(struct transfer *t)
{
	XA_STATE(xas, &t->bitmap->chunks,
		 t->user->iova >> chunk_shift(t->bitmap));
	unsigned long from;
	bool more;

	do {
		cond_resched();
		if (!dirty_parts_make_room(t->parts))
			return -ENOMEM;
		from = t->parts->nr;
		more = find_more(t, &xas);
		look_into_parts(t, from);
	} while (more);
	return 0;
}

static bool has_marks(const struct transfer *t)
{
	unsigned long index = t->user->iova >> chunk_shift(t->bitmap);

	/* A mark that comes while this looks is of the next read */
	return data_race(xa_marked(&t->bitmap->chunks, PENDING)) &&
	       xa_find(&t->bitmap->chunks, &index,
		       t->user->last >> chunk_shift(t->bitmap), PENDING);
}

static void mark_parts(struct transfer *t)
{
	unsigned long i;

	for (i = 0; i != t->parts->nr; i++)
		dirty_chunk_pending(t->bitmap, t->parts->part[i].index);
	t->marked = true;
}

static int find_parts(struct transfer *t)
{
	if (!has_marks(t)) {
		look_into_parts(t, 0);
		return 0;
	}
	/* There are others, too */
	mark_parts(t);
	t->parts->nr = 0;
	return find_marked(t);
}

/* Counts each page once, since parts ascend and so do their pages */
static unsigned long list_pages(struct transfer *t, unsigned long *numbers)
{
	unsigned long i, number, nr = 0, next = 0;

	for (i = 0; i != t->parts->nr; i++) {
		struct dirty_part *p = &t->parts->part[i];
		unsigned long end = user_page_of(t, bit_last(t, p->index,
							     p->last)) + 1;

		number = max(user_page_of(t, bit_iova(t, p->index, p->first)),
			     next);
		if (number >= end)
			continue;
		next = end;
		if (!numbers) {
			nr += end - number;
			continue;
		}
		while (number != end)
			numbers[nr++] = number++;
		cond_resched();
	}
	return nr;
}

#define PIN_BATCH	512

static int pin_pages(struct transfer *t)
{
	unsigned long *number, *end;
	long pinned;

	t->nr_pages = list_pages(t, NULL);
	t->numbers = kvmalloc_array(t->nr_pages, sizeof(*t->numbers),
				    GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	t->pages = kvmalloc_array(t->nr_pages, sizeof(*t->pages),
				  GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!t->numbers || !t->pages)
		return -ENOMEM;
	list_pages(t, t->numbers);

	while (t->nr_pinned != t->nr_pages) {
		number = t->numbers + t->nr_pinned;
		end = number + min(t->nr_pages - t->nr_pinned, PIN_BATCH);
		/* As many as follow each other */
		while (end[-1] - *number != end - 1 - number)
			end = number + (end - number) / 2;
		pinned = pin_user_pages_fast(*number << PAGE_SHIFT,
					     end - number, FOLL_WRITE,
					     t->pages + t->nr_pinned);
		if (pinned <= 0)
			return pinned == -ENOMEM ? -ENOMEM : -EFAULT;
		t->nr_pinned += pinned;
		cond_resched();
	}
	return 0;
}

static void unpin_pages(struct transfer *t)
{
	unpin_user_pages_dirty_lock(t->pages, t->nr_pinned, true);
}

/* Where the word is that user bit @bit lies in; for kunmap_local() */
static unsigned long *user_word(struct transfer *t, u64 bit)
{
	unsigned long addr = bit / BITS_PER_LONG * sizeof(long);

	while (t->numbers[t->cur] < addr >> PAGE_SHIFT)
		t->cur++;
	while (t->numbers[t->cur] > addr >> PAGE_SHIFT)
		t->cur--;
	return kmap_local_page(t->pages[t->cur]) + offset_in_page(addr);
}

static void prefetch_user(struct transfer *t, unsigned long iova)
{
	unsigned long *word = user_word(t, user_bit(t->user, iova));

	prefetchw(word);
	kunmap_local(word);
}

/*
 * OR into one aligned word of the user's.  Other threads of the user, and other
 * reads into the same bitmap, change it at the same time.  A word that the
 * bitmap shares with something else at its ends is changed only in its bits.
 */
static void or_word(struct transfer *t, u64 bit, unsigned long mask)
{
	unsigned long *word = user_word(t, bit);

	if (t->count)
		*t->count += dirty_weight(mask);
	atomic_long_or(mask, as_atomic(word));
	kunmap_local(word);
}

/*
 * All of a word is set by storing it, whoever sets or clears bits of it. From @bit on,
 * the first of a word, up to @nr words; returns how many lie in one page.
 */
static unsigned int set_words(struct transfer *t, u64 bit, u64 nr)
{
	unsigned long *word = user_word(t, bit);
	unsigned int n, i;

	n = min(nr, (PAGE_SIZE - offset_in_page(word)) / sizeof(*word));
	if (t->count)
		*t->count += n * BITS_PER_LONG;
	for (i = 0; i != n; i++)
		WRITE_ONCE(word[i], ~0UL);
	kunmap_local(word);
	return n;
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
	unsigned int shift, n;

	for (; first <= last; first += n) {
		shift = first % BITS_PER_LONG;
		n = min_t(u64, last - first + 1, BITS_PER_LONG - shift);
		if (n == BITS_PER_LONG)
			n *= set_words(t, first,
				       (last - first + 1) / BITS_PER_LONG);
		else
			or_word(t, first, GENMASK(n - 1, 0) << shift);
	}
}

static void give_range(void *data, unsigned long iova, unsigned long last)
{
	struct transfer *t = data;

	or_range(t, user_bit(t->user, max(iova, t->user->iova)),
		 user_bit(t->user, min(last, t->user->last)));
}

static void give_word(void *data, unsigned long iova, unsigned long word)
{
	struct transfer *t = data;
	unsigned int first, end, shift = t->bitmap->shift;

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
	for_each_set_bitrange(first, end, &word, BITS_PER_LONG)
		give_range(t, iova + ((unsigned long)first << shift),
			   iova + ((unsigned long)end << shift) - 1);
}

static const struct dirty_taker user_taker = {
	.word = give_word,
	.range = give_range,
};

/* As many as have their marks cleared at once */
static void give_parts(struct transfer *t, const struct dirty_part *parts,
		       unsigned int n)
{
	unsigned int i;

	for (i = 0; i != n; i++) {
		prefetchw(&parts[i].chunk->some);
		prefetchw(&parts[i].chunk->bits[BIT_WORD(parts[i].first)]);
		prefetch_user(t, bit_iova(t, parts[i].index, parts[i].first));
	}
	if (t->clear && t->marked)
		clear_all_pending(t->bitmap, parts, n);
	walk_parts(t->bitmap, parts, n, t->clear, &user_taker, t);
}

/**
 * dirty_bitmap_read() - Give a range's pending bits to the user
 * @bitmap: the bitmap
 * @found: what dirty_cursor_set() and dirty_cursor_or() came to since the reader's last
 *	   one, if it was told so; it is empty after that
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
		      struct dirty_parts *found,
		      const struct dirty_user_bitmap *user, bool clear,
		      u64 *count)
{
	struct transfer t = {
		.bitmap = bitmap,
		.parts = found,
		.user = user,
		.clear = clear,
		.count = count,
	};
	unsigned long i, n;
	int rc;

	rc = find_parts(&t);
	if (rc || !found->nr)
		goto out;
	rc = pin_pages(&t);
	if (rc)
		goto out;
	for (i = 0; i != found->nr; i += n) {
		n = min(found->nr - i, DIRTY_MARKS);
		give_parts(&t, &found->part[i], n);
		cond_resched();
	}
out:
	if ((rc || !clear) && !t.marked)
		mark_parts(&t);
	unpin_pages(&t);
	kvfree(t.pages);
	kvfree(t.numbers);
	kvfree(found->part);
	*found = (struct dirty_parts){};
	return rc;
}
EXPORT_SYMBOL_IF_KUNIT(dirty_bitmap_read);
