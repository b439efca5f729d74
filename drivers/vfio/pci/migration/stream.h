/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The stream that carries a device's state: what its bytes are, and reading them
 *
 * Documentation/driver-api/vfio-migration-stream.rst is the specification.  This
 * file and stream.c use no other part of the kernel than the CRC, so that they
 * can be compiled, and attacked, in user space.
 */
#ifndef _VFIO_MIGRATION_STREAM_H
#define _VFIO_MIGRATION_STREAM_H

#include <linux/types.h>

#define MIG_STREAM_FORMAT	1

#define MIG_HEADER_SIZE		64
#define MIG_NAME_SIZE		24	/* with the zeroes behind it */
#define MIG_SECTION_SIZE	20	/* the header of a section */
#define MIG_END_SIZE		16	/* the payload of the end mark */

/* A section's type; 0 is the end mark's */
#define MIG_SECTION_END		0

struct vfio_mig_identity;
struct vfio_mig_section_type;

/**
 * struct mig_writer - what the end mark and the sections' headers need to know
 * @length: bytes of the stream so far
 * @crc: their CRC, not yet inverted
 * @seq: sections so far
 */
struct mig_writer {
	u64 length;
	u32 crc;
	u32 seq;
};

void mig_write_header(struct mig_writer *w, u8 out[MIG_HEADER_SIZE],
		      const struct vfio_mig_identity *id);
void mig_write_section(struct mig_writer *w, u8 out[MIG_SECTION_SIZE],
		       u32 type, const void *payload, u32 length);
void mig_write_end(struct mig_writer *w,
		   u8 out[MIG_SECTION_SIZE + MIG_END_SIZE]);

/**
 * struct mig_sink - who takes the sections of a stream that is read
 * @begin: a section that the device knows begins: tell where to put its payload,
 *	   @length bytes, which is no more than its type allows
 * @end: the payload is there, and its CRC is right
 *
 * Either may fail with an errno, with which the stream is refused.
 */
struct mig_sink {
	int (*begin)(void *ctx, const struct vfio_mig_section_type *type,
		     u32 length, void **payload);
	int (*end)(void *ctx);
};

enum mig_stage {
	MIG_STAGE_HEADER,
	MIG_STAGE_SECTION,
	MIG_STAGE_PAYLOAD,
	MIG_STAGE_DONE,
};

/**
 * struct mig_parser - a stream that is being read
 * @id: of the device that is to take it
 * @sink: who takes the sections
 * @ctx: handed to @sink
 * @error: why the stream was refused; nothing is read any more
 * @stage: what comes next in the stream
 * @have: bytes of that so far
 * @want: bytes that it has
 * @buf: where they go, unless it is a payload
 * @payload: where the payload goes
 * @payload_crc: what its CRC has to be
 * @type: of the section; NULL is the end mark
 * @version: the state's version, once the header was read
 * @features: the features that it uses
 * @seen: bit n set: a section of id->sections[n] was there
 * @seq: sections so far
 * @length: bytes so far, up to the header of the section that is read
 * @crc: their CRC, not yet inverted
 *
 * Neither allocates nor locks; calls must not overlap.
 */
struct mig_parser {
	const struct vfio_mig_identity *id;
	const struct mig_sink *sink;
	void *ctx;
	int error;
	enum mig_stage stage;
	u32 have;
	u32 want;
	u8 buf[MIG_HEADER_SIZE];
	u8 *payload;
	u32 payload_crc;
	const struct vfio_mig_section_type *type;
	u16 version;
	u64 features;
	u64 seen;
	u32 seq;
	u64 length;
	u32 crc;
};

void mig_parse_init(struct mig_parser *p, const struct vfio_mig_identity *id,
		    const struct mig_sink *sink, void *ctx);
int mig_parse(struct mig_parser *p, const void *data, size_t len);
int mig_parse_finish(struct mig_parser *p);
int mig_check_identity(const struct vfio_mig_identity *id,
		       const struct vfio_mig_identity *of);
const char *mig_refusal(int error);

#endif
