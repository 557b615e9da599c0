/* test/fuzz/fuzz_script.c: any program, under any schedule. Of the bytes the first ones are choices of the simulation, the others a
 * tree of effects: sleeps, failures, zips, races, timeouts, scopes with children, resources, cancels. Whatever the tree: it comes
 * to an end, each effect that began has ended, each resource is released once, nothing is left, and the same bytes make the same
 * run. */
#include "fuzz.h"
#include "io/sim/sim.h"
#include <errno.h>
#include <string.h>
#include <thrum.h>

enum { NODES = 48, KIDS = 3, PICKS = 16, CODE = -1000 };

enum op { RETURN, FAIL, SLEEP, YIELD, ZIP, RACE, TIMEOUT, SCOPE, CANCEL_SCOPE, ACQUIRE, SHIELD, RETRY, LOCK, OPS };

struct node {
	enum op op;
	unsigned arg, n;
	struct node *kid[KIDS];
};

static struct {
	struct node node[NODES];
	unsigned nodes;
	int alive, started, held;
	thrum_mutex mutex;
	int inside;
} script;

static void add(int *count, int n)
{
	__atomic_add_fetch(count, n, __ATOMIC_RELAXED);
}

/* --- reading --- */

static struct node *read_node(struct fuzz_bytes *b, unsigned depth)
{
	static const unsigned kids[OPS] = { [ZIP] = 3, [RACE] = 3, [TIMEOUT] = 1, [SCOPE] = 3, [CANCEL_SCOPE] = 3, [ACQUIRE] = 1,
					    [SHIELD] = 1, [RETRY] = 1, [LOCK] = 1 };
	struct node *n = script.nodes < NODES ? &script.node[script.nodes++] : NULL;

	if (!n)
		return NULL;
	*n = (struct node){ .op = (enum op)(fuzz_byte(b) % OPS) };
	n->arg = fuzz_byte(b);
	for (unsigned i = 0; i < kids[n->op] && depth < 6 && b->left > 0; i++) {
		n->kid[n->n] = read_node(b, depth + 1);
		n->n += n->kid[n->n] != NULL;
	}
	return n;
}

static size_t read_picks(struct fuzz_bytes *b, struct th_sim_pick picks[PICKS])
{
	size_t n = fuzz_byte(b) % PICKS;
	uint64_t step = 0;

	for (size_t i = 0; i < n; i++) {
		step += 1 + fuzz_byte(b);
		picks[i] = (struct th_sim_pick){ step, 1 + fuzz_byte(b) % 4, (enum th_sim_stream)(fuzz_byte(b) % 3) };
	}
	return n;
}

/* --- running --- */

static int run_node(struct node *n);
THRUM_FX(run_node, struct node);

static size_t kids_of(struct node *n, thrum_fx fx[KIDS])
{
	for (unsigned i = 0; i < n->n; i++)
		fx[i] = run_node_fx(n->kid[i]);
	return n->n;
}

static int run_scope(struct node *n)
{
	thrum_scope s;
	thrum_task t[KIDS];
	thrum_fx fx[KIDS];
	size_t kids = kids_of(n, fx);
	int code = thrum_scope_open(&s), joined;

	if (code < 0)
		return code;
	for (size_t i = 0; i < kids && code == 0; i++)
		code = thrum_spawn(&s, &t[i], fx[i]);
	if (n->op == CANCEL_SCOPE)
		thrum_scope_cancel(&s);
	else if (code == 0 && kids > 0 && n->arg & 1) {
		joined = thrum_join(&t[n->arg / 2 % kids]);
		TH_CHECK(joined <= 0);
	}
	return thrum_scope_close(&s);
}

static int acquire(struct node *n)
{
	add(&script.held, 1);
	if (n->arg & 1)
		(void)thrum_sleep(thrum_ns(TH_SIM_TICK_NS));
	return 0;
}
THRUM_FX(acquire, struct node);

static int release(struct node *n)
{
	if (n->arg & 2)
		TH_CHECK_EQ(thrum_sleep(thrum_ns(TH_SIM_TICK_NS)), 0); /* shielded */
	add(&script.held, -1);
	return 0;
}
THRUM_FX(release, struct node);

static int use(struct node *n)
{
	return n->n ? run_node(n->kid[0]) : 0;
}
THRUM_FX(use, struct node);

static int lock_and_use(struct node *n)
{
	int code = thrum_mutex_lock(&script.mutex);

	if (code < 0)
		return code;
	TH_CHECK_EQ(__atomic_fetch_add(&script.inside, 1, __ATOMIC_RELAXED), 0);
	(void)thrum_sleep(thrum_ns((int64_t)(n->arg % 3) * TH_SIM_TICK_NS));
	TH_CHECK_EQ(__atomic_fetch_sub(&script.inside, 1, __ATOMIC_RELAXED), 1);
	TH_CHECK_EQ(thrum_mutex_unlock(&script.mutex), 0);
	return use(n);
}

static int retry(struct node *n)
{
	thrum_schedule twice = thrum_recurs(n->arg % 3);

	return thrum_retry(use_fx(n), &twice);
}

static int run_op(struct node *n)
{
	thrum_fx fx[KIDS];
	size_t kids = kids_of(n, fx);

	switch (n->op) {
	case FAIL:
		return CODE - (int)n->arg;
	case SLEEP:
		return thrum_sleep(thrum_ns((int64_t)(n->arg % 8) * TH_SIM_TICK_NS));
	case YIELD:
		return thrum_yield();
	case ZIP:
		return thrum_zip_par_n(fx, kids);
	case RACE:
		return kids ? thrum_race_n(fx, kids) : 0;
	case TIMEOUT:
		return thrum_timeout(use_fx(n), thrum_ns((int64_t)(n->arg % 8) * TH_SIM_TICK_NS));
	case SCOPE:
	case CANCEL_SCOPE:
		return run_scope(n);
	case ACQUIRE:
		return thrum_bracket(acquire_fx(n), use_fx(n), release_fx(n));
	case SHIELD:
		return thrum_shield(use_fx(n));
	case RETRY:
		return retry(n);
	case LOCK:
		return lock_and_use(n);
	default:
		return 0;
	}
}

static bool may_be(int code)
{
	return code >= 0 || code == -ECANCELED || code == -ETIMEDOUT || (code <= CODE && code > CODE - 256);
}

static int run_node(struct node *n)
{
	int code;

	add(&script.alive, 1);
	add(&script.started, 1);
	code = run_op(n);
	TH_CHECK(may_be(code));
	add(&script.alive, -1);
	return code < 0 ? code : 0;
}

static struct th_sim_report play(const uint8_t *data, size_t size, int *ret_code)
{
	struct th_sim_pick picks[PICKS];
	struct fuzz_bytes b = { data, size };
	unsigned workers = 1 + fuzz_byte(&b) % 3;
	size_t n = read_picks(&b, picks);
	struct th_sim_report r;
	struct node *root;

	memset(&script, 0, sizeof script);
	TH_CHECK_EQ(thrum_mutex_init(&script.mutex), 0);
	root = read_node(&b, 0);
	th_sim_begin(&(struct th_sim_opts){ .search = TH_SIM_GIVEN, .picks = picks, .n_picks = n });
	*ret_code = thrum_run(THRUM_OPTS(.workers = workers), run_node_fx(root));
	th_sim_end(&r);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int code, again;
	struct th_sim_report r = play(data, size, &code), second;

	TH_CHECK_EQ(script.alive, 0);
	TH_CHECK_EQ(script.held, 0);
	TH_CHECK_EQ(r.ops_left, 0);
	TH_CHECK_EQ(r.fds_left, 0);
	TH_CHECK_EQ(r.allocs_left, 0);
	if (size % 8)
		return 0;
	second = play(data, size, &again);
	TH_CHECK_EQ(code, again);
	TH_CHECK_EQ(r.fingerprint, second.fingerprint);
	return 0;
}
