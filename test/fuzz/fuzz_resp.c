/* test/fuzz/fuzz_resp.c: examples/kv, as it is, in a simulated world, and a client that sends it any bytes: it ends when it is told
 * to, and leaves nothing behind. */
#include "fuzz.h"
#include "../support/sim_program.h"
#include "io/sim/sim.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

#define ADDRESS "127.0.0.1:6379"

static struct fuzz_bytes sent;
static int status;

static int serve(void *unused)
{
	static const char *const args[] = { "kv", "-l", ADDRESS, "-c", "2", NULL };

	(void)unused;
	status = sim_program(args);
	return 0;
}

static int dial(void)
{
	int fd;

	while ((fd = thrum_dial(ADDRESS)) == -ECONNREFUSED)
		(void)thrum_sleep(thrum_ms(1));
	return fd;
}

static int send_all(void *fd)
{
	int code = thrum_write_all(*(int *)fd, sent.p, sent.left, NULL);

	(void)thrum_shutdown(*(int *)fd, SHUT_WR);
	return code == -EPIPE || code == -ECONNRESET ? 0 : code; /* it may close at what is no RESP */
}

static int read_all(void *fd)
{
	char buf[512];
	ssize_t got;

	while ((got = thrum_read(*(int *)fd, buf, sizeof buf)) > 0)
		continue;
	return got == -ECONNRESET ? 0 : (int)got;
}

static int ask(void *unused)
{
	int fd = dial(), code;

	(void)unused;
	TH_CHECK(fd >= 0);
	code = thrum_zip_par((thrum_fx){ send_all, &fd }, (thrum_fx){ read_all, &fd });
	TH_CHECK_EQ(code, 0);
	TH_CHECK_EQ(thrum_close(fd), 0);
	TH_CHECK(th_sim_raise(SIGTERM));
	return 0;
}

static int serve_and_ask(void *unused)
{
	(void)unused;
	return thrum_zip_par((thrum_fx){ serve, NULL }, (thrum_fx){ ask, NULL });
}

/* The first two bytes: the seed of the schedule. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_bytes b = { data, size };
	uint64_t seed = 1 + fuzz_byte(&b) + 256U * fuzz_byte(&b);
	struct th_sim_report r;

	sent = b;
	th_sim_begin(&(struct th_sim_opts){ .seed = seed });
	TH_CHECK_EQ(thrum_run(THRUM_OPTS(.workers = 1 + (unsigned)(seed % 3)), (thrum_fx){ serve_and_ask, NULL }), 0);
	th_sim_end(&r);
	TH_CHECK_EQ(status, 0);
	TH_CHECK_EQ(r.ops_left, 0);
	TH_CHECK_EQ(r.fds_left, 0);
	return 0;
}
