// SPDX-License-Identifier: GPL-2.0
/*
 * procmap_query: find the VMAs at addresses of a process the way a symbolizer
 * does, with the PROCMAP_QUERY ioctl of /proc/PID/maps, and check and measure
 * that against parsing the text of the same file.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64		/* inode numbers, offsets in /proc/PID/mem */
#define __SANE_USERSPACE_TYPES__	/* __u64 is unsigned long long */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <linux/elf.h>

#include "../include/uapi/linux/fs.h"

#define READ_SIZE	(128 * 1024)
#define BUILD_ID_MAX	64
#define BUILD_ID_NOTE	3	/* NT_GNU_BUILD_ID */
#define NO_VMA		SIZE_MAX
#define NO_PID		LONG_MIN
#define NO_ADDRESS	UINT64_MAX

#define warn(fmt, ...)	fprintf(stderr, "procmap_query: " fmt "\n", ##__VA_ARGS__)
#define die(fmt, ...)					\
	do {						\
		warn(fmt, ##__VA_ARGS__);		\
		exit(STATUS_ERROR);			\
	} while (0)

enum status {
	STATUS_OK,
	STATUS_NO_VMA,
	STATUS_DISAGREE,
	STATUS_ERROR,
};

struct vma {
	struct procmap_query q;
	char *name;		/* "" if there is none; "\n" is "\012", as in the text */
	unsigned char build_id[BUILD_ID_MAX];
};

/* One of the two ways to find VMAs. The figures are totals of all rounds. */
struct pass {
	bool build_ids;		/* ask for them */
	int fd;			/* of /proc/PID/maps */
	struct vma *vmas;
	size_t nr;
	size_t max;
	size_t *found;		/* index in @vmas, or NO_VMA, for each of @sorted */
	__u64 ns;
	size_t calls;
	size_t bytes;
};

static int pid;
static bool json;
static __u64 filter;		/* flags of PROCMAP_QUERY that a VMA must have */

/* The addresses as given, and in ascending order. */
static __u64 *input;
static __u64 *sorted;
static size_t nr_input;
static size_t max_input;

/* What is left out of the input. */
static size_t nr_kernel;
static size_t nr_other;		/* addresses of other processes */
static size_t nr_bad;		/* lines that are not understood */
static bool callchains;		/* the input has some */

static const char help[] =
"NAME\n"
"    procmap_query - find the VMAs at addresses of a process\n"
"\n"
"SYNOPSIS\n"
"    procmap_query [OPTION]... PID [ADDRESS]...\n"
"\n"
"DESCRIPTION\n"
"    Does the first step of a symbolizer: finds the VMAs (mappings) of process PID\n"
"    at the ADDRESSes, which are hexadecimal with or without 0x. They come from\n"
"    the command line, --addresses or --perf, else from standard input.\n"
"\n"
"    Without --lookup, all addresses are looked up twice: in the text of\n"
"    /proc/PID/maps, and with the PROCMAP_QUERY ioctl on that file. Each\n"
"    disagreement is printed, with both answers, then what each way took, then the\n"
"    number of addresses that agree and disagree.\n"
"\n"
"OPTIONS\n"
"    -f, --addresses FILE\n"
"        Read FILE (- is standard input), with ADDRESS or PID ADDRESS on a line,\n"
"        PID in decimal. Addresses of other PIDs are left out and counted. Empty\n"
"        lines and what follows a # are ignored.\n"
"    -p, --perf FILE\n"
"        Read FILE (- is standard input), the output of perf script -F pid,ip, with\n"
"        or without (-G) call chains; see NOTES for perf 6.1. Addresses of other\n"
"        PIDs and of the kernel are left out and counted. Inlined frames are\n"
"        ignored: they have the address of the frame that follows.\n"
"    -l, --lookup\n"
"        Find the VMAs once, and print a line for each address, in the order given:\n"
"            ADDRESS START-END PERMS OFFSET ELF-ADDRESS PATH BUILD-ID\n"
"        OFFSET is that of the address in the file. ELF-ADDRESS is what the program\n"
"        headers of the file make of OFFSET: symbol tables have such addresses. A\n"
"        field that does not apply, or needs a file that cannot be read, is -. An\n"
"        address in no VMA gives ADDRESS - only. PATH can have spaces; a newline in\n"
"        it is \\012, like in /proc/PID/maps.\n"
"    -x, --executable\n"
"    -b, --file-backed\n"
"        Find only VMAs that are executable, that map a file, or (with both) both.\n"
"    -j, --json\n"
"        With --lookup, print a JSON object on each line: address, vma_start,\n"
"        vma_end, perms, offset, elf_address, path, build_id, each a string\n"
"        (numbers as \"0x7f00\") or null. In paths, each byte that is not part of\n"
"        valid UTF-8 becomes \\ufffd.\n"
"    -n, --repeat N\n"
"        Without --lookup, look up N times (default 1). What a way took is the mean.\n"
"    -h, --help\n"
"        Print this text.\n"
"\n"
"EXIT STATUS\n"
"    0   done; in a comparison, no disagreement\n"
"    1   --lookup: an address is in no VMA\n"
"    2   comparison: the two ways disagree\n"
"    3   error, told on standard error. Lines of FILE that are not understood are\n"
"        counted there, and the other lines are looked up all the same.\n"
"\n"
"EXAMPLES\n"
"    Look up two addresses of process 1234:\n"
"        procmap_query --lookup 1234 7f3c1a2b4c5d 0x55d0c0de1000\n"
"    Text against ioctl, for the start of each VMA:\n"
"        cut -d- -f1 /proc/1234/maps | procmap_query --repeat 100 1234\n"
"    Profile a process and look up the samples while it still runs:\n"
"        perf record --pid 1234 -- sleep 10\n"
"        perf script -G -F pid,ip | procmap_query --lookup --perf - 1234\n"
"\n"
"NOTES\n"
"    Both ways take the addresses sorted. The ioctl is called once for each VMA\n"
"    found, and for one after a gap that addresses lie in. The text is read up to\n"
"    the last address; of most lines only the range is parsed. Time is in\n"
"    microseconds of CLOCK_MONOTONIC: system calls, parsing, finding, copying\n"
"    names, but not sorting. Calls are open(), read() and ioctl() of\n"
"    /proc/PID/maps. Bytes are what the kernel returned. A comparison asks for no\n"
"    build IDs, as the text has none.\n"
"\n"
"    If the process maps or unmaps memory meanwhile, the two ways can disagree and\n"
"    both be right; nothing is tried again. kill -STOP it for an exact comparison.\n"
"\n"
"    The gate VMA ([vsyscall] on x86, [vectors] on arm) is in the text, but not in\n"
"    the process: an address there is in no VMA. A path too long for the ioctl\n"
"    (PATH_MAX) is - in --lookup, and a disagreement in a comparison.\n"
"\n"
"    PIDs are process IDs, as perf prints them, not thread IDs. In call chains perf\n"
"    6.1, which Debian 12 has, prints offsets in files, which cannot be looked up,\n"
"    instead of addresses. With -G it prints addresses.\n"
"\n"
"    Before Linux 6.11, which brought the ioctl, --lookup parses the text, and there\n"
"    is no comparison. See also proc(5), perf-script(1) and linux/fs.h.\n";

static void *grow(void *array, size_t need, size_t *max, size_t size)
{
	if (need <= *max)
		return array;
	*max = 2 * need;
	array = reallocarray(array, *max, size);
	if (!array)
		die("out of memory");
	return array;
}

static void *alloc(size_t nr, size_t size)
{
	size_t max = 0;

	return grow(NULL, nr, &max, size);
}

/* A copy of @name with each newline as "\012". */
static char *copy_name(const char *name)
{
	char *copy = alloc(4 * strlen(name) + 1, 1), *end = copy;

	for (; *name; name++) {
		if (*name == '\n')
			end = stpcpy(end, "\\012");
		else
			*end++ = *name;
	}
	*end = '\0';
	return copy;
}

/* Addresses */

static void add_address(__u64 addr)
{
	input = grow(input, nr_input + 1, &max_input, sizeof(*input));
	input[nr_input++] = addr;
}

static bool parse_address(const char *s, __u64 *addr)
{
	char *end;

	errno = 0;
	*addr = strtoull(s, &end, 16);
	return isxdigit((unsigned char)*s) && !*end && !errno;
}

/* perf has -1 for a sample whose process is not known. */
static bool parse_pid(const char *s, long *value)
{
	char *end;
	long number = strtol(s, &end, 10);

	if (!isdigit((unsigned char)s[*s == '-']) || *end || number > INT_MAX)
		return false;
	*value = number;
	return true;
}

/*
 * The highest address of user space. A kernel of 64 bits has bit 63 set in its own
 * addresses. With one of 32 bits, stacks are in the last 16 MiB of user space, and
 * these are not the last of the 4 GiB.
 */
static __u64 user_max(void)
{
	unsigned long top = (uintptr_t)__builtin_frame_address(0) | 0xffffff;

	return sizeof(top) == 4 && top != ULONG_MAX ? top : INT64_MAX;
}

/*
 * Returns false if @line is not understood. perf script -F pid,ip prints a sample
 * as "%7d  %16lx"; one with a call chain as "%7d ", then frames "\t%16lx", then an
 * empty line. With other fields there are more words, or a blank at the end.
 */
static bool parse_line(char *line, bool perf)
{
	static long chain_pid = NO_PID;
	bool frame = perf && *line == '\t';
	bool header = perf && *line && line[strlen(line) - 1] == ' ';
	char *words[3] = { NULL };
	long line_pid;
	__u64 addr;
	int n = 0;

	if (!frame)
		chain_pid = NO_PID;
	line_pid = frame ? chain_pid : pid;
	line[strcspn(line, "#")] = '\0';
	while (n < 3 && (words[n] = strtok(n ? NULL : line, " \t")))
		n++;
	if (!n || (frame && n == 2 && !strcmp(words[1], "(inlined)")))
		return true;
	if (header) {
		callchains = true;
		return n == 1 && parse_pid(words[0], &chain_pid);
	}
	if (n == 2 && !frame ? !parse_pid(words[0], &line_pid) :
	    n != 1 || frame != perf || line_pid == NO_PID)
		return false;
	if (!parse_address(words[n - 1], &addr))
		return false;
	if (line_pid != pid)
		nr_other++;
	else if (perf && addr > user_max())
		nr_kernel++;
	else
		add_address(addr);
	return true;
}

static void read_addresses(const char *name, bool perf)
{
	bool is_stdin = !strcmp(name, "-");
	FILE *file = is_stdin ? stdin : fopen(name, "r");
	size_t max = 0, nr = 0, first_bad = 0;
	char *line = NULL;
	ssize_t len;

	if (is_stdin)
		name = "standard input";
	if (!file)
		die("cannot open %s: %s", name, strerror(errno));
	while ((len = getline(&line, &max, file)) > 0) {
		nr++;
		if (line[len - 1] == '\n')
			line[--len] = '\0';
		if (len && line[len - 1] == '\r')
			line[--len] = '\0';
		if (strlen(line) == (size_t)len && parse_line(line, perf))
			continue;
		if (!nr_bad++)
			first_bad = nr;
	}
	if (ferror(file))
		die("cannot read %s: %s", name, strerror(errno));
	free(line);
	if (nr_kernel || nr_other)
		warn("left out %zu addresses of the kernel, %zu of other processes", nr_kernel,
		     nr_other);
	if (nr_bad)
		warn("%zu lines of %s are not understood; the first is line %zu", nr_bad, name,
		     first_bad);
	if (!nr_input)
		die("no addresses of process %d in %s", pid, name);
}

static int compare_addresses(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

static void sort_addresses(void)
{
	sorted = alloc(nr_input, sizeof(*sorted));
	memcpy(sorted, input, nr_input * sizeof(*sorted));
	qsort(sorted, nr_input, sizeof(*sorted), compare_addresses);
}

/* System calls on /proc/PID/maps, counted */

static int open_proc(const char *file)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* An open maps shows the memory that the process had at the open(), or nothing. */
static void die_without_memory(void)
{
	int fd = open_proc("maps");
	char c;

	if (fd >= 0 && read(fd, &c, 1) == 1)
		die("process %d has called execve() meanwhile: it runs another program", pid);
	die("process %d has no memory: it is a kernel thread, or has exited", pid);
}

static void maps_open(struct pass *p)
{
	memset(p->found, 0xff, nr_input * sizeof(*p->found));	/* NO_VMA */
	p->calls++;
	p->fd = open_proc("maps");
	if (p->fd >= 0)
		return;
	if (errno == ENOENT)
		die("no process %d", pid);
	if (errno == ESRCH)
		die_without_memory();
	if (errno == EACCES || errno == EPERM)
		die("no permission for /proc/%d/maps: be root or its user; see ptrace(2)", pid);
	die("cannot open /proc/%d/maps: %s", pid, strerror(errno));
}

static size_t maps_read(struct pass *p, char *buf, size_t size)
{
	ssize_t len;

	p->calls++;
	len = read(p->fd, buf, size);
	if (len < 0 && errno == ESRCH)
		die_without_memory();
	if (len < 0)
		die("cannot read /proc/%d/maps: %s", pid, strerror(errno));
	p->bytes += len;
	return len;
}

/* Returns 0 or the error. */
static int maps_query(struct pass *p, struct procmap_query *q)
{
	p->calls++;
	if (ioctl(p->fd, PROCMAP_QUERY, q))
		return errno;
	p->bytes += sizeof(*q) + q->vma_name_size + q->build_id_size;
	return 0;
}

static struct vma *new_vma(struct pass *p, const struct procmap_query *q)
{
	struct vma *vma;

	p->vmas = grow(p->vmas, p->nr + 1, &p->max, sizeof(*p->vmas));
	vma = &p->vmas[p->nr++];
	memset(vma, 0, sizeof(*vma));
	vma->q = *q;
	return vma;
}

static const struct vma *vma_at(const struct pass *p, size_t i)
{
	return p->found[i] == NO_VMA ? NULL : &p->vmas[p->found[i]];
}

/* Addresses from @i on that are in @q are in VMA @v. Returns the first one after @q. */
static size_t set_found(struct pass *p, size_t i, const struct procmap_query *q, size_t v)
{
	for (; i < nr_input && sorted[i] < q->vma_end; i++)
		p->found[i] = sorted[i] < q->vma_start ? NO_VMA : v;
	return i;
}

/* The text */

/* Parse a number, and the character after it. Faster than strtoull(). */
static __u64 parse_hex(char **s, char after)
{
	unsigned int digit;
	__u64 value = 0;

	for (;; ++*s) {
		digit = **s <= '9' ? **s - '0' : **s - 'a' + 10;
		if (digit > 15)
			break;
		value = value << 4 | digit;
	}
	if (*(*s)++ != after)
		die("/proc/%d/maps is not understood", pid);
	return value;
}

static bool has_file(const struct procmap_query *q)
{
	return q->inode || q->dev_major || q->dev_minor;
}

/* PROCMAP_QUERY does not report the gate VMA, which is in no process. */
static bool matches(const struct procmap_query *q, const char *name)
{
	return strcmp(name, "[vsyscall]") && strcmp(name, "[vectors]") &&
	       (!(filter & PROCMAP_QUERY_VMA_EXECUTABLE) ||
		q->vma_flags & PROCMAP_QUERY_VMA_EXECUTABLE) &&
	       (!(filter & PROCMAP_QUERY_FILE_BACKED_VMA) || has_file(q));
}

/*
 * Find the addresses from @i on that are below the end of a line's range. Returns
 * the first one that is not. A line is
 * start-end perms offset major:minor inode, and after spaces the name.
 */
static size_t text_line(struct pass *p, char *s, size_t i)
{
	struct procmap_query q = { 0 };
	size_t v = NO_VMA;
	int bit;

	q.vma_start = parse_hex(&s, '-');
	q.vma_end = parse_hex(&s, ' ');
	if (i == nr_input || sorted[i] >= q.vma_end)
		return i;
	for (bit = 0; bit < 4; bit++)
		q.vma_flags |= (s[bit] == "rwxs"[bit]) << bit;
	s += 5;
	q.vma_offset = parse_hex(&s, ' ');
	q.dev_major = parse_hex(&s, ':');
	q.dev_minor = parse_hex(&s, ' ');
	q.inode = strtoull(s, &s, 10);
	s += strspn(s, " ");
	if (matches(&q, s)) {
		v = p->nr;
		new_vma(p, &q)->name = copy_name(s);
	}
	return set_found(p, i, &q, v);
}

static bool text_pass(struct pass *p)
{
	static char text[READ_SIZE];
	char *line, *end, c;
	size_t i = 0, len = 0, n;

	while (i < nr_input && (n = maps_read(p, text + len, sizeof(text) - len))) {
		len += n;
		for (line = text; (end = memchr(line, '\n', text + len - line)); line = end + 1) {
			*end = '\0';
			i = text_line(p, line, i);
		}
		len = text + len - line;
		memmove(text, line, len);
	}
	/* If the memory has gone meanwhile, the text has just ended early. */
	if (i < nr_input && pread(p->fd, &c, 1, 0) != 1)
		die_without_memory();
	return true;
}

/* The ioctl */

/*
 * Add the VMA at or above @addr to @p. Returns 0 or the error: ENOENT if there is
 * none, ENOTTY if the kernel has no PROCMAP_QUERY.
 */
static int query_vma(struct pass *p, __u64 addr)
{
	char name[PATH_MAX];
	unsigned char id[BUILD_ID_MAX];
	struct procmap_query q = {
		.size = sizeof(q),
		.query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA | filter,
		.query_addr = addr,
		.vma_name_size = sizeof(name),
		.vma_name_addr = (uintptr_t)name,
		.build_id_size = p->build_ids ? sizeof(id) : 0,
		.build_id_addr = p->build_ids ? (uintptr_t)id : 0,
	};
	struct vma *vma;
	int err = maps_query(p, &q);

	if (err == ENAMETOOLONG) {
		q.vma_name_size = 0;
		q.vma_name_addr = 0;
		err = maps_query(p, &q);
	}
	if (err == ENOENT || err == ENOTTY)
		return err;
	if (err == ESRCH)
		die_without_memory();
	if (err)
		die("PROCMAP_QUERY at %llx: %s", addr, strerror(err));
	vma = new_vma(p, &q);
	vma->name = copy_name(q.vma_name_size ? name : "");
	memcpy(vma->build_id, id, q.build_id_size);
	return 0;
}

/* Returns false if the kernel has no PROCMAP_QUERY. */
static bool ioctl_pass(struct pass *p)
{
	size_t i = 0;
	int err = 0;

	while (i < nr_input && !(err = query_vma(p, sorted[i])))
		i = set_found(p, i, &p->vmas[p->nr - 1].q, p->nr - 1);
	return err != ENOTTY;
}

/* The ELF file of a VMA */

static bool read_at(int fd, void *buf, size_t size, __u64 pos)
{
	return pread(fd, buf, size, pos) == (ssize_t)size;
}

static bool is_vdso(const struct vma *vma)
{
	return !strcmp(vma->name, "[vdso]");
}

/* Returns a descriptor or -1, and where in it the file begins. */
static int open_elf(const struct vma *vma, __u64 *base)
{
	char path[PATH_MAX + 32];
	struct stat st;
	int i;

	*base = 0;
	if (is_vdso(vma)) {
		*base = vma->q.vma_start;
		return open_proc("mem");
	}
	/* The first also has deleted files, but may need CAP_CHECKPOINT_RESTORE. */
	for (i = 0; i < 2; i++) {
		if (!i)
			snprintf(path, sizeof(path), "/proc/%d/map_files/%llx-%llx", pid,
				 vma->q.vma_start, vma->q.vma_end);
		else
			snprintf(path, sizeof(path), "/proc/%d/root%s", pid, vma->name);
		/* The open() of a device may have side effects; stat() has none. */
		if (!stat(path, &st) && S_ISREG(st.st_mode) && st.st_ino == vma->q.inode)
			return open(path, O_RDONLY | O_CLOEXEC);
	}
	return -1;
}

/* Look for the build ID in the notes from @pos to @end. */
static void read_notes(struct vma *vma, int fd, __u64 pos, __u64 end)
{
	struct elf64_note note;		/* same as struct elf32_note */
	char name[4];
	__u64 desc;

	while (pos < end && read_at(fd, &note, sizeof(note), pos)) {
		desc = pos + sizeof(note) + (note.n_namesz + 3ULL) / 4 * 4;
		if (note.n_type == BUILD_ID_NOTE && note.n_namesz == sizeof(name) &&
		    note.n_descsz <= BUILD_ID_MAX &&
		    read_at(fd, name, sizeof(name), pos + sizeof(note)) &&
		    !memcmp(name, "GNU", sizeof(name)) &&
		    read_at(fd, vma->build_id, note.n_descsz, desc)) {
			vma->q.build_id_size = note.n_descsz;
			return;
		}
		pos = desc + (note.n_descsz + 3ULL) / 4 * 4;
	}
}

/*
 * Fill in the ELF addresses of sorted[i], i from @begin to @end, which lie in @vma,
 * and its build ID if the ioctl has not given it. There are none if the file cannot
 * be read or is no ELF file.
 */
static void read_elf(struct vma *vma, size_t begin, size_t end, __u64 *elf_address)
{
	union { struct elf32_hdr e32; struct elf64_hdr e64; } eh;
	union { struct elf32_phdr e32; struct elf64_phdr e64; } ph;
	__u64 base, phoff, offset, filesz, in_segment;
	int n, phnum, fd = open_elf(vma, &base);
	size_t i, size;
	bool is64;

	if (fd < 0)
		return;
	if (!read_at(fd, &eh, sizeof(eh), base) || memcmp(eh.e32.e_ident, ELFMAG, SELFMAG))
		goto out;
	is64 = eh.e32.e_ident[EI_CLASS] == ELFCLASS64;
	phoff = base + (is64 ? eh.e64.e_phoff : eh.e32.e_phoff);
	phnum = is64 ? eh.e64.e_phnum : eh.e32.e_phnum;
	size = is64 ? sizeof(ph.e64) : sizeof(ph.e32);
	for (n = 0; n < phnum && read_at(fd, &ph, size, phoff + n * size); n++) {
		offset = is64 ? ph.e64.p_offset : ph.e32.p_offset;
		filesz = is64 ? ph.e64.p_filesz : ph.e32.p_filesz;
		/* The type is the first word of both. */
		if (ph.e32.p_type == PT_NOTE && !vma->q.build_id_size)
			read_notes(vma, fd, base + offset, base + offset + filesz);
		for (i = begin; ph.e32.p_type == PT_LOAD && i < end; i++) {
			in_segment = vma->q.vma_offset + sorted[i] - vma->q.vma_start - offset;
			if (in_segment < filesz)
				elf_address[i] = in_segment +
					(is64 ? ph.e64.p_vaddr : ph.e32.p_vaddr);
		}
	}
out:
	close(fd);
}

/* Lookup */

/* The length of the UTF-8 character at @s, 0 if there is none. */
static size_t utf8_length(const unsigned char *s)
{
	static const unsigned int least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t i, len = *s >= 0xf0 ? 4 : *s >= 0xe0 ? 3 : 2;
	unsigned int c = *s & (0xff >> (len + 1));

	if (*s < 0x80)
		return 1;
	if (*s < 0xc0 || *s > 0xf4)
		return 0;
	for (i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3f);
	}
	return c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) ? 0 : len;
}

static void print_json_string(const char *string)
{
	const unsigned char *s = (const unsigned char *)string;
	size_t len;

	putchar('"');
	for (; *s; s += len) {
		len = utf8_length(s);
		if (!len) {
			fputs("\\ufffd", stdout);
			len = 1;
		} else if (*s < 0x20 || *s == 0x7f) {
			printf("\\u%04x", *s);
		} else {
			if (*s == '"' || *s == '\\')
				putchar('\\');
			fwrite(s, len, 1, stdout);
		}
	}
	putchar('"');
}

static const char *perms(const struct vma *vma)
{
	static char buf[5];
	int i;

	for (i = 0; i < 4; i++)
		buf[i] = vma->q.vma_flags & (1 << i) ? "rwxs"[i] : "---p"[i];
	return buf;
}

static void print_lookup(__u64 addr, const struct vma *vma, __u64 elf_address)
{
	static const char * const keys[] = {
		"address", "vma_start", "vma_end", "perms", "offset", "elf_address", "path",
		"build_id"
	};
	char hex[6][20], id[2 * BUILD_ID_MAX + 1];
	const char *values[8] = { hex[0] };
	const char *fmt = json ? "0x%llx" : "%08llx";
	unsigned int i;

	sprintf(hex[0], json ? fmt : "%llx", addr);
	if (vma) {
		const struct procmap_query *q = &vma->q;

		sprintf(hex[1], fmt, q->vma_start);
		sprintf(hex[2], fmt, q->vma_end);
		sprintf(hex[4], fmt, q->vma_offset + addr - q->vma_start);
		sprintf(hex[5], fmt, elf_address);
		for (i = 0; i < q->build_id_size; i++)
			sprintf(id + 2 * i, "%02x", vma->build_id[i]);
		values[1] = hex[1];
		values[2] = hex[2];
		values[3] = perms(vma);
		if (has_file(q) || is_vdso(vma))
			values[4] = hex[4];
		values[5] = elf_address == NO_ADDRESS ? NULL : hex[5];
		values[6] = *vma->name ? vma->name : NULL;
		values[7] = q->build_id_size ? id : NULL;
	}
	for (i = 0; i < (json || vma ? 8 : 2); i++) {
		if (json)
			printf("%c\"%s\":", i ? ',' : '{', keys[i]);
		else if (i)
			putchar(i == 2 ? '-' : ' ');
		if (json && values[i])
			print_json_string(values[i]);
		else
			fputs(values[i] ? values[i] : json ? "null" : "-", stdout);
	}
	puts(json ? "}" : "");
}

static enum status lookup(void)
{
	__u64 *elf_address = alloc(nr_input, sizeof(*elf_address));
	struct pass p = { .build_ids = true, .found = alloc(nr_input, sizeof(*p.found)) };
	size_t i, begin, unmapped = 0;

	maps_open(&p);
	if (!ioctl_pass(&p))
		text_pass(&p);
	close(p.fd);
	for (begin = 0; begin < nr_input; begin = i) {
		for (i = begin; i < nr_input && p.found[i] == p.found[begin]; i++)
			elf_address[i] = NO_ADDRESS;
		if (p.found[begin] != NO_VMA)
			read_elf(&p.vmas[p.found[begin]], begin, i, elf_address);
	}
	for (i = 0; i < nr_input; i++) {
		const __u64 *at = bsearch(&input[i], sorted, nr_input, sizeof(*sorted),
					  compare_addresses);
		const struct vma *vma = vma_at(&p, at - sorted);

		unmapped += !vma;
		print_lookup(input[i], vma, elf_address[at - sorted]);
	}
	if (callchains && unmapped > nr_input / 2)
		warn("most addresses are in no VMA: see in --help which perf prints offsets");
	return unmapped ? STATUS_NO_VMA : STATUS_OK;
}

/* Comparison */

static bool same_vma(const struct vma *text, const struct vma *query)
{
	const struct procmap_query *a = &text->q, *b = &query->q;

	return a->vma_start == b->vma_start && a->vma_end == b->vma_end &&
	       a->vma_flags == b->vma_flags && a->vma_offset == b->vma_offset &&
	       a->dev_major == b->dev_major && a->dev_minor == b->dev_minor &&
	       a->inode == b->inode && !strcmp(text->name, query->name);
}

static void print_answer(const char *method, const struct vma *vma)
{
	if (vma)
		printf("  %-5s %08llx-%08llx %s %08llx %02x:%02x %llu %s\n", method,
		       vma->q.vma_start, vma->q.vma_end, perms(vma), vma->q.vma_offset,
		       vma->q.dev_major, vma->q.dev_minor, vma->q.inode, vma->name);
	else
		printf("  %-5s no VMA\n", method);
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void run(struct pass *p, bool (*find)(struct pass *p))
{
	__u64 begin;

	while (p->nr)
		free(p->vmas[--p->nr].name);
	begin = now_ns();
	maps_open(p);
	if (!find(p))
		die("this kernel has no PROCMAP_QUERY (Linux 6.11 has it): use --lookup");
	p->ns += now_ns() - begin;
	close(p->fd);
}

static void print_row(const char *method, const struct pass *p, double rounds)
{
	printf("%-6s %12.1f %10.1f %12.1f\n", method, p->ns / rounds / 1000,
	       p->calls / rounds, p->bytes / rounds);
}

static enum status compare(int rounds)
{
	struct pass text = { .found = alloc(nr_input, sizeof(*text.found)) };
	struct pass query = { .found = alloc(nr_input, sizeof(*query.found)) };
	size_t i, agree = 0, unmapped = 0, disagree = 0;
	int round;

	for (round = 0; round < rounds; round++) {
		run(&text, text_pass);
		run(&query, ioctl_pass);
		for (i = 0; i < nr_input; i++) {
			const struct vma *a = vma_at(&text, i), *b = vma_at(&query, i);

			if (a && b ? same_vma(a, b) : a == b) {
				agree++;
				unmapped += !a;
				continue;
			}
			disagree++;
			printf("disagree: %llx\n", sorted[i]);
			print_answer("text", a);
			print_answer("ioctl", b);
		}
	}
	printf("%-6s %12s %10s %12s\n", "method", "time/us", "calls", "bytes");
	print_row("text", &text, rounds);
	print_row("ioctl", &query, rounds);
	printf("agree: %zu addresses, %zu of them in no VMA; disagree: %zu\n", agree, unmapped,
	       disagree);
	return disagree ? STATUS_DISAGREE : STATUS_OK;
}

/* The command line */

static int parse_count(const char *s, const char *what)
{
	char *end;
	long long value = strtoll(s, &end, 10);

	if (!isdigit((unsigned char)*s) || *end || value < 1 || value > INT_MAX)
		die("bad %s '%s': must be a number from 1 to %d", what, s, INT_MAX);
	return value;
}

static void get_addresses(char **args, const char *file, bool perf)
{
	__u64 addr;

	if (*args && file)
		die("addresses come from arguments or from a file, not from both");
	if (!*args && !file) {
		if (isatty(STDIN_FILENO))
			die("no addresses; --help tells how to give some");
		file = "-";
	}
	if (file)
		read_addresses(file, perf);
	for (; *args; args++) {
		if (!parse_address(*args, &addr))
			die("bad address '%s'", *args);
		add_address(addr);
	}
	sort_addresses();
}

static enum status finish(enum status status)
{
	if (ferror(stdout) || fclose(stdout))
		die("cannot write the output: %s", strerror(errno));
	return nr_bad ? STATUS_ERROR : status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "addresses", required_argument, NULL, 'f' },
		{ "perf", required_argument, NULL, 'p' },
		{ "lookup", no_argument, NULL, 'l' },
		{ "executable", no_argument, NULL, 'x' },
		{ "file-backed", no_argument, NULL, 'b' },
		{ "json", no_argument, NULL, 'j' },
		{ "repeat", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	bool only_lookup = false, perf = false;
	const char *file = NULL;
	int opt, rounds = 0;

	argv[0] = program_invocation_short_name;
	while ((opt = getopt_long(argc, argv, "f:p:lxbjn:h", options, NULL)) != -1) {
		switch (opt) {
		case 'f':
		case 'p':
			if (file)
				die("--addresses and --perf: give one of them, and once");
			file = optarg;
			perf = opt == 'p';
			break;
		case 'l':
			only_lookup = true;
			break;
		case 'x':
			filter |= PROCMAP_QUERY_VMA_EXECUTABLE;
			break;
		case 'b':
			filter |= PROCMAP_QUERY_FILE_BACKED_VMA;
			break;
		case 'j':
			json = true;
			break;
		case 'n':
			rounds = parse_count(optarg, "number of rounds");
			break;
		case 'h':
			fputs(help, stdout);
			return finish(STATUS_OK);
		default:
			die("--help lists the options");
		}
	}
	if (only_lookup ? rounds : json)
		die("--repeat is for comparisons, --json for --lookup");
	if (optind == argc)
		die("no PID; usage: procmap_query [OPTION]... PID [ADDRESS]...");
	pid = parse_count(argv[optind], "PID");
	get_addresses(argv + optind + 1, file, perf);
	return finish(only_lookup ? lookup() : compare(rounds ?: 1));
}
