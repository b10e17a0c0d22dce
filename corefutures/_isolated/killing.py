"""Stopping calls that run: on request, or when their time is up.

Touches `pool` by its methods only. Guarantees: whoever is killed ran that call, and nothing else, at that moment; what
is late is late by some hundredths of a second, and never early.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

from corefutures._exceptions import WorkerLostError
from corefutures._originals import clock

if TYPE_CHECKING:
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

    def add(self, future: CallFuture[Any], seconds: float) -> None:
        """Sees to it that the call runs no longer than `seconds`."""
        with self._lock:
            self._limited[future] = (seconds, None)
            watched, self._watched = self._watched, True
        if not watched:
            threading.Thread(target=self._watch, name=f"{self._pool.name} limits", daemon=True).start()

    def _watch(self) -> None:
        while True:
            for future, (seconds, started) in list(self._limited.items()):
                now = clock.monotonic()
                if future.done():
                    with self._lock:
                        self._limited.pop(future, None)
                elif started is None:
                    if future.running():
                        self._limited[future] = (seconds, now)
                elif now - started >= seconds:
                    message = f"{_described(future)} ran longer than {seconds:g} s, and was killed with its worker"
                    self._pool.condemn(future, TimeoutError(message))
            with self._lock:
                if not self._limited:
                    self._watched = False
                    return
            time.sleep(_PERIOD)
