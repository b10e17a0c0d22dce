"""The thread that watches time limits may fail to start, or meet an error: no limit is forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import control_calls
import pytest
from signals import Interruption

from corefutures_pools.workers import call_control, time_limits as killing
from corefutures_pools.workers.call_control import undisturbed
from corefutures_pools.workers.future import CallFuture
from corefutures_pools.workers.pool import WorkerPool
from corefutures_pools.workers.time_limits import TimeLimits

Make = Callable[..., Any]

LIMIT = 30.0


@pytest.fixture
def pool(make: Make) -> Any:
    if not hasattr(make(1), "kill_workers"):
        pytest.skip("interpreters can't be killed")
    return make(1, on_worker_loss="replace")


def test_a_call_is_refused_whose_limit_nobody_would_keep(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.submit(int).result(LIMIT)
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if "limits" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    before = pool.stats().submitted
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        pool.options(timeout=0.1).submit(control_calls.until_asked)
    assert pool.stats().submitted == before
    monkeypatch.undo()
    assert isinstance(pool.options(timeout=0.1).submit(control_calls.until_asked).exception(LIMIT), TimeoutError)


def test_an_error_while_a_limit_is_kept_is_tried_again(
    pool: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kind: Any = type(pool._cf_pool)
    kill_running, failed = kind.kill_running, []

    def fail_once(self: WorkerPool, *args: Any) -> bool:
        if not failed:
            failed.append(True)
            raise MemoryError
        result: bool = kill_running(self, *args)
        return result

    monkeypatch.setattr(kind, "kill_running", fail_once)
    limited = pool.options(timeout=0.1)
    assert isinstance(limited.submit(control_calls.until_asked).exception(LIMIT), TimeoutError)
    assert failed
    assert "could not be kept yet" in caplog.text
    assert isinstance(limited.submit(control_calls.until_asked).exception(LIMIT), TimeoutError)


def test_a_handler_may_wait_for_others_with_limits_at_each_point(pool: Any) -> None:
    ended: CallFuture[None] = CallFuture()
    ended._cf_settle(None, None)
    for step in range(1000):
        limits = TimeLimits(pool._cf_pool)

        def handler(limits: TimeLimits = limits) -> None:
            other = threading.Thread(target=limits.submit, args=(1.0, lambda: ended), daemon=True)
            other.start()
            other.join(LIMIT)
            assert not other.is_alive(), "it waits for the thread that was interrupted"

        with Interruption(step, handler, killing) as interruption:
            limits.submit(1.0, lambda: ended)
        while limits._watched:  # until nobody needs its thread
            time.sleep(0.001)
        if not interruption.happened:
            break
    assert step > 5


def test_handlers_come_to_no_thread_that_kills(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kind: Any = type(pool._cf_pool)
    kill_running, threads = kind.kill_running, []

    def watched(self: WorkerPool, *args: Any) -> bool:
        threads.append(threading.current_thread())
        result: bool = kill_running(self, *args)
        return result

    monkeypatch.setattr(kind, "kill_running", watched)
    future = pool.submit(control_calls.until_asked)
    while not future.running():
        time.sleep(0.01)
    assert pool.kill(future)
    assert future.exception(LIMIT) is not None
    assert threads
    assert threading.main_thread() not in threads


def test_an_interrupt_ends_the_waiting_and_not_the_killing(monkeypatch: pytest.MonkeyPatch) -> None:
    going, done = threading.Event(), threading.Event()

    class Out(BaseException):
        pass

    def kill() -> bool:
        assert going.wait(LIMIT)
        done.set()
        return True

    def interrupted(self: object, timeout: float | None = None) -> None:
        raise Out

    monkeypatch.setattr(call_control.Future, "result", interrupted)
    with pytest.raises(Out):
        undisturbed(kill)
    going.set()
    assert done.wait(LIMIT)


def test_who_relied_on_a_thread_that_could_not_start_is_not_forgotten(
    pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.submit(int).result(LIMIT)
    limited = pool.options(timeout=0.1)
    start = threading.Thread.start
    others: list[Any] = []

    def fail(thread: threading.Thread) -> None:
        if "limits" in thread.name:
            others.append(
                limited.submit(control_calls.until_asked)
            )  # as another thread may: it finds that there is one
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        limited.submit(control_calls.until_asked)
    assert isinstance(others[0].exception(LIMIT), TimeoutError)
    monkeypatch.undo()
    assert isinstance(limited.submit(control_calls.until_asked).exception(LIMIT), TimeoutError)
