"""The tables of a run, as Markdown."""

import os
import platform

from .figures import COARSE_NS, TREES


def cpu_name():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith(("model name", "Processor")):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def number(x, digits=3):
    if x is None:
        return "–"
    if abs(x) >= 1000:
        return f"{x:,.0f}"
    return f"{x:.{digits}g}" if abs(x) >= 1 else f"{x:.2f}"


class Report:
    def __init__(self, figures, there, missing, options):
        self.f, self.there, self.missing, self.o = figures, there, missing, options
        self.names = [peer.name for peer in there]

    def cell(self, peer, workload, workers, text):
        why = self.f.failed.get((peer, workload, workers))
        return f"fails: {why}" if why else text

    def intro(self):
        o = self.o
        lines = [
            "# Fork and join, side by side\n",
            f"{cpu_name()}, {os.cpu_count()} CPUs, Linux {platform.release()}. {o.rounds_done} of {o.rounds} rounds, interleaved in random order "
            f"(seed {o.seed}); {self.f.discarded} disturbed runs thrown away, {self.f.kept_disturbed} kept for want of better"
            f"{'; small sizes: a smoke run, not a measurement' if o.quick else ''}. Shortest run of each; "
            "~: scaled up from a smaller size; spread: by how much the median exceeds the shortest.\n",
            "Versions: " + "; ".join(f"{peer.label} {peer.version()}" for peer in self.there) + ".\n",
        ]
        if not self.f.calm():
            lines.append("**More than half of the runs were disturbed by other processes: these figures are no measurement.**\n")
        lines += [f"Missing: {peer.label} (Debian: `{peer.packages}`): {why}\n" for peer, why in self.missing]
        return "\n".join(lines)

    def labels(self):
        """(label, peer, workload for fib): thrum comes thrice, and differs in fib only."""
        for peer in self.there:
            if peer.name == "thrum":
                yield "**thrum**, typed", peer, "fib"
                yield "**thrum**, generic", peer, "fib-generic"
                yield "thrum's effects, called", peer, "fib-calls"
            else:
                yield peer.label, peer, "fib"

    @staticmethod
    def columns(fib, rest):
        """No workload where the row above says it already."""
        return [fib] + (rest if fib == "fib" else [None] * len(rest))

    def costs(self):
        """On one worker: ns per spawn and join beyond the serial program."""
        rows = []
        for label, peer, fib in self.labels():
            row = [label, "–" if peer.name == "serial" else "yes" if peer.suspendable else "no"]
            for workload in self.columns(fib, ["skynet", "integrate", "nqueens", "uts-geo", "uts-bin", "loop"]):
                over = self.f.over_serial(peer.name, workload, 1)
                row.append(self.cell(peer.name, workload, 1, number(over)))
            base, mine = self.f.over_serial("thrum", "fib", 1), self.f.over_serial(peer.name, fib, 1)
            row.append(number(mine / base) if base and mine and base > 0 else "–")
            spread = self.f.spread(peer.name, fib, 1)
            row.append("–" if spread is None else f"{spread:.0%}")
            rows.append(row)
        head = ["ns per task over serial, 1 worker", "suspendable", "fib", "skynet", "integrate", "nqueens", "UTS-geo",
                "UTS-bin", "loop item", "fib: × thrum", "fib: spread"]
        return table(head, rows)

    def walls(self, workers):
        rows = []
        for label, peer, fib in self.labels():
            n = 1 if peer.name == "serial" else workers
            row = [label + (" (1 core)" if peer.name == "serial" else "")]
            for workload in self.columns(fib, ["skynet", "integrate", "nqueens", "uts-geo", "uts-bin", "loop", "coarse"]):
                ms = self.f.wall_ms(peer.name, workload, n)
                rough = "" if ms is None or self.f.is_full(peer.name, workload) else "~"
                row.append(self.cell(peer.name, workload, n, rough + number(ms)))
            row += [self.ratio("skynet", peer.name, n), self.memory(peer.name, n)] if fib == "fib" else ["–", "–"]
            rows.append(row)
        head = [f"wall ms, {workers} workers", "fib(34)", "skynet", "integrate", "nqueens(12)", "UTS-geo", "UTS-bin", "loop",
                "8 × 2 ms", "skynet: × serial / × thrum", "peak MB: skynet / UTS-bin"]
        return table(head, rows)

    def ratio(self, workload, peer, workers):
        mine, serial = self.f.wall_ms(peer, workload, workers), self.f.wall_ms("serial", workload, 1)
        thrum = self.f.wall_ms("thrum", workload, self.o.workers[-1])
        return f"{number(mine / serial if mine and serial else None)} / {number(mine / thrum if mine and thrum else None)}"

    def memory(self, peer, workers):
        runs = [self.f.best(peer, workload, workers) for workload in ("skynet", "uts-bin")]
        return " / ".join(number(run.rss_kb / 1024) if run else "–" for run in runs)

    def speedups(self, workers):
        rows = []
        for label, peer, fib in self.labels():
            if peer.name != "serial":
                rest = self.columns(fib, TREES[1:] + ["skynet", "loop"])
                row = [number(self.f.speedup(peer.name, w, workers)) for w in rest]
                rows.append([label] + row)
        return table([f"T1 / T{workers}"] + TREES + ["skynet", "loop"], rows)

    # --- MEASURES: what to reach ---

    def reach(self):
        rows = self.reach_fib() + self.reach_speedup() + self.reach_skynet() + self.reach_loop()
        rows += self.reach_coarse() + self.reach_memory() + self.reach_idle()
        done = []
        for what, got, text in rows:
            done.append([what, text, "not measured" if got is None else "yes" if got else "no"])
        return table(["reach", "measured", ""], done)

    def limit(self, what, value, most, unit=""):
        return (what, None if value is None else value <= most, number(value) + unit)

    def reach_fib(self):
        typed, generic = self.f.over_serial("thrum", "fib", 1), self.f.over_serial("thrum", "fib-generic", 1)
        peers = [p.name for p in self.there if p.suspendable and p.name != "thrum"]
        costs = [c for c in (self.f.over_serial(p, "fib", 1) for p in peers) if c is not None]
        factor = min(costs) / generic if costs and generic and generic > 0 else None
        return [self.limit("fib, 1 worker, typed: ≤ 2.5 ns", typed, 2.5, " ns"),
                self.limit("fib, 1 worker, generic: ≤ 4 ns", generic, 4, " ns"),
                ("fib: ≥ 10× below every suspendable peer", None if factor is None else factor >= 10,
                 f"{number(factor)}× below the best of {', '.join(peers) or 'none'}")]

    def reach_speedup(self):
        rows = []
        for workload in ["fib", "fib-generic"] + TREES[1:]:
            s = self.f.speedup("thrum", workload, 2)
            rows.append((f"{workload}: T1 / T2 ≥ 1.9", None if s is None else s >= 1.9, number(s)))
        return rows

    def reach_skynet(self):
        rows, mine = [("skynet ≤ 1.5 × Lace", None, "Debian has no package")], self.f.wall_ms("thrum", "skynet", 2)
        for peer in ("tokio", "go"):
            theirs = self.f.wall_ms(peer, "skynet", 2)
            factor = theirs / mine if theirs and mine else None
            rows.append((f"skynet, 2 workers: ≥ 100× below {peer}", None if factor is None else factor >= 100, number(factor) + "×"))
        return rows

    def reach_loop(self):
        form = "loop-range" if self.f.best("thrum", "loop-range", 1) else "loop"
        one, serial = self.f.per_task("thrum", form, 1), self.f.per_task("serial", "loop", 1)
        two = self.f.per_task("thrum", form, 2)
        peers = [self.f.per_task(p, "loop", 2) for p in self.names if p not in ("thrum", "serial")]
        best = min((p for p in peers if p), default=None)
        return [self.limit(f"{form}, 1 worker: ≤ 1.1 × serial", one / serial if one and serial else None, 1.1, "×"),
                self.limit(f"{form}, 2 workers: ≤ 1.1 × the best peer", two / best if two and best else None, 1.1, "×")]

    def reach_coarse(self):
        rows = []
        for workers in self.o.workers:
            run = self.f.best("thrum", "coarse", workers)
            ideal = -(-8 // workers) * COARSE_NS
            rows.append(self.limit(f"8 coarse tasks, {workers} worker{'s' * (workers > 1)}: ≤ 1.02 × ideal", run.ns / ideal if run else None, 1.02, "×"))
        return rows

    def reach_memory(self):
        deep, rows = self.f.best("thrum", "depth", 1), []
        ok = True if deep and self.f.is_full("thrum", "depth") else None
        if ("thrum", "depth", 1) in self.f.failed:
            ok, text = False, self.f.failed["thrum", "depth", 1]
        else:
            text = f"{self.f.size['thrum', 'depth']:,} deep: {deep.rss_kb / 1024:,.0f} MB" if deep else "–"
        rows.append(("joins 1,000,000 deep: no overflow", ok, text))
        for workload in ("uts-geo", "uts-bin"):
            kb = [run.rss_kb for w in self.o.workers for run in self.f.runs.get(("thrum", workload, w), [])]
            rows.append(self.limit(f"{workload}: ≤ 10 MB", max(kb) / 1024 if kb else None, 10, " MB"))
        return rows

    def reach_idle(self):
        run = self.f.best("thrum", "idle", 2)
        return [("idle: 0 % CPU from 1 ms after the last work", None if run is None else run.ns < 500000,
                 "–" if run is None else f"{run.ns / 1000:.0f} µs of CPU in 100 ms")]

    def text(self):
        many = [w for w in self.o.workers if w > 1]
        parts = [self.intro(), self.costs()]
        for workers in many:
            parts += [self.walls(workers), self.speedups(workers)]
        if "thrum" in self.names:
            parts.append(self.reach())
        return "\n".join(parts)
