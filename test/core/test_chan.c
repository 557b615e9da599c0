/* test/core/test_chan.c: channels (Q1-Q6, G10). */
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

/* --- Q1: unbounded, and overflow --- */

/* What a channel's drop was given. */
struct dropped {
	int n, sum, last, suspend_code;
	bool suspends;
};
static void drop_int(void *item, void *arg)
{
	struct dropped *d = arg;

	d->n++;
	d->last = *(int *)item;
	d->sum += d->last;
	*(int *)item = -1; /* it is the drop's own */
	if (d->suspends)
		d->suspend_code = thrum_sleep(thrum_ms(1));
}

static thrum_chan *open_with(thrum_chan *c, size_t capacity, unsigned overflow, struct dropped *d)
{
	TH_CHECK_EQ(thrum_chan_init_with(c, THRUM_CHAN_OPTS(.item_bytes = sizeof(int), .capacity = capacity,
							    .overflow = overflow, .drop = drop_int, .drop_arg = d)), 0);
	return c;
}

TH_TEST(chan, options_that_mean_nothing_are_refused_Q1)
{
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init_with(&c, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_chan_init_with(&c, &(thrum_chan_opts){ .item_bytes = 4 }), -EINVAL); /* without a size */
	TH_CHECK_EQ(thrum_chan_init_with(&c, THRUM_CHAN_OPTS(.capacity = 4)), -EINVAL);
	TH_CHECK_EQ(thrum_chan_init_with(&c, THRUM_CHAN_OPTS(.item_bytes = 4, .capacity = 4, .overflow = 3)), -EINVAL);
	TH_CHECK_EQ(thrum_chan_init_with(&c, THRUM_CHAN_OPTS(.item_bytes = 4, .overflow = THRUM_OVERFLOW_DROP_OLD)), -EINVAL);
	for (unsigned policy = THRUM_OVERFLOW_DROP_NEW; policy <= THRUM_OVERFLOW_DROP_OLD; policy++)
		TH_CHECK_EQ(thrum_chan_init_with(&c, THRUM_CHAN_OPTS(.item_bytes = 4, .capacity = THRUM_CHAN_UNBOUNDED,
								     .overflow = policy)), -EINVAL);
}

TH_FIBER_TEST(JUMP, chan, unbounded_never_waits_and_keeps_the_order_Q1)
{
	enum { MANY = 5000 };
	thrum_chan c;
	int next = 0, sent = 0;

	open_chan(&c, THRUM_CHAN_UNBOUNDED);
	for (int round = 1; sent < MANY; round++) { /* it grows while its beginning lies anywhere in the ring */
		for (int i = 0; i < 3 * round; i++)
			put(&c, sent++);
		for (int i = 0; i < 2 * round; i++)
			TH_CHECK_EQ(take(&c), next++);
	}
	TH_CHECK_EQ(thrum_chan_len(&c), sent - next);
	while (next < sent)
		TH_CHECK_EQ(take(&c), next++);
	TH_CHECK_EQ(thrum_chan_len(&c), 0);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, unbounded_without_memory_says_so_and_keeps_what_it_has_Q1)
{
	enum { HUGE_SHIFT = 42 }; /* 16 items of 4 TiB */
	char *item;
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, SIZE_MAX / 2, THRUM_CHAN_UNBOUNDED), 0);
	item = (char *)&c; /* never read: there is no room for it */
	TH_CHECK_EQ(thrum_chan_send(&c, item), -ENOMEM);
	TH_CHECK_EQ(thrum_chan_try_send(&c, item), -ENOMEM);
	TH_CHECK_EQ(thrum_chan_send_many(&c, item, 1, NULL), -ENOMEM);
	TH_CHECK_EQ(thrum_chan_len(&c), 0);
	thrum_chan_fini(&c);
	if (TH_SANITIZED) /* their allocators end the process instead */
		return 0;
	TH_CHECK_EQ(thrum_chan_init(&c, (size_t)1 << HUGE_SHIFT, THRUM_CHAN_UNBOUNDED), 0);
	TH_CHECK_EQ(thrum_chan_send(&c, item), -ENOMEM);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, full_drops_the_new_Q1)
{
	struct dropped d = { 0 };
	thrum_chan c;

	open_with(&c, 2, THRUM_OVERFLOW_DROP_NEW, &d);
	for (int i = 1; i <= 2; i++)
		put(&c, i);
	for (int i = 3; i <= 4; i++) {
		TH_CHECK_EQ(thrum_chan_send(&c, &i), THRUM_CHAN_DROPPED);
		TH_CHECK_EQ(d.last, i);
	}
	TH_CHECK_EQ(d.n, 2);
	for (int i = 1; i <= 2; i++)
		TH_CHECK_EQ(take(&c), i);
	thrum_chan_fini(&c);
	TH_CHECK_EQ(d.n, 2);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, full_drops_the_old_Q1)
{
	struct dropped d = { 0 };
	thrum_chan c;

	open_with(&c, 2, THRUM_OVERFLOW_DROP_OLD, &d);
	for (int i = 1; i <= 2; i++)
		put(&c, i);
	for (int i = 3; i <= 7; i++) {
		TH_CHECK_EQ(thrum_chan_try_send(&c, &i), THRUM_CHAN_DROPPED);
		TH_CHECK_EQ(d.last, i - 2);
	}
	for (int i = 6; i <= 7; i++)
		TH_CHECK_EQ(take(&c), i);
	TH_CHECK_EQ(d.n, 5);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, rendezvous_drops_what_nobody_waits_for_Q1)
{
	struct dropped d = { 0 };
	thrum_chan c;
	struct end receiver = { .chan = open_with(&c, 0, THRUM_OVERFLOW_DROP_NEW, &d) };
	thrum_scope s;
	int item = 3;

	TH_CHECK_EQ(thrum_chan_send(&c, &item), THRUM_CHAN_DROPPED);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	start(&s, recv_one_fx(&receiver));
	item = 4;
	TH_CHECK_EQ(thrum_chan_send(&c, &item), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(receiver.item, 4);
	TH_CHECK_EQ(d.n, 1);
	TH_CHECK_EQ(d.last, 3);
	thrum_chan_fini(&c);
	return 0;
}

/* Larger than what a send keeps on its stack. */
struct huge {
	char bytes[1000];
};
static void drop_huge(void *item, void *arg)
{
	struct huge *h = item;

	for (size_t i = 1; i < sizeof h->bytes; i++)
		TH_CHECK_EQ(h->bytes[i], h->bytes[0]);
	*(int *)arg = *(int *)arg * 10 + h->bytes[0];
}

TH_FIBER_TEST(JUMP, chan, large_items_are_dropped_whole_Q1)
{
	for (unsigned policy = THRUM_OVERFLOW_DROP_NEW; policy <= THRUM_OVERFLOW_DROP_OLD; policy++) {
		struct huge h;
		thrum_chan c;
		int seen = 0;

		TH_CHECK_EQ(thrum_chan_init_with(&c, THRUM_CHAN_OPTS(.item_bytes = sizeof h, .capacity = 1, .overflow = policy,
								     .drop = drop_huge, .drop_arg = &seen)), 0);
		for (int i = 1; i <= 3; i++) {
			memset(&h, i, sizeof h);
			TH_CHECK_EQ(thrum_chan_send(&c, &h), i == 1 ? 0 : THRUM_CHAN_DROPPED);
		}
		thrum_chan_fini(&c);
		TH_CHECK_EQ(seen, policy == THRUM_OVERFLOW_DROP_NEW ? 231 : 123);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, chan, policy_without_a_drop_forgets_Q1)
{
	thrum_chan c;
	int item = 1;

	TH_CHECK_EQ(thrum_chan_init_with(&c, THRUM_CHAN_OPTS(.item_bytes = sizeof item, .capacity = 1,
							     .overflow = THRUM_OVERFLOW_DROP_OLD)), 0);
	TH_CHECK_EQ(thrum_chan_send(&c, &item), 0);
	item = 2;
	TH_CHECK_EQ(thrum_chan_send(&c, &item), THRUM_CHAN_DROPPED);
	TH_CHECK_EQ(take(&c), 2);
	thrum_chan_fini(&c);
	return 0;
}

/* --- Q5, G10: drop --- */

TH_TEST(chan, leftovers_go_to_the_drop_once_Q5_G10)
{
	struct dropped d = { 0 };
	thrum_chan c;
	int item;

	open_with(&c, 4, THRUM_OVERFLOW_BLOCK, &d);
	for (int i = 1; i <= 4; i++)
		TH_CHECK_EQ(thrum_chan_try_send(&c, &i), 0);
	TH_CHECK_EQ(thrum_chan_try_recv(&c, &item), 0); /* this one is the receiver's */
	item = 5;
	TH_CHECK_EQ(thrum_chan_try_send(&c, &item), 0); /* round the end of the ring */
	TH_CHECK_EQ(thrum_chan_close(&c), 0);
	TH_CHECK_EQ(d.n, 0);
	TH_CHECK_EQ(thrum_chan_try_send(&c, &item), THRUM_ECLOSED); /* this one is still the sender's */
	thrum_chan_fini(&c);
	TH_CHECK_EQ(d.n, 4);
	TH_CHECK_EQ(d.sum, 2 + 3 + 4 + 5);
	TH_CHECK_EQ(d.last, 5); /* in order */
}

static int fini_it(void *c)
{
	thrum_chan_fini(c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, drop_runs_shielded_G10)
{
	struct dropped d = { .suspends = true, .suspend_code = 1 };
	thrum_chan c;

	put(open_with(&c, 1, THRUM_OVERFLOW_BLOCK, &d), 1);
	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ fini_it, &c }), 0);
	TH_CHECK_EQ(d.n, 1);
	TH_CHECK_EQ(d.suspend_code, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, cancelled_send_drops_nothing_Q4)
{
	struct dropped d = { 0 };
	thrum_chan c;
	struct end e = { .chan = open_with(&c, 1, THRUM_OVERFLOW_BLOCK, &d), .item = 2 };

	put(&c, 1);
	TH_CHECK_EQ(thrum_timeout((thrum_fx){ send_from, &e }, thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(take(&c), 1);
	thrum_chan_fini(&c);
	TH_CHECK_EQ(d.n, 0);
	return 0;
}

/* --- Q6: many at a time --- */

enum { MOST = 200 };

struct many {
	thrum_chan *chan;
	int items[MOST];
	size_t min, n, done;
	int code;
};
static int send_many(struct many *m)
{
	m->code = thrum_chan_send_many(m->chan, m->items, m->n, &m->done);
	return m->code;
}
static int recv_many(struct many *m)
{
	m->code = thrum_chan_recv_many(m->chan, m->items, m->min, m->n, &m->done);
	return m->code;
}
THRUM_FX(send_many, struct many);
THRUM_FX(recv_many, struct many);

static void number(struct many *m)
{
	for (int i = 0; i < MOST; i++)
		m->items[i] = i;
}
static void check_numbers(const struct many *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		TH_CHECK_EQ(m->items[i], i);
}

TH_FIBER_TEST(JUMP, chan, many_go_through_whatever_the_capacity_Q6)
{
	static const size_t capacities[] = { 0, 1, 3, MOST, THRUM_CHAN_UNBOUNDED };

	for (size_t i = 0; i < sizeof capacities / sizeof capacities[0]; i++) {
		thrum_chan c;
		struct many in = { .chan = open_chan(&c, capacities[i]), .n = MOST };
		struct many out = { .chan = &c, .min = MOST, .n = MOST };

		number(&in);
		TH_CHECK_EQ(thrum_zip_par(send_many_fx(&in), recv_many_fx(&out)), 0);
		TH_CHECK_EQ(in.done, MOST);
		TH_CHECK_EQ(out.done, MOST);
		check_numbers(&out, MOST);
		thrum_chan_fini(&c);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, chan, many_cancelled_say_how_many_Q6)
{
	thrum_chan c;
	struct many in = { .chan = open_chan(&c, 5), .n = 8 }, out = { .chan = &c, .min = 9, .n = 10 };

	number(&in);
	TH_CHECK_EQ(thrum_timeout(send_many_fx(&in), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(in.code, -ECANCELED);
	TH_CHECK_EQ(in.done, 5);
	TH_CHECK_EQ(thrum_timeout(recv_many_fx(&out), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(out.code, -ECANCELED);
	TH_CHECK_EQ(out.done, 5); /* those five, and not one of the others */
	check_numbers(&out, 5);
	TH_CHECK_EQ(th_call_cancelled(send_many_fx(&in)), -ECANCELED);
	TH_CHECK_EQ(in.done, 0);
	TH_CHECK_EQ(th_call_cancelled(recv_many_fx(&out)), -ECANCELED);
	TH_CHECK_EQ(out.done, 0);
	in.n = out.n = out.min = 0; /* a cancel point even then */
	TH_CHECK_EQ(th_call_cancelled(send_many_fx(&in)), -ECANCELED);
	TH_CHECK_EQ(th_call_cancelled(recv_many_fx(&out)), -ECANCELED);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, many_on_a_closed_channel_say_how_many_Q6_Q3)
{
	thrum_chan c;
	struct many in = { .chan = open_chan(&c, 5), .n = 8 }, out = { .chan = &c, .min = 8, .n = 8 };
	thrum_scope s;

	number(&in);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, NULL, send_many_fx(&in), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(thrum_chan_close(&c), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(in.code, THRUM_ECLOSED);
	TH_CHECK_EQ(in.done, 5);
	TH_CHECK_EQ(recv_many(&out), THRUM_ECLOSED);
	TH_CHECK_EQ(out.done, 5);
	check_numbers(&out, 5);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, receive_many_takes_what_is_there_beyond_the_least_Q6)
{
	thrum_chan c;
	struct many in = { .chan = open_chan(&c, MOST), .n = 150 }, out = { .chan = &c, .min = 2, .n = MOST };
	thrum_scope s;
	int item = 0;

	number(&in);
	TH_CHECK_EQ(send_many(&in), 0);
	TH_CHECK_EQ(recv_many(&out), 0);
	TH_CHECK_EQ(out.done, 150);
	TH_CHECK_EQ(thrum_scope_open(&s), 0); /* one is not enough, so it waits for the second */
	TH_CHECK_EQ(thrum_go(&s, recv_many_fx(&out)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	put(&c, item++);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	put(&c, item++);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(out.done, 2);
	out.min = 0;
	TH_CHECK_EQ(recv_many(&out), 0); /* does not wait */
	TH_CHECK_EQ(out.done, 0);
	out.min = MOST + 1;
	TH_CHECK_EQ(recv_many(&out), -EINVAL);
	TH_CHECK_EQ(thrum_chan_send_many(&c, NULL, 1, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_chan_recv_many(&c, NULL, 0, 1, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_chan_send_many(&c, NULL, 0, NULL), 0);
	TH_CHECK_EQ(thrum_chan_recv_many(&c, NULL, 0, 0, NULL), 0);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, chan, many_under_a_dropping_policy_Q6)
{
	struct dropped d = { 0 };
	thrum_chan c;
	struct many in = { .chan = open_with(&c, 3, THRUM_OVERFLOW_DROP_OLD, &d), .n = 10 };

	number(&in);
	TH_CHECK_EQ(send_many(&in), THRUM_CHAN_DROPPED);
	TH_CHECK_EQ(in.done, 10);
	TH_CHECK_EQ(d.n, 7);
	for (int i = 7; i < 10; i++)
		TH_CHECK_EQ(take(&c), i);
	thrum_chan_fini(&c);
	return 0;
}

TH_TEST(chan, plain_thread_may_not_wait_X1)
{
	size_t done = 7;
	thrum_chan c;
	int item = 1;

	open_chan(&c, 1);
	TH_CHECK_EQ(thrum_chan_send(&c, &item), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_chan_recv(&c, &item), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_chan_send_many(&c, &item, 1, &done), THRUM_ENOTFIBER);
	TH_CHECK_EQ(done, 0);
	TH_CHECK_EQ(thrum_chan_recv_many(&c, &item, 1, 1, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_chan_len(&c), 0);
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
TH_FIBER_TEST(JUMP, chan, many_producers_and_consumers_unbounded_Q2) { return pass_items(THRUM_CHAN_UNBOUNDED); }
