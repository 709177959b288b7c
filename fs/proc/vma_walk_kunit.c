// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of what a walk over VMAs keeps locked, above all after an error.
 *
 * The address space has two VMAs with a gap between them:
 *
 *	|  A   A  |  gap  gap  |  B   B  |
 *	0         2            4         6	pages from t->addr
 *
 * While the reader goes from A to B, a writer holds mmap_lock and keeps it from
 * finding B, or the end of the gap, in one of the ways that real writers have. The
 * writer waits until the reader sleeps or queues for mmap_lock, and then gives way,
 * or kills the reader.
 */
#include <kunit/test.h>
#include <linux/kthread.h>
#include <linux/mman.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include "vma_walk.h"

struct walk_test {
	struct mm_struct *mm;
	unsigned long addr;
	struct vm_area_struct *a;
	struct vm_area_struct *b;
	struct proc_vma_walk walk;
	struct task_struct *reader;
	const struct trouble *trouble;
	bool in_queue;		/* wait until the reader queues for mmap_lock */
	bool kill;		/* kill the reader instead of giving way */
	struct completion begun;
	struct completion read;
	int preempt_count;
	int calls;			/* of the function that looks at pages */
};

/* What the writer does to VMA B, or the gap before it, with mmap_lock held. */
struct trouble {
	const char *name;
	void (*begin)(struct walk_test *t);
	void (*end)(struct walk_test *t);
	bool in_last_page;	/* the reader looks for the last page of B */
};

static void write_lock_b(struct walk_test *t)
{
	vma_start_write(t->b);
}

static void nothing(struct walk_test *t)
{
}

static void hold_rwsem(struct walk_test *t)
{
	down_write(&t->b->vm_lock->lock);
}

static void release_rwsem(struct walk_test *t)
{
	up_write(&t->b->vm_lock->lock);
}

/* In the following, the lookup finds B as if just before it changed. */
static void detach(struct walk_test *t)
{
	t->b->detached = true;
}

static void attach(struct walk_test *t)
{
	t->b->detached = false;
}

static void lose_first_page(struct walk_test *t)
{
	t->b->vm_start += PAGE_SIZE;
}

static void gain_first_page(struct walk_test *t)
{
	t->b->vm_start -= PAGE_SIZE;
}

static void lose_last_page(struct walk_test *t)
{
	t->b->vm_end -= PAGE_SIZE;
}

static void gain_last_page(struct walk_test *t)
{
	t->b->vm_end += PAGE_SIZE;
}

static void announce_hole(struct walk_test *t)
{
	vma_hole_begin(t->mm);
}

static void close_hole(struct walk_test *t)
{
	vma_hole_end(t->mm);
}

static const struct trouble troubles[] = {
	{ "write-locked", write_lock_b, nothing },
	{ "trylock fails", hold_rwsem, release_rwsem },
	{ "detached", detach, attach },
	{ "lost its first page", lose_first_page, gain_first_page },
	{ "lost its last page", lose_last_page, gain_last_page, true },
	{ "hole announced", announce_hole, close_hole },
};

/* Bits of the number of a case of walk_troubled() */
#define IN_QUEUE	1	/* the reader waits for mmap_lock, else it sleeps */
#define KILLED		2	/* while it waits, else the writer gives way */
#define NR_CASES	(4 * ARRAY_SIZE(troubles))

/* The parameter is the number of the case plus one. */
static const void *troubles_gen_params(const void *prev, char *desc)
{
	unsigned long nr = (unsigned long)prev;

	if (nr == NR_CASES)
		return NULL;
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%s, reader %s %s",
		 troubles[nr / 4].name, nr & KILLED ? "killed" : "goes on",
		 nr & IN_QUEUE ? "in the queue" : "after a sleep");
	return (void *)(nr + 1);
}

static bool reader_waits(struct walk_test *t)
{
	if (t->in_queue)
		return mmap_lock_is_contended(t->mm);
	return READ_ONCE(t->reader->__state) & TASK_WAKEKILL;
}

static int writer(void *data)
{
	struct walk_test *t = data;

	mmap_write_lock(t->mm);
	t->trouble->begin(t);
	complete(&t->begun);
	while (!reader_waits(t) && !try_wait_for_completion(&t->read))
		schedule_timeout_idle(1);
	if (t->kill) {
		send_sig(SIGKILL, t->reader, 1);
		wait_for_completion(&t->read);
	}
	t->trouble->end(t);
	mmap_write_unlock(t->mm);

	return 0;
}

static struct task_struct *start_writer(struct kunit *test)
{
	struct walk_test *t = test->priv;
	struct task_struct *task;

	task = kthread_create(writer, t, "vma_walk_writer");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	get_task_struct(task);
	wake_up_process(task);
	wait_for_completion(&t->begun);

	return task;
}

/* The reader has finished, and has unlocked everything; let the writer end */
static void stop_writer(struct walk_test *t, struct task_struct *task)
{
	complete_all(&t->read);
	kthread_stop_put(task);
	flush_signals(current);
}

/* What is locked while there is a current VMA; preemption may be off. */
struct locked {
	bool a;
	bool b;
	bool mm;
	int preempt;
};

static struct locked now_locked(struct walk_test *t)
{
	return (struct locked) {
		.a = rwsem_is_locked(&t->a->vm_lock->lock),
		.b = rwsem_is_locked(&t->b->vm_lock->lock),
		.mm = rwsem_is_locked(&t->mm->mmap_lock),
		.preempt = preempt_count() - t->preempt_count,
	};
}

/* With a VMA locked preemption is off, if it can be. */
static int preempt_off(void)
{
	return IS_ENABLED(CONFIG_PREEMPT_COUNT) && !IS_ENABLED(CONFIG_PREEMPT_RT);
}

static void expect_unlocked(struct kunit *test)
{
	struct locked locked = now_locked(test->priv);

	KUNIT_EXPECT_FALSE(test, locked.a);
	KUNIT_EXPECT_FALSE(test, locked.b);
	KUNIT_EXPECT_FALSE(test, locked.mm);
	KUNIT_EXPECT_EQ(test, locked.preempt, 0);
}

static int walk_test_init(struct kunit *test)
{
	struct walk_test *t;
	unsigned long addr;

	if (!remote_vma_locks_enabled())
		kunit_skip(test, "vm.remote_vma_locks=0");
	t = kunit_kzalloc(test, sizeof(*t), GFP_KERNEL);
	if (!t)
		return -ENOMEM;
	test->priv = t;
	addr = kunit_vm_mmap(test, NULL, 0, 6 * PAGE_SIZE, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, 0);
	if (!addr || IS_ERR_VALUE(addr))
		return -ENOMEM;
	if (vm_munmap(addr + 2 * PAGE_SIZE, 2 * PAGE_SIZE))
		return -ENOMEM;
	t->mm = current->mm;
	t->addr = addr;
	mmap_read_lock(t->mm);
	t->a = vma_lookup(t->mm, addr);
	t->b = vma_lookup(t->mm, addr + 4 * PAGE_SIZE);
	mmap_read_unlock(t->mm);
	if (!t->a || !t->b)
		return -EINVAL;

	t->reader = current;
	init_completion(&t->begun);
	init_completion(&t->read);
	t->preempt_count = preempt_count();
	vma_lock_iter_init(&t->walk.iter);
	allow_kernel_signal(SIGKILL);

	return 0;
}

/* From A to B, and to the end, without a writer. */
static void walk_quiet(struct kunit *test)
{
	struct walk_test *t = test->priv;
	struct vm_area_struct *first, *second, *third;
	struct locked at_first, at_second, at_third;

	first = proc_vma_walk_start(&t->walk, t->mm, t->addr, 0, 0);
	at_first = now_locked(t);
	second = proc_vma_walk_next(&t->walk);
	at_second = now_locked(t);
	third = proc_vma_walk_next(&t->walk);
	at_third = now_locked(t);
	proc_vma_walk_stop(&t->walk);

	KUNIT_EXPECT_PTR_EQ(test, first, t->a);
	KUNIT_EXPECT_TRUE(test, at_first.a && !at_first.b && !at_first.mm);
	KUNIT_EXPECT_EQ(test, at_first.preempt, preempt_off());
	KUNIT_EXPECT_PTR_EQ(test, second, t->b);
	KUNIT_EXPECT_TRUE(test, at_second.b && !at_second.a && !at_second.mm);
	KUNIT_EXPECT_EQ(test, at_second.preempt, preempt_off());
	KUNIT_EXPECT_NULL(test, third);
	KUNIT_EXPECT_TRUE(test, !at_third.a && !at_third.b && !at_third.mm);
	KUNIT_EXPECT_EQ(test, at_third.preempt, 0);
	expect_unlocked(test);
}

/* With vm.remote_vma_locks=0 mmap_lock is held too, and trylock_vma() gives up. */
static void walk_mmap_locked(struct kunit *test)
{
	struct walk_test *t = test->priv;
	struct vm_area_struct *first, *second, *memory, *memory_on;
	struct locked at_first, at_second;

	static_branch_disable(&remote_vma_locks);
	first = proc_vma_walk_start(&t->walk, t->mm, t->addr, 0, 0);
	at_first = now_locked(t);
	second = proc_vma_walk_next(&t->walk);
	at_second = now_locked(t);
	proc_vma_walk_stop(&t->walk);
	memory = trylock_vma(t->mm, t->addr);
	if (memory)
		unlock_next_vma(memory);
	static_branch_enable(&remote_vma_locks);
	memory_on = trylock_vma(t->mm, t->addr);
	if (memory_on)
		unlock_next_vma(memory_on);

	KUNIT_EXPECT_PTR_EQ(test, first, t->a);
	KUNIT_EXPECT_TRUE(test, at_first.a && !at_first.b && at_first.mm);
	KUNIT_EXPECT_PTR_EQ(test, second, t->b);
	KUNIT_EXPECT_TRUE(test, at_second.b && !at_second.a && at_second.mm);
	KUNIT_EXPECT_NULL(test, memory);
	KUNIT_EXPECT_PTR_EQ(test, memory_on, t->a);
	expect_unlocked(test);
}

/* From A to B while a writer is in the way. */
static void walk_troubled(struct kunit *test)
{
	struct walk_test *t = test->priv;
	unsigned long nr = (unsigned long)test->param_value - 1;
	const struct trouble *trouble = &troubles[nr / 4];
	struct vm_area_struct *first, *second;
	struct task_struct *task;
	struct locked locked;

	t->trouble = trouble;
	t->in_queue = nr & IN_QUEUE;
	t->kill = nr & KILLED;
	task = start_writer(test);
	first = proc_vma_walk_start(&t->walk, t->mm, t->addr, 0, 0);
	if (trouble->in_last_page) {
		proc_vma_walk_stop(&t->walk);
		second = proc_vma_walk_start(&t->walk, t->mm,
					     t->addr + 5 * PAGE_SIZE, 0, 0);
	} else {
		second = proc_vma_walk_next(&t->walk);
	}
	locked = now_locked(t);
	proc_vma_walk_stop(&t->walk);
	stop_writer(t, task);

	KUNIT_EXPECT_PTR_EQ(test, first, t->a);
	KUNIT_EXPECT_FALSE(test, locked.a);
	if (t->kill) {
		KUNIT_EXPECT_PTR_EQ(test, second, ERR_PTR(-EINTR));
		KUNIT_EXPECT_FALSE(test, locked.b && trouble->begin != hold_rwsem);
		KUNIT_EXPECT_EQ(test, locked.preempt, 0);
	} else {
		KUNIT_EXPECT_PTR_EQ(test, second, t->b);
		KUNIT_EXPECT_TRUE(test, locked.b);
		KUNIT_EXPECT_EQ(test, locked.preempt, preempt_off());
	}
	expect_unlocked(test);
}

/* A walk that ends in the gap does not wait for what is above it. */
static void walk_limited(struct kunit *test)
{
	static const struct trouble trouble = { "", write_lock_b, nothing };
	struct walk_test *t = test->priv;
	struct vm_area_struct *vma;
	struct task_struct *task;
	struct locked locked;

	t->trouble = &trouble;
	task = start_writer(test);
	vma = proc_vma_walk_start(&t->walk, t->mm, t->addr + 2 * PAGE_SIZE, 0,
				  t->addr + 4 * PAGE_SIZE);
	locked = now_locked(t);
	proc_vma_walk_stop(&t->walk);
	KUNIT_EXPECT_EQ(test, t->walk.iter.patience, VMA_LOCK_PATIENCE);
	stop_writer(t, task);

	KUNIT_EXPECT_NULL(test, vma);
	KUNIT_EXPECT_TRUE(test, !locked.a && !locked.b);
	KUNIT_EXPECT_EQ(test, locked.preempt, 0);
	expect_unlocked(test);
}

/* A walk that restarts in the same read() keeps the patience that is left. */
static void walk_patience(struct kunit *test)
{
	struct walk_test *t = test->priv;

	t->walk.iter.patience = 1;
	proc_vma_walk_start(&t->walk, t->mm, t->addr, 0, 0);
	proc_vma_walk_stop(&t->walk);
	KUNIT_EXPECT_EQ(test, t->walk.iter.patience, 1);
	expect_unlocked(test);
}

/* The first page of B was counted, then the reader is killed. */
static unsigned long count_and_die(struct vm_area_struct *vma, unsigned long from,
				   bool again, void *data)
{
	send_sig(SIGKILL, current, 1);
	return from + PAGE_SIZE;
}

static unsigned long count_some(struct vm_area_struct *vma, unsigned long from,
				bool again, void *data)
{
	struct walk_test *t = data;

	t->calls++;
	return from + PAGE_SIZE;
}

static void walk_pages(struct kunit *test, proc_vma_pages_t count,
		       struct vm_area_struct *expected, int calls)
{
	struct walk_test *t = test->priv;
	struct vm_area_struct *vma;
	struct locked locked;
	int refs;

	/* This gives B an anon_vma, to which the walk takes a reference */
	KUNIT_ASSERT_EQ(test, 0,
			put_user(1, (char __user *)(t->addr + 4 * PAGE_SIZE)));
	KUNIT_ASSERT_NOT_NULL(test, t->b->anon_vma);
	refs = atomic_read(&t->b->anon_vma->refcount);

	vma = proc_vma_walk_start(&t->walk, t->mm, t->addr + 4 * PAGE_SIZE, 0, 0);
	if (!IS_ERR_OR_NULL(vma))
		vma = proc_vma_walk_pages(&t->walk, count, t);
	locked = now_locked(t);
	proc_vma_walk_stop(&t->walk);
	flush_signals(current);

	KUNIT_EXPECT_PTR_EQ(test, vma, expected);
	KUNIT_EXPECT_EQ(test, t->calls, calls);
	KUNIT_EXPECT_FALSE(test, locked.a || locked.mm);
	KUNIT_EXPECT_EQ(test, locked.b, !IS_ERR(expected));
	KUNIT_EXPECT_EQ(test, locked.preempt, IS_ERR(expected) ? 0 : preempt_off());
	KUNIT_EXPECT_EQ(test, refs, atomic_read(&t->b->anon_vma->refcount));
	expect_unlocked(test);
}

/* A walk of pages unlocks the VMA, and continues with it. */
static void walk_pages_pause(struct kunit *test)
{
	struct walk_test *t = test->priv;

	walk_pages(test, count_some, t->b, 2);
}

/* A killed reader ends the walk in the pause. */
static void walk_pages_killed(struct kunit *test)
{
	walk_pages(test, count_and_die, ERR_PTR(-EINTR), 0);
}

/* As if A had been longer until now, twice, and then were gone. */
static unsigned long count_and_lose(struct vm_area_struct *vma, unsigned long from,
				    bool again, void *data)
{
	struct walk_test *t = data;

	t->calls++;
	if (vma == t->a && t->calls < 3)
		return vma->vm_end + PAGE_SIZE;
	if (vma == t->a)
		t->walk.pos = t->b->vm_start;
	return from + PAGE_SIZE;
}

/* A has used up tries, but B has its own: it is not shown in part. */
static void walk_pages_others(struct kunit *test)
{
	struct walk_test *t = test->priv;
	struct vm_area_struct *vma;
	unsigned long end;

	vma = proc_vma_walk_start(&t->walk, t->mm, t->addr, 0, 0);
	if (!IS_ERR_OR_NULL(vma))
		vma = proc_vma_walk_pages(&t->walk, count_and_lose, t);
	end = t->walk.end;
	proc_vma_walk_stop(&t->walk);

	KUNIT_EXPECT_PTR_EQ(test, vma, t->b);
	KUNIT_EXPECT_EQ(test, end, t->addr + 6 * PAGE_SIZE);
	KUNIT_EXPECT_EQ(test, t->calls, 5);
	expect_unlocked(test);
}

struct looked {
	struct proc_walk_part part;
	int calls;
};

static int look_at_table(pmd_t *pmd, unsigned long addr, unsigned long end,
			 struct mm_walk *walk)
{
	struct looked *looked = walk->private;

	looked->calls++;
	return proc_walk_pause(walk, end);
}

static int look_at_hole(unsigned long addr, unsigned long end, int depth,
			struct mm_walk *walk)
{
	return look_at_table(NULL, addr, end, walk);
}

/* Memory that was never written to is passed over, unless a driver maps a file there. */
static void walk_pages_of_driver(struct kunit *test)
{
	static const struct mm_walk_ops ops = {
		.pmd_entry	= look_at_table,
		.pte_hole	= look_at_hole,
		.walk_lock	= PGWALK_VMA_RDLOCK_VERIFY,
	};
	struct looked anon = {}, file = {};
	struct walk_test *t = test->priv;
	unsigned long anon_end = 0, file_end = 0;
	struct vm_area_struct *vma;

	vma = proc_vma_walk_start(&t->walk, t->mm, t->addr, 0, 0);
	if (vma == t->a) {
		anon_end = proc_walk_pages(vma, t->addr, &ops, &anon.part);
		/* Without vm_ops it is only asked whether there is one */
		vma->vm_file = (struct file *)test;
		file_end = proc_walk_pages(vma, t->addr, &ops, &file.part);
		vma->vm_file = NULL;
	}
	proc_vma_walk_stop(&t->walk);

	KUNIT_EXPECT_PTR_EQ(test, vma, t->a);
	KUNIT_EXPECT_EQ(test, anon_end, t->a->vm_end);
	KUNIT_EXPECT_EQ(test, anon.calls, 0);
	KUNIT_EXPECT_EQ(test, file_end, t->a->vm_end);
	KUNIT_EXPECT_EQ(test, file.calls, 1);
	expect_unlocked(test);
}

static struct kunit_case walk_cases[] = {
	KUNIT_CASE(walk_quiet),
	KUNIT_CASE(walk_mmap_locked),
	KUNIT_CASE_PARAM(walk_troubled, troubles_gen_params),
	KUNIT_CASE(walk_limited),
	KUNIT_CASE(walk_patience),
	KUNIT_CASE(walk_pages_pause),
	KUNIT_CASE(walk_pages_killed),
	KUNIT_CASE(walk_pages_others),
	KUNIT_CASE(walk_pages_of_driver),
	{}
};

static struct kunit_suite walk_suite = {
	.name = "proc_vma_walk",
	.init = walk_test_init,
	.test_cases = walk_cases,
};

kunit_test_suite(walk_suite);

MODULE_DESCRIPTION("KUnit tests of the walk over VMAs");
MODULE_LICENSE("GPL");
