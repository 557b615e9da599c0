/* examples/replay: a bug that comes once in a while, found, replayed and made small. The page beside this file tells the story.
 *
 *   replay          search the bank as it was first written, then as it is now
 *   replay first    only that; its run that fails is shown */
#include "bank.h"
#include <stdio.h>
#include <string.h>
#include <thrum/test.h>

enum { CUSTOMERS = 3 };

struct day {
	struct bank bank;
	int (*withdraw)(struct bank *b, int amount);
	int paid[CUSTOMERS];
};

struct customer {
	struct day *day;
	int number;
};

static int visit(struct customer *c)
{
	int code = c->day->withdraw(&c->day->bank, 60);

	if (code == 0)
		c->day->paid[c->number] = 60;
	return code == BANK_TOO_LITTLE ? 0 : code;
}
THRUM_FX(visit, struct customer);

/* Three customers at once, and 100 on the account: one of them gets his 60. */
static int a_day(struct day *d)
{
	struct customer customers[CUSTOMERS];
	int code, paid = 0;

	bank_open(&d->bank, 100);
	memset(d->paid, 0, sizeof d->paid);
	for (int i = 0; i < CUSTOMERS; i++)
		customers[i] = (struct customer){ d, i };
	code = thrum_for_each_par(customers, CUSTOMERS, visit, THRUM_UNBOUNDED);
	for (int i = 0; i < CUSTOMERS; i++)
		paid += d->paid[i];
	thrum_test_note("paid %d, balance %d", paid, d->bank.balance);
	THRUM_TEST_CHECK(d->bank.balance >= 0);
	THRUM_TEST_CHECK(paid + d->bank.balance == 100);
	return code;
}
THRUM_FX(a_day, struct day);

int main(int argc, char **argv)
{
	struct day first = { .withdraw = bank_withdraw_first }, now = { .withdraw = bank_withdraw };
	bool shown = argc > 1 && strcmp(argv[1], "first") == 0;
	thrum_test_report r;

	if (thrum_test_search(a_day_fx(&first), THRUM_TEST_OPTS(.name = "first", .quiet = !shown), &r) != 1)
		return 1;
	printf("as first written: %s\n", r.what);
	if (shown)
		return 0;
	if (thrum_test_search(a_day_fx(&now), THRUM_TEST_OPTS(.name = "now"), &r) != 0)
		return 1;
	printf("as it is now: nothing found by a search,\n");
	if (thrum_test_sweep_cancel(a_day_fx(&now), THRUM_TEST_OPTS(.name = "now-cancelled", .runs = 3), &r) != 0)
		return 1;
	printf("nor with a cancel at every place where one can come\n");
	return 0;
}
