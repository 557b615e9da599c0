/* core/meter.c: work and span; the arithmetic is in meter.h. */
#include "meter.h"
#include "hooks.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <thrum/meter.h>

/* From the fork on one worker, which forks on, to the first instruction on another that looks for work: 2.0 to 2.2 us in the
 * median of 2,000, two workers of a virtual machine. One that sleeps takes some 10 us more. */
enum { TH_STEAL_NS = 2000, STOPPED = -1 };

static void take_longer(struct th_path *a, const struct th_path *b)
{
	if (b->span > a->span)
		a->span = b->span;
	if (b->burdened > a->burdened)
		a->burdened = b->burdened;
}

void th_meter_go(struct th_fiber *f)
{
	if (th_metered(f))
		f->home->meter.since = th_backend_now(f->home);
}

void th_meter_stop(struct th_fiber *f)
{
	struct th_meter *m = &f->home->meter;
	int64_t strand;

	if (!m->on || m->since == STOPPED)
		return;
	strand = th_backend_now(f->home) - m->since;
	m->since = STOPPED;
	m->work += strand;
	f->path.span += strand;
	f->path.burdened += strand;
}

void th_meter_open(struct th_fiber *f, struct th_scope *s)
{
	if (!th_metered(f))
		return;
	th_meter_stop(f);
	s->begin = f->path;
	th_meter_go(f);
}

static void hand_on(struct th_path *to, const struct th_path *from, int64_t burden)
{
	*to = *from;
	to->burdened += burden;
}

void th_meter_spawn(struct th_fiber *f, struct th_task *t)
{
	if (!th_metered(f))
		return;
	th_meter_stop(f);
	hand_on(&t->path, &f->path, TH_STEAL_NS);
	th_meter_go(f);
}

void th_meter_called(struct th_scope *s, struct th_task *t, size_t index)
{
	if (s->home->meter.on)
		hand_on(&t->path, &s->begin, index == 0 ? 0 : TH_STEAL_NS);
}

void th_meter_begin(struct th_fiber *f, struct th_task *t, struct th_path *ret_outside)
{
	if (!th_metered(f))
		return;
	th_meter_stop(f);
	*ret_outside = f->path;
	f->path = t->path;
	f->home->meter.children++;
	th_meter_go(f);
}

void th_meter_end(struct th_fiber *f, struct th_task *t, const struct th_path *outside)
{
	if (!th_metered(f))
		return;
	th_meter_stop(f);
	t->path = f->path;
	take_longer(&t->scope->longest, &f->path);
	f->path = *outside;
}

void th_meter_join(struct th_fiber *f, const struct th_path *path)
{
	if (!th_metered(f))
		return;
	th_meter_stop(f);
	take_longer(&f->path, path);
	th_meter_go(f);
}

void th_meter_wake(struct th_fiber *by, struct th_fiber *f)
{
	struct th_path path;

	if (!th_metered(f) || !by || by->home != f->home || by == f)
		return;
	th_meter_stop(by);
	hand_on(&path, &by->path, TH_STEAL_NS);
	take_longer(&f->path, &path);
	th_meter_go(by);
}

/* --- reading --- */

void th_meter_result(const struct th_meter *m, const struct th_path *path, thrum_meter *ret_meter)
{
	ret_meter->work_ns = (uint64_t)m->work;
	ret_meter->span_ns = (uint64_t)path->span;
	ret_meter->burdened_ns = (uint64_t)path->burdened;
	ret_meter->children = m->children;
	ret_meter->steal_ns = TH_STEAL_NS;
}

int thrum_meter_read(thrum_meter *ret_meter)
{
	struct th_fiber *f = th_self();

	if (!f)
		return THRUM_ENOTFIBER;
	if (!ret_meter || ret_meter->size != sizeof *ret_meter)
		return -EINVAL;
	if (!th_metered(f))
		return -ENOTSUP;
	th_meter_stop(f);
	th_meter_result(&f->home->meter, &f->path, ret_meter);
	th_meter_go(f);
	return 0;
}

double thrum_meter_speedup_max(const thrum_meter *m, unsigned workers)
{
	double parallelism = m->span_ns ? (double)m->work_ns / (double)m->span_ns : 1;

	return parallelism < workers ? parallelism : workers;
}

double thrum_meter_speedup_min(const thrum_meter *m, unsigned workers)
{
	double least, most = thrum_meter_speedup_max(m, workers);

	if (m->work_ns == 0 || workers == 0)
		return most < 1 ? most : 1;
	least = (double)m->work_ns / ((double)m->work_ns / workers + (double)m->burdened_ns);
	return least < most ? least : most;
}

static double ms(uint64_t ns) { return (double)ns / 1e6; }

size_t thrum_meter_text(const thrum_meter *m, char *buf, size_t size)
{
	char text[512];
	size_t n;

	n = (size_t)snprintf(text, sizeof text,
			     "work %.3f ms, span %.3f ms, parallelism %.1f; burdened span %.3f ms (%llu ns a theft); %llu children",
			     ms(m->work_ns), ms(m->span_ns), thrum_meter_speedup_max(m, UINT32_MAX), ms(m->burdened_ns),
			     (unsigned long long)m->steal_ns, (unsigned long long)m->children);
	for (unsigned workers = 2; workers <= 128; workers *= 2)
		n += (size_t)snprintf(text + n, sizeof text - n, "\n  %3u workers: %6.1f to %6.1f times as fast", workers,
				      thrum_meter_speedup_min(m, workers), thrum_meter_speedup_max(m, workers));
	return (size_t)snprintf(buf, size, "%s", text);
}
