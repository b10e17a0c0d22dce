"""E1, E2: what a call leaves behind may have finalisers that take long, or that use the pool."""

from __future__ import annotations

import sysconfig
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from races import LIMIT, Parking

from corefutures_thread import ThreadPoolExecutor

pytestmark = pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="without a GIL, objects are finalised when the threads that made them come by",
)


class Finalised:
    def __init__(self, finaliser: Callable[[], object]) -> None:
        self._finaliser = finaliser

    def __call__(self, *_: object) -> None:
        pass

    def __del__(self) -> None:
        self._finaliser()


class Failing(Exception):
    def __init__(self, finalised: Finalised) -> None:
        self.finalised = finalised


def _submit(pool: ThreadPoolExecutor, fn: Callable[..., Any], *args: Any, watch: Any = None) -> None:
    """Submits a call that runs when nobody but its worker has the future: there it ends."""
    gate = threading.Event()
    future = pool.submit(_run, gate, fn, *args)
    del fn, args
    if watch is not None:
        watch(future)
    del future
    gate.set()


def _run(gate: threading.Event, fn: Callable[..., Any], *args: Any) -> Any:
    gate.wait(LIMIT)
    return fn(*args)


def as_result(pool: ThreadPoolExecutor, finaliser: Callable[[], object]) -> None:
    _submit(pool, Finalised, finaliser)


def as_error(pool: ThreadPoolExecutor, finaliser: Callable[[], object]) -> None:
    def fail() -> None:
        raise Failing(Finalised(finaliser))

    _submit(pool, fail)


def as_local_of_an_error(pool: ThreadPoolExecutor, finaliser: Callable[[], object]) -> None:
    def fail() -> None:
        finalised = Finalised(finaliser)
        raise OSError(id(finalised))

    _submit(pool, fail)


def as_argument(pool: ThreadPoolExecutor, finaliser: Callable[[], object]) -> None:
    _submit(pool, id, Finalised(finaliser))


def as_function(pool: ThreadPoolExecutor, finaliser: Callable[[], object]) -> None:
    _submit(pool, Finalised(finaliser))


def as_watched_result(pool: ThreadPoolExecutor, finaliser: Callable[[], object]) -> None:
    _submit(pool, Finalised, finaliser, watch=lambda future: future.add_done_callback(lambda _: None))


def of_the_future(pool: ThreadPoolExecutor, finaliser: Callable[[], object]) -> None:
    _submit(pool, int, watch=lambda future: weakref.finalize(future, finaliser))


WAYS = [as_result, as_error, as_local_of_an_error, as_argument, as_function, as_watched_result, of_the_future]


def _all_idle(pool: ThreadPoolExecutor, workers: int) -> None:
    barrier = threading.Barrier(workers)
    list(pool.map(lambda _: barrier.wait(LIMIT), range(workers)))
    Parking.until(lambda: len(pool._cf_pool.idle) == workers)


@pytest.mark.parametrize("leave", WAYS)
def test_no_call_waits_for_a_finaliser_while_a_worker_is_idle(leave: Callable[..., Any]) -> None:
    began, ends = threading.Event(), threading.Event()

    def finaliser() -> None:
        began.set()
        ends.wait(LIMIT)

    with ThreadPoolExecutor(2) as pool:
        _all_idle(pool, 2)
        leave(pool, finaliser)
        assert began.wait(LIMIT)
        try:
            assert [pool.submit(int).result(LIMIT / 3) for _ in range(10)] == [0] * 10
        finally:
            ends.set()


@pytest.mark.parametrize("leave", WAYS)
def test_another_worker_is_started_while_a_finaliser_runs(leave: Callable[..., Any]) -> None:
    began, ends = threading.Event(), threading.Event()

    def finaliser() -> None:
        began.set()
        ends.wait(LIMIT)

    with ThreadPoolExecutor(2) as pool:
        _all_idle(pool, 1)
        leave(pool, finaliser)
        assert began.wait(LIMIT)
        try:
            assert pool.submit(int).result(LIMIT / 3) == 0
        finally:
            ends.set()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("leave", WAYS)
def test_a_finaliser_may_wait_for_calls_of_the_pool(leave: Callable[..., Any], workers: int) -> None:
    results: list[int] = []
    over = threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        _all_idle(pool, workers)

        def finaliser() -> None:
            try:
                results.extend(future.result(LIMIT / 3) for future in [pool.submit(int, "3") for _ in range(3)])
            finally:
                over.set()

        leave(pool, finaliser)
        assert over.wait(LIMIT)
        assert results == [3, 3, 3]
        assert pool.submit(int).result(LIMIT) == 0


def test_a_worker_whose_future_is_referenced_is_idle_at_once() -> None:
    """A thread that sees a result finds its worker idle: one call after the other needs one thread."""
    with ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            pool.submit(partial(list, "ab")).result(LIMIT)
        assert len(pool._threads) <= 2, "the first may start while the second is submitted"
