/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Helpers for coverage and policy, and for tests that switch between providers
 *
 * As in dsim_user.h, functions return 0 or a negative errno unless they say
 * otherwise.
 */
#ifndef __POLICY_USER_H
#define __POLICY_USER_H

#include <stdint.h>

#include "dsim_user.h"
#ifndef IOMMU_DIRTY_GET_COVERAGE /* the base's headers have none of it */
#include "../../../../../include/uapi/linux/iommufd_dirty.h"
#endif

#define IOMMU	(1U << IOMMU_DIRTY_PROVIDER_IOMMU)
#define DEVICE	(1U << IOMMU_DIRTY_PROVIDER_DEVICE)
#define ALL	(1U << IOMMU_DIRTY_PROVIDER_ALL)
#define INHERIT	0U

/* @id is an IOAS or a device */
int set_policy(struct vm *vm, uint32_t id, uint32_t providers);
/* Of an object with one attachment; either may be NULL */
int get_coverage(struct vm *vm, uint32_t id,
		 struct iommu_dirty_get_coverage *cmd,
		 struct iommu_dirty_device_coverage *entry);
/* Of enum iommu_dirty_provider, or -errno */
int get_provider(struct vm *vm, uint32_t id);
/* How often exactness was lost, or -errno */
long long get_lost(struct vm *vm);

/* The device writes @pages pages from page @first of the data on */
int dma_pages(struct dsim *d, struct shadow *s, unsigned int first,
	      unsigned int pages);
/* Everything that is mapped for writing is to be reported */
void shadow_wrote_all(struct shadow *s);

/* Tracepoints of dirty tracking: false when this kernel has none */
bool trace_begin(void);
/* What was traced since, which the caller frees */
char *trace_end(void);
/* Whether one of its lines has both */
bool trace_has(const char *text, const char *event, const char *what);

/* Needs the harness: a read is what was written, no more and no less */
#define EXPECT_READ(_s, _hwpt)                                                 \
	do {                                                                   \
		uint64_t first_ = 0;                                           \
		ASSERT_EQ(0, shadow_read(_s, _hwpt, 0));                       \
		EXPECT_EQ(0, shadow_lost(_s, &first_)) {                       \
			TH_LOG("first lost: 0x%llx", (long long)first_);       \
		}                                                              \
		EXPECT_EQ(0, shadow_extra(_s, &first_)) {                      \
			TH_LOG("first invented: 0x%llx", (long long)first_);   \
		}                                                              \
		shadow_clean(_s);                                              \
	} while (0)

#endif
