"""What was measured, and what follows from it."""

import statistics

# Sizes with known results, from the one to measure down to the one for a smoke run.
SIZES = {
    "fib": [34, 30, 27, 22, 18], "fib-generic": [34, 30, 27, 22, 18],
    "fib-calls": [34, 30, 27, 22, 18], "skynet": [6, 5, 4], "nqueens": [12, 9],
    "integrate": [9, 6, 3], "uts-geo": [10, 6], "uts-bin": [2000, 100], "loop": [10000000, 1000000],
    "loop-range": [10000000, 1000000], "coarse": [8], "depth": [1000000, 100000, 10000], "idle": [25],
}
TREES = ["fib", "integrate", "nqueens", "uts-geo", "uts-bin"]
COARSE_NS = 2000000


def fib_tasks(n):
    a, b = 0, 1
    for _ in range(n):
        a, b = b, a + b
    return b - 1


FULL_TASKS = {"fib": fib_tasks(34), "fib-generic": fib_tasks(34), "fib-calls": fib_tasks(34), "skynet": 1111110, "nqueens": 856188, "integrate": 7508195,
              "uts-geo": 4160891, "uts-bin": 4006120, "loop": 10000000, "loop-range": 10000000, "coarse": 8}


class Figures:
    def __init__(self):
        self.runs = {}     # (peer, workload, workers): undisturbed runs, and others where there was nothing better
        self.failed = {}   # the same: why
        self.size = {}     # (peer, workload): the size that was run
        self.discarded = 0
        self.kept_disturbed = 0

    def add(self, key, run, discarded):
        self.discarded += discarded
        self.kept_disturbed += bool(run.disturbed)
        self.runs.setdefault(key, []).append(run)

    def calm(self):
        return 2 * self.kept_disturbed <= sum(len(runs) for runs in self.runs.values())

    def best(self, *key):
        """The shortest run: on a shared machine everything else only ever makes a run longer."""
        runs = self.runs.get(key)
        return min(runs, key=lambda run: run.ns) if runs else None

    def per_task(self, *key):
        run = self.best(*key)
        return run.ns / run.tasks if run else None

    def spread(self, *key):
        times = sorted(run.ns for run in self.runs.get(key, []))
        return (statistics.median(times) - times[0]) / times[0] if times else None

    def over_serial(self, peer, workload, workers):
        """ns per task beyond the serial program's, on one worker."""
        if workload is None:
            return None
        base = self.per_task("serial", workload.replace("-generic", "").replace("-calls", ""), 1)
        mine = self.per_task(peer, workload, workers)
        return mine - base if mine is not None and base is not None else None

    def wall_ms(self, peer, workload, workers):
        """At full size; scaled up from the size that was run."""
        per = self.per_task(peer, workload, workers)
        return per * FULL_TASKS[workload] / 1e6 if per is not None else None

    def speedup(self, peer, workload, workers):
        one, many = self.per_task(peer, workload, 1), self.per_task(peer, workload, workers)
        return one / many if one and many else None

    def is_full(self, peer, workload):
        return self.size.get((peer, workload)) == SIZES[workload][0]
