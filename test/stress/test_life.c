/* test/stress/test_life.c: runtimes that open and close: nothing left behind, idle costs nothing, limits are errors and
 * not aborts, several at once. */
#include <dlfcn.h>
#include <pthread.h>
#include "stress.h"

static int work(void *unused)
{
	struct th_step a = { .ms = 0 }, b = { .ms = 0 };

	(void)unused;
	return thrum_zip_par(th_step_fx(&a), th_step_fx(&b), (thrum_fx){ th_nap_, &a.ms });
}

static void open_use_close(unsigned workers)
{
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = workers), &rt), 0);
	TH_CHECK_EQ(thrum_rt_run(rt, (thrum_fx){ work, NULL }), 0);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* --- nothing is left behind --- */

struct footprint {
	int fds, threads, mappings;
};
static struct footprint footprint(void)
{
	return (struct footprint){ count_entries("/proc/self/fd"), count_entries("/proc/self/task"), count_mappings() };
}

/* A joined thread leaves /proc/self/task a little later than pthread_join() returns. */
static void check_threads_gone(int before)
{
	for (int i = 0; i < 100000 && count_entries("/proc/self/task") > before; i++)
		sched_yield();
	TH_CHECK_EQ(count_entries("/proc/self/task"), before);
}

TH_TEST(life, opened_and_closed_two_hundred_times_leaves_nothing_X7)
{
	struct footprint before, after;
	size_t base;

	for (int i = 0; i < 10; i++) /* libc's arenas and caches of thread stacks */
		open_use_close(4);
	before = footprint();
	base = resident_bytes();
	for (int i = 0; i < 200; i++)
		open_use_close((unsigned)i % 4 + 1);
	check_threads_gone(before.threads);
	after = footprint();
	say("grown by", (long long)(resident_bytes() - base), "bytes");
	TH_CHECK_EQ(after.fds, before.fds);
	if (TH_SANITIZED)
		return;
	TH_CHECK(after.mappings <= before.mappings + 4);
	TH_CHECK((long long)(resident_bytes() - base) < 1 << 20);
}

TH_TEST(life, run_two_hundred_times_leaves_nothing_X7)
{
	struct footprint before, after;

	TH_CHECK_EQ(thrum_run(NULL, (thrum_fx){ work, NULL }), 0);
	before = footprint();
	for (int i = 0; i < 200; i++)
		TH_CHECK_EQ(thrum_run(NULL, (thrum_fx){ work, NULL }), 0);
	check_threads_gone(before.threads);
	after = footprint();
	TH_CHECK_EQ(after.fds, before.fds);
	if (!TH_SANITIZED)
		TH_CHECK(after.mappings <= before.mappings + 4);
}

/* --- idle --- */

/* The one real wait of these tests: a plain thread's 200 ms. */
TH_TEST(life, idle_runtime_uses_no_cpu)
{
	const struct timespec wait = { 0, 200000000 };
	int64_t before, used;
	thrum_rt *rt;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 4), &rt), 0);
	TH_CHECK_EQ(thrum_rt_run(rt, (thrum_fx){ work, NULL }), 0);
	before = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
	nanosleep(&wait, NULL);
	used = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - before;
	say("cpu", used / 1000, "us in 200 ms");
	TH_CHECK(used < 10000000); /* four spinning workers would burn 40 times as much */
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
}

/* --- several at once --- */

struct user {
	thrum_rt *rt, *other;
};
static int start_on_the_other(void *arg)
{
	struct user *u = arg;
	thrum_handle h;

	TH_CHECK(thrum_rt_self() == u->rt);
	TH_CHECK_EQ(thrum_rt_start(u->other, &h, (thrum_fx){ work, NULL }), 0);
	return thrum_handle_wait(&h); /* a fiber of one waits for an effect of the other */
}
static void *use_two(void *arg)
{
	struct user *u = arg;

	for (int i = 0; i < 100; i++)
		TH_CHECK_EQ(thrum_rt_run(u->rt, (thrum_fx){ start_on_the_other, u }), 0);
	return NULL;
}

TH_TEST(life, two_runtimes_at_once_call_each_other)
{
	struct user a, b;
	pthread_t ta, tb;
	thrum_rt *x, *y;

	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 2), &x), 0);
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.workers = 3), &y), 0);
	a = (struct user){ x, y };
	b = (struct user){ y, x };
	TH_CHECK_EQ(pthread_create(&ta, NULL, use_two, &a), 0);
	TH_CHECK_EQ(pthread_create(&tb, NULL, use_two, &b), 0);
	pthread_join(ta, NULL);
	pthread_join(tb, NULL);
	TH_CHECK_EQ(thrum_rt_close(x), 0);
	TH_CHECK_EQ(thrum_rt_run(y, (thrum_fx){ work, NULL }), 0);
	TH_CHECK_EQ(thrum_rt_close(y), 0);
}

static void *run_often(void *unused)
{
	for (int i = 0; i < 20; i++)
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2), (thrum_fx){ work, NULL }), 0);
	return unused;
}

TH_TEST(life, threads_run_runtimes_side_by_side)
{
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		TH_CHECK_EQ(pthread_create(&threads[i], NULL, run_often, NULL), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

/* --- no descriptors, no memory, no threads --- */

static int try_to_open(void)
{
	thrum_rt *rt = NULL;
	int r = thrum_rt_open(THRUM_OPTS(.workers = 4), &rt);

	TH_CHECK((r == 0) == (rt != NULL)); /* untouched on failure */
	if (r < 0)
		return r;
	r = thrum_rt_run(rt, (thrum_fx){ work, NULL });
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	return r;
}

/* How many descriptors it takes is its own business: raise the limit until it is enough. */
static void open_with_few_fds(void *unused)
{
	int fds = count_entries("/proc/self/fd"), threads = count_entries("/proc/self/task");
	int refused = 0, r = -1;
	struct rlimit limit, most;

	(void)unused;
	TH_CHECK_EQ(getrlimit(RLIMIT_NOFILE, &most), 0);
	for (rlim_t n = 3; n < 100 && r < 0; n++) {
		limit = most;
		limit.rlim_cur = n;
		TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &limit), 0);
		r = try_to_open();
		TH_CHECK_EQ(setrlimit(RLIMIT_NOFILE, &most), 0);
		TH_CHECK(r == 0 || r == -EMFILE || r == -ENOMEM);
		TH_CHECK_EQ(count_entries("/proc/self/fd"), fds);
		check_threads_gone(threads);
		refused += r < 0;
	}
	TH_CHECK_EQ(r, 0);
	TH_CHECK(refused > 0);
}

TH_TEST(life, no_descriptors_is_an_error_and_leaves_nothing)
{
	struct th_said said;

	TH_CHECK_CHILD_OK(th_child(open_with_few_fds, NULL, &said), &said);
}

#if !TH_SANITIZED
static void limit_address_space(size_t more)
{
	unsigned long pages = 0;
	struct rlimit limit;
	FILE *f = fopen("/proc/self/statm", "r");

	TH_CHECK(f && fscanf(f, "%lu", &pages) == 1);
	fclose(f);
	limit.rlim_cur = limit.rlim_max = (rlim_t)pages * 4096 + more;
	TH_CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
}

static void open_with_little_memory(void *more)
{
	int r;

	limit_address_space(*(size_t *)more);
	r = try_to_open();
	if (r != 0 && r != -ENOMEM && r != -EAGAIN)
		fprintf(stderr, "code %d\n", r);
	_exit(r == 0 ? 0 : r == -ENOMEM || r == -EAGAIN ? 1 : 2);
}

TH_TEST(life, little_address_space_is_ENOMEM_not_an_abort)
{
	int refused = 0, opened = 0;

	for (size_t more = 0; more < (size_t)512 << 20; more = more ? more * 2 : 64 * 1024) {
		struct th_said said;
		int status = th_child(open_with_little_memory, &more, &said);

		if (!WIFEXITED(status) || WEXITSTATUS(status) > 1)
			th_check_failed(__FILE__, __LINE__, "%zu more bytes: status %#x: %s", more, status, said.text);
		refused += WEXITSTATUS(status) == 1;
		opened += WEXITSTATUS(status) == 0;
	}
	TH_CHECK(refused > 0);
	TH_CHECK(opened > 0);
}

/* Children that get no stack fail with -ENOMEM, as any child may. */
static int park_until_no_memory(void *unused)
{
	thrum_scope s;
	int r = 0;

	(void)unused;
	limit_address_space((size_t)64 << 20);
	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 100000 && r == 0; i++)
		r = thrum_go(&s, thrum_never());
	if (r == 0)
		r = thrum_sleep(thrum_ms(1)); /* cancelled by the child that got none */
	TH_CHECK(r == -ENOMEM || r == -ECANCELED);
	thrum_scope_cancel(&s);
	r = thrum_scope_close(&s);
	TH_CHECK(r == -ENOMEM || r == 0);
	return 0;
}
static void run_until_no_memory(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(TH_RUN(JUMP, ((thrum_fx){ park_until_no_memory, NULL })), 0);
}

TH_TEST(life, fibers_without_memory_fail_with_ENOMEM)
{
	struct th_said said;

	TH_CHECK_CHILD_OK(th_child(run_until_no_memory, NULL, &said), &said);
}

/* Scopes inside one another until neither this stack nor memory for another is left: then -ENOMEM, and every finalizer has
 * run, though some of them have to be content with what the stack keeps for them. */
struct nest {
	int due, ran;
};
static int count_run(struct nest *n)
{
	n->ran++;
	return 0;
}
THRUM_FX(count_run, struct nest);

static int nest(struct nest *n);
THRUM_FX(nest, struct nest);

static int nest(struct nest *n)
{
	thrum_deferred d[2];
	thrum_scope s;
	int code, closed;

	TH_CHECK_EQ(thrum_scope_open(&s), 0);
	for (int i = 0; i < 2; i++, n->due++)
		TH_CHECK_EQ(thrum_defer(&s, &d[i], count_run_fx(n)), 0);
	code = thrum_or_else(nest_fx(n), thrum_fail(-ENOMEM));
	closed = thrum_scope_close(&s);
	return closed < 0 ? closed : code;
}

static int nest_without_memory(void *unused)
{
	struct nest n = { 0 };

	(void)unused;
	limit_address_space(0);
	TH_CHECK_EQ(nest(&n), -ENOMEM);
	TH_CHECK(n.due > 0);
	TH_CHECK_EQ(n.ran, n.due);
	return 0;
}
static void run_nested(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), (thrum_fx){ nest_without_memory, NULL }), 0);
}

TH_TEST(life, finalizers_run_though_there_is_no_stack_for_them_S3_A4)
{
	struct th_said said;

	TH_CHECK_CHILD_OK(th_child(run_nested, NULL, &said), &said);
}

/* Ours is found before libc's. RLIMIT_NPROC would not do: it does not bind root. */
static int threads_allowed = -1;

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*start)(void *), void *arg)
{
	int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
	void *symbol = dlsym(RTLD_NEXT, "pthread_create");

	memcpy(&real, &symbol, sizeof real);
	if (threads_allowed == 0)
		return EAGAIN;
	if (threads_allowed > 0)
		threads_allowed--;
	return real(thread, attr, start, arg);
}

TH_TEST(life, thread_that_cannot_be_created_midway_rolls_back) /* hazard 15 */
{
	struct footprint before;

	open_use_close(4);
	before = footprint();
	for (int allowed = 0; allowed < 4; allowed++) {
		threads_allowed = allowed;
		TH_CHECK_EQ(try_to_open(), -EAGAIN);
		threads_allowed = allowed;
		if (allowed < 3)
			TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 4), (thrum_fx){ work, NULL }), -EAGAIN);
		threads_allowed = -1;
		check_threads_gone(before.threads);
		TH_CHECK_EQ(footprint().fds, before.fds);
	}
	open_use_close(4);
}
#endif
