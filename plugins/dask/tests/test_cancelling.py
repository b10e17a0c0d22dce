"""E2, E3: a call that has not started can be cancelled, and waits behind no long call, even in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask_calls
import pytest

import corefutures as futures
from corefutures_dask import DaskExecutor


@pytest.fixture
def pool(shared_cluster: Any) -> Iterator[DaskExecutor]:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        # from here on these calls are known to be short, and travel together
        futures.wait([pool.submit(dask_calls.pass_if, number, -1, "") for number in range(300)])
        yield pool


def test_calls_before_and_behind_a_long_one_of_their_batch(pool: DaskExecutor, gate: Any) -> None:
    calls = [pool.submit(dask_calls.pass_if, number, 150, gate.path) for number in range(300)]
    gate.await_arrivals(1)
    assert [call.result(30) for call in calls[:150]] == list(range(150))  # while the long one runs
    assert calls[150].running()
    assert not calls[150].cancel()
    assert all(call.cancel() for call in calls[151:])
    assert not any(call.running() for call in calls[151:])
    gate.open()
    assert calls[150].result(30) == 150


def test_another_worker_takes_what_is_behind_a_long_call(shared_cluster: Any, gate: Any) -> None:
    with DaskExecutor(2, address=shared_cluster.address) as pool:
        futures.wait([pool.submit(dask_calls.pass_if, number, -1, "") for number in range(300)])
        calls = [pool.submit(dask_calls.pass_if, number, 20, gate.path) for number in range(300)]
        others = [call for number, call in enumerate(calls) if number != 20]
        assert [call.result(30) for call in others] == [number for number in range(300) if number != 20]
        gate.open()
        assert calls[20].result(30) == 20


def test_cancelled_or_run_never_both(pool: DaskExecutor, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    futures.wait([pool.submit(dask_calls.note, str(journal), -1) for _ in range(300)])
    calls = [pool.submit(dask_calls.note, str(journal), number) for number in range(2000)]
    cancelled = {number for number, call in enumerate(calls) if number % 3 == 0 and call.cancel()}
    futures.wait(calls, timeout=50)
    ran = [number for line in journal.read_text().split() if (number := int(line)) >= 0]
    assert sorted(ran) == [number for number in range(2000) if number not in cancelled]


def test_shutdown_cancels_what_waits(shared_cluster: Any, gate: Any) -> None:
    pool = DaskExecutor(1, address=shared_cluster.address)
    calls = [pool.submit(dask_calls.pass_gate, gate.path) for _ in range(5)]
    gate.await_arrivals(1)
    pool.shutdown(wait=False, cancel_futures=True)
    assert [call.cancelled() for call in calls] == [False, True, True, True, True]
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(dask_calls.pid)
    gate.open()
    calls[0].result(30)
    pool.shutdown()
