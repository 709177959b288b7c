/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _PROC_VMA_WALK_H
#define _PROC_VMA_WALK_H

#include <linux/mmap_lock.h>

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
