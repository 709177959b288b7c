# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034 # used by the scripts that source this
#
# What the scripts of this repository have in common; sourced before anything else.

# Programs print "Candidate:" and "1.5" in this locale only. LANGUAGE overrides it.
export LC_ALL=C.UTF-8 LANGUAGE=

# A signal ends the script by way of its EXIT trap.
signal=''
trap 'signal=129; exit 129' HUP
trap 'signal=130; exit 130' INT
trap 'signal=141; exit 141' PIPE
trap 'signal=143; exit 143' TERM

self=$(realpath "$0")
self=$(basename "${self%/*}")/${0##*/}

die()
{
	echo "$self: $*" >&2
	exit 1
}

lock()		# FILE: until this script and its children have ended
{
	exec 9< "$1"
	flock -n 9 || die "$1 is locked by a run that has not ended: wait for it, or end it"
}

# FILE NAME TREE TEXT: replace the line of NAME in vm/results/FILE. TREE was tested.
keep_result()
{
	mkdir -p vm/results
	touch "vm/results/$1"
	{
		awk -v name="$2" '$1 != name' "vm/results/$1"
		printf '%-26s  %s  %.12s  %s\n' "$2" "$(date -u +%Y-%m-%d)" "$3" "$4"
	} | sort > "vm/results/$1.new"
	mv "vm/results/$1.new" "vm/results/$1"
}

# DIR BUILD-DIRECTORY [MAKE-ARGUMENT]...: build selftests/proc, with the headers of a kernel
# that may be built there, and copy them to DIR.
install_selftests()
{
	install=$PWD/$1 out=$PWD/$2
	shift 2
	make -s -C build/linux O="$out" "$@" headers &&
		make -C build/linux/tools/testing/selftests O="$out" TARGETS=proc \
			INSTALL_PATH="$install" "$@" install
}

# Start over in a process group of its own, to which timeout passes on the signal that
# ends this script, so that no child outlives it: in_group "$@". After $time_limit
# seconds, if that is set, timeout ends it with status 124.
in_group()
{
	if test -n "${IN_GROUP-}"; then
		unset IN_GROUP
		return
	fi
	IN_GROUP=y timeout "${time_limit:-0}" "$0" "$@" &
	group=$!
	trap 'kill "$group" 2> /dev/null; wait "$group"' EXIT
	group_status=0
	wait "$group" || group_status=$?
	trap - EXIT
	exit $group_status
}

# IMAGE [FILE]: run bench/schedpoints, on all its files or one. Without preemption only
# the kernel's own scheduling points let other tasks run.
schedpoints()
{
	# shellcheck disable=SC2016 # for the shell in the guest
	make -s -C bench && vm/run --icount --mem 4096 --timeout 1200 --append preempt=none "$1" -- \
		sh -c 'echo 10100000 > /proc/sys/vm/max_map_count
			exec build/bench/schedpoints $1' - "${2-}"
}
