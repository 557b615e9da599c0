/* thrum/test.h: your program in a simulated world. One thread plays all workers, the kernel is simulated, time is virtual, and
 * every choice comes from a seed: which worker goes on at each atomic access, in one run of four what each does next
 * (thrum_opts.shuffle), how long each operation takes, how short a transfer is. So a run that fails can be had again exactly, and
 * made simpler.
 *
 *   static int transfers(struct bank *b) { …  THRUM_TEST_CHECK(b->sum == 100);  return 0; }
 *
 *   thrum_test_search(transfers_fx(&b), THRUM_TEST_OPTS(.name = "transfers", .runs = 10000), NULL);
 *
 * Link with thrum-sim in place of thrum (CMake: thrum::sim; pkg-config: thrum-sim), and compile with what it says: -DTH_SIM.
 * Not part of <thrum.h>. For Criterion see thrum/criterion.h; examples/replay/README.md is a page to begin with.
 *
 * How a program is run. A child process is made, and in it the program is run again and again, each time from the start; what
 * it prints is thrown away. The first run that fails ends that. Then choices are taken back as long as it still fails, and
 * what is left is run once more, with its output, a timeline, and the command that replays it. Whatever a program keeps in
 * static variables it must set anew itself.
 *
 * A run fails when it crashes, calls thrum_test_fail(), returns a failure (unless `any_code`), blocks for ever, makes more choices
 * than `choices_max`, takes longer than `seconds`, or has left something behind at its end: an operation in the kernel, a
 * descriptor, memory of the library, a fiber, an acquire that is not released. When a worker sleeps though there is work for it,
 * when a release runs twice or before one that was registered later. And when `check` says so. A search makes one run in 64
 * twice, which must be the same: else nothing that it finds could be had again.
 *
 * The world has what thrum's own calls make: sockets of thrum_dial(), thrum_dial_addrs(), thrum_listen_on() and thrum_accept(), on
 * its own loopback; files and directories on a disk of its own, empty at first; names: "localhost" and addresses; processes of
 * programs that you describe (.programs), with their pipes. What your program asks the kernel for by itself, past thrum, is the
 * real one's, and is nothing to the calls of thrum there: a descriptor of socket(2), pipe2(2) or open(2) is -EBADF to them. So a
 * UDP server, which begins with socket(2), cannot be played, nor a pair of sockets or a pipe between two fibers; and raise(3) and
 * kill(2) reach the process that plays, not thrum_signals_recv(). One thread plays all workers: a pthread mutex that is held over a
 * call of thrum, or over thrum_test_point(), stops it for ever where on real threads one worker waits for another.
 *
 * What is simulated: sequentially consistent interleavings of the library's own atomic accesses, and of yours where you call
 * thrum_test_point(); a data race between those points is not seen (that is what ThreadSanitizer is for; both go together). */
#ifndef THRUM_TEST_H
#define THRUM_TEST_H
#include <thrum/base.h>
#include <thrum/fx.h>
#include <thrum/rt.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
	THRUM_SEARCH_RANDOM,  /* a preemption at one access in 2 to 32, drawn for each run */
	THRUM_SEARCH_PCT,     /* priorities that change at `depth` - 1 places: for bugs that need few preemptions in long runs */
	THRUM_SEARCH_BOUNDED  /* all runs with at most `depth` choices that are not the first one, or `runs` of them */
};

/* After a run, in the child: `code` is what the program returned. */
typedef struct thrum_test_run {
	int code;
	uint64_t seed;
	bool disturbed;        /* something was made to go wrong in it, by a sweep */
	thrum_dur took;        /* on the virtual clock */
	uint64_t suspensions, operations, allocations;
} thrum_test_run;

/* What goes wrong in the simulated world by itself, each in one case of so many; 0: never. The sweeps do it by plan. */
typedef struct thrum_test_faults {
	size_t size;
	unsigned reset;        /* a TCP connection is reset while something is sent on it */
	unsigned refused;      /* a connect is refused though somebody listens */
	unsigned cut;          /* the network is cut for a while: bytes come later, datagrams never */
	unsigned lost;         /* a UDP datagram is lost */
	unsigned no_fd;        /* a new descriptor: -EMFILE */
	unsigned no_memory;    /* a new socket: -ENOBUFS; an accepted connection: -ENOMEM */
	unsigned no_space;     /* a write to a file: -ENOSPC */
	unsigned fds_max;      /* most descriptors open at once; 0: 4096 */
	uint64_t disk_bytes;   /* most in all files together; 0: no bound */
} thrum_test_faults;
#define THRUM_TEST_FAULTS(...) (&(thrum_test_faults){ .size = sizeof(thrum_test_faults), __VA_ARGS__ })

/* A program that processes of the simulated world can run (thrum/process.h): what it does is what is said here. A pipe holds 4 KiB
 * of what it writes: it waits for room before it ends, and where nobody reads any more it dies by SIGPIPE. Its directory (.cwd) is
 * one of the simulated disk. */
typedef struct thrum_test_program {
	const char *path;      /* thrum_process_opts.argv[0]; others are not there: -ENOENT */
	const char *prints;    /* to its standard output; may be NULL */
	const char *complains; /* to its standard error; may be NULL */
	bool reads;            /* its standard input, to the end, and then lasts as long as it does */
	bool echoes;           /* and writes what it reads to its standard output */
	bool deaf;             /* no signal but SIGKILL ends it */
	thrum_dur lasts;       /* on the virtual clock, when all that is done; THRUM_FOREVER: until it is killed */
	int code;              /* that it exits with, or */
	int signal;            /* dies by */
} thrum_test_program;

typedef struct thrum_test_opts {
	size_t size;
	const char *name;      /* in reports and replays, without spaces; default "program" */
	uint64_t seed;         /* the first one; default 1. THRUM_TEST_SEED in the environment goes before */
	uint64_t runs;         /* how many seeds; default 1000, of a sweep 10. THRUM_TEST_RUNS goes before */
	unsigned workers;      /* at most 16; default: 1, 2 and 3 in turn */
	unsigned clock;        /* as in thrum_opts, for `run` */
	unsigned search;       /* THRUM_SEARCH_… */
	unsigned depth;        /* 0: 3 for PCT, 2 for BOUNDED; at most 16 */
	bool coarse;           /* other workers go on only where a fiber suspends: faster, and finds less */
	bool plain;            /* the program is no effect, but calls thrum_run() itself: with options of its own, not these; without
	                          a number of workers there are 2, and more than 16 are -EINVAL */
	bool any_code;         /* else a run must return 0 or more; in a sweep any code is allowed */
	const thrum_opts *run; /* for thrum_run(), but workers and clock; may be NULL */
	bool (*check)(const thrum_test_run *run, void *arg); /* an oracle of your own; false: the run has failed */
	void *check_arg;
	uint64_t choices_max;  /* default 5 million */
	unsigned seconds;      /* of real time for one run; default 20 */
	bool quiet;            /* nothing is printed; the report has all */
	const thrum_test_faults *faults; /* may be NULL */
	const thrum_test_program *programs; /* that it can start processes of; may be NULL */
	size_t n_programs;
} thrum_test_opts;
#define THRUM_TEST_OPTS(...) (&(thrum_test_opts){ .size = sizeof(thrum_test_opts), __VA_ARGS__ })

enum { THRUM_TEST_WHAT_MAX = 512, THRUM_TEST_REPLAY_MAX = 4096 };

typedef struct thrum_test_report {
	uint64_t runs, choices;  /* until the first failure */
	bool exhausted;          /* BOUNDED: there are no others */
	bool failed;
	uint64_t seed;           /* of the run that failed */
	size_t choices_left;     /* of it, that are not 0, after making it simpler */
	char what[THRUM_TEST_WHAT_MAX];
	char replay[THRUM_TEST_REPLAY_MAX]; /* for thrum_test_replay(), or THRUM_TEST_REPLAY in the environment */
} thrum_test_report;

/* Search for a run of `program` that fails. Plain thread, outside of any run; blocks until it is done.
 *   borrows   everything, for the call
 *   returns   0: none failed; 1: one did, *r says which; -EINVAL: an option, or a number
 *             of the environment that is none; -EAGAIN, -ENOMEM: no process or memory to be had;
 *             -EDEADLK: called from a run
 * `r` may be NULL. With THRUM_TEST_REPLAY='NAME …' in the environment and that name, nothing is searched, but that run is made
 * in this process, where a debugger sees it; another name's call returns 0 at once. So does '@FILE' with the first line of a
 * file. */
THRUM_API int thrum_test_search(thrum_fx program, const thrum_test_opts *o, thrum_test_report *r);

/* The same program with one cancel: for each of `runs` seeds at each place where a fiber suspends, as it is about to, when it
 * has, and when what it waited for has come; of the main effect's root, of the scope it is in, of the scope around that: of those
 * that the program has opened itself; and as if the deadline of the nearest scope or limit around it had fired. Each alone, and
 * with a second cancel soon after, drawn, while what the first one hit is cleaned up. Codes of thrum_test_search(). */
THRUM_API int thrum_test_sweep_cancel(thrum_fx program, const thrum_test_opts *o, thrum_test_report *r);

/* The same with each allocation of the library failing in turn; and with each operation failing in turn with each errno that
 * the kernel may give for it: those of sockets and open files, and the calls on paths and files of thrum/file.h. Names
 * (thrum_getaddrinfo()) and the starting of processes have none. */
THRUM_API int thrum_test_sweep_memory(thrum_fx program, const thrum_test_opts *o, thrum_test_report *r);
THRUM_API int thrum_test_sweep_io(thrum_fx program, const thrum_test_opts *o, thrum_test_report *r);

/* The run that `replay` names (thrum_test_report.replay, or "@FILE" whose first line is one), in this process and with a
 * timeline on stderr. If it fails, the process aborts where it does. Returns 0 if it did not, or if it is another
 * name's, which is not run; -EINVAL: not a replay; -ENOMEM; -EDEADLK: called from a run. */
THRUM_API int thrum_test_replay(thrum_fx program, const thrum_test_opts *o, const char *replay);

/* Inside a run, from anywhere: a number below n that the seed chooses, 0 outside of one; the kindest should be 0. */
THRUM_API uint32_t thrum_test_choose(uint32_t n);
/* Another worker may go on here: put it between your own atomic accesses. Nothing outside of a run. */
THRUM_API void thrum_test_point(void);
/* A line for the timeline. */
THRUM_API void thrum_test_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The run has failed: it ends here, wherever it is called. Outside of a run it aborts. */
THRUM_API void thrum_test_fail_at_(const char *file, unsigned line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));
#define thrum_test_fail(...) thrum_test_fail_at_(__FILE__, __LINE__, __VA_ARGS__)
#define THRUM_TEST_CHECK(c) ((c) ? (void)0 : thrum_test_fail("%s", #c))
/* Inside a run. */
THRUM_API bool thrum_test_running(void);
/* For thrum/criterion.h: the run ends here, and with it the search, which returns THRUM_TEST_SKIPPED_; r->what is the text. */
enum { THRUM_TEST_SKIPPED_ = 2 };
THRUM_API void thrum_test_skip_(const char *text) __attribute__((noreturn));

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
