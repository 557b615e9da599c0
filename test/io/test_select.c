/* test/io/test_select.c: descriptors among the cases of a select (Q4, G5, X1). */
#include "io_test.h"

struct setting {
	int fds[2];
	thrum_chan chan;
	int item, chosen, code;
};

static struct setting open_setting(void)
{
	struct setting s = { .item = 7 };

	open_pipe(s.fds, 0);
	TH_CHECK_EQ(thrum_chan_init(&s.chan, sizeof(int), 1), 0);
	return s;
}

static void close_setting(struct setting *s)
{
	close_both(s->fds);
	thrum_chan_fini(&s->chan);
}

static int select_two(struct setting *s)
{
	thrum_case cases[] = { thrum_case_recv(&s->chan, &s->item), thrum_case_fd(s->fds[0], POLLIN) };

	s->chosen = thrum_select(cases, 2);
	if (s->chosen >= 0)
		s->code = cases[s->chosen].code;
	TH_CHECK_EQ(cases[1].kind, THRUM_CASE_FD); /* as it was: may be used again */
	return s->chosen < 0 ? s->chosen : 0;
}
THRUM_FX(select_two, struct setting);

static int start_select(thrum_scope *scope, thrum_task *t, struct setting *s)
{
	uint64_t ops = ops_so_far();

	TH_CHECK_EQ(thrum_scope_open(scope), 0);
	TH_CHECK_EQ(thrum_spawn_with(scope, t, select_two_fx(s), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	until_ops(ops, 1); /* it waits for the pipe */
	return 0;
}

static int readiness(void *unused)
{
	struct setting s = open_setting();
	thrum_scope scope;
	thrum_task t;

	(void)unused;
	start_select(&scope, &t, &s);
	TH_CHECK_EQ(write(s.fds[1], "x", 1), 1);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(s.chosen, 1);
	TH_CHECK(s.code & POLLIN);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	close_setting(&s);
	return 0;
}

TH_TEST(select, a_descriptor_that_gets_ready_is_chosen_Q4)
{
	run_ok((thrum_fx){ readiness, NULL });
}

static int other_case(void *unused)
{
	struct setting s = open_setting();
	thrum_scope scope;
	thrum_task t;
	int item = 3;
	char byte;

	(void)unused;
	start_select(&scope, &t, &s);
	TH_CHECK_EQ(thrum_chan_send(&s.chan, &item), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(s.chosen, 0);
	TH_CHECK_EQ(s.item, 3);
	TH_CHECK_EQ(write(s.fds[1], "x", 1), 1); /* nobody waits for it, and nobody took it */
	TH_CHECK_EQ(read(s.fds[0], &byte, 1), 1);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	close_setting(&s);
	return 0;
}

TH_TEST(select, another_case_leaves_no_operation_on_the_descriptor_G5)
{
	run_ok((thrum_fx){ other_case, NULL });
}

static int cancelled(void *unused)
{
	struct setting s = open_setting();
	thrum_scope scope;
	thrum_task t;

	(void)unused;
	start_select(&scope, &t, &s);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	TH_CHECK_EQ(s.chosen, -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	close_setting(&s);
	return 0;
}

TH_TEST(select, with_a_descriptor_is_a_cancel_point_Q4)
{
	run_ok((thrum_fx){ cancelled, NULL });
}

static int at_once(void *unused)
{
	struct setting s = open_setting();
	uint64_t ops = ops_so_far();
	int item = 5;

	(void)unused;
	TH_CHECK_EQ(thrum_chan_send(&s.chan, &item), 0);
	TH_CHECK_EQ(select_two(&s), 0);
	TH_CHECK_EQ(s.chosen, 0);
	TH_CHECK_EQ(ops_so_far(), ops); /* no look at the descriptor */
	close_setting(&s);
	return 0;
}

TH_TEST(select, what_is_ready_at_once_needs_no_operation)
{
	run_ok((thrum_fx){ at_once, NULL });
}

static int cancelled_before(void *unused)
{
	struct setting s = open_setting();
	thrum_scope scope;
	int item = 5;

	(void)unused;
	TH_CHECK_EQ(thrum_chan_send(&s.chan, &item), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	thrum_scope_cancel(&scope);
	TH_CHECK_EQ(select_two(&s), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(thrum_chan_try_recv(&s.chan, &item), 0); /* still there */
	close_setting(&s);
	return 0;
}

TH_TEST(select, cancelled_before_takes_nothing_Q4)
{
	run_ok((thrum_fx){ cancelled_before, NULL });
}

static int refused(void *unused)
{
	thrum_case bad = thrum_case_fd(-1, POLLIN);

	(void)unused;
	TH_CHECK_EQ(thrum_select(&bad, 1), 0);
	TH_CHECK_EQ(bad.code, -EBADF);
	TH_CHECK_EQ(thrum_try_select(&bad, 1), -EINVAL);
	return 0;
}

TH_TEST(select, a_refused_descriptor_is_ready_with_its_code)
{
	run_ok((thrum_fx){ refused, NULL });
}

TH_TEST(select, with_a_descriptor_on_a_plain_thread_is_refused_X1)
{
	thrum_case c = thrum_case_fd(0, POLLIN);

	TH_CHECK_EQ(thrum_select(&c, 1), THRUM_ENOTFIBER);
}
