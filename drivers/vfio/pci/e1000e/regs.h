/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Registers of the Intel 82574L, as its datasheet (revision 3.4, section 10) has
 * them: those that this driver looks at
 */
#ifndef _E1000E_VFIO_REGS_H
#define _E1000E_VFIO_REGS_H

#include <linux/bits.h>

#define E1000E_PCI_DEVICE	0x10d3

/* 128 KiB of registers, of which nothing is documented beyond this */
#define REGS_SIZE		0x20000
#define REGS_USED		0x10000

/* The window to them in I/O space */
#define IO_ADDR			0x0
#define IO_DATA			0x4
#define IO_SIZE			0x20

#define CTRL			0x0000
#define   CTRL_GIO_DISABLE	BIT(2)
#define   CTRL_RST		BIT(26)
#define   CTRL_PHY_RST		BIT(31)
#define CTRL_ALIAS		0x0004
#define STATUS			0x0008
#define   STATUS_FD		BIT(0)
#define   STATUS_LU		BIT(1)
#define   STATUS_SPEED		GENMASK(7, 6)
#define   STATUS_GIO_ENABLED	BIT(19)
#define EERD			0x0014
#define   EERD_START		BIT(0)
#define   EERD_DONE		BIT(1)
#define   EERD_ADDR		GENMASK(15, 2)
#define CTRL_EXT		0x0018
#define MDIC			0x0020
#define   MDIC_DATA		GENMASK(15, 0)
#define   MDIC_REG		GENMASK(20, 16)
#define   MDIC_PHY		GENMASK(25, 21)
#define   MDIC_WRITE		BIT(26)
#define   MDIC_READ		BIT(27)
#define   MDIC_READY		BIT(28)
#define   MDIC_ERROR		BIT(30)
#define   MDIC_US		2000		/* 64 on the wire */
#define FCAL			0x0028
#define FCAH			0x002c
#define FCT			0x0030
#define VET			0x0038
#define ICR			0x00c0
#define   ICR_LSC		BIT(2)
#define   ICR_ASSERTED		BIT(31)
#define   ICR_CAUSES		0x01f782d7
#define ITR			0x00c4
#define ICS			0x00c8
#define IMS			0x00d0
#define IMC			0x00d8
#define EIAC			0x00dc
#define IAM			0x00e0
#define IVAR			0x00e4
#define EITR			0x00e8
#define   NR_EITR		5
#define RCTL			0x0100
#define   RCTL_EN		BIT(1)
#define   RCTL_DTYP		GENMASK(11, 10)
#define   RCTL_BSIZE		GENMASK(17, 16)
#define   RCTL_BSEX		BIT(25)
#define   RCTL_FLXBUF		GENMASK(30, 27)
#define RDTR_ALIAS		0x0108
#define RDBAL0_ALIAS		0x0110
#define RDBAH0_ALIAS		0x0114
#define RDLEN0_ALIAS		0x0118
#define RDH0_ALIAS		0x0120
#define RDT0_ALIAS		0x0128
#define FCTTV			0x0170
#define TCTL			0x0400
#define   TCTL_EN		BIT(1)
#define TIPG			0x0410
#define TDBAL0_ALIAS		0x0420
#define TDBAH0_ALIAS		0x0424
#define TDLEN0_ALIAS		0x0428
#define TDH0_ALIAS		0x0430
#define TDT0_ALIAS		0x0438
#define TIDV_ALIAS		0x0440
#define AIT			0x0458
#define LEDCTL			0x0e00
#define EXTCNF_CTRL		0x0f00
#define PBA			0x1000
#define FCRTL			0x2160
#define FCRTH			0x2168
#define PSRCTL			0x2170
#define RDBAL			0x2800
#define RDBAH			0x2804
#define RDLEN			0x2808
#define RDH			0x2810
#define RDT			0x2818
#define RDTR			0x2820
#define   DELAY_FLUSH		BIT(31)		/* of RDTR and TIDV */
#define RXDCTL			0x2828
#define RADV			0x282c
#define RSRPD			0x2c00
#define RAID			0x2c08
#define TDBAL			0x3800
#define TDBAH			0x3804
#define TDLEN			0x3808
#define TDH			0x3810
#define TDT			0x3818
#define TIDV			0x3820
#define TXDCTL			0x3828
#define TADV			0x382c
#define TARC			0x3840
#define   QUEUE_STRIDE		0x100
#define   NR_QUEUES		2
#define STATS			0x4000
#define   NR_STATS		74
#define   GORCL			0x4088
#define   GOTCL			0x4090
#define   TORL			0x40c0
#define   TOTL			0x40c8
#define RXCSUM			0x5000
#define RFCTL			0x5008
#define   RFCTL_EXSTEN		BIT(15)
#define MTA			0x5200
#define RAL			0x5400
#define RAH			0x5404
#define VFTA			0x5600
#define WUC			0x5800
#define WUFC			0x5808
#define MRQC			0x5818
#define GCR			0x5b00
#define GCR2			0x5b64
#define RETA			0x5c00
#define RSSRK			0x5c80
#define FCRTV			0x5f40
#define SYSTIML			0xb600
#define SYSTIMH			0xb604
#define TIMINCA			0xb608
#define TSYNCTXCTL		0xb614
#define TSYNCRXCTL		0xb620
#define RXMTRL			0xb634
#define RXUDP			0xb638

#define DESC_SIZE		16
#define RING_MAX		0xfff8

/* The PHY, by MDIC */
#define PHY_ADDRESS		1
#define PHY_PAGE		22

#endif
