"""Running one program once, and telling whether something else disturbed it."""

import os
import resource
import signal
import subprocess
import time
from dataclasses import dataclass

TICK = os.sysconf("SC_CLK_TCK")
CPUS = os.cpu_count() or 1
STEAL_MAX = 0.04        # of all CPU time in the run
OTHERS_MAX = 0.10       # of the CPU time that there was: taken by other processes
SLACK_S = 2.0 / TICK    # /proc/stat counts in ticks
TIME_LIMIT_S = 60


class Failed(Exception):
    """The program did not bring its result; says how it ended."""


@dataclass
class Run:
    ns: int
    tasks: int
    rss_kb: int
    disturbed: str = ""  # why, or nothing


def cpu_times():
    with open("/proc/stat") as f:
        user, nice, system, idle, iowait, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq) / TICK, steal / TICK


def disturbance(workers, wall, own, busy, steal):
    if steal > SLACK_S / 2 and steal > STEAL_MAX * wall * CPUS:
        return f"{steal / (wall * CPUS):.0%} stolen by the host"
    if busy - own > OTHERS_MAX * wall * CPUS + SLACK_S:
        return f"others took {(busy - own) / (wall * CPUS):.0%} of the CPUs"
    if workers == 1 and wall > own * 1.15 + SLACK_S:
        return f"ran {own / wall:.0%} of its time"
    return ""


def run_once(command, workers):
    """One run of a program whose last line is: WORKLOAD WORKERS ns tasks rss_kb."""
    busy, steal = cpu_times()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TIME_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Failed(f"more than {TIME_LIMIT_S} s") from None
    wall = time.monotonic() - began
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    busy_now, steal_now = cpu_times()

    if done.returncode == 3:
        return None  # it does not have this workload
    if done.returncode < 0:
        raise Failed(signal.Signals(-done.returncode).name)
    if done.returncode != 0:
        raise Failed((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    ns, tasks, rss = done.stdout.split()[2:5]
    why = "" if "coarse" in command or "idle" in command else disturbance(workers, wall, own, busy_now - busy, steal_now - steal)
    return Run(int(ns), int(tasks), int(rss), why)


def run_undisturbed(command, workers, tries):
    """The first run that nothing disturbed, else the shortest; and how many were thrown away."""
    kept, discarded = None, 0
    for _ in range(tries):
        run = run_once(command, workers)
        if run is None or not run.disturbed:
            return run, discarded
        if kept is None or run.ns < kept.ns:
            kept = run
        discarded += 1
    return kept, discarded - 1
