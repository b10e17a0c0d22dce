"""The chaos: schedule after schedule, each a program of its own with faults on purpose, all from one seed.

`make chaos SEED=…` repeats a run, `SCHEDULE=…` one of its schedules, `CALLS=…` says how many calls, `JOBS=…` how many
schedules at once. Fails if a schedule fails, or if a fault point or a rare branch was never reached ("sometimes").
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from branches import BRANCHES
from calls import BEGUN, SETTLED, TAKEN, read_journal
from faults import KINDS, SETTING, Faults

HERE = Path(__file__).resolve().parent
SUPPORT = HERE.parent / "support"
#: Calls of one schedule, about.
SIZE = 4000
#: Seconds after which a schedule hangs.
LIMIT = 900
#: So many calls reach every fault point and branch.
ENOUGH = 2_000_000

#: The signals that the main thread of a schedule is interrupted by, within one of its own calls.
SIGNALS = tuple(
    f"a signal within {what}{raises}"
    for what in ("submit", "result", "alone", "cancel", "kill", "wait", "callback", "limit", "map", "shutdown")
    for raises in ("", " that raises")
)
#: What calls come to: each of it has to happen.
OUTCOMES = ("value", "cancelled", "Planned", "WorkerLostError", "BrokenProcessPool", "TimeoutError", "SystemExit")

#: A main module without a file: workers do not import it.
_PROGRAM = "import schedule; raise SystemExit(schedule.main())"
_RATES = {"deaths": (0.0003, 0.002), "shortages": (0.01, 0.1), "starts": (0.05, 0.4), "delays": (0.02, 0.3)}


class Outcome:
    """What came of a schedule."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.calls = 0
        self.faults: Counter[str] = Counter()
        self.branches: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.output = ""


def available_backends() -> dict[str, int]:
    """Return the backends that this Python has, and their weights."""
    weights = {"process": 10, "thread": 5, "adapted thread": 1, "adapted process": 1}
    if sys.version_info >= (3, 14):
        weights["interpreter"] = 5
    if importlib.util.find_spec("distributed") is not None:
        weights["dask"] = 1
    return weights


def plan(seed: str, index: int) -> tuple[str, list[str], dict[str, float]]:
    """Return the seed of a schedule, its backends, and the rates of its faults."""
    own = f"{seed}-{index}"
    chance = random.Random(own)
    weights = available_backends()
    backends = chance.choices(list(weights), list(weights.values()), k=chance.choice([1, 1, 2]))
    rates: dict[str, float] = {}
    for kind in [kind for kind in KINDS if chance.random() < 0.5]:
        low, high = _RATES[kind]
        for point in KINDS[kind]:
            if chance.random() < (0.9 if kind == "starts" else 0.5):
                rates[point] = round(low * (high / low) ** chance.random(), 6)
                if kind == "shortages" and chance.random() < 0.25:
                    rates[point] = 0.4
    return own, backends, rates


def run_schedule(seed: str, index: int, size: int, folder: Path) -> Outcome:
    """Run a schedule in a program of its own, and look at what it leaves behind."""
    outcome = Outcome(index)
    own, backends, rates = plan(seed, index)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "t").mkdir(parents=True)
    log, output = folder / "faults", folder / "output"
    paths = [HERE / "startup", HERE, SUPPORT, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    environment = os.environ | {
        SETTING: Faults(own, str(log), rates).setting(), "TMPDIR": str(folder / "t"),
        "PYTHONPATH": os.pathsep.join(map(str, paths)), "PYTHONFAULTHANDLER": "1",
        "OPENBLAS_NUM_THREADS": "1",  # Dask imports numpy at some time, and that starts threads
    }  # fmt: skip
    shared = set(os.listdir("/dev/shm"))
    with open(output, "wb") as file:
        program = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, own, str(size), folder, *backends],
            stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=environment, start_new_session=True,
        )  # fmt: skip
    try:
        code = program.wait(LIMIT)
    except subprocess.TimeoutExpired:
        outcome.failures.append("hang: the program does not end")
        program.send_signal(signal.SIGUSR1)  # shows the state of the pools, if the main thread can
        time.sleep(2)
        program.send_signal(signal.SIGABRT)  # shows the stacks
        code = program.wait(60)
    report = {"counts": {}, "calls": 0, "failures": [], "left": ""}
    with contextlib.suppress(OSError):
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    outcome.calls, outcome.counts = report["calls"], Counter(report["counts"])
    outcome.failures += report["failures"]
    killed = any(name.startswith("exit: killed") for name in outcome.counts)
    if code != (-signal.SIGKILL if killed else 0) and not outcome.failures:
        outcome.failures.append(f"the program ended with {code}")
    if report["left"] and not killed:
        outcome.failures += unsettled(report["left"])
    outcome.failures += left_processes(program.pid)
    if not killed and not outcome.failures:
        left = [path for path in (folder / "t").iterdir() if not is_kept_by_dask(path)]
        outcome.failures += [f"left: {path}" for path in left]
    outcome.failures += left_memory(set(os.listdir("/dev/shm")) - shared)
    if log.exists():
        for line in log.read_text(encoding="utf-8").splitlines():
            what, name, *_ = line.split("|")
            (outcome.faults if what == "fault" else outcome.branches)[name] += 1
    outcome.output = output.read_text(encoding="utf-8", errors="replace")
    if not outcome.failures:
        shutil.rmtree(folder)
    return outcome


def is_kept_by_dask(path: Path) -> bool:
    """Return whether it is the folder of the folders of Dask's workers, which are gone."""
    return path.name == "dask-scratch-space" and all(inner.suffix == ".lock" for inner in path.iterdir())


def unsettled(journal: str) -> list[str]:
    """Return what is wrong with the calls that a program has left to its end."""
    wrong = []
    for number, entries in read_journal(journal).items():
        if entries[TAKEN] and not entries[SETTLED]:
            wrong.append(f"call {number} was pending when the program had ended")
        if entries[BEGUN] > max(1, entries[TAKEN]):
            wrong.append(f"call {number} ran {entries[BEGUN]} times")
    return wrong


def left_processes(session: int) -> list[str]:
    """Wait for all processes of a session; return those that stay, after killing them."""
    deadline = time.monotonic() + 30
    while found := processes_of(session):
        if time.monotonic() > deadline:
            for pid in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return [f"left: process {command}" for command in found.values()]
        time.sleep(0.02)
    return []


def processes_of(session: int) -> dict[int, str]:
    """Return the processes of a session, with their commands."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                state, *rest = Path(f"/proc/{name}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
                if int(rest[2]) == session and state not in "ZX":
                    found[int(name)] = Path(f"/proc/{name}/cmdline").read_text(encoding="utf-8").replace("\0", " ")
    return found


def left_memory(names: set[str]) -> list[str]:
    """Return the names of shared memory that are there still, and that no living process has.

    Only names that a program of the chaos could give: `multiprocessing`'s and ours. MPI and others run beside it.
    """
    names = {name for name in names if name.startswith(("psm_", "corefutures"))}
    deadline = time.monotonic() + 5
    while names := names.intersection(os.listdir("/dev/shm")):
        if time.monotonic() > deadline:
            in_use = "".join(filter(None, map(_maps, filter(str.isdigit, os.listdir("/proc")))))
            return [f"left: /dev/shm/{name}" for name in names if f"/dev/shm/{name}" not in in_use]
        time.sleep(0.2)
    return []


def _maps(pid: str) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    return ""


class Run:
    """All schedules of a run.

    Args:
        seed: The seed.
        calls: How many calls.
        jobs: How many schedules at once.
        folder: Where schedules work, and where those that fail leave their traces.
    """

    def __init__(self, seed: str, calls: int, jobs: int, folder: Path) -> None:
        self.seed = seed
        self.wanted = calls
        self.jobs = jobs
        self.folder = folder
        self.calls = self.schedules = 0
        self.failed: list[Outcome] = []
        self.faults: Counter[str] = Counter()
        self.branches: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()

    def add(self, outcome: Outcome) -> None:
        """Take in what came of a schedule."""
        self.schedules += 1
        self.calls += outcome.calls
        self.faults += outcome.faults
        self.branches += Counter(dict.fromkeys(outcome.branches, 1))
        self.counts += outcome.counts
        if outcome.failures:
            self.failed.append(outcome)
            print(f"FAILED: schedule {outcome.index}")
            print("\n".join(f"    {line[:1000]}" for line in outcome.failures[:5]))
            print(f"replay: make chaos SEED={self.seed} SCHEDULE={outcome.index}")
            print(f"traces: {self.folder / str(outcome.index)}", flush=True)
        if self.schedules % 50 == 0:
            print(f"{self.schedules} schedules, {self.calls} calls, {self.faults.total()} faults", flush=True)

    def run(self, first: int = 0) -> None:
        """Run schedules until there are enough calls."""
        with ThreadPoolExecutor(self.jobs) as pool:
            index = first

            def work() -> None:
                nonlocal index
                while self.calls < self.wanted and len(self.failed) < 20:
                    own, index = index, index + 1
                    size = min(SIZE, max(200, self.wanted))
                    self.add(run_schedule(self.seed, own, size, self.folder / str(own)))

            for future in [pool.submit(work) for _ in range(self.jobs)]:
                future.result()

    def never(self) -> list[str]:
        """Return what has to be reached sometimes, and was not."""
        points = [point for kind in KINDS.values() for point in kind] + list(SIGNALS)
        never = [f"fault: {point}" for point in points if not self.faults[point]]
        if sys.version_info >= (3, 12):
            never += [f"branch: {name}" for name in BRANCHES if not self.branches[name]]
        never += [f"outcome: {name}" for name in OUTCOMES if not self.counts[name]]
        if sys.version_info < (3, 14):
            never = [name for name in never if "interpreter" not in name]
        return never

    def table(self) -> str:
        """Return what was reached, and how often."""
        lines = [
            f"{self.schedules} schedules, {self.calls} calls, {self.faults.total()} faults, {len(self.failed)} failed"
        ]
        for title, counted in (
            ("faults", self.faults),
            ("branches (in how many schedules)", self.branches),
            ("counts", self.counts),
        ):
            lines += [f"{title}:", *(f"    {count:>8} {name}" for name, count in sorted(counted.items()))]
        return "\n".join(lines)


def main() -> int:
    get = os.environ.get
    seed = get("SEED") or str(random.SystemRandom().randrange(10**9))
    calls = int(get("CALLS") or 2_000_000)
    folder = Path(get("CHAOS_FOLDER") or tempfile.mkdtemp(prefix="chaos-"))
    print(f"seed {seed}: make chaos SEED={seed} CALLS={calls} repeats this", flush=True)
    if schedule := get("SCHEDULE"):
        outcome = run_schedule(seed, int(schedule), SIZE, folder / schedule)
        print(outcome.output, "\n".join(outcome.failures), sep="\n")
        return 1 if outcome.failures else 0
    run = Run(seed, calls, max(1, int(get("JOBS") or 2)), folder)
    run.run(int(get("FIRST") or 0))
    print(run.table())
    never = run.never() if run.calls >= ENOUGH else []
    for name in never:
        print(f"NEVER: {name}")
    if not run.failed:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if run.failed or never else 0


if __name__ == "__main__":
    sys.exit(main())
