/* test/stress/test_deep.c: nesting costs memory, never the stack (hazard 21): a million joins inside one another. */
#include "stress.h"

/* Frames of a sanitizer's build are several times as large, and their shadow comes on top. ThreadSanitizer counts a fiber
 * as a thread and stops at 8,128 of them; a child that is stolen at each level takes one. */
enum { DEPTH = TH_TSAN_BUILD ? 6000 : TH_SANITIZED ? 100000 : 1000000 };

struct level {
	int left;
	bool second; /* each has a second child, which is spawned after the one that goes on, and joined after it */
};
static int descend(struct level *l);
THRUM_FX(descend, struct level);

static int descend(struct level *l)
{
	struct level below = { l->left - 1, l->second };
	thrum_scope s;
	thrum_task t, other;
	int code;

	if (l->left == 0)
		return 7;
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn(&s, &t, descend_fx(&below)), 0);
	if (l->second)
		TH_CHECK_EQ(thrum_spawn(&s, &other, thrum_succeed()), 0);
	code = thrum_join(&t);
	if (l->second)
		TH_CHECK_EQ(thrum_join(&other), 0);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	return code;
}

TH_TEST(deep, a_million_joins_inside_one_another_X6)
{
	struct level top = { DEPTH, false };

	TH_CHECK_EQ(TH_RUN(JUMP, descend_fx(&top)), 7);
}

/* The child is not the newest, so its join has to ask what it waits for, but not by looking at all that is above. */
TH_TEST(deep, a_hundred_thousand_joins_out_of_order_X6)
{
	struct level top = { TH_TSAN_BUILD ? 3000 : DEPTH / 10, true };

	TH_CHECK_EQ(TH_RUN(JUMP, descend_fx(&top)), 7);
}

static int descend_by_zip(struct level *l);
THRUM_FX(descend_by_zip, struct level);

static int descend_by_zip(struct level *l)
{
	struct level below = { .left = l->left - 1 };

	return l->left == 0 ? 0 : thrum_zip_par(thrum_succeed(), descend_by_zip_fx(&below));
}

TH_TEST(deep, a_hundred_thousand_zips_inside_one_another_X6)
{
	struct level top = { .left = DEPTH / 10 };

	TH_CHECK_EQ(TH_RUN(JUMP, descend_by_zip_fx(&top)), 0);
}

/* A failure comes all the way up, and a cancel goes all the way down without recursion (hazard 69). */
static int descend_and_wait(struct level *l);
THRUM_FX(descend_and_wait, struct level);

static int descend_and_wait(struct level *l)
{
	struct level below = { .left = l->left - 1 };

	if (l->left == 0)
		return thrum_call(thrum_never());
	return thrum_timeout(descend_and_wait_fx(&below), thrum_sec(1000));
}

TH_TEST(deep, a_cancel_reaches_the_bottom_of_a_hundred_thousand_scopes_T3)
{
	struct level top = { .left = DEPTH / 10 };
	thrum_timeout_op op = { descend_and_wait_fx(&top), thrum_ms(10) };

	TH_CHECK_EQ(TH_RUN(JUMP, thrum_timeout_fx(&op)), -ETIMEDOUT);
}
