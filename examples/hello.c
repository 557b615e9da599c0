/* hello: two effects at once, and what they found. `cc hello.c $(pkg-config --cflags --libs thrum) && ./a.out` */
#include <stdio.h>
#include <thrum.h>

/* An effect is a function and its argument; results are fields of the argument. */
struct square {
	int of, is;
};
static int square(struct square *s)
{
	s->is = s->of * s->of;
	return 0; /* or a negative code */
}
THRUM_FX(square, struct square);

static int hello(void *unused)
{
	struct square a = { .of = 3 }, b = { .of = 4 };
	int code = thrum_zip_par(square_fx(&a), square_fx(&b)); /* returns when both have ended */

	(void)unused;
	if (code == 0)
		printf("hello: %d + %d = %d\n", a.is, b.is, a.is + b.is);
	return code;
}
THRUM_FX(hello, void);

int main(void)
{
	int code = thrum_run(NULL, hello_fx(NULL));

	if (code < 0)
		fprintf(stderr, "hello: %s\n", thrum_strerror(code));
	return code < 0;
}
