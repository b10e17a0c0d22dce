"""Deadlines of scopes: how much time is left, and how a deadline travels with a call into a worker.

Imports nothing of `corefutures`, because workers import this module. Guarantees: a call sees the earliest deadline of
all scopes around it, in threads, processes, interpreters and on other machines.
"""

from __future__ import annotations

import os
from contextvars import ContextVar

from corefutures.backend import clock

TYPE_CHECKING = False  # `typing` is much of the import time of a worker; type checkers know the name

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol
else:
    Protocol = object

#: Seconds. Two clocks whose offsets to `time.time` differ by less belong to one machine that has not been restarted.
_SAME_CLOCK = 1.0


class Surroundings(Protocol):
    """What is around the code that runs: a scope, or in another process the deadline that came with the call."""

    @property
    def earliest(self) -> float | None: ...


class CarriedDeadline:
    """The deadline that a call brought along from another process or interpreter."""

    __slots__ = ("earliest",)

    def __init__(self, earliest: float | None) -> None:
        self.earliest = earliest


#: The innermost scope around the code that runs here, or a `CarriedDeadline`; None for neither.
surroundings: ContextVar[Surroundings | None] = ContextVar("corefutures_structured.surroundings", default=None)


def time_left() -> float | None:
    """Return the seconds until the deadline of the scopes around the caller.

    For functions that run in a scope and plan their work by it. In a worker, the scopes around the call count as well
    as those that the call has opened.

    Returns:
        Seconds until the earliest deadline, 0.0 once it has passed; None where no scope around has a deadline.

    Thread safety: may be called from any thread; a thread that was started by hand has no scope around it.
    """
    around = surroundings.get()
    if around is None or around.earliest is None:
        return None
    return max(0.0, around.earliest - clock.monotonic())


class ScopedCall:
    """A function that runs inside a scope, in another thread or, pickled, in another process or interpreter.

    Args:
        fn: The function.
        around: The scope that submitted the call; of it only the deadline travels to another process or interpreter.
    """

    __slots__ = ("around", "fn")

    def __init__(self, fn: Callable[..., Any], around: Surroundings) -> None:
        self.fn = fn
        self.around = around

    def __getattr__(self, name: str) -> str:
        if name in ("__name__", "__qualname__"):  # for whoever names the call
            return call_name(self.fn)
        raise AttributeError(name)

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        token = surroundings.set(self.around)
        try:
            return self.fn(*args, **kwargs)
        finally:
            surroundings.reset(token)
            del self  # the traceback of an error would keep the scope, and with it the executor

    def __reduce__(self) -> tuple[Any, ...]:
        return arrive, (self.fn, self.around.earliest, clock.time() - clock.monotonic())


def arrive(fn: Callable[..., Any], deadline: float | None, clock_offset: float) -> ScopedCall:
    """Return the call in the worker's clock.

    Args:
        fn: The function.
        deadline: By the sender's `time.monotonic`.
        clock_offset: The sender's `time.time() - time.monotonic()`. Where it is the same here, both share a clock,
            which no change of the time of day moves; elsewhere the time of day is all that both have.
    """
    own_offset = clock.time() - clock.monotonic()
    if deadline is not None and abs(own_offset - clock_offset) > _SAME_CLOCK:
        deadline += clock_offset - own_offset
    return ScopedCall(fn, CarriedDeadline(deadline))


def call_name(fn: object) -> str:
    """Return the name by which messages call a function: its qualified name, or its type's."""
    while (inner := getattr(fn, "func", None)) is not None:  # functools.partial
        fn = inner
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    return name if isinstance(name, str) else type(fn).__qualname__


def _after_fork_in_child() -> None:
    surroundings.set(None)  # a worker that is forked inside a block is not inside it: a scope belongs to its process


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
