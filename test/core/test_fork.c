/* Forks whose effects are plain calls (thrum/fork.h): what nobody may notice of that. */
#include "test/support/child.h"
#include "test/support/rules.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <thrum/fork.h>

static void compute(int ms)
{
	struct timespec t;
	int64_t end = 0, now = 0;

	do {
		TH_CHECK_EQ(clock_gettime(CLOCK_MONOTONIC, &t), 0);
		now = t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
		if (end == 0)
			end = now + ms * INT64_C(1000000);
	} while (now < end);
}

/* --- Z3: the other effects can be taken at once, though the forker calls nothing --- */

struct pair {
	th_counter flag;
};

static int wait_for_the_other(struct pair *p)
{
	while (th_counted(&p->flag) == 0)
		sched_yield(); /* no call of thrum's: neither a suspension nor a checkpoint */
	return 0;
}
THRUM_FX(wait_for_the_other, struct pair);

static int set_flag(struct pair *p)
{
	th_count(&p->flag, 1);
	return 0;
}
THRUM_FX(set_flag, struct pair);

TH_FIBER_TEST(REAL, fork, effects_are_taken_while_the_forker_only_computes_Z3)
{
	if (thrum_workers() == 1)
		return 0;
	for (int i = 0; i < 300; i++) {
		struct pair p = { 0 };
		TH_CHECK_EQ(thrum_zip_par(wait_for_the_other_fx(&p), set_flag_fx(&p)), 0);
		if (i % 10 == 5) {
			TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0); /* for the others to fall asleep: REAL, so real time */
			TH_CHECK_EQ(thrum_check(), 0);            /* looks up when there is nothing to offer */
		}
	}
	return 0;
}

/* Others that fell asleep while the gate was open, having come too late for a fork. */
TH_FIBER_TEST(REAL, fork, sleepers_are_woken_by_a_forker_that_has_not_stopped_Z3)
{
	if (thrum_workers() == 1)
		return 0;
	for (int i = 0; i < 20; i++) {
		struct pair p = { 0 };
		compute(2); /* long enough for the others to fall asleep */
		TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), thrum_succeed()), 0);
		compute(2);
		TH_CHECK_EQ(thrum_zip_par(wait_for_the_other_fx(&p), set_flag_fx(&p)), 0);
	}
	return 0;
}

/* Where a filter refuses membarrier(): slower, and nothing else. */
static int take_turns(void *unused)
{
	(void)unused;
	for (int i = 0; i < 50; i++) {
		struct pair p = { 0 };
		if (i % 10 == 0)
			compute(2);
		TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), thrum_succeed()), 0);
		TH_CHECK_EQ(thrum_zip_par(wait_for_the_other_fx(&p), set_flag_fx(&p)), 0);
	}
	return 0;
}

static void run_without_membarrier(void *unused)
{
	struct sock_filter refuse[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof refuse / sizeof *refuse, refuse };
	const thrum_fx fx = { take_turns, NULL };

	(void)unused;
	TH_CHECK_EQ(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	TH_CHECK_EQ(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2), fx), 0);
}

TH_TEST(fork, effects_are_taken_where_membarrier_is_refused_Z3)
{
	struct th_said said;
	int status;

	if (TH_EMULATED)
		return; /* it takes no filters */
	status = th_child(run_without_membarrier, NULL, &said);
	TH_CHECK_CHILD_OK(status, &said);
}

/* The same for an entry below many others: forks inside one another, the innermost forker computes. */
struct nest {
	int left;
	struct pair *pair;
};
static int nest(struct nest *n);
THRUM_FX(nest, struct nest);

static int nest(struct nest *n)
{
	struct nest below = { n->left - 1, n->pair };

	if (n->left == 0)
		return wait_for_the_other(n->pair);
	return thrum_zip_par(nest_fx(&below), set_flag_fx(n->pair));
}

TH_FIBER_TEST(REAL, fork, outer_effects_are_taken_while_the_innermost_forker_computes_Z3)
{
	if (thrum_workers() == 1)
		return 0;
	for (int i = 0; i < 100; i++) {
		struct pair p = { 0 };
		struct nest n = { 1 + i % 20, &p };
		TH_CHECK_EQ(nest(&n), 0);
		TH_CHECK_EQ(th_counted(&p.flag), n.left);
	}
	return 0;
}

/* --- Z4, Z8: news reach a forker that calls nothing but forks --- */

static int fork_for_ever(void *unused)
{
	int r;

	(void)unused;
	while ((r = thrum_zip_par(thrum_succeed(), thrum_succeed())) == 0)
		;
	return r;
}

static int fail(void *unused)
{
	(void)unused;
	return THRUM_APP(5);
}

TH_FIBER_TEST(REAL, fork, a_stolen_failure_stops_a_forker_that_never_blocks_Z4)
{
	const thrum_fx forever = { fork_for_ever, NULL }, fails = { fail, NULL };

	if (thrum_workers() > 1)
		TH_CHECK_EQ(thrum_zip_par(forever, fails), THRUM_APP(5));
	return 0;
}

/* Nothing of it can be stolen, so no thief puts it into the tree. */
static int fork_one_for_ever(void *unused)
{
	const thrum_fx one = thrum_succeed();
	int r;

	(void)unused;
	while ((r = thrum_zip_par_n(&one, 1)) == 0)
		;
	return r;
}

TH_FIBER_TEST(REAL, fork, a_stolen_failure_stops_a_forker_that_offers_nothing_Z4)
{
	const thrum_fx forever = { fork_one_for_ever, NULL }, fails = { fail, NULL };

	if (thrum_workers() > 1)
		TH_CHECK_EQ(thrum_zip_par(forever, fails), THRUM_APP(5));
	return 0;
}

TH_TEST(fork, a_cancel_from_outside_stops_a_forker_that_never_blocks_Z8)
{
	const thrum_fx forever = { fork_for_ever, NULL };
	thrum_handle h;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	for (int i = 0; i < 20; i++) {
		TH_CHECK_EQ(thrum_rt_start(rt, &h, forever), 0);
		for (int k = 0; k < i; k++)
			sched_yield();
		thrum_handle_cancel(&h);
		TH_CHECK_EQ(thrum_handle_wait(&h), -ECANCELED);
	}
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* --- K10, A8: an effect has its own identity and scope as soon as it asks --- */

struct ids {
	const void *forker, *a, *b, *inner;
};

static int ask_a(struct ids *ids)
{
	ids->a = thrum_self_id();
	return 0;
}
THRUM_FX(ask_a, struct ids);

static int ask_inner(struct ids *ids)
{
	ids->inner = thrum_self_id();
	return 0;
}
THRUM_FX(ask_inner, struct ids);

static int ask_b(struct ids *ids)
{
	int r = thrum_zip_par(thrum_succeed(), ask_inner_fx(ids));

	ids->b = thrum_self_id();
	TH_CHECK(ids->b != ids->forker);
	return r;
}
THRUM_FX(ask_b, struct ids);

TH_FIBER_TEST(JUMP, fork, effects_have_identities_of_their_own_K10)
{
	struct ids ids = { .forker = thrum_self_id() };

	TH_CHECK_EQ(thrum_zip_par(ask_b_fx(&ids), ask_a_fx(&ids)), 0);
	TH_CHECK(ids.a != ids.forker && ids.inner != ids.forker && ids.inner != ids.b);
	TH_CHECK(thrum_self_id() == ids.forker);
	return 0;
}

struct held {
	int now;
};

static int acquire(struct held *h)
{
	h->now++;
	return 0;
}
THRUM_FX(acquire, struct held);

static int release(struct held *h)
{
	h->now--;
	return 0;
}
THRUM_FX(release, struct held);

static int hold(struct held *h)
{
	TH_CHECK_EQ(thrum_acquire_release(acquire_fx(h), release_fx(h)), 0);
	TH_CHECK_EQ(h->now, 1);
	return 0;
}
THRUM_FX(hold, struct held);

static int hold_further_in(struct held *h)
{
	TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), hold_fx(h), thrum_succeed()), 0);
	TH_CHECK_EQ(h->now, 0);
	return hold(h);
}
THRUM_FX(hold_further_in, struct held);

TH_FIBER_TEST(JUMP, fork, what_an_effect_acquires_is_released_at_its_end_A8)
{
	struct held a = { 0 }, b = { 0 };

	TH_CHECK_EQ(thrum_zip_par(hold_further_in_fx(&a), hold_fx(&b)), 0);
	TH_CHECK(a.now == 0 && b.now == 0);
	return 0;
}

/* --- no room --- */

struct deep {
	int left;
	th_counter *leaves;
};
static int deepen(struct deep *d);
THRUM_FX(deepen, struct deep);

static int count_leaf(th_counter *leaves)
{
	th_count(leaves, 1);
	return 0;
}
THRUM_FX(count_leaf, th_counter);

static int deepen(struct deep *d)
{
	struct deep below = { d->left - 1, d->leaves };

	return d->left == 0 ? 0 : thrum_zip_par(deepen_fx(&below), count_leaf_fx(d->leaves));
}

/* More entries than a lane has slots, with and without stacks that run low on the way. */
TH_TEST(fork, more_forks_inside_one_another_than_a_lane_holds_Z3)
{
	enum { DEEP = THRUM_LANE_SLOTS_ + 2000 }; /* ThreadSanitizer ends at 64 Ki frames */

	for (int big = 0; big < 2; big++) {
		struct pair leaves = { 0 };
		struct deep d = { DEEP, &leaves.flag };
		thrum_opts opts = { .size = sizeof opts, .stack_bytes = big ? 64 << 20 : 0 };
		TH_CHECK_EQ(thrum_run(&opts, deepen_fx(&d)), 0);
		TH_CHECK_EQ(th_counted(&leaves.flag), DEEP);
	}
}

/* Fibers of one worker whose stacks lie anywhere: the gate is that of the one that runs. */
static int deepen_in_turns(th_counter *leaves)
{
	for (int i = 0; i < 4; i++) {
		struct deep d = { 400, leaves };
		TH_CHECK_EQ(deepen(&d), 0);
		TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), thrum_succeed()), 0); /* leaves the gate open, for this stack */
		TH_CHECK_EQ(thrum_yield(), 0);
	}
	return 0;
}
THRUM_FX(deepen_in_turns, th_counter);

TH_ONE_WORKER_TEST(JUMP, fork, deep_ones_in_fibers_that_take_turns_X6)
{
	struct pair leaves = { 0 };
	thrum_fx fx[8];

	for (int i = 0; i < 8; i++)
		fx[i] = deepen_in_turns_fx(&leaves.flag);
	TH_CHECK_EQ(thrum_zip_par_n(fx, 8), 0);
	TH_CHECK_EQ(th_counted(&leaves.flag), 8 * 4 * 400);
	return 0;
}

TH_TEST(fork, plain_threads_are_ENOTFIBER_X1)
{
	TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), thrum_succeed()), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), thrum_succeed(), thrum_succeed()), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_zip_par(thrum_succeed()), THRUM_ENOTFIBER);
}

TH_FIBER_TEST(JUMP, fork, effects_without_function_are_refused_E6)
{
	const thrum_fx none = { NULL, NULL };

	TH_CHECK_EQ(thrum_zip_par(none, thrum_succeed()), -EINVAL);
	TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), none), -EINVAL);
	TH_CHECK_EQ(thrum_zip_par(thrum_succeed(), thrum_succeed(), none), -EINVAL);
	return 0;
}

static int cancelled_fork(void *arg)
{
	int *ran = arg;
	struct held h = { 0 };
	int r = thrum_zip_par(acquire_fx(&h), acquire_fx(&h));

	*ran = h.now;
	return r;
}

TH_FIBER_TEST(JUMP, fork, a_cancelled_forker_starts_nothing_Z5_G3)
{
	int ran = -1;

	TH_CHECK_EQ(th_call_cancelled((thrum_fx){ cancelled_fork, &ran }), -ECANCELED);
	TH_CHECK_EQ(ran, 0);
	return 0;
}

static int fail_now(struct held *h)
{
	(void)h;
	return THRUM_APP(6);
}
THRUM_FX(fail_now, struct held);

TH_ONE_WORKER_TEST(JUMP, fork, after_a_failing_call_nothing_more_starts_Z4_Z5)
{
	struct held h = { 0 };

	TH_CHECK_EQ(thrum_zip_par(fail_now_fx(&h), acquire_fx(&h)), THRUM_APP(6));
	TH_CHECK_EQ(h.now, 0);
	TH_CHECK_EQ(thrum_zip_par(acquire_fx(&h), fail_now_fx(&h), acquire_fx(&h)), THRUM_APP(6));
	TH_CHECK_EQ(h.now, 1);
	TH_CHECK_EQ(thrum_zip_par(acquire_fx(&h), fail_now_fx(&h)), THRUM_APP(6));
	TH_CHECK(thrum_last_cause() && thrum_last_cause()->code == THRUM_APP(6));
	TH_CHECK_EQ(thrum_last_cause()->index, 1);
	return 0;
}
