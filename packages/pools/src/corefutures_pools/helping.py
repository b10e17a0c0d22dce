"""Threads that host calls of a pool, and what a hosted call may do: wait for other calls, learn that it should stop.

Touches `_exceptions`, `_stopping`, for messages `_stacks`. Guarantees: a call that waits for one that has not started
runs it in place of sleeping; a cycle of calls that wait for each other raises in one of them; no cost to other threads.
"""

from __future__ import annotations

from corefutures._blocking import clock, current_workers
from corefutures._exceptions import DeadlockError
from corefutures_pools.lifecycle import renew_in_child

try:
    from _thread import RLock
except ImportError:  # an interpreter without the C lock
    from threading import RLock

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import CodeType
    from typing import Any

    from corefutures_pools.inspection.stacks import Frame

#: The code of functions that run calls: what they call is a call. For the names in a `DeadlockError`.
call_frames: set[CodeType] = set()

#: The code of functions that only wrap the call, which comes after them; those of our private modules do so anyway.
wrapper_frames: set[CodeType] = set()

# Guards `WorkerThread.awaited` against the search for a cycle, so that of two threads that close one together, the
# later one sees it. No other lock is taken and no foreign code runs under it. Reentrant, because a finaliser that
# interrupts its holder may wait for a call.
_edges = RLock()


class WorkerThread:
    """A worker thread of a pool.

    Args:
        calls: The futures of the calls that it runs: more than one if it runs some in place, innermost last.
        claim: Takes a call that has not started out of the pool's queue; returns False if it is not there.
        run: Runs a call that was claimed, in this thread.
        crew: Returns the current_workers of the same pool.
    """

    __slots__ = (
        "_claim",
        "_crew",
        "_needs_all",
        "_run",
        "awaited",
        "busy_since",
        "calls",
        "cancelled",
        "failed",
        "finished",
        "runs_calls",
        "taking",
    )  # fmt: skip

    def __init__(
        self,
        calls: list[Any],
        claim: Callable[[Any], bool],
        run: Callable[[Any], None],
        crew: Callable[[], Iterable[WorkerThread]],
    ) -> None:
        self.calls = calls
        self._claim = claim
        self._run = run
        self._crew = crew
        self.runs_calls = False  # true once its initializer has returned
        self.taking: Any = None  # the call that is on its way from the queue to `calls`, for a forked child (E11)
        self.awaited: tuple[Any, ...] = ()  # what the innermost call sleeps for
        self._needs_all = False  # whether it needs all of that, without a time limit
        self.finished = self.failed = self.cancelled = 0  # calls so far; for the statistics
        # When it began with a call after having had none, and how many had ended then.
        self.busy_since = (clock.monotonic(), 0)

    def help_one(self, awaited: Iterable[Any], *, timed: bool = False) -> bool:
        """Runs a call in place of sleeping; returns False if there is none to be run.

        That is one of those awaited that has not started; if all threads of the pool sleep, also one that a call of
        theirs is waiting for. A thread that has a time limit sleeps instead, unless all others do.
        """
        if not self.runs_calls:
            return False
        alone = all(host is self or host.awaited for host in list(self._crew()))
        if timed and not alone:
            return False
        for future in awaited:
            for wanted in _leaves(future) if alone else (future,):
                if self._take(wanted):
                    self.end_blocking()
                    del awaited, future
                    self._run(wanted)
                    return True
        return False

    def help_until(self, awaited: Iterable[Any], ended: Callable[[], bool], *, timed: bool, needs_all: bool) -> None:
        """Runs calls in place of sleeping as long as there are any, and then notes for what this thread sleeps.

        Args:
            awaited: What it waits for.
            ended: Returns whether it need not sleep any more.
            timed: Whether it has a time limit.
            needs_all: See `begin_blocking`.

        Raises:
            DeadlockError: See `begin_blocking`.
        """
        while not ended():
            if not self.help_one(awaited, timed=timed):
                self.begin_blocking(tuple(awaited), needs_all=needs_all)
                # Of two threads that fall asleep together, and have each seen the other awake, one sees more now.
                if not self.help_one(awaited, timed=timed):
                    return

    def _take(self, future: Any) -> bool:
        self.taking = future
        try:
            if not self._claim(future):
                return False
            self.calls.append(future)
            return True
        finally:
            self.taking = None

    def mark_busy(self) -> None:
        """Notes that the next call begins now. For threads that have slept: they have the time to look at a clock."""
        self.busy_since = (clock.monotonic(), self.finished + self.failed + self.cancelled)

    def running_since(self) -> float | None:
        """Returns when its outermost call began, by `time.monotonic`; None if that is not known."""
        since, ended = self.busy_since
        return since if self.finished + self.failed + self.cancelled == ended else None

    def begin_blocking(self, awaited: tuple[Any, ...], *, needs_all: bool) -> None:
        """Notes that the innermost call sleeps until some of `awaited` end, or, if that is `needs_all`, until all do.

        Raises:
            DeadlockError: It would sleep for ever: one of them belongs to a call that waits for this one.
        """
        cycle: list[tuple[Any, WorkerThread]] = []
        with _edges:
            self.awaited, self._needs_all = awaited, needs_all
            if needs_all and self.calls:
                cycle = self._cycle(awaited)
        if cycle:
            self.end_blocking()
            told = [_name_call(future, host) for future, host in cycle]
            raise DeadlockError("these calls wait for each other: " + " → ".join([*told, told[0]]))

    def end_blocking(self) -> None:
        """Takes back `begin_blocking`."""
        self.awaited, self._needs_all = (), False

    def _cycle(self, awaited: tuple[Any, ...]) -> list[tuple[Any, WorkerThread]]:
        """Returns the chain of calls from one of `awaited` to one of this thread's own, if there is one."""
        paths = [[(future, host)] for future in awaited if (host := _host_of(future)) is not None]
        seen: set[WorkerThread] = set()
        while paths:
            path = paths.pop()
            host = path[-1][1]
            if host is self:
                return path
            if host not in seen and host._needs_all:
                seen.add(host)
                paths += [
                    [*path, (future, runner)] for future in host.awaited if (runner := _host_of(future)) is not None
                ]
        return []


def _host_of(future: Any) -> WorkerThread | None:
    """Returns the host that runs the call of `future`; does nothing with a future that is not ours."""
    for host in list(current_workers.values()):
        for running in list(host.calls):
            if running is future:
                return None if running.done() else host
    return None


def _leaves(future: Any) -> Iterator[Any]:
    """Yields what `future` is waiting for in the end: those that no thread runs."""
    left, seen = [future], set[WorkerThread]()
    while left:
        future = left.pop()
        host = _host_of(future)
        if host is None:
            yield future
        elif host not in seen:
            seen.add(host)
            left.extend(host.awaited)


def call_names(host: WorkerThread, stacks: Mapping[int, list[Frame]] | None = None) -> list[str]:
    """Returns how messages call the calls that a host runs: their names or their functions', innermost last.

    Args:
        host: The host.
        stacks: Those of all threads, if somebody has looked already.
    """
    ident = next((ident for ident, known in list(current_workers.items()) if known is host), None)
    if stacks is None:
        from corefutures_pools.inspection.stacks import own_stacks  # here for start-up time only

        stacks = own_stacks()
    stack = [] if ident is None else stacks.get(ident, [])
    known, skipped = _places(call_frames), _places(wrapper_frames)
    functions = []
    expected = False
    for file, _, function in stack:
        name = function.rpartition(".")[2]  # as far as stacks tell it in any case
        if expected and (file, name) not in skipped and not _in_private_module(file):
            functions.append(function)
            expected = False
        expected = expected or (file, name) in known
    functions.reverse()
    names = []
    for future in list(host.calls):
        function = functions.pop() if functions else "a call"
        names.append(f"{function} (named {future._cf_name!r})" if future._cf_name else function)
    return names


def _places(codes: set[CodeType]) -> set[tuple[str, str]]:
    return {(code.co_filename, code.co_name) for code in codes}


def _in_private_module(file: str) -> bool:
    """Return whether a file is a module of the toolkit, or a private one of another distribution of ours."""
    within, _, rest = file.replace("\\", "/").rpartition("/corefutures")
    distribution, _, module = rest.partition("/")
    return bool(within) and (distribution == "_pools" or module.startswith(("_", "registry/")))


def _name_call(future: Any, host: WorkerThread) -> str:
    names, calls = call_names(host), list(host.calls)
    return names[calls.index(future)] if future in calls and len(names) == len(calls) else "a call"


def _after_fork_in_child() -> None:
    global _edges
    _edges = RLock()


renew_in_child(_after_fork_in_child)
