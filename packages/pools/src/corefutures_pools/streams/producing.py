"""`produce`: runs a generator in a worker, and sends what it yields as far as the consumer has room for it.

Used by workers of every kind, so it imports almost nothing. Guarantees: the generator is never more than the agreed
number of items ahead of its consumer; it is closed, in the thread that ran it, however the call ends.
"""

from __future__ import annotations

from corefutures._blocking import _thread, system

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class Outlet(Protocol):
        """The producer's side of a stream."""

        def send(self, item: Any) -> None:
            """Send an item to the consumer."""
            ...

        def await_credit(self) -> int:
            """Wait until the consumer has room, and return for how many items; 0 if it takes no more."""
            ...

        def stopped(self) -> bool:
            """Return whether the call was asked to stop."""
            ...


#: The threads that are about to submit the call of a stream, by ident. If such a thread runs the call itself, because
#: no more calls may wait, the call returns `Unstarted`: the generator then runs where its items are taken.
opening: set[int] = set()
if hasattr(system, "register_at_fork"):
    system.register_at_fork(after_in_child=opening.clear)  # a worker may be forked while its first call is submitted


class Unstarted:
    """A generator that is to run in the thread that takes its items."""

    __slots__ = ("args", "fn", "kwargs")

    def __init__(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs


def is_opening() -> bool:
    """Return whether this thread is about to submit the call of a stream."""
    return _thread.get_ident() in opening


def start(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the iterator of a generator function, or of another function that returns something iterable.

    Raises:
        BaseException: Whatever the function raises; a StopIteration as RuntimeError, as in a generator.
    """
    try:
        return iter(fn(*args, **kwargs))
    except StopIteration as exc:
        raise RuntimeError("the function of a stream raised StopIteration") from exc


def produce(outlet: Outlet, credit: int, items: Any) -> Any:
    """Send the items of an iterator; return its value, which is that of the generator's `return`.

    Args:
        outlet: Where to send them.
        credit: For how many items the consumer has room at first.
        items: The iterator.

    Raises:
        CancelledError: The consumer takes no more, or the call was asked to stop.
        BaseException: Whatever the generator raises, also while it is closed.
    """
    take, send, stopped = items.__next__, outlet.send, outlet.stopped
    try:
        while True:
            if not credit:
                credit = outlet.await_credit()
            if not credit or stopped():
                from corefutures._exceptions import CancelledError  # most streams come to their end

                raise CancelledError("the stream was closed before its end")
            try:
                item = take()
            except StopIteration as end:
                return end.value
            credit -= 1
            send(item)
            item = None
    finally:
        item = None
        close = getattr(items, "close", None)
        if close is not None:
            close()
