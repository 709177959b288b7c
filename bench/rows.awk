# SPDX-License-Identifier: GPL-2.0
#
# Read the rows of bench/run ("boot", "run" and the histogram of each run) and
# print what -v show=... asks for:
#
#	table	latencies of all runs of a kernel together, and the p99 of the readers'
#		own reads, or "-" where there are none or the rows, older ones, lack them
#	runs	the same of each run
#	progress	for the rows of --progress: of each file and kind of calls the passes of the
#		readers, over those beside a target that makes no calls, the most entries
#		for its mapping in a pass, the latencies of its calls, and those of the
#		readers' own reads
#	points	for the plot of --files: "# KERNEL", then lines of NAME P99_US MAX_US,
#		where NAME is a file or "floor"; two empty lines
#	curve	for the plot: "# KERNEL readers|floor", then lines of LATENCY_US
#		SHARE: this share of the calls took longer; two empty lines. The
#		10,000th part with the least latencies, clock steps mostly, is left out.
#
# With -v by_file=1, for the rows of bench/run --files, each file counts for itself,
# and the table has the p99 and max over those of the floor on the same kernel.
#
# A percentile is the end of the histogram's bucket that it falls into. A bucket
# is at most 3 % wide.

function fail(why)
{
	print "rows: " why > "/dev/stderr"
	exit status = 1
}

function value(key,	i)
{
	for (i = 2; i <= NF; i++)
		if (index($i, key "=") == 1)
			return substr($i, length(key) + 2)
	fail("no " key " in line " NR)
}

# The order of the tables and plots is that of the rows.
function add(set,	worst)
{
	worst = value("max_ns") + 0
	if (!(kernel in have_kernel)) {
		have_kernel[kernel] = 1
		kernels[++nr_kernels] = kernel
	}
	if (!(name in have_name)) {
		have_name[name] = 1
		names[++nr_names] = name
	}
	if (!(set in calls))
		sets[++nr_sets] = set
	calls[set] += value("calls")
	sum[set] += value("calls") * value("mean_ns")
	passes[set] += value("passes")
	if (/ entries_max=/ && value("entries_max") + 0 > entries[set])
		entries[set] = value("entries_max") + 0
	if (worst > max[set])
		max[set] = worst
	if (/ read_max_ns=/ && value("read_max_ns") + 0 > max[reads_of(set)])
		max[reads_of(set)] = value("read_max_ns") + 0
}

# The set of the calls of the readers of a set.
function reads_of(set)
{
	return set " reads"
}

# The buckets as in latency.c: 64 of 1 ns, then 32 of 2 ns, 32 of 4 ns, ...
function width_at(low,	width)
{
	for (width = 1; low >= 64 * width; width *= 2)
		;
	return width
}

function percentile(set, share,	low, width, n)
{
	for (low = 0; ; low += width) {
		width = width_at(low)
		n += histogram[set, low]
		if (n >= share * calls[set])
			return low + width < max[set] ? low + width : max[set]
	}
}

function print_line(set)
{
	printf set_format " %9d %9.1f %9.1f %9.1f %9.1f %9.1f %8d", set, calls[set],
	       sum[set] / calls[set] / 1000, percentile(set, 0.5) / 1000,
	       percentile(set, 0.99) / 1000, percentile(set, 0.999) / 1000,
	       max[set] / 1000, passes[set]
}

function print_reads(set)
{
	if (calls[reads_of(set)])
		printf " %10.1f\n", percentile(reads_of(set), 0.99) / 1000
	else
		printf " %10s\n", "-"
}

# The lines of one file for each kernel, and what its p99 and max are over the floor's.
function print_file(name,	k, set, floor)
{
	for (k = 1; k <= nr_kernels; k++) {
		set = kernels[k] " " name
		floor = kernels[k] " floor"
		print_line(set)
		if (name != "floor")
			printf " %10.2f %10.2f", percentile(set, 0.99) / percentile(floor, 0.99),
			       max[set] / max[floor]
		else
			printf " %10s %10s", "", ""
		print_reads(set)
	}
}

function print_points(kernel,	n, set)
{
	print "# " kernel
	for (n = 1; n <= nr_names; n++) {
		set = kernel " " names[n]
		print names[n], percentile(set, 0.99) / 1000, max[set] / 1000
	}
	print "\n"
}

# The lines of one file and kind of calls for each kernel.
function print_progress(name,	k, set, calm)
{
	for (k = 1; k <= nr_kernels; k++) {
		set = kernels[k] " " name
		calm = set
		sub(/ [^ ]*$/, " none", calm)
		printf "%-34s %8d", set, passes[set]
		if (calm in calls && name !~ / whole$/)
			printf " %6.2f %8d", passes[set] / passes[calm], entries[set]
		else
			printf " %6s %8s", "-", "-"
		printf " %9d %9.1f %9.1f %10.1f", calls[set], percentile(set, 0.5) / 1000,
		       percentile(set, 0.99) / 1000, max[set] / 1000
		printf " %10.1f %10.1f\n", percentile(reads_of(set), 0.99) / 1000,
		       max[reads_of(set)] / 1000
	}
}

function print_curve(set,	low, width, above)
{
	print "# " set
	for (low = 0; above < calls[set]; low += width) {
		width = width_at(low)
		above += histogram[set, low]
		if (above > calls[set] / 10000 && histogram[set, low])
			print (low + width) / 1000, (calls[set] - above) / calls[set]
	}
	print "\n"
}

function ratio(what, a, b)
{
	if (a in calls && b in calls)
		printf "%-44s %8.2f\n", "p99 " what ":", percentile(a, 0.99) / percentile(b, 0.99)
}

BEGIN {
	set_format = by_file ? "%-29s" : "%-20s"
}

$1 == "boot" {
	kernel = value("kernel")
	boot = value("n")
	next
}

$1 == "run" {
	name = "floor"
	if (value("readers") > 0)
		name = by_file ? value("file") : "readers"
	if (show == "progress")
		name = value("file") " " value("calls_are")
	set = kernel " " name
	if (show == "runs")
		set = set " " boot
	add(set)
	next
}

# Older rows lack the fourth field, the reads.
/^[0-9]/ {
	if ($1 % width_at($1 + 0))
		fail("no bucket begins at " $1 ", in line " NR)
	histogram[set, $1 + 0] += $2 + $3
	total[set] += $2 + $3
	histogram[reads_of(set), $1 + 0] += $4
	calls[reads_of(set)] += $4
}

END {
	if (status)
		exit status
	if (!nr_sets)
		fail("there are no runs")
	for (i = 1; i <= nr_sets; i++)
		if (!calls[sets[i]] || total[sets[i]] != calls[sets[i]])
			fail(sets[i] " has " calls[sets[i]] " calls, but " total[sets[i]] + 0 \
			     " in its histogram: the file is cut")
	if (show == "points" || show == "table" && by_file)
		for (k = 1; k <= nr_kernels; k++)
			for (i = 1; i <= nr_names; i++)
				if (!((kernels[k] " " names[i]) in calls))
					fail("no run of " kernels[k] " has " names[i])
	if (show == "table" || show == "runs") {
		printf set_format " %9s %9s %9s %9s %9s %9s %8s", "latency in us", "calls", "mean",
		       "p50", "p99", "p99.9", "max", "reads"
		print (by_file && show == "table" ? "  p99/floor  max/floor" : "") "   read p99"
	}
	if (show == "progress") {
		printf "%-34s %8s %6s %8s %9s %9s %9s %10s %10s %10s\n", "latency in us", "passes",
		       "/none", "entries", "calls", "p50", "p99", "max", "read p99", "read max"
		for (i = 1; i <= nr_names; i++)
			print_progress(names[i])
		exit
	}
	if (show == "table" && by_file)
		for (i = 1; i <= nr_names; i++)
			print_file(names[i])
	else if (show == "points")
		for (i = 1; i <= nr_kernels; i++)
			print_points(kernels[i])
	else
		for (i = 1; i <= nr_sets; i++) {
			if (show == "curve") {
				print_curve(sets[i])
			} else {
				print_line(sets[i])
				print_reads(sets[i])
			}
		}
	if (show == "table" && !by_file) {
		ratio("stock, readers / floor", "stock readers", "stock floor")
		ratio("patched, readers / floor (at most 1.5)", "patched readers", "patched floor")
		ratio("with readers, stock / patched (at least 30)", "stock readers",
		      "patched readers")
	}
}
