"""The programs of bench/servers, and the servers that are measured beside them: what each needs, how it is built, how it is started."""

import os
import shutil
from dataclasses import dataclass, field

from .peers import BUILD, CRATES, ROOT, Missing, cmake_programs, debian_version, first_line, output_of, tool

SOURCES = os.path.join(ROOT, "bench", "servers")
CFLAGS = ["-O2", "-DNDEBUG", "-D_GNU_SOURCE", "-Wall", "-Wextra"]


@dataclass
class Server:
    name: str
    label: str
    kind: str         # what it answers: echo, http, set
    packages: str
    build: object     # returns the program
    command: object   # of (program, port, folder), what to start
    version: object
    env: dict = field(default_factory=dict)
    program: str = ""


def from_cmake(name):
    return lambda: os.path.join(cmake_programs(), name)


def example(name):
    """The example servers, from the same build."""
    def build():
        folder = os.path.dirname(cmake_programs())
        output_of([tool("cmake"), folder, "-DTHRUM_EXAMPLES=ON"])
        output_of([tool("cmake"), "--build", folder, "--target", f"example-{name}", "-j2"])
        return os.path.join(folder, "examples", name)
    return build


def compiled(source, libraries):
    def build():
        out = os.path.join(BUILD, os.path.splitext(source)[0])
        output_of([tool("cc"), *CFLAGS, os.path.join(SOURCES, source), "-o", out, *libraries])
        return out
    return build


def build_go():
    out = os.path.join(BUILD, "servers-go")
    env = dict(os.environ, GO111MODULE="off", GOCACHE=os.path.join(BUILD, "go-cache"), GOFLAGS="")
    output_of([tool("go"), "build", "-o", out, "main.go"], cwd=os.path.join(SOURCES, "go"), env=env)
    return out


def build_tokio():
    if not os.path.isdir(CRATES):
        raise Missing(f"no {CRATES}")
    copy = os.path.join(BUILD, "servers-rust")
    shutil.copytree(os.path.join(SOURCES, "rust"), copy, dirs_exist_ok=True)
    env = dict(os.environ, RUSTC=tool("rustc"), CARGO_HOME=os.path.join(BUILD, "cargo"))
    output_of([tool("cargo"), "build", "--release", "--offline", "-j2", "--features", "tokio", "--bin", "tokio",
               "--config", 'source.crates-io.replace-with="debian"',
               "--config", f'source.debian.directory="{CRATES}"'], cwd=copy, env=env)
    return os.path.join(copy, "target", "release", "tokio")


def installed(name, folder="/usr/bin:/usr/sbin"):
    def build():
        found = shutil.which(name, path=folder)
        if not found:
            raise Missing(f"no {name}")
        return found
    return build


NGINX_CONF = """
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
	access_log off; keepalive_requests 100000000; tcp_nodelay on; default_type text/plain; server_tokens off;
	client_body_temp_path {folder}/t; proxy_temp_path {folder}/t; fastcgi_temp_path {folder}/t; uwsgi_temp_path {folder}/t;
	scgi_temp_path {folder}/t;
	open_file_cache max=16;
	server {{ listen 127.0.0.1:{port}; root {folder}; }}
}}
"""


def nginx_command(program, port, folder):
    path = os.path.join(folder, "nginx.conf")
    with open(path, "w") as f:
        f.write(NGINX_CONF.format(folder=folder, port=port))
    return [program, "-e", "stderr", "-c", path]


def redis_command(program, port, folder):
    return [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", folder]


def thrum_version():
    return output_of(["git", "-C", ROOT, "describe", "--always", "--dirty"]).strip()


def with_port(*more):
    return lambda program, port, folder: [program, str(port), *more]


def version_of(package):
    return lambda: debian_version(package)


ONE = {"GOMAXPROCS": "1"}
URING, EPOLL = {"THRUM_BACKEND": "uring"}, {"THRUM_BACKEND": "epoll"}
ONE_WORKER = {"THRUM_BACKEND": "uring", "THRUM_WORKERS": "1"}

SERVERS = [
    Server("raw-uring", "raw liburing loop", "echo", "liburing-dev", compiled("echo_uring.c", ["-luring"]), with_port(),
           version_of("liburing2")),
    Server("raw-epoll", "raw epoll", "echo", "gcc", compiled("echo_epoll.c", []), with_port(), lambda: ""),
    Server("thrum", "**thrum**, io_uring", "echo", "cmake liburing-dev pkg-config", from_cmake("server-echo-thrum"), with_port(),
           thrum_version, URING),
    Server("thrum-2", "**thrum**, io_uring, 2 workers", "echo", "cmake liburing-dev pkg-config", from_cmake("server-echo-thrum"),
           with_port("2"), lambda: "", URING),
    Server("thrum-epoll", "**thrum**, epoll", "echo", "cmake liburing-dev pkg-config", from_cmake("server-echo-thrum"), with_port(),
           lambda: "", EPOLL),
    Server("libuv", "libuv", "echo", "libuv1-dev", compiled("echo_uv.c", ["-luv"]), with_port(), version_of("libuv1")),
    Server("tokio", "tokio", "echo", "cargo librust-tokio-dev", build_tokio, with_port(), version_of("librust-tokio-dev")),
    Server("go", "Go", "echo", "golang-go", build_go, with_port("echo"), lambda: first_line("go", "version"), ONE),
    Server("thrum-httpd", "**thrum**: examples/httpd", "http", "cmake liburing-dev pkg-config", example("httpd"),
           lambda program, port, folder: [program, "--listen", f"127.0.0.1:{port}", folder], lambda: "", ONE_WORKER),
    Server("nginx", "nginx", "http", "nginx-light", installed("nginx"), nginx_command, version_of("nginx")),
    Server("go-http", "Go net/http", "http", "golang-go", build_go, with_port("http"), lambda: "", ONE),
    Server("thrum-kv", "**thrum**: examples/kv", "set", "cmake liburing-dev pkg-config", example("kv"),
           lambda program, port, folder: [program, "--listen", f"127.0.0.1:{port}"], lambda: "", ONE_WORKER),
    Server("redis", "redis-server", "set", "redis-server", installed("redis-server"), redis_command, version_of("redis-server")),
]


def build_all(names, say):
    """Build those that are named; returns the ones that stand, and what is missing as (server, reason)."""
    os.makedirs(BUILD, exist_ok=True)
    there, missing = [], []
    for server in SERVERS:
        if server.name not in names:
            continue
        say(f"building {server.name}")
        try:
            server.program = server.build()
            there.append(server)
        except (Missing, OSError) as why:
            missing.append((server, str(why)))
    return there, missing
