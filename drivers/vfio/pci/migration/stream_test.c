// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the stream: each way in which one can be wrong is refused, with
 * the errno that the specification names
 */
#include <kunit/test.h>
#include <linux/crc32.h>
#include <linux/slab.h>
#include <linux/unaligned.h>
#include <linux/vfio_pci_migration.h>

#include "stream.h"

#define ONE	1	/* exactly once */
#define MANY	2	/* any number of times */
#define MAYBE	3	/* at most once */

static const struct vfio_mig_section_type types[] = {
	{ .type = ONE, .max = 8, .required = true },
	{ .type = MANY, .max = 100, .repeats = true },
	{ .type = MAYBE, .max = 4 },
};

static const struct vfio_mig_identity self = {
	.name = "test",
	.vendor = 0x1234,
	.device = 0x5678,
	.subvendor = 0x9abc,
	.subdevice = 0xdef0,
	.version = 7,
	.oldest = 5,
	.features = 0x8000000000000005,
	.sections = types,
	.nr_sections = ARRAY_SIZE(types),
};

/* Room for a stream, and for what a test does to it */
#define ROOM	1024

struct stream {
	struct mig_writer w;
	u8 b[ROOM];
	size_t len;
	/* where each section begins, the end mark too */
	size_t at[8];
	unsigned int nr;
};

static void add(struct stream *s, u32 type, const void *payload, u32 len)
{
	s->at[s->nr++] = s->len;
	mig_write_section(&s->w, s->b + s->len, type, payload, len);
	s->len += MIG_SECTION_SIZE;
	memcpy(s->b + s->len, payload, len);
	s->len += len;
}

static void begin(struct stream *s, const struct vfio_mig_identity *id)
{
	memset(s, 0, sizeof(*s));
	mig_write_header(&s->w, s->b, id);
	s->len = MIG_HEADER_SIZE;
}

static void end(struct stream *s)
{
	s->at[s->nr++] = s->len;
	mig_write_end(&s->w, s->b + s->len);
	s->len += MIG_SECTION_SIZE + MIG_END_SIZE;
}

static void make(struct stream *s)
{
	begin(s, &self);
	add(s, MANY, "abcdefghijkl", 12);
	add(s, ONE, "ONE", 3);
	add(s, MANY, "", 0);
	end(s);
}

static struct stream *make_stream(struct kunit *test)
{
	struct stream *s = kunit_kzalloc(test, sizeof(*s), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, s);
	make(s);
	return s;
}

/* What arrived, in the order in which it did */
struct got {
	u8 payload[100];
	u32 length;
	u32 type;
	char log[64];
	int begin_error;
	int end_error;
};

static int got_begin(void *ctx, const struct vfio_mig_section_type *type,
		     u32 length, void **payload)
{
	struct got *got = ctx;

	if (length > sizeof(got->payload))
		return -EFAULT;
	got->type = type->type;
	got->length = length;
	*payload = got->payload;
	return got->begin_error;
}

static int got_end(void *ctx)
{
	struct got *got = ctx;
	size_t used = strlen(got->log);

	snprintf(got->log + used, sizeof(got->log) - used, "%u:%.*s ",
		 got->type, (int)got->length, got->payload);
	return got->end_error;
}

static const struct mig_sink got_sink = { got_begin, got_end };

static int read_as(const struct vfio_mig_identity *id, const void *data,
		   size_t len, struct got *got)
{
	struct mig_parser p;

	memset(got, 0, sizeof(*got));
	mig_parse_init(&p, id, &got_sink, got);
	return mig_parse(&p, data, len) ?: mig_parse_finish(&p);
}

static int read_all(const void *data, size_t len)
{
	struct got got;

	return read_as(&self, data, len, &got);
}

static void sign(u8 *data, size_t len)
{
	put_unaligned_le32(~crc32c(~0U, data, len), data + len);
}

static void sign_section(u8 *section)
{
	put_unaligned_le32(~crc32c(~0U, section + MIG_SECTION_SIZE,
				   get_unaligned_le32(section + 8)),
			   section + 12);
	sign(section, 16);
}

static void sign_header(struct stream *s)
{
	sign(s->b, 60);
}

/* ---- The bytes themselves ---- */

/*
 * Written down by the specification's text and another program's CRC, so that
 * what is wrong in both directions does not go unseen.
 */
static const u8 golden[] = {
	0x56, 0x46, 0x49, 0x4f, 0x4d, 0x49, 0x47, 0x00,
	0x01, 0x00, 0x07, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x34, 0x12, 0x78, 0x56, 0xbc, 0x9a, 0xf0, 0xde,
	0x05, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x80,
	0x74, 0x65, 0x73, 0x74, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x71, 0x32, 0x08, 0xeb,
	0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x0c, 0x00, 0x00, 0x00, 0xd0, 0x33, 0x9a, 0x9b,
	0x5a, 0xbf, 0x7e, 0xde, 0x61, 0x62, 0x63, 0x64,
	0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c,
	0x01, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
	0x03, 0x00, 0x00, 0x00, 0x21, 0x24, 0xe6, 0x94,
	0xb5, 0xc0, 0x11, 0x68, 0x4f, 0x4e, 0x45, 0x02,
	0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x87,
	0x5f, 0x67, 0xc1, 0x00, 0x00, 0x00, 0x00, 0x03,
	0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0xb4,
	0x65, 0x62, 0x07, 0xde, 0x8e, 0xfa, 0xec, 0x8b,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x89,
	0x85, 0xba, 0x26, 0x00, 0x00, 0x00, 0x00,
};

static void stream_golden(struct kunit *test)
{
	struct stream *s = make_stream(test);

	KUNIT_ASSERT_EQ(test, s->len, sizeof(golden));
	KUNIT_EXPECT_MEMEQ(test, s->b, golden, sizeof(golden));
	KUNIT_EXPECT_EQ(test, read_all(golden, sizeof(golden)), 0);
	KUNIT_EXPECT_EQ(test, s->len,
			VFIO_MIG_STREAM_OVERHEAD +
			3 * VFIO_MIG_SECTION_OVERHEAD + 12 + 3);
}

static void stream_arrives(struct kunit *test)
{
	struct stream *s = make_stream(test);
	struct got got;

	KUNIT_EXPECT_EQ(test, read_as(&self, s->b, s->len, &got), 0);
	KUNIT_EXPECT_STREQ(test, got.log, "2:abcdefghijkl 1:ONE 2: ");
}

/* However it is cut */
static void stream_portions(struct kunit *test)
{
	struct stream *s = make_stream(test);
	struct mig_parser p;
	struct got got = {};
	size_t i;

	for (i = 0; i <= s->len; i++) {
		memset(&got, 0, sizeof(got));
		mig_parse_init(&p, &self, &got_sink, &got);
		KUNIT_ASSERT_EQ(test, mig_parse(&p, s->b, i), 0);
		KUNIT_ASSERT_EQ(test, mig_parse(&p, s->b + i, s->len - i), 0);
		KUNIT_ASSERT_EQ(test, mig_parse_finish(&p), 0);
		KUNIT_ASSERT_STREQ(test, got.log, "2:abcdefghijkl 1:ONE 2: ");
	}
	memset(&got, 0, sizeof(got));
	mig_parse_init(&p, &self, &got_sink, &got);
	for (i = 0; i != s->len; i++)
		KUNIT_ASSERT_EQ(test, mig_parse(&p, s->b + i, 1), 0);
	KUNIT_EXPECT_EQ(test, mig_parse_finish(&p), 0);
	KUNIT_EXPECT_STREQ(test, got.log, "2:abcdefghijkl 1:ONE 2: ");
}

/* ---- Accidents ---- */

static void stream_truncated(struct kunit *test)
{
	struct stream *s = make_stream(test);
	size_t i;

	for (i = 0; i != s->len; i++)
		KUNIT_EXPECT_EQ(test, read_all(s->b, i), -ENODATA);
}

static void stream_bit_flips(struct kunit *test)
{
	struct stream *s = make_stream(test);
	unsigned int bit;
	size_t i;
	int want;

	for (i = 0; i != s->len; i++) {
		want = i < 8 ? -EINVAL : i < 10 ? -EPROTONOSUPPORT : -EBADMSG;
		for (bit = 0; bit != 8; bit++) {
			s->b[i] ^= 1 << bit;
			KUNIT_EXPECT_EQ_MSG(test, read_all(s->b, s->len), want,
					    "byte %zu, bit %u", i, bit);
			s->b[i] ^= 1 << bit;
		}
	}
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), 0);
}

static void stream_goes_on(struct kunit *test)
{
	struct stream *s = make_stream(test);

	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len + 1), -E2BIG);
	memcpy(s->b + s->len, s->b, s->len);
	KUNIT_EXPECT_EQ(test, read_all(s->b, 2 * s->len), -E2BIG);
}

/* Sections as they are, each at every wrong place, left out, or twice */
static void stream_moved_sections(struct kunit *test)
{
	struct stream *s = make_stream(test);
	u8 *moved = kunit_kzalloc(test, ROOM, GFP_KERNEL);
	unsigned int order[6], i, j, k, nr;
	size_t len, n;

	KUNIT_ASSERT_NOT_NULL(test, moved);
	s->at[s->nr] = s->len;
	for (i = 0; i != s->nr; i++) {
		for (j = 0; j <= s->nr; j++) {
			/* without i, and then with one at j; nr: none */
			for (nr = 0, k = 0; k != s->nr; k++) {
				if (nr == j)
					order[nr++] = i;
				if (k != i)
					order[nr++] = k;
			}
			if (nr == j)
				order[nr++] = i;
			if (i == j)
				continue;
			memcpy(moved, s->b, MIG_HEADER_SIZE);
			len = MIG_HEADER_SIZE;
			for (k = 0; k != nr; k++) {
				n = s->at[order[k] + 1] - s->at[order[k]];
				memcpy(moved + len, s->b + s->at[order[k]], n);
				len += n;
			}
			/* all but the end mark, which then is not there */
			KUNIT_EXPECT_EQ_MSG(test, read_all(moved, len),
					    i == s->nr - 1 && j >= nr ?
					    -ENODATA : -EILSEQ,
					    "section %u at %u", i, j);
		}
		n = s->at[i + 1] - s->at[i];
		memcpy(moved, s->b, s->at[i + 1]);
		memcpy(moved + s->at[i + 1], s->b + s->at[i], s->len - s->at[i]);
		KUNIT_EXPECT_EQ_MSG(test, read_all(moved, s->len + n),
				    i == s->nr - 1 ? -E2BIG : -EILSEQ,
				    "section %u twice", i);
	}
}

/* Sections of another stream, each of them right */
static void stream_mixed(struct kunit *test)
{
	struct stream *s = make_stream(test);
	struct stream *other = make_stream(test);

	begin(other, &self);
	add(other, MANY, "ABCDEFGHIJKL", 12);
	memcpy(s->b + s->at[0], other->b + other->at[0], MIG_SECTION_SIZE + 12);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EBADMSG);
}

/* ---- Malice: every CRC is right ---- */

static void stream_header_fields(struct kunit *test)
{
	static const struct {
		const char *what;
		unsigned int at;
		u8 value;
		int want;
	} cases[] = {
		{ "magic", 0, 'v', -EINVAL },
		{ "format 0", 8, 0, -EPROTONOSUPPORT },
		{ "format 2", 8, 2, -EPROTONOSUPPORT },
		{ "version, newest", 10, 7, 0 },
		{ "version, newer", 10, 8, -EPROTONOSUPPORT },
		{ "version, much newer", 11, 1, -EPROTONOSUPPORT },
		{ "version, oldest", 10, 5, 0 },
		{ "version, older", 10, 4, -ESTALE },
		{ "zero", 12, 1, -EPROTO },
		{ "vendor", 16, 0, -ENODEV },
		{ "device", 18, 0, -ENODEV },
		{ "subvendor", 21, 0, -ENODEV },
		{ "subdevice", 23, 0, -ENODEV },
		{ "fewer features", 24, 1, 0 },
		{ "another feature", 24, 2, -EOPNOTSUPP },
		{ "a high feature", 31, 0x40, -EOPNOTSUPP },
		{ "name", 32, 'T', -ENODEV },
		{ "longer name", 36, 'x', -ENODEV },
		{ "behind the name", 55, 'x', -EPROTO },
		{ "second zero", 56, 1, -EPROTO },
	};
	struct stream *s = make_stream(test);
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(cases); i++) {
		/* the end mark speaks of the header too, so write all anew */
		make(s);
		s->b[cases[i].at] = cases[i].value;
		sign_header(s);
		put_unaligned_le32(~crc32c(~0U, s->b, s->at[3]),
				   s->b + s->at[3] + MIG_SECTION_SIZE + 8);
		sign_section(s->b + s->at[3]);
		KUNIT_EXPECT_EQ_MSG(test, read_all(s->b, s->len),
				    cases[i].want, "%s", cases[i].what);
	}
}

/* A name that fills its field, without a zero behind it */
static void stream_long_name(struct kunit *test)
{
	struct vfio_mig_identity id = self;
	struct stream *s = make_stream(test);
	struct got got;

	id.name = "abcdefghijklmnopqrstuvw";
	KUNIT_ASSERT_EQ(test, strlen(id.name), VFIO_MIG_MAX_NAME);
	begin(s, &id);
	add(s, ONE, "", 0);
	end(s);
	KUNIT_EXPECT_EQ(test, read_as(&id, s->b, s->len, &got), 0);
	s->b[55] = 'x';
	sign_header(s);
	KUNIT_EXPECT_EQ(test, read_as(&id, s->b, s->len, &got), -ENODEV);
}

static void stream_sections(struct kunit *test)
{
	struct stream *s = make_stream(test);
	u8 large[101] = {};

	begin(s, &self);
	add(s, ONE, large, 8);
	add(s, MANY, large, 100);
	end(s);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), 0);

	begin(s, &self);
	add(s, ONE, large, 9);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EMSGSIZE);

	begin(s, &self);
	add(s, MANY, large, 101);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EMSGSIZE);

	/* said to be huge; nothing of it has to come for it to be refused */
	begin(s, &self);
	add(s, MANY, large, 0);
	put_unaligned_le32(U32_MAX, s->b + s->at[0] + 8);
	sign(s->b + s->at[0], 16);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EMSGSIZE);

	begin(s, &self);
	add(s, 77, large, 1);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EPROTO);

	begin(s, &self);
	add(s, ONE, large, 1);
	add(s, MANY, large, 1);
	add(s, ONE, large, 1);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EEXIST);

	begin(s, &self);
	add(s, MAYBE, large, 1);
	add(s, MAYBE, large, 1);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EEXIST);

	begin(s, &self);
	add(s, MANY, large, 1);
	end(s);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -ENOENT);

	begin(s, &self);
	end(s);
	KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -ENOENT);
}

static void stream_sequence(struct kunit *test)
{
	struct stream *s = make_stream(test);
	unsigned int i;
	u8 *section;

	for (i = 0; i != s->nr; i++) {
		make(s);
		section = s->b + s->at[i];
		put_unaligned_le32(i + 1, section + 4);
		sign_section(section);
		KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EILSEQ);
		put_unaligned_le32(i - 1, section + 4);
		sign_section(section);
		KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EILSEQ);
	}
}

static void stream_end_mark(struct kunit *test)
{
	struct stream *s = make_stream(test);
	u8 *mark = s->b + s->at[3];
	unsigned int i;

	/* length and CRC of the stream */
	for (i = 0; i != 12; i++) {
		make(s);
		mark[MIG_SECTION_SIZE + i] ^= 1;
		sign_section(mark);
		KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EBADMSG);
	}
	for (i = 12; i != 16; i++) {
		make(s);
		mark[MIG_SECTION_SIZE + i] ^= 1;
		sign_section(mark);
		KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EPROTO);
	}
	for (i = 15; i <= 17; i += 2) {
		make(s);
		put_unaligned_le32(i, mark + 8);
		sign_section(mark);
		KUNIT_EXPECT_EQ(test, read_all(s->b, s->len), -EMSGSIZE);
	}
}

/* ---- Afterwards ---- */

static void stream_latched(struct kunit *test)
{
	struct stream *s = make_stream(test);
	struct mig_parser p;
	struct got got = {};

	mig_parse_init(&p, &self, &got_sink, &got);
	s->b[0] ^= 1;
	KUNIT_EXPECT_EQ(test, mig_parse(&p, s->b, s->len), -EINVAL);
	s->b[0] ^= 1;
	KUNIT_EXPECT_EQ(test, mig_parse(&p, s->b, s->len), -EINVAL);
	KUNIT_EXPECT_EQ(test, mig_parse(&p, s->b, 0), -EINVAL);
	KUNIT_EXPECT_EQ(test, mig_parse_finish(&p), -EINVAL);

	/* asked whether that was all, it was not, and more is no use */
	mig_parse_init(&p, &self, &got_sink, &got);
	KUNIT_EXPECT_EQ(test, mig_parse(&p, s->b, 10), 0);
	KUNIT_EXPECT_EQ(test, mig_parse_finish(&p), -ENODATA);
	KUNIT_EXPECT_EQ(test, mig_parse(&p, s->b + 10, s->len - 10), -ENODATA);
	KUNIT_EXPECT_STREQ(test, got.log, "");
}

static void stream_sink_refuses(struct kunit *test)
{
	struct stream *s = make_stream(test);
	struct got got = { .begin_error = -ENOMEM };
	struct mig_parser p;

	mig_parse_init(&p, &self, &got_sink, &got);
	KUNIT_EXPECT_EQ(test, mig_parse(&p, s->b, s->len), -ENOMEM);
	KUNIT_EXPECT_STREQ(test, got.log, "");

	got = (struct got){ .end_error = -ERANGE };
	mig_parse_init(&p, &self, &got_sink, &got);
	KUNIT_EXPECT_EQ(test, mig_parse(&p, s->b, s->len), -ERANGE);
	KUNIT_EXPECT_STREQ(test, got.log, "2:abcdefghijkl ");
	KUNIT_EXPECT_EQ(test, mig_parse_finish(&p), -ERANGE);
}

static struct kunit_case stream_cases[] = {
	KUNIT_CASE(stream_golden),
	KUNIT_CASE(stream_arrives),
	KUNIT_CASE(stream_portions),
	KUNIT_CASE(stream_truncated),
	KUNIT_CASE(stream_bit_flips),
	KUNIT_CASE(stream_goes_on),
	KUNIT_CASE(stream_moved_sections),
	KUNIT_CASE(stream_mixed),
	KUNIT_CASE(stream_header_fields),
	KUNIT_CASE(stream_long_name),
	KUNIT_CASE(stream_sections),
	KUNIT_CASE(stream_sequence),
	KUNIT_CASE(stream_end_mark),
	KUNIT_CASE(stream_latched),
	KUNIT_CASE(stream_sink_refuses),
	{}
};

static struct kunit_suite stream_suite = {
	.name = "vfio_mig_stream",
	.test_cases = stream_cases,
};

kunit_test_suite(stream_suite);

MODULE_IMPORT_NS("EXPORTED_FOR_KUNIT_TESTING");
