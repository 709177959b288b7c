#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Does the checker find what is wrong? Each DIFF breaks the kernel in one way: put it
# into a copy of the sources, build, and run until a schedule fails. Print a table.
#
# Usage: mutants.sh BUILD DIFF...
# BUILD is where "make O=BUILD" has built the checker. Exit status 0: each was caught
# but for those that mutants/where says why not.

build=$(cd "$1" && pwd) || exit 2
shift
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../../.." && pwd)
copy=$(mktemp -d) missed=0 changed=''
trap 'rm -rf "$copy"' EXIT
trap 'exit 130' INT TERM
checker=$copy/tools/testing/vma_walk

mkdir -p "$copy/arch/x86" "$copy/fs" "$copy/kernel" "$checker"
cp -as "$top/include" "$top/lib" "$top/mm" "$copy"
cp -as "$top/arch/x86/include" "$copy/arch/x86"
cp -as "$top/fs/proc" "$top/fs/seq_file.c" "$top"/fs/*.h "$copy/fs"
cp -as "$top"/kernel/*.[ch] "$copy/kernel"
mkdir -p "$copy/tools/include"
cp -as "$top/tools/include" "$copy/tools"
cp -a "$here/include" "$here/Makefile" "$here"/*.[chS] "$checker"

# NAME: build and run; set the result
try()
{
	if ! make -s -C "$checker" O="$copy/build" all > "$copy/log" 2>&1; then
		result='DOES NOT BUILD'
		return 1
	fi
	where=$(sed -n "s/^$1 //p" "$here/mutants/where")
	{
		test -z "$where" ||
			"$copy/build/vma_walk" -1 -b 3 -r 2000 -n 20000 "$where"
	} > "$copy/log" && "$copy/build/vma_walk" -1 -b 1 -n 1500 > "$copy/log"
	status=$?
	took=$(sed -n 's/^\([0-9]* schedules, [0-9]* s\),.*/\1/p' "$copy/log")
	result="NOT CAUGHT in $took"
	test "$status" -ne 0 || return 1
	result="caught, $took, $(sed -n 's/: FAILED: /: /p' "$copy/log" | head -n 1)"
}

printf '%-28s %s\n' MUTANT RESULT
for diff; do
	name=$(basename "$diff" .diff)
	# As it was before the last one; what was compiled is newer than the sources
	for file in $changed; do
		ln -sf "$top/$file" "$copy/$file"
	done
	rm -rf "$copy/build"
	cp -a "$build" "$copy/build"
	rm -rf "$copy"/build/asan "$copy"/build/*.gcda
	sed -i "s,^[^ ]*/\([a-z_]*\.o:\),$copy/build/\1," "$copy"/build/*.d
	changed='' unknown=''
	files=$(sed -n 's,^+++ b/,,p' "$diff")
	for file in $files; do
		if grep -qsF "$file" "$build"/*.d; then
			changed="$changed $file"
			cp --remove-destination "$top/$file" "$copy/$file"
		else
			unknown=$file
		fi
	done
	why=$(sed -n "s/^$name: //p" "$here/mutants/where")
	if test -n "$unknown"; then
		result="cannot be seen: $unknown is not compiled"
	elif test -n "$why"; then
		result="cannot be seen: $why"
	elif ! patch -s -p1 -d "$copy" < "$diff" > "$copy/log" 2>&1; then
		result="DOES NOT APPLY, $(head -n 1 "$copy/log")"
		missed=$((missed + 1))
	else
		try "$name" || missed=$((missed + 1))
	fi
	printf '%-28s %s\n' "$name" "$result"
done
test $missed = 0
