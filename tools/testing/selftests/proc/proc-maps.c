// SPDX-License-Identifier: GPL-2.0
/* See proc-maps.h. */
#define _GNU_SOURCE
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/futex.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proc-maps.h"

unsigned int duration_ms(void)
{
	const char *s = getenv("DURATION");
	double seconds = s ? atof(s) : 0;

	return 1000 * (seconds > 0 ? seconds : 1);
}

/* How long to wait for a race that was not seen in that time, however short it is. */
unsigned int patience_ms(void)
{
	return duration_ms() < 1000 ? 5000 : 5 * duration_ms();
}

/* Seconds: recording is slow under emulation, and a race may be prolonged. */
unsigned int test_timeout(void)
{
	return 60 + 10 * duration_ms() / 1000;
}

__u64 now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

long number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

bool put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return ok;
}

bool set_number(const char *path, long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%ld", n);
	return put(path, text) && number(path) == n;
}

/* What a setting is: a number, or the word in brackets among those that it may be */
static bool setting_get(const char *path, char word[32])
{
	FILE *f = fopen(path, "r");
	char line[256] = "", *start;
	bool ok;

	ok = f && fgets(line, sizeof(line), f);
	if (f)
		fclose(f);
	start = strchr(line, '[');
	return ok && sscanf(start ? start + 1 : line, "%31[^]\n]", word) == 1;
}

static struct {
	const char *path;
	char word[32];
} saved[16];

static int nr_saved;

static bool setting_set(const char *path, const char *word)
{
	char now[32];

	return put(path, word) && setting_get(path, now) && !strcmp(now, word);
}

/* Change a setting of the machine until setting_restore(). */
bool setting_put_word(const char *path, const char *word)
{
	bool ok = setting_get(path, saved[nr_saved].word);

	saved[nr_saved].path = path;
	nr_saved += ok;
	return ok && setting_set(path, word);
}

bool setting_put(const char *path, long n)
{
	char word[32];

	snprintf(word, sizeof(word), "%ld", n);
	return setting_put_word(path, word);
}

/* Nobody but the target moves or collapses its pages, and no locked ones in any case. */
void setting_calm(void)
{
	setting_put("/proc/sys/vm/compaction_proactiveness", 0);
	setting_put("/proc/sys/vm/compact_unevictable_allowed", 0);
	setting_put("/proc/sys/kernel/numa_balancing", 0);
	setting_put("/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_none", 0);
	setting_put("/sys/kernel/mm/transparent_hugepage/khugepaged/max_ptes_shared", 0);
}

#define SWAP_MB 64

static bool our_swap;

/* Return NULL if there is swap now, which nobody else uses if it has to be @alone. */
const char *provide_swap(bool alone)
{
	static __u32 header[65536 / 4];
	ssize_t page = sysconf(_SC_PAGESIZE);
	FILE *f = fopen("/proc/swaps", "r");
	int lines = 0, fd, c;
	bool ok;

	while (f && (c = fgetc(f)) != EOF)
		lines += c == '\n';
	if (f)
		fclose(f);
	if (lines > 1)
		return alone ? "swap is in use already" : NULL;
	if (!lines || number("/sys/block/zram0/disksize") ||
	    !set_number("/sys/block/zram0/disksize", SWAP_MB << 20))
		return "no swap, and no free zram0 for it";
	header[1024 / 4] = 1;		/* version */
	header[1028 / 4] = (SWAP_MB << 20) / page - 1;
	memcpy((char *)header + page - 10, "SWAPSPACE2", 10);
	fd = open("/dev/zram0", O_WRONLY | O_CLOEXEC);
	ok = fd >= 0 && write(fd, header, page) == page;
	close(fd);
	our_swap = ok && !swapon("/dev/zram0", 0);
	if (our_swap)
		return NULL;
	put("/sys/block/zram0/reset", "1");
	return "cannot swap to zram0";
}

/* Undo what the functions above have changed: true if all is as before. */
bool setting_restore(void)
{
	bool ok = true;

	for (; nr_saved; nr_saved--)
		ok &= setting_set(saved[nr_saved - 1].path, saved[nr_saved - 1].word);
	if (our_swap)
		ok &= !swapoff("/dev/zram0") && put("/sys/block/zram0/reset", "1");
	our_swap = false;
	return ok;
}

/* Find a free place above all mappings, as high as there is one. */
char *end_of_tree(size_t len)
{
	size_t page = sysconf(_SC_PAGESIZE);
	unsigned int bits;
	char *at, *got;

	for (bits = 8 * sizeof(long) - 1; bits > 30; bits--) {
		at = (char *)(1UL << bits) - page - len;
		got = mmap(at, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS |
			   MAP_FIXED_NOREPLACE, -1, 0);
		if (got == MAP_FAILED)
			continue;
		munmap(got, len);
		if (got == at)
			return at;
	}
	return NULL;
}

/*
 * Reading.
 */

int maps_open_file(pid_t pid, const char *name)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	return open(path, O_RDONLY | O_CLOEXEC);
}

int maps_open(pid_t pid)
{
	return maps_open_file(pid, "maps");
}

void maps_rewind(struct maps_reader *r, off_t offset)
{
	r->offset = offset;
	r->next_offset = offset;
	r->next_place = LINE_FRESH;
	r->cut = false;
	r->reads = 0;
	r->pos = 0;
	r->len = 0;
	if (!r->positioned)
		lseek(r->fd, offset, SEEK_SET);
}

long meminfo_kb(const char *field)
{
	FILE *f = fopen("/proc/meminfo", "r");
	long n, kb = -1;
	char word[64];

	while (f && kb < 0 && fscanf(f, "%63s %ld%*[^\n]", word, &n) == 2)
		if (!strcmp(word, field))
			kb = n;
	if (f)
		fclose(f);
	return kb;
}

__u64 pagemap_entry(pid_t pid, const char *at)
{
	int fd = maps_open_file(pid, "pagemap");
	__u64 pme;

	if (pread(fd, &pme, 8, (uintptr_t)at / sysconf(_SC_PAGESIZE) * 8) != 8)
		pme = 0;
	close(fd);
	return pme;
}

/* The line of smaps that begins with @field, of the mapping at @at. */
bool smaps_line(pid_t pid, const char *at, const char *field, char line[512])
{
	unsigned long from, to;
	bool here = false, found = false;
	char path[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/smaps", pid);
	f = fopen(path, "r");
	while (f && !found && fgets(line, 512, f)) {
		if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
			here = from <= (uintptr_t)at && (uintptr_t)at < to;
		found = here && !strncmp(line, field, strlen(field));
	}
	if (f)
		fclose(f);
	return found;
}

static const char *parse_number(const char *p, int base, char stop, unsigned long long *value)
{
	char *end;

	if (!p || !isxdigit(*p))
		return NULL;
	*value = strtoull(p, &end, base);
	return *end == stop ? end + 1 : NULL;
}

/*
 * Parse a line that ends in a newline before @end. Return what follows it, or NULL if it is not
 * what the kernel would print.
 */
const char *maps_parse(const char *p, const char *end, struct maps_line *line)
{
	unsigned long long v[6];
	const char *nl;
	size_t len;

	p = parse_number(p, 16, '-', &v[0]);
	p = parse_number(p, 16, ' ', &v[1]);
	if (!p || strspn(p, "-rwxsp") != 4 || p[4] != ' ')
		return NULL;
	memcpy(line->prot, p, 4);
	line->prot[4] = '\0';
	p = parse_number(p + 5, 16, ' ', &v[2]);
	p = parse_number(p, 16, ':', &v[3]);
	p = parse_number(p, 16, ' ', &v[4]);
	p = parse_number(p, 10, ' ', &v[5]);
	if (!p || v[0] >= v[1])
		return NULL;
	line->start = v[0];
	line->end = v[1];
	line->offset = v[2];
	line->major = v[3];
	line->minor = v[4];
	line->inode = v[5];

	while (*p == ' ')
		p++;
	nl = memchr(p, '\n', end - p);
	if (!nl)
		return NULL;
	len = nl - p;
	if (len >= sizeof(line->name))
		len = sizeof(line->name) - 1;
	memcpy(line->name, p, len);
	line->name[len] = '\0';
	return nl + 1;
}

/* Return 1 and a line of text, or 0 at the end, or -errno; -EBADMSG: not a line. */
int maps_next_text(struct maps_reader *r)
{
	const char *end;
	ssize_t n;

	r->line_read = r->reads + (r->pos == r->len);
	while (!(end = memchr(r->text + r->pos, '\n', r->len - r->pos))) {
		r->len -= r->pos;
		memmove(r->text, r->text + r->pos, r->len);
		r->pos = 0;
		if (r->len + r->size > sizeof(r->text))
			return -EBADMSG;
		if (r->positioned)
			n = pread(r->fd, r->text + r->len, r->size, r->offset);
		else
			n = read(r->fd, r->text + r->len, r->size);
		if (n < 0)
			return -errno;
		if (!n)
			return r->len ? -EBADMSG : 0;
		if (r->len)
			r->cut = true;
		else
			r->next_place = LINE_FRESH;
		r->reads++;
		r->offset += n;
		r->len += n;
	}
	r->place = r->next_place;
	r->next_place = r->cut ? LINE_LEFT : LINE_INSIDE;
	r->cut = false;
	r->line = r->text + r->pos;
	r->line_len = end + 1 - r->line;
	r->line_offset = r->next_offset;
	r->next_offset += r->line_len;
	r->pos += r->line_len;
	return 1;
}

/* Return as maps_next_text() does, and what the line says. */
int maps_next(struct maps_reader *r, struct maps_line *line)
{
	int ret;

	if (r->next)
		return r->next(r, line);
	ret = maps_next_text(r);
	if (ret == 1 && !maps_parse(r->line, r->line + r->line_len, line))
		return -EBADMSG;
	return ret;
}

/* Return 1 and the VMA, or 0 if there is none, or -errno. */
int maps_query(int fd, __u64 flags, unsigned long addr, struct maps_line *line)
{
	struct procmap_query q = {
		.size = sizeof(q),
		.query_flags = flags,
		.query_addr = addr,
		.vma_name_size = sizeof(line->name),
		.vma_name_addr = (uintptr_t)line->name,
	};
	int i;

	line->name[0] = '\0';
	if (ioctl(fd, PROCMAP_QUERY, &q))
		return errno == ENOENT ? 0 : -errno;
	line->start = q.vma_start;
	line->end = q.vma_end;
	line->offset = q.vma_offset;
	line->inode = q.inode;
	line->major = q.dev_major;
	line->minor = q.dev_minor;
	for (i = 0; i < 4; i++)
		line->prot[i] = q.vma_flags >> i & 1 ? "rwxs"[i] : "---p"[i];
	line->prot[4] = '\0';
	return 1;
}

bool maps_has_query(void)
{
	struct maps_line line;
	int fd = maps_open(getpid());
	int ret = maps_query(fd, 0, (uintptr_t)&line, &line);

	close(fd);
	return ret != -ENOTTY && ret != -EINVAL;
}

/* A counter of /proc/vmstat, or -1 */
long counter(const char *name)
{
	FILE *f = fopen("/proc/vmstat", "r");
	long n, count = -1;
	char word[64];

	while (f && count < 0 && fscanf(f, "%63s %ld", word, &n) == 2)
		if (!strcmp(word, name))
			count = n;
	if (f)
		fclose(f);
	return count;
}

/* Return how many VMAs such walks have locked so far, or -1 if it is not known. */
long maps_lockless_walks(void)
{
	return counter("vma_lock_walk");
}

/* True if maps is known to be walked under per-VMA locks as in this series. */
bool maps_has_lockless_walk(void)
{
	return maps_lockless_walks() >= 0;
}

/* The same of another file, if nobody else reads such a file just now. */
bool maps_walks_lockless(const char *name)
{
	long walks = maps_lockless_walks();
	int fd = maps_open_file(getpid(), name);
	char byte;

	if (read(fd, &byte, 1) != 1)
		walks = -1;
	close(fd);
	return walks >= 0 && maps_lockless_walks() > walks;
}

/*
 * The target.
 */

static void futex_wait(__u32 *word, __u32 value)
{
	syscall(SYS_futex, word, FUTEX_WAIT, value, NULL, NULL, 0);
}

static void command_set(struct target_ctl *ctl, __u32 command)
{
	__atomic_store_n(&ctl->command, command, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &ctl->command, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static __u32 command_get(struct target_ctl *ctl)
{
	return __atomic_load_n(&ctl->command, __ATOMIC_SEQ_CST);
}

__u64 target_steps(const struct target *t)
{
	return __atomic_load_n(&t->ctl->steps, __ATOMIC_SEQ_CST);
}

void must(struct target *t, bool ok, const char *what)
{
	if (ok)
		return;
	t->ctl->error = errno ?: EINVAL;
	snprintf(t->ctl->failed, sizeof(t->ctl->failed), "%s", what);
	command_set(t->ctl, TARGET_IDLE);
	_exit(1);
}

static void target_step(struct target *t)
{
	__u64 n = target_steps(t);

	t->scenario->step(t, n % t->scenario->nr_states);
	__atomic_store_n(&t->ctl->steps, n + 1, __ATOMIC_SEQ_CST);
}

#define STEPS_TO_LINGER 16

/*
 * A pass of the tester can take so much longer than a step that it never sees a state as a
 * whole. So after every so many steps, in each state in turn, wait until the pass that has met
 * this step is over.
 */
static void target_linger(struct target *t)
{
	struct target_ctl *ctl = t->ctl;
	__u64 passes = __atomic_load_n(&ctl->passes, __ATOMIC_SEQ_CST);

	if (!passes || target_steps(t) % (STEPS_TO_LINGER * t->scenario->nr_states + 1))
		return;
	while (__atomic_load_n(&ctl->passes, __ATOMIC_SEQ_CST) == passes &&
	       command_get(ctl) == TARGET_RUN)
		;
}

static void target_main(struct target *t)
{
	struct target_ctl *ctl = t->ctl;

	for (;;) {
		switch (command_get(ctl)) {
		case TARGET_IDLE:
			futex_wait(&ctl->command, TARGET_IDLE);
			continue;
		case TARGET_PREPARE:
			ctl->steps = 0;
			t->scenario->prepare(t);
			break;
		case TARGET_STEP:
			target_step(t);
			break;
		case TARGET_RUN:
			target_step(t);
			target_linger(t);
			continue;
		case TARGET_STOP:
			break;
		}
		command_set(ctl, TARGET_IDLE);
	}
}

/* Give a command; wait until it is done. Return false if the target failed. */
bool target_do(struct target *t, enum target_command command)
{
	command_set(t->ctl, command);
	while (command != TARGET_RUN && command_get(t->ctl) == command && !t->ctl->error)
		futex_wait(&t->ctl->command, command);
	return !t->ctl->error;
}

/*
 * Let the target run on the last CPU and the caller on the others, so that they never take
 * turns. Return false if there is only one CPU.
 */
bool target_apart(struct target *t)
{
	static cpu_set_t all;	/* as it was at first */
	cpu_set_t others;
	int cpu = CPU_SETSIZE;

	if (!CPU_COUNT(&all) && sched_getaffinity(0, sizeof(all), &all))
		return false;
	while (cpu-- && !CPU_ISSET(cpu, &all))
		;
	CPU_ZERO(&t->cpus);
	CPU_SET(cpu, &t->cpus);
	CPU_XOR(&others, &all, &t->cpus);
	return CPU_COUNT(&others) && !sched_setaffinity(t->pid, sizeof(t->cpus), &t->cpus) &&
	       !sched_setaffinity(0, sizeof(others), &others);
}

/* Reserve @len, a power of two, at an address that is a multiple of it. */
static char *reserve_aligned(size_t len)
{
	char *p = mmap(NULL, 2 * len, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t below;

	if (p == MAP_FAILED)
		return p;
	below = -(uintptr_t)p & (len - 1);
	if (below)
		munmap(p, below);
	munmap(p + below + len, len - below);
	return p + below;
}

/*
 * Fork the target and open its maps. The windows are in the first half of the arena, and so
 * need one page table. Return 0 or -errno.
 */
int target_start(struct target *t, const struct scenario *scenario)
{
	pid_t tester = getpid();

	t->scenario = scenario;
	t->page = sysconf(_SC_PAGESIZE);
	t->memfd = memfd_create("m", MFD_CLOEXEC);
	if (t->memfd < 0 || ftruncate(t->memfd, 4 * ARENA_PAGES * t->page))
		return -errno;
	t->ctl = mmap(NULL, sizeof(*t->ctl), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	t->arena = reserve_aligned(ARENA_PAGES * t->page);
	if (t->ctl == MAP_FAILED || t->arena == MAP_FAILED)
		return -errno;
	t->pid = fork();
	if (t->pid < 0)
		return -errno;
	if (!t->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != tester)
			_exit(1);
		target_main(t);
	}
	t->fd = maps_open(t->pid);
	return t->fd < 0 ? -errno : 0;
}

void target_end(struct target *t)
{
	if (t->pid > 0) {
		kill(t->pid, SIGKILL);
		waitpid(t->pid, NULL, 0);
	}
	close(t->fd);
	close(t->memfd);
	munmap(t->arena, ARENA_PAGES * t->page);
	munmap(t->ctl, sizeof(*t->ctl));
}

/*
 * Map a part of the file, shared: private writable mappings are accounted, and do not merge
 * with others that never were writable.
 */
void map_file(struct target *t, char *at, size_t len, int prot, int flags, off_t offset)
{
	must(t, mmap(at, len, prot, MAP_SHARED | MAP_FIXED | flags, t->memfd,
		     offset) == at, "mmap of the file");
}

/*
 * Empty the arena, then fill its lower part with VMAs of one page that merge with nothing,
 * since all have the same file offset.
 */
void map_fillers(struct target *t)
{
	unsigned int i;

	must(t, !munmap(t->arena, ARENA_PAGES * t->page), "munmap of the arena");
	for (i = 0; i < ARENA_FILLERS; i++)
		map_file(t, t->arena + i * t->page, t->page, PROT_READ, 0, 0);
}

/*
 * Find two fillers that come first in a read() each, of READ_PAGE or r->whole, but for the
 * first, which may be that of the arena, and have at least @lines between them. Return the
 * second, and the first in @begin; or -1.
 */
static int whole_read(struct target *t, struct maps_reader *r, int lines, int *begin)
{
	unsigned long arena = (uintptr_t)t->arena;
	size_t size = r->size;
	struct maps_line line;
	int i, found = -1;

	/* The window is out of the way: it has fewer lines than pages. */
	t->ctl->page = ARENA_FILLERS - MAX_LINES;
	if (!target_do(t, TARGET_PREPARE))
		return -1;
	*begin = 0;
	r->size = r->whole ?: READ_PAGE;
	maps_rewind(r, 0);
	while (found < 0 && maps_next(r, &line) == 1) {
		if (line.start < arena || r->place != LINE_FRESH)
			continue;
		i = (line.start - arena) / t->page;
		if (i >= (int)t->ctl->page)
			break;
		if (i - *begin > lines)
			found = i;
		else
			*begin = i;
	}
	r->size = size;
	return found;
}

/* Put the window where one read() of READ_PAGE shows it whole. */
int place_inside(struct target *t, struct maps_reader *r)
{
	int begin;

	if (whole_read(t, r, MAX_LINES / 2, &begin) < 0)
		return -1;
	t->ctl->page = begin + 1;
	return target_do(t, TARGET_PREPARE) ? 0 : -1;
}

/* Put the window where a read() of READ_PAGE ends after @lines of its lines. */
int place_across(struct target *t, struct maps_reader *r, unsigned int lines)
{
	int begin, end = whole_read(t, r, lines, &begin);

	if (end < 0)
		return -1;
	t->ctl->page = end - lines;
	return target_do(t, TARGET_PREPARE) ? 0 : -1;
}

__u32 next_random(__u32 *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

void churn_step(struct target *t, unsigned int n)
{
	static const int prot[] = { PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE };
	static __u32 seed = 1;
	__u32 x = next_random(&seed);
	unsigned int group = x % (CHURN_PAGES / GROUP_PAGES);
	unsigned int first = 1 + (x >> 8) % (GROUP_PAGES - 1);
	unsigned int pages = 1 + (x >> 16) % (GROUP_PAGES - first);
	unsigned int page = group * GROUP_PAGES + first;
	char *at = t->arena + page * t->page;

	switch (x >> 29) {
	case 0:
		must(t, !munmap(at, pages * t->page), "munmap");
		break;
	case 1 ... 3:
		/* Fails after what is mapped, if not all is. */
		mprotect(at, pages * t->page, prot[(x >> 24) % 3]);
		break;
	default:
		map_file(t, at, pages * t->page, prot[(x >> 24) % 3], 0,
			 (FILE_PAGES + page) * t->page);
	}
}

void churn_prepare(struct target *t)
{
	unsigned int i;

	map_fillers(t);
	must(t, !munmap(t->arena, ARENA_FILLERS * t->page), "munmap");
	for (i = 0; i < CHURN_PAGES; i += GROUP_PAGES)
		map_file(t, t->arena + i * t->page, t->page, PROT_READ, 0, 0);
}

/*
 * The check.
 */

static int line_print(char *buf, size_t len, const struct maps_line *line)
{
	return snprintf(buf, len, "%lx-%lx %s %llx %x:%x %lu %s", line->start,
			line->end, line->prot, line->offset, line->major,
			line->minor, line->inode, line->name);
}

static int fail(struct window *w, const char *what, const struct maps_line *line,
		unsigned long after)
{
	int n;

	n = snprintf(w->why, sizeof(w->why), "%s %lx: ", what, after);
	if (line)
		line_print(w->why + n, sizeof(w->why) - n, line);
	else
		snprintf(w->why + n, sizeof(w->why) - n, "nothing found up to %lx", w->hi);
	return -1;
}

/* What a walk finds in @s at @from: the VMA that covers it, or the next one. */
const struct maps_line *state_next(const struct state *s, unsigned long from)
{
	unsigned int i;

	for (i = 0; i < s->nr; i++)
		if (s->line[i].end > from)
			return &s->line[i];
	return NULL;
}

/* True if @line shows @vma, or what is left of it from @from on. */
static bool line_is(const struct maps_line *line, const struct maps_line *vma, unsigned long from)
{
	unsigned long hidden = from > vma->start ? from - vma->start : 0;

	return line->start == vma->start + hidden && line->end == vma->end &&
	       line->offset == vma->offset + (vma->inode ? hidden : 0) &&
	       line->inode == vma->inode && line->major == vma->major &&
	       line->minor == vma->minor && !strcmp(line->prot, vma->prot) &&
	       !strcmp(line->name, vma->name);
}

static void dump_states(const struct window *w)
{
	char buf[256];
	unsigned int s, i;

	for (s = 0; s < w->nr; s++) {
		for (i = 0; i < w->state[s].nr; i++) {
			line_print(buf, sizeof(buf), &w->state[s].line[i]);
			note("state %u: %s", s, buf);
		}
	}
}

static bool state_same(const struct state *a, const struct state *b)
{
	unsigned int i = 0;

	while (i < a->nr && i < b->nr && line_is(&a->line[i], &b->line[i], 0))
		i++;
	return i == a->nr && i == b->nr;
}

/*
 * Record the states of a target that is in its first one, step by step, with a descriptor and
 * large reads of our own. Return the number of distinct states, or -1.
 */
int window_record(struct window *w, struct target *t)
{
	struct maps_reader *r = calloc(1, sizeof(*r));
	struct maps_line line;
	unsigned int step, i;
	struct state *s;
	int ret = 1;

	memset(w, 0, sizeof(*w));
	w->lo = t->ctl->lo;
	w->hi = t->ctl->hi;
	w->no_overlap = maps_has_lockless_walk();
	r->fd = maps_open(t->pid);
	r->size = READ_LARGE;
	for (step = 0; step < t->scenario->nr_states; step++) {
		s = &w->state[w->nr];
		s->nr = 0;
		maps_rewind(r, 0);
		while ((ret = maps_next(r, &line)) == 1) {
			if (line.end <= w->lo || line.start >= w->hi)
				continue;
			if (s->nr == MAX_LINES)
				break;
			s->line[s->nr++] = line;
		}
		for (i = 0; i < w->nr && !state_same(&w->state[i], s); i++)
			;
		if (i == w->nr)
			w->nr++;
		if (ret || !target_do(t, TARGET_STEP))
			break;
	}
	close(r->fd);
	free(r);
	if (!t->ctl->error && !ret)
		return w->nr;
	snprintf(w->why, sizeof(w->why), "cannot record state %u: %s %s", step, t->ctl->failed,
		 strerror(t->ctl->error ?: ret < 0 ? -ret : E2BIG));
	return -1;
}

/*
 * Return the states (a bit each) that explain @line (NULL: no more lines) when the walk looks
 * them up at @from. @past is the end of the line before: what is below it is cut off, or need
 * not be (@may_whole).
 */
static __u32 states_at(const struct window *w, unsigned long from,
		       unsigned long past, const struct maps_line *line, bool may_whole)
{
	const struct maps_line *vma;
	__u32 mask = 0;
	unsigned int i;

	for (i = 0; i < w->nr; i++) {
		vma = state_next(&w->state[i], from);
		if (!line || !vma ? !line && !vma : line_is(line, vma, past) ||
		    (may_whole && line_is(line, vma, 0)))
			mask |= 1U << i;
	}
	return mask;
}

/*
 * Return the states that explain @line after a line that ended at @past.
 *
 * Inside a read() the walk looks for what is at @past, and what began before is shown from
 * @past on. At the start of a read() it looks where the read() before stopped: at @past, or at
 * the VMA that was the next one in any state. Then kernels that hold mmap_lock show that whole,
 * and may overlap (and cannot be told from the others without CONFIG_PER_VMA_LOCK_STATS); the
 * others show it from @past on.
 */
static __u32 window_match(const struct window *w, unsigned long past,
			  const struct maps_line *line, enum line_place place)
{
	bool whole = place != LINE_INSIDE && !w->no_overlap;
	const struct maps_line *vma;
	__u32 mask;
	unsigned int i;

	mask = states_at(w, past, past, line, whole);
	if (place == LINE_INSIDE)
		return mask;
	for (i = 0; i < w->nr; i++) {
		vma = state_next(&w->state[i], past);
		if (vma && vma->start > past)
			mask |= states_at(w, vma->start, past, line, whole);
	}
	return mask;
}

/*
 * Read the window with @r from @offset on and check it. @mid: the text at @offset is in the
 * window, so that lines before it may be missing. Return 0, or -1 with the reason in w->why.
 */
int window_pass(struct window *w, struct maps_reader *r, off_t offset, bool mid)
{
	__u32 now, mask = ~0U >> (32 - w->nr);
	unsigned long past = w->lo;
	struct maps_line line;
	bool across = false;
	bool first = true;
	bool in;
	int ret;

	maps_rewind(r, offset);
	for (;;) {
		ret = maps_next(r, &line);
		if (ret < 0) {
			snprintf(w->why, sizeof(w->why), "after %lx: %s", past, strerror(-ret));
			return -1;
		}
		if (ret && line.end <= w->lo)
			continue;
		in = ret && line.start < w->hi;
		if (mid && first)
			now = in ? states_at(w, line.start, 0, &line, true) : ~0U;
		else
			now = window_match(w, past, in ? &line : NULL, r->place);
		if (!now)
			return fail(w, r->place == LINE_INSIDE ? "inside a read() after" :
				    r->place == LINE_FRESH ? "in a new read() after" :
				    "in a new read(), after the rest of a line to",
				    in ? &line : NULL, past);
		mask &= now;
		if (!in)
			break;
		if (r->place != LINE_INSIDE && !first)
			across = true;
		past = line.end;
		first = false;
	}
	w->across += across;
	if (!mid && mask)
		w->seen[__builtin_ctz(mask)]++;
	else if (!mid)
		w->mixed++;
	return 0;
}

/* A race_pass: read the window from the start of the text on. */
int pass_read(struct window *w, void *reader)
{
	return window_pass(w, reader, 0, false);
}

/* A race_pass: ask for the next address of the window. */
int query_pass(struct window *w, void *query)
{
	struct query *q = query;
	const struct maps_line *vma;
	struct maps_line line;
	bool legal = false;
	unsigned int i;
	int ret;

	q->addr += q->step;
	if (q->addr < w->lo || q->addr >= w->hi)
		q->addr = w->lo;
	ret = maps_query(q->fd, q->flags, q->addr, &line);
	if (ret < 0) {
		snprintf(w->why, sizeof(w->why), "query of %lx: %s", q->addr, strerror(-ret));
		return -1;
	}
	for (i = 0; i < w->nr; i++) {
		vma = state_next(&w->state[i], q->addr);
		if (vma && vma->start > q->addr && !q->flags)
			vma = NULL;
		if (!ret || !vma ? !ret && !vma : line_is(&line, vma, 0)) {
			legal = true;
			w->seen[i]++;
		}
	}
	return legal ? 0 : fail(w, "query of", ret ? &line : NULL, q->addr);
}

static bool race_seen(const struct window *w)
{
	unsigned int i = 0;

	while (i < w->nr && w->seen[i])
		i++;
	return i == w->nr && w->raced;
}

/*
 * Let the target run and call @pass for @msecs, or for up to patience_ms() if the race or a
 * state was not seen until then.
 */
enum race_result race_run(struct target *t, struct window *w,
			  unsigned int msecs, race_pass pass, void *arg)
{
	__u64 spent, begin = now_ms();
	char seen[400] = "";
	unsigned int i, n;
	__u64 steps;
	int ret;

	target_apart(t);
	t->ctl->passes = 1;
	target_do(t, TARGET_RUN);
	do {
		steps = target_steps(t);
		ret = pass(w, arg);
		w->passes++;
		__atomic_add_fetch(&t->ctl->passes, 1, __ATOMIC_SEQ_CST);
		w->raced += steps != target_steps(t);
		spent = now_ms() - begin;
	} while (!ret && (spent < msecs || (!race_seen(w) && spent < patience_ms())));
	if (!t->ctl->error)
		target_do(t, TARGET_STOP);
	t->ctl->passes = 0;
	if (t->ctl->error) {
		snprintf(w->why, sizeof(w->why), "target: %s: %s",
			 t->ctl->failed, strerror(t->ctl->error));
		ret = -1;
	}

	for (i = 0, n = 0; i < w->nr && n < sizeof(seen) - 16; i++)
		n += snprintf(seen + n, sizeof(seen) - n, " %lu", w->seen[i]);
	note("%lu passes in %lu ms, %lu raced, %lu across reads, saw each state:%s, several: %lu",
	     w->passes, (unsigned long)spent, w->raced, w->across, seen, w->mixed);
	if (ret) {
		dump_states(w);
		return RACE_FAILED;
	}
	if (race_seen(w))
		return RACE_OK;
	snprintf(w->why, sizeof(w->why), "race not seen in %lu passes: %lu raced, states:%s",
		 w->passes, w->raced, seen);
	return RACE_NOT_SEEN;
}
