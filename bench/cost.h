/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Code that vmacost and forkcost share. They count instructions by the time stamp
 * counter: see vmacost.c.
 */
#ifndef BENCH_COST_H
#define BENCH_COST_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <x86intrin.h>
#include "common.h"

#define LOOPS		10000000ULL
#define TRIES		5

/* Begin and end a section for touched.c; to the CPU they are no-ops. */
static inline void mark_begin(void)
{
	asm volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 'V', 'M', 'A', 0" : : : "memory");
}

static inline void mark_end(void)
{
	asm volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 'V', 'M', 'A', 1" : : : "memory");
}

/*
 * Print what a loop of known length took, the least of some times: RCU may still be
 * freeing what the last program had.  Exit if that is not its instructions.
 */
static inline void calibrate(void)
{
	unsigned long long loops, ns, count, least = ~0ULL, least_ns = 0;
	double per_instruction;
	int i;

	for (i = 0; i < TRIES; i++) {
		loops = LOOPS;
		ns = now_ns();
		count = __rdtsc();
		asm volatile("1: dec %0; jnz 1b" : "+r" (loops) : : "cc");
		count = __rdtsc() - count;
		ns = now_ns() - ns;
		if (count < least) {
			least = count;
			least_ns = ns;
		}
	}

	printf("calibration instructions=%llu counter=%llu clock_ns=%llu\n",
	       2 * LOOPS, least, least_ns);
	per_instruction = least / (2.0 * LOOPS);
	if (per_instruction < 0.99 || per_instruction > 1.01)
		errx(1, "counter went up by %g per instruction, not 1: boot with vm/run --icount",
		     per_instruction);
	if (sysconf(_SC_NPROCESSORS_ONLN) != 1)
		errx(1, "more than one CPU: boot with vm/run --icount");
}

/* Exit if a system call that makes VMAs has failed. */
static inline void check_made(int failed)
{
	if (!failed)
		return;
	if (errno == ENOMEM)
		errx(1, "too many VMAs, raise the sysctl vm.max_map_count");
	err(1, "making VMAs");
}

/* The argument of an option, or exit. */
static inline unsigned int parse_number(const char *name, const char *arg,
					unsigned int max)
{
	char *end;
	unsigned long n = strtoul(arg, &end, 10);

	if (end == arg || *end || n < 1 || n > max)
		errx(2, "--%s %s: want a number from 1 to %u", name, arg, max);
	return n;
}

#endif
