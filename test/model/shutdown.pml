/* test/model/shutdown.pml: starting root effects against shutting down (sched/rt.c, sched/worker.c).
 *
 *   X7          the workers leave when the last root effect has ended, all of them, and not before: what was started runs
 *   S6          what comes after the shutdown began is refused, and never runs
 *   hazard 7    no worker sleeps on a root effect, or on the stop
 *   hazard 13   nobody wakes a worker whose ring is closed; nobody touches the runtime once it is freed
 *
 *   starter:  roots is 0? refused. roots++; closing? refused: root_ended. else admitted by the root scope, or not: refused: root_ended
 *             foreign++; inject; wake a sleeper; foreign--
 *   shutdown: closing = 1; cancel the root scope; root_ended
 *   root_ended: roots--; was it the last: stop = STOPPING, poke all, stop = STOPPED
 *   worker:   until stop: run what is injected, then root_ended; or announce, look again, wait, get up
 *             down++; wait for STOPPED, for all to be down, for foreign to be 0; close the ring
 *
 *   MUTANT 1  a starter counts itself from 0, and is refused then: so it was, until this model found that it stopped them twice
 *          2  a start that comes late is admitted                    5  the stop pokes nobody
 *          3  a worker closes its ring while others are at work      6  a sleeper does not look at the stop again
 *          4  a worker does not wait for foreign threads             7  a worker does not wait for STOPPED */
#ifndef MUTANT
#define MUTANT 0
#endif
#define W 2
#define S 2
#define STOPPING 1
#define STOPPED 2

byte roots = 1, foreign, down, inject, started, ended, refused, done, stop;
bool closing, cancelled, freed, asleep[W], token[W], open[W] = true;

inline poke(v) {
	atomic { assert(!freed); took = asleep[v]; asleep[v] = false }
	if
	:: took -> atomic { assert(open[v]); token[v] = true } /* hazard 13 */
	:: else
	fi
}

inline root_ended() {
	atomic { assert(!freed && roots > 0); roots--; last = roots == 0 }
	if
	:: last ->
		atomic { assert(!freed); stop = STOPPING }
#if MUTANT != 5
		poke(0);
		poke(1);
#endif
		atomic { assert(!freed); stop = STOPPED } /* hazard 13 */
	:: else
	fi
}

proctype worker(byte me) {
	bool got, took, last;
	do
	:: stop != 0 -> break
	:: else ->
		atomic {
			got = inject > 0;
			if
			:: got -> inject--
			:: else
			fi
		}
		if
		:: got ->
			assert(open[me]);
			ended++;
			root_ended();
			poke(1 - me) /* for whatever reason: a wake that is still on its way */
		:: else ->
			asleep[me] = true;
			if
#if MUTANT == 6
			:: inject > 0
#else
			:: inject > 0 || stop != 0
#endif
			:: else -> atomic { token[me] -> token[me] = false } /* hazard 7: no other way out */
			fi;
			asleep[me] = false
		fi
	od;
	down++;
#if MUTANT != 7
	stop == STOPPED;
#endif
#if MUTANT != 3
	down == W;
#endif
#if MUTANT != 4
	foreign == 0;
#endif
	open[me] = false;
	done++
}

proctype starter() {
	bool took, last, in, counted, late;
	late = closing;
	atomic {
#if MUTANT == 1
		counted = true;
#else
		counted = roots > 0;
#endif
		if
		:: counted -> roots++
		:: else
		fi
	}
	in = counted && !closing;
	atomic {
#if MUTANT == 2
		in = counted;
#else
		in = in && !cancelled; /* the root scope admits nothing then */
#endif
		assert(!in || !late); /* S6 */
		if
		:: in -> started++
		:: else -> refused++
		fi
	}
	if
	:: !in && counted -> root_ended()
	:: !in && !counted
	:: else ->
		foreign++;
		atomic { assert(!freed); inject++ }
		poke(0);
		if
		:: !took -> poke(1)
		:: else
		fi;
		atomic { assert(!freed); foreign-- }
	fi;
	done++
}

proctype shutdown() {
	bool took, last;
	closing = true;
	cancelled = true;
	root_ended();
	done++
}

/* Whoever frees it has joined the workers, and nobody starts anything any more. */
proctype owner() {
	done == W + S + 1;
	freed = true;
	assert(started == ended && inject == 0); /* X7 */
	assert(started + refused == S);          /* S6 */
	assert(roots == 0)
}

init {
	atomic {
		run worker(0);
		run worker(1);
		run starter();
		run starter();
		run shutdown();
		run owner()
	}
}
