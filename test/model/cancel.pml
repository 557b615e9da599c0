/* test/model/cancel.pml: cancelling an operation that is in the kernel.
 *
 *   G5  a cancel asks the kernel and then waits for the operation's own completion; its result decides (an accept that
 *       succeeded meanwhile gives its fd to the fiber); its memory stays valid till then
 *   G6  requests carry a generation: one that comes late never ends the next operation
 *   decision 1, 2: success wins over cancel; a cancel that comes before the operation starts keeps it from starting
 *   G2, G12  cancel twice = once; each operation is resumed exactly once
 *
 * One fiber makes two operations, one after the other on one record. The scope round the first is cancelled, by two
 * threads, at any time: before it is submitted, while it is in the kernel, after it completed, after the second began.
 * The second is not cancelled. The first may be one that never ends by itself: then a lost cancel is a deadlock.
 *
 *   MUTANT 1  the fiber is resumed by the cancel request       4  the home worker does not compare the generation
 *          2  the fiber is resumed by the cancel's own CQE     5  the check for a cancel is before, not with, the arming
 *          3  the kernel is told the slot only                 6  a result that arrives after a cancel is thrown away
 *          7  the record is armed only after the submission */
#ifndef MUTANT
#define MUTANT 0
#endif
#define OP 1
#define CANCEL 2
#define OK 1
#define ECANCELED 2
#define OTHER 3 /* of a cancel: done, ENOENT or EALREADY, all the same to us */

chan sq = [4] of { byte, byte };      /* kind, generation */
chan cq = [8] of { byte, byte, byte }; /* kind, generation, result */
chan mail = [4] of { byte };           /* cancel requests on their way to the home worker */
bool cancelled[3];                     /* the scope round operation g */
byte armed;                            /* generation that a cancel finds; under the node's lock */
bool memory[3], ended[3];
byte opened, owned, resumes[3];

proctype kernel() {
	byte in = 0, kind, g; bool endless, close = false;
	end: do
	:: sq?OP,g -> in = g;
		if
		:: g == 1 -> endless = true  /* say, an accept with no client */
		:: endless = false
		fi
	:: sq?CANCEL,g ->
		if
#if MUTANT == 3
		:: in != 0 -> /* matches whatever is in the slot */
#else
		:: in != 0 && in == g ->
#endif
			if
			:: ended[in] = true; cq!OP,in,ECANCELED; in = 0
			:: endless = false /* EALREADY: it is being executed, and will complete */
			fi
		:: else /* ENOENT */
		fi;
		cq!CANCEL,0,OTHER
	:: in != 0 && !endless ->
		assert(memory[in]); /* G5: the kernel writes here now */
		opened++;
		ended[in] = true;
		cq!OP,in,OK;
		in = 0
	od
}

/* Any thread; each atomic section is one under the node's lock. */
proctype canceller() {
	atomic {
		if
		:: !cancelled[1] || MUTANT == 4 ->
			cancelled[1] = true;
			if
			:: armed == 1 -> mail!1
			:: else
			fi
		:: else /* G2 */
		fi
	}
}

/* The home worker: the fiber while it runs, the loop while the fiber is parked. */
proctype home() {
	byte gen = 1, g, kind, res, code; bool parked, start;
	do
	:: gen <= 2 ->
		code = 0;
#if MUTANT == 5
		start = !cancelled[gen];
		atomic { if :: start -> armed = gen :: else fi };
#elif MUTANT == 7
		start = !cancelled[gen];
#else
		atomic { start = !cancelled[gen]; if :: start -> armed = gen :: else fi };
#endif
		if
		:: !start -> code = ECANCELED
		:: else ->
			memory[gen] = true;
			sq!OP,gen;
#if MUTANT == 7
			armed = gen;
#endif
			parked = true;
			do
			:: !parked -> break
			:: parked && mail?[g] -> mail?g;
				if
#if MUTANT == 4
				:: true -> sq!CANCEL,gen
#elif MUTANT == 3
				:: true -> sq!CANCEL,g
#else
				:: g == gen -> sq!CANCEL,g;
#if MUTANT == 1
					parked = false; resumes[gen]++; code = ECANCELED
#endif
				:: else
#endif
				fi
			:: parked && cq?[kind,g,res] -> cq?kind,g,res;
				if
				:: kind == OP ->
					assert(g == gen); /* G6 */
					parked = false;
					resumes[g]++;
					code = res
#if MUTANT == 2
				:: kind == CANCEL -> parked = false; resumes[gen]++; code = ECANCELED
#else
				:: kind == CANCEL
#endif
				fi
			od;
			atomic { armed = 0 };
			assert(resumes[gen] == 1); /* hazard 17 */
			assert(ended[gen]);          /* G5: only its own completion ends it */
			memory[gen] = false;
			if
#if MUTANT == 6
			:: code == OK && !cancelled[gen] -> owned++
#else
			:: code == OK -> owned++     /* success wins: the fd is the fiber's */
#endif
			:: else
			fi
		fi;
		assert(code != ECANCELED || cancelled[gen]); /* G6: nobody cancelled the second */
		gen++
	:: else -> break
	od;
	assert(opened == owned) /* G5: no fd is lost */
}

init {
	atomic { run kernel(); run canceller(); run canceller(); run home() }
}
