// SPDX-License-Identifier: GPL-2.0-only
/*
 * harvest [-b FAULT] REPEATS CASE...: measures, in a test machine, what it costs to
 * learn which pages devices wrote, over the simulator, and what that costs their DMA.
 * CASE is SOURCE:LEAF:DEVICES:GB:TASK[,TASK...], as bench/plan makes them:
 *
 *	SOURCE	who knows what was written, and how it is read: see source.c
 *	LEAF	4K or 2M, of the page table
 *	DEVICES	that write to the same memory, each to its share of the pages
 *	GB	of IOVA; all of it is read at once
 *	TASK	none, spread, cluster, 1%, 10%, all: which pages are written before each
 *		read, see dirts[]; idle: none, and reads follow each other; fill, map,
 *		memory; or limit, that of the machine
 *
 * Prints for bench/report, times in ns:
 *
 *	kernel RELEASE
 *	read SOURCE LEAF DEVICES GB DIRT PAGES NS
 *	fill SOURCE on|off PAGES NS	DMA of that many pages, which are clean
 *	map SOURCE on|off PAGES NS	and unmap: of that many pages
 *	unmap SOURCE on|off PAGES NS
 *	memory SOURCE GB BYTES		what tracking takes, from the machine's free memory
 *	limit entries|bits LEAF GB NS	memory is read as large as that: a word for each
 *					leaf, or a bit for each page
 *	limit tables LEAF GB NS		of the words, 512 around each that is spread
 *	limit ioctl LEAF GB NS		an ioctl that does nothing
 *	none SOURCE			this kernel does not have it
 *	disturbed TIMES OF		of so many times, somebody else used the core, see
 *					quiet.h
 *	done
 *
 * on and off: while pages are tracked, or not. No time of a read or of DMA is printed
 * before its result was compared with what the devices wrote, bit by bit: a kernel that
 * forgets pages is quick.
 *
 * FAULT makes the simulator do wrong, so that it can be seen that this is noticed: mute,
 * no_flush, or slow=US, see Documentation/driver-api/iommufd-dirty-sim.rst.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <sys/utsname.h>

#include "quiet.h"
#include "source.h"
#include "stopwatch.h"

/* Mapped again and again, so that a large guest needs little memory */
#define MEMORY		(64UL << 20)
#define MAX_DEVICES	4
/* Entries of a table of any format */
#define TABLE_WORDS	512
#define RING_STEP	0x8000UL
/* How many pages a FILL is measured with at most */
#define FILL_BYTES	(256UL << 20)
/* So many times as often as was asked for, if it takes no longer than that */
#define MORE		8
#define MORE_NS		200000000ULL
/* How long idle memory is read, to say how long one of these reads takes */
#define IDLE_NS		2000000ULL

/* One page of so many is written; or those side by side */
static const struct dirt {
	const char *name;
	size_t every;
	bool cluster;
} dirts[] = {
	{ .name = "none" },
	{ .name = "spread", .every = 10000 },
	{ .name = "cluster", .every = 10000, .cluster = true },
	{ .name = "1%", .every = 100 },
	{ .name = "10%", .every = 10 },
	{ .name = "all", .every = 1 },
};

static const struct dirt *find_dirt(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(dirts); i++)
		if (!strcmp(name, dirts[i].name))
			return &dirts[i];
	return NULL;
}

struct bench {
	const char *label;
	const struct source *source;
	size_t leaf, gb, pages, memory;
	unsigned int devices, repeats;
	struct vm vm;
	struct dsim dev[MAX_DEVICES];
	struct reader reader;
	unsigned long *want, *got;
};

static const char *fault, *fault_value = "1";

static void must(const struct bench *b, const char *what, int rc)
{
	if (!rc)
		return;
	fprintf(stderr, "error: %s: %s: %s\n", b->label, what, strerror(-rc));
	exit(1);
}

static size_t bytes(const struct bench *b)
{
	return b->gb << 30;
}

/* ---- The machine ---- */

static void device_name(char *name, unsigned int i)
{
	sprintf(name, "bench%u", i);
}

static void make_device(struct bench *b, unsigned int i)
{
	struct dsim_config config = b->source->config;
	char name[16], attr[32];

	device_name(name, i);
	config.page_sizes = SZ_4K | b->leaf;
	must(b, "make a device", dsim_create(&b->dev[i], name, &config));
	if (fault) {
		snprintf(attr, sizeof(attr), "fault_%s", fault);
		must(b, "inject the fault", dsim_set(name, attr, fault_value));
	}
	must(b, "open the device", dsim_open(&b->dev[i]));
	must(b, "bind the device", dsim_bind(&b->dev[i], b->vm.iommufd));
}

/* Of the data, the longest run of pages in large leaves, as a power of two */
static void choose_large(struct bench *b)
{
	struct vm *vm = &b->vm;
	size_t best = 0, at = 0, run = 0;

	for (size_t page = 0; page < vm->data_size / SZ_4K; page++) {
		run = SZ_4K << (vm->leaf[page] - 12) == b->leaf ? run + 1 : 0;
		if (run > best) {
			best = run;
			at = page + 1 - run;
		}
	}
	if (!best) {
		fprintf(stderr, "error: %s: no 2M of memory are contiguous\n", b->label);
		exit(1);
	}
	vm->data += at * SZ_4K;
	for (b->memory = b->leaf; 2 * b->memory <= best * SZ_4K;)
		b->memory *= 2;
	vm->data_size = b->memory;
}

/* Frames in order, so that there are leaves of 2M where they are wanted */
static void get_memory(struct bench *b)
{
	struct vm *vm = &b->vm;
	size_t large;

	/* more of it, to choose from */
	must(b, "get memory", vm_alloc_memory(vm, 3 * MEMORY, false));
	vm->data_size = MEMORY;
	b->memory = MEMORY;
	if (b->leaf == SZ_4K || b->source->config.emulated)
		return;
	vm->data_size /= 2;
	must(b, "put memory in order", vm_learn_leaves(vm, SZ_4K | b->leaf, &large));
	choose_large(b);
}

/* The same memory once more: a copy needs not pin it again, which takes time */
static int map_again(struct bench *b, unsigned long iova)
{
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA,
		.dst_ioas_id = b->vm.ioas,
		.src_ioas_id = b->vm.ioas,
		.length = b->memory,
		.dst_iova = iova,
		.src_iova = DATA_IOVA,
	};

	return ioctl(b->vm.iommufd, IOMMU_IOAS_COPY, &copy) ? -errno : 0;
}

/* False when this kernel does not track dirty pages of this source */
static bool setup(struct bench *b)
{
	struct vm *vm = &b->vm;
	int rc;

	must(b, "open iommufd", vm_create(vm));
	for (unsigned int i = 0; i < b->devices; i++)
		make_device(b, i);
	b->reader = (struct reader){
		.source = b->source,
		.vm = vm,
		.dev = b->dev,
		.devices = b->devices,
		.bytes = bytes(b),
	};
	rc = reader_attach(&b->reader);
	if (rc == -EOPNOTSUPP)
		return false;
	must(b, "make a page table", rc);

	get_memory(b);
	must(b, "map memory", vm_map_memory(vm));
	for (size_t at = b->memory; at < bytes(b); at += b->memory)
		must(b, "map memory again", map_again(b, DATA_IOVA + at));

	b->want = calloc(b->pages / 64, sizeof(*b->want));
	b->got = calloc(b->pages / 64, sizeof(*b->got));
	if (!b->want || !b->got)
		must(b, "get bitmaps", -ENOMEM);
	for (unsigned int i = 0; i < b->devices; i++)
		must(b, "start the device",
		     dsim_start_at(&b->dev[i], vm->ring + i * RING_STEP,
				   RING_IOVA + i * RING_STEP));
	return true;
}

static void teardown(struct bench *b)
{
	char name[16];

	for (unsigned int i = 0; i < b->devices; i++)
		dsim_close(&b->dev[i]);
	vm_destroy(&b->vm);
	for (unsigned int i = 0; i < b->devices; i++) {
		device_name(name, i);
		must(b, "remove the device", dsim_remove(name));
	}
	free(b->want);
	free(b->got);
}

/* ---- Tracking ---- */

static void begin(struct bench *b)
{
	must(b, "start tracking", reader_begin(&b->reader));
}

static void end(struct bench *b)
{
	must(b, "stop tracking", reader_end(&b->reader));
}

/* What the devices have written since the last call, is it what was got? */
static void compare(const struct bench *b)
{
	size_t lost = 0, extra = 0;

	for (size_t i = 0; i < b->pages / 64; i++) {
		unsigned long want = b->source->all ? ~0ULL : b->want[i];

		lost += __builtin_popcountll(want & ~b->got[i]);
		extra += __builtin_popcountll(b->got[i] & ~want);
	}
	if (lost || extra) {
		fprintf(stderr, "error: %s: %zu pages lost, %zu not written\n",
			b->label, lost, extra);
		exit(1);
	}
}

/* Touches all of it too: no page fault is measured */
static void clear_got(struct bench *b)
{
	memset(b->got, 0, b->pages / 8);
}

/* Again and again for so long, or once; how long one takes */
static unsigned long long read_for(struct bench *b, unsigned long long least)
{
	unsigned long long start = stopwatch_ns(), ns;
	unsigned int n = 0;

	do {
		must(b, "read dirty pages", reader_read(&b->reader, b->got));
		ns = stopwatch_ns() - start;
		n++;
	} while (ns < least);
	compare(b);
	return ns / n;
}

static void read_dirty(struct bench *b)
{
	clear_got(b);
	read_for(b, 0);
}

/* ---- What devices write ---- */

static void clear_want(struct bench *b)
{
	memset(b->want, 0, b->pages / 8);
}

/* A page is written, so its leaf is dirty */
static void want_page(struct bench *b, size_t page)
{
	const struct dsim_config *config = &b->source->config;
	/* only page tables know leaves, all others pages */
	size_t leaf = config->no_ad || config->emulated ? 1 : b->leaf / SZ_4K;

	if (leaf == 1) {
		b->want[page / 64] |= 1ULL << page % 64;
		return;
	}
	memset(&b->want[page / leaf * leaf / 64], 0xff, leaf / 8);
}

static void put(struct bench *b, unsigned int i, const struct dsim_desc *desc)
{
	if (b->dev[i].tail - dsim_reg(&b->dev[i], DSIM_REG_HEAD) == RING_ENTRIES)
		must(b, "fill the ring", -E2BIG);
	dsim_put(&b->dev[i], desc);
}

static void run(struct bench *b)
{
	for (unsigned int i = 0; i < b->devices; i++)
		must(b, "ring the doorbell", dsim_kick(&b->dev[i]));
	for (unsigned int i = 0; i < b->devices; i++)
		must(b, "wait for the device", dsim_wait(&b->dev[i]));
}

/* @nr pages, @step apart, from @page on, by device @i */
static void scatter(struct bench *b, unsigned int i, size_t page, size_t step, size_t nr)
{
	for (size_t n; nr; nr -= n, page += n * step) {
		struct dsim_desc desc = {
			.op = DSIM_OP_SCATTER,
			.dst = DATA_IOVA + page * SZ_4K,
			.stride = step * SZ_4K,
		};

		n = MIN(nr, DSIM_MAX_COUNT);
		desc.count = n;
		put(b, i, &desc);
	}
}

/* Which pages @dirt is of: @nr, @step apart, from @first on */
static void choose(const struct bench *b, const struct dirt *dirt, size_t *first,
		   size_t *step, size_t *nr)
{
	*nr = dirt->every ? (b->pages - 1) / dirt->every + 1 : 0;
	*step = dirt->cluster ? 1 : dirt->every;
	*first = dirt->cluster ? b->pages / 3 : 0;
}

static void write_pages(struct bench *b, const struct dirt *dirt)
{
	size_t first, step, nr, share;

	choose(b, dirt, &first, &step, &nr);
	for (unsigned int i = 0; i < b->devices; i++) {
		share = (nr + b->devices - 1 - i) / b->devices;
		scatter(b, i, first + i * step, step * b->devices, share);
	}
	run(b);
}

/* ---- What is measured ---- */

static void print_read(const struct bench *b, const char *dirt, size_t pages,
		       unsigned long long ns)
{
	printf("read %s %s %u %zu %s %zu %llu\n", b->source->name,
	       b->leaf == SZ_4K ? "4K" : "2M", b->devices, b->gb, dirt, pages, ns);
}

/* What is quick is measured more often: chance has more to do with it */
static bool more_of(unsigned int n, unsigned int repeats, unsigned long long start)
{
	return n < repeats || (n < MORE * repeats && stopwatch_ns() - start < MORE_NS);
}

static void measure_read(struct bench *b, const struct dirt *dirt)
{
	/* to have all of it written is what most of the time goes into */
	unsigned int repeats = dirt->every == 1 ? MIN(b->repeats, 2U) : b->repeats;
	unsigned long long start = stopwatch_ns();
	size_t first, step, nr;

	choose(b, dirt, &first, &step, &nr);
	clear_want(b);
	for (size_t i = 0; i < nr; i++)
		want_page(b, first + i * step);
	for (unsigned int n = 0; more_of(n, repeats, start); n++) {
		struct attempt try = {};
		unsigned long long ns;

		do {
			if (nr)
				write_pages(b, dirt);
			clear_got(b);
			attempt_begin(&try);
			ns = read_for(b, 0);
		} while (attempt_again(&try));
		print_read(b, dirt->name, nr, ns);
	}
}

static void measure_idle(struct bench *b)
{
	clear_want(b);
	for (unsigned int n = 0; n < b->repeats; n++) {
		struct attempt try = {};
		unsigned long long ns;

		do {
			clear_got(b);
			attempt_begin(&try);
			ns = read_for(b, IDLE_NS);
		} while (attempt_again(&try));
		print_read(b, "idle", 0, ns);
	}
}

static unsigned long long fill(struct bench *b, size_t size, __u64 value,
			       struct attempt *try)
{
	unsigned long long ns;

	for (size_t at = 0; at < size; at += DSIM_MAX_LEN) {
		struct dsim_desc desc = {
			.op = DSIM_OP_FILL,
			.dst = DATA_IOVA + at,
			.len = DSIM_MAX_LEN,
			.value = value,
		};

		put(b, 0, &desc);
	}
	attempt_begin(try);
	ns = stopwatch_ns();
	run(b);
	ns = stopwatch_ns() - ns;
	for (size_t i = 0; i < b->memory; i += sizeof(__u64))
		if (*(__u64 *)(b->vm.data + i) != value)
			must(b, "FILL left other data", -EIO);
	return ns;
}

static void measure_fill(struct bench *b, const char *when)
{
	size_t size = MIN(bytes(b), FILL_BYTES);

	clear_want(b);
	for (size_t page = 0; page < size / SZ_4K; page++)
		want_page(b, page);
	/* one more, which warms up */
	for (unsigned int n = 0; n <= b->repeats; n++) {
		struct attempt try = {};
		unsigned long long ns;

		do {
			ns = fill(b, size, n + 1, &try);
			if (b->reader.on)
				read_dirty(b);
		} while (attempt_again(&try));
		if (n)
			printf("fill %s %s %zu %llu\n", b->source->name, when,
			       size / SZ_4K, ns);
	}
}

static void measure_map(struct bench *b, const char *when)
{
	unsigned long iova = DATA_IOVA + bytes(b);

	for (unsigned int n = 0; n <= b->repeats; n++) {
		unsigned long long start, mapped, unmapped;
		struct attempt try = {};

		do {
			attempt_begin(&try);
			start = stopwatch_ns();
			must(b, "map", vm_map(&b->vm, iova, b->vm.data, b->memory, MAP_RW));
			mapped = stopwatch_ns();
			must(b, "unmap", vm_unmap(&b->vm, iova, b->memory));
			unmapped = stopwatch_ns();
		} while (attempt_again(&try));
		if (!n)
			continue;
		printf("map %s %s %zu %llu\n", b->source->name, when,
		       b->memory / SZ_4K, mapped - start);
		printf("unmap %s %s %zu %llu\n", b->source->name, when,
		       b->memory / SZ_4K, unmapped - mapped);
	}
}

static void on_and_off(struct bench *b, void (*measure)(struct bench *b, const char *when))
{
	measure(b, "on");
	end(b);
	measure(b, "off");
	begin(b);
}

/* With what each CPU keeps for itself, which MemFree leaves out */
static long free_bytes(const struct bench *b)
{
	FILE *f = fopen("/proc/sys/vm/stat_refresh", "r");
	long pages = 0, n;
	char line[128];

	if (f) {
		fgetc(f);
		fclose(f);
	}
	f = fopen("/proc/zoneinfo", "r");
	if (!f)
		must(b, "read /proc/zoneinfo", -errno);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, " nr_free_pages %ld", &n) == 1 ||
		    sscanf(line, " count: %ld", &n) == 1)
			pages += n;
	fclose(f);
	return pages * SZ_4K;
}

static void measure_memory(struct bench *b)
{
	for (unsigned int n = 0; n < b->repeats; n++) {
		long before, taken;

		end(b);
		/* the kernel frees some of it a moment later */
		usleep(200000);
		before = free_bytes(b);
		begin(b);
		taken = before - free_bytes(b);
		printf("memory %s %zu %ld\n", b->source->name, b->gb, MAX(taken, 0));
	}
}

static void print_limit(const struct bench *b, const char *what, unsigned long long ns)
{
	printf("limit %s %s %zu %llu\n", what, b->leaf == SZ_4K ? "4K" : "2M", b->gb, ns);
}

/* Whole tables, each that has one word of @every */
static unsigned long long read_tables(volatile const unsigned long *memory, size_t words,
				      size_t every)
{
	unsigned long long start = stopwatch_ns();

	for (size_t at = 0, i = 0; at < words; at += every)
		for (i = MAX(i, at / TABLE_WORDS * TABLE_WORDS);
		     i < words && i / TABLE_WORDS == at / TABLE_WORDS; i++)
			(void)memory[i];
	return stopwatch_ns() - start;
}

static void read_once(const struct bench *b, const char *what, size_t words, size_t every)
{
	unsigned long *memory = malloc(words * sizeof(*memory));

	if (!memory)
		must(b, "get memory", -ENOMEM);
	memset(memory, 1, words * sizeof(*memory));
	for (unsigned int n = 0; n < b->repeats; n++) {
		struct attempt try = {};
		unsigned long long ns;

		do {
			/* what was read last time leaves the caches, if there is enough of it */
			read_tables(memory, words, TABLE_WORDS);
			attempt_begin(&try);
			ns = read_tables(memory, words, every);
		} while (attempt_again(&try));
		print_limit(b, what, ns);
	}
	free(memory);
}

static void measure_ioctl(const struct bench *b)
{
	const unsigned int times = 1000;
	unsigned long long ns;

	for (unsigned int n = 0; n < b->repeats; n++) {
		struct attempt try = {};

		do {
			attempt_begin(&try);
			ns = stopwatch_ns();
			for (unsigned int i = 0; i < times; i++)
				if (!ioctl(b->vm.iommufd, _IO(IOMMUFD_TYPE, 0xff)))
					must(b, "do nothing", -EEXIST);
			ns = stopwatch_ns() - ns;
		} while (attempt_again(&try));
		print_limit(b, "ioctl", ns / times);
	}
}

static void measure_limit(struct bench *b)
{
	size_t entries = bytes(b) / b->leaf;

	read_once(b, "entries", entries, TABLE_WORDS);
	read_once(b, "tables", entries, MAX(find_dirt("spread")->every * SZ_4K / b->leaf, 1));
	read_once(b, "bits", b->pages / 64, TABLE_WORDS);
	measure_ioctl(b);
}

static const struct task {
	const char *name;
	void (*fn)(struct bench *b, const char *when);
	void (*fn_once)(struct bench *b);
} tasks[] = {
	{ "fill", measure_fill, NULL },
	{ "map", measure_map, NULL },
	{ "memory", NULL, measure_memory },
	{ "idle", NULL, measure_idle },
	{ "limit", NULL, measure_limit },
};

static bool measure(struct bench *b, const char *name)
{
	const struct dirt *dirt = find_dirt(name);

	if (dirt) {
		measure_read(b, dirt);
		return true;
	}
	for (size_t i = 0; i < ARRAY_LEN(tasks); i++) {
		if (strcmp(name, tasks[i].name))
			continue;
		if (tasks[i].fn)
			on_and_off(b, tasks[i].fn);
		else
			tasks[i].fn_once(b);
		return true;
	}
	return false;
}

/* ---- The front ---- */

/* False when it is no case. Takes @arg apart. */
static bool parse(struct bench *b, char *arg, char **list)
{
	char *word[5];

	for (int i = 0; i < 5; i++) {
		word[i] = strsep(&arg, ":");
		if (!word[i])
			return false;
	}
	b->source = find_source(word[0]);
	b->leaf = strcmp(word[1], "2M") ? SZ_4K : SZ_2M;
	b->devices = atoi(word[2]);
	b->gb = atoi(word[3]);
	b->pages = bytes(b) / SZ_4K;
	*list = word[4];
	return b->source && b->devices && b->devices <= MAX_DEVICES && b->gb;
}

static bool run_case(char *arg, unsigned int repeats)
{
	struct bench b = { .label = strdup(arg), .repeats = repeats };
	char *list, *task;
	bool known = true;

	if (!b.label || !parse(&b, arg, &list))
		return false;
	if (setup(&b)) {
		begin(&b);
		/* caches are cold: not counted */
		read_dirty(&b);
		while (known && (task = strsep(&list, ",")))
			known = measure(&b, task);
		end(&b);
	} else {
		printf("none %s\n", b.source->name);
	}
	teardown(&b);
	free((void *)b.label);
	return known;
}

int main(int argc, char **argv)
{
	struct utsname name;
	int opt, repeats;

	while ((opt = getopt(argc, argv, "b:")) != -1) {
		char *value = optarg;

		if (opt != 'b')
			return 2;
		fault = strsep(&value, "=");
		fault_value = value ?: "1";
	}
	repeats = optind < argc ? atoi(argv[optind]) : 0;
	if (repeats < 1)
		return 2;
	stopwatch_init();
	uname(&name);
	printf("kernel %s\n", name.release);
	for (int i = optind + 1; i < argc; i++)
		if (!run_case(argv[i], repeats)) {
			fprintf(stderr, "error: '%s' is no case\n", argv[i]);
			return 2;
		}
	if (!stopwatch_right()) {
		fprintf(stderr, "error: the CPU's counter and the clock do not agree\n");
		return 1;
	}
	printf("disturbed %u %u\n", attempts_disturbed, attempts);
	printf("done\n");
	return 0;
}
