/* sched/stack.h: guarded stacks from slabs of address space, pooled last-in first-out.
 *
 * A slab is one mapping, NORESERVE, of many stacks; each has a guard below it: by MADV_GUARD_INSTALL where the kernel has
 * it (one VMA for a whole slab), else by mprotect up to a limit of mappings, and then -ENOMEM: never an unguarded stack
 * (hazards 19, 26). Thread-safe: a runtime's workers share one pool; each keeps a few stacks of its own in sched/fiber.c. */
#ifndef TH_STACK_H
#define TH_STACK_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of address space, not of memory. A frame larger than the guard can jump over it: see -fstack-clash-protection. */
#define TH_STACK_GUARD_BYTES 16384u
/* Guards by mprotect in a process. Each costs two mappings, and vm.max_map_count is 65,530 by default. */
#define TH_STACK_MPROTECT_MAX 30000u

struct th_stacks;

/* A stack in a slab. `lo` is above the guard. */
struct th_stack {
	char *lo;
	size_t bytes;
};

/* stack_bytes: usable bytes of each, a multiple of the page size. 0 or -ENOMEM. */
int th_stacks_open(struct th_stacks **ret_stacks, size_t stack_bytes);
/* For tests: the same, as on a kernel without MADV_GUARD_INSTALL if guard_by_mprotect. */
int th_stacks_open_with(struct th_stacks **ret_stacks, size_t stack_bytes, bool guard_by_mprotect);
/* True if this pool's guards are made by mprotect. */
bool th_stacks_by_mprotect(const struct th_stacks *s);
void th_stacks_close(struct th_stacks *s);  /* every stack must be back; unmaps all */
int th_stacks_take(struct th_stacks *s, struct th_stack *ret_stack); /* 0 or -ENOMEM */
/* Give back. Its contents are gone; beyond a high-water mark its pages are returned to the system. */
void th_stacks_give(struct th_stacks *s, struct th_stack stack);
uint64_t th_stacks_mapped(struct th_stacks *s); /* stacks ever mapped with their guards: taken for the first time */
/* True if addr lies in a guard of this pool: for the overflow report. Async-signal-safe. */
int th_stacks_in_guard(struct th_stacks *s, const void *addr);

#endif
