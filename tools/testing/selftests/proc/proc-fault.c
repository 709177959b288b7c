// SPDX-License-Identifier: GPL-2.0
/*
 * A reader of /proc/PID for which the kernel finds no memory gets ENOMEM or what is there,
 * never anything else, and leaves nothing locked behind.
 *
 * The target holds these and, behind them, maps and unmaps a page without pause:
 *
 *	| anon  | file  | anon  | file  | ...	NR mappings of a page each, all written to
 *	start                             end
 *
 * The file's name is too long for buffers on the stack. A tenth of the reader's
 * allocations, and of nobody else's, is made to fail
 * (Documentation/fault-injection/fault-injection.rst).
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"

#define NR	64
#define ROUNDS	300
#define DEBUGFS	"/sys/kernel/debug/"

/* In this order; undone from the last to the first. */
static const char * const settings[][2] = {
	{ DEBUGFS "failslab/task-filter", "Y" },
	{ DEBUGFS "failslab/verbose", "0" },
	{ DEBUGFS "failslab/ignore-gfp-wait", "N" },
	{ DEBUGFS "failslab/times", "-1" },
	{ DEBUGFS "fail_page_alloc/task-filter", "Y" },
	{ DEBUGFS "fail_page_alloc/verbose", "0" },
	{ DEBUGFS "fail_page_alloc/ignore-gfp-wait", "N" },
	{ DEBUGFS "fail_page_alloc/min-order", "0" },
	{ DEBUGFS "fail_page_alloc/times", "-1" },
	{ DEBUGFS "failslab/probability", "10" },
	{ DEBUGFS "fail_page_alloc/probability", "10" },
};

static pid_t target;
static int kept;
static bool reuse;
static unsigned long page, start, end;
static char text[NR << 16];

static int write_file(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY), ok;

	if (fd < 0)
		return -1;
	ok = write(fd, value, strlen(value));
	close(fd);
	return ok < 0 ? -1 : 0;
}

/* A descriptor of its own, or one more of what is kept open, at its beginning */
static int open_file(const char *name)
{
	char path[64];
	int fd;

	if (reuse) {
		lseek(kept, 0, SEEK_SET);
		return dup(kept);
	}
	snprintf(path, sizeof(path), "/proc/%d/%s", target, name);
	fd = open(path, O_RDONLY);
	return fd < 0 ? -errno : fd;
}

/* Read all of a file to @text; return the number of bytes, or -errno. */
static ssize_t read_text(const char *name)
{
	int fd = open_file(name);
	ssize_t got, len = 0;

	if (fd < 0)
		return fd;
	while ((got = read(fd, text + len, sizeof(text) - 1 - len)) > 0)
		len += got;
	got = got < 0 ? -errno : len;
	text[len] = 0;
	close(fd);
	return got;
}

/* Each mapping of the target's that should be there is there once: 0, or -errno. */
static int lines(const char *name)
{
	ssize_t got = read_text(name);
	unsigned long next = start, addr;
	char *line;

	if (got < 0)
		return got;
	for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		char *after;

		addr = strtoul(line, &after, 16);
		if (after < line + 8 || addr < start || addr >= end)
			continue;
		if (addr != next)
			return -EILSEQ;
		next += page;
	}
	return next == end ? 0 : -ENODATA;
}

static int rollup(const char *name)
{
	ssize_t got = read_text(name);
	unsigned long kib;
	char *line;

	if (got < 0)
		return got;
	line = strstr(text, "\nRss:");
	if (!line || sscanf(line, "\nRss: %lu", &kib) != 1)
		return -EILSEQ;
	return kib << 10 >= end - start ? 0 : -ENODATA;
}

static int pagemap(const char *name)
{
	__u64 entries[NR];
	int fd = open_file(name), i;
	ssize_t got;

	if (fd < 0)
		return fd;
	got = pread(fd, entries, sizeof(entries), start / page * sizeof(*entries));
	if (got < 0)
		got = -errno;
	close(fd);
	for (i = 0; got > 0 && i < got / 8; i++)
		if (!(entries[i] >> 63))
			return -EILSEQ;
	return got < 0 ? got : got == sizeof(entries) ? 0 : -ENODATA;
}

static int scan(const char *name)
{
	struct page_region regions[NR];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (unsigned long)regions,
		.vec_len = NR,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};
	int fd = open_file("pagemap"), got;

	if (fd < 0)
		return fd;
	got = ioctl(fd, PAGEMAP_SCAN, &arg);
	if (got < 0)
		got = -errno;
	close(fd);
	if (got < 0)
		return got;
	return got == 1 && regions[0].start == start && regions[0].end == end ? 0 : -ENODATA;
}

static int query(const char *name)
{
	struct procmap_query q;
	unsigned long addr;
	int fd = open_file("maps"), got = 0;

	if (fd < 0)
		return fd;
	for (addr = start; !got && addr < end; addr += page) {
		memset(&q, 0, sizeof(q));
		q.size = sizeof(q);
		q.query_addr = addr;
		q.vma_name_addr = (unsigned long)text;
		q.vma_name_size = 4096;
		if (ioctl(fd, PROCMAP_QUERY, &q))
			got = -errno;
		else if (q.vma_start != addr || q.vma_end != addr + page)
			got = -EILSEQ;
	}
	close(fd);
	return got;
}

static int links(const char *name)
{
	int fd = open_file(name), got = 0;
	struct dirent *entry;
	DIR *dir;

	if (fd < 0)
		return fd;
	dir = fdopendir(fd);
	if (!dir) {
		got = -errno;
		close(fd);
		return got;
	}
	errno = 0;
	while ((entry = readdir(dir)))
		got++;
	if (errno)
		got = -errno;
	closedir(dir);
	return got < 0 ? got : got > 2 ? 0 : -ENODATA;
}

static int right_bytes(ssize_t got)
{
	unsigned long i;

	if (got < 0)
		return -errno;
	for (i = 0; i < (unsigned long)got; i += page)
		if (text[i] != (char)(i / page + 1))
			return -EILSEQ;
	return (unsigned long)got == end - start ? 0 : -ENODATA;
}

static int mem(const char *name)
{
	int fd = open_file(name), got;

	if (fd < 0)
		return fd;
	got = right_bytes(pread(fd, text, end - start, start));
	close(fd);
	return got;
}

static int readv_call(const char *name)
{
	struct iovec to = { text, end - start }, from = { (void *)start, end - start };

	return right_bytes(process_vm_readv(target, &to, 1, &from, 1, 0));
}

static int words(const char *name)
{
	ssize_t got = read_text(name);

	return got < 0 ? got : got > 0 ? 0 : -ENODATA;
}

static char old[ARRAY_SIZE(settings)][32];
static unsigned int nr_set;

static bool set(void)
{
	for (; nr_set < ARRAY_SIZE(settings); nr_set++)
		if (write_file(settings[nr_set][0], settings[nr_set][1]))
			return false;
	return true;
}

static void unset(void)
{
	while (nr_set > 0) {
		nr_set--;
		write_file(settings[nr_set][0], old[nr_set]);
	}
}

FIXTURE(fault) { };

FIXTURE_VARIANT(fault)
{
	const char *file;
	int (*read)(const char *file);
	const char *from;	/* the file that it opens, if not that */
};

FIXTURE_VARIANT_ADD(fault, maps) { "maps", lines };
FIXTURE_VARIANT_ADD(fault, smaps) { "smaps", lines };
FIXTURE_VARIANT_ADD(fault, numa_maps) { "numa_maps", lines };
FIXTURE_VARIANT_ADD(fault, smaps_rollup) { "smaps_rollup", rollup };
FIXTURE_VARIANT_ADD(fault, pagemap) { "pagemap", pagemap };
FIXTURE_VARIANT_ADD(fault, scan) { "PAGEMAP_SCAN", scan, "pagemap" };
FIXTURE_VARIANT_ADD(fault, query) { "PROCMAP_QUERY", query, "maps" };
FIXTURE_VARIANT_ADD(fault, map_files) { "map_files", links };
FIXTURE_VARIANT_ADD(fault, mem) { "mem", mem };
FIXTURE_VARIANT_ADD(fault, process_vm_readv) { "process_vm_readv", readv_call, "mem" };
FIXTURE_VARIANT_ADD(fault, cmdline) { "cmdline", words };
FIXTURE_VARIANT_ADD(fault, environ) { "environ", words };

static void be_target(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (;;)
		munmap(mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), page);
}

FIXTURE_SETUP(fault)
{
	char name[250];
	size_t i;
	char *p;
	int fd;

	if (access("/proc/self/make-it-fail", W_OK))
		SKIP(return, "no fault injection in this kernel");
	for (i = 0; i < ARRAY_SIZE(settings); i++) {
		fd = open(settings[i][0], O_RDWR);
		if (fd < 0)
			SKIP(return, "no fault injection in this kernel: %s", settings[i][0]);
		ASSERT_LT(0, read(fd, old[i], sizeof(old[i]) - 1));
		close(fd);
	}

	memset(name, 'x', sizeof(name));
	name[sizeof(name) - 1] = 0;
	page = sysconf(_SC_PAGESIZE);
	fd = memfd_create(name, 0);
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ftruncate(fd, NR * page));
	p = mmap(NULL, NR * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, p);
	start = (unsigned long)p;
	end = start + NR * page;
	for (i = 0; i < NR; i++, p += page) {
		if (i % 2)
			ASSERT_EQ(p, mmap(p, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED,
					  fd, i * page));
		*p = i + 1;
	}
	target = fork();
	ASSERT_LE(0, target);
	if (!target)
		be_target();
}

FIXTURE_TEARDOWN(fault)
{
	kill(target, SIGKILL);
	waitpid(target, NULL, 0);
}

TEST_F(fault, read)
{
	int round, got, failed = 0, wrong = 0, fail;

	got = variant->read(variant->file);
	if (got == -ENOENT || got == -ENOTTY)
		SKIP(return, "no %s in this kernel", variant->file);
	ASSERT_EQ(0, got);
	kept = open_file(variant->from ?: variant->file);
	ASSERT_LE(0, kept);

	fail = open("/proc/self/make-it-fail", O_WRONLY);
	ASSERT_LE(0, fail);
	if (!set()) {
		unset();
		ASSERT_TRUE(false)
			TH_LOG("fault injection cannot be set");
	}
	/* Nothing but the reads, so that settings are undone in any case */
	if (write(fail, "1", 1) != 1)
		wrong = -errno;
	for (round = 0; round < ROUNDS && !wrong; round++) {
		reuse = round % 2;
		got = variant->read(variant->file);
		if (got == -ENOMEM)
			failed++;
		else if (got)
			wrong = got;
	}
	if (pwrite(fail, "0", 1, 0) != 1 && !wrong)
		wrong = -errno;
	unset();
	close(fail);
	reuse = false;
	ASSERT_EQ(0, wrong)
		TH_LOG("%s: %s", variant->file, strerror(-wrong));
	/* Both happened, and what failed has left nothing behind. */
	EXPECT_LT(0, failed);
	EXPECT_GT(ROUNDS, failed);
	EXPECT_EQ(0, variant->read(variant->file));
}

TEST_HARNESS_MAIN
