/* test/sched/test_deque.c: the deque returns every task exactly once, in its order, and refuses when it is full. The
 * memory orders are the matter of test/model/model_deque.cpp; the litmus here shows the fence that x86 needs too. */
#include "sched/deque.h"
#include "test/support/test.h"
#include <pthread.h>
#include <sched.h>
#include <time.h>

/* The deque only carries pointers, so a test may say what a task is. */
struct th_task {
	uint64_t payload;     /* plain on purpose: ThreadSanitizer reports a taker that is not ordered after the push */
	th_atomic_u32 x_taken;
};

enum { SLOTS = TH_DEQUE_SLOTS };

static struct th_deque deque;
static const uint64_t starts[] = { 0, 1, SLOTS - 1, (UINT64_C(1) << 63) - 8, UINT64_MAX - 7 };
enum { STARTS = sizeof starts / sizeof starts[0] };

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void no_task_left(void)
{
	TH_CHECK(th_deque_looks_empty_any(&deque));
	TH_CHECK_EQ(th_deque_size_owner(&deque), 0);
	TH_CHECK(th_deque_pop_owner(&deque) == NULL);
	TH_CHECK(th_deque_steal_any(&deque) == NULL);
}

/* --- one thread --- */

TH_TEST(deque, empty_returns_null_and_stays_usable)
{
	static struct th_task t;

	for (unsigned s = 0; s < STARTS; s++) {
		th_deque_init_at(&deque, starts[s]);
		for (int i = 0; i < 3 * SLOTS; i++) {
			no_task_left();
			TH_CHECK(th_deque_push_owner(&deque, &t));
			TH_CHECK(!th_deque_looks_empty_any(&deque));
			TH_CHECK((i & 1 ? th_deque_pop_owner : th_deque_steal_any)(&deque) == &t);
		}
	}
}

TH_TEST(deque, full_refuses_and_loses_nothing)
{
	static struct th_task t[SLOTS], extra;

	for (unsigned s = 0; s < STARTS; s++) {
		th_deque_init_at(&deque, starts[s]);
		for (int i = 0; i < SLOTS; i++)
			TH_CHECK(th_deque_push_owner(&deque, &t[i]));
		TH_CHECK_EQ(th_deque_size_owner(&deque), SLOTS);
		TH_CHECK(!th_deque_push_owner(&deque, &extra));
		TH_CHECK(!th_deque_push_owner(&deque, &extra));
		TH_CHECK(th_deque_steal_any(&deque) == &t[0]);
		TH_CHECK(th_deque_push_owner(&deque, &extra));
		TH_CHECK(!th_deque_push_owner(&deque, &t[0]));
		TH_CHECK(th_deque_pop_owner(&deque) == &extra);
		for (int i = SLOTS - 1; i > 0; i--)
			TH_CHECK(th_deque_pop_owner(&deque) == &t[i]);
		no_task_left();
	}
}

/* What the deque must do, over an array that never wraps. */
struct reference {
	struct th_task *at[1 << 16];
	size_t top, bottom;
};

static void random_step(struct reference *ref, struct th_task *t, uint64_t r)
{
	size_t size = ref->bottom - ref->top;

	if (r % 8 < 4) {
		TH_CHECK_EQ(th_deque_push_owner(&deque, t), size < SLOTS);
		if (size < SLOTS)
			ref->at[ref->bottom++] = t;
	} else if (r % 8 < 6) {
		TH_CHECK(th_deque_pop_owner(&deque) == (size ? ref->at[--ref->bottom] : NULL));
	} else {
		TH_CHECK(th_deque_steal_any(&deque) == (size ? ref->at[ref->top++] : NULL));
	}
	TH_CHECK_EQ(th_deque_size_owner(&deque), ref->bottom - ref->top);
	TH_CHECK_EQ(th_deque_looks_empty_any(&deque), ref->bottom == ref->top);
}

TH_TEST(deque, random_steps_agree_with_a_reference_across_index_wrap)
{
	static struct th_task t[1 << 16];
	static struct reference ref;
	uint64_t rng = 88172645463325252u;

	for (unsigned s = 0; s < STARTS; s++) {
		th_deque_init_at(&deque, starts[s]);
		ref.top = ref.bottom = 0;
		for (size_t i = 0; i < 1 << 16; i++) {
			uint64_t r = next_random(&rng) >> 20;
			/* Phases of growth and of decay, so that both full and empty are met. */
			random_step(&ref, &t[i], i & 8192 ? r | 4 : r & ~UINT64_C(2));
		}
	}
}

/* --- two threads --- */

static _Alignas(128) th_atomic_u32 x_go;
static _Alignas(128) th_atomic_u32 x_done;
static _Alignas(128) th_atomic_u32 x_stop;
static struct th_task *stolen[2];
enum { LINES = 8, LINE = 128 };
static _Alignas(LINE) volatile char contested[LINES * LINE]; /* the two threads write different bytes of each line */

static void write_lines(int byte)
{
	for (int i = 0; i < LINES; i++)
		contested[i * LINE + byte] = 1;
}

/* Spin, but let the other thread run where there is one core for both. False when the test is over. */
static bool wait_until(th_atomic_u32 *word, uint32_t value)
{
	for (unsigned i = 0; th_load_acq(word) != value; i++) {
		if (th_load_rlx(&x_stop))
			return false;
		if (i < 1000)
			th_pause();
		else
			sched_yield();
	}
	return true;
}

static void *litmus_thief(void *unused)
{
	uint64_t rng = 7;

	(void)unused;
	write_lines(1);
	for (uint32_t round = 1; wait_until(&x_go, round); round++) {
		for (volatile uint64_t wait = next_random(&rng) & 255; wait; wait--)
			; /* finer than th_pause() */
		stolen[0] = th_deque_steal_any(&deque);
		stolen[1] = th_deque_steal_any(&deque);
		write_lines(1);
		th_store_rel(&x_done, round);
	}
	return NULL;
}

static unsigned is_one_of(const struct th_task *t, struct th_task *a, struct th_task *b)
{
	return t && (t == a || t == b);
}

/* The owner pops the second of two tasks while a thief steals both. Just before, it stores to lines that the thief has
 * in its cache: each takes about as long as the whole pop, so the pop's own store of x_bottom waits behind them in the
 * store buffer, and without the fence P2 the load of x_top overtakes it. Seen to fail then in 0.01 to 0.07 s; without
 * this stuffing 20 million rounds find nothing. */
TH_TEST(deque, stuffed_store_buffer_does_not_double_the_last_task)
{
	static struct th_task t[2];
	uint32_t round = 0;
	pthread_t thief;
	double end;

	th_deque_init(&deque);
	th_store_rlx(&x_go, 0);
	th_store_rlx(&x_done, 0);
	th_store_rlx(&x_stop, 0);
	TH_CHECK_EQ(pthread_create(&thief, NULL, litmus_thief, NULL), 0);
	end = seconds() + 0.6;
	while ((round & 255) || seconds() < end) {
		struct th_task *popped, *rest;
		int taken;

		TH_CHECK(th_deque_push_owner(&deque, &t[0]) && th_deque_push_owner(&deque, &t[1]));
		th_store_rel(&x_go, ++round);
		write_lines(0);
		popped = th_deque_pop_owner(&deque);
		wait_until(&x_done, round);
		TH_CHECK(!is_one_of(popped, stolen[0], stolen[1]));
		TH_CHECK(!is_one_of(stolen[0], stolen[1], NULL));
		taken = (popped != NULL) + (stolen[0] != NULL) + (stolen[1] != NULL);
		while ((rest = th_deque_pop_owner(&deque)) != NULL) {
			TH_CHECK(rest != popped && !is_one_of(rest, stolen[0], stolen[1]));
			taken++;
		}
		TH_CHECK_EQ(taken, 2);
	}
	th_store_rlx(&x_stop, 1);
	pthread_join(thief, NULL);
}

enum { TASKS = 300000 };
static struct th_task tasks[TASKS];

static void take(struct th_task *t)
{
	if (!t)
		return;
	TH_CHECK_EQ(t->payload, (uint64_t)(t - tasks) * 3 + 1);
	TH_CHECK_EQ(th_add_rlx(&t->x_taken, 1), 0);
}

static void *stress_thief(void *unused)
{
	(void)unused;
	while (!th_load_rlx(&x_stop))
		take(th_deque_steal_any(&deque));
	return NULL;
}

TH_TEST(deque, every_task_is_taken_once_under_two_thieves)
{
	uint64_t rng = 11;
	pthread_t thief[2];

	th_deque_init_at(&deque, UINT64_MAX - TASKS / 2);
	th_store_rlx(&x_stop, 0);
	for (int i = 0; i < 2; i++)
		TH_CHECK_EQ(pthread_create(&thief[i], NULL, stress_thief, NULL), 0);
	for (int i = 0; i < TASKS; i++) {
		tasks[i].payload = (uint64_t)i * 3 + 1;
		while (!th_deque_push_owner(&deque, &tasks[i]))
			take(th_deque_pop_owner(&deque));
		for (uint64_t pops = next_random(&rng) >> 62; pops; pops--)
			take(th_deque_pop_owner(&deque));
	}
	while (!th_deque_looks_empty_any(&deque))
		take(th_deque_pop_owner(&deque));
	th_store_rlx(&x_stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(thief[i], NULL);
	for (int i = 0; i < TASKS; i++)
		TH_CHECK_EQ(th_load_rlx(&tasks[i].x_taken), 1);
	no_task_left();
}
