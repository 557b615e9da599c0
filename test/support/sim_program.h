/* test/support/sim_program.h: a whole program, as it is, inside a simulated run.
 *
 * test/CMakeLists.txt compiles its sources with a few names changed: its main() is program_main(), called on a fiber of the run;
 * its thrum_run() runs the effect on that fiber; what it tells the terminal is dropped; the system calls that it makes itself
 * are the simulated kernel's. */
#ifndef TH_SIM_PROGRAM_H
#define TH_SIM_PROGRAM_H
#include <stdio.h>
#include <thrum.h>

int program_main(int argc, char **argv);
/* Call it with these arguments, of which the last is NULL; its exit status. */
int sim_program(const char *const *args);

int sim_program_run(const thrum_opts *o, thrum_fx fx);
int sim_program_printf(const char *format, ...);
int sim_program_fprintf(FILE *to, const char *format, ...);

#endif
