"""`Executor.map` and its iterator (E9, F6), on an executor that ends its calls when the test says so."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, strategies as st
from races import LIMIT, together

from corefutures import CancelledError, Executor, Future


class Immediate(Executor):
    """Runs each call in submit; keeps an account of what is under way."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []
        self.submitted = 0

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as exc:
            future.set_exception(exc.with_traceback(None))  # which leads to this frame, and to the future
        return future


class Patient(Immediate):
    """Leaves the calls pending."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        self.submitted += 1
        self.futures.append(Future())
        return self.futures[-1]


class Wrong(Exception):
    """What calls raise here."""


def call(item: int) -> int:
    if item < 0:
        raise Wrong(item)
    return item * 2


def drain(results: Iterator[int]) -> list[object]:
    """All results, with the errors at their places."""
    drained: list[object] = []
    while True:
        try:
            drained.append(next(results))
        except StopIteration:
            return drained
        except Wrong as exc:
            drained.append(exc.args)


buffersizes = st.none() | st.integers(1, 12)


@given(items=st.lists(st.integers(-3, 20), max_size=30), buffersize=buffersizes, chunksize=st.integers(1, 5))
def test_results_and_errors_come_in_the_order_of_the_input(
    items: list[int], buffersize: int | None, chunksize: int
) -> None:
    """E9: it goes on after an error of a call."""
    results = Immediate().map(call, items, buffersize=buffersize, chunksize=chunksize)
    expected = [(item,) if item < 0 else item * 2 for item in items]
    assert drain(results) == expected
    assert drain(results) == []


@given(lengths=st.lists(st.integers(0, 8), min_size=0, max_size=4), buffersize=buffersizes)
def test_the_shortest_input_decides(lengths: list[int], buffersize: int | None) -> None:
    def gather(*items: int) -> tuple[int, ...]:
        return items

    inputs = [range(length) for length in lengths]
    assert list(Immediate().map(gather, *inputs, buffersize=buffersize)) == list(zip(*inputs, strict=False))


@given(total=st.integers(0, 40), taken=st.integers(0, 40), buffersize=st.integers(1, 12))
def test_no_more_is_submitted_than_the_buffer_holds(total: int, taken: int, buffersize: int) -> None:
    """E9: what has been submitted and not taken is never more than `buffersize`."""
    executor = Immediate()
    results = executor.map(call, iter(range(total)), buffersize=buffersize)
    for number in range(min(taken, total)):
        assert executor.submitted == min(total, number + buffersize)
        assert next(results) == number * 2
    results.close()
    before = executor.submitted
    assert list(results) == []
    assert executor.submitted == before


def test_an_endless_input_needs_a_buffer_only() -> None:
    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    executor = Immediate()
    results = executor.map(call, endless(), buffersize=3)
    assert [next(results) for _ in range(1000)] == [2 * number for number in range(1000)]
    assert executor.submitted <= 1003


@given(good=st.integers(0, 10), buffersize=st.integers(1, 5))
def test_an_error_of_the_input_comes_where_its_item_would_have(good: int, buffersize: int) -> None:
    """E9: nothing that was submitted before is lost."""

    def broken() -> Iterator[int]:
        yield from range(good)
        raise Wrong("input")

    executor = Immediate()
    try:
        results = executor.map(call, broken(), buffersize=buffersize)
    except Wrong:
        assert good < buffersize
        return
    assert drain(results) == [*(2 * number for number in range(good)), ("input",)]


def test_without_a_buffer_an_error_of_the_input_is_raised_at_once() -> None:
    def broken() -> Iterator[int]:
        yield from range(3)
        raise Wrong("input")

    executor = Patient()
    with pytest.raises(Wrong, match="input"):
        executor.map(call, broken())
    assert [future.cancelled() for future in executor.futures] == [True] * 3


@pytest.mark.parametrize("end", ["close", "drop", "timeout", "interrupt"])
@pytest.mark.parametrize("buffersize", [None, 5])
def test_a_closed_iterator_cancels_the_pending_calls(end: str, buffersize: int | None) -> None:
    """E9: by close(), when the iterator is dropped half-way, when the time is up, when a wait is interrupted."""
    executor = Patient()
    results = executor.map(call, range(10), buffersize=buffersize, timeout=0 if end == "timeout" else None)
    assert executor.submitted == (10 if buffersize is None else 5)
    if end == "close":
        results.close()
        results.close()
    elif end == "drop":
        executor.futures[0].set_result(1)
        assert next(results) == 1
    elif end == "timeout":
        with pytest.raises(TimeoutError):
            next(results)
        assert list(results) == [], "it is exhausted after its time"
    else:
        executor.futures[0].set_exception(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            next(results)
        results.close()
    del results
    gc.collect()
    cancelled = [future.cancelled() for future in executor.futures]
    assert all(cancelled[1:])
    assert cancelled[0] is (end in ("close", "timeout"))


@pytest.mark.parametrize("buffersize", [None, 5])
def test_calls_of_an_untouched_iterator_run(buffersize: int | None) -> None:
    """An iterator that is dropped before its first result: `map` was called for what the calls do."""
    executor = Patient()
    executor.map(call, range(10), buffersize=buffersize)
    gc.collect()
    assert not any(future.cancelled() for future in executor.futures)


@pytest.mark.parametrize("timeout", [None, 60, 0])
def test_a_timeout_of_a_call_is_no_timeout_of_the_iterator(timeout: float | None) -> None:
    """E9: a TimeoutError that a call raised comes at its place, and the iteration goes on."""

    def late(item: int) -> int:
        if item == 1:
            raise TimeoutError("of the call")
        return item

    results = Immediate().map(late, range(3), timeout=timeout)
    assert next(results) == 0
    with pytest.raises(TimeoutError, match="of the call"):
        next(results)
    assert list(results) == [2]


def test_a_result_that_comes_as_the_time_is_up_is_not_lost() -> None:
    """E9: the future ends after the wait has given up, and before anybody looks."""

    class Late(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            if not self.done():
                self.set_result("late")
                raise TimeoutError
            return super().result(timeout)

    class Lazy(Executor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            return Late()

    results = Lazy().map(call, range(2), timeout=60)
    assert list(results) == ["late", "late"]


def test_a_cancelled_call_raises_in_its_place() -> None:
    executor = Patient()
    results = executor.map(call, range(3))
    executor.futures[1].cancel()
    executor.futures[0].set_result(0)
    executor.futures[2].set_result(2)
    assert next(results) == 0
    with pytest.raises(CancelledError):
        next(results)
    assert list(results) == [2]


def test_results_are_not_kept_alive() -> None:
    """F6"""

    class Thing:
        pass

    gc.collect()
    gc.disable()
    try:
        for buffersize in (None, 2):
            results = Immediate().map(lambda _: Thing(), range(3), buffersize=buffersize)
            for _ in range(3):
                reference = weakref.ref(next(results))
                assert reference() is None
    finally:
        gc.enable()


def test_an_error_leaves_no_cycle() -> None:
    """F6"""
    gc.collect()
    gc.disable()
    try:
        for buffersize in (None, 1):
            results = Immediate().map(call, [-1, 1], buffersize=buffersize)
            try:
                next(results)
            except Wrong as exc:
                reference = weakref.ref(exc)
            assert reference() is None
    finally:
        gc.enable()


def test_bad_input() -> None:
    executor = Immediate()
    for buffersize, error in ((0, ValueError), (-1, ValueError), (1.5, TypeError), ("1", TypeError)):
        with pytest.raises(error):
            executor.map(call, [1], buffersize=buffersize)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        executor.map(call, 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        executor.map(call, [1], timeout="1")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        executor.map(call, [1], 2)  # type: ignore[arg-type]
    assert executor.submitted == 0


def test_an_executor_without_submit_says_so() -> None:
    with pytest.raises(NotImplementedError, match="Executor"):
        Executor().submit(int)
    with Executor() as executor:
        executor.shutdown(wait=False, cancel_futures=True)


def test_a_thread_that_waits_for_a_result_wakes() -> None:
    executor = Patient()
    results = executor.map(call, range(2), timeout=LIMIT)

    def end() -> None:
        executor.futures[0].set_result("a")
        executor.futures[1].set_result("b")

    assert together(lambda: list(results), end)[0] == ["a", "b"]
