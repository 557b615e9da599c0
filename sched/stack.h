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

/* A stack in a slab, or one of another size in a mapping of its own. `lo` is above the guard. */
struct th_stack {
	char *lo;
	size_t bytes;
	bool by_mprotect; /* of another size: how its guard was made */
};

/* stack_bytes: usable bytes of each, a multiple of the page size. 0 or -ENOMEM. */
int th_stacks_open(struct th_stacks **ret_stacks, size_t stack_bytes);
/* For tests: the same, as on a kernel without MADV_GUARD_INSTALL if guard_by_mprotect. */
int th_stacks_open_with(struct th_stacks **ret_stacks, size_t stack_bytes, bool guard_by_mprotect);
/* True if this pool's guards are made by mprotect. */
bool th_stacks_by_mprotect(const struct th_stacks *s);
void th_stacks_close(struct th_stacks *s);  /* every stack must be back; unmaps all */
int th_stacks_take(struct th_stacks *s, struct th_stack *ret_stack); /* 0 or -ENOMEM */
/* One of at least so many bytes, rounded up to pages; as th_stacks_take() where that is the pool's own size. Otherwise
 * a mapping of its own, unless one of that size was given back lately. */
int th_stacks_take_sized(struct th_stacks *s, size_t bytes, struct th_stack *ret_stack);
/* Is it of the pool's own size? */
bool th_stacks_is_usual(const struct th_stacks *s, struct th_stack stack);
/* Give back. Its contents are gone; beyond a high-water mark its pages are returned to the system.
 * Of those of other sizes a few are kept, each with one page at most; the others are unmapped. */
void th_stacks_give(struct th_stacks *s, struct th_stack stack);
/* Let a period pass, if `now_ns` is so late, and return the memory of some idle stacks of the usual size that nobody has
 * wanted for a whole one: a burst leaves them behind. Any thread, of a runtime's workers one after the other. */
enum th_cooling {
	TH_COLD,    /* no idle stack holds memory */
	TH_WARM,    /* some do: again in a period */
	TH_COOLING, /* again at once, there is more to return */
};
enum th_cooling th_stacks_cool(struct th_stacks *s, int64_t now_ns);
#define TH_STACKS_PERIOD_NS INT64_C(250000000)

struct th_stacks_count {
	uint64_t mapped; /* ever, with their guards: taken for the first time */
	uint64_t warm;   /* may hold memory: in use, or idle ones of the usual size that do */
	uint64_t cooled; /* times that th_stacks_cool() returned the memory of one */
};
struct th_stacks_count th_stacks_count(struct th_stacks *s);
/* True if addr lies in a guard of this pool's slabs: for the overflow report. Async-signal-safe. */
int th_stacks_in_guard(struct th_stacks *s, const void *addr);
/* True if addr lies in the guard of this stack, of whatever size, which is in use. Async-signal-safe. */
bool th_stacks_is_guard_of(const struct th_stacks *s, const struct th_stack *stack, const void *addr);

#endif
