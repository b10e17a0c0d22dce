"""The calls that the tests have workers run. Workers import this module, so it imports very little."""

from __future__ import annotations

import os
import signal
import sys
import time
import weakref
from typing import Any

prepared: list[Any] = []
living: weakref.WeakSet[Any] = weakref.WeakSet()


def pid(*_: object) -> int:
    return os.getpid()


def add(one: Any, other: Any) -> Any:
    return one + other


def pass_gate(path: str, value: Any = None) -> Any:
    """Note the arrival with the worker's process id, wait until the gate is open or removed, return `value`."""
    arrived = os.path.join(path, f"{os.getpid()}-{time.monotonic_ns()}")
    with open(arrived, "w"):
        pass
    give_up = time.monotonic() + 25
    while os.path.exists(arrived) and not os.path.exists(os.path.join(path, "open")):
        if time.monotonic() > give_up:
            raise TimeoutError("nobody opened the gate")
        time.sleep(0.005)
    return value


def pass_if(number: int, stops: int, path: str) -> int:
    """Return `number`; the call with the number `stops` waits at the gate first."""
    if number == stops:
        pass_gate(path)
    return number


def note(path: str, number: int) -> int:
    """Append a line to a file."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, b"%d\n" % number)
    os.close(descriptor)
    return number


def note_or_wait(journal: str, number: int, stops: int, path: str) -> int:
    """Note that the call with this number runs; the call with the number `stops` waits at the gate."""
    note(journal, number)
    return pass_if(number, stops, path)


def fail(message: str) -> None:
    raise ValueError(message)


def fail_at_first(path: str) -> int:
    """Fail twice, then return the number of the attempt."""
    note(path, 0)
    attempt = os.path.getsize(path) // 2
    if attempt < 3:
        raise ValueError(f"attempt {attempt}")
    return attempt


def prepare(*values: Any) -> None:
    prepared.append(values)


def what_was_prepared() -> list[Any]:
    return prepared


def die(*_: object) -> None:
    if sys.platform == "win32":
        os._exit(9)
    os.kill(os.getpid(), signal.SIGKILL)


def fail_at_length(length: int) -> None:
    raise ValueError("x" * length)


def handles_ctrl_c() -> Any:
    """Return whether Ctrl-C is not ignored: programs that this process starts would inherit SIG_IGN."""
    return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


class Counter:
    """A callable with a state of its own; all of them are equal when pickled."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, _: object) -> int:
        living.add(self)
        self.calls += 1
        return self.calls


def count_living() -> int:
    return len(living)


class Unpicklable:
    def __reduce__(self) -> Any:
        raise TypeError("not to be pickled")


def make_unpicklable() -> Unpicklable:
    return Unpicklable()


class Unloadable:
    def __reduce__(self) -> Any:
        return fail, ("not to be unpickled",)

    def __call__(self, _: object) -> None:
        """Never called."""
