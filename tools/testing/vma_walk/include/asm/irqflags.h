/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _X86_IRQFLAGS_H_
#define _X86_IRQFLAGS_H_

/* There are no interrupts */
#define arch_local_save_flags()		0UL
#define arch_local_irq_restore(flags)	((void)(flags))

#include <asm-generic/irqflags.h>

#endif
