/* test/core/test_random.c: a random source for a part of the program (Y5, K9). */
#include "test/support/rules.h"

static uint64_t next_up(void *counter)
{
	return (uint64_t)th_count(counter, 1);
}

struct drawn {
	uint64_t here, in_child;
};

static int draw(uint64_t *ret)
{
	*ret = thrum_random();
	return 0;
}
THRUM_FX(draw, uint64_t);

static int draw_twice(struct drawn *d)
{
	d->here = thrum_random();
	return thrum_zip_par(draw_fx(&d->in_child));
}
THRUM_FX(draw_twice, struct drawn);

TH_FIBER_TEST(JUMP, random, a_part_draws_from_its_own_source_K9)
{
	th_counter counter = { 40 };
	thrum_random_source source = { next_up, &counter };
	struct drawn d = { 0, 0 };

	TH_CHECK_EQ(thrum_with_random(&source, draw_twice_fx(&d)), 0);
	TH_CHECK_EQ(d.here, 41);
	TH_CHECK_EQ(d.in_child, 42);
	(void)thrum_random();
	TH_CHECK_EQ(th_counted(&counter), 42); /* outside: the worker's again */
	TH_CHECK_EQ(thrum_with_random(NULL, draw_twice_fx(&d)), -EINVAL);
	return 0;
}

/* Every draw is the least there is: 0.8 of the delay. */
static uint64_t always_zero(void *unused)
{
	(void)unused;
	return 0;
}

static int fail_thrice(int *left)
{
	return (*left)-- > 0 ? -EIO : 0;
}
THRUM_FX(fail_thrice, int);

static int retry_jittered(int *left)
{
	thrum_schedule s = thrum_jittered(thrum_spaced(thrum_ms(10)), 0.2);

	return thrum_retry(fail_thrice_fx(left), &s);
}
THRUM_FX(retry_jittered, int);

TH_FIBER_TEST(JUMP, random, jitter_draws_from_the_parts_source_Y5)
{
	thrum_random_source source = { always_zero, NULL };
	thrum_time t0 = thrum_now();
	int left = 3;

	TH_CHECK_EQ(thrum_with_random(&source, retry_jittered_fx(&left)), 0);
	TH_CHECK_EQ(th_ms_since(t0), 24);
	return 0;
}

TH_TEST(random, on_a_plain_thread_is_refused_X1)
{
	thrum_random_source source = { always_zero, NULL };

	TH_CHECK_EQ(thrum_with_random(&source, thrum_succeed()), THRUM_ENOTFIBER);
}
