"""Races that control opens: time limits, kills and requests against the end of a call, shutdowns against submitters.

A few hundred turns here; thousands with `make chaos`.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from races import LIMIT, together

import corefutures
from corefutures import ProcessPoolExecutor, ThreadPoolExecutor, WorkerLostError

METHODS = [method for method in ("forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]
long = [pytest.mark.chaos_long, pytest.mark.timeout(900)]


def turns(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("turns", [few, pytest.param(many, marks=long)])


@pytest.fixture(params=["0", "1"], ids=["fast", "portable"])
def processes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessPoolExecutor]:
    monkeypatch.setenv("COREFUTURES_PORTABLE", request.param)
    with ProcessPoolExecutor(2, multiprocessing.get_context(METHODS[0])) as pool:
        yield pool


@turns(40, 1500)
def test_time_limits_race_with_the_end_of_calls(processes: ProcessPoolExecutor, turns: int) -> None:
    """Calls that take as long as they may: each ends in one way, and the pool stays whole."""
    limited = processes.options(timeout=0.01)
    calls = [limited.submit(time.sleep, 0.004 + turn % 5 * 0.003) for turn in range(turns)]
    innocent = [processes.submit(abs, -turn) for turn in range(turns)]
    for call in calls:
        with contextlib.suppress(TimeoutError):
            assert call.result(LIMIT * 10) is None
    assert [call.result(LIMIT * 10) for call in innocent] == list(range(turns))
    stats = processes.stats()
    assert (stats.submitted, stats.waiting, stats.running, stats.cancelled) == (2 * turns, 0, 0, 0)
    assert stats.finished + stats.failed == 2 * turns
    assert stats.lost_workers == 0


@turns(60, 2000)
def test_kills_race_with_the_end_of_calls(processes: ProcessPoolExecutor, turns: int) -> None:
    """A kill that comes when the call starts, runs or ends: its answer fits, and no other call is hit."""

    def kill() -> None:
        for turn in range(turns):
            victim = processes.submit(time.sleep, turn % 4 * 0.001)
            if turn % 3:
                time.sleep(turn % 5 * 0.0005)
            killed = processes.kill(victim)
            if victim.cancelled():
                assert killed
            else:
                error = victim.exception(LIMIT)
                assert isinstance(error, WorkerLostError) is killed or error is None

    def mind() -> None:
        for turn in range(turns):
            assert processes.submit(abs, -turn).result(LIMIT) == turn

    together(kill, mind)
    assert processes.stats().lost_workers == 0


@turns(100, 4000)
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_shutdowns_race_with_blocked_submitters(kind: str, turns: int) -> None:
    """Whoever is blocked, or is about to be, gets a future that ends or a RuntimeError; nobody sleeps on."""
    if kind == "process":
        turns = turns // 20
    for turn in range(turns):
        pool: Any
        if kind == "thread":
            pool = ThreadPoolExecutor(1, max_pending=1)
        else:
            pool = ProcessPoolExecutor(1, multiprocessing.get_context(METHODS[0]), max_pending=1)

        def submit(pool: Any = pool) -> list[Any]:
            futures: list[Any] = []
            with contextlib.suppress(RuntimeError):  # shut down
                futures.extend(pool.submit(abs, -number) for number in range(20))  # keeps what came before the error
            return futures

        def end(pool: Any = pool, turn: int = turn) -> list[Any]:
            time.sleep(turn % 7 * 0.0002)
            pool.shutdown(wait=turn % 2 == 0, cancel_futures=turn % 3 == 0)
            return []

        for futures in together(submit, submit, end):
            for number, future in enumerate(futures):
                with contextlib.suppress(corefutures.CancelledError):
                    assert future.result(LIMIT) == number
        pool.shutdown()


@turns(300, 10_000)
def test_requests_race_with_the_end_of_calls_in_threads(turns: int) -> None:
    with ThreadPoolExecutor(2) as pool:

        def ask() -> None:
            for _ in range(turns):
                call = pool.submit(corefutures.cancel_requested)
                said = pool.request_cancel(call)
                assert said or call.done()
                assert call.cancelled() or call.result(LIMIT) in (True, False)

        def mind() -> None:
            for _ in range(turns):
                assert pool.submit(corefutures.cancel_requested).result(LIMIT) is False

        together(ask, mind, ask)
    assert threading.active_count() < 50


def test_the_last_call_is_cancelled_before_there_is_anybody_to_be_woken(processes: ProcessPoolExecutor) -> None:
    """A regression: whoever shut down while the first worker was about to be hired waited for ever."""
    pool = processes._cf_pool
    open_it = pool.open_transport

    def shut_down_first() -> None:
        processes.shutdown(wait=False, cancel_futures=True)
        open_it()

    pool.open_transport = shut_down_first  # type: ignore[method-assign]
    assert processes.submit(abs, -1).cancelled()
    together(processes.shutdown)
