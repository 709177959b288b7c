# SPDX-License-Identifier: GPL-2.0
#
# Of what gcov -b -c -t prints, the parts about .c files: how many lines and branches
# of them were reached, and the lines with others.

function print_total()
{
	if (own)
		printf "%s: %d of %d lines, %d of %d branches; not all of\n%s",
			source, lines - missed, lines, taken, branches, text
}

# Branches follow their line in the listing
function print_line()
{
	if (own && line != "" && (miss || left))
		text = text "  " (miss ? "not reached" : "branch     ") line "\n"
	line = ""
}

/^ *-: *0:Source:/ {
	print_line()
	print_total()
	source = $0
	sub(/.*Source:(\.\.\/)*/, "", source)
	own = source ~ /\.c$/
	lines = missed = branches = taken = 0
	text = ""
}

/^ *[0-9#=*]+: *[1-9][0-9]*:/ {
	print_line()
	miss = /^ *#####:/
	lines++
	missed += miss
	line = $0
	sub(/^[^:]*: */, " ", line)
	left = 0
}

/^branch / {
	branches++
	if (/never executed|taken 0/)
		left++
	else
		taken++
}

END {
	print_line()
	print_total()
}
