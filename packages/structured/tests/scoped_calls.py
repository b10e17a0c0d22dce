"""Calls for the tests of scopes: importable in any worker."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

#: Events and the like of this process, for threads: name → object.
shared: dict[str, threading.Event] = {}


def echo(item: object = None, **kwargs: object) -> object:
    return kwargs or item


def fail(text: str = "no") -> None:
    raise ValueError(text)


def leave() -> None:
    raise SystemExit(3)


def until_asked(started: str | None = None) -> str:
    """Runs until it is asked to stop, or is killed; says that it has begun by making a file."""
    import corefutures

    if started is not None:
        Path(started).touch()
    while not corefutures.cancel_requested():
        time.sleep(0.002)
    return "asked"


def until_scope_asks(started: str) -> None:
    """Runs until the scope around it is stopped, which asks its calls to stop."""
    until_asked(started)


def until_file(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.002)


def journal(path: str, number: int, seconds: float) -> int:
    """Writes a line now and then, each with the time: nothing may be written after the block has ended."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with open(path, "a") as file:
            file.write(f"{number} {time.monotonic()}\n")
        time.sleep(0.002)
    return number


def left() -> float | None:
    from corefutures_structured import time_left

    return time_left()


def nested_left(seconds: float) -> tuple[float | None, float | None]:
    """Returns the time left outside and inside a scope that the call opens itself."""
    import corefutures
    from corefutures_structured import scope, time_left

    with corefutures.create_executor("thread", max_workers=1) as pool, scope(pool, deadline=seconds) as inner:
        inside = inner.submit(left)
    return time_left(), inside.result()


def nested_until_asked(started: str) -> list[str]:
    """Opens a scope that goes on until this call is asked to stop; returns the errors of the scope."""
    import corefutures
    from corefutures_structured import scope

    errors: list[str] = []
    with corefutures.create_executor("thread", max_workers=1) as pool:
        try:
            with scope(pool) as s:
                s.submit(until_scope_asks, started)
        except* corefutures.CancelledError as group:
            errors += [type(error).__name__ for error in group.exceptions]
    return errors


def endless() -> Iterator[int]:
    number = 0
    while True:
        yield number
        number += 1


def flaky(path: str, failures: int) -> int:
    """Fails so many times, counting in a file, so that it may run anywhere; returns the number of the attempt."""
    with open(path, "a+") as file:
        file.seek(0)
        attempt = len(file.read()) + 1
        file.write("x")
    if attempt <= failures:
        raise OSError(f"attempt {attempt}")
    return attempt


def dies_at_first(path: str) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        os._exit(1)
    return "alive"


def slow_at_first(path: str) -> str:
    if not os.path.exists(path):
        Path(path).touch()
        time.sleep(60)
    return "fast"


def until_exists(path: Path) -> None:
    """Returns once a file is there; the test's time limit ends it otherwise."""
    while not path.exists():
        time.sleep(0.002)


# ── for the chaos ────────────────────────────────────────────────────────────────────────────────────────


def write_line(path: str, line: str) -> None:
    """Appends a line in one step, from any thread, process and interpreter."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def chaotic(path: str, block: str, kind: str) -> str:
    """Writes lines of its block into the journal, and ends as it is told to: "ok", "fail", "die" or "slow"."""
    import corefutures

    write_line(path, block)
    if kind == "die":
        os._exit(1)
    if kind == "fail":
        raise ValueError(block)
    for _ in range(50 if kind == "slow" else 1):
        if corefutures.cancel_requested():
            return "asked"
        time.sleep(0.0002)
        write_line(path, block)
    return kind
