"""Every exception class of corefutures.

Imports nothing but `concurrent.futures`. The manual's exceptions are the standard
library's own objects, so that `except` clauses written for `concurrent.futures` keep working.
"""

from __future__ import annotations

from concurrent.futures import (
    BrokenExecutor,
    CancelledError,
    InvalidStateError,
    TimeoutError as TimeoutError,  # noqa: A004 - the manual's name
)

__all__ = [
    "BackendBrokenError",
    "BackendConflictError",
    "BackendDisabledError",
    "BackendError",
    "BackendNotFoundError",
    "BackendUnavailableError",
    "BrokenExecutor",
    "CancelledError",
    "DeadlockError",
    "InvalidStateError",
    "PoolFullError",
    "TimeoutError",
    "UnsupportedError",
    "WorkerLostError",
]


class BackendError(RuntimeError):
    """A backend cannot be used; the message says which, whose, why, and what to do."""


class BackendNotFoundError(BackendError, LookupError):
    """No backend of that name is installed or registered."""


class BackendUnavailableError(BackendError):
    """The backend is installed but cannot run here."""


class BackendBrokenError(BackendError):
    """The backend's metadata, import, hook or factory failed."""


class BackendConflictError(BackendError):
    """Several owners claim the backend's name."""


class BackendDisabledError(BackendError):
    """The environment variable COREFUTURES_DISABLE names the backend."""


class UnsupportedError(BackendError, ValueError):
    """The backend can't do what was asked for; the message names one that can."""


class DeadlockError(RuntimeError):
    """Calls wait for each other in a circle; the message draws it."""


class PoolFullError(RuntimeError):
    """As many calls as `max_pending` allows are waiting, and the pool was made with `when_full="raise"`."""


class WorkerLostError(BrokenExecutor):
    """A worker ended before it finished the call that it was running.

    Args:
        message: The text of the error; composed from the rest if not given.
        pid: The lost worker's process id.
        exitcode: Its exit code; negative: the number of the signal that killed it.
        worker: Its name.

    Each of the three is an attribute too, None where it is not known.
    """

    def __init__(
        self,
        message: str | None = None,
        *,
        pid: int | None = None,
        exitcode: int | None = None,
        worker: str | None = None,
    ) -> None:
        if message is None:
            message = f"{_worker_name(pid, worker)} was lost: {_ending(exitcode)}"
        super().__init__(message)
        # Kept in __dict__, which BaseException.__reduce__ carries across a pickle by itself.
        self.pid = pid
        self.exitcode = exitcode
        self.worker = worker


def _worker_name(pid: int | None, worker: str | None) -> str:
    name = f"worker {worker}" if worker else "a worker"
    return name if pid is None else f"{name} (process {pid})"


def _ending(exitcode: int | None) -> str:
    if exitcode is None:
        return "it ended without a word"
    if exitcode >= 0:
        return f"it exited with code {exitcode}"
    import signal  # here for start-up time only

    try:
        return f"it was killed by {signal.Signals(-exitcode).name}"
    except ValueError:
        return f"it was killed by signal {-exitcode}"
