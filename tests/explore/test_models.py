"""Every hand-off under every schedule with one preemption or none; `make explore` goes on to two and three."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import exploring
import pytest
from explorer import Run, explore, run_once
from exploring import ENOUGH, can_run, explore_model, search_fault, table
from modelling import Answers, Check, Fault, Model, expect
from models import MODELS
from world import Mutex, World

QUICK = [model for model in MODELS.values() if model.quick is not None]


@pytest.mark.parametrize("model", QUICK, ids=lambda model: model.name)
def test_no_schedule_breaks_the_hand_off(model: Model) -> None:
    if not can_run(model):
        pytest.skip("the shared queue is the transport of Linux")
    report = explore_model(model, preemptions=model.quick)
    assert report.failure is None, f"{report.failure}\nschedule: {report.schedule}"
    assert report.complete
    assert report.schedules > 1


@pytest.mark.parametrize(
    ("model", "fault"),
    [(model, fault) for model in QUICK for fault in model.faults],
    ids=lambda value: value.name.replace(" ", "-"),
)
def test_an_old_fault_is_found(model: Model, fault: Fault) -> None:
    if not can_run(model):
        pytest.skip("the shared queue is the transport of Linux")
    report = search_fault(model, fault, ENOUGH)
    assert report.failure is not None, f"not found in {report.schedules} schedules"


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda model: model.name)
def test_the_old_faults_of_a_model_can_be_put_back(model: Model) -> None:
    """Also those that only `make explore` looks for."""
    for fault in model.faults:
        sources: dict[str, str] = {}
        for module, right, wrong in fault.edits:
            spec = importlib.util.find_spec(module)
            assert spec is not None and spec.origin is not None
            source = sources.get(module) or Path(spec.origin).read_text(encoding="utf-8")
            assert source.count(right) == 1, f"{module} has this {source.count(right)} times: {right}"
            sources[module] = source.replace(right, wrong)
        for module, source in sources.items():
            compile(source, module, "exec")


def test_the_page_says_which_model_guards_which_promise() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "development.md"
    assert table() in page.read_text(encoding="utf-8"), "put the output of `make explore ARGS=--table` there"


def test_a_schedule_that_failed_fails_again_whenever_it_is_replayed() -> None:
    world = World("corefutures._future")
    places = world.places("_future.py")

    def program(run: Run) -> None:
        first, second = Mutex(), Mutex()
        run.spawn("one", lambda: (first.acquire(), second.acquire()))
        run.spawn("another", lambda: (second.acquire(), first.acquire()))

    report = explore(program, places)
    assert "deadlock: " in str(report.failure)
    for _ in range(100):
        assert str(run_once(program, report.schedule, places).failure) == str(report.failure)


def test_a_schedule_that_failed_is_stored_and_comes_first_from_then_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exploring, "SCHEDULES", tmp_path / "schedules")
    model = MODELS["cancel_against_start"]
    (fault,) = model.faults
    found = explore_model(model, fault=fault)
    assert found.schedules > 1
    stored = exploring.store(model, found)
    assert exploring.store(model, found) == stored  # the same schedule is kept once
    (kept,) = json.loads(stored.read_text(encoding="utf-8"))
    assert kept["decisions"] == found.schedule

    again = explore_model(model, fault=fault)
    assert again.schedules == 1
    assert str(again.failure).splitlines()[-1] == str(found.failure).splitlines()[-1]
    assert explore_model(model).failure is None  # the fault is mended: the schedule passes, and the others are run


def test_a_run_prints_the_replay_of_a_failure_and_a_later_run_begins_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As `make explore` does, of all models and of one by its name; the failure is one of the focus."""
    focus = ("_wait.py",)

    def program(run: Run, our: Any) -> Check:
        future, got = our.future.Future(), Answers()
        run.spawn("worker", lambda: future.set_result(7))
        run.spawn("waiter", got.say("done", lambda: len(our.wait.wait([future], 0).done)))
        return lambda: expect(got["done"], 1)  # but the worker may come too late

    fails = replace(MODELS["wait_against_finish"], name="fails", program=program, files=focus, focus=(), faults=())
    passes = replace(MODELS["cancel_against_start"], faults=())
    monkeypatch.setattr(exploring, "SCHEDULES", tmp_path)
    monkeypatch.setattr(exploring, "MODELS", {"fails": fails, passes.name: passes})
    reports = []
    for names in ([], ["fails"]):
        assert exploring.main(names, 0) == 1
        reports.append(capsys.readouterr().out)
        assert "FAILED: Traceback" in reports[-1]
        assert "replay: make explore ARGS=fails (fails.json comes first)\n" in reports[-1]
    assert re.search(r"^cancel_against_start: [0-9]+ schedules, 2 preemptions, ", reports[0], re.MULTILINE)
    (first, second) = (int(text.partition("fails: ")[2].partition(" ")[0]) for text in reports)
    assert first > second == 1

    # The quick run of `make test` looks at it as well, though it switches in other files.
    wide = replace(fails, files=("_future.py",), focus=focus)
    assert explore_model(wide, preemptions=0).schedules == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_the_locks_as_they_were_and_no_other_thread() -> None:
    world = World("corefutures._future")

    def program(run: Run, child: Callable[[Mutex], object]) -> None:
        lock = Mutex()
        run.spawn("holder", lambda: (lock.acquire(), lock.release()))
        run.spawn("forker", lambda: run.fork(lambda: child(lock)))

    def explored(child: Callable[[Mutex], object]) -> str:
        return str(explore(lambda run: program(run, child), world.places("_future.py")).failure)

    assert explored(lambda lock: None) == "None"
    assert "in a forked child: deadlock: forker wait for ever" in explored(lambda lock: lock.acquire())
    assert "in a forked child: " in explored(lambda lock: 1 // 0)


def test_garbage_and_the_addresses_of_objects_change_no_schedule() -> None:
    model = MODELS["wait_for_the_first_against_two_that_finish"]
    reports = []
    for _ in range(2):
        reports.append(explore_model(model, preemptions=1))
        list(map(object.__new__, [object] * 1001))
    assert reports[0].failure is None
    assert reports[0].schedules == reports[1].schedules
