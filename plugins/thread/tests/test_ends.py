"""E6: every way for a pool to end: shutdown in each order, from anywhere, or dropped; nothing is left."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from races import LIMIT, Parking, elsewhere, frequent_switches, together
from subprocesses import run_script

from corefutures import Future, wait
from corefutures_thread import ThreadPoolExecutor


def threads_of(pool: ThreadPoolExecutor) -> list[threading.Thread]:
    return list(pool._threads)


def all_ended(threads: list[threading.Thread]) -> bool:
    return not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("calls", [0, 1, 50])
def test_shutdown_waits_for_all_calls(calls: int) -> None:
    pool = ThreadPoolExecutor(3)
    futures = [pool.submit(int) for _ in range(calls)]
    threads = threads_of(pool)
    pool.shutdown()
    assert all(future.done() for future in futures)
    assert all_ended(threads)
    pool.shutdown()
    pool.shutdown(wait=False, cancel_futures=True)


def test_shutdown_without_waiting_returns_at_once_and_loses_no_call() -> None:
    gate = threading.Event()
    pool = ThreadPoolExecutor(1)
    futures = [pool.submit(gate.wait, LIMIT) for _ in range(3)]
    pool.shutdown(wait=False)
    assert not any(future.done() for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.map(int, "1")
    gate.set()
    assert [future.result(LIMIT) for future in futures] == [True] * 3
    pool.shutdown()
    assert all_ended(threads_of(pool))


@pytest.mark.parametrize("waits", [True, False])
def test_shutdown_cancels_pending_calls(waits: bool) -> None:
    gate, started = threading.Event(), threading.Event()

    def run() -> int:
        started.set()
        gate.wait(LIMIT)
        return 1

    pool = ThreadPoolExecutor(1)
    running = pool.submit(run)
    waiting = [pool.submit(int) for _ in range(20)]
    notified: list[Future[int]] = []
    for future in waiting:
        future.add_done_callback(notified.append)
    assert started.wait(LIMIT)
    waiting[-1].add_done_callback(lambda _: gate.set())
    pool.shutdown(wait=waits, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    assert notified == waiting
    assert running.result(LIMIT) == 1
    pool.shutdown()
    assert all_ended(threads_of(pool))


def test_a_callback_that_raises_does_not_stop_the_cancelling() -> None:
    """E6, F4: the BaseException comes out of shutdown, after all are cancelled."""

    class Stop(BaseException):
        pass

    def stop(_: object) -> None:
        raise Stop

    gate = threading.Event()
    pool = ThreadPoolExecutor(1)
    pool.submit(gate.wait, LIMIT)
    futures = [pool.submit(int) for _ in range(5)]
    futures[1].add_done_callback(stop)
    with pytest.raises(Stop):
        pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in futures)
    gate.set()
    pool.shutdown()


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("cancels", [True, False])
def test_a_call_may_shut_its_own_pool_down(waits: bool, cancels: bool) -> None:
    """There it acts as wait=False."""
    pool = ThreadPoolExecutor(2)
    future = pool.submit(pool.shutdown, wait=waits, cancel_futures=cancels)
    assert future.result(LIMIT) is None
    pool.shutdown()
    assert all_ended(threads_of(pool))


def test_a_callback_may_shut_its_pool_down() -> None:
    gate = threading.Event()
    pool = ThreadPoolExecutor(2)
    future = pool.submit(gate.wait, LIMIT)
    ended = threading.Event()

    def end(_: object) -> None:
        pool.shutdown()
        ended.set()

    future.add_done_callback(end)
    gate.set()
    assert ended.wait(LIMIT)
    Parking.until(lambda: all_ended(threads_of(pool)))


def test_many_threads_may_shut_down() -> None:
    for _ in range(50):
        pool = ThreadPoolExecutor(3)
        futures = [pool.submit(int) for _ in range(10)]
        together(*[pool.shutdown] * 3, lambda pool=pool: pool.shutdown(cancel_futures=True))
        assert all(future.done() for future in futures)
        assert all_ended(threads_of(pool))


def test_with_waits_also_when_its_body_fails() -> None:
    pool = ThreadPoolExecutor(1)
    futures = []

    def body() -> None:
        with pool as entered:
            futures.append(entered.submit(int))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        body()
    future = futures[0]
    assert future.done()
    assert all_ended(threads_of(pool))


@pytest.mark.parametrize("waits", [True, False])
def test_submit_against_shutdown(waits: bool) -> None:
    """E1: a submit at the same moment is refused, or its call runs; no future stays pending."""
    with frequent_switches():
        for _ in range(300):
            pool = ThreadPoolExecutor(2)
            ran: list[int] = []

            def submit(pool: ThreadPoolExecutor = pool, ran: list[int] = ran) -> list[Future[None]]:
                futures: list[Future[None]] = []
                try:
                    futures.extend(pool.submit(ran.append, number) for number in range(10))
                except RuntimeError:
                    pass
                return futures

            futures, _ = together(submit, lambda pool=pool: pool.shutdown(wait=waits))
            assert wait(futures, LIMIT).not_done == set()
            pool.shutdown()
            assert sorted(ran) == list(range(len(futures)))
            assert all_ended(threads_of(pool))


def test_submit_against_cancelling_shutdown() -> None:
    with frequent_switches():
        for _ in range(200):
            pool = ThreadPoolExecutor(1)
            ran: list[int] = []

            def submit(pool: ThreadPoolExecutor = pool, ran: list[int] = ran) -> list[Future[None]]:
                futures: list[Future[None]] = []
                try:
                    futures.extend(pool.submit(ran.append, number) for number in range(10))
                except RuntimeError:
                    pass
                return futures

            futures, _ = together(submit, lambda pool=pool: pool.shutdown(cancel_futures=True))
            assert wait(futures, LIMIT).not_done == set()
            pool.shutdown()
            for number, future in enumerate(futures):
                assert ran.count(number) == (0 if future.cancelled() else 1)


def test_a_dropped_pool_does_its_calls_and_ends() -> None:
    gate = threading.Event()
    pool = ThreadPoolExecutor(2)
    futures = [pool.submit(gate.wait, LIMIT) for _ in range(5)]
    threads = threads_of(pool)
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    gate.set()
    assert [future.result(LIMIT) for future in futures] == [True] * 5
    for thread in threads:
        thread.join(LIMIT)
    assert all_ended(threads)


def test_an_idle_pool_that_is_dropped_ends() -> None:
    pool = ThreadPoolExecutor(2)
    pool.submit(int).result(LIMIT)
    threads = threads_of(pool)
    del pool
    gc.collect()
    for thread in threads:
        thread.join(LIMIT)
    assert all_ended(threads)


def test_a_pool_dropped_in_one_of_its_workers_ends() -> None:
    """The last reference goes in a worker: its finaliser runs there."""
    pools = [ThreadPoolExecutor(1)]
    threads: list[threading.Thread] = []
    entered, gate = threading.Event(), threading.Event()

    def drop() -> None:
        entered.set()
        gate.wait(LIMIT)
        pools.clear()
        gc.collect()

    future = pools[0].submit(drop)
    threads += threads_of(pools[0])
    assert entered.wait(LIMIT)
    gate.set()
    assert future.result(LIMIT) is None
    for thread in threads:
        thread.join(LIMIT)
    assert all_ended(threads)


def test_drop_against_running_calls() -> None:
    with frequent_switches():
        for _ in range(200):
            pool = ThreadPoolExecutor(2)
            futures = [pool.submit(int) for _ in range(6)]
            threads = threads_of(pool)
            del pool
            assert wait(futures, LIMIT).not_done == set()
            assert all(future.exception() is None for future in futures)
            for thread in threads:
                thread.join(LIMIT)
            assert all_ended(threads)
    gc.collect()


def test_a_lazy_map_keeps_its_pool() -> None:
    """Its calls are still to come."""
    results = ThreadPoolExecutor(2).map(abs, range(100), buffersize=3)
    gc.collect()
    assert list(results) == list(range(100))


def test_no_thread_and_no_object_is_left() -> None:
    """No thread, and no object of ours, after a hundred pools."""

    def use() -> list[weakref.ref[object]]:
        pool = ThreadPoolExecutor(2)
        futures = [pool.submit(int) for _ in range(5)]
        pool.shutdown()
        return [weakref.ref(pool), weakref.ref(pool._cf_pool), *map(weakref.ref, futures)]

    before = threading.active_count()
    left = [reference for _ in range(100) for reference in use()]
    gc.collect()
    assert threading.active_count() <= before
    assert [reference() for reference in left if reference() is not None] == []


def test_a_worker_of_one_pool_may_end_another() -> None:
    with ThreadPoolExecutor(1) as outer:
        inner = ThreadPoolExecutor(1)
        future = inner.submit(int)
        assert outer.submit(inner.shutdown).result(LIMIT) is None
        assert future.done()
        assert all_ended(threads_of(inner))
    assert elsewhere(lambda: outer.shutdown()) is None


class Stop(BaseException):
    """No Exception: a callback may raise it in the thread that ends its future."""


def _stop(_: object) -> None:
    raise Stop


def test_a_shutdown_cancels_and_waits_though_a_callback_raises() -> None:
    """F4, E6: what it raises is raised when all is done."""
    pool = ThreadPoolExecutor(1)
    gate, running = threading.Event(), threading.Event()
    first = pool.submit(lambda: (running.set(), gate.wait(LIMIT)))
    running.wait(LIMIT)
    futures = [pool.submit(int) for _ in range(10)]
    notified: list[object] = []
    for future in futures:
        future.add_done_callback(notified.append)
        future.add_done_callback(_stop)
    futures[-1].add_done_callback(lambda _: gate.set())
    with pytest.raises(Stop):
        pool.shutdown(cancel_futures=True)
    assert notified == futures
    assert first.done()
    assert not any(thread.is_alive() for thread in pool._threads)


def test_at_exit_every_pool_ends_though_a_callback_raises() -> None:
    """E6"""
    ended = run_script("""
        import threading, time
        from corefutures_thread import ThreadPoolExecutor

        class Stop(BaseException):
            pass

        def stop(_):
            raise Stop

        pools = [ThreadPoolExecutor(1, at_exit="cancel") for _ in range(3)]
        for pool in pools:
            pool.submit(time.sleep, 0.2)
            waiting = [pool.submit(print, "ran") for _ in range(3)]
            for future in waiting:
                future.add_done_callback(lambda _: print("notified"))
                future.add_done_callback(stop)
        """)
    assert ended.out.split() == ["notified"] * 9
