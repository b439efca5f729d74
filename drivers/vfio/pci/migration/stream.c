// SPDX-License-Identifier: GPL-2.0-only
/*
 * The stream that carries a device's state: writing and reading its bytes
 *
 * What is read is hostile.  Nothing of a header is believed before its CRC was
 * found right, but for what tells the format itself, and no length before it was
 * held against what the device allows.  A CRC finds accidents, not malice: with
 * each of them right, everything else is still checked.
 */
#include <kunit/visibility.h>
#include <linux/crc32.h>
#include <linux/errno.h>
#include <linux/string.h>
#include <linux/unaligned.h>
#include <linux/vfio_pci_migration.h>

#include "stream.h"

static const u8 magic[8] = "VFIOMIG";

/* Where things are; the specification has the same numbers */
enum header {
	H_MAGIC = 0,
	H_FORMAT = 8,
	H_VERSION = 10,
	H_ZERO = 12,
	H_VENDOR = 16,
	H_DEVICE = 18,
	H_SUBVENDOR = 20,
	H_SUBDEVICE = 22,
	H_FEATURES = 24,
	H_NAME = 32,
	H_CRC = H_NAME + MIG_NAME_SIZE + 4,
};

enum section {
	S_TYPE = 0,
	S_SEQ = 4,
	S_LENGTH = 8,
	S_PAYLOAD_CRC = 12,
	S_CRC = 16,
};

enum end {
	E_LENGTH = 0,
	E_CRC = 8,
	E_ZERO = 12,
};

static u32 crc_of(const void *data, size_t len)
{
	return ~crc32c(~0U, data, len);
}

static u32 crc_at(const u8 *data, unsigned int at)
{
	return get_unaligned_le32(data + at);
}

/* ---- Writing ---- */

static void written(struct mig_writer *w, const void *data, size_t len)
{
	w->length += len;
	w->crc = crc32c(w->crc, data, len);
}

/**
 * mig_write_header() - Begin a stream
 * @w: initialised here
 * @out: the bytes
 * @id: whose state it will hold
 */
void mig_write_header(struct mig_writer *w, u8 out[MIG_HEADER_SIZE],
		      const struct vfio_mig_identity *id)
{
	memset(out, 0, MIG_HEADER_SIZE);
	memcpy(out + H_MAGIC, magic, sizeof(magic));
	put_unaligned_le16(MIG_STREAM_FORMAT, out + H_FORMAT);
	put_unaligned_le16(id->version, out + H_VERSION);
	put_unaligned_le16(id->vendor, out + H_VENDOR);
	put_unaligned_le16(id->device, out + H_DEVICE);
	put_unaligned_le16(id->subvendor, out + H_SUBVENDOR);
	put_unaligned_le16(id->subdevice, out + H_SUBDEVICE);
	put_unaligned_le64(id->features, out + H_FEATURES);
	memcpy(out + H_NAME, id->name, strlen(id->name));
	put_unaligned_le32(crc_of(out, H_CRC), out + H_CRC);

	*w = (struct mig_writer){ .crc = ~0U };
	written(w, out, MIG_HEADER_SIZE);
}
EXPORT_SYMBOL_IF_KUNIT(mig_write_header);

/**
 * mig_write_section() - Begin a section, and account for all of it
 * @w: the stream
 * @out: the bytes of its header; the payload is to follow
 * @type: its kind
 * @payload: the payload
 * @length: bytes at @payload
 */
void mig_write_section(struct mig_writer *w, u8 out[MIG_SECTION_SIZE],
		       u32 type, const void *payload, u32 length)
{
	put_unaligned_le32(type, out + S_TYPE);
	put_unaligned_le32(w->seq++, out + S_SEQ);
	put_unaligned_le32(length, out + S_LENGTH);
	put_unaligned_le32(crc_of(payload, length), out + S_PAYLOAD_CRC);
	put_unaligned_le32(crc_of(out, S_CRC), out + S_CRC);
	written(w, out, MIG_SECTION_SIZE);
	written(w, payload, length);
}
EXPORT_SYMBOL_IF_KUNIT(mig_write_section);

/**
 * mig_write_end() - End a stream
 * @w: the stream
 * @out: the bytes
 */
void mig_write_end(struct mig_writer *w,
		   u8 out[MIG_SECTION_SIZE + MIG_END_SIZE])
{
	u8 *end = out + MIG_SECTION_SIZE;

	put_unaligned_le64(w->length, end + E_LENGTH);
	put_unaligned_le32(~w->crc, end + E_CRC);
	put_unaligned_le32(0, end + E_ZERO);
	mig_write_section(w, out, MIG_SECTION_END, end, MIG_END_SIZE);
}
EXPORT_SYMBOL_IF_KUNIT(mig_write_end);

/* ---- Reading ---- */

static void expect(struct mig_parser *p, enum mig_stage stage, u32 want)
{
	p->stage = stage;
	p->have = 0;
	p->want = want;
}

/**
 * mig_parse_init() - Begin to read a stream
 * @p: the parser
 * @id: of the device that is to take it
 * @sink: who takes the sections
 * @ctx: handed to @sink
 */
void mig_parse_init(struct mig_parser *p, const struct vfio_mig_identity *id,
		    const struct mig_sink *sink, void *ctx)
{
	*p = (struct mig_parser){
		.id = id,
		.sink = sink,
		.ctx = ctx,
		.crc = ~0U,
	};
	expect(p, MIG_STAGE_HEADER, MIG_HEADER_SIZE);
}
EXPORT_SYMBOL_IF_KUNIT(mig_parse_init);

/**
 * mig_check_identity() - Would a device load what another one saves?
 * @id: the one that loads
 * @of: the one that saves, as far as a stream tells
 *
 * Return: 0, or
 * * -ENODEV: another kind of device or of state
 * * -EPROTONOSUPPORT: newer than what it knows
 * * -ESTALE: older than what it still knows
 * * -EOPNOTSUPP: makes use of a feature that it does not have
 */
int mig_check_identity(const struct vfio_mig_identity *id,
		       const struct vfio_mig_identity *of)
{
	if (strcmp(of->name, id->name) ||
	    of->vendor != id->vendor || of->device != id->device ||
	    of->subvendor != id->subvendor || of->subdevice != id->subdevice)
		return -ENODEV;
	if (of->version > id->version)
		return -EPROTONOSUPPORT;
	if (of->version < id->oldest)
		return -ESTALE;
	if (of->features & ~id->features)
		return -EOPNOTSUPP;
	return 0;
}

static int parse_header(struct mig_parser *p)
{
	struct vfio_mig_identity of = {};
	char name[MIG_NAME_SIZE + 1] = {};
	const u8 *h = p->buf;
	unsigned int i;
	int rc;

	/* Another format may have its CRC elsewhere, or none */
	if (memcmp(h + H_MAGIC, magic, sizeof(magic)))
		return -EINVAL;
	if (get_unaligned_le16(h + H_FORMAT) != MIG_STREAM_FORMAT)
		return -EPROTONOSUPPORT;
	if (crc_of(h, H_CRC) != crc_at(h, H_CRC))
		return -EBADMSG;
	if (get_unaligned_le32(h + H_ZERO) ||
	    get_unaligned_le32(h + H_CRC - 4))
		return -EPROTO;

	memcpy(name, h + H_NAME, MIG_NAME_SIZE);
	for (i = strlen(name); i < MIG_NAME_SIZE; i++)
		if (name[i])
			return -EPROTO;
	of.name = name;
	of.vendor = get_unaligned_le16(h + H_VENDOR);
	of.device = get_unaligned_le16(h + H_DEVICE);
	of.subvendor = get_unaligned_le16(h + H_SUBVENDOR);
	of.subdevice = get_unaligned_le16(h + H_SUBDEVICE);
	of.version = get_unaligned_le16(h + H_VERSION);
	of.features = get_unaligned_le64(h + H_FEATURES);
	rc = mig_check_identity(p->id, &of);
	if (rc)
		return rc;

	p->version = of.version;
	p->features = of.features;
	p->length = MIG_HEADER_SIZE;
	p->crc = crc32c(p->crc, h, MIG_HEADER_SIZE);
	expect(p, MIG_STAGE_SECTION, MIG_SECTION_SIZE);
	return 0;
}

static int find_type(struct mig_parser *p, u32 type)
{
	unsigned int i;

	for (i = 0; i != p->id->nr_sections; i++) {
		p->type = &p->id->sections[i];
		if (p->type->type != type)
			continue;
		if (p->seen & (1ULL << i) && !p->type->repeats)
			return -EEXIST;
		p->seen |= 1ULL << i;
		return 0;
	}
	return -EPROTO;
}

static int parse_section(struct mig_parser *p)
{
	const u8 *s = p->buf;
	u32 type, length;
	int rc;

	if (crc_of(s, S_CRC) != crc_at(s, S_CRC))
		return -EBADMSG;
	/* It has to be the next, whatever it is */
	if (get_unaligned_le32(s + S_SEQ) != p->seq)
		return -EILSEQ;
	p->seq++;
	type = get_unaligned_le32(s + S_TYPE);
	length = get_unaligned_le32(s + S_LENGTH);
	p->payload_crc = crc_at(s, S_PAYLOAD_CRC);

	if (type == MIG_SECTION_END) {
		if (length != MIG_END_SIZE)
			return -EMSGSIZE;
		p->type = NULL;
		p->payload = p->buf;
	} else {
		rc = find_type(p, type);
		if (rc)
			return rc;
		if (length > p->type->max)
			return -EMSGSIZE;
		rc = p->sink->begin(p->ctx, p->type, length,
				    (void **)&p->payload);
		if (rc)
			return rc;
		p->length += MIG_SECTION_SIZE;
		p->crc = crc32c(p->crc, s, MIG_SECTION_SIZE);
	}
	expect(p, MIG_STAGE_PAYLOAD, length);
	return 0;
}

static int parse_end(struct mig_parser *p)
{
	const u8 *e = p->payload;
	unsigned int i;

	if (get_unaligned_le32(e + E_ZERO))
		return -EPROTO;
	/* Every part was right by itself; are they all of one stream? */
	if (get_unaligned_le64(e + E_LENGTH) != p->length ||
	    crc_at(e, E_CRC) != ~p->crc)
		return -EBADMSG;
	for (i = 0; i != p->id->nr_sections; i++)
		if (p->id->sections[i].required && !(p->seen & (1ULL << i)))
			return -ENOENT;
	expect(p, MIG_STAGE_DONE, 0);
	return 0;
}

static int parse_payload(struct mig_parser *p)
{
	int rc;

	if (crc_of(p->payload, p->want) != p->payload_crc)
		return -EBADMSG;
	if (!p->type)
		return parse_end(p);

	rc = p->sink->end(p->ctx);
	if (rc)
		return rc;
	p->length += p->want;
	p->crc = crc32c(p->crc, p->payload, p->want);
	expect(p, MIG_STAGE_SECTION, MIG_SECTION_SIZE);
	return 0;
}

static int parse_whole(struct mig_parser *p)
{
	switch (p->stage) {
	case MIG_STAGE_HEADER:
		return parse_header(p);
	case MIG_STAGE_SECTION:
		return parse_section(p);
	case MIG_STAGE_PAYLOAD:
		return parse_payload(p);
	default:
		return -E2BIG;
	}
}

/**
 * mig_parse() - Read more of a stream
 * @p: the parser
 * @data: the bytes that come next
 * @len: how many, in any portions
 *
 * Return: 0, or why the stream is refused, now and on each further call:
 * * -EINVAL: no stream of this kind at all
 * * -EPROTONOSUPPORT: its format, or what it holds, is newer
 * * -ENODEV, -ESTALE, -EOPNOTSUPP: see mig_check_identity()
 * * -EBADMSG: a CRC is wrong
 * * -EILSEQ: a section is missing, doubled or at the wrong place
 * * -EPROTO: a section, or a bit, that means nothing here
 * * -EEXIST: a second section of a kind of which there is one
 * * -EMSGSIZE: a section of impossible size
 * * -ENOENT: it ends without a section that has to be there
 * * -E2BIG: it goes on behind its end
 * * what the sink failed with
 */
int mig_parse(struct mig_parser *p, const void *data, size_t len)
{
	size_t n;

	while (len && !p->error) {
		if (p->stage == MIG_STAGE_DONE) {
			p->error = -E2BIG;
			break;
		}
		n = p->want - p->have;
		if (n > len)
			n = len;
		memcpy((p->stage == MIG_STAGE_PAYLOAD ? p->payload : p->buf) +
		       p->have, data, n);
		p->have += n;
		data += n;
		len -= n;
		/* a section of no bytes is whole as soon as it began */
		while (!p->error && p->have == p->want &&
		       p->stage != MIG_STAGE_DONE)
			p->error = parse_whole(p);
	}
	return p->error;
}
EXPORT_SYMBOL_IF_KUNIT(mig_parse);

/**
 * mig_parse_finish() - Was that all?
 * @p: the parser
 *
 * Return: 0 when the stream came to its end; -ENODATA when it did not; or why it
 * was refused before.
 */
int mig_parse_finish(struct mig_parser *p)
{
	if (!p->error && p->stage != MIG_STAGE_DONE)
		p->error = -ENODATA;
	return p->error;
}
EXPORT_SYMBOL_IF_KUNIT(mig_parse_finish);

/**
 * mig_refusal() - Say in words why a stream was refused
 * @error: what mig_parse() or mig_parse_finish() returned
 *
 * Return: the words.
 */
const char *mig_refusal(int error)
{
	switch (error) {
	case -EINVAL:
		return "it is no stream of a device's state";
	case -EPROTONOSUPPORT:
		return "it is newer than this driver";
	case -ENODEV:
		return "it is of another device";
	case -ESTALE:
		return "it is older than this driver can load";
	case -EOPNOTSUPP:
		return "it uses a feature that this device has not";
	case -EBADMSG:
		return "it is corrupt";
	case -EILSEQ:
		return "its sections are not in order";
	case -EPROTO:
		return "it holds something unknown";
	case -EEXIST:
		return "it holds a section twice";
	case -EMSGSIZE:
		return "a section has an impossible size";
	case -ENOENT:
		return "it lacks a section";
	case -E2BIG:
		return "it goes on behind its end";
	case -ENODATA:
		return "it is not whole";
	case -ERANGE:
		return "it holds an impossible state";
	case -ENOMEM:
		return "there is no memory to load it";
	default:
		return "the device did not take it";
	}
}
