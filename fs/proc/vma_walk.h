/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _PROC_VMA_WALK_H
#define _PROC_VMA_WALK_H

#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagewalk.h>

struct anon_vma;

/*
 * Take mmap_lock if VMA locks are not to be used: before the first VMA, until all is
 * read. Returns 1 if it was taken, 0 if not, or -EINTR.
 */
static inline int proc_lock_mm(struct mm_struct *mm)
{
	if (remote_vma_locks_enabled())
		return 0;
	return mmap_read_lock_killable(mm) ?: 1;
}

static inline void proc_unlock_mm(struct mm_struct *mm, bool locked)
{
	if (locked)
		mmap_read_unlock(mm);
}

/*
 * Lock the next VMA, see lock_next_vma(), between proc_lock_mm() and
 * proc_unlock_mm(). If there are no per-VMA locks preemption stays on.
 */
#ifdef CONFIG_PER_VMA_LOCK

static inline struct vm_area_struct *
proc_lock_next_vma(struct mm_struct *mm, struct vma_lock_iter *iter,
		   struct vm_area_struct *prev, unsigned long *from,
		   unsigned long end)
{
	return lock_next_vma(mm, iter, prev, from, end);
}

static inline void proc_unlock_vma(struct vm_area_struct *vma)
{
	unlock_next_vma(vma);
}

#else /* CONFIG_PER_VMA_LOCK */

static inline struct vm_area_struct *
proc_lock_next_vma(struct mm_struct *mm, struct vma_lock_iter *iter,
		   struct vm_area_struct *prev, unsigned long *from,
		   unsigned long end)
{
	struct vm_area_struct *vma;

	if (iter->seq)
		vma_iter_init(&iter->vmi, mm, *from);
	iter->seq = 0;
	vma = vma_find(&iter->vmi, end);
	if (vma)
		*from = max(*from, vma->vm_start);
	return vma;
}

static inline void proc_unlock_vma(struct vm_area_struct *vma)
{
}

#endif /* CONFIG_PER_VMA_LOCK */

/*
 * The position of a walk that has come to its end: page-aligned, and no VMA ends
 * above it.
 */
#define PROC_VMA_WALK_END	(-PAGE_SIZE)

/**
 * struct proc_vma_walk - a walk over the VMAs of another process
 * @mm: the address space
 * @mmap_locked: mmap_lock is held, from start to stop
 * @vma: where the walk is, locked; NULL if no VMA is locked
 * @pos: where the current record was found, above the gaps before it, over which it has
 *	 risen after an error too: page-aligned if @from was, and below the end of
 *	 all that was not shown. A walk may continue here after stop().
 * @done: end of the last record that was accepted: all below it that was mapped
 *	  throughout has been shown. Set by proc_vma_walk_next(), kept by stop().
 * @shown: the current record is about the part of @vma from here
 * @end: up to here; the next one is looked for from here on
 * @limit: look no further, 0 for the end of the address space
 * @anon_vma: with a reference, see proc_vma_walk_pages(); NULL if none
 * @iter: position in the VMA tree, and how long the walk may still sleep
 *
 * While there is a VMA @done <= @pos < @end and @done <= @shown < @end.
 * proc_vma_walk_start() sets all but @done and the patience of @iter again, so
 * nothing is left of a record that seq_file discards.
 */
struct proc_vma_walk {
	struct mm_struct *mm;
	bool mmap_locked;
	struct vm_area_struct *vma;
	unsigned long pos;
	unsigned long done;
	unsigned long shown;
	unsigned long end;
	unsigned long limit;
	struct anon_vma *anon_vma;
	struct vma_lock_iter iter;
};

struct vm_area_struct *proc_vma_walk_start(struct proc_vma_walk *walk,
					   struct mm_struct *mm,
					   unsigned long from,
					   unsigned long done,
					   unsigned long limit);
struct vm_area_struct *proc_vma_walk_next(struct proc_vma_walk *walk);
void proc_vma_walk_stop(struct proc_vma_walk *walk);

/**
 * struct proc_walk_part - how far a walk of page tables came, for its callbacks
 * @end: the end of what it has walked
 */
struct proc_walk_part {
	unsigned long end;
};

/**
 * typedef proc_vma_pages_t - look at the pages of a VMA
 * @vma: the VMA, locked
 * @from: the address to continue from
 * @again: forget what was found before: @from is the first address
 * @data: the caller's
 *
 * Context: Process context, as proc_vma_walk_next() left it.
 * Return: How far it came: vm_end; or a page-aligned address above @from, if
 * vma_needbreak() was true.
 */
typedef unsigned long (*proc_vma_pages_t)(struct vm_area_struct *vma,
					  unsigned long from, bool again,
					  void *data);

/**
 * proc_walk_pause - end of a callback of a walk of page tables
 * @walk: the walk, whose private data begins with a struct proc_walk_part
 * @end: the callback has walked all up to here
 *
 * Context: That of the callback.
 * Return: The return value for the callback: 0; or 1 to end the walk here, if
 * that is not the end of the VMA.
 */
static inline int proc_walk_pause(struct mm_walk *walk, unsigned long end)
{
	struct proc_walk_part *part = walk->private;

	part->end = end;
	if (!IS_ENABLED(CONFIG_PER_VMA_LOCK))
		cond_resched();
	return end != walk->vma->vm_end && vma_needbreak(walk->vma);
}

/* A writer need not wait for a whole page table: pages between two looks */
#define PROC_WALK_BATCH		128

/* The end of the batch that begins at @addr, at most @end */
static inline unsigned long proc_walk_batch_end(unsigned long addr,
						unsigned long end)
{
	return addr + min(end - addr, PROC_WALK_BATCH * PAGE_SIZE);
}

int proc_walk_hole(unsigned long addr, unsigned long end, int depth,
		   struct mm_walk *walk);
int proc_walk_page_range(struct vm_area_struct *vma, unsigned long start,
			 unsigned long end, const struct mm_walk_ops *ops,
			 void *private);
unsigned long proc_walk_pages(struct vm_area_struct *vma, unsigned long start,
			      const struct mm_walk_ops *ops,
			      struct proc_walk_part *part);
struct vm_area_struct *proc_vma_walk_pages(struct proc_vma_walk *walk,
					   proc_vma_pages_t pages, void *data);

#endif /* _PROC_VMA_WALK_H */
