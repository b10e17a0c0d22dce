"""`AdaptedCall`: the callable that a foreign executor gets; and the executors that a thread is inside of.

Touches the future of the call. Guarantees: a call that has been cancelled does nothing, wherever it is called.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol

from corefutures._blocking import threading
from corefutures_pools.helping import run_call

if TYPE_CHECKING:
    from collections.abc import Callable


class _ReentryGuard(threading.local):
    """The executors that the current thread is inside of: in `submit`, in a call or in a callback.

    The thread can't wait for any of them. No context manager: a signal handler could raise in its `__exit__`.
    """

    executors: tuple[object, ...] = ()


entered = _ReentryGuard()


class CarriedError(Exception):
    """The outcome of a call that raised an exception which executors lose.

    That is one that may be false, where they ask `if exception:`; and one that is no Exception, which ends their
    workers.

    Attributes:
        error: That exception.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__("the call raised an exception that may be false, or is no Exception")
        self.error = error


def _may_be_lost(kind: type) -> bool:
    return not issubclass(kind, Exception) or hasattr(kind, "__bool__") or hasattr(kind, "__len__")


class WorkerOwner(Protocol):
    """The adapted executor, as the call sees it."""

    initialize_thread: Callable[[], None] | None  # called before each call that is run in this process


class CallSource(Protocol):
    """The future of a call, as the call sees it."""

    @property
    def _cf_fn(self) -> Callable[..., Any] | None:
        """The function that is called, None once the future has ended."""

    @property
    def executor(self) -> WorkerOwner | None:
        """The adapted executor, None once the future has ended."""

    def start(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None:
        """Mark the call as running and return it; None if it has been cancelled."""

    def dispatch(self) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]] | None:
        """Take note that a copy of the call may run elsewhere, and return it; None if it has been cancelled."""


class AdaptedCall:
    """The callable, without arguments, that the foreign executor gets.

    Where it is called in this process, it marks its future as running. Where it is pickled, the bare call travels, as
    the standard library's `partial`, which any worker can import.
    """

    __slots__ = ("future",)

    def __init__(self, future: CallSource) -> None:
        self.future: CallSource | None = future  # None once it has ended

    @property
    def __name__(self) -> str:
        """The function's name, which listings and keys of the foreign executor may show."""
        future = self.future
        fn = None if future is None else future._cf_fn
        return str(getattr(fn, "__name__", type(fn).__name__))

    def __call__(self) -> Any:
        """Run the call in this thread, unless it has been cancelled."""
        future = self.future
        executor = None if future is None else future.executor
        call = None if future is None else future.start()
        if call is None or executor is None:
            return None  # cancelled; an error might be logged, or the call repeated
        error = None
        before, entered.executors = entered.executors, (*entered.executors, executor)
        try:
            if (initialize := executor.initialize_thread) is not None:
                initialize()
            result, error = run_call(future, *call)
            if error is not None:
                raise CarriedError(error) if _may_be_lost(type(error)) else error
            return result
        finally:
            entered.executors = before
            del self, call, future, executor, error  # an exception's traceback refers to this frame: no cycle (F6)

    def __reduce__(self) -> tuple[Any, ...]:
        future = self.future
        call = None if future is None else future.dispatch()
        if call is None:  # cancelled
            return functools.partial, (bool,)
        fn, args, kwargs = call
        copy = functools.partial(fn, *args, **kwargs)  # it refuses some arguments
        return copy.__reduce__() if kwargs else (functools.partial, (fn, *args))  # type: ignore[return-value]
