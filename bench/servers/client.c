/* bench/servers/client.c: a closed loop over many connections, one request in flight on each, and what it cost the server.
 *
 *   client PORT PID CONNECTIONS echo|http|set PIPELINE SECONDS
 *
 * Requests are always the same; the first answer tells how long answers are. Prints one line:
 *   requests cpu_ns user_ticks system_ticks wall_ns
 * of the window that begins a quarter of a second after all connections stand: the CPU time is that of the process PID, read
 * at both ends of it. Plain epoll, so that the client is the same for every server. */
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { REQUEST_MAX = 64 * 1024, EVENTS = 256, QUIET_MS = 100 };
#define WARM_UP_NS 250000000

struct usage {
	uint64_t cpu_ns, user, sys;
};

static char request[REQUEST_MAX], answers[REQUEST_MAX];
static size_t request_bytes, answer_bytes;
static int *missing; /* bytes of the answer, by descriptor */

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void scan(const char *path, const char *format, ...)
{
	FILE *f = fopen(path, "r");
	va_list ap;

	if (!f)
		return; /* a thread that has just ended */
	va_start(ap, format);
	(void)!vfscanf(f, format, ap);
	va_end(ap);
	fclose(f);
}

static struct usage usage_of(const char *pid)
{
	struct usage u = { 0, 0, 0 };
	char path[300];
	struct dirent *e;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%s/task", pid);
	dir = opendir(path);
	if (!dir)
		die(path);
	while ((e = readdir(dir)) != NULL) {
		uint64_t ns = 0;
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%s/task/%s/schedstat", pid, e->d_name);
		scan(path, "%lu", &ns);
		u.cpu_ns += ns;
	}
	closedir(dir);
	snprintf(path, sizeof path, "/proc/%s/stat", pid);
	scan(path, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &u.user, &u.sys);
	return u;
}

static void make_request(const char *kind, unsigned pipeline)
{
	static const char http[] = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
	static const char set[] = "*3\r\n$3\r\nSET\r\n$5\r\nhello\r\n$3\r\nabc\r\n";
	char echo[65];

	memset(echo, 'x', 64);
	echo[64] = 0;
	const char *one = strcmp(kind, "http") == 0 ? http : strcmp(kind, "set") == 0 ? set : echo;
	for (unsigned i = 0; i < pipeline && request_bytes + strlen(one) < sizeof request; i++) {
		memcpy(request + request_bytes, one, strlen(one));
		request_bytes += strlen(one);
	}
}

static void send_request(int fd)
{
	if (send(fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes)
		die("send"); /* one request in flight: the socket's buffer has room for it */
	missing[fd] = (int)answer_bytes;
}

static int dial(uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	return fd;
}

/* Everything that comes until nothing has come for a while. */
static void learn_answer(uint16_t port)
{
	struct timeval quiet = { .tv_usec = QUIET_MS * 1000 };
	int fd = dial(port);
	ssize_t n;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &quiet, sizeof quiet);
	if (send(fd, request, request_bytes, MSG_NOSIGNAL) != (ssize_t)request_bytes)
		die("send");
	while ((n = recv(fd, answers, sizeof answers, 0)) > 0)
		answer_bytes += (size_t)n;
	if (answer_bytes == 0) {
		fprintf(stderr, "no answer\n");
		exit(1);
	}
	close(fd);
}

static uint64_t play(int poller, int64_t until_ns)
{
	struct epoll_event events[EVENTS];
	uint64_t done = 0;

	while (now_ns() < until_ns) {
		int n = epoll_wait(poller, events, EVENTS, 100);
		for (int i = 0; i < n; i++) {
			int fd = events[i].data.fd;
			ssize_t got = recv(fd, answers, sizeof answers, MSG_DONTWAIT);
			if (got < 0 && errno == EAGAIN)
				continue;
			if (got <= 0)
				die("recv");
			missing[fd] -= (int)got;
			if (missing[fd] < 0) {
				fprintf(stderr, "a longer answer than the first one\n");
				exit(1);
			}
			if (missing[fd] == 0) {
				done++;
				send_request(fd);
			}
		}
	}
	return done;
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		fprintf(stderr, "client PORT PID CONNECTIONS echo|http|set PIPELINE SECONDS\n");
		return 2;
	}
	uint16_t port = (uint16_t)atoi(argv[1]);
	int connections = atoi(argv[3]), poller = epoll_create1(EPOLL_CLOEXEC);
	unsigned pipeline = (unsigned)atoi(argv[5]);

	make_request(argv[4], pipeline);
	learn_answer(port);
	missing = calloc((size_t)connections + 64, sizeof *missing);
	if (!missing)
		die("calloc");
	for (int i = 0; i < connections; i++) {
		int fd = dial(port);
		struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
		if (fd >= connections + 64 || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &e) < 0)
			die("epoll_ctl");
		send_request(fd);
	}
	(void)play(poller, now_ns() + WARM_UP_NS);

	struct usage before = usage_of(argv[2]), after;
	int64_t began = now_ns();
	uint64_t done = play(poller, began + (int64_t)(atof(argv[6]) * 1e9));
	int64_t wall = now_ns() - began;

	after = usage_of(argv[2]);
	printf("%lu %lu %lu %lu %ld\n", done * pipeline, after.cpu_ns - before.cpu_ns, after.user - before.user,
	       after.sys - before.sys, wall);
	return 0;
}
