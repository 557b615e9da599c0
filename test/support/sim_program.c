/* test/support/sim_program.c: see the header. */
#include "sim_program.h"
#include <getopt.h>

enum { ARGS_MAX = 16 };

/* Weak: only the tests of programs have one. */
__attribute__((weak)) int program_main(int argc, char **argv);

int sim_program(const char *const *args)
{
	char *argv[ARGS_MAX];
	int argc = 0, before = optind, status;

	while (argc < ARGS_MAX - 1 && args[argc]) {
		argv[argc] = (char *)(uintptr_t)args[argc];
		argc++;
	}
	argv[argc] = NULL;
	optind = 0; /* glibc: from the start */
	status = program_main(argc, argv);
	optind = before;
	return status;
}

int sim_program_run(const thrum_opts *o, thrum_fx fx)
{
	(void)o;
	return thrum_call(fx);
}

int sim_program_printf(const char *format, ...)
{
	(void)format;
	return 0;
}

int sim_program_fprintf(FILE *to, const char *format, ...)
{
	(void)to;
	(void)format;
	return 0;
}
