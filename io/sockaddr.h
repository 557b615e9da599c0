/* io/sockaddr.h: socket addresses as texts: "127.0.0.1:80", "[::1]:80", ":80", "*:80", "unix:PATH", "unix:@NAME".
 * Numbers only: nothing is looked up. */
#ifndef TH_SOCKADDR_H
#define TH_SOCKADDR_H
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

struct th_sockaddr {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	} sa;
	socklen_t len;
};

int th_sockaddr_parse(const char *text, struct th_sockaddr *ret_a); /* 0, -EINVAL, -ENAMETOOLONG */
/* As snprintf(). */
int th_sockaddr_format(const struct th_sockaddr *a, char *text, size_t size);

static inline bool th_sockaddr_is_inet(const struct th_sockaddr *a)
{
	return a->sa.any.sa_family == AF_INET || a->sa.any.sa_family == AF_INET6;
}

/* Of AF_UNIX, and in the file system. */
static inline bool th_sockaddr_has_path(const struct th_sockaddr *a)
{
	return a->sa.any.sa_family == AF_UNIX && a->len > offsetof(struct sockaddr_un, sun_path) &&
	       a->sa.un.sun_path[0];
}

#endif
