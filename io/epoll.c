/* io/epoll.c: the backend for where io_uring is refused: system calls that do not block, epoll where those say "not now",
 * the blocking pool for what has no other way.
 *
 *                          it has a result
 *   submit ──► attempt ───────────────────────────────────────► `ended` ──poll, wait──► th_op_complete
 *               ▲  │  not now           cancel ──────────────────▲
 *               │  ├──► `by_fd`, and epoll armed ──► event ──┐
 *               │  └──► `later`, where no event tells ──► a millisecond
 *               └────────────────────────────────────────────┘
 *
 * An event is a hint, no more: "try what waits on this number". The attempt decides. So events that are stale do no harm, and
 * there are some. epoll goes by open file, not by number: a descriptor that was closed while a duplicate of it lives, here or in
 * a forked process, stays registered under its old number, and nobody can take it out any more. Therefore too nothing is
 * remembered of what is registered, and nothing is taken out: each wait arms its descriptor anew (EPOLLONESHOT), so a stale
 * registration tells its news once and is quiet. The price is one epoll_ctl() for each wait.
 *
 *   a number that was reused     MOD says ENOENT, for the file is another: ADD. The old file's last news is an attempt in vain.
 *   several waiters              armed with the events of all. op->res of a waiter: what was armed when it began to wait, so
 *                                the last one's covers those before it; too many events cost an attempt in vain.
 *   what epoll cannot watch      EPERM: files on disks, for the blocking pool.
 *   no memory, too many watches  as if no event could tell.
 *
 * Wakes: an eventfd, edge-triggered, so nobody has to read it: each write(2) makes an event (idea: mio). Time: a timerfd, likewise.
 * It takes nanoseconds, works in every kernel and under Valgrind, is set only when the time has changed, and has no slack;
 * epoll_pwait2() is of 5.11, and often unknown to the filters for the sake of which this backend exists. */
#include "../core/assert.h"
#include "attempt.h"
#include "kernel.h"
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

enum {
	EVENTS_MAX = 256, /* taken in one turn; the rest in the next */

	MARK_WAITING = 1, /* op->mark: in by_fd */
	MARK_LATER = 2,   /* in `later` */
	MARK_ENDED = 3,   /* in `ended`, with a result */

	LATER_NS = 1000000
};
/* Of an event, beside the numbers of descriptors. */
#define DATA_WAKE UINT64_MAX
#define DATA_TIMER (UINT64_MAX - 1)
#define NEVER_NS INT64_MAX

_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLPRI == POLLPRI && EPOLLRDHUP == POLLRDHUP &&
		       EPOLLERR == POLLERR && EPOLLHUP == POLLHUP && EPOLLRDNORM == POLLRDNORM,
	       "epoll's events are those of poll(2)");

struct th_io {
	int epoll_fd, wake_fd, timer_fd;
	bool woken;            /* a wake was seen by poll(): the next wait() is not to sleep */
	int64_t timer_ns;      /* what timer_fd is set to */
	int64_t later_ns;      /* when `later` is due */
	size_t inflight;       /* submitted to us and not completed */
	size_t waiting;        /* in by_fd */
	struct op_list ended, later;
	struct op_list by_fd[FD_BUCKETS];
	struct epoll_event events[EVENTS_MAX];
};

static struct op_list *bucket(struct th_io *io, int fd)
{
	return &io->by_fd[(unsigned)fd % FD_BUCKETS];
}

static void end(struct th_io *io, struct th_op *op, int res)
{
	op->res = res;
	op->mark = MARK_ENDED;
	list_push(&io->ended, op);
}

static void put_off(struct th_io *io, struct th_op *op)
{
	if (!io->later.head)
		io->later_ns = monotonic_ns() + LATER_NS;
	op->mark = MARK_LATER;
	list_push(&io->later, op);
}

/* Out of by_fd or `later`. */
static void take_out(struct th_io *io, struct th_op *op)
{
	if (op->mark == MARK_WAITING) {
		list_remove(bucket(io, op->fd), op);
		io->waiting--;
	} else {
		TH_DASSERT(op->mark == MARK_LATER);
		list_remove(&io->later, op);
	}
}

/* Waiting for events ------------------------------------------------------------------------------------------------ */

static int arm(struct th_io *io, int fd, unsigned events)
{
	struct epoll_event event = { .events = events | EPOLLONESHOT, .data.u64 = (unsigned)fd };

	if (epoll_ctl(io->epoll_fd, EPOLL_CTL_MOD, fd, &event) == 0)
		return 0;
	if (errno == ENOENT && epoll_ctl(io->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0)
		return 0;
	return -errno;
}

/* No event will tell of `op`, which is in no list. */
static void not_armed(struct th_io *io, struct th_op *op, int code)
{
	switch (code) {
	case -EPERM: /* not even "ready" can be asked for */
		end(io, op, op->kind == TH_OP_POLL ? -EINVAL : TH_OP_BLOCKS);
		break;
	case -ENOMEM:
	case -ENOSPC: /* fs.epoll.max_user_watches */
	case -EEXIST: /* another thread has given the number to another file meanwhile */
		put_off(io, op);
		break;
	default: /* -EBADF; -ELOOP and -EINVAL: our own */
		end(io, op, code);
	}
}

/* What the other waiters on `fd` want, or more. */
static unsigned armed_events(struct op_list *list, int fd)
{
	struct th_op *op = list->tail;

	while (op && op->fd != fd)
		op = op->prev;
	return op ? (unsigned)op->res : 0;
}

static void begin_to_wait(struct th_io *io, struct th_op *op)
{
	struct op_list *list = bucket(io, op->fd);
	unsigned events = armed_events(list, op->fd) | th_attempt_events(op);
	int code = arm(io, op->fd, events);

	if (code < 0) {
		not_armed(io, op, code);
		return;
	}
	op->res = (int)events;
	op->mark = MARK_WAITING;
	list_push(list, op);
	io->waiting++;
}

/* `op` is in no list. */
static void attempt(struct th_io *io, struct th_op *op)
{
	int res = th_attempt(op);

	if (res == TH_ATTEMPT_WAIT)
		begin_to_wait(io, op);
	else if (res == TH_ATTEMPT_LATER)
		put_off(io, op);
	else
		end(io, op, res);
}

/* Arm for those who wait on, the last of whom is `last`; or see to it that each is tried again, or told. */
static void wait_on(struct th_io *io, struct th_op *last, unsigned events)
{
	int fd = last->fd, code = arm(io, fd, events);
	struct th_op *op, *next;

	last->res = (int)events;
	for (op = bucket(io, fd)->head; op && code < 0; op = next) {
		next = op->next;
		if (op->fd != fd)
			continue;
		take_out(io, op);
		not_armed(io, op, code);
	}
}

/* One attempt for each waiter. Those for whom the descriptor has run dry need none: with a thousand who accept, most do. */
static void on_event(struct th_io *io, int fd, unsigned got)
{
	struct th_op *op, *next, *last = NULL;
	unsigned left = 0;
	bool dry = false;

	for (op = bucket(io, fd)->head; op; op = next) {
		bool takes = op->kind != TH_OP_POLL && th_attempt_events(op) == POLLIN;
		int res = TH_ATTEMPT_WAIT;

		next = op->next;
		if (op->fd != fd)
			continue;
		if (!takes || !dry)
			res = th_attempt(op);
		if (res == TH_ATTEMPT_WAIT && !(got & (EPOLLERR | EPOLLHUP))) {
			dry |= takes;
			left |= th_attempt_events(op);
			last = op;
			continue;
		}
		take_out(io, op);
		/* An error that the operation does not take away (a queue of errors) would be told again at once. */
		if (res == TH_ATTEMPT_WAIT || res == TH_ATTEMPT_LATER)
			put_off(io, op);
		else
			end(io, op, res);
	}
	if (last)
		wait_on(io, last, left);
}

/* Take what epoll has to tell. timeout_ms: 0 or -1. */
static void harvest(struct th_io *io, int timeout_ms)
{
	int n = epoll_wait(io->epoll_fd, io->events, EVENTS_MAX, timeout_ms);

	TH_ASSERT(n >= 0 || errno == EINTR);
	for (int i = 0; i < n; i++) {
		const struct epoll_event *event = &io->events[i];

		if (event->data.u64 == DATA_WAKE)
			io->woken = true;
		else if (event->data.u64 == DATA_TIMER)
			io->timer_ns = NEVER_NS;
		else
			on_event(io, (int)event->data.u64, event->events);
	}
}

static void try_later_ones(struct th_io *io)
{
	struct op_list due = io->later;
	struct th_op *op;

	if (!due.head || monotonic_ns() < io->later_ns)
		return;
	io->later = (struct op_list){ 0 };
	while ((op = due.head) != NULL) {
		list_remove(&due, op);
		attempt(io, op);
	}
}

/* Completing makes fibers ready and runs nothing, so nothing here is entered again from inside. */
static void complete(struct th_io *io)
{
	struct th_op *op;

	while ((op = io->ended.head) != NULL) {
		list_remove(&io->ended, op);
		io->inflight--;
		th_op_complete(op, op->res);
	}
}

/* The seam ---------------------------------------------------------------------------------------------------------- */

static void epoll_submit(struct th_io *io, struct th_op *op)
{
	io->inflight++;
	th_attempt_begin(op);
	attempt(io, op);
}

/* One that has a result keeps it (G10). */
static void epoll_cancel(struct th_io *io, struct th_op *op)
{
	TH_ASSERT(op->in_kernel);
	if (op->mark == MARK_ENDED)
		return;
	take_out(io, op);
	end(io, op, -ECANCELED);
}

static void epoll_cancel_fd(struct th_io *io, int fd)
{
	struct th_op *op, *next;

	for (op = bucket(io, fd)->head; op; op = next) {
		next = op->next;
		if (op->fd == fd)
			epoll_cancel(io, op);
	}
	for (op = io->later.head; op; op = next) {
		next = op->next;
		if (op->fd == fd)
			epoll_cancel(io, op);
	}
}

/* Perhaps from a fiber (th_poll_if_due()), whose errno stays as it was. */
static void epoll_poll(struct th_io *io)
{
	int saved = errno;

	if (io->waiting)
		harvest(io, 0);
	try_later_ones(io);
	complete(io);
	errno = saved;
}

/* One that is set for nothing any more wakes us once in vain: cheaper than to take it back each time. */
static void set_timer(struct th_io *io, int64_t until_ns)
{
	int64_t at_ns = until_ns > 0 ? until_ns : 1; /* 0 would stop it */
	struct itimerspec at = { .it_value = { .tv_sec = at_ns / 1000000000, .tv_nsec = at_ns % 1000000000 } };

	int res;

	if (until_ns == NEVER_NS || until_ns == io->timer_ns)
		return;
	io->timer_ns = until_ns;
	res = timerfd_settime(io->timer_fd, TFD_TIMER_ABSTIME, &at, NULL);
	TH_ASSERT(res == 0);
}

static void epoll_wait_until(struct th_io *io, int64_t until_ns)
{
	if (io->woken || io->ended.head) {
		io->woken = false;
		epoll_poll(io);
		return;
	}
	set_timer(io, io->later.head && io->later_ns < until_ns ? io->later_ns : until_ns);
	harvest(io, -1);
	io->woken = false;
	try_later_ones(io);
	complete(io);
}

static void epoll_wake(struct th_io *io)
{
	wake_fd_set(io->wake_fd);
}

static int64_t epoll_now(struct th_io *io)
{
	(void)io;
	return monotonic_ns();
}

/* Beginning and end ------------------------------------------------------------------------------------------------- */

static void close_fds(struct th_io *io)
{
	const int fds[] = { io->timer_fd, io->wake_fd, io->epoll_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(*fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

static int watch_edges(struct th_io *io, int fd, uint64_t data)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET, .data.u64 = data };

	return epoll_ctl(io->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int open_fds(struct th_io *io)
{
	io->wake_fd = io->timer_fd = -1;
	io->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (io->epoll_fd < 0)
		return -errno;
	io->wake_fd = wake_fd_open();
	if (io->wake_fd < 0)
		return -errno;
	io->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (io->timer_fd < 0)
		return -errno;
	if (watch_edges(io, io->wake_fd, DATA_WAKE) < 0 || watch_edges(io, io->timer_fd, DATA_TIMER) < 0)
		return -errno;
	return 0;
}

static int epoll_open(struct th_io **ret_io, const struct th_io_opts *opts)
{
	struct th_io *io = calloc(1, sizeof(*io));
	int res;

	(void)opts;
	if (!io)
		return -ENOMEM;
	io->timer_ns = NEVER_NS;
	res = open_fds(io);
	if (res < 0) {
		close_fds(io);
		free(io);
		return res;
	}
	*ret_io = io;
	return 0;
}

static void epoll_close(struct th_io *io)
{
	if (!io)
		return;
	/* What is in flight lies on some fiber's stack: the scheduler waits for its fibers first. */
	TH_ASSERT(io->inflight == 0);
	close_fds(io);
	free(io);
}

const struct th_backend th_epoll = {
	.name = "epoll",
	.open = epoll_open,
	.close = epoll_close,
	.submit = epoll_submit,
	.cancel = epoll_cancel,
	.cancel_fd = epoll_cancel_fd,
	.poll = epoll_poll,
	.wait = epoll_wait_until,
	.wake = epoll_wake,
	.now = epoll_now,
	.block = th_attempt_blocking,
};
