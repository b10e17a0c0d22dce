"""How the waits of the core reach a simulation: by its clock, and by the nested loop of a thread.

Touches the clock that `corefutures.wait` reads, once there is a simulation. Guarantees: threads that take part in no
simulation wait as ever; a time limit is exact, however long the program itself takes.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Any

from corefutures import Future, wait
from corefutures_pools.blocking import clock, nested_loops

#: `simulation`: a weak reference to the simulation that this thread takes part in.
_here = threading.local()


def take_part(simulation: Any) -> None:
    """Have this thread wait by a simulation's clock, and let its calls run meanwhile."""
    _here.simulation = weakref.ref(simulation)
    nested_loops.setdefault(threading.get_ident(), _nested_loop)


def leave() -> None:
    """Undo `take_part`, at the end of a thread."""
    nested_loops.pop(threading.get_ident(), None)


def current_simulation() -> Any:
    """Return the simulation that this thread takes part in; None for none."""
    reference = getattr(_here, "simulation", None)
    simulation = None if reference is None else reference()
    return None if simulation is None or simulation.closed else simulation


def _nested_loop(ended: Callable[[], bool], deadline: float | None) -> None:
    """Let calls run while `wait` or `as_completed` blocks this thread: see `nested_loops`."""
    simulation = current_simulation()
    if simulation is None or isinstance(getattr(ended, "__self__", None), Future):
        return  # the future is another executor's
    if awaited := simulation.awaited_here():
        left = None
        if deadline is not None:
            left = deadline.span if isinstance(deadline, _Deadline) else deadline - clock.monotonic()
        # Once ours have ended, the thread waits for futures of other executors as ever.
        simulation.run_until(
            lambda: ended() or all(map(Future.done, awaited)),
            None if left is None else simulation.now + left,
            awaited,
        )


class _Instant(float):
    """A time by a simulation's clock. Differences to others are exact; a time by the real clock may be among them."""

    __slots__ = ()

    def __add__(self, other: float) -> _Instant:
        return _Instant(float(self) + other)

    def __sub__(self, other: float) -> float:
        return _Span(float(self) - float(other))

    def __rsub__(self, other: float) -> float:
        return other - clock.monotonic()


class _Span(float):
    """A time that a simulation's clock has to pass."""

    __slots__ = ()

    def __radd__(self, other: float) -> float:
        return _Deadline(other + float(self), float(self))


class _Deadline(float):
    """A deadline that was made with the real clock, for a span of a simulation's clock."""

    span: float

    def __new__(cls, when: float, span: float) -> _Deadline:
        """Make one."""
        made = super().__new__(cls, when)
        made.span = span
        return made


class MapDeadline(float):
    """The deadline of a `map` by a simulation's clock: the real clock is not asked what is left."""

    simulation: Any

    def __new__(cls, simulation: Any, when: float) -> MapDeadline:
        """Make one."""
        made = super().__new__(cls, when)
        made.simulation = simulation
        return made

    def __sub__(self, other: float) -> float:
        left: float = float(self) - self.simulation.now
        return left


class _Clock:
    """The clock that `wait` and `as_completed` read: the simulation's in a thread that takes part in one."""

    def __getattr__(self, name: str) -> Any:
        return getattr(clock, name)

    @staticmethod
    def monotonic() -> float:
        """Return the time of this thread's clock."""
        simulation = current_simulation()
        return clock.monotonic() if simulation is None else _Instant(simulation.now)


def install_clock() -> None:
    """Have `wait` and `as_completed` read the clock of the thread's simulation."""
    wait.__globals__["clock"] = _Clock()
