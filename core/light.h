/* core/light.h: children that are calls: spawned, run and joined by the fiber that opened their scope, and never in the tree
 * unless somebody needs them there.
 *
 *   SPAWNED ──the opener takes the entry back, in join or close──► CALLED ──it returns, and has succeeded──► ended
 *      │                                                             │
 *      │ another takes the entry; or the opener does,                │ settle: it calls into the library, fails (core/fork.c)
 *      │ and cannot just call it                                     │
 *      └───── th_light_link ────────► LINKED ◄───────────────────────┘   from here on a child as any other: core/scope.h
 *
 * A child is light if thrum_spawn() is called by the opener of the scope, while it stands right in that scope: then nothing
 * else of the scope runs on its fiber. Its entry in the lane says so. Who may touch what:
 *
 *   node             its own lock, from the spawn on: anybody may cancel it
 *   scope, spawner, index, locals, fx   written by the spawn only
 *   x_done, code     while it is light its spawner, which asks for no lock; else as in scope.h
 *   joiners          the scope's lock
 *   the rest         whoever has the entry
 *
 * A cancel of the scope does not find it, but whoever links it or calls it looks (Z5, S6). A cancel of itself shuts the
 * gate of its spawner's worker (core/gate.h), so that a child that only forks comes into the tree and learns of it.
 *
 * Counting. `x_out` of the scope are the light children that did not end as calls, so far. Whoever links one lowers `coming`,
 * whatever it is; the closer, when it has taken back what it can, raises it by x_out, and waits until it is 0: as a fork does
 * (core/fork.c). So `pending + coming + x_out`, modulo 2^32, have not ended, all the time.
 *
 * Alone. The opener numbers and ends light children without the scope's lock. Who else may care? Another effect inside the
 * scope that spawns into it, or waits in a join of one of its children. The first one to do so declares, under the lock, that
 * the opener is not alone any more:
 *
 *      opener, spawning               another one, before it spawns     opener, ending a child       another one, joining
 *      A1 x_own = n + 1               A3 x_alone = 0                    A5 x_done = 1                A3 x_alone = 0
 *         light fence                    heavy fence                       light fence                  heavy fence
 *      A2 x_alone? number n           A4 n = x_own: goes on there       A6 x_alone? that is all      A7 x_done? else queue
 *         no: lock, see below                                              no: lock, wake the queue
 *
 *   tag  order                     because
 *   A1   relaxed         SB        A2 reads the 1 from before the declaration, or A4 counts this number
 *   A5   release         SB, MP    A6 reads the 1, or A7 sees that it has ended (acquire: and its code)
 *   The light fence is for the compiler only; the heavy one is membarrier(), as in sched/deque.h; on the opener's own worker
 *   none is needed. Without membarrier() there are no light children on several workers (th_home.light).
 *   A number that was claimed by A1 although A2 says no is the child's if A4 has counted it, else it was never given. */
#ifndef TH_LIGHT_H
#define TH_LIGHT_H
#include "scope.h"

/* The caller has taken the entry of a light child back, as the opener of its scope: run it, to its end. Its code. */
int th_light_call(struct th_fiber *f, struct th_task *t);
/* It comes into the tree: the caller, anybody, has taken its entry; or it runs, and its forker stands still (core/fork.c). */
void th_light_link(struct th_task *t);
/* The closer has taken back what it could; it waits for what others took. */
void th_light_expect(struct th_scope *s);
/* Somebody at home in `h`, who has not opened `s`, is about to spawn into it or to wait for a child of it. Under its lock. */
void th_light_share(struct th_scope *s, struct th_home *h);
/* The number of its next child. Under its lock. */
size_t th_light_number(struct th_scope *s);
/* How many it has had. Under its lock. */
size_t th_light_spawned(struct th_scope *s);

/* Upward, defined in sched/threads.c: see sched/deque.h. */
bool th_fence_heavy(void);

#endif
