/* core/oracle.h: what the simulation is told, so that it can keep books of its own (sched/sim/oracle.c): each acquire is released
 * once, and in reverse. Nothing in the real builds. */
#ifndef TH_ORACLE_H
#define TH_ORACLE_H
#include <thrum/fx.h>

struct th_node;

#ifdef TH_SIM
/* An acquire has succeeded: from here on something is owed, known by an address that is nobody else's meanwhile. */
void th_oracle_acquired(const void *debt);
/* Its release, or a finalizer without an acquire, was registered with `n`; under the node's lock. Was withdrawn again. */
void th_oracle_registered(const void *debt, const struct th_node *n);
void th_oracle_withdrawn(const void *debt);
/* It was taken out to be run, so it must be what was registered last; under the node's lock. Then it has run. */
void th_oracle_taken(const void *debt, const struct th_node *n, thrum_fx release);
void th_oracle_ran(const struct th_node *n, thrum_fx release);
/* The release of one that was not registered has run. */
void th_oracle_released(const void *debt);
/* `n` leaves the tree, so it owes nothing. */
void th_oracle_ended(const struct th_node *n);
#else
static inline void th_oracle_acquired(const void *debt) { (void)debt; }
static inline void th_oracle_registered(const void *debt, const struct th_node *n) { (void)debt, (void)n; }
static inline void th_oracle_withdrawn(const void *debt) { (void)debt; }
static inline void th_oracle_taken(const void *debt, const struct th_node *n, thrum_fx release) { (void)debt, (void)n, (void)release; }
static inline void th_oracle_ran(const struct th_node *n, thrum_fx release) { (void)n, (void)release; }
static inline void th_oracle_released(const void *debt) { (void)debt; }
static inline void th_oracle_ended(const struct th_node *n) { (void)n; }
#endif

#endif
