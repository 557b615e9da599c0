/* for_each_par: rules F1 to F9 and F11. */
#include "test/support/rules.h"

enum { E_FIRST = THRUM_APP(1), E_LATER = THRUM_APP(2) };

/* An item that sleeps, may fail, and keeps count of how many bodies are alive. */
struct room {
	th_counter started, alive, most;
};
struct item {
	struct room *room;
	int ms, code;
	int place; /* the how manieth to start; 0: did not */
	int got;
};
static int work(struct item *i)
{
	i->place = th_count(&i->room->started, 1);
	th_count_max(&i->room->most, th_count(&i->room->alive, 1));
	i->got = thrum_sleep(thrum_ms(i->ms));
	if (i->got == 0)
		i->got = i->code;
	th_count(&i->room->alive, -1);
	return i->got;
}
THRUM_FX(work, struct item);

static void fill(struct item *items, size_t n, struct room *room, int ms)
{
	for (size_t i = 0; i < n; i++)
		items[i] = (struct item){ .room = room, .ms = ms, .got = 99 };
}

/* --- F1, F2, F3: the results, no items, no parallelism --- */

struct square {
	int in, out, ms;
	const char *text;
};
static int square(struct square *s)
{
	int code = thrum_sleep(thrum_ms(s->ms));

	s->out = s->in * s->in;
	s->text = s->in % 2 ? "odd" : NULL;
	return code;
}
THRUM_FX(square, struct square);

/* D5: zero and NULL are results like any other. */
TH_FIBER_TEST(JUMP, for_each, results_in_input_order_zero_and_null_kept_F1) /* D5 */
{
	struct square s[10];

	for (int i = 0; i < 10; i++)
		s[i] = (struct square){ .in = i, .out = 99, .ms = 10 * (10 - i), .text = "?" };
	TH_CHECK_EQ(thrum_for_each_par(s, 10, square, 4), 0);
	for (int i = 0; i < 10; i++) {
		TH_CHECK_EQ(s[i].out, i * i);
		TH_CHECK_EQ(s[i].text == NULL, i % 2 == 0);
	}
	return 0;
}

/* D4 */
TH_FIBER_TEST(JUMP, for_each, of_no_items_succeeds_and_calls_nothing_F2) /* D4 */
{
	struct room room = { 0 };
	struct item item = { .room = &room };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_for_each_par(&item, 0, work, 3), 0);
	TH_CHECK_EQ(thrum_for_each_par((struct item *)NULL, 0, work, THRUM_UNBOUNDED), 0);
	TH_CHECK_EQ(th_counted(&room.started), 0);
	TH_CHECK_EQ(th_ms_since(t0), 0);
	return 0;
}

/* D8 */
TH_FIBER_TEST(JUMP, for_each, parallelism_0_is_an_error_F3) /* D8 */
{
	struct room room = { 0 };
	struct item item = { .room = &room };

	TH_CHECK_EQ(thrum_for_each_par(&item, 1, work, 0), -EINVAL);
	TH_CHECK_EQ(thrum_for_each_par(&item, 0, work, 0), -EINVAL);
	TH_CHECK_EQ(th_counted(&room.started), 0);
	return 0;
}

/* An item alone needs no second runner. */
TH_FIBER_TEST(JUMP, for_each, of_one_item_spawns_nothing_F4)
{
	struct room room = { 0 };
	struct item item = { .room = &room, .ms = 10 };
	thrum_stats before = { .size = sizeof before }, after = { .size = sizeof after };

	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &before), 0);
	TH_CHECK_EQ(thrum_for_each_par(&item, 1, work, THRUM_UNBOUNDED), 0);
	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &after), 0);
	TH_CHECK_EQ(after.spawns, before.spawns);
	return 0;
}

/* --- F4: the bound --- */

TH_FIBER_TEST(JUMP, for_each, never_more_than_the_bound_alive_F4)
{
	static const int most[] = { 1, 2, 3, 10, 10 }, rounds[] = { 10, 5, 4, 1, 1 };
	static const size_t bound[] = { 1, 2, 3, 10, THRUM_UNBOUNDED };

	for (int k = 0; k < 5; k++) {
		struct room room = { 0 };
		struct item items[10];
		thrum_time t0 = thrum_now();

		fill(items, 10, &room, 10);
		TH_CHECK_EQ(thrum_for_each_par(items, 10, work, bound[k]), 0);
		TH_CHECK_EQ(th_counted(&room.most), most[k]);
		TH_CHECK_EQ(th_counted(&room.started), 10);
		TH_CHECK_EQ(th_ms_since(t0), 10 * rounds[k]);
	}
	return 0;
}

static int leave(struct room *room)
{
	int code = thrum_sleep(thrum_ms(5));

	th_count(&room->alive, -1);
	return code;
}
THRUM_FX(leave, struct room);

static int enter(struct room *room)
{
	th_count_max(&room->most, th_count(&room->alive, 1));
	return 0;
}
THRUM_FX(enter, struct room);

static int work_with_finalizer(struct item *i)
{
	int code = thrum_acquire_release(enter_fx(i->room), leave_fx(i->room));

	return code < 0 ? code : thrum_sleep(thrum_ms(i->ms));
}
THRUM_FX(work_with_finalizer, struct item);

TH_FIBER_TEST(JUMP, for_each, a_slot_is_held_until_the_items_finalizers_ran_F4)
{
	struct room room = { 0 };
	struct item items[8];
	thrum_time t0 = thrum_now();

	fill(items, 8, &room, 10);
	TH_CHECK_EQ(thrum_for_each_par(items, 8, work_with_finalizer, 2), 0);
	TH_CHECK_EQ(th_counted(&room.most), 2);
	TH_CHECK_EQ(th_counted(&room.alive), 0);
	TH_CHECK_EQ(th_ms_since(t0), 4 * (10 + 5));
	return 0;
}

/* --- F5: lazy (D7) --- */

struct pulls {
	struct item *items;
	size_t n;
};
static int run_5_at_once(struct pulls *p)
{
	return thrum_for_each_par(p->items, p->n, work, 5);
}
THRUM_FX(run_5_at_once, struct pulls);

TH_FIBER_TEST(JUMP, for_each, items_are_pulled_when_a_slot_is_free_F5) /* D7 */
{
	static struct item items[1000];
	struct room room = { 0 };
	struct pulls p = { items, 1000 };

	fill(items, 1000, &room, 10);
	TH_CHECK_EQ(th_cancel_after(25, run_5_at_once_fx(&p)).code, -ECANCELED);
	TH_CHECK_EQ(th_counted(&room.started), 15); /* at 0, 10 and 20 ms */
	for (int i = 0; i < 1000; i++)
		TH_CHECK_EQ(items[i].place > 0, i < 15);
	return 0;
}

static thrum_stats stats_of_1000_items_5_at_once(void)
{
	static struct item items[1000];
	thrum_stats before = { .size = sizeof before }, after = { .size = sizeof after };
	struct room room = { 0 };
	struct pulls p = { items, 1000 };

	fill(items, 1000, &room, 10);
	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &before), 0);
	TH_CHECK_EQ(run_5_at_once(&p), 0);
	TH_CHECK_EQ(thrum_stats_read(thrum_rt_self(), &after), 0);
	after.fibers -= before.fibers;
	after.stacks_mapped -= before.stacks_mapped;
	return after;
}

TH_ONE_WORKER_TEST(JUMP, for_each, at_most_as_many_fibers_as_the_bound_F5) /* D7 */
{
	TH_CHECK(stats_of_1000_items_5_at_once().fibers <= 4); /* the caller is the fifth */
	return 0;
}

/* A worker keeps the stacks of all runners it ever had at once, and one may be on its way out. */
TH_FIBER_TEST(JUMP, for_each, stacks_grow_with_the_bound_not_with_the_items_F5)
{
	TH_CHECK(stats_of_1000_items_5_at_once().stacks_mapped <= (5 + 1) * thrum_workers());
	return 0;
}

struct crowd {
	uint64_t *most;
};
static int count_fibers(struct crowd *c)
{
	thrum_stats now = { .size = sizeof now };
	uint64_t most;
	int code = thrum_sleep(thrum_ms(1));

	TH_CHECK_EQ(thrum_stats_read(NULL, &now), 0);
	most = __atomic_load_n(c->most, __ATOMIC_RELAXED);
	while (now.fibers_live > most && !__atomic_compare_exchange_n(c->most, &most, now.fibers_live, false,
								       __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	return code < 0 ? code : thrum_yield();
}
THRUM_FX(count_fibers, struct crowd);

/* The caller is one of the five; each worker may have one that has handed its place on and is about to end. */
TH_FIBER_TEST(JUMP, for_each, fibers_alive_never_exceed_the_bound_F5)
{
	static struct crowd items[1000];
	uint64_t most = 0;

	for (int i = 0; i < 1000; i++)
		items[i].most = &most;
	TH_CHECK_EQ(thrum_for_each_par(items, 1000, count_fibers, 5), 0);
	TH_CHECK(most >= 5);
	TH_CHECK(most <= 5 + thrum_workers());
	return 0;
}

/* --- F6: the first failure (D6) --- */

TH_FIBER_TEST(JUMP, for_each, first_failure_starts_no_new_item_and_cancels_the_running_F6)
{
	struct room room = { 0 };
	struct item items[8];
	thrum_time t0 = thrum_now();

	fill(items, 8, &room, 500);
	items[0].ms = 10;
	items[1] = (struct item){ .room = &room, .ms = 15, .code = E_FIRST };
	TH_CHECK_EQ(thrum_for_each_par(items, 8, work, 2), E_FIRST);
	TH_CHECK_EQ(th_ms_since(t0), 15);
	TH_CHECK_EQ(th_counted(&room.started), 3);
	TH_CHECK_EQ(th_counted(&room.alive), 0);
	TH_CHECK_EQ(items[0].got, 0);
	TH_CHECK_EQ(items[2].got, -ECANCELED); /* running */
	TH_CHECK_EQ(items[3].got, 99);         /* not started */
	return 0;
}

TH_FIBER_TEST(JUMP, for_each, result_is_the_first_failure_in_completion_order_F6)
{
	struct room room = { 0 };
	struct item items[4];

	fill(items, 4, &room, 5);
	items[1] = (struct item){ .room = &room, .ms = 20, .code = E_LATER };
	items[2] = (struct item){ .room = &room, .ms = 10, .code = E_FIRST };
	TH_CHECK_EQ(thrum_for_each_par(items, 4, work, THRUM_UNBOUNDED), E_FIRST);
	return 0;
}

static int fail_twice_over(struct th_step *s) /* cancelled, its cleanup fails */
{
	int code = th_step(s);

	return code == -ECANCELED ? E_LATER : code;
}
THRUM_FX(fail_twice_over, struct th_step);

TH_FIBER_TEST(JUMP, for_each, a_second_failure_is_in_the_cause_F6) /* D6 D27 */
{
	struct th_step s[3] = { { .ms = 500 }, { .ms = 10, .code = E_FIRST }, { .ms = 500, .cleanup_ms = 5 } };
	const thrum_cause *why, *part;

	TH_CHECK_EQ(thrum_for_each_par(s, 3, fail_twice_over, 3), E_FIRST);
	why = thrum_last_cause();
	TH_CHECK_EQ(why->kind, THRUM_CAUSE_BOTH);
	TH_CHECK_EQ(why->code, E_FIRST);
	part = why->first;
	TH_CHECK_EQ(part->index, 1);
	TH_CHECK_EQ(part->code, E_FIRST);
	part = part->next;
	TH_CHECK_EQ(part->index, 0);
	TH_CHECK_EQ(part->code, E_LATER);
	part = part->next;
	TH_CHECK_EQ(part->index, 2);
	TH_CHECK_EQ(part->code, E_LATER);
	TH_CHECK(part->next == NULL);
	return 0;
}

TH_ONE_WORKER_TEST(JUMP, for_each, after_a_failure_that_did_not_wait_nothing_starts_F6)
{
	struct th_step s[4] = { { .code = E_FIRST }, { 0 }, { 0 }, { 0 } };

	for (size_t bound = 1; bound <= 5; bound++)
		TH_CHECK_EQ(thrum_for_each_par(s, 4, th_step, bound), E_FIRST);
	TH_CHECK_EQ(s[0].runs, 5);
	TH_CHECK_EQ(s[1].runs + s[2].runs + s[3].runs, 0);
	return 0;
}

/* --- F7: nested --- */

struct outer {
	struct item inner[4];
};
static int run_inner(struct outer *o)
{
	return thrum_for_each_par(o->inner, 4, work, 2);
}
THRUM_FX(run_inner, struct outer);

TH_FIBER_TEST(JUMP, for_each, nested_loops_share_no_slots_F7)
{
	struct room room = { 0 };
	struct outer o[4];
	thrum_time t0 = thrum_now();

	for (int i = 0; i < 4; i++)
		fill(o[i].inner, 4, &room, 10);
	TH_CHECK_EQ(thrum_for_each_par(o, 4, run_inner, 2), 0);
	TH_CHECK_EQ(th_counted(&room.most), 4);
	TH_CHECK_EQ(th_counted(&room.started), 16);
	TH_CHECK_EQ(th_ms_since(t0), 40); /* two rounds of two rounds */
	return 0;
}

struct talk {
	thrum_chan *chan;
	int sends; /* 0: receive one */
};
static int talk(struct talk *t)
{
	int code = 0, item = 0;

	if (t->sends == 0)
		return thrum_chan_recv(t->chan, &item);
	for (int i = 0; code == 0 && i < t->sends; i++)
		code = thrum_chan_send(t->chan, &item);
	return code;
}
THRUM_FX(talk, struct talk);

/* More bodies wait than there are workers; the last one frees them. */
TH_FIBER_TEST(JUMP, for_each, a_waiting_body_holds_no_worker_F7)
{
	thrum_chan c;
	struct talk t[9] = { 0 };

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 0), 0);
	for (int i = 0; i < 9; i++)
		t[i] = (struct talk){ &c, i == 8 ? 8 : 0 };
	TH_CHECK_EQ(thrum_for_each_par(t, 9, talk, 9), 0);
	thrum_chan_fini(&c);
	return 0;
}

/* --- F8, F9: cancelled from outside (D3) --- */

TH_FIBER_TEST(JUMP, for_each, cancelled_from_outside_cancels_and_awaits_F8) /* D3 */
{
	struct th_step s[6];
	thrum_for_each_par_op op = { th_step_run_, s, 6, sizeof *s, 2 };
	long long t0 = th_now_ms();
	struct th_outside o;

	for (int i = 0; i < 6; i++)
		s[i] = (struct th_step){ .ms = i < 2 ? 10 : 500, .cleanup_ms = 20 };
	o = th_cancel_after(40, thrum_for_each_par_fx(&op));
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(o.at_ms - t0, 60);
	for (int i = 0; i < 6; i++) {
		TH_CHECK_EQ(s[i].runs, i < 4);
		TH_CHECK_EQ(s[i].ended, i < 4);
	}
	TH_CHECK_EQ(s[2].reason.kind, THRUM_CANCEL_DEADLINE);
	return 0;
}

TH_FIBER_TEST(JUMP, for_each, success_of_all_stands_though_cancelled_F8)
{
	struct th_step s[2] = { { .cleanup_ms = 30 }, { .cleanup_ms = 30 } }; /* they only sleep shielded */
	thrum_for_each_par_op op = { th_step_run_, s, 2, sizeof *s, 2 };
	struct th_outside o = th_cancel_after(10, thrum_for_each_par_fx(&op));

	TH_CHECK_EQ(o.code, 0);
	TH_CHECK_EQ(o.check, -ECANCELED);
	return 0;
}

/* The same, but the second item was still to come: that one did not succeed. */
TH_FIBER_TEST(JUMP, for_each, an_item_that_did_not_start_makes_it_an_interrupt_F8)
{
	struct th_step s[2] = { { .cleanup_ms = 30 }, { .cleanup_ms = 30 } };
	thrum_for_each_par_op op = { th_step_run_, s, 2, sizeof *s, 1 };

	TH_CHECK_EQ(th_cancel_after(10, thrum_for_each_par_fx(&op)).code, -ECANCELED);
	TH_CHECK_EQ(s[0].got, 0);
	TH_CHECK_EQ(s[1].runs, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, for_each, started_when_already_cancelled_runs_nothing_F9)
{
	struct th_step s[3] = { { 0 }, { 0 }, { 0 } };
	thrum_for_each_par_op op = { th_step_run_, s, 3, sizeof *s, 2 };

	TH_CHECK_EQ(th_call_cancelled(thrum_for_each_par_fx(&op)), -ECANCELED);
	TH_CHECK_EQ(s[0].runs + s[1].runs + s[2].runs, 0);
	return 0;
}

struct stopper {
	thrum_scope *scope;
	th_counter *runs;
};
static int stop_all(struct stopper *s)
{
	th_count(s->runs, 1);
	thrum_scope_cancel(s->scope);
	return thrum_check();
}
THRUM_FX(stop_all, struct stopper);

/* The counter of items must not miss those that a cancel kept from starting. */
TH_FIBER_TEST(JUMP, for_each, items_that_never_start_do_not_hold_up_the_join_F9)
{
	static struct stopper s[5000];
	th_counter runs = { 0 };
	thrum_scope scope;

	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	for (int i = 0; i < 5000; i++)
		s[i] = (struct stopper){ &scope, &runs };
	TH_CHECK_EQ(thrum_for_each_par(s, 5000, stop_all, THRUM_UNBOUNDED), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK(th_counted(&runs) >= 1 && th_counted(&runs) <= (int)thrum_workers());
	return 0;
}

struct many {
	th_counter runs, told, dropped;
};

static int fail_with_many(void *m)
{
	th_count(&((struct many *)m)->runs, 1);
	return E_FIRST;
}
static void tell_of_many(void *m, size_t index, int code, void *ctx)
{
	(void)index, (void)code, (void)ctx;
	th_count(&((struct many *)m)->told, 1);
}
static void drop_of_many(void *m)
{
	th_count(&((struct many *)m)->dropped, 1);
}

/* More than could be looked at one by one, also where somebody wants to know of those that ran. */
TH_FIBER_TEST(JUMP, for_each, items_that_never_start_cost_nothing_F6_F9)
{
	struct many m = { { 0 }, { 0 }, { 0 } };
	const size_t n = SIZE_MAX / 2, noted = (size_t)1 << 30; /* a bit each */
	int runs;

	TH_CHECK_EQ(thrum_for_each_par_n(fail_with_many, &m, n, 0, 2), E_FIRST);
	TH_CHECK_EQ(thrum_for_each_par_with(fail_with_many, &m, n, 0, 2, THRUM_FAN_OPTS(.grain = 10)), E_FIRST);
	runs = th_counted(&m.runs);
	TH_CHECK_EQ(thrum_for_each_par_with(fail_with_many, &m, n, 0, 2, THRUM_FAN_OPTS(.done = tell_of_many)), E_FIRST);
	TH_CHECK_EQ(th_counted(&m.told), th_counted(&m.runs) - runs);
	TH_CHECK_EQ(thrum_for_each_par_with(fail_with_many, &m, noted, 0, 2, THRUM_FAN_OPTS(.drop = drop_of_many)), E_FIRST);
	TH_CHECK_EQ(th_counted(&m.dropped), 0);
	return 0;
}

/* --- F11: what a joining worker may run --- */

static int receive_one(thrum_chan *c)
{
	int item;

	return thrum_chan_recv(c, &item);
}
THRUM_FX(receive_one, thrum_chan);

/* `outer`'s child lies ready while `inner` is joined, and waits for what the joiner does afterwards: run on the joiner's
 * stack it would wait for ever (on the jump clock: -EDEADLK). */
TH_FIBER_TEST(JUMP, for_each, a_join_runs_only_the_joined_child_inline_F11)
{
	struct th_step quick = { 0 };
	thrum_scope outer, inner;
	thrum_task foreign, mine;
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 0), 0);
	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	TH_CHECK_EQ(thrum_scope_open(&inner), 0);
	TH_CHECK_EQ(thrum_spawn(&inner, &mine, th_step_fx(&quick)), 0);
	TH_CHECK_EQ(thrum_spawn(&outer, &foreign, receive_one_fx(&c)), 0);
	TH_CHECK_EQ(thrum_join(&mine), 0);
	TH_CHECK_EQ(thrum_chan_send(&c, &(int){ 1 }), 0);
	TH_CHECK_EQ(thrum_scope_close(&inner), 0);
	TH_CHECK_EQ(thrum_scope_close(&outer), 0);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, for_each, a_close_runs_only_its_own_children_inline_F11)
{
	struct th_step quick = { 0 };
	thrum_scope outer, inner;
	thrum_task foreign;
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 0), 0);
	TH_CHECK_EQ(thrum_scope_open(&outer), 0);
	TH_CHECK_EQ(thrum_spawn(&outer, &foreign, receive_one_fx(&c)), 0);
	TH_CHECK_EQ(thrum_scope_open(&inner), 0);
	TH_CHECK_EQ(thrum_go(&inner, th_step_fx(&quick)), 0);
	TH_CHECK_EQ(thrum_scope_close(&inner), 0);
	TH_CHECK_EQ(quick.ended, 1);
	TH_CHECK_EQ(thrum_chan_send(&c, &(int){ 1 }), 0);
	TH_CHECK_EQ(thrum_scope_close(&outer), 0);
	thrum_chan_fini(&c);
	return 0;
}
