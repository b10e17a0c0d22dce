"""Stopping calls that run: on request, or when their time is up.

Touches `pool` by its methods only. Guarantees: whoever is killed ran that call, and nothing else, at that moment; what
is late is late by some hundredths of a second, and never early.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from corefutures._exceptions import WorkerLostError
from corefutures._future import LOGGER
from corefutures._loops import log_failure
from corefutures._originals import clock
from corefutures._threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures._isolated.future import CallFuture
    from corefutures._isolated.pool import Pool

#: Seconds between looks at the calls that have a time limit.
_PERIOD: Final = 0.01
#: Seconds between tries to find the worker of a call that is on its way.
PAUSE: Final = 0.001


def kill(pool: Pool, future: CallFuture[Any]) -> bool:
    """Ends a call: cancels it, or kills the worker that runs it.

    Returns:
        Whether this ended it; False if it had ended.
    """
    pool.relieve()
    while not future.done():
        if future._cancel_waiting():
            return True
        if pool.condemn(future, WorkerLostError(f"{_described(future)} was killed on request, and its worker with it")):
            return True
        time.sleep(PAUSE)  # it has been claimed, and is not known to run; or it is about to end
    return False


def _described(future: CallFuture[Any]) -> str:
    return f"the call {future._cf_name!r}" if future._cf_name else "the call"


class Limits:
    """The calls of a pool whose running time is limited, and the thread that looks after them while there are any."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._limited: dict[CallFuture[Any], tuple[float, float | None]] = {}  # → limit; when it was first seen running
        # Guards the table and whether there is a thread. Nothing else happens under it. Reentrant, because a
        # signal handler that submits may interrupt its holder.
        self._lock = threading.RLock()
        self._watched = False
        self._expected = 0  # calls that are being submitted

    def submit(self, seconds: float, submit: Callable[[], CallFuture[Any]]) -> CallFuture[Any]:
        """Submits a call, and sees to it that it runs no longer than `seconds`.

        Raises:
            RuntimeError: No thread could be started to see to that; nothing was submitted.
            BaseException: What `submit` raises.
        """
        with self._lock:
            self._expected += 1  # first: from here on the thread, if there is one, stays
            watched, self._watched = self._watched, True
        try:
            if not watched:
                try:
                    start_thread(threading.Thread(target=self._watch, name=f"{self._pool.name} limits", daemon=True))
                except BaseException:
                    self._watched = False  # the next call tries again
                    raise
            future = submit()
            self._limited[future] = (seconds, None)
        finally:
            with self._lock:
                self._expected -= 1
        return future

    def _watch(self) -> None:
        while True:
            for future, (seconds, started) in list(self._limited.items()):
                try:
                    self._look_at(future, seconds, started)
                except BaseException:  # of one call: it is tried again, and the others have limits as well
                    log_failure(LOGGER, "the time limit of %r could not be kept yet", future)
            with self._lock:
                if not self._limited and not self._expected:
                    self._watched = False
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
            self._pool.condemn(future, TimeoutError(message))
