/* bench/servers/echo_uring.c PORT: one thread, one ring, a receive or a send in flight for each connection. What a runtime
 * on io_uring cannot go below, as long as it does the same. */
#include "server.h"
#include <liburing.h>
#include <string.h>
#include <unistd.h>

enum { ENTRIES = 1024 };

struct connection {
	int fd;
	int sent; /* of the `len` bytes that are being sent back; len 0: receiving */
	int len;
	char buf[BUFFER];
};

static struct io_uring ring;

static struct io_uring_sqe *sqe(void *data)
{
	struct io_uring_sqe *e = io_uring_get_sqe(&ring);

	if (!e) {
		check(io_uring_submit(&ring), "submit");
		e = io_uring_get_sqe(&ring);
	}
	io_uring_sqe_set_data(e, data);
	return e;
}

static void start_accept(int listener)
{
	io_uring_prep_accept(sqe(NULL), listener, NULL, NULL, SOCK_CLOEXEC);
}

static void start_recv(struct connection *c)
{
	c->len = c->sent = 0;
	io_uring_prep_recv(sqe(c), c->fd, c->buf, BUFFER, 0);
}

static void start_send(struct connection *c)
{
	io_uring_prep_send(sqe(c), c->fd, c->buf + c->sent, (size_t)(c->len - c->sent), MSG_NOSIGNAL);
}

static void add(int fd)
{
	struct connection *c = malloc(sizeof *c);

	if (!c)
		abort();
	no_delay(fd);
	c->fd = fd;
	start_recv(c);
}

static void go_on(struct connection *c, int res)
{
	if (res <= 0) {
		close(c->fd);
		free(c);
	} else if (c->len == 0) {
		c->len = res;
		start_send(c);
	} else if ((c->sent += res) < c->len) {
		start_send(c);
	} else {
		start_recv(c);
	}
}

int main(int argc, char **argv)
{
	int listener = listen_on(argv[argc - 1], 0);
	unsigned flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN;
	int r = io_uring_queue_init(ENTRIES, &ring, flags);

	if (r < 0) {
		fprintf(stderr, "io_uring: %s\n", strerror(-r));
		return 1;
	}
	start_accept(listener);
	for (;;) {
		struct io_uring_cqe *cqe;
		unsigned head, n = 0;
		io_uring_submit_and_wait(&ring, 1);
		io_uring_for_each_cqe(&ring, head, cqe) {
			struct connection *c = io_uring_cqe_get_data(cqe);
			n++;
			if (c) {
				go_on(c, cqe->res);
			} else {
				if (cqe->res >= 0)
					add(cqe->res);
				start_accept(listener);
			}
		}
		io_uring_cq_advance(&ring, n);
	}
}
