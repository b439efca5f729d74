// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks the parser of migration streams, by libFuzzer
 *
 * Changes at random get no further than the first CRC.  So after most of them every
 * CRC is set right again, and what is behind it gets its share.
 */
#include "streams.h"

size_t LLVMFuzzerMutate(u8 *data, size_t size, size_t max);

static void sign(u8 *data, size_t len)
{
	put_unaligned_le32(~crc32c(~0U, data, len), data + len);
}

/* Also the order: a section more or less is soon found by its number otherwise */
static void sign_all(u8 *data, size_t size, bool number)
{
	size_t at = MIG_HEADER_SIZE, payload;
	u32 seq = 0, length;

	if (size < MIG_HEADER_SIZE)
		return;
	sign(data, MIG_HEADER_SIZE - 4);
	for (; at + MIG_SECTION_SIZE <= size; at = payload + length) {
		payload = at + MIG_SECTION_SIZE;
		length = get_unaligned_le32(data + at + 8);
		if (number)
			put_unaligned_le32(seq++, data + at + 4);
		if (length <= size - payload) {
			if (!get_unaligned_le32(data + at) &&
			    length == MIG_END_SIZE) {
				put_unaligned_le64(at, data + payload);
				put_unaligned_le32(~crc32c(~0U, data, at),
						   data + payload + 8);
			}
			put_unaligned_le32(~crc32c(~0U, data + payload, length),
					   data + at + 12);
		}
		sign(data + at, MIG_SECTION_SIZE - 4);
		if (length > size - payload)
			break;
	}
}

size_t LLVMFuzzerCustomMutator(u8 *data, size_t size, size_t max,
			       unsigned int seed)
{
	size = LLVMFuzzerMutate(data, size, max);
	if (seed % 8)
		sign_all(data, size, seed % 16 > 8);
	return size;
}

/* However it is cut, it is the same stream */
int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	int rc = judge(data, size, size + 1);

	MUST(judge(data, size, 1) == rc);
	MUST(judge(data, size, 37) == rc);
	return 0;
}
