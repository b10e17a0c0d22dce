"""Generators that tests run in workers; imported by worker processes and interpreters, so nothing of the tests."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import corefutures

#: Seconds after which a generator gives up. No test that passes waits so long.
LIMIT = 30.0


def numbers(end: int, folder: str | None = None) -> Iterator[int]:
    """Yields 0, 1, …; notes each number before it is yielded, and that the generator was closed."""
    try:
        for number in range(end):
            if folder is not None:
                Path(folder, str(number)).touch()
            yield number
        return "the value"  # type: ignore[return-value]
    finally:
        if folder is not None:
            Path(folder, "closed").touch()


def noted(folder: Any) -> set[str]:
    return set(os.listdir(folder))


def failing(end: int, error: BaseException) -> Iterator[int]:
    yield from range(end)
    raise error


def failing_when_closed(folder: str) -> Iterator[int]:
    try:
        while True:
            yield 1
    finally:
        Path(folder, "closed").touch()
        raise ValueError("while it was closed")


def objects(end: int) -> Iterator[Any]:
    for number in range(end):
        yield {"number": number, "items": [number] * 3}


def large(end: int, size: int) -> Iterator[bytes]:
    for number in range(end):
        yield bytes([number]) * size


def unpicklable(end: int) -> Iterator[Any]:
    yield from range(end)
    yield threading.Lock()


class Poison:
    """Can't be unpickled."""

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    raise ValueError("an item that can't be unpickled")


def poisoned(folder: str) -> Iterator[Any]:
    try:
        yield 0
        yield Poison()
        while True:
            yield 1
    finally:
        Path(folder, "closed").touch()


def dying(end: int) -> Iterator[int]:
    """Yields, and has its worker killed."""
    yield from range(end)
    os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(LIMIT)


def exiting(end: int) -> Iterator[int]:
    yield from range(end)
    os._exit(3)


def stuck(gate: str) -> Iterator[int]:
    """Yields one item, and the next one once there is a file."""
    try:
        yield 0
        Path(gate + "-waits").touch()
        deadline = time.monotonic() + LIMIT
        while not os.path.exists(gate):
            if time.monotonic() > deadline:
                return
            time.sleep(0.001)
        yield 1
    finally:
        Path(gate + "-closed").touch()


def until_asked(folder: str) -> Iterator[str]:
    """Yields one item, and ends by itself once the call was asked to stop."""
    yield "begun"
    Path(folder, "goes on").touch()
    deadline = time.monotonic() + LIMIT
    while not corefutures.cancel_requested():
        if time.monotonic() > deadline:
            return
        time.sleep(0.001)
    return "was asked"  # type: ignore[return-value]


def raise_stop() -> Any:
    raise StopIteration(1)


def forking(end: int) -> Iterator[int]:
    """Forks in the middle; the child goes on as well, which must not be seen."""
    for number in range(end):
        if number == 3 and os.fork() == 0:
            pass
        yield number


def echo(item: Any) -> Any:
    return item


def options(**kwargs: Any) -> Iterator[Any]:
    yield from sorted(kwargs.items())


def total(pool: Any, end: int) -> int:
    """Takes a stream in a call of the same pool."""
    return sum(pool.stream(numbers, end, buffer=2))
