# SPDX-License-Identifier: GPL-2.0
#
# Print the rows of bench/run --lookup as a table: what it takes to find the
# VMAs of a process at some addresses, in one round, on each kernel. Time is the
# mean of all rounds of all boots.

$1 == "boot" {
	kernel = substr($2, length("kernel=") + 1)
	n[kernel]++
}

$1 == "lookup" {
	hot = substr($3, length("hot=") + 1)
	what = substr($4, length("addresses=") + 1) " addresses in " \
		(hot == 0 ? "any" : hot) " of " substr($2, length("vmas=") + 1) " VMAs"
}

$1 == "text" || $1 == "ioctl" {
	set = kernel SUBSEP what
	if (!(set in have)) {
		have[set] = 1
		order[++nr] = set
	}
	us[set, $1] += $2
	boots[set, $1]++
	calls[set, $1] = $3
	bytes[set, $1] = $4
}

END {
	if (!nr) {
		print "lookup: there are no rows" > "/dev/stderr"
		exit 1
	}
	printf "%-36s %-10s %12s %12s %8s %10s %10s %12s %12s\n", "", "",
		"text us", "ioctl us", "ratio", "text calls", "ioctl", "text bytes", "ioctl"
	for (i = 1; i <= nr; i++) {
		split(order[i], part, SUBSEP)
		if (boots[order[i], "text"] != n[part[1]] || boots[order[i], "ioctl"] != n[part[1]]) {
			print "lookup: not every boot of " part[1] " has " part[2] > "/dev/stderr"
			exit 1
		}
		text = us[order[i], "text"] / boots[order[i], "text"]
		query = us[order[i], "ioctl"] / boots[order[i], "ioctl"]
		printf "%-36s %-10s %12.0f %12.0f %8.2f %10d %10d %12d %12d\n", part[2], part[1],
			text, query, text / query, calls[order[i], "text"],
			calls[order[i], "ioctl"], bytes[order[i], "text"],
			bytes[order[i], "ioctl"]
	}
}
