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
tmp=$(mktemp -d) || exit
pids=
chmod 755 "$tmp"	# for the user in test_permission
# shellcheck disable=SC2086 # a list
trap 'test -z "$pids" || kill $pids 2> /dev/null; wait; rm -rf "$tmp"' EXIT
trap 'exit 1' HUP INT PIPE TERM

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

# start FD BINARY: a copy of cat that has come to rest, and its PID in $child.
# FD keeps its standard input open.
start()
{
	mkfifo "$tmp/in$1" "$tmp/out$1"
	eval "exec $1<> \"\$tmp/in$1\""
	"$2" < "$tmp/in$1" > "$tmp/out$1" &
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
	grep -av '\[vsyscall\]$' "/proc/$1/maps"
}

starts()
{
	maps "$1" | cut -d- -f1
}

# The figure in a column (time is 2) of the line of a method (text, ioctl).
figure()
{
	awk -v method="$1" -v column="$2" '$1 == method { print $column; exit }' "$tmp/got"
}

# equal WHAT A B
equal()
{
	test "$2" = "$3" && return
	echo "$1: $2, but must be $3"
	return 1
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
			test "$dev $inode" != '00:00 0' || at=-
			echo "$(hex "$addr") $range $perms $at ${path:--}"
		done
	done < "$tmp/maps" > "$tmp/expected"
	test -s "$tmp/expected" &&
		cut -d' ' -f1 "$tmp/expected" | "$tool" -l "$cat_pid" > "$tmp/got" || return 1
	sed 's/ [^ ]*$//' "$tmp/got" | diff -u "$tmp/expected" -
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

test_inputs()
{
	stack=$(awk -F- '/\[stack\]/ { print $1 }' "/proc/$cat_pid/maps")
	lines=$("$tool" -l "$cat_pid" "$known" "$stack") || return
	printf '# two\n\n  0x%s\t\n%s # stack\r\n#' "$known" "$stack" > "$tmp/file"
	printf '%s\n%s' "$known" "$stack" > "$tmp/stdin"
	printf '\t%16s a (b)\n\t%16s\n' "$known" "$stack" > "$tmp/perf"
	equal lines "$(echo "$lines" | wc -l)" 2 &&
		expect 0 "$lines" "$tool" -l "$cat_pid" < "$tmp/stdin" &&
		expect 0 "$lines" "$tool" -l "$cat_pid" -f - < "$tmp/stdin" &&
		expect 0 "$lines" "$tool" -l "$cat_pid" --addresses "$tmp/file" &&
		expect 0 "$lines" "$tool" -l "$cat_pid" --perf "$tmp/perf" &&
		expect 0 "$lines" "$tool" -l "$cat_pid" -p - < "$tmp/perf"
}

# What perf script prints, with addresses that count up and decoys among them.
test_perf()
{
	tr '%~' '\t ' > "$tmp/perf" <<- 'END'
	sh 28228 30187.956176:     250000 cpu-clock:~
	%           10001 update_active.constprop.0+0x219 (/lib/ld-2.so)
	%            10002 [unknown] ([unknown])
	%    7f0964d10003 std::map<int, abc>::at+0x1 (/a dir/fffe (deleted))
	%ffffffff8168bae4 exc_page_fault+0x176 ([kernel.kallsyms])
	%    7f0964d10004
	  file.c:123
	%    7f0964d10005 f (inlined)

	         python3 28488 30222.898314:   20000000 cpu-clock:u:      7f59cd010006 f+0x3 (/a.so)
	         python3 99/99   [003] 30222.898314:   20000000 cycles:u:      7f59cd010007 f (b)
	            cafe 28488  30222.898314: cpu/event=0x3c/:  ffffffff81000c82 f ([guest.kernel])
	              a: 28488 [001]      7f59cd010008
	        deadbeef 28488      7f59cd010009 [unknown] ([unknown])
	     7f59cd01000a f (/lib/a.so)
	            1000b
	 ffffffff81000c82 f
	          abc 99 30222.898314: sched:sched_switch: prev_pid=1000 next_pid=2000
	END
	cat <<- END > "$tmp/expected"
		10001
		10002
		7f0964d10003
		7f0964d10004
		7f0964d10005
		7f59cd010006
		7f59cd010007
		7f59cd010008
		7f59cd010009
		7f59cd01000a
		1000b
	END
	"$tool" -l "$cat_pid" -p "$tmp/perf" > "$tmp/got" 2> "$tmp/err"
	cut -d' ' -f1 "$tmp/got" | diff -u "$tmp/expected" - &&
		equal stderr "$(cat "$tmp/err")" 'procmap_query: left out 3 kernel addresses'
}

# Names that could be taken for something else, in text and in JSON. PATH_ESCAPED
# is as in maps: nothing but the newline is escaped.
test_odd_name()
{
	addr=$(maps "$odd_pid" | sed -n 's/-.*//p;q')
	range=$(maps "$odd_pid" | sed -n 's/ .*//p;q')
	id=${known_line##* }
	expect 0 "$addr $range r--p 00000000 $odd_escaped $id" "$tool" -l "$odd_pid" "$addr" &&
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

	keys = ['address', 'vma_start', 'vma_end', 'perms', 'offset', 'path', 'build_id']
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
	    path = v['path'].replace('\n', '\\012')
	    line = re.sub('[\udc80-\udcff]', '\ufffd', line)
	    assert line == '%s %s-%s %s %s %s %s' % (o['address'][2:], v['vma_start'],
	        v['vma_end'], v['perms'], v['offset'], path, v['build_id']), (line, o)
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
		assert json.loads(text)['path'] == re.sub('[\udc80-\udcff]', '\ufffd', sys.argv[1])
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
		grep "^$addr .* r--p 00000000 - ${known_line##* }\$" "$tmp/got" || return
	"$tool" "$child" "$addr"
	equal status $? 2
}

test_compare()
{
	starts "$cat_pid" > "$tmp/addresses"
	n=$(wc -l < "$tmp/addresses")
	"$tool" "$cat_pid" -f "$tmp/addresses" > "$tmp/got" || return
	cat "$tmp/got"
	equal 'text bytes' "$(figure text 4)" "$(wc -c < "/proc/$cat_pid/maps")" &&
		equal 'text VMAs' "$(figure text 5)" "$n" &&
		equal 'ioctl VMAs' "$(figure ioctl 5)" "$n" &&
		equal 'ioctl calls' "$(figure ioctl 3)" $((n + 2)) &&
		test "$(figure text 3)" -ge 4 && test "$(figure ioctl 4)" -ge $((n * 104)) &&
		grep "^agree: $n addresses, 0 of them in no VMA; disagree: 0; gate: 0\$" "$tmp/got"
}

# Many addresses in one VMA: sorted, one ioctl.
test_one_query()
{
	"$tool" "$cat_pid" "$(hex "0x$known + 2")" "$known" "$(hex "0x$known + 1")" "$known" \
		> "$tmp/got" || return
	cat "$tmp/got"
	equal 'ioctl calls' "$(figure ioctl 3)" 3 && equal VMAs "$(figure text 5)" 1 &&
		grep '^agree: 3 addresses' "$tmp/got"
}

test_no_vma()
{
	"$tool" "$cat_pid" 0 "$known" 1 > "$tmp/got" || return
	cat "$tmp/got"
	equal 'ioctl calls' "$(figure ioctl 3)" 5 && equal VMAs "$(figure ioctl 5)" 1 &&
		grep '^agree: 3 addresses, 2 of them in no VMA; disagree: 0' "$tmp/got"
}

test_repeat()
{
	"$tool" "$cat_pid" "$known" --repeat 3 > "$tmp/got" || return
	cat "$tmp/got"
	bytes=$(wc -c < "/proc/$cat_pid/maps")
	equal bytes "$(figure text 4)" $((3 * bytes)) && equal calls "$(figure ioctl 3)" 9 &&
		grep "^text *mean .* $bytes.0  *1.0\$" "$tmp/got" &&
		grep '^ioctl *mean .* 3.0  *[0-9]*.0  *1.0$' "$tmp/got" &&
		grep '^agree: 3 addresses' "$tmp/got"
}

test_json_compare()
{
	need python3 || return
	"$tool" --json -n 2 "$cat_pid" "$known" 0 > "$tmp/json" || return
	python3 - "$cat_pid" "$(wc -c < "/proc/$cat_pid/maps")" < "$tmp/json" 3<&0 <<- 'END'
		import json, os, sys

		o = json.load(os.fdopen(3))
		for way in 'text', 'ioctl':
		    assert o[way].pop('time_us') > 0 and o[way].pop('vmas') == 2
		assert o['text'].pop('calls') >= 8 and o['ioctl'].pop('calls') == 8
		assert o['text'].pop('bytes') == 2 * int(sys.argv[2])
		assert o['ioctl'].pop('bytes') > 0
		assert o == {'pid': int(sys.argv[1]), 'addresses': 2, 'rounds': 2, 'text': {},
		             'ioctl': {}, 'agree': 4, 'unmapped': 2, 'disagree': 0, 'gate': 0,
		             'kernel': 0}, o
	END
}

test_gate()
{
	addr=$(sed -n 's/-.*\[vsyscall\]$//p' "/proc/$cat_pid/maps")
	test -n "$addr" || skip 'no [vsyscall]' || return
	expect 1 "$addr -" "$tool" -l "$cat_pid" "$addr" &&
		"$tool" "$cat_pid" "$addr" "$known" > "$tmp/got" &&
		grep '^agree: 1 addresses, 0 of them in no VMA; disagree: 0; gate: 1$' "$tmp/got"
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
		fails 'not from two' "$tool" -f /dev/null "$cat_pid" 0 &&
		fails 'not from two' "$tool" -f /dev/null -p /dev/null "$cat_pid"
}

test_bad_address()
{
	for addr in '' x 0x 12345678123456781 -1 '7f 7f' 7fg; do
		fails "bad address '$addr'" "$tool" -l -- "$cat_pid" "$addr" || return
	done
	printf '# 1\n\n%s\n7fg0\n' "$known" > "$tmp/file"
	fails "bad address on line 4 of $tmp/file" "$tool" "$cat_pid" -f "$tmp/file" &&
		fails 'bad address on line 4 of standard input' "$tool" "$cat_pid" < "$tmp/file" &&
		echo '7f 7f' > "$tmp/file" &&
		fails 'bad address on line 1' "$tool" "$cat_pid" -f "$tmp/file"
}

test_no_addresses()
{
	fails 'no addresses in standard input' "$tool" "$cat_pid" < /dev/null &&
		fails 'no addresses in /dev/null' "$tool" "$cat_pid" -f /dev/null &&
		fails 'no user address in /dev/null' "$tool" "$cat_pid" -p /dev/null &&
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
	need setpriv || return
	test "$(id -u)" = 0 || skip 'not root' || return
	cp "$tool" "$tmp" || return
	for option in --lookup --json; do
		fails "no permission for /proc/$cat_pid/maps: be root" \
			setpriv --reuid 65534 --clear-groups "$tmp/procmap_query" \
			"$option" "$cat_pid" "$known" || return
	done
}

test_full()
{
	test -c /dev/full || skip 'no /dev/full' || return
	for option in --help --lookup --json; do
		"$tool" "$option" "$cat_pid" "$known" > /dev/full 2> "$tmp/err"
		equal status $? 3 &&
			grep 'procmap_query: cannot write the output: No space' "$tmp/err" || return
	done
}

# With $SHIM, make the ioctl fail, or change a byte of its answer.
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
			static int calls;
			va_list args;
			char *arg;
			int ret;

			va_start(args, cmd);
			arg = va_arg(args, char *);
			va_end(args);
			if (!strcmp(shim, "none")) {
				errno = ENOTTY;
				return -1;
			}
			if (!strcmp(shim, "exit") && calls++) {
				errno = ESRCH;
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

shim()
{
	what=$1
	shift
	SHIM=$what LD_PRELOAD=$tmp/shim.so "$@"
}

test_no_ioctl()
{
	test -e "$tmp/shim.so" || skip 'no cc' || return
	fails 'this kernel has no PROCMAP_QUERY (Linux 6.11' shim none "$tool" "$cat_pid" 0 &&
		fails 'this kernel has no PROCMAP_QUERY' shim none "$tool" -l "$cat_pid" 0
}

test_exit_meanwhile()
{
	test -e "$tmp/shim.so" || skip 'no cc' || return
	fails "process $cat_pid has no memory.* has exited" \
		shim exit "$tool" "$cat_pid" 0 "$known" &&
		fails "process $cat_pid has no memory" shim exit "$tool" -l "$cat_pid" 0 "$known"
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
			grep -q '^agree: 0 .* disagree: 1;' "$tmp/got" || return
	done
	shim 48 "$tool" "$cat_pid" "$known" || return # page size, not in the text
	shim 24 "$tool" --json "$cat_pid" "$known" > "$tmp/got" 2> "$tmp/err"
	equal status $? 2 && equal lines "$(wc -l < "$tmp/got")" 1 &&
		grep '"agree":0,"unmapped":0,"disagree":1,' "$tmp/got" &&
		grep "^disagree: $known\$" "$tmp/err"
}

echo 'TAP version 13'
cat=$(realpath "$(command -v cat)")
start 3 "$cat" || exit
cat_pid=$child

case $("$tool" "$cat_pid" 0 2>&1) in
*'no PROCMAP_QUERY'*) echo '1..0 # SKIP no PROCMAP_QUERY'; exit "$skip" ;;
esac

# An address of the code of cat and the answer to it.
IFS=' -' read -r lo hi offset << END
$(sed -n "s|^\([0-9a-f]*-[0-9a-f]*\) r-xp \([0-9a-f]*\) .* $cat\$|\1 \2|p" \
	"/proc/$cat_pid/maps" | head -n 1)
END
known=$(hex "0x$lo + 0x123")
known_line="$known $lo-$hi r-xp $(printf %08x "$((0x$offset + 0x123))") $cat $(
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
try 'addresses from arguments, stdin, file, perf' test_inputs
try 'forms of perf script' test_perf
try 'name with odd characters' test_odd_name
try 'JSON of lookup is that of the text' test_json_lookup
try 'JSON of a name with odd characters' test_json_name
try 'deleted file with an odd name' test_deleted
try 'path longer than PATH_MAX' test_long_path
try 'comparison agrees, with the right figures' test_compare
try 'one ioctl per VMA' test_one_query
try 'comparison where there is no VMA' test_no_vma
try 'repeat' test_repeat
try 'JSON of comparison' test_json_compare
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
try 'error: kernel without the ioctl' test_no_ioctl
try 'error: process exits meanwhile' test_exit_meanwhile
try 'disagreement in each field' test_disagree
echo "1..$tests"
test "$failed" = 0
