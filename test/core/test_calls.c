/* The public calls but for those of io, hubs, pools, pipelines and supervisors, each at once where it need not wait:
 * what it says in a fiber, in a cancelled scope (G3), on a plain thread (X1), that none touches errno (X3), and that
 * effects without a function are refused (E6). */
#include <stdlib.h>
#include <string.h>
#include "test/support/rules.h"

/* What the calls are about; a new one for each call. */
struct world {
	th_counter ran;
	thrum_scope scope;           /* around the call; in fibers only */
	thrum_chan chan;             /* holds one item of two */
	thrum_sem sem;               /* one permit */
	thrum_mutex mutex;
	thrum_cond cond;
	thrum_promise kept, open;    /* set with 0; not set */
	thrum_latch latch;           /* open */
	thrum_barrier barrier;       /* of one */
	thrum_limiter limiter;       /* full */
	thrum_breaker breaker;       /* closed */
	thrum_token token;
	thrum_test_clock clock;
	thrum_schedule once;
	thrum_case select;
	thrum_fx fx[2], none;
	int item[2];
	size_t done;
};

static int run_it(th_counter *ran)
{
	th_count(ran, 1);
	return 0;
}
THRUM_FX(run_it, th_counter);

static void make_world(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->fx[0] = w->fx[1] = run_it_fx(&w->ran);
	w->once = thrum_recurs(0);
	TH_CHECK_EQ(thrum_chan_init(&w->chan, sizeof(int), 2), 0);
	TH_CHECK_EQ(thrum_chan_try_send(&w->chan, &(int){ 7 }), 0);
	TH_CHECK_EQ(thrum_sem_init(&w->sem, 1), 0);
	TH_CHECK_EQ(thrum_mutex_init(&w->mutex), 0);
	TH_CHECK_EQ(thrum_cond_init(&w->cond), 0);
	TH_CHECK_EQ(thrum_promise_init(&w->kept), 0);
	TH_CHECK_EQ(thrum_promise_set(&w->kept, 0, NULL), 0);
	TH_CHECK_EQ(thrum_promise_init(&w->open), 0);
	TH_CHECK_EQ(thrum_latch_init(&w->latch, 0), 0);
	TH_CHECK_EQ(thrum_barrier_init(&w->barrier, 1), 0);
	TH_CHECK_EQ(thrum_limiter_init(&w->limiter, 5, thrum_sec(1), 5), 0);
	TH_CHECK_EQ(thrum_breaker_init(&w->breaker, NULL), 0);
	thrum_token_init(&w->token);
	thrum_test_clock_init(&w->clock);
	w->select = thrum_case_await(&w->kept, NULL);
}

static void drop_world(struct world *w)
{
	thrum_chan_fini(&w->chan);
	thrum_sem_fini(&w->sem);
}

static int build_it(void *w, void **ret_service)
{
	*ret_service = w;
	return run_it(&((struct world *)w)->ran);
}
static int run_masked(thrum_restore *restore, void *w)
{
	return thrum_restore_run(restore, ((struct world *)w)->fx[0]);
}
static int handle_cause(const thrum_cause *cause, void *unused)
{
	(void)unused;
	return cause->code;
}
static int with_lock(struct world *w, int code) /* a code that is only right for who has the mutex */
{
	int locked = thrum_mutex_try_lock(&w->mutex);

	if (locked < 0)
		return locked;
	code = code ? code : thrum_cond_wait(&w->cond, &w->mutex);
	TH_CHECK_EQ(thrum_mutex_unlock(&w->mutex), 0);
	return code;
}

static int and_then(int code, int (*call)(thrum_mutex *), thrum_mutex *m)
{
	return code < 0 ? code : call(m);
}

static int open_and_close(void)
{
	thrum_scope s;
	int code = thrum_scope_open(&s);

	return code < 0 ? code : thrum_scope_close(&s);
}

static const thrum_local local = THRUM_LOCAL_INIT("local", NULL);
static const thrum_service service = { THRUM_LOCAL_INIT("service", NULL) };

static int with_layer(struct world *w, int (*build)(void *, void **), thrum_fx fx)
{
	thrum_layer layer = { .gives = &service, .build = build, .arg = w };

	return thrum_layers_run(THRUM_LAYERS(&layer), fx, NULL);
}

/* Calls with a name of their own: C has no lambdas. */
#define CALL(name_, expr_) static int call_##name_(struct world *w) { (void)w; return (expr_); }
CALL(check, thrum_check())
CALL(yield, thrum_yield())
CALL(sleep, thrum_sleep(thrum_ms(0)))
CALL(sleep_back, thrum_sleep(thrum_ms(-1)))
CALL(sleep_until, thrum_sleep_until((thrum_time){ 0 }))
CALL(chan_send, thrum_chan_send(&w->chan, w->item))
CALL(chan_recv, thrum_chan_recv(&w->chan, w->item))
CALL(send_many, thrum_chan_send_many(&w->chan, w->item, 1, &w->done))
CALL(recv_many, thrum_chan_recv_many(&w->chan, w->item, 1, 2, &w->done))
CALL(sem_acquire, thrum_sem_acquire(&w->sem, 1))
CALL(sem_acquire_none, thrum_sem_acquire(&w->sem, 0))
CALL(mutex_lock, and_then(thrum_mutex_lock(&w->mutex), thrum_mutex_unlock, &w->mutex))
CALL(cond_wait, with_lock(w, 0))
CALL(promise_await, thrum_promise_await(&w->kept, NULL))
CALL(latch_wait, thrum_latch_wait(&w->latch))
CALL(barrier_wait, thrum_barrier_wait(&w->barrier))
CALL(select, thrum_select(&w->select, 1))
CALL(limiter, thrum_limiter_acquire(&w->limiter, 1))
CALL(zip_none, thrum_zip_par_n(w->fx, 0))
CALL(zip, thrum_zip_par_n(w->fx, 2))
CALL(zip_with, thrum_zip_par_with(w->fx, 2, NULL))
CALL(settle, thrum_zip_settle_n(w->fx, 2, w->item))
CALL(race, thrum_race_n(w->fx, 1))
CALL(race_with, thrum_race_with(w->fx, 1, NULL))
CALL(race_first, thrum_race_first_n(w->fx, 1, NULL))
CALL(race_in, thrum_race_in(&w->scope, w->fx, 1))
CALL(for_none, thrum_for_each_par_n(run_it_run_, &w->ran, 0, 0, 1))
CALL(for_each, thrum_for_each_par_n(run_it_run_, &w->ran, 1, 0, 1))
CALL(for_with, thrum_for_each_par_with(run_it_run_, &w->ran, 1, 0, 1, NULL))
CALL(timeout, thrum_timeout(w->fx[0], thrum_sec(1)))
CALL(timeout_opt, thrum_timeout_opt(w->fx[0], thrum_sec(1), NULL))
CALL(timeout_in, thrum_timeout_in(&w->scope, w->fx[0], thrum_sec(1)))
CALL(bracket, thrum_bracket(w->fx[0], w->fx[0], w->fx[0]))
CALL(bracket_i, thrum_bracket_interruptible(w->fx[0], w->fx[0], w->fx[0]))
CALL(acquire, thrum_acquire_release(w->fx[0], w->fx[0]))
CALL(acquire_i, thrum_acquire_release_interruptible(w->fx[0], w->fx[0]))
CALL(retry, thrum_retry(w->fx[0], &w->once))
CALL(retry_if, thrum_retry_if(w->fx[0], &w->once, NULL, NULL))
CALL(repeat, thrum_repeat(w->fx[0], &w->once))
CALL(hedge, thrum_hedge_n(w->fx, 2, thrum_sec(1)))
CALL(breaker, thrum_breaker_call(&w->breaker, w->fx[0]))
CALL(layers, with_layer(w, build_it, w->fx[0]))
CALL(blocking, thrum_blocking(w->fx[0]))
CALL(blocking_with, thrum_blocking_with(w->fx[0], NULL))

CALL(call, thrum_call(w->fx[0]))
CALL(then, thrum_then(w->fx[0], thrum_succeed()))
CALL(or_else, thrum_or_else(w->fx[0], w->fx[1]))
CALL(catch_cause, thrum_catch_cause(w->fx[0], handle_cause, NULL))
CALL(shield, thrum_shield(w->fx[0]))
CALL(mask, thrum_mask(run_masked, w))
CALL(local_with, thrum_local_with(&local, w, w->fx[0]))
CALL(local_set, thrum_local_set(&local, w))
CALL(provide, thrum_service_provide(&service, w, w->fx[0]))
CALL(test_clock, thrum_with_test_clock(&w->clock, w->fx[0]))
CALL(mutex_try, and_then(thrum_mutex_try_lock(&w->mutex), thrum_mutex_unlock, &w->mutex))
CALL(mutex_unlock, thrum_mutex_unlock(&w->mutex))
CALL(cond_signal, thrum_cond_signal(&w->cond))
CALL(cond_broadcast, thrum_cond_broadcast(&w->cond))
CALL(limiter_try, thrum_limiter_try_acquire(&w->limiter, 1))
CALL(scope_open, open_and_close())

CALL(try_send, thrum_chan_try_send(&w->chan, w->item))
CALL(try_recv, thrum_chan_try_recv(&w->chan, w->item))
CALL(chan_len, (int)thrum_chan_len(&w->chan))
CALL(chan_close, thrum_chan_close(&w->chan))
CALL(sem_try, thrum_sem_try_acquire(&w->sem, 1))
CALL(sem_release, thrum_sem_release(&w->sem, 1))
CALL(promise_set, thrum_promise_set(&w->open, 0, NULL))
CALL(promise_set_again, thrum_promise_set(&w->kept, 0, NULL))
CALL(promise_try, thrum_promise_try_await(&w->kept, NULL))
CALL(promise_try_open, thrum_promise_try_await(&w->open, NULL))
CALL(latch_arrive, thrum_latch_arrive(&w->latch))
CALL(latch_try, thrum_latch_try_wait(&w->latch))
CALL(try_select, thrum_try_select(&w->select, 1))
CALL(token, (thrum_token_cancel(&w->token), thrum_token_cancelled(&w->token)))
CALL(breaker_reset, (thrum_breaker_reset(&w->breaker), 0))
CALL(nosuspend, (thrum_nosuspend_begin(), thrum_nosuspend_end(), 0))
CALL(run_inside, thrum_run(THRUM_OPTS(.workers = 1), w->fx[0]))

/* In a fiber; in a cancelled scope; on a plain thread. */
enum { CANCELED = -ECANCELED, NOTFIBER = THRUM_ENOTFIBER, LAST = THRUM_BARRIER_LAST, NOT_HERE = 1000 };
static const struct row {
	const char *name;
	int (*call)(struct world *w);
	int free, cancelled, plain;
} rows[] = {
#define ROW(name_, ...) { #name_, call_##name_, __VA_ARGS__ }
	/* what may suspend */
	ROW(check, 0, CANCELED, NOTFIBER), ROW(yield, 0, CANCELED, NOTFIBER), ROW(sleep, 0, CANCELED, NOTFIBER),
	ROW(sleep_back, 0, CANCELED, NOTFIBER), ROW(sleep_until, 0, CANCELED, NOTFIBER),
	ROW(chan_send, 0, CANCELED, NOTFIBER), ROW(chan_recv, 0, CANCELED, NOTFIBER),
	ROW(send_many, 0, CANCELED, NOTFIBER), ROW(recv_many, 0, CANCELED, NOTFIBER),
	ROW(sem_acquire, 0, CANCELED, NOTFIBER), ROW(sem_acquire_none, 0, CANCELED, NOTFIBER),
	ROW(mutex_lock, 0, CANCELED, NOTFIBER), ROW(cond_wait, NOT_HERE, CANCELED, NOTFIBER),
	ROW(promise_await, 0, CANCELED, NOTFIBER), ROW(latch_wait, 0, CANCELED, NOTFIBER),
	ROW(barrier_wait, LAST, CANCELED, NOTFIBER), ROW(select, 0, CANCELED, NOTFIBER),
	ROW(limiter, 0, CANCELED, NOTFIBER),
	ROW(zip_none, 0, CANCELED, NOTFIBER), ROW(zip, 0, CANCELED, NOTFIBER), ROW(zip_with, 0, CANCELED, NOTFIBER),
	ROW(settle, 0, CANCELED, NOTFIBER), ROW(race, 0, CANCELED, NOTFIBER), ROW(race_with, 0, CANCELED, NOTFIBER),
	ROW(race_first, 0, CANCELED, NOTFIBER), ROW(race_in, 0, CANCELED, NOTFIBER),
	ROW(for_none, 0, CANCELED, NOTFIBER), ROW(for_each, 0, CANCELED, NOTFIBER), ROW(for_with, 0, CANCELED, NOTFIBER),
	ROW(timeout, 0, CANCELED, NOTFIBER), ROW(timeout_opt, 0, CANCELED, NOTFIBER),
	ROW(timeout_in, 0, CANCELED, NOTFIBER),
	ROW(bracket, 0, CANCELED, NOTFIBER), ROW(bracket_i, 0, CANCELED, NOTFIBER),
	ROW(acquire, 0, CANCELED, NOTFIBER), ROW(acquire_i, 0, CANCELED, NOTFIBER),
	ROW(retry, 0, CANCELED, NOTFIBER), ROW(retry_if, 0, CANCELED, NOTFIBER), ROW(repeat, 0, CANCELED, NOTFIBER),
	ROW(hedge, 0, CANCELED, NOTFIBER), ROW(breaker, 0, CANCELED, NOTFIBER), ROW(layers, 0, CANCELED, NOTFIBER),
	ROW(blocking, 0, CANCELED, NOTFIBER), ROW(blocking_with, 0, CANCELED, NOTFIBER),
	/* in a fiber's place, no checkpoints of their own */
	ROW(call, 0, 0, 0), ROW(then, 0, CANCELED, NOTFIBER), ROW(or_else, 0, 0, NOTFIBER),
	ROW(catch_cause, 0, 0, NOTFIBER), ROW(shield, 0, 0, NOTFIBER), ROW(mask, 0, 0, NOTFIBER),
	ROW(local_with, 0, 0, NOTFIBER), ROW(local_set, 0, 0, NOTFIBER), ROW(provide, 0, 0, NOTFIBER),
	ROW(test_clock, 0, 0, NOTFIBER), ROW(mutex_try, 0, 0, NOTFIBER), ROW(mutex_unlock, -EPERM, -EPERM, NOTFIBER),
	ROW(cond_signal, 0, 0, NOTFIBER), ROW(cond_broadcast, 0, 0, NOTFIBER), ROW(limiter_try, 0, 0, NOTFIBER),
	ROW(scope_open, 0, 0, NOTFIBER),
	/* on any thread */
	ROW(try_send, 0, 0, 0), ROW(try_recv, 0, 0, 0), ROW(chan_len, 1, 1, 1), ROW(chan_close, 0, 0, 0),
	ROW(sem_try, 0, 0, 0), ROW(sem_release, 0, 0, 0), ROW(promise_set, 0, 0, 0),
	ROW(promise_set_again, -EALREADY, -EALREADY, -EALREADY), ROW(promise_try, 0, 0, 0),
	ROW(promise_try_open, -EAGAIN, -EAGAIN, -EAGAIN), ROW(latch_arrive, -EALREADY, -EALREADY, -EALREADY),
	ROW(latch_try, 0, 0, 0), ROW(try_select, 0, 0, 0), ROW(token, 1, 1, 1), ROW(breaker_reset, 0, 0, 0),
	ROW(nosuspend, 0, 0, 0), ROW(run_inside, -EDEADLK, -EDEADLK, NOT_HERE),
};
enum { ROWS = sizeof rows / sizeof *rows };

/* The address must not be kept over a suspension; to ThreadSanitizer the fibers of a thread are threads. */
#define ERRNO_ACCESSOR __attribute__((noinline, no_sanitize("thread")))
static ERRNO_ACCESSOR int read_errno(void) { return errno; }
static ERRNO_ACCESSOR void write_errno(int e) { errno = e; }

static void check_row(const struct row *row, struct world *w, int want, const char *where)
{
	int code;

	write_errno(ENOTTY);
	code = row->call(w);
	if (code != want)
		th_check_failed(__FILE__, __LINE__, "%s %s: %d, not %d", row->name, where, code, want);
	if (read_errno() != ENOTTY)
		th_check_failed(__FILE__, __LINE__, "%s %s: errno is %d", row->name, where, read_errno());
}

TH_FIBER_TEST(JUMP, calls, succeed_in_a_fiber_and_leave_errno_alone_X3)
{
	static struct world w;

	for (const struct row *row = rows; row < rows + ROWS; row++) {
		if (row->free == NOT_HERE)
			continue;
		make_world(&w);
		TH_CHECK_EQ(thrum_scope_open(&w.scope), 0);
		check_row(row, &w, row->free, "in a fiber");
		TH_CHECK_EQ(thrum_scope_close(&w.scope), 0);
		drop_world(&w);
	}
	return 0;
}

/* A call that was cancelled has done nothing. */
static void check_untouched(struct world *w)
{
	TH_CHECK_EQ(th_counted(&w->ran), 0);
	TH_CHECK_EQ(thrum_chan_len(&w->chan), 1);
	TH_CHECK_EQ(thrum_sem_try_acquire(&w->sem, 1), 0);
	TH_CHECK_EQ(thrum_mutex_try_lock(&w->mutex), 0);
	TH_CHECK_EQ(thrum_mutex_unlock(&w->mutex), 0);
	TH_CHECK_EQ(thrum_limiter_available(&w->limiter), 5);
}

TH_FIBER_TEST(JUMP, calls, that_may_suspend_are_checkpoints_and_no_others_G3_X3)
{
	static struct world w;

	for (const struct row *row = rows; row < rows + ROWS; row++) {
		thrum_scope cancelled;

		make_world(&w);
		TH_CHECK_EQ(thrum_scope_open(&w.scope), 0);
		TH_CHECK_EQ(thrum_scope_open(&cancelled), 0);
		thrum_scope_cancel(&cancelled);
		check_row(row, &w, row->cancelled, "in a cancelled scope");
		TH_CHECK_EQ(thrum_scope_close(&cancelled), 0);
		TH_CHECK_EQ(thrum_scope_close(&w.scope), 0);
		if (row->cancelled == CANCELED && row->call != call_then)
			check_untouched(&w);
		drop_world(&w);
	}
	return 0;
}

TH_TEST(calls, on_a_plain_thread_say_so_or_work_X1_X3)
{
	static struct world w;

	for (const struct row *row = rows; row < rows + ROWS; row++) {
		if (row->plain == NOT_HERE)
			continue;
		make_world(&w);
		check_row(row, &w, row->plain, "on a plain thread");
		if (row->plain == NOTFIBER)
			TH_CHECK_EQ(th_counted(&w.ran), 0);
		drop_world(&w);
	}
}

/* --- E6: effects without a function --- */

CALL(no_call, thrum_call(w->none))
CALL(no_zip, thrum_zip_par_with((thrum_fx[]){ w->fx[0], w->none }, 2, NULL))
CALL(no_zip_drop, thrum_zip_par_with((thrum_fx[]){ w->none, w->fx[0] }, 2, THRUM_FAN_OPTS(.drop = free)))
CALL(no_settle, thrum_zip_settle_n((thrum_fx[]){ w->fx[0], w->none }, 2, w->item))
CALL(no_race, thrum_race_with((thrum_fx[]){ w->fx[0], w->none }, 2, NULL))
CALL(no_race_first, thrum_race_first_n((thrum_fx[]){ w->none, w->fx[0] }, 2, NULL))
CALL(no_race_in, thrum_race_in(&w->scope, (thrum_fx[]){ w->fx[0], w->none }, 2))
CALL(no_array_in, thrum_race_in(&w->scope, NULL, 2))
CALL(no_hedge, thrum_hedge_n((thrum_fx[]){ w->fx[0], w->none }, 2, thrum_ms(1)))
CALL(no_item, thrum_for_each_par_n(NULL, w->item, 2, sizeof(int), 1))
CALL(no_item_with, thrum_for_each_par_with(NULL, w->item, 2, sizeof(int), 1, THRUM_FAN_OPTS(.codes = w->item)))
CALL(no_timeout, thrum_timeout(w->none, thrum_ms(1)))
CALL(no_timeout_opt, thrum_timeout_opt(w->none, thrum_ms(1), NULL))
CALL(no_timeout_in, thrum_timeout_in(&w->scope, w->none, thrum_ms(1)))
CALL(no_timeout_0, thrum_timeout(w->none, thrum_ms(0)))
CALL(no_first, thrum_then(w->none, w->fx[0]))
CALL(no_next, thrum_then(w->fx[0], w->none))
CALL(no_try, thrum_or_else(w->none, w->fx[0]))
CALL(no_fallback, thrum_or_else(w->fx[0], w->none))
CALL(no_caught, thrum_catch_cause(w->none, handle_cause, NULL))
CALL(no_handler, thrum_catch_cause(w->fx[0], NULL, NULL))
CALL(no_acquire, thrum_bracket(w->none, w->fx[0], w->fx[0]))
CALL(no_use, thrum_bracket(w->fx[0], w->none, w->fx[0]))
CALL(no_release, thrum_bracket(w->fx[0], w->fx[0], w->none))
CALL(no_acquire_i, thrum_bracket_interruptible(w->none, w->fx[0], w->fx[0]))
CALL(no_use_i, thrum_bracket_interruptible(w->fx[0], w->none, w->fx[0]))
CALL(no_release_i, thrum_bracket_interruptible(w->fx[0], w->fx[0], w->none))
CALL(no_scoped, thrum_acquire_release(w->none, w->fx[0]))
CALL(no_scoped_release, thrum_acquire_release(w->fx[0], w->none))
CALL(no_scoped_i, thrum_acquire_release_interruptible(w->none, w->fx[0]))
CALL(no_scoped_release_i, thrum_acquire_release_interruptible(w->fx[0], w->none))
CALL(no_shield, thrum_shield(w->none))
CALL(no_mask, thrum_mask(NULL, w))
CALL(no_retry, thrum_retry(w->none, &w->once))
CALL(no_retry_if, thrum_retry_if(w->none, &w->once, NULL, NULL))
CALL(no_repeat, thrum_repeat(w->none, &w->once))
CALL(no_schedule, thrum_retry(w->fx[0], NULL))
CALL(no_breaker, thrum_breaker_call(&w->breaker, w->none))
CALL(no_local, thrum_local_with(&local, w, w->none))
CALL(no_provide, thrum_service_provide(&service, w, w->none))
CALL(no_test_clock, thrum_with_test_clock(&w->clock, w->none))
CALL(no_layers, with_layer(w, build_it, w->none))
CALL(no_build, with_layer(w, NULL, w->fx[0]))
CALL(no_blocking, thrum_blocking(w->none))
CALL(no_blocking_with, thrum_blocking_with(w->none, THRUM_BLOCKING_OPTS(.abandon = true)))
CALL(no_spawn, thrum_spawn(&w->scope, &(thrum_task){ { 0 } }, w->none))
CALL(no_spawn_with, thrum_spawn_with(&w->scope, NULL, w->none, THRUM_SPAWN_OPTS(.isolated = true)))
CALL(no_go, thrum_go(&w->scope, w->none))
CALL(no_defer, thrum_defer(&w->scope, &(thrum_deferred){ { 0 } }, w->none))
CALL(no_start, thrum_rt_start(thrum_rt_self(), &(thrum_handle){ { 0 } }, w->none))
CALL(no_zip_fx, thrum_call(thrum_zip_par_fx(&(thrum_zip_par_op){ &w->none, 1 })))
CALL(no_settle_fx, thrum_call(thrum_zip_settle_fx(&(thrum_zip_settle_op){ &w->none, 1, w->item })))
CALL(no_race_fx, thrum_call(thrum_race_fx(&(thrum_race_op){ &w->none, 1, NULL })))
CALL(no_race_first_fx, thrum_call(thrum_race_first_fx(&(thrum_race_op){ &w->none, 1, NULL })))
CALL(no_for_fx, thrum_call(thrum_for_each_par_fx(&(thrum_for_each_par_op){ NULL, w, 1, 0, 1 })))
CALL(no_timeout_fx, thrum_call(thrum_timeout_fx(&(thrum_timeout_op){ w->none, thrum_ms(1) })))
CALL(no_then_fx, thrum_call(thrum_then_fx(&(thrum_then_op){ w->fx[0], w->none })))
CALL(no_or_else_fx, thrum_call(thrum_or_else_fx(&(thrum_or_else_op){ w->fx[0], w->none })))
CALL(no_bracket_fx, thrum_call(thrum_bracket_fx(&(thrum_bracket_op){ w->fx[0], w->fx[0], w->none })))
CALL(no_shield_fx, thrum_call(thrum_shield_fx(&(thrum_shield_op){ w->none })))
CALL(no_breaker_fx, thrum_call(thrum_breaker_fx(&(thrum_breaker_op){ &w->breaker, w->none })))

static const struct row refused[] = {
#define REFUSED(name_) { #name_, call_##name_, -EINVAL, 0, 0 }
	REFUSED(no_call), REFUSED(no_zip), REFUSED(no_zip_drop), REFUSED(no_settle), REFUSED(no_race),
	REFUSED(no_race_first), REFUSED(no_race_in), REFUSED(no_array_in), REFUSED(no_hedge), REFUSED(no_item),
	REFUSED(no_item_with), REFUSED(no_timeout), REFUSED(no_timeout_opt), REFUSED(no_timeout_in), REFUSED(no_timeout_0),
	REFUSED(no_first), REFUSED(no_next), REFUSED(no_try), REFUSED(no_fallback), REFUSED(no_caught),
	REFUSED(no_handler), REFUSED(no_acquire), REFUSED(no_use), REFUSED(no_release), REFUSED(no_acquire_i),
	REFUSED(no_use_i), REFUSED(no_release_i), REFUSED(no_scoped), REFUSED(no_scoped_release), REFUSED(no_scoped_i),
	REFUSED(no_scoped_release_i), REFUSED(no_shield), REFUSED(no_mask), REFUSED(no_retry), REFUSED(no_retry_if),
	REFUSED(no_repeat), REFUSED(no_schedule), REFUSED(no_breaker), REFUSED(no_local), REFUSED(no_provide),
	REFUSED(no_test_clock), REFUSED(no_layers), REFUSED(no_build), REFUSED(no_blocking), REFUSED(no_blocking_with),
	REFUSED(no_spawn), REFUSED(no_spawn_with), REFUSED(no_go), REFUSED(no_defer), REFUSED(no_start),
	REFUSED(no_zip_fx), REFUSED(no_race_fx), REFUSED(no_race_first_fx), REFUSED(no_for_fx), REFUSED(no_timeout_fx),
	REFUSED(no_then_fx), REFUSED(no_or_else_fx), REFUSED(no_bracket_fx), REFUSED(no_shield_fx), REFUSED(no_breaker_fx),
	REFUSED(no_settle_fx),
};

TH_FIBER_TEST(JUMP, calls, without_a_function_are_refused_before_anything_runs_E6_X3)
{
	static struct world w;

	for (const struct row *row = refused; row < refused + sizeof refused / sizeof *refused; row++) {
		make_world(&w);
		TH_CHECK_EQ(thrum_scope_open(&w.scope), 0);
		check_row(row, &w, row->free, "without a function");
		TH_CHECK_EQ(thrum_scope_close(&w.scope), 0);
		if (th_counted(&w.ran) != 0)
			th_check_failed(__FILE__, __LINE__, "%s has run something", row->name);
		drop_world(&w);
	}
	return 0;
}

TH_TEST(calls, to_run_nothing_are_refused_E6)
{
	const thrum_fx none = { NULL, NULL };
	thrum_handle h;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_run(NULL, none), -EINVAL);
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_run(rt, none), -EINVAL);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, none), -EINVAL);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}
