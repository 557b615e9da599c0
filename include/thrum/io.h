/* thrum/io.h: I/O on file descriptors. Calls return a count or a negative code and take no deadline: scopes do.
 *
 * All: called by a fiber (else THRUM_ENOTFIBER); suspend; cancel points. A cancelled call ends when the kernel has let
 * go of the operation and its buffers (G5); if the operation had succeeded by then, its result is returned and the cancel
 * shows at the next cancel point. A cancel never harms the descriptor (G7). Buffers are borrowed until the return.
 * What the kernel will not let go of (a write that a disk is at, a file on a server that does not answer) keeps its fiber, and the
 * scope around it, also after a cancel: a deadline does not help. Let a job that may be left behind do such things:
 * thrum_blocking_with() with .abandon, on memory that is not the caller's.
 *
 * On the epoll backend (thrum_rt_describe() names it) opening and closing files, and reading and writing them where that blocks,
 * are jobs on the blocking pool: a cancel ends them before they have begun, and then waits for them. Without any thread: -ENOMEM. */
#ifndef THRUM_IO_H
#define THRUM_IO_H
#include <sys/socket.h>
#include <sys/types.h>
#include <thrum/base.h>
#include <thrum/fx.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Wait until `fd` is ready. want: POLLIN, POLLOUT. Returns the ready events (> 0). */
THRUM_API int thrum_wait_fd(int fd, unsigned want);

/* One read or write at the file's position (sockets, pipes: the stream); thrum_pread and thrum_pwrite take a position,
 * -EINVAL for a negative one, -ESPIPE where there is none. Returns how many bytes moved, which may be fewer, at most
 * 2 GiB - 4 KiB in one call; 0 from a read at the end. thrum_write to a pipe without readers returns -EPIPE; the kernel may
 * raise SIGPIPE with it, so ignore that signal, or use thrum_send. */
THRUM_API ssize_t thrum_read(int fd, void *buf, size_t n);
THRUM_API ssize_t thrum_write(int fd, const void *buf, size_t n);
THRUM_API ssize_t thrum_pread(int fd, void *buf, size_t n, off_t at);
THRUM_API ssize_t thrum_pwrite(int fd, const void *buf, size_t n, off_t at);
/* Flags as of recv(2) and send(2). MSG_WAITALL waits until the buffer is full on a stream socket, O_NONBLOCK or not; on others,
 * and beside MSG_PEEK, MSG_OOB or MSG_DONTWAIT, it means nothing. What ended it early, a failure or a cancel, is told by the next
 * call. */
THRUM_API ssize_t thrum_recv(int fd, void *buf, size_t n, int flags);
THRUM_API ssize_t thrum_send(int fd, const void *buf, size_t n, int flags); /* never raises SIGPIPE */

/* All of it: 0 or a code; *ret_done (may be NULL) tells how much moved, also with a code (G8). THRUM_EEOF: it ended. */
THRUM_API THRUM_MUST_CHECK int thrum_read_all(int fd, void *buf, size_t n, size_t *ret_done);
THRUM_API THRUM_MUST_CHECK int thrum_write_all(int fd, const void *buf, size_t n, size_t *ret_done);
THRUM_API THRUM_MUST_CHECK int thrum_send_all(int fd, const void *buf, size_t n, int flags, size_t *ret_done);

/* Accept: a new descriptor, close-on-exec. sa and len as in accept(2), may be NULL. On the epoll backend the listening socket
 * is O_NONBLOCK from then on. */
THRUM_API int thrum_accept(int fd, struct sockaddr *sa, socklen_t *len);
/* Connect: 0. Also waits on a nonblocking socket. After a cancel the socket may be connected anew, or is connected. */
THRUM_API int thrum_connect(int fd, const struct sockaddr *sa, socklen_t len);
/* Open: a new descriptor, close-on-exec. `path` is relative to `dir` (AT_FDCWD from fcntl.h). A FIFO is waited for until its
 * other end is opened; on the epoll backend a cancel does not end that, so open it with O_NONBLOCK there. */
THRUM_API int thrum_openat(int dir, const char *path, int flags, mode_t mode);
/* Cancel what other fibers of this runtime still wait for on `fd` (they get -EBADF), wait until the kernel has let go of
 * it, close (G9). Not a cancel point: it always closes.
 * Closing a socket with SO_LINGER, a time above 0 and bytes that the peer has not taken holds the worker, for that time at most:
 * the kernel waits, and to ask each socket for the option would cost each close a system call. Without the option nothing waits;
 * who wants to know that all has arrived calls thrum_shutdown() for sending and receives until the end that the peer then makes. */
THRUM_API int thrum_close(int fd);

/* Run `fx` on a thread of the runtime's blocking pool, for what blocks its thread: disks, libraries, long computations. Up to
 * thrum_opts.blocking_threads jobs run at once, further ones wait in order. Threads start when they are needed and end after
 * a second without work.
 *   suspends  yes. A cancel before the job started removes it: it never runs. Once it has started the call waits for it, and
 *             its result stands (X9); the cancel shows at the next cancel point.
 *   borrows   fx.arg until the return
 *   the job   runs on a plain thread with all signals blocked: calls that suspend say THRUM_ENOTFIBER there, those for any
 *             thread work, also thrum_rt_run(). errno and thread-locals are that thread's.
 *   returns   what fx returned; -ECANCELED; -EINVAL for an effect without a function; -EAGAIN or -ENOMEM, and then it did not
 *             run, when the pool has no thread and can make none; -ECHILD in a forked child
 * On a virtual clock a job counts as work outside until it has ended: it holds a jump back, not an advance (C3). */
THRUM_API int thrum_blocking(thrum_fx fx);

/* With .abandon a cancel does not wait for a job that has started: the call returns -ECANCELED at once, the job runs on by
 * itself, and the runtime closes only when it has ended.
 *   takes     fx.arg, which must not lie in the caller's frame. With -ECANCELED it stays taken, and .drop (if given) gets its
 *             own argument exactly once, when the job will not run or has ended: on a thread of the pool, or shielded in this
 *             fiber. It must not suspend. With every other code the argument is the caller's again, and .drop does not run;
 *             so a job of this kind that returns -ECANCELED itself is dropped.
 *   returns   as thrum_blocking(); -ENOMEM also for want of a record; -EINVAL for .drop without .abandon */
typedef struct thrum_blocking_opts {
	size_t size;
	bool abandon;
	thrum_fx drop;
} thrum_blocking_opts;
#define THRUM_BLOCKING_OPTS(...) (&(thrum_blocking_opts){ .size = sizeof(thrum_blocking_opts), __VA_ARGS__ })
THRUM_API int thrum_blocking_with(thrum_fx fx, const thrum_blocking_opts *o); /* NULL: as thrum_blocking() */

/* getaddrinfo(3) without blocking the worker. Numbers (addresses and ports, or none) are converted here and now; names are
 * looked up on the blocking pool, and a cancel abandons the lookup. Arguments as there; they are copied.
 *   returns   0 and a list in *ret_list, for thrum_freeaddrinfo(); or, *ret_list untouched:
 *             THRUM_ENONAME   no such name or service, or no address of that family
 *             -EAGAIN         the name servers do not answer just now, or no thread; later it may work
 *             -EIO            a name server failed for good
 *             -EINVAL (flags, neither node nor service, a number that is no port), -EAFNOSUPPORT, -ESOCKTNOSUPPORT,
 *             -ENOMEM, -EOVERFLOW; any errno of the system's; -ECANCELED; THRUM_ENOTFIBER; -ECHILD */
struct addrinfo;
THRUM_API THRUM_MUST_CHECK int thrum_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints,
						 struct addrinfo **ret_list);
THRUM_API void thrum_freeaddrinfo(struct addrinfo *list); /* any thread; NULL is fine */

#ifdef __cplusplus
}
#endif
#endif
