"""`wait` and `as_completed`, over our futures, the standard library's and foreign ones, in any mixture (F5, F6)."""

from __future__ import annotations

import concurrent.futures as standard
import gc
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from races import LIMIT, Parking, frequent_switches, together
from signals import everywhere

from corefutures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Future,
    _future,
    _wait as _waiting,
    as_completed,
    wait,
)
from corefutures_pools.future import PoolFuture


class Foreign:
    """Somebody's own future: the public methods, and nothing else of the standard library's."""

    def __init__(self) -> None:
        self._inner: standard.Future[Any] = standard.Future()

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        self._inner.add_done_callback(lambda _: fn(self))

    def done(self) -> bool:
        return self._inner.done()

    def cancelled(self) -> bool:
        return self._inner.cancelled()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        return self._inner.exception(timeout)

    def result(self, timeout: float | None = None) -> Any:
        return self._inner.result(timeout)

    def cancel(self) -> bool:
        return self._inner.cancel()

    def set_result(self, result: object) -> None:
        self._inner.set_result(result)

    def set_exception(self, exception: BaseException) -> None:
        self._inner.set_exception(exception)

    def set_running_or_notify_cancel(self) -> bool:
        return self._inner.set_running_or_notify_cancel()


KINDS: dict[str, Callable[[], Any]] = {"ours": Future, "standard": standard.Future, "foreign": Foreign}
kinds = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def mixture(number: int = 6) -> list[Any]:
    makers = list(KINDS.values())
    return [makers[index % len(makers)]() for index in range(number)]


def test_wait_separates_ended_futures_from_the_others() -> None:
    futures = mixture(12)
    for future in futures[:3]:
        future.set_result(1)
    for future in futures[3:6]:
        future.set_exception(OSError())
    for future in futures[6:9]:
        future.cancel()
        future.set_running_or_notify_cancel()
    done, not_done = wait(futures, timeout=0)
    assert done == set(futures[:9])
    assert not_done == set(futures[9:])
    assert wait([]) == (set(), set())
    assert list(as_completed([])) == []


@kinds
def test_wait_returns_when_the_last_future_ends(kind: Callable[[], Any]) -> None:
    futures = [kind() for _ in range(3)]

    def end() -> None:
        for future in futures:
            future.set_result(1)

    waited = together(lambda: wait(futures), lambda: wait(futures, return_when=ALL_COMPLETED), end)
    assert waited[0].done == waited[1].done == set(futures)


@kinds
def test_wait_returns_when_the_first_future_ends(kind: Callable[[], Any]) -> None:
    never, soon = kind(), kind()
    done, not_done = together(lambda: wait([never, soon], return_when=FIRST_COMPLETED), lambda: soon.set_result(1))[0]
    assert (done, not_done) == ({soon}, {never})
    assert wait([never, soon], return_when=FIRST_COMPLETED) == ({soon}, {never})


@kinds
def test_wait_returns_at_the_first_exception(kind: Callable[[], Any]) -> None:
    never, success, cancelled, failure = kind(), kind(), kind(), kind()

    def end() -> None:
        success.set_result(1)
        cancelled.cancel()
        cancelled.set_running_or_notify_cancel()
        failure.set_exception(OSError())

    futures = [never, success, cancelled, failure]
    done, not_done = together(lambda: wait(futures, return_when=FIRST_EXCEPTION), end)[0]
    assert (done, not_done) == ({success, cancelled, failure}, {never})
    assert wait(futures, return_when=FIRST_EXCEPTION).not_done == {never}


def test_a_cancelled_future_counts_once_its_executor_has_noticed() -> None:
    """F5: bare futures follow the standard library."""
    for kind in (Future, standard.Future):
        future = kind()
        future.cancel()
        assert wait([future], timeout=0).not_done == {future}
        with pytest.raises(TimeoutError):
            next(as_completed([future], timeout=0))
        noticed = together(lambda future=future: wait([future]), future.set_running_or_notify_cancel)
        assert noticed[0].done == {future}
        assert list(as_completed([future])) == [future]


def test_as_completed_yields_ended_futures_first_and_each_once() -> None:
    futures = mixture(9)
    for future in futures[4:7]:
        future.set_result(1)
    iterator = as_completed([*futures, *futures])
    assert [next(iterator) for _ in range(3)] == futures[4:7]
    order = [8, 0, 7, 2, 1, 3]
    for index in order:
        futures[index].set_result(1)
        assert next(iterator) is futures[index]
    with pytest.raises(StopIteration):
        next(iterator)


def test_as_completed_counts_its_time_from_the_call() -> None:
    futures = mixture(4)
    for future in futures[:2]:
        future.set_result(1)
    iterator = as_completed(futures, timeout=0)
    assert [next(iterator), next(iterator)] == futures[:2]
    with pytest.raises(TimeoutError, match=r"2 \(of 4\) futures unfinished"):
        next(iterator)


@pytest.mark.parametrize("function", [wait, lambda fs, **options: list(as_completed(fs, **options))])
def test_bad_input(function: Callable[..., Any]) -> None:
    for bad in ([1], [None], ["x"], [object()], [Future(), 3]):
        with pytest.raises(TypeError, match="future"):
            function(bad, timeout=0)
    with pytest.raises(TypeError):
        function(1, timeout=0)
    with pytest.raises(TypeError):
        function([Future()], timeout="1")


def test_return_when_must_be_one_of_three() -> None:
    with pytest.raises(ValueError, match="SOMETIMES"):
        wait([], return_when="SOMETIMES")


def watchers(future: Any) -> int:
    if isinstance(future, Foreign):
        known = _waiting._relays.get(id(future))
        return len(known[1]._waiters) if known else 0
    return len(future._waiters)


@kinds
def test_nothing_is_left_subscribed(kind: Callable[[], Any]) -> None:
    """F6: after a time limit, a partial return, a dropped or closed iterator."""
    futures = [kind() for _ in range(3)]
    wait(futures, timeout=0.001)
    futures[0].set_result(1)
    wait(futures, return_when=FIRST_COMPLETED)
    iterator = as_completed(futures)
    next(iterator)
    iterator.close()
    iterator = as_completed(futures)
    assert sum(map(watchers, futures)) == 2
    del iterator
    with pytest.raises(TimeoutError):
        list(as_completed(futures, timeout=0.001))
    gc.collect()
    assert sum(map(watchers, futures)) == 0


@kinds
def test_as_completed_keeps_nothing_alive(kind: Callable[[], Any]) -> None:
    """F6: the iterator does not refer to a future that it has handed out."""
    futures = [kind() for _ in range(6)]
    for future in futures[:3]:
        future.set_result(1)
    references = [weakref.ref(future) for future in futures]
    later = futures[3:]
    iterator = as_completed(iter(futures))
    del futures, future
    gc.disable()
    try:
        for index in range(6):
            if later and index >= 3:
                later.pop(0).set_result(1)
            future = next(iterator)
            assert future is references[index]()
            del future
            if kind is Foreign:
                gc.collect()  # its own callbacks refer to it
            assert references[index]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("poll", [wait, lambda fs, timeout: list_in_time(fs, timeout)], ids=["wait", "as_completed"])
def test_polling_a_foreign_future_does_not_grow(poll: Callable[..., Any]) -> None:
    """Its callbacks can't be taken back: there is one of ours on it, however often somebody asks."""
    future = Foreign()
    poll([future], timeout=1e-9)
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(200):
            poll([future], timeout=1e-9)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10_000):
            poll([future], timeout=1e-9)
        gc.collect()
        assert tracemalloc.get_traced_memory()[0] - before < 20_000
    finally:
        tracemalloc.stop()
    assert len(future._inner._done_callbacks) == 1
    future.set_result(1)
    assert wait([future]).done == {future}


def list_in_time(fs: list[Any], timeout: float) -> None:
    try:
        list(as_completed(fs, timeout))
    except TimeoutError:
        pass


def test_relays_are_freed_with_their_futures() -> None:
    gc.collect()
    before = len(_waiting._relays)
    futures = [Foreign() for _ in range(100)]
    wait(futures, timeout=1e-9)
    assert len(_waiting._relays) == before + 100
    for future in futures[:50]:
        future.set_result(1)
    del futures, future
    gc.collect()
    assert len(_waiting._relays) == before


@pytest.mark.thread_unsafe(reason="it counts what all threads have left")
def test_a_foreign_future_without_weak_references() -> None:
    class Slotted:
        __slots__ = ("inner",)

        def __init__(self) -> None:
            self.inner: standard.Future[Any] = standard.Future()

        def add_done_callback(self, fn: Callable[[Any], object]) -> None:
            self.inner.add_done_callback(lambda _: fn(self))

        def done(self) -> bool:
            return self.inner.done()

        def cancelled(self) -> bool:
            return self.inner.cancelled()

        def exception(self) -> BaseException | None:
            return self.inner.exception()

    before = len(_waiting._relays)
    future = Slotted()
    for _ in range(10):
        assert wait([future], timeout=1e-9).not_done == {future}
    waited = together(lambda: wait([future]), lambda: future.inner.set_result(1))
    assert waited[0].done == {future}
    assert list(as_completed([future])) == [future]
    assert len(_waiting._relays) == before


def test_mixtures_against_their_ends() -> None:
    """F5, F7: several waiters of several sorts, every future ending at once; nothing is lost or doubled."""
    with frequent_switches():
        for number in range(120):
            futures = mixture(6)

            def end(some: list[Any], number: int = number) -> None:
                for index, future in enumerate(some):
                    if (index + number) % 3:
                        future.set_result(index)
                    else:
                        future.cancel()
                        future.set_running_or_notify_cancel()

            results = together(
                lambda futures=futures: wait(futures, LIMIT).done,
                lambda futures=futures: set(as_completed(futures, LIMIT)),
                lambda futures=futures: len(list(as_completed(futures, LIMIT))),
                lambda futures=futures: end(futures[:3]),
                lambda futures=futures: end(futures[3:]),
            )
            assert results[:3] == [set(futures), set(futures), 6]
            assert [watchers(future) for future in futures] == [0] * 6


def test_first_completed_against_two_ends() -> None:
    with frequent_switches():
        for _ in range(300):
            futures = mixture(2)
            waited = together(
                lambda futures=futures: wait(futures, LIMIT, FIRST_COMPLETED),
                lambda futures=futures: futures[0].set_result(1),
                lambda futures=futures: futures[1].set_result(1),
            )[0]
            assert waited.done
            assert waited.done | waited.not_done == set(futures)


def test_many_threads_wait_for_one_future() -> None:
    for kind in KINDS.values():
        future = kind()
        barrier = threading.Barrier(9)

        def wait_for_it(future: Any = future, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait(LIMIT)
            return future in wait([future], LIMIT).done

        def end(future: Any = future, barrier: threading.Barrier = barrier) -> bool:
            barrier.wait(LIMIT)
            future.set_result(1)
            return True

        assert together(*[wait_for_it] * 8, end) == [True] * 9


def test_the_standard_library_waits_for_ours() -> None:
    """Interoperation, F5: `concurrent.futures.wait` and `as_completed` over our futures."""
    with frequent_switches():
        for _ in range(150):
            futures: list[Future[int]] = [Future() for _ in range(4)]

            def end(futures: list[Future[int]] = futures) -> None:
                futures[0].set_result(1)
                futures[1].set_exception(OSError())
                futures[2].cancel()
                futures[2].set_running_or_notify_cancel()
                futures[3].set_result(2)

            results = together(
                lambda futures=futures: standard.wait(futures, LIMIT),
                lambda futures=futures: set(standard.as_completed(futures, LIMIT)),
                lambda futures=futures: standard.wait(futures, LIMIT, FIRST_EXCEPTION),
                end,
            )
            assert results[0].done == results[1] == set(futures)
            assert futures[1] in results[2].done
            assert not any(future._waiters for future in futures)


def finish(future: Any) -> None:
    future.set_result(1)


def fail(future: Any) -> None:
    future.set_exception(OSError())


def cancel(future: Any) -> None:
    if future.cancel() and future._state == "CANCELLED":
        future.set_running_or_notify_cancel()


def settle(future: Any) -> None:
    if isinstance(future, PoolFuture):
        assert future.set_running_or_notify_cancel()
        assert future._cf_settle(1, None)
        future._cf_notify_in_worker()
    else:
        future.set_result(1)


def abandon(future: Any) -> None:
    if isinstance(future, PoolFuture):
        assert future._cf_abandon(OSError())
    else:
        future.set_exception(OSError())


@pytest.mark.parametrize("pool", [False, True], ids=["bare", "pool"])
@pytest.mark.parametrize("end", [finish, fail, cancel, settle, abandon])
def test_the_standard_library_may_subscribe_while_a_future_ends(end: Callable[[Any], None], pool: bool) -> None:
    """Its `wait` counts the pending futures and puts its waiter on all of them, also on the finished:

    1. A ends one of two futures, and stops at any point of that.
    2. B waits for both: where the first one has ended for it already, it wants to hear of the second only.
    3. A goes on. Notified of the first, B would take it for the second, and wake.
    """

    def scenario(interrupt: Any) -> None:
        first: Any = PoolFuture(int, (), None) if pool else Future()
        second: Future[int] = Future()
        first.add_done_callback(lambda _: None)
        waited: list[Any] = []
        waiting = threading.Thread(target=lambda: waited.append(standard.wait([first, second], LIMIT)), daemon=True)

        def start() -> None:
            if not first._cf_lock._is_owned():  # nobody could subscribe
                waiting.start()
                Parking.until(lambda: len(second._waiters) == 1)

        with interrupt(start):
            end(first)
        if waiting.ident is None:
            waiting.start()
            Parking.until(lambda: len(second._waiters) == 1)
        assert second._waiters
        assert not second._waiters[0].event.is_set()
        second.set_result(2)
        waiting.join(LIMIT)
        assert waited[0].done == {first, second}

    assert everywhere(scenario, _future) > 3


def test_the_standard_library_s_conditions_work() -> None:
    """The private names that the world pokes at: a thread may wait on `_condition` itself."""
    future: Future[int] = Future()

    def wait_on_condition() -> int:
        with future._condition:
            while future._state != "FINISHED":
                assert future._condition.wait(LIMIT)
            return future._result  # type: ignore[return-value]

    def end() -> None:
        Parking.until(lambda: bool(future._cf_own_condition._waiters))
        future.set_result(5)

    assert together(wait_on_condition, end)[0] == 5
    assert future._waiters is future._waiters
    assert future._done_callbacks is not None


def test_a_cancelled_future_raises_after_waiting() -> None:
    future: Future[int] = Future()

    def read() -> str:
        try:
            future.result(LIMIT)
        except CancelledError:
            return "cancelled"
        return "result"

    assert together(read, read, future.cancel)[:2] == ["cancelled"] * 2


def test_a_future_that_ends_while_the_result_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that ends a future may notify a waiter that has unsubscribed: without the GIL, at any point."""
    collectors: list[_waiting.Collector] = []

    class Late(standard.Future):  # type: ignore[type-arg]
        def __hash__(self) -> int:  # called where the result is made
            for collector in collectors:
                collector.ended.append(self)
            return 1

    class Collector(_waiting.Collector):
        def block(self, *arguments: Any, **options: Any) -> bool:
            ended.set_result(1)
            blocked = super().block(*arguments, **options)
            collectors.append(self)
            return blocked

    monkeypatch.setattr(_waiting, "Collector", Collector)
    ended, waits = Late(), Future[int]()
    assert wait([ended, waits], LIMIT, FIRST_COMPLETED) == ({ended}, {waits})
