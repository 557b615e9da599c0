/* sched/sim/oracle.c: who owes a release: books that are kept apart from what the library itself knows.
 *
 *   debt   ──acquired──► OWED ──registered──► REGISTERED ──taken──► RUNNING ──ran──► paid
 *                         │                   (or at once)  │
 *                         └──────released──► paid           └──withdrawn──► gone
 *
 * A run fails where the books do not agree: a release that is not the last one registered with its scope, that runs twice, or
 * that nobody owes; a scope or a child that ends with one left. What is left at the end of the run is in its report.
 * The books are one thread's, and ThreadSanitizer, to which fibers are threads, is told so: realloc() and memmove() would be seen. */
#include "oracle.h"
#include "../../core/assert.h"
#include "../../core/oracle.h"
#include "../../core/tsan.h"
#include <stdlib.h>
#undef realloc /* not one of the library's (sched/sim/memory.h) */

enum state { OWED, REGISTERED, RUNNING };

struct debt {
	const void *key;           /* until it is taken */
	const struct th_node *n;   /* that it is registered with */
	thrum_fx release;          /* once it is taken */
	enum state state;
};

static struct {
	struct debt *debts;        /* oldest first; the memory stays from run to run */
	size_t n, room;
} books;

static struct debt *add(const struct debt *d)
{
	if (books.n == books.room) {
		books.room = books.room ? 2 * books.room : 64;
		books.debts = realloc(books.debts, books.room * sizeof *books.debts);
		if (!books.debts)
			th_abort(__FILE__, __LINE__, "no memory for the oracle");
	}
	books.debts[books.n] = *d;
	return &books.debts[books.n++];
}

static void remove_debt(struct debt *d)
{
	struct debt *end = books.debts + books.n;

	for (; d + 1 < end; d++)
		d[0] = d[1];
	books.n--;
}

/* The youngest that is known by `key`; NULL: none. */
static struct debt *find(const void *key)
{
	for (size_t i = books.n; i-- > 0;)
		if (books.debts[i].key == key && books.debts[i].state != RUNNING)
			return &books.debts[i];
	return NULL;
}

static void acquired(const void *key)
{
	if (find(key))
		th_abort(__FILE__, __LINE__, "an acquire is made in the place of another one that is not released");
	(void)add(&(struct debt){ .key = key, .state = OWED });
}

static void registered(const void *key, const struct th_node *n)
{
	struct debt *d = find(key);

	if (d && d->state == REGISTERED)
		th_abort(__FILE__, __LINE__, "a finalizer is registered twice");
	if (d)
		remove_debt(d);
	(void)add(&(struct debt){ .key = key, .n = n, .state = REGISTERED });
}

static void withdrawn(const void *key)
{
	struct debt *d = find(key);

	if (!d)
		th_abort(__FILE__, __LINE__, "a finalizer is withdrawn that is not registered");
	remove_debt(d);
}

static struct debt *last_registered(const struct th_node *n)
{
	for (size_t i = books.n; i-- > 0;)
		if (books.debts[i].n == n && books.debts[i].state == REGISTERED)
			return &books.debts[i];
	return NULL;
}

static void taken(const void *key, const struct th_node *n, thrum_fx release)
{
	struct debt *d = last_registered(n);

	if (!d || d->key != key)
		th_abort(__FILE__, __LINE__, "a release is run that is not the last one registered with its scope (A4)");
	*d = (struct debt){ .n = n, .release = release, .state = RUNNING };
}

static void ran(const struct th_node *n, thrum_fx release)
{
	for (size_t i = books.n; i-- > 0;) {
		struct debt *d = &books.debts[i];
		if (d->n != n || d->state != RUNNING || d->release.run != release.run || d->release.arg != release.arg)
			continue;
		remove_debt(d);
		return;
	}
	th_abort(__FILE__, __LINE__, "a release has run that nobody owes, or a second time (A4)");
}

static void released(const void *key)
{
	struct debt *d = find(key);

	if (!d || d->state != OWED)
		th_abort(__FILE__, __LINE__, "a release has run that nobody owes, or a second time (A4)");
	remove_debt(d);
}

static void ended(const struct th_node *n)
{
	for (size_t i = 0; i < books.n; i++)
		if (books.debts[i].n == n)
			th_abort(__FILE__, __LINE__, "a scope or a child has ended, and a release in it has not run (A4)");
}

/* --- the calls --- */

#define PRIVATELY(call) (TH_TSAN_PRIVATE_BEGIN(), (call), TH_TSAN_PRIVATE_END())

void th_oracle_acquired(const void *key) { PRIVATELY(acquired(key)); }
void th_oracle_registered(const void *key, const struct th_node *n) { PRIVATELY(registered(key, n)); }
void th_oracle_withdrawn(const void *key) { PRIVATELY(withdrawn(key)); }
void th_oracle_taken(const void *key, const struct th_node *n, thrum_fx release) { PRIVATELY(taken(key, n, release)); }
void th_oracle_ran(const struct th_node *n, thrum_fx release) { PRIVATELY(ran(n, release)); }
void th_oracle_released(const void *key) { PRIVATELY(released(key)); }
void th_oracle_ended(const struct th_node *n) { PRIVATELY(ended(n)); }

void th_oracle_begin(void)
{
	books.n = 0;
}

void th_oracle_end(struct th_sim_report *r)
{
	r->debts_left = books.n;
}
