/* test/fuzz/check.c: a failed check, without the runner of the tests. */
#include "fuzz.h"
#include <stdarg.h>

void th_check_failed(const char *file, int line, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fprintf(stderr, "%s:%d: check failed: ", file, line);
	vfprintf(stderr, fmt, args);
	fprintf(stderr, "\n");
	va_end(args);
	abort();
}
