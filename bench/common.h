/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The clock, and the files of another process, for all programs here.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <sys/types.h>

#define PAGE		4096UL

/* Return what CLOCK_MONOTONIC says, in nanoseconds. */
static inline unsigned long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

/* Open /proc/PID/FILE for reading; exit with status 1, and say why, if that fails. */
static inline int open_file(pid_t pid, const char *file)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		err(1, "%s", path);
	return fd;
}

#endif /* BENCH_COMMON_H */
