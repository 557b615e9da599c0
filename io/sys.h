/* io/sys.h: the system calls on descriptors, paths and names that io/ makes itself, beside those of its backends. In the
 * simulation they are the simulated kernel's (io/sim/): its descriptors are unknown to the real one.
 *
 * All as the call of their name: -1 and errno, so what own_errno.h says holds for them too. */
#ifndef TH_SYS_H
#define TH_SYS_H
#include <dirent.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifdef TH_SIM
/* sockets: io/sim/sock.c */
int th_sys_socket(int family, int type, int protocol);
int th_sys_socketpair(int family, int type, int protocol, int fds[2]);
int th_sys_bind(int fd, const struct sockaddr *sa, socklen_t len);
int th_sys_listen(int fd, int backlog);
int th_sys_connect(int fd, const struct sockaddr *sa, socklen_t len); /* of an O_NONBLOCK socket only: it cannot wait */
int th_sys_accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags); /* likewise */
int th_sys_shutdown(int fd, int how);
int th_sys_getsockname(int fd, struct sockaddr *sa, socklen_t *len);
int th_sys_getpeername(int fd, struct sockaddr *sa, socklen_t *len);
int th_sys_getsockopt(int fd, int level, int option, void *value, socklen_t *len);
int th_sys_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
/* names: io/sim/names.c */
int th_sys_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list);
void th_sys_freeaddrinfo(struct addrinfo *list);
/* descriptors: io/sim/fd.c */
int th_sys_close(int fd);
int th_sys_fcntl(int fd, int command, ...);
int th_sys_ioctl(int fd, unsigned long request, ...);
int th_sys_pipe2(int fds[2], int flags);
int th_sys_eventfd(unsigned count, int flags);
ssize_t th_sys_read(int fd, void *buf, size_t n);
ssize_t th_sys_write(int fd, const void *buf, size_t n);
ssize_t th_sys_preadv2(int fd, const struct iovec *iov, int n, off_t at, int flags);
ssize_t th_sys_pwritev2(int fd, const struct iovec *iov, int n, off_t at, int flags);
ssize_t th_sys_sendfile(int out, int in, off_t *at, size_t n);
time_t th_sys_time(time_t *ret); /* of day: it begins with 2001 */
/* signals: io/sim/signal.c */
int th_sys_sigaction(int sig, const struct sigaction *new_action, struct sigaction *before);
void (*th_sys_signal(int sig, void (*handler)(int)))(int);
/* processes, and descriptors of timers: io/sim/process.c */
int th_sys_kill(pid_t pid, int sig);
int th_sys_waitid(idtype_t type, id_t id, siginfo_t *ret, int flags);
int th_sys_timerfd_create(int clock, int flags);
int th_sys_timerfd_settime(int fd, int flags, const struct itimerspec *in, struct itimerspec *ret_before);
/* files and paths: io/sim/path.c */
int th_sys_open(const char *path, int flags, ...);
int th_sys_openat(int dir, const char *path, int flags, ...);
int th_sys_stat(const char *path, struct stat *ret);
int th_sys_lstat(const char *path, struct stat *ret);
int th_sys_fstat(int fd, struct stat *ret);
int th_sys_fstatat(int dir, const char *path, struct stat *ret, int flags);
off_t th_sys_lseek(int fd, off_t off, int whence); /* SEEK_CUR by 0: has it positions? */
int th_sys_statx(int dir, const char *path, int flags, unsigned mask, struct statx *ret);
int th_sys_fsync(int fd);
int th_sys_fdatasync(int fd);
int th_sys_ftruncate(int fd, off_t length);
int th_sys_unlink(const char *path);
int th_sys_unlinkat(int dir, const char *path, int flags);
int th_sys_renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags);
int th_sys_mkdirat(int dir, const char *path, mode_t mode);
ssize_t th_sys_readlinkat(int dir, const char *path, char *buf, size_t n);
ssize_t th_sys_getdents64(int fd, void *buf, size_t n);
/* From now on the caller's, for free(3): what is done with it is no business of the library's. sched/sim/faults.c */
void th_sys_hand_over(void *p);
#else
#define th_sys_hand_over(p) ((void)(p))
#define th_sys_socket socket
#define th_sys_bind bind
#define th_sys_listen listen
#define th_sys_connect connect
#define th_sys_accept4 accept4
#define th_sys_shutdown shutdown
#define th_sys_getsockname getsockname
#define th_sys_getsockopt getsockopt
#define th_sys_setsockopt setsockopt
#define th_sys_getaddrinfo getaddrinfo
#define th_sys_freeaddrinfo freeaddrinfo
#define th_sys_close close
#define th_sys_fcntl fcntl
#define th_sys_eventfd eventfd
#define th_sys_sigaction sigaction
#define th_sys_kill kill
#define th_sys_waitid waitid
#define th_sys_timerfd_create timerfd_create
#define th_sys_timerfd_settime timerfd_settime
#define th_sys_read read
#define th_sys_write write
#define th_sys_preadv2 preadv2
#define th_sys_pwritev2 pwritev2
#define th_sys_sendfile sendfile
#define th_sys_openat openat
#define th_sys_stat stat
#define th_sys_lstat lstat
#define th_sys_fstat fstat
#define th_sys_fstatat fstatat
#define th_sys_lseek lseek
#define th_sys_statx statx
#define th_sys_fsync fsync
#define th_sys_fdatasync fdatasync
#define th_sys_ftruncate ftruncate
#define th_sys_unlink unlink
#define th_sys_unlinkat unlinkat
#define th_sys_renameat2 renameat2
#define th_sys_mkdirat mkdirat
#define th_sys_readlinkat readlinkat
#define th_sys_getdents64 getdents64
#endif

#endif
