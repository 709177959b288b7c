#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Run the KUnit tests of the walk over VMAs again, and print their results.

dir=/sys/kernel/debug/kunit/proc_vma_walk

mountpoint -q /sys/kernel/debug || mount -t debugfs none /sys/kernel/debug
if ! test -d $dir; then
	echo '1..0 # SKIP kernel without CONFIG_PROC_VMA_WALK_KUNIT_TEST'
	exit 4
fi

echo 'TAP version 13'
echo again > $dir/run || exit
awk '
	/^ *# / { sub(/^ */, ""); print }
	/^ +(not )?ok / {
		match($0, /(not )?ok /)
		word = substr($0, RSTART, RLENGTH)
		sub(/^ *(not )?ok [0-9]+ /, "")
		print word (++n) " " $0
		failed += word ~ /not/
	}
	END {
		print "1.." n
		exit failed || !n
	}' $dir/results
