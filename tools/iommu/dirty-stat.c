// SPDX-License-Identifier: GPL-2.0-only
/*
 * dirty-stat: what devices write, as it is tracked
 *
 * For dirty tracking what vmstat is for memory: every second a line for each
 * provider of dirty bits, and for each device that is not tracked exactly.  It reads
 * two tables in debugfs, so it needs root, and disturbs nobody.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DIR		"/sys/kernel/debug/iommufd_dirty/"
#define PAGE		4096
#define NAME		64
#define SHORT		16
#define HEADER_EVERY	20
#define NSEC		1000000000ULL

/* A line of the table of providers: what was counted since there is a provider */
struct provider {
	int pid;
	unsigned int ioas;
	unsigned int hwpt;
	char name[SHORT];
	char state[SHORT];
	uint64_t reads;
	uint64_t pages;
	uint64_t ns;
	uint64_t lost;
};

/* A line of the table of coverage: who tells what a device writes, and why not */
struct device {
	int pid;
	unsigned int ioas;
	char name[NAME];
	unsigned int id;
	unsigned int hwpt;
	unsigned int pasid;
	char coverage[SHORT];
	char provider[SHORT];
	uint64_t granule_min;
	uint64_t granule_max;
	char reason[4][SHORT];	/* iommu, device, access, all */
};

static const char *const types[4] = { "iommu", "device", "access", "all" };

struct table {
	void *rows;
	size_t nr;
	size_t row_size;
	int (*parse)(const char *line, void *row);
};

static struct options {
	double interval;
	long count;
	int pid;
	bool json;
	bool devices;
	bool once;
} options = { .interval = 1, .count = -1 };

/* ---- What the kernel tells ---- */

static int parse_provider(const char *line, void *row)
{
	struct provider *p = row;
	int found;

	found = sscanf(line, "%d %u %u %15s %15s %" SCNu64 " %" SCNu64 " %" SCNu64
		       " %" SCNu64, &p->pid, &p->ioas, &p->hwpt, p->name,
		       p->state, &p->reads, &p->pages, &p->ns, &p->lost);
	return found == 9 ? 0 : -EPROTO;
}

static int parse_device(const char *line, void *row)
{
	struct device *d = row;
	int found;

	found = sscanf(line, "%d %u %63s %u %u %u %15s %15s %" SCNu64 " %" SCNu64
		       " %15s %15s %15s %15s", &d->pid, &d->ioas, d->name,
		       &d->id, &d->hwpt, &d->pasid, d->coverage, d->provider,
		       &d->granule_min, &d->granule_max, d->reason[0],
		       d->reason[1], d->reason[2], d->reason[3]);
	return found == 14 ? 0 : -EPROTO;
}

/* The first line names the columns. More of them than we know may follow. */
static int read_table(const char *path, struct table *t)
{
	char line[512];
	size_t room = 0;
	int rc = 0;
	FILE *f;

	t->nr = 0;
	t->rows = NULL;
	f = fopen(path, "r");
	if (!f)
		return -errno;
	if (!fgets(line, sizeof(line), f)) {
		fclose(f);
		return -EIO;
	}
	while (fgets(line, sizeof(line), f)) {
		if (t->nr == room) {
			void *rows;

			room = room ? 2 * room : 16;
			rows = reallocarray(t->rows, room, t->row_size);
			if (!rows) {
				fclose(f);
				return -ENOMEM;
			}
			t->rows = rows;
		}
		rc = t->parse(line, (char *)t->rows + t->nr * t->row_size);
		if (rc)
			break;
		t->nr++;
	}
	fclose(f);
	return rc;
}

/* ---- What happened in between ---- */

struct rates {
	double reads;
	double pages;
	double busy;	/* part of the time that was spent collecting */
	double us;	/* of one read */
	uint64_t lost;
};

static const struct provider *find(const struct table *t,
				   const struct provider *p)
{
	const struct provider *rows = t->rows;
	size_t i;

	for (i = 0; i != t->nr; i++)
		if (rows[i].pid == p->pid && rows[i].ioas == p->ioas &&
		    rows[i].hwpt == p->hwpt && !strcmp(rows[i].name, p->name) &&
		    rows[i].reads <= p->reads && rows[i].pages <= p->pages)
			return &rows[i];
	return NULL;
}

/* Of one that is new, all that it has counted is new */
static struct rates rates_of(const struct provider *p, const struct table *before,
			     double seconds)
{
	static const struct provider nothing;
	const struct provider *old = find(before, p);
	struct rates r;
	uint64_t reads, ns;

	if (!old)
		old = &nothing;
	reads = p->reads - old->reads;
	ns = p->ns - old->ns;
	r.reads = reads / seconds;
	r.pages = (p->pages - old->pages) / seconds;
	r.busy = ns / seconds / NSEC;
	r.us = reads ? ns / 1e3 / reads : 0;
	r.lost = p->lost - old->lost;
	return r;
}

/* ---- For people ---- */

static void print_size(uint64_t bytes)
{
	static const char units[] = " KMGTPE";
	int unit = 0;

	for (; bytes >= 1024 && !(bytes % 1024); bytes /= 1024)
		unit++;
	printf("%" PRIu64 "%.*s", bytes, !!unit, &units[unit]);
}

static void print_header(void)
{
	printf("%8s %5s %5s %-8s %-6s %9s %11s %9s %9s %6s %5s\n", "pid", "ioas",
	       "hwpt", "provider", "state", "reads/s", "pages/s", "MB/s",
	       "us/read", "busy%", "lost");
}

static void print_provider(const struct provider *p, const struct rates *r)
{
	char hwpt[SHORT] = "all";

	if (p->hwpt)
		snprintf(hwpt, sizeof(hwpt), "%u", p->hwpt);
	printf("%8d %5u %5s %-8s %-6s %9.1f %11.0f %9.1f %9.1f %6.2f %5" PRIu64 "\n",
	       p->pid, p->ioas, hwpt, p->name, p->state, r->reads, r->pages,
	       r->pages * PAGE / 1e6, r->us, r->busy * 100, r->lost);
}

static void print_device(const struct device *d)
{
	const char *separator = " (";
	int i;

	printf("%8d %5u  %s: ", d->pid, d->ioas, d->name);
	if (!strcmp(d->coverage, "exact")) {
		printf("exact to ");
		print_size(d->granule_min);
		if (d->granule_max != d->granule_min) {
			printf("..");
			print_size(d->granule_max);
		}
		printf(", by %s", d->provider);
	} else if (!strcmp(d->coverage, "none")) {
		printf("NOT TRACKED");
	} else if (!strcmp(d->provider, "all")) {
		printf("all dirty at every read");
	} else {
		printf("%s, by %s", d->coverage, d->provider);
	}
	for (i = 0; i != 4; i++) {
		if (!strcmp(types[i], d->provider) || !strcmp(types[i], "access"))
			continue;
		printf("%s%s: %s", separator, types[i], d->reason[i]);
		separator = ", ";
	}
	printf("%s\n", *separator == ',' ? ")" : "");
}

/* What was not asked is of no interest, but for what failed */
static bool interesting(const struct provider *p, const struct rates *r)
{
	return strcmp(p->state, "off") || r->reads || r->pages || r->lost;
}

static void print_text(const struct table *now, const struct table *before,
		       const struct table *devices, double seconds)
{
	const struct provider *p = now->rows;
	const struct device *d = devices->rows;
	static unsigned int lines = HEADER_EVERY;
	unsigned int shown = 0;
	size_t i;

	if (lines >= HEADER_EVERY) {
		print_header();
		lines = 0;
	}
	for (i = 0; i != now->nr; i++) {
		struct rates r = rates_of(&p[i], before, seconds);

		if ((options.pid && options.pid != p[i].pid) ||
		    !interesting(&p[i], &r))
			continue;
		print_provider(&p[i], &r);
		shown++;
	}
	for (i = 0; i != devices->nr; i++) {
		if ((options.pid && options.pid != d[i].pid) ||
		    (!options.devices && !strcmp(d[i].coverage, "exact")))
			continue;
		print_device(&d[i]);
		shown++;
	}
	if (!shown)
		printf("%8s\n", "-");
	lines += shown ?: 1;
}

/* ---- For machines: an object a line ---- */

static void json_provider(const struct provider *p, const struct rates *r)
{
	printf("{\"pid\":%d,\"ioas\":%u,\"hwpt\":%u,\"provider\":\"%s\",\"state\":\"%s\",",
	       p->pid, p->ioas, p->hwpt, p->name, p->state);
	printf("\"reads_per_s\":%.3f,\"pages_per_s\":%.3f,\"us_per_read\":%.3f,",
	       r->reads, r->pages, r->us);
	printf("\"busy\":%.6f,\"lost\":%" PRIu64 ",", r->busy, r->lost);
	printf("\"total\":{\"reads\":%" PRIu64 ",\"pages\":%" PRIu64 ",",
	       p->reads, p->pages);
	printf("\"ns\":%" PRIu64 ",\"lost\":%" PRIu64 "}}", p->ns, p->lost);
}

static void json_device(const struct device *d)
{
	int i;

	printf("{\"pid\":%d,\"ioas\":%u,\"device\":\"%s\",\"id\":%u,\"hwpt\":%u,\"pasid\":%u,",
	       d->pid, d->ioas, d->name, d->id, d->hwpt, d->pasid);
	printf("\"coverage\":\"%s\",\"provider\":\"%s\",", d->coverage,
	       d->provider);
	printf("\"granule_min\":%" PRIu64 ",\"granule_max\":%" PRIu64 ",\"reasons\":{",
	       d->granule_min, d->granule_max);
	for (i = 0; i != 4; i++)
		printf("%s\"%s\":\"%s\"", i ? "," : "", types[i], d->reason[i]);
	printf("}}");
}

static void print_json(const struct table *now, const struct table *before,
		       const struct table *devices, double seconds)
{
	const struct provider *p = now->rows;
	const struct device *d = devices->rows;
	const char *separator = "";
	struct timespec time;
	size_t i;

	clock_gettime(CLOCK_REALTIME, &time);
	printf("{\"time\":%lld.%03ld,\"seconds\":%.3f,\"providers\":[",
	       (long long)time.tv_sec, time.tv_nsec / 1000000, seconds);
	for (i = 0; i != now->nr; i++) {
		struct rates r = rates_of(&p[i], before, seconds);

		if (options.pid && options.pid != p[i].pid)
			continue;
		printf("%s", separator);
		json_provider(&p[i], &r);
		separator = ",";
	}
	printf("],\"devices\":[");
	separator = "";
	for (i = 0; i != devices->nr; i++) {
		if (options.pid && options.pid != d[i].pid)
			continue;
		printf("%s", separator);
		json_device(&d[i]);
		separator = ",";
	}
	printf("]}\n");
}

/* ---- Round and round ---- */

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void wait_until(double when)
{
	struct timespec t = {
		.tv_sec = when,
		.tv_nsec = (when - (time_t)when) * NSEC,
	};

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
}

static void must_read(const char *path, struct table *t)
{
	int rc = read_table(path, t);

	if (!rc)
		return;
	fprintf(stderr, "dirty-stat: %s: %s\n", path, strerror(-rc));
	if (rc == -ENOENT)
		fprintf(stderr,
			"dirty-stat: is iommufd loaded, is it one with dirty tracking, and is debugfs mounted on /sys/kernel/debug?\n");
	if (rc == -EACCES || rc == -EPERM)
		fprintf(stderr, "dirty-stat: this needs root\n");
	exit(1);
}

static void usage(FILE *to)
{
	fputs("dirty-stat [-d] [-j] [-p PID] [INTERVAL [COUNT]]\n"
	      "\n"
	      "What devices write, as iommufd tracks it: a line for each provider of dirty\n"
	      "bits every INTERVAL seconds (1), COUNT times (until it is interrupted). The\n"
	      "first are of all the time since there is the provider, as of vmstat; INTERVAL\n"
	      "0 prints only these.\n"
	      "\n"
	      "  -d, --devices  a line for each device, not only for those that are not\n"
	      "                 tracked exactly: who tells what it writes, and why no other\n"
	      "  -j, --json     an object a line\n"
	      "  -p, --pid PID  only what belongs to this process\n"
	      "  -h, --help     this\n"
	      "\n"
	      "busy% is the part of the time in which the provider was asked; lost is how\n"
	      "often it failed, so that all of a range was reported dirty instead.\n", to);
}

static void bad(const char *what, const char *value)
{
	fprintf(stderr, "dirty-stat: %s, not '%s'\n", what, value);
	usage(stderr);
	exit(2);
}

static void parse_options(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "devices", no_argument, NULL, 'd' },
		{ "json", no_argument, NULL, 'j' },
		{ "pid", required_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{}
	};
	char *end;
	int c;

	while ((c = getopt_long(argc, argv, "djp:h", longs, NULL)) != -1) {
		switch (c) {
		case 'd':
			options.devices = true;
			break;
		case 'j':
			options.json = true;
			break;
		case 'p':
			options.pid = strtol(optarg, &end, 10);
			if (*end || options.pid <= 0)
				bad("a process has a positive number", optarg);
			break;
		case 'h':
			usage(stdout);
			exit(0);
		default:
			usage(stderr);
			exit(2);
		}
	}
	if (optind < argc) {
		options.interval = strtod(argv[optind], &end);
		if (*end || end == argv[optind] || !(options.interval >= 0) ||
		    options.interval > 1e6)
			bad("an interval is a number of seconds", argv[optind]);
		options.once = !options.interval;
		optind++;
	}
	if (optind < argc) {
		options.count = strtol(argv[optind], &end, 10);
		if (*end || options.count <= 0)
			bad("a count is a positive number", argv[optind]);
		optind++;
	}
	if (optind < argc)
		bad("an interval and a count are all there is", argv[optind]);
	if (options.once)
		options.count = 1;
}

/* What was counted before we came has no time: the machine's stands for it */
static double uptime(void)
{
	struct timespec t;

	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	struct table before = {}, devices = {
		.row_size = sizeof(struct device),
		.parse = parse_device,
	}, now = {
		.row_size = sizeof(struct provider),
		.parse = parse_provider,
	};
	double start, last, t, seconds = uptime();
	long i;

	parse_options(argc, argv);
	start = now_s();
	last = start;
	for (i = 0; i != options.count; i++) {
		if (i) {
			wait_until(start + i * options.interval);
			t = now_s();
			seconds = t - last;
			last = t;
		}
		must_read(DIR "providers", &now);
		must_read(DIR "coverage", &devices);
		(options.json ? print_json : print_text)(&now, &before, &devices,
							 seconds);
		if (fflush(stdout))
			return 1;
		free(before.rows);
		free(devices.rows);
		before = now;
	}
	free(before.rows);
	return 0;
}
