/* Parsing a request's head, strictly (RFC 9110, 9112): whatever two readers could take for different requests is
 * refused, not mended: line ends other than CRLF (connection.c looks), white space before a colon, folded lines,
 * control characters, two Content-Lengths even if equal, Content-Length beside Transfer-Encoding. Debian has
 * http-parser, which is not maintained any more and lenient in these points, and llhttp only inside Node.js. */
#include <stddef.h>
#include <string.h>
#include <strings.h>
#include "httpd.h"

static bool is_token_char(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

static size_t token_length(const char *s, size_t n)
{
	size_t i = 0;

	while (i < n && is_token_char(s[i]))
		i++;
	return i;
}

static bool is(const char *s, size_t n, const char *word)
{
	return n == strlen(word) && memcmp(s, word, n) == 0;
}

static bool is_any_case(const char *s, size_t n, const char *word)
{
	return n == strlen(word) && strncasecmp(s, word, n) == 0;
}

/* --- the request line --- */

static int parse_method(struct request *r, const char *s, size_t n)
{
	static const char *const known[] = { "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT" };

	r->method = NOT_ALLOWED;
	if (is(s, n, "GET"))
		r->method = GET;
	if (is(s, n, "HEAD"))
		r->method = HEAD;
	if (r->method != NOT_ALLOWED)
		return 0;
	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (is(s, n, known[i]))
			return 0;
	return 501;
}

static int parse_version(struct request *r, const char *s, size_t n)
{
	if (n != 8 || memcmp(s, "HTTP/", 5) != 0 || s[5] < '0' || s[5] > '9' || s[6] != '.' || s[7] < '0' || s[7] > '9')
		return 400;
	if (s[5] != '1')
		return 505;
	r->minor = s[7] == '0' ? 0 : 1;
	return 0;
}

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-encoding away. False: malformed, or a zero byte. */
static bool decode(const char *s, size_t n, char *to)
{
	for (size_t i = 0; i < n; i++) {
		int c = (unsigned char)s[i];

		if (s[i] == '%') {
			int high = n - i > 2 ? hex(s[i + 1]) : -1, low = n - i > 2 ? hex(s[i + 2]) : -1;

			if (high < 0 || low < 0)
				return false;
			c = 16 * high + low;
			i += 2;
		}
		if (c == 0)
			return false;
		*to++ = (char)c;
	}
	*to = '\0';
	return true;
}

static bool climbs(const char *path)
{
	for (const char *s = path; (s = strstr(s, "/..")) != NULL; s += 3)
		if (s[3] == '/' || s[3] == '\0')
			return true;
	return false;
}

static int parse_target(struct request *r, const char *s, size_t n)
{
	const char *query, *slash;

	for (size_t i = 0; i < n; i++)
		if (s[i] <= ' ' || s[i] > '~')
			return 400;
	if (n > 7 && strncasecmp(s, "http://", 7) == 0) { /* what proxies are sent; the host is nothing to us */
		slash = memchr(s + 7, '/', n - 7);
		n = slash ? n - (size_t)(slash - s) : 1;
		s = slash ? slash : "/";
	}
	if (n == 0 || *s != '/')
		return r->method == NOT_ALLOWED ? 405 : 400; /* OPTIONS *, CONNECT host:port */
	query = memchr(s, '?', n);
	if (query)
		n = (size_t)(query - s);
	if (n >= PATH_BYTES)
		return 414;
	r->path = n < SHORT_PATH_BYTES ? r->short_path : r->long_path;
	if (!decode(s, n, r->path) || climbs(r->path))
		return 400;
	return 0;
}

int parse_request_line(struct request *r, const char *line, size_t n)
{
	const char *target, *version;
	size_t method = token_length(line, n);
	int status;

	memset(r, 0, offsetof(struct request, path)); /* not the path, which would be most of the work */
	r->minor = 1;
	if (method == 0 || method == n || line[method] != ' ')
		return 400;
	target = line + method + 1;
	version = memchr(target, ' ', n - method - 1);
	if (!version)
		return 400;
	version++;
	status = parse_version(r, version, n - (size_t)(version - line));
	if (status == 0)
		status = parse_method(r, line, method);
	return status ? status : parse_target(r, target, (size_t)(version - 1 - target));
}

/* --- fields --- */

static int parse_length(struct request *r, const char *s, size_t n)
{
	uint64_t length = 0;

	if (r->has_length || n == 0 || n > 18)
		return n > 18 && !r->has_length ? 413 : 400;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return 400;
		length = 10 * length + (uint64_t)(s[i] - '0');
	}
	r->has_length = true;
	r->length = length;
	return 0;
}

static int parse_coding(struct request *r, const char *s, size_t n)
{
	if (r->chunked || r->minor == 0)
		return 400;
	if (!is_any_case(s, n, "chunked"))
		return 501;
	r->chunked = true;
	return 0;
}

static void parse_connection(struct request *r, const char *s, size_t n)
{
	while (n > 0) {
		size_t word = token_length(s, n);

		r->close |= is_any_case(s, word, "close");
		r->keep_alive |= is_any_case(s, word, "keep-alive");
		word += word == 0; /* a comma, a space */
		s += word;
		n -= word;
	}
}

static int use_field(struct request *r, const char *name, size_t name_len, const char *s, size_t n)
{
	if (is_any_case(name, name_len, "content-length"))
		return parse_length(r, s, n);
	if (is_any_case(name, name_len, "transfer-encoding"))
		return parse_coding(r, s, n);
	if (is_any_case(name, name_len, "connection"))
		parse_connection(r, s, n);
	if (is_any_case(name, name_len, "expect"))
		r->expects_continue |= is_any_case(s, n, "100-continue");
	if (!is_any_case(name, name_len, "host"))
		return 0;
	if (r->has_host)
		return 400;
	r->has_host = true;
	return 0;
}

int parse_field(struct request *r, const char *line, size_t n)
{
	size_t name = token_length(line, n), from = name + 1;

	if (name == 0 || name == n || line[name] != ':') /* a folded line begins with a space */
		return 400;
	if (++r->fields > FIELDS_MAX)
		return 431;
	for (size_t i = from; i < n; i++)
		if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
			return 400;
	while (from < n && (line[from] == ' ' || line[from] == '\t'))
		from++;
	while (n > from && (line[n - 1] == ' ' || line[n - 1] == '\t'))
		n--;
	return use_field(r, line, name, line + from, n - from);
}

int check_request(struct request *r)
{
	if (r->chunked && r->has_length)
		return 400;
	if (r->minor == 1 && !r->has_host)
		return 400;
	if (r->length > BODY_BYTES)
		return 413;
	r->close |= r->minor == 0 && !r->keep_alive;
	return 0;
}

int64_t parse_chunk_size(const char *line, size_t n)
{
	int64_t size = 0;
	size_t i = 0;

	for (; i < n && i < 8 && hex(line[i]) >= 0; i++)
		size = 16 * size + hex(line[i]);
	if (i == 0 || (i < n && line[i] != ';'))
		return -1;
	for (; i < n; i++)
		if ((unsigned char)line[i] < ' ' && line[i] != '\t')
			return -1;
	return size;
}
