"""`InterpreterPoolExecutor`: the manual's interpreter pool, on the machinery that isolated workers share.

Touches that machinery and the modules of this package. Guarantees: the manual's rules for the arguments, checked at the
call; the keyword-only additions change nothing unless they are used.
"""

from __future__ import annotations

import sys

assert sys.version_info >= (3, 14)  # the type checkers know it from here on

import concurrent.futures.interpreter as _standard
import itertools
from concurrent.futures.interpreter import BrokenInterpreterPool

from corefutures_pools.executor import check_at_exit, unsupported
from corefutures_pools.options import (
    check_choice,
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
    from collections.abc import Callable
    from typing import Any, ParamSpec, TypeVar

    from corefutures.backend import Future
    from corefutures_pools.blocking import threading
    from corefutures_pools.options import AtExit, ContextOption, OnRefusal, SlotsOption, WhenFull
    from corefutures_pools.workers.pool import WorkerPool

    _P = ParamSpec("_P")
    _T = TypeVar("_T")


#: Windows can wait for so many processes.
_MOST_PROCESSES = 61 if sys.platform == "win32" else sys.maxsize


def _failure_in_chunk(text: str) -> BaseException:
    from corefutures_interpreter._failures import failure_in_chunk

    return failure_in_chunk(text)


class InterpreterPoolExecutor(IsolatedExecutor, _standard.InterpreterPoolExecutor):
    """Runs calls in a pool of interpreters, each in a thread of this process and with a GIL of its own.

    A subclass of the standard library's class by type only: no method is inherited.

    Args:
        max_workers: The maximum number of interpreters; None for `min(32, n + 4)`, where n is the number of processors
            that this process may use, by its affinity and its container's limit.
        thread_name_prefix: The beginning of the threads' names.
        initializer: Called in each interpreter before its first call. If it fails, the pool is broken.
        initargs: The arguments for `initializer`.
        serializer: "pickle", or "cloudpickle" (to be installed) for closures and functions that use globals of an
            interactive session.
        max_pending: The maximum number of calls that wait to be started, besides those that run; None for no limit.
        when_full: The fate of a call beyond that limit: "block" `submit` until another call starts, "raise" a
            `PoolFullError`, or "caller_runs" the call in the submitter's thread.
        at_exit: The fate of the calls when the main interpreter ends: "wait" for them, or "cancel" those that wait and
            ask those that run to stop (see `cancel_requested`), or "abandon" those besides that run on after that.
        context: The names of context variables whose values are sent with each call, such as
            `["package.module:variable"]`: a call sees the values where it was submitted. They are pickled with it.
        forward_logs: Whether log records of the interpreters are handled here, by the logging configuration of this
            interpreter. The levels are those that loggers have here when an interpreter starts.
        inner_threads: Must be None: the threads of BLAS and OpenMP can be limited for each process only.
        slots: Named resources that calls may demand with `options(slots=…)`, such as `{"gpu": [0, 1], "db": 3}`: for
            each name a list of ids, or a number.
        on_refusal: The fate of a call that an interpreter can't load, because an extension module refuses to be loaded
            there: "raise" its error, or run the call in a "process" of a pool that is made at the first such call. Its
            function has not begun then. "rerun" runs also a call again from its beginning that had begun, and failed
            with such an error, as of an import in the function.

    Raises:
        ValueError: An argument has an invalid value.
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
        slots: SlotsOption = None,
        on_refusal: OnRefusal = "raise",
    ) -> None:
        # Imports in functions are here for start-up time only.
        from corefutures_interpreter import _worker_interpreter
        from corefutures_interpreter._availability import unavailable_reason

        reason = unavailable_reason()
        if reason is not None:
            from corefutures import UnsupportedError

            raise UnsupportedError(f"InterpreterPoolExecutor can't run calls here: {reason}")
        if _worker_interpreter.importing_main:
            raise RuntimeError(
                "a worker interpreter imports the main module, and that makes a pool: put what is not to run in the"
                ' workers under `if __name__ == "__main__":`'
            )
        from corefutures_pools.workers.main_file import note_main_file

        note_main_file()
        self._max_workers: int = check_max_workers(max_workers)
        if thread_name_prefix is not None:  # the standard library accepts None
            check_text("thread_name_prefix", thread_name_prefix)
        self._initargs = check_initializer(initializer, initargs)
        self._initializer = initializer
        check_serializer(serializer, "corefutures-interpreter")
        check_at_exit(self, at_exit, "interpreters", abandons=True)
        check_flag("forward_logs", forward_logs)
        if inner_threads is not None:
            raise unsupported(self, "limit the threads of BLAS and OpenMP")
        self._cf_carried = None
        if context is not None:
            from corefutures_pools.context import check_carried

            self._cf_carried = check_carried(self, context)
        check_choice("on_refusal", on_refusal, ("raise", "process", "rerun"))
        if on_refusal != "raise":
            _check_process_backend(on_refusal)
        self._cf_on_refusal = on_refusal
        self._cf_serializer = serializer
        self._cf_limiter_options = (max_pending, when_full, self._max_workers)
        if slots is not None:
            self._cf_set_slots(slots, when_full)
        self._cf_at_exit = at_exit
        if at_exit == "abandon":
            from corefutures_interpreter._abandoned_calls import watch_exit_status

            watch_exit_status()
        self._cf_forwards_logs = bool(forward_logs)
        self._thread_name_prefix: str = thread_name_prefix or f"InterpreterPoolExecutor-{self._counter()}"
        self._threads: set[threading.Thread] = set()
        # The pickles of workers name this process's main module `__mp_main__`, its name there.
        sys.modules.setdefault("__mp_main__", sys.modules["__main__"])
        self._cf_begin()

    def _cf_make_pool(self) -> WorkerPool:
        from corefutures_interpreter._launcher import InterpreterLauncher
        from corefutures_interpreter._serialization import make_encoder
        from corefutures_pools.workers.pool import PoolOptions
        from corefutures_pools.workers.transport import supports_shared_queue

        self._threads = set()
        logs = None
        if self._cf_forwards_logs:
            from corefutures_pools.workers.logging.receiver import LogReceiver

            logs = LogReceiver(1, self._thread_name_prefix, daemon=self._cf_at_exit == "abandon")
        self._cf_launcher = InterpreterLauncher(
            self._threads, self._thread_name_prefix, self._initializer, self._initargs, self._cf_serializer, logs,
            daemons=self._cf_at_exit == "abandon", on_refusal=self._cf_on_refusal,
        )  # fmt: skip
        encode: Any = make_encoder(self._cf_serializer)
        if self._cf_carried is not None:
            from corefutures_pools.context import ContextEncoder

            encode = ContextEncoder(encode, self._cf_carried)
        if sys.platform == "linux" and supports_shared_queue(self._max_workers):
            from corefutures_interpreter._shared_queue_pool import InterpreterSharedQueuePool as Pool
        else:
            from corefutures_interpreter._pipe_pool import InterpreterPipePool as Pool  # type: ignore[assignment]
        options = PoolOptions(self._max_workers, self.BROKEN, name="interpreter pool", at_exit=self._cf_at_exit)
        return Pool(
            options,
            launcher=self._cf_launcher,
            threads=self._threads,
            encode=encode,
            make_fallback=None if self._cf_on_refusal == "raise" else self._cf_fallback_maker(),
            limiter=self._cf_make_limiter(),
            slots=self._cf_make_scheduler(),
            logs=logs,
        )

    def _cf_fallback_maker(self) -> Callable[[], Any]:
        """Return a function that makes the process pool of refused calls; it does not keep this executor alive."""
        from functools import partial

        from corefutures import create_executor

        return partial(
            create_executor,
            "process",
            max_workers=min(self._max_workers, _MOST_PROCESSES),
            initializer=self._initializer,
            initargs=self._initargs,
            on_worker_loss="replace",
            serializer=self._cf_serializer,
            forward_logs=self._cf_forwards_logs,
        )

    def _cf_interrupt(self) -> None:
        super()._cf_interrupt()
        fallback = self._cf_pool.fallback  # type: ignore[attr-defined]
        if fallback is not None:
            fallback.interrupt()

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Schedule `fn(*args, **kwargs)` to run in one of the interpreters.

        The call is serialised at once: later changes to the arguments are not seen, except for the memory that a
        memoryview shows, which is shared. A call that can't be serialised fails its own future. Until a worker takes
        it, a call keeps its serialised arguments in memory. Content of 256 KiB or more (bytes, bytearrays, arrays) is
        kept once for all waiting calls with equal content. If many calls have other large arguments, limit the number
        of waiting calls (`max_pending`, or `buffersize` of `map`), or share memory (a memoryview).

        The arguments themselves are released at once, unless one of them has a finalizer or custom pickling, so that
        its pickle may only refer to a resource, such as a temporary folder. Such arguments are kept until the call has
        ended.

        Args:
            fn: The function to call.
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

    # Private attributes of the standard library's class that tools read.

    @property
    def _broken(self) -> bool | str:  # type: ignore[override]
        return self._cf_pool.broken_reason or False

    @property
    def _shutdown_lock(self) -> Any:  # type: ignore[override]
        return self._cf_pool.lock

    @property
    def _shutdown(self) -> bool:  # type: ignore[override]
        return self._cf_pool.closing and not self._broken


def _check_process_backend(on_refusal: str) -> None:
    """Raise ValueError if there is no process backend for refused calls; it can't be imported at exit."""
    import corefutures  # few pools need it

    try:
        corefutures.ProcessPoolExecutor  # noqa: B018 - imports it
    except corefutures.BackendError as exc:
        raise ValueError(f"on_refusal={on_refusal!r} needs the process backend: {exc}") from exc
