// SPDX-License-Identifier: GPL-2.0
/*
 * The ABI of PROCMAP_QUERY on /proc/PID/maps: which VMA each flag finds, every field of the
 * answer, every error, old and new sizes of the struct, names and build IDs. But for the last
 * test nothing changes while it is queried.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <ftw.h>
#include <grp.h>
#include <limits.h>
#include <linux/elf.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "../kselftest_harness.h"
#include "proc-maps.h"

/* <elf.h> has these, but also types that the kernel names otherwise. */
#ifndef NT_GNU_BUILD_ID
#define NT_GNU_BUILD_ID 3
#define ELF_NOTE_GNU "GNU"
#endif

#define NEXT PROCMAP_QUERY_COVERING_OR_NEXT_VMA
#define FILE_BACKED PROCMAP_QUERY_FILE_BACKED_VMA
#define READABLE PROCMAP_QUERY_VMA_READABLE
#define WRITABLE PROCMAP_QUERY_VMA_WRITABLE
#define SHARED PROCMAP_QUERY_VMA_SHARED
#define PERMISSIONS 0xf
#define ALL_FLAGS 0x3f

#define DELETED " (deleted)"
#define ID_MAX 20		/* the kernel knows no longer build IDs */
#define NOBODY 65534

/* What is filled with this, to see what the kernel has written. */
#define UNTOUCHED 0xa5

static int maps;		/* our own */
static size_t page;
static struct maps_reader reader;	/* too large for the stack */

struct answer {
	struct procmap_query q;
	struct procmap_query before;
	char name[2 * PATH_MAX];
	unsigned char id[64];
};

/* All fixtures begin like this. */
static bool set_up(struct __test_metadata *_metadata)
{
	if (!maps_has_query())
		SKIP(return false, "no PROCMAP_QUERY in this kernel");
	page = sysconf(_SC_PAGESIZE);
	maps = maps_open(getpid());
	ASSERT_LE(0, maps);
	reader.fd = maps;
	reader.size = READ_LARGE;
	return true;
}

/* Return 0 or -errno. */
static int ask(int fd, void *query)
{
	return ioctl(fd, PROCMAP_QUERY, query) ? -errno : 0;
}

/* Ask with buffers of such sizes; 0: do not ask for that. */
static int look_up(__u64 flags, unsigned long addr, __u32 name_size, __u32 id_size,
		   struct answer *a)
{
	memset(a, UNTOUCHED, sizeof(*a));
	a->q.size = sizeof(a->q);
	a->q.query_flags = flags;
	a->q.query_addr = addr;
	a->q.vma_name_size = name_size;
	a->q.vma_name_addr = name_size ? (uintptr_t)a->name : 0;
	a->q.build_id_size = id_size;
	a->q.build_id_addr = id_size ? (uintptr_t)a->id : 0;
	a->before = a->q;
	return ask(maps, &a->q);
}

static bool untouched(const void *buf, size_t from, size_t to)
{
	const unsigned char *p = buf;

	while (from < to && p[from] == UNTOUCHED)
		from++;
	return from == to;
}

static bool nothing_written(const struct answer *a)
{
	return !memcmp(&a->before, &a->q, sizeof(a->q)) &&
	       untouched(a->name, 0, sizeof(a->name)) && untouched(a->id, 0, sizeof(a->id));
}

/*
 * The VMA at @at has this name ("": none) for buffers of any size, those around its length and
 * the limits of the kernel's buffers. If one is too short nothing is written.
 */
static void check_name(struct __test_metadata *_metadata, unsigned long at, const char *name)
{
	const __u32 len = strlen(name), need = len ? len + 1 : 0;
	const __u32 size[] = { len ?: 1, need ?: 1, 1, 255, 256, 257, PATH_MAX, PATH_MAX + 1, ~0 };
	struct answer a;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(size); i++) {
		EXPECT_EQ(size[i] < need ? -ENAMETOOLONG : 0, look_up(0, at, size[i], 0, &a))
			TH_LOG("%u bytes '%.60s', buffer of %u", need, name, size[i]);
		if (size[i] < need) {
			EXPECT_TRUE(nothing_written(&a));
			continue;
		}
		EXPECT_EQ(at, a.q.vma_start);
		EXPECT_EQ(need, a.q.vma_name_size)
			TH_LOG("'%.60s', buffer of %u", name, size[i]);
		EXPECT_EQ(0, memcmp(name, a.name, need))
			TH_LOG("'%.60s' instead of '%.60s'", a.name, name);
		EXPECT_TRUE(untouched(a.name, need, sizeof(a.name)));
	}
}

/* The whole name in the line that maps_next() has returned. */
static void text_name(char *name, size_t size)
{
	const char *p = reader.line, *end = p + reader.line_len - 1;

	while (p < end && *p != '/' && *p != '[')
		p++;
	snprintf(name, size, "%.*s", (int)(end - p), p);
}

/* The same, and the text has the same name for that VMA, but for newlines. */
static void check_name_and_text(struct __test_metadata *_metadata, unsigned long at,
				const char *name)
{
	char escaped[2 * PATH_MAX], text[2 * PATH_MAX], *p = escaped;
	struct maps_line line;

	check_name(_metadata, at, name);
	for (; *name; name++)
		p += sprintf(p, *name == '\n' ? "\\012" : "%c", *name);
	*p = '\0';
	maps_rewind(&reader, 0);
	do {
		ASSERT_EQ(1, maps_next(&reader, &line));
	} while (line.start != at);
	text_name(text, sizeof(text));
	EXPECT_STREQ(escaped, text);
}

/* The gate VMA, which all processes share, and which is in none of their trees. */
static bool is_gate(const struct maps_line *line)
{
	return !strcmp(line->name, "[vsyscall]") || !strcmp(line->name, "[vectors]");
}

static __u64 text_flags(const struct maps_line *line)
{
	__u64 i, flags = 0;

	for (i = 0; i < 4; i++)
		flags |= (line->prot[i] == "rwxs"[i]) << i;
	return flags;
}

/* The answer is this VMA, in all fields. */
static bool is_vma(const struct procmap_query *q, const struct maps_line *line)
{
	return q->vma_start == line->start && q->vma_end == line->end &&
	       q->vma_flags == text_flags(line) && q->vma_page_size == page &&
	       q->vma_offset == line->offset && q->inode == line->inode &&
	       q->dev_major == line->major && q->dev_minor == line->minor;
}

/*
 * Flags, and the fields of all VMAs of a process, special ones included, which are those of the
 * text. VMA number i of the layout has the permissions of bits 0 to 3, which are those of the
 * query flags and of PROT_*, and a file if bit 4 is set:
 *
 *	| . | 0   0 | 1   1 | . | 2   2 | 3   3 | . |  ...  | 31 31 | . |	pages
 */

#define LAYOUT_VMAS 32
#define LAYOUT_FILE 0x10
#define LAYOUT_PAGES (5 * LAYOUT_VMAS / 2 + 1)

static const unsigned long long far_offset = 1ULL << 40;
static struct maps_line vma[256];	/* all VMAs, from the text */
static unsigned int nr_vmas;

FIXTURE(flags) { };
FIXTURE_SETUP(flags) { }
FIXTURE_TEARDOWN(flags) { }

/* What is to be found, or NULL. */
static const struct maps_line *expected(__u64 flags, unsigned long addr)
{
	__u64 want = flags & PERMISSIONS;
	unsigned int i;

	for (i = 0; i < nr_vmas; i++) {
		if (vma[i].end <= addr)
			continue;
		if (vma[i].start > addr && !(flags & NEXT))
			break;
		if ((text_flags(&vma[i]) & want) == want &&
		    (vma[i].inode || !(flags & FILE_BACKED)))
			return &vma[i];
	}
	return NULL;
}

static void check_find(struct __test_metadata *_metadata, __u64 flags, unsigned long addr)
{
	const struct maps_line *want = expected(flags, addr);
	struct answer a;

	ASSERT_EQ(want ? 0 : -ENOENT, look_up(flags, addr, 0, 0, &a))
		TH_LOG("flags %llx, address %lx", flags, addr);
	ASSERT_TRUE(!want || is_vma(&a.q, want))
		TH_LOG("flags %llx, address %lx: %llx-%llx", flags, addr, a.q.vma_start,
		       a.q.vma_end);
}

/*
 * With any flags, the edges of all VMAs and gaps, and what lies beyond. With NEXT all VMAs that
 * do not match are skipped, however many.
 */
TEST_F_TIMEOUT(flags, find, test_timeout())
{
	const unsigned long far[] = { 0, LONG_MAX, 1UL + LONG_MAX, -page, ULONG_MAX };
	int memfd = memfd_create("m", MFD_CLOEXEC), fd;
	char *at, path[32], name[2 * PATH_MAX];
	struct maps_line line;
	unsigned int i;
	__u64 flags;

	if (!set_up(_metadata))
		return;
	ASSERT_NE((void *)-1, sbrk(page));
	at = mmap(NULL, LAYOUT_PAGES * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(0, munmap(at, LAYOUT_PAGES * page));
	for (i = 0, at += page; i < LAYOUT_VMAS; i++, at += i % 2 ? 2 * page : 3 * page)
		ASSERT_EQ(at, mmap(at, 2 * page, i & 7, MAP_FIXED |
				   (i & SHARED ? MAP_SHARED : MAP_PRIVATE) |
				   (i & LAYOUT_FILE ? 0 : MAP_ANONYMOUS),
				   i & LAYOUT_FILE ? memfd : -1, 2 * i * page));
	/* Shared, though it can never be written. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	at = mmap64(NULL, page, PROT_READ, MAP_SHARED, fd, far_offset);
	ASSERT_EQ(-1, mprotect(at, page, PROT_READ | PROT_WRITE));

	while (maps_next(&reader, &line) == 1) {
		ASSERT_GT(ARRAY_SIZE(vma), nr_vmas);
		/* The gate VMA is printed, but never found. */
		if (!is_gate(&line))
			vma[nr_vmas++] = line;
	}
	EXPECT_EQ(READABLE | SHARED, text_flags(expected(0, (uintptr_t)at)));
	EXPECT_EQ(far_offset, expected(0, (uintptr_t)at)->offset);
	for (flags = 0; flags <= ALL_FLAGS; flags++) {
		for (i = 0; i < ARRAY_SIZE(far); i++)
			check_find(_metadata, flags, far[i]);
		for (i = 0; i < nr_vmas; i++) {
			check_find(_metadata, flags, vma[i].start - 1);
			check_find(_metadata, flags, vma[i].start);
			check_find(_metadata, flags, vma[i].end - 1);
			check_find(_metadata, flags, vma[i].end);
		}
	}
	maps_rewind(&reader, 0);
	while (maps_next(&reader, &line) == 1) {
		text_name(name, sizeof(name));
		if (!is_gate(&line))
			check_name(_metadata, line.start, name);
		else
			check_find(_metadata, 0, line.start);
	}
}

/*
 * ELF files made by hand, of headers and a build ID.
 */

struct elf_spec {
	const char *what;	/* its name */
	unsigned int id;	/* bytes of the build ID */
	unsigned char class;	/* 0: ELFCLASS64 */
	unsigned int segment;	/* 0: PT_NOTE */
	unsigned int note;	/* where in the file; 0: after the headers */
	unsigned int cut;	/* so many bytes are missing at the end of the file */
	bool bad;		/* the kernel does not find the build ID */
};

struct elf_note {
	struct elf64_note header;	/* the same for ELFCLASS32 */
	char owner[4];
	char id[24];
};

#define ELF_NAME "/memfd:elf" DELETED
#define ID_BYTES "0123456789abcdefghijk"	/* or the first ones of these */

/* Map one page of such a file, anywhere or at @at. */
static unsigned long elf_map(struct __test_metadata *_metadata,
			     const struct elf_spec *spec, void *at)
{
	unsigned int size = offsetof(struct elf_note, id) + ((spec->id + 3) & ~3);
	unsigned int type = spec->segment ?: PT_NOTE, offset = spec->note ?: 256;
	struct {
		struct elf64_hdr e;
		struct elf64_phdr p;
	} elf64 = {
		{ ELFMAG, ET_DYN, .e_phoff = sizeof(elf64.e), .e_phnum = 1 },
		{ type, .p_offset = offset, .p_filesz = size },
	};
	struct {
		struct elf32_hdr e;
		struct elf32_phdr p;
	} elf32 = {
		{ ELFMAG, ET_DYN, .e_phoff = sizeof(elf32.e), .e_phnum = 1 },
		{ type, .p_offset = offset, .p_filesz = size },
	};
	struct elf_note note = {
		{ sizeof(note.owner), spec->id, NT_GNU_BUILD_ID },
		ELF_NOTE_GNU, ID_BYTES,
	};
	int fd = memfd_create(spec->what, MFD_CLOEXEC);

	elf64.e.e_ident[EI_CLASS] = spec->class ?: ELFCLASS64;
	elf32.e.e_ident[EI_CLASS] = ELFCLASS32;
	if (spec->class == ELFCLASS32)
		pwrite(fd, &elf32, sizeof(elf32), 0);
	else
		pwrite(fd, &elf64, sizeof(elf64), 0);
	size -= spec->cut;
	ASSERT_EQ(size, pwrite(fd, &note, size, offset));
	at = mmap(at, page, PROT_READ, MAP_SHARED | (at ? MAP_FIXED : 0), fd, 0);
	ASSERT_NE(MAP_FAILED, at);
	close(fd);
	return (uintptr_t)at;
}

/*
 * The struct, and errors. The VMA that is asked for is of an ELF file.
 */

FIXTURE(query)
{
	unsigned long at;	/* the VMA, of one page */
	struct procmap_query answer;
};

FIXTURE_SETUP(query)
{
	static const struct elf_spec elf = { "elf", .id = ID_MAX };

	if (!set_up(_metadata))
		return;
	self->at = elf_map(_metadata, &elf, NULL);
	self->answer = (struct procmap_query) {
		.size = sizeof(self->answer),
		.query_flags = READABLE | SHARED | FILE_BACKED,
		.query_addr = self->at + 1,
	};
	ASSERT_EQ(0, ask(maps, &self->answer));
	ASSERT_EQ(self->at, self->answer.vma_start);
}

FIXTURE_TEARDOWN(query)
{
}

/* Map two pages, the second with @prot. Return where it begins. */
static char *map_border(struct __test_metadata *_metadata, int prot)
{
	char *at = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_NE(MAP_FAILED, at);
	ASSERT_EQ(0, mprotect(at + page, page, prot));
	return at + page;
}

#define NAME_SIZE sizeof(ELF_NAME)
#define NONE ~0U		/* instead of room: the address is NULL */

struct row {
	int ret;
	__u64 size;		/* of the struct */
	__u32 name_size;
	unsigned int name_room;	/* bytes that can be written at the address */
	__u32 id_size;
	unsigned int id_room;
	__u64 flags;		/* besides those of the answer */
	unsigned int tail;	/* a byte of the struct that is not zero, behind the known ones */
};

static const struct row rows[] = {
	/* Both buffers, exact, and larger than their places: more is not written than there is. */
	{ 0, 104, NAME_SIZE, NAME_SIZE, ID_MAX, ID_MAX },
	{ 0, 104, PATH_MAX, NAME_SIZE, 64, ID_MAX },
	/* One is too small. */
	{ -ENAMETOOLONG, 104, NAME_SIZE - 1, 64, 64, 64 },
	{ -ENAMETOOLONG, 104, 64, 64, ID_MAX - 1, 64 },
	{ -ENOENT, 104, 64, 64, 64, 64, WRITABLE },
	/* Sizes and addresses go together. */
	{ -EINVAL, 104, 64, NONE, 0, NONE },
	{ -EINVAL, 104, 0, 64, 0, NONE },
	{ -EINVAL, 104, 0, NONE, 64, NONE },
	{ -EINVAL, 104, 0, NONE, 0, 64 },
	/* What is behind the struct's end is zero. */
	{ 0, 96, 64, 64, 0, 64 },
	{ -EINVAL, 96, 64, 64, 64, 64 },
	{ 0, 88, 0, 64, 0, 64 },
	{ -EINVAL, 88, 64, 64, 0, 64 },
	{ 0, 84, 0, 64, 64, 64 },
	/* There is no room for the last byte, or for all. */
	{ -EFAULT, 104, PATH_MAX, NAME_SIZE - 1, 64, ID_MAX },
	{ -EFAULT, 104, PATH_MAX, 0, 64, ID_MAX },
	{ -EFAULT, 104, PATH_MAX, NAME_SIZE, 64, ID_MAX - 1 },
	{ -EFAULT, 104, PATH_MAX, NAME_SIZE, 64, 0 },
	/* A struct that is too large, whatever is in the high half of its size */
	{ -E2BIG, 1ULL << 32 | 104, 0, NONE, 0, NONE },
	{ -E2BIG, 1ULL << 63, 0, NONE, 0, NONE },
	{ -E2BIG, ~0ULL, 0, NONE, 0, NONE },
};

/*
 * Do what a row says; the pages behind the buffers have @prot. If it fails the struct stays
 * as it was, else it has all of the answer that it has room for, and zeroes after that.
 */
static void check_row(struct __test_metadata *_metadata, const struct procmap_query *answer,
		      const struct row *row, int prot)
{
	size_t size = row->size < 24 ? 24 : row->size < page ? row->size : page;
	char *name_end = map_border(_metadata, prot), *id_end = map_border(_metadata, prot);
	char *buf_end = map_border(_metadata, PROT_READ | PROT_WRITE);
	char *name = name_end - (row->name_room == NONE ? 1 : row->name_room);
	char *id = id_end - (row->id_room == NONE ? 1 : row->id_room);
	unsigned char *buf = (void *)(buf_end - size);
	static unsigned char want[1 << 17];	/* more than a page */
	struct procmap_query *q = (void *)want;
	bool has_name = !row->ret && size >= 96 && row->name_size;
	bool has_id = !row->ret && size >= 104 && row->id_size;

	memset(want, 0, size + sizeof(*q));
	*q = *answer;
	q->size = row->size;
	q->query_flags |= row->flags;
	q->vma_name_size = row->name_size;
	q->vma_name_addr = row->name_room == NONE ? 0 : (uintptr_t)name;
	q->build_id_size = row->id_size;
	q->build_id_addr = row->id_room == NONE ? 0 : (uintptr_t)id;
	if (row->tail)
		want[row->tail] = 1;
	/* What out fields hold before does not matter. */
	if (!row->ret)
		memset(&q->vma_start, UNTOUCHED, 80 - 24);
	memcpy(buf, want, size);
	memset(buf + size, UNTOUCHED, page);
	EXPECT_EQ(row->ret, ask(maps, buf));
	if (!row->ret)
		memcpy(&q->vma_start, &answer->vma_start, 80 - 24);
	q->vma_name_size = has_name ? NAME_SIZE : row->name_size;
	q->build_id_size = has_id ? ID_MAX : row->id_size;
	EXPECT_EQ(0, memcmp(buf, want, size));
	EXPECT_TRUE(untouched(buf + size, 0, page));
	if (row->ret != -EFAULT) {
		EXPECT_STREQ(has_name ? ELF_NAME : "", name);
		EXPECT_EQ(0, memcmp(has_id ? ID_BYTES : "", id, has_id ? ID_MAX : 1));
	}
	ASSERT_TRUE(__test_passed(_metadata))
		TH_LOG("return %d, struct %llu, name %u, ID %u, flags %llx, tail %u, prot %d",
		       row->ret, row->size, row->name_size, row->id_size, row->flags,
		       row->tail, prot);
	munmap(name_end - page, 2 * page);
	munmap(id_end - page, 2 * page);
	munmap(buf_end - page, 2 * page);
}

TEST_F_TIMEOUT(query, rows, test_timeout())
{
	struct row row = { .name_room = NONE, .id_room = NONE };
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		check_row(_metadata, &self->answer, &rows[i], PROT_NONE);
		check_row(_metadata, &self->answer, &rows[i], PROT_READ);
	}
	/* From too small, also in the middle of fields, to a newer program's, and too large. */
	for (row.size = 0; row.size <= page + 1; row.size++) {
		row.ret = row.size < 24 ? -EINVAL : row.size > page ? -E2BIG : 0;
		check_row(_metadata, &self->answer, &row, PROT_NONE);
		if (row.size == 2 * sizeof(struct procmap_query))
			row.size = page - 2;
	}
	/* It asks for something new: whatever byte or bit that is in. */
	row.size = 104 + 24;
	row.ret = -E2BIG;
	for (row.tail = 104; row.tail < row.size; row.tail++)
		check_row(_metadata, &self->answer, &row, PROT_NONE);
	row.tail = 0;
	row.ret = -EINVAL;
	for (row.flags = ALL_FLAGS + 1; row.flags; row.flags <<= 1)
		check_row(_metadata, &self->answer, &row, PROT_NONE);
}

TEST_F(query, struct_at_bad_address)
{
	static const size_t writable[] = { 0, 24, 32, 72, 80, 88, 96 };
	char *border = map_border(_metadata, PROT_NONE);
	struct procmap_query q = self->answer;
	unsigned int i;
	size_t size;

	EXPECT_EQ(-EFAULT, ask(maps, NULL));
	EXPECT_EQ(-EFAULT, ask(maps, border - 4));
	EXPECT_EQ(-EFAULT, ask(maps, (void *)-1L));
	/* Its end cannot be read; a struct that ends where the page does is fine. */
	for (size = 0; size < sizeof(q); size += 8) {
		q.size = sizeof(q);
		memcpy(border - size, &q, size);
		EXPECT_EQ(-EFAULT, ask(maps, border - size))
			TH_LOG("%zu bytes can be read", size);
		if (size < 24)
			continue;
		q.size = size;
		memcpy(border - size, &q, size);
		EXPECT_EQ(0, ask(maps, border - size))
			TH_LOG("%zu bytes can be read", size);
	}
	/* All can be read, but out fields not be written. */
	for (i = 0; i < ARRAY_SIZE(writable); i++) {
		border = map_border(_metadata, PROT_READ | PROT_WRITE);
		memcpy(border - writable[i], &self->answer, sizeof(self->answer));
		ASSERT_EQ(0, mprotect(border, page, PROT_READ));
		EXPECT_EQ(-EFAULT, ask(maps, border - writable[i]))
			TH_LOG("%zu bytes can be written", writable[i]);
	}
}

/* The size of the struct is part of the command; it never changes. */
TEST_F(query, unknown_command)
{
	const unsigned long command[] = {
		_IO('f', 17), _IOR('f', 17, struct procmap_query),
		_IOWR('f', 18, struct procmap_query), _IOWR('f', 17, __u64[14]),
	};
	struct procmap_query q = self->answer;
	unsigned int i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(command); i++) {
		EXPECT_EQ(-1, ioctl(maps, command[i], &q));
		EXPECT_EQ(ENOTTY, errno);
	}
	EXPECT_EQ(_IOWR('f', 17, __u64[13]), PROCMAP_QUERY);
	fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "no /proc/PID/smaps");
	EXPECT_EQ(-ENOTTY, ask(fd, &q));
	close(fd);
}

/*
 * The answer is about the process whose maps it is, not about who asks. Permission is asked for
 * by open(); who has got the descriptor can query.
 */
TEST_F(query, other_process)
{
	pid_t parent = getpid(), pid = fork();
	struct answer a;
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		munmap((void *)self->at, page);
		if (look_up(0, self->at, 0, 0, &a) || a.q.vma_start != self->at)
			_exit(253);
		if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			_exit(254);
		if (look_up(0, self->at, 0, 0, &a))
			_exit(255);
		_exit(maps_open(parent) < 0 ? errno : 0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFEXITED(status));
	if (WEXITSTATUS(status) == 254)
		SKIP(return, "cannot become uid %d", NOBODY);
	EXPECT_EQ(EACCES, WEXITSTATUS(status));
}

/* The mapping needs no page of the pool, as it is never touched. */
TEST_F(query, hugetlb_page_size)
{
	int fd = memfd_create("h", MFD_CLOEXEC | MFD_HUGETLB);
	struct answer a;
	struct stat st;
	size_t size;
	void *at;

	if (fd < 0)
		SKIP(return, "memfd_create(MFD_HUGETLB): %s", strerror(errno));
	ASSERT_EQ(0, fstat(fd, &st));
	size = st.st_blksize;
	at = mmap(NULL, 2 * size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
	if (at == MAP_FAILED)
		SKIP(return, "mmap() of huge pages: %s", strerror(errno));
	ASSERT_EQ(0, look_up(FILE_BACKED, (uintptr_t)at + size, 0, 0, &a));
	EXPECT_EQ((uintptr_t)at, a.q.vma_start);
	EXPECT_LT(page, a.q.vma_page_size);
	EXPECT_EQ(size, a.q.vma_page_size);
}

/*
 * Build IDs.
 */

/* A build ID of @id bytes; 0: none, what is no error. */
static void check_id(struct __test_metadata *_metadata, unsigned long at,
		     unsigned int id, const char *what)
{
	const __u32 large[] = { id ?: 1, id + 1, 64, ~0 };
	struct answer a;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(large); i++) {
		EXPECT_EQ(0, look_up(0, at, 0, large[i], &a))
			TH_LOG("%s, buffer of %u", what, large[i]);
		EXPECT_EQ(at, a.q.vma_start);
		EXPECT_EQ(id, a.q.build_id_size)
			TH_LOG("%s, buffer of %u", what, large[i]);
		EXPECT_EQ(0, memcmp(ID_BYTES, a.id, id));
		EXPECT_TRUE(untouched(a.id, id, sizeof(a.id)));
	}
	for (i = 1; i < id; i++) {
		EXPECT_EQ(-ENAMETOOLONG, look_up(0, at, 0, i, &a))
			TH_LOG("%s, buffer of %u", what, i);
		EXPECT_TRUE(nothing_written(&a));
	}
}

TEST_F(query, build_id)
{
	static const struct elf_spec elfs[] = {
		{ "20 bytes", .id = 20 },
		{ "2 bytes", .id = 2 },
		{ "ELF32, 20 bytes", .id = 20, .class = ELFCLASS32 },
		{ "ELF32, 8 bytes", .id = 8, .class = ELFCLASS32 },
		/* Far from what is mapped, the ID begins 8 bytes before a page. */
		{ "across pages", .id = 16,
		  .note = 0x10000 - 8 - offsetof(struct elf_note, id) },
		{ "no note", .id = 20, .segment = PT_LOAD, .bad = true },
		{ "too long", .id = ID_MAX + 1, .bad = true },
		{ "file ends inside", .id = 20, .cut = 1, .bad = true },
		{ "other class", .id = 20, .class = 3, .bad = true },
	};
	struct maps_line line;
	unsigned int i;
	void *at;

	for (i = 0; i < ARRAY_SIZE(elfs); i++)
		check_id(_metadata, elf_map(_metadata, &elfs[i], NULL),
			 elfs[i].bad ? 0 : elfs[i].id, elfs[i].what);
	at = mmap(NULL, page, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, at);
	check_id(_metadata, (uintptr_t)at, 0, "no ELF file");
	/* The vDSO has a build ID, but no file. */
	maps_rewind(&reader, 0);
	while (maps_next(&reader, &line) == 1)
		if (!line.inode && !is_gate(&line))
			check_id(_metadata, line.start, 0, line.name);
}

/* The query reads the file from disk if need be. */
TEST_F(query, build_id_not_in_memory)
{
	static const char * const path[] = {
		"/usr/bin/true", "/usr/bin/env", "/usr/bin/yes", "/usr/bin/who",
	};
	unsigned int i, tried = 0;
	struct answer cold, warm;
	unsigned char resident;
	char *at;
	int fd;

	for (i = 0; i < ARRAY_SIZE(path); i++) {
		fd = open(path[i], O_RDONLY | O_CLOEXEC);
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		at = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0);
		close(fd);
		if (at == MAP_FAILED || mincore(at, page, &resident) || (resident & 1))
			continue;
		ASSERT_EQ(0, look_up(0, (uintptr_t)at, 0, 64, &cold));
		/* Not every program is one. This also faults the page in. */
		if (memcmp(at, ELFMAG, SELFMAG))
			continue;
		ASSERT_EQ(0, look_up(0, (uintptr_t)at, 0, 64, &warm));
		EXPECT_EQ(warm.q.build_id_size, cold.q.build_id_size)
			TH_LOG("%s", path[i]);
		EXPECT_EQ(0, memcmp(warm.id, cold.id, sizeof(warm.id)));
		tried += warm.q.build_id_size > 0;
	}
	if (!tried)
		SKIP(return, "no program with a build ID that is not in memory");
}

/*
 * Names.
 */

#define NAME_79 "0123456789 0123456789 0123456789 0123456789 " \
		"0123456789 0123456789 0123456789 !."

TEST_F(query, anon_names)
{
	static const struct {
		int type;
		const char *given;
		const char *name;
	} names[] = {
		{ MAP_PRIVATE, "x", "[anon:x]" },
		{ MAP_PRIVATE, NAME_79, "[anon:" NAME_79 "]" },
		{ MAP_PRIVATE, "", "[anon:]" },
		{ MAP_SHARED, "x", "[anon_shmem:x]" },
		{ MAP_SHARED, NAME_79, "[anon_shmem:" NAME_79 "]" },
	};
	unsigned int i;
	void *at;

	for (i = 0; i < ARRAY_SIZE(names); i++) {
		at = mmap(NULL, page, PROT_READ | PROT_WRITE,
			  names[i].type | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, at);
		if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, page, names[i].given)) {
			ASSERT_EQ(EINVAL, errno);
			SKIP(return, "no PR_SET_VMA_ANON_NAME in this kernel");
		}
		check_name_and_text(_metadata, (uintptr_t)at, names[i].name);
	}
}

/*
 * Names of files: characters that the text of maps escapes or does not, and lengths (with the
 * terminating zero) around the limits of the kernel's buffers.
 */

static const struct file_name {
	const char *file;
	size_t size;		/* of the VMA's name, if file is NULL */
	bool deleted;
} file_names[] = {
	{ "plain" },
	{ " a  b " },
	{ "a\tb" },
	{ "\na\n\nb\n" },
	{ "a\\b\\012" },
	{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7" },
	{ "\x01\x7f\x80\xff" },
	{ "a", .deleted = true },
	{ "a" DELETED },
	{ "a\n", .deleted = true },
	{ .size = 255 },
	{ .size = 256 },
	{ .size = 257 },
	{ .size = 256, .deleted = true },
	{ .size = 257, .deleted = true },
	{ .size = 1000 },
	{ .size = PATH_MAX - 1 },
	{ .size = PATH_MAX },
	{ .size = PATH_MAX, .deleted = true },
};

FIXTURE(names)
{
	char dir[PATH_MAX];
};

FIXTURE_SETUP(names)
{
	char shm[] = "/dev/shm/maps-XXXXXX", tmp[] = "/tmp/maps-XXXXXX";

	if (!set_up(_metadata))
		return;
	/* As the kernel names it: without symbolic links. */
	if (!realpath(mkdtemp(shm) ?: mkdtemp(tmp) ?: "", self->dir))
		SKIP(return, "no directory for temporary files");
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

FIXTURE_TEARDOWN_PARENT(names)
{
	nftw(self->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TEST_F(names, files)
{
	char name[PATH_MAX];
	unsigned int i;
	void *at;
	int fd;

	for (i = 0; i < ARRAY_SIZE(file_names); i++) {
		const struct file_name *f = &file_names[i];
		size_t len = sprintf(name, "%s", self->dir), left;

		if (f->file) {
			sprintf(name + len, "/%s", f->file);
		} else {
			left = f->size - len - (f->deleted ? sizeof(DELETED) : 1);
			for (; left - 1 > NAME_MAX; left -= 201, len += 201) {
				sprintf(name + len, "/%0200d", 0);
				mkdir(name, 0700);
			}
			sprintf(name + len, "/%0*u", (int)left - 1, i);
		}
		fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		ASSERT_LE(0, fd)
			TH_LOG("%.60s: %s", name, strerror(errno));
		at = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
		close(fd);
		if (f->deleted) {
			ASSERT_EQ(0, unlink(name));
			strcat(name, DELETED);
		}
		if (f->size)
			ASSERT_EQ(f->size, strlen(name) + 1);
		check_name_and_text(_metadata, (uintptr_t)at, name);
	}
}

/*
 * One descriptor for several threads (C8): names and build IDs of VMAs that stay (S), read(),
 * pread() and lseek(), while the pages between these VMAs change. All answers are right, and
 * the lines of one read() ascend.
 *
 *	|?|S|?|S|?|S|?|
 */

#define SHARERS 4
#define STAYING 3
#define SHARED_PAGES (2 * STAYING + 1)

/* The second name is too long for a buffer of 256 bytes. */
static const struct elf_spec staying[STAYING] = {
	{ "x", .id = 20 },
	{ NAME_79 NAME_79 NAME_79 "0123456789", .id = 0 },
	{ "y", .id = 8, .class = ELFCLASS32 },
};

static char *shared;		/* where these are */
static unsigned int running;

struct sharer {
	pthread_t thread;
	__u32 seed;
	bool failed;
	unsigned int rounds;
	struct answer a;
};

/* Ask for all of one that stays, or from the page before it. */
static bool share_staying(struct sharer *t, unsigned int i)
{
	unsigned long start = (uintptr_t)shared + (2 * i + 1) * page;
	__u32 x = next_random(&t->seed), size;
	char name[300];
	const struct procmap_query *q = &t->a.q;
	int ret;

	size = sprintf(name, "/memfd:%s" DELETED, staying[i].what) + 1;
	ret = look_up(x & 1 ? NEXT | FILE_BACKED : 0, x & 1 ? start - page : start,
		      x & 2 ? PATH_MAX : size, ID_MAX, &t->a);
	if (!ret && q->vma_start == start && q->vma_end == start + page &&
	    q->vma_flags == (READABLE | SHARED) && q->vma_name_size == size &&
	    !strcmp(t->a.name, name) && q->build_id_size == staying[i].id &&
	    !memcmp(t->a.id, ID_BYTES, staying[i].id))
		return true;
	note("VMA %u at %lx: %d, %llx-%llx %llx %.40s, %u", i, start, ret,
	     q->vma_start, q->vma_end, q->vma_flags, t->a.name, q->build_id_size);
	return false;
}

/* The whole lines of one read() ascend, but for the first, which may be cut. */
static bool share_text(const char *text, ssize_t n)
{
	const char *p, *end;
	struct maps_line line;
	unsigned long past = 0;

	if (n < 0)
		return false;
	for (p = memchr(text, '\n', n); p; p = end) {
		end = memchr(p + 1, '\n', text + n - p - 1);
		if (!end)
			break;
		if (!maps_parse(p + 1, end + 1, &line) || line.start < past) {
			note("after %lx: %.*s", past, (int)(end - p - 1), p + 1);
			return false;
		}
		past = line.end;
	}
	return true;
}

static void *share(void *arg)
{
	struct sharer *t = arg;
	__u64 end = now_ms() + 5 * duration_ms();
	char text[READ_PAGE];

	do {
		__u32 x = next_random(&t->seed), size = 1 + (x >> 8) % sizeof(text);

		t->failed = !share_staying(t, t->rounds++ % STAYING) ||
			    !share_text(text, read(maps, text, size)) ||
			    !share_text(text, pread(maps, text, size, x % READ_PAGE)) ||
			    lseek(maps, x & 4 ? 0 : x % READ_PAGE, SEEK_SET) < 0;
	} while (!t->failed && (now_ms() < end || t->rounds < STAYING));
	__atomic_sub_fetch(&running, 1, __ATOMIC_SEQ_CST);
	return NULL;
}

/* Change a page that does not stay. It merges with no other VMA. */
static bool share_change(__u32 x)
{
	char *at = shared + (x >> 8) % (STAYING + 1) * 2 * page;

	if (x & 1)
		return !munmap(at, page);
	return mmap(at, page, x & 2 ? PROT_NONE : PROT_READ | PROT_WRITE,
		    MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == at;
}

TEST_F_TIMEOUT(query, one_descriptor, test_timeout())
{
	static struct sharer sharer[SHARERS];
	static struct maps_reader own;
	struct maps_line line;
	__u32 seed = 1;
	int i, ret;

	running = SHARERS;
	shared = mmap(NULL, SHARED_PAGES * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, shared);
	for (i = 0; i < STAYING; i++)
		elf_map(_metadata, &staying[i], shared + (2 * i + 1) * page);
	for (i = 0; i < SHARERS; i++) {
		sharer[i].seed = i + 1;
		ASSERT_EQ(0, pthread_create(&sharer[i].thread, NULL, share, &sharer[i]));
	}
	while (__atomic_load_n(&running, __ATOMIC_SEQ_CST))
		ASSERT_TRUE(share_change(next_random(&seed)));
	for (i = 0; i < SHARERS; i++) {
		ASSERT_EQ(0, pthread_join(sharer[i].thread, NULL));
		EXPECT_FALSE(sharer[i].failed);
		note("thread %d: %u rounds", i, sharer[i].rounds);
	}

	/* When all is quiet the descriptor shows what a new one shows. */
	own.fd = maps_open(getpid());
	own.size = READ_PAGE;
	maps_rewind(&reader, 0);
	do {
		ret = maps_next(&own, &line);
		ASSERT_EQ(ret, maps_next(&reader, &line));
		ASSERT_EQ(own.line_len, reader.line_len);
		ASSERT_EQ(0, memcmp(own.line, reader.line, own.line_len));
	} while (ret == 1);
	EXPECT_EQ(0, ret);
}

TEST_HARNESS_MAIN
