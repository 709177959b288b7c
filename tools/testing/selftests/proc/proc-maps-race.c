// SPDX-License-Identifier: GPL-2.0
/*
 * Read /proc/PID/maps, and ask for single addresses, while VMAs of the target are split,
 * resized, moved, merged and replaced. Each line or answer must be what the target had at that
 * place in some state, nothing that was always there may be missing, and inside one read()
 * nothing may be shown twice. proc-maps-cases.h has most of the changes.
 */
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "../kselftest_harness.h"
#include "proc-maps-cases.h"

/*
 * No false gap (C2): the window is mapped at all times, while all of it is replaced.
 *
 *	|filler|   A   |filler|  <->  |filler|   B   |filler|
 */
FIXTURE_VARIANT_ADD(change, over_mmap) { { BY_MMAP, { "A", "B" }, 1 } };
FIXTURE_VARIANT_ADD(change, over_mmap_1m) { { BY_MMAP, { "A", "B" }, 256 } };
FIXTURE_VARIANT_ADD(change, over_mremap) { { BY_MREMAP, { "A", "B" }, 1 } };
FIXTURE_VARIANT_ADD(change, over_mremap_1m) { { BY_MREMAP, { "A", "B" }, 256 } };
FIXTURE_VARIANT_ADD(change, over_dontunmap) { { BY_DONTUNMAP, { "A", "B" }, 1 } };
FIXTURE_VARIANT_ADD(change, over_dontunmap_1m) { { BY_DONTUNMAP, { "A", "B" }, 256 } };
FIXTURE_VARIANT_ADD(change, over_shmat) { { BY_MMAP, { "S", "T" } } };
/* Two stores, between which a lookup that is not atomic finds a gap at page 4. */
FIXTURE_VARIANT_ADD(change, neighbours) {
	{ BY_MMAP, { "rrwwwwnn", "rrrrwwnn", "rrrr..nn", "rrww..nn" } },
};

/* One boundary moves. */
FIXTURE_VARIANT_ADD(change, shift) {
	{ BY_MPROTECT, { "rwwwww", "rrwwww", "rrrwww", "rrrrww", "rrrrrw", "rrrrww", "rrrwww",
			 "rrwwww" } },
};

static void race(struct __test_metadata *_metadata, struct target *t, struct window *w,
		 race_pass pass, void *arg)
{
	change_record(_metadata, w, t);
	race_verdict(_metadata, w, race_run(t, w, duration_ms(), pass, arg));
}

/* The whole window comes out of one read(). */
TEST_F_TIMEOUT(change, one_read, test_timeout())
{
	ASSERT_EQ(0, place_inside(&self->target, self->reader));
	race(_metadata, &self->target, self->window, pass_read, self->reader);
	EXPECT_EQ(0, self->window->across);
}

/* A read() ends after each line of the window in turn. */
TEST_F_TIMEOUT(change, two_reads, test_timeout())
{
	struct window *w = self->window;
	unsigned int i, lines, most = 0;

	self->reader->size = READ_PAGE;
	ASSERT_EQ(0, place_across(&self->target, self->reader, 1));
	change_record(_metadata, w, &self->target);
	for (i = 0; i < w->nr; i++)
		most = w->state[i].nr > most ? w->state[i].nr : most;
	for (lines = 1; lines < most; lines++) {
		ASSERT_EQ(0, place_across(&self->target, self->reader, lines));
		change_record(_metadata, w, &self->target);
		if (!race_verdict(_metadata, w,
				  race_run(&self->target, w, duration_ms() / (most - 1),
					   pass_read, self->reader)))
			return;
		EXPECT_LT(0, w->across);
	}
}

/* The user buffer takes one line and a part of the next. */
TEST_F_TIMEOUT(change, small_buffer, test_timeout())
{
	self->reader->size = READ_SMALL;
	ASSERT_EQ(0, place_inside(&self->target, self->reader));
	race(_metadata, &self->target, self->window, pass_read, self->reader);
	EXPECT_LT(0, self->window->across);
}

/* Put the window above all other mappings. */
static bool place_at_end(struct __test_metadata *_metadata, struct target *t)
{
	const struct change *v = t->scenario->data;

	t->ctl->at_end = end_of_tree(strlen(v->state[0]) * (v->scale ?: 1) * READ_PAGE);
	if (!t->ctl->at_end)
		SKIP(return false, "no free address above all mappings");
	ASSERT_TRUE(target_do(t, TARGET_PREPARE))
		TH_LOG("%s", t->ctl->failed);
	return true;
}

/* A walk that meets the end of the tree instead of a VMA must look again, too. */
TEST_F_TIMEOUT(change, at_end, test_timeout())
{
	if (place_at_end(_metadata, &self->target))
		race(_metadata, &self->target, self->window, pass_read, self->reader);
}

struct saved {
	struct maps_reader *reader;
	off_t first;		/* of the window's first line */
	off_t second;		/* of its second one */
};

/* Never go on where the pread() before ended. */
static int pass_pread(struct window *w, void *arg)
{
	struct saved *saved = arg;

	return window_pass(w, saved->reader, saved->second, true) ?:
	       window_pass(w, saved->reader, saved->first, false);
}

/*
 * pread() at saved offsets: at the window and inside of it. All lines around are of the same
 * length, so that a saved offset is always that of a line.
 */
TEST_F_TIMEOUT(change, pread_saved, test_timeout())
{
	struct maps_reader *r = self->reader;
	struct saved saved = { r };
	struct maps_line line;

	r->positioned = true;
	ASSERT_EQ(0, place_inside(&self->target, r));
	maps_rewind(r, 0);
	do {
		ASSERT_EQ(1, maps_next(r, &line));
	} while (line.start != self->target.ctl->lo);
	saved.first = r->line_offset;
	saved.second = r->line_offset + r->line_len;
	race(_metadata, &self->target, self->window, pass_pread, &saved);
}

static void race_query(struct __test_metadata *_metadata, struct target *t, struct window *w,
		       __u64 flags)
{
	struct query q = { t->fd, flags, t->page };

	if (!maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	race(_metadata, t, w, query_pass, &q);
}

/* A query for the VMA that covers an address. */
TEST_F_TIMEOUT(change, covering, test_timeout())
{
	ASSERT_EQ(0, place_inside(&self->target, self->reader));
	race_query(_metadata, &self->target, self->window, 0);
}

/* A query for that, or the next one. */
TEST_F_TIMEOUT(change, covering_or_next, test_timeout())
{
	ASSERT_EQ(0, place_inside(&self->target, self->reader));
	race_query(_metadata, &self->target, self->window, PROCMAP_QUERY_COVERING_OR_NEXT_VMA);
}

/* The same above all other mappings. */
TEST_F_TIMEOUT(change, covering_at_end, test_timeout())
{
	if (place_at_end(_metadata, &self->target))
		race_query(_metadata, &self->target, self->window, 0);
}

/* For the tests that follow, each of which is a process of its own */
static struct target target;
static struct maps_reader reader;
static struct window window;

/* Lines ascend, the gate VMA is the last one, once, and then the text ends: at any size. */
TEST(order)
{
	static const size_t sizes[] = { READ_SMALL, READ_PAGE, READ_LARGE };
	struct maps_line line;
	unsigned long past;
	unsigned int i;
	int ret;

	reader.fd = maps_open(getpid());
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		reader.size = sizes[i];
		maps_rewind(&reader, 0);
		for (past = 0; (ret = maps_next(&reader, &line)) == 1; past = line.end)
			ASSERT_LE(past, line.start);
		EXPECT_EQ(0, ret);
		EXPECT_EQ(0, read(reader.fd, reader.text, READ_PAGE));
	}
}

/*
 * The label: all of the heap is [heap], while brk() grows and shrinks it and its end is a VMA
 * of its own.
 *
 *	|heap|....|  ->  |heap heap|  ->  |heap|read-only|  ->
 */

#define HEAP_PAGES 8

static struct maps_line heap;	/* at the fork */

FIXTURE(heap) { };
FIXTURE_SETUP(heap) { }
FIXTURE_TEARDOWN(heap) { }

static void heap_step(struct target *t, unsigned int n)
{
	size_t half = HEAP_PAGES / 2 * t->page;
	char *end = (char *)heap.end;

	if (n == 1)
		must(t, !mprotect(end + half, half, PROT_READ), "mprotect");
	else
		must(t, !brk(n ? end : end + 2 * half), "brk");
}

static void heap_prepare(struct target *t)
{
	must(t, !brk((void *)heap.end), "brk");
	t->ctl->lo = heap.start;
	t->ctl->hi = heap.end + HEAP_PAGES * t->page;
}

TEST_F_TIMEOUT(heap, label, test_timeout())
{
	static const struct scenario scenario = { heap_prepare, heap_step, 3 };
	unsigned int i, j;

	ASSERT_NE((void *)-1, sbrk(2 * sysconf(_SC_PAGESIZE)));
	reader.size = READ_LARGE;
	reader.fd = maps_open(getpid());
	do {
		ASSERT_EQ(1, maps_next(&reader, &heap));
	} while (strcmp(heap.name, "[heap]"));
	target_begin(_metadata, &target, &scenario);
	reader.fd = target.fd;
	ASSERT_EQ(3, window_record(&window, &target))
		TH_LOG("%s", window.why);
	for (i = 0; i < window.nr; i++)
		for (j = 0; j < window.state[i].nr; j++)
			EXPECT_STREQ("[heap]", window.state[i].line[j].name);
	race_verdict(_metadata, &window,
		     race_run(&target, &window, duration_ms(), pass_read, &reader));
}

/*
 * Two files with names too long for the kernel's buffer on the stack, so that it looks twice,
 * take turns at one address. The name in an answer must be that of the inode in the same
 * answer.
 */
#define LONG_NAME 249		/* the longest that memfd_create() takes */

static int file[2];		/* in state i, file i is mapped */
static struct stat file_stat[2];
static char file_name[2][512];

FIXTURE(long_name) { };
FIXTURE_SETUP(long_name) { }
FIXTURE_TEARDOWN(long_name) { }

static void long_name_step(struct target *t, unsigned int n)
{
	must(t, mmap(t->arena, t->page, PROT_READ, MAP_SHARED | MAP_FIXED, file[n], 0) == t->arena,
	     "mmap of a file");
}

static void long_name_prepare(struct target *t)
{
	long_name_step(t, 0);
}

static int pass_long_name(struct window *w, void *arg)
{
	char name[512] = "";
	struct procmap_query q = {
		.size = sizeof(q),
		.query_addr = (uintptr_t)target.arena,
		.vma_name_addr = (uintptr_t)name,
		.vma_name_size = sizeof(name),
	};
	int ret = ioctl(target.fd, PROCMAP_QUERY, &q);
	int i = q.inode == file_stat[1].st_ino;

	w->seen[i]++;
	if (!ret && q.inode == file_stat[i].st_ino && !strcmp(name, file_name[i]) &&
	    q.vma_name_size == strlen(name) + 1 && q.vma_start == q.query_addr &&
	    q.vma_end == q.query_addr + target.page)
		return 0;
	snprintf(w->why, sizeof(w->why), "%d, %llx-%llx, inode %llu, %u bytes: %s", ret,
		 q.vma_start, q.vma_end, q.inode, q.vma_name_size, name);
	return -1;
}

TEST_F_TIMEOUT(long_name, is_of_the_inode, test_timeout())
{
	static const struct scenario scenario = { long_name_prepare, long_name_step, 2 };
	char name[LONG_NAME + 1] = "";
	int i;

	if (!maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	for (i = 0; i < 2; i++) {
		memset(name, 'a' + i, LONG_NAME);
		file[i] = memfd_create(name, MFD_CLOEXEC);
		ASSERT_EQ(0, ftruncate(file[i], sysconf(_SC_PAGESIZE)));
		ASSERT_EQ(0, fstat(file[i], &file_stat[i]));
		sprintf(file_name[i], "/memfd:%s (deleted)", name);
	}
	window.nr = 2;
	target_begin(_metadata, &target, &scenario);
	race_verdict(_metadata, &window,
		     race_run(&target, &window, duration_ms(), pass_long_name, NULL));
}

TEST_HARNESS_MAIN
