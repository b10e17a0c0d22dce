"""Instrumentation: the events that executors emit, and `CallRecord`, all that is known of one call.

Touches the clock; `_observers` sets the sink. Guarantees: emitting takes no lock, never blocks and runs no foreign
code, so that it may be done anywhere; without observers, only `instrumentation.enabled` is read.
"""

from __future__ import annotations

import itertools
import weakref
from _contextvars import ContextVar
from concurrent.futures import BrokenExecutor

from corefutures._blocking import clock
from corefutures._foreign_code import LiveObjects, class_name

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

#: The name that pluggy's markers and plugin managers agree on.
PROJECT: Final = "corefutures"

#: Which attempt of its call a submission is; whoever tries calls again sets this while submitting.
attempt_number: ContextVar[int] = ContextVar("corefutures.attempt_number", default=1)

_numbers = itertools.count(1)
_names: dict[str, itertools.count[int]] = {}


#: Every live executor and scope that has a `snapshot`, for `dump`.
executors = LiveObjects()


def register_for_dump(executor: Any) -> None:
    """Have `corefutures.dump` show `executor.snapshot()`, as long as the executor lives; it is not kept alive.

    Thread safety: may be called from any thread.
    """
    executors.add(executor)


class ExecutorInfo:
    """The executor that emits an event; the event does not keep it alive."""

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


class CallRecord:
    """All that is known of one call; its attributes are filled in while the call is submitted, runs and ends.

    Attributes:
        number: Counts the observed calls of this process.
        attempt: Which attempt of its call it is: more than 1 where a call is tried again.
        function: The name of its function.
        submitted: When it was submitted. Times are seconds by `time.perf_counter`, which is one clock for all
            processes of a machine.
        started: When a worker started it; None before that, or where that can't be known.
        finished: When the worker had finished it, or it was cancelled or lost.
        worker: The name of the worker; None where `started` is.
        outcome: "returned", "raised", "cancelled" or "lost" (with its worker or pool); None before that.
        error: The name of the exception's type, if the call raised or was lost.
        size: Bytes of the serialised arguments; None where nothing is serialised.
        result_size: Bytes of the serialised result; None where nothing is serialised.
        pickling: Seconds that serialising the arguments took, just before `submitted`; None where it is not known.
    """

    __slots__ = (
        "_future", "attempt", "error", "executor_info", "finished", "function", "given_name", "number", "outcome",
        "pickling", "result_size", "size", "started", "submitted", "worker",
    )  # fmt: skip

    def __init__(
        self, info: ExecutorInfo, function: str, future: Any, size: int | None, pickling: float | None = None
    ) -> None:
        self.number: int = next(_numbers)
        self.attempt = attempt_number.get()
        self.function = function
        self.given_name: str | None = None  # by `options(name=…)`; may be set after the call has ended
        self.executor_info = info
        self.size = size
        self.pickling = pickling
        self.started: float | None = None
        self.finished: float | None = None
        self.worker: str | None = None
        self.outcome: str | None = None
        self.error: str | None = None
        self.result_size: int | None = None
        self._future = weakref.ref(future)
        self.submitted: float = clock.perf_counter()

    def __repr__(self) -> str:
        return f"<call {self.number} of {self.executor_info.name}: {self.name} {self.outcome or 'has not ended'}>"

    @property
    def name(self) -> str:
        """The name that the call was given with `PoolExecutor.options`, or else its function's."""
        return self.given_name or getattr(self._future(), "_cf_name", None) or self.function

    @property
    def executor(self) -> Executor | None:
        """The executor, None once nobody refers to it."""
        executor: Executor | None = self.executor_info.executor
        return executor

    @property
    def future(self) -> Future[Any] | None:
        """The future, None once nobody refers to it."""
        future: Future[Any] | None = self._future()
        return future

    def begin(self, worker: str, when: float | None = None) -> None:
        """Record that a worker starts the call: now, or at the time `when`. For executors."""
        self.started = when = clock.perf_counter() if when is None else when
        self.worker = worker
        instrumentation.emit(STARTED, self.executor_info, when, self, worker)

    def end(self, future: Any) -> None:
        """Record that the future has ended, and emit that. For executors, as the first of the future's callbacks."""
        self.record_end(future)
        assert self.finished is not None
        if self.outcome == "cancelled":
            instrumentation.emit(CANCELLED, self.executor_info, self.finished, self)
        else:
            instrumentation.emit(FINISHED, self.executor_info, self.finished, self, self.worker)

    def record_end(self, future: Any = None) -> bool:
        """Record how the future has ended, and return whether it has. For observers that can't wait for the event."""
        if self.outcome is not None:
            return True
        if future is None and ((future := self._future()) is None or not future.done()):
            return False
        self.given_name = self.given_name or getattr(future, "_cf_name", None)
        finished_by_worker = self.finished is not None
        if not finished_by_worker:
            self.finished = clock.perf_counter()
        if future.cancelled():
            self.outcome = "cancelled"
        elif (error := future.exception()) is None:
            self.outcome = "returned"
        else:
            self.error = class_name(error)
            is_lost = issubclass(type(error), BrokenExecutor) and not finished_by_worker
            self.outcome = "lost" if is_lost else "raised"
        return True


class Event:
    """Something that happened; `hook` is the name of the observers' function to call."""

    __slots__ = ("call", "error", "executor_info", "hook", "time", "worker")

    def __init__(
        self,
        hook: str,
        info: ExecutorInfo,
        time: float,
        call: CallRecord | None,
        worker: str | None,
        error: BaseException | None,
    ) -> None:
        self.hook = hook
        self.executor_info = info
        self.time = time
        self.call = call
        self.worker = worker
        self.error = error


class Instrumentation:
    """The one place where events are emitted; there is one object of this class.

    Attributes:
        enabled: Whether calls are recorded: executors read it before anything else.
        always_enabled: Whether calls are recorded even without an observer.
        sink: Called with each event.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    __slots__ = ("always_enabled", "enabled", "sink")

    def __init__(self) -> None:
        self.enabled = self.always_enabled = False
        self.sink: Callable[[Any], object] = discard

    def emit(
        self,
        hook: str,
        info: ExecutorInfo,
        time: float,
        call: CallRecord | None = None,
        worker: str | None = None,
        error: BaseException | None = None,
    ) -> None:
        """Hand an event to the sink."""
        self.sink(Event(hook, info, time, call, worker, error))

    def track_call(
        self, executor: Any, fn: Any, future: Any, size: int | None = None, pickling: float | None = None
    ) -> None:
        """Record a call that was submitted. Called before anybody else can have its future."""
        future._cf_observed = call = CallRecord(executor_info(executor), name_of(fn), future, size, pickling)
        self.emit(SUBMITTED, call.executor_info, call.submitted, call)
        future.add_done_callback(call.end)

    def executor_created(self, executor: Any) -> None:
        """Emit that an executor was made."""
        self.emit(CREATED, executor_info(executor), clock.perf_counter())

    def executor_shut_down(self, executor: Any) -> None:
        """Emit that an executor was asked to shut down; only the first time counts."""
        info = executor_info(executor)
        if not info.shut:
            info.shut = True
            self.emit(SHUT_DOWN, info, clock.perf_counter())

    def worker_started(self, executor: Any, worker: str) -> None:
        """Emit that a worker is ready; `executor` is None if nobody refers to it any more."""
        if executor is not None:
            self.emit(WORKER_STARTED, executor_info(executor), clock.perf_counter(), None, worker)

    def worker_lost(self, executor: Any, worker: str, error: BaseException) -> None:
        """Emit that a worker has ended unexpectedly."""
        if executor is not None:
            self.emit(WORKER_LOST, executor_info(executor), clock.perf_counter(), None, worker, error)


def executor_info(executor: Any) -> ExecutorInfo:
    """Return the one `ExecutorInfo` of an executor."""
    known: ExecutorInfo | None = executor.__dict__.get("_cf_info")
    if known is not None:
        return known
    info: ExecutorInfo = executor.__dict__.setdefault("_cf_info", ExecutorInfo(executor))
    return info


def discard(_: object) -> None:
    """Drop an event: the sink while there is no observer."""


def name_of(fn: Any) -> str:
    """Return the name of a function, for messages and records."""
    while (inner := getattr(fn, "func", None)) is not None and not hasattr(fn, "__qualname__"):  # functools.partial
        fn = inner
    name = getattr(fn, "__qualname__", None)
    return name if isinstance(name, str) else type(fn).__name__


instrumentation: Final = Instrumentation()
