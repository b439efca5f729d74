// SPDX-License-Identifier: GPL-2.0
/*
 * peer ADDRESS PORT: the end of the connection that stays where it is
 *
 * Sends and checks until SIGTERM.  Prints a line about twice a second, and at the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "stream.h"

static volatile sig_atomic_t stop;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static void say(const char *what, const struct stream *s)
{
	printf("%s sent=%" PRIu64 " received=%" PRIu64 " wrong=%" PRIu64
	       " first-wrong=%" PRIu64 "\n",
	       what, s->sent, s->received, s->wrong, s->first_wrong);
	fflush(stdout);
}

static void report(const struct stream *s)
{
	say("run", s);
}

int main(int argc, char **argv)
{
	struct stream s = { .sends = 1, .receives = 2, .stop = &stop };
	struct sockaddr_in address = { .sin_family = AF_INET };
	int rc;

	if (argc != 3 || !inet_aton(argv[1], &address.sin_addr))
		return 2;
	address.sin_port = htons(atoi(argv[2]));
	signal(SIGTERM, on_term);
	s.fd = socket(AF_INET, SOCK_STREAM, 0);
	if (s.fd < 0 || connect(s.fd, (struct sockaddr *)&address, sizeof(address)) ||
	    fcntl(s.fd, F_SETFL, O_NONBLOCK)) {
		printf("error connect (%s)\n", strerror(errno));
		return 1;
	}
	rc = stream_run(&s, report);
	if (rc) {
		printf("error connection (%s)\n", strerror(-rc));
		return 1;
	}
	say("done", &s);
	return 0;
}
