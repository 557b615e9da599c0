/* io/waitall.c: MSG_WAITALL by several receives, the same for all backends.
 *
 * A recv(2) that waits does it well; one that must not wait, made again behind what has come, does not: the first that finds
 * no bytes takes the failure of the connection off the socket, so the failure is told to nobody, and the next call sees a clean
 * end. io_uring does it like that, and whatever the flags and the socket: with MSG_PEEK the same bytes come twice, and packets
 * run into one another.
 *
 * poll(2) leaves a failure where it is. So a receive behind the first is made only when poll has seen bytes or the end; after a
 * failure the call returns the bytes that it has, and the next call the failure. */
#include "waitall.h"
#include "call.h"
#include "own_errno.h"
#include "sys.h"
#include <poll.h>

enum { PARTS = 64 }; /* of a vector, in one receive: 1 KiB of stack */

static int option(int fd, int name)
{
	int value = 0, saved = th_errno_begin(), res;
	socklen_t len = sizeof value;

	res = th_sys_getsockopt(fd, SOL_SOCKET, name, &value, &len);
	th_errno_end(saved);
	return res < 0 ? -1 : value;
}

static size_t room_in(const struct msghdr *msg)
{
	size_t room = 0;

	for (size_t i = 0; i < msg->msg_iovlen && room < TH_LEN_MAX; i++)
		room += msg->msg_iov[i].iov_len < TH_LEN_MAX ? msg->msg_iov[i].iov_len : TH_LEN_MAX;
	return room < TH_LEN_MAX ? room : TH_LEN_MAX;
}

/* What is left of the vector behind `done` bytes, in at most PARTS parts; how many. */
static size_t rest_of(const struct msghdr *msg, size_t done, struct iovec rest[PARTS])
{
	size_t n = 0, room = TH_LEN_MAX - done;

	for (size_t i = 0; i < msg->msg_iovlen && n < PARTS && room > 0; i++) {
		const struct iovec *v = &msg->msg_iov[i];
		size_t skipped = done < v->iov_len ? done : v->iov_len, len = v->iov_len - skipped;

		done -= skipped;
		if (len == 0)
			continue;
		rest[n] = (struct iovec){ (char *)v->iov_base + skipped, len < room ? len : room };
		room -= rest[n++].iov_len;
	}
	return n;
}

/* One that does not wait, behind `done` bytes. The sender's address has been told, or there is none. Control data come into
 * the place for it once: when there have been none before. */
static int receive_more(const struct th_op *op, struct msghdr *all, size_t done, size_t control_room)
{
	struct iovec rest[PARTS];
	struct msghdr msg = { .msg_iov = rest, .msg_iovlen = rest_of(all, done, rest), .msg_control = all->msg_control };
	struct th_op more = { .kind = TH_OP_RECVMSG, .fd = op->fd, .buf = &msg, .arg = op->arg | MSG_DONTWAIT };
	bool had_control = all->msg_controllen > 0;
	int res;

	if (!had_control)
		msg.msg_controllen = control_room;
	res = th_op_try(&more);
	if (res >= 0 && !had_control)
		all->msg_controllen = msg.msg_controllen;
	if (res >= 0)
		all->msg_flags |= msg.msg_flags;
	return res;
}

/* Control data that came later would be lost; over AF_UNIX, where it may be descriptors, the first ends it, as descriptors do
 * in the kernel. */
static bool ends_behind(int fd, const struct msghdr *got)
{
	return got->msg_controllen > 0 && option(fd, SO_DOMAIN) == AF_UNIX;
}

/* An error alone may be a message in the queue of errors; but then there is nothing to receive, and poll would say so again and
 * again. */
static bool has_failed(unsigned events)
{
	return (events & POLLERR) && (!(events & POLLIN) || (events & POLLHUP));
}

static int collect(const struct th_op *op, struct msghdr *all, size_t done, size_t control_room)
{
	size_t n = room_in(all);

	while (done < n && !ends_behind(op->fd, all)) {
		struct th_op ready = { .kind = TH_OP_POLL, .fd = op->fd, .arg = POLLIN };
		int res = th_op_run(&ready);

		if (res < 0 || has_failed((unsigned)res))
			break;
		res = receive_more(op, all, done, control_room);
		if (res == -EAGAIN)
			continue;
		if (res <= 0)
			break;
		done += (size_t)res;
	}
	return (int)done;
}

static bool is_stream(const struct th_op *op)
{
	return !(op->arg & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE)) && option(op->fd, SO_TYPE) == SOCK_STREAM;
}

int th_waitall_run(struct th_op *op)
{
	struct iovec one = { op->buf, op->len };
	struct msghdr of_recv = { .msg_iov = &one, .msg_iovlen = 1 }, *all = op->kind == TH_OP_RECVMSG ? op->buf : &of_recv;
	size_t control_room = all->msg_controllen;
	int res;

	op->arg &= ~(uint32_t)MSG_WAITALL;
	res = th_op_run_ready(op, POLLIN);
	if (res <= 0 || (size_t)res >= room_in(all) || !is_stream(op))
		return res;
	return collect(op, all, (size_t)res, control_room);
}
