/* sched/sim/memory.h: included before everything else in each source of libthrum-sim, by the compiler's command line: the
 * library's allocations are counted there, and one of them can be made to fail. sched/sim/faults.c has the functions. */
#ifndef TH_SIM_MEMORY_H
#define TH_SIM_MEMORY_H
#include <stdlib.h>

void *th_sim_malloc(size_t bytes);
void *th_sim_calloc(size_t n, size_t bytes);
void *th_sim_realloc(void *p, size_t bytes);
void *th_sim_aligned_alloc(size_t alignment, size_t bytes);
void th_sim_free(void *p);
#define malloc th_sim_malloc
#define calloc th_sim_calloc
#define realloc th_sim_realloc
#define aligned_alloc th_sim_aligned_alloc
#define free th_sim_free

#endif
