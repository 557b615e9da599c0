/* test/model/close.pml: closing a descriptor that is in use (io/fdtable.h), on sequentially consistent memory.
 *
 *   G9   a close ends what others wait for on the descriptor, and waits for them; no operation is in the kernel when it closes,
 *        and none waits on a file that nobody has
 *   G9   once the kernel has closed it the number may be another file's: whose owner's calls, and whose close, are not refused
 *   hazards 7, 17   the closer, and each late call, is woken once
 *
 * Two users read from the descriptor, where nothing ever comes: a close must end that. One closes it. An owner gets the number as
 * soon as it is free, uses its own file, where something comes, and closes that.
 *
 *   MUTANT 1  the mark is taken away before the kernel closes   4  the end of a close wakes no late call
 *          2  late calls are refused to the end                 5  the closer leaves its name without a look
 *          3  a late call waits without a look at the word      6  a close is refused while another one ends
 *          7  a cancel that is served late does not look whether users are still to leave
 *          8  the closer trusts the wake: it may be of one that was turned away in an earlier close. So it was, until this model
 *             found it */
#ifndef MUTANT
#define MUTANT 0
#endif
#define USERS 2
#define OWNER 2 /* both as a user and as a closer; the first closer is number 3 */
#define CLOSER 3

byte users, file = 1;      /* the word; the file that the number stands for, 0: none */
bool closing, ending, waited, posted, held, named;
byte at[4];                /* the file that this one's operation is on */
bool late[4], woken[4];
byte drainer;

#if MUTANT == 7
#define cancel_is_served posted
#else
#define cancel_is_served (posted && closing && !ending) /* F2 */
#endif

inline lock() { atomic { !held -> held = true } }
inline unlock() { held = false }

inline leave() {
	atomic { users--; last = closing && users == 0 }
	if
	:: last ->
		lock();
		atomic {
			if
			:: named -> named = false; assert(!woken[drainer]); woken[drainer] = true /* hazard 17 */
			:: else
			fi
		}
		unlock()
	:: else
	fi
}

inline wait_for_the_end() {
	lock();
	atomic {
#if MUTANT == 3
		waits = true;
#else
		waits = ending; /* F6 */
#endif
		if
		:: waits -> waited = true; late[me] = true
		:: else
		fi
	}
	unlock();
	if
	:: waits -> atomic { woken[me] -> woken[me] = false } /* hazard 7 */
	:: else
	fi
}

inline enter() {
	do
	::
		atomic { users++; c = closing; e = ending }
		if
		:: !c -> in = true; break
		:: else
		fi;
		leave();
		if
#if MUTANT == 2
		:: true -> in = false; break
#else
		:: !e -> in = false; break
		:: else -> wait_for_the_end()
#endif
		fi
	od
}

inline close_it() {
	do
	:: atomic {
#if MUTANT != 6
		ending -> e = true
	   }; wait_for_the_end()
	:: atomic { !ending && closing -> code = 1 }; break
#else
		closing -> code = 1
	   }; break
#endif
	:: atomic { !closing -> closing = true; some = users > 0; code = 0 }; break
	od;
	if
	:: code == 0 ->
		if
		:: some ->
			posted = true;
			do
			::
				lock();
				atomic {
#if MUTANT == 5
					some = true;
#else
					some = users > 0; /* F4 */
#endif
					if
					:: some -> named = true; drainer = me
					:: else
					fi
				}
				unlock();
				if
				:: some -> atomic { woken[me] -> woken[me] = false } /* hazard 7 */
				:: else
				fi;
#if MUTANT == 8
				break
#else
				if
				:: users == 0 -> break
				:: else
				fi
#endif
			od
		:: else
		fi;
#if MUTANT == 1
		closing = false;
#endif
		ending = true;
		atomic { assert(at[0] != file && at[1] != file && at[2] != file); file = 0 } /* G9: nobody is in the kernel there */
		atomic { closing = false; ending = false; some = waited }
		if
#if MUTANT == 4
		:: false
#else
		:: some
#endif
			->
			lock();
			atomic {
				waited = false;
				i = 0;
				do
				:: i < 4 ->
					if
					:: late[i] -> late[i] = false; assert(!woken[i]); woken[i] = true /* hazard 17 */
					:: else
					fi;
					i++
				:: else -> break
				od
			}
			unlock()
		:: else
		fi
	:: else
	fi
}

/* Nothing ever comes for it: a cancel ends it, or the close of a later owner. */
proctype user(byte me) {
	bool c, e, in, last, waits;
	enter();
	if
	:: in ->
		atomic {
			if
			:: file != 0 && !(closing && !ending) -> at[me] = file
			:: else /* -EBADF */
			fi
		}
		if
		:: at[me] != 0 -> atomic { cancel_is_served -> at[me] = 0 }
		:: else
		fi;
		leave()
	:: else /* -EBADF */
	fi
}

proctype closer() {
	byte me = CLOSER, code, i;
	bool e, last, waits, some;
	close_it();
	assert(code == 0)
}

proctype owner() {
	byte me = OWNER, code, i;
	bool c, e, in, last, waits, some;
	atomic { file == 0 -> file = 2 } /* open(2) gives it the number */
	if
	:: true ->
		enter();
		assert(in); /* G9: it is not taken for a late one */
		atomic { at[me] = file; assert(at[me] == 2) }
		assert(!cancel_is_served); /* G6: the first closer's is not for it */
		at[me] = 0; /* something has come */
		leave()
	:: true /* it only closes it */
	fi;
	close_it();
	assert(code == 0) /* G9: nor is its close */
}

init {
	atomic {
		run user(0);
		run user(1);
		run closer();
		run owner()
	}
}
