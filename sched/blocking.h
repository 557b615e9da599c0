/* sched/blocking.h: the pool of threads that thrum_blocking() runs its jobs on. The protocol is in blocking.c. */
#ifndef TH_BLOCKING_H
#define TH_BLOCKING_H
#include "../core/lock.h"
#include <stdbool.h>
#include <stddef.h>

struct thrum_rt;
struct th_job;
struct th_blocker;

enum { TH_BLOCKERS_DEFAULT = 64, TH_BLOCKERS_MAX = 4096 };

struct th_blocking {
	struct thrum_rt *rt;
	unsigned blockers_max;            /* constant */
	struct th_lock lock;              /* of everything below and of each job's state; innermost of all locks */
	struct th_job *head, *tail;       /* queued, first in first out */
	struct th_blocker *idle;          /* last in first out */
	struct th_blocker *all;
	struct th_blocker *ended;         /* the last thread that ended: it has joined the one before it */
	bool closing;
	th_atomic_u32 x_blockers;         /* threads, those being started included; written under the lock */
	th_atomic_u64 x_jobs;             /* statistics: jobs that a thread took; written under the lock */
};

void th_blocking_init(struct th_blocking *p, struct thrum_rt *rt, unsigned blockers_max);
/* Wait for the jobs that were abandoned, end the threads, join them. No fiber is left that could submit one. */
void th_blocking_close(struct th_blocking *p);
/* Is the caller a job of this pool? */
bool th_blocking_inside(struct th_blocking *p);
size_t th_blocking_record_bytes(void);    /* of a job that may be abandoned: a block of the runtime's records */

#endif
