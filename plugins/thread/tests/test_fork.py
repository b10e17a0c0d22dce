"""E11, F4: in a forked child inherited futures fail, no call runs twice, new calls work."""

from __future__ import annotations

import itertools
import logging
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator

import pytest
from races import LIMIT, frequent_switches
from signals import everywhere
from subprocesses import in_fork

from corefutures import BrokenExecutor, Future, _future, as_completed, wait
from corefutures_thread import ThreadPoolExecutor, _worker

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # What pytest, logging and the interpreter have locked in other threads stays locked in the child.
    pytest.mark.thread_unsafe(reason="a process is forked by one thread at a time"),
]


@pytest.fixture(autouse=True)
def _forking_with_threads_is_what_is_tested() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*fork.*", category=DeprecationWarning)
        yield


def test_inherited_futures_fail_and_new_calls_work() -> None:
    gate, running = threading.Event(), threading.Event()

    def run() -> int:
        running.set()
        gate.wait(LIMIT)
        return 1

    with ThreadPoolExecutor(1) as pool:
        finished = pool.submit(int)
        finished.result(LIMIT)
        futures = [pool.submit(run), *(pool.submit(os.getpid) for _ in range(5))]
        parent = os.getpid()
        assert running.wait(LIMIT)

        def child() -> None:
            assert finished.result(LIMIT) == 0
            assert wait(futures, LIMIT).not_done == set()
            errors = [future.exception(LIMIT) for future in futures]
            assert all(isinstance(error, BrokenExecutor) for error in errors), errors
            assert len(set(map(id, errors))) == len(errors)
            assert all("forked" in str(error) for error in errors)
            assert not any(future.cancel() for future in futures)
            assert pool._work_queue.qsize() == 0
            assert pool.submit(os.getpid).result(LIMIT) == os.getpid() != parent
            assert list(pool.map(abs, range(50))) == list(range(50))
            pool.shutdown()
            assert pool.submit is not None
            with pytest.raises(RuntimeError):
                pool.submit(int)

        in_fork(child)
        gate.set()
        assert [future.result(LIMIT) for future in futures] == [1, *[parent] * 5]


def test_a_child_of_a_child() -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result(LIMIT)

        def grandchild() -> None:
            assert pool.submit(int).result(LIMIT) == 0

        def child() -> None:
            grandchild()
            in_fork(grandchild)
            grandchild()

        in_fork(child)


def test_a_closed_pool_stays_closed() -> None:
    gate = threading.Event()
    pool = ThreadPoolExecutor(1)
    future = pool.submit(gate.wait, LIMIT)
    pool.shutdown(wait=False)

    def child() -> None:
        with pytest.raises(RuntimeError, match="after shutdown"):
            pool.submit(int)
        assert isinstance(future.exception(LIMIT), BrokenExecutor)
        pool.shutdown()

    in_fork(child)
    gate.set()
    assert future.result(LIMIT) is True


def test_callbacks_stay_with_the_process_that_added_them() -> None:
    """F4"""
    gate = threading.Event()
    calls: list[str] = []
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(gate.wait, LIMIT)
        bare: Future[int] = Future()
        for one in (future, bare):
            one.add_done_callback(lambda _: calls.append("parent's"))

        def child() -> None:
            assert future.done()
            bare.add_done_callback(lambda _: calls.append("child's"))
            bare.set_result(1)
            assert calls == ["child's"]

        in_fork(child)
        assert calls == []
        bare.set_result(1)
        gate.set()
        future.result(LIMIT)
    assert calls == ["parent's"] * 2


def test_a_fork_from_a_worker() -> None:
    """The child's only thread is a worker of the pool: it may use the pool, and nothing runs twice."""
    with ThreadPoolExecutor(2) as pool:
        ran: list[int] = []

        def fork() -> bool:
            waiting = [pool.submit(ran.append, number) for number in range(20)]

            def child() -> None:
                before = len(ran)
                assert wait(waiting, LIMIT).not_done == set()
                assert pool.submit(int).result(LIMIT) == 0
                pool.shutdown()
                assert len(ran) == before

            in_fork(child)
            return wait(waiting, LIMIT).not_done == set()

        assert pool.submit(fork).result(LIMIT) is True
        assert sorted(ran) == list(range(20))


def test_forks_at_random_moments_leave_no_future_pending() -> None:
    """While futures are submitted, run, waited for and cancelled: wherever they are, they end."""
    with frequent_switches(), ThreadPoolExecutor(2) as pool:
        futures: deque[Future[int]] = deque(maxlen=100)
        stop = threading.Event()

        def submit() -> None:
            for number in itertools.count():
                futures.append(pool.submit(int))
                futures[-1].add_done_callback(lambda _: None)
                if number % 3 == 0:
                    futures[-1].cancel()
                if number % 50 == 0:
                    wait(list(futures), LIMIT)
                if stop.is_set():
                    return

        submitting = threading.Thread(target=submit, daemon=True)
        submitting.start()

        def child() -> None:
            known = list(futures)
            assert wait(known, LIMIT / 3).not_done == set()
            for future in known:
                future.cancel()
                future.cancelled() or future.exception(0)
            assert pool.submit(int).result(LIMIT / 3) == 0

        try:
            for _ in range(40):
                in_fork(child)
        finally:
            stop.set()
            submitting.join(LIMIT)


def test_a_fork_at_each_point_of_the_worker_loop() -> None:
    """E11, deterministic: the worker itself stops at each point of its loop while another thread forks."""
    if sys.version_info[:2] == (3, 12):
        pytest.skip("CPython 3.12's tracing by instructions misses functions that run already")

    def scenario(interrupt: object) -> None:
        reached, go_on, submitted = threading.Event(), threading.Event(), threading.Event()
        traps = []

        def stop_here() -> None:
            reached.set()
            go_on.wait(LIMIT)

        def initializer() -> None:
            submitted.wait(LIMIT)
            traps.append(interrupt(stop_here))  # type: ignore[operator]
            traps[0].__enter__()

        with ThreadPoolExecutor(1, initializer=initializer) as pool:
            futures = [pool.submit(int), pool.submit(int)]
            futures[1].add_done_callback(lambda _: None)
            futures[-1].add_done_callback(lambda _: reached.set())
            submitted.set()
            assert reached.wait(LIMIT)

            def child() -> None:
                assert list(as_completed(futures, LIMIT / 3))
                assert pool._cf_pool.queue is not None
                assert pool.submit(int, "3").result(LIMIT / 3) == 3

            try:
                if traps[0].happened:
                    in_fork(child)
            finally:
                go_on.set()
            assert [future.result(LIMIT) for future in futures] == [0, 0]

    assert everywhere(scenario, _worker) > 10


def test_a_handler_that_forks_while_the_result_is_being_stored() -> None:
    """E11: the interrupted thread goes on waiting in the child, too, where nobody will tell it of what has ended."""
    if sys.version_info[:2] == (3, 12):
        pytest.skip("CPython 3.12's tracing by instructions misses functions that run already")

    def scenario(interrupt: object) -> None:
        go_on, submitted = threading.Event(), threading.Event()
        traps = []
        begun: list[bool] = []
        children: list[int] = []
        main = threading.get_ident()
        waiting = True

        def fork(*_: object) -> None:
            if waiting and not begun:
                begun.append(True)  # before the fork, in which the next signal may come
                children.append(os.fork())
            if children == [0]:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(int(LIMIT / 2))
            go_on.set()

        def stop_here() -> None:
            for _ in range(int(LIMIT * 10)):  # a signal that comes just before a thread blocks does not wake it
                signal.pthread_kill(main, signal.SIGUSR1)
                if go_on.wait(0.1):
                    break

        def initializer() -> None:
            submitted.wait(LIMIT)
            traps.append(interrupt(stop_here))  # type: ignore[operator]
            traps[0].__enter__()

        before = signal.signal(signal.SIGUSR1, fork)
        try:
            with ThreadPoolExecutor(1, initializer=initializer) as pool:
                future = pool.submit(int)
                submitted.set()
                outcome: object = None
                try:
                    outcome = future.result()
                except BrokenExecutor as exc:
                    outcome = exc
                finally:
                    waiting = False
                    if children == [0]:
                        os._exit(outcome is None)
                assert outcome == 0
        finally:
            signal.signal(signal.SIGUSR1, before)
        for child in children:
            assert os.waitpid(child, 0)[1] == 0, "the child waits for ever"

    assert everywhere(scenario, _worker, _future) > 10


def test_logging_in_the_child_works(caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(int).result(LIMIT)

        def child() -> None:
            future = pool.submit(int)
            future.result(LIMIT)
            future.add_done_callback(lambda _: [][0])
            assert "exception calling callback" in caplog.text

        caplog.set_level(logging.ERROR)
        in_fork(child)
