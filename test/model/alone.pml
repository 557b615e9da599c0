/* test/model/alone.pml: core/light.h: the opener of a scope numbers and ends its light children without a lock, as long as it
 * is alone, against another one that spawns into the scope and one that joins a child, on a machine with store buffers.
 *
 * The opener's stores of x_own and x_done reach memory whenever they like, and at its read-modify-writes and at a
 * membarrier(). All other steps are sequentially consistent; what is under the lock is one step, but for the fence.
 *
 *   G2  each child has a number of its own, and none is left out
 *   S1  who joins a child that has ended, or ends, goes on
 *
 *   MUTANT 1  A3: no membarrier                             5  A1 behind A2
 *          2  a number that was counted is not the child's  6  a joiner does not declare
 *          3  A2: does not look                             7  A7 before A3
 *          4  A6: does not look */
#ifndef MUTANT
#define MUTANT 0
#endif
#define OWN 3    /* children of the opener */
#define OTHERS 2 /* of the other one */

bool held;                      /* the scope's lock */
bool alone = true;
byte own, own_seen;             /* x_own, as the opener sees it and as others do */
bool done, done_seen, queued, woken;
byte spawned, shared_at;
bool given[OWN + OTHERS + 1];
byte finished;

inline lock() { atomic { !held -> held = true } }
inline unlock() { held = false }
inline flush() { atomic { own_seen = own; done_seen = done } }

inline give(n) {
	atomic {
		assert(n < OWN + OTHERS && !given[n]); /* G2: a number of its own */
		given[n] = true
	}
}

/* The opener's store buffer. */
active proctype drain() {
end:	do
	:: own_seen != own -> own_seen = own
	:: done_seen != done -> done_seen = done
	od
}

inline declare() {
	if
	:: alone ->
		alone = false;
#if MUTANT != 1
		flush();
#endif
		atomic { spawned = own_seen; shared_at = own_seen }
	:: else
	fi
}

inline spawn_one() {
	n = own;
#if MUTANT != 5
	own = n + 1;
#endif
	if
#if MUTANT == 3
	:: true -> give(n)
#else
	:: alone -> give(n)
	:: !alone ->
		lock();
		flush();
		if
#if MUTANT != 2
		:: n < shared_at -> give(n)
#endif
		:: MUTANT == 2 || n >= shared_at -> give(spawned); spawned++
		fi;
		unlock()
#endif
	fi;
#if MUTANT == 5
	own = n + 1;
#endif
}

inline end_child() {
	done = true;
	if
	:: alone || MUTANT == 4
	:: !alone && MUTANT != 4 ->
		lock();
		flush();
		if
		:: queued -> woken = true
		:: else
		fi;
		unlock()
	fi
}

active proctype opener() {
	byte n, left = OWN;
	do
	:: left > 0 -> spawn_one(); left--
	:: !done -> end_child() /* of one that it had before */
	:: left == 0 && done -> break
	od;
	finished++
}

active proctype spawner() {
	byte left = OTHERS;
	do
	:: left > 0 ->
		lock();
		declare();
		give(spawned);
		spawned++;
		unlock();
		left--
	:: left == 0 -> break
	od;
	finished++
}

active proctype joiner() {
	bool ended;
	lock();
#if MUTANT == 7
	ended = done_seen;
#endif
#if MUTANT != 6
	declare();
#endif
#if MUTANT != 7
	ended = done_seen;
#endif
	if
	:: ended -> unlock()
	:: !ended -> queued = true; unlock(); woken
	fi;
	finished++
}

active proctype monitor() {
	byte i;
	finished == 3;
	for (i : 0 .. OWN + OTHERS - 1) {
		assert(given[i]) /* G2: none is left out */
	}
}
