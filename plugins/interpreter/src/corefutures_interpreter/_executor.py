"""`InterpreterPoolExecutor`: the manual's interpreter pool, on the machinery that isolated workers share.

Touches the door and that machinery, and `_launcher`. Guarantees: what the manual says of its arguments, checked at
the call; the keyword-only addition changes nothing unless it is used.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import concurrent.futures.interpreter as _standard
import itertools
from concurrent.futures.interpreter import BrokenInterpreterPool

from corefutures_pools.executor import check_at_exit, unsupported
from corefutures_pools.options import (
    check_flag,
    check_initializer,
    check_max_workers,
    check_text,
    not_callable,
    shown,
)
from corefutures_pools.workers.executor import IsolatedExecutor, check_serializer

TYPE_CHECKING = False  # as in `corefutures`: spawned workers run the main module's imports, and do without `typing`

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from corefutures.backend import Future
    from corefutures_pools.options import AtExit, ContextOption, WhenFull
    from corefutures_pools.workers.pool import WorkerPool

    _P = ParamSpec("_P")
    _T = TypeVar("_T")


def _failure_in_chunk(text: str) -> BaseException:
    from corefutures_interpreter._failures import failure_in_chunk  # here for start-up time only

    return failure_in_chunk(text)


class InterpreterPoolExecutor(IsolatedExecutor, _standard.InterpreterPoolExecutor):
    """Runs calls in a pool of interpreters, each in a thread of this process and with a GIL of its own.

    A subclass of the standard library's class by type only: no method is inherited.

    Args:
        max_workers: How many interpreters at most; None for `min(32, n + 4)`, where n is the number of processors
            that this process may use, by its affinity and its container's limit.
        thread_name_prefix: What the names of the threads begin with.
        initializer: Called in each interpreter before its first call. If it fails, the pool is broken.
        initargs: The arguments for `initializer`.
        serializer: "pickle", or "cloudpickle" (to be installed) for closures and functions that use globals of an
            interactive session.
        max_pending: How many calls may wait to be started, besides those that run; None for any number.
        when_full: What `submit` does beyond that: "block" until there is room, "raise" a `PoolFullError`, or
            "caller_runs" it in the submitter's thread.
        at_exit: What becomes of the calls when the interpreter ends: "wait" for them, or "cancel" those that wait and
            ask those that run (see `cancel_requested`).
        context: The names of context variables that calls take along, such as `["package.module:variable"]`: a call
            sees the values that they had where it was submitted. They are pickled with it.
        forward_logs: Whether what the interpreters log is handled here, by the logging configuration of this one. The
            levels are those that loggers have here when an interpreter starts.
        inner_threads: Nothing but None: the threads of BLAS and OpenMP can be limited for each process only.

    Raises:
        ValueError: An argument has a value that makes no sense.
        TypeError: An argument is of the wrong type.
        UnsupportedError: A library such as gevent has replaced threads.
        RuntimeError: The main module, which a worker interpreter imports, makes the pool while it is imported.

    Thread safety: every method may be called from any thread, signal handler or finaliser.
    """

    BROKEN = BrokenInterpreterPool

    _cf_remote_traceback = staticmethod(_failure_in_chunk)

    _counter = itertools.count().__next__

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        serializer: str = "pickle",
        max_pending: int | None = None,
        when_full: WhenFull = "block",
        at_exit: AtExit = "wait",
        context: ContextOption = None,
        inner_threads: None = None,
        forward_logs: bool = False,
    ) -> None:
        from corefutures_interpreter import _worker_interpreter  # here for start-up time only, as is the other one
        from corefutures_interpreter._availability import unavailable_reason

        reason = unavailable_reason()
        if reason is not None:
            from corefutures import UnsupportedError

            raise UnsupportedError(f"InterpreterPoolExecutor can't run calls here: {reason}")
        self._cf_carried = None
        if context is not None:
            from corefutures_pools.context import check_carried  # here for start-up time only

            self._cf_carried = check_carried(self, context)
        if inner_threads is not None:
            raise unsupported(self, "limit the threads of BLAS and OpenMP")
        max_workers = check_max_workers(max_workers)
        if thread_name_prefix is not None:  # as the standard library takes it
            check_text("thread_name_prefix", thread_name_prefix)
        initargs = check_initializer(initializer, initargs)
        check_flag("forward_logs", forward_logs)
        check_serializer(serializer, "corefutures-interpreter")
        if _worker_interpreter.importing_main:
            raise RuntimeError(
                "a worker interpreter imports the main module, and that makes a pool: put what is not to run in the"
                ' workers under `if __name__ == "__main__":`'
            )
        check_at_exit(self, at_exit, "interpreters")
        self._cf_at_exit = at_exit
        self._cf_forwards_logs = bool(forward_logs)
        self._cf_limiter_options = (max_pending, when_full, max_workers)
        self._max_workers: int = max_workers
        self._thread_name_prefix: str = thread_name_prefix or f"InterpreterPoolExecutor-{self._counter()}"
        self._initializer = initializer
        self._initargs = initargs
        self._cf_serializer = serializer
        self._threads: set[threading.Thread] = set()
        # What workers send back refers to this process's main module by the name that it has there.
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        self._cf_begin()

    def _cf_make_pool(self) -> WorkerPool:
        from corefutures_interpreter._launcher import InterpreterLauncher
        from corefutures_interpreter._pools import make_pool  # here for start-up time only, as is the other one

        self._threads = set()
        logs = None
        if self._cf_forwards_logs:
            from corefutures_pools.workers.logging.receiver import LogReceiver  # here for start-up time only

            logs = LogReceiver(1, self._thread_name_prefix)
        self._cf_launcher = InterpreterLauncher(
            self._threads, self._thread_name_prefix, self._initializer, self._initargs, self._cf_serializer, logs
        )
        return make_pool(
            self._max_workers,
            self._cf_launcher,
            self._threads,
            self._cf_serializer,
            self.BROKEN,
            at_exit=self._cf_at_exit,
            limiter=self._cf_make_limiter(),
            carried=self._cf_carried,
            logs=logs,
        )

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Has `fn(*args, **kwargs)` run in one of the interpreters.

        The call is serialised at once: later changes to the arguments are not seen, but for the memory that a
        memoryview shows, which is shared. A call that can't be serialised fails its own future. Until a worker takes
        it, a call keeps its serialised arguments in memory; only content of 256 KiB or more (bytes, bytearrays,
        arrays) that is equal to that of another waiting call is kept once. Of other large arguments in many calls
        limit what waits (`max_pending`, or `buffersize` of `map`), or share their memory (a memoryview).

        The arguments themselves are let go at once, unless one has a finaliser or a way of its own of being pickled,
        from which it may be that its pickle only names something, such as a temporary folder: then they are kept until
        the call has ended.

        Args:
            fn: What to call.
            *args: Its positional arguments.
            **kwargs: Its keyword arguments, of any names.

        Returns:
            The future of the call.

        Raises:
            TypeError: `fn` is not callable, or a script, which the standard library's pool refuses as well.
            RuntimeError: The executor has been shut down, or is broken (`BrokenInterpreterPool`).

        Thread safety: may be called from any thread, signal handler or finaliser.
        """
        if not callable(fn):
            if isinstance(fn, str):
                raise TypeError(f"scripts not supported: submit() takes a callable, not {shown(fn)}")
            raise not_callable("submit", fn)
        return self._cf_pool.submit(fn, args, kwargs)

    # The standard names of private parts that the world reads.

    @property
    def _broken(self) -> bool | str:  # type: ignore[override]
        return self._cf_pool.broken_reason or False

    @property
    def _shutdown_lock(self) -> Any:  # type: ignore[override]
        return self._cf_pool.lock

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self._cf_pool.closing and not self._broken
