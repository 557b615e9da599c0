/* httpd: files below a directory, over HTTP/1.1.
 *
 * A listener runs connection.c for each connection, which reads requests line by line through request.c and has
 * answer.c send files. GET and HEAD, keep-alive, pipelining; limits on every size and every wait. Links below the
 * directory are followed. Small files are kept in memory (worker.c, cache.c): what has changed on the disk is seen a second
 * later at most.
 *
 * This file: the root effect, signals, the command line. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>
#include "httpd.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { SECONDS_MAX = 1000000, CONNECTIONS_MAX = 1000000 };

struct server {
	struct httpd httpd;
	thrum_listener listener;
	const char *address;
	thrum_listener_opts opts;
};

/* --- the root effect --- */

static int serve(void *arg)
{
	struct server *s = arg;

	return thrum_listener_serve(&s->listener, serve_connection, &s->httpd);
}

/* --- signals --- */

static thrum_listener *listener_of_signals;

static void on_stop_signal(int sig)
{
	(void)sig;
	thrum_listener_drain(listener_of_signals);
}

static void catch_signals(thrum_listener *l)
{
	struct sigaction sa = { .sa_handler = on_stop_signal, .sa_flags = (int)(SA_RESETHAND | SA_RESTART) };

	listener_of_signals = l;
	(void)sigaction(SIGTERM, &sa, NULL);
	(void)sigaction(SIGINT, &sa, NULL);
}

static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static int run(struct server *s)
{
	char address[128];
	int code = thrum_listener_open(&s->listener, s->address, &s->opts);

	if (code < 0) {
		fprintf(stderr, "httpd: %s: %s\n", s->address, thrum_strerror(code));
		return EXIT_FAILED;
	}
	catch_signals(&s->listener);
	raise_descriptor_limit();
	if (thrum_listener_address(&s->listener, address, sizeof address) > 0)
		printf("httpd: listening on %s\n", address);
	(void)fflush(stdout);
	code = thrum_run(NULL, (thrum_fx){ serve, s });
	/* Not closed before: until here a signal may come. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	thrum_listener_close(&s->listener);
	workers_free(&s->httpd);
	printf("httpd: %llu answers\n", (unsigned long long)s->httpd.x_answered);
	if (code < 0)
		fprintf(stderr, "httpd: %s\n", thrum_strerror(code));
	return code < 0 ? EXIT_FAILED : 0;
}

/* --- the command line --- */

static const char usage[] =
	"usage: httpd [OPTION]... DIRECTORY\n"
	"Serve the files below DIRECTORY over HTTP/1.1. SIGTERM lets the answers that have begun be finished.\n"
	"\n"
	"  -l, --listen ADDRESS  host:port, [host]:port or unix:PATH (default: 127.0.0.1:8080); port 0: a free one\n"
	"  -c, --connections N   at most N connections at once (default: 10000)\n"
	"  -g, --grace SECONDS   end what is not done so long after SIGTERM (default: 10)\n"
	"  -i, --idle SECONDS    end a connection on which no request begins for so long (default: 60)\n"
	"  -H, --header SECONDS  for the head of a request to come (default: 10)\n"
	"  -b, --body SECONDS    for its body (default: 30)\n"
	"  -w, --write SECONDS   for each 64 KiB of an answer to go (default: 30)\n"
	"  -h, --help            this text\n";

static int bad_usage(const char *what, const char *arg)
{
	fprintf(stderr, "httpd: %s%s%s\nTry 'httpd --help'.\n", what, arg ? ": " : "", arg ? arg : "");
	return EXIT_USAGE;
}

static bool parse_count(const char *s, unsigned long max, unsigned long *ret_n)
{
	char *end;

	*ret_n = *s >= '0' && *s <= '9' ? strtoul(s, &end, 10) : 0;
	return *ret_n >= 1 && *ret_n <= max && !*end;
}

/* Where the option's number goes; NULL: it has none. */
static thrum_dur *limit_of(struct server *s, int option)
{
	struct limits *l = &s->httpd.limits;

	switch (option) {
	case 'g':
		return &s->opts.grace;
	case 'i':
		return &l->idle;
	case 'H':
		return &l->header;
	case 'b':
		return &l->body;
	case 'w':
		return &l->write;
	default:
		return NULL;
	}
}

/* -1: go on; else the exit status. */
static int parse(struct server *s, int argc, char **argv)
{
	static const struct option options[] = { { "listen", required_argument, NULL, 'l' },
						 { "connections", required_argument, NULL, 'c' },
						 { "grace", required_argument, NULL, 'g' },
						 { "idle", required_argument, NULL, 'i' },
						 { "header", required_argument, NULL, 'H' },
						 { "body", required_argument, NULL, 'b' },
						 { "write", required_argument, NULL, 'w' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };

	for (int c; (c = getopt_long(argc, argv, "l:c:g:i:H:b:w:h", options, NULL)) != -1;) {
		unsigned long n = 0;

		if (c == 'h')
			return fputs(usage, stdout) < 0 || fflush(stdout) ? EXIT_FAILED : 0;
		if (c == '?') /* getopt has said what */
			return bad_usage("bad arguments", NULL);
		if (c == 'l')
			s->address = optarg;
		else if (!parse_count(optarg, c == 'c' ? CONNECTIONS_MAX : SECONDS_MAX, &n))
			return bad_usage("a number from 1 to 1000000 is needed", optarg);
		if (c == 'c')
			s->opts.max_connections = (unsigned)n;
		if (limit_of(s, c))
			*limit_of(s, c) = thrum_sec((int64_t)n);
	}
	if (optind + 1 != argc)
		return bad_usage("which directory?", NULL);
	s->httpd.root = open(argv[optind], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->httpd.root < 0) {
		fprintf(stderr, "httpd: %s: %s\n", argv[optind], thrum_strerror(-errno));
		return EXIT_FAILED;
	}
	return -1;
}

int main(int argc, char **argv)
{
	static struct server s = { .address = "127.0.0.1:8080",
				   .opts = { .size = sizeof(thrum_listener_opts), .name = "client", .per_worker = true,
					     .max_connections = 10000 } };
	int status;

	workers_init(&s.httpd);
	s.httpd.limits = (struct limits){ thrum_sec(60), thrum_sec(10), thrum_sec(30), thrum_sec(30) };
	status = parse(&s, argc, argv);
	if (status < 0) {
		status = run(&s);
		(void)close(s.httpd.root);
	}
	return status;
}
