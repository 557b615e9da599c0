/* thrum/listen.h: a listener: accepts connections and runs a handler for each, as a child of its own, isolated: one
 * that fails ends nobody but itself.
 *
 *   open ──► thrum_listener_serve ──────────────────────────── returns ──► close
 *              accept ► handler, handler, … ─┐                   ▲
 *                └── thrum_listener_drain: no more accepts ► the handlers finish; after .grace the rest is cancelled
 *
 * When all places are taken (.max_connections) it does not accept: the rest waits in the kernel's backlog. When
 * accept(2) finds no descriptor or memory (EMFILE, ENFILE, ENOBUFS, ENOMEM) it waits, longer each time, and goes on;
 * what accept(2) says of one connection (ECONNABORTED, EPROTO, ENETDOWN, …) is passed over; anything else ends it. */
#ifndef THRUM_LISTEN_H
#define THRUM_LISTEN_H
#include <sys/socket.h>
#include <thrum/base.h>
#include <thrum/scope.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Caller storage; do not copy or move it. It may go after thrum_listener_close(). */
typedef struct thrum_listener {
	uint64_t opaque_[80];
} thrum_listener;

typedef struct thrum_listener_opts {
	size_t size;             /* set by THRUM_LISTENER_OPTS */
	int backlog;             /* connections that the kernel keeps until they are accepted; default SOMAXCONN */
	unsigned max_connections;/* open at once; 0: no bound but that of descriptors */
	/* One accept loop on each worker, each with a socket of its own on the address (SO_REUSEPORT), among which the
	 * kernel spreads the connections; what a loop accepts is handled on its worker. A socket that was given, or
	 * one of AF_UNIX, is shared by the loops. Without it there is one loop, and handlers start wherever a worker
	 * is free. */
	bool per_worker;
	bool nagle;              /* leave TCP_NODELAY off; it is on otherwise */
	thrum_dur grace;         /* for handlers after a drain; default 10 s; THRUM_FOREVER */
	thrum_dur backoff;       /* first wait after a want of resources, then doubled; default 5 ms */
	thrum_dur backoff_max;   /* default 1 s */
	size_t stack_bytes;      /* of a handler; see thrum_spawn_opts */
	const char *name;        /* of handlers in reports; borrowed */
} thrum_listener_opts;
#define THRUM_LISTENER_OPTS(...) (&(thrum_listener_opts){ .size = sizeof(thrum_listener_opts), __VA_ARGS__ })

/* Bind and listen. Address and port are numbers: "127.0.0.1:8080", "[::1]:0" (port 0: a free one), ":8080" or "*:8080"
 * (all of IPv4), "[::]:8080" (all of both, where the system has it so); or "unix:PATH", "unix:@NAME" (abstract). A
 * socket file that nobody listens on any more is replaced. SO_REUSEADDR is set. Options may be NULL and are not kept.
 * Any thread; does not suspend. 0; -EINVAL for a text or options that make no sense; -ENAMETOOLONG; -EADDRINUSE; what
 * socket(2), bind(2), listen(2) say. With a code there is nothing to close. */
THRUM_API THRUM_MUST_CHECK int thrum_listener_open(thrum_listener *l, const char *address,
						   const thrum_listener_opts *o);
/* The same on a socket that listens already: one that was inherited. Takes `fd`, with a code not. Also -EINVAL if it
 * does not listen. A path it is bound to stays. */
THRUM_API THRUM_MUST_CHECK int thrum_listener_open_fd(thrum_listener *l, int fd, const thrum_listener_opts *o);

/* Where it listens, as a text that thrum_listener_open() understands, ended by a zero byte. Its length; -ENOSPC. */
THRUM_API THRUM_MUST_CHECK int thrum_listener_address(const thrum_listener *l, char *text, size_t size);
/* The same as an address. *len: room in, length out, as getsockname(2). Both: any thread; do not suspend. */
THRUM_API void thrum_listener_sockaddr(const thrum_listener *l, struct sockaddr *sa, socklen_t *len);

/* A connection, in memory of the listener until the handler returns. */
typedef struct thrum_conn {
	int fd;                  /* closed when the handler has returned; a handler that keeps it leaves -1 here */
	socklen_t peer_len;
	struct sockaddr_storage peer;
	/* Cancelled when the listener has stopped accepting: a handler that waits for the next request links a scope
	 * around that wait to it, or looks at it between two requests. */
	thrum_token *draining;
} thrum_conn;

/* Accept, and run handler(arg, conn) for each connection, until drained, cancelled or failed. Once for each listener.
 *   caller    a fiber; handlers live in its current scope
 *   suspends  yes; a cancel stops it and cancels the handlers, which are awaited: nothing is left when it returns
 *   handlers  whose connection the kernel had accepted by the time of the drain are run as any. A failure of one is
 *             counted, and reported once (thrum/watch.h: UNOBSERVED_FAILURE). One cancelled at the end of .grace sees
 *             the reason THRUM_CANCEL_DEADLINE.
 *   returns   0 when drained and all handlers have ended in time; -ETIMEDOUT when some had to be cancelled; the code
 *             of accept(2) that ended it, after the handlers as in a drain; -ECANCELED; THRUM_ENOTFIBER; -ENOMEM;
 *             -EINVAL without a handler; -EBUSY while it is being served; THRUM_ECLOSED after that; with .per_worker
 *             what opening the other sockets says */
THRUM_API THRUM_MUST_CHECK int thrum_listener_serve(thrum_listener *l, int (*handler)(void *arg, thrum_conn *conn),
						    void *arg);
/* Stop accepting and let the handlers finish: thrum_listener_serve() then returns. Also before it. Any thread, any
 * signal handler, between open and close; does not wait; idempotent. */
THRUM_API void thrum_listener_drain(thrum_listener *l);
/* Close what is still open, and remove the socket file that opening it made. Not while it is being served. Any thread;
 * does not suspend. */
THRUM_API void thrum_listener_close(thrum_listener *l);

typedef struct thrum_listener_stats {
	size_t size;             /* set by the caller */
	uint64_t accepted;       /* so far */
	uint64_t active;         /* connections whose handler has not ended */
	uint64_t failed;         /* handlers that returned a code, but for those that were cancelled */
	uint64_t refused;        /* accepted, and closed without a handler: no memory, or cancelled before it began */
	uint64_t backoffs;       /* waits for want of descriptors or memory */
} thrum_listener_stats;
/* Any thread; does not suspend. 0; -EINVAL for another size. */
THRUM_API int thrum_listener_read(const thrum_listener *l, thrum_listener_stats *ret_stats);

#ifdef __cplusplus
}
#endif
#endif
