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
rm -f "$work"/*.verdicts "$work"/*.limits
shift
names=${*:-$(cd "$here" && ls -- *.patch | sed 's/\.patch$//')}
lanes=${THRUM_MUTANT_LANES:-$(nproc)} # each lane has a tree and a build of its own and takes every nth mutant
runs=5   # in which a killer may pass before its mutant is said to live
patience=200 # for a killer without a bug, in seconds
# A mutant that hangs is dead too. How long a killer may take with one: ten times what it took without, and 3 s.
limit_of() { # microseconds
	echo $(($1 / 100000 + 3))
}

prepare() { # lane: its copy of the tree, configured
	rm -rf "$work/$1.tree"
	mkdir -p "$work/$1.tree"
	(cd "$root" && tar cf - --exclude=./build --exclude=./.git .) | tar xmf - -C "$work/$1.tree" # as new: what is built of the last run is older
	# Debug information and the second optimisation pass are most of a build's time and kill nothing. When a patch is taken back
	# everything that it touched is built once more: ccache has that, where it is installed.
	local launcher
	launcher=$(command -v ccache) && export CMAKE_C_COMPILER_LAUNCHER=$launcher CMAKE_CXX_COMPILER_LAUNCHER=$launcher
	cmake -S "$work/$1.tree" -B "$work/$1.build" -G Ninja -DCMAKE_BUILD_TYPE=Release "-DCMAKE_C_FLAGS_RELEASE=-O1 -DNDEBUG" \
		"-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG" >"$work/$1.configure.log" 2>&1 || {
		tail -5 "$work/$1.configure.log"
		return 1
	}
}

verdict() { # ok|FAILED name text
	printf '%-7s %-44s %s\n' "$1" "$2" "$3"
}

elapsed() { # since when, in microseconds: in tenths of a second
	local us=$((${EPOCHREALTIME/[^0-9]/} - $1))
	printf '%d.%d s' $((us / 1000000)) $((us / 100000 % 10))
}

build_killer() { # lane program
	cmake --build "$work/$1.build" --target "$2" >"$work/$1.build.log" 2>&1
}

# Runs the killer; its exit status.
run_killer() { # lane limit program test settings…
	local lane=$1 limit=$2 program=$3 test=$4
	shift 4
	# The braces: the shell's own remark on a program that aborts is no news here. In the build's folder: so what a test that was
	# killed leaves behind goes with it.
	{ env -C "$work/$lane.build" "$@" timeout -s KILL "$limit" "$work/$lane.build/test/$program" "$test" >"$work/$lane.run.log" 2>&1; } 2>/dev/null
}

try() { # lane name
	local tree="$work/$1.tree" patch="$here/$2.patch" began=${EPOCHREALTIME/[^0-9]/} killer rc run
	read -ra killer < <(sed -n '1s/^# killed-by: *//p' "$patch")
	if [ ${#killer[@]} -lt 2 ]; then
		verdict FAILED "$2" "its first line names no test"
		return
	fi
	if ! patch -s -p1 -d "$tree" <"$patch" >"$work/$1.patch.log" 2>&1; then
		verdict FAILED "$2" "does not apply: the code has moved on"
		(cd "$tree" && find . -name '*.rej' -delete)
		return
	fi
	rc=0
	build_killer "$1" "${killer[0]}" || rc=99
	for ((run = 0; run < runs && rc == 0; run++)); do # some need a moment that a busy machine may miss
		run_killer "$1" "${limits["${killer[*]}"]:-20}" "${killer[@]}" || rc=$?
	done
	case $rc in
	0) verdict FAILED "$2" "lives: ${killer[1]} passes" ;;
	99) verdict FAILED "$2" "does not build" ;;
	*) verdict ok "$2" "killed by ${killer[1]} in $(elapsed "$began")" ;;
	esac
	patch -s -R -p1 -d "$tree" <"$patch" >/dev/null
}

# Every nth line of standard input, from the lane's own on.
share() { # lane
	awk -v lane="$1" -v lanes="$lanes" 'NR % lanes == lane'
}

killers() { # of all mutants, each once
	for name in $names; do
		sed -n '1s/^# killed-by: *//p' "$here/$name.patch"
	done | sort -u
}

# Without a bug each killer passes; else the kills say nothing. How long it may take is noted on the way.
run_healthy() { # lane
	prepare "$1" || return
	local killer began
	killers | share "$1" | while read -ra killer; do
		build_killer "$1" "${killer[0]}"
		began=${EPOCHREALTIME/[^0-9]/}
		run_killer "$1" "$patience" "${killer[@]}" || verdict FAILED "${killer[1]}" "fails without a bug"
		echo "$(limit_of $((${EPOCHREALTIME/[^0-9]/} - began))) ${killer[*]}" >>"$work/$1.limits"
	done
	verdict ok "healthy, lane $1" "its tests pass without a bug, but for those named above"
}

run_lane() { # lane
	for name in $(printf '%s\n' $names | share "$1"); do
		try "$1" "$name"
	done
}

in_lanes() { # function
	local lane
	for ((lane = 0; lane < lanes; lane++)); do
		CMAKE_BUILD_PARALLEL_LEVEL=1 "$1" "$lane" 2>&1 | tee -a "$work/$lane.verdicts" &
	done
	wait
}

in_lanes run_healthy
declare -A limits
while read -r seconds killer; do
	limits[$killer]=$seconds
done < <(cat "$work"/*.limits)
in_lanes run_lane
passed=$(cat "$work"/*.verdicts | grep -c '^ok ')
failed=$(cat "$work"/*.verdicts | grep -c '^FAILED ')
if [ "$(cat "$work"/*.verdicts | grep -c '^ok *healthy')" -ne "$lanes" ]; then
	failed=$((failed + 1)) # a lane did not get to its end
fi
grep -h '^FAILED ' "$work"/*.verdicts # once more, at the end, where they are looked for
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
