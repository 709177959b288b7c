#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Test tools/mm/procmap_query on processes that do not change their mappings, against the
# text of /proc/PID/maps and what readelf says.
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

# equal WHAT A B
equal()
{
	test "$2" = "$3" && return
	echo "$1: $2, but must be $3"
	return 1
}

as=	# a command that runs the tool or a target

# prints STATUS STDOUT STDERR ARG...: what the tool does with these arguments. STDERR is a
# pattern of the shell with % for procmap_query.
prints()
{
	want_status=$1 want_out=$2 want_err=$3
	shift 3
	status=0
	$as "$tool" "$@" > "$tmp/got" 2> "$tmp/err" || status=$?
	cat "$tmp/got" "$tmp/err"
	equal status "$status" "$want_status" && equal output "$(cat "$tmp/got")" "$want_out" ||
		return
	# shellcheck disable=SC2254 # a pattern
	case $(sed 's/^procmap_query: /%: /' "$tmp/err") in
	$want_err) return ;;
	esac
	echo "the message must be: $want_err"
	return 1
}

# fails PATTERN ARG...: nothing but one line on stderr, and status 3.
fails()
{
	want=$1
	shift
	prints 3 '' "%: *$want*" "$@" && equal lines "$(wc -l < "$tmp/err")" 1
}

# The file of a program, which may be a part of the shell.
program()
{
	case $(command -v "$1") in
	/*) realpath "$(command -v "$1")" ;;
	*) realpath "/proc/$$/exe" ;;
	esac
}

# run_cat FD FILE: FILE, which is cat or a program of which that is a part and which
# looks at its own name for it, with its standard input and output at $tmp/in, $tmp/out.
run_cat()
{
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

# The maps of a process with a match of an extended regular expression, as START-END.
ranges()
{
	maps "$1" | grep -E "$2" | cut -d' ' -f1
}

build_id()
{
	readelf -n "$1" | sed -n 's/.*Build ID: //p'
}

# field N ADDRESS: of the answer for that address of $child; 0 is the last one.
field()
{
	$as "$tool" -l "$child" "$2" | awk -v n="$1" '{ print n ? $n : $NF }'
}

# The answers for addresses, none of which but $known is in a VMA.
answers()
{
	for addr; do
		case $addr in
		"$known") echo "$known_line" ;;
		*) echo "$addr -" ;;
		esac
	done
}

echo 'TAP version 13'
cat=$(program cat)
start 3 "$cat" || exit
cat_pid=$child

# Without the ioctl, there is not much to test.
case $("$tool" "$cat_pid" 0 2>&1) in
*'no PROCMAP_QUERY'*) echo '1..0 # SKIP no PROCMAP_QUERY'; exit "$skip" ;;
esac

# An address of the code of cat and the answer to it, from the text of maps and from the
# ELF file: the build ID, and the address that the program headers make of the offset.
IFS=' -' read -r lo hi offset << END
$(sed -n "s|^\([0-9a-f]*-[0-9a-f]*\) r-xp \([0-9a-f]*\) .* $cat\$|\1 \2|p" \
	"/proc/$cat_pid/maps" | head -n 1)
END
known=$(hex "0x$lo + 0x123")
offset=$(printf %08x "$((0x$offset + 0x123))")
if need readelf > /dev/null; then
	id=$(build_id "$cat")
	read -r at vaddr << END
$(readelf -lW "$cat" | awk '$1 == "LOAD" && / R E / { print $2, $3 }')
END
	elf=$(printf %08x $((0x$offset - at + vaddr)))
else
	id=$(field 0 "$known")
	elf=$(field 5 "$known")
fi
known_line="$known $lo-$hi r-xp $offset $elf $cat ${id:--}"

# Lookups

try 'lookup of an address in the code' prints 0 "$known_line" '' --lookup "$cat_pid" "$known"
try 'lookup with 0x' prints 0 "$known_line" '' "$cat_pid" -l "0x$known"
try 'lookup with capitals, leading zeros' prints 0 "$known_line" '' -l -- "$cat_pid" \
	"0X0000$(echo "$known" | tr a-f A-F)"
try 'lookup keeps order and duplicates, and no VMA is status 1' prints 1 \
	"$(answers 0 "$known" 0 "$known")" '' -l "$cat_pid" 0 "$known" 0 "$known"

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
	# All but the ELF address and the build ID
	sed 's/^\([^ ]* [^ ]* [^ ]* [^ ]*\) [^ ]*/\1/; s/ [^ ]*$//' "$tmp/got" |
		diff -u "$tmp/expected" -
}
try 'lookup of the first and last byte of each VMA' test_first_and_last

# Of a program that is mapped at the addresses in it, addresses are ELF addresses. The
# kernel knows build IDs of up to 20 bytes, the tool of up to 64.
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
	for digits in 128 130; do
		id=$(printf "%0${digits}d" 0)
		cc -no-pie "-Wl,--build-id=0x$id" -o "$tmp/fixed" "$tmp/fixed.c" 2> /dev/null ||
			skip 'no cc' || return
		start 7 "$tmp/fixed"
		test "$digits" = 128 || id=-
		equal 'build ID' "$(field 0 "$(starts "$child" | head -n 1)")" "$id" || return
	done
	readelf -sW "$tmp/fixed" | awk '$8 == "main" || $8 == "data" { print $2 }' |
		sed 's/^0*//' > "$tmp/addresses"
	equal symbols "$(wc -l < "$tmp/addresses")" 2 &&
		"$tool" -l "$child" -f "$tmp/addresses" > "$tmp/got" || return
	cut -d' ' -f5 "$tmp/got" | sed 's/^0*//' | diff -u "$tmp/addresses" -
}
try 'ELF addresses of a program at a fixed address' test_elf_address_fixed

nobody='setpriv --reuid 65534 --clear-groups'
need_nobody()
{
	test "$(id -u)" = 0 || skip 'not root' || return
	$nobody true 2> /dev/null || skip 'no setpriv' || return
	cp "$tool" "$tmp"
}

# Who may not use map_files reads the file by its name, unless another has that now.
test_elf_address_unprivileged()
{
	need_nobody || return
	cp "$cat" "$tmp/file" && as=$nobody tool=$tmp/procmap_query && start 9 "$tmp/file" || return
	addr=$(hex "0x$(ranges "$child" ' r-xp .*/file$' | cut -d- -f1) + 0x123")
	equal before "$(field 5 "$addr")" "$elf" && rm "$tmp/file" &&
		cp "$tool" "$tmp/file (deleted)" && equal after "$(field 5 "$addr")" -
}
try 'ELF address, if map_files is not to be read' test_elf_address_unprivileged
as='' tool=$here/procmap_query

# [vdso] is no file, but an ELF image in the process.
test_vdso()
{
	need readelf || return
	vdso=$(ranges "$cat_pid" '\[vdso\]$')
	test -n "$vdso" || skip 'no [vdso]' || return
	start=$((0x${vdso%-*})) end=$((0x${vdso#*-}))
	dd if="/proc/$cat_pid/mem" of="$tmp/vdso" bs=4096 skip=$((start / 4096)) \
		count=$(((end - start) / 4096)) 2> /dev/null || return
	id=$(build_id "$tmp/vdso")
	entry=$(readelf -h "$tmp/vdso" | sed -n 's/.*Entry point.*: *0x//p')
	# The segment has all of the image, so offsets are its addresses, less the first.
	first=$(readelf -lW "$tmp/vdso" | awk '$1 == "LOAD" { print $3; exit }')
	at=$(hex "start + 0x$entry - first")
	offset=$((0x$at - start))
	offsets=$(printf '%08x %08x' "$offset" $((offset + first)))
	prints 0 "$at $vdso r-xp $offsets [vdso] ${id:--}" '' -l "$cat_pid" "$at"
}
try 'offset, ELF address and build ID of [vdso]' test_vdso

# Only VMAs that are executable, that map a file, or both
test_filter()
{
	starts "$cat_pid" > "$tmp/addresses"
	while IFS='|' read -r option pattern; do
		"$tool" -l "$option" "$cat_pid" -f "$tmp/addresses" > "$tmp/got"
		equal status $? 1 || return
		ranges "$cat_pid" "$pattern" > "$tmp/want"
		awk '$2 != "-" { print $2 }' "$tmp/got" | diff -u "$tmp/want" - &&
			equal lines "$(wc -l < "$tmp/got")" "$(wc -l < "$tmp/addresses")" &&
			"$tool" "$option" "$cat_pid" -f "$tmp/addresses" || return
	done <<- 'END'
		--executable| r-xp
		--file-backed| [0-9a-f]+:[0-9a-f]+ [1-9]
		-xb| r-xp .*:[0-9a-f]+ [1-9]
	END
}
try 'executable and file-backed mappings only' test_filter

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
try 'path longer than PATH_MAX' test_long_path

# Input: a row has a file, what is to be read in it, and what is said of the rest.

# reads STATUS ADDRESSES STDERR OPTION: look up what is in the file on standard input. In it
# KNOWN is $known, PID that of cat, % a tab, ~ a blank at the end, @ a zero byte.
reads()
{
	sed "s/^%/	/; s/~\$/ /; s/PID/$(printf %7d "$cat_pid")/; s/KNOWN/$known/g" |
		tr @ '\0' > "$tmp/input"
	# shellcheck disable=SC2086 # a list
	prints "$1" "$(answers $2)" "$3" -l "$cat_pid" "$4" "$tmp/input"
}

bad='lines of * are not understood; the first is line'
printf '%s\n0' "$known" > "$tmp/stdin"
try 'addresses from stdin' prints 1 "$(answers "$known" 0)" '' -l "$cat_pid" < "$tmp/stdin"
try 'addresses from -' prints 1 "$(answers "$known" 0)" '' -l "$cat_pid" -f - < "$tmp/stdin"
try 'perf from -' prints 1 "$(answers "$known" 0)" '' -l "$cat_pid" -p - <<- END
	$(printf %7d "$cat_pid")  $(printf %16s "$known")
	$(printf %7d "$cat_pid")  0
END
try 'blanks, comments, CRLF' reads 1 "$known 0" '' --addresses << END
# two

  0xKNOWN$(printf '\t')
0 # nothing$(printf '\r')
#
END
try 'PIDs, as of perf, in a file of addresses' reads 1 "$known 0" '' -f << END
PID             KNOWN
PID                 0
END
try 'addresses of other processes are left out' reads 1 "$known 10003 10005" \
	'%: left out 0 addresses of the kernel, 3 of other processes' -f << END
$cat_pid KNOWN
1 10001
-1 10002
$cat_pid 0x10003 # a
99999999 10004
10005
END
# Lines that have an address in them, but not for sure which word it is.
try 'lines that are not understood are counted' reads 3 "$known $known $known" \
	"%: 6 $bad 4" -f << END
KNOWN

KNOWN
fKNOWN KNOWN
7fg0
$cat_pid 0x
1x KNOWN
$cat_pid KNOWN 1
12345678123456781
KNOWN
END
try 'a line with NUL is not understood' reads 3 "$known $known" "%: 1 $bad 2" -f << END
KNOWN
KNOWN@KNOWN
KNOWN
END
try 'a line of perf with NUL is not understood' reads 3 "$known" "%: 1 $bad 3" -p << END
PID~
%           KNOWN
@
END

# What perf script -F pid,ip prints: call chains, and samples without one.
cat > "$tmp/perf" <<- 'END'
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
sed 's/$/\r/; s/~\r$/ \r/' "$tmp/perf" > "$tmp/crlf"
for file in perf crlf; do
	try "perf script -F pid,ip, with and without call chains, $file" reads 1 \
		'10001 7f0964d10002 10005 10007' \
		'%: left out 2 addresses of the kernel, 3 of other processes
%: most addresses are in no VMA: see in --help which perf prints offsets' -p < "$tmp/$file"
done

# Fields that were not asked for: an address among them would be taken for the sample's.
try 'perf script with other fields is not understood' reads 3 "$known $known 10009" \
	"%: 12 $bad 2" --perf << END
PID             KNOWN
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
%           KNOWN
%           KNOWN main

%           1000b
PID             10009
END

# Odd names

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

# As in maps, nothing but the newline is escaped.
test_odd_name()
{
	addr=$(starts "$odd_pid" | head -n 1)
	range=$(maps "$odd_pid" | sed -n 's/ .*//p;q')
	"$tool" -l "$odd_pid" "$addr" > "$tmp/line" &&
		equal line "$(sed 's/^\([^ ]* [^ ]* [^ ]* [^ ]*\) [^ ]*/\1/' "$tmp/line")" \
			"$addr $range r--p 00000000 $odd_escaped$1 ${known_line##* }" &&
		starts "$odd_pid" | "$tool" "$odd_pid"
}
try 'name with odd characters' test_odd_name ''

# test_json PID FILE: JSON of its VMAs and of a gap is that of the text, and FILE is in it.
test_json()
{
	need python3 || return
	{ starts "$1"; echo 0; } > "$tmp/addresses"
	"$tool" --lookup --json "$1" -f "$tmp/addresses" > "$tmp/json"
	equal status $? 1 || return
	"$tool" -l "$1" -f "$tmp/addresses" > "$tmp/text"
	python3 - "$tmp/json" "$tmp/text" "$2" <<- 'END'
	import json, re, sys

	keys = ['address', 'vma_start', 'vma_end', 'perms', 'offset', 'elf_address', 'path',
	        'build_id']
	def bare(v):
	    return '-' if v is None else v[2:].zfill(8) if v[:2] == '0x' else v
	text = open(sys.argv[1], 'rb').read().decode()
	assert not re.search('[\0-\x09\x0b-\x1f]', text)
	objects = [json.loads(l) for l in text.split('\n')[:-1]]
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
	name = re.sub('[\udc80-\udcff]', '\ufffd', sys.argv[3]).replace('\n', '\\012')
	assert name in [o['path'] for o in objects], name
	END
}
try 'JSON of lookup is that of the text' test_json "$cat_pid" "$cat"
try 'JSON of a name with odd characters' test_json "$odd_pid" "$odd"

rm "$odd"
try 'deleted file with an odd name' test_odd_name ' (deleted)'

# Comparisons: a row has the figures.

# compares CALLS ADDRESSES NO_VMA ARG...: of the ioctl, an extended regular expression; of
# these, so many in no VMA. The text is read whole, and all ioctls but one find something.
compares()
{
	calls=$1 agree="agree: $2 addresses, $3 of them in no VMA; disagree: 0"
	shift 3
	"$tool" "$@" > "$tmp/got" || return
	cat "$tmp/got"
	awk -v calls="^($calls)[.]0\$" -v bytes="$(wc -c < "/proc/$cat_pid/maps").0" '
		$1 == "text" { n += $4 == bytes }
		$1 == "ioctl" { n += $3 ~ calls && $4 >= 104 * ($3 - 2) }
		END { exit n != 2 }' "$tmp/got" && grep "^$agree\$" "$tmp/got"
}

n=$(starts "$cat_pid" | wc -l)
first=$(starts "$cat_pid" | head -n 1)
gate=$(sed -n 's/-.*\[vsyscall\]$//p' "/proc/$cat_pid/maps")
starts "$cat_pid" > "$tmp/starts"
try 'comparison agrees, with the right figures' compares $((n + 1)) "$n" 0 \
	"$cat_pid" -f "$tmp/starts"
try 'one ioctl per VMA' compares 2 4 0 "$cat_pid" "$(hex "0x$known + 2")" "$known" \
	"$(hex "0x$known + 1")" "$known"
try 'one ioctl per gap, and for the VMA after it' compares 3 6 4 "$cat_pid" 2 0 1 \
	"$(hex "0x$first - 1")" "$first" "$known"
try 'one ioctl for a gap with no VMA after it' compares 2 2 2 \
	"$cat_pid" fffffffffffffffe ffffffffffffffff
# After the last executable one, there may be VMAs for which one ioctl finds nothing.
x=$(ranges "$cat_pid" ' r-xp ' | wc -l)
try 'one ioctl per executable VMA' compares "$((x + 1))|$((x + 2))" "$n" $((n - x)) \
	-x "$cat_pid" -f "$tmp/starts"
try 'repeat' compares 3 6 3 "$cat_pid" "$known" 0 --repeat 3
test -z "$gate" || try 'gate VMA' prints 1 "$gate -" '' -l "$cat_pid" "$gate"
test -z "$gate" || try 'comparison of the gate VMA' compares 3 2 1 "$cat_pid" "$gate" "$known"

# Errors, and options

true &
gone=$!
wait "$gone"
while IFS='|' read -r pattern args; do
	eval "set -- $args"
	try "error: $pattern: $args" fails "$pattern" "$@" < /dev/null
done << END
no PID|
no PID|--lookup
bad PID 'self'|self 0
bad PID '0'|0 0
bad PID '12x'|12x 0
bad PID ''|'' 0
bad PID '99999999999999999999'|99999999999999999999 0
bad PID '-1'|-- -1 0
bad number of rounds '0'|-n 0 $cat_pid 0
not from both|-f /dev/null $cat_pid 0
one of them, and once|-f /dev/null -p /dev/null $cat_pid
one of them, and once|-f /nowhere -f /dev/null $cat_pid
--repeat is for comparisons|-l -n 1 $cat_pid 0
--json for --lookup|--json $cat_pid 0
bad address ''|-l -- $cat_pid ''
bad address 'x'|-l -- $cat_pid x
bad address '0x'|-l -- $cat_pid 0x
bad address '12345678123456781'|-l -- $cat_pid 12345678123456781
bad address '-1'|-l -- $cat_pid -1
bad address '7f 7f'|-l -- $cat_pid '7f 7f'
bad address '7fg'|-l -- $cat_pid 7fg
no addresses of process $cat_pid in standard input|$cat_pid
no addresses of * in /dev/null|$cat_pid -f /dev/null
no addresses of * in /dev/null|$cat_pid -p /dev/null
cannot open /nowhere: No such file|$cat_pid -f /nowhere
cannot read /: Is a directory|$cat_pid -p /
no process $gone|$gone 0
no process $gone|-l $gone 0
END
# Two lines: the first is of getopt().
try 'error: unknown option' prints 3 '' '%: *--frobnicate*' --frobnicate "$cat_pid" 0

test_help()
{
	"$tool" --help > "$tmp/help" && grep -q '^EXIT STATUS' "$tmp/help" || return
	for option in $("$tool" --help | grep -o '^    -[a-z], --[a-z]*' | sed 's/.* //'); do
		# Known, so it is something else that is missing.
		"$tool" "$option" < /dev/null 2>&1 | grep 'unrecognized' && return 1
	done
	! awk 'length > 85' "$tmp/help" | grep .
}
try 'help' test_help

test_no_memory()
{
	fails "process $1 has no memory" "$1" 0 && fails "process $1 has no memory" -l "$1" 0
}

test_kernel_thread()
{
	test "$(cat /proc/2/comm 2> /dev/null)" = kthreadd || skip 'PID 2 is no kernel thread' ||
		return
	test "$(id -u)" = 0 || skip 'not root' || return
	test_no_memory 2
}
try 'error: kernel thread' test_kernel_thread

# Its parent is a shell no more, so it stays.
test_zombie()
{
	# shellcheck disable=SC2016 # it is for the inner shell
	sh -c 'sleep 1000 & echo $! > "$1"; exec sleep 1001' sh "$tmp/zombie" &
	pids="$pids $!"
	until grep -q sleep "/proc/$!/comm"; do :; done
	read -r pid < "$tmp/zombie"
	kill "$pid"
	until grep -q '^State:.Z' "/proc/$pid/status"; do :; done
	test_no_memory "$pid"
}
try 'error: zombie' test_zombie

test_permission()
{
	need_nobody && as=$nobody tool=$tmp/procmap_query || return
	for option in --lookup --executable; do
		fails "no permission for /proc/$cat_pid/maps: be root" "$option" "$cat_pid" \
			"$known" || return
	done
}
try 'error: no permission' test_permission
as='' tool=$here/procmap_query

test_full()
{
	test -c /dev/full || skip 'no /dev/full' || return
	for option in --help --lookup --executable; do
		"$tool" "$option" "$cat_pid" "$known" > /dev/full 2> "$tmp/err"
		equal status $? 3 &&
			grep 'procmap_query: cannot write the output: No space' "$tmp/err" || return
	done
}
try 'error: output cannot be written' test_full

# Another kernel, and what happens meanwhile: with $SHIM, make the ioctl fail or change a
# byte of its answer; and run and remove $tmp/meanwhile before the first one fails (in
# "none") or the second is made.
cat > "$tmp/shim.c" << 'END'
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int ioctl(int fd, unsigned long cmd, char *arg)
{
	const char *shim = getenv("SHIM");
	int ret, none = !strcmp(shim, "none");
	static int calls;

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

# In LD_PRELOAD, a space would separate names.
shim()
(
	what=$1
	shift
	cd "$tmp" && SHIM=$what LD_PRELOAD=./shim.so "$@"
)

need_shim()
{
	test -e "$tmp/shim.so" || skip 'no cc'
}

# On a kernel without the ioctl, a lookup gives the same, from the text.
test_no_ioctl()
{
	need_shim || return
	as='shim none'
	fails 'this kernel has no PROCMAP_QUERY (Linux 6.11' "$cat_pid" 0 || return
	# Only root can read the file of a name with a newline, and so find its build ID.
	for pid in "$cat_pid" $(test "$(id -u)" != 0 || echo "$odd_pid"); do
		# Also in gaps, the gate, and behind all
		sed 's/[- ].*//' "/proc/$pid/maps" > "$tmp/addresses"
		printf '0\n1000\n%s\nffffffffffffffff\n' "$known" >> "$tmp/addresses"
		for options in -l -lj -lx -lxb; do
			out=$("$tool" "$options" "$pid" -f "$tmp/addresses")
			prints 1 "$out" '' "$options" "$pid" -f "$tmp/addresses" || return
		done
	done
}
try 'the same from the text, on a kernel without the ioctl' test_no_ioctl
as=

# meanwhile SHIM MESSAGE: what $tmp/meanwhile does to $child is told.
meanwhile()
{
	as="shim $1"
	fails "process $child $2" -l "$child" 0 ffffffffffff && test ! -e "$tmp/meanwhile"
	set -- $?
	as=
	return "$1"
}

test_exit_meanwhile()
{
	need_shim || return
	start 9 "$cat"
	cat > "$tmp/meanwhile" <<- END
		kill -KILL $child
		while grep -qs '^State:.[^XZ]' /proc/$child/status; do :; done
	END
	meanwhile "$1" 'has no memory*has exited'
}
try 'error: process exits between two ioctls' test_exit_meanwhile 0
try 'error: process exits before the text is read' test_exit_meanwhile none

# The shell becomes cat.
test_exec_meanwhile()
{
	need_shim || return
	rm -rf "$tmp/8" "$tmp/in8" "$tmp/out8"
	mkfifo "$tmp/in8" "$tmp/out8"
	exec 8<> "$tmp/in8"
	{ read -r _ < "$tmp/in8" && run_cat 8 "$cat"; } &
	child=$!
	pids="$pids $child"
	echo 'echo exec > in8 && echo ready > in8 && read -r _ < out8' > "$tmp/meanwhile"
	meanwhile "$1" 'has called execve() meanwhile'
}
try 'error: process calls execve() between two ioctls' test_exec_meanwhile 0
try 'error: process calls execve() before the text is read' test_exec_meanwhile none

# Each field of the answer matters: its place in struct procmap_query.
test_disagree()
{
	need_shim || return
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
try 'disagreement in each field' test_disagree

echo "1..$tests"
test "$failed" = 0
