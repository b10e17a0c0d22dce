"""F8 for a thread that waits for the only call there is, and reads the result itself: interrupted at every point."""

from __future__ import annotations

import gc
import os
import pickle
import select
import sys
import threading
import time
import weakref
from concurrent.futures import BrokenExecutor
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the fast path needs Linux")

if sys.platform == "linux":
    from signals import everywhere

    from corefutures_pools.workers.marshalled import marshalled_result
    from corefutures_pools.workers.messages import EXITING, FRAME, READY, RESULT_MARSHAL, STOP, TASK
    from corefutures_pools.workers.pool import PoolOptions
    from corefutures_pools.workers.result_decoding import ResultDecoder
    from corefutures_pools.workers.serialization import Encoder
    from corefutures_pools.workers.shared_queue import inline_wait, leader, pool as pools, watchdog
    from corefutures_pools.workers.shared_queue.descriptor_channel import PoolDescriptorChannel


class Raised(BaseException):
    """What a handler raises."""


class NumberedWorker:
    """A worker in a thread: each call returns its own number, once it may."""

    def __init__(self, ends: Any, may_answer: threading.Event) -> None:
        self._may_answer = may_answer
        self.name, self.pid = "numbered", None
        self._frames, self._tasks = os.dup(ends.frames), os.dup(ends.tasks)
        self._sentinel, self._alive = os.pipe()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            self._say(READY, 0)
            while task := os.read(self._tasks, TASK.size):
                number = TASK.unpack(task)[0]
                if number == STOP:
                    self._say(EXITING, 0)
                    return
                body = marshalled_result(number)
                assert body is not None
                assert self._may_answer.wait(30)
                self._say(RESULT_MARSHAL, number, body)
        finally:
            for end in (self._frames, self._tasks, self._alive):
                os.close(end)

    def _say(self, kind: int, number: int, body: bytes = b"") -> None:
        os.write(self._frames, FRAME.pack(len(body), kind, number) + body)

    def sentinels(self) -> list[int]:
        return [self._sentinel]

    def ended(self) -> bool:
        return True

    def mark_exiting(self) -> None:
        """Ends by itself."""

    def terminate(self) -> None:
        """Ends when it is told to STOP."""

    kill = terminate

    def reap(self) -> int:
        self._thread.join()
        os.close(self._sentinel)
        return 0


class WorkerLauncher:
    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.may_answer.set()

    def launch(self, ends: Any) -> NumberedWorker:
        return NumberedWorker(ends, self.may_answer)


@pytest.fixture
def launcher():
    return WorkerLauncher()


def make(launcher: WorkerLauncher) -> Any:
    pool = pools.SharedQueuePool(
        PoolOptions(1, BrokenExecutor), make_channel=PoolDescriptorChannel, launcher=launcher, encode=Encoder(),
        decoder=ResultDecoder(pickle.loads, Encoder(), Exception),
    )  # fmt: skip
    assert pool.submit(abs, (1,), {}).result(30) == 1
    return pool


@pytest.fixture
def pool(launcher):
    pool = make(launcher)
    yield pool
    launcher.may_answer.set()
    pool.close(wait=True)


def check(pool: Any) -> None:
    """The result thread reads again, whichever thread was the leader."""
    told = threading.Event()
    future = pool.submit(abs, (1,), {})
    future.add_done_callback(lambda _: told.set())
    assert told.wait(30)
    assert pool.submit(abs, (1,), {}).result(30) == future.result() + 1
    assert not pool.calls


def answer_who_waits(pool: Any, future: Any, may_answer: threading.Event, *others: threading.Event) -> None:
    """Lets the worker answer once there is a leader, or one of `others` is set.

    A thread that finds the result thread leading waits for `future` as for any other.
    """
    while not (pool.leadership._queue or future._cf_parked or any(other.is_set() for other in others)):
        pass
    may_answer.set()


def interruptions(pool: Any, may_answer: threading.Event, handler: Any) -> int:
    """Waits for calls, interrupted by `handler` at each point in turn; returns how many points there were."""

    def handle() -> None:
        may_answer.set()
        handler()

    def scenario(interrupt: Any) -> None:
        may_answer.clear()
        done = threading.Event()
        future = pool.submit(abs, (1,), {})
        answering = threading.Thread(target=answer_who_waits, args=(pool, future, may_answer, done))
        answering.start()
        try:
            with interrupt(handle):
                future.result(30)
        except Raised:
            pass
        finally:
            done.set()
            answering.join()
        assert future.result(30) == future._number
        check(pool)

    return everywhere(scenario, inline_wait, leader, watchdog)


def test_a_handler_waits_for_a_call(pool, launcher):
    def handler() -> None:
        future = pool.submit(abs, (1,), {})
        assert future.result(30) == future._number

    assert interruptions(pool, launcher.may_answer, handler) > 30


@pytest.mark.parametrize("of_whom", ["its own call", "the interrupted call", "the interrupted call, from a callback"])
def test_a_handler_waits_for_a_thread_that_waits_for(of_whom, pool, launcher, monkeypatch):
    monkeypatch.setattr(watchdog, "STALL_TIMEOUT", 0.002)
    interrupted: list[Any] = []

    def wait_in_another_thread() -> None:
        future = pool.submit(abs, (1,), {}) if of_whom == "its own call" else interrupted[0]
        if of_whom.endswith("callback"):
            told = threading.Event()
            future.add_done_callback(lambda _: told.set())
            assert told.wait(30)
        assert future.result(30) == future._number
        waited.append(future)

    waited: list[Any] = []

    def handler() -> None:
        interrupted[:] = list(pool.calls.values()) or interrupted
        another = threading.Thread(target=wait_in_another_thread)
        another.start()
        another.join()
        assert waited, "the other thread failed"
        waited.clear()

    interrupted.append(pool.submit(abs, (1,), {}))
    assert interruptions(pool, launcher.may_answer, handler) > 30


def test_a_handler_cancels_and_subscribes(pool, launcher):
    def handler() -> None:
        pool.submit(abs, (1,), {}).cancel()
        told = threading.Event()
        pool.submit(abs, (1,), {}).add_done_callback(lambda _: told.set())
        assert told.wait(30)

    assert interruptions(pool, launcher.may_answer, handler) > 30


def test_a_handler_raises(pool, launcher):
    def handler() -> None:
        raise Raised

    assert interruptions(pool, launcher.may_answer, handler) > 30


def test_a_handler_shuts_down(launcher):
    def scenario(interrupt: Any) -> None:
        pool = make(launcher)
        launcher.may_answer.clear()
        future = pool.submit(abs, (1,), {})
        over = threading.Event()
        answering = threading.Thread(target=answer_who_waits, args=(pool, future, launcher.may_answer, over))
        answering.start()

        def handler() -> None:
            over.set()
            pool.close(wait=True)

        with interrupt(handler):
            assert future.result(30) == 2
        answering.join()
        pool.close(wait=True)

    assert everywhere(scenario, inline_wait, leader, watchdog) > 30


def test_after_a_handler_raised_other_threads_have_the_pool(launcher):
    def scenario(interrupt: Any) -> None:
        pool = make(launcher)
        launcher.may_answer.clear()
        future = pool.submit(abs, (1,), {})
        over = threading.Event()
        answering = threading.Thread(target=answer_who_waits, args=(pool, future, launcher.may_answer, over))
        answering.start()

        def handler() -> None:
            over.set()
            raise Raised

        try:
            with interrupt(handler):
                future.result(30)
        except Raised:
            pass
        answering.join()
        outcomes: list[Any] = []

        def go_on() -> None:
            check(pool)
            pool.close(wait=True)
            outcomes.append(future.result(30))

        other = threading.Thread(target=go_on, daemon=True)
        other.start()
        other.join(30)
        assert outcomes == [2]

    assert everywhere(scenario, inline_wait, leader, watchdog) > 30


def test_a_handler_waits_for_what_was_read_together(pool, launcher):
    def scenario(interrupt: Any) -> None:
        launcher.may_answer.clear()
        first = pool.submit(abs, (1,), {})
        interrupted, over, both = threading.Event(), threading.Event(), threading.Event()
        seconds = []

        def submit_another() -> None:
            answer_who_waits(pool, first, threading.Event(), interrupted, over)
            seconds.append(pool.submit(abs, (1,), {}))
            both.set()
            launcher.may_answer.set()

        submitting = threading.Thread(target=submit_another)
        submitting.start()

        def handler() -> None:
            interrupted.set()
            assert both.wait(30)
            assert seconds[0].result(30) == first._number + 1

        with interrupt(handler):
            assert first.result(30) == first._number
        over.set()
        submitting.join()
        check(pool)

    assert everywhere(scenario, inline_wait, leader, watchdog) > 30


def test_callbacks_do_not_run_in_a_thread_that_waits(pool, launcher):
    for _ in range(50):
        launcher.may_answer.clear()
        future = pool.submit(abs, (1,), {})
        over, told = threading.Event(), threading.Event()
        threads = []

        def tell(_: object, threads: Any = threads, told: threading.Event = told) -> None:
            threads.append(threading.current_thread())
            told.set()

        def subscribe_and_answer(future: Any = future, over: threading.Event = over, tell: Any = tell) -> None:
            while not (future._cf_parked or over.is_set()):
                pass
            future.add_done_callback(tell)
            launcher.may_answer.set()

        subscribing = threading.Thread(target=subscribe_and_answer)
        subscribing.start()
        try:
            assert future.result(30) == future._number
        finally:
            over.set()
        subscribing.join()
        assert told.wait(30)
        assert threads == [pool.thread]


def test_the_result_thread_leads_while_a_callback_submits(pool, launcher):
    wakers = []
    told = threading.Event()

    def callback(_: object) -> None:
        launcher.may_answer.clear()
        future = pool.submit(abs, (1,), {})
        waiting = threading.Thread(target=future.result, args=(30,))
        waiting.start()
        while not future._cf_parked:
            pass
        wakers.extend(future._cf_parked)
        launcher.may_answer.set()
        told.set()

    launcher.may_answer.clear()
    pool.submit(abs, (1,), {}).add_done_callback(callback)
    launcher.may_answer.set()
    assert told.wait(30)
    assert len(wakers) == 1
    assert wakers[0] != pool.leadership.wakeup.set
    check(pool)


def test_a_term_that_was_checked_does_not_keep_its_call(pool, launcher, monkeypatch):
    monkeypatch.setattr(watchdog, "STALL_TIMEOUT", 1000)  # the watchdog won't forget the term by itself
    launcher.may_answer.clear()
    future = pool.submit(abs, (1,), {})
    over = threading.Event()

    def come_and_answer(future: Any = future) -> None:
        while not (pool.watchdog.suspects or future._cf_parked or over.is_set()):
            if pool.leadership.waiting:
                pool.watchdog.request()
        del future
        launcher.may_answer.set()

    coming = threading.Thread(target=come_and_answer)
    coming.start()
    try:
        future.result(30)
    finally:
        over.set()
    coming.join()
    remembered = weakref.ref(future)
    del future, come_and_answer, coming
    gc.collect()
    assert remembered() is None


@pytest.fixture
def one_processor():
    """Whoever is woken runs once nobody else does."""
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_of_them)})
    yield
    os.sched_setaffinity(0, all_of_them)


def test_a_thread_that_polls_is_woken_though_all_is_closed_at_once(one_processor):
    for _ in range(300):
        with select.epoll() as outer:
            closing = leader.Leadership(outer)
            about_to_poll = threading.Event()

            def poll(closing: Any = closing, about_to_poll: threading.Event = about_to_poll) -> None:
                term = leader.LeaderTerm(1, object())  # type: ignore[arg-type]
                closing.acquire(term)
                about_to_poll.set()
                closing.poll(term, None)
                closing.retire(term)

            polling = threading.Thread(target=poll, daemon=True)
            polling.start()
            assert about_to_poll.wait(30)
            time.sleep(0.0002)
            closing.close()
            polling.join(30)
            assert not polling.is_alive()
            assert closing._inner.closed
            assert closing._wakeup_descriptor == -1
