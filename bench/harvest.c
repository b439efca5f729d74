// SPDX-License-Identifier: GPL-2.0-only
/*
 * harvest REPEATS GB...: measures, in a test machine, what it costs to read dirty
 * pages over the simulator, and what its DMA costs. Prints for bench/report:
 *
 *	kernel RELEASE
 *	get FORMAT LEAVES DIRTY NS	one IOMMU_HWPT_GET_DIRTY_BITMAP, for each
 *					size of the guest
 *	fill FORMAT PAGES NS		FILL of that many clean 4 KiB pages, for
 *					the first size
 *	none FORMAT			no dirty tracking for it in this kernel
 *	done
 *
 * No time is printed before its result was compared with what the device wrote,
 * bit by bit: a kernel that forgets pages is quick.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <sys/param.h>
#include <sys/utsname.h>

#include "dsim_user.h"

#define NAME		"bench"
/* Mapped again and again, so that a large guest needs little memory */
#define MEMORY		(64UL << 20)

static const char * const formats[] = { "vtdss", "amdv1", "x86_64", "armlpae" };
/* What a full ring can make dirty */
#define MAX_GB		64
/* One page of so many is dirty; 0 is none */
static const size_t every[] = { 0, 100, 1 };

struct bench {
	const char *format;
	size_t leaves;
	struct vm vm;
	struct dsim dev;
	unsigned long *want, *got;
};

static void must(const struct bench *b, const char *what, int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "error: %s: %s: %s\n", b->format, what, strerror(-rc));
	exit(1);
}

static unsigned long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* False when this kernel does not track dirty pages in this format */
static bool setup(struct bench *b)
{
	struct dsim_config config = { .format = b->format, .page_sizes = SZ_4K };
	struct vm *vm = &b->vm;
	int rc;

	must(b, "open iommufd", vm_create(vm));
	must(b, "make a device", dsim_create(&b->dev, NAME, &config));
	must(b, "open the device", dsim_open(&b->dev));
	must(b, "bind the device", dsim_bind(&b->dev, vm->iommufd));
	rc = vm_alloc_hwpt(vm, &b->dev, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
			   &vm->hwpt);
	if (rc == -EOPNOTSUPP)
		return false;
	must(b, "make a page table", rc);
	must(b, "attach", dsim_attach(&b->dev, vm->hwpt));

	must(b, "get memory", vm_alloc_memory(vm, MEMORY, false));
	must(b, "map memory", vm_map_memory(vm));
	for (size_t at = MEMORY; at < b->leaves * SZ_4K; at += MEMORY)
		must(b, "map memory again",
		     vm_map(vm, DATA_IOVA + at, vm->data, MEMORY, MAP_RW));

	b->want = calloc(b->leaves / 64, sizeof(*b->want));
	b->got = calloc(b->leaves / 64, sizeof(*b->got));
	if (!b->want || !b->got)
		must(b, "get bitmaps", -ENOMEM);
	must(b, "start the device", dsim_start(&b->dev, vm->ring));
	must(b, "start tracking", vm_track(vm, vm->hwpt, true));
	return true;
}

static void teardown(struct bench *b)
{
	dsim_close(&b->dev);
	vm_destroy(&b->vm);
	must(b, "remove the device", dsim_remove(NAME));
	free(b->want);
	free(b->got);
}

/* What the device has written since the last call */
static unsigned long long read_dirty(struct bench *b)
{
	size_t lost = 0, extra = 0;
	unsigned long long ns;
	int rc;

	/* touches all of it too: no page fault is measured */
	memset(b->got, 0, b->leaves / 8);
	ns = now_ns();
	rc = vm_get_dirty(&b->vm, b->vm.hwpt, DATA_IOVA, b->leaves * SZ_4K, 0,
			  b->got);
	ns = now_ns() - ns;
	must(b, "read dirty pages", rc);

	for (size_t i = 0; i < b->leaves / 64; i++) {
		lost += __builtin_popcountl(b->want[i] & ~b->got[i]);
		extra += __builtin_popcountl(b->got[i] & ~b->want[i]);
	}
	if (lost || extra) {
		fprintf(stderr, "error: %s: %zu pages lost, %zu not written\n",
			b->format, lost, extra);
		exit(1);
	}
	return ns;
}

static void dma(struct bench *b, const struct dsim_desc *desc, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dsim_put(&b->dev, &desc[i]);
	must(b, "ring the doorbell", dsim_kick(&b->dev));
	must(b, "wait for the device", dsim_wait(&b->dev));
}

/* Make every @step-th page dirty */
static void write_pages(struct bench *b, size_t step)
{
	struct dsim_desc desc[RING_ENTRIES] = {};
	size_t left = (b->leaves + step - 1) / step, n = 0;

	for (unsigned long dst = DATA_IOVA; left; n++) {
		desc[n].op = DSIM_OP_SCATTER;
		desc[n].dst = dst;
		desc[n].stride = step * SZ_4K;
		desc[n].count = left < DSIM_MAX_COUNT ? left : DSIM_MAX_COUNT;
		dst += (unsigned long)desc[n].count * desc[n].stride;
		left -= desc[n].count;
	}
	dma(b, desc, n);
}

static void measure_get(struct bench *b, size_t step, unsigned int repeats)
{
	size_t dirty = 0;

	memset(b->want, 0, b->leaves / 8);
	for (size_t i = 0; step && i < b->leaves; i += step, dirty++)
		b->want[i / 64] |= 1UL << (i % 64);

	while (repeats--) {
		if (step)
			write_pages(b, step);
		printf("get %s %zu %zu %llu\n", b->format, b->leaves, dirty,
		       read_dirty(b));
	}
}

static void measure_fill(struct bench *b, unsigned int repeats)
{
	/* A ring full at most: how much there is more says nothing */
	size_t n = MIN(b->leaves * SZ_4K / DSIM_MAX_LEN, RING_ENTRIES);
	size_t pages = n * DSIM_MAX_LEN / SZ_4K;
	struct dsim_desc desc[RING_ENTRIES] = {};
	unsigned long long ns;

	memset(b->want, 0, b->leaves / 8);
	memset(b->want, 0xff, pages / 8);
	while (repeats--) {
		for (size_t i = 0; i < n; i++) {
			desc[i].op = DSIM_OP_FILL;
			desc[i].dst = DATA_IOVA + i * DSIM_MAX_LEN;
			desc[i].len = DSIM_MAX_LEN;
			desc[i].value = repeats + 1;
		}
		ns = now_ns();
		dma(b, desc, n);
		ns = now_ns() - ns;
		for (size_t i = 0; i < MEMORY; i += sizeof(__u64))
			if (*(__u64 *)(b->vm.data + i) != repeats + 1)
				must(b, "FILL left other data", -EIO);
		read_dirty(b);
		printf("fill %s %zu %llu\n", b->format, pages, ns);
	}
}

int main(int argc, char **argv)
{
	int repeats = argc > 2 ? atoi(argv[1]) : 0;
	struct utsname name;

	if (repeats < 1)
		return 2;
	for (int s = 2; s < argc; s++)
		if (atoi(argv[s]) < 1 || atoi(argv[s]) > MAX_GB)
			return 2;
	uname(&name);
	printf("kernel %s\n", name.release);
	for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
		for (int s = 2; s < argc; s++) {
			struct bench b = {
				.format = formats[f],
				.leaves = (size_t)atoi(argv[s]) << 30 >> 12,
			};
			bool tracks = setup(&b);

			if (tracks) {
				read_dirty(&b);	/* cold caches: not counted */
				for (size_t e = 0; e < ARRAY_LEN(every); e++)
					measure_get(&b, every[e], repeats);
				if (s == 2)
					measure_fill(&b, repeats);
			} else {
				printf("none %s\n", b.format);
			}
			teardown(&b);
		}
	}
	printf("done\n");
	return 0;
}
