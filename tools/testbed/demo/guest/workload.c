// SPDX-License-Identifier: GPL-2.0
/*
 * A load for the simulated DMA device that knows what memory must hold
 */
#include <inttypes.h>
#include <string.h>

#include "workload.h"

#define POLLS_BEFORE_DOUBT	100u	/* a second, at the caller's 10 ms */
#define POLLS_BEFORE_STUCK	3000u
#define DETAILS			5u	/* stale pages described in full */

/*
 * Room for the elements of one SCATTER above its value, so that no two
 * descriptors ever write the same word and what is found names its writer.
 */
#define SERIAL_SHIFT		12

static uint32_t reg_read(struct workload *w, uint32_t reg)
{
	return *(volatile uint32_t *)(w->bar + reg);
}

static void reg_write(struct workload *w, uint32_t reg, uint32_t value)
{
	*(volatile uint32_t *)(w->bar + reg) = value;
}

static uint64_t page_dma(const struct workload *w, uint32_t page)
{
	return w->dma[page / HUGE_PAGES] +
	       (uint64_t)(page % HUGE_PAGES) * PAGE_BYTES;
}

static volatile uint64_t *page_words(const struct workload *w, uint32_t page)
{
	return (volatile uint64_t *)(w->area + (size_t)page * PAGE_BYTES);
}

/* xorshift64: the load is the same in every run */
static uint32_t below(struct workload *w, uint32_t limit)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return (uint32_t)(w->random >> 32) % limit;
}

static uint64_t next_value(struct workload *w)
{
	return ++w->serial << SERIAL_SHIFT;
}

static volatile struct dsim_desc *slot(struct workload *w, uint32_t index)
{
	return (volatile struct dsim_desc *)w->area + index % RING_ENTRIES;
}

static uint32_t in_flight(const struct workload *w)
{
	return w->submitted - w->done;
}

static void submit(struct workload *w, const struct dsim_desc *desc)
{
	struct dsim_desc d = *desc;

	d.cookie = w->submitted;
	memcpy((void *)slot(w, w->submitted), &d, sizeof(d));
	w->submitted++;
}

/* Both doorbells in turn: the trapped register and the mapped page */
static void ring_doorbell(struct workload *w)
{
	if (w->rung == w->submitted)
		return;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (w->kicks++ & 1)
		reg_write(w, DSIM_DOORBELL_TAIL, w->submitted);
	else
		reg_write(w, DSIM_REG_TAIL, w->submitted);
	w->rung = w->submitted;
}

/* The model first, stamped with the descriptor that is submitted right after */
static void model(struct workload *w, uint32_t page, enum page_kind kind,
		  uint64_t value, uint64_t last_word)
{
	w->page[page] = (struct page_model){
		.kind = kind, .value = value, .last_word = last_word,
		.submitted = w->submitted + 1,
	};
}

static void op_fill(struct workload *w, uint32_t page, uint32_t n)
{
	uint64_t value = next_value(w);

	for (uint32_t i = 0; i < n; i++)
		model(w, page + i, PAGE_FILLED, value, value);
	submit(w, &(struct dsim_desc){
		.op = DSIM_OP_FILL, .dst = page_dma(w, page),
		.value = value, .len = n * PAGE_BYTES,
	});
}

static void op_ramp(struct workload *w, uint32_t page)
{
	uint64_t value = next_value(w);

	model(w, page, PAGE_RAMP, value, value + PAGE_WORDS - 1);
	submit(w, &(struct dsim_desc){
		.op = DSIM_OP_SCATTER, .dst = page_dma(w, page),
		.value = value, .stride = 8, .count = PAGE_WORDS,
	});
}

/* One word in each of n pages: the sparsest way to make pages dirty */
static void op_stamp(struct workload *w, uint32_t page, uint32_t n)
{
	uint64_t value = next_value(w);

	for (uint32_t i = 0; i < n; i++)
		model(w, page + i, w->page[page + i].kind,
		      w->page[page + i].value, value + i);
	submit(w, &(struct dsim_desc){
		.op = DSIM_OP_SCATTER,
		.dst = page_dma(w, page) + PAGE_BYTES - 8,
		.value = value, .stride = PAGE_BYTES, .count = n,
	});
}

static void op_copy(struct workload *w, uint32_t from, uint32_t to)
{
	const struct page_model *m = &w->page[from];

	model(w, to, m->kind, m->value, m->last_word);
	submit(w, &(struct dsim_desc){
		.op = DSIM_OP_COPY, .src = page_dma(w, from),
		.dst = page_dma(w, to), .len = PAGE_BYTES,
	});
}

/*
 * Unlike the others, an addition that is done twice or never shows for ever:
 * this is what finds a descriptor lost or repeated by the migration.
 */
static void op_add(struct workload *w)
{
	uint32_t words = COUNTER_PAGES * PAGE_WORDS;
	uint32_t stride = 1 + below(w, 2 * PAGE_WORDS);
	uint32_t first = below(w, words);
	uint32_t addend = 1 + below(w, 1000);
	uint32_t fit = (words - first - 1) / stride + 1;
	uint32_t n = 1 + below(w, fit < 64 ? fit : 64);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t word = first + i * stride;

		w->total[word] += addend;
		model(w, RING_PAGES + word / PAGE_WORDS, PAGE_COUNTERS, 0, 0);
	}
	submit(w, &(struct dsim_desc){
		.op = DSIM_OP_ADD,
		.dst = page_dma(w, RING_PAGES) + (uint64_t)first * 8,
		.value = addend, .stride = stride * 8, .count = n,
	});
}

static uint32_t random_hot(struct workload *w)
{
	return FIRST_HOT + below(w, w->first_cold - FIRST_HOT);
}

/* Huge pages are not neighbours to the device, and cold pages stay cold */
static uint32_t clip(const struct workload *w, uint32_t page, uint32_t n)
{
	uint32_t end = (page / HUGE_PAGES + 1) * HUGE_PAGES;

	if (end > w->first_cold)
		end = w->first_cold;
	return n < end - page ? n : end - page;
}

static void submit_random(struct workload *w)
{
	uint32_t page = random_hot(w);
	uint32_t choice = below(w, 100);

	if (choice < 35) {
		op_fill(w, page, clip(w, page, 1 + below(w, 8)));
	} else if (choice < 55) {
		op_ramp(w, page);
	} else if (choice < 70) {
		op_stamp(w, page, clip(w, page, 1 + below(w, 16)));
	} else if (choice < 85) {
		uint32_t from = FIRST_HOT + below(w, w->nr_pages - FIRST_HOT);

		if (from != page)
			op_copy(w, from, page);
	} else {
		op_add(w);
	}
}

static void reap_one(struct workload *w, uint32_t status)
{
	volatile struct dsim_desc *d = slot(w, w->done);

	if (status != DSIM_DESC_DONE && w->errors++ < DETAILS)
		report("device=%u descriptor %u: status %u op %u dst %" PRIx64,
		       w->number, w->done, status, d->op, (uint64_t)d->dst);
	w->done++;
	w->idle_polls = 0;
}

/*
 * Completion is read from memory, which is what a migration can get wrong.
 * When that shows nothing for a while, HEAD tells a device that is slow from
 * a status word that was lost on the way.
 */
static void reap(struct workload *w)
{
	uint32_t status, head;

	while (in_flight(w)) {
		status = slot(w, w->done)->status;
		if (status == DSIM_DESC_PENDING)
			break;
		reap_one(w, status);
	}
	__atomic_thread_fence(__ATOMIC_ACQUIRE);

	if (!in_flight(w)) {
		w->idle_polls = 0;
		return;
	}
	if (++w->idle_polls % POLLS_BEFORE_DOUBT)
		return;

	head = reg_read(w, DSIM_REG_HEAD);
	while (in_flight(w) && head - w->done - 1 < in_flight(w)) {
		status = slot(w, w->done)->status;
		if (status == DSIM_DESC_PENDING) {
			if (w->lost_status++ < DETAILS)
				report("device=%u descriptor %u: done, but its status word is stale",
				       w->number, w->done);
			status = DSIM_DESC_DONE;
		}
		reap_one(w, status);
	}
	if (w->idle_polls >= POLLS_BEFORE_STUCK && !w->stuck) {
		w->stuck = true;
		report("device=%u stuck: head %u of %u, status %x", w->number,
		       head, w->submitted, reg_read(w, DSIM_REG_STATUS));
	}
}

static uint64_t expected_word(const struct workload *w, uint32_t page,
			      uint32_t i)
{
	const struct page_model *m = &w->page[page];

	if (m->kind == PAGE_COUNTERS)
		return w->total[(page - RING_PAGES) * PAGE_WORDS + i];
	if (i == PAGE_WORDS - 1)
		return m->last_word;
	return m->kind == PAGE_RAMP ? m->value + i : m->value;
}

/* The number of the first wrong word, or PAGE_WORDS */
static uint32_t check_page(const struct workload *w, uint32_t page)
{
	volatile uint64_t *words = page_words(w, page);
	uint32_t i;

	for (i = 0; i < PAGE_WORDS; i++)
		if (words[i] != expected_word(w, page, i))
			break;
	return i;
}

static void describe(struct workload *w, const char *when, uint32_t page,
		     uint32_t i)
{
	report("device=%u %s page=%u gpa=0x%" PRIx64 " %s word=%u expected=%" PRIx64
	       " found=%" PRIx64 " written-by=%u", w->number, when, page,
	       page_dma(w, page),
	       page < FIRST_HOT ? "counter" : page < w->first_cold ? "hot" : "cold",
	       i, expected_word(w, page, i), page_words(w, page)[i],
	       w->page[page].submitted - 1);
}

static void check_samples(struct workload *w, uint32_t n)
{
	while (n--) {
		uint32_t page = RING_PAGES + below(w, w->nr_pages - RING_PAGES);
		uint32_t i;

		/* its last writer may still be under way */
		if ((int32_t)(w->done - w->page[page].submitted) < 0)
			continue;
		w->samples++;
		i = check_page(w, page);
		if (i < PAGE_WORDS && w->bad_samples++ < DETAILS)
			describe(w, "stale sample", page, i);
	}
}

void workload_turn(struct workload *w, uint32_t descs, uint32_t samples)
{
	reap(w);
	while (descs-- && in_flight(w) < RING_ENTRIES && !w->stuck) {
		submit_random(w);
		/* often enough that one doorbell overtakes the other */
		if (descs % 4 == 0)
			ring_doorbell(w);
	}
	ring_doorbell(w);
	check_samples(w, samples);
}

static bool drain(struct workload *w)
{
	ring_doorbell(w);
	for (;;) {
		reap(w);
		if (!in_flight(w))
			return true;
		if (w->stuck)
			return false;
		pause_ms(10);
	}
}

void workload_verify(struct workload *w, struct verdict *v)
{
	bool drained = drain(w);

	*v = (struct verdict){ .submitted = w->submitted };
	for (uint32_t page = RING_PAGES; page < w->nr_pages; page++) {
		uint32_t i = check_page(w, page);

		v->pages++;
		if (i == PAGE_WORDS)
			continue;
		if (v->stale++ == 0)
			v->first = page;
		if (v->stale <= DETAILS)
			describe(w, "stale", page, i);
	}
	v->completed = reg_read(w, DSIM_REG_COMPLETED) - w->completed_base;
	v->faults = reg_read(w, DSIM_REG_FAULTS);
	v->ok = drained && !v->stale && !v->faults && !w->errors &&
		!w->bad_samples && !w->lost_status &&
		v->completed == v->submitted &&
		!(reg_read(w, DSIM_REG_STATUS) & DSIM_STATUS_ERROR);
}

bool workload_start(struct workload *w)
{
	uint64_t ring = page_dma(w, 0);

	if (reg_read(w, DSIM_REG_ID) != DSIM_ID ||
	    reg_read(w, DSIM_REG_VERSION) != DSIM_VERSION) {
		report("device=%u says id %x version %u: not ours", w->number,
		       reg_read(w, DSIM_REG_ID), reg_read(w, DSIM_REG_VERSION));
		return false;
	}
	w->random = 0x9e3779b97f4a7c15 * (2 * w->number + 1);
	for (uint32_t i = 0; i < COUNTER_PAGES; i++)
		w->page[RING_PAGES + i].kind = PAGE_COUNTERS;

	reg_write(w, DSIM_REG_CTRL, 0);
	reg_write(w, DSIM_REG_RING_LO, (uint32_t)ring);
	reg_write(w, DSIM_REG_RING_HI, (uint32_t)(ring >> 32));
	reg_write(w, DSIM_REG_RING_ORDER, RING_ORDER);
	reg_write(w, DSIM_REG_CTRL, DSIM_CTRL_ENABLE);
	w->completed_base = reg_read(w, DSIM_REG_COMPLETED);

	/* Each cold page differs, so that none can stand in for another */
	for (uint32_t page = w->first_cold; page < w->nr_pages; page++) {
		while (in_flight(w) == RING_ENTRIES) {
			ring_doorbell(w);
			reap(w);
			if (w->stuck)
				return false;
			if (in_flight(w) == RING_ENTRIES)
				pause_ms(1);
		}
		if (page & 1)
			op_ramp(w, page);
		else
			op_fill(w, page, 1);
	}
	return drain(w);
}

void workload_stop(struct workload *w)
{
	drain(w);
	reg_write(w, DSIM_REG_CTRL, 0);
}
