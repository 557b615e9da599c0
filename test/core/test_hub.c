/* test/core/test_hub.c: broadcast hubs (Q13, D19, with Q2-Q6, G10, X1). */
#include <pthread.h>
#include "test/support/rules.h"

enum { BLOCK = THRUM_OVERFLOW_BLOCK, OLD = THRUM_OVERFLOW_DROP_OLD, NEW = THRUM_OVERFLOW_DROP_NEW };

static thrum_hub *open_hub(thrum_hub *h)
{
	TH_CHECK_EQ(thrum_hub_init(h, sizeof(int)), 0);
	return h;
}
static thrum_sub *join(thrum_hub *h, thrum_sub *s, size_t capacity, unsigned overflow)
{
	TH_CHECK_EQ(thrum_hub_subscribe(h, s, capacity, overflow), 0);
	return s;
}

/* The next item of a queue that has one, after so many lost ones. */
static int next(thrum_sub *s, uint64_t lost)
{
	uint64_t missed = 99;
	int item = -1;

	TH_CHECK_EQ(thrum_sub_recv(s, &item, &missed), lost ? THRUM_SUB_MISSED : 0);
	TH_CHECK_EQ(missed, lost);
	return item;
}
static void check_empty(thrum_sub *s)
{
	uint64_t missed = 99;
	int item = -1;

	TH_CHECK_EQ(thrum_sub_try_recv(s, &item, &missed), -EAGAIN);
	TH_CHECK_EQ(item, -1);
	TH_CHECK_EQ(missed, 99);
	TH_CHECK_EQ(thrum_sub_len(s), 0);
}
static void check_closed(thrum_sub *s, uint64_t lost)
{
	uint64_t missed = 99;
	int item = -1;

	TH_CHECK_EQ(thrum_sub_recv(s, &item, &missed), THRUM_ECLOSED);
	TH_CHECK_EQ(missed, lost);
	TH_CHECK_EQ(item, -1);
}

/* One who publishes the numbers from `first` on. */
struct publisher {
	thrum_hub *hub;
	int first, n, done, code; /* code: of the last publish */
	th_counter gone;
};
static int publish(struct publisher *p)
{
	for (p->done = 0; p->done < p->n; p->done++) {
		int item = p->first + p->done;

		p->code = thrum_hub_publish(p->hub, &item);
		if (p->code < 0)
			break;
		th_count(&p->gone, 1);
	}
	return p->code < 0 ? p->code : 0;
}
static int publish_what_goes(struct publisher *p)
{
	(void)publish(p);
	return 0;
}
THRUM_FX(publish, struct publisher);
THRUM_FX(publish_what_goes, struct publisher);

/* One who receives one item. */
struct receiver {
	thrum_sub *sub;
	int item, code, rank;
	uint64_t missed;
	th_counter *order;
};
static int receive(struct receiver *r)
{
	r->code = thrum_sub_recv(r->sub, &r->item, &r->missed);
	r->rank = r->order ? th_count(r->order, 1) : 0;
	return r->code == -ECANCELED ? r->code : 0;
}
THRUM_FX(receive, struct receiver);

/* On the jump clock a sleep ends when nothing else can run. */
static void settle(void)
{
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
}
static void start(thrum_scope *s, thrum_task *t, thrum_fx fx)
{
	TH_CHECK_EQ(thrum_spawn(s, t, fx), 0);
	settle();
}

static int put(thrum_hub *h, int item)
{
	return thrum_hub_publish(h, &item);
}
static int try_put(thrum_hub *h, int item)
{
	return thrum_hub_try_publish(h, &item);
}

/* --- who gets what --- */

TH_FIBER_TEST(JUMP, hub, each_subscriber_gets_each_item_in_order_Q13)
{
	thrum_sub s[3];
	thrum_hub h;

	open_hub(&h);
	for (int i = 0; i < 3; i++)
		join(&h, &s[i], 4, (unsigned)i);
	for (int n = 0; n < 4; n++)
		TH_CHECK_EQ(put(&h, n), 3);
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(thrum_sub_len(&s[i]), 4);
		for (int n = 0; n < 4; n++)
			TH_CHECK_EQ(next(&s[i], 0), n);
		check_empty(&s[i]);
		thrum_hub_unsubscribe(&s[i]);
	}
	thrum_hub_fini(&h);
	return 0;
}

TH_FIBER_TEST(JUMP, hub, who_comes_later_gets_what_comes_later_Q13)
{
	thrum_sub early, late;
	thrum_hub h;

	open_hub(&h);
	TH_CHECK_EQ(put(&h, 0), 0); /* nobody is there */
	join(&h, &early, 4, BLOCK);
	TH_CHECK_EQ(put(&h, 1), 1);
	join(&h, &late, 4, BLOCK);
	TH_CHECK_EQ(put(&h, 2), 2);
	TH_CHECK_EQ(next(&early, 0), 1);
	thrum_hub_unsubscribe(&early);
	TH_CHECK_EQ(put(&h, 3), 1);
	TH_CHECK_EQ(next(&late, 0), 2);
	TH_CHECK_EQ(next(&late, 0), 3);
	thrum_hub_unsubscribe(&late);
	join(&h, &early, 1, OLD); /* the same storage again */
	TH_CHECK_EQ(put(&h, 4), 1);
	TH_CHECK_EQ(next(&early, 0), 4);
	thrum_hub_unsubscribe(&early);
	thrum_hub_fini(&h);
	return 0;
}

enum { WAITERS = 4 };

/* Several fibers share a subscription: in order, one item each. */
TH_FIBER_TEST(JUMP, hub, waiting_receivers_are_served_in_order_Q2)
{
	struct receiver r[WAITERS];
	thrum_task t[WAITERS];
	th_counter order = { 0 };
	thrum_scope scope;
	thrum_sub s;
	thrum_hub h;

	join(open_hub(&h), &s, 1, BLOCK);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	for (int i = 0; i < WAITERS; i++) {
		r[i] = (struct receiver){ .sub = &s, .order = &order };
		start(&scope, &t[i], receive_fx(&r[i]));
	}
	for (int i = 0; i < WAITERS; i++) {
		TH_CHECK_EQ(put(&h, i), 1);
		settle();
	}
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	for (int i = 0; i < WAITERS; i++) {
		TH_CHECK_EQ(r[i].item, i);
		TH_CHECK_EQ(r[i].rank, i + 1);
		TH_CHECK_EQ(r[i].missed, 0);
	}
	check_empty(&s);
	thrum_hub_unsubscribe(&s);
	thrum_hub_fini(&h);
	return 0;
}

/* --- full ones --- */

TH_FIBER_TEST(JUMP, hub, blocking_subscriber_holds_publishers_until_there_is_room_Q13)
{
	struct publisher p = { .n = 4 };
	thrum_sub slow, fast;
	thrum_scope scope;
	thrum_task t;
	thrum_hub h;

	p.hub = open_hub(&h);
	join(&h, &slow, 2, BLOCK);
	join(&h, &fast, 9, BLOCK);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t, publish_fx(&p));
	TH_CHECK_EQ(th_counted(&p.gone), 2);
	TH_CHECK_EQ(thrum_sub_len(&fast), 2); /* the third reaches nobody before it reaches all */
	for (int i = 0; i < 2; i++) {
		TH_CHECK_EQ(next(&slow, 0), i);
		settle();
		TH_CHECK_EQ(th_counted(&p.gone), 3 + i);
	}
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(p.code, 2);
	for (int i = 0; i < 4; i++)
		TH_CHECK_EQ(next(&fast, 0), i);
	thrum_hub_unsubscribe(&slow);
	thrum_hub_unsubscribe(&fast);
	thrum_hub_fini(&h);
	return 0;
}

TH_FIBER_TEST(JUMP, hub, cancelled_publish_has_reached_nobody_Q13_Q4)
{
	struct publisher p = { .first = 7, .n = 1 };
	thrum_sub full, room, old;
	thrum_hub h;

	p.hub = open_hub(&h);
	join(&h, &full, 1, BLOCK);
	join(&h, &room, 9, BLOCK);
	join(&h, &old, 1, OLD);
	TH_CHECK_EQ(put(&h, 1), 3);
	TH_CHECK_EQ(thrum_timeout(publish_fx(&p), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(p.code, -ECANCELED);
	TH_CHECK_EQ(next(&full, 0), 1);
	TH_CHECK_EQ(th_call_cancelled(publish_fx(&p)), -ECANCELED); /* a cancel point, also where it need not wait */
	TH_CHECK_EQ(put(&h, 2), 3);
	TH_CHECK_EQ(next(&full, 0), 2);
	TH_CHECK_EQ(next(&room, 0), 1);
	TH_CHECK_EQ(next(&room, 0), 2);
	TH_CHECK_EQ(next(&old, 1), 2); /* one lost, not two */
	check_empty(&room);
	thrum_hub_unsubscribe(&full);
	thrum_hub_unsubscribe(&room);
	thrum_hub_unsubscribe(&old);
	thrum_hub_fini(&h);
	return 0;
}

TH_FIBER_TEST(JUMP, hub, slow_one_that_drops_old_ones_holds_up_nobody_and_sees_its_lag_Q13_D19)
{
	thrum_sub slow, fast;
	thrum_hub h;

	open_hub(&h);
	join(&h, &slow, 2, OLD);
	join(&h, &fast, 9, BLOCK);
	for (int i = 0; i < 7; i++)
		TH_CHECK_EQ(put(&h, i), 2);
	TH_CHECK_EQ(next(&slow, 5), 5);
	TH_CHECK_EQ(next(&slow, 0), 6);
	TH_CHECK_EQ(put(&h, 7), 2);
	TH_CHECK_EQ(next(&slow, 0), 7);
	for (int i = 0; i < 8; i++)
		TH_CHECK_EQ(next(&fast, 0), i);
	thrum_hub_unsubscribe(&slow);
	thrum_hub_unsubscribe(&fast);
	thrum_hub_fini(&h);
	return 0;
}

TH_FIBER_TEST(JUMP, hub, who_drops_new_ones_sees_the_gap_where_it_is_Q13)
{
	thrum_sub s;
	thrum_hub h;

	join(open_hub(&h), &s, 2, NEW);
	for (int i = 0; i < 5; i++)
		TH_CHECK_EQ(put(&h, i), i < 2);
	TH_CHECK_EQ(next(&s, 0), 0);
	TH_CHECK_EQ(put(&h, 5), 1);
	TH_CHECK_EQ(next(&s, 0), 1);
	TH_CHECK_EQ(next(&s, 3), 5);
	for (int i = 6; i < 9; i++)
		TH_CHECK_EQ(put(&h, i), i < 8);
	TH_CHECK_EQ(thrum_hub_close(&h), 0);
	TH_CHECK_EQ(next(&s, 0), 6);
	TH_CHECK_EQ(next(&s, 0), 7);
	check_closed(&s, 1); /* and after the last one, too */
	check_closed(&s, 0);
	thrum_hub_unsubscribe(&s);
	thrum_hub_fini(&h);
	return 0;
}

TH_FIBER_TEST(JUMP, hub, cancelled_receive_takes_nothing_and_forgets_no_loss_Q4)
{
	struct receiver r = { .item = -1, .missed = 99 };
	thrum_sub s;
	thrum_hub h;

	r.sub = join(open_hub(&h), &s, 1, OLD);
	TH_CHECK_EQ(thrum_timeout(receive_fx(&r), thrum_ms(5)), -ETIMEDOUT);
	TH_CHECK_EQ(r.code, -ECANCELED);
	TH_CHECK_EQ(put(&h, 0), 1);
	TH_CHECK_EQ(put(&h, 1), 1);
	TH_CHECK_EQ(th_call_cancelled(receive_fx(&r)), -ECANCELED);
	TH_CHECK_EQ(r.item, -1);
	TH_CHECK_EQ(r.missed, 99);
	TH_CHECK_EQ(next(&s, 1), 1);
	thrum_hub_unsubscribe(&s);
	thrum_hub_fini(&h);
	return 0;
}

/* It was handed over, and then came the cancel. */
TH_ONE_WORKER_TEST(JUMP, hub, item_that_was_handed_over_stays_so_Q4)
{
	struct receiver r = { .item = -1 };
	thrum_scope scope;
	thrum_task t;
	thrum_sub s;
	thrum_hub h;

	r.sub = join(open_hub(&h), &s, 1, BLOCK);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t, receive_fx(&r));
	TH_CHECK_EQ(put(&h, 3), 1);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(r.code, 0);
	TH_CHECK_EQ(r.item, 3);
	check_empty(&s);
	thrum_hub_unsubscribe(&s);
	thrum_hub_fini(&h);
	return 0;
}

/* The waiting receiver was cancelled and has not run yet: the item goes into the queue. */
TH_ONE_WORKER_TEST(JUMP, hub, cancelled_receiver_is_passed_over_Q4)
{
	struct receiver r = { .item = -1 };
	thrum_scope scope;
	thrum_task t;
	thrum_sub s;
	thrum_hub h;

	r.sub = join(open_hub(&h), &s, 1, BLOCK);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t, receive_fx(&r));
	thrum_task_cancel(&t);
	TH_CHECK_EQ(put(&h, 3), 1);
	(void)thrum_scope_close(&scope);
	TH_CHECK_EQ(r.code, -ECANCELED);
	TH_CHECK_EQ(next(&s, 0), 3);
	thrum_hub_unsubscribe(&s);
	thrum_hub_fini(&h);
	return 0;
}

/* --- publishers in line --- */

TH_FIBER_TEST(JUMP, hub, waiting_publishers_go_in_order_and_none_is_overtaken_Q2)
{
	struct publisher p[WAITERS];
	thrum_task t[WAITERS];
	thrum_scope scope;
	thrum_sub s;
	thrum_hub h;

	join(open_hub(&h), &s, 1, BLOCK);
	TH_CHECK_EQ(put(&h, 0), 1);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	for (int i = 0; i < WAITERS; i++) {
		p[i] = (struct publisher){ .hub = &h, .first = 1 + i, .n = 1 };
		start(&scope, &t[i], publish_fx(&p[i]));
	}
	for (int i = 0; i <= WAITERS; i++) {
		TH_CHECK_EQ(try_put(&h, 99), -EAGAIN);
		TH_CHECK_EQ(next(&s, 0), i); /* the place goes to the first in line at once */
	}
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	check_empty(&s);
	thrum_hub_unsubscribe(&s);
	thrum_hub_fini(&h);
	return 0;
}

TH_FIBER_TEST(JUMP, hub, cancelled_publisher_holds_up_nobody_behind_it_Q9)
{
	struct publisher p[2];
	thrum_task t[2];
	thrum_scope scope;
	thrum_sub s;
	thrum_hub h;

	join(open_hub(&h), &s, 1, BLOCK);
	TH_CHECK_EQ(put(&h, 0), 1);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	for (int i = 0; i < 2; i++) {
		p[i] = (struct publisher){ .hub = &h, .first = 1 + i, .n = 1 };
		start(&scope, &t[i], publish_what_goes_fx(&p[i]));
	}
	thrum_task_cancel(&t[0]);
	TH_CHECK_EQ(next(&s, 0), 0);
	TH_CHECK_EQ(next(&s, 0), 2);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(p[0].code, -ECANCELED);
	TH_CHECK_EQ(p[1].code, 1);
	thrum_hub_unsubscribe(&s);
	thrum_hub_fini(&h);
	return 0;
}

TH_FIBER_TEST(JUMP, hub, try_publish_reaches_all_or_nobody_Q13)
{
	thrum_sub full, room;
	thrum_hub h;

	open_hub(&h);
	join(&h, &full, 1, BLOCK);
	join(&h, &room, 9, BLOCK);
	TH_CHECK_EQ(try_put(&h, 1), 2);
	TH_CHECK_EQ(try_put(&h, 2), -EAGAIN);
	TH_CHECK_EQ(thrum_sub_len(&room), 1);
	TH_CHECK_EQ(next(&full, 0), 1);
	TH_CHECK_EQ(try_put(&h, 3), 2);
	TH_CHECK_EQ(next(&full, 0), 3);
	TH_CHECK_EQ(next(&room, 0), 1);
	TH_CHECK_EQ(next(&room, 0), 3);
	thrum_hub_unsubscribe(&full);
	thrum_hub_unsubscribe(&room);
	thrum_hub_fini(&h);
	return 0;
}

/* --- leaving --- */

static void check_that_leaving_frees(bool unsubscribe)
{
	struct publisher p = { .n = 3 };
	thrum_sub gone, here;
	thrum_scope scope;
	thrum_task t;
	thrum_hub h;

	p.hub = open_hub(&h);
	join(&h, &gone, 1, BLOCK);
	join(&h, &here, 9, BLOCK);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t, publish_fx(&p));
	TH_CHECK_EQ(th_counted(&p.gone), 1);
	if (unsubscribe)
		thrum_hub_unsubscribe(&gone);
	else
		TH_CHECK_EQ(thrum_sub_close(&gone), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(p.done, 3);
	TH_CHECK_EQ(p.code, 1); /* only one got the last */
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(next(&here, 0), i);
	if (!unsubscribe) {
		TH_CHECK_EQ(thrum_sub_close(&gone), THRUM_ECLOSED);
		TH_CHECK_EQ(next(&gone, 0), 0);
		check_closed(&gone, 0); /* what came after it had left was not for it */
		thrum_hub_unsubscribe(&gone);
	}
	thrum_hub_unsubscribe(&here);
	thrum_hub_fini(&h);
}

TH_FIBER_TEST(JUMP, hub, unsubscribed_one_neither_blocks_nor_fails_a_publish_Q13_D19)
{
	check_that_leaving_frees(true);
	return 0;
}
TH_FIBER_TEST(JUMP, hub, closed_subscriber_neither_blocks_nor_fails_a_publish_Q13_D19)
{
	check_that_leaving_frees(false);
	return 0;
}

TH_FIBER_TEST(JUMP, hub, closing_wakes_who_waits_to_receive_Q3)
{
	struct receiver a = { .item = -1 }, b = { .item = -1 }, c = { .item = -1 };
	thrum_sub s[3];
	thrum_scope scope;
	thrum_task t[3];
	thrum_hub h;

	open_hub(&h);
	a.sub = join(&h, &s[0], 1, BLOCK);
	b.sub = join(&h, &s[1], 1, BLOCK);
	c.sub = join(&h, &s[2], 1, BLOCK);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t[0], receive_fx(&a));
	start(&scope, &t[1], receive_fx(&b));
	start(&scope, &t[2], receive_fx(&c));
	TH_CHECK_EQ(thrum_sub_close(&s[0]), 0);
	TH_CHECK_EQ(thrum_join(&t[0]), 0);
	TH_CHECK_EQ(a.code, THRUM_ECLOSED);
	thrum_hub_unsubscribe(&s[1]);
	TH_CHECK_EQ(thrum_join(&t[1]), 0);
	TH_CHECK_EQ(b.code, THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_hub_close(&h), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(c.code, THRUM_ECLOSED);
	thrum_hub_unsubscribe(&s[0]);
	thrum_hub_unsubscribe(&s[2]);
	thrum_hub_fini(&h);
	return 0;
}

TH_FIBER_TEST(JUMP, hub, close_lets_subscribers_drain_Q13_Q3)
{
	struct publisher p = { .n = 3 };
	thrum_scope scope;
	thrum_sub a, late;
	thrum_task t;
	thrum_hub h;

	p.hub = open_hub(&h);
	join(&h, &a, 2, BLOCK);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	start(&scope, &t, publish_what_goes_fx(&p));
	TH_CHECK_EQ(thrum_hub_close(&h), 0);
	TH_CHECK_EQ(thrum_hub_close(&h), THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(p.done, 2);
	TH_CHECK_EQ(p.code, THRUM_ECLOSED);
	TH_CHECK_EQ(put(&h, 9), THRUM_ECLOSED);
	TH_CHECK_EQ(try_put(&h, 9), THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_hub_subscribe(&h, &late, 1, BLOCK), THRUM_ECLOSED);
	TH_CHECK_EQ(next(&a, 0), 0);
	TH_CHECK_EQ(next(&a, 0), 1);
	check_closed(&a, 0);
	TH_CHECK_EQ(thrum_sub_close(&a), THRUM_ECLOSED);
	thrum_hub_unsubscribe(&a);
	thrum_hub_fini(&h);
	return 0;
}

/* --- what nobody takes --- */

struct dropped {
	th_counter n, sum;
	int sleep_ms;
};
static void note_drop(void *item, void *arg)
{
	struct dropped *d = arg;

	if (d->sleep_ms)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(d->sleep_ms)), 0); /* shielded */
	th_count(&d->n, 1);
	th_count(&d->sum, *(int *)item);
}
static void open_dropping(thrum_hub *h, struct dropped *d)
{
	TH_CHECK_EQ(thrum_hub_init_with(h, THRUM_HUB_OPTS(.item_bytes = sizeof(int), .drop = note_drop, .drop_arg = d)), 0);
}

TH_FIBER_TEST(JUMP, hub, item_that_nobody_takes_is_dropped_once_Q5)
{
	struct dropped d = { .sleep_ms = 0 };
	thrum_sub a, b;
	thrum_hub h;

	open_dropping(&h, &d);
	TH_CHECK_EQ(put(&h, 1), 0);   /* nobody there */
	TH_CHECK_EQ(th_counted(&d.sum), 1);
	join(&h, &a, 1, OLD);
	join(&h, &b, 1, OLD);
	TH_CHECK_EQ(put(&h, 10), 2);
	TH_CHECK_EQ(put(&h, 100), 2); /* pushed out by both */
	TH_CHECK_EQ(th_counted(&d.sum), 11);
	TH_CHECK_EQ(next(&a, 1), 100);
	TH_CHECK_EQ(put(&h, 1000), 2); /* pushes out what the other one has taken */
	TH_CHECK_EQ(th_counted(&d.sum), 11);
	thrum_hub_unsubscribe(&a);
	TH_CHECK_EQ(th_counted(&d.sum), 11); /* one still has it */
	TH_CHECK_EQ(thrum_sub_close(&b), 0);
	TH_CHECK_EQ(th_counted(&d.sum), 11);
	thrum_hub_unsubscribe(&b);
	TH_CHECK_EQ(th_counted(&d.sum), 1011);
	join(&h, &a, 1, NEW);
	TH_CHECK_EQ(put(&h, 10000), 1);
	TH_CHECK_EQ(put(&h, 100000), 0);
	TH_CHECK_EQ(th_counted(&d.sum), 101011);
	TH_CHECK_EQ(next(&a, 0), 10000);
	thrum_hub_unsubscribe(&a);
	TH_CHECK_EQ(th_counted(&d.sum), 101011);
	TH_CHECK_EQ(th_counted(&d.n), 4);
	thrum_hub_fini(&h);
	return 0;
}

static int join_and_leave(thrum_hub *h)
{
	thrum_sub s;
	int item = 5;

	join(h, &s, 1, BLOCK);
	TH_CHECK_EQ(thrum_hub_try_publish(h, &item), 1);
	thrum_hub_unsubscribe(&s);
	return 0;
}
THRUM_FX(join_and_leave, thrum_hub);

TH_FIBER_TEST(JUMP, hub, drop_is_shielded_and_may_suspend_G10)
{
	struct dropped d = { .sleep_ms = 10 };
	thrum_hub h;

	open_dropping(&h, &d);
	TH_CHECK_EQ(th_call_cancelled(join_and_leave_fx(&h)), 0);
	TH_CHECK_EQ(th_counted(&d.sum), 5);
	thrum_hub_fini(&h);
	return 0;
}

/* A publish that was refused is still the publisher's. */
TH_FIBER_TEST(JUMP, hub, refused_item_is_not_dropped_Q13)
{
	struct dropped d = { .sleep_ms = 0 };
	struct publisher p = { .first = 2, .n = 1 };
	thrum_sub s;
	thrum_hub h;

	open_dropping(&h, &d);
	p.hub = &h;
	join(&h, &s, 1, BLOCK);
	TH_CHECK_EQ(put(&h, 1), 1);
	TH_CHECK_EQ(try_put(&h, 2), -EAGAIN);
	TH_CHECK_EQ(thrum_timeout(publish_fx(&p), thrum_ms(1)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_hub_close(&h), 0);
	TH_CHECK_EQ(put(&h, 2), THRUM_ECLOSED);
	TH_CHECK_EQ(next(&s, 0), 1);
	thrum_hub_unsubscribe(&s);
	TH_CHECK_EQ(th_counted(&d.n), 0);
	thrum_hub_fini(&h);
	return 0;
}

/* --- many at once --- */

enum { PUBLISHERS = 4, SUBSCRIBERS = 3, EACH = 300 };

/* Each publisher's items in their order: item = publisher * EACH + number. */
struct listener {
	thrum_sub sub;
	uint64_t got, missed;
	int last[PUBLISHERS + 1];
};
static int listen_to_the_end(struct listener *l)
{
	for (;;) {
		uint64_t missed;
		int item, r = thrum_sub_recv(&l->sub, &item, &missed);

		if (r == -ECANCELED)
			return r;
		l->missed += missed;
		if (r == THRUM_ECLOSED)
			return 0;
		TH_CHECK(item % EACH >= l->last[item / EACH]);
		l->last[item / EACH] = item % EACH + 1;
		l->got++;
	}
}
THRUM_FX(listen_to_the_end, struct listener);

struct crowd {
	thrum_hub hub;
	struct publisher p[PUBLISHERS];
};
static int publish_all_then_close(struct crowd *c)
{
	int r = thrum_for_each_par(c->p, PUBLISHERS, publish, PUBLISHERS);

	TH_CHECK_EQ(thrum_hub_close(&c->hub), 0);
	return r;
}
THRUM_FX(publish_all_then_close, struct crowd);

TH_FIBER_TEST(JUMP, hub, nothing_is_lost_or_out_of_order_among_many_Q13)
{
	struct listener l[SUBSCRIBERS] = { { .got = 0 } };
	thrum_fx fx[SUBSCRIBERS + 1];
	struct crowd c;

	open_hub(&c.hub);
	for (int i = 0; i < SUBSCRIBERS; i++) {
		join(&c.hub, &l[i].sub, 1 + (size_t)i, (unsigned)i);
		fx[i] = listen_to_the_end_fx(&l[i]);
	}
	for (int i = 0; i < PUBLISHERS; i++)
		c.p[i] = (struct publisher){ .hub = &c.hub, .first = i * EACH, .n = EACH };
	fx[SUBSCRIBERS] = publish_all_then_close_fx(&c);
	TH_CHECK_EQ(thrum_zip_par_n(fx, SUBSCRIBERS + 1), 0);
	for (int i = 0; i < SUBSCRIBERS; i++) {
		TH_CHECK_EQ(l[i].got + l[i].missed, PUBLISHERS * EACH);
		thrum_hub_unsubscribe(&l[i].sub);
	}
	TH_CHECK_EQ(l[0].missed, 0); /* the one that blocks */
	thrum_hub_fini(&c.hub);
	return 0;
}

/* --- plain threads, edges --- */

static void *publish_from_a_thread(void *arg)
{
	thrum_hub *h = arg;
	int r;

	for (int i = 0; i < EACH; i++) {
		int item = PUBLISHERS * EACH + i;

		while ((r = thrum_hub_try_publish(h, &item)) == -EAGAIN)
			;
		TH_CHECK_EQ(r, 1);
	}
	TH_CHECK_EQ(thrum_hub_close(h), 0);
	return NULL;
}

TH_TEST(hub, plain_thread_may_try_and_close_X1)
{
	struct listener l = { .got = 0 };
	pthread_t thread;
	thrum_handle h;
	thrum_hub hub;
	thrum_rt *rt;

	join(open_hub(&hub), &l.sub, 8, BLOCK);
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, listen_to_the_end_fx(&l)), 0);
	TH_CHECK_EQ(pthread_create(&thread, NULL, publish_from_a_thread, &hub), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(pthread_join(thread, NULL), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(l.got, EACH);
	thrum_hub_unsubscribe(&l.sub);
	thrum_hub_fini(&hub);
}

TH_TEST(hub, what_makes_no_sense_is_refused_X1)
{
	struct dropped d = { .sleep_ms = 0 };
	thrum_sub s;
	thrum_hub h;
	int item = 4;

	TH_CHECK_EQ(thrum_hub_init(&h, 0), -EINVAL);
	TH_CHECK_EQ(thrum_hub_init(&h, SIZE_MAX), -EINVAL);
	TH_CHECK_EQ(thrum_hub_init_with(&h, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_hub_init_with(&h, &(thrum_hub_opts){ .size = 1, .item_bytes = 1 }), -EINVAL);
	open_dropping(&h, &d);
	TH_CHECK_EQ(thrum_hub_subscribe(&h, &s, 0, BLOCK), -EINVAL);
	TH_CHECK_EQ(thrum_hub_subscribe(&h, &s, THRUM_CHAN_UNBOUNDED, BLOCK), -EINVAL);
	TH_CHECK_EQ(thrum_hub_subscribe(&h, &s, 1, 3), -EINVAL);
	join(&h, &s, 1, OLD);
	TH_CHECK_EQ(thrum_hub_publish(&h, &item), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_sub_recv(&s, &item, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_hub_try_publish(&h, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_sub_try_recv(&s, NULL, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_hub_try_publish(&h, &item), 1);
	TH_CHECK_EQ(thrum_hub_try_publish(&h, &item), 1);
	TH_CHECK_EQ(th_counted(&d.sum), 4); /* a plain thread drops, too */
	item = 0;
	TH_CHECK_EQ(thrum_sub_try_recv(&s, &item, NULL), THRUM_SUB_MISSED);
	TH_CHECK_EQ(item, 4);
	thrum_hub_unsubscribe(&s);
	thrum_hub_fini(&h);
}

TH_FIBER_TEST(JUMP, hub, missing_arguments_are_refused_X1)
{
	thrum_sub s;
	thrum_hub h;

	join(open_hub(&h), &s, 1, OLD);
	TH_CHECK_EQ(thrum_hub_publish(&h, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_sub_recv(&s, NULL, NULL), -EINVAL);
	thrum_hub_unsubscribe(&s);
	thrum_hub_fini(&h);
	return 0;
}
