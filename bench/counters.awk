# SPDX-License-Identifier: GPL-2.0
#
# Print the rows of bench/run --counters as a table: for each file that was read while the
# process changed its VMAs, how many VMAs the readers locked, and for a million of
# these the lookups that met a writer (retries), the VMAs that were unlocked midway
# because of contention for the VMA or the CPU (pauses), the sleeps for a writer, and the
# waits for mmap_lock (fallbacks); all boots together. They are vma_lock_walk_* of
# /proc/vmstat, see Documentation/mm/proc_vma_walk.rst. The kernel does not count reads of
# memory that give up their lookup and take mmap_lock.

function value(key,	i)
{
	for (i = 2; i <= NF; i++)
		if (index($i, key "=") == 1)
			return substr($i, length(key) + 2)
	print "counters: no " key " in line " NR > "/dev/stderr"
	exit status = 1
}

$1 == "boot" {
	kernel = value("kernel")
	if (!(kernel in boots))
		kernels[++nr_kernels] = kernel
	boots[kernel]++
}

$1 == "counters" {
	file = value("file")
	if (!(file in have)) {
		have[file] = 1
		files[++nr_files] = file
	}
	counted[kernel, file]++
	for (i = 1; i <= nr_keys; i++)
		sum[kernel, file, keys[i]] += value(keys[i])
}

function print_line(kernel, file,	i, lookups)
{
	if (counted[kernel, file] != boots[kernel]) {
		print "counters: not every boot of " kernel " has " file > "/dev/stderr"
		exit status = 1
	}
	lookups = sum[kernel, file, keys[1]]
	printf "%-30s %12d", kernel " " file, lookups
	for (i = 2; i <= nr_keys; i++)
		if (lookups)
			printf " %12.2f", 1e6 * sum[kernel, file, keys[i]] / lookups
		else
			printf " %12s", "-"
	print ""
}

BEGIN {
	nr_keys = split("walk walk_retry walk_pause walk_sleep walk_fallback", keys)
}

END {
	if (status)
		exit status
	if (!nr_files) {
		print "counters: there are no rows" > "/dev/stderr"
		exit 1
	}
	printf "%-30s %12s %12s %12s %12s %12s\n", "in a million lookups", "lookups", "retries",
		"pauses", "sleeps", "fallbacks"
	for (k = 1; k <= nr_kernels; k++)
		for (f = 1; f <= nr_files; f++)
			print_line(kernels[k], files[f])
}
