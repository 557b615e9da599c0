/* Testing a race: at one second of the test clock the fast effect ends, wins, and the slow one has been cancelled. */
#include <stdio.h>
#include <thrum.h>

struct timed {
	const char *name;
	int seconds, code;
};
static int timed(struct timed *t) { return t->code = thrum_sleep(thrum_sec(t->seconds)); }
THRUM_FX(timed, struct timed);

struct contest {
	struct timed fast, slow;
	int winner;
};
static int contest(struct contest *c)
{
	return c->winner = thrum_race(timed_fx(&c->fast), timed_fx(&c->slow));
}
THRUM_FX(contest, struct contest);

int main(void)
{
	struct contest c = { { "Fast", 1, 1 }, { "Slow", 2, 1 }, -1 };
	thrum_handle h;
	thrum_rt *rt;

	if (thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST), &rt) < 0)
		return 1;
	int code = thrum_rt_start(rt, &h, contest_fx(&c));
	if (code == 0 && (code = thrum_clock_advance(rt, thrum_sec(1))) == 0)
		code = thrum_handle_wait(&h);
	if (code == 0)
		printf("race result: %s; %s: %s\n", c.winner == 0 ? c.fast.name : c.slow.name, c.slow.name,
		       thrum_strerror(c.slow.code));
	thrum_rt_close(rt);
	return code != 0;
}
