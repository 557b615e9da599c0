/* sched/sim/plan.c: plans as text; the header has their form. */
#include "plan.h"
#include "choices.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const wheres[] = { "before", "within", "after" };
static const char *const streams[] = { "", "s", "w" };
static const char *const whoms[] = { "root", "scope", "parent", "deadline" };

/* --- writing --- */

struct text {
	char *buf;
	size_t size, used;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *t, const char *fmt, ...)
{
	size_t at = t->used < t->size ? t->used : t->size;
	va_list args;
	int n;

	va_start(args, fmt);
	n = vsnprintf(t->buf + at, t->size - at, fmt, args);
	va_end(args);
	t->used += (size_t)n;
}

static void add_cancel(struct text *t, const char *word, const struct th_sim_cancel *c)
{
	if (c->at)
		add(t, " %s=%" PRIu64 "/%s/%s", word, c->at, wheres[c->where], whoms[c->whom]);
}

static void add_faults(struct text *t, const struct th_sim_opts *s)
{
	add_cancel(t, "cancel", &s->cancel);
	add_cancel(t, "again", &s->again);
	if (s->fail_alloc)
		add(t, " allocation=%" PRIu64, s->fail_alloc);
	if (s->fail_op)
		add(t, " operation=%" PRIu64 "/%d", s->fail_op, -s->fail_code);
}

static void add_choices(struct text *t, const struct th_sim_opts *s)
{
	add(t, " choices=");
	for (size_t i = 0; i < s->n_picks; i++)
		add(t, "%s%s%" PRIu64 ":%" PRIu32, i ? "," : "", streams[s->picks[i].stream], s->picks[i].step, s->picks[i].value);
}

size_t th_plan_write(const struct th_plan *p, const char *name, char *buf, size_t size)
{
	struct text t = { buf, size, 0 };

	add(&t, "%s seed=%" PRIu64 " workers=%u", name, p->sim.seed, p->workers);
	if (p->shuffle)
		add(&t, " shuffled");
	if (p->sim.coarse)
		add(&t, " coarse");
	if (p->sim.search == TH_SIM_PCT)
		add(&t, " pct=%u/%" PRIu64, p->sim.depth, p->sim.length);
	add_faults(&t, &p->sim);
	if (p->sim.search == TH_SIM_GIVEN)
		add_choices(&t, &p->sim);
	return t.used;
}

/* --- reading --- */

/* "/within" at **at; its place in `names`, or -1. */
static int read_name(const char **at, const char *const *names, int n)
{
	for (int i = 0; i < n; i++) {
		size_t len = strlen(names[i]);
		if (**at == '/' && strncmp(*at + 1, names[i], len) == 0) {
			*at += 1 + len;
			return i;
		}
	}
	return -1;
}

static bool read_number(const char **at, uint64_t *ret)
{
	char *end;

	if (**at < '0' || **at > '9')
		return false;
	*ret = strtoull(*at, &end, 10);
	*at = end;
	return true;
}

static bool skip(const char **at, const char *word)
{
	size_t len = strlen(word);

	if (strncmp(*at, word, len) != 0)
		return false;
	*at += len;
	return true;
}

static bool read_second(const char **at, uint64_t *ret)
{
	return *(*at)++ == '/' && read_number(at, ret);
}

static bool read_choices(struct th_sim_opts *s, const char **at, struct th_sim_pick *picks, size_t max)
{
	uint64_t step, value, last[3] = { 0 };

	if (s->picks)
		return false; /* one list: their steps rise */
	s->search = TH_SIM_GIVEN;
	s->picks = picks;
	while (**at && **at != ' ') {
		enum th_sim_stream stream = skip(at, "w") ? TH_SIM_WORLD : skip(at, "s") ? TH_SIM_SCHEDULER : TH_SIM_THREADS;
		if (s->n_picks == max || !read_number(at, &step) || step <= last[stream] || !skip(at, ":") ||
		    !read_number(at, &value) || value > UINT32_MAX)
			return false;
		picks[s->n_picks++] = (struct th_sim_pick){ step, (uint32_t)value, stream };
		last[stream] = step;
		if (!skip(at, ","))
			break;
	}
	return true;
}

static bool read_cancel(struct th_sim_cancel *c, const char **at)
{
	int where, whom;

	if (!read_number(at, &c->at))
		return false;
	where = read_name(at, wheres, 3);
	whom = where < 0 ? -1 : read_name(at, whoms, 4);
	c->where = where < 0 ? TH_SIM_BEFORE : (enum th_sim_where)where;
	c->whom = whom < 0 ? TH_SIM_ROOT : (enum th_sim_whom)whom;
	return whom >= 0;
}

static bool read_operation(struct th_sim_opts *s, const char **at)
{
	uint64_t code;

	if (!read_number(at, &s->fail_op) || !read_second(at, &code) || code > 4095)
		return false;
	s->fail_code = -(int)code;
	return true;
}

static bool read_pct(struct th_sim_opts *s, const char **at)
{
	uint64_t depth;

	s->search = TH_SIM_PCT;
	if (!read_number(at, &depth) || depth == 0 || depth > TH_SIM_DEPTH_MAX || !read_second(at, &s->length))
		return false;
	s->depth = (unsigned)depth;
	return true;
}

static bool read_word(struct th_plan *p, const char **at, struct th_sim_pick *picks, size_t max)
{
	uint64_t n;

	if (skip(at, "seed="))
		return read_number(at, &p->sim.seed);
	if (skip(at, "workers=")) {
		p->workers = read_number(at, &n) && n > 0 && n <= 16 ? (unsigned)n : 0;
		return p->workers > 0;
	}
	if (skip(at, "shuffled"))
		return p->shuffle = true;
	if (skip(at, "coarse"))
		return p->sim.coarse = true;
	if (skip(at, "pct="))
		return read_pct(&p->sim, at);
	if (skip(at, "cancel="))
		return read_cancel(&p->sim.cancel, at);
	if (skip(at, "again="))
		return read_cancel(&p->sim.again, at);
	if (skip(at, "allocation="))
		return read_number(at, &p->sim.fail_alloc);
	if (skip(at, "operation="))
		return read_operation(&p->sim, at);
	return skip(at, "choices=") && read_choices(&p->sim, at, picks, max);
}

bool th_plan_read(struct th_plan *p, const char *name, const char *text, struct th_sim_pick *picks, size_t max, bool *ret_other)
{
	size_t len = strlen(name);

	*p = (struct th_plan){ .workers = 1 };
	*ret_other = strncmp(text, name, len) != 0 || (text[len] != ' ' && text[len] != '\0');
	if (*ret_other)
		return false;
	for (text += len; *text;) {
		if (*text++ != ' ')
			return false;
		if (*text && *text != ' ' && !read_word(p, &text, picks, max))
			return false;
	}
	return true;
}
