/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _PROC_VMA_WALK_H
#define _PROC_VMA_WALK_H

#include <linux/mm.h>
#include <linux/mmap_lock.h>
#include <linux/pagewalk.h>

#ifdef CONFIG_PER_VMA_LOCK

/* Moves each time that the VMA is write-locked. */
static inline unsigned int proc_vma_lock_seq(const struct vm_area_struct *vma)
{
	return vma->vm_lock_seq;
}

#else /* CONFIG_PER_VMA_LOCK */

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
	return vma_read_should_pause(walk->vma);
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
 * vma_read_should_pause() says that the VMA must be let go.
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
