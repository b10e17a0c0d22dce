"""The thread that ends a pool's futures and runs their callbacks, so that Dask's loop runs no foreign code.

Touches `_wire` and `_future`. Guarantees: it notices within a second that the client has lost the scheduler or was
closed; it ends last, and closes what the pool has opened.
"""

from __future__ import annotations

import itertools
import logging
import queue
import threading
from typing import TYPE_CHECKING, Any, Final

from corefutures_dask import _wire
from corefutures_dask._exceptions import RemoteTraceback
from corefutures_dask._future import never_waits
from corefutures_pools.blocking import clock, nested_loops
from corefutures_pools.exceptions import set_cause
from corefutures_pools.foreign_code import log_failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from corefutures_dask._future import DaskFuture, Pack

LOGGER = logging.getLogger("concurrent.futures")

#: Seconds between two looks at the client.
PULSE: Final = 0.5
#: Seconds between looks at what a callback waits for: it may end elsewhere.
_LOOK: Final = 0.01
#: Callbacks that may wait within each other.
_DEEP: Final = 20


class Delivery(threading.Thread):
    """Ends futures.

    Args:
        pool: The pool's name.
        close: Called at the end; may take a moment.
        is_lost: Asked now and then whether the connection is lost.
        lose: Called if so.

    Thread safety: every method may be called from any thread.
    """

    def __init__(
        self, pool: str, close: Callable[[], None], is_lost: Callable[[], bool], lose: Callable[[], None]
    ) -> None:
        super().__init__(name=f"{pool} delivery", daemon=True)
        self._orders: queue.SimpleQueue[tuple[int, Callable[[], None]] | None] = queue.SimpleQueue()
        self._close = close
        self._is_lost = is_lost
        self._lose = lose
        self._numbers = itertools.count().__next__
        self._waits = 0  # of callbacks here, each within the last
        self._in_hand: dict[int, list[DaskFuture[Any]]] = {}  # what the orders are about: for a forked child

    def settle(self, pack: Pack, first: int, outcomes: list[bytes]) -> None:
        """Ends the futures of `pack` from `first` on, unless they have ended."""
        futures = pack.futures[first : first + len(outcomes)]
        self._order(futures, lambda: self._settle(pack, futures, outcomes))

    def abandon(self, futures: list[DaskFuture[Any]], error: Callable[[], Exception]) -> None:
        """Ends futures with an error each, unless they have ended."""

        def work() -> None:
            for future in futures:
                future._cf_abandon(error())

        self._order(futures, work)

    def cancel(self, futures: list[DaskFuture[Any]]) -> None:
        """Cancels calls that somebody wanted to be cancelled while they were out."""

        def work() -> None:
            for future in futures:
                try:
                    future._cancel_waiting()
                except BaseException:
                    log_failure(LOGGER, "exception calling callback for %r", future)

        self._order(futures, work)

    def end(self) -> None:
        """Closes and ends, after all that was ordered before."""
        self._orders.put(None)

    def undelivered(self) -> list[DaskFuture[Any]]:
        """Returns the futures that have not been told yet what has become of them."""
        return [future for futures in self._in_hand.values() for future in futures]

    def _order(self, futures: list[DaskFuture[Any]], work: Callable[[], None]) -> None:
        number = self._numbers()
        self._in_hand[number] = futures
        self._orders.put((number, work))

    def run(self) -> None:
        """Carries out orders until the end."""
        never_waits.yes = True
        nested_loops[threading.get_ident()] = self._serve_meanwhile
        try:
            while self._carry_out(PULSE):
                pass
        finally:
            del nested_loops[threading.get_ident()]
            self._close()

    def _carry_out(self, patience: float) -> bool:
        """Carries out one order, if there is one within so many seconds; returns False at the end."""
        try:
            order = self._orders.get(timeout=patience)
        except queue.Empty:
            try:
                if self._is_lost():
                    self._lose()
            except BaseException:  # it is tried again
                log_failure(LOGGER, "Exception while the loss of the scheduler was looked after")
            return True
        if order is None:
            return False
        number, work = order
        try:
            work()
        except BaseException:
            log_failure(LOGGER, "Exception in the delivery of results", level=logging.CRITICAL)
        finally:
            del self._in_hand[number], order, work
        return True

    def _serve_meanwhile(self, enough: Callable[[], bool], deadline: float | None) -> None:
        """Goes on while a callback that runs here waits."""
        if self._waits >= _DEEP:
            raise RuntimeError(f"{self._waits} callbacks wait for calls in {self.name!r}, each within the last")
        self._waits += 1
        try:
            while not enough():
                left = _LOOK if deadline is None else min(_LOOK, deadline - clock.monotonic())
                if left <= 0:
                    return
                if not self._carry_out(left):
                    self.end()
                    return
        finally:
            self._waits -= 1

    def _settle(self, pack: Pack, futures: list[DaskFuture[Any]], outcomes: list[bytes]) -> None:
        # All of them first: a callback of the first may ask about the last.
        watched = []
        try:
            # A scheduler without our plugin may have had a pack's calls run again that were given back.
            for future, body in zip(futures, outcomes, strict=False):
                result, error, text = _wire.outcome(body)
                if error is not None and text:
                    try:
                        set_cause(error, RemoteTraceback(text))
                    except Exception:  # not every class allows it
                        pass
                if future._cf_settle(result, error):
                    watched.append(future)
        except BaseException as exc:  # E8
            for future in futures:
                future._cf_abandon(RuntimeError(f"the outcome of the call could not be delivered: {exc!r}"))
            raise
        finally:
            for future in futures:
                future._pack = None
            pack.decided.set()
            result = error = None
            for future in watched:
                future._cf_announce_in_worker()
