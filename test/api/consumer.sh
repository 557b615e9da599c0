#!/bin/sh
# consumer.sh static|shared|pkg-config|subdirectory ROOT BUILD: use thrum from another project in that way.
set -eu
how=$1 root=$2 build=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build_and_run() { # with these options for the configure step
	"$CMAKE" -S "$root/test/api/consumer" -B "$work/build" -G "$GENERATOR" \
		-DCMAKE_C_COMPILER="$CC" -DCMAKE_CXX_COMPILER="$CXX" "$@"
	"$CMAKE" --build "$work/build"
	"$work/build/consumer"
	"$work/build/consumer-cxx"
	"$work/build/consumer-sim"
}

if [ "$how" = subdirectory ]; then
	build_and_run -DTHRUM_SOURCE="$root"
	"$CMAKE" --install "$work/build" --prefix "$work/prefix"
	if find "$work/prefix" -name '*thrum*' | grep .; then
		echo "FAILED: thrum was installed with the project that uses it"
		exit 1
	fi
	exit 0
fi

# Installed, then moved: nothing in it may remember where it was.
"$CMAKE" --install "$build" --prefix "$work/first" >"$work/log" || { cat "$work/log"; exit 1; }
mv "$work/first" "$work/prefix"
pc=$(find "$work/prefix" -name thrum.pc)
libdir=${pc%/pkgconfig/thrum.pc}
case $how in
static) build_and_run -DCMAKE_PREFIX_PATH="$work/prefix" ;;
shared)
	build_and_run -DCMAKE_PREFIX_PATH="$work/prefix" -DBUILD_SHARED_LIBS=ON
	readelf -d "$work/build/consumer" | grep -F '[libthrum.so.0]'
	;;
pkg-config)
	export PKG_CONFIG_PATH="${pc%/thrum.pc}"
	# shellcheck disable=SC2046
	"$CC" -std=c11 "$root/test/api/consumer/main.c" -o "$work/shared" $(pkg-config --cflags --libs thrum)
	LD_LIBRARY_PATH=$libdir "$work/shared"
	rm "$libdir"/libthrum.so*
	# shellcheck disable=SC2046
	"$CC" -std=c11 "$root/test/api/consumer/main.c" -o "$work/static" $(pkg-config --static --cflags --libs thrum)
	"$work/static"
	# shellcheck disable=SC2046
	"$CXX" -std=c++17 "$root/test/api/consumer/main.cpp" -o "$work/cxx" $(pkg-config --static --cflags --libs thrum)
	"$work/cxx"
	# shellcheck disable=SC2046
	"$CC" -std=c11 "$root/test/api/consumer/sim.c" -o "$work/sim" $(pkg-config --cflags --libs thrum-sim)
	"$work/sim"
	;;
esac
