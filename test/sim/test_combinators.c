/* test/sim/test_combinators.c: the combinators under seeds and cancels: whatever the schedule, nothing outlives the call
 * and the outcome is one that the rules allow. */
#include "../support/sim_run.h"
#include <errno.h>

enum { N = 5 };

struct body {
	int ms, code;  /* sleep so long, then return this */
	int done;
	int lost_to;   /* the entrant that won, as the loser was told; -1 if it was not */
};

static int body(struct body *b)
{
	int r;

	sim_enter();
	b->lost_to = -1;
	r = thrum_sleep(thrum_ms(b->ms));
	if (r < 0) {
		const thrum_reason *why = thrum_cancel_reason();
		if (why && why->kind == THRUM_CANCEL_RACE_LOST)
			b->lost_to = (int)why->index;
		return sim_leave(r);
	}
	b->done = 1;
	return sim_leave(b->code);
}
THRUM_FX(body, struct body);

/* Up to N bodies, each failing with its own code at the given odds. */
static size_t draw(struct body *b, thrum_fx *fx, unsigned fails_1_in)
{
	size_t n = 1 + sim_choose(N);

	for (size_t i = 0; i < n; i++) {
		b[i] = (struct body){ .ms = (int)sim_choose(4), .lost_to = -1 };
		if (sim_choose(fails_1_in) == 0)
			b[i].code = THRUM_APP((int)i);
		fx[i] = body_fx(&b[i]);
	}
	return n;
}

static bool is_code_of(const struct body *b, size_t n, int code)
{
	for (size_t i = 0; i < n; i++)
		if (b[i].done && b[i].code == code)
			return true;
	return false;
}

/* Z4, Z5, Z8, S1: the result is a failure that happened, or 0 with all done, or the cancel; and nobody is left. */
SIM_TEST(combinators, zip_par_Z4_Z8)
{
	struct body b[N];
	thrum_fx fx[N];
	size_t n = draw(b, fx, 4);
	int r = thrum_zip_par_n(fx, n);

	(void)unused;
	TH_CHECK_EQ(sim_counts.alive, 0);
	if (r == 0)
		for (size_t i = 0; i < n; i++)
			TH_CHECK(b[i].done && b[i].code == 0);
	else if (r != -ECANCELED)
		TH_CHECK(is_code_of(b, n, r));
	else
		TH_CHECK(sim_cancelled_run());
	return r == -ECANCELED ? r : 0;
}

/* R1, R2, R5: the winner succeeded; without one the first failure is the result; losers have ended. */
SIM_TEST(combinators, race_R1_R2_R5)
{
	struct body b[N];
	thrum_fx fx[N];
	size_t n = draw(b, fx, 2);
	int r = thrum_race_n(fx, n);

	(void)unused;
	TH_CHECK_EQ(sim_counts.alive, 0);
	for (size_t i = 0; i < n; i++)
		TH_CHECK(b[i].lost_to == -1 || b[i].lost_to == r); /* one winner, the same for all */
	if (r >= 0)
		TH_CHECK((size_t)r < n && b[r].done && b[r].code == 0);
	else if (r != -ECANCELED)
		TH_CHECK(is_code_of(b, n, r));
	else
		TH_CHECK(sim_cancelled_run());
	return r == -ECANCELED ? r : 0;
}

SIM_TEST(combinators, race_first_R1)
{
	struct body b[N];
	thrum_fx fx[N];
	size_t n = draw(b, fx, 2);
	int index = -1, r = thrum_race_first_n(fx, n, &index);

	(void)unused;
	TH_CHECK_EQ(sim_counts.alive, 0);
	if (r == -ECANCELED)
		return r;
	TH_CHECK(index >= 0 && (size_t)index < n && b[index].done);
	TH_CHECK_EQ(b[index].code, r);
	return 0;
}

/* F1, F4, F6: at most p alive; all done or the failure of one. */
SIM_TEST(combinators, for_each_par_F4_F6)
{
	struct body b[N];
	thrum_fx fx[N];
	size_t n = draw(b, fx, 6), p = 1 + sim_choose(3);
	int r = thrum_for_each_par(b, n, body, p);

	(void)unused;
	TH_CHECK_EQ(sim_counts.alive, 0);
	TH_CHECK((size_t)sim_counts.alive_max <= p);
	if (r == 0)
		TH_CHECK_EQ(sim_counts.started, n);
	else if (r != -ECANCELED)
		TH_CHECK(is_code_of(b, n, r));
	return r == -ECANCELED ? r : 0;
}

struct part {
	struct body b[4];
	size_t bound;
};

static int for_each_part(struct part *p)
{
	return thrum_for_each_par(p->b, 4, body, p->bound);
}
THRUM_FX(for_each_part, struct part);

/* Fans beside each other keep their workers busy, so runners hand their places to workers that sleep: no item is lost or
 * doubled on the way, and no fan returns while one runs. */
SIM_TEST(combinators, fans_hand_their_places_on_F1_F4)
{
	struct part p[3];
	int r;

	(void)unused;
	for (int i = 0; i < 3; i++) {
		p[i].bound = 1 + sim_choose(2);
		for (int k = 0; k < 4; k++)
			p[i].b[k] = (struct body){ .ms = (int)sim_choose(3), .lost_to = -1 };
	}
	r = thrum_zip_par(for_each_part_fx(&p[0]), for_each_part_fx(&p[1]), for_each_part_fx(&p[2]));
	TH_CHECK_EQ(sim_counts.alive, 0);
	if (r == 0) {
		TH_CHECK_EQ(sim_counts.started, 12);
		for (int i = 0; i < 12; i++)
			TH_CHECK_EQ(p[i / 4].b[i % 4].done, 1);
	}
	return r;
}

SIM_TEST(combinators, settle_cancels_none_Z11)
{
	struct body b[N];
	thrum_fx fx[N];
	int codes[N];
	size_t n = draw(b, fx, 2);
	int r = thrum_zip_settle_n(fx, n, codes);

	(void)unused;
	if (r == 0)
		for (size_t i = 0; i < n; i++)
			TH_CHECK_EQ(codes[i], b[i].code);
	return r;
}

/* T3, T4, T7: the inner limit, the outer one, or neither; time decides, exactly. */
SIM_TEST_WITH(combinators, nested_timeouts_T3_T7, .clock = THRUM_CLOCK_JUMP)
{
	struct body b = { .ms = 1 + (int)sim_choose(6) };
	int inner = 1 + (int)sim_choose(6), outer = 1 + (int)sim_choose(6), r;
	thrum_timeout_op op = { body_fx(&b), thrum_ms(inner) };

	(void)unused;
	r = thrum_timeout(thrum_timeout_fx(&op), thrum_ms(outer));
	TH_CHECK_EQ(sim_counts.alive, 0);
	if (r == 0)
		TH_CHECK(b.done && b.ms <= inner && b.ms <= outer);
	else if (r == -ETIMEDOUT)
		TH_CHECK(b.ms >= inner || b.ms >= outer || sim_cancelled_inside());
	else
		TH_CHECK(r == -ECANCELED && sim_cancelled_run());
	return r == -ECANCELED ? r : 0;
}

/* --- nests --- */

static int nest(int *depth);
THRUM_FX(nest, int);

static int nest(int *depth)
{
	struct body b = { .ms = (int)sim_choose(3), .code = sim_choose(8) ? 0 : THRUM_APP(1) };
	int deeper = *depth - 1;
	thrum_fx again = nest_fx(&deeper);
	thrum_timeout_op limited = { again, thrum_ms(1 + sim_choose(4)) };

	if (*depth == 0)
		return body(&b);
	switch (sim_choose(5)) {
	case 0:
		return thrum_zip_par(again, body_fx(&b));
	case 1:
		return thrum_race(body_fx(&b), again) < 0 ? THRUM_APP(2) : 0;
	case 2:
		return thrum_timeout(again, thrum_ms(1 + sim_choose(4)));
	case 3:
		return thrum_or_else(thrum_timeout_fx(&limited), body_fx(&b));
	default:
		return thrum_shield(again);
	}
}

/* M3: combinators nest freely, and leave nothing behind at any depth. */
SIM_TEST(combinators, nests_freely_M3)
{
	int depth = 4;

	(void)unused;
	(void)thrum_call(nest_fx(&depth));
	TH_CHECK_EQ(sim_counts.alive, 0);
	return 0;
}
