#!/bin/bash
# kv_test.sh KV: what kv promises, under redis-cli and redis-benchmark (Debian: redis-tools). Every step has a time limit; the
# first thing that is wrong ends the script with a message. Exits with 77 where the clients are missing.
set -u
export LC_ALL=C
kv=$(realpath "${1:?usage: kv_test.sh KV}")
for client in redis-cli redis-benchmark; do
	command -v $client >/dev/null || { echo "kv_test.sh: SKIPPED: there is no $client (Debian: redis-tools)"; exit 77; }
done
tmp=$(mktemp -d) || exit 1
pid=
trap '[ "$BASHPID" != $$ ] || { [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null; rm -rf "$tmp"; }' EXIT # not by a subshell
cd "$tmp" || exit 1
checks=0

fail() {
	echo "kv_test.sh: line ${BASH_LINENO[-2]}: $*" >&2
	[ -s server.err ] && sed 's/^/  kv: /' server.err | head -20 >&2
	exit 1
}
# start ARGUMENT...: run kv on a free port.
start() {
	local looks=0
	: >server.out # or the last server's port would be read
	"$kv" --listen 127.0.0.1:0 "$@" >server.out 2>server.err &
	pid=$!
	until port=$(sed -n 's/.*listening on .*:\([0-9]*\)$/\1/p' server.out) && [ -n "$port" ]; do
		[ $((looks += 1)) -lt 500 ] && kill -0 $pid 2>/dev/null || fail "it does not start"
		sleep 0.02
	done
}
# stop: SIGTERM; it must end by itself, with 0 and without a word.
stop() {
	kill -TERM $pid
	await
}
await() {
	local status
	timeout 30 tail --pid=$pid -f /dev/null || fail "it does not end after SIGTERM"
	wait $pid
	status=$?
	pid=
	[ $status -eq 0 ] || fail "exit status $status"
	# A worker that a busy machine does not let run looks like one that is stuck.
	grep -v 'without suspending' server.err && fail "it complains"
	checks=$((checks + 1))
}
cli() {
	timeout 30 redis-cli -p "$port" --no-raw "$@" 2>&1
}
# is WANT WORD...: what redis-cli prints for a command; looked at by the next `look`, with all that came before.
is() {
	printf '%s\n' "$1" >>want
	shift
	printf '"%s" ' "$@" >>commands
	echo >>commands
	checks=$((checks + 1))
}
look() {
	timeout 60 redis-cli -p "$port" --no-raw <commands 2>&1 | grep . >got
	diff want got >difference || fail "wanted, and got: $(paste -d '|' want got <(cat commands) | awk -F'|' '$1 != $2' | head -3)"
	rm -f want commands
}
# raw BYTES WANT: send, and read until the server closes.
raw() {
	local got
	got=$(
		exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
		printf -- "$1" >&3
		timeout 30 cat <&3
	) || fail "no end after: $1"
	[ "$got" = "$(printf -- "$2")" ] || fail "sent $1, got: $got"
	checks=$((checks + 1))
}
fds() {
	ls /proc/$pid/fd | wc -l
}
# settle: wait until it has started, and nobody is connected: $at_first is how many descriptors it has then.
settle() {
	local looks=0
	[ "$(cli ping)" = PONG ] || fail "it does not answer"
	until at_first=$(fds) && sleep 0.3 && [ "$(fds)" -eq "$at_first" ]; do
		[ $((looks += 1)) -lt 100 ] || fail "it does not come to rest"
	done
}
# until_fds N: until it has no more than so many descriptors open.
until_fds() {
	local looks=0
	until [ "$(fds)" -le "$1" ]; do
		[ $((looks += 1)) -lt 500 ] || fail "$(fds) descriptors are open, $1 before"
		sleep 0.02
	done
	checks=$((checks + 1))
}

for workers in 1 4; do
	export THRUM_WORKERS=$workers
	start
	settle

	# --- commands ---
	is PONG ping && is '"hi"' ping hi && is '"hello"' echo hello
	is '(nil)' get a && is OK set a 1 && is '"1"' get a && is '(nil)' set a 2 nx && is '"1"' get a
	is OK set a 2 && is '"2"' get a && is '(integer) 3' incr a && is '(integer) 1' incr new
	is '(integer) 2' exists a new gone && is '(integer) 2' exists a a && is '(integer) 2' dbsize
	is '(integer) 2' del a new gone && is '(integer) 0' dbsize
	is '(integer) -2' ttl t && is OK set t x && is '(integer) -1' ttl t && is '(integer) 1' expire t 100
	is '(integer) 100' ttl t && is OK set t y && is '(integer) -1' ttl t && is '(nil)' set t z ex 50 nx
	is '(integer) 1' expire t 0 && is '(nil)' get t && is '(integer) 0' expire t 10
	is OK set t z ex 50 nx && is '(integer) 50' ttl t
	is '(empty array)' command && is OK flushall && is '(integer) 0' dbsize
	is OK set '' empty && is '"empty"' get '' && is OK set e '' && is '""' get e

	# --- errors of commands ---
	is "(error) ERR unknown command 'nonsense'" nonsense a b
	is "(error) ERR wrong number of arguments for 'get' command" get
	is "(error) ERR wrong number of arguments for 'get' command" get a b
	is '(error) ERR syntax error' set a b c && is '(error) ERR syntax error' set a b ex 1 px 1
	is '(error) ERR syntax error' set a b ex
	is "(error) ERR invalid expire time in 'set' command" set a b ex 0
	is "(error) ERR invalid expire time in 'set' command" set a b px 9223372036854775807
	is '(error) ERR value is not an integer or out of range' set a b ex x
	is OK set n 01 && is '(error) ERR value is not an integer or out of range' incr n
	is OK set n 9223372036854775807 && is '(error) ERR increment or decrement would overflow' incr n
	is OK set n -1 && is '(integer) 0' incr n

	look

	# --- expiry ---
	is OK set gone x px 50 && look
	looks=0
	while [ "$(cli get gone)" != '(nil)' ]; do
		[ $((looks += 1)) -lt 500 ] || fail "it does not expire"
		sleep 0.02
	done
	is OK flushall && is OK set gone x px 1 && look
	looks=0
	while [ "$(cli dbsize)" != '(integer) 0' ]; do # nobody asks for the key: it is swept
		[ $((looks += 1)) -lt 500 ] || fail "it is not swept"
		sleep 0.02
	done

	# --- pipelined, inline, cut in pieces ---
	raw 'PING\r\nSET x 5\r\n\r\n  GET   x  \r\n*0\r\n*1\r\n$4\r\nPING\r\nQUIT\r\nPING\r\n' '+PONG\r\n+OK\r\n$1\r\n5\r\n+PONG\r\n+OK\r\n'
	got=$(
		exec 3<>"/dev/tcp/127.0.0.1/$port"
		for piece in '*' '2\r' '\n$3' '\r\nGE' 'T\r\n$1\r\n' 'x' '\r' '\n' 'QU' 'IT\n'; do
			printf -- "$piece" >&3
			sleep 0.02
		done
		timeout 30 cat <&3
	)
	[ "$got" = "$(printf '$1\r\n5\r\n+OK\r\n')" ] || fail "a command in pieces: $got"

	# --- errors of the protocol: told, then closed ---
	raw '*x\r\n' '-ERR Protocol error: invalid multibulk length\r\n'
	raw '*1025\r\n' '-ERR Protocol error: invalid multibulk length\r\n'
	raw '*1\r\n+PING\r\n' "-ERR Protocol error: expected '\$'\r\n"
	raw '*1\r\n$-1\r\n' '-ERR Protocol error: invalid bulk length\r\n'
	raw '*1\r\n$99999999999\r\nx' '-ERR Protocol error: invalid bulk length\r\n'
	raw '*1\r\n$4\r\nPINGG\r\n' '-ERR Protocol error: a bulk string that is longer than it said\r\n'
	raw "$(printf 'x%.0s' {1..5000})" '-ERR Protocol error: too big inline request\r\n'
	(exec 3<>"/dev/tcp/127.0.0.1/$port" && printf '*1\r\n$16777216\r\n' >&3 && exec sleep 20) & # announces much, sends nothing
	much=$!
	is PONG ping && look
	kill $much 2>/dev/null

	# --- a value of a megabyte ---
	head -c 1048576 /dev/urandom >big
	timeout 30 redis-cli -p "$port" -x set big <big >/dev/null || fail "set big"
	timeout 30 redis-cli -p "$port" get big >got || fail "get big"
	cmp -n 1048576 big got || fail "a megabyte came back changed"
	[ "$(stat -c %s got)" -eq 1048577 ] || fail "a megabyte came back as $(stat -c %s got) bytes"

	# --- under load; the counter tells that none of the increments was lost ---
	is OK flushall && look
	timeout 120 redis-benchmark -p "$port" -q -n 20000 -P 16 -t set,get,incr,ping >bench 2>&1 || fail "redis-benchmark: $(tail -3 bench)"
	is '"20000"' get 'counter:__rand_int__' && look
	timeout 120 redis-benchmark -p "$port" -q -n 5000 -r 100 -t set,get >bench 2>&1 || fail "redis-benchmark: $(tail -3 bench)"
	is '(integer) 102' dbsize && look
	until_fds "$at_first"
	stop
done

# --- hostile clients: limits of time and number ---
start --idle 1 --timeout 1 --connections 60 --grace 1
settle
head -c 1048576 /dev/zero | timeout 30 redis-cli -p "$port" -x set big >/dev/null || fail "set big"
for i in {1..50}; do
	case $((i % 5)) in
	0) (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf '*3\r\n$3\r\nSET\r\n$1' >&3 && exec sleep 20) & ;;     # stops half way
	1) (exec 3<>"/dev/tcp/127.0.0.1/$port" && exec sleep 20) & ;;                                         # says nothing
	2) (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET big\r\n%.0s' {1..200} >&3 && exec sleep 20) & ;; # never reads
	3) (exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET big\r\n' >&3) & ;;                         # leaves
	4) (exec 3<>"/dev/tcp/127.0.0.1/$port" && head -c 100000 /dev/urandom >&3) 2>/dev/null & ;;      # noise
	esac
done
for i in {1..10}; do
	is PONG ping && look
done
until_fds "$at_first" # all of them have been ended
kill $(jobs -p | grep -v "^$pid$") 2>/dev/null
is PONG ping && look
stop

# --- SIGTERM: what has come is answered, then the connection ends ---
start --grace 5
{ for i in {1..2000}; do printf 'INCR n\r\n'; done; } >many
exec 3<>"/dev/tcp/127.0.0.1/$port"
cat many >&3
kill -TERM $pid
timeout 30 cat <&3 >answers || fail "it does not end the connection"
exec 3>&-
await
[ "$(wc -l <answers)" -eq 2000 ] || fail "$(wc -l <answers) of 2000 commands were answered"
[ "$(tail -n 1 answers)" = "$(printf ':2000\r')" ] || fail "the last answer is $(tail -n 1 answers)"
# And while they keep coming, from many.
start --grace 5
timeout 60 redis-benchmark -p "$port" -q -n 10000000 -t ping >bench 2>&1 &
bench=$!
sleep 0.5
stop
wait $bench

# --- the command line ---
"$kv" --help | grep -q -- --listen || fail "--help"
for bad in '--listen nowhere' '--listen 127.0.0.1:99999' '--connections 0' '--idle x' 'argument' '--nonsense'; do
	# shellcheck disable=SC2086
	timeout 10 "$kv" $bad >out 2>err && fail "accepts $bad"
	[ -s err ] || fail "says nothing about $bad"
done

echo "kv_test.sh: $checks checks passed"
