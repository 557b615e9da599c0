/* thrum/io.h: I/O on file descriptors. Calls return a count or a negative code and take no deadline: scopes do.
 *
 * All: called by a fiber (else THRUM_ENOTFIBER); suspend; cancel points. A cancelled call ends when the kernel has let
 * go of the operation and its buffers (G5); if the operation had succeeded by then, its result is returned and the cancel
 * shows at the next cancel point. A cancel never harms the descriptor (G7). Buffers are borrowed until the return. */
#ifndef THRUM_IO_H
#define THRUM_IO_H
#include <sys/socket.h>
#include <sys/types.h>
#include <thrum/base.h>
#ifdef __cplusplus
extern "C" {
#endif

/* Wait until `fd` is ready. want: POLLIN, POLLOUT. Returns the ready events (> 0). */
THRUM_API int thrum_wait_fd(int fd, unsigned want);

/* One read or write at the file's position (sockets, pipes: the stream); may move fewer bytes. At most 2 GiB - 4 KiB move
 * in one call. thrum_pread and thrum_pwrite take a position. */
/* thrum_write to a pipe without readers returns -EPIPE; the kernel may raise SIGPIPE with it, so ignore that signal, or
 * use thrum_send. */
THRUM_API ssize_t thrum_read(int fd, void *buf, size_t n);
THRUM_API ssize_t thrum_write(int fd, const void *buf, size_t n);
THRUM_API ssize_t thrum_pread(int fd, void *buf, size_t n, off_t at);
THRUM_API ssize_t thrum_pwrite(int fd, const void *buf, size_t n, off_t at);
THRUM_API ssize_t thrum_recv(int fd, void *buf, size_t n, int flags);
THRUM_API ssize_t thrum_send(int fd, const void *buf, size_t n, int flags); /* never raises SIGPIPE */

/* All of it: 0 or a code; *ret_done (may be NULL) tells how much moved, also with a code (G8). THRUM_EEOF: it ended. */
THRUM_API THRUM_MUST_CHECK int thrum_read_all(int fd, void *buf, size_t n, size_t *ret_done);
THRUM_API THRUM_MUST_CHECK int thrum_write_all(int fd, const void *buf, size_t n, size_t *ret_done);
THRUM_API THRUM_MUST_CHECK int thrum_send_all(int fd, const void *buf, size_t n, int flags, size_t *ret_done);

/* Accept: a new descriptor, close-on-exec. sa and len as in accept(2), may be NULL. */
THRUM_API int thrum_accept(int fd, struct sockaddr *sa, socklen_t *len);
THRUM_API int thrum_connect(int fd, const struct sockaddr *sa, socklen_t len);
/* Open: a new descriptor, close-on-exec. `path` is relative to `dir` (AT_FDCWD from fcntl.h). */
THRUM_API int thrum_openat(int dir, const char *path, int flags, mode_t mode);
/* Cancel what other fibers of this runtime still wait for on `fd` (they get -EBADF), wait until the kernel has let go of
 * it, close (G9). Not a cancel point: it always closes. */
THRUM_API int thrum_close(int fd);

#ifdef __cplusplus
}
#endif
#endif
