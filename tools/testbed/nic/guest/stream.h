/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A TCP connection on which both ends send all the time, and know each byte that they
 * receive
 */
#ifndef NIC_STREAM_H
#define NIC_STREAM_H

#include <signal.h>
#include <stdint.h>

/**
 * struct stream - one end
 * @fd: the connection, nonblocking
 * @sends: what the bytes that it sends are made from
 * @receives: the same of those that it receives
 * @sent: bytes
 * @received: bytes
 * @wrong: bytes of those that are not what they should be
 * @first_wrong: where the first one was
 * @stop: send no more
 */
struct stream {
	int fd;
	uint64_t sends;
	uint64_t receives;
	uint64_t sent;
	uint64_t received;
	uint64_t wrong;
	uint64_t first_wrong;
	volatile sig_atomic_t *stop;
};

/* Until both ends have stopped; calls @report about twice a second.  0 or -errno. */
int stream_run(struct stream *s, void (*report)(const struct stream *s));

#endif
