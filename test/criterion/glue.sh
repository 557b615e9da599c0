#!/bin/sh
# test/criterion/glue.sh PROGRAM: what must hold of glue.c: which tests fail, what is said of them, and that a replay is one.
set -u
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

expect() { # TEXT in the log
	grep -qF -- "$1" "$work/log" && return
	echo "not there: $1"
	failed=1
}

"$program" --filter 'good/*' >"$work/log" 2>&1 || { echo "a good test fails"; failed=1; }
expect "Tested: 3 | Passing: 3 | Failing: 0 | Crashing: 0"
[ "$failed" -eq 0 ] || cat "$work/log"

"$program" --verbose --filter 'skipped/*' >"$work/log" 2>&1 || { echo "skipping fails"; failed=1; }
expect "Failing: 0 | Crashing: 0"
expect "not here"
expect "nor there"
[ "$failed" -eq 0 ] || cat "$work/log"

"$program" --filter 'bad/*' >"$work/log" 2>&1 && { echo "bad tests pass"; failed=1; }
expect "Tested: 5 | Passing: 0 | Failing: 5 | Crashing: 0"
expect "one was lost"
expect "eq(int, sum, 3): actual 0, expected 3"
expect "letters: eq(str"
expect "is preempted at glue.c:" # that is all of its timeline, and the line where it goes wrong
expect "THRUM_TEST_REPLAY='bad/race seed="
expect "died by signal 11"
expect "plain Criterion"
replay=$(sed -n "s/.*once more: THRUM_TEST_REPLAY='\(bad\/race [^']*\)'.*/\1/p" "$work/log" | head -n 1)
[ "$failed" -eq 0 ] || cat "$work/log"

# In the test's own process: where a debugger sees it. It aborts there.
THRUM_TEST_REPLAY=$replay "$program" --filter 'bad/race' >"$work/log" 2>&1 && { echo "the replay passes"; failed=1; }
expect "it fails: one was lost"
expect "Crashing: 1"
[ "$failed" -eq 0 ] || cat "$work/log"
exit "$failed"
