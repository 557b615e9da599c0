/* test/core/test_threads.c: which thread may call what, errno, callbacks, stack overflow, shutdown, fork, defects (X1-X3,
 * X5-X7, X10, X11), and chains nested deep. */
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>
#include "test/support/child.h"
#include "test/support/rules.h"

static thrum_fx step(struct th_step *s) { return th_step_fx(s); }

/* --- X1: from a plain thread --- */

TH_TEST(threads, suspending_calls_outside_a_fiber_are_ENOTFIBER_X1)
{
	struct th_step s = { 0 };
	thrum_scope scope = { { 0 } };
	const thrum_reason *none = NULL;
	thrum_deferred d;
	thrum_token token;
	thrum_chan c;
	int item = 1;

	thrum_token_init(&token);
	TH_CHECK_EQ(thrum_chan_init(&c, sizeof item, 0), 0);
	TH_CHECK_EQ(thrum_chan_send(&c, &item), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_chan_recv(&c, &item), THRUM_ENOTFIBER);
	thrum_chan_fini(&c);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_sleep_until(thrum_now()), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_check(), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_yield(), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_shield(step(&s)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_call(thrum_never()), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_scope_close(&scope), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_scope_fail(&scope, -1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_scope_deadline(&scope, thrum_ms(1)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_scope_link(&scope, &token), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_defer(&scope, &d, step(&s)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_exit_code(), 0);
	TH_CHECK_EQ(thrum_deadline().ns, INT64_MAX);
	TH_CHECK(thrum_cancel_reason() == none);
	TH_CHECK(thrum_rt_self() == NULL);
	TH_CHECK_EQ(thrum_workers(), 0);
	TH_CHECK_EQ(s.runs, 0);
}

TH_TEST(threads, combinators_outside_a_fiber_are_ENOTFIBER_X1)
{
	struct th_step s = { 0 };
	const thrum_fx fx[2] = { step(&s), step(&s) };
	int codes[2];

	TH_CHECK_EQ(thrum_zip_par_n(fx, 2), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_zip_settle_n(fx, 2, codes), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_race_n(fx, 2), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_race_first_n(fx, 2, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_for_each_par(&s, 1, th_step, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_timeout(fx[0], thrum_ms(1)), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_timeout_opt(fx[0], thrum_ms(1), NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_or_else(fx[0], fx[1]), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_then(fx[0], fx[1]), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_bracket(fx[0], fx[0], fx[0]), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_acquire_release(fx[0], fx[0]), THRUM_ENOTFIBER);
	TH_CHECK_EQ(s.runs, 0);
}

TH_TEST(threads, io_outside_a_fiber_is_ENOTFIBER_X1)
{
	char byte = 0;
	size_t done;

	TH_CHECK_EQ(thrum_wait_fd(0, POLLIN), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_read(0, &byte, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_write(1, &byte, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pread(0, &byte, 1, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_pwrite(1, &byte, 1, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_recv(0, &byte, 1, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_send(1, &byte, 1, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_read_all(0, &byte, 1, &done), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_write_all(1, &byte, 1, &done), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_send_all(1, &byte, 1, 0, &done), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_accept(0, NULL, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_connect(0, NULL, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_openat(AT_FDCWD, "/", O_RDONLY, 0), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_close(-1), THRUM_ENOTFIBER);
}

/* --- X2: running a runtime from inside one --- */

static int run_inside(void *rt)
{
	thrum_handle h;

	TH_CHECK_EQ(thrum_run(NULL, thrum_succeed()), -EDEADLK);
	TH_CHECK_EQ(thrum_rt_run(rt, thrum_succeed()), -EDEADLK);
	TH_CHECK_EQ(thrum_rt_shutdown(rt), -EDEADLK);
	TH_CHECK_EQ(thrum_rt_close(rt), -EDEADLK);
	TH_CHECK(thrum_rt_self() == rt);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, thrum_succeed()), 0); /* it is still open */
	return thrum_handle_wait(&h);
}

TH_TEST(threads, running_and_closing_from_a_fiber_is_EDEADLK_X2)
{
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_run(rt, (thrum_fx){ run_inside, rt }), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* --- X3: errno --- */

/* Never inlined: the address of a thread-local must not be kept over a suspension. ThreadSanitizer takes fibers for
 * threads, and these share a variable of one thread. */
#define ERRNO_ACCESSOR __attribute__((noinline, no_sanitize("thread")))
static ERRNO_ACCESSOR int read_errno(void) { return errno; }
static ERRNO_ACCESSOR void write_errno(int e) { errno = e; }

enum { ERRNO_ROUNDS = 200 };

static int keep_errno(int *mine)
{
	for (int i = 0; i < ERRNO_ROUNDS; i++) {
		write_errno(*mine + i % 7);
		TH_CHECK_EQ(i % 3 ? thrum_yield() : thrum_sleep(thrum_ms(1)), 0);
		TH_CHECK_EQ(read_errno(), *mine + i % 7);
		TH_CHECK_EQ(thrum_errno(), *mine + i % 7);
	}
	return 0;
}
THRUM_FX(keep_errno, int);

TH_FIBER_TEST(JUMP, threads, errno_is_the_fibers_over_every_suspension_X3)
{
	int mine[8] = { 10, 20, 30, 40, 50, 60, 70, 80 };

	TH_CHECK_EQ(thrum_for_each_par(mine, 8, keep_errno, 8), 0);
	return 0;
}

#define CHECK_KEEPS_ERRNO(call, want)                                                                            \
	do {                                                                                                     \
		write_errno(ENOTTY);                                                                             \
		TH_CHECK_EQ((call), (want));                                                                     \
		TH_CHECK_EQ(read_errno(), ENOTTY);                                                               \
	} while (0)

TH_FIBER_TEST(JUMP, threads, no_call_reports_by_errno_X3)
{
	char byte = 0;
	int item = 0;
	thrum_chan c;

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof item, 1), 0);
	CHECK_KEEPS_ERRNO(thrum_read(-1, &byte, 1), -EBADF);
	CHECK_KEEPS_ERRNO(thrum_write(-1, &byte, 1), -EBADF);
	CHECK_KEEPS_ERRNO(thrum_openat(AT_FDCWD, "/nonexistent", O_RDONLY, 0), -ENOENT);
	CHECK_KEEPS_ERRNO(thrum_accept(-1, NULL, NULL), -EBADF);
	CHECK_KEEPS_ERRNO(thrum_chan_try_recv(&c, &item), -EAGAIN);
	CHECK_KEEPS_ERRNO(thrum_timeout(thrum_never(), thrum_ms(1)), -ETIMEDOUT);
	CHECK_KEEPS_ERRNO(thrum_clock_advance(NULL, thrum_ms(1)), -EINVAL);
	CHECK_KEEPS_ERRNO(thrum_zip_par(thrum_fail(-EIO), thrum_succeed()), -EIO);
	thrum_chan_fini(&c);
	return 0;
}

/* --- X5: callbacks run without locks --- */

struct busy {
	thrum_scope *scope;
	thrum_chan *chan;
	thrum_task *task;
	thrum_deferred own, late;
	int runs;
};
/* Any call is allowed in a finalizer or a drop, also on the very scope and channel. */
static int call_everything(void *arg)
{
	struct busy *b = arg;
	struct th_step quick = { .ms = 1 };
	int item = 1;
	thrum_scope s;
	thrum_task t;

	b->runs++;
	thrum_scope_cancel(b->scope);
	thrum_task_cancel(b->task);
	TH_CHECK(!thrum_undefer(&b->own));
	TH_CHECK(thrum_spawn(b->scope, &t, step(&quick)) < 0);
	TH_CHECK_EQ(thrum_chan_send(b->chan, &item), 0);
	TH_CHECK_EQ(thrum_chan_recv(b->chan, &item), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&quick)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(quick.ended, 1);
	return thrum_zip_par(thrum_succeed(), thrum_succeed());
}

TH_FIBER_TEST(JUMP, threads, finalizers_and_drops_may_call_anything_X5)
{
	struct th_step body = { 0 };
	thrum_scope s;
	thrum_chan c;
	thrum_task t;
	struct busy b = { .scope = &s, .chan = &c, .task = &t };

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &b.own, (thrum_fx){ call_everything, &b }), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, step(&body)), 0);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(b.runs, 1);
	thrum_chan_fini(&c);
	return 0;
}

TH_FIBER_TEST(JUMP, threads, drop_of_a_refused_child_may_call_anything_X5)
{
	struct th_step body = { 0 };
	thrum_scope s;
	thrum_chan c;
	thrum_task ended, t;
	struct busy b = { .scope = &s, .chan = &c, .task = &ended };

	TH_CHECK_EQ(thrum_chan_init(&c, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &ended, step(&body)), 0);
	TH_CHECK_EQ(thrum_join(&ended), 0);
	TH_CHECK_EQ(thrum_defer(&s, &b.own, thrum_succeed()), 0);
	TH_CHECK(thrum_undefer(&b.own));
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, step(&body), THRUM_SPAWN_OPTS(.drop = { call_everything, &b })), -ECANCELED);
	TH_CHECK_EQ(b.runs, 1);
	TH_CHECK_EQ(body.runs, 1);
	(void)thrum_scope_close(&s);
	thrum_chan_fini(&c);
	return 0;
}

/* Every other callback, in the middle of what calls it: it may use the same object. */
struct callback {
	thrum_chan *chan;
	th_counter calls;
};
static void call_back(struct callback *c)
{
	struct th_step a = { .ms = 1 }, b = { .ms = 1 };

	th_count(&c->calls, 1);
	TH_CHECK_EQ(thrum_zip_par(step(&a), step(&b)), 0);
	TH_CHECK_EQ(a.ended + b.ended, 2);
}
static void drop_item(void *item, void *arg)
{
	struct callback *c = arg;
	int other = 1;

	(void)item;
	call_back(c);
	if (c->chan && th_counted(&c->calls) < 3)
		TH_CHECK_EQ(thrum_chan_send(c->chan, &other), THRUM_CHAN_DROPPED); /* calls it again */
}
TH_FIBER_TEST(JUMP, threads, drops_of_a_channel_may_use_the_channel_X5)
{
	struct callback c = { .calls = { 0 } };
	thrum_chan chan;
	int item = 0;

	c.chan = &chan;
	TH_CHECK_EQ(thrum_chan_init_with(&chan, THRUM_CHAN_OPTS(.item_bytes = sizeof item, .capacity = 1,
								.overflow = THRUM_OVERFLOW_DROP_NEW,
								.drop = drop_item, .drop_arg = &c)), 0);
	TH_CHECK_EQ(thrum_chan_send(&chan, &item), 0);
	TH_CHECK_EQ(thrum_chan_send(&chan, &item), THRUM_CHAN_DROPPED);
	TH_CHECK_EQ(th_counted(&c.calls), 3);
	c.chan = NULL; /* at its end it is no more to be used */
	thrum_chan_fini(&chan);
	TH_CHECK_EQ(th_counted(&c.calls), 4);
	return 0;
}

struct value {
	struct callback *c;
	int ms, code;
};
static int make_value(struct value *v)
{
	int code = thrum_sleep(thrum_ms(v->ms));

	return code < 0 && v->code == 0 ? 0 : v->code; /* succeeds though it is cancelled */
}
THRUM_FX(make_value, struct value);
static void drop_value(void *v) { call_back(((struct value *)v)->c); }
static void merge_values(void *winner, void *also)
{
	TH_CHECK(winner != also);
	drop_value(also);
}

TH_FIBER_TEST(JUMP, threads, drops_and_combines_of_combinators_may_call_anything_X5)
{
	struct callback c = { .calls = { 0 } };
	struct value v[3] = { { &c, 1, 0 }, { &c, 2, 0 }, { &c, 5, THRUM_APP(1) } };
	const thrum_fx fx[] = { make_value_fx(&v[0]), make_value_fx(&v[1]), make_value_fx(&v[2]) };

	TH_CHECK_EQ(thrum_zip_par_with(fx, 3, THRUM_FAN_OPTS(.drop = drop_value)), THRUM_APP(1));
	TH_CHECK_EQ(th_counted(&c.calls), 2);
	TH_CHECK_EQ(thrum_race_with(fx, 2, THRUM_FAN_OPTS(.combine = merge_values)), 0);
	TH_CHECK_EQ(th_counted(&c.calls), 3);
	return 0;
}

static bool ask_back(void *c, int code)
{
	call_back(c);
	return code != THRUM_APP(2);
}
static void drop_detail(void *c) /* must not suspend */
{
	int item;

	TH_CHECK_EQ(thrum_chan_try_send(((struct callback *)c)->chan, &(int){ 1 }), 0);
	TH_CHECK_EQ(thrum_chan_try_recv(((struct callback *)c)->chan, &item), 0);
	TH_CHECK(thrum_last_cause() == NULL || thrum_last_cause()->detail != c);
	TH_CHECK(thrum_self_id() != NULL);
	TH_CHECK_EQ(thrum_or_else(thrum_fail(THRUM_APP(3)), thrum_fail(THRUM_APP(4))), THRUM_APP(4)); /* a cause of its own */
	th_count(&((struct callback *)c)->calls, 1);
}
static int look_at_cause(const thrum_cause *cause, void *unused)
{
	(void)unused;
	return strcmp(cause->what, "with a detail");
}
static int fail_with_detail(struct callback *c)
{
	return thrum_failed_with(THRUM_APP(1), "with a detail", c, drop_detail);
}
THRUM_FX(fail_with_detail, struct callback);

TH_FIBER_TEST(JUMP, threads, predicates_and_drops_of_causes_may_call_back_X5)
{
	struct callback c = { .calls = { 0 } };
	thrum_schedule s;
	thrum_chan chan;

	c.chan = &chan;
	s = thrum_while_(thrum_recurs(2), ask_back, &c);
	TH_CHECK_EQ(thrum_chan_init(&chan, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_retry_if(thrum_fail(THRUM_APP(1)), &s, ask_back, &c), THRUM_APP(1));
	TH_CHECK(th_counted(&c.calls) >= 4);
	c.calls.x_value = 0;
	TH_CHECK_EQ(thrum_or_else(fail_with_detail_fx(&c), thrum_succeed()), 0);
	TH_CHECK_EQ(thrum_zip_par(fail_with_detail_fx(&c)), THRUM_APP(1));
	TH_CHECK_EQ(thrum_zip_par(thrum_fail(THRUM_APP(2))), THRUM_APP(2)); /* the cause before goes */
	TH_CHECK_EQ(thrum_last_cause()->code, THRUM_APP(2));
	TH_CHECK_EQ(th_counted(&c.calls), 2);
	TH_CHECK_EQ(thrum_catch_cause(fail_with_detail_fx(&c), look_at_cause, NULL), 0);
	TH_CHECK_EQ(th_counted(&c.calls), 3);
	thrum_chan_fini(&chan);
	return 0;
}

/* Nobody can ask for these causes: they go when the effect ends. */
TH_FIBER_TEST(JUMP, threads, drops_of_causes_that_nobody_reads_may_call_back_X5)
{
	struct callback c = { .calls = { 0 } };
	thrum_chan chan;
	thrum_handle h;
	thrum_scope s;

	c.chan = &chan;
	TH_CHECK_EQ(thrum_chan_init(&chan, sizeof(int), 1), 0);
	TH_CHECK_EQ(thrum_rt_start(thrum_rt_self(), &h, fail_with_detail_fx(&c)), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), THRUM_APP(1));
	TH_CHECK_EQ(th_counted(&c.calls), 1);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, NULL, fail_with_detail_fx(&c), THRUM_SPAWN_OPTS(.isolated = true)), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_counted(&c.calls), 2);
	thrum_chan_fini(&chan);
	return 0;
}

/* --- X6: a stack that runs over --- */

static int eat_stack(volatile char *above)
{
	volatile char frame[512];

	frame[0] = above ? above[0] : 1;
	if (frame[0] == 0)
		return 0;
	return eat_stack(frame) + frame[0];
}
static int run_over(void *unused)
{
	(void)unused;
	return eat_stack(NULL);
}
static int spawn_glutton(void *unused)
{
	thrum_scope s;
	thrum_task t;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, (thrum_fx){ run_over, NULL }, THRUM_SPAWN_OPTS(.name = "the-glutton")), 0);
	return thrum_scope_close(&s);
}
static void run_glutton(void *unused)
{
	(void)unused;
	_exit(TH_RUN(JUMP, ((thrum_fx){ spawn_glutton, NULL })) != 0);
}

TH_TEST(threads, stack_overflow_is_reported_with_the_fibers_name_X6)
{
	struct th_said said;
	int status = th_child(run_glutton, NULL, &said);

	if (TH_SANITIZED) { /* they report it in their own way */
		TH_CHECK(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
		return;
	}
	TH_CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	TH_CHECK(strstr(said.text, "ran off its stack") != NULL);
	TH_CHECK(strstr(said.text, "the-glutton") != NULL);
}

/* --- X6, E5: chains of or_else and then, 10,000 deep --- */

enum { DEEP = 10000 };

static int nest_then(void *unused)
{
	static thrum_then_op ops[DEEP];
	struct th_step last = { .code = 3 };
	thrum_fx fx = step(&last);

	(void)unused;
	for (int i = 0; i < DEEP; i++) {
		ops[i] = (thrum_then_op){ thrum_succeed(), fx };
		fx = thrum_then_fx(&ops[i]);
	}
	TH_CHECK_EQ(thrum_call(fx), 3);
	for (int i = 0; i < DEEP; i++) { /* and nested on the left */
		ops[i] = (thrum_then_op){ i ? thrum_then_fx(&ops[i - 1]) : step(&last), thrum_succeed() };
		fx = thrum_then_fx(&ops[i]);
	}
	TH_CHECK_EQ(thrum_call(fx), 0);
	TH_CHECK_EQ(last.runs, 2);
	return 0;
}

static int nest_or_else(void *unused)
{
	static thrum_or_else_op ops[DEEP];
	struct th_step last = { .code = THRUM_APP(1) }, fallback = { .code = 3 };
	thrum_fx fx = step(&last);

	(void)unused;
	for (int i = 0; i < DEEP; i++) {
		ops[i] = (thrum_or_else_op){ fx, i == DEEP - 1 ? step(&fallback) : thrum_fail(THRUM_APP(i)) };
		fx = thrum_or_else_fx(&ops[i]);
	}
	TH_CHECK_EQ(thrum_call(fx), 3);
	TH_CHECK_EQ(last.runs, 1);
	return 0;
}

TH_TEST(threads, chains_of_then_nest_ten_thousand_deep_X6)
{
	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ nest_then, NULL })), 0);
}

TH_TEST(threads, chains_of_or_else_nest_ten_thousand_deep_X6)
{
	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ nest_or_else, NULL })), 0);
}

/* --- X7: shutdown --- */

struct resident {
	struct th_step body;
	th_counter in;
};
static int stay(struct resident *r)
{
	th_count(&r->in, 1);
	return th_step(&r->body);
}
THRUM_FX(stay, struct resident);

static void await(const th_counter *c, int value)
{
	while (th_counted(c) < value)
		sched_yield();
}

TH_TEST(threads, shutdown_cancels_waits_and_refuses_X7)
{
	struct resident r = { .body = { .ms = 1000 * 3600, .cleanup_ms = 0 } };
	struct th_step late = { 0 };
	thrum_handle h, refused;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, stay_fx(&r)), 0);
	await(&r.in, 1);
	TH_CHECK_EQ(thrum_rt_shutdown(rt), 0);
	TH_CHECK_EQ(__atomic_load_n(&r.body.ended, __ATOMIC_ACQUIRE), 1); /* it waited */
	TH_CHECK_EQ(thrum_handle_wait(&h), -ECANCELED);
	TH_CHECK_EQ(r.body.reason.kind, THRUM_CANCEL_SHUTDOWN);
	TH_CHECK_EQ(thrum_rt_start(rt, &refused, step(&late)), THRUM_ECLOSED);
	TH_CHECK_EQ(thrum_handle_wait(&refused), THRUM_ECLOSED);
	thrum_handle_cancel(&refused);
	TH_CHECK_EQ(thrum_rt_run(rt, step(&late)), THRUM_ECLOSED);
	TH_CHECK_EQ(late.runs, 0);
	TH_CHECK_EQ(thrum_rt_shutdown(rt), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(thrum_rt_close(NULL), 0);
	TH_CHECK_EQ(thrum_rt_shutdown(NULL), 0);
}

TH_TEST(threads, handle_outlives_its_runtime_X7)
{
	struct th_step s = { .code = 4 };
	struct resident r = { .body = { .ms = 1000 } };
	thrum_handle ended, cancelled;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &cancelled, stay_fx(&r)), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &ended, step(&s)), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(0)), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	thrum_handle_cancel(&ended);
	TH_CHECK_EQ(thrum_handle_wait(&ended), 4);
	TH_CHECK_EQ(thrum_handle_wait(&cancelled), -ECANCELED);
}

/* A root that is cancelled and does not go until it is let. */
struct stubborn {
	th_counter in, go, out;
	thrum_chan gate;
};
static int wait_at_gate(void *arg)
{
	struct stubborn *s = arg;
	int item;

	return thrum_chan_recv(&s->gate, &item);
}
static int be_stubborn(struct stubborn *s)
{
	th_count(&s->in, 1);
	TH_CHECK_EQ(thrum_call(thrum_never()), -ECANCELED);
	th_count(&s->go, 1);
	TH_CHECK_EQ(thrum_shield((thrum_fx){ wait_at_gate, s }), 0);
	th_count(&s->out, 1);
	return 6;
}
THRUM_FX(be_stubborn, struct stubborn);

struct shutter {
	thrum_rt *rt;
	struct stubborn *root;
	int out;
};
static void *shut_down(void *arg)
{
	struct shutter *s = arg;

	TH_CHECK_EQ(thrum_rt_shutdown(s->rt), 0);
	s->out = th_counted(&s->root->out);
	return NULL;
}

TH_TEST(threads, second_shutdown_waits_for_the_first_X7)
{
	struct stubborn root = { .in = { 0 } };
	struct shutter a, b;
	pthread_t ta, tb;
	thrum_handle h;
	int item = 0;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_chan_init(&root.gate, sizeof item, 0), 0);
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, be_stubborn_fx(&root)), 0);
	await(&root.in, 1);
	a = b = (struct shutter){ rt, &root, 0 };
	TH_CHECK_EQ(pthread_create(&ta, NULL, shut_down, &a), 0);
	TH_CHECK_EQ(pthread_create(&tb, NULL, shut_down, &b), 0);
	await(&root.go, 1);
	while (thrum_chan_try_send(&root.gate, &item) != 0)
		sched_yield();
	pthread_join(ta, NULL);
	pthread_join(tb, NULL);
	TH_CHECK_EQ(a.out, 1);
	TH_CHECK_EQ(b.out, 1);
	TH_CHECK_EQ(thrum_handle_wait(&h), 6);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	thrum_chan_fini(&root.gate);
}

static int leave_a_root_behind(void *arg)
{
	static thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(thrum_rt_self(), &h, step(arg)), 0);
	return 5;
}

TH_TEST(threads, end_of_the_main_effect_cancels_other_roots_and_waits_X7)
{
	struct th_step s = { .ms = 1000, .cleanup_ms = 20 };

	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ leave_a_root_behind, &s })), 5);
	TH_CHECK_EQ(s.runs, s.ended); /* not started, or ended */
}

/* --- X10: after fork --- */

struct forked {
	thrum_rt *rt;
	thrum_handle h;
};
static void use_in_child(void *arg)
{
	struct forked *f = arg;
	thrum_handle h;

	TH_CHECK_EQ(thrum_rt_start(f->rt, &h, thrum_succeed()), -ECHILD);
	TH_CHECK_EQ(thrum_rt_run(f->rt, thrum_succeed()), -ECHILD);
	TH_CHECK_EQ(thrum_handle_wait(&f->h), -ECHILD);
	TH_CHECK_EQ(thrum_clock_advance(f->rt, thrum_sec(1)), -ECHILD);
	thrum_handle_cancel(&f->h);
	TH_CHECK_EQ(thrum_rt_shutdown(f->rt), -ECHILD);
	TH_CHECK_EQ(thrum_rt_close(f->rt), -ECHILD);
}

TH_TEST(threads, runtime_refuses_to_work_in_a_forked_child_X10)
{
	struct resident r = { .body = { .ms = 1000 } };
	struct th_said said;
	struct forked f;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &f.rt), 0);
	TH_CHECK_EQ(thrum_rt_start(f.rt, &f.h, stay_fx(&r)), 0);
	await(&r.in, 1);
	TH_CHECK_CHILD_OK(th_child(use_in_child, &f, &said), &said);
	TH_CHECK_EQ(thrum_clock_advance(f.rt, thrum_sec(1)), 0); /* here it goes on */
	TH_CHECK_EQ(thrum_handle_wait(&f.h), 0);
	TH_CHECK_EQ(thrum_rt_close(f.rt), 0);
}

static void open_in_child(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(thrum_run(NULL, thrum_succeed()), 0);
}

TH_TEST(threads, forked_child_may_open_a_runtime_of_its_own_X10)
{
	struct th_said said;

	TH_CHECK_EQ(thrum_run(NULL, thrum_succeed()), 0);
	TH_CHECK_CHILD_OK(th_child(open_in_child, NULL, &said), &said);
}

/* --- X11: defects --- */

static int die_now(void *unused)
{
	(void)unused;
	return thrum_die("the sky fell");
}

/* On the jump clock: when everybody else waits. */
static int die_later(void *unused)
{
	int r = thrum_sleep(thrum_ms(10));

	return r < 0 ? r : die_now(unused);
}

TH_FIBER_TEST(JUMP, threads, die_passes_or_else_and_every_combinator_X11)
{
	struct th_step fallback = { 0 }, other = { .ms = 1000 };
	const thrum_fx die = { die_now, NULL }, later = { die_later, NULL };
	thrum_or_else_op op = { die, step(&fallback) };
	thrum_timeout_op limited = { thrum_or_else_fx(&op), thrum_sec(1) };

	TH_CHECK_EQ(thrum_or_else(die, step(&fallback)), THRUM_EDIED);
	TH_CHECK_EQ(thrum_or_else(thrum_timeout_fx(&limited), step(&fallback)), THRUM_EDIED);
	TH_CHECK_EQ(thrum_then(die, step(&fallback)), THRUM_EDIED);
	TH_CHECK_EQ(thrum_zip_par(step(&other), later), THRUM_EDIED);
	TH_CHECK_EQ(other.got, -ECANCELED);
	TH_CHECK_EQ(fallback.runs, 0);
	return 0;
}

static void die_in_child(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(die_now(NULL), THRUM_EDIED);
}

TH_TEST(threads, die_says_why_and_where_X11)
{
	struct th_said said;

	TH_CHECK_CHILD_OK(th_child(die_in_child, NULL, &said), &said);
	TH_CHECK(strstr(said.text, "the sky fell") != NULL);
	TH_CHECK(strstr(said.text, "test_threads.c:") != NULL);
}
