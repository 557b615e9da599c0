/* io/address.h: addresses written as text: "host:port", "[::1]:80", "unix:/path". */
#ifndef TH_ADDRESS_H
#define TH_ADDRESS_H
#include "sockaddr.h"
#include <netdb.h>

/* What a text stands for: a list, which ends in `unix_addr` or is getaddrinfo()'s. Keeps its address once it is filled in. */
struct th_address {
	struct addrinfo *list;
	struct addrinfo *resolved;    /* to be freed; NULL */
	struct addrinfo unix_entry;
	struct th_sockaddr unix_addr;
};

/* On a fiber; suspends for names, cancel point. flags: AI_PASSIVE to listen. 0, and th_address_free() is due; -EINVAL,
 * -ENAMETOOLONG, thrum_getaddrinfo()'s codes. */
int th_address_find(struct th_address *a, const char *text, int flags);
void th_address_free(struct th_address *a);

#endif
