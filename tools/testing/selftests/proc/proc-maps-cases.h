/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Changes of an address space, as variants of the fixture "change".
 *
 * A state is drawn with one letter for each page, or each ->scale pages, populated:
 *
 *	r w n	mapped with PROT_READ, PROT_READ | PROT_WRITE, PROT_NONE;
 *		neighbours of the same letter are one VMA, also in the file
 *	A B	PROT_READ, but of other file offsets
 *	S T	SysV shared memory
 *	.	not mapped
 *
 * The target goes from each state to the next, and from the last to the first. A filler that
 * merges with nothing stands before and after, if the window is not at the end of the tree. The
 * numbers of the ten merges and splits, and A, B and C, are those of
 * Documentation/mm/proc_vma_walk.rst.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/shm.h>

#include "proc-maps.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

/* BY_MREMAP, BY_DONTUNMAP: map A and B elsewhere, then move them over what is there. */
enum change_how { BY_MMAP, BY_MPROTECT, BY_RESIZE, BY_MREMAP, BY_DONTUNMAP };

struct change {
	enum change_how how;
	const char *state[8];
	unsigned int scale;
};

FIXTURE(change)
{
	struct target target;
	struct scenario scenario;
	struct maps_reader *reader;
	struct window *window;
};

FIXTURE_VARIANT(change)
{
	struct change change;
};

/* Merges that change VMAs. 1: over B, all three become one. */
FIXTURE_VARIANT_ADD(change, case1_mmap) { { BY_MMAP, { "rrwwrr", "rrrrrr" } } };
FIXTURE_VARIANT_ADD(change, case1_mprotect) { { BY_MPROTECT, { "rrwwrr", "rrrrrr" } } };
/* 2: at A's end, completely over B. */
FIXTURE_VARIANT_ADD(change, case2_mmap) { { BY_MMAP, { "rrwwnn", "rrrrnn" } } };
FIXTURE_VARIANT_ADD(change, case2_mprotect) { { BY_MPROTECT, { "rrwwnn", "rrrrnn" } } };
/* 3: at A's end, over the first part of B. */
FIXTURE_VARIANT_ADD(change, case3_mmap) { { BY_MMAP, { "rrwwww", "rrrrww" } } };
FIXTURE_VARIANT_ADD(change, case3_mprotect) { { BY_MPROTECT, { "rrwwww", "rrrrww" } } };
/* 4: before C's start, completely over B. */
FIXTURE_VARIANT_ADD(change, case4_mmap) { { BY_MMAP, { "nnwwrr", "nnrrrr" } } };
FIXTURE_VARIANT_ADD(change, case4_mprotect) { { BY_MPROTECT, { "nnwwrr", "nnrrrr" } } };
/* 5: before C's start, over the last part of B. */
FIXTURE_VARIANT_ADD(change, case5_mmap) { { BY_MMAP, { "wwwwrr", "wwrrrr" } } };
FIXTURE_VARIANT_ADD(change, case5_mprotect) { { BY_MPROTECT, { "wwwwrr", "wwrrrr" } } };
/* Merges into a gap; the way back is munmap(). 6: A, the gap and C become one. */
FIXTURE_VARIANT_ADD(change, case6) { { BY_MMAP, { "rr..rr", "rrrrrr" } } };
/* 7: A grows into the gap. */
FIXTURE_VARIANT_ADD(change, case7) { { BY_MMAP, { "rr..nn", "rrrrnn" } } };
/* 8: C grows down into the gap. */
FIXTURE_VARIANT_ADD(change, case8) { { BY_MMAP, { "nn..rr", "nnrrrr" } } };
/* Splits. 9: the new VMA is the lower part. */
FIXTURE_VARIANT_ADD(change, case9) { { BY_MPROTECT, { "rrrr", "rrww" } } };
/* 10: the new VMA is the upper part. */
FIXTURE_VARIANT_ADD(change, case10) { { BY_MPROTECT, { "rrrr", "wwrr" } } };
/* Two splits, and two merges back. */
FIXTURE_VARIANT_ADD(change, split) { { BY_MPROTECT, { "rrrrrr", "rrwwww", "rrwwrr" } } };
/* One VMA shrinks and extends in place, to a gap and to a neighbour. */
FIXTURE_VARIANT_ADD(change, resize) { { BY_RESIZE, { "rrrrrr", "rrrr..", "rr....", "rrrr.." } } };
FIXTURE_VARIANT_ADD(change, resize_neighbour) { { BY_RESIZE, { "rrrrnn", "rr..nn" } } };
/* mremap(MREMAP_FIXED) over the middle: nothing of it is ever unmapped. */
FIXTURE_VARIANT_ADD(change, remap) { { BY_MREMAP, { "rrrrrr", "rrAArr" } } };
/* A move over B, so that the VMA before is the same in all states. */
FIXTURE_VARIANT_ADD(change, remap_whole) { { BY_MREMAP, { "nnrrnn", "nnAAnn" } } };

#define SPARE_PAGE (ARENA_PAGES / 2)

static int change_shm[2];

static char *change_at(struct target *t, unsigned int page)
{
	const struct change *v = t->scenario->data;

	return t->ctl->at_end ? t->ctl->at_end + page * (v->scale ?: 1) * t->page :
	       t->arena + (t->ctl->page + 1 + page * (v->scale ?: 1)) * t->page;
}

static int prot_of(char letter)
{
	return letter == 'n' ? PROT_NONE : letter == 'w' ? PROT_READ | PROT_WRITE : PROT_READ;
}

/* Make @n letters from @page on what @to says. */
static void change_range(struct target *t, unsigned int page, unsigned int n, char from, char to)
{
	const struct change *v = t->scenario->data;
	char *first = change_at(t, 0), *at = change_at(t, page);
	char *spare = t->arena + SPARE_PAGE * t->page;
	size_t head = at - first, len = change_at(t, page + n) - at;
	off_t offset = FILE_PAGES * t->page + head;
	int flags = v->scale ? MAP_POPULATE : 0;

	if (v->how == BY_RESIZE && from && to) {
		must(t, mremap(first, from == '.' ? head : head + len,
			       from == '.' ? head + len : head, 0) != MAP_FAILED,
		     "mremap in place");
	} else if (to == '.') {
		must(t, !munmap(at, len), "munmap");
	} else if (to == 'S' || to == 'T') {
		must(t, shmat(change_shm[to - 'S'], at, SHM_REMAP | SHM_RDONLY) == at, "shmat");
	} else if (to == 'A' || to == 'B') {
		offset += (to == 'A' ? 1 : 2) * ARENA_PAGES * t->page;
		if (v->how == BY_MMAP) {
			map_file(t, at, len, PROT_READ, flags, offset);
			return;
		}
		map_file(t, spare, len, PROT_READ, flags, offset);
		must(t, mremap(spare, len, len, MREMAP_MAYMOVE | MREMAP_FIXED |
			       (v->how == BY_DONTUNMAP ? MREMAP_DONTUNMAP : 0), at) == at,
		     "mremap over a mapping");
	} else if (v->how == BY_MPROTECT && from) {
		must(t, !mprotect(at, len, prot_of(to)), "mprotect");
	} else {
		map_file(t, at, len, prot_of(to), 0, offset);
	}
}

/* @from: "" if it is not known what is there. */
static void change_to(struct target *t, const char *from, const char *to)
{
	unsigned int i, n;

	for (i = 0; to[i]; i += n) {
		for (n = 1; to[i + n] == to[i] && (!*from || from[i + n] == from[i]); n++)
			;
		if (!*from || to[i] != from[i])
			change_range(t, i, n, *from ? from[i] : 0, to[i]);
	}
}

static void change_prepare(struct target *t)
{
	const struct change *v = t->scenario->data;
	unsigned int pages = strlen(v->state[0]);

	map_fillers(t);
	t->ctl->lo = (uintptr_t)change_at(t, 0);
	t->ctl->hi = (uintptr_t)change_at(t, pages);
	if (!t->ctl->at_end) {
		map_file(t, change_at(t, pages), t->page, PROT_READ, 0, 0);
		t->ctl->lo -= t->page;
		t->ctl->hi += t->page;
	}
	change_to(t, "", v->state[0]);
}

static void change_step(struct target *t, unsigned int n)
{
	const struct change *v = t->scenario->data;

	change_to(t, v->state[n], v->state[(n + 1) % t->scenario->nr_states]);
}

FIXTURE_SETUP(change)
{
	unsigned int i, nr = 0;

	if (sysconf(_SC_PAGESIZE) != READ_PAGE)
		SKIP(return, "the places are made for pages of 4 KiB");
	while (nr < ARRAY_SIZE(variant->change.state) && variant->change.state[nr])
		nr++;
	for (i = 0; variant->change.state[0][0] == 'S' && i < 2; i++) {
		change_shm[i] = shmget(IPC_PRIVATE, READ_PAGE, 0600);
		if (change_shm[i] < 0)
			SKIP(return, "no SysV shared memory");
		/* Attached here, it lives until tester and target end. */
		ASSERT_NE((void *)-1, shmat(change_shm[i], NULL, 0));
		ASSERT_EQ(0, shmctl(change_shm[i], IPC_RMID, NULL));
	}
	self->scenario = (struct scenario) {
		.prepare = change_prepare,
		.step = change_step,
		.nr_states = nr,
		.data = &variant->change,
	};
	self->reader = calloc(1, sizeof(*self->reader));
	self->window = calloc(1, sizeof(*self->window));
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
	self->reader->fd = self->target.fd;
	self->reader->size = READ_LARGE;
}

FIXTURE_TEARDOWN(change)
{
	if (self->target.pid)
		target_end(&self->target);
}

static unsigned int drawn_lines(const char *state)
{
	unsigned int i, n = 0;

	for (i = 0; state[i]; i++)
		n += state[i] != '.' && (!i || state[i] != state[i - 1]);
	return n;
}

/* Record the states and make sure that they are as they are drawn. */
static void change_record(struct __test_metadata *_metadata, struct window *w, struct target *t)
{
	const struct change *v = t->scenario->data;
	unsigned int i, j, nr = 0;

	ASSERT_LT(0, window_record(w, t))
		TH_LOG("%s", w->why);
	for (i = 0; i < t->scenario->nr_states; i++) {
		for (j = 0; strcmp(v->state[j], v->state[i]); j++)
			;
		if (j == i)
			ASSERT_EQ(drawn_lines(v->state[i]) + (t->ctl->at_end ? 0 : 2),
				  w->state[nr++].nr);
	}
	ASSERT_EQ(nr, w->nr);
}
