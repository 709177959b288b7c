// SPDX-License-Identifier: GPL-2.0
/*
 * forkcost - what fork() costs per VMA of the process, in instructions
 *
 * Run it in a guest that counts them: vm/run --icount, one CPU; see vmacost.c.
 *
 * A process makes VMAs until it has FEW, and then until it has MANY.  They are
 * private and anonymous, of one page each, side by side, and do not merge, since
 * their protections alternate:
 *
 *	anon	all have been written to, so that a page table entry is copied
 *	empty	none has been, so that there is neither a page nor an anon_vma
 *
 * With each number it forks --forks times, after one time that does not count.  All
 * pages are read-only, as after an earlier fork(), so that fork() has none to
 * write-protect.
 *
 * Only the system call in the parent counts: from before it until it has returned,
 * and the page fault of the parent's stack that it causes.  That is dup_mmap() and,
 * independent of the number of VMAs, what else fork() copies.  The child, which exits
 * at once, does not run meanwhile, for the parent is SCHED_FIFO and the child is not.
 * The parent's wait for it does not count, nor do the 0.2 s in which RCU then frees its
 * VMAs.  The timer interrupt counts (less than 1 %).
 *
 * This is done in a process with one thread, and in one with a second thread, which
 * sleeps on a futex all the time, so that the mm has two users.
 *
 * The cost per VMA is
 *
 *	(cost of a fork with MANY - cost with FEW) / (MANY - FEW)
 *
 * Output: a line "calibration" as of vmacost, then for each kind and number of
 * threads two lines of "cost" and key=value pairs: the cost per VMA, and the cost of
 * a fork with FEW.
 *
 * One more fork is made between marks for touched.c.
 *
 * With --locks it counts instead the write locks of VMAs that fork() takes, in any
 * guest whose kernel has CONFIG_PER_VMA_LOCK_STATS, by vma_lock_fork_locked in
 * /proc/vmstat, which counts those of all forks. Output: for each kind and number of
 * threads two lines of "locks", the locks per VMA of a process with FEW and with MANY.
 *
 * Errors: 1 if something failed or the counter does not count instructions, or no
 * locks (the reason is on stderr), 2 for a wrong command line.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "cost.h"

#define RCU_US		200000

static struct {
	unsigned int few;
	unsigned int many;
	unsigned int forks;
	bool locks;
} opt = {
	.few = 100,
	.many = 8000,
	.forks = 10,
};

static unsigned int count_vmas(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned int vmas = 0;
	char line[512];

	if (!maps)
		err(1, "/proc/self/maps");
	while (fgets(line, sizeof(line), maps))
		vmas += !strstr(line, "[vsyscall]");
	fclose(maps);
	return vmas;
}

/* Make VMAs until there are @want. */
static void make_vmas(const char *kind, unsigned int want)
{
	static const int prots[] = { PROT_READ, PROT_READ | PROT_EXEC };
	unsigned int vmas, i;
	char *p;

	vmas = count_vmas();
	if (want <= vmas)
		errx(1, "%u VMAs are too few, there are %u already", want, vmas);
	vmas = want - vmas;
	p = mmap(NULL, vmas * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check_made(p == MAP_FAILED);
	for (i = 0; i < vmas; i++) {
		/* One by one: a larger mapping would get a huge page. */
		check_made(mprotect(p + i * PAGE, PAGE, PROT_READ | PROT_WRITE));
		if (!strcmp(kind, "anon"))
			p[i * PAGE] = 1;
		check_made(mprotect(p + i * PAGE, PAGE, prots[i % 2]));
	}
	vmas = count_vmas();
	if (vmas != want)
		errx(1, "%u VMAs, it should be %u: some have merged", vmas, want);
}

static void *sleep_on_futex(void *ready)
{
	static int word;

	pthread_barrier_wait(ready);
	for (;;)
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return NULL;
}

static void start_thread(void)
{
	pthread_barrier_t ready;
	pthread_t thread;

	pthread_barrier_init(&ready, NULL, 2);
	errno = pthread_create(&thread, NULL, sleep_on_futex, &ready);
	if (errno)
		err(1, "pthread_create");
	pthread_barrier_wait(&ready);
}

/* Write locks of VMAs that forks have taken. */
static unsigned long long count_locks(void)
{
	FILE *vmstat = fopen("/proc/vmstat", "r");
	unsigned long long count;
	char name[64];

	if (!vmstat)
		err(1, "/proc/vmstat");
	while (fscanf(vmstat, "%63s %llu", name, &count) == 2) {
		if (strcmp(name, "vma_lock_fork_locked"))
			continue;
		fclose(vmstat);
		return count;
	}
	errx(1, "no vma_lock_fork_locked in /proc/vmstat: the kernel lacks CONFIG_PER_VMA_LOCK_STATS");
}

static unsigned long long count_now(void)
{
	return opt.locks ? count_locks() : __rdtsc();
}

/* The instructions, or locks, of one fork(). */
static unsigned long long fork_once(bool marked)
{
	unsigned long long count;
	int status;
	pid_t pid;

	if (marked)
		mark_begin();
	count = count_now();
	pid = syscall(SYS_fork);
	if (!pid)
		_exit(0);
	count = count_now() - count;
	if (marked)
		mark_end();
	if (pid < 0)
		err(1, "fork");
	if (waitpid(pid, &status, 0) != pid || status)
		errx(1, "the child did not exit well");
	usleep(RCU_US);
	return count;
}

static double fork_cost(void)
{
	unsigned long long sum = 0;
	unsigned int i;

	usleep(RCU_US);
	fork_once(false);
	for (i = 0; i < opt.forks; i++)
		sum += fork_once(false);
	fork_once(true);
	return (double)sum / opt.forks;
}

static void print_locks(const char *kind, unsigned int threads, unsigned int vmas,
			double locks)
{
	printf("locks kind=%s threads=%u vmas=%u forks=%u locks_per_vma=%.3f\n", kind, threads,
	       vmas, opt.forks, locks / vmas);
}

/* In a process of its own, which exits. */
static void fork_it(const char *kind, unsigned int threads)
{
	const struct sched_param param = { .sched_priority = 1 };
	double few, many;

	if (threads > 1)
		start_thread();
	/* The thread, and the children, stay with the default policy. */
	if (sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &param))
		err(1, "sched_setscheduler");
	make_vmas(kind, opt.few);
	few = fork_cost();
	make_vmas(kind, opt.many);
	many = fork_cost();

	if (opt.locks) {
		print_locks(kind, threads, opt.few, few);
		print_locks(kind, threads, opt.many, many);
		exit(0);
	}
	printf("cost file=fork kind=%s threads=%u few=%u many=%u forks=%u", kind, threads,
	       opt.few, opt.many, opt.forks);
	printf(" instructions_few=%.0f instructions_many=%.0f instructions_per_vma=%.2f\n", few,
	       many, (many - few) / (opt.many - opt.few));
	printf("cost file=fork kind=%s threads=%u vmas=%u forks=%u instructions_per_fork=%.2f\n",
	       kind, threads, opt.few, opt.forks, few);
	exit(0);
}

static void measure(const char *kind, unsigned int threads)
{
	pid_t parent = getpid();
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		fork_it(kind, threads);
	}
	if (waitpid(pid, &status, 0) != pid)
		err(1, "waitpid");
	if (!WIFEXITED(status))
		errx(1, "the process that forks was killed by signal %d", WTERMSIG(status));
	if (status)
		exit(1);	/* it has said why */
}

static void print_usage(FILE *to)
{
	fputs("usage: forkcost [OPTION...]\n"
	      "Count the instructions per VMA of a fork(), of a process with one thread and with\n"
	      "two.  To be run in a guest that counts instructions: vm/run --icount.\n"
	      "  --few N      VMAs of the process to compare with (default 100)\n"
	      "  --many N     VMAs of the process (default 8000)\n"
	      "  --forks N    forks to take the mean of (default 10)\n"
	      "  --locks      count locks of VMAs instead; any guest, but the kernel must have\n"
	      "               CONFIG_PER_VMA_LOCK_STATS\n"
	      "  --help       this text\n"
	      "Exits with 1 if it could not measure.\n", to);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "few", required_argument, NULL, 'a' },
		{ "many", required_argument, NULL, 'b' },
		{ "forks", required_argument, NULL, 'f' },
		{ "locks", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	unsigned int threads;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'a':
			opt.few = parse_number("few", optarg, 10000000);
			break;
		case 'b':
			opt.many = parse_number("many", optarg, 10000000);
			break;
		case 'f':
			opt.forks = parse_number("forks", optarg, 1000000);
			break;
		case 'l':
			opt.locks = true;
			break;
		case 'h':
			print_usage(stdout);
			return 0;
		default:
			print_usage(stderr);
			return 2;
		}
	}
	if (optind != argc || opt.many <= opt.few) {
		print_usage(stderr);
		return 2;
	}

	if (!opt.locks)
		calibrate();
	for (threads = 1; threads <= 2; threads++) {
		measure("anon", threads);
		measure("empty", threads);
	}
	return 0;
}
