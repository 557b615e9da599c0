/* A ring is its worker's (hazard 49): the kernel refuses other threads, and that ends the program with a message rather than
 * going on without what was to be submitted. And its completions come only to who enters, so a worker that never sleeps has to. */
#include <pthread.h>
#include "io/backend.h"
#include "io/uring.h"
#include "io_test.h"
#include "test/support/child.h"

static void *poll_from_here(void *io)
{
	th_uring.poll(io);
	return NULL;
}

/* In a child. */
static void poll_from_another_thread(void *unused)
{
	th_atomic_u64 overflows;
	const struct th_io_opts opts = { .x_overflows = &overflows };
	struct th_io *io = NULL;
	pthread_t thread;

	(void)unused;
	th_init(&overflows, 0);
	TH_CHECK_EQ(th_uring.open(&io, &opts), 0);
	TH_CHECK_EQ(pthread_create(&thread, NULL, poll_from_here, io), 0);
	TH_CHECK_EQ(pthread_join(thread, NULL), 0);
}

static bool has_single_issuer(void)
{
	struct io_uring ring;
	bool yes;

	if (th_uring_setup(&ring, 8, false, -1) < 0)
		return false;
	yes = ring.flags & IORING_SETUP_SINGLE_ISSUER;
	io_uring_queue_exit(&ring);
	return yes;
}

TH_TEST(io_owner, another_thread_at_a_ring_ends_the_program_hazard_49)
{
	struct th_said said;
	int status;

	if (!has_single_issuer())
		return;
	status = th_child(poll_from_another_thread, NULL, &said);
	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	TH_CHECK(strstr(said.text, "io_uring_enter: "));
}

enum { TURNS_MAX = 1000000 };

struct byte {
	int fd;
	ssize_t got;
};

static int read_byte(struct byte *b)
{
	char c;

	__atomic_store_n(&b->got, thrum_read(b->fd, &c, 1), __ATOMIC_RELEASE);
	return 0;
}
THRUM_FX(read_byte, struct byte);

/* Its fiber yields all the time, and so does this one: the worker has always something to run. */
static int busy(void *unused)
{
	struct byte b = { .got = 0 };
	int fds[2];
	thrum_scope s;
	uint64_t ops = ops_so_far();

	(void)unused;
	open_pipe(fds, 0);
	b.fd = fds[0];
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, read_byte_fx(&b)), 0);
	until_ops(ops, 1);
	let_backend_in(); /* so it waits in the kernel */
	TH_CHECK_EQ(write(fds[1], "x", 1), 1);
	for (int turns = 0; __atomic_load_n(&b.got, __ATOMIC_ACQUIRE) == 0; turns++) {
		TH_CHECK_EQ(thrum_yield(), 0);
		TH_CHECK(turns < TURNS_MAX);
	}
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(b.got, 1);
	close_both(fds);
	return 0;
}
THRUM_FX(busy, void);
TH_TEST(io_owner, a_worker_that_never_sleeps_gets_its_completions_hazard_49)
{
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), busy_fx(NULL)), 0);
}
