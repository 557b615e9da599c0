/* Everything that a call was given belongs to the kernel until the call returns, and to the caller from then on: not only the
 * buffer, but the address and its length, vectors and message headers (G5, hazards 37, 38). All of it lies in a page that
 * is taken away as soon as a cancelled call has returned. What then comes is for the next call: an operation that is still in the
 * kernel would take it, and find nowhere to put it. */
#include <sys/mman.h>
#include <sys/uio.h>
#include "io_test.h"

enum { TIMES = 30, CONTROL = 64 };

/* In the page. */
struct arguments {
	struct sockaddr_storage sa;
	socklen_t len;
	struct msghdr msg;
	struct iovec iov[2];
	char control[CONTROL], bytes[16];
};

struct kind {
	/* fds[0] is what the call waits for, fds[1] what makes it come, or -1. */
	void (*open)(int fds[2]);
	ssize_t (*call)(int fd, struct arguments *a);
	void (*event)(const int fds[2]);
	void (*check)(const int fds[2]); /* that the event is still there */
};

struct call {
	const struct kind *kind;
	int fd;
	struct arguments *a;
	ssize_t got;
};

static int call(struct call *c)
{
	c->got = c->kind->call(c->fd, c->a);
	return 0;
}
THRUM_FX(call, struct call);

static void one(const struct kind *k)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	struct call c = { .kind = k };
	uint64_t ops = ops_so_far();
	thrum_scope s;
	int fds[2];

	k->open(fds);
	c.fd = fds[0];
	c.a = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	TH_CHECK(c.a != MAP_FAILED);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, call_fx(&c)), 0);
	until_ops(ops, 1);
	let_backend_in(); /* so it waits in the kernel */
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(mprotect(c.a, page, PROT_NONE), 0);
	TH_CHECK_EQ(c.got, -ECANCELED);
	k->event(fds);
	let_backend_in();
	k->check(fds);
	TH_CHECK_EQ(munmap(c.a, page), 0);
	close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
}

static int many_times(void *kind)
{
	for (int i = 0; i < TIMES; i++)
		one(kind);
	return 0;
}

static void run_kind(const struct kind *k)
{
	int before = fd_count();

	run_ok((thrum_fx){ many_times, (void *)(uintptr_t)k });
	TH_CHECK_EQ(fd_count(), before);
}

/* --- accept: the peer's address --- */

static struct sockaddr_in listener_at;

static void open_listener(int fds[2])
{
	fds[0] = tcp_listen(&listener_at, 0);
	fds[1] = -1;
}

static ssize_t call_accept(int fd, struct arguments *a)
{
	a->len = sizeof a->sa;
	return thrum_accept(fd, (struct sockaddr *)&a->sa, &a->len);
}

static int client;

static void connect_to_it(const int fds[2])
{
	(void)fds;
	client = tcp_socket(0);
	TH_CHECK_EQ(connect(client, (struct sockaddr *)&listener_at, sizeof listener_at), 0);
}

static void accept_it(const int fds[2])
{
	struct pollfd there = { .fd = fds[0], .events = POLLIN };
	int server;

	TH_CHECK_EQ(poll(&there, 1, 0), 1);
	server = accept(fds[0], NULL, NULL);
	TH_CHECK(server >= 0);
	close(server);
	close(client);
}

TH_TEST(io_arguments, of_accept_are_let_go_of_G5)
{
	run_kind(&(struct kind){ open_listener, call_accept, connect_to_it, accept_it });
}

/* --- messages: header, vector, name, control --- */

static void open_datagrams(int fds[2])
{
	TH_CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds), 0);
}

static ssize_t call_recvmsg(int fd, struct arguments *a)
{
	a->iov[0] = (struct iovec){ a->bytes, 4 };
	a->iov[1] = (struct iovec){ a->bytes + 8, 4 };
	a->msg = (struct msghdr){ .msg_name = &a->sa, .msg_namelen = sizeof a->sa, .msg_iov = a->iov, .msg_iovlen = 2,
				  .msg_control = a->control, .msg_controllen = CONTROL };
	return thrum_recvmsg(fd, &a->msg, 0);
}

static void send_it(const int fds[2]) { TH_CHECK_EQ(write(fds[1], "abcdefgh", 8), 8); }

static void receive_it(const int fds[2])
{
	struct pollfd there = { .fd = fds[0], .events = POLLIN };
	char got[16];

	TH_CHECK_EQ(poll(&there, 1, 0), 1);
	TH_CHECK_EQ(read(fds[0], got, sizeof got), 8);
	TH_CHECK(memcmp(got, "abcdefgh", 8) == 0);
}

TH_TEST(io_arguments, of_recvmsg_are_let_go_of_G5)
{
	run_kind(&(struct kind){ open_datagrams, call_recvmsg, send_it, receive_it });
}

/* --- vectors --- */

static void open_plain_pipe(int fds[2]) { open_pipe(fds, 0); }

static ssize_t call_readv(int fd, struct arguments *a)
{
	a->iov[0] = (struct iovec){ a->bytes, 4 };
	a->iov[1] = (struct iovec){ a->bytes + 8, 4 };
	return thrum_readv(fd, a->iov, 2);
}

TH_TEST(io_arguments, of_readv_are_let_go_of_G5)
{
	run_kind(&(struct kind){ open_plain_pipe, call_readv, send_it, receive_it });
}

static ssize_t call_recv(int fd, struct arguments *a) { return thrum_recv(fd, a->bytes, sizeof a->bytes, 0); }

TH_TEST(io_arguments, of_recv_are_let_go_of_G5)
{
	run_kind(&(struct kind){ open_pair, call_recv, send_it, receive_it });
}

/* Sent bytes: when there is room again, nothing of the page gets there. */
static void open_full(int fds[2])
{
	char junk[4096] = { 0 };

	open_pair(fds);
	while (send(fds[0], junk, sizeof junk, MSG_DONTWAIT) > 0)
		;
	TH_CHECK_EQ(errno, EAGAIN);
}

static ssize_t call_sendv(int fd, struct arguments *a)
{
	memset(a->bytes, 'x', sizeof a->bytes);
	a->iov[0] = (struct iovec){ a->bytes, 4 };
	a->iov[1] = (struct iovec){ a->bytes + 8, 4 };
	a->msg = (struct msghdr){ .msg_iov = a->iov, .msg_iovlen = 2 };
	return thrum_sendmsg(fd, &a->msg, 0);
}

static void drain(const int fds[2])
{
	char got[4096];
	ssize_t n;

	while ((n = recv(fds[1], got, sizeof got, MSG_DONTWAIT)) > 0)
		TH_CHECK(!memchr(got, 'x', (size_t)n));
	TH_CHECK_EQ(errno, EAGAIN);
}

static void is_still_empty(const int fds[2])
{
	char got;

	TH_CHECK_EQ(recv(fds[1], &got, 1, MSG_DONTWAIT), -1);
}

TH_TEST(io_arguments, of_sendmsg_are_let_go_of_G5)
{
	run_kind(&(struct kind){ open_full, call_sendv, drain, is_still_empty });
}
