/* Messages: vectors, datagrams, descriptors that are passed on, half-close. */
#include <limits.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/un.h>
#include "io_test.h"

enum { PARTS = 3000, PART = 100 }; /* more than IOV_MAX, and more bytes than a socket holds */

struct vectors {
	int fds[2];
	struct iovec iov[PARTS];
	char *bytes;
	size_t done;
};

static int send_vectors(struct vectors *v)
{
	int code = thrum_sendv_all(v->fds[0], v->iov, PARTS, 0, &v->done);

	TH_CHECK_EQ(thrum_shutdown(v->fds[0], SHUT_WR), 0);
	return code;
}
THRUM_FX(send_vectors, struct vectors);

static int take_vectors(struct vectors *v)
{
	size_t at = 0;
	ssize_t n;

	do {
		char head[3], body[4000];
		struct iovec iov[2] = { { head, sizeof head }, { body, sizeof body } };

		n = thrum_recvv(v->fds[1], iov, 2, 0);
		TH_CHECK(n >= 0);
		for (ssize_t i = 0; i < n; i++)
			TH_CHECK_EQ(i < 3 ? head[i] : body[i - 3], v->bytes[at++]);
	} while (n > 0);
	TH_CHECK_EQ(at, PARTS * PART);
	return 0;
}
THRUM_FX(take_vectors, struct vectors);

static int vectors(struct vectors *v)
{
	v->bytes = malloc(PARTS * PART);
	for (size_t i = 0; i < PARTS * PART; i++)
		v->bytes[i] = (char)(i * 7 + i / 251);
	for (size_t i = 0; i < PARTS; i++)
		v->iov[i] = (struct iovec){ v->bytes + i * PART, PART };
	v->iov[0].iov_len = 0; /* empty ones are fine, at the front too */
	v->iov[1] = (struct iovec){ v->bytes, 2 * PART };
	open_pair(v->fds);
	TH_CHECK_EQ(thrum_zip_par(send_vectors_fx(v), take_vectors_fx(v)), 0);
	TH_CHECK_EQ(v->done, PARTS * PART);
	TH_CHECK_EQ(v->iov[1].iov_len, 2 * PART); /* the caller's array is only read */
	TH_CHECK(v->iov[PARTS - 1].iov_base == v->bytes + (PARTS - 1) * PART);
	free(v->bytes);
	close_both(v->fds);
	return 0;
}
THRUM_FX(vectors, struct vectors);
TH_TEST(io_msg, all_of_a_vector_is_sent_however_many_parts_G8)
{
	static struct vectors v;
	run_ok(vectors_fx(&v));
}

static int vectors_stopped(struct vectors *v)
{
	static char zeros[1 << 22];
	struct iovec iov[2] = { { zeros, 100 }, { zeros, sizeof zeros } };
	struct iovec none = { zeros, 0 };
	thrum_scope s;
	size_t there = 0;
	char buf[4096];

	open_pair(v->fds);
	TH_CHECK_EQ(thrum_sendv_all(v->fds[0], &none, 1, 0, &v->done), 0);
	TH_CHECK_EQ(thrum_sendv_all(v->fds[0], NULL, 0, 0, NULL), 0);
	TH_CHECK_EQ(thrum_sendv_all(v->fds[0], iov, 2, MSG_DONTWAIT, &v->done), -EAGAIN);
	TH_CHECK(v->done > 100 && v->done < sizeof zeros);
	for (ssize_t n; (n = thrum_recv(v->fds[1], buf, sizeof buf, MSG_DONTWAIT)) > 0;)
		there += (size_t)n;
	TH_CHECK_EQ(there, v->done);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_sendv_all(v->fds[0], iov, 1, 0, &v->done), -ECANCELED); /* G3: though there is room */
	TH_CHECK_EQ(v->done, 0);
	TH_CHECK_EQ(thrum_sendv(v->fds[0], iov, 1, MSG_DONTWAIT), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(thrum_sendv(v->fds[0], iov, 2, 0) > 100, true);
	close_both(v->fds);
	TH_CHECK_EQ(thrum_sendv(-1, iov, 1, 0), -EBADF);
	return 0;
}
THRUM_FX(vectors_stopped, struct vectors);
TH_TEST(io_msg, a_vector_that_stops_tells_how_much_went_out_G3_G8)
{
	static struct vectors v;
	run_ok(vectors_stopped_fx(&v));
}

static int huge_vectors(struct vectors *v)
{
	const size_t huge = (size_t)3 << 30; /* more than one operation takes, and more than an int holds */
	void *zeros = mmap(NULL, huge, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct iovec iov[2] = { { zeros, huge }, { zeros, huge } };

	TH_CHECK(zeros != MAP_FAILED);
	open_pair(v->fds);
	TH_CHECK_EQ(thrum_sendv_all(v->fds[0], iov, 2, MSG_DONTWAIT, &v->done), -EAGAIN);
	TH_CHECK(v->done > 0 && v->done < huge);
	TH_CHECK(thrum_recvv(v->fds[1], (struct iovec[]){ { v->iov, sizeof v->iov } }, 1, 0) > 0);
	TH_CHECK(thrum_sendv(v->fds[0], iov, 2, 0) > 0);
	close_both(v->fds);
	TH_CHECK_EQ(munmap(zeros, huge), 0);
	return 0;
}
THRUM_FX(huge_vectors, struct vectors);
TH_TEST(io_msg, vectors_beyond_two_gigabytes_are_cut) /* hazard 53 */
{
	static struct vectors v;
	run_ok(huge_vectors_fx(&v));
}

/* --- datagrams --- */

static int udp_bind(struct sockaddr_in *ret_sa)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof *ret_sa;

	*ret_sa = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	TH_CHECK(fd >= 0 && bind(fd, (struct sockaddr *)ret_sa, len) == 0);
	TH_CHECK_EQ(getsockname(fd, (struct sockaddr *)ret_sa, &len), 0);
	return fd;
}

static int answer_one(int *fd)
{
	struct sockaddr_in from;
	socklen_t len = sizeof from;
	char buf[16];
	ssize_t n = thrum_recvfrom(*fd, buf, sizeof buf, 0, (struct sockaddr *)&from, &len);

	TH_CHECK_EQ(n, 4);
	TH_CHECK_EQ(len, sizeof from);
	TH_CHECK_EQ(thrum_sendto(*fd, "pong!", 5, 0, (struct sockaddr *)&from, len), 5);
	return 0;
}
THRUM_FX(answer_one, int);

static int ask_one(int *fds)
{
	struct sockaddr_in to, from;
	socklen_t len = sizeof to;
	char buf[3];
	struct iovec iov = { buf, sizeof buf };
	struct msghdr msg = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1 };

	TH_CHECK_EQ(getsockname(fds[0], (struct sockaddr *)&to, &len), 0);
	TH_CHECK_EQ(thrum_sendto(fds[1], "ping", 4, 0, (struct sockaddr *)&to, len), 4);
	TH_CHECK_EQ(thrum_recvmsg(fds[1], &msg, 0), 3);
	TH_CHECK(msg.msg_flags & MSG_TRUNC); /* it was longer */
	TH_CHECK_EQ(from.sin_port, to.sin_port);
	return 0;
}
THRUM_FX(ask_one, int);

static int datagrams(void *unused)
{
	struct sockaddr_in sa;
	int fds[2] = { udp_bind(&sa), udp_bind(&sa) };

	(void)unused;
	TH_CHECK_EQ(thrum_zip_par(answer_one_fx(&fds[0]), ask_one_fx(fds)), 0);
	TH_CHECK_EQ(thrum_recvfrom(fds[0], &sa, 1, MSG_DONTWAIT, NULL, NULL), -EAGAIN);
	close_both(fds);
	return 0;
}
THRUM_FX(datagrams, void);
TH_TEST(io_msg, datagrams_come_with_their_senders_address) { run_ok(datagrams_fx(NULL)); }

/* --- MSG_WAITALL --- */

enum { LETTERS = 100 };

/* A vector of a hundred single letters, with empty ones between. */
struct letters {
	int fd;
	char text[LETTERS];
	struct iovec iov[2 * LETTERS];
	struct msghdr msg;
	ssize_t got;
};

static int take_letters(struct letters *l)
{
	l->got = thrum_recvmsg(l->fd, &l->msg, MSG_WAITALL);
	return 0;
}
THRUM_FX(take_letters, struct letters);

static void send_letters(int fd, int from, int n)
{
	char text[LETTERS];

	for (int i = 0; i < n; i++)
		text[i] = (char)(from + i);
	TH_CHECK_EQ(send(fd, text, (size_t)n, 0), n);
}

static void start_letters(struct letters *l, int fd, thrum_scope *s)
{
	uint64_t ops = ops_so_far();

	*l = (struct letters){ .fd = fd };
	for (int i = 0; i < LETTERS; i++)
		l->iov[2 * i] = (struct iovec){ &l->text[i], 1 };
	l->msg = (struct msghdr){ .msg_iov = l->iov, .msg_iovlen = 2 * LETTERS };
	TH_CHECK_EQ(thrum_scope_open(s), 0);
	TH_CHECK_EQ(thrum_go(s, take_letters_fx(l)), 0);
	until_ops(ops, 1);
	let_backend_in();
}

enum { COMES_WHOLE, IS_CANCELLED, PEER_LEAVES, HOW_IT_ENDS };

static int letters(void *unused)
{
	struct letters l;
	thrum_scope s;
	int fds[2];

	(void)unused;
	open_pair(fds);
	for (int how = COMES_WHOLE; how < HOW_IT_ENDS; how++) {
		start_letters(&l, fds[0], &s);
		send_letters(fds[1], 0, 1);
		until_taken(fds[0]);
		send_letters(fds[1], 1, 68);
		until_taken(fds[0]);
		if (how == COMES_WHOLE)
			send_letters(fds[1], 69, LETTERS - 69);
		else if (how == IS_CANCELLED)
			thrum_scope_cancel(&s);
		else
			TH_CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		TH_CHECK_EQ(l.got, how == COMES_WHOLE ? LETTERS : 69); /* what was taken is told */
		for (int i = 0; i < l.got; i++)
			TH_CHECK_EQ(l.text[i], i);
		TH_CHECK_EQ(l.msg.msg_controllen, 0);
		TH_CHECK_EQ(l.iov[0].iov_len, 1);
	}
	close_both(fds);
	return 0;
}
THRUM_FX(letters, void);
TH_TEST(io_msg, MSG_WAITALL_fills_a_vector_and_a_cancel_loses_no_byte_G8) { run_ok(letters_fx(NULL)); }

/* Bytes, a byte with a descriptor, bytes: the descriptor is received, and what is not received with it is still there. */
static int letters_with_fd(void *unused)
{
	union {
		struct cmsghdr head;
		char bytes[CMSG_SPACE(sizeof(int))];
	} put = { .head = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } }, got;
	struct iovec one = { (char[1]){ 3 }, 1 };
	struct msghdr out = { .msg_iov = &one, .msg_iovlen = 1, .msg_control = &put, .msg_controllen = sizeof put };
	struct letters l = { .text = { 0 } };
	int fds[2], fd;

	(void)unused;
	open_pair(fds);
	memcpy(CMSG_DATA(&put.head), &fds[0], sizeof(int));
	send_letters(fds[1], 0, 3);
	TH_CHECK_EQ(sendmsg(fds[1], &out, 0), 1);
	send_letters(fds[1], 4, 6);
	for (int i = 0; i < 10; i++)
		l.iov[i] = (struct iovec){ &l.text[i], 1 };
	l.msg = (struct msghdr){ .msg_iov = l.iov, .msg_iovlen = 10, .msg_control = &got, .msg_controllen = sizeof got };
	l.got = thrum_recvmsg(fds[0], &l.msg, MSG_WAITALL);
	TH_CHECK(l.got >= 4 && l.got <= 10);
	TH_CHECK_EQ(l.msg.msg_controllen, CMSG_SPACE(sizeof(int)));
	memcpy(&fd, CMSG_DATA(&got.head), sizeof fd);
	TH_CHECK_EQ(close(fd), 0);
	while (l.got < 10) {
		ssize_t n = thrum_recv(fds[0], l.text + l.got, (size_t)(10 - l.got), 0);
		TH_CHECK(n > 0);
		l.got += n;
	}
	for (int i = 0; i < 10; i++)
		TH_CHECK_EQ(l.text[i], i);
	close_both(fds);
	return 0;
}
THRUM_FX(letters_with_fd, void);
TH_TEST(io_msg, MSG_WAITALL_loses_no_descriptor_G10) { run_ok(letters_with_fd_fx(NULL)); }

static int what_one_receive_takes(void *unused)
{
	char buf[10];
	struct iovec iov[2] = { { buf, 2 }, { buf + 2, 8 } };
	int fds[2];

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(send(fds[1], "abcde", 5, 0), 5);
	TH_CHECK_EQ(thrum_recv(fds[0], buf, sizeof buf, MSG_PEEK | MSG_WAITALL), 5);
	TH_CHECK_EQ(thrum_recvv(fds[0], iov, 2, MSG_PEEK | MSG_WAITALL), 5);
	TH_CHECK(memcmp(buf, "abcde", 5) == 0);
	close_both(fds);
	TH_CHECK_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds), 0);
	TH_CHECK_EQ(send(fds[1], "one", 3, 0), 3);
	TH_CHECK_EQ(send(fds[1], "three", 5, 0), 5);
	TH_CHECK_EQ(thrum_recv(fds[0], buf, sizeof buf, MSG_WAITALL), 3);
	TH_CHECK_EQ(thrum_recvv(fds[0], iov, 2, MSG_WAITALL), 5);
	TH_CHECK(memcmp(buf, "three", 5) == 0);
	close_both(fds);
	return 0;
}
THRUM_FX(what_one_receive_takes, void);
TH_TEST(io_msg, MSG_WAITALL_peeks_no_byte_twice_and_joins_no_packets) { run_ok(what_one_receive_takes_fx(NULL)); }

static int reset_behind_bytes(void *unused)
{
	const struct linger at_once = { 1, 0 };
	struct sockaddr_in sa;
	struct letters l;
	thrum_scope s;
	int listener = tcp_listen(&sa, 0), fds[2] = { tcp_socket(0), -1 };

	(void)unused;
	TH_CHECK_EQ(connect(fds[0], (struct sockaddr *)&sa, sizeof sa), 0);
	fds[1] = accept(listener, NULL, NULL);
	start_letters(&l, fds[0], &s);
	send_letters(fds[1], 0, 3);
	until_taken(fds[0]);
	TH_CHECK_EQ(setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
	close_both((int[]){ fds[1], listener });
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(l.got, 3);
	TH_CHECK_EQ(thrum_recv(fds[0], l.text, sizeof l.text, 0), -ECONNRESET);
	TH_CHECK_EQ(close(fds[0]), 0);
	return 0;
}
THRUM_FX(reset_behind_bytes, void);
TH_TEST(io_msg, a_failure_behind_bytes_is_the_next_calls) { run_ok(reset_behind_bytes_fx(NULL)); }

/* --- descriptors --- */

struct passing {
	int fds[2];
	int got;
};

static int take_fd(struct passing *p)
{
	p->got = thrum_recv_fd(p->fds[1]);
	return 0;
}
THRUM_FX(take_fd, struct passing);

static int pass_fd(struct passing *p)
{
	int pipe[2];
	thrum_scope s;
	thrum_task t;
	uint64_t ops;
	char c;

	open_pair(p->fds);
	open_pipe(pipe, 0);
	ops = ops_so_far();
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, take_fd_fx(p)), 0);
	until_ops(ops, 1); /* it waits */
	TH_CHECK_EQ(thrum_send_fd(p->fds[0], pipe[1]), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK(p->got >= 0 && p->got != pipe[1]);
	TH_CHECK(is_cloexec(p->got));
	TH_CHECK_EQ(thrum_write(p->got, "x", 1), 1);
	TH_CHECK_EQ(thrum_read(pipe[0], &c, 1), 1);
	TH_CHECK_EQ(thrum_close(p->got), 0);
	TH_CHECK_EQ(thrum_send_fd(p->fds[0], -1), -EBADF);
	TH_CHECK_EQ(thrum_send(p->fds[0], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_recv_fd(p->fds[1]), -ENOMSG);
	TH_CHECK_EQ(thrum_shutdown(p->fds[0], SHUT_WR), 0);
	TH_CHECK_EQ(thrum_recv_fd(p->fds[1]), THRUM_EEOF);
	close_both(pipe);
	close_both(p->fds);
	return 0;
}
THRUM_FX(pass_fd, struct passing);
TH_TEST(io_msg, a_descriptor_is_passed_and_close_on_exec)
{
	int before = fd_count();
	struct passing p;

	run_ok(pass_fd_fx(&p));
	TH_CHECK_EQ(fd_count(), before);
}

/* One or two, with so many bytes. */
static void send_fds(int sock, int fd, size_t n, size_t bytes)
{
	int fds[2] = { fd, fd };
	char control[CMSG_SPACE(sizeof fds)] = { 0 };
	struct iovec iov = { "x", bytes };
	struct msghdr msg = {
	    .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(n * sizeof fd)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof fd);
	memcpy(CMSG_DATA(c), fds, n * sizeof fd);
	TH_CHECK_EQ(thrum_sendmsg(sock, &msg, 0), bytes);
}

static int pass_two(struct passing *p)
{
	struct rlimit limit, none;

	open_pair(p->fds);
	send_fds(p->fds[0], p->fds[0], 2, 1);
	TH_CHECK_EQ(thrum_recv_fd(p->fds[1]), -EMSGSIZE);
	TH_CHECK_EQ(thrum_send_fd(p->fds[0], p->fds[0]), 0);
	TH_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){ 3, limit.rlim_max };
	TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &none), 0); /* all numbers below are taken */
	p->got = thrum_recv_fd(p->fds[1]);
	TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
	TH_CHECK_EQ(p->got, -EMFILE);
	close_both(p->fds);
	return 0;
}
THRUM_FX(pass_two, struct passing);
TH_TEST(io_msg, what_is_more_than_one_descriptor_is_closed)
{
	int before = fd_count();
	struct passing p;

	run_ok(pass_two_fx(&p));
	TH_CHECK_EQ(fd_count(), before);
}

static int pass_in_empty_packets(struct passing *p)
{
	const int types[] = { SOCK_SEQPACKET, SOCK_DGRAM };

	for (int i = 0; i < 2; i++) {
		TH_CHECK_EQ(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, p->fds), 0);
		send_fds(p->fds[0], p->fds[0], 1, 0);
		p->got = thrum_recv_fd(p->fds[1]);
		TH_CHECK(p->got >= 0);
		TH_CHECK_EQ(close(p->got), 0);
		send_fds(p->fds[0], p->fds[0], 2, 0);
		TH_CHECK_EQ(thrum_recv_fd(p->fds[1]), -EMSGSIZE);
		TH_CHECK_EQ(send(p->fds[0], "", 0, 0), 0);
		TH_CHECK_EQ(thrum_recv_fd(p->fds[1]), THRUM_EEOF);
		close_both(p->fds);
	}
	return 0;
}
THRUM_FX(pass_in_empty_packets, struct passing);
TH_TEST(io_msg, an_empty_packet_passes_descriptors_too_G10)
{
	int before = fd_count();
	struct passing p;

	run_ok(pass_in_empty_packets_fx(&p));
	TH_CHECK_EQ(fd_count(), before);
}

#ifndef SO_PASSPIDFD
#define SO_PASSPIDFD 76
#endif

static int pass_among_others(struct passing *p)
{
	const int yes = 1;

	open_pair(p->fds);
	TH_CHECK_EQ(setsockopt(p->fds[1], SOL_SOCKET, SO_PASSCRED, &yes, sizeof yes), 0);
	(void)setsockopt(p->fds[1], SOL_SOCKET, SO_PASSPIDFD, &yes, sizeof yes); /* from 6.5 on */
	send_fds(p->fds[0], p->fds[0], 1, 1);
	p->got = thrum_recv_fd(p->fds[1]);
	TH_CHECK(p->got >= 0);
	TH_CHECK(is_cloexec(p->got));
	TH_CHECK_EQ(close(p->got), 0);
	send_fds(p->fds[0], p->fds[0], 2, 1);
	TH_CHECK_EQ(thrum_recv_fd(p->fds[1]), -EMSGSIZE);
	TH_CHECK_EQ(send(p->fds[0], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_recv_fd(p->fds[1]), -ENOMSG);
	TH_CHECK_EQ(shutdown(p->fds[0], SHUT_WR), 0);
	TH_CHECK_EQ(thrum_recv_fd(p->fds[1]), THRUM_EEOF);
	close_both(p->fds);
	return 0;
}
THRUM_FX(pass_among_others, struct passing);
TH_TEST(io_msg, a_descriptor_is_found_among_what_the_kernel_adds)
{
	int before = fd_count();
	struct passing p;

	run_ok(pass_among_others_fx(&p));
	TH_CHECK_EQ(fd_count(), before);
}

enum { PASSES = 300 };

static int pass_and_cancel(struct passing *p)
{
	int taken = 0;

	open_pair(p->fds);
	for (int i = 0; i < PASSES; i++) {
		thrum_scope s;
		thrum_task t;
		uint64_t ops = ops_so_far();

		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_spawn(&s, &t, take_fd_fx(p)), 0);
		until_ops(ops, 1);
		TH_CHECK_EQ(thrum_send_fd(p->fds[0], p->fds[0]), 0);
		thrum_scope_cancel(&s);
		TH_CHECK_EQ(thrum_scope_close(&s), 0);
		if (p->got == -ECANCELED)
			p->got = thrum_recv_fd(p->fds[1]); /* nothing was lost on the way (G10) */
		else
			taken++;
		TH_CHECK(p->got >= 0);
		TH_CHECK_EQ(thrum_close(p->got), 0);
	}
	TH_CHECK(taken <= PASSES);
	close_both(p->fds);
	return 0;
}
THRUM_FX(pass_and_cancel, struct passing);
TH_TEST(io_msg, a_descriptor_that_comes_with_the_cancel_is_not_lost_G10)
{
	int before = fd_count();
	struct passing p;

	run_ok(pass_and_cancel_fx(&p));
	TH_CHECK_EQ(fd_count(), before);
}

/* --- half-close --- */

static int half_close(void *unused)
{
	int fds[2];
	char c;

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(thrum_shutdown(fds[0], SHUT_WR), 0);
	TH_CHECK_EQ(thrum_recv(fds[1], &c, 1, 0), 0);
	TH_CHECK_EQ(thrum_send(fds[1], "x", 1, 0), 1); /* the other way is open */
	TH_CHECK_EQ(thrum_recv(fds[0], &c, 1, 0), 1);
	TH_CHECK_EQ(thrum_send(fds[0], "x", 1, 0), -EPIPE);
	TH_CHECK_EQ(thrum_shutdown(fds[0], 99), -EINVAL);
	TH_CHECK_EQ(thrum_shutdown(-1, SHUT_WR), -EBADF);
	close_both(fds);
	return 0;
}
THRUM_FX(half_close, void);
TH_TEST(io_msg, half_close_ends_one_direction) { run_ok(half_close_fx(NULL)); }

/* --- calls that do not wait --- */

static int quick_sender(int *fds)
{
	char c;

	for (int i = 0; i < 100000 && __atomic_load_n(&fds[2], __ATOMIC_RELAXED) == 0; i++) {
		TH_CHECK_EQ(thrum_send(fds[0], "x", 1, MSG_DONTWAIT), 1);
		TH_CHECK_EQ(thrum_recv(fds[1], &c, 1, MSG_DONTWAIT), 1);
	}
	return __atomic_load_n(&fds[2], __ATOMIC_RELAXED) ? 0 : THRUM_APP(1);
}
THRUM_FX(quick_sender, int);

static int has_its_turn(int *fds)
{
	TH_CHECK_EQ(thrum_yield(), 0);
	__atomic_store_n(&fds[2], 1, __ATOMIC_RELAXED);
	return 0;
}
THRUM_FX(has_its_turn, int);

TH_TEST(io_msg, calls_that_never_wait_let_others_have_their_turn)
{
	int fds[3] = { 0 };
	thrum_fx fx[2] = { has_its_turn_fx(fds), quick_sender_fx(fds) };
	thrum_zip_par_op both = { fx, 2 };

	open_pair(fds);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), thrum_zip_par_fx(&both)), 0);
	close_both(fds);
}

TH_TEST(io_msg, on_a_plain_thread_they_say_so)
{
	struct msghdr msg = { .msg_iovlen = 0 };

	TH_CHECK_EQ(thrum_recvmsg(0, &msg, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_sendv_all(0, NULL, 0, 0, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_recv_fd(0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_send_fd(0, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_shutdown(0, 0), THRUM_ENOTFIBER);
}

/* --- what is ready, and says EAGAIN all the same --- */

struct message {
	int fd, flags;
	struct sockaddr_un *to; /* NULL: receive */
	socklen_t to_len;
	ssize_t got;
};
static int message(struct message *m)
{
	char buf[64], control[256];
	struct iovec iov = { buf, m->to ? 1 : sizeof buf };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (m->to) {
		msg.msg_name = m->to;
		msg.msg_namelen = m->to_len;
		m->got = thrum_sendmsg(m->fd, &msg, m->flags);
	} else {
		msg.msg_control = control;
		msg.msg_controllen = sizeof control;
		m->got = thrum_recvmsg(m->fd, &msg, m->flags);
	}
	return 0;
}
THRUM_FX(message, struct message);

/* Data may be read all the while; who waits for an error does not look at it. */
static int errors_beside_data(int *flags)
{
	struct sockaddr_in sa, nobody;
	struct message m = { .fd = udp_bind(&sa), .flags = MSG_ERRQUEUE };
	int on = 1, closed = udp_bind(&nobody);
	thrum_scope s;

	TH_CHECK_EQ(close(closed), 0);
	TH_CHECK_EQ(fcntl(m.fd, F_SETFL, *flags), 0);
	TH_CHECK_EQ(setsockopt(m.fd, IPPROTO_IP, IP_RECVERR, &on, sizeof on), 0);
	TH_CHECK_EQ(sendto(m.fd, "data", 4, 0, (struct sockaddr *)&sa, sizeof sa), 4);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, message_fx(&m)), 0);
	waits_quietly(0);
	TH_CHECK_EQ(sendto(m.fd, "lost", 4, 0, (struct sockaddr *)&nobody, sizeof nobody), 4);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(m.got, 4);
	TH_CHECK_EQ(close(m.fd), 0);
	return 0;
}
THRUM_FX(errors_beside_data, int);
TH_TEST(io_msg, who_waits_for_errors_is_not_disturbed_by_data)
{
	run_ok(errors_beside_data_fx(&(int){ 0 }));
	run_ok(errors_beside_data_fx(&(int){ O_NONBLOCK }));
}

/* The sender can send, but for that receiver, whose queue is full. */
static int full_receiver(int *flags)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1);
	int receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct message m = { .fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | *flags, 0), .to = &to };
	thrum_scope s;
	char c;

	len += (socklen_t)snprintf(to.sun_path + 1, sizeof to.sun_path - 1, "thrum-test-full-%d", (int)getpid());
	m.to_len = len;
	TH_CHECK(receiver >= 0 && m.fd >= 0);
	TH_CHECK_EQ(bind(receiver, (struct sockaddr *)&to, len), 0);
	while (sendto(m.fd, "x", 1, MSG_DONTWAIT, (struct sockaddr *)&to, len) == 1)
		;
	TH_CHECK_EQ(errno, EAGAIN);
	for (int i = 0; i < 2; i++) { /* there is room; it is cancelled */
		TH_CHECK_EQ(thrum_scope_open(&s), 0);
		TH_CHECK_EQ(thrum_go(&s, message_fx(&m)), 0);
		waits_quietly(3);
		if (i == 0)
			TH_CHECK_EQ(recv(receiver, &c, 1, MSG_DONTWAIT), 1);
		else
			thrum_scope_cancel(&s);
		(void)thrum_scope_close(&s);
		TH_CHECK_EQ(m.got, i == 0 ? 1 : -ECANCELED);
	}
	TH_CHECK_EQ(close(m.fd), 0);
	TH_CHECK_EQ(close(receiver), 0);
	return 0;
}
THRUM_FX(full_receiver, int);
TH_TEST(io_msg, a_full_receiver_is_waited_for_quietly)
{
	int before = fd_count();

	run_ok(full_receiver_fx(&(int){ 0 }));
	run_ok(full_receiver_fx(&(int){ O_NONBLOCK }));
	TH_CHECK_EQ(fd_count(), before);
}
