// SPDX-License-Identifier: GPL-2.0
/*
 * What smaps, smaps_rollup, numa_maps, pagemap and PAGEMAP_SCAN say about a target that
 * sleeps (proc-smaps-race.c has those that do not):
 *
 *	kind	 of each kind of memory, what follows from what the target did, in all files
 *	process	 of special mappings; and the same bytes however they are read
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/const.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/userfaultfd.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

#define PM_SOFT_DIRTY _BITULL(55)
#define PM_EXCLUSIVE _BITULL(56)
#define PM_UFFD_WP _BITULL(57)
#define PM_FILE _BITULL(61)
#define PM_SWAP _BITULL(62)
#define PM_PRESENT _BITULL(63)

#define SCAN_ALL (PAGE_IS_WPALLOWED | PAGE_IS_WRITTEN | PAGE_IS_FILE | PAGE_IS_PRESENT |	\
		  PAGE_IS_SWAPPED | PAGE_IS_PFNZERO | PAGE_IS_HUGE | PAGE_IS_SOFT_DIRTY)

#define RW (PROT_READ | PROT_WRITE)
#define WRITES "bswW"
#define ANY -1			/* a number that is not known */

#define MAX_ENTRIES 1024
#define FEW_RANGES 5		/* in the buffer of a PAGEMAP_SCAN */
#define MANY_RANGES 2048	/* more than the kernel gathers at a time */
#define KSM "/sys/kernel/mm/ksm/"
#define THP "/sys/kernel/mm/transparent_hugepage/"
#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"

/* What of an entry is checked; up to LOCKED smaps_rollup adds it up. */
enum field {
	RSS, PSS, PSS_DIRTY, SHARED_CLEAN, SHARED_DIRTY, PRIVATE_CLEAN, PRIVATE_DIRTY, REFERENCED,
	ANONYMOUS, KSM_PAGES, LAZYFREE, ANON_HUGE, SHMEM_HUGE, FILE_HUGE, SHARED_HUGETLB,
	PRIVATE_HUGETLB, SWAP, SWAP_PSS, LOCKED, NR_SUMS,
	/* Only in smaps: */
	SIZE = NR_SUMS, KERNEL_PAGE_SIZE,
	/* Only in smaps_rollup: */
	PSS_ANON, PSS_FILE, PSS_SHMEM, NR_FIELDS
};

static const char * const field_name[NR_FIELDS] = {
	"Rss", "Pss", "Pss_Dirty", "Shared_Clean", "Shared_Dirty", "Private_Clean",
	"Private_Dirty", "Referenced", "Anonymous", "KSM", "LazyFree", "AnonHugePages",
	"ShmemPmdMapped", "FilePmdMapped", "Shared_Hugetlb", "Private_Hugetlb", "Swap", "SwapPss",
	"Locked", "Size", "KernelPageSize", "Pss_Anon", "Pss_File", "Pss_Shmem",
};

struct entry {
	struct maps_line line;
	unsigned long kb[NR_FIELDS];
	unsigned int seen;	/* one bit for each field */
	char flags[128];
};

/* Pages of a mapping, as pagemap and PAGEMAP_SCAN know them. */
enum page_kind {
	PRESENT, SWAPPED, OF_FILE, EXCLUSIVE, UFFD_WP, SOFT_DIRTY, ZERO, HUGE, NR_PAGE_KINDS
};

static const char * const page_kind_name[NR_PAGE_KINDS] = {
	"present", "swapped", "file", "exclusive", "uffd_wp", "soft_dirty", "zero", "huge",
};

/* The files that are text. */
enum text { SMAPS, SMAPS_ROLLUP, NUMA_MAPS, NR_TEXTS };

static const char * const text_name[] = { "smaps", "smaps_rollup", "numa_maps" };

static char text[2][NR_TEXTS][1 << 21];
static struct entry entries[MAX_ENTRIES], rollup;
static int nr_entries;

static size_t page, huge, hugetlb;	/* sizes; 0: not available */
static size_t alignment;

enum backing { NO_FILE, RAMFS, SHMEM, SHMEM_THP, HUGETLB };

/* Strings have one character for each page, or for each half of a huge page. */
struct kind {
	/* What the target does: */
	size_t *unit;		/* huge or hugetlb, if not in pages */
	enum backing backing;
	const char *object;	/* touch() the file first; 's': page out later */
	bool twice;		/* and then that stays mapped as well */
	bool shared;
	bool read_only;
	unsigned int pgoff;
	const char *pages;	/* touch() the mapping */
	const char *out;	/* 'o': page it out */
	/* Whatever else, and if @pages is NULL also the mapping. */
	void (*then)(const struct kind *k);

	/* What must be shown, in pages or halves of a huge page: */
	const char *smaps;
	const char *pagemap;	/* if there is no soft_dirty all are */
	const char *vm_flags;	/* added to those that follow from the above */
	bool exact;		/* kernels before counted large swap entries wrongly */
};

static struct target *target;	/* the only one of a test */

/*
 * The target. Its functions end it when something fails, or cannot be done here.
 */

static void need(bool ok, const char *what)
{
	must(target, ok, what);
}

static void can(bool ok, const char *what)
{
	char text[64];

	snprintf(text, sizeof(text), "SKIP %s", what);
	must(target, ok, text);
}

static char *where(void)
{
	return (char *)target->ctl->lo;
}

static size_t length(void)
{
	return target->ctl->hi - target->ctl->lo;
}

static __u64 now_pagemap(const char *at)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 pme = 0;

	need(pread(fd, &pme, 8, (uintptr_t)at / page * 8) == 8, "pagemap");
	close(fd);
	return pme;
}

/* An address of so much alignment where nothing is mapped, nor around it. */
static char *place(size_t len, size_t align)
{
	size_t all = len + 2 * align;
	char *at = mmap(NULL, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	need(at != MAP_FAILED && !munmap(at, all), "no room");
	return (char *)(((uintptr_t)at + align) & -align);
}

static char *map(char *at, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (fd < 0)
		flags |= MAP_ANONYMOUS;
	need(mmap(at, len, prot, flags | MAP_FIXED_NOREPLACE, fd, offset) == at,
	     "mmap");
	target->ctl->lo = (uintptr_t)at;
	target->ctl->hi = target->ctl->lo + len;
	return at;
}

static void read_at(const char *at)
{
	__atomic_load_n(at, __ATOMIC_SEQ_CST);
}

/* Not an exchange, which may read first. */
static void write_at(char *at)
{
	__atomic_store_n(at, 1, __ATOMIC_RELAXED);
}

/*
 * r reads a page, w and s write it, b reads and then writes it. Of the half of a
 * huge page that is the first page, but W writes all. Do those in @which.
 */
static void touch(const struct kind *k, char *at, const char *pages, const char *which)
{
	size_t step = k->unit ? *k->unit / 2 : page, i, len = strlen(pages);
	char *p;

	if (k->backing == NO_FILE && k->unit == &huge)
		can(!madvise(at, len * step, MADV_HUGEPAGE), "no MADV_HUGEPAGE");
	for (i = 0; i < len; i++) {
		p = at + i * step;
		if (!strchr(which, pages[i]))
			continue;
		if (strchr("rb", pages[i]))
			read_at(p);
		if (strchr("wbs", pages[i]))
			write_at(p);
		for (; pages[i] == 'W' && p < at + (i + 1) * step; p += page)
			write_at(p);
		if (strchr("rws", pages[i]) && k->unit == &huge)
			can(now_pagemap(at + (i + 2) * step - page) & PM_PRESENT,
			    "no huge page came");
	}
}

/* Move pages to swap, a huge page as a whole. */
static void page_out(char *at, size_t len)
{
	unsigned char in_core[len / page];
	char path[128];
	long before;
	int tries;

	snprintf(path, sizeof(path), THP "hugepages-%zukB/stats/swpout", huge >> 10);
	before = number(path);
	for (tries = 0; tries < 1000; tries++) {
		can(!madvise(at, len, MADV_PAGEOUT), "no MADV_PAGEOUT");
		need(!mincore(at, len, in_core), "mincore");
		if (!memchr(in_core, 1, len / page)) {
			can(len == page || number(path) > before,
			    "a huge page was split to page it out");
			return;
		}
		sched_yield();
	}
	can(false, "the kernel does not page out what it is told to");
}

/* A new file of a filesystem that nobody else can see. */
static int open_file(enum backing backing, size_t len)
{
	int fs, mnt, fd;

	if (backing == NO_FILE)
		return -1;
	if (backing == RAMFS || backing == SHMEM_THP) {
		fs = syscall(SYS_fsopen, backing == RAMFS ? "ramfs" : "tmpfs", 0);
		can(fs >= 0, "cannot mount a filesystem");
		if (backing == SHMEM_THP)
			can(!syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING,
				     "huge", "always", 0), "no tmpfs with huge=");
		need(!syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0),
		     "fsconfig");
		mnt = syscall(SYS_fsmount, fs, 0, 0);
		need(mnt >= 0, "fsmount");
		fd = openat(mnt, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	} else {
		fd = memfd_create("smaps", backing == HUGETLB ? MFD_HUGETLB : 0);
	}
	need(fd >= 0 && !ftruncate(fd, len), "new file");
	return fd;
}

static void map_as(const struct kind *k)
{
	size_t step = k->unit ? *k->unit / 2 : page, once = k->unit ? 2 * step : step;
	size_t object = k->object ? strlen(k->object) * step : 0;
	size_t len = strlen(k->pages) * step, i;
	char *first = NULL;
	int fd;

	can(step, "no huge pages");
	fd = open_file(k->backing, object ?: len);
	if (object) {
		first = map(place(object, alignment), object, RW, MAP_SHARED, fd, 0);
		touch(k, first, k->object, WRITES);
	}
	map(place(len, alignment), len, k->read_only ? PROT_READ : RW,
	    k->shared ? MAP_SHARED : MAP_PRIVATE, fd, k->pgoff * step);
	touch(k, where(), k->pages, WRITES);
	for (i = 0; object && k->object[i]; i++)
		if (k->object[i] == 's')
			page_out(first + i * step, once);
	if (object && !k->twice)
		need(!munmap(first, object), "munmap");
	/* That may also map what is around, if it is in the page cache. */
	touch(k, where(), k->pages, "r");
	for (i = 0; k->out && k->out[i]; i++)
		if (k->out[i] == 'o')
			page_out(where() + i * step, once);
}

/*
 * What else the targets do.
 */

static void then_protect(const struct kind *k)
{
	need(!mprotect(where(), length(), PROT_NONE), "mprotect");
}

static void then_lock(const struct kind *k)
{
	can(!mlock(where(), length()), "cannot mlock");
}

/* The second call drains what the first has only queued. */
static void then_free(const struct kind *k)
{
	can(!madvise(where(), length() / 2, MADV_FREE) &&
	    !madvise(where(), length() / 2, MADV_FREE), "no MADV_FREE");
}

/* Only the second half of a huge page is left, and mapped by small entries. */
static void then_unmap(const struct kind *k)
{
	need(!munmap(where(), huge / 2), "munmap");
	target->ctl->lo += huge / 2;
}

/* Share each @step bytes with a process that has unmapped what is behind @keep. */
static void share(size_t keep, size_t step)
{
	pid_t parent = getpid(), pid;
	char *at = where();
	int done[2];
	char byte;

	need(!pipe(done), "pipe");
	pid = fork();
	need(pid >= 0, "fork");
	if (pid) {
		need(read(done[0], &byte, 1) == 1, "read");
		return;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	for (; keep < step && at < where() + length(); at += step)
		if (munmap(at + keep, step - keep))
			_exit(1);
	if (write(done[1], "", 1) != 1)
		_exit(1);
	while (getppid() == parent)
		pause();
	_exit(0);
}

static void then_fork(const struct kind *k)
{
	share(page, page);
}

/* Every other page */
static void then_fork_odd(const struct kind *k)
{
	share(page, 2 * page);
}

/* Half of each huge page */
static void then_fork_half(const struct kind *k)
{
	share(huge / 2, huge);
}

/* The same with the huge pages mapped by page tables. */
static void then_split_fork_half(const struct kind *k)
{
	size_t at;

	for (at = 0; at < length(); at += huge) {
		need(!mprotect(where() + at, page, PROT_READ), "mprotect");
		need(!mprotect(where() + at, page, PROT_READ | PROT_WRITE),
		     "mprotect");
	}
	then_fork_half(k);
}

static void then_merge(const struct kind *k)
{
	long scans = number(KSM "full_scans");

	can(!madvise(where(), length(), MADV_MERGEABLE), "no KSM");
	/* One may have begun before; one sees the pages, one merges them. */
	while (number(KSM "full_scans") < scans + 3)
		sched_yield();
}

static int uffd(__u64 features, __u64 mode)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	struct uffdio_register reg = {
		.range = { target->ctl->lo, length() },
		.mode = mode,
	};
	struct uffdio_writeprotect wp = {
		.range = reg.range,
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

	can(fd >= 0 && !ioctl(fd, UFFDIO_API, &api), "no such userfaultfd");
	need(!ioctl(fd, UFFDIO_REGISTER, &reg), "UFFDIO_REGISTER");
	if (mode == UFFDIO_REGISTER_MODE_WP)
		need(!ioctl(fd, UFFDIO_WRITEPROTECT, &wp), "UFFDIO_WRITEPROTECT");
	return fd;
}

static void then_uffd(const struct kind *k)
{
	uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP, UFFDIO_REGISTER_MODE_WP);
}

/* Where no page is there are markers, and half of them replace pages. */
static void then_uffd_markers(const struct kind *k)
{
	size_t i;

	uffd(UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_HUGETLBFS_SHMEM,
	     UFFDIO_REGISTER_MODE_WP);
	for (i = 0; k->backing == SHMEM && i < length() / 2; i += page)
		page_out(where() + i, page);
}

/* Put markers of poison where no page is, but not into the last eight. */
static void then_poison(const struct kind *k)
{
	int fd = uffd(UFFD_FEATURE_POISON, UFFDIO_REGISTER_MODE_MISSING);
	struct uffdio_poison poison = { .range = { (uintptr_t)where(), page } };

	for (; poison.range.start < (uintptr_t)where() + length() - 8 * page;
	     poison.range.start += page)
		need(!ioctl(fd, UFFDIO_POISON, &poison) || errno == EEXIST,
		     "UFFDIO_POISON");
}

/* Forget what was touched, and write again. Only 4 flushes the TLB. */
static void then_clear_refs(const struct kind *k)
{
	can(now_pagemap(where()) & PM_SOFT_DIRTY, "no soft-dirty bits");
	need(put("/proc/self/clear_refs", "1"), "clear_refs");
	need(put("/proc/self/clear_refs", "4"), "clear_refs");
	touch(k, where(), "w.w.", WRITES);
}

/*
 * A sparse object whose swapped pages are at the ends of page tables, and the
 * mapping goes over the end of a table of tables. Only one page is touched.
 */
static void then_wide(const struct kind *k)
{
	static const unsigned int swapped[] = { 0, 511, 512, 1023, 1024, 1500, 2047 };
	size_t table = 512 * page, len = 4 * table, i;
	int fd = open_file(SHMEM, len);
	char *shared = map(place(len, table), len, RW, MAP_SHARED, fd, 0), *at;

	write_at(shared + 600 * page);
	for (i = 0; i < ARRAY_SIZE(swapped); i++) {
		write_at(shared + swapped[i] * page);
		page_out(shared + swapped[i] * page, page);
	}
	need(!munmap(shared, len), "munmap");
	at = place(512 * table, 512 * table) - 2 * table;
	map(at, len, k->read_only ? PROT_READ : RW, k->shared ? MAP_SHARED : MAP_PRIVATE, fd, 0);
	read_at(at + 600 * page);
}

/* More than 10 GB, which takes eight digits of kB. */
static void then_large(const struct kind *k)
{
	size_t len = 12UL << 30, i;
	char *at = map(place(len, alignment), len, RW, MAP_PRIVATE | MAP_NORESERVE, -1, 0);

	/* EINVAL: there are no huge pages anyway */
	need(!madvise(at, len, MADV_NOHUGEPAGE) || errno == EINVAL, "MADV_NOHUGEPAGE");
	for (i = 0; i < 8; i++)
		write_at(at + i * (len / 8));
}

/* Every second of 1300 pages */
static void then_ranges(const struct kind *k)
{
	size_t i;

	map(place(1300 * page, page), 1300 * page, RW, MAP_PRIVATE, -1, 0);
	for (i = 0; i < 1300; i += 2)
		write_at(where() + i * page);
}

/*
 * The kinds of memory.
 */

FIXTURE(kind) {
	struct target target;
	struct scenario scenario;
};

FIXTURE_VARIANT(kind) {
	const struct kind *kind;
};

/* n pages, d of them dirty and c clean */
#define MIXED(n, d, c) "Rss " #n " Pss " #n " Pss_Dirty " #d " "	\
		       "Private_Dirty " #d " Private_Clean " #c " "
#define DIRTY(n) "Rss " #n " Pss " #n " Pss_Dirty " #n " "		\
		 "Private_Dirty " #n " Referenced " #n " "
/* n pages shared by two, h is half of them */
#define BY_TWO(n, h) "Rss " #n " Pss " #h " Pss_Dirty " #h " "		\
		     "Shared_Dirty " #n " Referenced " #n " "

#define VARIANT(name, ...)							\
	static const struct kind kind_##name = { __VA_ARGS__ };		\
	FIXTURE_VARIANT_ADD(kind, name) { .kind = &kind_##name }

/* Pages that were written count, between holes that do not. */
VARIANT(anon, .pages = "w.w.w.w.w.w.w.w.",
	.smaps = DIRTY(8) "Anonymous 8", .pagemap = "present 8 exclusive 8");
/* So do those that nobody may access. */
VARIANT(anon_protected, .pages = "w.w.w.w.w.w.w.w.", .then = then_protect,
	.smaps = DIRTY(8) "Anonymous 8", .pagemap = "present 8 exclusive 8");
/* A page that a child shares is half a Pss, and not exclusive. */
VARIANT(anon_forked, .pages = "w.w.w.w.w.w.w.w.", .then = then_fork,
	.smaps = BY_TWO(8, 4) "Anonymous 8", .pagemap = "present 8");
/* Each page has another number of mappings than its neighbours. */
VARIANT(anon_forked_odd, .pages = "wwwwwwww........", .then = then_fork_odd,
	.smaps = "Rss 8 Pss 6 Pss_Dirty 6 Shared_Dirty 4 Private_Dirty 4 Referenced 8 Anonymous 8",
	.pagemap = "present 8 exclusive 4");
/* 12 GB, which takes eight digits of kB */
VARIANT(anon_large, .then = then_large, .smaps = DIRTY(8) "Anonymous 8",
	.pagemap = "present 8 exclusive 8", .vm_flags = "nr nh");
/* More ranges than PAGEMAP_SCAN gathers at a time */
VARIANT(anon_ranges, .then = then_ranges, .smaps = DIRTY(650) "Anonymous 650",
	.pagemap = "present 650 exclusive 650");
/* Locked memory has all its pages. */
VARIANT(anon_locked, .pages = "w.w.w.w.w.w.w.w.", .then = then_lock,
	.smaps = DIRTY(16) "Anonymous 16 Locked 16",
	.pagemap = "present 16 exclusive 16", .vm_flags = "lo");
/* What MADV_FREE leaves is clean. */
VARIANT(anon_lazyfree, .pages = "wwwwwwwwwwwwwwww", .then = then_free,
	.smaps = MIXED(16, 8, 8) "Referenced 8 Anonymous 16 LazyFree 8",
	.pagemap = "present 16 exclusive 16");
/* Only what was written since clear_refs is referenced and soft-dirty. */
VARIANT(anon_cleared, .pages = "wwwwwwww........", .then = then_clear_refs,
	.smaps = "Rss 8 Pss 8 Pss_Dirty 8 Private_Dirty 8 Referenced 2 Anonymous 8",
	.pagemap = "present 8 exclusive 8 soft_dirty 2");
/* Pages that userfaultfd has write-protected are marked, */
VARIANT(anon_uffd, .pages = "w.w.w.w.w.w.w.w.", .then = then_uffd, .smaps = DIRTY(8) "Anonymous 8",
	.pagemap = "present 8 exclusive 8 uffd_wp 8", .vm_flags = "uw");
/* and markers where no page is look like swap in pagemap, */
VARIANT(anon_uffd_markers, .pages = "w.w.w.w.w.w.w.w.", .then = then_uffd_markers,
	.smaps = DIRTY(8) "Anonymous 8",
	.pagemap = "present 8 swapped 8 exclusive 8 uffd_wp 16", .vm_flags = "uw");
/* as do those of poison. */
VARIANT(anon_poison, .pages = "w.w.w.w.w.w.w.w.", .then = then_poison,
	.smaps = DIRTY(8) "Anonymous 8",
	.pagemap = "present 8 swapped 4 exclusive 8", .vm_flags = "um");
/* The zero page is nobody's. */
VARIANT(zero, .pages = "r.r.r.r.r.r.r.r.", .smaps = "", .pagemap = "present 8 zero 8");
/* Pages that KSM has merged are one page. */
VARIANT(ksm, .pages = "w.w.w.w.w.w.w.w.", .then = then_merge,
	.smaps = "Rss 8 Pss 1 Pss_Dirty 1 Shared_Dirty 8 Referenced -1 Anonymous 8 KSM 8",
	.pagemap = "present 8", .vm_flags = "mg");
/* Of a private file pages are anonymous that were written, */
VARIANT(file_private, .backing = RAMFS, .pages = "bwbwr.r.r.r.r.r.",
	.smaps = MIXED(10, 4, 6) "Referenced 10 Anonymous 4",
	.pagemap = "present 10 file 6 exclusive 10");
/* of a shared one none, */
VARIANT(file_shared, .backing = RAMFS, .shared = true, .pages = "bwbwr.r.r.r.r.r.",
	.smaps = MIXED(10, 4, 6) "Referenced 10", .pagemap = "present 10 file 10 exclusive 10");
/* and of shmem it is the same, private */
VARIANT(shmem_private, .backing = SHMEM, .pages = "bwbwr.r.r.r.r.r.",
	.smaps = MIXED(10, 4, 6) "Referenced 10 Anonymous 4",
	.pagemap = "present 10 file 6 exclusive 10");
/* or shared. */
VARIANT(shmem_shared, .backing = SHMEM, .shared = true, .pages = "bwbwr.r.r.r.r.r.",
	.smaps = MIXED(10, 4, 6) "Referenced 10", .pagemap = "present 10 file 10 exclusive 10");
/* What is mapped twice by one process is shared. */
VARIANT(shmem_twice, .backing = SHMEM, .object = "wwwwwwwwwwwwwwww", .twice = true, .shared = true,
	.pages = "wwwwwwww........", .smaps = BY_TWO(8, 4), .pagemap = "present 8 file 8");

/* Huge pages, counted in halves of one */

/* A huge page is counted whole. */
VARIANT(thp, .unit = &huge, .pages = "w...", .smaps = DIRTY(2) "Anonymous 2 AnonHugePages 2",
	.pagemap = "present 2 exclusive 2 huge 2", .vm_flags = "hg");
/* The huge zero page is nobody's, and of a file to pagemap alone. */
VARIANT(thp_zero, .unit = &huge, .pages = "w.r...", .smaps = DIRTY(2) "Anonymous 2 AnonHugePages 2",
	.pagemap = "present 4 file 2 exclusive 2 zero 2 huge 4", .vm_flags = "hg");
/* Half of a huge page counts for as much as is mapped. */
VARIANT(thp_split, .unit = &huge, .pages = "w...", .then = then_unmap,
	.smaps = DIRTY(1) "Anonymous 1", .pagemap = "present 1 exclusive 1", .vm_flags = "hg");
/* Two huge pages; of each another process maps a half, by page tables, */
#define HALF_BY_TWO "Rss 4 Pss 3 Pss_Dirty 3 Shared_Dirty 2 Private_Dirty 2 "	\
		    "Referenced 4 Anonymous 4 "
VARIANT(thp_half_shared, .unit = &huge, .pages = "w.w.", .then = then_fork_half,
	.smaps = HALF_BY_TWO "AnonHugePages 4",
	.pagemap = "present 4 exclusive 2 huge 4", .vm_flags = "hg");
/* and the same where both map them so. */
VARIANT(thp_split_half_shared, .unit = &huge, .pages = "w.w.", .then = then_split_fork_half,
	.smaps = HALF_BY_TWO, .pagemap = "present 4 exclusive 2", .vm_flags = "hg");
/* Huge pages of shmem are said to be such. */
VARIANT(shmem_thp, .unit = &huge, .backing = SHMEM_THP, .shared = true, .pages = "w...",
	.smaps = DIRTY(2) "ShmemPmdMapped 2", .pagemap = "present 2 file 2 exclusive 2 huge 2");
/* hugetlb has numbers of its own, for private memory, */
VARIANT(hugetlb_private, .unit = &hugetlb, .backing = HUGETLB, .pages = "w.w...",
	.smaps = "Private_Hugetlb 4", .pagemap = "present 4 exclusive 4 huge 4",
	.vm_flags = "de ht");
/* for memory that could be shared, */
VARIANT(hugetlb_shared, .unit = &hugetlb, .backing = HUGETLB, .shared = true, .pages = "w.w...",
	.smaps = "Private_Hugetlb 4",
	.pagemap = "present 4 file 4 exclusive 4 huge 4", .vm_flags = "de ht");
/* and for what is. */
VARIANT(hugetlb_twice, .unit = &hugetlb, .backing = HUGETLB, .object = "w.....", .twice = true,
	.shared = true, .pages = "w.w...", .smaps = "Shared_Hugetlb 2 Private_Hugetlb 2",
	.pagemap = "present 4 file 4 exclusive 2 huge 4", .vm_flags = "de ht");

/* Memory in swap: of what is anonymous the page tables know. */

/* Pages in swap are between others. */
VARIANT(swap_anon, .pages = "wwwwwwwwwwwwww..", .out = "o.o.o.o.o.o.",
	.smaps = DIRTY(8) "Anonymous 8 Swap 6 SwapPss 6",
	.pagemap = "present 8 swapped 6 exclusive 8");
/* Those that a child shares are half a SwapPss. */
VARIANT(swap_forked, .pages = "wwwwwwwwwwwwww..", .out = "o.o.o.o.o.o.", .then = then_fork,
	.smaps = BY_TWO(8, 4) "Anonymous 8 Swap 6 SwapPss 3", .pagemap = "present 8 swapped 6");
/* Copies of a private file go to swap. */
VARIANT(swap_file_private, .backing = RAMFS, .pages = "wwwwr.r.r.r.r.r.", .out = "oo",
	.smaps = MIXED(8, 2, 6) "Referenced 8 Anonymous 2 Swap 2 SwapPss 2",
	.pagemap = "present 8 swapped 2 file 6 exclusive 8");
/* A huge page in swap is one entry of the page table above. */
VARIANT(swap_thp, .unit = &huge, .pages = "w.w...", .out = "o.",
	.smaps = DIRTY(2) "Anonymous 2 AnonHugePages 2 Swap 2 SwapPss 2",
	.pagemap = "present 2 swapped 2 exclusive 2 huge 2", .vm_flags = "hg");

/* Of a shmem object in swap they do not, */

/*
 * where there is a page table and where there is none. s: in swap, w: not
 *
 *	object	ssssssssw.w.w.s.	maps	........r.w.r...
 */
VARIANT(swap_shmem_shared, .backing = SHMEM, .object = "ssssssssw.w.w.s.", .shared = true,
	.pages = "........r.w.r...", .smaps = DIRTY(3) "Swap 9",
	.pagemap = "present 3 file 3 exclusive 3");
/* Three pages were copied, one of the copies is in swap itself: only that counts. */
VARIANT(swap_shmem_private, .backing = SHMEM, .object = "ssssssssw.w.w..s",
	.pages = "ww......r.r.r..w", .out = "o", .smaps = DIRTY(5) "Anonymous 2 Swap 7 SwapPss 1",
	.pagemap = "present 5 swapped 1 file 3 exclusive 5");
/* There can be no copies in what is private and never was writable. */
VARIANT(swap_shmem_readonly, .backing = SHMEM, .object = "ssssssssw.w.w.s.", .read_only = true,
	.pages = "........r.r.r...", .smaps = DIRTY(3) "Swap 9",
	.pagemap = "present 3 file 3 exclusive 3");
/* Only what is mapped counts, shared */
VARIANT(swap_shmem_shared_part, .backing = SHMEM, .object = "ssssssssw.w.w.s.", .shared = true,
	.pgoff = 5, .pages = "...r.w.r", .smaps = DIRTY(3) "Swap 3",
	.pagemap = "present 3 file 3 exclusive 3");
/* or private. */
VARIANT(swap_shmem_private_part, .backing = SHMEM, .object = "ssssssssw.w.w.s.", .pgoff = 5,
	.pages = "w..r.r.r", .smaps = DIRTY(4) "Anonymous 1 Swap 2",
	.pagemap = "present 4 file 3 exclusive 4");
/* The mapping goes beyond the end of the object, and has no page table. */
VARIANT(swap_shmem_beyond, .backing = SHMEM, .object = "ssssssss", .pgoff = 4,
	.pages = "................", .smaps = "Swap 4");
/* Another mapping of it changes nothing. */
VARIANT(swap_shmem_twice, .backing = SHMEM, .object = "ssssssssw.w.w.s.", .twice = true,
	.shared = true, .pages = "................", .smaps = "Swap 9");
/* Markers of userfaultfd are no copies, */
VARIANT(swap_shmem_uffd, .backing = SHMEM, .shared = true, .pages = "wwwwwwwwwwww....",
	.then = then_uffd_markers, .smaps = DIRTY(4) "Swap 8",
	.pagemap = "present 4 swapped 12 file 4 exclusive 4 uffd_wp 16", .vm_flags = "uw");
/* nor are those of poison. */
VARIANT(swap_shmem_poison, .backing = SHMEM, .object = "ssssssssw.w.w.s.", .shared = true,
	.pages = "................", .then = then_poison, .smaps = "Swap 9",
	.pagemap = "swapped 8", .vm_flags = "um");
/* Pages at the ends of page tables, in part without such, count, shared */
VARIANT(swap_shmem_shared_wide, .shared = true, .then = then_wide, .smaps = DIRTY(1) "Swap 7",
	.pagemap = "present 1 file 1 exclusive 1");
/* or private. */
VARIANT(swap_shmem_private_wide, .then = then_wide, .smaps = DIRTY(1) "Swap 7",
	.pagemap = "present 1 file 1 exclusive 1");
/* A huge page counts whole, */
VARIANT(swap_shmem_thp, .unit = &huge, .backing = SHMEM_THP, .object = "s...", .shared = true,
	.pages = "....", .smaps = "Swap 2");
/* or as much of it as no copies hide, */
VARIANT(swap_shmem_thp_private, .unit = &huge, .backing = SHMEM_THP, .object = "s...",
	.pages = "W...", .exact = true, .smaps = DIRTY(1) "Anonymous 1 Swap 1",
	.pagemap = "present 1 exclusive 1");
/* or as is mapped. */
VARIANT(swap_shmem_thp_half, .unit = &huge, .backing = SHMEM_THP, .object = "s...", .shared = true,
	.pgoff = 1, .pages = "...", .exact = true, .smaps = "Swap 1");

static const char *provide_for(bool ksm, bool hugepages, bool swap)
{
	setting_calm();
	if (ksm && !setting_put(KSM "run", 1))
		return "cannot start KSM";
	if (hugepages && !setting_put(NR_HUGEPAGES, number(NR_HUGEPAGES) + 4))
		return "cannot reserve huge pages";
	return swap ? provide_swap(true) : NULL;
}

static void sizes(void)
{
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	long n = number(THP "hpage_pmd_size");

	page = sysconf(_SC_PAGESIZE);
	huge = n > 0 ? n : 0;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Hugepagesize: %ld", &n) == 1)
			hugetlb = n << 10;
	if (f)
		fclose(f);
	alignment = huge > hugetlb ? huge : hugetlb ?: 512 * page;
}

static void kind_prepare(struct target *t)
{
	const struct kind *k = t->scenario->data;
	cpu_set_t cpu;

	prctl(PR_SET_THP_DISABLE, k->unit != &huge, 0, 0, 0);
	/* Pages wait in queues of each CPU until they can be paged out. */
	CPU_ZERO(&cpu);
	CPU_SET(sched_getcpu(), &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	errno = 0;
	if (k->pages)
		map_as(k);
	if (k->then)
		k->then(k);
}

/* Return false after a SKIP. When it is prepared the target sleeps: all is quiet. */
static bool start(struct __test_metadata *_metadata, struct target *t, struct scenario *s)
{
	target = t;
	ASSERT_EQ(0, target_start(t, s));
	if (!target_do(t, TARGET_PREPARE) && !strncmp(t->ctl->failed, "SKIP ", 5))
		SKIP(return false, "%s", t->ctl->failed + 5);
	ASSERT_EQ(0, t->ctl->error)
		TH_LOG("%s: %s", t->ctl->failed, strerror(t->ctl->error));
	return true;
}

FIXTURE_SETUP(kind)
{
	sizes();
	self->scenario = (struct scenario) { .prepare = kind_prepare, .data = variant->kind };
}

FIXTURE_TEARDOWN(kind)
{
	if (target)
		target_end(&self->target);
	EXPECT_TRUE(setting_restore());
}

/*
 * Reading.
 */

/* Return the length, or -errno; -ENOENT: not in this kernel. */
static ssize_t read_text(pid_t pid, enum text which, size_t size, char *buf)
{
	int fd = maps_open_file(pid, text_name[which]);
	size_t len = 0;
	ssize_t n;

	buf[0] = '\0';
	if (fd < 0)
		return -errno;
	do {
		n = len + size < sizeof(text[0][0]) ? read(fd, buf + len, size) : -1;
		len += n > 0 ? n : 0;
	} while (n > 0);
	close(fd);
	buf[len] = '\0';
	return n ? -EIO : len;
}

/* If the text begins with @name and @sign, read the number that follows. */
static bool parse_number(const char *p, const char *name, char sign, unsigned long *n)
{
	size_t len = strlen(name);

	if (strncmp(p, name, len) || p[len] != sign)
		return false;
	*n = strtoul(p + len + 1, NULL, 10);
	return true;
}

/* A number and its unit, right-aligned as far as there is room. */
static bool is_aligned(const char *p, unsigned long n)
{
	int name = strncmp(p, "Private_Hugetlb:", 16) ? 16 : 17;
	char want[64];

	snprintf(want, sizeof(want), "%*lu kB\n", 24 - name, n);
	return !strncmp(p + name, want, strlen(want));
}

/* Parse smaps or smaps_rollup. Return the number of entries, or -1. */
static int parse(const char *p, struct entry *entry, int max)
{
	const char *end = p + strlen(p);
	struct entry *e = NULL;
	struct maps_line line;
	int nr = 0, i;

	for (; p < end; p = strchr(p, '\n') + 1) {
		if (!strchr(p, '\n'))
			return -1;
		if (maps_parse(p, end, &line)) {
			if (nr == max)
				return -1;
			e = &entry[nr++];
			memset(e, 0, sizeof(*e));
			e->line = line;
			continue;
		}
		if (!e)
			return -1;
		if (!strncmp(p, "VmFlags: ", 9))
			snprintf(e->flags, sizeof(e->flags), "%.*s",
				 (int)strcspn(p + 9, "\n"), p + 9);
		for (i = 0; i < NR_FIELDS; i++) {
			if (!parse_number(p, field_name[i], ':', &e->kb[i]))
				continue;
			if (e->seen & 1 << i || !is_aligned(p, e->kb[i]))
				return -1;
			e->seen |= 1 << i;
		}
	}
	return nr;
}

/* A line of numa_maps */
struct numa {
	unsigned long start, pages, anon, dirty, mapped, kb;
	bool huge, heap, stack;
};

static void parse_numa(const char *p, struct numa *n)
{
	char line[512], *word, *rest;
	unsigned long nr;

	memset(n, 0, sizeof(*n));
	snprintf(line, sizeof(line), "%.*s", (int)strcspn(p, "\n"), p);
	n->start = strtoul(line, &rest, 16);
	for (word = strtok_r(rest, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		parse_number(word, "anon", '=', &n->anon);
		parse_number(word, "dirty", '=', &n->dirty);
		parse_number(word, "mapped", '=', &n->mapped);
		parse_number(word, "kernelpagesize_kB", '=', &n->kb);
		n->pages += sscanf(word, "N%*u=%lu", &nr) == 1 ? nr : 0;
		n->huge |= !strcmp(word, "huge");
		n->heap |= !strcmp(word, "heap");
		n->stack |= !strcmp(word, "stack");
	}
}

/*
 * Read all until nothing has changed meanwhile: the target does nothing, but
 * others map the same libraries, and share its memory since it was forked.
 */
static void read_all(struct __test_metadata *_metadata, pid_t pid)
{
	const unsigned int sums = (1 << NR_SUMS) - 1;
	const unsigned int smaps = sums | 1 << SIZE | 1 << KERNEL_PAGE_SIZE;
	const unsigned int pss = 1 << PSS_ANON | 1 << PSS_FILE | 1 << PSS_SHMEM;
	int i, same, tries = 0;
	ssize_t ret;

	do {
		ASSERT_GT(1000, tries++)
			TH_LOG("never quiet");
		for (i = 0; i < 2 * NR_TEXTS; i++) {
			ret = read_text(pid, i % NR_TEXTS, READ_LARGE,
					text[i / NR_TEXTS][i % NR_TEXTS]);
			ASSERT_TRUE(ret > 0 || (ret == -ENOENT && i % NR_TEXTS == NUMA_MAPS));
		}
		for (i = 0, same = 0; i < NR_TEXTS; i++)
			same += !strcmp(text[0][i], text[1][i]);
	} while (same != NR_TEXTS);
	nr_entries = parse(text[0][SMAPS], entries, MAX_ENTRIES);
	ASSERT_LT(0, nr_entries);
	for (i = 0; i < nr_entries; i++)
		ASSERT_EQ(smaps, entries[i].seen);
	ASSERT_EQ(1, parse(text[0][SMAPS_ROLLUP], &rollup, 1));
	ASSERT_EQ(sums | pss, rollup.seen);
}

static struct entry *find_entry(unsigned long start, const char *name)
{
	int i;

	for (i = nr_entries; i-- > 0;)
		if (name ? !strcmp(entries[i].line.name, name) : entries[i].line.start == start)
			return &entries[i];
	return NULL;
}

/* The gate VMA, which all processes share, and which is in none of their trees. */
static bool is_gate(const struct entry *e)
{
	return !strcmp(e->line.name, "[vsyscall]") ||
	       !strcmp(e->line.name, "[vectors]");
}

static bool all_zero(const struct entry *e)
{
	static const unsigned long zero[NR_SUMS];

	return !memcmp(e->kb, zero, sizeof(zero));
}

static bool has_flag(const struct entry *e, const char *flag)
{
	return strstr(e->flags, flag);
}

/*
 * Checks of one entry.
 */

/* All flags but these: accounting, policy of mounts, and soft-dirty. */
static bool flags_in(const char *a, const char *b)
{
	char flag[3] = "";

	for (; *a; a += strcspn(a, " "), a += strspn(a, " ")) {
		memcpy(flag, a, 2);
		if (!strstr("ac nr me sd", flag) && !strstr(b, flag))
			return false;
	}
	return true;
}

static void check_flags(struct __test_metadata *_metadata,
			const struct kind *k, const struct entry *e)
{
	char want[64];

	snprintf(want, sizeof(want), "%s%smr mw %s%s", k->then == then_protect ? "" : "rd ",
		 k->then == then_protect || k->read_only ? "" : "wr ",
		 k->shared ? "sh ms " : "", k->vm_flags ?: "");
	EXPECT_TRUE(flags_in(want, e->flags) && flags_in(e->flags, want))
		TH_LOG("'%s' instead of '%s'", e->flags, want);
}

/* The number behind the name, 0 if it is not there. */
static long expected(const char *text, const char *name)
{
	char word[32];
	long n;
	int len;

	for (; text && sscanf(text, "%31s %ld%n", word, &n, &len) == 2; text += len)
		if (!strcmp(word, name))
			return n;
	return 0;
}

static void check_numbers(struct __test_metadata *_metadata,
			  const struct kind *k, const struct entry *e)
{
	long want, unit = (k->unit ? *k->unit / 2 : page) >> 10;
	int i;

	for (i = 0; i < NR_SUMS; i++) {
		want = expected(k->smaps, field_name[i]);
		if (want != ANY)
			EXPECT_EQ(want * unit, e->kb[i])
				TH_LOG("%s", field_name[i]);
	}
	EXPECT_EQ((e->line.end - e->line.start) >> 10, e->kb[SIZE]);
	EXPECT_EQ((k->unit == &hugetlb ? hugetlb : page) >> 10, e->kb[KERNEL_PAGE_SIZE]);
}

/*
 * The rollup is the sum. Each Pss is cut to kB, so the sum of n of them can be
 * n - 1 kB short of the sum that is cut; all others are exact.
 */
static void check_rollup(struct __test_metadata *_metadata)
{
	unsigned long sum[NR_SUMS] = {}, end = 0, parts;
	int i, f, nr = 0;

	for (i = 0; i < nr_entries; i++) {
		for (f = 0; f < NR_SUMS; f++)
			sum[f] += entries[i].kb[f];
		if (!is_gate(&entries[i])) {
			end = entries[i].line.end;
			nr++;
		}
	}
	for (f = 0; f < NR_SUMS; f++) {
		bool pss = f == PSS || f == PSS_DIRTY || f == SWAP_PSS || f == LOCKED;

		EXPECT_LE(sum[f], rollup.kb[f])
			TH_LOG("%s", field_name[f]);
		EXPECT_GE(sum[f] + (pss ? nr - 1 : 0), rollup.kb[f])
			TH_LOG("%s", field_name[f]);
	}
	/* Three were cut, and the sum of them as well. */
	parts = rollup.kb[PSS_ANON] + rollup.kb[PSS_FILE] + rollup.kb[PSS_SHMEM];
	EXPECT_LE(parts, rollup.kb[PSS]);
	EXPECT_GE(parts + 2, rollup.kb[PSS]);
	EXPECT_STREQ("[rollup]", rollup.line.name);
	EXPECT_STREQ("---p", rollup.line.prot);
	EXPECT_EQ(entries[0].line.start, rollup.line.start);
	EXPECT_EQ(end, rollup.line.end);
}

/*
 * Scan all pages with a buffer of @max ranges. Return for how many pages there is an
 * answer, or -errno; -EBADMSG: there is none between two, or what was said comes again.
 */
static long scan(int fd, unsigned long start, unsigned long end, __u64 *categories, int max)
{
	static struct page_region regions[MANY_RANGES];
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.end = end,
		.vec = (uintptr_t)regions,
		.vec_len = max,
		.return_mask = SCAN_ALL,
	};
	unsigned long at = start;
	long i, n;

	for (arg.start = start; arg.start < end; arg.start = arg.walk_end) {
		n = ioctl(fd, PAGEMAP_SCAN, &arg);
		if (n < 0)
			return -errno;
		for (i = 0; i < n; i++) {
			if (regions[i].start != at || regions[i].end > end)
				return -EBADMSG;
			for (; at < regions[i].end; at += page)
				*categories++ = regions[i].categories;
		}
	}
	return (at - start) / page;
}

/* Does pagemap say the same of a page? */
static bool same_page(__u64 pme, __u64 categories)
{
	bool maps_page = pme & (PM_PRESENT | PM_SWAP);

	/* Only pagemap says that the huge zero page is of a file. */
	return !(pme & PM_PRESENT) == !(categories & PAGE_IS_PRESENT) &&
	       !(pme & PM_SWAP) == !(categories & PAGE_IS_SWAPPED) &&
	       !(pme & PM_SOFT_DIRTY) == !(categories & PAGE_IS_SOFT_DIRTY) &&
	       (!(pme & PM_FILE) == !(categories & PAGE_IS_FILE) ||
		categories & PAGE_IS_PFNZERO) &&
	       (!maps_page || !(pme & PM_UFFD_WP) == !!(categories & PAGE_IS_WRITTEN));
}

/* Compare pagemap with PAGEMAP_SCAN and both with the entry; count. */
static void check_pages(struct __test_metadata *_metadata, pid_t pid,
			const struct entry *e, bool ours, long *count)
{
	unsigned long zero_huge = 0, kb = page >> 10;
	size_t i, nr = (e->line.end - e->line.start) / page;
	__u64 *pme = calloc(nr, 3 * sizeof(*pme)), *categories = pme + nr, *at_once = pme + 2 * nr;
	int fd = maps_open_file(pid, "pagemap");
	ssize_t ret;

	ASSERT_TRUE(pme && fd >= 0);
	memset(count, 0, NR_PAGE_KINDS * sizeof(*count));
	ret = pread(fd, pme, nr * 8, e->line.start / page * 8);
	if (is_gate(e)) {
		EXPECT_EQ(0, ret);
		nr = 0;
	} else {
		EXPECT_EQ(nr * 8, ret);
	}
	ret = scan(fd, e->line.start, e->line.end, categories, FEW_RANGES);
	EXPECT_EQ(ret, scan(fd, e->line.start, e->line.end, at_once, MANY_RANGES));
	EXPECT_EQ(0, memcmp(categories, at_once, nr * sizeof(*pme)));
	/* It passes over VM_PFNMAP, and knows no gate VMA. */
	if (ret != -ENOTTY && ret != -EINVAL)
		EXPECT_EQ(is_gate(e) ? -EFAULT : has_flag(e, "pf") ? 0 : nr, ret);
	for (i = 0; i < nr; i++) {
		if (ret > 0 && !same_page(pme[i], categories[i])) {
			EXPECT_TRUE(false)
				TH_LOG("page %zu of %lx: pagemap %llx, scan %llx", i,
				       e->line.start, pme[i], categories[i]);
			break;
		}
		count[PRESENT] += !!(pme[i] & PM_PRESENT);
		count[SWAPPED] += !!(pme[i] & PM_SWAP);
		count[OF_FILE] += !!(pme[i] & PM_FILE);
		count[EXCLUSIVE] += !!(pme[i] & PM_EXCLUSIVE);
		count[UFFD_WP] += !!(pme[i] & PM_UFFD_WP);
		count[SOFT_DIRTY] += !!(pme[i] & PM_SOFT_DIRTY);
		count[ZERO] += !!(categories[i] & PAGE_IS_PFNZERO);
		/* also said of a hole in hugetlb */
		count[HUGE] += categories[i] & PAGE_IS_HUGE &&
			       categories[i] & PAGE_IS_PRESENT;
		zero_huge += categories[i] & PAGE_IS_PFNZERO &&
			     categories[i] & PAGE_IS_HUGE;
	}
	if (ret > 0) {
		EXPECT_EQ((count[PRESENT] - count[ZERO]) * kb,
			  e->kb[RSS] + e->kb[SHARED_HUGETLB] + e->kb[PRIVATE_HUGETLB]);
		EXPECT_EQ((count[HUGE] - zero_huge) * kb,
			  e->kb[ANON_HUGE] + e->kb[SHMEM_HUGE] + e->kb[FILE_HUGE] +
			  e->kb[SHARED_HUGETLB] + e->kb[PRIVATE_HUGETLB]);
	} else {
		EXPECT_EQ(0, e->kb[RSS]);
	}
	/* Markers, and swap that is the object's, are only in ours. */
	if (!ours)
		EXPECT_EQ(count[SWAPPED] * kb, e->kb[SWAP]);
	EXPECT_EQ(e->kb[RSS], e->kb[SHARED_CLEAN] + e->kb[SHARED_DIRTY] +
			      e->kb[PRIVATE_CLEAN] + e->kb[PRIVATE_DIRTY]);
	free(pme);
	close(fd);
}

/* Compare numa_maps with the entry. */
static void check_numa(struct __test_metadata *_metadata, const struct entry *e,
		       const long *count)
{
	bool tlb = has_flag(e, "ht");
	struct numa n;
	const char *p;

	for (p = text[0][NUMA_MAPS]; *p; p = strchr(p, '\n') + 1)
		if (strtoul(p, NULL, 16) == e->line.start)
			break;
	ASSERT_EQ(is_gate(e), !*p)
		TH_LOG("no line for %lx", e->line.start);
	parse_numa(p, &n);
	EXPECT_EQ(tlb, n.huge);
	EXPECT_EQ(!strcmp(e->line.name, "[heap]"), n.heap);
	EXPECT_EQ(!strcmp(e->line.name, "[stack]"), n.stack);
	/* Pages of the kernel's image are none of a node. */
	if (!strcmp(e->line.name, "[vdso]"))
		return;
	EXPECT_EQ(e->kb[RSS] + e->kb[SHARED_HUGETLB] + e->kb[PRIVATE_HUGETLB], n.pages * n.kb);
	EXPECT_EQ(n.pages != n.anon && n.pages != n.dirty ? n.pages : 0, n.mapped);
	EXPECT_EQ(n.pages ? e->kb[KERNEL_PAGE_SIZE] : 0, n.kb);
	/* Of hugetlb smaps says neither of these; all pages are written. */
	EXPECT_EQ(tlb ? (count[PRESENT] - count[OF_FILE]) * (page >> 10) : e->kb[ANONYMOUS],
		  n.anon * n.kb);
	EXPECT_EQ(tlb ? n.pages * n.kb : e->kb[SHARED_DIRTY] + e->kb[PRIVATE_DIRTY],
		  n.dirty * n.kb);
}

/* All entries of the process; @k is what is known of one. */
static void check_all(struct __test_metadata *_metadata, pid_t pid, const struct kind *k)
{
	long count[NR_PAGE_KINDS], want, unit = k->unit ? *k->unit / 2 / page : 1;
	const struct entry *e;
	int i;

	check_rollup(_metadata);
	for (e = entries; e < entries + nr_entries; e++) {
		bool ours = k->smaps && e->line.start == target->ctl->lo;

		check_pages(_metadata, pid, e, ours || (k->object && has_flag(e, "sh")), count);
		if (text[0][NUMA_MAPS][0])
			check_numa(_metadata, e, count);
		for (i = 0; ours && i < NR_PAGE_KINDS; i++) {
			want = expected(k->pagemap, page_kind_name[i]) * unit;
			if (i == SOFT_DIRTY && !want && has_flag(e, "sd"))
				want = length() / page;
			EXPECT_EQ(want, count[i])
				TH_LOG("%s", page_kind_name[i]);
		}
	}
}

TEST_F_TIMEOUT(kind, sums, test_timeout())
{
	const struct kind *k = variant->kind;
	bool swap = strstr(k->smaps, "Swap");
	const struct entry *e;
	const char *why;

	if (k->exact && !maps_walks_lockless("smaps"))
		SKIP(return, "large entries of swap are not counted exactly");
	why = provide_for(strstr(k->smaps, "KSM"), k->backing == HUGETLB, swap);
	if (why)
		SKIP(return, "%s", why);
	if (!start(_metadata, &self->target, &self->scenario))
		return;
	read_all(_metadata, target->pid);
	e = find_entry(target->ctl->lo, NULL);
	ASSERT_NE(NULL, e);
	EXPECT_EQ(target->ctl->hi, e->line.end);
	check_numbers(_metadata, k, e);
	check_flags(_metadata, k, e);
	check_all(_metadata, target->pid, k);
}

/*
 * A process with many mappings, for the special ones and for how it is read.
 *
 *	|P.| |P.| |P.| ..	FILLERS: a page that was touched, one that was not, and a hole
 */

#define FILLERS 100
#define FILLER_PAGES 3
#define HEAP_PAGES 16
#define STACK_PAGES 16

static void then_many(const struct kind *k)
{
	char *heap = sbrk(page), *at = place(FILLERS * FILLER_PAGES * page, 512 * page);
	struct timespec now;
	size_t i;

	heap = (char *)(((uintptr_t)heap + page - 1) & -page);
	need(!brk(heap + HEAP_PAGES * page), "brk");
	touch(k, heap, "w.w.w.w.w.w.w.w.", WRITES);
	for (i = 0; i < STACK_PAGES; i++)
		write_at(alloca(page));
	need(!clock_gettime(CLOCK_MONOTONIC, &now), "clock_gettime");
	for (i = 0; i < FILLERS; i++)
		touch(k, map(at + i * FILLER_PAGES * page, 2 * page, RW, MAP_PRIVATE, -1, 0), "w.",
		      WRITES);
	target->ctl->lo = (uintptr_t)at;
	target->ctl->hi = target->ctl->lo + FILLERS * FILLER_PAGES * page;
}

static const struct kind many = { .then = then_many };

FIXTURE(process) {
	struct target target;
	struct scenario scenario;
	int pagemap;
};

FIXTURE_SETUP(process)
{
	sizes();
	self->scenario = (struct scenario) { .prepare = kind_prepare, .data = &many };
	ASSERT_TRUE(start(_metadata, &self->target, &self->scenario));
	self->pagemap = maps_open_file(target->pid, "pagemap");
	ASSERT_LE(0, self->pagemap);
	read_all(_metadata, target->pid);
}

FIXTURE_TEARDOWN(process)
{
	target_end(&self->target);
}

/* Heap and stack are anonymous; the last pages of the heap are as then_many() has done it. */
TEST_F_TIMEOUT(process, heap_and_stack, test_timeout())
{
	const struct entry *heap = find_entry(0, "[heap]"), *stack = find_entry(0, "[stack]");
	__u64 pme[HEAP_PAGES];
	int i;

	ASSERT_TRUE(heap && stack);
	EXPECT_LE(HEAP_PAGES / 2 * page >> 10, heap->kb[ANONYMOUS]);
	EXPECT_EQ(heap->kb[RSS], heap->kb[ANONYMOUS]);
	check_flags(_metadata, &many, heap);
	ASSERT_EQ(sizeof(pme), pread(self->pagemap, pme, sizeof(pme),
				     (heap->line.end / page - HEAP_PAGES) * 8));
	for (i = 0; i < HEAP_PAGES; i++)
		EXPECT_EQ(i % 2 ? 0 : PM_PRESENT | PM_EXCLUSIVE,
			  pme[i] & (PM_PRESENT | PM_EXCLUSIVE | PM_SWAP | PM_FILE));
	EXPECT_LE(STACK_PAGES * page >> 10, stack->kb[ANONYMOUS]);
	EXPECT_EQ(stack->kb[RSS], stack->kb[ANONYMOUS]);
	EXPECT_TRUE(has_flag(stack, "gd"));
}

/* vvar is VM_PFNMAP and its pages are nobody's; those of the vdso are counted. */
TEST_F_TIMEOUT(process, vdso, test_timeout())
{
	const struct entry *vvar = find_entry(0, "[vvar]"), *vdso = find_entry(0, "[vdso]");

	if (!vvar || !vdso)
		SKIP(return, "no [vvar] or no [vdso]");
	EXPECT_TRUE(has_flag(vvar, "pf"));
	EXPECT_TRUE(all_zero(vvar));
	EXPECT_LT(0, vdso->kb[RSS]);
	EXPECT_EQ(0, vdso->kb[ANONYMOUS]);
}

/* The gate is the last entry of smaps; check_all() looks into the other files. */
TEST_F_TIMEOUT(process, vsyscall, test_timeout())
{
	const struct entry *e = find_entry(0, "[vsyscall]");

	if (!e)
		SKIP(return, "no [vsyscall]");
	EXPECT_EQ(&entries[nr_entries - 1], e);
	EXPECT_EQ(page >> 10, e->kb[SIZE]);
	EXPECT_TRUE(all_zero(e));
}

/* The numbers of all its mappings are the same in all files. */
TEST_F_TIMEOUT(process, sums, test_timeout())
{
	check_all(_metadata, target->pid, &many);
}

/* Is a text the same by read()s of @size, and everywhere by pread(), backward? */
static bool reads_same(pid_t pid, enum text which, size_t size, const char *want, ssize_t len)
{
	static char buf[sizeof(text[0][0])];
	int fd = maps_open_file(pid, text_name[which]);
	bool same = read_text(pid, which, size, buf) == len && !strcmp(want, buf) &&
		    pread(fd, buf, size, len) == 0;
	ssize_t n, pos;

	for (pos = len - 1; same && pos >= 0; pos -= len / 37 + 1) {
		n = pread(fd, buf, size, pos);
		same = n > 0 && n <= size && n <= len - pos && !memcmp(want + pos, buf, n);
	}
	close(fd);
	return same;
}

/* The bytes are the same however they are read. Others may change them, see read_all(). */
TEST_F_TIMEOUT(process, read, test_timeout())
{
	static const size_t sizes[] = { 1, READ_SMALL, READ_PAGE, READ_LARGE };
	char *before, *after;
	int i, j, tries;
	ssize_t len;
	bool same;

	for (i = 0; i < NR_TEXTS; i++) {
		before = text[0][i];
		after = text[1][i];
		for (j = 0; j < ARRAY_SIZE(sizes); j++) {
			tries = 0;
			do {
				ASSERT_GT(100, tries++)
					TH_LOG("never quiet");
				len = read_text(target->pid, i, READ_LARGE, before);
				same = len <= 0 ||
				       reads_same(target->pid, i, sizes[j], before, len);
				read_text(target->pid, i, READ_LARGE, after);
			} while (strcmp(before, after));
			EXPECT_TRUE(len > 0 || (len == -ENOENT && i == NUMA_MAPS));
			EXPECT_TRUE(same)
				TH_LOG("%s, by %zu bytes", text_name[i], sizes[j]);
		}
	}
}

/* Read @nr entries from page @first on, so many at once. Return how many came. */
static long pagemap_by(int fd, __u64 *pme, unsigned long first, long nr, long by)
{
	long done = 0;
	ssize_t ret;

	do {
		ret = pread(fd, pme + done, (by < nr - done ? by : nr - done) * 8,
			    (first + done) * 8);
		done += ret > 0 ? ret / 8 : 0;
	} while (ret > 0 && done < nr);
	return ret < 0 ? -errno : done;
}

#define AROUND 500		/* pages of the hole on each side of the fillers */

/* Chunks of any size and at any place are the same entries, holes included. */
TEST_F_TIMEOUT(process, pagemap_chunks, test_timeout())
{
	static const int chunks[] = { 1, 3, 511, 512, 513, 1000 };
	long i, j, nr = FILLERS * FILLER_PAGES, all = nr + 2 * AROUND;
	unsigned long first = target->ctl->lo / page - AROUND;
	__u64 *want = calloc(2 * all, sizeof(*want)), *got = want + all;

	ASSERT_NE(NULL, want);
	ASSERT_EQ(all, pagemap_by(self->pagemap, want, first, all, all));
	for (i = 0; i < all; i++) {
		j = i - AROUND;
		if (j < 0 || j >= nr || j % FILLER_PAGES == 2) {
			EXPECT_EQ(0, want[i]);
		} else {
			EXPECT_EQ(j % FILLER_PAGES ? 0 : PM_PRESENT | PM_EXCLUSIVE,
				  want[i] & (PM_PRESENT | PM_EXCLUSIVE | PM_SWAP));
		}
	}
	for (i = 0; i < ARRAY_SIZE(chunks); i++) {
		for (j = 0; j < all; j += 97) {
			memset(got, 0xff, all * 8);
			ASSERT_EQ(all - j, pagemap_by(self->pagemap, got, first + j, all - j,
						      chunks[i]));
			EXPECT_EQ(0, memcmp(want + j, got, (all - j) * 8))
				TH_LOG("from %ld by %d", j, chunks[i]);
		}
	}
	/* Not at the start of an entry, not a whole number of them */
	EXPECT_EQ(-1, pread(self->pagemap, got, 8, first * 8 + 4));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, pread(self->pagemap, got, 12, first * 8));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, pread(self->pagemap, got, 0, first * 8));
	free(want);
}

#define END 600

/* Entries end where addresses end: they are zero up to there, and then there is nothing. */
TEST_F_TIMEOUT(process, pagemap_ends, test_timeout())
{
	unsigned long lo = target->ctl->lo / page, hi = LLONG_MAX / 8, mid;
	static const __u64 zero[END];
	__u64 pme[2 * END];
	int i;

	/* @lo is inside, @hi is not */
	ASSERT_EQ(8, pread(self->pagemap, pme, 8, lo * 8));
	ASSERT_EQ(0, pread(self->pagemap, pme, 8, hi * 8 - 8));
	while (hi - lo > 1) {
		mid = lo + (hi - lo) / 2;
		if (pread(self->pagemap, pme, 8, mid * 8) == 8)
			lo = mid;
		else
			hi = mid;
	}
	for (i = 1; i <= END; i += 41) {
		EXPECT_EQ(i, pagemap_by(self->pagemap, pme, hi - i, 2 * END, 2 * END));
		EXPECT_EQ(i, pagemap_by(self->pagemap, pme, hi - i, 2 * END, 7));
		EXPECT_EQ(0, memcmp(pme, zero, i * 8));
		EXPECT_EQ(0, pread(self->pagemap, pme, sizeof(pme), (hi + i - 1) * 8));
	}
}

TEST_HARNESS_MAIN
