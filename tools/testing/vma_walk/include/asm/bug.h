/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_BUG_H
#define _ASM_X86_BUG_H

#include <linux/compiler.h>

void __noreturn mc_bug(void);

/* A warning ends in warn_slowpath_fmt() */
#define HAVE_ARCH_BUG
#define BUG	mc_bug

#include <asm-generic/bug.h>

#endif
