// SPDX-License-Identifier: GPL-2.0
/*
 * What a reader of /proc/PID/maps may rely on while the target changes, each
 * promise as its own test: no false gap (C2), order inside one read() (C3),
 * what stays is shown exactly once (C4), an end of each pass (C5), and the label
 * of the heap.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/shm.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static int pass_read(struct window *w, void *arg)
{
	return window_pass(w, arg, 0, false);
}

/*
 * No false gap: the window is mapped at all times, while the target replaces
 * all of it by other mappings.
 */

enum replace_how { BY_MMAP, BY_MREMAP, BY_DONTUNMAP, BY_SHIFT, BY_SHMAT };

struct gap_test {
	struct target target;
	struct scenario scenario;
	struct maps_reader reader;
	struct window window;
	enum replace_how how;
	size_t len;
	bool at_end;		/* no mapping above the window */
	int shm[2];
};

FIXTURE(no_gap)
{
	struct gap_test *test;
};

FIXTURE_VARIANT(no_gap)
{
	enum replace_how how;
	size_t len;		/* 0: one page */
};

/* mmap(MAP_FIXED) */
FIXTURE_VARIANT_ADD(no_gap, mmap_page) {
	.how = BY_MMAP,
};

FIXTURE_VARIANT_ADD(no_gap, mmap_1m) {
	.how = BY_MMAP,
	.len = 1 << 20,
};

/* mremap(MREMAP_FIXED) of another mapping onto the window */
FIXTURE_VARIANT_ADD(no_gap, mremap_page) {
	.how = BY_MREMAP,
};

FIXTURE_VARIANT_ADD(no_gap, mremap_1m) {
	.how = BY_MREMAP,
	.len = 1 << 20,
};

/* the same with MREMAP_DONTUNMAP */
FIXTURE_VARIANT_ADD(no_gap, dontunmap_page) {
	.how = BY_DONTUNMAP,
};

FIXTURE_VARIANT_ADD(no_gap, dontunmap_1m) {
	.how = BY_DONTUNMAP,
	.len = 1 << 20,
};

/* "rwwwwwww", "rrwwwwww" ... "rrrrrrrw" and back: one boundary moves */
FIXTURE_VARIANT_ADD(no_gap, shift) {
	.how = BY_SHIFT,
};

/* shmat(SHM_REMAP) */
FIXTURE_VARIANT_ADD(no_gap, shmat) {
	.how = BY_SHMAT,
};

#define SHIFT_PAGES 8
#define SHIFT_STATES (2 * SHIFT_PAGES - 4)

static char *window_at(const struct target *t)
{
	const struct gap_test *g = t->scenario->data;

	return (char *)t->ctl->lo + (g->at_end ? 0 : t->page);
}

/* Move the boundary: one of the two calls changes one page, the other nothing. */
static void shift(struct target *t, unsigned int n)
{
	unsigned int r = n < SHIFT_PAGES - 1 ? n + 1 : SHIFT_STATES + 1 - n;
	char *at = window_at(t);

	must(t, !mprotect(at, r * t->page, PROT_READ), "mprotect");
	must(t, !mprotect(at + r * t->page, (SHIFT_PAGES - r) * t->page,
			  PROT_READ | PROT_WRITE), "mprotect");
}

/* Make it state @n. */
static void replace(struct target *t, unsigned int n)
{
	const struct gap_test *g = t->scenario->data;
	char *spare = t->arena + ARENA_PAGES / 2 * t->page;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	char *at = window_at(t);

	switch (g->how) {
	case BY_SHIFT:
		shift(t, n);
		break;
	case BY_SHMAT:
		must(t, shmat(g->shm[n], at, SHM_REMAP | SHM_RDONLY) == at,
		     "shmat");
		break;
	case BY_MMAP:
		map_file(t, at, g->len, PROT_READ, MAP_POPULATE,
			 FILE_PAGES * t->page + n * g->len);
		break;
	case BY_DONTUNMAP:
	case BY_MREMAP:
		if (g->how == BY_DONTUNMAP)
			flags |= MREMAP_DONTUNMAP;
		map_file(t, spare, g->len, PROT_READ, MAP_POPULATE,
			 FILE_PAGES * t->page + n * g->len);
		must(t, mremap(spare, g->len, g->len, flags, at) == at,
		     "mremap over the window");
		break;
	}
}

static void replace_step(struct target *t, unsigned int n)
{
	replace(t, (n + 1) % t->scenario->nr_states);
}

static void replace_prepare(struct target *t)
{
	const struct gap_test *g = t->scenario->data;
	char *at = g->at_end ? end_of_tree(g->len) :
			       t->arena + (ARENA_FILLERS + 2) * t->page;

	map_fillers(t);
	map_file(t, at, g->len, PROT_READ | PROT_WRITE, 0, FILE_PAGES * t->page);
	t->ctl->lo = (uintptr_t)at;
	t->ctl->hi = (uintptr_t)at + g->len;
	if (!g->at_end) {
		map_file(t, at - t->page, t->page, PROT_READ, 0, 0);
		map_file(t, at + g->len, t->page, PROT_READ, 0, 0);
		t->ctl->lo -= t->page;
		t->ctl->hi += t->page;
	}
	replace(t, 0);
}

FIXTURE_SETUP(no_gap)
{
	struct gap_test *g = calloc(1, sizeof(*g));
	unsigned int i;

	ASSERT_NE(NULL, g);
	self->test = g;
	g->how = variant->how;
	g->len = variant->len ?: sysconf(_SC_PAGESIZE);
	if (g->how == BY_SHIFT)
		g->len = SHIFT_PAGES * sysconf(_SC_PAGESIZE);
	for (i = 0; g->how == BY_SHMAT && i < 2; i++) {
		g->shm[i] = shmget(IPC_PRIVATE, g->len, 0600);
		if (g->shm[i] < 0)
			SKIP(return, "no SysV shared memory");
		/* Attached here, it lives until tester and target end. */
		ASSERT_NE((void *)-1, shmat(g->shm[i], NULL, 0));
		ASSERT_EQ(0, shmctl(g->shm[i], IPC_RMID, NULL));
	}
	g->scenario = (struct scenario) {
		.prepare = replace_prepare,
		.step = replace_step,
		.nr_states = g->how == BY_SHIFT ? SHIFT_STATES : 2,
		.data = g,
	};
	g->reader.size = READ_LARGE;
}

FIXTURE_TEARDOWN(no_gap)
{
	if (self->test->target.pid)
		target_end(&self->test->target);
	free(self->test);
}

static void no_gap(struct __test_metadata *_metadata, struct gap_test *g,
		   bool at_end, bool query)
{
	struct query q = { .step = sysconf(_SC_PAGESIZE) };

	if (query && !maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	if (at_end && !end_of_tree(g->len))
		SKIP(return, "no free address above all mappings");
	g->at_end = at_end;
	ASSERT_EQ(0, target_start(&g->target, &g->scenario));
	g->reader.fd = g->target.fd;
	q.fd = g->target.fd;
	ASSERT_TRUE(target_do(&g->target, TARGET_PREPARE))
		TH_LOG("%s", g->target.ctl->failed);
	ASSERT_LT(0, window_record(&g->window, &g->target))
		TH_LOG("%s", g->window.why);
	race_verdict(_metadata, &g->window,
		     race_run(&g->target, &g->window, duration_ms(),
			      query ? query_pass : pass_read,
			      query ? (void *)&q : &g->reader));
}

TEST_F_TIMEOUT(no_gap, between, test_timeout())
{
	no_gap(_metadata, self->test, false, false);
}

/* A walk that meets the end of the tree instead of a VMA must look again, too. */
TEST_F_TIMEOUT(no_gap, at_end, test_timeout())
{
	no_gap(_metadata, self->test, true, false);
}

TEST_F_TIMEOUT(no_gap, query, test_timeout())
{
	no_gap(_metadata, self->test, false, true);
}

TEST_F_TIMEOUT(no_gap, query_at_end, test_timeout())
{
	no_gap(_metadata, self->test, true, true);
}

/*
 * The label: all of the heap is [heap], while brk() grows and shrinks it and its
 * end is a VMA of its own.
 */

#define HEAP_PAGES 8

FIXTURE(heap)
{
	struct target target;
	struct scenario scenario;
	struct maps_reader reader;
	struct window window;
	struct maps_line line;	/* at the fork */
};

static void heap_brk(struct target *t, unsigned long end)
{
	must(t, !brk((void *)end), "brk");
}

/* States: short; grown; grown, and the upper half read-only. */
static void heap_step(struct target *t, unsigned int n)
{
	const struct maps_line *heap = t->scenario->data;
	size_t half = HEAP_PAGES / 2 * t->page;

	if (n == 0)
		heap_brk(t, heap->end + 2 * half);
	else if (n == 1)
		must(t, !mprotect((void *)(heap->end + half), half, PROT_READ),
		     "mprotect");
	else
		heap_brk(t, heap->end);
}

static void heap_prepare(struct target *t)
{
	const struct maps_line *heap = t->scenario->data;

	heap_brk(t, heap->end);
	t->ctl->lo = heap->start;
	t->ctl->hi = heap->end + HEAP_PAGES * t->page;
}

FIXTURE_SETUP(heap)
{
	int ret;

	self->scenario = (struct scenario) {
		.prepare = heap_prepare,
		.step = heap_step,
		.nr_states = 3,
		.data = &self->line,
	};
	ASSERT_NE((void *)-1, sbrk(2 * sysconf(_SC_PAGESIZE)));
	self->reader.size = READ_LARGE;
	self->reader.fd = maps_open(getpid());
	ASSERT_LE(0, self->reader.fd);
	do {
		ret = maps_next(&self->reader, &self->line);
	} while (ret == 1 && strcmp(self->line.name, "[heap]"));
	close(self->reader.fd);
	ASSERT_EQ(1, ret);
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
	self->reader.fd = self->target.fd;
}

FIXTURE_TEARDOWN(heap)
{
	target_end(&self->target);
}

TEST_F_TIMEOUT(heap, label, test_timeout())
{
	unsigned int i, j;

	ASSERT_TRUE(target_do(&self->target, TARGET_PREPARE))
		TH_LOG("%s", self->target.ctl->failed);
	ASSERT_EQ(3, window_record(&self->window, &self->target))
		TH_LOG("%s", self->window.why);
	for (i = 0; i < self->window.nr; i++)
		for (j = 0; j < self->window.state[i].nr; j++)
			EXPECT_STREQ("[heap]",
				     self->window.state[i].line[j].name);
	race_verdict(_metadata, &self->window,
		     race_run(&self->target, &self->window, duration_ms(),
			      pass_read, &self->reader));
}

/*
 * A churning address space: groups of one VMA that stays and a range where the
 * target maps, unmaps and protects at random.
 */

#define CHURN_LINES_MAX 1024

struct churn_test {
	struct target target;
	struct scenario scenario;
	struct maps_reader reader;
	char *calm[CHURN_LINES_MAX];	/* the lines of what stays */
	unsigned int nr_calm;
	bool strict;

	unsigned long passes;
	unsigned long raced;
	unsigned long overlaps;		/* inside one read() */
	unsigned long backwards;
	unsigned long not_calm;
	unsigned int most_lines;	/* in a pass */
	__u64 longest;		/* pass, in ms */
	char why[256];
};

FIXTURE(churn)
{
	struct churn_test *test;
};

FIXTURE_VARIANT(churn)
{
	size_t size;
};

FIXTURE_VARIANT_ADD(churn, small_buffer) {
	.size = READ_SMALL,
};

FIXTURE_VARIANT_ADD(churn, page_buffer) {
	.size = READ_PAGE,
};

FIXTURE_VARIANT_ADD(churn, large_buffer) {
	.size = READ_LARGE,
};

static bool is_calm(const struct target *t, const struct maps_line *line)
{
	unsigned long page = (line->start - (uintptr_t)t->arena) / t->page;

	return line->start < (uintptr_t)t->arena || page >= CHURN_PAGES ||
	       page % GROUP_PAGES == 0;
}

FIXTURE_SETUP(churn)
{
	struct churn_test *c = calloc(1, sizeof(*c));
	struct maps_line line;

	ASSERT_NE(NULL, c);
	self->test = c;
	c->scenario = (struct scenario) {
		.prepare = churn_prepare,
		.step = churn_step,
		.nr_states = 1,
	};
	c->strict = maps_has_lockless_walk();
	ASSERT_EQ(0, target_start(&c->target, &c->scenario));
	c->reader.fd = c->target.fd;
	c->reader.size = variant->size;
	ASSERT_TRUE(target_do(&c->target, TARGET_PREPARE))
		TH_LOG("%s", c->target.ctl->failed);
	maps_rewind(&c->reader, 0);
	while (maps_next(&c->reader, &line) == 1) {
		ASSERT_TRUE(is_calm(&c->target, &line));
		ASSERT_GT(CHURN_LINES_MAX, c->nr_calm);
		c->calm[c->nr_calm++] = strndup(c->reader.line,
						c->reader.line_len);
	}
	ASSERT_LT(CHURN_PAGES / GROUP_PAGES, c->nr_calm);
	target_apart(&c->target);
	ASSERT_TRUE(target_do(&c->target, TARGET_RUN));
}

FIXTURE_TEARDOWN(churn)
{
	while (self->test->nr_calm)
		free(self->test->calm[--self->test->nr_calm]);
	target_end(&self->test->target);
	free(self->test);
}

static void churn_note(struct churn_test *c, const char *what,
		       unsigned long past)
{
	if (!c->why[0])
		snprintf(c->why, sizeof(c->why), "%s, after %lx: %.*s",
			 what, past, (int)c->reader.line_len - 1,
			 c->reader.line);
}

/* Read once from start to end. Return the result of the last read(). */
static int churn_pass(struct churn_test *c)
{
	unsigned int lines = 0, calm = 0;
	struct maps_reader *r = &c->reader;
	unsigned long past = 0;
	struct maps_line line;
	const char *text;
	int ret;

	maps_rewind(r, 0);
	for (; (ret = maps_next(r, &line)) == 1; past = line.end) {
		lines++;
		if (line.end <= past) {
			c->backwards++;
			churn_note(c, "backwards", past);
		}
		if (line.start < past && (r->place == LINE_INSIDE || c->strict)) {
			c->overlaps++;
			churn_note(c, "overlap", past);
		}
		if (!is_calm(&c->target, &line))
			continue;
		text = calm < c->nr_calm ? c->calm[calm] : "";
		if (strlen(text) != r->line_len ||
		    memcmp(text, r->line, r->line_len)) {
			c->not_calm++;
			churn_note(c, "not the next line that stays", past);
			break;
		}
		calm++;
	}
	if (!ret && calm != c->nr_calm) {
		c->not_calm++;
		churn_note(c, "lines are missing that stay", past);
	}
	if (lines > c->most_lines)
		c->most_lines = lines;
	return ret;
}

/* Read again and again while the target churns. */
static void churn(struct __test_metadata *_metadata, struct churn_test *c)
{
	__u64 now, begin = now_ms(), before = begin;
	__u64 steps;

	do {
		steps = target_steps(&c->target);
		ASSERT_LE(0, churn_pass(c));
		c->passes++;
		c->raced += steps != target_steps(&c->target);
		now = now_ms();
		if (now - before > c->longest)
			c->longest = now - before;
		before = now;
	} while (now - begin < duration_ms());
	note("%lu passes, %lu raced, at most %u lines and %lu ms", c->passes,
	     c->raced, c->most_lines, (unsigned long)c->longest);
	note("%lu overlaps, %lu backwards, %lu not calm", c->overlaps,
	     c->backwards, c->not_calm);
	ASSERT_EQ(0, c->target.ctl->error)
		TH_LOG("target: %s", c->target.ctl->failed);
	if (!c->raced)
		SKIP(return, "race not seen in %lu passes", c->passes);
}

/* C3: inside one read() addresses ascend and nothing overlaps. */
TEST_F_TIMEOUT(churn, order, test_timeout())
{
	churn(_metadata, self->test);
	EXPECT_EQ(0, self->test->overlaps)
		TH_LOG("%s", self->test->why);
	EXPECT_EQ(0, self->test->backwards)
		TH_LOG("%s", self->test->why);
}

/* C4: what nobody touches is shown exactly once and as when all is quiet. */
TEST_F_TIMEOUT(churn, calm_once, test_timeout())
{
	churn(_metadata, self->test);
	EXPECT_EQ(0, self->test->not_calm)
		TH_LOG("%s", self->test->why);
}

/*
 * C5: a pass ends, after no more lines than there can be: one for each page that
 * churns, and at the start of each read() perhaps one that was shown before.
 */
TEST_F_TIMEOUT(churn, ends, test_timeout())
{
	churn(_metadata, self->test);
	EXPECT_GE(2 * CHURN_PAGES + self->test->nr_calm, self->test->most_lines);
}

TEST_HARNESS_MAIN
