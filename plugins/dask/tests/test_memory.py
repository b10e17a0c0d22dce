"""The memory of pools: the functions of maps, here and in the workers; the remains of a killed program."""

from __future__ import annotations

import tracemalloc
from functools import partial
from typing import Any

import dask_calls
import pytest
from dask_gates import await_that
from distributed import Client
from subprocesses import run_script

from corefutures_dask import DaskExecutor


def _length(table: bytes, number: int) -> int:
    return len(table) + number


_length.__module__ = "__main__"  # goes by value: the workers can't import this file


@pytest.mark.parametrize("chunksize", [1, 2])
def test_waiting_calls_of_a_map_share_its_function(shared_cluster: Any, gate: Any, chunksize: int) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        blocking = pool.submit(dask_calls.pass_gate, gate.path)
        gate.await_arrivals(1)
        function = partial(_length, bytes(1_000_000))
        tracemalloc.start()
        try:
            results = pool.map(function, range(100), chunksize=chunksize)
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 10_000_000
        gate.open()
        assert list(results) == [1_000_000 + number for number in range(100)]
        blocking.result(30)


def test_workers_let_go_of_the_functions_of_maps(shared_cluster: Any) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        one = pool.options(workers=["licensed"])
        for _ in range(6):
            assert list(one.map(dask_calls.Counter(), range(2))) == [1, 2]
        assert one.submit(dask_calls.count_living).result(30) <= 3
        # the pool runs other calls, or none
        await_that(lambda: one.submit(dask_calls.count_living).result(30) == 0, "the end of the last function")


def test_two_maps_at_a_time_keep_their_functions(shared_cluster: Any) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        one = pool.options(workers=["licensed"])
        maps = [one.map(dask_calls.Counter(), range(4), buffersize=1) for _ in range(2)]
        assert [[next(results) for results in maps] for _ in range(4)] == [[1, 1], [2, 2], [3, 3], [4, 4]]


def test_a_killed_program_leaves_nothing(shared_cluster: Any) -> None:
    script = """
        import os, signal, sys
        from corefutures import create_executor
        if __name__ == "__main__":
            executor = create_executor("dask", address=sys.argv[1], initializer=len, initargs=(b"x" * 1_000_000,))
            executor.submit(pow, 2, 2).result()
            print(executor._cf_dispatcher.pool, flush=True)
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
    """
    pool = run_script(script, shared_cluster.address).out.strip()
    assert pool.startswith("corefutures-")
    with Client(shared_cluster.address, set_as_default=False) as client:
        await_that(lambda: not client.run_on_scheduler(_left_at_scheduler, pool), "the end of the pool's plugins")
        await_that(lambda: not any(client.run(_left_at_worker, pool).values()), "the end of the workers' plugin")


def test_a_pool_that_ends_leaves_nothing(shared_cluster: Any) -> None:
    with Client(shared_cluster.address, set_as_default=False) as client:
        with DaskExecutor(client=client) as pool:
            name = pool._cf_connect().pool
            assert client.run_on_scheduler(_left_at_scheduler, name) == 2
        assert not client.run_on_scheduler(_left_at_scheduler, name)
        assert not any(client.run(_left_at_worker, name).values())


def _left_at_scheduler(pool: str, dask_scheduler: Any) -> int:
    return (pool in dask_scheduler.plugins) + (pool in dask_scheduler.worker_plugins)


def _left_at_worker(pool: str, dask_worker: Any) -> bool:
    return pool in dask_worker.plugins


_left_at_scheduler.__module__ = _left_at_worker.__module__ = "__main__"  # they go by value, as above
