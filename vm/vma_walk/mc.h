/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the explorer (explore.c, with the C library) and the kernel that it
 * explores (kernel.c, maps.c, world.c, with the kernel's headers) share.
 */
#ifndef _VMA_WALK_MC_H
#define _VMA_WALK_MC_H

enum { MC_READER, MC_WRITER, MC_OTHER, MC_THREADS };

/* The running thread, or -1: then nothing is hooked and nobody is scheduled */
extern int mc_tid;

/*
 * An access to memory that threads may share, right before it is made. The
 * compiler calls this for all loads and stores; what it does not see, inline
 * assembly and what kernel.c does instead of the kernel, calls it by name.
 * mc_write() is a read-modify-write.
 */
void mc_read(const volatile void *addr, unsigned int size);
void mc_write(const volatile void *addr, unsigned int size);

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
void mc_watch(const volatile void *addr, void (*func)(void));

/* A line of the trace */
void mc_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void mc_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

struct mc_scenario {
	const char *name;
	const void *data;
};

/* Of the kernel's side */
void mc_running(int tid);				/* current is another one */
extern const char *const mc_thread_names[MC_THREADS];
const struct mc_scenario *world_scenario(unsigned int nr);
void world_init(void);					/* once */
unsigned int world_setup(const struct mc_scenario *s);	/* returns a mask of threads */
void world_begin(void);				/* before each schedule */
void world_thread(int tid);				/* what the thread does */
void world_end(void);					/* is it as it should be? */

#endif
