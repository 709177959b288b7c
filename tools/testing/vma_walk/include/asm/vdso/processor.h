/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __ASM_VDSO_PROCESSOR_H
#define __ASM_VDSO_PROCESSOR_H

/* Nothing changes until others have run */
void mc_relax(void);
#define cpu_relax()	mc_relax()
#define rep_nop()	mc_relax()

#endif
