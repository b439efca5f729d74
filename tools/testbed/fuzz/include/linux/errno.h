/* SPDX-License-Identifier: GPL-2.0 */
/* errno.h of the C library comes by here */
#include <asm/errno.h>
