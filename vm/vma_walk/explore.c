// SPDX-License-Identifier: GPL-2.0
/*
 * Run the threads of a scenario in every order that matters.
 *
 * A schedule is one execution of all threads of a scenario, from the same
 * start. Threads are coroutines. Another one may run before any access to
 * memory that two threads use and one of them writes (found out as it goes, see
 * note_conflict()); to switch before any other access makes no difference.
 *
 * Schedules come at random first, then in a depth-first search of all with at
 * most 0, 1, 2 ... preemptions. A switch from a thread that waits is none. Each
 * schedule starts from the beginning and follows the one before up to its last
 * decision that has an alternative. A schedule is given up when it comes to a
 * state that was there before, with at least as many preemptions left: a thread
 * is a function of what it has read, so the state is what all threads have read
 * of shared memory, and what is in there.
 *
 * Memory is sequentially consistent. Freed memory is never given out again, so
 * each use of it is found.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include "mc.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN
#endif
#endif

/* clang's address sanitizer has to be told of the memory and of the coroutines */
#ifdef ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#define poison(p, size)		ASAN_POISON_MEMORY_REGION(p, size)
#define unpoison(p, size)	ASAN_UNPOISON_MEMORY_REGION(p, size)
#else
#define poison(p, size)		do { } while (0)
#define unpoison(p, size)	do { } while (0)
#endif

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof(*(a)))

/* Shared memory: one region for each thread, and one for what is set up before */
#define REGIONS		(MC_THREADS + 1)
#define REGION_SIZE	(1ul << 20)
#define MEMORY		((char *)0x200000000000)
#define MEMORY_SIZE	(REGIONS * REGION_SIZE)
#define POISON		0x6b
#define STACK_SIZE	(128ul << 10)
#define MAX_ACCESSES	(4ul << 20)	/* of one schedule: it does not end */
#define MAX_DECISIONS	(1 << 16)
#define MAX_SWITCHES	4096
#define STATES		(1u << 23)

int mc_tid = -1;

/* The linker puts __wrap_memcpy() in the place of memcpy() */
void *__real_memcpy(void *to, const void *from, size_t n);
void *__wrap_memcpy(void *to, const void *from, size_t n);
void *__real_memset(void *to, int c, size_t n);
void *__wrap_memset(void *to, int c, size_t n);

/* ---- memory ---- */

struct object {
	char *start;
	unsigned long size;
	const char *name;
	bool freed;
};

static struct object objects[REGIONS][4096];
static unsigned int nr_objects[REGIONS], nr_published[REGIONS], nr_objects_setup;
static unsigned long used[REGIONS], used_setup;
static uint16_t object_at[REGIONS][REGION_SIZE / 16];	/* number + 1 */
static char *setup_copy;
static struct object *setup_objects;

/* By 8 bytes: who reads and who writes, in any schedule of this scenario */
#define READS(tid)	(1 << (2 * (tid)))
#define WRITES(tid)	(2 << (2 * (tid)))
#define CONFLICT	0x80
static uint8_t accesses[MEMORY_SIZE / 8];
static bool new_conflict;

static uint64_t mix(uint64_t a, uint64_t b)
{
	a = a * 0x9e3779b97f4a7c15ull + b;
	a = (a ^ (a >> 32)) * 0xd6e8feb86659fd93ull;
	return a ^ (a >> 29);
}

static uint64_t memory_hash;

static struct object *object_of(const char *addr)
{
	unsigned long off = addr - MEMORY;
	unsigned int r = off / REGION_SIZE, nr;

	nr = object_at[r][off % REGION_SIZE / 16];
	return nr ? &objects[r][nr - 1] : NULL;
}

void *mc_alloc(unsigned long size, unsigned long align, const char *name)
{
	int r = mc_tid < 0 ? MC_THREADS : mc_tid;
	unsigned long start, i;
	struct object *o;

	if (align < 16)
		align = 16;
	/* At least 16 bytes between two objects belong to nobody */
	start = (used[r] + 16 + align - 1) & -align;
	if (start + size > REGION_SIZE || nr_objects[r] == ARRAY_SIZE(objects[0]))
		mc_fail("out of memory");
	used[r] = start + ((size + 15) & -16ul);
	o = &objects[r][nr_objects[r]++];
	*o = (struct object){ MEMORY + r * REGION_SIZE + start, size, name, false };
	for (i = start / 16; i < used[r] / 16; i++)
		object_at[r][i] = nr_objects[r];
	unpoison(o->start, size);
	__real_memset(o->start, POISON, size);
	return o->start;
}

void mc_free(void *p)
{
	struct object *o = object_of(p);

	if (!o || o->freed || o->start != p)
		mc_fail("%p is freed, but not allocated", p);
	o->freed = true;
	poison(p, o->size);
	memory_hash += mix((uintptr_t)p, 1);
}

/* For what is given out again at once */
void *mc_reuse(void *p)
{
	object_of(p)->freed = false;
	unpoison(p, object_of(p)->size);
	memory_hash -= mix((uintptr_t)p, 1);
	return p;
}

unsigned long mc_live(const char *name)
{
	unsigned long n = 0;

	for (int r = 0; r < REGIONS; r++)
		for (unsigned int i = 0; i < nr_objects[r]; i++)
			n += !objects[r][i].freed && !strcmp(objects[r][i].name, name);
	return n;
}

static void memory_reset(void)
{
	poison(MEMORY, MC_THREADS * REGION_SIZE);
	/* Objects that were freed are back */
	for (unsigned int i = 0; i < nr_objects_setup; i++)
		if (objects[MC_THREADS][i].freed && !setup_objects[i].freed)
			unpoison(setup_objects[i].start, setup_objects[i].size);
	for (int r = 0; r < MC_THREADS; r++) {
		memset(object_at[r], 0, used[r] / 8);
		nr_objects[r] = 0;
		nr_published[r] = 0;
		used[r] = 0;
	}
	for (unsigned int i = 0; i < nr_objects_setup; i++)
		if (!setup_objects[i].freed)
			__real_memcpy(setup_objects[i].start, setup_copy +
				      (setup_objects[i].start - MEMORY) % REGION_SIZE,
				      setup_objects[i].size);
	memcpy(objects[MC_THREADS], setup_objects, nr_objects_setup * sizeof(struct object));
	nr_objects[MC_THREADS] = nr_objects_setup;
	used[MC_THREADS] = used_setup;
	memory_hash = 0;
}

static void memory_setup_begin(void)
{
	memset(object_at, 0, sizeof(object_at));
	memset(nr_objects, 0, sizeof(nr_objects));
	memset(used, 0, sizeof(used));
	poison(MEMORY, MEMORY_SIZE);
	memset(accesses, 0, sizeof(accesses));
}

static void memory_setup_end(void)
{
	int r = MC_THREADS;

	used_setup = used[r];
	nr_objects_setup = nr_objects[r];
	free(setup_copy);
	free(setup_objects);
	setup_copy = malloc(used_setup);
	setup_objects = malloc(nr_objects_setup * sizeof(struct object));
	memcpy(setup_objects, objects[r], nr_objects_setup * sizeof(struct object));
	for (unsigned int i = 0; i < nr_objects_setup; i++)
		if (!setup_objects[i].freed)
			__real_memcpy(setup_copy + (setup_objects[i].start - MEMORY) % REGION_SIZE,
				      setup_objects[i].start, setup_objects[i].size);
}

/* ---- threads ---- */

struct thread {
	void *sp;
	char *stack;
	bool alive;
	int (*ready)(void *arg);
	void *arg;
	unsigned long at;	/* accesses so far */
	uint64_t hash;		/* of all that it has read of shared memory */
	bool insists;		/* goes on though nothing changes for it */
	bool stored;		/* since it last executed a barrier */
};

static struct thread threads[MC_THREADS];
static void *main_sp;

/* Store the stack pointer at @from and go on at @to; keeps what a call keeps */
void mc_switch_stack(void **from, void *to);
asm(".globl mc_switch_stack\n"
    "mc_switch_stack:\n"
    "	push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "	mov %rsp, (%rdi)\n"
    "	mov %rsi, %rsp\n"
    "	pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n"
    "	ret\n");

enum outcome { FINISHED, SEEN_BEFORE, FAILED };
static enum outcome outcome;
static char failure[512];
static jmp_buf check_failed;	/* where world_end() was called */

static bool runnable(int tid)
{
	struct thread *t = &threads[tid];
	int self = mc_tid;
	bool ready;

	mc_tid = -1;
	ready = t->alive && (!t->ready || t->ready(t->arg));
	mc_tid = self;
	return ready;
}

#ifdef ASAN
static const void *main_stack;
static size_t main_size;
#endif

/* From one stack to another one, that of a thread, or the first one if NULL */
static void jump(void **from, void *to, const struct thread *t)
{
#ifdef ASAN
	void *fake;

	__sanitizer_start_switch_fiber(&fake, t ? t->stack : main_stack,
				       t ? STACK_SIZE : main_size);
	mc_switch_stack(from, to);
	__sanitizer_finish_switch_fiber(fake, NULL, NULL);
#else
	mc_switch_stack(from, to);
#endif
}

static void back_to_main(enum outcome how)
{
	void *sp;

	outcome = how;
	mc_tid = -1;
	jump(&sp, main_sp, NULL);
	abort();
}

static void switch_to(int tid)
{
	void **from = &threads[mc_tid].sp;

	if (tid == mc_tid)
		return;
	mc_tid = tid;
	mc_running(tid);
	threads[tid].insists = false;
	jump(from, threads[tid].sp, &threads[tid]);
}

/* ---- decisions ---- */

enum how { RANDOM, SEARCH, REPLAY };
static enum how how;
static int bound, preemptions;
static unsigned int odds;	/* RANDOM: one preemption in so many accesses */
static unsigned long total_accesses;

/* SEARCH: what was chosen, and what could have been */
static struct decision {
	int8_t nr, chosen, to[MC_THREADS];
} decisions[MAX_DECISIONS];
static unsigned int nr_decisions, prefix;

/* REPLAY: thread, before its access nr at, is interrupted by to */
static struct interruption {
	int tid, to;
	unsigned long at;
} plan[MAX_SWITCHES], made[MAX_SWITCHES];
static unsigned int nr_plan, nr_made, plan_next;

static uint64_t *states;
static uint8_t *states_left;
static unsigned long nr_states, nr_searches;

static uint32_t rnd(void)
{
	static uint64_t x = 88172645463325252ull;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return x >> 16;
}

static void memory_settle(void);

/* Was this state there before, with as many preemptions left? Then it is known */
static bool state_seen(bool preempt)
{
	uint8_t left = bound - preemptions + 1;
	uint64_t key;
	unsigned int i;

	memory_settle();
	key = mix(memory_hash + nr_searches, 2 * mc_tid + preempt);
	for (i = 0; i < MC_THREADS; i++)
		key = mix(key, threads[i].hash + 2 * threads[i].alive + threads[i].insists);
	if (!key)
		key = 1;
	for (i = key % STATES; states[i] && states[i] != key; i = (i + 1) % STATES)
		;
	if (!states[i]) {
		if (nr_states > STATES / 10 * 9)
			return false;
		nr_states++;
		states[i] = key;
	} else if (states_left[i] >= left) {
		return true;
	}
	states_left[i] = left;
	return false;
}

/*
 * Which of the threads in @to goes on? The first one, if nothing is to be
 * explored; to choose another one is a preemption if @preempt. Free decisions
 * and preemptions are alternatives of each other.
 */
static void decide(const int8_t *to, int nr, bool preempt)
{
	struct decision *d;
	int chosen = 0, self = mc_tid;

	if (nr > 1 && how == REPLAY) {
		if (plan_next < nr_plan && plan[plan_next].tid == self &&
		    plan[plan_next].at == threads[self].at) {
			for (int i = 0; i < nr; i++)
				if (to[i] == plan[plan_next].to)
					chosen = i;
			plan_next++;
		}
	} else if (nr > 1 && how == RANDOM) {
		if (!preempt || rnd() % odds == 0)
			chosen = preempt ? 1 + rnd() % (nr - 1) : rnd() % nr;
	} else if (nr > 1 && (!preempt || preemptions < bound)) {
		if (nr_decisions == MAX_DECISIONS)
			mc_fail("too many decisions");
		d = &decisions[nr_decisions++];
		if (nr_decisions > prefix) {
			if (state_seen(preempt))
				back_to_main(SEEN_BEFORE);
			d->nr = nr;
			d->chosen = 0;
			memcpy(d->to, to, nr);
		}
		chosen = d->chosen;
		to = d->to;
	}

	if (chosen) {
		if (nr_made < MAX_SWITCHES)
			made[nr_made++] = (struct interruption){
				self, to[chosen], threads[self].at };
		preemptions += preempt;
	}
	if (to[chosen] == self && !preempt)
		threads[self].insists = true;
	switch_to(to[chosen]);
}

/* The current thread could go on: shall another one? */
static void point(void)
{
	int8_t to[MC_THREADS];
	int nr = 0;

	if (how == SEARCH && preemptions >= bound)
		return;
	to[nr++] = mc_tid;
	for (int i = 0; i < MC_THREADS; i++)
		if (i != mc_tid && runnable(i))
			to[nr++] = i;
	decide(to, nr, true);
}

/* The current thread can't go on, or need not if @may_insist */
static void give_way(bool may_insist)
{
	int8_t to[MC_THREADS];
	int nr = 0, self = mc_tid;

	for (int i = 0; i < MC_THREADS; i++)
		if (i != self && runnable(i))
			to[nr++] = i;
	if (!nr && !may_insist && !runnable(self))
		mc_fail("deadlock: nobody can go on");
	if (may_insist || runnable(self))
		to[nr++] = self;
	decide(to, nr, false);
}

void mc_relax(void)
{
	struct thread *t = &threads[mc_tid];

	t->at++;
	if (++total_accesses > MAX_ACCESSES)
		mc_fail("it does not end");
	t->hash = mix(t->hash, 7);
	if (!t->insists)
		give_way(true);
}

void mc_block(int (*ready)(void *arg), void *arg)
{
	struct thread *t = &threads[mc_tid];

	t->at++;
	t->ready = ready;
	t->arg = arg;
	mc_note("waits");
	while (!runnable(mc_tid))
		give_way(false);
	t->ready = NULL;
}

static void thread_main(void)
{
	int tid = mc_tid;

#ifdef ASAN
	/* The first one comes from there */
	__sanitizer_finish_switch_fiber(NULL, total_accesses ? NULL : &main_stack,
					total_accesses ? NULL : &main_size);
#endif
	/* Any of them may be the first */
	if (!total_accesses)
		mc_relax();
	threads[tid].insists = false;
	world_thread(tid);
	threads[tid].at++;
	threads[tid].alive = false;
	for (int i = 0; i < MC_THREADS; i++)
		if (threads[i].alive)
			give_way(false);
	back_to_main(FINISHED);
}

/* ---- the trace of one schedule ---- */

struct step {
	int tid;
	void *pc;
	const char *addr;
	bool write;
	char *text;
};

static struct step *steps;
static unsigned int nr_steps;
static bool tracing;

static struct step *add_step(void)
{
	steps = realloc(steps, (nr_steps + 1) * sizeof(*steps));
	steps[nr_steps] = (struct step){ .tid = mc_tid };
	return &steps[nr_steps++];
}

static void vnote(const char *fmt, va_list args)
{
	if (!tracing || vasprintf(&add_step()->text, fmt, args) < 0)
		return;
}

void mc_note(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vnote(fmt, args);
	va_end(args);
}

/* Function and line of a call; if that is in a header, in which function of a .c file */
static const char *where(void *pc)
{
	static char at[600];
	char cmd[128], line[256];
	FILE *f;

	snprintf(cmd, sizeof(cmd), "addr2line -e /proc/%d/exe -sfpi %p", getpid(),
		 (char *)pc - 1);
	at[0] = 0;
	f = popen(cmd, "r");
	while (f && fgets(line, sizeof(line), f)) {
		char *frame = strncmp(line, " (inlined by) ", 14) ? line : line + 14;

		frame[strcspn(frame, "(\n")] = 0;
		if (strstr(frame, "kasan") || strstr(frame, "atomic"))
			continue;
		if (!at[0])
			strcpy(at, frame);
		else if (!strstr(at, ".c:") && strstr(frame, ".c:"))
			snprintf(at + strlen(at), sizeof(at) - strlen(at), " < %s", frame);
	}
	if (f)
		pclose(f);
	return at;
}

static void describe(const struct step *s)
{
	struct object *o = object_of(s->addr);

	printf("  %-7s %-58s %s %s#%u+%#lx\n", mc_thread_names[s->tid], where(s->pc),
	       s->write ? "writes" : "reads ", o ? o->name : "?",
	       o ? (unsigned int)(o - objects[(s->addr - MEMORY) / REGION_SIZE]) : 0,
	       o ? s->addr - o->start : 0);
}

/* What each thread did, but of long runs of accesses only the ends */
static void print_trace(void)
{
	unsigned int i, j, end;

	for (i = 0; i < nr_steps; i = end) {
		for (end = i; end < nr_steps && steps[end].tid == steps[i].tid &&
		     !steps[end].text; end++)
			;
		for (j = i; j < end; j++) {
			if (j == i + 1 && end - i > 6) {
				printf("  %-7s ... %u more accesses\n",
				       mc_thread_names[steps[i].tid], end - i - 4);
				j = end - 3;
			}
			describe(&steps[j]);
		}
		if (end < nr_steps && steps[end].text) {
			printf("  %-7s -- %s\n", mc_thread_names[steps[end].tid],
			       steps[end].text);
			end++;
		}
	}
}

/* ---- accesses ---- */

static const volatile void *watched;
static void (*watch_func)(void);
static bool one_step;	/* no points */

void mc_watch(const volatile void *addr, void (*func)(void))
{
	watched = addr;
	watch_func = func;
	accesses[((char *)addr - MEMORY) / 8] = CONFLICT;
}

/* What was written since memory_hash was settled, and what was there before */
static struct { uint64_t *at, old; bool shared; } written[64];
static unsigned int nr_written;

/*
 * What a thread has allocated is its own until a pointer to it is stored where
 * others may find it; then all is published that the thread has allocated before.
 */
static void publish(uint64_t value)
{
	unsigned long off = value - (uintptr_t)MEMORY;
	unsigned int r = off / REGION_SIZE;

	if (off < MEMORY_SIZE && object_at[r][off % REGION_SIZE / 16] > nr_published[r])
		nr_published[r] = nr_objects[r];
}

static void memory_settle(void)
{
	while (nr_written) {
		uint64_t *at = written[--nr_written].at;

		publish(*at);
		if (!written[nr_written].shared)
			continue;
		memory_hash -= mix((uintptr_t)at, written[nr_written].old);
		memory_hash += mix((uintptr_t)at, *at);
	}
}

static void note_write(uint64_t *at, bool shared)
{
	if (nr_written == ARRAY_SIZE(written))
		memory_settle();
	written[nr_written].at = at;
	written[nr_written].shared = shared;
	written[nr_written++].old = *at;
}

/*
 * Reads, after a store by the same thread without a barrier, of what another one
 * writes: all that makes x86 different from sequential consistency.
 */
static void *overtaking[32];
static unsigned int nr_overtaking;

static void note_overtaking(void *pc)
{
	for (unsigned int i = 0; i < nr_overtaking; i++)
		if (overtaking[i] == pc)
			return;
	if (nr_overtaking < ARRAY_SIZE(overtaking))
		overtaking[nr_overtaking++] = pc;
}

static bool written_by_others(uint8_t access)
{
	static const uint8_t others[] = { 0x28, 0x22, 0x0a };

	return access & others[mc_tid];
}

/* Another thread's access to the same memory, one of them a write? */
static bool note_conflict(uint8_t *access, bool write)
{
	static const uint8_t others[] = { 0x3c, 0x33, 0x0f };
	uint8_t was = *access;

	*access |= write ? WRITES(mc_tid) : READS(mc_tid);
	if (!(was & CONFLICT) &&
	    was & others[mc_tid] & (write ? 0x3f : 0x2a)) {
		*access |= CONFLICT;
		new_conflict = true;
	}
	return *access & CONFLICT;
}

static void hook(const volatile void *p, unsigned long size, bool read, bool write, void *pc)
{
	char *addr = (char *)p;
	struct thread *t = &threads[mc_tid];
	unsigned long first, last, i;
	struct object *o;
	bool shared = false;
	struct step *s;
	int r;

	t->at++;
	if (++total_accesses > MAX_ACCESSES)
		mc_fail("it does not end");
	o = object_of(addr);
	if (!o || o->freed || addr + size > o->start + o->size) {
		if (tracing) {
			s = add_step();
			s->pc = pc;
			s->addr = addr;
			s->write = write;
		}
		mc_fail(!o ? "access to what nobody has allocated" : o->freed ?
			"%s is used after it was freed" : "access beyond %s", o ? o->name : "");
	}

	if (nr_written)
		memory_settle();
	r = (addr - MEMORY) / REGION_SIZE;
	if (r != MC_THREADS && o - objects[r] >= nr_published[r]) {
		if (r == mc_tid)
			return;
		mc_fail("the checker does not know how %s was published", o->name);
	}
	first = (addr - MEMORY) / 8;
	last = (addr + size - 1 - MEMORY) / 8;
	for (i = first; i <= last; i++)
		shared |= note_conflict(&accesses[i], write);
	if (!shared) {
		for (i = first; write && i <= last; i++)
			note_write((uint64_t *)MEMORY + i, false);
		return;
	}

	if (!one_step)
		point();

	/* It may have been freed meanwhile */
	if (o->freed)
		mc_fail("%s is used after it was freed", o->name);
	if (write && p == watched) {
		one_step = true;
		watch_func();
		one_step = false;
	}
	if (nr_written)
		memory_settle();
	for (i = first; i <= last; i++) {
		uint64_t *at = (uint64_t *)MEMORY + i;

		if (read && !write && t->stored && written_by_others(accesses[i]))
			note_overtaking(pc);
		if (read)
			t->hash = mix(t->hash, *at);
		else
			t->hash = mix(t->hash, 3);
		if (write)
			note_write(at, true);
	}
	if (write)
		t->stored = !read;	/* a read-modify-write is a barrier */
	if (tracing) {
		s = add_step();
		s->pc = pc;
		s->addr = addr;
		s->write = write;
	}
}

#define IS_SHARED(p)	(mc_tid >= 0 && (unsigned long)((char *)(p) - MEMORY) < MEMORY_SIZE)
#define HERE		__builtin_return_address(0)

void mc_read(const volatile void *p, unsigned int size)
{
	if (IS_SHARED(p))
		hook(p, size, true, false, HERE);
}

void mc_write(const volatile void *p, unsigned int size)
{
	if (IS_SHARED(p))
		hook(p, size, true, true, HERE);
}

/*
 * What the compiler calls: gcc -fsanitize=thread, without its library, or clang
 * -fsanitize-coverage=trace-loads,trace-stores
 */
#define HOOK(name, size, write)						\
void name(void *p);							\
void name(void *p)							\
{									\
	if (IS_SHARED(p))						\
		hook(p, size, !write, write, HERE);			\
}
#define HOOKS(size)							\
HOOK(__tsan_read##size, size, false)					\
HOOK(__tsan_write##size, size, true)					\
HOOK(__sanitizer_cov_load##size, size, false)				\
HOOK(__sanitizer_cov_store##size, size, true)
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)
#define UNALIGNED(size)							\
HOOK(__tsan_unaligned_read##size, size, false)				\
HOOK(__tsan_unaligned_write##size, size, true)
UNALIGNED(2)
UNALIGNED(4)
UNALIGNED(8)
UNALIGNED(16)

void __tsan_read_range(void *p, long size);
void __tsan_read_range(void *p, long size)
{
	if (IS_SHARED(p))
		hook(p, size, true, false, HERE);
}

void __tsan_write_range(void *p, long size);
void __tsan_write_range(void *p, long size)
{
	if (IS_SHARED(p))
		hook(p, size, false, true, HERE);
}

void __tsan_init(void);
void __tsan_init(void) {}

void *__wrap_memcpy(void *to, const void *from, size_t n)
{
	for (size_t i = 0, len; i < n; i += len) {
		len = n - i < 8 ? n - i : 8;
		if (IS_SHARED(from))
			hook((char *)from + i, len, true, false, HERE);
		if (IS_SHARED(to))
			hook((char *)to + i, len, false, true, HERE);
		__real_memcpy((char *)to + i, (char *)from + i, len);
	}
	return to;
}

#ifdef ASAN
void *__wrap___asan_memcpy(void *to, const void *from, size_t n);
void *__wrap___asan_memcpy(void *to, const void *from, size_t n)
{
	return __wrap_memcpy(to, from, n);
}

void *__wrap___asan_memset(void *to, int c, size_t n);
void *__wrap___asan_memset(void *to, int c, size_t n)
{
	return __wrap_memset(to, c, n);
}
#endif

void *__wrap_memset(void *to, int c, size_t n)
{
	for (size_t i = 0, len; i < n && IS_SHARED(to); i += len) {
		len = n - i < 8 ? n - i : 8;
		hook((char *)to + i, len, false, true, HERE);
		__real_memset((char *)to + i, c, len);
	}
	return IS_SHARED(to) ? to : __real_memset(to, c, n);
}

void mc_fail(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(failure, sizeof(failure), fmt, args);
	va_end(args);
	if (mc_tid >= 0) {
		mc_note("%s", failure);
		back_to_main(FAILED);
	}
	longjmp(check_failed, 1);
}

/* ---- one schedule, many schedules ---- */

static unsigned int thread_mask;
static unsigned long schedules, given_up;

static void run(void)
{
	memory_reset();
	nr_decisions = 0;
	nr_made = 0;
	plan_next = 0;
	preemptions = 0;
	nr_written = 0;
	one_step = false;
	total_accesses = 0;
	for (int i = 0; i < MC_THREADS; i++) {
		struct thread *t = &threads[i];
		void **sp = (void **)(t->stack + STACK_SIZE);

		*--sp = NULL;
		*--sp = thread_main;
		unpoison(t->stack, STACK_SIZE);
		*t = (struct thread){ .sp = sp - 6, .stack = t->stack,
				      .alive = thread_mask & 1 << i };
	}
	world_begin();
	mc_tid = __builtin_ctz(thread_mask);
	mc_running(mc_tid);
	jump(&main_sp, threads[mc_tid].sp, &threads[mc_tid]);
	schedules++;
	if (outcome == SEEN_BEFORE)
		given_up++;
	if (outcome == FINISHED) {
		if (!setjmp(check_failed))
			world_end();
		else
			outcome = FAILED;
	}
}

static void crash(int sig, siginfo_t *info, void *context)
{
	mc_fail("signal %d at address %p, pc %#llx", sig, info->si_addr,
		((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP]);
}

/* Seconds of this process, whatever else the machine does */
static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* Go on from the last decision that has an alternative. Is there one? */
static bool next_schedule(void)
{
	struct decision *d;

	while (nr_decisions) {
		d = &decisions[nr_decisions - 1];
		if (++d->chosen < d->nr) {
			prefix = nr_decisions;
			return true;
		}
		nr_decisions--;
	}
	return false;
}

/* All schedules with at most @bound preemptions. Have they all been explored? */
static bool search(double deadline)
{
	how = SEARCH;
restart:
	/* All of another search has another key */
	nr_searches++;
	if (nr_states > STATES / 2) {
		memset(states, 0, STATES * sizeof(*states));
		nr_states = 0;
	}
	nr_decisions = 0;
	prefix = 0;
	new_conflict = false;
	do {
		run();
		if (outcome == FAILED)
			return false;
		/* There are more points than were known */
		if (new_conflict)
			goto restart;
		if (!(schedules & 63) && now() > deadline)
			return false;
	} while (next_schedule());
	return true;
}

static bool replay(const struct interruption *p, unsigned int n)
{
	how = REPLAY;
	memmove(plan, p, n * sizeof(*p));
	nr_plan = n;
	run();
	return outcome == FAILED;
}

/* Leave out whatever is not needed for the failure, then show it */
static void report(const struct mc_scenario *s)
{
	static struct interruption keep[MAX_SWITCHES], try[MAX_SWITCHES];
	unsigned int n = nr_made, i;
	bool shorter;

	memcpy(keep, made, n * sizeof(*keep));
	if (!replay(keep, n)) {
		printf("%s: FAILED, but not when repeated: %s\n", s->name, failure);
		return;
	}
	do {
		shorter = false;
		for (i = 0; i < n;) {
			memcpy(try, keep, i * sizeof(*keep));
			memcpy(try + i, keep + i + 1, (n - i - 1) * sizeof(*keep));
			if (replay(try, n - 1)) {
				memcpy(keep, try, --n * sizeof(*keep));
				shorter = true;
			} else {
				i++;
			}
		}
	} while (shorter);
	nr_steps = 0;
	tracing = true;
	replay(keep, n);
	tracing = false;
	printf("%s: FAILED: %s\n  %u preemptions or choices where a thread waits:\n",
	       s->name, failure, n);
	print_trace();
	printf("  -- %s\n", failure);
}

static struct result {
	unsigned long schedules, given_up;
	int bounds;		/* explored with less preemptions than this */
	bool failed;
	double seconds;
} results[1024];

/* All schedules with at most @max_bound preemptions, before that some at random */
static bool explore(const struct mc_scenario *s, struct result *r, int max_bound,
		    unsigned long nr_random, double seconds)
{
	double start = now(), deadline = start + seconds;

	schedules = 0;
	given_up = 0;
	outcome = FINISHED;
	mc_tid = -1;
	memory_setup_begin();
	if (setjmp(check_failed)) {
		printf("%s: not set up: %s\n", s->name, failure);
		exit(2);
	}
	thread_mask = world_setup(s);
	memory_setup_end();

	how = RANDOM;
	for (unsigned long i = 0; i < nr_random && outcome != FAILED; i++) {
		odds = 2 << rnd() % 8;
		run();
	}
	bound = max_bound;
	if (outcome != FAILED && search(deadline))
		r->bounds = bound + 1;
	r->schedules += schedules;
	r->given_up += given_up;
	r->seconds += now() - start;
	if (outcome == FAILED)
		report(s);
	return outcome != FAILED;
}

int main(int argc, char **argv)
{
	struct sigaction sa = { .sa_sigaction = crash,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t alt = { .ss_sp = malloc(65536), .ss_size = 65536 };
	unsigned long nr_random = 500;
	const struct mc_scenario *s;
	int opt, max_bound = 2, failed = 0;
	double seconds = 20, start = now();
	unsigned int nr = 0;
	unsigned long all = 0;
	bool first_only = false;

	while ((opt = getopt(argc, argv, "1b:r:t:")) != -1) {
		if (opt == 'b')
			max_bound = atoi(optarg);
		else if (opt == 'r')
			nr_random = strtoul(optarg, NULL, 0);
		else if (opt == 't')
			seconds = atof(optarg);
		else if (opt == '1')
			first_only = true;
		else
			return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaltstack(&alt, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);

	if (mmap(MEMORY, MEMORY_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != MEMORY)
		return 2;
	states = calloc(STATES, sizeof(*states));
	states_left = calloc(STATES, 1);
	for (int i = 0; i < MC_THREADS; i++)
		threads[i].stack = mmap(NULL, STACK_SIZE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memory_setup_begin();
	world_init();

	/* Few preemptions first, with all scenarios */
	for (int b = 0; b <= max_bound && !(failed && first_only); b++) {
		for (unsigned int i = 0; (s = world_scenario(i)); i++) {
			struct result *r = &results[i];

			if (optind < argc && strncmp(s->name, argv[optind], strlen(argv[optind])))
				continue;
			nr = i + 1;
			/* Has failed, or there was not the time for less */
			if (r->failed || r->bounds != b)
				continue;
			if (!explore(s, r, b, b ? 0 : nr_random, seconds)) {
				failed++;
				r->failed = true;
				if (first_only)
					break;
			}
		}
	}
	for (unsigned int i = 0; i < nr; i++) {
		struct result *r = &results[i];

		if (!r->schedules)
			continue;
		printf("%-28s %8lu schedules, %7lu given up, %5.1f s, %s %d preemptions\n",
		       world_scenario(i)->name, r->schedules, r->given_up, r->seconds,
		       r->failed ? "FAILED," : "all with up to", r->bounds - 1);
		all += r->schedules;
	}
	printf("%lu schedules, %.0f s, %d failed\n", all, now() - start, failed);
	/* But for assertions that a lock is held, which others can't change */
	for (unsigned int i = 0; i < nr_overtaking; i++)
		if (!strstr(where(overtaking[i]), "rwsem_"))
			printf("may overtake a store of the same CPU: %s\n", where(overtaking[i]));
	return failed || !nr;
}
