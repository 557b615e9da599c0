/* test/model/join.pml: closing a scope against the end of its children (core/scope.c, core/task.c).
 *
 *   decision 4, S1  close returns only when all children ended
 *   S6              a child that comes after the close began is refused and never runs
 *   hazards 17, 24, 63: the closer is woken exactly once, after its context was saved; nobody touches the scope once the
 *                   closer may have freed it
 *
 *   child:   lock; unlink; pending--; if that was the last and a closer is parked: take it; unlock; wake it
 *   closer:  lock; closing; unlock; while children: switch away, then: lock; none left? : leave the name; unlock; none
 *            left? wake itself
 *
 *   MUTANT 1  the closer reads the count without the lock     4  it leaves its name before it has switched away
 *          2  woken before the unlock, it trusts the wake       5  the child counts down and takes the closer in two sections
 *          3  the closer leaves its name without a look       6  admission does not look at closing */
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef N
#define N 3
#endif

bool held, freed, closing, named, saved, ready;
byte pending = N, admitted = N, finished, wakes;

inline touch() { assert(!freed) } /* S7: its memory is its opener's once close has returned */
inline lock() { atomic { !held -> touch(); held = true } }
inline unlock() { atomic { touch(); held = false } }
inline wake() { atomic { assert(saved && !ready); wakes++; ready = true } }

proctype child(byte spawns) {
	bool take, in;
	if
	:: spawns > 0 -> /* a child may spawn into the scope it runs in */
		lock();
#if MUTANT == 6
		in = true;
#else
		in = !closing;
#endif
		if
		:: in -> assert(!closing); pending++; admitted++ /* S6 */
		:: else
		fi;
		unlock();
		if
		:: in -> run child(spawns - 1)
		:: else
		fi
	:: else
	fi;
	finished++;
	lock();
	pending--;
#if MUTANT == 5
	unlock();
	lock();
#endif
	take = pending == 0 && named;
	if
	:: take -> named = false
	:: else
	fi;
#if MUTANT == 2
	if
	:: take -> wake()
	:: else
	fi;
	unlock()
#else
	unlock();
	if
	:: take -> wake()
	:: else
	fi
#endif
}

proctype closer() {
	bool some, none_left;
	lock();
	closing = true;
	unlock();
	do
	::
#if MUTANT == 1
		some = pending > 0;
#else
		lock();
		some = pending > 0;
		unlock();
#endif
		if
		:: !some -> break
		:: else
		fi;
#if MUTANT != 4
		saved = true; /* the switch away; what follows runs on the worker's stack */
#endif
		lock();
#if MUTANT == 3
		none_left = false;
#else
		none_left = pending == 0;
#endif
		if
		:: !none_left -> named = true
		:: else
		fi;
		unlock();
#if MUTANT == 4
		saved = true;
#endif
		if
		:: none_left -> wake()
		:: else
		fi;
		atomic { ready -> ready = false; saved = false }
#if MUTANT == 2
		break
#endif
	od;
	assert(finished == admitted && pending == 0); /* S1 */
	assert(wakes <= 1); /* hazard 17 */
	freed = true
}

init {
	byte i;
	atomic {
		run closer();
		run child(2);
		do
		:: i < N - 1 -> run child(0); i++
		:: else -> break
		od
	}
}
