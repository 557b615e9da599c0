/* The test clock: work runs in the background, and time moves only when the test says so, from a plain thread.
 * An operation of one second, then a timeout of five, both instant and both exact. */
#include <errno.h>
#include <stdio.h>
#include <thrum.h>

struct operation {
	thrum_dur length, took;
};
static int operation(struct operation *o)
{
	thrum_time start = thrum_now();
	int code = thrum_sleep(o->length);

	o->took = thrum_time_sub(thrum_now(), start);
	return code;
}
THRUM_FX(operation, struct operation);

static void run_and_advance(thrum_rt *rt, thrum_fx fx, thrum_dur by, struct operation *o)
{
	thrum_handle h;
	int code = thrum_rt_start(rt, &h, fx);

	if (code == 0 && (code = thrum_clock_advance(rt, by)) == 0)
		code = thrum_handle_wait(&h);
	printf("%s: the operation ran for %.3f s\n", code < 0 ? thrum_strerror(code) : "done", (double)o->took.ns / 1e9);
}

int main(void)
{
	struct operation quick = { .length = thrum_sec(1) }, slow = { .length = thrum_min(60) };
	thrum_timeout_op limited = { operation_fx(&slow), thrum_sec(5) };
	thrum_rt *rt;

	if (thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &rt) < 0)
		return 1;
	run_and_advance(rt, operation_fx(&quick), thrum_sec(1), &quick);
	run_and_advance(rt, thrum_timeout_fx(&limited), thrum_sec(6), &slow);
	return thrum_rt_close(rt) != 0;
}
