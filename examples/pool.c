/* Ten queries over at most three connections. The pool makes a connection when somebody needs one and none is free,
 * lends it to one query at a time, and gets it back whether the query succeeded, failed or was cancelled. The fifth
 * to be served finds its connection broken and says so: that one is closed and another is made in its place. */
#include <errno.h>
#include <stdio.h>
#include <thrum.h>

enum { CONNS = 3, OPS = 10 };

struct conn {
	bool open;
	int queries;
};
struct database {
	struct conn conns[OPS];
	int opened, closed;
};

/* Called without locks, and by several fibers at once: so they connect at the same time. */
static int conn_open(void *ctx, void **ret)
{
	struct database *db = ctx;
	int code = thrum_sleep(thrum_ms(50)); /* connect, shake hands, log in */

	if (code < 0)
		return code;
	struct conn *c = &db->conns[__atomic_fetch_add(&db->opened, 1, __ATOMIC_RELAXED)];
	c->open = true;
	*ret = c;
	return 0;
}

static void conn_close(void *ctx, void *res)
{
	struct database *db = ctx;

	((struct conn *)res)->open = false;
	__atomic_fetch_add(&db->closed, 1, __ATOMIC_RELAXED);
}

struct query {
	thrum_pool *pool;
	int *served; /* queries that have had a connection */
};

static int ask(void *res, void *arg)
{
	struct query *q = arg;
	struct conn *c = res;

	c->queries++;
	if (__atomic_add_fetch(q->served, 1, __ATOMIC_RELAXED) == 5) /* the server has hung up */
		return thrum_pool_invalidate(q->pool, c);
	return c->open ? thrum_sleep(thrum_ms(100)) : -EIO; /* SELECT ... */
}
static int query(struct query *q) { return thrum_pool_use(q->pool, ask, q); }
THRUM_FX(query, struct query);

static int example(void *unused)
{
	struct database db = { .opened = 0 };
	struct query q[OPS];
	int served = 0;
	thrum_time start = thrum_now();
	thrum_pool pool;
	int code = thrum_pool_init(&pool, THRUM_POOL_OPTS(.create = conn_open, .destroy = conn_close, .ctx = &db,
							  .max = CONNS, .idle = thrum_min(5)));

	(void)unused;
	if (code < 0)
		return code;
	for (int i = 0; i < OPS; i++)
		q[i] = (struct query){ &pool, &served };
	code = thrum_for_each_par(q, OPS, query, OPS); /* all ten at once; the pool allows three */
	printf("%d operations in %lld ms\n", OPS, (long long)(thrum_time_sub(thrum_now(), start).ns / 1000000));
	(void)thrum_pool_close(&pool);
	printf("%d connections were opened, %d closed\n", db.opened, db.closed);
	return code;
}

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), (thrum_fx){ example, NULL }) != 0;
}
