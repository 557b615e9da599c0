/* Fan-out, fan-in: 100 numbers in five chunks, summed on all workers, then added up. The array of effects is ordinary
 * data, so its length may come from the input. */
#include <stdio.h>
#include <thrum.h>

enum { NUMBERS = 100, CHUNK = 20, CHUNKS = NUMBERS / CHUNK };

struct chunk {
	const int *number;
	long sum;
};
static int sum_chunk(struct chunk *c)
{
	int code = thrum_sleep(thrum_ms(100)); /* stands for the work */

	for (int i = 0; i < CHUNK; i++)
		c->sum += c->number[i];
	return code;
}
THRUM_FX(sum_chunk, struct chunk);

static int example(void *unused)
{
	int number[NUMBERS];
	struct chunk chunk[CHUNKS];
	thrum_fx fx[CHUNKS];
	long total = 0;
	thrum_time start = thrum_now();

	(void)unused;
	for (int i = 0; i < NUMBERS; i++)
		number[i] = i;
	for (int i = 0; i < CHUNKS; i++) {
		chunk[i] = (struct chunk){ .number = number + i * CHUNK };
		fx[i] = sum_chunk_fx(&chunk[i]);
	}
	int code = thrum_zip_par_n(fx, CHUNKS);
	for (int i = 0; i < CHUNKS; i++) {
		printf("chunk %d: %ld\n", i, chunk[i].sum);
		total += chunk[i].sum;
	}
	printf("processed %d numbers in %d ms, total: %ld\n", NUMBERS,
	       (int)(thrum_time_sub(thrum_now(), start).ns / 1000000), total);
	return code;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
