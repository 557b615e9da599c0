/* The guide's batches: 1000 items, 50 at a time, five batches at once (M22, M24, F5). */
#include "test/guide/guide.h"

enum { ITEMS = 1000, BATCH = 50, BATCHES = ITEMS / BATCH, AT_ONCE = 5 };

struct batch {
	struct census *census;
	const int *in;
	int *out;
};
static int process_batch(struct batch *b)
{
	census_enter(b->census);
	int code = thrum_sleep(thrum_ms(100));
	for (int i = 0; code == 0 && i < BATCH; i++)
		b->out[i] = b->in[i] * 2;
	return census_leave(b->census, code);
}
THRUM_FX(process_batch, struct batch);

GUIDE_TEST(guide_batches, twenty_batches_five_at_a_time)
{
	static int in[ITEMS], out[ITEMS];
	struct census c = { 0 };
	struct batch batch[BATCHES];
	thrum_time t0 = thrum_now();

	for (int i = 0; i < ITEMS; i++) {
		in[i] = i;
		out[i] = -1;
	}
	for (int i = 0; i < BATCHES; i++)
		batch[i] = (struct batch){ &c, in + i * BATCH, out + i * BATCH };
	TH_CHECK_EQ(thrum_for_each_par(batch, BATCHES, process_batch, AT_ONCE), 0);
	TH_CHECK_EQ(ms_since(t0), 400); /* 20 / 5 rounds of 100 ms */
	for (int i = 0; i < ITEMS; i++)
		TH_CHECK_EQ(out[i], 2 * i);
	TH_CHECK_EQ(c.x_alive_max, AT_ONCE);
	CHECK_CENSUS(&c, BATCHES, 0, 0);
	return 0;
}
