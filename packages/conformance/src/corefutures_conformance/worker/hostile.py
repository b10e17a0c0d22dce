"""The library of hostile objects: values that fail, exit or crash at a chosen moment of their journey.

The moments are pickling (where the object is sent from) and unpickling (where it arrives). Exceptions that
look harmless until they travel, values whose methods lie, and containers without end are here too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn


class HostileError(Exception):
    """What hostile objects raise; a rule looks for its text in the error that reaches the caller."""


def fail(text: str = "hostile object") -> NoReturn:
    """Raise `HostileError`."""
    raise HostileError(text)


def leave(status: int = 3) -> NoReturn:
    """Raise `SystemExit`."""
    raise SystemExit(status)


def vanish(status: int = 7) -> NoReturn:
    """End the process at once."""
    os._exit(status)


def crash() -> None:
    """Crash the process."""
    if sys.platform == "win32":
        os.abort()
    with contextlib.suppress(ValueError):  # only a main thread may ask for that
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGSEGV)


def _rebuild(act: Callable[[], object], sender: int) -> object:
    act()
    return "rebuilt"


class AtPickling:
    """Acts when it is pickled: `AtPickling(fail)`."""

    def __init__(self, act: Callable[[], object]) -> None:
        """Remember the act: one of this module's functions."""
        self.act = act

    def __reduce__(self) -> Any:
        """Act."""
        self.act()
        return (str, ("harmless after all",))


class AtUnpickling:
    """Pickles well, and acts when it is unpickled: `AtUnpickling(crash)`."""

    def __init__(self, act: Callable[[], object]) -> None:
        """Remember the act: one of this module's functions."""
        self.act = act

    def __reduce__(self) -> Any:
        """Put the act into the pickle."""
        return (_rebuild, (self.act, os.getpid()))


def make_at_pickling(act: Callable[[], object]) -> AtPickling:
    """Return, from a worker, an object that acts when it is pickled on its way back."""
    return AtPickling(act)


def make_at_unpickling(act: Callable[[], object]) -> AtUnpickling:
    """Return, from a worker, an object that acts when the caller's side unpickles it."""
    return AtUnpickling(act)


def raise_at_unpickling(act: Callable[[], object]) -> NoReturn:
    """Raise, in a worker, an exception that carries an object acting at unpickling."""
    raise HostileError("carries a hostile object", AtUnpickling(act))


def raise_at_pickling(act: Callable[[], object]) -> NoReturn:
    """Raise, in a worker, an exception that carries an object acting at pickling."""
    raise HostileError("carries a hostile object", AtPickling(act))


class ClumsyError(Exception):
    """Pickles, but does not unpickle: `__init__` wants two arguments, `args` has one (as in many libraries)."""

    def __init__(self, code: int, text: str) -> None:
        """Keep both, and hand only the text to `Exception`."""
        super().__init__(f"{text} (code {code})")
        self.code = code


def raise_clumsy(code: int, text: str) -> NoReturn:
    """Raise a `ClumsyError`."""
    raise ClumsyError(code, text)


class FalsyError(Exception):
    """An exception that is false in a boolean context."""

    def __bool__(self) -> bool:
        """Say no."""
        return False


class EmptyError(Exception):
    """An exception of length zero."""

    def __len__(self) -> int:
        """Say zero."""
        return 0


class EqualToAllError(Exception):
    """An exception that claims to equal everything, and so has no hash."""

    __hash__ = Exception.__hash__

    def __eq__(self, other: object) -> bool:
        """Say yes."""
        return True


class NoReprError(Exception):
    """An exception whose repr and str raise."""

    def __repr__(self) -> str:
        """Fail."""
        fail("no repr")

    __str__ = __repr__


def raise_falsy() -> NoReturn:
    """Raise a `FalsyError`."""
    raise FalsyError("falsy")


def raise_empty() -> NoReturn:
    """Raise an `EmptyError`."""
    raise EmptyError("empty")


class Uncomparable:
    """A value whose `__eq__`, `__hash__`, `__bool__` and `__repr__` all raise; it pickles well."""

    def __eq__(self, other: object) -> bool:
        """Fail."""
        fail("no equality")

    def __hash__(self) -> int:
        """Fail."""
        fail("no hash")

    def __bool__(self) -> bool:
        """Fail."""
        fail("no truth")

    def __repr__(self) -> str:
        """Fail."""
        fail("no repr")


class FalsyCallable:
    """A callable that is false in a boolean context; returns its argument."""

    def __bool__(self) -> bool:
        """Say no."""
        return False

    def __call__(self, value: Any) -> Any:
        """Return the argument."""
        return value


class Word(str):
    """A kind of str."""

    __slots__ = ()


class Point(NamedTuple):
    """A kind of tuple."""

    x: int
    y: int


class Adder:
    """A callable object with state, and methods of every kind, to submit."""

    def __init__(self, base: int) -> None:
        """Remember what to add to."""
        self.base = base

    def __call__(self, number: int) -> int:
        """Add."""
        return self.base + number

    def add(self, number: int) -> int:
        """Add."""
        return self.base + number

    @classmethod
    def name(cls) -> str:
        """Return the class's own name."""
        return cls.__name__

    @staticmethod
    def double(number: int) -> int:
        """Twice the argument."""
        return 2 * number


def cyclic() -> list[Any]:
    """Return a list that contains itself."""
    value: list[Any] = [1]
    value.append(value)
    return value


def endless(start: int = 0) -> Iterator[int]:
    """Count for ever."""
    while True:
        yield start
        start += 1


class Lingering:
    """An object whose finaliser waits at a gate."""

    def __init__(self, gate: Any) -> None:
        """Wait at `gate`, in the end."""
        self.gate = gate

    def __del__(self) -> None:
        """Wait at the gate."""
        self.gate.enter()
