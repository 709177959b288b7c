// SPDX-License-Identifier: GPL-2.0
/*
 * The files of /proc/PID: all of fs/proc/task_mmu.c, but for the walk of one
 * page table.
 */
#include "../../../fs/proc/task_mmu.c"
#include "world.h"

/*
 * In the place of mm/pagewalk.c: find what is at each address in page_ids, and
 * count it as smaps_pte_range() and pagemap_pmd_range() do, a page as resident,
 * and with a share of its id so that one can tell whose pages were added up.
 */
int walk_page_range_vma(struct vm_area_struct *vma, unsigned long start, unsigned long end,
			const struct mm_walk_ops *ops, void *private)
{
	struct mm_walk walk = { .mm = vma->vm_mm, .vma = vma, .ops = ops, .private = private };
	bool wanted = rwsem_is_contended(&vma->vm_lock->lock);
	unsigned long addr;
	int ret;

	if (start < vma->vm_start || start >= end || end > vma->vm_end)
		mc_fail("page tables of %lx-%lx are walked from %lx to %lx",
			vma->vm_start, vma->vm_end, start, end);
	if (!preempt_count())
		mc_fail("page tables are walked with preemption on");
	for (addr = start; addr < end; addr += PAGE_SIZE) {
		u8 id = page_ids[PAGE_NR(addr)];

		if (ops == &pagemap_ops) {
			*add_to_pagemap(private, addr, addr + PAGE_SIZE) =
				id ? id | PM_PRESENT : 0;
			continue;
		}
		if (ops == &pagemap_scan_ops) {
			unsigned long next = addr + PAGE_SIZE;

			ret = id ? pagemap_scan_output(PAGE_IS_PRESENT, private, addr, &next) : 0;
			if (next == addr)
				return ret;
		} else if (id) {
			struct mem_size_stats *mss = private;

			mss->private_clean += PAGE_SIZE;
			mss->pss += ((u64)id << PSS_SHIFT) * 1024;
		}
		page_counted(addr);
		if (PAGE_NR(addr + PAGE_SIZE) % TABLE_PAGES && addr + PAGE_SIZE != end)
			continue;
		ret = proc_walk_pause(&walk, addr + PAGE_SIZE);
		if (ret)
			return ret;
		if (wanted && addr + PAGE_SIZE != end)
			mc_fail("a writer waits for the VMA, and the walk goes on");
		wanted = rwsem_is_contended(&vma->vm_lock->lock);
	}
	return 0;
}

struct file *maps_open(struct inode *inode, enum maps_file which)
{
	struct file *f = kzalloc(sizeof(*f), GFP_KERNEL);
	struct proc_maps_private *priv;

	priv = __seq_open_private(f, which == MAPS ? &proc_pid_maps_op : &proc_pid_smaps_op,
				  sizeof(*priv));
	priv->inode = inode;
	priv->mm = mm;
	return f;
}

int maps_query(struct file *f, struct procmap_query *query)
{
	struct seq_file *m = f->private_data;

	return do_procmap_query(m->private, (void __user *)query);
}

int maps_rollup(struct file *f)
{
	struct seq_file *m = f->private_data;

	m->buf = kmalloc(PAGE_SIZE, GFP_KERNEL);
	m->size = PAGE_SIZE;
	return show_smaps_rollup(m, NULL);
}

int maps_scan(unsigned long start, unsigned long end, struct page_region *regions, int nr)
{
	struct pm_scan_arg arg = {
		.size = sizeof(arg),
		.start = start,
		.end = end,
		.vec = (unsigned long)regions,
		.vec_len = nr,
		.category_mask = PAGE_IS_PRESENT,
		.return_mask = PAGE_IS_PRESENT,
	};

	return do_pagemap_scan(mm, (unsigned long)&arg);
}

int maps_pagemap(unsigned long start, unsigned long end, u64 *entries)
{
	struct pagemapread pm = {
		.buffer = entries,
		.show_pfn = true,
	};
	int err = pagemap_walk(mm, start, end, &pm);

	return err ?: pm.pos;
}
