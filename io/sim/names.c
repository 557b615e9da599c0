/* io/sim/names.c: getaddrinfo(3) of the simulation: numbers, "localhost", and the services "http" and "https". Nobody is asked,
 * no file is read; a name takes a while all the same. */
#include "../../core/hooks.h"
#include "kernel.h"
#include "../sys.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

enum { LIST_MAX = 4, WAIT_TICKS = 16 };

struct entry {
	struct addrinfo info; /* first: the list is freed as a whole, by its first entry */
	struct th_sockaddr address;
};

/* What was asked for, as far as it is known. */
struct query {
	struct th_sockaddr hosts[2];
	unsigned n_hosts;
	in_port_t port;
};

static bool parse_number(const char *text, in_port_t *ret_port)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n > UINT16_MAX)
		return false;
	*ret_port = htons((uint16_t)n);
	return true;
}

static int find_service(struct query *q, const char *service, int flags)
{
	if (!service || parse_number(service, &q->port))
		return 0;
	if (flags & AI_NUMERICSERV)
		return EAI_NONAME;
	if (strcmp(service, "http") == 0)
		q->port = htons(80);
	else if (strcmp(service, "https") == 0)
		q->port = htons(443);
	else
		return EAI_SERVICE;
	return 0;
}

static void add_four(struct query *q, int family, in_addr_t addr)
{
	if (family != AF_INET6)
		q->hosts[q->n_hosts++] = (struct th_sockaddr){
			.sa.in = { .sin_family = AF_INET, .sin_addr.s_addr = addr }, .len = sizeof(struct sockaddr_in) };
}

static void add_six(struct query *q, int family, const struct in6_addr *addr)
{
	if (family != AF_INET)
		q->hosts[q->n_hosts++] = (struct th_sockaddr){
			.sa.in6 = { .sin6_family = AF_INET6, .sin6_addr = *addr }, .len = sizeof(struct sockaddr_in6) };
}

static void this_host(struct query *q, int family, bool passive)
{
	add_six(q, family, passive ? &in6addr_any : &in6addr_loopback);
	add_four(q, family, htonl(passive ? INADDR_ANY : INADDR_LOOPBACK));
}

static int find_host(struct query *q, const char *node, int family, int flags)
{
	struct in6_addr six;
	struct in_addr four;

	if (!node) {
		this_host(q, family, flags & AI_PASSIVE);
	} else if (inet_pton(AF_INET, node, &four) == 1) {
		add_four(q, family, four.s_addr);
	} else if (inet_pton(AF_INET6, node, &six) == 1) {
		add_six(q, family, &six);
	} else {
		if (flags & AI_NUMERICHOST)
			return EAI_NONAME;
		if (!th_self()) /* a thread of the blocking pool */
			th_sim_block(th_sim_choose(WAIT_TICKS) * TH_SIM_TICK_NS);
		if (strcmp(node, "localhost") != 0)
			return EAI_NONAME;
		this_host(q, family, false);
	}
	return q->n_hosts > 0 ? 0 : EAI_ADDRFAMILY;
}

static struct addrinfo *make_list(const struct query *q, const struct addrinfo *hints)
{
	static const int types[2] = { SOCK_STREAM, SOCK_DGRAM };
	struct entry *list = calloc(LIST_MAX, sizeof *list);
	unsigned n = 0;

	if (!list)
		return NULL;
	for (unsigned i = 0; i < q->n_hosts; i++) {
		for (unsigned t = 0; t < 2; t++) {
			struct entry *e = &list[n];
			if (hints->ai_socktype && hints->ai_socktype != types[t])
				continue;
			e->address = q->hosts[i];
			e->address.sa.in.sin_port = q->port; /* in the same place in both families */
			e->info = (struct addrinfo){
				.ai_family = e->address.sa.any.sa_family, .ai_socktype = types[t],
				.ai_protocol = types[t] == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP,
				.ai_addr = &e->address.sa.any, .ai_addrlen = e->address.len };
			if (n > 0)
				list[n - 1].info.ai_next = &e->info;
			n++;
		}
	}
	return &list->info;
}

int th_sys_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
	static const struct addrinfo none = { 0 };
	struct query q = { .n_hosts = 0 };
	int code;

	if (!hints)
		hints = &none;
	if (!node && !service)
		return EAI_NONAME;
	if (hints->ai_family != AF_UNSPEC && hints->ai_family != AF_INET && hints->ai_family != AF_INET6)
		return EAI_FAMILY;
	if (hints->ai_socktype && hints->ai_socktype != SOCK_STREAM && hints->ai_socktype != SOCK_DGRAM)
		return EAI_SOCKTYPE;
	code = find_service(&q, service, hints->ai_flags);
	if (code == 0)
		code = find_host(&q, node, hints->ai_family, hints->ai_flags);
	if (code != 0)
		return code;
	*ret_list = make_list(&q, hints);
	return *ret_list ? 0 : EAI_MEMORY;
}

void th_sys_freeaddrinfo(struct addrinfo *list)
{
	free(list);
}
