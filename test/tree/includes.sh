#!/bin/sh
# includes.sh ROOT: a folder includes only itself and what stands to its left: include <- core <- io <- sched.
# examples, bench and tools see include only, and files of their own folder. test sees all.
here=$(dirname "$0")
. "$here/lib.sh"
cd "$1"

# wrong FOLDER ALLOWED...: print the includes in FOLDER that lead to a folder of the project not among ALLOWED.
wrong() {
	folder=$1
	shift
	# shellcheck disable=SC2046
	code $(sources "$folder") | awk -v folder="$folder" -v allowed=" $* " '
		match($0, /^[^:]*:[0-9]*:[ \t]*#[ \t]*include[ \t]*["<][^">]*[">]/) {
			line = substr($0, RSTART, RLENGTH)
			file = line; sub(/:.*/, "", file)
			quoted = line ~ /"$/
			name = line; sub(/^[^"<]*["<]/, "", name); sub(/[">]$/, "", name)
			if (!quoted) { # a system header, unless it is one of ours
				if (name ~ /^thrum(\/|\.h$)/) target = "include"
				else if (name ~ /^(core|io|sched|test|examples|bench|tools)\//) { target = name; sub(/\/.*/, "", target) }
				else next
			} else {
				dir = file; sub(/\/[^\/]*$/, "", dir)
				path = dir "/" name
				if (name ~ /^(core|io|sched|include|test|examples|bench|tools)\//) path = name
				while (match(path, /[^\/.][^\/]*\/\.\.\//)) path = substr(path, 1, RSTART - 1) substr(path, RSTART + RLENGTH)
				target = path; sub(/\/.*/, "", target)
			}
			if (target != folder && index(allowed, " " target " ") == 0) print line " leads to " target
		}'
}

wrong include | report "include/ sees nothing but itself"
wrong core include | report "core/ sees include/"
wrong io include core | report "io/ sees include/ and core/"
wrong sched include core io | report "sched/ sees include/, core/ and io/"
for folder in examples bench tools; do
	wrong "$folder" include | report "$folder/ sees include/"
done
finish
