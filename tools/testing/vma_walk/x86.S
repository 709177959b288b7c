/* SPDX-License-Identifier: GPL-2.0 */
/* Context switch and the hooks of memory accesses, which C cannot express */

/* void mc_switch_stack(void **from, void *to); keeps what a call keeps */
	.globl mc_switch_stack
mc_switch_stack:
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, (%rdi)
	mov %rsi, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret

/*
 * The compiler calls these hooks before a memory access, with its address. A hook calls
 * mc_access() with the kind (see mc.h), the size and the return address. Without @size
 * the size is the second argument.
 */
	.macro hook name, kind, size
	.globl \name
\name:
	.ifnb \size
	mov $\size, %esi
	.endif
	mov $\kind, %edx
	mov (%rsp), %rcx
	jmp mc_access
	.endm

	/* gcc -fsanitize=thread; clang -fsanitize-coverage=trace-loads,trace-stores */
	.irp size, 1, 2, 4, 8, 16
	hook __tsan_read\size, 0, \size
	hook __tsan_write\size, 1, \size
	hook __tsan_unaligned_read\size, 0, \size
	hook __tsan_unaligned_write\size, 1, \size
	hook __sanitizer_cov_load\size, 0, \size
	hook __sanitizer_cov_store\size, 1, \size
	.endr
	hook __tsan_read_range, 0
	hook __tsan_write_range, 1
	hook mc_read, 0
	hook mc_store, 1
	hook mc_write, 2
	.globl __tsan_init
__tsan_init:
	ret

/* The kernel's, with arguments and results in registers of their own */
	.globl __sw_hweight64, __sw_hweight32, __get_user_8
__sw_hweight64:
	popcnt %rdi, %rax
	ret
__sw_hweight32:
	popcnt %edi, %eax
	ret
__get_user_8:
	mov (%rax), %rdx
	xor %eax, %eax
	ret

	.section .note.GNU-stack, "", @progbits
