// SPDX-License-Identifier: GPL-2.0
/*
 * Walk the VMAs of another process without making it wait.
 *
 * Between proc_vma_walk_start() and proc_vma_walk_stop() at most one VMA is
 * read-locked, the one that proc_vma_walk_next() returned last. A writer that
 * wants this VMA waits for the reader, so preemption is off meanwhile: else a
 * reader of low priority could make it wait for as long as the reader does not
 * get a CPU. (Not on PREEMPT_RT, where a spinlock in between may sleep.)
 *
 * mmap_lock is held throughout only where there are no per-VMA locks, or if the
 * caller needs it for what it does with the VMA.
 *
 * See Documentation/mm/proc_vma_walk.rst
 */
#include "vma_walk.h"

static bool walk_locks_vma(const struct proc_vma_walk *walk)
{
	return IS_ENABLED(CONFIG_PER_VMA_LOCK) && !walk->mmap_lock;
}

static void walk_unlock_vma(struct proc_vma_walk *walk)
{
	if (walk->vma && walk_locks_vma(walk))
		proc_unlock_vma(walk->vma);
	walk->vma = NULL;
}

/**
 * proc_vma_walk_start - begin a walk
 * @walk: the walk; @walk->mmap_lock says what to lock
 * @mm: the address space; the caller holds a reference to mm_users until
 *	proc_vma_walk_stop()
 * @from: the walk begins with the VMA that contains this address or, if there
 *	  is none, with the next one
 *
 * Context: Process context, may sleep. No lock of @mm is held on entry. One
 * walk is used by one task at a time.
 * Return: 0, or -EINTR with nothing locked if a fatal signal came while
 * waiting for mmap_lock: then proc_vma_walk_stop() must not be called.
 */
int proc_vma_walk_start(struct proc_vma_walk *walk, struct mm_struct *mm,
			unsigned long from)
{
	walk->mm = mm;
	walk->vma = NULL;
	walk->from = from;
	vma_lock_iter_init(&walk->iter);

	if (walk_locks_vma(walk))
		return 0;
	if (mmap_read_lock_killable(mm))
		return -EINTR;
	vma_iter_init(&walk->iter.vmi, mm, from);
	return 0;
}

/**
 * proc_vma_walk_next - let the current VMA go, and lock the next one
 * @walk: the walk, between start and stop
 *
 * The VMA may begin below the address where the walk went on, if it has grown
 * down or merged since. @walk->shown is that address then, else vm_start.
 *
 * Context: Process context, may sleep; the caller holds no VMA of the mm but by
 * this walk. The VMA stays as it is until the next call for this walk, or
 * proc_vma_walk_stop(). Unless @walk->mmap_lock the caller must not sleep until
 * then, and should be quick.
 * Return: The VMA; NULL at the end; ERR_PTR(-EINTR) if a fatal signal came
 * while waiting for mmap_lock. With NULL or an error no VMA is locked.
 */
struct vm_area_struct *proc_vma_walk_next(struct proc_vma_walk *walk)
{
	struct vm_area_struct *vma;

	walk_unlock_vma(walk);
	if (walk_locks_vma(walk))
		vma = proc_lock_next_vma(walk->mm, &walk->iter, walk->from);
	else
		vma = vma_next(&walk->iter.vmi);
	if (IS_ERR_OR_NULL(vma))
		return vma;

	walk->vma = vma;
	walk->shown = max(vma->vm_start, walk->from);
	walk->from = vma->vm_end;
	return vma;
}

/**
 * proc_vma_walk_stop - end a walk
 * @walk: the walk that proc_vma_walk_start() has begun
 *
 * Context: Any that may release the locks. Nothing of the mm stays locked.
 */
void proc_vma_walk_stop(struct proc_vma_walk *walk)
{
	walk_unlock_vma(walk);
	if (!walk_locks_vma(walk))
		mmap_read_unlock(walk->mm);
}
