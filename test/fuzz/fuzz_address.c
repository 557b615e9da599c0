/* test/fuzz/fuzz_address.c: any text is an address or is refused, and one that is written as a text is the same when it is read. */
#include "fuzz.h"
#include "io/sockaddr.h"
#include <errno.h>
#include <string.h>

static bool same(const struct th_sockaddr *a, const struct th_sockaddr *b)
{
	return a->len == b->len && memcmp(&a->sa, &b->sa, a->len) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[200], again[200];
	struct th_sockaddr a, b;
	int code;

	if (size >= sizeof text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	memset(&a, 0, sizeof a);
	code = th_sockaddr_parse(text, &a);
	TH_CHECK(code == 0 || code == -EINVAL || code == -ENAMETOOLONG);
	if (code < 0)
		return 0;
	code = th_sockaddr_format(&a, again, sizeof again);
	TH_CHECK(code > 0 && code < (int)sizeof again);
	memset(&b, 0, sizeof b);
	TH_CHECK_EQ(th_sockaddr_parse(again, &b), 0);
	TH_CHECK(same(&a, &b));
	return 0;
}
