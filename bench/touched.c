// SPDX-License-Identifier: GPL-2.0
/*
 * touched - a plugin for QEMU's emulator that counts what a stretch of a guest's
 * instructions does to its caches
 *
 * The stretch is what the guest executes, in user space and in the kernel, between
 * mark_begin() and mark_end() of bench/cost.h, two no-ops.  For each stretch one line is
 * appended to the file of the argument out=FILE:
 *
 *	touched atomics=N lines=N stored_lines=N
 *
 *	atomics		instructions with a lock prefix, and xchg with memory: they cost
 *			more if other CPUs have the line
 *	lines		distinct cache lines of 64 bytes that were loaded or stored, by
 *			their virtual addresses: a line with two addresses counts twice
 *	stored_lines	those of them that were stored to
 *
 * For one CPU: vm/run --icount.
 */
#include <err.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "qemu-plugin.h"

#define EXPORTED	__attribute__((visibility("default")))
#define LINE_BITS	6
#define SLOTS		(1U << 22)
#define MARK_SIZE	8

EXPORTED int qemu_plugin_version = 1;

/* A hash of lines.  A slot is in use if it is of the stretch that is counted. */
static struct slot {
	__u64 line;
	__u32 stretch;
	bool stored;
} slots[SLOTS];

static FILE *out;
static bool counting;
static __u32 stretch;
static __u64 atomics, lines, stored_lines;

static void begin(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	atomics = 0;
	lines = 0;
	stored_lines = 0;
	stretch++;
	counting = true;
}

static void end(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	if (!counting)
		return;
	counting = false;
	fprintf(out, "touched atomics=%llu lines=%llu stored_lines=%llu\n", atomics, lines,
		stored_lines);
	fflush(out);
}

static void count_atomic(unsigned int cpu, void *data)
{
	(void)cpu;
	(void)data;
	atomics += counting;
}

static void count_line(unsigned int cpu, __u32 info, __u64 addr, void *data)
{
	__u64 line = addr >> LINE_BITS;
	struct slot *slot;
	__u32 i;

	(void)cpu;
	(void)data;
	if (!counting)
		return;
	for (i = line * 0x9e3779b97f4a7c15ULL >> 42;; i++) {
		slot = &slots[i % SLOTS];
		if (slot->stretch != stretch || slot->line == line)
			break;
	}
	if (slot->stretch != stretch) {
		if (++lines > SLOTS / 2)
			errx(1, "touched: more than %u lines", SLOTS / 2);
		*slot = (struct slot){ .line = line, .stretch = stretch };
	}
	if (qemu_plugin_mem_is_store(info) && !slot->stored) {
		slot->stored = true;
		stored_lines++;
	}
}

/* A lock prefix, or an xchg that is not one of two registers. */
static bool is_atomic(const unsigned char *code, size_t size)
{
	size_t i;

	for (i = 0; i < size; i++) {
		if (code[i] == 0xf0)
			return true;
		/* Operand and address size, segments, rex */
		if (code[i] != 0x66 && code[i] != 0x67 && code[i] != 0x2e && code[i] != 0x36 &&
		    code[i] != 0x3e && code[i] != 0x26 && code[i] != 0x64 && code[i] != 0x65 &&
		    (code[i] & 0xf0) != 0x40)
			break;
	}
	return i + 1 < size && (code[i] == 0x86 || code[i] == 0x87) && code[i + 1] < 0xc0;
}

static void translate(__u64 id, struct qemu_plugin_tb *tb)
{
	static const unsigned char mark[] = { 0x0f, 0x1f, 0x84, 0x00, 'V', 'M', 'A' };
	size_t i;

	(void)id;
	for (i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const unsigned char *code = qemu_plugin_insn_data(insn);
		size_t size = qemu_plugin_insn_size(insn);

		if (size == MARK_SIZE && !memcmp(code, mark, sizeof(mark))) {
			qemu_plugin_register_vcpu_insn_exec_cb(insn, code[size - 1] ? end : begin,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
			continue;
		}
		if (is_atomic(code, size))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, count_atomic,
							       QEMU_PLUGIN_CB_NO_REGS, NULL);
		qemu_plugin_register_vcpu_mem_cb(insn, count_line, QEMU_PLUGIN_CB_NO_REGS,
						 QEMU_PLUGIN_MEM_RW, NULL);
	}
}

EXPORTED int qemu_plugin_install(__u64 id, const void *info, int argc, char **argv)
{
	(void)info;
	if (argc != 1 || strncmp(argv[0], "out=", 4)) {
		warnx("touched: the argument out=FILE is needed");
		return 1;
	}
	out = fopen(argv[0] + 4, "a");
	if (!out) {
		warn("touched: %s", argv[0] + 4);
		return 1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translate);
	return 0;
}
