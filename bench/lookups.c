// SPDX-License-Identifier: GPL-2.0
/*
 * lookups - a process whose addresses are to be looked up
 *
 * Usage: lookups VMAS HOT ADDRESSES
 *
 * Maps libraries until it has VMAS VMAs in all: of each a page that is read-only,
 * one that is executable, a read-only and a writable one, and then a page where
 * nothing is mapped.  Prints ADDRESSES random addresses, in hex, one a line, closes
 * its output, and waits to be killed.  The files are in /tmp and are unlinked at
 * once; the random numbers are the same each time.
 *
 * The addresses are as in a profile: code, in HOT libraries that are spread over the
 * others, in the nth one with 1/n of the probability of the first.  If HOT is 0,
 * they are in all libraries, with the same probability.  One in 16 is in the
 * gap after its library, as if in a library that has been unmapped since.
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
#define MAPPED	4	/* pages of a library */
#define STRIDE	(5 * PAGE)

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

	if (fd < 0 || unlink(name) || ftruncate(fd, MAPPED * PAGE))
		err(1, "%s", name);
	return fd;
}

static void map_page(char *page, unsigned int n, int fd)
{
	static const int prots[MAPPED] = {
		PROT_READ, PROT_READ | PROT_EXEC, PROT_READ, PROT_READ | PROT_WRITE
	};

	if (mmap(page, PAGE, prots[n % MAPPED], MAP_PRIVATE | MAP_FIXED, fd,
		 n % MAPPED * PAGE) == MAP_FAILED)
		err(1, "mapping page %u; the sysctl vm.max_map_count is the most", n);
}

/* The number of a library that an address is in. */
static unsigned int choose(unsigned int libraries, unsigned int hot)
{
	double rest = 0;
	unsigned int n;

	if (!hot)
		return random() % libraries;
	for (n = 1; n <= hot; n++)
		rest += 1.0 / n;
	rest *= random() / (RAND_MAX + 1.0);
	for (n = 1; n < hot && rest >= 1.0 / n; n++)
		rest -= 1.0 / n;
	return (n - 1) * libraries / hot;
}

int main(int argc, char **argv)
{
	unsigned int vmas, hot, addresses, libraries, pages, i;
	int files[FILES];
	char *area;

	if (argc != 4)
		errx(1, "Usage: lookups VMAS HOT ADDRESSES");
	vmas = strtoul(argv[1], NULL, 10);
	if (vmas < 100)
		errx(1, "VMAS must be at least 100");
	hot = strtoul(argv[2], NULL, 10);
	addresses = strtoul(argv[3], NULL, 10);
	for (i = 0; i < FILES; i++)
		files[i] = make_file();
	/* The first count may itself make a VMA, the heap. */
	count_vmas();
	pages = vmas - count_vmas();
	libraries = pages / MAPPED;
	if (hot > libraries)
		errx(1, "HOT must be at most %u", libraries);
	area = mmap(NULL, (libraries + 1) * STRIDE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (area == MAP_FAILED || munmap(area, (libraries + 1) * STRIDE))
		err(1, "%u VMAs", vmas);
	for (i = 0; i < pages; i++)
		map_page(area + i / MAPPED * STRIDE + i % MAPPED * PAGE, i,
			 files[i / MAPPED % FILES]);
	if (count_vmas() != vmas)
		errx(1, "%u VMAs, not %u", count_vmas(), vmas);
	srandom(1);
	for (i = 0; i < addresses; i++)
		printf("%lx\n", (unsigned long)area + choose(libraries, hot) * STRIDE +
		       (i % 16 ? 1 : MAPPED) * PAGE + random() % PAGE);
	if (fclose(stdout))
		err(1, "output");
	for (;;)
		pause();
}
