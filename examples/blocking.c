/* Calls that block: four sensors are read through a library that knows nothing of fibers, while a fiber on the same workers
 * feeds them. Then one that never answers in time: a deadline abandons the call, and its argument is freed when it comes back.
 * And a name becomes an address. */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <thrum.h>
#include <unistd.h>

enum { SENSORS = 4 };

/* The library: read(2) holds up its thread until there is something to read. */
static int read_sensor(int fd)
{
	unsigned char degrees;

	return read(fd, &degrees, 1) == 1 ? degrees : -EIO;
}

struct reading {
	int fds[2];
	int degrees;
};
static int read_blocking(void *arg)
{
	struct reading *r = arg;

	r->degrees = read_sensor(r->fds[0]);
	return r->degrees < 0 ? r->degrees : 0;
}
static int reading(struct reading *r)
{
	return thrum_blocking((thrum_fx){ read_blocking, r }); /* the fiber waits, its worker goes on */
}
THRUM_FX(reading, struct reading);

static int read_all(struct reading *r)
{
	return thrum_for_each_par(r, SENSORS, reading, SENSORS);
}
THRUM_FX(read_all, struct reading);

/* One value every millisecond. */
static int feed_all(struct reading *r)
{
	for (int i = 0; i < SENSORS; i++) {
		const unsigned char degrees = (unsigned char)(21 + i);
		int code = thrum_sleep(thrum_ms(1));

		if (code == 0)
			code = thrum_write_all(r[i].fds[1], &degrees, 1, NULL);
		if (code < 0)
			return code;
	}
	return 0;
}
THRUM_FX(feed_all, struct reading);

static int free_reading(void *r)
{
	free(r);
	return 0;
}

/* Abandonable: so the argument is on the heap, and with -ECANCELED it is no longer ours. */
static int read_or_leave(struct reading *from)
{
	struct reading *r = malloc(sizeof *r);
	int code;

	if (!r)
		return -ENOMEM;
	*r = *from;
	code = thrum_blocking_with((thrum_fx){ read_blocking, r },
				   THRUM_BLOCKING_OPTS(.abandon = true, .drop = { free_reading, r }));
	if (code == -ECANCELED)
		return code;
	from->degrees = r->degrees;
	free(r);
	return code;
}
THRUM_FX(read_or_leave, struct reading);

static int resolve(void)
{
	const struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list;
	int code = thrum_getaddrinfo("127.0.0.1", "80", &hints, &list);

	if (code < 0)
		return code;
	printf("resolved: port %d\n", ntohs(((const struct sockaddr_in *)(const void *)list->ai_addr)->sin_port));
	thrum_freeaddrinfo(list);
	return 0;
}

static int program(struct reading *r)
{
	int code = thrum_zip_par(read_all_fx(r), feed_all_fx(r));

	if (code < 0)
		return code;
	printf("sensors:");
	for (int i = 0; i < SENSORS; i++)
		printf(" %d", r[i].degrees);
	code = thrum_timeout(read_or_leave_fx(&r[0]), thrum_ms(20));
	printf("\none that does not answer: %s\n", thrum_strerror(code));
	code = (int)thrum_write(r[0].fds[1], "", 1); /* it answers after all; the runtime closes when it has */
	return code < 0 ? code : resolve();
}
THRUM_FX(program, struct reading);

int main(void)
{
	struct reading r[SENSORS];
	int code;

	for (int i = 0; i < SENSORS; i++)
		if (pipe(r[i].fds) < 0)
			return 1;
	code = thrum_run(NULL, program_fx(r));
	if (code < 0)
		fprintf(stderr, "%s\n", thrum_strerror(code));
	return code != 0;
}
