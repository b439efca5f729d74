// SPDX-License-Identifier: GPL-2.0-only
/*
 * migrate [-m MB] [-g GB] [-b MB/s] [-d MS] LOAD SOURCE: moves a guest's memory and its device
 * from one simulated device to another, while the device writes; to find out what each
 * way to learn what it wrote is worth to a migration. Precopy, over a link with so much
 * bandwidth, until what is left takes no longer than so many milliseconds.
 *
 * The guest has so many GB, of which it uses so many MB. The rest it has never touched,
 * so that is not moved; but it is mapped, and whoever asks what was written asks for
 * all of it.
 *
 * All is moved by io_uring: pages from the guest's file into registered buffers and,
 * linked to that, to a socket; at its other end from there, linked, to the
 * destination's file. The device's state goes the same way.
 *
 * LOAD is what the device does meanwhile, see loads[]; SOURCE as in source.c. Prints
 *
 *	run LOAD SOURCE ROUNDS BYTES DOWNTIME TOTAL CPU READS HARVEST CONVERGED
 *	none LOAD SOURCE		this kernel does not have it
 *
 * with times in ns. CPU is that of both ends but not of the guest; READS of the dirty
 * pages took HARVEST together; CONVERGED is 0 when the guest had to be stopped while
 * more was left. Nothing is printed before the destination's memory was compared with
 * the source's, and the device there was seen to go on.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/param.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include <liburing.h>

#include "source.h"
#include "stopwatch.h"

#define MAX_ROUNDS	4
/* Pages that go together, in how many pieces, and how often that at once */
#define CHUNK		(128UL << 10)
#define PIECES		32
#define SLOTS		4
/* Of the device's own */
#define DEVICE_BYTES	(256U << 10)
/* At the end of the guest's memory, written by the CPU, which no device tells */
#define RING_AREA	(64UL << 10)

static size_t guest_bytes = 64UL << 20;
static size_t mapped_bytes = 8UL << 30;
static unsigned long bandwidth = 100UL << 20;
static unsigned int downtime_ms = 30;

static const char *what_runs;

static void must(const char *what, int rc)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "error: %s: %s: %s\n", what_runs, what, strerror(-rc));
	exit(1);
}

static void sleep_until(unsigned long long ns)
{
	struct timespec ts = { ns / 1000000000, ns % 1000000000 };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) == EINTR)
		;
}

static unsigned long long cpu_ns(int who)
{
	struct rusage use;

	getrusage(who, &use);
	return (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1000000000ULL +
	       (use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1000ULL;
}

/* ---- One end ---- */

/**
 * struct end - a guest with its device, or the place for them
 * @vm: its memory; the ring lies at its end
 * @dev: the device
 * @reader: of what it writes
 * @rest: what is mapped where the guest has never been
 */
struct end {
	struct vm vm;
	void *rest;
	struct dsim dev;
	struct reader reader;
};

static size_t ring_at(void)
{
	return guest_bytes - RING_AREA;
}

/* Again and again the same: it need only be mapped */
static int map_rest(struct end *e)
{
	struct iommu_ioas_copy copy = {
		.size = sizeof(copy),
		.flags = MAP_RW | IOMMU_IOAS_MAP_FIXED_IOVA,
		.dst_ioas_id = e->vm.ioas,
		.src_ioas_id = e->vm.ioas,
		.src_iova = DATA_IOVA + guest_bytes,
		.length = guest_bytes,
	};
	int rc;

	e->rest = mmap(NULL, guest_bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (e->rest == MAP_FAILED)
		return -errno;
	rc = vm_map(&e->vm, copy.src_iova, e->rest, guest_bytes, MAP_RW);
	for (size_t at = 2 * guest_bytes; !rc && at < mapped_bytes; at += guest_bytes) {
		copy.dst_iova = DATA_IOVA + at;
		rc = ioctl(e->vm.iommufd, IOMMU_IOAS_COPY, &copy) ? -errno : 0;
	}
	return rc;
}

/* False when this kernel cannot tell what such a device writes */
static bool open_end(struct end *e, const char *name, const struct source *source)
{
	struct dsim_config config = source->config;
	int rc;

	config.page_sizes = SZ_4K;
	config.precopy = true;
	config.memory = DEVICE_BYTES;
	must("open iommufd", vm_create(&e->vm));
	must("make a device", dsim_create(&e->dev, name, &config));
	must("open the device", dsim_open(&e->dev));
	must("bind the device", dsim_bind(&e->dev, e->vm.iommufd));
	e->reader = (struct reader){
		.source = source,
		.vm = &e->vm,
		.dev = &e->dev,
		.devices = 1,
		.bytes = mapped_bytes,
	};
	rc = reader_attach(&e->reader);
	if (rc == -EOPNOTSUPP)
		return false;
	must("attach", rc);
	must("get memory", vm_alloc_memory(&e->vm, guest_bytes, false));
	must("map memory", vm_map(&e->vm, DATA_IOVA, e->vm.data, guest_bytes, MAP_RW));
	must("map the rest", map_rest(e));
	return true;
}

static void close_end(struct end *e, const char *name)
{
	dsim_close(&e->dev);
	vm_destroy(&e->vm);
	if (e->rest)
		munmap(e->rest, guest_bytes);
	must("remove the device", dsim_remove(name));
}

/* ---- The guest ---- */

/**
 * struct load - what the device does
 * @name: of the load
 * @op: fill, page after page, or scatter: one word in pages here and there
 * @part: of its memory that it writes to, one in so many
 * @burst: pages that are written each time
 * @pause_us: from one time to the next; 0: none
 */
struct load {
	const char *name;
	enum dsim_op op;
	unsigned int part;
	unsigned int burst;
	unsigned int pause_us;
};

static const struct load loads[] = {
	{ .name = "idle", .op = DSIM_OP_NOP, .burst = 1, .pause_us = 10000 },
	/* a network's buffers, 100 MB a second */
	{ .name = "stream", .op = DSIM_OP_FILL, .part = 32, .burst = 128, .pause_us = 5000 },
	/* a disk's reads, 4000 a second */
	{ .name = "random", .op = DSIM_OP_SCATTER, .part = 1, .burst = 20, .pause_us = 5000 },
	{ .name = "hot", .op = DSIM_OP_SCATTER, .part = 64, .burst = 200, .pause_us = 5000 },
	{ .name = "all", .op = DSIM_OP_FILL, .part = 1, .burst = 4096, .pause_us = 0 },
};

struct guest {
	const struct load *load;
	struct dsim *dev;
	pthread_t thread;
	bool stop;
	size_t next;	/* page to fill */
	unsigned long seed;
	unsigned long long cpu;
};

static void burst_fill(struct guest *g, size_t pages)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL,
		.dst = DATA_IOVA + g->next * SZ_4K,
		.value = rnd(&g->seed),
	};

	desc.len = MIN(g->load->burst, pages - g->next) * SZ_4K;
	dsim_put(g->dev, &desc);
	g->next = (g->next + desc.len / SZ_4K) % pages;
}

static void burst_scatter(struct guest *g, size_t pages)
{
	for (unsigned int i = 0; i < g->load->burst; i++) {
		struct dsim_desc desc = {
			.op = DSIM_OP_SCATTER,
			.dst = DATA_IOVA + rnd(&g->seed) % pages * SZ_4K,
			.value = rnd(&g->seed),
			.stride = SZ_4K,
			.count = 1,
		};

		dsim_put(g->dev, &desc);
	}
}

static void *guest_thread(void *data)
{
	struct guest *g = data;
	const struct load *load = g->load;
	size_t pages = ring_at() / SZ_4K / MAX(load->part, 1);
	unsigned long long next = now_ns();

	while (!__atomic_load_n(&g->stop, __ATOMIC_ACQUIRE)) {
		if (load->op == DSIM_OP_FILL)
			burst_fill(g, pages);
		else if (load->op == DSIM_OP_SCATTER)
			burst_scatter(g, pages);
		must("ring the doorbell", dsim_kick(g->dev));
		must("wait for the device", dsim_wait(g->dev));
		next = MAX(next + load->pause_us * 1000ULL, now_ns());
		if (load->pause_us)
			sleep_until(next);
	}
	g->cpu = cpu_ns(RUSAGE_THREAD);
	return NULL;
}

static void stop_guest(struct guest *g)
{
	__atomic_store_n(&g->stop, true, __ATOMIC_RELEASE);
	pthread_join(g->thread, NULL);
}

/* ---- The link ---- */

enum { SEND_PAGES, SEND_DEVICE, SEND_END };

struct piece {
	unsigned long at;
	unsigned long length;
};

struct header {
	__u32 type;
	__u32 pieces;
	unsigned long length;
	struct piece piece[PIECES];
};

/**
 * struct wire - one end of the link
 * @ring: of io_uring
 * @socket: the link
 * @buffers: SLOTS registered ones: a header and a chunk each
 */
struct wire {
	struct io_uring ring;
	int socket;
	char *buffers;
};

#define SLOT_BYTES	(CHUNK + SZ_4K)

static char *slot(struct wire *w, unsigned int i)
{
	return w->buffers + i * SLOT_BYTES + SZ_4K;
}

static struct header *slot_header(struct wire *w, unsigned int i)
{
	return (struct header *)(slot(w, i) - sizeof(struct header));
}

static void wire_open(struct wire *w, int socket)
{
	struct iovec iov[SLOTS];

	w->socket = socket;
	w->buffers = aligned_alloc(SZ_4K, SLOTS * SLOT_BYTES);
	if (!w->buffers)
		must("get buffers", -ENOMEM);
	memset(w->buffers, 0, SLOTS * SLOT_BYTES);
	for (unsigned int i = 0; i < SLOTS; i++)
		iov[i] = (struct iovec){ w->buffers + i * SLOT_BYTES, SLOT_BYTES };
	must("io_uring", io_uring_queue_init(SLOTS * (PIECES + 1), &w->ring, 0));
	must("register buffers", io_uring_register_buffers(&w->ring, iov, SLOTS));
}

static void wire_close(struct wire *w)
{
	io_uring_queue_exit(&w->ring);
	free(w->buffers);
	close(w->socket);
}

/* The next one; it begins when @before is done, all of it. That one is prepared. */
static struct io_uring_sqe *next_sqe(struct wire *w, struct io_uring_sqe *before)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&w->ring);

	if (!sqe)
		must("get an entry", -EBUSY);
	if (before)
		before->flags |= IOSQE_IO_LINK;
	return sqe;
}

/* Submit all that was prepared; each must do as much as its user_data says */
static void wire_run(struct wire *w, unsigned int nr)
{
	if (nr)
		must("submit", io_uring_submit_and_wait(&w->ring, nr));
	while (nr--) {
		struct io_uring_cqe *cqe;

		must("wait", io_uring_wait_cqe(&w->ring, &cqe));
		must("move", cqe->res);
		if ((unsigned int)cqe->res != cqe->user_data)
			must("move all", -EIO);
		io_uring_cqe_seen(&w->ring, cqe);
	}
}

/* One that may do less, or fail: what it returned */
static int wire_one(struct wire *w)
{
	struct io_uring_cqe *cqe;
	int res;

	must("submit", io_uring_submit_and_wait(&w->ring, 1));
	must("wait", io_uring_wait_cqe(&w->ring, &cqe));
	res = cqe->res;
	io_uring_cqe_seen(&w->ring, cqe);
	return res;
}

/* ---- The source's end ---- */

/*
 * Reads and sends in one chain, so that the order on the link is that of slots.
 * Headers say what is to be read. Returns the bytes that were sent.
 */
static size_t send_slots(struct wire *w, int file, unsigned int nr)
{
	struct io_uring_sqe *sqe = NULL;
	unsigned int ops = 0;
	size_t sent = 0, n;

	for (unsigned int i = 0; i < nr; i++) {
		const struct header *header = slot_header(w, i);
		char *to = slot(w, i);

		for (unsigned int p = 0; p < header->pieces; p++, ops++) {
			n = header->piece[p].length;
			sqe = next_sqe(w, sqe);
			io_uring_prep_read_fixed(sqe, file, to, n, header->piece[p].at, i);
			sqe->user_data = n;
			to += n;
		}
		n = sizeof(*header) + header->length;
		sqe = next_sqe(w, sqe);
		io_uring_prep_send(sqe, w->socket, header, n, MSG_WAITALL);
		sqe->user_data = n;
		ops++;
		sent += n;
	}
	wire_run(w, ops);
	return sent;
}

/* The next run of pages in @bitmap from *@page on, which is cleared; up to @most bytes */
static struct piece next_piece(unsigned long *bitmap, size_t *page, size_t most)
{
	size_t pages = guest_bytes / SZ_4K, n = 0, at;

	while (*page < pages && !(bitmap[*page / 64] >> *page % 64 & 1))
		*page = bitmap[*page / 64] ? *page + 1 : (*page / 64 + 1) * 64;
	for (at = *page; at + n < pages && n < most / SZ_4K &&
	     bitmap[(at + n) / 64] >> (at + n) % 64 & 1; n++)
		bitmap[(at + n) / 64] &= ~(1ULL << (at + n) % 64);
	*page += n;
	return (struct piece){ at * SZ_4K, n * SZ_4K };
}

/* Pages of @bitmap, which is cleared */
static size_t send_pages(struct wire *w, const struct vm *vm, unsigned long *bitmap)
{
	size_t page = 0, sent = 0;
	unsigned int nr = 0;

	for (;;) {
		struct header *header = slot_header(w, nr);

		*header = (struct header){ .type = SEND_PAGES };
		while (header->pieces < PIECES && header->length < CHUNK) {
			struct piece piece = next_piece(bitmap, &page, CHUNK - header->length);

			if (!piece.length)
				break;
			header->piece[header->pieces++] = piece;
			header->length += piece.length;
		}
		if (header->pieces)
			nr++;
		if (!header->pieces || nr == SLOTS) {
			sent += send_slots(w, vm->memfd, nr);
			nr = 0;
		}
		if (!header->pieces)
			return sent;
	}
}

static size_t send_one(struct wire *w, __u32 type, size_t length)
{
	struct io_uring_sqe *sqe = next_sqe(w, NULL);
	size_t n = sizeof(struct header) + length;

	*slot_header(w, 0) = (struct header){ .type = type, .length = length };
	io_uring_prep_send(sqe, w->socket, slot_header(w, 0), n, MSG_WAITALL);
	sqe->user_data = n;
	wire_run(w, 1);
	return n;
}

/* Of the device's state what there is now: all of it, once it is stopped */
static size_t send_device(struct wire *w, int state)
{
	size_t sent = 0;
	int n;

	for (;;) {
		struct io_uring_sqe *sqe = next_sqe(w, NULL);

		io_uring_prep_read(sqe, state, slot(w, 0), CHUNK, -1);
		n = wire_one(w);
		/* no more at present, or at all */
		if (n == -ENOMSG || n == -EAGAIN || !n)
			return sent;
		must("read the device's state", n);
		sent += send_one(w, SEND_DEVICE, n);
	}
}

/* ---- The destination's end ---- */

struct destination {
	struct end *end;
	struct wire wire;
	pthread_t thread;
	int state;
	unsigned long long free_at;
};

/* A token bucket: what is not used is saved for 5 ms */
static void take_tokens(struct destination *d, size_t n)
{
	unsigned long long now = now_ns(), save = 5000000;

	d->free_at = MAX(d->free_at, now - save) + n * 1000000000ULL / bandwidth;
	if (d->free_at > now)
		sleep_until(d->free_at);
}

static void receive(struct destination *d, size_t n, struct io_uring_sqe **sqe)
{
	*sqe = next_sqe(&d->wire, *sqe);
	io_uring_prep_recv(*sqe, d->wire.socket, slot(&d->wire, 0), n, MSG_WAITALL);
	(*sqe)->user_data = n;
}

/* False when it does not say what a header may */
static bool believable(const struct header *header)
{
	unsigned long sum = 0;

	if (header->length > CHUNK || header->pieces > PIECES)
		return false;
	for (unsigned int p = 0; p < header->pieces; p++) {
		const struct piece *piece = &header->piece[p];

		if (piece->length > CHUNK || piece->at > guest_bytes - piece->length)
			return false;
		sum += piece->length;
	}
	return header->type != SEND_PAGES || sum == header->length;
}

static void receive_pages(struct destination *d, const struct header *header)
{
	struct io_uring_sqe *sqe = NULL;
	char *from = slot(&d->wire, 0);

	receive(d, header->length, &sqe);
	for (unsigned int p = 0; p < header->pieces; p++) {
		size_t n = header->piece[p].length;

		sqe = next_sqe(&d->wire, sqe);
		io_uring_prep_write_fixed(sqe, d->end->vm.memfd, from, n, header->piece[p].at, 0);
		sqe->user_data = n;
		from += n;
	}
	wire_run(&d->wire, header->pieces + 1);
}

static void receive_device(struct destination *d, size_t n)
{
	struct io_uring_sqe *sqe = NULL;

	receive(d, n, &sqe);
	sqe = next_sqe(&d->wire, sqe);
	io_uring_prep_write(sqe, d->state, slot(&d->wire, 0), n, -1);
	sqe->user_data = n;
	wire_run(&d->wire, 2);
}

static void *destination_thread(void *data)
{
	struct destination *d = data;
	struct header *header = slot_header(&d->wire, 0);

	for (;;) {
		struct io_uring_sqe *sqe = next_sqe(&d->wire, NULL);

		io_uring_prep_recv(sqe, d->wire.socket, header, sizeof(*header), MSG_WAITALL);
		sqe->user_data = sizeof(*header);
		wire_run(&d->wire, 1);
		if (!believable(header))
			must("believe the link", -EPROTO);
		take_tokens(d, sizeof(*header) + header->length);
		if (header->type == SEND_PAGES)
			receive_pages(d, header);
		else if (header->type == SEND_DEVICE)
			receive_device(d, header->length);
		else
			break;
	}
	close(d->state);
	/* config space is the VMM's to restore */
	must("enable the device", dsim_enable_bus(&d->end->dev));
	must("run at the destination",
	     dsim_mig_set(&d->end->dev, VFIO_DEVICE_STATE_RUNNING, NULL));
	if (write(d->wire.socket, "", 1) != 1)
		must("answer", -errno);
	return NULL;
}

/* ---- The migration ---- */

struct result {
	unsigned int rounds, reads;
	size_t bytes;
	unsigned long long downtime, total, cpu, harvest;
	bool converged;
};

static size_t count_pages(const unsigned long *bitmap)
{
	size_t n = 0;

	for (size_t i = 0; i < guest_bytes / SZ_4K / 64; i++)
		n += __builtin_popcountll(bitmap[i]);
	return n;
}

static void harvest(struct end *from, unsigned long *bitmap, struct result *r)
{
	unsigned long long start = now_ns();

	must("read dirty pages", reader_read(&from->reader, bitmap));
	r->harvest += now_ns() - start;
	r->reads++;
	for (size_t i = guest_bytes / SZ_4K / 64; i < mapped_bytes / SZ_4K / 64; i++)
		if (bitmap[i])
			must("believe what was never written to be dirty", -EIO);
	/* what the CPU writes, KVM would tell */
	for (size_t page = ring_at() / SZ_4K; page < guest_bytes / SZ_4K; page++)
		bitmap[page / 64] |= 1ULL << page % 64;
}

static void precopy(struct end *from, struct wire *w, int state, unsigned long *bitmap,
		    struct result *r)
{
	size_t least = bandwidth / 1000 * downtime_ms / SZ_4K;

	/* touches all of it: no page fault is measured */
	memset(bitmap, 0, mapped_bytes / SZ_4K / 8);
	memset(bitmap, 0xff, guest_bytes / SZ_4K / 8);
	do {
		r->bytes += send_pages(w, &from->vm, bitmap);
		r->bytes += send_device(w, state);
		r->rounds++;
		harvest(from, bitmap, r);
		r->converged = count_pages(bitmap) <= least;
	} while (!r->converged && r->rounds < MAX_ROUNDS);
}

static void stop_and_copy(struct end *from, struct wire *w, struct guest *g, int state,
			  unsigned long *bitmap, struct result *r)
{
	unsigned long long start = now_ns();
	char ack;

	stop_guest(g);
	must("stop the device", dsim_mig_set(&from->dev, VFIO_DEVICE_STATE_STOP_COPY, NULL));
	harvest(from, bitmap, r);
	r->bytes += send_pages(w, &from->vm, bitmap);
	r->bytes += send_device(w, state);
	r->bytes += send_one(w, SEND_END, 0);
	if (read(w->socket, &ack, 1) != 1)
		must("hear of the destination", -EIO);
	r->downtime = now_ns() - start;
}

static void verify(struct end *from, struct end *to, struct guest *g)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL, .dst = DATA_IOVA, .len = SZ_4K, .value = 1,
	};
	size_t differ = 0;

	for (size_t at = 0; at < guest_bytes; at += SZ_4K)
		differ += !!memcmp(from->vm.data + at, to->vm.data + at, SZ_4K);
	if (differ) {
		fprintf(stderr, "error: %s: %zu pages differ\n", what_runs, differ);
		exit(1);
	}
	/* the device goes on where it stopped, with what it had */
	to->dev.ring = (void *)(to->vm.data + ring_at());
	to->dev.tail = g->dev->tail;
	if (dsim_reg(&to->dev, DSIM_REG_HEAD) != to->dev.tail)
		must("find the ring's head", -EIO);
	for (unsigned int at = 0; at < DEVICE_BYTES; at += 4096)
		if (dsim_mem_read(&to->dev, at) != at + 1)
			must("find the device's memory", -EIO);
	if (dsim_run(&to->dev, &desc) != DSIM_DESC_DONE || *(unsigned long *)to->vm.data != 1)
		must("have the device write", -EIO);
}

static void link_ends(int *pair)
{
	int size = 256 << 10;

	must("make a link", socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ? -errno : 0);
	for (int i = 0; i < 2; i++) {
		setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		setsockopt(pair[i], SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	}
}

static void migrate(struct end *from, struct end *to, const struct load *load, struct result *r)
{
	struct guest g = { .load = load, .dev = &from->dev, .seed = 88172645463325252ULL };
	unsigned long *bitmap = calloc(mapped_bytes / SZ_4K / 64, sizeof(*bitmap));
	struct destination d = { .end = to };
	unsigned long long start, cpu;
	int pair[2], state = -1;
	struct wire w;

	if (!bitmap)
		must("get a bitmap", -ENOMEM);
	link_ends(pair);
	wire_open(&w, pair[0]);
	wire_open(&d.wire, pair[1]);
	must("start the device", dsim_start_at(&from->dev, (void *)(from->vm.data + ring_at()),
					       DATA_IOVA + ring_at()));
	for (unsigned int at = 0; at < DEVICE_BYTES; at += 4096)
		must("write the device's memory", dsim_mem_write(&from->dev, at, at + 1));
	must("get ready to resume",
	     dsim_mig_set(&to->dev, VFIO_DEVICE_STATE_RESUMING, &d.state));
	must("start the guest", -pthread_create(&g.thread, NULL, guest_thread, &g));

	start = now_ns();
	cpu = cpu_ns(RUSAGE_SELF);
	must("start the destination",
	     -pthread_create(&d.thread, NULL, destination_thread, &d));
	must("start tracking", reader_begin(&from->reader));
	must("begin precopy", dsim_mig_set(&from->dev, VFIO_DEVICE_STATE_PRE_COPY, &state));
	/* io_uring is not to wait until there is more of it */
	must("have it not wait", fcntl(state, F_SETFL, O_NONBLOCK) ? -errno : 0);
	precopy(from, &w, state, bitmap, r);
	stop_and_copy(from, &w, &g, state, bitmap, r);
	must("stop tracking", reader_end(&from->reader));
	pthread_join(d.thread, NULL);
	r->total = now_ns() - start;
	r->cpu = cpu_ns(RUSAGE_SELF) - cpu - g.cpu;

	verify(from, to, &g);
	close(state);
	wire_close(&w);
	wire_close(&d.wire);
	free(bitmap);
}

/* ---- The front ---- */

static void run_one(const struct load *load, const struct source *source)
{
	struct end from = {}, to = {};
	struct result r = {};

	if (open_end(&from, "from", source) && open_end(&to, "to", source)) {
		migrate(&from, &to, load, &r);
		printf("run %s %s %u %zu %llu %llu %llu %u %llu %d\n", load->name, source->name,
		       r.rounds, r.bytes, r.downtime, r.total, r.cpu, r.reads, r.harvest,
		       r.converged);
		close_end(&to, "to");
	} else {
		printf("none %s %s\n", load->name, source->name);
	}
	close_end(&from, "from");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	const struct source *source;
	const struct load *load = NULL;
	int opt;

	while ((opt = getopt(argc, argv, "m:g:b:d:")) != -1) {
		unsigned long n = strtoul(optarg, NULL, 10);

		/* a power of two, so that the rest is a multiple */
		if (opt == 'm' && n >= 8 && n <= 1024 && !(n & (n - 1)))
			guest_bytes = n << 20;
		else if (opt == 'g' && n >= 2 && n <= 64)
			mapped_bytes = n << 30;
		else if (opt == 'b' && n && n <= 100000)
			bandwidth = n << 20;
		else if (opt == 'd' && n && n <= 10000)
			downtime_ms = n;
		else
			return 2;
	}
	if (argc - optind != 2)
		return 2;
	what_runs = argv[optind];
	for (size_t i = 0; i < ARRAY_LEN(loads); i++)
		if (!strcmp(argv[optind], loads[i].name))
			load = &loads[i];
	source = find_source(argv[optind + 1]);
	if (!load || !source)
		return 2;
	run_one(load, source);
	return 0;
}
