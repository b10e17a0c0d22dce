"""The functions that rules submit.

All are at module level, found by name, and take gates, journals and plain values, so that they cross any
boundary. Whoever writes a rule that needs another one adds it here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from contextvars import ContextVar

from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn, TypeVar

    T = TypeVar("T")


def echo(value: T) -> T:
    """Return the argument."""
    return value


def take_memory(size: int) -> int:
    """Take so much memory, in steps, and fill it; return the size. Nothing of it is kept."""
    taken = []
    for _ in range(0, size, 1 << 23):
        taken.append(bytearray(b"\1") * (1 << 23))
        time.sleep(0.001)
    return size


def nothing() -> None:
    """Return None."""


async def coroutine(value: T) -> T:
    """Return the argument, if awaited."""
    return value


def add(a: Any, b: Any) -> Any:
    """Return `a + b`."""
    return a + b


def square(number: int) -> int:
    """Return `number * number`."""
    return number * number


def arguments(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what came as arguments: a tuple and a dict."""
    return args, kwargs


def yield_what_looks_like_an_end() -> Iterator[Any]:
    """Yield what a loop over items may take for something else."""
    yield from (
        None,
        False,
        (),
        b"",
        Ellipsis,
        NotImplemented,
        StopIteration,
        StopIteration("the value"),
        ValueError(1),
    )


def yield_numbers(journal: Journal, end: int = 1 << 40) -> Iterator[int]:
    """Yield 0, 1, …, each noted before; note also that the generator was closed."""
    try:
        for number in range(end):
            journal.note(number)
            yield number
        return "the value"  # type: ignore[return-value]
    finally:
        journal.note("closed")


def yield_and_raise(end: int) -> Iterator[int]:
    """Yield so many numbers, then raise a KeyError."""
    yield from range(end)
    raise KeyError("raised by the generator")


def yield_between(gate: Gate) -> Iterator[int]:
    """Yield 0, wait at the gate, yield 1."""
    yield 0
    gate.enter()
    yield 1


def yield_and_die(end: int) -> Iterator[int]:
    """Yield so many numbers, then kill the process."""
    yield from range(end)
    kill_process()


def yield_lock(journal: Journal) -> Iterator[Any]:
    """Yield a number, and then something that can't be pickled."""
    try:
        yield 0
        yield threading.Lock()
        yield 2
    finally:
        journal.note("closed")


def pass_gate(gate: Gate, result: Any = None, who: object = "") -> Any:
    """Announce `who` at the gate, wait until it is open, return `result`."""
    gate.enter(who)
    return result


def announce(gate: Gate, who: object = "") -> None:
    """Announce `who` at the gate and end."""
    gate.announce(who)


def pass_gate_and_raise(gate: Gate, error: BaseException) -> NoReturn:
    """Announce the call, wait until the gate is open, raise `error`."""
    gate.enter()
    raise error


def note(journal: Journal, entry: object) -> None:
    """Write `entry` into the journal."""
    journal.note(entry)


def note_process(journal: Journal) -> None:
    """Note the process that this runs in."""
    journal.note(os.getpid())


def note_and_echo(journal: Journal, entry: T) -> T:
    """Write `entry` into the journal and return it."""
    journal.note(entry)
    return entry


def note_and_pass_gate(journal: Journal, entry: T, gate: Gate) -> T:
    """Write `entry` into the journal, wait at the gate, return `entry`."""
    journal.note(entry)
    gate.enter(entry)
    return entry


def raise_error(error: BaseException) -> NoReturn:
    """Raise the argument."""
    raise error


def raise_new(kind: type[BaseException], *args: Any) -> NoReturn:
    """Raise `kind(*args)`, made here."""
    raise kind(*args)


def raise_with_cause(text: str, cause: str) -> NoReturn:
    """Raise ValueError(text) from KeyError(cause)."""
    try:
        raise KeyError(cause)
    except KeyError as error:
        raise ValueError(text) from error


def place() -> tuple[int, int, int]:
    """Where the call runs: process id, interpreter's number (0 where Python has but one), thread's ident."""
    return os.getpid(), _interpreter_number(), threading.get_ident()


def _interpreter_number() -> int:
    if sys.version_info >= (3, 14):
        from concurrent import interpreters

        return interpreters.get_current().id
    return 0


def leave_process(status: int) -> NoReturn:
    """End the worker's process at once, with this exit status and no clean-up."""
    os._exit(status)


def kill_process() -> None:
    """End the worker's process as from outside: SIGKILL, or TerminateProcess on Windows."""
    if sys.platform == "win32":
        os.kill(os.getpid(), signal.SIGTERM)
    else:
        os.kill(os.getpid(), signal.SIGKILL)


def crash_process() -> None:
    """End the worker's process by a crash: SIGSEGV, or an abort on Windows."""
    if sys.platform == "win32":
        os.abort()
    else:
        with contextlib.suppress(ValueError):  # only a main thread may ask for that
            signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)


def length(values: Any) -> int:
    """Return how many there are."""
    return len(values)


def type_name(value: object) -> str:
    """Return the name of the argument's type; touches nothing else of it."""
    return type(value).__name__


def take_first(values: Any) -> Any:
    """Return the first of `values`."""
    return next(iter(values))


def recurse(depth: int = 0) -> int:
    """Call itself until Python gives up."""
    return recurse(depth + 1) + 1


def raise_group(*texts: str) -> NoReturn:
    """Raise a group of ValueErrors."""
    raise ExceptionGroup("several", [ValueError(text) for text in texts])


def raise_with_attribute(name: str, value: object) -> NoReturn:
    """Raise a ValueError that carries an attribute."""
    error = ValueError("with an attribute")
    setattr(error, name, value)
    raise error


def raise_deeply(depth: int, text: str) -> None:
    """Raise ValueError(text) below `depth` frames of this function."""
    if depth:
        raise_deeply(depth - 1, text)
    else:
        raise ValueError(text)


def time_out_if(wanted: bool, value: T) -> T:
    """Raise TimeoutError if wanted, or return `value`."""
    if wanted:
        raise TimeoutError("of the call")
    return value


def pass_gate_and_note(gate: Gate, journal: Journal, entry: T) -> T:
    """Wait at the gate, write `entry` into the journal, return it."""
    gate.enter(entry)
    journal.note(entry)
    return entry


FLAVOUR: ContextVar[str] = ContextVar("FLAVOUR", default="none")
"""A context variable that calls take along."""


def flavour() -> str:
    """Return what the call sees of `FLAVOUR`."""
    return FLAVOUR.get()


def change_flavour(value: str) -> str:
    """Set `FLAVOUR`; return what it was."""
    before = FLAVOUR.get()
    FLAVOUR.set(value)
    return before


def is_asked() -> bool:
    """Whether the call was asked to stop."""
    from corefutures import cancel_requested  # here: other rules' workers do without

    return cancel_requested()


def until_asked(gate: Gate) -> str:
    """Announce itself, and return when asked to stop, or else when the gate opens."""
    from corefutures import cancel_requested  # here: other rules' workers do without

    gate.announce()
    while not cancel_requested():
        if gate.is_open:
            return "never asked"
        time.sleep(0.001)
    return "asked"


def nothing_with(value: object) -> None:
    """Do nothing with `value`."""


def wait_a_while() -> None:
    """Take some milliseconds."""
    time.sleep(0.002)


def note_steps(journal: Journal, gate: Gate, who: object) -> None:
    """Announce `who`, and write it into the journal again and again, until asked to stop or the gate opens."""
    from corefutures import cancel_requested  # here: other rules' workers do without

    gate.announce(who)
    while not gate.is_open and not cancel_requested():
        journal.note(who)
        time.sleep(0.0005)


def time_left() -> float | None:
    """Return the seconds until the deadline of the scopes around the call."""
    import corefutures  # here: other rules' workers do without

    return corefutures.time_left()


def nested_time_left(seconds: float) -> float | None:
    """Open a scope with a deadline in the call; return what `time_left` says in a call of that scope."""
    from concurrent.futures import ThreadPoolExecutor

    import corefutures  # here: other rules' workers do without

    futures = []
    with ThreadPoolExecutor(1) as pool, corefutures.scope(pool, deadline=seconds) as scope:
        futures.append(scope.submit(time_left))
    return futures[0].result()


def fail_at_first(path: str, times: int) -> int:
    """Raise LookupError so many times, counted in a file; then return the number of the attempt."""
    with open(path, "a+") as file:
        file.seek(0)
        attempt = len(file.read()) + 1
        file.write("x")
    if attempt <= times:
        raise LookupError(f"attempt {attempt}")
    return attempt


def held_slots() -> dict[str, tuple[Any, ...]]:
    """Return the slots that this call holds."""
    import corefutures

    return corefutures.held_slots()


def held_slots_for(seconds: float) -> tuple[float, float, dict[str, tuple[Any, ...]]]:
    """Return when this call began and ended, by the clock of the machine, and the slots that it holds."""
    begun, held = time.monotonic(), held_slots()
    time.sleep(seconds)
    return begun, time.monotonic(), held
