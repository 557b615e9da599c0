#!/bin/sh
# test/model/run.sh BUILD_DIR: check the lock-free sources with Relacy and the protocols with SPIN.
#
# Each model must pass, and each mutant (a planted bug: one line of a shipped source changed by sed in a copy, or a
# -DMUTANT in a model) must be found: a checker that finds nothing proves nothing. One line per check, at the end
# "N passed, N failed"; exit status 1 if any failed. Needs g++, gcc, relacy-dev, spin. Some minutes, in two halves side by side.
set -u
[ $# -eq 1 ] || { echo "usage: $0 BUILD_DIR" >&2; exit 2; }
top=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1" && out=$(cd "$1" && pwd) || exit 2
N=1000000 # executions where one takes a microsecond or less
CXX=${CXX_MODEL:-g++} CC=${CC_MODEL:-gcc}
passed=0 failed=0

verdict() { # verdict ok|FAIL TEXT
	[ "$1" = ok ] && passed=$((passed + 1)) || failed=$((failed + 1))
	printf '%-4s %s\n' "$1" "$2"
}

# --- Relacy: the shipped sources, in a copy of the tree ---

copy_tree() {
	rm -rf "$1" && mkdir -p "$1/test/model"
	for part in core sched io include; do cp -r "$top/$part" "$1/$part"; done
	cp "$top"/test/model/*.h "$top"/test/model/*.cpp "$1/test/model/"
	# Small numbers find more in less time; the ring of the lane is 4 for the same reason.
	sed -i 's/SPINS = 64/SPINS = 1/' "$1/core/lock.c"
	grep -q 'SPINS = 1[^0-9]' "$1/core/lock.c" || echo "run.sh: core/lock.c has no SPINS = 64" >&2
}

build() { # build TREE MODEL FLAGS...
	tree=$1 model=$2
	shift 2
	"$CXX" -std=c++11 -fpermissive -w -DTH_RELACY "$@" -I"$tree/test/model" -I"$tree/include" \
		"$tree/test/model/$model.cpp" -o "$tree/$model" 2>"$tree/errors"
}

healthy() { # healthy MODEL SCENE RUN... : each RUN is the arguments of one run
	model=$1 scene=$2
	shift 2
	if [ ! -x "$out/tree/$model" ] && ! build "$out/tree" "$model" -O2; then
		verdict FAIL "$model does not compile: $(grep -m1 error "$out/tree/errors")"
		return
	fi
	for how; do
		if text=$("$out/tree/$model" $scene $how 2>&1); then ok=ok; else ok=FAIL; fi
		verdict $ok "$model scene $scene, $how: $(echo "$text" | tail -1)"
	done
}

hunt() { # hunt TEXT PROGRAM SCENE : the mutant must die, first by random runs, then exhaustively
	for how in "random 200000" "bound 2"; do
		if ! text=$("$2" "$3" $how 2>&1); then
			case $text in
			*executions) verdict ok "$1: killed, $how: $text" ;;
			*) verdict FAIL "$1: the model itself broke: $text" ;;
			esac
			return
		fi
	done
	verdict FAIL "$1: SURVIVED"
}

mutant() { # mutant MODEL SCENE FILE SED WHAT
	tree=$out/mutant
	for part in core sched include/thrum; do cp "$out/tree/$part"/*.[ch] "$tree/$part/"; done
	sed -i "$4" "$tree/$3"
	if cmp -s "$tree/$3" "$out/tree/$3"; then
		verdict FAIL "mutant of $3: $5: the line to change is not there"
	elif ! build "$tree" "$1" -O0; then
		verdict FAIL "mutant of $3: $5: does not compile: $(grep -m1 error "$tree/errors")"
	else
		hunt "mutant of $3: $5" "$tree/$1" "$2"
	fi
}

check_deque() {
	for scene in 1 2 3 4 5 6 7 8 9 10 11 12; do healthy model_deque $scene "random $N" "bound 2"; done
	for scene in 1 3 5 6 7; do healthy model_deque $scene "bound 3"; done
	f=include/thrum/fork.h
	mutant model_deque 10 $f '/\/\* D1 \*\//s/STORE_REL/STORE_RLX/' 'D1 relaxed'
	mutant model_deque 5 $f '/\/\* L2 \*\//d' 'L2 no fence in pop'
	mutant model_deque 1 $f 's/THRUM_RARELY_(2 \* b < /THRUM_RARELY_(2 * b + 2 < /' 'L3 takes the newest public entry for private'
	f=sched/deque.h
	mutant model_deque 6 $f '/\/\* P2 \*\//s/th_cas_acqrel/th_mutant_cas_split/' 'P2 load and store'
	mutant model_deque 1 $f '/\/\* P3 \*\//d' 'P3 no fence after the split went down'
	mutant model_deque 4 $f '/\/\* P3 \*\//{h;d};/\/\* P4 \*\//{p;x}' 'P4 before P3'
	mutant model_deque 4 $f '/until t is public again/,/break;/d' 'P5 the split stays below a late thief'
	mutant model_deque 1 $f '/\/\* P6 \*\//s/th_cas_seq/th_mutant_cas_split/' 'P6 load and store'
	mutant model_deque 1 $f 's/if (t >= b)$/if (t > b)/' 'pop takes the last entry without a CAS'
	mutant model_deque 1 $f 's/	if (t < m)$/	if (t <= m)/' 'the entry at the split is left to a late thief and to the owner'
	mutant model_deque 1 $f '/\/\* P7 \*\//d' 'P7 the split stays behind'
	mutant model_deque 1 $f '/^	th_store_rlx(&d->x_bottom, b + 1);/d' 'pop does not restore the index'
	mutant model_deque 6 $f 's/			return (w \& 1) || th_deque_lowered_owner(d, m, b);/			return true;/' 'pop trusts the split it lowered'
	mutant model_deque 8 $f '/\/\* U1 \*\//s/th_cas_acqrel/th_mutant_cas_rlx/' 'U1 relaxed'
	mutant model_deque 10 $f '/\/\* U1 \*\//s/th_cas_acqrel/th_mutant_cas_split/' 'U1 load and store'
	mutant model_deque 1 $f '/\/\* U2 \*\//s/store_rel/store_rlx/' 'U2 relaxed'
	mutant model_deque 1 $f '/fence_seq.*\/\* S2 \*\//d' 'S2 no fence in steal'
	mutant model_deque 1 $f '/\/\* S3 \*\//s/load_acq/load_rlx/' 'S3 relaxed'
	mutant model_deque 1 $f '/\/\* S1 \*\//{h;s/= .*;/= 0;/p;x;s/uint64_t //;x;d};/\/\* S3 \*\//{p;x}' 'S1 after S3'
	mutant model_deque 1 $f '/\/\* S5 \*\//s/th_cas_seq/th_mutant_cas_split/' 'S5 load and store'
	mutant model_deque 6 $f 's/if ((w \& 1) || w <= 2 \* t)/if (w <= 2 * t)/' 'steal does not look at F'
	mutant model_deque 9 $f '/\/\* F1 \*\//s/!th_cas_acq(&d->x_forcer, &none, 1U)/none/' 'F1 no exclusion of forces'
	mutant model_deque 11 $f '/\/\* F3 \*\//s/th_cas_acqrel/th_mutant_cas_split/' 'F3 load and store'
	mutant model_deque 5 $f 's/if (!th_fence_heavy()) /if (false) /' 'F4 no heavy fence'
	mutant model_deque 6 $f 's/return b < forced \/ 2 ? b : forced \/ 2;/return forced \/ 2;/' 'F5 does not look at the bottom again'
	mutant model_deque 11 $f 's/	if (b < s)$/	if (false)/' 'F5 inside a pop the split goes down'
	mutant model_deque 6 $f '/\/\* F6 \*\//s/th_cas_acqrel(&d->x_split, &forced, w)/(th_store_rel(\&d->x_split, w), true)/' 'F6 a plain store'
	mutant model_deque 2 $f 's/th_load_acq(&d->x_top) + THRUM_LANE_SLOTS_)/th_load_acq(\&d->x_top) + THRUM_LANE_SLOTS_ + 1)/' 'ring overfilled by one'
}

# --- SPIN: the protocols ---

spin_run() { # spin_run MODEL FLAGS... : leaves the verdict in $text; 0 = no error, 1 = an error found, 2 = neither
	rm -rf "$out/spin" && mkdir "$out/spin" && cp "$top/test/model/$1.pml" "$out/spin/" || return 2
	text=$(
		cd "$out/spin" || exit 2
		name=$1.pml
		shift
		spin "$@" -a "$name" >spin.log 2>&1 && "$CC" -O1 -w -DSAFETY -o pan pan.c 2>cc.log || exit 2
		./pan -m100000 >pan.log 2>&1
		grep -q 'too small\|not completed\|out of memory' pan.log && ! grep -q 'errors: 1' pan.log && exit 2
		sed -n 's/^pan:1: //p; s/^ *\([0-9]*\) states, stored$/\1 states/p' pan.log | tr '\n' ' '
		grep -q 'errors: 0' pan.log && exit 0
		grep -q 'errors: 1' pan.log && exit 1
		exit 2
	)
}

protocol() { # protocol MODEL MUTANTS [FLAGS...]
	model=$1 mutants=$2
	shift 2
	spin_run "$model" "$@" && ok=ok || ok=FAIL
	verdict $ok "$model.pml: $text"
	m=1
	while [ $m -le "$mutants" ]; do
		spin_run "$model" "$@" -DMUTANT=$m
		[ $? -eq 1 ] && verdict ok "mutant $m of $model.pml: killed: $text" ||
			verdict FAIL "mutant $m of $model.pml: SURVIVED: $text"
		m=$((m + 1))
	done
}

check_others() {
	healthy model_lock 1 "random $N" "bound 3"
	healthy model_lock 2 "random $N" "bound 3"
	f=core/lock.h
	mutant model_lock 1 $f 's/th_cas_acq(/th_mutant_cas_rlx(/' 'lock relaxed'
	mutant model_lock 1 $f 's/th_xchg_rel(/th_mutant_xchg_rlx(/' 'unlock relaxed'
	mutant model_lock 2 $f 's/if (th_xchg_rel(&l->x_word, 0) == 2)/th_store_rel(\&l->x_word, 0); if (th_load_rlx(\&l->x_word) == 2)/' \
		'unlock touches the word twice'
	f=core/lock.c
	mutant model_lock 1 $f 's/th_cas_acq(/th_mutant_cas_rlx(/' 'spin relaxed'
	mutant model_lock 1 $f 's/th_xchg_acq(/th_mutant_xchg_rlx(/' 'slow lock relaxed'
	mutant model_lock 1 $f 's/th_xchg_acq(&l->x_word, 2)/th_xchg_acq(\&l->x_word, 1)/' 'slow lock never sleeps'
	mutant model_lock 1 $f '/th_word_wake(/d' 'unlock wakes nobody'

	healthy model_waiter 1 "random $N" "bound 3"
	healthy model_waiter 2 "random 300000" "bound 2"
	f=core/waiter.h
	mutant model_waiter 1 $f '/\/\* W1 \*\//s/th_cas_acqrel/th_cas_acq/' 'W1 no release'
	mutant model_waiter 1 $f '/\/\* W1 \*\//s/th_cas_acqrel/th_mutant_cas_split/' 'W1 load and store'
	mutant model_waiter 1 $f '/\/\* W2 \*\//s/load_acq/load_rlx/' 'W2 relaxed'
	mutant model_waiter 2 $f '/\/\* W1 \*\//s/w->leader->x_state/w->x_state/' 'each case of a select decides for itself'

	healthy model_mail 1 "random 300000" "bound 3"
	healthy model_mail 2 "random 300000" "bound 2"
	f=sched/mail.c
	mutant model_mail 1 $f '/th_cas_rel(&w->x_mail/s/th_cas_rel/th_mutant_cas_rlx/' 'M1 relaxed'
	mutant model_mail 1 $f '/th_cas_rel(&w->x_mail/s/th_cas_rel/th_mutant_cas_split/' 'M1 load and store'
	mutant model_mail 1 $f '/th_xchg_acq(&w->x_mail/s/th_xchg_acq/th_mutant_xchg_rlx/' 'M2 relaxed'
	mutant model_mail 2 $f '/\/\* M3 \*\//s/th_xchg_acqrel/th_mutant_xchg_rlx/' 'M3 relaxed'
	mutant model_mail 2 $f 's/(void)th_xchg_acqrel(&f->x_cancel_queued, 0)/th_store_rel(\&f->x_cancel_queued, 0)/' 'M4 a store'
	mutant model_mail 2 $f 's/ && f->op->gen == gen//' 'any generation matches (G6)'

	healthy model_sleep 1 "random 200000" "bound 2"
	healthy model_sleep 2 "random 200000" "bound 2"
	healthy model_sleep 3 "random 200000" "bound 2"
	healthy model_sleep 4 "random 100000"
	f=sched/idle.c
	mutant model_sleep 1 $f '/^void th_poke/,/^}/s/th_fence_seq();//' 'I1 no fence in th_poke'
	mutant model_sleep 1 $f '/^void th_notify_work/,/^}/s/th_fence_seq(); *\/\* I1/\/\*/' 'I1 no fence in th_notify_work'
	mutant model_sleep 1 $f '/\/\* I2 \*\//d' 'I2 no fence before the second look'
	mutant model_sleep 2 $f '/\/\* I5 \*\//d' 'I5 no fence before looking again'
	mutant model_sleep 2 $f 's/} while (anyone_asleep(rt));/} while (false);/' 'I5 does not look again'
	mutant model_sleep 1 $f '/if (!th_deque_looks_empty_any/s/!th_deque_looks_empty_any(&v->lane) || //' 'second look without lanes'
	mutant model_sleep 1 $f 's/!th_mail_looks_empty(w) || //' 'second look without mail'
	mutant model_sleep 3 $f 's/ || !th_taskq_looks_empty(&rt->inject)//' 'second look without inject'
	mutant model_sleep 3 $f 's/ || th_load_rlx(&rt->x_stop)//' 'second look without stop'
	mutant model_sleep 1 $f '/\/\* I3 \*\//s/th_cas_seq/th_mutant_cas_split/' 'I3 load and store'
	mutant model_sleep 2 $f '/^	stop_searching(w);/d' 'a searcher sleeps as one'
	mutant model_sleep 2 $f '/^void th_found_work/,/^}/s/th_notify_work(w->rt);//' 'the call is not passed on'
	if build "$out/tree" model_sleep -O0 -DMUTANT=1; then
		hunt 'mutant of th_steal: a thief that was not called does not count' "$out/tree/model_sleep" 4
	fi

	protocol park 9
	protocol cancel 7
	protocol join 6
	protocol fork 7
	protocol alone 7
	protocol race 7
	protocol force 9
	protocol shutdown 7
	protocol close 8
}

# --- both halves at once, each by this script in a folder of its own ---

in_halves() {
	for half in deque others; do
		TH_MODEL_HALF=$half sh "$0" "$out/$half" 2>&1 | tee "$out/$half.log" | grep -v ' passed, ' &
	done
	wait
	for half in deque others; do
		read -r p _ f _ <<EOF
$(tail -n 1 "$out/$half.log" | grep -x '[0-9]* passed, [0-9]* failed' || echo "0 passed, 1 failed")
EOF
		passed=$((passed + p)) failed=$((failed + f))
	done
	echo "$passed passed, $failed failed"
	[ $failed -eq 0 ]
	exit
}

if [ -z "${TH_MODEL_HALF:-}" ]; then
	in_halves
fi
copy_tree "$out/tree"
copy_tree "$out/mutant"
"check_$TH_MODEL_HALF"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
