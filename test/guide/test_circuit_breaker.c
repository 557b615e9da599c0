/* The guide's circuit breaker: state beside the effect, and or_else (M13). Closed: calls pass. After `threshold` failures
 * it opens: calls fail without reaching the service. After `timeout` it is half open: one call is let through, and its
 * outcome closes the breaker or opens it again. A cancelled call is no failure of the service: or_else passes it (E2). */
#include "test/guide/guide.h"

enum { E_OPEN = THRUM_APP(1), E_OPENED = THRUM_APP(2) };

struct breaker {
	thrum_fx effect;
	int failures, threshold;
	thrum_time last_failure;
	thrum_dur timeout;
	bool open;
	int error; /* of the call that runs; or_else does not hand it to the fallback */
};

static int attempt(struct breaker *b) { return b->error = thrum_call(b->effect); }
THRUM_FX(attempt, struct breaker);

static int on_success(struct breaker *b)
{
	b->failures = 0;
	b->open = false;
	return 0;
}
THRUM_FX(on_success, struct breaker);

static int on_failure(struct breaker *b)
{
	b->failures++;
	b->last_failure = thrum_now();
	if (b->failures < b->threshold)
		return b->error;
	b->open = true;
	return E_OPENED;
}
THRUM_FX(on_failure, struct breaker);

static int breaker_call(struct breaker *b)
{
	if (b->open && thrum_time_sub(thrum_now(), b->last_failure).ns < b->timeout.ns)
		return E_OPEN;
	thrum_then_op tried = { attempt_fx(b), on_success_fx(b) };
	return thrum_or_else(thrum_then_fx(&tried), on_failure_fx(b));
}
THRUM_FX(breaker_call, struct breaker);

GUIDE_TEST(guide_circuit_breaker, opens_stays_open_half_opens_and_closes)
{
	struct census c = { 0 };
	struct fetch service = { &c, thrum_ms(100), 0, 1, 0 };
	struct breaker b = { .effect = fetch_data_fx(&service), .threshold = 2, .timeout = thrum_sec(5) };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(breaker_call(&b), 0); /* closed */
	service.code = -EIO;
	TH_CHECK_EQ(breaker_call(&b), -EIO); /* one failure: still closed */
	TH_CHECK_EQ(breaker_call(&b), E_OPENED);
	TH_CHECK_EQ(ms_since(t0), 300);

	for (int i = 0; i < 3; i++) { /* open: answers at once, the service is left in peace */
		TH_CHECK_EQ(breaker_call(&b), E_OPEN);
		TH_CHECK_EQ(thrum_sleep(thrum_sec(1)), 0);
	}
	TH_CHECK_EQ(c.x_started, 3);
	TH_CHECK_EQ(ms_since(t0), 3300);

	TH_CHECK_EQ(thrum_sleep(thrum_ms(1999)), 0);
	TH_CHECK_EQ(breaker_call(&b), E_OPEN); /* 1 ms before the timeout */
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	TH_CHECK_EQ(breaker_call(&b), E_OPENED); /* half open: the trial fails */
	TH_CHECK_EQ(breaker_call(&b), E_OPEN);
	TH_CHECK_EQ(c.x_started, 4);

	service.code = 0;
	TH_CHECK_EQ(thrum_sleep(thrum_sec(5)), 0);
	TH_CHECK_EQ(breaker_call(&b), 0); /* half open: the trial succeeds */
	TH_CHECK_EQ(b.open, false);
	service.code = -EIO;
	TH_CHECK_EQ(breaker_call(&b), -EIO); /* closed again: the count began anew */
	TH_CHECK_EQ(ms_since(t0), 5300 + 100 + 5000 + 100 + 100);
	CHECK_CENSUS(&c, 2, 4, 0);
	return 0;
}

/* A success between two failures keeps it closed: only failures in a row count. */
GUIDE_TEST(guide_circuit_breaker, a_success_resets_the_count)
{
	struct census c = { 0 };
	struct fetch service = { &c, thrum_ms(1), 0, 1, 0 };
	struct breaker b = { .effect = fetch_data_fx(&service), .threshold = 2, .timeout = thrum_sec(5) };

	for (int i = 0; i < 3; i++) {
		service.code = -EIO;
		TH_CHECK_EQ(breaker_call(&b), -EIO);
		service.code = 0;
		TH_CHECK_EQ(breaker_call(&b), 0);
	}
	CHECK_CENSUS(&c, 3, 3, 0);
	return 0;
}

/* A caller that gives up says nothing about the service (E2). */
GUIDE_TEST(guide_circuit_breaker, a_cancelled_call_is_no_failure_E2)
{
	struct census c = { 0 };
	struct fetch service = { &c, thrum_sec(1), 0, 1, 0 };
	struct breaker b = { .effect = fetch_data_fx(&service), .threshold = 2, .timeout = thrum_sec(5) };
	thrum_time t0 = thrum_now();

	TH_CHECK_EQ(thrum_timeout(breaker_call_fx(&b), thrum_ms(10)), -ETIMEDOUT);
	TH_CHECK_EQ(ms_since(t0), 10);
	TH_CHECK_EQ(b.failures, 0);
	CHECK_CENSUS(&c, 0, 0, 1);
	return 0;
}
