/* test/fuzz/fuzz_deque.c: any row of pushes, pops, steals, forces and publications of a lane agrees with an array that never
 * wraps. */
#include "fuzz.h"
#include "sched/deque.h"

enum { ENTRIES = 1 << 16, AT_ONCE = 64 };

static struct thrum_lane_ lane;
static char entries[ENTRIES];

struct reference {
	void *at[ENTRIES];
	size_t top, bottom;
};

static void push(struct reference *r, unsigned n)
{
	for (; n > 0 && r->bottom < ENTRIES; n--) {
		bool fits = r->bottom - r->top < THRUM_LANE_SLOTS_;

		TH_CHECK_EQ(th_deque_push_owner(&lane, &entries[r->bottom]), fits);
		if (!fits)
			return;
		r->at[r->bottom] = &entries[r->bottom];
		r->bottom++;
	}
}

static void pop(struct reference *r, unsigned n)
{
	for (; n > 0; n--)
		TH_CHECK(th_deque_pop_owner(&lane) == (r->bottom > r->top ? r->at[--r->bottom] : NULL));
}

static void force(struct reference *r, unsigned n)
{
	for (; n > 0; n--)
		TH_CHECK(th_deque_force_any(&lane) == (r->bottom > r->top ? r->at[r->top++] : NULL));
}

static void steal(struct reference *r, unsigned n)
{
	for (; n > 0; n--) {
		bool some = th_load_rlx(&lane.x_split) / 2 > th_load_rlx(&lane.x_top), closed;
		size_t size = r->bottom - r->top;

		TH_CHECK(th_deque_steal_any(&lane, &closed) == (some ? r->at[r->top++] : NULL));
		TH_CHECK_EQ(closed, !some && size > 0);
	}
}

static void step(struct reference *r, unsigned what, unsigned n)
{
	switch (what) {
	case 0:
	case 1:
		push(r, n);
		break;
	case 2:
		pop(r, n);
		break;
	case 3:
		force(r, n % 4);
		break;
	case 4:
		steal(r, n);
		break;
	case 5:
		th_deque_publish_owner(&lane);
		break;
	default:
		th_deque_publish_all_owner(&lane);
	}
}

/* The first byte: the index that the lane begins with. Then two for each step. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t starts[] = { THRUM_LANE_SLOTS_, 2 * THRUM_LANE_SLOTS_ - 1, (UINT64_C(1) << 32) - 8,
					   (UINT64_C(1) << 62) - 8 };
	static struct reference r;
	struct fuzz_bytes b = { data, size };

	th_deque_init_at(&lane, starts[fuzz_byte(&b) % 4]);
	r.top = r.bottom = 0;
	while (b.left > 0) {
		unsigned what = fuzz_byte(&b) % 7;

		step(&r, what, fuzz_byte(&b) % AT_ONCE);
		TH_CHECK_EQ(th_deque_size_owner(&lane), r.bottom - r.top);
		TH_CHECK_EQ(th_deque_looks_empty_any(&lane), r.bottom == r.top);
	}
	return 0;
}
