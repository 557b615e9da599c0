/* test/model/model_lock.cpp: core/lock.h and core/lock.c, the shipped sources, over a model of the kernel's futex.
 *
 * Proves: one holder at a time, and each sees what the one before wrote; no sleeper is left behind (Relacy reports the
 * deadlock); and an unlock does not touch the lock's memory after it let the next holder in, which may free it.
 *
 *   SCENE 1  three threads, one section each
 *   SCENE 2  three threads, the last one through frees the lock, as the closer of a scope does (S1, hazard 63) */
#include "futex.h"
#include "../../core/lock.c"

enum { THREADS = 3 };

struct shared_state {
	struct th_lock lock;
	rl::var<int> left;
};

struct lock_test : rl::test_suite<lock_test, THREADS> {
	futex_bucket bucket;
	shared_state *s;

	void before()
	{
		futex = &bucket;
		s = new shared_state;
		th_lock_init(&s->lock);
		s->left($) = THREADS;
	}
	void thread(unsigned)
	{
		shared_state *mine = s;
		th_lock(&mine->lock);
		int left = mine->left($) - 1;
		mine->left($) = left;
		th_unlock(&mine->lock);
		if (scene == 2 && left == 0)
			delete mine;
	}
	void after()
	{
		if (scene == 1) {
			RL_ASSERT(s->left($) == 0);
			delete s;
		}
	}
};

int main(int argc, char **argv) { return model_main<lock_test>(argc, argv, 3000); }
