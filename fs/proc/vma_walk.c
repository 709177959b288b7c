// SPDX-License-Identifier: GPL-2.0
/*
 * Walk the VMAs of another process without making it wait.
 *
 * Between proc_vma_walk_start() and proc_vma_walk_stop() at most one VMA is
 * locked, the one that was returned last: see lock_next_vma(). A walk of page
 * tables that takes long unlocks it midway: see proc_vma_walk_pages().
 *
 * In kernels without per-VMA locks mmap_lock is held instead, from start to
 * stop, and nothing is unlocked midway. With vm.remote_vma_locks=0 it is held
 * as well: then no VMA can change, so a VMA that is unlocked is found again.
 *
 * See Documentation/mm/proc_vma_walk.rst
 */
#include <linux/fs.h>
#include <linux/hugetlb.h>
#include <linux/rmap.h>
#include <linux/sched/signal.h>
#include "vma_walk.h"

/* How often proc_vma_walk_pages() restarts with one VMA before a part will do. */
#define WALK_PAGES_TRIES	3

/* With how many VMAs, one above the other as each vanishes. */
#define WALK_PAGES_OTHERS	100

/* Unlock the current VMA, and only then drop the anon_vma: put_anon_vma() may sleep. */
static void walk_unlock(struct proc_vma_walk *walk)
{
	if (walk->vma)
		proc_unlock_vma(walk->vma);
	walk->vma = NULL;
#ifdef CONFIG_MMU
	if (walk->anon_vma)
		put_anon_vma(walk->anon_vma);
	walk->anon_vma = NULL;
#endif
}

/* Lock what is at or after the position, and unlock @prev, see lock_next_vma(). */
static __always_inline struct vm_area_struct *
walk_lock_next(struct proc_vma_walk *walk, struct vm_area_struct *prev)
{
	struct vm_area_struct *vma;

	vma = proc_lock_next_vma(walk->mm, &walk->iter, prev, &walk->pos,
				 walk->limit);
	walk->vma = IS_ERR(vma) ? NULL : vma;
	if (IS_ERR(vma))
		return vma;
	if (!vma) {
		walk->pos = PROC_VMA_WALK_END;
		walk->end = PROC_VMA_WALK_END;
		return NULL;
	}
	/* Not from the position, which has risen over gaps */
	walk->shown = max(vma->vm_start, walk->done);
	walk->end = vma->vm_end;
	return vma;
}

/*
 * Unlock the current VMA, reschedule if needed, and lock what is at the position
 * now. @anon_vma, if not NULL, comes with a reference, which the walk keeps until
 * the next walk_unlock(). Returns as proc_vma_walk_next().
 */
static struct vm_area_struct *walk_pause(struct proc_vma_walk *walk,
					 struct anon_vma *anon_vma)
{
	count_vm_vma_lock_event(VMA_LOCK_WALK_PAUSE);
	walk_unlock(walk);
	walk->anon_vma = anon_vma;
	cond_resched();
	if (fatal_signal_pending(current))
		return ERR_PTR(-EINTR);
	vma_lock_iter_reset(&walk->iter);
	return walk_lock_next(walk, NULL);
}

/**
 * proc_vma_walk_start - begin a walk, or continue one after a stop
 * @walk: the walk; call vma_lock_iter_init() before the first of the starts that
 *	  may sleep for VMA_LOCK_PATIENCE together, such as those of a read()
 * @mm: the address space; the caller holds a reference to mm_users until
 *	proc_vma_walk_stop()
 * @from: lock the VMA that contains this address or, if there is none, the next
 *	  one; to continue, the old @walk->pos
 * @done: a VMA that begins below is shown from here on; to continue, @walk->done
 * @limit: look no further, 0 for the end of the address space
 *
 * Context: Process context, may sleep. No lock of @mm is held on entry. A walk
 * is used by one task at a time. On return as proc_vma_walk_next().
 * Return: As proc_vma_walk_next(). Call proc_vma_walk_stop() in any case.
 */
struct vm_area_struct *proc_vma_walk_start(struct proc_vma_walk *walk,
					   struct mm_struct *mm,
					   unsigned long from,
					   unsigned long done,
					   unsigned long limit)
{
	int locked = proc_lock_mm(mm);

	walk->mm = mm;
	walk->mmap_locked = locked > 0;
	walk->vma = NULL;
	walk->pos = from;
	walk->done = done;
	walk->limit = limit;
	walk->anon_vma = NULL;
	vma_lock_iter_reset(&walk->iter);
	if (locked < 0)
		return ERR_PTR(locked);
	return walk_lock_next(walk, NULL);
}

/**
 * proc_vma_walk_next - accept the current record, and lock the next VMA
 * @walk: the walk, between start and stop
 *
 * All up to @walk->end is done. That is all of the VMA, unless the caller has
 * lowered @walk->end: then the rest of the VMA is next.
 *
 * Context: Process context, may sleep; the caller holds no lock of the mm but
 * that of this walk. If a VMA is returned preemption is off, see lock_next_vma():
 * the caller must not sleep, and must be quick, until its next call for this walk.
 * Return: The VMA; NULL if there is none below the limit; ERR_PTR(-EINTR) if a
 * fatal signal came while waiting for a writer. With NULL or an error no VMA is
 * locked.
 */
struct vm_area_struct *proc_vma_walk_next(struct proc_vma_walk *walk)
{
	struct vm_area_struct *vma = walk->vma;

	walk->pos = walk->end;
	walk->done = walk->end;
	if (vma && vma->vm_end != walk->end)
		return walk_pause(walk, NULL);

	vma = walk_lock_next(walk, vma);
	if (unlikely(need_resched()) && !IS_ERR_OR_NULL(vma))
		vma = walk_pause(walk, NULL);
	return vma;
}

/**
 * proc_vma_walk_stop - end a walk
 * @walk: the walk that proc_vma_walk_start() has begun
 *
 * Context: As the last call for this walk left it; may sleep. Nothing of the mm is
 * locked on return. @walk->pos and @walk->done are kept.
 */
void proc_vma_walk_stop(struct proc_vma_walk *walk)
{
	walk_unlock(walk);
	proc_unlock_mm(walk->mm, walk->mmap_locked);
}

#ifdef CONFIG_MMU
/**
 * proc_walk_hole - ->pte_hole() of a walk that looks for pages only
 * @addr: first address without a page table
 * @end: the end of that range
 * @depth: not used
 * @walk: the walk, whose private data begins with a struct proc_walk_part
 *
 * Context: That of the callback.
 * Return: See proc_walk_pause().
 */
int proc_walk_hole(unsigned long addr, unsigned long end, int depth,
		   struct mm_walk *walk)
{
	return proc_walk_pause(walk, end);
}

/*
 * The walk of hugetlb takes a lock that sleeps. A split of a huge page above a
 * PMD, which only DAX and devices map, calls mmu notifiers, which may sleep.
 */
static bool walk_may_sleep(const struct vm_area_struct *vma)
{
	const struct inode *inode;

	if (!vma->vm_ops)
		return false;
	if (is_vm_hugetlb_page(vma))
		return true;
	if (!IS_ENABLED(CONFIG_HAVE_ARCH_TRANSPARENT_HUGEPAGE_PUD) ||
	    !vma->vm_ops->huge_fault || !vma->vm_file)
		return false;
	inode = file_inode(vma->vm_file);
	return !S_ISREG(inode->i_mode) || IS_DAX(inode);
}

/**
 * proc_walk_page_range - walk_page_range_vma() for a VMA that a walk has locked
 * @vma: the VMA
 * @start: first address, page-aligned
 * @end: the end of the range
 * @ops: with PGWALK_VMA_RDLOCK_VERIFY
 * @private: of the callbacks; for proc_walk_pause() it begins with a struct
 *	     proc_walk_part
 *
 * Preemption is off meanwhile, except in VMAs whose walk may sleep.
 *
 * Context: Process context, as proc_vma_walk_next() left it.
 * Return: 0; or what a callback returned, 1 if proc_walk_pause() ended the walk;
 * or -EINVAL.
 */
int proc_walk_page_range(struct vm_area_struct *vma, unsigned long start,
			 unsigned long end, const struct mm_walk_ops *ops,
			 void *private)
{
	int ret;

	/* The loops of a walk end at @end by equality */
	if (WARN_ON_ONCE(offset_in_page(start)))
		return -EINVAL;
	if (!IS_ENABLED(CONFIG_PER_VMA_LOCK) || likely(!walk_may_sleep(vma)))
		return walk_page_range_vma(vma, start, end, ops, private);

	vma_preempt_enable();
	ret = walk_page_range_vma(vma, start, end, ops, private);
	vma_preempt_disable();
	return ret;
}

/**
 * proc_walk_pages - walk the page tables of a VMA until it should be unlocked
 * @vma: the VMA that a walk has locked
 * @start: first address
 * @ops: see proc_walk_page_range(); the callbacks, with a ->pte_hole() among
 *	 them, return what proc_walk_pause() returns
 * @part: the beginning of their private data
 *
 * Anonymous memory that was never written to has no pages but the zero page,
 * which no callback counts. Some drivers, though, map a file's pages without vm_ops.
 *
 * Context: Process context, as proc_vma_walk_next() left it.
 * Return: The end of what was walked, vm_end if that was all of the VMA.
 */
unsigned long proc_walk_pages(struct vm_area_struct *vma, unsigned long start,
			      const struct mm_walk_ops *ops,
			      struct proc_walk_part *part)
{
	if (vma_is_anonymous(vma) && !vma->vm_file && !READ_ONCE(vma->anon_vma))
		return vma->vm_end;
	if (proc_walk_page_range(vma, start, vma->vm_end, ops, part) > 0)
		return part->end;
	return vma->vm_end;
}

/* The properties of a mapping at an address that never change. */
struct mapping_id {
	pgoff_t pgoff;
	struct inode *inode;
	struct anon_vma *anon_vma;	/* NULL before the first fault */
};

static struct mapping_id mapping_id(struct vm_area_struct *vma,
				    unsigned long addr)
{
	return (struct mapping_id) {
		.pgoff = linear_page_index(vma, addr),
		.inode = vma->vm_file ? file_inode(vma->vm_file) : NULL,
		.anon_vma = READ_ONCE(vma->anon_vma),
	};
}

/**
 * proc_vma_walk_pages - look at all pages of the current VMA
 * @walk: the walk, which has a VMA
 * @pages: looks at them, in one or more calls
 * @data: passed on to @pages
 *
 * When @pages returns before the end of the VMA, because of vma_needbreak(), pause
 * and lock what is at the position then. If that is the same mapping, and covers
 * all that was looked at, continue: whatever its bounds, flags, name or policy are
 * now, and whoever has write-locked it. Otherwise restart with what is there, maybe
 * another VMA above. After several restarts in a row, end the record where @pages
 * has come to, and leave the rest of the VMA to the next record.
 *
 * So @pages has counted all from @walk->shown to @walk->end, each address once,
 * while it was this mapping. Documentation/mm/proc_vma_walk.rst says which new
 * mappings cannot be told from it.
 *
 * Context: Process context, may sleep; on entry and return as
 * proc_vma_walk_next() left it.
 * Return: The VMA, which may be another one; NULL if there is no longer one at
 * or after the position: then there is nothing to show; ERR_PTR(-EINTR) on a
 * fatal signal.
 */
struct vm_area_struct *proc_vma_walk_pages(struct proc_vma_walk *walk,
					   proc_vma_pages_t pages, void *data)
{
	struct vm_area_struct *vma = walk->vma;
	unsigned long first, at, old_end;
	struct mapping_id old, new;
	int tries = 0, others = 0;
	bool again;

restart:
	first = walk->shown;
	at = first;
	again = true;
	for (;;) {
		at = pages(vma, at, again, data);
		if (at == vma->vm_end || tries == WALK_PAGES_TRIES)
			break;

		old = mapping_id(vma, first);
		old_end = vma->vm_end;
		if (old.anon_vma)
			get_anon_vma(old.anon_vma);
		vma = walk_pause(walk, old.anon_vma);
		if (IS_ERR_OR_NULL(vma))
			return vma;

		new = mapping_id(vma, first);
		if (walk->shown <= first && vma->vm_end >= at &&
		    new.pgoff == old.pgoff && new.inode == old.inode &&
		    (new.anon_vma == old.anon_vma || !old.anon_vma)) {
			/* What it has grown by below was a gap, see @walk->done */
			walk->shown = first;
			if (at == vma->vm_end)
				break;
			again = false;
			continue;
		}

		/* Another VMA, above all of this one, has tries of its own */
		if (walk->shown >= old_end && others++ < WALK_PAGES_OTHERS)
			tries = 0;
		else
			tries++;
		/* A part must end above the position, which then rises */
		if (tries == WALK_PAGES_TRIES)
			walk->shown = walk->pos;
		goto restart;
	}

	walk->end = at;
	return vma;
}
#endif /* CONFIG_MMU */
