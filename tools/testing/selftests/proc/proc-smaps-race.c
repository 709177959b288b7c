// SPDX-License-Identifier: GPL-2.0
/*
 * Readers of smaps, smaps_rollup, numa_maps, pagemap, PAGEMAP_SCAN and map_files beside
 * a target that changes its VMAs, or ends. The answer is known at all times, on any kernel:
 *
 *	steady	 pages that are always there are counted once each, by all files
 *	replace	 numbers are of the mapping in the header, at an address that is always mapped
 *	links	 map_files has names that were there
 *	ending	 of a target that goes away the answer is cut, or nothing
 *
 * Single merges and splits in all orders are left to tools/testing/vma_walk.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/const.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif
#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define PM_SWAP _BITULL(62)
#define PM_PRESENT _BITULL(63)
#define PAGE 4096UL
#define TABLE (512 * PAGE)		/* what a page table maps */
#define GB _BITUL(30)
#define MANY_STEPS 1000000		/* the target never lingers */
#define EXEC_TARGET "--exec-target"
#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"
#define THP "/sys/kernel/mm/transparent_hugepage/"
#define THP_SIZE THP "hpage_pmd_size"
#define FOLIO (16 * PAGE)
#define FOLIO_ENABLED THP "hugepages-64kB/shmem_enabled"

static __printf(2, 3) int wrong(struct window *w, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(w->why, sizeof(w->why), fmt, args);
	va_end(args);
	return -1;
}

/*
 * Reading.
 */

enum file { SMAPS, SMAPS_SMALL, NUMA_MAPS, ROLLUP, PAGEMAP, PAGEMAP_SCANNED, MAP_FILES, MAPS };

static const char * const file_name[] = {
	"smaps", "smaps", "numa_maps", "smaps_rollup", "pagemap", "pagemap", "map_files",
	"maps",
};

enum field {
	SIZE, RSS, PSS, SHARED_CLEAN, SHARED_DIRTY, PRIVATE_CLEAN, PRIVATE_DIRTY, ANONYMOUS, SWAP,
	LOCKED, REFERENCED, LAZYFREE, ANON_HUGE, SHARED_HUGETLB, PRIVATE_HUGETLB, NR_FIELDS
};

static const char * const field_name[NR_FIELDS] = {
	"Size:", "Rss:", "Pss:", "Shared_Clean:", "Shared_Dirty:", "Private_Clean:",
	"Private_Dirty:", "Anonymous:", "Swap:", "Locked:", "Referenced:", "LazyFree:",
	"AnonHugePages:", "Shared_Hugetlb:", "Private_Hugetlb:",
};

/* What smaps or numa_maps says, in pages. */
struct entry {
	struct maps_line line;		/* numa_maps: only start and name, end is 0 */
	enum line_place place;
	unsigned long pages;
	unsigned long anon;
	unsigned long dirty;
	unsigned long locked;		/* numa_maps: 0 */
	bool possible;
	bool sane;			/* the rest follows from these, if nothing is shared */
	unsigned long kb[NR_FIELDS];	/* of smaps */
};

/* The only one of a test. */
static struct {
	struct maps_reader maps;
	enum file file;
	bool numa;
	bool lockless;			/* it walks under per-VMA locks */
	unsigned long lo;		/* numbers of what ends below are not wanted */
	unsigned int entry_read;	/* the line_read of the entry before */
} reader;

static __u64 buffer[GB / PAGE];

static bool reader_open(struct __test_metadata *_metadata, const struct target *t, enum file file)
{
	const char *name = file_name[file];
	int fd = maps_open_file(t->pid, name);

	if (fd < 0 && errno == ENOENT)
		SKIP(return false, "no /proc/PID/%s in this kernel", name);
	ASSERT_LE(0, fd);
	if (file == PAGEMAP_SCANNED && ioctl(fd, PAGEMAP_SCAN, NULL) && errno == ENOTTY)
		SKIP(return false, "no PAGEMAP_SCAN in this kernel");
	reader.maps.fd = fd;
	reader.file = file;
	reader.numa = file == NUMA_MAPS;
	reader.lockless = file < PAGEMAP ? maps_walks_lockless(name) : maps_has_lockless_walk();
	return true;
}

/*
 * A read() returns whole entries, as many as fit into a page: five of smaps. One that does
 * not fit is thrown away and made again. So that each in turn is the first of a read(), or
 * thrown away, passes begin with a read() of different size; or with SMAPS_SMALL each
 * comes after the rest of the one before.
 */
static void rewind_for(const struct window *w)
{
	maps_rewind(&reader.maps, 0);
	reader.lo = w->lo;
	reader.maps.size = reader.file == SMAPS_SMALL ? READ_SMALL : 1 + w->passes % 6 * 800;
}

static void parse_fields(const char *text, unsigned long *kb)
{
	size_t i, len;

	for (i = 0; i < NR_FIELDS; i++) {
		len = strlen(field_name[i]);
		if (!strncmp(text, field_name[i], len))
			kb[i] = strtoul(text + len, NULL, 10);
	}
}

static int next_smaps(struct maps_reader *m, struct entry *e)
{
	unsigned long *kb = e->kb;
	int ret = 1;

	if (!maps_parse(m->line, m->line + m->line_len, &e->line))
		return -EBADMSG;
	if (e->place != LINE_FRESH)
		e->place = m->line_read == reader.entry_read ? LINE_INSIDE : LINE_LEFT;
	reader.entry_read = m->line_read;
	while (ret == 1 && strncmp(m->line, "VmFlags:", strlen("VmFlags:"))) {
		ret = maps_next_text(m);
		if (e->line.end > reader.lo)
			parse_fields(m->line, kb);
	}
	e->pages = kb[RSS] * 1024 / PAGE;
	e->anon = kb[ANONYMOUS] * 1024 / PAGE;
	e->dirty = kb[PRIVATE_DIRTY] * 1024 / PAGE;
	e->locked = kb[LOCKED] * 1024 / PAGE;
	e->possible = kb[SIZE] * 1024 == e->line.end - e->line.start && kb[RSS] <= kb[SIZE] &&
		      kb[PSS] <= kb[RSS] && kb[REFERENCED] <= kb[RSS] &&
		      kb[ANONYMOUS] <= kb[RSS] && kb[ANONYMOUS] + kb[SWAP] <= kb[SIZE] &&
		      kb[LAZYFREE] <= kb[ANONYMOUS] && kb[ANON_HUGE] <= kb[ANONYMOUS] &&
		      kb[SHARED_CLEAN] + kb[SHARED_DIRTY] + kb[PRIVATE_CLEAN] +
		      kb[PRIVATE_DIRTY] == kb[RSS] && kb[SWAP] <= kb[SIZE] &&
		      kb[SHARED_HUGETLB] + kb[PRIVATE_HUGETLB] <= kb[SIZE];
	e->sane = e->possible && kb[PSS] == kb[RSS] && !kb[SWAP] && !kb[LAZYFREE] &&
		  kb[PRIVATE_CLEAN] + kb[PRIVATE_DIRTY] == kb[RSS] && !kb[ANON_HUGE] &&
		  !kb[SHARED_HUGETLB] && !kb[PRIVATE_HUGETLB];
	return ret ?: -EBADMSG;
}

static int next_numa(struct maps_reader *m, struct entry *e)
{
	unsigned long n, mapped = 0;
	char text[512], *word, *rest;

	snprintf(text, sizeof(text), "%.*s", (int)m->line_len - 1, m->line);
	e->line.start = strtoul(text, &rest, 16);
	if (rest == text || *rest != ' ')
		return -EBADMSG;
	e->sane = !strstr(rest, " mapmax=") && !strstr(rest, " swapcache=");
	for (word = strtok_r(rest, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (sscanf(word, "file=%63s", e->line.name) == 1 ||
		    sscanf(word, "anon=%lu", &e->anon) == 1 ||
		    sscanf(word, "dirty=%lu", &e->dirty) == 1 ||
		    sscanf(word, "mapped=%lu", &mapped) == 1)
			continue;
		e->pages += sscanf(word, "N%*u=%lu", &n) == 1 ? n : 0;
	}
	e->possible = e->anon <= e->pages && e->dirty <= e->pages;
	e->sane &= mapped == (e->pages != e->anon && e->pages != e->dirty ? e->pages : 0);
	return 1;
}

/* Return as maps_next(). */
static int next_entry(struct entry *e)
{
	struct maps_reader *m = &reader.maps;
	int ret = maps_next_text(m);

	memset(e, 0, sizeof(*e));
	e->place = m->place;
	if (reader.file != SMAPS_SMALL)
		m->size = READ_LARGE;
	return ret != 1 ? ret : reader.numa ? next_numa(m, e) : next_smaps(m, e);
}

static int wrong_entry(struct window *w, const char *what, unsigned long past,
		       const struct entry *e)
{
	return wrong(w, "%s after %lx, place %d: %lx-%lx %s %s: pages %lu, %lu anon, %lu dirty%s",
		     what, past, e->place, e->line.start, e->line.end, e->line.prot,
		     e->line.name, e->pages, e->anon, e->dirty,
		     e->sane ? "" : e->possible ? ", insane" : ", impossible");
}

/*
 * Changing.
 */

struct race {
	struct target target;
	struct scenario scenario;
	struct window window;
};

#define TEST_RACE(fixture, name, how)							\
	static void fixture##_race(struct __test_metadata *_metadata, struct race *r, int h);	\
	TEST_F_TIMEOUT(fixture, name, test_timeout())					\
	{										\
		fixture##_race(_metadata, &self->race, how);				\
	}

/* Start a target that is known to nobody else, and prepare it. */
static void start(struct __test_metadata *_metadata, struct race *r, struct scenario scenario)
{
	r->scenario = scenario;
	ASSERT_EQ(0, target_start(&r->target, &r->scenario));
	ASSERT_TRUE(target_do(&r->target, TARGET_PREPARE))
		TH_LOG("%s", r->target.ctl->failed);
	r->window.lo = r->target.ctl->lo;
	r->window.hi = r->target.ctl->hi;
}

static void map_anon(struct target *t, char *at, size_t len, int flags)
{
	must(t, mmap(at, len, RW, ANON | MAP_FIXED | MAP_NORESERVE | flags, -1, 0) == at, "mmap");
}

/* Write to a page in each @step bytes. */
static void touch(char *at, size_t len, size_t step)
{
	size_t i;

	for (i = 0; i < len; i += step)
		__atomic_store_n(at + i, 1, __ATOMIC_RELAXED);
}

static void window(struct target *t, char *at, size_t len)
{
	t->ctl->lo = (uintptr_t)at;
	t->ctl->hi = t->ctl->lo + len;
}

/* Where a page table begins, with nothing in this one nor in those around it. */
static char *free_place(struct target *t, size_t len)
{
	size_t all = len + 3 * TABLE;
	char *p = mmap(NULL, all, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);

	must(t, p != MAP_FAILED && !munmap(p, all), "address space");
	return p + TABLE + (-(uintptr_t)p & (TABLE - 1));
}

/* Have @n others who want the reader's CPU: each takes 2 ms and then sleeps for one. */
static void busy_loops(struct target *t, unsigned int n)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	pid_t tester = getpid();
	__u64 end;

	target_apart(t);
	while (n--) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == tester) {
			for (end = now_ms() + 2; now_ms() < end;)
				;
			nanosleep(&pause, NULL);
		}
		_exit(0);
	}
}

/*
 * Steady: pages that are there at all times, whatever happens to VMAs. Each file counts
 * each of them once, in entries that ascend and leave out nothing.
 */

struct steady {
	void (*prepare)(struct target *t);
	void (*step)(struct target *t, unsigned int n);
	unsigned long pages;	/* of the window, evenly spread; 0: nothing lasts, see drain() */
	unsigned long entries;	/* that are of it, at most; 0: others come and go between them */
	size_t moved;		/* by a step; so much may be there twice */
	bool locked;
	unsigned int around;	/* pages without memory may join it before or behind */
	unsigned int busy;	/* so many others want the reader's CPU */
	bool calm;		/* nothing happens but that */
	bool lets_go;		/* who wants the VMA need not wait until all of it is read */
	/* Of pages that come and go beside: */
	enum field seen;	/* this is to change */
	int advice;
	int flags;		/* of their mapping */
	bool collapses;
	bool swaps;
	bool large;		/* in one large folio */
};

FIXTURE(steady) {
	struct race race;
};

FIXTURE_VARIANT(steady) {
	const struct steady *steady;
};

#define VARIANT(name, ...)							\
	static const struct steady steady_##name = { __VA_ARGS__ };		\
	FIXTURE_VARIANT_ADD(steady, name) { .steady = &steady_##name }

static void elsewhere_prepare(struct target *t)
{
	unsigned int i;

	churn_prepare(t);
	for (i = 0; i < CHURN_PAGES; i += GROUP_PAGES)
		map_anon(t, t->arena + i * PAGE, PAGE, MAP_LOCKED | MAP_POPULATE);
	window(t, t->arena, CHURN_PAGES * PAGE);
}

/*
 * Locked pages in VMAs of their own are counted while others come and go between them.
 *
 *	|P|rr|...|P|......|P|www|..	|P|......|P|rrr|..|P|.....
 */
VARIANT(elsewhere, elsewhere_prepare, churn_step, CHURN_PAGES / GROUP_PAGES, .locked = true);

static void split_prepare(struct target *t)
{
	map_anon(t, t->arena, ARENA_PAGES * PAGE, MAP_LOCKED | MAP_POPULATE);
	touch(t->arena, ARENA_PAGES * PAGE, PAGE);
	window(t, t->arena, ARENA_PAGES * PAGE);
}

static void split_step(struct target *t, unsigned int n)
{
	static __u32 seed = 1;
	__u32 x = next_random(&seed);
	unsigned int first = x % ARENA_PAGES, nr = 1 + (x >> 10) % (ARENA_PAGES - first);

	must(t, !mprotect(t->arena + first * PAGE, nr * PAGE, x >> 31 ? RW : PROT_READ),
	     "mprotect");
}

/* Of a VMA that is split and merged at random no part is left out or counted twice. */
VARIANT(split, split_prepare, split_step, ARENA_PAGES, ARENA_PAGES, .locked = true);

#define SPARSE_PAGES 256

static void sparse_prepare(struct target *t)
{
	char *at = free_place(t, SPARSE_PAGES * GB);

	churn_prepare(t);
	map_anon(t, at, SPARSE_PAGES * GB, 0);
	touch(at, SPARSE_PAGES * GB, GB);
	window(t, at, SPARSE_PAGES * GB);
}

/* A page in each GB of a mapping is found, and it stays whole, while other VMAs change. */
VARIANT(sparse, sparse_prepare, churn_step, SPARSE_PAGES, 1);

/* Move pages over others, then split or merge VMAs. */
static void moved_step(struct target *t, unsigned int n)
{
	static char *spare;
	static __u32 seed = 1;
	size_t len = ((const struct steady *)t->scenario->data)->moved;
	char *at = t->arena + next_random(&seed) % (ARENA_PAGES * PAGE / len) * len;

	if (n % 2) {
		split_step(t, n);
		return;
	}
	spare = spare ?: free_place(t, len);
	map_anon(t, spare, len, MAP_LOCKED | MAP_POPULATE);
	touch(spare, len, PAGE);
	must(t, mremap(spare, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at, "mremap");
}

/* A page that mremap() puts over another one leaves no moment without a page. */
VARIANT(moved_page, split_prepare, moved_step, ARENA_PAGES, ARENA_PAGES, PAGE, true);
/* Nor does half a page table, which is moved entry by entry. */
VARIANT(moved_mebibyte, split_prepare, moved_step, ARENA_PAGES, ARENA_PAGES, TABLE / 2, true);
/* Nor a whole one, which may be moved itself. */
VARIANT(moved_table, split_prepare, moved_step, ARENA_PAGES, ARENA_PAGES, TABLE, true);

/* Whole: a mapping, full of pages, is write-locked though nothing in it ever changes. */
#define WHOLE_SIZE (24 * TABLE)
#define WHOLE_PAGES (WHOLE_SIZE / PAGE)

static void whole_prepare(struct target *t)
{
	char *p = free_place(t, WHOLE_SIZE);

	map_anon(t, p, WHOLE_SIZE, 0);
	touch(p, WHOLE_SIZE, PAGE);
	window(t, p, WHOLE_SIZE);
}

static void madvise_step(struct target *t, unsigned int n)
{
	must(t, !madvise((char *)t->ctl->lo, WHOLE_SIZE, n % 2 ? MADV_DODUMP : MADV_DONTDUMP),
	     "madvise");
}

/* Flags of all of it change: it is one entry. */
VARIANT(whole_madvise, whole_prepare, madvise_step, WHOLE_PAGES, 1, .busy = 1);

/* Two pages that do not merge with the heap, then the rest of it */
static void brk_prepare(struct target *t)
{
	char *p = sbrk(0);

	p += -(uintptr_t)p & (PAGE - 1);
	must(t, !brk(p + 2 * PAGE) && !brk(p + 2 * PAGE + WHOLE_SIZE), "brk");
	must(t, !mprotect(p, 2 * PAGE, PROT_READ), "mprotect");
	touch(p + 2 * PAGE, WHOLE_SIZE, PAGE);
	window(t, p + 2 * PAGE, WHOLE_SIZE);
}

static void brk_step(struct target *t, unsigned int n)
{
	must(t, !brk((char *)t->ctl->hi + (n % 2 ? 0 : PAGE)), "brk");
}

/* The heap grows by a page, and shrinks: what it has grown by is no other entry. */
VARIANT(whole_brk, brk_prepare, brk_step, WHOLE_PAGES, 1, .around = 1, .busy = 1);

static void page_step(struct target *t, char *at, bool map)
{
	if (map)
		map_anon(t, at, PAGE, 0);
	else
		must(t, !munmap(at, PAGE), "munmap");
}

static void behind_step(struct target *t, unsigned int n)
{
	page_step(t, (char *)t->ctl->hi, n % 2 == 0);
}

/*
 * A page is mapped right behind and merges, and is unmapped: it is one entry.
 *
 *	.|PPPPPPPP|.		.|PPPPPPPP.|
 */
VARIANT(whole_mmap_behind, whole_prepare, behind_step, WHOLE_PAGES, 1, .around = 1, .busy = 1);

static void before_step(struct target *t, unsigned int n)
{
	page_step(t, (char *)t->ctl->lo - PAGE, n % 2 == 0);
}

/*
 * It grows down below what was counted already: it is one entry.
 *
 *	.|PPPPPPPP|.		|.PPPPPPPP|.
 */
VARIANT(whole_mmap_before, whole_prepare, before_step, WHOLE_PAGES, 1, .around = 1, .busy = 1);

static void last_step(struct target *t, unsigned int n)
{
	must(t, !mprotect((char *)t->ctl->hi - PAGE, PAGE, n % 2 ? RW : PROT_READ), "mprotect");
}

/* The last page is protected, and not: a mapping of its own, so there are two entries. */
VARIANT(whole_mprotect_last, whole_prepare, last_step, WHOLE_PAGES, 2, .busy = 1);

#define BIG_PAGES 512UL

/* The page of the page table @n. */
static char *big_page(const struct target *t, unsigned int n)
{
	return (char *)t->ctl->lo + n * (TABLE + PAGE);
}

static void big_prepare(struct target *t)
{
	window(t, free_place(t, BIG_PAGES * TABLE), BIG_PAGES * TABLE);
	map_anon(t, (char *)t->ctl->lo, BIG_PAGES * TABLE, 0);
	touch((char *)t->ctl->lo, BIG_PAGES * TABLE, TABLE + PAGE);
}

static void big_step(struct target *t, unsigned int n)
{
	static __u32 seed = 1;

	must(t, !mprotect(big_page(t, seed % BIG_PAGES), PAGE, n % 2 ? RW : PROT_READ), "mprotect");
	if (n % 2)
		next_random(&seed);
}

/*
 * Each page table has a page, and one after the other is write-protected and not: an entry
 * is no less than a table but at such a page, and a writer is let in.
 *
 *	|P.......|.P......|..P.....|	|P.......|.|P|......|..P.....|
 */
VARIANT(big, big_prepare, big_step, BIG_PAGES, 3 * BIG_PAGES, .lets_go = true);

static void calm_step(struct target *t, unsigned int n)
{
}

/* A reader that lets others run in the middle of a VMA knows where it was: one entry. */
VARIANT(calm, big_prepare, calm_step, BIG_PAGES, 1, .busy = 1, .calm = true);

#define FLIP_SIZE (32 * TABLE)

static void flip_map(struct target *t)
{
	map_anon(t, (char *)t->ctl->lo, FLIP_SIZE, 0);
	touch((char *)t->ctl->lo, FLIP_SIZE, TABLE);
}

static void flip_prepare(struct target *t)
{
	window(t, free_place(t, FLIP_SIZE), FLIP_SIZE);
	flip_map(t);
}

static void flip_step(struct target *t, unsigned int n)
{
	must(t, !munmap((char *)t->ctl->lo, FLIP_SIZE), "munmap");
	page_step(t, (char *)t->ctl->lo - 4 * PAGE, n % 2 == 0);
	flip_map(t);
}

/*
 * Positions rise though a reader that has unlocked the large mapping finds the page below,
 * and then the large one again: else seq_file says so in the log, where vm/run looks.
 *
 *	.....|P......|P......|	.|.|...|P......|P......|
 */
VARIANT(flip, flip_prepare, flip_step, .busy = 2);

#define SLIDE_TABLES 8192

static void slide_prepare(struct target *t)
{
	char *p = free_place(t, (SLIDE_TABLES + 16) * TABLE);

	map_anon(t, p, 8 * TABLE, 0);
	touch(p, 8 * TABLE, PAGE);
	window(t, p, 8 * TABLE);
}

static void slide_step(struct target *t, unsigned int n)
{
	static unsigned long way;

	if (way++ == (SLIDE_TABLES + 8) * TABLE / PAGE) {
		way = 0;
		must(t, !munmap((char *)t->ctl->lo, 8 * TABLE), "munmap");
		slide_prepare(t);
	}
	must(t, !munmap((char *)t->ctl->lo, PAGE), "munmap of the first page");
	map_anon(t, (char *)t->ctl->hi, PAGE, MAP_POPULATE);
	window(t, (char *)t->ctl->lo + PAGE, 8 * TABLE);
}

/*
 * A pass ends though a mapping, unmapped at its begin and extended at its end, slides ahead.
 *
 *	|PPPPPPPP|....		.|PPPPPPPP|...		..|PPPPPPPP|..
 */
VARIANT(slide, slide_prepare, slide_step);

/*
 * Beside: pages come and go in one VMA, and what is said of it is possible. Next to it are
 * locked pages, from which setting_calm() keeps compaction.
 *
 *	|P.P.P.P.| ... |????????????????|
 *	window	       lo + TABLE, two tables
 */
#define BESIDE_PAGES 64			/* every second is there */
#define BESIDE_SIZE (2 * TABLE)

static void beside_prepare(struct target *t)
{
	const struct steady *s = t->scenario->data;
	char *at = free_place(t, TABLE + BESIDE_SIZE), *beside = at + TABLE;
	int fd = s->flags & MAP_SHARED ? memfd_create("beside", 0) : -1;

	window(t, at, BESIDE_PAGES * PAGE);
	map_anon(t, at, BESIDE_PAGES * PAGE, 0);
	must(t, !mlock2(at, BESIDE_PAGES * PAGE, MLOCK_ONFAULT), "mlock2");
	touch(at, BESIDE_PAGES * PAGE, 2 * PAGE);
	must(t, fd < 0 || !ftruncate(fd, BESIDE_SIZE), "ftruncate");
	must(t, mmap(beside, BESIDE_SIZE, RW, s->flags | MAP_FIXED, fd, 0) == beside, "mmap");
	touch(beside, BESIDE_SIZE, PAGE);
}

static void beside_step(struct target *t, unsigned int n)
{
	const struct steady *s = t->scenario->data;
	char *beside = (char *)t->ctl->lo + TABLE, *table = beside + n / 8 % 2 * TABLE, *at;
	size_t unit = s->flags & MAP_HUGETLB ? TABLE : PAGE, len;
	static __u32 seed = 1;
	__u32 x = next_random(&seed);
	unsigned int units = BESIDE_SIZE / unit, first = x % units, nr = 1 + (x >> 16) % 16;

	at = beside + first * unit;
	len = (nr < units - first ? nr : units - first) * unit;
	if (!s->collapses && n % 2)
		must(t, !madvise(at, len, s->advice), "madvise");
	else if (!s->collapses || n % 8 > 4)
		touch(at, len, unit);
	else if (n % 8 == 0)
		touch(table, TABLE, PAGE);
	else if (n % 8 == 1)
		madvise(table, TABLE, MADV_COLLAPSE);	/* may fail, and is not seen then */
	else if (n % 8 == 2)
		must(t, !mprotect(at, len, PROT_READ) && !mprotect(at, len, RW), "mprotect");
	else if (n % 8 == 3)
		must(t, mmap(at, len, RW, ANON | MAP_FIXED, -1, 0) == at, "mmap");
	else
		must(t, !madvise(at, len, MADV_DONTNEED), "madvise");
}

#define BESIDE_BY(name, prepare, step, ...)						\
	VARIANT(beside_##name, prepare, step, BESIDE_PAGES / 2, 1, BESIDE_SIZE, .locked = true,	\
		__VA_ARGS__)
#define BESIDE(name, ...) BESIDE_BY(name, beside_prepare, beside_step, __VA_ARGS__)

/* Pages are freed, */
BESIDE(dontneed, .flags = ANON, .advice = MADV_DONTNEED, .seen = RSS);
/* or may be; */
BESIDE(lazyfree, .flags = ANON, .advice = MADV_FREE, .seen = LAZYFREE);
/* and go to swap. */
BESIDE(pageout, .flags = ANON, .advice = MADV_PAGEOUT, .seen = SWAP, .swaps = true);
/* Page tables are replaced by huge pages, and huge pages are split. */
BESIDE(collapse, .flags = ANON, .collapses = true, .seen = ANON_HUGE);
/* A hole is made into an object, */
BESIDE(remove, .flags = MAP_SHARED, .advice = MADV_REMOVE, .seen = RSS);
/* and its pages go to swap. */
BESIDE(shmem_pageout, .flags = MAP_SHARED, .advice = MADV_PAGEOUT, .seen = SWAP, .swaps = true);
/* Pages of hugetlb are freed. */
BESIDE(hugetlb, .flags = ANON | MAP_HUGETLB, .advice = MADV_DONTNEED, .seen = PRIVATE_HUGETLB);

/* One large folio, mapped many times, so that it is most of what a pass looks at */
static void split_swap_prepare(struct target *t)
{
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	char *beside, *at;

	beside_prepare(t);
	beside = (char *)t->ctl->lo + TABLE;
	for (at = beside + FOLIO; at < beside + BESIDE_SIZE; at += FOLIO)
		must(t, mremap(beside, 0, FOLIO, flags, at) == at, "mremap");
}

static void split_swap_step(struct target *t, unsigned int n)
{
	char *folio = (char *)t->ctl->lo + TABLE;

	if (n % 3 == 0)
		must(t, !madvise(folio, FOLIO, MADV_REMOVE), "MADV_REMOVE");
	if (n % 3 == 1)
		must(t, !madvise(folio, FOLIO, MADV_PAGEOUT), "MADV_PAGEOUT");
	else
		touch(folio, PAGE, PAGE);
}

/* One entry of swap for a large folio is split into many: no page of it counts twice. */
BESIDE_BY(split_swap, split_swap_prepare, split_swap_step, .flags = MAP_SHARED, .seen = SWAP,
	  .swaps = true, .large = true);

static void steady_prepare(struct target *t)
{
	const struct steady *s = t->scenario->data;

	must(t, !prctl(PR_SET_THP_DISABLE, !s->collapses && !s->large, 0, 0, 0),
	     "PR_SET_THP_DISABLE");
	s->prepare(t);
}

/* Return NULL, or why it cannot be. */
static const char *steady_settings(const struct steady *s)
{
	if (sysconf(_SC_PAGESIZE) != PAGE)
		return "made for page tables of 2 MiB";
	if (s->seen)
		setting_calm();
	if (s->collapses && number(THP_SIZE) != TABLE)
		return "no huge pages";
	if (s->flags & MAP_HUGETLB && !setting_put(NR_HUGEPAGES, number(NR_HUGEPAGES) + 2))
		return "cannot reserve huge pages";
	if (s->large && !setting_put_word(FOLIO_ENABLED, "always"))
		return "no large folios of shmem";
	return s->swaps ? provide_swap(false) : NULL;
}

/* What changes settings is in the test, for there is no teardown after a setup that fails. */
FIXTURE_SETUP(steady)
{
	self->race.scenario.data = variant->steady;
}

FIXTURE_TEARDOWN(steady)
{
	if (self->race.target.pid)
		target_end(&self->race.target);
	EXPECT_TRUE(setting_restore());
}

/* Of the field that is to change beside, in all passes over smaps */
static unsigned long least = -1UL, most;

/*
 * Under mmap_lock the first entry of a read() may begin below the end of the one before.
 * If none did then each page has been counted once.
 */
static int pass_entries(struct window *w, const struct steady *s)
{
	unsigned long lo = w->lo - s->around * PAGE, hi = w->hi + s->around * PAGE;
	unsigned long past = w->lo, sum = 0, n = 0, beside = 0, start;
	bool again = false, may_repeat;
	struct entry e;
	int ret;

	rewind_for(w);
	while ((ret = next_entry(&e)) == 1) {
		start = e.line.start;
		if (reader.numa ? start < lo : e.line.end <= w->lo)
			continue;
		if (start >= (s->seen ? w->lo + TABLE + BESIDE_SIZE : hi))
			break;
		if (!e.possible)
			return wrong_entry(w, "numbers", past, &e);
		if (start >= hi) {
			beside += e.kb[s->seen];
			continue;
		}
		may_repeat = n && e.place != LINE_INSIDE && !reader.lockless;
		if (!n && start < past && start >= lo)
			past = start;
		if (!e.sane || e.anon != e.pages || e.dirty != e.pages ||
		    (!reader.numa && e.locked != (s->locked ? e.pages : 0)))
			return wrong_entry(w, "numbers", past, &e);
		if (start > past && s->entries && !(reader.numa && n))
			return wrong_entry(w, "gap", past, &e);
		if (start < past && !may_repeat)
			return wrong_entry(w, "overlap", past, &e);
		if (!reader.numa && (e.line.end <= past || e.line.end > hi))
			return wrong_entry(w, "end", past, &e);
		n += start >= past;
		if (n > s->entries && s->entries)
			return wrong_entry(w, "too many", past, &e);
		again |= may_repeat && (reader.numa || start < past);
		sum += e.pages;
		past = reader.numa ? start + 1 : e.line.end;
	}
	if (ret < 0 || (!reader.numa && s->entries && past < w->hi) || (!again && sum != s->pages))
		return wrong(w, "%d, end %lx: %lu pages of %lu in %lu entries", ret, past, sum,
			     s->pages, n);
	w->mixed += again;
	least = beside < least ? beside : least;
	most = beside > most ? beside : most;
	/* numa_maps does not show where an entry ends. */
	w->seen[0] += !again || reader.numa;
	return 0;
}

static unsigned long rollup_base;	/* what is anonymous in the target, in kB */

static int pass_rollup(struct window *w, const struct steady *s)
{
	unsigned long locked = s->locked ? s->pages * PAGE / 1024 : 0, more = s->moved / 1024;
	unsigned long less = s->seen ? more : 0;
	unsigned long kb[NR_FIELDS] = {};
	char text[4096], *at = text;
	ssize_t n = pread(reader.maps.fd, text, sizeof(text) - 1, 0);

	if (n <= 0)
		return wrong(w, "smaps_rollup: %s", n ? strerror(errno) : "empty");
	text[n] = '\0';
	while ((at = strchr(at, '\n')))
		parse_fields(++at, kb);
	rollup_base = rollup_base ?: kb[ANONYMOUS];
	w->seen[0]++;
	if (kb[ANONYMOUS] + less >= rollup_base && kb[ANONYMOUS] <= rollup_base + more &&
	    kb[LOCKED] >= locked && kb[LOCKED] <= locked + (s->seen ? 0 : more))
		return 0;
	return wrong(w, "Anonymous: %lu, not %lu, Locked: %lu, not %lu, nor %lu more",
		     kb[ANONYMOUS], rollup_base, kb[LOCKED], locked, more);
}

#define BOTH (PAGE_IS_PRESENT | PAGE_IS_SWAPPED)

static int scan(unsigned long lo, unsigned long hi, __u64 *walk_end)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = lo,
		.end = hi,
		.vec = (uintptr_t)buffer,
		.vec_len = WHOLE_PAGES + 1,
		.category_anyof_mask = BOTH,
		.return_mask = BOTH | PAGE_IS_FILE,
	};
	int n = ioctl(reader.maps.fd, PAGEMAP_SCAN, &arg);

	*walk_end = arg.walk_end;
	return n;
}

/* No page beside is said to be there and in swap, by pagemap or PAGEMAP_SCAN. */
static int pass_beside(struct window *w)
{
	const struct page_region *r = (struct page_region *)buffer;
	unsigned long lo = w->lo + TABLE, hi = lo + BESIDE_SIZE, past = lo;
	__u64 walk_end = hi;
	ssize_t i, n;

	if (reader.file == PAGEMAP) {
		n = pread(reader.maps.fd, buffer, BESIDE_SIZE / PAGE * 8, lo / PAGE * 8) / 8;
		for (i = 0; i < n && ~buffer[i] & (PM_PRESENT | PM_SWAP); i++)
			;
		return n == BESIDE_SIZE / PAGE && i == n ? 0 : wrong(w, "%zd beside", i);
	}
	n = scan(lo, hi, &walk_end);
	for (i = 0; i < n && r[i].start >= past && ~r[i].categories & BOTH; i++)
		past = r[i].end;
	return n >= 0 && i == n && past <= hi && walk_end == hi ? 0 : wrong(w, "%zd beside", i);
}

/* Of a GB at most. */
static int pass_pagemap(struct window *w, const struct steady *s)
{
	size_t all = w->hi - w->lo, len = all < GB ? all : GB, i;
	unsigned long present = 0, swapped = 0, want = s->pages * (len / PAGE) / (all / PAGE);
	ssize_t n = pread(reader.maps.fd, buffer, len / PAGE * 8, w->lo / PAGE * 8);

	for (i = 0; n > 0 && i < n / 8; i++) {
		present += !!(buffer[i] & PM_PRESENT);
		swapped += !!(buffer[i] & PM_SWAP);
	}
	w->seen[0]++;
	if (n == len / PAGE * 8 && present == want && !swapped)
		return s->seen ? pass_beside(w) : 0;
	return wrong(w, "pagemap: %zd: %lu pages, not %lu, %lu swapped", n, present, want, swapped);
}

static int pass_scan(struct window *w, const struct steady *s)
{
	struct page_region *r = (struct page_region *)buffer;
	unsigned long past = w->lo, sum = 0;
	__u64 walk_end;
	int i, n = scan(w->lo, w->hi, &walk_end);

	for (i = 0; i < n && r[i].start >= past && r[i].categories == PAGE_IS_PRESENT; i++) {
		past = r[i].end;
		sum += (r[i].end - r[i].start) / PAGE;
	}
	w->seen[0]++;
	if (n >= 0 && i == n && sum == s->pages && walk_end == w->hi)
		return s->seen ? pass_beside(w) : 0;
	return wrong(w, "PAGEMAP_SCAN: %d, %lu pages up to %lx, end %llx of %lx: %s", n, sum, past,
		     walk_end, w->hi, strerror(n < 0 ? errno : 0));
}

/* Read or scan it, whatever there is, by @size if it is text. Return how much came. */
static ssize_t drain(const struct target *t, size_t size)
{
	unsigned long lo = t->ctl->lo, hi = t->ctl->hi;
	int fd = reader.maps.fd;
	ssize_t n, sum = 0;
	__u64 walk_end;

	if (reader.file == PAGEMAP)
		return pread(fd, buffer, (hi - lo) / PAGE * 8, lo / PAGE * 8);
	if (reader.file == PAGEMAP_SCANNED)
		return scan(lo, hi, &walk_end) ?: 1;
	lseek(fd, 0, SEEK_SET);
	do {
		n = reader.file == MAP_FILES ? syscall(SYS_getdents64, fd, buffer, size) :
					       read(fd, buffer, size);
		sum += n > 0 ? n : 0;
	} while (n > 0);
	return n ?: sum;
}

/* Passes of a target where nothing lasts only end, whatever they read. */
static int pass_restless(struct window *w, const struct target *t)
{
	/* Such reads of smaps end in the middle of an entry. */
	size_t size = reader.file == SMAPS_SMALL ? READ_SMALL : 600 + w->passes % 71 * 37;

	w->seen[0]++;
	return drain(t, size) < 0 ? wrong(w, "%s", strerror(errno)) : 0;
}

static long locks, quiet_locks;		/* VMAs that a pass locks; if nothing changes */

#define BOUNDLESS 300			/* more: nothing but chance ends it */

static int pass_steady(struct window *w, void *arg)
{
	static int (* const passes[])(struct window *w, const struct steady *s) = {
		pass_entries, pass_entries, pass_entries, pass_rollup, pass_pagemap, pass_scan,
	};
	const struct target *t = arg;
	const struct steady *s = t->scenario->data;
	long pauses = s->lets_go ? counter("vma_lock_walk_pause") : 0;
	struct rusage before, after;
	int ret;

	getrusage(RUSAGE_SELF, &before);
	locks = s->pages ? 0 : maps_lockless_walks();
	ret = s->pages ? passes[reader.file](w, s) : pass_restless(w, t);
	locks = s->pages ? 0 : maps_lockless_walks() - locks;
	if (s->lets_go)
		w->seen[1] += counter("vma_lock_walk_pause") > pauses;
	getrusage(RUSAGE_SELF, &after);
	if (s->calm)
		w->seen[1] += after.ru_nivcsw != before.ru_nivcsw;
	if (!ret && !s->pages && locks > quiet_locks + BOUNDLESS)
		return wrong(w, "a pass locks %ld VMAs, %ld when quiet", locks, quiet_locks);
	return ret;
}

static void steady_race(struct __test_metadata *_metadata, struct race *r, int file)
{
	const struct steady *s = r->scenario.data;
	struct target *t = &r->target;
	struct window *w = &r->window;
	enum race_result result;
	const char *why = steady_settings(s);
	bool lets_go;
	int i;

	if (why)
		SKIP(return, "%s", why);
	start(_metadata, r, (struct scenario) { steady_prepare, s->step, MANY_STEPS, s });
	if (!reader_open(_metadata, t, file))
		return;
	/* pagemap locks each table's piece anew in any case */
	lets_go = s->lets_go && file != PAGEMAP && reader.lockless;
	/* Let the target touch all that it ever does besides. */
	target_do(t, TARGET_RUN);
	while (target_steps(t) < 200 && !t->ctl->error)
		;
	ASSERT_TRUE(target_do(t, TARGET_STOP))
		TH_LOG("%s", t->ctl->failed);
	/* What it stays like is right; and the control, as locks of all the machine count. */
	quiet_locks = LONG_MAX / 2;
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, pass_steady(w, t))
			TH_LOG("%s", w->why);
		quiet_locks = locks < quiet_locks ? locks : quiet_locks;
	}
	memset(w->seen, 0, sizeof(w->seen));
	w->nr = s->calm || lets_go ? 2 : 1;
	busy_loops(t, s->busy);
	least = -1UL;
	most = 0;
	result = race_run(t, w, duration_ms(), pass_steady, t);
	/* To have paused in few passes, between VMAs where somebody wants the CPU, fails too. */
	if (lets_go) {
		EXPECT_EQ(RACE_OK, result)
			TH_LOG("%s", w->why);
		EXPECT_LT(w->passes / 10, w->seen[1]);
		return;
	}
	if (race_verdict(_metadata, w, result) && s->seen && file <= SMAPS_SMALL && least == most)
		SKIP(return, "race not seen: %s always %lu", field_name[s->seen], most);
}

TEST_RACE(steady, smaps, SMAPS)
TEST_RACE(steady, smaps_small_buffer, SMAPS_SMALL)
TEST_RACE(steady, numa_maps, NUMA_MAPS)
TEST_RACE(steady, rollup, ROLLUP)
TEST_RACE(steady, pagemap, PAGEMAP)
TEST_RACE(steady, pagemap_scan, PAGEMAP_SCANNED)

/*
 * Replace: mappings of different size and contents replace one another at one address,
 * which is mapped at all times. There is no gap, and the numbers of an entry are of the
 * mapping in its header. Pages are made elsewhere, and come by mremap(), one system call
 * for mapping and pages: who locks out the writer sees all pages or not the mapping.
 */

enum replace_how {
	MAP = 1,		/* mmap(MAP_FIXED) */
	MOVE,			/* mremap(MREMAP_FIXED) of pages that are there */
	MOVE_DONTUNMAP,		/* the same with MREMAP_DONTUNMAP */
	EMPTY,			/* move the pages away with MREMAP_DONTUNMAP */
};

/*
 * a and d are files with dirty pages, mapped shared; b and e are files without pages; c is
 * mapped private, with clean pages but for CHANGED ones; and - is anonymous.
 */
struct replace_step {
	enum replace_how how;
	char letter;
	unsigned int pages;	/* the same for all steps of a letter */
};

#define CHANGED 3

struct replace {
	const struct replace_step *step;
	unsigned int nr;
	unsigned int pages;		/* of the window */
	char *at;			/* NULL: in the arena */
	int fd['e' - 'a' + 1];
};

FIXTURE(replace) {
	struct race race;
	struct replace replace;
};

FIXTURE_VARIANT(replace) {
	const struct replace_step *step;	/* up to five and a zero */
	bool at_end;
};

#define REPLACE(name, end, ...)							\
	static const struct replace_step steps_##name[6] = { __VA_ARGS__ };	\
	FIXTURE_VARIANT_ADD(replace, name) { .step = steps_##name, .at_end = end }

/*
 * Memory whose pages have gone is empty, and what is left of others counts as what it is.
 *
 *	|bbbbbbbbbbbbbbbb|	|----|bbbbbbbbbbbb|	|....|bbbbbbbbbbbb|
 *				|cccccccccccc|bbbb|	|aaaaaaaa|cccc|bbbb|
 */
REPLACE(identity, false, { MAP, 'b', 16 }, { MOVE, '-', 4 }, { EMPTY, '-', 4 }, { MOVE, 'c', 12 },
	{ MOVE, 'a', 8 });
/*
 * A private file is clean behind its changed pages.
 *
 *	|CCCccccccccc|		|--|Cccccccccc|		|a|-|Cccccccccc|	|bbbbbbbbbbbb|
 */
REPLACE(identity_private, false, { MOVE, 'c', 12 }, { MOVE, '-', 2 }, { MOVE, 'a', 1 },
	{ MAP, 'b', 12 });
/* Between mappings without a page there is no gap. */
REPLACE(mmap_1m, false, { MAP, 'b', 256 }, { MAP, 'e', 256 });
/* Nor where a page is moved over another one, */
REPLACE(mremap_page, false, { MOVE, 'a', 1 }, { MOVE, 'd', 1 });
/* or many, */
REPLACE(mremap_1m, false, { MOVE, 'a', 256 }, { MOVE, 'd', 256 });
/* or many whose old place stays mapped. */
REPLACE(dontunmap_1m, false, { MOVE_DONTUNMAP, 'a', 256 }, { MOVE_DONTUNMAP, 'd', 256 });
/* All pages or none: a walk in the middle of one does not go on in the other. */
REPLACE(mixed_1m, false, { MOVE, 'a', 256 }, { MAP, 'b', 256 });
/* With no mapping above a gap would be the end: not where a page is mapped, */
REPLACE(mmap_page_at_end, true, { MAP, 'b', 1 }, { MAP, 'e', 1 });
/* moved, */
REPLACE(mremap_page_at_end, true, { MOVE, 'a', 1 }, { MOVE, 'd', 1 });
/* or many are moved. */
REPLACE(mremap_1m_at_end, true, { MOVE, 'a', 256 }, { MOVE, 'd', 256 });

static void content_map(struct target *t, char *at, char letter, size_t len)
{
	const struct replace *r = t->scenario->data;
	bool private = strchr("-c", letter);
	int fd = letter == '-' ? -1 : r->fd[letter - 'a'];
	int flags = (private ? MAP_PRIVATE : MAP_SHARED) | (fd < 0 ? MAP_ANONYMOUS : 0);
	size_t i;

	must(t, mmap(at, len, private ? RW : PROT_READ, flags | MAP_FIXED, fd, 0) == at, "mmap");
	for (i = 0; i < len && !strchr("be", letter); i += PAGE) {
		if (letter == '-' || (letter == 'c' && i < CHANGED * PAGE))
			at[i] = 1;
		else
			__atomic_load_n(at + i, __ATOMIC_SEQ_CST);
	}
}

static void replace_step(struct target *t, unsigned int n)
{
	const struct replace *r = t->scenario->data;
	const struct replace_step *step = &r->step[n];
	char *spare = t->arena + ARENA_PAGES / 2 * PAGE, *at = (char *)t->ctl->lo;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	size_t len = step->pages * PAGE;

	if (step->how == MAP) {
		content_map(t, at, step->letter, len);
		return;
	}
	if (step->how != EMPTY)
		content_map(t, spare, step->letter, len);
	if (step->how != MOVE)
		flags |= MREMAP_DONTUNMAP;
	if (step->how == EMPTY)
		must(t, mremap(at, len, len, flags, spare) == spare, "mremap out of the window");
	else
		must(t, mremap(spare, len, len, flags, at) == at, "mremap over the window");
}

static void replace_prepare(struct target *t)
{
	const struct replace *r = t->scenario->data;
	char *at = r->at ?: t->arena + PAGE;
	unsigned int n;

	must(t, !munmap(t->arena, ARENA_PAGES * PAGE), "munmap of the arena");
	if (!r->at)
		map_file(t, at + r->pages * PAGE, PAGE, PROT_READ, 0, 0);
	window(t, at, r->pages * PAGE);
	content_map(t, at, 'b', r->pages * PAGE);
	for (n = 0; n < r->nr; n++)
		replace_step(t, n);
}

FIXTURE_SETUP(replace)
{
	struct replace *r = &self->replace;
	char name[2] = "a";
	unsigned int i;

	if (sysconf(_SC_PAGESIZE) != PAGE)
		SKIP(return, "made for pages of 4 KiB");
	r->step = variant->step;
	for (; r->step[r->nr].how; r->nr++)
		if (r->step[r->nr].pages > r->pages)
			r->pages = r->step[r->nr].pages;
	if (variant->at_end) {
		r->at = end_of_tree(r->pages * PAGE);
		if (!r->at)
			SKIP(return, "no free address above all mappings");
	}
	for (i = 0; i < ARRAY_SIZE(r->fd); i++, name[0]++) {
		r->fd[i] = memfd_create(name, MFD_CLOEXEC);
		ASSERT_EQ(0, ftruncate(r->fd[i], r->pages * PAGE));
		/* Pages that are written are dirty, holes that are read are not. */
		if (strchr("ad", name[0]))
			ASSERT_EQ(r->pages * PAGE, pwrite(r->fd[i], buffer, r->pages * PAGE, 0));
	}
	start(_metadata, &self->race, (struct scenario) {
		replace_prepare, replace_step, r->nr, r });
	self->race.window.nr = r->nr;		/* each step is seen */
}

FIXTURE_TEARDOWN(replace)
{
	target_end(&self->race.target);
}

/*
 * Is an entry what it should be? Return its end, or 0. A mapping may have been replaced
 * from its begin on only, and the rest of it may be left to the next entry.
 */
static unsigned long replace_match(struct window *w, const struct replace *r,
				   const struct entry *e)
{
	unsigned long start = e->line.start, first = (start - w->lo) / PAGE, end = 0, nr, anon;
	char letter = e->line.name[0] ? e->line.name[7] : '-';
	unsigned long changed = letter == 'c' ? CHANGED : letter == '-' ? r->pages : 0;
	bool none = strchr("be", letter) || (letter == '-' && !e->pages);
	bool may_empty = false;
	unsigned int i;

	for (i = 0; i < r->nr; i++) {
		if (r->step[i].letter == letter)
			end = w->lo + r->step[i].pages * PAGE;
		may_empty |= r->step[i].how == EMPTY;
	}
	if (letter == 'b')
		end = w->hi;
	if (!e->sane || e->locked || start < w->lo || start >= end ||
	    (letter == '-' && none && !may_empty))
		return 0;
	if (!reader.numa && e->line.end < end)
		end = e->line.end;
	if (reader.numa && !none && e->pages * PAGE < end - start)
		end = start + e->pages * PAGE;
	nr = none ? 0 : (end - start) / PAGE;
	anon = changed > first ? changed - first : 0;
	anon = anon < nr ? anon : nr;
	if (e->pages != nr || e->anon != anon || e->dirty != (strchr("ad", letter) ? nr : anon))
		return 0;
	if (!reader.numa && (e->line.end != end ||
			     (letter != '-' && e->line.offset != first * PAGE) ||
			     strcmp(e->line.prot, strchr("-c", letter) ? "rw-p" : "r--s")))
		return 0;
	for (i = 0; i < r->nr; i++)
		w->seen[i] += r->step[i].letter == letter &&
			      (letter != '-' || none == (r->step[i].how == EMPTY));
	return end;
}

static int pass_replace(struct window *w, void *arg)
{
	unsigned long past = w->lo, end;
	struct entry e;
	int ret;

	rewind_for(w);
	while ((ret = next_entry(&e)) == 1) {
		if (reader.numa ? e.line.start < w->lo : e.line.end <= w->lo)
			continue;
		if (e.line.start >= w->hi)
			break;
		end = replace_match(w, arg, &e);
		if (!end)
			return wrong_entry(w, "numbers", past, &e);
		if (e.line.start > past || end <= past ||
		    (e.line.start < past && (e.place == LINE_INSIDE || reader.lockless)))
			return wrong_entry(w, "place", past, &e);
		past = end;
	}
	return ret >= 0 && past == w->hi ? 0 : wrong(w, "it ends at %lx: %d", past, ret);
}

static void replace_race(struct __test_metadata *_metadata, struct race *r, int file)
{
	if (reader_open(_metadata, &r->target, file))
		race_verdict(_metadata, &r->window,
			     race_run(&r->target, &r->window, duration_ms(), pass_replace,
				      (void *)r->scenario.data));
}

TEST_RACE(replace, smaps, SMAPS)
TEST_RACE(replace, smaps_small_buffer, SMAPS_SMALL)
TEST_RACE(replace, numa_maps, NUMA_MAPS)

/*
 * Links: files a and b are mapped over one another, and next to them is m. The fillers
 * make that several getdents() are needed.
 *
 *	| fillers, a page each |.|aaaa|.|m|
 */

FIXTURE(links) {
	struct race race;
};

static void links_step(struct target *t, unsigned int n)
{
	static int fd[2];
	size_t len = t->ctl->hi - t->ctl->lo;
	char *at = (char *)t->ctl->lo;

	if (!fd[n % 2])
		fd[n % 2] = memfd_create(n % 2 ? "b" : "a", MFD_CLOEXEC);
	must(t, mmap(at, len, PROT_READ, MAP_SHARED | MAP_FIXED, fd[n % 2], 0) == at, "mmap");
}

static void links_prepare(struct target *t)
{
	map_fillers(t);
	window(t, t->arena + (ARENA_FILLERS + 1) * PAGE, 4 * PAGE);
	links_step(t, 0);
	map_file(t, (char *)t->ctl->hi + PAGE, PAGE, PROT_READ, 0, 0);
}

FIXTURE_SETUP(links)
{
	if (sysconf(_SC_PAGESIZE) != PAGE)
		SKIP(return, "made for pages of 4 KiB");
	start(_metadata, &self->race, (struct scenario) { links_prepare, links_step, MANY_STEPS });
}

FIXTURE_TEARDOWN(links)
{
	target_end(&self->race.target);
}

static const char *link_at(unsigned long start, unsigned long end)
{
	static char name[64];

	snprintf(name, sizeof(name), "%lx-%lx", start, end);
	return name;
}

/* Whose name it is, '0' if there is no such link. */
static char letter_at(unsigned long start, unsigned long end)
{
	char name[64] = "";

	if (readlinkat(reader.maps.fd, link_at(start, end), name, sizeof(name) - 1) < 0)
		return errno == ENOENT ? '0' : '?';
	return !strncmp(name, "/memfd:", 7) && !strcmp(name + 8, " (deleted)") ? name[7] : '?';
}

/* The link leads to one of the two, and none is to a part of a mapping. */
static int pass_readlink(struct window *w, void *arg)
{
	char ab = letter_at(w->lo, w->hi);

	if (ab != 'a' && ab != 'b')
		return wrong(w, "readlink: %c", ab);
	if (letter_at(w->lo, w->hi - PAGE) != '0' || letter_at(w->lo + PAGE, w->hi) != '0')
		return wrong(w, "a link to a part");
	w->seen[ab == 'b']++;
	return 0;
}

/* Both names are there, once. */
static int pass_readdir(struct window *w, void *arg)
{
	unsigned int ab = 0, m = 0;
	struct dirent64 *d;
	ssize_t n, at;

	lseek(reader.maps.fd, 0, SEEK_SET);
	while ((n = syscall(SYS_getdents64, reader.maps.fd, buffer, 2048)) > 0) {
		for (at = 0; at < n; at += d->d_reclen) {
			d = (struct dirent64 *)((char *)buffer + at);
			ab += !strcmp(d->d_name, link_at(w->lo, w->hi));
			m += !strcmp(d->d_name, link_at(w->hi + PAGE, w->hi + 2 * PAGE));
		}
	}
	return !n && ab == 1 && m == 1 ? 0 :
		wrong(w, "readdir: %s; %u and %u times", strerror(n ? errno : 0), ab, m);
}

/* The file next to what changes can be opened, and is that file. */
static int pass_open(struct window *w, void *arg)
{
	int fd = openat(reader.maps.fd, link_at(w->hi + PAGE, w->hi + 2 * PAGE), O_RDONLY);
	const struct target *t = arg;
	struct stat st, want;
	bool same;

	if (fd < 0)
		return wrong(w, "open: %s", strerror(errno));
	same = !fstat(fd, &st) && !fstat(t->memfd, &want) && st.st_ino == want.st_ino &&
	       st.st_dev == want.st_dev;
	close(fd);
	return same ? 0 : wrong(w, "open: another file");
}

enum { READLINK, READDIR, OPEN };

static void links_race(struct __test_metadata *_metadata, struct race *r, int how)
{
	static const race_pass passes[] = { pass_readlink, pass_readdir, pass_open };

	if (!reader_open(_metadata, &r->target, MAP_FILES))
		return;
	if (how == OPEN && pass_open(&r->window, &r->target) && errno == EPERM)
		SKIP(return, "may not open what is in map_files");
	r->window.nr = how == READLINK ? 2 : 0;		/* both are seen */
	race_verdict(_metadata, &r->window,
		     race_run(&r->target, &r->window, duration_ms(), passes[how], &r->target));
}

TEST_RACE(links, readlink, READLINK)
TEST_RACE(links, readdir, READDIR)
TEST_RACE(links, open, OPEN)

/*
 * Ending: an answer about a target that goes away is whole, cut, empty, or ESRCH; empty
 * when it has gone.
 */

#define ENDING_BYTES (8UL << 20)

enum ending { END_EXIT, END_EXEC, END_MRELEASE };

static const enum ending endings[] = { END_EXIT, END_EXEC, END_MRELEASE };

FIXTURE(ending) {
	struct race race;
};

FIXTURE_VARIANT(ending) {
	enum file file;
};

FIXTURE_VARIANT_ADD(ending, smaps) { SMAPS };
FIXTURE_VARIANT_ADD(ending, smaps_rollup) { ROLLUP };
FIXTURE_VARIANT_ADD(ending, numa_maps) { NUMA_MAPS };
FIXTURE_VARIANT_ADD(ending, pagemap) { PAGEMAP };
FIXTURE_VARIANT_ADD(ending, scan) { PAGEMAP_SCANNED };
FIXTURE_VARIANT_ADD(ending, map_files) { MAP_FILES };
FIXTURE_VARIANT_ADD(ending, maps) { MAPS };

static void ending_prepare(struct target *t)
{
	struct sched_param param = {};
	char *at;

	/* It is not to run before its pages are taken away. */
	if (*(const enum ending *)t->scenario->data == END_MRELEASE)
		sched_setscheduler(0, SCHED_IDLE, &param);
	map_fillers(t);
	at = mmap(NULL, ENDING_BYTES, RW, ANON | MAP_POPULATE, -1, 0);
	must(t, at != MAP_FAILED, "mmap");
	window(t, at, ENDING_BYTES);
}

static void ending_step(struct target *t, unsigned int n)
{
	enum ending how = *(const enum ending *)t->scenario->data;

	if (how == END_EXIT)
		_exit(0);
	if (how == END_EXEC)
		execl("/proc/self/exe", "proc-smaps-race", EXEC_TARGET, NULL);
	must(t, how == END_MRELEASE, "end");
}

FIXTURE_SETUP(ending)
{
	reader.file = variant->file;
}

FIXTURE_TEARDOWN(ending)
{
}

/* Kill it and take its pages, as the OOM killer does; on its CPU, so that this comes first. */
static pid_t start_mrelease(const struct target *t)
{
	int pidfd = syscall(SYS_pidfd_open, t->pid, 0);
	pid_t pid = fork();

	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sched_setaffinity(0, sizeof(t->cpus), &t->cpus);
		kill(t->pid, SIGKILL);
		_exit(syscall(SYS_process_mrelease, pidfd, 0) ? errno : 0);
	}
	close(pidfd);
	return pid;
}

static void ending_race(struct __test_metadata *_metadata, struct race *r, int how)
{
	unsigned int passes = 0, raced = 0, released = 0;
	struct target *t = &r->target;
	struct pollfd end = {};		/* hung up when the target's pages have gone */
	enum file file = reader.file;
	int pipe[2], status = 0;
	__u64 begin = now_ms();
	ssize_t got, whole;
	pid_t helper = 0;
	bool over, cut;

	do {
		ASSERT_EQ(0, pipe2(pipe, O_CLOEXEC));
		end.fd = pipe[0];
		start(_metadata, r, (struct scenario) {
			ending_prepare, ending_step, MANY_STEPS, &endings[how] });
		close(pipe[1]);
		if (!reader_open(_metadata, t, file))
			return;
		whole = drain(t, READ_LARGE);
		ASSERT_LT(0, whole);
		if (!target_apart(t) && how == END_MRELEASE)
			SKIP(return, "needs two CPUs");
		target_do(t, TARGET_RUN);
		if (how == END_MRELEASE)
			helper = start_mrelease(t);
		do {
			over = poll(&end, 1, 0) > 0;
			got = drain(t, READ_LARGE);
			ASSERT_TRUE(got >= 0 || errno == ESRCH)
				TH_LOG("%s: %s", file_name[file], strerror(errno));
			/* "." and ".." are always there. */
			got = got < 0 || (file == MAP_FILES && got <= 48) ? 0 : got;
			passes++;
			/* The rest of a text is lost before descriptors are closed. */
			cut = file != MAP_FILES && got < whole / 2;
			raced += !over && got && (cut || poll(&end, 1, 0) > 0);
		} while (!over);
		/* After exec() map_files is that of the new program. */
		if (file != MAP_FILES || how != END_EXEC)
			ASSERT_EQ(0, got);
		ASSERT_EQ(0, t->ctl->error);
		if (helper) {
			ASSERT_EQ(helper, waitpid(helper, &status, 0));
			released += !status;
		}
		close(reader.maps.fd);
		close(pipe[0]);
		target_end(t);
	} while (now_ms() - begin < duration_ms() / 2 ||
		 (!raced && now_ms() - begin < patience_ms()));
	note("%u passes, %u raced, pages were taken away %u times", passes, raced, released);
	if (!raced || (how == END_MRELEASE && !released))
		SKIP(return, "race not seen in %u passes: %s", passes,
		     strerror(WEXITSTATUS(status)));
}

TEST_RACE(ending, exit, END_EXIT)
TEST_RACE(ending, exec, END_EXEC)
TEST_RACE(ending, mrelease, END_MRELEASE)

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], EXEC_TARGET))
		return pause();
	return test_harness_run(argc, argv);
}
