// SPDX-License-Identifier: GPL-2.0-only
/*
 * From one provider to another, and back, while devices write all the time and
 * both an HWPT and a dirty log are read
 *
 * Two devices have a tracker of their own and an IOMMU that tracks. Time is cut
 * into epochs. In each one both devices write, and policy is changed all the time;
 * then all of it stops. What was read in it must be what was written in it, and who
 * copied each page that was reported must have what is in memory.
 */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "kselftest_harness.h"
#include "policy_user.h"
#include "log_user.h"

#define DIRTY	IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define PAGES	512
#define SZ_64K	0x10000UL
#define WORDS	(PAGES / 64)
#define DEVICES	2
#define EPOCH_MS	200
#define MIN_ROUNDS	12	/* on a machine that is busy */
#define PARAMETER	"/sys/module/iommufd/parameters/dirty_providers"

static const char *const names[DEVICES] = { "selftest-one", "selftest-two" };

/**
 * struct reader - what one way of reading has come to
 * @seen: pages reported in this epoch
 * @copy: first word of each page, copied whenever it was reported
 */
struct reader {
	uint64_t seen[WORDS];
	uint64_t copy[PAGES];
};

/**
 * struct run - one test
 * @dev: the devices
 * @vm: what they write to
 * @log: a log of the same
 * @hwpt: what came by the HWPT
 * @logged: what came by the log
 * @wrote: pages written by each in this epoch
 * @value: of the last write
 * @stop: the epoch is over
 * @reset: the devices are reset now and then
 * @rc: what a thread failed with
 */
struct run {
	struct dsim dev[DEVICES];
	struct vm vm;
	struct dlog log;
	struct reader hwpt;
	struct reader logged;
	uint64_t wrote[DEVICES][WORDS];
	uint64_t value;
	bool stop;
	bool reset;
	int rc;
};

FIXTURE(switching)
{
	struct run run;
};

/* The second ring lies behind the first */
static int start(struct run *r, unsigned int i)
{
	struct dsim *d = &r->dev[i];

	return dsim_start(d, r->vm.ring + i * RING_BYTES) ?:
	       dsim_reg_write(d, DSIM_REG_CTRL, 0) ?:
	       dsim_reg_write(d, DSIM_REG_RING_LO,
			      RING_IOVA + i * RING_BYTES) ?:
	       dsim_reg_write(d, DSIM_REG_CTRL, DSIM_CTRL_ENABLE);
}

FIXTURE_VARIANT(switching)
{
	struct dsim_config config;
};

FIXTURE_VARIANT_ADD(switching, pull)
{
	.config = { .format = "vtdss", .page_sizes = SZ_4K, .tracker = "pull" },
};

FIXTURE_VARIANT_ADD(switching, push)
{
	.config = { .format = "amdv1", .page_sizes = SZ_4K, .tracker = "push" },
};

FIXTURE_SETUP(switching)
{
	struct iommu_dirty_log_alloc log = {
		.flags = IOMMU_DIRTY_LOG_IOVA,
		.start = DATA_IOVA,
		.length = PAGES * SZ_4K,
		.page_size = SZ_4K,
	};
	struct vm *vm = &self->run.vm;
	size_t large;

	vm->iommufd = -1;
	vm->memfd = -1;
	for (int i = 0; i < DEVICES; i++)
		self->run.dev[i].fd = -1;
	if (!dsim_available())
		SKIP(return, "iommufd_dirty_sim is not loaded");
	if (on_base())
		SKIP(return, "the base kernel has one provider");
	ASSERT_EQ(0, vm_create(vm));
	ASSERT_EQ(0, vm_alloc_memory(vm, PAGES * SZ_4K, false));
	ASSERT_EQ(0, vm_learn_leaves(vm, SZ_4K, &large));
	for (int i = 0; i < DEVICES; i++) {
		struct dsim *d = &self->run.dev[i];

		ASSERT_EQ(0, dsim_create(d, names[i], &variant->config));
		ASSERT_EQ(0, dsim_open(d));
		ASSERT_EQ(0, dsim_bind(d, vm->iommufd));
		if (!i)
			ASSERT_EQ(0, vm_alloc_hwpt(vm, d, DIRTY, &vm->hwpt));
		ASSERT_EQ(0, dsim_attach(d, vm->hwpt));
	}
	ASSERT_EQ(0, vm_map_memory(vm));
	ASSERT_EQ(0, vm_track(vm, vm->hwpt, true));
	log.ioas_id = vm->ioas;
	ASSERT_EQ(0, dlog_open(&self->run.log, vm->iommufd, &log));
	for (int i = 0; i < DEVICES; i++)
		ASSERT_EQ(0, start(&self->run, i));
}

FIXTURE_TEARDOWN(switching)
{
	if (self->run.log.bits)
		EXPECT_EQ(0, dlog_close(&self->run.log));
	for (int i = 0; i < DEVICES; i++)
		dsim_close(&self->run.dev[i]);
	vm_destroy(&self->run.vm);
	for (int i = 0; dsim_available() && !on_base() && i < DEVICES; i++)
		EXPECT_EQ(0, dsim_remove(names[i]));
}

static bool stopped(struct run *r)
{
	return __atomic_load_n(&r->stop, __ATOMIC_RELAXED);
}

static void fail(struct run *r, int rc)
{
	if (rc)
		__atomic_store_n(&r->rc, rc, __ATOMIC_RELAXED);
}

/* ---- Writing ---- */

struct writer {
	struct run *run;
	unsigned int i;
};

/* Up to 16 pages at a time; of four one, so that most are never written */
static int write_some(struct run *r, unsigned int i,
		      uint64_t *seed)
{
	struct dsim *d = &r->dev[i];
	struct dsim_desc *last = NULL;
	unsigned int n = 1 + rnd(seed) % 16;
	int rc;

	while (n--) {
		unsigned int page = rnd(seed) % (PAGES / 4) * 4 + i;
		struct dsim_desc desc = {
			.op = DSIM_OP_FILL,
			.dst = DATA_IOVA + page * SZ_4K + 16,
			.len = 8,
			.value = __atomic_add_fetch(&r->value, 1,
						    __ATOMIC_RELAXED),
		};

		r->wrote[i][page / 64] |= 1ULL << page % 64;
		last = dsim_put(d, &desc);
	}
	rc = dsim_kick(d) ?: dsim_wait(d);
	if (rc)
		return rc;
	return __atomic_load_n(&last->status, __ATOMIC_ACQUIRE) ==
	       DSIM_DESC_DONE ? 0 : -EIO;
}

static void *write_all_the_time(void *data)
{
	struct writer *w = data;
	struct run *r = w->run;
	uint64_t seed = w->i + 1;
	int rc = 0;

	while (!rc && !stopped(r)) {
		rc = write_some(r, w->i, &seed);
		if (!rc && r->reset && rnd(&seed) % 8 == 0)
			rc = dsim_reset(&r->dev[w->i]) ?: start(r, w->i);
	}
	fail(r, rc);
	return NULL;
}

/* ---- Reading ---- */

static void copy(struct run *r, struct reader *to,
		 const uint64_t *bits)
{
	for (unsigned int page = 0; page < PAGES; page++) {
		uint64_t *word = (uint64_t *)(r->vm.data + page * SZ_4K + 16);

		if (bits[page / 64] >> page % 64 & 1)
			to->copy[page] = __atomic_load_n(word, __ATOMIC_ACQUIRE);
	}
	for (unsigned int i = 0; i < WORDS; i++)
		to->seen[i] |= bits[i];
}

static int read_hwpt(struct run *r)
{
	uint64_t bits[WORDS] = {};
	int rc = vm_get_dirty(&r->vm, r->vm.hwpt, DATA_IOVA,
			      PAGES * SZ_4K, 0, bits);

	copy(r, &r->hwpt, bits);
	return rc;
}

static int read_log(struct run *r)
{
	uint64_t bits[WORDS] = {};
	int rc = dlog_sync(&r->log, NULL);

	dlog_take(&r->log, bits);
	copy(r, &r->logged, bits);
	return rc;
}

static void *read_all_the_time(void *data)
{
	struct run *r = data;
	int rc = 0;

	while (!rc && !stopped(r))
		rc = read_hwpt(r);
	fail(r, rc);
	return NULL;
}

static void *sync_all_the_time(void *data)
{
	struct run *r = data;
	int rc = 0;

	while (!rc && !stopped(r))
		rc = read_log(r);
	fail(r, rc);
	return NULL;
}

/* ---- Epochs ---- */

/* What changes meanwhile, again and again */
typedef int (*change_t)(struct run *r, unsigned int round);

static int epoch(struct run *r, change_t change)
{
	unsigned long long end = now_ms() + EPOCH_MS;
	struct writer w[DEVICES];
	pthread_t thread[DEVICES + 2];
	int rc = 0;

	memset(r->wrote, 0, sizeof(r->wrote));
	memset(r->hwpt.seen, 0, sizeof(r->hwpt.seen));
	memset(r->logged.seen, 0, sizeof(r->logged.seen));
	r->stop = false;
	for (unsigned int i = 0; i < DEVICES; i++) {
		w[i] = (struct writer){ .run = r, .i = i };
		pthread_create(&thread[i], NULL, write_all_the_time, &w[i]);
	}
	pthread_create(&thread[DEVICES], NULL, read_all_the_time, r);
	pthread_create(&thread[DEVICES + 1], NULL, sync_all_the_time, r);
	for (unsigned int round = 0;
	     !rc && (round < MIN_ROUNDS || now_ms() < end); round++)
		rc = change(r, round);
	__atomic_store_n(&r->stop, true, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < DEVICES + 2; i++)
		pthread_join(thread[i], NULL);
	return rc ?: r->rc ?: read_hwpt(r) ?: read_log(r);
}

struct verdict {
	unsigned int written;	/* pages */
	unsigned int lost;	/* written, and not reported */
	unsigned int invented;	/* reported, and not written */
	unsigned int stale;	/* copied before they were written last */
};

static struct verdict judge(const struct run *r,
			    const struct reader *to)
{
	struct verdict v = {};

	for (unsigned int i = 0; i < WORDS; i++) {
		uint64_t wrote = r->wrote[0][i] | r->wrote[1][i];

		v.written += __builtin_popcountll(wrote);
		v.lost += __builtin_popcountll(wrote & ~to->seen[i]);
		v.invented += __builtin_popcountll(to->seen[i] & ~wrote);
	}
	for (unsigned int page = 0; page < PAGES; page++)
		v.stale += to->copy[page] !=
			   *(uint64_t *)(r->vm.data + page * SZ_4K + 16);
	return v;
}

#define NOTHING_LOST(_v)                                                       \
	do {                                                                   \
		EXPECT_LT(DEVICES, (_v).written);                              \
		EXPECT_EQ(0, (_v).lost);                                       \
		EXPECT_EQ(0, (_v).stale);                                      \
	} while (0)

#define EPOCH(_change, _exact)                                                 \
	do {                                                                   \
		struct verdict h_, l_;                                         \
		ASSERT_EQ(0, epoch(&self->run, _change));                            \
		h_ = judge(&self->run, &self->run.hwpt);                                 \
		l_ = judge(&self->run, &self->run.logged);                               \
		NOTHING_LOST(h_);                                              \
		NOTHING_LOST(l_);                                              \
		if (_exact) {                                                  \
			EXPECT_EQ(0, h_.invented);                             \
			EXPECT_EQ(0, l_.invented);                             \
		}                                                              \
		/* and nothing is left */                                      \
		memset(self->run.hwpt.seen, 0, sizeof(self->run.hwpt.seen));           \
		ASSERT_EQ(0, read_hwpt(&self->run));                                 \
		ASSERT_EQ(0, read_log(&self->run));                                  \
		for (unsigned int i_ = 0; (_exact) && i_ < WORDS; i_++)        \
			EXPECT_EQ(0, self->run.hwpt.seen[i_]);                     \
	} while (0)

/* ---- What changes ---- */

static int nothing(struct run *r, unsigned int round)
{
	usleep(1000);
	return 0;
}

/* Each device by itself, so that at times they differ */
static int exact_ones(struct run *r, unsigned int round)
{
	return set_policy(&r->vm, r->dev[round % DEVICES].devid,
			  round / DEVICES % 3 % 2 ? IOMMU : DEVICE);
}

static int all_of_them(struct run *r, unsigned int round)
{
	const uint32_t next[] = { DEVICE, IOMMU, ALL, DEVICE, ALL, IOMMU };

	return set_policy(&r->vm, r->vm.ioas, next[round % 6]);
}

static int write_parameter(const char *text)
{
	int fd = open(PARAMETER, O_WRONLY);
	int rc;

	if (fd < 0)
		return -errno;
	rc = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

static int of_the_host(struct run *r, unsigned int round)
{
	return write_parameter(round % 2 ? "iommu" : "device");
}

static int breaks(struct run *r, unsigned int round)
{
	int rc = dsim_set(names[round % DEVICES], "fault_tracker",
			  round / DEVICES % 2 ? "0" : "1");

	usleep(1000);
	return rc;
}

static int breaks_and_switches(struct run *r, unsigned int round)
{
	int rc = breaks(r, round);

	/* One that cannot be started is left for another */
	return rc ?: set_policy(&r->vm, r->vm.ioas,
				round % 3 ? DEVICE | IOMMU : DEVICE | ALL);
}

/* ---- Tests ---- */

/* Whoever it is in the end, it is one that is exact */
static int rest(struct run *r)
{
	int rc = 0;

	for (int i = 0; i < DEVICES; i++) {
		rc = rc ?: dsim_set(names[i], "fault_tracker", "0");
		rc = rc ?: set_policy(&r->vm, r->dev[i].devid, INHERIT);
	}
	rc = rc ?: set_policy(&r->vm, r->vm.ioas, DEVICE);
	/* What was all dirty, or failed, is so once more */
	return rc ?: read_hwpt(r) ?: read_log(r) ?: read_hwpt(r) ?:
	       read_log(r);
}

TEST_F(switching, between_exact_ones)
{
	EPOCH(nothing, true);
	EPOCH(exact_ones, true);
	EPOCH(exact_ones, true);
	EXPECT_EQ(0, get_lost(&self->run.vm));
}

TEST_F(switching, by_the_host)
{
	EPOCH(of_the_host, true);
	EXPECT_EQ(0, write_parameter("device"));
	for (int i = 0; i < DEVICES; i++)
		EXPECT_EQ(IOMMU_DIRTY_PROVIDER_DEVICE,
			  get_provider(&self->run.vm, self->run.dev[i].devid));
	EXPECT_EQ(0, write_parameter("iommu"));
	for (int i = 0; i < DEVICES; i++)
		EXPECT_EQ(IOMMU_DIRTY_PROVIDER_IOMMU,
			  get_provider(&self->run.vm, self->run.dev[i].devid));
	EXPECT_EQ(0, write_parameter("iommu,device"));
	EPOCH(nothing, true);
	EXPECT_EQ(0, get_lost(&self->run.vm));
}

TEST_F(switching, to_all_and_back)
{
	EPOCH(all_of_them, false);
	EPOCH(all_of_them, false);
	ASSERT_EQ(0, rest(&self->run));
	EPOCH(nothing, true);
	EXPECT_EQ(0, get_lost(&self->run.vm));
}

TEST_F(switching, with_resets)
{
	self->run.reset = true;
	ASSERT_EQ(0, set_policy(&self->run.vm, self->run.vm.ioas, DEVICE));
	EPOCH(nothing, false);
	EPOCH(exact_ones, false);
	EPOCH(all_of_them, false);
	EXPECT_LT(0, get_lost(&self->run.vm));
	self->run.reset = false;
	ASSERT_EQ(0, rest(&self->run));
	EPOCH(nothing, true);
}

TEST_F(switching, with_failures)
{
	ASSERT_EQ(0, set_policy(&self->run.vm, self->run.vm.ioas, DEVICE));
	EPOCH(breaks, false);
	EXPECT_LT(0, get_lost(&self->run.vm));
	EPOCH(breaks_and_switches, false);
	ASSERT_EQ(0, rest(&self->run));
	EPOCH(nothing, true);
	EPOCH(exact_ones, true);
}

/* ---- Who is taken ---- */

struct choice {
	struct dsim_config config;
	enum iommu_dirty_provider provider;
	uint64_t granule;
};

static const struct choice choices[] = {
	/* of equals the IOMMU, unless the driver rates its tracker higher */
	{ { .page_sizes = SZ_4K, .tracker = "pull" },
	  IOMMU_DIRTY_PROVIDER_IOMMU, SZ_4K },
	{ { .page_sizes = SZ_4K, .tracker = "push", .rating = 1 },
	  IOMMU_DIRTY_PROVIDER_DEVICE, SZ_4K },
	{ { .page_sizes = SZ_4K, .tracker = "push", .rating = -1 },
	  IOMMU_DIRTY_PROVIDER_IOMMU, SZ_4K },
	/* what tells more apart, whatever its rating */
	{ { .page_sizes = SZ_4K | SZ_2M, .tracker = "push", .rating = -1 },
	  IOMMU_DIRTY_PROVIDER_DEVICE, SZ_4K },
	{ { .page_sizes = SZ_4K | SZ_2M, .tracker = "pull", .granule = SZ_64K },
	  IOMMU_DIRTY_PROVIDER_DEVICE, SZ_64K },
	/* known to be worse once it was started */
	{ { .page_sizes = SZ_4K | SZ_2M, .tracker = "pull",
	    .granule = 2 * SZ_2M },
	  IOMMU_DIRTY_PROVIDER_IOMMU, SZ_2M },
	/* the only one */
	{ { .page_sizes = SZ_4K, .no_ad = true, .tracker = "pull",
	    .granule = SZ_64K },
	  IOMMU_DIRTY_PROVIDER_DEVICE, SZ_64K },
};

static const char *name_of(enum iommu_dirty_provider provider)
{
	return provider == IOMMU_DIRTY_PROVIDER_IOMMU ? "iommu" : "device";
}

TEST(chosen)
{
	struct iommu_dirty_get_coverage cmd;
	struct iommu_dirty_device_coverage e;
	char what[100], *text;

	if (!dsim_available() || on_base())
		SKIP(return, "the base kernel has one provider");
	for (unsigned int i = 0; i < ARRAY_LEN(choices); i++) {
		const struct choice *c = &choices[i];
		struct dsim_config config = c->config;
		uint32_t other = c->provider == IOMMU_DIRTY_PROVIDER_IOMMU ?
					 DEVICE : IOMMU;
		bool traced;
		struct vm vm = {};
		struct dsim d = {};

		config.format = "vtdss";
		traced = trace_begin();
		ASSERT_EQ(0, vm_create(&vm));
		ASSERT_EQ(0, vm_alloc_memory(&vm, 16 * SZ_4K, false));
		ASSERT_EQ(0, dsim_create(&d, names[0], &config));
		ASSERT_EQ(0, dsim_open(&d));
		ASSERT_EQ(0, dsim_bind(&d, vm.iommufd));
		ASSERT_EQ(0, vm_alloc_hwpt(&vm, &d, DIRTY, &vm.hwpt));
		ASSERT_EQ(0, dsim_attach(&d, vm.hwpt));
		ASSERT_EQ(0, vm_map_memory(&vm));
		ASSERT_EQ(0, vm_track(&vm, vm.hwpt, true));
		ASSERT_EQ(0, get_coverage(&vm, vm.ioas, &cmd, &e));
		EXPECT_EQ(c->provider, e.provider) {
			TH_LOG("choice %u", i);
		}
		EXPECT_EQ(c->granule, e.granule_max) {
			TH_LOG("choice %u", i);
		}
		EXPECT_EQ(IOMMU_DIRTY_REASON_USED, e.reasons[c->provider]);
		EXPECT_EQ(IOMMU_DIRTY_REASON_POLICY,
			  e.reasons[IOMMU_DIRTY_PROVIDER_ALL]);

		/* and another one by the device's own policy, while it runs */
		if (!config.no_ad) {
			ASSERT_EQ(0, set_policy(&vm, d.devid, other));
			ASSERT_EQ(0, get_coverage(&vm, vm.ioas, &cmd, &e));
			EXPECT_EQ(other, 1U << e.provider);
			EXPECT_EQ(IOMMU_DIRTY_REASON_POLICY,
				  e.reasons[c->provider]);
		} else {
			EXPECT_EQ(-EBUSY, set_policy(&vm, d.devid, other));
		}
		text = trace_end();
		snprintf(what, sizeof(what), "why_%s=used", name_of(c->provider));
		EXPECT_TRUE(!traced || trace_has(text, what, "why_all=policy"));
		if (!config.no_ad) {
			snprintf(what, sizeof(what), "why_%s=policy",
				 name_of(c->provider));
			EXPECT_TRUE(!traced || trace_has(text, what, "=used"));
		} else {
			EXPECT_TRUE(!traced ||
				    trace_has(text, "why_iommu=no_support",
					      "why_device=used"));
		}
		free(text);
		dsim_close(&d);
		vm_destroy(&vm);
		ASSERT_EQ(0, dsim_remove(names[0]));
	}
}

TEST_HARNESS_MAIN
