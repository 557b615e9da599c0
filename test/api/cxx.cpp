// test/api/cxx.cpp: the public API from C++17: the templates instead of compound literals, and the same layout as in C.
#include "layout.h"
#include <cstdio>

static const size_t layout_cxx[LAYOUT_COUNT] = { LAYOUT };

struct job {
	int n;
	int doubled;
};

static int twice(job *j)
{
	j->doubled = 2 * j->n;
	return j->n < 0 ? THRUM_APP(7) : 0;
}
THRUM_FX(twice, job);

static int failures;

static void check(bool ok, const char *what)
{
	if (!ok) {
		std::fprintf(stderr, "failed: %s\n", what);
		failures++;
	}
}

static int body(void *)
{
	job a = { 1, 0 }, b = { 2, 0 }, bad = { -1, 0 };
	job all[3] = { { 3, 0 }, { 4, 0 }, { 5, 0 } };

	check(thrum_zip_par(twice_fx(&a), twice_fx(&b)) == 0, "zip_par");
	check(a.doubled == 2 && b.doubled == 4, "results in place");
	check(thrum_zip_par(twice_fx(&a), twice_fx(&bad)) == THRUM_APP(7), "zip_par fails");
	check(thrum_race(twice_fx(&bad), twice_fx(&b)) == 1, "race");
	check(thrum_race_first(thrum_never(), twice_fx(&b)) == 0, "race_first");
	check(thrum_for_each_par(all, 3, twice, 2) == 0, "for_each_par");
	check(all[0].doubled == 6 && all[2].doubled == 10, "items in place");
	check(thrum_timeout(thrum_never(), thrum_ms(1)) < 0, "timeout");

	thrum_scope s;
	thrum_task t;
	check(thrum_scope_open(&s) == 0, "open");
	check(thrum_spawn(&s, &t, twice_fx(&a)) == 0, "spawn");
	check(thrum_join(&t) == 0, "join");
	check(thrum_scope_close(&s) == 0, "close");
	return 0;
}
THRUM_FX(body, void);

int main()
{
	for (int i = 0; i < LAYOUT_COUNT; i++)
		check(layout_c[i] == layout_cxx[i], "same layout in C and C++");
	check(thrum_run(nullptr, body_fx(nullptr)) == 0, "run");
	return failures != 0;
}
