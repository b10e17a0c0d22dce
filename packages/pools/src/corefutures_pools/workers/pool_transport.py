"""`PoolTransport`: what carries the calls of a `WorkerPool` to its workers; `shared_queue` and `pipes` each have one.

Touches nothing. Guarantees: this is all that a pool, its supervisor and its call control ask of a transport.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from corefutures._blocking import threading
    from corefutures_pools.workers.future import CallFuture
    from corefutures_pools.workers.interface import WorkerLauncher
    from corefutures_pools.workers.snapshot import Occupation


class PoolTransport(ABC):
    """Sends calls to workers and receives their results; a transport's pool class implements it.

    Thread safety: the methods of the first two groups may be called from any thread, signal handler or finaliser.
    """

    thread: threading.Thread | None  # the first thread of the pool, once it has been started

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def dispatch(self, future: CallFuture[Any]) -> None:
        """Send what can be sent, now that this call is in the table; never block."""

    @abstractmethod
    def revoke(self, future: CallFuture[Any]) -> None:
        """Take back a call that was sent, and cancel it, unless it has started."""

    @abstractmethod
    def is_running(self, future: CallFuture[Any]) -> bool:
        """Return whether a worker runs the call."""

    @abstractmethod
    def cancel_waiting(self) -> None:
        """Cancel every call that has not started."""

    @abstractmethod
    def request_stop(self, future: CallFuture[Any]) -> bool:
        """Ask the worker that runs the call to stop it; return False if no worker is known to run it."""

    @abstractmethod
    def grant(self, connection: Any, number: int, count: int) -> None:
        """Have a thread of the pool let a worker send `count` more items of a stream; 0: it is to send no more.

        Args:
            connection: The worker's, from which items of the stream have come.
            number: The number of the call that is the stream; nothing happens if it has ended.
            count: How many items.
        """

    @abstractmethod
    def kill_running(self, future: CallFuture[Any], error: BaseException) -> bool:
        """Kill the worker that runs the call, which fails with `error`; return False if no such worker was found."""

    # ── threads that wait, threads that look ─────────────────────────────────────────────────────────────

    def wait_inline(self, future: CallFuture[Any], timeout: float | None) -> tuple[float | None, bool]:
        """Receive results in a thread that is about to wait for `future`, where the transport can do so.

        Returns:
            What is left of `timeout`, and whether the thread has waited.
        """
        return timeout, False

    def step_down(self) -> None:
        """End the `wait_inline` that this thread has interrupted, if any: the thread is about to wait for calls."""
        return

    @abstractmethod
    def wake(self) -> None:
        """Have the pool's threads look at its state again; never block."""

    @abstractmethod
    def occupations(self) -> Iterable[Occupation]:
        """Return what the workers do, as far as the pool's process knows; take no lock."""

    @abstractmethod
    def body_of(self, future: CallFuture[Any]) -> Any:
        """Return the beginning of the serialised call, None if it is gone."""

    # ── workers ──────────────────────────────────────────────────────────────────────────────────────────

    @abstractmethod
    def open_transport(self) -> None:
        """Make what all workers share; called once, before the first worker starts."""

    @abstractmethod
    def start_threads(self) -> None:
        """Start the first thread of the pool; called once, after `open_transport`."""

    @abstractmethod
    def start_worker(self, launcher: WorkerLauncher, *, spare: bool = False) -> None:
        """Start a worker, and add its connection to `supervisor.workers`, or to `supervisor.spares`."""

    @abstractmethod
    def promote(self, connection: Any) -> None:
        """Have a spare take calls, which has been moved to `supervisor.workers`; never block."""

    def is_unserved(self) -> bool:
        """Return whether no thread reads what workers send, nor ever will."""
        return self.thread is None

    def owns_thread(self, thread: threading.Thread) -> bool:
        """Return whether `thread` is one of the pool's own, which must not wait for calls of the pool."""
        return thread is self.thread

    @abstractmethod
    def end_workers(self, how: str) -> None:
        """Call `terminate` or `kill` (`how`) on every worker."""

    @abstractmethod
    def release_resources(self, *, in_child: bool = False) -> None:
        """Close the pool's ends of everything, after the end or in a forked child."""
