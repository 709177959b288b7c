// SPDX-License-Identifier: GPL-2.0
/*
 * The scenarios: an address space of a few pages, what writers do to it, how a
 * reader reads it, and whether what it was told is true.
 *
 * mm_lock_seq counts the states of the address space: state n is what it is
 * after n write sections. An operation is one write section, and only what is
 * between two of them is true. So each record must be right in one of the states
 * during the call that made it, and a page that is left out must be unmapped in
 * one of the states since the record before was made.
 */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/mmap_lock.h>
#include <linux/proc_fs.h>
#include <linux/rmap.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/seq_file.h>
#include <linux/syscalls.h>
#include <asm/vsyscall.h>
#include "../../../fs/proc/internal.h"
#include "world.h"

void proc_caches_init(void);

const char *const mc_thread_names[] = { "reader", "writer", "other" };

struct mm_struct *mm;
u8 *page_ids;
static struct proc_inode *proc_inode;
static struct file *mapped_file;

/* ---- scenarios ---- */

enum op_type {
	END, MAP, UNMAP, PROT, MOVE, MOVE_KEEP, RESIZE, BRK, STACK, AWAIT, RESCHED, HOLD, KILL
};

struct op {
	enum op_type type;
	int page, pages;
	int to, to_pages;	/* MOVE, RESIZE */
	char prot;		/* r or w */
};

#define RW(pg, n)	{ MAP, pg, n, 0, 0, 'w' }
#define RO(pg, n)	{ MAP, pg, n, 0, 0, 'r' }
#define PROT_RW(pg, n)	{ PROT, pg, n, 0, 0, 'w' }
#define PROT_RO(pg, n)	{ PROT, pg, n, 0, 0, 'r' }

#define MAX_OPS	8

/*
 * What is mapped at first, a letter for each page: '.' nothing, upper case
 * writable, lower case not, 'H' the heap, 'K' the stack. Pages of the same letter
 * are mapped at once.
 */
struct change {
	const char *name, *map;
	struct op writer[MAX_OPS], other[MAX_OPS];
	unsigned int flags;
	int look_at;	/* for queries and lookups */
};

#define ANON	1	/* not for files */
#define GROWS	2	/* what it changes is one mapping all the time: one entry */
#define KILLS	4	/* the reader may end with EINTR */
#define FAILS	8	/* calls may fail, if what they are for is not mapped any more */
#define CLEAN	16	/* anonymous memory that nobody has touched */

static const struct vm_operations_struct mapped_vm_ops;

static int mapped_file_mmap(struct file *file, struct vm_area_struct *vma)
{
	vma->vm_ops = &mapped_vm_ops;
	return 0;
}

static const struct file_operations mapped_file_ops = { .mmap = mapped_file_mmap };

static const struct change changes[] = {
	/* The cases of vma_merge_new_range() and of splits, see mm/vma.c */
	{ "merge1-map", ".u.AAbbCC.v", { RW(5, 2) }, .look_at = 5 },
	{ "merge1-prot", ".u.AAbbCC.v", { PROT_RW(5, 2) }, .look_at = 5 },
	{ "merge2-map", ".u.AAbb...v", { RW(5, 2) }, .look_at = 5 },
	{ "merge2-prot", ".u.AAbb...v", { PROT_RW(5, 2) }, .look_at = 5 },
	{ "merge3-map", ".u.AAbb...v", { RW(5, 1) }, .look_at = 5 },
	{ "merge3-prot", ".u.AAbb...v", { PROT_RW(5, 1) }, .look_at = 5 },
	{ "merge4-map", ".u...bbCC.v", { RW(5, 2) }, .look_at = 6 },
	{ "merge4-prot", ".u...bbCC.v", { PROT_RW(5, 2) }, .look_at = 6 },
	{ "merge5-map", ".u...bbCC.v", { RW(6, 1) }, .look_at = 6 },
	{ "merge5-prot", ".u...bbCC.v", { PROT_RW(6, 1) }, .look_at = 6 },
	{ "merge6", ".u.AA..CC.v", { RW(5, 2) }, .look_at = 4 },
	{ "merge7", ".u.AA.....v", { RW(5, 2) }, .look_at = 4 },
	{ "merge8", ".u.....CC.v", { RW(5, 2) }, .look_at = 7 },
	/* The old VMA is the part that mprotect() is for */
	{ "split9", ".u.AAAA...v", { PROT_RO(5, 2) }, .look_at = 3 },
	{ "split10", ".u.AAAA...v", { PROT_RO(3, 2) }, .look_at = 5 },
	{ "split-middle", ".u.AAAA...v", { PROT_RO(4, 1) }, .look_at = 5 },
	{ "unmap", ".u.AAbb...v", { { UNMAP, 3, 2 } }, .look_at = 3 },
	{ "unmap-part", ".u.AAAA...v", { { UNMAP, 4, 2 } }, .look_at = 5 },
	{ "unmap-all", ".u.AAbb...v", { { UNMAP, 0, NR_PAGES } }, .look_at = 5 },
	{ "replace", ".u.AAbb...v", { RO(3, 2) }, .look_at = 3 },
	{ "replace-anon", ".u.AAAA...v", { RO(3, 4) }, .look_at = 5, .flags = ANON },
	{ "replace-part", ".u.AAAA...v", { RO(4, 2) }, .look_at = 4 },
	{ "replace-many", ".u.AAbbCC.v", { RO(4, 4) }, .look_at = 6 },
	{ "move", ".u.AA.....v", { { MOVE, 3, 2, 6, 2 } }, .look_at = 3 },
	{ "move-over", ".u.AA..bb.v", { { MOVE, 3, 2, 7, 2 } }, .look_at = 7 },
	{ "move-over-anon", ".u.AAAA.bbbb.v", { { MOVE, 3, 4, 8, 4 } }, .look_at = 8,
	  .flags = ANON },
	{ "move-over-down", ".u.AA..bb.v", { { MOVE, 7, 2, 3, 2 } }, .look_at = 3 },
	{ "move-over-last", ".u.AA..bb..", { { MOVE, 3, 2, 7, 2 } }, .look_at = 7 },
	{ "move-over-part", ".u.AA.bbbbv", { { MOVE, 3, 2, 7, 2 } }, .look_at = 7 },
	{ "move-shrink", ".u.AAA.bb.v", { { MOVE, 3, 3, 7, 2 } }, .look_at = 7 },
	{ "move-grow", ".u.AA..bbb.v", { { MOVE, 3, 2, 7, 3 } }, .look_at = 7 },
	{ "move-keep", ".u.AA..bb.v", { { MOVE_KEEP, 3, 2, 7, 2 } }, .look_at = 7 },
	{ "resize-grow", ".u.AA...v", { { RESIZE, 3, 2, 0, 4 } }, .look_at = 3, .flags = GROWS },
	{ "resize-shrink", ".u.AAAA...v", { { RESIZE, 3, 4, 0, 2 } }, .look_at = 5 },
	{ "brk-up", ".u.HH.....v", { { BRK, 7 } }, .look_at = 4, .flags = ANON | GROWS },
	{ "brk-down", ".u.HHHH...v", { { BRK, 5 } }, .look_at = 5, .flags = ANON },
	{ "brk-down-split", ".u.HHHH...v", { PROT_RO(5, 2), { BRK, 5 } }, .look_at = 5,
	  .flags = ANON },
	{ "brk-twice", ".u.HHH....v", { { BRK, 8 }, { BRK, 5 } }, .look_at = 5, .flags = ANON },
	{ "stack", ".u.......KK.v", { { STACK, 7 } }, .look_at = 9, .flags = ANON },
	{ "clean-split", ".u.AAAA...v", { PROT_RO(5, 2) }, .look_at = 5, .flags = CLEAN },
	{ "clean-grow", ".u.AAAA...v", { { RESIZE, 3, 4, 0, 6 } }, .look_at = 5,
	  .flags = CLEAN | GROWS },
	/* Often enough that the walk of pages does not restart any more */
	{ "brk-often", ".u.HHHHHHHH.....v", { { BRK, 12 }, { BRK, 13 }, { BRK, 14 }, { BRK, 15 } },
	  .look_at = 4, .flags = ANON | GROWS },
	{ "stack-often", ".u.......KKKKKKKK.v",
	  { { STACK, 8 }, { STACK, 7 }, { STACK, 6 }, { STACK, 5 } },
	  .look_at = 9, .flags = ANON | GROWS },
	/* Two calls */
	{ "grow-both", ".u....CCCC..v", { RW(4, 2), RW(10, 1) }, .look_at = 6 },
	{ "grow-over-unmap", ".u.AAbbCC.v", { PROT_RW(5, 1), { UNMAP, 6, 1 } }, .look_at = 5 },
	{ "grow-down-unmap", ".u.AAbbCC.v", { PROT_RW(6, 1), { UNMAP, 5, 1 } }, .look_at = 6 },
	{ "merge-split", ".u.AAbbCC.v", { PROT_RW(5, 2), PROT_RO(5, 2) }, .look_at = 5 },
	{ "unmap-map", ".u.AAbb...v", { { UNMAP, 3, 2 }, RO(4, 1) }, .look_at = 3 },
	{ "map-over-gone", ".u.AA.....v", { { UNMAP, 3, 1 }, RW(3, 1) }, .look_at = 4 },
	{ "flip", ".uAAbb....v", { { UNMAP, 2, 2 }, RO(2, 1), RW(3, 1) }, .look_at = 3 },
	{ "flip-last", ".u.AAAA", { { UNMAP, 3, 4 }, RW(3, 4), { UNMAP, 3, 4 }, RW(3, 4) },
	  .look_at = 3 },
	{ "two-writers", ".u.AAbbCC.v", { PROT_RW(5, 2) }, { { UNMAP, 3, 2 } }, .look_at = 5 },
	{ "two-writers-move", ".u.AA..bb.v", { { MOVE, 3, 2, 7, 2 } }, { RW(5, 1) },
	  .look_at = 7 },
	/* seq_file has no room for the sixth entry of smaps, which is made again */
	{ "discard", "u.v.u.v.u.AAAAAA.v", { PROT_RO(13, 3), PROT_RO(10, 3) }, .look_at = 12 },
	{ "discard-parts", "u.v.u.v.u.AAAAAAAAAA.v",
	  { { AWAIT, 10 }, { UNMAP, 10, 1 }, { AWAIT, 11 }, { UNMAP, 11, 1 },
	    { AWAIT, 12 }, { UNMAP, 12, 1 }, { AWAIT, 13 }, PROT_RO(18, 2) },
	  .look_at = 12 },
	{ "discard-grows", "u.v.u.v.u.HHHH...v", { { BRK, 15 }, { BRK, 16 } }, .look_at = 12,
	  .flags = ANON | GROWS },
	{ "many", "uAbCdEfGhIjKKlMnOpQrStU.v", { PROT_RW(7, 2), { UNMAP, 11, 3 } },
	  .look_at = 8 },
	/* A writer that does not come to an end before the reader has */
	{ "kill", ".u.AAbb...v", { { HOLD, 3 } }, { { KILL } }, .look_at = 3, .flags = KILLS },
	{ "resched", ".u.AAbbbb.v", { PROT_RW(5, 1) }, { { RESCHED } }, .look_at = 5 },
};

/* Any two of these make a pair, one after the other by one writer, or by two at once */
static const char pairs_map[] = ".u.AAbbCC..v";
static const struct op pairs[] = {
	RW(5, 2), PROT_RW(5, 1), PROT_RW(6, 1), PROT_RO(4, 1), { UNMAP, 3, 2 }, { UNMAP, 4, 3 },
	RO(4, 3), { MOVE, 7, 2, 3, 2 }, { MOVE, 3, 2, 6, 2 }, { RESIZE, 7, 2, 0, 4 },
	{ RESIZE, 3, 2, 0, 1 },
};

/* How the reader reads */
static const struct reading {
	const char *name;
	enum { LOOKUP, TRYLOCK, QUERY, PASS, SEEK, ROLLUP, PAGEMAP, SCAN } how;
	enum maps_file file;
	unsigned int chunk;	/* PASS: so many bytes at a time; 0 for any, at random */
	u32 flags;		/* QUERY */
	bool often;		/* also pairs of changes, and those at random */
} readings[] = {
	{ "lookup", LOOKUP, .often = true },
	{ "trylock", TRYLOCK },
	{ "query", QUERY },
	{ "query-next", QUERY, .flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA, .often = true },
	{ "query-writable", QUERY, .flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA |
					    PROCMAP_QUERY_VMA_WRITABLE },
	{ "maps", PASS, MAPS, 2 * PAGE_SIZE },
	{ "maps-any", PASS, MAPS, 0, .often = true },
	{ "maps-40", PASS, MAPS, 40 },
	{ "maps-90", PASS, MAPS, 90 },
	{ "maps-200", PASS, MAPS, 200 },
	{ "maps-seek", SEEK, MAPS, 200 },
	{ "smaps", PASS, SMAPS, 2 * PAGE_SIZE, .often = true },
	{ "smaps-600", PASS, SMAPS, 600 },
	{ "rollup", ROLLUP },
	{ "pagemap", PAGEMAP },
	{ "scan", SCAN },
};

/* How the memory is: files have all their pages, touched memory has an anon_vma */
enum memory { FILES, UNTOUCHED, TOUCHED };

static struct change change;
static const struct reading *reading;
static enum memory memory;

/* ---- states ---- */

struct area {
	unsigned long start, end, pgoff;
	char prot;
	bool heap;
};

struct state {
	struct area areas[NR_PAGES];
	int nr;
	u8 ids[NR_PAGES];
};

static struct state states[16];
static unsigned int first_seq;
static u8 next_id, first_id;

/* What the write section does to pages, besides to VMAs */
static struct {
	bool unmapped[NR_PAGES];
	int from, pages, to;
} paging;

void pages_unmapped(unsigned long start, unsigned long end)
{
	for (; start < end; start += PAGE_SIZE)
		paging.unmapped[PAGE_NR(start)] = true;
}

static char prot_of(unsigned long vm_flags)
{
	return vm_flags & VM_WRITE ? 'w' : 'r';
}

static int get_state(struct state *s)
{
	VMA_ITERATOR(vmi, mm, 0);
	struct vm_area_struct *vma;
	int tid = mc_tid, n = 0;

	mc_tid = -1;
	for_each_vma(vmi, vma)
		s->areas[n++] = (struct area){ vma->vm_start, vma->vm_end,
			vma->vm_file ? vma->vm_pgoff : 0, prot_of(vma->vm_flags),
			vma_is_initial_heap(vma) };
	s->nr = n;
	mc_tid = tid;
	return n;
}

static bool has_pages(unsigned long addr)
{
	struct vm_area_struct *vma;
	int tid = mc_tid;
	bool has;

	mc_tid = -1;
	vma = mtree_load(&mm->mm_mt, addr);
	has = vma && (vma->vm_file || vma->anon_vma);
	mc_tid = tid;
	return has;
}

static void settle_pages(void)
{
	u8 ids[NR_PAGES];
	int i;

	memcpy(ids, page_ids, NR_PAGES);
	for (i = 0; i < NR_PAGES; i++)
		if (paging.unmapped[i])
			ids[i] = 0;
	for (i = 0; i < paging.pages; i++) {
		ids[paging.to + i] = page_ids[paging.from + i];
		ids[paging.from + i] = 0;
	}
	for (i = 0; i < NR_PAGES; i++) {
		if (!has_pages(PAGE_AT(i)))
			ids[i] = 0;
		else if (!ids[i])
			ids[i] = memory == FILES ? 1 : next_id;
	}
	if (memcmp(ids, page_ids, NR_PAGES)) {
		for (i = 0; i < NR_PAGES; i += 8)
			mc_write(&page_ids[i], 8);
		memcpy(page_ids, ids, NR_PAGES);
	}
	next_id++;
	memset(&paging, 0, sizeof(paging));
}

/* mm_lock_seq is about to change. VMAs are locked before the second change. */
static void seq_changes(void)
{
	unsigned int n = (mm->mm_lock_seq.sequence - first_seq + 1) / 2;
	int tid = mc_tid;

	if (!(mm->mm_lock_seq.sequence & 1))
		return;
	settle_pages();
	mc_tid = -1;
	get_state(&states[n]);
	memcpy(states[n].ids, page_ids, NR_PAGES);
	mc_tid = tid;
	mc_note("the write section ends");
}

/* The first and the last state that there is during some time of the reader */
static int first_state(void)
{
	return (READ_ONCE(mm->mm_lock_seq.sequence) - first_seq) / 2;
}

static int last_state(void)
{
	return (READ_ONCE(mm->mm_lock_seq.sequence) - first_seq + 1) / 2;
}

/* ---- what writers do ---- */

static unsigned long prot_flags(char prot)
{
	unsigned long flags = VM_READ | VM_MAYREAD | VM_MAYWRITE;

	return prot == 'w' ? flags | VM_WRITE : flags;
}

static void touch(int page)
{
	if (memory == TOUCHED && anon_vma_prepare(vma_lookup(mm, PAGE_AT(page))))
		mc_fail("no anon_vma");
}

static long map_pages(int page, int pages, unsigned long flags)
{
	struct file *file = memory == FILES ? mapped_file : NULL;
	long ret;

	ret = mmap_region(file, PAGE_AT(page), pages << PAGE_SHIFT, flags,
			  file ? page : PAGE_AT(page) >> PAGE_SHIFT, NULL);
	if (!IS_ERR_VALUE(ret))
		touch(page);
	return ret;
}

static bool reader_ended;

static int reader_has_ended(void *unused)
{
	return reader_ended;
}

static int reader_has_locked(void *addr)
{
	struct vm_area_struct *vma = mtree_load(&mm->mm_mt, (unsigned long)addr);

	return reader_ended || !vma || READ_ONCE(vma->vm_lock->lock.count.counter);
}

/* Is it all one mapping, and is the target beside it? Only one writer can tell */
static bool can_move(const struct op *op)
{
	struct vm_area_struct *vma;
	int tid = mc_tid;
	bool can;

	mc_tid = -1;
	vma = mtree_load(&mm->mm_mt, PAGE_AT(op->page));
	can = vma && vma->vm_end >= PAGE_AT(op->page + op->pages) &&
	      (op->to >= op->page + op->pages || op->to + op->to_pages <= op->page);
	mc_tid = tid;
	return can;
}

static void do_op(const struct op *op)
{
	unsigned long addr = PAGE_AT(op->page), len = op->pages << PAGE_SHIFT;
	long ret = 0;

	switch (op->type) {
	case MAP:
		mc_note("mmap(%d, %d, %c) begins", op->page, op->pages, op->prot);
		mmap_write_lock(mm);
		ret = map_pages(op->page, op->pages, prot_flags(op->prot));
		mmap_write_unlock(mm);
		break;
	case UNMAP:
		mc_note("munmap(%d, %d) begins", op->page, op->pages);
		ret = sys_munmap(addr, len);
		break;
	case PROT:
		mc_note("mprotect(%d, %d, %c) begins", op->page, op->pages, op->prot);
		ret = sys_mprotect(addr, len, op->prot == 'w' ? PROT_READ | PROT_WRITE :
				   PROT_READ);
		break;
	case MOVE:
	case MOVE_KEEP:
		if (change.flags & FAILS && !can_move(op))
			break;
		mc_note("mremap(%d, %d, to %d, %d) begins", op->page, op->pages, op->to,
			op->to_pages);
		paging.from = op->page;
		paging.pages = min(op->pages, op->to_pages);
		paging.to = op->to;
		ret = sys_mremap(addr, len, op->to_pages << PAGE_SHIFT, MREMAP_MAYMOVE |
				 MREMAP_FIXED | (op->type == MOVE ? 0 : MREMAP_DONTUNMAP),
				 PAGE_AT(op->to));
		break;
	case RESIZE:
		mc_note("mremap(%d, %d, %d) begins", op->page, op->pages, op->to_pages);
		ret = sys_mremap(addr, len, op->to_pages << PAGE_SHIFT, 0, 0);
		break;
	case BRK:
		mc_note("brk(%d) begins", op->page);
		ret = sys_brk(addr);
		break;
	case STACK:
		mc_note("the stack grows down to page %d", op->page);
		mmap_read_lock(mm);
		if (!expand_stack(mm, addr))
			mc_fail("the stack does not grow");
		mmap_read_unlock(mm);
		break;
	case HOLD:
		mc_note("locks everything until the reader ends");
		mmap_write_lock(mm);
		vma_start_write(vma_lookup(mm, addr));
		mc_block(reader_has_ended, NULL);
		mmap_write_unlock(mm);
		break;
	case KILL:
		mc_note("kills the reader");
		sigaddset(&tasks[MC_READER]->pending.signal, SIGKILL);
		set_tsk_thread_flag(tasks[MC_READER], TIF_SIGPENDING);
		break;
	case AWAIT:
		mc_block(reader_has_locked, (void *)addr);
		reader_has_locked((void *)addr);
		fallthrough;
	case RESCHED:
		mc_note("the reader is to reschedule");
		set_tsk_need_resched(tasks[MC_READER]);
		break;
	default:
		break;
	}
	if (IS_ERR_VALUE(ret) && !(change.flags & FAILS))
		mc_fail("the writer's call returns %ld", ret);
	mc_note("done");
}

static void write_all(const struct op *op, int n)
{
	for (; n && op->type != END; n--, op++)
		do_op(op);
}

/* ---- what the reader is told ---- */

struct record {
	unsigned long start, end, pgoff;
	char prot;		/* r, w, or g: the gate VMA */
	bool heap;		/* is its name; a file has another one */
	long rss, pss;		/* pages, sum of ids; -1 if not known */
	int from, to;		/* the states when it was made */
	bool next;		/* may begin below where it was looked for */
};

static struct record records[256];
static int nr_records;
static unsigned long look_from, look_to;	/* what they cover */
static int pass_from, pass_to;			/* the states of the pass */
static u8 counted[NR_PAGES];
static bool interrupted;			/* by a signal, or it did not wait: incomplete */
static char text[32768];
static int text_len, parsed;

void page_counted(unsigned long addr)
{
	counted[PAGE_NR(addr)]++;
}

static struct record *add_record(unsigned long start, unsigned long end, char prot)
{
	struct record *r = &records[nr_records++];

	if (nr_records == ARRAY_SIZE(records))
		mc_fail("too many records");
	*r = (struct record){ .start = start, .end = end, .prot = prot, .rss = -1,
			      .from = pass_from, .to = last_state() };
	return r;
}

static bool was_mapped(int state, unsigned long addr)
{
	struct state *s = &states[state];
	int i;

	for (i = 0; i < s->nr; i++)
		if (s->areas[i].start <= addr && addr < s->areas[i].end)
			return !(reading->flags & PROCMAP_QUERY_VMA_WRITABLE) ||
			       s->areas[i].prot == 'w';
	return false;
}

static void check_gap(unsigned long start, unsigned long end, int from, int to)
{
	unsigned long addr;
	int n;

	if (interrupted)
		return;

	start = max(start, PAGE_AT(0));
	end = min(end, PAGE_AT(NR_PAGES));
	for (addr = start; addr < end; addr += PAGE_SIZE) {
		for (n = from; n <= to && was_mapped(n, addr); n++)
			;
		if (n > to)
			mc_fail("page %ld is left out, but mapped in all states (%d to %d)",
				PAGE_NR(addr), from, to);
	}
}

static bool is_file(void)
{
	return reading->how == PASS || reading->how == SEEK;
}

/* Is the record right in this state? @shown: what is below was shown before */
static bool is_right(const struct record *r, int state, unsigned long shown)
{
	struct state *s = &states[state];
	long i, page, rss = 0, pss = 0;
	struct area *a;

	for (i = 0; i < s->nr && s->areas[i].end <= r->start; i++)
		;
	a = &s->areas[i];
	if (i == s->nr || a->prot != r->prot)
		return false;
	/* smaps may show a part, and then the rest, of what was often changed */
	if (a->end != r->end && (r->rss < 0 || a->end < r->end))
		return false;
	/* It may also have grown down, over what the walk has passed, since smaps began */
	if (a->start != r->start &&
	    (a->start > r->start || (r->start != shown && r->rss < 0)))
		return false;
	if (is_file() && memory != FILES && a->heap != r->heap)
		return false;
	if (memory == FILES && r->pgoff != a->pgoff + (r->start - a->start) / PAGE_SIZE)
		return false;
	if (r->rss < 0)
		return true;
	/* Memory that was mapped anew may be taken for the old one, see proc_vma_walk.rst */
	if (change.flags & FAILS && memory != FILES)
		return true;
	for (page = PAGE_NR(r->start); page < PAGE_NR(r->end); page++) {
		rss += !!s->ids[page];
		pss += s->ids[page];
	}
	return rss == r->rss && pss == r->pss;
}

static void check_records(void)
{
	unsigned long shown = look_from;
	int i, n, k, from = pass_from;
	struct record *r;

	if (is_file() && !interrupted) {
		r = &records[nr_records - 1];
		if (!nr_records-- || r->prot != 'g' || r->end != VSYSCALL_ADDR + PAGE_SIZE)
			mc_fail("the gate VMA is not the last one");
	}
	for (i = 0; i < nr_records; i++) {
		r = &records[i];
		if (r->start < shown && !r->next)
			mc_fail("%lx-%lx is shown after %lx", r->start, r->end, shown);
		for (n = r->from; n <= r->to && !is_right(r, n, shown); n++)
			;
		if (n > r->to)
			mc_fail("%lx-%lx %c%s, pages %ld ids %ld is right in no state (%d to %d)",
				r->start, r->end, r->prot, r->heap ? " [heap]" : "", r->rss,
				r->pss, r->from, r->to);
		check_gap(shown, r->start, from, r->to);
		from = r->from;
		shown = r->end;
	}
	check_gap(shown, look_to, from, pass_to);

	if (interrupted)
		return;
	/* What nobody has touched is shown once, as a whole */
	for (i = 0; i < states[pass_from].nr; i++) {
		struct area *a = &states[pass_from].areas[i];
		int times = 0;

		if (a->start < look_from || a->end > look_to ||
		    !was_mapped(pass_from, a->start))
			continue;
		for (n = pass_from; n <= pass_to; n++) {
			for (k = 0; k < states[n].nr; k++)
				if (!memcmp(a, &states[n].areas[k], sizeof(*a)))
					break;
			if (k == states[n].nr)
				break;
		}
		/* GROWS: what begins there */
		if (n <= pass_to && (!(change.flags & GROWS) || reading->how == TRYLOCK))
			continue;
		for (k = 0; k < nr_records; k++)
			if (records[k].start < a->end && records[k].end > a->start)
				times++;
		if (times != 1)
			mc_fail("%lx-%lx is shown %d times", a->start, a->end, times);
		if (!(change.flags & GROWS) || reading->how == TRYLOCK)
			continue;
		for (k = 1; k < nr_records; k++)
			if (records[k].start == records[k - 1].end &&
			    records[k].prot == records[k - 1].prot)
				mc_fail("%lx-%lx is in two parts", records[k - 1].start,
					records[k].end);
	}
}

/* ---- what the reader does ---- */

/* Is it an error, and one that may be? */
static bool failed(long err, const char *what)
{
	if (err >= 0)
		return false;
	if (err != -EINTR || !(change.flags & KILLS))
		mc_fail("%s returns %ld", what, err);
	mc_note("%s is interrupted", what);
	interrupted = true;
	return true;
}

/* What was not looked at before */
static void add_vma(struct vm_area_struct *vma, unsigned long from)
{
	unsigned long done = nr_records ? records[nr_records - 1].end : 0;
	struct record *r = add_record(max(vma->vm_start, done), vma->vm_end,
				      prot_of(vma->vm_flags));

	if (vma->vm_end <= from)
		mc_fail("page %ld to %ld is below page %ld", PAGE_NR(vma->vm_start),
			PAGE_NR(vma->vm_end), PAGE_NR(from));
	r->next = nr_records == 1;
	r->pgoff = vma->vm_pgoff + ((r->start - vma->vm_start) >> PAGE_SHIFT);
	mc_note("has page %ld to %ld", PAGE_NR(r->start), PAGE_NR(r->end));
}

static void read_lookup(void)
{
	struct vm_area_struct *vma = NULL;
	struct vma_lock_iter iter;
	unsigned long from = look_from;

	vma_lock_iter_init(&iter);
	for (;;) {
		vma = lock_next_vma(mm, &iter, vma, &from, look_to);
		if (!vma || failed(PTR_ERR_OR_ZERO(vma), "lock_next_vma()"))
			break;
		add_vma(vma, from);
		from = vma->vm_end;
	}
}

/* As it does not wait, it may leave something out */
static void read_by_trylock(void)
{
	struct vm_area_struct *vma;
	unsigned long from = look_from;

	while (from < look_to) {
		vma = trylock_next_vma(mm, &from);
		if (vma == ERR_PTR(-EBUSY)) {
			interrupted = true;
			continue;
		}
		/* Something is in the way, and nothing above */
		if (!vma && !from)
			interrupted = true;
		if (!vma)
			break;
		add_vma(vma, from);
		from = vma->vm_end;
		unlock_next_vma(vma);
	}
}

static int query(struct file *f, struct procmap_query *q, u32 flags, u32 name_size)
{
	static char name[512];

	*q = (struct procmap_query){ .size = sizeof(*q), .query_addr = look_from,
				     .query_flags = flags, .vma_name_size = name_size,
				     .vma_name_addr = (unsigned long)name };
	return maps_query(f, q);
}

static void read_query(void)
{
	u32 flags = reading->flags;
	struct file *f = maps_open(&proc_inode->vfs_inode, MAPS);
	struct procmap_query q;
	struct record *r;
	int err;

	/* No name is that short */
	err = query(f, &q, flags, 2);
	if (err != -ENOENT && err != -ENAMETOOLONG && memory == FILES)
		failed(err ?: -EINVAL, "the query with a small buffer");
	err = query(f, &q, flags, 512);
	if (err != -ENOENT && failed(err, "the query"))
		return;
	if (err) {
		mc_note("the query finds nothing");
		return;
	}
	r = add_record(q.vma_start, q.vma_end,
		       q.vma_flags & PROCMAP_QUERY_VMA_WRITABLE ? 'w' : 'r');
	r->pgoff = q.vma_offset >> PAGE_SHIFT;
	r->next = true;
	if (r->end <= look_from || (!flags && r->start > look_from))
		mc_fail("a query for page %ld is answered with %ld to %ld", PAGE_NR(look_from),
			PAGE_NR(r->start), PAGE_NR(r->end));
	look_to = r->end;
	mc_note("the query returns page %ld to %ld", PAGE_NR(r->start), PAGE_NR(r->end));
}

/* The states during a call */
struct span {
	int from, to;
};

/*
 * Lines of maps and smaps. Lines below @left were made by the call before the last one
 * that made any.
 */
static void parse(int left, struct span before, struct span call)
{
	char *line, *end;
	struct record *r;
	unsigned long start, stop, pgoff, kb;
	char prot;

	for (; (end = strchr(text + parsed, '\n')); parsed = end + 1 - text) {
		line = text + parsed;
		if (sscanf(line, "%lx-%lx r%c%*c%*c %lx", &start, &stop, &prot, &pgoff) == 4) {
			r = add_record(start, stop, prot == 'w' ? 'w' : 'r');
			r->pgoff = pgoff >> PAGE_SHIFT;
			*end = 0;
			r->heap = strstr(line, "[heap]");
			*end = '\n';
			r->from = parsed < left ? before.from : call.from;
			r->to = parsed < left ? before.to : call.to;
			if (start >= VSYSCALL_ADDR)
				r->prot = 'g';
		} else if (sscanf(line, "Rss: %lu", &kb) == 1) {
			records[nr_records - 1].rss = kb / 4;
		} else if (sscanf(line, "Pss: %lu", &kb) == 1) {
			records[nr_records - 1].pss = kb;
		}
	}
}

static unsigned int any_size(void)
{
	return (1 << mc_random(14)) - mc_random(2);
}

/* All of the file, from its beginning */
static void read_file(struct file *f)
{
	struct seq_file *m = f->private_data;
	struct span before, call = {};
	loff_t pos = 0, index = 0;
	size_t size, left;
	ssize_t n;

	pass_from = first_state();
	do {
		size = reading->chunk ?: any_size() ?: 1;
		before = call;
		/* With more than that left it makes no line */
		left = m->count;
		if (left <= size || !pos)
			call.from = first_state();
		n = seq_read(f, text + text_len, size, &pos);
		if (failed(n, "read()"))
			break;
		if (left <= size || pos == n)
			call.to = last_state();
		if (pos == n)
			left = 0;
		pass_to = call.to;
		left += text_len;
		text_len += n;
		text[text_len] = 0;
		parse(left, before, call);
		if (m->index != -1 && m->index % PAGE_SIZE)
			mc_fail("the position is %llx", m->index);
		if ((u64)m->index < (u64)index)
			mc_fail("the position goes back from %llx to %llx", index, m->index);
		index = m->index;
		mc_note("read() returns %zd", n);
	} while (n);
}

static void read_maps(void)
{
	struct file *f = maps_open(&proc_inode->vfs_inode, reading->file);
	static char elsewhere[2 * PAGE_SIZE];
	loff_t pos = 60;
	int n;

	/* From the middle of a line, then as the kernel has left it */
	if (reading->how == SEEK &&
	    (failed(seq_read(f, elsewhere, 70, &pos), "pread()") ||
	     failed(seq_lseek(f, 20, SEEK_SET), "lseek()") ||
	     failed(seq_read(f, elsewhere, 10, &f->f_pos), "read()")))
		return;
	for (n = reading->chunk ? 0 : mc_random(3); n; n--) {
		pos = mc_random(1000);
		if (failed(mc_random(2) ? seq_read(f, elsewhere, any_size(), &pos) :
			   seq_lseek(f, pos, SEEK_SET), "pread() or lseek()"))
			return;
	}
	read_file(f);
}

static u64 entries[NR_PAGES + 1];

static void check_pagemap(void)
{
	int i, n;

	for (i = 0; i < NR_PAGES; i++) {
		for (n = pass_from; n <= pass_to; n++)
			if (states[n].ids[i] == (entries[i] & 0xff))
				break;
		if (n > pass_to)
			mc_fail("pagemap: page %d is %llu in no state (%d to %d)", i,
				entries[i] & 0xff, pass_from, pass_to);
	}
}

static struct page_region regions[NR_PAGES];
static int nr_regions;

static void check_scan(void)
{
	u64 shown = 0;
	int i, n;

	for (i = 0; i < nr_regions; i++) {
		if (regions[i].start < shown || regions[i].end <= regions[i].start)
			mc_fail("PAGEMAP_SCAN: %llx-%llx after what is up to %llx",
				regions[i].start, regions[i].end, shown);
		shown = regions[i].end;
	}
	for (i = 0; i < NR_PAGES; i++) {
		bool there = false;

		for (n = 0; n < nr_regions; n++)
			there |= regions[n].start <= PAGE_AT(i) && PAGE_AT(i) < regions[n].end;
		for (n = pass_from; n <= pass_to && there == !states[n].ids[i]; n++)
			;
		if (n > pass_to)
			mc_fail("PAGEMAP_SCAN: page %d is %spresent in no state (%d to %d)", i,
				there ? "" : "not ", pass_from, pass_to);
	}
}

/* No page twice, and none left out that is there all the time */
static void check_counted(void)
{
	int i, k;

	for (i = 0; i < NR_PAGES; i++) {
		for (k = pass_from; k <= pass_to && states[k].ids[i]; k++)
			;
		if (counted[i] > 1 || (k > pass_to && !counted[i]))
			mc_fail("page %d is counted %d times", i, counted[i]);
	}
}

static void reader(void)
{
	int n;

	pass_from = first_state();
	switch (reading->how) {
	case LOOKUP:
		read_lookup();
		break;
	case TRYLOCK:
		read_by_trylock();
		break;
	case QUERY:
		read_query();
		break;
	case PASS:
	case SEEK:
		read_maps();
		break;
	case ROLLUP:
		failed(maps_rollup(maps_open(&proc_inode->vfs_inode, MAPS)), "rollup");
		break;
	case PAGEMAP:
		n = maps_pagemap(look_from, look_to, entries);
		if (!failed(n, "pagemap") && n != NR_PAGES)
			mc_fail("pagemap returns %d", n);
		break;
	case SCAN:
		nr_regions = maps_scan(look_from, look_to, regions, ARRAY_SIZE(regions));
		failed(nr_regions, "PAGEMAP_SCAN");
		break;
	}
	pass_to = last_state();
	reader_ended = true;
	mc_note("done");
}

/* ---- what the explorer calls ---- */

static unsigned int seed;

static int at_random(int n)
{
	seed = seed * 1103515245 + 12345;
	return (seed >> 16) % n;
}

/* Some mappings, and four calls that change them; the same for the same @nr */
static void change_at_random(unsigned int nr)
{
	static const enum op_type types[] = { MAP, UNMAP, PROT, MOVE, RESIZE };
	static char map[20];
	int i, n, writers;

	seed = nr;
	memset(map, 0, sizeof(map));
	for (i = 0; i < sizeof(map) - 1; i += n) {
		n = min(1 + at_random(5), (int)sizeof(map) - 1 - i);
		memset(map + i, "..AbCdEf"[at_random(8)], n);
	}
	change = (struct change){ .map = map, .flags = FAILS };
	change.look_at = at_random(16);
	change.flags |= at_random(2) ? ANON : 0;
	writers = 1 + at_random(2);
	for (n = 0; n < 4; n++) {
		struct op *op = (n % writers ? change.other : change.writer) + n / writers;

		/* Whose pages mremap() moves has to be known before, see do_op() */
		op->type = types[at_random(writers == 2 && change.flags & ANON ? 3 : 5)];
		op->page = at_random(16);
		op->pages = 1 + at_random(4);
		op->to = at_random(16);
		op->to_pages = 1 + at_random(4);
		op->prot = "rw"[at_random(2)];
	}
}

/* A scenario is one of changes[], or a pair, or one at random; and a reading */
static struct scenario {
	enum { CHANGE, SEQUENCE, AT_ONCE, RANDOM } kind;
	int nr, second;
	const struct reading *reading;
} scenarios[16384];

static unsigned int nr_scenarios;

static void add_scenarios(int kind, int nr, int second)
{
	const struct reading *r;

	for (r = readings; r < readings + ARRAY_SIZE(readings); r++)
		if ((kind == CHANGE || r->often) && nr_scenarios < ARRAY_SIZE(scenarios))
			scenarios[nr_scenarios++] = (struct scenario){ kind, nr, second, r };
}

void world_init(unsigned int nr_random)
{
	int i, k;

	for (i = 0; i < ARRAY_SIZE(changes); i++)
		add_scenarios(CHANGE, i, 0);
	for (i = 0; i < ARRAY_SIZE(pairs); i++)
		for (k = 0; k < ARRAY_SIZE(pairs); k++)
			add_scenarios(SEQUENCE, i, k);
	for (i = 0; i < ARRAY_SIZE(pairs); i++)
		for (k = i + 1; k < ARRAY_SIZE(pairs); k++)
			add_scenarios(AT_ONCE, i, k);
	for (i = 0; i < nr_random; i++)
		add_scenarios(RANDOM, i, 0);
}

const struct mc_scenario *world_scenario(unsigned int nr)
{
	static char change_name[32], name[64];
	static struct mc_scenario s = { .name = name };
	struct scenario *sc = &scenarios[nr];

	if (nr >= nr_scenarios)
		return NULL;
	s.data = sc;
	if (sc->kind == CHANGE) {
		change = changes[sc->nr];
	} else if (sc->kind == RANDOM) {
		snprintf(change_name, sizeof(change_name), "random%d", sc->nr);
		change_at_random(sc->nr);
		change.name = change_name;
	} else {
		snprintf(change_name, sizeof(change_name), "%s-%d-%d",
			 sc->kind == SEQUENCE ? "pair" : "at-once", sc->nr, sc->second);
		change = (struct change){ change_name, pairs_map, { pairs[sc->nr] },
					  .look_at = 4, .flags = FAILS };
		*(sc->kind == SEQUENCE ? &change.writer[1] : &change.other[0]) =
			pairs[sc->second];
	}
	snprintf(name, sizeof(name), "%s/%s", change.name, sc->reading->name);
	return &s;
}

static void map_letters(const char *map)
{
	int i, n;

	stack_guard_gap = 0;
	for (i = 0; map[i]; i += n) {
		unsigned long flags = prot_flags(map[i] >= 'a' ? 'r' : 'w');

		for (n = 1; map[i + n] == map[i]; n++)
			;
		if (map[i] == '.')
			continue;
		if (map[i] == 'H') {
			mm->start_brk = PAGE_AT(i);
			mm->brk = PAGE_AT(i);
			sys_brk(PAGE_AT(i + n));
			mmap_write_lock(mm);
			touch(i);
			mmap_write_unlock(mm);
			continue;
		}
		if (map[i] == 'K')
			flags |= VM_GROWSDOWN;
		mmap_write_lock(mm);
		map_pages(i, n, flags);
		mmap_write_unlock(mm);
	}
}

unsigned int world_setup(const struct mc_scenario *s)
{
	struct inode *inode;

	reading = ((const struct scenario *)s->data)->reading;
	memory = change.flags & CLEAN ? UNTOUCHED : change.flags & ANON ? TOUCHED : FILES;
	next_id = 1;
	kernel_setup();

	page_ids = mc_alloc(NR_PAGES, 64, "page_ids");
	memset(page_ids, 0, NR_PAGES);
	proc_inode = kzalloc(sizeof(*proc_inode), GFP_KERNEL);
	mapped_file = kzalloc(sizeof(*mapped_file), GFP_KERNEL);
	inode = kzalloc(sizeof(*inode), GFP_KERNEL);
	inode->i_sb = kzalloc(sizeof(*inode->i_sb), GFP_KERNEL);
	inode->i_sb->s_dev = MKDEV(8, 1);
	inode->i_ino = 77;
	inode->i_mapping = &inode->i_data;
	init_rwsem(&inode->i_data.i_mmap_rwsem);
	mapped_file->f_inode = inode;
	mapped_file->f_mapping = &inode->i_data;
	mapped_file->f_op = &mapped_file_ops;
	atomic_long_set(&mapped_file->f_count, 1);

	map_letters(change.map);
	settle_pages();
	get_state(&states[0]);
	memcpy(states[0].ids, page_ids, NR_PAGES);
	first_seq = mm->mm_lock_seq.sequence;
	first_id = next_id;
	mc_watch(&mm->mm_lock_seq, seq_changes);
	return BIT(MC_READER) | BIT(MC_WRITER) | (change.other[0].type ? BIT(MC_OTHER) : 0);
}

void world_begin(void)
{
	kernel_begin();
	reader_ended = false;
	interrupted = false;
	next_id = first_id;
	memset(&paging, 0, sizeof(paging));
	memset(counted, 0, sizeof(counted));
	nr_records = 0;
	text_len = 0;
	parsed = 0;
	text[0] = 0;
	look_from = reading->how <= QUERY ? PAGE_AT(change.look_at) : PAGE_AT(0);
	look_to = reading->how <= TRYLOCK ? look_from + 3 * PAGE_SIZE :
		  reading->how == QUERY && !reading->flags ? look_from + PAGE_SIZE :
		  PAGE_AT(NR_PAGES);
}

void world_thread(int tid)
{
	if (tid == MC_READER)
		reader();
	else
		write_all(tid == MC_WRITER ? change.writer : change.other,
			  ARRAY_SIZE(change.writer));
}

void world_end(void)
{
	kernel_end();
	if (reading->how <= SEEK)
		check_records();
	else if (interrupted)
		return;
	else if (reading->how == PAGEMAP)
		check_pagemap();
	else if (reading->how == SCAN)
		check_scan();
	else
		check_counted();
}
