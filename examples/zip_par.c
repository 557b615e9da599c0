/* zip_par: fetch three things at once and wait for all. When one fails, the others are cancelled, awaited, and its code
 * is the result. On the jump clock, which skips to the next deadline whenever nothing can run; without .clock = it waits
 * for real. */
#include <errno.h>
#include <stdio.h>
#include <thrum.h>

struct fetch {
	const char *name;
	int delay_ms, code;
	const char *outcome;
};
static int fetch(struct fetch *f)
{
	int code = thrum_sleep(thrum_ms(f->delay_ms));

	f->outcome = code == -ECANCELED ? "cancelled" : f->code < 0 ? "failed" : "fetched";
	return code < 0 ? code : f->code;
}
THRUM_FX(fetch, struct fetch);

static int fetch_three(struct fetch f[3])
{
	thrum_time start = thrum_now();
	int code = thrum_zip_par(fetch_fx(&f[0]), fetch_fx(&f[1]), fetch_fx(&f[2]));

	printf("%s after %d ms:", code < 0 ? thrum_strerror(code) : "all succeeded",
	       (int)(thrum_time_sub(thrum_now(), start).ns / 1000000));
	for (int i = 0; i < 3; i++)
		printf(" %s %s%s", f[i].name, f[i].outcome, i < 2 ? "," : "\n");
	return code;
}

static int example(void *unused)
{
	struct fetch good[] = { { "Auth", 100, 0, "" }, { "User", 200, 0, "" }, { "Profile", 150, 0, "" } };
	struct fetch bad[] = { { "Auth", 100, 0, "" }, { "User", 200, 0, "" }, { "Profile", 150, -EIO, "" } };

	(void)unused;
	int code = fetch_three(good);
	return code < 0 ? code : fetch_three(bad) == -EIO ? 0 : 1;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
