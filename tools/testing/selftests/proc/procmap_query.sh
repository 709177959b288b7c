#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Test tools/mm/procmap_query on processes that do not change their mappings,
# against the text of /proc/PID/maps.
#
# shellcheck disable=SC2317 # the tests are called by try

# procmap_query is built next to this script.
here=$(realpath "$0")
here=${here%/*}
tool=$here/procmap_query
top=$(mktemp -d) || exit
tmp="$top/a b"	# as TMPDIR may have a space in it too
pids=
# shellcheck disable=SC2086 # a list
trap 'test -z "$pids" || kill $pids 2> /dev/null; wait; rm -rf "$top"' EXIT
trap 'exit 1' HUP INT PIPE TERM
mkdir "$tmp" && chmod 755 "$top" "$tmp" || exit	# for the user in test_permission

export LC_ALL=C	# bytes
tests=0 failed=0
skip=4

# try NAME TEST [ARG]...: report the test, with what it printed if it did not pass.
try()
{
	name=$1
	shift
	tests=$((tests + 1))
	"$@" > "$tmp/log" 2>&1
	case $? in
	0) echo "ok $tests $name" ;;
	"$skip") echo "ok $tests $name # SKIP $(cat "$tmp/log")" ;;
	*)
		failed=$((failed + 1))
		sed 's/^/# /' "$tmp/log"
		echo "not ok $tests $name"
		;;
	esac
}

skip()
{
	echo "$*"
	return "$skip"
}

need()
{
	command -v "$1" > /dev/null || skip "no $1"
}

# expect STATUS OUTPUT COMMAND...: OUTPUT is all of stdout.
expect()
{
	want_status=$1
	printf '%s\n' "$2" > "$tmp/want"
	shift 2
	status=0
	"$@" > "$tmp/got" 2> "$tmp/err" || status=$?
	cat "$tmp/err"
	diff -u "$tmp/want" "$tmp/got" && test "$status" = "$want_status" && return
	echo "status $status of: $*"
	return 1
}

# fails PATTERN COMMAND...: nothing but one line on stderr, and status 3.
fails()
{
	want=$1
	shift
	status=0
	"$@" > "$tmp/got" 2> "$tmp/err" || status=$?
	test "$status" = 3 && test ! -s "$tmp/got" && test "$(wc -l < "$tmp/err")" = 1 &&
		grep -q "^procmap_query: .*$want" "$tmp/err" && return
	echo "status $status of: $*"
	cat "$tmp/got" "$tmp/err"
	return 1
}

# The file of a program, which may be a part of the shell.
program()
{
	case $(command -v "$1") in
	/*) realpath "$(command -v "$1")" ;;
	*) realpath "/proc/$$/exe" ;;
	esac
}

# A command that run_cat uses to run it with other privileges.
as=

# run_cat FD FILE: FILE, which is cat or a program of which that is a part and which
# looks at its own name for it, with its standard input and output at $tmp/in, $tmp/out.
run_cat()
{
	# shellcheck disable=SC2086 # a list
	mkdir "$tmp/$1" && ln -s "$2" "$tmp/$1/cat" &&
		exec $as "$tmp/$1/cat" < "$tmp/in$1" > "$tmp/out$1"
}

# start FD FILE: run that until it has come to rest, with its PID in $child. FD keeps its
# standard input open.
start()
{
	rm -rf "${tmp:?}/$1" "$tmp/in$1" "$tmp/out$1"
	mkfifo "$tmp/in$1" "$tmp/out$1"
	eval "exec $1<> \"\$tmp/in$1\""
	run_cat "$1" "$2" &
	child=$!
	pids="$pids $child"
	echo ready > "$tmp/in$1"
	read -r _ < "$tmp/out$1"
}

hex()
{
	printf %x "$(($1))"
}

# The maps of a process without the gate VMA, which the ioctl does not have.
maps()
{
	sed '/\[vsyscall\]$/d' "/proc/$1/maps"
}

starts()
{
	maps "$1" | sed 's/^0*//; s/-.*//'
}

# The figure in a column (time is 2) of the line of a method (text, ioctl).
figure()
{
	awk -v method="$1" -v column="$2" '$1 == method { print $column; exit }' "$tmp/got"
}

# The maps of a process with a match of an extended regular expression, as START-END.
ranges()
{
	maps "$1" | grep -E "$2" | cut -d' ' -f1
}

# Field 2 of the lines on standard input, of those whose address is in a VMA.
found()
{
	awk '$2 != "-" { print $2 }'
}

# equal WHAT A B
equal()
{
	test "$2" = "$3" && return
	echo "$1: $2, but must be $3"
	return 1
}

# Lines of a lookup without the ELF address.
without_elf()
{
	sed 's/^\([^ ]* [^ ]* [^ ]* [^ ]*\) [^ ]*/\1/'
}

# A lookup of the code of cat, from the text of maps and from the ELF file.
test_known()
{
	expect 0 "$known_line" "$tool" --lookup "$cat_pid" "$known"
}

test_forms()
{
	expect 0 "$known_line" "$tool" "$cat_pid" -l "0x$known" &&
		expect 0 "$known_line" "$tool" -l -- "$cat_pid" \
			"0X0000$(echo "$known" | tr a-f A-F)"
}

test_first_and_last()
{
	maps "$cat_pid" > "$tmp/maps"
	while read -r range perms offset dev inode path; do
		for addr in $((0x${range%-*})) $((0x${range#*-} - 1)); do
			at=$(printf %08x $((addr - 0x${range%-*} + 0x$offset)))
			test "$dev $inode $path" = "00:00 0 [vdso]" ||
				test "$dev $inode" != '00:00 0' || at=-
			echo "$(hex "$addr") $range $perms $at ${path:--}"
		done
	done < "$tmp/maps" > "$tmp/expected"
	test -s "$tmp/expected" &&
		cut -d' ' -f1 "$tmp/expected" | "$tool" -l "$cat_pid" > "$tmp/got" || return 1
	sed 's/ [^ ]*$//' "$tmp/got" | without_elf | diff -u "$tmp/expected" -
}

test_order()
{
	expect 1 "0 -
$known_line
0 -
$known_line" "$tool" -l "$cat_pid" 0 "$known" 0 "$known"
}

test_build_id()
{
	need readelf || return
	id=$(readelf -n "$cat" | sed -n 's/.*Build ID: //p')
	test -n "$id" || skip "no build ID in $cat" || return
	equal 'build ID' "$("$tool" -l "$cat_pid" "$known" | sed 's/.* //')" "$id"
}

# The program headers of a file that is mapped elsewhere than at the addresses in it.
test_elf_address()
{
	need readelf || return
	offset=$(echo "$known_line" | cut -d' ' -f4)
	readelf -lW "$cat" | awk '$1 == "LOAD" && / R E / { print $2, $3, $5 }' > "$tmp/load"
	read -r at vaddr filesz < "$tmp/load" && test $((0x$offset - at)) -lt $((filesz)) ||
		return
	equal address "$(echo "$known_line" | cut -d' ' -f5)" \
		"$(printf %08x $((0x$offset - at + vaddr)))"
}

# Of a program that is mapped at the addresses in it, addresses are ELF addresses.
test_elf_address_fixed()
{
	cat > "$tmp/fixed.c" <<- 'END'
		#include <unistd.h>
		char data = 1;

		int main(void)
		{
			char c;

			while (read(0, &c, 1) == 1 && write(1, &c, data) == 1)
				;
		}
	END
	need readelf || return
	# The kernel knows build IDs of up to 20 bytes, the tool of up to 64.
	for digits in 128 130; do
		id=$(printf "%0${digits}d" 0)
		cc -no-pie "-Wl,--build-id=0x$id" -o "$tmp/fixed" "$tmp/fixed.c" 2> /dev/null ||
			skip 'no cc' || return
		start 7 "$tmp/fixed"
		test "$digits" = 128 || id=-
		equal 'build ID' "$("$tool" -l "$child" "$(starts "$child" | head -n 1)" |
			sed 's/.* //')" "$id" || return
	done
	readelf -sW "$tmp/fixed" | awk '$8 == "main" || $8 == "data" { print $2 }' |
		sed 's/^0*//' > "$tmp/addresses"
	equal symbols "$(wc -l < "$tmp/addresses")" 2 &&
		"$tool" -l "$child" -f "$tmp/addresses" > "$tmp/got" || return
	cat "$tmp/got"
	cut -d' ' -f5 "$tmp/got" | sed 's/^0*//' | diff -u "$tmp/addresses" -
}

# Who may not use map_files reads the file by its name, unless another has that now.
test_elf_address_unprivileged()
{
	test "$(id -u)" = 0 || skip 'not root' || return
	as='setpriv --reuid 65534 --clear-groups'
	$as true 2> /dev/null || skip 'no setpriv' || return
	cp "$cat" "$tmp/file" && cp "$tool" "$tmp" && start 9 "$tmp/file" || return
	addr=$(hex "0x$(ranges "$child" ' r-xp .*/file$' | cut -d- -f1) + 0x123")
	equal before "$($as "$tmp/procmap_query" -l "$child" "$addr" | cut -d' ' -f5)" \
		"$(echo "$known_line" | cut -d' ' -f5)" &&
		rm "$tmp/file" && cp "$tmp/procmap_query" "$tmp/file (deleted)" &&
		equal after "$($as "$tmp/procmap_query" -l "$child" "$addr" | cut -d' ' -f5)" -
}

# [vdso] is no file, but an ELF image in the process.
test_vdso()
{
	need readelf || return
	vdso=$(ranges "$cat_pid" '\[vdso\]$')
	test -n "$vdso" || skip 'no [vdso]' || return
	start=$((0x${vdso%-*})) end=$((0x${vdso#*-}))
	dd if="/proc/$cat_pid/mem" of="$tmp/vdso" bs=4096 skip=$((start / 4096)) \
		count=$(((end - start) / 4096)) 2> /dev/null || return
	id=$(readelf -n "$tmp/vdso" | sed -n 's/.*Build ID: //p')
	entry=$(readelf -h "$tmp/vdso" | sed -n 's/.*Entry point.*: *0x//p')
	# The segment has all of the image, so offsets are its addresses, less the first.
	first=$(readelf -lW "$tmp/vdso" | awk '$1 == "LOAD" { print $3; exit }')
	at=$(hex "start + 0x$entry - first")
	offset=$((0x$at - start))
	offsets=$(printf '%08x %08x' "$offset" $((offset + first)))
	expect 0 "$at $vdso r-xp $offsets [vdso] ${id:--}" "$tool" -l "$cat_pid" "$at"
}

test_inputs()
{
	stack=$(awk -F- '/\[stack\]/ { print $1 }' "/proc/$cat_pid/maps")
	lines=$("$tool" -l "$cat_pid" "$known" "$stack") || return
	printf '# two\n\n  0x%s\t\n%s # stack\r\n#' "$known" "$stack" > "$tmp/file"
	printf '%s\n%s' "$known" "$stack" > "$tmp/stdin"
	printf '%7d  %16s\n%7d  %16s\n' "$cat_pid" "$known" "$cat_pid" "$stack" > "$tmp/perf"
	equal lines "$(echo "$lines" | wc -l)" 2 &&
		expect 0 "$lines" "$tool" -l "$cat_pid" < "$tmp/stdin" &&
		expect 0 "$lines" "$tool" -l "$cat_pid" -f - < "$tmp/stdin" &&
		expect 0 "$lines" "$tool" -l "$cat_pid" --addresses "$tmp/file" &&
		expect 0 "$lines" "$tool" -l "$cat_pid" -f "$tmp/perf" &&
		expect 0 "$lines" "$tool" -l "$cat_pid" --perf "$tmp/perf" &&
		expect 0 "$lines" "$tool" -l "$cat_pid" -p - < "$tmp/perf"
}

# reads OPTION STATUS ADDRESSES MESSAGES: look up what is in $tmp/input. % in MESSAGES is
# procmap_query.
reads()
{
	status=0
	"$tool" -l "$cat_pid" "$1" "$tmp/input" > "$tmp/got" 2> "$tmp/err" || status=$?
	cut -d' ' -f1 "$tmp/got" | tr '\n' ' ' > "$tmp/addresses"
	equal status "$status" "$2" && equal addresses "$(cat "$tmp/addresses")" "${3:+$3 }" &&
		equal messages "$(cat "$tmp/err")" "$(echo "$4" | sed 's/^%/procmap_query/')"
}

test_pid_column()
{
	printf '%d %s\n1 10001\n-1 10002\n%d 0x10003 # a\n99999999 10004\n10005\n' \
		"$cat_pid" "$known" "$cat_pid" > "$tmp/input"
	reads -f 1 "$known 10003 10005" \
		'%: left out 0 addresses of the kernel, 3 of other processes'
}

# Lines that have an address in them, but not for sure which word it is.
test_bad_lines()
{
	printf '%s\n\n%s\nf%s %s\n7fg0\n%d 0x\n1x %s\n%d %s 1\n12345678123456781\n%s\n' \
		"$known" "$known" "$known" "$known" "$cat_pid" "$known" "$cat_pid" "$known" \
		"$known" > "$tmp/input"
	reads -f 3 "$known $known $known" \
		"%: 6 lines of $tmp/input are not understood; the first is line 4"
}

test_nul()
{
	printf '%s\n%s\0%s\n%s\n' "$known" "$known" "$known" "$known" > "$tmp/input"
	reads -f 3 "$known $known" \
		"%: 1 lines of $tmp/input are not understood; the first is line 2" || return
	printf '%7d \n\t%16s\n\0\n' "$cat_pid" "$known" > "$tmp/input"
	reads -p 3 "$known" "%: 1 lines of $tmp/input are not understood; the first is line 3"
}

# A file with PID for that of cat, % for a tab at the beginning, ~ for a blank at the end.
perf_file()
{
	sed "s/^%/	/; s/~\$/ /; s/PID/$(printf %7d "$cat_pid")/"
}

# What perf script -F pid,ip prints: call chains, and samples without one.
perf_output()
{
	perf_file <<- 'END'
		# captured on: a machine
		PID~
		%           10001
		%    7f0964d10002 (inlined)
		%    7f0964d10002
		%ffffffff8168bae4

		     77~
		%           10003
		%           10004

		PID~

		PID             10005
		PID  ffffffff81000c82
		     -1             10006
		PID~
		%           10007

	END
}

test_perf()
{
	perf_output > "$tmp/input"
	messages='%: left out 2 addresses of the kernel, 3 of other processes
%: most addresses are in no VMA: see in --help which perf prints offsets'
	reads -p 1 '10001 7f0964d10002 10005 10007' "$messages" || return
	perf_output | sed 's/$/\r/' > "$tmp/input"
	reads -p 1 '10001 7f0964d10002 10005 10007' "$messages"
}

# Fields that were not asked for: an address among them would be taken for the sample's.
test_perf_other_fields()
{
	perf_file > "$tmp/input" <<- END
		PID             $known
		sh 28228 30187.956176:     250000 cpu-clock:
		%           10002 update_active.constprop.0+0x219 (/lib/ld-2.so)

		PID            1000a~
		%           10003

		PID     250000             10004
		    10005
		deadbeef 28488      7f59cd010009 [unknown] ([unknown])
		PID/$cat_pid             10006
		PID             10007 main+0x3 (/bin/a)
		%           10008

		PID~
		%           $known
		%           $known main

		%           1000b
		PID             10009
	END
	reads -p 3 "$known $known 10009" \
		"%: 12 lines of $tmp/input are not understood; the first is line 2"
}

test_filter()
{
	starts "$cat_pid" > "$tmp/addresses"
	"$tool" -l "$cat_pid" -f "$tmp/addresses" --executable > "$tmp/got"
	equal status $? 1 || return
	ranges "$cat_pid" ' r-xp ' > "$tmp/want"
	found < "$tmp/got" | diff -u "$tmp/want" - &&
		equal lines "$(wc -l < "$tmp/got")" "$(wc -l < "$tmp/addresses")" || return
	"$tool" -l "$cat_pid" -f "$tmp/addresses" --file-backed > "$tmp/got"
	equal status $? 1 || return
	ranges "$cat_pid" ' [0-9a-f]+:[0-9a-f]+ [1-9][0-9]* ' > "$tmp/want"
	found < "$tmp/got" | diff -u "$tmp/want" - || return
	"$tool" -lxb "$cat_pid" -f "$tmp/addresses" > "$tmp/got"
	equal status $? 1 || return
	ranges "$cat_pid" ' r-xp .*:[0-9a-f]+ [1-9][0-9]* ' > "$tmp/want"
	found < "$tmp/got" | diff -u "$tmp/want" - || return
	for options in -x -b -xb; do
		"$tool" "$options" "$cat_pid" -f "$tmp/addresses" || return
	done
}

# Names that could be taken for something else, in text and in JSON. PATH_ESCAPED
# is as in maps: nothing but the newline is escaped.
test_odd_name()
{
	addr=$(starts "$odd_pid" | head -n 1)
	range=$(maps "$odd_pid" | sed -n 's/ .*//p;q')
	id=${known_line##* }
	"$tool" -l "$odd_pid" "$addr" > "$tmp/line" &&
		expect 0 "$addr $range r--p 00000000 $odd_escaped $id" without_elf < "$tmp/line" &&
		starts "$odd_pid" | "$tool" "$odd_pid"
}

test_deleted()
{
	rm "$odd" || return
	odd="$odd (deleted)" odd_escaped="$odd_escaped (deleted)"
	test_odd_name
}

test_json_lookup()
{
	need python3 || return
	for pid in "$cat_pid" "$odd_pid"; do
		{ starts "$pid"; echo 0; } > "$tmp/addresses"
		"$tool" --lookup --json "$pid" -f "$tmp/addresses" > "$tmp/json"
		equal status $? 1 || return
		"$tool" -l "$pid" -f "$tmp/addresses" > "$tmp/text"
		python3 - "$tmp/json" "$tmp/text" <<- 'END' || return
	import json, re, sys

	keys = ['address', 'vma_start', 'vma_end', 'perms', 'offset', 'elf_address', 'path',
	        'build_id']
	def bare(v):
	    return '-' if v is None else v[2:].zfill(8) if v[:2] == '0x' else v
	objects = [json.loads(l) for l in open(sys.argv[1], 'rb')]
	lines = open(sys.argv[2], 'rb').read().decode('utf-8', 'surrogateescape').split('\n')
	assert len(objects) == len(lines) - 1 > 5
	for o, line in zip(objects, lines):
	    assert list(o) == keys, o
	    if o['vma_start'] is None:
	        assert set(list(o.values())[1:]) == {None}, o
	        assert line == o['address'][2:] + ' -', line
	        continue
	    v = {k: bare(o[k]) for k in keys}
	    line = re.sub('[\udc80-\udcff]', '\ufffd', line)
	    assert line == '%s %s-%s %s %s %s %s %s' % (o['address'][2:], v['vma_start'],
	        v['vma_end'], v['perms'], v['offset'], v['elf_address'], v['path'],
	        v['build_id']), (line, o)
		END
	done
}

# The JSON of the odd name, from the name itself.
test_json_name()
{
	need python3 || return
	"$tool" -lj "$odd_pid" "$(starts "$odd_pid" | head -n 1)" > "$tmp/json" || return
	python3 - "$odd" "$tmp/json" <<- 'END'
		import json, re, sys

		text = open(sys.argv[2], 'rb').read().decode()
		assert not re.search('[\0-\x09\x0b-\x1f]', text) and text.count('\n') == 1
		name = re.sub('[\udc80-\udcff]', '\ufffd', sys.argv[1]).replace('\n', '\\012')
		assert json.loads(text)['path'] == name, text
	END
}

# cat gets a path longer than PATH_MAX when its directory moves.
test_long_path()
{
	dir=$(printf '%0200d/' 0 0 0 0 0 0 0 0 0 0 0 0)
	mkdir -p "$tmp/a/$dir" "$tmp/b/$dir" && cp "$cat" "$tmp/a/$dir/cat" &&
		start 5 "$tmp/a/$dir/cat" && mv "$tmp/a" "$tmp/b/$dir" || return
	addr=$(starts "$child" | head -n 1)
	"$tool" -l "$child" "$addr" > "$tmp/got" &&
		grep "^$addr .* r--p 00000000 [^ ]* - ${known_line##* }\$" "$tmp/got" || return
	"$tool" "$child" "$addr"
	equal status $? 2 || return
	mv "$tmp/b/$dir/a" "$tmp"	# for rm, which can need paths shorter than PATH_MAX
}

test_compare()
{
	starts "$cat_pid" > "$tmp/addresses"
	n=$(wc -l < "$tmp/addresses")
	"$tool" "$cat_pid" -f "$tmp/addresses" > "$tmp/got" || return
	cat "$tmp/got"
	equal 'text bytes' "$(figure text 4)" "$(wc -c < "/proc/$cat_pid/maps").0" &&
		equal 'ioctl calls' "$(figure ioctl 3)" $((n + 1)).0 &&
		awk -v least=$((n * 104)) '$1 == "ioctl" && $4 >= least { ok = 1 }
			END { exit !ok }' "$tmp/got" &&
		grep "^agree: $n addresses, 0 of them in no VMA; disagree: 0\$" "$tmp/got"
}

# Many addresses in one VMA: one ioctl.
test_one_query()
{
	"$tool" "$cat_pid" "$(hex "0x$known + 2")" "$known" "$(hex "0x$known + 1")" "$known" \
		> "$tmp/got" || return
	cat "$tmp/got"
	equal 'ioctl calls' "$(figure ioctl 3)" 2.0 && grep '^agree: 4 addresses' "$tmp/got"
}

# Many addresses in one gap: one ioctl for them, and for the VMA after them.
test_one_query_for_a_gap()
{
	first=$(starts "$cat_pid" | head -n 1)
	"$tool" "$cat_pid" 2 0 1 "$(hex "0x$first - 1")" "$first" "$known" > "$tmp/got" || return
	cat "$tmp/got"
	equal 'ioctl calls' "$(figure ioctl 3)" 3.0 &&
		grep '^agree: 6 addresses, 4 of them in no VMA; disagree: 0$' "$tmp/got" || return
	# There is no VMA to answer with.
	"$tool" "$cat_pid" fffffffffffffffe ffffffffffffffff > "$tmp/got" || return
	cat "$tmp/got"
	equal 'ioctl calls' "$(figure ioctl 3)" 2.0 &&
		grep '^agree: 2 addresses, 2 of them in no VMA; disagree: 0$' "$tmp/got"
}

# An executable VMA that others lie before is the next one to an address before them.
test_one_query_for_filtered_vmas()
{
	starts "$cat_pid" | "$tool" -x "$cat_pid" > "$tmp/got" || return
	cat "$tmp/got"
	n=$(ranges "$cat_pid" ' r-xp ' | wc -l)
	# After the last one, there may be VMAs for which one ioctl finds nothing.
	case $(figure ioctl 3) in
	$((n + 1)).0 | $((n + 2)).0) ;;
	*) return 1 ;;
	esac
}

test_repeat()
{
	"$tool" "$cat_pid" "$known" 0 --repeat 3 > "$tmp/got" || return
	cat "$tmp/got"
	bytes=$(wc -c < "/proc/$cat_pid/maps")
	equal bytes "$(figure text 4)" "$bytes.0" && equal calls "$(figure ioctl 3)" 3.0 &&
		grep '^agree: 6 addresses, 3 of them' "$tmp/got"
}

test_gate()
{
	addr=$(sed -n 's/-.*\[vsyscall\]$//p' "/proc/$cat_pid/maps")
	test -n "$addr" || skip 'no [vsyscall]' || return
	expect 1 "$addr -" "$tool" -l "$cat_pid" "$addr" &&
		"$tool" "$cat_pid" "$addr" "$known" > "$tmp/got" &&
		grep '^agree: 2 addresses, 1 of them in no VMA; disagree: 0$' "$tmp/got"
}

test_help()
{
	"$tool" --help > "$tmp/help" && grep -q '^EXIT STATUS' "$tmp/help" || return
	for option in $("$tool" --help | grep -o '^    -[a-z], --[a-z]*' | sed 's/.* //'); do
		# Known, so it is something else that is missing.
		"$tool" "$option" < /dev/null 2>&1 | grep 'unrecognized' && return 1
	done
	! awk 'length > 85' "$tmp/help" | grep .
}

test_usage()
{
	# Two lines: the first is of getopt().
	"$tool" --frobnicate "$cat_pid" 0 2> "$tmp/err"
	equal status $? 3 && grep "^procmap_query: .*--frobnicate" "$tmp/err" &&
		fails 'no PID' "$tool" && fails 'no PID' "$tool" --lookup || return
	for pid in self 0 12x '' 99999999999999999999; do
		fails "bad PID '$pid'" "$tool" "$pid" 0 || return
	done
	fails "bad PID '-1'" "$tool" -- -1 0 &&
		fails "bad number of rounds '0'" "$tool" -n 0 "$cat_pid" 0 &&
		fails 'not from both' "$tool" -f /dev/null "$cat_pid" 0 &&
		fails 'one of them, and once' "$tool" -f /dev/null -p /dev/null "$cat_pid" &&
		fails 'one of them, and once' "$tool" -f /nowhere -f /dev/null "$cat_pid" &&
		fails '--repeat is for comparisons' "$tool" -l -n 1 "$cat_pid" 0 &&
		fails '--json for --lookup' "$tool" --json "$cat_pid" 0
}

test_bad_address()
{
	for addr in '' x 0x 12345678123456781 -1 '7f 7f' 7fg; do
		fails "bad address '$addr'" "$tool" -l -- "$cat_pid" "$addr" || return
	done
}

test_no_addresses()
{
	fails "no addresses of process $cat_pid in standard input" "$tool" "$cat_pid" < /dev/null &&
		fails 'no addresses of .* in /dev/null' "$tool" "$cat_pid" -f /dev/null &&
		fails 'no addresses of .* in /dev/null' "$tool" "$cat_pid" -p /dev/null &&
		fails 'cannot open /nowhere: No such file' "$tool" "$cat_pid" -f /nowhere &&
		fails 'cannot read /: Is a directory' "$tool" "$cat_pid" -p /
}

test_no_process()
{
	true &
	gone=$!
	wait "$gone"
	fails "no process $gone" "$tool" "$gone" 0 &&
		fails "no process $gone" "$tool" -l "$gone" 0
}

test_kernel_thread()
{
	test "$(cat /proc/2/comm 2> /dev/null)" = kthreadd || skip 'PID 2 is no kernel thread' ||
		return
	test "$(id -u)" = 0 || skip 'not root' || return
	fails 'process 2 has no memory' "$tool" 2 0 &&
		fails 'process 2 has no memory' "$tool" -l 2 0
}

# Its parent is a shell no more, so it stays.
test_zombie()
{
	# shellcheck disable=SC2016 # it is for the inner shell
	sh -c 'sleep 1000 & echo $! > "$1"; exec sleep 1001' sh "$tmp/zombie" &
	pids="$pids $!"
	until grep -q sleep "/proc/$!/comm"; do
		sleep 0.1
	done
	read -r pid < "$tmp/zombie"
	kill "$pid"
	until grep -q '^State:.Z' "/proc/$pid/status"; do
		sleep 0.1
	done
	fails "process $pid has no memory" "$tool" "$pid" 0 &&
		fails "process $pid has no memory" "$tool" -l "$pid" 0
}

test_permission()
{
	test "$(id -u)" = 0 || skip 'not root' || return
	setpriv --reuid 65534 --clear-groups true 2> /dev/null || skip 'no setpriv' || return
	cp "$tool" "$tmp" || return
	for option in --lookup --executable; do
		fails "no permission for /proc/$cat_pid/maps: be root" \
			setpriv --reuid 65534 --clear-groups "$tmp/procmap_query" \
			"$option" "$cat_pid" "$known" || return
	done
}

test_full()
{
	test -c /dev/full || skip 'no /dev/full' || return
	for option in --help --lookup --executable; do
		"$tool" "$option" "$cat_pid" "$known" > /dev/full 2> "$tmp/err"
		equal status $? 3 &&
			grep 'procmap_query: cannot write the output: No space' "$tmp/err" || return
	done
}

# With $SHIM, make the ioctl fail or change a byte of its answer; and run and remove
# $tmp/meanwhile before the first one fails (in "none") or the second is made.
build_shim()
{
	cat > "$tmp/shim.c" <<- 'END'
		#include <errno.h>
		#include <stdarg.h>
		#include <stdlib.h>
		#include <string.h>
		#include <sys/syscall.h>
		#include <unistd.h>

		int ioctl(int fd, unsigned long cmd, ...)
		{
			const char *shim = getenv("SHIM");
			int none = !strcmp(shim, "none");
			static int calls;
			va_list args;
			char *arg;
			int ret;

			va_start(args, cmd);
			arg = va_arg(args, char *);
			va_end(args);
			if (calls++ == !none && !access("meanwhile", F_OK)) {
				unsetenv("LD_PRELOAD");
				if (system("sh ./meanwhile && rm meanwhile"))
					abort();
			}
			if (none) {
				errno = ENOTTY;
				return -1;
			}
			ret = syscall(SYS_ioctl, fd, cmd, arg);
			if (!ret && !strcmp(shim, "name"))
				**(char **)(arg + 88) ^= 1;
			else if (!ret && atoi(shim))
				arg[atoi(shim)] ^= 1;
			return ret;
		}
	END
	cc -shared -fPIC -o "$tmp/shim.so" "$tmp/shim.c" 2> /dev/null
}

# In LD_PRELOAD, a space would separate names.
shim()
(
	what=$1
	shift
	cd "$tmp" && SHIM=$what LD_PRELOAD=./shim.so "$@"
)

# On a kernel without the ioctl, a lookup gives the same, from the text.
test_no_ioctl()
{
	test -e "$tmp/shim.so" || skip 'no cc' || return
	fails 'this kernel has no PROCMAP_QUERY (Linux 6.11' shim none "$tool" "$cat_pid" 0 ||
		return
	# Only root can read the file of a name with a newline, and so find its build ID.
	for pid in "$cat_pid" $(test "$(id -u)" != 0 || echo "$odd_pid"); do
		# Also in gaps, the gate, and behind all
		sed 's/[- ].*//' "/proc/$pid/maps" > "$tmp/addresses"
		printf '0\n1000\n%s\nffffffffffffffff\n' "$known" >> "$tmp/addresses"
		for options in -l -lj -lx -lxb; do
			"$tool" "$options" "$pid" -f "$tmp/addresses" > "$tmp/query"
			expect 1 "$(cat "$tmp/query")" shim none "$tool" "$options" "$pid" \
				-f "$tmp/addresses" || return
		done
	done
}

test_exit_meanwhile()
{
	test -e "$tmp/shim.so" || skip 'no cc' || return
	for what in 0 none; do
		start 9 "$cat"
		cat > "$tmp/meanwhile" <<- END
			kill -KILL $child
			while grep -qs '^State:.[^XZ]' /proc/$child/status; do :; done
		END
		fails "process $child has no memory.* has exited" \
			shim "$what" "$tool" -l "$child" 0 ffffffffffff || return
		test ! -e "$tmp/meanwhile" || return
	done
}

# The shell becomes cat between two ioctls, and before the text is read.
test_exec_meanwhile()
{
	test -e "$tmp/shim.so" || skip 'no cc' || return
	for what in 0 none; do
		rm -rf "$tmp/8" "$tmp/in8" "$tmp/out8"
		mkfifo "$tmp/in8" "$tmp/out8"
		exec 8<> "$tmp/in8"
		{ read -r _ < "$tmp/in8" && run_cat 8 "$cat"; } &
		pids="$pids $!"
		echo 'echo exec > in8 && echo ready > in8 && read -r _ < out8' > "$tmp/meanwhile"
		fails "process $! has called execve() meanwhile" \
			shim "$what" "$tool" -l "$!" 0 ffffffffffff || return
		test ! -e "$tmp/meanwhile" || return
	done
}

# Each field of the answer matters: its place in struct procmap_query.
test_disagree()
{
	test -e "$tmp/shim.so" || skip 'no cc' || return
	for field in 24 32 40 56 64 72 76 name; do
		shim "$field" "$tool" "$cat_pid" "$known" > "$tmp/got"
		equal "status, field $field" $? 2 || return
		cat "$tmp/got"
		grep -A 1 "^disagree: $known\$" "$tmp/got" | grep -q '^  text .*/' &&
			grep -q '^  ioctl .*/' "$tmp/got" &&
			grep -q '^agree: 0 .* disagree: 1$' "$tmp/got" || return
	done
	shim 48 "$tool" "$cat_pid" "$known" # page size, not in the text
}

# cat may be a part of busybox.
test_busybox()
{
	need busybox || return
	start 6 "$(program busybox)"
	range=$(ranges "$child" ' r-xp .*busybox' | head -n 1)
	addr=$(hex "0x${range%-*}")
	"$tool" -l "$child" "$addr" > "$tmp/got"
	equal status $? 0 && grep "^$addr $range r-xp .*/busybox " "$tmp/got" &&
		starts "$child" | "$tool" "$child"
}

echo 'TAP version 13'
cat=$(program cat)
start 3 "$cat" || exit
cat_pid=$child

# Without the ioctl, there is not much to test.
case $("$tool" "$cat_pid" 0 2>&1) in
*'no PROCMAP_QUERY'*) echo '1..0 # SKIP no PROCMAP_QUERY'; exit "$skip" ;;
esac

# An address of the code of cat and the answer to it.
IFS=' -' read -r lo hi offset << END
$(sed -n "s|^\([0-9a-f]*-[0-9a-f]*\) r-xp \([0-9a-f]*\) .* $cat\$|\1 \2|p" \
	"/proc/$cat_pid/maps" | head -n 1)
END
known=$(hex "0x$lo + 0x123")
# The ELF address and the build ID are for tests of their own.
known_line="$known $lo-$hi r-xp $(printf %08x "$((0x$offset + 0x123))") $(
	"$tool" -l "$cat_pid" "$known" | cut -d' ' -f5) $cat $(
	"$tool" -l "$cat_pid" "$known" | sed 's/.* //')"

# A name with a newline, one that looks like one, quotes, controls, an é, bytes that
# are not UTF-8 (also surrogate, overlong, too high), and a space at the end.
odd=$(printf 'a  "b" \\ \\012 c\n\td\001\037\177\303\251'
	printf '\377\342\202 \355\240\200\300\200\364\220\200\200 .')
odd=$tmp/${odd%.}
odd_escaped=$(printf %s "$odd" | awk '{ printf "%s%s", sep, $0; sep = "\\012" }' && echo .)
odd_escaped=${odd_escaped%.}
cp "$cat" "$odd"
start 4 "$odd" || exit
odd_pid=$child

build_shim

try 'lookup of an address in the code' test_known
try 'lookup with 0x, capitals, leading zeros' test_forms
try 'lookup of the first and last byte of each VMA' test_first_and_last
try 'lookup keeps order and duplicates, and no VMA is status 1' test_order
try 'build ID is that of readelf' test_build_id
try 'ELF address is that of the program headers' test_elf_address
try 'ELF addresses of a program at a fixed address' test_elf_address_fixed
try 'ELF address, if map_files is not to be read' test_elf_address_unprivileged
as=
try 'offset, ELF address and build ID of [vdso]' test_vdso
try 'addresses from arguments, stdin, file, perf' test_inputs
try 'addresses of other processes are left out' test_pid_column
try 'lines that are not understood are counted' test_bad_lines
try 'a line with NUL is not understood' test_nul
try 'perf script -F pid,ip, with and without call chains, CRLF' test_perf
try 'perf script with other fields is not understood' test_perf_other_fields
try 'executable and file-backed mappings only' test_filter
try 'name with odd characters' test_odd_name
try 'JSON of lookup is that of the text' test_json_lookup
try 'JSON of a name with odd characters' test_json_name
try 'deleted file with an odd name' test_deleted
try 'path longer than PATH_MAX' test_long_path
try 'comparison agrees, with the right figures' test_compare
try 'one ioctl per VMA' test_one_query
try 'one ioctl per gap' test_one_query_for_a_gap
try 'one ioctl per executable VMA' test_one_query_for_filtered_vmas
try 'repeat' test_repeat
try 'gate VMA' test_gate
try 'help' test_help
try 'error: options and PIDs' test_usage
try 'error: bad address' test_bad_address
try 'error: no addresses, no file' test_no_addresses
try 'error: no such process' test_no_process
try 'error: kernel thread' test_kernel_thread
try 'error: zombie' test_zombie
try 'error: no permission' test_permission
try 'error: output cannot be written' test_full
try 'the same from the text, on a kernel without the ioctl' test_no_ioctl
try 'error: process exits meanwhile' test_exit_meanwhile
try 'error: process calls execve() meanwhile' test_exec_meanwhile
try 'disagreement in each field' test_disagree
try 'a target that is busybox' test_busybox
echo "1..$tests"
test "$failed" = 0
