// SPDX-License-Identifier: GPL-2.0
/*
 * The only program of the demo's guest: drives the simulated DMA device
 *
 * Runs as /init.  Takes commands and reports on the console, one line each;
 * every line of ours starts with "DSIM: ".
 *
 *   verify   wait for the device, check every page, report
 *   rate N   submit N descriptors a second from now on
 *   stop     disable the device
 *
 * The kernel passes on from its command line, as environment:
 *   dsim_huge=N   size of the area in huge pages, all of it used
 *   dsim_hot=N    huge pages of it that are written all the time
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

static struct workload load;
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

static volatile uint8_t *find_device(void)
{
	static const char pci[] = "/sys/bus/pci/devices";
	char dir[300] = "";
	struct dirent *e;
	DIR *d = opendir(pci);
	uint16_t command;
	void *bar;
	int fd;

	while (d && (e = readdir(d))) {
		snprintf(dir, sizeof(dir), "%s/%s", pci, e->d_name);
		if (read_hex(dir, "vendor") == DSIM_PCI_VENDOR_ID &&
		    read_hex(dir, "device") == DSIM_PCI_DEVICE_ID)
			break;
		dir[0] = 0;
	}
	if (!dir[0])
		fail("no PCI device %04x:%04x", DSIM_PCI_VENDOR_ID,
		     DSIM_PCI_DEVICE_ID);
	closedir(d);

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

/*
 * Huge pages, since the kernel never moves them and pagemap is read once; and
 * large entries of the IOMMU then cover what is hot, and not all of memory.
 */
static void get_area(unsigned int nr_huge)
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
		load.dma[i] = (entry & ((1ull << 55) - 1)) * PAGE_BYTES;
	}
	close(fd);
	load.area = area;
	load.nr_pages = nr_huge * HUGE_PAGES;
}

static void verify(void)
{
	struct verdict v;

	workload_verify(&load, &v);
	report("verify pages=%u stale=%u first=%d submitted=%u completed=%u faults=%u errors=%u lost-status=%u samples=%llu bad-samples=%u stuck=%d result=%s",
	       v.pages, v.stale, v.stale ? (int)v.first : -1, v.submitted,
	       v.completed, v.faults, load.errors, load.lost_status,
	       (unsigned long long)load.samples, load.bad_samples, load.stuck,
	       v.ok ? "ok" : "bad");
}

static bool stopped;

static void command(char *line)
{
	line[strcspn(line, "\r\n")] = 0;
	if (!strcmp(line, "verify")) {
		verify();
	} else if (!strcmp(line, "stop")) {
		workload_stop(&load);
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

static void forever(void)
{
	unsigned long last = now_ms(), last_report = last, due = 0;

	while (!stopped) {
		unsigned long now = now_ms(), n;

		/* a migration stops the clock or lets it jump: owe no more than this */
		due += (now - last < 100 ? now - last : 100) * rate;
		last = now;
		n = due / 1000;
		due %= 1000;
		workload_turn(&load, n, SAMPLES);
		if (now - last_report >= 1000) {
			last_report = now;
			report("run descs=%u done=%u samples=%llu bad=%u",
			       load.submitted, load.done,
			       (unsigned long long)load.samples,
			       load.bad_samples + load.errors + load.lost_status);
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
	load.bar = find_device();
	get_area(huge);
	load.first_cold = (1 + hot) * HUGE_PAGES;
	if (!workload_start(&load))
		fail("the device does not run");

	report("ready pages=%u hot=%u cold=%u descs=%u", load.nr_pages,
	       load.first_cold - FIRST_HOT, load.nr_pages - load.first_cold,
	       load.submitted);
	for (unsigned int i = 0; i < huge; i++)
		report("area huge=%u gpa=0x%llx", i,
		       (unsigned long long)load.dma[i]);
	forever();
	return 0;
}
