"""`DaskFuture`: the future of a call that leaves for the cluster in a batch.

Touches the base class only. Guarantees: while a batch is on its way, `cancel` and `running` of its calls wait until
the worker has reported which of them have started, which takes a third of a second at most (E3).
"""

from __future__ import annotations

import threading
from typing import Any, Final, TypeVar

from corefutures_pools.future import PoolFuture

#: A pickled call; and for a call of a map the key and the pickled function that it refers to: `MapFunction.pickled`.
Call = tuple[bytes, tuple[str, bytes] | None]

_T = TypeVar("_T")

#: Seconds that `cancel` and `running` wait at most for a worker to report which calls have started.
_START_TIMEOUT: Final = 5.0

#: `active` is true in a thread that runs Dask's loop or completes futures: such a thread must not block on a report
#: that it would have to receive itself.
non_blocking = threading.local()


class DaskFuture(PoolFuture[_T]):
    """The future of a call; it holds the pickled call until the call leaves.

    Args:
        call: The call.
        number: The place of the call in the order of submission.
        task_name: The name that Dask shows for the call.
        cost_key: Identifies the calls that are expected to take as long as this one.
    """

    _start_known: threading.Event | None = None  # of the batch in which the call has left; None if that is settled
    _cancel_on_return = False  # cancel the call when its batch gives it back
    losses = 0  # the number of workers that were lost with the call
    alone = False  # the call may have ended a worker, and gets a batch of its own

    def __init__(self, call: Call, number: int, task_name: str, cost_key: int) -> None:
        super().__init__(_never_called, (), None)
        self._call: Call | None = call
        self.number = number
        self.task_name = task_name
        self.cost_key = cost_key

    def cancel(self) -> bool:
        """Cancel the call unless it runs or has ended; every waiter is awake when this method returns.

        If the call has left together with others, wait until it is known whether it has started: a third of a second
        at most.

        Returns:
            True if the call is cancelled now, False if it runs or has finished.
        """
        while not self.cancel_queued():
            start_known = self._start_known
            if not self._is_pending:
                return self.cancelled()
            if start_known is not None:
                self._cancel_on_return = True
                if not _wait(start_known):
                    self._cancel_on_return = False
                    return False
        return True

    def running(self) -> bool:
        """Return True while the call runs and can't be cancelled."""
        start_known = self._start_known
        if start_known is not None and self._is_pending:
            _wait(start_known)
        return super().running()

    @property
    def _is_pending(self) -> bool:
        return not super().running() and not self.done()  # in this order: a call that runs may end in between

    def cancel_queued(self) -> bool:
        """Cancel the call if it is not in a batch; return whether it is cancelled."""
        return super().cancel()

    def cancel_returned(self) -> None:
        """Cancel the call, which its batch has given back; log exceptions of callbacks."""
        if self._cf_try_cancel(notified=True):
            self._cf_forget_call()
            self.notify()

    def cancel_on_return(self) -> None:
        """Have the call cancelled when its batch gives it back."""
        self._cancel_on_return = True

    @property
    def is_cancelled_on_return(self) -> bool:
        """Whether the call is to be cancelled now that its batch has given it back."""
        return self._cancel_on_return and self._is_pending

    def leave(self, start_known: threading.Event) -> Call | None:
        """Let the call leave in a batch, whose event is `start_known`; return the call, or None if it has ended."""
        call = self._call
        self._start_known = start_known  # first: `cancel` of a dispatched call waits for it
        if call is None or not self._cf_try_dispatch():
            self._start_known = None
            return None
        self._call = None
        return call

    def start(self) -> None:
        """Mark the call as running."""
        self._cf_try_start()
        self._start_known = None

    def give_back(self, call: Call) -> None:
        """Take the call back from a batch: it has not started, or its worker was lost."""
        self._call = call
        self._cf_dispatched = False  # from here on, `cancel` drops the call
        self._start_known = None
        if self.done():
            self._call = None  # the future has ended before that (F6)

    def finish(self, result: _T | None, error: BaseException | None) -> bool:
        """Store the outcome of the call unless the future has ended; return whether `notify` must be called."""
        watched = self._cf_settle(result, error)
        self._start_known = None
        return watched

    def notify(self) -> None:
        """Wake the waiters of the finished future and run its callbacks; log their exceptions."""
        self._cf_notify_in_worker()

    def fail(self, error: BaseException) -> None:
        """End the future with `error` unless it has ended."""
        self._cf_abandon(error)

    def fail_after_fork(self, error: BaseException) -> None:
        """In a forked child: end the future, whose lock may be held by a thread of the parent (E11)."""
        self._cf_renew_lock()
        self._cf_abandon(error)

    def set_label(self, label: str) -> None:
        """Set the name that `repr` and messages show for the call."""
        self._cf_name = label

    def _cf_forget_call(self) -> None:
        self._call = None
        super()._cf_forget_call()


def _wait(start_known: threading.Event) -> bool:
    """Wait for the report of a batch; return False if this thread must not block, or the report does not come."""
    return not getattr(non_blocking, "active", False) and start_known.wait(_START_TIMEOUT)


def _never_called(*_: Any) -> Any:
    raise AssertionError("the call is run by a worker")
