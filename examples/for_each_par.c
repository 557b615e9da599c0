/* for_each_par: ten users, three at a time, results in order. A user is pulled when a slot is free, so at most three
 * bodies exist at any time, however long the list. */
#include <stdio.h>
#include <thrum.h>

enum { USERS = 10 };

struct user {
	int id, score;
	int begun_ms;
};
static thrum_time start;

static int load(struct user *u)
{
	u->begun_ms = (int)(thrum_time_sub(thrum_now(), start).ns / 1000000);
	int code = thrum_sleep(thrum_ms(100));
	if (code == 0)
		u->score = u->id * u->id;
	return code;
}
THRUM_FX(load, struct user);

static int example(void *unused)
{
	struct user user[USERS];

	(void)unused;
	start = thrum_now();
	for (int i = 0; i < USERS; i++)
		user[i] = (struct user){ .id = i + 1 };
	int code = thrum_for_each_par(user, USERS, load, 3);
	for (int i = 0; i < USERS; i++)
		printf("user %2d: score %3d, begun at %d ms\n", user[i].id, user[i].score, user[i].begun_ms);
	printf("processed %d users in %d ms\n", USERS, (int)(thrum_time_sub(thrum_now(), start).ns / 1000000));
	return code;
}
THRUM_FX(example, void);

int main(void)
{
	return thrum_run(THRUM_OPTS(.clock = THRUM_CLOCK_JUMP), example_fx(NULL)) != 0;
}
