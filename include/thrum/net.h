/* thrum/net.h: sockets beyond thrum/io.h: connecting and listening by name, messages and vectors, descriptors passed on,
 * files sent, and receiving into buffers that are lent.
 *
 * All, unless it says otherwise: as in thrum/io.h, called by a fiber (else THRUM_ENOTFIBER); suspend; cancel points; the
 * arguments are borrowed until the return, and calls return a count or a negative code and take no deadline: scopes do. */
#ifndef THRUM_NET_H
#define THRUM_NET_H
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

/* --- connecting and listening ---
 *
 * An address is a text:
 *     "example.org:80"  "192.0.2.1:80"  "[2001:db8::1]:80"  ":80"     TCP; the service may be a name, too
 *     "unix:/run/x"     "unix:@name"                                  AF_UNIX: a path; or a name without a file
 * Without a host: this machine, for dialling; every address, for listening. A name is looked up as by thrum_getaddrinfo(). */

/* Connect to an address. Where it has several, they are tried as in RFC 8305: families in turn, each 250 ms after the one
 * before, or at once when one fails; the first connection wins, and the other sockets are closed.
 *   returns   a stream socket, close-on-exec; the code of the address that failed first if all fail; thrum_getaddrinfo()'s
 *             codes; -EINVAL for a text that is no address, -ENAMETOOLONG; -ECANCELED; -ENOMEM */
THRUM_API THRUM_MUST_CHECK int thrum_dial(const char *address);
/* The same for a list from thrum_getaddrinfo(), in the order that RFC 8305 gives it; with a head start of one's own: 0 starts all
 * at once, THRUM_FOREVER each after the failure of the one before. Entries for other sockets than stream sockets, which a list
 * made without hints has, are passed over; -EINVAL if none is left. */
struct addrinfo;
THRUM_API THRUM_MUST_CHECK int thrum_dial_addrs(const struct addrinfo *list, thrum_dur head_start);

/* Listen at an address: the first one that can be had where a name has several.
 *   returns   a listening socket, close-on-exec, for thrum_accept(); codes as thrum_dial(); -EADDRINUSE and what else
 *             bind(2) says. A path is not removed with the socket. */
typedef struct thrum_listen_on_opts {
	size_t size;          /* set by THRUM_LISTEN_ON_OPTS */
	int backlog;          /* 0 = the system's most */
	bool reuse_port;      /* several sockets may listen at one port, and share what comes */
	bool v6_only;         /* "[::]:80" leaves IPv4 alone */
	bool replace;         /* a socket that a dead process has left behind at a path is removed first */
} thrum_listen_on_opts;
#define THRUM_LISTEN_ON_OPTS(...) (&(thrum_listen_on_opts){ .size = sizeof(thrum_listen_on_opts), __VA_ARGS__ })
THRUM_API THRUM_MUST_CHECK int thrum_listen_on(const char *address, const thrum_listen_on_opts *o); /* NULL: defaults */

/* Half-close: how is SHUT_RD, SHUT_WR or SHUT_RDWR, as in shutdown(2). Suspends only while the kernel closes `fd` for somebody
 * else; no cancel point. 0 or a code. */
THRUM_API int thrum_shutdown(int fd, int how);

/* --- messages and vectors --- */

/* recvmsg(2) and sendmsg(2): addresses of datagrams, ancillary data. Descriptors that come with a message are the
 * caller's, even when it is cancelled: the call that took them succeeds. MSG_CMSG_CLOEXEC is for the caller to give. */
THRUM_API ssize_t thrum_recvmsg(int fd, struct msghdr *msg, int flags);
THRUM_API ssize_t thrum_sendmsg(int fd, const struct msghdr *msg, int flags); /* never raises SIGPIPE */

/* One transfer from or into n buffers in order; the array is not written to. May move fewer bytes, and takes no more than
 * IOV_MAX buffers at a time. */
THRUM_API ssize_t thrum_recvv(int fd, const struct iovec *iov, size_t n, int flags);
THRUM_API ssize_t thrum_sendv(int fd, const struct iovec *iov, size_t n, int flags);
/* All of it, of any number of buffers: 0 or a code; *ret_done (may be NULL) as for thrum_send_all() (G8). */
THRUM_API THRUM_MUST_CHECK int thrum_sendv_all(int fd, const struct iovec *iov, size_t n, int flags, size_t *ret_done);

/* One datagram and its sender's address, as recvfrom(2); sa and len may be NULL. One to an address, as sendto(2). */
THRUM_API ssize_t thrum_recvfrom(int fd, void *buf, size_t n, int flags, struct sockaddr *sa, socklen_t *len);
THRUM_API ssize_t thrum_sendto(int fd, const void *buf, size_t n, int flags, const struct sockaddr *sa, socklen_t len);

/* Pass a copy of descriptor `fd` through an AF_UNIX socket, with one byte of data; 0. Take one: a new descriptor,
 * close-on-exec; THRUM_EEOF at the end, which an empty packet without one looks like; -ENOMSG for a byte that came without one,
 * -EMSGSIZE for more than one (all closed), -EMFILE when this process may have no more. Credentials and a pidfd that came along
 * (SO_PASSCRED, SO_PASSPIDFD) are dropped. */
THRUM_API int thrum_send_fd(int sock, int fd);
THRUM_API int thrum_recv_fd(int sock);

/* --- files ---
 *
 * Send from a file to a stream socket without copying it through the process. `in` is a regular file, from position *at on,
 * which moves along. The fiber waits for the socket; what the page cache has is sent at once, the rest by a thread of the
 * blocking pool. `out` becomes O_NONBLOCK and stays so, which no call of thrum's minds: on a blocking socket sendfile(2)
 * would hold the thread until the peer reads. Closing either of them ends it.
 *   returns   how much was sent, which may be less than n; 0 at the end of the file; a code, -EINVAL or -ESPIPE for
 *             descriptors of other kinds; never SIGPIPE */
THRUM_API ssize_t thrum_sendfile(int out, int in, off_t *at, size_t n);
/* n bytes from `at` on: 0 or a code; *ret_done (may be NULL) tells how many were sent (G8). THRUM_EEOF: the file ended. */
THRUM_API THRUM_MUST_CHECK int thrum_sendfile_all(int out, int in, off_t at, size_t n, size_t *ret_done);

/* --- buffers that are lent ---
 *
 * A fiber that waits in thrum_recv_lent() holds no buffer: it gets one of the runtime's when there is something to put into
 * it. So ten thousand idle connections cost no buffers at all.
 *
 * Each worker has thrum_opts.lent_buffers of lent_bytes bytes. When all are lent, a call that finds data waits for the return
 * of one, first come first served, and the data waits in the socket: that is the back-pressure. So return a buffer before
 * waiting for more than a few others: fibers that each hold one and all want another wait for ever. */
typedef struct thrum_lent {
	char *data;           /* until its return */
	size_t len;
	void *opaque_[2];
} thrum_lent;

/* One receive on a socket. Returns the number of bytes, as in ret_lent->len. 0, the end: no buffer is lent, data is NULL.
 * On a negative code neither; also -ENOMEM when a worker's first buffers cannot be had. */
THRUM_API ssize_t thrum_recv_lent(int fd, thrum_lent *ret_lent);
/* Give it back, and clear *lent. Any thread while the runtime lives; does not suspend. Of a struct that holds none: nothing.
 * A buffer that is returned twice, through a copy of the struct, aborts. One that never is gets reported at the close. */
THRUM_API void thrum_lent_return(thrum_lent *lent);

#ifdef __cplusplus
}
#endif
#endif
