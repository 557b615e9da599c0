/* io/sim.h: the simulation build: one thread plays all workers, and every choice comes from a seed.
 *
 * libthrum-sim is the library compiled with -DTH_SIM, where each atomic access may switch to another virtual worker, on the
 * kernel of io/sim.c and virtual time. A run is thrum_run() between th_sim_begin() and th_sim_end(); the same seed gives
 * the same run, choice by choice. For the project's own tests. */
#ifndef TH_SIM_H
#define TH_SIM_H
#include <stdbool.h>
#include <stdint.h>

struct th_sim_report {
	uint64_t choices;      /* how many were made */
	uint64_t fingerprint;  /* of all of them: equal for equal runs */
	uint64_t suspends;     /* cancel points passed: th_sim_opts.cancel_at counts them */
	int64_t virtual_ns;    /* how far the clock got */
	unsigned ops_left, fds_left; /* 0 after a clean run; that no fiber is left is asserted by th_worker_fini() */
};

struct th_sim_opts {
	uint64_t seed;
	unsigned switch_1_in;  /* preempt at one access in so many; 0 = a default drawn from the seed */
	uint64_t cancel_at;    /* cancel the main effect's root when so many suspensions have happened; 0 = never */
};

void th_sim_begin(const struct th_sim_opts *opts);
void th_sim_end(struct th_sim_report *ret_report);

/* --- between sched/sim.c and io/sim.c --- */
struct th_io;
int64_t th_sim_now(void);
/* Park the running virtual worker until `until_ns`, a wake, or an event of the kernel for it at next_event_ns(io). */
void th_sim_park(struct th_io *io, int64_t until_ns);
void th_sim_unpark(struct th_io *io);
int64_t th_sim_next_event(struct th_io *io); /* io/sim.c */
void th_sim_kernel_reset(void);
unsigned th_sim_ops_left(void);
unsigned th_sim_fds_left(void);
uint32_t th_sim_choose(uint32_t n);
void th_sim_suspended(void);           /* a fiber parks */
uint64_t th_sim_seed(void);

/* --- the simulated kernel, for tests --- */
/* Latencies are multiples of this. A coarse grid, so that events of different workers often fall on the same moment: that
 * is where the races are. Tests that sleep should sleep in multiples of it too. */
enum { TH_SIM_TICK_NS = 125000 };
int th_sim_pipe(int fds[2]);                 /* bytes written come out in order, some time later */
int th_sim_listener(unsigned connections);   /* a descriptor that accepts so many, at times of its own */
bool th_sim_fd_open(int fd);

#endif
