"""Loops over what may raise: the end of a map, of an adapted executor, of what was waited for."""

from __future__ import annotations

import concurrent.futures as standard
from typing import Any

import pytest

from corefutures import Future, adapt, wait
from corefutures._results import ResultIterator


class Stop(BaseException):
    """No Exception."""


def _stop(_: object) -> None:
    raise Stop


def _futures() -> list[Future[int]]:
    futures: list[Future[int]] = [Future() for _ in range(5)]
    for future in futures:
        future.add_done_callback(_stop)
    return futures


def test_a_map_that_is_closed_cancels_all() -> None:
    futures = _futures()
    results = ResultIterator(iter(futures), None, None)
    with pytest.raises(Stop):
        results.close()
    assert all(future.cancelled() for future in futures)
    assert list(results) == []


def test_a_map_whose_time_is_up_cancels_all() -> None:
    futures = _futures()
    results = ResultIterator(iter(futures), 0.0, None)
    with pytest.raises(Stop):
        next(results)
    assert all(future.cancelled() for future in futures)


def test_an_adapted_executor_cancels_all_and_ends() -> None:
    inner = standard.ThreadPoolExecutor(1)
    pool = adapt(inner)
    gate = standard.Future[int]()
    first = pool.submit(gate.result)
    while not first.running():
        pass
    futures = [pool.submit(int) for _ in range(5)]
    notified: list[object] = []
    for future in futures:
        future.add_done_callback(_stop)
        future.add_done_callback(notified.append)
    futures[-1].add_done_callback(lambda _: gate.set_result(1))
    with pytest.raises(Stop):
        pool.shutdown(cancel_futures=True)
    assert notified == futures
    assert first.result(0) == 1
    with pytest.raises(RuntimeError):
        inner.submit(int)


def test_an_interrupted_wait_leaves_no_subscription() -> None:
    """A foreign future that can't be taken leave of doesn't keep the waiter with the others."""

    class Foreign(standard.Future[int]):
        broken = False

        @property
        def _condition(self) -> Any:
            if self.broken:
                raise Stop
            return self.__dict__["_condition"]

        @_condition.setter
        def _condition(self, condition: Any) -> None:
            self.__dict__["_condition"] = condition

    class Breaks(Foreign):
        @property
        def _waiters(self) -> Any:
            self.broken = True
            return self.__dict__["_waiters"]

        @_waiters.setter
        def _waiters(self, waiters: Any) -> None:
            self.__dict__["_waiters"] = waiters

    futures: list[Any] = [Future(), Breaks(), Future(), Breaks(), Future()]
    with pytest.raises(Stop):
        wait(futures, 0.01)
    assert not any(future._cf_listeners for future in futures if isinstance(future, Future))
