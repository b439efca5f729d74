// SPDX-License-Identifier: GPL-2.0-only
/*
 * Migration of the simulated device: its states, what it does not do in them,
 * its stream, and what it makes of streams that are wrong
 */
#include <fcntl.h>
#include <sys/ioctl.h>

#include "kselftest_harness.h"
#include "dsim_user.h"

#define SOURCE		"selftest"
#define DESTINATION	"selftest2"
#define DATA_SIZE	(64 * SZ_4K)

/* More than any stream of this device */
#define STREAM_MAX	4096

#define ERROR		VFIO_DEVICE_STATE_ERROR
#define STOP		VFIO_DEVICE_STATE_STOP
#define RUNNING		VFIO_DEVICE_STATE_RUNNING
#define STOP_COPY	VFIO_DEVICE_STATE_STOP_COPY
#define RESUMING	VFIO_DEVICE_STATE_RESUMING
#define RUNNING_P2P	VFIO_DEVICE_STATE_RUNNING_P2P
#define PRE_COPY	VFIO_DEVICE_STATE_PRE_COPY

static const struct dsim_desc nop = { .op = DSIM_OP_NOP };

/* A device with a guest around it */
struct side {
	struct dsim dev;
	struct vm vm;
};

static int side_open(struct side *s, const char *name)
{
	static const struct dsim_config config = { .format = "vtdss" };
	int rc;

	s->vm.iommufd = -1;
	rc = dsim_create(&s->dev, name, &config) ?:
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
	ASSERT_EQ(0, side_open(&self->src, SOURCE));
	ASSERT_EQ(0, side_open(&self->dst, DESTINATION));
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
		ERROR, PRE_COPY, VFIO_DEVICE_STATE_PRE_COPY_P2P,
		VFIO_DEVICE_STATE_NR, UINT32_MAX,
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

/* Doorbells of both kinds ring, nothing moves; on RUNNING everything does */
TEST_F(mig, p2p_holds_work)
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
TEST_F(mig, p2p_is_quiet_at_once)
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
#define REFUSED(_stream, _len, ...)                                            \
	do {                                                                   \
		int _rc = load(&self->dst.dev, _stream, _len);                 \
		EXPECT_GT(0, _rc) {                                            \
			TH_LOG(__VA_ARGS__);                                   \
		}                                                              \
		EXPECT_NE(-ENOTRECOVERABLE, _rc) {                             \
			TH_LOG("refused bytes forgotten: " __VA_ARGS__);       \
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
		REFUSED(self->stream, n, "%zd of %zd bytes", n, self->len);
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
		REFUSED(self->stream, self->len, "byte %zd, bit %#x", n, bit);
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
	REFUSED(large, self->len, "zeroes");
	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = rnd(&seed);
	REFUSED(large, self->len, "noise");
	REFUSED(large, sizeof(large), "much noise");
	memcpy(large, self->stream, self->len);
	REFUSED(large, self->len + 1, "one byte more");
	REFUSED(large, sizeof(large), "much more");
	memcpy(large + self->len, self->stream, self->len);
	REFUSED(large, 2 * self->len, "twice");
	/* the same in two writes, of which the first would do alone */
	{
		struct dsim *d = &self->dst.dev;
		int fd;

		ASSERT_EQ(0, dsim_mig_set(d, RESUMING, &fd));
		ASSERT_EQ(self->len, write(fd, self->stream, self->len));
		EXPECT_EQ(-1, write(fd, "x", 1));
		close(fd);
		EXPECT_GT(0, dsim_mig_set(d, STOP, NULL)) {
			TH_LOG("a stream with refused bytes was loaded");
		}
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

TEST_HARNESS_MAIN
