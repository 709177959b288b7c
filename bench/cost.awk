# SPDX-License-Identifier: GPL-2.0
#
# Print the rows of bench/run --cost as tables: instructions per VMA of a read, those
# per page, those per read, those per call that changes VMAs, those per VMA of a fork, and
# those per fork, on each kernel, the mean of its boots, and the last kernel's over the
# first one's. What differs between boots is when timers interrupt. Of the calls and of
# fork() the criterion is that this is not above 1.00.

$1 == "boot" {
	kernel = substr($2, length("kernel=") + 1)
	if (!(kernel in known)) {
		known[kernel] = 1
		kernels[++nr_kernels] = kernel
	}
	nr_boots[kernel]++
}

$1 == "cost" {
	for (i = 2; i <= NF; i++) {
		split($i, pair, "=")
		field[pair[1]] = pair[2]
	}
	of = field["file"] == "fork" ? "fork" : "read"
	unit = / instructions_per_vma=/ ? "VMA" : / instructions_per_page=/ ? "page" : \
		/ instructions_per_call=/ ? "call" : of
	cost = field["instructions_per_" tolower(unit)] + 0
	if (of == "fork") {
		row = field["kind"] ", " field["threads"] \
			(field["threads"] == 1 ? " thread, " : " threads, ") \
			(unit == "VMA" ? field["few"] " to " field["many"] : field["vmas"]) " VMAs"
		unit = unit == "VMA" ? "VMA of a fork" : unit
	} else if (unit == "call") {
		row = field["file"] ", " field["vmas"] " VMAs"
	} else if (unit == "read") {
		row = field["file"] ", " field["bytes"] " B, " field["vmas"] " VMAs"
	} else {
		row = field["file"] " " field["kind"] " " field["few"] " to " field["many"] \
			" " unit "s"
	}
	if (!(row in have)) {
		have[row] = 1
		rows[unit, ++nr_rows[unit]] = row
	}
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
	if (boots[kernel, row] != nr_boots[kernel]) {
		print "cost: not every boot of " kernel " has " row > "/dev/stderr"
		exit 1
	}
	return sum[kernel, row] / boots[kernel, row]
}

function print_table(unit, judged,	k, r, row, ratio)
{
	if (!nr_rows[unit])
		return
	printf "%-42s", "instructions per " unit
	for (k = 1; k <= nr_kernels; k++)
		printf " %10s", kernels[k]
	print (nr_kernels > 1) ? "    ratio" : ""
	for (r = 1; r <= nr_rows[unit]; r++) {
		row = rows[unit, r]
		printf "%-42s", row
		for (k = 1; k <= nr_kernels; k++)
			printf " %10.2f", mean(kernels[k], row)
		if (nr_kernels > 1) {
			ratio = mean(kernels[nr_kernels], row) / mean(kernels[1], row)
			printf " %8.3f", ratio
			if (judged) {
				printf "%s", ratio < 1.005 ? "  met" : "  NOT MET"
				ratio < 1.005 ? nr_met++ : nr_not_met++
			}
		}
		print ""
	}
	print ""
}

END {
	if (!most[set]) {
		print "cost: there are no rows, or the last one is cut" > "/dev/stderr"
		exit 1
	}
	print_table("VMA")
	print_table("page")
	print_table("read")
	print_table("call", 1)
	print_table("VMA of a fork", 1)
	print_table("fork", 1)
	printf "Boots of one kernel differ by at most %.3f %%.\n", spread * 100
	if (nr_kernels > 1)
		printf "%d met, %d NOT MET: at most 1.00 of %s\n", nr_met, nr_not_met, kernels[1]
}
