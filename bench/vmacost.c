// SPDX-License-Identifier: GPL-2.0
/*
 * vmacost - what reading /proc/PID/FILE, or an ioctl on it, costs per VMA, in
 * instructions
 *
 * Run it in a guest that counts them: vm/run --icount, one CPU.  There the
 * time stamp counter of the (emulated) CPU goes up by one with each
 * instruction that the guest executes, in user space and in the kernel.
 *
 * A child makes VMAs that do not merge, since their protections alternate:
 *
 *	anon	of one page each, private and anonymous, without a name
 *	file	of one page each, private, of one file
 *	files	the same, the next VMA always of the next of eight files
 *
 * All pages are present: those of anon have been written to, those of files are
 * copies where the VMA may be written to.
 *
 * It then waits, and this process reads its FILE from start to end with a
 * 64 KiB buffer, --reads times after one time that does not count.  Nothing
 * else runs but the timer interrupt, which counts too (less than 1 %).
 *
 * With PROCMAP_QUERY for the FILE it asks for each VMA by that ioctl instead,
 * with PROCMAP_QUERY:name for its name too.  Of pagemap it reads the entries of
 * all that is mapped, with the 64 KiB of 8192 pages in one pread if they are
 * adjacent, as those that the child made are; with pagemap:vma, those of each VMA
 * with a pread of their own, here of 8 bytes.  With PAGEMAP_SCAN it asks by that
 * ioctl for the pages that are present, of all addresses; adjacent pages are
 * one region in what it returns.
 *
 * The cost per VMA is the difference between two children with few and many
 * VMAs, so that the cost that both have cancels:
 *
 *	(cost of a read with MANY - cost with FEW) / (VMAs with MANY - with FEW)
 *
 * Of these kinds it measures the cost per page instead, with so many pages in one VMA,
 * all of them written to:
 *
 *	page		small pages, private and anonymous
 *	page-shmem	small pages of a memfd, shared
 *	page-64KiB	private and anonymous, in folios of 64 KiB
 *	page-2MiB	the same, in folios of 2 MiB that are mapped by page tables
 *
 * With --calls N it measures instead the cost of calls that do not walk the VMAs, and
 * depend on their number only by the tree in which they look some up: (cost of N calls
 * - cost of none) / N, in a child with FEW and in one with MANY of kind anon, of
 *
 *	cmdline, environ	a pread of 4096 bytes, more than there are; bytes= says
 *				how many, of what this program was started with
 *	mem:page, mem:64KiB	a pread of 1 or 16 whole pages of mem, anonymous and
 *				present; the copy takes some 4600 instructions for
 *				each page; of 16 pages N / 16 calls
 *	mem:byte		one of 1 byte there
 *	process_vm_readv:...	that call for 8 bytes, one or 16 pages there
 *	move_pages:query	that call for the nodes of the 16 pages
 *	PTRACE_PEEKDATA		that request for 8 bytes there; the child is stopped
 *
 * The file stays open, so that only the call counts, and what this program does to
 * make it.
 *
 * With --writes N it measures the cost of a process's own calls that change its VMAs, the
 * median of N, in a process with FEW and in one with MANY of kind anon.  A mean would
 * include the interrupts in which RCU frees what many calls left: they fall into one
 * call more often than into the next.  Each call is undone by the one below it:
 *
 *	mmap		of a page between two VMAs, with neither of which it merges
 *	munmap		of it
 *	mprotect:split	of the second page of three, to read-only
 *	mprotect:merge	of it, back
 *	brk:grow	by a page
 *	brk:shrink	by a page
 *	fault		the first write to a page; the page table is there
 *	madvise		MADV_DONTNEED of it
 *
 * Each of these is done once more between marks for touched.c.
 *
 * Output: a line "calibration" with the instructions that a loop of known
 * length took by the counter and by CLOCK_MONOTONIC, then a line for each
 * kind or each of the calls, of "cost" and key=value pairs.
 *
 * Errors: 1 if something failed or the counter does not count instructions
 * (the reason is on stderr), 2 for a wrong command line.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "cost.h"

#define READ_SIZE	(64UL << 10)
#define FILES		8
#define OTHER_VMAS	1000		/* more than a child has before it makes any */
#define USER_END	((1UL << 47) - PAGE)
#define HUGE		(2UL << 20)
#define THP		"/sys/kernel/mm/transparent_hugepage/hugepages-"

static struct {
	const char *kind;
	unsigned int few;
	unsigned int many;
	unsigned int reads;
	unsigned int calls;
	unsigned int writes;
	bool pages;
	const char *file;
} opt = {
	.few = 80,
	.many = 8000,
	.reads = 10,
	.file = "maps",
};

static const char * const kinds[] = {
	"anon", "file", "files", "page", "page-shmem", "page-64KiB", "page-2MiB"
};

#define NR_KINDS (sizeof(kinds) / sizeof(*kinds))

static char dir[32] = "/tmp/vmacost.XXXXXX";
static int files[FILES];
static pid_t child;

/* What the child has mapped, to read pagemap by. */
static struct {
	unsigned long start;
	unsigned long end;
} *ranges;

static unsigned int nr_ranges;

/* What --calls reads in the child, which has written to it. */
static alignas(PAGE) char memory[READ_SIZE];

/* Files of eight pages with names as long as those of libraries mostly are. */
static void make_files(void)
{
	char name[64];
	int i;

	if (!mkdtemp(dir))
		err(1, "%s", dir);
	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "%s/libbench-%d.so.6", dir, i);
		files[i] = open(name, O_RDWR | O_CREAT | O_EXCL, 0700);
		if (files[i] < 0 || ftruncate(files[i], 8 * PAGE))
			err(1, "%s", name);
	}
}

static void remove_files(void)
{
	char name[64];
	int i;

	for (i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "%s/libbench-%d.so.6", dir, i);
		unlink(name);
	}
	rmdir(dir);
}

static void end_child(void)
{
	if (!child)
		return;
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	child = 0;
}

static unsigned long thp_number(const char *size, const char *file)
{
	unsigned long number;
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), THP "%s/stats/%s", size, file);
	f = fopen(path, "r");
	check_made(!f || fscanf(f, "%lu", &number) != 1);
	fclose(f);
	return number;
}

/* Let only folios of this size be made, where the child asks for huge pages. */
static void allow_folios(const char *size)
{
	static const char * const sizes[] = { "64kB", "2048kB" };
	unsigned int i;

	for (i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		const char *mode = size && !strcmp(size, sizes[i]) ? "madvise" : "never";
		char path[128];
		int fd;

		snprintf(path, sizeof(path), THP "%s/enabled", sizes[i]);
		fd = open(path, O_WRONLY);
		check_made(fd < 0 || write(fd, mode, strlen(mode)) < 0);
		close(fd);
	}
}

static void make_pages(const char *kind, unsigned int pages)
{
	const char *size = !strcmp(kind, "page-64KiB") ? "64kB" :
			   !strcmp(kind, "page-2MiB") ? "2048kB" : NULL;
	unsigned long len = pages * PAGE, folios = 0, at;
	int fd = -1, flags = MAP_ANONYMOUS | MAP_PRIVATE;
	char *p;

	/* Find room to align it, and give that back */
	p = mmap(NULL, len + HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check_made(p == MAP_FAILED || munmap(p, len + HUGE));
	p = (char *)(((uintptr_t)p + HUGE - 1) & ~(HUGE - 1));
	if (!strcmp(kind, "page-shmem")) {
		fd = memfd_create("vmacost", 0);
		check_made(fd < 0 || ftruncate(fd, len));
		flags = MAP_SHARED;
	}
	check_made(mmap(p, len, PROT_READ | PROT_WRITE, flags | MAP_FIXED_NOREPLACE, fd,
			0) == MAP_FAILED);

	allow_folios(size);
	if (size) {
		folios = thp_number(size, "anon_fault_alloc");
		check_made(madvise(p, len, MADV_HUGEPAGE));
	}
	memset(p, 1, len);
	if (size)
		check_made(thp_number(size, "anon_fault_alloc") - folios !=
			   len / (strtoul(size, NULL, 10) << 10));
	if (!strcmp(kind, "page-2MiB")) {
		/* A change of protection splits the huge entry into a page table */
		for (at = 0; at < len; at += HUGE)
			check_made(mprotect(p + at, PAGE, PROT_READ) ||
				   mprotect(p + at, PAGE, PROT_READ | PROT_WRITE));
	}
}

static bool counts_pages(const char *kind)
{
	return !strncmp(kind, "page", 4);
}

static void make_vmas(const char *kind, unsigned int vmas)
{
	/* The protections of a library's text and data, and of what is around. */
	static const int prots[] = {
		PROT_READ, PROT_READ | PROT_EXEC, PROT_READ, PROT_READ | PROT_WRITE
	};
	unsigned int i;
	char *p;

	p = mmap(NULL, vmas * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check_made(p == MAP_FAILED);
	for (i = 0; i < vmas; i++) {
		int prot = prots[i % 4];
		char *page = p + i * PAGE;
		int fd = files[!strcmp(kind, "files") ? i % FILES : 0];

		if (!strcmp(kind, "anon")) {
			check_made(mprotect(page, PAGE, PROT_READ | PROT_WRITE));
			*page = 1;
			check_made(mprotect(page, PAGE, prot));
		} else {
			check_made(mmap(page, PAGE, prot, MAP_PRIVATE | MAP_FIXED | MAP_POPULATE,
					fd, i % 4 * PAGE) == MAP_FAILED);
		}
	}
}

/* Fork a child that makes the VMAs and waits for its end. */
static void start_child(const char *kind, unsigned int vmas)
{
	int ready[2];
	char byte;

	if (pipe(ready))
		err(1, "pipe");
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		memset(memory, 1, sizeof(memory));
		if (counts_pages(kind))
			make_pages(kind, vmas);
		else
			make_vmas(kind, vmas);
		if (write(ready[1], "", 1) != 1)
			err(1, "pipe");
		for (;;)
			pause();
	}
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		errx(1, "the child could not make %u VMAs or pages of kind %s", vmas, kind);
	close(ready[0]);
}

/* Return the number of VMAs, and set the ranges: of each, or of those side by side. */
static unsigned int find_vmas(void)
{
	FILE *maps = fdopen(open_file(child, "maps"), "r");
	bool each = !strcmp(opt.file, "pagemap:vma");
	unsigned long start, end;
	unsigned int vmas = 0;

	nr_ranges = 0;
	while (fscanf(maps, "%lx-%lx%*[^\n]", &start, &end) == 2) {
		if (++vmas > opt.many + OTHER_VMAS)
			errx(1, "the child has more than %u VMAs", opt.many + OTHER_VMAS);
		if (end > USER_END)
			continue;
		if (each || !nr_ranges || start != ranges[nr_ranges - 1].end)
			ranges[nr_ranges++].start = start;
		ranges[nr_ranges - 1].end = end;
	}
	fclose(maps);
	return vmas;
}

static void read_file(void)
{
	static char buf[READ_SIZE];
	int fd = open_file(child, opt.file);
	ssize_t len;

	do {
		len = read(fd, buf, sizeof(buf));
	} while (len > 0);
	if (len < 0)
		err(1, "reading %s", opt.file);
	close(fd);
}

static void query_all(bool named)
{
	static char name[PAGE];
	struct procmap_query query = {
		.size = sizeof(query),
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA,
	};
	int fd = open_file(child, "maps");

	do {
		query.query_addr = query.vma_end;
		query.vma_name_addr = 0;
		query.vma_name_size = 0;
		if (named) {
			query.vma_name_addr = (uintptr_t)name;
			query.vma_name_size = sizeof(name);
		}
	} while (!ioctl(fd, PROCMAP_QUERY, &query));
	if (errno != ENOENT)
		err(1, "PROCMAP_QUERY");
	close(fd);
}

static void read_pagemap(void)
{
	static char buf[READ_SIZE];
	int fd = open_file(child, "pagemap");
	unsigned int i;

	for (i = 0; i < nr_ranges; i++) {
		unsigned long at = ranges[i].start / PAGE * 8;
		unsigned long end = ranges[i].end / PAGE * 8;

		while (at < end) {
			ssize_t len = pread(fd, buf, end - at < READ_SIZE ? end - at : READ_SIZE,
					    at);

			if (len <= 0)
				err(1, "reading pagemap at %#lx", at / 8 * PAGE);
			at += len;
		}
	}
	close(fd);
}

static void scan_all(void)
{
	static struct page_region regions[1000];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.end = USER_END,
		.vec = (uintptr_t)regions,
		.vec_len = sizeof(regions) / sizeof(*regions),
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};
	int fd = open_file(child, "pagemap");

	do {
		if (ioctl(fd, PAGEMAP_SCAN, &scan) < 0)
			err(1, "PAGEMAP_SCAN");
		scan.start = scan.walk_end;
	} while (scan.start < scan.end);
	close(fd);
}

static void go_through(void)
{
	if (!strcmp(opt.file, "PROCMAP_QUERY"))
		query_all(false);
	else if (!strcmp(opt.file, "PROCMAP_QUERY:name"))
		query_all(true);
	else if (!strcmp(opt.file, "PAGEMAP_SCAN"))
		scan_all();
	else if (!strcmp(opt.file, "pagemap") || !strcmp(opt.file, "pagemap:vma"))
		read_pagemap();
	else
		read_file();
}

/* The instructions of a read of a child with so many VMAs, and their number. */
static double read_cost(const char *kind, unsigned int want, unsigned int *vmas)
{
	unsigned long long count;
	unsigned int i;

	start_child(kind, want);
	*vmas = find_vmas();
	go_through();
	usleep(200000);		/* RCU frees the VMAs of the last child meanwhile */
	count = __rdtsc();
	for (i = 0; i < opt.reads; i++)
		go_through();
	count = __rdtsc() - count;
	mark_begin();
	go_through();
	mark_end();
	end_child();
	return (double)count / opt.reads;
}

static void measure(const char *kind)
{
	unsigned int few_vmas, many_vmas;
	unsigned int more = counts_pages(kind) ? 0 : opt.many - opt.few;
	double few, many;

	if (opt.kind ? strcmp(kind, opt.kind) : opt.pages != counts_pages(kind))
		return;
	few = read_cost(kind, opt.few, &few_vmas);
	many = read_cost(kind, opt.many, &many_vmas);
	if (many_vmas - few_vmas != more)
		errx(1, "%s: %u and %u VMAs, where the second should have %u more", kind,
		     few_vmas, many_vmas, more);
	printf("cost file=%s kind=%s few=%u many=%u reads=%u", opt.file, kind, opt.few, opt.many,
	       opt.reads);
	printf(" instructions_few=%.0f instructions_many=%.0f instructions_per_%s=%.2f\n", few,
	       many, counts_pages(kind) ? "page" : "vma",
	       (many - few) / (opt.many - opt.few));
	fflush(stdout);
}

struct call {
	const char *name;
	const char *file;
	size_t size;
	off_t at;
	ssize_t (*call)(void *buf, size_t size);	/* without a file; NULL: ptrace() */
};

static ssize_t read_remote(void *buf, size_t size)
{
	struct iovec local = { buf, size };
	struct iovec remote = { memory, size };

	return process_vm_readv(child, &local, 1, &remote, 1, 0);
}

static ssize_t query_nodes(void *buf, size_t size)
{
	static void *pages[READ_SIZE / PAGE];
	int *status = buf;
	unsigned int i;

	for (i = 0; !pages[size / PAGE - 1] && i < size / PAGE; i++)
		pages[i] = memory + i * PAGE;
	if (syscall(SYS_move_pages, child, size / PAGE, pages, NULL, status, 0))
		return -1;
	return status[0] || status[size / PAGE - 1] ? 0 : size;
}

/* The instructions of @n calls; the last one's bytes are stored in @bytes. */
static unsigned long long calls_cost(const struct call *call, int fd, unsigned int n,
				     ssize_t *bytes)
{
	static char buf[READ_SIZE];
	unsigned long long count;

	errno = 0;
	count = __rdtsc();
	while (n--) {
		if (call->file)
			*bytes = pread(fd, buf, call->size, call->at);
		else if (call->call)
			*bytes = call->call(buf, call->size);
		else if (ptrace(PTRACE_PEEKDATA, child, memory, NULL) == *(long *)memory)
			*bytes = sizeof(long);
	}
	count = __rdtsc() - count;
	if (errno)
		err(1, "%s", call->name);
	return count;
}

static void measure_calls(unsigned int vmas)
{
	const off_t at = (uintptr_t)memory;
	const struct call calls[] = {
		{ "cmdline", "cmdline", PAGE, 0, NULL },
		{ "environ", "environ", PAGE, 0, NULL },
		{ "mem:page", "mem", PAGE, at, NULL },
		{ "mem:64KiB", "mem", READ_SIZE, at, NULL },
		{ "mem:byte", "mem", 1, at, NULL },
		{ "process_vm_readv:8B", NULL, 8, at, read_remote },
		{ "process_vm_readv:page", NULL, PAGE, at, read_remote },
		{ "process_vm_readv:64KiB", NULL, READ_SIZE, at, read_remote },
		{ "move_pages:query", NULL, READ_SIZE, at, query_nodes },
		{ .name = "PTRACE_PEEKDATA" },
	};
	unsigned long long count;
	const struct call *call;
	unsigned int n;
	ssize_t bytes;
	int fd;

	memset(memory, 1, sizeof(memory));
	start_child("anon", vmas);
	for (call = calls; call < calls + sizeof(calls) / sizeof(*calls); call++) {
		bytes = 0;
		fd = -1;
		if (call->file)
			fd = open_file(child, call->file);
		else if (!call->call && (ptrace(PTRACE_ATTACH, child, NULL, NULL) ||
			 waitpid(child, NULL, 0) != child))
			err(1, "PTRACE_ATTACH");
		n = call->size > PAGE ? (opt.calls + 15) / 16 : opt.calls;
		calls_cost(call, fd, 1, &bytes);
		usleep(200000);
		count = calls_cost(call, fd, n, &bytes);
		count -= calls_cost(call, fd, 0, &bytes);
		mark_begin();
		calls_cost(call, fd, 1, &bytes);
		mark_end();
		if (bytes <= 0 || (call->at && bytes != (ssize_t)call->size))
			errx(1, "%s: a call returned %zd bytes", call->name, bytes);
		printf("cost file=%s vmas=%u calls=%u bytes=%zd instructions_per_read=%.2f\n",
		       call->name, vmas, n, bytes, (double)count / n);
		fflush(stdout);
		close(fd);
	}
	end_child();
}

static char *gap;	/* a page where nothing is */
static char *middle;	/* the second page of three */
static char *heap_end;

static void map_gap(void)
{
	check_made(mmap(gap, PAGE, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != gap);
}

static void unmap_gap(void)
{
	check_made(munmap(gap, PAGE));
}

static void protect_middle(void)
{
	check_made(mprotect(middle, PAGE, PROT_READ));
}

static void unprotect_middle(void)
{
	check_made(mprotect(middle, PAGE, PROT_READ | PROT_WRITE));
}

static void grow_heap(void)
{
	check_made(brk(heap_end + PAGE));
}

static void shrink_heap(void)
{
	check_made(brk(heap_end));
}

static void touch_middle(void)
{
	__atomic_store_n(middle, 1, __ATOMIC_RELAXED);
}

static void drop_middle(void)
{
	check_made(madvise(middle, PAGE, MADV_DONTNEED));
}

/* A VMA of as many pages that merges with no other. */
static char *map_apart(unsigned int pages)
{
	char *p = mmap(NULL, (pages + 2) * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check_made(p == MAP_FAILED ||
		   mprotect(p + PAGE, pages * PAGE, PROT_READ | PROT_WRITE));
	return p + PAGE;
}

struct write_pair {
	void (*calls[2])(void);
	const char *names[2];
};

static int compare_counts(const void *a, const void *b)
{
	unsigned long long x = *(const unsigned long long *)a;
	unsigned long long y = *(const unsigned long long *)b;

	return (x > y) - (x < y);
}

/* In a process of its own, which exits. */
static void make_writes(unsigned int vmas)
{
	static const struct write_pair pairs[] = {
		{ { map_gap, unmap_gap }, { "mmap", "munmap" } },
		{ { protect_middle, unprotect_middle }, { "mprotect:split", "mprotect:merge" } },
		{ { grow_heap, shrink_heap }, { "brk:grow", "brk:shrink" } },
		{ { touch_middle, drop_middle }, { "fault", "madvise" } },
	};
	unsigned long long *counts[2];
	unsigned int i, n, call;

	for (call = 0; call < 2; call++) {
		counts[call] = calloc(opt.writes, sizeof(*counts[call]));
		check_made(!counts[call]);
	}
	make_vmas("anon", vmas);
	gap = map_apart(1);
	unmap_gap();
	middle = map_apart(3);
	middle += PAGE;
	memset(middle - PAGE, 1, 3 * PAGE);
	drop_middle();
	heap_end = sbrk(0);
	for (i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		for (n = 0; n < opt.writes; n++) {
			for (call = 0; call < 2; call++) {
				unsigned long long start = __rdtsc();

				pairs[i].calls[call]();
				counts[call][n] = __rdtsc() - start;
			}
		}
		for (call = 0; call < 2; call++) {
			mark_begin();
			pairs[i].calls[call]();
			mark_end();
		}
		for (call = 0; call < 2; call++) {
			qsort(counts[call], opt.writes, sizeof(*counts[call]), compare_counts);
			printf("cost file=%s vmas=%u calls=%u instructions_per_call=%llu\n",
			       pairs[i].names[call], vmas, opt.writes,
			       counts[call][opt.writes / 2]);
		}
	}
	fflush(stdout);
	_exit(0);
}

static void measure_writes(unsigned int vmas)
{
	int status;

	fflush(stdout);
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (!child)
		make_writes(vmas);
	if (waitpid(child, &status, 0) != child || status)
		errx(1, "the process with %u VMAs has failed", vmas);
	child = 0;
	usleep(200000);		/* RCU frees its VMAs meanwhile */
}

static void print_usage(FILE *to)
{
	fputs("usage: vmacost [OPTION...]\n"
	      "Count the instructions per VMA of an uncontended read of /proc/PID/FILE.  Run it\n"
	      "in a guest that counts instructions: vm/run --icount.\n"
	      "  --file FILE    file of /proc/PID to read (default maps)\n"
	      "                 or PROCMAP_QUERY, PROCMAP_QUERY:name, pagemap:vma,\n"
	      "                 PAGEMAP_SCAN\n"
	      "  --kind KIND    VMAs: anon, file or files (of eight files); default: each; or\n"
	      "                 pages: page, page-shmem, page-64KiB or page-2MiB\n"
	      "  --pages        each of the kinds of pages\n"
	      "  --few N        VMAs of the child to compare with (default 80), or pages: those\n"
	      "                 of a multiple of 2 MiB\n"
	      "  --many N       VMAs of the child (default 8000), or pages, as above\n"
	      "  --reads N      take the mean of N reads (default 10)\n"
	      "  --calls N      count instead the instructions of one read of cmdline, environ,\n"
	      "                 mem and by process_vm_readv(), move_pages() and\n"
	      "                 PTRACE_PEEKDATA, the mean of N of each\n"
	      "  --writes N     count instead the instructions of a process's own mmap(), munmap(),\n"
	      "                 mprotect(), brk() and page fault, the median of N\n"
	      "  --help         this text\n"
	      "Exits with 1 if it could not measure.\n", to);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "file", required_argument, NULL, 'f' },
		{ "kind", required_argument, NULL, 'k' },
		{ "few", required_argument, NULL, 'a' },
		{ "many", required_argument, NULL, 'b' },
		{ "reads", required_argument, NULL, 'r' },
		{ "calls", required_argument, NULL, 'c' },
		{ "writes", required_argument, NULL, 'w' },
		{ "pages", no_argument, NULL, 'p' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	unsigned int i;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'f':
			opt.file = optarg;
			break;
		case 'k':
			opt.kind = optarg;
			break;
		case 'a':
			opt.few = parse_number("few", optarg, 10000000);
			break;
		case 'b':
			opt.many = parse_number("many", optarg, 10000000);
			break;
		case 'r':
			opt.reads = parse_number("reads", optarg, 1000000);
			break;
		case 'c':
			opt.calls = parse_number("calls", optarg, 1000000);
			break;
		case 'w':
			opt.writes = parse_number("writes", optarg, 1000000);
			break;
		case 'p':
			opt.pages = true;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		default:
			print_usage(stderr);
			return 2;
		}
	}
	for (i = 0; opt.kind && i < NR_KINDS && strcmp(opt.kind, kinds[i]); i++)
		;
	if (optind != argc || opt.many <= opt.few || i == NR_KINDS) {
		print_usage(stderr);
		return 2;
	}
	if ((opt.kind ? counts_pages(opt.kind) : opt.pages) &&
	    (opt.few * PAGE % HUGE || opt.many * PAGE % HUGE)) {
		warnx("of pages --few and --many must be multiples of %lu", HUGE / PAGE);
		return 2;
	}

	ranges = calloc(opt.many + OTHER_VMAS, sizeof(*ranges));
	if (!ranges)
		err(1, "calloc");
	calibrate();
	atexit(remove_files);
	atexit(end_child);
	make_files();
	if (opt.calls) {
		measure_calls(opt.few);
		measure_calls(opt.many);
		return 0;
	}
	if (opt.writes) {
		measure_writes(opt.few);
		measure_writes(opt.many);
		return 0;
	}
	for (i = 0; i < NR_KINDS; i++)
		measure(kinds[i]);
	return 0;
}
