/* io/uring_setup.c: how a ring is made, and what may be done with it.
 *
 * A ring is a door past the filter of system calls that a program runs behind: what goes through it, seccomp does not see. So
 * it can be restricted (Linux 5.10): to the operations that the backend submits, the one flag that it sets, and what it
 * registers. The kernel refuses everything else with EACCES, also to code that has got hold of the ring. Such a ring begins
 * disabled; who enables it is its single issuer. */
#include "uring.h"
#include <errno.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* Best first. Each kernel release that matters here added one flag, so the first that is not refused is right. */
static const unsigned setups[] = {
    /* 6.1 */ IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    /* 6.0 */ IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
	IORING_SETUP_SUBMIT_ALL,
    /* 5.19 */ IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
    /* 5.11 */ 0,
};

/* All that op_prepare() and the ring's own needs submit. */
static const struct {
	uint8_t opcode;
	const char *name;
} operations[] = {
	{ IORING_OP_NOP, "NOP" },         { IORING_OP_POLL_ADD, "POLL_ADD" },
	{ IORING_OP_READ, "READ" },       { IORING_OP_WRITE, "WRITE" },
	{ IORING_OP_READV, "READV" },     { IORING_OP_WRITEV, "WRITEV" },
	{ IORING_OP_RECVMSG, "RECVMSG" }, { IORING_OP_SENDMSG, "SENDMSG" },
	{ IORING_OP_RECV, "RECV" },       { IORING_OP_SEND, "SEND" },
	{ IORING_OP_ACCEPT, "ACCEPT" },   { IORING_OP_CONNECT, "CONNECT" },
	{ IORING_OP_OPENAT, "OPENAT" },   { IORING_OP_CLOSE, "CLOSE" },
	{ IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL" },
};

/* Of th_uring_missing(), uring_open() and io/uring_lent.c; the ends of these too. */
static const uint8_t registers[] = {
	IORING_REGISTER_PROBE,
	IORING_REGISTER_RING_FDS,
	IORING_UNREGISTER_RING_FDS,
	IORING_REGISTER_PBUF_RING,
	IORING_UNREGISTER_PBUF_RING,
};

const char *th_uring_missing(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	const char *missing = NULL;

	if (!probe)
		return "IORING_REGISTER_PROBE";
	for (size_t i = 0; i < COUNT(operations) && !missing; i++) {
		if (!io_uring_opcode_supported(probe, operations[i].opcode))
			missing = operations[i].name;
	}
	io_uring_free_probe(probe);
	return missing;
}

/* By the plain call: Debian 12's liburing declares functions for these two and does not export them. */
static int restrict_and_enable(struct io_uring *ring)
{
	struct io_uring_restriction rules[COUNT(operations) + COUNT(registers) + 1] = { 0 };
	unsigned n = 0;
	int res;

	for (size_t i = 0; i < COUNT(operations); i++, n++) {
		rules[n].opcode = IORING_RESTRICTION_SQE_OP;
		rules[n].sqe_op = operations[i].opcode;
	}
	for (size_t i = 0; i < COUNT(registers); i++, n++) {
		rules[n].opcode = IORING_RESTRICTION_REGISTER_OP;
		rules[n].register_op = registers[i];
	}
	rules[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	rules[n++].sqe_flags = IOSQE_BUFFER_SELECT;
	res = io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_RESTRICTIONS, rules, n);
	return res < 0 ? res : io_uring_register((unsigned)ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
}

static int setup_one(struct io_uring *ring, unsigned entries, unsigned flags, int share_fd)
{
	struct io_uring_params params = { 0 };

	params.flags = flags | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE;
	params.cq_entries = entries * TH_URING_CQ_FACTOR;
	if (share_fd >= 0) {
		params.flags |= IORING_SETUP_ATTACH_WQ;
		params.wq_fd = (uint32_t)share_fd;
	}
	return io_uring_queue_init_params(entries, ring, &params);
}

static int setup_best(struct io_uring *ring, unsigned entries, unsigned flags, int share_fd)
{
	int res = -EINVAL;

	for (size_t i = 0; i < COUNT(setups) && res == -EINVAL; i++)
		res = setup_one(ring, entries, setups[i] | flags, share_fd);
	/* Rings count against RLIMIT_MEMLOCK for users without privileges. */
	if (res == -ENOMEM && entries > TH_URING_SQ_ENTRIES_MIN)
		return setup_best(ring, entries / 2, flags, share_fd);
	return res;
}

int th_uring_setup(struct io_uring *ring, unsigned entries, bool restricted, int share_fd)
{
	int res = setup_best(ring, entries, restricted ? IORING_SETUP_R_DISABLED : 0, share_fd);

	if (res < 0)
		return res;
	if (!(ring->features & IORING_FEAT_NODROP) || !(ring->features & IORING_FEAT_EXT_ARG)) {
		io_uring_queue_exit(ring);
		return -EOPNOTSUPP;
	}
	res = restricted ? restrict_and_enable(ring) : 0;
	if (res < 0)
		io_uring_queue_exit(ring);
	return res;
}

const char *th_uring_setup_name(const struct io_uring *ring)
{
	if (ring->flags & IORING_SETUP_DEFER_TASKRUN)
		return "SINGLE_ISSUER|DEFER_TASKRUN";
	if (ring->flags & IORING_SETUP_SINGLE_ISSUER)
		return "SINGLE_ISSUER|COOP_TASKRUN";
	if (ring->flags & IORING_SETUP_COOP_TASKRUN)
		return "COOP_TASKRUN";
	return "no setup flags";
}
