/* test/api/misuse.c: CASE 0 compiles; every other CASE is a mistake that the compiler must refuse. See misuse.sh. */
#include <thrum.h>

struct job {
	int n;
};

static int fetch(struct job *j)
{
	return j->n;
}
THRUM_FX(fetch, struct job);

THRUM_SERVICE(job, struct job);
THRUM_SERVICE(other, long);

int probe(struct job *jobs, long *other, thrum_scope *s, thrum_task *t);
int probe(struct job *jobs, long *other, thrum_scope *s, thrum_task *t)
{
	int code = thrum_for_each_par(jobs, 3, fetch, 2);
	thrum_time now = thrum_now();

	(void)other;
	(void)s;
	(void)t;
#if CASE == 0
	if (thrum_spawn(s, t, fetch_fx(jobs)))
		return -1;
	return code + thrum_sleep(thrum_ms(1)) + thrum_sleep_until(thrum_time_add(now, thrum_ms(1)));
#elif CASE == 1 /* a point of time is not a length of time */
	return code + thrum_sleep(now);
#elif CASE == 2 /* nor the other way round */
	return code + thrum_sleep_until(thrum_ms(1)) + (int)now.ns;
#elif CASE == 3 /* a bare number has no unit */
	return code + thrum_sleep(1000) + (int)now.ns;
#elif CASE == 4 /* the argument is typed */
	return code + thrum_call(fetch_fx(other)) + (int)now.ns;
#elif CASE == 5 /* so are the items */
	return code + thrum_for_each_par(other, 3, fetch, 2) + (int)now.ns;
#elif CASE == 6 /* a spawn may be refused: its code must be looked at */
	thrum_spawn(s, t, fetch_fx(jobs));
	return code + (int)now.ns;
#elif CASE == 7 /* an effect is not a function */
	return code + thrum_zip_par(fetch, fetch) + (int)now.ns;
#elif CASE == 8 /* a service has a type */
	return code + job_provide(other, fetch_fx(jobs)) + (int)now.ns;
#elif CASE == 9 /* as what is asked for, too */
	return code + job_require(&other) + (int)now.ns;
#else
#error "last case"
#endif
}
