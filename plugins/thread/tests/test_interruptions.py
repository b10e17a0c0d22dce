"""F8 for pools: submit, map, cancel, shutdown and drop, each interrupted by each at every point of its way."""

from __future__ import annotations

import gc
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from races import LIMIT, elsewhere
from signals import everywhere

import corefutures_pools.streams.stream  # noqa: F401 - shutdown() looks for streams once a program has some
from corefutures import CancelledError, Future, _executor, _future, wait
from corefutures_thread import ThreadPoolExecutor, _executor as _thread_executor, _thread_pool


class Subject:
    """A pool, what can be done with it, and an account of what became of its calls."""

    def __init__(self, workers: int = 2) -> None:
        self.pool = ThreadPoolExecutor(workers)
        self.futures: list[Future[Any]] = []
        self.ran: list[int] = []
        self.submitted = 0
        self.threads: set[threading.Thread] = set()

    def submit(self) -> None:
        number = self.submitted
        self.submitted += 1
        try:
            future = self.pool.submit(self.ran.append, number)
        except RuntimeError:
            assert self.pool._shutdown
            return
        self.futures.append(future)

    def map(self) -> None:
        try:
            results = self.pool.map(abs, range(3))
        except RuntimeError:
            assert self.pool._shutdown
            return
        try:
            assert list(results) == [0, 1, 2]
        except CancelledError:
            assert self.pool._shutdown

    def cancel(self) -> None:
        for future in list(self.futures):
            future.cancel()

    def close(self) -> None:
        self.pool.shutdown(wait=False)

    def close_and_cancel(self) -> None:
        self.pool.shutdown(wait=False, cancel_futures=True)

    def end(self) -> None:
        self.pool.shutdown()

    def settle(self) -> None:
        """Every call ran once or was cancelled, and every thread ends."""
        threads = list(self.pool._threads)
        assert wait(self.futures, LIMIT).not_done == set()
        elsewhere(self.pool.shutdown)
        assert not any(thread.is_alive() for thread in threads)
        assert len(threads) <= self.pool._max_workers
        completed = [future for future in self.futures if not future.cancelled()]
        assert all(future.exception(LIMIT) is None for future in completed)
        assert sorted(self.ran) == sorted(set(self.ran)), "a call ran twice"
        assert len(self.ran) == len(completed), "a call was lost, or a cancelled or refused one ran"


#: All but `cancel` pass through the pool's own code.
ACTIONS = ["submit", "map", "cancel", "close", "close_and_cancel", "end"]


@pytest.mark.parametrize("handler", ACTIONS)
@pytest.mark.parametrize("interrupted", ACTIONS)
def test_each_method_interrupts_each(interrupted: str, handler: str) -> None:
    def scenario(interrupt: Any) -> None:
        subject = Subject()
        subject.submit()
        with interrupt(getattr(subject, handler)):
            getattr(subject, interrupted)()
        subject.settle()

    # A handler that waits for calls must not come while the frame below it holds the lock of one of their
    # futures: they need it to end. That is so for a few instructions of result() and cancel(), here as in the
    # standard library, and no test of ours says otherwise.
    waits = handler in ("end", "map")
    points = everywhere(scenario, _thread_executor, _thread_pool, *(() if waits else (_executor, _future)))
    assert points > 0 or (waits and interrupted == "cancel")


@pytest.fixture
def small_heap() -> Iterator[None]:
    """Collections look at what the test makes alone: in a run of all tests, each takes a quarter of a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def test_a_pool_is_finalised_anywhere(small_heap: None) -> None:
    """F8, gh-121649: the collector finds a pool while another one is used."""
    threshold = gc.get_threshold()
    for first in range(1, 40):
        subject = Subject(1)
        doomed = ThreadPoolExecutor(1)
        future = doomed.submit(int)
        threads = list(doomed._threads)
        cycle: list[Any] = [doomed]
        cycle.append(cycle)
        weakref.finalize(doomed, subject.submit).atexit = False
        gc.set_threshold(first)
        try:
            del doomed, cycle
            subject.submit()
            subject.cancel()
        finally:
            gc.set_threshold(*threshold)
        gc.collect()
        assert future.result(LIMIT) == 0
        for thread in threads:
            thread.join(LIMIT)
            assert not thread.is_alive()
        subject.settle()


def test_a_finaliser_waits_for_the_pool_anywhere() -> None:
    """F8: before 3.12, garbage is collected in the middle of whatever allocates, also in C."""
    threshold = gc.get_threshold()
    for first in range(1, 60):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(int).result(LIMIT)
            waited: list[int] = []
            while not pool._cf_pool.idle:
                time.sleep(0.0001)
            gc.collect(0)
            cycle: list[Any] = [Subject.__new__(Subject)]
            cycle.append(cycle)
            weakref.finalize(cycle[0], lambda p=pool, w=waited: w.append(p.submit(int).result(LIMIT))).atexit = False
            gc.set_threshold(first)
            try:
                del cycle
                future = pool.submit(int)
            finally:
                gc.set_threshold(*threshold)
            gc.collect(0)
            assert future.result(LIMIT) == 0
            assert waited == [0]


@pytest.mark.thread_unsafe(reason="signals are for the main thread")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer, which Windows has not")
def test_real_signals_interrupt_real_calls() -> None:
    """F8: a timer's signals hit submit, map, cancel and shutdown at random."""
    subjects = [Subject()]
    actions = ["submit", "submit", "cancel", "close"]
    hits = 0

    def handler(signum: int, frame: object) -> None:
        nonlocal hits
        hits += 1
        getattr(subjects[-1], actions[hits % len(actions)])()

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        end = time.monotonic() + 1.5
        while time.monotonic() < end or hits < 20:
            subject = subjects[-1]
            for action in ("submit", "submit", "map", "cancel", "end"):
                getattr(subject, action)()
            subjects.append(Subject())
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    for subject in subjects:
        subject.settle()


@pytest.mark.thread_unsafe(reason="signals are for the main thread")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer, which Windows has not")
def test_a_handler_submits_while_its_thread_waits() -> None:
    with ThreadPoolExecutor(1) as pool:
        done: Future[int] = Future()

        def handler(signum: int, frame: object) -> None:
            done.set_result(pool.submit(int, "7").result(LIMIT))

        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        try:
            assert done.result(LIMIT) == 7
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def test_every_submit_that_is_interrupted_by_an_error_leaves_a_working_pool() -> None:
    """Ctrl-C at each point of submit: the call may be lost to the caller, the pool goes on."""

    class Interrupt(BaseException):
        pass

    def fail() -> None:
        raise Interrupt

    def scenario(interrupt: Callable[..., Any]) -> None:
        pool = ThreadPoolExecutor(1)
        try:
            with interrupt(fail):
                pool.submit(int)
        except Interrupt:
            pass
        assert pool.submit(int).result(LIMIT) == 0
        threads = list(pool._threads)
        pool.shutdown()
        assert not any(thread.is_alive() for thread in threads)

    # In a thread of its own: if a tracer raises in an `except` clause, CPython 3.11 goes on to count the clause's
    # exception as being handled, and chains every later exception of the thread to it.
    assert elsewhere(lambda: everywhere(scenario, _thread_executor, _thread_pool)) > 5


def test_a_handler_that_raises_as_a_worker_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it raises is taken by `threading` for a failed start, and the thread, which has begun, dies of that."""
    name = "_start_joinable_thread" if hasattr(threading, "_start_joinable_thread") else "_start_new_thread"
    start: Any = getattr(threading, name)
    lock: Any = threading._active_limbo_lock  # type: ignore[attr-defined]
    started: list[Any] = []

    def interrupted(*args: Any, **options: Any) -> None:
        (thread,) = threading._limbo  # type: ignore[attr-defined]
        started.append(thread)
        lock.acquire()  # the thread gets no further than where it dies
        start(*args, **options)
        assert thread._started.wait(LIMIT)
        del threading._limbo[thread]  # type: ignore[attr-defined]
        raise TimeoutError

    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    with ThreadPoolExecutor(1) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading, name, interrupted)
            try:
                with pytest.raises(Exception):  # noqa: B017, PT011 - which one is for `threading` to say
                    pool.submit(abs, -1)
            finally:
                lock.release()
        started[0].join(LIMIT)
        assert pool.submit(abs, -2).result(LIMIT) == 2
