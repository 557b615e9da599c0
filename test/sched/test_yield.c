/* A yield goes from fiber to fiber on its own worker; what others need of that worker must not wait for it. */
#include <pthread.h>
#include "test/support/child.h"
#include "test/support/rules.h"

enum { TURNS = 1000 };

static int on_one_worker(thrum_fx fx)
{
	return thrum_run(THRUM_OPTS(.workers = 1), fx);
}

struct players {
	th_counter begun, last, swaps;
};
struct player {
	struct players *all;
	int me;
};

static int take_turns(struct player *p)
{
	th_count(&p->all->begun, 1);
	while (th_counted(&p->all->begun) < 2)
		TH_CHECK_EQ(thrum_yield(), 0);
	for (int i = 0; i < TURNS; i++) {
		int last = th_counted(&p->all->last);
		th_count(&p->all->swaps, last != p->me);
		th_count(&p->all->last, p->me - last);
		TH_CHECK_EQ(thrum_yield(), 0);
	}
	return 0;
}
THRUM_FX(take_turns, struct player);

static int both_play(struct players *all)
{
	struct player a = { all, 1 }, b = { all, 2 };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, take_turns_fx(&a)), 0);
	TH_CHECK_EQ(thrum_go(&s, take_turns_fx(&b)), 0);
	return thrum_scope_close(&s);
}
THRUM_FX(both_play, struct players);

TH_TEST(yield, two_fibers_take_turns)
{
	struct players all = { { 0 }, { 0 }, { 0 } };

	TH_CHECK_EQ(on_one_worker(both_play_fx(&all)), 0);
	TH_CHECK_EQ(th_counted(&all.swaps), 2 * TURNS);
}

/* --- a new child --- */

static int begin(th_counter *began)
{
	th_count(began, 1);
	return 0;
}
THRUM_FX(begin, th_counter);

static int spawn_and_yield(void *unused)
{
	thrum_scope s;
	th_counter began = { 0 };
	int yields = 0;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, begin_fx(&began)), 0);
	for (; !th_counted(&began); yields++)
		TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK(yields <= 2); /* ready fibers and new children take turns */
	return thrum_scope_close(&s);
}
THRUM_FX(spawn_and_yield, void);

TH_TEST(yield, new_child_waits_for_one_turn_at_most_K1)
{
	TH_CHECK_EQ(on_one_worker(spawn_and_yield_fx(NULL)), 0);
}

/* --- mail from another thread --- */

struct letter {
	thrum_promise promise;
	th_counter got;
};

static int await_letter(struct letter *l)
{
	TH_CHECK_EQ(thrum_promise_await(&l->promise, NULL), 0);
	th_count(&l->got, 1);
	return 0;
}
THRUM_FX(await_letter, struct letter);

static void *post(void *arg)
{
	struct letter *l = arg;

	TH_CHECK_EQ(thrum_promise_set(&l->promise, 0, NULL), 0);
	return NULL;
}

static int yield_until_it_came(struct letter *l)
{
	thrum_scope s;
	pthread_t thread;

	TH_CHECK_EQ(thrum_promise_init(&l->promise), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, await_letter_fx(l)), 0);
	TH_CHECK_EQ(thrum_yield(), 0);
	TH_CHECK_EQ(thrum_yield(), 0); /* it waits now */
	TH_CHECK_EQ(pthread_create(&thread, NULL, post, l), 0);
	while (!th_counted(&l->got))
		TH_CHECK_EQ(thrum_yield(), 0); /* with nobody else to run: the short way each time */
	TH_CHECK_EQ(pthread_join(thread, NULL), 0);
	return thrum_scope_close(&s);
}
THRUM_FX(yield_until_it_came, struct letter);

TH_TEST(yield, mail_is_served_while_a_fiber_only_yields)
{
	struct letter l = { .got = { 0 } };

	TH_CHECK_EQ(on_one_worker(yield_until_it_came_fx(&l)), 0);
}
