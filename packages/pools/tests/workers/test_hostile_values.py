"""E4, E8: whatever exceptions, results and arguments raise when we look at them, only their call fails."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

import hostile_calls
import pytest
from races import LIMIT

import corefutures

Make = Callable[..., Any]
EACH = pytest.mark.parametrize(
    "kind", range(len(hostile_calls.KINDS)), ids=[type.__repr__(k) for k in hostile_calls.KINDS]
)
STOPS = pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, hostile_calls.Stop])


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What can't be shown is logged in vain, and must not be shown by pytest either."""
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def failed(future: Any) -> type[BaseException]:
    """Returns the class of what a call failed with, or of what was raised instead of that."""
    try:
        return type(future.exception(LIMIT))
    except BaseException as exc:
        return type(exc)


def check_goes_on(pool: Any) -> None:
    futures = [pool.submit(abs, -number) for number in range(10)]
    assert [future.result(LIMIT) for future in futures] == list(range(10))
    stats = pool.stats()
    assert stats.lost_workers == 0
    assert stats.submitted == stats.finished + stats.failed


@EACH
def test_an_exception_that_can_not_be_looked_at(make: Make, kind: int) -> None:
    pool = make(1)
    alone = pool.submit(hostile_calls.fail, kind)
    assert failed(alone) not in (type(None), hostile_calls.Stop)
    assert failed(alone) not in (MemoryError, corefutures.TimeoutError)
    among = [pool.submit(hostile_calls.fail, kind) for _ in range(3)]
    assert {type.__repr__(failed(future)) for future in among} == {type.__repr__(failed(alone))}
    check_goes_on(pool)


@EACH
def test_a_result_that_raises_one_at_unpickling(make: Make, kind: int) -> None:
    pool = make(1)
    futures = [pool.submit(hostile_calls.make, hostile_calls.FailsAtUnpickling, kind) for _ in range(3)]
    futures += [pool.submit(hostile_calls.make, hostile_calls.LargeFailsAtUnpickling, kind) for _ in range(3)]
    corefutures.wait(futures, timeout=LIMIT)
    for future in futures:
        assert repr(future).startswith("<")
        assert failed(future) not in (type(None), hostile_calls.Stop, corefutures.TimeoutError)
    alone = pool.submit(hostile_calls.make, hostile_calls.FailsAtUnpickling, kind)
    assert failed(alone) not in (type(None), hostile_calls.Stop, corefutures.TimeoutError)
    check_goes_on(pool)


@EACH
def test_a_result_or_argument_that_raises_one_at_pickling(make: Make, kind: int) -> None:
    pool = make(1)
    for future in (
        pool.submit(hostile_calls.make, hostile_calls.FailsAtPickling, kind),
        pool.submit(abs, hostile_calls.FailsAtPickling(kind)),
    ):
        assert failed(future) not in (corefutures.TimeoutError, type(None))
    check_goes_on(pool)


@EACH
def test_a_map_goes_on_after_one(make: Make, kind: int) -> None:
    pool = make(1)
    for chunksize in (1, 2):
        results = pool.map(hostile_calls.fail_at, range(6), [2] * 6, [kind] * 6, chunksize=chunksize, timeout=LIMIT)
        seen: list[Any] = []
        while True:
            try:
                seen.append(next(results))
            except StopIteration:
                break
            except BaseException as exc:
                seen.append(type(exc))
        assert len(seen) == 6
        if chunksize == 1:  # or else the exception is pickled as a part of the results, and that may fail as well
            assert hostile_calls.Stop not in seen
        assert [*seen[:2], *seen[4:]] == [0, 1, 4, 5]
    check_goes_on(pool)


@EACH
def test_a_callback_that_raises_one(make: Make, kind: int) -> None:
    pool = make(1)
    future = pool.submit(abs, -1)
    future.add_done_callback(lambda _: hostile_calls.fail(kind))
    assert future.result(LIMIT) == 1
    with contextlib.suppress(hostile_calls.OwnClassAndNoException):  # raised in a caller's own thread (F4)
        future.add_done_callback(lambda _: hostile_calls.fail(kind))
    check_goes_on(pool)


@STOPS
def test_an_unpicklable_result_that_can_not_be_shown(make: Make, error: type[BaseException]) -> None:
    pool = make(1)
    futures = [pool.submit(hostile_calls.make, hostile_calls.Unspeakable, error) for _ in range(3)]
    assert {failed(future) for future in futures}.isdisjoint((type(None), error, corefutures.TimeoutError))
    check_goes_on(pool)


@STOPS
def test_an_unpicklable_argument_that_can_not_be_shown(make: Make, error: type[BaseException]) -> None:
    pool = make(1)
    assert failed(pool.submit(abs, hostile_calls.Unspeakable(error))) not in (
        type(None),
        error,
        corefutures.TimeoutError,
    )
    check_goes_on(pool)


@STOPS
def test_an_argument_whose_pickling_raises_what_is_no_exception(make: Make, error: type[BaseException]) -> None:
    class Raises:
        def __reduce__(self) -> Any:
            raise error

    pool = make(1)
    future = pool.submit(abs, Raises())
    with pytest.raises(error):
        future.result(LIMIT)
    check_goes_on(pool)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Windows has no alarms")
def test_a_handler_that_raises_while_an_argument_is_pickled(make: Make) -> None:
    class Raised(BaseException):
        """What the handler raises."""

    def raise_it(*_: object) -> None:
        raise Raised

    class Alarms:
        def __init__(self) -> None:
            self.times = 0

        def __reduce__(self) -> Any:
            self.times += 1
            if self.times == 1 and sys.platform != "win32":
                signal.raise_signal(signal.SIGALRM)
            return int, ()

    pool = make(1, max_pending=1)
    before = signal.signal(signal.SIGALRM, raise_it)  # type: ignore[attr-defined, unused-ignore]
    try:
        with pytest.raises(Raised):
            pool.submit(abs, Alarms())
    finally:
        signal.signal(signal.SIGALRM, before)  # type: ignore[attr-defined, unused-ignore]
    check_goes_on(pool)


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="Windows has no alarms")
def test_a_handler_that_raises_while_a_result_is_unpickled(make: Make) -> None:
    def raise_it(*_: object) -> None:
        raise ConnectionResetError

    pool = make(1)
    assert pool.submit(abs, -1).result(LIMIT) == 1
    hostile_calls.alarms.clear()
    before = signal.signal(signal.SIGALRM, raise_it)  # type: ignore[attr-defined, unused-ignore]
    try:
        future = pool.submit(hostile_calls.make, hostile_calls.AlarmsOnce, os.getpid())
        with contextlib.suppress(Exception):  # raised there, if it came there, and no part of the outcome
            future.result(LIMIT)
    finally:
        signal.signal(signal.SIGALRM, before)  # type: ignore[attr-defined, unused-ignore]
    assert future.result(LIMIT) == "arrived"
    check_goes_on(pool)
