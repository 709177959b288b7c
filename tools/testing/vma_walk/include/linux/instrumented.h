/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _LINUX_INSTRUMENTED_H
#define _LINUX_INSTRUMENTED_H

/* Atomic operations are inline assembly, which the compiler does not hook */
#include "mc.h"

#define instrument_read(v, size)		mc_read((const void *)(v), size)
#define instrument_write(v, size)		mc_store((const void *)(v), size)
#define instrument_read_write(v, size)		mc_write((const void *)(v), size)
#define instrument_atomic_read(v, size)		mc_read((const void *)(v), size)
#define instrument_atomic_write(v, size)	mc_store((const void *)(v), size)
#define instrument_atomic_read_write(v, size)	mc_write((const void *)(v), size)

static inline void instrument_copy_to_user(void *to, const void *from, unsigned long n) {}
static inline void instrument_copy_from_user_before(const void *to, const void *from,
						    unsigned long n) {}
static inline void instrument_copy_from_user_after(const void *to, const void *from,
						   unsigned long n, unsigned long left) {}

#define instrument_get_user(to)		((void)(to))

static inline void instrument_put_user(unsigned long from, const void *ptr, size_t size) {}

#endif
