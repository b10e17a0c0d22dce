"""max_tasks_per_child, many workers, and bounded memory."""

from __future__ import annotations

import gc
import multiprocessing
import weakref
from collections import Counter
from concurrent.futures.process import BrokenProcessPool

import process_calls
import pytest


@pytest.mark.parametrize(("workers", "limit", "calls"), [(1, 1, 6), (1, 3, 10), (2, 1, 12), (2, 2, 25), (3, 1, 9)])
def test_each_worker_runs_so_many_calls(make_pool, any_method, workers, limit, calls):
    pool = make_pool(workers, max_tasks_per_child=limit)
    pids = Counter(future.result(30) for future in [pool.submit(process_calls.pid, n) for n in range(calls)])
    assert sum(pids.values()) == calls
    assert max(pids.values()) <= limit
    assert len(pool._processes) <= workers


def test_limited_workers_one_call_at_a_time(make_pool, any_method):
    pool = make_pool(1, max_tasks_per_child=2)
    pids = [pool.submit(process_calls.pid).result(30) for _ in range(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
    assert len(pool._processes) <= 1


def test_a_worker_that_leaves_is_no_longer_counted(make_pool, any_method, gate):
    pool = make_pool(1, max_tasks_per_child=1, initializer=process_calls.end_slowly, initargs=(str(gate),))
    first = pool.submit(process_calls.pid).result(30)
    second = pool.submit(process_calls.pid).result(30)
    assert second != first
    process_calls.until(lambda: len(pool._processes) == 0, "the second to leave as well")
    assert {first, second} <= {child.pid for child in multiprocessing.active_children()}
    gate.touch()


def test_a_worker_that_leaves_and_does_not_end_is_killed(make_pool, any_method, gate):
    pool = make_pool(1, max_tasks_per_child=1, initializer=process_calls.end_slowly, initargs=(str(gate),))
    leaving = pool.submit(process_calls.pid).result(30)
    process_calls.until(lambda: leaving not in pool._processes, "it to leave")
    (process,) = [child for child in multiprocessing.active_children() if child.pid == leaving]
    pool.kill_workers()
    pool.shutdown()
    assert process.exitcode < 0  # killed by a signal


@pytest.mark.parametrize("wait", [True, False])
def test_limited_workers_and_shutdown(make_pool, any_method, wait):
    for _ in range(3):
        pool = make_pool(2, max_tasks_per_child=1)
        futures = [pool.submit(process_calls.square, n) for n in range(7)]
        pool.shutdown(wait=wait)
        assert [future.result(30) for future in futures] == [n * n for n in range(7)]
        pool.shutdown()


def test_limited_workers_with_failing_calls(make_pool, any_method):
    pool = make_pool(2, max_tasks_per_child=1)
    futures = [pool.submit(process_calls.complain) if n % 2 else pool.submit(process_calls.square, n) for n in range(8)]
    for n, future in enumerate(futures):
        if n % 2:
            assert isinstance(future.exception(30), ArithmeticError)
        else:
            assert future.result(30) == n * n


def test_limited_worker_of_a_dropped_executor(make_pool, any_method, method, transport, gate):
    from corefutures_process import ProcessPoolExecutor

    pool = ProcessPoolExecutor(1, multiprocessing.get_context(method), max_tasks_per_child=1)
    first = pool.submit(process_calls.pass_gate, str(gate), "done")
    rest = [pool.submit(process_calls.square, n) for n in range(3)]
    process_calls.until(first.running)
    reference = weakref.ref(pool)
    del pool
    gc.collect()
    assert reference() is None
    gate.touch()
    assert first.result(30) == "done"
    for future in rest:
        with pytest.raises(BrokenProcessPool, match="garbage collected"):
            future.result(30)


def test_limited_workers_that_are_lost_too(make_pool, any_method):
    pool = make_pool(2, max_tasks_per_child=2, on_worker_loss="replace")
    futures = [pool.submit(process_calls.leave if n % 5 == 4 else process_calls.pid) for n in range(25)]
    ended = [future.exception(30) for future in futures]
    assert sum(error is not None for error in ended) == 5


def test_64_workers(make_pool, one_method, gate, tmp_path):
    pool = make_pool(64)
    started = str(tmp_path / "started")
    futures = [pool.submit(process_calls.start_and_pass, started, str(gate), n) for n in range(640)]
    process_calls.until(lambda: len(process_calls.lines(started)) == 64)
    assert len(pool._processes) == 64
    gate.touch()
    assert [future.result(50) for future in futures] == list(range(640))
    pool.shutdown()
    assert not pool._processes


def test_memory_of_a_long_map_is_bounded(pool):
    tracemalloc = pytest.importorskip("tracemalloc", reason="needs tracemalloc (CPython)")
    for _ in pool.map(process_calls.echo, range(2000), buffersize=100):
        pass
    tracemalloc.start()
    try:
        count = 0
        for result in pool.map(process_calls.echo, range(20_000), buffersize=100):
            assert result == count
            count += 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 2_000_000
