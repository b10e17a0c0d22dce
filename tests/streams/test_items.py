"""The items of a stream: in order, all of them, and at most `buffer` ahead; then the value or the exception."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
import stream_calls
from races import LIMIT, Parking

import corefutures


def test_items_come_in_order_and_then_the_value(pool: Any) -> None:
    def delegate() -> Generator[int, None, Any]:
        value = yield from stream
        return value

    stream = pool.stream(stream_calls.numbers, 1000, buffer=7)
    taken: list[int] = []
    value = None
    generator = delegate()
    while True:
        try:
            taken.append(next(generator))
        except StopIteration as end:
            value = end.value
            break
    assert taken == list(range(1000))
    assert value == "the value"
    assert stream.future.result(LIMIT) == "the value"
    assert list(stream) == []
    assert next(stream, "no more") == "no more"


@pytest.mark.parametrize("buffer", [1, 2, 3, 100])
def test_any_size_of_the_buffer(pool: Any, buffer: int) -> None:
    assert list(pool.stream(stream_calls.numbers, 250, buffer=buffer)) == list(range(250))
    assert list(pool.stream(stream_calls.numbers, 0, buffer=buffer)) == []


def test_items_of_all_kinds(pool: Any) -> None:
    assert list(pool.stream(stream_calls.objects, 3)) == [{"number": n, "items": [n] * 3} for n in range(3)]
    assert list(pool.stream(stream_calls.large, 4, 3_000_000)) == [bytes([n]) * 3_000_000 for n in range(4)]
    assert list(pool.stream(stream_calls.large, 20, 100_000, buffer=2)) == [bytes([n]) * 100_000 for n in range(20)]
    assert list(pool.stream(stream_calls.options, end=1, fn=2, self=3)) == [("end", 1), ("fn", 2), ("self", 3)]
    assert list(pool.stream(sorted, [3, 1, 2])) == [1, 2, 3]
    assert list(pool.stream(stream_calls.echo, [b"x" * 3_000_000])) == [b"x" * 3_000_000]


def test_the_generator_is_at_most_so_many_items_ahead(pool: Any, tmp_path: Path) -> None:
    with pool.stream(stream_calls.numbers, 10**9, str(tmp_path), buffer=5) as stream:
        Parking.until(lambda: len(stream_calls.noted(tmp_path)) >= 5)
        assert pool.submit(abs, -1).result(LIMIT) == 1
        assert stream_calls.noted(tmp_path) == set("01234")
        for taken in range(1, 30):
            assert next(stream) == taken - 1
            assert len(stream_calls.noted(tmp_path)) <= taken + 5
        Parking.until(lambda: len(stream_calls.noted(tmp_path)) >= 31)  # it goes on by itself
    assert "closed" in stream_calls.noted(tmp_path)


def test_an_item_does_not_wait_for_the_next_one(pool: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with pool.stream(stream_calls.stuck, str(gate)) as stream:
        assert next(stream) == 0
        gate.touch()
        assert list(stream) == [1]


def test_the_exception_comes_after_the_items(pool: Any) -> None:
    stream = pool.stream(stream_calls.failing, 150, KeyError("the error"))
    taken = []
    with pytest.raises(KeyError, match="the error") as caught:
        taken.extend(stream)
    for item in stream:
        pytest.fail(f"{item} after the exception")
    del taken
    assert caught.value.__context__ is None
    assert isinstance(stream.future.exception(LIMIT), KeyError)


def test_all_items_come_before_the_exception(pool: Any) -> None:
    stream = pool.stream(stream_calls.failing, 250, KeyError(), buffer=9)
    taken = [next(stream) for _ in range(250)]
    with pytest.raises(KeyError):
        next(stream)
    assert taken == list(range(250))


def test_what_is_no_generator_function(pool: Any) -> None:
    with pytest.raises(TypeError, match="iterable"):
        next(pool.stream(abs, -1))
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(pool.stream(stream_calls.raise_stop))


def test_wrong_arguments(pool: Any) -> None:
    with pytest.raises(TypeError, match="stream"):
        pool.stream(1)
    with pytest.raises(ValueError, match="buffer"):
        pool.stream(stream_calls.numbers, 1, buffer=0)
    with pytest.raises(TypeError, match="buffer"):
        pool.stream(stream_calls.numbers, 1, buffer="many")


def test_items_that_can_not_travel(pool: Any, tmp_path: Path) -> None:
    if "Thread" in type(pool).__name__:
        pytest.skip("nothing travels to a thread")
    stream = pool.stream(stream_calls.unpicklable, 3)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(Exception, match="lock"):
        next(stream)
    stream = pool.stream(stream_calls.poisoned, str(tmp_path))
    assert next(stream) == 0
    with pytest.raises((ValueError, TypeError), match="unpickled"):  # of interpreters a NotShareableError
        next(stream)
    assert list(stream) == []
    with pytest.raises(corefutures.CancelledError):
        stream.future.result(LIMIT)
    assert "closed" in stream_calls.noted(tmp_path)
    unsent = pool.stream(stream_calls.echo, threading.Lock())
    with pytest.raises(Exception, match="lock"):
        list(unsent)


def test_views_and_names(pool: Any) -> None:
    stream = pool.options(name="the name").stream(stream_calls.numbers, 3)
    assert "the name" in repr(stream)
    assert list(stream) == [0, 1, 2]


def test_several_threads_take_from_one_stream(pool: Any) -> None:
    stream, taken = pool.stream(stream_calls.numbers, 3000, buffer=10), []

    def take() -> None:
        taken.extend(list(stream))

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert sorted(taken) == list(range(3000))


def test_two_streams_at_once_and_calls_between(make: Any) -> None:
    pool = make(3)
    first = pool.stream(stream_calls.numbers, 500, buffer=3)
    second = pool.stream(stream_calls.objects, 500, buffer=4)
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        assert one == other["number"] == number
        if number % 100 == 0:
            assert pool.submit(abs, -number).result(LIMIT) == number


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_generator_that_forks(make_processes: Any) -> None:
    pool = make_processes(1)
    assert list(pool.stream(stream_calls.forking, 20)) == list(range(20))
    assert pool.submit(abs, -1).result(LIMIT) == 1


def test_a_stream_that_no_more_calls_may_wait_for(make: Any) -> None:
    pool = make(1, max_pending=1, when_full="caller_runs")
    with pool.stream(stream_calls.numbers, 10**9, buffer=1) as blocking:
        next(blocking)
        waiting = pool.submit(abs, -1)
        stream = pool.stream(stream_calls.numbers, 200, buffer=1)  # runs here, step by step
        assert list(stream) == list(range(200))
        assert stream.future.result(LIMIT) == "the value"
        failing = pool.stream(stream_calls.failing, 2, KeyError())
        with pytest.raises(KeyError):
            list(failing)
        with pool.stream(stream_calls.numbers, 10**9) as left:
            assert next(left) == 0
        assert isinstance(left.future.exception(LIMIT), corefutures.CancelledError)
    assert waiting.result(LIMIT) == 1


def test_an_iterator_of_a_typed_function(pool: Any) -> None:
    stream: Iterator[int] = pool.stream(range, 3)
    assert iter(stream) is stream
    assert list(stream) == [0, 1, 2]
