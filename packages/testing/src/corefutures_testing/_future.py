"""`SimulatedFuture`, whose waits let calls run, and `Pool`, the queue and the workers of one simulated executor.

Touches the toolkit's future; a simulation by the methods of `Simulation`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from corefutures import CancelledError
from corefutures_pools.future import PoolFuture
from corefutures_pools.instrumentation import name_of

_T = TypeVar("_T")


class Pool:
    """The queue and the workers of one executor; the simulation keeps it alive while it has calls.

    Attributes:
        simulation: The `Simulation`.
        waiting: The calls that have not started, oldest first.
        tasks: The calls that its workers run.
        closed: Whether it takes no more calls.
    """

    def __init__(self, simulation: Any, max_workers: int) -> None:
        self.simulation = simulation
        self.max_workers = max_workers
        self.waiting: dict[SimulatedFuture[Any], None] = {}
        self.tasks: dict[Any, None] = {}
        self.closed = False

    def close(self) -> None:
        """Take no more calls."""
        self.closed = True

    def has_calls(self) -> bool:
        """Return whether a call waits or runs."""
        return bool(self.waiting or self.tasks)


class SimulatedFuture(PoolFuture[_T]):
    """The future of a simulated call: a thread that waits for it lets calls run."""

    _cf_number = 0  # counts the calls of the simulation
    _cf_timeout: float | None = None  # seconds that the call may run

    def __init__(self, pool: Pool, fn: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any] | None) -> None:
        super().__init__(fn, args, kwargs)
        self._cf_pool = pool
        self._cf_function = name_of(fn)

    @property
    def _cf_label(self) -> str:
        return self._cf_name or self._cf_function.rpartition("<locals>.")[2]

    def done(self) -> bool:
        """Return True if the call was cancelled or has finished; calls may run before that is looked at."""
        if not super().done():
            self._cf_pool.simulation.poll(self)
        return super().done()

    def _cf_complete_cancel(self) -> None:
        self._cf_pool.simulation.forget(self._cf_pool, self)
        super()._cf_complete_cancel()

    def _cf_await_end(self, timeout: float | None) -> None:
        simulation = self._cf_pool.simulation
        if timeout is None or timeout > 0:
            deadline = None if timeout is None else simulation.now + timeout
            simulation.run_until(super().done, deadline, (self,))
        if not super().done():
            raise TimeoutError
        if self.cancelled():
            raise CancelledError

    def _cf_subscribe(self, waiter: Any) -> bool:
        if not (subscribed := super()._cf_subscribe(waiter)):
            return False
        self._cf_pool.simulation.subscribe(self)
        return subscribed

    @property
    def _condition(self) -> Any:  # type: ignore[override]
        # The standard library's `wait` and `as_completed` take it before they block by means of their own.
        simulation = self._cf_pool.simulation
        if not super().done() and not simulation.is_deciding():
            simulation.run_until(super().done, None, (self,), idles=False)
        return super()._condition
