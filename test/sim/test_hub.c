/* test/sim/test_hub.c: broadcast hubs under seeds and cancels (Q13, D19). */
#include "../support/sim_run.h"
#include <errno.h>
#include <string.h>

enum { PUBLISHERS = 3, ITEMS = 3, ALL = PUBLISHERS * ITEMS, SUBSCRIBERS = 3 };

static int pause_a_little(void)
{
	switch (sim_choose(3)) {
	case 0: return 0;
	case 1: return thrum_yield();
	default: return thrum_sleep(thrum_us(1));
	}
}

struct world {
	thrum_hub hub;
	int published[ALL], reached[ALL]; /* publishes that succeeded, and how many subscribers each has reached */
	int got[ALL], dropped[ALL];       /* receives, drops */
	int order[ALL], seen;             /* as the first subscriber that does not drop saw them */
	int publishing;
};

struct listener {
	struct world *w;
	thrum_sub sub;
	unsigned overflow;
	bool stays;            /* from before the first publish until the end */
	int items[ALL], n;
	uint64_t missed;
};

struct publisher {
	struct world *w;
	int first;
};

static void note_drop(void *item, void *arg)
{
	struct world *w = arg;

	sim_add(&w->dropped[*(int *)item], 1);
	if (thrum_self_id())
		TH_CHECK_EQ(pause_a_little(), 0); /* shielded */
}

static int publish_one(void *arg)
{
	struct publisher *p = arg;
	int item = p->first, r;

	r = sim_choose(3) ? thrum_hub_publish(&p->w->hub, &item) : thrum_hub_try_publish(&p->w->hub, &item);
	if (r >= 0) {
		sim_add(&p->w->published[item], 1);
		sim_add(&p->w->reached[item], r);
		r = 0;
	}
	return r;
}

/* Each item is offered until it goes: in order, and none twice. */
static int publish_all(struct publisher *p)
{
	int r = 0;

	for (int end = p->first + ITEMS; p->first < end; p->first++) {
		do {
			thrum_fx fx = { publish_one, p };

			r = sim_choose(3) ? thrum_call(fx) : thrum_timeout(fx, thrum_us(1 + sim_choose(2)));
			if (r == -EAGAIN && thrum_yield() < 0)
				r = -ECANCELED;
		} while (r == -EAGAIN || r == -ETIMEDOUT);
		if (r < 0)
			break;
	}
	if (sim_add(&p->w->publishing, -1) == 0)
		TH_CHECK_EQ(thrum_hub_close(&p->w->hub), 0);
	TH_CHECK(r == 0 || r == -ECANCELED);
	return r;
}
THRUM_FX(publish_all, struct publisher);

static int recv_one(void *arg)
{
	struct listener *l = arg;
	uint64_t missed;
	int item, r = thrum_sub_recv(&l->sub, &item, &missed);

	if (r < 0 && r != THRUM_ECLOSED)
		return r;
	TH_CHECK(r == THRUM_ECLOSED || (r == THRUM_SUB_MISSED) == (missed > 0));
	l->missed += missed;
	if (r >= 0) {
		TH_CHECK(l->n < ALL);
		l->items[l->n++] = item;
		sim_add(&l->w->got[item], 1);
	}
	return r;
}

static int listen_on(struct listener *l)
{
	int r, left = l->stays ? ALL + 1 : 1 + (int)sim_choose(3);
	thrum_fx fx = { recv_one, l };

	while (left-- > 0) {
		do
			r = sim_choose(3) ? thrum_call(fx) : thrum_timeout(fx, thrum_us(1 + sim_choose(2)));
		while (r == -ETIMEDOUT);
		if (r < 0)
			return r == THRUM_ECLOSED ? 0 : r;
	}
	return pause_a_little();
}
THRUM_FX(listen_on, struct listener);

/* One who comes and goes in between. */
static int visit(struct listener *l)
{
	int r = pause_a_little();

	if (r < 0 || thrum_hub_subscribe(&l->w->hub, &l->sub, 1 + sim_choose(2), l->overflow) == THRUM_ECLOSED)
		return r;
	r = listen_on(l);
	if (sim_choose(2)) {
		(void)thrum_sub_close(&l->sub);
		if (r == 0)
			r = recv_one(l);
		r = r == THRUM_ECLOSED ? 0 : r > 0 ? 0 : r;
	}
	thrum_hub_unsubscribe(&l->sub);
	return r;
}
THRUM_FX(visit, struct listener);

/* Per publisher its items come in the order of their numbers, each once. */
static void check_order(const struct listener *l)
{
	int last[PUBLISHERS];

	for (int i = 0; i < PUBLISHERS; i++)
		last[i] = -1;
	for (int i = 0; i < l->n; i++) {
		TH_CHECK(l->items[i] > last[l->items[i] / ITEMS]);
		last[l->items[i] / ITEMS] = l->items[i];
	}
}

/* What two subscribers both got came in the same order. */
static void check_same_order(const struct listener *a, const struct listener *b)
{
	int at = -1;

	for (int i = 0; i < a->n; i++)
		for (int k = 0; k < b->n; k++)
			if (b->items[k] == a->items[i]) {
				TH_CHECK(k > at);
				at = k;
			}
}

static int published(const struct world *w)
{
	int n = 0;

	for (int i = 0; i < ALL; i++)
		n += w->published[i];
	return n;
}

/* Each publish that succeeded was received by somebody, or dropped once; one that did not, neither. */
static void check_items(const struct world *w, bool all_received)
{
	for (int i = 0; i < ALL; i++) {
		TH_CHECK(w->published[i] <= 1);
		TH_CHECK_EQ(w->dropped[i], w->published[i] && w->got[i] == 0);
		TH_CHECK(w->got[i] <= w->reached[i]);
		TH_CHECK(w->published[i] || w->got[i] == 0);
		if (all_received)
			TH_CHECK_EQ(w->published[i], 1);
	}
}

static void open_world(struct world *w, struct listener *l, int n)
{
	memset(w, 0, sizeof *w);
	TH_CHECK_EQ(thrum_hub_init_with(&w->hub, THRUM_HUB_OPTS(.item_bytes = sizeof(int), .drop = note_drop,
								.drop_arg = w)), 0);
	w->publishing = PUBLISHERS;
	for (int i = 0; i < n; i++)
		l[i] = (struct listener){ .w = w, .overflow = sim_choose(3) };
}

/* Q13: all who are there to the end see every item, or know how many they have not; in the same order; and an item
 * is taken, or dropped once. */
SIM_TEST_WITH(hub, everybody_sees_the_same_order_and_all_losses_Q13, .clock = THRUM_CLOCK_REAL)
{
	struct listener l[SUBSCRIBERS];
	struct publisher p[PUBLISHERS];
	thrum_fx fx[SUBSCRIBERS + PUBLISHERS];
	struct world w;
	int r;

	(void)unused;
	open_world(&w, l, SUBSCRIBERS);
	for (int i = 0; i < SUBSCRIBERS; i++) {
		l[i].stays = true;
		TH_CHECK_EQ(thrum_hub_subscribe(&w.hub, &l[i].sub, 1 + sim_choose(2), l[i].overflow), 0);
		fx[i] = listen_on_fx(&l[i]);
	}
	for (int i = 0; i < PUBLISHERS; i++) {
		p[i] = (struct publisher){ &w, i * ITEMS };
		fx[SUBSCRIBERS + i] = publish_all_fx(&p[i]);
	}
	r = thrum_zip_par_n(fx, SUBSCRIBERS + PUBLISHERS);
	for (int i = 0; i < SUBSCRIBERS; i++) {
		if (!sim_cancelled_run())
			TH_CHECK_EQ(l[i].n + (int)l[i].missed, ALL);
		if (l[i].overflow == THRUM_OVERFLOW_BLOCK)
			TH_CHECK_EQ(l[i].missed, 0);
		TH_CHECK(l[i].n + (int)l[i].missed + (int)thrum_sub_len(&l[i].sub) <= published(&w));
		check_order(&l[i]);
		check_same_order(&l[0], &l[i]);
		thrum_hub_unsubscribe(&l[i].sub);
	}
	check_items(&w, !sim_cancelled_run());
	thrum_hub_fini(&w.hub);
	return r;
}

/* D19: those who come and go, at any moment and with any policy, hold up no publisher for good, and lose nothing. */
SIM_TEST_WITH(hub, who_leaves_holds_up_nobody_D19, .clock = THRUM_CLOCK_REAL)
{
	struct listener l[SUBSCRIBERS];
	struct publisher p[PUBLISHERS];
	thrum_fx fx[SUBSCRIBERS + PUBLISHERS];
	struct world w;
	int r;

	(void)unused;
	open_world(&w, l, SUBSCRIBERS);
	for (int i = 0; i < SUBSCRIBERS; i++)
		fx[i] = visit_fx(&l[i]);
	for (int i = 0; i < PUBLISHERS; i++) {
		p[i] = (struct publisher){ &w, i * ITEMS };
		fx[SUBSCRIBERS + i] = publish_all_fx(&p[i]);
	}
	r = thrum_zip_par_n(fx, SUBSCRIBERS + PUBLISHERS);
	for (int i = 0; i < SUBSCRIBERS; i++) {
		if (l[i].overflow == THRUM_OVERFLOW_BLOCK)
			TH_CHECK_EQ(l[i].missed, 0);
		check_order(&l[i]);
		check_same_order(&l[0], &l[i]);
	}
	check_items(&w, !sim_cancelled_run());
	thrum_hub_fini(&w.hub);
	return r;
}

struct pair {
	struct world w;
	thrum_sub full, room;
	int code;
};
static int publish_once(struct pair *p)
{
	int item = 1;

	p->code = thrum_hub_publish(&p->w.hub, &item);
	return p->code < 0 ? p->code : 0;
}
static int make_room(struct pair *p)
{
	int item, r = pause_a_little();

	TH_CHECK_EQ(thrum_sub_try_recv(&p->full, &item, NULL), 0);
	TH_CHECK_EQ(item, 0);
	return r;
}
THRUM_FX(publish_once, struct pair);
THRUM_FX(make_room, struct pair);

static int publish_limited(struct pair *p)
{
	int r = thrum_timeout(publish_once_fx(p), thrum_us(1 + sim_choose(2)));

	return r == -ETIMEDOUT ? 0 : r;
}
THRUM_FX(publish_limited, struct pair);

/* Q13: a publish whose wait is cancelled at the moment when there is room has reached both or neither. */
SIM_TEST_WITH(hub, cancelled_publish_reaches_all_or_nobody_Q13, .clock = THRUM_CLOCK_REAL)
{
	struct pair p;
	int item = 0, r;

	(void)unused;
	TH_CHECK_EQ(thrum_hub_init(&p.w.hub, sizeof(int)), 0);
	TH_CHECK_EQ(thrum_hub_subscribe(&p.w.hub, &p.full, 1, THRUM_OVERFLOW_BLOCK), 0);
	TH_CHECK_EQ(thrum_hub_subscribe(&p.w.hub, &p.room, 3, THRUM_OVERFLOW_BLOCK), 0);
	TH_CHECK_EQ(thrum_hub_try_publish(&p.w.hub, &item), 2);
	p.code = -ECANCELED; /* if it does not start */
	r = thrum_zip_par(publish_limited_fx(&p), make_room_fx(&p));
	if (p.code >= 0) {
		TH_CHECK_EQ(p.code, 2);
		TH_CHECK_EQ(thrum_sub_len(&p.room), 2);
		TH_CHECK_EQ(thrum_sub_try_recv(&p.full, &item, NULL), 0);
		TH_CHECK_EQ(item, 1);
	} else {
		TH_CHECK_EQ(thrum_sub_len(&p.room), 1);
		TH_CHECK(thrum_sub_try_recv(&p.full, &item, NULL) == -EAGAIN || item == 0); /* perhaps nobody made room */
	}
	thrum_hub_unsubscribe(&p.full);
	thrum_hub_unsubscribe(&p.room);
	thrum_hub_fini(&p.w.hub);
	return r;
}
