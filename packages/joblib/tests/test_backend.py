"""joblib on our pools: results, nesting, generators, errors, time limits, abortion, reuse of pools, large arguments."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import joblib  # type: ignore[import-untyped]
import pytest
from joblib import Parallel, delayed, parallel_config

import corefutures
import corefutures_joblib
from corefutures_joblib import CorefuturesBackend, _kept_pools

EXECUTORS = ["process", "thread"]


@pytest.fixture(autouse=True)
def _no_pool_is_left() -> Iterator[None]:
    yield
    corefutures_joblib.shutdown()
    assert _kept_pools._pools == {}


def square(number: int) -> int:
    return number * number


def place(_: int) -> tuple[int, int]:
    return os.getpid(), threading.get_ident()


def fail_at(number: int, bad: int) -> int:
    if number == bad:
        raise ZeroDivisionError(f"no {number}")
    return number


@pytest.mark.parametrize("executor", EXECUTORS)
def test_results_are_in_order(executor: str) -> None:
    with parallel_config(backend="corefutures", executor=executor, n_jobs=2):
        assert Parallel()(delayed(square)(number) for number in range(200)) == [n * n for n in range(200)]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_calls_run_where_they_should(executor: str) -> None:
    with parallel_config(backend="corefutures", executor=executor, n_jobs=2):
        places = Parallel()(delayed(place)(number) for number in range(20))
    assert ({pid for pid, _ in places} == {os.getpid()}) is (executor == "thread")
    assert threading.get_ident() not in {thread for pid, thread in places if pid == os.getpid()}


def test_closures_and_lambdas_reach_processes() -> None:
    offset = 7
    with parallel_config(backend="corefutures", executor="process", n_jobs=2):
        assert Parallel()(delayed(lambda n: n + offset)(n) for n in range(5)) == [7, 8, 9, 10, 11]


@pytest.mark.parametrize("executor", EXECUTORS)
@pytest.mark.parametrize("return_as", ["generator", "generator_unordered"])
def test_generators(executor: str, return_as: str) -> None:
    with parallel_config(backend="corefutures", executor=executor, n_jobs=2):
        found = Parallel(return_as=return_as)(delayed(square)(number) for number in range(50))
        results = list(found)
    assert (results if return_as == "generator" else sorted(results)) == [n * n for n in range(50)]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_an_error_is_raised_and_the_next_run_works(executor: str) -> None:
    with parallel_config(backend="corefutures", executor=executor, n_jobs=2):
        with pytest.raises(ZeroDivisionError, match="no 3"):
            Parallel()(delayed(fail_at)(number, 3) for number in range(20))
        assert Parallel()(delayed(square)(number) for number in range(3)) == [0, 1, 4]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_time_limit(executor: str) -> None:
    with parallel_config(backend="corefutures", executor=executor, n_jobs=2):
        with pytest.raises(multiprocessing.TimeoutError):
            Parallel(timeout=0.2)(delayed(time.sleep)(seconds) for seconds in (1.5, 1.5))
        assert Parallel()(delayed(square)(number) for number in range(3)) == [0, 1, 4]


def outer(number: int) -> tuple[list[int], str]:
    backend, _ = joblib.parallel.get_active_backend()
    return Parallel(n_jobs=2)(delayed(square)(inner) for inner in range(number)), type(backend).__name__


@pytest.mark.parametrize("executor", EXECUTORS)
def test_nested_parallelism(executor: str) -> None:
    """Inner calls run on threads, as joblib has it for its own backends."""
    with parallel_config(backend="corefutures", executor=executor, n_jobs=2):
        assert Parallel()(delayed(outer)(n) for n in (2, 3)) == [
            ([0, 1], "ThreadingBackend"), ([0, 1, 4], "ThreadingBackend"),
        ]  # fmt: skip


def test_two_runs_at_a_time_have_a_pool_each() -> None:
    with parallel_config(backend="corefutures", executor="thread", n_jobs=2):
        first = Parallel(return_as="generator")(delayed(square)(number) for number in range(4))
        assert Parallel()(delayed(square)(number) for number in range(3)) == [0, 1, 4]
        assert list(first) == [0, 1, 4, 9]
    assert len(_kept_pools._pools) == 1


def inner_pool(number: int) -> list[int]:
    with parallel_config(backend="corefutures", executor="thread", n_jobs=2):
        return Parallel()(delayed(square)(inner) for inner in range(number))  # type: ignore[no-any-return]


@pytest.mark.parametrize("executor", EXECUTORS)
def test_nested_parallelism_on_our_threads(executor: str) -> None:
    with parallel_config(backend="corefutures", executor=executor, n_jobs=2):
        assert Parallel()(delayed(inner_pool)(n) for n in (2, 3, 4)) == [[0, 1], [0, 1, 4], [0, 1, 4, 9]]


def test_hints_choose_the_executor() -> None:
    with parallel_config(backend="corefutures", n_jobs=2):
        threads = Parallel(prefer="threads")(delayed(place)(number) for number in range(4))
        processes = Parallel(prefer="processes")(delayed(place)(number) for number in range(4))
        shared = Parallel(require="sharedmem")(delayed(place)(number) for number in range(4))
    assert {pid for pid, _ in threads} == {pid for pid, _ in shared} == {os.getpid()}
    assert os.getpid() not in {pid for pid, _ in processes}


def test_memory_that_must_be_shared_is_shared_by_our_threads() -> None:
    seen: list[int] = []
    with parallel_config(backend="corefutures", executor="thread", n_jobs=2):
        parallel = Parallel(require="sharedmem")
        parallel(delayed(seen.append)(number) for number in range(10))
        assert isinstance(parallel._backend, CorefuturesBackend)
    assert sorted(seen) == list(range(10))


def test_a_pool_is_kept_and_replaced() -> None:
    with parallel_config(backend="corefutures", executor="process", n_jobs=2):
        Parallel()(delayed(square)(1) for _ in range(3))
        first = _kept_pools._pools["process"]
        Parallel()(delayed(square)(1) for _ in range(3))
        assert _kept_pools._pools["process"] is first
        assert not first.in_use
        Parallel(n_jobs=3)(delayed(square)(1) for _ in range(3))
    assert _kept_pools._pools["process"] is not first
    with pytest.raises(RuntimeError):
        first.executor.submit(square, 1)


def test_an_idle_pool_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_kept_pools, "IDLE_SECONDS", 0.05)
    with parallel_config(backend="corefutures", executor="thread", n_jobs=2):
        Parallel()(delayed(square)(1) for _ in range(3))
        end = time.monotonic() + 20
        while _kept_pools._pools and time.monotonic() < end:
            time.sleep(0.01)
        assert _kept_pools._pools == {}
        assert Parallel()(delayed(square)(number) for number in range(3)) == [0, 1, 4]


def thread_limits() -> tuple[str | None, ...]:
    return tuple(os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"))


def test_threads_of_libraries_are_limited() -> None:
    with parallel_config(backend="corefutures", executor="process", n_jobs=2, inner_max_num_threads=1):
        assert set(Parallel()(delayed(thread_limits)() for _ in range(4))) == {("1", "1")}


def test_workers_of_negative_numbers() -> None:
    backend = CorefuturesBackend()
    assert backend.effective_n_jobs(-1) == joblib.cpu_count()
    assert backend.effective_n_jobs(-10_000) == 1
    assert backend.effective_n_jobs(None) == 1
    with pytest.raises(ValueError, match="n_jobs == 0 in Parallel has no meaning"):
        backend.effective_n_jobs(0)


@pytest.mark.parametrize(
    ("options", "error", "complaint"),
    [
        ({"executor": "proces"}, corefutures.BackendError, "proces"),
        ({"executor": "process", "colour": "red"}, TypeError, "colour"),
        ({"executor": "process", "on_worker_loss": "weep"}, ValueError, "on_worker_loss"),
    ],
)
def test_bad_options_are_told_by_the_run(options: dict[str, Any], error: type[Exception], complaint: str) -> None:
    with parallel_config(backend="corefutures", n_jobs=2, **options), pytest.raises(error, match=complaint):
        Parallel()(delayed(square)(1) for _ in range(3))


def die(_: int) -> None:
    os._exit(3)


def test_a_lost_worker_is_an_error_and_the_next_run_works() -> None:
    with parallel_config(backend="corefutures", executor="process", n_jobs=2):
        with pytest.raises(corefutures.BrokenExecutor):
            Parallel()(delayed(die)(number) for number in range(2))
        assert Parallel()(delayed(square)(number) for number in range(3)) == [0, 1, 4]


def total(array: Any, factor: int) -> tuple[float, bool]:
    return float(array.sum()) * factor, bool(array.flags.writeable)


def test_large_arrays_are_shared() -> None:
    numpy = pytest.importorskip("numpy", reason="the arguments are arrays of numpy")
    array = numpy.ones(300_000)
    with parallel_config(backend="corefutures", executor="process", n_jobs=2):
        parallel = Parallel(max_nbytes="1M")
        results = parallel(delayed(total)(array, factor) for factor in range(6))
    assert results == [(300_000.0 * factor, False) for factor in range(6)]
    small = numpy.ones(10)
    with parallel_config(backend="corefutures", executor="process", n_jobs=2):
        assert Parallel()(delayed(total)(small, 1) for _ in range(2)) == [(10.0, True)] * 2
        unshared = Parallel(max_nbytes=None)(delayed(total)(array, 1) for _ in range(2))
    assert unshared == [(300_000.0, True)] * 2


ADAPTED = """
from concurrent.futures import ThreadPoolExecutor

import corefutures, joblib, numpy
import corefutures_joblib
from corefutures.backend import Backend

def adapted(max_workers):
    return corefutures.adapt(ThreadPoolExecutor(max_workers))

corefutures.register_backend(Backend("adapted", adapted))
with joblib.parallel_config(backend="corefutures", executor="adapted", n_jobs=2):
    calls = [joblib.delayed(numpy.sum)(numpy.ones(300_000)) for _ in range(3)]
    print([int(total) for total in joblib.Parallel(max_nbytes="1M")(calls)])
corefutures_joblib.shutdown()
"""


def test_an_executor_that_can_not_share_is_given_the_arrays() -> None:
    """It refused to share them, and the run failed."""
    pytest.importorskip("numpy", reason="the arguments are arrays of numpy")
    done = subprocess.run([sys.executable, "-c", ADAPTED], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("[300000, 300000, 300000]\n", "")


def test_a_pool_ends_if_no_thread_can_watch_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Timer, "start", refuse)
    with parallel_config(backend="corefutures", executor="thread", n_jobs=2):
        assert Parallel()(delayed(square)(number) for number in range(3)) == [0, 1, 4]
    assert _kept_pools._pools == {}
