# test/tree/lib.sh: what the tree checks share. Usage of each: sh CHECK.sh ROOT [arguments].
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# report TITLE: fail with the lines of stdin, if there are any.
report() {
	found=$(cat)
	[ -n "$found" ] || return 0
	printf 'FAILED: %s\n%s\n' "$1" "$found" | tee -a "$work/failed"
}

finish() {
	[ ! -s "$work/failed" ] || exit 1
	echo "ok"
}

# sources FOLDER...: the C and assembly files in them.
sources() {
	for folder in "$@"; do
		[ ! -d "$folder" ] || find "$folder" -name '*.[chS]' -o -name '*.cpp'
	done | sort
}

# code FILE...: their lines as FILE:LINE:TEXT, comments blanked out.
code() {
	[ $# -eq 0 ] || awk '
		FNR == 1 { inside = 0 }
		{
			rest = $0; text = ""
			while (rest != "") {
				if (inside) {
					at = index(rest, "*/")
					if (!at) { rest = ""; break }
					rest = substr(rest, at + 2); inside = 0
				} else {
					block = index(rest, "/*"); line = index(rest, "//")
					if (line && (!block || line < block) && substr(rest, line - 1, 1) != ":") {
						text = text substr(rest, 1, line - 1); break
					}
					if (!block) { text = text rest; break }
					text = text substr(rest, 1, block - 1) " "
					rest = substr(rest, block + 2); inside = 1
				}
			}
			print FILENAME ":" FNR ":" text
		}' "$@"
}

# uses PATTERN FOLDER...: where the code in these folders matches.
uses() {
	pattern=$1
	shift
	# shellcheck disable=SC2046
	code $(sources "$@") | grep -E "^[^:]*:[0-9]*:.*($pattern)" || true
}
