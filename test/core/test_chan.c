/* test/core/test_chan.c: channels (Q1-Q5). */
#include <pthread.h>
#include <sched.h>
#include "test/support/child.h"
#include "test/support/rules.h"

static thrum_chan *open_chan(thrum_chan *c, size_t capacity)
{
	TH_CHECK_EQ(thrum_chan_init(c, sizeof(int), capacity), 0);
	return c;
}

/* One send or receive, as a child. */
struct end {
	thrum_chan *chan;
	int item, code;
	long long at_ms;
	int *order; /* counts ends, may be NULL */
	int rank;
};
static int end(struct end *e, int code)
{
	e->code = code;
	e->at_ms = th_now_ms();
	if (e->order)
		e->rank = __atomic_add_fetch(e->order, 1, __ATOMIC_RELAXED);
	return 0;
}
static int send_one(struct end *e) { return end(e, thrum_chan_send(e->chan, &e->item)); }
static int recv_one(struct end *e) { return end(e, thrum_chan_recv(e->chan, &e->item)); }
THRUM_FX(send_one, struct end);
THRUM_FX(recv_one, struct end);

/* Start a child and let it come as far as it can: on the jump clock a sleep ends when nothing else can run. */
static void start(thrum_scope *s, thrum_fx fx)
{
	TH_CHECK_EQ(thrum_go(s, fx), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
}

static int take(thrum_chan *c)
{
	int item;

	TH_CHECK_EQ(thrum_chan_recv(c, &item), 0);
	return item;
}

static void put(thrum_chan *c, int item)
{
	TH_CHECK_EQ(thrum_chan_send(c, &item), 0);
}

/* --- Q1: capacity --- */

TH_FIBER_TEST(JUMP, chan, rendezvous_waits_for_the_receiver_Q1)
{
	thrum_chan c;
	struct end sender = { .chan = open_chan(&c, 0), .item = 7 };
	long long start_ms = th_now_ms();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, send_one_fx(&sender)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	TH_CHECK_EQ(take(&c), 7);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(sender.code, 0);
	TH_CHECK_EQ(sender.at_ms - start_ms, 10);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, bounded_blocks_when_full_and_is_first_in_first_out_Q1)
{
	thrum_chan c;
	struct end third = { .chan = open_chan(&c, 2), .item = 3 };
	long long start_ms = th_now_ms();
	thrum_scope s;

	put(&c, 1);
	put(&c, 2);
	TH_CHECK_EQ(th_now_ms() - start_ms, 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, send_one_fx(&third)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	for (int i = 1; i <= 3; i++)
		TH_CHECK_EQ(take(&c), i);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(third.at_ms - start_ms, 10);
	thrum_chan_fini(&c);
	return 0;
}

TH_TEST(chan, items_of_nothing_and_of_too_much_are_refused_Q1)
{
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, 0, 1), -EINVAL);
	TH_CHECK_EQ(thrum_chan_init(&c, 2, SIZE_MAX / 2 + 1), -EINVAL);
	if (!TH_SANITIZED) /* their allocators end the process instead */
		TH_CHECK_EQ(thrum_chan_init(&c, SIZE_MAX / 2, 1), -ENOMEM);
}

struct wide {
	char bytes[100];
};

TH_FIBER_TEST(JUMP, chan, items_are_copied_whole_Q1)
{
	struct wide in, out;
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof in, 3), 0);
	for (int round = 0; round < 10; round++) { /* the ring wraps round */
		for (size_t i = 0; i < sizeof in.bytes; i++)
			in.bytes[i] = (char)(round + (int)i);
		TH_CHECK_EQ(thrum_chan_send(&c, &in), 0);
		in.bytes[0] = 0;
		TH_CHECK_EQ(thrum_chan_recv(&c, &out), 0);
		for (size_t i = 0; i < sizeof out.bytes; i++)
			TH_CHECK_EQ(out.bytes[i], (char)(round + (int)i));
	}
	thrum_chan_fini(&c);
	return 0;
}

/* --- Q2: order --- */

enum { WAITERS = 8 };

TH_FIBER_TEST(JUMP, chan, receivers_are_served_in_order_Q2)
{
	struct end r[WAITERS] = { 0 };
	thrum_scope s;
	thrum_chan c;

	open_chan(&c, 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		r[i].chan = &c;
		start(&s, recv_one_fx(&r[i]));
	}
	for (int i = 0; i < WAITERS; i++)
		put(&c, i);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < WAITERS; i++)
		TH_CHECK_EQ(r[i].item, i);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, senders_are_served_in_order_Q2)
{
	struct end w[WAITERS] = { 0 };
	thrum_scope s;
	thrum_chan c;

	open_chan(&c, 2);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		w[i] = (struct end){ .chan = &c, .item = i };
		start(&s, send_one_fx(&w[i]));
	}
	for (int i = 0; i < WAITERS; i++)
		TH_CHECK_EQ(take(&c), i);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, nobody_overtakes_a_waiting_receiver_Q2)
{
	thrum_chan c;
	struct end waiting = { .chan = open_chan(&c, 4) };
	int item = 5, mine = 0;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, recv_one_fx(&waiting));
	TH_CHECK_EQ(thrum_chan_try_send(&c, &item), 0);
	TH_CHECK_EQ(thrum_chan_try_recv(&c, &mine), -EAGAIN); /* handed over already */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(waiting.item, 5);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, nobody_overtakes_a_waiting_sender_Q2)
{
	thrum_chan c;
	struct end waiting = { .chan = open_chan(&c, 1), .item = 2 };
	int barger = 3;
	thrum_scope s;

	put(&c, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, send_one_fx(&waiting));
	TH_CHECK_EQ(take(&c), 1);
	TH_CHECK_EQ(thrum_chan_try_send(&c, &barger), -EAGAIN); /* its place is taken */
	TH_CHECK_EQ(take(&c), 2);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	thrum_chan_fini(&c);
	return 0;
}

/* --- Q3: closing --- */

TH_FIBER_TEST(JUMP, chan, close_tells_blocked_senders_and_takes_nothing_from_them_Q3) /* D17 */
{
	thrum_chan c;
	struct end a = { .chan = open_chan(&c, 1), .item = 2 }, b = { .chan = &c, .item = 3 };
	thrum_scope s;
	int item = 9;

	put(&c, 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, send_one_fx(&a));
	start(&s, send_one_fx(&b));
	TH_CHECK_EQ(thrum_chan_close(&c), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(a.code, THRUM_ECLOSED);
	TH_CHECK_EQ(b.code, THRUM_ECLOSED);
	TH_CHECK_EQ(take(&c), 1); /* what was in it is drained, and no more */
	TH_CHECK_EQ(thrum_chan_recv(&c, &item), THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_chan_try_recv(&c, &item), THRUM_ECLOSED);
	TH_CHECK_EQ(item, 9);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, close_wakes_all_blocked_receivers_Q3) /* D18 */
{
	struct end r[WAITERS] = { 0 };
	thrum_scope s;
	thrum_chan c;

	open_chan(&c, 3);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		r[i] = (struct end){ .chan = &c, .item = -1 };
		start(&s, recv_one_fx(&r[i]));
	}
	TH_CHECK_EQ(thrum_chan_close(&c), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	for (int i = 0; i < WAITERS; i++) {
		TH_CHECK_EQ(r[i].code, THRUM_ECLOSED);
		TH_CHECK_EQ(r[i].item, -1);
	}
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, closed_channel_takes_nothing_Q3)
{
	int item = 1;
	thrum_chan c;

	open_chan(&c, 3);
	TH_CHECK_EQ(thrum_chan_close(&c), 0);
	TH_CHECK_EQ(thrum_chan_close(&c), THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_chan_send(&c, &item), THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_chan_try_send(&c, &item), THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_chan_recv(&c, &item), THRUM_ECLOSED);
	thrum_chan_fini(&c);
	return 0;
}

/* --- Q4: cancelling --- */

static int recv_into(void *arg) { return thrum_chan_recv(((struct end *)arg)->chan, &((struct end *)arg)->item); }
static int send_from(void *arg) { return thrum_chan_send(((struct end *)arg)->chan, &((struct end *)arg)->item); }

TH_FIBER_TEST(JUMP, chan, cancelled_receive_leaves_the_item_Q4)
{
	thrum_chan c;
	struct end e = { .chan = open_chan(&c, 0), .item = -1 };
	struct end sender = { .chan = &c, .item = 5 };
	thrum_scope s;

	TH_CHECK_EQ(thrum_timeout((thrum_fx){ recv_into, &e }, thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(e.item, -1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, send_one_fx(&sender));
	TH_CHECK_EQ(sender.at_ms, 0); /* the receiver that gave up does not take it */
	TH_CHECK_EQ(take(&c), 5);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, cancelled_send_has_not_sent_Q4)
{
	thrum_chan c;
	struct end e = { .chan = open_chan(&c, 1), .item = 2 };
	int item = 9;

	put(&c, 1);
	TH_CHECK_EQ(thrum_timeout((thrum_fx){ send_from, &e }, thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(take(&c), 1);
	TH_CHECK_EQ(thrum_chan_try_recv(&c, &item), -EAGAIN);
	put(&c, 3); /* and the place is free */
	TH_CHECK_EQ(take(&c), 3);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, in_a_cancelled_scope_nothing_moves_Q4)
{
	thrum_chan c;
	struct end e = { .chan = open_chan(&c, 2), .item = 2 };
	int item = 9;

	put(&c, 1);
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ recv_into, &e }), -ECANCELED);
	TH_CHECK_EQ(e.item, 2);
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ send_from, &e }), -ECANCELED);
	TH_CHECK_EQ(take(&c), 1);
	TH_CHECK_EQ(thrum_chan_try_recv(&c, &item), -EAGAIN);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, cancelled_waiter_is_passed_over_Q4)
{
	thrum_chan c;
	struct end first = { .chan = open_chan(&c, 0) }, second = { .chan = &c };
	thrum_task t;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, recv_one_fx(&first)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	start(&s, recv_one_fx(&second));
	thrum_task_cancel(&t);
	put(&c, 5);
	TH_CHECK_EQ(thrum_scope_close(&s), 0); /* its child ended with 0, whatever it met */
	TH_CHECK_EQ(first.code, -ECANCELED);
	TH_CHECK_EQ(second.item, 5);
	thrum_chan_fini(&c);
	return 0;
}

/* Senders and receivers that give up at the very moment when the others come: every item that was sent is received once. */
enum { ROUNDS = 400, GIVE_UP = 4 };

struct exchange {
	thrum_chan chan;
	th_counter sent, received, sum;
};
static int impatient_sender(struct exchange *x)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct end e = { .chan = &x->chan, .item = i };
		int code = thrum_timeout((thrum_fx){ send_from, &e }, thrum_ms(1 + i % GIVE_UP));
		if (code == 0) {
			th_count(&x->sent, 1);
			th_count(&x->sum, i);
		} else {
			TH_CHECK_EQ(code, -ETIMEDOUT);
		}
		TH_CHECK_EQ(thrum_sleep(thrum_ms(i % 3)), 0);
	}
	return 0;
}
static int impatient_receiver(struct exchange *x)
{
	for (int i = 0; i < ROUNDS; i++) {
		struct end e = { .chan = &x->chan };
		int code = thrum_timeout((thrum_fx){ recv_into, &e }, thrum_ms(1 + i % (GIVE_UP + 1)));
		if (code == 0) {
			th_count(&x->received, 1);
			th_count(&x->sum, -e.item);
		} else {
			TH_CHECK_EQ(code, -ETIMEDOUT);
		}
		TH_CHECK_EQ(thrum_sleep(thrum_ms(i % 2)), 0);
	}
	return 0;
}
THRUM_FX(impatient_sender, struct exchange);
THRUM_FX(impatient_receiver, struct exchange);

static int exchange_impatiently(size_t capacity)
{
	struct exchange x = { .sent = { 0 } };
	int item;

	open_chan(&x.chan, capacity);
	TH_CHECK_EQ(thrum_zip_par(impatient_sender_fx(&x), impatient_receiver_fx(&x), impatient_sender_fx(&x),
				  impatient_receiver_fx(&x)), 0);
	while (thrum_chan_try_recv(&x.chan, &item) == 0) {
		th_count(&x.received, 1);
		th_count(&x.sum, -item);
	}
	TH_CHECK(th_counted(&x.sent) > 0 && th_counted(&x.sent) < 2 * ROUNDS); /* some made it, some gave up */
	TH_CHECK_EQ(th_counted(&x.received), th_counted(&x.sent));
	TH_CHECK_EQ(th_counted(&x.sum), 0);
	thrum_chan_fini(&x.chan);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, giving_up_at_the_same_moment_loses_nothing_rendezvous_Q4)
{
	return exchange_impatiently(0);
}

TH_FIBER_TEST(JUMP, chan, giving_up_at_the_same_moment_loses_nothing_bounded_Q4)
{
	return exchange_impatiently(1);
}

/* --- Q5: destroying; plain threads --- */

TH_TEST(chan, fini_forgets_what_is_left_Q5)
{
	thrum_chan c;

	open_chan(&c, 3);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_chan_try_send(&c, &i), 0);
	thrum_chan_fini(&c); /* the leak checker sees the rest */
	open_chan(&c, 1);
	thrum_chan_fini(&c);
}

TH_TEST(chan, plain_thread_may_try_X1)
{
	int item = 1;
	thrum_chan c;

	open_chan(&c, 1);
	TH_CHECK_EQ(thrum_chan_try_recv(&c, &item), -EAGAIN);
	TH_CHECK_EQ(thrum_chan_try_send(&c, &item), 0);
	TH_CHECK_EQ(thrum_chan_try_send(&c, &item), -EAGAIN);
	item = 0;
	TH_CHECK_EQ(thrum_chan_try_recv(&c, &item), 0);
	TH_CHECK_EQ(item, 1);
	TH_CHECK_EQ(thrum_chan_close(&c), 0);
	thrum_chan_fini(&c);
}

TH_TEST(chan, plain_thread_wakes_a_parked_receiver_and_a_parked_sender_X1)
{
	thrum_chan c;
	struct end r = { .chan = open_chan(&c, 0) }, w = { .chan = &c, .item = 6 };
	int item = 5;
	thrum_handle h;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, recv_one_fx(&r)), 0);
	while (thrum_chan_try_send(&c, &item) == -EAGAIN)
		sched_yield();
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(r.item, 5);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, send_one_fx(&w)), 0);
	while (thrum_chan_try_recv(&c, &item) == -EAGAIN)
		sched_yield();
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(item, 6);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	thrum_chan_fini(&c);
}

/* --- many at once --- */

enum { PRODUCERS = 4, ITEMS = 2000 };

struct traffic {
	thrum_chan chan;
	th_counter received, producers_left;
	int next; /* of one producer and one consumer: the order */
};
struct producer {
	struct traffic *traffic;
	int first;
};
static int produce(struct producer *p)
{
	for (int i = 0; i < ITEMS; i++)
		put(&p->traffic->chan, p->first + i);
	if (th_count(&p->traffic->producers_left, -1) == 0)
		TH_CHECK_EQ(thrum_chan_close(&p->traffic->chan), 0);
	return 0;
}
static int consume(struct traffic *t)
{
	int last[PRODUCERS], item, code;

	for (int i = 0; i < PRODUCERS; i++)
		last[i] = -1;
	while ((code = thrum_chan_recv(&t->chan, &item)) == 0) {
		TH_CHECK(item % ITEMS > last[item / ITEMS]); /* of one producer in its order */
		last[item / ITEMS] = item % ITEMS;
		th_count(&t->received, 1);
	}
	return code == THRUM_ECLOSED ? 0 : code;
}
THRUM_FX(produce, struct producer);
THRUM_FX(consume, struct traffic);

static int pass_items(size_t capacity)
{
	struct traffic t = { .producers_left = { PRODUCERS } };
	struct producer p[PRODUCERS];
	thrum_fx fx[2 * PRODUCERS];

	open_chan(&t.chan, capacity);
	for (int i = 0; i < PRODUCERS; i++) {
		p[i] = (struct producer){ &t, i * ITEMS };
		fx[2 * i] = produce_fx(&p[i]);
		fx[2 * i + 1] = consume_fx(&t);
	}
	TH_CHECK_EQ(thrum_zip_par_n(fx, 2 * PRODUCERS), 0);
	TH_CHECK_EQ(th_counted(&t.received), PRODUCERS * ITEMS);
	thrum_chan_fini(&t.chan);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, many_producers_and_consumers_rendezvous_Q2) { return pass_items(0); }
TH_FIBER_TEST(JUMP, chan, many_producers_and_consumers_bounded_Q2) { return pass_items(3); }
