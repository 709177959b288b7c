# SPDX-License-Identifier: GPL-2.0
#
# Print the rows of bench/run --touched as a table: on each kernel the atomic operations,
# the distinct cache lines, and those of them that are stored to, as bench/touched.c counts
# them, of what bench/vmacost.c and bench/forkcost.c measure; of reads and forks per VMA
# or page, of a process with MANY less one with FEW. In each boot the lines "touched" are in
# the order of the lines "cost": one for each, or one with FEW and one with MANY.

function fail(why)
{
	print "touched: " why > "/dev/stderr"
	exit status = 1
}

function value(key,	i)
{
	for (i = 2; i <= NF; i++)
		if (index($i, key "=") == 1)
			return substr($i, length(key) + 2)
	fail("no " key " in line " NR)
}

function check_boot()
{
	if (taken != wanted)
		fail("a boot of " kernel " lacks some of its lines: the file is cut")
}

$1 == "boot" {
	check_boot()
	kernel = value("kernel")
	if (!(kernel in boots))
		kernels[++nr_kernels] = kernel
	boots[kernel]++
	taken = wanted = 0
}

# The line with the cost of one fork is of the same forks as the one before it.
$1 == "cost" && !/ instructions_per_fork=/ {
	row = value("file")
	if (/ kind=/)
		row = row " " value("kind")
	if (/ threads=/)
		row = row ", threads: " value("threads")
	if (/ few=/)
		row = row (row ~ /page/ && !/_per_vma=/ ? ", per page" : ", per VMA")
	else
		row = row ", " value("vmas") " VMAs"
	if (!(row in have)) {
		have[row] = 1
		rows[++nr_rows] = row
	}
	if (/ few=/) {
		name[++wanted] = row
		weight[wanted] = -1 / (value("many") - value("few"))
		name[++wanted] = row
		weight[wanted] = -weight[wanted - 1]
	} else {
		name[++wanted] = row
		weight[wanted] = 1
	}
}

$1 == "touched" {
	row = name[++taken]
	for (i = 1; i <= nr_keys; i++)
		sum[kernel, row, keys[i]] += weight[taken] * value(keys[i])
}

BEGIN {
	nr_keys = split("atomics lines stored_lines", keys)
	split("atomics lines stored", heads)
}

END {
	if (status)
		exit status
	check_boot()
	if (!nr_rows)
		fail("there are no rows")
	printf "%-36s", ""
	for (k = 1; k <= nr_kernels; k++)
		printf " %27s ", kernels[k] "       "
	printf "\n%-36s", "on average"
	for (k = 1; k <= nr_kernels; k++)
		for (i = 1; i <= nr_keys; i++)
			printf " %8s", heads[i]
	print ""
	for (r = 1; r <= nr_rows; r++) {
		printf "%-36s", rows[r]
		for (k = 1; k <= nr_kernels; k++)
			for (i = 1; i <= nr_keys; i++)
				printf " %8.2f", sum[kernels[k], rows[r], keys[i]] / boots[kernels[k]]
		print ""
	}
}
