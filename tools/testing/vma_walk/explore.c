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
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <linux/bits.h>
#include <linux/kernel.h>
#include "mc.h"

/* Shared memory: one region for each thread, and one for what is set up before */
#define REGIONS		(MC_THREADS + 1)
#define REGION_SIZE	(1024ul * 1024)
#define MEMORY		((char *)0x200000000000)
#define MEMORY_SIZE	(REGIONS * REGION_SIZE)
#define POISON		0x6b
#define STACK_SIZE	(128ul * 1024)
#define MAX_ACCESSES	(4 * 1024 * 1024)	/* of one schedule: it does not end */
#define MAX_DECISIONS	65536
#define MAX_SWITCHES	4096
#define STATES		(8 * 1024 * 1024)

/* The address sanitizer has to be told of the memory and of the coroutines */
#ifdef ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

/* addr2line finds no inline functions in what clang has built: no assertions */
static const bool knows_assertions;

/* A schedule that the search abandons does not free the memory that it has allocated */
const char *__asan_default_options(void)
{
	return "detect_leaks=0";
}

static void poison(void *p, size_t size)
{
	ASAN_POISON_MEMORY_REGION(p, size);
}

static void unpoison(void *p, size_t size)
{
	ASAN_UNPOISON_MEMORY_REGION(p, size);
}

/* To another stack, that of a thread, or the first one if NULL: before and after */
static const void *main_stack;
static size_t main_size;

static void leave_stack(void **fake, const void *stack)
{
	__sanitizer_start_switch_fiber(fake, stack ?: main_stack,
				       stack ? STACK_SIZE : main_size);
}

static void enter_stack(void *fake, bool from_main)
{
	__sanitizer_finish_switch_fiber(fake, from_main ? &main_stack : NULL,
					from_main ? &main_size : NULL);
}
#else
static const bool knows_assertions = true;

static void poison(void *p, size_t size) {}
static void unpoison(void *p, size_t size) {}
static void leave_stack(void **fake, const void *stack) {}
static void enter_stack(void *fake, bool from_main) {}
#endif

int mc_tid = -1;

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
static u16 object_at[REGIONS][REGION_SIZE / 16];	/* number + 1 */
static char *setup_copy;
static struct object *setup_objects;

/* By 8 bytes: who reads, who writes and who frees it, in any schedule of this scenario */
#define READS		BIT(0)
#define WRITES		BIT(MC_THREADS)
#define FREES		BIT(2 * MC_THREADS)
#define BY_ANY		(BIT(MC_THREADS) - 1)	/* times one of these */
#define CONFLICT	BIT(3 * MC_THREADS)
static u16 accesses[MEMORY_SIZE / 8];
static bool new_conflict;

static u64 mix(u64 a, u64 b)
{
	a = a * 0x9e3779b97f4a7c15ull + b;
	a = (a ^ (a >> 32)) * 0xd6e8feb86659fd93ull;
	return a ^ (a >> 29);
}

static u64 memory_hash;

static struct object *object_of(const char *addr)
{
	unsigned long off = addr - MEMORY;
	unsigned int r = off / REGION_SIZE, nr;

	nr = object_at[r][off % REGION_SIZE / 16];
	return nr ? &objects[r][nr - 1] : NULL;
}

static void note_free(const struct object *o);

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
	note_free(o);
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
	u64 hash;		/* of all that it has read of shared memory */
	bool insists;		/* goes on though nothing changes for it */
	bool stored;		/* since it last executed a barrier */
	/* SEARCH: interrupted before this access, and nobody has made one since that matters */
	bool asleep;
	const char *start, *end;
	bool write;
};

static struct thread threads[MC_THREADS];
static int running = -1;	/* as mc_tid, but also while nothing is hooked */
static void *main_sp;

enum outcome { FINISHED, GIVEN_UP, FAILED };
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

/* From one stack to another one, that of a thread, or the first one if @stack is NULL */
static void jump(void **from, void *to, const void *stack)
{
	void *fake;

	leave_stack(&fake, stack);
	mc_switch_stack(from, to);
	enter_stack(fake, false);
}

static void back_to_main(enum outcome how)
{
	void *sp;

	outcome = how;
	mc_tid = -1;
	running = -1;
	jump(&sp, main_sp, NULL);
	abort();
}

static void switch_to(int tid)
{
	void **from = &threads[mc_tid].sp;

	if (tid == mc_tid)
		return;
	mc_tid = tid;
	running = tid;
	mc_running(tid);
	threads[tid].insists = false;
	jump(from, threads[tid].sp, threads[tid].stack);
}

/* ---- decisions ---- */

enum how { RANDOM, SEARCH, REPLAY };
static enum how how;
static int bound, preemptions;
static unsigned int odds;	/* RANDOM: one preemption in so many accesses */
static unsigned long total_accesses;

/* SEARCH: what was chosen, and what could have been */
static struct decision {
	s8 nr, chosen, to[MC_THREADS];
	unsigned int at;
} decisions[MAX_DECISIONS];
static unsigned int nr_decisions, prefix;

/* REPLAY: thread, before its access nr at, is interrupted by to */
static struct interruption {
	int tid, to;
	unsigned long at;
} plan[MAX_SWITCHES], made[MAX_SWITCHES];
static unsigned int nr_plan, nr_made, plan_next;

static u64 *states;
static u8 *states_left;
static unsigned long nr_states, nr_searches;

static u64 seed;

static u32 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed >> 16;
}

static unsigned int drawn[256], nr_drawn, next_drawn;

unsigned int mc_random(unsigned int n)
{
	if (how == RANDOM && nr_drawn < ARRAY_SIZE(drawn))
		drawn[nr_drawn++] = rnd();
	return next_drawn < nr_drawn ? drawn[next_drawn++] % n : 0;
}

static void memory_settle(void);

/* An access, or the end of an object: who was about to do what depends on it? */
static void wake(const char *start, const char *end, bool write)
{
	for (int i = 0; i < MC_THREADS; i++) {
		struct thread *t = &threads[i];

		if (t->asleep && (write || t->write) && t->start < end && start < t->end)
			t->asleep = false;
	}
}

/* Was this state there before, with as many preemptions left? Then it is known */
static bool state_seen(bool preempt)
{
	u8 left = bound - preemptions + 1;
	u64 key;
	unsigned int i;

	memory_settle();
	key = mix(memory_hash + nr_searches, 2 * mc_tid + preempt);
	for (i = 0; i < MC_THREADS; i++)
		key = mix(key, threads[i].hash + 4 * threads[i].alive +
			  2 * threads[i].asleep + threads[i].insists);
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
static void decide(const s8 *to, int nr, bool preempt)
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
		if (nr_decisions >= prefix && state_seen(preempt))
			back_to_main(GIVEN_UP);
		d = &decisions[nr_decisions++];
		if (nr_decisions > prefix) {
			d->nr = nr;
			d->chosen = 0;
			d->at = threads[self].at;
			memcpy(d->to, to, nr);
		}
		if (d->at != threads[self].at)
			mc_fail("schedules are not deterministic");
		chosen = d->chosen;
		to = d->to;
	}

	threads[self].asleep = preempt && chosen && how == SEARCH;
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
	s8 to[MC_THREADS];
	int nr = 0;

	if (how == SEARCH && preemptions >= bound)
		return;
	to[nr++] = mc_tid;
	for (int i = 0; i < MC_THREADS; i++)
		if (i != mc_tid && !threads[i].asleep && runnable(i))
			to[nr++] = i;
	decide(to, nr, true);
}

/* The current thread can't go on, or need not if @may_insist */
static void give_way(bool may_insist)
{
	s8 to[MC_THREADS];
	int nr = 0, self = mc_tid;
	bool asleep = false;

	for (int i = 0; i < MC_THREADS; i++) {
		if (i == self || !runnable(i))
			continue;
		if (threads[i].asleep)
			asleep = true;
		else
			to[nr++] = i;
	}
	if (!nr && !may_insist && !runnable(self)) {
		if (asleep)
			back_to_main(GIVEN_UP);
		mc_fail("deadlock: nobody can go on");
	}
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

	enter_stack(NULL, !total_accesses);
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
const char *mc_where(void *pc)
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
		if (!at[0] || strstr(at, "kasan") || strstr(at, "atomic"))
			snprintf(at, sizeof(at), "%s", frame);
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

	printf("  %-7s %-58s %s %s#%u+%#lx\n", mc_thread_names[s->tid], mc_where(s->pc),
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

static const void *watched;
static void (*watch_func)(void);
static bool one_step;	/* no points */

void mc_watch(const void *addr, void (*func)(void))
{
	watched = addr;
	watch_func = func;
	accesses[((char *)addr - MEMORY) / 8] = CONFLICT;
}

/* What was written since memory_hash was settled, and what was there before */
static struct { u64 *at, old; bool shared; } written[64];
static unsigned int nr_written;

/*
 * What a thread has allocated is its own until a pointer to it is stored where
 * others may find it; then all is published that the thread has allocated before.
 */
static void publish(u64 value)
{
	unsigned long off = value - (uintptr_t)MEMORY;
	unsigned int r = off / REGION_SIZE;

	if (off < MEMORY_SIZE && object_at[r][off % REGION_SIZE / 16] > nr_published[r])
		nr_published[r] = nr_objects[r];
}

static __attribute__((no_sanitize_address)) void memory_settle(void)
{
	while (nr_written) {
		u64 *at = written[--nr_written].at;

		publish(*at);
		if (!written[nr_written].shared)
			continue;
		memory_hash -= mix((uintptr_t)at, written[nr_written].old);
		memory_hash += mix((uintptr_t)at, *at);
	}
}

static void note_write(u64 *at, bool shared)
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

/* Two writers have mmap_lock, and so a barrier, between them */
static bool written_by_others(u16 access)
{
	unsigned long by = mc_tid == MC_READER ? BY_ANY & ~BIT(MC_READER) : BIT(MC_READER);

	return access & WRITES * by;
}

/* Another thread's access to the same memory, and not both only read? */
static bool note_conflict(u16 *access, unsigned long what)
{
	unsigned long all = WRITES | FREES | (what == READS ? 0 : READS);

	if (!(*access & CONFLICT) && *access & all * (BY_ANY & ~BIT(running))) {
		*access |= CONFLICT;
		new_conflict = true;
	}
	*access |= what << running;
	return *access & CONFLICT;
}

/* As if all of it was written to; in one step with the access before */
static void note_free(const struct object *o)
{
	if (running < 0)
		return;
	for (unsigned long i = 0; i < o->size; i += 8)
		note_conflict(&accesses[(o->start + i - MEMORY) / 8], FREES);
	wake(o->start, o->start + o->size, true);
}

static void hook(const void *p, unsigned int size, enum mc_kind kind, void *pc)
{
	bool read = kind != MC_STORE, write = kind != MC_LOAD;
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
		shared |= note_conflict(&accesses[i], write ? WRITES : READS);
	if (!shared) {
		for (i = first; write && i <= last; i++)
			note_write((u64 *)MEMORY + i, false);
		return;
	}

	if (!one_step) {
		t->start = addr;
		t->end = addr + size;
		t->write = write;
		point();
	}
	wake(addr, addr + size, write);

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
		u64 *at = (u64 *)MEMORY + i;

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

static bool is_shared(const void *p)
{
	return mc_tid >= 0 && (unsigned long)((char *)p - MEMORY) < MEMORY_SIZE;
}

void mc_access(const void *p, unsigned int size, enum mc_kind kind, void *pc)
{
	if (is_shared(p))
		hook(p, size, kind, pc);
}

void *__wrap_memcpy(void *to, const void *from, size_t n)
{
	for (size_t i = 0, len; i < n; i += len) {
		len = min(n - i, 8ul);
		mc_access((char *)from + i, len, MC_LOAD, __builtin_return_address(0));
		mc_access((char *)to + i, len, MC_STORE, __builtin_return_address(0));
		__real_memcpy((char *)to + i, (char *)from + i, len);
	}
	return to;
}

void *__wrap_memset(void *to, int c, size_t n)
{
	for (size_t i = 0, len; i < n; i += len) {
		len = min(n - i, 8ul);
		mc_access((char *)to + i, len, MC_STORE, __builtin_return_address(0));
		__real_memset((char *)to + i, c, len);
	}
	return to;
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
static unsigned long schedules, all_schedules;

static void run(void)
{
	memory_reset();
	nr_decisions = 0;
	nr_made = 0;
	plan_next = 0;
	next_drawn = 0;
	if (how == RANDOM)
		nr_drawn = 0;
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
				      .alive = thread_mask & BIT(i) };
	}
	world_begin();
	mc_tid = __builtin_ctz(thread_mask);
	running = mc_tid;
	mc_running(mc_tid);
	jump(&main_sp, threads[mc_tid].sp, threads[mc_tid].stack);
	schedules++;
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

static void progress(const char *what)
{
	static double next = 10;

	if (now() < next)
		return;
	next = now() + 10;
	printf("# %.0f s, %lu schedules: %s\n", now(), all_schedules + schedules, what);
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

/*
 * All schedules with at most @bound preemptions, but not many more than @limit.
 * Have they all been explored?
 */
static bool search(const char *name, unsigned long limit)
{
	how = SEARCH;
	limit += schedules;
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
		if (schedules >= limit)
			return !next_schedule();
		if (!(schedules & 1023))
			progress(name);
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

/*
 * Search for a failure with few preemptions, leave out whatever is not needed for it,
 * and show it.
 */
static void report(const struct mc_scenario *s)
{
	static struct interruption keep[MAX_SWITCHES], try[MAX_SWITCHES];
	bool random = how == RANDOM, shorter;
	unsigned int n = nr_made, i;

	memcpy(keep, made, n * sizeof(*keep));
	for (bound = 0; random && bound <= 3; bound++) {
		if (search(s->name, 200000) || outcome != FAILED)
			continue;
		n = nr_made;
		memcpy(keep, made, n * sizeof(*keep));
		break;
	}
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
	unsigned long schedules;
	int bounds;		/* explored with less preemptions than this */
	bool failed;
} results[16384];

/*
 * The schedules of a scenario: @nr_random at random, and not many more than @limit of
 * those with at most @max_bound preemptions.
 */
static bool explore(const struct mc_scenario *s, struct result *r, int max_bound,
		    unsigned long nr_random, unsigned long limit)
{
	schedules = 0;
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
	seed = 88172645463325252;
	for (unsigned long i = 0; i < nr_random && outcome != FAILED; i++) {
		odds = 2 << rnd() % 8;
		run();
	}
	bound = max_bound;
	if (outcome != FAILED)
		nr_drawn = 0;
	if (outcome != FAILED && search(s->name, limit))
		r->bounds = bound + 1;
	r->failed = outcome == FAILED;
	r->schedules += schedules;
	all_schedules += schedules;
	schedules = 0;
	if (r->failed)
		report(s);
	return !r->failed;
}

/* With few preemptions first. Returns how many fail */
static int explore_all(const char *prefix, int max_bound, unsigned long nr_random,
		       unsigned long limit, bool first_only)
{
	const struct mc_scenario *s;
	struct result *r;
	int b, failed = 0;

	for (b = 0; b <= max_bound; b++) {
		for (r = results; (s = world_scenario(r - results)); r++) {
			/* Has failed, or there were too many with less */
			if (strncmp(s->name, prefix, strlen(prefix)) || r->failed ||
			    r->bounds != b)
				continue;
			progress(s->name);
			failed += !explore(s, r, b, b ? 0 : nr_random,
					   b ? limit / b / b : ULONG_MAX / 2);
			if (failed && first_only)
				return failed;
		}
	}
	return failed;
}

static void summary(int max_bound, bool verbose)
{
	unsigned int nr = 0, complete[max_bound + 1];
	const struct mc_scenario *s;
	struct result *r;
	int b;

	memset(complete, 0, sizeof(complete));
	for (r = results; (s = world_scenario(r - results)); r++) {
		if (!r->schedules)
			continue;
		nr++;
		for (b = 0; b < r->bounds; b++)
			complete[b]++;
		if (verbose)
			printf("%-28s %8lu schedules, %s %d preemptions\n", s->name,
			       r->schedules, r->failed ? "FAILED," : "all with up to",
			       r->bounds - 1);
	}
	for (b = 0; b <= max_bound; b++)
		printf("all schedules with up to %d preemptions: %u of %u scenarios\n", b,
		       complete[b], nr);
}

/* But for assertions that a lock is held, which others can't change */
static int print_overtaking(void)
{
	int n = 0;

	for (unsigned int i = 0; knows_assertions && i < nr_overtaking; i++) {
		const char *at = mc_where(overtaking[i]);

		if (strstr(at, "rwsem_"))
			continue;
		printf("may overtake a store of the same CPU: %s\n", at);
		n++;
	}
	return n;
}

int main(int argc, char **argv)
{
	static char alt_stack[65536];
	struct sigaction sa = { .sa_sigaction = crash,
				.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };
	stack_t alt = { .ss_sp = alt_stack, .ss_size = sizeof(alt_stack) };
	unsigned long nr_random = 500, limit = ULONG_MAX / 2;
	bool first_only = false, verbose = false;
	int opt, max_bound = 2, failed, overtaking;
	unsigned int nr_worlds = 30;

	while ((opt = getopt(argc, argv, "1b:n:r:s:v")) != -1) {
		if (opt == 'b')
			max_bound = atoi(optarg);
		else if (opt == 'r')
			nr_random = strtoul(optarg, NULL, 0);
		else if (opt == 'n')
			limit = strtoul(optarg, NULL, 0);
		else if (opt == 's')
			nr_worlds = strtoul(optarg, NULL, 0);
		else if (opt == '1')
			first_only = true;
		else if (opt == 'v')
			verbose = true;
		else
			return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaltstack(&alt, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);

	if (mmap(MEMORY, MEMORY_SIZE + MC_THREADS * STACK_SIZE, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) != MEMORY)
		return 2;
	states = calloc(STATES, sizeof(*states));
	states_left = calloc(STATES, 1);
	for (int i = 0; i < MC_THREADS; i++)
		threads[i].stack = MEMORY + MEMORY_SIZE + i * STACK_SIZE;
	memory_setup_begin();
	world_init(nr_worlds);

	failed = explore_all(optind < argc ? argv[optind] : "", max_bound, nr_random, limit,
			     first_only);
	summary(max_bound, verbose);
	overtaking = print_overtaking();
	printf("%lu schedules, %.0f s, %d loads that may overtake a store, %d failed\n",
	       all_schedules, now(), overtaking, failed);
	return failed || overtaking || !all_schedules;
}
