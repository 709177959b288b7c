// SPDX-License-Identifier: GPL-2.0
/*
 * PROCMAP_QUERY while VMAs of the target are split, resized, moved and merged:
 * each answer must be a VMA that the target had at that address in some state,
 * and an address that is always mapped must be found.
 */
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "../kselftest_harness.h"
#include "proc-maps-cases.h"

static void race_query(struct __test_metadata *_metadata, struct window *w,
		       struct target *t, struct maps_reader *r, __u64 flags)
{
	struct query q = { .fd = t->fd, .step = t->page, .flags = flags };

	if (!maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	ASSERT_EQ(0, place_inside(t, r));
	change_record(_metadata, w, t);
	race_verdict(_metadata, w,
		     race_run(t, w, duration_ms(), query_pass, &q));
}

TEST_F_TIMEOUT(change, covering, test_timeout())
{
	race_query(_metadata, self->window, &self->target, self->reader, 0);
}

TEST_F_TIMEOUT(change, covering_or_next, test_timeout())
{
	race_query(_metadata, self->window, &self->target, self->reader,
		   PROCMAP_QUERY_COVERING_OR_NEXT_VMA);
}

/*
 * Two files with names too long for the kernel's buffer on the stack, so that
 * it looks twice, take turns at one address. The name in an answer must be that
 * of the inode in the same answer.
 */
#define LONG_NAME 249		/* the longest that memfd_create() takes */

FIXTURE(long_name)
{
	struct target target;
	struct scenario scenario;
	struct stat stat[2];
	int fd[2];
	char name[2][512];
};

static void long_name_step(struct target *t, unsigned int n)
{
	const int *fd = t->scenario->data;

	must(t, mmap(t->arena, t->page, PROT_READ, MAP_SHARED | MAP_FIXED,
		     fd[n], 0) == t->arena, "mmap of a file");
}

static void long_name_prepare(struct target *t)
{
	long_name_step(t, 0);
}

FIXTURE_SETUP(long_name)
{
	char name[LONG_NAME + 1] = "";
	int i;

	if (!maps_has_query())
		SKIP(return, "no PROCMAP_QUERY in this kernel");
	for (i = 0; i < 2; i++) {
		memset(name, 'a' + i, LONG_NAME);
		self->fd[i] = memfd_create(name, MFD_CLOEXEC);
		ASSERT_LE(0, self->fd[i]);
		ASSERT_EQ(0, ftruncate(self->fd[i], sysconf(_SC_PAGESIZE)));
		ASSERT_EQ(0, fstat(self->fd[i], &self->stat[i]));
		snprintf(self->name[i], sizeof(self->name[i]),
			 "/memfd:%s (deleted)", name);
	}
	self->scenario = (struct scenario) {
		.prepare = long_name_prepare,
		.step = long_name_step,
		.nr_states = 2,
		.data = self->fd,
	};
	ASSERT_EQ(0, target_start(&self->target, &self->scenario));
	ASSERT_TRUE(target_do(&self->target, TARGET_PREPARE))
		TH_LOG("%s", self->target.ctl->failed);
}

FIXTURE_TEARDOWN(long_name)
{
	target_end(&self->target);
	close(self->fd[0]);
	close(self->fd[1]);
}

TEST_F_TIMEOUT(long_name, is_of_the_inode, test_timeout())
{
	unsigned long seen[2] = {}, raced = 0;
	__u64 steps, begin = now_ms();
	struct procmap_query q;
	char name[512];
	int i;

	target_apart(&self->target);
	ASSERT_TRUE(target_do(&self->target, TARGET_RUN));
	do {
		q = (struct procmap_query) {
			.size = sizeof(q),
			.query_addr = (uintptr_t)self->target.arena,
			.vma_name_addr = (uintptr_t)name,
			.vma_name_size = sizeof(name),
		};
		steps = target_steps(&self->target);
		ASSERT_EQ(0, ioctl(self->target.fd, PROCMAP_QUERY, &q))
			TH_LOG("%s", strerror(errno));
		raced += steps != target_steps(&self->target);
		i = q.inode == self->stat[1].st_ino;
		seen[i]++;
		ASSERT_EQ(self->stat[i].st_ino, q.inode);
		ASSERT_EQ(strlen(self->name[i]) + 1, q.vma_name_size);
		ASSERT_STREQ(self->name[i], name);
		ASSERT_EQ(q.query_addr, q.vma_start);
		ASSERT_EQ(q.query_addr + self->target.page, q.vma_end);
	} while (now_ms() - begin < duration_ms() ||
		 ((!raced || !seen[0] || !seen[1]) &&
		  now_ms() - begin < 5 * duration_ms()));
	note("saw each file: %lu %lu, %lu raced", seen[0], seen[1], raced);
	if (!raced || !seen[0] || !seen[1])
		SKIP(return, "race not seen");
}

TEST_HARNESS_MAIN
