/* test/core/test_select.c: waiting for one of several (Q2, Q3, Q4, Q12, X1). */
#include <pthread.h>
#include "test/support/rules.h"

static thrum_chan *open_chan(thrum_chan *c, size_t capacity)
{
	TH_CHECK_EQ(thrum_chan_init(c, sizeof(int), capacity), 0);
	return c;
}

static void put(thrum_chan *c, int item) { TH_CHECK_EQ(thrum_chan_send(c, &item), 0); }

static int take(thrum_chan *c)
{
	int item;

	TH_CHECK_EQ(thrum_chan_recv(c, &item), 0);
	return item;
}

/* A receive from either of two channels, as a child. */
struct either {
	thrum_chan *a, *b;
	int index, item, code;
	long long at_ms;
};
static int recv_either(struct either *e)
{
	thrum_case cases[] = { thrum_case_recv(e->a, &e->item), thrum_case_recv(e->b, &e->item) };

	e->index = thrum_select(cases, 2);
	if (e->index >= 0)
		e->code = cases[e->index].code;
	e->at_ms = th_now_ms();
	return e->index < 0 ? e->index : 0;
}
THRUM_FX(recv_either, struct either);

static void start(thrum_scope *s, thrum_task *t, thrum_fx fx)
{
	TH_CHECK_EQ(thrum_spawn(s, t, fx), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
}

TH_FIBER_TEST(JUMP, select, takes_the_one_that_is_ready_Q4)
{
	thrum_chan a, b, full;
	thrum_promise p;
	int in = 7, out = 0, value;
	void *ret = NULL;
	thrum_case cases[4];

	TH_CHECK_EQ(thrum_promise_init(&p), 0);
	cases[0] = thrum_case_recv(open_chan(&a, 1), &out);
	cases[1] = thrum_case_send(open_chan(&full, 1), &in);
	cases[2] = thrum_case_await(&p, &ret);
	cases[3] = thrum_case_recv(open_chan(&b, 1), &out);
	put(&full, 1);
	TH_CHECK_EQ(thrum_try_select(cases, 4), -EAGAIN);
	put(&b, 5);
	TH_CHECK_EQ(thrum_select(cases, 4), 3);
	TH_CHECK_EQ(cases[3].code, 0);
	TH_CHECK_EQ(out, 5);
	TH_CHECK_EQ(take(&full), 1);
	TH_CHECK_EQ(thrum_try_select(cases, 4), 1);
	TH_CHECK_EQ(take(&full), 7);
	put(&full, 1);
	TH_CHECK_EQ(thrum_promise_set(&p, 9, &value), 0);
	TH_CHECK_EQ(thrum_select(cases, 4), 2);
	TH_CHECK_EQ(cases[2].code, 9);
	TH_CHECK(ret == &value);
	TH_CHECK_EQ(thrum_chan_len(&full), 1); /* and nothing else moved */
	thrum_chan_fini(&a);
	thrum_chan_fini(&b);
	thrum_chan_fini(&full);
	return 0;
}

TH_FIBER_TEST(JUMP, select, of_two_that_are_ready_one_is_done_Q4)
{
	thrum_chan a, b;
	int item = 0;
	thrum_case cases[2] = { thrum_case_recv(open_chan(&a, 1), &item), thrum_case_recv(open_chan(&b, 1), &item) };

	put(&a, 1);
	put(&b, 2);
	TH_CHECK_EQ(thrum_select(cases, 2), item == 1 ? 0 : 1);
	TH_CHECK_EQ(thrum_chan_len(&a) + thrum_chan_len(&b), 1);
	TH_CHECK_EQ(item + (thrum_chan_len(&a) ? take(&a) : take(&b)), 3);
	thrum_chan_fini(&a);
	thrum_chan_fini(&b);
	return 0;
}

TH_FIBER_TEST(JUMP, select, waits_for_the_first_and_leaves_the_others_alone_Q4)
{
	thrum_chan a, b;
	struct either e = { .a = open_chan(&a, 0), .b = open_chan(&b, 0), .index = -1 };
	long long begin = th_now_ms();
	int item = 4;
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &t, recv_either_fx(&e));
	TH_CHECK_EQ(thrum_sleep(thrum_ms(3)), 0);
	TH_CHECK_EQ(thrum_chan_try_send(&b, &item), 0);
	TH_CHECK_EQ(thrum_chan_try_send(&a, &item), -EAGAIN); /* decided: nobody waits here any more */
	TH_CHECK_EQ(thrum_chan_try_send(&b, &item), -EAGAIN);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(e.index, 1);
	TH_CHECK_EQ(e.item, 4);
	TH_CHECK_EQ(e.at_ms - begin, 4);
	thrum_chan_fini(&a);
	thrum_chan_fini(&b);
	return 0;
}

TH_FIBER_TEST(JUMP, select, stands_in_line_like_anybody_else_Q2)
{
	enum { LINE = 4 };
	thrum_chan a, b;
	struct either e[LINE];
	thrum_scope s;
	thrum_task t[LINE];

	open_chan(&a, 0);
	open_chan(&b, 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < LINE; i++) {
		e[i] = (struct either){ .a = i % 2 ? &a : &b, .b = i % 2 ? &b : &a };
		start(&s, &t[i], recv_either_fx(&e[i]));
	}
	for (int i = 0; i < LINE; i++)
		put(i < 2 ? &a : &b, i);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < LINE; i++)
		TH_CHECK_EQ(e[i].item, i);
	thrum_chan_fini(&a);
	thrum_chan_fini(&b);
	return 0;
}

TH_FIBER_TEST(JUMP, select, cancelled_did_nothing_Q4)
{
	thrum_chan a, b;
	struct either e = { .a = open_chan(&a, 1), .b = open_chan(&b, 1), .item = -1 };
	int item = 3;

	TH_CHECK_EQ(thrum_timeout(recv_either_fx(&e), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(e.index, -ECANCELED);
	put(&a, item); /* nobody is left in line to take it */
	put(&b, item);
	TH_CHECK_EQ(th_call_cancelled(recv_either_fx(&e)), -ECANCELED); /* a cancel point, though it need not wait */
	TH_CHECK_EQ(e.item, -1);
	TH_CHECK_EQ(thrum_chan_len(&a), 1);
	TH_CHECK_EQ(thrum_chan_len(&b), 1);
	thrum_chan_fini(&a);
	thrum_chan_fini(&b);
	return 0;
}

TH_FIBER_TEST(JUMP, select, closed_channel_is_ready_with_its_code_Q3)
{
	thrum_chan a, b;
	struct either e = { .a = open_chan(&a, 0), .b = open_chan(&b, 0) };
	int item = 1;
	thrum_case send = thrum_case_send(&b, &item);
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, &t, recv_either_fx(&e)); /* one that waits */
	TH_CHECK_EQ(thrum_chan_close(&b), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(e.index, 1);
	TH_CHECK_EQ(e.code, THRUM_ECLOSED);
	TH_CHECK_EQ(recv_either(&e), 0);   /* and one that comes later */
	TH_CHECK_EQ(e.index, 1);
	TH_CHECK_EQ(e.code, THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_select(&send, 1), 0);
	TH_CHECK_EQ(send.code, THRUM_ECLOSED);
	thrum_chan_fini(&a);
	thrum_chan_fini(&b);
	return 0;
}

static int select_none(void *n)
{
	thrum_case cases[2];

	cases[0].kind = cases[1].kind = THRUM_CASE_NONE;
	return thrum_select(cases, *(size_t *)n);
}

TH_FIBER_TEST(JUMP, select, without_a_case_waits_for_a_cancel_Q4)
{
	size_t n;

	for (n = 0; n <= 2; n += 2)
		TH_CHECK_EQ(thrum_timeout((thrum_fx){ select_none, &n }, thrum_ms(3)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_try_select(NULL, 0), -EAGAIN);
	return 0;
}

TH_FIBER_TEST(JUMP, select, case_that_is_switched_off_is_never_chosen_Q4)
{
	thrum_chan a, b;
	int item = 0;
	thrum_case cases[2] = { thrum_case_recv(open_chan(&a, 1), &item), thrum_case_recv(open_chan(&b, 1), &item) };

	put(&a, 1);
	cases[0].kind = THRUM_CASE_NONE;
	TH_CHECK_EQ(thrum_try_select(cases, 2), -EAGAIN);
	put(&b, 2);
	TH_CHECK_EQ(thrum_select(cases, 2), 1);
	TH_CHECK_EQ(item, 2);
	cases[0].kind = THRUM_CASE_RECV;
	TH_CHECK_EQ(thrum_select(cases, 2), 0);
	TH_CHECK_EQ(item, 1);
	thrum_chan_fini(&a);
	thrum_chan_fini(&b);
	return 0;
}

TH_FIBER_TEST(JUMP, select, bad_cases_are_refused_before_anything_is_done_Q4)
{
	thrum_chan a;
	int item = 1;
	thrum_case good = thrum_case_send(open_chan(&a, 1), &item), cases[2];
	const thrum_case bad[] = {
		thrum_case_send(NULL, &item), thrum_case_send(&a, NULL), thrum_case_recv(&a, NULL),
		thrum_case_await(NULL, NULL), thrum_case_of_(99, &a, &item, &item),
	};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		cases[0] = good;
		cases[1] = bad[i];
		TH_CHECK_EQ(thrum_select(cases, 2), -EINVAL);
		TH_CHECK_EQ(thrum_try_select(cases, 2), -EINVAL);
	}
	TH_CHECK_EQ(thrum_select(NULL, 1), -EINVAL);
	TH_CHECK_EQ(thrum_chan_len(&a), 0);
	thrum_chan_fini(&a);
	return 0;
}

TH_FIBER_TEST(JUMP, select, none_is_starved_by_its_place_Q2)
{
	enum { TIMES = 400 };
	thrum_chan c[3];
	thrum_case cases[3];
	int item, times[3] = { 0 };

	for (int i = 0; i < 3; i++)
		cases[i] = thrum_case_recv(open_chan(&c[i], 1), &item);
	for (int i = 0; i < TIMES; i++) {
		int r;

		for (int j = 0; j < 3; j++) {
			r = thrum_chan_try_send(&c[j], &j);
			TH_CHECK(r == 0 || r == -EAGAIN); /* all are full now */
		}
		r = thrum_select(cases, 3);
		TH_CHECK_EQ(r, item);
		times[r]++;
	}
	for (int i = 0; i < 3; i++) {
		TH_CHECK(times[i] > TIMES / 10); /* a third each; less than a tenth happens once in 10^30 */
		thrum_chan_fini(&c[i]);
	}
	return 0;
}

/* Sends that never wait: one that makes room, one that drops. */
static void count_drop(void *item, void *arg)
{
	(void)item;
	++*(int *)arg;
}

TH_FIBER_TEST(JUMP, select, send_that_never_waits_is_always_ready_Q1)
{
	thrum_chan empty, grows, drops;
	int item = 1, dropped = 0, times[3] = { 0 };
	thrum_case cases[3];

	TH_CHECK_EQ(thrum_chan_init_with(&drops, THRUM_CHAN_OPTS(.item_bytes = sizeof item, .capacity = 2,
								 .overflow = THRUM_OVERFLOW_DROP_OLD,
								 .drop = count_drop, .drop_arg = &dropped)), 0);
	cases[0] = thrum_case_recv(open_chan(&empty, 1), &item);
	cases[1] = thrum_case_send(open_chan(&grows, THRUM_CHAN_UNBOUNDED), &item);
	cases[2] = thrum_case_send(&drops, &item);
	for (int i = 0; i < 200; i++) {
		int r = thrum_select(cases, 3);
		TH_CHECK(r == 1 || r == 2);
		times[r]++;
		TH_CHECK_EQ(cases[r].code, r == 2 && times[2] > 2 ? THRUM_CHAN_DROPPED : 0);
	}
	TH_CHECK_EQ(thrum_chan_len(&grows), times[1]);
	TH_CHECK_EQ(dropped, times[2] - 2);
	thrum_chan_fini(&empty);
	thrum_chan_fini(&grows);
	thrum_chan_fini(&drops);
	TH_CHECK_EQ(dropped, times[2]);
	return 0;
}

/* --- selects that meet --- */

enum { PLAYERS = 6, ROUNDS = 500 };

struct table {
	thrum_chan a, b;
	th_counter sent, received, sum;
};
/* Each round: send or receive, on either of two rendezvous, whatever another one wants too. */
static int play(struct table *t)
{
	for (int i = 0; i < ROUNDS; i++) {
		int in = i, out = 0, r;
		thrum_case cases[] = { thrum_case_send(&t->a, &in), thrum_case_recv(&t->a, &out),
				       thrum_case_recv(&t->b, &out), thrum_case_send(&t->b, &in) };

		r = thrum_select(cases, 4);
		if (r < 0)
			return r;
		TH_CHECK_EQ(cases[r].code, 0);
		th_count(r == 0 || r == 3 ? &t->sent : &t->received, 1);
		th_count(&t->sum, r == 0 || r == 3 ? in : -out);
	}
	return 0;
}
THRUM_FX(play, struct table);

TH_FIBER_TEST(JUMP, select, selects_that_meet_pair_up_one_to_one_Q4)
{
	struct table t = { .sum = { 0 } };
	thrum_fx fx[PLAYERS];
	thrum_zip_par_op all = { fx, PLAYERS };
	int code;

	open_chan(&t.a, 0);
	open_chan(&t.b, 0);
	for (int i = 0; i < PLAYERS; i++)
		fx[i] = play_fx(&t);
	code = thrum_timeout(thrum_zip_par_fx(&all), thrum_sec(1));
	TH_CHECK(code == 0 || code == -ETIMEDOUT); /* the last may be left without a partner */
	TH_CHECK_EQ(th_counted(&t.sent), th_counted(&t.received));
	TH_CHECK(th_counted(&t.sent) >= ROUNDS / 2);
	TH_CHECK_EQ(th_counted(&t.sum), 0);
	thrum_chan_fini(&t.a);
	thrum_chan_fini(&t.b);
	return 0;
}

TH_TEST(select, plain_thread_may_try_X1)
{
	thrum_chan a;
	int item = 4, out = 0;
	thrum_case cases[2] = { thrum_case_send(open_chan(&a, 1), &item), thrum_case_recv(&a, &out) };

	TH_CHECK_EQ(thrum_select(cases, 2), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_try_select(cases, 2), 0);
	TH_CHECK_EQ(thrum_try_select(cases, 2), 1);
	TH_CHECK_EQ(out, 4);
	thrum_chan_fini(&a);
}

/* --- the promise is gone as soon as the select knows its result --- */

struct asked {
	thrum_chan *never;
	thrum_promise *promise;
	th_counter ready;
};
static int ask(struct asked *x)
{
	int item;
	thrum_promise p;
	void *value = NULL;
	thrum_case cases[] = { thrum_case_recv(x->never, &item), thrum_case_await(&p, &value) };

	TH_CHECK_EQ(thrum_promise_init(&p), 0);
	x->promise = &p;
	th_count(&x->ready, 1);
	TH_CHECK_EQ(thrum_select(cases, 2), 1);
	TH_CHECK(value == x);
	return 0;
}
THRUM_FX(ask, struct asked);
static void *answer(void *arg)
{
	struct asked *x = arg;

	while (!th_counted(&x->ready))
		;
	TH_CHECK_EQ(thrum_promise_set(x->promise, 0, x), 0);
	return NULL;
}

TH_TEST(select, plain_thread_ends_a_select_X1)
{
	for (int round = 0; round < 30; round++) {
		thrum_chan never;
		struct asked x = { .never = open_chan(&never, 0) };
		pthread_t thread;

		TH_CHECK_EQ(pthread_create(&thread, NULL, answer, &x), 0);
		TH_CHECK_EQ(TH_RUN(REAL, ask_fx(&x)), 0);
		TH_CHECK_EQ(pthread_join(thread, NULL), 0);
		thrum_chan_fini(&never);
	}
}
