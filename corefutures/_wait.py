"""`wait` and `as_completed`, over our futures, the standard library's and foreign ones in any mixture.

Touches `_future` and `_blocking`. Guarantees: each future is reported once; no subscription is left behind; a future
that was handed out is not kept alive; a time limit counts from the call.
"""

from __future__ import annotations

import concurrent.futures as _standard
import weakref
from collections import deque
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, Protocol, TypeVar

from corefutures._blocking import Parker, _thread, clock, current_workers, run_nested_loop, spin_until
from corefutures._foreign_code import copied, for_each
from corefutures._future import ENDED, Future
from corefutures._options import check_seconds, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from corefutures._future import Waiter

    class _Awaitable(Protocol):
        """The methods that `wait` needs of a future; the standard library's and ours have them."""

        def add_done_callback(self, fn: Callable[[Any], object], /) -> object: ...

        def done(self) -> bool: ...

        def cancelled(self) -> bool: ...

        def exception(self) -> BaseException | None: ...


_F = TypeVar("_F", bound="_Awaitable")

FIRST_COMPLETED: Final = "FIRST_COMPLETED"
FIRST_EXCEPTION: Final = "FIRST_EXCEPTION"
ALL_COMPLETED: Final = "ALL_COMPLETED"


class DoneAndNotDoneFutures(NamedTuple, Generic[_F]):
    """The result of `wait`: two disjoint sets of futures."""

    done: set[_F]
    not_done: set[_F]


class Collector:
    """The waiter of one `wait` or `as_completed`: collects the futures that end, and unparks the one thread.

    Args:
        wanted: How many futures must have ended before the thread is unparked.
        until_exception: Whether the first exception unparks it as well.

    Thread safety: `block` is for that thread; the other methods may be called by any thread, also by a signal handler
    that interrupts `block`.
    """

    __slots__ = ("_parker", "_until_exception", "_wanted", "ended")

    def __init__(self, wanted: int, until_exception: bool = False) -> None:
        self.ended: deque[Any] = deque()
        self._wanted = wanted
        self._until_exception = until_exception
        self._parker = Parker()

    def add_result(self, future: Any) -> None:
        """Collect a future that has ended."""
        # The append comes before the count: of two futures that end at once, the later one sees both.
        self.ended.append(future)
        if len(self.ended) >= self._wanted:
            self._wake()

    def add_exception(self, future: Any) -> None:
        """Collect a future that has ended with an exception."""
        self.ended.append(future)
        if self._until_exception or len(self.ended) >= self._wanted:
            self._wake()

    add_cancelled = add_result

    def block(self, pending: Iterable[Any], deadline: float | None, *, needs_all: bool = False) -> bool:
        """Block until unparked; return False if `deadline` came first.

        In a worker thread of a pool, run those calls of `pending` that have not started, instead of blocking.

        Args:
            pending: The awaited futures.
            deadline: When to give up, by `time.monotonic`; None for never.
            needs_all: Whether all of `pending` are needed.

        Raises:
            DeadlockError: One of them waits for the call that runs here.
        """
        worker = current_workers.get(_thread.get_ident())
        if worker is None:
            timeout = None if deadline is None else deadline - clock.monotonic()
            run_nested_loop(self._parker.is_unparked, timeout)
            return self._park(deadline)
        timed = deadline is not None
        try:
            worker.help_until(pending, self._parker.is_unparked, timed=timed, needs_all=needs_all and not timed)
            return self._park(deadline)
        finally:
            worker.end_blocking()

    def _park(self, deadline: float | None) -> bool:
        return self._parker.park(None if deadline is None else deadline - clock.monotonic())

    def _wake(self) -> None:
        try:
            self._parker.unpark()
        except RuntimeError:  # unparked already
            pass


class _Relay:
    """The callback of a foreign future, which notifies the waiters that have subscribed.

    A foreign future has no method to remove a callback, so it gets this one callback for its whole life. A waiter is
    taken out of the list by the callback or by its owner, in one atomic operation: so it is notified once at most.
    """

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: list[Waiter] = []

    def __call__(self, future: Any) -> None:
        while self._waiters:
            try:
                waiter = self._waiters.pop()
            except IndexError:
                return
            try:
                _report(future, waiter)
            except BaseException:  # the future is foreign, and has failed to say how it ended
                waiter.add_exception(future)

    def subscribe(self, future: Any, waiter: Waiter) -> bool:
        """Have `waiter` notified of the end; return False if the future is done."""
        self._waiters.append(waiter)
        # Either the callback comes after the append and finds the waiter, or `done` is already true here.
        return not (future.done() and self.unsubscribe(waiter))

    def unsubscribe(self, waiter: Waiter) -> bool:
        """Undo `subscribe`; return False if the notification has begun."""
        try:
            self._waiters.remove(waiter)
        except ValueError:
            return False
        return True


#: id of a foreign future → (a weak reference to it, its relay). The entry is removed with the future.
_relays: dict[int, tuple[Any, _Relay]] = {}


def _relay_of(future: Any) -> _Relay:
    key = id(future)
    known = _relays.get(key)
    if known is not None:
        return known[1]
    relay = _Relay()
    try:
        anchor: Any = weakref.ref(future, lambda _: _relays.pop(key, None))
    except TypeError:  # it allows no weak references: the entry refers to it until it has ended
        anchor = future
    if (entered := _relays.setdefault(key, (anchor, relay))[1]) is not relay:
        return entered  # another thread was first
    future.add_done_callback(relay)
    if anchor is future:
        future.add_done_callback(lambda _: _relays.pop(key, None))
    return relay


def _report(future: Any, waiter: Waiter) -> None:
    """Notify `waiter` of a future that has ended, by public methods alone."""
    if future.cancelled():
        waiter.add_cancelled(future)
    elif future.exception() is not None:
        waiter.add_exception(future)
    else:
        waiter.add_result(future)


def _has_standard_parts(future: Any) -> bool:
    return isinstance(future, _standard.Future) and hasattr(future, "_condition")


def _has_ended(future: Any) -> bool:
    if isinstance(future, _standard.Future):
        try:
            return future._state in ENDED
        except AttributeError:  # a subclass that keeps its state elsewhere
            return future.done()
    try:
        if callable(future.add_done_callback):
            return bool(future.done())
    except AttributeError:
        pass
    raise TypeError(f"wait and as_completed take futures, not {shown(future)}: futures are what submit() returns")


def _ended_of(futures: set[Any]) -> set[Any]:
    """Return the futures that have ended."""
    ours = all(issubclass(kind, Future) for kind in set(map(type, futures)))
    return {future for future in futures if (future._state in ENDED if ours else _has_ended(future))}


def _checked(verb: str, fs: Any) -> Any:
    """Return `fs` if it can be iterated over; raise TypeError otherwise."""
    if hasattr(type(fs), "__iter__") or hasattr(type(fs), "__getitem__"):
        return fs
    remedy = f": write {verb}([future])" if hasattr(fs, "add_done_callback") else ""
    raise TypeError(f"{verb} takes several futures, such as a list of them, not {shown(fs)}{remedy}")


def _subscribe(future: Any, waiter: Waiter) -> None:
    """Have `waiter` notified of the end of `future`, exactly once; at once if it has ended."""
    if isinstance(future, Future):
        subscribed = future._cf_subscribe(waiter)
    elif _has_standard_parts(future):
        with future._condition:
            if subscribed := future._state not in ENDED:
                future._waiters.append(waiter)
    else:
        subscribed = _relay_of(future).subscribe(future, waiter)
    if not subscribed:
        _report(future, waiter)


def _unsubscribe(future: Any, waiter: Waiter) -> None:
    if isinstance(future, Future):
        future._cf_unsubscribe(waiter)
    elif _has_standard_parts(future):
        with future._condition:
            if waiter in future._waiters:
                future._waiters.remove(waiter)
    elif (known := _relays.get(id(future))) is not None:
        known[1].unsubscribe(waiter)


def _are_enough(done: set[Any], pending: set[Any], return_when: str) -> bool:
    return (
        not pending
        or (return_when == FIRST_COMPLETED and bool(done))
        or (
            return_when == FIRST_EXCEPTION
            and any(not future.cancelled() and future.exception() is not None for future in done)
        )
    )


#: For more futures a look at all of them takes longer than a thread should spin.
_SPUN_FOR: Final = 64

_state_of: Final = attrgetter("_state")


def _end_within_a_moment(pending: set[Any], return_when: str) -> bool:
    """Return whether enough futures end within some microseconds: subscribing to them costs more than a short call."""
    if len(pending) > _SPUN_FOR or _thread.get_ident() in current_workers:  # a worker runs them itself
        return False
    if not all(issubclass(kind, Future) for kind in set(map(type, pending))):
        return False
    if return_when == FIRST_COMPLETED:
        return spin_until(lambda: not ENDED.isdisjoint(map(_state_of, pending)))
    return spin_until(lambda: ENDED.issuperset(map(_state_of, pending)))


def wait(fs: Iterable[_F], timeout: float | None = None, return_when: str = ALL_COMPLETED) -> DoneAndNotDoneFutures[_F]:
    """Wait for futures, of any executors, until enough of them have ended.

    Args:
        fs: The futures; a future that is given twice counts once. Futures of the standard library and
            foreign ones, which have the public methods only, may be among them.
        timeout: Seconds to wait at most; None for no limit.
        return_when: FIRST_COMPLETED, FIRST_EXCEPTION or ALL_COMPLETED.

    Returns:
        The set of the futures that have ended, and the set of the others.

    Raises:
        TypeError: An item of `fs` is no future, or `timeout` is no number.
        ValueError: `return_when` is none of the three.

    Thread safety: may be called from any thread; any number of threads may wait for the same future.
    """
    if return_when not in (FIRST_COMPLETED, FIRST_EXCEPTION, ALL_COMPLETED):
        raise ValueError(
            f"Invalid return condition: {shown(return_when)}: return_when must be FIRST_COMPLETED, FIRST_EXCEPTION or"
            " ALL_COMPLETED"
        )
    check_seconds("timeout", timeout)
    deadline = None if timeout is None else clock.monotonic() + timeout
    futures = set(_checked("wait", fs))
    done = _ended_of(futures)
    pending = futures - done
    enough = _are_enough(done, pending, return_when)
    if not enough and (timeout is None or timeout > 0) and _end_within_a_moment(pending, return_when):
        done = _ended_of(futures)
        pending = futures - done
        enough = _are_enough(done, pending, return_when)
    if enough or (timeout is not None and timeout <= 0):
        return DoneAndNotDoneFutures(done, pending)

    wanted = 1 if return_when == FIRST_COMPLETED else len(pending)
    collector = Collector(wanted, until_exception=return_when == FIRST_EXCEPTION)
    subscribed = []
    try:
        for future in pending:
            subscribed.append(future)
            _subscribe(future, collector)
        collector.block(pending, deadline, needs_all=return_when == ALL_COMPLETED)
    finally:
        for_each(lambda future: _unsubscribe(future, collector), subscribed)
    done.update(copied(collector.ended))  # a thread that ends a future may have this waiter on its list still
    return DoneAndNotDoneFutures(done, futures - done)


def as_completed(fs: Iterable[_F], timeout: float | None = None) -> Generator[_F, None, None]:
    """Return an iterator over futures, of any executors, in the order in which they end.

    Those that have ended already come first, in the order given.

    Args:
        fs: The futures; a future that is given twice comes once. Futures of the standard library and
            foreign ones, which have the public methods only, may be among them.
        timeout: Seconds from this call on, in which all must end; None for no limit.

    Returns:
        An iterator that raises `TimeoutError` if the next future does not end in time. It keeps no future alive that
        it has handed out.

    Raises:
        TypeError: An item of `fs` is no future, or `timeout` is no number.

    Thread safety: the call may be made in any thread; the iterator is for one thread at a time.
    """
    check_seconds("timeout", timeout)
    deadline = None if timeout is None else clock.monotonic() + timeout
    futures = dict.fromkeys(_checked("as_completed", fs))
    total = len(futures)
    ended = [future for future in futures if _has_ended(future)]
    for future in ended:
        del futures[future]
    ended.reverse()
    completed = _yield_completed(ended, futures, total, deadline)
    next(completed)  # subscribes, and enters the `try` whose `finally` removes the subscriptions
    return completed


def _yield_completed(
    ended: list[Any], pending: dict[Any, None], total: int, deadline: float | None
) -> Generator[Any, None, None]:
    collector = Collector(wanted=1)
    future = None
    try:
        for future in pending:
            _subscribe(future, collector)
        future = None
        yield  # to as_completed itself
        while ended:
            yield ended.pop()
        while pending:
            try:
                future = collector.ended.popleft()
            except IndexError:
                if not collector.block(pending, deadline) and not collector.ended:
                    raise TimeoutError(f"{len(pending)} (of {total}) futures unfinished") from None
                continue
            del pending[future]
            _unsubscribe(future, collector)
            handed = [future]
            del future
            yield handed.pop()
    finally:
        for_each(lambda future: _unsubscribe(future, collector), pending)
