#!/bin/sh
# inject.sh DIR: the tests of io/ in DIR while strace has the kernel refuse things (hazards 46, 47, 55). A run passes if its
# program does and the fault has happened. Without strace, or where it may not trace: skipped (exit status 77).
set -u
dir=$1
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
failed=0

strace -qq -o "$log" true 2>/dev/null || {
	echo "no strace here, or it may not trace"
	exit 77
}

# with FAULT PROGRAM [TEST]
with() {
	fault=$1
	shift
	call=${fault%%:*}
	program=$dir/$1
	shift
	if ! THRUM_BACKEND=io_uring timeout 100 strace -f -qq --seccomp-bpf -o "$log" -e "trace=$call" -e "inject=$fault" \
		"$program" "$@" >"$log.out" 2>&1; then
		echo "FAILED $fault ${program##*/} $*"
		tail -5 "$log.out"
		failed=1
	elif ! grep -q INJECTED "$log"; then
		echo "FAILED $fault ${program##*/} $*: it never came to that"
		failed=1
	else
		echo "ok     $fault ${program##*/} $*"
	fi
	rm -f "$log.out"
}

# The ring takes nothing for once: interrupted, out of memory, completions have to be reaped first; or it says that it took
# nothing, as with a full queue.
for how in error=EINTR:when=2+3 error=EAGAIN:when=2+3 error=EBUSY:when=3+4 error=ENOMEM:when=2+5 retval=0:when=2+3; do
	for program in net cancel close overflow; do
		with "io_uring_enter:$how" "test-plain-io-$program"
	done
done
with io_uring_enter:error=EBUSY:when=2+2 test-plain-io-many io_many/thousands_of_polls_at_once_all_end
with io_uring_enter:retval=0:when=2+2 test-plain-io-many io_many/thousands_of_polls_cancelled_at_once_all_end

# A kernel without the newest flags, and one that has no memory for so many entries.
with io_uring_setup:error=EINVAL:when=1+2 test-plain-io-net
with io_uring_setup:error=ENOMEM:when=2 test-plain-io-net io_net/two_fibers_may_wait_on_one_descriptor

# The smallest ring: its completions run over as well (hazard 48).
for test in thousands_of_polls_at_once_all_end thousands_of_polls_cancelled_at_once_all_end; do
	with io_uring_setup:error=ENOMEM:when=2..6 test-plain-io-many "io_many/$test"
done

# A kernel without rings of buffers: everything that registers, but for the probe.
for test in $("$dir/test-plain-io-lent" -l | grep -v -e plain_thread -e refused -e twice); do
	with io_uring_register:error=EINVAL:when=2+ test-plain-io-lent "$test"
done

# Calls that do not wait are interrupted all the same.
with recvfrom:error=EINTR:when=1 test-plain-io-msg io_msg/calls_that_never_wait_let_others_have_their_turn
with recvfrom:error=EINTR:when=1 test-plain-io-msg io_msg/a_vector_that_stops_tells_how_much_went_out_G3_G8
with sendfile:error=EINTR:when=1 test-plain-io-sendfile
exit $failed
