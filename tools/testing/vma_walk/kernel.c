// SPDX-License-Identifier: GPL-2.0
/*
 * What the compiled parts of the kernel need of the rest of it: locks, RCU,
 * memory, the scheduler, time, as far as their users can tell.
 *
 * A lock operation is one step. It is hooked as a read-modify-write of the lock.
 * An rwsem is as fair as the kernel's: who waits keeps later readers out. Its
 * waiters are seen at once, there is no spinning before a waiter queues.
 *
 * A grace period of RCU ends as early as it may, when the last thread leaves that
 * was in a reader's section, or had preemption off, when it began. Then the
 * callbacks run, in that thread.
 *
 * Time passes only for who asks for it, see sched_clock().
 */
#include <linux/backing-dev.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/percpu_counter.h>
#include <linux/proc_fs.h>
#include <linux/rmap.h>
#include <linux/rwsem.h>
#include <linux/sched/clock.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uio.h>
#include <linux/userfaultfd_k.h>
#include <asm/tlb.h>
#include <asm/vsyscall.h>
#include "world.h"

struct pcpu_hot pcpu_hot;
struct task_struct *tasks[MC_THREADS + 1];	/* the last one sets up and checks */

#define this_thread	(mc_tid < 0 ? MC_THREADS : mc_tid)

/* ---- preemption and RCU ---- */

static struct {
	int preempt;
	int rcu;
	u64 clock;
} cpu[MC_THREADS + 1];

static struct grace_period {
	struct rcu_head *head;
	rcu_callback_t func;
	unsigned int readers;
} waiting[512];
static int nr_waiting;
static u64 *rcu_word;	/* the threads in a section; call_rcu() is an access, too */

static bool in_section(int tid)
{
	return cpu[tid].preempt || cpu[tid].rcu;
}

static void run_callbacks(void)
{
	int i, tid = mc_tid;

	/* The callbacks are one step */
	mc_tid = -1;
	for (i = 0; i < nr_waiting;) {
		struct grace_period gp = waiting[i];

		if (gp.readers) {
			i++;
			continue;
		}
		waiting[i] = waiting[--nr_waiting];
		gp.func(gp.head);
	}
	mc_tid = tid;
}

static void section(int *count, int add)
{
	bool was = in_section(this_thread), leaves = add < 0;
	int i;

	/* Enters or leaves */
	if (mc_tid >= 0 && was == leaves &&
	    cpu[mc_tid].preempt + cpu[mc_tid].rcu + add == (leaves ? 0 : add)) {
		mc_write(rcu_word, 8);
		*rcu_word ^= BIT(mc_tid);
	}
	*count += add;
	if (*count < 0)
		mc_fail("preemption or RCU is left more often than entered");
	if (!was || in_section(this_thread) || !nr_waiting)
		return;
	for (i = 0; i < nr_waiting; i++)
		waiting[i].readers &= ~BIT(this_thread);
	run_callbacks();
}

int mc_preempt_count(void)
{
	return cpu[this_thread].preempt;
}

void mc_preempt_add(int val)
{
	section(&cpu[this_thread].preempt, val);
}

void __rcu_read_lock(void)
{
	section(&cpu[this_thread].rcu, 1);
}

void __rcu_read_unlock(void)
{
	section(&cpu[this_thread].rcu, -1);
}

void call_rcu(struct rcu_head *head, rcu_callback_t func)
{
	struct grace_period *gp;
	int i;

	/* In the kernel it stores to the head */
	mc_write(head, sizeof(*head));
	mc_write(rcu_word, 8);
	head->next = NULL;
	head->func = func;
	gp = &waiting[nr_waiting++];
	*gp = (struct grace_period){ head, func };
	for (i = 0; i < MC_THREADS; i++)
		if (in_section(i))
			gp->readers |= BIT(i);
	run_callbacks();
}

/* ---- sleeping locks ---- */

#define WRITER	1
#define READER	0x100

struct rwsem_waiter {
	struct list_head list;
	struct rw_semaphore *sem;
	bool write;
	bool killable;
	struct task_struct *task;
};

static bool is_free(struct rw_semaphore *sem, bool write)
{
	long count = sem->count.counter;

	return write ? !count : !(count & WRITER);
}

static int waiter_ready(void *arg)
{
	struct rwsem_waiter *w = arg, *before;

	if (w->killable && fatal_signal_pending(w->task))
		return true;
	if (!is_free(w->sem, w->write))
		return false;
	list_for_each_entry(before, &w->sem->wait_list, list) {
		if (before == w)
			return true;
		if (before->write || w->write)
			return false;
	}
	return true;
}

static bool trylock(struct rw_semaphore *sem, bool write)
{
	mc_write(sem, sizeof(*sem));
	if (!list_empty(&sem->wait_list) || !is_free(sem, write))
		return false;
	sem->count.counter += write ? WRITER : READER;
	return true;
}

static int lock(struct rw_semaphore *sem, bool write, bool killable)
{
	struct rwsem_waiter w = { .sem = sem, .write = write, .killable = killable,
				  .task = current };

	if (cpu[this_thread].preempt)
		mc_fail("sleeps, maybe, with preemption off");
	if (trylock(sem, write))
		return 0;
	list_add_tail(&w.list, &sem->wait_list);
	mc_block(waiter_ready, &w);
	mc_write(sem, sizeof(*sem));
	list_del(&w.list);
	if (!is_free(sem, write))
		return -EINTR;
	sem->count.counter += write ? WRITER : READER;
	return 0;
}

static void unlock(struct rw_semaphore *sem, long what)
{
	mc_write(sem, sizeof(*sem));
	if (what == WRITER ? sem->count.counter != WRITER : sem->count.counter < READER)
		mc_fail("a lock is released that is not held");
	sem->count.counter -= what;
}

void __init_rwsem(struct rw_semaphore *sem, const char *name, struct lock_class_key *key)
{
	memset(sem, 0, sizeof(*sem));
	INIT_LIST_HEAD(&sem->wait_list);
}

void down_read(struct rw_semaphore *sem)	{ lock(sem, false, false); }
int down_read_killable(struct rw_semaphore *sem) { return lock(sem, false, true); }
int down_read_trylock(struct rw_semaphore *sem)	{ return trylock(sem, false); }
void down_write(struct rw_semaphore *sem)	{ lock(sem, true, false); }
int down_write_killable(struct rw_semaphore *sem) { return lock(sem, true, true); }
int down_write_trylock(struct rw_semaphore *sem) { return trylock(sem, true); }
void up_read(struct rw_semaphore *sem)		{ unlock(sem, READER); }
void up_write(struct rw_semaphore *sem)		{ unlock(sem, WRITER); }

void downgrade_write(struct rw_semaphore *sem)
{
	mc_write(sem, sizeof(*sem));
	sem->count.counter += READER - WRITER;
}

/* Those that no two threads want */
void __mutex_init(struct mutex *lock, const char *name, struct lock_class_key *key) {}
void mutex_lock(struct mutex *lock) {}
void mutex_unlock(struct mutex *lock) {}

/* ---- time and signals ---- */

/* A look at the clock takes long: a thread that spins soon has to sleep */
u64 sched_clock(void)
{
	return cpu[this_thread].clock += 30 * NSEC_PER_USEC;
}

int schedule_hrtimeout_range(ktime_t *expires, u64 delta, const enum hrtimer_mode mode)
{
	if (cpu[this_thread].preempt)
		mc_fail("sleeps with preemption off");
	mc_relax();
	__set_current_state(TASK_RUNNING);
	return 0;
}

int __cond_resched(void)
{
	if (cpu[this_thread].preempt)
		mc_fail("reschedules with preemption off");
	if (!need_resched())
		return 0;
	mc_relax();
	clear_tsk_need_resched(current);
	return 1;
}

/* ---- memory ---- */

struct kmem_cache {
	const char *name;
	unsigned int size, align;
	void (*ctor)(void *p);
	void *free;	/* of a typesafe cache: given out again at once */
	bool typesafe;
};

struct kmem_cache *__kmem_cache_create_args(const char *name, unsigned int size,
					    struct kmem_cache_args *args, slab_flags_t flags)
{
	struct kmem_cache *c = mc_alloc(sizeof(*c), 8, "kmem_cache");

	*c = (struct kmem_cache){ name, size, args->align, args->ctor };
	if (flags & SLAB_HWCACHE_ALIGN)
		c->align = max(c->align, 64U);
	c->typesafe = flags & SLAB_TYPESAFE_BY_RCU;
	return c;
}

void *kmem_cache_alloc_noprof(struct kmem_cache *c, gfp_t flags)
{
	void *p;

	if (c->free) {
		p = mc_reuse(c->free);
		c->free = NULL;
		return p;
	}
	p = mc_alloc(c->size, c->align, c->name);
	if (c->ctor)
		c->ctor(p);
	if (flags & __GFP_ZERO)
		memset(p, 0, c->size);
	return p;
}

void kmem_cache_free(struct kmem_cache *c, void *p)
{
	mc_free(p);
	if (c->typesafe)
		c->free = p;
}

int kmem_cache_alloc_bulk_noprof(struct kmem_cache *c, gfp_t flags, size_t n, void **p)
{
	size_t i;

	for (i = 0; i < n; i++)
		p[i] = kmem_cache_alloc_noprof(c, flags);
	return n;
}

void kmem_cache_free_bulk(struct kmem_cache *c, size_t n, void **p)
{
	while (n--)
		kmem_cache_free(c, p[n]);
}

void *__kmalloc_noprof(size_t size, gfp_t flags)
{
	void *p = mc_alloc(size, 16, "kmalloc");

	if (flags & __GFP_ZERO)
		memset(p, 0, size);
	return p;
}

void kfree(const void *p)
{
	if (p)
		mc_free((void *)p);
}

bool is_vmalloc_addr(const void *p)
{
	return false;
}

void *__kmalloc_cache_noprof(struct kmem_cache *c, gfp_t flags, size_t size)
{
	return __kmalloc_noprof(size, flags);
}

void *__kmalloc_node_noprof(DECL_BUCKET_PARAMS(size, b), gfp_t flags, int node)
{
	return __kmalloc_noprof(size, flags);
}

struct kmem_cache *kmalloc_caches[NR_KMALLOC_TYPES][KMALLOC_SHIFT_HIGH + 1];

/* ---- page tables ---- */

void tlb_gather_mmu(struct mmu_gather *tlb, struct mm_struct *mm)
{
	memset(tlb, 0, sizeof(*tlb));
	tlb->mm = mm;
}

void tlb_finish_mmu(struct mmu_gather *tlb) {}
void lru_add_drain(void) {}
void flush_tlb_mm_range(struct mm_struct *mm, unsigned long start, unsigned long end,
			unsigned int stride_shift, bool freed_tables)
{
}

void unmap_vmas(struct mmu_gather *tlb, struct ma_state *mas, struct vm_area_struct *vma,
		unsigned long start, unsigned long end, unsigned long tree_end,
		bool mm_wr_locked)
{
	do {
		pages_unmapped(max(start, vma->vm_start), min(end, vma->vm_end));
		vma = mas_find(mas, tree_end - 1);
	} while (vma);
}

void free_pgtables(struct mmu_gather *tlb, struct ma_state *mas, struct vm_area_struct *vma,
		   unsigned long floor, unsigned long ceiling, bool mm_wr_locked)
{
	do {
		struct vm_area_struct *next = mas_find(mas, ceiling - 1);

		if (mm_wr_locked)
			vma_start_write(vma);
		unlink_anon_vmas(vma);
		unlink_file_vma(vma);
		vma = next;
	} while (vma);
}

/* ---- odds and ends ---- */

unsigned long mmap_min_addr = PAGE_SIZE, dac_mmap_min_addr;
const struct vm_operations_struct vma_dummy_vm_ops;
atomic_long_t _totalram_pages = ATOMIC_LONG_INIT(1 << 20);
unsigned long phys_base;
struct cpuinfo_x86 boot_cpu_data;

void mc_bug(void)
{
	mc_fail("BUG in %s", mc_where(__builtin_return_address(0)));
}

void warn_slowpath_fmt(const char *file, int line, unsigned int taint, const char *fmt, ...)
{
	mc_fail("WARN at %s:%d", file, line);
}

void refcount_warn_saturate(refcount_t *r, enum refcount_saturation_type t)
{
	mc_fail("a reference count goes wrong");
}

/* "buggy .next function", "attempted to duplicate" and others that must not be */
int _printk(const char *fmt, ...)
{
	mc_fail("the kernel says: %s", printk_skip_level(fmt));
}

pteval_t __supported_pte_mask = ~0;
atomic_long_t vm_node_stat[NR_VM_NODE_STAT_ITEMS];

int num_to_str(char *buf, int size, unsigned long long num, unsigned int width)
{
	char digits[24];
	int n = sprintf(digits, "%*llu", width, num);

	if (n > size)
		return 0;
	memcpy(buf, digits, n);
	return n;
}

int ___ratelimit(struct ratelimit_state *rs, const char *func)
{
	return 1;
}

pgprot_t vm_get_page_prot(unsigned long vm_flags)
{
	return __pgprot(vm_flags & VM_ACCESS_FLAGS);
}

const char *arch_vma_name(struct vm_area_struct *vma)
{
	return NULL;
}

struct vm_area_struct *get_gate_vma(struct mm_struct *mm)
{
	static struct vm_area_struct gate = { .vm_start = VSYSCALL_ADDR,
					      .vm_end = VSYSCALL_ADDR + PAGE_SIZE,
					      .vm_flags = VM_READ | VM_EXEC };

	return &gate;
}

int __init nsproxy_cache_init(void)
{
	return 0;
}

int cap_mmap_addr(unsigned long addr)
{
	return 0;
}

bool capable(int cap)
{
	return true;
}

int cap_vm_enough_memory(struct mm_struct *mm, long pages)
{
	return 1;
}

unsigned long arch_get_unmapped_area(struct file *f, unsigned long addr, unsigned long len,
				     unsigned long pgoff, unsigned long flags,
				     vm_flags_t vm_flags)
{
	return addr;
}

void fput(struct file *f)
{
	atomic_long_dec(&f->f_count);
}

struct task_struct *get_pid_task(struct pid *pid, enum pid_type type)
{
	return get_task_struct(tasks[MC_WRITER]);
}

static void copy_user(void *to, const void *from, size_t n)
{
	if (cpu[this_thread].preempt)
		mc_fail("user memory is touched with preemption off");
	memcpy(to, from, n);
}

unsigned long _copy_from_user(void *to, const void __user *from, unsigned long n)
{
	copy_user(to, (const void __force *)from, n);
	return 0;
}

unsigned long _copy_to_user(void __user *to, const void *from, unsigned long n)
{
	copy_user((void __force *)to, from, n);
	return 0;
}

void iov_iter_init(struct iov_iter *i, unsigned int direction, const struct iovec *iov,
		   unsigned long nr_segs, size_t count)
{
	*i = (struct iov_iter){ .__iov = iov, .count = count };
}

size_t _copy_to_iter(const void *from, size_t n, struct iov_iter *i)
{
	n = min(n, i->count);
	copy_user(i->__iov->iov_base + i->iov_offset, from, n);
	i->iov_offset += n;
	i->count -= n;
	return n;
}

/* A PROCMAP_QUERY takes it for a long name */
char *d_path(const struct path *path, char *buf, int size)
{
	if (size <= 256)
		return ERR_PTR(-ENAMETOOLONG);
	return memcpy(buf + size - sizeof("/file"), "/file", sizeof("/file"));
}

/* ---- all of it ---- */

static struct signal_struct the_signal;

void kernel_setup(void)
{
	int i;

	for (i = 0; i <= MC_THREADS; i++) {
		tasks[i] = mc_alloc(sizeof(struct task_struct), 64, "task");
		memset(tasks[i], 0, sizeof(struct task_struct));
		refcount_set(&tasks[i]->usage, 1);
		tasks[i]->signal = &the_signal;
	}
	for (i = 0; i < RLIM_NLIMITS; i++)
		the_signal.rlim[i].rlim_cur = RLIM_INFINITY;
	kernel_begin();
	rcu_word = mc_alloc(8, 8, "rcu");
	*rcu_word = 0;

	maple_tree_init();
	proc_caches_init();
	anon_vma_init();
	seq_file_init();

	mm = mc_alloc(sizeof(*mm), 64, "mm");
	memset(mm, 0, sizeof(*mm));
	mt_init_flags(&mm->mm_mt, MM_MT_FLAGS);
	mt_set_external_lock(&mm->mm_mt, &mm->mmap_lock);
	mmap_init_lock(mm);
	atomic_set(&mm->mm_users, 1);
	atomic_set(&mm->mm_count, 1);
	spin_lock_init(&mm->page_table_lock);
	spin_lock_init(&mm->arg_lock);
	mm->task_size = TASK_SIZE;
	mm->pgd = mc_alloc(PAGE_SIZE, PAGE_SIZE, "pgd");
	memset(mm->pgd, 0, PAGE_SIZE);
	for (i = MC_READER + 1; i <= MC_THREADS; i++)
		tasks[i]->mm = mm;
}

void kernel_begin(void)
{
	memset(cpu, 0, sizeof(cpu));
	nr_waiting = 0;
	raw_cpu_write(pcpu_hot.current_task, tasks[MC_THREADS]);
}

void mc_running(int tid)
{
	raw_cpu_write(pcpu_hot.current_task, tasks[tid]);
}

static void check_unlocked(struct rw_semaphore *sem, const char *what, unsigned long where)
{
	if (sem->count.counter || !list_empty(&sem->wait_list))
		mc_fail("%s %lx is still locked", what, where);
}

void kernel_end(void)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	unsigned long n = 0;
	int i;

	for (i = 0; i < MC_THREADS; i++)
		if (cpu[i].preempt || cpu[i].rcu)
			mc_fail("preemption is off, or RCU held, at the end");
	check_unlocked(&mm->mmap_lock, "mmap_lock", 0);
	for_each_vma(vmi, vma) {
		check_unlocked(&vma->vm_lock->lock, "VMA", vma->vm_start);
		if (vma->detached)
			mc_fail("a detached VMA is in the tree");
		n++;
	}
	if (n != mc_live("vm_area_struct"))
		mc_fail("%lu VMAs are in the tree, %lu allocated", n, mc_live("vm_area_struct"));
	if (atomic_read(&mm->mm_users) != 1)
		mc_fail("mm_users is %d at the end", atomic_read(&mm->mm_users));
}
