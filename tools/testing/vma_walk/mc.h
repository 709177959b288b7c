/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the explorer (explore.c, with the C library) and the kernel that it
 * explores (kernel.c, maps.c, world.c, with the kernel's headers) share.
 */
#ifndef _VMA_WALK_MC_H
#define _VMA_WALK_MC_H

#include <linux/compiler.h>
#include <linux/types.h>

enum { MC_READER, MC_WRITER, MC_OTHER, MC_THREADS };

/* The running thread, or -1: then nothing is hooked and nobody is scheduled */
extern int mc_tid;

/*
 * An access to memory that threads may share, right before it is made. The
 * compiler calls this for all loads and stores; what it does not see, inline
 * assembly and what kernel.c does instead of the kernel, calls it by name.
 * mc_write() is a read-modify-write. See x86.S for what calls mc_access().
 */
enum mc_kind { MC_LOAD, MC_STORE, MC_RMW };
void mc_read(const void *addr, unsigned int size);
void mc_store(const void *addr, unsigned int size);
void mc_write(const void *addr, unsigned int size);
void mc_access(const void *addr, unsigned int size, enum mc_kind kind, void *pc);

/* The thread can't go on until ready(arg) */
void mc_block(int (*ready)(void *arg), void *arg);
/* Nothing changes for the thread until others have run */
void mc_relax(void);

/* Memory; what is freed may not be used again, and is not given out again */
void *mc_alloc(unsigned long size, unsigned long align, const char *name);
void mc_free(void *p);
void *mc_reuse(void *p);
unsigned long mc_live(const char *name);

/*
 * Right before each store to @addr, in one step with it, call @func, whose own
 * accesses are part of that step.
 */
void mc_watch(const void *addr, void (*func)(void));

/*
 * Any number below @n, if the schedule is one at random; else zero, or what it was in
 * the schedule that failed.
 */
unsigned int mc_random(unsigned int n);

/* A line of the trace */
void mc_note(const char *fmt, ...) __printf(1, 2);
/* Function and line of an address */
const char *mc_where(void *pc);
void mc_fail(const char *fmt, ...) __printf(1, 2) __noreturn;

struct mc_scenario {
	const char *name;
	const void *data;
};

/* explore.c's own: see x86.S, and ld(1) for --wrap */
void mc_switch_stack(void **from, void *to);
void *__real_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n);
void *__real_memset(void *to, int c, size_t n);
void *__wrap_memset(void *to, int c, size_t n);
const char *__asan_default_options(void);

/* Of the kernel's side */
void mc_running(int tid);				/* current is another one */
extern const char *const mc_thread_names[MC_THREADS];
const struct mc_scenario *world_scenario(unsigned int nr);
void world_init(unsigned int nr_random);		/* once */
unsigned int world_setup(const struct mc_scenario *s);	/* returns a mask of threads */
void world_begin(void);				/* before each schedule */
void world_thread(int tid);				/* what the thread does */
void world_end(void);					/* is it as it should be? */

#endif
