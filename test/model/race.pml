/* test/model/race.pml: thrum_race: the first success wins, the others are cancelled and awaited.
 *
 *   R1  a failure does not end the race           R5  all failed: the race fails, with all of them
 *   R2  the winner is the first commit CAS; the race returns after all entrants and their finalizers have ended
 *   R6  a second success is dropped, once         R9  cancelled from outside: interrupt, unless somebody won (decision 1)
 *   Z5  an entrant cancelled before it starts never runs its body
 *
 * Each entrant succeeds, fails, or waits for something that never comes; then the race must end by a winner's cancel or by
 * the one from outside, or SPIN reports a deadlock.
 *
 *   MUTANT 1  commit by load, then store                  4  a second success is forgotten
 *          2  the race returns when there is a winner     5  a cancel from outside beats the winner
 *          3  the first failure ends the race             6  an entrant parks without a look at the cancel flag
 *          7  a cancelled entrant starts all the same */
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef N
#define N 3
#endif
#define NONE 255
#define SUCCEEDS 1
#define FAILS 2
#define WAITS 3
#define ECANCELED 4

byte kind[N], winner = NONE, pending = N, commits, items, delivered, dropped, failures, first_failure = NONE;
bool cancelled[N], outside, outside_due, parked[N], woken[N], ended[N];

/* Each atomic section is one under the entrant's lock. */
inline cancel(j) {
	atomic {
		cancelled[j] = true;
		if
		:: parked[j] -> parked[j] = false; woken[j] = true
		:: else
		fi
	}
}

proctype entrant(byte i) {
	byte j, code; bool won, start;
	atomic {
#if MUTANT == 7
		start = true;
#else
		start = !cancelled[i];
#endif
		code = (start -> kind[i] : ECANCELED);
		assert(!cancelled[i] || code == ECANCELED) /* Z5 */
	}
	if
	:: code == WAITS ->
		atomic {
#if MUTANT == 6
			parked[i] = true
#else
			if
			:: cancelled[i] -> woken[i] = true
			:: else -> parked[i] = true
			fi
#endif
		}
		woken[i];
		code = ECANCELED
	:: else
	fi;
	if
	:: code == SUCCEEDS ->
		items++;
#if MUTANT == 1
		won = winner == NONE;
		if
		:: won -> winner = i
		:: else
		fi;
#else
		atomic {
			won = winner == NONE;
			if
			:: won -> winner = i
			:: else
			fi
		}
#endif
		if
		:: won ->
			commits++;
			j = 0;
			do
			:: j < N ->
				if
				:: j != i -> cancel(j)
				:: else
				fi;
				j++
			:: else -> break
			od
		:: else ->
#if MUTANT != 4
			dropped++ /* R6 */
#else
			skip
#endif
		fi
	:: code == FAILS ->
		atomic {
			failures++;
			if
			:: first_failure == NONE -> first_failure = i
			:: else
			fi
		}
	:: else
	fi;
	skip; /* finalizers */
	atomic { ended[i] = true; pending-- }
}

proctype from_outside() {
	byte j;
	outside = true;
	do
	:: j < N -> cancel(j); j++
	:: else -> break
	od
}

proctype race() {
	byte j, result, seen;
#if MUTANT == 2
	(pending == 0 || winner != NONE);
#elif MUTANT == 3
	(pending == 0 || first_failure != NONE);
#else
	(pending == 0);
#endif
	if
#if MUTANT == 5
	:: outside -> result = ECANCELED
	:: !outside && winner != NONE -> result = SUCCEEDS; delivered++
#elif MUTANT == 3
	:: first_failure != NONE -> result = FAILS
	:: first_failure == NONE && winner != NONE -> result = SUCCEEDS; delivered++
#else
	:: winner != NONE -> result = SUCCEEDS; delivered++
#endif
	:: else ->
		if
		:: failures > 0 -> result = FAILS
		:: else -> result = ECANCELED
		fi
	fi;
	assert(winner == NONE || result == SUCCEEDS);          /* R1, R9 */
	assert(commits <= 1);                                  /* R2 */
	assert(items == delivered + dropped);                  /* R6, G10 */
	assert(result != FAILS || failures == N || outside);   /* R5 */
	assert(result != ECANCELED || outside);                /* G2: nobody is told of a cancel that there was not */
	do
	:: j < N -> assert(ended[j]); j++                      /* R2 */
	:: else -> break
	od
}

init {
	byte i; bool somebody_waits, somebody_succeeds;
	do
	:: i < N ->
		if
		:: kind[i] = SUCCEEDS; somebody_succeeds = true
		:: kind[i] = FAILS
		:: kind[i] = WAITS; somebody_waits = true
		fi;
		i++
	:: else -> break
	od;
	if
	:: outside_due = true
	:: !somebody_waits || somebody_succeeds /* else nothing would ever end it, and rightly so */
	fi;
	atomic {
		i = 0;
		do
		:: i < N -> run entrant(i); i++
		:: else -> break
		od;
		run race();
		if
		:: outside_due -> run from_outside()
		:: else
		fi
	}
}
