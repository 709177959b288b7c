/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The tests of /proc/PID/maps share a reader that knows which lines came out of which read(), a
 * target process that changes its address space on command, and a check of what is read against
 * recorded states of the target.
 *
 * Environment: DURATION=seconds for each race (default 1; a fraction will do). All output but
 * TAP's own starts with "# ".
 */
#ifndef SELFTESTS_PROC_MAPS_H
#define SELFTESTS_PROC_MAPS_H

#include <linux/types.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "../kselftest.h"

#define READ_SMALL 100		/* about one line, most lines are cut */
#define READ_PAGE 4096
#define READ_LARGE 65536

/*
 * Reading.
 */

struct maps_line {
	unsigned long start;
	unsigned long end;
	unsigned long long offset;
	unsigned long inode;
	unsigned int major;
	unsigned int minor;
	char prot[5];
	char name[64];
};

/*
 * Where a line begins. The kernel formats a line whole, in the read() that delivers its first
 * byte; when the user buffer ends inside the line, the next read() delivers the rest first.
 */
enum line_place {
	LINE_INSIDE,		/* after another line that began in the same read() */
	LINE_FRESH,		/* first in a read() */
	LINE_LEFT,		/* first in a read(), but after the rest of another line */
};

struct maps_reader {
	int fd;
	size_t size;		/* bytes that one read() asks for */
	bool positioned;	/* use pread() instead of read() */
	off_t offset;		/* where the next pread() starts */
	unsigned int reads;	/* read() calls since maps_rewind() */
	size_t whole;		/* most that a read() returns, 0: READ_PAGE */
	/* For another file than maps: used in place of maps_next() */
	int (*next)(struct maps_reader *r, struct maps_line *line);

	/* The line that maps_next_text() returned last: */
	enum line_place place;
	const char *line;	/* with its newline, not terminated by a zero */
	size_t line_len;
	off_t line_offset;
	unsigned int line_read;	/* which read() delivered its first byte, from 1 */

	/* Private to maps_next_text(): */
	enum line_place next_place;
	off_t next_offset;
	bool cut;
	size_t pos;
	size_t len;
	char text[READ_LARGE + 8192];
};

int maps_open(pid_t pid);
int maps_open_file(pid_t pid, const char *name);
void maps_rewind(struct maps_reader *r, off_t offset);
int maps_next_text(struct maps_reader *r);
int maps_next(struct maps_reader *r, struct maps_line *line);
const char *maps_parse(const char *text, const char *end, struct maps_line *line);
int maps_query(int fd, __u64 flags, unsigned long addr, struct maps_line *line);
bool maps_has_query(void);
long counter(const char *name);
long maps_lockless_walks(void);
bool maps_has_lockless_walk(void);
bool maps_walks_lockless(const char *name);

/*
 * The target: a child process that runs the functions of a scenario.
 */

enum target_command {
	TARGET_IDLE,		/* the target waits */
	TARGET_PREPARE,		/* run ->prepare() */
	TARGET_STEP,		/* run one ->step() */
	TARGET_RUN,		/* run ->step() for ever, until TARGET_STOP */
	TARGET_STOP,
};

struct target;

struct scenario {
	/* Map the first state and set ctl->lo and ctl->hi around it. */
	void (*prepare)(struct target *t);
	/* Go from state @n to state @n + 1, from the last one to the first. */
	void (*step)(struct target *t, unsigned int n);
	unsigned int nr_states;
	const void *data;
};

/* Memory that tester and target share. */
struct target_ctl {
	__u32 command;
	__u64 steps;
	__u64 passes;		/* see target_linger(); 0: nobody counts */
	unsigned long lo;	/* the window that changes */
	unsigned long hi;
	unsigned int page;	/* place of the window in the arena, in pages */
	char *at_end;		/* or here, see proc-maps-cases.h */
	int error;
	char failed[64];
};

#define ARENA_PAGES 1024	/* reserved in tester and target */
#define ARENA_FILLERS 160	/* one line each in maps */
#define FILE_PAGES 16		/* below this file offset are only fillers */

struct target {
	const struct scenario *scenario;
	struct target_ctl *ctl;
	char *arena;
	size_t page;		/* page size */
	int memfd;
	pid_t pid;
	int fd;			/* its maps */
	cpu_set_t cpus;		/* where target_apart() put it */
};

int target_start(struct target *t, const struct scenario *scenario);
bool target_apart(struct target *t);
void target_end(struct target *t);
bool target_do(struct target *t, enum target_command command);
__u64 target_steps(const struct target *t);

/* For the target's own functions: they end the target when something fails. */
void must(struct target *t, bool ok, const char *what);
void map_file(struct target *t, char *at, size_t len, int prot, int flags, off_t offset);
void map_fillers(struct target *t);

/* Places for a window, found by reading the fillers with @r. */
int place_inside(struct target *t, struct maps_reader *r);
int place_across(struct target *t, struct maps_reader *r, unsigned int lines);

/*
 * A churning target: groups of one VMA that stays, and a range where it maps, unmaps and
 * protects at random.
 */
#define GROUP_PAGES 8
#define CHURN_PAGES 512

__u32 next_random(__u32 *x);
void churn_prepare(struct target *t);
void churn_step(struct target *t, unsigned int n);

/*
 * The check. First the target goes through its states step by step and each is recorded; a
 * racing reader must then see, at each step of its walk, what some state has there.
 */

#define MAX_STATES 32
#define MAX_LINES 32

struct state {
	struct maps_line line[MAX_LINES];
	unsigned int nr;
};

struct window {
	unsigned long lo;
	unsigned long hi;
	struct state state[MAX_STATES];
	unsigned int nr;	/* distinct states */
	bool no_overlap;	/* see window_match() */

	unsigned long passes;
	unsigned long raced;	/* passes during which the target made a step */
	unsigned long mixed;	/* passes that saw no single state */
	unsigned long across;	/* passes whose window came from several read() */
	unsigned long seen[MAX_STATES];
	char why[512];		/* what was wrong */
};

const struct maps_line *state_next(const struct state *s, unsigned long from);
int window_record(struct window *w, struct target *t);
int window_pass(struct window *w, struct maps_reader *r, off_t offset, bool mid);
int pass_read(struct window *w, void *reader);

/* An argument for query_pass(), which asks for one address of the window. */
struct query {
	int fd;
	__u64 flags;		/* 0 or PROCMAP_QUERY_COVERING_OR_NEXT_VMA */
	size_t step;		/* to the next address */
	unsigned long addr;
};

int query_pass(struct window *w, void *query);

enum race_result { RACE_OK, RACE_NOT_SEEN, RACE_FAILED };

typedef int (*race_pass)(struct window *w, void *arg);

enum race_result race_run(struct target *t, struct window *w,
			  unsigned int msecs, race_pass pass, void *arg);

/* A line of output, also from a forked child. */
#define note(fmt, ...) fprintf(stderr, "# " fmt "\n", ##__VA_ARGS__)

unsigned int duration_ms(void);
unsigned int patience_ms(void);
unsigned int test_timeout(void);
__u64 now_ms(void);

/* Files of /proc and /sys that hold a number, or -1. */
long number(const char *path);
bool put(const char *path, const char *text);
bool set_number(const char *path, long n);

/* A test changes these of the machine; setting_restore() undoes all of it. */
bool setting_put(const char *path, long n);
bool setting_put_word(const char *path, const char *word);
void setting_calm(void);
const char *provide_swap(bool alone);
bool setting_restore(void);

/* These read other files; -1, 0 and false if there is nothing. */
long meminfo_kb(const char *field);
__u64 pagemap_entry(pid_t pid, const char *at);
bool smaps_line(pid_t pid, const char *at, const char *field, char line[512]);

char *end_of_tree(size_t len);

#ifdef __KSELFTEST_HARNESS_H
static inline void target_begin(struct __test_metadata *_metadata, struct target *t,
				const struct scenario *scenario)
{
	ASSERT_EQ(0, target_start(t, scenario));
	ASSERT_TRUE(target_do(t, TARGET_PREPARE))
		TH_LOG("%s", t->ctl->failed);
}

/*
 * Report what race_run() found. A race that was not seen is no pass: the test is over then, and
 * false returned.
 */
static inline bool race_verdict(struct __test_metadata *_metadata,
				const struct window *w, enum race_result result)
{
	if (result == RACE_NOT_SEEN)
		SKIP(return false, "%s", w->why);
	EXPECT_EQ(RACE_OK, result)
		TH_LOG("%s", w->why);
	return result == RACE_OK;
}
#endif

#endif /* SELFTESTS_PROC_MAPS_H */
