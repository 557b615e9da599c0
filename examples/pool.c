/* A pool of three connections under ten operations: a channel holds the free ones; acquire_release takes one and gives
 * it back when the item's scope closes, whether it succeeded, failed or was cancelled. */
#include <stdio.h>
#include <thrum.h>

enum { CONNS = 3, OPS = 10 };

struct query {
	thrum_chan *pool;
	int conn;
};
static int take(struct query *q) { return thrum_chan_recv(q->pool, &q->conn); }
static int give(struct query *q) { return thrum_chan_send(q->pool, &q->conn); }
THRUM_FX(take, struct query);
THRUM_FX(give, struct query);

static int query(struct query *q)
{
	int code = thrum_acquire_release(take_fx(q), give_fx(q));

	return code < 0 ? code : thrum_sleep(thrum_ms(100)); /* SELECT ... on q->conn */
}
THRUM_FX(query, struct query);

static int use_pool(thrum_chan *pool)
{
	struct query q[OPS];
	int free = 0, id;
	thrum_time start = thrum_now();

	for (int i = 0; i < CONNS; i++)
		if (thrum_chan_try_send(pool, &i) < 0)
			return -1;
	for (int i = 0; i < OPS; i++)
		q[i].pool = pool;
	int code = thrum_for_each_par(q, OPS, query, OPS); /* asks for ten at once; the pool allows three */
	int ms = (int)(thrum_time_sub(thrum_now(), start).ns / 1000000);
	while (thrum_chan_try_recv(pool, &id) == 0)
		free++;
	printf("completed %d operations in %d ms, %d connections are back\n", OPS, ms, free);
	return code;
}
THRUM_FX(use_pool, thrum_chan);

int main(void)
{
	thrum_chan pool;

	if (thrum_chan_init(&pool, sizeof(int), CONNS) < 0)
		return 1;
	int code = thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), use_pool_fx(&pool));
	thrum_chan_fini(&pool);
	return code != 0;
}
