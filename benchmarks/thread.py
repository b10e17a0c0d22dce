"""The thread backend beside the standard library's, `multiprocessing.pool.ThreadPool` and the raw limits.

Issue 2's table. Two workers, calls that do nothing: what is measured is what the executor itself costs.
"""

from __future__ import annotations

import concurrent.futures as standard
import subprocess
import sys
import sysconfig
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from multiprocessing.pool import ThreadPool
from queue import SimpleQueue
from typing import Any

import corefutures
from benchmarks.measuring import Row, Sheet, seconds

WORKERS = 2
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))

Pool = Callable[[int], standard.Executor]


def nothing(item: object = None) -> object:
    return item


def warm(pool: standard.Executor) -> None:
    """Returns when all workers of `pool` have started."""
    together = threading.Barrier(WORKERS + 1)
    futures = [pool.submit(together.wait, 30) for _ in range(WORKERS)]
    together.wait(30)
    for future in futures:
        future.result()


def submit_many(pool_class: Pool, calls: int) -> float:
    def run() -> None:
        futures = [submit(nothing) for _ in range(calls)]
        for future in futures:
            future.result()

    with pool_class(WORKERS) as pool:
        warm(pool)
        submit = pool.submit
        return seconds(run) / calls * 1e6


def map_many(pool_class: Pool, calls: int) -> float:
    with pool_class(WORKERS) as pool:
        warm(pool)
        return seconds(lambda: list(pool.map(nothing, range(calls)))) / calls * 1e6


def submit_and_wait(pool_class: Pool, calls: int) -> float:
    def run() -> None:
        for _ in range(calls):
            submit(nothing).result()

    with pool_class(WORKERS) as pool:
        warm(pool)
        submit = pool.submit
        return seconds(run) / calls * 1e6


def as_completed_over_finished(
    future_class: type[standard.Future[Any]], as_completed: Callable[..., Any], count: int
) -> float:
    futures = [future_class() for _ in range(count)]
    for future in futures:
        future.set_result(None)

    def run() -> None:
        for _ in as_completed(futures):
            pass

    return seconds(run) / count * 1e6


def bytes_for_a_pending_call(pool_class: Pool, calls: int) -> float:
    release = threading.Event()
    with pool_class(1) as pool:
        pool.submit(release.wait, 120)
        futures: list[standard.Future[Any]] = []
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for item in range(calls):
                futures.append(pool.submit(nothing, item))  # noqa: PERF401 - the list is measured with it
            return (tracemalloc.get_traced_memory()[0] - before) / calls
        finally:
            tracemalloc.stop()
            release.set()


def pile_up(pool_class: Pool, calls: int) -> float:
    """Submits `calls` calls while all workers are blocked, lets them run, reads all results."""
    release = threading.Event()

    def run() -> None:
        futures = [submit(nothing, item) for item in range(calls)]
        release.set()
        for item, future in enumerate(futures):
            assert future.result() == item

    with pool_class(WORKERS) as pool:
        for _ in range(WORKERS):
            pool.submit(release.wait, 300)
        submit = pool.submit
        return seconds(run) / calls * 1e6


def submit_together(pool_class: Pool, calls: int, submitters: int) -> float:
    """Has some threads submit `calls` calls in all, each of which reads its own results."""
    start = threading.Barrier(submitters + 1)

    def run() -> None:
        start.wait(60)
        futures = [submit(nothing) for _ in range(calls // submitters)]
        for future in futures:
            future.result()

    def all_of_them() -> None:
        start.wait(60)
        for thread in threads:
            thread.join()

    with pool_class(WORKERS) as pool:
        warm(pool)
        submit = pool.submit
        threads = [threading.Thread(target=run) for _ in range(submitters)]
        for thread in threads:
            thread.start()
        return seconds(all_of_them) / calls * 1e6


LONG_MAP = """
import resource, sys
import corefutures
from benchmarks.thread import WORKERS, nothing

with corefutures.ThreadPoolExecutor(WORKERS) as pool:
    for _ in pool.map(nothing, iter(range(int(sys.argv[1]))), buffersize=32):
        pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def size_after_a_long_map(calls: int) -> float:
    """The largest size of a program that makes `calls` calls through `map(buffersize=32)`, in megabytes.

    Started by a small program: Linux counts the size of the program that starts one as well.
    """
    start = "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)"
    program = [sys.executable, "-c", start, sys.executable, "-c", LONG_MAP, str(calls)]
    return int(subprocess.run(program, check=True, capture_output=True).stdout) / 1024


def thread_pool_map(calls: int) -> float:
    with ThreadPool(WORKERS) as pool:
        pool.map(nothing, range(100), chunksize=1)
        return seconds(lambda: pool.map(nothing, range(calls), chunksize=1)) / calls * 1e6


def thread_pool_apply_async(calls: int) -> float:
    def run() -> None:
        results = [pool.apply_async(nothing) for _ in range(calls)]
        for result in results:
            result.get()

    with ThreadPool(WORKERS) as pool:
        pool.apply(nothing)
        return seconds(run) / calls * 1e6


def thread_pool_apply(calls: int) -> float:
    with ThreadPool(WORKERS) as pool:
        pool.apply(nothing)
        return seconds(lambda: [pool.apply(nothing) for _ in range(calls)]) / calls * 1e6


def queue_one_way(items: int) -> float:
    """The raw limit of submitting many: one thread puts, another gets."""
    queue: SimpleQueue[object] = SimpleQueue()

    def run() -> None:
        reader = threading.Thread(target=lambda: [queue.get() for _ in range(items)])
        reader.start()
        for item in range(items):
            queue.put(item)
        reader.join()

    return seconds(run) / items * 1e6


def queue_round_trip(items: int) -> float:
    """The raw limit of submitting one and waiting for it: a queue there, a queue back."""
    there: SimpleQueue[object] = SimpleQueue()
    back: SimpleQueue[object] = SimpleQueue()

    def echo() -> None:
        for _ in range(items):
            back.put(there.get())

    def run() -> None:
        answering = threading.Thread(target=echo)
        answering.start()
        for item in range(items):
            there.put(item)
            back.get()
        answering.join()

    return seconds(run) / items * 1e6


def plain_loop(calls: int) -> float:
    def run() -> None:
        for item in range(calls):
            nothing(item)

    return seconds(run) / calls * 1e6


def speed() -> Iterator[Row]:
    ours: Pool = corefutures.ThreadPoolExecutor
    theirs: Pool = standard.ThreadPoolExecutor
    yield Row(
        what="submit 20,000 tiny calls, read all results",
        unit="µs a call",
        ours=lambda: submit_many(ours, 20_000),
        against=lambda: submit_many(theirs, 20_000),
        at_least=3.5 if FREE_THREADED else 5,
        others={
            "ThreadPool.apply_async": lambda: thread_pool_apply_async(20_000),
            "raw: a queue from one thread to another": lambda: queue_one_way(20_000),
        },
    )
    yield Row(
        what="map over 20,000 tiny calls",
        unit="µs a call",
        ours=lambda: map_many(ours, 20_000),
        against=lambda: map_many(theirs, 20_000),
        at_least=3.5 if FREE_THREADED else 5,
        others={
            "ThreadPool.map, one by one": lambda: thread_pool_map(20_000),
            "raw: a loop without any pool": lambda: plain_loop(20_000),
        },
    )
    yield Row(
        what="submit one, wait for it, repeat",
        unit="µs a call",
        ours=lambda: submit_and_wait(ours, 3_000),
        against=lambda: submit_and_wait(theirs, 3_000),
        at_least=None if FREE_THREADED else 1,
        others={
            "ThreadPool.apply": lambda: thread_pool_apply(3_000),
            "raw: a queue there, a queue back": lambda: queue_round_trip(3_000),
        },
    )
    yield Row(
        what="as_completed over 100,000 finished futures",
        unit="µs a future",
        ours=lambda: as_completed_over_finished(corefutures.Future, corefutures.as_completed, 100_000),
        against=lambda: as_completed_over_finished(standard.Future, standard.as_completed, 100_000),
        at_least=None if FREE_THREADED else 4,
    )


def size() -> Iterator[Row]:
    ours: Pool = corefutures.ThreadPoolExecutor
    theirs: Pool = standard.ThreadPoolExecutor
    yield Row(
        what="memory for each pending call",
        unit="bytes",
        ours=lambda: bytes_for_a_pending_call(ours, 10_000),
        against=lambda: bytes_for_a_pending_call(theirs, 10_000),
        at_least=3,
        rounds=3,
    )
    yield Row(
        what="1,000,000 pending calls beside 100,000 (1 is linear)",
        unit="µs a call",
        ours=lambda: pile_up(ours, 1_000_000),
        against=lambda: pile_up(ours, 100_000),
        at_least=0.5,
        rounds=3,
    )
    for submitters in (2, 4):
        yield Row(
            what=f"{submitters} threads submit 20,000 calls together, beside 1 that does",
            unit="µs a call",
            ours=lambda submitters=submitters: submit_together(ours, 20_000, submitters),  # type: ignore[misc]
            against=lambda: submit_together(ours, 20_000, 1),
            at_least=0.9,
        )
    yield Row(
        what="memory after 10,000,000 calls through map(buffersize=32), beside 100,000",
        unit="MB",
        ours=lambda: size_after_a_long_map(10_000_000),
        against=lambda: size_after_a_long_map(100_000),
        at_least=0.9,
        rounds=1,
    )


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Threads: what a call costs", rows=speed)
    yield Sheet(title="Threads: many calls", rows=size)
