// SPDX-License-Identifier: GPL-2.0-only
/*
 * The state that is in the PHY
 *
 * It says how the link is to be, not how it is: that is a matter of this port and of
 * who is at the other end.  If the link is as the guest knew it, it is left alone;
 * else the PHY negotiates anew, with what the guest wants, and the guest is told that
 * the link changed, as if somebody had changed the cable.
 */
#include <linux/bitfield.h>
#include <linux/iopoll.h>
#include <linux/mii.h>

#include "e1000e.h"

/**
 * struct phy_reg - a register of the PHY
 * @page: it is on
 * @reg: its number
 * @mask: bits that are kept; those that start something are not among them
 */
struct phy_reg {
	u8 page;
	u8 reg;
	u16 mask;
};

/* The page register is the last one, since the others need it */
static const struct phy_reg phy_regs[] = {
	{ 0, MII_BMCR, 0xffc0 & ~(BMCR_RESET | BMCR_ANRESTART) },
	{ 0, MII_ADVERTISE, 0xffff },
	{ 0, 7, 0xffff },			/* next page */
	{ 0, MII_CTRL1000, 0xffff },
	{ 0, 16, 0xffff },			/* copper control 1 */
	{ 0, 18, 0xffff },			/* copper interrupts */
	{ 0, 20, 0xffff },			/* copper control 2 */
	{ 0, 25, 0xffff & ~BIT(10) },		/* OEM bits; restart */
	{ 0, 26, 0xffff },			/* copper control 3 */
	{ 2, 16, 0xffff },			/* MAC control 1 */
	{ 2, 18, 0xffff },			/* MAC interrupts */
	{ 2, 21, 0xffff },			/* MAC control 2 */
	{ 3, 16, 0xffff },			/* LEDs */
	{ 3, 17, 0xffff },
	{ 3, 18, 0xffff },
	{ 3, 19, 0xffff },
	{ 0, PHY_PAGE, 0x00ff },
};

static_assert(ARRAY_SIZE(phy_regs) == NR_PHY_REGS);

/**
 * e1000e_phy_access() - Let MDIC do something, and wait for it
 * @e: the device, with its lock held
 * @mdic: what to write to MDIC
 *
 * Return: the data, 0 for a write, or an errno.
 */
int e1000e_phy_access(struct e1000e *e, u32 mdic)
{
	u32 done;
	int rc;

	lockdep_assert_held(&e->pci.lock);
	e1000e_set(e, MDIC, mdic);
	rc = read_poll_timeout(e1000e_get, done, done & MDIC_READY, 10, MDIC_US,
			       false, e, MDIC);
	if (rc)
		return rc;
	if (done & MDIC_ERROR)
		return -EIO;
	return mdic & MDIC_READ ? done & MDIC_DATA : 0;
}

static int phy_read(struct e1000e *e, unsigned int reg)
{
	return e1000e_phy_access(e, MDIC_READ | FIELD_PREP(MDIC_REG, reg) |
				 FIELD_PREP(MDIC_PHY, PHY_ADDRESS));
}

static int phy_write(struct e1000e *e, unsigned int reg, u16 value)
{
	return e1000e_phy_access(e, MDIC_WRITE | value |
				 FIELD_PREP(MDIC_REG, reg) |
				 FIELD_PREP(MDIC_PHY, PHY_ADDRESS));
}

static int select_page(struct e1000e *e, const struct phy_reg *reg)
{
	return reg->reg == PHY_PAGE ? 0 : phy_write(e, PHY_PAGE, reg->page);
}

/**
 * e1000e_phy_save() - Read what is to be kept
 * @e: the device, with its lock held
 * @values: where it goes, %NR_PHY_REGS of them
 *
 * Return: 0 or an errno.
 */
int e1000e_phy_save(struct e1000e *e, u32 *values)
{
	int rc, page;
	unsigned int i;

	page = phy_read(e, PHY_PAGE);
	if (page < 0)
		return page;
	for (i = 0; i != NR_PHY_REGS - 1; i++) {
		rc = select_page(e, &phy_regs[i]);
		if (!rc)
			rc = phy_read(e, phy_regs[i].reg);
		if (rc < 0)
			return rc;
		values[i] = rc & phy_regs[i].mask;
	}
	values[i] = page & phy_regs[i].mask;
	return phy_write(e, PHY_PAGE, page);
}

/**
 * e1000e_phy_check() - Could that be the state of a PHY?
 * @values: from a stream
 *
 * Return: 0 or -ERANGE.
 */
int e1000e_phy_check(const u32 *values)
{
	unsigned int i;

	for (i = 0; i != NR_PHY_REGS; i++)
		if (values[i] & ~phy_regs[i].mask)
			return -ERANGE;
	return 0;
}

static bool same_link(u32 a, u32 b)
{
	return !((a ^ b) & (STATUS_LU | STATUS_FD | STATUS_SPEED));
}

/**
 * e1000e_phy_load() - Make that the state of the PHY
 * @e: the device, with its lock held
 * @values: which were checked
 * @old_status: STATUS of the device where they are from
 *
 * Return: 0 or an errno.
 */
int e1000e_phy_load(struct e1000e *e, const u32 *values, u32 old_status)
{
	bool same = same_link(e1000e_get(e, STATUS), old_status);
	unsigned int i;
	u16 value;
	int rc;

	for (i = 0; i != NR_PHY_REGS; i++) {
		rc = select_page(e, &phy_regs[i]);
		if (rc)
			return rc;
		rc = phy_read(e, phy_regs[i].reg);
		if (rc < 0)
			return rc;
		value = (rc & ~phy_regs[i].mask) | values[i];
		if (value != rc)
			rc = phy_write(e, phy_regs[i].reg, value);
		if (rc < 0)
			return rc;
	}
	if (!same && (values[0] & BMCR_ANENABLE))
		rc = phy_write(e, MII_BMCR, values[0] | BMCR_ANRESTART);
	if (!same)
		e->soft.icr |= ICR_LSC;
	return min(rc, 0);
}
