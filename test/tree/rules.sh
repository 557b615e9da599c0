#!/bin/sh
# rules.sh ROOT: print for each rule of test/tree/rules.txt the tests that prove it, and fail if there is none.
#
# A test says which rules it proves at the end of its name (`...started_Z4_D1`) or in a comment on its line
# (`/* D1 D3 */`). It counts if ctest runs it: it must begin a line of a file that test/CMakeLists.txt or
# test/cxx/CMakeLists.txt makes a program of. A rule may instead stand in ARCHITECTURE.md's table "Rules read differently".
here=$(dirname "$0")
. "$here/lib.sh"
cd "$1"
tests='^[A-Z_]*TEST[A-Z_]*[(]'
run() { find test/core test/io test/sched test/guide test/api test/stress test/sim -name 'test_*.c'; find test/cxx -name 'test_*.cpp'; }

# What the tests claim: lines "RULE SUITE/NAME".
# shellcheck disable=SC2046
awk -v tests="$tests" '
	$0 ~ tests {
		args = $0; sub(tests, "", args); comment = args
		sub(/[)].*/, "", args); sub(/^(JUMP|TEST|REAL), */, "", args)
		split(args, part, / *, */)
		suite = part[1]; name = part[2]; said = ""
		for (rest = name; match(rest, /_[A-Z][0-9]+$/); rest = substr(rest, 1, RSTART - 1))
			said = substr(rest, RSTART + 1) " " said
		if (match(comment, /\/\* ([A-Z][0-9]+ )+\*\//))
			said = said substr(comment, RSTART + 3, RLENGTH - 6)
		n = split(said, rule, / +/)
		for (i = 1; i <= n; i++)
			if (rule[i] != "") print rule[i], suite "/" name
	}' $(run | sort) >"$work/claims"

# What stands in ARCHITECTURE.md: "| X8 | ..." below the heading, up to the next empty line after the table.
awk '/Rules read differently/ { on = 1 } on && /^\|/ { seen = 1 } on && seen && !/^\|/ { exit }
	on && /^\| *[A-Z][0-9]+ *\|/ { print $2 }' ARCHITECTURE.md >"$work/different"

awk -v claims="$work/claims" -v different="$work/different" -v missing="$work/missing" '
	BEGIN {
		while ((getline line < claims) > 0) {
			split(line, part, " ")
			proof[part[1]] = proof[part[1]] (proof[part[1]] ? ", " : "") part[2]
		}
		while ((getline line < different) > 0) other[line] = 1
	}
	/^[A-Z][0-9]+ / {
		rule = $1; text = substr($0, length(rule) + 2); how = proof[rule]
		if (rule in other) how = how (how ? "; " : "") "different, see ARCHITECTURE.md"
		if (!how) { how = "NO TEST"; print rule ": " text > missing }
		print rule ": " how " | " text
	}' test/tree/rules.txt

# Letters other than those of rules.txt name other lists (M3, N8).
awk 'FNR == NR { if (/^[A-Z][0-9]+ /) { rule[$1]; letter[substr($1, 1, 1)] } next }
	!($1 in rule) && substr($1, 1, 1) in letter { print }' test/tree/rules.txt "$work/claims" "$work/different" |
	report "names of rules that do not exist"
find test -name '*.c' -o -name '*.cpp' | sort >"$work/all"
run | sort | comm -13 - "$work/all" | while read -r file; do
	grep -HnE "$tests" "$file" || true
done | report "tests in files that ctest does not run"
touch "$work/missing"
report "rules without a test" <"$work/missing"
finish
