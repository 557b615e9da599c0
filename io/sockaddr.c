/* io/sockaddr.c: socket addresses to texts and back. */
#include "sockaddr.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { HOST_BYTES = 64 };

static bool parse_port(const char *s, uint16_t *ret_port)
{
	unsigned n = 0;

	if (!*s)
		return false;
	for (; *s >= '0' && *s <= '9' && n <= UINT16_MAX; s++)
		n = 10 * n + (unsigned)(*s - '0');
	*ret_port = htons((uint16_t)n);
	return !*s && n <= UINT16_MAX;
}

static int parse_inet(const char *text, struct th_sockaddr *a)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	char host[HOST_BYTES];
	uint16_t port;

	if (!colon || n >= sizeof host || !parse_port(colon + 1, &port))
		return -EINVAL;
	memcpy(host, text, n);
	host[n] = '\0';
	if (n == 0 || strcmp(host, "*") == 0)
		strcpy(host, "0.0.0.0");
	if (*host == '[' && host[n - 1] == ']') {
		host[n - 1] = '\0';
		a->sa.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = port };
		a->len = sizeof a->sa.in6;
		return inet_pton(AF_INET6, host + 1, &a->sa.in6.sin6_addr) == 1 ? 0 : -EINVAL;
	}
	a->sa.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = port };
	a->len = sizeof a->sa.in;
	return inet_pton(AF_INET, host, &a->sa.in.sin_addr) == 1 ? 0 : -EINVAL;
}

static int parse_unix(const char *path, struct th_sockaddr *a)
{
	size_t n = strlen(path);

	a->sa.un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	if (n == 0 || (n == 1 && *path == '@'))
		return -EINVAL;
	if (n >= sizeof a->sa.un.sun_path)
		return -ENAMETOOLONG;
	memcpy(a->sa.un.sun_path, path, n);
	a->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
	if (*path == '@') { /* abstract: every byte counts, a zero at its end too */
		a->sa.un.sun_path[0] = '\0';
		a->len--;
	}
	return 0;
}

int th_sockaddr_parse(const char *text, struct th_sockaddr *a)
{
	if (!text)
		return -EINVAL;
	return strncmp(text, "unix:", 5) == 0 ? parse_unix(text + 5, a) : parse_inet(text, a);
}

static int format_unix(const struct th_sockaddr *a, char *text, size_t size)
{
	int n = (int)(a->len - offsetof(struct sockaddr_un, sun_path));
	const char *path = a->sa.un.sun_path;

	if (n <= 0)
		return snprintf(text, size, "unix:");
	return *path ? snprintf(text, size, "unix:%.*s", n, path) : snprintf(text, size, "unix:@%.*s", n - 1, path + 1);
}

int th_sockaddr_format(const struct th_sockaddr *a, char *text, size_t size)
{
	char host[INET6_ADDRSTRLEN];

	switch (a->sa.any.sa_family) {
	case AF_INET:
		inet_ntop(AF_INET, &a->sa.in.sin_addr, host, sizeof host);
		return snprintf(text, size, "%s:%u", host, ntohs(a->sa.in.sin_port));
	case AF_INET6:
		inet_ntop(AF_INET6, &a->sa.in6.sin6_addr, host, sizeof host);
		return snprintf(text, size, "[%s]:%u", host, ntohs(a->sa.in6.sin6_port));
	default:
		return format_unix(a, text, size);
	}
}
