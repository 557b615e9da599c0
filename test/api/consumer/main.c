/* A program of somebody who uses thrum. */
#include <stdio.h>
#include <thrum.h>

static int hello(char *name)
{
	return printf("hello, %s\n", name) < 0 ? -1 : 0;
}
THRUM_FX(hello, char);

int main(void)
{
	char name[] = "consumer";

	return thrum_run(NULL, hello_fx(name)) != 0;
}
