// SPDX-License-Identifier: GPL-2.0-only
/* The grammar of ioctls: see fuzz_grammar.h */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "fuzz_grammar.h"
#include "life.h"
#ifndef IOMMU_DIRTY_GET_COVERAGE /* the base's headers have none of it */
#include "../../../../../include/uapi/linux/iommufd_dirty.h"
#endif

#define PAGE		SZ_4K
/* Of a structure, and of what may be behind one that says it is longer */
#define ARG_MAX		256U
/* What must not change around what may */
#define MARGIN		64U
#define PAINT		0xa5
/* The most that a buffer has */
#define OUT_BYTES	(2 * PAGE)

struct world world;

/* ---- Values ---- */

/* One that is there, if there is one */
static uint32_t live(struct fuzzer *f, const uint32_t *pool, unsigned int n)
{
	unsigned int at = below(f, n);

	for (unsigned int i = 0; i < n; i++, at = (at + 1) % n)
		if (pool[at])
			return pool[at];
	return 0;
}

static uint32_t any_object(struct fuzzer *f)
{
	switch (below(f, 5)) {
	case 0:
		return live(f, world.ioas, IOASES);
	case 1:
		return live(f, world.device, DEVS);
	case 2:
		return live(f, world.log, LOGS);
	case 3:
		/* those that the kernel made for itself are among them */
		return below(f, 64);
	default:
		return live(f, world.hwpt, HWPTS);
	}
}

static uint32_t any_table(struct fuzzer *f)
{
	uint32_t hwpt = live(f, &world.hwpt[2 * f->dev], 2);

	return hwpt && below(f, 3) ? hwpt : world.ioas[f->ioas];
}

static uint64_t place(struct fuzzer *f)
{
	return below(f, SLOTS - f->slots + 1) * SLOT_BYTES;
}

/* What makes sense */
static uint64_t draw(struct fuzzer *f, const struct call *c, enum value what,
		     uint64_t arg)
{
	switch (what) {
	case SIZE:
		return c->size;
	case IOAS:
		return world.ioas[f->ioas];
	case HWPT:
		return live(f, &world.hwpt[2 * f->dev], 2);
	case DEVICE:
		return world.device[f->dev];
	case LOG:
		return live(f, world.log, LOGS);
	case PT:
		return any_table(f);
	case OBJECT:
		return any_object(f);
	case IOVA:
		return WINDOW + f->slot * SLOT_BYTES;
	case LENGTH:
		return f->slots * SLOT_BYTES;
	case PAGE_SIZE:
		return PAGE << (below(f, 4) ? 0 : below(f, 3));
	case MEMORY:
		return (uintptr_t)world.memory + place(f);
	case FILE_AT:
		return place(f);
	case BITS:
		return rnd(&f->random) & arg;
	case BELOW:
		return below(f, arg);
	case CONST:
		return arg;
	default:
		return 0;
	}
}

uint64_t edge(struct fuzzer *f)
{
	static const uint64_t edges[] = {
		0, 1, 2, 3, 7, 63, 64, 255, 512, PAGE - 1, PAGE, PAGE + 1,
		2 * PAGE, SLOT_BYTES - 1, SLOT_BYTES + PAGE, SZ_2M,
		0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
		0x7fffffffffff, 0x800000000000, 0x7fffffffffffffff,
		0x8000000000000000, -PAGE, -PAGE - 1, -2 * PAGE, -8, -1,
		WINDOW, WINDOW + 1, WINDOW - PAGE, WINDOW + MEMORY_BYTES, RINGS,
		0xffff888000000000, 0xffffffff81000000, 0x60000000,
	};

	return below(f, 8) ? edges[below(f, ARRAY_LEN(edges))] : rnd(&f->random);
}

void *bad_memory(struct fuzzer *f)
{
	const struct mapping *m = &f->mappings[below(f, MAPPINGS)];

	switch (below(f, 7)) {
	case 0:
		return world.nothing + below(f, PAGE);
	case 1:
		return world.readonly + below(f, PAGE);
	case 2:
		return world.flux + below(f, FLUX_BYTES);
	case 3:
		return world.flux + below(f, FLUX_BYTES / PAGE) * PAGE;
	case 4:
		/* a part of it, which may be the last, or reach beyond */
		return (uint8_t *)m->at + (m->bytes ? below(f, m->bytes) & -8 : 0);
	case 5:
		return world.commons + below(f, COMMONS_BYTES);
	default:
		return (void *)(uintptr_t)edge(f);
	}
}

static uint64_t bad_size(struct fuzzer *f, const struct call *c)
{
	switch (below(f, 6)) {
	case 0:
		return c->size - 4;
	case 1:
		return below(f, c->size);
	case 2:
		return c->size + 8;
	case 3:
		return below(f, ARG_MAX);
	case 4:
		return 4;
	default:
		return edge(f);
	}
}

static bool is_pointer(enum value what)
{
	return what == MEMORY || what == BUFFER;
}

/*
 * What does not. A pointer must not lead to where others have what they watch, so it is
 * not changed by much.
 */
static uint64_t draw_wrong(struct fuzzer *f, const struct call *c,
			   const struct field *field, uint64_t right)
{
	if (field->value == SIZE)
		return bad_size(f, c);
	if (is_pointer(field->value))
		return below(f, 4) ? (uintptr_t)bad_memory(f) :
				     right ^ (1U << below(f, 12));
	switch (below(f, 6)) {
	case 0:
		return right + 1;
	case 1:
		return right - 1;
	case 2:
		return right ^ (1ULL << below(f, 8 * field->bytes));
	case 3:
		return draw(f, c, below(f, VALUES), 16);
	case 4:
		return any_object(f);
	default:
		return edge(f);
	}
}

static uint64_t get(const uint8_t *arg, const struct field *field)
{
	uint64_t value = 0;

	memcpy(&value, arg + field->at, field->bytes);
	return value;
}

static void put(uint8_t *arg, const struct field *field, uint64_t value)
{
	memcpy(arg + field->at, &value, field->bytes);
}

/* ---- Memory of a thread ---- */

static void *area(unsigned int nr, size_t bytes)
{
	void *at = fuzz_address(nr);
	uint8_t *p = mmap(at, bytes, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != at)
		failed("no memory at %p", at);
	return p;
}

static void open_area(void *at, size_t bytes)
{
	if (mprotect(at, bytes, PROT_READ | PROT_WRITE))
		failed("no memory");
	memset(at, PAINT, bytes);
}

void fuzz_init(struct fuzzer *f, unsigned int nr, uint64_t seed)
{
	uint8_t *p = area(nr, 8 * PAGE);

	*f = (struct fuzzer){ .nr = nr };
	f->random = (seed + nr) * 0x9e3779b97f4a7c15ULL | 1;
	rnd(&f->random);
	rnd(&f->random);
	f->arg = p + PAGE;
	f->out = p + 3 * PAGE;
	open_area(f->arg, PAGE);
	open_area(f->out, OUT_BYTES);
	f->stream = area(nr + 8, STREAM_BYTES + PAGE);
	open_area(f->stream, STREAM_BYTES);
}

void fuzz_pick(struct fuzzer *f)
{
	f->dev = below(f, DEVS);
	f->ioas = below(f, IOASES);
	f->slot = below(f, SLOTS);
	f->slots = below(f, 8) ? 1 : 1 + below(f, 4);
	if (f->slots > SLOTS - f->slot)
		f->slots = SLOTS - f->slot;
}

/* Room for so much and not a byte more, either way */
static uint64_t give(struct fuzzer *f, size_t bytes)
{
	uint8_t *end = f->out + OUT_BYTES;

	f->room = bytes;
	f->given = below(f, 2) ? end - bytes :
		   f->out + MARGIN + below(f, OUT_BYTES - 2 * MARGIN - bytes);
	memset(f->given - MARGIN, PAINT, MARGIN);
	memset(f->given, 0, bytes);
	bytes = f->given + bytes == end ? 0 : MARGIN;
	memset(f->given + f->room, PAINT, bytes);
	return (uintptr_t)f->given;
}

static bool painted(const uint8_t *at, const uint8_t *end)
{
	for (; at < end; at++)
		if (*at != PAINT)
			return false;
	return true;
}

static void check_buffer(struct fuzzer *f, const struct call *c,
			 const uint8_t *arg)
{
	uint8_t *end = f->out + OUT_BYTES, *at;
	uint64_t room;

	if (!f->given || !c->room ||
	    get(arg, &c->fields[c->buffer]) != (uintptr_t)f->given)
		return;
	room = c->room(arg);
	if (room > f->room)
		return;
	if (world.control && room)
		room--;
	/* what it says is shorter than what there is */
	for (at = f->given + room; at < f->given + f->room; at++)
		if (*at)
			failed("%s: byte %d of a buffer of %d was written",
			       c->name, (int)(at - f->given), (int)room);
	if (end > at + MARGIN)
		end = at + MARGIN;
	if (!painted(f->given - MARGIN, f->given) || !painted(at, end))
		failed("%s: beside a buffer of %d bytes was written",
		       c->name, (int)room);
}

/* ---- A call ---- */

static void build(struct fuzzer *f, const struct call *c, uint8_t *arg)
{
	unsigned int wrong = below(f, 8) < 5 ? 0 : 1 + below(f, 2);

	for (unsigned int i = 0; i < c->nfields; i++)
		put(arg, &c->fields[i],
		    draw(f, c, c->fields[i].value, c->fields[i].arg));
	if (c->mend)
		c->mend(f, arg);
	while (wrong-- && c->nfields) {
		const struct field *field = &c->fields[below(f, c->nfields)];

		put(arg, field, draw_wrong(f, c, field, get(arg, field)));
	}
	if (c->tame)
		c->tame(arg);
}

/* The files that it is not for know to refuse it, too */
static int file_for(struct fuzzer *f, const struct call *c)
{
	static const int others[] = {
		FD_IOMMU, FD_MEMORY, FD_EVENT, FD_DEVICE, FD_STREAM, FD_SPARE, -1,
	};

	if (!below(f, 256))
		return others[below(f, ARRAY_LEN(others))];
	return c->fd + (c->fds > 1 ? f->dev : 0);
}

static long call_with(struct fuzzer *f, const struct call *c, void *arg)
{
	int rc = ioctl(file_for(f, c), c->cmd, arg);

	return rc < 0 ? -errno : rc;
}

/*
 * With what surrounds it in view; @says is how long it says that it is. In the end @built
 * is what came back.
 */
static long call_watched(struct fuzzer *f, const struct call *c,
			 uint8_t *built, uint64_t says)
{
	uint8_t before[2 * MARGIN + ARG_MAX], *end = f->arg + PAGE;
	size_t bytes = says > c->size && says <= ARG_MAX ? says : c->size;
	size_t around, writable;
	uint8_t *arg, *from;
	long rc;

	if (below(f, 2)) {
		/* the last of it are the last that there are */
		if (says && says < bytes)
			bytes = says;
		arg = end - bytes;
	} else {
		arg = f->arg + 2 * MARGIN + below(f, 8) * 8;
	}
	memcpy(arg, built, bytes);
	from = arg - MARGIN;
	around = arg + bytes == end ? MARGIN + bytes : 2 * MARGIN + bytes;
	memcpy(before, from, around);

	rc = call_with(f, c, arg);

	writable = says > ARG_MAX ? around - MARGIN : says;
	if (memcmp(from, before, MARGIN) ||
	    (MARGIN + writable < around &&
	     memcmp(arg + writable, before + MARGIN + writable,
		    around - MARGIN - writable)))
		failed("%s: beside a structure of %d bytes was written",
		       c->name, (int)says);
	check_buffer(f, c, built);
	memcpy(built, arg, bytes);
	if (rc >= 0 && c->done)
		c->done(f, built);
	return rc;
}

long fuzz_ioctl(struct fuzzer *f, const struct call *c)
{
	uint8_t arg[ARG_MAX] = {}, *shared;
	uint32_t says;

	f->given = NULL;
	build(f, c, arg);
	memcpy(&says, arg, sizeof(says));
	/* a tail that means something to somebody else */
	if (says > c->size && says <= ARG_MAX && below(f, 2))
		arg[c->size + below(f, says - c->size)] = 1;
	/* what is not looked at here could not be tamed */
	switch (c->tame ? 63 : below(f, 64)) {
	case 0:
	case 1:
		/* where it may change while the kernel looks at it */
		shared = world.commons +
			 below(f, (COMMONS_BYTES - ARG_MAX) / 64) * 64;
		memcpy(shared, arg, c->size);
		return call_with(f, c, shared);
	case 2:
		return call_with(f, c, bad_memory(f));
	default:
		/* of none without a structure can be said how long it is */
		return call_watched(f, c, arg, c->nfields ? says : c->size);
	}
}

/* ---- Objects ---- */

static void destroy(uint32_t id)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };

	ioctl(FD_IOMMU, IOMMU_DESTROY, &cmd);
}

/* Where it is from now on, or -1: there are enough of them */
static int keep(uint32_t *pool, unsigned int n, uint32_t id)
{
	for (unsigned int i = 0; i < n; i++) {
		uint32_t none = 0;

		if (__atomic_compare_exchange_n(&pool[i], &none, id, false,
						__ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return i;
	}
	destroy(id);
	return -1;
}

static void forget(uint32_t *pool, unsigned int n, uint32_t id)
{
	for (unsigned int i = 0; i < n; i++) {
		uint32_t old = id;

		__atomic_compare_exchange_n(&pool[i], &old, 0, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	}
}

/* ---- What is there to be called ---- */

/* What comes last is &struct field.arg */
#define FIELD(_type, _member, _value, ...) {				\
	.value = _value, .at = offsetof(_type, _member),		\
	.bytes = sizeof(((_type *)0)->_member), .arg = __VA_ARGS__ + 0,	\
}

/* destroy */
static const struct field destroy_fields[] = {
	FIELD(struct iommu_destroy, size, SIZE),
	FIELD(struct iommu_destroy, id, OBJECT),
};

static void destroyed(struct fuzzer *f, const void *arg)
{
	const struct iommu_destroy *cmd = arg;

	forget(world.ioas, IOASES, cmd->id);
	forget(world.hwpt, HWPTS, cmd->id);
	forget(world.log, LOGS, cmd->id);
}

/* IOASes */
static const struct field ioas_alloc_fields[] = {
	FIELD(struct iommu_ioas_alloc, size, SIZE),
	FIELD(struct iommu_ioas_alloc, flags, CONST),
};

static void got_ioas(struct fuzzer *f, const void *arg)
{
	const struct iommu_ioas_alloc *cmd = arg;

	keep(world.ioas, IOASES, cmd->out_ioas_id);
}

static const struct field ranges_fields[] = {
	FIELD(struct iommu_ioas_iova_ranges, size, SIZE),
	FIELD(struct iommu_ioas_iova_ranges, ioas_id, IOAS),
	FIELD(struct iommu_ioas_iova_ranges, num_iovas, BELOW, 8),
	FIELD(struct iommu_ioas_iova_ranges, __reserved, CONST),
	FIELD(struct iommu_ioas_iova_ranges, allowed_iovas, BUFFER),
};

static uint64_t ranges_room(const void *arg)
{
	const struct iommu_ioas_iova_ranges *cmd = arg;

	return (uint64_t)cmd->num_iovas * sizeof(struct iommu_iova_range);
}

static void mend_ranges(struct fuzzer *f, void *arg)
{
	struct iommu_ioas_iova_ranges *cmd = arg;

	cmd->allowed_iovas = give(f, ranges_room(arg));
}

static const struct field allow_fields[] = {
	FIELD(struct iommu_ioas_allow_iovas, size, SIZE),
	FIELD(struct iommu_ioas_allow_iovas, ioas_id, IOAS),
	FIELD(struct iommu_ioas_allow_iovas, num_iovas, BELOW, 4),
	FIELD(struct iommu_ioas_allow_iovas, __reserved, CONST),
	FIELD(struct iommu_ioas_allow_iovas, allowed_iovas, BUFFER),
};

/* Those that hold the window, and more; or, if wrong, some that overlap */
static void mend_allow(struct fuzzer *f, void *arg)
{
	struct iommu_ioas_allow_iovas *cmd = arg;
	struct iommu_iova_range *range;

	cmd->allowed_iovas = give(f, cmd->num_iovas * sizeof(*range));
	range = (void *)(uintptr_t)cmd->allowed_iovas;
	for (unsigned int i = 0; i < cmd->num_iovas; i++) {
		struct iommu_iova_range r = {
			.start = i * SZ_2M * 256,
			.last = i * SZ_2M * 256 + 256 * SZ_2M - 1,
		};

		if (!below(f, 8))
			r.start = edge(f);
		memcpy(&range[i], &r, sizeof(r));
	}
}

/*
 * A mapping may be of more than there is. Who reads keeps a bit for each page of it: all
 * memory would go for that, which is what memory cgroups are for, and not tried here.
 */
static uint64_t tame_length(uint64_t length)
{
	return length >> 32 ? length & UINT32_MAX : length;
}

static const struct field map_fields[] = {
	FIELD(struct iommu_ioas_map, size, SIZE),
	FIELD(struct iommu_ioas_map, flags, BITS, 7),
	FIELD(struct iommu_ioas_map, ioas_id, IOAS),
	FIELD(struct iommu_ioas_map, __reserved, CONST),
	FIELD(struct iommu_ioas_map, user_va, MEMORY),
	FIELD(struct iommu_ioas_map, length, LENGTH),
	FIELD(struct iommu_ioas_map, iova, IOVA),
};

#define MAP_FIXED_RW	(IOMMU_IOAS_MAP_FIXED_IOVA | MAP_RW)

static void mend_map(struct fuzzer *f, void *arg)
{
	struct iommu_ioas_map *cmd = arg;

	if (below(f, 8))
		cmd->flags = MAP_FIXED_RW;
	if (world.files_only)
		cmd->length = 0;
}

static void tame_map(void *arg)
{
	struct iommu_ioas_map *cmd = arg;

	cmd->length = tame_length(cmd->length);
}

static const struct field map_file_fields[] = {
	FIELD(struct iommu_ioas_map_file, size, SIZE),
	FIELD(struct iommu_ioas_map_file, flags, BITS, 7),
	FIELD(struct iommu_ioas_map_file, ioas_id, IOAS),
	FIELD(struct iommu_ioas_map_file, fd, CONST, FD_MEMORY),
	FIELD(struct iommu_ioas_map_file, start, FILE_AT),
	FIELD(struct iommu_ioas_map_file, length, LENGTH),
	FIELD(struct iommu_ioas_map_file, iova, IOVA),
};

static void mend_map_file(struct fuzzer *f, void *arg)
{
	struct iommu_ioas_map_file *cmd = arg;

	if (below(f, 8))
		cmd->flags = MAP_FIXED_RW;
	if (!below(f, 32))
		cmd->fd = FD_FLUX;
}

static void tame_map_file(void *arg)
{
	struct iommu_ioas_map_file *cmd = arg;

	cmd->length = tame_length(cmd->length);
}

static const struct field copy_fields[] = {
	FIELD(struct iommu_ioas_copy, size, SIZE),
	FIELD(struct iommu_ioas_copy, flags, BITS, 7),
	FIELD(struct iommu_ioas_copy, dst_ioas_id, IOAS),
	FIELD(struct iommu_ioas_copy, src_ioas_id, IOAS),
	FIELD(struct iommu_ioas_copy, length, LENGTH),
	FIELD(struct iommu_ioas_copy, dst_iova, IOVA),
	FIELD(struct iommu_ioas_copy, src_iova, IOVA),
};

static void mend_copy(struct fuzzer *f, void *arg)
{
	struct iommu_ioas_copy *cmd = arg;

	cmd->src_ioas_id = live(f, world.ioas, IOASES);
	cmd->src_iova = WINDOW + below(f, SLOTS) * SLOT_BYTES;
	if (below(f, 8))
		cmd->flags = MAP_FIXED_RW;
}

static const struct field unmap_fields[] = {
	FIELD(struct iommu_ioas_unmap, size, SIZE),
	FIELD(struct iommu_ioas_unmap, ioas_id, IOAS),
	FIELD(struct iommu_ioas_unmap, iova, IOVA),
	FIELD(struct iommu_ioas_unmap, length, LENGTH),
};

static void mend_unmap(struct fuzzer *f, void *arg)
{
	struct iommu_ioas_unmap *cmd = arg;

	if (below(f, 256))
		return;
	cmd->iova = 0;
	cmd->length = UINT64_MAX;
}

static const struct field process_fields[] = {
	FIELD(struct iommu_ioas_change_process, size, SIZE),
	FIELD(struct iommu_ioas_change_process, __reserved, CONST),
};

static const struct field option_fields[] = {
	FIELD(struct iommu_option, size, SIZE),
	FIELD(struct iommu_option, option_id, BELOW, 2),
	FIELD(struct iommu_option, op, BELOW, 2),
	FIELD(struct iommu_option, __reserved, CONST),
	FIELD(struct iommu_option, object_id, IOAS),
	FIELD(struct iommu_option, val64, BELOW, 2),
};

static void mend_option(struct fuzzer *f, void *arg)
{
	struct iommu_option *cmd = arg;

	if (cmd->option_id == IOMMU_OPTION_RLIMIT_MODE)
		cmd->object_id = 0;
}

static const struct field vfio_ioas_fields[] = {
	FIELD(struct iommu_vfio_ioas, size, SIZE),
	FIELD(struct iommu_vfio_ioas, ioas_id, IOAS),
	FIELD(struct iommu_vfio_ioas, op, BELOW, 3),
	FIELD(struct iommu_vfio_ioas, __reserved, CONST),
};

/* Page tables */
static const struct field hwpt_alloc_fields[] = {
	FIELD(struct iommu_hwpt_alloc, size, SIZE),
	FIELD(struct iommu_hwpt_alloc, flags, CONST, IOMMU_HWPT_ALLOC_DIRTY_TRACKING),
	FIELD(struct iommu_hwpt_alloc, dev_id, DEVICE),
	FIELD(struct iommu_hwpt_alloc, pt_id, IOAS),
	FIELD(struct iommu_hwpt_alloc, __reserved, CONST),
	FIELD(struct iommu_hwpt_alloc, data_type, CONST),
	FIELD(struct iommu_hwpt_alloc, data_len, CONST),
	FIELD(struct iommu_hwpt_alloc, data_uptr, CONST),
	FIELD(struct iommu_hwpt_alloc, fault_id, CONST),
};

static void mend_hwpt_alloc(struct fuzzer *f, void *arg)
{
	struct iommu_hwpt_alloc *cmd = arg;

	if (!below(f, 4))
		cmd->flags = 0;
}

static void got_hwpt(struct fuzzer *f, const void *arg)
{
	const struct iommu_hwpt_alloc *cmd = arg;

	keep(&world.hwpt[2 * f->dev], 2, cmd->out_hwpt_id);
}

static const struct field hw_info_fields[] = {
	FIELD(struct iommu_hw_info, size, SIZE),
	FIELD(struct iommu_hw_info, flags, CONST),
	FIELD(struct iommu_hw_info, dev_id, DEVICE),
	FIELD(struct iommu_hw_info, data_len, BELOW, 64),
	FIELD(struct iommu_hw_info, data_uptr, BUFFER),
	FIELD(struct iommu_hw_info, in_data_type, CONST),
	FIELD(struct iommu_hw_info, __reserved, CONST),
};

static uint64_t hw_info_room(const void *arg)
{
	const struct iommu_hw_info *cmd = arg;

	return cmd->data_len;
}

static void mend_hw_info(struct fuzzer *f, void *arg)
{
	struct iommu_hw_info *cmd = arg;

	cmd->data_uptr = give(f, cmd->data_len);
}

/* All of it is cleared, and what clears user memory on UML counts by int */
static void tame_hw_info(void *arg)
{
	struct iommu_hw_info *cmd = arg;

	cmd->data_len &= INT32_MAX;
}

static const struct field track_fields[] = {
	FIELD(struct iommu_hwpt_set_dirty_tracking, size, SIZE),
	FIELD(struct iommu_hwpt_set_dirty_tracking, flags, BELOW, 2),
	FIELD(struct iommu_hwpt_set_dirty_tracking, hwpt_id, HWPT),
	FIELD(struct iommu_hwpt_set_dirty_tracking, __reserved, CONST),
};

/* On, most of the time */
static void mend_track(struct fuzzer *f, void *arg)
{
	struct iommu_hwpt_set_dirty_tracking *cmd = arg;

	if (below(f, 2))
		cmd->flags = IOMMU_HWPT_DIRTY_TRACKING_ENABLE;
}

static const struct field dirty_fields[] = {
	FIELD(struct iommu_hwpt_get_dirty_bitmap, size, SIZE),
	FIELD(struct iommu_hwpt_get_dirty_bitmap, hwpt_id, HWPT),
	FIELD(struct iommu_hwpt_get_dirty_bitmap, flags, BELOW, 2),
	FIELD(struct iommu_hwpt_get_dirty_bitmap, __reserved, CONST),
	FIELD(struct iommu_hwpt_get_dirty_bitmap, iova, IOVA),
	FIELD(struct iommu_hwpt_get_dirty_bitmap, length, LENGTH),
	FIELD(struct iommu_hwpt_get_dirty_bitmap, page_size, PAGE_SIZE),
	FIELD(struct iommu_hwpt_get_dirty_bitmap, data, BUFFER),
};

static uint64_t bitmap_bytes(uint64_t length, uint64_t page_size)
{
	uint64_t bits = page_size ? length / page_size + !!(length % page_size) :
				    UINT64_MAX;

	return bits / 8 + !!(bits % 8);
}

static uint64_t dirty_room(const void *arg)
{
	const struct iommu_hwpt_get_dirty_bitmap *cmd = arg;

	return bitmap_bytes(cmd->length, cmd->page_size);
}

static void mend_dirty(struct fuzzer *f, void *arg)
{
	struct iommu_hwpt_get_dirty_bitmap *cmd = arg;

	if (!below(f, 3)) {
		cmd->iova = WINDOW;
		cmd->length = MEMORY_BYTES;
	}
	cmd->data = give(f, dirty_room(arg));
}

/* Coverage and policy */
static const struct field coverage_fields[] = {
	FIELD(struct iommu_dirty_get_coverage, size, SIZE),
	FIELD(struct iommu_dirty_get_coverage, flags, CONST),
	FIELD(struct iommu_dirty_get_coverage, id, IOAS),
	FIELD(struct iommu_dirty_get_coverage, num_devices, BELOW, 8),
	FIELD(struct iommu_dirty_get_coverage, entry_size, CONST,
	      sizeof(struct iommu_dirty_device_coverage)),
	FIELD(struct iommu_dirty_get_coverage, devices, BUFFER),
};

static uint64_t coverage_room(const void *arg)
{
	const struct iommu_dirty_get_coverage *cmd = arg;

	return (uint64_t)cmd->num_devices * cmd->entry_size;
}

static void mend_coverage(struct fuzzer *f, void *arg)
{
	struct iommu_dirty_get_coverage *cmd = arg;

	if (below(f, 2))
		cmd->id = world.device[f->dev];
	if (!below(f, 4))
		cmd->entry_size = 8 + below(f, 120);
	cmd->devices = give(f, coverage_room(arg));
}

static const struct field policy_fields[] = {
	FIELD(struct iommu_dirty_set_policy, size, SIZE),
	FIELD(struct iommu_dirty_set_policy, flags, CONST),
	FIELD(struct iommu_dirty_set_policy, id, IOAS),
	FIELD(struct iommu_dirty_set_policy, providers, CONST),
};

static void mend_policy(struct fuzzer *f, void *arg)
{
	static const uint32_t choices[] = { 0x02, 0x04, 0x06, 0x10, 0x14, 0x16 };
	struct iommu_dirty_set_policy *cmd = arg;

	if (below(f, 4))
		cmd->id = world.device[f->dev];
	if (below(f, 2))
		cmd->flags = IOMMU_DIRTY_POLICY_INHERIT;
	else
		cmd->providers = choices[below(f, ARRAY_LEN(choices))];
}

/* Dirty logs */
static const struct field log_alloc_fields[] = {
	FIELD(struct iommu_dirty_log_alloc, size, SIZE),
	FIELD(struct iommu_dirty_log_alloc, flags, CONST, IOMMU_DIRTY_LOG_IOVA),
	FIELD(struct iommu_dirty_log_alloc, ioas_id, IOAS),
	FIELD(struct iommu_dirty_log_alloc, start, IOVA),
	FIELD(struct iommu_dirty_log_alloc, length, LENGTH),
	FIELD(struct iommu_dirty_log_alloc, page_size, PAGE_SIZE),
	FIELD(struct iommu_dirty_log_alloc, file_start, CONST),
	FIELD(struct iommu_dirty_log_alloc, fd, CONST),
	FIELD(struct iommu_dirty_log_alloc, eventfd, CONST),
	FIELD(struct iommu_dirty_log_alloc, threshold, CONST),
};

static void mend_log_alloc(struct fuzzer *f, void *arg)
{
	struct iommu_dirty_log_alloc *cmd = arg;
	uint64_t at = place(f);
	unsigned int what = below(f, 4);	/* of USER and FILE, or neither */

	if (below(f, 2)) {
		cmd->start = WINDOW;
		cmd->length = MEMORY_BYTES;
		at = 0;
	}
	if (what) {
		cmd->flags = (what & 1 ? IOMMU_DIRTY_LOG_USER : 0) |
			     (what & 2 ? IOMMU_DIRTY_LOG_FILE : 0);
		cmd->ioas_id = 0;
		cmd->start = what & 1 ? (uintptr_t)world.memory + at : 0;
		cmd->file_start = what & 2 ? at : 0;
		cmd->fd = what & 2 ? FD_MEMORY : 0;
	}
	if (!below(f, 4)) {
		cmd->flags |= IOMMU_DIRTY_LOG_EVENTFD;
		cmd->eventfd = FD_EVENT;
		cmd->threshold = 1 + below(f, 16);
	}
}

static void got_log(struct fuzzer *f, const void *arg)
{
	const struct iommu_dirty_log_alloc *cmd = arg;
	int at = keep(world.log, LOGS, cmd->out_log_id);

	if (at >= 0)
		world.log_map[at] = (struct log_map){
			.offset = cmd->out_mmap_offset,
			.bytes = cmd->out_mmap_length,
			.length = cmd->length,
		};
}

static const struct field log_sync_fields[] = {
	FIELD(struct iommu_dirty_log_sync, size, SIZE),
	FIELD(struct iommu_dirty_log_sync, flags, BELOW, 4),
	FIELD(struct iommu_dirty_log_sync, log_id, LOG),
	FIELD(struct iommu_dirty_log_sync, __reserved, CONST),
	FIELD(struct iommu_dirty_log_sync, offset, FILE_AT),
	FIELD(struct iommu_dirty_log_sync, length, LENGTH),
};

static void mend_log_sync(struct fuzzer *f, void *arg)
{
	struct iommu_dirty_log_sync *cmd = arg;

	if (cmd->flags & IOMMU_DIRTY_LOG_SYNC_RANGE)
		return;
	cmd->offset = 0;
	cmd->length = 0;
}

/* VFIO's of old, on the IOAS that IOMMU_VFIO_IOAS names */
static const struct field old_info_fields[] = {
	FIELD(struct vfio_iommu_type1_info, argsz, SIZE),
	FIELD(struct vfio_iommu_type1_info, flags, CONST),
};

static const struct field old_map_fields[] = {
	FIELD(struct vfio_iommu_type1_dma_map, argsz, SIZE),
	FIELD(struct vfio_iommu_type1_dma_map, flags, CONST,
	      (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE)),
	FIELD(struct vfio_iommu_type1_dma_map, vaddr, MEMORY),
	FIELD(struct vfio_iommu_type1_dma_map, iova, IOVA),
	FIELD(struct vfio_iommu_type1_dma_map, size, LENGTH),
};

static void mend_old_map(struct fuzzer *f, void *arg)
{
	struct vfio_iommu_type1_dma_map *cmd = arg;

	if (world.files_only)
		cmd->size = 0;
}

static void tame_old_map(void *arg)
{
	struct vfio_iommu_type1_dma_map *cmd = arg;

	cmd->size = tame_length(cmd->size);
}

static const struct field old_unmap_fields[] = {
	FIELD(struct vfio_iommu_type1_dma_unmap, argsz, SIZE),
	FIELD(struct vfio_iommu_type1_dma_unmap, flags, CONST),
	FIELD(struct vfio_iommu_type1_dma_unmap, iova, IOVA),
	FIELD(struct vfio_iommu_type1_dma_unmap, size, LENGTH),
};

/* ---- Devices ---- */

static const struct field bind_fields[] = {
	FIELD(struct vfio_device_bind_iommufd, argsz, SIZE),
	FIELD(struct vfio_device_bind_iommufd, flags, CONST),
	FIELD(struct vfio_device_bind_iommufd, iommufd, CONST, FD_IOMMU),
};

static void bound(struct fuzzer *f, const void *arg)
{
	const struct vfio_device_bind_iommufd *cmd = arg;

	world.device[f->dev] = cmd->out_devid;
}

static const struct field attach_fields[] = {
	FIELD(struct vfio_device_attach_iommufd_pt, argsz, SIZE),
	FIELD(struct vfio_device_attach_iommufd_pt, flags, CONST),
	FIELD(struct vfio_device_attach_iommufd_pt, pt_id, PT),
};

static const struct field detach_fields[] = {
	FIELD(struct vfio_device_detach_iommufd_pt, argsz, SIZE),
	FIELD(struct vfio_device_detach_iommufd_pt, flags, CONST),
};

static const struct field info_fields[] = {
	FIELD(struct vfio_device_info, argsz, SIZE),
};

static const struct field irq_info_fields[] = {
	FIELD(struct vfio_irq_info, argsz, SIZE),
	FIELD(struct vfio_irq_info, index, BELOW, VFIO_PCI_NUM_IRQS),
};

/* Room for what it says about parts of a region */
struct region_info {
	struct vfio_region_info info;
	uint8_t caps[64];
};

static const struct field region_info_fields[] = {
	FIELD(struct region_info, info.argsz, SIZE),
	FIELD(struct region_info, info.index, BELOW, VFIO_PCI_NUM_REGIONS),
};

struct set_irqs {
	struct vfio_irq_set set;
	int32_t eventfd;
};

static const struct field set_irqs_fields[] = {
	FIELD(struct set_irqs, set.argsz, SIZE),
	FIELD(struct set_irqs, set.flags, CONST,
	      (VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD)),
	FIELD(struct set_irqs, set.index, BELOW, VFIO_PCI_NUM_IRQS),
	FIELD(struct set_irqs, set.start, CONST),
	FIELD(struct set_irqs, set.count, CONST, 1),
	FIELD(struct set_irqs, eventfd, CONST, FD_EVENT),
};

static void mend_set_irqs(struct fuzzer *f, void *arg)
{
	struct set_irqs *cmd = arg;

	if (below(f, 4))
		cmd->set.index = below(f, 2) ? VFIO_PCI_MSI_IRQ_INDEX :
					       VFIO_PCI_REQ_IRQ_INDEX;
	switch (below(f, 4)) {
	case 0:
		cmd->set.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				 VFIO_IRQ_SET_DATA_NONE;
		cmd->set.count = below(f, 2);
		break;
	case 1:
		cmd->set.flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				 VFIO_IRQ_SET_DATA_BOOL;
		break;
	case 2:
		cmd->eventfd = -1;
	}
}

/* Features. Each is asked for now and then, and not used. */
static void maybe_probe(struct fuzzer *f, void *arg)
{
	struct vfio_device_feature *feature = arg;

	if (!below(f, 8))
		feature->flags |= VFIO_DEVICE_FEATURE_PROBE;
}

#define GET(_nr)	(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_##_nr)
#define SET(_nr)	(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_##_nr)

struct any_feature {
	struct vfio_device_feature feature;
	uint64_t data[6];
};

static const struct field any_feature_fields[] = {
	FIELD(struct any_feature, feature.argsz, SIZE),
	FIELD(struct any_feature, feature.flags, BITS, 0x7001f),
	FIELD(struct any_feature, data[0], LENGTH),
	FIELD(struct any_feature, data[1], IOVA),
};

static const struct field migration_fields[] = {
	FIELD(struct any_feature, feature.argsz, SIZE),
	FIELD(struct any_feature, feature.flags, CONST, GET(MIGRATION)),
};

static const struct field data_size_fields[] = {
	FIELD(struct any_feature, feature.argsz, SIZE),
	FIELD(struct any_feature, feature.flags, CONST, GET(MIG_DATA_SIZE)),
};

static const struct field info_v2_fields[] = {
	FIELD(struct any_feature, feature.argsz, SIZE),
	FIELD(struct any_feature, feature.flags, CONST, SET(MIG_PRECOPY_INFOv2)),
};

struct state_feature {
	struct vfio_device_feature feature;
	struct vfio_device_feature_mig_state state;
};

static const struct field get_state_fields[] = {
	FIELD(struct state_feature, feature.argsz, SIZE),
	FIELD(struct state_feature, feature.flags, CONST, GET(MIG_DEVICE_STATE)),
};

static const struct field set_state_fields[] = {
	FIELD(struct state_feature, feature.argsz, SIZE),
	FIELD(struct state_feature, feature.flags, CONST, SET(MIG_DEVICE_STATE)),
	FIELD(struct state_feature, state.device_state, BELOW,
	      VFIO_DEVICE_STATE_NR),
};

/* Most of the time they run */
static void mend_set_state(struct fuzzer *f, void *arg)
{
	struct state_feature *cmd = arg;

	if (below(f, 2))
		cmd->state.device_state = VFIO_DEVICE_STATE_RUNNING;
	cmd->state.data_fd = -1;
	maybe_probe(f, arg);
}

/* Of the device that it was for, wherever this call went */
static void got_state(struct fuzzer *f, const void *arg)
{
	const struct state_feature *cmd = arg;

	if (cmd->state.data_fd < 0)
		return;
	dup3(cmd->state.data_fd, FD_STREAM + f->dev, O_CLOEXEC);
	close(cmd->state.data_fd);
}

struct control_feature {
	struct vfio_device_feature feature;
	struct vfio_device_feature_dma_logging_control control;
};

static const struct field log_start_fields[] = {
	FIELD(struct control_feature, feature.argsz, SIZE),
	FIELD(struct control_feature, feature.flags, CONST, SET(DMA_LOGGING_START)),
	FIELD(struct control_feature, control.page_size, PAGE_SIZE),
	FIELD(struct control_feature, control.num_ranges, CONST, 1),
	FIELD(struct control_feature, control.ranges, BUFFER),
};

static void mend_log_start(struct fuzzer *f, void *arg)
{
	struct vfio_device_feature_dma_logging_range range = {
		.iova = WINDOW, .length = MEMORY_BYTES,
	};
	struct control_feature *cmd = arg;
	uint8_t *at;

	cmd->control.num_ranges += below(f, 8) ? 0 : below(f, 4);
	cmd->control.ranges = give(f, cmd->control.num_ranges * sizeof(range));
	at = (void *)(uintptr_t)cmd->control.ranges;
	for (unsigned int i = 0; i < cmd->control.num_ranges; i++) {
		if (!below(f, 8))
			range.length = edge(f);
		memcpy(at + i * sizeof(range), &range, sizeof(range));
		range.iova += range.length;
	}
	maybe_probe(f, arg);
}

static const struct field log_stop_fields[] = {
	FIELD(struct any_feature, feature.argsz, SIZE),
	FIELD(struct any_feature, feature.flags, CONST, SET(DMA_LOGGING_STOP)),
};

struct report_feature {
	struct vfio_device_feature feature;
	struct vfio_device_feature_dma_logging_report report;
};

static const struct field log_report_fields[] = {
	FIELD(struct report_feature, feature.argsz, SIZE),
	FIELD(struct report_feature, feature.flags, CONST, GET(DMA_LOGGING_REPORT)),
	FIELD(struct report_feature, report.iova, IOVA),
	FIELD(struct report_feature, report.length, LENGTH),
	FIELD(struct report_feature, report.page_size, PAGE_SIZE),
	FIELD(struct report_feature, report.bitmap, BUFFER),
};

static uint64_t report_room(const void *arg)
{
	const struct report_feature *cmd = arg;

	return bitmap_bytes(cmd->report.length, cmd->report.page_size);
}

static void mend_log_report(struct fuzzer *f, void *arg)
{
	struct report_feature *cmd = arg;

	if (!below(f, 3)) {
		cmd->report.iova = WINDOW;
		cmd->report.length = MEMORY_BYTES;
	}
	cmd->report.bitmap = give(f, report_room(arg));
	maybe_probe(f, arg);
}

/* ---- Streams ---- */

static const struct field precopy_fields[] = {
	FIELD(struct vfio_precopy_info, argsz, SIZE),
	FIELD(struct vfio_precopy_info, flags, CONST),
};

/* ---- All of them ---- */

#define CALL(_name, _weight, _fd, _fds, _cmd, _type, _fields, ...) {	\
	.name = _name, .weight = _weight, .fd = _fd, .fds = _fds,	\
	.cmd = _cmd, .size = sizeof(_type), .fields = _fields,		\
	.nfields = ARRAY_LEN(_fields), __VA_ARGS__			\
}

#define IOMMU(_name, _weight, _type, _fields, ...)			\
	CALL(#_name, _weight, FD_IOMMU, 1, IOMMU_##_name, _type, _fields,\
	     __VA_ARGS__)

#define VFIO(_name, _weight, _type, _fields, ...)			\
	CALL("VFIO " #_name, _weight, FD_DEVICE, DEVS, VFIO_DEVICE_##_name,\
	     _type, _fields, __VA_ARGS__)

#define FEATURE(_name, _weight, _type, _fields, ...)			\
	CALL("VFIO " _name, _weight, FD_DEVICE, DEVS, VFIO_DEVICE_FEATURE,\
	     _type, _fields, __VA_ARGS__)

const struct call ioctl_calls[] = {
	IOMMU(DESTROY, 6, struct iommu_destroy, destroy_fields,
	      .done = destroyed),
	IOMMU(IOAS_ALLOC, 2, struct iommu_ioas_alloc, ioas_alloc_fields,
	      .done = got_ioas),
	IOMMU(IOAS_IOVA_RANGES, 100, struct iommu_ioas_iova_ranges, ranges_fields,
	      .mend = mend_ranges, .buffer = 4, .room = ranges_room),
	IOMMU(IOAS_ALLOW_IOVAS, 16, struct iommu_ioas_allow_iovas, allow_fields,
	      .mend = mend_allow),
	IOMMU(IOAS_MAP, 16, struct iommu_ioas_map, map_fields, .mend = mend_map,
	      .tame = tame_map),
	IOMMU(IOAS_MAP_FILE, 16, struct iommu_ioas_map_file, map_file_fields,
	      .mend = mend_map_file, .tame = tame_map_file),
	IOMMU(IOAS_COPY, 16, struct iommu_ioas_copy, copy_fields,
	      .mend = mend_copy),
	IOMMU(IOAS_UNMAP, 24, struct iommu_ioas_unmap, unmap_fields,
	      .mend = mend_unmap),
	IOMMU(IOAS_CHANGE_PROCESS, 4, struct iommu_ioas_change_process,
	      process_fields),
	IOMMU(OPTION, 60, struct iommu_option, option_fields,
	      .mend = mend_option),
	IOMMU(VFIO_IOAS, 60, struct iommu_vfio_ioas, vfio_ioas_fields),
	IOMMU(HWPT_ALLOC, 4, struct iommu_hwpt_alloc, hwpt_alloc_fields,
	      .mend = mend_hwpt_alloc, .done = got_hwpt),
	IOMMU(GET_HW_INFO, 100, struct iommu_hw_info, hw_info_fields,
	      .mend = mend_hw_info, .tame = tame_hw_info, .buffer = 4,
	      .room = hw_info_room),
	IOMMU(HWPT_SET_DIRTY_TRACKING, 8, struct iommu_hwpt_set_dirty_tracking,
	      track_fields, .mend = mend_track),
	IOMMU(HWPT_GET_DIRTY_BITMAP, 150, struct iommu_hwpt_get_dirty_bitmap,
	      dirty_fields, .mend = mend_dirty, .buffer = 7, .room = dirty_room),
	IOMMU(DIRTY_GET_COVERAGE, 200, struct iommu_dirty_get_coverage,
	      coverage_fields, .mend = mend_coverage, .buffer = 5,
	      .room = coverage_room),
	IOMMU(DIRTY_SET_POLICY, 30, struct iommu_dirty_set_policy, policy_fields,
	      .mend = mend_policy),
	IOMMU(DIRTY_LOG_ALLOC, 2, struct iommu_dirty_log_alloc, log_alloc_fields,
	      .mend = mend_log_alloc, .done = got_log),
	IOMMU(DIRTY_LOG_SYNC, 80, struct iommu_dirty_log_sync, log_sync_fields,
	      .mend = mend_log_sync),
	CALL("VFIO_IOMMU_GET_INFO", 60, FD_IOMMU, 1, VFIO_IOMMU_GET_INFO,
	     struct vfio_iommu_type1_info, old_info_fields),
	CALL("VFIO_IOMMU_MAP_DMA", 6, FD_IOMMU, 1, VFIO_IOMMU_MAP_DMA,
	     struct vfio_iommu_type1_dma_map, old_map_fields,
	     .mend = mend_old_map, .tame = tame_old_map),
	CALL("VFIO_IOMMU_UNMAP_DMA", 10, FD_IOMMU, 1, VFIO_IOMMU_UNMAP_DMA,
	     struct vfio_iommu_type1_dma_unmap, old_unmap_fields),

	VFIO(BIND_IOMMUFD, 4, struct vfio_device_bind_iommufd, bind_fields,
	     .done = bound),
	VFIO(ATTACH_IOMMUFD_PT, 4, struct vfio_device_attach_iommufd_pt,
	     attach_fields),
	VFIO(DETACH_IOMMUFD_PT, 1, struct vfio_device_detach_iommufd_pt,
	     detach_fields),
	VFIO(GET_INFO, 80, struct vfio_device_info, info_fields),
	VFIO(GET_REGION_INFO, 80, struct region_info, region_info_fields),
	VFIO(GET_IRQ_INFO, 80, struct vfio_irq_info, irq_info_fields),
	VFIO(SET_IRQS, 60, struct set_irqs, set_irqs_fields,
	     .mend = mend_set_irqs),
	{ .name = "VFIO RESET", .weight = 3, .fd = FD_DEVICE, .fds = DEVS,
	  .cmd = VFIO_DEVICE_RESET, .size = 8 },
	FEATURE("MIGRATION", 80, struct any_feature, migration_fields,
		.mend = maybe_probe),
	FEATURE("MIG_DATA_SIZE", 80, struct any_feature, data_size_fields,
		.mend = maybe_probe),
	FEATURE("MIG_PRECOPY_INFOv2", 16, struct any_feature, info_v2_fields,
		.mend = maybe_probe),
	FEATURE("MIG_DEVICE_STATE get", 120, struct state_feature,
		get_state_fields, .mend = maybe_probe),
	FEATURE("MIG_DEVICE_STATE set", 12, struct state_feature,
		set_state_fields, .mend = mend_set_state, .done = got_state),
	FEATURE("DMA_LOGGING_START", 6, struct control_feature,
		log_start_fields, .mend = mend_log_start),
	FEATURE("DMA_LOGGING_STOP", 4, struct any_feature, log_stop_fields,
		.mend = maybe_probe),
	FEATURE("DMA_LOGGING_REPORT", 120, struct report_feature,
		log_report_fields, .mend = mend_log_report, .buffer = 5,
		.room = report_room),
	FEATURE("any feature", 60, struct any_feature, any_feature_fields),
	CALL("MIG_GET_PRECOPY_INFO", 60, FD_STREAM, DEVS,
	     VFIO_MIG_GET_PRECOPY_INFO, struct vfio_precopy_info,
	     precopy_fields),
};

const unsigned int nr_ioctl_calls = ARRAY_LEN(ioctl_calls);
