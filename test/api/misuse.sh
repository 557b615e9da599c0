#!/bin/sh
# misuse.sh COMPILER ROOT FILE STANDARD: FILE, misuse.c or misuse.cpp, must compile as CASE 0 and must not as any other case.
set -eu
cc=$1 root=$2 file=$3 std=$4
compiles() {
	"$cc" -std="$std" -Wall -Wextra -Wpedantic -Werror -DCASE="$1" -I "$root/include" \
		-c "$root/test/api/$file" -o /dev/null 2>"$log"
}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
compiles 0 || { cat "$log"; echo "FAILED: case 0 does not compile"; exit 1; }
case=1
while ! compiles "$case"; do
	if grep -q 'last case' "$log"; then
		echo "$((case - 1)) mistakes refused"
		exit 0
	fi
	case=$((case + 1))
done
echo "FAILED: case $case compiles"
exit 1
