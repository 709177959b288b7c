// SPDX-License-Identifier: GPL-2.0
/*
 * latency - how long a process waits in its own mmap() and munmap() while
 * others read its files in /proc
 *
 * The conditions are those of Paul E. McKenney's proc-mmap_sem-test.
 *
 * CPU 0: the target, at normal priority.  It maps a region of 128 MiB and
 * unmaps and maps again one 4 KiB page of it after the other, for --duration
 * seconds, and measures each of these calls with CLOCK_MONOTONIC.  The pages
 * are never touched.  Besides it has --vmas more VMAs, and --resident MiB of
 * memory in 4 KiB pages, a VMA that it leaves alone.
 *
 * CPU 1: --readers processes at nice 15.  Each reads /proc/TARGET/FILE from
 * start to end with a 64 KiB buffer and begins again, without pause.  Some FILEs
 * are read in other ways:
 *
 *	pagemap			the entries of all that was mapped at the start,
 *				those of the region too, by preads of 64 KiB (32
 *				MiB of addresses).  From offset 0 on it would be
 *				a hole without end.
 *	PROCMAP_QUERY:name	that ioctl for one VMA after the other, with its
 *				name
 *	PAGEMAP_SCAN		that ioctl for all pages that are present, of all
 *				addresses
 *	mem			the memory of --resident, by preads of 64 KiB
 *	process_vm_readv	the same by that call
 *	mem:word		the first 8 bytes of the mapping of --calls
 *	process_vm_readv:word	the same by that call
 *	mem:gap			8 bytes where nothing is
 *
 * With --big GIB the target has a VMA of that size, with --filled MIB of pages evenly
 * spread over it, and the calls are the mprotect() of one of these pages after the
 * other, to read-only and back: each wants the VMA that readers walk.  It is not
 * there yet when pagemap's readers look what is mapped.
 *
 * With --calls WHAT the target has a mapping of --filled MiB, full of 4 KiB pages,
 * and the two calls are others:
 *
 *	brk	brk() by a page more, and by a page less; the mapping is the heap
 *	behind	mmap() of a page right behind the mapping, and munmap() of it
 *	last	mprotect() of the last page of the mapping, to write and to read-only
 *	whole	mprotect() of all of it, likewise: mmap_lock is held for write all the
 *		time.  There --big GIB says how large the mapping is.  The readers stop
 *		below it, those of text 16 VMAs before the end of the --vmas VMAs, which
 *		are the lowest, as a read() formats more than it returns.
 *		PROCMAP_QUERY:gap asks for an address where nothing is, and cmdline needs
 *		nothing of the mapping.  Without --big it is of --filled MiB.
 *	fork	fork() of a process with one thread; the child ends at once, and is
 *		waited for before the next
 *	fork2	the same of a process with two threads
 *	none	no calls at all: how much readers get done by themselves
 *
 * entries_max is the most lines or entries that a pass has shown of the mapping.
 *
 * And --busyloops processes at nice 0, which compute for --busyduration ms by
 * the clock and then sleep for 1 ms.  They keep preempting the readers.
 *
 * With --readers 0 all else stays as it is, busy loops included: that is the
 * floor, the latency that the machine has without readers.
 *
 * Output: a line of "run" and key=value pairs, then the latencies, one line
 * for each bucket that is not empty:
 *
 *	LOW MMAPS MUNMAPS READS
 *
 * This many calls of each kind (with --big those to write again, and those to
 * read-only; forks count as MUNMAPS) took at least LOW ns and less than the next
 * bucket, which begins at most 1/32 (3 %) higher.  Units are in the names of
 * the keys.  mean_ns, max_ns and read_max_ns are exact.
 *
 * passes are those over the whole FILE, reads the system calls that they took and
 * that returned something, not the end of the file.  READS and read_max_ns are how
 * long these took their reader, preemption included.  All are those that ended while
 * the target measured.
 *
 * Errors: 1 if the measurement could not be made (the reason is on stderr,
 * nothing on stdout), 2 for a wrong command line.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
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
#define READER_NICE	15
#define MAX_RANGES	1024
#define USER_END	((1UL << 47) - PAGE)
#define SLEEP_NS	1000000
#define LOW		(1UL << 32)	/* where --vmas are with --calls whole */
#define LOW_UNREAD	16UL
#define MAX_CHILDREN	64
#define START_SECONDS	60
#define NSEC		1000000000ULL

#define SUB_BITS	5
#define SUB_BUCKETS	32	/* 1 << SUB_BITS */
#define BUCKETS		((64 - SUB_BITS) * SUB_BUCKETS)

enum period { WARM_UP, MEASURED, OVER, PERIODS };

/* What a child has done in a period; it alone writes it. */
struct progress {
	__u64 rounds;	/* passes over the file, or busy periods */
	__u64 reads;		/* calls of read(), pread() or ioctl() that succeeded */
	__u64 bytes;
	__u64 max;		/* ns of the longest of the reads */
	__u64 entries;		/* most that a pass has shown of the mapping of --calls */
	__u64 buckets[BUCKETS];	/* these by how long they took */
};

/* What the target and its children share. */
struct shared {
	enum period period;
	__u64 start;		/* of the mapping of --calls, 0: none */
	__u64 end;
	struct progress progress[MAX_CHILDREN][PERIODS];
};

struct latencies {
	__u64 mmaps[BUCKETS];
	__u64 munmaps[BUCKETS];
	__u64 sum;
	__u64 max;
};

static struct {
	unsigned int readers;
	unsigned int busyloops;
	double busyduration;
	double duration;
	const char *file;
	unsigned int vmas;
	unsigned int resident;
	unsigned int big;
	unsigned int filled;
	const char *calls;
} opt = {
	.filled = 4,
	.calls = "pages",
	.readers = 2,
	.busyloops = 2,
	.busyduration = 2,
	.duration = 10,
	.file = "maps",
};

static struct shared *shared;
static struct latencies lat;
static pid_t children[MAX_CHILDREN];
static unsigned int nr_children;

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

static void count(__u64 *counter, __u64 n)
{
	__atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

static enum period current_period(void)
{
	return __atomic_load_n(&shared->period, __ATOMIC_RELAXED);
}

/* Count a call that began at @start and returned @bytes, for the period that it ended in. */
static void count_read(struct progress *done, __u64 start, __u64 bytes)
{
	__u64 ns = now_ns() - start;

	done += current_period();
	count(&done->reads, 1);
	count(&done->bytes, bytes);
	count(&done->buckets[bucket_of(ns)], 1);
	if (ns > done->max)
		done->max = ns;
}

static char buf[READ_SIZE + 1];

/* What the target has mapped; VMAs side by side make one range. */
static struct {
	__u64 start;
	__u64 end;
} ranges[MAX_RANGES];

static unsigned int nr_ranges;
static char *resident;	/* the memory of --resident */

static bool calls_are(const char *what)
{
	return !strcmp(opt.calls, what);
}

/* A line begins with an address or, in smaps, with a word that has a capital. */
static bool address_at(const char *text, __u64 *address)
{
	char *end;

	if (*text < '0' || *text > 'f' || (*text > '9' && *text < 'a'))
		return false;
	*address = strtoull(text, &end, 16);
	return *end == '-' || *end == ' ';
}

/*
 * Count the lines in @buf, which has @len bytes of text and a zero, that begin in
 * the mapping of --calls.  Lines are never cut: a read() of 64 KiB returns whole ones.
 * Return false if the rest of the file is of no interest.
 */
static bool count_entries(size_t len, __u64 *entries)
{
	const char *text = buf;
	__u64 address;

	if (!shared->start)
		return true;
	do {
		if (!address_at(text, &address))
			continue;
		if (calls_are("whole") && address + LOW_UNREAD * PAGE >= LOW + opt.vmas * PAGE)
			return false;
		*entries += address >= shared->start && address < shared->end;
	} while ((text = memchr(text, '\n', buf + len - text)) && *++text);
	return true;
}

static void read_all(int fd, struct progress *done)
{
	size_t size = calls_are("whole") ? PAGE : READ_SIZE;
	__u64 start, entries = 0;
	ssize_t len;

	for (;;) {
		start = now_ns();
		len = read(fd, buf, size);
		if (len <= 0)
			break;
		buf[len] = '\0';
		if (!count_entries(len, &entries))
			break;
		count_read(done, start, len);
	}
	if (len < 0 || lseek(fd, 0, SEEK_SET))
		err(1, "reading %s", opt.file);
	done += current_period();
	if (entries > done->entries)
		done->entries = entries;
}

static void read_from_to(int fd, struct progress *done, __u64 at, __u64 end)
{
	ssize_t len;
	__u64 start;

	while (at < end) {
		start = now_ns();
		len = pread(fd, buf, end - at < READ_SIZE ? end - at : READ_SIZE, at);
		if (len < 0)
			err(1, "reading %s at %#llx", opt.file, at);
		if (!len)
			errx(1, "%s ended at %#llx", opt.file, at);
		count_read(done, start, len);
		at += len;
	}
}

static void read_pagemap(int fd, struct progress *done)
{
	unsigned int i;

	for (i = 0; i < nr_ranges; i++)
		read_from_to(fd, done, ranges[i].start / PAGE * sizeof(__u64),
			     ranges[i].end / PAGE * sizeof(__u64));
}

static void read_mem(int fd, struct progress *done)
{
	__u64 start = (uintptr_t)resident;

	read_from_to(fd, done, start, start + ((__u64)opt.resident << 20));
}

static ssize_t read_remote(pid_t target, __u64 at, size_t size)
{
	struct iovec local = { buf, size }, remote = { (void *)(uintptr_t)at, size };

	return process_vm_readv(target, &local, 1, &remote, 1, 0);
}

static void read_remote_mem(int target, struct progress *done)
{
	__u64 at = (uintptr_t)resident, end = at + ((__u64)opt.resident << 20), start;

	for (; at < end; at += READ_SIZE) {
		start = now_ns();
		if (read_remote(target, at, READ_SIZE) != READ_SIZE)
			err(1, "process_vm_readv at %#llx", at);
		count_read(done, start, READ_SIZE);
	}
}

/* Wait until the target has made its mapping. */
static __u64 calls_start(void)
{
	__u64 start;

	while (!(start = __atomic_load_n(&shared->start, __ATOMIC_RELAXED)))
		sched_yield();
	return start;
}

static void read_word(int fd, struct progress *done)
{
	__u64 at = calls_start(), start = now_ns();

	if (pread(fd, buf, sizeof(__u64), at) != sizeof(__u64))
		err(1, "reading mem at %#llx", at);
	count_read(done, start, sizeof(__u64));
}

static void read_remote_word(int target, struct progress *done)
{
	__u64 at = calls_start(), start = now_ns();

	if (read_remote(target, at, sizeof(__u64)) != sizeof(__u64))
		err(1, "process_vm_readv at %#llx", at);
	count_read(done, start, sizeof(__u64));
}

static void read_gap(int fd, struct progress *done)
{
	__u64 start = now_ns();

	if (pread(fd, buf, sizeof(__u64), PAGE) >= 0)
		errx(1, "there is something at %#lx", PAGE);
	count_read(done, start, 0);
}

/* Ask for one VMA after the other, with its name, from the first to the last. */
static void query_all(int fd, struct progress *done)
{
	struct procmap_query query = { .size = sizeof(query) };
	__u64 start;

	query.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA;
	for (;;) {
		query.query_addr = query.vma_end;
		query.vma_name_addr = (uintptr_t)buf;
		query.vma_name_size = PAGE;
		start = now_ns();
		if (ioctl(fd, PROCMAP_QUERY, &query)) {
			if (errno != ENOENT)
				err(1, "PROCMAP_QUERY");
			break;
		}
		if (calls_are("whole") && query.vma_start >= shared->start)
			break;
		count_read(done, start, sizeof(query) + query.vma_name_size);
	}
}

/* Ask for an address below all that is ever mapped. */
static void query_gap(int fd, struct progress *done)
{
	struct procmap_query query = { .size = sizeof(query), .query_addr = PAGE };
	__u64 start = now_ns();

	if (!ioctl(fd, PROCMAP_QUERY, &query) || errno != ENOENT)
		errx(1, "PROCMAP_QUERY has found something at %#lx", PAGE);
	count_read(done, start, sizeof(query));
}

static void scan_all(int fd, struct progress *done)
{
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.end = USER_END,
		.vec = (uintptr_t)buf,
		.vec_len = READ_SIZE / sizeof(struct page_region),
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};
	__u64 start;
	int regions;

	do {
		start = now_ns();
		regions = ioctl(fd, PAGEMAP_SCAN, &scan);
		if (regions < 0)
			err(1, "PAGEMAP_SCAN");
		count_read(done, start, regions * sizeof(struct page_region));
		scan.start = scan.walk_end;
	} while (scan.start < scan.end);
}

static void find_ranges(pid_t target)
{
	FILE *maps = fdopen(open_file(target, "maps"), "r");
	unsigned long start, end;

	while (fscanf(maps, "%lx-%lx%*[^\n]", &start, &end) == 2 && end <= USER_END) {
		if (!nr_ranges || start != ranges[nr_ranges - 1].end) {
			if (nr_ranges == MAX_RANGES)
				errx(1, "the target has more than %d ranges of VMAs", MAX_RANGES);
			ranges[nr_ranges++].start = start;
		}
		ranges[nr_ranges - 1].end = end;
	}
	fclose(maps);
}

static void reader(struct progress *done, pid_t target)
{
	void (*pass)(int fd, struct progress *done) = read_all;
	const char *file = opt.file;
	int fd;

	if (setpriority(PRIO_PROCESS, 0, READER_NICE))
		err(1, "setpriority");
	if (!strcmp(file, "pagemap")) {
		find_ranges(target);
		pass = read_pagemap;
	} else if (!strcmp(file, "mem")) {
		pass = read_mem;
	} else if (!strcmp(file, "mem:word")) {
		file = "mem";
		pass = read_word;
	} else if (!strcmp(file, "mem:gap")) {
		file = "mem";
		pass = read_gap;
	} else if (!strcmp(file, "process_vm_readv")) {
		file = NULL;
		pass = read_remote_mem;
	} else if (!strcmp(file, "process_vm_readv:word")) {
		file = NULL;
		pass = read_remote_word;
	} else if (!strcmp(file, "PROCMAP_QUERY:name")) {
		file = "maps";
		pass = query_all;
	} else if (!strcmp(file, "PROCMAP_QUERY:gap")) {
		file = "maps";
		pass = query_gap;
	} else if (!strcmp(file, "PAGEMAP_SCAN")) {
		file = "pagemap";
		pass = scan_all;
	}
	fd = file ? open_file(target, file) : target;
	if (calls_are("whole"))
		calls_start();
	for (;;) {
		pass(fd, done);
		count(&done[current_period()].rounds, 1);
	}
}

static void busy_loop(struct progress *done, pid_t target)
{
	const struct timespec pause = { .tv_nsec = SLEEP_NS };
	__u64 end;

	(void)target;
	for (;;) {
		end = now_ns() + opt.busyduration * 1000000;
		while (now_ns() < end)
			;
		count(&done[current_period()].rounds, 1);
		nanosleep(&pause, NULL);
	}
}

static void end_children(void)
{
	while (nr_children) {
		kill(children[--nr_children], SIGKILL);
		waitpid(children[nr_children], NULL, 0);
	}
}

static void start_child(void (*work)(struct progress *, pid_t))
{
	unsigned int child = nr_children;
	pid_t target = getpid();
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
	if (getppid() != target)
		_exit(1);
	pin(1);
	work(shared->progress[child], target);
}

static void check_children(void)
{
	unsigned int i;

	for (i = 0; i < nr_children; i++) {
		if (waitpid(children[i], NULL, WNOHANG))
			errx(1, "a reader or busy loop ended early");
	}
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
	return map_at(NULL, size, prot, flags);
}

static void protect(void *p, size_t size, int prot)
{
	if (!mprotect(p, size, prot))
		return;
	if (errno == ENOMEM)
		errx(1, "too many VMAs, raise the sysctl vm.max_map_count");
	err(1, "mprotect");
}

/* A VMA of its own: it is kept from merging with others by what is around. */
static char *map_region(void)
{
	char *p = map(REGION + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);

	protect(p + PAGE, REGION, PROT_READ | PROT_WRITE);
	return p + PAGE;
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

/* Pages that mlockall() will fill. */
static void add_resident(size_t size)
{
	if (!size)
		return;
	resident = map(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
	if (madvise(resident, size, MADV_NOHUGEPAGE))
		err(1, "madvise");
}

static void record(__u64 *buckets, __u64 ns)
{
	buckets[bucket_of(ns)]++;
	lat.sum += ns;
	if (ns > lat.max)
		lat.max = ns;
}

/* A mapping of --big GiB; --filled says how far apart its pages are. */
static char *map_big(size_t size, size_t step)
{
	char *p = map(size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	size_t offset;

	if (madvise(p, size, MADV_NOHUGEPAGE))
		err(1, "madvise");
	for (offset = 0; offset < size; offset += step)
		p[offset] = 1;
	return p;
}

/*
 * The mapping of --calls: what is before and behind does not merge with it, and it
 * has no flags that a page behind it would not have.
 */
static char *map_calls(size_t size)
{
	size_t offset;
	char *p;

	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		err(1, "PR_SET_THP_DISABLE");
	if (calls_are("brk")) {
		/* A page that does not merge, then the rest of the heap */
		p = sbrk(0);
		p -= (uintptr_t)p % PAGE;
		if (brk(p + PAGE) || brk(p + PAGE + size))
			err(1, "brk by %zu bytes", size);
		protect(p, PAGE, PROT_READ);
		p += PAGE;
	} else {
		p = map(size + 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS);
		p += PAGE;
		protect(p, size, PROT_READ | PROT_WRITE);
		if (munmap(p + size, PAGE))
			err(1, "munmap");
	}
	for (offset = 0; offset < size; offset += PAGE)
		p[offset] = 1;
	return p;
}

static pid_t forked;

static bool calls_fork(void)
{
	return calls_are("fork") || calls_are("fork2");
}

static void *wait_forever(void *arg)
{
	for (;;)
		pause();
	return arg;
}

static void first_call(char *end)
{
	const struct timespec pause = { .tv_nsec = SLEEP_NS };

	if (calls_are("brk")) {
		if (brk(end + PAGE))
			err(1, "brk");
	} else if (calls_are("behind")) {
		map_at(end, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED);
	} else if (calls_are("last")) {
		protect(end - PAGE, PAGE, PROT_READ);
	} else if (calls_are("whole")) {
		protect((void *)shared->start, shared->end - shared->start, PROT_READ);
	} else if (calls_fork()) {
		forked = syscall(SYS_fork);
		if (!forked)
			_exit(0);
		if (forked < 0)
			err(1, "fork");
	} else {
		nanosleep(&pause, NULL);
	}
}

static void second_call(char *end)
{
	if (calls_are("brk")) {
		if (brk(end))
			err(1, "brk");
	} else if (calls_are("behind")) {
		if (munmap(end, PAGE))
			err(1, "munmap");
	} else if (calls_are("last")) {
		protect(end - PAGE, PAGE, PROT_READ | PROT_WRITE);
	} else if (calls_are("whole")) {
		protect((void *)shared->start, shared->end - shared->start,
			PROT_READ | PROT_WRITE);
	} else if (calls_fork()) {
		if (waitpid(forked, NULL, 0) != forked)
			err(1, "waitpid");
	}
}

static void remove_page(char *page)
{
	if (shared->start)
		first_call((char *)shared->end);
	else if (opt.big)
		protect(page, PAGE, PROT_READ);
	else if (munmap(page, PAGE))
		err(1, "munmap");
}

static void restore_page(char *page)
{
	if (shared->start)
		second_call((char *)shared->end);
	else if (opt.big)
		protect(page, PAGE, PROT_READ | PROT_WRITE);
	else if (mmap(page, PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != page)
		err(1, "mmap");
}

/* Take away and restore a page in each @step of @region until @done.  Return the time. */
static __u64 change_pages(char *region, size_t size, size_t step, bool (*done)(__u64 now))
{
	static size_t offset;
	__u64 start, middle, end;

	do {
		start = now_ns();
		remove_page(region + offset);
		middle = now_ns();
		restore_page(region + offset);
		end = now_ns();

		record(lat.munmaps, middle - start);
		if (!calls_fork())
			record(lat.mmaps, end - middle);
		offset += step;
		if (offset >= size)
			offset = 0;
	} while (!done(end));
	return end;
}

static __u64 deadline;

static bool readers_began(__u64 now)
{
	unsigned int i;

	for (i = 0; i < opt.readers; i++) {
		if (!__atomic_load_n(&shared->progress[i][WARM_UP].reads, __ATOMIC_RELAXED))
			break;
	}
	if (i == opt.readers)
		return true;
	check_children();
	if (now > deadline)
		errx(1, "reader %u returned from no read() in %d s", i, START_SECONDS);
	return false;
}

static bool time_is_up(__u64 now)
{
	return now >= deadline;
}

static void set_period(enum period next)
{
	__atomic_store_n(&shared->period, next, __ATOMIC_RELAXED);
}

/* What children that have ended did in the measured period. */
static struct progress sum_up(unsigned int from, unsigned int to)
{
	struct progress sum = {};
	const struct progress *done;
	unsigned int i;

	for (; from < to; from++) {
		done = &shared->progress[from][MEASURED];
		sum.rounds += done->rounds;
		sum.reads += done->reads;
		sum.bytes += done->bytes;
		if (done->max > sum.max)
			sum.max = done->max;
		if (done->entries > sum.entries)
			sum.entries = done->entries;
		for (i = 0; i < BUCKETS; i++)
			sum.buckets[i] += done->buckets[i];
	}
	return sum;
}

/* What an empty measurement takes: the least of many. */
static __u64 clock_cost(void)
{
	__u64 least = ~0ULL;
	int i;

	for (i = 0; i < 1000; i++) {
		__u64 start = now_ns();
		__u64 ns = now_ns() - start;

		if (ns < least)
			least = ns;
	}
	return least;
}

static void print_latencies(const __u64 *reads)
{
	unsigned int i;

	for (i = 0; i < BUCKETS; i++) {
		if (lat.mmaps[i] || lat.munmaps[i] || reads[i])
			printf("%llu %llu %llu %llu\n", bucket_low(i), lat.mmaps[i],
			       lat.munmaps[i], reads[i]);
	}
}

static void measure(void)
{
	struct progress readers, busyloops;
	unsigned int all = opt.readers + opt.busyloops;
	__u64 start, end, calls = 0;
	size_t size = REGION, step = PAGE;
	pthread_t thread;
	char *region;
	unsigned int i;

	shared = map(sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
	pin(0);
	add_vmas(opt.vmas);
	add_resident((size_t)opt.resident << 20);
	region = map_region();

	atexit(end_children);
	for (i = 0; i < opt.readers; i++)
		start_child(reader);
	for (i = 0; i < opt.busyloops; i++)
		start_child(busy_loop);

	/*
	 * Nothing of this process but the two calls may enter the kernel while
	 * it measures.  This also faults in the pages shared with the children.
	 */
	if (mlockall(MCL_CURRENT))
		warn("mlockall (goes on: page faults may be in the times)");
	/* It has filled the region too, whose pages shall not be there. */
	if (mmap(region, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
		 -1, 0) != region)
		err(1, "mmap");
	if (opt.big) {
		size = (size_t)opt.big << 30;
		step = size / (opt.filled << 8) / PAGE * PAGE;
		region = map_big(size, step);
	} else if (!calls_are("pages")) {
		size = (size_t)opt.filled << 20;
		region = map_calls(size);
	}
	if (calls_are("fork2") && pthread_create(&thread, NULL, wait_forever, NULL))
		errx(1, "pthread_create");
	if (!calls_are("pages")) {
		shared->end = (uintptr_t)region + size;
		__atomic_store_n(&shared->start, (uintptr_t)region, __ATOMIC_RELEASE);
	}

	deadline = now_ns() + START_SECONDS * NSEC;
	change_pages(region, size, step, readers_began);
	memset(&lat, 0, sizeof(lat));

	set_period(MEASURED);
	start = now_ns();
	deadline = start + opt.duration * NSEC;
	end = change_pages(region, size, step, time_is_up);
	set_period(OVER);
	check_children();
	end_children();
	readers = sum_up(0, opt.readers);
	busyloops = sum_up(opt.readers, all);

	for (i = 0; i < BUCKETS; i++)
		calls += lat.mmaps[i] + lat.munmaps[i];
	printf("run file=%s readers=%u busyloops=%u busyduration_ms=%g vmas=%u resident_mib=%u",
	       opt.file, opt.readers, opt.busyloops, opt.busyduration, opt.vmas, opt.resident);
	if (opt.big)
		printf(" big_gib=%u", opt.big);
	if (opt.big || shared->start)
		printf(" filled_mib=%u", opt.filled);
	if (shared->start)
		printf(" calls_are=%s entries_max=%llu", opt.calls, readers.entries);
	printf(" seconds=%.3f calls=%llu mean_ns=%llu max_ns=%llu clock_ns=%llu",
	       (end - start) / 1e9, calls, lat.sum / calls, lat.max, clock_cost());
	printf(" passes=%llu reads=%llu read_max_ns=%llu bytes=%llu busyperiods=%llu\n",
	       readers.rounds, readers.reads, readers.max, readers.bytes, busyloops.rounds);
	print_latencies(readers.buckets);
}

static void print_usage(FILE *to)
{
	fputs("usage: latency [OPTION...]\n"
	      "Measure the latency of a process's mmap() and munmap() of 4 KiB on CPU 0\n"
	      "while others on CPU 1 read its /proc/PID/FILE.\n"
	      "  --readers N          processes that read, at nice 15 (default 2)\n"
	      "  --file FILE          file of /proc/PID that they read (default maps),\n"
	      "                       or PROCMAP_QUERY:name, PAGEMAP_SCAN; mem or\n"
	      "                       process_vm_readv, of what --resident adds; mem:word or\n"
	      "                       process_vm_readv:word, of the mapping of --calls; mem:gap\n"
	      "  --busyloops N        processes that preempt them (default 2)\n"
	      "  --busyduration MS    these compute for MS ms, then sleep 1 ms (default 2)\n"
	      "  --vmas N             VMAs that the target has besides (default 0)\n"
	      "  --resident MIB       memory that the target has besides (default 0)\n"
	      "  --big GIB            measure mprotect() of pages of a mapping of that size\n"
	      "  --filled MIB         memory in it (default 4)\n"
	      "  --calls WHAT         brk, behind, last, whole, fork, fork2 or none: measure other\n"
	      "                       calls, on a mapping of --filled MiB\n"
	      "  --duration SECONDS   time of the measurement (default 10)\n"
	      "  --help               this text\n"
	      "Writes a line of key=value pairs, then a histogram: LOW MMAPS MUNMAPS READS, the\n"
	      "least ns of a bucket and the calls in it.  Exits with 1 if it could not measure.\n",
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

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "readers", required_argument, NULL, 'r' },
		{ "file", required_argument, NULL, 'f' },
		{ "busyloops", required_argument, NULL, 'l' },
		{ "busyduration", required_argument, NULL, 'b' },
		{ "vmas", required_argument, NULL, 'v' },
		{ "resident", required_argument, NULL, 'm' },
		{ "big", required_argument, NULL, 'g' },
		{ "filled", required_argument, NULL, 'F' },
		{ "calls", required_argument, NULL, 'c' },
		{ "duration", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'r':
			opt.readers = parse_number("readers", optarg, 0, MAX_CHILDREN / 2);
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
		case 'v':
			opt.vmas = parse_number("vmas", optarg, 0, 1e7);
			break;
		case 'm':
			opt.resident = parse_number("resident", optarg, 0, 1e6);
			break;
		case 'g':
			opt.big = parse_number("big", optarg, 1, 1e5);
			break;
		case 'F':
			opt.filled = parse_number("filled", optarg, 1, 1e6);
			break;
		case 'c':
			opt.calls = optarg;
			if (!calls_are("pages") && !calls_are("brk") && !calls_are("behind") &&
			    !calls_are("last") && !calls_are("whole") && !calls_fork() && !calls_are("none"))
				errx(2, "--calls %s: not one of those that --help names", optarg);
			break;
		case 'd':
			opt.duration = parse_number("duration", optarg, 0.01, 1e6);
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
	if (opt.big && !calls_are("pages") && !calls_are("whole"))
		errx(2, "--big is for --calls pages and whole");
	if (opt.big && opt.filled > opt.big << 10)
		errx(2, "--filled is more than --big");
	if ((!strcmp(opt.file, "mem") || !strcmp(opt.file, "process_vm_readv")) && !opt.resident)
		errx(2, "--file %s reads the memory of --resident: give --resident 1 or more",
		     opt.file);
	if (strstr(opt.file, ":word") && calls_are("pages"))
		errx(2, "--file %s reads of the mapping of --calls", opt.file);
	measure();
	return 0;
}
