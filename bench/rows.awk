# SPDX-License-Identifier: GPL-2.0
#
# Read the rows of bench/run ("boot", "run" and the histogram of each run) and
# print what -v show=... asks for:
#
#	table	latencies of all runs of a kernel together
#	runs	latencies of each run
#	curve	for the plot: "# KERNEL readers|floor", then lines of LATENCY_US
#		SHARE: this share of the calls took longer; two empty lines. The
#		10,000th part with the least latencies, clock steps mostly, is left out.
#
# A percentile is the end of the histogram's bucket that it falls into. A bucket
# is at most 3 % wide.

function value(key,	i)
{
	for (i = 2; i <= NF; i++)
		if (index($i, key "=") == 1)
			return substr($i, length(key) + 2)
	print "rows: no " key " in line " NR > "/dev/stderr"
	exit status = 1
}

function add(set,	worst)
{
	worst = value("max_ns") + 0
	if (!(set in calls))
		sets[++nr_sets] = set
	calls[set] += value("calls")
	sum[set] += value("calls") * value("mean_ns")
	passes[set] += value("passes")
	if (worst > max[set])
		max[set] = worst
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
	printf "%-20s %9d %9.1f %9.1f %9.1f %9.1f %9.1f %8d\n", set, calls[set],
	       sum[set] / calls[set] / 1000, percentile(set, 0.5) / 1000,
	       percentile(set, 0.99) / 1000, percentile(set, 0.999) / 1000,
	       max[set] / 1000, passes[set]
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

$1 == "boot" {
	kernel = value("kernel")
	boot = value("n")
	next
}

$1 == "run" {
	set = kernel " " (value("readers") > 0 ? "readers" : "floor")
	if (show == "runs")
		set = set " " boot
	add(set)
	next
}

NF == 3 && !/^#/ {
	histogram[set, $1 + 0] += $2 + $3
}

END {
	if (status)
		exit status
	if (show != "curve")
		printf "%-20s %9s %9s %9s %9s %9s %9s %8s\n", "latency in us", "calls", "mean",
		       "p50", "p99", "p99.9", "max", "reads"
	for (i = 1; i <= nr_sets; i++) {
		if (show == "curve")
			print_curve(sets[i])
		else
			print_line(sets[i])
	}
	if (show == "table") {
		ratio("stock, readers / floor", "stock readers", "stock floor")
		ratio("patched, readers / floor (at most 1.5)", "patched readers", "patched floor")
		ratio("with readers, stock / patched (at least 30)", "stock readers",
		      "patched readers")
	}
}
