// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"

#define CHUNK	16384
#define REPORT_MS 500

static unsigned char out[CHUNK], in[CHUNK], expected[CHUNK];

/* The eight bytes at a place: no two places have the same (splitmix64) */
static uint64_t word_at(uint64_t seed, uint64_t place)
{
	uint64_t z = seed + place * 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

static void fill(unsigned char *to, size_t len, uint64_t seed, uint64_t pos)
{
	size_t done, n;

	for (done = 0; done < len; done += n) {
		uint64_t word = word_at(seed, (pos + done) / 8);
		size_t skip = (pos + done) % 8;

		n = 8 - skip < len - done ? 8 - skip : len - done;
		memcpy(to + done, (unsigned char *)&word + skip, n);
	}
}

static void check(struct stream *s, size_t len)
{
	size_t i;

	fill(expected, len, s->receives, s->received);
	for (i = 0; i != len; i++)
		if (in[i] != expected[i] && !s->wrong++)
			s->first_wrong = s->received + i;
	s->received += len;
}

static unsigned long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ul + t.tv_nsec / 1000000;
}

/* 0, 1 at the end of what the other one sends, or -errno */
static int receive(struct stream *s)
{
	ssize_t n = recv(s->fd, in, CHUNK, 0);

	if (n > 0)
		check(s, n);
	else if (!n)
		return 1;
	else if (errno != EAGAIN && errno != EINTR)
		return -errno;
	return 0;
}

static int send_some(struct stream *s)
{
	ssize_t n;

	fill(out, CHUNK, s->sends, s->sent);
	n = send(s->fd, out, CHUNK, MSG_NOSIGNAL);
	if (n > 0)
		s->sent += n;
	else if (errno != EAGAIN && errno != EINTR)
		return -errno;
	return 0;
}

int stream_run(struct stream *s, void (*report)(const struct stream *s))
{
	struct pollfd p = { .fd = s->fd };
	unsigned long last = 0;
	int ended = 0, shut = 0, rc;

	while (!ended || !shut) {
		if (now_ms() - last >= REPORT_MS) {
			last = now_ms();
			report(s);
		}
		if (!shut && (ended || *s->stop)) {
			shut = 1;
			if (shutdown(s->fd, SHUT_WR))
				return -errno;
		}
		p.events = (ended ? 0 : POLLIN) | (shut ? 0 : POLLOUT);
		if (poll(&p, 1, REPORT_MS) < 0 && errno != EINTR)
			return -errno;
		if (p.revents & (POLLIN | POLLERR | POLLHUP)) {
			rc = receive(s);
			if (rc < 0)
				return rc;
			ended |= rc;
		}
		if (p.revents & POLLOUT && !shut) {
			rc = send_some(s);
			if (rc)
				return rc;
		}
		p.revents = 0;
	}
	return 0;
}
