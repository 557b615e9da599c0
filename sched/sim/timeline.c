/* sched/sim/timeline.c: see the header. */
#include "timeline.h"
#include "../../core/assert.h"
#include "../../core/node.h"
#include "../../core/scope.h"
#include "../../io/sim/sim.h"
#include <dlfcn.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool th_timeline_on;

void th_timeline(const char *fmt, ...)
{
	char who[32];
	va_list args;

	th_sim_who(who, sizeof who);
	fprintf(stderr, "%12.6f ms  %-10s ", (double)(th_sim_now() - TH_SIM_EPOCH_NS) / 1e6, who);
	va_start(args, fmt);
	vfprintf(stderr, fmt, args);
	va_end(args);
	fputc('\n', stderr);
}

/* --- fibers: main, main.0, main.0.3, and the names that programs give --- */

static void name_node(struct th_node *n, char *buf, size_t size)
{
	const struct th_task *t;
	const char *dot;
	size_t used;

	buf[0] = '\0';
	while (n && n->kind != TH_NODE_TASK)
		n = n->parent;
	if (!n)
		return;
	t = th_container(n, struct th_task, node);
	name_node(n->parent, buf, size);
	used = strlen(buf);
	dot = used ? "." : "";
	if (t->name)
		snprintf(buf + used, size - used, "%s%s", dot, t->name);
	else
		snprintf(buf + used, size - used, "%s%zu", dot, t->index);
}

void th_timeline_node(struct th_node *n, const char *what)
{
	char name[160];

	name_node(n, name, sizeof name);
	th_timeline("%s %s", name, what);
}

/* --- places in the program --- */

/* The first line with a place in it, of addr2line (Debian: binutils). */
static bool ask_addr2line(const char *object, uintptr_t offset, char *buf, size_t size)
{
	char command[PATH_MAX + 128];
	FILE *f;
	bool found;

	snprintf(command, sizeof command, "addr2line -s -e '%s' 0x%lx 2>/dev/null", object, (unsigned long)offset);
	f = popen(command, "re");
	if (!f)
		return false;
	found = fgets(buf, (int)size, f) && buf[0] != '?';
	buf[strcspn(buf, " \n")] = '\0';
	(void)pclose(f);
	return found;
}

/* The program itself goes by whatever it was called. */
static void find_file(const Dl_info *in, char *file, size_t size)
{
	ssize_t n;

	snprintf(file, size, "%s", in->dli_fname);
	if (access(file, R_OK) == 0)
		return;
	n = readlink("/proc/self/exe", file, size - 1);
	if (n > 0)
		file[n] = '\0';
}

void th_timeline_preempted(struct th_fiber *f, const void *at)
{
	uintptr_t address = (uintptr_t)at - 1; /* inside the call */
	Dl_info in;
	char place[256], file[PATH_MAX], name[160] = "";

	if (f)
		name_node(f->node, name, sizeof name - 2);
	if (name[0])
		strcat(name, " ");
	if (!dladdr(at, &in) || !in.dli_fname) {
		th_timeline("%sis preempted", name);
		return;
	}
	find_file(&in, file, sizeof file);
	if (ask_addr2line(file, address - (uintptr_t)in.dli_fbase, place, sizeof place) ||
	    ask_addr2line(file, address, place, sizeof place)) /* not position-independent */
		th_timeline("%sis preempted at %s", name, place);
	else
		th_timeline("%sis preempted in %s", name, in.dli_sname ? in.dli_sname : in.dli_fname);
}
