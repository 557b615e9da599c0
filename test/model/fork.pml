/* test/model/fork.pml: a forker against thieves that bring its forks into the tree (core/fork.c). The lane is proven elsewhere
 * (force.pml, model_deque.cpp): here taking the oldest and the newest entry are single steps.
 *
 * Fork O has two effects; its effect 0 opens fork K with three. Any effect may call into the library, which settles.
 *   Z3, Z5  each effect runs exactly once
 *   S1, Z6  a fork returns when all its effects have ended, and finds its scope empty
 *   head of core/fork.c: what a thief reads of a fork around the one that it stole from stands still; nobody is linked below
 *   a scope that is not there; each running effect is linked once
 *
 *   MUTANT 1  a thief puts the running effect of the fork it stole from into the tree as well
 *          2  a thief counts its effects from the first one up
 *          3  the forker settles without the lock           5  it does not expect those that others took
 *          4  a thief leaves the effects around out         6  it expects them before it has looked what is left
 *          7  a settled fork is called again under its old number */
#ifndef MUTANT
#define MUTANT 0
#endif
#define O 0
#define K 1
#define NONE 255

bool forks_held, scope_held;     /* the lock of the home's forks; of both scopes' nodes */
byte n[2], at[2], taken[2], first[2];
bool scoped[2], heavy[2], chained[2], closed[2];
byte running[2] = NONE;          /* what the forker really runs; NONE: it is between two effects, or not in it */
byte entries[2];
byte pending[2];
short coming[2];
byte ran[6], ended[6];           /* 3 * fork + index */

inline lock_forks() { atomic { !forks_held -> forks_held = true } }
inline unlock_forks() { forks_held = false }

inline link(f) {
	atomic { assert(scoped[f] && !closed[f]); pending[f]++ }
}
inline unlink(f) {
	atomic { assert(pending[f] > 0); pending[f]-- }
}
inline begin(f, i) {
	atomic { assert(ran[3 * f + i] == 0); ran[3 * f + i]++ } /* Z3, Z5 */
}
inline end(f, i) {
	ended[3 * f + i]++
}

/* Under the lock: the running effect of fork f becomes a child. */
inline make_current(f, by_thief) {
	if
	:: heavy[f] -> skip
	:: else ->
		assert(!by_thief || at[f] == running[f]);
		link(f);
		assert(!by_thief || at[f] == running[f]); /* still */
		heavy[f] = true
	fi
}

proctype thief() {
	byte f, i;
	do
	:: f = NONE;
	   atomic {
		if
		:: entries[O] > 0 -> entries[O]--; f = O
		:: entries[O] == 0 && entries[K] > 0 -> entries[K]--; f = K
		:: else -> break
		fi
	   }
	   lock_forks();
	   if
	   :: !scoped[f] ->
		if
		:: f == K && chained[O] ->
			scoped[O] = true;
#if MUTANT != 4
			make_current(O, true)
#endif
		:: else
		fi;
		assert(f == O || !chained[O] || heavy[O]); /* K's scope lies below a child of O's */
		scoped[f] = true;
#if MUTANT == 1
		make_current(f, true);
#endif
	   :: else
	   fi;
	   taken[f]++;
#if MUTANT == 2
	   i = taken[f];
#else
	   i = n[f] - taken[f];
#endif
	   unlock_forks();
	   atomic { coming[f]--; assert(scoped[f] && !closed[f]); pending[f]++ }
	   begin(f, i);
	   end(f, i);
	   unlink(f)
	od
}

inline settle_one(f) {
	if
	:: chained[f] ->
		scoped[f] = true;
		make_current(f, false);
		first[f] = at[f] + 1;
		chained[f] = false
	:: else
	fi
}
inline settle() {
#if MUTANT != 3
	lock_forks();
#endif
	settle_one(O);
	settle_one(K);
#if MUTANT != 3
	unlock_forks()
#endif
}

/* An effect that forks nothing: it calls into the library, or not. */
inline effect(f, i) {
	running[f] = i;
	begin(f, i);
	if
	:: settle()
	:: skip
	fi;
	end(f, i);
	running[f] = NONE
}

inline expect(f, others) {
	atomic { coming[f] = coming[f] + others }
}

/* The effect that is in the tree has ended; the rest of fork f, as its forker. */
inline finish(f, i, count) {
	assert(heavy[f] && !chained[f]);
	unlink(f);
	heavy[f] = false;
	count = at[f] + 1;
#if MUTANT == 6
	expect(f, n[f] - count - entries[f]);
#endif
	do
	:: atomic { entries[f] > 0 -> entries[f]--; };
	   lock_forks();
	   i = first[f];
	   first[f]++;
	   unlock_forks();
	   count++;
	   if
	   :: at[f] = i; /* called again */
#if MUTANT == 7
	      at[f] = i - 1;
#endif
	      chained[f] = true;
	      effect(f, i);
	      if
	      :: heavy[f] -> assert(!chained[f] && at[f] == i); unlink(f); heavy[f] = false
	      :: else -> chained[f] = false
	      fi
	   :: link(f); begin(f, i); end(f, i); unlink(f) /* as a child */
	   fi
	:: atomic { entries[f] == 0 -> break }
	od;
#if MUTANT != 5 && MUTANT != 6
	expect(f, n[f] - count);
#endif
	atomic { pending[f] == 0 && coming[f] == 0 -> closed[f] = true }
}

active proctype forker() {
	byte i, count;
	n[O] = 2; n[K] = 3;
	run thief();
	run thief();

	entries[O] = 1;
	chained[O] = true;
	running[O] = 0;
	begin(O, 0);
	if
	:: settle() /* before it forks: then K is below a child */
	:: skip
	fi;

	entries[K] = 2;
	chained[K] = true;
	do
	:: effect(K, at[K]);
	   if
	   :: heavy[K] -> finish(K, i, count); break
	   :: !heavy[K] && at[K] + 1 == n[K] -> chained[K] = false; closed[K] = true; break
	   :: else ->
		bool mine;
		atomic { mine = entries[K] > 0; entries[K] = entries[K] - (mine -> 1 : 0) }
		if
		:: mine -> at[K]++
		:: else -> running[K] = NONE; settle(); finish(K, i, count); break
		fi
	   fi
	od;
	assert(ran[3] == 1 && ran[4] == 1 && ran[5] == 1 && ended[3] + ended[4] + ended[5] == 3); /* Z3, Z5, Z6 */

	end(O, 0);
	running[O] = NONE;
	if
	:: heavy[O] -> settle(); finish(O, i, count)
	:: else ->
		atomic { mine = entries[O] > 0; entries[O] = entries[O] - (mine -> 1 : 0) }
		if
		:: mine ->
			at[O] = 1;
			effect(O, 1);
			if
			:: heavy[O] -> finish(O, i, count)
			:: else -> chained[O] = false
			fi
		:: else -> settle(); finish(O, i, count)
		fi
	fi;
	assert(ran[0] == 1 && ran[1] == 1 && ended[0] + ended[1] == 2); /* Z3, Z5, Z6 */
	assert(pending[O] == 0 && pending[K] == 0) /* S1 */
}
