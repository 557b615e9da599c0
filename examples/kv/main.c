/* kv: a key-value store in memory that speaks RESP2, so that redis-cli and every redis client can talk to it.
 *
 * A listener runs connection.c for each client, which reads words and has command.c answer them from store.c. PING,
 * ECHO, SET (EX, PX, NX), GET, DEL, EXISTS, INCR, EXPIRE, TTL, DBSIZE, FLUSHALL, COMMAND, QUIT; pipelined or inline.
 *
 * This file: the root effect, signals, the command line. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include "kv.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum { SECONDS_MAX = 1000000, CONNECTIONS_MAX = 1000000, IO_S = 20 };

struct server {
	struct kv kv;
	thrum_listener listener;
	const char *address;
	thrum_listener_opts opts;
};

/* --- the root effect --- */

static int sweep(void *store)
{
	return store_sweep(store);
}

static int serve(void *arg)
{
	struct server *s = arg;
	thrum_scope scope;
	int code = thrum_scope_open(&scope), served;

	if (code < 0)
		return code;
	/* It ends with the scope, when nobody else is left in it. */
	code = thrum_spawn_with(&scope, NULL, (thrum_fx){ sweep, &s->kv.store },
				THRUM_SPAWN_OPTS(.name = "sweeper", .daemon = true));
	served = code < 0 ? code : thrum_listener_serve(&s->listener, serve_connection, &s->kv);
	code = thrum_scope_close(&scope);
	return served < 0 ? served : code;
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
		fprintf(stderr, "kv: %s: %s\n", s->address, thrum_strerror(code));
		return EXIT_FAILED;
	}
	catch_signals(&s->listener);
	raise_descriptor_limit();
	if (thrum_listener_address(&s->listener, address, sizeof address) > 0)
		printf("kv: listening on %s\n", address);
	(void)fflush(stdout);
	store_init(&s->kv.store);
	code = thrum_run(NULL, (thrum_fx){ serve, s });
	store_fini(&s->kv.store);
	/* Not closed before: until here a signal may come. */
	(void)signal(SIGTERM, SIG_IGN);
	(void)signal(SIGINT, SIG_IGN);
	thrum_listener_close(&s->listener);
	if (code < 0)
		fprintf(stderr, "kv: %s\n", thrum_strerror(code));
	return code < 0 ? EXIT_FAILED : 0;
}

/* --- the command line --- */

static const char usage[] =
	"usage: kv [OPTION]...\n"
	"A key-value store in memory that speaks the protocol of redis (RESP2). At SIGTERM it answers what has come.\n"
	"\n"
	"  -l, --listen ADDRESS  host:port, [host]:port or unix:PATH (default: 127.0.0.1:6379); port 0: a free one\n"
	"  -c, --connections N   at most N clients at once (default: 10000)\n"
	"  -i, --idle SECONDS    end a client that sends nothing for so long (default: never)\n"
	"  -t, --timeout SECONDS for a command to come, and for its answer to go (default: 20)\n"
	"  -g, --grace SECONDS   end what is not done so long after SIGTERM (default: 10)\n"
	"  -h, --help            this text\n";

static int bad_usage(const char *what, const char *arg)
{
	fprintf(stderr, "kv: %s%s%s\nTry 'kv --help'.\n", what, arg ? ": " : "", arg ? arg : "");
	return EXIT_USAGE;
}

static bool parse_count(const char *s, unsigned long max, unsigned long *ret_n)
{
	char *end;

	*ret_n = *s >= '0' && *s <= '9' ? strtoul(s, &end, 10) : 0;
	return *ret_n >= 1 && *ret_n <= max && !*end;
}

/* -1: go on; else the exit status. */
static int parse(struct server *s, int argc, char **argv)
{
	static const struct option options[] = { { "listen", required_argument, NULL, 'l' },
						 { "connections", required_argument, NULL, 'c' },
						 { "idle", required_argument, NULL, 'i' },
						 { "timeout", required_argument, NULL, 't' },
						 { "grace", required_argument, NULL, 'g' },
						 { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };

	for (int c; (c = getopt_long(argc, argv, "l:c:i:t:g:h", options, NULL)) != -1;) {
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
		if (c == 'i')
			s->kv.limits.idle = thrum_sec((int64_t)n);
		if (c == 't')
			s->kv.limits.io = thrum_sec((int64_t)n);
		if (c == 'g')
			s->opts.grace = thrum_sec((int64_t)n);
	}
	return optind < argc ? bad_usage("too many arguments", argv[optind]) : -1;
}

int main(int argc, char **argv)
{
	static struct server s = { .address = "127.0.0.1:6379",
				   .opts = { .size = sizeof(thrum_listener_opts), .name = "client", .per_worker = true,
					     .max_connections = 10000 } };
	int status;

	s.kv.limits = (struct limits){ .idle = THRUM_FOREVER, .io = thrum_sec(IO_S) };
	status = parse(&s, argc, argv);
	return status >= 0 ? status : run(&s);
}
