/* test/core/test_layer.c: layers (D26), as thrum/context.h describes them. */
#include <string.h>
#include "test/support/child.h"
#include "test/support/rules.h"

/* Services a .. f, all of one type; their layers are made by hand, but for the typed ones at the end. */
struct thing {
	char letter;
	long long built_ms;
};
THRUM_SERVICE(a, struct thing);
THRUM_SERVICE(b, struct thing);
THRUM_SERVICE(c, struct thing);
THRUM_SERVICE(d, struct thing);
THRUM_SERVICE(e, struct thing);
THRUM_SERVICE(outer, struct thing);
THRUM_SERVICE_KEY(a);
THRUM_SERVICE_KEY(b);
THRUM_SERVICE_KEY(c);
THRUM_SERVICE_KEY(d);
THRUM_SERVICE_KEY(e);
THRUM_SERVICE_KEY(outer);
static const thrum_service *const keys[] = { &a_service, &b_service, &c_service, &d_service, &e_service };
enum { KEYS = 5 };

static struct thing *look(char letter)
{
	return thrum_service_get(keys[letter - 'a']);
}

/* What happened, in order: a lower-case letter for a build, an upper-case one for a close, '!' for fx. Entries are made
 * under different workers, but in an order that time or needs give. */
struct journal {
	char text[32];
	int n;
};
static void note(struct journal *j, char what)
{
	int at = __atomic_fetch_add(&j->n, 1, __ATOMIC_ACQ_REL);

	TH_CHECK(at < (int)sizeof j->text - 1);
	j->text[at] = what;
}
#define CHECK_JOURNAL(j, want)                                                                       \
	do {                                                                                         \
		if (strcmp((j)->text, (want)) != 0)                                                  \
			th_check_failed(__FILE__, __LINE__, "journal: %s, not %s", (j)->text, want); \
	} while (0)

struct maker {
	char letter;
	int ms, code, close_code, close_ms;
	const char *sees;      /* letters that build and close must see ... */
	const char *sees_not;  /* ... and those they must not */
	struct journal *journal;
	struct thing thing;
	int builds, closes, exit_code;
	bool gives_nothing;
};

static void check_sight(const struct maker *m)
{
	for (const char *s = m->sees ? m->sees : ""; *s; s++)
		TH_CHECK(look(*s) && look(*s)->letter == *s);
	for (const char *s = m->sees_not ? m->sees_not : ""; *s; s++)
		TH_CHECK(look(*s) == NULL);
}

static int make(void *arg, void **ret)
{
	struct maker *m = arg;

	m->builds++;
	check_sight(m);
	if (m->ms && thrum_sleep(thrum_ms(m->ms)) < 0)
		return -ECANCELED;
	if (m->code < 0)
		return m->code;
	check_sight(m);
	m->thing = (struct thing){ m->letter, th_now_ms() };
	note(m->journal, m->letter);
	if (!m->gives_nothing)
		*ret = &m->thing;
	return m->code;
}

/* A build that does not notice a cancel. */
static int make_shielded(void *arg)
{
	struct maker *m = arg;
	void *unused;

	return make(m, &unused);
}
static int make_uncancelled(void *arg, void **ret)
{
	struct maker *m = arg;
	int code = thrum_shield((thrum_fx){ make_shielded, m });

	*ret = &m->thing;
	return code;
}

static int unmake(void *arg, void *thing)
{
	struct maker *m = arg;

	TH_CHECK(thing == &m->thing);
	check_sight(m);
	if (m->close_ms)
		TH_CHECK_EQ(thrum_sleep(thrum_ms(m->close_ms)), 0); /* shielded */
	m->closes++;
	m->exit_code = thrum_exit_code();
	note(m->journal, (char)(m->letter - 'a' + 'A'));
	return m->close_code;
}

/* A set of layers: "c:ab" is the layer of c, which needs a and b. */
struct set {
	struct journal journal;
	struct maker maker[KEYS];
	const thrum_service *needs[KEYS][KEYS];
	thrum_layer layer[KEYS];
	const thrum_layer *list[KEYS];
	size_t n;
};

static struct maker *maker(struct set *s, char letter) { return &s->maker[letter - 'a']; }

static void add(struct set *s, const char *what)
{
	int i = what[0] - 'a', needs = 0;

	s->maker[i].letter = what[0];
	s->maker[i].journal = &s->journal;
	for (const char *p = what + 2; *p; p++)
		s->needs[i][needs++] = keys[*p - 'a'];
	s->layer[i] = (thrum_layer){ keys[i], s->needs[i], (size_t)needs, make, unmake, &s->maker[i] };
	s->list[s->n++] = &s->layer[i];
}

static struct set *make_set(struct set *s, const char *const *what, size_t n)
{
	memset(s, 0, sizeof *s);
	for (size_t i = 0; i < n; i++)
		add(s, what[i]);
	return s;
}
#define SET(s, ...) \
	make_set((s), (const char *const[]){ __VA_ARGS__ }, sizeof((const char *const[]){ __VA_ARGS__ }) / sizeof(char *))

/* What is run with the layers. */
struct use {
	struct set *set;
	int ms, code, runs;
	long long at_ms;
};
static int use(struct use *u)
{
	u->runs++;
	u->at_ms = th_now_ms();
	for (size_t i = 0; i < u->set->n; i++) {
		struct maker *m = u->set->list[i]->arg;
		TH_CHECK(look(m->letter) == &m->thing);
	}
	note(&u->set->journal, '!');
	if (u->ms && thrum_sleep(thrum_ms(u->ms)) < 0)
		return -ECANCELED;
	return u->code;
}
THRUM_FX(use, struct use);

static int run_set(struct set *s, struct use *u, thrum_layer_error *error)
{
	u->set = s;
	return thrum_layers_run(s->list, s->n, use_fx(u), error);
}

/* --- order --- */

TH_FIBER_TEST(JUMP, layer, needs_are_built_first_and_closed_last)
{
	struct set s;
	struct use u = { 0 };
	thrum_layer_error error;

	SET(&s, "c:b", "b:a", "a:");
	maker(&s, 'b')->sees = "a";
	maker(&s, 'b')->sees_not = "bc";
	maker(&s, 'c')->sees = "b";
	maker(&s, 'c')->sees_not = "a"; /* it has not said that it needs a */
	TH_CHECK_EQ(run_set(&s, &u, &error), 0);
	CHECK_JOURNAL(&s.journal, "abc!CBA");
	TH_CHECK_EQ(error.code, 0);
	TH_CHECK_EQ(error.text[0], 0);
	TH_CHECK(look('a') == NULL && look('c') == NULL);
	return 0;
}

TH_FIBER_TEST(JUMP, layer, independent_ones_are_built_at_the_same_time)
{
	thrum_time start = thrum_now();
	struct set s;
	struct use u = { 0 };

	SET(&s, "d:abc", "a:", "b:", "c:");
	maker(&s, 'a')->ms = 30;
	maker(&s, 'b')->ms = 20;
	maker(&s, 'c')->ms = 10;
	maker(&s, 'd')->ms = 5;
	TH_CHECK_EQ(run_set(&s, &u, NULL), 0);
	TH_CHECK_EQ(th_ms_since(start), 35); /* the longest way, not the sum */
	CHECK_JOURNAL(&s.journal, "cbad!DCBA");
	return 0;
}

/* No steps: e waits for b only, though a and its d take longer. */
TH_FIBER_TEST(JUMP, layer, one_waits_for_its_own_needs_only)
{
	thrum_time start = thrum_now();
	struct set s;
	struct use u = { 0 };

	SET(&s, "a:", "b:", "d:a", "e:b");
	maker(&s, 'a')->ms = 20;
	maker(&s, 'd')->ms = 1;
	maker(&s, 'b')->ms = 1;
	maker(&s, 'e')->ms = 15;
	TH_CHECK_EQ(run_set(&s, &u, NULL), 0);
	TH_CHECK_EQ(th_ms_since(start), 21);
	TH_CHECK_EQ(maker(&s, 'e')->thing.built_ms - maker(&s, 'b')->thing.built_ms, 15);
	CHECK_JOURNAL(&s.journal, "bead!EDBA"); /* closed in the plan's order, however long the builds took */
	return 0;
}

TH_FIBER_TEST(JUMP, layer, built_once_though_listed_and_needed_twice)
{
	struct set s;
	struct use u = { 0 };

	SET(&s, "a:", "b:aa", "c:a", "d:bc");
	s.list[s.n++] = s.list[0];
	TH_CHECK_EQ(run_set(&s, &u, NULL), 0);
	for (char letter = 'a'; letter <= 'd'; letter++) {
		TH_CHECK_EQ(maker(&s, letter)->builds, 1);
		TH_CHECK_EQ(maker(&s, letter)->closes, 1);
	}
	return 0;
}

TH_FIBER_TEST(JUMP, layer, none_at_all_just_runs_the_effect)
{
	struct set s = { .n = 0 };
	struct use u = { .code = THRUM_APP(2) };

	TH_CHECK_EQ(run_set(&s, &u, NULL), THRUM_APP(2));
	TH_CHECK_EQ(u.runs, 1);
	return 0;
}

/* --- around it --- */

struct inside {
	struct set *set;
	struct use use;
	int code;
};
static int inside(struct inside *i)
{
	i->code = run_set(i->set, &i->use, NULL);
	TH_CHECK(outer_get() != NULL);
	return i->code;
}
THRUM_FX(inside, struct inside);

static int make_from_outer(void *arg, void **ret)
{
	TH_CHECK(outer_get() && outer_get()->letter == 'o');
	return make(arg, ret);
}

TH_FIBER_TEST(JUMP, layer, what_no_layer_gives_comes_from_the_caller)
{
	const thrum_service *needs[] = { &outer_service, NULL };
	struct thing outer = { 'o', 0 };
	struct inside i = { .code = 1 };
	struct set s;

	SET(&s, "b:a", "a:");
	s.layer[0].needs = needs;
	s.layer[0].n_needs = 2;
	s.layer[0].build = make_from_outer;
	i.set = &s;
	TH_CHECK_EQ(outer_provide(&outer, inside_fx(&i)), 0);
	CHECK_JOURNAL(&s.journal, "ab!BA");
	TH_CHECK(outer_get() == NULL);
	return 0;
}

static int check_caller_has_a(void *arg)
{
	struct inside *i = arg;

	TH_CHECK_EQ(run_set(i->set, &i->use, NULL), 0);
	TH_CHECK_EQ(look('a')->letter, 'o');
	return 0;
}

TH_FIBER_TEST(JUMP, layer, layer_hides_what_the_caller_has)
{
	struct thing outer = { 'o', 0 };
	struct inside i = { .code = 1 };
	struct set s;

	SET(&s, "a:", "b:a");
	maker(&s, 'b')->sees = "a";
	i.set = &s;
	TH_CHECK_EQ(a_provide(&outer, (thrum_fx){ check_caller_has_a, &i }), 0);
	return 0;
}

/* --- plans that cannot be --- */

static void check_refused(struct set *s, int code, const thrum_service *service, const char *text)
{
	thrum_layer_error error = { .code = 1 };
	struct use u = { 0 };

	TH_CHECK_EQ(run_set(s, &u, &error), code);
	TH_CHECK_EQ(error.code, code);
	TH_CHECK(error.service == service);
	if (strcmp(error.text, text) != 0)
		th_check_failed(__FILE__, __LINE__, "text: %s", error.text);
	TH_CHECK_EQ(u.runs, 0);
	for (int i = 0; i < KEYS; i++)
		TH_CHECK_EQ(s->maker[i].builds, 0);
}

TH_FIBER_TEST(JUMP, layer, missing_need_is_named_before_anything_is_built)
{
	struct set s;

	check_refused(SET(&s, "a:", "b:ad"), THRUM_ENOSERVICE, &d_service, "b needs d, which no layer gives");
	TH_CHECK(strcmp(thrum_service_missing(), "d") == 0);
	return 0;
}

TH_FIBER_TEST(JUMP, layer, cycle_is_named_before_anything_is_built)
{
	struct set s;

	check_refused(SET(&s, "a:b", "b:c", "c:a"), -ELOOP, &a_service, "a -> b -> c -> a");
	check_refused(SET(&s, "d:", "e:cd", "b:c", "c:b"), -ELOOP, &b_service, "b -> c -> b"); /* e leads to it, is not in it */
	check_refused(SET(&s, "a:a"), -ELOOP, &a_service, "a -> a");
	check_refused(SET(&s, "e:", "c:ab", "a:", "b:c"), -ELOOP, &c_service, "c -> b -> c"); /* begins at the one listed first */
	return 0;
}

TH_FIBER_TEST(JUMP, layer, two_layers_for_one_service_are_EEXIST)
{
	struct set s;
	thrum_layer twin;

	SET(&s, "a:", "b:");
	twin = s.layer[0];
	s.list[s.n++] = &twin;
	check_refused(&s, -EEXIST, &a_service, "two layers give a");
	return 0;
}

enum { LONG = 60 };

TH_FIBER_TEST(JUMP, layer, text_of_a_long_cycle_is_cut)
{
	static thrum_service key[LONG];
	static const thrum_service *need[LONG];
	thrum_layer layers[LONG];
	const thrum_layer *list[LONG];
	struct journal j = { 0 };
	struct maker m = { .letter = 'a', .journal = &j };
	thrum_layer_error error;

	for (int i = 0; i < LONG; i++) {
		key[i].local.name = "service";
		need[i] = &key[(i + 1) % LONG];
		layers[i] = (thrum_layer){ &key[i], &need[i], 1, make, unmake, &m };
		list[i] = &layers[i];
	}
	TH_CHECK_EQ(thrum_layers_run(list, LONG, thrum_succeed(), &error), -ELOOP);
	TH_CHECK_EQ(strlen(error.text), sizeof error.text - 1);
	TH_CHECK(strcmp(error.text + strlen(error.text) - 3, "...") == 0);
	return 0;
}

TH_FIBER_TEST(JUMP, layer, bad_arguments_are_EINVAL)
{
	struct set s;
	struct use u = { .set = &s };
	const thrum_fx none = { 0 };

	SET(&s, "a:");
	TH_CHECK_EQ(thrum_layers_run(s.list, 1, none, NULL), -EINVAL);
	TH_CHECK_EQ(thrum_layers_run(NULL, 1, use_fx(&u), NULL), -EINVAL);
	s.list[1] = NULL;
	TH_CHECK_EQ(thrum_layers_run(s.list, 2, use_fx(&u), NULL), -EINVAL);
	s.layer[0].gives = NULL;
	TH_CHECK_EQ(thrum_layers_run(s.list, 1, use_fx(&u), NULL), -EINVAL);
	SET(&s, "a:");
	s.layer[0].build = NULL;
	TH_CHECK_EQ(thrum_layers_run(s.list, 1, use_fx(&u), NULL), -EINVAL);
	SET(&s, "a:");
	s.layer[0].needs = NULL;
	s.layer[0].n_needs = 1;
	TH_CHECK_EQ(thrum_layers_run(s.list, 1, use_fx(&u), NULL), -EINVAL);
	TH_CHECK_EQ(maker(&s, 'a')->builds, 0);
	return 0;
}

TH_TEST(layer, outside_a_fiber_is_ENOTFIBER)
{
	TH_CHECK_EQ(thrum_layers_run(NULL, 0, thrum_succeed(), NULL), THRUM_ENOTFIBER);
}

/* --- builds that fail --- */

TH_FIBER_TEST(JUMP, layer, failing_build_cancels_the_others_and_closes_what_there_is)
{
	thrum_time start = thrum_now();
	thrum_layer_error error;
	struct set s;
	struct use u = { 0 };

	SET(&s, "a:", "b:a", "c:", "d:c", "e:b");
	maker(&s, 'b')->ms = 10;
	maker(&s, 'b')->code = THRUM_APP(4);
	maker(&s, 'c')->ms = 5;
	maker(&s, 'd')->ms = 100;
	maker(&s, 'a')->close_ms = 3;
	TH_CHECK_EQ(run_set(&s, &u, &error), THRUM_APP(4));
	TH_CHECK_EQ(th_ms_since(start), 13);
	TH_CHECK_EQ(u.runs, 0);
	TH_CHECK_EQ(maker(&s, 'd')->builds, 1);
	TH_CHECK_EQ(maker(&s, 'e')->builds, 0);
	CHECK_JOURNAL(&s.journal, "acCA");
	TH_CHECK_EQ(maker(&s, 'a')->exit_code, THRUM_APP(4));
	TH_CHECK_EQ(error.code, THRUM_APP(4));
	TH_CHECK(error.service == &b_service);
	TH_CHECK(strncmp(error.text, "building b: ", 12) == 0);
	return 0;
}

TH_FIBER_TEST(JUMP, layer, build_that_succeeds_though_cancelled_is_closed)
{
	struct set s;
	struct use u = { 0 };

	SET(&s, "a:", "b:", "c:b");
	s.layer[1].build = make_uncancelled;
	maker(&s, 'a')->code = THRUM_APP(1);
	maker(&s, 'a')->ms = 5;
	maker(&s, 'b')->ms = 10;
	TH_CHECK_EQ(run_set(&s, &u, NULL), THRUM_APP(1));
	CHECK_JOURNAL(&s.journal, "bB");
	TH_CHECK_EQ(maker(&s, 'c')->builds, 0);
	return 0;
}

/* It makes its service, but fails to release what it needed for that. */
static int succeed(struct maker *m)
{
	(void)m;
	return 0;
}
static int fail_to_release(struct maker *m)
{
	(void)m;
	return THRUM_APP(5);
}
THRUM_FX(succeed, struct maker);
THRUM_FX(fail_to_release, struct maker);
static int make_and_leave_a_failure(void *arg, void **ret)
{
	TH_CHECK_EQ(thrum_acquire_release(succeed_fx(arg), fail_to_release_fx(arg)), 0);
	return make(arg, ret);
}

TH_FIBER_TEST(JUMP, layer, failing_release_of_a_build_is_named)
{
	thrum_layer_error error;
	struct set s;
	struct use u = { 0 };

	SET(&s, "a:", "b:a");
	s.layer[1].build = make_and_leave_a_failure;
	maker(&s, 'b')->close_code = THRUM_APP(6);
	TH_CHECK_EQ(run_set(&s, &u, &error), THRUM_APP(5));
	CHECK_JOURNAL(&s.journal, "abBA");
	TH_CHECK_EQ(error.code, THRUM_APP(5));
	TH_CHECK(error.service == &b_service);
	TH_CHECK(strncmp(error.text, "building b: ", 12) == 0);
	return 0;
}

TH_FIBER_TEST(JUMP, layer, build_without_a_service_is_EINVAL)
{
	thrum_layer_error error;
	struct set s;
	struct use u = { 0 };

	SET(&s, "a:");
	maker(&s, 'a')->gives_nothing = true;
	TH_CHECK_EQ(run_set(&s, &u, &error), -EINVAL);
	TH_CHECK_EQ(error.code, -EINVAL);
	TH_CHECK_EQ(maker(&s, 'a')->closes, 0);
	return 0;
}

TH_FIBER_TEST(JUMP, layer, positive_codes_are_success)
{
	struct set s;
	struct use u = { .code = 3 };

	SET(&s, "a:");
	maker(&s, 'a')->code = 7;
	maker(&s, 'a')->close_code = 8;
	TH_CHECK_EQ(run_set(&s, &u, NULL), 3);
	return 0;
}

/* --- closing: D26 --- */

TH_FIBER_TEST(JUMP, layer, every_one_is_closed_though_one_fails_D26)
{
	thrum_layer_error error;
	struct set s;
	struct use u = { 0 };

	SET(&s, "a:", "b:a", "c:b");
	maker(&s, 'b')->close_code = THRUM_APP(9);
	maker(&s, 'a')->close_code = THRUM_APP(8);
	TH_CHECK_EQ(run_set(&s, &u, &error), THRUM_APP(9)); /* the first */
	CHECK_JOURNAL(&s.journal, "abc!CBA");
	TH_CHECK(error.service == &b_service);
	TH_CHECK(strncmp(error.text, "closing b: ", 11) == 0);
	return 0;
}

TH_FIBER_TEST(JUMP, layer, failure_of_the_effect_outranks_a_failing_close_D26)
{
	thrum_layer_error error;
	struct set s;
	struct use u = { .code = THRUM_APP(1) };

	SET(&s, "a:", "b:a");
	maker(&s, 'b')->close_code = THRUM_APP(9);
	TH_CHECK_EQ(run_set(&s, &u, &error), THRUM_APP(1));
	CHECK_JOURNAL(&s.journal, "ab!BA");
	TH_CHECK_EQ(error.code, THRUM_APP(9));
	TH_CHECK_EQ(maker(&s, 'b')->exit_code, THRUM_APP(1));
	return 0;
}

TH_FIBER_TEST(JUMP, layer, one_without_close_is_only_forgotten)
{
	struct set s;
	struct use u = { 0 };

	SET(&s, "a:", "b:a");
	s.layer[0].close = NULL;
	TH_CHECK_EQ(run_set(&s, &u, NULL), 0);
	CHECK_JOURNAL(&s.journal, "ab!B");
	return 0;
}

/* What fx acquired for the nearest scope is released while the services are there. */
static int release_with(void *ret_letter)
{
	*(char *)ret_letter = look('a') ? look('a')->letter : '-';
	return 0;
}
static int acquire_with(void *ret_letter)
{
	return thrum_acquire_release(thrum_succeed(), (thrum_fx){ release_with, ret_letter });
}

TH_FIBER_TEST(JUMP, layer, effect_releases_before_anything_is_closed)
{
	char letter = 0;
	struct set s;

	SET(&s, "a:");
	TH_CHECK_EQ(thrum_layers_run(s.list, 1, (thrum_fx){ acquire_with, &letter }, NULL), 0);
	TH_CHECK_EQ(letter, 'a');
	return 0;
}

/* --- cancelled from outside --- */

TH_FIBER_TEST(JUMP, layer, cancel_while_building_closes_what_there_is)
{
	thrum_layer_error error;
	struct set s;
	struct use u = { .set = &s };
	thrum_layers_op op = { s.list, 3, use_fx(&u), &error };
	struct th_outside o;

	SET(&s, "a:", "b:a", "c:b");
	maker(&s, 'b')->ms = 100;
	maker(&s, 'a')->close_ms = 5;
	o = th_cancel_after(10, thrum_layers_fx(&op));
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(u.runs, 0);
	CHECK_JOURNAL(&s.journal, "aA");
	TH_CHECK_EQ(maker(&s, 'c')->builds, 0);
	TH_CHECK_EQ(error.code, 0); /* the layers are not to blame */
	return 0;
}

TH_FIBER_TEST(JUMP, layer, cancel_of_the_effect_closes_everything_shielded)
{
	struct set s;
	struct use u = { .set = &s, .ms = 1000 };
	thrum_layers_op op = { s.list, 2, use_fx(&u), NULL };
	struct th_outside o;
	long long start = th_now_ms();

	SET(&s, "a:", "b:a");
	maker(&s, 'a')->close_ms = maker(&s, 'b')->close_ms = 7;
	o = th_cancel_after(10, thrum_layers_fx(&op));
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(o.at_ms - start, 24);
	CHECK_JOURNAL(&s.journal, "ab!BA");
	return 0;
}

TH_FIBER_TEST(JUMP, layer, cancel_that_no_build_noticed_keeps_the_effect_from_running)
{
	struct set s;
	struct use u = { .set = &s };
	thrum_layers_op op = { s.list, 2, use_fx(&u), NULL };
	struct th_outside o;

	SET(&s, "a:", "b:");
	s.layer[0].build = s.layer[1].build = make_uncancelled;
	maker(&s, 'a')->ms = 20;
	maker(&s, 'b')->ms = 30;
	o = th_cancel_after(10, thrum_layers_fx(&op));
	TH_CHECK_EQ(o.code, -ECANCELED);
	TH_CHECK_EQ(u.runs, 0);
	CHECK_JOURNAL(&s.journal, "abBA");
	return 0;
}

TH_FIBER_TEST(JUMP, layer, in_a_cancelled_scope_nothing_is_built)
{
	struct set s;
	struct use u = { .set = &s };
	thrum_layers_op op = { s.list, 1, use_fx(&u), NULL };

	SET(&s, "a:");
	TH_CHECK_EQ(th_call_cancelled(thrum_layers_fx(&op)), -ECANCELED);
	TH_CHECK_EQ(maker(&s, 'a')->builds, 0);
	TH_CHECK_EQ(u.runs, 0);
	return 0;
}

/* --- the same layers, used by several at once and nested --- */

static int run_one_set(void *unused)
{
	struct set s;
	struct use u = { .ms = 3 };

	(void)unused;
	SET(&s, "b:a", "a:", "c:b");
	maker(&s, 'a')->ms = 2;
	TH_CHECK_EQ(run_set(&s, &u, NULL), 0);
	CHECK_JOURNAL(&s.journal, "abc!CBA");
	return 0;
}

TH_FIBER_TEST(JUMP, layer, sets_beside_each_other_do_not_meet)
{
	const thrum_fx fx = { run_one_set, NULL };

	TH_CHECK_EQ(thrum_zip_par(fx, fx, fx, fx), 0);
	return 0;
}

enum { CHAIN = 300 };

TH_FIBER_TEST(JUMP, layer, long_chain_listed_backwards)
{
	static thrum_service key[CHAIN];
	static const thrum_service *need[CHAIN];
	static thrum_layer layers[CHAIN];
	static const thrum_layer *list[CHAIN];
	struct journal j = { 0 };
	static struct maker m[CHAIN];
	int code;

	for (int i = 0; i < CHAIN; i++) {
		m[i] = (struct maker){ .letter = 'a', .journal = &j };
		need[i] = i ? &key[i - 1] : NULL;
		layers[i] = (thrum_layer){ &key[i], &need[i], 1, make, NULL, &m[i] };
		list[CHAIN - 1 - i] = &layers[i];
	}
	m[20].code = THRUM_APP(6); /* the journal is short */
	code = thrum_layers_run(list, CHAIN, thrum_succeed(), NULL);
	TH_CHECK_EQ(code, THRUM_APP(6));
	TH_CHECK_EQ(j.n, 20);
	TH_CHECK_EQ(m[20].builds, 1);
	TH_CHECK_EQ(m[21].builds, 0);
	return 0;
}

/* --- typed --- */

struct settings {
	int size;
};
struct store {
	int size, hits;
};
THRUM_SERVICE(settings, const struct settings);
THRUM_SERVICE_KEY(settings);
THRUM_SERVICE(store, struct store);
THRUM_SERVICE_KEY(store);

static int fixed_build(int *size, const struct settings **ret)
{
	static struct settings s;

	s.size = *size;
	*ret = &s;
	return 0;
}
static int fixed_close(int *size, const struct settings *s)
{
	TH_CHECK_EQ(s->size, *size);
	return 0;
}
THRUM_LAYER(fixed, settings, int, NULL);

static int heap_build(void *unused, struct store **ret)
{
	const struct settings *settings;
	int code = settings_require(&settings);

	(void)unused;
	if (code < 0)
		return code;
	*ret = calloc(1, sizeof **ret);
	if (!*ret)
		return -ENOMEM;
	(*ret)->size = settings->size;
	return 0;
}
static int heap_close(void *unused, struct store *s)
{
	(void)unused;
	free(s);
	return 0;
}
THRUM_LAYER(heap, store, void, &settings_service);

static int use_store(int *ret_size)
{
	*ret_size = store_get()->size;
	return 0;
}
THRUM_FX(use_store, int);

TH_FIBER_TEST(JUMP, layer, typed_layers)
{
	int size = 42, got = 0;
	thrum_layer fixed = fixed_layer(&size), heap = heap_layer(NULL);

	TH_CHECK_EQ(thrum_layers_run(THRUM_LAYERS(&heap, &fixed), use_store_fx(&got), NULL), 0);
	TH_CHECK_EQ(got, 42);
	return 0;
}

/* --- memory --- */

static void use_up_memory(void)
{
	const struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_AS, &none);
	for (size_t size = 1 << 20; size >= 16; size -= size > 1024 ? size / 2 : 16)
		for (void *volatile p = malloc(size); p; p = malloc(size))
			;
}

static int run_without(void *set)
{
	struct use u = { 0 };
	thrum_layer_error error;

	use_up_memory();
	TH_CHECK_EQ(run_set(set, &u, &error), -ENOMEM);
	TH_CHECK_EQ(u.runs, 0);
	return 0;
}

/* Memory ends while the first layer is built: the second cannot have its locals. The teardown needs none. */
static int make_the_last(void *arg, void **ret)
{
	use_up_memory();
	return make(arg, ret);
}

static int run_out(void *set)
{
	struct use u = { 0 };
	thrum_layer_error error;
	struct set *s = set;

	s->layer[0].build = make_the_last;
	TH_CHECK_EQ(run_set(s, &u, &error), -ENOMEM);
	TH_CHECK(error.service == &b_service);
	CHECK_JOURNAL(&s->journal, "aA");
	return 0;
}

static void without_memory(void *body)
{
	int (*run)(void *) = *(int (**)(void *))body;
	struct set s;

	SET(&s, "a:", "b:a");
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1), (thrum_fx){ run, &s }), 0);
}

TH_TEST(layer, no_memory_builds_nothing_and_takes_down_what_there_is)
{
	int (*bodies[])(void *) = { run_without, run_out };
	struct th_said said;

	if (TH_UNLIMITED)
		return;
	for (size_t i = 0; i < 2; i++)
		TH_CHECK_CHILD_OK(th_child(without_memory, &bodies[i], &said), &said);
}
