/* test/core/test_acquire.c: thrum_bracket and thrum_acquire_release (A1, A3-A9). */
#include <pthread.h>
#include "test/support/child.h"
#include "test/support/rules.h"

/* A resource that notes in which order it was treated: 'a' acquire, 'u' use, 'r' release. */
struct resource {
	int acquire_ms, acquire_code, use_ms, use_code, release_ms, release_code;
	char log[16];
	int n, exit_code, acquired, released;
	pthread_t used_on, released_on;
};

static int acquire(struct resource *r)
{
	r->log[r->n++] = 'a';
	if (r->acquire_ms)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(r->acquire_ms)), 0);
	return r->acquire_code;
}
THRUM_FX(acquire, struct resource);

static int use(struct resource *r)
{
	int code = r->use_ms ? thrum_sleep(thrum_ms(r->use_ms)) : 0;

	r->log[r->n++] = 'u';
	r->used_on = pthread_self();
	return code < 0 ? code : r->use_code;
}
THRUM_FX(use, struct resource);

static int release(struct resource *r)
{
	r->exit_code = thrum_exit_code();
	r->released_on = pthread_self();
	if (r->release_ms)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(r->release_ms)), 0);
	r->log[r->n++] = 'r';
	r->released++;
	return r->release_code;
}
THRUM_FX(release, struct resource);

static int bracket(struct resource *r)
{
	return thrum_bracket(acquire_fx(r), use_fx(r), release_fx(r));
}
THRUM_FX(bracket, struct resource);

static int scoped(struct resource *r)
{
	int code = thrum_acquire_release(acquire_fx(r), release_fx(r));

	return code < 0 ? code : use(r);
}
THRUM_FX(scoped, struct resource);

#define CHECK_LOG(r, text) TH_CHECK(strcmp((r)->log, (text)) == 0)

/* --- A1, A3: acquiring --- */

TH_FIBER_TEST(JUMP, acquire, cancel_meanwhile_skips_use_and_releases_A1) /* D11 */
{
	struct resource r = { .acquire_ms = 30 };
	thrum_time start = thrum_now();

	TH_CHECK_EQ(thrum_timeout(bracket_fx(&r), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(start), 30);
	CHECK_LOG(&r, "ar");
	TH_CHECK_EQ(r.exit_code, -ECANCELED);
	return 0;
}

TH_FIBER_TEST(JUMP, acquire, cancelled_before_does_not_acquire_A1)
{
	struct resource r = { 0 };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(bracket(&r), -ECANCELED);
	TH_CHECK_EQ(scoped(&r), -ECANCELED);
	CHECK_LOG(&r, "");
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, acquire, failed_acquire_is_not_released_A3)
{
	struct resource r = { .acquire_code = THRUM_APP(1) }, q = r;
	thrum_scope s;

	TH_CHECK_EQ(bracket(&r), THRUM_APP(1));
	CHECK_LOG(&r, "a");
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(scoped(&q), THRUM_APP(1));
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	CHECK_LOG(&q, "a");
	return 0;
}

/* --- A4: releasing --- */

TH_FIBER_TEST(JUMP, acquire, released_once_after_use_with_its_code_A4)
{
	struct resource ok = { .use_code = 5 }, bad = { .use_code = THRUM_APP(2) };

	TH_CHECK_EQ(bracket(&ok), 5);
	CHECK_LOG(&ok, "aur");
	TH_CHECK_EQ(ok.exit_code, 5);
	TH_CHECK_EQ(bracket(&bad), THRUM_APP(2));
	CHECK_LOG(&bad, "aur");
	TH_CHECK_EQ(bad.exit_code, THRUM_APP(2));
	TH_CHECK_EQ(thrum_exit_code(), 0);
	return 0;
}

TH_FIBER_TEST(JUMP, acquire, release_may_suspend_though_cancelled_A4)
{
	struct resource r = { .use_ms = 100, .release_ms = 40 };
	thrum_time start = thrum_now();

	TH_CHECK_EQ(thrum_timeout(bracket_fx(&r), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(th_ms_since(start), 50);
	CHECK_LOG(&r, "aur");
	TH_CHECK_EQ(r.exit_code, -ECANCELED);
	TH_CHECK(pthread_equal(r.used_on, r.released_on)); /* same fiber, and that stays on its worker */
	return 0;
}

TH_FIBER_TEST(JUMP, acquire, second_cancel_does_not_abort_the_release_A4) /* D12 */
{
	struct resource r = { .use_ms = 100, .release_ms = 40 };
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, bracket_fx(&r)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(10)), 0); /* it is releasing now */
	thrum_task_cancel(&t);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_join(&t), -ECANCELED);
	CHECK_LOG(&r, "aur");
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return 0;
}

/* --- A5, A6, A7 --- */

TH_FIBER_TEST(JUMP, acquire, failure_of_release_counts_if_use_succeeded_A5) /* D13 */
{
	struct resource r = { .use_code = 3, .release_code = THRUM_APP(9) };

	TH_CHECK_EQ(bracket(&r), THRUM_APP(9));
	return 0;
}

TH_FIBER_TEST(JUMP, acquire, failure_of_use_is_primary_A5)
{
	struct resource r = { .use_code = THRUM_APP(2), .release_code = THRUM_APP(9) };

	TH_CHECK_EQ(bracket(&r), THRUM_APP(2));
	CHECK_LOG(&r, "aur");
	return 0;
}

static int scoped_in_timeout(struct resource *r)
{
	return thrum_timeout(scoped_fx(r), thrum_sec(1));
}

TH_FIBER_TEST(JUMP, acquire, scoped_release_that_fails_fails_what_succeeded_A5)
{
	struct resource r = { .use_code = 3, .release_code = THRUM_APP(9) };
	struct resource q = { .use_code = THRUM_APP(2), .release_code = THRUM_APP(9) };

	TH_CHECK_EQ(scoped_in_timeout(&r), THRUM_APP(9));
	TH_CHECK_EQ(scoped_in_timeout(&q), THRUM_APP(2));
	return 0;
}

TH_FIBER_TEST(JUMP, acquire, use_is_as_interruptible_as_the_caller_A6)
{
	struct resource plain = { .use_ms = 100 }, shielded = { .use_ms = 100 };
	thrum_shield_op op = { bracket_fx(&shielded) };

	TH_CHECK_EQ(thrum_timeout(bracket_fx(&plain), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(thrum_timeout(thrum_shield_fx(&op), thrum_ms(10)), 0);
	CHECK_LOG(&shielded, "aur");
	TH_CHECK_EQ(shielded.exit_code, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, acquire, use_that_dies_is_released_A7)
{
	struct resource r = { .use_code = THRUM_EDIED };

	TH_CHECK_EQ(bracket(&r), THRUM_EDIED);
	CHECK_LOG(&r, "aur");
	TH_CHECK_EQ(r.exit_code, THRUM_EDIED);
	return 0;
}

/* --- A8: until the nearest scope closes --- */

TH_FIBER_TEST(JUMP, acquire, scoped_lives_until_its_scope_closes_A8)
{
	struct resource r = { 0 };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(scoped(&r), 0);
	TH_CHECK_EQ(r.released, 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	CHECK_LOG(&r, "aur");
	return 0;
}

TH_FIBER_TEST(JUMP, acquire, scoped_is_released_when_its_zip_child_ends_A8)
{
	struct resource r = { 0 };
	struct th_step other = { .ms = 50 };
	thrum_time start = thrum_now();
	thrum_timeout_op timed = { scoped_fx(&r), thrum_sec(1) };

	TH_CHECK_EQ(thrum_zip_par(scoped_fx(&r), th_step_fx(&other)), 0);
	CHECK_LOG(&r, "aur");
	TH_CHECK_EQ(th_ms_since(start), 50);
	TH_CHECK_EQ(thrum_call(thrum_timeout_fx(&timed)), 0);
	CHECK_LOG(&r, "auraur");
	return 0;
}

/* The release of a child is due when the child ends, not with its siblings: the connection is back at 10 + 5 ms. */
struct timed {
	struct resource r;
	long long back_at;
};
static int note_return(void *arg)
{
	struct timed *t = arg;

	t->back_at = th_now_ms();
	return 0;
}
static int take_and_work(void *arg)
{
	struct timed *t = arg;
	int code = thrum_acquire_release(acquire_fx(&t->r), (thrum_fx){ note_return, t });

	return code < 0 ? code : thrum_sleep(thrum_ms(10));
}

TH_FIBER_TEST(JUMP, acquire, release_does_not_wait_for_siblings_A8)
{
	struct timed t = { .back_at = 0 };
	struct th_step other = { .ms = 50 };
	long long start = th_now_ms();

	TH_CHECK_EQ(thrum_zip_par((thrum_fx){ take_and_work, &t }, th_step_fx(&other)), 0);
	TH_CHECK_EQ(t.back_at - start, 10);
	return 0;
}

/* The guide's pool (M23): ten operations on three connections. */
struct pool {
	thrum_chan idle;
	th_counter out, out_max, done;
};
struct op {
	struct pool *pool;
	int conn;
};
static int conn_take(void *arg)
{
	struct op *o = arg;
	int code = thrum_chan_recv(&o->pool->idle, &o->conn);

	if (code == 0)
		th_count_max(&o->pool->out_max, th_count(&o->pool->out, 1));
	return code;
}
static int conn_back(void *arg)
{
	struct op *o = arg;

	th_count(&o->pool->out, -1);
	return thrum_chan_send(&o->pool->idle, &o->conn);
}
static int operation(struct op *o)
{
	int code = thrum_acquire_release((thrum_fx){ conn_take, o }, (thrum_fx){ conn_back, o });

	if (code == 0)
		code = thrum_sleep(thrum_ms(10));
	if (code == 0)
		th_count(&o->pool->done, 1);
	return code;
}
THRUM_FX(operation, struct op);

TH_FIBER_TEST(JUMP, acquire, pooled_connection_is_back_when_its_item_ends_A8)
{
	thrum_time start = thrum_now();
	struct pool pool = { 0 };
	struct op ops[10];

	TH_CHECK_EQ(thrum_chan_init(&pool.idle, sizeof(int), 3), 0);
	for (int i = 0; i < 3; i++)
		TH_CHECK_EQ(thrum_chan_try_send(&pool.idle, &i), 0);
	for (int i = 0; i < 10; i++)
		ops[i] = (struct op){ .pool = &pool };
	TH_CHECK_EQ(thrum_for_each_par(ops, 10, operation, 10), 0);
	TH_CHECK_EQ(th_counted(&pool.done), 10);
	TH_CHECK_EQ(th_counted(&pool.out_max), 3);
	TH_CHECK_EQ(th_counted(&pool.out), 0);
	TH_CHECK_EQ(th_ms_since(start), 40);
	thrum_chan_fini(&pool.idle);
	return 0;
}

static int scoped_note_cancel(struct resource *r)
{
	int code = thrum_acquire_release(acquire_fx(r), release_fx(r));

	TH_CHECK_EQ(code, -ECANCELED);
	TH_CHECK_EQ(r->released, 0);
	return code;
}
THRUM_FX(scoped_note_cancel, struct resource);

TH_FIBER_TEST(JUMP, acquire, scoped_cancelled_while_acquiring_is_released_A8)
{
	struct resource r = { .acquire_ms = 30 };

	TH_CHECK_EQ(thrum_timeout(scoped_note_cancel_fx(&r), thrum_ms(10)), -ETIMEDOUT);
	CHECK_LOG(&r, "ar");
	TH_CHECK_EQ(r.exit_code, -ECANCELED);
	return 0;
}

/* A shield is no scope: the resource outlives it. */
TH_FIBER_TEST(JUMP, acquire, shield_is_not_the_nearest_scope_A8)
{
	struct resource r = { 0 };
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_shield(scoped_fx(&r)), 0);
	TH_CHECK_EQ(r.released, 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(r.released, 1);
	return 0;
}

TH_FIBER_TEST(JUMP, acquire, effects_without_a_function_are_refused_E6)
{
	struct resource r = { 0 };
	const thrum_fx none = { 0 };

	TH_CHECK_EQ(thrum_bracket(none, use_fx(&r), release_fx(&r)), -EINVAL);
	TH_CHECK_EQ(thrum_bracket(acquire_fx(&r), none, release_fx(&r)), -EINVAL);
	TH_CHECK_EQ(thrum_bracket(acquire_fx(&r), use_fx(&r), none), -EINVAL);
	TH_CHECK_EQ(thrum_acquire_release(acquire_fx(&r), none), -EINVAL);
	CHECK_LOG(&r, "");
	return 0;
}

/* --- A9: no memory --- */

enum { TRIES = 1000 };

static int count_up(void *n)
{
	return ++*(int *)n;
}

static void use_up_memory(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_AS, &none);
	for (size_t size = 1 << 20; size >= 1024; size /= 2)
		for (void *volatile p = malloc(size); p; p = malloc(size))
			;
}

static int acquire_without_memory(void *unused)
{
	int acquired = 0, released = 0, succeeded = 0, code = 0;
	thrum_scope s;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	use_up_memory();
	for (int i = 0; i < TRIES && code >= 0; i++) {
		code = thrum_acquire_release((thrum_fx){ count_up, &acquired }, (thrum_fx){ count_up, &released });
		succeeded += code >= 0;
	}
	TH_CHECK_EQ(code, -ENOMEM);
	TH_CHECK_EQ(acquired, succeeded); /* the one that was refused did not acquire */
	TH_CHECK_EQ(released, 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(released, acquired);
	return 0;
}

static void run_without_memory(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), (thrum_fx){ acquire_without_memory, NULL }), 0);
}

TH_TEST(acquire, no_memory_is_told_before_acquire_starts_A9)
{
	struct th_said said;

	if (TH_UNLIMITED)
		return;
	TH_CHECK_CHILD_OK(th_child(run_without_memory, NULL, &said), &said);
}

/* --- A2: an acquire that sees cancels --- */

static int acquire_slowly(struct resource *r)
{
	int code = thrum_sleep(thrum_ms(50));

	r->acquired += code >= 0;
	return code;
}
THRUM_FX(acquire_slowly, struct resource);

static int bracket_interruptible(struct resource *r)
{
	return thrum_bracket_interruptible(acquire_slowly_fx(r), use_fx(r), release_fx(r));
}
THRUM_FX(bracket_interruptible, struct resource);

static int acquire_interruptible(struct resource *r)
{
	return thrum_acquire_release_interruptible(acquire_slowly_fx(r), release_fx(r));
}
THRUM_FX(acquire_interruptible, struct resource);

TH_FIBER_TEST(JUMP, acquire, interruptible_sees_a_cancel_and_releases_nothing_A2_A3)
{
	struct resource a = { 0 }, b = { 0 };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(10, bracket_interruptible_fx(&a));

	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(o.at_ms - t0, 10);
	CHECK_LOG(&a, "");
	o = th_cancel_after(10, acquire_interruptible_fx(&b));
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(o.at_ms - t0, 20);
	CHECK_LOG(&b, "");
	return 0;
}

/* The acquire succeeds though a cancel has come: what it has is released all the same. */
static int acquire_despite(struct resource *r)
{
	(void)thrum_sleep(thrum_ms(50));
	r->acquired++;
	return 0;
}
THRUM_FX(acquire_despite, struct resource);

static int bracket_despite(struct resource *r)
{
	return thrum_bracket_interruptible(acquire_despite_fx(r), use_fx(r), release_fx(r));
}
THRUM_FX(bracket_despite, struct resource);

static int scoped_despite(struct resource *r)
{
	return thrum_acquire_release_interruptible(acquire_despite_fx(r), release_fx(r));
}
THRUM_FX(scoped_despite, struct resource);

TH_FIBER_TEST(JUMP, acquire, interruptible_success_is_always_released_A2)
{
	struct resource a = { 0 }, b = { 0 };

	TH_CHECK_EQ(th_cancel_after(10, bracket_despite_fx(&a)).code, -ECANCELED);
	TH_CHECK_EQ(a.acquired, 1);
	CHECK_LOG(&a, "r");
	TH_CHECK_EQ(th_cancel_after(10, scoped_despite_fx(&b)).code, -ECANCELED);
	TH_CHECK_EQ(b.acquired, 1);
	CHECK_LOG(&b, "r");
	return 0;
}
