/* bench/servers/server.h: what the echo servers in C share: the listening socket. */
#ifndef SERVER_H
#define SERVER_H
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

enum { BUFFER = 4096, BACKLOG = 1024 };

static inline void check(int r, const char *what)
{
	if (r < 0) {
		perror(what);
		exit(1);
	}
}

static inline int listen_on(const char *port, int flags)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);

	check(fd, "socket");
	sa.sin_port = htons((uint16_t)atoi(port));
	check(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int)), "SO_REUSEADDR");
	check(bind(fd, (struct sockaddr *)&sa, sizeof sa), "bind");
	check(listen(fd, BACKLOG), "listen");
	return fd;
}

static inline void no_delay(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

#endif
