/* Rings that take no operation but those of thrum: .restrict_ring, THRUM_RESTRICT. That all of thrum works on them say the
 * other programs of this folder, which ctest runs with THRUM_RESTRICT=1 as well. */
#include "core/fiber.h"
#include "core/hooks.h"
#include "io/backend.h"
#include "io/uring.h"
#include "io_test.h"

static const uint8_t taken[] = {
	IORING_OP_NOP,     IORING_OP_POLL_ADD, IORING_OP_READ,   IORING_OP_WRITE,   IORING_OP_READV,
	IORING_OP_WRITEV,  IORING_OP_RECVMSG,  IORING_OP_SENDMSG, IORING_OP_RECV,   IORING_OP_SEND,
	IORING_OP_ACCEPT,  IORING_OP_CONNECT,  IORING_OP_OPENAT, IORING_OP_CLOSE,   IORING_OP_ASYNC_CANCEL,
};

static bool is_taken(unsigned opcode)
{
	for (size_t i = 0; i < sizeof taken; i++)
		if (taken[i] == opcode)
			return true;
	return false;
}

/* Of an operation on no descriptor. */
static int result_of(struct io_uring *ring, unsigned opcode, unsigned flags)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int res;

	TH_CHECK(sqe);
	memset(sqe, 0, sizeof *sqe);
	sqe->opcode = (uint8_t)opcode;
	sqe->flags = (uint8_t)flags;
	sqe->fd = -1;
	TH_CHECK_EQ(io_uring_submit_and_wait(ring, 1), 1);
	TH_CHECK_EQ(io_uring_peek_cqe(ring, &cqe), 0);
	res = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return res;
}

/* In a container that forbids rings there is nothing to restrict. */
static bool open_ring(struct io_uring *ring, bool restricted)
{
	int res = th_uring_setup(ring, 8, restricted, -1);

	TH_CHECK(res == 0 || res == -EPERM || res == -ENOSYS);
	return res == 0;
}

TH_TEST(io_restrict, a_ring_takes_what_thrum_submits_and_nothing_else)
{
	struct io_uring ring, free_ring;

	if (!open_ring(&ring, true) || !open_ring(&free_ring, false))
		return;
	TH_CHECK(strcmp(th_uring_setup_name(&ring), th_uring_setup_name(&free_ring)) == 0);
	for (unsigned opcode = 0; opcode < IORING_OP_LAST; opcode++)
		TH_CHECK_EQ(result_of(&ring, opcode, 0) != -EACCES, is_taken(opcode));
	TH_CHECK_EQ(result_of(&ring, 250, 0), -EINVAL); /* no such operation */
	TH_CHECK(result_of(&free_ring, IORING_OP_UNLINKAT, 0) != -EACCES);

	TH_CHECK_EQ(result_of(&ring, IORING_OP_RECV, IOSQE_BUFFER_SELECT), -EBADF);
	TH_CHECK_EQ(result_of(&ring, IORING_OP_NOP, IOSQE_IO_DRAIN), -EACCES);
	TH_CHECK_EQ(result_of(&ring, IORING_OP_READ, IOSQE_FIXED_FILE), -EACCES);
	TH_CHECK_EQ(result_of(&free_ring, IORING_OP_NOP, IOSQE_IO_DRAIN), 0);
	io_uring_queue_exit(&ring);
	io_uring_queue_exit(&free_ring);
}

TH_TEST(io_restrict, a_ring_registers_what_thrum_registers_and_nothing_else)
{
	struct io_uring ring;
	struct iovec iov = { "x", 1 };
	struct io_uring_buf_reg reg = { .ring_entries = 1, .bgid = 3 };
	int fd = -1;

	if (!open_ring(&ring, true))
		return;
	reg.ring_addr = (uintptr_t)aligned_alloc(4096, 4096);
	TH_CHECK(reg.ring_addr);
	TH_CHECK_EQ(io_uring_register_buf_ring(&ring, &reg, 0), 0);
	TH_CHECK_EQ(io_uring_unregister_buf_ring(&ring, 3), 0);
	free((void *)(uintptr_t)reg.ring_addr);
	TH_CHECK_EQ(io_uring_register_ring_fd(&ring), 1);
	TH_CHECK_EQ(io_uring_unregister_ring_fd(&ring), 1);
	TH_CHECK_EQ(io_uring_register_files(&ring, &fd, 1), -EACCES);
	TH_CHECK_EQ(io_uring_register_buffers(&ring, &iov, 1), -EACCES);
	TH_CHECK_EQ(io_uring_register_personality(&ring), -EACCES);
	io_uring_queue_exit(&ring);
}

/* On a worker's own ring, as somebody would who has got hold of it. Its completion looks like that of a cancel, which the
 * backend ignores. */
static int smuggle(void)
{
	enum { OF_A_CANCEL = 2 };
	struct io_uring *ring = th_uring_of(th_self()->home->io);
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	unsigned head;
	int res = 1;

	TH_CHECK(sqe);
	io_uring_prep_unlinkat(sqe, -1, "nothing", 0);
	io_uring_sqe_set_data64(sqe, OF_A_CANCEL);
	while (res == 1) {
		TH_CHECK(io_uring_submit_and_get_events(ring) >= 0);
		io_uring_for_each_cqe(ring, head, cqe) {
			if (cqe->user_data == OF_A_CANCEL)
				res = cqe->res;
		}
	}
	return res;
}

static int look(void *restricted)
{
	bool want = *(bool *)restricted, has_ring = th_self()->home->backend == &th_uring;

	TH_CHECK_EQ(strstr(thrum_rt_describe(NULL), ", restricted)") != NULL, want && has_ring);
	if (has_ring)
		TH_CHECK_EQ(smuggle(), want ? -EACCES : -EBADF);
	return 0;
}

TH_TEST(io_restrict, the_option_or_the_environment_restricts_each_workers_ring)
{
	const char *env = getenv("THRUM_RESTRICT");
	char kept[8] = "0";
	bool yes = true, no = false;

	if (env)
		snprintf(kept, sizeof kept, "%s", env);
	TH_CHECK_EQ(unsetenv("THRUM_RESTRICT"), 0);
	TH_CHECK_EQ(thrum_run(NULL, (thrum_fx){ look, &no }), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.restrict_ring = true), (thrum_fx){ look, &yes }), 0);
	TH_CHECK_EQ(setenv("THRUM_RESTRICT", "1", 1), 0);
	TH_CHECK_EQ(thrum_run(NULL, (thrum_fx){ look, &yes }), 0);
	TH_CHECK_EQ(setenv("THRUM_RESTRICT", kept, 1), 0);
}
