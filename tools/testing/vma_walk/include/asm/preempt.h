/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __ASM_PREEMPT_H
#define __ASM_PREEMPT_H

#include <linux/types.h>

#define PREEMPT_ENABLED	0

/* Of the running thread. With it at zero it is not a reader of RCU any more. */
int mc_preempt_count(void);
void mc_preempt_add(int val);

#define preempt_count()			mc_preempt_count()
#define init_task_preempt_count(p)	((void)(p))
#define set_preempt_need_resched()	((void)0)
#define clear_preempt_need_resched()	((void)0)
#define test_preempt_need_resched()	false
#define __preempt_count_add(val)	mc_preempt_add(val)
#define __preempt_count_sub(val)	mc_preempt_add(-(val))
#define __preempt_count_dec_and_test()	({ mc_preempt_add(-1); false; })
#define __preempt_schedule()		((void)0)
#define __preempt_schedule_notrace()	((void)0)

static __always_inline bool should_resched(int offset)
{
	return false;
}

#endif
