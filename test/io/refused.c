/* test/io/refused.c: refused WHAT=ERROR... PROGRAM [ARGUMENT...]: run a program to which system calls are refused.
 *   WHAT    uring (io_uring), nowait (preadv2, pwritev2: kernels that know no RWF_NOWAIT)
 *   ERROR   EPERM (Docker), ENOSYS (old kernels, newer container runtimes) */
#include <string.h>
#include <unistd.h>
#include "refuse.h"

void th_check_failed(const char *file, int line, const char *fmt, ...)
{
	fprintf(stderr, "%s:%d: %s: %s\n", file, line, fmt, strerror(errno));
	exit(2);
}

static int usage(void)
{
	fprintf(stderr, "usage: refused uring|nowait=EPERM|ENOSYS... PROGRAM [ARGUMENT...]\n");
	return 2;
}

int main(int argc, char **argv)
{
	int i;

	for (i = 1; i < argc && strchr(argv[i], '='); i++) {
		const char *error = strchr(argv[i], '=') + 1;
		int code = strcmp(error, "EPERM") == 0 ? EPERM : strcmp(error, "ENOSYS") == 0 ? ENOSYS : 0;

		if (code && strncmp(argv[i], "uring=", 6) == 0)
			refuse(refuse_uring, code);
		else if (code && strncmp(argv[i], "nowait=", 7) == 0)
			refuse(refuse_nowait, code);
		else
			return usage();
	}
	if (i == 1 || i == argc)
		return usage();
	execv(argv[i], &argv[i]);
	perror(argv[i]);
	return 2;
}
