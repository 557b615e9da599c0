/* bench/servers/echo_thrum.c PORT [WORKERS]: a fiber for each connection, on the backend that THRUM_BACKEND says. */
#include "server.h"
#include <thrum.h>

static int echo(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buf[BUFFER];
	ssize_t n;

	while ((n = thrum_recv(fd, buf, sizeof buf, 0)) > 0)
		if (thrum_send_all(fd, buf, (size_t)n, 0, NULL) < 0)
			break;
	return thrum_close(fd);
}

static int serve(int *listener)
{
	thrum_scope s;
	int fd, r = thrum_scope_open(&s);

	if (r < 0)
		return r;
	while ((fd = thrum_accept(*listener, NULL, NULL)) >= 0) {
		no_delay(fd);
		if (thrum_spawn_with(&s, NULL, (thrum_fx){ echo, (void *)(intptr_t)fd }, THRUM_SPAWN_OPTS(.isolated = true)) < 0)
			break;
	}
	return thrum_scope_close(&s);
}
THRUM_FX(serve, int);

int main(int argc, char **argv)
{
	int listener = listen_on(argv[1], 0);

	return thrum_run(THRUM_OPTS(.workers = argc > 2 ? (unsigned)atoi(argv[2]) : 1), serve_fx(&listener)) < 0;
}
