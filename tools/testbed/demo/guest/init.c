// SPDX-License-Identifier: GPL-2.0
/*
 * The only program of the demo's guest: drives the simulated DMA devices
 *
 * Runs as /init.  Takes commands and reports on the console, one line each;
 * every line of ours starts with "DSIM: ".
 *
 *   verify   wait for the devices, check every page, report
 *   rate N   submit N descriptors a second from now on, to all devices together
 *   stop     disable the devices
 *
 * The kernel passes on from its command line, as environment:
 *   dsim_devices=N  how many devices there must be
 *   dsim_huge=N     size of the area of each in huge pages, all of it used
 *   dsim_hot=N      huge pages of it that are written all the time
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "workload.h"

#define TURN_MS		10
#define SAMPLES		8	/* pages checked each turn */
#define PCI_COMMAND	4
#define PCI_MASTER	4

#define MAX_DEVICES	4

static struct workload loads[MAX_DEVICES];
static unsigned int nr_loads;
static unsigned int rate = 400;

void report(const char *fmt, ...)
{
	char line[320];
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	if (n > 0)
		dprintf(1, "DSIM: %s\n", line);
}

/* Nobody starts us again, and the kernel dies with us: stay, do nothing */
static void __attribute__((noreturn, format(printf, 1, 2)))
fail(const char *fmt, ...)
{
	char line[200];
	va_list args;

	va_start(args, fmt);
	vsnprintf(line, sizeof(line), fmt, args);
	va_end(args);
	report("error %s (%s)", line, strerror(errno));
	for (;;)
		pause();
}

void pause_ms(unsigned int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&t, NULL);
}

static unsigned long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ul + t.tv_nsec / 1000000;
}

static unsigned int setting(const char *name, unsigned int otherwise,
			    unsigned int least, unsigned int most)
{
	const char *text = getenv(name);
	unsigned int value = text ? strtoul(text, NULL, 0) : otherwise;

	if (value < least || value > most)
		fail("%s=%u is not in %u..%u", name, value, least, most);
	return value;
}

static void console_raw(void)
{
	struct termios t;

	if (tcgetattr(0, &t))
		return;
	cfmakeraw(&t);
	t.c_oflag |= OPOST | ONLCR;
	tcsetattr(0, TCSANOW, &t);
}

static unsigned int read_hex(const char *dir, const char *name)
{
	char path[512], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return strtoul(text, NULL, 16);
}

static int open_in(const char *dir, const char *name)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_RDWR | O_SYNC);
	if (fd < 0)
		fail("cannot open %s", path);
	return fd;
}

static const char pci[] = "/sys/bus/pci/devices";

static int is_device(const struct dirent *entry)
{
	char dir[300];

	snprintf(dir, sizeof(dir), "%s/%s", pci, entry->d_name);
	return read_hex(dir, "vendor") == DSIM_PCI_VENDOR_ID &&
	       read_hex(dir, "device") == DSIM_PCI_DEVICE_ID;
}

static volatile uint8_t *open_device(const char *slot)
{
	uint16_t command;
	char dir[300];
	void *bar;
	int fd;

	snprintf(dir, sizeof(dir), "%s/%s", pci, slot);
	fd = open_in(dir, "enable");
	if (write(fd, "1", 1) != 1)
		fail("cannot enable %s", dir);
	close(fd);

	fd = open_in(dir, "config");
	if (pread(fd, &command, 2, PCI_COMMAND) != 2)
		fail("cannot read the config space of %s", dir);
	command |= PCI_MASTER;
	if (pwrite(fd, &command, 2, PCI_COMMAND) != 2)
		fail("cannot make %s bus master", dir);
	close(fd);

	fd = open_in(dir, "resource0");
	bar = mmap(NULL, DSIM_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (bar == MAP_FAILED)
		fail("cannot map BAR 0 of %s", dir);
	close(fd);
	return bar;
}

/* In the order of their slots, which is the same on both sides */
static void find_devices(unsigned int expected)
{
	struct dirent **found;
	int n = scandir(pci, &found, is_device, alphasort);

	if (n != (int)expected)
		fail("%d PCI devices %04x:%04x, not %u", n, DSIM_PCI_VENDOR_ID,
		     DSIM_PCI_DEVICE_ID, expected);
	for (nr_loads = 0; nr_loads < expected; nr_loads++) {
		loads[nr_loads].number = nr_loads;
		loads[nr_loads].bar = open_device(found[nr_loads]->d_name);
		free(found[nr_loads]);
	}
	free(found);
}

/*
 * Huge pages, since the kernel never moves them and pagemap is read once; and
 * large entries of the IOMMU then cover what is hot, and not all of memory.
 */
static void get_area(struct workload *load, unsigned int nr_huge)
{
	size_t size = nr_huge * HUGE_BYTES;
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry;
	uint8_t *area;

	area = mmap(NULL, size, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_POPULATE,
		    -1, 0);
	if (area == MAP_FAILED || mlock(area, size))
		fail("cannot get %u huge pages", nr_huge);
	memset(area, 0, size);

	for (unsigned int i = 0; i < nr_huge; i++) {
		uintptr_t at = (uintptr_t)(area + i * HUGE_BYTES);

		if (fd < 0 || pread(fd, &entry, 8, at / PAGE_BYTES * 8) != 8)
			fail("cannot read pagemap");
		if (!(entry >> 63) || !(entry & ((1ull << 55) - 1)))
			fail("huge page %u has no address", i);
		load->dma[i] = (entry & ((1ull << 55) - 1)) * PAGE_BYTES;
	}
	close(fd);
	load->area = area;
	load->nr_pages = nr_huge * HUGE_PAGES;
}

static void verify(struct workload *load)
{
	struct verdict v;

	workload_verify(load, &v);
	report("verify device=%u pages=%u stale=%u first=%d submitted=%u completed=%u faults=%u errors=%u lost-status=%u samples=%llu bad-samples=%u stuck=%d result=%s",
	       load->number, v.pages, v.stale, v.stale ? (int)v.first : -1,
	       v.submitted, v.completed, v.faults, load->errors,
	       load->lost_status, (unsigned long long)load->samples,
	       load->bad_samples, load->stuck, v.ok ? "ok" : "bad");
}

static bool stopped;

static void command(char *line)
{
	unsigned int i;

	line[strcspn(line, "\r\n")] = 0;

	if (!strcmp(line, "verify")) {
		for (i = 0; i < nr_loads; i++)
			verify(&loads[i]);
		report("verified");
	} else if (!strcmp(line, "stop")) {
		for (i = 0; i < nr_loads; i++)
			workload_stop(&loads[i]);
		stopped = true;
		report("stopped");
	} else if (!strncmp(line, "rate ", 5)) {
		rate = strtoul(line + 5, NULL, 10);
		report("rate %u", rate);
	} else if (line[0]) {
		report("unknown command: %s", line);
	}
}

static void take_commands(int wait)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	static char line[64];
	static size_t used;
	char c;

	while (poll(&p, 1, wait) > 0 && read(0, &c, 1) == 1) {
		if (used < sizeof(line) - 1)
			line[used++] = c;
		if (c == '\n') {
			line[used] = 0;
			used = 0;
			command(line);
		}
		wait = 0;
	}
}

static void report_run(void)
{
	unsigned int descs = 0, done = 0, bad = 0;
	unsigned long long samples = 0;

	for (unsigned int i = 0; i < nr_loads; i++) {
		const struct workload *load = &loads[i];

		descs += load->submitted;
		done += load->done;
		samples += load->samples;
		bad += load->bad_samples + load->errors + load->lost_status;
	}
	report("run descs=%u done=%u samples=%llu bad=%u", descs, done, samples,
	       bad);
}

static void forever(void)
{
	unsigned int turn = 0;
	unsigned long last = now_ms(), last_report = last, due = 0;

	while (!stopped) {
		unsigned long now = now_ms(), n;

		/* a migration stops the clock or lets it jump: owe no more than this */
		due += (now - last < 100 ? now - last : 100) * rate;
		last = now;
		n = due / 1000;
		due %= 1000;
		/* what does not divide goes to each in turn */
		for (unsigned int i = 0; i < nr_loads; i++, turn++)
			workload_turn(&loads[turn % nr_loads],
				      n / nr_loads + (i < n % nr_loads),
				      SAMPLES);
		turn += n % nr_loads;
		if (now - last_report >= 1000) {
			last_report = now;
			report_run();
		}
		take_commands(TURN_MS);
	}
	for (;;)
		take_commands(-1);
}

int main(void)
{
	unsigned int huge, hot;

	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	if (mount("proc", "/proc", "proc", 0, NULL) ||
	    mount("sysfs", "/sys", "sysfs", 0, NULL))
		fail("cannot mount /proc and /sys");
	console_raw();

	huge = setting("dsim_huge", 24, 3, MAX_HUGE);
	hot = setting("dsim_hot", 15, 1, huge - 2);
	find_devices(setting("dsim_devices", 1, 1, MAX_DEVICES));
	for (unsigned int n = 0; n < nr_loads; n++) {
		struct workload *load = &loads[n];

		get_area(load, huge);
		load->first_cold = (1 + hot) * HUGE_PAGES;
		if (!workload_start(load))
			fail("device %u does not run", n);
		for (unsigned int i = 0; i < huge; i++)
			report("area device=%u huge=%u gpa=0x%llx", n, i,
			       (unsigned long long)load->dma[i]);
	}
	report("ready devices=%u pages=%u hot=%u cold=%u", nr_loads,
	       loads[0].nr_pages, loads[0].first_cold - FIRST_HOT,
	       loads[0].nr_pages - loads[0].first_cold);
	forever();
	return 0;
}
