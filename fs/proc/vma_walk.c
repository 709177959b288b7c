// SPDX-License-Identifier: GPL-2.0
/*
 * Walk the VMAs of another process without making it wait.
 *
 * Between proc_vma_walk_start() and proc_vma_walk_stop() at most one VMA is
 * read-locked, the one that proc_vma_walk_next() returned last. A writer that
 * wants this VMA waits for the reader, so preemption is off meanwhile: else a
 * reader of low priority could make it wait for as long as the reader does not
 * get a CPU. (Not on PREEMPT_RT, where a spinlock in between may sleep.) What
 * takes longer than a page table does lets the VMA go on the way, see
 * proc_vma_walk_pages().
 *
 * mmap_lock is held throughout only where there are no per-VMA locks.
 *
 * See Documentation/mm/proc_vma_walk.rst
 */
#include <linux/fs.h>
#include <linux/sched/signal.h>
#include "vma_walk.h"

/*
 * How often proc_vma_walk_pages() begins a VMA anew because it has changed.
 * After that it is content with a part.
 */
#define WALK_PAGES_TRIES	3

/**
 * proc_vma_walk_unlock - let the current VMA go, and stay where it ended
 * @walk: the walk, between start and stop
 *
 * Context: Any.
 */
void proc_vma_walk_unlock(struct proc_vma_walk *walk)
{
	if (IS_ENABLED(CONFIG_PER_VMA_LOCK) && walk->vma)
		vma_end_read_nopreempt(walk->vma);
	walk->vma = NULL;
}

/**
 * proc_vma_walk_start - begin a walk
 * @walk: the walk
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

	if (IS_ENABLED(CONFIG_PER_VMA_LOCK))
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
 * this walk. The VMA stays as it is until the next call for this walk, which
 * must come soon, and the caller must not sleep until then.
 * Return: The VMA; NULL at the end; ERR_PTR(-EINTR) if a fatal signal came
 * while waiting for mmap_lock. With NULL or an error no VMA is locked.
 */
struct vm_area_struct *proc_vma_walk_next(struct proc_vma_walk *walk)
{
	struct vm_area_struct *vma;

	proc_vma_walk_unlock(walk);
	if (IS_ENABLED(CONFIG_PER_VMA_LOCK))
		vma = lock_next_vma_nopreempt(walk->mm, &walk->iter, walk->from);
	else
		vma = vma_next(&walk->iter.vmi);
	if (IS_ERR_OR_NULL(vma))
		return vma;

	walk->vma = vma;
	walk->sought = walk->from;
	walk->shown = max(vma->vm_start, walk->from);
	walk->from = vma->vm_end;
	return vma;
}

/**
 * proc_vma_walk_back - let the walk go on inside of the current VMA
 * @walk: the walk
 * @addr: where, below the end of the VMA
 *
 * The position in the VMA tree is behind the VMA, so it is of no use then.
 *
 * Context: Any.
 */
void proc_vma_walk_back(struct proc_vma_walk *walk, unsigned long addr)
{
	walk->from = addr;
	vma_lock_iter_init(&walk->iter);
}

/**
 * proc_vma_walk_relax - let the current VMA go, and others run
 * @walk: the walk, between start and stop; it may go on at @walk->from
 *
 * Context: Process context, may sleep.
 * Return: 0, or -EINTR with nothing locked if there is a fatal signal: then
 * proc_vma_walk_stop() must not be called.
 */
int proc_vma_walk_relax(struct proc_vma_walk *walk)
{
	if (IS_ENABLED(CONFIG_PER_VMA_LOCK) && !need_resched())
		return 0;
	proc_vma_walk_unlock(walk);
	if (!IS_ENABLED(CONFIG_PER_VMA_LOCK) &&
	    mmap_lock_is_contended(walk->mm)) {
		mmap_read_unlock(walk->mm);
		if (mmap_read_lock_killable(walk->mm))
			return -EINTR;
		vma_iter_init(&walk->iter.vmi, walk->mm, walk->from);
	}
	cond_resched();
	return 0;
}

#ifdef CONFIG_MMU
/**
 * proc_walk_pud_entry - callback for a walk of page tables
 * @pud: entry
 * @addr: its first address
 * @end: and last
 * @walk: the walk, whose private data begins with a struct proc_walk_part
 *
 * A table of empty entries takes as long as one that is full of pages, and only
 * for pages there is a callback that ends with proc_walk_pause().
 *
 * Context: That of the callback.
 * Return: Zero, or 1 to end the walk here.
 */
int proc_walk_pud_entry(pud_t *pud, unsigned long addr, unsigned long end,
			struct mm_walk *walk)
{
	struct proc_walk_part *part = walk->private;

	/* Not at first: the walk is to come further than the one before */
	return addr == part->start ? 0 : proc_walk_pause(walk, addr);
}

/*
 * Walk what lies in one page table, as most VMAs do: coming down to it costs
 * more than what is there. Return true and what the callback has returned; or
 * false, then it is to be walked in the general way.
 */
static bool walk_page_table(struct vm_area_struct *vma, unsigned long start,
			    unsigned long end, const struct mm_walk_ops *ops,
			    struct proc_walk_part *part, int *ret)
{
	struct mm_walk walk = {
		.ops = ops,
		.mm = vma->vm_mm,
		.vma = vma,
		.private = part,
	};
	pgd_t *pgd = pgd_offset(vma->vm_mm, start);
	p4d_t *p4d;
	pud_t *pud, pudval;
	pmd_t *pmd;

	vma_assert_locked(vma);
	if (pgd_none(*pgd))
		goto hole;
	p4d = p4d_offset(pgd, start);
	if (p4d_none(*p4d))
		goto hole;
	/* A table of PMDs stays while the VMA is locked */
	pud = pud_offset(p4d, start);
	pudval = pudp_get(pud);
	if (pud_none(pudval))
		goto hole;
	if (!pud_present(pudval) || pud_leaf(pudval))
		return false;
	pmd = pmd_offset(pud, start);
	if (pmd_none(*pmd))
		goto hole;
	*ret = ops->pmd_entry(pmd, start, end, &walk);
	return walk.action != ACTION_AGAIN;

hole:
	*ret = ops->pte_hole ? ops->pte_hole(start, end, -1, &walk) : 0;
	return true;
}

/**
 * proc_walk_page_range - walk_page_range_vma() for a VMA that a walk has locked
 * @vma: the VMA
 * @start: first address
 * @end: and last
 * @ops: with ->pmd_entry and PGWALK_VMA_RDLOCK_VERIFY
 * @part: beginning of the private data of the callbacks, which return an error
 *	  or what proc_walk_pause() returns
 *
 * Preemption is off while the callbacks run, so that nobody waits for a reader
 * that does not run. It is on in VMAs of hugetlb, which takes a lock that sleeps,
 * and where a huge entry may be split, which sleeps too. These are walked in
 * pieces, as hugetlb calls nobody for entries that are empty.
 *
 * Context: Process context, as proc_vma_walk_next() left it.
 * Return: 0; or what a callback returned, or 1 to let the VMA go at @part->end.
 */
int proc_walk_page_range(struct vm_area_struct *vma, unsigned long start,
			 unsigned long end, const struct mm_walk_ops *ops,
			 struct proc_walk_part *part)
{
	bool atomic = IS_ENABLED(CONFIG_PER_VMA_LOCK) &&
		      !IS_ENABLED(CONFIG_PREEMPT_RT);
	unsigned long next;
	int ret;

	part->start = start;
	if (likely(!(vma->vm_flags & (VM_HUGETLB | VM_PFNMAP)) &&
		   !vma_is_dax(vma))) {
		if (!((start ^ (end - 1)) & PMD_MASK) &&
		    walk_page_table(vma, start, end, ops, part, &ret))
			return ret;
		return walk_page_range_vma(vma, start, end, ops, part);
	}

	if (atomic)
		preempt_enable();
	do {
		next = pud_addr_end(start, end);
		ret = walk_page_range_vma(vma, start, next, ops, part);
		if (!ret && next != end) {
			part->end = next;
			ret = vma_read_should_pause(vma);
		}
		start = next;
	} while (!ret && start != end);
	if (atomic)
		preempt_disable();
	return ret;
}

/**
 * proc_walk_pages - walk the page tables of a VMA, until somebody waits
 * @vma: the VMA that a walk has locked
 * @start: first address
 * @ops: with PGWALK_VMA_RDLOCK_VERIFY; they return nothing but what
 *	 proc_walk_pause() returns
 * @part: beginning of their private data
 *
 * Anonymous memory that was never written has no pages but the zero page, which
 * nobody counts.
 *
 * Context: Process context, as proc_vma_walk_next() left it.
 * Return: The end of what was walked, vm_end if it was all.
 */
unsigned long proc_walk_pages(struct vm_area_struct *vma, unsigned long start,
			      const struct mm_walk_ops *ops,
			      struct proc_walk_part *part)
{
	if (vma_is_anonymous(vma) && !READ_ONCE(vma->anon_vma))
		return vma->vm_end;
	if (proc_walk_page_range(vma, start, vma->vm_end, ops, part))
		return part->end;
	return vma->vm_end;
}

/**
 * proc_vma_walk_pages - look at all pages of the current VMA
 * @walk: the walk, which has a VMA
 * @pages: looks at them, in one or more calls
 * @data: passed on to @pages
 *
 * Whenever @pages says that somebody waits, let go the VMA and lock it again.
 * If nobody has write-locked it meanwhile go on, else begin again with the VMA
 * that is there now, which may be the next one. After some tries stay where
 * @pages has come to, and leave the rest of the VMA to the next step of the
 * walk: so the pages are those of the VMA that is returned, from @walk->shown
 * up to @walk->from. The latter is always above the address where the walk was,
 * also if the caller has set @walk->shown to one below.
 *
 * Context: Process context, may sleep, but not when it has returned a VMA, see
 * proc_vma_walk_next().
 * Return: The VMA, locked, and unchanged since @pages began with it; NULL if there
 * is none any more; ERR_PTR(-EINTR) on a fatal signal. With NULL or an error no
 * VMA is locked.
 */
struct vm_area_struct *proc_vma_walk_pages(struct proc_vma_walk *walk,
					   proc_vma_pages_t pages, void *data)
{
	struct vm_area_struct *vma = walk->vma, *old;
	unsigned long at = walk->shown, shown;
	bool again = true;
	unsigned int seq;
	int tries = 0;

	/* If this is the rest of a VMA that keeps changing, do not try in vain */
	if (walk->cut && walk->cut == walk->sought)
		tries = WALK_PAGES_TRIES;

	for (;;) {
		at = pages(vma, at, again, data);
		walk->cut = at == vma->vm_end ? 0 : at;
		if (!walk->cut)
			return vma;
		if (tries == WALK_PAGES_TRIES) {
			proc_vma_walk_back(walk, at);
			return vma;
		}

		old = vma;
		seq = proc_vma_lock_seq(vma);
		shown = walk->shown;
		proc_vma_walk_back(walk, walk->sought);
		proc_vma_walk_unlock(walk);
		if (fatal_signal_pending(current))
			return ERR_PTR(-EINTR);
		cond_resched();
		vma = proc_vma_walk_next(walk);
		if (IS_ERR_OR_NULL(vma))
			return vma;
		again = vma != old || proc_vma_lock_seq(vma) != seq;
		if (again) {
			at = walk->shown;
			tries++;
		} else {
			walk->shown = shown;
		}
	}
}
#endif /* CONFIG_MMU */

/**
 * proc_vma_walk_stop - end a walk
 * @walk: the walk that proc_vma_walk_start() has begun
 *
 * Context: Any that may release the locks. Nothing of the mm stays locked.
 */
void proc_vma_walk_stop(struct proc_vma_walk *walk)
{
	proc_vma_walk_unlock(walk);
	if (!IS_ENABLED(CONFIG_PER_VMA_LOCK))
		mmap_read_unlock(walk->mm);
}
