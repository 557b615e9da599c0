#define _GNU_SOURCE
/* bench/multishot.c [CONNECTIONS]: what receiving and accepting cost by the ways that io_uring has, without a runtime: one
 * thread, one ring set up as io/uring.c does it, TCP over loopback.
 *
 *   own       a receive for each message, into a buffer of the connection: as thrum_recv() does
 *   lent      the same into one that the kernel takes from a ring of buffers: thrum_recv_lent()
 *   … first   waits for data before it looks (IORING_RECVSEND_POLL_FIRST, IORING_ACCEPT_POLL_FIRST)
 *   multi     one operation that completes with each message, into the same ring of buffers; or with each connection
 *   8         so many accepts in flight
 *   poll      accepts by system calls until none is left, each time a poll says that there is one
 *
 * Each message of 64 bytes is sent back. Processor time of the server's part, the minimum of many rounds: for a message, or
 * for a connection, that comes alone, and for one of many that come together. ARCHITECTURE.md says what follows. */
#include "bench.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 1000, MESSAGE = 64, BUFFER = 16384, BUFFERS = 1024, ROUNDS_EACH = 100, BURST = 64, ACCEPT_POLL_FIRST = 1 << 2 /* of Linux 6.10; not in liburing 2.3 */ };

static struct io_uring ring;
static struct io_uring_buf_ring *slots;
static char *memory, message[MESSAGE], own[CONNECTIONS_MAX][MESSAGE];
static int to[CONNECTIONS_MAX], from[CONNECTIONS_MAX];
static unsigned slot_of[CONNECTIONS_MAX];
static bool rearm[CONNECTIONS_MAX];
static unsigned n = 256;

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "multishot: %s: %s\n", what, strerror(r == -1 ? errno : -r));
	exit(1);
}

static double cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

/* --- the ring, the connections --- */

static void give(unsigned slot)
{
	io_uring_buf_ring_add(slots, memory + (size_t)slot * BUFFER, BUFFER, (unsigned short)slot,
			      io_uring_buf_ring_mask(BUFFERS), 0);
	io_uring_buf_ring_advance(slots, 1);
}

static void open_ring(void)
{
	struct io_uring_params params = { .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
						   IORING_SETUP_COOP_TASKRUN | IORING_SETUP_CQSIZE,
					  .cq_entries = 8192 };
	struct io_uring_buf_reg reg = { .ring_entries = BUFFERS, .bgid = 0 };

	must(io_uring_queue_init_params(1024, &ring, &params), "ring");
	must(io_uring_register_ring_fd(&ring), "ring descriptor");
	memory = malloc((size_t)BUFFERS * BUFFER);
	slots = aligned_alloc(4096, BUFFERS * sizeof(struct io_uring_buf));
	if (!memory || !slots)
		must(-ENOMEM, "buffers");
	io_uring_buf_ring_init(slots);
	reg.ring_addr = (uintptr_t)slots;
	must(io_uring_register_buf_ring(&ring, &reg, 0), "ring of buffers");
	for (unsigned i = 0; i < BUFFERS; i++)
		give(i);
}

static void close_ring(void)
{
	io_uring_queue_exit(&ring);
	free(memory);
	free(slots);
}

static int listen_at(struct sockaddr_in *ret_sa)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof *ret_sa;

	*ret_sa = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	must(fd, "socket");
	must(bind(fd, (struct sockaddr *)ret_sa, len), "bind");
	must(getsockname(fd, (struct sockaddr *)ret_sa, &len), "getsockname");
	must(listen(fd, CONNECTIONS_MAX), "listen");
	return fd;
}

static int dial(const struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd, "socket");
	must(connect(fd, (const struct sockaddr *)sa, sizeof *sa), "connect");
	must(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int)), "TCP_NODELAY");
	return fd;
}

static void open_connections(void)
{
	struct sockaddr_in sa;
	int listener = listen_at(&sa);

	for (unsigned i = 0; i < n; i++) {
		to[i] = dial(&sa);
		from[i] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		must(from[i], "accept");
	}
	close(listener);
}

static void close_connections(void)
{
	for (unsigned i = 0; i < n; i++) {
		close(to[i]);
		close(from[i]);
	}
}

/* --- receiving, and sending back --- */

struct way {
	const char *name;
	bool lent, multi, first;
	double best[2];
};

static struct io_uring_sqe *next_sqe(unsigned i, bool sends)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (!sqe) {
		must(io_uring_submit(&ring), "submit");
		sqe = io_uring_get_sqe(&ring);
	}
	io_uring_sqe_set_data64(sqe, (uint64_t)i << 1 | sends);
	return sqe;
}

static void start_recv(const struct way *w, unsigned i)
{
	struct io_uring_sqe *sqe = next_sqe(i, false);
	uint64_t data = sqe->user_data;

	if (w->multi)
		io_uring_prep_recv_multishot(sqe, from[i], NULL, 0, 0);
	else
		io_uring_prep_recv(sqe, from[i], w->lent ? NULL : own[i], w->lent ? BUFFER : MESSAGE, 0);
	if (w->lent || w->multi)
		sqe->flags |= IOSQE_BUFFER_SELECT;
	if (w->first)
		sqe->ioprio |= IORING_RECVSEND_POLL_FIRST;
	io_uring_sqe_set_data64(sqe, data);
}

static void start_send(unsigned i, const char *data, int bytes)
{
	struct io_uring_sqe *sqe = next_sqe(i, true);
	uint64_t kept = sqe->user_data;

	io_uring_prep_send(sqe, from[i], data, (size_t)bytes, MSG_NOSIGNAL);
	io_uring_sqe_set_data64(sqe, kept);
}

static void received(const struct way *w, unsigned i, const struct io_uring_cqe *cqe)
{
	bool picked = cqe->flags & IORING_CQE_F_BUFFER;

	slot_of[i] = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	start_send(i, picked ? memory + (size_t)slot_of[i] * BUFFER : own[i], cqe->res);
	rearm[i] = !(cqe->flags & IORING_CQE_F_MORE);
	(void)w;
}

static void sent(const struct way *w, unsigned i)
{
	if (w->lent || w->multi)
		give(slot_of[i]);
	if (rearm[i])
		start_recv(w, i);
}

/* Until `messages` have come and gone, and the kernel has what was armed again. */
static double echo(const struct way *w, unsigned messages)
{
	double began = cpu_ns();

	while (messages > 0) {
		struct io_uring_cqe *cqe;
		unsigned head, count = 0;

		must(io_uring_submit_and_wait(&ring, 1), "enter");
		io_uring_for_each_cqe(&ring, head, cqe) {
			unsigned i = (unsigned)(cqe->user_data >> 1);

			must(cqe->res == MESSAGE ? 0 : cqe->res < 0 ? cqe->res : -EIO, "transfer");
			if (cqe->user_data & 1) {
				sent(w, i);
				messages--;
			} else {
				received(w, i, cqe);
			}
			count++;
		}
		io_uring_cq_advance(&ring, count);
	}
	must(io_uring_submit_and_get_events(&ring), "enter"); /* as a server would, to wait for the next */
	return cpu_ns() - began;
}

static double one_round(const struct way *w, unsigned together)
{
	char answer[MESSAGE];
	double took = 0;

	for (unsigned first = 0; first < n; first += together) {
		unsigned end = first + together < n ? first + together : n;

		for (unsigned i = first; i < end; i++)
			must(send(to[i], message, MESSAGE, 0) == MESSAGE ? 0 : -1, "send");
		took += echo(w, end - first);
		for (unsigned i = first; i < end; i++)
			must(recv(to[i], answer, MESSAGE, MSG_WAITALL) == MESSAGE ? 0 : -1, "recv");
	}
	return took / n;
}

static void measure_way(struct way *w)
{
	open_ring();
	open_connections();
	for (unsigned i = 0; i < n; i++)
		start_recv(w, i);
	must(io_uring_submit(&ring), "submit");
	for (int round = 0; round < ROUNDS_EACH; round++) {
		for (int all = 0; all < 2; all++) {
			double took = one_round(w, all ? n : 1);

			if (w->best[all] == 0 || took < w->best[all])
				w->best[all] = took;
		}
	}
	close_connections();
	close_ring();
}

/* --- accepting --- */

enum how { SINGLE, FIRST, SEVERAL, SEVERAL_FIRST, MULTI, POLL, HOWS };
static const char *const how_names[] = { "accept", "accept, first", "accept, 8", "accept, 8 first", "accept, multi", "accept, poll" };

static void start_accept(int listener, enum how how)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (how == MULTI)
		io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	else if (how == POLL)
		io_uring_prep_poll_add(sqe, listener, POLLIN);
	else
		io_uring_prep_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	if (how == FIRST || how == SEVERAL_FIRST)
		sqe->ioprio |= ACCEPT_POLL_FIRST;
}

static unsigned take_accepted(int listener, enum how how, const struct io_uring_cqe *cqe, int *ret_fds)
{
	unsigned count = 1;

	must(cqe->res, "accept");
	if (how == POLL)
		for (count = 0; (ret_fds[count] = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;)
			count++;
	else
		ret_fds[0] = cqe->res;
	if (!(cqe->flags & IORING_CQE_F_MORE))
		start_accept(listener, how);
	return count;
}

static double accept_some(int listener, enum how how, unsigned total)
{
	double began = cpu_ns();
	unsigned done = 0;

	while (done < total) {
		struct io_uring_cqe *cqe;
		unsigned head, count = 0;

		must(io_uring_submit_and_wait(&ring, 1), "enter");
		io_uring_for_each_cqe(&ring, head, cqe) {
			done += take_accepted(listener, how, cqe, from + done);
			count++;
		}
		io_uring_cq_advance(&ring, count);
	}
	must(io_uring_submit_and_get_events(&ring), "enter");
	return cpu_ns() - began;
}

static double accept_round(const struct sockaddr_in *sa, int listener, enum how how, unsigned together)
{
	double took = 0;

	for (unsigned done = 0; done < BURST; done += together) {
		for (unsigned i = 0; i < together; i++)
			to[i] = dial(sa);
		took += accept_some(listener, how, together);
		for (unsigned i = 0; i < together; i++) {
			(void)setsockopt(to[i], SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 }, sizeof(struct linger));
			close(to[i]);
			close(from[i]);
		}
	}
	return took / BURST;
}

static void measure_accept(enum how how, double best[2])
{
	struct sockaddr_in sa;
	int listener = listen_at(&sa);

	if (how == POLL)
		must(fcntl(listener, F_SETFL, O_NONBLOCK), "O_NONBLOCK");
	open_ring();
	for (unsigned i = 0; i < (how == SEVERAL || how == SEVERAL_FIRST ? 8 : 1); i++)
		start_accept(listener, how);
	must(io_uring_submit(&ring), "submit");
	for (int round = 0; round < ROUNDS_EACH / 4; round++) {
		for (int all = 0; all < 2; all++) {
			double took = accept_round(&sa, listener, how, all ? BURST : 1);

			if (best[all] == 0 || took < best[all])
				best[all] = took;
		}
	}
	close_ring();
	close(listener);
}

int main(int argc, char **argv)
{
	struct way ways[] = {
		{ .name = "own" }, { .name = "own, first", .first = true },
		{ .name = "lent", .lent = true }, { .name = "lent, first", .lent = true, .first = true },
		{ .name = "multi", .multi = true },
	};
	double accepts[HOWS][2] = { { 0 } };

	if (argc > 1)
		n = (unsigned)atoi(argv[1]);
	if (n == 0 || n > CONNECTIONS_MAX)
		must(-EINVAL, "connections");
	for (int repeat = 0; repeat < 5; repeat++) {
		for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
			measure_way(&ways[i]);
		for (int how = 0; how < HOWS; how++)
			measure_accept((enum how)how, accepts[how]);
	}
	printf("%-14s %12s %14s\n", "ns of CPU each", "one at a time", "all together");
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		printf("%-14s %12.0f %14.0f\n", ways[i].name, ways[i].best[0], ways[i].best[1]);
	for (int how = 0; how < HOWS; how++)
		printf("%-14s %12.0f %14.0f\n", how_names[how], accepts[how][0], accepts[how][1]);
	return 0;
}
