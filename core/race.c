/* core/race.c: the fans that rule by their first one: race, race_first. */
#include "fan.h"
#include "report.h"

/* The one place where a race is decided (R2). */
static void win(struct fan *fan, size_t i, int code)
{
	thrum_reason why = { .kind = THRUM_CANCEL_RACE_LOST, .code = code, .index = i };
	bool first;

	th_lock(&fan->lock);
	first = !fan->won;
	if (first) {
		fan->won = true;
		fan->winner = i;
		fan->winner_code = code;
	}
	th_unlock(&fan->lock);
	if (!first)
		return;
	thrum_scope_cancel_why(&fan->scope, &why);
	if (fan->tell)
		fan->tell(fan->tell_arg, i);
}

/* An entrant that failed: told if all do (R5). An interrupt never hides a failure (G1). */
static void keep_failure(struct fan *fan, int code, struct th_cause *cause)
{
	struct th_cause *losers = NULL;

	th_lock(&fan->lock);
	if (fan->first_failure == 0 || fan->first_failure == -ECANCELED)
		fan->first_failure = code;
	if (fan->won && code == -ECANCELED && cause && cause->c.kind != THRUM_CAUSE_INTERRUPT)
		losers = cause; /* who lost and remembers failures has not failed */
	else if (cause || code != -ECANCELED) /* not the echo of a cancel */
		fan->failures = th_cause_add(fan->causes, THRUM_CAUSE_BOTH, fan->failures, cause, fan->first_failure);
	th_unlock(&fan->lock);
	th_cause_free(fan->causes, losers);
}

static void first_success(struct fan *fan, size_t i, int code, struct th_cause *cause)
{
	if (code >= 0)
		win(fan, i, code);
	else
		keep_failure(fan, code, cause);
}

/* An entrant that a cancel ended, or kept from starting, has not completed. */
static void first_completion(struct fan *fan, size_t i, int code, struct th_cause *cause)
{
	if (code < 0)
		keep_failure(fan, code, cause);
	if (code == -ECANCELED && th_node_cancelled(&th_scope_of(&fan->scope)->node))
		return;
	win(fan, i, code);
}

/* Failures of a race that somebody won change nothing, but are not kept silent (R7). */
static void report_failures(struct th_fiber *f, const struct fan *fan)
{
	const thrum_cause *c = &fan->failures->c;
	thrum_report what = { .kind = THRUM_REPORT_LOST_RACE_FAILURE, .code = fan->first_failure, .name = c->name,
			      .index = c->index, .cause = c };

	if (f->home->observer->observe)
		th_report(f->home->observer, &what, "a race was won by %zu, but failed: %s", fan->winner,
			  thrum_strerror(what.code));
}

static int rule_race(struct th_fiber *f, struct fan *fan, struct th_outcome *out)
{
	int r;

	if (fan->won && fan->winner_code >= 0 && fan->failures)
		report_failures(f, fan);
	if (fan->won)
		r = fan->winner_code;
	else if (out->child)
		r = out->child; /* no stack for a runner: -ENOMEM */
	else
		r = out->interrupted ? -ECANCELED : fan->first_failure;
	out->cause = th_cause_join(fan->causes, THRUM_CAUSE_BOTH, out->cause, fan->failures, r);
	return th_scope_rule(f, th_scope_of(&fan->scope), out, r);
}

static int run_race(struct fan *fan, const thrum_fan_opts *o)
{
	struct th_fiber *f = th_self();
	uint64_t small[TH_FAN_SMALL / 64];
	struct th_outcome out;
	int r;

	if (fan->n == 0 || fan->n > INT32_MAX || !fan->fx || th_fan_any_null(fan->fx, fan->n))
		return -EINVAL;
	fan->isolated = true;
	fan->parallelism = THRUM_UNBOUNDED;
	r = th_fan_note(fan, o, small);
	if (r < 0)
		return r;
	r = th_fan_run(f, fan, &out);
	if (r == 0)
		r = rule_race(f, fan, &out);
	th_fan_drop(f, fan, r, small);
	return r;
}

int thrum_race_n(const thrum_fx *fx, size_t n)
{
	return thrum_race_with(fx, n, NULL);
}

int thrum_race_with(const thrum_fx *fx, size_t n, const thrum_fan_opts *o)
{
	struct fan fan = { .fx = fx, .n = n, .ended = first_success };
	int r;

	if (th_fan_unknown(o) || (o && (o->codes || o->grain || o->done)))
		return -EINVAL;
	r = run_race(&fan, o);
	return r < 0 ? r : (int)fan.winner;
}

int th_race_telling(const thrum_fx *fx, size_t n, void (*won)(void *, size_t), void *arg)
{
	struct fan fan = { .fx = fx, .n = n, .ended = first_success, .tell = won, .tell_arg = arg };
	int r = run_race(&fan, NULL);

	return r < 0 ? r : (int)fan.winner;
}

int thrum_race_first_n(const thrum_fx *fx, size_t n, int *ret_index)
{
	struct fan fan = { .fx = fx, .n = n, .ended = first_completion };
	int r = run_race(&fan, NULL);

	if (fan.won && ret_index)
		*ret_index = (int)fan.winner;
	return r;
}

/* --- as values --- */

static int race_op(void *arg)
{
	const thrum_race_op *op = arg;
	int r = thrum_race_n(op->fx, op->n);

	if (r >= 0 && op->ret_index)
		*op->ret_index = r;
	return r < 0 ? r : 0;
}

static int race_first_op(void *arg)
{
	const thrum_race_op *op = arg;

	return thrum_race_first_n(op->fx, op->n, op->ret_index);
}

thrum_fx thrum_race_fx(thrum_race_op *op) { return (thrum_fx){ race_op, op }; }
thrum_fx thrum_race_first_fx(thrum_race_op *op) { return (thrum_fx){ race_first_op, op }; }
