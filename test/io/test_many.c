/* More operations at once than the ring has room for: none is dropped, none ends twice. */
#include "io_test.h"

#ifdef __SANITIZE_THREAD__
enum { WAITERS = 2000 }; /* gcc's ThreadSanitizer takes a millisecond per fiber */
#else
enum { WAITERS = 6000 };
#endif

static int all_at_once(void *unused)
{
	struct poll_one *a = calloc(WAITERS, sizeof(*a));
	int fds[2];
	thrum_scope s;
	uint64_t ops = ops_so_far();

	(void)unused;
	TH_CHECK(a);
	open_pipe(fds, 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		a[i] = (struct poll_one){ .fd = fds[0], .want = POLLIN };
		TH_CHECK_EQ(thrum_go(&s, poll_one_fx(&a[i])), 0);
	}
	until_ops(ops, WAITERS);
	TH_CHECK_EQ(thrum_write(fds[1], "x", 1), 1);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < WAITERS; i++)
		TH_CHECK_EQ(a[i].got, POLLIN);
	TH_CHECK_EQ(ops_so_far() - ops, WAITERS + 1);
	close_both(fds);
	free(a);
	return 0;
}
THRUM_FX(all_at_once, void);
TH_TEST(io_many, thousands_of_polls_at_once_all_end) { run_ok(all_at_once_fx(NULL)); }

static int all_cancelled(void *unused)
{
	struct poll_one *a = calloc(WAITERS, sizeof(*a));
	int fds[2];
	thrum_scope s;
	uint64_t ops = ops_so_far();

	(void)unused;
	TH_CHECK(a);
	open_pipe(fds, 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		a[i] = (struct poll_one){ .fd = fds[0], .want = POLLIN };
		TH_CHECK_EQ(thrum_go(&s, poll_one_fx(&a[i])), 0);
	}
	until_ops(ops, WAITERS);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < WAITERS; i++)
		TH_CHECK_EQ(a[i].got, -ECANCELED);
	close_both(fds);
	free(a);
	return 0;
}
THRUM_FX(all_cancelled, void);
TH_TEST(io_many, thousands_of_polls_cancelled_at_once_all_end) { run_ok(all_cancelled_fx(NULL)); }

static int all_closed(void *unused)
{
	struct poll_one *a = calloc(WAITERS, sizeof(*a));
	int fds[2];
	thrum_scope s;
	uint64_t ops = ops_so_far();

	(void)unused;
	TH_CHECK(a);
	open_pipe(fds, 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		a[i] = (struct poll_one){ .fd = fds[0], .want = POLLIN };
		TH_CHECK_EQ(thrum_go(&s, poll_one_fx(&a[i])), 0);
	}
	until_ops(ops, WAITERS);
	TH_CHECK_EQ(thrum_close(fds[0]), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < WAITERS; i++)
		TH_CHECK_EQ(a[i].got, -EBADF);
	TH_CHECK_EQ(close(fds[1]), 0);
	free(a);
	return 0;
}
THRUM_FX(all_closed, void);
TH_TEST(io_many, a_close_ends_thousands_of_polls) { run_ok(all_closed_fx(NULL)); }
