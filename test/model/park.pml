/* test/model/park.pml: sched/idle.c as a protocol, with every step sequentially consistent (the fences are the matter of
 * model_sleep.cpp): nobody sleeps while there is work for him (hazards 6, 7), one wake leads to the next.
 *
 * Worker 0 runs a body that spawns T tasks and then only waits for them; each of two tasks waits until the other runs as
 * well (Z3: siblings may talk to each other). A foreign thread sends mail to every other worker, and stops the runtime in
 * the end. A lost wake-up is a deadlock, which SPIN reports as an invalid end state.
 *
 *   MUTANT 1  sleeper: no second look after the announcement           4  wake: a flag that falling asleep clears
 *          2  sleeper: looks, then announces                           5  second look leaves out the mailbox
 *          3  waker: looks for sleepers before it pushes               6  second look leaves out the stop word
 *          7  a notify that found nobody does not look again after it lowered the count of searchers
 *          8  the searcher that found work does not pass the call on   9  get_up forgets that it was called */
#ifndef W
#define W 3
#endif
#ifndef MUTANT
#define MUTANT 0
#endif
#define T 2
#define AWAKE 0
#define ASLEEP 1
#define CALLED 2

byte deque, mail[W], x_sleep[W], idle, searching, here, done, mails_read;
bool event[W], stop;

inline take_out(w, to, ok) { /* one CAS, then the count */
	atomic {
		if
		:: x_sleep[w] == ASLEEP -> x_sleep[w] = to; ok = true
		:: else -> ok = false
		fi
	}
	if
	:: ok -> idle--
	:: else
	fi
}

inline poke(w, ok) {
	take_out(w, AWAKE, ok);
	if
	:: ok -> event[w] = true
	:: else
	fi
}

inline notify(k, ok, again) {
	again = (idle > 0);
	do
	:: !again -> break
	:: else ->
		atomic { /* the load before the CAS decides nothing more */
			if
			:: searching > 0 -> break
			:: else -> searching++
			fi
		}
		k = 0;
		ok = false;
		do
		:: k < W && !ok ->
			take_out(k, CALLED, ok);
			if
			:: ok -> event[k] = true
			:: else -> k++
			fi
		:: else -> break
		od;
		if
		:: ok -> break
		:: else
		fi;
		searching--;
#if MUTANT == 7
		break;
#endif
		k = 0;
		again = false;
		do
		:: k < W -> again = again || (x_sleep[k] == ASLEEP); k++
		:: else -> break
		od
	od;
	k = 0; again = false
}

proctype worker(byte i) {
	byte k; bool ok, again, got, hat;
	do
	:: stop -> break
	:: else ->
		got = false;
		atomic {
			if
			:: mail[i] > 0 -> mail[i]--; mails_read++; got = true
			:: else
			fi
		}
		if
		:: !got && !hat -> atomic { hat = true; searching++ }
		:: else
		fi;
		if
		:: !got ->
			atomic {
				if
				:: deque > 0 -> deque--; got = true
				:: else
				fi
			}
			if
			:: got ->
#if MUTANT == 8
				searching--; hat = false;
#else
				searching--; hat = false;
				notify(k, ok, again);
#endif
				here++;
				(here >= 2);
				done++
			:: else
			fi
		:: else
		fi;
		if
		:: !got ->
			if
			:: hat -> searching--; hat = false
			:: else
			fi;
#if MUTANT == 4
			event[i] = false;
#endif
#if MUTANT == 2
			again = mail[i] > 0 || deque > 0 || stop;
#endif
			x_sleep[i] = ASLEEP;
			idle++;
#if MUTANT != 1 && MUTANT != 2
#if MUTANT != 5
			again = again || mail[i] > 0;
#endif
			again = again || deque > 0;
#if MUTANT != 6
			again = again || stop;
#endif
#endif
#if MUTANT == 4
			event[i] = false;
#endif
			if
			:: again
			:: else -> event[i]; event[i] = false
			fi;
			again = false;
			atomic {
				k = x_sleep[i];
				x_sleep[i] = AWAKE
			}
			if
			:: k == ASLEEP -> idle--
#if MUTANT != 9
			:: k == CALLED -> hat = true
#endif
			:: else
			fi;
			k = 0
		:: else
		fi
	od;
	if
	:: hat -> searching--
	:: else
	fi
}

/* Worker 0, busy with the body that spawns. */
proctype spawner() {
	byte n, k; bool ok, again;
	do
	:: n < T ->
#if MUTANT == 3
		notify(k, ok, again);
		deque++;
#else
		deque++;
		notify(k, ok, again);
#endif
		n++
	:: else -> break
	od;
	(done == T)
}

proctype foreign() {
	byte w = 1; bool ok;
	mail[w]++;
	poke(w, ok);
	(done == T && mails_read == 1);
	stop = true;
	w = 1;
	do
	:: w < W -> poke(w, ok); w++
	:: else -> break
	od
}

init {
	byte w = 1;
	atomic {
		do
		:: w < W -> run worker(w); w++
		:: else -> break
		od;
		run spawner();
		run foreign()
	}
	(_nr_pr == 1);
	assert(idle == 0 && searching == 0); /* a count that leaks silences later wakes */
	assert(deque == 0) /* hazards 6, 7; Z3: all have run, and waited for each other */
}
