/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _PROC_VMA_WALK_H
#define _PROC_VMA_WALK_H

#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagewalk.h>

/**
 * proc_lock_next_vma - lock_next_vma(), and preemption off
 * @mm: see there
 * @iter: see there
 * @from: see there
 *
 * Context: Process context, may sleep; see there. If a VMA is returned the
 * caller must not sleep until proc_unlock_vma(), and should be quick.
 * Return: The VMA, NULL or an error, see there.
 */
static inline struct vm_area_struct *
proc_lock_next_vma(struct mm_struct *mm, struct vma_lock_iter *iter,
		   unsigned long from)
{
	struct vm_area_struct *vma = lock_next_vma(mm, iter, from);

	if (!IS_ENABLED(CONFIG_PREEMPT_RT) && !IS_ERR_OR_NULL(vma))
		preempt_disable();
	return vma;
}

/**
 * proc_unlock_vma - let go what proc_lock_next_vma() returned
 * @vma: the VMA
 *
 * Context: Any.
 */
static inline void proc_unlock_vma(struct vm_area_struct *vma)
{
	vma_end_read(vma);
	if (!IS_ENABLED(CONFIG_PREEMPT_RT))
		preempt_enable();
}

#ifdef CONFIG_PER_VMA_LOCK

/**
 * proc_vma_should_pause - is it time to let a VMA go?
 * @vma: the VMA, read-locked
 *
 * Context: Any.
 * Return: True if a writer waits for the VMA, or another task for the CPU.
 */
static inline bool proc_vma_should_pause(struct vm_area_struct *vma)
{
	return rwsem_is_contended(&vma->vm_lock->lock) || need_resched();
}

/* Moves each time that the VMA is write-locked. */
static inline unsigned int proc_vma_lock_seq(const struct vm_area_struct *vma)
{
	return vma->vm_lock_seq;
}

#else /* CONFIG_PER_VMA_LOCK */

static inline bool proc_vma_should_pause(struct vm_area_struct *vma)
{
	cond_resched();
	return false;
}

static inline unsigned int proc_vma_lock_seq(const struct vm_area_struct *vma)
{
	return 0;
}

#endif /* CONFIG_PER_VMA_LOCK */

/**
 * struct proc_walk_part - how far a walk of page tables came, for its callbacks
 * @start: where it began
 * @end: the end of what it has been through
 */
struct proc_walk_part {
	unsigned long start;
	unsigned long end;
};

/**
 * proc_walk_pause - end of a callback of a walk of page tables
 * @walk: the walk, whose private data begins with a struct proc_walk_part
 * @end: the callback has been through all up to here
 *
 * Context: That of the callback.
 * Return: What the callback is to return: zero, or 1 to end the walk here.
 */
static inline int proc_walk_pause(struct mm_walk *walk, unsigned long end)
{
	struct proc_walk_part *part = walk->private;

	part->end = end;
	return proc_vma_should_pause(walk->vma);
}

/**
 * struct proc_vma_walk - a walk over the VMAs of another process
 * @mm: the address space
 * @vma: where the walk is, read-locked; NULL if nothing is
 * @from: where the walk goes on, after next() the end of @vma
 * @sought: where the walk was: @vma is the first one that ends above
 * @shown: up to here @vma covers what the walk has been through before
 * @cut: end of the part of a VMA that proc_vma_walk_pages() was content with,
 *	 zero if it came to the VMA's end; kept when the walk ends
 * @iter: position in the VMA tree
 */
struct proc_vma_walk {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	unsigned long from;
	unsigned long sought;
	unsigned long shown;
	unsigned long cut;
	struct vma_lock_iter iter;
};

/**
 * typedef proc_vma_pages_t - look at the pages of a VMA
 * @vma: the VMA, read-locked
 * @from: the address to go on from
 * @again: forget what was found before, @from is the first address
 * @data: of who looks
 *
 * Context: Process context, preemption off; must not sleep.
 * Return: How far it came: vm_end; or an address above @from, if
 * proc_vma_should_pause() says that the VMA must be let go.
 */
typedef unsigned long (*proc_vma_pages_t)(struct vm_area_struct *vma,
					  unsigned long from, bool again,
					  void *data);

int proc_vma_walk_start(struct proc_vma_walk *walk, struct mm_struct *mm,
			unsigned long from);
struct vm_area_struct *proc_vma_walk_next(struct proc_vma_walk *walk);
void proc_vma_walk_back(struct proc_vma_walk *walk, unsigned long addr);
int proc_vma_walk_relax(struct proc_vma_walk *walk);
void proc_vma_walk_unlock(struct proc_vma_walk *walk);
int proc_walk_page_range(struct vm_area_struct *vma, unsigned long start,
			 unsigned long end, const struct mm_walk_ops *ops,
			 struct proc_walk_part *part);
unsigned long proc_walk_pages(struct vm_area_struct *vma, unsigned long start,
			      const struct mm_walk_ops *ops,
			      struct proc_walk_part *part);
int proc_walk_pud_entry(pud_t *pud, unsigned long addr, unsigned long end,
			struct mm_walk *walk);
struct vm_area_struct *proc_vma_walk_pages(struct proc_vma_walk *walk,
					   proc_vma_pages_t pages, void *data);
void proc_vma_walk_stop(struct proc_vma_walk *walk);

#endif /* _PROC_VMA_WALK_H */
