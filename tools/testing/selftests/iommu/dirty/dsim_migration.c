// SPDX-License-Identifier: GPL-2.0-only
/*
 * Migration of the simulated device: its states, what it does not do in them,
 * its stream, and what it makes of streams that are wrong
 */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/ioctl.h>

#include "kselftest_harness.h"
#include "dsim_user.h"

#define SOURCE		"selftest"
#define DESTINATION	"selftest2"
#define DATA_SIZE	(64 * SZ_4K)

/* More than any stream of this device, with MEMORY and without */
#define STREAM_MAX	4096
#define LONG_STREAM_MAX	0x40000

/* Memory of the device's own, and what a page of it takes in a stream */
#define MEMORY		0x10000
#define PAGES		(MEMORY / SZ_4K)
#define PAGE_BYTES	(20 + 4 + SZ_4K)
#define HEADER_BYTES	64

#define ERROR		VFIO_DEVICE_STATE_ERROR
#define STOP		VFIO_DEVICE_STATE_STOP
#define RUNNING		VFIO_DEVICE_STATE_RUNNING
#define STOP_COPY	VFIO_DEVICE_STATE_STOP_COPY
#define RESUMING	VFIO_DEVICE_STATE_RESUMING
#define RUNNING_P2P	VFIO_DEVICE_STATE_RUNNING_P2P
#define PRE_COPY	VFIO_DEVICE_STATE_PRE_COPY
#define PRE_COPY_P2P	VFIO_DEVICE_STATE_PRE_COPY_P2P
#define NR_STATES	VFIO_DEVICE_STATE_NR

static const struct dsim_desc nop = { .op = DSIM_OP_NOP };

static const struct dsim_config plain = { .format = "vtdss" };

/* A device with a guest around it */
struct side {
	struct dsim dev;
	struct vm vm;
};

static int side_open(struct side *s, const char *name,
		     const struct dsim_config *config)
{
	int rc;

	s->vm.iommufd = -1;
	rc = dsim_create(&s->dev, name, config) ?:
	     vm_create(&s->vm) ?:
	     dsim_open(&s->dev) ?:
	     dsim_bind(&s->dev, s->vm.iommufd) ?:
	     vm_alloc_hwpt(&s->vm, &s->dev, 0, &s->vm.hwpt) ?:
	     dsim_attach(&s->dev, s->vm.hwpt) ?:
	     vm_alloc_memory(&s->vm, DATA_SIZE, false) ?:
	     vm_map_memory(&s->vm) ?:
	     dsim_map_doorbell(&s->dev);
	return rc;
}

static int side_close(struct side *s)
{
	dsim_close(&s->dev);
	vm_destroy(&s->vm);
	return dsim_remove(s->dev.name);
}

/* What a VMM moves beside the device: memory, config space */
static int move_guest(struct side *to, const struct side *from)
{
	memcpy(to->vm.ring, from->vm.ring, RING_BYTES);
	memcpy(to->vm.data, from->vm.data, DATA_SIZE);
	to->dev.ring = to->vm.ring;
	to->dev.tail = from->dev.tail;
	return dsim_enable_bus(&to->dev);
}

FIXTURE(mig)
{
	struct side src;
	struct side dst;
	uint8_t stream[STREAM_MAX];
	ssize_t len;
};

FIXTURE_SETUP(mig)
{
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, side_open(&self->src, SOURCE, &plain));
	ASSERT_EQ(0, side_open(&self->dst, DESTINATION, &plain));
	ASSERT_EQ(0, dsim_start(&self->src.dev, self->src.vm.ring));
}

FIXTURE_TEARDOWN(mig)
{
	EXPECT_EQ(0, side_close(&self->src));
	EXPECT_EQ(0, side_close(&self->dst));
}

/* The stream of the source, which is left in STOP */
#define SAVE()                                                                 \
	do {                                                                   \
		int _fd;                                                       \
		ASSERT_EQ(0, dsim_mig_set(&self->src.dev, STOP_COPY, &_fd));   \
		ASSERT_LE(0, _fd);                                             \
		self->len = read_stream(_fd, self->stream, STREAM_MAX);        \
		ASSERT_LT(0, self->len);                                       \
		close(_fd);                                                    \
		ASSERT_EQ(0, dsim_mig_set(&self->src.dev, STOP, NULL));        \
	} while (0)

/* Give the destination a stream; the result of the last step that failed */
static int load(struct dsim *d, const void *stream, size_t len)
{
	int fd, rc, wrote;

	rc = dsim_mig_set(d, RESUMING, &fd);
	if (rc)
		return rc;
	wrote = write_stream(fd, stream, len);
	rc = dsim_mig_set(d, STOP, NULL);
	close(fd);
	/* a stream of which a part was refused is no stream */
	if (wrote && !rc)
		return -ENOTRECOVERABLE;
	return rc;
}

TEST_F(mig, feature)
{
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_migration mig;
	} arg = {
		.feature = {
			.argsz = sizeof(arg),
			.flags = VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_MIGRATION,
		},
	};
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_mig_data_size size;
	} size = {
		.feature = {
			.argsz = sizeof(size),
			.flags = VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_MIG_DATA_SIZE,
		},
	};
	struct dsim *d = &self->src.dev;

	ASSERT_EQ(0, ioctl(d->fd, VFIO_DEVICE_FEATURE, &arg));
	EXPECT_EQ(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P, arg.mig.flags);
	arg.feature.flags = VFIO_DEVICE_FEATURE_PROBE |
			    VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_GET |
			    VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
	EXPECT_EQ(0, ioctl(d->fd, VFIO_DEVICE_FEATURE, &arg));
	/* not offered: no tracker of its own, no precopy */
	arg.feature.flags = VFIO_DEVICE_FEATURE_PROBE |
			    VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
	EXPECT_EQ(-1, ioctl(d->fd, VFIO_DEVICE_FEATURE, &arg));
	EXPECT_EQ(ENOTTY, errno);

	/* the size it promises is the size there is */
	ASSERT_EQ(0, ioctl(d->fd, VFIO_DEVICE_FEATURE, &size));
	SAVE();
	EXPECT_LE(self->len, (ssize_t)size.size.stop_copy_length);
}

TEST_F(mig, states)
{
	static const uint32_t path[] = {
		RUNNING_P2P, RUNNING, RUNNING_P2P, STOP, RUNNING_P2P, RUNNING,
		STOP, RUNNING, STOP, STOP_COPY, STOP, STOP_COPY, RUNNING,
		STOP_COPY, RUNNING_P2P, STOP_COPY, STOP, RUNNING, RUNNING,
	};
	struct dsim *d = &self->src.dev;
	int fd;

	EXPECT_EQ(RUNNING, dsim_mig_get(d));
	for (size_t i = 0; i < ARRAY_LEN(path); i++) {
		ASSERT_EQ(0, dsim_mig_set(d, path[i], &fd)) {
			TH_LOG("step %zu to %u", i, path[i]);
		}
		ASSERT_EQ(path[i], dsim_mig_get(d));
		ASSERT_EQ(path[i] == STOP_COPY, fd >= 0);
		if (fd >= 0)
			close(fd);
	}
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));

	ASSERT_EQ(0, dsim_mig_set(d, RESUMING, &fd));
	EXPECT_LE(0, fd);
	close(fd);
	EXPECT_EQ(RESUMING, dsim_mig_get(d));
	ASSERT_EQ(0, dsim_reset(d));
	EXPECT_EQ(RUNNING, dsim_mig_get(d));
}

TEST_F(mig, states_that_are_none)
{
	static const uint32_t bad[] = {
		ERROR, PRE_COPY, PRE_COPY_P2P, NR_STATES, UINT32_MAX,
	};
	struct dsim *d = &self->src.dev;

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		EXPECT_EQ(-EINVAL, dsim_mig_set(d, bad[i], NULL)) {
			TH_LOG("state %u", bad[i]);
		}
		EXPECT_EQ(RUNNING, dsim_mig_get(d));
	}
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
}

/* Everything that a driver can see of the device arrives */
TEST_F(mig, registers_move)
{
	static const uint32_t regs[] = {
		DSIM_REG_CTRL, DSIM_REG_STATUS, DSIM_REG_RING_LO,
		DSIM_REG_RING_HI, DSIM_REG_RING_ORDER, DSIM_REG_HEAD,
		DSIM_REG_TAIL, DSIM_REG_IRQ_STATUS, DSIM_REG_COMPLETED,
		DSIM_REG_FAULTS, DSIM_REG_FAULT_LO, DSIM_REG_FAULT_HI,
		DSIM_REG_FAULT_REASON, DSIM_REG_SCRATCH,
	};
	struct dsim *src = &self->src.dev, *dst = &self->dst.dev;
	struct dsim_desc fault = {
		.op = DSIM_OP_FILL,
		.flags = DSIM_DESC_IRQ,
		.dst = 0x123456789000,
		.len = 8,
	};
	uint32_t want[ARRAY_LEN(regs)];

	ASSERT_EQ(0, dsim_reg_write(src, DSIM_REG_SCRATCH, 0xdeadbeef));
	for (int i = 0; i < 300; i++) {
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(src, &nop));
	}
	ASSERT_EQ(DSIM_DESC_FAULT, dsim_run(src, &fault));
	for (size_t i = 0; i < ARRAY_LEN(regs); i++)
		want[i] = dsim_reg(src, regs[i]);
	EXPECT_EQ(301, dsim_reg(src, DSIM_REG_HEAD));
	EXPECT_EQ(1, dsim_reg(src, DSIM_REG_FAULTS));
	EXPECT_EQ(1, dsim_reg(src, DSIM_REG_IRQ_STATUS));
	SAVE();

	ASSERT_EQ(0, load(dst, self->stream, self->len));
	ASSERT_EQ(0, move_guest(&self->dst, &self->src));
	ASSERT_EQ(0, dsim_mig_set(dst, RUNNING, NULL));
	for (size_t i = 0; i < ARRAY_LEN(regs); i++) {
		EXPECT_EQ(want[i], dsim_reg(dst, regs[i])) {
			TH_LOG("register %#x", regs[i]);
		}
	}
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(dst, &nop));
	EXPECT_EQ(302, dsim_reg(dst, DSIM_REG_HEAD));
}

/* An error of the ring is state as well */
TEST_F(mig, ring_error_moves)
{
	struct dsim *src = &self->src.dev, *dst = &self->dst.dev;

	src->tail = RING_ENTRIES + 7;
	ASSERT_EQ(0, dsim_kick(src));
	EXPECT_EQ(-EIO, dsim_wait(src));
	SAVE();
	ASSERT_EQ(0, load(dst, self->stream, self->len));
	ASSERT_EQ(0, move_guest(&self->dst, &self->src));
	ASSERT_EQ(0, dsim_mig_set(dst, RUNNING, NULL));
	EXPECT_EQ(DSIM_STATUS_ERROR, dsim_reg(dst, DSIM_REG_STATUS));
	ASSERT_EQ(0, dsim_start(dst, self->dst.vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(dst, &nop));
}

/*
 * There and back again, with work in the ring each time: submitted before,
 * rung in P2P, and rung after. Each descriptor adds, so one that is lost or
 * done twice shows in the sum.
 */
TEST_F(mig, ring_goes_on)
{
	struct side *from = &self->src, *to = &self->dst, *swap;
	struct dsim_desc add = {
		.op = DSIM_OP_ADD,
		.dst = DATA_IOVA,
		.stride = SZ_4K,
		.count = 64,
		.value = 1,
	};
	uint64_t total = 0;
	int fd;

	for (int hop = 0; hop < 20; hop++) {
		uint32_t n = 20 + hop * 11;

		for (uint32_t i = 0; i < n; i++)
			dsim_put(&from->dev, &add);
		from->dev.trap = hop & 1;
		ASSERT_EQ(0, dsim_kick(&from->dev));
		/* cut somewhere in the middle */
		ASSERT_EQ(0, dsim_mig_set(&from->dev, RUNNING_P2P, NULL));
		dsim_put(&from->dev, &add);
		ASSERT_EQ(0, dsim_kick(&from->dev));
		total += n + 1;
		ASSERT_EQ(0, dsim_mig_set(&from->dev, STOP_COPY, &fd));
		self->len = read_stream(fd, self->stream, STREAM_MAX);
		ASSERT_LT(0, self->len);
		close(fd);
		ASSERT_EQ(0, dsim_mig_set(&from->dev, STOP, NULL));

		ASSERT_EQ(0, load(&to->dev, self->stream, self->len));
		ASSERT_EQ(0, move_guest(to, from));
		to->dev.trap = !from->dev.trap;
		ASSERT_EQ(0, dsim_mig_set(&to->dev, RUNNING_P2P, NULL));
		ASSERT_EQ(0, dsim_mig_set(&to->dev, RUNNING, NULL));
		/* what was rung before the move is done without another ring */
		ASSERT_EQ(0, dsim_wait(&to->dev));
		dsim_put(&to->dev, &add);
		total++;
		ASSERT_EQ(0, dsim_kick(&to->dev));
		ASSERT_EQ(0, dsim_wait(&to->dev));
		for (int page = 0; page < 64; page++) {
			ASSERT_EQ(total, *(uint64_t *)(to->vm.data +
						       page * SZ_4K)) {
				TH_LOG("hop %d, page %d", hop, page);
			}
		}
		/* the one left behind stays still for good */
		ASSERT_EQ(0, dsim_reset(&from->dev));
		swap = from;
		from = to;
		to = swap;
	}
}

/* A migration that is called off: the source goes on as if nothing was */
TEST_F(mig, called_off)
{
	struct dsim *d = &self->src.dev;
	uint8_t byte;
	int fd;

	dsim_put(d, &nop);
	ASSERT_EQ(0, dsim_mig_set(d, STOP_COPY, &fd));
	ASSERT_EQ(1, read(fd, &byte, 1));
	ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
	/* the data file ended with its state, half read */
	EXPECT_EQ(-1, read(fd, &byte, 1));
	EXPECT_EQ(ENODEV, errno);
	close(fd);
	ASSERT_EQ(0, dsim_kick(d));
	EXPECT_EQ(0, dsim_wait(d));

	/* and the destination of it is thrown away */
	ASSERT_EQ(0, dsim_mig_set(&self->dst.dev, RESUMING, &fd));
	ASSERT_EQ(1, write(fd, &byte, 1));
	ASSERT_EQ(0, dsim_reset(&self->dst.dev));
	EXPECT_EQ(-1, write(fd, &byte, 1));
	EXPECT_EQ(ENODEV, errno);
	close(fd);
	ASSERT_EQ(0, dsim_start(&self->dst.dev, self->dst.vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(&self->dst.dev, &nop));
}

/* The stream is bytes in order, cut in any way */
TEST_F(mig, stream_in_pieces)
{
	uint8_t again[STREAM_MAX];
	struct dsim *dst = &self->dst.dev;
	ssize_t n;
	int fd;

	ASSERT_EQ(0, dsim_reg_write(&self->src.dev, DSIM_REG_SCRATCH, 4711));
	SAVE();
	ASSERT_EQ(0, dsim_mig_set(&self->src.dev, STOP_COPY, &fd));
	for (n = 0; n < STREAM_MAX && read(fd, again + n, 1) == 1; n++)
		;
	EXPECT_EQ(self->len, n);
	EXPECT_EQ(0, memcmp(again, self->stream, n));
	EXPECT_EQ(0, read(fd, again, 1));
	EXPECT_EQ(0, read(fd, again, sizeof(again)));
	/* it is a stream: not to be positioned, nor written */
	EXPECT_EQ(-1, lseek(fd, 0, SEEK_SET));
	EXPECT_EQ(ESPIPE, errno);
	EXPECT_EQ(-1, pread(fd, again, 1, 0));
	EXPECT_EQ(ESPIPE, errno);
	EXPECT_EQ(-1, write(fd, again, 1));
	EXPECT_EQ(EBADF, errno);
	close(fd);

	ASSERT_EQ(0, dsim_mig_set(dst, RESUMING, &fd));
	EXPECT_EQ(-1, read(fd, again, 1));
	EXPECT_EQ(EBADF, errno);
	EXPECT_EQ(-1, pwrite(fd, again, 1, 0));
	EXPECT_EQ(ESPIPE, errno);
	for (n = 0; n < self->len; n++) {
		ASSERT_EQ(1, write(fd, self->stream + n, 1));
	}
	ASSERT_EQ(0, dsim_mig_set(dst, STOP, NULL));
	EXPECT_EQ(-1, write(fd, again, 1));
	EXPECT_EQ(ENODEV, errno);
	close(fd);
	ASSERT_EQ(0, move_guest(&self->dst, &self->src));
	ASSERT_EQ(0, dsim_mig_set(dst, RUNNING, NULL));
	EXPECT_EQ(4711, dsim_reg(dst, DSIM_REG_SCRATCH));
}

/* A refused stream leaves an error, from which a reset recovers */
#define REFUSED(_want, _stream, _len, ...)                                     \
	do {                                                                   \
		EXPECT_EQ(_want, load(&self->dst.dev, _stream, _len)) {        \
			TH_LOG(__VA_ARGS__);                                   \
		}                                                              \
		ASSERT_EQ(ERROR, dsim_mig_get(&self->dst.dev));                \
		EXPECT_GT(0, dsim_mig_set(&self->dst.dev, RUNNING, NULL));     \
		EXPECT_GT(0, dsim_mig_set(&self->dst.dev, RESUMING, NULL));    \
		ASSERT_EQ(0, dsim_reset(&self->dst.dev));                      \
		ASSERT_EQ(RUNNING, dsim_mig_get(&self->dst.dev));              \
	} while (0)

/* After all that was refused, a good stream must load */
#define STILL_LOADS()                                                          \
	do {                                                                   \
		ASSERT_EQ(0, load(&self->dst.dev, self->stream, self->len));   \
		ASSERT_EQ(0, move_guest(&self->dst, &self->src));              \
		ASSERT_EQ(0, dsim_mig_set(&self->dst.dev, RUNNING, NULL));     \
		EXPECT_EQ(DSIM_DESC_DONE, dsim_run(&self->dst.dev, &nop));     \
	} while (0)

TEST_F(mig, truncated_stream)
{
	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(&self->src.dev, &nop));
	SAVE();
	for (ssize_t n = 0; n < self->len; n++)
		REFUSED(-ENODATA, self->stream, n, "%zd of %zd bytes", n, self->len);
	STILL_LOADS();
}

TEST_F(mig, corrupt_stream)
{
	uint64_t seed = 1;

	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(&self->src.dev, &nop));
	SAVE();
	for (ssize_t n = 0; n < self->len; n++) {
		uint8_t bit = 1 << rnd(&seed) % 8;

		self->stream[n] ^= bit;
		REFUSED(n < 8 ? -EINVAL : n < 10 ? -EPROTONOSUPPORT : -EBADMSG,
			self->stream, self->len, "byte %zd, bit %#x", n, bit);
		self->stream[n] ^= bit;
	}
	STILL_LOADS();
}

TEST_F(mig, foreign_and_oversized_streams)
{
	uint8_t large[2 * STREAM_MAX] = {};
	uint64_t seed = 2;

	ASSERT_EQ(DSIM_DESC_DONE, dsim_run(&self->src.dev, &nop));
	SAVE();
	/* zeroes, noise, one byte more, the stream twice */
	REFUSED(-EINVAL, large, self->len, "zeroes");
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = rnd(&seed);
	REFUSED(-EINVAL, large, self->len, "noise");
	REFUSED(-EINVAL, large, sizeof(large), "much noise");
	memcpy(large, self->stream, self->len);
	REFUSED(-E2BIG, large, self->len + 1, "one byte more");
	REFUSED(-E2BIG, large, sizeof(large), "much more");
	memcpy(large + self->len, self->stream, self->len);
	REFUSED(-E2BIG, large, 2 * self->len, "twice");
	/* the same in two writes, of which the first would do alone */
	{
		struct dsim *d = &self->dst.dev;
		int fd;

		ASSERT_EQ(0, dsim_mig_set(d, RESUMING, &fd));
		ASSERT_EQ(self->len, write(fd, self->stream, self->len));
		EXPECT_EQ(-1, write(fd, "x", 1));
		EXPECT_EQ(E2BIG, errno);
		close(fd);
		EXPECT_EQ(-E2BIG, dsim_mig_set(d, STOP, NULL));
		ASSERT_EQ(0, dsim_reset(d));
	}
	STILL_LOADS();
}

/* A bad buffer is refused; what was transferred before it is not disturbed */
TEST_F(mig, bad_buffers)
{
	struct dsim *dst = &self->dst.dev;
	void *bad;
	int fd;

	bad = mmap(NULL, SZ_4K, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, bad);
	ASSERT_EQ(0, dsim_reg_write(&self->src.dev, DSIM_REG_SCRATCH, 12));
	SAVE();
	ASSERT_EQ(0, dsim_mig_set(&self->src.dev, STOP_COPY, &fd));
	EXPECT_EQ(-1, read(fd, bad, 8));
	EXPECT_EQ(EFAULT, errno);
	close(fd);
	ASSERT_EQ(0, dsim_mig_set(dst, RESUMING, &fd));
	ASSERT_EQ(10, write(fd, self->stream, 10));
	EXPECT_EQ(-1, write(fd, bad, 8));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(self->len - 10,
		  write(fd, self->stream + 10, self->len - 10));
	close(fd);
	ASSERT_EQ(0, dsim_mig_set(dst, STOP, NULL));
	ASSERT_EQ(0, move_guest(&self->dst, &self->src));
	ASSERT_EQ(0, dsim_mig_set(dst, RUNNING, NULL));
	EXPECT_EQ(12, dsim_reg(dst, DSIM_REG_SCRATCH));
}

/* Data files outlive their device without reaching into what is gone */
TEST_F(mig, files_outlive_the_device)
{
	uint8_t byte = 0;
	int rfd, wfd;

	ASSERT_EQ(0, dsim_mig_set(&self->src.dev, STOP_COPY, &rfd));
	ASSERT_EQ(1, read(rfd, &byte, 1));
	ASSERT_EQ(0, dsim_mig_set(&self->dst.dev, RESUMING, &wfd));
	ASSERT_EQ(1, write(wfd, &byte, 1));
	dsim_close(&self->src.dev);
	dsim_close(&self->dst.dev);
	EXPECT_EQ(-1, read(rfd, &byte, 1));
	EXPECT_EQ(ENODEV, errno);
	EXPECT_EQ(-1, write(wfd, &byte, 1));
	EXPECT_EQ(ENODEV, errno);
	/* the device itself can go while the files are open */
	ASSERT_EQ(0, dsim_set(SOURCE, "live", "0"));
	ASSERT_EQ(0, dsim_set(DESTINATION, "live", "0"));
	EXPECT_EQ(-1, read(rfd, &byte, 1));
	EXPECT_EQ(-1, write(wfd, &byte, 1));
	close(rfd);
	close(wfd);
}

/* Opened again, a device is new, whatever state it was closed in */
TEST_F(mig, close_in_any_state)
{
	static const uint32_t states[] = {
		RUNNING_P2P, STOP, STOP_COPY, RESUMING,
	};
	struct dsim *d = &self->src.dev;
	struct vm *vm = &self->src.vm;

	for (size_t i = 0; i < ARRAY_LEN(states); i++) {
		dsim_put(d, &nop);
		ASSERT_EQ(0, dsim_kick(d));
		ASSERT_EQ(0, dsim_mig_set(d, states[i], NULL));
		dsim_close(d);
		ASSERT_EQ(0, dsim_open(d));
		ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
		EXPECT_EQ(RUNNING, dsim_mig_get(d));
		ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
		ASSERT_EQ(0, dsim_map_doorbell(d));
		ASSERT_EQ(0, dsim_start(d, vm->ring));
		EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
	}
}

/* A device without P2P goes from RUNNING to STOP, and knows no P2P */
TEST(without_p2p)
{
	static const struct dsim_config config = { .format = "vtdss" };
	struct {
		struct vfio_device_feature feature;
		struct vfio_device_feature_migration mig;
	} arg = {
		.feature = {
			.argsz = sizeof(arg),
			.flags = VFIO_DEVICE_FEATURE_GET |
				 VFIO_DEVICE_FEATURE_MIGRATION,
		},
	};
	struct dsim d;
	struct vm vm;

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, dsim_create(&d, SOURCE, &config));
	ASSERT_EQ(0, dsim_set(SOURCE, "live", "0"));
	ASSERT_EQ(0, dsim_set(SOURCE, "p2p", "0"));
	ASSERT_EQ(0, dsim_set(SOURCE, "live", "1"));
	ASSERT_EQ(0, vm_create(&vm));
	ASSERT_EQ(0, dsim_open(&d));
	ASSERT_EQ(0, dsim_bind(&d, vm.iommufd));
	ASSERT_EQ(0, ioctl(d.fd, VFIO_DEVICE_FEATURE, &arg));
	EXPECT_EQ(VFIO_MIGRATION_STOP_COPY, arg.mig.flags);
	EXPECT_EQ(-EINVAL, dsim_mig_set(&d, RUNNING_P2P, NULL));
	EXPECT_EQ(0, dsim_mig_set(&d, STOP_COPY, NULL));
	EXPECT_EQ(0, dsim_mig_set(&d, RUNNING, NULL));
	dsim_close(&d);
	vm_destroy(&vm);
	EXPECT_EQ(0, dsim_remove(SOURCE));
}

/* ---- No DMA, while registers are alive ---- */

FIXTURE(p2p)
{
	struct side src;
	struct side dst;
	uint8_t stream[STREAM_MAX];
	ssize_t len;
};

/* A device that can be told to stop, and one that is kept from the bus */
FIXTURE_VARIANT(p2p)
{
	struct dsim_config config;
};

FIXTURE_VARIANT_ADD(p2p, stopped) { .config = { .format = "vtdss" } };
FIXTURE_VARIANT_ADD(p2p, drained) {
	.config = { .format = "vtdss", .no_quiesce = true },
};

FIXTURE_SETUP(p2p)
{
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, side_open(&self->src, SOURCE, &variant->config));
	ASSERT_EQ(0, side_open(&self->dst, DESTINATION, &variant->config));
	ASSERT_EQ(0, dsim_start(&self->src.dev, self->src.vm.ring));
}

FIXTURE_TEARDOWN(p2p)
{
	EXPECT_EQ(0, side_close(&self->src));
	EXPECT_EQ(0, side_close(&self->dst));
}

/* Doorbells of both kinds ring, nothing moves; on RUNNING everything does */
TEST_F(p2p, holds_work)
{
	struct dsim_desc fill = {
		.op = DSIM_OP_FILL,
		.dst = DATA_IOVA,
		.len = DATA_SIZE,
		.value = ~0ULL,
	};
	struct dsim *d = &self->src.dev;
	struct dsim_desc *slot;

	for (int i = 0; i < 4; i++) {
		d->trap = i & 1;
		fill.value = i + 1;
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING_P2P, NULL));
		slot = dsim_put(d, &fill);
		ASSERT_EQ(0, dsim_kick(d));
		EXPECT_TRUE(dsim_rests(d, 60));
		EXPECT_EQ(DSIM_DESC_PENDING, slot->status);
		EXPECT_EQ(i, *(uint64_t *)self->src.vm.data);
		/* registers are alive */
		EXPECT_EQ(0, dsim_reg_write(d, DSIM_REG_SCRATCH, i));
		EXPECT_EQ(i, dsim_reg(d, DSIM_REG_SCRATCH));
		/* nor does it move in STOP */
		if (i & 2) {
			ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
			EXPECT_TRUE(dsim_rests(d, 60));
			EXPECT_EQ(i, *(uint64_t *)self->src.vm.data);
		}
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
		ASSERT_EQ(0, dsim_wait(d));
		EXPECT_EQ(DSIM_DESC_DONE, slot->status);
		EXPECT_EQ(i + 1, *(uint64_t *)self->src.vm.data);
	}
}

/* When a state change returns, no write is in flight any more */
TEST_F(p2p, is_quiet_at_once)
{
	uint8_t *copy = malloc(DATA_SIZE);
	struct dsim *d = &self->src.dev;

	ASSERT_NE(NULL, copy);
	for (int i = 0; i < 30; i++) {
		for (int n = 0; n < 64; n++)
			dsim_put(d, &(struct dsim_desc){
				.op = DSIM_OP_FILL, .dst = DATA_IOVA,
				.len = DATA_SIZE, .value = i * 1000 + n });
		d->trap = i & 1;
		ASSERT_EQ(0, dsim_kick(d));
		ASSERT_EQ(0, dsim_mig_set(d, i & 2 ? STOP : RUNNING_P2P, NULL));
		memcpy(copy, self->src.vm.data, DATA_SIZE);
		EXPECT_TRUE(dsim_rests(d, 10));
		ASSERT_EQ(0, memcmp(copy, self->src.vm.data, DATA_SIZE));
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
		ASSERT_EQ(0, dsim_wait(d));
	}
	free(copy);
}

static int set_master(struct dsim *d, bool on)
{
	uint32_t command = dsim_cfg(d, CFG_COMMAND, 2) & ~CFG_COMMAND_MASTER;

	return dsim_cfg_write(d, CFG_COMMAND, 2,
			      command | (on ? CFG_COMMAND_MASTER : 0));
}

static bool is_master(struct dsim *d)
{
	return dsim_cfg(d, CFG_COMMAND, 2) & CFG_COMMAND_MASTER;
}

/* Who writes the command register meanwhile reads what he wrote, and gets it later */
TEST_F(p2p, keeps_the_wish)
{
	struct dsim *d = &self->src.dev;

	for (int i = 0; i < 8; i++) {
		bool before = i & 1, after = i & 2;
		struct dsim_desc *slot;

		ASSERT_EQ(0, set_master(d, before));
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING_P2P, NULL));
		EXPECT_EQ(before, is_master(d));
		slot = dsim_put(d, &nop);
		ASSERT_EQ(0, dsim_kick(d));
		for (int n = 0; n < 3; n++) {
			ASSERT_EQ(0, set_master(d, n & 1));
			EXPECT_EQ(n & 1, is_master(d));
		}
		ASSERT_EQ(0, set_master(d, after));
		EXPECT_TRUE(dsim_rests(d, 20));
		EXPECT_EQ(DSIM_DESC_PENDING, slot->status);
		if (i & 4) {
			ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
			EXPECT_EQ(after, is_master(d));
		}
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
		EXPECT_EQ(after, is_master(d));
		if (!after) {
			EXPECT_TRUE(dsim_rests(d, 20));
			EXPECT_EQ(DSIM_DESC_PENDING, slot->status);
			ASSERT_EQ(0, set_master(d, true));
		}
		ASSERT_EQ(0, dsim_wait(d));
		EXPECT_EQ(DSIM_DESC_DONE, slot->status);
	}
	/* a reset lets go of it too */
	ASSERT_EQ(0, dsim_mig_set(d, RUNNING_P2P, NULL));
	ASSERT_EQ(0, dsim_reset(d));
	ASSERT_EQ(0, dsim_start(d, self->src.vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
}

/* Work that was not drained travels: begun here, ended there, each piece once */
TEST_F(p2p, work_moves)
{
	struct dsim *src = &self->src.dev, *dst = &self->dst.dev;
	uint64_t *sum = (uint64_t *)self->dst.vm.data;
	const unsigned int words = 1024;
	unsigned int pieces = 0;

	/* Again, if the device was done with all before it was stopped */
	do {
		ASSERT_EQ(0, dsim_mig_set(src, RUNNING, NULL));
		for (unsigned int i = 0; i < 200; i++, pieces++)
			dsim_put(src, &(struct dsim_desc){
				.op = DSIM_OP_ADD, .dst = DATA_IOVA, .stride = 8,
				.count = words, .value = 1 });
		ASSERT_EQ(0, dsim_kick(src));
		ASSERT_EQ(0, dsim_mig_set(src, RUNNING_P2P, NULL));
	} while (dsim_reg(src, DSIM_REG_COMPLETED) == pieces && pieces < 20000);
	EXPECT_GT(pieces, dsim_reg(src, DSIM_REG_COMPLETED));
	dsim_put(src, &nop);
	ASSERT_EQ(0, dsim_kick(src));
	SAVE();
	ASSERT_EQ(0, move_guest(&self->dst, &self->src));
	ASSERT_EQ(0, load(dst, self->stream, self->len));
	ASSERT_EQ(0, dsim_mig_set(dst, RUNNING_P2P, NULL));
	EXPECT_TRUE(dsim_rests(dst, 20));
	ASSERT_EQ(0, dsim_mig_set(dst, RUNNING, NULL));
	ASSERT_EQ(0, dsim_wait(dst));
	EXPECT_EQ(pieces + 1, dsim_reg(dst, DSIM_REG_COMPLETED));
	for (unsigned int i = 0; i < words; i++)
		ASSERT_EQ(pieces, sum[i]);
}

/* ---- Every way through the states ---- */

static bool saves(uint32_t state)
{
	return state == STOP_COPY || state == PRE_COPY || state == PRE_COPY_P2P;
}

static bool has_state(const struct dsim_config *config, uint32_t state)
{
	switch (state) {
	case STOP:
	case RUNNING:
	case STOP_COPY:
	case RESUMING:
		return true;
	case RUNNING_P2P:
		return !config->no_p2p;
	case PRE_COPY:
		return config->precopy;
	case PRE_COPY_P2P:
		return config->precopy && !config->no_p2p;
	}
	return false;
}

static bool dma_runs(uint32_t state)
{
	return state == RUNNING || state == PRE_COPY;
}

FIXTURE(arcs)
{
	struct side side;
	struct dsim_config config;
	uint8_t stream[STREAM_MAX];
	ssize_t len;
};

FIXTURE_VARIANT(arcs)
{
	bool p2p;
	bool precopy;
	bool no_quiesce;
};

FIXTURE_VARIANT_ADD(arcs, stop_copy) { };
FIXTURE_VARIANT_ADD(arcs, p2p) { .p2p = true };
FIXTURE_VARIANT_ADD(arcs, precopy) { .precopy = true };
FIXTURE_VARIANT_ADD(arcs, p2p_precopy) { .p2p = true, .precopy = true };
FIXTURE_VARIANT_ADD(arcs, drained) { .no_quiesce = true };
FIXTURE_VARIANT_ADD(arcs, drained_p2p_precopy) {
	.p2p = true, .precopy = true, .no_quiesce = true,
};

FIXTURE_SETUP(arcs)
{
	int fd;

	self->config = (struct dsim_config){
		.format = "vtdss",
		.no_p2p = !variant->p2p,
		.precopy = variant->precopy,
		.no_quiesce = variant->no_quiesce,
	};
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, side_open(&self->side, SOURCE, &self->config));
	ASSERT_EQ(0, dsim_mig_set(&self->side.dev, STOP_COPY, &fd));
	self->len = read_stream(fd, self->stream, STREAM_MAX);
	ASSERT_LT(0, self->len);
	close(fd);
}

FIXTURE_TEARDOWN(arcs)
{
	EXPECT_EQ(0, side_close(&self->side));
}

/* From each state to each: reached, with a data file or without, or refused */
TEST_F(arcs, pairs)
{
	struct dsim *d = &self->side.dev;
	uint32_t from, to;
	int fd, old_fd, rc;

	for (from = 0; from < NR_STATES; from++) {
		if (!has_state(&self->config, from))
			continue;
		for (to = 0; to <= NR_STATES; to++) {
			bool refused = !has_state(&self->config, to) ||
				       (from == STOP_COPY && saves(to) &&
					to != STOP_COPY);
			bool opens = !refused && from != to &&
				     (to == RESUMING ||
				      (saves(to) && (from == STOP_COPY ||
						     !saves(from))));

			ASSERT_EQ(0, dsim_reset(d));
			ASSERT_EQ(0, dsim_mig_set(d, from, &old_fd));
			if (from == RESUMING) {
				ASSERT_EQ(0, write_stream(old_fd, self->stream,
							  self->len));
			}
			rc = dsim_mig_set(d, to, &fd);
			EXPECT_EQ(refused ? -EINVAL : 0, rc) {
				TH_LOG("%u to %u", from, to);
			}
			EXPECT_EQ(opens, fd >= 0) {
				TH_LOG("%u to %u", from, to);
			}
			ASSERT_EQ(refused ? from : to, dsim_mig_get(d));
			if (fd >= 0)
				close(fd);
			if (old_fd >= 0)
				close(old_fd);
		}
	}
}

/* Work is done in those states in which there is DMA, and in no other */
TEST_F(arcs, dma)
{
	struct dsim *d = &self->side.dev;
	struct dsim_desc *slot;
	uint32_t state;
	int fd;

	for (state = 0; state < NR_STATES; state++) {
		if (!has_state(&self->config, state) || state == RESUMING)
			continue;
		ASSERT_EQ(0, dsim_reset(d));
		ASSERT_EQ(0, dsim_start(d, self->side.vm.ring));
		ASSERT_EQ(0, dsim_mig_set(d, state, &fd));
		slot = dsim_put(d, &nop);
		ASSERT_EQ(0, dsim_kick(d));
		if (!dma_runs(state)) {
			EXPECT_TRUE(dsim_rests(d, 20));
			EXPECT_EQ(DSIM_DESC_PENDING, slot->status);
			ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
		}
		ASSERT_EQ(0, dsim_wait(d));
		EXPECT_EQ(DSIM_DESC_DONE, slot->status);
		if (fd >= 0)
			close(fd);
	}
}

/* ---- Precopy ---- */

FIXTURE(precopy)
{
	struct side src;
	struct side dst;
	uint8_t *stream;
	size_t len;
	uint32_t model[MEMORY / 4];
	uint64_t seed;
};

FIXTURE_SETUP(precopy)
{
	static const struct dsim_config config = {
		.format = "vtdss",
		.precopy = true,
		.memory = MEMORY,
	};

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	self->seed = 5;
	self->stream = malloc(LONG_STREAM_MAX);
	ASSERT_NE(NULL, self->stream);
	ASSERT_EQ(0, side_open(&self->src, SOURCE, &config));
	ASSERT_EQ(0, side_open(&self->dst, DESTINATION, &config));
	ASSERT_EQ(0, dsim_start(&self->src.dev, self->src.vm.ring));
}

FIXTURE_TEARDOWN(precopy)
{
	free(self->stream);
	EXPECT_EQ(0, side_close(&self->src));
	EXPECT_EQ(0, side_close(&self->dst));
}

static long precopy_info(int fd, struct vfio_precopy_info *info)
{
	*info = (struct vfio_precopy_info){ .argsz = sizeof(*info) };
	return ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, info) ? -errno : 0;
}

static bool can_read(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1 && p.revents & POLLIN;
}

/* Read what there is, in odd portions: 0 at the end, -ENOMSG for now, or -errno */
static int collect(int fd, uint8_t *stream, size_t *len)
{
	ssize_t n;

	while ((n = read(fd, stream + *len, 3001)) > 0) {
		*len += n;
		if (*len > LONG_STREAM_MAX - 3001)
			return -EFBIG;
	}
	return n ? -errno : 0;
}

#define WRITE_MEM(_at)                                                         \
	do {                                                                   \
		self->model[(_at) / 4] = rnd(&self->seed);                     \
		ASSERT_EQ(0, dsim_mem_write(&self->src.dev, _at,               \
					    self->model[(_at) / 4]));          \
	} while (0)

#define EXPECT_INFO(_fd, _initial, _dirty, _flags)                             \
	do {                                                                   \
		struct vfio_precopy_info _info;                                \
		ASSERT_EQ(0, precopy_info(_fd, &_info));                       \
		EXPECT_EQ(_initial, _info.initial_bytes);                      \
		EXPECT_EQ(_dirty, _info.dirty_bytes);                          \
		EXPECT_EQ(_flags, _info.flags);                                \
	} while (0)

/* Memory that is written all the while arrives as it was in the end */
TEST_F(precopy, memory_arrives)
{
	struct dsim *src = &self->src.dev, *dst = &self->dst.dev;
	struct vfio_precopy_info info;
	int fd, in;

	EXPECT_EQ(MEMORY, dsim_reg(src, DSIM_REG_MEM_SIZE));
	for (uint32_t at = 0; at < MEMORY; at += 512)
		WRITE_MEM(at);

	ASSERT_EQ(0, dsim_mig_set(src, PRE_COPY, &fd));
	ASSERT_LE(0, fd);
	EXPECT_INFO(fd, HEADER_BYTES + PAGES * PAGE_BYTES, 0, 0);
	EXPECT_TRUE(can_read(fd));
	EXPECT_EQ(-ENOMSG, collect(fd, self->stream, &self->len));
	EXPECT_EQ(HEADER_BYTES + PAGES * PAGE_BYTES, self->len);
	EXPECT_INFO(fd, 0, 0, 0);
	EXPECT_FALSE(can_read(fd));

	for (int round = 0; round < 3; round++) {
		/* two words of one page, one of another */
		WRITE_MEM(round * SZ_4K);
		WRITE_MEM(round * SZ_4K + 8);
		WRITE_MEM(MEMORY - 4);
		EXPECT_TRUE(can_read(fd));
		EXPECT_INFO(fd, 0, 2 * PAGE_BYTES, 0);
		EXPECT_EQ(-ENOMSG, collect(fd, self->stream, &self->len));
		EXPECT_INFO(fd, 0, 0, 0);
		EXPECT_FALSE(can_read(fd));
		ASSERT_EQ(0, dsim_mig_set(src, round & 1 ? PRE_COPY :
					  PRE_COPY_P2P, NULL));
	}
	/* the device works in between */
	ASSERT_EQ(0, dsim_mig_set(src, PRE_COPY, NULL));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(src, &nop));
	WRITE_MEM(5 * SZ_4K);
	ASSERT_EQ(0, dsim_mig_set(src, STOP_COPY, NULL));
	EXPECT_EQ(-EINVAL, precopy_info(fd, &info));
	EXPECT_TRUE(can_read(fd));
	EXPECT_EQ(0, collect(fd, self->stream, &self->len));
	EXPECT_EQ(0, read(fd, self->stream + self->len, 1));
	EXPECT_TRUE(can_read(fd));
	ASSERT_EQ(0, dsim_mig_set(src, STOP, NULL));
	EXPECT_EQ(-EINVAL, precopy_info(fd, &info));
	close(fd);

	ASSERT_EQ(0, dsim_mig_set(dst, RESUMING, &in));
	ASSERT_EQ(0, write_stream(in, self->stream, self->len));
	ASSERT_EQ(0, dsim_mig_set(dst, STOP, NULL));
	close(in);
	ASSERT_EQ(0, move_guest(&self->dst, &self->src));
	ASSERT_EQ(0, dsim_mig_set(dst, RUNNING, NULL));
	for (uint32_t at = 0; at < MEMORY; at += 4) {
		if (at % 512 > 8 && at != MEMORY - 4)
			continue;
		ASSERT_EQ(self->model[at / 4], dsim_mem_read(dst, at)) {
			TH_LOG("at %#x", at);
		}
	}
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(dst, &nop));
}

/* A device that is set up anew has initial data again, for those who ask for it */
TEST_F(precopy, reinit)
{
	struct vfio_device_feature v2 = {
		.argsz = sizeof(v2),
		.flags = VFIO_DEVICE_FEATURE_SET |
			 VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2,
	};
	struct dsim *src = &self->src.dev;
	struct vfio_precopy_info info;
	int fd;

	ASSERT_EQ(0, dsim_mig_set(src, PRE_COPY, &fd));
	EXPECT_EQ(-ENOMSG, collect(fd, self->stream, &self->len));
	WRITE_MEM(0);
	ASSERT_EQ(0, dsim_start(src, self->src.vm.ring));
	EXPECT_INFO(fd, 0, PAGE_BYTES, 0);
	/* version 1 leaves the flags alone */
	info = (struct vfio_precopy_info){ .argsz = sizeof(info), .flags = 77 };
	ASSERT_EQ(0, ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info));
	EXPECT_EQ(77, info.flags);

	ASSERT_EQ(0, ioctl(src->fd, VFIO_DEVICE_FEATURE, &v2));
	info.flags = 77;
	ASSERT_EQ(0, ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info));
	EXPECT_EQ(VFIO_PRECOPY_INFO_REINIT, info.flags);
	EXPECT_EQ(PAGE_BYTES, info.initial_bytes);
	EXPECT_EQ(0, info.dirty_bytes);
	WRITE_MEM(SZ_4K);
	EXPECT_EQ(100, read(fd, self->stream, 100));
	EXPECT_INFO(fd, 2 * PAGE_BYTES - 100 - PAGE_BYTES,
		    PAGE_BYTES, 0);
	EXPECT_EQ(-ENOMSG, collect(fd, self->stream, &self->len));
	EXPECT_INFO(fd, 0, 0, 0);

	/* what is wrong with a request is said */
	info.argsz = 8;
	EXPECT_EQ(-1, ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, NULL));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, ioctl(fd, VFIO_DEVICE_RESET));
	EXPECT_EQ(ENOTTY, errno);
	close(fd);
}

/* A device without memory is another one, and so is one with more of it */
TEST_F(precopy, memory_must_fit)
{
	static const struct dsim_config more = {
		.format = "vtdss",
		.memory = 2 * MEMORY,
	};
	struct dsim *src = &self->src.dev;
	const struct dsim_config *others[] = { &plain, &more };
	int fd;

	ASSERT_EQ(0, dsim_mig_set(src, STOP_COPY, &fd));
	EXPECT_EQ(0, collect(fd, self->stream, &self->len));
	close(fd);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, side_close(&self->dst));
		ASSERT_EQ(0, side_open(&self->dst, DESTINATION, others[i]));
		EXPECT_EQ(-ENODEV, load(&self->dst.dev, self->stream,
					self->len));
		EXPECT_EQ(ERROR, dsim_mig_get(&self->dst.dev));
		ASSERT_EQ(0, dsim_reset(&self->dst.dev));
	}
}

/* ---- Devices that ring each other ---- */

/*
 * Each descriptor of work is followed by one that rings the other device's doorbell,
 * by DMA: the two play ping-pong, and nobody else rings. A ring that is lost ends the
 * game, one that is heard twice or work that is done twice shows in the sum.
 */
#define PEERS		2
#define ROUNDS		(RING_ENTRIES / 2)
#define PEER_RING	0x8000UL
#define DOORBELL_IOVA(_i) (NOWHERE_IOVA + (_i) * SZ_2M)

struct pair {
	struct dsim dev[PEERS];
	struct vm vm;
};

static void *doorbell_page(const struct dsim *d)
{
	return (void *)((uintptr_t)d->doorbell & ~(SZ_4K - 1));
}

static int pair_open(struct pair *p, const char *const names[PEERS])
{
	int rc = vm_create(&p->vm);

	for (int i = 0; !rc && i < PEERS; i++) {
		struct dsim *d = &p->dev[i];

		rc = dsim_create(d, names[i], &plain) ?:
		     dsim_open(d) ?:
		     dsim_bind(d, p->vm.iommufd);
		if (!rc && !i)
			rc = vm_alloc_hwpt(&p->vm, d, 0, &p->vm.hwpt);
		if (!rc)
			rc = dsim_attach(d, p->vm.hwpt) ?: dsim_map_doorbell(d);
	}
	if (!rc)
		rc = vm_alloc_memory(&p->vm, DATA_SIZE, false) ?:
		     vm_map_memory(&p->vm);
	for (int i = 0; !rc && i < PEERS; i++)
		rc = vm_map(&p->vm, DOORBELL_IOVA(i), doorbell_page(&p->dev[i]),
			    SZ_4K, MAP_RW);
	return rc;
}

static int pair_close(struct pair *p)
{
	int rc = 0;

	for (int i = 0; i < PEERS; i++)
		dsim_close(&p->dev[i]);
	vm_destroy(&p->vm);
	for (int i = 0; i < PEERS; i++)
		rc = dsim_remove(p->dev[i].name) ?: rc;
	return rc;
}

static void *pair_ring(struct pair *p, int i)
{
	return p->vm.ring + i * PEER_RING;
}

static int pair_start(struct pair *p, int i)
{
	return dsim_start_at(&p->dev[i], pair_ring(p, i),
			     RING_IOVA + i * PEER_RING);
}

/* A ring full of work for both; only the first is rung by us */
static int pair_play(struct pair *p)
{
	uint32_t before = p->dev[0].tail;

	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < PEERS; i++) {
			/* the second answers in the same round */
			uint32_t answer = before + 2 * (round + 1 + i);
			bool last = i && round == ROUNDS - 1;

			dsim_put(&p->dev[i], &(struct dsim_desc){
				.op = DSIM_OP_ADD, .dst = DATA_IOVA + i * SZ_4K,
				.stride = 8, .count = 1, .value = 1 });
			dsim_put(&p->dev[i], &(struct dsim_desc){
				.op = last ? DSIM_OP_NOP : DSIM_OP_FILL,
				.dst = DOORBELL_IOVA(!i), .len = 4,
				.value = answer });
		}
	}
	__atomic_store_n(p->dev[0].doorbell, before + 2, __ATOMIC_RELEASE);
	return 0;
}

static int pair_set(struct pair *p, uint32_t state)
{
	int rc = 0;

	for (int i = 0; !rc && i < PEERS; i++)
		rc = dsim_mig_set(&p->dev[i], state, NULL);
	return rc;
}

static int pair_move(struct pair *to, struct pair *from)
{
	uint8_t stream[STREAM_MAX];
	ssize_t len;
	int fd, rc;

	for (int i = 0; i < PEERS; i++) {
		rc = dsim_mig_set(&from->dev[i], STOP_COPY, &fd);
		if (rc)
			return rc;
		len = read_stream(fd, stream, sizeof(stream));
		close(fd);
		rc = len < 0 ? len : load(&to->dev[i], stream, len);
		if (rc)
			return rc;
		to->dev[i].ring = pair_ring(to, i);
		to->dev[i].tail = from->dev[i].tail;
	}
	memcpy(to->vm.ring, from->vm.ring, 2 * PEER_RING);
	memcpy(to->vm.data, from->vm.data, DATA_SIZE);
	for (int i = 0; i < PEERS; i++) {
		rc = dsim_enable_bus(&to->dev[i]);
		if (rc)
			return rc;
	}
	return 0;
}

TEST(peers)
{
	static const char *const names[2][PEERS] = {
		{ "selftest", "selftest2" }, { "selftest3", "selftest4" },
	};
	static struct pair pairs[2];
	uint64_t seed = 11, total = 0;
	unsigned int midway = 0;

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pair_open(&pairs[i], names[i]));
	}
	for (int i = 0; i < PEERS; i++) {
		ASSERT_EQ(0, pair_start(&pairs[0], i));
	}

	for (int hop = 0; hop < 12; hop++) {
		struct pair *from = &pairs[hop % 2], *to = &pairs[!(hop % 2)];
		int first = hop / 2 % 2;
		uint8_t seen[SZ_4K];

		ASSERT_EQ(0, pair_play(from));
		total += ROUNDS;
		usleep(rnd(&seed) % 5000);

		/* one is quiet while the other still rings it */
		ASSERT_EQ(0, dsim_mig_set(&from->dev[first], RUNNING_P2P, NULL));
		usleep(2000);
		ASSERT_EQ(0, dsim_mig_set(&from->dev[!first], RUNNING_P2P, NULL));
		/* both are: nothing crosses any more, in memory or doorbells */
		memcpy(seen, from->vm.data, SZ_4K);
		uint32_t bells[PEERS] = { *from->dev[0].doorbell,
					  *from->dev[1].doorbell };

		EXPECT_TRUE(dsim_rests(&from->dev[0], 5));
		EXPECT_TRUE(dsim_rests(&from->dev[1], 5));
		EXPECT_EQ(0, memcmp(seen, from->vm.data, SZ_4K));
		EXPECT_EQ(bells[0], *from->dev[0].doorbell);
		EXPECT_EQ(bells[1], *from->dev[1].doorbell);
		midway += *(uint64_t *)from->vm.data != total;

		ASSERT_EQ(0, pair_move(to, from));
		ASSERT_EQ(0, pair_set(to, RUNNING_P2P));
		/* one runs, and rings the other, which is to hear it later */
		ASSERT_EQ(0, dsim_mig_set(&to->dev[!first], RUNNING, NULL));
		usleep(2000);
		ASSERT_EQ(0, dsim_mig_set(&to->dev[first], RUNNING, NULL));
		for (int i = 0; i < PEERS; i++) {
			ASSERT_EQ(0, dsim_wait(&to->dev[i]));
			EXPECT_EQ(total, *(uint64_t *)(to->vm.data + i * SZ_4K));
			ASSERT_EQ(0, dsim_reset(&from->dev[i]));
		}
	}
	/* most games were not over yet when they moved */
	EXPECT_LT(6, midway);
	for (int i = 0; i < 2; i++) {
		EXPECT_EQ(0, pair_close(&pairs[i]));
	}
}

/* ---- Asking beforehand ---- */

#define SYSFS "/sys/devices/platform/dsim." SOURCE "/migration/"

static int ask(const char *version)
{
	int fd = open(SYSFS "compatible", O_WRONLY), rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, version, strlen(version)) != (ssize_t)strlen(version))
		rc = -errno;
	close(fd);
	return rc;
}

/* Of a device that nobody has open */
TEST(compatible)
{
	static const struct dsim_config more = {
		.format = "vtdss",
		.memory = MEMORY,
	};
	static const struct {
		const char *version;
		int want;
	} cases[] = {
		{ "vfio-migration-1 dirty-sim 1234:d512:1234:d512 1 0x0", 0 },
		{ "vfio-migration-1 dirty-sim 1234:d513:1234:d512 1 0x0", -ENODEV },
		{ "vfio-migration-1 dirty-sim 1234:d512:1234:d512 2 0x0",
		  -EPROTONOSUPPORT },
		{ "vfio-migration-1 dirty-sim 1234:d512:1234:d512 0 0x0", -ESTALE },
		{ "vfio-migration-1 dirty-sim 1234:d512:1234:d512 1 0x1",
		  -EOPNOTSUPP },
		{ "dirty-sim", -EINVAL },
	};
	char version[200];
	struct dsim d;
	ssize_t n;
	int fd;

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	ASSERT_EQ(0, dsim_create(&d, SOURCE, &plain));
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		EXPECT_EQ(cases[i].want, ask(cases[i].version)) {
			TH_LOG("%s", cases[i].version);
		}
	}
	fd = open(SYSFS "version", O_RDONLY);
	ASSERT_LE(0, fd);
	n = read(fd, version, sizeof(version) - 1);
	ASSERT_LT(0, n);
	version[n] = '\0';
	close(fd);
	EXPECT_EQ(strlen(cases[0].version) + 1, n);
	EXPECT_EQ(0, strncmp(version, cases[0].version, n - 1));
	EXPECT_EQ(0, ask(version));
	ASSERT_EQ(0, dsim_remove(SOURCE));
	EXPECT_EQ(-1, open(SYSFS "version", O_RDONLY));

	/* the same, with more memory */
	ASSERT_EQ(0, dsim_create(&d, SOURCE, &more));
	EXPECT_EQ(-ENODEV, ask(version));
	EXPECT_EQ(0, dsim_remove(SOURCE));
}

/* ---- All at once ---- */

#define RACE_MS	3000

struct race {
	struct dsim *d;
	struct vm *vm;
	void *doorbell_page;
	unsigned long long end;
	uint64_t seed;
	int fd;
	bool failed;
};

static void *race_states(void *arg)
{
	struct race *r = arg;
	int fd, old;

	while (now_ms() < r->end) {
		dsim_mig_set(r->d, 1 + rnd(&r->seed) % 7, &fd);
		if (fd < 0)
			continue;
		old = __atomic_exchange_n(&r->fd, fd, __ATOMIC_SEQ_CST);
		if (old >= 0)
			close(old);
	}
	return NULL;
}

static void *race_resets(void *arg)
{
	struct race *r = arg;

	while (now_ms() < r->end) {
		if (dsim_reset(r->d))
			r->failed = true;
		usleep(rnd(&r->seed) % 500);
	}
	return NULL;
}

/* Data go to and come from anywhere, a mapping of the device included */
static void *race_data(void *arg)
{
	struct race *r = arg;
	struct vfio_precopy_info info;
	uint8_t buf[5000];

	while (now_ms() < r->end) {
		int fd = __atomic_load_n(&r->fd, __ATOMIC_SEQ_CST);

		switch (rnd(&r->seed) % 6) {
		case 0:
			read(fd, buf, sizeof(buf));
			break;
		case 1:
			write(fd, buf, sizeof(buf));
			break;
		case 2:
			precopy_info(fd, &info);
			break;
		case 3:
			can_read(fd);
			break;
		case 4:
			read(fd, r->doorbell_page, SZ_4K);
			break;
		case 5:
			write(fd, r->doorbell_page, SZ_4K);
			break;
		}
	}
	return NULL;
}

static void *race_registers(void *arg)
{
	struct race *r = arg;

	while (now_ms() < r->end) {
		dsim_mem_write(r->d, rnd(&r->seed) % MEMORY & ~3, 1);
		dsim_reg_write(r->d, DSIM_REG_CTRL, rnd(&r->seed) & 3);
		dsim_mig_get(r->d);
	}
	return NULL;
}

TEST_F(precopy, races)
{
	static void *(*const runs[])(void *) = {
		race_states, race_states, race_resets, race_data, race_data,
		race_registers,
	};
	struct race r = {
		.d = &self->src.dev,
		.doorbell_page = (void *)((uintptr_t)self->src.dev.doorbell &
					  ~(SZ_4K - 1)),
		.end = now_ms() + RACE_MS,
		.seed = 9,
		.fd = -1,
	};
	pthread_t threads[ARRAY_LEN(runs)];

	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, runs[i], &r));
	}
	for (size_t i = 0; i < ARRAY_LEN(runs); i++)
		pthread_join(threads[i], NULL);
	if (r.fd >= 0)
		close(r.fd);
	EXPECT_FALSE(r.failed);
	ASSERT_EQ(0, dsim_reset(&self->src.dev));
	EXPECT_EQ(RUNNING, dsim_mig_get(&self->src.dev));
	ASSERT_EQ(0, dsim_start(&self->src.dev, self->src.vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(&self->src.dev, &nop));
}

struct writer {
	int fd;
	const uint8_t *stream;
	size_t len;
	size_t wrote;
};

static void *write_all(void *arg)
{
	struct writer *w = arg;
	ssize_t n;

	while (w->wrote < w->len) {
		n = write(w->fd, w->stream + w->wrote, w->len - w->wrote);
		if (n <= 0)
			break;
		w->wrote += n;
	}
	return NULL;
}

/* Two write the same stream at once: what arrived is right, or it is refused */
TEST_F(precopy, second_writer)
{
	struct dsim *src = &self->src.dev, *dst = &self->dst.dev;
	struct writer w[2];
	pthread_t threads[2];
	int fd, rc;

	for (uint32_t at = 0; at < MEMORY; at += SZ_4K)
		WRITE_MEM(at);
	ASSERT_EQ(0, dsim_mig_set(src, STOP_COPY, &fd));
	EXPECT_EQ(0, collect(fd, self->stream, &self->len));
	close(fd);
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, dsim_mig_set(dst, RESUMING, &fd));
		for (int t = 0; t < 2; t++) {
			w[t] = (struct writer){
				.fd = fd,
				.stream = self->stream,
				.len = self->len,
			};
			ASSERT_EQ(0, pthread_create(&threads[t], NULL,
						    write_all, &w[t]));
		}
		for (int t = 0; t < 2; t++)
			pthread_join(threads[t], NULL);
		close(fd);
		rc = dsim_mig_set(dst, STOP, NULL);
		/* twice the stream is more than one, whatever the order */
		EXPECT_GT(0, rc);
		EXPECT_EQ(ERROR, dsim_mig_get(dst));
		ASSERT_EQ(0, dsim_reset(dst));
	}
	EXPECT_EQ(0, load(dst, self->stream, self->len));
}

/* ---- MMIO of a device that does not run ---- */

static __thread sigjmp_buf no_page;

static void on_sigbus(int sig)
{
	siglongjmp(no_page, 1);
}

static void catch_sigbus(void)
{
	struct sigaction action = { .sa_handler = on_sigbus };

	sigaction(SIGBUS, &action, NULL);
}

/* Write a mapped word; false when that gets SIGBUS */
static bool store(volatile uint32_t *word, uint32_t value)
{
	if (sigsetjmp(no_page, 1))
		return false;
	*word = value;
	return true;
}

static bool fetch(volatile uint32_t *word)
{
	if (sigsetjmp(no_page, 1))
		return false;
	(void)*word;
	return true;
}

/*
 * User-Mode Linux looks through a process' mappings without a lock when some of them
 * are taken away from outside, and sanitizers report that
 */
static bool on_uml(void)
{
	char line[256] = "";
	FILE *f = fopen("/proc/cpuinfo", "r");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, "User Mode Linux");
	if (f)
		fclose(f);
	return found;
}

FIXTURE(mmio)
{
	struct side side;
	uint8_t stream[STREAM_MAX];
	ssize_t len;
};

FIXTURE_VARIANT(mmio)
{
	bool trapped;
	bool no_quiesce;
};

FIXTURE_VARIANT_ADD(mmio, direct) { };
FIXTURE_VARIANT_ADD(mmio, trapped) { .trapped = true };
FIXTURE_VARIANT_ADD(mmio, drained) { .no_quiesce = true };

FIXTURE_SETUP(mmio)
{
	const struct dsim_config config = {
		.format = "vtdss",
		.precopy = true,
		.revoke_mmio = true,
		.trapped = variant->trapped,
		.no_quiesce = variant->no_quiesce,
	};
	int fd;

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_uml())
		SKIP(return, "User-Mode Linux cannot take mappings away");
	catch_sigbus();
	ASSERT_EQ(0, side_open(&self->side, SOURCE, &config));
	ASSERT_EQ(0, dsim_mig_set(&self->side.dev, STOP_COPY, &fd));
	self->len = read_stream(fd, self->stream, STREAM_MAX);
	ASSERT_LT(0, self->len);
	close(fd);
	ASSERT_EQ(0, dsim_reset(&self->side.dev));
}

FIXTURE_TEARDOWN(mmio)
{
	EXPECT_EQ(0, side_close(&self->side));
}

static bool has_mmio(uint32_t state)
{
	return dma_runs(state) || state == RUNNING_P2P || state == PRE_COPY_P2P;
}

#define EXPECT_MMIO(_d, _on)                                                   \
	do {                                                                   \
		bool _want = _on;                                              \
		EXPECT_EQ(_want, fetch((_d)->doorbell));                       \
		EXPECT_EQ(_want, store((_d)->doorbell, 0));                    \
		EXPECT_EQ(_want ? DSIM_ID : ~0U, dsim_reg(_d, DSIM_REG_ID));   \
		EXPECT_EQ(0, dsim_reg_write(_d, DSIM_REG_SCRATCH, 5 + _want)); \
		EXPECT_EQ(DSIM_PCI_VENDOR_ID, dsim_cfg(_d, CFG_VENDOR, 2));    \
	} while (0)

TEST_F(mmio, states)
{
	struct dsim *d = &self->side.dev;
	uint32_t from, to;
	int fd;

	for (from = 1; from < NR_STATES; from++) {
		for (to = 1; to < NR_STATES; to++) {
			if (from == STOP_COPY && saves(to))
				continue;
			ASSERT_EQ(0, dsim_reset(d));
			ASSERT_EQ(0, dsim_enable_bus(d));
			EXPECT_MMIO(d, true);
			ASSERT_EQ(0, dsim_mig_set(d, from, &fd));
			EXPECT_MMIO(d, has_mmio(from));
			if (from == RESUMING) {
				ASSERT_EQ(0, write_stream(fd, self->stream,
							  self->len));
			}
			ASSERT_EQ(0, dsim_mig_set(d, to, NULL));
			EXPECT_MMIO(d, has_mmio(to));
			if (fd >= 0)
				close(fd);
		}
	}
	/* all of it works again */
	ASSERT_EQ(0, dsim_reset(d));
	ASSERT_EQ(0, dsim_start(d, self->side.vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
	ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
	EXPECT_MMIO(d, false);
	ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
	/* what was written meanwhile is not there */
	EXPECT_EQ(0, dsim_reg(d, DSIM_REG_SCRATCH));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
}

/* Nor in ERROR; nor is it mapped there anew, for the CPU or for DMA */
TEST_F(mmio, error)
{
	struct dsim *d = &self->side.dev;
	void *page = doorbell_page(d);

	ASSERT_EQ(0, dsim_enable_bus(d));
	EXPECT_EQ(0, vm_map(&self->side.vm, NOWHERE_IOVA, page, SZ_4K, MAP_RW));
	ASSERT_EQ(-ENODATA, load(d, NULL, 0));
	ASSERT_EQ(ERROR, dsim_mig_get(d));
	EXPECT_MMIO(d, false);
	dsim_unmap_doorbell(d);
	ASSERT_EQ(0, dsim_map_doorbell(d));
	EXPECT_MMIO(d, false);
	EXPECT_EQ(-EFAULT, vm_map(&self->side.vm, NOWHERE_IOVA + SZ_2M,
				  doorbell_page(d), SZ_4K, MAP_RW));
	ASSERT_EQ(0, dsim_reset(d));
	ASSERT_EQ(0, dsim_enable_bus(d));
	EXPECT_MMIO(d, true);
}

/* A mapping that is hammered, the very moment it is taken away */
static void *hostile_mapped(void *arg)
{
	struct race *r = arg;
	volatile uint32_t *word = (volatile uint32_t *)r->doorbell_page;

	while (now_ms() < r->end) {
		for (int i = 0; i < 1000; i++) {
			store(word + i, i);
			fetch(word + i);
		}
	}
	return NULL;
}

static void *hostile_maps(void *arg)
{
	struct race *r = arg;

	while (now_ms() < r->end) {
		struct dsim d = *r->d;

		if (dsim_map_doorbell(&d))
			continue;
		store(d.doorbell, 1);
		vm_map(r->vm, NOWHERE_IOVA, doorbell_page(&d), SZ_4K, MAP_RW);
		fetch(d.doorbell);
		vm_unmap(r->vm, NOWHERE_IOVA, SZ_4K);
		dsim_unmap_doorbell(&d);
	}
	return NULL;
}

/* Work for the device, some of which writes to its own doorbell */
static void *hostile_dma(void *arg)
{
	struct race *r = arg;
	struct dsim d = *r->d;

	d.trap = true;
	while (now_ms() < r->end) {
		if (dsim_start(&d, r->vm->ring))
			r->failed = true;
		for (int i = 0; i < 100; i++)
			dsim_put(&d, &(struct dsim_desc){
				.op = DSIM_OP_FILL, .len = 64, .value = i,
				.dst = i & 1 ? NOWHERE_IOVA : DATA_IOVA });
		dsim_kick(&d);
		usleep(rnd(&r->seed) % 2000);
	}
	return NULL;
}

/* Reads and writes of everything, however long, wherever; config space as well */
static void *hostile_accesses(void *arg)
{
	static const uint32_t regions[] = {
		VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX,
		VFIO_PCI_BAR1_REGION_INDEX, VFIO_PCI_ROM_REGION_INDEX,
	};
	struct race *r = arg;
	uint8_t buf[300] = { 0 };

	while (now_ms() < r->end) {
		uint32_t region = regions[rnd(&r->seed) % ARRAY_LEN(regions)];
		bool bell = rnd(&r->seed) & 1;
		uint64_t at = bell ? DSIM_DOORBELL_TAIL :
				     rnd(&r->seed) % (DSIM_BAR_SIZE + 16);
		size_t n = bell ? 4 : rnd(&r->seed) % sizeof(buf);

		if (rnd(&r->seed) & 1)
			dsim_read(r->d, region, at, buf, n);
		else
			dsim_write(r->d, region, at, buf, n);
	}
	return NULL;
}

/* Every ioctl that takes a struct with a size, with whatever is in it */
static void *hostile_ioctls(void *arg)
{
	struct race *r = arg;
	uint32_t words[64];

	while (now_ms() < r->end) {
		uint32_t nr = rnd(&r->seed) % 22;

		for (size_t i = 0; i < ARRAY_LEN(words); i++)
			words[i] = rnd(&r->seed) % 16;
		words[0] = sizeof(words);
		/* not: let go of the page table that all others use */
		if (nr != 18 && nr != 19 && nr != 20)
			ioctl(r->d->fd, _IO(VFIO_TYPE, VFIO_BASE + nr), words);
		ioctl(r->fd, _IO(VFIO_TYPE, VFIO_BASE + nr), words);
	}
	return NULL;
}

/* $HOSTILE_SECONDS long; the kernel must neither fall over nor say a word */
TEST_F_TIMEOUT(mmio, hostile, LONG)
{
	static void *(*const runs[])(void *) = {
		race_states, race_resets, race_data, race_data, race_registers,
		hostile_mapped, hostile_mapped, hostile_maps, hostile_dma,
		hostile_accesses, hostile_ioctls,
	};
	const char *seconds = getenv("HOSTILE_SECONDS");
	struct dsim *d = &self->side.dev;
	struct race r = {
		.d = d,
		.vm = &self->side.vm,
		.doorbell_page = doorbell_page(d),
		.end = now_ms() + (seconds ? atoi(seconds) * 1000 : RACE_MS),
		.seed = 13,
		.fd = -1,
	};
	pthread_t threads[ARRAY_LEN(runs)];

	for (size_t i = 0; i < ARRAY_LEN(runs); i++) {
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, runs[i], &r));
	}
	for (size_t i = 0; i < ARRAY_LEN(runs); i++)
		pthread_join(threads[i], NULL);
	if (r.fd >= 0)
		close(r.fd);
	EXPECT_FALSE(r.failed);
	ASSERT_EQ(0, dsim_reset(d));
	ASSERT_EQ(0, dsim_start(d, self->side.vm.ring));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
}

/* ---- A doorbell that is trapped while DMA is stopped ---- */

#define RING_MS	2000

FIXTURE(trap)
{
	struct side src, dst;
	uint8_t stream[STREAM_MAX];
};

FIXTURE_SETUP(trap)
{
	static const struct dsim_config config = {
		.format = "vtdss",
		.revoke_mmio = true,
		.trapped = true,
	};

	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_uml())
		SKIP(return, "User-Mode Linux cannot take mappings away");
	ASSERT_EQ(0, side_open(&self->src, SOURCE, &config));
	ASSERT_EQ(0, side_open(&self->dst, DESTINATION, &config));
	ASSERT_EQ(0, dsim_start(&self->src.dev, self->src.vm.ring));
}

FIXTURE_TEARDOWN(trap)
{
	EXPECT_EQ(0, side_close(&self->dst));
	EXPECT_EQ(0, side_close(&self->src));
}

static uint32_t rung(const struct dsim *d)
{
	return __atomic_load_n(d->doorbell, __ATOMIC_ACQUIRE);
}

/* What is rung reads back, does not reach the device, and does so later */
TEST_F(trap, holds)
{
	struct dsim *d = &self->src.dev;

	for (int i = 0; i < 4; i++) {
		uint32_t before = d->tail;

		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING_P2P, NULL));
		EXPECT_EQ(before + 1, rung(d));
		dsim_put(d, &nop);
		if (i & 1) {
			EXPECT_EQ(4, dsim_write(d, VFIO_PCI_BAR0_REGION_INDEX,
						DSIM_DOORBELL_TAIL, &d->tail, 4));
		} else {
			ASSERT_EQ(0, dsim_kick(d));
		}
		EXPECT_EQ(before + 2, rung(d));
		EXPECT_TRUE(dsim_rests(d, 20));
		EXPECT_EQ(before + 1, dsim_reg(d, DSIM_REG_TAIL));
		if (i & 2) {
			ASSERT_EQ(0, dsim_mig_set(d, STOP, NULL));
		}
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
		ASSERT_EQ(0, dsim_wait(d));
		EXPECT_EQ(before + 2, rung(d));
		EXPECT_EQ(before + 2, dsim_reg(d, DSIM_REG_HEAD));
	}
}

/* It travels, and waits there until the device may start */
TEST_F(trap, travels)
{
	struct dsim *src = &self->src.dev, *dst = &self->dst.dev;
	ssize_t len;
	int fd;

	for (int i = 0; i < 5; i++)
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(src, &nop));
	ASSERT_EQ(0, dsim_mig_set(src, RUNNING_P2P, NULL));
	dsim_put(src, &nop);
	dsim_put(src, &nop);
	ASSERT_EQ(0, dsim_kick(src));
	ASSERT_EQ(0, dsim_mig_set(src, STOP_COPY, &fd));
	len = read_stream(fd, self->stream, STREAM_MAX);
	ASSERT_LT(0, len);
	close(fd);

	ASSERT_EQ(0, move_guest(&self->dst, &self->src));
	ASSERT_EQ(0, load(dst, self->stream, len));
	ASSERT_EQ(0, dsim_mig_set(dst, RUNNING_P2P, NULL));
	EXPECT_EQ(7, rung(dst));
	EXPECT_EQ(5, dsim_reg(dst, DSIM_REG_TAIL));
	EXPECT_TRUE(dsim_rests(dst, 20));
	ASSERT_EQ(0, dsim_mig_set(dst, RUNNING, NULL));
	ASSERT_EQ(0, dsim_wait(dst));
	EXPECT_EQ(7, dsim_reg(dst, DSIM_REG_COMPLETED));
	EXPECT_EQ(DSIM_DESC_DONE, dsim_run(dst, &nop));
}

/* A device set up anew, or reset, knows of nothing that was held */
TEST_F(trap, forgets)
{
	struct dsim *d = &self->src.dev;

	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING_P2P, NULL));
		dsim_put(d, &nop);
		ASSERT_EQ(0, dsim_kick(d));
		if (i) {
			ASSERT_EQ(0, dsim_reset(d));
			EXPECT_EQ(0, rung(d));
		}
		ASSERT_EQ(0, dsim_start(d, self->src.vm.ring));
		EXPECT_EQ(0, rung(d));
		ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
		EXPECT_TRUE(dsim_rests(d, 20));
		EXPECT_EQ(0, dsim_reg(d, DSIM_REG_TAIL));
		EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
		EXPECT_EQ(DSIM_DESC_DONE, dsim_run(d, &nop));
	}
}

static void *ring_all_the_time(void *arg)
{
	struct race *r = arg;

	while (now_ms() < r->end) {
		for (uint32_t n = rnd(&r->seed) % RING_ENTRIES; n; n--) {
			dsim_put(r->d, &nop);
			dsim_kick(r->d);
		}
		if (dsim_wait(r->d)) {
			r->failed = true;
			break;
		}
	}
	return NULL;
}

/* Turned on and off while it rings: each ring is executed, and once */
TEST_F(trap, under_load)
{
	struct dsim *d = &self->src.dev;
	struct race r = {
		.d = d,
		.end = now_ms() + RING_MS,
		.seed = 17,
	};
	unsigned int flips = 0;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, ring_all_the_time, &r));
	for (; now_ms() < r.end; flips++) {
		ASSERT_EQ(0, dsim_mig_set(d, flips & 1 ? RUNNING : RUNNING_P2P,
					  NULL));
		usleep(flips * 7 % 300);
	}
	ASSERT_EQ(0, dsim_mig_set(d, RUNNING, NULL));
	pthread_join(thread, NULL);
	EXPECT_FALSE(r.failed);
	EXPECT_EQ(d->tail, dsim_reg(d, DSIM_REG_HEAD));
	EXPECT_EQ(d->tail, dsim_reg(d, DSIM_REG_COMPLETED));
	TH_LOG("%u rings, %u changes", d->tail, flips);
}

TEST_HARNESS_MAIN
