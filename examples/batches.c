/* Batches: 1000 items in batches of 50, five batches at once, results in place. */
#include <stdio.h>
#include <thrum.h>

enum { ITEMS = 1000, BATCH = 50, BATCHES = ITEMS / BATCH };

struct batch {
	const int *in;
	int *out;
};
static int process(struct batch *b)
{
	int code = thrum_sleep(thrum_ms(100)); /* one trip for the whole batch */

	for (int i = 0; code == 0 && i < BATCH; i++)
		b->out[i] = b->in[i] * 2;
	return code;
}
THRUM_FX(process, struct batch);

static int example(void *unused)
{
	int in[ITEMS], out[ITEMS];
	struct batch batch[BATCHES];
	thrum_time start = thrum_now();

	(void)unused;
	for (int i = 0; i < ITEMS; i++)
		in[i] = i;
	for (int i = 0; i < BATCHES; i++)
		batch[i] = (struct batch){ in + i * BATCH, out + i * BATCH };
	int code = thrum_for_each_par(batch, BATCHES, process, 5);
	if (code == 0)
		printf("processed %d items in %d batches in %d ms, the last is %d\n", ITEMS, BATCHES,
		       (int)(thrum_time_sub(thrum_now(), start).ns / 1000000), out[ITEMS - 1]);
	return code;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
