/* io/probe.c: which backend does this machine allow? Answered by making a small ring, not by looking at version
 * numbers: containers forbid io_uring on kernels that have it (hazard 55). */
#include "backend.h"
#include "uring.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <thrum/rt.h>

enum { PROBE_ENTRIES = 8 };

static const struct {
	int opcode;
	const char *name;
} needed[] = {
	{ IORING_OP_NOP, "NOP" },         { IORING_OP_POLL_ADD, "POLL_ADD" },
	{ IORING_OP_READ, "READ" },       { IORING_OP_WRITE, "WRITE" },
	{ IORING_OP_RECV, "RECV" },       { IORING_OP_SEND, "SEND" },
	{ IORING_OP_ACCEPT, "ACCEPT" },   { IORING_OP_CONNECT, "CONNECT" },
	{ IORING_OP_OPENAT, "OPENAT" },   { IORING_OP_CLOSE, "CLOSE" },
	{ IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL" },
};

static const char *kernel_release(struct utsname *name)
{
	return uname(name) == 0 ? name->release : "unknown";
}

static const char *setup_hint(int res)
{
	switch (-res) {
	case EPERM:
	case EACCES:
		return "forbidden by the container's seccomp filter or by kernel.io_uring_disabled";
	case ENOSYS:
		return "this kernel has no io_uring, or a seccomp filter hides it";
	case ENOMEM:
		return "no memory, or RLIMIT_MEMLOCK is too small";
	case EMFILE:
	case ENFILE:
		return "no file descriptor left";
	case EOPNOTSUPP:
		return "NODROP and EXT_ARG are needed, Linux 5.11 or later";
	default:
		return "unexpected";
	}
}

/* The name of the first operation that this kernel lacks, or NULL. */
static const char *missing_op(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	const char *missing = NULL;

	if (!probe)
		return "IORING_REGISTER_PROBE";
	for (size_t i = 0; i < sizeof(needed) / sizeof(*needed) && !missing; i++) {
		if (!io_uring_opcode_supported(probe, needed[i].opcode))
			missing = needed[i].name;
	}
	io_uring_free_probe(probe);
	return missing;
}

static int probe_uring(char *why, size_t why_size)
{
	struct utsname name;
	struct io_uring ring;
	const char *missing, *setup;
	int res = th_uring_setup(&ring, PROBE_ENTRIES, -1);

	if (res < 0) {
		snprintf(why, why_size,
			 "io_uring_setup: %s: %s; kernel %s; the epoll backend is not in this version", strerror(-res),
			 setup_hint(res), kernel_release(&name));
		return res;
	}
	missing = missing_op(&ring);
	setup = th_uring_setup_name(&ring);
	io_uring_queue_exit(&ring);
	if (missing) {
		snprintf(why, why_size, "io_uring of kernel %s lacks %s; the epoll backend is not in this version",
			 kernel_release(&name), missing);
		return -ENOSYS;
	}
	snprintf(why, why_size, "io_uring (kernel %s, %s)", kernel_release(&name), setup);
	return 0;
}

static int wanted_by_name(const char *name, unsigned *ret_wanted)
{
	if (strcmp(name, "") == 0 || strcmp(name, "auto") == 0)
		*ret_wanted = THRUM_BACKEND_AUTO;
	else if (strcmp(name, "uring") == 0 || strcmp(name, "io_uring") == 0)
		*ret_wanted = THRUM_BACKEND_URING;
	else if (strcmp(name, "epoll") == 0)
		*ret_wanted = THRUM_BACKEND_EPOLL;
	else
		return -EINVAL;
	return 0;
}

int th_probe(unsigned wanted, const struct th_backend **ret_backend, char *why, size_t why_size)
{
	const char *name = getenv("THRUM_BACKEND");
	int res;

	if (wanted == THRUM_BACKEND_AUTO && name && wanted_by_name(name, &wanted) < 0) {
		snprintf(why, why_size, "THRUM_BACKEND=%s: unknown; auto, io_uring, epoll", name);
		return -EINVAL;
	}
	switch (wanted) {
	case THRUM_BACKEND_AUTO:
	case THRUM_BACKEND_URING:
		res = probe_uring(why, why_size);
		if (res == 0)
			*ret_backend = &th_uring;
		return res;
	case THRUM_BACKEND_EPOLL:
		snprintf(why, why_size, "the epoll backend is not in this version");
		return -ENOSYS;
	default:
		snprintf(why, why_size, "backend %u: unknown", wanted);
		return -EINVAL;
	}
}
