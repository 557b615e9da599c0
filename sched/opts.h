/* sched/opts.h: the options of a runtime. */
#ifndef TH_OPTS_H
#define TH_OPTS_H
#include <stdbool.h>
#include <thrum/rt.h>

/* `given`, which may be NULL or of an earlier version, with every default filled in. 0; -EINVAL. */
int th_opts_resolve(const thrum_opts *given, thrum_opts *ret);
/* May a worker that finds nothing look on for a while? Not where it would take a processor from another one. */
bool th_opts_may_linger(const thrum_opts *o);
/* A switch in the environment: set, and neither empty nor 0. */
bool th_env_is_set(const char *name);

#endif
