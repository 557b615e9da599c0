/* test/model/force.pml: sched/deque.h as a protocol, force against pop against steal, on a machine with store buffers.
 *
 * The Relacy model has a real fence where the owner has a light one. Here the owner's stores of x_bottom wait in a
 * buffer, which empties one at a time whenever it likes, and at the owner's read-modify-writes and at a membarrier().
 * Loads of x_bottom by others see memory only. x_split and x_top are written by CAS or behind one: no buffer for them.
 * All other steps are sequentially consistent.
 *
 * The owner takes STEPS steps as it likes: push, pop, publish; one thief steals, one forces and steals. None may take an
 * entry that is not there. The indices end at SIZE, so slots are used again only by a pop and a push.
 *
 *   MUTANT 1  F4: no membarrier                        5  F1: no exclusion of two thieves that force
 *          2  F5: does not look at the bottom again    6  pop_slow: no P4, the top is not read again
 *          3  F6: a plain store                        7  steal: does not look at F
 *          4  P5: the split stays below a late thief   8  pop under a force takes the entry and leaves the wish alone
 *          9  P6: the last entry without a CAS */
#ifndef MUTANT
#define MUTANT 0
#endif
#ifndef STEPS
#define STEPS 6   /* of the owner */
#endif
#define SIZE 3    /* indices */
#if MUTANT == 5
#define FORCES 1
#else
#define FORCES 2
#endif

byte bottom, top, split, forcer;  /* split: 2 * index + F */
byte own;                         /* x_bottom as its owner sees it */
byte buffer[2], waiting;          /* its stores that are under way */
bool there[SIZE];                 /* pushed, and taken by nobody: a taker that finds it false has it twice */
bool over;

inline flush() {
	atomic {
		if
		:: waiting > 0 -> bottom = own; waiting = 0; buffer[0] = 0; buffer[1] = 0
		:: else
		fi
	}
}

inline store_bottom(b) {
	atomic {
		own = b;
		if
		:: waiting == 2 -> bottom = buffer[0]; buffer[0] = buffer[1]; waiting = 1
		:: else
		fi;
		buffer[waiting] = own; /* not b, which is a text */
		waiting++
	}
}

/* The store buffer drains whenever it likes. */
active proctype drain() {
	do
	:: atomic { waiting > 0 -> bottom = buffer[0]; buffer[0] = buffer[1]; buffer[1] = 0; waiting-- }
	:: over && waiting == 0 -> break
	od
}

inline got(e) {
	atomic {
		assert(there[e]); /* Z3, Z5: each entry is given out once, so each effect runs once */
		there[e] = false
	}
}

/* t == b: one CAS on top decides. The split first, then the bottom. */
inline last() {
#if MUTANT == 9
	won = (t == b);
	top = b + 1;
#else
	atomic {
		flush();
		won = (t == b && top == t);
		if
		:: won -> top = b + 1
		:: else
		fi
	}
#endif
	split = 2 * (b + 1);
	store_bottom(b + 1)
}

active proctype owner() {
	byte n, b, t, m, w;
	bool won;
	do
	:: n < STEPS && own < SIZE -> /* push */
		n++;
		atomic { there[own] = true; store_bottom(own + 1) }
	:: n < STEPS && own > 0 && own != top -> /* pop; an older top only sends it here for nothing */
		n++;
		b = own - 1;
		store_bottom(b);
		w = split; /* L3 */
		won = true;
		do
		:: 2 * b >= w -> break
		:: else ->
			t = top;
			if
#if MUTANT == 8
			:: (w & 1) && t <= b -> break
#endif
			:: t >= b -> last(); break
			:: else ->
				m = t + (b - t + 1) / 2;
				atomic { /* P2 */
					flush();
					if
					:: split == w -> split = 2 * m; won = true
					:: else -> w = split; won = false
					fi
				}
				if
				:: !won -> won = true
				:: won && (w & 1) -> break
				:: else ->
#if MUTANT != 6
					t = top; /* P4 */
#endif
					if
					:: t < m
					:: t >= m && t >= b -> last()
					:: t >= m && t < b ->
#if MUTANT != 4
						w = 2 * m;
						do
						:: !(w & 1) && w > 2 * t -> break
						:: else ->
							atomic { /* P5 */
								if
								:: split == w ->
									split = 2 * (t + (b - t + 1) / 2);
									break
								:: else -> w = split
								fi
							}
						od
#else
						skip
#endif
					fi;
					break
				fi
			fi
		od;
		if
		:: won -> got(b)
		:: else
		fi
	:: n < STEPS && !(split & 1) && split < 2 * own -> /* publish a half, or all */
		n++;
		w = split;
		atomic {
			flush();
			if
			:: split == w && !(w & 1) -> split = 2 * (w / 2 + (own - w / 2 + 1) / 2)
			:: split = 2 * own
			:: else
			fi
		}
	:: else -> break /* all steps are done, or all indices used */
	od;
	over = true
}

inline steal(t, w, won) {
	t = top;   /* S1 */
	w = split; /* S3 */
	if
#if MUTANT == 7
	:: w > 2 * t ->
#else
	:: !(w & 1) && w > 2 * t ->
#endif
		atomic { /* S5 */
			won = (top == t);
			if
			:: won -> top = t + 1; got(t)
			:: else
			fi
		}
	:: else
	fi;
	t = 0; w = 0; won = false
}

#if MUTANT != 5
active proctype thief() {
	byte t, w; bool won;
	steal(t, w, won);
	steal(t, w, won)
}
#endif

#if MUTANT == 5
active [2] proctype force() {
#else
active proctype force() {
#endif
	byte t, w, n, b, s, forced; bool won;
	do
	:: n < FORCES ->
		n++;
#if MUTANT != 5
		forcer = 1;
#endif
		w = split;
		b = bottom;
		if
		:: !(w & 1) && 2 * top >= w && 2 * b > w ->
			s = w / 2;
			forced = 2 * (s + (b - s + 1) / 2) + 1;
			atomic { /* F3 */
				won = (split == w);
				if
				:: won -> split = forced
				:: else
				fi
			}
			if
			:: won ->
#if MUTANT != 1
				flush(); /* F4 */
#endif
#if MUTANT != 2
				b = bottom; /* F5 */
#else
				b = forced / 2;
#endif
				if
				:: b < s -> b = s
				:: b > forced / 2 -> b = forced / 2
				:: else
				fi;
#if MUTANT == 3
				split = 2 * b;
#else
				atomic { /* F6 */
					if
					:: split == forced -> split = 2 * b
					:: else
					fi
				}
#endif
			:: else
			fi
		:: else
		fi;
		forcer = 0;
		w = 0; b = 0; s = 0; forced = 0; won = false;
		steal(t, w, won)
	:: else -> break
	od
}
