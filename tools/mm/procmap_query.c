// SPDX-License-Identifier: GPL-2.0
/*
 * procmap_query: find the VMAs at addresses of a process the way a symbolizer
 * does, with the PROCMAP_QUERY ioctl of /proc/PID/maps, and check and measure
 * that against parsing the text of the same file.
 */
#define _GNU_SOURCE
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
#include <time.h>
#include <unistd.h>

#include "../include/uapi/linux/fs.h"

#define READ_SIZE	(128 * 1024)
#define BUILD_ID_MAX	64
#define NO_VMA		SIZE_MAX
#define NO_MM		"process %d has no memory: it is a kernel thread, or has exited"

#define die(fmt, ...)								\
	do {									\
		fprintf(stderr, "procmap_query: " fmt "\n", ##__VA_ARGS__);	\
		exit(STATUS_ERROR);						\
	} while (0)

enum status {
	STATUS_OK,
	STATUS_NO_VMA,
	STATUS_DISAGREE,
	STATUS_ERROR,
};

struct vma {
	struct procmap_query q;
	char *name;		/* "" if there is none; in the text, "\n" is "\012" */
	unsigned char build_id[BUILD_ID_MAX];
};

/* One of the two ways to find VMAs. The figures are totals of all rounds. */
struct pass {
	const char *method;
	struct vma *vmas;
	size_t nr;
	size_t max;
	size_t *found;		/* index in @vmas, or NO_VMA, for each of @sorted */
	__u64 ns;
	size_t calls;
	size_t bytes;
	size_t nr_found;
};

struct verdict {
	size_t agree;
	size_t unmapped;	/* of those that agree, the ones in no VMA */
	size_t gate;
	size_t disagree;
};

static int pid;
static bool json;

/* The addresses as given, and each of them once in ascending order. */
static __u64 *input;
static size_t nr_input;
static size_t max_input;
static __u64 *sorted;
static size_t nr_sorted;
static size_t nr_kernel;

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
"    Without --lookup, all addresses are looked for twice: in the text of\n"
"    /proc/PID/maps, parsed once, and with the PROCMAP_QUERY ioctl on that file,\n"
"    once per address unless the VMA found before covers it too. Both take the\n"
"    addresses sorted and without duplicates. Start, end, permissions, offset,\n"
"    device, inode and name found are compared. Each disagreement is printed, with\n"
"    both answers, then what each way took, then the number of addresses that\n"
"    agree, disagree, or lie in the gate VMA (see NOTES).\n"
"\n"
"OPTIONS\n"
"    -f, --addresses FILE\n"
"        Read addresses from FILE (- is standard input), one per line. Empty\n"
"        lines and what follows a # are ignored.\n"
"    -p, --perf FILE\n"
"        Read addresses from FILE (- is standard input), the output of perf script\n"
"        with the field ip. Understood are lines of a callchain (tab, address), and\n"
"        samples on one line where the address is first on the line or follows the\n"
"        fields COMM PID [CPU] TIME: PERIOD EVENT: or some of them. Other lines are\n"
"        ignored. Kernel addresses (top bit set) are left out and counted.\n"
"    -l, --lookup\n"
"        Use the ioctl only and print a line for each address, in the order given:\n"
"            ADDRESS START-END PERMS OFFSET PATH BUILD-ID\n"
"        OFFSET is that of the address in the file. A field that does not apply is\n"
"        -, and an address in no VMA gives ADDRESS - only. PATH can have spaces; a\n"
"        newline in it is printed as \\012, like in /proc/PID/maps.\n"
"    -j, --json\n"
"        Print JSON. With --lookup, one object per line: address, vma_start,\n"
"        vma_end, perms, offset, path, build_id, each a string (numbers as\n"
"        \"0x7f00\") or null. In paths, each byte that is not part of valid UTF-8\n"
"        becomes \\ufffd. Without --lookup, one object with the figures, and\n"
"        disagreements go to standard error.\n"
"    -n, --repeat N\n"
"        Compare N times (default 1). All figures are totals, and the table has\n"
"        also means.\n"
"    -h, --help\n"
"        Print this text.\n"
"\n"
"EXIT STATUS\n"
"    0   done; in a comparison, no disagreement\n"
"    1   --lookup: an address is in no VMA\n"
"    2   comparison: the two ways disagree\n"
"    3   error, told on standard error\n"
"\n"
"EXAMPLES\n"
"    Look up two addresses of process 1234:\n"
"        procmap_query --lookup 1234 7f3c1a2b4c5d 0x55d0c0de1000\n"
"    Text against ioctl, for the start of each VMA:\n"
"        cut -d- -f1 /proc/1234/maps | procmap_query --repeat 100 1234\n"
"    Profile a process and look up the samples while it still runs:\n"
"        perf record --pid 1234 -- sleep 10\n"
"        perf script --pid 1234 -F ip,sym,dso | procmap_query --lookup --perf - 1234\n"
"\n"
"NOTES\n"
"    Time is in microseconds of CLOCK_MONOTONIC, from before the open() to after\n"
"    the last use of the data: system calls, parsing, finding, copying names, but\n"
"    not sorting the addresses. Calls are open(), read(), ioctl() and close() of\n"
"    /proc/PID/maps. Bytes are what the kernel returned: the text, or for each VMA\n"
"    found struct procmap_query and the name. VMAs are the different ones found.\n"
"    A comparison asks for no build IDs, as the text has none.\n"
"\n"
"    If the process maps or unmaps memory meanwhile, the two ways can disagree and\n"
"    both be right; nothing is tried again. kill -STOP it for an exact comparison.\n"
"\n"
"    The gate VMA ([vsyscall] on x86, [vectors] on arm) is in the text, but not in\n"
"    the process, and the ioctl does not report it. --lookup finds no VMA there;\n"
"    in a comparison that is no disagreement. A path too long for the ioctl\n"
"    (PATH_MAX) is - in --lookup, and a disagreement in a comparison.\n"
"\n"
"    Some versions of perf (6.1.187 is one) print offsets in files instead of\n"
"    addresses in callchains. perf script --hide-call-graph prints addresses.\n"
"\n"
"    Linux 6.11 or later is needed. See proc(5), perf-script(1), and struct\n"
"    procmap_query in linux/fs.h.\n";

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

/* Addresses */

static void add_address(__u64 addr)
{
	input = grow(input, nr_input + 1, &max_input, sizeof(*input));
	input[nr_input++] = addr;
}

static bool parse_hex(const char *s, const char *end, __u64 *value)
{
	char *stop;

	errno = 0;
	*value = strtoull(s, &stop, 16);
	return isxdigit((unsigned char)*s) && stop == end && !errno;
}

/* False if the line is neither an address nor empty. */
static bool plain_line(char *line)
{
	__u64 addr;
	char *word;

	line[strcspn(line, "#")] = '\0';
	word = strtok(line, " \t\r\n");
	if (!word)
		return true;
	if (!parse_hex(word, word + strlen(word), &addr) || strtok(NULL, " \t\r\n"))
		return false;
	add_address(addr);
	return true;
}

/*
 * perf prints the address of a frame as "\t%16lx". A sample on one line has
 * " %16lx", after fields that each end in a space. Numbers in these other
 * fields are narrower, so it is the width that tells the address from them.
 */
static bool perf_line(char *line)
{
	char *field, *word, *end = line;
	__u64 addr;

	do {
		field = end;
		word = field + strspn(field, " \t");
		end = word + strcspn(word, " \t\n");
		if ((*line == '\t' || end - field == (field == line ? 17 : 18)) &&
		    parse_hex(word, end, &addr)) {
			if (addr >> 63)
				nr_kernel++;
			else
				add_address(addr);
			break;
		}
	} while (*line != '\t' && end > word);
	return true;
}

static void read_addresses(const char *name, bool (*parse)(char *line))
{
	bool is_stdin = !strcmp(name, "-");
	FILE *file = is_stdin ? stdin : fopen(name, "r");
	char *line = NULL;
	size_t max = 0, nr = 0;

	if (is_stdin)
		name = "standard input";
	if (!file)
		die("cannot open %s: %s", name, strerror(errno));
	while (getline(&line, &max, file) > 0) {
		nr++;
		if (!parse(line))
			die("bad address on line %zu of %s", nr, name);
	}
	if (ferror(file))
		die("cannot read %s: %s", name, strerror(errno));
	free(line);
	if (nr_kernel)
		fprintf(stderr, "procmap_query: left out %zu kernel addresses\n", nr_kernel);
	if (!nr_input && parse == perf_line)
		die("no user address in %s; is it output of perf script with the field ip?", name);
	if (!nr_input)
		die("no addresses in %s", name);
}

static int compare_addresses(const void *a, const void *b)
{
	__u64 x = *(const __u64 *)a, y = *(const __u64 *)b;

	return x < y ? -1 : x > y;
}

static void sort_addresses(void)
{
	size_t i;

	sorted = alloc(nr_input, sizeof(*sorted));
	memcpy(sorted, input, nr_input * sizeof(*sorted));
	qsort(sorted, nr_input, sizeof(*sorted), compare_addresses);
	for (i = 0; i < nr_input; i++) {
		if (!i || sorted[i] != sorted[nr_sorted - 1])
			sorted[nr_sorted++] = sorted[i];
	}
}

/* System calls on /proc/PID/maps, counted */

static int maps_open(struct pass *p)
{
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	p->calls++;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		return fd;
	if (errno == ENOENT)
		die("no process %d", pid);
	if (errno == ESRCH)
		die(NO_MM, pid);
	if (errno == EACCES || errno == EPERM)
		die("no permission for %s: be root or its user; see PTRACE_MODE_READ in ptrace(2)",
		    path);
	die("cannot open %s: %s", path, strerror(errno));
}

static size_t maps_read(struct pass *p, int fd, char *buf, size_t size)
{
	ssize_t len;

	p->calls++;
	len = read(fd, buf, size);
	if (len < 0)
		die("cannot read /proc/%d/maps: %s", pid, strerror(errno));
	p->bytes += len;
	return len;
}

/* Returns 0 or the error. */
static int maps_query(struct pass *p, int fd, struct procmap_query *q)
{
	p->calls++;
	if (ioctl(fd, PROCMAP_QUERY, q))
		return errno;
	p->bytes += sizeof(*q) + q->vma_name_size + q->build_id_size;
	return 0;
}

static void maps_close(struct pass *p, int fd)
{
	p->calls++;
	close(fd);
}

static struct vma *new_vma(struct pass *p)
{
	p->vmas = grow(p->vmas, p->nr + 1, &p->max, sizeof(*p->vmas));
	return &p->vmas[p->nr++];
}

static const struct vma *vma_at(const struct pass *p, size_t i)
{
	return p->found[i] == NO_VMA ? NULL : &p->vmas[p->found[i]];
}

/* The text */

static bool parse_number(char **s, int base, __u64 *value, char after)
{
	char *begin = *s;

	*value = strtoull(begin, s, base);
	return *s > begin && *(*s)++ == after;
}

/* start-end perms offset major:minor inode, and after spaces the name */
static bool parse_vma(char *line, struct vma *vma)
{
	struct procmap_query *q = &vma->q;
	__u64 major, minor;
	int i;

	if (!parse_number(&line, 16, &q->vma_start, '-') ||
	    !parse_number(&line, 16, &q->vma_end, ' ') || strcspn(line, " ") != 4)
		return false;
	for (i = 0, q->vma_flags = 0; i < 4; i++)
		q->vma_flags |= (line[i] == "rwxs"[i]) << i;
	line += 4;
	if (!parse_number(&line, 16, &q->vma_offset, ' ') ||
	    !parse_number(&line, 16, &major, ':') ||
	    !parse_number(&line, 16, &minor, ' ') ||
	    !parse_number(&line, 10, &q->inode, ' '))
		return false;
	q->dev_major = major;
	q->dev_minor = minor;
	vma->name = line + strspn(line, " ");
	return true;
}

static void text_pass(struct pass *p)
{
	static char *text;
	static size_t max;
	size_t i, v = 0, n, len = 0;
	char *line, *end;
	int fd = maps_open(p);

	do {
		text = grow(text, len + READ_SIZE, &max, 1);
		n = maps_read(p, fd, text + len, READ_SIZE);
		len += n;
	} while (n);
	maps_close(p, fd);

	p->nr = 0;
	for (line = text; line < text + len; line = end + 1) {
		end = memchr(line, '\n', text + len - line);
		if (end)
			*end = '\0';
		if (!end || !parse_vma(line, new_vma(p)))
			die("line %zu of /proc/%d/maps is not understood", p->nr, pid);
	}
	for (i = 0; i < nr_sorted; i++) {
		while (v < p->nr && p->vmas[v].q.vma_end <= sorted[i])
			v++;
		p->found[i] = v < p->nr && p->vmas[v].q.vma_start <= sorted[i] ? v : NO_VMA;
	}
}

/* The ioctl */

/* Add the VMA at @addr to @p, or return false if there is none. */
static bool query_vma(struct pass *p, int fd, __u64 addr, bool build_id)
{
	char name[PATH_MAX];
	unsigned char id[BUILD_ID_MAX];
	struct procmap_query q = {
		.size = sizeof(q),
		.query_addr = addr,
		.vma_name_size = sizeof(name),
		.vma_name_addr = (uintptr_t)name,
		.build_id_size = build_id ? sizeof(id) : 0,
		.build_id_addr = build_id ? (uintptr_t)id : 0,
	};
	struct vma *vma;
	int err = maps_query(p, fd, &q);

	if (err == ENAMETOOLONG) {
		q.vma_name_size = 0;
		q.vma_name_addr = 0;
		err = maps_query(p, fd, &q);
	}
	if (err == ENOENT)
		return false;
	if (err == ENOTTY)
		die("this kernel has no PROCMAP_QUERY (Linux 6.11 or later has it)");
	if (err == ESRCH)
		die(NO_MM, pid);
	if (err)
		die("PROCMAP_QUERY at %llx: %s", addr, strerror(err));
	vma = new_vma(p);
	vma->q = q;
	vma->name = strdup(q.vma_name_size ? name : "");
	if (!vma->name)
		die("out of memory");
	memcpy(vma->build_id, id, q.build_id_size);
	return true;
}

static void query_vmas(struct pass *p, bool build_id)
{
	int fd = maps_open(p);
	size_t i;

	while (p->nr)
		free(p->vmas[--p->nr].name);
	for (i = 0; i < nr_sorted; i++) {
		/* Not before the last VMA, as the addresses are sorted */
		if ((p->nr && sorted[i] < p->vmas[p->nr - 1].q.vma_end) ||
		    query_vma(p, fd, sorted[i], build_id))
			p->found[i] = p->nr - 1;
		else
			p->found[i] = NO_VMA;
	}
	maps_close(p, fd);
}

static void ioctl_pass(struct pass *p)
{
	query_vmas(p, false);
}

/* Lookup */

/* The length of the UTF-8 character at @s, 0 if it is none. */
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

static void print_escaped(const char *s)
{
	for (; *s; s++) {
		if (*s == '\n')
			fputs("\\012", stdout);
		else
			putchar(*s);
	}
}

static const char *perms(const struct vma *vma)
{
	static char buf[5];
	int i;

	for (i = 0; i < 4; i++)
		buf[i] = vma->q.vma_flags & (1 << i) ? "rwxs"[i] : "---p"[i];
	return buf;
}

static void print_lookup(__u64 addr, const struct vma *vma)
{
	static const char * const keys[] = {
		"address", "vma_start", "vma_end", "perms", "offset", "path", "build_id"
	};
	char hex[5][20], id[2 * BUILD_ID_MAX + 1];
	const char *values[7] = { hex[0] };
	const char *fmt = json ? "0x%llx" : "%08llx";
	unsigned int i;

	sprintf(hex[0], json ? fmt : "%llx", addr);
	if (vma) {
		const struct procmap_query *q = &vma->q;

		sprintf(hex[1], fmt, q->vma_start);
		sprintf(hex[2], fmt, q->vma_end);
		sprintf(hex[4], fmt, q->vma_offset + addr - q->vma_start);
		for (i = 0; i < q->build_id_size; i++)
			sprintf(id + 2 * i, "%02x", vma->build_id[i]);
		values[1] = hex[1];
		values[2] = hex[2];
		values[3] = perms(vma);
		if (q->inode || q->dev_major || q->dev_minor)
			values[4] = hex[4];
		values[5] = *vma->name ? vma->name : NULL;
		values[6] = q->build_id_size ? id : NULL;
	}
	for (i = 0; i < (json || vma ? 7 : 2); i++) {
		if (json)
			printf("%c\"%s\":", i ? ',' : '{', keys[i]);
		else if (i)
			putchar(i == 2 ? '-' : ' ');
		if (json && values[i])
			print_json_string(values[i]);
		else
			print_escaped(values[i] ? values[i] : json ? "null" : "-");
	}
	puts(json ? "}" : "");
}

static enum status lookup(void)
{
	struct pass p = { .method = "ioctl" };
	enum status status = STATUS_OK;
	size_t i;

	p.found = alloc(nr_sorted, sizeof(*p.found));
	query_vmas(&p, true);
	for (i = 0; i < nr_input; i++) {
		const __u64 *at = bsearch(&input[i], sorted, nr_sorted, sizeof(*sorted),
					  compare_addresses);
		const struct vma *vma = vma_at(&p, at - sorted);

		print_lookup(input[i], vma);
		if (!vma)
			status = STATUS_NO_VMA;
	}
	return status;
}

/* Comparison */

/* @text has "\012" for a newline, and nothing else is escaped. */
static bool same_name(const char *text, const char *name)
{
	for (; *name; name++) {
		const char *want = *name == '\n' ? "\\012" : name;
		size_t len = *name == '\n' ? 4 : 1;

		if (strncmp(text, want, len))
			return false;
		text += len;
	}
	return !*text;
}

static bool same_vma(const struct vma *text, const struct vma *query)
{
	const struct procmap_query *a = &text->q, *b = &query->q;

	return a->vma_start == b->vma_start && a->vma_end == b->vma_end &&
	       a->vma_flags == b->vma_flags && a->vma_offset == b->vma_offset &&
	       a->dev_major == b->dev_major && a->dev_minor == b->dev_minor &&
	       a->inode == b->inode && same_name(text->name, query->name);
}

static bool is_gate(const struct vma *text)
{
	return !strcmp(text->name, "[vsyscall]") || !strcmp(text->name, "[vectors]");
}

static void print_answer(FILE *out, const struct pass *p, const struct vma *vma)
{
	if (vma)
		fprintf(out, "  %-5s %08llx-%08llx %s %08llx %02x:%02x %llu %s\n", p->method,
			vma->q.vma_start, vma->q.vma_end, perms(vma), vma->q.vma_offset,
			vma->q.dev_major, vma->q.dev_minor, vma->q.inode, vma->name);
	else
		fprintf(out, "  %-5s no VMA\n", p->method);
}

static void check(const struct pass *text, const struct pass *query, struct verdict *verdict)
{
	FILE *out = json ? stderr : stdout;
	size_t i;

	for (i = 0; i < nr_sorted; i++) {
		const struct vma *a = vma_at(text, i), *b = vma_at(query, i);

		if (a && !b && is_gate(a)) {
			verdict->gate++;
		} else if (a && b ? same_vma(a, b) : a == b) {
			verdict->agree++;
			verdict->unmapped += !a;
		} else {
			verdict->disagree++;
			fprintf(out, "disagree: %llx\n", sorted[i]);
			print_answer(out, text, a);
			print_answer(out, query, b);
		}
	}
}

static __u64 now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void run(struct pass *p, void (*find)(struct pass *p))
{
	__u64 begin = now_ns();
	size_t i, last = NO_VMA;

	find(p);
	p->ns += now_ns() - begin;
	for (i = 0; i < nr_sorted; i++) {
		if (p->found[i] != NO_VMA && p->found[i] != last) {
			last = p->found[i];
			p->nr_found++;
		}
	}
}

static void print_row(const struct pass *p, const char *what, double rounds)
{
	int digits = rounds > 1;

	printf("%-5s%-5s %12.1f %10.*f %12.*f %9.*f\n", p->method, what, p->ns / rounds / 1000,
	       digits, p->calls / rounds, digits, p->bytes / rounds, digits, p->nr_found / rounds);
}

static void print_table(const struct pass *text, const struct pass *query,
			const struct verdict *verdict, int rounds)
{
	printf("%-10s %12s %10s %12s %9s\n", "method", "time/us", "calls", "bytes", "VMAs");
	print_row(text, "", 1);
	print_row(query, "", 1);
	if (rounds > 1) {
		print_row(text, " mean", rounds);
		print_row(query, " mean", rounds);
	}
	printf("agree: %zu addresses, %zu of them in no VMA; disagree: %zu; gate: %zu\n",
	       verdict->agree, verdict->unmapped, verdict->disagree, verdict->gate);
}

static void print_json_pass(const struct pass *p)
{
	printf("\"%s\":{\"time_us\":%.3f,\"calls\":%zu,\"bytes\":%zu,\"vmas\":%zu},",
	       p->method, p->ns / 1e3, p->calls, p->bytes, p->nr_found);
}

static void print_json(const struct pass *text, const struct pass *query,
		       const struct verdict *verdict, int rounds)
{
	printf("{\"pid\":%d,\"addresses\":%zu,\"rounds\":%d,", pid, nr_sorted, rounds);
	print_json_pass(text);
	print_json_pass(query);
	printf("\"agree\":%zu,\"unmapped\":%zu,\"disagree\":%zu,\"gate\":%zu,\"kernel\":%zu}\n",
	       verdict->agree, verdict->unmapped, verdict->disagree, verdict->gate, nr_kernel);
}

static enum status compare(int rounds)
{
	struct pass text = { .method = "text" }, query = { .method = "ioctl" };
	struct verdict verdict = { 0 };
	int i;

	text.found = alloc(nr_sorted, sizeof(*text.found));
	query.found = alloc(nr_sorted, sizeof(*query.found));
	for (i = 0; i < rounds; i++) {
		run(&text, text_pass);
		run(&query, ioctl_pass);
		check(&text, &query, &verdict);
	}
	(json ? print_json : print_table)(&text, &query, &verdict, rounds);
	return verdict.disagree ? STATUS_DISAGREE : STATUS_OK;
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

static void get_addresses(char **args, const char *file, const char *perf)
{
	__u64 addr;

	if (!!*args + !!file + !!perf > 1)
		die("addresses come from arguments or --addresses or --perf, not from two of them");
	if (!*args && !file && !perf) {
		if (isatty(STDIN_FILENO))
			die("no addresses; --help tells how to give some");
		file = "-";
	}
	if (perf)
		read_addresses(perf, perf_line);
	if (file)
		read_addresses(file, plain_line);
	for (; *args; args++) {
		if (!parse_hex(*args, *args + strlen(*args), &addr))
			die("bad address '%s'", *args);
		add_address(addr);
	}
	sort_addresses();
}

static enum status finish(enum status status)
{
	if (ferror(stdout) || fclose(stdout))
		die("cannot write the output: %s", strerror(errno));
	return status;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "addresses", required_argument, NULL, 'f' },
		{ "perf", required_argument, NULL, 'p' },
		{ "lookup", no_argument, NULL, 'l' },
		{ "json", no_argument, NULL, 'j' },
		{ "repeat", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	const char *file = NULL, *perf = NULL;
	bool only_lookup = false;
	int opt, rounds = 1;

	argv[0] = program_invocation_short_name;
	while ((opt = getopt_long(argc, argv, "f:p:ljn:h", options, NULL)) != -1) {
		switch (opt) {
		case 'f':
			file = optarg;
			break;
		case 'p':
			perf = optarg;
			break;
		case 'l':
			only_lookup = true;
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
	if (optind == argc)
		die("no PID; usage: procmap_query [OPTION]... PID [ADDRESS]...");
	pid = parse_count(argv[optind], "PID");
	get_addresses(argv + optind + 1, file, perf);
	return finish(only_lookup ? lookup() : compare(rounds));
}
