// SPDX-License-Identifier: GPL-2.0-only
/*
 * An 82574L that is nothing but memory, for KUnit tests of its driver
 *
 * It behaves where the driver relies on it: registers that set, clear or are cleared,
 * those that are told to do something, and what stops DMA.
 */
#include <kunit/device.h>
#include <kunit/static_stub.h>
#include <linux/bitfield.h>
#include <linux/file.h>
#include <linux/slab.h>

#include "fake.h"

static struct fake *to_fake(struct e1000e *e)
{
	return container_of(e, struct fake, e);
}

/* ---- Registers ---- */

static void note(u32 *trace, unsigned int *nr, u32 offset)
{
	if (*nr < FAKE_TRACE)
		trace[*nr] = offset;
	(*nr)++;
}

static u32 take(u32 *word)
{
	u32 value = *word;

	*word = 0;
	return value;
}

static u32 status(struct fake *f)
{
	u32 value = *fake_reg(f, STATUS) | STATUS_GIO_ENABLED;

	if (*fake_reg(f, CTRL) & CTRL_GIO_DISABLE && !f->busy)
		value &= ~STATUS_GIO_ENABLED;
	return value;
}

static u32 fake_get(struct e1000e *e, u32 offset)
{
	struct fake *f = to_fake(e);

	note(f->read, &f->reads, offset);
	if (offset == STATUS)
		return status(f);
	if (offset == ICR || (offset >= STATS && offset < STATS + NR_STATS * 4))
		return take(fake_reg(f, offset));
	return *fake_reg(f, offset);
}

static void do_reset(struct fake *f)
{
	u32 pba = *fake_reg(f, PBA), link = *fake_reg(f, STATUS);

	memset(f->regs, 0, sizeof(f->regs));
	*fake_reg(f, PBA) = pba;
	*fake_reg(f, STATUS) = link;
}

static void do_mdic(struct fake *f, u32 value)
{
	unsigned int nr = FIELD_GET(MDIC_REG, value);
	unsigned int page = nr == PHY_PAGE ? 0 : f->phy[0][PHY_PAGE] % 8;
	u16 *reg = &f->phy[page][nr];

	if (value & MDIC_WRITE)
		*reg = FIELD_GET(MDIC_DATA, value);
	value &= ~(MDIC_DATA | MDIC_ERROR);
	*fake_reg(f, MDIC) = value | *reg | MDIC_READY;
}

/* What is in the ring is sent the moment that it is rung */
static void do_send(struct fake *f)
{
	unsigned int q;

	if (f->stuck || !(*fake_reg(f, TCTL) & TCTL_EN))
		return;
	for (q = 0; q != NR_QUEUES; q++)
		*fake_reg(f, TDH + q * QUEUE_STRIDE) =
			*fake_reg(f, TDT + q * QUEUE_STRIDE);
}

static void fake_set(struct e1000e *e, u32 offset, u32 value)
{
	struct fake *f = to_fake(e);

	note(f->trace, &f->writes, offset);
	switch (offset) {
	case CTRL:
		if (value & CTRL_RST) {
			do_reset(f);
			return;
		}
		value &= ~CTRL_PHY_RST;
		break;
	case IMS:
		value |= *fake_reg(f, IMS);
		break;
	case IMC:
		*fake_reg(f, IMS) &= ~value;
		return;
	case ICS:
		*fake_reg(f, ICR) |= value;
		return;
	case MDIC:
		do_mdic(f, value);
		return;
	case EERD:
		value |= EERD_DONE;
		break;
	case STATUS:
		return;
	}
	*fake_reg(f, offset) = value;
	do_send(f);
}

static int fake_begin(struct vfio_mig_pci *pci)
{
	down_write(pci->mig.mmio_lock);
	mutex_lock(&pci->lock);
	return 0;
}

static void fake_end(struct vfio_mig_pci *pci)
{
	mutex_unlock(&pci->lock);
	up_write(pci->mig.mmio_lock);
}

static bool fake_user_begin(struct vfio_mig_pci *pci)
{
	return !fake_begin(pci);
}

static int fake_begin_op(struct vfio_mig *mig)
{
	return fake_begin(mig_to_vfio_mig_pci(mig));
}

static void fake_end_op(struct vfio_mig *mig)
{
	fake_end(mig_to_vfio_mig_pci(mig));
}

static void fake_bus_reset(struct vfio_mig *mig)
{
}

static const struct vfio_mig_bus fake_bus = {
	.reset = fake_bus_reset,
	.begin_op = fake_begin_op,
	.end_op = fake_end_op,
};

/* ---- Memory ---- */

/* Tests stand in for what runs in the test's own context only, so the test runs it */
static void fake_learn_later(struct e1000e *e)
{
	to_fake(e)->later = true;
}

static int fake_fetch(struct e1000e *e, u64 iova, void *desc, size_t length)
{
	struct fake *f = to_fake(e);

	/* a user's memory may be the device's own registers */
	if (mutex_is_locked(&e->pci.lock) || mutex_is_locked(&e->pci.mig.state_lock))
		f->locked = true;
	if (iova < FAKE_IOVA || iova - FAKE_IOVA > FAKE_MEMORY - length)
		return -EFAULT;
	memcpy(desc, f->mem + (iova - FAKE_IOVA), length);
	return 0;
}

/* ---- Life ---- */

static void release(struct device *dev)
{
	kfree(container_of(dev, struct fake, e.pci.core.vdev.device));
}

static void put(void *data)
{
	struct fake *f = data;

	vfio_mig_close(&f->e.pci.mig);
	e1000e_tracker_destroy(&f->e.pci.mig);
	vfio_put_device(&f->e.pci.core.vdev);
}

/**
 * fake_make() - Make a device, RUNNING
 * @test: whose it is
 *
 * Return: the device.
 */
struct fake *fake_make(struct kunit *test)
{
	struct fake *f = kzalloc_obj(*f);
	struct vfio_device *vdev;
	static unsigned int nr;
	char name[16];

	KUNIT_ASSERT_NOT_NULL(test, f);
	vdev = &f->e.pci.core.vdev;
	snprintf(name, sizeof(name), "82574l-%u", nr++);
	vdev->dev = kunit_device_register(test, name);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, vdev->dev);
	device_initialize(&vdev->device);
	vdev->device.release = release;
	mutex_init(&f->e.pci.lock);
	e1000e_tracker_init(&f->e.pci.mig);
	f->e.tracker.open = true;
	f->mem = kunit_kzalloc(test, FAKE_MEMORY, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, f->mem);
	kunit_activate_static_stub(test, e1000e_get, fake_get);
	kunit_activate_static_stub(test, e1000e_set, fake_set);
	kunit_activate_static_stub(test, vfio_mig_pci_begin, fake_begin);
	kunit_activate_static_stub(test, vfio_mig_pci_end, fake_end);
	kunit_activate_static_stub(test, vfio_mig_pci_user_begin,
				   fake_user_begin);
	kunit_activate_static_stub(test, vfio_mig_pci_user_end, fake_end);
	kunit_activate_static_stub(test, e1000e_fetch, fake_fetch);
	kunit_activate_static_stub(test, e1000e_learn_later, fake_learn_later);
	KUNIT_ASSERT_EQ(test, 0, vfio_mig_init(&f->e.pci.mig, vdev,
					       &e1000e_mig_ops,
					       &e1000e_identity,
					       VFIO_MIG_P2P |
					       VFIO_MIG_EXCLUSIVE));
	f->e.pci.mig.bus = &fake_bus;
	vfio_mig_reset(&f->e.pci.mig);
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, put, f));
	return f;
}

/**
 * fake_nth() - When was a register accessed?
 * @trace: of accesses
 * @nr: how many there were
 * @offset: of the register
 *
 * Return: the place of the last access, or -1.
 */
int fake_nth(const u32 *trace, unsigned int nr, u32 offset)
{
	int i;

	for (i = min_t(unsigned int, nr, FAKE_TRACE) - 1; i >= 0; i--)
		if (trace[i] == offset)
			return i;
	return -1;
}

/**
 * fake_set_state() - Change its migration state
 * @f: the device
 * @state: to which
 *
 * Return: a data file, NULL or an error.
 */
struct file *fake_set_state(struct fake *f, u32 state)
{
	struct vfio_device *vdev = &f->e.pci.core.vdev;

	return vdev->mig_ops->migration_set_state(vdev, state);
}

/**
 * fake_done() - Close a data file
 * @file: which, or NULL or an error
 */
void fake_done(struct file *file)
{
	if (!IS_ERR_OR_NULL(file))
		__fput_sync(file);
}
