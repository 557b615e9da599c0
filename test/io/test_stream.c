/* Buffered readers and writers. The feeder sends a piece only when the one before has been read, so that each piece is
 * a read of its own, or more. */
#include <sys/ioctl.h>
#include <thrum/stream.h>
#include "io_test.h"

static const char text[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\na\n\n\rb\r\r\nlong enough\nlast one\n";
enum { TEXT = sizeof(text) - 1 };

struct feed {
	int fds[2];         /* reader's end, feeder's end */
	const char *data;
	size_t n;
	size_t cut;         /* one cut here; or */
	size_t step;        /* pieces of this size; or */
	unsigned *seed;     /* of random size */
};

static void send_piece(struct feed *f, size_t from, size_t to)
{
	int unread = 1;

	if (from == to)
		return;
	TH_CHECK_EQ(thrum_send_all(f->fds[1], f->data + from, to - from, 0, NULL), 0);
	for (;;) {
		TH_CHECK_EQ(ioctl(f->fds[0], FIONREAD, &unread), 0);
		if (unread == 0)
			return;
		TH_CHECK_EQ(thrum_yield(), 0);
	}
}

static unsigned random_below(unsigned *seed, unsigned n)
{
	*seed = *seed * 1664525U + 1013904223U;
	return (*seed >> 8) % n;
}

static int feed(struct feed *f)
{
	size_t at = 0;

	if (!f->step && !f->seed) {
		send_piece(f, 0, f->cut);
		at = f->cut;
	}
	while (at < f->n) {
		size_t step = f->step ? f->step : f->seed ? 1 + random_below(f->seed, 9) : f->n;
		size_t to = f->n - at < step ? f->n : at + step;

		send_piece(f, at, to);
		at = to;
	}
	return thrum_close(f->fds[1]);
}
THRUM_FX(feed, struct feed);

/* --- lines --- */

struct lines {
	struct feed feed;
	size_t size;
};

/* The lines of `text`, by hand. */
static const char *const expected[] = { "GET / HTTP/1.1", "Host: x", "", "a", "", "\rb\r", "long enough", "last one" };

static int read_lines(struct lines *l)
{
	thrum_reader r;
	char buf[64], *line;
	size_t len = 0;

	TH_CHECK_EQ(thrum_reader_init(&r, l->feed.fds[0], buf, l->size), 0);
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		TH_CHECK_EQ(thrum_reader_line(&r, 0, &line, &len), 1);
		TH_CHECK_EQ(len, strlen(expected[i]));
		TH_CHECK(memcmp(line, expected[i], len) == 0);
	}
	TH_CHECK_EQ(thrum_reader_line(&r, 0, &line, &len), 0);
	TH_CHECK_EQ(thrum_reader_line(&r, 0, &line, &len), 0); /* the end stays */
	return thrum_close(l->feed.fds[0]);
}
THRUM_FX(read_lines, struct lines);

static int lines_at_every_cut(void *unused)
{
	(void)unused;
	for (size_t size = 16; size <= 64; size += 12) {
		for (size_t cut = 0; cut <= TEXT; cut++) {
			struct lines l = { { .data = text, .n = TEXT, .cut = cut }, size };

			open_pair(l.feed.fds);
			TH_CHECK_EQ(thrum_zip_par(read_lines_fx(&l), feed_fx(&l.feed)), 0);
		}
		for (size_t step = 1; step < 5; step++) {
			struct lines l = { { .data = text, .n = TEXT, .step = step }, size };

			open_pair(l.feed.fds);
			TH_CHECK_EQ(thrum_zip_par(read_lines_fx(&l), feed_fx(&l.feed)), 0);
		}
	}
	return 0;
}
THRUM_FX(lines_at_every_cut, void);
TH_TEST(io_stream, lines_are_the_same_wherever_the_stream_is_cut)
{
	int before = fd_count();

	run_ok(lines_at_every_cut_fx(NULL));
	TH_CHECK_EQ(fd_count(), before);
}

/* --- limits --- */

static void put(int fd, const char *s) { TH_CHECK_EQ(thrum_send_all(fd, s, strlen(s), 0, NULL), 0); }

static int limits(void *unused)
{
	int fds[2];
	thrum_reader r;
	char buf[8], *data;
	const char *peeked;
	size_t len;

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(thrum_reader_init(&r, fds[0], buf, sizeof(buf)), 0);
	put(fds[1], "1234\n12345\nxy\n12345678901234567890\nz\n1234567\n");
	TH_CHECK_EQ(thrum_reader_line(&r, 5, &data, &len), 1); /* five bytes with its end */
	TH_CHECK_EQ(len, 4);
	TH_CHECK_EQ(thrum_reader_line(&r, 5, &data, &len), -EMSGSIZE);
	TH_CHECK_EQ(len, 4);
	TH_CHECK(thrum_reader_peek(&r, &peeked) >= 5 && memcmp(peeked, "12345", 5) == 0); /* nothing is lost */
	TH_CHECK_EQ(thrum_reader_line(&r, 6, &data, &len), 1);
	TH_CHECK_EQ(len, 5);
	TH_CHECK_EQ(thrum_reader_line(&r, 3, &data, &len), 1);
	TH_CHECK_EQ(thrum_reader_line(&r, 100, &data, &len), -EMSGSIZE); /* longer than the buffer */
	TH_CHECK_EQ(thrum_reader_skip_until(&r, "\n", 1), 1);
	TH_CHECK_EQ(thrum_reader_line(&r, 0, &data, &len), 1);
	TH_CHECK(len == 1 && *data == 'z');
	TH_CHECK_EQ(thrum_reader_line(&r, 0, &data, &len), 1); /* exactly the buffer */
	TH_CHECK_EQ(len, 7);

	put(fds[1], "abcdefgh");
	TH_CHECK_EQ(thrum_reader_need(&r, 9), -EMSGSIZE);
	TH_CHECK_EQ(thrum_reader_need(&r, 8), 0);
	TH_CHECK_EQ(thrum_reader_fill(&r), -ENOBUFS);
	TH_CHECK_EQ(thrum_reader_consume(&r, 9), -EINVAL);
	TH_CHECK_EQ(thrum_reader_consume(&r, 8), 0);
	TH_CHECK_EQ(thrum_reader_until(&r, "", 0, 0, &data, &len), -EINVAL);
	TH_CHECK_EQ(thrum_reader_skip_until(&r, "123456789", 9), -EINVAL);
	TH_CHECK_EQ(thrum_reader_init(&r, fds[0], buf, 0), -EINVAL);
	TH_CHECK_EQ(thrum_reader_init(&r, fds[0], NULL, 8), -EINVAL);
	TH_CHECK_EQ(thrum_reader_rebuffer(&r, NULL, 8), -EINVAL);
	TH_CHECK_EQ(thrum_reader_rebuffer(&r, buf, 0), -EINVAL);
	close_both(fds);
	return 0;
}
THRUM_FX(limits, void);
TH_TEST(io_stream, too_long_a_line_is_EMSGSIZE_and_can_be_passed_over) { run_ok(limits_fx(NULL)); }

/* --- ends --- */

struct ends {
	const char *data;
	int line, until, need, all, skip, skip_until;
	size_t done;
};
static const struct ends ends_of[] = {
	{ "", 0, 0, THRUM_EEOF, THRUM_EEOF, THRUM_EEOF, 0, 0 },
	{ "ab", THRUM_EEOF, THRUM_EEOF, THRUM_EEOF, THRUM_EEOF, THRUM_EEOF, THRUM_EEOF, 2 },
	{ "ab\r", THRUM_EEOF, THRUM_EEOF, 0, 0, 0, THRUM_EEOF, 3 },
};
enum { LINE, UNTIL, NEED, ALL, SKIP, SKIP_UNTIL, CALLS };

static int end_of(int call, const struct ends *e)
{
	int fds[2], code = 0;
	thrum_reader r;
	char buf[16], to[16], *data;
	size_t len = 77, done;

	open_pair(fds);
	put(fds[1], e->data);
	TH_CHECK_EQ(close(fds[1]), 0);
	TH_CHECK_EQ(thrum_reader_init(&r, fds[0], buf, sizeof(buf)), 0);
	if (call == LINE)
		code = thrum_reader_line(&r, 0, &data, &len);
	else if (call == UNTIL)
		code = thrum_reader_until(&r, "\r\n", 2, 0, &data, &len);
	else if (call == NEED)
		code = thrum_reader_need(&r, 3);
	else if (call == ALL) {
		code = thrum_reader_read_all(&r, to, 3, &done);
		TH_CHECK_EQ(done, e->done);
		TH_CHECK(memcmp(to, e->data, done) == 0);
	} else if (call == SKIP) {
		code = thrum_reader_skip(&r, 3, &done);
		TH_CHECK_EQ(done, e->done);
	} else
		code = thrum_reader_skip_until(&r, "\r\n", 2);
	TH_CHECK_EQ(len, 77);
	if (call == LINE || call == UNTIL || call == NEED) { /* what came is still there */
		TH_CHECK_EQ(thrum_reader_read(&r, to, sizeof(to)), (ssize_t)strlen(e->data));
		TH_CHECK(memcmp(to, e->data, strlen(e->data)) == 0);
	}
	TH_CHECK_EQ(thrum_reader_read(&r, to, sizeof(to)), 0);
	TH_CHECK_EQ(close(fds[0]), 0);
	return code;
}

static int ends(void *unused)
{
	(void)unused;
	for (size_t i = 0; i < sizeof ends_of / sizeof *ends_of; i++) {
		const struct ends *e = &ends_of[i];
		int want[CALLS] = { e->line, e->until, e->need, e->all, e->skip, e->skip_until };

		for (int call = 0; call < CALLS; call++)
			TH_CHECK_EQ(end_of(call, e), want[call]);
	}
	return 0;
}
THRUM_FX(ends, void);
TH_TEST(io_stream, an_end_in_the_middle_is_told_apart_from_a_clean_one) { run_ok(ends_fx(NULL)); }

/* --- a cancel loses nothing --- */

struct slow_line {
	thrum_reader *r;
	int code;
};
static int slow_line(struct slow_line *s)
{
	char *line;
	size_t len;

	s->code = thrum_reader_line(s->r, 0, &line, &len);
	return 0;
}
THRUM_FX(slow_line, struct slow_line);

static int cancelled_reader(void *unused)
{
	int fds[2];
	thrum_reader r;
	char buf[32], to[32], *line;
	size_t len, done;
	struct slow_line s = { .r = &r };
	thrum_scope scope;
	thrum_task t;
	uint64_t ops;

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(thrum_reader_init(&r, fds[0], buf, sizeof(buf)), 0);
	put(fds[1], "half a ");
	ops = ops_so_far();
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, slow_line_fx(&s)), 0);
	until_ops(ops, 2); /* one read brought that, the next waits */
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(s.code, -ECANCELED);
	put(fds[1], "line\nnext\n");
	TH_CHECK_EQ(thrum_reader_line(&r, 0, &line, &len), 1);
	TH_CHECK(len == 11 && memcmp(line, "half a line", 11) == 0);

	/* In a cancelled scope nothing is handed out, not even what is there (G3). */
	TH_CHECK_EQ(thrum_reader_need(&r, 5), 0);
	thrum_scope_cancel(&scope);
	TH_CHECK_EQ(thrum_reader_line(&r, 0, &line, &len), -ECANCELED);
	TH_CHECK_EQ(thrum_reader_read_all(&r, to, 1, &done), -ECANCELED);
	TH_CHECK_EQ(done, 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(thrum_reader_line(&r, 0, &line, &len), 1);
	TH_CHECK(len == 4 && memcmp(line, "next", 4) == 0);
	close_both(fds);
	return 0;
}
THRUM_FX(cancelled_reader, void);
TH_TEST(io_stream, a_cancelled_read_keeps_what_had_come_G3_G4_G8) { run_ok(cancelled_reader_fx(NULL)); }

/* --- against a naive reader that has all of the input --- */

enum { INPUT = 600, ROUNDS = 60, FUZZ_BUFFER = 40 };
struct fuzz {
	struct feed feed;
	char input[INPUT];
	size_t at; /* what the reference has handed out */
	unsigned seed, feed_seed;
	size_t size;
};

static size_t left(const struct fuzz *f) { return INPUT - f->at; }

static int naive_until(struct fuzz *f, const char *end, size_t limit, size_t *ret_len)
{
	size_t n = strlen(end), have = left(f) < limit ? left(f) : limit;
	const char *from = f->input + f->at;

	for (size_t i = 0; i + n <= have; i++)
		if (memcmp(from + i, end, n) == 0) {
			*ret_len = i;
			return 1;
		}
	if (left(f) >= limit)
		return -EMSGSIZE;
	return left(f) ? THRUM_EEOF : 0;
}

static void check_until(struct fuzz *f, thrum_reader *r, const char *end)
{
	size_t limit = 1 + random_below(&f->seed, (unsigned)f->size), want_len = 0, len = 0;
	int want, code;
	char *data;

	if (random_below(&f->seed, 4) == 0)
		limit = f->size;
	want = naive_until(f, end, limit, &want_len);
	code = thrum_reader_until(r, end, strlen(end), limit, &data, &len);
	TH_CHECK_EQ(code, want);
	if (code != 1)
		return;
	TH_CHECK_EQ(len, want_len);
	TH_CHECK(memcmp(data, f->input + f->at, len) == 0);
	f->at += len + strlen(end);
}

static void check_skip_until(struct fuzz *f, thrum_reader *r, const char *end)
{
	size_t len = 0;
	int want = naive_until(f, end, SIZE_MAX, &len);

	TH_CHECK_EQ(thrum_reader_skip_until(r, end, strlen(end)), want);
	f->at = want == 1 ? f->at + len + strlen(end) : INPUT;
}

static void check_bytes(struct fuzz *f, thrum_reader *r, bool skip)
{
	size_t n = random_below(&f->seed, 2 * (unsigned)f->size), want = n < left(f) ? n : left(f), done = 0;
	char to[100];
	int code = skip ? thrum_reader_skip(r, n, &done) : thrum_reader_read_all(r, to, n, &done);

	TH_CHECK_EQ(code, want < n ? THRUM_EEOF : 0);
	TH_CHECK_EQ(done, want);
	TH_CHECK(skip || memcmp(to, f->input + f->at, done) == 0);
	f->at += done;
}

static void check_some(struct fuzz *f, thrum_reader *r)
{
	char to[100];
	ssize_t n = thrum_reader_read(r, to, 1 + random_below(&f->seed, 2 * (unsigned)f->size));

	TH_CHECK(n > 0 ? (size_t)n <= left(f) : n == 0 && left(f) == 0);
	TH_CHECK(memcmp(to, f->input + f->at, (size_t)n) == 0);
	f->at += (size_t)n;
}

static void check_peek(struct fuzz *f, thrum_reader *r)
{
	size_t n = random_below(&f->seed, (unsigned)f->size + 2), there;
	const char *data;
	int code = thrum_reader_need(r, n);

	TH_CHECK_EQ(code, n > f->size ? -EMSGSIZE : n > left(f) ? THRUM_EEOF : 0);
	there = thrum_reader_peek(r, &data);
	TH_CHECK(there <= left(f) && (code < 0 || there >= n));
	TH_CHECK(memcmp(data, f->input + f->at, there) == 0);
	there = random_below(&f->seed, (unsigned)there + 1);
	TH_CHECK_EQ(thrum_reader_consume(r, there), 0);
	f->at += there;
}

/* Another buffer of another size: the old one is not looked at any more. */
static void check_rebuffer(struct fuzz *f, thrum_reader *r, char bufs[2][FUZZ_BUFFER], int *in)
{
	const char *unused;
	size_t there = thrum_reader_peek(r, &unused), least = there > 4 ? there : 4; /* the longest of the ends */

	if (there > 1)
		TH_CHECK_EQ(thrum_reader_rebuffer(r, bufs[1 - *in], there - 1), -EMSGSIZE);
	f->size = least + random_below(&f->seed, FUZZ_BUFFER + 1 - (unsigned)least);
	TH_CHECK_EQ(thrum_reader_rebuffer(r, bufs[1 - *in], f->size), 0);
	memset(bufs[*in], '?', FUZZ_BUFFER);
	*in = 1 - *in;
	TH_CHECK_EQ(thrum_reader_peek(r, &unused), there);
}

static int read_fuzz(struct fuzz *f)
{
	static const char *const ends[] = { "\n", "ab", "aa", "\r\n\r\n", "aab" };
	thrum_reader r;
	char bufs[2][FUZZ_BUFFER], *buf = bufs[0];
	int in = 0;

	TH_CHECK_EQ(thrum_reader_init(&r, f->feed.fds[0], buf, f->size), 0);
	while (left(f) > 0) {
		const char *end = ends[random_below(&f->seed, 5)];

		switch (random_below(&f->seed, 13)) {
		case 0:
			check_bytes(f, &r, false);
			break;
		case 1:
			check_bytes(f, &r, true);
			break;
		case 2:
			check_some(f, &r);
			break;
		case 3:
			check_peek(f, &r);
			break;
		case 4:
			check_skip_until(f, &r, end);
			break;
		case 5:
			check_rebuffer(f, &r, bufs, &in);
			break;
		default:
			check_until(f, &r, end);
		}
	}
	check_some(f, &r);
	return thrum_close(f->feed.fds[0]);
}
THRUM_FX(read_fuzz, struct fuzz);

static int fuzz(void *unused)
{
	(void)unused;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct fuzz f = { .seed = round, .feed_seed = round * 7 + 1, .size = 4 + round % 36 };

		for (size_t i = 0; i < INPUT; i++)
			f.input[i] = "aaab\r\n\n"[random_below(&f.seed, 7)];
		f.feed = (struct feed){ .data = f.input, .n = INPUT, .seed = &f.feed_seed };
		open_pair(f.feed.fds);
		TH_CHECK_EQ(thrum_zip_par(read_fuzz_fx(&f), feed_fx(&f.feed)), 0);
	}
	return 0;
}
THRUM_FX(fuzz, void);
TH_TEST(io_stream, random_calls_on_random_cuts_agree_with_a_naive_reader) { run_ok(fuzz_fx(NULL)); }

/* --- writing --- */

enum { BIG = 300000 };
struct sink {
	int fd;
	char *data;
	size_t n;
};
static int drain(struct sink *s)
{
	ssize_t got;

	while ((got = thrum_read(s->fd, s->data + s->n, BIG + 100 - s->n)) > 0)
		s->n += (size_t)got;
	TH_CHECK_EQ(got, 0);
	return 0;
}
THRUM_FX(drain, struct sink);

static char big_byte(size_t i) { return (char)(i * 7 % 251); }

struct source {
	int fd;
	char *big;
};
static int write_all(struct source *s)
{
	thrum_writer w;
	char buf[16];
	size_t done;

	TH_CHECK_EQ(thrum_writer_init(&w, s->fd, buf, sizeof(buf)), 0);
	TH_CHECK_EQ(thrum_writer_write(&w, "0123456789", 10, &done), 0);
	TH_CHECK_EQ(done, 10);
	TH_CHECK_EQ(thrum_writer_pending(&w), 10); /* nothing is sent before it has to be */
	TH_CHECK_EQ(thrum_writer_printf(&w, "%d", 123456), 0);
	TH_CHECK_EQ(thrum_writer_pending(&w), 6); /* vsnprintf() wants a byte more */
	TH_CHECK_EQ(thrum_writer_write(&w, s->big, BIG, &done), 0);
	TH_CHECK_EQ(done, BIG);
	TH_CHECK(thrum_writer_pending(&w) <= sizeof(buf));
	TH_CHECK_EQ(thrum_writer_printf(&w, "%s", "seventeen letters"), -EMSGSIZE);
	TH_CHECK_EQ(thrum_writer_printf(&w, "%.15s", "fifteen letters"), 0);
	TH_CHECK_EQ(thrum_writer_flush(&w), 0);
	TH_CHECK_EQ(thrum_writer_pending(&w), 0);
	TH_CHECK_EQ(thrum_writer_flush(&w), 0);
	return thrum_close(s->fd);
}
THRUM_FX(write_all, struct source);

static void check_written(const struct sink *k)
{
	TH_CHECK_EQ(k->n, 16 + BIG + 15);
	TH_CHECK(memcmp(k->data, "0123456789123456", 16) == 0);
	for (size_t i = 0; i < BIG; i++)
		TH_CHECK_EQ(k->data[16 + i], big_byte(i));
	TH_CHECK(memcmp(k->data + 16 + BIG, "fifteen letters", 15) == 0);
}

static int writing(int *socket)
{
	int fds[2], snd = 4096;
	struct sink k = { .data = malloc(BIG + 100) };
	struct source s = { .big = malloc(BIG) };

	TH_CHECK(k.data && s.big);
	for (size_t i = 0; i < BIG; i++)
		s.big[i] = big_byte(i);
	if (*socket) {
		open_pair(fds);
		TH_CHECK_EQ(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &snd, sizeof(snd)), 0);
	} else
		open_pipe(fds, 0);
	k.fd = fds[0];
	s.fd = fds[1];
	TH_CHECK_EQ(thrum_zip_par(drain_fx(&k), write_all_fx(&s)), 0);
	check_written(&k);
	free(k.data);
	free(s.big);
	return thrum_close(fds[0]);
}
THRUM_FX(writing, int);
TH_TEST(io_stream, what_is_written_arrives_whole_and_in_order)
{
	int socket = 1;
	run_ok(writing_fx(&socket));
}
TH_TEST(io_stream, also_to_what_is_no_socket)
{
	int socket = 0;
	run_ok(writing_fx(&socket));
}

static int sticky(void *unused)
{
	int fds[2];
	thrum_writer w;
	char buf[8];
	size_t done;

	(void)unused;
	open_pair(fds);
	TH_CHECK_EQ(thrum_writer_init(&w, fds[0], buf, sizeof(buf)), 0);
	TH_CHECK_EQ(thrum_writer_write(&w, "abc", 3, NULL), 0);
	TH_CHECK_EQ(close(fds[1]), 0);
	TH_CHECK_EQ(thrum_writer_flush(&w), -EPIPE);
	TH_CHECK_EQ(thrum_writer_write(&w, "d", 1, &done), -EPIPE); /* though it would fit */
	TH_CHECK_EQ(done, 0);
	TH_CHECK_EQ(thrum_writer_printf(&w, "e"), -EPIPE);
	TH_CHECK_EQ(thrum_writer_flush(&w), -EPIPE);
	TH_CHECK_EQ(thrum_writer_init(&w, fds[0], buf, 0), -EINVAL);
	TH_CHECK_EQ(close(fds[0]), 0);
	return 0;
}
THRUM_FX(sticky, void);
TH_TEST(io_stream, a_failed_send_stays_failed_and_raises_no_signal) { run_ok(sticky_fx(NULL)); }

struct stalled {
	thrum_writer *w;
	const char *data;
	size_t n, done;
	int code;
};
static int stalled(struct stalled *s)
{
	s->code = thrum_writer_write(s->w, s->data, s->n, &s->done);
	return 0;
}
THRUM_FX(stalled, struct stalled);

/* Nobody reads until the write was cancelled; then the rest follows, and no byte is lost or comes twice. */
static int cancelled_writer(void *unused)
{
	int fds[2], snd = 4096;
	thrum_writer w;
	char buf[64], *big = malloc(BIG);
	struct sink k = { .data = malloc(BIG + 100) };
	struct stalled s = { .w = &w, .data = big, .n = BIG };
	thrum_scope scope;
	thrum_task t;
	uint64_t ops = ops_so_far();
	int full;

	(void)unused;
	TH_CHECK(big && k.data);
	for (size_t i = 0; i < BIG; i++)
		big[i] = big_byte(i);
	open_pair(fds);
	TH_CHECK_EQ(setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &snd, sizeof(snd)), 0);
	TH_CHECK_EQ(thrum_writer_init(&w, fds[1], buf, sizeof(buf)), 0);
	TH_CHECK_EQ(thrum_scope_open(&scope), 0);
	TH_CHECK_EQ(thrum_spawn(&scope, &t, stalled_fx(&s)), 0);
	until_ops(ops, 1);
	do { /* the socket is full, so the writer waits */
		struct pollfd p = { .fd = fds[1], .events = POLLOUT };
		TH_CHECK_EQ(thrum_yield(), 0);
		full = poll(&p, 1, 0) == 0;
	} while (!full);
	thrum_task_cancel(&t);
	TH_CHECK_EQ(thrum_join(&t), 0);
	TH_CHECK_EQ(s.code, -ECANCELED);
	TH_CHECK(s.done < BIG);

	k.fd = fds[0];
	TH_CHECK_EQ(thrum_spawn(&scope, &t, drain_fx(&k)), 0);
	TH_CHECK_EQ(thrum_writer_write(&w, big + s.done, BIG - s.done, NULL), 0);
	TH_CHECK_EQ(thrum_writer_flush(&w), 0);
	TH_CHECK_EQ(thrum_close(fds[1]), 0);
	TH_CHECK_EQ(thrum_scope_close(&scope), 0);
	TH_CHECK_EQ(k.n, BIG);
	TH_CHECK(memcmp(k.data, big, BIG) == 0);
	free(big);
	free(k.data);
	return thrum_close(fds[0]);
}
THRUM_FX(cancelled_writer, void);
TH_TEST(io_stream, a_cancelled_write_tells_how_much_it_took_G8) { run_ok(cancelled_writer_fx(NULL)); }

TH_TEST(io_stream, calls_that_suspend_are_for_fibers_X1)
{
	thrum_reader r;
	thrum_writer w;
	char buf[8], *data;
	size_t n;

	TH_CHECK_EQ(thrum_reader_init(&r, 0, buf, sizeof(buf)), 0);
	TH_CHECK_EQ(thrum_writer_init(&w, 1, buf, sizeof(buf)), 0);
	TH_CHECK_EQ(thrum_reader_fill(&r), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_reader_line(&r, 0, &data, &n), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_reader_need(&r, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_reader_read(&r, buf, 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_reader_skip_until(&r, "x", 1), THRUM_ENOTFIBER);
	TH_CHECK_EQ(thrum_writer_write(&w, "x", 1, &n), THRUM_ENOTFIBER);
	TH_CHECK_EQ(n, 0);
	TH_CHECK_EQ(thrum_writer_flush(&w), THRUM_ENOTFIBER);
}
