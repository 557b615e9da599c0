#!/bin/bash
# demo.sh DIGEST [DIRECTORY...]: hash the system's headers and libraries, have sha256sum check every line, and time the
# same work done by find | xargs sha256sum. Exits with 1 if a file is missing or a sum is wrong. Takes half a minute.
set -u -o pipefail
export LC_ALL=C
digest=${1:?usage: demo.sh DIGEST [DIRECTORY...]}
shift
rounds=5

fail() {
	echo "demo: $*" >&2
	exit 1
}

dirs=("$@")
if [ ${#dirs[@]} -eq 0 ]; then
	for dir in /usr/include /usr/lib/*-linux-gnu; do
		[ -d "$dir" ] && dirs+=("$dir")
	done
	[ ${#dirs[@]} -gt 0 ] || dirs=(/usr/lib)
fi
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT

pipeline() {
	find "${dirs[@]}" -type f -print0 | xargs -0 -P "$(nproc)" -n 64 sha256sum
}
# Wall time of a command in ms; its output is not looked at.
timed() {
	local begun=$EPOCHREALTIME ended
	"$@" >/dev/null || fail "$1 failed"
	ended=$EPOCHREALTIME
	echo $(((${ended/./} - ${begun/./}) / 1000))
}
median() {
	sort -n | sed -n "$(((rounds + 1) / 2))p"
}

echo "SHA-256 of every file under ${dirs[*]}"
pipeline >/dev/null || fail "sha256sum failed" # everything is in the page cache from here on
"$digest" --stats "${dirs[@]}" >"$tmp/SUMS" || fail "digest exited with $?"

found=$(find "${dirs[@]}" -type f -printf . | wc -c)
listed=$(wc -l <"$tmp/SUMS")
[ "$found" -eq "$listed" ] || fail "find sees $found files, digest lists $listed"
sha256sum -c --quiet "$tmp/SUMS" || fail "sha256sum -c does not agree"
echo "checked    sha256sum -c agrees on all $listed files"

for ((i = 0; i < rounds; i++)); do # in turn, so that both see the same noise
	timed pipeline >>"$tmp/pipeline" || exit 1
	timed "$digest" "${dirs[@]}" >>"$tmp/digest" || exit 1
done
theirs=$(median <"$tmp/pipeline")
ours=$(median <"$tmp/digest")
printf 'find | xargs -P %s -n 64 sha256sum:  %5d ms (median of %d, cached)\n' "$(nproc)" "$theirs" "$rounds"
printf 'digest:%30s  %5d ms\n' "" "$ours"
[ "$ours" -le "$theirs" ] || echo "demo: digest was SLOWER here" >&2
