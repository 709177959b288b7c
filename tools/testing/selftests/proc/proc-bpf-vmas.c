// SPDX-License-Identifier: GPL-2.0
/*
 * BPF's iterator over the VMAs of a task, which finds them as /proc/PID/maps does:
 * beside a process that changes some of its mappings without pause, each of the others
 * is shown, once and with its bounds.
 *
 * Needs a kernel with CONFIG_BPF_SYSCALL, CONFIG_BPF_JIT and CONFIG_DEBUG_INFO_BTF, else
 * it is skipped. Environment: DURATION=seconds beside that process (default 1).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../../../include/linux/filter.h"
#include "../kselftest_harness.h"

#define NR_UNITS 50
#define NR_RANGES 2000

/*
 * A unit of the target has a page of a file that is never touched, and three pages of
 * anonymous memory that are split, merged, unmapped and mapped again:
 *
 *	+------+ . . . +------+------+------+ . . .
 *	| file |  gap  | anonymous          |  gap
 *	+------+ . . . +------+------+------+ . . .
 */
#define UNIT_PAGES 6
#define UNIT_ANON 2

#define CALL_KERNEL(ID) \
	BPF_RAW_INSN(BPF_JMP | BPF_CALL, 0, BPF_PSEUDO_KFUNC_CALL, 0, ID)

struct range {
	__u64 start;
	__u64 end;
};

/* How many bytes follow a struct btf_type? */
static size_t btf_rest(const struct btf_type *t)
{
	size_t n = BTF_INFO_VLEN(t->info);

	switch (BTF_INFO_KIND(t->info)) {
	case BTF_KIND_INT:
	case BTF_KIND_VAR:
	case BTF_KIND_DECL_TAG:
		return 4;
	case BTF_KIND_ARRAY:
		return sizeof(struct btf_array);
	case BTF_KIND_STRUCT:
	case BTF_KIND_UNION:
		return n * sizeof(struct btf_member);
	case BTF_KIND_ENUM:
		return n * sizeof(struct btf_enum);
	case BTF_KIND_ENUM64:
		return n * sizeof(struct btf_enum64);
	case BTF_KIND_FUNC_PROTO:
		return n * sizeof(struct btf_param);
	case BTF_KIND_DATASEC:
		return n * sizeof(struct btf_var_secinfo);
	default:
		return 0;
	}
}

/* The id of a kernel function, 0 if it is not in @btf */
static int btf_function(const struct btf_header *btf, const char *name)
{
	const char *types = (const char *)btf + btf->hdr_len + btf->type_off;
	const char *strings = (const char *)btf + btf->hdr_len + btf->str_off;
	const char *at = types;
	int id = 0;

	while (at < types + btf->type_len) {
		const struct btf_type *t = (const struct btf_type *)at;

		id++;
		if (BTF_INFO_KIND(t->info) == BTF_KIND_FUNC &&
		    !strcmp(strings + t->name_off, name))
			return id;
		at += sizeof(*t) + btf_rest(t);
	}
	return 0;
}

static int bpf(int cmd, union bpf_attr *attr)
{
	return syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

FIXTURE(bpf)
{
	int map;
	int prog;
	pid_t pid;
	size_t page;
	char *area;
	int memfd;
	struct range ranges[NR_RANGES];
	int nr;
};

/*
 * A program that stores the bounds of each VMA of the process whose PID is its
 * context, and returns how many there are.
 */
static int load_iterator(int map, const struct btf_header *btf)
{
	static const char *const names[] = {
		"bpf_task_from_pid", "bpf_iter_task_vma_new", "bpf_iter_task_vma_next",
		"bpf_iter_task_vma_destroy", "bpf_task_release",
	};
	struct bpf_insn insns[] = {
		BPF_LDX_MEM(BPF_W, BPF_REG_1, BPF_REG_1, 0),
		CALL_KERNEL(btf_function(btf, names[0])),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 32),
		BPF_MOV64_REG(BPF_REG_7, BPF_REG_0),
		BPF_MOV64_IMM(BPF_REG_8, 0),

		BPF_MOV64_REG(BPF_REG_1, BPF_REG_10),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_1, -8),
		BPF_MOV64_REG(BPF_REG_2, BPF_REG_7),
		BPF_MOV64_IMM(BPF_REG_3, 0),
		CALL_KERNEL(btf_function(btf, names[1])),

		BPF_MOV64_REG(BPF_REG_1, BPF_REG_10),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_1, -8),
		CALL_KERNEL(btf_function(btf, names[2])),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 15),
		/* vm_start and vm_end are the first members */
		BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_0, 0),
		BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_1, -32),
		BPF_LDX_MEM(BPF_DW, BPF_REG_1, BPF_REG_0, 8),
		BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_1, -24),
		BPF_STX_MEM(BPF_W, BPF_REG_10, BPF_REG_8, -16),
		BPF_LD_MAP_FD(BPF_REG_1, map),		/* two of them */
		BPF_MOV64_REG(BPF_REG_2, BPF_REG_10),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, -16),
		BPF_MOV64_REG(BPF_REG_3, BPF_REG_10),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, -32),
		BPF_MOV64_IMM(BPF_REG_4, BPF_ANY),
		BPF_EMIT_CALL(BPF_FUNC_map_update_elem),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_8, 1),
		BPF_JMP_A(-19),

		BPF_MOV64_REG(BPF_REG_1, BPF_REG_10),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_1, -8),
		CALL_KERNEL(btf_function(btf, names[3])),
		BPF_MOV64_REG(BPF_REG_1, BPF_REG_7),
		CALL_KERNEL(btf_function(btf, names[4])),
		BPF_MOV64_REG(BPF_REG_0, BPF_REG_8),
		BPF_EXIT_INSN(),
	};
	static char log[1 << 20];
	union bpf_attr attr = {
		.prog_type = BPF_PROG_TYPE_SYSCALL,
		.insns = (uintptr_t)insns,
		.insn_cnt = ARRAY_SIZE(insns),
		.license = (uintptr_t)"GPL",
		.prog_flags = BPF_F_SLEEPABLE,
		.log_buf = (uintptr_t)log,
		.log_size = sizeof(log),
		.log_level = 1,
	};
	int fd = bpf(BPF_PROG_LOAD, &attr);

	if (fd < 0)
		fprintf(stderr, "# %s\n", log);
	return fd;
}

/* Let the program run, and fetch what it has found */
static void iterate(struct __test_metadata *_metadata,
		    struct _test_data_bpf *self)
{
	__u32 pid = self->pid;
	union bpf_attr attr = {
		.test.prog_fd = self->prog,
		.test.ctx_in = (uintptr_t)&pid,
		.test.ctx_size_in = sizeof(pid),
	};
	__u32 key;

	ASSERT_EQ(0, bpf(BPF_PROG_RUN, &attr));
	self->nr = attr.test.retval;
	ASSERT_LT(0, self->nr);
	ASSERT_GT(NR_RANGES, self->nr);
	for (key = 0; key < self->nr; key++) {
		attr = (union bpf_attr) {
			.map_fd = self->map,
			.key = (uintptr_t)&key,
			.value = (uintptr_t)&self->ranges[key],
		};
		ASSERT_EQ(0, bpf(BPF_MAP_LOOKUP_ELEM, &attr));
	}
}

static void target_change(char *area, size_t page)
{
	size_t len = 3 * page;
	int prot = PROT_READ | PROT_WRITE;
	char *anon;
	int i;

	for (i = 0; ; i = (i + 1) % NR_UNITS) {
		anon = area + (i * UNIT_PAGES + UNIT_ANON) * page;
		if (mprotect(anon + page, page, PROT_READ) ||
		    mprotect(anon + page, page, prot) ||
		    munmap(anon, len) ||
		    mmap(anon, len, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			 -1, 0) != anon)
			_exit(1);
	}
}

FIXTURE_SETUP(bpf)
{
	union bpf_attr attr = {
		.map_type = BPF_MAP_TYPE_ARRAY,
		.key_size = sizeof(__u32),
		.value_size = sizeof(struct range),
		.max_entries = NR_RANGES,
	};
	struct btf_header *btf;
	struct stat st;
	off_t got;
	ssize_t n;
	char *at;
	int i, fd;

	fd = open("/sys/kernel/btf/vmlinux", O_RDONLY);
	if (fd < 0 && errno == ENOENT)
		SKIP(return, "no BTF in this kernel");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, fstat(fd, &st));
	btf = malloc(st.st_size);
	ASSERT_NE(NULL, btf);
	for (got = 0; got < st.st_size; got += n) {
		n = read(fd, (char *)btf + got, st.st_size - got);
		ASSERT_LT(0, n);
	}
	close(fd);

	self->map = bpf(BPF_MAP_CREATE, &attr);
	ASSERT_LE(0, self->map);
	self->prog = load_iterator(self->map, btf);
	ASSERT_LE(0, self->prog);
	free(btf);

	self->page = sysconf(_SC_PAGESIZE);
	self->memfd = memfd_create("proc-bpf-vmas", 0);
	ASSERT_LE(0, self->memfd);
	ASSERT_EQ(0, ftruncate(self->memfd, self->page));
	self->area = mmap(NULL, NR_UNITS * UNIT_PAGES * self->page, PROT_NONE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->area);
	ASSERT_EQ(0, munmap(self->area, NR_UNITS * UNIT_PAGES * self->page));
	for (i = 0; i < NR_UNITS; i++) {
		at = self->area + i * UNIT_PAGES * self->page;
		ASSERT_EQ(at, mmap(at, self->page, PROT_READ, MAP_SHARED |
				   MAP_FIXED_NOREPLACE, self->memfd, 0));
		at += UNIT_ANON * self->page;
		ASSERT_EQ(at, mmap(at, 3 * self->page, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS |
				   MAP_FIXED_NOREPLACE, -1, 0));
	}
	self->pid = getpid();
}

FIXTURE_TEARDOWN(bpf)
{
	if (self->pid != getpid() && self->pid) {
		kill(self->pid, SIGKILL);
		waitpid(self->pid, NULL, 0);
	}
}

/* All VMAs of a process that does nothing, as in maps, but for the gate VMA. */
TEST_F(bpf, same_as_maps)
{
	struct range range;
	char line[1000];
	int n = 0, ret;
	FILE *maps;

	maps = fopen("/proc/self/maps", "r");
	ASSERT_NE(NULL, maps);
	iterate(_metadata, self);
	while (fgets(line, sizeof(line), maps)) {
		ret = sscanf(line, "%llx-%llx", &range.start, &range.end);
		ASSERT_EQ(2, ret);
		if (strstr(line, "[vsyscall]"))
			continue;
		ASSERT_GT(self->nr, n);
		EXPECT_EQ(range.start, self->ranges[n].start);
		EXPECT_EQ(range.end, self->ranges[n].end);
		n++;
	}
	EXPECT_EQ(self->nr, n);
	fclose(maps);
}

/* What the process does not change is all there, in order. */
TEST_F(bpf, beside_changes)
{
	const char *duration = getenv("DURATION");
	unsigned long passes = 0;
	struct timespec now;
	__u64 at, last;
	time_t end;
	int i, unit;

	self->pid = fork();
	ASSERT_LE(0, self->pid);
	if (!self->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		target_change(self->area, self->page);
	}

	clock_gettime(CLOCK_MONOTONIC, &now);
	end = now.tv_sec + (duration ? atoi(duration) : 1);
	do {
		iterate(_metadata, self);
		last = 0;
		unit = 0;
		for (i = 0; i < self->nr; i++) {
			/* It may begin below: it has merged with the one before */
			ASSERT_LT(last, self->ranges[i].end);
			ASSERT_LT(self->ranges[i].start, self->ranges[i].end);
			last = self->ranges[i].end;
			at = (uintptr_t)self->area + unit * UNIT_PAGES * self->page;
			if (unit == NR_UNITS || self->ranges[i].start != at)
				continue;
			EXPECT_EQ(at + self->page, last);
			unit++;
		}
		ASSERT_EQ(NR_UNITS, unit) {
			TH_LOG("page %d of the file is missing in pass %lu",
			       unit, passes);
		}
		passes++;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec <= end);

	/* The process has lived until now */
	EXPECT_EQ(0, waitpid(self->pid, NULL, WNOHANG));
	TH_LOG("%lu passes", passes);
}

TEST_HARNESS_MAIN
