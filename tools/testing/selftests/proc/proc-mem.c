// SPDX-License-Identifier: GPL-2.0
/*
 * Read the memory of another process: /proc/PID/mem, cmdline and environ,
 * PTRACE_PEEKDATA, process_vm_readv() and move_pages() as a query. The bytes of each
 * kind of memory are known, and so is what cannot be read; reads need not wait for the
 * target's mmap_lock; one call for at most a page is of one state of the target; and a
 * target may end at any time.
 *
 * What is read is a window of four pages, here that of half_protected, and some pieces:
 *
 *	ctl->lo                                   ctl->hi
 *	  | wwwwwwwww | wwwwwwwww | nnnnnnnnn | nnnnnnnnn |
 *	  |-|       |-------|  |-----|             |------|
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
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

enum way { MEM, CMDLINE, ENVIRON, VM_READV, PEEK, NODES };
enum file { NO_FILE, RAMFS, RAMFS_CUT, SHMEM, SECRET };
enum need { NOTHING, SWAP, HUGETLB, KSMD };
enum change {
	BY_MREMAP, BY_MMAP, BY_MMAP_TWO, BY_OTHER, BY_PROTECT, BY_PAGEOUT, BY_COLLAPSE, BY_REWRITE,
	BY_FORK, BY_COPY,
};

/*
 * What the target maps, and how it changes that. Drawn with a letter for each page:
 *
 *	touch	w written, X written with Xs, r read, - not touched
 *	prot	w r n as in proc-maps-cases.h, o PROT_WRITE, x PROT_EXEC, . not mapped,
 *		k with a protection key that allows nothing
 *	nodes	what move_pages() says: n a node, - ENOENT, ! EFAULT
 */
struct kind {
	void (*map)(struct target *t);
	int flags;		/* of mmap() */
	enum file file;
	const char *touch;	/* or a name in maps */
	const char *prot;	/* NULL: wwww */
	unsigned int mem;	/* so many pages can be read with FOLL_FORCE, */
	unsigned int shown;	/* with FOLL_ANON, and without force, */
	unsigned int readv;	/* and with neither */
	const char *nodes;
	enum need needs;
	void (*step)(struct target *t, unsigned int n);	/* NULL: step_ranges */
	enum change change;	/* of step_change(), */
	const char *state[2];	/* to these; see set_pages() */
	const struct title *title;
};

/* A target, and how it is read. */
struct subject {
	struct target target;
	struct scenario scenario;
	int fd[ENVIRON + 1];
};

/* Memory that tester and target share. */
static struct {
	struct kind kind;		/* for TARGET_PREPARE and TARGET_STEP */
	char skip[96];			/* why the target cannot */
	unsigned long range[4];		/* for step_ranges() */
	__u64 call;			/* of hold(), from 1 */
	long data;			/* data_pages() before */
	char want[WINDOW];		/* what the window has */
} *shared;

static size_t huge, hugetlb;		/* sizes; not positive: not available */
static char buf[WINDOW + 1];

/*
 * Titles, as setproctitle() writes them: if the last byte of the arguments is not
 * zero, the text goes on in the environment, if that follows, for at most a page.
 */
struct title {
	unsigned int range[4];	/* arguments, environment: begin and end */
	unsigned int zero;	/* where the only zero is; 0: there is none */
	unsigned int want;	/* so much is shown */
	const char *touch, *prot;
};

/*
 * The target. Its functions end it when something fails.
 */

static void can(struct target *t, bool ok, const char *what)
{
	if (!ok)
		snprintf(shared->skip, sizeof(shared->skip), "%s: %s", what, strerror(errno));
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

static char *set_window(struct target *t, char *at, size_t len)
{
	t->ctl->lo = (uintptr_t)at;
	t->ctl->hi = t->ctl->lo + len;
	return at;
}

static char *map_at(struct target *t, char *at, size_t len, int flags, int fd)
{
	must(t, mmap(at, len, RW, flags | MAP_FIXED_NOREPLACE, fd, 0) == at, "mmap");
	close(fd);
	return set_window(t, at, len);
}

/* There is a zero each 251 bytes. */
static char pattern(size_t i)
{
	return i % 251;
}

static void want_pattern(void)
{
	size_t i;

	for (i = 0; i < WINDOW; i++)
		shared->want[i] = shared->kind.title ? 'a' + i % 26 : pattern(i);
	if (shared->kind.title && shared->kind.title->zero)
		shared->want[shared->kind.title->zero] = '\0';
}

static void read_pages(const char *at, size_t len)
{
	size_t i;

	for (i = 0; i < len; i += PAGE)
		__atomic_load_n(at + i, __ATOMIC_RELAXED);
}

static bool present(const char *at)
{
	return pagemap_entry(getpid(), at) & PM_PRESENT;
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

static void protect(struct target *t, char *at, size_t len, char letter)
{
	static const int prot[] = {
		['w'] = RW, ['r'] = PROT_READ, ['n'] = PROT_NONE, ['o'] = PROT_WRITE,
		['x'] = PROT_EXEC,
	};
	int key;

	if (letter == '.') {
		must(t, !munmap(at, len), "munmap");
	} else if (letter == 'k') {
		key = syscall(SYS_pkey_alloc, 0, 1 /* PKEY_DISABLE_ACCESS */);
		can(t, key >= 0, "no protection keys");
		must(t, !syscall(SYS_pkey_mprotect, at, len, RW, key), "pkey_mprotect");
		syscall(SYS_pkey_free, key);
	} else {
		must(t, !mprotect(at, len, prot[(int)letter]), "mprotect");
	}
}

/* A file that has the pattern; in the page cache, but for SECRET. */
static int new_file(struct target *t, enum file file)
{
	int fs, mnt, fd = -1;

	switch (file) {
	case NO_FILE:
		return fd;
	case SECRET:
		fd = syscall(SYS_memfd_secret, O_CLOEXEC);
		can(t, fd >= 0 && !ftruncate(fd, WINDOW), "no memfd_secret");
		return fd;
	case SHMEM:
		fd = memfd_create("mem", MFD_CLOEXEC);
		break;
	case RAMFS:
	case RAMFS_CUT:
		fs = syscall(SYS_fsopen, "ramfs", 0);
		can(t, fs >= 0 && !syscall(SYS_fsconfig, fs, 6 /* create */, NULL, NULL, 0),
		    "cannot mount a filesystem");
		mnt = syscall(SYS_fsmount, fs, 0, 0);
		fd = openat(mnt, "file", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		close(mnt);
		close(fs);
	}
	must(t, write(fd, shared->want, WINDOW) == WINDOW, "new file");
	must(t, file != RAMFS_CUT || !ftruncate(fd, WINDOW / 2), "ftruncate");
	return fd;
}

#define GAP (2UL << 20)		/* more than what a stack keeps free below it */

/* The window is as it is drawn. */
static void map_drawn(struct target *t)
{
	const struct kind *k = &shared->kind;
	int fd = new_file(t, k->file), i;
	char *at, *want;

	at = place(t, WINDOW, k->flags & MAP_GROWSDOWN ? GAP : PAGE);
	map_at(t, at, WINDOW, k->flags, fd);
	for (i = 0; i < 4; i++) {
		want = shared->want + i * PAGE;
		if (k->touch[i] == 'X')
			memset(want, 'X', PAGE);
		else if (k->touch[i] != 'w' && !k->file)
			memset(want, 0, PAGE);
		if (k->touch[i] == 'r')
			read_pages(at + i * PAGE, PAGE);
		else if (k->touch[i] != '-')
			memcpy(at + i * PAGE, want, PAGE);
	}
	for (i = 0; k->prot && i < 4; i++)
		protect(t, at + i * PAGE, PAGE, k->prot[i]);
	if (k->needs == SWAP)
		page_out(t, at, WINDOW);
}

/*
 * The window is around the end of a huge page. Behind it is another, or are small ones:
 *
 *	read or shmem	| huge            lo..|..hi            huge |
 *	written		| huge            lo..|..hi
 */
static void map_huge(struct target *t)
{
	const struct kind *k = &shared->kind;
	size_t size = k->needs == HUGETLB ? hugetlb : huge;
	bool zero = *k->touch == 'r';
	size_t len = k->flags == ANON && !zero ? size + WINDOW : 2 * size;
	int fd = new_file(t, k->file);
	char *at;

	errno = 0;
	can(t, size, "no huge pages");
	must(t, fd < 0 || !ftruncate(fd, len), "ftruncate");
	at = map_at(t, place(t, len, size), len, k->flags, fd);
	set_window(t, at + size - WINDOW / 2, WINDOW);
	if (k->flags == ANON)
		can(t, !madvise(at, len, MADV_HUGEPAGE), "no MADV_HUGEPAGE");
	if (zero) {
		read_pages(at, PAGE);
		read_pages(at + size, PAGE);
		memset(shared->want, 0, WINDOW);
	} else {
		*at = 1;
	}
	can(t, k->flags != ANON ||
	    (present(at + size - PAGE) && (!zero || present(at + len - PAGE))),
	    "no huge page came");
	if (!zero)
		memcpy((char *)t->ctl->lo, shared->want, WINDOW);
	if (k->file) {
		can(t, !madvise(at, len, MADV_COLLAPSE), "no MADV_COLLAPSE of shmem");
		read_pages(at, len);
	}
}

/* What the BIOS left below 1 MiB. */
static void map_device(struct target *t)
{
	char *at = set_window(t, place(t, WINDOW, PAGE), WINDOW);
	int fd = open("/dev/mem", O_RDONLY | O_CLOEXEC);

	can(t, fd >= 0, "no /dev/mem");
	can(t, mmap(at, WINDOW, PROT_READ, MAP_SHARED | MAP_FIXED_NOREPLACE, fd,
		    0xf0000) == at, "cannot map /dev/mem");
	close(fd);
	memcpy(shared->want, at, WINDOW);
}

/* What the kernel has mapped under that name. */
static void map_named(struct target *t)
{
	FILE *f = fopen("/proc/self/maps", "r");
	unsigned long at = 0;
	char line[256];

	while (f && !at && fgets(line, sizeof(line), f))
		if (strstr(line, shared->kind.touch))
			sscanf(line, "%lx-", &at);
	fclose(f);
	errno = 0;
	can(t, at, shared->kind.touch);
	memcpy(shared->want, set_window(t, (char *)at, PAGE), PAGE);
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
	FIXTURE_VARIANT_ADD(kind, name) { &kind_##name }

/* Anonymous memory can be read by all, if it is there or not, */
KIND(anon, map_drawn, ANON, NO_FILE, "wwww", NULL, 4, 4, 4, "nnnn");
KIND(untouched, map_drawn, ANON, NO_FILE, "----", NULL, 4, 4, 4, "----");
KIND(zero_page, map_drawn, ANON, NO_FILE, "rrrr", NULL, 4, 4, 4, "!!!!");
KIND(swapped, map_drawn, ANON, NO_FILE, "wwww", NULL, 4, 4, 4, "----", SWAP);
/* but what the target itself could not read only with force, */
KIND(protected, map_drawn, ANON, NO_FILE, "wwww", "nnnn", 4, 0, 0, "nnnn");
KIND(writeonly, map_drawn, ANON, NO_FILE, "wwww", "oooo", 4, 0, 0, "nnnn");
KIND(execonly, map_drawn, ANON, NO_FILE, "wwww", "xxxx", 4, 0, 0, "nnnn");
/* where the target's own protection keys do not count. */
KIND(pkey, map_drawn, ANON, NO_FILE, "wwww", "kkkk", 4, 4, 4, "nnnn");
/* A read goes on in the next VMA, and ends where the first page cannot be read. */
KIND(two_vmas, map_drawn, ANON, NO_FILE, "wwww", "wwrr", 4, 4, 4, "nnnn");
KIND(half_protected, map_drawn, ANON, NO_FILE, "wwww", "wwnn", 4, 2, 2, "nnnn");
KIND(half, map_drawn, ANON, NO_FILE, "wwww", "ww..", 2, 2, 2, "nn!!");
KIND(nothing, map_drawn, ANON, NO_FILE, "----", "....", 0, 0, 0, "!!!!");
/* From a huge page into small ones, and from one into the next. */
KIND(thp, map_huge, ANON, NO_FILE, "w", NULL, 4, 4, 4, "nnnn");
KIND(huge_zero, map_huge, ANON, NO_FILE, "r", NULL, 4, 4, 4, "!!!!");
KIND(hugetlb, map_huge, ANON | MAP_HUGETLB, NO_FILE, "w", NULL, 4, 0, 4, "nnnn", HUGETLB);
/* What has a file, if copied or not, cannot be in cmdline and environ, */
KIND(private, map_drawn, MAP_PRIVATE, RAMFS, "rrXX", NULL, 4, 0, 4, "nnnn");
KIND(shared, map_drawn, MAP_SHARED, RAMFS, "rrrr", NULL, 4, 0, 4, "nnnn");
KIND(shared_untouched, map_drawn, MAP_SHARED, RAMFS, "----", NULL, 4, 0, 4, "----");
/* and ends with the file: here in the middle. */
KIND(beyond, map_drawn, MAP_SHARED, RAMFS_CUT, "----", NULL, 2, 0, 2, "----");
KIND(shmem, map_drawn, MAP_SHARED, SHMEM, "rrrr", NULL, 4, 0, 4, "nnnn");
KIND(shmem_swapped, map_drawn, MAP_SHARED, SHMEM, "rrrr", NULL, 4, 0, 4, "----", SWAP);
KIND(shmem_thp, map_huge, MAP_SHARED, SHMEM, "w", NULL, 4, 0, 4, "nnnn");
/* Nobody can read what is secret. */
KIND(secret, map_drawn, MAP_SHARED, SECRET, "wwww", NULL, 0, 0, 0, "nnnn");
/* A device has a function for such reads, which does not ask for FOLL_ANON. */
KIND(device, map_device, 0, NO_FILE, NULL, NULL, 4, 4, 0, "----");
/* Of what the kernel maps, code can be read and its data cannot. */
KIND(vdso, map_named, 0, NO_FILE, "[vdso]", NULL, 1, 0, 1, "n");
KIND(vvar, map_named, 0, NO_FILE, "[vvar]", NULL, 0, 0, 0, "-");

/*
 * Starting and stopping the target.
 */

/* Let cmdline and environ show these. The second time each begin is below its end. */
static void step_ranges(struct target *t, unsigned int n)
{
	int i, set = 0;

	for (i = 0; i < 8; i++) {
		if (!prctl(PR_SET_MM, PR_SET_MM_ARG_START + i % 4, shared->range[i % 4], 0, 0))
			set |= 1 << i;
	}
	can(t, set >> 4 == 0xf, "cannot move arguments and environment");
}

/* Offsets in the window. */
static void set_ranges(struct target *t, const unsigned int *off)
{
	int i;

	for (i = 0; i < 4; i++)
		shared->range[i] = t->ctl->lo + off[i];
}

static void kind_prepare(struct target *t)
{
	want_pattern();
	shared->kind.map(t);
	if (shared->kind.title) {
		set_ranges(t, shared->kind.title->range);
		step_ranges(t, 0);
	}
}

static void kind_step(struct target *t, unsigned int n)
{
	(shared->kind.step ?: step_ranges)(t, n);
}

static void subject_end(struct __test_metadata *_metadata, struct subject *s)
{
	if (s->target.ctl)
		target_end(&s->target);
	EXPECT_TRUE(setting_restore());
}

/* Return false after a SKIP. FIXTURE_TEARDOWN may not run then. */
static bool subject_start(struct __test_metadata *_metadata, struct subject *s,
			  const struct kind *k)
{
	static const char * const name[] = { "mem", "cmdline", "environ" };
	const char *why = NULL;
	int i;

	huge = number(THP_SIZE) > 0 ? number(THP_SIZE) : 0;
	hugetlb = meminfo_kb("Hugepagesize:") << 10;
	if (sysconf(_SC_PAGESIZE) != PAGE)
		why = "made for pages of 4 KiB";
	else if (k->needs == SWAP)
		why = provide_swap(false);
	else if (k->needs == HUGETLB && !setting_put(NR_HUGEPAGES, number(NR_HUGEPAGES) + 2))
		why = "cannot reserve huge pages";
	else if (k->needs == KSMD && !setting_put(KSM "run", 1))
		why = "cannot start KSM";
	if (why) {
		setting_restore();
		SKIP(return false, "%s", why);
	}
	shared = mmap(NULL, sizeof(*shared), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	shared->kind = *k;
	s->scenario = (struct scenario) { kind_prepare, kind_step, .nr_states = 4 };
	ASSERT_EQ(0, target_start(&s->target, &s->scenario));
	for (i = MEM; i <= ENVIRON; i++) {
		s->fd[i] = maps_open_file(s->target.pid, name[i]);
		ASSERT_LE(0, s->fd[i]);
	}
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
 * Reading, and what is to be read.
 */

struct piece {
	size_t off;
	size_t len;
};

static bool seize(pid_t pid)
{
	int status;

	return !ptrace(PTRACE_SEIZE, pid, 0, 0) && !ptrace(PTRACE_INTERRUPT, pid, 0, 0) &&
	       waitpid(pid, &status, __WALL) == pid && WIFSTOPPED(status);
}

/* Put into buf for each page a letter, as struct kind has them, or '?'. */
static ssize_t query_nodes(pid_t pid, unsigned long at, size_t nr)
{
	int status[WINDOW / PAGE];
	void *pages[WINDOW / PAGE];
	size_t i;

	for (i = 0; i < nr; i++)
		pages[i] = (char *)at + i * PAGE;
	if (syscall(SYS_move_pages, pid, nr, pages, NULL, status, 0))
		return -1;
	for (i = 0; i < nr; i++)
		buf[i] = status[i] >= 0 ? 'n' : status[i] == -ENOENT ? '-' :
			 status[i] == -EFAULT ? '!' : '?';
	buf[nr] = '\0';
	return nr;
}

/*
 * Read into buf, from @off of the window, @len bytes or nodes; or all of cmdline or
 * environ, that much at once. Return how much it was, or -errno.
 */
static ssize_t get(struct subject *s, enum way how, size_t off, size_t len)
{
	unsigned long at = s->target.ctl->lo + off;
	struct iovec local = { buf, len }, remote = { (void *)at, len };
	ssize_t n = 0, all = 0;
	long word;

	memset(buf, '#', len + 1);
	errno = 0;
	switch (how) {
	case MEM:
		/* pread() takes no offsets as large as that */
		lseek(s->fd[MEM], at, SEEK_SET);
		n = read(s->fd[MEM], buf, len);
		break;
	case CMDLINE:
	case ENVIRON:
		do {
			n = pread(s->fd[how], buf + all, len < WINDOW - all ? len : WINDOW - all,
				  all);
			all += n > 0 ? n : 0;
		} while (n > 0 && all < WINDOW);
		n = n < 0 ? n : all;
		break;
	case PEEK:
		word = ptrace(PTRACE_PEEKDATA, s->target.pid, at, 0);
		n = errno ? -1 : sizeof(word);
		if (n > 0)
			memcpy(buf, &word, n);
		break;
	case VM_READV:
		n = process_vm_readv(s->target.pid, &local, 1, &remote, 1, 0);
		break;
	case NODES:
		n = query_nodes(s->target.pid, at, len);
	}
	return n < 0 ? -errno : n;
}

static bool in_text(enum way how)
{
	return how == CMDLINE || how == ENVIRON;
}

/* What is read is @want bytes of @p, or -errno, and nothing else was written. */
static void expect_bytes(struct __test_metadata *_metadata, struct subject *s, enum way how,
			 const struct piece *p, size_t size, ssize_t want)
{
	ssize_t n;

	memset(buf, '#', sizeof(buf));
	n = get(s, how, p->off, size);
	EXPECT_EQ(want, n)
		TH_LOG("%d: %zu bytes at %zu", how, p->len, p->off);
	if (n < 0)
		n = 0;
	EXPECT_EQ(0, memcmp(buf, shared->want + p->off, n))
		TH_LOG("%d: %zu bytes at %zu", how, p->len, p->off);
	/* environ copies until it knows that it cannot have all */
	if (how != ENVIRON || want)
		EXPECT_EQ('#', buf[n]);
}

/* Return how much of it can be read that way, or -errno. */
static ssize_t readable(const struct kind *k, enum way how, const struct piece *p)
{
	size_t end = PAGE * (in_text(how) ? k->shown : how == VM_READV ? k->readv : k->mem);
	size_t len = p->off >= end ? 0 : p->off + p->len <= end ? p->len : end - p->off, text;
	const char *start = shared->want + p->off;

	if (how == MEM || how == VM_READV)
		return len ?: how == MEM ? -EIO : -EFAULT;
	if (how == PEEK)
		return len == p->len ? len : -EIO;
	if (how == ENVIRON)
		return len == p->len ? len : 0;	/* all, or nothing */
	if (len < p->len || !start[len - 1])
		return len;
	/* These arguments have been overwritten: see struct title */
	text = strnlen(start, PAGE) + 1;
	return text < len ? text : len < PAGE ? len : PAGE;
}

FIXTURE_SETUP(kind)
{
	subject_start(_metadata, &self->subject, variant->kind);
}

FIXTURE_TEARDOWN(kind)
{
	subject_end(_metadata, &self->subject);
}

static const struct piece pieces[] = {
	{ 0, 1 }, { PAGE - 1, 1 }, { 0, PAGE }, { 100, PAGE }, { PAGE + PAGE / 2, PAGE },
	{ 2 * PAGE - 7, 14 }, { 3 * PAGE + 5, PAGE - 5 }, { 0, WINDOW }, { 1, WINDOW - 1 },
	{ 0, 251 * 40 + 1 },	/* its last byte is zero */
}, words[] = {
	{ 0, 8 }, { PAGE - 3, 8 }, { PAGE - 8, 8 }, { 2 * PAGE - 3, 8 }, { 2 * PAGE, 8 },
	{ WINDOW - 8, 8 },
};

/* Prepare anew for each, as a read may change what is there. Return false after a SKIP. */
static bool read_piece(struct __test_metadata *_metadata, struct subject *s, enum way how,
		       const struct piece *p)
{
	const unsigned int range[] = { p->off, p->off + p->len, p->off, p->off + p->len };

	if (how != PEEK && !subject_do(_metadata, s, TARGET_PREPARE))
		return false;
	if (p->off + p->len > s->target.ctl->hi - s->target.ctl->lo)
		return true;
	set_ranges(&s->target, range);
	if (in_text(how) && !subject_do(_metadata, s, TARGET_STEP))
		return false;
	expect_bytes(_metadata, s, how, p, in_text(how) ? WINDOW : p->len,
		     readable(&shared->kind, how, p));
	return true;
}

TEST_F_TIMEOUT(kind, bytes, test_timeout())
{
	struct subject *s = &self->subject;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pieces); i++)
		if (!read_piece(_metadata, s, MEM, pieces + i) ||
		    !read_piece(_metadata, s, VM_READV, pieces + i))
			return;
	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return;
	ASSERT_TRUE(seize(s->target.pid));
	for (i = 0; i < ARRAY_SIZE(words); i++)
		read_piece(_metadata, s, PEEK, words + i);
}

TEST_F_TIMEOUT(kind, texts, test_timeout())
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pieces); i++)
		if (!read_piece(_metadata, &self->subject, CMDLINE, pieces + i) ||
		    !read_piece(_metadata, &self->subject, ENVIRON, pieces + i))
			return;
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
	EXPECT_EQ(nr, get(s, NODES, 0, nr));
	EXPECT_STREQ(variant->kind->nodes, buf);
}

/*
 * Readers and targets of which there is one each.
 */

FIXTURE(reader)
{
	struct subject subject;
};

FIXTURE_SETUP(reader)
{
}

FIXTURE_TEARDOWN(reader)
{
	subject_end(_metadata, &self->subject);
}

static bool begin(struct __test_metadata *_metadata, struct subject *s, const struct kind *k)
{
	return subject_start(_metadata, s, k) && subject_do(_metadata, s, TARGET_PREPARE);
}

/* More than one range, of memory whose second half is missing; local[] has an end, too. */
TEST_F(reader, ranges)
{
	static const struct {
		struct piece remote[3], local[3];
		ssize_t want;
		int err;
	} calls[] = {
		/* Ranges need not be the same on both sides. */
		{ { { 1, 10 }, { PAGE - 5, 10 }, { 7, PAGE } }, { { 0, WINDOW } }, 20 + PAGE },
		{ { { 1, 10 }, { PAGE - 5, 10 } }, { { 0, 3 }, { 100, 17 } }, 20 },
		/* It ends before what cannot be read, or in it with the page before; */
		{ { { 1, 10 }, { 2 * PAGE, 10 }, { 7, 10 } }, { { 0, WINDOW } }, 10 },
		{ { { 1, 10 }, { 2 * PAGE - 5, 10 }, { 7, 10 } }, { { 0, WINDOW } }, 15 },
		{ { { 2 * PAGE, 10 }, { 1, 10 } }, { { 0, WINDOW } }, -1, EFAULT },
		/* but what has no room is not read, */
		{ { { 1, 10 }, { 2 * PAGE, 10 } }, { { 0, 10 } }, 10 },
		{ { { 1, 10 }, { 2 * PAGE, 10 } }, { { 0, 9 } }, 9 },
		{ { { 1, 0 }, { 2 * PAGE, 0 } }, { { 0, 9 } }, 0 },
		{ { { 2 * PAGE, 10 } }, { { 0, 0 } }, 0 },
		/* nor what cannot be written. */
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
	if (!begin(_metadata, s, &kind_half))
		return;
	for (i = 0; i < ARRAY_SIZE(calls); i++) {
		for (n = 0, j = 0; j < 3; j++) {
			const struct piece *p = &calls[i].remote[j], *to = &calls[i].local[j];

			remote[j] = (struct iovec) { (char *)s->target.ctl->lo + p->off, p->len };
			local[j] = (struct iovec) { at + to->off, to->len };
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
		for (j = 0, off = 0; j < 3 && calls[i].want > (ssize_t)off; j++, off += n) {
			n = calls[i].want - off;
			n = n < local[j].iov_len ? n : local[j].iov_len;
			EXPECT_EQ(0, memcmp(local[j].iov_base, want + off, n))
				TH_LOG("call %zu", i);
		}
	}
}

/* From the tester to itself, within a page; and from and to the page of the ranges. */
TEST_F(reader, own_memory)
{
	char *at = mmap(NULL, WINDOW, RW, ANON, -1, 0);
	struct iovec remote = { at, 100 }, local = { at + 200, 100 };
	char want[100];

	ASSERT_NE(MAP_FAILED, at);
	memset(want, 'w', sizeof(want));
	memcpy(at, want, 100);
	EXPECT_EQ(100, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(0, memcmp(at + 200, want, 100));
	local = (struct iovec) { at + 2 * PAGE, WINDOW - 2 * PAGE };
	remote = (struct iovec) { at + 100, WINDOW - 2 * PAGE };
	EXPECT_EQ(WINDOW - 2 * PAGE, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
	EXPECT_EQ(0, memcmp(at + 2 * PAGE + 100, want, 100));
	EXPECT_EQ(0, memcmp(at, want, 100));
}

/* Addresses that no mapping can have. The page at -10 MiB is vsyscall. */
TEST_F(reader, odd_addresses)
{
	static const struct {
		enum way how;
		ssize_t want;
	} ways[] = { { MEM, -EIO }, { VM_READV, -EFAULT }, { NODES, 1 }, { PEEK, -EIO } };
	struct subject *s = &self->subject;
	unsigned long lo, addr[10] = {
		0, 1UL << 47, (1UL << 47) - 2, 1UL << 62, 1UL << 63, -10UL << 20, -2 * PAGE,
	};
	unsigned int w, i;

	if (!begin(_metadata, s, &kind_anon))
		return;
	lo = s->target.ctl->lo;
#ifdef __x86_64__	/* elsewhere there are tags that everybody has */
	addr[7] = lo | 1UL << 62;
	addr[8] = lo | 1UL << 63;
	addr[9] = lo | 1UL << 57;
#endif
	EXPECT_EQ(-EOVERFLOW, get(s, MEM, -PAGE - lo, PAGE));
	EXPECT_EQ(-EFAULT, get(s, VM_READV, -PAGE - lo, 2 * PAGE));
	for (w = 0; w < ARRAY_SIZE(ways); w++) {
		if (ways[w].how == PEEK)
			ASSERT_TRUE(seize(s->target.pid));
		for (i = 0; i < ARRAY_SIZE(addr); i++) {
			EXPECT_EQ(ways[w].want, get(s, ways[w].how, addr[i] - lo,
						    ways[w].how == NODES ? 1 : 2))
				TH_LOG("%lx", addr[i]);
			EXPECT_EQ(ways[w].how == NODES ? '!' : '#', buf[0])
				TH_LOG("%lx", addr[i]);
		}
	}
}

/* Whoever reads below a stack makes it grow, but for process_vm_readv(). */
TEST_F(reader, below_stack)
{
	static const struct kind kind = { map_drawn, ANON | MAP_GROWSDOWN, NO_FILE, "wwww" };
	struct subject *s = &self->subject;
	struct maps_line line;

	if (!begin(_metadata, s, &kind))
		return;
	EXPECT_EQ(-EFAULT, get(s, VM_READV, -100, 50));
	EXPECT_EQ(500, get(s, MEM, -100, 500));
	EXPECT_EQ(0, memcmp(buf + 100, shared->want, 400));
	EXPECT_EQ(PAGE, get(s, MEM, -4 * PAGE, PAGE));
	EXPECT_EQ(1, maps_query(s->target.fd, 0, s->target.ctl->lo, &line));
	EXPECT_EQ(s->target.ctl->lo - 4 * PAGE, line.start);
	EXPECT_EQ(s->target.ctl->hi, line.end);
}

TEST_F_TIMEOUT(reader, titles, test_timeout())
{
	static const struct title titles[] = {
		/* No title, but arguments: short ones, a page, one that is not aligned, pages. */
		{ { 100, 150, 150, 400 }, 149, 50 },
		{ { 0, PAGE, PAGE, WINDOW }, PAGE - 1, PAGE },
		{ { 100, PAGE + 100, PAGE + 100, WINDOW }, PAGE + 99, PAGE },
		{ { 100, 3 * PAGE, 3 * PAGE, WINDOW }, 3 * PAGE - 1, 3 * PAGE - 100 },
		/* A title goes on in the environment, up to its zero or the end, */
		{ { 100, 150, 150, 400 }, 299, 200 },
		{ { 100, 150, 150, 400 }, 600, 300 },
		/* if that follows and is not empty; or its zero is in the arguments. */
		{ { 100, 150, 200, 400 }, 299, 50 },
		{ { 100, 150, 150, 150 }, 299, 50 },
		{ { 100, 150, 150, 400 }, 120, 21 },
		/* It is not longer than a page, */
		{ { 100, 150, 150, WINDOW }, 0, PAGE },
		{ { PAGE, PAGE + 50, PAGE + 50, WINDOW }, 0, PAGE },
		/* nor leaves the last one. */
		{ { 3 * PAGE + 100, 3 * PAGE + 150, 3 * PAGE + 150, WINDOW }, 3 * PAGE + 300, 201 },
		{ { 3 * PAGE + 100, 3 * PAGE + 150, 3 * PAGE + 150, WINDOW }, 0, PAGE - 100 },
		/* The zero is at the end of a page, behind it, and further on. */
		{ { PAGE + 100, PAGE + 150, PAGE + 150, WINDOW }, 2 * PAGE - 1, PAGE - 100 },
		{ { PAGE + 100, PAGE + 150, PAGE + 150, WINDOW }, 2 * PAGE, PAGE - 99 },
		{ { PAGE + 100, PAGE + 150, PAGE + 150, WINDOW }, 2 * PAGE + 49, PAGE - 50 },
		/* Behind the page is another VMA, no page, one that is hidden, or nothing. */
		{ { PAGE + 100, PAGE + 150, PAGE + 150, WINDOW }, 0, PAGE, "wwww", "wwrr" },
		{ { PAGE + 100, PAGE + 150, PAGE + 150, WINDOW }, 0, PAGE - 99, "ww--" },
		{ { PAGE + 100, PAGE + 150, PAGE + 150, WINDOW }, 0, PAGE - 100, "wwww", "wwnn" },
		{ { PAGE + 100, PAGE + 150, PAGE + 150, WINDOW }, 0, PAGE - 100, "wwww", "ww.." },
		/* Of what is hidden itself nothing is shown. */
		{ { 100, PAGE + 50, PAGE + 50, WINDOW }, 0, 0, "wwww", "nwww" },
	};
	static const size_t size[] = { WINDOW, 100, PAGE - 1 };
	struct subject *s = &self->subject;
	const struct title *title;
	unsigned int i;

	if (!begin(_metadata, s, &kind_anon))
		return;
	for (title = titles; title < titles + ARRAY_SIZE(titles); title++) {
		struct piece p = { *title->range, title->want };

		shared->kind.title = title;
		shared->kind.touch = title->touch ?: "wwww";
		shared->kind.prot = title->prot;
		for (i = 0; i < ARRAY_SIZE(size); i++) {
			if (!subject_do(_metadata, s, TARGET_PREPARE))
				return;
			expect_bytes(_metadata, s, CMDLINE, &p, size[i], p.len);
		}
	}
}

/*
 * A read is an access, and smaps shows it. Not so of a huge page on x86, which
 * sets the accessed bit of its entry only together with the dirty bit.
 */
static long referenced_kb(const struct target *t)
{
	char line[512];
	long kb;

	if (smaps_line(t->pid, (char *)t->ctl->lo, "Referenced:", line) &&
	    sscanf(line, "Referenced: %ld", &kb) == 1)
		return kb;
	return -1;
}

TEST_F(reader, accesses)
{
	struct subject *s = &self->subject;
	char path[64];

	if (!begin(_metadata, s, &kind_anon))
		return;
	snprintf(path, sizeof(path), "/proc/%d/clear_refs", s->target.pid);
	if (!put(path, "1"))
		SKIP(return, "no clear_refs in this kernel");
	EXPECT_EQ(0, referenced_kb(&s->target));
	EXPECT_EQ(1, get(s, MEM, PAGE, 1));
	EXPECT_EQ(PAGE / 1024, referenced_kb(&s->target));
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
#define HOLD_BYTES ((1 + HOLD_PAGES) * PAGE)

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
		if (mprotect(hold_at, HOLD_BYTES, n % 2 ? PROT_READ : RW))
			_exit(1);
	}
	return NULL;
}

static void start_thread(struct target *t, void *(*run)(void *), void *arg)
{
	pthread_t thread;

	must(t, !pthread_create(&thread, NULL, run, arg), "pthread_create");
}

/* Small pages, all of them the zero page. */
static void step_hold(struct target *t, unsigned int n)
{
	int statm = maps_open_file(getpid(), "statm");

	hold_at = mmap(NULL, HOLD_BYTES, PROT_READ, ANON | MAP_NORESERVE, -1, 0);
	must(t, hold_at != MAP_FAILED, "mmap");
	madvise(hold_at, HOLD_BYTES, MADV_NOHUGEPAGE);
	must(t, !madvise(hold_at, PAGE, MADV_DONTDUMP), "MADV_DONTDUMP");
	can(t, !madvise(hold_at, HOLD_BYTES, MADV_POPULATE_READ), "no MADV_POPULATE_READ");
	pthread_mutex_lock(&hold_begin);
	start_thread(t, hold, NULL);
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

/* A title where its VMA ends. */
static const struct title last_title = {
	{ WINDOW - 100, WINDOW - 50, WINDOW - 50, WINDOW - 1 }, WINDOW - 11, 90
};

static const struct kind kind_title = { map_drawn, ANON, NO_FILE, "wwww", .title = &last_title };
static const struct kind kind_nodes = { map_drawn, ANON, NO_FILE, "w-rw", "wwrr", .nodes = "n-!n" };

FIXTURE(lock)
{
	struct subject subject;
};

FIXTURE_VARIANT(lock)
{
	const struct kind *kind;
	enum way how;
	struct piece piece;	/* without a length: all that there is at first */
};

/* Texts of a process: its own arguments and environment, and a title. */
FIXTURE_VARIANT_ADD(lock, cmdline) { &kind_nothing, CMDLINE };
FIXTURE_VARIANT_ADD(lock, environ) { &kind_nothing, ENVIRON };
FIXTURE_VARIANT_ADD(lock, title) { &kind_title, CMDLINE, { WINDOW - 100, 90 } };
/* Each kind of page that can be there, in one page and across two. */
FIXTURE_VARIANT_ADD(lock, peek) { &kind_anon, PEEK, { PAGE + 8, sizeof(long) } };
FIXTURE_VARIANT_ADD(lock, anon) { &kind_anon, MEM, { PAGE, PAGE } };
FIXTURE_VARIANT_ADD(lock, two_pages) { &kind_anon, MEM, { PAGE + PAGE / 2, PAGE } };
FIXTURE_VARIANT_ADD(lock, zero_page) { &kind_zero_page, MEM, { 100, PAGE } };
FIXTURE_VARIANT_ADD(lock, huge_zero) { &kind_huge_zero, MEM, { 100, PAGE } };
FIXTURE_VARIANT_ADD(lock, thp) { &kind_thp, MEM, { 100, PAGE } };
FIXTURE_VARIANT_ADD(lock, protected) { &kind_protected, MEM, { 100, PAGE } };
FIXTURE_VARIANT_ADD(lock, private) { &kind_private, MEM, { PAGE + PAGE / 2, PAGE } };
FIXTURE_VARIANT_ADD(lock, shared) { &kind_shared, MEM, { 100, PAGE } };
FIXTURE_VARIANT_ADD(lock, shmem) { &kind_shmem, MEM, { 100, PAGE } };
FIXTURE_VARIANT_ADD(lock, shmem_thp) { &kind_shmem_thp, MEM, { 100, PAGE } };
/* The same in a word, and in many pages of one VMA. */
FIXTURE_VARIANT_ADD(lock, readv) { &kind_anon, VM_READV, { PAGE + 8, sizeof(long) } };
FIXTURE_VARIANT_ADD(lock, readv_all) { &kind_anon, VM_READV, { 0, WINDOW } };
FIXTURE_VARIANT_ADD(lock, readv_zero_page) { &kind_zero_page, VM_READV, { 100, WINDOW - 100 } };
FIXTURE_VARIANT_ADD(lock, readv_thp) { &kind_thp, VM_READV, { 100, WINDOW - 100 } };
FIXTURE_VARIANT_ADD(lock, readv_huge_zero) { &kind_huge_zero, VM_READV, { 100, WINDOW - 100 } };
FIXTURE_VARIANT_ADD(lock, readv_private) { &kind_private, VM_READV, { 100, WINDOW - 100 } };
FIXTURE_VARIANT_ADD(lock, readv_shmem_thp) { &kind_shmem_thp, VM_READV, { 100, WINDOW - 100 } };
/* Two VMAs; of the pages one is, one is not, one is zeros, and one is. */
FIXTURE_VARIANT_ADD(lock, move_pages) { &kind_nodes, NODES, { 0, WINDOW / PAGE } };

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
	struct kind k = *variant->kind;

	if (!reads_lockless())
		SKIP(return, "no lock_next_vma() in /proc/kallsyms");
	k.step = step_hold;
	subject_start(_metadata, &self->subject, &k);
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

TEST_F_TIMEOUT(lock, not_needed, test_timeout())
{
	/* Not much of a race: longer than a second tells no more */
	unsigned int ms = duration_ms() < 1000 ? duration_ms() : 1000;
	bool own_args = variant->how == CMDLINE && !variant->piece.len;
	__u64 begin, at, call, past, inside = 0, want = (own_args ? 10 : 3) * 100000ULL * ms;
	const char *text = variant->kind->nodes;
	unsigned long reads = 0, answered = 0;
	struct subject *s = &self->subject;
	struct piece p = variant->piece;
	int statm;

	if (!target_apart(&s->target))
		SKIP(return, "needs two CPUs");
	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return;
	if (variant->how != NODES)
		text = shared->want + p.off;
	if (!p.len) {
		p.len = get(s, variant->how, 0, WINDOW);
		ASSERT_LT(0, (ssize_t)p.len);
		memcpy(shared->want, buf, p.len);
	}
	if (!subject_do(_metadata, s, TARGET_STEP))
		return;
	if (variant->how == PEEK)
		ASSERT_TRUE(seize(s->target.pid));
	statm = maps_open_file(s->target.pid, "statm");
	begin = now_ms();
	call = this_call(statm);
	do {
		past = call;
		at = now_ns();
		ASSERT_EQ(p.len, get(s, variant->how, p.off, p.len));
		at = now_ns() - at;
		ASSERT_EQ(0, memcmp(buf, text, p.len));
		reads++;
		call = this_call(statm);
		if (!call || call != past)
			continue;
		inside += at;
		answered++;
	} while (inside < want && now_ms() - begin < 20 * ms);
	note("%lu reads, %lu of them in %llu ms of %llu calls that held mmap_lock", reads,
	     answered, inside / 1000000, shared->call);
	EXPECT_LE(want, inside);
}

/*
 * One call for at most a page sees one state of the target, and so does one of
 * process_vm_readv() for any range here, where no page has to be waited for.
 */

FIXTURE(change)
{
	struct subject subject;
	struct window window;
};

FIXTURE_VARIANT(change)
{
	const struct kind *kind;
	enum way how;
};

/* A letter for each page, '.' is not there. */
static void set_pages(char *at, const char *letters)
{
	for (; *letters; letters++, at += PAGE)
		if (*letters != '.')
			memset(at, *letters, PAGE);
}

static void map_states(struct target *t)
{
	size_t len = strlen(shared->kind.state[0]) * PAGE;

	set_pages(map_at(t, place(t, len, PAGE), len, ANON, -1), shared->kind.state[0]);
}

/* Arguments and environment are a page in the middle of two. */
static const struct title mid_title = {
	{ PAGE / 2, PAGE / 2 + 50, PAGE / 2 + 50, PAGE + PAGE / 2 }
};

/* Get copies of pages that others have, too. */
static void rewrite(struct target *t)
{
	char *at;

	for (at = (char *)t->ctl->lo; at < (char *)t->ctl->hi; at += PAGE)
		__atomic_fetch_or(at, 0, __ATOMIC_RELAXED);
}

/* The new mapping is of a file, and has no pages at first. */
static void map_state_file(struct target *t, char *to, size_t len, unsigned int n)
{
	int flags = MAP_SHARED | MAP_FIXED | (n / 2 ? MAP_POPULATE : 0);
	char text[WINDOW];
	static int fd[2];

	if (!fd[n % 2]) {
		fd[n % 2] = memfd_create("state", MFD_CLOEXEC);
		set_pages(text, shared->kind.state[n % 2]);
		must(t, write(fd[n % 2], text, len) == (ssize_t)len, "write");
	}
	must(t, mmap(to, len, PROT_READ, flags, fd[n % 2], 0) == to, "mmap");
}

/*
 * Two files with the same bytes take turns. In the one that has just been replaced they are
 * others for a while, by way of a mapping elsewhere.
 */
static void map_other_file(struct target *t, char *to, size_t len, unsigned int n)
{
	static char *elsewhere[2];
	static int fd[2];
	int i;

	for (i = 0; i < 2 && !elsewhere[i]; i++) {
		fd[i] = memfd_create("other", MFD_CLOEXEC);
		must(t, !ftruncate(fd[i], len), "ftruncate");
		elsewhere[i] = mmap(NULL, len, RW, MAP_SHARED, fd[i], 0);
		must(t, elsewhere[i] != MAP_FAILED, "mmap");
		set_pages(elsewhere[i], shared->kind.state[0]);
	}
	must(t, mmap(to, len, PROT_READ, MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd[n % 2],
		     0) == to, "mmap");
	memset(elsewhere[(n + 1) % 2], 'X', len);
	set_pages(elsewhere[(n + 1) % 2], shared->kind.state[0]);
}

/* All pages are the same. One scan may have begun; one sees them, one merges. */
static void map_mergeable(struct target *t)
{
	long scans = number(KSM "full_scans");
	size_t i;

	for (i = PAGE; i < WINDOW; i++)
		shared->want[i] = pattern(i % PAGE);
	map_drawn(t);
	can(t, !madvise((char *)t->ctl->lo, WINDOW, MADV_MERGEABLE), "no KSM");
	while (number(KSM "full_scans") < scans + 3)
		sched_yield();
}

static void step_change(struct target *t, unsigned int n)
{
	size_t len = t->ctl->hi - t->ctl->lo;
	char *at = (char *)t->ctl->lo, *new;
	pid_t parent = getpid(), pid = 0;

	if (shared->kind.change >= BY_FORK) {
		pid = fork();
		must(t, pid >= 0, "fork");
	}
	switch (shared->kind.change) {
	case BY_MREMAP:
		new = mmap(NULL, len, RW, ANON, -1, 0);
		must(t, new != MAP_FAILED, "mmap");
		set_pages(new, shared->kind.state[n % 2]);
		must(t, mremap(new, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, at) == at, "mremap");
		break;
	case BY_MMAP:
		map_state_file(t, at, len, n);
		break;
	case BY_MMAP_TWO:
		map_state_file(t, at, len, n);
		protect(t, at + PAGE, PAGE, 'w');
		break;
	case BY_OTHER:
		map_other_file(t, at, len, n);
		break;
	case BY_PROTECT:
		protect(t, at + len / 2, len / 2, n % 2 ? 'w' : 'n');
		break;
	case BY_PAGEOUT:
		if (n % 2)
			read_pages(at, len);
		else
			must(t, !madvise(at, len, MADV_PAGEOUT), "MADV_PAGEOUT");
		break;
	case BY_COLLAPSE:
		/* Split the huge page, and make it anew, which may fail now and then */
		protect(t, at, PAGE, 'r');
		protect(t, at, PAGE, 'w');
		if (!n)		/* takes long */
			madvise(at + len / 2 - huge, huge, MADV_COLLAPSE);
		break;
	case BY_REWRITE:
		rewrite(t);
		break;
	case BY_FORK:
		/* The child overwrites its copies, the parent may get its own ones meanwhile */
		if (!pid) {
			memset(at, 'X', len);
			_exit(0);
		}
		if (n % 2)
			rewrite(t);
		break;
	case BY_COPY:
		/* Overwrite what is shared with the child, which keeps the old pages */
		if (!pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			while (getppid() == parent)
				pause();
			_exit(0);
		}
		set_pages(at, shared->kind.state[n % 2]);
		kill(pid, SIGKILL);
	}
	must(t, !pid || waitpid(pid, NULL, 0) == pid, "waitpid");
}

#define CHANGE(name, by, how, ...)						\
	static const struct kind change_##name = {				\
		__VA_ARGS__, .change = by, .step = step_change,			\
	};									\
	FIXTURE_VARIANT_ADD(change, name) { &change_##name, how }
#define STATES(...) map_states, ANON, .state = { __VA_ARGS__ }
#define WRITTEN map_drawn, ANON, NO_FILE, "wwww"

/* Another mapping, with all its pages or without one, comes in one piece. */
CHANGE(mremap, BY_MREMAP, MEM, STATES("AA", "BB"));
CHANGE(mremap_no_page, BY_MREMAP, MEM, STATES("A.", "BB"));
CHANGE(mremap_environ, BY_MREMAP, ENVIRON, STATES("AA", "BB"), .title = &mid_title);
CHANGE(mremap_title, BY_MREMAP, CMDLINE, STATES("AA", "BB"), .title = &mid_title);
CHANGE(readv_mremap, BY_MREMAP, VM_READV, STATES("AAAA", "BBBB"));
CHANGE(readv_mremap_no_page, BY_MREMAP, VM_READV, STATES("A.AA", "BBBB"));
/* So it does if it is one or two VMAs. */
CHANGE(mmap, BY_MMAP, MEM, STATES("AA", "BB"));
CHANGE(mmap_two, BY_MMAP_TWO, MEM, STATES("AA", "BB"));
CHANGE(readv_mmap_two, BY_MMAP_TWO, VM_READV, STATES("AA", "BB"));
/* What becomes of the old pages is not seen. */
CHANGE(mmap_other, BY_OTHER, MEM, STATES("AA"));
/* What changes no byte is not seen: other protection, */
CHANGE(protect, BY_PROTECT, MEM, WRITTEN);
/* swap, */
CHANGE(pageout, BY_PAGEOUT, MEM, WRITTEN, .needs = SWAP);
CHANGE(shmem_pageout, BY_PAGEOUT, MEM, map_drawn, MAP_SHARED, SHMEM, "rrrr", .needs = SWAP);
CHANGE(readv_pageout, BY_PAGEOUT, VM_READV, WRITTEN, .needs = SWAP);
/* a page that is huge at times, */
CHANGE(collapse, BY_COLLAPSE, MEM, map_huge, ANON, NO_FILE, "w");
CHANGE(readv_collapse, BY_COLLAPSE, VM_READV, map_huge, ANON, NO_FILE, "w");
/* one that is shared by KSM or a child, which changes its copy, */
CHANGE(merge, BY_REWRITE, MEM, map_mergeable, ANON, NO_FILE, "wwww", .needs = KSMD);
CHANGE(readv_merge, BY_REWRITE, VM_READV, map_mergeable, ANON, NO_FILE, "wwww", .needs = KSMD);
CHANGE(fork, BY_FORK, MEM, WRITTEN);
CHANGE(readv_fork, BY_FORK, VM_READV, WRITTEN);
/* and one that is copied while bytes of it change: no page of others is seen. */
CHANGE(copy, BY_COPY, MEM, STATES("AAAA", "BBBB"));

FIXTURE_SETUP(change)
{
	subject_start(_metadata, &self->subject, variant->kind);
}

FIXTURE_TEARDOWN(change)
{
	subject_end(_metadata, &self->subject);
}

static const struct _fixture_variant_change *change;
static char image[2][WINDOW];		/* the window in each state */

/* Return the state that the bytes are of, or -1. */
static int state_of(unsigned int nr, size_t off, size_t n)
{
	bool each = change->kind->change == BY_COPY;	/* byte is of any state */
	unsigned int s;
	size_t i;

	for (s = 0; s < nr; s++)
		if (!memcmp(buf, image[s] + off, n))
			return s;
	for (i = 0; each && i < n; i++)
		if (buf[i] != image[0][off + i] && buf[i] != image[1][off + i])
			return -1;
	return each ? buf[0] == image[1][off] : -1;
}

static struct piece random_piece(enum way how, size_t len)
{
	static __u32 seed = 1;
	__u32 x = next_random(&seed);
	size_t off = x % len, most = len - off;

	if (how != VM_READV && most > PAGE)
		most = PAGE;
	if (how == CMDLINE)
		return (struct piece) { PAGE / 2, PAGE };
	if (how == ENVIRON)
		return (struct piece) { PAGE / 2 + 50, PAGE - 50 };
	return (struct piece) { off, x & 0x10000 ? most : 1 + (x >> 20) % most };
}

static int pass_change(struct window *w, void *arg)
{
	struct subject *s = arg;
	struct piece p;
	ssize_t n;
	int i, state;

	for (i = 0; i < 8; i++) {
		p = random_piece(change->how, s->target.ctl->hi - s->target.ctl->lo);
		n = get(s, change->how, p.off, p.len);
		state = n == (ssize_t)p.len ? state_of(w->nr, p.off, n) : -1;
		if (state < 0) {
			snprintf(w->why, sizeof(w->why),
				 "%zu bytes at %zu: %zd, %02hhx ... %02hhx are of no state",
				 p.len, p.off, n, buf[0], buf[p.len - 1]);
			return -1;
		}
		w->seen[state]++;
	}
	return 0;
}

TEST_F_TIMEOUT(change, one_state, test_timeout())
{
	const char *const *state = variant->kind->state;
	struct window *w = &self->window;
	struct subject *s = &self->subject;

	if (!subject_do(_metadata, s, TARGET_PREPARE))
		return;
	change = variant;
	memcpy(image[0], shared->want, WINDOW);
	for (w->nr = 0; w->nr < 2 && state[w->nr]; w->nr++)
		set_pages(memset(image[w->nr], 0, WINDOW), state[w->nr]);
	w->nr = w->nr ?: 1;
	race_verdict(_metadata, w, race_run(&s->target, w, duration_ms() / 4, pass_change, s));
}

/*
 * A counter in a page that a fork() makes a copy of now and then, among threads that
 * map, fault and unmap: what is read is what was stored.
 */

#define COUNTER_STEP 0x0001000100010001UL

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

static void *fork_on(void *t)
{
	for (;; __atomic_add_fetch(&shared->call, 1, __ATOMIC_RELAXED))
		step_change(t, 0);
	return NULL;
}

static void map_counter(struct target *t)
{
	int i;

	map_drawn(t);
	start_thread(t, count_on, (void *)t->ctl->lo);
	start_thread(t, fork_on, t);
	for (i = 0; i < 3; i++)
		start_thread(t, fault_on, NULL);
}

TEST_F_TIMEOUT(reader, counter, test_timeout())
{
	static const struct kind kind = {
		map_counter, ANON, NO_FILE, "----", .change = BY_FORK,
	};
	__u64 end, now, past = 0, forks, more;
	struct subject *s = &self->subject;
	unsigned long reads, changes;
	enum way how;

	if (!begin(_metadata, s, &kind))
		return;
	for (how = MEM; how <= PEEK; how++) {
		if (in_text(how))
			continue;
		if (how == PEEK)
			ASSERT_TRUE(seize(s->target.pid));
		forks = __atomic_load_n(&shared->call, __ATOMIC_RELAXED);
		end = now_ms() + duration_ms() / 4;
		reads = 0;
		changes = 0;
		/* As race_run() does, longer until the race was seen */
		do {
			ASSERT_EQ(sizeof(now), get(s, how, 0, sizeof(now)));
			memcpy(&now, buf, sizeof(now));
			ASSERT_EQ((now & 0x7fff) * COUNTER_STEP, now)
				TH_LOG("%llx after %llx in read %lu", now, past, reads);
			changes += now != past;
			past = now;
			reads++;
			more = __atomic_load_n(&shared->call, __ATOMIC_RELAXED) - forks;
		} while (now_ms() < end ||
			 ((!more || changes < 2) && now_ms() < end + patience_ms()));
		note("%lu reads, %lu changes, %llu forks", reads, changes, more);
		EXPECT_LT(1, changes);
		EXPECT_LT(0, more);
	}
}

/*
 * Numbers in two pages, the first of which follows the second, so that a reader from low to
 * high addresses never gets a greater one from the first. The process always has that page
 * for itself, and gets its own copy of the second: what it writes goes to another page than
 * before.
 */

#define ORDER_AT (3 * PAGE - sizeof(__u32))

static __u32 *number_in_file;

static void *count_in_order(void *arg)
{
	struct target *t = arg;
	__u32 *follows = (__u32 *)(t->ctl->lo + ORDER_AT), n;
	pid_t pid;

	for (n = 1;; n++) {
		if (shared->kind.change == BY_FORK) {
			pid = fork();
			if (!pid)
				_exit(0);
			must(t, waitpid(pid, NULL, 0) == pid, "waitpid");
			__atomic_store_n(follows, n - 1, __ATOMIC_RELEASE);
		} else {
			__atomic_store_n(number_in_file, n - 1, __ATOMIC_RELEASE);
			must(t, !madvise(follows + 1, PAGE, MADV_DONTNEED), "madvise");
			__atomic_load_n(follows + 1, __ATOMIC_ACQUIRE);
		}
		__atomic_store_n(follows + 1, n, __ATOMIC_RELEASE);
		__atomic_store_n(follows, n, __ATOMIC_RELEASE);
	}
	return NULL;
}

static void map_ordered(struct target *t)
{
	int fd = memfd_create("ordered", MFD_CLOEXEC);
	size_t len = 4 * PAGE;
	char *at;

	must(t, !ftruncate(fd, len), "ftruncate");
	at = mmap(NULL, len, RW, MAP_SHARED, fd, 0);
	must(t, at != MAP_FAILED, "mmap");
	number_in_file = (__u32 *)(at + 3 * PAGE);
	memset(map_at(t, place(t, len, PAGE), len, MAP_PRIVATE, fd), 0, len);
	start_thread(t, count_in_order, t);
}

static void read_in_order(struct __test_metadata *_metadata, struct subject *s, enum way how,
			  size_t len)
{
	__u64 end = now_ms() + duration_ms() / 4, most = end + patience_ms();
	unsigned long reads = 0, changes = 0;
	__u32 now[2], past = 0;

	do {
		ASSERT_EQ(len, get(s, how, ORDER_AT + sizeof(now) - len, len));
		memcpy(now, buf + len - sizeof(now), sizeof(now));
		ASSERT_LE(now[0], now[1])
			TH_LOG("in read %lu", reads);
		changes += now[1] != past;
		past = now[1];
		reads++;
	} while (now_ms() < end || (changes < 2 && now_ms() < most));
	note("%lu reads, %lu changes", reads, changes);
	EXPECT_LT(1, changes);
}

TEST_F_TIMEOUT(reader, ordered_mem, test_timeout())
{
	static const struct kind kind = { map_ordered, ANON, NO_FILE, "----" };

	if (begin(_metadata, &self->subject, &kind))
		read_in_order(_metadata, &self->subject, MEM, PAGE);
}

/* Each page is pinned, which makes it the process's own. */
TEST_F_TIMEOUT(reader, ordered_readv, test_timeout())
{
	static const struct kind kind = { map_ordered, ANON, NO_FILE, "----", .change = BY_FORK };

	if (begin(_metadata, &self->subject, &kind))
		read_in_order(_metadata, &self->subject, VM_READV, ORDER_AT + 2 * sizeof(__u32));
}

/*
 * Exec and exit: a program that runs itself, letter by letter from 'Z' down to 'A'.
 * Of this letter are its argument, its environment, and the page at EXEC_AT.
 */

#define EXEC_AT ((char *)0x10000000UL)
#define EXEC_BYTES 5000

static void exec_letter(char letter)
{
	char text[EXEC_BYTES + 3] = "E=", *env[] = { text, NULL };

	memset(text + 2, letter, EXEC_BYTES);
	execle("/proc/self/exe", "proc-mem", EXEC_TARGET, text + 2, NULL, env);
	_exit(1);
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

/* Each is this text, then letters and a zero. */
static const struct {
	const char *name;
	const char *text;
	size_t text_len;
	size_t letters;
} exec_files[] = {
	{ "mem", "", 0, PAGE - 1 },
	{ "cmdline", "proc-mem\0" EXEC_TARGET, sizeof("proc-mem\0" EXEC_TARGET), EXEC_BYTES },
	{ "environ", "E=", 2, EXEC_BYTES },
};

/* Return the letter, 0 if there is nothing yet or no more, or -1. */
static int read_letter(enum way f, int fd)
{
	size_t begin = exec_files[f].text_len, end = begin + exec_files[f].letters, i;
	ssize_t n = pread(fd, buf, WINDOW, f == MEM ? (uintptr_t)EXEC_AT : 0);

	if (!n || (n < 0 && f == MEM && errno == EIO))
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

/* vfork() returns just before the child has left the memory of this process. */
static bool is_here(pid_t pid)
{
	static char own[WINDOW];
	int fd = maps_open_file(getpid(), "cmdline");
	ssize_t len = pread(fd, own, WINDOW, 0);
	bool here;

	close(fd);
	fd = maps_open_file(pid, "cmdline");
	here = pread(fd, buf, WINDOW, 0) == len && !memcmp(buf, own, len);
	close(fd);
	return here;
}

/* Letters never come back. */
TEST_F_TIMEOUT(reader, exec, test_timeout())
{
	unsigned long targets = 0, passes = 0, changes = 0;
	int f, fd, letter, past, status, first[ENVIRON + 1];
	__u64 end = now_ms() + duration_ms();
	char own[ENVIRON + 1];
	bool over = false;
	pid_t pid;

	for (; now_ms() < end; targets++) {
		/* Goes on when the first of them runs */
		pid = vfork();
		if (!pid)
			exec_letter('Z');
		ASSERT_LT(0, pid);
		while (is_here(pid))
			;
		for (f = MEM; f <= ENVIRON; f++)
			first[f] = maps_open_file(pid, exec_files[f].name);
		memset(own, 0, sizeof(own));
		for (past = 'Z', over = false; !over; passes++) {
			over = is_over(pid);
			for (f = MEM; f <= ENVIRON; f++) {
				fd = maps_open_file(pid, exec_files[f].name);
				/* Without memory a process has its files owned by root */
				ASSERT_TRUE(fd >= 0 || errno == ESRCH ||
					    (errno == EACCES && geteuid()));
				letter = fd < 0 ? 0 : read_letter(f, fd);
				close(fd);
				ASSERT_TRUE(letter >= 0 && letter <= past && !(letter && over))
					TH_LOG("%s: %d after %d", exec_files[f].name, letter, past);
				changes += letter && letter != past;
				past = letter ?: past;
				/* Only cmdline is of another program than when it was opened */
				letter = read_letter(f, first[f]);
				own[f] = own[f] ?: letter;
				ASSERT_TRUE(f == CMDLINE || !letter || letter == own[f])
					TH_LOG("%s: %d", exec_files[f].name, letter);
			}
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status);
		EXPECT_EQ(-1, pread(first[CMDLINE], buf, PAGE, 0));
		EXPECT_EQ(ESRCH, errno);
		for (f = MEM; f <= ENVIRON; f++) {
			EXPECT_TRUE(f == CMDLINE || !read_letter(f, first[f]));
			close(first[f]);
		}
	}
	note("%lu targets, %lu passes, %lu new letters", targets, passes, changes);
	if (!changes && __test_passed(_metadata))
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
	char *at = set_window(t, place(t, MANY_BYTES, PAGE), MANY_BYTES);
	int fd = memfd_create("mem", MFD_CLOEXEC);
	size_t off;

	must(t, !ftruncate(fd, MANY_FILE), "ftruncate");
	for (off = 0; off < MANY_BYTES; off += MANY_FILE)
		must(t, mmap(at + off, MANY_FILE, RW, MAP_SHARED | MAP_FIXED | MAP_POPULATE,
			     fd, 0) == at + off, "mmap");
	memset(at, 1, MANY_FILE);
}

static void kill_reader(struct __test_metadata *_metadata, struct subject *s, enum way how)
{
	char *out = mmap(NULL, MANY_BYTES, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct iovec local = { out, MANY_BYTES }, remote[MANY_BYTES / MANY_FILE];
	unsigned int i, nr = ARRAY_SIZE(remote);
	static const struct kind kind = { map_many };
	int status;
	ssize_t n;
	pid_t pid;

	ASSERT_NE(MAP_FAILED, out);
	if (sysconf(_SC_NPROCESSORS_ONLN) < 2)
		SKIP(return, "needs two CPUs");
	if (!begin(_metadata, s, &kind))
		return;
	for (i = 0; i < nr; i++)
		remote[i] = (struct iovec) { (char *)s->target.ctl->lo + i * MANY_FILE, MANY_FILE };
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		n = how == MEM ? pread(s->fd[MEM], out, MANY_BYTES, s->target.ctl->lo) :
			process_vm_readv(s->target.pid, &local, 1, remote, nr, 0);
		_exit(n != MANY_BYTES);
	}
	while (!__atomic_load_n(out, __ATOMIC_RELAXED) && !is_over(pid))
		;
	ASSERT_EQ(0, kill(pid, SIGKILL));
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	EXPECT_EQ(1, out[0]);
	EXPECT_EQ(0, out[MANY_BYTES - PAGE]);
}

TEST_F_TIMEOUT(reader, killed_mem, test_timeout())
{
	kill_reader(_metadata, &self->subject, MEM);
}

TEST_F_TIMEOUT(reader, killed_readv, test_timeout())
{
	kill_reader(_metadata, &self->subject, VM_READV);
}

/*
 * Reads of more pages than are got at once, or lie in one page table, small or huge,
 * return what is there, and leave no reference behind.
 */
TEST(readv_many)
{
	const size_t len = 6 << 20, align = 2 << 20, skip = 100;
	char *all = mmap(NULL, len + align, RW, ANON, -1, 0);
	char *at = (char *)(((uintptr_t)all + align - 1) & -align);
	char *out = mmap(NULL, len, RW, ANON, -1, 0);
	struct iovec local = { out, len - skip }, remote = { at + skip, len - skip };
	bool thp = !access(THP_SIZE, F_OK);
	size_t i;
	int n;

	ASSERT_NE(MAP_FAILED, all);
	ASSERT_NE(MAP_FAILED, out);
	for (n = 0; n < 20; n++) {
		if (n % 10 == 0) {
			/* Without CONFIG_TRANSPARENT_HUGEPAGE all pages are small */
			ASSERT_EQ(0, madvise(at, len, MADV_DONTNEED));
			ASSERT_EQ(thp ? 0 : -1,
				  madvise(at, len, n ? MADV_HUGEPAGE : MADV_NOHUGEPAGE));
			for (i = 0; i < len; i += 8)
				*(__u64 *)(at + i) = i;
		}
		memset(out, 0xff, len);
		ASSERT_EQ(len - skip, process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
		ASSERT_EQ(0, memcmp(out, at + skip, len - skip));
		/* A page that somebody has a reference to cannot be collapsed */
		if (n == 9 && thp) {
			ASSERT_EQ(0, madvise(at, len, MADV_HUGEPAGE));
			EXPECT_EQ(0, madvise(at, align, MADV_COLLAPSE));
		}
	}
}

/*
 * Many readers on one descriptor, while the target maps, unmaps and protects at
 * random. The first page of each group stays, and all others are zeros.
 */

static bool in_stable_page(size_t off)
{
	return off / PAGE % GROUP_PAGES == 0;
}

static bool read_somewhere(int fd, const char *arena, __u32 x)
{
	size_t off = x % ((CHURN_PAGES - 4) * PAGE), len = 1 + (x >> 8) % (3 * PAGE);
	ssize_t i, n, least;

	if (x >> 31)
		off -= off % (GROUP_PAGES * PAGE);
	least = in_stable_page(off) ? PAGE - off % PAGE : 0;
	if (least > (ssize_t)len)
		least = len;
	n = pread(fd, buf, len, (uintptr_t)arena + off);
	if (n < least && (least || errno != EIO)) {
		note("%zu bytes at %zx: %zd", len, off, n);
		return false;
	}
	for (i = 0; i < n; i++) {
		if (buf[i] == (in_stable_page(off + i) ? pattern((off + i) % PAGE) : 0))
			continue;
		note("%02hhx at %zx", buf[i], off + i);
		return false;
	}
	return true;
}

TEST_F_TIMEOUT(reader, one_descriptor, test_timeout())
{
	static const struct kind kind = { churn_prepare, .step = churn_step };
	struct subject *s = &self->subject;
	struct target *t = &s->target;
	__u64 end, reads, steps;
	int i, status;
	__u32 x;

	if (!begin(_metadata, s, &kind))
		return;
	want_pattern();
	ASSERT_EQ(PAGE, pwrite(t->memfd, shared->want, PAGE, 0));
	target_do(t, TARGET_RUN);
	end = now_ms() + duration_ms();
	for (i = 0; i < 4; i++) {
		if (fork())
			continue;
		for (x = i + 1, reads = 0; now_ms() < end; reads++)
			if (!read_somewhere(s->fd[MEM], t->arena, next_random(&x)))
				_exit(1);
		note("%llu reads", reads);
		_exit(!reads);
	}
	for (i = 0; i < 4; i++) {
		ASSERT_LT(0, wait(&status));
		EXPECT_EQ(0, status);
	}
	steps = target_steps(t);
	ASSERT_TRUE(target_do(t, TARGET_STOP))
		TH_LOG("%s", t->ctl->failed);
	if (!steps && __test_passed(_metadata))
		SKIP(return, "race not seen: the target never changed");
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], EXEC_TARGET))
		return exec_main(argv[2][0]);
	return test_harness_run(argc, argv);
}
