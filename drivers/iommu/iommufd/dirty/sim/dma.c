// SPDX-License-Identifier: GPL-2.0-only
/*
 * Requests of the simulated device to memory
 *
 * A request is cut at page boundaries.  Behind the simulated IOMMU each piece is
 * translated and moved under the port's lock, which is what a flush waits for: see
 * struct dsim_port.  Without one it goes by the vfio core: see emulated.c.
 *
 * What a VMM mapped is memory to the device, the doorbell of another one too: that
 * is all there is to peer to peer.
 */
#include <linux/highmem.h>
#include <linux/mm.h>

#include "dsim.h"

/* Translate for one access; under port->lock */
static enum dsim_fault translate(struct dsim_port *port, u64 iova, u8 access,
				 u64 *pa)
{
	struct dsim_xlate xlate;
	enum dsim_fault fault;

	if (!port->domain)
		return DSIM_FAULT_NO_DOMAIN;

	if (dsim_tlb_lookup(&port->tlb, iova, access, &xlate)) {
		port->stats.hits++;
	} else {
		port->stats.walks++;
		fault = dsim_walk(&port->domain->root, &port->tlb, iova, access,
				  dsim_tlb_recalls_dirty(&port->tlb, iova),
				  &xlate);
		port->stats.a_set += xlate.a_set;
		if (fault)
			return fault;
		port->stats.d_set += xlate.d_set;
		dsim_tlb_insert(&port->tlb, &xlate);
	}

	*pa = xlate.pa + (iova - xlate.iova);
	/* No device here has registers that are not memory to the CPU */
	if (!pfn_valid(PHYS_PFN(*pa)))
		return DSIM_FAULT_BUS;
	return DSIM_FAULT_NONE;
}

static int report(struct dsim_port *port, u64 iova, enum dsim_fault reason,
		  struct dsim_dma_fault *fault)
{
	guard(spinlock)(&port->lock);
	port->stats.faults++;
	fault->iova = iova;
	fault->reason = reason;
	return -EFAULT;
}

static enum dsim_fault move_by_iommu(struct dsim_port *port, u64 iova,
				     void *buf, size_t n, u8 access)
{
	enum dsim_fault reason;
	u64 pa;

	guard(spinlock)(&port->lock);
	reason = translate(port, iova, access, &pa);
	if (reason)
		return reason;
	if (access == DSIM_PERM_W) {
		memcpy_to_page(pfn_to_page(PHYS_PFN(pa)), offset_in_page(pa),
			       buf, n);
		dsim_tracker_wrote(port->tracker, iova, n);
		port->stats.bytes_written += n;
	} else {
		memcpy_from_page(buf, pfn_to_page(PHYS_PFN(pa)),
				 offset_in_page(pa), n);
		port->stats.bytes_read += n;
	}
	return DSIM_FAULT_NONE;
}

static int move(struct dsim_device *ddev, u64 iova, void *buf, size_t len,
		u8 access, struct dsim_dma_fault *fault)
{
	enum dsim_fault reason;
	size_t n;

	for (; len; len -= n, iova += n, buf += n) {
		n = min_t(size_t, len, PAGE_SIZE - offset_in_page(iova));
		reason = ddev->emulated ?
			 dsim_emulated_move(ddev, iova, buf, n, access) :
			 move_by_iommu(ddev->port, iova, buf, n, access);
		if (reason)
			return report(ddev->port, iova, reason, fault);
	}
	return 0;
}

/**
 * dsim_dma_read() - Read memory as the device does
 * @ddev: the device
 * @iova: the address, any alignment
 * @buf: where to put the bytes
 * @len: how many
 * @fault: on failure, which address and why
 *
 * Return: 0, or -EFAULT when a translation failed; bytes before it were read.
 */
int dsim_dma_read(struct dsim_device *ddev, u64 iova, void *buf, size_t len,
		  struct dsim_dma_fault *fault)
{
	return move(ddev, iova, buf, len, DSIM_PERM_R, fault);
}

/**
 * dsim_dma_write() - Write memory as the device does
 * @ddev: the device
 * @iova: the address, any alignment
 * @buf: the bytes
 * @len: how many
 * @fault: on failure, which address and why
 *
 * Return: 0, or -EFAULT when a translation failed; bytes before it were written.
 */
int dsim_dma_write(struct dsim_device *ddev, u64 iova, const void *buf,
		   size_t len, struct dsim_dma_fault *fault)
{
	return move(ddev, iova, (void *)buf, len, DSIM_PERM_W, fault);
}

static enum dsim_fault add_by_iommu(struct dsim_port *port, u64 iova,
				    u64 addend)
{
	enum dsim_fault reason;
	void *page;
	__le64 *word;
	u64 pa;

	guard(spinlock)(&port->lock);
	reason = translate(port, iova, DSIM_PERM_R | DSIM_PERM_W, &pa);
	if (reason)
		return reason;

	page = kmap_local_page(pfn_to_page(PHYS_PFN(pa)));
	word = page + offset_in_page(pa);
	WRITE_ONCE(*word, cpu_to_le64(le64_to_cpu(READ_ONCE(*word)) + addend));
	kunmap_local(page);
	dsim_tracker_wrote(port->tracker, iova, sizeof(*word));
	port->stats.bytes_read += sizeof(*word);
	port->stats.bytes_written += sizeof(*word);
	return DSIM_FAULT_NONE;
}

static enum dsim_fault add_emulated(struct dsim_device *ddev, u64 iova,
				    u64 addend)
{
	enum dsim_fault reason;
	__le64 word;

	reason = dsim_emulated_move(ddev, iova, &word, sizeof(word),
				    DSIM_PERM_R);
	if (reason)
		return reason;
	word = cpu_to_le64(le64_to_cpu(word) + addend);
	return dsim_emulated_move(ddev, iova, &word, sizeof(word), DSIM_PERM_W);
}

/**
 * dsim_dma_add() - Add to a 64-bit word in memory
 * @ddev: the device
 * @iova: the address, 8-byte aligned
 * @addend: what to add
 * @fault: on failure, which address and why
 *
 * One request to the simulated IOMMU; without one, a read and a write.
 *
 * Return: 0, or -EFAULT when the translation failed.
 */
int dsim_dma_add(struct dsim_device *ddev, u64 iova, u64 addend,
		 struct dsim_dma_fault *fault)
{
	enum dsim_fault reason;

	reason = ddev->emulated ? add_emulated(ddev, iova, addend) :
				  add_by_iommu(ddev->port, iova, addend);
	return reason ? report(ddev->port, iova, reason, fault) : 0;
}
