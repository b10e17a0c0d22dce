"""`DaskFuture`: a call on its way to a cluster; and `Pack`, the calls that are on their way together.

Touches the door. Guarantees: a call that is asked about while its pack is out answers when it is known whether it
has started (E3), which the worker tells soon.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar

from corefutures_pools.future import PoolFuture

if TYPE_CHECKING:
    from corefutures_dask._dispatcher import Lane

#: A call: pickled; and what it refers to, if it is one of a map: `Carried.pickled`.
Call = tuple[bytes, tuple[str, bytes] | None]

_T = TypeVar("_T")

#: Seconds that `cancel` and `running` wait for a worker to tell whether a call has started, at most.
_LIMIT: Final = 5.0

#: `yes`: this thread settles futures or carries messages: it must not wait for what only it can bring.
never_waits = threading.local()


class Pack:
    """Calls that travel as one task.

    Args:
        number: Its number in the pool.
        lane: Where the calls waited, and go back to.
    """

    __slots__ = ("calls", "decided", "expected", "futures", "lane", "number", "sent")

    def __init__(self, number: int, lane: Lane) -> None:
        self.number = number
        self.lane = lane
        self.futures: list[DaskFuture[Any]] = []
        self.calls: list[Call] = []
        self.expected = 0.0  # seconds that the calls will take
        self.sent = 0.0  # when, by `time.monotonic`
        self.decided = threading.Event()  # it is known which of the calls have started


class DaskFuture(PoolFuture[_T]):
    """The future of a call; until the call leaves it carries it, pickled.

    Args:
        call: The call.
        number: Its place in the order of submission.
        name: What Dask shows for it.
        kind: Which calls are expected to take as long as this one.
    """

    _pack: Pack | None = None  # it has left in this pack, and nobody knows yet whether it has started
    _unwanted = False  # cancelled meanwhile: not to be sent again
    losses = 0  # how many workers it was lost with
    alone = False  # it may have ended one, and is sent in a pack of its own

    def __init__(self, call: Call, number: int, name: str, kind: int) -> None:
        super().__init__(_never_called, call, None)
        self.number = number
        self.shown = name
        self.kind = kind

    def cancel(self) -> bool:
        """Cancels the call unless it runs or has ended; every waiter is awake when this returns.

        Where the call has left for a worker together with others, this waits until it is known whether it has
        started: a third of a second at most.

        Returns:
            True if the call is cancelled now, False if it runs or has finished.
        """
        while not self._cancel_waiting():
            pack = self._pack
            if self._state != "PENDING":
                return self.cancelled()
            if pack is not None:
                self._unwanted = True
                if not self._is_decided(pack):
                    self._unwanted = False
                    return False
        return True

    def running(self) -> bool:
        """Returns True while the call runs and can't be cancelled."""
        pack = self._pack
        if pack is not None and self._state == "PENDING":
            self._is_decided(pack)
        return self._state == "RUNNING"

    def _cancel_waiting(self) -> bool:
        """Cancels the call if it has not left; returns whether this did it."""
        waits = False
        if self._cf_lock.taken:
            if waits := self._state == "PENDING" and self._pack is None:
                self._state = "CANCELLED_AND_NOTIFIED"
                if self._cf_listeners:
                    self._cf_to_tell = [*self._cf_listeners]
            self._cf_lock.release()
        if waits:
            self._cf_forget_call()
            if self._cf_watched:
                self._cf_announce()
        return waits

    @property
    def unwanted(self) -> bool:
        """Whether the call was to be cancelled while it was out, and has not started."""
        return self._unwanted and self._state == "PENDING"

    def _is_decided(self, pack: Pack) -> bool:
        """Waits until it is known whether the call has started; False where this can't wait, or not so long."""
        return not getattr(never_waits, "yes", False) and pack.decided.wait(_LIMIT)

    def _leave(self, pack: Pack) -> Call | None:
        """Lets the call leave in `pack`; returns it, None if it has ended."""
        call: Any = None
        if self._cf_lock.taken:
            if self._state == "PENDING" or (self.losses and self._state == "RUNNING"):
                call = self._cf_args
                self._pack = pack
            self._cf_lock.release()
        if call is None:
            return None
        self._cf_forget_call()
        return call  # type: ignore[no-any-return]

    def _start(self) -> None:
        """Marks the call as running."""
        if self._cf_lock.taken:
            if self._state == "PENDING":
                self._state = "RUNNING"
            self._pack = None
            self._cf_lock.release()

    def _return(self, call: Call) -> None:
        """Takes the call back: it has not started, or is to be started again."""
        if self._cf_lock.taken:
            if self._state in ("PENDING", "RUNNING"):
                self._cf_args = call
            self._pack = None
            self._cf_lock.release()


def _never_called(*_: Any) -> Any:
    raise AssertionError("the call is run by a worker")
