// SPDX-License-Identifier: GPL-2.0-only
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include "policy_user.h"

/* ---- The ioctls ---- */

int set_policy(struct vm *vm, uint32_t id, uint32_t providers)
{
	struct iommu_dirty_set_policy cmd = {
		.size = sizeof(cmd),
		.flags = providers ? 0 : IOMMU_DIRTY_POLICY_INHERIT,
		.id = id,
		.providers = providers,
	};

	return ioctl(vm->iommufd, IOMMU_DIRTY_SET_POLICY, &cmd) ? -errno : 0;
}

int get_coverage(struct vm *vm, uint32_t id,
		 struct iommu_dirty_get_coverage *cmd,
		 struct iommu_dirty_device_coverage *entry)
{
	struct iommu_dirty_get_coverage unused_cmd;
	struct iommu_dirty_device_coverage unused_entry;

	cmd = cmd ?: &unused_cmd;
	entry = entry ?: &unused_entry;
	*cmd = (struct iommu_dirty_get_coverage){
		.size = sizeof(*cmd),
		.id = id,
		.num_devices = 1,
		.entry_size = sizeof(*entry),
		.devices = (uintptr_t)entry,
	};
	return ioctl(vm->iommufd, IOMMU_DIRTY_GET_COVERAGE, cmd) ? -errno : 0;
}

int get_provider(struct vm *vm, uint32_t id)
{
	struct iommu_dirty_device_coverage entry;
	int rc = get_coverage(vm, id, NULL, &entry);

	return rc ?: (int)entry.provider;
}

long long get_lost(struct vm *vm)
{
	struct iommu_dirty_get_coverage cmd;
	int rc = get_coverage(vm, vm->ioas, &cmd, NULL);

	/* There may be more devices than room, this is of all of them */
	return rc && rc != -EMSGSIZE ? rc : (long long)cmd.out_lost;
}

/* ---- The device ---- */

int dma_pages(struct dsim *d, struct shadow *s, unsigned int first,
	      unsigned int pages)
{
	struct dsim_desc desc = {
		.op = DSIM_OP_FILL,
		.dst = DATA_IOVA + first * SZ_4K,
		.len = pages * SZ_4K,
		.value = 0x1234567890abcdefULL * (first + 1),
	};
	uint32_t slot = d->tail;

	shadow_desc(s, slot, &desc);
	return dsim_run(d, &desc) == DSIM_DESC_DONE ? 0 : -EIO;
}

void shadow_wrote_all(struct shadow *s)
{
	shadow_wrote(s, s->start, s->size);
}

/* ---- Tracepoints ---- */

#define TRACING	"/sys/kernel/tracing"
#define EVENTS	TRACING "/events/iommufd_dirty/enable"
#define TRACE_BYTES	(1 << 20)

static bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_TRUNC);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
	close(fd);
	return done;
}

bool trace_begin(void)
{
	if (access(EVENTS, W_OK))
		mount("tracefs", TRACING, "tracefs", 0, NULL);
	return put(TRACING "/trace", "\n") && put(EVENTS, "1");
}

char *trace_end(void)
{
	char *text = calloc(1, TRACE_BYTES);
	FILE *f;

	put(EVENTS, "0");
	f = fopen(TRACING "/trace", "r");
	if (f && text)
		text[fread(text, 1, TRACE_BYTES - 1, f)] = 0;
	if (f)
		fclose(f);
	return text;
}

bool trace_has(const char *text, const char *event, const char *what)
{
	char line[300];

	while (*text) {
		size_t n = strcspn(text, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)n, text);
		if (strstr(line, event) && strstr(line, what))
			return true;
		text += n + (text[n] == '\n');
	}
	return false;
}
