#!/bin/sh
# exports.sh ROOT LIBTHRUM.SO LIBTHRUM.A: what the libraries show to others.
here=$(dirname "$0")
. "$here/lib.sh"
cd "$1"
so=$2 static=$3

# Exported: exactly what the headers declare.
nm -D --defined-only "$so" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort -u >"$work/exported"
# Those of thrum/test.h are in libthrum-sim.
# shellcheck disable=SC2046
code $(sources include | grep -v '^include/thrum/test\.h$') | grep -o 'THRUM_API .*' |
	sed -nE 's/^[^(]*[^a-z0-9_](thrum_[a-z0-9_]+)\(.*/\1/p; /\(/!s/.*[^a-z0-9_](thrum_[a-z0-9_]+)(\[.*)?;.*/\1/p' |
	sort -u >"$work/declared"
[ -s "$work/declared" ] || echo "none found" | report "declarations in include/"
grep -v '^thrum_' "$work/exported" | report "exported symbols start with thrum_"
comm -23 "$work/exported" "$work/declared" | report "exported, but declared in no public header"
comm -13 "$work/exported" "$work/declared" | report "declared in a public header, but not exported"

# In a static link nothing else than thrum_ and th_ can collide with the user's names.
nm --defined-only -g "$static" 2>/dev/null | awk 'NF == 3 { print $3 }' | grep -vE '^(thrum_|th_)' |
	report "external symbols start with thrum_ or th_"

readelf -dW "$so" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p' | grep -vE '^(libc\.so\.6|liburing\.so\.2|ld-linux.*)$' |
	report "the shared library needs only libc and liburing"
readelf -dW "$so" | grep -F 'SONAME' | grep -vF '[libthrum.so.0]' | report "SONAME is libthrum.so.0"
readelf -dW "$so" | grep -E '\((TEXTREL|RPATH|RUNPATH)\)' | report "no text relocations, no run path"
readelf -lW "$so" | awk '$1 == "GNU_STACK" { found = 1; if ($0 ~ /E/ && $7 ~ /E/) print } END { if (!found) print "no GNU_STACK header" }' |
	report "no executable stack"
readelf -sW "$static" | awk '$4 == "TLS" && $7 != "UND" { print $8 }' | sort >"$work/tls"
[ "$(wc -l <"$work/tls")" -le 1 ] || report "one thread-local in the whole library" <"$work/tls"
finish
