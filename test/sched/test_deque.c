/* test/sched/test_deque.c: the lane returns every entry exactly once, in its order, and refuses when it is full; what
 * is public and what is not. The memory orders are the matter of test/model/model_deque.cpp; the litmuses here show the
 * two fences that x86 needs too, the one in pop_slow and the one that a force has run on the owner's processor. */
#include "sched/deque.h"
#include "test/support/test.h"
#include <pthread.h>
#include <sched.h>
#include <time.h>

/* The lane only carries pointers, so a test may say what an entry is. */
struct th_task {
	uint64_t payload;     /* plain on purpose: ThreadSanitizer reports a taker that is not ordered after the push */
	th_atomic_u32 x_taken;
};

enum { SLOTS = THRUM_LANE_SLOTS_ };

static struct thrum_lane_ lane;
/* With the first, the last and a middle slot to begin with; and large indices. */
static const uint64_t starts[] = { SLOTS, 2 * SLOTS - 1, 5 * SLOTS + 77, (UINT64_C(1) << 32) - 8,
				   (UINT64_C(1) << 62) - 8 };
enum { STARTS = sizeof starts / sizeof starts[0] };

/* Without a force: NULL where only private entries are. */
static void *steal(struct thrum_lane_ *d)
{
	bool closed;

	return th_deque_steal_any(d, &closed);
}

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

static uint64_t public_entries(void)
{
	uint64_t split = th_load_rlx(&lane.x_split);

	TH_CHECK_EQ(split & 1, 0);
	return split / 2 - th_load_rlx(&lane.x_top);
}

static uint64_t private_entries(void)
{
	return th_deque_size_owner(&lane) - public_entries();
}

static void nothing_is_left(void)
{
	bool closed = true;

	TH_CHECK(th_deque_looks_empty_any(&lane));
	TH_CHECK_EQ(th_deque_size_owner(&lane), 0);
	TH_CHECK(th_deque_pop_owner(&lane) == NULL);
	TH_CHECK(th_deque_steal_any(&lane, &closed) == NULL && !closed);
	TH_CHECK(th_deque_force_any(&lane) == NULL);
	TH_CHECK_EQ(th_load_rlx(&lane.x_split), 2 * th_load_rlx(&lane.x_top));
	TH_CHECK_EQ(th_load_rlx(&lane.x_bottom), th_load_rlx(&lane.x_top));
}

static void push(struct th_task *t, int n)
{
	for (int i = 0; i < n; i++)
		TH_CHECK(th_deque_push_owner(&lane, &t[i]));
}

static struct th_task pool[SLOTS], extra;

/* --- one thread --- */

TH_TEST(deque, empty_returns_null_and_stays_usable)
{
	static void *(*const take[])(struct thrum_lane_ *) = { th_deque_pop_owner, th_deque_force_any };

	for (unsigned s = 0; s < STARTS; s++) {
		th_deque_init_at(&lane, starts[s]);
		for (int i = 0; i < 3 * SLOTS; i++) {
			nothing_is_left();
			TH_CHECK(th_deque_push_owner(&lane, &extra));
			TH_CHECK(!th_deque_looks_empty_any(&lane));
			if (i % 3 == 2)
				th_deque_publish_owner(&lane);
			TH_CHECK((i % 3 == 2 ? steal : take[i % 3])(&lane) == &extra);
		}
	}
}

TH_TEST(deque, full_refuses_and_loses_nothing)
{
	for (unsigned s = 0; s < STARTS; s++) {
		th_deque_init_at(&lane, starts[s]);
		push(pool, SLOTS);
		TH_CHECK_EQ(th_deque_size_owner(&lane), SLOTS);
		TH_CHECK(!th_deque_push_owner(&lane, &extra));
		TH_CHECK(!thrum_lane_push_(&lane, &extra, 1));
		TH_CHECK(steal(&lane) == NULL);
		TH_CHECK(th_deque_force_any(&lane) == &pool[0]);
		TH_CHECK(!thrum_lane_push_(&lane, &extra, 1)); /* it looks at what it was told */
		TH_CHECK(th_deque_push_owner(&lane, &extra));
		TH_CHECK(!th_deque_push_owner(&lane, &pool[0]));
		TH_CHECK(th_deque_pop_owner(&lane) == &extra);
		for (int i = SLOTS - 1; i > 0; i--)
			TH_CHECK(th_deque_pop_owner(&lane) == &pool[i]);
		nothing_is_left();
	}
}

TH_TEST(deque, lane_that_never_pushes_refuses)
{
	th_deque_init(&lane);
	th_store_rlx(&lane.bottom_max, 0);
	TH_CHECK(!thrum_lane_push_(&lane, &extra, 1));
	nothing_is_left();
}

TH_TEST(deque, pushed_entries_are_private_until_published)
{
	bool closed = false;

	th_deque_init(&lane);
	push(pool, 5);
	TH_CHECK(th_deque_steal_any(&lane, &closed) == NULL && closed);
	th_deque_publish_owner(&lane);
	TH_CHECK_EQ(public_entries(), 3);
	th_deque_publish_owner(&lane);
	TH_CHECK_EQ(public_entries(), 4);
	th_deque_publish_owner(&lane);
	th_deque_publish_owner(&lane); /* there is nothing more */
	TH_CHECK_EQ(public_entries(), 5);
	push(&extra, 1);
	TH_CHECK_EQ(private_entries(), 1);
	th_deque_publish_all_owner(&lane);
	TH_CHECK_EQ(private_entries(), 0);
	for (int i = 0; i < 5; i++)
		TH_CHECK(steal(&lane) == &pool[i]);
	TH_CHECK(th_deque_steal_any(&lane, &closed) == &extra && !closed);
	nothing_is_left();
}

TH_TEST(deque, private_entries_are_popped_without_touching_the_split)
{
	th_deque_init(&lane);
	push(pool, 8);
	th_deque_publish_owner(&lane);
	for (int i = 7; i >= 4; i--) {
		TH_CHECK(th_deque_take_back_owner(&lane));
		TH_CHECK_EQ(public_entries(), 4);
	}
	TH_CHECK_EQ(private_entries(), 0);
}

/* Half of it: the next pop is a fast one again. */
TH_TEST(deque, pop_of_a_public_entry_makes_half_of_them_private)
{
	th_deque_init(&lane);
	push(pool, 9);
	th_deque_publish_all_owner(&lane);
	TH_CHECK(th_deque_pop_owner(&lane) == &pool[8]);
	TH_CHECK_EQ(public_entries(), 4);
	TH_CHECK_EQ(private_entries(), 4);
	for (int i = 0; i < 4; i++)
		TH_CHECK(steal(&lane) == &pool[i]);
	TH_CHECK(steal(&lane) == NULL);
	for (int i = 7; i >= 4; i--)
		TH_CHECK(th_deque_pop_owner(&lane) == &pool[i]);
	nothing_is_left();
}

TH_TEST(deque, pop_of_a_stolen_entry_fails_and_leaves_an_empty_lane)
{
	th_deque_init(&lane);
	for (int i = 0; i < 3; i++) {
		push(pool, 2);
		TH_CHECK(th_deque_force_any(&lane) == &pool[0]);
		TH_CHECK(th_deque_force_any(&lane) == &pool[1]);
		TH_CHECK(!th_deque_take_back_owner(&lane));
		nothing_is_left();
	}
}

TH_TEST(deque, force_publishes_the_older_half_and_takes_the_oldest)
{
	th_deque_init(&lane);
	push(pool, 8);
	TH_CHECK(th_deque_force_any(&lane) == &pool[0]);
	TH_CHECK_EQ(public_entries(), 3);
	TH_CHECK_EQ(private_entries(), 4);
	TH_CHECK(th_deque_force_any(&lane) == &pool[1]); /* something is public: no force */
	TH_CHECK_EQ(private_entries(), 4);
	for (int i = 2; i < 8; i++)
		TH_CHECK(th_deque_force_any(&lane) == &pool[i]);
	nothing_is_left();
}

TH_TEST(deque, force_of_the_only_entry_takes_it)
{
	th_deque_init(&lane);
	push(pool, 1);
	TH_CHECK(th_deque_force_any(&lane) == &pool[0]);
	nothing_is_left();
}

TH_TEST(deque, second_force_at_once_is_refused)
{
	th_deque_init(&lane);
	push(pool, 4);
	th_store_rlx(&lane.x_forcer, 1);
	TH_CHECK(th_deque_force_any(&lane) == NULL);
	TH_CHECK_EQ(private_entries(), 4);
	th_store_rlx(&lane.x_forcer, 0);
	TH_CHECK(th_deque_force_any(&lane) == &pool[0]);
}

/* The states between the steps of a force, made by hand: `n` entries, a wish for the first `wish` of them. */
static uint64_t force_under_way(int n, unsigned wish)
{
	uint64_t forced = 2 * (SLOTS + wish) + 1;

	th_deque_init(&lane);
	push(pool, n);
	th_store_rlx(&lane.x_forcer, 1);
	th_store_rlx(&lane.x_split, forced);
	return forced;
}

TH_TEST(deque, nobody_steals_while_a_force_is_under_way)
{
	bool closed = false;

	force_under_way(4, 2);
	TH_CHECK(th_deque_steal_any(&lane, &closed) == NULL && closed);
	th_deque_publish_owner(&lane);
	TH_CHECK(th_load_rlx(&lane.x_split) & 1);
}

TH_TEST(deque, pop_above_the_wish_leaves_the_force_alone)
{
	uint64_t forced = force_under_way(4, 2);

	TH_CHECK(th_deque_pop_owner(&lane) == &pool[3]);
	TH_CHECK_EQ(th_load_rlx(&lane.x_split), forced);
}

TH_TEST(deque, pop_below_the_wish_retracts_and_publishes_the_older_half)
{
	uint64_t forced = force_under_way(4, 4);

	TH_CHECK(th_deque_pop_owner(&lane) == &pool[3]);
	TH_CHECK_EQ(public_entries(), 2);
	TH_CHECK(!th_cas_seq(&lane.x_split, &forced, 2 * (SLOTS + 4))); /* F6 comes too late */
	TH_CHECK(steal(&lane) == &pool[0]);
	TH_CHECK(th_deque_pop_owner(&lane) == &pool[2]);
	TH_CHECK(steal(&lane) == &pool[1]);
	th_store_rlx(&lane.x_forcer, 0);
	nothing_is_left();
}

TH_TEST(deque, pop_of_the_only_entry_retracts_and_publishes_nothing)
{
	force_under_way(1, 1);
	TH_CHECK(th_deque_pop_owner(&lane) == &pool[0]);
	th_store_rlx(&lane.x_forcer, 0);
	nothing_is_left();
}

TH_TEST(deque, force_publishes_no_more_of_its_wish_than_is_there)
{
	uint64_t forced = force_under_way(4, 2);

	TH_CHECK_EQ(th_deque_certain_any(&lane, SLOTS, forced), SLOTS + 2);
	th_store_rlx(&lane.x_bottom, SLOTS + 1);
	TH_CHECK_EQ(th_deque_certain_any(&lane, SLOTS, forced), SLOTS + 1);
	th_store_rlx(&lane.x_bottom, SLOTS - 1); /* inside a pop that finds nothing */
	TH_CHECK_EQ(th_deque_certain_any(&lane, SLOTS, forced), SLOTS);
}

TH_TEST(deque, publish_all_overrides_a_force)
{
	force_under_way(4, 2);
	th_deque_publish_all_owner(&lane);
	TH_CHECK_EQ(public_entries(), 4);
}

/* What the lane must do, over an array that never wraps. */
struct reference {
	struct th_task *at[1 << 16];
	size_t top, bottom;
};

static void check_steal(struct reference *ref, uint64_t r)
{
	bool is_public = public_entries() > 0, closed;
	size_t size = ref->bottom - ref->top;

	if (r & 1) {
		TH_CHECK(th_deque_force_any(&lane) == (size ? ref->at[ref->top++] : NULL));
		return;
	}
	TH_CHECK(th_deque_steal_any(&lane, &closed) == (is_public ? ref->at[ref->top++] : NULL));
	TH_CHECK_EQ(closed, !is_public && size > 0);
}

static void random_step(struct reference *ref, struct th_task *t, uint64_t r)
{
	size_t size = ref->bottom - ref->top;

	if (r % 8 < 4) {
		TH_CHECK_EQ(th_deque_push_owner(&lane, t), size < SLOTS);
		if (size < SLOTS)
			ref->at[ref->bottom++] = t;
	} else if (r % 8 < 6) {
		TH_CHECK(th_deque_pop_owner(&lane) == (size ? ref->at[--ref->bottom] : NULL));
	} else {
		check_steal(ref, r / 8);
	}
	if (r / 16 % 16 == 0)
		th_deque_publish_owner(&lane);
	if (r / 16 % 16 == 1)
		th_deque_publish_all_owner(&lane);
	TH_CHECK_EQ(th_deque_size_owner(&lane), ref->bottom - ref->top);
	TH_CHECK_EQ(th_deque_looks_empty_any(&lane), ref->bottom == ref->top);
	TH_CHECK(public_entries() <= ref->bottom - ref->top);
}

TH_TEST(deque, random_steps_agree_with_a_reference_across_slot_wrap)
{
	static struct th_task t[1 << 16];
	static struct reference ref;
	uint64_t rng = 88172645463325252u;

	for (unsigned s = 0; s < STARTS; s++) {
		th_deque_init_at(&lane, starts[s]);
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

static void *(*litmus_take)(struct thrum_lane_ *);

static void *litmus_thief(void *unused)
{
	uint64_t rng = 7;

	(void)unused;
	write_lines(1);
	for (uint32_t round = 1; wait_until(&x_go, round); round++) {
		for (volatile uint64_t wait = next_random(&rng) & 255; wait; wait--)
			; /* finer than th_pause() */
		stolen[0] = litmus_take(&lane);
		stolen[1] = litmus_take(&lane);
		write_lines(1);
		th_store_rel(&x_done, round);
	}
	return NULL;
}

static pthread_t litmus_begin(void *(*take)(struct thrum_lane_ *))
{
	pthread_t thief;

	th_deque_init(&lane);
	litmus_take = take;
	th_store_rlx(&x_go, 0);
	th_store_rlx(&x_done, 0);
	th_store_rlx(&x_stop, 0);
	TH_CHECK_EQ(pthread_create(&thief, NULL, litmus_thief, NULL), 0);
	return thief;
}

static void litmus_end(pthread_t thief)
{
	th_store_rlx(&x_stop, 1);
	pthread_join(thief, NULL);
}

static unsigned is_one_of(const struct th_task *t, struct th_task *a, struct th_task *b)
{
	return t && (t == a || t == b);
}

/* The owner pops the second of two public entries while a thief steals both. Just before, it stores to lines that the
 * thief has in its cache: each takes about as long as the whole pop, so the pop's own stores wait behind them in the
 * store buffer, and the load of x_top may overtake them. (On x86 it may not, as P2 is a full fence there: breaking this
 * takes both P2 as a plain store and no P3.) Without this stuffing 20 million rounds find nothing. */
TH_TEST(deque, stuffed_store_buffer_does_not_double_the_last_entry)
{
	static struct th_task t[2];
	pthread_t thief = litmus_begin(steal);
	uint32_t round = 0;
	double end = seconds() + 0.6;

	while ((round & 255) || seconds() < end) {
		struct th_task *popped, *rest;
		int taken;

		TH_CHECK(th_deque_push_owner(&lane, &t[0]) && th_deque_push_owner(&lane, &t[1]));
		th_deque_publish_all_owner(&lane);
		th_store_rel(&x_go, ++round);
		write_lines(0);
		popped = th_deque_pop_owner(&lane);
		wait_until(&x_done, round);
		TH_CHECK(!is_one_of(popped, stolen[0], stolen[1]));
		TH_CHECK(!is_one_of(stolen[0], stolen[1], NULL));
		taken = (popped != NULL) + (stolen[0] != NULL) + (stolen[1] != NULL);
		while ((rest = th_deque_pop_owner(&lane)) != NULL) {
			TH_CHECK(rest != popped && !is_one_of(rest, stolen[0], stolen[1]));
			taken++;
		}
		TH_CHECK_EQ(taken, 2);
	}
	litmus_end(thief);
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

enum { CYCLE = 4096 };

/* The litmus needs both threads to run at the same time, also on a loaded machine: on a processor each, if there are
 * two. */
static void run_on(unsigned nth)
{
	cpu_set_t all, one;

	TH_CHECK_EQ(sched_getaffinity(0, sizeof all, &all), 0);
	CPU_ZERO(&one);
	for (unsigned cpu = 0; cpu < CPU_SETSIZE && nth < (unsigned)CPU_COUNT(&all); cpu++)
		if (CPU_ISSET(cpu, &all) && nth-- == 0)
			CPU_SET(cpu, &one);
	if (CPU_COUNT(&one) == 1)
		TH_CHECK_EQ(sched_setaffinity(0, sizeof one, &one), 0);
}

static void *forcing_thief(void *ret_forced)
{
	uint32_t forced = 0;

	run_on(1);
	while (!th_load_rlx(&x_stop)) {
		struct th_task *t = th_deque_force_any(&lane);
		write_lines(1);
		if (t) {
			th_add_rlx(&t->x_taken, 1);
			forced++;
		}
	}
	*(uint32_t *)ret_forced = forced;
	return NULL;
}

/* The same for the light fence: the owner pops its only entry, a private one, which a thief forces meanwhile. The store
 * of x_bottom waits in the store buffer while x_split is loaded; without the membarrier() of the force entries are
 * doubled. Each should have been taken as often as it was pushed; the threads do not wait for each other, and look at
 * that in the end. */
TH_TEST(deque, stuffed_store_buffer_does_not_double_a_forced_entry)
{
	uint32_t forced = 0, rounds = 0;
	pthread_t thief;
	cpu_set_t before;
	double end = seconds() + 1;

	TH_CHECK(th_fence_heavy());
	TH_CHECK_EQ(sched_getaffinity(0, sizeof before, &before), 0);
	th_deque_init(&lane);
	th_store_rlx(&x_stop, 0);
	for (int i = 0; i < CYCLE; i++)
		th_store_rlx(&tasks[i].x_taken, 0);
	TH_CHECK_EQ(pthread_create(&thief, NULL, forcing_thief, &forced), 0);
	run_on(0);
	while (rounds % CYCLE != 0 || seconds() < end) {
		struct th_task *t = &tasks[rounds++ % CYCLE];
		TH_CHECK(th_deque_push_owner(&lane, t));
		write_lines(0);
		if (th_deque_take_back_owner(&lane))
			th_add_rlx(&t->x_taken, 1);
	}
	th_store_rlx(&x_stop, 1);
	pthread_join(thief, NULL);
	TH_CHECK_EQ(sched_setaffinity(0, sizeof before, &before), 0);
	for (int i = 0; i < CYCLE; i++)
		TH_CHECK_EQ(th_load_rlx(&tasks[i].x_taken), rounds / CYCLE);
	nothing_is_left();
	printf("(%u rounds, %u forced) ", rounds, forced);
}

static void *stress_thief(void *unused)
{
	(void)unused;
	while (!th_load_rlx(&x_stop)) {
		bool closed;
		take(th_deque_steal_any(&lane, &closed));
		if (closed)
			take(th_deque_force_any(&lane));
	}
	return NULL;
}

TH_TEST(deque, every_entry_is_taken_once_under_two_forcing_thieves)
{
	uint64_t rng = 11;
	pthread_t thief[2];

	th_deque_init_at(&lane, 5 * SLOTS - 1);
	th_store_rlx(&x_stop, 0);
	for (int i = 0; i < 2; i++)
		TH_CHECK_EQ(pthread_create(&thief[i], NULL, stress_thief, NULL), 0);
	for (int i = 0; i < TASKS; i++) {
		uint64_t r = next_random(&rng) >> 58;

		tasks[i].payload = (uint64_t)i * 3 + 1;
		th_init(&tasks[i].x_taken, 0);
		while (!th_deque_push_owner(&lane, &tasks[i]))
			take(th_deque_pop_owner(&lane));
		if (r / 4 == 0)
			th_deque_publish_owner(&lane);
		if (r / 4 == 1)
			th_deque_publish_all_owner(&lane);
		for (r &= 3; r; r--)
			take(th_deque_pop_owner(&lane));
	}
	while (!th_deque_looks_empty_any(&lane))
		take(th_deque_pop_owner(&lane));
	th_store_rlx(&x_stop, 1);
	for (int i = 0; i < 2; i++)
		pthread_join(thief[i], NULL);
	for (int i = 0; i < TASKS; i++)
		TH_CHECK_EQ(th_load_rlx(&tasks[i].x_taken), 1);
	nothing_is_left();
}
