#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Does the checker find what is wrong? Each DIFF breaks the kernel in one way: put
# it into a copy of the sources, build, and run until a schedule fails.
#
# Usage: mutants.sh [-t SECONDS of each scenario] [-l DIRECTORY for logs]
#		   [-s SCENARIO] [DIFF]...
# Exit status 0: each was caught.

export LC_ALL=C.UTF-8
seconds=2 logs='' scenario=''
while getopts t:l:s: opt; do
	case $opt in
	t) seconds=$OPTARG ;;
	l) logs=$OPTARG ;;
	s) scenario=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
cd "$(dirname "$0")" || exit
test $# -gt 0 || set -- "$PWD"/mutants/*.diff
top=$(cd ../../build/linux && pwd)
copy=$(mktemp -d "$PWD/build-mutant.XXXXXX") missed=0 changed=''
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM

# Links: patch replaces a file, it does not write to it
here=$copy/tools/testing/vma_walk
mkdir -p "$copy/arch/x86" "$copy/fs" "$copy/kernel" "$here"
cp -al "$top/include" "$top/lib" "$top/mm" "$copy"
cp -al "$top/arch/x86/include" "$copy/arch/x86"
cp -al "$top/fs/proc" "$top/fs/seq_file.c" "$top"/fs/*.h "$copy/fs"
cp -al "$top"/kernel/*.[ch] "$copy/kernel"
cp -al include Makefile ./*.[ch] "$here"

for diff; do
	name=$(basename "$diff" .diff)
	# As it was before the last one
	for file in $changed; do
		ln -f "$top/$file" "$copy/$file"
	done
	rm -rf "$here/build"
	changed=$(sed -n 's,^+++ b/,,p' "$diff")
	if ! patch -s -p1 -F0 -d "$copy" < "$diff" > "$copy/log" 2>&1; then
		echo "$name: not expressed, $(head -n 1 "$copy/log")"
		continue
	fi
	if ! make -s S=../../.. O=build CC="${CC:-gcc}" -C "$here" all > "$copy/log" 2>&1; then
		echo "$name: does not build"
		missed=$((missed + 1))
		continue
	fi
	first=$(sed -n "s/^$name //p" mutants/scenarios)
	for where in ${scenario:-${first:+"$first"} ''}; do
		"$here/build/vma_walk" -1 -t "$seconds" "$where" > "$copy/log"
		status=$?
		test "$status" = 0 || break
	done
	took=$(sed -n 's/.*schedules, \(.* s\), [0-9]* failed$/\1/p' "$copy/log")
	test -z "$logs" || cp "$copy/log" "$logs/$name.log"
	if test "$status" = 1; then
		echo "$name: caught in $took: $(grep -m 1 'FAILED' "$copy/log")"
	else
		echo "$name: NOT CAUGHT in $took"
		missed=$((missed + 1))
	fi
done
test $missed = 0
