/* test/sim/test_faithful.c: what is right on Linux is right in the simulated world, and what a program there may rely on, too. */
#include "../support/child.h"
#include "../support/test.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <thrum.h>
#include <thrum/file.h>
#include <thrum/net.h>
#include <thrum/test.h>

enum { LESS = TH_SLOW ? 20 : 1 };

static void holds(int (*program)(void *), uint64_t runs)
{
	TH_CHECK_EQ(thrum_test_search((thrum_fx){ program, NULL }, THRUM_TEST_OPTS(.runs = runs / LESS + 1), NULL), 0);
}

/* --- memory that is the caller's --- */

static int make_file(const char *path, const char *text)
{
	int fd = thrum_openat(AT_FDCWD, path, O_CREAT | O_WRONLY, 0600), code;

	if (fd < 0)
		return fd;
	code = thrum_write_all(fd, text, strlen(text), NULL);
	(void)thrum_close(fd);
	return code;
}

static int read_whole(void *unused)
{
	void *data;
	size_t n;
	int code = make_file("file", "text");

	(void)unused;
	if (code == 0)
		code = thrum_read_file(AT_FDCWD, "file", 100, &data, &n);
	if (code < 0)
		return code;
	THRUM_TEST_CHECK(n == 4 && strcmp(data, "text") == 0);
	free(data);
	return 0;
}

TH_TEST(faithful, a_whole_file_is_the_callers)
{
	holds(read_whole, 500);
	TH_CHECK_EQ(thrum_test_sweep_memory((thrum_fx){ read_whole, NULL }, THRUM_TEST_OPTS(.runs = 3), NULL), 0);
	TH_CHECK_EQ(thrum_test_sweep_cancel((thrum_fx){ read_whole, NULL }, THRUM_TEST_OPTS(.runs = 3), NULL), 0);
}
