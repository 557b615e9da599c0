/* Clients that behave badly. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include "hostile.h"

enum { PAUSE_MS = 20, DRIP_MS = 200 };

static int send_text(int fd, const char *s)
{
	return thrum_send_all(fd, s, strlen(s), 0, NULL);
}

static int slow_head(struct hostile *h, int fd)
{
	int code = send_text(fd, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ");

	(void)h;
	while (code == 0) {
		code = thrum_sleep(thrum_ms(DRIP_MS));
		if (code == 0)
			code = send_text(fd, "x");
	}
	return code;
}

static int endless_head(struct hostile *h, int fd)
{
	int code = send_text(fd, "GET / HTTP/1.1\r\nHost: x\r\nX-More: ");
	char more[1024];

	(void)h;
	for (size_t i = 0; i < sizeof more; i++) /* short lines */
		more[i] = "and more\r\nX-Mo: "[i % 16];
	while (code == 0)
		code = thrum_send_all(fd, more, sizeof more, 0, NULL);
	return code;
}

/* Asks again and again and reads nothing. */
static int never_read(struct hostile *h, int fd)
{
	char text[512];
	int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", h->path, h->host), code = 0;

	while (code == 0)
		code = thrum_send_all(fd, text, (size_t)n, 0, NULL);
	return code;
}

static int reset(struct hostile *h, int fd)
{
	struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
	int code = send_text(fd, "GET / HT");

	(void)h;
	(void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
	return code < 0 ? code : thrum_sleep(thrum_ms(PAUSE_MS));
}

static int say_nothing(struct hostile *h, int fd)
{
	char c;
	ssize_t n = thrum_recv(fd, &c, 1, 0);

	(void)h;
	return n < 0 ? (int)n : THRUM_EEOF;
}

const char *const ways[WAYS] = { "slow heads", "endless heads", "never reading", "resets", "silent" };
static int (*const behave[WAYS])(struct hostile *h, int fd) = { slow_head, endless_head, never_read, reset, say_nothing };

void be_bad(struct hostile *h, size_t way)
{
	int code = 0;

	for (; code != -ECANCELED; way = (way + 1) % WAYS) {
		int fd = connect_to(h);

		if (fd >= 0)
			count(&h->x_served[way]);
		code = fd < 0 ? fd : behave[way](h, fd);
		if (fd >= 0)
			(void)thrum_close(fd);
		if (code != -ECANCELED)
			code = thrum_sleep(thrum_ms(PAUSE_MS));
	}
}
