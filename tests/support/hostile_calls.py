"""Exceptions, results and arguments whose own methods raise, and functions for workers that make them."""

from __future__ import annotations

import signal
import sys
import threading
from typing import Any, Never


class Stop(BaseException):
    """No Exception."""


class Opaque(Exception):
    """Has no attribute that can be read."""

    def __getattribute__(self, name: str) -> Never:
        raise Stop(name)


class OwnTraceback(Exception):
    """Has made other things of what exceptions have."""

    @property
    def __traceback__(self) -> Any:  # type: ignore[override]
        raise Stop

    @property
    def __cause__(self) -> Any:  # type: ignore[override]
        raise Stop

    def with_traceback(self, _: object) -> Any:
        return None

    def add_note(self, _: object) -> Never:
        raise Stop


class OwnNotes(Exception):
    """Does not say what notes it has."""

    @property
    def __notes__(self) -> Any:  # type: ignore[override]
        raise Stop


class OwnClass(Exception):
    """Does not say of which class it is."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise Stop


class OwnClassAndNoException(BaseException):
    """Neither is it an Exception."""

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        raise Stop


class _Unnamed(type):
    @property
    def __name__(cls) -> Any:  # type: ignore[override]
        raise Stop


class Unnamed(Exception, metaclass=_Unnamed):
    """Its class has no name."""


KINDS: list[type[BaseException]] = [Opaque, OwnTraceback, OwnNotes, OwnClass, OwnClassAndNoException, Unnamed]


def fail(kind: int) -> Never:
    raise KINDS[kind]("what happened")


class FailsAtUnpickling:
    def __init__(self, kind: int) -> None:
        self._kind = kind

    def __reduce__(self) -> Any:
        return fail, (self._kind,)


class FailsAtPickling:
    def __init__(self, kind: int) -> None:
        self._kind = kind

    def __reduce__(self) -> Never:
        fail(self._kind)


class Unspeakable:
    """Can't be pickled, nor shown."""

    def __init__(self, error: type[BaseException]) -> None:
        self._error = error
        self._lock = threading.Lock()

    def __repr__(self) -> Never:
        raise self._error


def fail_at(number: int, which: int, kind: int) -> int:
    if number == which:
        fail(kind)
    return number


class LargeFailsAtUnpickling(FailsAtUnpickling):
    def __reduce__(self) -> Any:
        return fail_after, (self._kind, bytes(100_000))


def fail_after(kind: int, _: bytes) -> Never:
    fail(kind)


def make(kind: type[Any], *args: Any) -> Any:
    return kind(*args)


class AlarmsOnce:
    """At its first unpickling in the main thread of the process that made it, a signal comes."""

    def __init__(self, process: int) -> None:
        self._process = process

    def __reduce__(self) -> Any:
        return alarm_once, (self._process,)


alarms: list[int] = []


def alarm_once(process: int) -> str:
    import os

    if os.getpid() == process and not alarms and threading.current_thread() is threading.main_thread():
        alarms.append(1)
        if sys.platform != "win32":
            signal.raise_signal(signal.SIGALRM)
    return "arrived"
