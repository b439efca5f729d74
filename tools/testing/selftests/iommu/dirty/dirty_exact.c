// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_HWPT_GET_DIRTY_BITMAP held to exactness: whatever the range, the page
 * size, the bitmap's place and its state, whoever reads at the same time and
 * whatever is unmapped, a page is reported when and only when it was written,
 * and nothing beside the bitmap changes.
 *
 * The unpatched kernel is wrong in many of these cases. On it, with
 * TESTBED_KERNEL=base, a test asserts that the defect it is about shows, and
 * ends as an expected failure that says what was seen. A test that finds
 * nothing wrong where something is known to be wrong fails.
 */
#include <fcntl.h>
#include <pthread.h>
#include <time.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kselftest_harness.h"
#include "dsim_user.h"
#include "../../../../../drivers/iommu/iommufd/iommufd_test.h"

#define NAME		"exact"

#define SZ_1G		0x40000000UL
#define SIZES_LARGE	(SZ_4K | SZ_2M | SZ_1G)
#define SIZES_MIXED	0x7f000UL

#define DATA_4K		(512 * SZ_4K)
#define DATA_2M		(4 * SZ_2M)

/* Room for other mappings, right behind the data */
#define EXTRA_PAGES	128UL
#define EXTRA_BYTES	(EXTRA_PAGES * SZ_4K)

/* A range whose bitmap fills three pages, and one for a page of 1G */
#define BITS_PER_PAGE	(SZ_4K * 8)
#define WIDE_IOVA	0x40000000UL
#define WIDE_PAGES	(3 * BITS_PER_PAGE)
#define GIGA_IOVA	0x80000000UL
#define GIGA_RESERVE                                                           \
	"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages"

#define PEEK		IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR

/*
 * The end of a test on the base kernel: its defect was seen, or it fails. What
 * failed before goes on being a failure. As with SKIP(), what comes first is
 * done last.
 */
#define KNOWN_ON_BASE(statement, seen, ...)                                    \
	do {                                                                   \
		snprintf(_metadata->results->reason,                           \
			 sizeof(_metadata->results->reason),                   \
			 "known on base: " __VA_ARGS__);                       \
		TH_LOG("%s", _metadata->results->reason);                      \
		ASSERT_TRUE(seen);                                             \
		if (_metadata->exit_code == KSFT_PASS)                         \
			_metadata->exit_code = KSFT_XFAIL;                     \
		statement;                                                     \
	} while (0)

/* ---- Asking, and judging the answer ---- */

/**
 * struct question - one call of IOMMU_HWPT_GET_DIRTY_BITMAP
 * @iova: first address
 * @length: of the range
 * @page_size: what a bit stands for, 0 for 4K
 * @flags: of the ioctl
 * @offset: where in a page the bitmap begins
 */
struct question {
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
	uint32_t flags;
	size_t offset;
};

/**
 * struct answer - and what is to be said of it
 * @rc: 0 or a negative errno
 * @lost: bits of what was written that are clear
 * @extra: bits of what was not written that are set
 * @outside: bytes that changed outside of the bitmap, counting bits of its
 *	     last byte that stand for nothing
 */
struct answer {
	int rc;
	size_t lost;
	size_t extra;
	size_t outside;
};

static bool test_bit(const void *map, size_t bit)
{
	return ((const uint8_t *)map)[bit / 8] >> (bit % 8) & 1;
}

static void set_bit(void *map, size_t bit)
{
	((uint8_t *)map)[bit / 8] |= 1 << (bit % 8);
}

/* Pages of @s become dirty. What shadow_wrote() does, without leaves. */
static void wrote(struct shadow *s, uint64_t iova, uint64_t len)
{
	uint64_t first = (iova - s->start) / SZ_4K;
	uint64_t last = (iova + len - 1 - s->start) / SZ_4K;

	for (; len && first <= last; first++)
		set_bit(s->want, first);
}

/* A window of pages without data */
static int window_init(struct shadow *s, struct vm *vm, uint64_t start,
		       uint64_t size)
{
	memset(s, 0, sizeof(*s));
	s->vm = vm;
	s->start = start;
	s->size = size;
	s->words = (size / SZ_4K + 63) / 64;
	s->want = calloc(s->words, 8);
	s->got = calloc(s->words, 8);
	return s->want && s->got ? 0 : -ENOMEM;
}

/* What lies around the bitmap; larger than any stray that is known */
#define GUARD		(4 * SZ_4K)

/*
 * Zeros and ones by turns, so that a bit which is set is seen and a byte which
 * is stored too; which comes first changes from call to call.
 */
static uint8_t guard_byte(size_t i, unsigned int turn)
{
	return ((i ^ turn) & 1) ? 0xff : 0;
}

/*
 * The bits that the range must have. @s knows every page that was written;
 * outside of it nothing was.
 */
static void expect_bits(const struct shadow *s, const struct question *q,
			uint8_t *bits)
{
	uint64_t end = q->iova + q->length - 1;

	for (size_t page = 0; page < s->size / SZ_4K; page++) {
		uint64_t first = s->start + page * SZ_4K;
		uint64_t last = first + SZ_4K - 1;

		if (!test_bit(s->want, page) || first > end || last < q->iova)
			continue;
		first = (first - q->iova) / q->page_size;
		last = (last - q->iova) / q->page_size;
		for (; first <= last; first++)
			set_bit(bits, first);
	}
}

/* What was read is to be read no more */
static void forget(struct shadow *s, uint64_t iova, uint64_t length)
{
	uint64_t end = iova + length - 1;

	for (size_t page = 0; page < s->size / SZ_4K; page++) {
		uint64_t at = s->start + page * SZ_4K;

		if (at >= iova && at <= end)
			s->want[page / 64] &= ~(1ULL << (page % 64));
	}
}

static struct answer ask(struct shadow *s, struct question q)
{
	static unsigned int turn;
	struct answer a = { .rc = -ENOMEM };
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.hwpt_id = s->vm->hwpt,
		.flags = q.flags,
		.iova = q.iova,
		.length = q.length,
		.page_size = q.page_size ?: SZ_4K,
	};
	uint64_t bits, bytes;
	uint8_t *buf, *map, *want;
	size_t size;

	q.page_size = get.page_size;
	bits = (q.length - 1) / q.page_size + 1;
	bytes = (bits + 7) / 8;
	size = 2 * GUARD + q.offset + bytes;
	buf = aligned_alloc(SZ_4K, (size + SZ_4K - 1) & ~(SZ_4K - 1));
	want = calloc(bytes, 1);
	if (!buf || !want)
		goto out;
	turn++;
	map = buf + GUARD + q.offset;
	for (uint8_t *p = buf; p < map; p++)
		*p = guard_byte(map - p, turn);
	for (uint8_t *p = map + bytes; p < buf + size; p++)
		*p = guard_byte(p - (map + bytes), turn);
	memset(map, 0, bytes);
	expect_bits(s, &q, want);

	get.data = (uintptr_t)map;
	a.rc = ioctl(s->vm->iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get) ?
	       -errno : 0;

	for (uint64_t i = 0; i < bytes; i++) {
		uint8_t valid = i == bits / 8 ? (1 << bits % 8) - 1 : 0xff;

		a.lost += __builtin_popcount(want[i] & ~map[i]);
		a.extra += __builtin_popcount(map[i] & ~want[i] & valid);
		a.outside += !!(map[i] & ~valid);
	}
	for (uint8_t *p = buf; p < map; p++)
		a.outside += *p != guard_byte(map - p, turn);
	for (uint8_t *p = map + bytes; p < buf + size; p++)
		a.outside += *p != guard_byte(p - (map + bytes), turn);

	if (!a.rc && !(q.flags & PEEK))
		forget(s, q.iova, q.length);
out:
	free(want);
	free(buf);
	return a;
}

/* Ours must be exact each time; what the base did wrong is added up */
static struct answer sum;

#define JUDGE(call)                                                            \
	do {                                                                   \
		struct answer _a = (call);                                     \
		ASSERT_EQ(0, _a.rc);                                           \
		sum.lost += _a.lost;                                           \
		sum.extra += _a.extra;                                         \
		sum.outside += _a.outside;                                     \
		if (!on_base()) {                                              \
			ASSERT_EQ(0, _a.lost);                                 \
			ASSERT_EQ(0, _a.extra);                                \
			ASSERT_EQ(0, _a.outside);                              \
		}                                                              \
	} while (0)

#define ASK_OF(s, ...)                                                         \
	JUDGE(ask(s, (struct question){ __VA_ARGS__ }))
#define ASK(...)	ASK_OF(&self->shadow, __VA_ARGS__)

/* All that is mapped from the start: the ring and the data */
#define ASK_ALL(...)                                                           \
	ASK(.iova = RING_IOVA,                                                 \
	    .length = LOW_BYTES + self->vm.data_size, ##__VA_ARGS__)

/* The same where the base is right too */
#define ASSERT_SO_FAR_SO_GOOD()                                                \
	do {                                                                   \
		ASSERT_EQ(0, sum.lost);                                        \
		ASSERT_EQ(0, sum.extra);                                       \
		ASSERT_EQ(0, sum.outside);                                     \
	} while (0)

/* ---- Over the simulator ---- */

FIXTURE(exact)
{
	struct dsim dev;
	struct vm vm;
	struct shadow shadow;
	uint64_t seed;
	bool reserved_1g;
};

FIXTURE_VARIANT(exact)
{
	struct dsim_config config;
	size_t data_size;
	bool huge;
	/* the base maps what is dirty already, until it is first read */
	bool born_dirty_on_base;
	/* the IOMMU sets accessed bits in entries that point to tables */
	bool accessed_tables;
};

FIXTURE_VARIANT_ADD(exact, vtdss_4k)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
	.accessed_tables = true,
};

FIXTURE_VARIANT_ADD(exact, vtdss_2m)
{
	.config = { .format = "vtdss", .page_sizes = SIZES_LARGE },
	.data_size = DATA_2M,
	.huge = true,
};

FIXTURE_VARIANT_ADD(exact, amdv1_4k)
{
	.config = { .format = "amdv1", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(exact, amdv1_2m)
{
	.config = { .format = "amdv1", .page_sizes = SIZES_LARGE },
	.data_size = DATA_2M,
	.huge = true,
};

/* Whatever leaves the contiguity of ordinary memory gives, all sizes mixed */
FIXTURE_VARIANT_ADD(exact, amdv1_mixed)
{
	.config = { .format = "amdv1", .page_sizes = SIZES_MIXED },
	.data_size = DATA_4K,
};

FIXTURE_VARIANT_ADD(exact, x86_64_4k)
{
	.config = { .format = "x86_64", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
	.accessed_tables = true,
};

FIXTURE_VARIANT_ADD(exact, x86_64_2m)
{
	.config = { .format = "x86_64", .page_sizes = SIZES_LARGE },
	.data_size = DATA_2M,
	.huge = true,
};

FIXTURE_VARIANT_ADD(exact, armlpae_4k)
{
	.config = { .format = "armlpae", .page_sizes = SZ_4K },
	.data_size = DATA_4K,
	.born_dirty_on_base = true,
};

FIXTURE_VARIANT_ADD(exact, armlpae_2m)
{
	.config = { .format = "armlpae", .page_sizes = SIZES_LARGE },
	.data_size = DATA_2M,
	.huge = true,
	.born_dirty_on_base = true,
};

#define BORN_DIRTY	(on_base() && variant->born_dirty_on_base)
#define LEAVES_ARE_4K	(variant->config.page_sizes == SZ_4K)

FIXTURE_SETUP(exact)
{
	size_t pages = variant->data_size / SZ_4K + EXTRA_PAGES;
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	size_t large = 0;

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base() && !strcmp(variant->config.format, "x86_64"))
		SKIP(return, "the base has no dirty tracking for x86_64");
	if (variant->huge && access("/sys/kernel/mm/hugepages", F_OK))
		SKIP(return, "this kernel has no huge pages");

	memset(&sum, 0, sizeof(sum));
	self->seed = 0x9e3779b97f4a7c15ULL;
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, vm_alloc_memory(vm, variant->data_size, variant->huge)) {
		if (variant->huge)
			TH_LOG("reserve %lu huge pages",
			       2 * variant->data_size / SZ_2M);
	}
	ASSERT_EQ(0, vm_learn_leaves(vm, variant->config.page_sizes, &large));
	if (variant->huge) {
		ASSERT_EQ(vm->data_size / SZ_4K, large);
	} else if (!LEAVES_ARE_4K && !large) {
		SKIP(return, "no two contiguous aligned pages in this memory");
	}

	ASSERT_EQ(0, dsim_create(d, NAME, &variant->config));
	ASSERT_EQ(0, dsim_open(d));
	ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
	ASSERT_EQ(0, vm_alloc_hwpt(vm, d, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				   &vm->hwpt));
	ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	ASSERT_EQ(0, vm_map_memory(vm));

	/* the window goes on behind the data, where tests map pages of 4K */
	ASSERT_EQ(0, shadow_init(s, vm));
	vm->leaf = realloc(vm->leaf, pages);
	ASSERT_NE(NULL, vm->leaf);
	memset(vm->leaf + pages - EXTRA_PAGES, 12, EXTRA_PAGES);
	free(s->want);
	s->size += EXTRA_BYTES;
	s->words = s->size / SZ_4K / 64 + 1;
	s->want = calloc(s->words, 8);
	ASSERT_NE(NULL, s->want);

	ASSERT_EQ(0, dsim_map_doorbell(d));
	ASSERT_EQ(0, dsim_start(d, vm->ring));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
}

static bool write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return ok;
}

FIXTURE_TEARDOWN(exact)
{
	shadow_free(&self->shadow);
	dsim_close(&self->dev);
	vm_destroy(&self->vm);
	if (self->reserved_1g)
		write_file(GIGA_RESERVE, "0");
	EXPECT_EQ(0, dsim_remove(NAME));
}

/*
 * The device writes 8 bytes to each of @count pages, @stride apart. The oracle
 * learns of its ring, and of the pages when they lie in its window.
 */
static int poke(struct dsim *d, struct shadow *s, uint64_t iova,
		uint32_t stride, uint32_t count)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_SCATTER,
		.dst = iova,
		.stride = stride,
		.count = count,
	};
	int rc;

	shadow_wrote(s, RING_IOVA + d->tail % RING_ENTRIES * sizeof(desc) +
		     offsetof(struct dsim_desc, status), 4);
	for (uint64_t i = 0; i < count; i++)
		if (iova >= s->start && iova < s->start + s->size)
			shadow_wrote(s, iova + i * stride, 8);
	rc = dsim_run(d, &desc);
	return rc == DSIM_DESC_DONE ? 0 : rc < 0 ? rc : -EIO;
}

#define POKE_PAGES(iova, count)                                                \
	ASSERT_EQ(0, poke(&self->dev, &self->shadow, iova, SZ_4K, count))
#define POKE(iova)	POKE_PAGES(iova, 1)

static struct dsim_desc random_write(uint64_t *seed, size_t size)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL,
		.len = 1 + rnd(seed) % (2 * SZ_4K),
	};

	if (rnd(seed) % 4 == 0) {
		desc.op = DSIM_OP_SCATTER;
		desc.count = 1 + rnd(seed) % 16;
		desc.stride = rnd(seed) % 2048 * 8;
		desc.len = 0;
	}
	desc.dst = DATA_IOVA + rnd(seed) % (size - 16 * 16384UL) / 8 * 8;
	return desc;
}

/* Queue it, and teach the oracle; the ring must have room */
static void queue_random(struct dsim *d, struct shadow *s, uint64_t *seed)
{
	struct dsim_desc desc = random_write(seed, s->vm->data_size);

	shadow_desc(s, d->tail, &desc);
	dsim_put(d, &desc);
}

static int random_writes(struct dsim *d, struct shadow *s, uint64_t *seed,
			 unsigned int n)
{
	while (n--)
		queue_random(d, s, seed);
	return dsim_kick(d) ?: dsim_wait(d);
}

/* A single area for each page, so that its leaf is one of 4K */
static int map_pages(struct vm *vm, uint64_t iova, void *mem, size_t pages,
		     uint32_t prot)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < pages; i++)
		rc = vm_map(vm, iova + i * SZ_4K, (uint8_t *)mem + i * SZ_4K,
			    SZ_4K, prot);
	return rc;
}

/* Memory for map_pages(): what of vm->ring is not the ring */
#define SPARE(vm)	((uint8_t *)(vm)->ring + RING_BYTES)

/* A leaf of more than one page, the largest: its size, or 0 */
static size_t largest_leaf(const struct vm *vm, uint64_t *iova)
{
	uint8_t best = 12;

	for (size_t i = 0; i < vm->data_size / SZ_4K; i++) {
		if (vm->leaf[i] <= best)
			continue;
		best = vm->leaf[i];
		*iova = DATA_IOVA + i * SZ_4K;
	}
	return best > 12 ? 1UL << best : 0;
}

/* ---- Bad memory for the bitmap ---- */

enum spoil { UNMAPPED, READ_ONLY, NO_ACCESS, SPOILS };

static int spoil(uint8_t *page, enum spoil how)
{
	switch (how) {
	case UNMAPPED:
		return munmap(page, SZ_4K);
	case READ_ONLY:
		return mprotect(page, SZ_4K, PROT_READ);
	default:
		return mprotect(page, SZ_4K, PROT_NONE);
	}
}

static bool all_zero(const uint8_t *p, size_t n)
{
	while (n--)
		if (*p++)
			return false;
	return true;
}

/*
 * One of three pages of the bitmap cannot be written: the call fails, and the
 * next one, with memory that is good, reports every page.
 */
TEST_F_TIMEOUT(exact, bitmap_page_is_bad, LONG)
{
	struct question all_of_it = {
		.iova = WIDE_IOVA,
		.length = WIDE_PAGES * SZ_4K,
	};
	struct vm *vm = &self->vm;
	struct shadow wide;
	size_t lost = 0;

	if (!LEAVES_ARE_4K)
		SKIP(return, "once for each format will do");
	ASSERT_EQ(0, window_init(&wide, vm, WIDE_IOVA, WIDE_PAGES * SZ_4K));
	for (uint64_t at = 0; at < wide.size; at += vm->data_size) {
		ASSERT_EQ(0, vm_map(vm, WIDE_IOVA + at, vm->data, vm->data_size,
				    MAP_RW));
	}
	/* what is mapped may be born dirty */
	ASSERT_EQ(0, ask(&wide, all_of_it).rc);

	for (int i = 0; i < 3 * SPOILS; i++) {
		enum spoil how = i / 3;
		unsigned int bad = i % 3;
		struct answer a;
		uint8_t *map;
		int rc;

		/* some pages for each page of the bitmap, and its very ends */
		for (uint64_t page = 3; page < WIDE_PAGES; page += 2503)
			wrote(&wide, WIDE_IOVA + page * SZ_4K, 8);
		ASSERT_EQ(0, poke(&self->dev, &self->shadow,
				  WIDE_IOVA + 3 * SZ_4K, 2503 * SZ_4K,
				  (WIDE_PAGES - 3 + 2502) / 2503));
		for (int end = 0; end < 3; end++) {
			uint64_t iova = WIDE_IOVA + end * BITS_PER_PAGE * SZ_4K;

			wrote(&wide, iova, 8);
			ASSERT_EQ(0, poke(&self->dev, &self->shadow, iova, 0,
					  1));
			iova += (BITS_PER_PAGE - 1) * SZ_4K;
			wrote(&wide, iova, 8);
			ASSERT_EQ(0, poke(&self->dev, &self->shadow, iova, 0,
					  1));
		}

		map = mmap(NULL, 3 * SZ_4K, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
		ASSERT_NE(MAP_FAILED, map);
		ASSERT_EQ(0, spoil(map + bad * SZ_4K, how));
		rc = vm_get_dirty(vm, vm->hwpt, WIDE_IOVA, wide.size, 0,
				  (uint64_t *)map);
		ASSERT_EQ(on_base() ? 0 : -EFAULT, rc);
		for (unsigned int page = 0; page < 3; page++) {
			if (page == bad)
				continue;
			if (!on_base()) {
				/* a read that fails gives nothing */
				ASSERT_TRUE(all_zero(map + page * SZ_4K,
						     SZ_4K));
			}
			for (size_t bit = 0; bit < BITS_PER_PAGE; bit++)
				if (test_bit(map + page * SZ_4K, bit))
					forget(&wide, WIDE_IOVA + SZ_4K *
					       (page * BITS_PER_PAGE + bit),
					       SZ_4K);
		}
		munmap(map, 3 * SZ_4K);

		all_of_it.offset = 8 * i;
		a = ask(&wide, all_of_it);
		ASSERT_EQ(0, a.rc);
		ASSERT_EQ(0, a.extra);
		ASSERT_EQ(0, a.outside);
		ASSERT_EQ(on_base(), a.lost > 0) {
			TH_LOG("lost %zu, bitmap page %u, how %d", a.lost, bad,
			       how);
		}
		lost += a.lost;
	}
	shadow_free(&wide);
	if (on_base())
		KNOWN_ON_BASE(return, lost, "returned 0, %zu pages gone", lost);
}

/* A bitmap that nothing is to be written to may be bad: there is no error */
TEST_F(exact, bitmap_is_bad_and_nothing_dirty)
{
	void *none = mmap(NULL, SZ_4K, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
			  -1, 0);

	ASSERT_NE(MAP_FAILED, none);
	ASK_ALL();
	ASSERT_EQ(0, vm_get_dirty(&self->vm, self->vm.hwpt, DATA_IOVA,
				  self->vm.data_size, 0, none));
	POKE(DATA_IOVA);
	/* nothing of this range either, though of its neighbour */
	ASSERT_EQ(0, vm_get_dirty(&self->vm, self->vm.hwpt,
				  RING_IOVA + RING_BYTES,
				  LOW_BYTES - RING_BYTES, 0, none));
	ASK_ALL();
	ASSERT_SO_FAR_SO_GOOD();
	munmap(none, SZ_4K);
}

/* Addresses that are no user's: refused, and nothing is taken */
TEST_F(exact, bitmap_is_not_the_users)
{
	static const uint64_t nowhere[] = {
		0, 8, 0xffff888000000000ULL, ~0ULL - 7, ~0ULL,
	};
	struct vm *vm = &self->vm;

	for (size_t i = 0; i < ARRAY_LEN(nowhere); i++) {
		POKE(DATA_IOVA);
		ASSERT_EQ(on_base() ? 0 : -EFAULT,
			  vm_get_dirty(vm, vm->hwpt, RING_IOVA,
				       LOW_BYTES + vm->data_size, 0,
				       (uint64_t *)nowhere[i]));
		ASK_ALL();
	}
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost, "returned 0, %zu pages gone",
			      sum.lost);
}

/* A bitmap mapped twice: written by one address, seen at the other */
TEST_F(exact, bitmap_is_mapped_twice)
{
	int fd = memfd_create("bitmap", MFD_CLOEXEC);
	uint64_t *a, *b;

	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, SZ_4K));
	a = mmap(NULL, SZ_4K, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	b = mmap(NULL, SZ_4K, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, a);
	ASSERT_NE(MAP_FAILED, b);
	POKE(DATA_IOVA + SZ_4K);
	/* refused by the one that is read only, reported by the other */
	if (!on_base()) {
		ASSERT_EQ(-EFAULT, vm_get_dirty(&self->vm, self->vm.hwpt,
						DATA_IOVA, 64 * SZ_4K, 0, b));
	}
	ASSERT_EQ(0, vm_get_dirty(&self->vm, self->vm.hwpt, DATA_IOVA,
				  64 * SZ_4K, 0, a));
	for (int bit = 0; bit < 64; bit++) {
		ASSERT_EQ(test_bit(self->shadow.want, LOW_BYTES / SZ_4K + bit),
			  test_bit(b, bit));
	}
	munmap(a, SZ_4K);
	munmap(b, SZ_4K);
	close(fd);
}

/* ---- Where the bitmap lies ---- */

/*
 * A range that happens to end in a dirty large leaf goes wrong on the base. The
 * tests of such leaves demand that it does, here it depends on the leaves.
 */
#define ASSERT_EXACT_BUT_FOR_LARGE_LEAVES()                                    \
	do {                                                                   \
		if (on_base() && !LEAVES_ARE_4K && (sum.lost || sum.outside))  \
			KNOWN_ON_BASE({}, true,                                \
				      "%zu lost, %zu bytes changed outside",   \
				      sum.lost, sum.outside);                  \
		else                                                           \
			ASSERT_SO_FAR_SO_GOOD();                               \
	} while (0)

TEST_F_TIMEOUT(exact, every_alignment, LONG)
{
	size_t size = LOW_BYTES + self->vm.data_size;
	size_t bytes = size / SZ_4K / 8;

	for (size_t i = 0; i < 10; i++) {
		/* from the beginning of a page on */
		ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed, 8));
		ASK_ALL(.offset = i);
		/* over the end of a page, by a few bytes or by many */
		ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed, 8));
		ASK_ALL(.offset = SZ_4K - i);
		ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed, 8));
		ASK_ALL(.offset = SZ_4K - bytes + i);
		/* no whole number of bytes */
		ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed, 8));
		ASK(.iova = RING_IOVA, .length = size - i * SZ_4K, .offset = i);
		ASK_ALL();
	}
	ASSERT_EXACT_BUT_FOR_LARGE_LEAVES();
}

TEST_F(exact, every_page_size)
{
	for (uint64_t page_size = 512; page_size <= LOW_BYTES; page_size *= 2)
		for (int more = 0; more < 3; more++) {
			POKE_PAGES(DATA_IOVA + 5 * SZ_4K, 3);
			POKE(DATA_IOVA + self->vm.data_size - SZ_4K);
			ASK_ALL(.page_size = page_size, .offset = 3 * more,
				.flags = more == 1 ? PEEK : 0);
		}
	ASK_ALL();
	/* a bit for more than all the data, and what is behind it a hole */
	for (uint64_t page_size = SZ_2M; page_size <= 16 * SZ_2M;
	     page_size *= 2) {
		POKE(DATA_IOVA + 77 * SZ_4K);
		ASK(.iova = DATA_IOVA, .length = 16 * SZ_2M,
		    .page_size = page_size);
	}
	ASK_ALL();
	ASSERT_SO_FAR_SO_GOOD();
}

/* Ranges, page sizes and places at random: each as exact as the others */
TEST_F_TIMEOUT(exact, random_questions, LONG)
{
	uint64_t size = LOW_BYTES + self->vm.data_size;

	for (int round = 0; round < 40; round++) {
		ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed,
					   1 + rnd(&self->seed) % 32));
		for (int i = 0; i < 12; i++) {
			uint64_t page_size = 512UL << rnd(&self->seed) % 9;
			uint64_t unit = page_size < SZ_4K ? SZ_4K : page_size;
			uint64_t units = size / unit;
			uint64_t at = rnd(&self->seed) % units;
			uint64_t n = 1 + rnd(&self->seed) % (units - at);

			if (rnd(&self->seed) % 2 && n > 20)
				n = 1 + n % 20;
			ASK(.iova = RING_IOVA + at * unit, .length = n * unit,
			    .page_size = page_size,
			    .flags = rnd(&self->seed) % 3 ? 0 : PEEK,
			    .offset = rnd(&self->seed) % SZ_4K);
		}
		ASK_ALL();
	}
	ASSERT_EXACT_BUT_FOR_LARGE_LEAVES();
}

/* ---- Parts of what is one entry to the IOMMU ---- */

TEST_F(exact, part_of_a_large_entry)
{
	uint64_t leaf = 0, size = largest_leaf(&self->vm, &leaf);
	uint64_t last = leaf + size - SZ_4K;

	if (!size)
		SKIP(return, "all leaves are of 4K");
	TH_LOG("leaf of %lu KiB", size >> 10);

	/* from its middle on */
	POKE(leaf);
	ASK(.iova = leaf + size / 2, .length = size / 2);
	ASK(.iova = leaf + size / 2, .length = size / 2);
	ASK_ALL();
	ASK_ALL();
	/* its last page alone */
	POKE(last);
	ASK(.iova = last, .length = SZ_4K);
	ASK_ALL();
	/* each of some pages, and again: nothing twice */
	POKE(leaf + SZ_4K);
	for (uint64_t at = 0; at < size && at < 8 * SZ_4K; at += SZ_4K)
		ASK(.iova = last - at, .length = SZ_4K);
	for (uint64_t at = 0; at < size && at < 8 * SZ_4K; at += SZ_4K)
		ASK(.iova = last - at, .length = SZ_4K);
	ASK_ALL();
	/* over its beginning and over its end */
	POKE(leaf);
	ASK(.iova = leaf - SZ_4K, .length = SZ_4K + size / 2);
	ASK(.iova = leaf + size / 2, .length = size / 2);
	POKE(leaf);
	ASK(.iova = RING_IOVA, .length = leaf + SZ_4K - RING_IOVA);
	ASK_ALL();
	/* part of it, written again, the other part */
	POKE(leaf);
	ASK(.iova = leaf, .length = size / 2);
	POKE(leaf);
	ASK(.iova = leaf + size / 2, .length = size / 2);
	ASK(.iova = leaf, .length = size / 2);
	ASK_ALL();
	/* coarser than the pages, finer than the entry */
	POKE(leaf);
	ASK(.iova = leaf + size / 2, .length = size / 2, .page_size = size / 2);
	ASK(.iova = leaf, .length = size / 2, .page_size = size / 2);
	ASK_ALL();
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost, "%zu pages lost", sum.lost);
}

/*
 * From the middle of an entry on, over others. Each is reported as a whole from
 * its own beginning, whether it is the first, or the last, of which the range
 * has only a little.
 */
TEST_F(exact, from_inside_of_a_large_entry_on)
{
	uint64_t leaf = DATA_IOVA, size = SZ_2M;
	bool arm = !strcmp(variant->config.format, "armlpae");

	if (!variant->huge)
		SKIP(return, "needs large entries beside each other");
	/* the first, and not its neighbour */
	POKE(leaf);
	ASK(.iova = leaf + size / 2, .length = size);
	ASK_ALL();
	/* the last, and not the first */
	POKE(leaf + 2 * size);
	ASK(.iova = leaf + size / 2, .length = size + 3 * size / 4);
	ASK_ALL();
	ASK_ALL();
	/* all of them */
	POKE(leaf);
	POKE(leaf + size);
	POKE(leaf + 2 * size);
	ASK(.iova = leaf + 3 * size / 4, .length = size + size / 2,
	    .flags = PEEK);
	ASK(.iova = leaf + 3 * size / 4, .length = size + size / 2);
	ASK_ALL();
	ASK_ALL();
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost && (sum.extra || !arm),
			      "%zu pages lost, %zu not written", sum.lost,
			      sum.extra);
}

TEST_F(exact, part_of_a_large_entry_peeked_at)
{
	uint64_t leaf = 0, size = largest_leaf(&self->vm, &leaf);

	if (!size)
		SKIP(return, "all leaves are of 4K");
	POKE(leaf);
	ASK(.iova = leaf + size / 2, .length = size / 2, .flags = PEEK);
	ASK_ALL(.flags = PEEK);
	ASK(.iova = leaf + SZ_4K, .length = SZ_4K);
	ASK(.iova = leaf + SZ_4K, .length = SZ_4K, .flags = PEEK);
	ASK_ALL(.flags = PEEK);
	ASK_ALL();
	ASK_ALL(.flags = PEEK);
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost, "%zu pages lost", sum.lost);
}

/* A bitmap of a few bytes, or bits, over an entry that is dirty for many */
TEST_F(exact, tiny_bitmap_over_a_large_entry)
{
	uint64_t leaf = 0, size = largest_leaf(&self->vm, &leaf);
	uint64_t length = size / 2 < 16 * SZ_4K ? size / 2 : 16 * SZ_4K;

	if (!size)
		SKIP(return, "all leaves are of 4K");
	for (size_t offset = 0; offset < 10; offset++) {
		POKE(leaf);
		ASK(.iova = leaf, .length = length, .offset = offset);
		ASK(.iova = leaf + size - length, .length = length,
		    .offset = SZ_4K - 1 - offset);
		ASK_ALL();
	}
	if (on_base())
		KNOWN_ON_BASE(return, sum.outside,
			      "%zu bytes changed outside of %lu-bit bitmaps",
			      sum.outside, length / SZ_4K);
}

TEST_F_TIMEOUT(exact, tiny_bitmap_over_1g, LONG)
{
	struct question all_of_it = { .iova = GIGA_IOVA, .length = SZ_1G };
	struct vm *vm = &self->vm;
	struct shadow giga;
	void *mem;

	if (!variant->huge)
		SKIP(return, "no huge pages wanted here");
	self->reserved_1g = write_file(GIGA_RESERVE, "1");
	mem = mmap(NULL, SZ_1G, PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS | MAP_HUGETLB | 30 << 26, -1, 0);
	if (mem == MAP_FAILED)
		SKIP(return, "no huge page of 1G to be had in this machine");

	ASSERT_EQ(0, window_init(&giga, vm, GIGA_IOVA, SZ_1G));
	ASSERT_EQ(0, vm_map(vm, GIGA_IOVA, mem, SZ_1G, MAP_RW));
	ASSERT_EQ(0, ask(&giga, all_of_it).rc);
	for (size_t offset = 0; offset < 10; offset += 3) {
		POKE(GIGA_IOVA + 12345 * SZ_4K);
		wrote(&giga, GIGA_IOVA, SZ_1G);
		ASK_OF(&giga, .iova = GIGA_IOVA, .length = 16 * SZ_4K,
		       .offset = offset);
		ASK_OF(&giga, .iova = GIGA_IOVA + SZ_1G - 13 * SZ_4K,
		       .length = 13 * SZ_4K, .offset = SZ_4K - 1);
		ASK_OF(&giga, .iova = GIGA_IOVA, .length = SZ_1G,
		       .offset = offset);
		ASK_OF(&giga, .iova = GIGA_IOVA, .length = SZ_1G);
	}
	ASSERT_EQ(0, vm_unmap(vm, GIGA_IOVA, SZ_1G));
	munmap(mem, SZ_1G);
	shadow_free(&giga);
	if (on_base())
		KNOWN_ON_BASE(return, sum.outside,
			      "%zu bytes changed outside, %zu pages lost",
			      sum.outside, sum.lost);
}

/* ---- Holes ---- */

/* Clients ask for ranges with holes: those are clean, the rest is told */
TEST_F(exact, holes)
{
	uint64_t end = DATA_IOVA + self->vm.data_size;
	uint64_t island = end + 40 * SZ_4K;
	struct question all_of_it = { .iova = island, .length = 8 * SZ_4K };
	struct vm *vm = &self->vm;

	ASSERT_EQ(0, map_pages(vm, island, SPARE(vm), 8, MAP_RW));
	/* what is mapped may be born dirty */
	ask(&self->shadow, all_of_it);
	/* nothing but a hole */
	ASK(.iova = end, .length = 40 * SZ_4K);
	ASK(.iova = ~0ULL - SZ_4K + 1, .length = SZ_4K);
	/* the hole last */
	POKE_PAGES(end - 2 * SZ_4K, 2);
	ASK(.iova = RING_IOVA, .length = island - RING_IOVA);
	ASK_ALL();
	ASSERT_SO_FAR_SO_GOOD();

	/* in the middle */
	POKE_PAGES(end - 2 * SZ_4K, 2);
	POKE_PAGES(island + SZ_4K, 3);
	ASK(.iova = RING_IOVA, .length = self->shadow.size);
	/* first */
	POKE_PAGES(island + 2 * SZ_4K, 2);
	ASK(.iova = end, .length = EXTRA_BYTES);
	/* from the beginning of all there can be, by the largest page */
	POKE(island);
	ASK(.iova = 0, .length = 1ULL << 63, .page_size = 1ULL << 63);
	POKE(island);
	ASK(.iova = 0, .length = 1ULL << 47, .page_size = 1ULL << 30);
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost,
			      "%zu pages behind a hole not reported", sum.lost);
	ASK(.iova = RING_IOVA, .length = self->shadow.size);
}

/* ---- What a read costs the device ---- */

/* The device reads 8 bytes of each of @n pages, to @dst */
static int read_pages(struct dsim *d, struct shadow *s, uint64_t iova,
		      unsigned int n, uint64_t dst)
{
	for (unsigned int i = 0; i < n; i++) {
		struct dsim_desc desc = {
			.op = DSIM_OP_COPY,
			.src = iova + i * SZ_4K,
			.dst = dst,
			.len = 8,
		};

		shadow_wrote(s, RING_IOVA +
			     d->tail % RING_ENTRIES * sizeof(desc) +
			     offsetof(struct dsim_desc, status), 4);
		shadow_wrote(s, dst, 8);
		dsim_put(d, &desc);
	}
	return dsim_kick(d) ?: dsim_wait(d);
}

/*
 * What is dirty is far apart: the IOTLB keeps what it knows of the pages between,
 * which are clean. Each page here has a place of its own in it: it goes by page
 * number, modulo 256.
 *
 * Not where accessed bits say what to read: there, a read flushes what was accessed.
 */
#define MIDDLE_PAGES	32U

TEST_F_TIMEOUT(exact, iotlb_between_far_apart_pages, LONG)
{
	uint64_t near = DATA_IOVA + 100 * SZ_4K;
	uint64_t middle = DATA_IOVA + SZ_1G / 2;
	uint64_t far = DATA_IOVA + SZ_1G + 101 * SZ_4K;
	uint64_t end = DATA_IOVA + SZ_1G + self->vm.data_size;
	/* @near, and of the ring two pages at most, to read and to write */
	const long long others = 1 + 2 * 2;
	long long walks, flushed;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	struct shadow wide;

	if (!LEAVES_ARE_4K)
		SKIP(return, "once for each format will do");
	if (!on_base() && variant->accessed_tables)
		SKIP(return, "a read flushes all that was accessed");
	ASSERT_EQ(0, window_init(&wide, vm, RING_IOVA, end - RING_IOVA));
	/* no hole: the base reads no further */
	for (uint64_t at = DATA_IOVA + vm->data_size; at < end;
	     at += vm->data_size) {
		ASSERT_EQ(0, vm_map(vm, at, vm->data, vm->data_size, MAP_RW));
	}
	/* what is mapped may be born dirty */
	ask(&wide, (struct question){ .iova = RING_IOVA, .length = wide.size });

	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, poke(d, &self->shadow, far, SZ_4K, 1));
		ASSERT_EQ(0, read_pages(d, &self->shadow, middle, MIDDLE_PAGES,
					near));
		memcpy(wide.want, self->shadow.want,
		       (LOW_BYTES + vm->data_size) / SZ_4K / 8);
		wrote(&wide, far, 8);
		flushed = dsim_stat(NAME, "flushed");
		ASK_OF(&wide, .iova = RING_IOVA, .length = wide.size);
		shadow_clean(&self->shadow);
		flushed = dsim_stat(NAME, "flushed") - flushed;

		walks = dsim_stat(NAME, "walks");
		ASSERT_EQ(0, read_pages(d, &self->shadow, middle, MIDDLE_PAGES,
					near));
		walks = dsim_stat(NAME, "walks") - walks;
		TH_LOG("%lld entries flushed, %lld walks", flushed, walks);
		if (on_base()) {
			ASSERT_LE(MIDDLE_PAGES, flushed);
			ASSERT_LE(MIDDLE_PAGES, walks);
		} else {
			ASSERT_GE(others, walks);
			/* and at least what is dirty */
			ASSERT_LE(3, flushed);
			ASSERT_GT(MIDDLE_PAGES, flushed);
		}

		/* what was kept is known to be clean */
		ASSERT_EQ(0, poke(d, &self->shadow, middle, 2 * SZ_4K,
				  MIDDLE_PAGES / 2));
		memcpy(wide.want, self->shadow.want,
		       (LOW_BYTES + vm->data_size) / SZ_4K / 8);
		for (unsigned int page = 0; page < MIDDLE_PAGES; page += 2)
			wrote(&wide, middle + page * SZ_4K, 8);
		ASK_OF(&wide, .iova = RING_IOVA, .length = wide.size);
		shadow_clean(&self->shadow);
	}
	shadow_free(&wide);
	ASSERT_SO_FAR_SO_GOOD();
	if (on_base())
		KNOWN_ON_BASE(return, true, "a read flushed all between");
}

/* ---- The state of tracking ---- */

TEST_F(exact, peek_twice_then_take)
{
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed, 4));
		ASK_ALL(.flags = PEEK);
		ASK_ALL(.flags = PEEK, .offset = 5);
		/* more before they are taken */
		ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed, 4));
		ASK_ALL(.flags = PEEK);
		ASK_ALL();
		ASK_ALL(.flags = PEEK);
		ASK_ALL();
	}
	ASSERT_SO_FAR_SO_GOOD();
}

TEST_F(exact, enabled_twice)
{
	struct vm *vm = &self->vm;

	/* what the page table holds, then also what was seen already */
	for (int peek = 0; peek < 2; peek++) {
		POKE_PAGES(DATA_IOVA + 3 * SZ_4K, 4);
		if (peek)
			ASK_ALL(.flags = PEEK);
		ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
		ASK_ALL();
	}
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost, "%zu pages lost", sum.lost);
	ASK_ALL();
}

TEST_F(exact, restarted)
{
	struct vm *vm = &self->vm;

	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed, 4));
		if (i & 1)
			ASK_ALL(.flags = PEEK);
		ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
		ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
		if (i & 2) {
			ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
						   &self->seed, 4));
		}
		ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
		shadow_clean(&self->shadow);
		ASK_ALL();
		ASSERT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed, 4));
		ASK_ALL();
	}
	ASSERT_SO_FAR_SO_GOOD();
}

TEST_F(exact, page_table_destroyed_while_tracking)
{
	struct vm *vm = &self->vm;
	struct dsim *d = &self->dev;

	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, random_writes(d, &self->shadow, &self->seed, 4));
		if (i)
			ASK_ALL(.flags = PEEK);
		ASSERT_EQ(0, dsim_detach(d));
		ASSERT_EQ(0, vm_destroy_object(vm, vm->hwpt));
		ASSERT_EQ(0, vm_alloc_hwpt(vm, d,
					   IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
					   &vm->hwpt));
		ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
		ASSERT_EQ(0, dsim_start(d, vm->ring));
		ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
		shadow_clean(&self->shadow);
		ASK_ALL();
		POKE(DATA_IOVA + i * SZ_4K);
		ASK_ALL();
	}
	ASSERT_SO_FAR_SO_GOOD();
}

/* ---- Bad questions ---- */

static int get_raw(struct vm *vm, struct iommu_hwpt_get_dirty_bitmap *get)
{
	return ioctl(vm->iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, get) ? -errno :
								      0;
}

/* Each has its errno, and none changes anything */
TEST_F(exact, bad_arguments)
{
	struct vm *vm = &self->vm;
	uint64_t data = DATA_IOVA, top = ~0ULL - SZ_4K + 1, one = SZ_4K;
	uint32_t hwpt = vm->hwpt;
	const struct {
		const char *what;
		uint64_t iova;
		uint64_t length;
		uint64_t page_size;
		uint32_t flags;
		uint32_t hwpt;
		int rc;
	} bad[] = {
		{ "page size 0", data, 64 * one, 0, 0, hwpt, -EINVAL },
		{ "page size 3", data, 64 * one, 3, 0, hwpt, -EINVAL },
		{ "page size 12K", data, 64 * one, 3 * one, 0, hwpt, -EINVAL },
		{ "page size 1 << 63", data, 64 * one, 1ULL << 63, 0, hwpt,
		  -EINVAL },
		{ "page size ~0", data, 64 * one, ~0ULL, 0, hwpt, -EINVAL },
		{ "page larger than range", data, 64 * one, SZ_2M, 0, hwpt,
		  -EINVAL },
		{ "no length", data, 0, one, 0, hwpt, -EINVAL },
		{ "odd length", data, 64 * one + 1, one, 0, hwpt, -EINVAL },
		{ "half a page", data, one / 2, one, 0, hwpt, -EINVAL },
		{ "half a page, of 2K", data, one / 2, one / 2, 0, hwpt,
		  -EINVAL },
		{ "odd iova", data + 1, 64 * one, one, 0, hwpt, -EINVAL },
		{ "iova in a page", data + one / 2, 64 * one, one, 0, hwpt,
		  -EINVAL },
		{ "iova in a page of 8K", data + one, 64 * one, 2 * one, 0,
		  hwpt, -EINVAL },
		{ "length of 8K pages", data, 63 * one, 2 * one, 0, hwpt,
		  -EINVAL },
		{ "past the end", top, 2 * one, one, 0, hwpt, -EOVERFLOW },
		{ "all and more", data, ~0ULL, one, 0, hwpt, -EOVERFLOW },
		{ "unknown flag", data, 64 * one, one, 2, hwpt, -EOPNOTSUPP },
		{ "all flags", data, 64 * one, one, ~0U, hwpt, -EOPNOTSUPP },
		{ "no object", data, 64 * one, one, 0, 0, -ENOENT },
		{ "unknown object", data, 64 * one, one, 0, ~0U, -ENOENT },
		{ "an IOAS", data, 64 * one, one, 0, vm->ioas, -ENOENT },
		{ "a device", data, 64 * one, one, 0, self->dev.devid,
		  -ENOENT },
	};
	/*
	 * The base makes of a page size of 3 a bit for each byte, and writes
	 * beside that for large leaves: up to the page after the next.
	 */
	size_t room = 64 * SZ_4K / 8 + 2 * SZ_4K;
	uint8_t *bytes = mmap(NULL, room, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct {
		struct iommu_hwpt_get_dirty_bitmap get;
		uint64_t more;
	} odd = {
		.get = {
			.hwpt_id = hwpt,
			.iova = data,
			.length = 64 * one,
			.page_size = one,
			.data = (uintptr_t)bytes,
		},
		.more = 1,
	};
	struct iommu_hwpt_set_dirty_tracking set = {
		.size = sizeof(set),
		.flags = 2,
		.hwpt_id = hwpt,
	};
	size_t accepted = 0;

	ASSERT_NE(MAP_FAILED, bytes);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		struct iommu_hwpt_get_dirty_bitmap get = {
			.size = sizeof(get),
			.hwpt_id = bad[i].hwpt,
			.flags = bad[i].flags,
			.iova = bad[i].iova,
			.length = bad[i].length,
			.page_size = bad[i].page_size,
			.data = (uintptr_t)bytes,
		};
		/* the base wants no power of two */
		bool let = on_base() &&
			   (get.page_size == 3 || get.page_size == 3 * one);

		POKE_PAGES(DATA_IOVA + SZ_4K, 5);
		EXPECT_EQ(let ? 0 : bad[i].rc, get_raw(vm, &get)) {
			TH_LOG("%s", bad[i].what);
		}
		accepted += let;
		if (!let) {
			EXPECT_TRUE(all_zero(bytes, room));
			ASK_ALL();
		}
		memset(bytes, 0, room);
	}

	POKE_PAGES(DATA_IOVA + SZ_4K, 5);
	/* the struct too short, too long, of another version */
	odd.get.size = offsetof(struct iommu_hwpt_get_dirty_bitmap, data);
	EXPECT_EQ(-EINVAL, get_raw(vm, &odd.get));
	odd.get.size = sizeof(odd);
	EXPECT_EQ(-E2BIG, get_raw(vm, &odd.get));
	odd.get.size = sizeof(odd.get);
	odd.get.__reserved = 1;
	EXPECT_EQ(-EOPNOTSUPP, get_raw(vm, &odd.get));
	/* asked to track in ways that there are not */
	EXPECT_EQ(-1, ioctl(vm->iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set));
	EXPECT_EQ(EOPNOTSUPP, errno);
	set.flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
	set.hwpt_id = vm->ioas;
	EXPECT_EQ(-1, ioctl(vm->iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set));
	EXPECT_EQ(ENOENT, errno);
	EXPECT_TRUE(all_zero(bytes, room));
	ASK_ALL();
	munmap(bytes, room);
	ASSERT_SO_FAR_SO_GOOD();
	if (on_base())
		KNOWN_ON_BASE(return, accepted, "%zu bad page sizes accepted",
			      accepted);
}

TEST_F(exact, asked_while_off)
{
	struct vm *vm = &self->vm;
	uint64_t words[64] = {};
	int rc;

	POKE(DATA_IOVA);
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	POKE(DATA_IOVA + SZ_4K);
	for (int i = 0; i < 2; i++) {
		rc = vm_get_dirty(vm, vm->hwpt, DATA_IOVA, 64 * SZ_4K,
				  i ? PEEK : 0, words);
		ASSERT_EQ(on_base() ? 0 : -EINVAL, rc);
		if (!on_base()) {
			ASSERT_TRUE(all_zero((void *)words, sizeof(words)));
		}
	}
	if (on_base())
		KNOWN_ON_BASE(return, !rc, "a bitmap while tracking is off");
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	shadow_clean(&self->shadow);
	ASK_ALL();
}

/* ---- Unmapping ---- */

/* What was written before it was unmapped is reported, once */
TEST_F(exact, unmapped_before_it_was_read)
{
	uint64_t iova = DATA_IOVA + self->vm.data_size;
	struct shadow *s = &self->shadow;
	struct vm *vm = &self->vm;
	size_t pages = 24;

	for (int i = 0; i < 6; i++) {
		ASSERT_EQ(0, map_pages(vm, iova, SPARE(vm), pages, MAP_RW));
		if (BORN_DIRTY)
			wrote(s, iova, pages * SZ_4K);
		if (i & 1) {
			ASK(.iova = RING_IOVA, .length = s->size);
		}
		POKE_PAGES(iova + i * SZ_4K, 7);
		POKE(DATA_IOVA);
		if (i & 2) {
			ASK(.iova = iova, .length = pages * SZ_4K,
			    .flags = PEEK);
			ASK(.iova = iova + i * SZ_4K, .length = SZ_4K);
		}
		ASSERT_EQ(0, vm_unmap(vm, iova, pages * SZ_4K));
		/* other memory there before anybody asks, or nothing */
		if (i & 4) {
			ASSERT_EQ(0, map_pages(vm, iova,
					       SPARE(vm) + pages * SZ_4K,
					       pages, MAP_RW));
			if (BORN_DIRTY)
				wrote(s, iova, pages * SZ_4K);
		}
		ASK(.iova = iova, .length = pages * SZ_4K, .flags = PEEK);
		ASK(.iova = RING_IOVA, .length = s->size);
		ASK(.iova = RING_IOVA, .length = s->size);
		if (i & 4) {
			ASSERT_EQ(0, vm_unmap(vm, iova, pages * SZ_4K));
		}
	}

	/* the data itself, large entries and all, and again other memory */
	POKE_PAGES(DATA_IOVA + SZ_4K, 9);
	ASSERT_EQ(0, vm_unmap(vm, DATA_IOVA, vm->data_size));
	ASK_ALL();
	ASK_ALL();
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost, "%zu pages lost", sum.lost);
	ASSERT_EQ(0, map_pages(vm, DATA_IOVA, SPARE(vm), 16, MAP_RW));
	memset(vm->leaf, 12, vm->data_size / SZ_4K);
	if (BORN_DIRTY)
		wrote(s, DATA_IOVA, 16 * SZ_4K);
	ASK_ALL();
	ASK_ALL();
	POKE_PAGES(DATA_IOVA + 4 * SZ_4K, 3);
	ASK_ALL();
}

static unsigned long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void spin(unsigned long long ns)
{
	unsigned long long end = now_ns() + ns;

	while (now_ns() < end)
		;
}

/*
 * The first write to a page comes at the moment when it is unmapped, as often a
 * bit sooner as a bit later. What the page holds then says whether there was one,
 * and so must the bitmap.
 */
TEST_F_TIMEOUT(exact, written_while_it_is_unmapped, LONG)
{
	uint64_t iova = DATA_IOVA + self->vm.data_size;
	unsigned long long end = now_ms() + 4000;
	unsigned int rounds, written = 0;
	struct shadow *s = &self->shadow;
	unsigned long long delay = 20000;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	volatile uint64_t *word = (void *)SPARE(vm);
	struct dsim_desc desc = {
		.op = DSIM_OP_SCATTER,
		.dst = iova,
		.value = 1,
		.count = 1,
	};

	d->trap = true;
	for (rounds = 0; rounds < 100 || now_ms() < end; rounds++) {
		*word = 0;
		ASSERT_EQ(0, map_pages(vm, iova, SPARE(vm), 1, MAP_RW));
		if (BORN_DIRTY)
			wrote(s, iova, SZ_4K);
		ASK(.iova = RING_IOVA, .length = s->size);
		shadow_wrote(s, RING_IOVA +
			     d->tail % RING_ENTRIES * sizeof(desc) +
			     offsetof(struct dsim_desc, status), 4);
		dsim_put(d, &desc);
		ASSERT_EQ(0, dsim_kick(d));
		spin(delay);
		ASSERT_EQ(0, vm_unmap(vm, iova, SZ_4K));
		ASSERT_EQ(0, dsim_wait(d));
		if (*word) {
			wrote(s, iova, 8);
			written++;
			delay -= delay / 16;
		} else {
			delay += delay / 16 + 16;
		}
		ASK(.iova = RING_IOVA, .length = s->size);
	}
	TH_LOG("%u rounds, %u times written, in the end after %llu ns", rounds,
	       written, delay);
	EXPECT_LE(1, written);
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost, "%zu pages lost", sum.lost);
}

/* ---- Many at once ---- */

/**
 * struct crowd - threads that share one bitmap
 * @vm: whom they ask
 * @iova: first address of the range
 * @length: of the range
 * @words: of the bitmap
 * @map: the bitmap that all read into
 * @taken: bits that were taken out of it
 * @stop: end, all of you
 * @reads: how many reads there were
 * @failed: first error of any of them
 */
struct crowd {
	struct vm *vm;
	uint64_t iova;
	uint64_t length;
	size_t words;
	uint64_t *map;
	uint64_t *taken;
	int stop;
	unsigned long reads;
	int failed;
};

static int crowd_init(struct crowd *c, struct vm *vm, uint64_t iova,
		      uint64_t length)
{
	memset(c, 0, sizeof(*c));
	c->vm = vm;
	c->iova = iova;
	c->length = length;
	c->words = (length / SZ_4K + 63) / 64;
	c->map = calloc(c->words, 8);
	c->taken = calloc(c->words, 8);
	return c->map && c->taken ? 0 : -ENOMEM;
}

static void crowd_free(struct crowd *c)
{
	free(c->map);
	free(c->taken);
}

static bool stopped(struct crowd *c)
{
	return __atomic_load_n(&c->stop, __ATOMIC_ACQUIRE);
}

static void complain(struct crowd *c, int rc)
{
	if (rc)
		__atomic_store_n(&c->failed, rc, __ATOMIC_RELAXED);
}

static void take(struct crowd *c)
{
	for (size_t i = 0; i < c->words; i++)
		__atomic_or_fetch(c->taken + i,
				  __atomic_exchange_n(c->map + i, 0,
						      __ATOMIC_ACQ_REL),
				  __ATOMIC_ACQ_REL);
}

static void *reader(void *arg)
{
	struct crowd *c = arg;

	while (!stopped(c)) {
		complain(c, vm_get_dirty(c->vm, c->vm->hwpt, c->iova, c->length,
					 0, c->map));
		__atomic_add_fetch(&c->reads, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void *taker(void *arg)
{
	struct crowd *c = arg;

	while (!stopped(c))
		take(c);
	return NULL;
}

/* One last read when all rests: is what was taken what was written? */
static struct answer crowd_settle(struct crowd *c, struct shadow *s)
{
	struct answer a = {};

	complain(c, vm_get_dirty(c->vm, c->vm->hwpt, c->iova, c->length, 0,
				 c->map));
	take(c);
	a.rc = c->failed;
	for (size_t i = 0; i < c->words; i++) {
		a.lost += __builtin_popcountll(s->want[i] & ~c->taken[i]);
		a.extra += __builtin_popcountll(c->taken[i] & ~s->want[i]);
	}
	memset(c->taken, 0, c->words * 8);
	shadow_clean(s);
	return a;
}

/*
 * Two threads read into one bitmap, a third takes its words, and the device
 * writes: each page that was written comes out.
 */
TEST_F_TIMEOUT(exact, two_readers_and_a_taker, LONG)
{
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev;
	unsigned long long end = now_ms() + 4000;
	struct crowd c;
	int rounds;

	ASSERT_EQ(0, crowd_init(&c, &self->vm, RING_IOVA,
				LOW_BYTES + self->vm.data_size));
	for (rounds = 0; now_ms() < end; rounds++) {
		pthread_t thread[3];

		c.stop = 0;
		ASSERT_EQ(0, pthread_create(thread + 0, NULL, reader, &c));
		ASSERT_EQ(0, pthread_create(thread + 1, NULL, reader, &c));
		ASSERT_EQ(0, pthread_create(thread + 2, NULL, taker, &c));
		for (int i = 0; i < 6; i++) {
			uint32_t room = RING_ENTRIES -
				(d->tail - dsim_reg(d, DSIM_REG_HEAD));

			while (room--)
				queue_random(d, s, &self->seed);
			EXPECT_EQ(0, dsim_kick(d));
		}
		EXPECT_EQ(0, dsim_wait(d));
		__atomic_store_n(&c.stop, 1, __ATOMIC_RELEASE);
		for (int i = 0; i < 3; i++)
			pthread_join(thread[i], NULL);
		JUDGE(crowd_settle(&c, s));
	}
	TH_LOG("%d rounds, %lu reads", rounds, c.reads);
	EXPECT_LT(rounds, c.reads);
	crowd_free(&c);
	ASSERT_EQ(0, sum.extra);
	/* this needs more luck than the next test */
	if (on_base() && !sum.lost)
		SKIP(return, "known on base to lose pages, but not this time");
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost, "%zu pages lost", sum.lost);
}

static void *read_once(void *arg)
{
	struct crowd *c = arg;

	__atomic_add_fetch(&c->reads, 1, __ATOMIC_ACQ_REL);
	while (__atomic_load_n(&c->reads, __ATOMIC_ACQUIRE) < 2)
		;
	complain(c, vm_get_dirty(c->vm, c->vm->hwpt, c->iova, c->length, 0,
				 c->map));
	return NULL;
}

/*
 * Everything is dirty and two threads read at the same moment. Where nothing
 * holds one of them back, each takes some of the pages of one word of the
 * bitmap, and a word that is not changed atomically loses some.
 */
TEST_F_TIMEOUT(exact, two_reads_of_all_dirty, LONG)
{
	unsigned long long end = now_ms() + (on_base() ? 90000 : 3000);
	size_t pages = self->vm.data_size / SZ_4K;
	struct crowd c;
	int rounds;

	if (!LEAVES_ARE_4K)
		SKIP(return, "large leaves fill whole words");
	ASSERT_EQ(0, crowd_init(&c, &self->vm, RING_IOVA,
				LOW_BYTES + self->vm.data_size));
	/* on the base until it goes wrong */
	for (rounds = 0; now_ms() < end && !sum.lost; rounds++) {
		pthread_t thread[2];

		POKE_PAGES(DATA_IOVA, pages);
		c.reads = 0;
		ASSERT_EQ(0, pthread_create(thread + 0, NULL, read_once, &c));
		ASSERT_EQ(0, pthread_create(thread + 1, NULL, read_once, &c));
		pthread_join(thread[0], NULL);
		pthread_join(thread[1], NULL);
		JUDGE(crowd_settle(&c, &self->shadow));
	}
	TH_LOG("%d rounds", rounds);
	ASSERT_LT(0, rounds);
	ASSERT_EQ(0, sum.extra);
	crowd_free(&c);
	/* a race that was not hit in so long says neither right nor wrong */
	if (on_base() && !sum.lost)
		SKIP(return, "known on base, but not seen in %d rounds", rounds);
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost, "%zu pages lost in round %d",
			      sum.lost, rounds);
}

struct noise {
	struct crowd *crowd;
	uint64_t iova;
	unsigned long turns;
};

/* Memory that nobody writes comes and goes */
static void *noise(void *arg)
{
	struct noise *n = arg;
	struct vm *vm = n->crowd->vm;

	while (!stopped(n->crowd)) {
		complain(n->crowd, map_pages(vm, n->iova, SPARE(vm), 8,
					     IOMMU_IOAS_MAP_READABLE));
		complain(n->crowd, vm_unmap(vm, n->iova, 8 * SZ_4K));
		n->turns++;
	}
	return NULL;
}

/*
 * Memory is mapped, written and unmapped while somebody reads all the time and
 * somebody else maps: nothing fails, and each page written is reported.
 */
TEST_F_TIMEOUT(exact, map_write_unmap_while_reading, LONG)
{
	uint64_t iova = DATA_IOVA + self->vm.data_size;
	struct shadow *s = &self->shadow;
	struct dsim *d = &self->dev;
	struct vm *vm = &self->vm;
	struct noise other = { .iova = iova + 64 * SZ_4K };
	int rounds = on_base() ? 2000 : 100;
	pthread_t thread[2];
	struct crowd c;

	ASSERT_EQ(0, crowd_init(&c, vm, RING_IOVA, s->size));
	other.crowd = &c;
	ASSERT_EQ(0, pthread_create(thread + 0, NULL, reader, &c));
	ASSERT_EQ(0, pthread_create(thread + 1, NULL, noise, &other));
	/* on the base until it goes wrong, but not before somebody read */
	while (rounds-- && !_metadata->exit_code &&
	       (!sum.lost || !__atomic_load_n(&c.reads, __ATOMIC_RELAXED))) {
		unsigned int pages = 1 + rnd(&self->seed) % 24;
		unsigned int first = rnd(&self->seed) % pages;
		struct answer a;

		EXPECT_EQ(0, map_pages(vm, iova, SPARE(vm), pages, MAP_RW));
		if (BORN_DIRTY)
			wrote(s, iova, pages * SZ_4K);
		EXPECT_EQ(0, poke(d, s, iova + first * SZ_4K, SZ_4K,
				  pages - first));
		/* the device goes on writing elsewhere */
		for (int n = 0; n < 4; n++)
			queue_random(d, s, &self->seed);
		EXPECT_EQ(0, dsim_kick(d));
		EXPECT_EQ(0, vm_unmap(vm, iova, pages * SZ_4K));
		EXPECT_EQ(0, dsim_wait(d));
		a = crowd_settle(&c, s);
		EXPECT_EQ(0, a.rc);
		EXPECT_EQ(0, a.extra);
		if (!on_base()) {
			EXPECT_EQ(0, a.lost);
		}
		sum.lost += a.lost;
	}
	__atomic_store_n(&c.stop, 1, __ATOMIC_RELEASE);
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	TH_LOG("%lu reads, %lu other maps", c.reads, other.turns);
	ASSERT_EQ(0, c.failed);
	EXPECT_LT(0, c.reads);
	EXPECT_LT(0, other.turns);
	crowd_free(&c);
	if (on_base())
		KNOWN_ON_BASE(return, sum.lost, "%zu pages lost", sum.lost);
	ASK(.iova = RING_IOVA, .length = s->size);
}

/* Tracking is turned off and on under readers: they are told so, no more */
TEST_F(exact, restarted_while_reading)
{
	struct vm *vm = &self->vm;
	pthread_t thread[2];
	struct crowd c;

	ASSERT_EQ(0, crowd_init(&c, vm, RING_IOVA, LOW_BYTES + vm->data_size));
	ASSERT_EQ(0, pthread_create(thread + 0, NULL, reader, &c));
	ASSERT_EQ(0, pthread_create(thread + 1, NULL, reader, &c));
	for (int i = 0; i < 50; i++) {
		EXPECT_EQ(0, random_writes(&self->dev, &self->shadow,
					   &self->seed, 2));
		EXPECT_EQ(0, vm_track(vm, vm->hwpt, false));
		EXPECT_EQ(0, vm_track(vm, vm->hwpt, true));
	}
	__atomic_store_n(&c.stop, 1, __ATOMIC_RELEASE);
	pthread_join(thread[0], NULL);
	pthread_join(thread[1], NULL);
	if (c.failed) {
		EXPECT_EQ(-EINVAL, c.failed);
	}
	crowd_free(&c);
	shadow_clean(&self->shadow);
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	POKE(DATA_IOVA);
	ASK_ALL();
	ASSERT_SO_FAR_SO_GOOD();
}

/* ---- Accesses of emulated devices, over iommufd's own mock ---- */

#define MOCK_IOVA	0x2000000UL
#define MOCK_PAGES	64UL
#define MOCK_BYTES	(MOCK_PAGES * SZ_4K)

FIXTURE(access)
{
	struct vm vm;
	struct shadow shadow;
	uint32_t device;
	int rw;
	int pin;
	uint8_t *mem;
	uint8_t *buf;
};

static int mock(struct vm *vm, uint32_t op, struct iommu_test_cmd *cmd)
{
	cmd->size = sizeof(*cmd);
	cmd->op = op;
	return ioctl(vm->iommufd, _IO(IOMMUFD_TYPE, IOMMUFD_CMD_BASE + 32),
		     cmd) ? -errno : 0;
}

/* An access to the IOAS: its fd */
static int mock_access(struct vm *vm, bool pins)
{
	struct iommu_test_cmd cmd = {
		.id = vm->ioas,
		.create_access = {
			.flags = pins ?
				 MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES : 0,
		},
	};

	return mock(vm, IOMMU_TEST_OP_CREATE_ACCESS, &cmd) ?:
	       (int)cmd.create_access.out_access_fd;
}

static int mock_rw(struct vm *vm, int access, uint64_t iova, uint64_t length,
		   void *data, uint32_t flags)
{
	struct iommu_test_cmd cmd = {
		.id = access,
		.access_rw = {
			.iova = iova,
			.length = length,
			.uptr = (uintptr_t)data,
			.flags = flags,
		},
	};

	return mock(vm, IOMMU_TEST_OP_ACCESS_RW, &cmd);
}

static int mock_pin(struct vm *vm, int access, uint64_t iova, uint64_t length,
		    bool write, uint32_t *id)
{
	struct iommu_test_cmd cmd = {
		.id = access,
		.access_pages = {
			.iova = iova,
			.length = length,
			.flags = write ? MOCK_FLAGS_ACCESS_WRITE : 0,
		},
	};
	int rc = mock(vm, IOMMU_TEST_OP_ACCESS_PAGES, &cmd);

	*id = cmd.access_pages.out_access_pages_id;
	return rc;
}

static int mock_unpin(struct vm *vm, int access, uint32_t id)
{
	struct iommu_test_cmd cmd = {
		.id = access,
		.destroy_access_pages = { .access_pages_id = id },
	};

	return mock(vm, IOMMU_TEST_OP_DESTROY_ACCESS_PAGES, &cmd);
}

/* Two areas, so that ranges can lie across them */
static int mock_map(struct vm *vm, uint8_t *mem)
{
	return vm_map(vm, MOCK_IOVA, mem, MOCK_BYTES / 2, MAP_RW) ?:
	       vm_map(vm, MOCK_IOVA + MOCK_BYTES / 2, mem + MOCK_BYTES / 2,
		      MOCK_BYTES / 2, MAP_RW);
}

FIXTURE_SETUP(access)
{
	struct iommu_option small_leaves = {
		.size = sizeof(small_leaves),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
	};
	struct iommu_test_cmd cmd = {};
	struct vm *vm = &self->vm;
	struct dsim device = {};
	int rc;

	memset(&sum, 0, sizeof(sum));
	ASSERT_EQ(0, vm_create(vm));
	small_leaves.object_id = vm->ioas;
	cmd.id = vm->ioas;
	rc = mock(vm, IOMMU_TEST_OP_MOCK_DOMAIN, &cmd);
	if (rc == -ENOTTY)
		SKIP(return, "this kernel has no mock: CONFIG_IOMMUFD_TEST");
	ASSERT_EQ(0, rc);
	device.devid = cmd.mock_domain.out_idev_id;
	self->device = device.devid;
	ASSERT_EQ(0, vm_alloc_hwpt(vm, &device, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				   &vm->hwpt));
	self->buf = malloc(2 * MOCK_BYTES);
	ASSERT_NE(NULL, self->buf);
	memset(self->buf, 0x5a, 2 * MOCK_BYTES);
	self->mem = mmap(NULL, 2 * MOCK_BYTES, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->mem);
	/* A leaf for each page, however the memory happens to lie */
	ASSERT_EQ(0, ioctl(vm->iommufd, IOMMU_OPTION, &small_leaves));
	ASSERT_EQ(0, mock_map(vm, self->mem));
	ASSERT_EQ(0, window_init(&self->shadow, vm, MOCK_IOVA, MOCK_BYTES));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	self->rw = mock_access(vm, false);
	ASSERT_LE(0, self->rw);
	self->pin = mock_access(vm, true);
	ASSERT_LE(0, self->pin);
}

FIXTURE_TEARDOWN(access)
{
	if (self->rw > 0)
		close(self->rw);
	if (self->pin > 0)
		close(self->pin);
	vm_destroy(&self->vm);
	shadow_free(&self->shadow);
	if (self->mem)
		munmap(self->mem, 2 * MOCK_BYTES);
	free(self->buf);
}

#define ASK_MOCK(...)                                                          \
	ASK(.iova = MOCK_IOVA, .length = MOCK_BYTES, ##__VA_ARGS__)

/* The last of a test: the base reports nothing of what accesses write */
#define NOTHING_ON_BASE()                                                      \
	do {                                                                   \
		ASSERT_EQ(0, sum.extra);                                       \
		ASSERT_EQ(0, sum.outside);                                     \
		if (on_base())                                                 \
			KNOWN_ON_BASE({}, sum.lost,                            \
				      "%zu pages of accesses not reported",    \
				      sum.lost);                               \
	} while (0)

static const struct {
	uint64_t at;
	uint64_t length;
} pieces[] = {
	{ 0, 1 },
	{ SZ_4K - 1, 1 },
	{ SZ_4K - 1, 2 },
	{ 7 * SZ_4K, SZ_4K },
	{ 9 * SZ_4K + 100, 3 * SZ_4K },
	/* the end of the first area and the beginning of the second */
	{ MOCK_BYTES / 2 - 1, 1 },
	{ MOCK_BYTES / 2, 1 },
	{ MOCK_BYTES / 2 - 100, 200 },
	{ MOCK_BYTES - 1, 1 },
	{ 0, MOCK_BYTES },
};

TEST_F(access, writes_mark_their_pages)
{
	struct vm *vm = &self->vm;

	for (int slow = 0; slow < 2; slow++)
		for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
			uint64_t at = pieces[i].at, length = pieces[i].length;
			uint32_t flags = MOCK_ACCESS_RW_WRITE |
				(slow ? MOCK_ACCESS_RW_SLOW_PATH : 0);

			memset(self->buf, i + 1, length);
			ASSERT_EQ(0, mock_rw(vm, self->rw, MOCK_IOVA + at,
					     length, self->buf, flags));
			ASSERT_EQ(0, memcmp(self->buf, self->mem + at, length));
			wrote(&self->shadow, MOCK_IOVA + at, length);
			ASK_MOCK(.flags = PEEK);
			ASK_MOCK();
			/* once */
			ASK_MOCK();
		}
	NOTHING_ON_BASE();
}

TEST_F(access, reads_mark_nothing)
{
	struct vm *vm = &self->vm;

	for (int slow = 0; slow < 2; slow++)
		for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
			ASSERT_EQ(0, mock_rw(vm, self->rw,
					     MOCK_IOVA + pieces[i].at,
					     pieces[i].length, self->buf,
					     slow ? MOCK_ACCESS_RW_SLOW_PATH :
						    0));
			ASK_MOCK();
		}
	ASSERT_SO_FAR_SO_GOOD();
}

/* What was written before a write failed was written */
TEST_F(access, writes_that_fail)
{
	struct vm *vm = &self->vm;

	/* over the end of what is mapped */
	ASSERT_EQ(-ENOENT, mock_rw(vm, self->rw,
				   MOCK_IOVA + MOCK_BYTES - 3 * SZ_4K,
				   8 * SZ_4K, self->buf, MOCK_ACCESS_RW_WRITE));
	wrote(&self->shadow, MOCK_IOVA + MOCK_BYTES - 3 * SZ_4K, 3 * SZ_4K);
	ASSERT_EQ(0, memcmp(self->buf, self->mem + MOCK_BYTES - 3 * SZ_4K,
			    3 * SZ_4K));
	ASK_MOCK();
	/* nothing of it */
	ASSERT_EQ(-ENOENT, mock_rw(vm, self->rw, MOCK_IOVA + MOCK_BYTES, SZ_4K,
				   self->buf, MOCK_ACCESS_RW_WRITE));
	ASK_MOCK();
	/* where only reading is allowed */
	ASSERT_EQ(0, vm_unmap(vm, MOCK_IOVA, MOCK_BYTES / 2));
	ASSERT_EQ(0, vm_map(vm, MOCK_IOVA, self->mem, MOCK_BYTES / 2,
			    IOMMU_IOAS_MAP_READABLE));
	ASSERT_EQ(-EPERM, mock_rw(vm, self->rw, MOCK_IOVA, SZ_4K, self->buf,
				  MOCK_ACCESS_RW_WRITE));
	ASK_MOCK();
	NOTHING_ON_BASE();
}

TEST_F(access, pinned_for_write_is_dirty_at_every_read)
{
	uint64_t at = MOCK_IOVA + 10 * SZ_4K, length = 40 * SZ_4K;
	struct vm *vm = &self->vm;
	uint32_t pin;

	ASSERT_EQ(0, mock_pin(vm, self->pin, at, length, true, &pin));
	for (int i = 0; i < 4; i++) {
		wrote(&self->shadow, at, length);
		if (i & 1)
			ASK_MOCK(.flags = PEEK);
		ASK_MOCK();
	}
	/* parts of the pin */
	wrote(&self->shadow, at, length);
	ASK(.iova = at + 5 * SZ_4K, .length = SZ_4K);
	wrote(&self->shadow, at, length);
	ASK(.iova = MOCK_IOVA, .length = 11 * SZ_4K);
	wrote(&self->shadow, at, length);
	ASK(.iova = MOCK_IOVA, .length = 10 * SZ_4K);
	/* a reader that starts now knows of it too */
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	shadow_clean(&self->shadow);
	wrote(&self->shadow, at, length);
	ASK_MOCK();
	/* once more after it is gone, then never */
	ASSERT_EQ(0, mock_unpin(vm, self->pin, pin));
	wrote(&self->shadow, at, length);
	ASK_MOCK();
	ASK_MOCK();
	NOTHING_ON_BASE();
}

TEST_F(access, pinned_for_read_is_never_dirty)
{
	struct vm *vm = &self->vm;
	uint32_t pin;

	ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA, MOCK_BYTES, false,
			      &pin));
	ASK_MOCK();
	ASSERT_EQ(0, mock_unpin(vm, self->pin, pin));
	ASK_MOCK();
	ASSERT_SO_FAR_SO_GOOD();
}

/* Pins that overlap: the range is dirty as long as one of them stands */
TEST_F(access, pins_that_overlap)
{
	struct vm *vm = &self->vm;
	uint32_t a, b;

	ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA, 8 * SZ_4K, true, &a));
	ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA + 4 * SZ_4K, 8 * SZ_4K,
			      true, &b));
	wrote(&self->shadow, MOCK_IOVA, 12 * SZ_4K);
	ASK_MOCK();
	ASSERT_EQ(0, mock_unpin(vm, self->pin, a));
	wrote(&self->shadow, MOCK_IOVA, 12 * SZ_4K);
	ASK_MOCK();
	wrote(&self->shadow, MOCK_IOVA + 4 * SZ_4K, 8 * SZ_4K);
	ASK_MOCK();
	ASSERT_EQ(0, mock_unpin(vm, self->pin, b));
	wrote(&self->shadow, MOCK_IOVA + 4 * SZ_4K, 8 * SZ_4K);
	ASK_MOCK();
	ASK_MOCK();

	/* twice the same range */
	ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA, SZ_4K, true, &a));
	ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA, SZ_4K, true, &b));
	ASSERT_EQ(0, mock_unpin(vm, self->pin, b));
	for (int i = 0; i < 3; i++) {
		wrote(&self->shadow, MOCK_IOVA, SZ_4K);
		ASK_MOCK();
	}
	ASSERT_EQ(0, mock_unpin(vm, self->pin, a));
	wrote(&self->shadow, MOCK_IOVA, SZ_4K);
	ASK_MOCK();
	ASK_MOCK();
	NOTHING_ON_BASE();
}

/*
 * One range, pinned for write and for read. The one for read going says nothing
 * of the other, whose owner goes on writing.
 */
TEST_F(access, pinned_for_write_and_for_read)
{
	struct vm *vm = &self->vm;
	uint32_t pins[2];

	for (int write_first = 0; write_first < 2; write_first++) {
		for (int i = 0; i < 2; i++) {
			ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA,
					      4 * SZ_4K, i != write_first,
					      pins + i));
		}
		wrote(&self->shadow, MOCK_IOVA, 4 * SZ_4K);
		ASK_MOCK();
		ASSERT_EQ(0, mock_unpin(vm, self->pin, pins[write_first]));
		/* it may be marked once more here: it is dirty anyway */
		for (int i = 0; i < 3; i++) {
			wrote(&self->shadow, MOCK_IOVA, 4 * SZ_4K);
			ASK_MOCK();
		}
		ASSERT_EQ(0, mock_unpin(vm, self->pin, pins[!write_first]));
		wrote(&self->shadow, MOCK_IOVA, 4 * SZ_4K);
		ASK_MOCK();
		ASK_MOCK();
	}
	NOTHING_ON_BASE();
}

/* A pin that comes to nothing leaves nothing behind */
TEST_F(access, pins_that_fail)
{
	struct vm *vm = &self->vm;
	uint32_t pin;

	ASSERT_EQ(-ENOENT, mock_pin(vm, self->pin, MOCK_IOVA,
				    MOCK_BYTES + SZ_4K, true, &pin));
	ASK_MOCK();
	ASSERT_EQ(0, vm_unmap(vm, MOCK_IOVA, MOCK_BYTES / 2));
	ASSERT_EQ(0, vm_map(vm, MOCK_IOVA, self->mem, MOCK_BYTES / 2,
			    IOMMU_IOAS_MAP_READABLE));
	ASSERT_EQ(-EPERM, mock_pin(vm, self->pin, MOCK_IOVA, MOCK_BYTES, true,
				   &pin));
	ASK_MOCK();
	ASK_MOCK();
	ASSERT_SO_FAR_SO_GOOD();
}

/* Unmapping takes the pins away, and the access going does: once more dirty */
TEST_F(access, pinned_and_unmapped)
{
	struct vm *vm = &self->vm;
	uint32_t pin;

	ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA + SZ_4K, 4 * SZ_4K, true,
			      &pin));
	wrote(&self->shadow, MOCK_IOVA + SZ_4K, 4 * SZ_4K);
	ASK_MOCK();
	ASSERT_EQ(0, vm_unmap(vm, MOCK_IOVA, MOCK_BYTES / 2));
	wrote(&self->shadow, MOCK_IOVA + SZ_4K, 4 * SZ_4K);
	ASK_MOCK();
	ASK_MOCK();
	/* other memory in its place is clean */
	ASSERT_EQ(0, vm_map(vm, MOCK_IOVA, self->mem + MOCK_BYTES,
			    MOCK_BYTES / 2, MAP_RW));
	ASK_MOCK();

	ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA, 2 * SZ_4K, true, &pin));
	close(self->pin);
	self->pin = -1;
	wrote(&self->shadow, MOCK_IOVA, 2 * SZ_4K);
	ASK_MOCK();
	ASK_MOCK();
	NOTHING_ON_BASE();
}

/* Written, unmapped, then read; and what the IOMMU saw in the same bitmap */
TEST_F(access, written_and_unmapped)
{
	uint64_t bits[MOCK_PAGES / 64] = { 0xf0 };
	struct iommu_test_cmd cmd = {
		.id = self->vm.hwpt,
		.dirty = {
			.iova = MOCK_IOVA,
			.length = MOCK_BYTES,
			.page_size = SZ_4K,
			.uptr = (uintptr_t)bits,
		},
	};
	struct vm *vm = &self->vm;

	for (int unmap = 0; unmap < 2; unmap++) {
		ASSERT_EQ(0, mock(vm, IOMMU_TEST_OP_DIRTY, &cmd));
		ASSERT_EQ(4, cmd.dirty.out_nr_dirty);
		ASSERT_EQ(0, mock_rw(vm, self->rw, MOCK_IOVA + 6 * SZ_4K,
				     5 * SZ_4K, self->buf,
				     MOCK_ACCESS_RW_WRITE));
		wrote(&self->shadow, MOCK_IOVA + 4 * SZ_4K, 7 * SZ_4K);
		if (unmap) {
			ASSERT_EQ(0, vm_unmap(vm, MOCK_IOVA, MOCK_BYTES / 2));
			ASSERT_EQ(0, vm_map(vm, MOCK_IOVA,
					    self->mem + MOCK_BYTES,
					    MOCK_BYTES / 2, MAP_RW));
		}
		ASK_MOCK(.offset = 3);
		ASK_MOCK();
	}
	NOTHING_ON_BASE();
}

/* Two page tables of one IOAS: what an access wrote is news to each reader */
TEST_F(access, two_readers)
{
	uint32_t first = self->vm.hwpt, second;
	struct dsim device = { .devid = self->device };
	struct vm *vm = &self->vm;
	uint32_t pin;

	ASSERT_EQ(0, vm_alloc_hwpt(vm, &device, IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				   &second));
	ASSERT_EQ(0, vm_track(vm, second, true));
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, mock_rw(vm, self->rw, MOCK_IOVA + i * SZ_4K, 1,
				     self->buf, MOCK_ACCESS_RW_WRITE));
		ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA + 8 * SZ_4K,
				      SZ_4K, true, &pin));
		for (int reader = 0; reader < 2; reader++) {
			vm->hwpt = reader ? second : first;
			for (int again = 0; again < 2; again++) {
				if (!again)
					wrote(&self->shadow,
					      MOCK_IOVA + i * SZ_4K, 1);
				wrote(&self->shadow, MOCK_IOVA + 8 * SZ_4K, 1);
				ASK_MOCK();
			}
		}
		ASSERT_EQ(0, mock_unpin(vm, self->pin, pin));
		for (int reader = 0; reader < 2; reader++) {
			vm->hwpt = reader ? second : first;
			wrote(&self->shadow, MOCK_IOVA + 8 * SZ_4K, 1);
			ASK_MOCK();
			ASK_MOCK();
		}
	}
	/* one of them goes, the other reads on */
	vm->hwpt = first;
	ASSERT_EQ(0, vm_destroy_object(vm, second));
	ASSERT_EQ(0, mock_rw(vm, self->rw, MOCK_IOVA, 1, self->buf,
			     MOCK_ACCESS_RW_WRITE));
	wrote(&self->shadow, MOCK_IOVA, 1);
	ASK_MOCK();
	NOTHING_ON_BASE();
}

/* Nobody asked for tracking: accesses work as ever */
TEST_F(access, while_nobody_reads)
{
	struct vm *vm = &self->vm;
	uint32_t pin;

	ASSERT_EQ(0, vm_track(vm, vm->hwpt, false));
	ASSERT_EQ(0, mock_rw(vm, self->rw, MOCK_IOVA, SZ_4K, self->buf,
			     MOCK_ACCESS_RW_WRITE));
	ASSERT_EQ(0, mock_pin(vm, self->pin, MOCK_IOVA, SZ_4K, true, &pin));
	ASSERT_EQ(0, mock_unpin(vm, self->pin, pin));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	ASK_MOCK();
	ASSERT_SO_FAR_SO_GOOD();
}

TEST_HARNESS_MAIN
