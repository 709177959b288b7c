// SPDX-License-Identifier: GPL-2.0
/*
 * schedpoints - how long a reader of /proc/PID keeps a CPU from a SCHED_FIFO task
 *
 * Run it in a guest with one CPU that counts instructions, vm/run --icount, where a
 * nanosecond is one instruction and the host does not interfere; booted with
 * preempt=none, or voluntary, where only the kernel's own scheduling points let other
 * tasks run.
 *
 * A child makes, and from then on only holds:
 *
 *	VMAS	 65,000 of one page each, whose protections alternate; every second one
 *		 is populated
 *	HOLES	 1 TiB without page tables, except for a page every 64 GiB
 *	PAGES	 1 GiB of small pages
 *
 * Another child reads a file of it to its end, by read() with as large a buffer as the
 * kernel takes, which for pagemap is one call for 1 TiB, or asks by an ioctl for all of
 * it.  Meanwhile this process, SCHED_FIFO, sleeps until each next millisecond.  How late
 * it wakes up shows for how long the reader kept it waiting.
 *
 * Usage: schedpoints [FILE]: all of reads[], or one
 *
 * Output: TAP, a test for each file; it fails if a wake-up was 10 ms late or more, or
 * if the reader has not read all of the file.  In each line are the longest wait, the
 * bytes (for ioctls the ranges) that were read, and the time this took.
 *
 * Errors: 1 if a test failed or something could not be set up, which stderr says.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include "common.h"

#define GIB		(1UL << 30)
#define VMAS		65000
#define HOLES		(1024 * GIB)
#define HOLE		(64 * GIB)
#define PAGES		GIB
#define BUFFER		(2 * GIB)
#define BUFFER_PART	(2UL << 20)
#define USER_END	((1UL << 47) - PAGE)
#define MS		1000000L
#define LIMIT		(10 * MS)

static char *vmas, *holes, *pages;
static char *buffer;
static pid_t target;

static void *map(size_t len, int prot, int flags, int fd)
{
	void *p = mmap(NULL, len, prot, flags, fd, 0);

	if (p == MAP_FAILED)
		err(1, "mmap of %zu bytes", len);
	return p;
}

/* Before the child is forked, so that the addresses are known here too. */
static void make_target(void)
{
	int private = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
	size_t i;

	vmas = map(VMAS * PAGE, PROT_READ, private, -1);
	for (i = 0; i < VMAS; i += 2) {
		if (mprotect(vmas + i * PAGE, PAGE, PROT_READ | PROT_WRITE))
			err(1, "mprotect");
		vmas[i * PAGE] = 1;
	}
	holes = map(HOLES, PROT_READ | PROT_WRITE, private, -1);
	madvise(holes, HOLES, MADV_NOHUGEPAGE);
	for (i = 0; i < HOLES; i += HOLE)
		holes[i] = 1;
	pages = map(PAGES, PROT_READ | PROT_WRITE, private, -1);
	madvise(pages, PAGES, MADV_NOHUGEPAGE);
	for (i = 0; i < PAGES; i += PAGE)
		pages[i] = 1;

	target = fork();
	if (target < 0)
		err(1, "fork");
	if (!target) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	munmap(vmas, VMAS * PAGE);
	munmap(holes, HOLES);
	munmap(pages, PAGES);
}

/* As large as a read() takes, of little memory. */
static void make_buffer(void)
{
	int fd = memfd_create("buffer", 0);
	size_t i;

	if (fd < 0 || ftruncate(fd, BUFFER_PART))
		err(1, "memfd_create");
	buffer = map(BUFFER, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
	for (i = 0; i < BUFFER; i += BUFFER_PART)
		if (mmap(buffer + i, BUFFER_PART, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
			 fd, 0) == MAP_FAILED)
			err(1, "mmap");
	close(fd);
}

static unsigned long read_all(const char *file)
{
	int fd = open_file(target, file);
	unsigned long bytes = 0;
	ssize_t got;

	while ((got = read(fd, buffer, BUFFER)) > 0)
		bytes += got;
	if (got < 0)
		err(1, "reading %s", file);
	close(fd);
	return bytes;
}

static unsigned long read_at(int fd, unsigned long offset, unsigned long len)
{
	unsigned long bytes = 0;
	ssize_t got;

	while (bytes < len && (got = pread(fd, buffer, len - bytes, offset + bytes)) > 0)
		bytes += got;
	close(fd);
	return bytes;
}

static unsigned long read_pagemap(const char *file)
{
	return read_at(open_file(target, file), (unsigned long)holes / PAGE * 8, HOLES / PAGE * 8);
}

static unsigned long read_mem(const char *file)
{
	return read_at(open_file(target, file), (unsigned long)pages, PAGES);
}

static unsigned long read_mem_by_call(const char *file)
{
	struct iovec to = { buffer, PAGES }, from = { pages, PAGES };
	ssize_t got = process_vm_readv(target, &to, 1, &from, 1, 0);

	if (got < 0)
		err(1, "%s", file);
	return got;
}

/* A region for every second VMA, and for what else is present. */
static unsigned long scan(const char *file)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.end = USER_END,
		.vec = (unsigned long)buffer,
		.vec_len = BUFFER / sizeof(struct page_region),
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_WRITTEN,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_WRITTEN,
	};
	int fd = open_file(target, "pagemap");
	int got = ioctl(fd, PAGEMAP_SCAN, &arg);

	if (got < 0)
		err(1, "%s", file);
	if (arg.walk_end != arg.end)
		errx(1, "%s ended at %llx", file, arg.walk_end);
	close(fd);
	return got;
}

static unsigned long list(const char *file)
{
	unsigned long names = 0;
	DIR *dir = fdopendir(open_file(target, file));

	if (!dir)
		err(1, "%s", file);
	while (readdir(dir))
		names++;
	closedir(dir);
	return names;
}

static const struct {
	const char *file;
	unsigned long (*read)(const char *file);
	unsigned long least;
} reads[] = {
	{ "maps", read_all, VMAS * 40 },
	{ "smaps", read_all, VMAS * 600UL },
	{ "smaps_rollup", read_all, 600 },
	{ "numa_maps", read_all, VMAS * 20 },
	{ "pagemap", read_pagemap, HOLES / PAGE * 8 },
	{ "PAGEMAP_SCAN", scan, VMAS / 2 },
	{ "map_files", list, 3 },
	{ "mem", read_mem, PAGES },
	{ "process_vm_readv", read_mem_by_call, PAGES },
};

/* The longest wait until the child has ended; *status is its exit status. */
static long longest_wait(pid_t child, int *status)
{
	long wanted = now_ns(), longest = 0, late;
	struct timespec ts;

	while (!waitpid(child, status, WNOHANG)) {
		wanted += MS;
		ts.tv_sec = wanted / (1000 * MS);
		ts.tv_nsec = wanted % (1000 * MS);
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
		late = now_ns() - wanted;
		if (late > longest)
			longest = late;
		if (late > 0)
			wanted += late;
	}
	return longest;
}

int main(int argc, char **argv)
{
	struct sched_param fifo = { .sched_priority = 1 };
	int nr = sizeof(reads) / sizeof(*reads), first = 0, end = nr;
	unsigned long *got;
	int status, failed = 0;
	long began, took, longest;
	pid_t child;

	if (argc > 1) {
		while (first < nr && strcmp(reads[first].file, argv[1]))
			first++;
		if (first == nr)
			errx(1, "%s is no file that is read here, see reads[]", argv[1]);
		end = first + 1;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	got = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1);
	make_target();
	make_buffer();
	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &fifo))
		err(1, "sched_setscheduler");

	printf("TAP version 13\n%d..%d\n", first + 1, end);
	for (int i = first; i < end; i++) {
		*got = 0;
		child = fork();
		if (child < 0)
			err(1, "fork");
		if (!child) {
			*got = reads[i].read(reads[i].file);
			_exit(0);
		}
		began = now_ns();
		longest = longest_wait(child, &status);
		if (status || *got < reads[i].least || longest >= LIMIT) {
			printf("not ");
			failed = 1;
		}
		took = now_ns() - began;
		printf("ok %d %s: waited %ld us, read %lu in %ld ms\n", i - first + 1,
		       reads[i].file, longest / 1000, *got, took / MS);
	}
	kill(target, SIGKILL);
	return failed;
}
