/* core/schedule.c: when to go on, and after which delay (Y1, Y3-Y5, Y9).
 *
 * A schedule is an expression in postfix order: operands stand before their operator, the last node is the whole.
 * So a combinator copies its operands one behind the other and adds a node; nothing points anywhere, and a
 * schedule may be copied. What a run counts stands in the run, one state for each node, so the same schedule may
 * run many times at once.
 *
 *     thrum_and_then(thrum_recurs(3), thrum_spaced(d))    node:  0 recurs   1 spaced   2 and_then, left = 0
 *
 * A node that has ended stays ended for its run: a union would otherwise wake one of its sides again.
 * All arithmetic saturates: a delay that is too long to count is THRUM_FOREVER, never a short one (Y4). */
#include "assert.h"
#include "hooks.h"
#include "random.h"
#include "clock.h"
#include <errno.h>
#include <string.h>
#include <thrum/retry.h>

enum kind {
	RECURS,
	SPACED,
	FIXED_RATE,
	EXPONENTIAL,
	FIBONACCI,
	JITTERED,
	UNION,
	INTERSECT,
	AND_THEN,
	UP_TO,
	UP_TO_COUNT,
	WHILE,
	UNTIL,
	KINDS
};

struct node_state {
	uint64_t n;       /* times it has said yes; fixed rate: the last time on its grid */
	int64_t start_ns;
};

struct run {
	const thrum_schedule *schedule;
	uint64_t ended;   /* one bit for each node */
	struct node_state state[THRUM_SCHEDULE_NODES];
};
_Static_assert(sizeof(struct run) <= sizeof(thrum_schedule_run), "thrum_schedule_run holds a run");
_Static_assert(THRUM_SCHEDULE_NODES <= 64, "a bit for each node");

/* --- building --- */

static thrum_schedule bad(int code)
{
	thrum_schedule s;

	memset(&s, 0, sizeof s);
	s.error_ = code;
	return s;
}

static int check(const thrum_schedule *s)
{
	if (s->error_)
		return s->error_;
	return s->n_ == 0 || s->n_ > THRUM_SCHEDULE_NODES ? -EINVAL : 0;
}

static thrum_schedule leaf(enum kind kind, int64_t a, int64_t b)
{
	thrum_schedule s = bad(0);

	s.node_[0] = (thrum_schedule_node_){ .a.ns = a, .b.ns = b, .kind = kind };
	s.n_ = 1;
	return s;
}

/* `s` under one more node. */
static thrum_schedule wrap(thrum_schedule s, thrum_schedule_node_ node)
{
	int r = check(&s);

	if (r < 0)
		return bad(r);
	if (s.n_ == THRUM_SCHEDULE_NODES)
		return bad(-E2BIG);
	s.node_[s.n_++] = node;
	return s;
}

static thrum_schedule join(enum kind kind, thrum_schedule a, const thrum_schedule *b)
{
	thrum_schedule_node_ node = { .kind = kind, .left = a.n_ - 1 };
	int r = check(&a);

	if (r == 0)
		r = check(b);
	if (r < 0)
		return bad(r);
	if (a.n_ + b->n_ > THRUM_SCHEDULE_NODES)
		return bad(-E2BIG);
	for (uint32_t i = 0; i < b->n_; i++) {
		a.node_[a.n_ + i] = b->node_[i];
		a.node_[a.n_ + i].left += a.n_;
	}
	a.n_ += b->n_;
	return wrap(a, node);
}

thrum_schedule thrum_recurs(uint64_t n)
{
	thrum_schedule s = leaf(RECURS, 0, 0);

	s.node_[0].a.count = n;
	return s;
}

thrum_schedule thrum_spaced(thrum_dur d)
{
	return d.ns < 0 ? bad(-EINVAL) : leaf(SPACED, d.ns, 0);
}

thrum_schedule thrum_fixed_rate(thrum_dur d)
{
	return d.ns < 0 ? bad(-EINVAL) : leaf(FIXED_RATE, d.ns, 0);
}

thrum_schedule thrum_exponential(thrum_dur base, thrum_dur cap)
{
	return base.ns < 0 || cap.ns < 0 ? bad(-EINVAL) : leaf(EXPONENTIAL, base.ns, cap.ns);
}

thrum_schedule thrum_fibonacci(thrum_dur base, thrum_dur cap)
{
	return base.ns < 0 || cap.ns < 0 ? bad(-EINVAL) : leaf(FIBONACCI, base.ns, cap.ns);
}

thrum_schedule thrum_jittered(thrum_schedule s, double fraction)
{
	if (!(fraction >= 0 && fraction <= 1)) /* so written, it refuses NaN too */
		return bad(-EINVAL);
	return wrap(s, (thrum_schedule_node_){ .a.fraction = fraction, .kind = JITTERED });
}

thrum_schedule thrum_union(thrum_schedule a, thrum_schedule b) { return join(UNION, a, &b); }
thrum_schedule thrum_intersect(thrum_schedule a, thrum_schedule b) { return join(INTERSECT, a, &b); }
thrum_schedule thrum_and_then(thrum_schedule a, thrum_schedule b) { return join(AND_THEN, a, &b); }

thrum_schedule thrum_up_to(thrum_schedule s, thrum_dur limit)
{
	return limit.ns < 0 ? bad(-EINVAL) : wrap(s, (thrum_schedule_node_){ .a.ns = limit.ns, .kind = UP_TO });
}

thrum_schedule thrum_up_to_count(thrum_schedule s, uint64_t n)
{
	return wrap(s, (thrum_schedule_node_){ .a.count = n, .kind = UP_TO_COUNT });
}

thrum_schedule thrum_while_(thrum_schedule s, thrum_code_test *test, void *arg)
{
	return test ? wrap(s, (thrum_schedule_node_){ .a.test = test, .b.arg = arg, .kind = WHILE }) : bad(-EINVAL);
}

thrum_schedule thrum_until_(thrum_schedule s, thrum_code_test *test, void *arg)
{
	return test ? wrap(s, (thrum_schedule_node_){ .a.test = test, .b.arg = arg, .kind = UNTIL }) : bad(-EINVAL);
}

/* --- running --- */

/* One question to the schedule. */
struct step {
	struct run *run;
	struct th_fiber *fiber;
	int code;
	int64_t now_ns;
};

static bool ask(struct step *st, uint32_t i, int64_t *ret_delay);

static int64_t add(int64_t a, int64_t b)
{
	int64_t r;

	return __builtin_add_overflow(a, b, &r) ? INT64_MAX : r; /* of operands that are not negative */
}

static int64_t at_most(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* base * 2^n. By comparing, not by shifting: the 64th doubling, or the 1024th, must not come out short (D22). */
static int64_t doubled(int64_t base, uint64_t n, int64_t cap)
{
	if (n >= 63 || base > (INT64_MAX >> n))
		return base == 0 ? 0 : cap;
	return at_most(base << n, cap);
}

/* base * fibonacci(n), 1 1 2 3 5; from the beginning each time: it reaches the cap, or the end of the numbers,
 * within 92 steps. */
static int64_t fibonacci(int64_t base, uint64_t n, int64_t cap)
{
	int64_t last = 0, delay = base;

	for (; n > 0 && delay < cap && base > 0; n--) {
		int64_t next = add(last, delay);
		last = delay;
		delay = next;
	}
	return at_most(delay, cap);
}

/* The next time on the grid start + k d; the times that went by during the attempt are left out. */
static int64_t until_next_tick(struct node_state *state, int64_t d, int64_t now_ns)
{
	int64_t since = now_ns - state->start_ns, due;

	if (d == 0)
		return 0;
	if (__builtin_mul_overflow((int64_t)state->n + 1, d, &due))
		due = INT64_MAX;
	if (since > due) {
		state->n = (uint64_t)(since / d);
		return 0;
	}
	state->n++;
	return due - since;
}

static bool ask_leaf(struct step *st, const thrum_schedule_node_ *node, struct node_state *state, int64_t *ret_delay)
{
	switch ((enum kind)node->kind) {
	case RECURS:
		*ret_delay = 0;
		return state->n < node->a.count && ++state->n;
	case SPACED:
		*ret_delay = node->a.ns;
		return true;
	case FIXED_RATE:
		*ret_delay = until_next_tick(state, node->a.ns, st->now_ns);
		return true;
	case EXPONENTIAL:
		*ret_delay = doubled(node->a.ns, state->n++, node->b.ns);
		return true;
	case FIBONACCI:
		*ret_delay = fibonacci(node->a.ns, state->n++, node->b.ns);
		return true;
	default:
		return false;
	}
}

static int64_t vary(struct th_fiber *f, int64_t delay, double fraction)
{
	double unit = (double)(th_random(f) >> 11) * 0x1p-53; /* 0 <= unit < 1 */
	double varied = (double)delay * (1 + fraction * (2 * unit - 1));

	if (delay == INT64_MAX || varied >= 0x1p63)
		return INT64_MAX;
	return (int64_t)varied;
}

static bool ask_one(struct step *st, uint32_t i, int64_t *ret_delay)
{
	const thrum_schedule_node_ *node = &st->run->schedule->node_[i];
	struct node_state *state = &st->run->state[i];

	if (node->kind == UP_TO_COUNT && state->n++ >= node->a.count)
		return false;
	if (node->kind == WHILE && !node->a.test(node->b.arg, st->code))
		return false;
	if (node->kind == UNTIL && node->a.test(node->b.arg, st->code))
		return false;
	if (!ask(st, i - 1, ret_delay))
		return false;
	if (node->kind == JITTERED)
		*ret_delay = vary(st->fiber, *ret_delay, node->a.fraction);
	return node->kind != UP_TO || add(st->now_ns - state->start_ns, *ret_delay) <= node->a.ns;
}

/* The second part's time begins when its turn does. */
static void restart(struct run *run, uint32_t first, uint32_t last, int64_t now_ns)
{
	for (uint32_t i = first; i <= last; i++)
		run->state[i].start_ns = now_ns;
}

static bool ask_in_turn(struct step *st, uint32_t i, int64_t *ret_delay)
{
	uint32_t left = st->run->schedule->node_[i].left;
	bool was_first = !(st->run->ended & UINT64_C(1) << left);

	if (ask(st, left, ret_delay))
		return true;
	if (was_first)
		restart(st->run, left + 1, i - 1, st->now_ns);
	return ask(st, i - 1, ret_delay);
}

/* Both sides are asked, also where one would do: both are to count this time. */
static bool ask_both(struct step *st, uint32_t i, int64_t *ret_delay)
{
	const thrum_schedule_node_ *node = &st->run->schedule->node_[i];
	int64_t a = 0, b = 0;
	bool a_goes_on = ask(st, node->left, &a), b_goes_on = ask(st, i - 1, &b);

	if (node->kind == INTERSECT) {
		*ret_delay = a > b ? a : b;
		return a_goes_on && b_goes_on;
	}
	*ret_delay = !b_goes_on || (a_goes_on && a < b) ? a : b;
	return a_goes_on || b_goes_on;
}

static bool ask_node(struct step *st, uint32_t i, int64_t *ret_delay)
{
	const thrum_schedule_node_ *node = &st->run->schedule->node_[i];

	if (node->kind < JITTERED)
		return ask_leaf(st, node, &st->run->state[i], ret_delay);
	if (node->kind == AND_THEN)
		return ask_in_turn(st, i, ret_delay);
	if (node->kind == UNION || node->kind == INTERSECT)
		return ask_both(st, i, ret_delay);
	return ask_one(st, i, ret_delay);
}

/* As deep as the schedule nests: at most THRUM_SCHEDULE_NODES. */
static bool ask(struct step *st, uint32_t i, int64_t *ret_delay)
{
	const uint64_t bit = UINT64_C(1) << i;

	TH_DASSERT(i < st->run->schedule->n_);
	if (!(st->run->ended & bit) && !ask_node(st, i, ret_delay))
		st->run->ended |= bit;
	return !(st->run->ended & bit);
}

static struct run *of(thrum_schedule_run *run)
{
	return (struct run *)(void *)run;
}

int thrum_schedule_start(thrum_schedule_run *public, const thrum_schedule *s)
{
	struct th_fiber *f = th_self();
	struct run *run = of(public);
	int r = s ? check(s) : -EINVAL;

	if (!f)
		return THRUM_ENOTFIBER;
	if (r < 0)
		return r;
	run->schedule = s;
	run->ended = 0;
	memset(run->state, 0, s->n_ * sizeof run->state[0]);
	restart(run, 0, s->n_ - 1, th_clock_now(f).ns);
	return 0;
}

bool thrum_schedule_next(thrum_schedule_run *public, int code, thrum_dur *ret_delay)
{
	struct th_fiber *f = th_self();
	struct run *run = of(public);
	struct step st = { .run = run, .fiber = f, .code = code };
	int64_t delay = 0;

	if (!f)
		return false;
	st.now_ns = th_clock_now(f).ns;
	if (!ask(&st, run->schedule->n_ - 1, &delay))
		return false;
	ret_delay->ns = delay;
	return true;
}
