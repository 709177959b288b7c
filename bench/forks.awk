# SPDX-License-Identifier: GPL-2.0
#
# Print the rows of bench/run --forks as tables: the write locks of VMAs that a fork()
# takes, by bench/forkcost.c, and what each kernel counted while "make tinyconfig" and
# "make init/" of build/base ran in it, in all boots together. The kernel counts VMAs and
# forks where a fork copies an address space, so neither vfork() nor posix_spawn() nor
# threads, which are among the tasks; see CONFIG_PER_VMA_LOCK_STATS.

function value(key,	i)
{
	for (i = 2; i <= NF; i++)
		if (index($i, key "=") == 1)
			return substr($i, length(key) + 2)
	print "forks: no " key " in line " NR > "/dev/stderr"
	exit status = 1
}

function print_heads(what,	k)
{
	printf "%-52s", what
	for (k = 1; k <= nr_kernels; k++)
		printf " %10s", kernels[k]
	print ""
}

function print_line(what, key, format,	k)
{
	printf "%-52s", what
	for (k = 1; k <= nr_kernels; k++)
		printf " " format, sum[kernels[k], key]
	print ""
}

$1 == "boot" {
	kernel = value("kernel")
	if (!(kernel in boots))
		kernels[++nr_kernels] = kernel
	boots[kernel]++
}

$1 == "locks" {
	row = value("kind") ", " value("threads") (value("threads") == 1 ? " thread, " : " threads, ") \
		value("vmas") " VMAs"
	if (!(row in seen)) {
		seen[row] = 1
		rows[++nr_rows] = row
	}
	locks[kernel, row] += value("locks_per_vma")
}

$1 == "forks" {
	counted[kernel]++
	for (i = 1; i <= nr_keys; i++)
		sum[kernel, keys[i]] += value(keys[i])
	sum[kernel, "forks"] = sum[kernel, "alone"] + sum[kernel, "users"] + sum[kernel, "uffd"]
	sum[kernel, "vmas"] = sum[kernel, "locked"] + sum[kernel, "skipped"]
	if (!sum[kernel, "vmas"]) {
		print "forks: " kernel " has counted none" > "/dev/stderr"
		exit status = 1
	}
	sum[kernel, "avoided"] = 100 * sum[kernel, "skipped"] / sum[kernel, "vmas"]
	sum[kernel, "alone share"] = 100 * sum[kernel, "alone"] / sum[kernel, "forks"]
}

BEGIN {
	nr_keys = split("objects tasks alone users uffd locked skipped", keys)
}

END {
	if (status)
		exit status
	if (!nr_rows) {
		print "forks: there are no rows" > "/dev/stderr"
		exit 1
	}
	for (k = 1; k <= nr_kernels; k++)
		if (counted[kernels[k]] != boots[kernels[k]]) {
			print "forks: not every boot of " kernels[k] " has counted" > "/dev/stderr"
			exit 1
		}
	print_heads("write locks per VMA of a fork()")
	for (i = 1; i <= nr_rows; i++) {
		printf "%-52s", rows[i]
		for (k = 1; k <= nr_kernels; k++)
			printf " %10.3f", locks[kernels[k], rows[i]] / boots[kernels[k]]
		print ""
	}
	print ""
	print_heads("make tinyconfig, make init/")
	print_line("objects made", "objects", "%10d")
	print_line("tasks started", "tasks", "%10d")
	print_line("forks that copy an address space", "forks", "%10d")
	print_line("  alone: without VMA locks", "alone", "%10d")
	print_line("  the mm had other users", "users", "%10d")
	print_line("  the mm has had a userfaultfd", "uffd", "%10d")
	print_line("VMAs of these", "vmas", "%10d")
	print_line("  not locked", "skipped", "%10d")
	print_line("  locked", "locked", "%10d")
	print_line("forks alone, of all, %", "alone share", "%10.3f")
	print_line("VMA locks avoided, of all, %", "avoided", "%10.3f")
	print ""
	print "Other users are threads, and who has the mm for a moment, as a reader in /proc;"
	print "the counters do not tell them apart. Where there are none, the last line is the"
	print "share of the locks of single-threaded processes. Else that is higher."
}
