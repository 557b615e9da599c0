/* io/sim/sim.h: the simulation build: one thread plays all workers, and every choice comes from a seed.
 *
 * libthrum-sim is the library compiled with -DTH_SIM, where each atomic access may switch to another virtual worker, on the
 * kernel of io/sim/kernel.c and virtual time. A run is thrum_run() between th_sim_begin() and th_sim_end(); the same seed gives
 * the same run, choice by choice. For the project's own tests. */
#ifndef TH_SIM_H
#define TH_SIM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct th_sim_report {
	uint64_t choices;      /* how many were made */
	uint64_t fingerprint;  /* of all of them: equal for equal runs */
	uint64_t suspends;     /* cancel points passed: th_sim_opts.cancel counts them */
	uint64_t passed[3];    /* the same for each th_sim_where; passed[TH_SIM_BEFORE] == suspends */
	uint64_t allocs;       /* the library's; ops: operations that ended */
	uint64_t ops;
	int64_t virtual_ns;    /* how far the clock got */
	unsigned ops_left, fds_left; /* 0 after a clean run; that no fiber is left is asserted by th_worker_fini() */
	uint64_t allocs_left;
	size_t debts_left;     /* releases that somebody owes still: sched/sim/oracle.c */
};

enum th_sim_search { TH_SIM_RANDOM, TH_SIM_PCT, TH_SIM_GIVEN }; /* sched/sim/choices.c */
enum { TH_SIM_WORKERS_MAX = 16, TH_SIM_WORKERS = 2 }; /* of a runtime; without a word from anybody: wherever the run is made */
enum { TH_SIM_PICKS_MAX = 1 << 16, TH_SIM_DEPTH_MAX = 16 };

/* A choice that is not 0: number `step` of its kind: preemptions, the scheduler's own, and what happens in the world. Of each
 * kind by itself, so that one preemption less does not give all that happens in the world another number. */
enum th_sim_stream { TH_SIM_THREADS, TH_SIM_SCHEDULER, TH_SIM_WORLD };
struct th_sim_pick {
	uint64_t step;
	uint32_t value;
	enum th_sim_stream stream;
};

enum { TH_SIM_ARITY_BITS = 14, TH_SIM_ARITY_MAX = (1 << TH_SIM_ARITY_BITS) - 1 };
static inline uint16_t th_sim_arity(enum th_sim_stream stream, uint32_t n)
{
	return (uint16_t)((n < TH_SIM_ARITY_MAX ? n : TH_SIM_ARITY_MAX) | (uint32_t)stream << TH_SIM_ARITY_BITS);
}

/* What was chosen, for whoever wants it to be the same once more. */
struct th_sim_record {
	uint32_t n;
	bool overflow;           /* there were more */
	struct th_sim_pick picks[TH_SIM_PICKS_MAX];
	uint16_t *arity;         /* may be NULL: how many each of the first arity_max choices was one of, at most TH_SIM_ARITY_MAX,
	                            and its kind above that: th_sim_arity() */
	uint64_t arity_max;
	void (*on_op)(unsigned kind); /* may be NULL: told of each operation that ends, in the order that fail_op counts */
};

/* Where a cancel arrives: as the fiber is about to suspend; when it has, its operation in the kernel; when what it waited for
 * has come, but it has not gone on. And what is cancelled, seen from that fiber. */
enum th_sim_where { TH_SIM_BEFORE, TH_SIM_WITHIN, TH_SIM_AFTER };
enum th_sim_whom { TH_SIM_ROOT, TH_SIM_SCOPE, TH_SIM_PARENT, TH_SIM_DEADLINE };
struct th_sim_cancel {
	uint64_t at;           /* when so many suspensions have come to that moment; 0 = never */
	enum th_sim_where where;
	enum th_sim_whom whom;
};

struct th_sim_opts {
	uint64_t seed;
	unsigned switch_1_in;  /* preempt at one access in so many; 0 = a default drawn from the seed */
	bool coarse;           /* preempt only where a fiber suspends */
	unsigned calm;         /* RANDOM: all but one in 2^calm of the choices are 0 */
	uint64_t steps_max;    /* choices; 0 = many millions */
	struct th_sim_cancel cancel, again; /* the second one's suspensions are counted from the first one on */
	uint64_t fail_alloc;   /* the library's allocation that fails; 0 = none */
	uint64_t fail_op;      /* the operation that fails, in the order of their ends; 0 = none */
	int fail_code;         /* with this -errno */
	enum th_sim_search search;
	unsigned depth;        /* PCT: <= TH_SIM_DEPTH_MAX */
	uint64_t length;       /* PCT: how many choices such a run has, about */
	const struct th_sim_pick *picks; /* GIVEN: those of a stream in rising order of their steps */
	size_t n_picks;
	struct th_sim_record *record; /* may be NULL */
};

/* A second cancel for a run of that seed: within a few suspensions, while what the first one hit cleans up. */
struct th_sim_cancel th_sim_draw_again(uint64_t seed, const struct th_sim_cancel *first);
void th_sim_begin(const struct th_sim_opts *opts);
void th_sim_end(struct th_sim_report *ret_report);

/* --- between sched/sim/threads.c and io/sim/kernel.c --- */
struct th_io;
enum { TH_SIM_EPOCH_NS = 1000000000 }; /* when a run begins */
int64_t th_sim_now(void);
/* Park the running virtual worker until `until_ns`, a wake, or an event of the kernel for it at next_event_ns(io). */
void th_sim_park(struct th_io *io, int64_t until_ns);
void th_sim_unpark(struct th_io *io);
int64_t th_sim_next_event(struct th_io *io); /* io/sim/kernel.c */
void th_sim_kernel_reset(void);
unsigned th_sim_ops_left(void);
unsigned th_sim_fds_left(void);
uint32_t th_sim_choose(uint32_t n);            /* of the world */
uint32_t th_sim_choose_of(enum th_sim_stream stream, uint32_t n);
struct th_fiber;
struct th_node;
void th_sim_starts(struct th_node *n);
void th_sim_lets_others(struct th_fiber *f); /* a shuffled one, at a call that may suspend */
void th_sim_at(struct th_fiber *f, enum th_sim_where where);
void th_sim_suspends(void);            /* the running fiber is about to: coarse runs may switch there */
/* 0, or the -errno with which the operation of that kind ends without having been done: one of io/op.h, or a call on files and
 * paths that a thread of the blocking pool makes. */
enum { TH_SIM_STAT = 32, TH_SIM_FSTAT, TH_SIM_SYNC, TH_SIM_TRUNCATE, TH_SIM_UNLINK, TH_SIM_MKDIR, TH_SIM_RENAME, TH_SIM_LIST };
int th_sim_op_fault(unsigned kind);
uint64_t th_sim_seed(void);

/* --- the simulated kernel, for tests --- */
/* Latencies are multiples of this. A coarse grid, so that events of different workers often fall on the same moment: that
 * is where the races are. Tests that sleep should sleep in multiples of it too. */
enum { TH_SIM_TICK_NS = 125000 };
/* Block the calling job of the blocking pool for so long; and let at most so many threads of that pool start. */
void th_sim_block(int64_t ns);
void th_sim_pool_threads(unsigned n);
/* The calling fiber computes for so long; else virtual time passes only while nothing can run. */
void th_sim_compute(int64_t ns);
int th_sim_pipe(int fds[2]);                 /* bytes written come out in order, some time later */
/* In this run pipes, and half of the sockets, have buffers of so many bytes: fewer than Linux ever gives, so that writers wait
 * in a test that moves little. A program that is right on Linux may be stuck in such a world. */
void th_sim_buffers(size_t bytes);
int th_sim_listener(unsigned connections);   /* a descriptor that accepts so many, at times of its own */
bool th_sim_fd_open(int fd);
bool th_sim_raise(int sig);                  /* run its handler here and now; false: it has none */

/* The programs that there are in this run: an array of thrum_test_program. */
void th_sim_programs(const void *programs, size_t n);

/* What goes wrong in this run, from now on until th_sim_begin(): each in one case of so many, 0: never. */
struct th_sim_faults {
	unsigned reset;        /* a connection over TCP is reset while something is sent on it */
	unsigned refused;      /* a connect is refused though somebody listens */
	unsigned cut;          /* of what is sent over IP: nothing passes for a while; bytes come later, datagrams never */
	unsigned lost;         /* a datagram over UDP */
	unsigned no_fd;        /* a new descriptor: EMFILE */
	unsigned no_memory;    /* a new socket: ENOBUFS; a connection: ENOMEM from accept() */
	unsigned no_space;     /* a write to a file: ENOSPC */
	unsigned fds_max;      /* most descriptors open at once; 0: 4096 */
	uint64_t disk_bytes;   /* most in all files together; 0: no bound */
};
void th_sim_faults(const struct th_sim_faults *faults);

#endif
