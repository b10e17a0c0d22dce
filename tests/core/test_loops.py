"""Loops over what may raise anything, and over what other threads change."""

from __future__ import annotations

import collections
import contextvars
import gc
import logging
import threading
import weakref

import pytest

from corefutures import Future
from corefutures._blocking import start_thread
from corefutures._foreign_code import copied, for_each, log_failure
from corefutures_pools.future import PoolFuture
from corefutures_pools.lifecycle import LiveObjects


class Stop(BaseException):
    """No Exception."""

    def __bool__(self) -> bool:
        return False


def test_every_item_is_handled_and_the_first_error_is_raised() -> None:
    seen: list[int] = []

    def act(number: int) -> None:
        seen.append(number)
        if number % 2:
            raise Stop(number)

    with pytest.raises(Stop) as raised:
        for_each(act, range(6))
    assert seen == [0, 1, 2, 3, 4, 5]
    assert raised.value.args == (1,)


def test_a_loop_without_errors_raises_nothing() -> None:
    seen: list[int] = []
    for_each(seen.append, iter([1, 2]))
    assert seen == [1, 2]


def test_the_raised_error_leaves_no_cycle() -> None:
    class Held:
        pass

    def act(_: object) -> None:
        held = Held()
        seen.append(weakref.ref(held))
        raise Stop

    seen: list[weakref.ref[Held]] = []
    gc.disable()
    try:
        with pytest.raises(Stop) as raised:
            for_each(act, [1, 2])
        del raised
        assert [held() for held in seen] == [None, None]
    finally:
        gc.enable()


def test_a_copy_is_made_again_if_the_collection_changes() -> None:
    class Changing(collections.deque[int]):
        tries = 0

        def __iter__(self) -> object:  # type: ignore[override]
            self.tries += 1
            if self.tries < 3:
                raise RuntimeError("deque mutated during iteration")
            return super().__iter__()

    changing = Changing([1, 2])
    assert copied(changing) == [1, 2]
    assert changing.tries == 3


class _Broken(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise Stop("a filter")


def test_a_thread_continues_if_its_failure_can_not_be_logged(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("broken")
    broken = _Broken()
    logger.addFilter(broken)
    try:
        raise OSError("the failure")
    except OSError:
        log_failure(logger, "what failed")
    finally:
        logger.removeFilter(broken)
    assert "a filter" in capsys.readouterr().err


@pytest.mark.parametrize("announced", ["callbacks", "waiters", "threads"])
def test_an_error_of_one_subscriber_does_not_keep_others_from_being_notified(announced: str) -> None:
    """F4, F5: of callbacks, of waiters in `wait`, of threads in `result`; and each sort although another raises."""

    class Waiter:
        def add_result(self, future: object) -> None:
            notified.append("waiter")
            if announced == "waiters":
                raise Stop

    class Unparked:
        def unpark(self) -> None:
            notified.append("thread")
            if announced == "threads":
                raise Stop

    def call_back(_: object) -> None:
        notified.append("callback")
        if announced == "callbacks":
            raise Stop

    notified: list[str] = []
    future: Future[int] = Future()
    for _ in range(3):
        assert future._cf_subscribe(Waiter())  # type: ignore[arg-type]
        future.add_done_callback(call_back)
    future._cf_parked = [Unparked().unpark for _ in range(3)]
    with pytest.raises(Stop):
        future.set_result(1)
    assert notified == ["waiter"] * 3 + ["thread"] * 3 + ["callback"] * 3
    future._cf_notify()
    assert len(notified) == 9, "notified twice"


def test_callbacks_run_after_one_whose_failure_can_not_be_logged(caplog: pytest.LogCaptureFixture) -> None:
    """F4"""
    future: PoolFuture[int] = PoolFuture(int, (), None)
    notified: list[object] = []
    future.add_done_callback(lambda _: [][0])
    future.add_done_callback(notified.append)
    logger = logging.getLogger("concurrent.futures")
    broken = _Broken()
    logger.addFilter(broken)
    try:
        future._cf_abandon(OSError())
    finally:
        logger.removeFilter(broken)
    assert notified == [future]


def test_live_objects_are_listed_while_others_are_added_and_collected() -> None:
    class Thing:
        pass

    living: LiveObjects = LiveObjects()
    kept = [Thing() for _ in range(5)]
    for thing in kept:
        living.add(thing)
    living.add(Thing())
    gc.collect()
    assert living.all() == kept
    del kept[2:], thing
    gc.collect()
    assert living.all() == kept


def test_our_threads_start_under_an_empty_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """As tools see it that follow a request from thread to thread: they replace `Thread.start`."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="none")
    seen: list[str] = []
    start = threading.Thread.start

    def follow(thread: threading.Thread) -> None:
        seen.append(variable.get())
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", follow)
    variable.set("a request")
    thread = threading.Thread(target=lambda: seen.append(variable.get()))
    start_thread(thread)
    thread.join(10)
    assert seen == ["none", "none"]
    assert variable.get() == "a request"
