# SPDX-License-Identifier: GPL-2.0
#
# Print the rows of bench/run --cost as a table: instructions per VMA of a read
# on each kernel, the mean of its boots, and the last kernel's over the first
# one's. What differs between boots is when timers interrupt.

$1 == "boot" {
	kernel = substr($2, length("kernel=") + 1)
	if (!(kernel in known)) {
		known[kernel] = 1
		kernels[++nr_kernels] = kernel
	}
}

$1 == "cost" {
	for (i = 2; i <= NF; i++) {
		split($i, pair, "=")
		field[pair[1]] = pair[2]
	}
	row = field["file"] " " field["kind"] " " field["few"] " to " field["many"] " VMAs"
	if (!(row in have)) {
		have[row] = 1
		rows[++nr_rows] = row
	}
	cost = field["instructions_per_vma"] + 0
	set = kernel SUBSEP row
	sum[set] += cost
	boots[set]++
	if (boots[set] == 1 || cost < least[set])
		least[set] = cost
	if (cost > most[set])
		most[set] = cost
	if (most[set] / least[set] - 1 > spread)
		spread = most[set] / least[set] - 1
}

function mean(kernel, row)
{
	return sum[kernel, row] / boots[kernel, row]
}

END {
	printf "%-42s", "instructions per VMA"
	for (k = 1; k <= nr_kernels; k++)
		printf " %10s", kernels[k]
	print (nr_kernels > 1) ? "    ratio" : ""
	for (r = 1; r <= nr_rows; r++) {
		printf "%-42s", rows[r]
		for (k = 1; k <= nr_kernels; k++)
			printf " %10.2f", mean(kernels[k], rows[r])
		if (nr_kernels > 1)
			printf " %8.3f", mean(kernels[nr_kernels], rows[r]) / mean(kernels[1], rows[r])
		print ""
	}
	printf "Boots of one kernel differ by at most %.3f %%.\n", spread * 100
}
