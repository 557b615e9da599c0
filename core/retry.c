/* core/retry.c: retry and repeat (Y2, Y6-Y8): one loop. The schedule's state lies in its frame; each attempt in a
 * scope of its own, on the same fiber. */
#include "deep.h"
#include "hooks.h"
#include "scope.h"
#include <errno.h>
#include <limits.h>
#include <thrum/clock.h>
#include <thrum/retry.h>
#include <thrum/scope.h>

struct loop {
	thrum_fx fx;
	const thrum_schedule *schedule;
	bool repeats;               /* a success goes on and a failure ends it; else the other way round */
	thrum_code_test *retryable;
	void *arg;
	uint64_t *ret_attempts;
};

/* What the attempt acquired is released when this returns, before any delay. A release that fails makes a success one
 * failure (A5), and an interrupt too: *ret_interrupted tells that it was one. */
static int attempt(thrum_fx fx, bool *ret_interrupted)
{
	thrum_scope scope;
	int code, closed;

	*ret_interrupted = false;
	code = th_scope_open_own(&scope);
	if (code < 0)
		return code;
	code = th_call_deep(fx);
	*ret_interrupted = code == -ECANCELED;
	if (code < 0)
		(void)thrum_scope_fail_at_(&scope, code, NULL, 0);
	closed = thrum_scope_close(&scope);
	return closed < 0 ? closed : code;
}

static bool goes_on(const struct loop *l, int code)
{
	if (l->repeats)
		return code >= 0;
	if (code >= 0 || code == -ECANCELED || code == THRUM_EDIED)
		return false;
	return !l->retryable || l->retryable(l->arg, code);
}

/* An attempt that could only begin when its time is up is not worth waiting for: what is known now is more use than
 * -ETIMEDOUT then (Y7). */
static bool reaches_deadline(thrum_dur delay)
{
	thrum_time deadline = thrum_deadline();

	return deadline.ns != INT64_MAX && delay.ns >= thrum_time_sub(deadline, thrum_now()).ns;
}

/* The last failure is the result, and its cause says how often it was tried (Y8). */
static int give_up(struct th_fiber *f, const struct loop *l, int code, uint64_t attempts)
{
	struct th_cause *c = f->task->cause;

	if (!l->repeats && code < 0 && c && c->c.code == code)
		c->c.attempts = attempts > UINT_MAX ? UINT_MAX : (unsigned)attempts;
	return code;
}

/* A cancel came before the next attempt: what is known of the last one comes with it. */
static int cut_short(struct th_fiber *f, const struct loop *l, int code)
{
	int failed = f->task->failed;

	if (!l->repeats && failed < 0)
		th_cause_after(f, th_cause_take(f, failed), code);
	return code;
}

static int run_loop(struct th_fiber *f, const struct loop *l)
{
	thrum_schedule_run run;
	thrum_dur delay;
	uint64_t attempts = 0;
	bool interrupted;
	int code = thrum_schedule_start(&run, l->schedule);

	while (code >= 0) {
		if (th_cancelled(f)) /* also when it came just as the delay was over */
			return cut_short(f, l, -ECANCELED);
		attempts++;
		if (l->ret_attempts)
			*l->ret_attempts = attempts;
		th_cause_clear(f); /* the cause is the last attempt's, also where an earlier one failed with the same code (Y8) */
		code = attempt(l->fx, &interrupted);
		if (interrupted || !goes_on(l, code) || !thrum_schedule_next(&run, code, &delay))
			return give_up(f, l, code, attempts);
		if (!l->repeats && reaches_deadline(delay))
			return give_up(f, l, code, attempts);
		code = thrum_sleep(delay);
	}
	return cut_short(f, l, code);
}

static int start_loop(const struct loop *l)
{
	struct th_fiber *f = th_self();
	struct th_cause_kept kept;

	if (l->ret_attempts)
		*l->ret_attempts = 0;
	if (!f)
		return THRUM_ENOTFIBER;
	if (!l->fx.run || !l->schedule)
		return -EINVAL;
	kept = th_cause_keep(f);
	return th_cause_settle(f, &kept, run_loop(f, l));
}

int thrum_retry(thrum_fx fx, const thrum_schedule *schedule)
{
	return start_loop(&(struct loop){ .fx = fx, .schedule = schedule });
}

int thrum_retry_if(thrum_fx fx, const thrum_schedule *schedule, thrum_code_test *retryable, void *arg)
{
	return start_loop(&(struct loop){ .fx = fx, .schedule = schedule, .retryable = retryable, .arg = arg });
}

int thrum_repeat(thrum_fx fx, const thrum_schedule *schedule)
{
	return start_loop(&(struct loop){ .fx = fx, .schedule = schedule, .repeats = true });
}

/* --- as values --- */

static int retry_op(void *arg)
{
	const thrum_retry_op *op = arg;

	return start_loop(&(struct loop){ .fx = op->fx, .schedule = op->schedule, .retryable = op->retryable,
					  .arg = op->arg, .ret_attempts = op->ret_attempts });
}

static int repeat_op(void *arg)
{
	const thrum_repeat_op *op = arg;

	return start_loop(&(struct loop){ .fx = op->fx, .schedule = op->schedule, .repeats = true,
					  .ret_attempts = op->ret_runs });
}

thrum_fx thrum_retry_fx(thrum_retry_op *op) { return (thrum_fx){ retry_op, op }; }
thrum_fx thrum_repeat_fx(thrum_repeat_op *op) { return (thrum_fx){ repeat_op, op }; }
