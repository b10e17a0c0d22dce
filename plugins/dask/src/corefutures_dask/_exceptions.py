"""The exceptions of pools on Dask, and the functions that make them.

Touches the door. Guarantees: each future gets an exception object of its own (E5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from corefutures import BrokenExecutor, WorkerLostError
from corefutures.backend import describe_error

if TYPE_CHECKING:
    from distributed.scheduler import KilledWorker

_E = TypeVar("_E", bound=BaseException)


class BrokenDaskPool(BrokenExecutor):
    """The scheduler is gone, or an initializer has failed: the calls that were pending fail with this error."""


def worker_lost(error: KilledWorker) -> WorkerLostError:
    """Return the error of a call whose workers were lost, as often as Dask was willing to try."""
    address = getattr(error.last_worker, "address", None)
    text = f"the worker at {address} ended while it ran the call, which Dask had started"
    lost = WorkerLostError(f"{text} {_times(error.allowed_failures + 1)} (allowed-failures)", worker=address)
    return _caused(lost, error)


def arguments_lost(runs: int, error: Exception) -> WorkerLostError:
    """Return the error of a call whose arguments were lost with a worker, as often as Dask allows."""
    text = f"a worker ended that had the arguments of the call, which was sent {_times(runs)} (allowed-failures)"
    return _caused(WorkerLostError(f"{text}: {error}"), error)


def task_refused(error: Exception) -> RuntimeError:
    """Return the error of a call that Dask could not run at all."""
    return _caused(RuntimeError(f"Dask could not run the call: {describe_error(error)}"), error)


def broken_pool(message: str, cause: BaseException | None) -> BrokenDaskPool:
    """Return the error of a pool that has failed."""
    return _caused(BrokenDaskPool(message), cause)


def _caused(error: _E, cause: BaseException | None) -> _E:
    error.__cause__ = cause
    return error


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
