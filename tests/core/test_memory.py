"""F6: what a future keeps alive, and that nothing here needs the cycle collector."""

from __future__ import annotations

import gc
import sys
import tracemalloc
import weakref
from collections.abc import Iterator

import pytest

from corefutures import Future, as_completed, wait
from corefutures_pools.future import PoolFuture


@pytest.fixture(autouse=True)
def _without_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Thing:
    def __call__(self, *args: object, **kwargs: object) -> None:
        pass


class Wrong(Exception):
    """Can be referred to weakly."""


@pytest.mark.parametrize("method", ["result", "exception"])
def test_a_raised_error_is_freed_with_its_future(method: str) -> None:
    future: Future[int] = Future()
    future.set_exception(Wrong())
    for _ in range(3):
        try:
            found = getattr(future, method)()
            assert isinstance(found, Wrong)
            del found
        except Wrong:
            pass
    error = weakref.ref(future._exception)  # type: ignore[arg-type]
    del future
    assert error() is None


def test_a_future_needs_no_collector() -> None:
    for kind in (Future, lambda: PoolFuture(print, (), None)):
        future = kind()
        future.add_done_callback(repr)
        assert future._condition is not None
        assert future._waiters == []
        wait([future], timeout=0.0001)
        reference = weakref.ref(future)
        future.set_result(1)
        list(as_completed([future]))
        del future
        assert reference() is None


def test_a_finished_future_keeps_no_callback() -> None:
    future: Future[int] = Future()
    thing = Thing()
    reference = weakref.ref(thing)
    future.add_done_callback(thing)
    del thing
    future.set_result(1)
    assert reference() is None


def test_a_wait_that_timed_out_leaves_no_parked_thread() -> None:
    future: Future[int] = Future()
    for _ in range(100):
        with pytest.raises(TimeoutError):
            future.result(1e-6)
    assert not future._cf_parked
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(2000):
            try:
                future.exception(1e-6)
            except TimeoutError:
                pass
        assert tracemalloc.get_traced_memory()[0] - before < 5000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("end", ["cancel", "abandon"])
def test_a_finished_future_keeps_no_call(end: str) -> None:
    things = [Thing() for _ in range(3)]
    references = [weakref.ref(thing) for thing in things]
    future: PoolFuture[None] = PoolFuture(things[0], (things[1],), {"key": things[2]})
    del things
    if end == "cancel":
        assert future.cancel()
    else:
        assert future._cf_abandon(Wrong())
        assert not future._cf_abandon(Wrong())
        assert future._cf_settle(None, None) is False
    assert [reference() for reference in references] == [None] * 3


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="sizes are CPython's")
def test_a_pending_future_is_small() -> None:
    """A third of the standard library's: made without a condition, a queue and lists."""
    import concurrent.futures as standard

    def size(kind: object) -> float:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            kept = [kind() for _ in range(1000)]  # type: ignore[operator]
            return (tracemalloc.get_traced_memory()[0] - before) / len(kept)
        finally:
            tracemalloc.stop()

    assert size(Future) * 3 < size(standard.Future)
