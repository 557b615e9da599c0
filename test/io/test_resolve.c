/* test/io/test_resolve.c: thrum_getaddrinfo(): numbers inline, names on the blocking pool, cancel abandons (X9).
 *
 * No test asks a name server: getaddrinfo() here is ours, found before libc's. It hands numbers on to libc's,
 * and plays a resolver that answers, waits at a gate, or fails, for names under "test". So not even /etc/hosts is needed. */
#include <dlfcn.h>
#include <netdb.h>
#include <sched.h>
#include <semaphore.h>
#include "io_test.h"
#include "test/support/child.h"
#include "test/support/rules.h"

static struct {
	sem_t gate, started;
	th_counter calls, freed; /* lookups of names under "test"; their lists given back */
	int eai, eai_errno;
	const struct addrinfo *list;
} fake;

static bool is_fake(const char *node)
{
	const char *dot = node ? strrchr(node, '.') : NULL;

	return dot && strcmp(dot, ".test") == 0;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **ret_list)
{
	static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	struct addrinfo numbers = { .ai_flags = AI_NUMERICHOST, .ai_socktype = SOCK_STREAM };
	int r;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (!is_fake(node) || (hints && hints->ai_flags & AI_NUMERICHOST))
		return real(node, service, hints, ret_list);
	th_count(&fake.calls, 1);
	sem_post(&fake.started);
	if (strcmp(node, "slow.test") == 0)
		sem_wait(&fake.gate);
	errno = fake.eai_errno;
	if (fake.eai)
		return fake.eai;
	r = real("127.0.0.9", service, &numbers, ret_list);
	__atomic_store_n(&fake.list, *ret_list, __ATOMIC_RELEASE);
	return r;
}

void freeaddrinfo(struct addrinfo *list)
{
	static void (*real)(struct addrinfo *);

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "freeaddrinfo");
	if (list == __atomic_load_n(&fake.list, __ATOMIC_ACQUIRE)) {
		th_count(&fake.freed, 1);
		__atomic_store_n(&fake.list, NULL, __ATOMIC_RELEASE);
	}
	real(list);
}

static void reset(void)
{
	memset(&fake, 0, sizeof fake);
	TH_CHECK_EQ(sem_init(&fake.gate, 0, 0), 0);
	TH_CHECK_EQ(sem_init(&fake.started, 0, 0), 0);
}

static uint64_t jobs_so_far(void)
{
	thrum_stats s = { .size = sizeof s };

	TH_CHECK_EQ(thrum_stats_read(NULL, &s), 0);
	return s.blocking_jobs;
}

static struct addrinfo stream_of(int family, int flags)
{
	return (struct addrinfo){ .ai_family = family, .ai_flags = flags, .ai_socktype = SOCK_STREAM };
}

/* --- numbers --- */

static int numbers(void *unused)
{
	static const struct number {
		const char *node, *service;
		int family, flags;
	} all[] = {
		{ "127.0.0.1", "80", AF_UNSPEC, 0 },
		{ "127.0.0.1", NULL, AF_INET, 0 },
		{ "::1", "80", AF_INET6, 0 },
		{ "fe80::1%1", "80", AF_UNSPEC, 0 },
		{ NULL, "80", AF_UNSPEC, 0 },
		{ NULL, "80", AF_INET, AI_PASSIVE },
		{ "10.1", "65535", AF_UNSPEC, AI_NUMERICHOST | AI_NUMERICSERV },
	};

	(void)unused;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct addrinfo hints = stream_of(all[i].family, all[i].flags), *list = NULL;

		TH_CHECK_EQ(thrum_getaddrinfo(all[i].node, all[i].service, &hints, &list), 0);
		TH_CHECK(list != NULL);
		if (all[i].family != AF_UNSPEC)
			TH_CHECK_EQ(list->ai_family, all[i].family);
		thrum_freeaddrinfo(list);
	}
	TH_CHECK_EQ(jobs_so_far(), 0);
	return 0;
}
THRUM_FX(numbers, void);

TH_TEST(io_resolve, numbers_never_go_through_the_pool) { run_ok(numbers_fx(NULL)); }

static int address_and_port(void *unused)
{
	struct addrinfo hints = stream_of(AF_INET, 0), *list = NULL;
	const struct sockaddr_in *sa;

	(void)unused;
	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.2", "8080", &hints, &list), 0);
	sa = (const void *)list->ai_addr;
	TH_CHECK_EQ(sa->sin_addr.s_addr, htonl(0x7f000002));
	TH_CHECK_EQ(sa->sin_port, htons(8080));
	TH_CHECK_EQ(list->ai_socktype, SOCK_STREAM);
	thrum_freeaddrinfo(list);
	thrum_freeaddrinfo(NULL);
	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.2", NULL, NULL, &list), 0); /* without hints */
	thrum_freeaddrinfo(list);
	return 0;
}
THRUM_FX(address_and_port, void);

TH_TEST(io_resolve, numbers_become_addresses) { run_ok(address_and_port_fx(NULL)); }

/* The resolver of libc runs on the fiber's stack then: the smallest must do. */
TH_TEST(io_resolve, numbers_fit_on_the_smallest_stack)
{
	if (!TH_SANITIZED) /* their checks want stack of their own */
		TH_CHECK_EQ(thrum_run(THRUM_OPTS(.stack_bytes = 16 * 1024), numbers_fx(NULL)), 0);
}

/* --- names --- */

static int by_name(void *unused)
{
	struct addrinfo hints = stream_of(AF_INET, 0), *list = NULL;
	const struct sockaddr_in *sa;

	(void)unused;
	TH_CHECK_EQ(thrum_getaddrinfo("quick.test", "80", &hints, &list), 0);
	sa = (const void *)list->ai_addr;
	TH_CHECK_EQ(sa->sin_addr.s_addr, inet_addr("127.0.0.9"));
	thrum_freeaddrinfo(list);
	TH_CHECK_EQ(jobs_so_far(), 1);
	return 0;
}
THRUM_FX(by_name, void);

TH_TEST(io_resolve, names_go_through_the_pool) {
	reset();
	run_ok(by_name_fx(NULL));
}

static int copied(void *unused)
{
	struct addrinfo *list = NULL;

	(void)unused;
	TH_CHECK_EQ(thrum_getaddrinfo("quick.test", "443", NULL, &list), 0);
	TH_CHECK_EQ(((const struct sockaddr_in *)(const void *)list->ai_addr)->sin_port, htons(443));
	thrum_freeaddrinfo(list);
	TH_CHECK_EQ(th_counted(&fake.freed), 1);
	return 0;
}
THRUM_FX(copied, void);

TH_TEST(io_resolve, list_is_the_callers)
{
	reset();
	run_ok(copied_fx(NULL));
}

/* --- codes --- */

static int codes(void *unused)
{
	static const struct code {
		int eai, eai_errno, code;
	} all[] = {
		{ EAI_NONAME, 0, THRUM_ENONAME },    { EAI_NODATA, 0, THRUM_ENONAME },
		{ EAI_SERVICE, 0, THRUM_ENONAME },   { EAI_ADDRFAMILY, 0, THRUM_ENONAME },
		{ EAI_AGAIN, 0, -EAGAIN },           { EAI_FAIL, 0, -EIO },
		{ EAI_BADFLAGS, 0, -EINVAL },        { EAI_FAMILY, 0, -EAFNOSUPPORT },
		{ EAI_SOCKTYPE, 0, -ESOCKTNOSUPPORT },{ EAI_MEMORY, 0, -ENOMEM },
		{ EAI_OVERFLOW, 0, -EOVERFLOW },     { EAI_SYSTEM, EMFILE, -EMFILE },
		{ EAI_SYSTEM, 0, -EIO },             { EAI_SYSTEM, ECANCELED, -EIO },
		{ -12345, 0, -EIO },
	};
	struct addrinfo untouched, *list = &untouched;

	(void)unused;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		fake.eai = all[i].eai;
		fake.eai_errno = all[i].eai_errno;
		TH_CHECK_EQ(thrum_getaddrinfo("quick.test", "80", NULL, &list), all[i].code);
		TH_CHECK(list == &untouched);
	}
	TH_CHECK_EQ(th_counted(&fake.calls), sizeof all / sizeof *all);
	TH_CHECK(strcmp(thrum_strerror(THRUM_ENONAME), "no such name or service") == 0);
	return 0;
}
THRUM_FX(codes, void);

TH_TEST(io_resolve, every_error_of_the_resolver_has_a_code)
{
	reset();
	run_ok(codes_fx(NULL));
}

/* Seen without asking anybody. */
static int bad_calls(void *unused)
{
	struct addrinfo hints = stream_of(AF_INET, 0), *list = NULL;

	(void)unused;
	TH_CHECK_EQ(thrum_getaddrinfo(NULL, NULL, NULL, &list), -EINVAL);
	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.1", "80", NULL, NULL), -EINVAL);
	hints.ai_flags = ~0;
	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.1", "80", &hints, &list), -EINVAL);
	hints = stream_of(AF_APPLETALK, 0);
	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.1", "80", &hints, &list), -EAFNOSUPPORT);
	hints = stream_of(AF_INET, AI_NUMERICHOST | AI_NUMERICSERV);
	TH_CHECK_EQ(thrum_getaddrinfo("quick.test", "80", &hints, &list), THRUM_ENONAME);
	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.1", "http", &hints, &list), THRUM_ENONAME);
	TH_CHECK(list == NULL);
	TH_CHECK_EQ(jobs_so_far(), 0);
	return 0;
}
THRUM_FX(bad_calls, void);

/* Not cut to 16 bits, as libc does it: 65616 would be port 80. */
static int no_ports(void *unused)
{
	static const char *const bad[] = { "65536", "65616", "4294967376", "99999999999999999999", "-1", "-65456", "+80", " 80", "\t80" };
	struct addrinfo hints = stream_of(AF_INET, 0), *list = NULL;

	(void)unused;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.1", bad[i], &hints, &list), -EINVAL);
		TH_CHECK_EQ(thrum_getaddrinfo("quick.test", bad[i], NULL, &list), -EINVAL);
	}
	TH_CHECK(list == NULL);
	TH_CHECK_EQ(jobs_so_far(), 0);
	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.1", "9to5", &hints, &list), THRUM_ENONAME); /* may be a name */
	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.1", "00080", &hints, &list), 0);
	TH_CHECK_EQ(((const struct sockaddr_in *)(const void *)list->ai_addr)->sin_port, htons(80));
	thrum_freeaddrinfo(list);
	return 0;
}
THRUM_FX(no_ports, void);

TH_TEST(io_resolve, numbers_that_are_no_ports_are_refused)
{
	reset();
	run_ok(no_ports_fx(NULL));
}

TH_TEST(io_resolve, bad_calls_are_refused_inline) { run_ok(bad_calls_fx(NULL)); }

TH_TEST(io_resolve, outside_a_fiber_it_is_ENOTFIBER_X1)
{
	struct addrinfo *list = NULL;

	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.1", "80", NULL, &list), THRUM_ENOTFIBER);
	TH_CHECK(list == NULL);
}

/* --- cancel --- */

static int cancelled(void *unused)
{
	struct addrinfo *list = NULL;

	(void)unused;
	TH_CHECK_EQ(thrum_getaddrinfo("127.0.0.1", "80", NULL, &list), -ECANCELED); /* also what would not wait (G3) */
	TH_CHECK_EQ(thrum_getaddrinfo("quick.test", "80", NULL, &list), -ECANCELED);
	TH_CHECK(list == NULL);
	return 0;
}
THRUM_FX(cancelled, void);

static int in_cancelled_scope(void *unused)
{
	(void)unused;
	TH_CHECK_EQ(th_call_cancelled(cancelled_fx(NULL)), 0);
	TH_CHECK_EQ(jobs_so_far(), 0);
	return 0;
}
THRUM_FX(in_cancelled_scope, void);

TH_TEST(io_resolve, is_a_checkpoint_G3)
{
	reset();
	run_ok(in_cancelled_scope_fx(NULL));
	TH_CHECK_EQ(th_counted(&fake.calls), 0);
}

static int look_up_slow(void *ret_code)
{
	struct addrinfo *list = NULL;
	char name[] = "slow.test", service[] = "80"; /* gone when the lookup goes on */

	*(int *)ret_code = thrum_getaddrinfo(name, service, NULL, &list);
	TH_CHECK(list == NULL);
	memset(name, 'x', sizeof name - 1);
	return 0;
}

static void wait_for_start(void)
{
	while (sem_trywait(&fake.started) < 0)
		sched_yield();
}

/* The call returns while the resolver still sits there; what it finds later is freed. */
TH_TEST(io_resolve, cancel_returns_at_once_and_the_late_list_is_freed_X9)
{
	thrum_handle h;
	thrum_rt *rt;
	int code = 1;

	reset();
	TH_CHECK_EQ(thrum_rt_open(NULL, &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h, (thrum_fx){ look_up_slow, &code }), 0);
	wait_for_start();
	thrum_handle_cancel(&h);
	TH_CHECK_EQ(thrum_handle_wait(&h), 0);
	TH_CHECK_EQ(code, -ECANCELED);
	TH_CHECK_EQ(th_counted(&fake.freed), 0);
	sem_post(&fake.gate);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(th_counted(&fake.calls), 1);
	TH_CHECK_EQ(th_counted(&fake.freed), 1);
}

/* The same for one that fails late: there is no list. And for one that never began. */
TH_TEST(io_resolve, cancel_of_a_lookup_that_fails_late_or_waits_in_line_X9)
{
	thrum_handle h[2];
	int code[2] = { 1, 1 };
	thrum_rt *rt;

	reset();
	fake.eai = EAI_AGAIN;
	TH_CHECK_EQ(thrum_rt_open(THRUM_OPTS(.clock = THRUM_CLOCK_TEST, .blocking_threads = 1), &rt), 0);
	TH_CHECK_EQ(thrum_rt_start(rt, &h[0], (thrum_fx){ look_up_slow, &code[0] }), 0);
	wait_for_start();
	TH_CHECK_EQ(thrum_rt_start(rt, &h[1], (thrum_fx){ look_up_slow, &code[1] }), 0);
	TH_CHECK_EQ(thrum_clock_advance(rt, thrum_ns(0)), 0);
	for (int i = 0; i < 2; i++) {
		thrum_handle_cancel(&h[i]);
		TH_CHECK_EQ(thrum_handle_wait(&h[i]), 0);
		TH_CHECK_EQ(code[i], -ECANCELED);
	}
	sem_post(&fake.gate);
	TH_CHECK_EQ(thrum_rt_close(rt), 0);
	TH_CHECK_EQ(th_counted(&fake.calls), 1);
}
