/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Changes of an address space, as variants of the fixture "change".
 *
 * A state is drawn with one letter for each page:
 *
 *	r w n	mapped with PROT_READ, PROT_READ | PROT_WRITE, PROT_NONE;
 *		neighbours of the same letter are one VMA, also in the file
 *	M	PROT_READ, but moved here from elsewhere: another file offset
 *	.	not mapped
 *
 * The target goes from each state to the next, and from the last to the first.
 * A filler that merges with nothing stands before and after. The numbers of the
 * ten merges and splits, and A, B and C, are those of
 * Documentation/mm/proc_vma_walk.rst.
 */
#include <fcntl.h>
#include <sys/mman.h>

#include "proc-maps.h"

enum change_how { BY_MMAP, BY_MPROTECT, BY_RESIZE };

FIXTURE(change)
{
	struct target target;
	struct scenario scenario;
	struct maps_reader *reader;
	struct window *window;
};

struct change {
	enum change_how how;
	const char *state[4];
};

FIXTURE_VARIANT(change)
{
	struct change change;
};

/*
 * Merges that change VMAs. 1: over B, all three become one.
 */
FIXTURE_VARIANT_ADD(change, case1_mmap) {
	.change = { BY_MMAP, { "rrwwrr", "rrrrrr" } },
};

FIXTURE_VARIANT_ADD(change, case1_mprotect) {
	.change = { BY_MPROTECT, { "rrwwrr", "rrrrrr" } },
};

/* 2: at A's end, completely over B. */
FIXTURE_VARIANT_ADD(change, case2_mmap) {
	.change = { BY_MMAP, { "rrwwnn", "rrrrnn" } },
};

FIXTURE_VARIANT_ADD(change, case2_mprotect) {
	.change = { BY_MPROTECT, { "rrwwnn", "rrrrnn" } },
};

/* 3: at A's end, over the first part of B. */
FIXTURE_VARIANT_ADD(change, case3_mmap) {
	.change = { BY_MMAP, { "rrwwww", "rrrrww" } },
};

FIXTURE_VARIANT_ADD(change, case3_mprotect) {
	.change = { BY_MPROTECT, { "rrwwww", "rrrrww" } },
};

/* 4: before C's start, completely over B. */
FIXTURE_VARIANT_ADD(change, case4_mmap) {
	.change = { BY_MMAP, { "nnwwrr", "nnrrrr" } },
};

FIXTURE_VARIANT_ADD(change, case4_mprotect) {
	.change = { BY_MPROTECT, { "nnwwrr", "nnrrrr" } },
};

/* 5: before C's start, over the last part of B. */
FIXTURE_VARIANT_ADD(change, case5_mmap) {
	.change = { BY_MMAP, { "wwwwrr", "wwrrrr" } },
};

FIXTURE_VARIANT_ADD(change, case5_mprotect) {
	.change = { BY_MPROTECT, { "wwwwrr", "wwrrrr" } },
};

/*
 * Merges into a gap; the way back is munmap(). 6: A, the gap and C become one.
 */
FIXTURE_VARIANT_ADD(change, case6) {
	.change = { BY_MMAP, { "rr..rr", "rrrrrr" } },
};

/* 7: A grows into the gap. */
FIXTURE_VARIANT_ADD(change, case7) {
	.change = { BY_MMAP, { "rr..nn", "rrrrnn" } },
};

/* 8: C grows down into the gap. */
FIXTURE_VARIANT_ADD(change, case8) {
	.change = { BY_MMAP, { "nn..rr", "nnrrrr" } },
};

/*
 * Splits. 9: the new VMA is the lower part.
 */
FIXTURE_VARIANT_ADD(change, case9) {
	.change = { BY_MPROTECT, { "rrrr", "rrww" } },
};

/* 10: the new VMA is the upper part. */
FIXTURE_VARIANT_ADD(change, case10) {
	.change = { BY_MPROTECT, { "rrrr", "wwrr" } },
};

/* Two splits, and two merges back. */
FIXTURE_VARIANT_ADD(change, split) {
	.change = { BY_MPROTECT, { "rrrrrr", "rrwwww", "rrwwrr" } },
};

/* One VMA shrinks and extends in place, to a gap and to a neighbour. */
FIXTURE_VARIANT_ADD(change, resize) {
	.change = { BY_RESIZE, { "rrrrrr", "rrrr..", "rr....", "rrrr.." } },
};

FIXTURE_VARIANT_ADD(change, resize_neighbour) {
	.change = { BY_RESIZE, { "rrrrnn", "rr..nn" } },
};

/* mremap(MREMAP_FIXED) over the middle: nothing of it is ever unmapped. */
FIXTURE_VARIANT_ADD(change, remap) {
	.change = { BY_MMAP, { "rrrrrr", "rrMMrr" } },
};

/* A move over B, so that the VMA before is the same in all states. */
FIXTURE_VARIANT_ADD(change, remap_whole) {
	.change = { BY_MMAP, { "nnrrnn", "nnMMnn" } },
};

#define MOVED_OFFSET 256
#define SPARE_PAGE (ARENA_FILLERS + 16)

static char *change_at(struct target *t, unsigned int page)
{
	return t->arena + (t->ctl->page + 1 + page) * t->page;
}

static int prot_of(char letter)
{
	return letter == 'n' ? PROT_NONE :
	       letter == 'w' ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* Make @n pages at @page what @to says. */
static void change_range(struct target *t, unsigned int page, unsigned int n,
			 char from, char to, enum change_how how)
{
	char *at = change_at(t, page), *spare;
	size_t len = n * t->page;

	if (how == BY_RESIZE) {
		size_t head = page * t->page;

		must(t, mremap(change_at(t, 0), from == '.' ? head : head + len,
			       from == '.' ? head + len : head, 0) != MAP_FAILED,
		     "mremap in place");
	} else if (to == '.') {
		must(t, !munmap(at, len), "munmap");
	} else if (to == 'M') {
		spare = t->arena + SPARE_PAGE * t->page;
		map_file(t, spare, len, PROT_READ, 0, MOVED_OFFSET * t->page);
		must(t, mremap(spare, len, len, MREMAP_MAYMOVE | MREMAP_FIXED,
			       at) == at, "mremap over a mapping");
	} else if (how == BY_MPROTECT && from != '.') {
		must(t, !mprotect(at, len, prot_of(to)), "mprotect");
	} else {
		map_file(t, at, len, prot_of(to), 0,
			 (FILE_PAGES + page) * t->page);
	}
}

static void change_to(struct target *t, const char *from, const char *to,
		      enum change_how how)
{
	unsigned int i, n;

	for (i = 0; to[i]; i += n) {
		for (n = 1; to[i + n] == to[i] && from[i + n] == from[i]; n++)
			;
		if (to[i] != from[i])
			change_range(t, i, n, from[i], to[i], how);
	}
}

static void change_prepare(struct target *t)
{
	const struct change *v = t->scenario->data;
	unsigned int pages = strlen(v->state[0]);

	map_fillers(t);
	must(t, !munmap(change_at(t, 0), pages * t->page), "munmap of fillers");
	change_to(t, "........", v->state[0], BY_MMAP);
	t->ctl->lo = (uintptr_t)change_at(t, -1);
	t->ctl->hi = (uintptr_t)change_at(t, pages + 1);
}

static void change_step(struct target *t, unsigned int n)
{
	const struct change *v = t->scenario->data;

	change_to(t, v->state[n], v->state[(n + 1) % t->scenario->nr_states],
		  v->how);
}

FIXTURE_SETUP(change)
{
	unsigned int nr = 0;

	if (sysconf(_SC_PAGESIZE) != READ_PAGE)
		SKIP(return, "the places are made for pages of 4 KiB");
	while (nr < ARRAY_SIZE(variant->change.state) && variant->change.state[nr])
		nr++;
	self->scenario = (struct scenario) {
		.prepare = change_prepare,
		.step = change_step,
		.nr_states = nr,
		.data = &variant->change,
	};
	self->reader = calloc(1, sizeof(*self->reader));
	self->window = calloc(1, sizeof(*self->window));
	ASSERT_NE(NULL, self->reader);
	ASSERT_NE(NULL, self->window);
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
	self->reader->fd = self->target.fd;
	self->reader->size = READ_LARGE;
}

FIXTURE_TEARDOWN(change)
{
	target_end(&self->target);
	free(self->window);
	free(self->reader);
}

static unsigned int drawn_lines(const char *state)
{
	unsigned int i, n = 0;

	for (i = 0; state[i]; i++)
		n += state[i] != '.' && (!i || state[i] != state[i - 1]);
	return n + 2;	/* and the fillers around */
}

/* Record the states and make sure that they are as they are drawn. */
static void change_record(struct __test_metadata *_metadata, struct window *w,
			  struct target *t)
{
	const struct change *v = t->scenario->data;
	unsigned int i, j, nr = 0;

	ASSERT_LT(0, window_record(w, t))
		TH_LOG("%s", w->why);
	for (i = 0; i < t->scenario->nr_states; i++) {
		for (j = 0; strcmp(v->state[j], v->state[i]); j++)
			;
		if (j == i)
			ASSERT_EQ(drawn_lines(v->state[i]), w->state[nr++].nr);
	}
	ASSERT_EQ(nr, w->nr);
}
