"""Threads for tests: all start at once, all are joined within a time limit, no exception is lost."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

#: Seconds after which something hangs. No test waits that long when it passes.
LIMIT = 30.0


def together(*functions: Callable[[], Any]) -> list[Any]:
    """Calls each function in a thread of its own, all at the same moment; returns what they returned."""
    start = threading.Barrier(len(functions))
    results: list[Any] = [None] * len(functions)
    errors: list[BaseException] = []

    def run(index: int, function: Callable[[], Any]) -> None:
        try:
            start.wait(LIMIT)
            results[index] = function()
        except BaseException as exc:
            errors.append(exc)

    threads = [
        threading.Thread(target=run, args=(index, function), daemon=True) for index, function in enumerate(functions)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
        assert not thread.is_alive(), "one of the threads hangs"
    if errors:
        raise errors[0]
    return results


def elsewhere(function: Callable[[], Any]) -> Any:
    """Calls `function` in another thread and returns what it returned."""
    return together(function)[0]


@contextmanager
def frequent_switches() -> Iterator[None]:
    """Has the interpreter change threads as often as it can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


class Parking:
    """Lets a test know that a thread has parked.

    Parked threads block in the kernel, where their state can't be read: a test sees that they have entered themselves
    where the thread that unparks them looks.
    """

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        """Returns once `condition` is true; fails if that takes too long."""
        pause = threading.Event()
        for _ in range(int(LIMIT * 1000)):
            if condition():
                return
            pause.wait(0.001)
        raise AssertionError("what was waited for did not happen")
