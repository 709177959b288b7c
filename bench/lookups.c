// SPDX-License-Identifier: GPL-2.0
/*
 * lookups - be a process whose addresses are to be looked up
 *
 * Usage: lookups VMAS ADDRESSES
 *
 * Maps pages of files, with the protections of libraries, until it has VMAS
 * VMAs in all.  Prints ADDRESSES random addresses of these pages, in hex, one a
 * line, closes its output, and waits to be killed.  The files are in /tmp and
 * are unlinked at once; the random numbers are the same each time.
 *
 * Exit status 1, with a message: bad arguments, or the VMAs could not be made.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>

#define PAGE	4096UL
#define FILES	8

static unsigned int count_vmas(void)
{
	FILE *maps = fopen("/proc/self/maps", "r");
	unsigned int lines = 0;
	int c;

	if (!maps)
		err(1, "/proc/self/maps");
	while ((c = getc(maps)) != EOF)
		lines += c == '\n';
	fclose(maps);
	return lines;
}

static int make_file(void)
{
	char name[] = "/tmp/libbench.so.XXXXXX";
	int fd = mkstemp(name);

	if (fd < 0 || unlink(name) || ftruncate(fd, 4 * PAGE))
		err(1, "%s", name);
	return fd;
}

static void map_page(char *page, unsigned int n, int fd)
{
	static const int prots[] = {
		PROT_READ, PROT_READ | PROT_EXEC, PROT_READ, PROT_READ | PROT_WRITE
	};

	if (mmap(page, PAGE, prots[n % 4], MAP_PRIVATE | MAP_FIXED, fd,
		 n % 4 * PAGE) == MAP_FAILED)
		err(1, "mapping page %u; the sysctl vm.max_map_count is the most", n);
}

int main(int argc, char **argv)
{
	unsigned int vmas, addresses, pages, i;
	int files[FILES];
	char *area;

	if (argc != 3)
		errx(1, "Usage: lookups VMAS ADDRESSES");
	vmas = strtoul(argv[1], NULL, 10);
	if (vmas < 100)
		errx(1, "VMAS must be at least 100");
	addresses = strtoul(argv[2], NULL, 10);
	for (i = 0; i < FILES; i++)
		files[i] = make_file();
	/* The first count may itself make a VMA, the heap. */
	count_vmas();
	pages = vmas - count_vmas();
	area = mmap(NULL, pages * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED)
		err(1, "%u VMAs", vmas);
	for (i = 0; i < pages; i++)
		map_page(area + i * PAGE, i, files[i % FILES]);
	if (count_vmas() != vmas)
		errx(1, "%u VMAs, not %u", count_vmas(), vmas);
	srandom(1);
	for (i = 0; i < addresses; i++)
		printf("%lx\n", (unsigned long)area + random() % (pages * PAGE));
	if (fclose(stdout))
		err(1, "output");
	for (;;)
		pause();
}
