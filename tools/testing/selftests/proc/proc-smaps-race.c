// SPDX-License-Identifier: GPL-2.0
/*
 * Read /proc/PID/smaps, numa_maps, smaps_rollup and pagemap while VMAs of the
 * target are split, resized, moved and merged. An entry must be of a VMA that the
 * target had at that place in some state, and its numbers must be those of that
 * VMA; nothing that was always there may be missing, inside one read() nothing may
 * be shown twice, and no page counted twice. proc-maps-cases.h has the changes.
 *
 * A read() of these files returns whole entries, as many as fit into a buffer of
 * the kernel. That is one page: five entries of smaps. It grows for an entry that
 * is larger, and stays so as long as the file is open. So all tests have a mapping
 * of a file with a very long name, above the arena, and a reader of smaps who wants
 * the large buffer reads that entry first.
 */
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../kselftest_harness.h"
#include "proc-maps-cases.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

#define READ_GROWN 16384
#define LONG_NAME_DIRS 9		/* each is 1000 characters as it is shown */

static bool long_name;

/* Newlines are shown as four characters each. */
static void __attribute__((constructor)) map_long_name(void)
{
	char path[4096] = "/tmp/proc-smaps-race.XXXXXX";
	size_t len[LONG_NAME_DIRS + 1];
	int i, fd = -1;
	void *p;

	if (!mkdtemp(path))
		return;
	len[0] = strlen(path);
	for (i = 1; i <= LONG_NAME_DIRS; i++) {
		len[i] = len[i - 1] + 251;
		path[len[i - 1]] = '/';
		memset(path + len[i - 1] + 1, '\n', 250);
		path[len[i]] = '\0';
		if (i < LONG_NAME_DIRS)
			mkdir(path, 0700);
		else
			fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);
	}
	while (i--) {
		path[len[i]] = '\0';
		remove(path);
	}
	p = mmap(NULL, 1, PROT_READ, MAP_PRIVATE, fd, 0);
	long_name = p != MAP_FAILED;
	close(fd);
}

#define CONTENT_PAGES 256		/* in a window, at most, and two fillers */

/*
 * What is mapped, by the last letter of its name in maps: files that are mapped
 * shared, 'c' is private, and '-' is anonymous. No page is mapped twice.
 */
struct content {
	char letter;
	bool resident;		/* all of it */
	bool dirty;		/* all that is resident; else what is anonymous */
	bool empties;		/* its pages may all have been moved away */
	unsigned int anon;	/* so many first pages are anonymous */
};

static const struct content contents[] = {
	{ .letter = 'm' },
	{ .letter = 'a', .resident = true, .dirty = true },
	{ .letter = 'd', .resident = true, .dirty = true },
	{ .letter = 'b' },
	{ .letter = 'e' },
	{ .letter = 'c', .resident = true, .anon = 3 },
	{ .letter = '-', .resident = true, .anon = -1U, .empties = true },
};

#define NR_CONTENTS ARRAY_SIZE(contents)

static const struct content *content_of(char letter)
{
	unsigned int i;

	for (i = 0; i < NR_CONTENTS; i++)
		if (contents[i].letter == letter)
			return &contents[i];
	return NULL;
}

/*
 * Readers.
 */

enum {
	/* of smaps, in kB */
	SIZE, RSS, PSS, SHARED_CLEAN, SHARED_DIRTY, PRIVATE_CLEAN, PRIVATE_DIRTY,
	ANONYMOUS, SWAP, LOCKED,
	NR_NUMBERS,
	/* of numa_maps, in pages */
	NUMA_ANON = 0, NUMA_DIRTY, NUMA_MAPPED, NUMA_MAPMAX, NUMA_SWAPCACHE,
	NUMA_NODES,		/* the sum of all */
};

static const char * const smaps_word[NR_NUMBERS] = {
	[SIZE]		= "Size:",
	[RSS]		= "Rss:",
	[PSS]		= "Pss:",
	[SHARED_CLEAN]	= "Shared_Clean:",
	[SHARED_DIRTY]	= "Shared_Dirty:",
	[PRIVATE_CLEAN]	= "Private_Clean:",
	[PRIVATE_DIRTY]	= "Private_Dirty:",
	[ANONYMOUS]	= "Anonymous:",
	[SWAP]		= "Swap:",
	[LOCKED]	= "Locked:",
};

static const char * const numa_word[NUMA_NODES] = {
	[NUMA_ANON]	= "anon=",
	[NUMA_DIRTY]	= "dirty=",
	[NUMA_MAPPED]	= "mapped=",
	[NUMA_MAPMAX]	= "mapmax=",
	[NUMA_SWAPCACHE] = "swapcache=",
};

struct page_reader {
	struct maps_reader maps;	/* first, as ->next() has only this */
	bool numa;
	bool lockless;			/* it walks under per-VMA locks */
	bool contents;			/* the numbers must be those of contents[] */
	unsigned long lo;		/* where the numbers are wanted */
	unsigned long hi;
	unsigned long number[NR_NUMBERS];
	unsigned int entry_read;	/* the line_read of the entry before */
	char why[400];			/* what was wrong with the numbers */
};

/* The only one of a test. */
static struct page_reader reader;

static bool wanted(const struct maps_line *line)
{
	return line->start >= reader.lo && line->start < reader.hi;
}

/* True if the numbers that were read are those of @line. */
static bool numbers_legal(const struct maps_line *line)
{
	const struct content *c = content_of(line->name[0] ? line->name[7] : '-');
	unsigned long page = sysconf(_SC_PAGESIZE), kb = page / 1024;
	unsigned long first = line->offset / page, rss, anon, dirty;
	unsigned long want[NR_NUMBERS] = {};

	if (!c)
		return false;
	rss = c->resident ? (line->end - line->start) / page : 0;
	if (c->empties && !reader.number[reader.numa ? NUMA_NODES : RSS])
		rss = 0;
	anon = c->anon > first ? c->anon - first : 0;
	if (anon > rss)
		anon = rss;
	dirty = c->dirty ? rss : anon;

	if (reader.numa) {
		want[NUMA_ANON] = anon;
		want[NUMA_DIRTY] = dirty;
		want[NUMA_MAPPED] = rss != anon && rss != dirty ? rss : 0;
		want[NUMA_NODES] = rss;
	} else {
		want[SIZE] = (line->end - line->start) / 1024;
		want[RSS] = rss * kb;
		want[PSS] = rss * kb;
		want[PRIVATE_CLEAN] = (rss - dirty) * kb;
		want[PRIVATE_DIRTY] = dirty * kb;
		want[ANONYMOUS] = anon * kb;
	}
	return !memcmp(want, reader.number, sizeof(want));
}

static void smaps_number(const char *text, unsigned long *number)
{
	unsigned int i;
	size_t len;

	for (i = 0; i < NR_NUMBERS; i++) {
		len = strlen(smaps_word[i]);
		if (!strncmp(text, smaps_word[i], len))
			number[i] = strtoul(text + len, NULL, 10);
	}
}

/*
 * For maps_next(): an entry as the line that is its header. If an entry is cut the
 * next one begins after the rest of it.
 */
static int smaps_next(struct maps_reader *m, struct maps_line *line)
{
	enum line_place place;
	int i, n, ret;

	ret = maps_next_text(m);
	if (ret != 1)
		return ret;
	if (!maps_parse(m->line, m->line + m->line_len, line))
		return -EBADMSG;
	place = m->place == LINE_FRESH ? LINE_FRESH :
		m->line_read == reader.entry_read ? LINE_INSIDE : LINE_LEFT;
	reader.entry_read = m->line_read;
	memset(reader.number, 0, sizeof(reader.number));
	do {
		ret = maps_next_text(m);
		if (ret != 1)
			return ret ?: -EBADMSG;
		if (wanted(line))
			smaps_number(m->line, reader.number);
	} while (strncmp(m->line, "VmFlags:", strlen("VmFlags:")));
	m->place = place;

	if (!wanted(line) || (reader.number[SIZE] * 1024 == line->end - line->start &&
			      (!reader.contents || numbers_legal(line))))
		return 1;
	n = snprintf(reader.why, sizeof(reader.why), "numbers of %lx-%lx %s %s:",
		     line->start, line->end, line->prot, line->name);
	for (i = 0; i < NR_NUMBERS; i++)
		n += snprintf(reader.why + n, sizeof(reader.why) - n, " %s%lu",
			      smaps_word[i], reader.number[i]);
	return -EILSEQ;
}

/* How much of the name of a mapping is compared: up to the letter. */
#define NAME_LEN 8

/*
 * For maps_next(): only start and name. The file does not say where a VMA ends,
 * so the end is that of the first byte.
 */
static int numa_next(struct maps_reader *m, struct maps_line *line)
{
	unsigned long *number = reader.number, n;
	char text[512], *word, *rest;
	int i, ret;

	ret = maps_next_text(m);
	if (ret != 1)
		return ret;
	snprintf(text, sizeof(text), "%.*s", (int)m->line_len - 1, m->line);
	memset(line, 0, sizeof(*line));
	line->start = strtoul(text, &rest, 16);
	line->end = line->start + 1;
	if (rest == text || *rest != ' ')
		return -EBADMSG;
	if (!wanted(line))
		return 1;
	memset(number, 0, sizeof(reader.number));
	for (word = strtok_r(rest, " ", &rest); word; word = strtok_r(NULL, " ", &rest)) {
		if (sscanf(word, "file=%8s", line->name) == 1)
			continue;
		if (sscanf(word, "N%*u=%lu", &n) == 1)
			number[NUMA_NODES] += n;
		for (i = 0; i < NUMA_NODES; i++)
			if (!strncmp(word, numa_word[i], strlen(numa_word[i])))
				number[i] = strtoul(word + strlen(numa_word[i]), NULL, 10);
	}
	return 1;
}

enum read_what { SMAPS, SMAPS_GROWN, NUMA_MAPS };

/* SMAPS_GROWN makes the kernel's buffer grow. */
static bool reader_open(struct __test_metadata *_metadata, const struct target *t,
			enum read_what what)
{
	const char *name = what == NUMA_MAPS ? "numa_maps" : "smaps";
	struct maps_line line;
	int ret;

	reader.numa = what == NUMA_MAPS;
	reader.lockless = maps_walks_lockless(name);
	reader.maps.next = reader.numa ? numa_next : smaps_next;
	reader.maps.size = READ_LARGE;
	reader.maps.fd = maps_open_file(t->pid, name);
	if (reader.maps.fd < 0 && errno == ENOENT)
		SKIP(return false, "no /proc/PID/%s in this kernel", name);
	ASSERT_LE(0, reader.maps.fd);
	if (what != SMAPS_GROWN)
		return true;
	if (!long_name)
		SKIP(return false, "cannot make a file with a long name in /tmp");
	maps_rewind(&reader.maps, 0);
	do {
		ret = maps_next(&reader.maps, &line);
	} while (ret == 1);
	ASSERT_EQ(0, ret);
	reader.maps.whole = READ_GROWN;
	return true;
}

static void reader_watch(struct window *w, bool with_contents)
{
	reader.lo = w->lo;
	reader.hi = w->hi;
	reader.contents = with_contents;
	w->no_overlap = reader.lockless;
}

static int pass_smaps(struct window *w)
{
	int ret;

	reader.why[0] = '\0';
	ret = window_pass(w, &reader.maps, 0, false);
	if (ret && reader.why[0])
		snprintf(w->why, sizeof(w->why), "%s", reader.why);
	return ret;
}

/*
 * The check of numa_maps. After each line the walk is at the end of one of the
 * VMAs that can have been that line: so many pages behind the begin of the window.
 */
struct places {
	bool at[CONTENT_PAGES + 3];
};

/*
 * Add to @to where the walk can be after @line, if it was at @past and looked at
 * @from. Return the states that have such a line.
 */
static __u32 numa_match_at(const struct window *w, const struct maps_line *line,
			   unsigned long past, unsigned long from, struct places *to)
{
	enum line_place place = reader.maps.place;
	bool whole = place != LINE_INSIDE && !w->no_overlap;
	const struct maps_line *vma;
	struct maps_line shown;
	__u32 mask = 0;
	unsigned int i;

	for (i = 0; i < w->nr; i++) {
		vma = state_next(&w->state[i], from);
		if (!vma || strncmp(vma->name, line->name, NAME_LEN))
			continue;
		if (!(whole && line->start == vma->start) &&
		    line->start != (past > vma->start ? past : vma->start))
			continue;
		shown = *vma;
		shown.start = line->start;
		if (vma->inode)
			shown.offset += shown.start - vma->start;
		if (!numbers_legal(&shown))
			continue;
		to->at[(vma->end - w->lo) / READ_PAGE] = true;
		mask |= 1U << i;
	}
	return mask;
}

/* See window_match(). */
static __u32 numa_match(const struct window *w, const struct maps_line *line,
			const struct places *from, struct places *to)
{
	const struct maps_line *vma;
	unsigned long past = w->lo;
	__u32 mask = 0;
	unsigned int i, s;

	memset(to, 0, sizeof(*to));
	for (i = 0; past < w->hi; i++, past += READ_PAGE) {
		if (!from->at[i])
			continue;
		mask |= numa_match_at(w, line, past, past, to);
		for (s = 0; reader.maps.place != LINE_INSIDE && s < w->nr; s++) {
			vma = state_next(&w->state[s], past);
			if (vma && vma->start > past)
				mask |= numa_match_at(w, line, past, vma->start, to);
		}
	}
	return mask;
}

static int pass_numa(struct window *w)
{
	struct places places[2] = { { { true } } };
	__u32 now, mask = ~0U >> (32 - w->nr);
	bool across = false;
	struct maps_line line;
	unsigned int i, n = 0;
	int ret;

	maps_rewind(&reader.maps, 0);
	while ((ret = maps_next(&reader.maps, &line)) == 1 && line.start < w->hi) {
		if (line.start < w->lo)
			continue;
		across |= reader.maps.place != LINE_INSIDE && n;
		now = numa_match(w, &line, &places[n % 2], &places[(n + 1) % 2]);
		n++;
		if (!now) {
			snprintf(w->why, sizeof(w->why), "line %u of the window, place %d: %.*s",
				 n, reader.maps.place, (int)reader.maps.line_len - 1,
				 reader.maps.line);
			return -1;
		}
		mask &= now;
	}
	if (ret < 0 || !places[n % 2].at[(w->hi - w->lo) / READ_PAGE]) {
		snprintf(w->why, sizeof(w->why), "%s after %u lines of the window",
			 ret < 0 ? strerror(-ret) : "nothing", n);
		return -1;
	}
	w->across += across;
	w->mixed += !mask;
	/* Some states look the same */
	for (i = 0; i < w->nr; i++)
		w->seen[i] += mask >> i & 1;
	return 0;
}

static int pass_reader(struct window *w, void *arg)
{
	return reader.numa ? pass_numa(w) : pass_smaps(w);
}

static bool race(struct __test_metadata *_metadata, struct target *t,
		 struct window *w, unsigned int msecs)
{
	return race_verdict(_metadata, w, race_run(t, w, msecs, pass_reader, NULL));
}

/*
 * Tearing: the merges and splits. No page is there at any time.
 */

/* All entries of the window come out of one read(). */
static void one_read(struct __test_metadata *_metadata, struct target *t,
		     struct window *w)
{
	ASSERT_EQ(0, place_inside(t, &reader.maps));
	change_record(_metadata, w, t);
	reader_watch(w, true);
	if (race(_metadata, t, w, duration_ms()))
		EXPECT_EQ(0, w->across);
}

/* A read() ends after each entry of the window in turn. */
static void two_reads(struct __test_metadata *_metadata, struct target *t,
		      struct window *w)
{
	unsigned int i, lines = 1, most = 0;

	do {
		ASSERT_EQ(0, place_across(t, &reader.maps, lines));
		change_record(_metadata, w, t);
		for (i = 0; i < w->nr; i++)
			if (w->state[i].nr > most)
				most = w->state[i].nr;
		reader_watch(w, true);
		if (!race(_metadata, t, w, duration_ms() / (most - 1)))
			return;
		EXPECT_LT(0, w->across);
	} while (++lines < most);
}

TEST_F_TIMEOUT(change, smaps_one_read, test_timeout())
{
	if (reader_open(_metadata, &self->target, SMAPS_GROWN))
		one_read(_metadata, &self->target, self->window);
}

TEST_F_TIMEOUT(change, smaps_two_reads, test_timeout())
{
	if (reader_open(_metadata, &self->target, SMAPS_GROWN))
		two_reads(_metadata, &self->target, self->window);
}

TEST_F_TIMEOUT(change, numa_maps_one_read, test_timeout())
{
	if (reader_open(_metadata, &self->target, NUMA_MAPS))
		one_read(_metadata, &self->target, self->window);
}

/*
 * Identity, and no false gap: mappings of different size and contents replace one
 * another at one address, which is mapped at all times. The numbers of an entry
 * must be those of contents[] for the VMA that its header shows.
 *
 * All of them are legal at all times, for any kernel: a mapping with pages is made
 * elsewhere, each page touched there, and then moved to the window by mremap(). It
 * is one system call for mapping and pages, and who locks out the writer, of the
 * whole address space or of the one VMA, sees all pages or does not see the VMA.
 * What mmap() puts there has no pages, and never gets any. What is replaced loses
 * its pages in the same system call. And what MREMAP_DONTUNMAP leaves behind loses
 * all pages at once.
 */

enum replace_how {
	MAP = 1,		/* mmap(MAP_FIXED) */
	MOVE,			/* mremap(MREMAP_FIXED) of pages that are there */
	MOVE_DONTUNMAP,		/* the same with MREMAP_DONTUNMAP */
	EMPTY,			/* move the pages away with MREMAP_DONTUNMAP */
};

struct replace_step {
	enum replace_how how;
	char letter;
	unsigned int pages;
};

#define SPARE_AT (ARENA_PAGES / 2)	/* in the arena, a page table of its own */

struct replace_data {
	const struct replace_step *step;
	unsigned int pages;		/* the window's */
	int fd[NR_CONTENTS];
	char *at_end;
};

FIXTURE(replace)
{
	struct target target;
	struct scenario scenario;
	struct replace_data data;
	struct window window;
};

FIXTURE_VARIANT(replace)
{
	struct replace_step step[6];
	bool at_end;		/* no mapping above the window */
};

/* Also parts of the private file are seen, where others lie over its begin. */
FIXTURE_VARIANT_ADD(replace, identity) {
	.step = {
		{ MAP, 'b', 16 },
		{ MOVE, '-', 4 },
		{ EMPTY, '-', 4 },
		{ MOVE, 'c', 12 },
		{ MOVE, 'a', 8 },
	},
};

FIXTURE_VARIANT_ADD(replace, identity_private) {
	.step = {
		{ MOVE, 'c', 12 },
		{ MOVE, '-', 2 },
		{ MOVE, 'a', 1 },
		{ MAP, 'b', 12 },
	},
};

FIXTURE_VARIANT_ADD(replace, mmap_1m) {
	.step = { { MAP, 'b', 256 }, { MAP, 'e', 256 } },
};

FIXTURE_VARIANT_ADD(replace, mremap_page) {
	.step = { { MOVE, 'a', 1 }, { MOVE, 'd', 1 } },
};

FIXTURE_VARIANT_ADD(replace, mremap_1m) {
	.step = { { MOVE, 'a', 256 }, { MOVE, 'd', 256 } },
};

FIXTURE_VARIANT_ADD(replace, dontunmap_1m) {
	.step = { { MOVE_DONTUNMAP, 'a', 256 }, { MOVE_DONTUNMAP, 'd', 256 } },
};

/* Pages replace a mapping without any, and the other way round. */
FIXTURE_VARIANT_ADD(replace, mixed_1m) {
	.step = { { MOVE, 'a', 256 }, { MAP, 'b', 256 } },
};

FIXTURE_VARIANT_ADD(replace, mmap_page_at_end) {
	.step = { { MAP, 'b', 1 }, { MAP, 'e', 1 } },
	.at_end = true,
};

FIXTURE_VARIANT_ADD(replace, mremap_page_at_end) {
	.step = { { MOVE, 'a', 1 }, { MOVE, 'd', 1 } },
	.at_end = true,
};

FIXTURE_VARIANT_ADD(replace, mremap_1m_at_end) {
	.step = { { MOVE, 'a', 256 }, { MOVE, 'd', 256 } },
	.at_end = true,
};

static char *replace_at(const struct target *t)
{
	const struct replace_data *data = t->scenario->data;

	return data->at_end ?: t->arena + (ARENA_FILLERS + 1) * t->page;
}

static void content_map(struct target *t, char *at, char letter, size_t len)
{
	const struct replace_data *data = t->scenario->data;
	const struct content *c = content_of(letter);
	bool private = letter == '-' || letter == 'c';
	int fd = data->fd[c - contents];
	size_t i;

	must(t, mmap(at, len, private ? PROT_READ | PROT_WRITE : PROT_READ,
		     (private ? MAP_PRIVATE : MAP_SHARED) | MAP_FIXED |
		     (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0) == at, "mmap");
	if (!c->resident)
		return;
	for (i = 0; i < len / t->page; i++) {
		if (i < c->anon)
			at[i * t->page] = 1;
		else
			(void)__atomic_load_n(&at[i * t->page], __ATOMIC_SEQ_CST);
	}
}

static void replace_step(struct target *t, unsigned int n)
{
	const struct replace_data *data = t->scenario->data;
	const struct replace_step *step = &data->step[n];
	char *spare = t->arena + SPARE_AT * t->page;
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	size_t len = step->pages * t->page;
	char *at = replace_at(t);

	if (step->how == MAP) {
		content_map(t, at, step->letter, len);
	} else if (step->how == EMPTY) {
		must(t, mremap(at, len, len, flags | MREMAP_DONTUNMAP, spare) == spare,
		     "mremap out of the window");
	} else {
		if (step->how == MOVE_DONTUNMAP)
			flags |= MREMAP_DONTUNMAP;
		content_map(t, spare, step->letter, len);
		must(t, mremap(spare, len, len, flags, at) == at,
		     "mremap over the window");
	}
}

static void replace_prepare(struct target *t)
{
	const struct replace_data *data = t->scenario->data;
	size_t len = data->pages * t->page;
	char *at = replace_at(t);
	unsigned int n;

	map_fillers(t);
	must(t, !munmap(t->arena, (1 + t->ctl->page) * t->page), "munmap of fillers");
	t->ctl->lo = (uintptr_t)at;
	t->ctl->hi = (uintptr_t)at + len;
	if (!data->at_end) {
		map_file(t, at - t->page, t->page, PROT_READ, 0, 0);
		map_file(t, at + len, t->page, PROT_READ, 0, 0);
		t->ctl->lo -= t->page;
		t->ctl->hi += t->page;
	}
	content_map(t, at, 'b', len);
	for (n = 0; n < t->scenario->nr_states; n++)
		replace_step(t, n);
}

/* Make the files. Pages that are written are dirty, holes that are read are not. */
static bool make_contents(struct replace_data *data)
{
	size_t len = CONTENT_PAGES * sysconf(_SC_PAGESIZE);
	char *zeros = calloc(1, len);
	unsigned int i;
	bool ok = zeros;

	for (i = 0; ok && i < NR_CONTENTS; i++) {
		char name[2] = { contents[i].letter };

		data->fd[i] = -1;
		if (name[0] == '-' || name[0] == 'm')
			continue;
		data->fd[i] = memfd_create(name, MFD_CLOEXEC);
		ok = data->fd[i] >= 0 &&
		     (contents[i].dirty ? pwrite(data->fd[i], zeros, len, 0) == (ssize_t)len :
					  !ftruncate(data->fd[i], len));
	}
	free(zeros);
	return ok;
}

FIXTURE_SETUP(replace)
{
	struct replace_data *data = &self->data;
	unsigned int nr;

	if (sysconf(_SC_PAGESIZE) != READ_PAGE)
		SKIP(return, "the places are made for pages of 4 KiB");
	for (nr = 0; nr < ARRAY_SIZE(variant->step) && variant->step[nr].how; nr++)
		if (variant->step[nr].pages > data->pages)
			data->pages = variant->step[nr].pages;
	data->step = variant->step;
	if (variant->at_end) {
		data->at_end = end_of_tree(data->pages * sysconf(_SC_PAGESIZE));
		if (!data->at_end)
			SKIP(return, "no free address above all mappings");
	}
	ASSERT_TRUE(make_contents(data));
	self->scenario = (struct scenario) {
		.prepare = replace_prepare,
		.step = replace_step,
		.nr_states = nr,
		.data = data,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
}

FIXTURE_TEARDOWN(replace)
{
	target_end(&self->target);
}

/*
 * Take away as many fillers as it needs for entry @nth of the window, 1 or 2, to be
 * the first of a read(), or none for 0, and record the states.
 */
static void replace_place(struct __test_metadata *_metadata, struct target *t,
			  struct window *w, unsigned int nth)
{
	bool placed = !nth;
	struct maps_line line;
	unsigned int n;
	int ret;

	for (t->ctl->page = 0; ; t->ctl->page++) {
		ASSERT_GT(ARENA_FILLERS / 2, t->ctl->page);
		ASSERT_TRUE(target_do(t, TARGET_PREPARE))
			TH_LOG("%s", t->ctl->failed);
		w->lo = t->ctl->lo;
		w->hi = t->ctl->hi;
		reader_watch(w, true);
		maps_rewind(&reader.maps, 0);
		n = 0;
		while (!placed && (ret = maps_next(&reader.maps, &line)) == 1 &&
		       line.start < w->hi)
			placed = wanted(&line) && ++n == nth &&
				 reader.maps.place == LINE_FRESH;
		if (placed)
			break;
		ASSERT_LE(0, ret)
			TH_LOG("%s", reader.why);
	}
	ASSERT_LT(1, window_record(w, t))
		TH_LOG("%s", w->why);
	reader_watch(w, true);
}

/* At the end of the tree the window is one entry. */
TEST_F_TIMEOUT(replace, smaps_one_read, test_timeout())
{
	if (!reader_open(_metadata, &self->target, SMAPS_GROWN))
		return;
	replace_place(_metadata, &self->target, &self->window, !variant->at_end);
	if (race(_metadata, &self->target, &self->window, duration_ms()))
		EXPECT_EQ(0, self->window.across);
}

/* A read() ends before what is replaced; at the end of the tree, inside the entry before. */
TEST_F_TIMEOUT(replace, smaps_two_reads, test_timeout())
{
	if (!reader_open(_metadata, &self->target, SMAPS_GROWN))
		return;
	if (variant->at_end)
		reader.maps.size = READ_SMALL;
	replace_place(_metadata, &self->target, &self->window, variant->at_end ? 0 : 2);
	if (race(_metadata, &self->target, &self->window, duration_ms()) &&
	    !variant->at_end)
		EXPECT_LT(0, self->window.across);
}

TEST_F_TIMEOUT(replace, numa_maps, test_timeout())
{
	if (!reader_open(_metadata, &self->target, NUMA_MAPS))
		return;
	replace_place(_metadata, &self->target, &self->window, 0);
	race(_metadata, &self->target, &self->window, duration_ms());
}

/*
 * smaps_rollup.
 */

struct rollup {
	int fd;
	unsigned long anonymous;	/* what it must say, in kB */
	unsigned long locked;
};

static int rollup_read(struct window *w, const struct rollup *r)
{
	char text[4096], *at = text;
	ssize_t n = pread(r->fd, text, sizeof(text) - 1, 0);

	if (n <= 0) {
		snprintf(w->why, sizeof(w->why), "smaps_rollup: %s",
			 n ? strerror(errno) : "empty");
		return -1;
	}
	text[n] = '\0';
	memset(reader.number, 0, sizeof(reader.number));
	while ((at = strchr(at, '\n')))
		smaps_number(++at, reader.number);
	return 0;
}

static int pass_rollup(struct window *w, void *arg)
{
	const unsigned long *number = reader.number;
	struct rollup *r = arg;

	if (rollup_read(w, r))
		return -1;
	if (number[ANONYMOUS] == r->anonymous && number[LOCKED] == r->locked)
		return 0;
	snprintf(w->why, sizeof(w->why),
		 "smaps_rollup: Anonymous: %lu, not %lu; Locked: %lu, not %lu",
		 number[ANONYMOUS], r->anonymous, number[LOCKED], r->locked);
	return -1;
}

/* Know what it must say when the target has been through all that it does. */
static bool rollup_open(struct __test_metadata *_metadata, struct rollup *r,
			struct target *t, struct window *w, unsigned long pages,
			bool locked)
{
	unsigned long kb = pages * t->page / 1024;
	__u64 steps;

	r->fd = maps_open_file(t->pid, "smaps_rollup");
	if (r->fd < 0 && errno == ENOENT)
		SKIP(return false, "no /proc/PID/smaps_rollup in this kernel");
	ASSERT_LE(0, r->fd);
	steps = target_steps(t);
	target_do(t, TARGET_RUN);
	while (target_steps(t) < steps + 200 && !t->ctl->error)
		;
	ASSERT_TRUE(target_do(t, TARGET_STOP))
		TH_LOG("%s", t->ctl->failed);
	ASSERT_EQ(0, rollup_read(w, r))
		TH_LOG("%s", w->why);
	r->anonymous = reader.number[ANONYMOUS];
	r->locked = locked ? kb : 0;
	/* And what else it has, which does not change any more. */
	ASSERT_LT(kb, r->anonymous);
	ASSERT_EQ(r->locked, reader.number[LOCKED]);
	return true;
}

FIXTURE(rollup)
{
	struct target target;
	struct scenario scenario;
	struct window window;
};

FIXTURE_VARIANT(rollup)
{
	bool split;
};

/* The pages are in VMAs that stay, and all around them others come and go. */
FIXTURE_VARIANT_ADD(rollup, elsewhere) {
};

/*
 * All are in one VMA, which is split and merged at random. Each address is mapped
 * at all times, so a walk comes to it once, if the position only grows and what
 * lies below it is not counted again. It holds as well where a walk lets mmap_lock
 * go between two VMAs.
 */
FIXTURE_VARIANT_ADD(rollup, split) {
	.split = true,
};

static void map_locked(struct target *t, char *at, size_t len)
{
	must(t, mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS |
		     MAP_FIXED | MAP_LOCKED | MAP_POPULATE, -1, 0) == at,
	     "mmap of locked memory");
	memset(at, 1, len);
}

static void calm_prepare(struct target *t)
{
	unsigned int i;

	churn_prepare(t);
	for (i = 0; i < CHURN_PAGES; i += GROUP_PAGES)
		map_locked(t, t->arena + i * t->page, t->page);
}

static void split_prepare(struct target *t)
{
	must(t, !munmap(t->arena, ARENA_PAGES * t->page), "munmap of the arena");
	map_locked(t, t->arena, CHURN_PAGES * t->page);
}

static void split_step(struct target *t, unsigned int n)
{
	static __u32 seed = 1;
	__u32 x = next_random(&seed);
	unsigned int first = x % CHURN_PAGES;
	unsigned int pages = 1 + (x >> 9) % (CHURN_PAGES - first);

	must(t, !mprotect(t->arena + first * t->page, pages * t->page,
			  PROT_READ | (x >> 31 ? PROT_WRITE : 0)), "mprotect");
}

FIXTURE_SETUP(rollup)
{
	self->scenario = (struct scenario) {
		.prepare = variant->split ? split_prepare : calm_prepare,
		.step = variant->split ? split_step : churn_step,
		.nr_states = 1,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
	ASSERT_TRUE(target_do(&self->target, TARGET_PREPARE))
		TH_LOG("%s", self->target.ctl->failed);
}

FIXTURE_TEARDOWN(rollup)
{
	target_end(&self->target);
}

TEST_F_TIMEOUT(rollup, exact, test_timeout())
{
	struct rollup r;

	if (rollup_open(_metadata, &r, &self->target, &self->window,
			variant->split ? CHURN_PAGES : CHURN_PAGES / GROUP_PAGES, true))
		race_verdict(_metadata, &self->window,
			     race_run(&self->target, &self->window, duration_ms(),
				      pass_rollup, &r));
}

/*
 * A big mapping, with a page in each of many page tables. The target write-protects
 * a page of it and allows writing again, without pause: no page comes or goes. As
 * many fillers as ctl->page says are below it, so that a read() ends elsewhere.
 */

#define BIG_PAGES 512UL
#define BIG_TABLE (512UL * READ_PAGE)
#define BIG_SIZE (BIG_PAGES * BIG_TABLE)
#define BIG_FILLERS 5

/* The page of the page table @n. */
static char *big_page(const struct target *t, unsigned int n)
{
	return (char *)t->ctl->lo + n * BIG_TABLE + n % (BIG_TABLE / t->page) * t->page;
}

static void big_prepare(struct target *t)
{
	size_t below = 4 * BIG_FILLERS * t->page;
	static char *big;
	unsigned int i;

	if (!big) {
		big = mmap(NULL, BIG_SIZE + 2 * BIG_TABLE, PROT_NONE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		must(t, big != MAP_FAILED, "mmap of address space");
		t->ctl->lo = ((uintptr_t)big + below + BIG_TABLE - 1) & -BIG_TABLE;
		t->ctl->hi = t->ctl->lo + BIG_SIZE;
	}
	must(t, !munmap(big, BIG_SIZE + 2 * BIG_TABLE), "munmap");
	for (i = 0; i < t->ctl->page; i++)
		map_file(t, (char *)t->ctl->lo - (2 + i) * t->page, t->page,
			 PROT_READ, 0, 0);
	must(t, mmap((void *)t->ctl->lo, BIG_SIZE, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) !=
	     MAP_FAILED, "mmap");
	madvise((void *)t->ctl->lo, BIG_SIZE, MADV_NOHUGEPAGE);
	for (i = 0; i < BIG_PAGES; i++)
		*big_page(t, i) = 1;
}

static void big_step(struct target *t, unsigned int n)
{
	static __u32 seed = 1;

	must(t, !mprotect(big_page(t, seed % BIG_PAGES), t->page,
			  n ? PROT_READ | PROT_WRITE : PROT_READ), "mprotect");
	if (n)
		next_random(&seed);
}

FIXTURE(big)
{
	struct target target;
	struct scenario scenario;
	struct window window;
};

FIXTURE_SETUP(big)
{
	if (sysconf(_SC_PAGESIZE) != READ_PAGE)
		SKIP(return, "made for page tables of 2 MiB");
	self->scenario = (struct scenario) {
		.prepare = big_prepare,
		.step = big_step,
		.nr_states = 2,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
}

FIXTURE_TEARDOWN(big)
{
	target_end(&self->target);
}

/* Map it with @fillers, and prepare a window that is to see one thing. */
static void big_window(struct __test_metadata *_metadata, struct target *t,
		       struct window *w, unsigned int fillers)
{
	t->ctl->page = fillers;
	ASSERT_TRUE(target_do(t, TARGET_PREPARE))
		TH_LOG("%s", t->ctl->failed);
	memset(w, 0, sizeof(*w));
	w->lo = t->ctl->lo;
	w->hi = t->ctl->hi;
	w->nr = 1;		/* seen[0]: passes that were exact */
	reader_watch(w, false);
}

static int big_why(struct window *w, const char *what, const struct maps_line *line,
		   unsigned long past)
{
	snprintf(w->why, sizeof(w->why), "%s after %lx, place %d: %lx-%lx %s, %lu",
		 what, past, reader.maps.place, line->start, line->end, line->prot,
		 reader.number[reader.numa ? NUMA_NODES : RSS]);
	return -1;
}

/* All numbers that are of pages must be the same. Return it, or ULONG_MAX. */
static unsigned long big_number(void)
{
	const unsigned long *number = reader.number;
	unsigned long n = number[reader.numa ? NUMA_NODES : RSS];

	if (reader.numa)
		return number[NUMA_ANON] == n && number[NUMA_DIRTY] == n ? n : -1UL;
	return number[ANONYMOUS] == n && number[PRIVATE_DIRTY] == n &&
	       number[PSS] == n ? n : -1UL;
}

/*
 * More entries are too many, if none is of less than a page table but those that
 * begin or end with a page that was protected.
 */
#define BIG_ENTRIES (3 * BIG_PAGES)

/*
 * The entries cover all of it (which numa_maps does not show), each goes further
 * than the one before. Under mmap_lock the first of a read() may begin below
 * that. If none did then each page has been counted once.
 */
static int pass_big(struct window *w, void *arg)
{
	unsigned long all = BIG_PAGES * (reader.numa ? 1 : READ_PAGE / 1024);
	unsigned long past = w->lo, sum = 0, number;
	bool again = false, may_repeat;
	struct maps_line line;
	unsigned int n = 0;
	int ret;

	reader.why[0] = '\0';
	maps_rewind(&reader.maps, 0);
	while ((ret = maps_next(&reader.maps, &line)) == 1 && line.start < w->hi) {
		if (line.end <= w->lo)
			continue;
		may_repeat = n && reader.maps.place != LINE_INSIDE && !w->no_overlap;
		number = big_number();
		if (line.start > past && !(reader.numa && n))
			return big_why(w, "gap", &line, past);
		if (line.start < w->lo || line.end > w->hi)
			return big_why(w, "too large", &line, past);
		if (line.start < past && !may_repeat)
			return big_why(w, "overlap", &line, past);
		if (line.end <= past && !reader.numa)
			return big_why(w, "backwards", &line, past);
		if (++n > BIG_ENTRIES)
			return big_why(w, "no end", &line, past);
		if (number == -1UL)
			return big_why(w, "numbers differ", &line, past);
		again |= may_repeat && (reader.numa || line.start < past);
		w->across += reader.maps.place != LINE_INSIDE && n > 1;
		sum += number;
		past = line.end;
	}
	if (ret < 0 || (!reader.numa && past != w->hi) || (!again && sum != all)) {
		snprintf(w->why, sizeof(w->why), "%s after %lx in %u entries, %lu of %lu",
			 reader.why[0] ? reader.why : ret < 0 ? strerror(-ret) : "end",
			 past, n, sum, all);
		return -1;
	}
	w->mixed += again;
	w->seen[0] += !again;
	if (n > w->seen[1])
		w->seen[1] = n;
	return 0;
}

static void big_race(struct __test_metadata *_metadata, struct target *t,
		     struct window *w)
{
	unsigned int fillers;

	for (fillers = 0; fillers < BIG_FILLERS; fillers++) {
		big_window(_metadata, t, w, fillers);
		if (!race_verdict(_metadata, w, race_run(t, w, duration_ms() / BIG_FILLERS,
							 pass_big, NULL)))
			return;
		note("at most %lu entries", w->seen[1]);
	}
}

/* Entries are the first of a read(), each in turn. */
TEST_F_TIMEOUT(big, smaps, test_timeout())
{
	if (reader_open(_metadata, &self->target, SMAPS))
		big_race(_metadata, &self->target, &self->window);
}

/* Each entry comes after the rest of the one before. */
TEST_F_TIMEOUT(big, smaps_small_buffer, test_timeout())
{
	if (!reader_open(_metadata, &self->target, SMAPS))
		return;
	reader.maps.size = READ_SMALL;
	big_race(_metadata, &self->target, &self->window);
}

TEST_F_TIMEOUT(big, numa_maps, test_timeout())
{
	if (reader_open(_metadata, &self->target, NUMA_MAPS))
		big_race(_metadata, &self->target, &self->window);
}

TEST_F_TIMEOUT(big, rollup, test_timeout())
{
	struct rollup r;

	big_window(_metadata, &self->target, &self->window, 0);
	self->window.nr = 0;
	if (rollup_open(_metadata, &r, &self->target, &self->window, BIG_PAGES, false))
		race_verdict(_metadata, &self->window,
			     race_run(&self->target, &self->window, duration_ms(),
				      pass_rollup, &r));
}

/* Each page is a region of its own. */
static int pass_scan(struct window *w, void *arg)
{
	struct page_region region[BIG_PAGES + 1];
	struct pm_scan_arg scan = {
		.size = sizeof(scan),
		.start = w->lo,
		.end = w->hi,
		.vec = (uintptr_t)region,
		.vec_len = ARRAY_SIZE(region),
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};
	int n = ioctl(*(int *)arg, PAGEMAP_SCAN, &scan);

	if (n == BIG_PAGES && scan.walk_end == w->hi)
		return 0;
	snprintf(w->why, sizeof(w->why), "PAGEMAP_SCAN: %d up to %llx of %lx: %s", n,
		 scan.walk_end, w->hi, n < 0 ? strerror(errno) : "pages");
	return -1;
}

static bool scan_open(struct __test_metadata *_metadata, const struct target *t, int *fd)
{
	*fd = maps_open_file(t->pid, "pagemap");
	if (*fd < 0 || (ioctl(*fd, PAGEMAP_SCAN, NULL) && errno == ENOTTY))
		SKIP(return false, "no PAGEMAP_SCAN in this kernel");
	return true;
}

TEST_F_TIMEOUT(big, pagemap_scan, test_timeout())
{
	int fd;

	if (!scan_open(_metadata, &self->target, &fd))
		return;
	big_window(_metadata, &self->target, &self->window, 0);
	self->window.nr = 0;
	race_verdict(_metadata, &self->window,
		     race_run(&self->target, &self->window, duration_ms(), pass_scan, &fd));
}

/*
 * Who wants a VMA does not wait for the walk of all its page tables: the reader
 * lets it go when somebody waits, and locks it again. The VMAs alone, three at a
 * time, are not that many.
 */
#define MANY_LOCKS 6

static int pass_lets_go(struct window *w, void *arg)
{
	long walks = maps_lockless_walks();
	int ret = pass_scan(w, arg);

	w->seen[0] += maps_lockless_walks() - walks > MANY_LOCKS;
	return ret;
}

TEST_F_TIMEOUT(big, lets_go, test_timeout())
{
	struct window *w = &self->window;
	int fd;

	if (!scan_open(_metadata, &self->target, &fd))
		return;
	if (maps_lockless_walks() < 0)
		SKIP(return, "no vma_lock_walk in /proc/vmstat");
	big_window(_metadata, &self->target, w, 0);
	/* Never to have seen it is what fails */
	EXPECT_EQ(RACE_OK, race_run(&self->target, w, duration_ms(), pass_lets_go, &fd))
		TH_LOG("%s", w->why);
}

/*
 * The target does nothing, but another task wants the CPU of the reader, who must
 * not forget where it was when it lets that run.
 */
static void calm_race(struct __test_metadata *_metadata, struct target *t,
		      struct window *w, race_pass pass, void *arg)
{
	pid_t tester = getpid(), spinner;
	struct rusage before, after;
	unsigned long passes = 0;
	__u64 begin;
	int ret;

	target_apart(t);
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(t->cpus), &t->cpus));
	spinner = fork();
	ASSERT_LE(0, spinner);
	if (!spinner) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == tester)
			;
		_exit(0);
	}
	getrusage(RUSAGE_SELF, &before);
	begin = now_ms();
	do {
		ret = pass(w, arg);
		passes++;
	} while (!ret && now_ms() - begin < duration_ms());
	getrusage(RUSAGE_SELF, &after);
	kill(spinner, SIGKILL);
	waitpid(spinner, NULL, 0);
	after.ru_nivcsw -= before.ru_nivcsw;
	note("%lu passes, %lu times another task ran", passes, after.ru_nivcsw);
	if (!ret && !after.ru_nivcsw)
		SKIP(return, "race not seen in %lu passes", passes);
	EXPECT_EQ(0, ret)
		TH_LOG("%s", w->why);
}

/* What is calm is one entry. */
TEST_F_TIMEOUT(big, calm_smaps, test_timeout())
{
	if (!reader_open(_metadata, &self->target, SMAPS))
		return;
	big_window(_metadata, &self->target, &self->window, 0);
	calm_race(_metadata, &self->target, &self->window, pass_big, NULL);
	EXPECT_GE(1, self->window.seen[1]);
}

TEST_F_TIMEOUT(big, calm_rollup, test_timeout())
{
	struct rollup r;

	big_window(_metadata, &self->target, &self->window, 0);
	if (!rollup_open(_metadata, &r, &self->target, &self->window, BIG_PAGES, false))
		return;
	big_window(_metadata, &self->target, &self->window, 0);
	calm_race(_metadata, &self->target, &self->window, pass_rollup, &r);
}

TEST_F_TIMEOUT(big, calm_pagemap_scan, test_timeout())
{
	int fd;

	if (!scan_open(_metadata, &self->target, &fd))
		return;
	big_window(_metadata, &self->target, &self->window, 0);
	calm_race(_metadata, &self->target, &self->window, pass_scan, &fd);
}

TEST_HARNESS_MAIN
