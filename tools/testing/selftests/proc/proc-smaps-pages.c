// SPDX-License-Identifier: GPL-2.0
/*
 * What smaps, smaps_rollup, numa_maps, pagemap, PAGEMAP_SCAN and map_files say
 * while the target changes its pages, replaces a mapping by another one of the
 * same bounds, or ends. proc-smaps-race.c changes VMAs, proc-smaps-sums.c nothing.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

#define PM_EXCLUSIVE _BITULL(56)
#define PM_FILE _BITULL(61)
#define PM_SWAP _BITULL(62)
#define PM_PRESENT _BITULL(63)

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define EXEC_TARGET "--exec-target"
#define MANY_STEPS 1000000		/* the target never lingers */
#define CGROUP "/sys/fs/cgroup/proc-smaps-pages"
#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"
#define THP_SIZE "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"

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

enum file { SMAPS, ROLLUP, PAGEMAP, SCAN, NUMA, MAP_FILES, NR_FILES };

static const char * const file_name[NR_FILES] = {
	"smaps", "smaps_rollup", "pagemap", "pagemap", "numa_maps", "map_files",
};

enum field {
	SIZE, RSS, PSS, SHARED_CLEAN, SHARED_DIRTY, PRIVATE_CLEAN, PRIVATE_DIRTY,
	REFERENCED, ANONYMOUS, LAZYFREE, ANON_HUGE, SHARED_HUGETLB,
	PRIVATE_HUGETLB, SWAP, NR_FIELDS
};

static const char * const field_name[NR_FIELDS] = {
	"Size:", "Rss:", "Pss:", "Shared_Clean:", "Shared_Dirty:",
	"Private_Clean:", "Private_Dirty:", "Referenced:", "Anonymous:",
	"LazyFree:", "AnonHugePages:", "Shared_Hugetlb:", "Private_Hugetlb:",
	"Swap:",
};

struct entry {
	struct maps_line line;
	unsigned long kb[NR_FIELDS];
	unsigned int nr;
};

static struct maps_reader text;
static __u64 *pagemap;		/* of the window */
static struct page_region *region;
static size_t page;

/* For smaps and smaps_rollup: return as maps_next(). m->place is of no use then. */
static int next_entry(struct maps_reader *m, struct entry *e, enum line_place *place)
{
	int i, ret = maps_next(m, &e->line);

	if (ret != 1)
		return ret;
	*place = m->place;
	e->nr = 0;
	do {
		ret = maps_next_text(m);
		if (ret != 1)
			return ret ?: 1;
		for (i = 0; i < NR_FIELDS; i++) {
			if (strncmp(m->line, field_name[i], strlen(field_name[i])))
				continue;
			e->kb[i] = strtoul(m->line + strlen(field_name[i]), NULL, 10);
			e->nr++;
		}
	} while (strncmp(m->line, "VmFlags:", strlen("VmFlags:")));
	return e->nr == NR_FIELDS ? 1 : -EBADMSG;
}

static int read_rollup(int fd, struct entry *e)
{
	enum line_place place;
	int ret;

	text.fd = fd;
	maps_rewind(&text, 0);
	ret = next_entry(&text, e, &place);
	return ret != 1 ? ret ?: -EBADMSG : e->nr == NR_FIELDS - 1 ? 0 : -EBADMSG;
}

static int read_pagemap(int fd, unsigned long lo, unsigned long hi)
{
	ssize_t size = (hi - lo) / page * 8;
	ssize_t n = pread(fd, pagemap, size, lo / page * 8);

	return n == size ? 0 : n < 0 ? -errno : -ENODATA;
}

/* Return the number of regions; walk_end must be all. */
static int scan(int fd, unsigned long lo, unsigned long hi)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = lo,
		.end = hi,
		.vec = (uintptr_t)region,
		.vec_len = (hi - lo) / page,
		.category_anyof_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_SWAPPED | PAGE_IS_FILE,
	};
	int n = ioctl(fd, PAGEMAP_SCAN, &arg);

	return n < 0 ? -errno : arg.walk_end == hi ? n : -ENODATA;
}

/* Return the file, or -1 after a SKIP. */
static int open_file(struct __test_metadata *_metadata, pid_t pid, enum file f)
{
	int fd = maps_open_file(pid, file_name[f]);

	if (fd < 0 && errno == ENOENT)
		SKIP(return -1, "no /proc/PID/%s in this kernel", file_name[f]);
	EXPECT_LE(0, fd);
	text.size = READ_LARGE;
	return fd;
}

static void new_buffers(size_t window)
{
	pagemap = calloc(window / page, sizeof(*pagemap));
	region = calloc(window / page, sizeof(*region));
}

/*
 * Pages that come and go in one VMA, between two that stay as they are.
 */

#define STABLE_PAGES 64			/* every second is there */

enum area { STABLE_ANON, STABLE_FILE, CHURN, NR_AREAS };

struct churn {
	void (*step)(struct target *t, unsigned int n);
	int advice;
	bool shmem;
	bool hugetlb;
	bool collapses;		/* and is write-protected in parts */
	bool protects;
	bool swaps;
	bool holds;		/* all its pages are there at all times */
	bool busy;		/* the reader has to share its CPU */
	enum field seen;	/* no race if this is always the same, or 0 */
};

FIXTURE(churn)
{
	struct target target;
	struct scenario scenario;
	struct window *window;
	long hugepages;
	bool swap;
};

FIXTURE_VARIANT(churn)
{
	struct churn churn;
};

static size_t unit, block;	/* of what changes; alignment */
static int churn_fd;

/* What the reader knows. */
static struct {
	const struct churn *churn;
	struct target *target;
	struct maps_line area[NR_AREAS];
	__u64 stable[CHURN][STABLE_PAGES];
	struct entry other;		/* all but what changes */
	unsigned long least[NR_FIELDS], most[NR_FIELDS];
	int fd[NR_FILES];
} known;

static char *churn_at(const struct target *t)
{
	return (char *)t->ctl->lo + block;
}

static size_t churn_len(void)
{
	return 2 * block;
}

/* A part of what changes, of up to 16 units. */
static char *churn_piece(const struct target *t, size_t *len)
{
	static __u32 seed = 1;
	__u32 x = next_random(&seed);
	unsigned int units = churn_len() / unit;
	unsigned int first = x % units, n = 1 + (x >> 16) % 16;

	*len = unit * (n < units - first ? n : units - first);
	return churn_at(t) + first * unit;
}

static void touch(char *at, size_t len)
{
	size_t i;

	for (i = 0; i < len; i += unit)
		__atomic_store_n(at + i, 1, __ATOMIC_RELAXED);
}

/* Short steps, so that a pass meets some. */
static void step_advise(struct target *t, unsigned int n)
{
	const struct churn *c = t->scenario->data;
	size_t len;
	char *at = churn_piece(t, &len);

	if (n % 2)
		touch(at, len);
	else if (c->advice)
		must(t, !madvise(at, len, c->advice), "madvise");
	else
		must(t, !fallocate(churn_fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   at - churn_at(t), len), "fallocate");
}

static void step_write(struct target *t, unsigned int n)
{
	size_t len;
	char *at = churn_piece(t, &len);

	touch(at, len);
}

static void step_protect(struct target *t, unsigned int n)
{
	size_t len;
	char *at = churn_piece(t, &len);

	must(t, !mprotect(at, len, n % 2 ? PROT_READ : RW), "mprotect");
}

static void step_collapse(struct target *t, unsigned int n)
{
	char *whole = churn_at(t) + n / 8 % 2 * block, *at;
	size_t len;

	at = churn_piece(t, &len);
	switch (n % 8) {
	case 0:
		touch(whole, block);
		break;
	case 1:
		/* May fail now and then, and is not seen then. */
		madvise(whole, block, MADV_COLLAPSE);
		break;
	case 2:
		must(t, !mprotect(at, len, PROT_READ), "mprotect");
		must(t, !mprotect(at, len, RW), "mprotect");
		break;
	case 3:
		must(t, mmap(at, len, RW, ANON | MAP_FIXED, -1, 0) == at, "mmap");
		break;
	case 4:
		must(t, !madvise(at, len, MADV_DONTNEED), "madvise");
		break;
	default:
		touch(at, len);
	}
}

static void map_stable(struct target *t, char *at, int flags, int fd)
{
	size_t i;

	must(t, mmap(at, STABLE_PAGES * page, RW, flags | MAP_FIXED, fd, 0) == at,
	     "mmap of what stays");
	madvise(at, STABLE_PAGES * page, MADV_NOHUGEPAGE);
	for (i = 0; i < STABLE_PAGES; i += 2)
		at[i * page] = 1;
}

static void churn_prepare_pages(struct target *t)
{
	const struct churn *c = t->scenario->data;
	int flags = c->shmem ? MAP_SHARED : ANON;
	char *at;

	/* So that the rest of it has all its pages, for ever. */
	must(t, !mlockall(MCL_CURRENT), "mlockall");
	prctl(PR_SET_THP_DISABLE, !c->collapses, 0, 0, 0);
	at = mmap(NULL, 5 * block, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
	must(t, at != MAP_FAILED, "mmap of address space");
	t->ctl->lo = ((uintptr_t)at + block - 1) & -block;
	t->ctl->hi = t->ctl->lo + 4 * block;

	at = churn_at(t);
	churn_fd = -1;
	if (c->shmem) {
		churn_fd = memfd_create("churn", MFD_CLOEXEC);
		must(t, !ftruncate(churn_fd, churn_len()), "ftruncate");
	}
	if (c->hugetlb)
		flags |= MAP_HUGETLB;
	must(t, mmap(at, churn_len(), RW, flags | MAP_FIXED, churn_fd, 0) == at,
	     "mmap of what changes");
	touch(at, churn_len());
	map_stable(t, (char *)t->ctl->lo, ANON, -1);
	map_stable(t, at + churn_len() + page, MAP_SHARED, t->memfd);
}

static int area_of(unsigned long start, unsigned long end)
{
	int a;

	for (a = 0; a < NR_AREAS; a++)
		if (start < known.area[a].end && end > known.area[a].start)
			return a;
	return -1;
}

static bool header_right(const struct maps_line *line, const struct maps_line *area,
			 bool any_prot)
{
	unsigned long inside = line->start - area->start;

	return line->start >= area->start && line->end <= area->end &&
	       (any_prot || !strcmp(line->prot, area->prot)) &&
	       line->offset == area->offset + (area->inode ? inside : 0) &&
	       line->inode == area->inode && line->major == area->major &&
	       line->minor == area->minor && !strcmp(line->name, area->name);
}

static bool stable_right(const struct entry *e, enum area a)
{
	unsigned long half = STABLE_PAGES / 2 * page / 1024;
	const unsigned long *kb = e->kb;

	return e->line.start == known.area[a].start && e->line.end == known.area[a].end &&
	       kb[RSS] == half && kb[PSS] == half && kb[PRIVATE_DIRTY] == half &&
	       !kb[PRIVATE_CLEAN] && !kb[SHARED_CLEAN] && !kb[SHARED_DIRTY] &&
	       kb[ANONYMOUS] == (a == STABLE_ANON ? half : 0) &&
	       !kb[SWAP] && !kb[LAZYFREE] && !kb[ANON_HUGE];
}

static bool churn_right(const struct entry *e)
{
	const struct churn *c = known.churn;
	const unsigned long *kb = e->kb;
	/* An object of shmem knows by itself what of it is in swap. */
	unsigned long swap = c->shmem ? 0 : kb[SWAP];

	return kb[RSS] + swap <= kb[SIZE] && kb[SWAP] <= kb[SIZE] &&
	       kb[PSS] <= kb[RSS] && kb[REFERENCED] <= kb[RSS] &&
	       kb[SHARED_CLEAN] + kb[SHARED_DIRTY] + kb[PRIVATE_CLEAN] +
	       kb[PRIVATE_DIRTY] == kb[RSS] &&
	       kb[ANONYMOUS] == (c->shmem ? 0 : kb[RSS]) &&
	       kb[LAZYFREE] <= kb[RSS] && kb[ANON_HUGE] <= kb[RSS] &&
	       (c->hugetlb ? !kb[RSS] : !kb[PRIVATE_HUGETLB]) && !kb[SHARED_HUGETLB] &&
	       kb[PRIVATE_HUGETLB] <= kb[SIZE] &&
	       (!c->holds || kb[RSS] == kb[SIZE]);
}

static int wrong_entry(struct window *w, const char *what, const struct entry *e)
{
	char numbers[256];
	int i, n = 0;

	for (i = 0; i < NR_FIELDS; i++)
		n += snprintf(numbers + n, sizeof(numbers) - n, " %s%lu",
			      field_name[i], e->kb[i]);
	return wrong(w, "%s: %lx-%lx %s %llx %s:%s", what, e->line.start, e->line.end,
		     e->line.prot, e->line.offset, e->line.name, numbers);
}

static int check_smaps(struct window *w)
{
	const struct churn *c = known.churn;
	unsigned long past[NR_AREAS], sum[NR_FIELDS] = {};
	enum line_place place;
	bool again = false;
	struct entry e;
	int a, i, ret;

	for (a = 0; a < NR_AREAS; a++)
		past[a] = known.area[a].start;
	text.fd = known.fd[SMAPS];
	maps_rewind(&text, 0);
	while ((ret = next_entry(&text, &e, &place)) == 1) {
		a = area_of(e.line.start, e.line.end);
		if (a < 0)
			continue;
		if (!header_right(&e.line, &known.area[a],
				  a == CHURN && (c->protects || c->collapses)))
			return wrong_entry(w, "header", &e);
		if (e.kb[SIZE] * 1024 != e.line.end - e.line.start)
			return wrong_entry(w, "size", &e);
		if (a == CHURN ? !churn_right(&e) : !stable_right(&e, a))
			return wrong_entry(w, "numbers", &e);
		if (e.line.start > past[a] || e.line.end <= past[a] ||
		    (e.line.start < past[a] && place == LINE_INSIDE))
			return wrong_entry(w, "place", &e);
		again |= e.line.start < past[a];
		past[a] = e.line.end;
		for (i = 0; a == CHURN && i < NR_FIELDS; i++)
			sum[i] += e.kb[i];
	}
	if (ret < 0)
		return wrong(w, "smaps: %s", strerror(-ret));
	for (a = 0; a < NR_AREAS; a++)
		if (past[a] != known.area[a].end)
			return wrong(w, "smaps: nothing at %lx", past[a]);
	for (i = 0; !again && i < NR_FIELDS; i++) {
		known.least[i] = sum[i] < known.least[i] ? sum[i] : known.least[i];
		known.most[i] = sum[i] > known.most[i] ? sum[i] : known.most[i];
	}
	return 0;
}

static int check_rollup(struct window *w)
{
	static const enum field fields[] = { RSS, ANONYMOUS, PRIVATE_HUGETLB, SWAP };
	unsigned long kb, low, size = churn_len() / 1024;
	struct entry e;
	unsigned int i;
	int ret = read_rollup(known.fd[ROLLUP], &e);

	if (ret)
		return wrong(w, "smaps_rollup: %s", strerror(-ret));
	for (i = 0; i < ARRAY_SIZE(fields); i++) {
		kb = e.kb[fields[i]];
		low = known.other.kb[fields[i]];
		if (kb < low || kb > low + size)
			return wrong(w, "smaps_rollup: %s %lu, not %lu and up to %lu",
				     field_name[fields[i]], kb, low, size);
	}
	kb = known.other.kb[RSS] + size;
	if (known.churn->holds && e.kb[RSS] != kb)
		return wrong(w, "smaps_rollup: Rss: %lu, not %lu", e.kb[RSS], kb);
	return 0;
}

static int check_pagemap(struct window *w)
{
	unsigned long addr, lo = w->lo;
	__u64 there, *pme = pagemap;
	int a, ret;

	ret = read_pagemap(known.fd[PAGEMAP], lo, w->hi);
	if (ret)
		return wrong(w, "pagemap: %s", strerror(-ret));
	for (a = 0; a < CHURN; a++)
		if (memcmp(pagemap + (known.area[a].start - lo) / page, known.stable[a],
			   sizeof(known.stable[a])))
			return wrong(w, "pagemap: not as ever at %lx", known.area[a].start);
	for (addr = lo; addr < w->hi; addr += page, pme++) {
		there = *pme & (PM_PRESENT | PM_SWAP);
		a = area_of(addr, addr + page);
		if ((a < 0 && there) || there == (PM_PRESENT | PM_SWAP) ||
		    (a == CHURN && known.churn->holds && there != PM_PRESENT))
			return wrong(w, "pagemap: %llx at %lx", *pme, addr);
	}
	return 0;
}

static int check_scan(struct window *w)
{
	unsigned long want, past = w->lo;
	unsigned int found[NR_AREAS] = {};
	const struct maps_line *area;
	struct page_region *r;
	int i, a, n = scan(known.fd[SCAN], w->lo, w->hi);

	if (n < 0)
		return wrong(w, "PAGEMAP_SCAN: %s", strerror(-n));
	for (i = 0, r = region; i < n; i++, r++) {
		a = area_of(r->start, r->end);
		area = &known.area[a];
		if (a < 0 || r->start < past || r->start < area->start ||
		    r->end <= r->start || r->end > area->end)
			break;
		past = r->end;
		if (a == CHURN) {
			found[a] += (r->end - r->start) / page;
			want = r->categories & (PAGE_IS_PRESENT | PAGE_IS_SWAPPED);
			if (want == (PAGE_IS_PRESENT | PAGE_IS_SWAPPED))
				break;
			continue;
		}
		want = PAGE_IS_PRESENT | (a == STABLE_FILE ? PAGE_IS_FILE : 0);
		if (r->start != area->start + 2 * found[a]++ * page ||
		    r->end != r->start + page || r->categories != want)
			break;
	}
	if (i < n)
		return wrong(w, "PAGEMAP_SCAN: region %llx-%llx %llx after %lx", r->start,
			     r->end, r->categories, past);
	for (a = 0; a < CHURN; a++)
		if (found[a] != STABLE_PAGES / 2)
			return wrong(w, "PAGEMAP_SCAN: %u pages of %lx", found[a],
				     known.area[a].start);
	if (known.churn->holds && found[CHURN] != churn_len() / page)
		return wrong(w, "PAGEMAP_SCAN: %u pages of what stays", found[CHURN]);
	return 0;
}

/* The number after each " @word", added up. */
static unsigned long numa_number(const char *line, const char *word)
{
	unsigned long n = 0;

	while ((line = strstr(line, word))) {
		line = strchr(line, '=');
		n += strtoul(++line, NULL, 10);
	}
	return n;
}

static int check_numa(struct window *w)
{
	unsigned long start, pages, anon, dirty, past = 0;
	unsigned int found[NR_AREAS] = {};
	char line[512];
	int a, ret;

	text.fd = known.fd[NUMA];
	maps_rewind(&text, 0);
	while ((ret = maps_next_text(&text)) == 1) {
		snprintf(line, sizeof(line), "%.*s", (int)text.line_len, text.line);
		start = strtoul(line, NULL, 16);
		a = area_of(start, start + 1);
		if (a < 0)
			continue;
		pages = numa_number(line, " N");
		anon = numa_number(line, " anon=");
		dirty = numa_number(line, " dirty=");
		found[a]++;
		if ((start <= past && text.place == LINE_INSIDE) || anon > pages ||
		    dirty > pages)
			break;
		past = start;
		if (a == CHURN ? pages > (known.area[a].end - start) / page :
		    start != known.area[a].start || pages != STABLE_PAGES / 2 ||
		    dirty != pages || anon != (a == STABLE_ANON ? pages : 0))
			break;
	}
	if (ret < 0)
		return wrong(w, "numa_maps: %s", strerror(-ret));
	if (ret)
		return wrong(w, "numa_maps: %s", line);
	if (found[STABLE_ANON] != 1 || found[STABLE_FILE] != 1 || !found[CHURN])
		return wrong(w, "numa_maps: lines: %u %u %u", found[STABLE_ANON],
			     found[STABLE_FILE], found[CHURN]);
	return 0;
}

/* A reader lets a VMA go for another task, and must not forget where it was. */
static void share_cpu(void)
{
	pid_t tester = getpid();
	cpu_set_t cpu;

	CPU_ZERO(&cpu);
	CPU_SET(sched_getcpu(), &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	if (fork())
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == tester)
		;
	_exit(0);
}

static int pass_churn(struct window *w, void *arg)
{
	static int (* const check[])(struct window *w) = {
		check_smaps, check_rollup, check_pagemap, check_scan, check_numa,
	};
	unsigned int f = w->passes % w->nr;
	__u64 steps;
	int ret;

	if (known.churn->busy && !w->passes)
		share_cpu();
	steps = target_steps(known.target);
	ret = check[f](w);
	w->seen[f] += steps != target_steps(known.target);
	return ret;
}

/* Pages that the kernel moves look different on the way. */
static long migrations(void)
{
	FILE *f = fopen("/proc/vmstat", "r");
	long n, sum = 0;
	char word[64];

	while (f && fscanf(f, "%63s %ld", word, &n) == 2)
		if (!strncmp(word, "pgmigrate_", strlen("pgmigrate_")) ||
		    !strcmp(word, "compact_isolated"))	/* these soon will be */
			sum += n;
	if (f)
		fclose(f);
	return sum;
}

static enum race_result run(struct target *t, struct window *w, race_pass pass)
{
	long before = migrations();
	enum race_result result = race_run(t, w, duration_ms(), pass, NULL);

	if (result != RACE_FAILED || before == migrations())
		return result;
	note("failed: %s", w->why);
	wrong(w, "pages were migrated");
	return RACE_NOT_SEEN;
}

/* Learn what stays, when the target has been through all that it does. */
static void churn_learn(struct __test_metadata *_metadata, struct target *t)
{
	const unsigned long start[] = {
		[STABLE_ANON] = t->ctl->lo,
		[STABLE_FILE] = (uintptr_t)churn_at(t) + churn_len() + page,
		[CHURN] = (uintptr_t)churn_at(t),
	};
	struct maps_line line;
	struct window w = { .lo = t->ctl->lo, .hi = t->ctl->hi };
	unsigned int i, bad = 0;
	__u64 want;
	int a;

	target_do(t, TARGET_RUN);
	while (target_steps(t) < 32 && !t->ctl->error)
		;
	ASSERT_TRUE(target_do(t, TARGET_STOP))
		TH_LOG("%s", t->ctl->failed);

	text.fd = t->fd;
	text.size = READ_LARGE;
	while (maps_next(&text, &line) == 1)
		for (a = 0; a < NR_AREAS; a++)
			if (line.start == start[a])
				known.area[a] = line;
	/* In parts, maybe; and the first may be read-only. */
	known.area[CHURN].end = start[CHURN] + churn_len();
	for (a = 0; a < NR_AREAS; a++)
		ASSERT_EQ(start[a], known.area[a].start);
	new_buffers(w.hi - w.lo);
	ASSERT_EQ(0, read_pagemap(known.fd[PAGEMAP], w.lo, w.hi));
	for (a = 0; a < CHURN; a++) {
		memcpy(known.stable[a], pagemap + (start[a] - w.lo) / page,
		       sizeof(known.stable[a]));
		want = PM_PRESENT | PM_EXCLUSIVE | (a == STABLE_FILE ? PM_FILE : 0);
		for (i = 0; i < STABLE_PAGES; i++)
			bad += (known.stable[a][i] & (want | PM_FILE | PM_SWAP)) !=
			       (i % 2 ? 0 : want);
	}
	ASSERT_EQ(0, bad);
	memset(known.least, -1, sizeof(known.least));
	ASSERT_EQ(0, check_smaps(&w))
		TH_LOG("%s", w.why);
	ASSERT_EQ(0, read_rollup(known.fd[ROLLUP], &known.other));
	for (i = 0; i < NR_FIELDS; i++)
		known.other.kb[i] -= known.most[i];
}

FIXTURE_SETUP(churn)
{
	const struct churn *c = &variant->churn;
	long huge = number(THP_SIZE), hugetlb = 0;
	FILE *f = fopen("/proc/meminfo", "r");
	char line[128];
	const char *why;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Hugepagesize: %ld", &hugetlb) == 1)
			hugetlb <<= 10;
	if (f)
		fclose(f);
	page = sysconf(_SC_PAGESIZE);
	unit = c->hugetlb ? hugetlb : page;
	block = c->hugetlb ? hugetlb : c->collapses ? huge : 512 * page;
	self->hugepages = -1;
	if ((c->hugetlb && hugetlb <= 0) || (c->collapses && huge <= 0))
		SKIP(return, "no huge pages");
	if (block > (32UL << 20))
		SKIP(return, "made for smaller huge pages");
	if (c->hugetlb) {
		self->hugepages = number(NR_HUGEPAGES);
		snprintf(line, sizeof(line), "%ld", self->hugepages + 2);
		if (!put(NR_HUGEPAGES, line) || number(NR_HUGEPAGES) != self->hugepages + 2) {
			snprintf(line, sizeof(line), "%ld", self->hugepages);
			put(NR_HUGEPAGES, line);
			SKIP(return, "cannot reserve huge pages");
		}
	}
	why = c->swaps ? provide_swap(&self->swap) : NULL;
	if (why)
		SKIP(return, "%s", why);

	self->window = calloc(1, sizeof(*self->window));
	self->scenario = (struct scenario) {
		.prepare = churn_prepare_pages,
		.step = c->step,
		.nr_states = MANY_STEPS,
		.data = c,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
}

FIXTURE_TEARDOWN(churn)
{
	char n[32];

	target_end(&self->target);
	if (self->swap)
		EXPECT_TRUE(end_swap());
	snprintf(n, sizeof(n), "%ld", self->hugepages);
	if (self->hugepages >= 0)
		put(NR_HUGEPAGES, n);
	free(self->window);
}

FIXTURE_VARIANT_ADD(churn, write) {
	.churn = { .step = step_write, .holds = true, .busy = true, .seen = SIZE },
};

FIXTURE_VARIANT_ADD(churn, dontneed) {
	.churn = { .step = step_advise, .advice = MADV_DONTNEED, .seen = RSS },
};

FIXTURE_VARIANT_ADD(churn, lazyfree) {
	.churn = { .step = step_advise, .advice = MADV_FREE, .seen = LAZYFREE },
};

FIXTURE_VARIANT_ADD(churn, pageout) {
	.churn = { .step = step_advise, .advice = MADV_PAGEOUT, .swaps = true, .seen = SWAP },
};

FIXTURE_VARIANT_ADD(churn, collapse) {
	.churn = { .step = step_collapse, .collapses = true, .seen = ANON_HUGE },
};

FIXTURE_VARIANT_ADD(churn, protect) {
	.churn = { .step = step_protect, .protects = true, .holds = true, .seen = SIZE },
};

FIXTURE_VARIANT_ADD(churn, punch) {
	.churn = { .step = step_advise, .shmem = true, .seen = RSS },
};

FIXTURE_VARIANT_ADD(churn, remove) {
	.churn = { .step = step_advise, .advice = MADV_REMOVE, .shmem = true, .seen = RSS },
};

FIXTURE_VARIANT_ADD(churn, shmem_pageout) {
	.churn = { .step = step_advise, .advice = MADV_PAGEOUT, .shmem = true,
		   .swaps = true, .seen = SWAP },
};

FIXTURE_VARIANT_ADD(churn, hugetlb) {
	.churn = { .step = step_advise, .advice = MADV_DONTNEED, .hugetlb = true,
		   .seen = PRIVATE_HUGETLB },
};

TEST_F_TIMEOUT(churn, pages, test_timeout())
{
	static const enum file file[] = { SMAPS, ROLLUP, PAGEMAP, SCAN };
	const struct churn *c = &variant->churn;
	struct target *t = &self->target;
	struct window *w = self->window;
	enum field seen = c->seen;
	enum race_result result;
	unsigned int i;

	if (!target_do(t, TARGET_PREPARE) && !strcmp(t->ctl->failed, "mlockall"))
		SKIP(return, "cannot mlockall");
	ASSERT_EQ(0, t->ctl->error)
		TH_LOG("%s", t->ctl->failed);
	known.churn = c;
	known.target = t;
	for (i = 0; i < ARRAY_SIZE(file); i++) {
		known.fd[file[i]] = open_file(_metadata, t->pid, file[i]);
		if (known.fd[file[i]] < 0)
			return;
	}
	known.fd[NUMA] = maps_open_file(t->pid, file_name[NUMA]);
	churn_learn(_metadata, t);
	w->lo = t->ctl->lo;
	w->hi = t->ctl->hi;
	w->nr = known.fd[NUMA] < 0 ? NUMA : NUMA + 1;	/* a bit each file, see pass_churn() */
	result = run(t, w, pass_churn);
	note("what changes: Rss %lu to %lu kB, %s %lu to %lu", known.least[RSS],
	     known.most[RSS], field_name[seen], known.least[seen], known.most[seen]);
	if (race_verdict(_metadata, w, result) && seen != SIZE &&
	    known.least[seen] == known.most[seen])
		SKIP(return, "race not seen: the reader saw no change");
}

/*
 * Targets whose answer is known exactly at all times.
 */

FIXTURE(race)
{
	struct target target;
	struct scenario scenario;
	struct window *window;
};

FIXTURE_VARIANT(race)
{
	void (*prepare)(struct target *t);
	void (*step)(struct target *t, unsigned int n);
	size_t len;
	enum file file;
	race_pass pass;
	unsigned int nr_seen;	/* what the pass has to see, bit by bit */
};

static void map_touched(struct target *t, char *at, size_t len)
{
	must(t, mmap(at, len, RW, ANON | MAP_FIXED, -1, 0) == at, "mmap");
	unit = page;
	touch(at, len);
}

static void present_prepare(struct target *t)
{
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	t->ctl->lo = (uintptr_t)t->arena;
	t->ctl->hi = t->ctl->lo + ARENA_PAGES * page;
	map_touched(t, t->arena, ARENA_PAGES * page);
}

/* Move pages over others, then split or merge VMAs. All is present at all times. */
static void present_step(struct target *t, unsigned int n)
{
	static char *spare;		/* as aligned as the arena is */
	static __u32 seed = 1;
	size_t len = *(const size_t *)t->scenario->data, all = ARENA_PAGES * page;
	__u32 x = next_random(&seed);
	char *at = t->arena + x % (all / len) * len;
	size_t first = (x >> 8) % ARENA_PAGES, nr = 1 + (x >> 20) % (ARENA_PAGES - first);

	if (!spare) {
		spare = mmap(NULL, 2 * all, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
		must(t, spare != MAP_FAILED, "mmap of address space");
		spare = (char *)(((uintptr_t)spare + all - 1) & -all);
	}
	if (n % 2) {
		must(t, !mprotect(t->arena + first * page, nr * page,
				  n % 4 == 1 ? PROT_READ : RW), "mprotect");
		return;
	}
	map_touched(t, spare, len);
	must(t, mremap(spare, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at, "mremap");
}

static int present_pagemap(struct window *w)
{
	unsigned long addr;
	int ret = read_pagemap(known.fd[PAGEMAP], w->lo, w->hi);

	if (ret)
		return wrong(w, "pagemap: %s", strerror(-ret));
	for (addr = w->lo; addr < w->hi; addr += page)
		if (~pagemap[(addr - w->lo) / page] & PM_PRESENT)
			return wrong(w, "pagemap: %llx at %lx of %lx",
				     pagemap[(addr - w->lo) / page], addr, w->lo);
	return 0;
}

static int present_scan(struct window *w)
{
	unsigned long past = w->lo;
	int i, n = scan(known.fd[PAGEMAP], w->lo, w->hi);

	if (n < 0)
		return wrong(w, "PAGEMAP_SCAN: %s", strerror(-n));
	for (i = 0; i < n; i++) {
		if (region[i].start != past || region[i].categories != PAGE_IS_PRESENT)
			break;
		past = region[i].end;
	}
	return past == w->hi ? 0 : wrong(w, "PAGEMAP_SCAN: not %lx of %lx", past, w->lo);
}

/* In turn; seen[] has those that met a step. */
static int pass_present(struct window *w, void *arg)
{
	__u64 steps = target_steps(known.target);
	unsigned int f = w->passes % 2;
	int ret = f ? present_scan(w) : present_pagemap(w);

	w->seen[f] += steps != target_steps(known.target);
	return ret;
}

FIXTURE_VARIANT_ADD(race, moved_page) {
	.prepare = present_prepare, .step = present_step, .len = 4096,
	.file = PAGEMAP, .pass = pass_present, .nr_seen = 2,
};

FIXTURE_VARIANT_ADD(race, moved_mebibyte) {
	.prepare = present_prepare, .step = present_step, .len = 1UL << 20,
	.file = PAGEMAP, .pass = pass_present, .nr_seen = 2,
};

/* The page tables themselves may be moved. */
FIXTURE_VARIANT_ADD(race, moved_table) {
	.prepare = present_prepare, .step = present_step, .len = 2UL << 20,
	.file = PAGEMAP, .pass = pass_present, .nr_seen = 2,
};

/* One file is mapped over another one, and next to them is a third. */
static void links_step(struct target *t, unsigned int n)
{
	static int fd[2];
	size_t len = t->ctl->hi - t->ctl->lo;
	char *at = (char *)t->ctl->lo;

	if (!fd[n % 2])
		fd[n % 2] = memfd_create(n % 2 ? "b" : "a", MFD_CLOEXEC);
	must(t, mmap(at, len, PROT_READ, MAP_SHARED | MAP_FIXED, fd[n % 2], 0) == at,
	     "mmap");
}

/* The fillers make that several getdents() are needed. */
static void links_prepare(struct target *t)
{
	map_fillers(t);
	t->ctl->lo = (uintptr_t)t->arena + (ARENA_FILLERS + 1) * t->page;
	t->ctl->hi = t->ctl->lo + 4 * t->page;
	links_step(t, 0);
	map_file(t, (char *)t->ctl->hi + t->page, t->page, PROT_READ, 0, 0);
}

static const char *link_at(unsigned long start, unsigned long end)
{
	static char path[96];

	snprintf(path, sizeof(path), "/proc/%d/map_files/%lx-%lx", known.target->pid,
		 start, end);
	return path;
}

/* The path of the link, or of the one next to it. */
static const char *link_of(const struct window *w, bool stable)
{
	return stable ? link_at(w->hi + page, w->hi + 2 * page) : link_at(w->lo, w->hi);
}

static bool no_link(unsigned long start, unsigned long end)
{
	char name[64];

	return readlink(link_at(start, end), name, sizeof(name)) < 0 && errno == ENOENT;
}

static int pass_readlink(struct window *w, void *arg)
{
	char name[64] = "";
	bool b;

	if (readlink(link_of(w, false), name, sizeof(name) - 1) < 0)
		return wrong(w, "readlink: %s", strerror(errno));
	b = !strcmp(name, "/memfd:b (deleted)");
	if (!b && strcmp(name, "/memfd:a (deleted)"))
		return wrong(w, "readlink: %s", name);
	if (!no_link(w->lo, w->hi - page) || !no_link(w->lo + page, w->hi))
		return wrong(w, "a link to a part");
	w->seen[b]++;
	return 0;
}

static int pass_readdir(struct window *w, void *arg)
{
	unsigned int found[2] = {};
	int i, fd = known.fd[MAP_FILES];
	struct dirent64 *d;
	char buf[2048];
	ssize_t n, at;

	lseek(fd, 0, SEEK_SET);
	while ((n = syscall(SYS_getdents64, fd, buf, sizeof(buf))) > 0) {
		for (at = 0; at < n; at += d->d_reclen) {
			d = (struct dirent64 *)(buf + at);
			for (i = 0; i < 2; i++)
				found[i] += !strcmp(d->d_name, strrchr(link_of(w, i), '/') + 1);
		}
	}
	if (n || found[0] != 1 || found[1] != 1)
		return wrong(w, "readdir: %s; %u and %u times", strerror(n ? errno : 0),
			     found[0], found[1]);
	return 0;
}

static int pass_open(struct window *w, void *arg)
{
	int fd = open(link_of(w, true), O_RDONLY | O_CLOEXEC);
	struct stat st, want;
	bool same;

	if (fd < 0)
		return wrong(w, "open: %s", strerror(errno));
	same = !fstat(fd, &st) && !fstat(known.target->memfd, &want) &&
	       st.st_ino == want.st_ino && st.st_dev == want.st_dev;
	close(fd);
	return same ? 0 : wrong(w, "open: another file");
}

FIXTURE_VARIANT_ADD(race, readlink) {
	.prepare = links_prepare, .step = links_step,
	.file = MAP_FILES, .pass = pass_readlink, .nr_seen = 2,
};

FIXTURE_VARIANT_ADD(race, readdir) {
	.prepare = links_prepare, .step = links_step,
	.file = MAP_FILES, .pass = pass_readdir,
};

FIXTURE_VARIANT_ADD(race, open) {
	.prepare = links_prepare, .step = links_step,
	.file = MAP_FILES, .pass = pass_open,
};

#define SPARSE_SIZE (1024UL << 30)
#define SPARSE_PAGES 64

static void sparse_prepare(struct target *t)
{
	char *at;
	int i;

	churn_prepare(t);
	prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
	at = mmap(NULL, SPARSE_SIZE, RW, ANON | MAP_NORESERVE, -1, 0);
	must(t, at != MAP_FAILED, "mmap of 1 TiB");
	t->ctl->lo = (uintptr_t)at;
	t->ctl->hi = t->ctl->lo + SPARSE_SIZE;
	for (i = 0; i < SPARSE_PAGES; i++)
		at[SPARSE_SIZE / SPARSE_PAGES * i + i * t->page] = 1;
}

/* A large mapping with few pages stays as it is while VMAs come and go. */
static int pass_sparse(struct window *w, void *arg)
{
	unsigned long kb = SPARSE_PAGES * page / 1024;
	enum line_place place;
	unsigned int found = 0;
	struct entry e;
	int ret;

	text.fd = known.fd[SMAPS];
	maps_rewind(&text, 0);
	while ((ret = next_entry(&text, &e, &place)) == 1) {
		if (e.line.end <= w->lo || e.line.start >= w->hi)
			continue;
		found++;
		if (e.line.start != w->lo || e.line.end != w->hi || e.kb[RSS] != kb ||
		    e.kb[ANONYMOUS] != kb || e.kb[SIZE] != SPARSE_SIZE / 1024)
			return wrong_entry(w, "1 TiB", &e);
	}
	return !ret && found == 1 ? 0 :
		wrong(w, "1 TiB: %s, %u times", strerror(-ret), found);
}

FIXTURE_VARIANT_ADD(race, smaps_sparse) {
	.prepare = sparse_prepare, .step = churn_step,
	.file = SMAPS, .pass = pass_sparse,
};

FIXTURE_SETUP(race)
{
	page = sysconf(_SC_PAGESIZE);
	if (variant->len && page != 4096)
		SKIP(return, "made for pages of 4096 bytes");
	self->window = calloc(1, sizeof(*self->window));
	self->scenario = (struct scenario) {
		.prepare = variant->prepare,
		.step = variant->step,
		.nr_states = MANY_STEPS,
		.data = &variant->len,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
}

FIXTURE_TEARDOWN(race)
{
	target_end(&self->target);
	free(self->window);
}

TEST_F_TIMEOUT(race, exact, test_timeout())
{
	struct target *t = &self->target;
	struct window *w = self->window;
	int fd;

	if (!target_do(t, TARGET_PREPARE)) {
		if (t->ctl->error == ENOMEM)
			SKIP(return, "%s", t->ctl->failed);
		ASSERT_EQ(0, t->ctl->error)
			TH_LOG("%s", t->ctl->failed);
	}
	known.target = t;
	known.fd[variant->file] = open_file(_metadata, t->pid, variant->file);
	if (known.fd[variant->file] < 0)
		return;
	w->lo = t->ctl->lo;
	w->hi = t->ctl->hi;
	w->nr = variant->nr_seen;
	if (variant->len)
		new_buffers(w->hi - w->lo);
	if (variant->pass == pass_open) {
		fd = open(link_of(w, true), O_RDONLY | O_CLOEXEC);
		if (fd < 0 && errno == EPERM)
			SKIP(return, "may not open what is in map_files");
		close(fd);
	}
	race_verdict(_metadata, w, run(t, w, variant->pass));
}

/*
 * The target ends while it is read.
 */

#define ENDING_BYTES (8UL << 20)

enum ending { END_EXIT, END_EXEC, END_OOM, END_MRELEASE };

struct ending_test {
	struct target target;
	struct scenario scenario;
	enum ending how;
	int pipe[2];		/* the target's end is closed when its pages are gone */
};

FIXTURE(ending)
{
	struct ending_test test;
};

FIXTURE_VARIANT(ending)
{
	enum file file;
};

FIXTURE_VARIANT_ADD(ending, smaps) {
	.file = SMAPS,
};

FIXTURE_VARIANT_ADD(ending, smaps_rollup) {
	.file = ROLLUP,
};

FIXTURE_VARIANT_ADD(ending, numa_maps) {
	.file = NUMA,
};

FIXTURE_VARIANT_ADD(ending, pagemap) {
	.file = PAGEMAP,
};

FIXTURE_VARIANT_ADD(ending, scan) {
	.file = SCAN,
};

FIXTURE_VARIANT_ADD(ending, map_files) {
	.file = MAP_FILES,
};

static void ending_prepare(struct target *t)
{
	struct sched_param param = {};
	char *at;

	if (*(const enum ending *)t->scenario->data == END_MRELEASE)
		sched_setscheduler(0, SCHED_IDLE, &param);
	map_fillers(t);
	at = mmap(NULL, ENDING_BYTES, RW, ANON | MAP_POPULATE, -1, 0);
	must(t, at != MAP_FAILED, "mmap");
	t->ctl->lo = (uintptr_t)at;
	t->ctl->hi = t->ctl->lo + ENDING_BYTES;
}

static void ending_step(struct target *t, unsigned int n)
{
	enum ending how = *(const enum ending *)t->scenario->data;

	if (how == END_EXIT)
		_exit(0);
	if (how == END_EXEC)
		execl("/proc/self/exe", "proc-smaps-pages", EXEC_TARGET, NULL);
	if (how == END_OOM)
		mmap(NULL, 8 * ENDING_BYTES, RW, ANON | MAP_POPULATE, -1, 0);
	must(t, how == END_MRELEASE, "end");
}

/*
 * Where the target is, so that it does not run before its pages are taken away,
 * as the OOM killer does with who takes long to end.
 */
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

static const char *provide_cgroup(void)
{
	char text[256] = "";
	int fd = open("/sys/fs/cgroup/cgroup.controllers", O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0 || !strstr(text, "memory"))
		return "no memory cgroups";
	close(fd);
	put("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
	rmdir(CGROUP);
	if (mkdir(CGROUP, 0700) || !put(CGROUP "/memory.max", "16M") ||
	    !put(CGROUP "/memory.oom.group", "1"))
		return "cannot set up a memory cgroup";
	put(CGROUP "/memory.swap.max", "0");
	return NULL;
}

FIXTURE_SETUP(ending)
{
	page = sysconf(_SC_PAGESIZE);
	new_buffers(ENDING_BYTES);
	self->test.scenario = (struct scenario) {
		.prepare = ending_prepare,
		.step = ending_step,
		.nr_states = MANY_STEPS,
		.data = &self->test.how,
	};
}

FIXTURE_TEARDOWN(ending)
{
	rmdir(CGROUP);
}

/* Read all of it; return what it ended with, and how much came before in @got. */
static int read_all(enum file f, int fd, const struct target *t, size_t *got)
{
	unsigned long lo = t->ctl->lo, hi = t->ctl->hi;
	ssize_t n;

	*got = 0;
	if (f == PAGEMAP || f == SCAN) {
		n = f == SCAN ? scan(fd, lo, hi) : read_pagemap(fd, lo, hi);
		*got = n >= 0;
		return n == -ENODATA ? 0 : n < 0 ? n : 0;
	}
	lseek(fd, 0, SEEK_SET);
	while ((n = f == MAP_FILES ? syscall(SYS_getdents64, fd, text.text, READ_LARGE) :
		    read(fd, text.text, READ_LARGE)) > 0)
		*got += n;
	/* Just "." and ".." */
	if (f == MAP_FILES && *got <= 48)
		*got = 0;
	return n < 0 ? -errno : 0;
}

static bool ended(int pipe)
{
	struct pollfd p = { .fd = pipe };

	return poll(&p, 1, 0) > 0;
}

static void ending_race(struct __test_metadata *_metadata, struct ending_test *e,
			enum file f)
{
	struct target *t = &e->target;
	enum ending how = e->how;
	int *pipe = e->pipe;
	unsigned int passes = 0, raced = 0, targets = 0, released = 0;
	int fd, ret, status = 0;
	pid_t helper = 0;
	bool over, cut, apart;
	__u64 begin = now_ms();
	size_t got, whole;

	do {
		ASSERT_EQ(0, pipe2(pipe, O_CLOEXEC));
		ASSERT_EQ(0, target_start(t, &e->scenario));
		close(pipe[1]);
		ASSERT_TRUE(target_do(t, TARGET_PREPARE))
			TH_LOG("%s", t->ctl->failed);
		fd = open_file(_metadata, t->pid, f);
		if (fd < 0)
			return;
		snprintf(text.text, sizeof(text.text), "%d", t->pid);
		if (how == END_OOM)
			ASSERT_TRUE(put(CGROUP "/cgroup.procs", text.text));
		ASSERT_EQ(0, read_all(f, fd, t, &whole));
		apart = target_apart(t);
		target_do(t, TARGET_RUN);
		if (how == END_MRELEASE) {
			if (!apart)
				SKIP(return, "needs two CPUs");
			helper = start_mrelease(t);
		}
		do {
			over = ended(pipe[0]);
			ret = read_all(f, fd, t, &got);
			ASSERT_TRUE(!ret || ret == -ESRCH)
				TH_LOG("%s: %s", file_name[f], strerror(-ret));
			passes++;
			/* The rest of a text is lost before descriptors are closed. */
			cut = f != MAP_FILES && got < whole / 2;
			raced += !over && got && (cut || ended(pipe[0]));
		} while (!over);
		if (f != MAP_FILES || how != END_EXEC)
			ASSERT_EQ(0, got);
		ASSERT_EQ(0, t->ctl->error);
		if (how == END_MRELEASE) {
			ASSERT_EQ(helper, waitpid(helper, &status, 0));
			released += !status;
		}
		close(fd);
		close(pipe[0]);
		target_end(t);
		targets++;
	} while (now_ms() - begin < duration_ms() / 2 ||
		 (!raced && now_ms() - begin < 5 * duration_ms()));
	note("%u passes, %u raced with the end of %u targets", passes, raced, targets);
	if (how == END_MRELEASE)
		note("pages were taken away from %u of them", released);
	if (how == END_MRELEASE && !released)
		SKIP(return, "race not seen: process_mrelease: %s",
		     strerror(WEXITSTATUS(status)));
	if (!raced)
		SKIP(return, "race not seen in %u passes", passes);
}

TEST_F_TIMEOUT(ending, exit, test_timeout())
{
	self->test.how = END_EXIT;
	ending_race(_metadata, &self->test, variant->file);
}

TEST_F_TIMEOUT(ending, exec, test_timeout())
{
	self->test.how = END_EXEC;
	ending_race(_metadata, &self->test, variant->file);
}

TEST_F_TIMEOUT(ending, mrelease, test_timeout())
{
	self->test.how = END_MRELEASE;
	ending_race(_metadata, &self->test, variant->file);
}

TEST_F_TIMEOUT(ending, oom, test_timeout())
{
	const char *why = provide_cgroup();

	if (why)
		SKIP(return, "%s", why);
	self->test.how = END_OOM;
	ending_race(_metadata, &self->test, variant->file);
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], EXEC_TARGET))
		return pause();
	return test_harness_run(argc, argv);
}
