/* SPDX-License-Identifier: GPL-2.0 */
/* What stream.c uses of the kernel, for user space */
#ifndef FUZZ_UNALIGNED_H
#define FUZZ_UNALIGNED_H

#include <linux/types.h>

static inline u64 get_le(const u8 *p, int bytes)
{
	u64 value = 0;

	while (bytes--)
		value = value << 8 | p[bytes];
	return value;
}

static inline void put_le(u64 value, u8 *p, int bytes)
{
	for (; bytes--; value >>= 8)
		*p++ = value;
}

#define get_unaligned_le16(p)		((u16)get_le(p, 2))
#define get_unaligned_le32(p)		((u32)get_le(p, 4))
#define get_unaligned_le64(p)		get_le(p, 8)
#define put_unaligned_le16(value, p)	put_le(value, p, 2)
#define put_unaligned_le32(value, p)	put_le(value, p, 4)
#define put_unaligned_le64(value, p)	put_le(value, p, 8)

#endif
