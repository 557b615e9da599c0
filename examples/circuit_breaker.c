/* A circuit breaker in 30 lines: state beside the effect, and or_else. After two failures in a row it opens and answers
 * by itself; after a second it is half open and lets one call try. A cancelled call does not count: or_else passes it. */
#include <stdio.h>
#include <thrum.h>

enum { UNAVAILABLE = THRUM_APP(0), OPENED = THRUM_APP(1), OPEN = THRUM_APP(2) };

struct breaker {
	thrum_fx effect;
	int failures, threshold;
	thrum_time last_failure;
	thrum_dur timeout;
	bool open;
};
static int on_success(struct breaker *b)
{
	b->failures = 0;
	b->open = false;
	return 0;
}
THRUM_FX(on_success, struct breaker);

static int on_failure(struct breaker *b)
{
	b->last_failure = thrum_now();
	b->open = ++b->failures >= b->threshold;
	return b->open ? OPENED : UNAVAILABLE;
}
THRUM_FX(on_failure, struct breaker);

static int breaker_call(struct breaker *b)
{
	if (b->open && thrum_time_sub(thrum_now(), b->last_failure).ns < b->timeout.ns)
		return OPEN;
	thrum_then_op tried = { b->effect, on_success_fx(b) };
	return thrum_or_else(thrum_then_fx(&tried), on_failure_fx(b));
}

/* A service that is down from its second call to its fifth. */
static int service(int *calls) { return ++*calls >= 2 && *calls <= 5 ? UNAVAILABLE : 0; }
THRUM_FX(service, int);

static int example(void *unused)
{
	static const char *const text[] = { "failed: unavailable", "failed, and the breaker opened", "not tried: open" };
	int calls = 0;
	struct breaker b = { .effect = service_fx(&calls), .threshold = 2, .timeout = thrum_sec(1) };

	(void)unused;
	for (int i = 0; i < 12; i++) {
		int code = breaker_call(&b);
		printf("%4d ms: %s\n", i * 500, code == 0 ? "success" : text[THRUM_APP(0) - code]);
		if ((code = thrum_sleep(thrum_ms(500))) < 0)
			return code;
	}
	printf("12 calls, %d reached the service\n", calls);
	return 0;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
