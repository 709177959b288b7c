// SPDX-License-Identifier: GPL-2.0
/*
 * The ABI of PROCMAP_QUERY on /proc/PID/maps: which VMA each flag finds, every
 * field of the answer, every error, old and new sizes of the struct, names and
 * build IDs. But for the last test nothing changes while it is queried.
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
#define EXECUTABLE PROCMAP_QUERY_VMA_EXECUTABLE
#define SHARED PROCMAP_QUERY_VMA_SHARED
#define PERMISSIONS (READABLE | WRITABLE | EXECUTABLE | SHARED)
#define ALL_FLAGS 0x3f

#define DELETED " (deleted)"
#define ID_MAX 20		/* the kernel knows no longer build IDs */
#define NOBODY 65534

/* What is filled with this, to see what the kernel has written. */
#define UNTOUCHED 0xa5

static int maps;		/* our own */
static size_t page;

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
	return true;
}

/* Return 0 or -errno. */
static int ask(int fd, void *query)
{
	return ioctl(fd, PROCMAP_QUERY, query) ? -errno : 0;
}

/* Ask for all but name and build ID. */
static int look_up(int fd, __u64 flags, unsigned long addr,
		   struct procmap_query *q)
{
	memset(q, UNTOUCHED, sizeof(*q));
	q->size = offsetof(struct procmap_query, vma_name_size);
	q->query_flags = flags;
	q->query_addr = addr;
	return ask(fd, q);
}

/* Ask with buffers of such sizes; 0: do not ask for that. */
static int look_up_all(__u64 flags, unsigned long addr, __u32 name_size,
		       __u32 id_size, struct answer *a)
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
	       untouched(a->name, 0, sizeof(a->name)) &&
	       untouched(a->id, 0, sizeof(a->id));
}

/* The VMA at @at has this name. If the buffer is too short nothing is written. */
static void check_name(struct __test_metadata *_metadata, unsigned long at,
		       const char *name, __u32 size)
{
	size_t need = strlen(name) + 1;
	struct answer a;

	EXPECT_EQ(size < need ? -ENAMETOOLONG : 0, look_up_all(0, at, size, 0, &a))
		TH_LOG("%zu bytes '%.60s', buffer of %u", need, name, size);
	if (size < need) {
		EXPECT_TRUE(nothing_written(&a));
		return;
	}
	EXPECT_EQ(at, a.q.vma_start);
	EXPECT_EQ(need, a.q.vma_name_size)
		TH_LOG("'%.60s', buffer of %u", name, size);
	EXPECT_EQ(0, memcmp(name, a.name, need))
		TH_LOG("'%.60s' instead of '%.60s'", a.name, name);
	EXPECT_TRUE(untouched(a.name, need, sizeof(a.name)));
}

/*
 * Text.
 */

static struct maps_reader reader;	/* too large for the stack */

static void text_start(void)
{
	reader.fd = maps;
	reader.size = READ_LARGE;
	maps_rewind(&reader, 0);
}

/* The whole name in the line that maps_next() has returned. */
static void text_name(char *name, size_t size)
{
	const char *p = reader.line, *end = p + reader.line_len - 1;

	while (p < end && *p != '/' && *p != '[')
		p++;
	snprintf(name, size, "%.*s", (int)(end - p), p);
}

/* The gate VMA, which all processes share, and which is in none of their trees. */
static bool is_gate(const struct maps_line *line)
{
	return !strcmp(line->name, "[vsyscall]") || !strcmp(line->name, "[vectors]");
}

static __u64 text_flags(const struct maps_line *line)
{
	return (line->prot[0] == 'r' ? READABLE : 0) |
	       (line->prot[1] == 'w' ? WRITABLE : 0) |
	       (line->prot[2] == 'x' ? EXECUTABLE : 0) |
	       (line->prot[3] == 's' ? SHARED : 0);
}

/* The text has the same name for the VMA at @at, but for newlines. */
static void check_text(struct __test_metadata *_metadata, unsigned long at,
		       const char *name)
{
	char escaped[2 * PATH_MAX], text[2 * PATH_MAX], *p = escaped;
	struct maps_line line;

	for (; *name; name++)
		p += sprintf(p, *name == '\n' ? "\\012" : "%c", *name);
	*p = '\0';
	text_start();
	do {
		ASSERT_EQ(1, maps_next(&reader, &line));
	} while (line.start != at);
	text_name(text, sizeof(text));
	EXPECT_STREQ(escaped, text);
}

/*
 * Flags, and the fields of all VMAs of a process, special ones included. VMA
 * number i of the layout has the permissions of bits 0 to 3, which are those of
 * the query flags and of PROT_*, and a file if bit 4 is set. Each has two pages,
 * two follow each other without a gap, and there is a gap around them.
 */

#define LAYOUT_VMAS 32
#define LAYOUT_FILE 0x10
#define LAYOUT_PAGES (5 * LAYOUT_VMAS / 2 + 1)

static const unsigned long long far_offset = 1ULL << 40;
static struct maps_line vma[256];	/* all VMAs, from the text */
static unsigned int nr_vmas;
static unsigned long place[ARRAY_SIZE(vma) * 4 + 16];	/* addresses to ask for */
static unsigned int nr_places;

FIXTURE(flags)
{
	void *read_only;
	struct stat memfd;
};

static char *arena;

static char *layout_start(unsigned int i)
{
	return arena + (1 + 2 * i + i / 2) * page;
}

static off_t layout_offset(unsigned int i)
{
	return i & LAYOUT_FILE ? 2 * i * page : 0;
}

FIXTURE_SETUP(flags)
{
	struct maps_line line;
	int fd, memfd, ret;
	unsigned int i;
	char path[32];

	if (!set_up(_metadata))
		return;
	ASSERT_NE((void *)-1, sbrk(page));
	memfd = memfd_create("m", MFD_CLOEXEC);
	ASSERT_EQ(0, fstat(memfd, &self->memfd));
	arena = mmap(NULL, LAYOUT_PAGES * page, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, arena);
	ASSERT_EQ(0, munmap(arena, LAYOUT_PAGES * page));
	for (i = 0; i < LAYOUT_VMAS; i++) {
		int prot = i & (PROT_READ | PROT_WRITE | PROT_EXEC);
		int type = i & SHARED ? MAP_SHARED : MAP_PRIVATE;
		char *at = layout_start(i);

		type |= i & LAYOUT_FILE ? MAP_FIXED : MAP_FIXED | MAP_ANONYMOUS;
		fd = i & LAYOUT_FILE ? memfd : -1;
		ASSERT_EQ(at, mmap(at, 2 * page, prot, type, fd, layout_offset(i)));
	}
	/* Shared, though it can never be written. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", memfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	self->read_only = mmap64(NULL, page, PROT_READ, MAP_SHARED, fd, far_offset);
	ASSERT_NE(MAP_FAILED, self->read_only);

	text_start();
	while ((ret = maps_next(&reader, &line)) == 1) {
		ASSERT_GT(ARRAY_SIZE(vma), nr_vmas);
		/* The gate VMA is printed, but never found. */
		if (!is_gate(&line))
			vma[nr_vmas++] = line;
		place[nr_places++] = line.start - 1;
		place[nr_places++] = line.start;
		place[nr_places++] = line.end - 1;
		place[nr_places++] = line.end;
	}
	ASSERT_EQ(0, ret);
	place[nr_places++] = 0;
	place[nr_places++] = LONG_MAX;
	place[nr_places++] = 1UL + LONG_MAX;
	place[nr_places++] = -page;
	place[nr_places++] = ULONG_MAX;
}

FIXTURE_TEARDOWN(flags)
{
}

TEST_F(flags, fields)
{
	unsigned long start;
	struct procmap_query q;
	unsigned int i;

	for (i = 0; i < LAYOUT_VMAS; i++) {
		start = (uintptr_t)layout_start(i);
		/* In the middle of a page */
		ASSERT_EQ(0, look_up(maps, 0, start + page + 123, &q))
			TH_LOG("VMA %u", i);
		EXPECT_EQ(start, q.vma_start);
		EXPECT_EQ(start + 2 * page, q.vma_end);
		EXPECT_EQ(i & PERMISSIONS, q.vma_flags);
		EXPECT_EQ(page, q.vma_page_size);
		/* Of the start of the VMA, not of the address. */
		EXPECT_EQ(layout_offset(i), q.vma_offset);
		/* Shared anonymous memory is a file of tmpfs. */
		EXPECT_EQ(!(i & (LAYOUT_FILE | SHARED)), !q.inode);
		if (!(i & LAYOUT_FILE))
			continue;
		EXPECT_EQ(self->memfd.st_ino, q.inode);
		EXPECT_EQ(major(self->memfd.st_dev), q.dev_major);
		EXPECT_EQ(minor(self->memfd.st_dev), q.dev_minor);
	}
	ASSERT_EQ(-1, mprotect(self->read_only, page, PROT_READ | PROT_WRITE));
	ASSERT_EQ(0, look_up(maps, SHARED, (uintptr_t)self->read_only, &q));
	EXPECT_EQ(READABLE | SHARED, q.vma_flags);
	EXPECT_EQ(far_offset, q.vma_offset);
}

/* A walk from vma_end to vma_end finds the lines of maps, and all of each. */
TEST_F(flags, same_as_text)
{
	char name[2 * PATH_MAX];
	struct maps_line line;
	unsigned long past = 0;
	struct answer a;
	size_t len;

	text_start();
	while (maps_next(&reader, &line) == 1) {
		if (is_gate(&line))
			continue;
		text_name(name, sizeof(name));
		ASSERT_EQ(0, look_up_all(NEXT, past, PATH_MAX, 0, &a))
			TH_LOG("after %lx", past);
		EXPECT_EQ(line.start, a.q.vma_start)
			TH_LOG("VMA %lx %s", line.start, name);
		EXPECT_EQ(line.end, a.q.vma_end);
		EXPECT_EQ(text_flags(&line), a.q.vma_flags);
		EXPECT_EQ(page, a.q.vma_page_size);
		EXPECT_EQ(line.offset, a.q.vma_offset);
		EXPECT_EQ(line.inode, a.q.inode);
		EXPECT_EQ(line.major, a.q.dev_major);
		EXPECT_EQ(line.minor, a.q.dev_minor);
		len = strlen(name);
		if (len) {
			check_name(_metadata, line.start, name, len + 1);
			check_name(_metadata, line.start, name, len);
		} else {
			EXPECT_EQ(0, a.q.vma_name_size);
			EXPECT_TRUE(untouched(a.name, 0, sizeof(a.name)));
			EXPECT_EQ(0, look_up_all(0, line.start, 1, 0, &a));
		}
		past = line.end;
	}
	EXPECT_EQ(vma[nr_vmas - 1].end, past);
	EXPECT_EQ(-ENOENT, look_up_all(NEXT, past, PATH_MAX, 0, &a));
}

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

/* With any flags, the edges of all VMAs and gaps, and what lies beyond. */
static void ask_everywhere(struct __test_metadata *_metadata, __u64 next)
{
	const struct maps_line *want;
	struct procmap_query q;
	unsigned int i;
	__u64 flags;

	for (flags = 0; flags <= ALL_FLAGS; flags++) {
		for (i = 0; (flags & NEXT) == next && i < nr_places; i++) {
			want = expected(flags, place[i]);
			ASSERT_EQ(want ? 0 : -ENOENT,
				  look_up(maps, flags, place[i], &q))
				TH_LOG("flags %llx, address %lx", flags, place[i]);
			if (want)
				ASSERT_EQ(want->start, q.vma_start)
					TH_LOG("flags %llx, address %lx", flags,
					       place[i]);
		}
	}
}

TEST_F_TIMEOUT(flags, covering, test_timeout())
{
	ask_everywhere(_metadata, 0);
}

/* All VMAs that do not match are skipped, however many. */
TEST_F_TIMEOUT(flags, next, test_timeout())
{
	ask_everywhere(_metadata, NEXT);
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
		{ .e_type = ET_DYN, .e_phoff = sizeof(elf64.e), .e_phnum = 1 },
		{ .p_type = type, .p_offset = offset, .p_filesz = size },
	};
	struct {
		struct elf32_hdr e;
		struct elf32_phdr p;
	} elf32 = {
		{ .e_type = ET_DYN, .e_phoff = sizeof(elf32.e), .e_phnum = 1 },
		{ .p_type = type, .p_offset = offset, .p_filesz = size },
	};
	struct elf_note note = {
		{ sizeof(note.owner), spec->id, NT_GNU_BUILD_ID },
		ELF_NOTE_GNU, ID_BYTES,
	};
	char ident[EI_NIDENT] = ELFMAG;
	int fd = memfd_create(spec->what, MFD_CLOEXEC);

	ident[EI_CLASS] = spec->class ?: ELFCLASS64;
	if (ident[EI_CLASS] == ELFCLASS32)
		pwrite(fd, &elf32, sizeof(elf32), 0);
	else
		pwrite(fd, &elf64, sizeof(elf64), 0);
	pwrite(fd, ident, sizeof(ident), 0);
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
		.query_flags = NEXT | READABLE | SHARED | FILE_BACKED,
		.query_addr = self->at + 1,
	};
	ASSERT_EQ(0, ask(maps, &self->answer));
	ASSERT_EQ(self->at, self->answer.vma_start);
}

FIXTURE_TEARDOWN(query)
{
}

/* From the smallest, also in the middle of fields, to a newer program's. */
TEST_F(query, sizes)
{
	unsigned char *buf = malloc(2 * page);
	__u64 not_found[3] = { sizeof(not_found), 0, 0 };
	struct procmap_query q;
	size_t size, known;

	ASSERT_NE(NULL, buf);
	for (size = 24; size <= page; size++) {
		if (size == 2 * sizeof(q) + 1)
			size = page - 1;
		known = size < sizeof(q) ? size : sizeof(q);
		q = self->answer;
		q.size = size;
		/* What out fields hold before does not matter, and is replaced. */
		memset((char *)&q + 24, UNTOUCHED, 80 - 24);
		memset(buf, UNTOUCHED, 2 * page);
		memset(buf, 0, size);
		memcpy(buf, &q, known);
		ASSERT_EQ(0, ask(maps, buf))
			TH_LOG("size %zu", size);
		q = self->answer;
		q.size = size;
		EXPECT_EQ(0, memcmp(&q, buf, known))
			TH_LOG("size %zu: not the answer", size);
		for (; known < size; known++)
			EXPECT_EQ(0, buf[known]);
		EXPECT_TRUE(untouched(buf, size, 2 * page))
			TH_LOG("size %zu: written beyond", size);
	}
	EXPECT_EQ(-ENOENT, ask(maps, not_found));
	free(buf);
}

/* Also a newer program's, that asks for something new: whatever byte it is in. */
TEST_F(query, illegal)
{
	const __u64 size[] = { page + 1, 1ULL << 32 | 104, 1ULL << 63, ~0ULL };
	struct {
		struct procmap_query q;
		unsigned char tail[24];
	} in = { .q = self->answer };
	unsigned int i;
	__u64 flag;

	for (in.q.size = 0; in.q.size < 24; in.q.size++)
		EXPECT_EQ(-EINVAL, ask(maps, &in));
	for (i = 0; i < ARRAY_SIZE(size); i++) {
		in.q.size = size[i];
		EXPECT_EQ(-E2BIG, ask(maps, &in))
			TH_LOG("size %llx", size[i]);
	}
	for (i = 0; i < sizeof(in.tail); i++) {
		in.q.size = sizeof(in);
		in.tail[i] = 1;
		EXPECT_EQ(-E2BIG, ask(maps, &in))
			TH_LOG("byte %u", i);
		/* Not if it is behind the struct. */
		in.q.size = sizeof(in.q) + i;
		EXPECT_EQ(0, ask(maps, &in))
			TH_LOG("byte %u", i);
		in.tail[i] = 0;
	}
	for (flag = ALL_FLAGS + 1; flag; flag <<= 1) {
		EXPECT_EQ(-EINVAL, look_up(maps, flag, self->at, &in.q))
			TH_LOG("flag %llx", flag);
		EXPECT_EQ(-EINVAL, look_up(maps, flag | NEXT, self->at, &in.q))
			TH_LOG("flag %llx and another", flag);
	}
}

/* Sizes and addresses of buffers go together; none is behind the struct's end. */
TEST_F(query, buffers)
{
	static char name[64], id[64];
	static const struct {
		const char *what;
		size_t size;
		__u32 name_size;
		char *name;
		__u32 id_size;
		char *id;
		int ret;
		__u64 flags;
	} cases[] = {
		{ "exact", 104, sizeof(ELF_NAME), name, ID_MAX, id, 0 },
		{ "short name", 104, sizeof(ELF_NAME) - 1, name, 64, id, -ENAMETOOLONG },
		{ "short ID", 104, 64, name, ID_MAX - 1, id, -ENAMETOOLONG },
		{ "not found", 104, 64, name, 64, id, -ENOENT, WRITABLE },
		{ "size of name", 104, 64, NULL, 0, NULL, -EINVAL },
		{ "address of name", 104, 0, name, 0, NULL, -EINVAL },
		{ "size of ID", 104, 0, NULL, 64, NULL, -EINVAL },
		{ "address of ID", 104, 0, NULL, 0, id, -EINVAL },
		{ "no id_addr, name", 96, 64, name, 0, id, 0 },
		{ "no id_addr", 96, 64, name, 64, id, -EINVAL },
		{ "no addr", 88, 0, name, 0, id, 0 },
		{ "no addr, size", 88, 64, name, 0, id, -EINVAL },
		{ "no id_size", 84, 0, name, 64, id, 0 },
	};
	struct procmap_query q, before;
	bool has_name, has_id;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		before = (struct procmap_query) {
			.size = cases[i].size,
			.query_flags = cases[i].flags,
			.query_addr = self->at,
			.vma_name_size = cases[i].name_size,
			.vma_name_addr = (uintptr_t)cases[i].name,
			.build_id_size = cases[i].id_size,
			.build_id_addr = (uintptr_t)cases[i].id,
		};
		q = before;
		memset(name, 0, sizeof(name));
		memset(id, 0, sizeof(id));
		has_name = !cases[i].ret && q.vma_name_size;
		has_id = !cases[i].ret && q.size == sizeof(q);
		EXPECT_EQ(cases[i].ret, ask(maps, &q))
			TH_LOG("%s", cases[i].what);
		EXPECT_STREQ(has_name ? ELF_NAME : "", name)
			TH_LOG("%s", cases[i].what);
		EXPECT_EQ(0, memcmp(has_id ? ID_BYTES : "", id, has_id ? ID_MAX : 1))
			TH_LOG("%s", cases[i].what);
		if (cases[i].ret)
			EXPECT_EQ(0, memcmp(&before, &q, sizeof(q)))
				TH_LOG("%s", cases[i].what);
	}
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

TEST_F(query, struct_at_bad_address)
{
	static const size_t writable[] = { 0, 24, 32, 72, 80, 88, 96 };
	char *border = map_border(_metadata, PROT_NONE);
	struct procmap_query q = self->answer;
	unsigned int i;
	size_t size;

	EXPECT_EQ(-EFAULT, ask(maps, NULL));
	EXPECT_EQ(-EFAULT, ask(maps, border));
	EXPECT_EQ(-EFAULT, ask(maps, border - 4));
	EXPECT_EQ(-EFAULT, ask(maps, (void *)-1L));
	/* Its end cannot be read; a struct that ends where the page does is fine. */
	for (size = 24; size < sizeof(q); size += 8) {
		q.size = sizeof(q);
		memcpy(border - size, &q, size);
		EXPECT_EQ(-EFAULT, ask(maps, border - size))
			TH_LOG("%zu bytes can be read", size);
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

/* When that fails the struct stays as it was. */
TEST_F(query, buffer_at_bad_address)
{
	static const struct {
		size_t name, id;	/* bytes that can be written */
		int prot;		/* of what follows */
		int ret;
	} cases[] = {
		/* More is not written than there is. */
		{ sizeof(ELF_NAME), ID_MAX, PROT_NONE, 0 },
		{ sizeof(ELF_NAME), ID_MAX, PROT_READ, 0 },
		{ sizeof(ELF_NAME) - 1, ID_MAX, PROT_NONE, -EFAULT },
		{ sizeof(ELF_NAME) - 1, ID_MAX, PROT_READ, -EFAULT },
		{ 0, ID_MAX, PROT_NONE, -EFAULT },
		{ sizeof(ELF_NAME), ID_MAX - 1, PROT_NONE, -EFAULT },
		{ sizeof(ELF_NAME), ID_MAX - 1, PROT_READ, -EFAULT },
		{ sizeof(ELF_NAME), 0, PROT_NONE, -EFAULT },
	};
	struct procmap_query q, before = {
		.size = sizeof(q),
		.query_addr = self->at,
		.vma_name_size = PATH_MAX,
		.build_id_size = 64,
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		before.vma_name_addr = (uintptr_t)
			map_border(_metadata, cases[i].prot) - cases[i].name;
		before.build_id_addr = (uintptr_t)
			map_border(_metadata, cases[i].prot) - cases[i].id;
		q = before;
		EXPECT_EQ(cases[i].ret, ask(maps, &q))
			TH_LOG("case %u", i);
		EXPECT_EQ(!cases[i].ret, memcmp(&before, &q, sizeof(q)) != 0)
			TH_LOG("case %u", i);
	}
}

TEST_F(query, unknown_command)
{
	/* The size of the struct is part of the command; it never changes. */
	const unsigned long command[] = {
		_IO('f', 17), _IOR('f', 17, struct procmap_query),
		_IOWR('f', 18, struct procmap_query), _IOWR('f', 17, __u64[14]),
	};
	struct procmap_query q = self->answer;
	unsigned int i;
	int fd;

	for (i = 0; i < ARRAY_SIZE(command); i++) {
		EXPECT_EQ(-1, ioctl(maps, command[i], &q));
		EXPECT_EQ(ENOTTY, errno)
			TH_LOG("command %lx", command[i]);
	}
	EXPECT_EQ(_IOWR('f', 17, __u64[13]), PROCMAP_QUERY);
	fd = open("/proc/self/smaps", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		SKIP(return, "no /proc/PID/smaps");
	EXPECT_EQ(-ENOTTY, ask(fd, &q));
	close(fd);
}

/* The target has ended: no address space is left, then no process either. */
TEST_F(query, target_ended)
{
	struct procmap_query q;
	int fd, late, fds[2];
	siginfo_t info;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe2(fds, O_CLOEXEC));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid) {
		close(fds[1]);
		_exit(read(fds[0], &c, 1));
	}
	fd = maps_open(pid);
	ASSERT_LE(0, fd);
	EXPECT_EQ(0, look_up(fd, 0, self->at, &q));
	close(fds[1]);
	ASSERT_EQ(0, waitid(P_PID, pid, &info, WEXITED | WNOWAIT));

	/* A zombie; and if its maps can be opened now, there is nothing in. */
	EXPECT_EQ(-ESRCH, look_up(fd, 0, self->at, &q));
	EXPECT_EQ(-ESRCH, look_up(fd, NEXT, 0, &q));
	late = maps_open(pid);
	EXPECT_EQ(-ESRCH, late < 0 ? -errno : look_up(late, NEXT, 0, &q));
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	EXPECT_EQ(-ESRCH, look_up(fd, 0, self->at, &q));
	EXPECT_EQ(-ESRCH, look_up(fd, NEXT, 0, &q));
	/* Its arguments are looked at first. */
	EXPECT_EQ(-EINVAL, look_up(fd, 0x40, 0, &q));
}

/*
 * The answer is about the process whose maps it is, not about who asks. Permission
 * is asked for by open(); who has got the descriptor can query.
 */
TEST_F(query, other_process)
{
	pid_t parent = getpid(), pid = fork();
	struct procmap_query q;
	int status;

	ASSERT_LE(0, pid);
	if (!pid) {
		munmap((void *)self->at, page);
		if (look_up(maps, 0, self->at, &q) || q.vma_start != self->at)
			_exit(253);
		if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			_exit(254);
		if (look_up(maps, 0, self->at, &q))
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
	struct procmap_query q;
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
	ASSERT_EQ(0, look_up(maps, FILE_BACKED, (uintptr_t)at + size, &q));
	EXPECT_EQ((uintptr_t)at, q.vma_start);
	EXPECT_LT(page, q.vma_page_size);
	EXPECT_EQ(size, q.vma_page_size);
}

/*
 * Build IDs.
 */

/* A build ID of @id bytes; 0: none, what is no error. */
static void check_id(struct __test_metadata *_metadata, unsigned long at,
		     unsigned int id, const char *what)
{
	const __u32 size[] = { id ?: 1, id + 1, 64, ~0 };
	struct answer a;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(size); i++) {
		EXPECT_EQ(0, look_up_all(0, at, 0, size[i], &a))
			TH_LOG("%s, buffer of %u", what, size[i]);
		EXPECT_EQ(at, a.q.vma_start);
		EXPECT_EQ(id, a.q.build_id_size)
			TH_LOG("%s, buffer of %u", what, size[i]);
		EXPECT_EQ(0, memcmp(ID_BYTES, a.id, id));
		EXPECT_TRUE(untouched(a.id, id, sizeof(a.id)));
	}
	for (i = 1; i < id; i++) {
		EXPECT_EQ(-ENAMETOOLONG, look_up_all(0, at, 0, i, &a))
			TH_LOG("%s, buffer of %u", what, i);
		EXPECT_TRUE(nothing_written(&a));
	}
}

TEST_F(query, build_id)
{
	static const struct elf_spec cases[] = {
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
	unsigned int i, id;
	void *at;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		id = cases[i].id;
		if (cases[i].bad)
			id = 0;
		check_id(_metadata, elf_map(_metadata, &cases[i], NULL), id,
			 cases[i].what);
	}
	at = mmap(NULL, page, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, at);
	check_id(_metadata, (uintptr_t)at, 0, "no ELF file");
	/* The vDSO has a build ID, but no file. */
	text_start();
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
		if (fd < 0)
			continue;
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
		at = mmap(NULL, page, PROT_READ, MAP_PRIVATE, fd, 0);
		ASSERT_NE(MAP_FAILED, at);
		close(fd);
		ASSERT_EQ(0, mincore(at, page, &resident));
		if (resident & 1)
			continue;
		ASSERT_EQ(0, look_up_all(0, (uintptr_t)at, 0, 64, &cold));
		/* Not every program is one. This also faults the page in. */
		if (memcmp(at, ELFMAG, SELFMAG))
			continue;
		ASSERT_EQ(0, look_up_all(0, (uintptr_t)at, 0, 64, &warm));
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

/* PATH_MAX is as good as any larger size. */
static void check_fit(struct __test_metadata *_metadata, unsigned long at,
		      const char *name)
{
	check_name(_metadata, at, name, strlen(name) + 1);
	check_name(_metadata, at, name, PATH_MAX);
	check_name(_metadata, at, name, PATH_MAX + 1);
	check_name(_metadata, at, name, ~0);
	check_text(_metadata, at, name);
}

#define NAME_79 "0123456789 0123456789 0123456789 0123456789 " \
		"0123456789 0123456789 0123456789 !."

TEST_F(query, anon_names)
{
	static const struct {
		int type;
		const char *given;
		const char *name;
	} cases[] = {
		{ MAP_PRIVATE, "x", "[anon:x]" },
		{ MAP_PRIVATE, NAME_79, "[anon:" NAME_79 "]" },
		{ MAP_PRIVATE, "", "[anon:]" },
		{ MAP_SHARED, "x", "[anon_shmem:x]" },
		{ MAP_SHARED, NAME_79, "[anon_shmem:" NAME_79 "]" },
	};
	unsigned int i;
	void *at;

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *name = cases[i].name;

		at = mmap(NULL, page, PROT_READ | PROT_WRITE,
			  cases[i].type | MAP_ANONYMOUS, -1, 0);
		ASSERT_NE(MAP_FAILED, at);
		if (prctl(PR_SET_VMA, PR_SET_VMA_ANON_NAME, at, page,
			  cases[i].given)) {
			ASSERT_EQ(EINVAL, errno);
			SKIP(return, "no PR_SET_VMA_ANON_NAME in this kernel");
		}
		check_fit(_metadata, (uintptr_t)at, name);
		check_name(_metadata, (uintptr_t)at, name, strlen(name));
	}
}

/*
 * Names of files: characters that the text of maps escapes or does not, and
 * lengths (with the terminating zero) around the limits of the kernel's buffers.
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

static struct {
	unsigned long at;
	char name[PATH_MAX];
} named[ARRAY_SIZE(file_names)];	/* the VMAs of these files */

/* Map file number i, and note its name. */
static void map_file_name(struct __test_metadata *_metadata, const char *dir,
			  unsigned int i)
{
	const struct file_name *f = &file_names[i];
	size_t left, len = strlen(dir);
	char *name = named[i].name;
	void *at;
	int fd;

	memcpy(name, dir, len + 1);
	if (f->file) {
		sprintf(name + len, "/%s", f->file);
	} else {
		left = f->size - len - (f->deleted ? sizeof(DELETED) : 1);
		for (; left - 1 > NAME_MAX; left -= 201, len += 201) {
			sprintf(name + len, "/%0200d", 0);
			if (mkdir(name, 0700))
				ASSERT_EQ(EEXIST, errno);
		}
		sprintf(name + len, "/%0*u", (int)left - 1, i);
	}
	fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	ASSERT_LE(0, fd)
		TH_LOG("%.60s: %s", name, strerror(errno));
	at = mmap(NULL, 1, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, at);
	named[i].at = (uintptr_t)at;
	close(fd);
	if (f->deleted) {
		ASSERT_EQ(0, unlink(name));
		strcat(name, DELETED);
	}
	if (f->size)
		ASSERT_EQ(f->size, strlen(name) + 1);
}

FIXTURE(names)
{
	char dir[PATH_MAX];
};

FIXTURE_SETUP(names)
{
	char shm[] = "/dev/shm/maps-XXXXXX", tmp[] = "/tmp/maps-XXXXXX";
	unsigned int i;

	if (!set_up(_metadata))
		return;
	/* As the kernel names it: without symbolic links. */
	if (!realpath(mkdtemp(shm) ?: mkdtemp(tmp) ?: "", self->dir))
		SKIP(return, "no directory for temporary files");
	for (i = 0; i < ARRAY_SIZE(file_names); i++)
		map_file_name(_metadata, self->dir, i);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	return remove(path);
}

FIXTURE_TEARDOWN_PARENT(names)
{
	nftw(self->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

TEST_F(names, fit)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(named); i++)
		check_fit(_metadata, named[i].at, named[i].name);
}

TEST_F(names, too_short)
{
	static const __u32 size[] = { 1, 255, 256, 257 };
	unsigned int i, j;

	for (i = 0; i < ARRAY_SIZE(named); i++) {
		size_t len = strlen(named[i].name);

		check_name(_metadata, named[i].at, named[i].name, len);
		for (j = 0; j < ARRAY_SIZE(size) && size[j] < len; j++)
			check_name(_metadata, named[i].at, named[i].name, size[j]);
	}
}

/*
 * One descriptor for several threads: names and build IDs of VMAs that stay, any
 * other query, read(), pread() and lseek(), while what lies between these VMAs
 * changes. (one_descriptor of proc-maps-lifetime checks what is read.)
 */

#define SHARERS 4
#define STAYING 3
#define SHARED_PAGES (2 * STAYING + 1)	/* those that stay are the odd ones */

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
	ret = look_up_all(x & 1 ? NEXT | FILE_BACKED : 0,
			  x & 1 ? start - page : start,
			  x & 2 ? PATH_MAX : size, ID_MAX, &t->a);
	if (!ret && q->vma_start == start && q->vma_end == start + page &&
	    q->vma_flags == (READABLE | SHARED) && q->vma_name_size == size &&
	    !strcmp(t->a.name, name) &&
	    q->build_id_size == staying[i].id &&
	    !memcmp(t->a.id, ID_BYTES, staying[i].id))
		return true;
	note("VMA %u at %lx: %d, %llx-%llx %llx %.40s, %u", i, start, ret,
	     q->vma_start, q->vma_end, q->vma_flags, t->a.name, q->build_id_size);
	return false;
}

/* Ask anything; the answer must be one to the question. */
static bool share_any(struct sharer *t)
{
	__u32 x = next_random(&t->seed);
	unsigned long addr = (x >> 8) % (SHARED_PAGES * page);
	__u64 flags = x & ALL_FLAGS, missing;
	struct procmap_query q;
	int ret;

	addr += (uintptr_t)shared;
	ret = look_up(maps, flags, addr, &q);
	missing = flags & PERMISSIONS & ~q.vma_flags;
	if (ret == -ENOENT || (!ret && q.vma_end > addr && !missing &&
			       (q.vma_start <= addr || (flags & NEXT)) &&
			       (q.inode || !(flags & FILE_BACKED))))
		return true;
	note("flags %llx, addr %lx: %d, %llx-%llx %llx", flags, addr, ret,
	     q.vma_start, q.vma_end, q.vma_flags);
	return false;
}

static void *share(void *arg)
{
	struct sharer *t = arg;
	__u64 end = now_ms() + 5 * duration_ms();
	char text[READ_PAGE];

	do {
		__u32 x = next_random(&t->seed), size = 1 + (x >> 8) % sizeof(text);

		t->failed = !share_staying(t, t->rounds++ % STAYING) || !share_any(t) ||
			    read(maps, text, size) < 0 ||
			    pread(maps, text, size, x % READ_PAGE) < 0 ||
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
	__u32 seed = 1;
	int i;

	running = SHARERS;
	shared = mmap(NULL, SHARED_PAGES * page, PROT_NONE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
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
}

TEST_HARNESS_MAIN
