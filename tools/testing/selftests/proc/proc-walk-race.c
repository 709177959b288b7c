// SPDX-License-Identifier: GPL-2.0
/*
 * What a walk of another process's VMAs must keep while it unlocks a VMA in the
 * middle of its page tables and locks what is there then: positions that rise,
 * each page counted once, one entry for a mapping that is neither unmapped nor
 * replaced nor split, and an end. And that a lookup under RCU finds what is
 * always mapped, whatever two changes come between its loads.
 *
 * Each target changes its address space without pause on a CPU of its own; the
 * readers share another one with busy loops, so that they are often preempted.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

#define KB 1024UL
#define TABLE (2048 * KB)	/* what a page table of 4 KiB pages maps */

static char *address_space(size_t len)
{
	char *p = mmap(NULL, len + TABLE, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? p : p + (-(uintptr_t)p & (TABLE - 1));
}

static __u64 now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

/* Take the CPU for some time, sleep for half of it, and so on. */
static void busy_loop(pid_t tester, unsigned int us)
{
	const struct timespec pause = { .tv_nsec = 500 * us };
	__u64 end;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == tester) {
		for (end = now_us() + us; now_us() < end;)
			;
		nanosleep(&pause, NULL);
	}
	_exit(0);
}

/*
 * Two layouts by turns: a large mapping, with a page in each table; and one page
 * below it. A reader that has unlocked the large one finds the page, which is
 * below, and then the large one again.
 */
#define FLIP_SIZE (32 * TABLE)

FIXTURE(flip)
{
	struct target target;
	struct scenario scenario;
	pid_t child[4];
};

FIXTURE_VARIANT(flip)
{
	const char *file;
};

FIXTURE_VARIANT_ADD(flip, smaps) {
	.file = "smaps",
};

FIXTURE_VARIANT_ADD(flip, numa_maps) {
	.file = "numa_maps",
};

static char *flip_large(const struct target *t)
{
	return (char *)t->ctl->lo;
}

static void flip_map(struct target *t)
{
	size_t i;

	must(t, mmap(flip_large(t), FLIP_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) ==
	     flip_large(t), "mmap");
	madvise(flip_large(t), FLIP_SIZE, MADV_NOHUGEPAGE);
	for (i = 0; i < FLIP_SIZE; i += TABLE)
		flip_large(t)[i] = 1;
}

static void flip_prepare(struct target *t)
{
	char *p = address_space(FLIP_SIZE + TABLE);

	must(t, p != MAP_FAILED && !munmap(p, FLIP_SIZE + TABLE), "address space");
	t->ctl->lo = (uintptr_t)p + TABLE;
	t->ctl->hi = t->ctl->lo + FLIP_SIZE;
	flip_map(t);
}

static void flip_step(struct target *t, unsigned int n)
{
	char *page = flip_large(t) - 4 * t->page;

	if (!n) {
		must(t, !munmap(flip_large(t), FLIP_SIZE), "munmap");
		must(t, mmap(page, t->page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
			     MAP_FIXED, -1, 0) == page, "mmap of a page");
		flip_map(t);
	} else {
		must(t, !munmap(flip_large(t), FLIP_SIZE), "munmap");
		must(t, !munmap(page, t->page), "munmap of a page");
		flip_map(t);
	}
}

/* Reads of all sizes that end in the middle of an entry. */
static void flip_reader(pid_t tester, pid_t pid, const char *file)
{
	int fd = maps_open_file(pid, file);
	static char buf[4096];
	unsigned int size;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (fd >= 0 && getppid() == tester) {
		for (size = 600; size <= 3200; size += 37) {
			lseek(fd, 0, SEEK_SET);
			while (read(fd, buf, size) > 0)
				;
		}
	}
	_exit(1);
}

FIXTURE_SETUP(flip)
{
	self->scenario = (struct scenario) {
		.prepare = flip_prepare,
		.step = flip_step,
		.nr_states = 2,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
}

FIXTURE_TEARDOWN(flip)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(self->child); i++) {
		kill(self->child[i], SIGKILL);
		waitpid(self->child[i], NULL, 0);
	}
	target_end(&self->target);
}

/* The kernel survives it, and its log has no "buggy .next": vm/run looks there. */
TEST_F_TIMEOUT(flip, positions_rise, test_timeout())
{
	struct target *t = &self->target;
	pid_t tester = getpid();
	unsigned int i;
	__u64 begin;
	int fd;

	fd = maps_open_file(t->pid, variant->file);
	if (fd < 0)
		SKIP(return, "no %s in this kernel", variant->file);
	close(fd);
	ASSERT_TRUE(target_do(t, TARGET_PREPARE))
		TH_LOG("%s", t->ctl->failed);
	target_apart(t);
	for (i = 0; i < ARRAY_SIZE(self->child); i++) {
		self->child[i] = fork();
		ASSERT_LE(0, self->child[i]);
		if (!self->child[i] && i < 2)
			flip_reader(tester, t->pid, variant->file);
		if (!self->child[i])
			busy_loop(tester, 2000);
	}
	ASSERT_TRUE(target_do(t, TARGET_RUN));
	for (begin = now_ms(); now_ms() - begin < 2 * duration_ms();)
		usleep(10000);
	note("the target made %lu steps", (unsigned long)target_steps(t));
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, waitpid(self->child[i], NULL, WNOHANG));
	ASSERT_EQ(0, t->ctl->error)
		TH_LOG("%s", t->ctl->failed);
}

/*
 * A mapping, full of pages, that is write-locked without pause though nothing in it
 * ever changes. Each pass over smaps shows all of it, in so many entries, each page
 * once.
 */
#define WHOLE_SIZE (24 * TABLE)

enum whole_how { BY_MADVISE, BY_BRK, BY_MMAP, BY_MMAP_BEFORE, BY_MPROTECT };

FIXTURE(whole)
{
	struct target target;
	struct scenario scenario;
};

FIXTURE_VARIANT(whole)
{
	enum whole_how how;
	unsigned int entries;
};

/* madvise(MADV_DONTDUMP) of it, and MADV_DODUMP */
FIXTURE_VARIANT_ADD(whole, madvise) {
	.how = BY_MADVISE,
	.entries = 1,
};

/* The heap grows by a page, and shrinks. */
FIXTURE_VARIANT_ADD(whole, brk) {
	.how = BY_BRK,
	.entries = 1,
};

/* A page right behind it is mapped, and unmapped. */
FIXTURE_VARIANT_ADD(whole, mmap_behind) {
	.how = BY_MMAP,
	.entries = 1,
};

/* A page right before it is mapped, and unmapped: it grows downwards. */
FIXTURE_VARIANT_ADD(whole, mmap_before) {
	.how = BY_MMAP_BEFORE,
	.entries = 1,
};

/* Its last page is protected, and not: a mapping of its own. */
FIXTURE_VARIANT_ADD(whole, mprotect_last) {
	.how = BY_MPROTECT,
	.entries = 2,
};

static void whole_prepare(struct target *t)
{
	const enum whole_how *how = t->scenario->data;
	char *p;
	size_t i;

	must(t, !prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), "PR_SET_THP_DISABLE");
	if (*how == BY_BRK) {
		/* A page that does not merge, then the rest of the heap */
		p = sbrk(0);
		p += -(uintptr_t)p & (t->page - 1);
		must(t, !brk(p + t->page) && !brk(p + t->page + WHOLE_SIZE), "brk");
		must(t, !mprotect(p, t->page, PROT_READ), "mprotect");
		p += t->page;
	} else {
		p = address_space(WHOLE_SIZE + 3 * TABLE);
		must(t, p != MAP_FAILED, "address space");
		p += TABLE;
		must(t, !munmap(p - t->page, t->page), "munmap");
		must(t, !munmap(p + WHOLE_SIZE, TABLE), "munmap");
		must(t, !mprotect(p, WHOLE_SIZE, PROT_READ | PROT_WRITE), "mprotect");
	}
	for (i = 0; i < WHOLE_SIZE; i += t->page)
		p[i] = 1;
	t->ctl->lo = (uintptr_t)p;
	t->ctl->hi = t->ctl->lo + WHOLE_SIZE;
}

static void whole_step(struct target *t, unsigned int n)
{
	const enum whole_how *how = t->scenario->data;
	char *p = (char *)t->ctl->lo, *end = (char *)t->ctl->hi;

	switch (*how) {
	case BY_MADVISE:
		must(t, !madvise(p, end - p, n ? MADV_DODUMP : MADV_DONTDUMP),
		     "madvise");
		break;
	case BY_BRK:
		must(t, !brk(n ? end : end + t->page), "brk");
		break;
	case BY_MMAP:
	case BY_MMAP_BEFORE:
		p = *how == BY_MMAP ? end : p - t->page;
		if (n)
			must(t, !munmap(p, t->page), "munmap");
		else
			must(t, mmap(p, t->page, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED |
				     MAP_NORESERVE, -1, 0) == p, "mmap");
		break;
	default:
		must(t, !mprotect(end - t->page, t->page,
				  n ? PROT_READ | PROT_WRITE : PROT_READ), "mprotect");
	}
}

FIXTURE_SETUP(whole)
{
	self->scenario = (struct scenario) {
		.prepare = whole_prepare,
		.step = whole_step,
		.nr_states = 2,
		.data = &variant->how,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
	ASSERT_TRUE(target_do(&self->target, TARGET_PREPARE))
		TH_LOG("%s", self->target.ctl->failed);
}

FIXTURE_TEARDOWN(whole)
{
	target_end(&self->target);
}

struct whole_reader {
	struct maps_reader maps;
	unsigned int entries;
	unsigned int most;
};

/*
 * Return what is wrong with a pass over smaps, or NULL. The first read() asks for
 * @first bytes.
 */
static const char *whole_pass(struct whole_reader *r, const struct target *t,
			      size_t first)
{
	unsigned long past = t->ctl->lo, rss = 0, kb;
	struct maps_line line;
	bool in = false;
	int ret;

	r->entries = 0;
	maps_rewind(&r->maps, 0);
	r->maps.size = first;
	while ((ret = maps_next_text(&r->maps)) == 1) {
		r->maps.size = READ_LARGE;
		if (in && sscanf(r->maps.line, "Rss: %lu kB", &kb) == 1)
			rss += kb;
		if (!maps_parse(r->maps.line, r->maps.line + r->maps.line_len, &line))
			continue;
		/* What is right before or behind has merged with it when it was shown */
		in = line.end > t->ctl->lo && line.start <= t->ctl->hi;
		if (!in)
			continue;
		if (!r->entries++ && line.start == t->ctl->lo - t->page)
			past = line.start;
		if (line.start != past)
			return line.start < past ? "overlap" : "gap";
		past = line.end;
	}
	if (r->entries > r->most)
		r->most = r->entries;
	if (ret)
		return "read() failed";
	if (past < t->ctl->hi)
		return "not all is shown";
	if (rss != WHOLE_SIZE / KB)
		return "pages are missing, or counted twice";
	return NULL;
}

static void whole_race(struct __test_metadata *_metadata, struct target *t,
		       unsigned int entries, size_t step)
{
	struct whole_reader *r = calloc(1, sizeof(*r));
	unsigned long passes = 0, raced = 0, too_many = 0;
	const char *wrong = NULL;
	__u64 begin, steps;
	pid_t child;

	ASSERT_NE(NULL, r);
	r->maps.fd = maps_open_file(t->pid, "smaps");
	if (r->maps.fd < 0)
		SKIP(return, "no smaps in this kernel");
	target_apart(t);
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		busy_loop(getppid(), 2000);
	ASSERT_TRUE(target_do(t, TARGET_RUN));
	begin = now_ms();
	do {
		steps = target_steps(t);
		wrong = whole_pass(r, t, step ? 1 + passes % 6 * step : READ_LARGE);
		passes++;
		raced += steps != target_steps(t);
		too_many += r->entries > entries;
	} while (!wrong && now_ms() - begin < duration_ms());
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	note("%lu passes, %lu raced, at most %u entries, %lu passes with more than %u",
	     passes, raced, r->most, too_many, entries);
	EXPECT_EQ(0, t->ctl->error)
		TH_LOG("%s", t->ctl->failed);
	EXPECT_EQ(NULL, wrong)
		TH_LOG("%s", wrong);
	EXPECT_EQ(0, too_many);
	if (!raced)
		SKIP(return, "race not seen");
	free(r);
}

TEST_F_TIMEOUT(whole, shown_once, test_timeout())
{
	whole_race(_metadata, &self->target, variant->entries, 0);
}

/*
 * The second read() ends with each entry in turn that does not fit, so that it is
 * thrown away and made again.
 */
TEST_F_TIMEOUT(whole, shown_once_after_discard, test_timeout())
{
	whole_race(_metadata, &self->target, variant->entries, 800);
}

/*
 * A mapping that slides upwards: unmapped at its begin, extended at its end, so
 * that it never stays what it was. A pass ends all the same.
 */
#define SLIDE_TABLES 8192
/* Far more VMAs to be locked, each time anew, than a pass that has a bound takes */
#define SLIDE_LOCKS 10000

FIXTURE(slide)
{
	struct target target;
	struct scenario scenario;
};

static void slide_prepare(struct target *t)
{
	char *p = address_space((SLIDE_TABLES + 16) * TABLE);
	size_t i;

	must(t, p != MAP_FAILED && !munmap(p, (SLIDE_TABLES + 16) * TABLE),
	     "address space");
	must(t, !prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), "PR_SET_THP_DISABLE");
	must(t, mmap(p, 8 * TABLE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		     MAP_FIXED, -1, 0) == p, "mmap");
	for (i = 0; i < 8 * TABLE; i += t->page)
		p[i] = 1;
	t->ctl->lo = (uintptr_t)p;
	t->ctl->hi = t->ctl->lo + 8 * TABLE;
}

static void slide_step(struct target *t, unsigned int n)
{
	static unsigned long way;

	if (way++ == (SLIDE_TABLES + 8) * TABLE / t->page) {
		way = 0;
		must(t, !munmap((char *)t->ctl->lo, t->ctl->hi - t->ctl->lo), "munmap");
		slide_prepare(t);
	}
	must(t, !munmap((char *)t->ctl->lo, t->page), "munmap of the first page");
	t->ctl->lo += t->page;
	must(t, mmap((char *)t->ctl->hi, t->page, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_POPULATE, -1, 0) ==
	     (char *)t->ctl->hi, "mmap behind the last page");
	t->ctl->hi += t->page;
}

FIXTURE_SETUP(slide)
{
	self->scenario = (struct scenario) {
		.prepare = slide_prepare,
		.step = slide_step,
		.nr_states = 1,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
	ASSERT_TRUE(target_do(&self->target, TARGET_PREPARE))
		TH_LOG("%s", self->target.ctl->failed);
}

FIXTURE_TEARDOWN(slide)
{
	target_end(&self->target);
}

TEST_F_TIMEOUT(slide, a_pass_ends, test_timeout())
{
	long locks, most = 0;
	unsigned long passes = 0;
	static char buf[READ_LARGE];
	int fd, ret;
	__u64 begin;

	fd = maps_open_file(self->target.pid, "smaps");
	if (fd < 0)
		SKIP(return, "no smaps in this kernel");
	target_apart(&self->target);
	ASSERT_TRUE(target_do(&self->target, TARGET_RUN));
	/* If it does not the test is killed, or the kernel has counted too much */
	for (begin = now_ms(); now_ms() - begin < duration_ms(); passes++) {
		locks = maps_lockless_walks();
		lseek(fd, 0, SEEK_SET);
		while ((ret = read(fd, buf, sizeof(buf))) > 0)
			;
		ASSERT_EQ(0, ret);
		locks = maps_lockless_walks() - locks;
		if (locks > most)
			most = locks;
	}
	note("%lu passes, %lu steps of the target, at most %ld locks", passes,
	     (unsigned long)target_steps(&self->target), most);
	EXPECT_GT(SLIDE_LOCKS, most);
	close(fd);
}

/*
 * The first of three neighbours grows over the begin of the second, then the rest
 * of that is unmapped. The begin is always mapped; but a lookup that has compared
 * the end of the first before, and sees what is behind after, sees nothing there.
 */
FIXTURE(neighbours)
{
	struct target target;
	struct scenario scenario;
};

static void neighbours_prepare(struct target *t)
{
	char *p = address_space(TABLE);

	must(t, p != MAP_FAILED, "address space");
	p += 16 * t->page;
	must(t, !mprotect(p, 2 * t->page, PROT_READ), "mprotect of the first");
	must(t, !mprotect(p + 2 * t->page, 4 * t->page, PROT_READ | PROT_WRITE),
	     "mprotect of the second");
	must(t, !mprotect(p + 6 * t->page, 2 * t->page, PROT_READ),
	     "mprotect of the third");
	t->ctl->lo = (uintptr_t)p + 2 * t->page;
	t->ctl->hi = t->ctl->lo + 4 * t->page;
}

static void neighbours_step(struct target *t, unsigned int n)
{
	char *second = (char *)t->ctl->lo;

	must(t, !mprotect(second, 2 * t->page, PROT_READ), "mprotect");
	must(t, !munmap(second + 2 * t->page, 2 * t->page), "munmap");
	must(t, mmap(second + 2 * t->page, 2 * t->page, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
	     second + 2 * t->page, "mmap");
	must(t, !mprotect(second, 2 * t->page, PROT_READ | PROT_WRITE), "mprotect");
}

FIXTURE_SETUP(neighbours)
{
	self->scenario = (struct scenario) {
		.prepare = neighbours_prepare,
		.step = neighbours_step,
		.nr_states = 1,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
	ASSERT_TRUE(target_do(&self->target, TARGET_PREPARE))
		TH_LOG("%s", self->target.ctl->failed);
}

FIXTURE_TEARDOWN(neighbours)
{
	target_end(&self->target);
}

TEST_F_TIMEOUT(neighbours, mapped_is_found, test_timeout())
{
	struct target *t = &self->target;
	unsigned long queries = 0, gaps = 0, raced = 0;
	struct procmap_query q;
	__u64 begin, steps;
	pid_t child;

	if (!maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	target_apart(t);
	child = fork();
	ASSERT_LE(0, child);
	if (!child)
		busy_loop(getppid(), 40);
	/* So that it preempts each time, in the middle of a lookup with luck */
	setpriority(PRIO_PROCESS, 0, 15);
	ASSERT_TRUE(target_do(t, TARGET_RUN));
	for (begin = now_ms(); now_ms() - begin < 5 * duration_ms(); queries++) {
		q = (struct procmap_query) {
			.size = sizeof(q),
			.query_addr = t->ctl->lo,
		};
		steps = target_steps(t);
		if (ioctl(t->fd, PROCMAP_QUERY, &q)) {
			ASSERT_EQ(ENOENT, errno);
			gaps++;
		}
		raced += steps != target_steps(t);
	}
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	note("%lu queries, %lu raced, %lu found nothing", queries, raced, gaps);
	EXPECT_EQ(0, gaps);
	EXPECT_LT(0, raced);
}

/* More ranges than the kernel gathers at a time: the scan says that it has all. */
TEST(scan_of_many_ranges_ends_at_the_end)
{
	size_t page = sysconf(_SC_PAGESIZE), pages = 1300, i;
	struct page_region *region = calloc(pages, sizeof(*region));
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
		.vec = (uintptr_t)region,
		.vec_len = pages,
	};
	char *p = mmap(NULL, pages * page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = maps_open_file(getpid(), "pagemap");

	ASSERT_NE(NULL, region);
	ASSERT_NE(MAP_FAILED, p);
	if (fd < 0 || (ioctl(fd, PAGEMAP_SCAN, NULL) && errno == ENOTTY))
		SKIP(return, "no PAGEMAP_SCAN in this kernel");
	madvise(p, pages * page, MADV_NOHUGEPAGE);
	for (i = 0; i < pages; i += 2)
		p[i * page] = 1;
	scan.start = (uintptr_t)p;
	scan.end = scan.start + pages * page;
	ASSERT_EQ(pages / 2, ioctl(fd, PAGEMAP_SCAN, &scan));
	EXPECT_EQ(scan.end, scan.walk_end);
	close(fd);
}

TEST_HARNESS_MAIN
