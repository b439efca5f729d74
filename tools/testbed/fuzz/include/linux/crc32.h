/* SPDX-License-Identifier: GPL-2.0 */
/* CRC-32C by bytes: the value is inverted neither before nor after */
#ifndef FUZZ_CRC32_H
#define FUZZ_CRC32_H

#include <linux/types.h>

static inline u32 crc32c(u32 crc, const void *data, size_t len)
{
	static u32 table[256];
	const u8 *p = data;
	u32 i, bit, entry;

	if (!table[1]) {
		for (i = 0; i < 256; i++) {
			entry = i;
			for (bit = 0; bit < 8; bit++)
				entry = (entry >> 1) ^
					(entry & 1 ? 0x82f63b78 : 0);
			table[i] = entry;
		}
	}
	while (len--)
		crc = table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return crc;
}

#endif
