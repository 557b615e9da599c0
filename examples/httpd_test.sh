#!/bin/bash
# httpd_test.sh HTTPD HOSTILE: what httpd promises: under curl, under requests written by hand, under wrk, and among hostile
# clients. Every step has a time limit; the first thing that is wrong ends the script with a message. Exits with 77 where curl
# or wrk is missing.
set -u
export LC_ALL=C
httpd=$(realpath "${1:?usage: httpd_test.sh HTTPD HOSTILE}")
hostile=$(realpath "${2:?usage: httpd_test.sh HTTPD HOSTILE}")
for client in curl wrk; do
	command -v $client >/dev/null || { echo "httpd_test.sh: SKIPPED: there is no $client (Debian: $client)"; exit 77; }
done
tmp=$(mktemp -d) || exit 1
pid=
trap '[ "$BASHPID" != $$ ] || { [ -z "$pid" ] || kill -KILL "$pid" 2>/dev/null; rm -rf "$tmp"; }' EXIT # not by a subshell
cd "$tmp" || exit 1
checks=0

# A sanitizer keeps what is freed, and has memory of its own: what the process takes says nothing then.
is_sanitized() { grep -qaE '__(asan|tsan)_init' "$httpd"; }

fail() {
	echo "httpd_test.sh: line ${BASH_LINENO[-2]}: $*" >&2
	[ -s server.err ] && sed 's/^/  httpd: /' server.err | head -20 >&2
	exit 1
}
# start ARGUMENT...: serve www on a free port.
start() {
	local looks=0
	: >server.out # or the last server's port would be read
	"$httpd" --listen 127.0.0.1:0 "$@" www >server.out 2>server.err &
	pid=$!
	until port=$(sed -n 's/.*listening on .*:\([0-9]*\)$/\1/p' server.out) && [ -n "$port" ]; do
		[ $((looks += 1)) -lt 500 ] && kill -0 $pid 2>/dev/null || fail "it does not start"
		sleep 0.02
	done
	url=http://127.0.0.1:$port
}
# stop: SIGTERM; await: it must end by itself, with 0 and without a word.
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
	answered=$(sed -n 's/^httpd: \([0-9]*\) answers$/\1/p' server.out)
	checks=$((checks + 1))
}
# get STATUS PATH CURL-OPTION...: the body goes to `out`, the head to `head`.
get() {
	local want=$1 path=$2 got
	shift 2
	got=$(timeout 60 curl -s --path-as-is -D head -o out -w '%{http_code}' "$@" "$url$path") || fail "curl $* $path: status $?"
	[ "$got" = "$want" ] || fail "$* $path: $got, not $want"
	checks=$((checks + 1))
}
same() {
	cmp -s out "$1" || fail "the body is not $1"
	checks=$((checks + 1))
}
field() {
	grep -qi "^$1"$'\r$' head || fail "no field $1"
	checks=$((checks + 1))
}
# raw BYTES STATUS...: send them, read until the server closes; the statuses of the answers must be these.
raw() {
	local bytes=$1 got
	shift
	(
		exec 3<>"/dev/tcp/127.0.0.1/$port" || exit 1
		printf -- "$bytes" >&3
		timeout 30 cat <&3
	) >answers || fail "no end after: $bytes"
	got=$(grep -a -o '^HTTP/1.1 [0-9]*' answers | cut -d' ' -f2 | tr '\n' ' ')
	[ "$got" = "$*${1+ }" ] || fail "sent $bytes, got: $got, not $*"
	checks=$((checks + 1))
}
fds() {
	ls /proc/$pid/fd | wc -l
}
# settle: wait until it has started, and nobody is connected: $at_first is how many descriptors it has then.
settle() {
	local looks=0
	get 200 /a.txt
	until at_first=$(fds) && sleep 0.3 && [ "$(fds)" -eq "$at_first" ]; do
		[ $((looks += 1)) -lt 100 ] || fail "it does not come to rest"
	done
}
# connected N: wait until so many more are connected than when it settled.
connected() {
	local looks=0
	until [ "$(fds)" -ge $((at_first + $1)) ]; do
		[ $((looks += 1)) -lt 1000 ] || fail "nobody connects"
		sleep 0.01
	done
}
until_fds() {
	local looks=0
	until [ "$(fds)" -le "$1" ]; do
		[ $((looks += 1)) -lt 1000 ] || fail "$(fds) descriptors are open, $1 before"
		sleep 0.02
	done
	checks=$((checks + 1))
}

mkdir -p 'www/sub' 'www/a %?' www/bare secret
echo hidden >secret/file
echo hello >www/a.txt
echo '<h1>index</h1>' >www/index.html
echo '<h1>sub</h1>' >www/sub/index.html
: >www/empty
echo space >'www/with space%'
head -c 5000000 /dev/urandom >www/big
head -c 300000 www/big >www/middle
mkfifo www/fifo
H='Host: x\r\n'

for workers in 1 4; do
	export THRUM_WORKERS=$workers
	start
	settle

	# --- files ---
	get 200 /a.txt && same www/a.txt && field 'Content-Length: 6' && field 'Content-Type: text/plain; charset=utf-8'
	get 200 / && same www/index.html && get 200 /sub/ && same www/sub/index.html && get 200 '/a.txt?x=y' && same www/a.txt
	get 200 /empty && same /dev/null && get 200 '/with%20space%25' && same 'www/with space%'
	get 200 /big && same www/big && get 200 /./sub/.//index.html && same www/sub/index.html
	get 200 /big --head && field 'Content-Length: 5000000'
	[ "$(timeout 30 curl -s --head "$url/a.txt" | wc -l)" -eq 7 ] || fail "HEAD has a body"
	get 301 /sub && field 'Location: /sub/' && get 301 '/%73ub' && field 'Location: /sub/' && get 301 '/a%20%25%3f' &&
		field 'Location: /a%20%25%3F/' && get 404 /nothing && get 404 /a.txt/ && get 403 /fifo && get 404 /bare/
	timeout 60 curl -s --parallel --parallel-max 20 -o 'got#1' "$url/big?[1-20]" 2>/dev/null || fail "20 at once"
	for i in {1..20}; do
		cmp -s "got$i" www/big || fail "file $i of 20 is wrong"
	done
	rm -f got*

	# --- nothing above the root ---
	for path in /../secret/file /sub/../../secret/file /%2e%2e/secret/file /..%2fsecret/file /sub/.. /a%00b /%zz /%2; do
		get 400 "$path"
	done
	get 404 //secret/file && get 404 /...
	raw "GET ../secret/file HTTP/1.1\r\n$H\r\n" 400

	# --- methods, bodies, versions ---
	get 405 /a.txt -X POST -d data && field 'Allow: GET, HEAD' && get 405 / -X DELETE && get 405 / -X OPTIONS
	get 501 / -X BREW && get 200 /a.txt -X GET -d dropped && same www/a.txt
	get 200 /a.txt -X GET -H 'Transfer-Encoding: chunked' -d dropped && same www/a.txt
	get 413 / -X POST -H 'Expect:' -H 'Content-Length: 1048577' -d x
	get 200 /a.txt -0 && field 'Connection: close' && same www/a.txt
	raw "GET /a.txt HTTP/1.0\r\n\r\n" 200
	raw "GET /a.txt HTTP/2.0\r\n$H\r\n" 505
	raw "GET http://x/a.txt HTTP/1.1\r\n${H}Connection: close\r\n\r\n" 200
	raw "OPTIONS * HTTP/1.1\r\n$H\r\n" 405

	# --- keep-alive, pipelining; in pieces ---
	raw "GET /a.txt HTTP/1.1\r\n$H\r\nHEAD / HTTP/1.1\r\n$H\r\nGET /nothing HTTP/1.1\r\n${H}\r\nGET / HTTP/1.1\r\n${H}Connection: close\r\n\r\nGET / HTTP/1.1\r\n$H\r\n" 200 200 404 200
	raw "\r\nPOST / HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhelloGET /a.txt HTTP/1.0\r\n\r\n" 405 200
	raw "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0A;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\nGET / HTTP/1.0\r\n\r\n" 405 200
	(
		exec 3<>"/dev/tcp/127.0.0.1/$port"
		for piece in G 'ET /' 'a.txt HT' 'TP/1.0' '\r' '\nHo' 'st:' ' x\r\n' '\r' '\n'; do
			printf -- "$piece" >&3
			sleep 0.01
		done
		timeout 30 cat <&3
	) >answers
	[ "$(tail -n 1 answers)" = hello ] || fail "a request in pieces"
	# The first is answered before the second has come as a whole.
	exec 3<>"/dev/tcp/127.0.0.1/$port"
	printf -- "GET /a.txt HTTP/1.1\\r\\n$H\\r\\nGET /a" >&3
	until read -r -t 5 line <&3 && [ "$line" = hello ]; do
		[ $? -le 128 ] || fail "the first of two is not answered"
	done
	printf -- ".txt HTTP/1.0\\r\\n\\r\\n" >&3
	[ "$(timeout 30 cat <&3 | tail -n 1)" = hello ] || fail "the second of two is not answered"
	exec 3>&-

	until_fds "$at_first"
	stop
done
export THRUM_WORKERS=2

start
# --- what two readers could understand differently ---
raw "GET / HTTP/1.1\r\n${H}Content-Length: 0\r\nContent-Length: 0\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}Content-Length: 0, 0\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}Content-Length: +1\r\n\r\nx" 400
raw "GET / HTTP/1.1\r\n${H}Content-Length: 0x1\r\n\r\nx" 400
raw "GET / HTTP/1.1\r\n${H}Content-Length:\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" 501
raw "GET / HTTP/1.1\r\n${H}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" 501
raw "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}Content-Length : 0\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}X: a\r\n b\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n Host: x\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}X: a\rb\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}X: a\x00b\r\n\r\n" 400
raw "GET / HTTP/1.1\n${H}\r\n" 400
raw "GET / HTTP/1.1\r\nHost: x\n\r\n" 400
raw "GET / HTTP/1.1\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n$H$H\r\n" 400
raw "GET / HTTP/1.1\r\n${H}X y: z\r\n\r\n" 400
raw "GET / HTTP/1.1\r\n${H}: z\r\n\r\n" 400
raw "GET  / HTTP/1.1\r\n$H\r\n" 400
raw "GET /  HTTP/1.1\r\n$H\r\n" 400
raw "GET /a b HTTP/1.1\r\n$H\r\n" 400
raw "GET / http/1.1\r\n$H\r\n" 400
raw "GET /\r\n\r\n" 400
raw "GET /\x01 HTTP/1.1\r\n$H\r\n" 400
raw "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n" 400
raw "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" 400
raw "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n" 400
raw "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n1 \r\na\r\n0\r\n\r\n" 400
raw "POST / HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\nfffffff\r\n" 413

# --- sizes ---
long=$(printf 'x%.0s' {1..9000})
raw "GET /$long HTTP/1.1\r\n$H\r\n" 414
raw "GET / HTTP/1.1\r\n${H}X: $long\r\n\r\n" 431
raw "GET / HTTP/1.1\r\n${H}$(printf 'X: y\\r\\n%.0s' {1..101})\r\n" 431
raw "GET / HTTP/1.1\r\n${H}$(printf 'X: %s\\r\\n' "${long:0:5000}" "${long:0:5000}" "${long:0:5000}" "${long:0:5000}")\r\n" 431
stop

# --- files that are kept: a change is seen, also of the same length and at once, and one that is gone is not served ---
# until_get STATUS PATH FILE: a second later at most, but for a busy machine
until_get() {
	local looks=0
	until [ "$(timeout 60 curl -s -o out -w '%{http_code}' "$url$2")" = "$1" ] && { [ -z "${3-}" ] || cmp -s out "$3"; }; do
		[ $((looks += 1)) -lt 200 ] || fail "$2 stays what it was"
		sleep 0.05
	done
	checks=$((checks + 1))
}
start
settle
echo first >www/change
get 200 /change && same www/change
for word in other third; do
	echo $word >www/change && until_get 200 /change www/change
done
cp -p www/change old && echo new-x >new && touch -r old new && mv new www/change && until_get 200 /change www/change # another inode
rm www/change && until_get 404 /change
mkdir www/change && until_get 301 /change
rmdir www/change && echo again >www/change && until_get 200 /change www/change
: >www/change && until_get 200 /change www/change
head -c 32768 www/big >www/most && head -c 32769 www/big >www/more # as large as is kept, and larger
for i in 1 2; do
	get 200 /most && same www/most && get 200 /more && same www/more && get 200 /most --head && field 'Content-Length: 32768'
done
mkdir www/many
for i in {1..600}; do # more than are kept
	echo "$i" >"www/many/$i"
done
for i in 1 2; do
	timeout 60 curl -s "$url/many/[1-600]" >out || fail "600 files: status $?"
	[ "$(md5sum <out)" = "$(for i in {1..600}; do cat "www/many/$i"; done | md5sum)" ] || fail "600 files"
done
rm -rf www/change www/most www/more www/many old
until_fds "$at_first"
stop

# --- times ---
start --idle 1 --header 1 --body 1 --write 1
raw '' # idle: closed without a word
raw 'GET / HTT' 408
raw '\r\n\r\n' 408 # no end of a head
raw "POST / HTTP/1.1\r\n${H}Content-Length: 10\r\n\r\nabc" 408
raw "GET /a.txt HTTP/1.1\r\n$H\r\n" 200 # and then idle

stop

# --- among hostile clients the good ones are served, and nothing stays; patience for a busy machine ---
start --idle 10 --header 3 --body 3 --write 5
settle
timeout 60 "$hostile" --connections 120 --seconds 6 127.0.0.1 "$port" /a.txt || fail "hostile"
timeout 60 "$hostile" --connections 60 --seconds 3 127.0.0.1 "$port" /middle || fail "hostile, with a large file"
until_fds "$at_first"
memory=$(awk '/VmRSS/ { print $2 }' /proc/$pid/status)
for i in 1 2; do
	timeout 60 "$hostile" --connections 120 --seconds 3 127.0.0.1 "$port" /a.txt || fail "hostile"
done
until_fds "$at_first"
now=$(awk '/VmRSS/ { print $2 }' /proc/$pid/status)
is_sanitized || [ "$now" -le $((memory + memory / 2 + 4096)) ] || fail "$memory KiB of memory before, $now after"
# Many that stay connected, a few hostile ones among them: the server does not grow meanwhile, and is what it was before.
is_sanitized || timeout 120 "$hostile" --connections 300 --hostile 5% --seconds 3 --every 500 --watch "$pid" 127.0.0.1 "$port" \
	/a.txt || fail "hostile, watched"
stop

# --- a bound on connections: the next waits for its turn ---
start --connections 2 --idle 1
(exec 3<>"/dev/tcp/127.0.0.1/$port" && exec sleep 20) &
(exec 3<>"/dev/tcp/127.0.0.1/$port" && exec sleep 20) &
sleep 0.2
get 200 /a.txt # when one of these has been idle for too long
kill $(jobs -p | grep -v "^$pid$") 2>/dev/null
stop

# --- SIGTERM: what has begun is finished; no answer is lost under load ---
start
rm -f out
timeout 60 curl -s --limit-rate 2M -o out "$url/big" &
curl=$!
looks=0
until [ -s out ]; do
	[ $((looks += 1)) -lt 1000 ] || fail "curl gets nothing"
	sleep 0.01
done
stop
wait $curl || fail "curl: status $? in a drain"
same www/big
start
settle # one answer
wrk -t1 -c32 -d3s "$url/a.txt" >wrk.out 2>&1 &
wrk=$!
connected 32
sleep 0.5
stop
wait $wrk
got=$(sed -n 's/^ *\([0-9]*\) requests in .*/\1/p' wrk.out)
[ "$got" -gt 0 ] && [ $((got + 1)) -eq "$answered" ] || fail "wrk had $got answers, the server gave $((answered - 1))"
checks=$((checks + 1))
# What does not end is ended.
start --grace 1
settle
(exec 3<>"/dev/tcp/127.0.0.1/$port" && printf 'GET /big HTTP/1.1\r\nHost: x\r\n\r\n' >&3 && exec sleep 20) &
connected 2 # it, and the file
kill -TERM $pid
timeout 30 tail --pid=$pid -f /dev/null || fail "it does not end after the grace"
wait $pid
[ $? -eq 1 ] || fail "the end of the grace is not told"
pid=
grep -q 'Connection timed out' server.err || fail "stderr does not tell of the grace"
kill $(jobs -p) 2>/dev/null

# --- a unix socket, the command line ---
"$httpd" --listen "unix:$tmp/socket" www >server.out 2>server.err &
pid=$!
looks=0
until [ -S socket ]; do
	[ $((looks += 1)) -lt 500 ] || fail "no socket file"
	sleep 0.02
done
[ "$(timeout 30 curl -s --unix-socket socket http://x/a.txt)" = hello ] || fail "over a unix socket"
stop
[ ! -e socket ] || fail "the socket file stays"
"$httpd" --help | grep -q -- --listen || fail "--help"
for bad in '' 'www www' 'nowhere' '--listen nowhere www' '--idle 0 www' '--nonsense www' 'www/a.txt'; do
	# shellcheck disable=SC2086
	timeout 10 "$httpd" $bad >out 2>err && fail "accepts '$bad'"
	[ -s err ] || fail "says nothing about '$bad'"
done

echo "httpd_test.sh: $checks checks passed"
