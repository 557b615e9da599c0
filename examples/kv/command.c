/* The commands: words in, an answer in RESP2 out. What they answer is what redis does, to the letter where clients
 * look. */
#include <errno.h>
#include <string.h>
#include <strings.h>
#include "kv.h"

struct call {
	struct store *store;
	thrum_writer *w;
	const struct text *word; /* word[0] is the command */
	size_t words;
};

/* --- answers --- */

static int say(struct call *c, const char *line)
{
	return thrum_writer_write(c->w, line, strlen(line), NULL);
}

static int say_number(struct call *c, int64_t n)
{
	return thrum_writer_printf(c->w, ":%lld\r\n", (long long)n);
}

static int say_text(struct call *c, const char *data, size_t len)
{
	int code = thrum_writer_printf(c->w, "$%zu\r\n", len);

	if (code == 0)
		code = thrum_writer_write(c->w, data, len, NULL);
	return code < 0 ? code : say(c, "\r\n");
}

static int say_code(struct call *c, int code)
{
	switch (code) {
	case -ECANCELED:
		return code;
	case -EINVAL:
		return say(c, "-ERR value is not an integer or out of range\r\n");
	case -EOVERFLOW:
		return say(c, "-ERR increment or decrement would overflow\r\n");
	case -ENOMEM:
		return say(c, "-OOM no memory for it\r\n");
	default:
		return thrum_writer_printf(c->w, "-ERR %s\r\n", thrum_strerror(code));
	}
}

/* --- words --- */

bool parse_number(struct text t, int64_t *ret_n)
{
	bool minus = t.len > 0 && t.data[0] == '-';
	size_t i = minus;
	uint64_t n = 0, max = (uint64_t)INT64_MAX + minus;

	if (t.len == i || (t.data[i] == '0' && t.len > 1)) /* "", "-", "-0", "01" */
		return false;
	for (; i < t.len; i++) {
		unsigned digit = (unsigned char)t.data[i] - '0';

		if (digit > 9 || n > (max - digit) / 10)
			return false;
		n = 10 * n + digit;
	}
	*ret_n = minus ? (int64_t)(0 - n) : (int64_t)n;
	return true;
}

static bool is_word(struct text t, const char *name)
{
	return t.len == strlen(name) && strncasecmp(t.data, name, t.len) == 0;
}

/* When something with so long to live expires; false if that is no time. */
static bool expiry_in(int64_t n, int64_t unit_ns, int64_t *ret_ns)
{
	return !__builtin_mul_overflow(n, unit_ns, ret_ns) && !__builtin_add_overflow(*ret_ns, thrum_now().ns, ret_ns);
}

/* --- commands --- */

static int ping(struct call *c)
{
	if (c->words > 2)
		return say(c, "-ERR wrong number of arguments for 'ping' command\r\n");
	return c->words == 1 ? say(c, "+PONG\r\n") : say_text(c, c->word[1].data, c->word[1].len);
}

static int echo(struct call *c)
{
	return say_text(c, c->word[1].data, c->word[1].len);
}

static int quit(struct call *c)
{
	int code = say(c, "+OK\r\n");

	return code < 0 ? code : KV_QUIT;
}

static int get(struct call *c)
{
	struct value *v;
	int code = store_get(c->store, c->word[1], &v);

	if (code < 0)
		return say_code(c, code);
	if (code == 0)
		return say(c, "$-1\r\n");
	code = say_text(c, v->data, v->len);
	value_put(v);
	return code;
}

enum { SYNTAX = 1, BAD_TIME };
static int parse_set(struct call *c, int64_t *ret_expires_ns, unsigned *ret_flags)
{
	*ret_expires_ns = NO_EXPIRY;
	*ret_flags = 0;
	for (size_t i = 3; i < c->words; i++) {
		bool ex = is_word(c->word[i], "ex"), px = is_word(c->word[i], "px");
		int64_t n;

		if (is_word(c->word[i], "nx")) {
			*ret_flags |= SET_NX;
			continue;
		}
		if (!(ex || px) || i + 1 == c->words || *ret_expires_ns != NO_EXPIRY)
			return SYNTAX;
		if (!parse_number(c->word[++i], &n))
			return -EINVAL;
		if (n <= 0 || !expiry_in(n, ex ? 1000000000 : 1000000, ret_expires_ns))
			return BAD_TIME;
	}
	return 0;
}

static int set(struct call *c)
{
	int64_t expires_ns;
	unsigned flags;
	struct value *v;
	int code = parse_set(c, &expires_ns, &flags);

	if (code == SYNTAX)
		return say(c, "-ERR syntax error\r\n");
	if (code == BAD_TIME)
		return say(c, "-ERR invalid expire time in 'set' command\r\n");
	if (code < 0)
		return say_code(c, code);
	v = value_new(c->word[2].data, c->word[2].len);
	code = v ? store_set(c->store, c->word[1], v, expires_ns, flags) : -ENOMEM;
	if (code < 0)
		return say_code(c, code);
	return say(c, code ? "+OK\r\n" : "$-1\r\n");
}

/* Of all the keys, how many. */
static int count(struct call *c, int (*one)(struct store *s, struct text key))
{
	int64_t n = 0;

	for (size_t i = 1; i < c->words; i++) {
		int code = one(c->store, c->word[i]);

		if (code < 0)
			return say_code(c, code);
		n += code;
	}
	return say_number(c, n);
}

static int del(struct call *c)
{
	return count(c, store_del);
}

static int exists(struct call *c)
{
	return count(c, store_exists);
}

static int incr(struct call *c)
{
	int64_t n;
	int code = store_incr(c->store, c->word[1], &n);

	return code < 0 ? say_code(c, code) : say_number(c, n);
}

static int expire(struct call *c)
{
	int64_t n, expires_ns;
	int code;

	if (!parse_number(c->word[2], &n))
		return say_code(c, -EINVAL);
	if (!expiry_in(n, 1000000000, &expires_ns))
		return say(c, "-ERR invalid expire time in 'expire' command\r\n");
	code = n > 0 ? store_expire(c->store, c->word[1], expires_ns) : store_del(c->store, c->word[1]);
	return code < 0 ? say_code(c, code) : say_number(c, code);
}

static int ttl(struct call *c)
{
	int64_t expires_ns;
	int code = store_expiry(c->store, c->word[1], &expires_ns);

	if (code < 0)
		return say_code(c, code);
	if (code == 0 || expires_ns == NO_EXPIRY)
		return say_number(c, code == 0 ? -2 : -1);
	return say_number(c, (expires_ns - thrum_now().ns + 500000000) / 1000000000);
}

static int dbsize(struct call *c)
{
	size_t n;
	int code = store_size(c->store, &n);

	return code < 0 ? say_code(c, code) : say_number(c, (int64_t)n);
}

static int flushall(struct call *c)
{
	int code = store_flush(c->store);

	return code < 0 ? say_code(c, code) : say(c, "+OK\r\n");
}

static int command(struct call *c)
{
	return say(c, "*0\r\n");
}

static const struct {
	const char *name;
	size_t min, max; /* words; max 0: any number */
	int (*run)(struct call *c);
} commands[] = {
	{ "get", 2, 2, get },       { "set", 3, 0, set },      { "ping", 1, 0, ping },         { "incr", 2, 2, incr },
	{ "del", 2, 0, del },       { "exists", 2, 0, exists }, { "expire", 3, 3, expire },     { "ttl", 2, 2, ttl },
	{ "echo", 2, 2, echo },     { "dbsize", 1, 1, dbsize }, { "flushall", 1, 2, flushall }, { "quit", 1, 0, quit },
	{ "command", 1, 0, command },
};

int run_command(struct store *s, thrum_writer *w, const struct text *word, size_t words)
{
	struct call c = { s, w, word, words };
	char name[32];
	size_t n = word[0].len < sizeof name - 1 ? word[0].len : sizeof name - 1;

	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
		if (!is_word(word[0], commands[i].name))
			continue;
		if (words >= commands[i].min && (words <= commands[i].max || commands[i].max == 0))
			return commands[i].run(&c);
		return thrum_writer_printf(w, "-ERR wrong number of arguments for '%s' command\r\n", commands[i].name);
	}
	for (size_t i = 0; i < n; i++) /* what is echoed must not end the line */
		name[i] = word[0].data[i] < ' ' || word[0].data[i] > '~' ? '?' : word[0].data[i];
	name[n] = '\0';
	return thrum_writer_printf(w, "-ERR unknown command '%s'\r\n", name);
}
