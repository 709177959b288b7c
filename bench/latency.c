// SPDX-License-Identifier: GPL-2.0
/*
 * latency - how long a process waits in its own system calls while others read its
 * files in /proc, against how long it waits while they read those of a decoy
 *
 * The target makes --calls without pause and measures each with CLOCK_MONOTONIC.  The
 * decoy is made like it, with the same mappings at the same addresses, and is stopped.
 * --readers processes at --nice 15 read /proc/PID/FILE from start to end and start again,
 * without pause, and --busyloops processes at nice 0 compute for --busyduration ms by
 * the clock and sleep for 1 ms, so that they keep preempting the readers.  The target
 * is on CPU 0, all others are on CPU 1; with --spread the target runs on both, and the
 * readers, and the busy loops, are on CPU 0 and 1 in turn.
 *
 * Periods of --seconds come in --pairs: in one period of a pair the same readers read
 * the target's file, in the other the decoy's, in an order that is drawn by --seed.  So
 * the load on the CPUs is the same in both, but in the second no reader is in the
 * target's way.  A period begins when each reader has ended a read that it began after
 * the change.  With --no-decoy there are only the target's periods.
 *
 * FILE is read by read() of 64 KiB (of 4 KiB with --calls whole), except
 *
 *	pagemap			the entries of all that was mapped at the start, by
 *				preads of 64 KiB (32 MiB of addresses)
 *	PROCMAP_QUERY:name	that ioctl for one VMA after the other, with its name
 *	PROCMAP_QUERY:gap	that ioctl for an unmapped address
 *	PAGEMAP_SCAN		that ioctl for all pages that are present, of all
 *				addresses
 *	mem			the memory of --resident, by preads of 64 KiB
 *	process_vm_readv	the same by that call
 *	mem:word		the first 8 bytes of the mapping of --calls
 *	process_vm_readv:word	the same by that call
 *	mem:gap			8 bytes at an unmapped address
 *	maps:cat		for each pass cat is forked and executed, to /dev/null
 *
 * --calls are, in a VMA of --filled MiB, full of 4 KiB pages, that merges with no other:
 *
 *	pages	munmap() of a page, mmap() of it; one page after the other of a VMA of
 *		128 MiB without any
 *	random	the same of a random page of 128 MiB, all populated by MAP_POPULATE,
 *		then 10 us of sleep
 *	brk	brk() by a page more, and by a page less; the VMA is the heap
 *	behind	mmap() of a page right after the VMA, and munmap() of it
 *	last	mprotect() of the last page of the VMA, to read-only and back
 *	whole	mprotect() of all of it, likewise: mmap_lock is held for write all the
 *		time.  There --big GIB says how large the VMA is.  The readers stop
 *		below it, those of text some before the end of the --vmas VMAs, which are
 *		the lowest, as a read() formats more than it returns.
 *	fork	fork(); the child ends at once, and is waited for before the next
 *	fork2	the same of a process with two threads
 *	fault	the first write to a page, by two threads, each in its half of the VMA,
 *		from start to end; then madvise(MADV_DONTNEED) of the half
 *
 * Definitions.  A pair of calls, and a read, belongs to the period in which it begins, and
 * the time of a thread in a period is that of these and of the code between them.  Whether
 * a period ends is decided between pairs, so that long calls are not counted too often
 * (the ratio of the sums has no bias, by Wald's identity).  With d the time of a call, T
 * the time of all threads, and x = 1, 4, 16 ms:
 *
 *	S(x)	sum of d of the calls with d >= x, over T: the share of its time that
 *		the target spends in calls of x and longer
 *	W(x)	sum of max(d - x, 0) over T: the share of its time that the target
 *		spends in a call beyond the first x of it
 *
 * and for the readers the bytes that reads have returned, over the time of a reader,
 * times their number.
 *
 * Output: a line "begin", and a line "over" when all periods are over; a line "run" and
 * key=value pairs; a line "period" for each, where thread_ns is T, over_ and excess_ are
 * the sums above, in ns, and read_ns is the time of all readers; then the calls of all
 * periods by how long they took,
 *
 *	LOW TARGET_CALLS TARGET_NS DECOY_CALLS DECOY_NS
 *
 * which are those that took at least LOW ns and less than the next bucket, which begins
 * at most 1/32 (3 %) higher, and what they took together; then a line "end".
 *
 * Errors: 1 if the measurement could not be made (the reason is on stderr), 2 for a
 * wrong command line.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/fs.h>
#include <linux/types.h>
#include "common.h"

#define REGION		(128UL << 20)
#define READ_SIZE	(64UL << 10)
#define MAX_RANGES	1024
#define USER_END	((1UL << 47) - PAGE)
#define SLEEP_NS	1000000
#define PAUSE_NS	10000
#define LOW		(1UL << 32)	/* where --vmas are with --calls whole */
#define LOW_UNREAD	256UL	/* more VMAs than a read() of 4 KiB shows or formats */
#define MAX_PAIRS	100
#define MAX_CHILDREN	32
#define START_SECONDS	60
#define NSEC		1000000000ULL

#define SUB_BITS	5
#define SUB_BUCKETS	32	/* 1 << SUB_BITS */
#define BUCKETS		((64 - SUB_BITS) * SUB_BUCKETS)

/* Whose files are read; of the time between two periods nothing is printed. */
enum side { TARGET, DECOY, BETWEEN, SIDES };

static const unsigned int limits_ms[] = { 1, 4, 16 };

#define LIMITS		(sizeof(limits_ms) / sizeof(*limits_ms))

/* What a thread of the target has done in a phase. */
struct calls {
	__u64 calls;
	__u64 time;		/* of the thread */
	__u64 sum;		/* of the calls */
	__u64 max;
	__u64 over[LIMITS];
	__u64 excess[LIMITS];
};

/* What a child has done in a phase; it alone writes it. */
struct progress {
	__u64 rounds;		/* passes over the file, or busy periods */
	__u64 reads;
	__u64 bytes;
	__u64 time;
	__u64 max;		/* the longest */
};

struct phase {
	struct calls calls[2];
	struct progress progress[MAX_CHILDREN];
};

struct histogram {
	__u64 calls[BUCKETS];
	__u64 ns[BUCKETS];
};

/* Where in a process what readers ask for is. */
struct place {
	char *start;		/* the VMA of --calls */
	char *resident;		/* the memory of --resident */
};

/*
 * What all processes share.  Phase 2 * i + 1 is period i, 2 * i the time before it in
 * which the readers change over, and the last one lets what began in a period end.
 */
struct shared {
	unsigned int phase;
	enum side side[2 * MAX_PAIRS + 1];
	struct place places[2];
	struct histogram histogram[2][SIDES];	/* of each thread */
	struct phase phases[4 * MAX_PAIRS + 1];
};

/* A thread of the target, and the part of the VMA that it changes. */
struct caller {
	unsigned int id;
	char *start;
	char *end;
	char *at;
	pid_t forked;
	__u64 last;		/* when its last call ended */
};

struct call_kind {
	const char *name;
	void (*first)(struct caller *caller);
	void (*second)(struct caller *caller);	/* may be NULL */
	void (*next)(struct caller *caller);	/* not measured, may be NULL */
};

static struct {
	unsigned int readers;
	int nice;
	unsigned int busyloops;
	double busyduration;
	unsigned int pairs;
	double seconds;
	unsigned int seed;
	const char *file;
	unsigned int vmas;
	unsigned int resident;
	unsigned int big;
	unsigned int filled;
	bool spread;
	bool no_decoy;
} opt = {
	.readers = 2,
	.nice = 15,
	.busyloops = 2,
	.busyduration = 2,
	.pairs = 4,
	.seconds = 0.5,
	.seed = 1,
	.file = "maps",
	.filled = 4,
};

static struct shared *shared;
static unsigned int nr_periods;
static const struct call_kind *kind;
static struct caller callers[2];	/* the second has a use for fault and fork2 only */
static pid_t children[2 + MAX_CHILDREN];	/* target and decoy first */
static unsigned int nr_children;

static bool calls_are(const char *what)
{
	return !strcmp(kind->name, what);
}

static void pin(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		err(1, "CPU %d: two CPUs, 0 and 1, are needed", cpu);
}

/* Values below SUB_BUCKETS have a bucket each, then each octave has as many. */
static unsigned int bucket_of(__u64 ns)
{
	unsigned int shift;

	if (ns < SUB_BUCKETS)
		return ns;
	shift = 63 - __builtin_clzll(ns) - SUB_BITS;
	return (shift << SUB_BITS) + (ns >> shift);
}

static __u64 bucket_low(unsigned int bucket)
{
	unsigned int shift;

	if (bucket < SUB_BUCKETS)
		return bucket;
	shift = (bucket >> SUB_BITS) - 1;
	return (__u64)(SUB_BUCKETS + bucket % SUB_BUCKETS) << shift;
}

static unsigned int current_phase(void)
{
	return __atomic_load_n(&shared->phase, __ATOMIC_RELAXED);
}

/* Add a call of a thread, which began in @phase. */
static void count_call(struct caller *caller, unsigned int phase, __u64 start, __u64 end)
{
	enum side side = phase % 2 ? shared->side[phase / 2] : BETWEEN;
	struct histogram *histogram = &shared->histogram[caller->id][side];
	struct calls *calls = &shared->phases[phase].calls[caller->id];
	__u64 ns = end - start;
	unsigned int i;

	__atomic_store_n(&calls->calls, calls->calls + 1, __ATOMIC_RELAXED);
	calls->time += end - caller->last;
	caller->last = end;
	calls->sum += ns;
	if (ns > calls->max)
		calls->max = ns;
	for (i = 0; i < LIMITS; i++) {
		__u64 limit = limits_ms[i] * 1000000ULL;

		if (ns < limit)
			break;
		calls->over[i] += ns;
		calls->excess[i] += ns - limit;
	}
	histogram->calls[bucket_of(ns)]++;
	histogram->ns[bucket_of(ns)] += ns;
}

static void *map_at(void *at, size_t size, int prot, int flags)
{
	void *p = mmap(at, size, prot, flags, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap of %zu bytes", size);
	return p;
}

static void *map(size_t size, int prot, int flags)
{
	return map_at(NULL, size, prot, MAP_ANONYMOUS | flags);
}

static void protect(void *p, size_t size, int prot)
{
	if (!mprotect(p, size, prot))
		return;
	if (errno == ENOMEM)
		errx(1, "too many VMAs, raise the sysctl vm.max_map_count");
	err(1, "mprotect");
}

static void unmap(void *p, size_t size)
{
	if (munmap(p, size))
		err(1, "munmap");
}

static void sleep_ns(long ns)
{
	nanosleep(&(struct timespec){ .tv_nsec = ns }, NULL);
}

static void unmap_page(struct caller *caller)
{
	unmap(caller->at, PAGE);
}

static void map_page(struct caller *caller)
{
	map_at(caller->at, PAGE, PROT_READ | PROT_WRITE,
	       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
}

static void next_page(struct caller *caller)
{
	caller->at += PAGE;
	if (caller->at == caller->end)
		caller->at = caller->start;
}

static void map_filled_page(struct caller *caller)
{
	map_at(caller->at, PAGE, PROT_READ | PROT_WRITE,
	       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE);
}

static void random_page(struct caller *caller)
{
	sleep_ns(PAUSE_NS);
	caller->at = caller->start + random() % ((caller->end - caller->start) / PAGE) * PAGE;
}

static void grow_heap(struct caller *caller)
{
	if (brk(caller->end + PAGE))
		err(1, "brk");
}

static void shrink_heap(struct caller *caller)
{
	if (brk(caller->end))
		err(1, "brk");
}

static void map_behind(struct caller *caller)
{
	map_at(caller->end, PAGE, PROT_READ | PROT_WRITE,
	       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
}

static void unmap_behind(struct caller *caller)
{
	unmap(caller->end, PAGE);
}

static void protect_last(struct caller *caller)
{
	protect(caller->end - PAGE, PAGE, PROT_READ);
}

static void unprotect_last(struct caller *caller)
{
	protect(caller->end - PAGE, PAGE, PROT_READ | PROT_WRITE);
}

static void protect_whole(struct caller *caller)
{
	protect(caller->start, caller->end - caller->start, PROT_READ);
}

static void unprotect_whole(struct caller *caller)
{
	protect(caller->start, caller->end - caller->start, PROT_READ | PROT_WRITE);
}

static void fork_child(struct caller *caller)
{
	caller->forked = syscall(SYS_fork);
	if (!caller->forked)
		_exit(0);
	if (caller->forked < 0)
		err(1, "fork");
}

static void wait_for_child(struct caller *caller)
{
	if (waitpid(caller->forked, NULL, 0) != caller->forked)
		err(1, "waitpid");
}

static void touch_page(struct caller *caller)
{
	__atomic_store_n(caller->at, 1, __ATOMIC_RELAXED);
}

static void next_absent_page(struct caller *caller)
{
	next_page(caller);
	if (caller->at == caller->start &&
	    madvise(caller->start, caller->end - caller->start, MADV_DONTNEED))
		err(1, "madvise");
}

static const struct call_kind kinds[] = {
	{ "pages", unmap_page, map_page, next_page },
	{ "random", unmap_page, map_filled_page, random_page },
	{ "brk", grow_heap, shrink_heap, NULL },
	{ "behind", map_behind, unmap_behind, NULL },
	{ "last", protect_last, unprotect_last, NULL },
	{ "whole", protect_whole, unprotect_whole, NULL },
	{ "fork", fork_child, NULL, wait_for_child },
	{ "fork2", fork_child, NULL, wait_for_child },
	{ "fault", touch_page, NULL, next_absent_page },
};

#define KINDS		(sizeof(kinds) / sizeof(*kinds))

/* Make the calls of @kind once, and return when they have ended. */
static __u64 make_calls(struct caller *caller)
{
	unsigned int phase = current_phase();
	__u64 start = now_ns(), end;

	kind->first(caller);
	end = now_ns();
	count_call(caller, phase, start, end);
	if (kind->second) {
		kind->second(caller);
		start = end;
		end = now_ns();
		count_call(caller, phase, start, end);
	}
	if (kind->next)
		kind->next(caller);
	return end;
}

/* Has each thread and reader done something that it began in this phase? */
static bool all_began(unsigned int phase)
{
	const struct phase *done = &shared->phases[phase];
	unsigned int i;

	for (i = 0; i < opt.readers; i++) {
		if (!__atomic_load_n(&done->progress[i].reads, __ATOMIC_RELAXED))
			return false;
	}
	return !calls_are("fault") || __atomic_load_n(&done->calls[1].calls, __ATOMIC_RELAXED);
}

static void begin_phase(unsigned int phase)
{
	__atomic_store_n(&shared->phase, phase, __ATOMIC_RELAXED);
}

static void change_over(unsigned int phase)
{
	__u64 deadline = now_ns() + START_SECONDS * NSEC;

	begin_phase(phase);
	do {
		if (make_calls(callers) > deadline)
			errx(1, "a reader of %s has not ended a read in %d s", opt.file,
			     START_SECONDS);
	} while (!all_began(phase));
}

static void measure_period(unsigned int phase)
{
	__u64 end = now_ns() + opt.seconds * NSEC;

	begin_phase(phase);
	while (make_calls(callers) < end)
		;
}

static pthread_mutex_t second_thread_held = PTHREAD_MUTEX_INITIALIZER;

static void *second_thread(void *arg)
{
	pthread_mutex_lock(&second_thread_held);
	while (calls_are("fork2"))
		pause();
	callers[1].last = now_ns();
	for (;;)
		make_calls(&callers[1]);
	return arg;
}

static void add_vmas(unsigned int vmas)
{
	unsigned int i;
	char *p;

	if (!vmas)
		return;
	p = map_at(calls_are("whole") ? (void *)LOW : NULL, vmas * PAGE, PROT_NONE,
		   MAP_PRIVATE | MAP_ANONYMOUS);
	for (i = 1; i < vmas; i += 2)
		protect(p + i * PAGE, PAGE, PROT_READ);
}

/*
 * The VMA of --calls: what is before and behind does not merge with it, and it has no
 * flags that a page behind it would not have.
 */
static void map_calls(void)
{
	bool sparse = calls_are("whole") && opt.big;
	size_t size = (size_t)opt.filled << 20, step = PAGE, offset;
	char *p;

	if (calls_are("pages") || calls_are("random"))
		size = REGION;
	if (sparse) {
		size = (size_t)opt.big << 30;
		step = size / (opt.filled << 8) / PAGE * PAGE;
	}
	if (calls_are("brk")) {
		/* A page that does not merge, then the rest of the heap */
		p = sbrk(0);
		p += -(uintptr_t)p % PAGE;
		if (brk(p + PAGE) || brk(p + PAGE + size))
			err(1, "brk by %zu bytes", size);
		protect(p, PAGE, PROT_READ);
		p += PAGE;
	} else {
		p = map(size + 3 * PAGE, PROT_NONE, MAP_PRIVATE | (sparse ? MAP_NORESERVE : 0));
		p += PAGE;
		protect(p, size, PROT_READ | PROT_WRITE);
		unmap(p + size, PAGE);
	}
	for (offset = 0; !calls_are("pages") && offset < size; offset += step)
		p[offset] = 1;
	callers[0].start = p;
	callers[0].end = p + size;
	if (calls_are("fault")) {
		callers[0].end = p + size / 2 / PAGE * PAGE;
		callers[1].id = 1;
		callers[1].start = callers[0].end;
		callers[1].at = callers[0].end;
		callers[1].end = p + size;
		if (madvise(p, size, MADV_DONTNEED))
			err(1, "madvise");
	}
	callers[0].at = callers[0].start;
}

/*
 * The target, and the decoy, which stays stopped.  Nothing but the calls shall enter the
 * kernel while they are measured, hence mlockall(); what they are made in is not locked.
 */
static void target(unsigned int side)
{
	struct place *place = &shared->places[side];
	pthread_t thread;
	unsigned int i;

	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		err(1, "PR_SET_THP_DISABLE");
	if (!opt.spread)
		pin(0);
	add_vmas(opt.vmas);
	if (opt.resident)
		place->resident = map((size_t)opt.resident << 20, PROT_READ | PROT_WRITE,
				      MAP_PRIVATE);
	if (mlockall(MCL_CURRENT))
		warn("mlockall (goes on: page faults may be in the times)");
	map_calls();
	pthread_mutex_lock(&second_thread_held);
	if ((calls_are("fork2") || calls_are("fault")) &&
	    pthread_create(&thread, NULL, second_thread, NULL))
		errx(1, "pthread_create");
	place->start = callers[0].start;
	raise(SIGSTOP);

	pthread_mutex_unlock(&second_thread_held);
	callers[0].last = now_ns();
	for (i = 0; i < nr_periods; i++) {
		change_over(2 * i);
		measure_period(2 * i + 1);
	}
	change_over(2 * nr_periods);
	raise(SIGSTOP);		/* there is something to read until the readers have ended */
}

static char buf[READ_SIZE + 1];

/* What the target has mapped; VMAs side by side make one range. */
struct range {
	__u64 start;
	__u64 end;
};

static struct range ranges[MAX_RANGES];
static unsigned int nr_ranges;

/* Of a reader or busy loop: its phase, what it has done there, when its last read ended. */
static unsigned int me;
static unsigned int my_phase;
static struct progress *done;
static __u64 last_end;

static void enter_phase(void)
{
	my_phase = current_phase();
	done = &shared->phases[my_phase].progress[me];
}

/* Count a read.  Return false if the next is to be one of the other side. */
static bool count_read(__u64 bytes)
{
	unsigned int phase = my_phase;
	__u64 now = now_ns(), ns = now - last_end;

	last_end = now;
	done->bytes += bytes;
	done->time += ns;
	if (ns > done->max)
		done->max = ns;
	__atomic_store_n(&done->reads, done->reads + 1, __ATOMIC_RELAXED);
	enter_phase();
	return my_phase / 2 == phase / 2;
}

/*
 * The passes over a file, by a descriptor or PID.  Each returns false if it has not come
 * to the end.
 */
static bool read_all(int fd)
{
	bool whole = calls_are("whole"), more = true;
	ssize_t len;

	while (more) {
		len = read(fd, buf, whole ? PAGE : READ_SIZE);
		if (len < 0)
			err(1, "reading %s", opt.file);
		if (!len)
			break;
		buf[len] = '\0';
		more = count_read(len);
		/* What has been read begins with an address */
		if (whole && strtoull(buf, NULL, 16) + LOW_UNREAD * PAGE >= LOW + opt.vmas * PAGE)
			break;
	}
	if (lseek(fd, 0, SEEK_SET))
		err(1, "lseek of %s", opt.file);
	return more;
}

static bool read_from_to(int fd, __u64 at, __u64 end)
{
	ssize_t len;

	for (; at < end; at += len) {
		len = pread(fd, buf, end - at < READ_SIZE ? end - at : READ_SIZE, at);
		if (len < 0)
			err(1, "reading %s at %#llx", opt.file, at);
		if (!len)
			errx(1, "%s ended at %#llx", opt.file, at);
		if (!count_read(len))
			return false;
	}
	return true;
}

static bool read_pagemap(int fd)
{
	unsigned int i;

	for (i = 0; i < nr_ranges; i++) {
		if (!read_from_to(fd, ranges[i].start / PAGE * sizeof(__u64),
				  ranges[i].end / PAGE * sizeof(__u64)))
			return false;
	}
	return true;
}

static bool read_mem(int fd)
{
	__u64 start = (uintptr_t)shared->places[TARGET].resident;

	return read_from_to(fd, start, start + ((__u64)opt.resident << 20));
}

static bool read_remote(pid_t pid, char *at, size_t size)
{
	struct iovec local = { buf, size }, remote = { at, size };

	if (process_vm_readv(pid, &local, 1, &remote, 1, 0) != (ssize_t)size)
		err(1, "process_vm_readv at %p", at);
	return count_read(size);
}

static bool read_remote_mem(int pid)
{
	char *at = shared->places[TARGET].resident, *end = at + ((size_t)opt.resident << 20);

	for (; at < end; at += READ_SIZE) {
		if (!read_remote(pid, at, READ_SIZE))
			return false;
	}
	return true;
}

static bool read_remote_word(int pid)
{
	return read_remote(pid, shared->places[TARGET].start, sizeof(__u64));
}

static bool read_word(int fd)
{
	__u64 at = (uintptr_t)shared->places[TARGET].start;

	return read_from_to(fd, at, at + sizeof(__u64));
}

static bool read_gap(int fd)
{
	if (pread(fd, buf, sizeof(__u64), PAGE) >= 0)
		errx(1, "there is something at %#lx", PAGE);
	return count_read(sizeof(__u64));
}

static bool query_all(int fd)
{
	struct procmap_query query = { .size = sizeof(query) };

	query.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA;
	do {
		query.query_addr = query.vma_end;
		query.vma_name_addr = (uintptr_t)buf;
		query.vma_name_size = PAGE;
		if (ioctl(fd, PROCMAP_QUERY, &query)) {
			if (errno != ENOENT)
				err(1, "PROCMAP_QUERY");
			return true;
		}
		if (calls_are("whole") && query.vma_end >= LOW + opt.vmas * PAGE)
			return true;
	} while (count_read(sizeof(query) + query.vma_name_size));
	return false;
}

static bool query_gap(int fd)
{
	struct procmap_query query = { .size = sizeof(query), .query_addr = PAGE };

	if (!ioctl(fd, PROCMAP_QUERY, &query) || errno != ENOENT)
		errx(1, "PROCMAP_QUERY has found something at %#lx", PAGE);
	return count_read(sizeof(query));
}

static bool scan_all(int fd)
{
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.end = USER_END,
		.vec = (uintptr_t)buf,
		.vec_len = READ_SIZE / sizeof(struct page_region),
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};
	int regions;

	do {
		regions = ioctl(fd, PAGEMAP_SCAN, &scan);
		if (regions < 0)
			err(1, "PAGEMAP_SCAN");
		if (!count_read(regions * sizeof(struct page_region)))
			return false;
		scan.start = scan.walk_end;
	} while (scan.start < scan.end);
	return true;
}

/* The bytes are not known here; a scan counts as one. */
static bool cat_maps(int pid)
{
	char path[64];
	char * const argv[] = { "cat", path, NULL };
	posix_spawn_file_actions_t actions;
	int status;
	pid_t cat;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	errno = posix_spawnp(&cat, argv[0], &actions, NULL, argv, environ);
	if (errno)
		err(1, "cat");
	posix_spawn_file_actions_destroy(&actions);
	if (waitpid(cat, &status, 0) != cat || status)
		errx(1, "cat %s has failed", path);
	return count_read(1);
}

static const struct {
	const char *name;
	const char *file;	/* NULL: it is given the PID */
	bool (*pass)(int fd);
} ways[] = {
	{ "pagemap", "pagemap", read_pagemap },
	{ "PROCMAP_QUERY:name", "maps", query_all },
	{ "PROCMAP_QUERY:gap", "maps", query_gap },
	{ "PAGEMAP_SCAN", "pagemap", scan_all },
	{ "mem", "mem", read_mem },
	{ "mem:word", "mem", read_word },
	{ "mem:gap", "mem", read_gap },
	{ "process_vm_readv", NULL, read_remote_mem },
	{ "process_vm_readv:word", NULL, read_remote_word },
	{ "maps:cat", NULL, cat_maps },
};

#define WAYS		(sizeof(ways) / sizeof(*ways))

static void reader(unsigned int number)
{
	const char *file = opt.file;
	bool (*pass)(int fd) = read_all;
	unsigned int i;
	int fds[2];

	me = number;
	for (i = 0; i < WAYS; i++) {
		if (!strcmp(opt.file, ways[i].name)) {
			file = ways[i].file;
			pass = ways[i].pass;
		}
	}
	for (i = 0; i < 2; i++)
		fds[i] = file ? open_file(children[i], file) : children[i];
	if (setpriority(PRIO_PROCESS, 0, opt.nice))
		err(1, "setpriority");
	last_end = now_ns();
	enter_phase();
	for (;;) {
		if (pass(fds[shared->side[my_phase / 2]]))
			done->rounds++;
	}
}

static void busy_loop(unsigned int number)
{
	__u64 end;

	me = opt.readers + number;
	for (;;) {
		enter_phase();
		end = now_ns() + opt.busyduration * 1000000;
		while (now_ns() < end)
			;
		done->rounds++;
		sleep_ns(SLEEP_NS);
	}
}

static void end_children(void)
{
	while (nr_children) {
		kill(children[--nr_children], SIGKILL);
		waitpid(children[nr_children], NULL, 0);
	}
}

/* @cpu: that on which it stays, if not negative. */
static void start_child(void (*work)(unsigned int), unsigned int number, int cpu)
{
	pid_t parent = getpid();
	pid_t pid;

	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid) {
		children[nr_children++] = pid;
		return;
	}
	nr_children = 0;	/* the others are not this child's to end */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(1);
	if (cpu >= 0)
		pin(cpu);
	work(number);
}

/* Wait until the target, or decoy, has made its mappings and stopped. */
static void wait_for_stop(enum side side)
{
	siginfo_t info;

	if (waitid(P_PID, children[side], &info, WSTOPPED | WEXITED | WNOWAIT))
		err(1, "waitid");
	if (info.si_code != CLD_STOPPED)
		errx(1, "the %s could not make its mappings", side == TARGET ? "target" : "decoy");
	waitid(P_PID, children[side], &info, WSTOPPED);
}

static unsigned int find_ranges(pid_t pid, struct range *found)
{
	FILE *maps = fdopen(open_file(pid, "maps"), "r");
	unsigned long start, end;
	unsigned int n = 0;

	while (fscanf(maps, "%lx-%lx%*[^\n]", &start, &end) == 2 && end <= USER_END) {
		if (!n || start != found[n - 1].end) {
			if (n == MAX_RANGES)
				errx(1, "the target has more than %d ranges of VMAs", MAX_RANGES);
			found[n++].start = start;
		}
		found[n - 1].end = end;
	}
	fclose(maps);
	return n;
}

/* The readers ask both for the same addresses. */
static void compare_sides(void)
{
	static struct range others[MAX_RANGES];

	nr_ranges = find_ranges(children[TARGET], ranges);
	if (find_ranges(children[DECOY], others) != nr_ranges ||
	    memcmp(ranges, others, sizeof(ranges)) ||
	    memcmp(&shared->places[TARGET], &shared->places[DECOY], sizeof(struct place)))
		errx(1, "target and decoy have different mappings");
}

static void draw_order(void)
{
	unsigned int i;

	srandom(opt.seed);
	for (i = 0; i < opt.pairs; i++) {
		if (opt.no_decoy) {
			shared->side[nr_periods++] = TARGET;
			continue;
		}
		shared->side[nr_periods] = random() >> 16 & 1 ? TARGET : DECOY;
		shared->side[nr_periods + 1] = !shared->side[nr_periods];
		nr_periods += 2;
	}
}

static void print_run(void)
{
	printf("run file=%s calls_are=%s readers=%u nice=%d busyloops=%u busyduration_ms=%g",
	       opt.file, kind->name, opt.readers, opt.nice, opt.busyloops, opt.busyduration);
	printf(" spread=%u vmas=%u resident_mib=%u filled_mib=%u big_gib=%u", opt.spread,
	       opt.vmas, opt.resident, opt.filled, opt.big);
	printf(" pairs=%u seconds=%g seed=%u\n", opt.pairs, opt.seconds, opt.seed);
}

static void print_period(unsigned int period)
{
	const struct phase *phase = &shared->phases[2 * period + 1];
	const struct calls *second = &phase->calls[1];
	struct calls calls = phase->calls[0];
	struct progress readers = {};
	__u64 busyperiods = 0;
	unsigned int i;

	calls.calls += second->calls;
	calls.time += second->time;
	calls.sum += second->sum;
	if (second->max > calls.max)
		calls.max = second->max;
	for (i = 0; i < opt.readers; i++) {
		const struct progress *progress = &phase->progress[i];

		readers.rounds += progress->rounds;
		readers.reads += progress->reads;
		readers.bytes += progress->bytes;
		readers.time += progress->time;
		if (progress->max > readers.max)
			readers.max = progress->max;
	}
	for (; i < opt.readers + opt.busyloops; i++)
		busyperiods += phase->progress[i].rounds;

	printf("period pair=%u on=%s thread_ns=%llu calls=%llu calls_ns=%llu max_ns=%llu",
	       opt.no_decoy ? period : period / 2,
	       shared->side[period] == TARGET ? "target" : "decoy", calls.time, calls.calls,
	       calls.sum, calls.max);
	for (i = 0; i < LIMITS; i++)
		printf(" over_%ums=%llu excess_%ums=%llu", limits_ms[i],
		       calls.over[i] + second->over[i], limits_ms[i],
		       calls.excess[i] + second->excess[i]);
	printf(" passes=%llu reads=%llu bytes=%llu read_ns=%llu read_max_ns=%llu",
	       readers.rounds, readers.reads, readers.bytes, readers.time, readers.max);
	printf(" busyperiods=%llu\n", busyperiods);
}

static void print_histograms(void)
{
	__u64 calls[2], ns[2];
	unsigned int i;
	int side;

	for (i = 0; i < BUCKETS; i++) {
		for (side = 0; side < 2; side++) {
			calls[side] = shared->histogram[0][side].calls[i] +
				      shared->histogram[1][side].calls[i];
			ns[side] = shared->histogram[0][side].ns[i] +
				   shared->histogram[1][side].ns[i];
		}
		if (calls[TARGET] || calls[DECOY])
			printf("%llu %llu %llu %llu %llu\n", bucket_low(i), calls[TARGET],
			       ns[TARGET], calls[DECOY], ns[DECOY]);
	}
}

static void measure(void)
{
	siginfo_t info;
	unsigned int i;

	shared = map(sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED);
	draw_order();
	atexit(end_children);
	for (i = TARGET; i <= DECOY; i++) {
		start_child(target, i, -1);
		wait_for_stop(i);
	}
	compare_sides();
	for (i = 0; i < opt.readers; i++)
		start_child(reader, i, opt.spread ? i % 2 : 1);
	for (i = 0; i < opt.busyloops; i++)
		start_child(busy_loop, i, opt.spread ? i % 2 : 1);

	printf("begin\n");
	fflush(stdout);
	kill(children[TARGET], SIGCONT);
	if (waitid(P_ALL, 0, &info, WSTOPPED | WEXITED | WNOWAIT))
		err(1, "waitid");
	if (info.si_pid != children[TARGET] || info.si_code != CLD_STOPPED)
		errx(1, "the target, a reader or a busy loop has failed");
	printf("over\n");
	fflush(stdout);
	end_children();

	print_run();
	for (i = 0; i < nr_periods; i++)
		print_period(i);
	print_histograms();
	printf("end\n");
}

static void print_usage(FILE *to)
{
	fputs("usage: latency [OPTION...]\n"
	      "Measure how long a process waits in its own system calls while others read its\n"
	      "/proc/PID/FILE, and while they read that of a decoy.\n"
	      "  --readers N          processes that read (default 2)\n"
	      "  --nice N             their nice value (default 15)\n"
	      "  --file FILE          file of /proc/PID that they read (default maps),\n"
	      "                       or PROCMAP_QUERY:name, PROCMAP_QUERY:gap, PAGEMAP_SCAN;\n"
	      "                       mem or process_vm_readv, of what --resident adds;\n"
	      "                       mem:word or process_vm_readv:word, of the mapping of\n"
	      "                       --calls; mem:gap; maps:cat\n"
	      "  --busyloops N        processes that preempt them (default 2)\n"
	      "  --busyduration MS    they compute for MS ms, then sleep 1 ms (default 2)\n"
	      "  --spread             run all on both CPUs, not the target on CPU 0 and the\n"
	      "                       others on CPU 1\n"
	      "  --calls WHAT         pages (default), random, brk, behind, last, whole, fork,\n"
	      "                       fork2 or fault: see the source, bench/latency.c\n"
	      "  --filled MIB         memory in the mapping of --calls (default 4)\n"
	      "  --big GIB            size of that of --calls whole\n"
	      "  --vmas N             further VMAs of the target (default 0)\n"
	      "  --resident MIB       further memory of the target (default 0)\n"
	      "  --pairs N            pairs of periods (default 4)\n"
	      "  --seconds SECONDS    time of a period (default 0.5)\n"
	      "  --seed N             seed for the order in each pair (default 1)\n"
	      "  --no-decoy           leave out the decoy's periods\n"
	      "  --help               this text\n"
	      "Exits with 1 if it could not measure.\n",
	      to);
}

static double parse_number(const char *name, const char *arg, double min, double max)
{
	char *end;
	double n = strtod(arg, &end);

	if (end == arg || *end || !(n >= min && n <= max))
		errx(2, "--%s %s: want a number from %g to %g", name, arg, min, max);
	return n;
}

static const struct call_kind *find_kind(const char *name)
{
	unsigned int i;

	for (i = 0; i < KINDS; i++) {
		if (!strcmp(name, kinds[i].name))
			return &kinds[i];
	}
	errx(2, "--calls %s: not one of those that --help names", name);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "readers", required_argument, NULL, 'r' },
		{ "nice", required_argument, NULL, 'N' },
		{ "file", required_argument, NULL, 'f' },
		{ "busyloops", required_argument, NULL, 'l' },
		{ "busyduration", required_argument, NULL, 'b' },
		{ "spread", no_argument, NULL, 'S' },
		{ "calls", required_argument, NULL, 'c' },
		{ "filled", required_argument, NULL, 'F' },
		{ "big", required_argument, NULL, 'g' },
		{ "vmas", required_argument, NULL, 'v' },
		{ "resident", required_argument, NULL, 'm' },
		{ "pairs", required_argument, NULL, 'p' },
		{ "seconds", required_argument, NULL, 's' },
		{ "seed", required_argument, NULL, 'e' },
		{ "no-decoy", no_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int c;

	kind = kinds;
	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			opt.readers = parse_number("readers", optarg, 1, MAX_CHILDREN / 2);
			break;
		case 'N':
			opt.nice = parse_number("nice", optarg, 0, 19);
			break;
		case 'f':
			opt.file = optarg;
			break;
		case 'l':
			opt.busyloops = parse_number("busyloops", optarg, 0, MAX_CHILDREN / 2);
			break;
		case 'b':
			opt.busyduration = parse_number("busyduration", optarg, 0.001, 1000);
			break;
		case 'S':
			opt.spread = true;
			break;
		case 'c':
			kind = find_kind(optarg);
			break;
		case 'F':
			opt.filled = parse_number("filled", optarg, 1, 1e6);
			break;
		case 'g':
			opt.big = parse_number("big", optarg, 1, 1e5);
			break;
		case 'v':
			opt.vmas = parse_number("vmas", optarg, 0, 1e7);
			break;
		case 'm':
			opt.resident = parse_number("resident", optarg, 0, 1e6);
			break;
		case 'p':
			opt.pairs = parse_number("pairs", optarg, 1, MAX_PAIRS);
			break;
		case 's':
			opt.seconds = parse_number("seconds", optarg, 0.01, 1e6);
			break;
		case 'e':
			opt.seed = parse_number("seed", optarg, 0, 1e9);
			break;
		case 'n':
			opt.no_decoy = true;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		default:
			print_usage(stderr);
			return 2;
		}
	}
	if (optind != argc) {
		print_usage(stderr);
		return 2;
	}
	if (opt.big && !calls_are("whole"))
		errx(2, "--big is for --calls whole");
	if (opt.big && opt.filled > opt.big << 10)
		errx(2, "--filled is more than --big");
	if ((!strcmp(opt.file, "mem") || !strcmp(opt.file, "process_vm_readv")) && !opt.resident)
		errx(2, "--file %s reads the memory of --resident: give --resident 1 or more",
		     opt.file);
	measure();
	return 0;
}
