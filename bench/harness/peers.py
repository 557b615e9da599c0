"""The programs of bench/forkjoin: which there are, what each needs, how it is built."""

import os
import shutil
import subprocess
from dataclasses import dataclass, field

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SOURCES = os.path.join(ROOT, "bench", "forkjoin")
BUILD = os.path.join(ROOT, "build", "bench")
CRATES = "/usr/share/cargo/registry"

CFLAGS = ["-O2", "-DNDEBUG", "-Wall", "-Wextra"]


class Missing(Exception):
    """The peer cannot be built here; says why."""


@dataclass
class Peer:
    name: str
    label: str
    suspendable: bool
    packages: str
    build: object
    version: object
    program: str = field(default="")


def output_of(command, **more):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **more)
    if done.returncode != 0:
        last = [line for line in done.stdout.strip().splitlines() if line.strip()][-3:]
        raise Missing("; ".join(last) or f"{command[0]} failed")
    return done.stdout


def tool(name):
    """Debian's own before whatever else is on the path."""
    found = shutil.which(name, path="/usr/bin:/bin:/usr/local/bin") or shutil.which(name)
    if not found:
        raise Missing(f"no {name}")
    return found


def first_line(*command):
    try:
        return output_of([tool(command[0]), *command[1:]]).splitlines()[0].strip()
    except (Missing, IndexError):
        return "?"


def debian_version(package):
    try:
        return output_of(["dpkg-query", "-W", "-f", "${Version}", package]).strip() or "?"
    except (Missing, OSError):
        return "?"


def cmake_programs():
    """serial, thrum and fibers: this project's own build, in a folder of its own, optimized."""
    folder = os.path.join(BUILD, "cmake")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    if not os.path.exists(os.path.join(folder, "CMakeCache.txt")):
        output_of([tool("cmake"), "-S", ROOT, "-B", folder, *generator, "-DCMAKE_BUILD_TYPE=RelWithDebInfo",
                   "-DTHRUM_TESTS=OFF", "-DTHRUM_EXAMPLES=OFF"])
    output_of([tool("cmake"), "--build", folder, "--target", "bench", "-j2"])
    return os.path.join(folder, "bench")


def build_serial(_):
    return os.path.join(cmake_programs(), "forkjoin-serial")


def build_thrum(_):
    return os.path.join(cmake_programs(), "forkjoin-thrum")


def compiled(compiler, source, flags, libraries):
    def build(name):
        out = os.path.join(BUILD, name)
        output_of([tool(compiler), *CFLAGS, *flags, os.path.join(SOURCES, source), "-o", out, *libraries])
        return out
    return build


def build_go(name):
    out = os.path.join(BUILD, name)
    env = dict(os.environ, GO111MODULE="off", GOCACHE=os.path.join(BUILD, "go-cache"), GOFLAGS="")
    output_of([tool("go"), "build", "-o", out, "main.go"], cwd=os.path.join(SOURCES, "go"), env=env)
    return out


def build_rust(name):
    """Without network: the crates are the sources that Debian installs. Built in a copy, as cargo writes a lock file."""
    cargo, rustc = tool("cargo"), tool("rustc")
    if not os.path.isdir(CRATES):
        raise Missing(f"no {CRATES}")
    copy = os.path.join(BUILD, "rust")
    shutil.copytree(os.path.join(SOURCES, "rust"), copy, dirs_exist_ok=True)
    env = dict(os.environ, RUSTC=rustc, CARGO_HOME=os.path.join(BUILD, "cargo"))
    output_of([cargo, "build", "--release", "--offline", "-j2", "--features", name, "--bin", name,
               "--config", 'source.crates-io.replace-with="debian"',
               "--config", f'source.debian.directory="{CRATES}"'], cwd=copy, env=env)
    return os.path.join(copy, "target", "release", name)


PEERS = [
    Peer("serial", "serial C", False, "gcc", build_serial, lambda: first_line("cc", "--version")),
    Peer("thrum", "thrum", True, "cmake liburing-dev pkg-config", build_thrum,
         lambda: output_of(["git", "-C", ROOT, "describe", "--always", "--dirty"]).strip()),
    Peer("rayon", "rayon", False, "cargo librust-rayon-dev", build_rust, lambda: debian_version("librust-rayon-dev")),
    Peer("tbb", "oneTBB", False, "g++ libtbb-dev",
         compiled("g++", "tbb.cpp", ["-std=c++17"], ["-ltbb"]), lambda: debian_version("libtbb-dev")),
    Peer("libgomp", "libgomp", False, "gcc",
         compiled("gcc", "openmp.c", ["-fopenmp"], ["-lm"]), lambda: debian_version("libgomp1")),
    Peer("libomp", "libomp", False, "clang libomp-dev",
         compiled("clang", "openmp.c", ["-fopenmp"], ["-lm"]), lambda: debian_version("libomp-dev")),
    Peer("tokio", "tokio", True, "cargo librust-tokio-dev", build_rust, lambda: debian_version("librust-tokio-dev")),
    Peer("go", "Go", True, "golang-go", build_go, lambda: first_line("go", "version")),
    Peer("boost", "Boost.Fiber", True, "g++ libboost-fiber-dev",
         compiled("g++", "boost_fiber.cpp", ["-std=c++17"], ["-lboost_fiber", "-lboost_context", "-lpthread"]),
         lambda: debian_version("libboost-fiber-dev")),
]


def build_all(names, say):
    """Build the peers that are named; returns those that stand, and what is missing as (peer, reason)."""
    os.makedirs(BUILD, exist_ok=True)
    there, missing = [], []
    for peer in PEERS:
        if peer.name not in names:
            continue
        say(f"building {peer.name}")
        try:
            peer.program = peer.build(peer.name)
            there.append(peer)
        except (Missing, OSError) as why:
            missing.append((peer, str(why)))
    return there, missing
