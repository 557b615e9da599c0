/* thrum/fork.h: fork and join inline. What a program calls is thrum_zip_par() of combine.h; this is how it comes to cost
 * as much as a few function calls as long as no effect blocks and nobody steals one.
 *
 * Nothing in here is for users: the fields are visible only so that the compiler sees them. All names end in "_".
 *
 * A fork is a frame with the effects, and where they stand. Effect 0 runs at once, as a call; for each of the others an
 * entry, the address of the fork, lies in the worker's lane, where thieves take from the other end. An effect whose entry
 * comes back to the forker is called as well. The fork has no scope and its effects have no identity until somebody needs
 * one: a thief, an effect that calls into the library, a failure, a cancel. core/fork.c has that part, and the argument.
 * How a lane works, and why it may do without a fence, stands in sched/deque.h, to whose table the tags belong.
 *
 * THRUM_FULL_FENCE makes the compiler barrier in pop a real fence, for a kernel without membarrier(). It must be defined for
 * the library and for all that includes this header, or for none of it: the owner's half is here, the thieves' is there. */
#ifndef THRUM_FORK_H
#define THRUM_FORK_H
#include <thrum/base.h>
#include <thrum/fx.h>

/* One source for users in C and in C++, for the simulation (TH_SIM: every access is a preemption point) and for the
 * model checker (TH_RELACY: its own types and macros, see test/model/). C++ has no _Atomic: the same words there, by
 * builtins. */
#if defined(TH_RELACY)
#define THRUM_ATOMIC_(T) th_atomic(T)
#define THRUM_LINE_
#define THRUM_LOAD_RLX_(p) th_load_rlx(p)
#define THRUM_STORE_RLX_(p, v) th_store_rlx((p), (v))
#define THRUM_STORE_REL_(p, v) th_store_rel((p), (v))
#define THRUM_FENCE_LIGHT_() th_fence_seq()
#else
#ifdef __cplusplus
#define THRUM_ATOMIC_(T) T
#define THRUM_LINE_ alignas(128)
#define THRUM_LOAD_(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define THRUM_STORE_(p, v, order) __atomic_store_n((p), (v), (order))
#else
#include <stdatomic.h>
#define THRUM_ATOMIC_(T) _Atomic(T)
#define THRUM_LINE_ _Alignas(128)
#define THRUM_LOAD_(p) atomic_load_explicit((p), memory_order_relaxed)
#define THRUM_STORE_(p, v, order) atomic_store_explicit((p), (v), (order))
#endif
#ifdef TH_SIM
#ifdef __cplusplus
extern "C"
#endif
void th_sim_point(void); /* sched/sim/threads.c */
#define THRUM_POINT_() th_sim_point()
#else
#define THRUM_POINT_() ((void)0)
#endif
#define THRUM_LOAD_RLX_(p) (THRUM_POINT_(), THRUM_LOAD_(p))
#define THRUM_STORE_RLX_(p, v) (THRUM_POINT_(), THRUM_STORE_((p), (v), __ATOMIC_RELAXED))
#define THRUM_STORE_REL_(p, v) (THRUM_POINT_(), THRUM_STORE_((p), (v), __ATOMIC_RELEASE))
#ifdef THRUM_FULL_FENCE
#define THRUM_FENCE_LIGHT_() __atomic_thread_fence(__ATOMIC_SEQ_CST)
#else
#define THRUM_FENCE_LIGHT_() (THRUM_POINT_(), __atomic_signal_fence(__ATOMIC_SEQ_CST))
#endif
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* 64 KiB of slots per worker, of which it touches what it uses: a thousand forks of eight inside one another. Those that find
 * no room go the long way, what is spawned goes to the spill list. */
#ifndef THRUM_LANE_SLOTS_
#ifdef TH_SIM
#define THRUM_LANE_SLOTS_ 1024
#else
#define THRUM_LANE_SLOTS_ 8192 /* a power of two; the model checker has smaller ones */
#endif
#endif

struct thrum_fork_;

/* The entries of one worker that others may take. One per worker; one line pair per writer. The indices count from
 * THRUM_LANE_SLOTS_, so that one less than an index is an index, and have 63 bits. */
struct thrum_lane_ {
	/* The owner writes; others shut the gate. */
	THRUM_LINE_ THRUM_ATOMIC_(uintptr_t) x_gate; /* a fork that lies below it has to look up first: core/gate.h */
	THRUM_ATOMIC_(struct thrum_fork_ *) fork; /* the innermost one of the running fiber that is not in the tree */
	THRUM_ATOMIC_(uint64_t) x_bottom; /* index of the next push; only the owner writes */
	THRUM_ATOMIC_(uint64_t) bottom_max; /* owner only: a push here or above looks at x_top first; 0: it never pushes */
	THRUM_ATOMIC_(void *) fiber;        /* owner only: the one that runs; NULL: none */
	uint64_t spare_[11];
	/* Thieves write. */
	THRUM_LINE_ THRUM_ATOMIC_(uint64_t) x_top; /* index of the oldest entry; thieves CAS; only grows */
	THRUM_ATOMIC_(uint64_t) x_split;           /* 2 * index + F: entries below are public; F: a force is on */
	THRUM_ATOMIC_(uint32_t) x_forcer;          /* 1: a thief is forcing */
	THRUM_ATOMIC_(uint32_t) x_wants;           /* what others have shut the gate for: core/gate.h */
	/* The owner writes, thieves read. Entry i lies in slot i % THRUM_LANE_SLOTS_. */
	THRUM_LINE_ THRUM_ATOMIC_(void *) x_slot[THRUM_LANE_SLOTS_];
};

#define THRUM_RARELY_(x) __builtin_expect(!!(x), 0)
#define THRUM_INLINE_ static inline __attribute__((always_inline))

/* Add `e` n times, as the newest entries. False: not done; the slow way knows whether the lane is full. Owner only. */
THRUM_INLINE_ bool thrum_lane_push_(struct thrum_lane_ *lane, void *e, uint32_t n)
{
	uint64_t b = THRUM_LOAD_RLX_(&lane->x_bottom);

	if (THRUM_RARELY_(b + n > THRUM_LOAD_RLX_(&lane->bottom_max)))
		return false;
	for (uint32_t i = 0; i < n; i++)
		THRUM_STORE_RLX_(&lane->x_slot[(b + i) % THRUM_LANE_SLOTS_], e); /* S4 */
	THRUM_STORE_REL_(&lane->x_bottom, b + n); /* D1 */
	return true;
}

/* Take the newest entry back, which is known to have been pushed and not been popped: true if it is private, and the
 * caller's. False: th_deque_pop_slow_owner() has the rest. Owner only. */
THRUM_INLINE_ bool thrum_lane_pop_(struct thrum_lane_ *lane)
{
	uint64_t b = THRUM_LOAD_RLX_(&lane->x_bottom) - 1;

	THRUM_STORE_REL_(&lane->x_bottom, b);                              /* L1 */
	THRUM_FENCE_LIGHT_();                                              /* L2 */
	return !THRUM_RARELY_(2 * b < THRUM_LOAD_RLX_(&lane->x_split)); /* L3 */
}

#ifndef TH_RELACY /* the lane alone is what is checked */

/* One fork that is under way, in the frame of whoever forks. */
#define THRUM_FORK_WORDS_ 104
struct thrum_fork_ {
	struct thrum_fork_ *parent;   /* the fork around it, if that is not in the tree either */
	uint8_t n, at;                /* effects; the one that the forker runs, or ran last */
	uint8_t listed;               /* which of `fx` it is: kid, list, item, child */
	int8_t heavy;                 /* negative: effect `at` is in the tree */
	uint16_t taken, scoped;       /* effects that thieves took; the fork's scope is in the tree */
	union {
		thrum_fx kid[2];      /* numbers 1 and 2; nobody else ever runs number 0 */
		const thrum_fx *list; /* all of them */
		struct {
			void *scope;  /* whose child it is; in the tree */
			size_t index; /* its number there */
		} item;               /* no fork at all, but what runs in it sees no difference */
		void *child;          /* nor is this: a spawned child that its spawner calls */
	} fx;
	uint64_t record_[THRUM_FORK_WORDS_]; /* core/fork.c; not even cleared until it is needed */
};

#ifdef __cplusplus
extern __attribute__((tls_model("initial-exec"))) THRUM_API __thread struct thrum_lane_ *thrum_lane_self_;
#else
extern __attribute__((tls_model("initial-exec"))) THRUM_API _Thread_local struct thrum_lane_ *thrum_lane_self_;
#endif

/* Where an effect cannot just be called; each returns the fork's code. */
THRUM_API int thrum_fork_first_(struct thrum_fork_ *fork, thrum_fx first); /* the gate is shut before number 0 */
THRUM_API int thrum_fork_rest_(struct thrum_fork_ *fork, int code);        /* number `at` has returned `code` */
THRUM_API int thrum_fork_popped_(struct thrum_fork_ *fork, int code);      /* the same after thrum_lane_pop_() */
THRUM_API int thrum_zip_par_n(const thrum_fx *fx, size_t n);               /* combine.h */

/* About where the stack is. An address sanitizer keeps locals elsewhere. */
#if defined(__SANITIZE_ADDRESS__)
#define THRUM_HERE_(local) ((void)(local), (uintptr_t)__builtin_frame_address(0))
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define THRUM_HERE_(local) ((void)(local), (uintptr_t)__builtin_frame_address(0))
#endif
#endif
#ifndef THRUM_HERE_
#define THRUM_HERE_(local) ((uintptr_t)(local))
#endif

THRUM_INLINE_ bool thrum_gate_shut_(struct thrum_lane_ *lane, struct thrum_fork_ *fork)
{
	return THRUM_RARELY_(THRUM_HERE_(fork) < THRUM_LOAD_RLX_(&lane->x_gate));
}

/* Offer effects 1 to n - 1 of a fork whose `fx` is filled in; false: nothing has happened, go the long way. */
THRUM_INLINE_ bool thrum_fork_open_(struct thrum_lane_ *lane, struct thrum_fork_ *fork, uint8_t n, uint8_t listed)
{
	fork->parent = THRUM_LOAD_RLX_(&lane->fork);
	fork->n = n;
	fork->at = 0;
	fork->listed = listed;
	fork->heavy = 0;
	fork->taken = 0;
	fork->scoped = 0;
	if (!thrum_lane_push_(lane, (char *)fork + 1, n - 1u))
		return false;
	THRUM_STORE_RLX_(&lane->fork, fork);
	THRUM_FENCE_LIGHT_(); /* whoever shuts the gate and then looks for entries sees these, or is seen by what comes next */
	return true;
}

/* Effect `at` returned `code`: is that a case for thrum_fork_rest_()? Asks for a cancel only if another effect is to come. */
THRUM_INLINE_ bool thrum_fork_stops_(struct thrum_fork_ *fork, int code)
{
	return THRUM_RARELY_((code | fork->heavy) < 0);
}

THRUM_INLINE_ int thrum_fork_close_(struct thrum_lane_ *lane, struct thrum_fork_ *fork)
{
	THRUM_STORE_RLX_(&lane->fork, fork->parent);
	return 0;
}

THRUM_INLINE_ int thrum_zip_par_2_(thrum_fx a, thrum_fx b)
{
	struct thrum_lane_ *lane = thrum_lane_self_;
	struct thrum_fork_ fork;
	int code;

	fork.fx.kid[0] = b;
	if (THRUM_RARELY_(!a.run || !b.run || !thrum_fork_open_(lane, &fork, 2, 0))) {
		const thrum_fx fx[2] = { a, b };
		return thrum_zip_par_n(fx, 2);
	}
	if (thrum_gate_shut_(lane, &fork))
		return thrum_fork_first_(&fork, a);
	code = a.run(a.arg);
	if (thrum_fork_stops_(&fork, code) || thrum_gate_shut_(lane, &fork))
		return thrum_fork_rest_(&fork, code);
	if (!thrum_lane_pop_(lane))
		return thrum_fork_popped_(&fork, code);
	fork.at = 1;
	code = b.run(b.arg);
	if (thrum_fork_stops_(&fork, code))
		return thrum_fork_rest_(&fork, code);
	return thrum_fork_close_(lane, &fork);
}

THRUM_INLINE_ int thrum_zip_par_3_(thrum_fx a, thrum_fx b, thrum_fx c)
{
	struct thrum_lane_ *lane = thrum_lane_self_;
	struct thrum_fork_ fork;
	int code;

	fork.fx.kid[0] = b;
	fork.fx.kid[1] = c;
	if (THRUM_RARELY_(!a.run || !b.run || !c.run || !thrum_fork_open_(lane, &fork, 3, 0))) {
		const thrum_fx fx[3] = { a, b, c };
		return thrum_zip_par_n(fx, 3);
	}
	if (thrum_gate_shut_(lane, &fork))
		return thrum_fork_first_(&fork, a);
	code = a.run(a.arg);
	if (thrum_fork_stops_(&fork, code) || thrum_gate_shut_(lane, &fork))
		return thrum_fork_rest_(&fork, code);
	if (!thrum_lane_pop_(lane))
		return thrum_fork_popped_(&fork, code);
	fork.at = 1;
	code = b.run(b.arg);
	if (thrum_fork_stops_(&fork, code) || thrum_gate_shut_(lane, &fork))
		return thrum_fork_rest_(&fork, code);
	if (!thrum_lane_pop_(lane))
		return thrum_fork_popped_(&fork, code);
	fork.at = 2;
	code = c.run(c.arg);
	if (thrum_fork_stops_(&fork, code))
		return thrum_fork_rest_(&fork, code);
	return thrum_fork_close_(lane, &fork);
}

/* A stretch of the items of a fan (thrum_for_each_par), called one after the other as long as they stay calls. Each is to the
 * forks in it what effect 0 of a fork around them would be; core/fan.c has the rest. `index` is that of the item which runs,
 * or ran last; `end` may go down while one runs that calls into the library. */
struct thrum_items_ {
	struct thrum_fork_ fork; /* fork.fx.item.index is the index */
	size_t end, stride;
	char *base;
};
typedef int thrum_items_fn_(struct thrum_items_ *items);

/* Returns the code of the last one. */
THRUM_INLINE_ int thrum_items_run_(struct thrum_items_ *items, int (*run)(void *))
{
	struct thrum_lane_ *lane = thrum_lane_self_;
	const size_t end = items->end, stride = items->stride;
	size_t i = items->fork.fx.item.index;
	char *item = items->base + i * stride;
	int code;

	THRUM_STORE_RLX_(&lane->fork, &items->fork);
	for (;;) {
		items->fork.fx.item.index = i;
		code = run(item);
		if (thrum_fork_stops_(&items->fork, code) || ++i == end || thrum_gate_shut_(lane, &items->fork))
			return code;
		item += stride;
	}
}

/* n is a constant, and the compiler sees through the list: two and three effects are forked here. */
THRUM_INLINE_ int thrum_zip_par_list_(const thrum_fx *fx, size_t n)
{
	if (n == 2)
		return thrum_zip_par_2_(fx[0], fx[1]);
	if (n == 3)
		return thrum_zip_par_3_(fx[0], fx[1], fx[2]);
	return thrum_zip_par_n(fx, n);
}

#endif

#ifdef __cplusplus
} /* extern "C" */
#endif
#endif
