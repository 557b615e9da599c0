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

/* --- buffers: both ends of a connection send before they read, and what they send fits in any socket's --- */

static const char *where;

static int greet(int fd)
{
	char words[4000] = "how do you do", heard[sizeof words];
	int code = thrum_send_all(fd, words, sizeof words, 0, NULL);

	if (code == 0)
		code = thrum_read_all(fd, heard, sizeof heard, NULL);
	(void)thrum_close(fd);
	THRUM_TEST_CHECK(code < 0 || memcmp(words, heard, sizeof words) == 0);
	return code;
}

static int greet_guest(void *listener)
{
	int fd = thrum_accept(*(int *)listener, NULL, NULL);

	return fd < 0 ? fd : greet(fd);
}

static int greet_host(void *unused)
{
	int fd = thrum_dial(where);

	(void)unused;
	return fd < 0 ? fd : greet(fd);
}

static int greet_each_other(void *unused)
{
	int listener = thrum_listen_on(where, NULL), code;

	(void)unused;
	if (listener < 0)
		return listener;
	code = thrum_zip_par((thrum_fx){ greet_guest, &listener }, (thrum_fx){ greet_host, NULL });
	(void)thrum_close(listener);
	return code;
}

TH_TEST(faithful, what_fits_in_a_socket_is_sent_though_nobody_reads)
{
	where = "127.0.0.1:80";
	holds(greet_each_other, 1000);
	where = "unix:/greetings";
	holds(greet_each_other, 1000);
}

/* --- descriptors: without one nothing is made --- */

static int make_or_not(void *unused)
{
	struct stat st;
	int fd = thrum_openat(AT_FDCWD, "lock", O_CREAT | O_EXCL | O_WRONLY, 0600), code;

	(void)unused;
	if (fd >= 0)
		return thrum_close(fd);
	THRUM_TEST_CHECK(fd == -EMFILE);
	code = thrum_stat(AT_FDCWD, "lock", 0, &st);
	THRUM_TEST_CHECK(code == -ENOENT);
	return 0;
}

TH_TEST(faithful, who_gets_no_descriptor_makes_no_file)
{
	TH_CHECK_EQ(thrum_test_search((thrum_fx){ make_or_not, NULL },
				      THRUM_TEST_OPTS(.runs = 300 / LESS, .faults = THRUM_TEST_FAULTS(.no_fd = 3)), NULL), 0);
}

/* --- a full disk: what fits is written --- */

static int fill_the_disk(void *unused)
{
	char text[300] = "log";
	struct stat st;
	size_t done;
	int fd = thrum_openat(AT_FDCWD, "log", O_CREAT | O_WRONLY, 0600), code;

	(void)unused;
	if (fd < 0)
		return fd;
	THRUM_TEST_CHECK(thrum_pwrite(fd, text, 100, 100) > 0);
	code = thrum_pwrite_all(fd, text, sizeof text, 100, &done);
	THRUM_TEST_CHECK(code == -ENOSPC && done == 200);
	THRUM_TEST_CHECK(thrum_write(fd, text, 50) > 0); /* where there is some already */
	THRUM_TEST_CHECK(thrum_fstat(fd, &st) == 0 && st.st_size == 300);
	return thrum_close(fd);
}

TH_TEST(faithful, a_write_beyond_the_disk_is_a_short_one)
{
	TH_CHECK_EQ(thrum_test_search((thrum_fx){ fill_the_disk, NULL },
				      THRUM_TEST_OPTS(.runs = 300 / LESS, .faults = THRUM_TEST_FAULTS(.disk_bytes = 300)), NULL), 0);
}

/* --- what a receive says --- */

static int accept_and_close(void *listener)
{
	int fd = thrum_accept(*(int *)listener, NULL, NULL);

	return fd < 0 ? fd : thrum_close(fd);
}

/* The end has come before the reset that the own bytes are answered with. */
static int send_to_the_end(void *unused)
{
	int fd = thrum_dial("127.0.0.1:80");
	char c;

	(void)unused;
	if (fd < 0)
		return fd;
	THRUM_TEST_CHECK(thrum_recv(fd, &c, 1, 0) == 0);
	THRUM_TEST_CHECK(thrum_send(fd, "x", 1, 0) == 1);
	(void)thrum_sleep(thrum_ms(10));
	for (int i = 0; i < 2; i++)
		THRUM_TEST_CHECK(thrum_recv(fd, &c, 1, 0) == 0);
	for (int i = 0; i < 2; i++)
		THRUM_TEST_CHECK(thrum_send(fd, "x", 1, MSG_NOSIGNAL) == -EPIPE);
	THRUM_TEST_CHECK(thrum_recv(fd, &c, 1, 0) == 0);
	return thrum_close(fd);
}

static int between(int (*host)(void *), int (*guest)(void *))
{
	int listener = thrum_listen_on("127.0.0.1:80", NULL), code;

	if (listener < 0)
		return listener;
	code = thrum_zip_par((thrum_fx){ host, &listener }, (thrum_fx){ guest, NULL });
	(void)thrum_close(listener);
	return code;
}

static int reset_after_the_end(void *unused)
{
	(void)unused;
	return between(accept_and_close, send_to_the_end);
}

TH_TEST(faithful, after_the_end_a_reset_is_told_to_who_sends)
{
	holds(reset_after_the_end, 1000);
}

enum { ALL = 30000, PART = 1000 }; /* ALL: more than any socket holds here */

static int send_in_parts(void *listener)
{
	static const char part[PART] = "part";
	int fd = thrum_accept(*(int *)listener, NULL, NULL), code = 0;

	for (int i = 0; i < ALL / PART && fd >= 0 && code == 0; i++)
		code = thrum_send_all(fd, part, PART, 0, NULL);
	if (fd < 0)
		return fd;
	(void)thrum_close(fd);
	return code;
}

static int receive_all(void *unused)
{
	static char all[ALL];
	int fd = thrum_dial("127.0.0.1:80");

	(void)unused;
	if (fd < 0)
		return fd;
	for (size_t at = 0, n; at < ALL; at += n) {
		n = 1 + thrum_test_choose((uint32_t)(ALL - at));
		THRUM_TEST_CHECK(thrum_recv(fd, all + at, n, MSG_WAITALL) == (ssize_t)n);
	}
	for (size_t i = 0; i < ALL; i += PART)
		THRUM_TEST_CHECK(memcmp(all + i, "part", 5) == 0);
	return thrum_close(fd);
}

static int wait_for_all(void *unused)
{
	(void)unused;
	return between(send_in_parts, receive_all);
}

TH_TEST(faithful, MSG_WAITALL_waits_for_all)
{
	holds(wait_for_all, 500);
}
