"""Calls on a cluster that runs: results, errors, order, choice of workers, refusals."""

from __future__ import annotations

import gc
import itertools
import pickle
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask_calls
import pytest

import corefutures as futures
from corefutures_dask import DaskExecutor, _dispatcher
from corefutures_dask._batching import TaskOptions
from corefutures_dask._wire import RemoteTraceback


@pytest.fixture
def pool(shared_cluster: Any) -> Iterator[DaskExecutor]:
    with DaskExecutor(address=shared_cluster.address) as pool:
        yield pool


def test_results_and_errors(pool: DaskExecutor) -> None:
    assert pool.submit(dask_calls.add, 1, other=2).result(30) == 3
    error = pool.submit(dask_calls.fail, "no").exception(30)
    assert isinstance(error, ValueError)
    assert error.args == ("no",)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "raise ValueError(message)" in str(error.__cause__)


def test_a_function_of_the_main_program_and_a_lambda(pool: DaskExecutor) -> None:
    secret = 41
    assert pool.submit(lambda: secret + 1).result(30) == 42
    assert list(pool.map(lambda number: number + secret, range(3))) == [41, 42, 43]


def test_ten_thousand_tiny_calls_each_its_own_result(pool: DaskExecutor) -> None:
    calls = [pool.submit(dask_calls.add, number, 1) for number in range(10_000)]
    assert [call.result(50) for call in calls] == list(range(1, 10_001))


def test_tiny_calls_travel_together(pool: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []
    send = _dispatcher.Dispatcher._send
    monkeypatch.setattr(
        _dispatcher.Dispatcher, "_send", lambda self, batch: (batches.append(len(batch.futures)), send(self, batch))[1]
    )
    futures.wait([pool.submit(dask_calls.add, number, 1) for number in range(2000)])
    assert sum(batches) == 2000
    assert batches[0] == 1  # its cost was unknown
    assert max(batches) > 10


@pytest.mark.parametrize("chunksize", [1, 7, "auto"])
def test_map_keeps_the_order(pool: DaskExecutor, chunksize: Any) -> None:
    found = list(pool.map(dask_calls.add, range(100), range(100, 200), chunksize=chunksize))
    assert found == [100 + 2 * number for number in range(100)]


@pytest.mark.parametrize("chunksize", [1, 2])
def test_each_map_has_a_callable_of_its_own_in_a_worker(shared_cluster: Any, chunksize: int) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        one = pool.options(workers=["licensed"])
        for _ in range(2):
            assert list(one.map(dask_calls.Counter(), range(6), chunksize=chunksize)) == [1, 2, 3, 4, 5, 6]


def test_map_with_a_function_that_does_not_arrive_fails_in_each_call(pool: DaskExecutor) -> None:
    results = pool.map(dask_calls.Unloadable(), range(2))
    for _ in range(2):
        with pytest.raises(ValueError, match="unpickled"):
            next(results)


def test_map_is_lazy_with_a_buffersize(pool: DaskExecutor) -> None:
    taken = itertools.count()
    results = pool.map(dask_calls.add, taken, itertools.repeat(0), buffersize=3)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert next(taken) <= 9
    results.close()


def test_map_goes_on_after_an_error(pool: DaskExecutor) -> None:
    results = pool.map(dask_calls.add, [1, "2", 3], [1, 1, 1])
    assert next(results) == 2
    with pytest.raises(TypeError):
        next(results)
    assert list(results) == [4]


def test_what_cannot_cross_fails_alone(pool: DaskExecutor) -> None:
    assert "pickled" in str(pool.submit(dask_calls.pid, dask_calls.Unpicklable()).exception(30))
    assert "pickled" in str(pool.submit(dask_calls.make_unpicklable).exception(30))
    assert "unpickled" in str(pool.submit(dask_calls.pid, dask_calls.Unloadable()).exception(30))
    assert "unpickled" in str(pool.submit(dask_calls.Unloadable).exception(30))
    assert pool.submit(dask_calls.add, 1, 1).result(30) == 2


def test_arguments_are_those_of_the_moment(pool: DaskExecutor, gate: Any) -> None:
    blocking = [pool.submit(dask_calls.pass_gate, gate.path) for _ in range(2)]
    argument = [1]
    waiting = pool.submit(sum, argument)
    argument.append(2)
    gate.open()
    futures.wait(blocking)
    assert waiting.result(30) == 1


def test_large_arguments_are_stored_at_a_worker(pool: DaskExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    client = pool._cf_connect().transport.client
    scattered: list[int] = []
    scatter = client.scatter

    def noting(data: Any, **options: Any) -> Any:
        scattered.append(len(data))
        return scatter(data, **options)

    monkeypatch.setattr(client, "scatter", noting)
    large = bytes(3 << 20)
    assert pool.submit(len, large).result(30) == len(large)
    assert scattered
    assert scattered[0] > len(large)
    assert pool.submit(bytes, 3 << 20).result(30) == large


def test_nothing_is_left_at_the_workers(pool: DaskExecutor, shared_cluster: Any) -> None:
    futures.wait([pool.submit(bytes, 1 << 20) for _ in range(4)])
    pool.submit(dask_calls.pid).result(30)
    pool.shutdown()
    from distributed import Client

    with Client(shared_cluster.address, set_as_default=False) as other:
        deadline = threading.Event()
        for _ in range(200):
            if not any(other.has_what().values()):
                break
            deadline.wait(0.05)
        assert not any(other.has_what().values())


def test_finished_futures_and_results_are_freed(pool: DaskExecutor) -> None:
    class Result:
        pass

    future = pool.submit(dask_calls.add, 1, 1)
    future.result(30)
    ended = weakref.ref(future)
    del future
    pool.submit(dask_calls.pid).result(30)  # the completion thread has dropped the first future
    gc.collect()
    assert ended() is None


def test_wait_and_as_completed_mix_with_local_futures(pool: DaskExecutor) -> None:
    with futures.create_executor("thread", max_workers=1) as local:
        mixed = [
            pool.submit(dask_calls.add, 1, 1),
            local.submit(dask_calls.add, 1, 2),
            pool.submit(dask_calls.add, 1, 3),
        ]
        done, not_done = futures.wait(mixed, timeout=30)
        assert not not_done
        assert done == set(mixed)
        assert sorted(future.result() for future in futures.as_completed(mixed, timeout=30)) == [2, 3, 4]
    assert all(isinstance(future, futures.Future) for future in mixed)


def test_callbacks_may_wait_for_calls(pool: DaskExecutor) -> None:
    seen: list[Any] = []
    over = threading.Semaphore(0)

    def callback(_: object) -> None:
        try:
            seen.append(sum(future.result(30) for future in [pool.submit(dask_calls.add, 1, 1) for _ in range(3)]))
            seen.append(len(futures.wait([pool.submit(dask_calls.add, 1, 1) for _ in range(3)], 30).done))
        finally:
            over.release()

    calls = [pool.submit(dask_calls.add, 1, 1) for _ in range(3)]
    for call in calls:
        call.add_done_callback(callback)
    for _ in calls:
        assert over.acquire(timeout=60)
    assert sorted(seen) == [3, 3, 3, 6, 6, 6]


def test_an_error_while_the_connection_is_checked_ends_nothing(
    pool: DaskExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    completion = pool._cf_connect().completion
    checked = threading.Event()

    def fail() -> None:
        checked.set()
        raise MemoryError

    monkeypatch.setattr(completion, "_check", fail)
    assert checked.wait(30)
    monkeypatch.undo()
    assert pool.submit(dask_calls.add, 1, 1).result(30) == 2
    assert completion.is_alive()


def test_a_callback_may_submit_and_wait_for_nothing(pool: DaskExecutor) -> None:
    ended = threading.Event()
    found: list[int] = []

    def again(future: futures.Future[int]) -> None:
        second = pool.submit(dask_calls.add, future.result(), 1)
        second.add_done_callback(lambda last: (found.append(last.result()), ended.set()))

    pool.submit(dask_calls.add, 1, 1).add_done_callback(again)
    assert ended.wait(30)
    assert found == [3]


def test_never_more_than_max_workers_at_once(shared_cluster: Any, gate: Any) -> None:
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        assert pool._max_workers == 1
        calls = [pool.submit(dask_calls.pass_gate, gate.path, number) for number in range(4)]
        gate.await_arrivals(1)
        assert [call.running() for call in calls] == [True, False, False, False]
        assert calls[3].cancel()
        gate.open()
        assert [call.result(30) for call in calls[:3]] == [0, 1, 2]
        assert len(gate.arrivals()) == 3


def test_resources_decide_who_runs_a_call(pool: DaskExecutor, shared_cluster: Any) -> None:
    licensed = pool.options(resources={"LICENCE": 1})
    pids = {call.result(30) for call in [licensed.submit(dask_calls.pid) for _ in range(6)]}
    assert pids == {shared_cluster.workers[0].pid}
    assert set(pool.options(workers=["licensed"]).map(dask_calls.pid, range(3))) == pids


def test_calls_that_wait_for_a_resource_hold_up_no_other(pool: DaskExecutor, gate: Any) -> None:
    licensed = pool.options(resources={"LICENCE": 1})
    held = [licensed.submit(dask_calls.pass_gate, gate.path, number) for number in range(3)]
    gate.await_arrivals(1)
    assert pool.submit(dask_calls.add, 1, 1).result(30) == 2
    gate.open()
    assert [call.result(30) for call in held] == [0, 1, 2]


def test_retries_are_dasks(pool: DaskExecutor, tmp_path: Path) -> None:
    journal = tmp_path / "attempts"
    assert pool.options(retries=2).submit(dask_calls.fail_at_first, str(journal)).result(30) == 3
    journal.unlink()
    with pytest.raises(ValueError, match="attempt 2"):
        pool.options(retries=1).submit(dask_calls.fail_at_first, str(journal)).result(30)


def test_retries_hand_on_an_error_of_any_length(pool: DaskExecutor) -> None:
    for length in (10, 20_000):  # Dask shortens the texts of errors from 10,000 on
        error = pool.options(retries=1).submit(dask_calls.fail_at_length, length).exception(30)
        assert isinstance(error, ValueError)
        assert error.args == ("x" * length,)


def test_a_higher_priority_goes_first(shared_cluster: Any, gate: Any, tmp_path: Path) -> None:
    journal = str(tmp_path / "order")
    with DaskExecutor(1, address=shared_cluster.address) as pool:
        blocking = pool.submit(dask_calls.pass_gate, gate.path)
        gate.await_arrivals(1)
        later = [pool.submit(dask_calls.note, journal, number) for number in (1, 2)]
        first = pool.options(priority=5).submit(dask_calls.note, journal, 0)
        gate.open()
        futures.wait([blocking, *later, first], timeout=30)
    assert Path(journal).read_text().split() == ["0", "1", "2"]


def test_a_view_is_an_executor_that_does_not_own_the_pool(pool: DaskExecutor) -> None:
    with pool.options(priority=1) as view:
        assert isinstance(view, futures.Executor)
        assert view.submit(dask_calls.add, 1, 1).result(30) == 2
    assert pool.submit(dask_calls.add, 1, 1).result(30) == 2


def test_views_add_up_and_name_their_calls(pool: DaskExecutor) -> None:
    view = pool.options(priority=2, name="first").options(retries=1)
    assert view._cf_task_options == TaskOptions(retries=1, priority=2)
    future = view.submit(dask_calls.add, 1, 1)
    assert "first" in repr(future)
    assert future.result(30) == 2
    with pytest.raises(RuntimeError, match="limit how long"):
        pool.options(timeout=1)


def test_a_call_that_is_none_is_refused(pool: DaskExecutor) -> None:
    with pytest.raises(TypeError, match="callable"):
        pool.submit(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="sequence"):
        pool.options(workers="licensed")


def test_futures_do_not_travel_with_their_call(pool: DaskExecutor) -> None:
    with pytest.raises(Exception, match="pickle"):
        pickle.dumps(pool)
