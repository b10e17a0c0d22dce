"""Explores models: `make explore` runs all of them, `make explore ARGS=NAME` one; `ARGS=--table` tells what they guard.

A schedule that failed is stored in schedules/NAME.json and tried first in every later run.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import time
from pathlib import Path

from explorer import Report, explore, hash_by_number, search
from modelling import Fault, Model
from models import MODELS
from world import World

SCHEDULES = Path(__file__).with_name("schedules")


def can_run(model: Model) -> bool:
    """Whether the modules of a model exist on this platform: the shared queue is Linux's transport."""
    return sys.platform == "linux" or not any("shared_queue" in name for name in model.modules)


def _world(model: Model, fault: Fault | None) -> World:
    world = World(*model.modules, edits=() if fault is None else fault.edits)
    sets_of = {"corefutures._future": "Future", "corefutures_pools.workers.supervisor": "WorkerRecord"}
    hash_by_number(*(getattr(world.modules[name], cls) for name, cls in sets_of.items() if name in world.modules))
    return world


def explore_model(
    model: Model, *, preemptions: int | None = None, most: int = 1_000_000, fault: Fault | None = None
) -> Report:
    """Runs a model under every schedule, those first that have failed before.

    Args:
        model: The model.
        preemptions: How many at most; what the model says if None.
        most: How many schedules at most.
        fault: What is put back.
    """
    world = _world(model, fault)
    known = []
    if (stored := SCHEDULES / f"{model.name}.json").exists():
        known = [schedule["decisions"] for schedule in json.loads(stored.read_text(encoding="utf-8"))]

    with world.installed():
        return explore(
            lambda run: model.program(run, world), world.places(*model.files),
            preemptions=model.preemptions if preemptions is None else preemptions, delays=model.delays, most=most,
            first=known,
        )  # fmt: skip


def search_fault(model: Model, fault: Fault, most: int) -> Report:
    """Puts an old fault back, and looks for a schedule that shows it."""
    world = _world(model, fault)
    with world.installed():
        return search(
            lambda run: model.program(run, world), world.places(*model.files), changes=fault.changes, most=most
        )


def store(model: Model, report: Report) -> Path:
    """Keeps a schedule that failed, for later runs."""
    stored = SCHEDULES / f"{model.name}.json"
    SCHEDULES.mkdir(exist_ok=True)
    schedules = json.loads(stored.read_text(encoding="utf-8")) if stored.exists() else []
    python = ".".join(map(str, sys.version_info[:3]))
    if report.schedule not in [schedule["decisions"] for schedule in schedules]:
        schedules.append({"python": python, "decisions": report.schedule})
        stored.write_text(json.dumps(schedules, indent=1) + "\n", encoding="utf-8")
    return stored


def table() -> str:
    """Returns which model guards which promise, as the table of docs/development.md."""
    lines = ["| model | promises | old faults that it finds |", "|---|---|---|"]
    for model in MODELS.values():
        faults = "; ".join(fault.name for fault in model.faults)
        lines.append(f"| {model.name.replace('_', ' ')} | {model.promise.replace(' ', ', ')} | {faults} |")
    return "\n".join(lines) + "\n"


def main(names: list[str]) -> int:
    """Explores the models of these names, all if there are none; returns the exit status."""
    if names == ["--table"]:
        print(table(), end="")
        return 0
    unknown = sorted(set(names) - set(MODELS))
    if unknown:
        print(f"there is no model {', '.join(unknown)}; there are: {', '.join(MODELS)}", file=sys.stderr)
        return 2
    failed = total = 0
    with multiprocessing.get_context("spawn").Pool() as pool:
        for name, report, seconds in pool.imap_unordered(
            _explored, names or filter(lambda name: can_run(MODELS[name]), MODELS)
        ):
            total += report.schedules
            bound = f"{MODELS[name].preemptions} {'delays' if MODELS[name].delays else 'preemptions'}"
            print(f"{name}: {report.schedules} schedules, {bound}, {seconds:.1f} s of a processor", flush=True)
            if report.failure is not None:
                failed += 1
                stored = store(MODELS[name], report)
                print(
                    f"FAILED: {report.failure}\nreplay: make explore ARGS={name} ({stored.name} comes first)",
                    flush=True,
                )
    print(f"{total} schedules, {failed} models failed")
    return 1 if failed else 0


def _explored(name: str) -> tuple[str, Report, float]:
    begun = time.process_time()
    return name, explore_model(MODELS[name]), time.process_time() - begun


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
