/* Retry with jitter around a circuit breaker around a time limit. A failed attempt is repeated after a delay that
 * doubles and is varied a little, so that many clients do not come back all at once; when the service stays down
 * the breaker opens, and then even the first attempt is spared. The seed makes the random delays the same in every
 * run. */
#include <stdio.h>
#include <thrum.h>

struct service {
	thrum_time up_at; /* until then it does not answer */
	int asked;
};
static int ask(struct service *s)
{
	s->asked++;
	return thrum_sleep(thrum_now().ns < s->up_at.ns ? thrum_min(1) : thrum_ms(20));
}
THRUM_FX(ask, struct service);

/* Waiting for a breaker to close is no use: who is refused goes without. */
static bool worth_another(void *unused, int code)
{
	(void)unused;
	return code != THRUM_EOPEN;
}

static int example(void *unused)
{
	const thrum_schedule doubling = thrum_exponential(thrum_ms(100), thrum_sec(2));
	const thrum_schedule backoff = thrum_up_to_count(thrum_jittered(doubling, 0.2), 3);
	struct service service = { thrum_time_add(thrum_now(), thrum_sec(4)), 0 };
	uint64_t attempts = 0;
	thrum_breaker breaker;
	thrum_timeout_op limited = { ask_fx(&service), thrum_ms(200) };
	thrum_breaker_op guarded = { &breaker, thrum_timeout_fx(&limited) };
	thrum_retry_op request = { .fx = thrum_breaker_fx(&guarded), .schedule = &backoff, .retryable = worth_another,
				   .ret_attempts = &attempts };
	thrum_time start = thrum_now();
	int code = thrum_breaker_init(&breaker, THRUM_BREAKER_OPTS(.failures = 5, .cool_down = thrum_sec(2)));

	(void)unused;
	for (int i = 0; i < 6 && code == 0; i++) {
		int answer = thrum_call(thrum_retry_fx(&request));
		printf("after %4d ms: %s (attempts: %d)\n", (int)(thrum_time_sub(thrum_now(), start).ns / 1000000),
		       thrum_strerror(answer), (int)attempts);
		code = thrum_sleep(thrum_ms(600));
	}
	printf("the service was asked %d times\n", service.asked);
	return code;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP, .workers = 1, .seed = 1), example_fx(NULL)) != 0;
}
