/* The guide's fan-out/fan-in: 100 numbers in chunks of 20, summed at once, then added up (M14). */
#include "test/guide/guide.h"

enum { NUMBERS = 100, CHUNK = 20, CHUNKS = NUMBERS / CHUNK };

struct chunk {
	struct census *census;
	const int *number;
	int n;
	int sum;
};
static int process_chunk(struct chunk *k)
{
	census_enter(k->census);
	int code = thrum_sleep(thrum_ms(100));
	for (int i = 0; code == 0 && i < k->n; i++)
		k->sum += k->number[i];
	return census_leave(k->census, code);
}
THRUM_FX(process_chunk, struct chunk);

GUIDE_TEST(guide_fan_out, five_chunks_add_up)
{
	struct census c = { 0 };
	int number[NUMBERS], total = 0;
	struct chunk chunk[CHUNKS];
	thrum_fx fx[CHUNKS];
	thrum_time t0 = thrum_now();

	for (int i = 0; i < NUMBERS; i++)
		number[i] = i;
	for (int i = 0; i < CHUNKS; i++) {
		chunk[i] = (struct chunk){ &c, number + i * CHUNK, CHUNK, 0 };
		fx[i] = process_chunk_fx(&chunk[i]);
	}
	TH_CHECK_EQ(thrum_zip_par_n(fx, CHUNKS), 0);
	for (int i = 0; i < CHUNKS; i++)
		total += chunk[i].sum;
	TH_CHECK_EQ(total, 4950);
	TH_CHECK_EQ(chunk[0].sum, 190);
	TH_CHECK_EQ(ms_since(t0), 100);
	TH_CHECK_EQ(c.x_alive_max, CHUNKS);
	CHECK_CENSUS(&c, CHUNKS, 0, 0);
	return 0;
}
