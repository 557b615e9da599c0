/* test/fuzz/fuzz_http.c: the heads of requests that examples/httpd reads: whatever comes, it is refused with a status, or what was
 * made of it keeps the promises of httpd.h. */
#include "fuzz.h"
#include "examples/httpd/httpd.h"
#include <string.h>

static void check_path(const char *path)
{
	size_t n = strlen(path);

	TH_CHECK(*path == '/' && n < PATH_BYTES);
	TH_CHECK(!strstr(path, "/../"));
	TH_CHECK(n < 3 || strcmp(path + n - 3, "/..") != 0);
}

static void check_status(int status)
{
	TH_CHECK(status == 0 || (status >= 400 && status < 600));
}

/* A line of the input, each in memory of its own size: what reads over its end is seen. */
static char *next_line(const char **at, const char *end, size_t *ret_n)
{
	const char *newline = *at < end ? memchr(*at, '\n', (size_t)(end - *at)) : NULL;
	char *line;

	*ret_n = (size_t)((newline ? newline : end) - *at);
	line = malloc(*ret_n ? *ret_n : 1);
	TH_CHECK(line);
	memcpy(line, *at, *ret_n);
	*at = newline ? newline + 1 : end;
	return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *at = (const char *)data, *end = at + size;
	static char long_path[PATH_BYTES];
	struct request r = { .long_path = long_path };
	size_t n;
	char *line = next_line(&at, end, &n);
	int status = parse_request_line(&r, line, n);

	(void)parse_chunk_size(line, n);
	free(line);
	check_status(status);
	if (status == 0)
		check_path(r.path);
	while (status == 0 && at < end) {
		line = next_line(&at, end, &n);
		status = parse_field(&r, line, n);
		free(line);
		check_status(status);
	}
	if (status == 0)
		status = check_request(&r);
	check_status(status);
	TH_CHECK(status != 0 || (!(r.chunked && r.has_length) && r.length <= BODY_BYTES && r.fields <= FIELDS_MAX));
	return 0;
}
