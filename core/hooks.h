/* core/hooks.h: the calls from core and io up to the scheduler, defined in sched/; the ones about tasks and scopes are at
 * the end of core/scope.h. */
#ifndef TH_HOOKS_H
#define TH_HOOKS_H
#include "atomic.h"
#include "fiber.h"
#include <thrum/fx.h>

/* The running fiber; NULL on a plain thread and on a worker's own stack. Never inlined: a fiber's thread-local addresses
 * must not be cached over a suspension. */
struct th_fiber *th_self(void);
/* The same, but its forks stay as they are (core/fork.c): for what asks for no identity and no node. */
struct th_fiber *th_here(void);
/* The running fiber looks up from its forks; false: cancelled. */
bool th_look_up(struct th_fiber *f);

/* Is that a home of the runtime that the caller is a worker of? `h` is only compared, it may be none any more. */
bool th_is_home(const struct th_home *h);

/* Park the running fiber: switch to the worker's stack, and only there run action(fiber, arg), which publishes whatever
 * will wake it. Returns when th_wake() was called, on the same worker. */
void th_suspend(void (*action)(struct th_fiber *f, void *arg), void *arg);

/* Let the other ready fibers of this worker run before the running one, and its new children in their turn. */
void th_yield(struct th_fiber *f);

/* In a shuffled runtime, before a call that may suspend: the same, perhaps. */
void th_shuffle(struct th_fiber *f);

/* Make a parked fiber ready on its home worker. Any thread. Exactly once per park, by whoever won the right to. */
void th_wake(struct th_fiber *f);

/* Have the home worker of `f` cancel operation number `gen` of it, if that is still in the kernel. Any thread. */
void th_post_cancel(struct th_fiber *f, uint16_t gen);

/* A worker that sleeps just now, 1-based; 0 if there is none. A hint. */
unsigned th_idle_worker(struct th_fiber *f);
/* True if this fiber's worker has other fibers ready or children in its deque. */
bool th_has_more(struct th_fiber *f);

/* Run fx on a fresh stack, as the same identity, and wait. For nesting that has used the stack up. False: there is no memory
 * for one, nothing has run. */
bool th_call_fresh(thrum_fx fx, int *ret_code);
/* True when the running fiber's stack is nearly used up. */
bool th_stack_low(void);

/* Serve this worker's timers, mailbox and ring from the running fiber if it has not happened for 100 us. */
void th_poll_if_due(void);

/* The monotonic time of this worker's backend, ns. */
int64_t th_backend_now(struct th_home *h);

/* Have every worker of this fiber's runtime cancel its operations on `fd`. */
void th_cancel_fd_all(int fd);

/* Futex: wait while *word == seen; wake one. The slow path of core/lock.h. */
void th_word_wait(th_atomic_u32 *word, uint32_t seen);
void th_word_wake(th_atomic_u32 *word, int n);

/* The one oracle: a number below n. Production: a small generator; simulation: the seed. */
uint32_t th_choose(uint32_t n, const char *tag);

#endif
