"""The process backend beside the standard library's, its peers where they are installed, and the raw limit of a pipe.

Issue 4's table. Two workers, started before the clock is; calls that do nothing: what is measured is what the executor
itself costs. The dependency group `benchmark` brings the peers.
"""

from __future__ import annotations

import atexit
import concurrent.futures as standard
import importlib
import importlib.util
import multiprocessing
import multiprocessing.pool
import os
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import corefutures
from benchmarks.measuring import Row, Sheet, seconds

WORKERS = 2
CALLS = 5_000

Submit = Callable[..., Any]


def nothing(item: object = None) -> object:
    return item


def one_millisecond(item: object = None) -> object:
    time.sleep(0.001)
    return item


def array(size: int) -> Any:
    import numpy as np

    return np.ones(size // 8)


# ── executors: each is made once, and warm ───────────────────────────────────────────────────────────────


def _kept(pool: Any, end: Callable[[], object]) -> Any:
    atexit.register(end)
    return pool


@cache
def ours() -> standard.Executor:
    pool = corefutures.ProcessPoolExecutor(WORKERS)
    list(pool.map(nothing, range(200)))
    return pool


@cache
def theirs() -> standard.Executor:
    pool = standard.ProcessPoolExecutor(WORKERS)
    list(pool.map(nothing, range(200)))
    return pool


@cache
def loky() -> Any:
    pool = importlib.import_module("loky").ProcessPoolExecutor(WORKERS)
    list(pool.map(nothing, range(200)))
    return _kept(pool, pool.shutdown)


@cache
def multiprocessing_pool() -> multiprocessing.pool.Pool:
    pool: multiprocessing.pool.Pool = multiprocessing.Pool(WORKERS)
    pool.map(nothing, range(200))
    return _kept(pool, pool.terminate)  # type: ignore[no-any-return]


@cache
def pebble() -> Any:
    pool = importlib.import_module("pebble").ProcessPool(WORKERS)
    list(pool.map(nothing, range(200)).result())

    def end() -> None:
        pool.close()
        pool.join()

    return _kept(pool, end)


@cache
def mpire() -> Any:
    pool = importlib.import_module("mpire").WorkerPool(WORKERS, start_method="forkserver", keep_alive=True)
    pool.map(nothing, range(200))
    return _kept(pool, pool.terminate)


@cache
def joblib() -> Any:
    parallel = importlib.import_module("joblib").Parallel(n_jobs=WORKERS).__enter__()
    parallel(_delayed(range(200)))
    return parallel


def _delayed(items: Any) -> Any:
    delayed = importlib.import_module("joblib").delayed
    return (delayed(nothing)(item) for item in items)


def where_installed(**measures: Callable[[], float]) -> dict[str, Callable[[], float]]:
    """Keeps the measures of the peers that can be imported; a name's first word is the package."""
    found = {}
    for name, cost in measures.items():
        package, _, what = name.partition("__")
        if importlib.util.find_spec(package) is not None:
            found[f"{package} {what.replace('_', ' ')}".strip()] = cost
    return found


# ── what is done with them ───────────────────────────────────────────────────────────────────────────────


def submit_many(pool: Any, calls: int = CALLS, submit: str = "submit", result: str = "result") -> float:
    def run() -> None:
        futures = [call(nothing, item) for item in range(calls)]
        for future in futures:
            getattr(future, result)()

    call = getattr(pool, submit)
    return seconds(run) / calls * 1e6


def apply_async_many(pool: Any, calls: int = CALLS) -> float:
    def run() -> None:
        results = [pool.apply_async(nothing, (item,)) for item in range(calls)]
        for result in results:
            result.get()

    return seconds(run) / calls * 1e6


def pebble_many(calls: int = CALLS) -> float:
    def run() -> None:
        futures = [pool.schedule(nothing, args=[item]) for item in range(calls)]
        for future in futures:
            future.result()

    pool = pebble()
    return seconds(run) / calls * 1e6


def map_many(run_map: Callable[[Any], Any], calls: int = CALLS) -> float:
    return seconds(lambda: all(True for _ in run_map(range(calls)))) / calls * 1e6


def submit_and_wait(pool: Any, calls: int = 1_000) -> float:
    def run() -> None:
        for item in range(calls):
            submit(nothing, item).result()

    submit = pool.submit
    return seconds(run) / calls * 1e6


def send_array(pool: Any, size: int = 64_000_000) -> float:
    payload = array(size)
    return seconds(lambda: pool.submit(len, payload).result()) * 1e3


def receive_array(pool: Any, size: int = 64_000_000) -> float:
    return seconds(lambda: pool.submit(array, size).result()) * 1e3


def start_call_stop(pool_class: Callable[[int], standard.Executor]) -> float:
    def run() -> None:
        with pool_class(WORKERS) as pool:
            pool.submit(nothing).result()

    return seconds(run) * 1e3


def bytes_for_a_pending_call(pool_class: Callable[[int], standard.Executor], calls: int = 5_000) -> float:
    with pool_class(1) as pool:
        blocker = pool.submit(one_millisecond)
        blocker.result()
        pool.submit(time.sleep, 3)
        futures: list[Any] = []
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for item in range(calls):
                futures.append(pool.submit(nothing, item))  # noqa: PERF401 - the list is measured with it
            used = (tracemalloc.get_traced_memory()[0] - before) / calls
        finally:
            tracemalloc.stop()
        for future in futures:
            future.cancel()
        return used


def pipe_round_trip(items: int = 2_000) -> float:
    """The raw limit of submitting one call and waiting for it: a byte to a process and back."""
    if sys.platform == "win32":
        raise NotImplementedError("needs fork")
    there, theirs_ = os.pipe()
    theirs_back, back = os.pipe()
    process = multiprocessing.get_context("fork").Process(target=_echo, args=(there, back), daemon=True)
    process.start()

    def run() -> None:
        for _ in range(items):
            os.write(theirs_, b"x")
            os.read(theirs_back, 1)

    try:
        return seconds(run) / items * 1e6
    finally:
        process.kill()
        process.join()
        for descriptor in (there, theirs_, theirs_back, back):
            os.close(descriptor)


def _echo(there: int, back: int) -> None:
    while True:
        os.write(back, os.read(there, 1))


# ── the tables ───────────────────────────────────────────────────────────────────────────────────────────


def speed() -> Iterator[Row]:
    yield Row(
        what="submit 5,000 tiny calls, read all results",
        unit="µs a call",
        ours=lambda: submit_many(ours()),
        against=lambda: submit_many(theirs()),
        at_least=10,
        others={
            "multiprocessing.Pool.apply_async": lambda: apply_async_many(multiprocessing_pool()),
            **where_installed(
                loky__submit=lambda: submit_many(loky()),
                pebble__schedule=pebble_many,
                mpire__apply_async=lambda: apply_async_many(mpire()),
                joblib__Parallel=lambda: map_many(lambda items: joblib()(_delayed(items))),
            ),
        },
    )
    yield Row(
        what="map, chunksize=1, 5,000 tiny calls",
        unit="µs a call",
        ours=lambda: map_many(lambda items: ours().map(nothing, items)),
        against=lambda: map_many(lambda items: theirs().map(nothing, items)),
        at_least=10,
        others={
            "multiprocessing.Pool.imap": lambda: map_many(lambda items: multiprocessing_pool().imap(nothing, items)),
            "multiprocessing.Pool.map, chunksize=1": lambda: map_many(
                lambda items: multiprocessing_pool().map(nothing, items, chunksize=1)
            ),
            **where_installed(
                loky__map=lambda: map_many(lambda items: loky().map(nothing, items)),
                pebble__map=lambda: map_many(lambda items: pebble().map(nothing, items).result()),
                mpire__imap_chunk_size_1=lambda: map_many(
                    lambda items: mpire().imap(nothing, items, iterable_len=len(items), chunk_size=1)
                ),
            ),
        },
    )
    yield Row(
        what="submit one, wait for it, repeat",
        unit="µs a call",
        ours=lambda: submit_and_wait(ours()),
        against=lambda: submit_and_wait(theirs()),
        at_least=2.5,
        others={
            "multiprocessing.Pool.apply": lambda: apply_one_by_one(),
            "raw: a byte through a pipe and back": pipe_round_trip,
            **where_installed(loky__submit=lambda: submit_and_wait(loky(), 200)),
        },
    )
    yield Row(
        what="calls of 1 ms, 500 of them",
        unit="µs a call",
        ours=lambda: map_many(lambda items: ours().map(one_millisecond, items), 500),
        against=lambda: map_many(lambda items: theirs().map(one_millisecond, items), 500),
        at_least=1,
    )
    yield Row(
        what="start a pool, one call, stop it",
        unit="ms",
        ours=lambda: start_call_stop(corefutures.ProcessPoolExecutor),
        against=lambda: start_call_stop(standard.ProcessPoolExecutor),
        at_least=1,
    )
    yield Row(
        what="memory for each pending call",
        unit="bytes",
        ours=lambda: bytes_for_a_pending_call(corefutures.ProcessPoolExecutor),
        against=lambda: bytes_for_a_pending_call(standard.ProcessPoolExecutor),
        at_least=2,
    )


def apply_one_by_one(calls: int = 1_000) -> float:
    pool = multiprocessing_pool()
    return seconds(lambda: [pool.apply(nothing, (item,)) for item in range(calls)]) / calls * 1e6


def payloads() -> Iterator[Row]:
    if importlib.util.find_spec("numpy") is None:
        return
    yield Row(
        what="send a NumPy array of 64 MB",
        unit="ms",
        ours=lambda: send_array(ours()),
        against=lambda: send_array(theirs()),
        at_least=3,
        others=where_installed(loky__submit=lambda: send_array(loky())),
    )
    yield Row(
        what="receive a NumPy array of 64 MB",
        unit="ms",
        ours=lambda: receive_array(ours()),
        against=lambda: receive_array(theirs()),
        at_least=3,
        others=where_installed(loky__submit=lambda: receive_array(loky())),
    )


def chunked_row(calls: int, at_least: float) -> Row:
    def auto(items: Any) -> Any:
        pool: Any = ours()
        return pool.map(nothing, items, chunksize="auto")

    return Row(
        what=f'map, chunksize="auto", {calls:,} tiny calls',
        unit="µs a call",
        ours=lambda: map_many(auto, calls),
        against=lambda: map_many(lambda items: multiprocessing_pool().map(nothing, items), calls),
        at_least=at_least,
        others=where_installed(
            mpire__map=lambda: map_many(lambda items: mpire().map(nothing, items, iterable_len=len(items)), calls),
        ),
    )


def chunked() -> Iterator[Row]:
    yield chunked_row(5_000, 1.0)
    yield chunked_row(100_000, 1 / 1.5)


def sheets() -> Iterator[Sheet]:
    """The suite; `python -m benchmarks process`."""
    yield Sheet(title="Processes, against concurrent.futures.ProcessPoolExecutor", rows=speed)
    yield Sheet(title="Large payloads, against concurrent.futures.ProcessPoolExecutor", rows=payloads)
    yield Sheet(title="Tiny calls in chunks, against multiprocessing.Pool.map", rows=chunked)
