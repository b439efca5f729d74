/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The protocol of the dirty log: two threads of the kernel that set bits, as
 * drivers/iommu/iommufd/dirty/log_bits.c does, two of user space that take them, as
 * tools/iommu/dirty_log.h does, in every order that there is. One line: pages 0 and 1
 * have a word, page 2 has another one. The first to take takes all, the second one
 * too, or, with PART defined, the second word only.
 *
 * Stores go through a buffer of the CPU's, first in, first out. Loads see the own
 * buffer, others do not. An atomic operation is carried out in memory when the
 * buffer is empty. That is x86. It stands for other machines too, as far as atomic
 * operations are full barriers there: nothing here rests on the order of plain
 * stores, or on that of plain loads.
 *
 * What is checked:
 *
 * - Nothing is lost: in the end the last content of each page that was written was
 *   seen by one who had taken its bit.
 * - Nothing is stranded: at rest each set bit has that of the summary.
 * - Nothing is hidden: who begins to take when a mark is complete finds it, but for
 *   what another one is about to take.
 *
 * With one of these defined it is wrong in one point, and must be found out.
 * tools/testbed/model tries them all:
 *
 *	SUMMARY_FIRST	 the setter sets the summary before the word
 *	LOOK_EARLY	 it looks at the summary before it sets the word
 *	LOOK_AT_WORD	 it does nothing when the bit is set already
 *	OR_BY_STORE	 it loads the word, and stores it with the bit
 *	WORDS_FIRST	 the taker takes the words before the summary
 *	SUMMARY_BY_STORE it loads the summary, and stores it without the bits
 *	WORD_BY_STORE	 it loads the word, and stores 0
 *	PART_CLEARED	 it clears the summary though it takes a part of the line
 *	PART_PUT_BACK	 it does so, and sets it again
 */
#ifndef MARKS
#define MARKS		2	/* by each setter */
#endif
#ifndef TAKES
#define TAKES		1	/* by each taker */
#endif

#define PAGES		3
#define WORDS		2
#define CPUS		4	/* setters are 0 and 1, takers 2 and 3 */

#define WORD(page)	(page / 2)
#define BIT(page)	(1 << page % 2)

/* Addresses: words, the summary, and what each setter writes to each page */
#define SUMMARY		WORDS
#define DATA(page, cpu)	(WORDS + 1 + page * 2 + cpu)
#define CELLS		(WORDS + 1 + PAGES * 2)

byte mem[CELLS];

/* ---- Store buffers ---- */

#define DEPTH		4

byte stored[CPUS];
byte store_at[CPUS * DEPTH];
byte store_value[CPUS * DEPTH];

#define drained		(stored[cpu] == 0)

inline store(at, value)
{
	d_step {
		assert(stored[cpu] < DEPTH);
		store_at[cpu * DEPTH + stored[cpu]] = at;
		store_value[cpu * DEPTH + stored[cpu]] = value;
		stored[cpu]++;
	}
}

inline load(at, value)
{
	d_step {
		value = mem[at];
		i = 0;
		do
		:: i == stored[cpu] -> break
		:: else ->
			if
			:: store_at[cpu * DEPTH + i] == at ->
				value = store_value[cpu * DEPTH + i]
			:: else
			fi;
			i++
		od;
		i = 0
	}
}

inline move_store()
{
	mem[store_at[cpu * DEPTH]] = store_value[cpu * DEPTH];
	stored[cpu]--;
	i = 0;
	do
	:: i == stored[cpu] -> break
	:: else ->
		store_at[cpu * DEPTH + i] = store_at[cpu * DEPTH + i + 1];
		store_value[cpu * DEPTH + i] = store_value[cpu * DEPTH + i + 1];
		i++
	od;
	/* What is left over would make states differ that do not */
	store_at[cpu * DEPTH + i] = 0;
	store_value[cpu * DEPTH + i] = 0;
	i = 0;
	cpu = 0
}

/* Any buffer moves its oldest store to memory, at any time */
active proctype memory()
{
	byte cpu, i;
end:
	do
	:: d_step { stored[0] > 0 -> cpu = 0; move_store() }
	:: d_step { stored[1] > 0 -> cpu = 1; move_store() }
	:: d_step { stored[2] > 0 -> cpu = 2; move_store() }
	:: d_step { stored[3] > 0 -> cpu = 3; move_store() }
	od
}

/* ---- What the checks need to know, and nobody else sees ---- */

byte copied[CELLS];	/* of DATA(), by one who took the page's bit */
byte fresh[2 * WORDS];	/* bits that a setter has set, not taken since */
byte complete[WORDS];	/* those whose setter is through */
byte in_hand[WORDS];	/* takers that are about to take the word */
byte owed[CPUS * WORDS];	/* bits that a taker, or another one, must take */
byte finished;

/* Bits left a word: what was written to the pages before is what is seen now */
inline took(word, bits)
{
	fresh[word] = fresh[word] & ~(bits);
	fresh[WORDS + word] = fresh[WORDS + word] & ~(bits);
	complete[word] = complete[word] & ~(bits);
	owed[2 * WORDS + word] = owed[2 * WORDS + word] & ~(bits);
	owed[3 * WORDS + word] = owed[3 * WORDS + word] & ~(bits);
	p = 0;
	do
	:: p == PAGES -> break
	:: else ->
		if
		:: WORD(p) == word && (bits & BIT(p)) ->
			/* Content counts up: two who copy are told apart by it */
			if
			:: mem[DATA(p, 0)] > copied[DATA(p, 0)] ->
				copied[DATA(p, 0)] = mem[DATA(p, 0)]
			:: else
			fi;
			if
			:: mem[DATA(p, 1)] > copied[DATA(p, 1)] ->
				copied[DATA(p, 1)] = mem[DATA(p, 1)]
			:: else
			fi
		:: else
		fi;
		p++
	od;
	p = 0
}

/* ---- Setting: or_word() ---- */

inline set_word()
{
#ifdef OR_BY_STORE
	load(WORD(page), value);
	store(WORD(page), value | BIT(page))
#else
	d_step {
		drained ->
		mem[WORD(page)] = mem[WORD(page)] | BIT(page);
		fresh[cpu * WORDS + WORD(page)] = BIT(page)
	}
#endif
}

/* What it has seen is whether the summary is set */
inline set_summary()
{
	if
	:: !value -> d_step { drained -> mem[SUMMARY] = 1 }
	:: else
	fi
}

inline mark()
{
#if defined(SUMMARY_FIRST)
	load(SUMMARY, value);
	set_summary();
	set_word()
#elif defined(LOOK_EARLY)
	load(SUMMARY, value);
	set_word();
	set_summary()
#elif defined(LOOK_AT_WORD)
	load(WORD(page), value);
	if
	:: !(value & BIT(page)) ->
		set_word();
		load(SUMMARY, value);
		set_summary()
	:: else
	fi
#else
	set_word();
	load(SUMMARY, value);
	set_summary()
#endif
}

inline end_mark()
{
	complete[WORD(page)] = complete[WORD(page)] |
			       fresh[cpu * WORDS + WORD(page)];
	fresh[cpu * WORDS + WORD(page)] = 0;
	page = 0;
	value = 0
}

proctype setter(byte cpu)
{
	byte marks, page, value, i;

	do
	:: marks == MARKS -> break
	:: else ->
		marks++;
		if
		:: page = cpu
		:: page = 2
		fi;
		store(DATA(page, cpu), marks);
		mark();
		d_step { end_mark() }
	od;
	/* Sooner or later all that was stored is in memory */
	atomic { drained -> finished++ }
}

/* ---- Taking: dirty_log_take() of the words from @first on ---- */

inline begin_take()
{
	w = first;
	do
	:: w == WORDS -> break
	:: else ->
		owed[cpu * WORDS + w] = (in_hand[w] -> 0 : complete[w]);
		w++
	od;
	w = 0
}

/* The words of the range will be looked at, if there is a line to look at */
inline take_in_hand()
{
	w = first;
	do
	:: w == WORDS -> break
	:: else ->
		in_hand[w] = in_hand[w] + line;
		w++
	od;
	w = first
}

inline clear_summary()
{
#ifdef SUMMARY_BY_STORE
	load(SUMMARY, line);
	d_step { begin_take(); take_in_hand() };
	store(SUMMARY, 0)
#else
	d_step {
		drained ->
		begin_take();
		line = mem[SUMMARY];
		mem[SUMMARY] = 0;
		take_in_hand()
	}
#endif
}

inline put_back()
{
	if
	:: line -> d_step { drained -> mem[SUMMARY] = 1 }
	:: else
	fi
}

inline find_line()
{
#if defined(WORDS_FIRST)
	d_step { begin_take(); line = mem[SUMMARY]; take_in_hand() }
#else
	if
	:: first == 0 -> clear_summary()
#if defined(PART_CLEARED)
	:: else -> clear_summary()
#elif defined(PART_PUT_BACK)
	:: else -> clear_summary(); put_back()
#else
	/* Of a part of a line it looks at the words anyway */
	:: else -> d_step { begin_take(); line = 1; take_in_hand() }
#endif
	fi
#endif
}

inline take_word()
{
	load(w, value);
	if
	:: value ->
#ifdef WORD_BY_STORE
		store(w, 0);
		d_step { took(w, value); in_hand[w]-- }
#else
		d_step {
			drained ->
			value = mem[w];
			mem[w] = 0;
			took(w, value);
			in_hand[w]--
		}
#endif
	:: else -> in_hand[w]--
	fi;
	value = 0
}

inline end_take()
{
	do
	:: w == WORDS -> break
	:: else ->
		assert(!owed[cpu * WORDS + w] || in_hand[w]);	/* hidden? */
		owed[cpu * WORDS + w] = 0;
		w++
	od;
	w = 0;
	line = 0
}

proctype taker(byte cpu; byte first)
{
	byte takes, line, value, w, p, i;

	do
	:: takes == TAKES -> break
	:: else ->
		takes++;
		find_line();
		do
		:: w == WORDS || !line -> break
		:: else ->
			take_word();
			w++
		od;
#ifdef WORDS_FIRST
		if
		:: line && first == 0 -> d_step { drained -> mem[SUMMARY] = 0 }
		:: else
		fi;
#endif
		w = first;
		d_step { end_take() }
	od;
	atomic { drained -> finished++ }
}

/* ---- All of them, and how it is when they have come to an end ---- */

init
{
	byte w, p, value;

	atomic {
		run setter(0);
		run setter(1);
		run taker(2, 0);
#ifdef PART
		run taker(3, 1)
#else
		run taker(3, 0)
#endif
	}
	finished == CPUS;
	d_step {
		w = 0;
		do
		:: w == WORDS -> break
		:: else ->
			assert(!mem[w] || mem[SUMMARY]);	/* stranded? */
			value = mem[w];
			mem[w] = 0;
			took(w, value);
			w++
		od;
		p = 0;
		do
		:: p == PAGES -> break
		:: else ->
			assert(copied[DATA(p, 0)] == mem[DATA(p, 0)]);	/* lost? */
			assert(copied[DATA(p, 1)] == mem[DATA(p, 1)]);
			p++
		od
	}
}
