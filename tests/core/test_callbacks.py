"""F3, F4: callbacks run once, in order, outside our locks; what they raise goes where the design says."""

from __future__ import annotations

import threading

import pytest
from races import frequent_switches, together

from corefutures import Future
from corefutures_pools.future import PoolFuture


class Stop(BaseException):
    """No Exception: must not be swallowed."""


ENDINGS = {
    "result": lambda future: future.set_result(1),
    "exception": lambda future: future.set_exception(ValueError()),
    "cancel": lambda future: future.cancel(),
}


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_callbacks_run_in_the_order_added_and_get_the_future(end: object) -> None:
    """F4"""
    future: Future[int] = Future()
    calls: list[tuple[int, object]] = []
    for number in range(20):
        future.add_done_callback(lambda ended, number=number: calls.append((number, ended)))
    end(future)  # type: ignore[operator]
    future.add_done_callback(lambda ended: calls.append((20, ended)))
    assert calls == [(number, future) for number in range(21)]
    if future.cancelled():
        assert future.set_running_or_notify_cancel() is False
    assert len(calls) == 21


def test_the_same_callback_twice_is_called_twice() -> None:
    future: Future[int] = Future()
    calls: list[object] = []
    future.add_done_callback(calls.append)
    future.add_done_callback(calls.append)
    future.set_result(1)
    assert calls == [future, future]


@pytest.mark.parametrize("fn", [None, 1, "print", {}], ids=repr)
def test_a_callback_must_be_callable(fn: object) -> None:
    for future in (Future(), done()):
        with pytest.raises(TypeError, match="callable"):
            future.add_done_callback(fn)


def done() -> Future[int]:
    future: Future[int] = Future()
    future.set_result(1)
    return future


def fail(future: object) -> None:
    raise ZeroDivisionError("in a callback")


def stop(future: object) -> None:
    raise Stop


def test_an_exception_of_a_callback_is_logged_and_the_other_callbacks_run(caplog: pytest.LogCaptureFixture) -> None:
    """F4"""
    future: Future[int] = Future()
    calls: list[object] = []
    future.add_done_callback(fail)
    future.add_done_callback(calls.append)
    future.set_result(1)
    future.add_done_callback(fail)
    assert calls == [future]
    assert [record.name for record in caplog.records] == ["concurrent.futures"] * 2
    assert all(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)
    assert all("exception calling callback for" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_a_base_exception_reaches_the_caller_after_the_other_callbacks(end: object) -> None:
    """F4"""
    future: Future[int] = Future()
    calls: list[object] = []
    future.add_done_callback(stop)
    future.add_done_callback(fail)
    future.add_done_callback(calls.append)
    with pytest.raises(Stop):
        end(future)  # type: ignore[operator]
    assert calls == [future]
    assert future.done()


def test_a_base_exception_of_a_late_callback_reaches_its_adder() -> None:
    """F4"""
    with pytest.raises(Stop):
        done().add_done_callback(stop)


def test_a_pool_thread_survives_a_base_exception(caplog: pytest.LogCaptureFixture) -> None:
    """F4: the part of a pool's thread, which logs what it can't raise to anybody."""
    future: PoolFuture[int] = PoolFuture(int, (), None)
    calls: list[object] = []
    future.add_done_callback(stop)
    future.add_done_callback(calls.append)
    assert future.set_running_or_notify_cancel()
    assert future._cf_settle(0, None) is True
    future._cf_notify_in_worker()
    assert calls == [future]
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [Stop]


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_callbacks_and_waiters_run_under_no_lock_of_ours(end: object) -> None:
    """F3: while foreign code runs, another thread can do everything with the future."""
    future: Future[int] = Future()
    other_thread: list[object] = []

    class Waiter:
        def add_result(self, ended: Future[int]) -> None:
            other_thread.extend(together(lambda: use(ended)))

        add_exception = add_cancelled = add_result

    def use(ended: Future[int]) -> bool:
        ended.cancel()
        repr(ended)
        ended.add_done_callback(lambda _: None)
        with ended._condition:
            return ended.done()

    future.add_done_callback(lambda ended: other_thread.extend(together(lambda: use(ended))))
    future._waiters.append(Waiter())
    end(future)  # type: ignore[operator]
    if future.cancelled():
        future.set_running_or_notify_cancel()
    assert other_thread == [True, True]


class Loud:
    """Its repr asks another thread to use the future."""

    def __init__(self, future: Future[object]) -> None:
        self.future = future
        self.asked = 0

    def __repr__(self) -> str:
        self.asked += 1
        together(self.future.cancel)
        return "Loud"


def test_no_repr_runs_under_a_lock_of_ours() -> None:
    """F3: the repr of an outcome is not even asked for; an error's text is made outside the lock."""
    future: Future[object] = Future()
    loud = Loud(future)
    future.set_result(loud)
    assert "Loud" in repr(future)
    with pytest.raises(Exception, match="FINISHED"):
        future.set_result(loud)
    assert loud.asked == 0


def test_a_callback_may_add_callbacks() -> None:
    """F4, F8: what is added during the end runs at once, exactly once."""
    future: Future[int] = Future()
    calls: list[int] = []

    def first(ended: Future[int]) -> None:
        calls.append(1)
        ended.add_done_callback(lambda _: calls.append(2))

    future.add_done_callback(first)
    future.add_done_callback(lambda _: calls.append(3))
    future.set_result(1)
    assert sorted(calls) == [1, 2, 3]
    assert calls.index(1) < calls.index(3)


@pytest.mark.parametrize("end", ENDINGS.values(), ids=ENDINGS)
def test_a_callback_added_while_the_future_ends_runs_once(end: object) -> None:
    """F4, F5, F7: add_done_callback against the end, some hundreds of times."""
    with frequent_switches():
        for _ in range(300):
            future: Future[int] = Future()
            calls: list[int] = []

            def add(first: int, future: Future[int] = future, calls: list[int] = calls) -> None:
                for number in range(first, first + 10):
                    future.add_done_callback(lambda _, number=number: calls.append(number))

            together(lambda: add(0), lambda: add(10), lambda future=future: end(future))  # type: ignore[operator]
            assert sorted(calls) == list(range(20))


def test_callbacks_of_several_threads_run_in_the_order_of_each_thread() -> None:
    """F4: those added before the end run in the order added, also when several threads add."""
    future: Future[int] = Future()
    calls: list[tuple[int, int]] = []

    def add(thread: int) -> None:
        for number in range(200):
            future.add_done_callback(lambda _, number=number: calls.append((thread, number)))

    together(lambda: add(0), lambda: add(1))
    ran_in: list[int] = []
    future.add_done_callback(lambda _: ran_in.append(threading.get_ident()))
    future.set_result(1)
    for thread in (0, 1):
        assert [number for who, number in calls if who == thread] == list(range(200))
    assert ran_in == [threading.get_ident()]
