/* bench/servers/echo_epoll.c PORT: one thread, level-triggered epoll, nothing else. */
#include "server.h"
#include <sys/epoll.h>
#include <unistd.h>

enum { EVENTS = 256 };

static void watch(int poller, int fd)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
	check(epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e), "epoll_ctl");
}

static void accept_all(int poller, int listener)
{
	int fd;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		no_delay(fd);
		watch(poller, fd);
	}
}

static void echo(int fd)
{
	char buf[BUFFER];
	ssize_t n = recv(fd, buf, sizeof buf, 0);

	/* The client has one request in flight: what was received can be sent. */
	if (n == 0 || (n > 0 && send(fd, buf, (size_t)n, MSG_NOSIGNAL) != n))
		close(fd);
}

int main(int argc, char **argv)
{
	struct epoll_event events[EVENTS];
	int listener = listen_on(argv[argc - 1], SOCK_NONBLOCK), poller = epoll_create1(EPOLL_CLOEXEC);

	check(poller, "epoll_create1");
	watch(poller, listener);
	for (;;) {
		int n = epoll_wait(poller, events, EVENTS, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == listener)
				accept_all(poller, listener);
			else
				echo(events[i].data.fd);
		}
	}
}
