"""What runs inside a trial's process: the sample on a plain loop or on one backend, timed.

Tells what it found through the channel as plain values, one message a stage, so that whatever happens later
loses nothing. Guarantees: what a call raises or prints stays here.
"""

from __future__ import annotations

import os
import pickle
import sys
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Final

from corefutures import create_executor, register_backend
from corefutures.backend import Backend, describe_error, load_target
from corefutures_tools._comparing import probes

#: How often the sample runs at most: the fastest round counts.
ROUNDS: Final = 3

#: From how many seconds on the processor's clock tells waiting from computing: on Windows it ticks every 16 ms.
CLOCKED: Final = 0.002 if time.get_clock_info("process_time").resolution < 1e-4 else 0.05

#: Who computes in less than this part of the time would not have computed for the rest of it either.
IDLE: Final = 0.1

#: How many pickled bytes of results are kept for the comparison; the results after them are not compared.
KEPT: Final = 32 << 20

#: How many calls, how many bytes and how many seconds measuring the transport may take, each time.
PROBES: Final = 200
PROBE_BYTES: Final = 32 << 20
PROBE_SECONDS: Final = 0.5

#: The most characters of an error's text.
LONGEST: Final = 200

#: The outcome of a call: ("returned", value) or ("raised", type and text).
Outcome = tuple[str, Any]


@dataclass(frozen=True)
class Work:
    """The function and the sample, in a form that a trial's process can load.

    Args:
        function: Where the function is (`module:attr`), the pickled function, or, in a forked process, itself.
        items: The pickled items, or, in a forked process, the items themselves.
        count: How many items there are.
    """

    function: str | bytes | Callable[[Any], Any]
    items: bytes | list[Any]
    count: int

    @property
    def needs_fork(self) -> bool:
        """Whether only a forked process has it."""
        return not isinstance(self.function, (str, bytes)) or not isinstance(self.items, bytes)

    def load_function(self) -> Callable[[Any], Any]:
        """Return the function."""
        if isinstance(self.function, str):
            return load_target(self.function)  # type: ignore[no-any-return]
        return pickle.loads(self.function) if isinstance(self.function, bytes) else self.function

    def load_items(self, calls: int | None) -> list[Any]:
        """Return the first items; fresh ones each time where they are pickled, as a call may change its argument."""
        items: list[Any] = pickle.loads(self.items) if isinstance(self.items, bytes) else self.items
        return items[:calls]


@dataclass(frozen=True)
class Plan:
    """What one trial is to do.

    Args:
        backend: The name of a backend or its description; None for the plain loop.
        max_workers: How many workers.
        calls: How many calls; None for the loop, which finds out.
        least: How many calls the loop makes at least.
        seconds: When the loop has made enough calls, and the time in which rounds are repeated.
        patience: When the loop makes no more calls, although they are fewer than `least`; seconds.
        expected: The pickled outcomes of the loop, as far as they are known.
    """

    backend: str | Backend | None
    max_workers: int
    calls: int | None
    least: int
    seconds: float
    patience: float
    expected: tuple[bytes, ...] = ()


def run(channel: Connection, work: Work, plan: Plan) -> None:
    """Run a trial; the target of its process.

    Args:
        channel: Receives the findings: dicts, the first one empty.
        work: What to call, and with what.
        plan: How.
    """
    _detach()
    channel.send({})
    try:
        try:
            function = work.load_function()
            work.load_items(0)
        except BaseException as error:
            raise _TrialError(f"a fresh process cannot load the function or the items: {_described(error)}") from error
        if plan.backend is None:
            _run_loop(channel, function, work, plan)
        else:
            _run_backend(channel, function, work, plan, plan.backend)
    except _TrialError as error:
        channel.send({"error": str(error)})
    except BaseException as error:
        channel.send({"error": _described(error)})
    channel.send(_memory())
    channel.close()


class _TrialError(Exception):
    """The trial cannot go on; the text says why."""


def _detach() -> None:
    """Begin a session, which can be killed as a whole, and discard output."""
    if sys.platform != "win32":
        os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


# ── the plain loop ───────────────────────────────────────────────────────────────────────────────────────


def _run_loop(channel: Connection, function: Callable[[Any], Any], work: Work, plan: Plan) -> None:
    items = work.load_items(None)
    outcomes: list[Outcome] = []
    clock = time.perf_counter
    computed, queued, begun = *_occupied(), clock()
    for item in items:
        outcomes.append(outcome_of(function, item))
        elapsed = clock() - begun
        if (elapsed >= plan.seconds and len(outcomes) >= plan.least) or elapsed >= plan.patience:
            break
    best = elapsed = clock() - begun
    computed, queued = (now - before for now, before in zip(_occupied(), (computed, queued), strict=True))
    if computed < IDLE * best:  # who wakes up queues for a processor as well: who hardly computes waits all the same
        queued = 0.0
    waiting = max(0.0, 1 - (computed + queued) / best) if best >= CLOCKED else None
    calls = len(outcomes)
    channel.send({"calls": calls, "seconds": best, "waiting": waiting, **_raised(outcomes)})
    expected = _kept(outcomes)
    channel.send({"expected": expected})
    agrees = None
    for _ in range(ROUNDS - 1):
        if elapsed >= plan.seconds:
            break
        again = work.load_items(calls)
        begun = clock()
        repeated = [outcome_of(function, item) for item in again]
        best, elapsed = min(best, clock() - begun), elapsed + clock() - begun
        agrees = agree(expected, repeated) if agrees is not False else False
    channel.send({"seconds": best, "agrees": agrees, **_pickling(function, work.load_items(calls), outcomes)})


def _occupied() -> tuple[float, float]:
    """Return the seconds in which this process computed, and, on Linux, in which it queued for a processor."""
    queued = 0.0
    try:
        with open("/proc/thread-self/schedstat", encoding="ascii") as file:
            queued = int(file.read().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):  # another system, or a kernel that does not count it
        pass
    return time.process_time(), queued


def outcome_of(function: Callable[[Any], Any], item: Any) -> Outcome:
    """Call a function, and return what became of it."""
    try:
        return ("returned", function(item))
    except BaseException as error:
        return ("raised", _described(error))


def _raised(outcomes: list[Outcome]) -> dict[str, Any]:
    raised = [value for kind, value in outcomes if kind == "raised"]
    return {"failed": len(raised), "failure": raised[0] if raised else None}


def _kept(outcomes: list[Outcome]) -> tuple[bytes, ...]:
    """Return the first outcomes, pickled, until one cannot be or there are too many bytes."""
    kept: list[bytes] = []
    total = 0
    for outcome in outcomes:
        try:
            pickled = pickle.dumps(outcome, pickle.HIGHEST_PROTOCOL)
        except Exception:
            break
        total += len(pickled)
        if total > KEPT:
            break
        kept.append(pickled)
    return tuple(kept)


def _pickling(function: Callable[[Any], Any], items: list[Any], outcomes: list[Outcome]) -> dict[str, Any]:
    """Find out which things cannot be pickled and why, and the mean size of the others."""
    unpicklable: dict[str, str] = {}
    results = [value for kind, value in outcomes if kind == "returned"]
    total = 0
    for what, values in (("function", [function]), ("arguments", items), ("results", results)):
        for value in values:
            try:
                length = len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
            except Exception as error:
                unpicklable[what] = _described(error)
                break
            total += length if what != "function" else 0
    complete = not unpicklable.keys() - {"function"}
    return {"unpicklable": unpicklable, "pickled_bytes": total / len(outcomes) if complete and outcomes else None}


# ── a backend ────────────────────────────────────────────────────────────────────────────────────────────


def _run_backend(
    channel: Connection, function: Callable[[Any], Any], work: Work, plan: Plan, backend: str | Backend
) -> None:
    clock = time.perf_counter
    if isinstance(backend, Backend):
        register_backend(backend, replace=True)
        backend = backend.name
    begun = clock()
    with create_executor(backend, max_workers=plan.max_workers) as executor:
        for future in [executor.submit(probes.discard, None) for _ in range(plan.max_workers)]:
            future.result()
        channel.send({"startup": clock() - begun})
        outcomes: list[Outcome] = []
        best = elapsed = 0.0
        for number in range(ROUNDS):
            items = work.load_items(plan.calls)
            begun = clock()
            outcomes = _round(executor, function, items)
            took = clock() - begun
            best, elapsed = min(best or took, took), elapsed + took
            if number == 0:
                found = {"seconds": best, "agrees": agree(plan.expected, outcomes), **_raised(outcomes)}
                channel.send(found)
            if elapsed >= plan.seconds:
                break
        channel.send({"seconds": best})
        channel.send({"transport": _transport(executor, work.load_items(plan.calls), outcomes)})


def _round(executor: Executor, function: Callable[[Any], Any], items: list[Any]) -> list[Outcome]:
    futures = [executor.submit(function, item) for item in items]
    outcomes: list[Outcome] = []
    for future in futures:
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            raise _TrialError(f"a worker was lost: {_described(error)}") from error
        outcomes.append(("returned", future.result()) if error is None else ("raised", _described(error)))
    return outcomes


def _transport(executor: Executor, items: list[Any], outcomes: list[Outcome]) -> float | None:
    """Return the seconds to carry an argument there and a result back; None where something can't be carried.

    An echo carries its value both ways: half of what it costs beyond an empty call is a result's way back.
    """
    results = [value for kind, value in outcomes if kind == "returned"]
    try:
        empty = _probe(executor, probes.discard, [None])
        there = _probe(executor, probes.discard, items)
        both = _probe(executor, probes.echo, results) if results else empty
    except Exception:
        return None
    return there + max(0.0, both - empty) / 2


def _probe(executor: Executor, probe: Callable[[Any], Any], values: list[Any]) -> float:
    """Return the seconds for one call of a probe, when many are under way; the fastest of a few rounds."""
    try:
        length = len(pickle.dumps(values[0], pickle.HIGHEST_PROTOCOL))
    except Exception:  # threads carry it all the same
        length = 0
    count = max(1, min(PROBES, PROBE_BYTES // (length + 1)))
    carried = [values[number % len(values)] for number in range(count)]
    best = spent = 0.0
    while spent < PROBE_SECONDS / 5 or not best:
        begun = time.perf_counter()
        for future in [executor.submit(probe, value) for value in carried]:
            future.result()
        took = time.perf_counter() - begun
        best, spent = min(best or took, took), spent + took
    return best / count


# ── outcomes and memory ──────────────────────────────────────────────────────────────────────────────────


def agree(expected: tuple[bytes, ...], outcomes: list[Outcome]) -> bool | None:
    """Return whether outcomes equal the expected ones, as far as those are known; None if none is."""
    if not expected:
        return None
    return all(_same(pickle.loads(one), other) for one, other in zip(expected, outcomes, strict=False))


def _same(one: Outcome, other: Outcome) -> bool:
    if one[0] != other[0]:
        return False
    try:
        equal: Any = one[1] == other[1]
        if equal if isinstance(equal, bool) else equal.all():
            return True
    except Exception:  # they can't be compared: arrays in a list, say
        pass
    return _canonical(one) == _canonical(other)  # NaN, and objects without an __eq__


def _canonical(outcome: Outcome) -> bytes | None:
    """Return its pickle after one trip: equal values that share objects differently have the same one."""
    try:
        return pickle.dumps(pickle.loads(pickle.dumps(outcome)))
    except Exception:
        return None


def _described(error: BaseException) -> str:
    return describe_error(error, longest=LONGEST)


def _memory() -> dict[str, Any]:
    """Return the most memory of this process, where the system counts it; worker processes are not in it."""
    if sys.platform == "win32":
        return {}
    import resource  # here: Windows has none

    unit = 1 if sys.platform == "darwin" else 1024
    return {"memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit, "memory_source": "rusage"}
