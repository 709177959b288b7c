// SPDX-License-Identifier: GPL-2.0
/*
 * Readers of /proc/PID/maps whose target ends or unmaps everything (C5, C8), who
 * are killed while they wait or search (C5), or who share one descriptor (C8).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/fs.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

#define EXEC_TARGET "--exec-target"

/*
 * The end of the target, in the middle of a pass.
 */

enum ending { END_ZOMBIE, END_REAPED, END_EXEC };

struct ending_test {
	struct target target;
	struct scenario scenario;
	struct maps_reader reader;
	enum ending how;
	int pipe[2];		/* the target's end is closed when it is gone */
};

FIXTURE(ending)
{
	struct ending_test test;
};

FIXTURE_VARIANT(ending)
{
	enum ending how;
};

/* The process is there, without an address space. */
FIXTURE_VARIANT_ADD(ending, zombie) {
	.how = END_ZOMBIE,
};

/* The process is not there any more. */
FIXTURE_VARIANT_ADD(ending, reaped) {
	.how = END_REAPED,
};

/* The process is there, with another address space than the one opened. */
FIXTURE_VARIANT_ADD(ending, exec) {
	.how = END_EXEC,
};

static void ending_step(struct target *t, unsigned int n)
{
	const struct ending_test *e = t->scenario->data;

	if (e->how == END_EXEC)
		execl("/proc/self/exe", "proc-maps-lifetime", EXEC_TARGET, NULL);
	_exit(0);
}

FIXTURE_SETUP(ending)
{
	self->test.how = variant->how;
	self->test.scenario = (struct scenario) {
		.prepare = map_fillers,
		.step = ending_step,
		.nr_states = 1,
		.data = &self->test,
	};
	self->test.reader.size = READ_PAGE;
}

FIXTURE_TEARDOWN(ending)
{
}

/* Start a target; its end of the pipe is left to it alone. */
static void ending_start(struct __test_metadata *_metadata,
			 struct ending_test *e)
{
	ASSERT_EQ(0, pipe2(e->pipe, O_CLOEXEC));
	ASSERT_EQ(0, target_start(&e->target, &e->scenario));
	close(e->pipe[1]);
	e->reader.fd = e->target.fd;
	ASSERT_TRUE(target_do(&e->target, TARGET_PREPARE));
}

/* Wait until the target's address space has gone. */
static void ending_wait(struct __test_metadata *_metadata,
			struct ending_test *e)
{
	siginfo_t info;
	char c;

	/* exec() closes descriptors after it has changed address spaces. */
	ASSERT_EQ(0, read(e->pipe[0], &c, 1));
	if (e->how == END_EXEC)
		return;
	ASSERT_EQ(0, waitid(P_PID, e->target.pid, &info, WEXITED | WNOWAIT));
	if (e->how == END_REAPED) {
		ASSERT_EQ(e->target.pid,
			  waitpid(e->target.pid, NULL, 0));
		e->target.pid = 0;
	}
}

static void ending_end(struct ending_test *e)
{
	close(e->pipe[0]);
	target_end(&e->target);
}

/* One read(), then the target ends, then the next read(). */
TEST_F(ending, next_read)
{
	struct ending_test *e = &self->test;
	int error = e->how == END_REAPED ? ESRCH : 0;
	struct maps_reader *r = &e->reader;
	struct maps_line line;
	ssize_t n;

	ending_start(_metadata, e);
	maps_rewind(r, 0);
	ASSERT_EQ(1, maps_next(r, &line));
	ASSERT_EQ(1, r->reads);

	target_do(&e->target, TARGET_RUN);
	ending_wait(_metadata, e);

	/* What was not shown is lost: end of file, or ESRCH with the process. */
	errno = 0;
	n = read(r->fd, r->text, r->size);
	EXPECT_EQ(error ? -1 : 0, n);
	EXPECT_EQ(error, errno);
	/* The same from the start, and at a saved offset. */
	EXPECT_EQ(0, lseek(r->fd, 0, SEEK_SET));
	errno = 0;
	n = read(r->fd, r->text, r->size);
	EXPECT_EQ(error ? -1 : 0, n);
	EXPECT_EQ(error, errno);
	errno = 0;
	n = pread(r->fd, r->text, r->size, 1);
	EXPECT_EQ(error ? -1 : 0, n);
	EXPECT_EQ(error, errno);
	if (maps_has_query())
		EXPECT_EQ(-ESRCH, maps_query(r->fd, 0, line.start, &line));
	ending_end(e);
}

/* The same without waiting: the target ends while it is read. */
TEST_F_TIMEOUT(ending, race, test_timeout())
{
	struct ending_test *e = &self->test;
	unsigned long passes = 0, whole = 0, cut = 0, lost = 0;
	struct maps_reader *r = &e->reader;
	__u64 begin = now_ms();
	struct maps_line line;
	unsigned int lines;
	int ret, all;

	if (e->how == END_REAPED)
		signal(SIGCHLD, SIG_IGN);	/* reaped when it ends */
	do {
		ending_start(_metadata, e);
		maps_rewind(r, 0);
		for (all = 0; maps_next(r, &line) == 1; all++)
			;
		target_do(&e->target, TARGET_RUN);
		do {
			maps_rewind(r, 0);
			for (lines = 0; (ret = maps_next(r, &line)) == 1;)
				lines++;
			ASSERT_TRUE(!ret || ret == -ESRCH)
				TH_LOG("read: %s", strerror(-ret));
			passes++;
			whole += lines == all;
			cut += lines && lines < all;
		} while (lines);
		lost += ret == -ESRCH;
		if (e->how == END_REAPED)
			e->target.pid = 0;
		ending_end(e);
	} while (now_ms() - begin < duration_ms() ||
		 (!cut && now_ms() - begin < 5 * duration_ms()));
	note("%lu passes, %lu whole, %lu ended in the middle; %lu targets not found in the end",
	     passes, whole, cut, lost);
	if (!cut)
		SKIP(return, "race not seen in %lu passes", passes);
}

/*
 * A target that unmaps its whole address space while threads read it. The tree
 * of VMAs that they walk becomes empty below their feet. The threads share a
 * CPU, so that one may stand still inside the tree; more of them would keep the
 * target waiting for a VMA. Lines without a name are quick to format, so that
 * much of the time is spent in the tree.
 */

#define UNMAP_READERS 3
#define UNMAP_PAGES 256		/* each a VMA */

FIXTURE(unmap_all)
{
	struct scenario scenario;
	struct target target;
	unsigned long top;	/* end of the highest mapping */
	pthread_barrier_t barrier;
};

/* Never called: there is no stack left. But the log stays free of segfaults. */
static void no_handler(int sig)
{
}

static void unmap_prepare(struct target *t)
{
	unsigned int i;

	for (i = 0; i < UNMAP_PAGES; i += 2)
		must(t, !mprotect(t->arena + i * t->page, t->page, PROT_READ),
		     "mprotect");
}

static void unmap_step(struct target *t, unsigned int n)
{
	const unsigned long *top = t->scenario->data;

	signal(SIGSEGV, no_handler);
	munmap(NULL, *top);
	must(t, false, "munmap of everything");
}

/* True for kernels known to crash: they walk maps under RCU by mas_find(). */
static bool may_crash(void)
{
	unsigned int major, minor;
	struct utsname name;

	if (uname(&name) || sscanf(name.release, "%u.%u", &major, &minor) != 2)
		return true;
	return (major > 6 || (major == 6 && minor >= 17)) &&
	       !maps_has_lockless_walk();
}

FIXTURE_SETUP(unmap_all)
{
	struct rlimit no_core = {};
	struct maps_reader *r;
	struct maps_line line;

	if (may_crash())
		SKIP(return, "Linux 6.17 and later can crash in this test");
	self->scenario = (struct scenario) {
		.prepare = unmap_prepare,
		.step = unmap_step,
		.nr_states = 1,
		.data = &self->top,
	};
	ASSERT_EQ(0, setrlimit(RLIMIT_CORE, &no_core));
	ASSERT_EQ(0, pthread_barrier_init(&self->barrier, NULL,
					  UNMAP_READERS + 1));
	r = calloc(1, sizeof(*r));
	ASSERT_NE(NULL, r);
	r->fd = maps_open(getpid());
	r->size = READ_LARGE;
	/* Not the gate page, which is no mapping of the process. */
	while (maps_next(r, &line) == 1)
		if (line.end <= LONG_MAX)
			self->top = line.end;
	close(r->fd);
	free(r);
}

FIXTURE_TEARDOWN(unmap_all)
{
}

struct unmap_reader {
	pthread_barrier_t *barrier;
	pthread_t thread;
	int fd;
	int error;
	unsigned int passes;
	bool cut;		/* the last pass has a part of the text */
	char text[READ_PAGE];
};

static void *unmap_read(void *arg)
{
	struct unmap_reader *u = arg;
	size_t len, most = 0;
	ssize_t n;

	do {
		lseek(u->fd, 0, SEEK_SET);
		for (len = 0; (n = read(u->fd, u->text, sizeof(u->text))) > 0;)
			len += n;
		if (n < 0)
			u->error = errno;
		if (!u->passes++) {
			most = len;
			pthread_barrier_wait(u->barrier);
		}
	} while (len == most);
	/* Not only the line of the gate page, which is always there. */
	u->cut = len > READ_SMALL;
	return NULL;
}

TEST_F_TIMEOUT(unmap_all, while_read, test_timeout())
{
	struct unmap_reader *u = calloc(UNMAP_READERS, sizeof(*u));
	unsigned long targets = 0, passes = 0, cut = 0;
	__u64 begin = now_ms();
	unsigned int i;

	ASSERT_NE(NULL, u);
	do {
		ASSERT_EQ(0, target_start(&self->target, &self->scenario));
		ASSERT_TRUE(target_do(&self->target, TARGET_PREPARE));
		target_apart(&self->target);
		for (i = 0; i < UNMAP_READERS; i++) {
			u[i].barrier = &self->barrier;
			u[i].passes = 0;
			u[i].fd = maps_open(self->target.pid);
			ASSERT_EQ(0, pthread_create(&u[i].thread, NULL,
						    unmap_read, &u[i]));
		}
		pthread_barrier_wait(&self->barrier);
		target_do(&self->target, TARGET_RUN);
		for (i = 0; i < UNMAP_READERS; i++) {
			ASSERT_EQ(0, pthread_join(u[i].thread, NULL));
			close(u[i].fd);
			passes += u[i].passes;
			cut += u[i].cut;
			/* It is a zombie now, not reaped. */
			ASSERT_EQ(0, u[i].error);
		}
		if (self->target.ctl->error == EPERM)
			SKIP(return, "mappings are sealed");
		ASSERT_EQ(0, self->target.ctl->error);
		target_end(&self->target);
		targets++;
	} while (now_ms() - begin < 2 * duration_ms() ||
		 (!cut && now_ms() - begin < 10 * duration_ms()));
	note("%lu targets, %lu passes, %lu ended in the middle", targets,
	     passes, cut);
	free(u);
	if (!cut)
		SKIP(return, "race not seen in %lu passes", passes);
}

/*
 * A fatal signal ends a reader's wait for mmap_lock.
 *
 * Who can make the target hold its mmap_lock for long? Anybody: the target runs
 * mprotect() back and forth over a large populated range, at idle priority. A
 * busy process of normal priority on the same CPU then preempts it for about a
 * second, nearly always inside of mprotect(). That it is inside, and stays
 * there, shows in that the reader does not end and the target makes no step.
 */

#define HOLD_BYTES (256UL << 20)
#define HOLD_SIGN_MS 300	/* a reader that takes so long, waits */
#define SERVED_MS 20000		/* who still waits then, waits for ever */

struct wait_test {
	struct target target;
	struct scenario scenario;
	bool query;		/* what the reader does */
	pid_t busy;
	pid_t reader;
	struct pollfd pollfd;	/* of the reader's end */
	__u64 steps;		/* of the target, when the reader started */
};

FIXTURE(wait)
{
	struct wait_test test;
};

FIXTURE_VARIANT(wait)
{
	bool query;
};

FIXTURE_VARIANT_ADD(wait, read) {
	.query = false,
};

FIXTURE_VARIANT_ADD(wait, query) {
	.query = true,
};

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
	must(t, !mprotect((void *)t->ctl->lo, HOLD_BYTES,
			  n ? PROT_READ : PROT_NONE), "mprotect");
}

FIXTURE_SETUP(wait)
{
	struct wait_test *w = &self->test;

	if (variant->query && !maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	w->query = variant->query;
	w->scenario = (struct scenario) {
		.prepare = wait_prepare,
		.step = wait_step,
		.nr_states = 2,
	};
	ASSERT_EQ(0, target_start(&w->target, &w->scenario));
	if (!target_apart(&w->target))
		SKIP(return, "needs two CPUs");
	w->pollfd.fd = syscall(SYS_pidfd_open, w->target.pid, 0);
	if (w->pollfd.fd < 0)
		SKIP(return, "no pidfd_open()");
	close(w->pollfd.fd);
	ASSERT_TRUE(target_do(&w->target, TARGET_PREPARE))
		TH_LOG("%s", w->target.ctl->failed);
	ASSERT_TRUE(target_do(&w->target, TARGET_RUN));
}

static void end_child(pid_t *pid)
{
	if (*pid > 0) {
		kill(*pid, SIGKILL);
		waitpid(*pid, NULL, 0);
	}
	*pid = 0;
}

FIXTURE_TEARDOWN(wait)
{
	end_child(&self->test.busy);
	end_child(&self->test.reader);
	target_end(&self->test.target);
}

/* Fork a process that spins where the target runs; return when it does. */
static pid_t start_busy(const cpu_set_t *cpus)
{
	int fds[2];
	char c = 0;
	pid_t pid;

	if (pipe(fds))
		return -1;
	pid = fork();
	if (!pid) {
		sched_setaffinity(0, sizeof(*cpus), cpus);
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
static pid_t start_reader(struct wait_test *w)
{
	static char text[READ_PAGE];
	int fd = w->target.fd;
	struct maps_line line;
	pid_t pid = fork();

	if (pid)
		return pid;
	if (w->query)
		_exit(maps_query(fd, 0, w->target.ctl->lo, &line) != 1);
	lseek(fd, 0, SEEK_SET);
	while (read(fd, text, sizeof(text)) > 0)
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

/* Start a reader while the target is kept from running. */
static void start_both(struct __test_metadata *_metadata, struct wait_test *w)
{
	w->busy = start_busy(&w->target.cpus);
	ASSERT_LT(0, w->busy);
	w->steps = target_steps(&w->target);
	w->reader = start_reader(w);
	ASSERT_LT(0, w->reader);
	w->pollfd.fd = syscall(SYS_pidfd_open, w->reader, 0);
	ASSERT_LE(0, w->pollfd.fd);
	w->pollfd.events = POLLIN;
}

/* Let go of all but the target. */
static void end_both(struct wait_test *w)
{
	close(w->pollfd.fd);
	end_child(&w->busy);
	end_child(&w->reader);
}

/* True if the reader has been waiting for a while. */
static bool reader_waits(struct wait_test *w)
{
	return !poll(&w->pollfd, 1, HOLD_SIGN_MS) &&
	       state_of(w->reader) == 'D';
}

static bool target_held(struct wait_test *w)
{
	return w->steps == target_steps(&w->target);
}

TEST_F_TIMEOUT(wait, fatal_signal, test_timeout())
{
	struct wait_test *w = &self->test;
	bool ended, held = false;
	unsigned int tries;

	for (tries = 0; tries < 20 && !held; tries++) {
		start_both(_metadata, w);
		if (reader_waits(w)) {
			kill(w->reader, SIGKILL);
			ended = poll(&w->pollfd, 1, HOLD_SIGN_MS) == 1;
			held = target_held(w);
			EXPECT_TRUE(ended || !held)
				TH_LOG("killed, but still waits for the lock");
		}
		end_both(w);
	}
	note("%u tries", tries);
	if (!held)
		SKIP(return, "no wait seen in %u tries", tries);
}

/* Who waits gets its lines when the target goes on, and keeps nothing locked. */
TEST_F_TIMEOUT(wait, served, test_timeout())
{
	struct wait_test *w = &self->test;
	unsigned int tries;
	bool waited = false;
	__u64 end;

	for (tries = 0; tries < 20 && !waited; tries++) {
		start_both(_metadata, w);
		waited = reader_waits(w) && target_held(w);
		end_child(&w->busy);
		EXPECT_EQ(1, poll(&w->pollfd, 1, SERVED_MS))
			TH_LOG("the target runs, but the reader still waits");
		end_both(w);
		/* It was in one step; a lock that was left stops one of these. */
		end = now_ms() + SERVED_MS;
		while (target_steps(&w->target) < w->steps + 4 &&
		       now_ms() < end)
			sched_yield();
		ASSERT_LE(w->steps + 4, target_steps(&w->target))
			TH_LOG("the reader is gone, but the target waits");
	}
	note("%u tries", tries);
	if (!waited && __test_passed(_metadata))
		SKIP(return, "no wait seen in %u tries", tries);
}

/*
 * A fatal signal ends a search that meets no VMA of those it looks for. When
 * kill() has returned, the victim may be on its way to one more VMA.
 */

#define SEARCH_VMAS 20000
#define SEARCH_MS 2000		/* with CONFIG_DEBUG_VM_MAPLE_TREE fewer will do */

/*
 * Fork a process that makes many VMAs, and searches its maps for ever. Their
 * number can be read from @ready when it has searched them once.
 */
static pid_t start_search(int *ready)
{
	size_t page = sysconf(_SC_PAGESIZE);
	__u64 begin = now_ms();
	struct maps_line line;
	int i, fds[2];
	pid_t pid;
	char *p;

	if (pipe(fds))
		return -1;
	pid = fork();
	close(fds[pid ? 1 : 0]);
	*ready = fds[0];
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	p = mmap(NULL, SEARCH_VMAS * page, PROT_NONE, MAP_PRIVATE |
		 MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		_exit(1);
	for (i = 0; i < SEARCH_VMAS && now_ms() - begin < SEARCH_MS; i += 2)
		if (mprotect(p + i * page, page, PROT_READ))
			_exit(1);
	*ready = maps_open(getpid());
	while (maps_query(*ready, PROCMAP_QUERY_COVERING_OR_NEXT_VMA |
			  PROCMAP_QUERY_VMA_WRITABLE |
			  PROCMAP_QUERY_VMA_EXECUTABLE |
			  PROCMAP_QUERY_VMA_SHARED, 0, &line) == 0) {
		if (i && write(fds[1], &i, sizeof(i)) != sizeof(i))
			_exit(1);
		i = 0;
	}
	_exit(1);
}

FIXTURE(search)
{
	pid_t pid;
};

FIXTURE_SETUP(search)
{
	if (!maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	if (!maps_has_lockless_walk())
		SKIP(return, "needs CONFIG_PER_VMA_LOCK_STATS and this walk");
}

FIXTURE_TEARDOWN(search)
{
	end_child(&self->pid);
}

TEST_F_TIMEOUT(search, fatal_signal, test_timeout())
{
	long before, after, locked = 0;
	siginfo_t info;
	int i, ready, vmas;

	for (i = 0; i < 5; i++) {
		before = maps_lockless_walks();
		self->pid = start_search(&ready);
		ASSERT_LT(0, self->pid);
		ASSERT_EQ(sizeof(vmas), read(ready, &vmas, sizeof(vmas)));
		EXPECT_LT(before + vmas, maps_lockless_walks());
		ASSERT_EQ(0, kill(self->pid, SIGKILL));
		before = maps_lockless_walks();
		ASSERT_EQ(0, waitid(P_PID, self->pid, &info, WEXITED));
		self->pid = 0;
		after = maps_lockless_walks();
		ASSERT_EQ(CLD_KILLED, info.si_code);
		EXPECT_GE(before + 1, after);
		locked += after - before;
		close(ready);
	}
	note("%d searches of %d VMAs, %ld locked after their end", i, vmas, locked);
}

/*
 * Many threads on one descriptor, each with any mix of calls.
 */

#define NR_THREADS 4

struct mixer {
	struct target *target;
	pthread_t thread;
	__u32 seed;
	bool query;
	unsigned long calls;
	char why[256];
	char text[READ_LARGE];
};

/* Check the whole lines of one read(), but for the first, which may be cut. */
static bool text_in_order(struct mixer *m, ssize_t n)
{
	const char *p = memchr(m->text, '\n', n), *end;
	struct maps_line line;
	unsigned long past = 0;

	while (p && (end = memchr(p + 1, '\n', m->text + n - p - 1))) {
		if (!maps_parse(p + 1, end + 1, &line) || line.start < past) {
			snprintf(m->why, sizeof(m->why), "after %lx: %.*s",
				 past, (int)(end - p - 1), p + 1);
			return false;
		}
		past = line.end;
		p = end;
	}
	return true;
}

static bool mix_one(struct mixer *m)
{
	static const size_t size[] = { 1, READ_SMALL, READ_PAGE, READ_LARGE };
	__u32 x = next_random(&m->seed);
	off_t offset = x & 0x100 ? 0 : (x >> 16) % 16384;
	struct target *t = m->target;
	struct maps_line line;
	unsigned long addr;
	ssize_t n;

	switch (x % 4) {
	case 0:
		n = read(t->fd, m->text, size[x >> 4 & 3]);
		break;
	case 1:
		n = pread(t->fd, m->text, size[x >> 4 & 3], offset);
		break;
	case 2:
		n = lseek(t->fd, offset, SEEK_SET) == offset ? 0 : -1;
		break;
	default:
		if (!m->query)
			return true;
		addr = (x >> 16) % (CHURN_PAGES / GROUP_PAGES) * GROUP_PAGES;
		addr = (uintptr_t)t->arena + addr * t->page;
		n = maps_query(t->fd, 0, addr, &line);
		if (n != 1 || line.start != addr || line.end != addr + t->page) {
			snprintf(m->why, sizeof(m->why), "query of %lx: %zd",
				 addr, n);
			return false;
		}
		return true;
	}
	if (n < 0)
		snprintf(m->why, sizeof(m->why), "call %u: %s", x % 4,
			 strerror(errno));
	return n >= 0 && text_in_order(m, x % 4 == 2 ? 0 : n);
}

static void *mix(void *arg)
{
	struct mixer *m = arg;
	__u64 end = now_ms() + duration_ms();

	while (now_ms() < end && mix_one(m))
		m->calls++;
	return NULL;
}

FIXTURE(one_descriptor)
{
	struct target target;
	struct scenario scenario;
	struct maps_reader reader[2];
	struct mixer mixer[NR_THREADS];
};

FIXTURE_SETUP(one_descriptor)
{
	self->scenario = (struct scenario) {
		.prepare = churn_prepare,
		.step = churn_step,
		.nr_states = 1,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
	ASSERT_TRUE(target_do(&self->target, TARGET_PREPARE))
		TH_LOG("%s", self->target.ctl->failed);
}

FIXTURE_TEARDOWN(one_descriptor)
{
	target_end(&self->target);
}

TEST_F_TIMEOUT(one_descriptor, mix, test_timeout())
{
	struct maps_reader *shared = &self->reader[0], *own = &self->reader[1];
	struct maps_line line;
	__u64 steps;
	int i, ret;

	target_do(&self->target, TARGET_RUN);
	steps = target_steps(&self->target);
	for (i = 0; i < NR_THREADS; i++) {
		self->mixer[i].target = &self->target;
		self->mixer[i].seed = i + 1;
		self->mixer[i].query = maps_has_query();
		ASSERT_EQ(0, pthread_create(&self->mixer[i].thread, NULL, mix,
					    &self->mixer[i]));
	}
	for (i = 0; i < NR_THREADS; i++) {
		ASSERT_EQ(0, pthread_join(self->mixer[i].thread, NULL));
		EXPECT_STREQ("", self->mixer[i].why);
		note("thread %d: %lu calls", i, self->mixer[i].calls);
	}
	steps = target_steps(&self->target) - steps;
	ASSERT_TRUE(target_do(&self->target, TARGET_STOP))
		TH_LOG("%s", self->target.ctl->failed);

	/* When all is quiet the descriptor shows what a new one shows. */
	shared->fd = self->target.fd;
	shared->size = READ_PAGE;
	own->fd = maps_open(self->target.pid);
	own->size = READ_LARGE;
	maps_rewind(shared, 0);
	maps_rewind(own, 0);
	do {
		ret = maps_next(own, &line);
		ASSERT_EQ(ret, maps_next(shared, &line));
		if (ret != 1)
			break;
		ASSERT_EQ(own->line_len, shared->line_len);
		ASSERT_EQ(0, memcmp(own->line, shared->line, own->line_len));
	} while (true);
	EXPECT_EQ(0, ret);
	close(own->fd);
	if (!steps && __test_passed(_metadata))
		SKIP(return, "the target never changed");
}

int main(int argc, char **argv)
{
	/* The program that an ending target runs. */
	if (argc == 2 && !strcmp(argv[1], EXEC_TARGET))
		return pause();
	return test_harness_run(argc, argv);
}
