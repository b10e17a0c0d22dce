"""`TimeLimits`: ends calls that run for longer than they may.

Touches a pool's calls by the methods of `_LimitedPool`. Guarantees: a call ends some hundredths of a second after its
limit, never before it.
"""

from __future__ import annotations

from corefutures._blocking import Lock, clock, sleep, start_thread, threading
from corefutures._foreign_code import log_failure
from corefutures._future import LOGGER

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, Protocol

    from corefutures_pools.workers.future import CallFuture

    class _LimitedPool(Protocol):
        """What this file needs of a pool."""

        name: str

        def kill_running(self, future: CallFuture[Any], error: BaseException) -> bool: ...


#: Seconds between looks at the calls that have a time limit.
_INTERVAL: Final = 0.01


def described_call(future: CallFuture[Any]) -> str:
    """Return what messages call a call."""
    return f"the call {future._cf_name!r}" if future._cf_name else "the call"


class TimeLimits:
    """The calls of a pool whose running time is limited, and the thread that looks after them while there are any.

    Args:
        pool: The pool.
    """

    def __init__(self, pool: _LimitedPool) -> None:
        self._pool = pool
        self._limited: dict[CallFuture[Any], tuple[float, float | None]] = {}  # → limit; when it was first seen running
        # Guards whether there is a thread, and how many need it. Nothing is called under it, see `Lock`.
        self._lock = Lock()
        self._watched = False
        self._expected = 0  # calls that are being submitted

    def submit(self, seconds: float, submit: Callable[[], CallFuture[Any]]) -> CallFuture[Any]:
        """Submit a call, and see to it that it runs no longer than `seconds`.

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
                    self._check(future, seconds, started)
                except BaseException:  # of one call: it is tried again, and the others have limits as well
                    log_failure(LOGGER, "the time limit of %r could not be kept yet", future)
            over = False
            if self._lock.taken:
                if not self._limited and not self._expected:
                    self._watched, over = False, True
                self._lock.release()
            if over:
                return
            sleep(_INTERVAL)

    def _check(self, future: CallFuture[Any], seconds: float, started: float | None) -> None:
        now = clock.monotonic()
        if future.done():
            self._limited.pop(future, None)
        elif started is None:
            if future.running():
                self._limited[future] = (seconds, now)
        elif now - started >= seconds:
            message = f"{described_call(future)} ran longer than {seconds:g} s, and was killed with its worker"
            self._pool.kill_running(future, TimeoutError(message))
