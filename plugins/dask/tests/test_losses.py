"""Calls whose worker or scheduler is killed, and workers that join late."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import dask_calls
import pytest
from dask_gates import await_that
from distributed import Client
from distributed.comm import CommClosedError

import corefutures as futures
from corefutures_dask import BrokenDaskPool, DaskExecutor, _wire


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Drop the log records of Dask about killed processes, and of asyncio about lost connections."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_a_killed_workers_call_runs_again_elsewhere(make_cluster: Callable[[int], Any], gate: Any) -> None:
    cluster = make_cluster(2)
    with DaskExecutor(address=cluster.address) as pool:
        calls = [pool.submit(dask_calls.pass_gate, gate.path, number) for number in range(4)]
        arrived = {int(name.partition("-")[0]) for name in gate.await_arrivals(2)}
        assert arrived == {worker.pid for worker in cluster.workers}
        cluster.workers[0].kill()
        gate.open()
        assert [call.result(50) for call in calls] == [0, 1, 2, 3]
        assert pool.submit(dask_calls.pid).result(30) == cluster.workers[1].pid


def test_calls_given_back_do_not_run_again_when_their_first_worker_dies(
    make_cluster: Callable[[int], Any], gate: Any, tmp_path: Path
) -> None:
    cluster = make_cluster(2)
    journal = str(tmp_path / "journal")
    with DaskExecutor(2, address=cluster.address) as pool:
        futures.wait([pool.submit(dask_calls.note_or_wait, journal, -1, -2, gate.path) for _ in range(200)])
        calls = [pool.submit(dask_calls.note_or_wait, journal, number, 5, gate.path) for number in range(100)]
        (arrived,) = gate.await_arrivals(1)
        futures.wait([call for number, call in enumerate(calls) if number != 5], timeout=40)
        (busy,) = (worker for worker in cluster.workers if worker.pid == int(arrived.partition("-")[0]))
        busy.kill()
        gate.await_arrivals(2)  # the other worker runs it now, perhaps with calls of its batch before it
        gate.open()
        assert calls[5].result(40) == 5
    noted = [number for line in Path(journal).read_text().split() if (number := int(line)) >= 0]
    assert set(noted) == set(range(100))
    assert len([number for number in noted if number > 5]) == 94


@pytest.mark.parametrize("size", [1_000, 300_000])
def test_a_killed_worker_takes_no_argument_with_it(make_cluster: Callable[[int], Any], gate: Any, size: int) -> None:
    cluster = make_cluster(2)
    with DaskExecutor(address=cluster.address) as pool:
        calls = [pool.submit(dask_calls.pass_gate, gate.path, bytes(size) + bytes([number])) for number in range(6)]
        gate.await_arrivals(2)
        cluster.workers[0].kill()
        gate.open()
        assert [call.result(50)[-1] for call in calls] == list(range(6))
        assert pool.submit(dask_calls.pid).result(30) == cluster.workers[1].pid


@pytest.mark.parametrize("allowed", [0, 1])
def test_calls_with_a_large_argument_that_are_lost_for_good(make_cluster: Callable[..., Any], allowed: int) -> None:
    cluster = make_cluster(2 + allowed, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES=str(allowed))
    with DaskExecutor(1, address=cluster.address) as pool:
        error = pool.submit(dask_calls.die, bytes(300_000)).exception(50)
        assert isinstance(error, futures.WorkerLostError)
        assert ("once" if allowed == 0 else f"{1 + allowed} times") in str(error)
        assert error.__cause__ is not None
        assert pool.submit(len, bytes(300_000)).result(50) == 300_000  # by the last worker


def test_a_worker_that_is_lost_while_it_receives_an_argument(
    shared_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DaskExecutor(address=shared_cluster.address) as pool:
        client = pool._cf_connect().transport.client
        scatter = client.scatter
        # the connection breaks; the scheduler has removed the worker; there is no worker at all
        raised: list[Exception] = [CommClosedError("middle"), KeyError("tcp://127.0.0.1:1"), TimeoutError("no workers")]

        async def failing(data: Any, **options: Any) -> Any:
            if raised:
                raise raised.pop()
            return await scatter(data, **options)

        monkeypatch.setattr(client, "scatter", failing)
        assert pool.submit(len, bytes(300_000)).result(30) == 300_000
        assert raised == []
        raised += [CommClosedError("again")] * 20
        error = pool.submit(len, bytes(300_000)).exception(30)
        assert isinstance(error, futures.WorkerLostError)
        assert "sent 4 times" in str(error)
        assert pool.submit(dask_calls.add, 1, 1).result(30) == 2


def test_what_others_cancel_is_sent_again(shared_cluster: Any, gate: Any) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool, Client(shared_cluster.address) as other:
        call = pool.submit(dask_calls.pass_gate, gate.path, 1)
        gate.await_arrivals(1)
        other.run_on_scheduler(_cancel_all, pool._cf_connect().transport.client.id)
        gate.await_arrivals(2)
        gate.open()
        assert call.result(30) == 1


def _cancel_all(client: str, dask_scheduler: Any) -> None:
    dask_scheduler.stimulus_cancel(list(dask_scheduler.tasks), client, force=True, reason="test", msg="test")


_cancel_all.__module__ = "__main__"  # goes by value: the scheduler can't import this file


def test_a_call_that_runs_outlives_a_cancelling_shutdown_and_its_worker(
    make_cluster: Callable[..., Any], gate: Any
) -> None:
    cluster = make_cluster(2, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0")
    pool = DaskExecutor(1, address=cluster.address)
    futures.wait([pool.submit(dask_calls.pass_if, number, -1, "") for number in range(300)])
    calls = [pool.submit(dask_calls.pass_if, number, 0, gate.path) for number in range(100)]
    (arrived,) = gate.await_arrivals(1)
    pool.shutdown(wait=False, cancel_futures=True)
    (busy,) = (worker for worker in cluster.workers if worker.pid == int(arrived.partition("-")[0]))
    busy.kill()
    gate.open()
    done, pending = futures.wait(calls, timeout=50)
    assert not pending
    assert calls[0].exception() is None or isinstance(calls[0].exception(), futures.WorkerLostError)
    assert all(call.cancelled() for call in calls[2:])
    assert len(done) == 100


def _in_batches(pool: DaskExecutor, gate: Any, other_gate: Any) -> list[Any]:
    """Submit calls to a busy worker, so that they travel in batches; the 21st call waits at the gate."""
    busy = pool.submit(dask_calls.pass_gate, other_gate.path)
    other_gate.await_arrivals(1)
    calls = [pool.submit(dask_calls.pass_if, number, 20, gate.path) for number in range(100)]
    other_gate.open()
    gate.await_arrivals(1)
    busy.result(30)
    return calls


def test_results_that_are_lost_on_their_way_come_with_the_last_call(
    shared_cluster: Any, gate: Any, other_gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        futures.wait([pool.submit(dask_calls.pass_if, number, -1, "") for number in range(300)])
        client = pool._cf_connect().transport.client
        run, lost = client.run, threading.Event()

        async def losing(*args: Any, **options: Any) -> Any:
            await run(*args, **options)
            lost.set()
            raise CommClosedError("on the way back")

        monkeypatch.setattr(client, "run", losing)
        calls = _in_batches(pool, gate, other_gate)
        assert lost.wait(30)
        gate.open()
        assert [call.result(30) for call in calls] == list(range(100))


def test_results_on_their_way_are_not_dropped_at_shutdown(
    shared_cluster: Any, gate: Any, other_gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = DaskExecutor(1, address=shared_cluster.address)
    futures.wait([pool.submit(dask_calls.pass_if, number, -1, "") for number in range(300)])
    client = pool._cf_connect().transport.client
    run, asked, arrive = client.run, threading.Event(), threading.Event()

    async def late(*args: Any, **options: Any) -> Any:
        found = await run(*args, **options)
        asked.set()
        while not arrive.is_set():
            await asyncio.sleep(0.01)
        return found

    monkeypatch.setattr(client, "run", late)
    calls = _in_batches(pool, gate, other_gate)
    assert asked.wait(30)
    gate.open()
    pool.shutdown(wait=True)
    assert [call.result(0) for call in calls] == list(range(100))
    arrive.set()


def test_every_outcome_is_delivered_though_one_can_not_be_loaded(
    shared_cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome, called = _wire.load_outcome, []
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        futures.wait([pool.submit(dask_calls.pass_if, number, -1, "") for number in range(300)])

        def failing(body: bytes) -> Any:
            found = outcome(body)
            if found[0] == 30:
                raise MemoryError
            return found

        monkeypatch.setattr(_wire, "load_outcome", failing)
        calls = [pool.submit(dask_calls.pass_if, number, -1, "") for number in range(100)]
        for call in calls:
            call.add_done_callback(called.append)
        assert not futures.wait(calls, timeout=30).not_done
        pool.shutdown()  # waits until every future has been completed
        assert set(called) == set(calls)
        assert isinstance(calls[30].exception(), RuntimeError)


def test_a_scheduler_that_is_replaced_while_a_callback_is_busy(make_cluster: Callable[..., Any]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    cluster = make_cluster(1, port)
    pool = DaskExecutor(address=cluster.address)
    assert pool.submit(dask_calls.add, 1, 1).result(30) == 2
    busy, free = threading.Event(), threading.Event()
    pool.submit(dask_calls.add, 1, 1).add_done_callback(lambda _: (busy.set(), free.wait(50)))
    try:
        assert busy.wait(30)
        client = pool._cf_connect().transport.client
        before = client.scheduler_comm
        cluster.scheduler.kill()
        cluster.scheduler.wait(30)
        make_cluster(1, port)
        await_that(lambda: client.status == "running" and client.scheduler_comm is not before, "a new connection")
    finally:
        free.set()
    with pytest.raises(BrokenDaskPool, match="scheduler was lost"):
        pool.submit(dask_calls.add, 1, 1).result(30)
    pool.shutdown()


def test_calls_that_are_lost_for_good(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster(3, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1")
    with DaskExecutor(1, address=cluster.address) as pool:
        deadly = pool.submit(dask_calls.die)
        error = deadly.exception(50)
        assert isinstance(error, futures.WorkerLostError)
        assert error.worker is not None
        assert error.worker.startswith("tcp://")
        assert "started 2 times" in str(error)
        assert "KilledWorker" in type(error.__cause__).__name__
        assert pool.submit(dask_calls.add, 1, 1).result(50) == 2  # by the third


def test_the_scheduler_is_killed(make_cluster: Callable[[int], Any], gate: Any) -> None:
    cluster = make_cluster(1)
    pool = DaskExecutor(address=cluster.address)
    calls = [pool.submit(dask_calls.pass_gate, gate.path) for _ in range(3)]
    gate.await_arrivals(1)
    cluster.scheduler.kill()
    errors = [call.exception(30) for call in calls]
    assert all(isinstance(error, BrokenDaskPool) for error in errors)
    assert len(set(map(id, errors))) == 3
    with pytest.raises(BrokenDaskPool, match="scheduler"):
        pool.submit(dask_calls.pid)
    gate.open()
    pool.shutdown()


def test_the_scheduler_is_killed_while_nothing_runs(make_cluster: Callable[[int], Any]) -> None:
    cluster = make_cluster(1)
    pool = DaskExecutor(address=cluster.address)
    assert pool.submit(dask_calls.add, 1, 1).result(30) == 2
    cluster.scheduler.kill()
    cluster.scheduler.wait(30)
    with pytest.raises(BrokenDaskPool):  # at once, or from a call that was still taken
        pool.submit(dask_calls.pid).result(30)
    pool.shutdown()


def test_workers_that_join_late_are_prepared_and_used(make_cluster: Callable[[int], Any], gate: Any) -> None:
    cluster = make_cluster(1)
    with DaskExecutor(initializer=dask_calls.prepare, initargs=("tools",), address=cluster.address) as pool:
        assert pool._max_workers == 1
        calls = [pool.submit(dask_calls.pass_gate, gate.path, number) for number in range(3)]
        gate.await_arrivals(1)
        late = cluster.add_worker()
        arrived = gate.await_arrivals(2)  # the second call does not wait for the first worker
        assert str(late.pid) in {name.partition("-")[0] for name in arrived}
        there = pool.options(workers=[_address_of(pool, late.pid)])
        gate.open()
        assert [call.result(30) for call in calls] == [0, 1, 2]
        assert there.submit(dask_calls.what_was_prepared).result(30) == [("tools",)]


def _address_of(pool: DaskExecutor, pid: int) -> str:
    found = pool._cf_connect().transport.client.run(dask_calls.pid)
    (address,) = (address for address, other in found.items() if other == pid)
    return str(address)


def test_a_pool_may_be_made_before_its_first_worker(make_cluster: Callable[[int], Any]) -> None:
    cluster = make_cluster(0)
    with DaskExecutor(address=cluster.address) as pool:
        call = pool.submit(dask_calls.add, 1, 1)
        cluster.add_worker()
        assert call.result(50) == 2


def test_a_failing_initializer_breaks_the_pool(shared_cluster: Any) -> None:
    pool = DaskExecutor(initializer=dask_calls.fail, initargs=("no tools",), address=shared_cluster.address)
    calls = [pool.submit(dask_calls.pid) for _ in range(3)]
    errors = [call.exception(30) for call in calls]
    assert all(isinstance(error, BrokenDaskPool) for error in errors)
    assert all(isinstance(error.__cause__, ValueError) for error in errors if error is not None)
    with pytest.raises(BrokenDaskPool, match="initializer"):
        pool.submit(dask_calls.pid)
    pool.shutdown()
    with DaskExecutor(address=shared_cluster.address) as other:
        assert other.submit(dask_calls.add, 1, 1).result(30) == 2


def test_an_initializer_runs_once_in_each_worker(shared_cluster: Any, tmp_path: Path) -> None:
    journal = tmp_path / "prepared"
    with DaskExecutor(initializer=dask_calls.note, initargs=(str(journal), 1), address=shared_cluster.address) as pool:
        pids = {pool.submit(dask_calls.pid).result(30) for _ in range(10)}
        futures.wait([pool.submit(dask_calls.add, number, 1) for number in range(500)])
    assert len(pids) <= len(journal.read_text().split()) <= 2


@pytest.fixture
def own_pool() -> Iterator[DaskExecutor]:
    # Shorter than the start of a worker: in place of a worker that is lost again just before 15 s are over.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "50 ms"}), DaskExecutor(1) as pool:
        yield pool


def test_a_worker_of_an_own_cluster_is_started_again_however_long_that_takes(own_pool: DaskExecutor) -> None:
    first = own_pool.submit(dask_calls.pid).result(50)
    os.kill(first, signal.SIGKILL)
    assert own_pool.submit(dask_calls.pid).result(50) != first


def test_calls_fail_once_nobody_starts_workers_again(own_pool: DaskExecutor) -> None:
    assert own_pool.submit(dask_calls.pid).result(50)
    cluster = own_pool._cf_connect().connection.cluster
    (nanny,) = cluster.workers.values()
    cluster.sync(nanny.close)
    with pytest.raises(BrokenDaskPool, match="have ended"):
        own_pool.submit(dask_calls.pid).result(50)
