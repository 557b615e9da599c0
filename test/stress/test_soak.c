/* test/stress/test_soak.c: a server and its clients, resources, locks, channels, jobs and cancels, for THRUM_SOAK_SECONDS (2): what
 * the process has at the end is what it had after the first fifth. */
#include <sys/socket.h>
#include "stress.h"

enum { CLIENTS = 24, MESSAGES = 8, BYTES = 512, ITEMS = 64, SETTLE_MS = 600 };

struct load {
	char address[64];
	thrum_listener listener;
	int acquired, released;
	long long rounds, echoed, cut;
};

/* --- what a client does --- */

static int echo(void *unused, thrum_conn *conn)
{
	char buf[BYTES];
	ssize_t got;

	(void)unused;
	while ((got = thrum_recv(conn->fd, buf, sizeof buf, 0)) > 0) {
		int code = thrum_send_all(conn->fd, buf, (size_t)got, 0, NULL);
		if (code < 0)
			return 0; /* it has left in the middle */
	}
	return 0;
}

static int acquire(struct load *l)
{
	__atomic_add_fetch(&l->acquired, 1, __ATOMIC_RELAXED);
	return 0;
}
THRUM_FX(acquire, struct load);

static int release(struct load *l)
{
	__atomic_add_fetch(&l->released, 1, __ATOMIC_RELAXED);
	return 0;
}
THRUM_FX(release, struct load);

static int close_it(int *fd)
{
	return thrum_close(*fd);
}
THRUM_FX(close_it, int);

static int talk(struct load *l, int fd)
{
	char out[BYTES], in[BYTES];
	int code = 0;

	memset(out, 'x', sizeof out);
	for (int i = 0; i < MESSAGES && code == 0; i++) {
		code = thrum_send_all(fd, out, sizeof out, 0, NULL);
		if (code == 0)
			code = thrum_read_all(fd, in, sizeof in, NULL);
		TH_CHECK(code < 0 || memcmp(in, out, sizeof in) == 0);
		__atomic_add_fetch(&l->echoed, code == 0, __ATOMIC_RELAXED);
	}
	return code;
}

static int visit(struct load *l)
{
	thrum_deferred d;
	thrum_scope s;
	int fd, code = thrum_scope_open(&s);

	if (code < 0)
		return code;
	fd = thrum_dial(l->address);
	code = fd < 0 ? fd : thrum_defer(&s, &d, close_it_fx(&fd));
	if (code == 0)
		code = thrum_acquire_release(acquire_fx(l), release_fx(l));
	if (code == 0)
		code = talk(l, fd);
	(void)thrum_scope_close(&s);
	return code;
}
THRUM_FX(visit, struct load);

/* One that may be in the middle of anything when its time is over. */
static int visit_in_haste(struct load *l)
{
	int code = thrum_timeout(visit_fx(l), thrum_us((int64_t)(thrum_random() % 2000)));

	__atomic_add_fetch(&l->cut, code == -ETIMEDOUT, __ATOMIC_RELAXED);
	return code == -ETIMEDOUT ? 0 : code;
}
THRUM_FX(visit_in_haste, struct load);

/* --- what else goes on --- */

static int produce(thrum_chan *c)
{
	int code = 0;

	for (int i = 0; i < ITEMS && code == 0; i++)
		code = thrum_chan_send(c, &i);
	return code == 0 ? thrum_chan_close(c) : code;
}
THRUM_FX(produce, thrum_chan);

static int consume(thrum_chan *c)
{
	int code, item;

	while ((code = thrum_chan_recv(c, &item)) == 0)
		continue;
	return code == THRUM_ECLOSED ? 0 : code;
}
THRUM_FX(consume, thrum_chan);

static int pass_items(void *unused)
{
	thrum_chan c;
	int code = thrum_chan_init(&c, sizeof(int), 4);

	(void)unused;
	if (code == 0) {
		code = thrum_zip_par(produce_fx(&c), consume_fx(&c));
		thrum_chan_fini(&c);
	}
	return code;
}

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}

static int call_out(void *unused)
{
	(void)unused;
	return thrum_blocking((thrum_fx){ nothing, NULL });
}

static int one_round(struct load *l)
{
	thrum_fx fx[CLIENTS + 3];
	size_t n = 0;

	for (; n < CLIENTS; n++)
		fx[n] = n % 3 ? visit_fx(l) : visit_in_haste_fx(l);
	fx[n++] = (thrum_fx){ pass_items, NULL };
	fx[n++] = (thrum_fx){ call_out, NULL };
	fx[n++] = (thrum_fx){ pass_items, NULL };
	l->rounds++;
	return thrum_zip_par_n(fx, n);
}

/* --- for a while --- */

struct has {
	int fds, threads, mappings;
	size_t resident;
};

static int serve(struct load *l)
{
	return thrum_listener_serve(&l->listener, echo, NULL);
}
THRUM_FX(serve, struct load);

static int rounds_for(struct load *l, int64_t ns)
{
	int64_t end = clock_ns(CLOCK_MONOTONIC) + ns;
	int code = 0;

	while (code == 0 && clock_ns(CLOCK_MONOTONIC) < end)
		code = one_round(l);
	return code;
}

/* When the connections have gone and the stacks of the last burst have cooled. The one wait for real time. */
static struct has measure(void)
{
	TH_CHECK_EQ(thrum_sleep(thrum_ms(SETTLE_MS)), 0);
	return (struct has){ count_entries("/proc/self/fd"), count_entries("/proc/self/task"), count_mappings(), resident_bytes() };
}

static int load_it(struct load *l)
{
	const char *text = getenv("THRUM_SOAK_SECONDS");
	int64_t seconds = text && *text ? strtoll(text, NULL, 10) : 2;
	struct has early, late;

	TH_CHECK_EQ(rounds_for(l, seconds * 200000000), 0);
	early = measure();
	TH_CHECK_EQ(rounds_for(l, seconds * 800000000), 0);
	late = measure();
	say("rounds", l->rounds, "");
	say("echoed", l->echoed, "");
	say("cut short", l->cut, "");
	say("grown by", (long long)(late.resident - early.resident), "bytes");
	TH_CHECK_EQ(l->acquired, l->released);
	TH_CHECK_EQ(late.fds, early.fds);
	TH_CHECK_EQ(late.threads, early.threads);
	if (!TH_SANITIZED) { /* they keep what is freed */
		TH_CHECK(late.mappings <= early.mappings + 8);
		TH_CHECK(late.resident <= early.resident + early.resident / 10 + (1 << 20));
	}
	thrum_listener_drain(&l->listener);
	return 0;
}
THRUM_FX(load_it, struct load);

static int serve_and_load(struct load *l)
{
	TH_CHECK_EQ(thrum_listener_open(&l->listener, "127.0.0.1:0", THRUM_LISTENER_OPTS(.per_worker = true)), 0);
	TH_CHECK(thrum_listener_address(&l->listener, l->address, sizeof l->address) > 0);
	TH_CHECK_EQ(thrum_zip_par(serve_fx(l), load_it_fx(l)), 0);
	thrum_listener_close(&l->listener);
	return 0;
}
THRUM_FX(serve_and_load, struct load);

TH_TEST(soak, what_it_has_at_the_end_is_what_it_had_X7)
{
	struct load l = { .rounds = 0 };

	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 2), serve_and_load_fx(&l)), 0);
}
