"""E1, E5, E8: failing initializers, workers that die of what should not be, threads that can't be started."""

from __future__ import annotations

import ctypes
import gc
import logging
import threading
import weakref
from types import SimpleNamespace

import pytest
from races import LIMIT, elsewhere, frequent_switches, together
from signals import everywhere

import corefutures_pools.streams.stream  # noqa: F401 - shutdown() looks for streams once a program has some
from corefutures import BrokenExecutor, Future, wait
from corefutures_thread import ThreadPoolExecutor, _thread_pool, _worker


@pytest.fixture(autouse=True)
def _logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "concurrent.futures")


def initialise(results: list[object], *args: object) -> None:
    results.append((threading.get_ident(), args))


def test_the_initializer_runs_once_in_each_thread_before_its_calls() -> None:
    results: list[object] = []
    meeting = threading.Barrier(3)
    with ThreadPoolExecutor(3, initializer=initialise, initargs=(results, 1, 2)) as pool:
        threads = [pool.submit(lambda: (meeting.wait(LIMIT), threading.get_ident())[1]) for _ in range(3)]
        idents = [future.result(LIMIT) for future in threads]
    assert sorted(results) == sorted((ident, (1, 2)) for ident in idents)  # type: ignore[type-var]


class Unready(Exception):
    """What the initializers here raise."""


@pytest.mark.parametrize("error", [Unready, KeyboardInterrupt, SystemExit])
def test_a_failing_initializer_breaks_the_pool(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """E5: what waits and what comes later fails, each with an exception of its own, and with the cause."""
    gate = threading.Event()

    def fail() -> None:
        gate.wait(LIMIT)
        raise error("not ready")

    pool = ThreadPoolExecutor(1, initializer=fail)
    futures = [pool.submit(int) for _ in range(10)]
    gate.set()
    assert wait(futures, LIMIT).not_done == set()
    errors = [future.exception() for future in futures]
    assert all(type(found) is pool.BROKEN for found in errors)
    assert len(set(map(id, errors))) == len(errors)
    with pytest.raises(BrokenExecutor) as caught:
        pool.submit(int)
    for found in (*errors, caught.value):
        assert found is not None
        assert isinstance(found.__cause__, error)
        assert "initializer failed" in str(found)
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    assert "initializer failed" in str(pool._broken)
    pool.shutdown()
    with pytest.raises(BrokenExecutor):
        pool.submit(int)


def test_calls_that_run_survive_another_worker_that_can_not_start() -> None:
    """E5: at once, also while other workers are busy."""
    first = threading.Lock()
    release, running, submitted = threading.Event(), threading.Event(), threading.Event()

    def only_one() -> None:
        if not first.acquire(blocking=False):
            submitted.wait(LIMIT)
            raise Unready

    def run() -> int:
        running.set()
        release.wait(LIMIT)
        return 1

    with ThreadPoolExecutor(2, initializer=only_one) as pool:
        survivor = pool.submit(run)
        assert running.wait(LIMIT)
        victims = [pool.submit(int) for _ in range(5)]
        submitted.set()
        assert wait(victims, LIMIT).not_done == set()
        assert not survivor.done()
        release.set()
        assert survivor.result(LIMIT) == 1
    assert all(isinstance(future.exception(), BrokenExecutor) for future in victims)


def test_submit_against_a_failing_initializer() -> None:
    """E1, E5: refused, or failed; nothing stays pending."""
    with frequent_switches():
        for _ in range(200):

            def fail() -> None:
                raise Unready

            pool = ThreadPoolExecutor(3, initializer=fail)

            def submit(pool: ThreadPoolExecutor = pool) -> list[Future[int]]:
                futures: list[Future[int]] = []
                try:
                    futures.extend(pool.submit(int) for _ in range(5))
                except BrokenExecutor as exc:
                    assert isinstance(exc.__cause__, Unready)  # noqa: PT017 - only if it is raised
                return futures

            futures = [future for some in together(submit, submit) for future in some]
            assert wait(futures, LIMIT).not_done == set()
            assert all(isinstance(future.exception(), BrokenExecutor) for future in futures)
            pool.shutdown()


class Slain(Exception):
    """What workers die of here."""


def test_a_worker_that_dies_anywhere_takes_no_future_with_it() -> None:
    """E1, E8: an error at each point of the worker's own code; every future ends, later calls are refused."""
    deaths = 0

    def scenario(interrupt: object) -> None:
        nonlocal deaths
        made = []

        def die() -> None:
            raise Slain

        class Trap:
            """As initializer it turns the tracing on in the worker."""

            def __call__(self) -> None:
                submitted.wait(LIMIT)
                made.append(interrupt(die))  # type: ignore[operator]
                made[0].__enter__()

        submitted = threading.Event()
        pool = ThreadPoolExecutor(1, initializer=Trap())
        futures: list[Future[object]] = [pool.submit(int), pool.submit(int), pool.submit(divmod, 1, 0)]
        futures[1].cancel()
        called: list[object] = []
        for future in futures:
            future.add_done_callback(called.append)
        submitted.set()
        assert wait(futures, LIMIT).not_done == set()
        for future in futures:
            future.cancelled() or future.exception(LIMIT)
        pool.shutdown()
        assert sorted(map(id, called)) == sorted(map(id, futures))
        if made[0].happened:
            deaths += 1
            if pool._broken:
                with pytest.raises(BrokenExecutor):
                    pool.submit(int)

    assert everywhere(scenario, _worker, raises=True) == deaths > 20


@pytest.mark.skipif(not hasattr(ctypes, "pythonapi"), reason="needs CPython's API to raise in another thread")
def test_an_exception_from_outside_ends_the_pool_in_order() -> None:
    """E8: some programs kill an idle thread so."""
    with ThreadPoolExecutor(1) as pool:
        ident = pool.submit(threading.get_ident).result(LIMIT)
        worker = next(iter(pool._threads))
        assert ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Slain)) == 1
        futures = []
        while worker.is_alive():  # it notices once it runs
            try:
                futures.append(pool.submit(int))
            except BrokenExecutor:
                break
        worker.join(LIMIT)
        assert wait(futures, LIMIT).not_done == set()
        with pytest.raises(BrokenExecutor) as caught:
            pool.submit(int)
        assert isinstance(caught.value.__cause__, Slain)


def refuse_to_start(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_a_pool_that_can_not_start_its_first_thread_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """E1: the caller gets the error, no call stays pending, and the pool works once threads can be started again."""
    with ThreadPoolExecutor(2) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse_to_start)
            for _ in range(3):
                with pytest.raises(RuntimeError, match="can't start new thread"):
                    pool.submit(int)
        assert pool.submit(int).result(LIMIT) == 0


def test_a_pool_that_has_a_thread_works_without_a_second_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        busy = pool.submit(gate.wait, LIMIT)
        monkeypatch.setattr(threading.Thread, "start", refuse_to_start)
        waits = pool.submit(int)
        assert "could not start another worker thread" in caplog.text or not caplog.records
        gate.set()
        assert waits.result(LIMIT) == 0
        assert busy.result(LIMIT) is True


def test_a_call_that_counted_on_a_thread_that_did_not_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """E1:

    1. A's submit is about to start the only worker.
    2. B's submit sees it, and leaves its call to it.
    3. The thread can't be started: A gets the error, and B's future too.
    """
    starting, proceed = threading.Event(), threading.Event()

    def hesitate(thread: threading.Thread) -> None:
        starting.set()
        proceed.wait(LIMIT)
        raise RuntimeError("can't start new thread")

    pools = [ThreadPoolExecutor(1)]

    def first() -> None:
        with pytest.raises(RuntimeError, match="can't start"):
            pools[0].submit(int)

    def second() -> BaseException | None:
        assert starting.wait(LIMIT)
        future = pools[0].submit(int)
        proceed.set()
        return future.exception(LIMIT)

    start = threading.Thread.start
    stubborn = type("Stubborn", (threading.Thread,), {"start": hesitate})
    monkeypatch.setattr(_thread_pool, "threading", SimpleNamespace(Thread=stubborn, get_ident=threading.get_ident))
    assert start is threading.Thread.start
    _, error = together(first, second)
    assert isinstance(error, RuntimeError)
    executor = weakref.ref(pools.pop())
    gc.collect()
    assert executor() is None, "the error keeps the executor, and so the threads that it may have later"


def test_an_interrupted_start_is_no_lost_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """E2, E6: Ctrl-C while submit waits for the thread to come up; it does come up, and is counted."""

    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            raise KeyboardInterrupt

    pool = ThreadPoolExecutor(1)
    with monkeypatch.context() as patch:
        patch.setattr(_thread_pool, "threading", SimpleNamespace(Thread=Interrupted, get_ident=threading.get_ident))
        with pytest.raises(KeyboardInterrupt):
            pool.submit(int)
    assert pool.submit(int).result(LIMIT) == 0
    assert len(pool._threads) == 1
    threads = list(pool._threads)
    pool.shutdown()
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("interrupts", [1, 3])
def test_an_interrupted_start_leaves_no_call_of_another_thread_waiting(
    monkeypatch: pytest.MonkeyPatch, interrupts: int
) -> None:
    """E1, E2:

    1. A's submit has entered the only worker, whose thread does not exist yet.
    2. B's submit sees that worker, and leaves its call to it.
    3. A is interrupted by Ctrl-C, once or again and again: B's call runs, A's does not.
    """
    ran: list[str] = []
    left: list[Future[None]] = []

    class Interrupted(threading.Thread):
        def start(self) -> None:
            if not left:
                left.append(elsewhere(lambda: pool.submit(ran.append, "B")))
            starts.append(self)
            if len(starts) <= interrupts:
                raise KeyboardInterrupt
            super().start()

    starts: list[threading.Thread] = []
    pool = ThreadPoolExecutor(1)
    monkeypatch.setattr(_thread_pool, "threading", SimpleNamespace(Thread=Interrupted, get_ident=threading.get_ident))
    with pytest.raises(KeyboardInterrupt):
        pool.submit(ran.append, "A")
    assert left[0].result(LIMIT) is None
    monkeypatch.undo()
    assert pool.submit(len, ran).result(LIMIT) == 1
    pool.shutdown()
    assert ran == ["B"]
