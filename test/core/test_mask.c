/* mask and restore: rules U2, U3, U5. */
#include "test/support/rules.h"

struct region {
	int ms_before, ms_restored, ms_after; /* sleeps: shielded, restored, shielded again */
	int before, restored, after, check;
	unsigned reason;
	thrum_restore *restore;
	int (*inside)(struct region *r);      /* instead of the plain restored sleep */
};

static int nap(int *ms)
{
	return thrum_sleep(thrum_ms(*ms));
}
THRUM_FX(nap, int);

static int restored_nap(struct region *r)
{
	int code = nap(&r->ms_restored);

	r->reason = thrum_cancel_reason() ? thrum_cancel_reason()->kind : 0;
	return code;
}
THRUM_FX(restored_nap, struct region);

static int masked(thrum_restore *restore, void *arg)
{
	struct region *r = arg;

	r->restore = restore;
	r->before = nap(&r->ms_before);
	r->restored = r->inside ? r->inside(r) : thrum_restore_run(restore, restored_nap_fx(r));
	r->after = nap(&r->ms_after);
	r->check = thrum_check();
	return 0;
}

static int run_region(struct region *r)
{
	return thrum_mask(masked, r);
}
THRUM_FX(run_region, struct region);

TH_FIBER_TEST(JUMP, mask, a_cancel_reaches_only_what_is_restored_U2) /* D10 */
{
	struct region r = { .ms_before = 5, .ms_restored = 100, .ms_after = 5 };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(20, run_region_fx(&r));

	TH_CHECK_EQ(r.before, 0);
	TH_CHECK_EQ(r.restored, -ECANCELED);
	TH_CHECK_EQ(r.reason, THRUM_CANCEL_DEADLINE);
	TH_CHECK_EQ(r.after, 0); /* shielded again */
	TH_CHECK_EQ(r.check, 0);
	TH_CHECK_EQ(o.code, 0);  /* the region's end does not check (U3) */
	TH_CHECK_EQ(o.check, -ECANCELED);
	TH_CHECK_EQ(o.at_ms - t0, 25);
	return 0;
}

TH_FIBER_TEST(JUMP, mask, a_cancel_before_is_seen_at_once_when_restored_U2)
{
	struct region r = { .ms_before = 50, .ms_restored = 100, .ms_after = 5 };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(20, run_region_fx(&r));

	TH_CHECK_EQ(r.before, 0);
	TH_CHECK_EQ(r.restored, -ECANCELED);
	TH_CHECK_EQ(o.at_ms - t0, 55);
	return 0;
}

TH_FIBER_TEST(JUMP, mask, a_cancel_after_does_not_reach_back_U2)
{
	struct region r = { .ms_before = 5, .ms_restored = 5, .ms_after = 50 };
	long long t0 = th_now_ms();
	struct th_outside o = th_cancel_after(20, run_region_fx(&r));

	TH_CHECK_EQ(r.restored, 0);
	TH_CHECK_EQ(r.after, 0);
	TH_CHECK_EQ(o.at_ms - t0, 60);
	return 0;
}

static int restores(void *arg)
{
	struct region *r = arg;

	return thrum_restore_run(r->restore, restored_nap_fx(r));
}

static int second_shield(struct region *r)
{
	return thrum_shield((thrum_fx){ restores, r });
}

TH_FIBER_TEST(JUMP, mask, restore_lifts_one_region_only_U2)
{
	struct region r = { .ms_restored = 50, .inside = second_shield };

	(void)th_cancel_after(20, run_region_fx(&r));
	TH_CHECK_EQ(r.restored, 0);
	return 0;
}

static int as_a_child(struct region *r)
{
	return thrum_zip_par(((thrum_fx){ restores, r }));
}

TH_FIBER_TEST(JUMP, mask, restore_in_another_effect_changes_nothing_U2)
{
	struct region r = { .ms_restored = 50, .inside = as_a_child };

	(void)th_cancel_after(20, run_region_fx(&r));
	TH_CHECK_EQ(r.restored, 0);
	return 0;
}

static int in_a_finalizer(struct region *r)
{
	thrum_deferred d;
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_defer(&s, &d, (thrum_fx){ restores, r }), 0);
	return thrum_scope_close(&s);
}

TH_FIBER_TEST(JUMP, mask, restore_in_a_finalizer_changes_nothing_U5)
{
	struct region r = { .ms_restored = 50, .inside = in_a_finalizer };

	(void)th_cancel_after(20, run_region_fx(&r));
	TH_CHECK_EQ(r.restored, 0);
	return 0;
}

static int in_a_timeout_body(void *arg)
{
	struct region *r = arg;

	return thrum_restore_run(r->restore, restored_nap_fx(r));
}

static int under_a_timeout_inside(struct region *r)
{
	return thrum_timeout((thrum_fx){ in_a_timeout_body, r }, thrum_ms(10));
}

/* Both: the scope opened inside the region, and what lies outside it. */
TH_FIBER_TEST(JUMP, mask, restored_sees_cancels_from_inside_and_outside_U2) /* D10 */
{
	struct region inner = { .ms_restored = 50, .inside = under_a_timeout_inside };
	struct region outer = { .ms_restored = 50, .inside = under_a_timeout_inside };
	struct th_outside o;

	TH_CHECK_EQ(thrum_call(run_region_fx(&inner)), 0);
	TH_CHECK_EQ(inner.restored, -ETIMEDOUT);
	o = th_cancel_after(5, run_region_fx(&outer));
	TH_CHECK_EQ(outer.restored, -ECANCELED);
	TH_CHECK_EQ(outer.reason, THRUM_CANCEL_DEADLINE);
	TH_CHECK_EQ(o.check, -ECANCELED);
	return 0;
}

static int children_below(void *arg)
{
	struct region *r = arg;

	return thrum_zip_par(thrum_never(), nap_fx(&r->ms_restored));
}

static int restored_children(struct region *r)
{
	return thrum_restore_run(r->restore, (thrum_fx){ children_below, r });
}

TH_FIBER_TEST(JUMP, mask, children_of_what_is_restored_see_the_cancel_U2)
{
	struct region r = { .ms_restored = 50, .ms_after = 1, .inside = restored_children };

	(void)th_cancel_after(20, run_region_fx(&r));
	TH_CHECK_EQ(r.restored, -ECANCELED);
	TH_CHECK_EQ(r.after, 0);
	return 0;
}

static int see_deadline(void *ret_ns)
{
	*(int64_t *)ret_ns = thrum_deadline().ns;
	return 0;
}

static int deadlines(thrum_restore *restore, void *ret_ns)
{
	int64_t *ns = ret_ns;

	ns[0] = thrum_deadline().ns;
	return thrum_restore_run(restore, (thrum_fx){ see_deadline, &ns[1] });
}

static int mask_deadlines(void *ret_ns)
{
	return thrum_mask(deadlines, ret_ns);
}

TH_FIBER_TEST(JUMP, mask, the_deadline_outside_counts_where_restored_T4)
{
	int64_t ns[2], t0 = thrum_now().ns;

	TH_CHECK_EQ(thrum_timeout((thrum_fx){ mask_deadlines, ns }, thrum_ms(30)), 0);
	TH_CHECK_EQ(ns[0], INT64_MAX);
	TH_CHECK_EQ(ns[1], t0 + 30000000);
	return 0;
}

static int acquires(void *arg)
{
	struct region *r = arg;

	return thrum_acquire_release(thrum_succeed(), nap_fx(&r->ms_before));
}

static int restored_acquire(struct region *r)
{
	return thrum_restore_run(r->restore, (thrum_fx){ acquires, r });
}

TH_FIBER_TEST(JUMP, mask, what_is_acquired_while_restored_lives_till_the_scope_closes_A8)
{
	struct region r = { .inside = restored_acquire, .ms_before = 7 };
	thrum_time t0 = thrum_now();
	thrum_scope s;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_call(run_region_fx(&r)), 0);
	TH_CHECK_EQ(th_ms_since(t0), 7); /* ms_before, once */
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	TH_CHECK_EQ(th_ms_since(t0), 14);
	return 0;
}

TH_TEST(mask, on_a_plain_thread_is_refused_X1)
{
	TH_CHECK_EQ(thrum_mask(masked, NULL), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_restore_run(NULL, thrum_succeed()), THRUM_ENOTFIBER);
}

TH_FIBER_TEST(JUMP, mask, without_a_function_is_refused_E6)
{
	TH_CHECK_EQ(thrum_mask(NULL, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_restore_run(NULL, thrum_succeed()), -EINVAL);
	return 0;
}
