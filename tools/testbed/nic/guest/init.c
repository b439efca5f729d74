// SPDX-License-Identifier: GPL-2.0
/*
 * The only program of a guest with a network card: takes one connection, sends all the
 * time, and checks what it receives
 *
 * Runs as /init.  Every line of ours starts with "NIC: ".  /modules has the driver, and
 * what it needs, in the order of their names.  With tx_checksum=off on the kernel's
 * command line the card is not asked to put checksums into frames.
 */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"

#define CARD	"eth0"
#define ADDRESS	"10.82.57.2"
#define MASK	"255.255.255.0"
#define PORT	5000

static volatile sig_atomic_t never;

static void __attribute__((noreturn, format(printf, 1, 2)))
fail(const char *fmt, ...)
{
	int error = errno;
	va_list args;

	va_start(args, fmt);
	printf("NIC: error ");
	vprintf(fmt, args);
	printf(" (%s)\n", strerror(error));
	va_end(args);
	for (;;)
		pause();
}

static void say(const char *what, const struct stream *s)
{
	printf("NIC: %s sent=%" PRIu64 " received=%" PRIu64 " wrong=%" PRIu64
	       " first-wrong=%" PRIu64 "\n",
	       what, s->sent, s->received, s->wrong, s->first_wrong);
}

static void report(const struct stream *s)
{
	say("run", s);
}

static void load_modules(void)
{
	struct dirent **list;
	char path[300];
	int i, n, fd;

	n = scandir("/modules", &list, NULL, alphasort);
	for (i = 0; i < n; i++) {
		if (list[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/modules/%s", list[i]->d_name);
		fd = open(path, O_RDONLY);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			fail("module %s", path);
		close(fd);
	}
}

static struct sockaddr_in address_of(const char *text, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };

	inet_aton(text, &a.sin_addr);
	return a;
}

static void set(int fd, unsigned long what, struct ifreq *r, const char *name)
{
	if (ioctl(fd, what, r))
		fail("%s", name);
}

/* Of the kernel's command line, it knows nothing of this and leaves it to us */
static bool no_checksum(void)
{
	const char *value = getenv("tx_checksum");

	return value && !strcmp(value, "off");
}

static void card_up(void)
{
	struct ifreq r = { .ifr_name = CARD };
	struct sockaddr_in a;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	if (fd < 0)
		fail("socket");
	if (ioctl(fd, SIOCGIFINDEX, &r))
		fail("no network card");
	a = address_of(ADDRESS, 0);
	memcpy(&r.ifr_addr, &a, sizeof(a));
	set(fd, SIOCSIFADDR, &r, "address");
	a = address_of(MASK, 0);
	memcpy(&r.ifr_netmask, &a, sizeof(a));
	set(fd, SIOCSIFNETMASK, &r, "mask");
	set(fd, SIOCGIFFLAGS, &r, "flags");
	r.ifr_flags |= IFF_UP | IFF_RUNNING;
	set(fd, SIOCSIFFLAGS, &r, "up");
	if (no_checksum()) {
		struct ethtool_value off = { .cmd = ETHTOOL_STXCSUM };

		r.ifr_data = (void *)&off;
		set(fd, SIOCETHTOOL, &r, "checksums");
	}
	close(fd);
}

static int take_connection(void)
{
	struct sockaddr_in a = address_of("0.0.0.0", PORT);
	int on = 1, fd, listener = socket(AF_INET, SOCK_STREAM, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(listener, (struct sockaddr *)&a, sizeof(a)) || listen(listener, 1))
		fail("listen");
	printf("NIC: ready\n");
	fd = accept(listener, NULL, NULL);
	if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK))
		fail("accept");
	close(listener);
	return fd;
}

int main(void)
{
	struct stream s = { .sends = 2, .receives = 1, .stop = &never };
	int rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	load_modules();
	card_up();
	s.fd = take_connection();
	rc = stream_run(&s, report);
	if (rc) {
		errno = -rc;
		fail("connection");
	}
	say("done", &s);
	for (;;)
		pause();
}
