/* A ring of 2 entries, hence of 16 completions, and hundreds of cancels between two looks at it: what finds no room waits in the
 * kernel's list (hazard 48), and the ring itself runs full (hazard 46). Every operation ends once, with what belongs to it. */
#include "io_test.h"
#include <stdlib.h>

enum { PAIRS = 300, RING_ENTRIES = 2, TURNS_MAX = 1000000 };

struct one {
	int fds[2];
	uint32_t got;
	ssize_t res;
	unsigned ends;
	thrum_task task;
};

struct all {
	struct one a[PAIRS];
	unsigned ended;
};

static struct all *all;

static int receive(struct one *p)
{
	p->res = thrum_recv(p->fds[0], &p->got, sizeof p->got, 0);
	p->ends++;
	__atomic_add_fetch(&all->ended, 1, __ATOMIC_RELEASE);
	return 0;
}
THRUM_FX(receive, struct one);

static unsigned ended(void) { return __atomic_load_n(&all->ended, __ATOMIC_ACQUIRE); }

/* All receive, on this worker's ring. */
static void begin(thrum_scope *s)
{
	TH_CHECK_EQ(thrum_scope_open(s), 0);
	for (int i = 0; i < PAIRS; i++)
		TH_CHECK_EQ(thrum_spawn_with(s, &all->a[i].task, receive_fx(&all->a[i]), THRUM_SPAWN_OPTS(.worker = 1)), 0);
}

static void until_all_wait(uint64_t ops_before)
{
	until_ops(ops_before, PAIRS);
	let_backend_in(); /* and the kernel has got them all */
}

/* By a system call: this worker must not look at its ring meanwhile. */
static void send_to(int i)
{
	uint32_t number = (uint32_t)i * 77 + 1;

	TH_CHECK_EQ(send(all->a[i].fds[1], &number, sizeof number, 0), sizeof number);
}

static void check_received(const struct one *p, int i)
{
	TH_CHECK_EQ(p->res, sizeof p->got);
	TH_CHECK_EQ(p->got, (uint32_t)i * 77 + 1);
}

static uint64_t overflows(void)
{
	thrum_stats stats = { .size = sizeof stats };

	TH_CHECK_EQ(thrum_stats_read(NULL, &stats), 0);
	return stats.ring_overflows;
}

static void check_overflowed(uint64_t before)
{
	bool has_ring = strstr(thrum_rt_describe(NULL), "io_uring (");

	TH_CHECK_EQ(overflows() > before, has_ring);
	TH_CHECK_EQ(ended(), PAIRS);
	for (int i = 0; i < PAIRS; i++)
		TH_CHECK_EQ(all->a[i].ends, 1);
}

static void open_all(void)
{
	for (int i = 0; i < PAIRS; i++)
		open_pair(all->a[i].fds);
}

static void close_all(void)
{
	for (int i = 0; i < PAIRS; i++)
		close_both(all->a[i].fds);
}

/* With such rings. */
static void run_overflow(thrum_fx fx)
{
	int before = fd_count();
	thrum_rt *rt;
	thrum_handle h;

	all = calloc(1, sizeof *all);
	TH_CHECK(all);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.ring_entries = RING_ENTRIES), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, fx), 0);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(fd_count(), before);
	free(all);
}

/* The one that plays the test has to be on worker 1 as well. */
static int on_worker_1(int (*run)(void *))
{
	thrum_scope s;
	thrum_task t;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	TH_CHECK_EQ(thrum_spawn_with(&s, &t, (thrum_fx){ run, NULL }, THRUM_SPAWN_OPTS(.worker = 1)), 0);
	return thrum_scope_close(&s);
}

/* Half of them get something while the other half is cancelled. This fiber never lets the worker sleep, so nothing but the
 * kernel's flag has it ask for the rest. */
static int receive_all(void *unused)
{
	uint64_t before = overflows(), ops = ops_so_far();
	thrum_scope s;

	(void)unused;
	open_all();
	begin(&s);
	until_all_wait(ops);
	for (int i = 0; i < PAIRS; i++)
		if (i % 2 == 0)
			send_to(i);
		else
			thrum_task_cancel(&all->a[i].task);
	for (int turns = 0; ended() < PAIRS; turns++) {
		TH_CHECK_EQ(thrum_yield(), 0);
		TH_CHECK(turns < TURNS_MAX);
	}
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	check_overflowed(before);
	for (int i = 0; i < PAIRS; i++)
		if (i % 2 == 0)
			check_received(&all->a[i], i);
		else
			TH_CHECK_EQ(all->a[i].res, -ECANCELED);
	close_all();
	return 0;
}

static int receive_on_1(void *unused)
{
	(void)unused;
	return on_worker_1(receive_all);
}
THRUM_FX(receive_on_1, void);
TH_TEST(io_overflow, completions_that_find_no_room_come_all_the_same) { run_overflow(receive_on_1_fx(NULL)); }

/* Twice as many: of the operations and of the cancels. */
static int cancel_all(void *unused)
{
	uint64_t before = overflows(), ops = ops_so_far();
	thrum_scope s;

	(void)unused;
	open_all();
	begin(&s);
	until_all_wait(ops);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	check_overflowed(before);
	for (int i = 0; i < PAIRS; i++)
		TH_CHECK_EQ(all->a[i].res, -ECANCELED);
	close_all();
	return 0;
}

static int cancel_on_1(void *unused)
{
	(void)unused;
	return on_worker_1(cancel_all);
}
THRUM_FX(cancel_on_1, void);
TH_TEST(io_overflow, hundreds_cancelled_at_once_end_once) { run_overflow(cancel_on_1_fx(NULL)); }

/* Half of them have something when they are cancelled. Either they return it or it is still in the socket. */
static int cancel_and_receive(void *unused)
{
	uint64_t before = overflows(), ops = ops_so_far();
	thrum_scope s;

	(void)unused;
	open_all();
	begin(&s);
	until_all_wait(ops);
	for (int i = 0; i < PAIRS; i += 2)
		send_to(i);
	thrum_scope_cancel(&s);
	TH_CHECK_EQ(thrum_scope_close(&s), 0);
	check_overflowed(before);
	for (int i = 0; i < PAIRS; i++) {
		struct one *p = &all->a[i];

		if (p->res == -ECANCELED && i % 2 == 0)
			p->res = recv(p->fds[0], &p->got, sizeof p->got, MSG_DONTWAIT);
		if (i % 2 == 0)
			check_received(p, i);
		else
			TH_CHECK_EQ(p->res, -ECANCELED);
	}
	close_all();
	return 0;
}

static int cancel_and_receive_on_1(void *unused)
{
	(void)unused;
	return on_worker_1(cancel_and_receive);
}
THRUM_FX(cancel_and_receive_on_1, void);
TH_TEST(io_overflow, cancels_among_late_successes_lose_nothing_G3) { run_overflow(cancel_and_receive_on_1_fx(NULL)); }

TH_TEST(io_overflow, a_ring_has_its_limits)
{
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.ring_entries = 32769), &rt), -EINVAL);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 1, .ring_entries = 1), &rt), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 1, .ring_entries = 32768), &rt), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}
