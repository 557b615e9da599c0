/* Partial failure: the critical services must all succeed; an optional one that fails is replaced by a stand-in. */
#include <errno.h>
#include <stdio.h>
#include <thrum.h>

struct service {
	const char *name;
	int delay_ms, code;
	const char *data;
};
static int fetch(struct service *s)
{
	int code = thrum_sleep(thrum_ms(s->delay_ms));

	if (code == 0 && (code = s->code) == 0)
		s->data = "fresh data";
	return code;
}
THRUM_FX(fetch, struct service);

static int unavailable(struct service *s)
{
	s->data = "unavailable";
	return 0;
}
THRUM_FX(unavailable, struct service);

static int example(void *unused)
{
	struct service auth = { "Auth", 100, 0, NULL }, core = { "Core", 100, 0, NULL };
	struct service opt[] = { { "Analytics", 300, -EIO, NULL }, { "Recommendations", 400, 0, NULL } };
	thrum_or_else_op op[] = { { fetch_fx(&opt[0]), unavailable_fx(&opt[0]) },
				  { fetch_fx(&opt[1]), unavailable_fx(&opt[1]) } };

	(void)unused;
	int code = thrum_zip_par(fetch_fx(&auth), fetch_fx(&core));
	if (code == 0)
		code = thrum_zip_par(thrum_or_else_fx(&op[0]), thrum_or_else_fx(&op[1]));
	if (code < 0)
		return code;
	printf("critical: %s: %s; %s: %s\n", auth.name, auth.data, core.name, core.data);
	printf("optional: %s: %s; %s: %s\n", opt[0].name, opt[0].data, opt[1].name, opt[1].data);
	return 0;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
