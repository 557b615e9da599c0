#!/bin/bash
# digest_test.sh DIGEST: what digest promises, in a directory of its own. Every step has a time limit; the first thing
# that is wrong ends the script with a message. A sparse file of a terabyte stands for work that does not end by itself.
set -u
export LC_ALL=C
digest=$(realpath "${1:?usage: digest_test.sh DIGEST}")
tmp=$(mktemp -d) || exit 1
trap '[ "$BASHPID" != $$ ] || rm -rf "$tmp"' EXIT # not by a subshell that a signal has ended
cd "$tmp" || exit 1
checks=0

fail() {
	echo "digest_test.sh: line ${BASH_LINENO[-2]}: $*" >&2
	[ -s err ] && sed 's/^/  stderr: /' err | head -20 >&2
	exit 1
}
# run STATUS ARGUMENT...: run digest, output in `out` and `err`; it must end by itself with STATUS.
run() {
	local want=$1 got
	shift
	timeout -k 1 60 "$digest" "$@" >out 2>err </dev/null
	got=$?
	[ $got -eq "$want" ] || fail "digest $*: exit status $got, not $want"
	checks=$((checks + 1))
}
# same FILE: `out` is byte for byte FILE. quiet: nothing on stderr. says TEXT: stderr has it. lines N: stderr has N.
same() {
	cmp -s out "$1" || fail "output differs from $1: $(diff -a out "$1" | head -5)"
	checks=$((checks + 1))
}
quiet() {
	[ ! -s err ] || fail "stderr should be empty"
	checks=$((checks + 1))
}
says() {
	grep -qF -- "$1" err || fail "stderr should say: $1"
	checks=$((checks + 1))
}
lines() {
	[ "$(wc -l <err)" -eq "$1" ] || fail "stderr should have $1 lines"
	checks=$((checks + 1))
}
# whole_lines: `out` ends with a newline, and sha256sum agrees with every line in it.
whole_lines() {
	[ ! -s out ] && return
	[ "$(tail -c 1 out | od -An -tx1)" = " 0a" ] || fail "the last line is not complete"
	sha256sum -c --strict --status out || fail "sha256sum -c does not agree with what was printed"
	checks=$((checks + 1))
}
# sums DIRECTORY...: what digest should print.
sums() {
	find "$@" -type f -print0 | sort -z | xargs -0 -r sha256sum
}

# --- the same bytes as sha256sum ---
mkdir -p tree/sub/subsub tree/empty.dir 'tree/with space' tree/sub.d
printf 'hello\n' >'tree/with space/a b'
printf x >$'tree/new\nline'
printf y >'tree/back\slash'
printf z >$'tree/carriage\rreturn'
printf t >$'tree/tab\there'
printf l >$'tree/latin1-\xff'
printf d >tree/-dash
printf s >tree/sub/subsub/deep
printf o >tree/sub.d/order # '.' sorts before '/': sub.d/ comes before sub/
: >tree/empty
head -c 5000000 /dev/urandom >tree/five-million
for n in 1 4095 4096 131071 131072 131073 262144; do
	head -c $n /dev/urandom >tree/size-$n
done
ln -s five-million tree/link-to-file
ln -s .. tree/sub/link-to-parent
ln -s nowhere tree/dangling
mkfifo tree/fifo
sums tree >want
run 0 tree && same want && quiet
[ "$(wc -l <out)" -eq 18 ] || fail "18 files were made, $(wc -l <out) are listed"
sha256sum -c --quiet --strict out || fail "sha256sum -c does not accept the output"
for workers in 1 2 4; do
	for jobs in 1 3 1000; do
		THRUM_WORKERS=$workers run 0 --jobs=$jobs tree
		same want && quiet
	done
done
sums tree/ >want && run 0 tree/ && same want
(cd tree && sums .) >want && (cd tree && "$digest" .) >out && same want
sums tree/sub tree/sub tree/sub.d | sort -k2 >want && run 0 tree/sub.d tree/sub tree/sub && same want

mkdir none && run 0 none && quiet && same /dev/null
ln -s tree link && sha256sum link/empty >want && run 0 link/empty && same want
run 0 link && [ "$(wc -l <out)" -eq 18 ] || fail "a link named on the command line is followed"
sha256sum /proc/version >want && run 0 /proc/version && same want # its size is said to be 0

# Deep, and many.
deep=deep/$(printf 'd/%.0s' {1..1500})
mkdir -p "$deep" && echo bottom >"${deep}file" && sums deep >want && run 0 deep && same want
mkdir many && for i in {1..1500}; do echo "$i" >many/$i; done
sums many >want && run 0 -j 16 many && same want && quiet

# --- what cannot be read is a line on stderr, and the rest is done ---
sums tree >want
run 1 tree gone && same want && says 'digest: gone: No such file or directory' && lines 1
run 1 tree/fifo tree && same want && says 'digest: tree/fifo: ' && lines 1
run 1 tree $'go\nne\\' && same want && says 'digest: go\nne\\: No such file' && lines 1
run 1 /proc/$$/mem tree && same want && says "digest: /proc/$$/mem: " && lines 1
# A path too long for one call, within the tree: open fails for it alone, whoever asks.
mkdir -p long && (
	cd long && for i in {1..20}; do
		mkdir "$(printf 'n%.0s' {1..250})" && cd n* || exit 1
	done
	echo hidden >file
) && echo seen >long/seen
sha256sum long/seen >want && run 1 long && same want && says 'File name too long' && lines 1
if [ "$(id -u)" -ne 0 ]; then
	cp -r tree/sub secret && chmod 0 secret/subsub && echo p >secret/private && chmod 0 secret/private
	run 1 secret && says 'digest: secret/private: Permission denied' && says 'digest: secret/subsub: ' && lines 2
	chmod 700 secret/subsub
fi
# Files that vanish while it looks: an error line or a sum, never anything else.
mkdir vanish && sums many >want
(
	end=$((SECONDS + 3))
	while [ $SECONDS -lt $end ]; do
		touch vanish/{a,b}{1..50} && rm -f vanish/a* && rm -f vanish/b*
	done
) &
churn=$!
for i in {1..20}; do
	timeout 60 "$digest" many vanish >out 2>err
	[ $? -le 1 ] || fail "digest crashed on vanishing files"
	grep -v '  vanish/' out >stable
	cmp -s stable want || fail "the files that stayed are not all there"
	grep -vE '^digest: vanish/[ab][0-9]+: No such file or directory$' err && fail "another error than 'vanished'"
done
wait $churn

# --- fail-fast ---
sums tree >want
run 1 --fail-fast tree gone && says gone && lines 1
truncate -s 1T sparse 2>/dev/null || truncate -s 15T sparse || truncate -s 100G sparse || fail "no sparse files here"
begun=$SECONDS
run 1 --fail-fast /proc/$$/mem sparse tree && whole_lines && lines 1
[ $((SECONDS - begun)) -lt 20 ] || fail "--fail-fast did not stop the big file"
run 0 --fail-fast tree && same want && quiet

# --- timeout, for each file; long enough for all but `sparse` on a machine that has other things to do ---
run 0 --timeout 1m tree && same want && quiet
begun=$SECONDS
run 1 --timeout 2500ms tree sparse && says 'digest: sparse: not done within 2500ms' && lines 1
[ $((SECONDS - begun)) -lt 20 ] || fail "--timeout 2500ms took $((SECONDS - begun)) s"
THRUM_WORKERS=1 run 1 -t 0.2s -j 1 sparse tree && says 'not done within 0.2s' && lines 1

# --- signals: clean, whole lines only ---
# interrupt SIG ARGUMENT...: run digest and send it SIG once the 1500 files of `many` are printed; returns its exit status.
interrupt() {
	local sig=$1 pid looks=0
	shift
	# timeout hands the signal on; --foreground: to digest alone, else to its group as well, so twice.
	timeout --foreground -k 1 60 env --default-signal=INT,TERM "$digest" "$@" >out 2>err </dev/null &
	pid=$!
	until [ "$(wc -l <out)" -ge 1500 ]; do
		[ $((looks += 1)) -lt 2000 ] || { kill $pid && fail "what is done is not printed"; }
		sleep 0.02
	done
	kill -s "$sig" $pid
	wait $pid
}
for workers in 1 4; do
	for sig in INT TERM; do
		begun=$SECONDS
		THRUM_WORKERS=$workers interrupt $sig --stats many tree sparse
		status=$?
		[ $sig = INT ] && want_status=130 || want_status=143
		[ $status -eq $want_status ] || fail "SIG$sig: exit status $status, not $want_status"
		[ $((SECONDS - begun)) -lt 20 ] || fail "SIG$sig: took $((SECONDS - begun)) s"
		whole_lines
		head -n 1500 out | cmp -s - <(sums many) || fail "SIG$sig: what was done had not been printed"
		says 'wall time'
	done
done
# A stopped reader: the signal reaches a blocked write.
mkfifo pipe
sleep 3 <>pipe &
timeout --foreground -k 30 --preserve-status -s INT 1 env --default-signal=INT "$digest" many many many many many many many sparse >pipe 2>err
[ $? -eq 130 ] || fail "SIGINT while stdout is full: exit status $?"
wait $!

# --- stdout that fails ---
timeout 60 "$digest" tree >/dev/full 2>err
[ $? -eq 1 ] || fail "/dev/full"
says 'digest: write error: No space left on device' && lines 1
timeout 60 "$digest" tree >&- 2>err
[ $? -eq 1 ] || fail "closed stdout"
says 'digest: write error: ' && lines 1
{
	sleep 0.5
	timeout 60 env --default-signal=PIPE "$digest" many sparse 2>err
	echo $? >status
} | {
	exec <&-
	sleep 0.1
}
[ "$(cat status)" -eq 141 ] || fail "a closed pipe: exit status $(cat status), not 141"
quiet
{
	sleep 0.5
	timeout 60 env --ignore-signal=PIPE "$digest" many sparse 2>err
	echo $? >status
} | {
	exec <&-
	sleep 0.1
}
[ "$(cat status)" -eq 1 ] || fail "a closed pipe, SIGPIPE ignored: exit status $(cat status), not 1"
says 'digest: write error: Broken pipe' && lines 1

# --- the bar: on a terminal only ---
if script -qec true /dev/null >/dev/null 2>&1; then
	timeout 60 script -qec "'$digest' -t 2s tree sparse >out" typescript >/dev/null </dev/null
	grep -q '#.*files.*MB/s' typescript || fail "no progress bar on a terminal"
	grep -q 'sparse: not done within' typescript || fail "no error line on a terminal"
fi
run 1 -t 2s tree sparse && lines 1

# --- the command line ---
run 0 --help && quiet && grep -q -- --fail-fast out || fail "--help"
run 0 -h && quiet
run 2 && says 'which directory?'
run 2 --nonsense tree && says nonsense
for jobs in 0 -1 x 3x '' 99999999999999999999; do
	run 2 --jobs "$jobs" tree && says '--jobs must be' && same /dev/null
done
for limit in 0s 5 x -1s '' 1d s 0.0000000001s; do
	run 2 --timeout "$limit" tree && says '--timeout must be' && same /dev/null
done
run 0 --stats tree && same want
for word in files bytes 'wall time' rate workers steals backend; do
	says "$word"
done
(ulimit -n 80 && timeout 60 "$digest" -j 5000 many >out 2>err) || fail "--jobs above the limit of descriptors"
sums many >want && same want && quiet

echo "digest_test.sh: $checks checks passed"
