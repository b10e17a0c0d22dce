"""What goes wrong with a cluster, as exceptions.

Touches the door. Guarantees: each future gets an exception object of its own (E5).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from corefutures import BrokenExecutor, WorkerLostError

if TYPE_CHECKING:
    from distributed.scheduler import KilledWorker


class BrokenDaskPool(BrokenExecutor):
    """The scheduler is gone, or an initializer has failed: the calls that were pending fail with this error."""


class RemoteTraceback(Exception):
    """The cause of an exception that a call raised: shows the traceback of the worker."""

    def __init__(self, text: str) -> None:
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def worker_lost(error: KilledWorker) -> WorkerLostError:
    """Returns the error of a call whose workers died, as often as Dask was willing to try."""
    address = getattr(error.last_worker, "address", None)
    runs = error.allowed_failures + 1
    times = "once" if runs == 1 else f"{runs} times"
    lost = WorkerLostError(
        f"the worker at {address} ended while it ran the call, which Dask had started {times} (allowed-failures)",
        worker=address,
    )
    lost.__cause__ = error
    return lost


def given_up(runs: int, error: Exception) -> WorkerLostError:
    """Returns the error of a call whose arguments were lost with a worker, as often as Dask allows."""
    times = "once" if runs == 1 else f"{runs} times"
    lost = WorkerLostError(
        f"a worker ended that had the arguments of the call, which was sent {times} (allowed-failures): {error}"
    )
    lost.__cause__ = error
    return lost


def broken(message: str, cause: BaseException | None) -> BrokenDaskPool:
    """Returns a broken-pool error with its cause."""
    error = BrokenDaskPool(message)
    error.__cause__ = cause
    return error
