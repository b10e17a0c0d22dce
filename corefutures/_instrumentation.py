"""What executors tell whoever listens: `instrumentation`, and `Call`, all that is known of one call.

Touches the clock; `_observers` puts the listeners there. Guarantees: telling takes no lock, never
blocks and runs no foreign code, so that it may be done anywhere; without observers, only
`instrumentation.present` is read.
"""

from __future__ import annotations

import itertools
import weakref
from concurrent.futures import BrokenExecutor

from corefutures._blocking import clock
from corefutures._foreign_code import class_name

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future
    from typing import Any, Final

CREATED: Final = "corefutures_executor_created"
SHUT_DOWN: Final = "corefutures_executor_shut_down"
WORKER_STARTED: Final = "corefutures_worker_started"
WORKER_LOST: Final = "corefutures_worker_lost"
SUBMITTED: Final = "corefutures_call_submitted"
STARTED: Final = "corefutures_call_started"
FINISHED: Final = "corefutures_call_finished"
CANCELLED: Final = "corefutures_call_cancelled"

_numbers = itertools.count(1)
_names: dict[str, itertools.count[int]] = {}


#: The name that pluggy's markers and managers of hooks agree on.
PROJECT: Final = "corefutures"


class Living:
    """A set of weak references.

    A `WeakSet` won't do: it can't be iterated while another thread adds to it.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    def __init__(self) -> None:
        self._references: dict[int, weakref.ref[Any]] = {}

    def add(self, thing: Any) -> None:
        """Enters an object, until it goes."""
        key, references = id(thing), self._references
        references[key] = weakref.ref(thing, lambda _: references.pop(key, None))

    def all(self) -> list[Any]:
        """Returns those that are alive at this moment."""
        return [thing for reference in list(self._references.values()) if (thing := reference()) is not None]

    def clear(self) -> None:
        """Forgets them all."""
        self._references.clear()


#: Every living executor and scope that can be looked into, for `dump`.
executors = Living()


def register_for_dump(executor: Any) -> None:
    """Have `corefutures.dump` show `executor.snapshot()`, as long as the executor lives; it is not kept alive.

    Thread safety: may be called from any thread.
    """
    executors.add(executor)


class ExecutorInfo:
    """The executor that something is told of; it is not kept alive by that."""

    __slots__ = ("_executor", "name", "shut")

    def __init__(self, executor: Any) -> None:
        self._executor = weakref.ref(executor)
        self.shut = False
        prefix = getattr(executor, "_thread_name_prefix", None)
        kind = prefix if isinstance(prefix, str) and prefix else type(executor).__name__
        number = next(_names.setdefault(kind, itertools.count()))
        self.name = (kind if not number else f"{kind} ({number + 1})") if kind == prefix else f"{kind}-{number}"

    @property
    def executor(self) -> Any:
        """The executor, None once nobody refers to it."""
        return self._executor()


class Call:
    """What is known of one call; it grows while the call goes its way.

    Attributes:
        number: Counts the calls that were observed in this process.
        function: The name of its function.
        submitted: When it was submitted. Times are seconds by `time.perf_counter`, which is one clock for all
            processes of a machine.
        started: When a worker began with it; None before that, or where that can't be known.
        finished: When the worker was done with it, or it was cancelled or lost.
        worker: The name of the worker; None where `started` is.
        outcome: "returned", "raised", "cancelled" or "lost" (with its worker or pool); None before that.
        error: The name of the exception's type, if it raised or was lost.
        size: Bytes of the serialised arguments; None where nothing is serialised.
        result_size: The same of the result.
    """

    __slots__ = (
        "_future", "error", "finished", "function", "given", "number", "origin", "outcome", "result_size", "size",
        "started", "submitted", "worker",
    )  # fmt: skip

    def __init__(self, origin: ExecutorInfo, function: str, future: Any, size: int | None) -> None:
        self.number: int = next(_numbers)
        self.function = function
        self.given: str | None = None  # the name that it was given, perhaps after it has ended
        self.origin = origin
        self.size = size
        self.started: float | None = None
        self.finished: float | None = None
        self.worker: str | None = None
        self.outcome: str | None = None
        self.error: str | None = None
        self.result_size: int | None = None
        self._future = weakref.ref(future)
        self.submitted: float = clock.perf_counter()

    def __repr__(self) -> str:
        return f"<call {self.number} of {self.origin.name}: {self.name} {self.outcome or 'has not ended'}>"

    @property
    def name(self) -> str:
        """The name that the call was given with `Executor.options`, or else its function's."""
        return self.given or getattr(self._future(), "_cf_name", None) or self.function

    @property
    def executor(self) -> Executor | None:
        """The executor, None once nobody refers to it."""
        executor: Executor | None = self.origin.executor
        return executor

    @property
    def future(self) -> Future[Any] | None:
        """The future, None once nobody refers to it."""
        future: Future[Any] | None = self._future()
        return future

    def begin(self, worker: str, when: float | None = None) -> None:
        """A worker begins with the call: now, or `when` it said it did. For executors."""
        self.started = when = clock.perf_counter() if when is None else when
        self.worker = worker
        instrumentation.tell(STARTED, self.origin, when, self, worker)

    def end(self, future: Any) -> None:
        """The future has ended. For executors, as the first of its callbacks."""
        self.note_end(future)
        assert self.finished is not None
        if self.outcome == "cancelled":
            instrumentation.tell(CANCELLED, self.origin, self.finished, self)
        else:
            instrumentation.tell(FINISHED, self.origin, self.finished, self, self.worker)

    def note_end(self, future: Any = None) -> bool:
        """Notes how the future has ended, if it has; returns whether it has. For who can't wait to be told of it."""
        if self.outcome is not None:
            return True
        if future is None and ((future := self._future()) is None or not future.done()):
            return False
        self.given = self.given or getattr(future, "_cf_name", None)
        told = self.finished is not None  # by the worker
        if not told:
            self.finished = clock.perf_counter()
        if future.cancelled():
            self.outcome = "cancelled"
        elif (error := future.exception()) is None:
            self.outcome = "returned"
        else:
            self.error = class_name(error)
            self.outcome = "lost" if issubclass(type(error), BrokenExecutor) and not told else "raised"
        return True


class Told:
    """Something that happened: `hook` is the name of what is to be called."""

    __slots__ = ("call", "error", "hook", "origin", "time", "worker")

    def __init__(
        self,
        hook: str,
        origin: ExecutorInfo,
        time: float,
        call: Call | None,
        worker: str | None,
        error: BaseException | None,
    ) -> None:
        self.hook = hook
        self.origin = origin
        self.time = time
        self.call = call
        self.worker = worker
        self.error = error


class Audience:
    """Whoever listens; there is one object of this class.

    Attributes:
        present: Whether anybody does: what executors look at before anything else.
        always: Whether what is known of calls is wanted even if nobody is told of it.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    __slots__ = ("always", "post", "present")

    def __init__(self) -> None:
        self.present = self.always = False
        self.post: Callable[[Any], object] = _drop

    def tell(
        self,
        hook: str,
        origin: ExecutorInfo,
        time: float,
        call: Call | None = None,
        worker: str | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Says that something has happened, to whoever listens."""
        self.post(Told(hook, origin, time, call, worker, error))

    def track_call(self, executor: Any, fn: Any, future: Any, size: int | None = None) -> None:
        """A call was submitted: observes it from now on. Called before anybody else can have the future."""
        future._cf_observed = call = Call(executor_info(executor), name_of(fn), future, size)
        self.tell(SUBMITTED, call.origin, call.submitted, call)
        future.add_done_callback(call.end)

    def executor_created(self, executor: Any) -> None:
        """An executor has been made."""
        self.tell(CREATED, executor_info(executor), clock.perf_counter())

    def executor_shut_down(self, executor: Any) -> None:
        """An executor has been asked to shut down; only the first time counts."""
        origin = executor_info(executor)
        if not origin.shut:
            origin.shut = True
            self.tell(SHUT_DOWN, origin, clock.perf_counter())

    def worker_started(self, executor: Any, worker: str) -> None:
        """A worker is ready; `executor` is None if nobody refers to it any more."""
        if executor is not None:
            self.tell(WORKER_STARTED, executor_info(executor), clock.perf_counter(), None, worker)

    def worker_lost(self, executor: Any, worker: str, error: BaseException) -> None:
        """A worker has ended that should not have."""
        if executor is not None:
            self.tell(WORKER_LOST, executor_info(executor), clock.perf_counter(), None, worker, error)


def executor_info(executor: Any) -> ExecutorInfo:
    """Returns the one `ExecutorInfo` of an executor."""
    known: ExecutorInfo | None = executor.__dict__.get("_origin")
    if known is not None:
        return known
    origin: ExecutorInfo = executor.__dict__.setdefault("_origin", ExecutorInfo(executor))
    return origin


def _drop(_: object) -> None:
    """Nobody listens, or does any more."""


def name_of(fn: Any) -> str:
    """Returns what a function is called."""
    while (inner := getattr(fn, "func", None)) is not None and not hasattr(fn, "__qualname__"):  # functools.partial
        fn = inner
    name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) else type(fn).__name__


instrumentation: Final = Audience()
