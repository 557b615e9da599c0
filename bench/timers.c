/* bench/timers.c: what sleeping costs and how exact it is, what a parked fiber takes, and how long a cancel needs to reach a
 * receive in the kernel. One worker, but for the far cancel. */
#include "bench.h"
#include <errno.h>
#include <liburing.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LIVE = 10000, CYCLES = 200000, SLEEPERS = 10000, PERIOD_MS = 50, PERIODS = 20, PARKED = 100000, CANCELS = 5000, RAW_WAITS = 10000 };

/* --- start and cancel, while 10,000 others sleep --- */

static int sleep_long(void *unused)
{
	(void)unused;
	return thrum_sleep(thrum_sec(1000));
}

static int start_and_cancel(void *ret_ns)
{
	thrum_scope sleepers, s;
	double began;
	int r = thrum_scope_open(&sleepers);

	for (int i = 0; i < LIVE && r == 0; i++)
		r = thrum_go(&sleepers, (thrum_fx){ sleep_long, NULL });
	(void)thrum_yield();
	began = now_ns();
	if (r == 0)
		r = thrum_scope_open(&s);
	for (int i = 0; i < CYCLES && r == 0; i++)
		r = thrum_scope_deadline(&s, thrum_sec(500 + i % 100)); /* takes the timer away and arms it anew */
	*(double *)ret_ns = (now_ns() - began) / CYCLES;
	(void)thrum_scope_close(&s);
	thrum_scope_cancel(&sleepers);
	(void)thrum_scope_close(&sleepers);
	return r;
}

/* --- lateness: 200,000 a second --- */

static float late_us[SLEEPERS * PERIODS];
static thrum_time first_at; /* by then all have begun */

static int sleep_often(void *arg)
{
	float *late = arg;
	thrum_time at = first_at;
	int r = 0;

	at.ns += (late - late_us) / PERIODS * (PERIOD_MS * INT64_C(1000000) / SLEEPERS); /* spread over the period */
	for (int i = 0; i < PERIODS && r == 0; i++) {
		at.ns += PERIOD_MS * INT64_C(1000000);
		r = thrum_sleep_until(at);
		late[i] = (float)(thrum_now().ns - at.ns) / 1000;
	}
	return r;
}

static int all_sleep_often(void *unused)
{
	thrum_scope s;
	int r = thrum_scope_open(&s);

	(void)unused;
	first_at = (thrum_time){ thrum_now().ns + INT64_C(1000000000) };
	for (int i = 0; i < SLEEPERS && r == 0; i++)
		r = thrum_go(&s, (thrum_fx){ sleep_often, late_us + i * PERIODS });
	return r < 0 ? r : thrum_scope_close(&s);
}

static int by_size(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;
	return (x > y) - (x < y);
}

static void print_late(const char *what, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += (double)late_us[i];
	qsort(late_us, n, sizeof *late_us, by_size);
	printf("%-44s %10.1f us (p99 %.1f, most %.1f)\n", what, sum / (double)n, (double)late_us[n / 100 * 99], (double)late_us[n - 1]);
}

static void print_lateness(void)
{
	run_or_die(1, (thrum_fx){ all_sleep_often, NULL });
	print_late("lateness, 200,000 timers a second: mean", SLEEPERS * PERIODS);
}

/* The machine's share of it: a ring on which nothing is done but to wait for a time, 50 us ahead each. */
static void print_raw_lateness(void)
{
	const double gap = 50000;
	struct io_uring ring;
	double at = now_ns();

	if (io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) < 0)
		return;
	for (int i = 0; i < RAW_WAITS; i++) {
		struct __kernel_timespec in = { .tv_nsec = 0 };
		struct io_uring_cqe *none;
		double now = now_ns();

		at = at + gap > now ? at + gap : now + gap; /* not while one is late by more than that */
		in.tv_nsec = (long long)(at - now);
		(void)io_uring_submit_and_wait_timeout(&ring, &none, 1, &in, NULL);
		late_us[i] = (float)((now_ns() - at) / 1000);
	}
	io_uring_queue_exit(&ring);
	print_late("lateness, a raw ring that only waits: mean", RAW_WAITS);
}

/* --- parked fibers --- */

static double memory_kb(void)
{
	char line[128];
	FILE *f = fopen("/proc/self/status", "r");
	double sum = 0, kb;

	while (f && fgets(line, sizeof line, f))
		if (sscanf(line, "VmRSS: %lf", &kb) == 1 || sscanf(line, "VmPTE: %lf", &kb) == 1)
			sum += kb;
	if (f)
		fclose(f);
	return sum;
}

static size_t started;

static int park(void *unused)
{
	(void)unused;
	started++;
	return thrum_sleep(thrum_sec(1000));
}

static int park_many(void *arg)
{
	size_t n = *(size_t *)arg;
	thrum_scope s;
	double before = memory_kb(), began = now_ns(), parked;
	int r = thrum_scope_open(&s);

	for (size_t i = 0; i < n && r == 0; i++) {
		r = thrum_go(&s, (thrum_fx){ park, NULL });
		while (started <= i && r == 0)
			r = thrum_yield();
	}
	parked = now_ns() - began;
	printf("%zu parked fibers: %.0f bytes each with page tables, %.0f ns to start, ", n,
	       (memory_kb() - before) * 1024 / (double)n, parked / (double)n);
	began = now_ns();
	thrum_scope_cancel(&s);
	(void)thrum_scope_close(&s);
	printf("%.0f ns to cancel\n", (now_ns() - began) / (double)n);
	return r;
}

/* --- cancel of a receive in the kernel --- */

struct receive {
	int fd;
	volatile double cancelled_at, ended_at;
};

static int receive(void *arg)
{
	struct receive *x = arg;
	char c;
	int r = (int)thrum_recv(x->fd, &c, 1, 0);

	x->ended_at = now_ns();
	return r == -ECANCELED ? 0 : r;
}

/* Its own worker: the canceller suspends after the cancel. Another: the canceller has the other worker to itself. */
static int cancel_receives(void *arg)
{
	bool far = thrum_workers() > 1;
	double sum = 0;
	int ended = 0;
	int fds[2], r = socketpair(AF_UNIX, SOCK_STREAM, 0, fds);

	for (int i = 0; i < CANCELS && r == 0; i++) {
		struct receive x = { .fd = fds[0] };
		thrum_scope s;
		thrum_task t;
		r = thrum_scope_open(&s);
		if (r == 0)
			r = thrum_spawn_with(&s, &t, (thrum_fx){ receive, &x }, THRUM_SPAWN_OPTS(.worker = far ? 2 : 1));
		r = r < 0 ? r : thrum_sleep(thrum_us(100)); /* it is in the kernel by then */
		x.cancelled_at = now_ns();
		thrum_scope_cancel(&s);
		(void)thrum_scope_close(&s);
		if (x.ended_at > 0) { /* else it had not begun */
			sum += x.ended_at - x.cancelled_at;
			ended++;
		}
	}
	close(fds[0]);
	close(fds[1]);
	*(double *)arg = sum / ended;
	return r;
}

static void print(const char *what, unsigned workers, int (*run)(void *))
{
	double ns;

	run_or_die(workers, (thrum_fx){ run, &ns });
	printf("%-44s %10.1f ns\n", what, ns);
}

int main(int argc, char **argv)
{
	size_t parked = argc > 1 ? strtoul(argv[1], NULL, 10) : PARKED;

	print("deadline moved, 10,000 asleep", 1, start_and_cancel);
	print("cancel of a receive until it has ended, near", 1, cancel_receives);
	print("the same, on another worker", 2, cancel_receives);
	print_lateness();
	print_raw_lateness();
	run_or_die(1, (thrum_fx){ park_many, &parked });
	return 0;
}
