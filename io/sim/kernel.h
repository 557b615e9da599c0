/* io/sim/kernel.h: what the files of the simulated kernel share.
 *
 *   descriptor ──► open file (struct sim_file) ──► what its kind makes of it: a pipe, a socket, a file, a counter
 *   an operation in flight holds the open file, as in the real kernel; but it ends when its descriptor is closed
 *
 * A thing that happens elsewhere, and later (bytes under way, the end of a stream, a connection), is noted where it will be
 * seen, with the time from when it is. So nothing runs in the background: who looks, looks at the clock.
 *
 * Everything here is called by the one thread, and nothing of it switches to another virtual one. Codes are -errno; -EAGAIN
 * from a transfer means not now. */
#ifndef TH_SIM_KERNEL_H
#define TH_SIM_KERNEL_H
#include "../../core/tsan.h"
#include "../op.h"
#include "sim.h"
#include "../sockaddr.h"
#include <stddef.h>
#include <stdlib.h>
#include <sys/uio.h>

/* The kernel's memory is not the library's (sched/sim/memory.h). */
#undef malloc
#undef calloc
#undef realloc
#undef free

/* One transfer: READ to SENDMSG. */
struct sim_io {
	const struct iovec *iov; /* NULL: the one below */
	size_t n_iov, len;     /* len: of all of them */
	int64_t off;           /* -1: the file's position */
	int flags;             /* MSG_… */
	struct msghdr *msg;    /* of a message; else NULL */
	bool plain;            /* read and write, which everything knows; recv and send are for sockets */
	struct iovec one;
};

struct sim_file;
struct sim_kind {
	int (*read)(struct sim_file *f, struct sim_io *io);
	int (*write)(struct sim_file *f, struct sim_io *io);
	unsigned (*ready)(struct sim_file *f);   /* POLLIN, … */
	int64_t (*next)(struct sim_file *f);     /* when something of it becomes visible by itself; INT64_MAX */
	void (*release)(struct sim_file *f);     /* nobody holds it any more: end it and free it */
};
struct sim_file {
	const struct sim_kind *kind;
	unsigned refs;         /* descriptors, operations, messages on their way */
	int flags;             /* O_NONBLOCK, … */
};

/* --- descriptors: io/sim/fd.c --- */
struct sim_file *sim_file_of(int fd);                /* borrowed; NULL */
static inline struct sim_file *sim_file_get(struct sim_file *f)
{
	f->refs++;
	return f;
}
void sim_file_put(struct sim_file *f);               /* NULL is fine */
int sim_fd_new(struct sim_file *f);                  /* the lowest free one, which takes the reference; -EMFILE, and does not */
int sim_fd_close(int fd);
/* The two halves of it, for what must not be done without one: 0 or -EMFILE, which may be a fault; and it is taken. */
int sim_fd_check(void);
int sim_fd_take(struct sim_file *f);
int sim_transfer(struct sim_file *f, const struct th_op *op, bool writes); /* READ to SENDMSG */
void sim_fds_reset(void);
void sim_gather(const struct sim_io *io, size_t at, char *to, size_t n);   /* n bytes of it, from byte `at` on */
void sim_scatter(const struct sim_io *io, size_t at, const char *from, size_t n);

/* --- time and chance --- */
/* Something happened to `f`: operations that wait on it look again; NULL: all that wait. io/sim/kernel.c */
void sim_stir(struct sim_file *f);
/* From now on, how long something is under way. */
int64_t sim_arrival(void);
/* Does this fault happen? In one case of so many; 0: never. */
bool sim_fault(unsigned one_in);
/* 1 to n, and mostly n. */
size_t sim_some(size_t n);
extern struct th_sim_faults sim_faults;

/* -1 and errno for a code. */
int sim_errno(int code);

/* --- streams of bytes: io/sim/stream.c --- */

enum { SIM_SEGMENTS = 16 };
struct sim_rights;
/* One direction. It belongs to the end that reads. */
struct sim_stream {
	char *bytes;           /* a ring of `size` bytes, once something is in it */
	size_t size;
	uint64_t in, out;      /* how many went in, and came out */
	struct sim_segment {
		uint64_t from;
		int64_t at;
	} seg[SIM_SEGMENTS];   /* under way, in order: the byte it begins with, and when it can be read */
	unsigned n_seg;
	int64_t last_at;       /* nothing overtakes */
	int64_t end_at;        /* when its end can be seen; INT64_MAX: it has none */
	struct sim_rights *rights;
};
size_t sim_buffer_of(size_t bytes);                  /* the least that Linux has, or what th_sim_buffers() says */
void sim_stream_init(struct sim_stream *s, size_t size);
void sim_stream_fini(struct sim_stream *s);
size_t sim_stream_room(const struct sim_stream *s);
size_t sim_stream_ready(struct sim_stream *s);       /* bytes that can be read now */
bool sim_stream_ended(const struct sim_stream *s);   /* after what can be read there is nothing */
int64_t sim_stream_next(struct sim_stream *s);
/* Bytes of a transfer, which arrive at `at` at the earliest. How many; 0: no room. */
int sim_stream_put(struct sim_stream *s, const struct sim_io *io, int64_t at);
/* Into a transfer: how many; 0: there are none now. */
int sim_stream_get(struct sim_stream *s, struct sim_io *io);
void sim_stream_end(struct sim_stream *s, int64_t at);
void sim_stream_cut(struct sim_stream *s);           /* what has not arrived never will */

/* --- descriptors in messages: io/sim/rights.c --- */
int sim_rights_send(struct sim_stream *s, const struct msghdr *msg); /* with the next byte; 0 or a code */
uint64_t sim_rights_limit(const struct sim_stream *s);               /* a read ends here */
void sim_rights_receive(struct sim_stream *s, struct sim_io *io);    /* those of the next byte; or drop them */
void sim_rights_fini(struct sim_stream *s);

/* --- sockets: sock.c, conn.c, dgram.c --- */

enum sim_sock_state { SIM_NEW, SIM_LISTENS, SIM_CONNECTING, SIM_CONNECTED, SIM_BROKEN };
struct sim_datagram;
struct sim_node;
struct sim_sock {
	struct sim_file file;                /* first */
	int family, type;
	enum sim_sock_state state;
	struct th_sockaddr local, remote;    /* len 0: none */
	struct sim_node *node;               /* of a socket with a path */
	bool reuse_port, v6_only, abort_on_close, read_shut, write_shut;
	int error;                           /* pending: told once */
	struct sim_sock *next_bound;         /* of all that have an address */
	/* A connection. */
	struct sim_sock *peer;               /* NULL: closed */
	struct sim_stream rx;
	int64_t reset_at;                    /* the peer's reset is seen from then on; INT64_MAX */
	int64_t settled_at;                  /* CONNECTING: when it is known how it went; in a backlog: when it can be accepted */
	int outcome;                         /* of CONNECTING */
	bool told;                           /* it was: connecting again is an error */
	/* A listener, and those in its backlog. */
	unsigned backlog, n_waiting;
	struct sim_sock *waiting, *next_waiting, *listener;
	/* Datagrams on their way to it, or there. */
	struct sim_datagram *datagrams;
	unsigned n_datagrams;
};
struct sim_sock *sim_sock_of_file(struct sim_file *f, int *ret_code); /* NULL, and -EBADF or -ENOTSOCK */
static inline struct sim_sock *sim_sock_of(int fd, int *ret_code)
{
	return sim_sock_of_file(sim_file_of(fd), ret_code);
}
struct sim_sock *sim_sock_new(int family, int type);
void sim_sock_free(struct sim_sock *s);              /* unbinds it */
static inline bool sim_sock_is_inet(const struct sim_sock *s)
{
	return s->family != AF_UNIX;
}
int sim_bind_ephemeral(struct sim_sock *s, const struct th_sockaddr *towards);
/* Who has that address: chosen among listeners that share it, or among receivers of datagrams. NULL; *ret_code: why. */
struct sim_sock *sim_sock_at(const struct sim_sock *from, const struct th_sockaddr *to, int *ret_code);
/* Whether anything ever answers from there: 0, or the code that the network gives; -EAGAIN: nothing does. */
int sim_route(const struct th_sockaddr *to);
int sim_take_address(const struct sim_sock *s, const struct sockaddr *sa, socklen_t len, struct th_sockaddr *ret);
void sim_give_address(const struct th_sockaddr *a, struct sockaddr *sa, socklen_t *len);
extern const struct sim_kind sim_conn_kind, sim_dgram_kind;
void sim_conn_settle(struct sim_sock *s);            /* what has become visible by now */
int sim_connect(struct sim_sock *s, const struct th_op *op);
int sim_accept(struct sim_sock *s, const struct th_op *op);
int sim_conn_pair(struct sim_sock *a, struct sim_sock *b);
int sim_conn_shutdown(struct sim_sock *s, int how);
int sim_dgram_connect(struct sim_sock *s, const struct th_sockaddr *to);
size_t sim_dgram_first(struct sim_sock *s);          /* how long the first one is; for FIONREAD */

/* --- files: fs.c, path.c --- */
int sim_openat(int dir, const char *path, int flags, unsigned mode);
int sim_fs_make_socket(const char *path, struct sim_node **ret_node); /* bind(2); takes a reference on it */
struct sim_node *sim_fs_find_socket(const char *path, int *ret_code);
void sim_node_put(struct sim_node *n);
void sim_fs_reset(void);
void sim_signals_reset(void);
void sim_processes_reset(void);
void sim_processes_stir(const struct sim_file *f);   /* as sim_stir(), which calls it */
int64_t sim_processes_next(void);                    /* when one of them looks at its input again; INT64_MAX */
void sim_processes_look(void);                       /* those whose time that is */
void sim_net_reset(void);
void sim_cut_reset(void);
int64_t sim_link(bool *ret_cut);                     /* when something sent over IP now arrives; is the network cut? */

#endif
