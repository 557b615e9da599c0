/* test/core/test_barrier.c: barriers (Q15). */
#include "test/support/rules.h"

struct party {
	thrum_barrier *barrier;
	int code;
	long long at_ms;
};
static int come(struct party *p)
{
	p->code = thrum_barrier_wait(p->barrier);
	p->at_ms = th_now_ms();
	return p->code < 0 ? p->code : 0;
}
THRUM_FX(come, struct party);

static thrum_barrier *open_barrier(thrum_barrier *b, unsigned n)
{
	TH_CHECK_EQ(thrum_barrier_init(b, n), 0);
	return b;
}

TH_FIBER_TEST(JUMP, barrier, of_zero_and_of_one_do_not_wait_Q15)
{
	thrum_barrier b;

	for (unsigned n = 0; n < 2; n++) {
		open_barrier(&b, n);
		for (int i = 0; i < 3; i++)
			TH_CHECK_EQ(thrum_barrier_wait(&b), THRUM_BARRIER_LAST);
	}
	return 0;
}

enum { PARTIES = 4, ROUNDS = 200 };

/* Each writes its own place of a row, waits, and reads all of it: the row is complete, in every generation. */
struct row {
	thrum_barrier barrier;
	int cell[PARTIES];
	th_counter lasts;
};
struct member {
	struct row *row;
	int i;
};
static void meet(struct row *r)
{
	int code = thrum_barrier_wait(&r->barrier);

	TH_CHECK(code == 0 || code == THRUM_BARRIER_LAST);
	if (code == THRUM_BARRIER_LAST)
		th_count(&r->lasts, 1);
}
static int go_round(struct member *m)
{
	for (int round = 1; round <= ROUNDS; round++) {
		m->row->cell[m->i] = round;
		meet(m->row);
		for (int i = 0; i < PARTIES; i++)
			TH_CHECK_EQ(m->row->cell[i], round);
		meet(m->row);
	}
	return 0;
}
THRUM_FX(go_round, struct member);

TH_FIBER_TEST(REAL, barrier, generations_do_not_mix_and_each_has_one_last_Q15)
{
	struct row row = { .cell = { 0 } };
	struct member m[PARTIES];
	thrum_fx fx[PARTIES];

	open_barrier(&row.barrier, PARTIES);
	for (int i = 0; i < PARTIES; i++) {
		m[i] = (struct member){ &row, i };
		fx[i] = go_round_fx(&m[i]);
	}
	TH_CHECK_EQ(thrum_zip_par_n(fx, PARTIES), 0);
	TH_CHECK_EQ(th_counted(&row.lasts), 2 * ROUNDS);
	return 0;
}

TH_FIBER_TEST(JUMP, barrier, cancelled_one_has_not_come_Q15)
{
	thrum_barrier b;
	thrum_scope s;
	struct party p[3] = { { .barrier = open_barrier(&b, 3) }, { .barrier = &b }, { .barrier = &b } };
	long long begin = th_now_ms();

	TH_CHECK_EQ(thrum_timeout(come_fx(&p[0]), thrum_ms(3)), -ETIMEDOUT);
	TH_CHECK_EQ(p[0].code, -ECANCELED);
	TH_CHECK_EQ(th_call_cancelled(come_fx(&p[0])), -ECANCELED);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_go(&s, come_fx(&p[1])), 0);
	TH_CHECK_EQ(thrum_go(&s, come_fx(&p[2])), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(4)), 0);
	TH_CHECK_EQ(thrum_barrier_wait(&b), THRUM_BARRIER_LAST); /* the third, not the fourth */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(p[1].code, 0);
	TH_CHECK_EQ(p[1].at_ms - begin, 7);
	TH_CHECK_EQ(p[2].at_ms - begin, 7);
	return 0;
}

/* Cancelled, but before it has run to take itself out, the others come: then it had come. On one worker the order
 * is sure. */
TH_ONE_WORKER_TEST(JUMP, barrier, one_that_the_others_counted_had_come_Q15)
{
	thrum_barrier b;
	thrum_scope s;
	thrum_task t;
	struct party p = { .barrier = open_barrier(&b, 2), .code = 7 };

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, come_fx(&p)), 0);
	TH_CHECK_EQ(thrum_sleep(thrum_ms(1)), 0);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_barrier_wait(&b), THRUM_BARRIER_LAST);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(p.code, 0);
	return 0;
}

TH_TEST(barrier, is_for_fibers_X1)
{
	thrum_barrier b;

	TH_CHECK_EQ(thrum_barrier_wait(open_barrier(&b, 0)), THRUM_ENOTFIBER);
}
