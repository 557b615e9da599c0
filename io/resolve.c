/* io/resolve.c: names to addresses: getaddrinfo(3) on the blocking pool.
 *
 * The C library's resolver blocks, reads files, loads modules, and cannot be cancelled. So a lookup of names is a job that
 * a cancel abandons: everything it needs is copied into one block, and its late result is freed with that. Numbers need
 * none of this and are converted on the fiber, which therefore asks first for numbers only. */
#include "../core/hooks.h"
#include "../core/node.h"
#include "own_errno.h"
#include "sys.h"
#include <errno.h>
#include <netdb.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <thrum/io.h>

struct lookup {
	const char *node, *service;  /* NULL or in `text` */
	struct addrinfo hints;
	struct addrinfo *list;
	char text[];
};

/* The resolver's code; directly after the call, for errno. */
static int code_of(int eai)
{
	switch (eai) {
	case 0:
		return 0;
	case EAI_NONAME:
	case EAI_NODATA:
	case EAI_ADDRFAMILY:
	case EAI_SERVICE:
		return THRUM_ENONAME;
	case EAI_AGAIN:
		return -EAGAIN;
	case EAI_BADFLAGS:
		return -EINVAL;
	case EAI_FAMILY:
		return -EAFNOSUPPORT;
	case EAI_SOCKTYPE:
		return -ESOCKTNOSUPPORT;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_OVERFLOW:
		return -EOVERFLOW;
	case EAI_SYSTEM:
		/* A job of this kind that says -ECANCELED is taken for one that was abandoned. */
		return errno > 0 && errno != ECANCELED ? -errno : -EIO;
	default:
		return -EIO; /* EAI_FAIL, and what others may invent */
	}
}

/* Names among the arguments, as far as the flags tell. */
static bool may_hold_names(const char *node, const char *service, int flags)
{
	return (node && !(flags & AI_NUMERICHOST)) || (service && !(flags & AI_NUMERICSERV));
}

/* No names, no files, no modules: AI_IDN would load one. */
static int convert_numbers(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
	struct addrinfo numbers = *hints;
	int saved = th_errno_begin(), code;

	numbers.ai_flags |= AI_NUMERICHOST | AI_NUMERICSERV;
	numbers.ai_flags &= ~(AI_IDN | AI_CANONIDN);
	code = code_of(th_sys_getaddrinfo(node, service, &numbers, ret_list));
	th_errno_end(saved);
	return code;
}

/* libc takes for a number whatever strtoul(3) reads to the end, a blank or a sign in front too, and cuts it to 16 bits: port
 * 65536 would be 0, any port. So a number has to be one. */
static bool is_no_port(const char *service)
{
	int saved = th_errno_begin();
	char *end;
	unsigned long n = strtoul(service, &end, 10);
	bool number = !*end;

	th_errno_end(saved);
	return number && (n > UINT16_MAX || service[strspn(service, "0123456789")]);
}

static struct lookup *lookup_new(const char *node, const char *service, const struct addrinfo *hints)
{
	size_t node_bytes = node ? strlen(node) + 1 : 0, service_bytes = service ? strlen(service) + 1 : 0;
	struct lookup *l = malloc(sizeof *l + node_bytes + service_bytes);

	if (!l)
		return NULL;
	l->node = node ? memcpy(l->text, node, node_bytes) : NULL;
	l->service = service ? memcpy(l->text + node_bytes, service, service_bytes) : NULL;
	l->hints = *hints;
	l->list = NULL;
	return l;
}

static int look_up(void *arg)
{
	struct lookup *l = arg;

	return code_of(th_sys_getaddrinfo(l->node, l->service, &l->hints, &l->list));
}

static int drop_lookup(void *arg)
{
	struct lookup *l = arg;

	thrum_freeaddrinfo(l->list);
	free(l);
	return 0;
}

static int look_up_names(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
	struct lookup *l = lookup_new(node, service, hints);
	thrum_blocking_opts opts = { .size = sizeof opts, .abandon = true, .drop = { drop_lookup, l } };
	int code;

	if (!l)
		return -ENOMEM;
	code = thrum_blocking_with((thrum_fx){ look_up, l }, &opts);
	if (code == -ECANCELED)
		return code; /* dropped, or it will be */
	if (code == 0)
		*ret_list = l->list;
	free(l);
	return code;
}

int thrum_getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
	static const struct addrinfo none = { .ai_flags = AI_V4MAPPED | AI_ADDRCONFIG }; /* as without hints */
	struct th_fiber *f = th_self();
	struct addrinfo *list = NULL;
	int code;

	if (!f)
		return THRUM_ENOTFIBER;
	if ((!node && !service) || !ret_list || (service && is_no_port(service)))
		return -EINVAL;
	if (th_cancelled(f))
		return -ECANCELED;
	if (!hints)
		hints = &none;
	code = convert_numbers(node, service, hints, &list);
	if (code == 0)
		*ret_list = list;
	if (code != THRUM_ENONAME || !may_hold_names(node, service, hints->ai_flags))
		return code;
	return look_up_names(node, service, hints, ret_list);
}

void thrum_freeaddrinfo(struct addrinfo *list)
{
	if (list)
		th_sys_freeaddrinfo(list);
}
