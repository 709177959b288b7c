/* SPDX-License-Identifier: GPL-2.0 */
/* Between the parts of the checker that use the kernel's headers */
#ifndef _VMA_WALK_WORLD_H
#define _VMA_WALK_WORLD_H

#include <linux/mm_types.h>
#include <uapi/linux/fs.h>
#include "mc.h"

#define NR_PAGES	64
#define PAGE_AT(nr)	((0x100UL + (nr)) << PAGE_SHIFT)
#define PAGE_NR(addr)	((long)((addr) >> PAGE_SHIFT) - 0x100)

/* A page table of this machine has so many pages */
#define TABLE_PAGES	2

/* Which page is at each address, 0 for none; of a VMA, so it locks it */
extern u8 *page_ids;

extern struct mm_struct *mm;
extern struct task_struct *tasks[MC_THREADS + 1];

/* kernel.c */
void kernel_setup(void);
void kernel_begin(void);
void kernel_end(void);		/* is anything still locked? */

/* maps.c: files of /proc/PID */
enum maps_file { MAPS, SMAPS };
struct file *maps_open(struct inode *inode, enum maps_file which);
int maps_query(struct file *f, struct procmap_query *query);
int maps_rollup(struct file *f);
int maps_pagemap(unsigned long start, unsigned long end, u64 *entries);
int maps_scan(unsigned long start, unsigned long end, struct page_region *regions, int nr);

/* world.c: a reader has counted a page */
void page_counted(unsigned long addr);
/* A writer has unmapped the pages */
void pages_unmapped(unsigned long start, unsigned long end);

#endif
