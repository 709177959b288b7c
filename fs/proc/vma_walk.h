/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _PROC_VMA_WALK_H
#define _PROC_VMA_WALK_H

#include <linux/mm.h>
#include <linux/mmap_lock.h>

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

/**
 * struct proc_vma_walk - a walk over the VMAs of another process
 * @mm: the address space
 * @vma: where the walk is; read-locked, unless @mmap_lock
 * @from: end of @vma, where the walk goes on
 * @shown: up to here @vma covers what the walk has been through before
 * @mmap_lock: hold mmap_lock throughout, for who needs more than a VMA's lock
 * @iter: position in the VMA tree
 */
struct proc_vma_walk {
	struct mm_struct *mm;
	struct vm_area_struct *vma;
	unsigned long from;
	unsigned long shown;
	bool mmap_lock;
	struct vma_lock_iter iter;
};

int proc_vma_walk_start(struct proc_vma_walk *walk, struct mm_struct *mm,
			unsigned long from);
struct vm_area_struct *proc_vma_walk_next(struct proc_vma_walk *walk);
void proc_vma_walk_stop(struct proc_vma_walk *walk);

#endif /* _PROC_VMA_WALK_H */
