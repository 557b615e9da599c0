/* Fail-fast and fail-safe: zip_par stops at the first failure; zip_settle runs everything and keeps every code. */
#include <errno.h>
#include <stdio.h>
#include <thrum.h>

struct step {
	const char *name;
	int delay_ms, code;
};
static int step(struct step *s)
{
	int code = thrum_sleep(thrum_ms(s->delay_ms));

	if (code == -ECANCELED)
		printf("  %s was cancelled\n", s->name);
	else
		printf("  %s %s\n", s->name, s->code < 0 ? "failed" : "succeeded");
	return code < 0 ? code : s->code;
}
THRUM_FX(step, struct step);

static int example(void *unused)
{
	struct step s[] = { { "first", 10, 0 }, { "second", 20, -EACCES }, { "third", 30, 0 } };
	const thrum_fx fx[] = { step_fx(&s[0]), step_fx(&s[1]), step_fx(&s[2]) };
	int codes[3], failures = 0;

	(void)unused;
	printf("fail-fast:\n");
	int code = thrum_zip_par_n(fx, 3);
	printf("failed fast: %s\n", thrum_strerror(code));

	printf("fail-safe:\n"); /* an effect is a description: the same ones run again */
	code = thrum_zip_settle_n(fx, 3, codes);
	for (int i = 0; i < 3; i++)
		failures += codes[i] < 0;
	printf("successes: %d, failures: %d\n", 3 - failures, failures);
	return code;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
