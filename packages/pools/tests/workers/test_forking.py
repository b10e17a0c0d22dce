"""E11: a child comes out of `fork` whatever other threads of its parent were doing, and no inherited future waits."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from races import LIMIT, Parking, frequent_switches
from subprocesses import in_fork

from corefutures import BrokenExecutor, wait
from corefutures_pools.workers.future import CallFuture

Make = Callable[..., Any]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture(autouse=True)
def _forking_with_threads_is_what_is_tested() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield


@pytest.fixture
def make(request: pytest.FixtureRequest, make: Make) -> Make:
    if "interpreter" in request.node.name:
        pytest.skip("CPython ends children that are forked beside other interpreters")
    return make


class Elsewhere:
    """Runs a function in another thread, which stays where it calls what it gets until the block ends."""

    def __init__(self, function: Callable[[Callable[[], Any]], Any]) -> None:
        self._reached, self._go_on = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=function, args=(self._stay,), daemon=True)

    def _stay(self) -> None:
        self._reached.set()
        self._go_on.wait(LIMIT)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._reached.wait(LIMIT)

    def __exit__(self, *_: object) -> None:
        self._go_on.set()
        self._thread.join(LIMIT)


def _all_end(*futures: Any) -> Callable[[], None]:
    def child() -> None:
        assert wait(futures, LIMIT / 3).not_done == set()
        for future in futures:
            future.cancel()
            assert future.cancelled() or isinstance(future.exception(0), BrokenExecutor)

    return child


@pytest.mark.parametrize(
    "which",
    [
        lambda pool, future: future._cf_lock,
        lambda pool, future: future._condition,
        lambda pool, future: pool._cf_pool.lock,
        lambda pool, future: getattr(getattr(pool._cf_pool, "queue", None), "_lock", pool._cf_pool.lock),
    ],
    ids=["of a future", "of a future's condition", "of the pool", "of the task queue"],
)
def test_a_lock_that_another_thread_has_stops_no_child(make: Make, which: Callable[..., Any]) -> None:
    pool = make(1)
    futures = [pool.submit(time.sleep, 0.2), pool.submit(int)]
    lock = which(pool, futures[1])

    def hold(stay: Callable[[], Any]) -> None:
        with lock:
            stay()

    with Elsewhere(hold):
        in_fork(_all_end(*futures))
    assert [future.result(LIMIT) for future in futures] == [None, 0]


def test_a_call_that_is_about_to_end_ends_in_the_child(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has left the table of calls, and its future has no result yet."""
    pool = make(1)
    pool.submit(int).result(LIMIT)
    settle = CallFuture._cf_settle
    reached, go_on = threading.Event(), threading.Event()

    def stay(future: CallFuture[Any], *outcome: Any) -> bool:
        reached.set()
        go_on.wait(LIMIT)
        return settle(future, *outcome)

    monkeypatch.setattr(CallFuture, "_cf_settle", stay)
    future = pool.submit(abs, -3)
    future.add_done_callback(lambda _: None)  # so that none of our own threads reads
    waiting = threading.Thread(target=lambda: wait([future], LIMIT))
    waiting.start()
    assert reached.wait(LIMIT)

    monkeypatch.setattr(CallFuture, "_cf_settle", settle)
    try:
        in_fork(_all_end(future))
    finally:
        go_on.set()
    waiting.join(LIMIT)
    assert future.result(LIMIT) == 3


def test_calls_that_are_being_cancelled_are_told_of_in_the_child(make: Make) -> None:
    """Another thread cancels them all, and is in a callback of the first."""
    pool = make(1)
    running = pool.submit(time.sleep, 1.5)
    Parking.until(running.running)
    futures = [pool.submit(int) for _ in range(20)]

    def cancel(stay: Callable[[], Any]) -> None:
        for future in futures:
            future.add_done_callback(lambda _: stay())
        pool.shutdown(wait=False, cancel_futures=True)

    with Elsewhere(cancel):
        in_fork(_all_end(*futures))
    assert all(future.cancelled() for future in futures)


def test_calls_that_fail_with_their_pool_fail_in_the_child(make: Make) -> None:
    """Another thread fails them all, and is in a callback of the first."""
    pool = make(1)
    futures = [pool.submit(time.sleep, 1.5), *[pool.submit(int) for _ in range(20)]]

    def mark_broken(stay: Callable[[], Any]) -> None:
        for future in futures:
            future.add_done_callback(lambda _: stay())
        pool._cf_pool.mark_broken("on purpose", None)

    with Elsewhere(mark_broken):
        in_fork(_all_end(*futures))
    assert all(isinstance(future.exception(LIMIT), BrokenExecutor) for future in futures)


def test_forks_at_random_moments_leave_no_future_pending(make: Make) -> None:
    """While calls are submitted, run, waited for and cancelled, and the pool is looked into."""
    with frequent_switches():
        pool = make(2)
        known: deque[Any] = deque(maxlen=100)
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                futures = [pool.submit(abs, -1) for _ in range(50)]
                known.extend(futures)
                for future in futures[::3]:
                    future.cancel()
                wait(futures, LIMIT)
                pool.stats()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(30):
                futures = list(known)

                def child(futures: list[Any] = futures) -> None:
                    assert wait(futures, LIMIT / 3).not_done == set()

                in_fork(child)
        finally:
            stop.set()
            for thread in threads:
                thread.join(LIMIT)
