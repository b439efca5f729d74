// SPDX-License-Identifier: GPL-2.0-only
/*
 * Every ioctl with all that could be wrong, from four threads at once
 *
 * Calls are made by a grammar (fuzz_grammar.h), most of them from what there is at this
 * moment, so that they reach something, the others with one or two values wrong. All
 * threads use the same files, objects and addresses, and take them away from each other.
 * Meanwhile five simulated devices do DMA, memory comes and goes, structures change while
 * the kernel reads them, and signals interrupt.
 *
 * Nothing is asked of a call but that it returns, with an errno that user space may see,
 * and writes nowhere but where it may. All else is for the kernel's own checks to say:
 * KASAN, UBSAN, lockdep, kmemleak; a kernel that has reported something is noticed after
 * each life. In the end a new address space and new objects have to work.
 *
 * A run is a sequence of lives, each a process of its own that leaves everything behind.
 * What each thread of a life wants to do depends on the seed and the life's number only;
 * how the threads meet does not.
 *
 *	DIRTY_FUZZ_SECONDS	how long in all (10)
 *	DIRTY_FUZZ_CALLS	how many calls at most, in all (no limit)
 *	DIRTY_FUZZ_SEED		the time, if not given; printed
 *	DIRTY_FUZZ_LIFE		the first life (0)
 *	DIRTY_FUZZ_CONTROL	1: bitmaps get too long, which has to be noticed
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/capability.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "kselftest.h"
#include "dsim_user.h"
#include "fuzz_grammar.h"
#include "life.h"

#define HOST_POLICY	"/sys/module/iommufd/parameters/dirty_providers"
#define EXPEDITED	"/sys/kernel/rcu_expedited"
#define CONFIGFS	"/sys/kernel/config/dirty_sim"
#define THREADS		4U
#define KINDS		80U
#define LIFE_CALLS	16000U
#define MEMLOCK		(16UL << 20)
/* One of so many calls is timed */
#define TIMED		32U
/* By then each kind of call must have succeeded */
#define ENOUGH		200000UL

/* ---- What there is ---- */

static const struct dsim_config configs[] = {
	{ .format = "vtdss", .page_sizes = SZ_4K, .iotlb_entries = 16 },
	{ .format = "amdv1", .page_sizes = 5 * SZ_4K, .precopy = true,
	  .memory = 16384 },
	{ .format = "x86_64", .page_sizes = SZ_4K, .trapped = true },
	{ .format = "armlpae", .no_quiesce = true },
	{ .format = "vtdss", .no_ad = true, .tracker = "pull",
	  .granule = 4 * SZ_4K, .ranges = 2 },
	{ .format = "amdv1", .tracker = "push", .rating = 1, .precopy = true,
	  .memory = 4096 },
	{ .format = "vtdss", .emulated = true },
	{ .format = "vtdss", .emulated = true, .pins = 4 },
	{ .format = "x86_64", .revoke_mmio = true, .no_p2p = true },
	{ .format = "vtdss", .precopy = true, .memory = 8192, .trapped = true,
	  .revoke_mmio = true, .tracker = "pull" },
};

#define CONFIGS		ARRAY_LEN(configs)

static struct dsim devices[CONFIGS];

/* Files of each device that are written to, and one of the host */
static const char *const config_files[] = {
	CONFIGFS "/%s/fault_tracker",
	CONFIGFS "/%s/fault_mute",
	CONFIGFS "/%s/fault_no_flush",
	CONFIGFS "/%s/fault_slow",
	CONFIGFS "/%s/reset",
};

#define CONFIG_FILES	ARRAY_LEN(config_files)
#define FD_POLICY	(FD_CONFIG + CONFIGS * CONFIG_FILES)

/**
 * struct figures - of one kind of call
 * @calls: all
 * @done: those that succeeded
 * @ns: that those which were timed took
 * @timed: how many these are
 */
struct figures {
	unsigned long calls;
	unsigned long done;
	unsigned long ns;
	unsigned long timed;
};

/**
 * struct trail - of one thread
 * @figures: by kind
 * @errnos: how often each
 * @last: kinds of the last calls, the last one at @n
 * @result: of each of them
 * @n: calls in all
 */
struct trail {
	struct figures figures[KINDS];
	unsigned long errnos[ERRNOS];
	uint8_t last[LAST_CALLS];
	int16_t result[LAST_CALLS];
	unsigned long n;
};

/* Survives processes */
static struct shared {
	uint64_t seed;
	unsigned long long end;
	unsigned long max_calls;
	unsigned long life;
	unsigned long rung;		/* descriptors that devices were given */
	unsigned long signals;
	unsigned long forks;
	struct trail trails[THREADS];
	struct life_fate fate;
} *run;

static struct call calls[KINDS];
static unsigned int nr_calls;
/* Each kind as often as it has weight */
static uint8_t lottery[4096];
static unsigned int tickets;

/* ---- Words ---- */

static unsigned long calls_made(void)
{
	unsigned long n = 0;

	for (unsigned int i = 0; i < THREADS; i++)
		n += __atomic_load_n(&run->trails[i].n, __ATOMIC_RELAXED);
	return n;
}

static long result(long rc)
{
	return rc < 0 ? -errno : rc;
}

/* ---- Calls that are no ioctls ---- */

static int device_fd(struct fuzzer *f)
{
	return FD_DEVICE + f->dev;
}

/* Anew, in the place of the old one, which others may be using */
static int open_device(unsigned int dev)
{
	struct dsim d = world.dsim[dev];
	int rc = dsim_open(&d);

	if (rc)
		return rc;
	rc = dup3(d.fd, FD_DEVICE + dev, O_CLOEXEC);
	close(d.fd);
	return rc < 0 ? -errno : 0;
}

static long call_open(struct fuzzer *f)
{
	return open_device(f->dev);
}

static long call_dup(struct fuzzer *f)
{
	static const int first[] = { FD_IOMMU, FD_DEVICE, FD_STREAM };
	unsigned int what = below(f, 3);

	return result(dup3(first[what] + (what ? f->dev : 0),
			   FD_SPARE + f->nr, O_CLOEXEC));
}

static long call_close(struct fuzzer *f)
{
	return result(close(below(f, 4) ? FD_SPARE + f->nr :
					  FD_STREAM + f->dev));
}

/* A child that has everything for a moment */
static long call_fork(struct fuzzer *f)
{
	pid_t pid = fork();

	if (!pid)
		_exit(0);
	if (pid < 0)
		return -errno;
	__atomic_add_fetch(&run->forks, 1, __ATOMIC_RELAXED);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return 0;
}

static long call_unknown(struct fuzzer *f)
{
	static const int fds[] = { FD_IOMMU, FD_DEVICE, FD_STREAM };
	/* those between the known ones, and behind them; or a known one, but larger */
	unsigned int nr = below(f, 2) ? 0x96 + below(f, 0x1a) :
					0xb4 + below(f, 0x4c);
	unsigned long cmd = below(f, 2) ? _IO(';', nr) :
			    _IOWR(';', 0x60 + below(f, 0xa0), uint64_t);

	return result(ioctl(fds[below(f, 3)], cmd, f->arg));
}

/* Where a call may read or write so many bytes */
static void *some_memory(struct fuzzer *f, size_t bytes)
{
	return below(f, 8) ? f->out + 2 * SZ_4K - bytes : bad_memory(f);
}

static uint64_t some_offset(struct fuzzer *f, size_t *bytes)
{
	static const uint32_t regions[] = {
		VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
	};
	const struct dsim *d = &world.dsim[f->dev];
	uint64_t at = d->region[regions[below(f, 2)]] - 1;

	*bytes = 4;
	if (below(f, 4))
		return at + 4 * below(f, 24);
	*bytes = below(f, 8) ? 1 + below(f, 256) : edge(f) & 0xffff;
	return at + (below(f, 2) ? below(f, 2 * SZ_4K) : edge(f));
}

static long call_read_region(struct fuzzer *f)
{
	size_t bytes;
	uint64_t at = some_offset(f, &bytes);

	return result(pread(device_fd(f), some_memory(f, bytes), bytes, at));
}

static long call_write_region(struct fuzzer *f)
{
	size_t bytes;
	uint64_t at = some_offset(f, &bytes), value = edge(f);

	memcpy(f->out + 2 * SZ_4K - 8, &value, sizeof(value));
	return result(pwrite(device_fd(f), some_memory(f, bytes), bytes, at));
}

static long map(struct fuzzer *f, size_t bytes, int fd, uint64_t offset)
{
	struct mapping *m = &f->mappings[below(f, MAPPINGS)];
	void *p;

	if (m->at)
		munmap(m->at, m->bytes);
	*m = (struct mapping){};
	p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		 below(f, 16) ? MAP_SHARED : MAP_PRIVATE, fd, offset);
	if (p == MAP_FAILED)
		return -errno;
	m->at = p;
	m->bytes = bytes;
	return 0;
}

static long call_map_log(struct fuzzer *f)
{
	struct log_map log = world.log_map[below(f, LOGS)];

	if (!below(f, 4))
		log.bytes += SZ_4K;
	if (!below(f, 8))
		log.offset = edge(f) & -SZ_4K;
	if (log.bytes > SZ_2M)
		log.bytes = SZ_2M;
	return map(f, log.bytes, FD_IOMMU, log.offset);
}

static uint64_t doorbell_at(struct fuzzer *f)
{
	return world.dsim[f->dev].region[VFIO_PCI_BAR0_REGION_INDEX] - 1 +
	       DSIM_DOORBELL_PAGE;
}

static long call_map_doorbell(struct fuzzer *f)
{
	return map(f, below(f, 4) ? SZ_4K : 2 * SZ_4K, device_fd(f),
		   doorbell_at(f) - (below(f, 4) ? 0 : SZ_4K));
}

static long call_unmap(struct fuzzer *f)
{
	struct mapping *m = &f->mappings[below(f, MAPPINGS)];
	struct mapping old = *m;

	*m = (struct mapping){};
	return result(munmap(old.at ?: world.nothing, old.bytes));
}

/* Of a log, or a doorbell, which may be gone by now */
static __thread sigjmp_buf gone;
static __thread bool may_be_gone;

static void store(struct fuzzer *f)
{
	const struct mapping *m = &f->mappings[below(f, MAPPINGS)];
	uint64_t *word = m->at, value = below(f, 2) ? 0 : edge(f);

	if (!word || sigsetjmp(gone, 0))
		return;
	word += below(f, m->bytes / sizeof(*word));
	may_be_gone = true;
	__atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
	may_be_gone = false;
}

static long call_read_stream(struct fuzzer *f)
{
	size_t bytes = below(f, 2) ? 1 + below(f, 256) : SZ_4K;

	return result(read(FD_STREAM + f->dev, some_memory(f, bytes), bytes));
}

/* Some of what was once saved, of whatever device */
static long call_write_stream(struct fuzzer *f)
{
	size_t bytes = 1 + below(f, 128), at = f->fed;
	long n;

	if (at + bytes > f->filled)
		at = 0;
	n = result(write(FD_STREAM + f->dev,
			 below(f, 16) ? f->stream + at : bad_memory(f), bytes));
	f->fed = n > 0 ? at + n : 0;
	return n;
}

static long call_poll_stream(struct fuzzer *f)
{
	struct pollfd p = {
		.fd = FD_STREAM + f->dev,
		.events = POLLIN | POLLOUT,
	};

	return result(poll(&p, 1, 0));
}

/* The whole of it, if nobody else gets in the way */
static long call_save(struct fuzzer *f)
{
	struct dsim *d = &world.dsim[f->dev];
	bool precopy = below(f, 2);
	int fd = -1;
	long rc;

	rc = dsim_mig_set(d, precopy ? VFIO_DEVICE_STATE_PRE_COPY :
				       VFIO_DEVICE_STATE_STOP_COPY, &fd);
	if (rc || fd < 0)
		return rc;
	if (precopy)
		rc = dsim_mig_set(d, VFIO_DEVICE_STATE_STOP_COPY, NULL);
	if (!rc)
		rc = read_stream(fd, f->stream, STREAM_BYTES);
	f->filled = rc > 0 ? rc : 0;
	close(fd);
	dsim_mig_set(d, VFIO_DEVICE_STATE_RUNNING, NULL);
	return rc < 0 ? rc : 0;
}

static long call_load(struct fuzzer *f)
{
	struct dsim *d = &world.dsim[f->dev];
	size_t flip = below(f, f->filled + 1);
	bool whole = below(f, 2);
	int fd = -1;
	long rc;

	rc = dsim_mig_set(d, VFIO_DEVICE_STATE_RESUMING, &fd);
	if (rc || fd < 0)
		return rc;
	f->stream[flip] ^= whole ? 0 : 1 << below(f, 8);
	rc = write_stream(fd, f->stream, f->filled);
	if (!rc)
		rc = dsim_mig_set(d, VFIO_DEVICE_STATE_STOP, NULL);
	close(fd);
	if (rc)
		dsim_reset(d);
	else
		dsim_mig_set(d, VFIO_DEVICE_STATE_RUNNING, NULL);
	return rc;
}

static long call_configure(struct fuzzer *f)
{
	static const char *const values[] = {
		"0", "0", "0", "1", "2", "-1", "", "\n", "50", "4294967296",
		"no", "0x", "iommu", "iommu,device", "device,all",
		"iommu,device,all", "all,,iommu", "iommu device all none of it",
	};
	const char *value = values[below(f, ARRAY_LEN(values))];
	unsigned int fd = FD_CONFIG +
			  below(f, CONFIGS * CONFIG_FILES + 1);

	return result(pwrite(fd, value, strlen(value), 0));
}

static const struct call other_calls[] = {
	{ .name = "unknown ioctl", .weight = 60, .act = call_unknown },
	{ .name = "open device", .weight = 1, .act = call_open },
	{ .name = "dup", .weight = 4, .act = call_dup },
	{ .name = "close", .weight = 3, .act = call_close },
	{ .name = "read region", .weight = 120, .act = call_read_region },
	{ .name = "write region", .weight = 80, .act = call_write_region },
	{ .name = "mmap log", .weight = 4, .act = call_map_log },
	{ .name = "mmap doorbell", .weight = 2, .act = call_map_doorbell },
	{ .name = "munmap", .weight = 3, .act = call_unmap },
	{ .name = "read stream", .weight = 60, .act = call_read_stream },
	{ .name = "write stream", .weight = 60, .act = call_write_stream },
	{ .name = "poll stream", .weight = 40, .act = call_poll_stream },
	{ .name = "save", .weight = 2, .act = call_save },
	{ .name = "load", .weight = 2, .act = call_load },
	{ .name = "configfs, sysfs", .weight = 10, .act = call_configure },
};

/* Too slow to have a ticket */
#define FORK_ONE_IN	50000U
static const struct call fork_call = { .name = "fork", .act = call_fork };

static void add_calls(const struct call *list, unsigned int n)
{
	while (n--) {
		memset(&lottery[tickets], nr_calls, list->weight);
		tickets += list->weight;
		calls[nr_calls++] = *list++;
	}
}

/* ---- A thread that calls ---- */

/* What these calls are documented to fail with; others are somebody else's */
static const uint8_t errnos[] = {
	EPERM, ENOENT, EINTR, EIO, ENXIO, E2BIG, EBADF, EAGAIN, ENOMEM, EACCES,
	EFAULT, EBUSY, EEXIST, ENODEV, EINVAL, ENFILE, EMFILE, ENOTTY, EFBIG,
	ENOSPC, ESPIPE, ERANGE, ENOMSG, EBADMSG, EOVERFLOW, EMSGSIZE,
	EPROTONOSUPPORT, EOPNOTSUPP, EADDRINUSE, EPROTO, ECANCELED, ENODATA,
	EILSEQ, ESTALE, EBADFD,
};

static bool is_errno(long rc)
{
	for (unsigned int i = 0; i < sizeof(errnos); i++)
		if (-rc == errnos[i])
			return true;
	return false;
}

static unsigned long ns_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000UL + ts.tv_nsec;
}

static void make_call(struct fuzzer *f, struct trail *t)
{
	bool forks = !below(f, FORK_ONE_IN), timed;
	unsigned int kind = forks ? nr_calls - 1 : lottery[below(f, tickets)];
	const struct call *c = &calls[kind];
	struct figures *figures = &t->figures[kind];
	unsigned long begin = 0;
	long rc;

	if (!below(f, 32))
		store(f);
	t->last[t->n % LAST_CALLS] = kind;
	t->result[t->n % LAST_CALLS] = INT16_MIN;
	timed = figures->calls++ % TIMED == 0;
	if (timed)
		begin = ns_now();
	fuzz_pick(f);
	rc = c->act ? c->act(f) : fuzz_ioctl(f, c);
	if (timed) {
		figures->ns += ns_now() - begin;
		figures->timed++;
	}
	t->result[t->n % LAST_CALLS] = rc;
	__atomic_store_n(&t->n, t->n + 1, __ATOMIC_RELAXED);
	if (rc >= 0) {
		figures->done++;
		return;
	}
	if (!is_errno(rc))
		failed("%s: result %ld", c->name, rc);
	t->errnos[-rc]++;
}

static pthread_t threads[THREADS];
static uint64_t life_seed;
static unsigned int running;		/* threads that call */
static bool stop;

static void *make_calls(void *arg)
{
	unsigned int nr = (uintptr_t)arg;
	struct trail *t = &run->trails[nr];
	struct fuzzer f;
	unsigned int n;

	fuzz_init(&f, nr + 1, life_seed);
	n = 1 + below(&f, below(&f, 4) ? LIFE_CALLS : 4 * LIFE_CALLS);
	while (n-- && !__atomic_load_n(&stop, __ATOMIC_RELAXED))
		make_call(&f, t);
	__atomic_sub_fetch(&running, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* ---- Those who keep things moving ---- */

static struct dsim_desc *ring_of(unsigned int dev)
{
	return (void *)(world.memory + MEMORY_BYTES + dev * RING_BYTES);
}

/* Others take it apart all the time */
static void revive(unsigned int dev, uint64_t *random)
{
	struct dsim *d = &world.dsim[dev];
	int state = dsim_mig_get(d);
	uint32_t hwpt = world.hwpt[2 * dev + one_below(random, 2)];

	if (state == VFIO_DEVICE_STATE_ERROR) {
		dsim_reset(d);
	} else if (state >= 0) {
		dsim_mig_set(d, VFIO_DEVICE_STATE_RUNNING, NULL);
	} else {
		if (!dsim_bind(d, FD_IOMMU))
			world.device[dev] = d->devid;
	}
	dsim_attach(d, hwpt && one_below(random, 2) ? hwpt :
		       world.ioas[one_below(random, IOASES)]);
}

static void ring(unsigned int dev, uint64_t *random)
{
	struct dsim *d = &world.dsim[dev];
	unsigned int n = 1 + one_below(random, 4);
	uint32_t ctrl = dsim_reg(d, DSIM_REG_CTRL);

	if (!(ctrl & DSIM_CTRL_ENABLE) ||
	    dsim_reg(d, DSIM_REG_STATUS) & DSIM_STATUS_ERROR ||
	    d->tail - dsim_reg(d, DSIM_REG_HEAD) > RING_ENTRIES - n)
		dsim_start_at(d, ring_of(dev), RINGS + dev * RING_BYTES);
	for (unsigned int i = 0; i < n; i++) {
		struct dsim_desc desc = {
			.op = 1 + one_below(random, 4),
			.src = WINDOW + one_below(random, SLOTS) * SLOT_BYTES,
			.dst = WINDOW + one_below(random, SLOTS) * SLOT_BYTES,
			.value = rnd(random),
			.len = 8 + one_below(random, 64),
			.stride = SZ_4K,
			.count = 1 + one_below(random, 4),
		};

		dsim_put(d, &desc);
	}
	dsim_kick(d);
	__atomic_add_fetch(&run->rung, n, __ATOMIC_RELAXED);
}

static void map_rings(void)
{
	for (unsigned int i = 0; i < IOASES; i++) {
		struct vm vm = { .iommufd = FD_IOMMU, .ioas = world.ioas[i] };

		if (!vm.ioas)
			continue;
		if (world.files_only)
			vm_map_file(&vm, FD_MEMORY, RINGS, MEMORY_BYTES,
				    DEVS * RING_BYTES);
		else
			vm_map(&vm, RINGS, ring_of(0), DEVS * RING_BYTES,
			       MAP_RW);
	}
}

static void *keep_ringing(void *arg)
{
	uint64_t random = life_seed * 3 | 1;

	for (unsigned int n = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); n++) {
		unsigned int dev = n % DEVS;

		if (n % 32 == 0)
			map_rings();
		if (dsim_reg(&world.dsim[dev], DSIM_REG_ID) != DSIM_ID ||
		    !one_below(&random, 64))
			revive(dev, &random);
		else
			ring(dev, &random);
		nap(2000);
	}
	return NULL;
}

/*
 * Memory that is mapped, written to, or used for a structure while it goes. Shared: on UML,
 * copying to private memory may find the page of zeroes there when that is read meanwhile.
 */
static void *keep_changing(void *arg)
{
	const int protection = PROT_READ | PROT_WRITE;
	uint64_t random = life_seed * 5 | 1;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		unsigned int what = one_below(&random, 16);

		if (what == 0) {
			mmap(world.flux, FLUX_BYTES, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
			nap(100);
			mmap(world.flux, FLUX_BYTES, protection,
			     MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		} else if (what == 1) {
			mmap(world.flux, FLUX_BYTES, protection,
			     MAP_SHARED | MAP_FIXED, FD_FLUX, 0);
		} else if (what == 2) {
			if (ftruncate(FD_FLUX, one_below(&random, 32) * SZ_4K))
				continue;	/* it was closed */
		} else if (what == 3) {
			madvise(world.flux, FLUX_BYTES, MADV_DONTNEED);
		}
		for (unsigned int i = 0; i < 64; i++)
			world.commons[one_below(&random, COMMONS_BYTES)] ^=
				1 << one_below(&random, 8);
		nap(1000);
	}
	return NULL;
}

/* ---- A life ---- */

static void take_number(int fd, int number)
{
	if (fd < 0 || dup3(fd, number, O_CLOEXEC) < 0)
		failed("file %d: %s", number, strerror(errno));
	close(fd);
}

static void *memory_of(unsigned int nr, size_t bytes, int protection, int flags,
		       int fd)
{
	void *at = fuzz_address(16 + nr);
	void *p = mmap(at, bytes, protection, flags | MAP_FIXED_NOREPLACE, fd, 0);

	if (p != at)
		failed("memory: %s", strerror(errno));
	return p;
}

static void make_memory(void)
{
	const int shared = MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE;
	const int private = MAP_PRIVATE | MAP_ANONYMOUS;
	const int both = PROT_READ | PROT_WRITE;

	take_number(memfd_create("fuzz", MFD_CLOEXEC), FD_MEMORY);
	take_number(memfd_create("flux", MFD_CLOEXEC), FD_FLUX);
	take_number(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), FD_EVENT);
	if (ftruncate(FD_MEMORY, FILE_BYTES) || ftruncate(FD_FLUX, FLUX_BYTES))
		failed("memory: %s", strerror(errno));
	world.memory = memory_of(0, FILE_BYTES, both,
				 MAP_SHARED | MAP_POPULATE, FD_MEMORY);
	world.commons = memory_of(1, COMMONS_BYTES, both, shared, -1);
	world.flux = memory_of(2, FLUX_BYTES, both, shared, -1);
	world.readonly = memory_of(3, SZ_4K, PROT_READ, private, -1);
	world.nothing = memory_of(4, SZ_4K, PROT_NONE, private, -1);
}

/* Who may lock any amount of memory could take all that there is */
static void obey_limits(void)
{
	const struct rlimit memlock = { MEMLOCK, MEMLOCK };
	const struct rlimit files = { FD_END, FD_END };
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[2];

	if (setrlimit(RLIMIT_MEMLOCK, &memlock) ||
	    setrlimit(RLIMIT_NOFILE, &files) ||
	    syscall(SYS_capget, &header, data))
		failed("limits: %s", strerror(errno));
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	if (syscall(SYS_capset, &header, data))
		failed("capabilities: %s", strerror(errno));
}

static void make_devices(void)
{
	for (unsigned int dev = 0; dev < DEVS; dev++) {
		struct dsim *d = &world.dsim[dev];
		int rc;

		/* three and ten have no common factor: never the same twice */
		*d = devices[(run->life + 3 * dev) % CONFIGS];
		rc = open_device(dev);
		if (rc)
			failed("open: %s", strerror(-rc));
		d->fd = FD_DEVICE + dev;
		rc = dsim_bind(d, FD_IOMMU);
		if (rc)
			failed("bind: %s", strerror(-rc));
		world.device[dev] = d->devid;
		/* learns where its regions are */
		dsim_enable_bus(d);
		dsim_reg(d, DSIM_REG_ID);
		d->ring = ring_of(dev);
	}
}

static void bus_error(int sig, siginfo_t *info, void *context)
{
	if (may_be_gone) {
		may_be_gone = false;
		siglongjmp(gone, 1);
	}
	failed("signal %d at %p", sig, info->si_addr);
}

static void interrupted(int sig)
{
}

static void handle_signals(void)
{
	const struct sigaction bus = {
		.sa_sigaction = bus_error,
		.sa_flags = SA_SIGINFO | SA_NODEFER,
	};
	const struct sigaction usr = { .sa_handler = interrupted };

	sigaction(SIGBUS, &bus, NULL);
	sigaction(SIGSEGV, &bus, NULL);
	sigaction(SIGUSR1, &usr, NULL);
}

static void begin_life(void)
{
	struct iommu_option by_process = {
		.size = sizeof(by_process),
		.option_id = IOMMU_OPTION_RLIMIT_MODE,
		.op = IOMMU_OPTION_OP_SET,
		.val64 = 1,
	};
	FILE *kmsg = fopen("/dev/kmsg", "w");

	/* a report that comes can be told whose it is */
	if (kmsg) {
		fprintf(kmsg, "dirty_fuzz: life %lu\n", run->life);
		fclose(kmsg);
	}
	life_seed = (run->seed * 1000003 + run->life) * 1000003;
	world.files_only = run->life % 3 == 1;
	make_memory();
	obey_limits();
	handle_signals();
	take_number(open("/dev/iommu", O_RDWR | O_CLOEXEC), FD_IOMMU);
	/* on whose account: the user's, or the process'; later it cannot be said */
	if (run->life % 4 == 3 && ioctl(FD_IOMMU, IOMMU_OPTION, &by_process))
		failed("option: %s", strerror(errno));
	for (unsigned int i = 0; i < IOASES; i++) {
		struct vm vm = { .iommufd = FD_IOMMU };

		if (vm_alloc_ioas(&vm))
			failed("IOAS: %s", strerror(errno));
		world.ioas[i] = vm.ioas;
	}
	make_devices();
}

/* In the middle of everything, or once all have ended; files first, or not at all */
static void end_life(uint64_t *random)
{
	unsigned int how = one_below(random, 4);

	if (how == 0)
		kill(getpid(), SIGKILL);
	if (how == 1)
		_exit(0);
	if (how == 2)
		for (int fd = FD_IOMMU; fd < FD_CONFIG; fd++)
			close(fd);
	__atomic_store_n(&stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	_exit(0);
}

static void live(void)
{
	uint64_t random = run->seed + run->life * 7919 + 1;
	pthread_t helper;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	begin_life();
	rnd(&random);
	running = THREADS;
	if (pthread_create(&helper, NULL, keep_ringing, NULL) ||
	    pthread_create(&helper, NULL, keep_changing, NULL))
		failed("thread");
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, make_calls, (void *)i))
			failed("thread");
	/* the last ones are cut short */
	while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) > 1 &&
	       now_ms() < run->end && calls_made() < run->max_calls) {
		nap(5000);
		pthread_kill(threads[one_below(&random, THREADS)], SIGUSR1);
		run->signals++;
	}
	end_life(&random);
}

/* ---- Does it still work? ---- */

#define PROOF_PAGES	64U

static uint64_t report(struct dsim *d)
{
	uint64_t bitmap = 0;
	int rc = dsim_log_report(d, DATA_IOVA, PROOF_PAGES * SZ_4K, SZ_4K,
				 &bitmap);

	if (rc)
		ksft_print_msg("report: %s\n", strerror(-rc));
	return rc ? ~0ULL : bitmap;
}

/* In whole groups of four pages, which is as much as any of them tells apart */
static uint64_t write_groups(struct dsim *d, unsigned int group)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL,
		.dst = DATA_IOVA + 4 * group * SZ_4K,
		.len = 4 * SZ_4K,
		.value = group,
	};

	return dsim_run(d, &desc) == DSIM_DESC_DONE ? 0xfULL << 4 * group : 0;
}

static bool tracks(struct dsim *d, struct vm *vm)
{
	struct vfio_device_feature_dma_logging_range range = {
		.iova = DATA_IOVA, .length = PROOF_PAGES * SZ_4K,
	};
	uint64_t page_size = SZ_4K, want, got;

	if (vm_create(vm) || dsim_open(d) || dsim_bind(d, vm->iommufd) ||
	    vm_alloc_memory(vm, PROOF_PAGES * SZ_4K, false) ||
	    vm_map_memory(vm) || dsim_attach(d, vm->ioas) ||
	    dsim_start(d, vm->ring) ||
	    dsim_log_start(d, &range, 1, &page_size))
		return false;
	want = write_groups(d, 1) | write_groups(d, 7) | write_groups(d, 15);
	got = report(d);
	if (got == want && __builtin_popcountll(got) == 12)
		return true;
	ksft_print_msg("%s: 0x%llx, not 0x%llx\n", d->name,
		       (unsigned long long)got, (unsigned long long)want);
	return false;
}

static void put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		ksft_exit_fail_msg("%s: %s\n", path, strerror(errno));
	close(fd);
}

static void mend_everything(void)
{
	put_text(HOST_POLICY, "iommu,device");
	for (unsigned int i = 0; i < CONFIGS; i++) {
		dsim_set(devices[i].name, "fault_tracker", "0");
		dsim_set(devices[i].name, "fault_mute", "0");
		dsim_set(devices[i].name, "fault_no_flush", "0");
		dsim_set(devices[i].name, "fault_slow", "0");
	}
}

static bool all_track(void)
{
	unsigned int well = 0;

	mend_everything();
	for (unsigned int i = 0; i < CONFIGS; i++) {
		struct vm vm = { .iommufd = -1, .memfd = -1 };

		if (tracks(&devices[i], &vm))
			well++;
		else
			ksft_print_msg("%s does not work any more\n",
				       devices[i].name);
		dsim_close(&devices[i]);
		vm_destroy(&vm);
	}
	return well == CONFIGS;
}

/* ---- The run ---- */

static unsigned long taints(void)
{
	unsigned long mask = ~0UL;
	FILE *f = fopen("/proc/sys/kernel/tainted", "r");

	if (!f || fscanf(f, "%lu", &mask) != 1)
		mask = ~0UL;
	if (f)
		fclose(f);
	return mask;
}

static void tell_progress(unsigned long long began)
{
	unsigned long long ms = now_ms() - began;
	static unsigned long before;
	unsigned long n = calls_made();

	ksft_print_msg("%llu s, life %lu: %lu calls, %llu a second\n", ms / 1000,
		       run->life, n, ms ? n * 1000ULL / ms : 0);
	if (n == before && n)
		for (unsigned int i = 0; i < THREADS; i++) {
			const struct trail *t = &run->trails[i];

			ksft_print_msg("  %u is in %s\n", i,
				       calls[t->last[t->n % LAST_CALLS]].name);
		}
	before = n;
}

/* False when it does not go on */
static bool watch(pid_t pid, unsigned long long began)
{
	const struct life life = {
		.done = calls_made,
		.tell = tell_progress,
		.stuck = "no call has returned",
		.nap_us = 50000,
	};

	return life_watch(&life, pid, began);
}

static void tell_failure(void)
{
	ksft_print_msg("FAILED: %s\n", life_fate->why);
	ksft_print_msg("DIRTY_FUZZ_SEED=%lu DIRTY_FUZZ_LIFE=%lu; the last calls of each thread:\n",
		       (unsigned long)run->seed, run->life);
	for (unsigned int i = 0; i < THREADS; i++) {
		const struct trail *t = &run->trails[i];

		/* the last one may not have returned */
		for (unsigned long n = 1; n <= LAST_CALLS && t->n; n++) {
			unsigned int at = (t->n + n) % LAST_CALLS;

			ksft_print_msg("    %u: %s: %d\n", i,
				       calls[t->last[at]].name, t->result[at]);
		}
	}
}

static struct figures sum_of(unsigned int kind)
{
	struct figures sum = {};

	for (unsigned int i = 0; i < THREADS; i++) {
		const struct figures *f = &run->trails[i].figures[kind];

		sum.calls += f->calls;
		sum.done += f->done;
		sum.ns += f->ns;
		sum.timed += f->timed;
	}
	return sum;
}

static void tell_errnos(void)
{
	for (unsigned int e = 0; e < ERRNOS; e++) {
		unsigned long n = 0;

		for (unsigned int i = 0; i < THREADS; i++)
			n += run->trails[i].errnos[e];
		if (n)
			ksft_print_msg("%-28s %10lu\n", strerrorname_np(e), n);
	}
}

/* How many kinds have never succeeded */
static unsigned int tell_figures(unsigned long long began)
{
	unsigned int never = 0;
	unsigned long done = 0;

	tell_progress(began);
	ksft_print_msg("%-28s %10s %10s %8s\n", "", "calls", "succeeded",
		       "us each");
	for (unsigned int i = 0; i < nr_calls; i++) {
		struct figures f = sum_of(i);

		ksft_print_msg("%-28s %10lu %10lu %8.1f\n", calls[i].name,
			       f.calls, f.done,
			       f.timed ? f.ns / 1000.0 / f.timed : 0);
		done += f.done;
		never += !f.done && calls[i].act != call_unknown;
	}
	ksft_print_msg("%-28s %10lu %10lu\n", "in all", calls_made(), done);
	tell_errnos();
	ksft_print_msg("%lu descriptors, %lu signals, %lu forks\n", run->rung,
		       run->signals, run->forks);
	return never;
}

static void tear_down(void)
{
	for (unsigned int i = 0; i < CONFIGS * CONFIG_FILES + 1; i++)
		close(FD_CONFIG + i);
	for (unsigned int i = 0; i < CONFIGS; i++)
		dsim_remove(devices[i].name);
	if (!access(EXPEDITED, W_OK))
		put_text(EXPEDITED, "0");
}

static void set_up(void)
{
	char text[128];

	for (unsigned int i = 0; i < CONFIGS; i++) {
		int rc;

		snprintf(text, sizeof(text), "fuzz%u", i);
		rc = dsim_create(&devices[i], text, &configs[i]);
		if (rc)
			ksft_exit_fail_msg("%s: %s\n", text, strerror(-rc));
		for (unsigned int k = 0; k < CONFIG_FILES; k++) {
			snprintf(text, sizeof(text), config_files[k],
				 devices[i].name);
			take_number(open(text, O_WRONLY | O_CLOEXEC),
				    FD_CONFIG + i * CONFIG_FILES + k);
		}
	}
	take_number(open(HOST_POLICY, O_WRONLY | O_CLOEXEC), FD_POLICY);
	/* most of the time would go by in waiting for grace periods */
	if (!access(EXPEDITED, W_OK))
		put_text(EXPEDITED, "1");
	add_calls(ioctl_calls, nr_ioctl_calls);
	add_calls(other_calls, ARRAY_LEN(other_calls));
	add_calls(&fork_call, 1);
}

static bool one_life(unsigned long long began, unsigned long taint)
{
	pid_t pid;
	bool well;

	mend_everything();
	pid = fork();
	if (!pid)
		live();
	well = pid > 0 && watch(pid, began);
	if (well && taints() != taint) {
		snprintf(life_fate->why, sizeof(life_fate->why),
			 "the kernel reported something");
		life_fate->failed = true;
	}
	return !life_fate->failed && well;
}

int main(void)
{
	unsigned long taint = taints();
	unsigned long long began;
	unsigned int never;
	bool well = true;

	ksft_print_header();
	if (!dsim_available())
		ksft_exit_skip("iommufd_dirty_sim is not loaded\n");
	if (on_base())
		ksft_exit_skip("the base has little of it\n");
	setvbuf(stdout, NULL, _IOLBF, 0);
	run = mmap(NULL, sizeof(*run), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	life_fate = &run->fate;
	run->end = from_environment("DIRTY_FUZZ_SECONDS", 10) * 1000ULL;
	run->max_calls = from_environment("DIRTY_FUZZ_CALLS", ~0UL);
	run->seed = from_environment("DIRTY_FUZZ_SEED", time(NULL));
	run->life = from_environment("DIRTY_FUZZ_LIFE", 0);
	world.control = from_environment("DIRTY_FUZZ_CONTROL", 0);
	ksft_set_plan(3);
	ksft_print_msg("DIRTY_FUZZ_SEED=%lu\n", (unsigned long)run->seed);
	set_up();

	began = now_ms();
	run->end += began;
	for (; well && now_ms() < run->end && calls_made() < run->max_calls;
	     run->life += well)
		well = one_life(began, taint);
	if (!well)
		tell_failure();
	never = tell_figures(began);
	ksft_test_result(well && calls_made(), "every call returns what it may\n");
	if (calls_made() < ENOUGH)
		ksft_test_result_skip("too few calls to know whether each kind succeeds\n");
	else
		ksft_test_result(!never, "each kind of call succeeds at times\n");
	ksft_test_result(all_track(), "a new machine tracks exactly\n");
	tear_down();
	ksft_finished();
}
