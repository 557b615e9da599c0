// test/api/cxx.cpp: the public API from C++17: the templates instead of compound literals, and the same layout as in C.
#include "layout.h"
#include <cstdio>

static const size_t layout_cxx[LAYOUT_COUNT] = { LAYOUT };

struct job {
	int n;
	int doubled;
};

static int twice(job *j)
{
	j->doubled = 2 * j->n;
	return j->n < 0 ? THRUM_APP(7) : 0;
}
THRUM_FX(twice, job);

THRUM_SERVICE(job, job);
THRUM_SERVICE_KEY(job);

static int fixed_build(job *storage, job **ret)
{
	*ret = storage;
	return 0;
}
static int fixed_close(job *, job *made)
{
	made->doubled = -1;
	return 0;
}
THRUM_LAYER(fixed, job, job, NULL);

static int use_job(int *ret_n)
{
	job *found;
	int code = job_require(&found);

	if (code >= 0)
		*ret_n = found->n;
	return code;
}
THRUM_FX(use_job, int);

static int failures;

static void check(bool ok, const char *what)
{
	if (!ok) {
		std::fprintf(stderr, "failed: %s\n", what);
		failures++;
	}
}

static int count_to_5(void *arg, void *, void *out)
{
	int *at = static_cast<int *>(arg);

	if (*at == 5)
		return 0;
	*static_cast<int *>(out) = ++*at;
	return 1;
}
static int add_up(void *arg, void *in, void *)
{
	const thrum_batch *batch = static_cast<thrum_batch *>(in);

	for (size_t i = 0; i < batch->n; i++)
		*static_cast<int *>(arg) += thrum_batch_items(in, int)[i];
	return 0;
}

static int body(void *)
{
	job a = { 1, 0 }, b = { 2, 0 }, bad = { -1, 0 };
	job all[3] = { { 3, 0 }, { 4, 0 }, { 5, 0 } };

	check(thrum_zip_par(twice_fx(&a), twice_fx(&b)) == 0, "zip_par");
	check(a.doubled == 2 && b.doubled == 4, "results in place");
	check(thrum_zip_par(twice_fx(&a), twice_fx(&bad)) == THRUM_APP(7), "zip_par fails");
	check(thrum_race(twice_fx(&bad), twice_fx(&b)) == 1, "race");
	check(thrum_race_first(thrum_never(), twice_fx(&b)) == 0, "race_first");
	check(thrum_for_each_par(all, 3, twice, 2) == 0, "for_each_par");
	check(all[0].doubled == 6 && all[2].doubled == 10, "items in place");
	int n = 0;
	thrum_layer fixed = fixed_layer(&b);
	const thrum_layer *const layers[] = { &fixed };
	check(job_provide(&a, use_job_fx(&n)) == 0 && n == 1, "service");
	check(thrum_layers_run(layers, 1, use_job_fx(&n), nullptr) == 0 && n == 2 && b.doubled == -1, "layers");
	check(job_get() == nullptr, "no service");
	check(thrum_timeout(thrum_never(), thrum_ms(1)) < 0, "timeout");

	const thrum_schedule doubling = thrum_exponential(thrum_us(1), thrum_us(9));
	const thrum_schedule twice_more = thrum_up_to_count(thrum_jittered(doubling, 0.2), 2);
	uint64_t attempts = 0;
	thrum_retry_op retry = { twice_fx(&bad), &twice_more, nullptr, nullptr, &attempts };
	check(thrum_call(thrum_retry_fx(&retry)) == THRUM_APP(7), "retry");
	check(attempts == 3, "attempts");

	const thrum_fx hedged[] = { thrum_never(), twice_fx(&b) };
	check(thrum_hedge_n(hedged, 2, thrum_us(1)) == 1, "hedge");
	thrum_breaker breaker;
	check(thrum_breaker_init(&breaker, nullptr) == 0, "breaker");
	check(thrum_breaker_call(&breaker, twice_fx(&bad)) == THRUM_APP(7), "breaker passes");
	int at = 0, sum = 0;
	thrum_stage stages[3] = {};
	stages[0].kind = THRUM_STAGE_SOURCE;
	stages[0].run = count_to_5;
	stages[0].arg = &at;
	stages[0].out_bytes = sizeof(int);
	stages[1].kind = THRUM_STAGE_BATCH;
	stages[1].count = 2;
	stages[2].kind = THRUM_STAGE_FOLD;
	stages[2].run = add_up;
	stages[2].arg = &sum;
	check(thrum_pipeline(stages, 3, nullptr) == 0 && sum == 15, "pipeline");
	thrum_limiter limiter;
	check(thrum_limiter_init(&limiter, 1, thrum_sec(1), 1) == 0, "limiter");
	check(thrum_limiter_acquire(&limiter, 1) == 0, "limiter has a token");
	thrum_chan c;
	thrum_promise p;
	int item = 3, got = 0;
	void *value = nullptr;
	check(thrum_chan_init(&c, sizeof item, THRUM_CHAN_UNBOUNDED) == 0, "channel");
	check(thrum_promise_init(&p) == 0, "promise");
	thrum_case cases[] = { thrum_case_recv(&c, &got), thrum_case_await(&p, &value), thrum_case_send(&c, &item) };
	check(thrum_select(cases, 3) == 2 && cases[2].code == 0, "select sends");
	check(thrum_select(cases, 2) == 0 && got == 3, "select receives");
	check(thrum_promise_set(&p, 1, &item) == 0, "set");
	check(thrum_select(cases, 2) == 1 && cases[1].code == 1 && value == &item, "select awaits");
	thrum_chan_fini(&c);

	thrum_scope s;
	thrum_task t;
	check(thrum_scope_open(&s) == 0, "open");
	check(thrum_spawn(&s, &t, twice_fx(&a)) == 0, "spawn");
	check(thrum_join(&t) == 0, "join");
	check(thrum_scope_close(&s) == 0, "close");
	return 0;
}
THRUM_FX(body, void);

int main()
{
	for (int i = 0; i < LAYOUT_COUNT; i++)
		check(layout_c[i] == layout_cxx[i], "same layout in C and C++");
	check(thrum_run(nullptr, body_fx(nullptr)) == 0, "run");
	return failures != 0;
}
