"""Every hand-off under every schedule with one preemption or none; `make explore` goes on to two and three."""

from __future__ import annotations

from pathlib import Path

import pytest
from explorer import Run, run_once
from exploring import can_run, explore_model, search_fault, table
from modelling import Fault, Model
from models import MODELS
from world import World

#: The most schedules in which an old fault has to be found.
ENOUGH = 1_000


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.quick is not None])
def test_no_schedule_breaks_the_hand_off(name: str) -> None:
    if not can_run(MODELS[name]):
        pytest.skip("the shared queue is the transport of Linux")
    report = explore_model(MODELS[name], preemptions=MODELS[name].quick)
    assert report.failure is None, f"{report.failure}\nschedule: {report.schedule}"
    assert report.complete
    assert report.schedules > 1


@pytest.mark.parametrize(
    ("model", "fault"),
    [(model, fault) for model in MODELS.values() for fault in model.faults],
    ids=lambda value: value.name.replace(" ", "-"),
)
def test_an_old_fault_is_found(model: Model, fault: Fault) -> None:
    if not can_run(model):
        pytest.skip("the shared queue is the transport of Linux")
    report = search_fault(model, fault, ENOUGH)
    assert report.failure is not None, f"not found in {report.schedules} schedules"


def test_the_page_says_which_model_guards_which_promise() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "development.md"
    assert table() in page.read_text(encoding="utf-8"), "put the output of `make explore ARGS=--table` there"


def test_a_schedule_that_failed_fails_again_whenever_it_is_replayed() -> None:
    world = World("corefutures._future")
    places = world.places("_future.py")

    def program(run: Run) -> None:
        first, second = world.blocking._thread.allocate_lock(), world.blocking._thread.allocate_lock()
        run.spawn("one", lambda: (first.acquire(), second.acquire()))
        run.spawn("another", lambda: (second.acquire(), first.acquire()))

    from explorer import explore

    report = explore(program, places)
    assert "deadlock: " in str(report.failure)
    for _ in range(100):
        assert str(run_once(program, report.schedule, places).failure) == str(report.failure)
