/* io/address.c: addresses written as text. Names go to thrum_getaddrinfo(). */
#include "address.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/io.h>

/* host and service of a text, each with its end. */
enum { TEXT_MAX = NI_MAXHOST + NI_MAXSERV };

static int find_unix(struct th_address *a, const char *text)
{
	int code = th_sockaddr_parse(text, &a->unix_addr);

	a->unix_entry = (struct addrinfo){
	    .ai_family = AF_UNIX,
	    .ai_socktype = SOCK_STREAM,
	    .ai_addr = &a->unix_addr.sa.any,
	    .ai_addrlen = a->unix_addr.len,
	};
	a->list = &a->unix_entry;
	return code;
}

/* Cut `text` in two at its last colon; *ret_host is NULL if there is none. An IPv6 address has to be in brackets, or its
 * end would be taken for the port. */
static int cut(char *text, char **ret_host, char **ret_service)
{
	char *colon = strrchr(text, ':'), *host = text, *end;

	if (!colon || !colon[1])
		return -EINVAL;
	*colon = '\0';
	if (*host == '[') {
		end = colon - 1;
		if (*end != ']' || end == host + 1)
			return -EINVAL;
		*end = '\0';
		host++;
	} else if (strchr(host, ':')) {
		return -EINVAL;
	}
	*ret_host = *host ? host : NULL;
	*ret_service = colon + 1;
	return 0;
}

static int find_tcp(struct th_address *a, const char *text, int flags)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = flags };
	char copy[TEXT_MAX], *host, *service;
	size_t len = strlen(text);
	int code;

	if (len >= sizeof copy)
		return -ENAMETOOLONG;
	memcpy(copy, text, len + 1);
	code = cut(copy, &host, &service);
	if (code == 0)
		code = thrum_getaddrinfo(host, service, &hints, &a->resolved);
	a->list = a->resolved;
	return code;
}

int th_address_find(struct th_address *a, const char *text, int flags)
{
	static const char scheme[] = "unix:";

	*a = (struct th_address){ .list = NULL };
	if (!text)
		return -EINVAL;
	if (strncmp(text, scheme, sizeof scheme - 1) == 0)
		return find_unix(a, text);
	return find_tcp(a, text, flags);
}

void th_address_free(struct th_address *a)
{
	thrum_freeaddrinfo(a->resolved);
	a->resolved = NULL;
}
