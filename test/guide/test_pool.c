/* The guide's connection pool: a channel holds the free connections, acquire_release gives one to the item that runs and
 * takes it back when the item's scope closes, however it ends (M23, A8, Q2). */
#include "test/guide/guide.h"

enum { CONNS = 3, OPS = 10 };

struct pool {
	thrum_chan free;
	struct census in_use;
};
struct query {
	struct pool *pool;
	struct census *census;
	int code; /* what the query itself ends with */
	int conn; /* acquired */
	int result;
};

static int take_conn(struct query *q)
{
	int code = thrum_chan_recv(&q->pool->free, &q->conn);
	if (code == 0)
		census_enter(&q->pool->in_use);
	return code;
}
THRUM_FX(take_conn, struct query);

static int put_conn(struct query *q)
{
	(void)census_leave(&q->pool->in_use, 0);
	return thrum_chan_send(&q->pool->free, &q->conn);
}
THRUM_FX(put_conn, struct query);

static int run_query(struct query *q)
{
	census_enter(q->census);
	int code = thrum_acquire_release(take_conn_fx(q), put_conn_fx(q));
	if (code == 0)
		code = thrum_sleep(thrum_ms(100));
	if (code == 0 && (code = q->code) == 0)
		q->result = 1000 + q->conn;
	return census_leave(q->census, code);
}
THRUM_FX(run_query, struct query);

static void pool_open(struct pool *p)
{
	*p = (struct pool){ 0 };
	TH_CHECK_EQ(thrum_chan_init(&p->free, sizeof(int), CONNS), 0);
	for (int i = 0; i < CONNS; i++)
		TH_CHECK_EQ(thrum_chan_try_send(&p->free, &i), 0);
}

/* All connections are back, each once. */
static void pool_close(struct pool *p)
{
	int seen = 0, id;

	for (int i = 0; i < CONNS; i++) {
		TH_CHECK_EQ(thrum_chan_try_recv(&p->free, &id), 0);
		seen |= 1 << id;
	}
	TH_CHECK_EQ(seen, (1 << CONNS) - 1);
	TH_CHECK_EQ(thrum_chan_try_recv(&p->free, &id), -EAGAIN);
	TH_CHECK_EQ(p->in_use.x_alive, 0);
	thrum_chan_fini(&p->free);
}

GUIDE_TEST(guide_pool, three_connections_serve_ten_operations)
{
	struct census c = { 0 };
	struct query q[OPS];
	struct pool pool;
	thrum_time t0 = thrum_now();

	pool_open(&pool);
	for (int i = 0; i < OPS; i++)
		q[i] = (struct query){ .pool = &pool, .census = &c };
	TH_CHECK_EQ(thrum_for_each_par(q, OPS, run_query, OPS), 0);
	TH_CHECK_EQ(ms_since(t0), 400); /* 3 + 3 + 3 + 1 */
	for (int i = 0; i < OPS; i++)
		TH_CHECK_EQ(q[i].result, 1000 + q[i].conn);
	TH_CHECK_EQ(pool.in_use.x_alive_max, CONNS);
	TH_CHECK_EQ(pool.in_use.x_started, OPS);
	CHECK_CENSUS(&c, OPS, 0, 0);
	pool_close(&pool);
	return 0;
}

/* The first three queries fail at 100 ms: seven wait in the shielded acquire. They are given the connections that come
 * back, see the cancel and give them back in turn, so the pool is whole and no query of theirs ran. */
GUIDE_TEST(guide_pool, a_failing_query_gives_its_connection_back)
{
	struct census c = { 0 };
	struct query q[OPS];
	struct pool pool;
	thrum_time t0 = thrum_now();

	pool_open(&pool);
	for (int i = 0; i < OPS; i++)
		q[i] = (struct query){ .pool = &pool, .census = &c, .code = -EIO };
	TH_CHECK_EQ(thrum_for_each_par(q, OPS, run_query, OPS), -EIO);
	TH_CHECK_EQ(ms_since(t0), 100);
	for (int i = 0; i < OPS; i++)
		TH_CHECK_EQ(q[i].result, 0);
	TH_CHECK_EQ(c.x_finished, 0);
	TH_CHECK_EQ(c.x_alive, 0);
	TH_CHECK_EQ(pool.in_use.x_started, pool.in_use.x_finished);
	pool_close(&pool);
	return 0;
}

/* A timeout in the middle of a query is such an end, too: the timeout's scope gives the connection back (A8). */
GUIDE_TEST(guide_pool, a_timed_out_query_gives_its_connection_back_A8)
{
	struct census c = { 0 };
	struct pool pool;
	struct query q = { .pool = &pool, .census = &c };
	thrum_time t0 = thrum_now();

	pool_open(&pool);
	TH_CHECK_EQ(thrum_timeout(run_query_fx(&q), thrum_ms(30)), -ETIMEDOUT);
	TH_CHECK_EQ(ms_since(t0), 30);
	CHECK_CENSUS(&c, 0, 0, 1);
	pool_close(&pool);
	return 0;
}
