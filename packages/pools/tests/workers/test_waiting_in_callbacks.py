"""E1, E2: callbacks and finalisers that run in the pool's own threads, and wait for calls of that pool."""

from __future__ import annotations

import os
import sysconfig
import threading
import time
from collections.abc import Callable
from typing import Any

import control_calls
import pytest
from races import LIMIT, Parking

from corefutures import Executor, as_completed, wait

Make = Callable[..., Any]


def _in_callback(pool: Any, use: Callable[[], Any], calls: int = 1) -> list[Any]:
    """Returns what `use` returned, or raised, in a callback of each of so many calls; the pool is usable after that."""
    seen: list[Any] = []
    over = threading.Semaphore(0)

    def callback(_: object) -> None:
        try:
            seen.append(use())
        except Exception as exc:
            seen.append(exc)
        finally:
            over.release()

    gate = pool.submit(control_calls.until_asked)
    Parking.until(gate.running)
    futures = [pool.submit(abs, -number) for number in range(calls)]
    for future in futures:
        future.add_done_callback(callback)
    pool.request_cancel(gate)
    for _ in futures:
        assert over.acquire(timeout=LIMIT)
    assert [future.result(LIMIT) for future in futures] == list(range(calls))
    assert pool.submit(abs, -5).result(LIMIT) == 5
    return seen


def _use_result(pool: Executor) -> Any:
    return pool.submit(abs, -3).result()


def _use_many(pool: Executor) -> Any:
    return [future.result() for future in [pool.submit(abs, number) for number in range(100)]][3]


def _use_large(pool: Executor) -> Any:
    return len(pool.submit(bytes, 3 << 20).result()) >> 20


def _use_wait(pool: Executor) -> Any:
    return len(wait([pool.submit(abs, number) for number in range(3)]).done)


def _use_as_completed(pool: Executor) -> Any:
    return sum(future.result() for future in as_completed([pool.submit(abs, number) for number in range(3)]))


def _use_map(pool: Executor) -> Any:
    return sum(pool.map(abs, range(3)))


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("use", [_use_result, _use_many, _use_large, _use_wait, _use_as_completed, _use_map])
def test_a_callback_waits_for_another_call(make: Make, use: Callable[[Executor], Any], workers: int) -> None:
    pool = make(workers)
    assert _in_callback(pool, lambda: use(pool)) == [3]


def test_callbacks_wait_within_each_other(make: Make) -> None:
    pool = make(1)
    assert _in_callback(pool, lambda: _use_result(pool), calls=60) == [3] * 60


def test_time_limits_of_callbacks_count_though_the_worker_is_busy(make: Make) -> None:
    pool = make(1)
    running: list[Any] = []

    def use() -> None:
        running.append(pool.submit(control_calls.until_asked))
        with pytest.raises(TimeoutError):
            running[0].result(0.05)
        done, left = wait(running, 0.05)
        assert not done and left == {*running}
        pool.request_cancel(running[0])

    assert _in_callback(pool, use) == [None]
    assert running[0].cancelled() or running[0].result(LIMIT) == "stopped"


def test_a_callback_waits_for_a_call_that_loses_its_worker(make: Make) -> None:
    pool = make(1)
    if not hasattr(pool, "kill_workers"):
        pytest.skip("interpreters can't be killed")
    pool = make(1, on_worker_loss="replace")

    def use() -> Any:
        lost = pool.submit(os._exit, 3)
        return type(lost.exception()).__name__, _use_result(pool)

    assert _in_callback(pool, use) == [("WorkerLostError", 3)]


def test_the_worker_leaves_whose_call_the_callback_is_of(make: Make) -> None:
    pool = make(1)
    if not hasattr(pool, "kill_workers"):
        pytest.skip("interpreters are not replaced")
    pool = make(1, max_tasks_per_child=1)
    assert _in_callback(pool, lambda: _use_result(pool), calls=3) == [3] * 3


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="without a GIL, objects are finalised when the threads that made them come by",
)
def test_a_finaliser_of_a_result_waits_for_a_call(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(1)
    pool.submit(int).result(LIMIT)
    seen: list[Any] = []
    over = threading.Event()

    def finalise() -> None:
        try:
            seen.append(_use_result(pool))
        finally:
            over.set()

    monkeypatch.setattr(control_calls.Finalised, "finalise", staticmethod(finalise))
    gate = pool.submit(time.sleep, 0)
    pool.submit(control_calls.Finalised)
    gate.result(LIMIT)
    assert over.wait(LIMIT)
    assert seen == [3]
    assert pool.submit(abs, -5).result(LIMIT) == 5
