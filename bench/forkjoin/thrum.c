/* bench/forkjoin/thrum.c: the workloads on thrum, by its public calls only. Fork and join is thrum_zip_par(): in `fib` of
 * effects that the compiler sees through, in `fib-generic` of effects whose function it does not know. `fib-calls` is the
 * same program without thrum_zip_par(), one effect called after the other: what is left of `fib` is the fork. */
#include "common.h"
#include <thrum.h>

static void must(int code)
{
	if (code < 0) {
		fprintf(stderr, "thrum: %s\n", thrum_strerror(code));
		exit(1);
	}
}

/* --- fib --- */

struct fib {
	int n;
	long r;
};
static int fib(struct fib *f);
THRUM_FX(fib, struct fib);
static int fib(struct fib *f)
{
	struct fib a = { f->n - 1, 0 }, b = { f->n - 2, 0 };
	int code;

	if (f->n < 2) {
		f->r = f->n;
		return 0;
	}
	code = thrum_zip_par(fib_fx(&a), fib_fx(&b));
	f->r = a.r + b.r;
	return code;
}
static double run_fib(int n)
{
	struct fib f = { n, 0 };

	must(fib(&f));
	return (double)f.r;
}

/* The compiler would unfold this one several levels deep, as it does the serial program: a fork it cannot look through. */
__attribute__((noinline)) static int fib_calls(struct fib *f)
{
	struct fib a = { f->n - 1, 0 }, b = { f->n - 2, 0 };
	int code;

	if (f->n < 2) {
		f->r = f->n;
		return 0;
	}
	code = fib_calls(&a);
	__asm__ volatile("" ::: "memory"); /* nor move anything over it */
	if (code >= 0)
		code = fib_calls(&b);
	f->r = a.r + b.r;
	return code;
}
static double run_calls(int n)
{
	struct fib f = { n, 0 };

	must(fib_calls(&f));
	return (double)f.r;
}

static int generic(void *arg);
static int (*volatile unknown)(void *) = generic; /* may be any function, for all that the compiler knows */
static int generic(void *arg)
{
	struct fib *f = arg, a = { f->n - 1, 0 }, b = { f->n - 2, 0 };
	int (*run)(void *);
	int code;

	if (f->n < 2) {
		f->r = f->n;
		return 0;
	}
	run = unknown;
	code = thrum_zip_par(((thrum_fx){ run, &a }), ((thrum_fx){ run, &b }));
	f->r = a.r + b.r;
	return code;
}
static double run_generic(int n)
{
	struct fib f = { n, 0 };

	must(generic(&f));
	return (double)f.r;
}

/* --- trees with many children a node --- */

struct sky {
	long first, leaves, sum;
};
static int sky(struct sky *s);
THRUM_FX(sky, struct sky);
static int sky(struct sky *s)
{
	struct sky kids[10];
	thrum_fx fx[10];
	int code;

	if (s->leaves == 1) {
		s->sum = s->first;
		return 0;
	}
	for (int i = 0; i < 10; i++) {
		kids[i] = (struct sky){ s->first + i * (s->leaves / 10), s->leaves / 10, 0 };
		fx[i] = sky_fx(&kids[i]);
	}
	code = thrum_zip_par_n(fx, 10);
	for (int i = 0; i < 10; i++)
		s->sum += kids[i].sum;
	return code;
}
static double run_skynet(int levels)
{
	struct sky s = { 0, lround(pow(10, levels)), 0 };

	must(sky(&s));
	return (double)s.sum;
}

struct queens {
	struct board board;
	int n, rows;
	long found;
};
static int queens(struct queens *q);
THRUM_FX(queens, struct queens);
static int queens(struct queens *q)
{
	struct queens kids[QUEENS_MAX];
	thrum_fx fx[QUEENS_MAX];
	size_t n = 0;
	int code;

	if (q->rows == 0) {
		q->found = 1;
		return 0;
	}
	for (uint32_t rest = board_free(q->board, q->n); rest; rest &= rest - 1) {
		kids[n] = (struct queens){ board_put(q->board, rest & -rest), q->n, q->rows - 1, 0 };
		fx[n] = queens_fx(&kids[n]);
		n++;
	}
	if (n == 0)
		return 0;
	code = thrum_zip_par_n(fx, n);
	for (size_t i = 0; i < n; i++)
		q->found += kids[i].found;
	return code;
}
static double run_queens(int n)
{
	struct queens q = { { 0, 0, 0 }, n, n, 0 };

	must(queens(&q));
	return (double)q.found;
}

struct geo {
	uint64_t parent;
	unsigned child;
	int levels;
	long found;
};
static int geo(struct geo *g);
THRUM_FX(geo, struct geo);
static int geo(struct geo *g)
{
	uint64_t node = uts_child(g->parent, g->child);
	unsigned n = uts_geo_children(node, g->levels);
	struct geo kids[UTS_GEO_MAX];
	thrum_fx fx[UTS_GEO_MAX];
	int code;

	g->found = 1;
	if (n == 0)
		return 0;
	for (unsigned i = 0; i < n; i++) {
		kids[i] = (struct geo){ node, i, g->levels - 1, 0 };
		fx[i] = geo_fx(&kids[i]);
	}
	code = thrum_zip_par_n(fx, n);
	for (unsigned i = 0; i < n; i++)
		g->found += kids[i].found;
	return code;
}
static double run_geo(int levels)
{
	struct geo g = { UTS_GEO_SEED, 0, levels, 0 };

	must(geo(&g));
	return (double)g.found;
}

struct bin {
	uint64_t parent;
	unsigned child;
	long found;
};
static int bin(struct bin *b);
THRUM_FX(bin, struct bin);

static int bin_children(uint64_t node, struct bin *kids, thrum_fx *fx, unsigned n, long *ret_found)
{
	int code;

	for (unsigned i = 0; i < n; i++) {
		kids[i] = (struct bin){ node, i, 0 };
		fx[i] = bin_fx(&kids[i]);
	}
	code = thrum_zip_par_n(fx, n);
	*ret_found = 1;
	for (unsigned i = 0; i < n; i++)
		*ret_found += kids[i].found;
	return code;
}
static int bin(struct bin *b)
{
	uint64_t node = uts_child(b->parent, b->child);
	unsigned n = uts_bin_children(node);
	struct bin kids[UTS_BIN_MAX];
	thrum_fx fx[UTS_BIN_MAX];

	b->found = 1;
	return n == 0 ? 0 : bin_children(node, kids, fx, n, &b->found);
}
static double run_bin(int children)
{
	static struct bin kids[UTS_BIN_ROOT_MAX];
	static thrum_fx fx[UTS_BIN_ROOT_MAX];
	long found;

	must(bin_children(UTS_BIN_SEED, kids, fx, (unsigned)children, &found));
	return (double)found;
}

/* --- integrate --- */

struct part {
	double x1, y1, x2, y2, area, error; /* area: the result, too */
};
static int integrate(struct part *p);
THRUM_FX(integrate, struct part);
static int integrate(struct part *p)
{
	double half = (p->x2 - p->x1) / 2, x0 = p->x1 + half, y0 = curve(x0);
	struct part left = { p->x1, p->y1, x0, y0, (p->y1 + y0) / 2 * half, p->error };
	struct part right = { x0, y0, p->x2, p->y2, (y0 + p->y2) / 2 * half, p->error };
	int code = 0;

	if (fabs(left.area + right.area - p->area) >= p->error)
		code = thrum_zip_par(integrate_fx(&left), integrate_fx(&right));
	p->area = left.area + right.area;
	return code;
}
static double run_integrate(int digits)
{
	struct part all = { 0, curve(0), INTEGRATE_TO, curve(INTEGRATE_TO), 0, pow(10, -digits) };

	must(integrate(&all));
	return all.area;
}

/* --- loops --- */

static int scramble_item(uint32_t *x)
{
	*x = scramble(*x);
	return 0;
}
THRUM_FX(scramble_item, uint32_t);
static double run_loop(int n)
{
	uint32_t *items = loop_items(n);

	must(thrum_for_each_par(items, (size_t)n, scramble_item, THRUM_UNBOUNDED));
	return loop_sum(items, n);
}

#ifdef THRUM_HAS_PARALLEL_FOR
static int scramble_range(size_t begin, size_t end, void *arg)
{
	uint32_t *items = arg;

	for (size_t i = begin; i < end; i++)
		items[i] = scramble(items[i]);
	return 0;
}
static double run_loop_range(int n)
{
	uint32_t *items = loop_items(n);

	must(thrum_parallel_for((size_t)n, scramble_range, items));
	return loop_sum(items, n);
}
#endif

static int busy_item(int *done)
{
	*done = busy();
	return 0;
}
THRUM_FX(busy_item, int);
static double run_coarse(int n)
{
	int done[64] = { 0 }, sum = 0;

	must(thrum_for_each_par(done, (size_t)n, busy_item, THRUM_UNBOUNDED));
	for (int i = 0; i < n; i++)
		sum += done[i];
	return sum;
}

/* --- what only thrum is asked: joins nested a million deep, and the peace after the last work --- */

static int deep(int *left);
THRUM_FX(deep, int);
static int deep(int *left)
{
	int next = *left - 1;

	return *left == 0 ? 0 : thrum_zip_par(thrum_succeed(), deep_fx(&next));
}
static double run_depth(int n)
{
	int left = n;

	must(deep(&left));
	return n;
}

/* What zip_par spares: children with a record each, of one scope. */
static double run_spawn(int n)
{
	thrum_scope s;
	thrum_task t;
	int ran = 0;

	must(thrum_scope_open(&s));
	for (; ran < n; ran++) {
		must(thrum_spawn(&s, &t, thrum_succeed()));
		must(thrum_join(&t));
	}
	must(thrum_scope_close(&s));
	return ran;
}

static int64_t process_cpu_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}
/* The CPU that the process takes in 100 ms, from 1 ms after the last work. This thread sleeps by the kernel's own call, so
 * what is counted is the other workers'. */
static double run_idle(int n)
{
	const struct timespec settle = { 0, 1000000 }, watch = { 0, 100000000 };
	int64_t used, began = now_ns();

	(void)run_fib(n);
	nanosleep(&settle, NULL);
	used = process_cpu_ns();
	nanosleep(&watch, NULL);
	used = process_cpu_ns() - used;
	untimed_ns = now_ns() - began - used;
	return n;
}

static int root(struct plan *p)
{
	plan_run(p);
	return 0;
}
THRUM_FX(root, struct plan);

int main(int argc, char **argv)
{
	static const struct workload all[] = {
		{ "fib", run_fib },
		{ "fib-generic", run_generic },
		{ "fib-calls", run_calls },
		{ "skynet", run_skynet },
		{ "nqueens", run_queens },
		{ "integrate", run_integrate },
		{ "uts-geo", run_geo },
		{ "uts-bin", run_bin },
		{ "loop", run_loop },
#ifdef THRUM_HAS_PARALLEL_FOR
		{ "loop-range", run_loop_range },
#endif
		{ "coarse", run_coarse },
		{ "depth", run_depth },
		{ "idle", run_idle },
		{ "spawn", run_spawn },
	};
	struct plan p = plan_of(argc, argv, all, sizeof all / sizeof *all);

	must(thrum_run(THRUM_OPTS(.workers = (unsigned)p.workers), root_fx(&p)));
	plan_print(&p);
	return 0;
}
