"""Explores models: `make explore` runs all of them, `make explore ARGS=NAME` one; `ARGS=--table` tells what they guard.

Beyond the bound, some schedules of each are chosen at random. Their old faults are put back, too: each has to be found.
A schedule that failed is stored in schedules/NAME.json and tried first in every later run.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from multiprocessing.synchronize import Lock
from pathlib import Path

from explorer import Program, Report, Run, Schedule, explore, hash_by_number, search
from modelling import Check, Fault, Model
from models import MODELS
from world import World

SCHEDULES = Path(__file__).with_name("schedules")
#: The most schedules in which an old fault has to be found.
ENOUGH = 1_000
#: How many schedules of each model are chosen at random, with so many changes of priorities.
_AT_RANDOM, _CHANGES = 200, 4
_JOBS_OF_A_PROCESS = 10
#: The living objects that a forked child renews, by module.
REGISTRIES = {"corefutures_thread._executor": "_executors", "corefutures_pools.workers.executor": "pools"}


def can_run(model: Model) -> bool:
    """Whether the modules of a model exist on this platform: the shared queue is Linux's transport."""
    return sys.platform == "linux" or not any("shared_queue" in name for name in model.modules)


def _world(model: Model, fault: Fault | None) -> World:
    world = World(*model.modules, edits=() if fault is None else fault.edits)
    sets_of = {"corefutures._future": "Future", "corefutures_pools.workers.supervisor": "WorkerRecord"}
    hash_by_number(*(getattr(world.modules[name], cls) for name, cls in sets_of.items() if name in world.modules))
    return world


def _program(model: Model, world: World) -> Program:
    """Returns the program of a model: nothing is left in our modules of the run before."""

    def program(run: Run) -> Check:
        _forget(world)
        return model.program(run, world)

    return program


def _forget(world: World) -> None:
    """Takes out of our modules what a run has left: a forked child of another one would renew it, or go another way."""
    world.modules["corefutures._future"]._moments_to_skip = 0
    world.blocking.current_workers.clear()
    world.blocking.nested_loops.clear()
    for name, objects in REGISTRIES.items():
        if name in world.modules:
            getattr(world.modules[name], objects).clear()


def explore_model(model: Model, *, preemptions: int | None = None, fault: Fault | None = None) -> Report:
    """Runs a model under every schedule, those first that have failed before.

    Args:
        model: The model.
        preemptions: How many at most. If None, what the model says, and then at random.
        fault: What is put back.
    """
    world = _world(model, fault)
    program = _program(model, world)
    passes = model.passes if preemptions is None else [(model.files, preemptions)]
    schedules = 0
    with world.installed():
        for files in dict.fromkeys(files for files, _ in (*passes, *model.passes)):
            if known := _stored(model, files):
                report = explore(program, world.places(*files), delays=model.delays, most=len(known), first=known)
                if report.failure is not None:
                    return replace(report, files=files)
                schedules += report.schedules
        for files, bound in passes:
            report = explore(program, world.places(*files), preemptions=bound, delays=model.delays)
            schedules += report.schedules
            if report.failure is not None:
                break
        else:
            if preemptions is None:
                files = model.files
                report = search(program, world.places(*files), changes=_CHANGES, most=_AT_RANDOM)
                schedules += report.schedules
    _forget(world)
    return replace(report, schedules=schedules, files=files)


def _stored(model: Model, files: tuple[str, ...]) -> list[Schedule]:
    """Returns the schedules with switches in these files that failed in earlier runs."""
    stored = SCHEDULES / f"{model.name}.json"
    schedules = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    return [schedule["decisions"] for schedule in schedules if schedule["files"] == list(files)]


def search_fault(model: Model, fault: Fault, most: int) -> Report:
    """Puts an old fault back, and looks for a schedule that shows it."""
    world = _world(model, fault)
    parts = [part for part in (model.focus, model.files) if part]  # half of the schedules for each
    schedules = 0
    with world.installed():
        for files in parts:
            report = search(
                _program(model, world), world.places(*files), changes=fault.changes, most=most // len(parts)
            )
            schedules += report.schedules
            if report.failure is not None:
                break
    _forget(world)
    return replace(report, schedules=schedules)


def store(model: Model, report: Report) -> Path:
    """Keeps a schedule that failed, for later runs."""
    stored = SCHEDULES / f"{model.name}.json"
    SCHEDULES.mkdir(exist_ok=True)
    schedules = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    python = ".".join(map(str, sys.version_info[:3]))
    if report.schedule not in [schedule["decisions"] for schedule in schedules]:
        schedules.append({"python": python, "files": report.files, "decisions": report.schedule})
        stored.write_text(json.dumps(schedules, indent=1) + "\n", encoding="utf-8")
    return stored


def table() -> str:
    """Returns which model guards which promise, as the table of docs/development.md."""
    lines = ["| model | promises | old faults that it finds |", "|---|---|---|"]
    for model in MODELS.values():
        faults = "; ".join(fault.name for fault in model.faults)
        lines.append(f"| {model.name.replace('_', ' ')} | {model.promise.replace(' ', ', ')} | {faults} |")
    return "\n".join(lines) + "\n"


def main(names: list[str], processes: int | None = None) -> int:
    """Explores the models of these names, or all, and puts their faults back; returns the exit status.

    Args:
        names: The names.
        processes: How many models are explored at once; as many as there are processors if None; 0: in this process.
    """
    if names == ["--table"]:
        print(table(), end="")
        return 0
    unknown = sorted(set(names) - set(MODELS))
    if unknown:
        print(f"there is no model {', '.join(unknown)}; there are: {', '.join(MODELS)}", file=sys.stderr)
        return 2
    chosen = [MODELS[name] for name in names] or [model for model in MODELS.values() if can_run(model)]
    jobs = [(model.name, number) for model in reversed(chosen) for number in (None, *range(len(model.faults)))]
    failed = total = 0
    spent = 0.0
    with ExitStack() as stack:
        run: Callable[..., Iterable[_Explored]] = map
        if processes != 0:
            # Forks are dearer in a process that has explored much before.
            context = multiprocessing.get_context("spawn")
            processors = {number: context.Lock() for number in _usable_processors()}
            pool = context.Pool(processes, _take_locks, (processors,), maxtasksperchild=_JOBS_OF_A_PROCESS)
            run = stack.enter_context(pool).imap_unordered
        for name, number, report, seconds in run(_explored, jobs):
            total += report.schedules
            spent += seconds
            failed += _tell(MODELS[name], number, report, seconds)
    print(f"{len(chosen)} models, {total} schedules, {spent:.0f} s of a processor, {failed} failures")
    return 1 if failed else 0


def _tell(model: Model, number: int | None, report: Report, seconds: float) -> bool:
    """Prints what became of a model, or of one of its faults, and keeps its schedule; returns whether it has failed."""
    if number is not None:
        verdict = f"FAILED: not found in {report.schedules} schedules"
        if report.failure is not None:
            verdict = f"found in schedule {report.schedules}"
        fault = model.faults[number]
        print(f"{model.name}, with the fault that {fault.name}: {verdict}, {seconds:.1f} s", flush=True)
        return report.failure is None
    bound = f"{model.passes[-1][1]} {'delays' if model.delays else 'preemptions'}"
    print(f"{model.name}: {report.schedules} schedules, {bound}, {seconds:.1f} s", flush=True)
    if report.failure is not None:
        stored = store(model, report)
        print(
            f"FAILED: {report.failure}\nreplay: make explore ARGS={model.name} ({stored.name} comes first)", flush=True
        )
    return report.failure is not None


#: A model's name, the number of its fault or None, what came of it, and how many seconds of a processor that took.
_Explored = tuple[str, int | None, Report, float]


#: In a process of the pool: the processors, each with the lock that the job which runs there holds.
_processors: dict[int, Lock] = {}


def _take_locks(processors: dict[int, Lock]) -> None:
    _processors.update(processors)


def _usable_processors() -> set[int]:
    return os.sched_getaffinity(0) if sys.platform == "linux" else set()


@contextmanager
def _one_processor() -> Iterator[None]:
    """Keeps the threads of this process on one processor: of a model's threads one runs at a time, and hands over."""
    for number, lock in _processors.items():
        if lock.acquire(block=False):
            for thread in os.listdir("/proc/self/task"):
                with suppress(ProcessLookupError):  # it has just ended
                    os.sched_setaffinity(int(thread), {number})
            try:
                yield
            finally:
                lock.release()
            return
    yield


def _explored(job: tuple[str, int | None]) -> _Explored:
    begun = sum(os.times()[:4])  # of forked children as well
    name, number = job
    model = MODELS[name]
    with _one_processor():
        report = explore_model(model) if number is None else search_fault(model, model.faults[number], ENOUGH)
    return name, number, report, sum(os.times()[:4]) - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
