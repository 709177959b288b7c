/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_BUG_H
#define _ASM_X86_BUG_H

void mc_bug(const char *file, int line) __attribute__((noreturn));

/* A warning ends in warn_slowpath_fmt() */
#define HAVE_ARCH_BUG
#define BUG()	mc_bug(__FILE__, __LINE__)

#include <asm-generic/bug.h>

#endif
