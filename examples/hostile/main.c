/* hostile: a crowd of clients of an HTTP server. Most of them may behave badly, the others must be served all the same. Each is
 * a fiber.
 *
 * The good ones connect first, some at a time, and stay; from then on the time counts. With --watch the server must not grow
 * meanwhile, and when all are gone be what it was before.
 *
 * This file: the root effect, the verdict, the command line. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "hostile.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { STEP = 64, CONNECTING = 100, SAMPLE_S = 10, SETTLE_S = 3, NUMBER_MAX = 10000000 };

int connect_to(struct hostile *h)
{
	int fd = socket(h->server->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), code;

	if (fd < 0)
		return -thrum_errno();
	code = thrum_connect(fd, h->server->ai_addr, h->server->ai_addrlen);
	if (code == 0)
		count(&h->x_connections);
	else
		(void)thrum_close(fd);
	return code < 0 ? code : fd;
}

/* --- all together --- */

struct one {
	struct hostile *h;
	size_t index;
	bool good;
};

static int run_one(void *arg)
{
	const struct one *o = arg;

	if (o->good)
		be_good(o->h);
	else
		be_bad(o->h, o->index % WAYS);
	return 0; /* what became of it is counted */
}

static size_t hostile_ones(const struct hostile *h)
{
	return (size_t)((double)h->clients * h->share + 0.5);
}

static int start_all(struct hostile *h, thrum_scope *s, struct one *all)
{
	size_t bad = hostile_ones(h);
	int code = 0;

	for (size_t i = 0; i < h->clients && code == 0; i++) {
		all[i] = (struct one){ h, i, i >= bad };
		code = thrum_go(s, (thrum_fx){ run_one, &all[i] });
		if (code == 0 && i % STEP == STEP - 1)
			code = thrum_sleep(thrum_ms(1)); /* so that the backlog does not run over at once */
	}
	return code;
}

/* Wait for so long; a sample now and then. THRUM_APP(1): it has grown. */
static int hold(struct hostile *h, const struct sample *from)
{
	thrum_time end = thrum_time_add(thrum_now(), h->length);
	struct sample now;
	char when[32];
	int code = 0, verdict = 0;

	while (code == 0) {
		thrum_dur left = thrum_time_sub(end, thrum_now());

		if (left.ns <= 0)
			break;
		code = thrum_sleep(left.ns < thrum_sec(SAMPLE_S).ns ? left : thrum_sec(SAMPLE_S));
		if (code < 0 || !h->watched)
			continue;
		code = take_sample(h, &now);
		snprintf(when, sizeof when, "%.0f s", (double)(h->length.ns - thrum_time_sub(end, thrum_now()).ns) / 1e9);
		if (code == 0)
			print_sample(when, &now);
		if (code == 0 && now.rss_kib > from->rss_kib + h->growth_kib)
			verdict = THRUM_APP(1);
	}
	return code < 0 ? code : verdict;
}

static int run_crowd(struct hostile *h, struct one *all)
{
	struct sample connected;
	thrum_scope s;
	int code = thrum_scope_open(&s), closed;

	if (code < 0)
		return code;
	code = start_all(h, &s, all);
	if (code == 0)
		code = thrum_latch_wait(&h->connected);
	if (code == 0 && h->watched) {
		code = take_sample(h, &connected);
		if (code == 0)
			print_sample("connected", &connected);
	}
	if (code == 0)
		code = hold(h, &connected);
	thrum_scope_cancel(&s);
	closed = thrum_scope_close(&s);
	return code < 0 ? code : closed;
}

/* The server before, while and after. */
static int run_watched(struct hostile *h, struct one *all)
{
	struct sample first, last;
	int code = take_sample(h, &first), verdict;

	if (code < 0)
		return code;
	print_sample("before", &first);
	verdict = run_crowd(h, all);
	code = await_return(h, &first, &last);
	if (code == 0)
		code = thrum_sleep(thrum_sec(SETTLE_S)); /* for its memory */
	if (code == 0)
		code = take_sample(h, &last);
	if (code < 0)
		return code;
	print_sample("after", &last);
	if (last.fds > first.fds || last.threads > first.threads || last.rss_kib > first.rss_kib + h->growth_kib)
		return THRUM_APP(2);
	return verdict;
}

static int hostile(void *arg)
{
	struct hostile *h = arg;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	struct one *all = calloc(h->clients, sizeof *all);
	int code = all ? thrum_getaddrinfo(h->host, h->port, &hints, &h->server) : -ENOMEM;

	(void)thrum_sem_init(&h->connecting, CONNECTING);
	(void)thrum_latch_init(&h->connected, (unsigned)(h->clients - hostile_ones(h)));
	if (code == 0)
		code = h->watched ? run_watched(h, all) : run_crowd(h, all);
	thrum_sem_fini(&h->connecting);
	thrum_freeaddrinfo(h->server);
	free(all);
	return code;
}

/* --- the verdict --- */

static int say(const struct hostile *h, int code)
{
	printf("hostile: %llu connections", (unsigned long long)h->x_connections);
	for (size_t i = 0; i < WAYS; i++)
		printf(", %s %llu", ways[i], (unsigned long long)h->x_served[i]);
	printf("\nhostile: good clients: %zu, %llu answers, worst %.1f ms, %llu failures\n", h->clients - hostile_ones(h),
	       (unsigned long long)h->x_answers, (double)h->x_worst_ns / 1e6, (unsigned long long)h->x_failures);
	if (code == THRUM_APP(1))
		fprintf(stderr, "hostile: the server has grown by more than %lu KiB\n", h->growth_kib);
	else if (code == THRUM_APP(2))
		fprintf(stderr, "hostile: the server is not what it was before\n");
	else if (code < 0)
		fprintf(stderr, "hostile: %s\n", thrum_strerror(code));
	return code < 0 || h->x_failures > 0 || h->x_answers == 0 ? EXIT_FAILED : 0;
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* --- the command line --- */

static const char usage[] =
	"usage: hostile [OPTION]... HOST PORT PATH\n"
	"Clients of an HTTP server, good ones and hostile ones. Fails if a good one is not answered in time.\n"
	"\n"
	"  -c, --connections N   so many clients (default: 200)\n"
	"  -x, --hostile P%      so many of them are hostile (default: 90%)\n"
	"  -s, --seconds S       for so long, once the good ones are connected (default: 5)\n"
	"  -e, --every MS        a good one asks so long after an answer (default: 20)\n"
	"  -p, --patience S      and waits so long for one (default: 10)\n"
	"  -w, --watch PID       the server: sampled now and then, and at the end it must have the descriptors, the threads\n"
	"                        and nearly the memory that it had before\n"
	"  -g, --growth KIB      \"nearly\", and by how much its memory may grow while all are connected (default: 8192)\n"
	"  -h, --help            this text\n";

static int bad_usage(const char *what, const char *arg)
{
	fprintf(stderr, "hostile: %s%s%s\nTry 'hostile --help'.\n", what, arg ? ": " : "", arg ? arg : "");
	return EXIT_USAGE;
}

static bool parse_number(const char *s, double max, double *ret)
{
	char *end;

	*ret = *s >= '0' && *s <= '9' ? strtod(s, &end) : -1;
	if (*ret < 0 || *ret > max)
		return false;
	return !*end || (*end == '%' && !end[1]);
}

static void set(struct hostile *h, int option, double n)
{
	switch (option) {
	case 'c':
		h->clients = (size_t)n;
		break;
	case 'x':
		h->share = n / 100;
		break;
	case 's':
		h->length = thrum_sec((int64_t)n);
		break;
	case 'e':
		h->every = thrum_ms((int64_t)n);
		break;
	case 'p':
		h->patience = thrum_sec((int64_t)n);
		break;
	case 'w':
		h->watched = (long)n;
		break;
	default:
		h->growth_kib = (unsigned long)n;
	}
}

/* -1: go on; else the exit status. */
static int parse(struct hostile *h, int argc, char **argv)
{
	static const struct option options[] = { { "connections", required_argument, NULL, 'c' },
						 { "hostile", required_argument, NULL, 'x' },
						 { "seconds", required_argument, NULL, 's' },
						 { "every", required_argument, NULL, 'e' },
						 { "patience", required_argument, NULL, 'p' },
						 { "watch", required_argument, NULL, 'w' },
						 { "growth", required_argument, NULL, 'g' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	double n;

	for (int c; (c = getopt_long(argc, argv, "c:x:s:e:p:w:g:h", options, NULL)) != -1;) {
		if (c == 'h')
			return fputs(usage, stdout) < 0 || fflush(stdout) ? EXIT_FAILED : 0;
		if (c == '?') /* getopt has said what */
			return bad_usage("bad arguments", NULL);
		if (!parse_number(optarg, c == 'x' ? 100 : NUMBER_MAX, &n))
			return bad_usage(c == 'x' ? "a share from 0% to 100% is needed" : "a number is needed", optarg);
		set(h, c, n);
	}
	if (optind + 3 != argc)
		return bad_usage("which host, port and path?", NULL);
	h->host = argv[optind];
	h->port = argv[optind + 1];
	h->path = argv[optind + 2];
	if (h->clients == hostile_ones(h))
		return bad_usage("without a good client there is nothing to see", NULL);
	return -1;
}

int main(int argc, char **argv)
{
	static struct hostile h = { .clients = 200, .share = 0.9, .growth_kib = 8192 };
	int status;

	h.length = thrum_sec(5);
	h.every = thrum_ms(20);
	h.patience = thrum_sec(10);
	status = parse(&h, argc, argv);
	if (status >= 0)
		return status;
	raise_descriptor_limit();
	return say(&h, thrum_run(NULL, (thrum_fx){ hostile, &h }));
}
