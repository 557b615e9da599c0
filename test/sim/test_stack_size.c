/* test/sim/test_stack_size.c: children on stacks of other sizes under seeds and cancels. Their fiber's record goes with
 * the stack, so whatever may still find it then (a cancel request that comes late) must have let go. */
#include "../support/sim_run.h"
#include <errno.h>

enum { N = 4 };

struct reader {
	int fds[2];
};

static int read_one(struct reader *r)
{
	char byte;
	ssize_t n;

	sim_enter();
	n = thrum_read(r->fds[0], &byte, 1);
	if (n == 1)
		n = thrum_yield();
	return sim_leave(n < 0 ? (int)n : 0);
}
static int write_one(struct reader *r)
{
	ssize_t n = thrum_write(r->fds[1], "x", 1);

	return n < 0 ? (int)n : 0;
}
THRUM_FX(read_one, struct reader);
THRUM_FX(write_one, struct reader);

/* G6: some reads succeed just when they are cancelled, from another worker too. */
SIM_TEST(stack_size, late_cancels_find_the_record_G6)
{
	struct reader r[N];
	thrum_task t[N];
	thrum_scope s;
	int code = 0;

	(void)unused;
	for (int i = 0; i < N; i++)
		th_sim_pipe(r[i].fds);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < N && code == 0; i++) {
		const size_t bytes = sim_choose(3) ? (size_t)48 << 10 : 0;
		code = thrum_spawn_with(&s, &t[i], read_one_fx(&r[i]), THRUM_SPAWN_OPTS(.stack_bytes = bytes, .isolated = true));
		if (code == 0 && sim_choose(2))
			(void)thrum_yield();
		if (code == 0 && sim_choose(2))
			(void)thrum_call(write_one_fx(&r[i]));
		if (code < 0 || i == 0 || sim_choose(2))
			continue;
		thrum_task_cancel(&t[i - 1]);
		if (sim_choose(2))
			(void)thrum_join(&t[i - 1]);
	}
	thrum_scope_cancel(&s);
	code = thrum_scope_close(&s);
	TH_CHECK_EQ(sim_counts.alive, 0);
	for (int i = 0; i < N; i++) {
		TH_CHECK_EQ(thrum_close(r[i].fds[0]), 0);
		TH_CHECK_EQ(thrum_close(r[i].fds[1]), 0);
	}
	return code;
}
