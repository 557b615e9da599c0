/* A test that replays from a seed, with nothing but the library: on one worker, on a clock that moves by itself, a shuffled runtime
 * draws what goes on next wherever a fiber may suspend. The bug: each access to the balance is guarded, and yet two customers may
 * look before one of them withdraws. replay/ finds it too, in a simulated world that sees more and makes small what it finds. */
#include <inttypes.h>
#include <stdio.h>
#include <thrum.h>

enum { SEEDS = 1000, PRICE = 60 };

struct account {
	thrum_mutex mutex;
	int balance;
	int (*withdraw)(struct account *a);
};

static int look_then_withdraw(struct account *a)
{
	int balance, code = thrum_mutex_lock(&a->mutex);

	if (code < 0)
		return code;
	balance = a->balance;
	(void)thrum_mutex_unlock(&a->mutex);
	if (balance < PRICE)
		return 0;
	code = thrum_mutex_lock(&a->mutex);
	if (code < 0)
		return code;
	a->balance -= PRICE;
	return thrum_mutex_unlock(&a->mutex);
}

static int look_and_withdraw(struct account *a)
{
	int code = thrum_mutex_lock(&a->mutex);

	if (code < 0)
		return code;
	if (a->balance >= PRICE)
		a->balance -= PRICE;
	return thrum_mutex_unlock(&a->mutex);
}

static int visit(struct account *a)
{
	return a->withdraw(a);
}
THRUM_FX(visit, struct account);

static int two_customers(struct account *a)
{
	a->balance = 100;
	(void)thrum_mutex_init(&a->mutex);
	return thrum_zip_par(visit_fx(a), visit_fx(a));
}
THRUM_FX(two_customers, struct account);

static int run(struct account *a, uint64_t seed)
{
	return thrum_run(THRUM_OPTS(.workers = 1, .clock = THRUM_CLOCK_JUMP, .shuffle = true, .seed = seed), two_customers_fx(a));
}

/* The first seed whose run goes wrong; 0: none does. */
static uint64_t search(struct account *a)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++)
		if (run(a, seed) < 0 || a->balance < 0)
			return seed;
	return 0;
}

int main(void)
{
	struct account first = { .withdraw = look_then_withdraw }, now = { .withdraw = look_and_withdraw };
	uint64_t seed = search(&first);

	if (seed == 0)
		return 1;
	printf("seed %" PRIu64 ": the balance is %d\n", seed, first.balance);
	if (run(&first, seed) < 0)
		return 1;
	printf("again: %d\n", first.balance);
	printf("under one lock: %s\n", search(&now) ? "it still happens" : "nothing in 1000 seeds");
	return 0;
}
