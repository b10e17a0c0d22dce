"""Calls on what crosses the boundary: payloads and summaries, deep values, objects counted where they live.

Found by name, importing next to nothing, safe in any worker.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import sys
import threading
import weakref
import zlib

from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn


def payload(size: int) -> bytes:
    """`size` bytes that are the same for the same size, and differ at both ends for most others."""
    mark = b"%x:" % size
    return (mark + bytes(max(size - 2 * len(mark), 0)) + mark)[:size]


def summary(data: bytes) -> tuple[int, int]:
    """Length and checksum of `data`: what tells whether it arrived whole."""
    return len(data), zlib.crc32(data)


def nested(depth: int) -> Any:
    """Return a list in a list in a list, `depth` deep."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def generator() -> Any:
    """Make a generator: what a call may well return, and pickle refuses."""
    return (number for number in range(3))


def local_class_instance() -> Any:
    """Return an instance of a class that cannot be found by name."""

    class Local:
        pass

    return Local()


class OddCallable:
    """A callable that acts when it is pickled."""

    def __init__(self, act: Callable[[], object]) -> None:
        """Remember the act, a function of `hostile`."""
        self.act = act

    def __call__(self) -> str:
        """Say that it was called."""
        return "called"

    def __reduce__(self) -> Any:
        """Act."""
        self.act()
        return (str, ("harmless after all",))


def raise_deep(text: str, cause: str) -> NoReturn:
    """Raise ValueError(text) from KeyError(cause), two calls further down."""
    _raise_from(text, cause)


def _raise_from(text: str, cause: str) -> NoReturn:
    try:
        raise KeyError(cause)
    except KeyError as error:
        raise ValueError(text) from error


def raise_noted(text: str, note: str) -> NoReturn:
    """Raise ValueError(text) with a note."""
    error = ValueError(text)
    error.add_note(note)
    raise error


def raise_group(first: str, second: str) -> NoReturn:
    """Raise a group of two exceptions."""
    raise ExceptionGroup("two at once", [ValueError(first), KeyError(second)])


def raise_big(size: int) -> NoReturn:
    """Raise ValueError with `size` bytes as argument."""
    raise ValueError(payload(size))


class Tracked:
    """A value whose living instances are counted, separately in each process and interpreter."""

    def __init__(self) -> None:
        """Be counted."""
        _living.add(self)

    def __reduce__(self) -> Any:
        """Arrive as an instance that is counted where it arrives."""
        return (Tracked, ())

    def method(self) -> str:
        """Something to submit."""
        return "called"


_living: weakref.WeakSet[Tracked] = weakref.WeakSet()


def take_tracked(value: Tracked) -> tuple[int, int]:
    """Take an instance; say how many live here, and the process id."""
    return len(_living), os.getpid()


def make_tracked() -> Tracked:
    """Return a new instance."""
    return Tracked()


def living() -> tuple[int, int]:
    """How many instances live here, and the process id."""
    gc.collect()
    return len(_living), os.getpid()


def at_gate(gate: Gate, act: Callable[..., Any], *args: Any) -> Any:
    """Announce the call, wait until the gate is open, then return `act(*args)`."""
    gate.enter()
    return act(*args)


def note_and_act(journal: Journal, entry: object, act: Callable[[], Any]) -> Any:
    """Write `entry` into the journal, then return `act()`."""
    journal.note(entry)
    return act()


def note_span(journal: Journal, gate: Gate, who: int) -> int:
    """Write when the call starts and ends; in between it waits at the gate."""
    journal.note(f"start {who}")
    gate.enter(who)
    journal.note(f"end {who}")
    return who


def announce_pid(gate: Gate) -> int:
    """Announce this process's id at the gate, and wait until it is open."""
    gate.enter(os.getpid())
    return os.getpid()


def take(_: object) -> None:
    """Take anything, return None."""


def submit_more(executor: Any, journal: Journal, name: str, count: int) -> list[Any]:
    """From inside a call, submit `count` calls to the same executor; return their futures."""
    return [executor.submit(_note, journal, f"{name}.{number}") for number in range(count)]


def _note(journal: Journal, entry: str) -> str:
    journal.note(entry)
    return entry


def thread_count(_: object = None) -> int:
    """How many Python threads live in this process."""
    return threading.active_count()


def note_gate_fail(journal: Journal, entry: str, gate: Gate) -> NoReturn:
    """Write `entry` into the journal, wait at the gate, raise ValueError(entry)."""
    journal.note(entry)
    gate.enter(entry)
    raise ValueError(entry)


class Table:
    """A payload that pickles as a buffer of its own, as arrays do."""

    def __init__(self, content: Any) -> None:
        """Take over the buffer `content`."""
        self.content = content

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Hand out the buffer itself, where the protocol has buffers."""
        if protocol < 5:
            return Table, (bytearray(self.content),)
        return Table, (pickle.PickleBuffer(self.content),)


def table(size: int) -> Table:
    """Return a table of `size` bytes, which can be written to."""
    return Table(bytearray(payload(size)))


def tables(*sizes: int) -> tuple[Table, ...]:
    """Several tables, as one result."""
    return tuple(map(table, sizes))


def buffer(kind: Callable[[bytes], Any], size: int) -> pickle.PickleBuffer:
    """Return a bare buffer over the bytes or bytearray that `kind` makes."""
    return pickle.PickleBuffer(kind(payload(size)))


def print_and_sum(data: Table, text: str) -> tuple[int, int]:
    """Print to the standard streams, as Python and as C does it, and tell what has arrived."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        with contextlib.suppress(OSError, ValueError):
            print(text, file=stream, flush=True)
        with contextlib.suppress(OSError):
            os.write(number, text.encode())
    return summary(bytes(data.content))
