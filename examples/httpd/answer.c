/* Answers: the head, and the bytes of a file. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include "httpd.h"

enum { PART_BYTES = 64 * 1024, LAST_FIELDS_BYTES = 128 };

static const char *text_of(int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = { { 200, "OK" },
		      { 301, "Moved Permanently" },
		      { 400, "Bad Request" },
		      { 403, "Forbidden" },
		      { 404, "Not Found" },
		      { 405, "Method Not Allowed" },
		      { 408, "Request Timeout" },
		      { 413, "Content Too Large" },
		      { 414, "URI Too Long" },
		      { 417, "Expectation Failed" },
		      { 431, "Request Header Fields Too Large" },
		      { 500, "Internal Server Error" },
		      { 501, "Not Implemented" },
		      { 503, "Service Unavailable" },
		      { 505, "HTTP Version Not Supported" } };

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if (texts[i].status == status)
			return texts[i].text;
	return "Unknown";
}

static const char *type_of(const char *path)
{
	static const char *const types[][2] = {
		{ "html", "text/html; charset=utf-8" }, { "htm", "text/html; charset=utf-8" },
		{ "txt", "text/plain; charset=utf-8" },	{ "md", "text/plain; charset=utf-8" },
		{ "css", "text/css" },			{ "js", "text/javascript" },
		{ "json", "application/json" },		{ "wasm", "application/wasm" },
		{ "png", "image/png" },			{ "jpg", "image/jpeg" },
		{ "svg", "image/svg+xml" },		{ "ico", "image/x-icon" },
	};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
		if (strcasecmp(dot + 1, types[i][0]) == 0)
			return types[i][1];
	return "application/octet-stream";
}

static void format_date(time_t t, char *text, size_t size)
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || strftime(text, size, "%a, %d %b %Y %H:%M:%S GMT", &tm) == 0)
		*text = '\0';
}

/* Of an answer so much is about to be written: if it may have to wait, its time begins now. */
static int begin_part(const struct answer *a, size_t n)
{
	return thrum_writer_pending(a->out) + n < OUT_BYTES ? 0 : a->step(a->arg);
}

/* What ends each head: the fields that are not the same for every answer. */
static int write_last_fields(const struct answer *a)
{
	const char *connection = a->close ? "Connection: close\r\n" : a->minor == 0 ? "Connection: keep-alive\r\n" : "";
	char text[LAST_FIELDS_BYTES], date[DATE_BYTES], *end = text;
	const char *parts[] = { "Date: ", date, "\r\n", connection, "\r\n" };

	worker_date(a->worker, time(NULL), date);
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		end = stpcpy(end, parts[i]);
	return thrum_writer_write(a->out, text, (size_t)(end - text), NULL);
}

/* The others. A file's are written once, if it is kept. */
static int format_head(char *text, size_t size, int status, const char *type, uint64_t length, const time_t *modified)
{
	char date[64];
	int n = snprintf(text, size, "HTTP/1.1 %d %s\r\nServer: thrum-httpd\r\nContent-Type: %s\r\nContent-Length: %llu\r\n",
			 status, text_of(status), type, (unsigned long long)length);

	if (!modified || (size_t)n >= size)
		return n;
	format_date(*modified, date, sizeof date);
	return n + snprintf(text + n, size - (size_t)n, "Last-Modified: %s\r\n", date);
}

static int write_head(const struct answer *a, int status, const char *type, uint64_t length, const time_t *modified)
{
	char text[CACHED_HEAD_BYTES];
	int n = format_head(text, sizeof text, status, type, length, modified);
	int code = begin_part(a, (size_t)n + LAST_FIELDS_BYTES);

	return code < 0 ? code : thrum_writer_write(a->out, text, (size_t)n, NULL);
}

static bool is_plain(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("-._~!$&'()*+,;=:@/", c) != NULL);
}

/* A path, encoded, and a slash. */
static int write_location(const struct answer *a, const char *path)
{
	int code = thrum_writer_printf(a->out, "Location: ");

	for (; *path && code == 0; path++)
		code = is_plain(*path) ? thrum_writer_write(a->out, path, 1, NULL) :
					 thrum_writer_printf(a->out, "%%%02X", (unsigned char)*path);
	return code < 0 ? code : thrum_writer_printf(a->out, "/\r\n");
}

int answer_status(const struct answer *a, int status, const char *location)
{
	char body[96];
	size_t n = (size_t)snprintf(body, sizeof body, "%d %s\n", status, text_of(status));
	int code = begin_part(a, 3 * PATH_BYTES + n);

	if (code == 0)
		code = write_head(a, status, "text/plain", n, NULL);
	if (code == 0 && status == 405)
		code = thrum_writer_printf(a->out, "Allow: GET, HEAD\r\n");
	if (code == 0 && location)
		code = write_location(a, location);
	if (code == 0)
		code = write_last_fields(a);
	return code < 0 || a->head_only ? code : thrum_writer_write(a->out, body, n, NULL);
}

/* --- files --- */

/* O_NONBLOCK, for what is no regular file: a pipe would wait for a writer. */
static int open_below(int root, const char *path)
{
	while (*path == '/')
		path++;
	return thrum_openat(root, *path ? path : ".", O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
}

static int status_of(int code)
{
	switch (code) {
	case -EACCES:
	case -EPERM:
		return 403;
	case -EMFILE:
	case -ENFILE:
	case -ENOMEM:
		return 503;
	default:
		return 404;
	}
}

/* What was announced has to come: a file that has become shorter ends the connection. */
static int copy_file(const struct answer *a, int fd, uint64_t size)
{
	char *part = malloc(PART_BYTES);
	int code = part ? 0 : -ENOMEM;

	for (uint64_t at = 0; at < size && code == 0;) {
		size_t want = size - at < PART_BYTES ? (size_t)(size - at) : PART_BYTES;
		ssize_t n = thrum_pread(fd, part, want, (off_t)at);

		if (n > 0) {
			at += (uint64_t)n;
			code = a->step(a->arg);
			if (code == 0)
				code = thrum_writer_write(a->out, part, (size_t)n, NULL);
		} else {
			code = n == 0 ? -EIO : (int)n;
		}
	}
	free(part);
	return code;
}

static int answer_with(const struct answer *a, int fd, const char *path, const struct stat *st)
{
	int code = write_head(a, 200, type_of(path), (uint64_t)st->st_size, &st->st_mtime);

	if (code == 0)
		code = write_last_fields(a);
	return code < 0 || a->head_only ? code : copy_file(a, fd, (uint64_t)st->st_size);
}

/* --- files that are kept --- */

static int answer_cached(const struct answer *a, struct cached *c)
{
	int code = begin_part(a, c->head_bytes + LAST_FIELDS_BYTES + c->bytes);

	if (code == 0)
		code = thrum_writer_write(a->out, c->text, c->head_bytes, NULL);
	if (code == 0)
		code = write_last_fields(a);
	if (code == 0 && !a->head_only)
		code = thrum_writer_write(a->out, c->text + CACHED_HEAD_BYTES, c->bytes, NULL);
	cached_release(c);
	return code;
}

/* All of the file, if it does not change meanwhile. */
static bool read_into(struct cached *c, int fd)
{
	struct stat after;
	size_t done = 0;
	int code = c->bytes > 0 ? thrum_pread_all(fd, c->text + CACHED_HEAD_BYTES, c->bytes, 0, &done) : 0;

	return code == 0 && fstat(fd, &after) == 0 && after.st_size == c->st.st_size &&
	       after.st_mtim.tv_sec == c->st.st_mtim.tv_sec && after.st_mtim.tv_nsec == c->st.st_mtim.tv_nsec;
}

/* A regular file, open: what is kept of it, now or from before; NULL if that is not for it. `type` tells it by its name. */
static struct cached *keep(const struct answer *a, const struct request *r, int fd, const char *name, const struct stat *st)
{
	time_t now = time(NULL);
	struct cached *c = cache_check(a->worker, r->path, st, now);

	if (c)
		return c;
	c = cached_new(r->path, st);
	if (!c)
		return NULL;
	c->head_bytes = (size_t)format_head(c->text, CACHED_HEAD_BYTES, 200, type_of(name), c->bytes, &st->st_mtime);
	if (c->head_bytes >= CACHED_HEAD_BYTES || !read_into(c, fd)) {
		cached_release(c);
		return NULL;
	}
	cache_put(a->worker, c, now);
	return c;
}

static int answer_regular(const struct answer *a, const struct request *r, int fd, const char *name, const struct stat *st)
{
	struct cached *c = keep(a, r, fd, name, st);

	return c ? answer_cached(a, c) : answer_with(a, fd, name, st);
}

/* *fd may be replaced by the directory's index. */
static int answer_open(const struct answer *a, const struct request *r, int *fd)
{
	const char *path = r->path;
	struct stat st;

	if (fstat(*fd, &st) < 0)
		return answer_status(a, 500, NULL);
	if (S_ISDIR(st.st_mode)) {
		int index;

		if (path[strlen(path) - 1] != '/')
			return answer_status(a, 301, r->path);
		path = "index.html";
		index = thrum_openat(*fd, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, 0);
		if (index < 0)
			return index == -ECANCELED ? index : answer_status(a, status_of(index), NULL);
		(void)thrum_close(*fd);
		*fd = index;
		if (fstat(*fd, &st) < 0)
			return answer_status(a, 500, NULL);
	}
	return S_ISREG(st.st_mode) ? answer_regular(a, r, *fd, path, &st) : answer_status(a, 403, NULL);
}

int answer_file(const struct answer *a, const struct request *r)
{
	struct cached *c = cache_find(a->worker, r->path, time(NULL));
	int code, fd;

	if (c)
		return answer_cached(a, c);
	fd = open_below(a->httpd->root, r->path);
	if (fd < 0) {
		(void)cache_check(a->worker, r->path, NULL, 0);
		return fd == -ECANCELED ? fd : answer_status(a, status_of(fd), NULL);
	}
	code = answer_open(a, r, &fd);
	(void)thrum_close(fd);
	return code;
}
