/* core/pipe.h: what the parts of a pipeline share. core/pipe.c builds, runs and ends it; core/pipe_items.c are the stages
 * that call a function for each item; core/pipe_flow.c those that only hold items back.
 *
 *     stage 0 ──► chan ──► stage 1 ──► chan ──► … ──► chan ──► stage n - 1       each a child of `scope`
 *
 * Stage i sends into its own channel and alone closes it, when it has succeeded. So a closed and empty channel means that
 * everything has come; a stage that fails closes nothing, and those behind it end by the cancel only (D24). */
#ifndef TH_PIPE_H
#define TH_PIPE_H
#include "hooks.h"
#include "lock.h"
#include <thrum/pipe.h>
#include <thrum/scope.h>
#include <thrum/sync.h>

struct th_slot;

struct th_stage {
	thrum_stage s;             /* as the user wrote it, with the defaults filled in */
	struct th_pipe *pipe;
	size_t number, in_bytes;   /* s.out_bytes: 0 for the last stage */
	bool has_chan;
	thrum_chan chan;           /* what it passes on */
	thrum_task task;
	int code;                  /* what it ended with; read when all have ended */

	size_t slot_bytes;
	char *slots;               /* s.window slots; one for a stage that only holds items back */
	thrum_sem places;          /* ordered: of s.parallelism, taken in the order of the items */
	uint64_t pulled;           /* items begun; who pulls */

	struct th_lock lock;       /* of what follows */
	struct th_slot *free;
	uint64_t turn;             /* ordered: whose items go next */
	struct th_slot **waiting;  /* ordered: by number modulo s.window, who waits for its turn */

	th_atomic_u64 x_passed;    /* statistic; relaxed */
};

struct th_pipe {
	thrum_scope scope;
	size_t n;
	struct th_stage stages[];
};

/* One item on its way through a stage. Behind it lie the place for what came in and that for what goes out. */
enum { TH_SLOT_ALIGN = 16 };
struct th_slot {
	_Alignas(TH_SLOT_ALIGN) struct th_stage *stage;
	struct th_slot *next;      /* free */
	uint64_t number;
	size_t made, sent;         /* in the place for what goes out: [sent, made) are to be sent */
	bool my_turn;
	thrum_promise turn;
};

static inline void *th_slot_in(struct th_slot *s) { return s + 1; }

/* Receive for stage `t`, from the one before; send what it passes on. Codes of thrum_chan_recv(), thrum_chan_send(). */
int th_stage_recv(struct th_stage *t, void *ret_item);
int th_stage_send(struct th_stage *t, const void *item);
/* An item that stage `t` was given, or has made. Shielded. */
void th_stage_drop_in(struct th_stage *t, void *item);
void th_stage_drop_out(struct th_stage *t, void *item);

/* The bodies of the stages; 0 when all has gone through. */
int th_stage_run_items(struct th_stage *t);
int th_stage_batch(struct th_stage *t);
int th_stage_throttle(struct th_stage *t);
int th_stage_take(struct th_stage *t);

#endif
