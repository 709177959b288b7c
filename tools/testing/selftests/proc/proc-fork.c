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
static struct shared {
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
		snprintf(shared->skip, sizeof(shared->skip), "%s: %s", what, strerror(errno));
	need(ok, "%s", what);
}

static bool share(struct __test_metadata *_metadata)
{
	if (sysconf(_SC_PAGESIZE) != PAGE)
		SKIP(return false, "made for pages of 4 KiB");
	shared = mmap(NULL, sizeof(*shared), RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	return true;
}

/* Let another process do it. */
static void elsewhere(struct __test_metadata *_metadata, void (*run)(void))
{
	pid_t pid = fork();
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		run();
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	if (shared->skip[0])
		SKIP(return, "%s", shared->skip);
	ASSERT_EQ(0, status)
		TH_LOG("%s", shared->why);
}

static char *map_pages(size_t len, int flags)
{
	char *at = mmap(NULL, len, RW, flags, -1, 0);

	need(at != MAP_FAILED, "mmap: %s", strerror(errno));
	return at;
}

static void *sleep_for_ever(void *arg)
{
	for (;;)
		pause();
	return NULL;
}

static pthread_t start(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	need(!pthread_create(&thread, NULL, run, arg), "pthread_create");
	return thread;
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
	static struct maps_reader r;
	struct maps_line line;
	long n = 0;

	r.fd = maps_open(getpid());
	r.size = READ_LARGE;
	maps_rewind(&r, 0);
	while (maps_next(&r, &line) == 1)
		n += strcmp(line.name, "[vsyscall]") != 0;
	close(r.fd);
	return n;
}

#define FORKS 8

/* The control: counters of the machine say nothing if others fork meanwhile. */
static void count_nothing(__u64 ms)
{
	long before[NR_COUNTERS], after[NR_COUNTERS];
	__u64 end = now_ms() + ms;

	need(read_counters(before), "no counters");
	while (now_ms() < end)
		;
	read_counters(after);
	errno = EBUSY;
	can(!memcmp(before, after, sizeof(before)), "others fork");
}

static void count_forks(void)
{
	long before[NR_COUNTERS], after[NR_COUNTERS];
	__u64 begin = now_ms();
	pid_t pid;
	int i;

	shared->vmas = count_vmas();
	need(read_counters(before), "no counters");
	for (i = 0; i < FORKS; i++) {
		pid = fork();
		need(pid >= 0, "fork");
		if (!pid)
			_exit(0);
		need(waitpid(pid, NULL, 0) == pid, "waitpid");
	}
	read_counters(after);
	for (i = 0; i < NR_COUNTERS; i++)
		shared->counted[i] = after[i] - before[i];
	count_nothing(2 * (now_ms() - begin) + 100);
}

static void count_with_thread(void)
{
	start(sleep_for_ever, NULL);
	count_forks();
}

static void *end_at_once(void *tid)
{
	*(pid_t *)tid = gettid();
	return NULL;
}

/* It is joined before it has dropped the mm, but listed until then. */
static void count_after_thread(void)
{
	char path[64];
	pid_t tid;

	pthread_join(start(end_at_once, &tid), NULL);
	snprintf(path, sizeof(path), "/proc/self/task/%d", tid);
	while (!access(path, F_OK))
		sched_yield();
	count_forks();
}

static max_align_t stack[2][1024];

static pid_t start_clone(int (*run)(void *), int flags, unsigned int i)
{
	pid_t pid = clone(run, stack[i] + ARRAY_SIZE(stack[i]), CLONE_VM | flags | SIGCHLD,
			  (void *)(uintptr_t)i);

	need(pid > 0, "clone: %s", strerror(errno));
	return pid;
}

static int clone_sleeps(void *arg)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	sleep_for_ever(NULL);
	return 0;
}

static void count_with_clone(void)
{
	pid_t pid = start_clone(clone_sleeps, 0, 0);

	count_forks();
	kill(pid, SIGKILL);
}

static int clone_counts(void *arg)
{
	count_forks();
	return 0;
}

static void count_in_vfork(void)
{
	start_clone(clone_counts, CLONE_VFORK, 0);
}

static int clone_ends(void *arg)
{
	return 0;
}

static void count_after_clone(void)
{
	pid_t pid = start_clone(clone_ends, CLONE_VFORK, 0);

	need(waitpid(pid, NULL, 0) == pid, "waitpid");
	count_forks();
}

static void count_with_uffd(void)
{
	new_uffd(0);
	count_forks();
}

static void count_after_uffd(void)
{
	close(new_uffd(0));
	count_forks();
}

static void count_in_child(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		count_forks();
		_exit(0);
	}
	need(waitpid(pid, &status, 0) == pid && !status, "child: %s", shared->why);
}

static void count_in_uffd_child(void)
{
	uffd_register(new_uffd(0), map_pages(PAGE, ANON), PAGE, UFFDIO_REGISTER_MODE_MISSING);
	count_in_child();
}

/* A fork() waits until its event was read, also one by the child. */
static void *read_fork_events(void *uffd)
{
	struct pollfd fds[2 * FORKS] = { { *(int *)uffd, POLLIN } };
	struct uffd_msg msg;
	int i, nr = 1;

	while (poll(fds, nr, -1) > 0)
		for (i = 0; i < nr && nr < 2 * FORKS; i++)
			if (read(fds[i].fd, &msg, sizeof(msg)) == sizeof(msg))
				fds[nr++] = (struct pollfd) { msg.arg.fork.ufd, POLLIN };
	return NULL;
}

static void count_in_uffd_child_event(void)
{
	int uffd = new_uffd(UFFD_FEATURE_EVENT_FORK);

	uffd_register(uffd, map_pages(PAGE, ANON), PAGE, UFFDIO_REGISTER_MODE_MISSING);
	start(read_fork_events, &uffd);
	count_in_child();
}

/* Its new program maps the shared memory at a descriptor. */
static void count_after_exec(void)
{
	int fd = memfd_create("shared", 0);
	struct shared *theirs;
	int status;
	pid_t pid;

	need(!ftruncate(fd, sizeof(*theirs)), "ftruncate");
	theirs = mmap(NULL, sizeof(*theirs), RW, MAP_SHARED, fd, 0);
	need(theirs != MAP_FAILED, "mmap");
	pid = fork();
	if (!pid) {
		char text[16];

		new_uffd(0);
		snprintf(text, sizeof(text), "%d", fd);
		execl("/proc/self/exe", "proc-fork", EXEC_COUNT, text, NULL);
		_exit(2);
	}
	need(waitpid(pid, &status, 0) == pid, "waitpid");
	if (theirs->skip[0])
		memcpy(shared->skip, theirs->skip, sizeof(shared->skip));
	if (!shared->skip[0])
		need(!status, "new program: %x %s", status, theirs->why);
	memcpy(shared->counted, theirs->counted, sizeof(shared->counted));
	shared->vmas = theirs->vmas;
}

static int exec_main(int fd)
{
	shared = mmap(NULL, sizeof(*shared), RW, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		return 1;
	count_forks();
	return 0;
}

static void count_with_sqpoll(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SQPOLL };

	can(syscall(SYS_io_uring_setup, 4, &params) >= 0, "no io_uring");
	count_forks();
}

/* khugepaged has another reference of this kind. */
static void count_with_maps_open(void)
{
	need(open("/proc/self/maps", O_RDONLY) >= 0, "maps");
	count_forks();
}

FIXTURE(count)
{
};

FIXTURE_VARIANT(count)
{
	void (*run)(void);
	enum counter counter;
};

FIXTURE_VARIANT_ADD(count, alone) { count_forks, ALONE };
FIXTURE_VARIANT_ADD(count, thread) { count_with_thread, USERS };
FIXTURE_VARIANT_ADD(count, thread_gone) { count_after_thread, ALONE };
FIXTURE_VARIANT_ADD(count, clone_vm) { count_with_clone, USERS };
FIXTURE_VARIANT_ADD(count, clone_vm_gone) { count_after_clone, ALONE };
FIXTURE_VARIANT_ADD(count, vfork) { count_in_vfork, USERS };
FIXTURE_VARIANT_ADD(count, sqpoll) { count_with_sqpoll, USERS };
FIXTURE_VARIANT_ADD(count, maps_open) { count_with_maps_open, ALONE };
FIXTURE_VARIANT_ADD(count, uffd) { count_with_uffd, UFFD };
FIXTURE_VARIANT_ADD(count, uffd_closed) { count_after_uffd, UFFD };
FIXTURE_VARIANT_ADD(count, uffd_child) { count_in_uffd_child, ALONE };
FIXTURE_VARIANT_ADD(count, uffd_child_event) { count_in_uffd_child_event, UFFD };
FIXTURE_VARIANT_ADD(count, uffd_exec) { count_after_exec, ALONE };

FIXTURE_SETUP(count)
{
	long now[NR_COUNTERS];

	if (!read_counters(now))
		SKIP(return, "no counters of forks");
	share(_metadata);
}

FIXTURE_TEARDOWN(count)
{
}

TEST_F(count, each)
{
	bool alone = variant->counter == ALONE;
	long *counted;
	int i;

	elsewhere(_metadata, variant->run);
	if (shared->skip[0])
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

static void filled(const char *at, size_t len, char byte, const char *what)
{
	need(*at == byte && !memcmp(at, at + 1, len - 1), "%s", what);
}

static void inherit_dontfork(char *at, size_t len, bool child)
{
	unsigned char in_core;

	if (child)
		need(mincore(at, PAGE, &in_core) && errno == ENOMEM, "is in the child");
	else
		need(!madvise(at, len, MADV_DONTFORK), "MADV_DONTFORK");
}

static void inherit_wipeonfork(char *at, size_t len, bool child)
{
	if (child)
		filled(at, len, 0, "not wiped");
	else
		need(!madvise(at, len, MADV_WIPEONFORK), "MADV_WIPEONFORK");
}

static void inherit_protected(char *at, size_t len, bool child)
{
	need(!mprotect(at, len, child ? RW : PROT_NONE), "mprotect");
	if (child)
		filled(at, len, 'P', "not as in the parent");
}

static void inherit_plain(char *at, size_t len, bool child)
{
	if (child)
		filled(at, len, 'P', "not as in the parent");
}

/* Of the mapping at @at, in "VmFlags:" of smaps. */
static bool has_vm_flag(const char *at, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "r");
	unsigned long from, to;
	bool here = false;
	char line[512];

	need(f, "smaps");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = from <= (uintptr_t)at && (uintptr_t)at < to;
		if (here && !strncmp(line, "VmFlags:", 8))
			break;
	}
	fclose(f);
	need(here, "no VmFlags");
	return strstr(line, flag);
}

static void inherit_locked(char *at, size_t len, bool child)
{
	if (!child)
		need(!mlock(at, len), "mlock: %s", strerror(errno));
	need(has_vm_flag(at, " lo ") == !child, child ? "is locked" : "is not locked");
	inherit_plain(at, len, child);
}

static void inherit_locked_on_fault(char *at, size_t len, bool child)
{
	if (!child)
		need(!syscall(SYS_mlock2, at, len, MLOCK_ONFAULT), "mlock2: %s", strerror(errno));
	inherit_locked(at, len, child);
}

/* Without an event nobody answers faults of the child: they are as everywhere. */
static void inherit_registered(char *at, size_t len, bool child)
{
	if (!child)
		uffd_register(new_uffd(UFFD_FEATURE_SIGBUS), at, len,
			      UFFDIO_REGISTER_MODE_MISSING);
	need(has_vm_flag(at, " um ") == !child, child ? "is registered" : "is not registered");
	inherit_plain(at, len, child);
	if (!child)
		return;
	need(!madvise(at, len, MADV_DONTNEED), "MADV_DONTNEED");
	filled(at, len, 0, "not zeros");
}

FIXTURE(inherit)
{
	long hugepages;
};

FIXTURE_VARIANT(inherit)
{
	void (*change)(char *at, size_t len, bool child);
	bool gone;		/* the child does not have it */
	bool hugetlb;
};

FIXTURE_VARIANT_ADD(inherit, dontfork) { inherit_dontfork, true };
FIXTURE_VARIANT_ADD(inherit, wipeonfork) { inherit_wipeonfork };
FIXTURE_VARIANT_ADD(inherit, protected) { inherit_protected };
FIXTURE_VARIANT_ADD(inherit, locked) { inherit_locked };
FIXTURE_VARIANT_ADD(inherit, locked_on_fault) { inherit_locked_on_fault };
FIXTURE_VARIANT_ADD(inherit, uffd_registered) { inherit_registered };
FIXTURE_VARIANT_ADD(inherit, hugetlb) { inherit_plain, .hugetlb = true };

FIXTURE_SETUP(inherit)
{
	self->hugepages = -1;
	if (!share(_metadata) || !variant->hugetlb)
		return;
	self->hugepages = number(NR_HUGEPAGES);
	if (!set_number(NR_HUGEPAGES, self->hugepages + 4)) {
		set_number(NR_HUGEPAGES, self->hugepages);
		SKIP(return, "cannot reserve huge pages");
	}
}

FIXTURE_TEARDOWN(inherit)
{
	if (self->hugepages >= 0)
		set_number(NR_HUGEPAGES, self->hugepages);
}

static const struct _fixture_variant_inherit *inherited;

static void inherit(void)
{
	size_t len = inherited->hugetlb ? HUGE : 4 * PAGE;
	char *at = map_pages(len, ANON | (inherited->hugetlb ? MAP_HUGETLB : 0));
	int status;
	pid_t pid;

	memset(at, 'P', len);
	inherited->change(at, len, false);
	pid = fork();
	need(pid >= 0, "fork");
	if (!pid) {
		inherited->change(at, len, true);
		if (!inherited->gone)
			memset(at, 'C', len);
		_exit(0);
	}
	need(waitpid(pid, &status, 0) == pid && !status, "child: %x", status);
	need(!mprotect(at, len, RW), "mprotect");
	filled(at, len, 'P', "parent's memory has changed");
	munmap(at, len);
}

static void inherit_with_thread(void)
{
	start(sleep_for_ever, NULL);
	inherit();
}

static void inherit_with_uffd(void)
{
	new_uffd(0);
	inherit();
}

TEST_F(inherit, alone)
{
	inherited = variant;
	elsewhere(_metadata, inherit);
}

TEST_F(inherit, thread)
{
	inherited = variant;
	elsewhere(_metadata, inherit_with_thread);
}

TEST_F(inherit, uffd)
{
	inherited = variant;
	elsewhere(_metadata, inherit_with_uffd);
}

/*
 * A fork() that fails in the middle: it refuses to copy a mapping that is larger than
 * memory and swap, unless the kernel is told to overcommit always or never. Of what is
 * copied before it, and what would be copied behind it, nothing is lost.
 */

#define FAILING 100		/* forks */

static void map_around(char *at, bool uffd)
{
	size_t len = 4 * PAGE;

	/* Each has a gap behind it */
	need(!mprotect(at, len, RW), "mprotect");
	memset(at, 'P', len);
	at += len + PAGE;
	need(!mprotect(at, len, RW), "mprotect");
	memset(at, 'P', len);
	need(!madvise(at, len, MADV_DONTFORK), "MADV_DONTFORK");
	at += len + PAGE;
	need(!mprotect(at, len, RW), "mprotect");
	memset(at, 'P', len);
	need(!mlock(at, len), "mlock");
	at += len + PAGE;
	need(mmap(at, len, RW, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == at, "mmap");
	memset(at, 'P', len);
	at += len + PAGE;
	need(!mprotect(at, len, RW), "mprotect");
	memset(at, 'P', len);
	/* Nobody reads events: there must be none */
	if (uffd)
		uffd_register(new_uffd(UFFD_FEATURE_EVENT_FORK), at, len,
			      UFFDIO_REGISTER_MODE_MISSING);
}

#define AROUND (25 * PAGE)

static void check_around(char *at, bool child)
{
	int i;

	for (i = 0; i < 5; i++, at += 5 * PAGE) {
		if (child && i == 1)
			continue;	/* not copied */
		filled(at, 4 * PAGE, 'P', child ? "child: not as in the parent" : "has changed");
		if (child && i != 3)
			memset(at, 'C', 4 * PAGE);
		else
			memset(at, 'P', 4 * PAGE);
	}
}

static bool failing_uffd;

static void fork_fails(void)
{
	size_t half, memory = sysconf(_SC_PHYS_PAGES) * PAGE;
	char *begin, *end, line[128];
	FILE *f = fopen("/proc/meminfo", "r");
	int i, status;
	long kb;
	pid_t pid;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "SwapTotal: %ld", &kb) == 1)
			memory += kb << 10;
	if (f)
		fclose(f);
	/* Each half is allowed, and they are merged */
	half = (memory / 2 + memory / 16) & -HUGE;
	begin = mmap(NULL, 2 * (half + AROUND), PROT_NONE, ANON, -1, 0);
	can(begin != MAP_FAILED, "no room");
	end = begin + AROUND + 2 * half;
	map_around(begin, failing_uffd);
	map_around(end, false);
	can(!mprotect(begin + AROUND, half, RW), "no memory for a half");
	can(!mprotect(begin + AROUND + half, half, RW), "no memory for the other half");

	for (i = 0; i < FAILING; i++) {
		pid = fork();
		if (!pid)
			_exit(0);
		need(pid < 0, "fork() did not fail");
		need(errno == ENOMEM, "fork: %s", strerror(errno));
		check_around(begin, false);
		check_around(end, false);
	}
	if (failing_uffd)
		return;
	munmap(begin + AROUND, 2 * half);
	pid = fork();
	need(pid >= 0, "fork: %s", strerror(errno));
	if (!pid) {
		check_around(begin, true);
		check_around(end, true);
		_exit(0);
	}
	need(waitpid(pid, &status, 0) == pid && !status, "child: %x %s", status, shared->why);
	check_around(begin, false);
	check_around(end, false);
}

static void fork_fails_with_thread(void)
{
	start(sleep_for_ever, NULL);
	fork_fails();
}

FIXTURE(failing)
{
};

FIXTURE_VARIANT(failing)
{
	void (*run)(void);
	bool uffd;
};

FIXTURE_VARIANT_ADD(failing, alone) { fork_fails };
FIXTURE_VARIANT_ADD(failing, thread) { fork_fails_with_thread };
FIXTURE_VARIANT_ADD(failing, uffd) { fork_fails, true };

FIXTURE_SETUP(failing)
{
	if (number("/proc/sys/vm/overcommit_memory"))
		SKIP(return, "the kernel overcommits always, or never");
	share(_metadata);
}

FIXTURE_TEARDOWN(failing)
{
}

TEST_F(failing, in_the_middle)
{
	failing_uffd = variant->uffd;
	elsewhere(_metadata, variant->run);
}

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

static void fork_and_write(void)
{
	size_t i, len = (WRITTEN + COPIED_LATER) * PAGE;
	__u64 end;
	pid_t pid;

	written = map_pages(len, ANON);
	madvise(written, len, MADV_NOHUGEPAGE);
	for (i = WRITTEN; i < WRITTEN + COPIED_LATER; i++) {
		written[i * PAGE] = 1;
		need(i % 2 || !mprotect(written + i * PAGE, PAGE, PROT_READ), "mprotect");
	}
	pin(1);
	start(write_always, NULL);
	start(write_in_forks, NULL);
	end = now_ms() + duration_ms();
	while (now_ms() < end) {
		__atomic_add_fetch(&forks, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &forks, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		pid = fork();
		need(pid >= 0, "fork: %s", strerror(errno));
		if (!pid)
			_exit(0);
		__atomic_add_fetch(&forks, 1, __ATOMIC_SEQ_CST);
		need(waitpid(pid, NULL, 0) == pid, "waitpid");
	}
	note("%u forks, in %lu of them a thread began to write", forks / 2, shared->events);
}

FIXTURE(threads)
{
};

FIXTURE_SETUP(threads)
{
	sched_getaffinity(0, sizeof(cpus), &cpus);
	if (CPU_COUNT(&cpus) < 2)
		SKIP(return, "needs two CPUs");
	share(_metadata);
}

FIXTURE_TEARDOWN(threads)
{
}

TEST_F_TIMEOUT(threads, no_write_lost, test_timeout())
{
	elsewhere(_metadata, fork_and_write);
	if (!shared->events)
		SKIP(return, "race not seen");
}

/*
 * The storm: a target that forks without pause, and has several kinds of memory.
 * A page is full of one 16-bit word: its number below a value, which is from 1 to
 * 127 if the parent wrote it, and has bit 7 set if a child did. Or of zeros.
 */

#define BY_CHILD 0x80

enum part_id { SMALL, LARGE, COPIED_FILE, SWAPPED, SAME, FILE_ONLY, ZEROS, COMMON, BUSY, NR_PARTS };

struct part {
	const char *name;
	unsigned int pages;
	unsigned int stride;	/* from page to page; 0: 1 */
	unsigned int every;	/* the parent writes each so many generations; 0: never */
	bool others;		/* others write */
	char *at;		/* in tester and target */
	unsigned int first;	/* number of its first page */
	__u8 value;
};

static struct part parts[NR_PARTS] = {
	[SMALL] = { "anonymous", 8, .every = 1 },
	[LARGE] = { "huge page", 4, .every = 1, .stride = 128 },
	[COPIED_FILE] = { "copied file", 2, .every = 1 },
	[SWAPPED] = { "swapped", 4, .every = 1 },
	[SAME] = { "mergeable", 8, .every = 16 },
	[FILE_ONLY] = { "file", 2, .value = 99 },
	[ZEROS] = { "zero page", 2 },
	[COMMON] = { "shared", 4, .every = 1 },
	[BUSY] = { "busy", 4, .others = true },
};

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
		if (off % 2 ? byte & BY_CHILD && p != parts + COMMON : byte && byte != nr)
			return false;
	}
	return true;
}

/* Reserve the same place in tester and target. */
static void place_parts(void)
{
	size_t len = 3 * HUGE;
	unsigned int nr = 1;
	struct part *p;
	char *at;

	at = mmap(NULL, len, PROT_NONE, ANON | MAP_NORESERVE, -1, 0);
	region = (char *)(((uintptr_t)at + HUGE - 1) & -HUGE);
	at = region + HUGE;
	for (p = parts; p < parts + NR_PARTS; p++) {
		p->first = nr;
		nr += p->pages;
		p->at = p == parts + LARGE ? region : at;
		if (p != parts + LARGE)
			at += part_len(p) + PAGE;
	}
	places[0] = at;
	places[1] = at + MOVING * PAGE;
}

static void map_part(struct part *p, int flags, int fd)
{
	need(mmap(p->at, part_len(p), RW, flags | MAP_FIXED, fd, 0) == p->at, "mmap");
	madvise(p->at, part_len(p), p == parts + LARGE ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
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

/* What is beside the storm. */
struct beside {
	void (*prepare)(void);		/* in the target */
	void (*before)(void);		/* each fork() */
	void (*after)(void);		/* the child has ended */
	void (*child)(void);		/* in each child */
	void (*look)(void);		/* in the parent, while there is a child */
	void (*run)(unsigned int n);	/* in other processes, again and again */
	unsigned int processes;
	const struct setting *settings;
	__u64 uffd_features;
	bool quiet;			/* the tester does not look into mem */
	const char *what;		/* shared->events counts */
	const char *counter;		/* or the change of this file */
};

static const struct beside *beside;

static void event(void)
{
	__atomic_add_fetch(&shared->events, 1, __ATOMIC_RELAXED);
}

static void prepare(struct target *t)
{
	struct part *p;

	me = t;
	for (p = parts; p < parts + NR_PARTS; p++) {
		if (p == parts + COPIED_FILE || p == parts + FILE_ONLY)
			map_part(p, MAP_PRIVATE, new_file(p, p->value));
		else
			map_part(p, p == parts + COMMON ? MAP_SHARED | MAP_ANONYMOUS : ANON, -1);
	}
	madvise(parts[SAME].at, part_len(parts + SAME), MADV_MERGEABLE);
	t->ctl->lo = (uintptr_t)region;
	t->ctl->hi = t->ctl->lo + 2 * HUGE;
	if (beside->prepare)
		beside->prepare();
}

static void part_write(struct part *p, unsigned int from, unsigned int to)
{
	unsigned int i;

	for (i = from; i < to; i++)
		page_write(part_page(p, i), part_word(p, i, p->value));
}

static void part_check(const struct part *p, unsigned int from, unsigned int to,
		       unsigned int value, const char *when)
{
	const char *at;
	unsigned int i;

	for (i = from; i < to; i++) {
		at = part_page(p, i);
		need(page_is(at, part_word(p, i, value)), "%s %d: %s page %u is %llx, not %llx",
		     when, getpid(), p->name, i, *(__u64 *)at, part_word(p, i, value));
	}
}

static void write_parts(unsigned int generation, bool again)
{
	struct part *p;

	for (p = parts; p < parts + NR_PARTS; p++) {
		if (!p->every || (generation - 1) % p->every)
			continue;
		p->value = p->value % 127 + 1;
		/* If again, the rest of the shared pages is the child's */
		part_write(p, 0, again && p == parts + COMMON ? p->pages / 2 : p->pages);
	}
}

/* Check what nobody else writes. */
static void check_parts(unsigned int by, const char *when)
{
	const struct part *p;

	for (p = parts; p < parts + NR_PARTS; p++)
		if (!p->others && p != parts + COMMON)
			part_check(p, 0, p->pages, p->value | by, when);
}

static __u64 pagemap(const char *at)
{
	int fd = maps_open_file(getpid(), "pagemap");
	__u64 pme = 0;

	need(pread(fd, &pme, 8, (uintptr_t)at / PAGE * 8) == 8, "pagemap");
	close(fd);
	return pme;
}

/* Nobody touched what follows the first page of the huge one. */
static void count_special_pages(bool fresh)
{
	const struct part *p = parts + SWAPPED;
	unsigned int i;

	for (i = 0; i < p->pages; i++)
		shared->swapped += !!(pagemap(part_page(p, i)) & PM_SWAP);
	shared->huge += fresh && pagemap(parts[LARGE].at + PAGE) & PM_PRESENT;
}

/* Run also where the target does not. */
static void spread(void)
{
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

static void child_main(__u32 generation)
{
	static char busy[4 * PAGE];
	struct part *p, *common = parts + COMMON;
	__u8 at_fork = common->value;
	unsigned int i, half = common->pages / 2;

	me = NULL;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	spread();
	check_parts(0, "new child");
	part_check(common, half, 2 * half, at_fork, "new child");
	for (i = 0; i < 4; i++) {
		memcpy(busy + i * PAGE, part_page(parts + BUSY, i), PAGE);
		need(page_is_parents(busy + i * PAGE, parts + BUSY, i), "busy page %d in child", i);
	}
	if (beside->child)
		beside->child();
	for (p = parts; p < parts + NR_PARTS; p++) {
		if (p == parts + BUSY)
			continue;
		p->value |= BY_CHILD;
		part_write(p, p == common ? half : 0, p->pages);
	}
	check_parts(BY_CHILD, "child");
	while (__atomic_load_n(&shared->done, __ATOMIC_SEQ_CST) != generation)
		syscall(SYS_futex, &shared->done, FUTEX_WAIT, generation - 1, NULL, NULL, 0);
	check_parts(BY_CHILD, "old child");
	part_check(common, 0, half, at_fork % 127 + 1, "old child");
	need(!memcmp(busy, parts[BUSY].at, sizeof(busy)), "busy pages changed in the child");
	parts[BUSY].value = BY_CHILD;
	part_write(parts + BUSY, 0, parts[BUSY].pages);
	_exit(0);
}

static void step_fork(struct target *t, unsigned int n)
{
	const struct part *common = parts + COMMON;
	static __u32 generation;
	unsigned int i;
	__u8 at_fork;
	bool fresh;
	int status;
	pid_t pid;

	fresh = generation++ % 16 == 0;
	/* Let it be a huge page again */
	if (fresh)
		madvise(parts[LARGE].at, HUGE, MADV_DONTNEED);
	write_parts(generation, false);
	at_fork = common->value;
	if (beside->before)
		beside->before();
	madvise(parts[SWAPPED].at, part_len(parts + SWAPPED), MADV_PAGEOUT);
	count_special_pages(fresh);
	pid = fork();
	need(pid >= 0, "fork: %s", strerror(errno));
	if (!pid)
		child_main(generation);
	check_parts(0, "new parent");
	if (beside->look)
		beside->look();
	write_parts(generation, true);
	check_parts(0, "parent");
	__atomic_store_n(&shared->done, generation, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &shared->done, FUTEX_WAKE, 1, NULL, NULL, 0);
	need(waitpid(pid, &status, __WALL) == pid && !status, "child's status is %x", status);
	check_parts(0, "old parent");
	part_check(common, 0, common->pages / 2, common->value, "old parent");
	part_check(common, common->pages / 2, common->pages, at_fork | BY_CHILD, "old parent");
	if (beside->after)
		beside->after();
	for (i = 0; i < parts[BUSY].pages; i++)
		need(page_is_parents(part_page(parts + BUSY, i), parts + BUSY, i),
		     "busy page %u in the parent", i);
}

/*
 * Beside it: readers.
 */

static char text[1 << 20];

static ssize_t slurp(pid_t pid, const char *name, char *to, size_t size)
{
	int fd = maps_open_file(pid, name);
	ssize_t n, len = 0;

	while ((n = read(fd, to + len, size - len)) > 0)
		len += n;
	close(fd);
	return n < 0 ? -1 : len;
}

static void read_text(const char *name)
{
	need(slurp(me->pid, name, text, sizeof(text)) > 0, "%s: %s", name, strerror(errno));
}

/* The target was forked by this process, or this one is another child. */
static void read_same(const char *name)
{
	static char own[65536];
	ssize_t len = slurp(getpid(), name, own, sizeof(own));

	need(len >= 0 && slurp(me->pid, name, text, sizeof(text)) == len &&
	     !memcmp(own, text, len), "other %s", name);
}

/* The parent's VMAs never change. */
static void read_maps(const char *name)
{
	static char first[65536];
	static ssize_t len;

	if (!len)
		len = slurp(me->pid, name, first, sizeof(first));
	need(len > 0 && slurp(me->pid, name, text, sizeof(text)) == len &&
	     !memcmp(first, text, len), "other %s", name);
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
	int i, ret;

	for (i = 0; i < NR_PARTS; i++) {
		ret = maps_query(fd, 0, (uintptr_t)parts[i].at, &line);
		need(ret == -ENOTTY || (ret == 1 && line.start == (uintptr_t)parts[i].at),
		     "PROCMAP_QUERY of %s: %d", parts[i].name, ret);
	}
	close(fd);
}

/* Return what is wrong, or NULL. */
static const char *look_at_mem(pid_t pid)
{
	int i, fd = maps_open_file(pid, "mem");
	const struct part *p;
	char page[PAGE];

	for (p = parts; p < parts + NR_PARTS; p++) {
		for (i = 0; i < (int)p->pages; i++) {
			/* userfaultfd may have a page that is missing */
			if (pread(fd, page, PAGE, (uintptr_t)part_page(p, i)) != PAGE) {
				if (p->others && errno == EIO)
					continue;
				close(fd);
				return "cannot read mem";
			}
			if (!page_is_parents(page, p, i)) {
				close(fd);
				return p->name;
			}
		}
	}
	close(fd);
	return NULL;
}

static void read_mem(const char *name)
{
	const char *why = look_at_mem(me->pid);

	need(!why, "%s: not the parent's bytes: %s", name, why);
}

static const struct {
	const char *name;
	void (*read)(const char *name);
} files[] = {
	{ "maps", read_maps },
	{ "mem", read_mem },
	{ "smaps", read_text },
	{ "pagemap", read_pagemap },
	{ "cmdline", read_same },
	{ "smaps_rollup", read_text },
	{ "maps", query_maps },
	{ "environ", read_same },
	{ "numa_maps", read_text },
	{ "pagemap", scan_pagemap },
};

static void run_readers(unsigned int n)
{
	unsigned int i = (n + getpid()) % ARRAY_SIZE(files);
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", me->pid, files[i].name);
	if (access(path, F_OK))	/* not configured */
		return;
	files[i].read(files[i].name);
	event();
}

static const struct beside beside_nothing = { .quiet = true };

static const struct beside beside_readers = {
	.run = run_readers, .processes = 4, .what = "reads",
};

/* A fork is alone if it begins when nobody reads. */
static const struct beside beside_reader = {
	.run = run_readers, .processes = 1, .quiet = true, .what = "reads",
};

/*
 * Beside it: writers of the target's memory, and advice on it. A word of each busy
 * page is the parent's, another is ptrace()'s and another that of the file mem.
 */

enum { PARENTS_WORD, MEMS_WORD, PTRACES_WORD };

static void write_busy_words(void)
{
	struct part *p = parts + BUSY;
	unsigned int i;

	p->value = p->value % 127 + 1;
	for (i = 0; i < p->pages; i++)
		*(__u64 *)part_page(p, i) = part_word(p, i, p->value);
}

static void check_busy_words(void)
{
	const struct part *p = parts + BUSY;
	unsigned int i;

	for (i = 0; i < p->pages; i++)
		need(*(__u64 *)part_page(p, i) == part_word(p, i, p->value),
		     "what the parent wrote into busy page %u is lost", i);
}

static void run_mem_writer(unsigned int n)
{
	const struct part *p = parts + BUSY;
	unsigned int i = n % p->pages;
	__u64 got, word = part_word(p, i, n % 127 + 1);
	uintptr_t at = (uintptr_t)part_page(p, i) + MEMS_WORD * 8;
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
	const struct part *p = parts + BUSY;
	unsigned int i = n % p->pages;
	__u64 word = part_word(p, i, n % 127 + 1);
	char *at = part_page(p, i) + PTRACES_WORD * 8;
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

static const struct beside beside_mem_writer = {
	.before = write_busy_words, .after = check_busy_words, .run = run_mem_writer,
	.processes = 1, .what = "writes",
};

static const struct beside beside_ptrace = {
	.before = write_busy_words, .after = check_busy_words, .run = run_ptrace,
	.processes = 1, .what = "PEEK and POKE",
};

static const struct beside beside_madvise = {
	.run = run_madvise, .processes = 1, .what = "madvise() by another",
};

struct setting {
	const char *path;
	long value;
};

static const struct setting ksm_settings[] = {
	{ KSM "sleep_millisecs", 0 }, { KSM "pages_to_scan", 1000 }, { KSM "run", 1 }, {}
};

static const struct setting khugepaged_settings[] = {
	{ THP "khugepaged/scan_sleep_millisecs", 0 },
	{ THP "khugepaged/alloc_sleep_millisecs", 0 },
	{ THP "khugepaged/pages_to_scan", 4096 }, {}
};

static void look_for_merged(unsigned int n)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/ksm_merging_pages", me->pid);
	if (number(path) > 0)
		event();
}

static const struct beside beside_ksm = {
	.run = look_for_merged, .processes = 1, .settings = ksm_settings,
	.what = "saw merged pages",
};

static const struct beside beside_khugepaged = {
	.settings = khugepaged_settings, .what = "collapsed",
	.counter = THP "khugepaged/pages_collapsed",
};

/*
 * Beside it: other tasks of the parent, which come and go. Each has one busy page.
 */

static void touch_busy_page(unsigned int i)
{
	char *at = part_page(parts + BUSY, i);
	static __u32 seed[2] = { 1, 2 };
	unsigned int n = next_random(seed + i) % 16;

	spread();
	for (; n; n--) {
		madvise(at, PAGE, MADV_DONTNEED);
		page_write(at, part_word(parts + BUSY, i, n));
		event();
	}
}

static void *touch_in_thread(void *arg)
{
	touch_busy_page((uintptr_t)arg);
	return NULL;
}

static void *touch_in_vfork(void *arg)
{
	pid_t pid = vfork();

	if (!pid) {
		touch_busy_page((uintptr_t)arg);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	return NULL;
}

static int touch_in_clone(void *arg)
{
	touch_busy_page((uintptr_t)arg);
	return 0;
}

static pthread_t threads[2];
static pid_t clones[2];

static void start_threads(void)
{
	threads[0] = start(touch_in_thread, (void *)0);
	threads[1] = start(touch_in_thread, (void *)1);
}

static void start_vforks(void)
{
	threads[0] = start(touch_in_vfork, (void *)0);
	threads[1] = start(touch_in_vfork, (void *)1);
}

static void join_threads(void)
{
	pthread_join(threads[0], NULL);
	pthread_join(threads[1], NULL);
}

static void start_clones(void)
{
	clones[0] = start_clone(touch_in_clone, 0, 0);
	clones[1] = start_clone(touch_in_clone, 0, 1);
}

static void wait_for_clones(void)
{
	int i;

	for (i = 0; i < 2; i++)
		need(waitpid(clones[i], NULL, 0) == clones[i], "waitpid");
}

static const struct beside beside_threads = {
	.before = start_threads, .after = join_threads, .what = "page faults",
};

static const struct beside beside_vforks = {
	.before = start_vforks, .after = join_threads, .what = "page faults",
};

static const struct beside beside_clones = {
	.before = start_clones, .after = wait_for_clones, .what = "page faults",
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
	const struct part *p = parts + BUSY;

	io.file = new_file(p, 42);
	io.fd = syscall(SYS_io_uring_setup, p->pages, &io.params);
	can(io.fd >= 0 && io.params.features & IORING_FEAT_SINGLE_MMAP, "no io_uring");
	io.rings = mmap(NULL, PAGE, RW, MAP_SHARED, io.fd, IORING_OFF_SQ_RING);
	io.sqes = mmap(NULL, PAGE, RW, MAP_SHARED, io.fd, IORING_OFF_SQES);
	need(io.rings != MAP_FAILED && io.sqes != MAP_FAILED, "mmap of io_uring");
}

static void submit_reads(void)
{
	const struct part *p = parts + BUSY;
	unsigned int i;

	madvise(p->at, part_len(p), MADV_DONTNEED);
	for (i = 0; i < p->pages; i++) {
		io.sqes[i] = (struct io_uring_sqe) {
			.opcode = IORING_OP_READ, .flags = IOSQE_ASYNC, .fd = io.file,
			.addr = (uintptr_t)part_page(p, i), .off = i * PAGE, .len = PAGE,
		};
		io_ring(io.params.sq_off.array)[i] = i;
	}
	__atomic_fetch_add(io_ring(io.params.sq_off.tail), p->pages, __ATOMIC_RELEASE);
	need(syscall(SYS_io_uring_enter, io.fd, p->pages, 0, 0, NULL, 0) == p->pages,
	     "io_uring_enter");
}

static void wait_for_reads(void)
{
	const struct io_uring_cqe *cqes = (void *)io_ring(io.params.cq_off.cqes);
	__u32 head = *io_ring(io.params.cq_off.head), mask = *io_ring(io.params.cq_off.ring_mask);
	const struct part *p = parts + BUSY;
	unsigned int i;

	while (__atomic_load_n(io_ring(io.params.cq_off.tail), __ATOMIC_ACQUIRE) - head < p->pages)
		syscall(SYS_io_uring_enter, io.fd, 0, p->pages, IORING_ENTER_GETEVENTS, NULL, 0);
	for (i = 0; i < p->pages; i++, event())
		need(cqes[(head + i) & mask].res == PAGE, "IORING_OP_READ");
	__atomic_store_n(io_ring(io.params.cq_off.head), head + p->pages, __ATOMIC_RELEASE);
	part_check(p, 0, p->pages, 42, "read by io_uring");
}

static const struct beside beside_io_uring = {
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
	char *at, *found = NULL;
	int place;

	for (place = 0; place < 2; place++) {
		at = places[place] + i * PAGE;
		if (!(pagemap(at) & (PM_PRESENT | PM_SWAP)))
			continue;
		need(!found, "moving page %u is in both places", i);
		found = at;
	}
	need(found, "moving page %u is lost", i);
	return found;
}

static void discard_busy(void)
{
	madvise(parts[BUSY].at, part_len(parts + BUSY), MADV_DONTNEED);
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

		if (uffd_try(shared->uffd, UFFDIO_MOVE, &move))
			shared->moved++;
	}
	return NULL;
}

static void prepare_uffd(void)
{
	const struct part *p = parts + BUSY;
	size_t len = 2 * MOVING * PAGE;
	unsigned int i;
	int fd;

	need(mmap(places[0], len, RW, ANON | MAP_FIXED, -1, 0) == places[0], "mmap");
	madvise(places[0], len, MADV_NOHUGEPAGE);
	moving_value = 1;
	for (i = 0; i < MOVING; i++)
		page_write(places[0] + i * PAGE, full_of(moving_value, i));
	fd = new_uffd(UFFD_FEATURE_PAGEFAULT_FLAG_WP | beside->uffd_features);
	uffd_register(fd, parts[SMALL].at, part_len(parts + SMALL), UFFDIO_REGISTER_MODE_WP);
	uffd_register(fd, p->at, part_len(p), UFFDIO_REGISTER_MODE_MISSING);
	uffd_register(fd, places[0], len, UFFDIO_REGISTER_MODE_MISSING);
	shared->uffd = fd;
	if (beside->uffd_features & UFFD_FEATURE_MOVE)
		start(move_for_ever, NULL);
}

static void run_monitor(unsigned int n)
{
	const struct part *p = parts + BUSY;
	static char page[PAGE];
	static int uffd = -1;
	unsigned int i;

	if (uffd < 0)
		uffd = syscall(SYS_pidfd_getfd, syscall(SYS_pidfd_open, me->pid, 0),
			       shared->uffd, 0);
	can(uffd >= 0, "no pidfd_getfd()");
	monitor_events(uffd);
	for (i = 0; i < p->pages; i++) {
		uintptr_t at = (uintptr_t)part_page(p, i);
		struct uffdio_copy copy = { at, (uintptr_t)page, PAGE };
		struct uffdio_zeropage zero = { { at, PAGE } };

		page_write(page, part_word(p, i, n % 127 + 1));
		if ((n + i) % 2 ? uffd_try(uffd, UFFDIO_COPY, &copy) :
				  uffd_try(uffd, UFFDIO_ZEROPAGE, &zero))
			shared->filled++;
	}
	for (i = 0; i < 2; i++) {
		struct uffdio_writeprotect wp = {
			{ (uintptr_t)parts[SMALL].at, part_len(parts + SMALL) },
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

static const struct beside beside_uffd = { BESIDE_UFFD };

static const struct beside beside_uffd_event = {
	BESIDE_UFFD, .uffd_features = UFFD_FEATURE_EVENT_FORK,
};

static const struct beside beside_uffd_move = {
	BESIDE_UFFD, .uffd_features = UFFD_FEATURE_MOVE,
};

static const struct beside beside_uffd_move_event = {
	BESIDE_UFFD, .uffd_features = UFFD_FEATURE_MOVE | UFFD_FEATURE_EVENT_FORK,
};

/*
 * Running it.
 */

#define MOST_PROCESSES 4
#define MOST_SETTINGS 4

FIXTURE(storm)
{
	struct target target;
	struct scenario scenario;
	struct window window;
	pid_t pid[MOST_PROCESSES];
	long was[MOST_SETTINGS];
	bool swap;
};

FIXTURE_VARIANT(storm)
{
	const struct beside *beside;
};

FIXTURE_VARIANT_ADD(storm, nothing) { &beside_nothing };
FIXTURE_VARIANT_ADD(storm, reader) { &beside_reader };
FIXTURE_VARIANT_ADD(storm, readers) { &beside_readers };
FIXTURE_VARIANT_ADD(storm, mem_writer) { &beside_mem_writer };
FIXTURE_VARIANT_ADD(storm, ptrace) { &beside_ptrace };
FIXTURE_VARIANT_ADD(storm, madvise) { &beside_madvise };
FIXTURE_VARIANT_ADD(storm, ksm) { &beside_ksm };
FIXTURE_VARIANT_ADD(storm, khugepaged) { &beside_khugepaged };
FIXTURE_VARIANT_ADD(storm, threads) { &beside_threads };
FIXTURE_VARIANT_ADD(storm, vforks) { &beside_vforks };
FIXTURE_VARIANT_ADD(storm, clones) { &beside_clones };
FIXTURE_VARIANT_ADD(storm, io_uring) { &beside_io_uring };
FIXTURE_VARIANT_ADD(storm, uffd) { &beside_uffd };
FIXTURE_VARIANT_ADD(storm, uffd_event) { &beside_uffd_event };
FIXTURE_VARIANT_ADD(storm, uffd_move) { &beside_uffd_move };
FIXTURE_VARIANT_ADD(storm, uffd_move_event) { &beside_uffd_move_event };

static void undo_settings(const long *was)
{
	const struct setting *s;

	for (s = beside->settings; s && s->path; s++, was++)
		if (*was >= 0)
			set_number(s->path, *was);
}

FIXTURE_SETUP(storm)
{
	const struct setting *s;
	const char *why;
	int i;

	beside = variant->beside;
	memset(self->was, 0xff, sizeof(self->was));
	if (!share(_metadata))
		return;
	for (i = 0, s = beside->settings; s && s->path; s++, i++) {
		self->was[i] = number(s->path);
		if (set_number(s->path, s->value))
			continue;
		undo_settings(self->was);
		SKIP(return, "cannot set %s", s->path);
	}
	why = provide_swap(&self->swap);
	if (why)
		note("%s", why);
	place_parts();
	sched_getaffinity(0, sizeof(cpus), &cpus);
	self->scenario = (struct scenario) {
		.prepare = prepare, .step = step_fork, .nr_states = 1,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
}

FIXTURE_TEARDOWN(storm)
{
	int i;

	if (self->target.ctl)
		target_end(&self->target);
	for (i = 0; i < MOST_PROCESSES && self->pid[i] > 0; i++) {
		kill(self->pid[i], SIGKILL);
		waitpid(self->pid[i], NULL, 0);
	}
	undo_settings(self->was);
	if (self->swap)
		EXPECT_TRUE(end_swap());
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
	struct target *t = &self->target;
	enum race_result result;
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
	} else {
		result = RACE_FAILED;
	}
	if (shared->skip[0])
		SKIP(return, "%s", shared->skip);
	read_counters(after);
	ASSERT_STREQ("", shared->why);
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
	if (argc == 3 && !strcmp(argv[1], EXEC_COUNT))
		return exec_main(atoi(argv[2]));
	return test_harness_run(argc, argv);
}
