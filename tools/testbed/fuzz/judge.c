// SPDX-License-Identifier: GPL-2.0-only
/*
 *	judge make DIR		good streams, for the fuzzer to begin with
 *	judge FILE...		for each file: the errno with which it is refused,
 *				0 when it is not, and its name
 */
#include "streams.h"

#define ROOM	(1 << 20)

static u8 data[ROOM];

static void make(const char *dir, unsigned int pages, bool regs)
{
	static u8 payload[PAGE_SIZE];
	struct mig_writer w;
	char path[4096];
	size_t len = MIG_HEADER_SIZE;
	unsigned int i;
	FILE *f;

	mig_write_header(&w, data, &identity);
	for (i = 0; i < pages; i++) {
		put_unaligned_le32(i, payload);
		mig_write_section(&w, data + len, 2, payload, PAGE_SIZE);
		memcpy(data + len + MIG_SECTION_SIZE, payload, PAGE_SIZE);
		len += MIG_SECTION_SIZE + PAGE_SIZE;
	}
	if (regs) {
		memset(payload, 0, REGS_SIZE);
		/* the memory's size */
		put_unaligned_le32(PAGES, payload + 64);
		mig_write_section(&w, data + len, 1, payload, REGS_SIZE);
		memcpy(data + len + MIG_SECTION_SIZE, payload, REGS_SIZE);
		len += MIG_SECTION_SIZE + REGS_SIZE;
	}
	mig_write_end(&w, data + len);
	len += MIG_SECTION_SIZE + MIG_END_SIZE;

	snprintf(path, sizeof(path), "%s/pages-%u%s", dir, pages,
		 regs ? "-regs" : "");
	f = fopen(path, "w");
	if (!f || fwrite(data, 1, len, f) != len || fclose(f)) {
		perror(path);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	size_t len;
	FILE *f;
	int i;

	if (argc == 3 && !strcmp(argv[1], "make")) {
		for (i = 0; i < 3; i++) {
			make(argv[2], i, true);
			make(argv[2], i, false);
		}
		return 0;
	}
	for (i = 1; i < argc; i++) {
		f = fopen(argv[i], "r");
		if (!f) {
			perror(argv[i]);
			return 1;
		}
		len = fread(data, 1, ROOM, f);
		fclose(f);
		printf("%d %s\n", -judge(data, len, 4096), argv[i]);
	}
	return 0;
}
