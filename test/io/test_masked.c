/* Kernels that lack something, played by masking what this one says (hazard 56): each feature, each operation, each setup flag
 * that the ring needs or would like, one at a time. The functions of liburing that are defined here are taken for those of the
 * library. */
#include <dlfcn.h>
#include <liburing.h>
#include "io/backend.h"
#include "io/uring.h"
#include "io_test.h"

static unsigned without_features, without_flags;
static int without_op = -1, no_probe;
static bool no_ring_fd, no_buf_ring;

/* The library's own. The address goes through memory: C has no cast from an object pointer to a function. */
static void find(const char *name, void *ret_function)
{
	void *f = dlsym(RTLD_NEXT, name);

	TH_CHECK(f);
	memcpy(ret_function, &f, sizeof f);
}

int io_uring_queue_init_params(unsigned entries, struct io_uring *ring, struct io_uring_params *params)
{
	int (*init)(unsigned, struct io_uring *, struct io_uring_params *);
	int res = -EINVAL;

	find("io_uring_queue_init_params", &init);
	if (!(params->flags & without_flags))
		res = init(entries, ring, params);
	ring->features &= ~without_features;
	return res;
}

struct io_uring_probe *io_uring_get_probe_ring(struct io_uring *ring)
{
	struct io_uring_probe * (*get)(struct io_uring *);
	struct io_uring_probe *probe;

	find("io_uring_get_probe_ring", &get);
	probe = no_probe ? NULL : get(ring);
	for (int i = 0; probe && i < probe->ops_len; i++)
		if (probe->ops[i].op == without_op)
			probe->ops[i].flags = 0;
	return probe;
}

int io_uring_register_ring_fd(struct io_uring *ring)
{
	int (*reg)(struct io_uring *);

	find("io_uring_register_ring_fd", &reg);
	return no_ring_fd ? -EINVAL : reg(ring);
}

int io_uring_register_buf_ring(struct io_uring *ring, struct io_uring_buf_reg *reg, unsigned flags)
{
	int (*f)(struct io_uring *, struct io_uring_buf_reg *, unsigned);

	find("io_uring_register_buf_ring", &f);
	return no_buf_ring ? -EINVAL : f(ring, reg, flags);
}

/* What is chosen, and the reason. NULL: no rings here. */
static const struct th_backend *chosen(unsigned wanted, int want, char *why, size_t size)
{
	const struct th_wish wish = { .backend = wanted };
	const struct th_backend *backend = NULL;

	TH_CHECK_EQ(unsetenv("THRUM_BACKEND"), 0);
	TH_CHECK_EQ(th_probe(&wish, &backend, why, size), want);
	return backend;
}

static bool has_ring(void)
{
	struct io_uring ring;
	int res = th_uring_setup(&ring, 8, false, -1);

	if (res == 0)
		io_uring_queue_exit(&ring);
	return res == 0;
}

TH_TEST(io_masked, a_ring_without_what_is_needed_is_epoll_and_the_reason_hazard_56)
{
	static const unsigned needed[] = { IORING_FEAT_NODROP, IORING_FEAT_EXT_ARG };
	int before = fd_count();
	char why[256];

	for (int i = 0; i < 2 && has_ring(); i++) {
		without_features = needed[i];
		TH_CHECK(chosen(THRUM_BACKEND_AUTO, 0, why, sizeof why) == &th_epoll);
		TH_CHECK(strstr(why, "NODROP and EXT_ARG are needed"));
		TH_CHECK(!chosen(THRUM_BACKEND_URING, -EOPNOTSUPP, why, sizeof why));
		without_features = 0;
	}
	TH_CHECK_EQ(fd_count(), before);
}

TH_TEST(io_masked, a_ring_without_an_operation_is_epoll_and_names_it_hazard_56)
{
	static const struct {
		int op;
		const char *name;
	} needed[] = {
		{ IORING_OP_NOP, "NOP" },         { IORING_OP_POLL_ADD, "POLL_ADD" }, { IORING_OP_READ, "READ" },
		{ IORING_OP_WRITE, "WRITE" },     { IORING_OP_READV, "READV" },       { IORING_OP_WRITEV, "WRITEV" },
		{ IORING_OP_RECVMSG, "RECVMSG" }, { IORING_OP_SENDMSG, "SENDMSG" },   { IORING_OP_RECV, "RECV" },
		{ IORING_OP_SEND, "SEND" },       { IORING_OP_ACCEPT, "ACCEPT" },     { IORING_OP_CONNECT, "CONNECT" },
		{ IORING_OP_OPENAT, "OPENAT" },   { IORING_OP_CLOSE, "CLOSE" },
		{ IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL" },
	};
	int before = fd_count();
	char why[256], text[64];

	for (size_t i = 0; i < sizeof needed / sizeof *needed && has_ring(); i++) {
		without_op = needed[i].op;
		snprintf(text, sizeof text, ", io_uring without %s)", needed[i].name);
		TH_CHECK(chosen(THRUM_BACKEND_AUTO, 0, why, sizeof why) == &th_epoll);
		TH_CHECK(strstr(why, text));
		TH_CHECK(!chosen(THRUM_BACKEND_URING, -ENOSYS, why, sizeof why));
	}
	without_op = IORING_OP_STATX; /* not needed */
	if (has_ring())
		TH_CHECK(chosen(THRUM_BACKEND_AUTO, 0, why, sizeof why) == &th_uring);
	without_op = -1;
	no_probe = 1;
	if (has_ring())
		TH_CHECK(chosen(THRUM_BACKEND_AUTO, 0, why, sizeof why) == &th_epoll);
	no_probe = 0;
	TH_CHECK_EQ(fd_count(), before);
}

/* Something in flight, a cancel, a lent buffer, a close: with what is left the ring does it all. */
static int use(void *text)
{
	struct recv_one r = { .n = 1, .buf = (char[1]){ 0 } };
	char line[256];
	thrum_lent lent;
	thrum_scope s;
	int fds[2];
	uint64_t ops = ops_so_far();

	snprintf(line, sizeof line, "%s", thrum_rt_describe(NULL));
	TH_CHECK(strstr(line, text));
	open_pair(fds);
	r.fd = fds[0];
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, recv_one_fx(&r)), 0);
	until_ops(ops, 1);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(r.got, -ECANCELED);
	TH_CHECK_EQ(thrum_send(fds[1], "x", 1, 0), 1);
	TH_CHECK_EQ(thrum_recv_lent(fds[0], &lent), 1);
	TH_CHECK_EQ(lent.data[0], 'x');
	thrum_lent_return(&lent);
	TH_CHECK_EQ(thrum_close(fds[0]), 0);
	TH_CHECK_EQ(thrum_close(fds[1]), 0);
	return 0;
}

TH_TEST(io_masked, a_ring_without_what_is_nice_to_have_is_a_ring_all_the_same_hazard_56)
{
	static const struct {
		unsigned flags;
		const char *says;
	} without[] = {
		{ IORING_SETUP_DEFER_TASKRUN, "SINGLE_ISSUER|COOP_TASKRUN)" },
		{ IORING_SETUP_SINGLE_ISSUER, ", COOP_TASKRUN)" },
		{ IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_COOP_TASKRUN, "no setup flags)" },
	};
	const thrum_opts opts = { .size = sizeof opts, .backend = THRUM_BACKEND_URING };
	int before = fd_count();

	if (!has_ring())
		return;
	for (size_t i = 0; i < sizeof without / sizeof *without; i++) {
		without_flags = without[i].flags;
		TH_CHECK_EQ(thrum_run(&opts, (thrum_fx){ use, (char *)(uintptr_t)without[i].says }), 0);
	}
	without_flags = 0;
	no_ring_fd = true;
	TH_CHECK_EQ(thrum_run(&opts, (thrum_fx){ use, "io_uring (" }), 0);
	no_ring_fd = false;
	no_buf_ring = true;
	TH_CHECK_EQ(thrum_run(&opts, (thrum_fx){ use, "io_uring (" }), 0);
	no_buf_ring = false;
	TH_CHECK_EQ(fd_count(), before);
}
