"""Calls and what becomes of them: results, exceptions, mapping, the initializer (E1, E7, E9)."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading

import process_calls
import pytest

from corefutures import FIRST_COMPLETED, as_completed, wait


def test_results_of_many_calls(pool):
    futures = [pool.submit(process_calls.square, n) for n in range(3000)]
    assert [future.result(30) for future in futures] == [n * n for n in range(3000)]


def test_is_a_standard_executor_by_type_only(pool):
    assert isinstance(pool, concurrent.futures.ProcessPoolExecutor)
    base = concurrent.futures.ProcessPoolExecutor
    for name in vars(base):
        if not name.startswith("_") or name == "__init__":
            assert getattr(type(pool), name) is not getattr(base, name), name


def test_keywords_of_any_name(pool):
    future = pool.submit(dict, self=1, fn=2, timeout=3, key=4)
    assert future.result(30) == {"self": 1, "fn": 2, "timeout": 3, "key": 4}


def test_arguments_are_serialised_when_submitted(make_pool, gate):
    pool = make_pool(1)
    first = pool.submit(process_calls.pass_gate, str(gate))
    items = [1]
    future = pool.submit(list, items)
    items.append(2)
    gate.touch()
    assert future.result(30) == [1]
    first.result(30)


def test_exception_with_its_remote_traceback(pool):
    with pytest.raises(ArithmeticError, match="on purpose") as info:
        pool.submit(process_calls.complain).result(30)
    assert type(info.value.__cause__) is concurrent.futures.process._RemoteTraceback
    assert 'raise ArithmeticError("on purpose")' in str(info.value.__cause__)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, process_calls.Falsy])
def test_any_exception_ends_its_call_alone(pool, kind):
    with pytest.raises(kind):
        pool.submit(process_calls.fail, kind, "x").result(30)
    assert pool.submit(process_calls.square, 3).result(30) == 9


def test_not_callable_is_refused_at_once(pool):
    with pytest.raises(TypeError, match="takes a callable, not 5"):
        pool.submit(5)


def test_standard_wait_and_as_completed(pool):
    futures = [pool.submit(process_calls.square, n) for n in range(50)]
    assert sorted(f.result() for f in concurrent.futures.as_completed(futures, 30)) == sorted(n * n for n in range(50))
    done, not_done = wait([pool.submit(process_calls.square, 2)], 30, FIRST_COMPLETED)
    assert len(done) == 1
    assert not not_done
    assert {f.result() for f in as_completed([pool.submit(process_calls.square, 2)], 30)} == {4}


def test_asyncio(pool):
    async def main():
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(pool, process_calls.square, 4) == 16
        return await asyncio.wrap_future(pool.submit(process_calls.square, 5))

    assert asyncio.run(main()) == 25


@pytest.mark.parametrize("chunksize", [1, 3, 100, 1000, "auto"])
def test_map(pool, chunksize):
    assert list(pool.map(process_calls.square, range(200), chunksize=chunksize)) == [n * n for n in range(200)]
    assert list(pool.map(pow, [2, 3], [5, 2, 9], chunksize=chunksize)) == [32, 9]
    assert list(pool.map(process_calls.square, [], chunksize=chunksize)) == []


def test_map_through_a_view_has_chunks_as_well(pool):
    assert list(pool.options(name="squares").map(process_calls.square, range(100), chunksize=25)) == [
        n * n for n in range(100)
    ]
    assert pool.stats().submitted == 4


@pytest.mark.parametrize("chunksize", [1, 4, "auto"])
def test_map_with_a_buffer_is_lazy(pool, chunksize):
    taken = []

    def numbers():
        for n in range(10_000):
            taken.append(n)
            yield n

    results = pool.map(process_calls.square, numbers(), chunksize=chunksize, buffersize=3)
    assert next(results) == 0
    assert len(taken) < 2000
    results.close()


@pytest.mark.parametrize("chunksize", [1, 2, 5, "auto"])
def test_map_goes_on_after_an_error(pool, chunksize):
    results = pool.map(divmod, [6] * 5, [1, 2, 0, 3, 0], chunksize=chunksize)
    assert [next(results), next(results)] == [(6, 0), (3, 0)]
    with pytest.raises(ZeroDivisionError) as info:
        next(results)
    assert "ZeroDivisionError" in str(info.value.__cause__)
    assert next(results) == (2, 0)
    with pytest.raises(ZeroDivisionError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("chunksize", [1, 3])
def test_map_timeout(pool, gate, chunksize):
    results = pool.map(process_calls.pass_gate, [str(gate)] * 6, timeout=0.05, chunksize=chunksize)
    with pytest.raises(TimeoutError):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


def test_a_chunk_that_fails_as_such_fails_each_of_its_items(pool):
    results = pool.map(
        process_calls.give, ["unpickling"] * 2 + ["x"], [process_calls.complain] * 2 + [int], chunksize=2
    )
    for _ in range(2):
        with pytest.raises(ArithmeticError):
            next(results)
    assert next(results) == 0


@pytest.mark.parametrize(
    ("options", "error"),
    [({"chunksize": 0}, ValueError), ({"chunksize": -1}, ValueError), ({"chunksize": "many"}, ValueError),
     ({"buffersize": 0}, ValueError), ({"buffersize": 1.5}, TypeError)],
)  # fmt: skip
def test_map_refuses_nonsense(pool, options, error):
    with pytest.raises(error):
        pool.map(process_calls.square, [1], **options)


def test_initializer_runs_in_each_worker(make_pool, tmp_path):
    pool = make_pool(2, initializer=process_calls.set_up, initargs=("ready",))
    assert {pool.submit(process_calls.what_was_set_up).result(30) for _ in range(6)} == {"ready"}


def test_initializer_may_be_given_a_queue(make_pool, method):
    import multiprocessing

    queue = multiprocessing.get_context(method).SimpleQueue()
    pool = make_pool(1, initializer=queue.put, initargs=("from the worker",))
    pool.submit(process_calls.square, 1).result(30)
    assert queue.get() == "from the worker"
    queue.close()


def test_submitting_from_many_threads_and_from_callbacks(pool):
    results = []
    again = []

    def more(future):
        results.append(future.result())
        if future.result() < 200:
            again.append(pool.submit(process_calls.echo, future.result() + 200))

    def submit_some(start):
        for n in range(start, start + 50):
            pool.submit(process_calls.echo, n).add_done_callback(more)

    threads = [threading.Thread(target=submit_some, args=(50 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    process_calls.until(lambda: len(again) == 200)
    assert sorted(future.result(30) for future in again) == list(range(200, 400))
    assert sorted(results) == list(range(200))


def test_workers_start_on_demand_and_idle_ones_are_used_again(make_pool, method):
    pool = make_pool(4)
    for _ in range(5):
        pool.submit(process_calls.square, 2).result(30)
    assert len(pool._processes) == (4 if method == "fork" else 1)


def test_workers_import_little(pool):
    loaded = pool.submit(process_calls.modules).result(30)
    for name in ("pluggy", "importlib_metadata", "corefutures.registry._registry", "numpy",
                 "corefutures.registry._discovery", "corefutures_process._executor",
                 "corefutures_pools.workers.pool"):  # fmt: skip
        assert name not in loaded or pool._mp_context.get_start_method() == "fork", name


def test_a_call_that_leaves_a_process_behind(make_pool, gate):
    if not hasattr(os, "fork"):
        pytest.skip("this platform can't fork")
    pool = make_pool(1)
    child = pool.submit(process_calls.fork_a_child, str(gate)).result(30)
    pool.shutdown()  # doesn't wait for the child, which holds what it inherited
    os.kill(child, 0)


def test_a_call_that_returns_in_two_processes(make_pool, tmp_path):
    if not hasattr(os, "fork"):
        pytest.skip("this platform can't fork")
    pool = make_pool(1)
    journal = str(tmp_path / "journal")
    worker = pool.submit(process_calls.pid).result(30)
    pool.submit(process_calls.fork_and_return_twice, journal).result(30)
    assert [pool.submit(process_calls.pid).result(30) for _ in range(50)] == [worker] * 50
    process_calls.until(lambda: len(process_calls.lines(journal)) == 2)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [({"max_workers": 0}, ValueError, "max_workers must be greater than 0"),
     ({"max_workers": "x"}, TypeError, "not 'x'"),
     ({"initializer": 5}, TypeError, "initializer must be a callable"),
     ({"max_tasks_per_child": 1.5}, TypeError, "max_tasks_per_child must be an integer"),
     ({"max_tasks_per_child": 0}, ValueError, "max_tasks_per_child must be >= 1"),
     ({"on_worker_loss": "ignore"}, ValueError, "on_worker_loss must be 'break' or 'replace'"),
     ({"serializer": "json"}, ValueError, "serializer must be 'pickle' or 'cloudpickle'")],
)  # fmt: skip
def test_refuses_nonsense(options, error, text):
    from corefutures_process import ProcessPoolExecutor

    with pytest.raises(error, match=text):
        ProcessPoolExecutor(**options)


def test_fork_refuses_what_it_can_not_do():
    import multiprocessing

    from corefutures_process import ProcessPoolExecutor

    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("this platform can't fork")
    context = multiprocessing.get_context("fork")
    with pytest.raises(ValueError, match="fork"):
        ProcessPoolExecutor(mp_context=context, max_tasks_per_child=1)
    with pytest.raises(ValueError, match="fork"):
        ProcessPoolExecutor(mp_context=context, on_worker_loss="replace")
