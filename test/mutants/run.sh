#!/usr/bin/env bash
# test/mutants/run.sh BUILDDIR [name …]: is there a test for every promise? Each *.patch here plants one bug; the test named
# in its first line must fail on it. A mutant that lives is a missing test.
#
#   # killed-by: PROGRAM SUITE/NAME [NAME=VALUE …]     PROGRAM is a build target; the settings go into its environment
#
# The tree is copied, so the checkout stays as it is. Last line: "N passed, N failed".
set -u
ulimit -c 0
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
[ $# -ge 1 ] || { echo "usage: run.sh BUILDDIR [name …]" >&2; exit 2; }
mkdir -p "$1" && work=$(cd "$1" && pwd)
shift
names=${*:-$(cd "$here" && ls -- *.patch | sed 's/\.patch$//')}
limit=20 # a mutant that hangs is dead too; healthy, each of these takes a second or two
passed=0
failed=0

rm -rf "$work/tree"
mkdir -p "$work/tree"
(cd "$root" && tar cf - --exclude=./build --exclude=./.git .) | tar xf - -C "$work/tree"
cmake -S "$work/tree" -B "$work/build" -G Ninja -DCMAKE_BUILD_TYPE=RelWithDebInfo >"$work/configure.log" 2>&1 || {
	tail -5 "$work/configure.log"
	exit 1
}

verdict() { # ok|FAILED name text
	printf '%-7s %-44s %s\n' "$1" "$2" "$3"
	if [ "$1" = ok ]; then passed=$((passed + 1)); else failed=$((failed + 1)); fi
}

# Builds and runs the killer; its exit status. 99: does not build.
run_killer() { # program test settings…
	local program=$1 test=$2
	shift 2
	cmake --build "$work/build" --target "$program" >"$work/build.log" 2>&1 || return 99
	# The braces: the shell's own remark on a program that aborts is no news here.
	{ env "$@" timeout -s KILL "$limit" "$work/build/test/$program" "$test" >"$work/run.log" 2>&1; } 2>/dev/null
}

try() { # name
	local patch="$here/$1.patch" killer rc
	read -ra killer < <(sed -n '1s/^# killed-by: *//p' "$patch")
	if [ ${#killer[@]} -lt 2 ]; then
		verdict FAILED "$1" "its first line names no test"
		return
	fi
	if ! patch -s -p1 -d "$work/tree" <"$patch" >"$work/patch.log" 2>&1; then
		verdict FAILED "$1" "does not apply: the code has moved on"
		(cd "$work/tree" && find . -name '*.rej' -delete)
		return
	fi
	rc=0
	run_killer "${killer[@]}" || rc=$?
	case $rc in
	0) verdict FAILED "$1" "lives: ${killer[1]} passes" ;;
	99) verdict FAILED "$1" "does not build" ;;
	*) verdict ok "$1" "killed by ${killer[1]}" ;;
	esac
	patch -s -R -p1 -d "$work/tree" <"$patch" >/dev/null
}

for name in $names; do
	try "$name"
done

# And without a bug each of those tests passes; else the kills above say nothing.
for name in $names; do
	sed -n '1s/^# killed-by: *//p' "$here/$name.patch"
done | sort -u | while read -ra killer; do
	run_killer "${killer[@]}" || echo "${killer[1]}"
done >"$work/sick"
if [ -s "$work/sick" ]; then
	verdict FAILED healthy "fails without a bug: $(tr '\n' ' ' <"$work/sick")"
else
	verdict ok healthy "all of them pass without a bug"
fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
