/* Timeout with fallback, in two ways: race the service against "sleep, then fail", as the guide does; or use the
 * timeout that the library has. Effects nest as values: the _fx of an _op struct is an effect like any other. */
#include <stdio.h>
#include <thrum.h>

struct service {
	int delay_ms, code;
	const char *name, **ret_answer;
};
static int ask(struct service *s)
{
	int code = thrum_sleep(thrum_ms(s->delay_ms));

	if (code < 0 || s->code < 0)
		return code < 0 ? code : s->code;
	*s->ret_answer = s->name;
	return 0;
}
THRUM_FX(ask, struct service);

/* race_first: the first to end decides, so that the failure of the timer ends the race. */
static int by_race(struct service *primary, struct service *fallback)
{
	struct service timer = { .delay_ms = 500, .code = THRUM_APP(0) };
	const thrum_fx entrants[] = { ask_fx(primary), ask_fx(&timer) };
	thrum_race_op timed = { entrants, 2, NULL };

	return thrum_or_else(thrum_race_first_fx(&timed), ask_fx(fallback));
}

static int by_timeout(struct service *primary, struct service *fallback)
{
	thrum_timeout_op timed = { ask_fx(primary), thrum_ms(500) };

	return thrum_or_else(thrum_timeout_fx(&timed), ask_fx(fallback));
}

static int example(void *unused)
{
	int (*const way[])(struct service *, struct service *) = { by_race, by_timeout };

	(void)unused;
	for (int i = 0; i < 4; i++) {
		const char *answer = "nothing";
		struct service service = { i / 2 ? 200 : 2000, 0, "the service", &answer };
		struct service cache = { 0, 0, "the cache", &answer };
		thrum_time start = thrum_now();
		int code = way[i % 2](&service, &cache);
		printf("%s, service takes %d ms: %s answered after %d ms\n", i % 2 ? "timeout" : "race",
		       service.delay_ms, answer, (int)(thrum_time_sub(thrum_now(), start).ns / 1000000));
		if (code < 0)
			return code;
	}
	return 0;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
