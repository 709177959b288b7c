// SPDX-License-Identifier: GPL-2.0
/*
 * fork() while others look at, or change, the parent's memory: parent and child
 * have the same bytes at first, and then each its own, whoever is there. And how
 * the kernel counts forks that need not lock the parent's VMAs, if it does: then
 * nobody else may fork meanwhile.
 */
#define _GNU_SOURCE
#include <asm/posix_types.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/const.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <linux/stddef.h>	/* for the next */
#include <linux/io_uring.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

#define PM_SWAP _BITULL(62)
#define PM_PRESENT _BITULL(63)

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define PAGE 4096UL
#define HUGE (2UL << 20)
#define EXEC_COUNT "--exec-count"
#define KSM "/sys/kernel/mm/ksm/"
#define THP "/sys/kernel/mm/transparent_hugepage/"
#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"

enum counter { ALONE, USERS, UFFD, LOCKED, SKIPPED, NR_COUNTERS };

/* Memory that all processes share. */
static struct {
	char why[192];			/* what failed first */
	char skip[96];			/* why it cannot be done */
	long counted[NR_COUNTERS];	/* by count_forks() */
	long vmas;
	__u32 done;			/* futex: generations that the parent has written */
	int uffd;			/* descriptor in the target */
	unsigned long events;		/* of what is beside a storm */
	unsigned long filled, moved;	/* pages, by userfaultfd */
	unsigned long swapped, huge;	/* pages, when the target forked */
} *shared;

static int shared_fd;
static struct target *me;		/* in the target and those beside it */

/* Processes other than the tester end here when something fails. */
__printf(2, 3) static void need(bool ok, const char *fmt, ...)
{
	va_list args;

	if (ok)
		return;
	va_start(args, fmt);
	if (!shared->why[0])
		vsnprintf(shared->why, sizeof(shared->why), fmt, args);
	va_end(args);
	if (me)
		must(me, false, shared->why);
	_exit(1);
}

static void can(bool ok, const char *what)
{
	if (!ok)
		snprintf(shared->skip, sizeof(shared->skip), "%s%s%s", what, errno ? ": " : "",
			 errno ? strerror(errno) : "");
	need(ok, "%s", what);
}

static void attach(int fd)
{
	shared_fd = fd;
	shared = mmap(NULL, sizeof(*shared), RW, MAP_SHARED, fd, 0);
}

/* Return false after a SKIP. */
static bool share(struct __test_metadata *_metadata)
{
	if (sysconf(_SC_PAGESIZE) != PAGE)
		SKIP(return false, "made for pages of 4 KiB");
	attach(memfd_create("shared", 0));
	ASSERT_EQ(0, ftruncate(shared_fd, sizeof(*shared)));
	ASSERT_NE(MAP_FAILED, shared);
	return true;
}

static void await(pid_t pid, const char *who)
{
	int status = 0;

	need(pid > 0 && waitpid(pid, &status, __WALL) == pid && !status, "%s: %x, %s", who,
	     status, strerror(errno));
}

static char *map_pages(void *at, size_t len, int flags, int fd)
{
	char *got = mmap(at, len, RW, flags | (at ? MAP_FIXED : 0), fd, 0);

	need(got != MAP_FAILED, "mmap: %s", strerror(errno));
	return got;
}

static pthread_t start(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	need(!pthread_create(&thread, NULL, run, arg), "pthread_create");
	return thread;
}

static pid_t start_clone(int (*run)(void *), int flags, uintptr_t i)
{
	static max_align_t stack[2][1024];
	pid_t pid = clone(run, stack[i] + ARRAY_SIZE(stack[i]), CLONE_VM | flags | SIGCHLD,
			  (void *)i);

	need(pid > 0, "clone: %s", strerror(errno));
	return pid;
}

static int new_uffd(__u64 features)
{
	struct uffdio_api api = { .api = UFFD_API, .features = features };
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	can(fd >= 0, "no userfaultfd");
	can(!ioctl(fd, UFFDIO_API, &api), "userfaultfd has not all features");
	return fd;
}

static void uffd_register(int fd, char *at, size_t len, __u64 mode)
{
	struct uffdio_register r = { .range = { (uintptr_t)at, len }, .mode = mode };

	need(!ioctl(fd, UFFDIO_REGISTER, &r), "UFFDIO_REGISTER: %s", strerror(errno));
}

/*
 * How forks are counted.
 */

static bool read_counters(long *value)
{
	static const char * const name[] = { "alone", "users", "uffd", "locked", "skipped" };
	FILE *f = fopen("/proc/vmstat", "r");
	unsigned int i, found = 0;
	char word[64];
	long n;

	while (f && fscanf(f, "%63s %ld", word, &n) == 2) {
		for (i = 0; i < NR_COUNTERS; i++) {
			if (strncmp(word, "vma_lock_fork_", 14) || strcmp(word + 14, name[i]))
				continue;
			value[i] = n;
			found++;
		}
	}
	if (f)
		fclose(f);
	return found == NR_COUNTERS;
}

static long count_vmas(void)
{
	FILE *f = fopen("/proc/self/maps", "r");
	char line[512];
	long n = 0;

	while (f && fgets(line, sizeof(line), f))
		n += !strstr(line, "[vsyscall]");
	fclose(f);
	return n;
}

#define FORKS 8

static void count_forks(void)
{
	long before[NR_COUNTERS], after[NR_COUNTERS], later[NR_COUNTERS];
	__u64 begin = now_ms(), end;
	pid_t pid;
	int i;

	shared->vmas = count_vmas();
	errno = 0;
	can(read_counters(before), "no counters of forks");
	for (i = 0; i < FORKS; i++) {
		pid = fork();
		if (!pid)
			_exit(0);
		await(pid, "child");
	}
	read_counters(after);
	for (i = 0; i < NR_COUNTERS; i++)
		shared->counted[i] = after[i] - before[i];
	/* The control: counters of the machine say nothing if others fork meanwhile */
	end = now_ms() + 2 * (now_ms() - begin) + 100;
	while (now_ms() < end)
		;
	read_counters(later);
	errno = 0;
	can(!memcmp(after, later, sizeof(after)), "others fork");
}

static void *sleep_for_ever(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static void *end_at_once(void *tid)
{
	*(pid_t *)tid = gettid();
	return NULL;
}

static int clone_sleeps(void *arg)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sleep_for_ever(NULL);
	return 0;
}

static int clone_ends(void *arg)
{
	return 0;
}

/* A fork() waits until its event was read, also one by the child. */
static void *read_fork_events(void *uffd)
{
	struct pollfd fds[2 * FORKS] = { { (intptr_t)uffd, POLLIN } };
	struct uffd_msg msg;
	int i, nr = 1;

	while (poll(fds, nr, -1) > 0)
		for (i = 0; i < nr && nr < 2 * FORKS; i++)
			if (read(fds[i].fd, &msg, sizeof(msg)) == sizeof(msg))
				fds[nr++] = (struct pollfd) { msg.arg.fork.ufd, POLLIN };
	return NULL;
}

/* The parent has this, or had it. */
enum company {
	NOTHING, THREAD, THREAD_GONE, CLONE, CLONE_GONE, SQPOLL, MAPS_OPEN, UFFD_OPEN, UFFD_CLOSED,
	UFFD_USED, UFFD_EVENTS,
};

static void provide(enum company company)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQPOLL };
	char path[64];
	intptr_t fd;
	pid_t tid;

	switch (company) {
	case NOTHING:
		break;
	case THREAD:
		start(sleep_for_ever, NULL);
		break;
	case THREAD_GONE:
		/* It is joined before it has dropped the mm, but listed until then */
		pthread_join(start(end_at_once, &tid), NULL);
		snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
		while (!access(path, F_OK))
			sched_yield();
		break;
	case CLONE:
		start_clone(clone_sleeps, 0, 0);
		break;
	case CLONE_GONE:
		await(start_clone(clone_ends, CLONE_VFORK, 0), "clone");
		break;
	case SQPOLL:
		can(syscall(SYS_io_uring_setup, 4, &params) >= 0, "no io_uring");
		break;
	case MAPS_OPEN:
		need(open("/proc/self/maps", O_RDONLY) >= 0, "maps");
		break;
	case UFFD_OPEN:
		new_uffd(0);
		break;
	case UFFD_CLOSED:
		close(new_uffd(0));
		break;
	case UFFD_USED:
	case UFFD_EVENTS:
		fd = new_uffd(company == UFFD_EVENTS ? UFFD_FEATURE_EVENT_FORK : 0);
		uffd_register(fd, map_pages(NULL, PAGE, ANON, -1), PAGE,
			      UFFDIO_REGISTER_MODE_MISSING);
		if (company == UFFD_EVENTS)
			start(read_fork_events, (void *)fd);
	}
}

/* Let another process do it. */
static void elsewhere(struct __test_metadata *_metadata, void (*run)(const void *arg),
		      const void *arg)
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run(arg);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (shared->skip[0])
		SKIP(return, "%s", shared->skip);
	ASSERT_EQ(0, status)
		TH_LOG("%s", shared->why);
}

FIXTURE(child)
{
};

FIXTURE_VARIANT(child)
{
	void (*run)(const void *variant);
	enum company company;
	enum counter counter;
	enum { SELF, VFORK, CHILD, PROGRAM } who;	/* forks, for count() */
	bool uffd;					/* for fork_fails() */
};

FIXTURE_SETUP(child)
{
	share(_metadata);
}

FIXTURE_TEARDOWN(child)
{
}

static int clone_counts(void *arg)
{
	count_forks();
	return 0;
}

static void count(const void *arg)
{
	const struct _fixture_variant_child *variant = arg;
	char text[16];
	pid_t pid;

	provide(variant->company);
	switch (variant->who) {
	case SELF:
		count_forks();
		break;
	case VFORK:
		await(start_clone(clone_counts, CLONE_VFORK, 0), "clone");
		break;
	case CHILD:
		pid = fork();
		if (!pid)
			_exit(clone_counts(NULL));
		await(pid, "child");
		break;
	case PROGRAM:
		snprintf(text, sizeof(text), "%d", shared_fd);
		execl("/proc/self/exe", "proc-fork", EXEC_COUNT, text, NULL);
		_exit(2);
	}
}

/* Alone is who has no other user of its memory, or no more; */
FIXTURE_VARIANT_ADD(child, count_alone) { count, NOTHING, ALONE };
FIXTURE_VARIANT_ADD(child, count_thread) { count, THREAD, USERS };
FIXTURE_VARIANT_ADD(child, count_thread_gone) { count, THREAD_GONE, ALONE };
FIXTURE_VARIANT_ADD(child, count_clone_vm) { count, CLONE, USERS };
FIXTURE_VARIANT_ADD(child, count_clone_vm_gone) { count, CLONE_GONE, ALONE };
FIXTURE_VARIANT_ADD(child, count_vfork) { count, NOTHING, USERS, VFORK };
FIXTURE_VARIANT_ADD(child, count_sqpoll) { count, SQPOLL, USERS };
/* a reference is no user: khugepaged has one of this kind, too; */
FIXTURE_VARIANT_ADD(child, count_maps_open) { count, MAPS_OPEN, ALONE };
/* and there never was a userfaultfd of this program, unless it came by an event. */
FIXTURE_VARIANT_ADD(child, count_uffd) { count, UFFD_OPEN, UFFD };
FIXTURE_VARIANT_ADD(child, count_uffd_closed) { count, UFFD_CLOSED, UFFD };
FIXTURE_VARIANT_ADD(child, count_uffd_child) { count, UFFD_USED, ALONE, CHILD };
FIXTURE_VARIANT_ADD(child, count_uffd_child_event) { count, UFFD_EVENTS, UFFD, CHILD };
FIXTURE_VARIANT_ADD(child, count_uffd_exec) { count, UFFD_OPEN, ALONE, PROGRAM };

TEST_F_TIMEOUT(child, forked, test_timeout())
{
	bool alone = variant->counter == ALONE;
	long *counted;
	int i;

	elsewhere(_metadata, variant->run, variant);
	if (shared->skip[0] || variant->run != count)
		return;
	counted = shared->counted;
	for (i = ALONE; i <= UFFD; i++)
		EXPECT_EQ(i == variant->counter ? FORKS : 0, counted[i])
			TH_LOG("counter %d", i);
	EXPECT_LT(0, shared->vmas);
	EXPECT_EQ(0, counted[alone ? LOCKED : SKIPPED]);
	EXPECT_LE(FORKS * shared->vmas, counted[alone ? SKIPPED : LOCKED]);
}

/*
 * What a child does not have as the parent has it, or only with more effort.
 */

enum how { ADVICE, PROTECTION, LOCK, REGISTRATION };

FIXTURE(inherit) { };

FIXTURE_VARIANT(inherit)
{
	enum how how;
	int arg;
	int child;		/* it has these bytes, or, if negative, nothing */
	const char *flag;	/* in smaps, only of the parent */
	int hugetlb;		/* flag for mmap() */
};

/* The child does not have it, or has zeros, or what nobody could read. */
FIXTURE_VARIANT_ADD(inherit, dontfork) { ADVICE, MADV_DONTFORK, -1 };
FIXTURE_VARIANT_ADD(inherit, wipeonfork) { ADVICE, MADV_WIPEONFORK, 0 };
FIXTURE_VARIANT_ADD(inherit, protected) { PROTECTION, PROT_NONE, 'P' };
/* It has the bytes, but they are not locked. */
FIXTURE_VARIANT_ADD(inherit, locked) { LOCK, 0, 'P', " lo " };
FIXTURE_VARIANT_ADD(inherit, locked_on_fault) { LOCK, MLOCK_ONFAULT, 'P', " lo " };
/* Without an event nobody answers faults of the child: they are as everywhere. */
FIXTURE_VARIANT_ADD(inherit, uffd_registered) { REGISTRATION, 0, 'P', " um " };
/* Huge pages are copied, too. */
FIXTURE_VARIANT_ADD(inherit, hugetlb) { PROTECTION, RW, 'P', NULL, MAP_HUGETLB };

FIXTURE_SETUP(inherit)
{
	if (!share(_metadata) || !variant->hugetlb)
		return;
	if (!setting_put(NR_HUGEPAGES, number(NR_HUGEPAGES) + 4)) {
		setting_restore();
		SKIP(return, "cannot reserve huge pages");
	}
}

FIXTURE_TEARDOWN(inherit)
{
	setting_restore();
}

static void filled(const char *at, size_t len, char byte, const char *what)
{
	need(*at == byte && !memcmp(at, at + 1, len - 1), "%s", what);
}

static void check_flag(const char *at, const char *flag, bool set)
{
	char line[512];

	need(!flag || smaps_line(getpid(), at, "VmFlags:", line), "no VmFlags");
	need(!flag || !strstr(line, flag) == !set, "%s is%s set", flag, set ? " not" : "");
}

static enum company inherit_beside;

static void inherit(const void *arg)
{
	const struct _fixture_variant_inherit *variant = arg;
	size_t len = variant->hugetlb ? HUGE : 4 * PAGE;
	char *at = map_pages(NULL, len, ANON | variant->hugetlb, -1);
	unsigned char in_core;
	pid_t pid;

	provide(inherit_beside);
	memset(at, 'P', len);
	switch (variant->how) {
	case ADVICE:
		need(!madvise(at, len, variant->arg), "madvise");
		break;
	case PROTECTION:
		need(!mprotect(at, len, variant->arg), "mprotect");
		break;
	case LOCK:
		need(!syscall(SYS_mlock2, at, len, variant->arg), "mlock2");
		break;
	case REGISTRATION:
		uffd_register(new_uffd(UFFD_FEATURE_SIGBUS), at, len, UFFDIO_REGISTER_MODE_MISSING);
	}
	check_flag(at, variant->flag, true);
	pid = fork();
	if (!pid) {
		if (variant->child < 0) {
			need(mincore(at, PAGE, &in_core) && errno == ENOMEM, "is in the child");
			_exit(0);
		}
		check_flag(at, variant->flag, false);
		need(!mprotect(at, len, RW), "mprotect");
		filled(at, len, variant->child, "not what the child should have");
		if (variant->how == REGISTRATION) {
			need(!madvise(at, len, MADV_DONTNEED), "MADV_DONTNEED");
			filled(at, len, 0, "not zeros");
		}
		memset(at, 'C', len);
		_exit(0);
	}
	await(pid, "child");
	need(!mprotect(at, len, RW), "mprotect");
	filled(at, len, 'P', "parent's memory has changed");
}

TEST_F(inherit, alone)
{
	elsewhere(_metadata, inherit, variant);
}

TEST_F(inherit, thread)
{
	inherit_beside = THREAD;
	elsewhere(_metadata, inherit, variant);
}

TEST_F(inherit, uffd)
{
	inherit_beside = UFFD_OPEN;
	elsewhere(_metadata, inherit, variant);
}

/*
 * A fork() that fails in the middle: it refuses to copy a mapping that is larger than
 * memory and swap, unless the kernel is told to overcommit always or never. Of what is
 * copied before it, and what would be copied behind it, nothing is lost.
 *
 *	AROUND          half            half            AROUND
 *	PPPP.DDDD.LLLL.SSSS.UUUU. RRRRRRRRRRRRRRRRRRRRRR PPPP.DDDD.LLLL.SSSS.PPPP.
 *
 * DONTFORK, Locked, Shared and with a Userfaultfd, whose events nobody reads.
 */

#define AROUND (25 * PAGE)

enum { PLAIN, NOT_COPIED, IN_CORE, COMMONS, WATCHED, NR_AROUND };

static void map_around(char *at, bool uffd)
{
	const size_t len = 4 * PAGE;
	int i;

	for (i = 0; i < NR_AROUND; i++, at += 5 * PAGE) {
		need(!mprotect(at, len, RW), "mprotect");
		if (i == COMMONS)
			map_pages(at, len, MAP_SHARED | MAP_ANONYMOUS, -1);
		memset(at, 'P', len);
		if (i == NOT_COPIED)
			need(!madvise(at, len, MADV_DONTFORK), "MADV_DONTFORK");
		if (i == IN_CORE)
			need(!mlock(at, len), "mlock");
		if (i == WATCHED && uffd)
			uffd_register(new_uffd(UFFD_FEATURE_EVENT_FORK), at, len,
				      UFFDIO_REGISTER_MODE_MISSING);
	}
}

static void check_around(char *at, bool child)
{
	int i;

	for (i = 0; i < NR_AROUND; i++, at += 5 * PAGE) {
		if (child && i == NOT_COPIED)
			continue;
		filled(at, 4 * PAGE, 'P', child ? "child: not as in the parent" : "has changed");
		memset(at, child && i != COMMONS ? 'C' : 'P', 4 * PAGE);
	}
}

static void fork_fails(const void *arg)
{
	const struct _fixture_variant_child *variant = arg;
	size_t half, memory = sysconf(_SC_PHYS_PAGES) * PAGE + (meminfo_kb("SwapTotal:") << 10);
	char *begin, *end;
	pid_t pid;
	int i;

	errno = 0;
	can(!number("/proc/sys/vm/overcommit_memory"), "the kernel overcommits always, or never");
	provide(variant->company);
	/* Each half is allowed, and they are merged */
	half = (memory / 2 + memory / 16) & -HUGE;
	begin = mmap(NULL, 2 * (half + AROUND), PROT_NONE, ANON, -1, 0);
	can(begin != MAP_FAILED, "no room");
	end = begin + AROUND + 2 * half;
	map_around(begin, variant->uffd);
	map_around(end, false);
	can(!mprotect(begin + AROUND, half, RW), "no memory for a half");
	can(!mprotect(begin + AROUND + half, half, RW), "no memory for the other half");

	for (i = 0; i < 100; i++) {
		pid = fork();
		if (!pid)
			_exit(0);
		need(pid < 0 && errno == ENOMEM, "fork: %s", strerror(errno));
		check_around(begin, false);
		check_around(end, false);
	}
	if (variant->uffd)
		return;
	munmap(begin + AROUND, 2 * half);
	pid = fork();
	if (!pid) {
		check_around(begin, true);
		check_around(end, true);
		_exit(0);
	}
	await(pid, "child");
	check_around(begin, false);
	check_around(end, false);
}

/* Alone, and where VMAs are locked; who watches a VMA gets no event of such a fork. */
FIXTURE_VARIANT_ADD(child, failing) { fork_fails, NOTHING };
FIXTURE_VARIANT_ADD(child, failing_thread) { fork_fails, THREAD };
FIXTURE_VARIANT_ADD(child, failing_uffd) { fork_fails, NOTHING, .uffd = true };

/*
 * Two threads write to the same pages, each its own words, while a third forks. One
 * that could fault while page tables are copied would get a copy of a page that
 * the other still writes to: only at the end are its CPU's stale entries flushed.
 */

#define WRITTEN 4		/* pages */
#define COPIED_LATER 500	/* VMAs */

static char *written;
static __u32 forks;		/* futex, odd: the first thread is about to fork, or does */

static cpu_set_t cpus;		/* where the tester ran at first */

/* To one of @cpus, counted from zero. */
static void pin(unsigned int nr)
{
	cpu_set_t one;
	int cpu = 0;

	while (!CPU_ISSET(cpu, &cpus) || nr--)
		cpu++;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	need(!sched_setaffinity(0, sizeof(one), &one), "sched_setaffinity");
}

static void *write_always(void *arg)
{
	__u64 value[WRITTEN] = {}, *word, now;
	unsigned int i;

	pin(0);
	for (i = 0;; i = (i + 1) % WRITTEN) {
		word = (__u64 *)(written + i * PAGE);
		now = __atomic_load_n(word, __ATOMIC_RELAXED);
		need(now == value[i], "wrote %llu to page %u, it is %llu now", value[i], i, now);
		__atomic_store_n(word, ++value[i], __ATOMIC_RELAXED);
	}
	return NULL;
}

/*
 * A SCHED_BATCH task that is woken waits until the waker's time is up. How many more
 * turns of the waker there are until page tables are copied depends on the kernel:
 * let it have none, 1, 3, 7 and so on.
 */
static void *write_in_forks(void *arg)
{
	const struct sched_param param = {};
	unsigned int i, turns;
	__u32 now, past = 0;

	pin(1);
	need(!sched_setscheduler(0, SCHED_BATCH, &param), "sched_setscheduler");
	for (;; past = now) {
		syscall(SYS_futex, &forks, FUTEX_WAIT_PRIVATE, past, NULL, NULL, 0);
		now = __atomic_load_n(&forks, __ATOMIC_SEQ_CST);
		if (now == past || now % 2 == 0)
			continue;
		for (turns = 1 << now / 2 % 8; turns > 1; turns--)
			if (now == __atomic_load_n(&forks, __ATOMIC_SEQ_CST))
				sched_yield();
		if (now != __atomic_load_n(&forks, __ATOMIC_SEQ_CST))
			continue;
		for (i = 0; i < WRITTEN; i++)
			__atomic_store_n((__u64 *)(written + i * PAGE) + 1, now, __ATOMIC_RELAXED);
		shared->events++;
	}
	return NULL;
}

static void fork_and_write(const void *arg)
{
	size_t i, len = (WRITTEN + COPIED_LATER) * PAGE;
	__u64 end;
	pid_t pid;

	sched_getaffinity(0, sizeof(cpus), &cpus);
	errno = 0;
	can(CPU_COUNT(&cpus) >= 2, "needs two CPUs");
	written = map_pages(NULL, len, ANON, -1);
	madvise(written, len, MADV_NOHUGEPAGE);
	for (i = WRITTEN; i < WRITTEN + COPIED_LATER; i++) {
		written[i * PAGE] = 1;
		need(i % 2 || !mprotect(written + i * PAGE, PAGE, PROT_READ), "mprotect");
	}
	pin(1);
	start(write_always, NULL);
	start(write_in_forks, NULL);
	end = now_ms() + duration_ms();
	while (now_ms() < end || (!shared->events && now_ms() < end + patience_ms())) {
		__atomic_add_fetch(&forks, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &forks, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		pid = fork();
		if (!pid)
			_exit(0);
		__atomic_add_fetch(&forks, 1, __ATOMIC_SEQ_CST);
		await(pid, "child");
	}
	note("%u forks, in %lu of them a thread began to write", forks / 2, shared->events);
	errno = 0;
	can(shared->events, "race not seen");
}

/* No write is lost. */
FIXTURE_VARIANT_ADD(child, threads) { fork_and_write, NOTHING };

/*
 * The storm: a target that forks without pause, and has several kinds of memory.
 * A page is full of one 16-bit word: its number below a value, which is from 1 to
 * 127 if the parent wrote it, and has bit 7 set if a child did. Or of zeros.
 */

#define BY_CHILD 0x80

enum {
	SMALL, LARGE, COPIED_FILE, SWAPPED, SAME, FILE_ONLY, ZEROS, TO_CHILD, FROM_CHILD, BUSY,
	NR_PARTS,
};

struct part {
	const char *name;
	int flags;		/* of mmap() */
	unsigned int pages;
	unsigned int stride;	/* from page to page; 0: 1 */
	unsigned int every;	/* the parent writes each so many generations; 0: never */
	char *at;		/* in tester and target */
	unsigned int first;	/* number of its first page */
	__u8 value;
};

static struct part parts[NR_PARTS] = {
	[SMALL] = { "anonymous", ANON, 8, .every = 1 },
	[LARGE] = { "huge page", ANON, 4, .every = 1, .stride = 128 },
	[COPIED_FILE] = { "copied file", MAP_PRIVATE, 2, .every = 1 },
	[SWAPPED] = { "swapped", ANON, 4, .every = 1 },
	[SAME] = { "mergeable", ANON, 8, .every = 16 },
	[FILE_ONLY] = { "file", MAP_PRIVATE, 2, .value = 99 },
	[ZEROS] = { "zero page", ANON, 2 },
	[TO_CHILD] = { "shared, parent's", MAP_SHARED | MAP_ANONYMOUS, 2, .every = 1 },
	[FROM_CHILD] = { "shared, child's", MAP_SHARED | MAP_ANONYMOUS, 2, .every = 1 },
	[BUSY] = { "busy", ANON, 4 },		/* others write */
};

static struct part *const small = parts + SMALL, *const busy = parts + BUSY;
static struct part *const to_child = parts + TO_CHILD, *const from_child = parts + FROM_CHILD;

#define MOVING 4		/* pages in two places */

static char *region;		/* of all parts */
static char *places[2];

static char *part_page(const struct part *p, unsigned int i)
{
	return p->at + i * (p->stride ?: 1) * PAGE;
}

static size_t part_len(const struct part *p)
{
	return p == parts + LARGE ? HUGE : p->pages * PAGE;
}

static __u64 full_of(unsigned int value, unsigned int nr)
{
	return value ? (value << 8 | nr) * 0x1000100010001ULL : 0;
}

static __u64 part_word(const struct part *p, unsigned int i, unsigned int value)
{
	return full_of(value, p->first + (p == parts + SAME ? 0 : i));
}

static void page_write(char *at, __u64 word)
{
	size_t i;

	for (i = 0; i < PAGE; i += sizeof(word))
		__atomic_store_n((__u64 *)(at + i), word, __ATOMIC_RELAXED);
}

static bool page_is(const char *at, __u64 word)
{
	return *(const __u64 *)at == word && !memcmp(at, at + sizeof(word), PAGE - sizeof(word));
}

/*
 * Each byte can have been written by the parent at some time, or by nobody. Who
 * copies a page while it is written may see a part of a word.
 */
static bool page_is_parents(const char *at, const struct part *p, unsigned int i)
{
	__u8 byte, nr = part_word(p, i, 1);
	size_t off;

	for (off = 0; off < PAGE; off++) {
		byte = at[off];
		if (off % 2 ? byte & BY_CHILD && p != from_child : byte && byte != nr)
			return false;
	}
	return true;
}

/* Reserve the same place in tester and target. */
static void place_parts(void)
{
	unsigned int nr = 1;
	struct part *p;
	char *at;

	at = mmap(NULL, 3 * HUGE, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
	region = (char *)(((uintptr_t)at + HUGE - 1) & -HUGE);
	at = region + HUGE;
	for (p = parts; p < parts + NR_PARTS; nr += p->pages, p++) {
		p->first = nr;
		p->at = p == parts + LARGE ? region : at;
		if (p != parts + LARGE)
			at += part_len(p) + PAGE;
	}
	places[0] = at;
	places[1] = at + MOVING * PAGE;
}

static int new_file(const struct part *p, unsigned int value)
{
	int fd = memfd_create("file", MFD_CLOEXEC);
	char page[PAGE];
	unsigned int i;

	for (i = 0; i < p->pages; i++) {
		page_write(page, part_word(p, i, value));
		need(write(fd, page, PAGE) == PAGE, "write");
	}
	return fd;
}

FIXTURE(storm)
{
	struct target target;
	struct scenario scenario;
	struct window window;
	pid_t pid[4];
};

struct setting {
	const char *path;
	long value;
};

/* What is beside the storm. */
FIXTURE_VARIANT(storm)
{
	void (*prepare)(void);		/* in the target */
	void (*before)(void);		/* each fork() */
	void (*after)(void);		/* the child has ended */
	void (*child)(void);		/* in each child */
	void (*look)(void);		/* in the parent, while there is a child */
	bool threads, vfork;		/* for start_tasks() */
	void (*run)(unsigned int n);	/* in other processes, again and again */
	unsigned int processes;
	struct setting settings[4];
	__u64 uffd_features;
	bool quiet;			/* the tester does not look into mem */
	const char *what;		/* shared->events counts */
	const char *counter;		/* or the change of this file */
};

static const struct _fixture_variant_storm *beside;

static void event(void)
{
	__atomic_add_fetch(&shared->events, 1, __ATOMIC_RELAXED);
}

static void prepare(struct target *t)
{
	struct part *p;
	int fd;

	me = t;
	for (p = parts; p < parts + NR_PARTS; p++) {
		fd = p->flags & MAP_ANONYMOUS ? -1 : new_file(p, p->value);
		map_pages(p->at, part_len(p), p->flags, fd);
		madvise(p->at, part_len(p), p == parts + LARGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	}
	madvise(parts[SAME].at, part_len(parts + SAME), MADV_MERGEABLE);
	t->ctl->lo = (uintptr_t)region;
	t->ctl->hi = t->ctl->lo + 2 * HUGE;
	if (beside->prepare)
		beside->prepare();
}

static void part_write(struct part *p)
{
	unsigned int i;

	for (i = 0; i < p->pages; i++)
		page_write(part_page(p, i), part_word(p, i, p->value));
}

static void part_check(const struct part *p, unsigned int value, const char *when)
{
	const char *at;
	unsigned int i;

	for (i = 0; i < p->pages; i++) {
		at = part_page(p, i);
		need(page_is(at, part_word(p, i, value)), "%s %d: %s page %u is %llx, not %llx",
		     when, getpid(), p->name, i, *(__u64 *)at, part_word(p, i, value));
	}
}

static void write_parts(unsigned int generation, bool forked)
{
	struct part *p;

	for (p = parts; p < parts + NR_PARTS; p++) {
		if (!p->every || (generation - 1) % p->every || (forked && p == from_child))
			continue;
		p->value = p->value % 127 + 1;
		part_write(p);
	}
}

/* Check what nobody else writes. */
static void check_parts(unsigned int by, const char *when)
{
	const struct part *p;

	for (p = parts; p < to_child; p++)
		part_check(p, p->value | by, when);
}

/* Nobody touched what follows the first page of the huge one. */
static void count_special_pages(bool fresh)
{
	const struct part *p = parts + SWAPPED;
	unsigned int i;

	for (i = 0; i < p->pages; i++)
		shared->swapped += !!(pagemap_entry(getpid(), part_page(p, i)) & PM_SWAP);
	shared->huge += fresh && pagemap_entry(getpid(), parts[LARGE].at + PAGE) & PM_PRESENT;
}

/* Run also where the target does not. */
static void spread(void)
{
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void child_main(__u32 generation)
{
	static char first[4 * PAGE];	/* busy pages */
	struct part *p;
	unsigned int i;

	me = NULL;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	spread();
	check_parts(0, "new child");
	part_check(from_child, from_child->value, "new child");
	memcpy(first, busy->at, sizeof(first));
	for (i = 0; i < 4; i++)
		need(page_is_parents(first + i * PAGE, busy, i), "busy page %d in child", i);
	if (beside->child)
		beside->child();
	for (p = parts; p < busy; p++) {
		if (p == to_child)
			continue;
		p->value |= BY_CHILD;
		part_write(p);
	}
	check_parts(BY_CHILD, "child");
	while (__atomic_load_n(&shared->done, __ATOMIC_SEQ_CST) != generation)
		syscall(SYS_futex, &shared->done, FUTEX_WAIT, generation - 1, NULL, NULL, 0);
	check_parts(BY_CHILD, "old child");
	part_check(to_child, to_child->value % 127 + 1, "old child");
	need(!memcmp(first, busy->at, sizeof(first)), "busy pages changed in the child");
	busy->value = BY_CHILD;
	part_write(busy);
	_exit(0);
}

static void step_fork(struct target *t, unsigned int n)
{
	static __u32 generation;
	unsigned int i;
	bool fresh;
	pid_t pid;

	fresh = generation++ % 16 == 0;
	/* Let it be a huge page again */
	if (fresh)
		madvise(parts[LARGE].at, HUGE, MADV_DONTNEED);
	write_parts(generation, false);
	if (beside->before)
		beside->before();
	madvise(parts[SWAPPED].at, part_len(parts + SWAPPED), MADV_PAGEOUT);
	count_special_pages(fresh);
	pid = fork();
	if (!pid)
		child_main(generation);
	check_parts(0, "new parent");
	if (beside->look)
		beside->look();
	write_parts(generation, true);
	check_parts(0, "parent");
	__atomic_store_n(&shared->done, generation, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &shared->done, FUTEX_WAKE, 1, NULL, NULL, 0);
	await(pid, "child");
	check_parts(0, "old parent");
	part_check(to_child, to_child->value, "old parent");
	part_check(from_child, from_child->value | BY_CHILD, "old parent");
	if (beside->after)
		beside->after();
	for (i = 0; i < busy->pages; i++)
		need(page_is_parents(part_page(busy, i), busy, i), "busy page %u in the parent", i);
}

/* Nothing, and the control: a fork that is alone. */
FIXTURE_VARIANT_ADD(storm, nothing) { .quiet = true };

/*
 * Beside it: readers.
 */

static char text[1 << 20];

static ssize_t slurp(const char *name)
{
	int fd = maps_open_file(me->pid, name);
	ssize_t n, len = 0;

	while ((n = read(fd, text + len, sizeof(text) - len)) > 0)
		len += n;
	close(fd);
	need(!n && len, "%s: %s", name, strerror(errno));
	return len;
}

static void read_text(const char *name)
{
	slurp(name);
}

/* The parent's VMAs, arguments and environment never change. */
static void read_same(const char *name)
{
	static char first[3][65536];
	static ssize_t len[3];
	int i = *name == 'm' ? 0 : *name == 'c' ? 1 : 2;
	ssize_t n = slurp(name);

	if (!len[i]) {
		len[i] = n;
		memcpy(first[i], text, n);
	}
	need(len[i] == n && !memcmp(first[i], text, n), "other %s", name);
}

static void read_pagemap(const char *name)
{
	int fd = maps_open_file(me->pid, name);
	size_t len = 2 * HUGE / PAGE * 8;

	need(pread(fd, text, len, (uintptr_t)region / PAGE * 8) == (ssize_t)len, "pagemap");
	close(fd);
}

static void scan_pagemap(const char *name)
{
#ifdef PAGEMAP_SCAN
	static struct page_region found[64];
	struct pm_scan_arg arg = {
		.size = sizeof(arg), .start = (uintptr_t)region,
		.end = (uintptr_t)region + 2 * HUGE, .vec = (uintptr_t)found,
		.vec_len = ARRAY_SIZE(found), .category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT | PAGE_IS_WRITTEN,
	};
	int fd = maps_open_file(me->pid, name);

	need(ioctl(fd, PAGEMAP_SCAN, &arg) >= 0 || errno == ENOTTY, "PAGEMAP_SCAN: %s",
	     strerror(errno));
	close(fd);
#endif
}

static void query_maps(const char *name)
{
	int fd = maps_open_file(me->pid, name);
	struct maps_line line;
	const struct part *p;
	int ret;

	/* Two parts may be one mapping where there are no huge pages */
	for (p = parts; p < parts + NR_PARTS; p++) {
		ret = maps_query(fd, 0, (uintptr_t)p->at, &line);
		need(ret == -ENOTTY || (ret == 1 && line.start <= (uintptr_t)p->at &&
					line.end >= (uintptr_t)p->at + part_len(p)),
		     "PROCMAP_QUERY of %s: %d", p->name, ret);
	}
	close(fd);
}

/* Return what is wrong, or NULL. */
static const char *look_at_mem(pid_t pid)
{
	int fd = maps_open_file(pid, "mem");
	const char *why = NULL;
	const struct part *p;
	char page[PAGE];
	unsigned int i;

	for (p = parts; !why && p < parts + NR_PARTS; p++) {
		for (i = 0; !why && i < p->pages; i++) {
			if (pread(fd, page, PAGE, (uintptr_t)part_page(p, i)) == PAGE)
				why = page_is_parents(page, p, i) ? NULL : p->name;
			else if (p != busy || errno != EIO)	/* userfaultfd may have it */
				why = "cannot read mem";
		}
	}
	close(fd);
	return why;
}

static void read_mem(const char *name)
{
	const char *why = look_at_mem(me->pid);

	need(!why, "%s: not the parent's bytes: %s", name, why);
}

static void run_readers(unsigned int n)
{
	static const struct {
		const char *name;
		void (*read)(const char *name);
	} files[] = {
		{ "maps", read_same }, { "mem", read_mem }, { "smaps", read_text },
		{ "pagemap", read_pagemap }, { "cmdline", read_same },
		{ "smaps_rollup", read_text }, { "maps", query_maps }, { "environ", read_same },
		{ "numa_maps", read_text }, { "pagemap", scan_pagemap },
	};
	unsigned int i = (n + getpid()) % ARRAY_SIZE(files);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", me->pid, files[i].name);
	if (access(path, F_OK))	/* not configured */
		return;
	files[i].read(files[i].name);
	event();
}

/* A fork is alone if it begins when nobody reads. */
FIXTURE_VARIANT_ADD(storm, reader) {
	.run = run_readers, .processes = 1, .quiet = true, .what = "reads",
};

/* Readers see the bytes, and the mappings, of the parent only. */
FIXTURE_VARIANT_ADD(storm, readers) {
	.run = run_readers, .processes = 4, .what = "reads",
};

/*
 * Beside it: writers of the target's memory, and advice on it. A word of each busy
 * page is the parent's, another is ptrace()'s and another that of the file mem.
 */

enum { PARENTS_WORD, MEMS_WORD, PTRACES_WORD };

static void write_busy_words(void)
{
	unsigned int i;

	busy->value = busy->value % 127 + 1;
	for (i = 0; i < busy->pages; i++)
		*(__u64 *)part_page(busy, i) = part_word(busy, i, busy->value);
}

static void check_busy_words(void)
{
	unsigned int i;

	for (i = 0; i < busy->pages; i++)
		need(*(__u64 *)part_page(busy, i) == part_word(busy, i, busy->value),
		     "what the parent wrote into busy page %u is lost", i);
}

static void run_mem_writer(unsigned int n)
{
	unsigned int i = n % busy->pages;
	__u64 got, word = part_word(busy, i, n % 127 + 1);
	uintptr_t at = (uintptr_t)part_page(busy, i) + MEMS_WORD * 8;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/mem", me->pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	need(pwrite(fd, &word, 8, at) == 8, "cannot write mem: %s", strerror(errno));
	need(pread(fd, &got, 8, at) == 8 && got == word, "what was written to mem is lost");
	close(fd);
	event();
}

/*
 * Seized for this one time: otherwise it would stop for each child that ends. Not
 * more often than this in one step of the target, which would never end it.
 */
#define PTRACES_PER_STEP 16

static void run_ptrace(unsigned int n)
{
	unsigned int i = n % busy->pages;
	__u64 word = part_word(busy, i, n % 127 + 1);
	char *at = part_page(busy, i) + PTRACES_WORD * 8;
	static unsigned int nr_in_step;
	static __u64 past[4], step;
	int status;

	if (step != target_steps(me)) {
		step = target_steps(me);
		nr_in_step = 0;
	}
	if (nr_in_step++ >= PTRACES_PER_STEP) {
		sched_yield();
		return;
	}
	need(!ptrace(PTRACE_SEIZE, me->pid, 0, 0), "seize: %s", strerror(errno));
	need(!ptrace(PTRACE_INTERRUPT, me->pid, 0, 0), "interrupt: %s", strerror(errno));
	need(waitpid(me->pid, &status, __WALL) == me->pid && WIFSTOPPED(status), "wait");
	need(ptrace(PTRACE_PEEKDATA, me->pid, at, 0) == (long)past[i], "a POKE is lost");
	need(!ptrace(PTRACE_POKEDATA, me->pid, at, word), "poke: %s", strerror(errno));
	need(!ptrace(PTRACE_DETACH, me->pid, 0, 0), "detach: %s", strerror(errno));
	past[i] = word;
	event();
}

static void run_madvise(unsigned int n)
{
	static const int advice[] = { MADV_COLD, MADV_COLLAPSE, MADV_PAGEOUT };
	int how = advice[n % ARRAY_SIZE(advice)], pidfd, i;
	struct iovec range;
	ssize_t ret;

	pidfd = syscall(SYS_pidfd_open, me->pid, 0);
	can(!syscall(SYS_process_madvise, pidfd, NULL, 0, how, 0), "no process_madvise()");
	for (i = 0; i < NR_PARTS; i++) {
		if (how == MADV_COLLAPSE && i != LARGE)
			continue;
		range = (struct iovec) { parts[i].at, part_len(parts + i) };
		ret = syscall(SYS_process_madvise, pidfd, &range, 1, how, 0);
		need(ret >= 0 || errno == EINVAL || errno == EAGAIN || errno == EBUSY ||
		     errno == ENOMEM, "process_madvise: %s", strerror(errno));
		if (ret > 0)
			event();
	}
	close(pidfd);
}

/* A write by mem or by PTRACE_POKEDATA is not lost, and is not in the child. */
FIXTURE_VARIANT_ADD(storm, mem_writer) {
	.before = write_busy_words, .after = check_busy_words, .run = run_mem_writer,
	.processes = 1, .what = "writes",
};

FIXTURE_VARIANT_ADD(storm, ptrace) {
	.before = write_busy_words, .after = check_busy_words, .run = run_ptrace,
	.processes = 1, .what = "PEEK and POKE",
};

/* Pages that are made huge, paged out or merged meanwhile have the same bytes. */
FIXTURE_VARIANT_ADD(storm, madvise) {
	.run = run_madvise, .processes = 1, .what = "madvise() by another",
};

static void look_for_merged(unsigned int n)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", me->pid);
	if (number(path) > 0)
		event();
}

FIXTURE_VARIANT_ADD(storm, ksm) {
	.run = look_for_merged, .processes = 1, .what = "saw merged pages", .settings = {
		{ KSM "sleep_millisecs", 0 }, { KSM "pages_to_scan", 1000 }, { KSM "run", 1 },
	},
};

FIXTURE_VARIANT_ADD(storm, khugepaged) {
	.what = "collapsed", .counter = THP "khugepaged/pages_collapsed", .settings = {
		{ THP "khugepaged/scan_sleep_millisecs", 0 },
		{ THP "khugepaged/alloc_sleep_millisecs", 0 },
		{ THP "khugepaged/pages_to_scan", 4096 },
	},
};

/*
 * Beside it: other tasks of the parent, which come and go. Each has one busy page.
 */

static int touch_busy_page(void *arg)
{
	unsigned int n, i = (uintptr_t)arg;
	char *at = part_page(busy, i);
	static __u32 seed[2] = { 1, 2 };

	spread();
	for (n = next_random(seed + i) % 16; n; n--) {
		madvise(at, PAGE, MADV_DONTNEED);
		page_write(at, part_word(busy, i, n));
		event();
	}
	return 0;
}

static void *touch_in_thread(void *arg)
{
	pid_t pid = beside->vfork ? vfork() : 0;

	if (!pid)
		touch_busy_page(arg);
	if (!pid && beside->vfork)
		_exit(0);
	if (pid)
		waitpid(pid, NULL, 0);
	return NULL;
}

static pthread_t threads[2];
static pid_t clones[2];

static void start_tasks(void)
{
	uintptr_t i;

	for (i = 0; i < 2; i++) {
		if (beside->threads)
			threads[i] = start(touch_in_thread, (void *)i);
		else
			clones[i] = start_clone(touch_busy_page, 0, i);
	}
}

static void end_tasks(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		if (beside->threads)
			pthread_join(threads[i], NULL);
		else
			await(clones[i], "clone");
	}
}

/* Threads, children by vfork() and tasks with CLONE_VM write to the parent only. */
FIXTURE_VARIANT_ADD(storm, threads) {
	.before = start_tasks, .after = end_tasks, .threads = true, .what = "page faults",
};

FIXTURE_VARIANT_ADD(storm, vforks) {
	.before = start_tasks, .after = end_tasks, .threads = true, .vfork = true,
	.what = "page faults",
};

FIXTURE_VARIANT_ADD(storm, clones) {
	.before = start_tasks, .after = end_tasks, .what = "page faults",
};

/*
 * Beside it: workers of io_uring, which read a file into the busy pages.
 */

static struct {
	int fd, file;
	struct io_uring_params params;
	char *rings;
	struct io_uring_sqe *sqes;
} io;

static __u32 *io_ring(__u32 offset)
{
	return (__u32 *)(io.rings + offset);
}

static void prepare_io(void)
{
	io.file = new_file(busy, 42);
	io.fd = syscall(SYS_io_uring_setup, busy->pages, &io.params);
	can(io.fd >= 0 && io.params.features & IORING_FEAT_SINGLE_MMAP, "no io_uring");
	io.rings = mmap(NULL, PAGE, RW, MAP_SHARED, io.fd, IORING_OFF_SQ_RING);
	io.sqes = mmap(NULL, PAGE, RW, MAP_SHARED, io.fd, IORING_OFF_SQES);
	need(io.rings != MAP_FAILED && io.sqes != MAP_FAILED, "mmap of io_uring");
}

static void submit_reads(void)
{
	unsigned int i;

	madvise(busy->at, part_len(busy), MADV_DONTNEED);
	for (i = 0; i < busy->pages; i++) {
		io.sqes[i] = (struct io_uring_sqe) {
			.opcode = IORING_OP_READ, .flags = IOSQE_ASYNC, .fd = io.file,
			.addr = (uintptr_t)part_page(busy, i), .off = i * PAGE, .len = PAGE,
		};
		io_ring(io.params.sq_off.array)[i] = i;
	}
	__atomic_fetch_add(io_ring(io.params.sq_off.tail), busy->pages, __ATOMIC_RELEASE);
	need(syscall(SYS_io_uring_enter, io.fd, busy->pages, 0, 0, NULL, 0) == busy->pages,
	     "io_uring_enter");
}

static void wait_for_reads(void)
{
	const struct io_uring_cqe *cqes = (void *)io_ring(io.params.cq_off.cqes);
	__u32 head = *io_ring(io.params.cq_off.head), mask = *io_ring(io.params.cq_off.ring_mask);
	__u32 *tail = io_ring(io.params.cq_off.tail);
	unsigned int i;

	while (__atomic_load_n(tail, __ATOMIC_ACQUIRE) - head < busy->pages)
		syscall(SYS_io_uring_enter, io.fd, 0, busy->pages, IORING_ENTER_GETEVENTS, NULL, 0);
	for (i = 0; i < busy->pages; i++, event())
		need(cqes[(head + i) & mask].res == PAGE, "IORING_OP_READ");
	__atomic_store_n(io_ring(io.params.cq_off.head), head + busy->pages, __ATOMIC_RELEASE);
	part_check(busy, 42, "read by io_uring");
}

/* The parent has all that a worker read. */
FIXTURE_VARIANT_ADD(storm, io_uring) {
	.prepare = prepare_io, .before = submit_reads, .after = wait_for_reads,
	.what = "reads by workers",
};

/*
 * Beside it: a process that has a userfaultfd of the parent. It fills the busy
 * pages and protects the small ones from writes for a while; and a thread of the
 * parent moves pages between two places. The process needs no events but those of
 * a fork(): it goes on with all pages, and what it does wakes who waits. While a
 * child shares a page, nobody moves it.
 */

static unsigned int moving_value;

/* Only in one of the two places, this time. */
static char *where_is(unsigned int i)
{
	const __u64 mapped = PM_PRESENT | PM_SWAP;
	bool in[2];
	int n;

	for (n = 0; n < 2; n++)
		in[n] = pagemap_entry(getpid(), places[n] + i * PAGE) & mapped;
	need(in[0] != in[1], "moving page %u is %s", i, in[0] ? "in both places" : "lost");
	return places[in[1]] + i * PAGE;
}

static void discard_busy(void)
{
	madvise(busy->at, part_len(busy), MADV_DONTNEED);
}

/* What is missing is not the monitor's any more, or will soon not be: zeros. */
static void child_has_moving(void)
{
	bool first, second;
	unsigned int i;

	for (i = 0; i < MOVING; i++) {
		first = page_is(places[0] + i * PAGE, full_of(moving_value, i));
		second = page_is(places[1] + i * PAGE, full_of(moving_value, i));
		need(first != second, "child has moving page %u in %s", i,
		     first ? "both places" : "no place");
		need(page_is(places[first] + i * PAGE, 0), "other place of %u has bytes", i);
		page_write(places[0] + i * PAGE, full_of(BY_CHILD, i));
		page_write(places[1] + i * PAGE, full_of(BY_CHILD, i));
	}
}

/* As the page was shared by fork(), it stays until it is written to. */
static void parent_has_moving(void)
{
	unsigned int i, past = moving_value;
	char *at;

	moving_value = moving_value % 127 + 1;
	for (i = 0; i < MOVING; i++) {
		at = where_is(i);
		need(page_is(at, full_of(past, i)), "moving page %u is %llx", i, *(__u64 *)at);
		page_write(at, full_of(moving_value, i));
	}
}

/* To close what came with the event gives up the child's memory. */
static void monitor_events(int uffd)
{
	struct uffd_msg msg;

	while (read(uffd, &msg, sizeof(msg)) == sizeof(msg))
		if (msg.event == UFFD_EVENT_FORK)
			close(msg.arg.fork.ufd);
}

/* EAGAIN: the parent forks. */
static bool uffd_try(int uffd, unsigned long request, void *arg)
{
	if (!ioctl(uffd, request, arg))
		return true;
	need(errno == EEXIST || errno == ENOENT || errno == EBUSY || errno == EAGAIN,
	     "userfaultfd, %lx: %s", request, strerror(errno));
	return false;
}

/* Only a task of the same mm may move. */
static void *move_for_ever(void *arg)
{
	unsigned int i;

	spread();
	for (i = 0;; i++) {
		size_t off = i / 2 % MOVING * PAGE;
		struct uffdio_move move = {
			(uintptr_t)places[i % 2 == 0] + off, (uintptr_t)places[i % 2] + off, PAGE,
		};

		shared->moved += uffd_try(shared->uffd, UFFDIO_MOVE, &move);
	}
	return NULL;
}

static void prepare_uffd(void)
{
	size_t len = 2 * MOVING * PAGE;
	unsigned int i;
	int fd;

	map_pages(places[0], len, ANON, -1);
	madvise(places[0], len, MADV_NOHUGEPAGE);
	moving_value = 1;
	for (i = 0; i < MOVING; i++)
		page_write(places[0] + i * PAGE, full_of(moving_value, i));
	fd = new_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP | beside->uffd_features);
	uffd_register(fd, small->at, part_len(small), UFFDIO_REGISTER_MODE_WP);
	uffd_register(fd, busy->at, part_len(busy), UFFDIO_REGISTER_MODE_MISSING);
	uffd_register(fd, places[0], len, UFFDIO_REGISTER_MODE_MISSING);
	shared->uffd = fd;
	if (beside->uffd_features & UFFD_FEATURE_MOVE)
		start(move_for_ever, NULL);
}

static void run_monitor(unsigned int n)
{
	static char page[PAGE];
	static int uffd = -1;
	unsigned int i;

	if (uffd < 0)
		uffd = syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, me->pid, 0),
			       shared->uffd, 0);
	can(uffd >= 0, "no pidfd_getfd()");
	monitor_events(uffd);
	for (i = 0; i < busy->pages; i++) {
		uintptr_t at = (uintptr_t)part_page(busy, i);
		struct uffdio_copy copy = { at, (uintptr_t)page, PAGE };
		struct uffdio_zeropage zero = { { at, PAGE } };

		page_write(page, part_word(busy, i, n % 127 + 1));
		shared->filled += (n + i) % 2 ? uffd_try(uffd, UFFDIO_COPY, &copy) :
						uffd_try(uffd, UFFDIO_ZEROPAGE, &zero);
	}
	for (i = 0; i < 2; i++) {
		struct uffdio_writeprotect wp = {
			{ (uintptr_t)small->at, part_len(small) },
			i ? 0 : UFFDIO_WRITEPROTECT_MODE_WP,
		};

		while (ioctl(uffd, UFFDIO_WRITEPROTECT, &wp)) {
			need(errno == EAGAIN, "UFFDIO_WRITEPROTECT: %s", strerror(errno));
			monitor_events(uffd);
		}
	}
}

/* Something of each kind has been done since the last time. */
static void count_filled(void)
{
	static unsigned long filled, moved;

	if (shared->filled == filled ||
	    (beside->uffd_features & UFFD_FEATURE_MOVE && shared->moved == moved))
		return;
	filled = shared->filled;
	moved = shared->moved;
	event();
}

#define BESIDE_UFFD								\
	.prepare = prepare_uffd, .before = discard_busy, .child = child_has_moving,	\
	.look = parent_has_moving, .after = count_filled, .run = run_monitor,		\
	.processes = 1, .quiet = true, .what = "forks while pages were filled, and moved"

/* No page is lost, or in two places, with each kind of event and without. */
FIXTURE_VARIANT_ADD(storm, uffd) { BESIDE_UFFD };

FIXTURE_VARIANT_ADD(storm, uffd_event) {
	BESIDE_UFFD, .uffd_features = UFFD_FEATURE_EVENT_FORK,
};

FIXTURE_VARIANT_ADD(storm, uffd_move) {
	BESIDE_UFFD, .uffd_features = UFFD_FEATURE_MOVE,
};

FIXTURE_VARIANT_ADD(storm, uffd_move_event) {
	BESIDE_UFFD, .uffd_features = UFFD_FEATURE_MOVE | UFFD_FEATURE_EVENT_FORK,
};

/*
 * Running it.
 */

FIXTURE_SETUP(storm)
{
	const struct setting *s;
	const char *why;

	beside = variant;
	if (!share(_metadata))
		return;
	for (s = beside->settings; s->path; s++) {
		if (setting_put(s->path, s->value))
			continue;
		setting_restore();
		SKIP(return, "cannot set %s", s->path);
	}
	why = provide_swap(false);
	if (why)
		note("%s", why);
	place_parts();
	sched_getaffinity(0, sizeof(cpus), &cpus);
	self->scenario = (struct scenario) { prepare, step_fork, .nr_states = 1 };
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
}

FIXTURE_TEARDOWN(storm)
{
	unsigned int i;

	if (self->target.ctl)
		target_end(&self->target);
	for (i = 0; i < ARRAY_SIZE(self->pid) && self->pid[i] > 0; i++) {
		kill(self->pid[i], SIGKILL);
		waitpid(self->pid[i], NULL, 0);
	}
	EXPECT_TRUE(setting_restore());
}

static pid_t start_beside(struct target *t)
{
	pid_t pid = fork();
	unsigned int n;

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	me = t;
	for (n = 0;; n++)
		beside->run(n);
}

static int pass_mem(struct window *w, void *arg)
{
	const char *why = NULL;

	if (beside->quiet)
		sched_yield();
	else
		why = look_at_mem(((struct target *)arg)->pid);

	snprintf(w->why, sizeof(w->why), "mem: not the parent's bytes: %s", why ?: "");
	return why || shared->why[0] ? -1 : 0;
}

TEST_F_TIMEOUT(storm, bytes, test_timeout())
{
	long before[NR_COUNTERS] = {}, after[NR_COUNTERS] = {}, begin = 0;
	enum race_result result = RACE_FAILED;
	struct target *t = &self->target;
	unsigned long forks;
	bool counters;
	unsigned int i;
	__u64 end;

	target_apart(t);
	if (beside->counter) {
		/* The control: nobody else moves it */
		begin = number(beside->counter);
		end = now_ms() + 1000;
		while (now_ms() < end)
			;
		if (number(beside->counter) != begin)
			SKIP(return, "others move %s", beside->counter);
	}
	counters = read_counters(before);
	if (target_do(t, TARGET_PREPARE)) {
		for (i = 0; i < beside->processes; i++) {
			self->pid[i] = start_beside(t);
			ASSERT_LT(0, self->pid[i]);
		}
		result = race_run(t, &self->window, duration_ms(), pass_mem, t);
	}
	if (shared->skip[0])
		SKIP(return, "%s", shared->skip);
	read_counters(after);
	ASSERT_STREQ("", shared->why);
	for (i = 0; i < beside->processes; i++)
		ASSERT_EQ(0, waitpid(self->pid[i], NULL, WNOHANG));
	if (!race_verdict(_metadata, &self->window, result))
		return;
	if (beside->counter)
		shared->events = number(beside->counter) - begin;
	forks = target_steps(t);
	note("%lu forks, pages: %lu swapped, %lu huge; %s: %lu", forks, shared->swapped,
	     shared->huge, beside->what ?: "nothing", shared->events);
	if (shared->filled)
		note("userfaultfd: %lu pages filled, %lu moved", shared->filled, shared->moved);
	if (counters)
		note("of all forks were %ld alone, %ld users, %ld uffd",
		     after[ALONE] - before[ALONE], after[USERS] - before[USERS],
		     after[UFFD] - before[UFFD]);
	if (beside->what && !shared->events)
		SKIP(return, "race not seen in %lu forks: %s: 0", forks, beside->what);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], EXEC_COUNT)) {
		attach(atoi(argv[2]));
		return shared == MAP_FAILED ? 1 : clone_counts(NULL);
	}
	return test_harness_run(argc, argv);
}
