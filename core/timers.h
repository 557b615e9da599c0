/* core/timers.h: a set of timers ordered by deadline, then by the order in which they were armed (L6).
 *
 * An intrusive pairing heap: arming is O(1), and neither arming nor firing allocates (an array heap would have to grow
 * on the way into a sleep, which may not fail). Single-threaded: the caller owns or locks the set. */
#ifndef TH_TIMERS_H
#define TH_TIMERS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct th_timer {
	int64_t at_ns;
	uint64_t seq;            /* set by th_timers_add */
	struct th_timer *child;  /* first child */
	struct th_timer *next;   /* next sibling */
	struct th_timer *prev;   /* previous sibling, or the parent for a first child; NULL at the root */
	void (*fire)(struct th_timer *);
	struct th_clock *clock;  /* whose set it was put into: core/clock.c; NULL: never */
	bool armed;
};

struct th_timers {
	struct th_timer *root;
	uint64_t next_seq;
	size_t count;
};

void th_timers_init(struct th_timers *ts);
/* Precondition: !t->armed; at_ns and fire are set. */
void th_timers_add(struct th_timers *ts, struct th_timer *t);
/* No-op when it is not armed (L3). */
void th_timers_remove(struct th_timers *ts, struct th_timer *t);
/* The nearest deadline, INT64_MAX when there is none. */
int64_t th_timers_next_ns(const struct th_timers *ts);
/* Take the first timer with at_ns <= now_ns out, or NULL. The caller calls its fire(). */
struct th_timer *th_timers_take_due(struct th_timers *ts, int64_t now_ns);

#endif
