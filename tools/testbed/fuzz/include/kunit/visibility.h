/* SPDX-License-Identifier: GPL-2.0 */
/* What stream.c uses of the kernel, for user space */
#define EXPORT_SYMBOL_IF_KUNIT(symbol)
