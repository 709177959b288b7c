/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_KASAN_CHECKS_H
#define _LINUX_KASAN_CHECKS_H

#include <linux/types.h>

/* The atomic operations are inline assembly, which the compiler does not hook */
void mc_read(const volatile void *addr, unsigned int size);
void mc_write(const volatile void *addr, unsigned int size);

static inline bool kasan_check_read(const volatile void *p, unsigned int size)
{
	mc_read(p, size);
	return true;
}

static inline bool kasan_check_write(const volatile void *p, unsigned int size)
{
	mc_write(p, size);
	return true;
}

#define __kasan_check_read	kasan_check_read
#define __kasan_check_write	kasan_check_write

#endif
