// SPDX-License-Identifier: GPL-2.0
/*
 * Readers of /proc/PID/maps whose target ends or unmaps everything (C5, C8), or who are killed
 * while they wait or search (C5).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

#define EXEC_TARGET "--exec-target"
#define NEXT PROCMAP_QUERY_COVERING_OR_NEXT_VMA

static struct target target;
static struct maps_reader reader;

/*
 * The end of the target between two reads: the rest is lost, and a query finds no address
 * space. (Targets of proc-smaps-race end during a read.)
 */

enum ending { END_ZOMBIE, END_REAPED, END_EXEC };

FIXTURE(ending) { };

FIXTURE_VARIANT(ending)
{
	enum ending how;
	int error;		/* of a read(); 0: end of file */
};

/* The process is there, without an address space. */
FIXTURE_VARIANT_ADD(ending, zombie) { END_ZOMBIE };
/* The process is not there any more. */
FIXTURE_VARIANT_ADD(ending, reaped) { END_REAPED, ESRCH };
/* The process is there, with another address space than the one opened. */
FIXTURE_VARIANT_ADD(ending, exec) { END_EXEC };

FIXTURE_SETUP(ending) { }
FIXTURE_TEARDOWN(ending) { }

static void ending_step(struct target *t, unsigned int n)
{
	if (*(const enum ending *)t->scenario->data == END_EXEC)
		execl("/proc/self/exe", "proc-maps-lifetime", EXEC_TARGET, NULL);
	_exit(0);
}

TEST_F(ending, next_read)
{
	struct scenario scenario = { map_fillers, ending_step, 1, &variant->how };
	struct maps_line line;
	int i, fds[2];
	siginfo_t info;
	ssize_t n;
	char c;

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	target_begin(_metadata, &target, &scenario);
	close(fds[1]);
	reader.fd = target.fd;
	reader.size = READ_PAGE;
	ASSERT_EQ(1, maps_next(&reader, &line));
	ASSERT_EQ(1, reader.reads);

	/* exec() closes descriptors after it has changed address spaces. */
	target_do(&target, TARGET_RUN);
	ASSERT_EQ(0, read(fds[0], &c, 1));
	if (variant->how == END_REAPED)
		ASSERT_EQ(target.pid, waitpid(target.pid, NULL, 0));
	if (variant->how == END_ZOMBIE) {
		ASSERT_EQ(0, waitid(P_PID, target.pid, &info, WEXITED | WNOWAIT));
		/* If its maps can be opened now, there is nothing in. */
		EXPECT_GE(0, read(maps_open(target.pid), &c, 1));
	}

	/* Next, from the start, and at a saved offset */
	for (i = 0; i < 3; i++) {
		if (i == 1)
			EXPECT_EQ(0, lseek(reader.fd, 0, SEEK_SET));
		errno = 0;
		n = i < 2 ? read(reader.fd, reader.text, READ_PAGE) :
			    pread(reader.fd, reader.text, READ_PAGE, 1);
		EXPECT_EQ(variant->error ? -1 : 0, n);
		EXPECT_EQ(variant->error, errno);
	}
	if (!maps_has_query())
		return;
	EXPECT_EQ(-ESRCH, maps_query(reader.fd, 0, line.start, &line));
	EXPECT_EQ(-ESRCH, maps_query(reader.fd, NEXT, 0, &line));
	/* The arguments are looked at first. */
	EXPECT_EQ(-EINVAL, maps_query(reader.fd, 0x40, 0, &line));
}

/*
 * A target that unmaps its whole address space while threads read it: the tree of VMAs that
 * they walk becomes empty below their feet. The threads share a CPU, so that one may stand
 * still inside the tree; more of them would keep the target waiting for a VMA. Lines without a
 * name are quick to format, so that much of the time is spent in the tree.
 */

#define UNMAP_READERS 3
#define UNMAP_PAGES 256		/* each a VMA */

FIXTURE(unmap_all) { };
FIXTURE_SETUP(unmap_all) { }
FIXTURE_TEARDOWN(unmap_all) { }

static unsigned long top;	/* end of the highest mapping */

/* Never called: there is no stack left. But the log stays free of segfaults. */
static void no_handler(int sig)
{
}

static void unmap_prepare(struct target *t)
{
	unsigned int i;

	for (i = 0; i < UNMAP_PAGES; i += 2)
		must(t, !mprotect(t->arena + i * t->page, t->page, PROT_READ), "mprotect");
}

static void unmap_step(struct target *t, unsigned int n)
{
	signal(SIGSEGV, no_handler);
	munmap(NULL, top);
	must(t, false, "munmap of everything");
}

/* True for kernels known to crash: they walk maps under RCU by mas_find(). */
static bool may_crash(void)
{
	unsigned int major, minor;
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return true;
	return (major > 6 || (major == 6 && minor >= 17)) && !maps_has_lockless_walk();
}

static pthread_barrier_t barrier;

struct unmap_reader {
	pthread_t thread;
	int fd;
	int error;
	unsigned int passes;
	bool cut;		/* the last pass has a part of the text */
};

static void *unmap_read(void *arg)
{
	struct unmap_reader *u = arg;
	size_t len, most = 0;
	char text[READ_PAGE];
	ssize_t n;

	do {
		lseek(u->fd, 0, SEEK_SET);
		for (len = 0; (n = read(u->fd, text, sizeof(text))) > 0;)
			len += n;
		if (n < 0)
			u->error = errno;
		if (!u->passes++) {
			most = len;
			pthread_barrier_wait(&barrier);
		}
	} while (len == most);
	/* Not only the line of the gate page, which is always there. */
	u->cut = len > READ_SMALL;
	return NULL;
}

TEST_F_TIMEOUT(unmap_all, while_read, test_timeout())
{
	static const struct scenario scenario = { unmap_prepare, unmap_step, 1 };
	unsigned long targets = 0, passes = 0, cut = 0;
	struct unmap_reader u[UNMAP_READERS];
	struct target *t = &target;
	__u64 begin = now_ms();
	struct maps_line line;
	unsigned int i;

	if (may_crash())
		SKIP(return, "Linux 6.17 and later can crash in this test");
	ASSERT_EQ(0, setrlimit(RLIMIT_CORE, &(struct rlimit) {}));
	ASSERT_EQ(0, pthread_barrier_init(&barrier, NULL, UNMAP_READERS + 1));
	reader.fd = maps_open(getpid());
	reader.size = READ_LARGE;
	/* Not the gate page, which is no mapping of the process. */
	while (maps_next(&reader, &line) == 1)
		if (line.end <= LONG_MAX)
			top = line.end;
	do {
		target_begin(_metadata, t, &scenario);
		target_apart(t);
		for (i = 0; i < UNMAP_READERS; i++) {
			u[i] = (struct unmap_reader) { .fd = maps_open(t->pid) };
			ASSERT_EQ(0, pthread_create(&u[i].thread, NULL, unmap_read, &u[i]));
		}
		pthread_barrier_wait(&barrier);
		target_do(t, TARGET_RUN);
		for (i = 0; i < UNMAP_READERS; i++) {
			ASSERT_EQ(0, pthread_join(u[i].thread, NULL));
			close(u[i].fd);
			passes += u[i].passes;
			cut += u[i].cut;
			/* It is a zombie now, not reaped. */
			ASSERT_EQ(0, u[i].error);
		}
		if (t->ctl->error == EPERM)
			SKIP(return, "mappings are sealed");
		ASSERT_EQ(0, t->ctl->error);
		target_end(t);
		targets++;
	} while (now_ms() - begin < 2 * duration_ms() ||
		 (!cut && now_ms() - begin < 2 * patience_ms()));
	note("%lu targets, %lu passes, %lu ended in the middle", targets, passes, cut);
	if (!cut)
		SKIP(return, "race not seen in %lu passes", passes);
}

/*
 * A wait for mmap_lock.
 *
 * The target holds its mmap_lock for long: it runs mprotect() back and forth over a large
 * populated range, at idle priority. A busy process of normal priority
 * on the same CPU then preempts it for about a second, nearly always inside of mprotect(). That
 * it is inside, and stays there, shows in that the reader does not end and the target makes no
 * step.
 */

#define HOLD_BYTES (256UL << 20)
#define HOLD_SIGN_MS 300	/* a reader that takes so long, waits */
#define SERVED_MS 20000		/* who still waits then, waits for ever */
#define WAIT_TRIES 20

static pid_t busy_pid;
static pid_t reader_pid;
static struct pollfd reader_end;
static __u64 steps;		/* of the target, when the reader started */

FIXTURE(wait) { };

FIXTURE_VARIANT(wait)
{
	bool query;		/* the reader asks for the range that changes */
};

FIXTURE_VARIANT_ADD(wait, read) { false };
FIXTURE_VARIANT_ADD(wait, query) { true };

static void wait_prepare(struct target *t)
{
	struct sched_param param = {};
	void *p;

	must(t, !sched_setscheduler(0, SCHED_IDLE, &param), "SCHED_IDLE");
	/* Small pages, all of them the zero page. */
	must(t, !prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0), "PR_SET_THP_DISABLE");
	p = mmap(NULL, HOLD_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS |
		 MAP_NORESERVE | MAP_POPULATE, -1, 0);
	must(t, p != MAP_FAILED, "mmap");
	t->ctl->lo = (uintptr_t)p;
}

static void wait_step(struct target *t, unsigned int n)
{
	must(t, !mprotect((void *)t->ctl->lo, HOLD_BYTES, n ? PROT_READ : PROT_NONE), "mprotect");
}

FIXTURE_SETUP(wait)
{
	static const struct scenario scenario = { wait_prepare, wait_step, 2 };

	if (variant->query && !maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	target_begin(_metadata, &target, &scenario);
	if (!target_apart(&target))
		SKIP(return, "needs two CPUs");
	ASSERT_TRUE(target_do(&target, TARGET_RUN));
}

FIXTURE_TEARDOWN(wait)
{
	target_end(&target);
}

/* Fork a process that spins where the target runs; return when it does. */
static pid_t start_busy(void)
{
	int fds[2];
	char c = 0;
	pid_t pid;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sched_setaffinity(0, sizeof(target.cpus), &target.cpus);
		setpriority(PRIO_PROCESS, 0, -20);	/* better, if we may */
		if (write(fds[1], &c, 1) != 1)
			_exit(1);
		for (;;)
			;
	}
	if (pid > 0 && read(fds[0], &c, 1) != 1)
		pid = -1;
	close(fds[0]);
	close(fds[1]);
	return pid;
}

/* Fork a process that reads maps once, or asks for the range that changes. */
static pid_t start_reader(bool query)
{
	struct maps_line line;
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (query)
		_exit(maps_query(target.fd, 0, target.ctl->lo, &line) != 1);
	lseek(target.fd, 0, SEEK_SET);
	while (read(target.fd, reader.text, READ_PAGE) > 0)
		;
	_exit(0);
}

/* The state letter of a process: 'D' if it waits and is not to be disturbed. */
static char state_of(pid_t pid)
{
	char path[32], state = '?';
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	f = fopen(path, "r");
	if (!f || fscanf(f, "%*d %*s %c", &state) != 1)
		state = '?';
	if (f)
		fclose(f);
	return state;
}

/* Keep the target from running, and start a reader. Return whether that waits. */
static bool start_both(struct __test_metadata *_metadata, bool query)
{
	busy_pid = start_busy();
	ASSERT_LT(0, busy_pid);
	steps = target_steps(&target);
	reader_pid = start_reader(query);
	ASSERT_LT(0, reader_pid);
	reader_end.fd = syscall(SYS_pidfd_open, reader_pid, 0);
	reader_end.events = POLLIN;
	ASSERT_LE(0, reader_end.fd);
	return !poll(&reader_end, 1, HOLD_SIGN_MS) && state_of(reader_pid) == 'D';
}

static void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

/* A fatal signal ends the wait. */
TEST_F_TIMEOUT(wait, fatal_signal, test_timeout())
{
	bool waits, ended = false, held = false;
	unsigned int tries;

	for (tries = 0; tries < WAIT_TRIES && !held; tries++) {
		waits = start_both(_metadata, variant->query);
		kill(reader_pid, SIGKILL);
		ended = poll(&reader_end, 1, HOLD_SIGN_MS) == 1;
		held = waits && steps == target_steps(&target);
		EXPECT_TRUE(ended || !held)
			TH_LOG("killed, but still waits for the lock");
		close(reader_end.fd);
		end_child(busy_pid);
		end_child(reader_pid);
	}
	note("%u tries", tries);
	if (!held)
		SKIP(return, "no wait seen in %u tries", tries);
}

/* Who waits gets its lines when the target goes on, and keeps nothing locked. */
TEST_F_TIMEOUT(wait, served, test_timeout())
{
	unsigned int tries;
	bool waited = false;
	__u64 end;

	for (tries = 0; tries < WAIT_TRIES && !waited; tries++) {
		waited = start_both(_metadata, variant->query) &&
			 steps == target_steps(&target);
		end_child(busy_pid);
		EXPECT_EQ(1, poll(&reader_end, 1, SERVED_MS))
			TH_LOG("the target runs, but the reader still waits");
		close(reader_end.fd);
		end_child(reader_pid);
		/* It was in one step; a lock that was left stops one of these. */
		end = now_ms() + SERVED_MS;
		while (target_steps(&target) < steps + 4 && now_ms() < end)
			sched_yield();
		ASSERT_LE(steps + 4, target_steps(&target))
			TH_LOG("the reader is gone, but the target waits");
	}
	note("%u tries", tries);
	if (!waited && __test_passed(_metadata))
		SKIP(return, "no wait seen in %u tries", tries);
}

/*
 * A fatal signal ends a search that meets no VMA of those it looks for. When kill() has
 * returned, the victim may be on its way to one more VMA.
 */

#define SEARCH_VMAS 20000
#define SEARCH_MS 2000		/* with CONFIG_DEBUG_VM_MAPLE_TREE fewer will do */

FIXTURE(search) { };
FIXTURE_SETUP(search) { }
FIXTURE_TEARDOWN(search) { }

static void search_prepare(struct target *t)
{
	__u64 begin = now_ms();
	unsigned int i;
	char *p;

	p = mmap(NULL, SEARCH_VMAS * t->page, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	must(t, p != MAP_FAILED, "mmap");
	for (i = 0; i < SEARCH_VMAS && now_ms() - begin < SEARCH_MS; i += 2)
		must(t, !mprotect(p + i * t->page, t->page, PROT_READ), "mprotect");
	t->ctl->page = i;
	t->fd = maps_open(getpid());
}

static void search_step(struct target *t, unsigned int n)
{
	struct maps_line line;

	must(t, !maps_query(t->fd, NEXT | PROCMAP_QUERY_VMA_WRITABLE | PROCMAP_QUERY_VMA_SHARED |
			    PROCMAP_QUERY_VMA_EXECUTABLE, 0, &line), "search");
}

TEST_F_TIMEOUT(search, fatal_signal, test_timeout())
{
	static const struct scenario scenario = { search_prepare, search_step, 1 };
	long before, after, locked = 0;
	siginfo_t info;
	int i;

	if (!maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	if (!maps_has_lockless_walk())
		SKIP(return, "needs CONFIG_PER_VMA_LOCK_STATS and this walk");
	for (i = 0; i < 5; i++) {
		target_begin(_metadata, &target, &scenario);
		before = maps_lockless_walks();
		ASSERT_TRUE(target_do(&target, TARGET_STEP));
		EXPECT_LT(before + target.ctl->page, maps_lockless_walks());
		before = maps_lockless_walks();
		target_do(&target, TARGET_RUN);
		while (maps_lockless_walks() == before)
			;
		ASSERT_EQ(0, kill(target.pid, SIGKILL));
		before = maps_lockless_walks();
		ASSERT_EQ(0, waitid(P_PID, target.pid, &info, WEXITED));
		after = maps_lockless_walks();
		ASSERT_EQ(CLD_KILLED, info.si_code);
		EXPECT_GE(before + 1, after);
		locked += after - before;
	}
	note("%d searches of %d VMAs, %ld locked after their end", i, target.ctl->page, locked);
}

int main(int argc, char **argv)
{
	/* The program that an ending target runs. */
	if (argc == 2 && !strcmp(argv[1], EXEC_TARGET))
		return pause();
	return test_harness_run(argc, argv);
}
