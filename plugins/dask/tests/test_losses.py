"""What becomes of calls when workers or the scheduler are killed, and of workers that come late."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask_errands as errands
import pytest

import corefutures as futures
from corefutures_dask import BrokenDaskPool, DaskExecutor


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Dask logs what is killed here, and asyncio what it can't send any more."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_a_killed_workers_call_runs_again_elsewhere(make_cluster: Callable[[int], Any], gate: Any) -> None:
    cluster = make_cluster(2)
    with DaskExecutor(address=cluster.address) as pool:
        calls = [pool.submit(errands.pass_gate, gate.path, number) for number in range(4)]
        arrived = {int(name.partition("-")[0]) for name in gate.await_arrivals(2)}
        assert arrived == {worker.pid for worker in cluster.workers}
        cluster.workers[0].kill()
        gate.open()
        assert [call.result(50) for call in calls] == [0, 1, 2, 3]
        assert pool.submit(errands.pid).result(30) == cluster.workers[1].pid


def test_calls_given_back_do_not_run_again_when_their_first_worker_dies(
    make_cluster: Callable[[int], Any], gate: Any, tmp_path: Path
) -> None:
    cluster = make_cluster(2)
    journal = str(tmp_path / "journal")
    with DaskExecutor(2, address=cluster.address) as pool:
        futures.wait([pool.submit(errands.note_or_wait, journal, -1, -2, gate.path) for _ in range(200)])
        calls = [pool.submit(errands.note_or_wait, journal, number, 5, gate.path) for number in range(100)]
        (arrived,) = gate.await_arrivals(1)
        futures.wait([call for number, call in enumerate(calls) if number != 5], timeout=40)
        (busy,) = (worker for worker in cluster.workers if worker.pid == int(arrived.partition("-")[0]))
        busy.kill()
        gate.await_arrivals(2)  # the other has it now, and perhaps what came with it before the long call
        gate.open()
        assert calls[5].result(40) == 5
    noted = [number for line in Path(journal).read_text().split() if (number := int(line)) >= 0]
    assert set(noted) == set(range(100))
    assert len([number for number in noted if number > 5]) == 94


def test_calls_that_are_lost_for_good(make_cluster: Callable[..., Any]) -> None:
    cluster = make_cluster(3, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1")
    with DaskExecutor(1, address=cluster.address) as pool:
        deadly = pool.submit(errands.die)
        error = deadly.exception(50)
        assert isinstance(error, futures.WorkerLostError)
        assert error.worker is not None
        assert error.worker.startswith("tcp://")
        assert "started 2 times" in str(error)
        assert "KilledWorker" in type(error.__cause__).__name__
        assert pool.submit(errands.add, 1, 1).result(50) == 2  # by the third


def test_the_scheduler_is_killed(make_cluster: Callable[[int], Any], gate: Any) -> None:
    cluster = make_cluster(1)
    pool = DaskExecutor(address=cluster.address)
    calls = [pool.submit(errands.pass_gate, gate.path) for _ in range(3)]
    gate.await_arrivals(1)
    cluster.scheduler.kill()
    errors = [call.exception(30) for call in calls]
    assert all(isinstance(error, BrokenDaskPool) for error in errors)
    assert len(set(map(id, errors))) == 3
    with pytest.raises(BrokenDaskPool, match="scheduler"):
        pool.submit(errands.pid)
    gate.open()
    pool.shutdown()


def test_the_scheduler_is_killed_while_nothing_runs(make_cluster: Callable[[int], Any]) -> None:
    cluster = make_cluster(1)
    pool = DaskExecutor(address=cluster.address)
    assert pool.submit(errands.add, 1, 1).result(30) == 2
    cluster.scheduler.kill()
    cluster.scheduler.wait(30)
    with pytest.raises(BrokenDaskPool):  # at once, or as the end of a call that was still taken
        pool.submit(errands.pid).result(30)
    pool.shutdown()


def test_workers_that_join_late_are_prepared_and_used(make_cluster: Callable[[int], Any], gate: Any) -> None:
    cluster = make_cluster(1)
    with DaskExecutor(initializer=errands.prepare, initargs=("tools",), address=cluster.address) as pool:
        assert pool._max_workers == 1
        calls = [pool.submit(errands.pass_gate, gate.path, number) for number in range(3)]
        gate.await_arrivals(1)
        late = cluster.add_worker()
        arrived = gate.await_arrivals(2)  # the second call does not wait for the first worker
        assert str(late.pid) in {name.partition("-")[0] for name in arrived}
        there = pool.options(workers=[_address_of(pool, late.pid)])
        gate.open()
        assert [call.result(30) for call in calls] == [0, 1, 2]
        assert there.submit(errands.what_was_prepared).result(30) == [("tools",)]


def _address_of(pool: DaskExecutor, pid: int) -> str:
    found = pool._cf_connect()._client.run(errands.pid)
    (address,) = (address for address, other in found.items() if other == pid)
    return str(address)


def test_a_pool_may_be_made_before_its_first_worker(make_cluster: Callable[[int], Any]) -> None:
    cluster = make_cluster(0)
    with DaskExecutor(address=cluster.address) as pool:
        call = pool.submit(errands.add, 1, 1)
        cluster.add_worker()
        assert call.result(50) == 2


def test_a_failing_initializer_breaks_the_pool(shared_cluster: Any) -> None:
    pool = DaskExecutor(initializer=errands.fail, initargs=("no tools",), address=shared_cluster.address)
    calls = [pool.submit(errands.pid) for _ in range(3)]
    errors = [call.exception(30) for call in calls]
    assert all(isinstance(error, BrokenDaskPool) for error in errors)
    assert all(isinstance(error.__cause__, ValueError) for error in errors if error is not None)
    with pytest.raises(BrokenDaskPool, match="initializer"):
        pool.submit(errands.pid)
    pool.shutdown()
    with DaskExecutor(address=shared_cluster.address) as other:
        assert other.submit(errands.add, 1, 1).result(30) == 2


def test_an_initializer_runs_once_in_each_worker(shared_cluster: Any, tmp_path: Path) -> None:
    journal = tmp_path / "prepared"
    with DaskExecutor(initializer=errands.note, initargs=(str(journal), 1), address=shared_cluster.address) as pool:
        pids = {pool.submit(errands.pid).result(30) for _ in range(10)}
        futures.wait([pool.submit(errands.add, number, 1) for number in range(500)])
    assert len(pids) <= len(journal.read_text().split()) <= 2
