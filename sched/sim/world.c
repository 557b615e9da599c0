/* sched/sim/world.c: see the header. */
#include "world.h"
#include "../../core/assert.h"
#include "../../core/hooks.h"
#include "choices.h"
#include "timeline.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

struct th_shared *th_shared;
static bool in_child;
static bool running; /* this process's; the page is the parent's as well */

void th_world_in_child(bool yes)
{
	in_child = yes;
}

/* --- the end of a run that failed --- */

__attribute__((noreturn)) static void end(void)
{
	th_shared->choices += th_choices_made();
	if (th_timeline_on)
		th_timeline("it fails: %s", th_shared->what);
	if (!in_child)
		abort();
	fflush(NULL);
	_exit(TH_EXIT_FAILED);
}

static void say(enum th_verdict v, const char *fmt, va_list args)
{
	th_shared->verdict = v;
	vsnprintf(th_shared->what, sizeof th_shared->what, fmt, args);
}

__attribute__((noreturn, format(printf, 2, 3))) static void fail(enum th_verdict v, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(v, fmt, args);
	va_end(args);
	end();
}

void thrum_test_fail_at_(const char *file, unsigned line, const char *fmt, ...)
{
	char text[THRUM_TEST_WHAT_MAX / 2];
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	if (thrum_test_running())
		fail(TH_FAILED, "%s (%s:%u)", text, file, line);
	fprintf(stderr, "thrum: %s (%s:%u)\n", text, file, line);
	abort();
}

void thrum_test_skip_(const char *text)
{
	fail(TH_SKIPPED, "%s", text);
}

/* By th_abort(), which aborts. */
void th_sim_aborts(const char *text)
{
	if (!thrum_test_running())
		return;
	th_shared->verdict = TH_ABORTED;
	snprintf(th_shared->what, sizeof th_shared->what, "%s", text);
	end();
}

/* --- oracles --- */

static void check_left(const struct th_sim_report *r)
{
	if (r->ops_left)
		fail(TH_LEFT, "%u operations are left in the kernel", r->ops_left);
	if (r->fds_left)
		fail(TH_LEFT, "%u descriptors are left open", r->fds_left);
	if (r->allocs_left)
		fail(TH_LEFT, "%" PRIu64 " allocations of the library are not freed", r->allocs_left);
	if (r->debts_left)
		fail(TH_LEFT, "%zu acquires are not released", r->debts_left);
}

static bool disturbed(const struct th_plan *p)
{
	return p->sim.cancel.at || p->sim.fail_alloc || p->sim.fail_op;
}

static void check_code(const struct th_world *w, const struct th_plan *p, int code)
{
	if (code < 0 && !w->o.any_code && !disturbed(p))
		fail(TH_CODE, "the program returned %d: %s", code, thrum_strerror(code));
}

static void ask_user(const struct th_world *w, const struct th_plan *p, const struct th_sim_report *r, int code)
{
	const thrum_test_run run = { code, p->sim.seed, disturbed(p), thrum_ns(r->virtual_ns), r->suspends, r->ops, r->allocs };

	if (w->o.check && !w->o.check(&run, w->o.check_arg))
		fail(TH_CHECK, "the check after the run says so; the program returned %d", code);
}

/* --- the run --- */

static void on_op(unsigned kind)
{
	if (th_shared->ops < TH_OPS_SEEN)
		th_shared->op_kinds[th_shared->ops++] = (uint8_t)kind;
}

static void set_faults(const thrum_test_faults *given)
{
	thrum_test_faults f = { 0 };

	if (!given)
		return;
	memcpy(&f, given, given->size < sizeof f ? given->size : sizeof f);
	th_sim_faults(&(struct th_sim_faults){ .reset = f.reset, .refused = f.refused, .cut = f.cut, .lost = f.lost, .no_fd = f.no_fd,
					       .no_memory = f.no_memory, .no_space = f.no_space, .fds_max = f.fds_max,
					       .disk_bytes = f.disk_bytes });
}

static void begin(const struct th_world *w, const struct th_plan *p)
{
	struct th_sim_opts sim = p->sim;

	th_shared->now = *p;
	th_shared->runs++;
	th_shared->ops = 0;
	th_shared->made.n = 0;
	th_shared->made.overflow = false;
	th_shared->made.on_op = on_op;
	sim.record = &th_shared->made;
	running = true;
	th_sim_begin(&sim);
	set_faults(w->o.faults);
	th_sim_programs(w->o.programs, w->o.n_programs);
}

static int run_program(const struct th_world *w, const struct th_plan *p)
{
	thrum_opts opts = { .size = sizeof opts };

	if (w->o.plain)
		return w->program.run(w->program.arg);
	if (w->o.run)
		memcpy(&opts, w->o.run, w->o.run->size < sizeof opts ? w->o.run->size : sizeof opts);
	opts.size = sizeof opts;
	opts.workers = p->workers;
	opts.shuffle |= p->shuffle;
	if (w->o.clock)
		opts.clock = w->o.clock;
	return thrum_run(&opts, w->program);
}

/* What hangs without a choice is ended by the signal. */
static void set_alarm(unsigned seconds)
{
	const struct itimerval when = { .it_value = { .tv_sec = seconds } };

	if (in_child)
		(void)setitimer(ITIMER_REAL, &when, NULL);
}

void th_world_run(const struct th_world *w, const struct th_plan *p)
{
	struct th_sim_report *r = &th_shared->last;
	int code;

	set_alarm(w->o.seconds);
	begin(w, p);
	code = run_program(w, p);
	th_sim_end(r);
	th_shared->choices += r->choices;
	check_left(r);
	check_code(w, p, code);
	ask_user(w, p, r, code);
	running = false;
}

/* --- what a program under test calls --- */

uint32_t thrum_test_choose(uint32_t n)
{
	return thrum_test_running() ? th_sim_choose(n) : 0;
}

void thrum_test_point(void)
{
	th_sim_point();
}

void thrum_test_note(const char *fmt, ...)
{
	char text[256];
	va_list args;

	if (!th_timeline_on)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof text, fmt, args);
	va_end(args);
	th_timeline("%s", text);
}

bool thrum_test_running(void)
{
	return running;
}
