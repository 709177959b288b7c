// SPDX-License-Identifier: GPL-2.0
/*
 * Read the memory of another process: /proc/PID/mem, cmdline and environ,
 * PTRACE_PEEKDATA, process_vm_readv() and move_pages() as a query. The bytes of each
 * kind of memory are known, and so is what cannot be read; reads need not wait for the
 * target's mmap_lock; one call for at most a page is of one state of the target; and a
 * target may end at any time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

#define PM_PRESENT _BITULL(63)

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define PAGE 4096UL
#define WINDOW (4 * PAGE)
#define EXEC_TARGET "--exec-target"
#define KSM "/sys/kernel/mm/ksm/"
#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"
#define THP_SIZE "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size"

enum need { NEEDS_SWAP = 1, NEEDS_HUGETLB = 2, NEEDS_KSM = 4 };

struct title;

/* A kind of memory: what the target maps between ctl->lo and ctl->hi. */
struct kind {
	void (*map)(struct target *t);
	unsigned int forced;	/* so many pages of it can be read with FOLL_FORCE */
	unsigned int plain;	/* and so many with FOLL_ANON, and without force */
	unsigned int needs;
	const char *nodes;	/* what move_pages() says of each page: see query_nodes() */
	unsigned int shut;	/* so many pages can be read only with FOLL_FORCE */
	const struct title *title;
};

/* A target, and what is to be restored when it has ended. */
struct subject {
	struct target target;
	struct scenario scenario;
	long hugepages;
	long ksm_run;
	bool swap;
	int mem;		/* its file */
};

/* Memory that tester and target share. */
static struct {
	char skip[96];			/* why the target cannot */
	unsigned long arg[2], env[2];	/* for step_ranges() */
	size_t len;			/* of what is in cmdline or environ */
	__u64 call;			/* of hold(), from 1 */
	long data;			/* data_pages() before */
	char want[WINDOW];		/* what the window has */
} *shared;

static size_t huge, hugetlb;		/* sizes; 0: not available */
static char buf[WINDOW + 1];

/* There is a zero each 251 bytes. */
static char pattern(size_t i)
{
	return i % 251;
}

/*
 * The target. Its functions end it when something fails.
 */

static void can(struct target *t, bool ok, const char *what)
{
	if (!ok)
		snprintf(shared->skip, sizeof(shared->skip), "%s: %s", what,
			 strerror(errno));
	must(t, ok, what);
}

/* An address of so much alignment where nothing is mapped any more, nor around it. */
static char *place(struct target *t, size_t len, size_t align)
{
	static char *all;
	static size_t size;

	if (all)
		must(t, !munmap(all, size), "munmap");
	size = len + 2 * align;
	all = mmap(NULL, size, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
	must(t, all != MAP_FAILED && !munmap(all, size), "no room");
	return (char *)(((uintptr_t)all + align) & -align);
}

static char *map_at(struct target *t, char *at, size_t len, int prot, int flags, int fd)
{
	t->ctl->lo = (uintptr_t)at;
	t->ctl->hi = t->ctl->lo + len;
	must(t, mmap(at, len, prot, flags | MAP_FIXED_NOREPLACE, fd, 0) == at, "mmap");
	return at;
}

static char *map_window(struct target *t, int prot, int flags, int fd)
{
	return map_at(t, place(t, WINDOW, PAGE), WINDOW, prot, flags, fd);
}

/* The window is where two pages of so much meet, or one ends. */
static void window_around(struct target *t, char *middle)
{
	t->ctl->lo = (uintptr_t)middle - WINDOW / 2;
	t->ctl->hi = t->ctl->lo + WINDOW;
}

static void want_pattern(void)
{
	size_t i;

	for (i = 0; i < WINDOW; i++)
		shared->want[i] = pattern(i);
}

static void want_zeros(void)
{
	memset(shared->want, 0, sizeof(shared->want));
}

static void fill(struct target *t)
{
	want_pattern();
	memcpy((char *)t->ctl->lo, shared->want, WINDOW);
}

static void read_pages(const char *at, size_t len)
{
	size_t i;

	for (i = 0; i < len; i += PAGE)
		__atomic_load_n(at + i, __ATOMIC_RELAXED);
}

static bool present(struct target *t, const char *at)
{
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	__u64 pme = 0;

	can(t, pread(fd, &pme, 8, (uintptr_t)at / PAGE * 8) == 8, "pagemap");
	close(fd);
	return pme & PM_PRESENT;
}

/* Pages wait in queues of each CPU until they can be paged out. */
static void page_out(struct target *t, char *at, size_t len)
{
	unsigned char in_core[len / PAGE];
	cpu_set_t cpu;
	int tries;

	CPU_ZERO(&cpu);
	CPU_SET(sched_getcpu(), &cpu);
	sched_setaffinity(0, sizeof(cpu), &cpu);
	for (tries = 0; tries < 1000; tries++) {
		can(t, !madvise(at, len, MADV_PAGEOUT), "no MADV_PAGEOUT");
		must(t, !mincore(at, len, in_core), "mincore");
		if (!memchr(in_core, 1, len / PAGE))
			return;
		sched_yield();
	}
	can(t, false, "the kernel does not page out what it is told to");
}

/* A file in the page cache that has the pattern. */
static int new_file(struct target *t, bool shmem)
{
	int fs, mnt, fd;

	if (shmem) {
		fd = memfd_create("mem", MFD_CLOEXEC);
	} else {
		fs = syscall(SYS_fsopen, "ramfs", 0);
		can(t, fs >= 0 && !syscall(SYS_fsconfig, fs, 6 /* create */, NULL, NULL, 0),
		    "cannot mount a filesystem");
		mnt = syscall(SYS_fsmount, fs, 0, 0);
		fd = openat(mnt, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		close(mnt);
		close(fs);
	}
	want_pattern();
	must(t, write(fd, shared->want, WINDOW) == WINDOW, "new file");
	return fd;
}

static void map_new_file(struct target *t, bool shmem, int flags)
{
	int fd = new_file(t, shmem);

	map_window(t, RW, flags, fd);
	close(fd);
}

/*
 * The kinds of memory.
 */

static void map_anon(struct target *t)
{
	map_window(t, RW, ANON, -1);
	fill(t);
}

static void protect(struct target *t, size_t from, int prot)
{
	must(t, !mprotect((char *)t->ctl->lo + from, WINDOW - from, prot), "mprotect");
}

static void map_protected(struct target *t)
{
	map_anon(t);
	protect(t, 0, PROT_NONE);
}

static void map_writeonly(struct target *t)
{
	map_anon(t);
	protect(t, 0, PROT_WRITE);
}

static void map_execonly(struct target *t)
{
	map_anon(t);
	protect(t, 0, PROT_EXEC);
}

static void map_two_vmas(struct target *t)
{
	map_anon(t);
	protect(t, WINDOW / 2, PROT_READ);
}

static void map_half_protected(struct target *t)
{
	map_anon(t);
	protect(t, WINDOW / 2, PROT_NONE);
}

static void map_half(struct target *t)
{
	map_anon(t);
	must(t, !munmap((char *)t->ctl->lo + WINDOW / 2, WINDOW / 2), "munmap");
}

static void map_pkey(struct target *t)
{
	int key = syscall(SYS_pkey_alloc, 0, 1 /* PKEY_DISABLE_ACCESS */);

	can(t, key >= 0, "no protection keys");
	map_anon(t);
	must(t, !syscall(SYS_pkey_mprotect, t->ctl->lo, WINDOW, RW, key), "pkey_mprotect");
	syscall(SYS_pkey_free, key);
}

static void map_nothing(struct target *t)
{
	t->ctl->lo = (uintptr_t)place(t, WINDOW, PAGE);
	t->ctl->hi = t->ctl->lo + WINDOW;
}

static void map_untouched(struct target *t)
{
	want_zeros();
	map_window(t, RW, ANON, -1);
}

static void map_zero_page(struct target *t)
{
	map_untouched(t);
	read_pages((char *)t->ctl->lo, WINDOW);
}

static void map_swapped(struct target *t)
{
	map_anon(t);
	page_out(t, (char *)t->ctl->lo, WINDOW);
}

/* The first half is of the file, and the second was copied. */
static void map_private(struct target *t)
{
	char *at;

	map_new_file(t, false, MAP_PRIVATE);
	at = (char *)t->ctl->lo;
	read_pages(at, WINDOW / 2);
	memset(at + WINDOW / 2, 'X', WINDOW / 2);
	memset(shared->want + WINDOW / 2, 'X', WINDOW / 2);
}

static void map_shared(struct target *t)
{
	map_new_file(t, false, MAP_SHARED);
	read_pages((char *)t->ctl->lo, WINDOW);
}

static void map_shared_untouched(struct target *t)
{
	map_new_file(t, false, MAP_SHARED);
}

/* Its file ends in the middle. */
static void map_beyond(struct target *t)
{
	int fd = new_file(t, false);

	must(t, !ftruncate(fd, WINDOW / 2), "ftruncate");
	map_window(t, RW, MAP_SHARED, fd);
	close(fd);
}

static void map_shmem(struct target *t)
{
	map_new_file(t, true, MAP_SHARED);
	read_pages((char *)t->ctl->lo, WINDOW);
}

static void map_shmem_swapped(struct target *t)
{
	map_shmem(t);
	page_out(t, (char *)t->ctl->lo, WINDOW);
}

/* Behind the huge page are small ones. */
static char *map_advised(struct target *t, size_t len)
{
	char *at;

	errno = 0;
	can(t, huge, "no huge pages");
	at = map_at(t, place(t, len, huge), len, RW, ANON, -1);
	can(t, !madvise(at, len, MADV_HUGEPAGE), "no MADV_HUGEPAGE");
	return at;
}

static void map_thp(struct target *t)
{
	char *at = map_advised(t, huge + WINDOW);

	*at = 1;
	can(t, present(t, at + huge - PAGE), "no huge page came");
	window_around(t, at + huge);
	fill(t);
}

static void map_huge_zero(struct target *t)
{
	char *at = map_advised(t, 2 * huge);

	read_pages(at, PAGE);
	read_pages(at + huge, PAGE);
	can(t, present(t, at + huge - PAGE) && present(t, at + 2 * huge - PAGE),
	    "no huge zero page came");
	window_around(t, at + huge);
	want_zeros();
}

static void map_shmem_thp(struct target *t)
{
	size_t len = 2 * huge;
	int fd = memfd_create("mem", MFD_CLOEXEC);
	char *at;

	errno = 0;
	can(t, huge, "no huge pages");
	must(t, !ftruncate(fd, len), "ftruncate");
	at = map_at(t, place(t, len, huge), len, RW, MAP_SHARED, fd);
	close(fd);
	window_around(t, at + huge);
	fill(t);
	can(t, !madvise(at, len, MADV_COLLAPSE), "no MADV_COLLAPSE of shmem");
	read_pages(at, len);
}

static void map_hugetlb(struct target *t)
{
	size_t len = 2 * hugetlb;
	char *at = map_at(t, place(t, len, hugetlb), len, RW, ANON | MAP_HUGETLB, -1);

	window_around(t, at + hugetlb);
	fill(t);
}

static void map_secret(struct target *t)
{
	int fd = syscall(SYS_memfd_secret, O_CLOEXEC);

	can(t, fd >= 0, "no memfd_secret");
	must(t, !ftruncate(fd, WINDOW), "ftruncate");
	map_window(t, RW, MAP_SHARED, fd);
	close(fd);
	fill(t);
}

/* What the BIOS left below 1 MiB. */
static void map_device(struct target *t)
{
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);
	char *at = place(t, WINDOW, PAGE);

	can(t, fd >= 0, "no /dev/mem");
	can(t, mmap(at, WINDOW, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd,
		    0xf0000) == at, "cannot map /dev/mem");
	close(fd);
	t->ctl->lo = (uintptr_t)at;
	t->ctl->hi = t->ctl->lo + WINDOW;
	memcpy(shared->want, at, WINDOW);
}

static void map_vdso(struct target *t)
{
	t->ctl->lo = getauxval(AT_SYSINFO_EHDR);
	errno = 0;
	can(t, t->ctl->lo, "no vDSO");
	t->ctl->hi = t->ctl->lo + PAGE;
	memcpy(shared->want, (char *)t->ctl->lo, PAGE);
}

static struct maps_line find_mapping(struct target *t, const char *name)
{
	static struct maps_reader r;
	struct maps_line line;

	r.fd = maps_open(getpid());
	r.size = READ_LARGE;
	maps_rewind(&r, 0);
	do {
		errno = 0;
		can(t, maps_next(&r, &line) == 1, name);
	} while (strcmp(line.name, name));
	close(r.fd);
	return line;
}

/* The kernel's data for the vDSO. */
static void map_vvar(struct target *t)
{
	t->ctl->lo = find_mapping(t, "[vvar]").start;
	t->ctl->hi = t->ctl->lo + PAGE;
}

FIXTURE(kind)
{
	struct subject subject;
};

FIXTURE_VARIANT(kind)
{
	const struct kind *kind;
};

#define KIND(name, ...)								\
	static const struct kind kind_##name = { __VA_ARGS__ };			\
	FIXTURE_VARIANT_ADD(kind, name) { .kind = &kind_##name }

KIND(anon, map_anon, 4, 4, .nodes = "nnnn");
KIND(untouched, map_untouched, 4, 4, .nodes = "----");
KIND(zero_page, map_zero_page, 4, 4, .nodes = "!!!!");
KIND(swapped, map_swapped, 4, 4, NEEDS_SWAP, .nodes = "----");
KIND(protected, map_protected, 4, 0, .nodes = "nnnn", .shut = 4);
KIND(writeonly, map_writeonly, 4, 0, .nodes = "nnnn", .shut = 4);
KIND(execonly, map_execonly, 4, 0, .nodes = "nnnn", .shut = 4);
KIND(pkey, map_pkey, 4, 4, .nodes = "nnnn");
KIND(two_vmas, map_two_vmas, 4, 4, .nodes = "nnnn");
KIND(half_protected, map_half_protected, 4, 2, .nodes = "nnnn", .shut = 2);
KIND(half, map_half, 2, 2, .nodes = "nn!!");
KIND(nothing, map_nothing, 0, 0, .nodes = "!!!!");
KIND(thp, map_thp, 4, 4, .nodes = "nnnn");
KIND(huge_zero, map_huge_zero, 4, 4, .nodes = "!!!!");
KIND(hugetlb, map_hugetlb, 4, 0, NEEDS_HUGETLB, .nodes = "nnnn");
KIND(private, map_private, 4, 0, .nodes = "nnnn");
KIND(shared, map_shared, 4, 0, .nodes = "nnnn");
KIND(shared_untouched, map_shared_untouched, 4, 0, .nodes = "----");
KIND(beyond, map_beyond, 2, 0, .nodes = "----");
KIND(shmem, map_shmem, 4, 0, .nodes = "nnnn");
KIND(shmem_swapped, map_shmem_swapped, 4, 0, NEEDS_SWAP, .nodes = "----");
KIND(shmem_thp, map_shmem_thp, 4, 0, .nodes = "nnnn");
KIND(secret, map_secret, 0, 0, .nodes = "nnnn");
/* That has a function for such reads, which does not ask for FOLL_ANON. */
KIND(device, map_device, 4, 4, .nodes = "----", .shut = 4);
KIND(vdso, map_vdso, 1, 0, .nodes = "n");
KIND(vvar, map_vvar, 0, 0, .nodes = "-");

/*
 * Starting and stopping the target.
 */

static void kind_prepare(struct target *t)
{
	((const struct kind *)t->scenario->data)->map(t);
}

/* From where it was, it can be moved there begin first or end first. */
static bool move_range(int start, int end, const unsigned long *to)
{
	return (!prctl(PR_SET_MM, start, to[0], 0, 0) && !prctl(PR_SET_MM, end, to[1], 0, 0)) ||
	       (!prctl(PR_SET_MM, end, to[1], 0, 0) && !prctl(PR_SET_MM, start, to[0], 0, 0));
}

/* Let cmdline and environ show these. */
static void step_ranges(struct target *t, unsigned int n)
{
	can(t, move_range(PR_SET_MM_ARG_START, PR_SET_MM_ARG_END, shared->arg) &&
	    move_range(PR_SET_MM_ENV_START, PR_SET_MM_ENV_END, shared->env),
	    "cannot move arguments and environment");
}

static void subject_end(struct __test_metadata *_metadata, struct subject *s)
{
	if (s->target.ctl)
		target_end(&s->target);
	if (s->swap)
		EXPECT_TRUE(end_swap());
	if (s->hugepages >= 0)
		set_number(NR_HUGEPAGES, s->hugepages);
	if (s->ksm_run >= 0)
		set_number(KSM "run", s->ksm_run);
}

/* Return false after a SKIP. FIXTURE_TEARDOWN does not run then. */
static bool subject_start(struct __test_metadata *_metadata, struct subject *s,
			  const struct kind *k, void (*step)(struct target *, unsigned int))
{
	FILE *f = fopen("/proc/meminfo", "r");
	const char *why = NULL;
	char line[128];
	long kb;

	s->hugepages = -1;
	s->ksm_run = -1;
	if (sysconf(_SC_PAGESIZE) != PAGE)
		SKIP(return false, "made for pages of 4 KiB");
	huge = number(THP_SIZE) > 0 ? number(THP_SIZE) : 0;
	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "Hugepagesize: %ld", &kb) == 1)
			hugetlb = kb << 10;
	if (f)
		fclose(f);
	if (k->needs & NEEDS_HUGETLB) {
		s->hugepages = number(NR_HUGEPAGES);
		if (!set_number(NR_HUGEPAGES, s->hugepages + 2))
			why = "cannot reserve huge pages";
	}
	if (!why && k->needs & NEEDS_KSM) {
		s->ksm_run = number(KSM "run");
		if (!put(KSM "run", "1"))
			why = "cannot start KSM";
	}
	if (!why && k->needs & NEEDS_SWAP)
		why = provide_swap(&s->swap);
	if (why) {
		subject_end(_metadata, s);
		SKIP(return false, "%s", why);
	}

	shared = mmap(NULL, sizeof(*shared), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	s->scenario = (struct scenario) {
		.prepare = kind_prepare,
		.step = step,
		.nr_states = 4,
		.data = k,
	};
	ASSERT_EQ(0, target_start(&s->target, &s->scenario));
	s->mem = maps_open_file(s->target.pid, "mem");
	ASSERT_LE(0, s->mem);
	return true;
}

/* Return false after a SKIP. */
static bool subject_do(struct __test_metadata *_metadata, struct subject *s,
		       enum target_command command)
{
	if (target_do(&s->target, command))
		return true;
	if (shared->skip[0] && __test_passed(_metadata))
		SKIP(return false, "%s", shared->skip);
	ASSERT_EQ(0, s->target.ctl->error)
		TH_LOG("%s", s->target.ctl->failed);
	return false;
}

/*
 * Bytes.
 */

struct piece {
	size_t off;
	size_t len;
};

static const struct piece pieces[] = {
	{ 0, 1 },
	{ PAGE - 1, 1 },
	{ 0, PAGE },
	{ 100, PAGE },
	{ PAGE + PAGE / 2, PAGE },
	{ 2 * PAGE - 7, 14 },
	{ 3 * PAGE + 5, PAGE - 5 },
	{ 0, 251 * 40 + 1 },		/* its last byte is zero */
	{ 0, WINDOW },
	{ 1, WINDOW - 1 },
};

static ssize_t read_mem(struct subject *s, size_t off, size_t len)
{
	ssize_t n;

	memset(buf, '#', len + 1);
	n = pread(s->mem, buf, len, s->target.ctl->lo + off);
	return n < 0 ? -errno : n;
}

/* Read a file as a whole, with read()s of so many bytes. */
static ssize_t read_file(struct subject *s, const char *name, size_t size)
{
	int fd = maps_open_file(s->target.pid, name);
	ssize_t n, len = 0;

	memset(buf, '#', sizeof(buf));
	do {
		n = read(fd, buf + len, size < WINDOW - len ? size : WINDOW - len);
		len += n > 0 ? n : 0;
	} while (n > 0 && len < WINDOW);
	close(fd);
	return n < 0 ? -errno : len;
}

/* What was read, and nothing else was written. */
static void expect_bytes(struct __test_metadata *_metadata, const struct piece *p,
			 ssize_t want, ssize_t n)
{
	EXPECT_EQ(want, n)
		TH_LOG("%zu bytes at %zu", p->len, p->off);
	if (n < 0)
		n = 0;
	EXPECT_EQ(0, memcmp(buf, shared->want + p->off, n))
		TH_LOG("%zu bytes at %zu", p->len, p->off);
	EXPECT_EQ('#', buf[n]);
}

/* So much of it is in the first @pages of the window. */
static size_t valid(const struct piece *p, unsigned int pages)
{
	size_t end = pages * PAGE;

	return p->off >= end ? 0 : p->off + p->len <= end ? p->len : end - p->off;
}

/* What cmdline shows if this is where the arguments are. */
static ssize_t shown(const struct piece *p, unsigned int pages)
{
	const char *start = shared->want + p->off;
	size_t len = valid(p, pages), text;

	if (len < p->len || !start[len - 1])
		return len;
	/* The process has overwritten them */
	text = strnlen(start, PAGE) + 1;
	return text < len ? text : len < PAGE ? len : PAGE;
}

FIXTURE_SETUP(kind)
{
	subject_start(_metadata, &self->subject, variant->kind, step_ranges);
}

FIXTURE_TEARDOWN(kind)
{
	subject_end(_metadata, &self->subject);
}

/* Prepare anew, as a read may change what is there. */
static bool prepare_piece(struct __test_metadata *_metadata, struct subject *s,
			  const struct piece *p, bool move)
{
	const struct target_ctl *ctl = s->target.ctl;

	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return false;
	if (!move)
		return true;
	shared->arg[0] = ctl->lo + p->off;
	shared->arg[1] = shared->arg[0] + p->len;
	memcpy(shared->env, shared->arg, sizeof(shared->env));
	return subject_do(_metadata, s, TARGET_STEP);
}

static bool fits(const struct subject *s, const struct piece *p)
{
	return p->off + p->len <= s->target.ctl->hi - s->target.ctl->lo;
}

TEST_F_TIMEOUT(kind, mem, test_timeout())
{
	struct subject *s = &self->subject;
	const struct piece *p;
	size_t n;

	for (p = pieces; p < pieces + ARRAY_SIZE(pieces); p++) {
		if (!prepare_piece(_metadata, s, p, false))
			return;
		n = valid(p, variant->kind->forced);
		if (fits(s, p))
			expect_bytes(_metadata, p, n ?: -EIO, read_mem(s, p->off, p->len));
	}
}

TEST_F_TIMEOUT(kind, cmdline, test_timeout())
{
	struct subject *s = &self->subject;
	const struct piece *p;

	for (p = pieces; p < pieces + ARRAY_SIZE(pieces); p++) {
		if (!prepare_piece(_metadata, s, p, true))
			return;
		if (fits(s, p))
			expect_bytes(_metadata, p, shown(p, variant->kind->plain),
				     read_file(s, "cmdline", WINDOW));
	}
}

/* If the end cannot be read, that is what environ says, and nothing else. */
TEST_F_TIMEOUT(kind, environ, test_timeout())
{
	struct subject *s = &self->subject;
	const struct piece *p;
	ssize_t n;

	for (p = pieces; p < pieces + ARRAY_SIZE(pieces); p++) {
		if (!prepare_piece(_metadata, s, p, true))
			return;
		if (!fits(s, p))
			continue;
		n = read_file(s, "environ", WINDOW);
		if (valid(p, variant->kind->plain) == p->len)
			expect_bytes(_metadata, p, p->len, n);
		else
			EXPECT_EQ(0, n);
	}
}

static bool seize(pid_t pid)
{
	int status;

	return !ptrace(PTRACE_SEIZE, pid, 0, 0) && !ptrace(PTRACE_INTERRUPT, pid, 0, 0) &&
	       waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
}

static ssize_t peek(struct subject *s, size_t off)
{
	long word;

	memset(buf, '#', sizeof(word) + 1);
	errno = 0;
	word = ptrace(PTRACE_PEEKDATA, s->target.pid, s->target.ctl->lo + off, 0);
	if (errno)
		return -errno;
	memcpy(buf, &word, sizeof(word));
	return sizeof(word);
}

TEST_F_TIMEOUT(kind, peek, test_timeout())
{
	static const size_t words[] = {
		PAGE - 3, 0, PAGE - sizeof(long), 2 * PAGE - 3, 2 * PAGE, WINDOW - sizeof(long),
	};
	struct subject *s = &self->subject;
	struct piece p = { .len = sizeof(long) };
	unsigned int i;

	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return;
	ASSERT_TRUE(seize(s->target.pid));
	for (i = 0; i < ARRAY_SIZE(words); i++) {
		p.off = words[i];
		if (fits(s, &p))
			expect_bytes(_metadata, &p,
				     valid(&p, variant->kind->forced) == p.len ? p.len : -EIO,
				     peek(s, p.off));
	}
}

static ssize_t read_remote(struct subject *s, size_t off, size_t len)
{
	struct iovec local = { buf, len };
	struct iovec remote = { (char *)s->target.ctl->lo + off, len };
	ssize_t n;

	memset(buf, '#', len + 1);
	n = process_vm_readv(s->target.pid, &local, 1, &remote, 1, 0);
	return n < 0 ? -errno : n;
}

TEST_F_TIMEOUT(kind, vm_readv, test_timeout())
{
	struct subject *s = &self->subject;
	const struct piece *p;
	size_t n;

	for (p = pieces; p < pieces + ARRAY_SIZE(pieces); p++) {
		if (!prepare_piece(_metadata, s, p, false))
			return;
		n = valid(p, variant->kind->forced - variant->kind->shut);
		if (fits(s, p))
			expect_bytes(_metadata, p, n ?: -EFAULT, read_remote(s, p->off, p->len));
	}
}

/* For each page 'n' if it is on a node, '-' for ENOENT, '!' for EFAULT, else '?'. */
static ssize_t query_nodes_at(struct subject *s, unsigned long at, size_t nr)
{
	int status[WINDOW / PAGE];
	void *pages[WINDOW / PAGE];
	size_t i;

	for (i = 0; i < nr; i++)
		pages[i] = (char *)at + i * PAGE;
	if (syscall(SYS_move_pages, s->target.pid, nr, pages, NULL, status, 0))
		return -errno;
	for (i = 0; i < nr; i++)
		buf[i] = status[i] >= 0 ? 'n' : status[i] == -ENOENT ? '-' :
			 status[i] == -EFAULT ? '!' : '?';
	buf[nr] = '\0';
	return nr;
}

static ssize_t query_nodes(struct subject *s, size_t nr)
{
	return query_nodes_at(s, s->target.ctl->lo, nr);
}

TEST_F_TIMEOUT(kind, move_pages, test_timeout())
{
	struct subject *s = &self->subject;
	size_t nr;

	if (syscall(SYS_move_pages, getpid(), 0, NULL, NULL, NULL, 0))
		SKIP(return, "no move_pages()");
	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return;
	nr = (s->target.ctl->hi - s->target.ctl->lo) / PAGE;
	EXPECT_EQ(nr, query_nodes(s, nr));
	EXPECT_STREQ(variant->kind->nodes, buf);
}

/*
 * More than one range: what is read ends with the range before the one that cannot be
 * read, or in it with the page before; and what has no room is not read.
 */

FIXTURE(ranges)
{
	struct subject subject;
};

FIXTURE_SETUP(ranges)
{
	if (subject_start(_metadata, &self->subject, &kind_half, step_ranges))
		subject_do(_metadata, &self->subject, TARGET_PREPARE);
}

FIXTURE_TEARDOWN(ranges)
{
	subject_end(_metadata, &self->subject);
}

TEST_F(ranges, counts)
{
	static const struct {
		struct piece remote[3], local[3];
		ssize_t want;
		int err;
	} calls[] = {
		{ { { 1, 10 }, { PAGE - 5, 10 }, { 7, PAGE } }, { { 0, WINDOW } }, 20 + PAGE },
		{ { { 1, 10 }, { PAGE - 5, 10 } }, { { 0, 3 }, { 100, 17 } }, 20 },
		{ { { 1, 10 }, { 2 * PAGE, 10 }, { 7, 10 } }, { { 0, WINDOW } }, 10 },
		{ { { 1, 10 }, { 2 * PAGE - 5, 10 }, { 7, 10 } }, { { 0, WINDOW } }, 15 },
		{ { { 2 * PAGE, 10 }, { 1, 10 } }, { { 0, WINDOW } }, -1, EFAULT },
		{ { { 1, 10 }, { 2 * PAGE, 10 } }, { { 0, 10 } }, 10 },
		{ { { 1, 10 }, { 2 * PAGE, 10 } }, { { 0, 9 } }, 9 },
		{ { { 1, 0 }, { 2 * PAGE, 0 } }, { { 0, 9 } }, 0 },
		{ { { 2 * PAGE, 10 } }, { { 0, 0 } }, 0 },
		{ { { 0, 2 * PAGE } }, { { WINDOW - 50, 100 } }, 50 },
		{ { { 0, 2 * PAGE } }, { { WINDOW, 100 } }, -1, EFAULT },
		{ { { 3, 20 }, { 9, 20 } }, { { 0, 30 }, { WINDOW, 10 } }, 30 },
	};
	char *at = mmap(NULL, WINDOW + PAGE, RW, ANON, -1, 0), want[WINDOW];
	struct subject *s = &self->subject;
	struct iovec remote[3], local[3];
	size_t i, j, n, off;

	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(0, mprotect(at + WINDOW, PAGE, PROT_NONE));
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 0, j = 0; j < 3; j++) {
			const struct piece *p = &calls[i].remote[j];

			remote[j] = (struct iovec) { (char *)s->target.ctl->lo + p->off, p->len };
			local[j] = (struct iovec) { at + calls[i].local[j].off,
						    calls[i].local[j].len };
			if (p->off + p->len <= WINDOW && n + p->len <= WINDOW)
				memcpy(want + n, shared->want + p->off, p->len);
			n += p->len;
		}
		/* No page of it is there */
		ASSERT_EQ(0, madvise(at, WINDOW, MADV_DONTNEED));
		errno = 0;
		EXPECT_EQ(calls[i].want, process_vm_readv(s->target.pid, local, 3, remote, 3, 0))
			TH_LOG("call %zu", i);
		EXPECT_EQ(calls[i].err, errno)
			TH_LOG("call %zu", i);
		for (j = 0, off = 0; j < 3 && calls[i].want > (ssize_t)off; j++) {
			n = calls[i].want - off;
			n = n < local[j].iov_len ? n : local[j].iov_len;
			EXPECT_EQ(0, memcmp(local[j].iov_base, want + off, n))
				TH_LOG("call %zu", i);
			off += n;
		}
	}
	munmap(at, WINDOW + PAGE);
}

/* From the tester to itself, within a page; and from and to the page of the ranges. */
TEST_F(ranges, own)
{
	char *at = mmap(NULL, WINDOW, RW, ANON, -1, 0);
	struct iovec remote = { at, 100 }, local = { at + 200, 100 };

	ASSERT_NE(MAP_FAILED, at);
	want_pattern();
	memcpy(at, shared->want, 100);
	EXPECT_EQ(100, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(0, memcmp(at + 200, shared->want, 100));
	local = (struct iovec) { at + 2 * PAGE, WINDOW - 2 * PAGE };
	remote = (struct iovec) { at + 100, WINDOW - 2 * PAGE };
	EXPECT_EQ(WINDOW - 2 * PAGE, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(0, memcmp(at + 2 * PAGE + 100, shared->want, 100));
	EXPECT_EQ(0, memcmp(at, shared->want, 100));
	munmap(at, WINDOW);
}

/*
 * Addresses that no mapping can have, and one below a stack.
 */

#define GAP (2UL << 20)		/* more than what a stack keeps free below it */

static void map_stack(struct target *t)
{
	map_at(t, place(t, WINDOW, GAP), WINDOW, RW, ANON | MAP_GROWSDOWN, -1);
	fill(t);
}

static const struct kind kind_stack = { map_stack };

FIXTURE(address)
{
	struct subject subject;
};

FIXTURE_SETUP(address)
{
	if (subject_start(_metadata, &self->subject, &kind_stack, step_ranges))
		subject_do(_metadata, &self->subject, TARGET_PREPARE);
}

FIXTURE_TEARDOWN(address)
{
	subject_end(_metadata, &self->subject);
}

/* Only read() takes offsets as large as that. The page at -10 MiB is vsyscall. */
TEST_F(address, odd)
{
	struct subject *s = &self->subject;
	const unsigned long addr[] = {
		0, 1UL << 47, (1UL << 47) - 2, 1UL << 62, 1UL << 63, -10UL << 20, -2 * PAGE,
#ifdef __x86_64__	/* elsewhere there are tags that everybody has */
		s->target.ctl->lo | 1UL << 62, s->target.ctl->lo | 1UL << 63,
		s->target.ctl->lo | 1UL << 57,
#endif
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		ASSERT_EQ(addr[i], lseek(s->mem, addr[i], SEEK_SET));
		EXPECT_EQ(-1, read(s->mem, buf, 2))
			TH_LOG("%lx", addr[i]);
		EXPECT_EQ(EIO, errno)
			TH_LOG("%lx", addr[i]);
	}
	ASSERT_EQ(-PAGE, lseek(s->mem, -PAGE, SEEK_SET));
	EXPECT_EQ(-1, read(s->mem, buf, PAGE));
	EXPECT_EQ(EOVERFLOW, errno);

	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		EXPECT_EQ(-EFAULT, read_remote(s, addr[i] - s->target.ctl->lo, 2))
			TH_LOG("%lx", addr[i]);
		EXPECT_EQ(1, query_nodes_at(s, addr[i], 1));
		EXPECT_STREQ("!", buf)
			TH_LOG("%lx", addr[i]);
	}
	EXPECT_EQ(-EFAULT, read_remote(s, -PAGE - s->target.ctl->lo, 2 * PAGE));
	ASSERT_TRUE(seize(s->target.pid));
	for (i = 0; i < ARRAY_SIZE(addr); i++) {
		EXPECT_EQ(-EIO, peek(s, addr[i] - s->target.ctl->lo))
			TH_LOG("%lx", addr[i]);
	}
}

/* Whoever reads below a stack makes it grow. */
TEST_F(address, below_stack)
{
	struct subject *s = &self->subject;
	static struct maps_reader r;
	struct maps_line line = {};
	int ret;

	EXPECT_EQ(-EFAULT, read_remote(s, -100, 50));
	EXPECT_EQ(500, read_mem(s, -100, 500));
	EXPECT_EQ(0, memcmp(buf + 100, shared->want, 400));
	EXPECT_EQ(PAGE, read_mem(s, -4 * PAGE, PAGE));
	r.fd = s->target.fd;
	r.size = READ_LARGE;
	maps_rewind(&r, 0);
	do {
		ret = maps_next(&r, &line);
	} while (ret == 1 && line.end != s->target.ctl->hi);
	EXPECT_EQ(1, ret);
	EXPECT_EQ(s->target.ctl->lo - 4 * PAGE, line.start);
}

/*
 * Titles, as setproctitle() writes them: the last byte of the arguments is not
 * zero then, and the text goes on in the environment, if that follows.
 */

struct title {
	unsigned int arg, arg_end;
	unsigned int env, env_end;
	unsigned int zero;	/* where the only zero is; 0: there is none */
	void (*then)(struct target *t);
	unsigned int want;	/* so much is shown, from @arg on */
};

static void map_title(struct target *t)
{
	const struct title *title = ((const struct kind *)t->scenario->data)->title;
	char *at = map_window(t, RW, ANON, -1);
	size_t i;

	for (i = 0; i < WINDOW; i++)
		shared->want[i] = 'a' + i % 26;
	if (title->zero)
		shared->want[title->zero] = '\0';
	memcpy(at, shared->want, WINDOW);
	if (title->then)
		title->then(t);
}

static char *second_half(struct target *t)
{
	return (char *)t->ctl->lo + WINDOW / 2;
}

static void then_drop(struct target *t)
{
	must(t, !madvise(second_half(t), WINDOW / 2, MADV_DONTNEED), "madvise");
	memset(shared->want + WINDOW / 2, 0, WINDOW / 2);
}

static void then_split(struct target *t)
{
	must(t, !mprotect(second_half(t), WINDOW / 2, PROT_READ), "mprotect");
}

static void then_hide(struct target *t)
{
	must(t, !mprotect(second_half(t), WINDOW / 2, PROT_NONE), "mprotect");
}

static void then_hide_first(struct target *t)
{
	must(t, !mprotect((char *)t->ctl->lo, PAGE, PROT_NONE), "mprotect");
}

static void then_unmap(struct target *t)
{
	must(t, !munmap(second_half(t), WINDOW / 2), "munmap");
}

FIXTURE(title)
{
	struct subject subject;
	struct kind kind;
};

FIXTURE_VARIANT(title)
{
	const struct title *title;
};

#define TITLE(name, ...)							\
	static const struct title title_##name = { __VA_ARGS__ };		\
	FIXTURE_VARIANT_ADD(title, name) { .title = &title_##name }

/* No titles, but arguments */
TITLE(short_args, 100, 150, 150, 400, 149, NULL, 50);
TITLE(one_page, 0, PAGE, PAGE, WINDOW, PAGE - 1, NULL, PAGE);
TITLE(one_page_unaligned, 100, PAGE + 100, PAGE + 100, WINDOW, PAGE + 99, NULL, PAGE);
TITLE(pages, 100, 3 * PAGE, 3 * PAGE, WINDOW, 3 * PAGE - 1, NULL, 3 * PAGE - 100);
/* Titles */
TITLE(into_environ, 100, 150, 150, 400, 299, NULL, 200);
TITLE(all_environ, 100, 150, 150, 400, 600, NULL, 300);
TITLE(environ_elsewhere, 100, 150, 200, 400, 299, NULL, 50);
TITLE(no_environ, 100, 150, 150, 150, 299, NULL, 50);
TITLE(ends_before, 100, 150, 150, 400, 120, NULL, 21);
TITLE(long, 100, 150, 150, WINDOW, 0, NULL, PAGE);
TITLE(long_aligned, PAGE, PAGE + 50, PAGE + 50, WINDOW, 0, NULL, PAGE);
TITLE(last_page, 3 * PAGE + 100, 3 * PAGE + 150, 3 * PAGE + 150, WINDOW, 3 * PAGE + 300, NULL, 201);
TITLE(to_the_end, 3 * PAGE + 100, 3 * PAGE + 150, 3 * PAGE + 150, WINDOW, 0, NULL, PAGE - 100);
TITLE(last_byte, PAGE + 100, PAGE + 150, PAGE + 150, WINDOW, 2 * PAGE - 1, NULL, PAGE - 100);
TITLE(next_byte, PAGE + 100, PAGE + 150, PAGE + 150, WINDOW, 2 * PAGE, NULL, PAGE - 99);
TITLE(next_page, PAGE + 100, PAGE + 150, PAGE + 150, WINDOW, 2 * PAGE + 49, NULL, PAGE - 50);
TITLE(into_other_vma, PAGE + 100, PAGE + 150, PAGE + 150, WINDOW, 0, then_split, PAGE);
TITLE(into_no_page, PAGE + 100, PAGE + 150, PAGE + 150, WINDOW, 0, then_drop, PAGE - 99);
TITLE(into_hidden, PAGE + 100, PAGE + 150, PAGE + 150, WINDOW, 0, then_hide, PAGE - 100);
TITLE(into_nothing, PAGE + 100, PAGE + 150, PAGE + 150, WINDOW, 0, then_unmap, PAGE - 100);
TITLE(hidden, 100, PAGE + 50, PAGE + 50, WINDOW, 0, then_hide_first, 0);

FIXTURE_SETUP(title)
{
	self->kind.map = map_title;
	self->kind.title = variant->title;
	subject_start(_metadata, &self->subject, &self->kind, step_ranges);
}

FIXTURE_TEARDOWN(title)
{
	subject_end(_metadata, &self->subject);
}

TEST_F(title, cmdline)
{
	static const size_t size[] = { WINDOW, 100, PAGE - 1 };
	const struct title *title = variant->title;
	struct subject *s = &self->subject;
	struct piece p = { title->arg, title->want };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(size); i++) {
		if (!subject_do(_metadata, s, TARGET_PREPARE))
			return;
		shared->arg[0] = s->target.ctl->lo + title->arg;
		shared->arg[1] = s->target.ctl->lo + title->arg_end;
		shared->env[0] = s->target.ctl->lo + title->env;
		shared->env[1] = s->target.ctl->lo + title->env_end;
		if (!subject_do(_metadata, s, TARGET_STEP))
			return;
		expect_bytes(_metadata, &p, p.len, read_file(s, "cmdline", size[i]));
	}
}

/*
 * A read is an access, and smaps shows it. Not so of a huge page on x86, which
 * sets the accessed bit of its entry only together with the dirty bit.
 */

FIXTURE(referenced)
{
	struct subject subject;
};

FIXTURE_SETUP(referenced)
{
	subject_start(_metadata, &self->subject, &kind_anon, step_ranges);
}

FIXTURE_TEARDOWN(referenced)
{
	subject_end(_metadata, &self->subject);
}

static long referenced_kb(const struct subject *s)
{
	static struct maps_reader r;
	struct maps_line line = {};
	long kb = -1;

	r.fd = maps_open_file(s->target.pid, "smaps");
	r.size = READ_LARGE;
	maps_rewind(&r, 0);
	while (kb < 0 && maps_next_text(&r) == 1) {
		maps_parse(r.line, r.line + r.line_len, &line);
		if (line.start <= s->target.ctl->lo && line.end > s->target.ctl->lo)
			sscanf(r.line, "Referenced: %ld", &kb);
	}
	close(r.fd);
	return kb;
}

TEST_F(referenced, read)
{
	struct subject *s = &self->subject;
	char path[64];

	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return;
	snprintf(path, sizeof(path), "/proc/%d/clear_refs", s->target.pid);
	if (!put(path, "1"))
		SKIP(return, "no clear_refs in this kernel");
	EXPECT_EQ(0, referenced_kb(s));
	EXPECT_EQ(1, read_mem(s, PAGE, 1));
	EXPECT_EQ(PAGE / 1024, referenced_kb(s));
}

/*
 * No lock of the address space: a thread of the target runs mprotect() back and
 * forth over a VMA of one page and a large populated one, and so holds its mmap_lock
 * for writing for most of the time. The pages that may be written to are counted in
 * statm when a VMA is done, so that statm tells when only the first one is: then
 * mmap_lock is held, and if that is so before and after a read, and in the same call,
 * it was held all the time.
 */

#define HOLD_PAGES (16UL << 10)

static char *hold_at;
static pthread_mutex_t hold_begin = PTHREAD_MUTEX_INITIALIZER;

/* Return so many pages of private memory that may be written to. */
static long data_pages(int statm)
{
	char text[256] = "";
	long data = -1;

	if (pread(statm, text, sizeof(text) - 1, 0) > 0)
		sscanf(text, "%*d %*d %*d %*d %*d %ld", &data);
	return data;
}

static void *hold(void *arg)
{
	unsigned int n;

	pthread_mutex_lock(&hold_begin);
	for (n = 0;; n++) {
		__atomic_add_fetch(&shared->call, 1, __ATOMIC_SEQ_CST);
		if (mprotect(hold_at, (1 + HOLD_PAGES) * PAGE, n % 2 ? PROT_READ : RW))
			_exit(1);
	}
	return NULL;
}

/* Small pages, all of them the zero page. */
static void step_hold(struct target *t, unsigned int n)
{
	size_t len = (1 + HOLD_PAGES) * PAGE;
	int statm = maps_open_file(getpid(), "statm");
	pthread_t thread;

	hold_at = mmap(NULL, len, PROT_READ, ANON | MAP_NORESERVE, -1, 0);
	must(t, hold_at != MAP_FAILED, "mmap");
	madvise(hold_at, len, MADV_NOHUGEPAGE);
	must(t, !madvise(hold_at, PAGE, MADV_DONTDUMP), "MADV_DONTDUMP");
	can(t, !madvise(hold_at, len, MADV_POPULATE_READ), "no MADV_POPULATE_READ");
	pthread_mutex_lock(&hold_begin);
	must(t, !pthread_create(&thread, NULL, hold, NULL), "pthread_create");
	shared->data = data_pages(statm);
	close(statm);
	pthread_mutex_unlock(&hold_begin);
}

/* Return the number of the call that is under way between the two VMAs, or 0. */
static __u64 this_call(int statm)
{
	__u64 call = __atomic_load_n(&shared->call, __ATOMIC_SEQ_CST);
	long data = data_pages(statm) - shared->data;

	if (call != __atomic_load_n(&shared->call, __ATOMIC_SEQ_CST))
		return 0;
	return data == 1 || data == HOLD_PAGES ? call : 0;
}

static void learn_own(struct target *t, const char *name)
{
	int fd = maps_open_file(getpid(), name);
	ssize_t n = read(fd, shared->want, PAGE);

	close(fd);
	errno = 0;
	can(t, n > 0, name);
	shared->len = n;
}

static void map_own_args(struct target *t)
{
	learn_own(t, "cmdline");
}

static void map_own_environ(struct target *t)
{
	learn_own(t, "environ");
}

/* A title where the stack ends. */
static void map_own_title(struct target *t)
{
	unsigned long end = find_mapping(t, "[stack]").end, at = end - 100;

	shared->len = 90;
	memset(shared->want, 'T', shared->len - 1);
	shared->want[shared->len - 1] = '\0';
	memcpy((char *)at, shared->want, shared->len);
	shared->arg[0] = at;
	shared->arg[1] = at + 50;
	shared->env[0] = at + 50;
	shared->env[1] = end - 1;
	step_ranges(t, 0);
}

/* Two VMAs; of the pages one is, one is not, one is zeros, and one is. */
static void map_queried(struct target *t)
{
	char *at = map_window(t, RW, ANON, -1);

	at[0] = 1;
	read_pages(at + 2 * PAGE, PAGE);
	at[3 * PAGE] = 1;
	protect(t, WINDOW / 2, PROT_READ);
	memcpy(shared->want, "n-!n", WINDOW / PAGE);
}

static const struct kind kind_own_args = { map_own_args };
static const struct kind kind_own_environ = { map_own_environ };
static const struct kind kind_own_title = { map_own_title };

enum way { MEM, PEEK, CMDLINE, ENVIRON, VM_READV, NODES };

FIXTURE(lock)
{
	struct subject subject;
};

FIXTURE_VARIANT(lock)
{
	const struct kind *kind;
	enum way how;
	struct piece piece;	/* of mem */
};

FIXTURE_VARIANT_ADD(lock, cmdline) {
	.kind = &kind_own_args, .how = CMDLINE,
};

FIXTURE_VARIANT_ADD(lock, environ) {
	.kind = &kind_own_environ, .how = ENVIRON,
};

FIXTURE_VARIANT_ADD(lock, title) {
	.kind = &kind_own_title, .how = CMDLINE,
};

FIXTURE_VARIANT_ADD(lock, peek) {
	.kind = &kind_anon, .how = PEEK, .piece = { PAGE + 8, sizeof(long) },
};

FIXTURE_VARIANT_ADD(lock, anon) {
	.kind = &kind_anon, .piece = { PAGE, PAGE },
};

FIXTURE_VARIANT_ADD(lock, two_pages) {
	.kind = &kind_anon, .piece = { PAGE + PAGE / 2, PAGE },
};

FIXTURE_VARIANT_ADD(lock, zero_page) {
	.kind = &kind_zero_page, .piece = { 100, PAGE },
};

FIXTURE_VARIANT_ADD(lock, huge_zero) {
	.kind = &kind_huge_zero, .piece = { 100, PAGE },
};

FIXTURE_VARIANT_ADD(lock, thp) {
	.kind = &kind_thp, .piece = { 100, PAGE },
};

FIXTURE_VARIANT_ADD(lock, protected) {
	.kind = &kind_protected, .piece = { 100, PAGE },
};

FIXTURE_VARIANT_ADD(lock, private) {
	.kind = &kind_private, .piece = { PAGE + PAGE / 2, PAGE },
};

FIXTURE_VARIANT_ADD(lock, shared) {
	.kind = &kind_shared, .piece = { 100, PAGE },
};

FIXTURE_VARIANT_ADD(lock, shmem) {
	.kind = &kind_shmem, .piece = { 100, PAGE },
};

FIXTURE_VARIANT_ADD(lock, shmem_thp) {
	.kind = &kind_shmem_thp, .piece = { 100, PAGE },
};

FIXTURE_VARIANT_ADD(lock, readv) {
	.kind = &kind_anon, .how = VM_READV, .piece = { PAGE + 8, sizeof(long) },
};

FIXTURE_VARIANT_ADD(lock, readv_all) {
	.kind = &kind_anon, .how = VM_READV, .piece = { 0, WINDOW },
};

FIXTURE_VARIANT_ADD(lock, readv_zero_page) {
	.kind = &kind_zero_page, .how = VM_READV, .piece = { 100, WINDOW - 100 },
};

FIXTURE_VARIANT_ADD(lock, readv_thp) {
	.kind = &kind_thp, .how = VM_READV, .piece = { 100, WINDOW - 100 },
};

FIXTURE_VARIANT_ADD(lock, readv_huge_zero) {
	.kind = &kind_huge_zero, .how = VM_READV, .piece = { 100, WINDOW - 100 },
};

FIXTURE_VARIANT_ADD(lock, readv_private) {
	.kind = &kind_private, .how = VM_READV, .piece = { 100, WINDOW - 100 },
};

FIXTURE_VARIANT_ADD(lock, readv_shmem_thp) {
	.kind = &kind_shmem_thp, .how = VM_READV, .piece = { 100, WINDOW - 100 },
};

static const struct kind kind_nodes = { map_queried };

FIXTURE_VARIANT_ADD(lock, move_pages) {
	.kind = &kind_nodes, .how = NODES, .piece = { 0, WINDOW / PAGE },
};

/* True if reads are known not to need mmap_lock, as in this series. */
static bool reads_lockless(void)
{
	FILE *f = fopen("/proc/kallsyms", "r");
	bool found = false;
	char line[512];

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, " lock_next_vma\n");
	if (f)
		fclose(f);
	return found;
}

FIXTURE_SETUP(lock)
{
	if (!reads_lockless())
		SKIP(return, "no lock_next_vma() in /proc/kallsyms");
	subject_start(_metadata, &self->subject, variant->kind, step_hold);
}

FIXTURE_TEARDOWN(lock)
{
	subject_end(_metadata, &self->subject);
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* Not much of a race: longer than a second tells no more. */
static unsigned int short_ms(void)
{
	return duration_ms() < 1000 ? duration_ms() : 1000;
}

static ssize_t read_as(struct subject *s, enum way how, int fd, const struct piece *p)
{
	ssize_t n;

	if (how == MEM)
		return read_mem(s, p->off, p->len);
	if (how == PEEK)
		return peek(s, p->off);
	if (how == VM_READV)
		return read_remote(s, p->off, p->len);
	if (how == NODES)
		return query_nodes(s, p->len);
	n = pread(fd, buf, sizeof(buf), 0);
	return n < 0 ? -errno : n;
}

static int open_as(const struct subject *s, enum way how)
{
	return maps_open_file(s->target.pid, how == CMDLINE ? "cmdline" : "environ");
}

TEST_F_TIMEOUT(lock, not_needed, test_timeout())
{
	bool cmdline = variant->kind == &kind_own_args;
	__u64 begin, at, call, past, inside = 0;
	__u64 want = (cmdline ? 10 : 3) * 100000ULL * short_ms();
	unsigned long reads = 0, answered = 0;
	struct subject *s = &self->subject;
	struct piece p = variant->piece;
	int fd, statm;

	if (!target_apart(&s->target))
		SKIP(return, "needs two CPUs");
	if (!subject_do(_metadata, s, TARGET_PREPARE) || !subject_do(_metadata, s, TARGET_STEP))
		return;
	if (variant->how == PEEK)
		ASSERT_TRUE(seize(s->target.pid));
	fd = open_as(s, variant->how);
	statm = maps_open_file(s->target.pid, "statm");
	if (!p.len)
		p.len = shared->len;
	begin = now_ms();
	call = this_call(statm);
	do {
		past = call;
		at = now_ns();
		ASSERT_EQ(p.len, read_as(s, variant->how, fd, &p));
		at = now_ns() - at;
		ASSERT_EQ(0, memcmp(buf, shared->want + p.off, p.len));
		reads++;
		call = this_call(statm);
		if (!call || call != past)
			continue;
		inside += at;
		answered++;
	} while (inside < want && now_ms() - begin < 20 * short_ms());
	close(statm);
	close(fd);
	note("%lu reads, %lu of them in %llu ms of %llu calls that held mmap_lock", reads,
	     answered, inside / 1000000, shared->call);
	EXPECT_LE(want, inside);
}

/*
 * One call for at most a page sees one state of the target, and so does one of
 * process_vm_readv() for any range.
 */

FIXTURE(change)
{
	struct subject subject;
	struct kind kind;
	struct window window;
};

FIXTURE_VARIANT(change)
{
	void (*map)(struct target *t);
	void (*step)(struct target *t, unsigned int n);
	/* A letter for each page, '.' is not there; none: all is as it was */
	const char *state[2];
	enum way how;
	unsigned int needs;
	bool each;		/* each byte is of any state */
};

static const char * const *states;
static char image[2][WINDOW];		/* the window in each state */

static size_t states_len(void)
{
	return strlen(states[0]) * PAGE;
}

static void set_pages(char *at, const char *letters)
{
	for (; *letters; letters++, at += PAGE)
		if (*letters != '.')
			memset(at, *letters, PAGE);
}

/* The new mapping comes with its pages. */
static void step_mremap(struct target *t, unsigned int n)
{
	size_t len = states_len();
	char *at = mmap(NULL, len, RW, ANON, -1, 0), *to = (char *)t->ctl->lo;

	must(t, at != MAP_FAILED, "mmap");
	set_pages(at, states[n % 2]);
	must(t, mremap(at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to, "mremap");
}

/* The new mapping is of a file, and has no pages at first. */
static void step_mmap(struct target *t, unsigned int n)
{
	static int fd[2];
	size_t len = states_len();
	char text[WINDOW], *to = (char *)t->ctl->lo;

	if (!fd[n % 2]) {
		fd[n % 2] = memfd_create("state", MFD_CLOEXEC);
		set_pages(text, states[n % 2]);
		must(t, write(fd[n % 2], text, len) == (ssize_t)len, "write");
	}
	must(t, mmap(to, len, PROT_READ, MAP_SHARED | MAP_FIXED | (n / 2 ? MAP_POPULATE : 0),
		     fd[n % 2], 0) == to, "mmap");
}

/* The same, but soon of two VMAs. */
static void step_mmap_two(struct target *t, unsigned int n)
{
	step_mmap(t, n);
	must(t, !mprotect((char *)t->ctl->lo + PAGE, PAGE, RW), "mprotect");
}

static void map_states(struct target *t)
{
	map_at(t, place(t, states_len(), PAGE), states_len(), RW, ANON, -1);
	set_pages((char *)t->ctl->lo, states[0]);
}

/* Arguments and environment are a page in the middle of two. */
static void map_states_shown(struct target *t)
{
	map_states(t);
	shared->arg[0] = t->ctl->lo + PAGE / 2;
	shared->arg[1] = shared->arg[0] + 50;
	shared->env[0] = shared->arg[1];
	shared->env[1] = shared->arg[0] + PAGE;
	step_ranges(t, 0);
}

static void step_protect(struct target *t, unsigned int n)
{
	protect(t, WINDOW / 2, n % 2 ? RW : PROT_NONE);
}

static void step_pageout(struct target *t, unsigned int n)
{
	char *at = (char *)t->ctl->lo;

	if (n % 2)
		read_pages(at, WINDOW);
	else
		must(t, !madvise(at, WINDOW, MADV_PAGEOUT), "MADV_PAGEOUT");
}

/* Split the huge page, and make it anew. */
static void step_collapse(struct target *t, unsigned int n)
{
	char *at = (char *)t->ctl->hi - WINDOW / 2 - huge;

	must(t, !mprotect((char *)t->ctl->lo, PAGE, PROT_READ), "mprotect");
	must(t, !mprotect((char *)t->ctl->lo, PAGE, RW), "mprotect");
	/* Takes long, and may fail now and then */
	if (!n)
		madvise(at, huge, MADV_COLLAPSE);
}

/* All pages are the same. One scan may have begun; one sees them, one merges. */
static void map_mergeable(struct target *t)
{
	long scans = number(KSM "full_scans");
	size_t i;

	map_anon(t);
	for (i = PAGE; i < WINDOW; i++)
		shared->want[i] = pattern(i % PAGE);
	memcpy((char *)t->ctl->lo, shared->want, WINDOW);
	can(t, !madvise((char *)t->ctl->lo, WINDOW, MADV_MERGEABLE), "no KSM");
	while (number(KSM "full_scans") < scans + 3)
		sched_yield();
}

/* Get copies of pages that others have, too. */
static void rewrite(struct target *t)
{
	char *at;

	for (at = (char *)t->ctl->lo; at < (char *)t->ctl->hi; at += PAGE)
		__atomic_fetch_or(at, 0, __ATOMIC_RELAXED);
}

static void step_rewrite(struct target *t, unsigned int n)
{
	rewrite(t);
}

static void step_fork(struct target *t, unsigned int n)
{
	pid_t pid = fork();

	must(t, pid >= 0, "fork");
	if (!pid) {
		memset((char *)t->ctl->lo, 'X', WINDOW);
		_exit(0);
	}
	if (n % 2)
		rewrite(t);
	must(t, waitpid(pid, NULL, 0) == pid, "waitpid");
}

/* Overwrite what is shared with another process, which keeps the old pages. */
static void step_copy(struct target *t, unsigned int n)
{
	pid_t parent = getpid(), pid = fork();

	must(t, pid >= 0, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (getppid() == parent)
			pause();
		_exit(0);
	}
	set_pages((char *)t->ctl->lo, states[n % 2]);
	kill(pid, SIGKILL);
	must(t, waitpid(pid, NULL, 0) == pid, "waitpid");
}

FIXTURE_VARIANT_ADD(change, mremap) {
	.map = map_states, .step = step_mremap, .state = { "AA", "BB" },
};

FIXTURE_VARIANT_ADD(change, mremap_no_page) {
	.map = map_states, .step = step_mremap, .state = { "A.", "BB" },
};

FIXTURE_VARIANT_ADD(change, mremap_environ) {
	.map = map_states_shown, .step = step_mremap, .state = { "AA", "BB" }, .how = ENVIRON,
};

FIXTURE_VARIANT_ADD(change, mremap_title) {
	.map = map_states_shown, .step = step_mremap, .state = { "AA", "BB" }, .how = CMDLINE,
};

FIXTURE_VARIANT_ADD(change, mmap) {
	.map = map_states, .step = step_mmap, .state = { "AA", "BB" },
};

FIXTURE_VARIANT_ADD(change, mmap_two) {
	.map = map_states, .step = step_mmap_two, .state = { "AA", "BB" },
};

FIXTURE_VARIANT_ADD(change, protect) {
	.map = map_anon, .step = step_protect,
};

FIXTURE_VARIANT_ADD(change, pageout) {
	.map = map_swapped, .step = step_pageout, .needs = NEEDS_SWAP,
};

FIXTURE_VARIANT_ADD(change, shmem_pageout) {
	.map = map_shmem_swapped, .step = step_pageout, .needs = NEEDS_SWAP,
};

FIXTURE_VARIANT_ADD(change, collapse) {
	.map = map_thp, .step = step_collapse,
};

FIXTURE_VARIANT_ADD(change, merge) {
	.map = map_mergeable, .step = step_rewrite, .needs = NEEDS_KSM,
};

FIXTURE_VARIANT_ADD(change, fork) {
	.map = map_anon, .step = step_fork,
};

FIXTURE_VARIANT_ADD(change, readv_mremap) {
	.map = map_states, .step = step_mremap, .state = { "AAAA", "BBBB" }, .how = VM_READV,
};

FIXTURE_VARIANT_ADD(change, readv_mremap_no_page) {
	.map = map_states, .step = step_mremap, .state = { "A.AA", "BBBB" }, .how = VM_READV,
};

FIXTURE_VARIANT_ADD(change, readv_mmap_two) {
	.map = map_states, .step = step_mmap_two, .state = { "AA", "BB" }, .how = VM_READV,
};

FIXTURE_VARIANT_ADD(change, readv_pageout) {
	.map = map_swapped, .step = step_pageout, .needs = NEEDS_SWAP, .how = VM_READV,
};

FIXTURE_VARIANT_ADD(change, readv_collapse) {
	.map = map_thp, .step = step_collapse, .how = VM_READV,
};

FIXTURE_VARIANT_ADD(change, readv_merge) {
	.map = map_mergeable, .step = step_rewrite, .needs = NEEDS_KSM, .how = VM_READV,
};

FIXTURE_VARIANT_ADD(change, readv_fork) {
	.map = map_anon, .step = step_fork, .how = VM_READV,
};

FIXTURE_VARIANT_ADD(change, copy) {
	.map = map_states, .step = step_copy, .state = { "AAAA", "BBBB" }, .each = true,
};

FIXTURE_SETUP(change)
{
	self->kind.map = variant->map;
	self->kind.needs = variant->needs;
	states = variant->state;
	subject_start(_metadata, &self->subject, &self->kind, variant->step);
}

FIXTURE_TEARDOWN(change)
{
	subject_end(_metadata, &self->subject);
}

struct change_test {
	struct subject *subject;
	enum way how;
	bool each;
	int fd;
	size_t len;		/* of the window */
	__u32 seed;
};

/* Return the state that the bytes are of, or -1. */
static int state_of(const struct change_test *c, unsigned int nr, size_t off, size_t n)
{
	unsigned int s;
	size_t i;

	for (s = 0; s < nr; s++)
		if (!memcmp(buf, image[s] + off, n))
			return s;
	for (i = 0; c->each && i < n; i++)
		if (buf[i] != image[0][off + i] && buf[i] != image[1][off + i])
			return -1;
	return c->each ? buf[0] == image[1][off] : -1;
}

static struct piece random_piece(struct change_test *c)
{
	__u32 x = next_random(&c->seed);
	size_t off = x % c->len, most = c->len - off;

	if (c->how != VM_READV && most > PAGE)
		most = PAGE;

	if (c->how == CMDLINE)
		return (struct piece) { PAGE / 2, PAGE };
	if (c->how == ENVIRON)
		return (struct piece) { PAGE / 2 + 50, PAGE - 50 };
	return (struct piece) { off, x & 0x10000 ? most : 1 + (x >> 20) % most };
}

#define READS_PER_PASS 8

static int pass_change(struct window *w, void *arg)
{
	struct change_test *c = arg;
	struct piece p;
	ssize_t n;
	int i, s;

	for (i = 0; i < READS_PER_PASS; i++) {
		p = random_piece(c);
		n = read_as(c->subject, c->how, c->fd, &p);
		if (n != (ssize_t)p.len) {
			snprintf(w->why, sizeof(w->why), "%zu bytes at %zu: %zd", p.len,
				 p.off, n);
			return -1;
		}
		s = state_of(c, w->nr, p.off, n);
		if (s < 0) {
			snprintf(w->why, sizeof(w->why),
				 "%zu bytes at %zu: %02hhx ... %02hhx are of no state", p.len,
				 p.off, buf[0], buf[n - 1]);
			return -1;
		}
		w->seen[s]++;
	}
	return 0;
}

TEST_F_TIMEOUT(change, one_state, test_timeout())
{
	struct change_test c = {
		.subject = &self->subject, .how = variant->how, .each = variant->each, .seed = 1,
	};
	struct target *t = &self->subject.target;
	struct window *w = &self->window;
	int s;

	if (!subject_do(_metadata, &self->subject, TARGET_PREPARE))
		return;
	c.len = t->ctl->hi - t->ctl->lo;
	memcpy(image[0], shared->want, WINDOW);
	w->nr = 1;
	for (s = 0; s < 2 && states[s]; s++) {
		memset(image[s], 0, WINDOW);
		set_pages(image[s], states[s]);
		w->nr = s + 1;
	}
	c.fd = open_as(c.subject, c.how);
	race_verdict(_metadata, w, race_run(t, w, duration_ms() / 4, pass_change, &c));
	close(c.fd);
}

/*
 * A counter in a page that a fork() makes a copy of now and then, among threads that
 * map, fault and unmap: what is read is what was stored.
 */

#define COUNTER_STEP 0x0001000100010001UL
#define NR_FAULTERS 3

static void *count_on(void *arg)
{
	__u64 *counter = arg, n;

	for (n = 0;; n = (n + 1) & 0x7fff)
		__atomic_store_n(counter, n * COUNTER_STEP, __ATOMIC_RELAXED);
	return NULL;
}

static void *fault_on(void *arg)
{
	char *at;

	for (;;) {
		at = mmap(NULL, WINDOW, RW, ANON, -1, 0);
		if (at == MAP_FAILED)
			_exit(1);
		memset(at, 1, WINDOW);
		munmap(at, WINDOW);
	}
	return NULL;
}

static void *fork_on(void *arg)
{
	pid_t pid;

	for (;;) {
		pid = fork();
		if (!pid) {
			memset(arg, 'X', PAGE);
			_exit(0);
		}
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			_exit(1);
		__atomic_add_fetch(&shared->call, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void map_counter(struct target *t)
{
	pthread_t thread;
	int i;

	map_window(t, RW, ANON, -1);
	must(t, !pthread_create(&thread, NULL, count_on, (void *)t->ctl->lo) &&
	     !pthread_create(&thread, NULL, fork_on, (void *)t->ctl->lo), "pthread_create");
	for (i = 0; i < NR_FAULTERS; i++)
		must(t, !pthread_create(&thread, NULL, fault_on, NULL), "pthread_create");
}

static const struct kind kind_counter = { map_counter };

FIXTURE(counter)
{
	struct subject subject;
};

FIXTURE_VARIANT(counter)
{
	enum way how;
};

FIXTURE_VARIANT_ADD(counter, mem) {
	.how = MEM,
};

FIXTURE_VARIANT_ADD(counter, peek) {
	.how = PEEK,
};

FIXTURE_VARIANT_ADD(counter, readv) {
	.how = VM_READV,
};

FIXTURE_SETUP(counter)
{
	subject_start(_metadata, &self->subject, &kind_counter, step_ranges);
}

FIXTURE_TEARDOWN(counter)
{
	subject_end(_metadata, &self->subject);
}

TEST_F_TIMEOUT(counter, stored, test_timeout())
{
	struct piece p = { 0, sizeof(__u64) };
	struct subject *s = &self->subject;
	unsigned long reads = 0, changes = 0;
	__u64 begin, now, past = 0;

	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return;
	if (variant->how == PEEK)
		ASSERT_TRUE(seize(s->target.pid));
	begin = now_ms();
	do {
		ASSERT_EQ(p.len, read_as(s, variant->how, -1, &p));
		memcpy(&now, buf, sizeof(now));
		ASSERT_EQ((now & 0x7fff) * COUNTER_STEP, now)
			TH_LOG("%llx after %llx in read %lu", now, past, reads);
		changes += now != past;
		past = now;
		reads++;
	} while (now_ms() - begin < duration_ms() / 4);
	note("%lu reads, %lu changes, %llu forks", reads, changes, shared->call);
	EXPECT_LT(1, changes);
	EXPECT_LT(0, shared->call);
}

/*
 * Exec and exit: a program that runs itself, letter by letter from 'Z' down to 'A'.
 * Of this letter are its argument, its environment, and the page at EXEC_AT.
 */

#define EXEC_AT ((char *)0x10000000UL)
#define EXEC_BYTES 5000

static void exec_letter(char letter)
{
	char text[EXEC_BYTES + 1] = "";

	memset(text, letter, EXEC_BYTES);
	clearenv();
	setenv("E", text, 1);
	execl("/proc/self/exe", "proc-mem", EXEC_TARGET, text, NULL);
}

static int exec_main(char letter)
{
	char *at = mmap(NULL, PAGE, RW, ANON, -1, 0);

	if (at == MAP_FAILED)
		return 1;
	memset(at, letter, PAGE - 1);
	if (mremap(at, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, EXEC_AT) != EXEC_AT)
		return 1;
	if (letter > 'A')
		exec_letter(letter - 1);
	return letter != 'A';
}

/* Fork the first of them. Return when it runs. */
static pid_t start_exec(void)
{
	pid_t tester = getpid(), pid;
	int fds[2];
	char c;

	if (pipe2(fds, O_CLOEXEC))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() == tester)
			exec_letter('Z');
		_exit(1);
	}
	close(fds[1]);
	if (read(fds[0], &c, 1))
		pid = -1;
	close(fds[0]);
	return pid;
}

enum exec_file { EXEC_CMDLINE, EXEC_ENVIRON, EXEC_MEM, NR_EXEC_FILES };

/* Each is this text, then letters and a zero. */
static const struct {
	const char *name;
	const char *text;
	size_t text_len;
	size_t letters;
} exec_files[] = {
	{ "cmdline", "proc-mem\0" EXEC_TARGET, sizeof("proc-mem\0" EXEC_TARGET), EXEC_BYTES },
	{ "environ", "E=", 2, EXEC_BYTES },
	{ "mem", "", 0, PAGE - 1 },
};

/* Return the letter, 0 if there is nothing yet or no more, or -1. */
static int read_letter(enum exec_file f, int fd)
{
	size_t begin = exec_files[f].text_len, end = begin + exec_files[f].letters, i;
	ssize_t n = pread(fd, buf, WINDOW, f == EXEC_MEM ? (uintptr_t)EXEC_AT : 0);

	if (!n || (n < 0 && f == EXEC_MEM && errno == EIO))
		return 0;
	if (n != (ssize_t)end + 1 || memcmp(buf, exec_files[f].text, begin) || buf[end])
		return -1;
	for (i = begin; i < end; i++)
		if (buf[i] != buf[begin])
			return -1;
	return buf[begin] >= 'A' && buf[begin] <= 'Z' ? buf[begin] : -1;
}

static bool is_over(pid_t pid)
{
	siginfo_t info = {};

	return !waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) && info.si_pid == pid;
}

struct exec_test {
	pid_t pid;
	int first[NR_EXEC_FILES];	/* of the first program */
	int past;			/* letter; they never come back */
	unsigned long full[NR_EXEC_FILES];
	unsigned long changes;
};

/* @over: it was a zombie before. */
static void exec_pass(struct __test_metadata *_metadata, struct exec_test *e, bool over)
{
	int f, fd, letter;

	for (f = 0; f < NR_EXEC_FILES; f++) {
		fd = maps_open_file(e->pid, exec_files[f].name);
		if (fd < 0) {
			/* Without memory a process has its files owned by root */
			ASSERT_TRUE(errno == ESRCH || (errno == EACCES && geteuid()));
			continue;
		}
		letter = read_letter(f, fd);
		close(fd);
		ASSERT_TRUE(letter >= 0 && letter <= e->past && !(letter && over))
			TH_LOG("%s: %d after %d", exec_files[f].name, letter, e->past);
		if (letter) {
			e->changes += letter != e->past;
			e->past = letter;
			e->full[f]++;
		}
		/* These two are of the memory that was there when they were opened */
		letter = read_letter(f, e->first[f]);
		if (f != EXEC_CMDLINE)
			ASSERT_TRUE(!letter || letter == 'Z')
				TH_LOG("%s: %d", exec_files[f].name, letter);
	}
}

FIXTURE(exec)
{
	struct exec_test test;
};

FIXTURE_SETUP(exec)
{
}

FIXTURE_TEARDOWN(exec)
{
	pid_t pid = self->test.pid;

	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
	}
}

TEST_F_TIMEOUT(exec, letters, test_timeout())
{
	struct exec_test *e = &self->test;
	unsigned long targets = 0, passes = 0;
	__u64 begin = now_ms();
	int f, status;
	bool over;

	do {
		e->pid = start_exec();
		ASSERT_LT(0, e->pid);
		e->past = 'Z';
		for (f = 0; f < NR_EXEC_FILES; f++)
			e->first[f] = maps_open_file(e->pid, exec_files[f].name);
		do {
			over = is_over(e->pid);
			exec_pass(_metadata, e, over);
			passes++;
		} while (!over);
		ASSERT_EQ(e->pid, waitpid(e->pid, &status, 0));
		e->pid = 0;
		ASSERT_EQ(0, status);
		EXPECT_EQ(-1, pread(e->first[EXEC_CMDLINE], buf, PAGE, 0));
		EXPECT_EQ(ESRCH, errno);
		EXPECT_EQ(0, read_letter(EXEC_ENVIRON, e->first[EXEC_ENVIRON]));
		EXPECT_EQ(0, read_letter(EXEC_MEM, e->first[EXEC_MEM]));
		for (f = 0; f < NR_EXEC_FILES; f++)
			close(e->first[f]);
		targets++;
	} while (now_ms() - begin < duration_ms());
	note("%lu targets, %lu passes, %lu new letters, full: %lu %lu %lu", targets, passes,
	     e->changes, e->full[0], e->full[1], e->full[2]);
	if (!e->changes && __test_passed(_metadata))
		SKIP(return, "race not seen in %lu passes", passes);
}

/*
 * A fatal signal ends a reader.
 */

#define MANY_BYTES (128UL << 20)
#define MANY_FILE (MANY_BYTES / 128)

/* A small file again and again, with all pages. */
static void map_many(struct target *t)
{
	char *at = place(t, MANY_BYTES, PAGE), *end = at + MANY_BYTES;
	int fd = memfd_create("mem", MFD_CLOEXEC);

	must(t, !ftruncate(fd, MANY_FILE), "ftruncate");
	t->ctl->lo = (uintptr_t)at;
	t->ctl->hi = (uintptr_t)end;
	for (; at < end; at += MANY_FILE)
		must(t, mmap(at, MANY_FILE, RW, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
			     fd, 0) == at, "mmap");
	memset((char *)t->ctl->lo, 1, MANY_FILE);
}

static const struct kind kind_many = { map_many };

FIXTURE(killed)
{
	struct subject subject;
};

FIXTURE_VARIANT(killed)
{
	enum way how;
};

FIXTURE_VARIANT_ADD(killed, mem) {
	.how = MEM,
};

FIXTURE_VARIANT_ADD(killed, readv) {
	.how = VM_READV,
};

FIXTURE_SETUP(killed)
{
	subject_start(_metadata, &self->subject, &kind_many, step_ranges);
}

FIXTURE_TEARDOWN(killed)
{
	subject_end(_metadata, &self->subject);
}

TEST_F_TIMEOUT(killed, reader, test_timeout())
{
	struct subject *s = &self->subject;
	char *out = mmap(NULL, MANY_BYTES, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct iovec local = { out, MANY_BYTES }, remote[MANY_BYTES / MANY_FILE];
	unsigned int i;
	pid_t pid;
	int status;
	ssize_t n;

	ASSERT_NE(MAP_FAILED, out);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return;
	for (i = 0; i < ARRAY_SIZE(remote); i++) {
		remote[i].iov_base = (char *)s->target.ctl->lo + i * MANY_FILE;
		remote[i].iov_len = MANY_FILE;
	}
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (variant->how == MEM)
			n = pread(s->mem, out, MANY_BYTES, s->target.ctl->lo);
		else
			n = process_vm_readv(s->target.pid, &local, 1, remote,
					     ARRAY_SIZE(remote), 0);
		_exit(n != MANY_BYTES);
	}
	while (!__atomic_load_n(out, __ATOMIC_RELAXED) && !is_over(pid))
		;
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(1, out[0]);
	EXPECT_EQ(0, out[MANY_BYTES - PAGE]);
	munmap(out, MANY_BYTES);
}

/*
 * Reads of more pages than are got at once, or lie in one page table, small or huge,
 * return what is there, and leave no reference behind.
 */
static void read_many(struct __test_metadata *_metadata, size_t len, int advice)
{
	const size_t align = 2 << 20, skip = 100;
	char *all, *at, *out;
	struct iovec local, remote;
	size_t i;
	int n;

	all = mmap(NULL, len + align, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	out = mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, all);
	ASSERT_NE(MAP_FAILED, out);
	at = (char *)(((uintptr_t)all + align - 1) & -align);
	/* Without CONFIG_TRANSPARENT_HUGEPAGE all pages are small */
	if (madvise(at, len, advice))
		ASSERT_EQ(EINVAL, errno);
	for (i = 0; i < len; i += 8)
		*(__u64 *)(at + i) = i;

	for (n = 0; n < 10; n++) {
		memset(out, 0xff, len);
		local = (struct iovec) { out, len - skip };
		remote = (struct iovec) { at + skip, len - skip };
		ASSERT_EQ(len - skip,
			  process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
		ASSERT_EQ(0, memcmp(out, at + skip, len - skip));
	}
	/* A page that somebody has a reference to cannot be collapsed */
	if (!access(THP_SIZE, F_OK) && advice == MADV_NOHUGEPAGE) {
		ASSERT_EQ(0, madvise(at, len, MADV_HUGEPAGE));
		EXPECT_EQ(0, madvise(at, align, MADV_COLLAPSE));
	}
	munmap(all, len + align);
	munmap(out, len);
}

TEST(readv_many_small_pages)
{
	read_many(_metadata, 6 << 20, MADV_NOHUGEPAGE);
}

TEST(readv_many_pages_of_huge_ones)
{
	read_many(_metadata, 6 << 20, MADV_HUGEPAGE);
}

/*
 * Many readers on one descriptor, while the target maps, unmaps and protects at
 * random. The first page of each group stays, and all others are zeros.
 */

#define NR_READERS 4

struct one_reader {
	struct subject *subject;
	pthread_t thread;
	__u32 seed;
	unsigned long reads;
	unsigned long failed;	/* reads of nothing */
	char why[128];
};

static const struct kind kind_churn = { churn_prepare };

FIXTURE(one_descriptor)
{
	struct subject subject;
	struct one_reader reader[NR_READERS];
};

FIXTURE_SETUP(one_descriptor)
{
	subject_start(_metadata, &self->subject, &kind_churn, churn_step);
}

FIXTURE_TEARDOWN(one_descriptor)
{
	subject_end(_metadata, &self->subject);
}

static bool in_stable_page(size_t off)
{
	return off / PAGE % GROUP_PAGES == 0;
}

static bool read_somewhere(struct one_reader *r)
{
	__u32 x = next_random(&r->seed);
	size_t off = x % ((CHURN_PAGES - 4) * PAGE), len = 1 + (x >> 8) % (3 * PAGE);
	char text[3 * PAGE];
	ssize_t i, n, least;

	if (x >> 31)
		off -= off % (GROUP_PAGES * PAGE);
	least = in_stable_page(off) ? PAGE - off % PAGE : 0;
	if (least > (ssize_t)len)
		least = len;
	n = pread(r->subject->mem, text, len, (uintptr_t)r->subject->target.arena + off);
	if (n < least && (least || errno != EIO)) {
		snprintf(r->why, sizeof(r->why), "%zu bytes at %zx: %zd", len, off, n);
		return false;
	}
	r->failed += n < 0;
	for (i = 0; i < n; i++) {
		if (text[i] == (in_stable_page(off + i) ? pattern((off + i) % PAGE) : 0))
			continue;
		snprintf(r->why, sizeof(r->why), "%02hhx at %zx", text[i], off + i);
		return false;
	}
	return true;
}

static void *read_for_a_while(void *arg)
{
	struct one_reader *r = arg;
	__u64 end = now_ms() + duration_ms();

	while (now_ms() < end && read_somewhere(r))
		r->reads++;
	return NULL;
}

TEST_F_TIMEOUT(one_descriptor, readers, test_timeout())
{
	struct subject *s = &self->subject;
	struct one_reader *r;
	__u64 steps;

	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return;
	want_pattern();
	ASSERT_EQ(PAGE, pwrite(s->target.memfd, shared->want, PAGE, 0));
	target_do(&s->target, TARGET_RUN);
	for (r = self->reader; r < self->reader + NR_READERS; r++) {
		r->subject = s;
		r->seed = r - self->reader + 1;
		ASSERT_EQ(0, pthread_create(&r->thread, NULL, read_for_a_while, r));
	}
	for (r = self->reader; r < self->reader + NR_READERS; r++) {
		ASSERT_EQ(0, pthread_join(r->thread, NULL));
		EXPECT_STREQ("", r->why);
		note("%lu reads, %lu of nothing", r->reads, r->failed);
	}
	steps = target_steps(&s->target);
	ASSERT_TRUE(target_do(&s->target, TARGET_STOP))
		TH_LOG("%s", s->target.ctl->failed);
	if (!steps && __test_passed(_metadata))
		SKIP(return, "race not seen: the target never changed");
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], EXEC_TARGET))
		return exec_main(argv[2][0]);
	return test_harness_run(argc, argv);
}
