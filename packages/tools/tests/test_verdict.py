"""The recommendation: each sentence from the figures that lead to it."""

from __future__ import annotations

import sys

import pytest

from corefutures import Comparison, Trial
from corefutures_tools._comparing import units, verdict
from corefutures_tools._comparing.verdict import recommend

LOOP = Trial("loop", seconds=1.0, speedup=1.0, agrees=True)


def trial(backend: str, speedup: float, transport: float | None = 1e-5, agrees: bool | None = True) -> Trial:
    return Trial(backend, seconds=1 / speedup, speedup=speedup, transport=transport, agrees=agrees)


@pytest.fixture(autouse=True)
def gil(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: True, raising=False)


def test_calls_that_wait_go_to_threads() -> None:
    chosen, reason = recommend(LOOP, [trial("process", 3.9), trial("thread", 3.8)], 100, 0.95)
    assert chosen == "thread"
    assert "wait (95%" in reason
    assert "3.8 times" in reason


def test_calls_that_compute_go_to_interpreters_before_processes_when_both_are_as_good() -> None:
    trials = [trial("process", 1.9), trial("interpreter", 1.85), trial("thread", 1.0)]
    chosen, reason = recommend(LOOP, trials, 100, 0.0)
    assert chosen == "interpreter"
    assert "compute in Python" in reason


def test_calls_that_compute_go_to_processes_when_they_are_clearly_faster() -> None:
    assert recommend(LOOP, [trial("process", 1.9), trial("interpreter", 1.3)], 100, 0.0)[0] == "process"


def test_threads_that_compute_in_parallel_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    trials = [trial("thread", 1.9), trial("process", 1.9)]
    assert "releases the GIL" in recommend(LOOP, trials, 100, 0.0)[1]
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    assert "no GIL" in recommend(LOOP, trials, 100, 0.0)[1]


@pytest.mark.parametrize("backend", ["thread", "interpreter", "process", "dask"])
def test_what_is_not_known_of_the_calls_is_not_stated(backend: str) -> None:
    reason = recommend(LOOP, [trial(backend, 1.9)], 100, None)[1]
    assert reason.startswith(f"{backend.capitalize()} ran the calls side by side")
    assert "compute in" not in reason


def test_transport_that_costs_more_than_the_work_leaves_the_loop() -> None:
    chosen, reason = recommend(LOOP, [trial("process", 0.1, transport=0.02), trial("thread", 0.9, 0.009)], 100, 0.0)
    assert chosen == "loop"
    assert "9 ms a call on thread beside 10 ms of work" in reason


def test_what_gains_nothing_leaves_the_loop() -> None:
    assert recommend(LOOP, [trial("thread", 1.1)], 100, 0.0) == ("loop", "No backend was 1.2 times as fast.")


def test_a_backend_whose_results_differ_is_not_taken() -> None:
    trials = [trial("process", 2.0, agrees=False), trial("thread", 1.5)]
    assert recommend(LOOP, trials, 100, 0.0)[0] == "thread"
    assert recommend(LOOP, trials[:1], 100, 0.0)[0] == "loop"


def test_a_function_that_differs_from_itself_may_differ_elsewhere() -> None:
    loop = Trial("loop", seconds=1.0, speedup=1.0, agrees=False)
    assert recommend(loop, [trial("process", 2.0, agrees=False)], 100, 0.0)[0] == "process"


def test_a_backend_where_more_calls_raise_is_not_taken() -> None:
    broken = Trial("process", seconds=0.5, speedup=2.0, failed=3)
    assert recommend(LOOP, [broken], 100, 0.0)[0] == "loop"


def test_other_backends_are_taken_when_they_are_clearly_the_fastest() -> None:
    assert recommend(LOOP, [trial("dask", 5.0), trial("thread", 1.5)], 100, None)[0] == "dask"
    assert recommend(LOOP, [trial("dask", 2.0), trial("process", 1.9)], 100, None)[0] == "process"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(None, "-"), (3.21049, "3.21 s"), (0.0456, "45.6 ms"), (7.2e-6, "7.2 µs"), (4e-8, "0.04 µs"), (1234.5, "1234 s")],
)
def test_durations_have_three_digits(seconds: float | None, shown: str) -> None:
    assert units.duration(seconds) == shown


@pytest.mark.parametrize(("count", "shown"), [(12, "12 B"), (1500, "2 kB"), (73e6, "73 MB"), (4.2e9, "4.2 GB")])
def test_sizes_have_their_unit(count: float, shown: str) -> None:
    assert units.size(count) == shown


def test_the_table_lines_up_and_tells_every_error() -> None:
    trials = (
        trial("thread", 1.5),
        Trial("process", error="a worker was lost"),
        Trial(
            "dask", seconds=9.0, speedup=0.001, failed=2, failure="OSError: full", memory=10**9, memory_source="rusage"
        ),
    )
    recommended, reason = verdict.recommend(LOOP, trials, 100, 0.0)
    shown = str(
        Comparison("jobs:work", 100, 2, 0.0, 1234.0, {"results": "TypeError: no"}, LOOP, trials, recommended, reason)
    )
    lines = shown.splitlines()
    assert lines[0] == "jobs:work, 100 calls, 2 workers"
    start = lines[2].index("results")
    assert lines[2].split() == ["backend", "time", "speed-up", "start", "transport", "memory", "results"]
    assert [line[start:] for line in lines[3:7]] == ["agree", "agree", "failed", "2 raised"]
    assert "process: a worker was lost" in lines
    assert "dask: 2 calls raised, first OSError: full" in lines
    assert "cannot be pickled: results (TypeError: no)" in lines
    assert lines[-1].startswith("recommended: thread. ")
    assert "≥ 1.0 GB" in lines[6]
    assert "< 0.01 ×" in lines[6]
