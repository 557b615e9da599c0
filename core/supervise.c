/* core/supervise.c: supervision (D28): a loop on the caller's fiber around children that run on fibers of their own.
 *
 *            start            ended: it or its group is to run again          due: start
 *   NEW ───────────► RUNNING ──────────────────────────────────► WAITING ───────────────► RUNNING
 *                       └─ ended for good, or given up ─► OUT         └─ given up ─► OUT
 *
 * Each run of a child is a task of its own in the supervisor's scope, isolated, in the storage of its slot. The task's
 * oldest finalizer, which is the last that runs, tells the supervisor; so what the run had acquired is released by
 * then, and the join that follows waits only for the task's last steps. The slot is used again after that join: hence
 * never two runs of a child at once. A run that a fiber cannot be had for tells it through `refused` (-ENOMEM, a
 * failure).
 *
 * Children and supervisor meet under one lock: children put their slots into `ended` and count `events` up, the
 * supervisor reads the count, looks at everything, and waits if the count is still the same: nothing is missed. It
 * waits by sleeping, up to the next restart, in a scope that an event cancels (as the starters of core/hedge.c).
 * Everything else belongs to the supervisor's fiber. */
#include "cause.h"
#include "clock.h"
#include "deep.h"
#include "hooks.h"
#include "report.h"
#include "scope.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <thrum/clock.h>
#include <thrum/supervise.h>

enum { MAX_RESTARTS = 3, PERIOD_SEC = 5, COUNTED_MAX = 1 << 20 };
enum slot_state { NEW, RUNNING, WAITING, OUT };

struct slot {
	struct th_task task;           /* the run */
	struct th_deferred farewell;   /* its oldest finalizer */
	struct supervisor *supervisor;
	const thrum_child_spec *spec;
	size_t index;
	enum slot_state state;
	uint64_t runs;
	thrum_time since;              /* RUNNING: when it was started */
	thrum_time due;                /* WAITING: when it will be */
	thrum_schedule_run schedule;

	/* Under the supervisor's lock. */
	struct slot *next;             /* in `ended` */
	bool begun;
};

struct supervisor {
	thrum_scope scope;
	struct slot *slots;
	size_t n;
	thrum_supervisor_opts opts;
	int64_t *restarts;             /* when the last opts.max_restarts took place: a ring */
	size_t oldest, counted;
	uint64_t total;                /* restarts ever */
	int code;                      /* of the failure that ends it */
	struct th_cause *cause;
	const struct slot *culprit;    /* it gave up because of this one */
	bool interrupted;              /* a child that would have gone on was ended by a cancel */

	struct th_lock lock;           /* of what follows */
	struct slot *ended, **ended_tail;
	uint64_t events;
	thrum_scope *waiting;          /* the supervisor sleeps in it */
};

/* How a run ended. */
struct end {
	int code;
	bool stopped;                  /* by a cancel: neither success nor failure */
	struct th_cause *cause;        /* of a failure */
};

/* --- the children's side --- */

/* Under the lock: while that is held, the scope cannot be closed. */
static void tell(struct supervisor *s)
{
	s->events++;
	if (s->waiting)
		thrum_scope_cancel_at_(s->waiting, NULL, 0);
	s->waiting = NULL;
}

static int run_child(void *arg)
{
	struct slot *slot = arg;
	struct supervisor *s = slot->supervisor;

	th_lock(&s->lock);
	slot->begun = true;
	tell(s);
	th_unlock(&s->lock);
	return th_call_deep(slot->spec->fx);
}

/* Does not suspend: see be_refused(). */
static int say_farewell(void *arg)
{
	struct slot *slot = arg;
	struct supervisor *s = slot->supervisor;

	th_lock(&s->lock);
	slot->next = NULL;
	*s->ended_tail = slot;
	s->ended_tail = &slot->next;
	tell(s);
	th_unlock(&s->lock);
	return 0;
}

static void need_no_farewell(struct slot *slot)
{
	(void)thrum_undefer((thrum_deferred *)(void *)&slot->farewell);
}

/* No fiber could be had for it, so its finalizers do not run. */
static int be_refused(void *arg)
{
	need_no_farewell(arg);
	return say_farewell(arg);
}

/* --- waiting --- */

static uint64_t events_so_far(struct supervisor *s)
{
	uint64_t events;

	th_lock(&s->lock);
	events = s->events;
	th_unlock(&s->lock);
	return events;
}

/* May it sleep? Else something has happened since `seen`. */
static bool begin_wait(struct supervisor *s, uint64_t seen, thrum_scope *scope)
{
	bool quiet;

	th_lock(&s->lock);
	quiet = s->events == seen;
	if (quiet)
		s->waiting = scope;
	th_unlock(&s->lock);
	return quiet;
}

static void end_wait(struct supervisor *s)
{
	th_lock(&s->lock);
	s->waiting = NULL;
	th_unlock(&s->lock);
}

/* Until something happens that was not in `seen`, or `until`, or a cancel. */
static void wait_for_event(struct th_fiber *f, struct supervisor *s, uint64_t seen, thrum_time until)
{
	struct th_outcome out;
	thrum_scope scope;

	th_scope_open(f, th_scope_of(&scope));
	if (begin_wait(s, seen, &scope)) {
		/* What it returns matters less than what has happened. */
		(void)(until.ns == INT64_MAX ? thrum_call(thrum_never()) : thrum_sleep_until(until));
		end_wait(s);
	}
	th_scope_close(f, th_scope_of(&scope), &out);
	(void)th_scope_rule(f, th_scope_of(&scope), &out, 0);
}

/* --- one run of one child --- */

static void init_run(struct slot *slot)
{
	th_task_init(&slot->task, (thrum_fx){ run_child, slot });
	slot->task.refused = (thrum_fx){ be_refused, slot };
	slot->task.name = slot->spec->name;
	slot->task.stack_bytes = (uint32_t)slot->spec->stack_bytes;
	slot->task.isolated = true;
	slot->task.item = true;
	slot->farewell.fx = (thrum_fx){ say_farewell, slot };
	slot->farewell.pool = NULL;
	(void)th_node_defer(&slot->task.node, &slot->farewell, NULL); /* before it can acquire anything */
	slot->begun = false;
}

/* Has its effect begun to run, or has it ended without? */
static bool has_begun(struct slot *slot, uint64_t *ret_seen)
{
	struct supervisor *s = slot->supervisor;
	bool begun;

	th_lock(&s->lock);
	begun = slot->begun;
	for (struct slot *e = s->ended; e && !begun; e = e->next)
		begun = e == slot;
	*ret_seen = s->events;
	th_unlock(&s->lock);
	return begun;
}

static void start(struct th_fiber *f, struct slot *slot)
{
	struct supervisor *s = slot->supervisor;
	uint64_t seen;

	init_run(slot);
	th_scope_of(&s->scope)->spawned = slot->index; /* the number of each of its runs; nobody else spawns here */
	if (th_spawn(f, th_scope_of(&s->scope), &slot->task, 0) < 0) {
		need_no_farewell(slot);
		return; /* cancelled; it stays where it is */
	}
	slot->state = RUNNING;
	slot->runs++;
	slot->since = th_clock_now(f);
	while (!has_begun(slot, &seen) && !th_cancelled(f))
		wait_for_event(f, s, seen, (thrum_time){ INT64_MAX });
}

/* Take it out of those who have ended. */
static void forget(struct supervisor *s, struct slot *slot)
{
	struct slot **at = &s->ended;

	th_lock(&s->lock);
	while (*at && *at != slot)
		at = &(*at)->next;
	if (*at) {
		*at = slot->next;
		if (s->ended_tail == &slot->next)
			s->ended_tail = at;
	}
	th_unlock(&s->lock);
}

/* Await its end. The slot is free then. */
static struct end await(struct th_fiber *f, struct slot *slot)
{
	struct end end = { .code = thrum_join((thrum_task *)(void *)&slot->task) };

	end.stopped = end.code == -ECANCELED && th_node_cancelled(&slot->task.node);
	if (end.stopped)
		th_cause_clear(f);
	else if (end.code < 0)
		end.cause = th_cause_take(f, end.code); /* the join has put it there */
	forget(slot->supervisor, slot);
	slot->state = OUT;
	return end;
}

/* --- what is told --- */

/* `delay` NULL: it failed while it was stopped, to be started again with its group. */
static void report_restart(struct th_fiber *f, const struct slot *slot, const struct end *end, const thrum_dur *delay)
{
	const thrum_report what = { .kind = THRUM_REPORT_RESTARTED, .code = end->code, .name = slot->spec->name,
				    .index = slot->index, .run = slot->spec->fx.run,
				    .cause = end->cause ? &end->cause->c : NULL };
	char when[64] = "it was being stopped, to be restarted with its group";

	if (!f->home->observer->observe)
		return;
	if (delay)
		snprintf(when, sizeof when, "restart %llu, in %lld us", (unsigned long long)slot->supervisor->total,
			 (long long)(delay->ns / 1000));
	th_report(f->home->observer, &what, "child %zu%s%s %s (%d); %s", what.index, what.name ? " " : "",
		  what.name ? what.name : "", end->code < 0 ? thrum_strerror(end->code) : "has ended", end->code, when);
}

/* A temporary child has failed: nobody else will tell. */
static void report_unobserved(struct th_fiber *f, const struct slot *slot, const struct end *end)
{
	const thrum_report what = { .kind = THRUM_REPORT_UNOBSERVED_FAILURE, .code = end->code, .name = slot->spec->name,
				    .index = slot->index, .run = slot->spec->fx.run, .cause = end->cause ? &end->cause->c : NULL };

	th_report(f->home->observer, &what, "the temporary child %zu%s%s failed: %s (%d)", what.index,
		  what.name ? " " : "", what.name ? what.name : "", thrum_strerror(what.code), what.code);
}

/* --- giving up --- */

/* A failure that no restart answers. */
static void fail(struct th_fiber *f, struct slot *slot, struct end *end)
{
	struct supervisor *s = slot->supervisor;

	if (slot->spec->restart == THRUM_RESTART_TEMPORARY) {
		report_unobserved(f, slot, end);
		th_cause_free(f->home->causes, end->cause);
		return;
	}
	if (s->code == 0) {
		s->code = end->code;
		s->cause = end->cause;
	} else {
		s->cause = th_cause_add(f->home->causes, THRUM_CAUSE_THEN, s->cause, end->cause, s->code);
	}
}

static void give_up(struct th_fiber *f, struct slot *slot, struct end *end)
{
	if (end->code >= 0) {
		end->code = -ECHILD;
		end->cause = th_cause_leaf(f->home->causes, -ECHILD, NULL);
		th_cause_from_child(end->cause, slot->index, slot->spec->name);
		if (end->cause)
			end->cause->c.what = "a permanent child has ended, and not for the first time";
	}
	end->cause = th_cause_tried(f->home->causes, end->cause, slot->runs);
	slot->supervisor->culprit = slot;
	fail(f, slot, end);
}

/* --- restarting --- */

/* Does the limit allow one more restart, now? Then it is counted. As in OTP one that is exactly a period old counts. */
static bool may_restart(struct supervisor *s, thrum_time now)
{
	if (s->opts.max_restarts == THRUM_UNBOUNDED)
		return true;
	while (s->counted > 0 &&
	       thrum_time_sub(now, (thrum_time){ s->restarts[s->oldest] }).ns > s->opts.period.ns) {
		s->oldest = (s->oldest + 1) % s->opts.max_restarts;
		s->counted--;
	}
	if (s->counted == s->opts.max_restarts)
		return false;
	s->restarts[(s->oldest + s->counted++) % s->opts.max_restarts] = now.ns;
	return true;
}

/* The delay before this slot's next run; false if its schedule has ended. */
static bool next_delay(struct slot *slot, int code, thrum_time now, thrum_dur *ret_delay)
{
	const thrum_child_spec *spec = slot->spec;

	*ret_delay = thrum_ns(0);
	if (!spec->schedule)
		return true;
	if (spec->reset_after.ns > 0 && thrum_time_sub(now, slot->since).ns >= spec->reset_after.ns &&
	    thrum_schedule_start(&slot->schedule, spec->schedule) < 0)
		return false;
	return thrum_schedule_next(&slot->schedule, code, ret_delay);
}

/* Ask it to stop, because `slot`'s child has ended so. */
static void cancel_for(struct slot *other, const struct slot *slot, int code)
{
	const thrum_reason why = { .kind = code < 0 ? THRUM_CANCEL_SIBLING : THRUM_CANCEL_EXPLICIT, .code = code,
				   .index = slot->index, .name = slot->spec->name };

	th_node_cancel(&other->task.node, &why);
}

/* Stop those from `first` on, the last one first, and have them wait for the start that `slot` waits for. */
static void stop_group(struct th_fiber *f, struct supervisor *s, size_t first, struct slot *slot, int code)
{
	for (size_t i = s->n; i-- > first;) {
		struct slot *other = &s->slots[i];
		bool temporary = other->spec->restart == THRUM_RESTART_TEMPORARY;
		struct end end;

		if (other == slot)
			continue;
		if (other->state == RUNNING) {
			cancel_for(other, slot, code);
			end = await(f, other);
			if (end.code < 0 && !end.stopped && temporary)
				report_unobserved(f, other, &end);
			else if (end.code < 0 && !end.stopped)
				report_restart(f, other, &end, NULL);
			th_cause_free(f->home->causes, end.cause);
		} else if (other->state == WAITING && other->due.ns > slot->due.ns) {
			slot->due = other->due; /* its own delay is kept, and so is the order */
		}
		if (!temporary || other->state == NEW) /* one that has not been started has its turn yet */
			other->state = WAITING;
	}
}

static void restart(struct th_fiber *f, struct slot *slot, int code, thrum_time due)
{
	struct supervisor *s = slot->supervisor;
	size_t first = s->opts.strategy == THRUM_ONE_FOR_ALL ? 0 : slot->index;

	slot->state = WAITING;
	slot->due = due;
	if (s->opts.strategy == THRUM_ONE_FOR_ONE)
		return;
	stop_group(f, s, first, slot, code);
	for (size_t i = first; i < s->n; i++)
		if (s->slots[i].state == WAITING)
			s->slots[i].due = slot->due;
}

static bool is_to_run_again(const struct slot *slot, const struct end *end)
{
	if (slot->spec->restart == THRUM_RESTART_PERMANENT)
		return true;
	return slot->spec->restart == THRUM_RESTART_TRANSIENT && end->code < 0;
}

static void child_ended(struct th_fiber *f, struct slot *slot)
{
	struct supervisor *s = slot->supervisor;
	struct end end = await(f, slot);
	thrum_time now = th_clock_now(f);
	thrum_dur delay;

	if (end.stopped) { /* from outside: the loop is about to see it */
		s->interrupted = true;
	} else if (!is_to_run_again(slot, &end)) {
		if (end.code < 0)
			fail(f, slot, &end);
	} else if (!may_restart(s, now) || !next_delay(slot, end.code, now, &delay)) {
		give_up(f, slot, &end);
	} else {
		s->total++;
		report_restart(f, slot, &end, &delay);
		restart(f, slot, end.code, thrum_time_add(now, delay));
		th_cause_free(f->home->causes, end.cause);
	}
}

/* --- the loop --- */

static struct slot *first_ended(struct supervisor *s)
{
	struct slot *slot;

	th_lock(&s->lock);
	slot = s->ended;
	th_unlock(&s->lock);
	return slot;
}

/* A group that is being started is stopped again as soon as one of it has ended. Where each stands for itself, the
 * others are started all the same: else one that ends at once would keep them from it for ever. */
static bool may_start(struct th_fiber *f, struct supervisor *s)
{
	return !th_cancelled(f) && (s->opts.strategy == THRUM_ONE_FOR_ONE || !first_ended(s));
}

/* Start who is due. False: nobody runs, nobody waits. *ret_next: when the next one is due. */
static bool start_due(struct th_fiber *f, struct supervisor *s, thrum_time *ret_next)
{
	bool any = false;

	ret_next->ns = INT64_MAX;
	for (size_t i = 0; i < s->n; i++) {
		struct slot *slot = &s->slots[i];
		bool waits = slot->state == WAITING || slot->state == NEW;

		if (waits && may_start(f, s) && slot->due.ns <= th_clock_now(f).ns)
			start(f, slot);
		else if (waits && slot->due.ns < ret_next->ns)
			*ret_next = slot->due;
		any |= slot->state != OUT;
	}
	return any;
}

static bool goes_on(struct th_fiber *f, const struct supervisor *s)
{
	return s->code == 0 && !th_cancelled(f);
}

static void run_loop(struct th_fiber *f, struct supervisor *s)
{
	while (goes_on(f, s)) {
		uint64_t seen = events_so_far(s);
		struct slot *slot;
		thrum_time next;

		while (goes_on(f, s) && (slot = first_ended(s)) != NULL)
			child_ended(f, slot);
		if (!goes_on(f, s))
			return;
		if (!start_due(f, s, &next))
			return;
		wait_for_event(f, s, seen, next);
	}
}

/* It gave up, or was cancelled: then the children were too. Or nobody is left. */
static void wind_up(struct th_fiber *f, struct supervisor *s)
{
	for (size_t i = s->n; i-- > 0;) {
		struct slot *slot = &s->slots[i];
		struct end end;

		if (slot->state == WAITING || slot->state == NEW)
			s->interrupted = true;
		if (slot->state != RUNNING)
			continue;
		if (s->culprit)
			cancel_for(slot, s->culprit, s->code);
		end = await(f, slot);
		if (end.stopped || (end.code >= 0 && slot->spec->restart == THRUM_RESTART_PERMANENT))
			s->interrupted = true;
		else if (end.code < 0)
			fail(f, slot, &end);
	}
}

static int supervise(struct th_fiber *f, struct supervisor *s)
{
	struct th_outcome out;
	int r;

	th_scope_open(f, th_scope_of(&s->scope));
	run_loop(f, s);
	wind_up(f, s);
	th_scope_close(f, th_scope_of(&s->scope), &out);
	r = s->code ? s->code : s->interrupted ? -ECANCELED : 0;
	out.cause = th_cause_join(f->home->causes, THRUM_CAUSE_BOTH, out.cause, s->cause, r);
	return th_scope_rule(f, th_scope_of(&s->scope), &out, r);
}

/* --- the call --- */

static bool is_bad_spec(const thrum_child_spec *spec)
{
	return !spec->fx.run || spec->restart > THRUM_RESTART_TEMPORARY || spec->reset_after.ns < 0 ||
	       !th_is_stack_size(spec->stack_bytes);
}

static int check(const thrum_child_spec *specs, size_t n, const thrum_supervisor_opts *o)
{
	if (o && (o->size != sizeof *o || o->strategy > THRUM_REST_FOR_ONE || o->period.ns < 0))
		return -EINVAL;
	if (o && o->max_restarts > COUNTED_MAX && o->max_restarts != THRUM_UNBOUNDED)
		return -EINVAL;
	if (n > 0 && !specs)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (is_bad_spec(&specs[i]))
			return -EINVAL;
	return 0;
}

static int init_slots(struct supervisor *s, const thrum_child_spec *specs, thrum_time now)
{
	for (size_t i = 0; i < s->n; i++) {
		struct slot *slot = &s->slots[i];
		int r = 0;

		slot->supervisor = s;
		slot->spec = &specs[i];
		slot->index = i;
		slot->due = now;
		if (specs[i].schedule)
			r = thrum_schedule_start(&slot->schedule, specs[i].schedule);
		if (r < 0)
			return r;
	}
	return 0;
}

static int init(struct supervisor *s, const thrum_child_spec *specs, const thrum_supervisor_opts *o)
{
	if (o)
		s->opts = *o;
	if (s->opts.max_restarts == 0)
		s->opts.max_restarts = MAX_RESTARTS;
	if (s->opts.period.ns == 0)
		s->opts.period = thrum_sec(PERIOD_SEC);
	th_lock_init(&s->lock);
	s->ended_tail = &s->ended;
	s->slots = calloc(s->n, sizeof *s->slots);
	if (s->opts.max_restarts != THRUM_UNBOUNDED)
		s->restarts = calloc(s->opts.max_restarts, sizeof *s->restarts);
	if (!s->slots || (!s->restarts && s->opts.max_restarts != THRUM_UNBOUNDED))
		return -ENOMEM;
	return init_slots(s, specs, thrum_now());
}

int thrum_supervise(const thrum_child_spec *specs, size_t n, const thrum_supervisor_opts *o)
{
	struct supervisor s = { .n = n };
	struct th_fiber *f = th_self();
	struct th_cause_kept kept;
	int r;

	if (!f)
		return THRUM_ENOTFIBER;
	r = check(specs, n, o);
	if (r < 0)
		return r;
	if (th_cancelled(f))
		return -ECANCELED;
	if (n == 0)
		return 0;
	kept = th_cause_keep(f);
	r = init(&s, specs, o);
	if (r == 0)
		r = supervise(f, &s);
	r = th_cause_settle(f, &kept, r);
	free(s.slots);
	free(s.restarts);
	return r;
}

static int supervise_op(void *arg)
{
	const thrum_supervise_op *op = arg;

	return thrum_supervise(op->specs, op->n, op->opts);
}

thrum_fx thrum_supervise_fx(thrum_supervise_op *op) { return (thrum_fx){ supervise_op, op }; }
