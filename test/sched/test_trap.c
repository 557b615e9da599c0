/* test/sched/test_trap.c: programs that must not go on: suspensions under a lock of the operating system (X4), circles. */
#include <pthread.h>
#include <string.h>
#include "test/support/child.h"
#include "test/support/rules.h"

/* On the jump clock a sleep ends when everybody else waits, however late a thread gets to run. */
static void run_in_child(void *fx)
{
	TH_CHECK_EQ(TH_RUN(JUMP, *(thrum_fx *)fx), 0);
}

static void check_aborts(int (*body)(void *), const char *why)
{
	thrum_fx fx = { body, NULL };
	struct th_said said;
	int status = th_child(run_in_child, &fx, &said);

	TH_CHECK(WIFSIGNALED(status));
	TH_CHECK_EQ(WTERMSIG(status), SIGABRT);
	if (!strstr(said.text, why))
		th_check_failed(__FILE__, __LINE__, "it said: %s", said.text);
}

static int in_child_named(thrum_fx fx, const char *name)
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, fx, THRUM_SPAWN_OPTS(.name = name)), 0);
	return thrum_scope_close(&s);
}

static int yield_locked(void *unused)
{
	(void)unused;
	thrum_nosuspend_begin();
	thrum_nosuspend_begin();
	thrum_nosuspend_end();
	(void)thrum_yield();
	thrum_nosuspend_end();
	return 0;
}
static int yield_locked_by_name(void *unused)
{
	(void)unused;
	return in_child_named((thrum_fx){ yield_locked, NULL }, "locksmith");
}

TH_TEST(trap, suspension_where_none_may_be_aborts_naming_the_fiber_X4)
{
	check_aborts(yield_locked_by_name, "fiber locksmith suspends between thrum_nosuspend_begin() and _end() (X4)");
}

static int end_locked(void *unused)
{
	(void)unused;
	thrum_nosuspend_begin();
	return 0;
}

TH_TEST(trap, fiber_that_ends_where_it_may_not_suspend_aborts_X4)
{
	check_aborts(end_locked, "ends between thrum_nosuspend_begin() and _end() (X4)");
}

static int end_without_begin(void *unused)
{
	(void)unused;
	thrum_nosuspend_begin();
	thrum_nosuspend_end();
	thrum_nosuspend_end();
	return 0;
}

TH_TEST(trap, unbalanced_end_aborts_X4)
{
	check_aborts(end_without_begin, "thrum_nosuspend_end() without a begin");
}

/* Calls that do not come to wait; and the next effect on this fiber starts anew. */
static int work_locked(void *unused)
{
	thrum_chan c;
	thrum_scope s;
	thrum_task t;
	int item = 1;

	(void)unused;
	TH_CHECK_EQ(thrum_chan_init(&c, sizeof item, 1), 0);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	thrum_nosuspend_begin();
	TH_CHECK_EQ(thrum_spawn(&s, &t, thrum_succeed()), 0);
	TH_CHECK_EQ(thrum_chan_send(&c, &item), 0);
	TH_CHECK_EQ(thrum_chan_recv(&c, &item), 0);
	TH_CHECK_EQ(thrum_check(), 0);
	thrum_nosuspend_end();
	TH_CHECK_EQ(thrum_yield(), 0);
	thrum_chan_fini(&c);
	return thrum_scope_close(&s);
}

TH_TEST(trap, what_does_not_wait_is_fine_X4)
{
	thrum_nosuspend_begin(); /* a plain thread: nothing */
	TH_CHECK_EQ(TH_RUN(REAL, ((thrum_fx){ work_locked, NULL })), 0);
	thrum_nosuspend_end();
	thrum_nosuspend_end();
}

static void init_robust(pthread_mutex_t *m)
{
	pthread_mutexattr_t attr;

	TH_CHECK_EQ(pthread_mutexattr_init(&attr), 0);
	TH_CHECK_EQ(pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST), 0);
	TH_CHECK_EQ(pthread_mutex_init(m, &attr), 0);
	TH_CHECK_EQ(pthread_mutexattr_destroy(&attr), 0);
}

/* Held over calls that do not wait, released before the one that does. */
static int lock_well(void *unused)
{
	pthread_mutex_t m;

	(void)unused;
	init_robust(&m);
	for (int i = 0; i < 3; i++) {
		TH_CHECK_EQ(pthread_mutex_lock(&m), 0);
		TH_CHECK_EQ(thrum_check(), 0);
		TH_CHECK_EQ(pthread_mutex_unlock(&m), 0);
		TH_CHECK_EQ(thrum_yield(), 0);
	}
	return pthread_mutex_destroy(&m);
}

/* What the caller of thrum_run() holds is not the fibers' doing. */
TH_TEST(trap, robust_mutex_that_is_not_held_over_a_suspension_is_fine_X4)
{
	pthread_mutex_t m;

	TH_CHECK_EQ(TH_RUN(REAL, ((thrum_fx){ lock_well, NULL })), 0);
	init_robust(&m);
	TH_CHECK_EQ(pthread_mutex_lock(&m), 0);
	TH_CHECK_EQ(TH_RUN(REAL, ((thrum_fx){ lock_well, NULL })), 0);
	TH_CHECK_EQ(pthread_mutex_unlock(&m), 0);
	TH_CHECK_EQ(pthread_mutex_destroy(&m), 0);
}

#ifndef NDEBUG
static int lock_badly(void *unused)
{
	static pthread_mutex_t m;

	(void)unused;
	init_robust(&m);
	TH_CHECK_EQ(pthread_mutex_lock(&m), 0);
	(void)thrum_yield();
	return 0;
}
static int lock_badly_by_name(void *unused)
{
	(void)unused;
	return in_child_named((thrum_fx){ lock_badly, NULL }, "burglar");
}

TH_TEST(trap, robust_mutex_held_over_a_suspension_aborts_a_debug_build_X4)
{
	check_aborts(lock_badly_by_name, "fiber burglar suspends while its thread holds a robust mutex");
}

/* The spawner is told of a circle by an abort: the child that it cannot wait for may lie in its frame. */
struct couple {
	thrum_scope scope;
	thrum_task spawner;
};
static int join_spawner(struct couple *c)
{
	return thrum_join(&c->spawner);
}
THRUM_FX(join_spawner, struct couple);

static int spawn_and_join(struct couple *c)
{
	thrum_task t;

	TH_CHECK_EQ(thrum_spawn(&c->scope, &t, join_spawner_fx(c)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0); /* the child waits for this one */
	return thrum_join(&t);
}
THRUM_FX(spawn_and_join, struct couple);

static int wait_in_a_circle(void *unused)
{
	struct couple c;

	(void)unused;
	TH_CHECK_EQ(thrum_scope_open(&c.scope), 0);
	TH_CHECK_EQ(thrum_spawn_with(&c.scope, &c.spawner, spawn_and_join_fx(&c), THRUM_SPAWN_OPTS(.name = "spouse")), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_sec(20)), 0); /* a closing scope takes no children */
	return thrum_scope_close(&c.scope);
}

TH_TEST(trap, spawner_that_joins_in_a_circle_aborts_a_debug_build_K6)
{
	check_aborts(wait_in_a_circle, "the spawner of child 1 waits for it in a circle (K6)");
	check_aborts(wait_in_a_circle, "child 0 \"spouse\" waits for child 1; child 1 waits for child 0 \"spouse\"");
}
#endif
