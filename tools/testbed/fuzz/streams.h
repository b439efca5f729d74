/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Streams of the simulated device with 64 KiB of memory, in user space: what both
 * programs here need, the one that attacks the parser and the one that asks it
 */
#ifndef FUZZ_STREAMS_H
#define FUZZ_STREAMS_H

#include <stdio.h>
#include <stdlib.h>
#include <linux/crc32.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/unaligned.h>
#include <linux/vfio_pci_migration.h>

#include "stream.h"

#define PAGES		16
#define PAGE_SIZE	4100
#define REGS_SIZE	72

static const struct vfio_mig_section_type types[] = {
	{ .type = 1, .max = REGS_SIZE, .required = true },
	{ .type = 2, .max = PAGE_SIZE, .repeats = true },
};

static const struct vfio_mig_identity identity = {
	.name = "dirty-sim",
	.vendor = 0x1234,
	.device = 0xd512,
	.subvendor = 0x1234,
	.subdevice = 0xd512 + PAGES,
	.version = 1,
	.oldest = 1,
	.sections = types,
	.nr_sections = 2,
};

/* Whatever must not happen */
#define MUST(_true)							\
	do {								\
		if (!(_true)) {						\
			fprintf(stderr, "not so: %s\n", #_true);	\
			abort();					\
		}							\
	} while (0)

/**
 * struct taken - what a parser gave, and what a writer makes of that
 * @payload: of the section that is read; exactly as large as it has to be, so that
 *	     a byte more is seen
 * @length: bytes at @payload
 * @type: of that section
 * @w: writer of @again
 * @again: the stream as it should have been written
 * @len: its length
 * @size: room for it
 */
struct taken {
	u8 *payload;
	u32 length;
	u32 type;
	struct mig_writer w;
	u8 *again;
	size_t len;
	size_t size;
};

static inline int taken_begin(void *ctx, const struct vfio_mig_section_type *type,
			      u32 length, void **payload)
{
	struct taken *t = ctx;

	MUST(length <= type->max);
	free(t->payload);
	t->payload = malloc(length);
	MUST(t->payload || !length);
	t->length = length;
	t->type = type->type;
	*payload = t->payload;
	return 0;
}

static inline int taken_end(void *ctx)
{
	struct taken *t = ctx;

	MUST(t->len + MIG_SECTION_SIZE + t->length <= t->size);
	mig_write_section(&t->w, t->again + t->len, t->type, t->payload,
			  t->length);
	t->len += MIG_SECTION_SIZE;
	if (t->length)
		memcpy(t->again + t->len, t->payload, t->length);
	t->len += t->length;
	return 0;
}

static const struct mig_sink taken_sink = { taken_begin, taken_end };

/* Read a stream in portions of @step bytes; what is accepted is what is written */
static inline int judge(const u8 *data, size_t len, size_t step)
{
	struct taken t = { .size = len + MIG_HEADER_SIZE };
	struct mig_parser p;
	size_t at, n;
	int rc;

	t.again = malloc(t.size);
	MUST(t.again);
	mig_write_header(&t.w, t.again, &identity);
	t.len = MIG_HEADER_SIZE;

	mig_parse_init(&p, &identity, &taken_sink, &t);
	for (at = 0; at < len; at += n) {
		n = len - at < step ? len - at : step;
		rc = mig_parse(&p, data + at, n);
		MUST(rc == p.error);
		if (rc)
			break;
	}
	rc = mig_parse_finish(&p);
	MUST(mig_parse(&p, data, len) == (rc ? rc : len ? -E2BIG : 0));
	if (!rc) {
		mig_write_end(&t.w, t.again + t.len);
		t.len += MIG_SECTION_SIZE + MIG_END_SIZE;
		MUST(t.len == len && !memcmp(t.again, data, len));
	}
	free(t.payload);
	free(t.again);
	return rc;
}

#endif
