"""Stopping calls that run: on request, or when their time is up.

Touches `pool` by its methods only. Guarantees: whoever is killed ran that call, and nothing else, at that moment; what
is late is late by some hundredths of a second, and never early.
"""

from __future__ import annotations

import threading
import time

from corefutures._blocking import Lock, clock, start_thread
from corefutures._exceptions import WorkerLostError
from corefutures._foreign_code import log_failure
from corefutures._future import LOGGER, Future

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final

    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.pool import WorkerPool

#: Seconds between looks at the calls that have a time limit.
_PERIOD: Final = 0.01
#: Seconds between tries to find the worker of a call that is on its way.
PAUSE: Final = 0.001


def kill(pool: WorkerPool, future: CallFuture[Any]) -> bool:
    """Ends a call: cancels it, or kills the worker that runs it.

    Returns:
        Whether this ended it; False if it had ended.
    """
    pool.step_down()
    if future.done():
        return False
    return future._cancel_waiting() or undisturbed(lambda: _kill_running(pool, future))


def _kill_running(pool: WorkerPool, future: CallFuture[Any]) -> bool:
    while not future.done():
        if pool.kill_running(
            future, WorkerLostError(f"{_described(future)} was killed on request, and its worker with it")
        ):
            return True
        time.sleep(PAUSE)  # it has been claimed, and is not known to run; or it is about to end
        if future._cancel_waiting():  # it has been given back
            return True
    return False


def undisturbed(function: Callable[[], bool]) -> bool:
    """Returns what a function does that takes locks, or stops a worker, which others need.

    A signal handler that came in between could wait for these others. Handlers run in the main thread: so that has a
    thread of its own do it, and waits for that, and an interrupt ends the waiting alone.

    Raises:
        BaseException: Whatever the function, or a handler, raises.
    """
    if threading.current_thread() is not threading.main_thread():
        return function()
    outcome: Future[bool] = Future()

    def call() -> None:
        try:
            result = function()
        except BaseException as exc:
            outcome.set_exception(exc)
        else:
            outcome.set_result(result)

    try:
        start_thread(threading.Thread(target=call, name="killing", daemon=True))
    except RuntimeError:  # there are too many, or the interpreter ends
        return function()
    return outcome.result()


def _described(future: CallFuture[Any]) -> str:
    return f"the call {future._cf_name!r}" if future._cf_name else "the call"


class Limits:
    """The calls of a pool whose running time is limited, and the thread that looks after them while there are any."""

    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._limited: dict[CallFuture[Any], tuple[float, float | None]] = {}  # → limit; when it was first seen running
        # Guards whether there is a thread, and how many need it. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._watched = False
        self._expected = 0  # calls that are being submitted

    def submit(self, seconds: float, submit: Callable[[], CallFuture[Any]]) -> CallFuture[Any]:
        """Submits a call, and sees to it that it runs no longer than `seconds`.

        Raises:
            RuntimeError: No thread could be started to see to that; nothing was submitted.
            BaseException: What `submit` raises.
        """
        expected = starting = False
        thread: threading.Thread | None = None
        try:
            if self._lock.taken:
                self._expected += 1  # first: from here on the thread, if there is one, stays
                expected, starting = True, not self._watched
                self._watched = True
                self._lock.release()
            if starting:
                thread = threading.Thread(target=self._watch, name=f"{self._pool.name} limits", daemon=True)
                start_thread(thread)
                starting = False
            future = submit()
            self._limited[future] = (seconds, None)
        finally:
            if self._lock.taken:
                if expected:
                    self._expected -= 1
                self._lock.release()
            if starting and not (thread is not None and thread.is_alive()):
                self._watch()  # others may have relied on it, and nobody else looks after their calls
        return future

    def _watch(self) -> None:
        while True:
            for future, (seconds, started) in list(self._limited.items()):
                try:
                    self._look_at(future, seconds, started)
                except BaseException:  # of one call: it is tried again, and the others have limits as well
                    log_failure(LOGGER, "the time limit of %r could not be kept yet", future)
            over = False
            if self._lock.taken:
                if not self._limited and not self._expected:
                    self._watched, over = False, True
                self._lock.release()
            if over:
                return
            time.sleep(_PERIOD)

    def _look_at(self, future: CallFuture[Any], seconds: float, started: float | None) -> None:
        now = clock.monotonic()
        if future.done():
            self._limited.pop(future, None)
        elif started is None:
            if future.running():
                self._limited[future] = (seconds, now)
        elif now - started >= seconds:
            message = f"{_described(future)} ran longer than {seconds:g} s, and was killed with its worker"
            self._pool.kill_running(future, TimeoutError(message))
