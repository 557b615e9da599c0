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

enum { PROBE_ENTRIES = 8, DETAILS_MAX = 160 };

/* Where the answer goes. */
struct choice {
	const struct th_backend **ret_backend;
	char *why;
	size_t why_size;
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

/* How the ring is set up, or why there is none. The one that is tried is small, and alone. */
static int probe_uring(const struct th_wish *wish, char *ret_details, size_t size)
{
	struct io_uring ring;
	const char *missing;
	int res = wish->ring_error;

	if (res == 0)
		res = th_uring_setup(&ring, PROBE_ENTRIES, wish->restrict_ring, -1);
	if (res < 0) {
		snprintf(ret_details, size, "io_uring_setup: %s: %s", strerror(-res), setup_hint(res));
		return res;
	}
	missing = th_uring_missing(&ring);
	if (missing)
		snprintf(ret_details, size, "io_uring without %s", missing);
	else
		snprintf(ret_details, size, "%s%s", th_uring_setup_name(&ring), wish->restrict_ring ? ", restricted" : "");
	io_uring_queue_exit(&ring);
	return missing ? -ENOSYS : 0;
}

/* Opened and closed: that is all it needs. */
static int probe_epoll(void)
{
	struct th_io *io;
	int res = th_epoll.open(&io, NULL);

	if (res == 0)
		th_epoll.close(io);
	return res;
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

/* The answer: a backend, and what to say of it; or, without one, what stands in the way. */
static int answer(const struct th_backend *backend, int res, const char *details, struct choice c)
{
	struct utsname name;

	snprintf(c.why, c.why_size, "%s (kernel %s, %s)", res < 0 ? "no backend" : backend->name, kernel_release(&name), details);
	if (res == 0)
		*c.ret_backend = backend;
	return res;
}

static int choose_uring(const struct th_wish *wish, struct choice c)
{
	char details[DETAILS_MAX];
	int res = probe_uring(wish, details, sizeof(details));

	return answer(&th_uring, res, details, c);
}

/* `because`: why this one. */
static int choose_epoll(const char *because, struct choice c)
{
	char details[2 * DETAILS_MAX];
	int res = probe_epoll();

	if (res < 0)
		snprintf(details, sizeof(details), "epoll: %s; %s", strerror(-res), because);
	return answer(&th_epoll, res, res < 0 ? details : because, c);
}

/* The ring, if it can be had. */
static int choose_best(const struct th_wish *wish, struct choice c)
{
	char details[DETAILS_MAX];

	if (probe_uring(wish, details, sizeof(details)) == 0)
		return answer(&th_uring, 0, details, c);
	return choose_epoll(details, c);
}

int th_probe(const struct th_wish *wish, const struct th_backend **ret_backend, char *why, size_t why_size)
{
	const struct choice c = { ret_backend, why, why_size };
	const char *name = getenv("THRUM_BACKEND"), *because = "as the program says";
	unsigned wanted = wish->backend;

	if (wanted == THRUM_BACKEND_AUTO && name) {
		if (wanted_by_name(name, &wanted) < 0) {
			snprintf(why, why_size, "THRUM_BACKEND=%s: unknown; auto, uring, epoll", name);
			return -EINVAL;
		}
		because = "as THRUM_BACKEND says";
	}
	switch (wanted) {
	case THRUM_BACKEND_AUTO:
		return choose_best(wish, c);
	case THRUM_BACKEND_URING:
		return choose_uring(wish, c);
	case THRUM_BACKEND_EPOLL:
		return choose_epoll(because, c);
	default:
		snprintf(why, why_size, "backend %u: unknown", wanted);
		return -EINVAL;
	}
}
