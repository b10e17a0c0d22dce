"""The explorers of others run our code, and find old faults in it: see `outside`."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import outside
import pytest
from explorer import Run
from modelling import Answers, Check, Fault, Model, expect, outcome
from models import MODELS
from models.thread_pool import SLEEPS_AT_ONCE, SUBMITS_BLINDLY
from models.waiting import PARKS_BLINDLY

pytestmark = [
    pytest.mark.timeout(120),
    # A schedule that is given up raises in whatever its threads do, also in finalisers.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
with_interleave_test = pytest.mark.skipif(
    importlib.util.find_spec("interleave_test") is None,
    reason="interleave-test needs Python 3.12",
)
with_frontrun = pytest.mark.skipif(
    importlib.util.find_spec("frontrun") is None,
    reason="frontrun comes with `make explore`, not for 3.15",
)


# ── programs of the thread pool whose threads all end ────────────────────────────────────────────────────────


def two_calls_for_one_worker(run: Run, our: Any) -> Check:
    pool, got = our.executor.ThreadPoolExecutor(1), Answers()

    def submit() -> Any:
        try:
            first, second = pool.submit(int, 1), pool.submit(int, 2)
            return first.result(), second.result()
        finally:
            pool.shutdown()

    run.spawn("submitter", got.say("results", submit))
    return lambda: expect(got["results"], (1, 2))


def submit_against_shutdown(run: Run, our: Any) -> Check:
    pool, got = our.executor.ThreadPoolExecutor(1), Answers()
    pool.submit(int, 1)

    def submit() -> Any:
        try:
            future = pool.submit(int, 7)
        except RuntimeError:
            return "refused"
        return outcome(future)

    run.spawn("submitter", got.say("submit", submit))
    run.spawn("closer", lambda: pool.shutdown(wait=False))
    return lambda: expect(got["submit"], 7, "refused")


def cancel_against_a_worker(run: Run, our: Any) -> Check:
    pool, got, ran = our.executor.ThreadPoolExecutor(1), Answers(), list[int]()
    future = pool.submit(ran.append, 1)

    def cancel() -> Any:
        try:
            return future.cancel(), outcome(future)
        finally:
            pool.shutdown()

    run.spawn("canceller", got.say("cancel", cancel))

    def check() -> None:
        expect(got["cancel"], (True, "cancelled"), (False, None))
        assert ran == ([] if got["cancel"][0] else [1])

    return check


def _of_the_pool(program: Any, *faults: Fault) -> Model:
    example = MODELS["submit_against_the_worker_that_goes_idle"]
    return replace(example, name=program.__name__, program=program, faults=faults)


FUTURES = [
    MODELS[name]
    for name in (
        "cancel_against_start", "transitions_against_each_other", "the_outcome_is_there_before_the_state",
        "callback_added_against_finish", "finish_against_result", "wait_against_finish",
        "wait_for_all_against_two_that_finish",
    )
]  # fmt: skip
POOLS = [
    _of_the_pool(two_calls_for_one_worker, SLEEPS_AT_ONCE),
    _of_the_pool(submit_against_shutdown, SUBMITS_BLINDLY),
    _of_the_pool(cancel_against_a_worker),
]


def _named(value: Any) -> str:
    return str(value.name).replace(" ", "-")


def _faults(*models: Model) -> list[tuple[Model, Fault]]:
    return [(model, fault) for model in models for fault in model.faults]


# ── interleave-test ──────────────────────────────────────────────────────────────────────────────────────────


@with_interleave_test
@pytest.mark.parametrize("model", [*FUTURES, *POOLS], ids=_named)
def test_interleave_test_runs_ours_and_finds_nothing(model: Model) -> None:
    result = outside.interleave(model, strategy="pct", iterations=50)
    assert result.failure is None, result.failure.format()
    assert (result.schedules_run, result.leaked_threads) == (50, 0)


@with_interleave_test
@pytest.mark.parametrize(("model", "fault"), _faults(*FUTURES, *POOLS), ids=_named)
def test_interleave_test_finds_an_old_fault(model: Model, fault: Fault) -> None:
    result = outside.interleave(model, fault, strategy="pct", iterations=1000)
    assert result.failure is not None
    again = outside.interleave(model, fault, schedule=result.failure)
    assert again.failure is not None
    assert again.failure.kind == result.failure.kind


# ── frontrun ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def frontrun_may_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRONTRUN_ACTIVE", "1")  # as its command sets it: else it skips every test


@with_frontrun
@pytest.mark.usefixtures("frontrun_may_run")
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("model", [*FUTURES, *POOLS], ids=_named)
def test_frontrun_runs_ours_and_finds_nothing(model: Model, backwards: bool) -> None:
    result = outside.frontrun(model, places=int(model in POOLS), backwards=backwards, max_executions=50)
    assert result.property_holds, result.explanation or result.inconclusive_reason
    assert result.num_explored > 1


@with_frontrun
@pytest.mark.usefixtures("frontrun_may_run")
@pytest.mark.parametrize(
    ("model", "fault"),
    [*_faults(*FUTURES[:4]), (FUTURES[4], PARKS_BLINDLY), *_faults(FUTURES[5], POOLS[1])],
    ids=_named,
)
def test_frontrun_finds_an_old_fault(model: Model, fault: Fault) -> None:
    for backwards in (True, False):
        result = outside.frontrun(model, fault, places=int(model in POOLS), backwards=backwards, max_executions=500)
        if result.property_holds is False:
            break
    assert result.property_holds is False
    assert result.explanation
