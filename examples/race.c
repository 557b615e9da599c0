/* race: ask three sources, take the first that succeeds; the others are cancelled and have ended when it returns. */
#include <stdio.h>
#include <thrum.h>

struct fetch {
	const char *name;
	int delay_ms, code;
	bool done;
};
static int fetch(struct fetch *f)
{
	int code = thrum_sleep(thrum_ms(f->delay_ms));

	f->done = code == 0;
	return code < 0 ? code : f->code;
}
THRUM_FX(fetch, struct fetch);

static int example(void *unused)
{
	struct fetch f[] = { { "Primary", 300, 0, false }, { "Backup", 200, 0, false }, { "Fallback", 400, 0, false } };
	thrum_time start = thrum_now();
	int winner = thrum_race(fetch_fx(&f[0]), fetch_fx(&f[1]), fetch_fx(&f[2]));

	(void)unused;
	if (winner < 0)
		return winner;
	printf("winner: %s after %d ms\n", f[winner].name, (int)(thrum_time_sub(thrum_now(), start).ns / 1000000));
	for (int i = 0; i < 3; i++)
		printf("%s: %s\n", f[i].name, f[i].done ? "done" : "cancelled");
	return 0;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
