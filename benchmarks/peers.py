"""Other libraries beside ours, on calls that each of them can make: many at once, two workers, warm.

A peer that is not installed is left out. asyncio's and trio's pools are measured inside their event loops.
"""

from __future__ import annotations

import concurrent.futures as standard
import importlib
import importlib.util
import multiprocessing
import multiprocessing.pool
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import corefutures
from benchmarks import real
from benchmarks.measuring import Row, Sheet, seconds
from benchmarks.real import WORKERS

#: What is called: its name → (function, positional arguments, keywords). Of joblib, one call that raises ends all.
WORK = {what: call[:3] for what, call in real.CALLS.items() if call[0] is not real.fail}
#: Fewer for processes, and for large arguments: some peers need milliseconds for each.
CALLS = {"thread": 5_000, "process": 500}
LARGE_CALLS = 100

#: Makes a number of calls of one kind, warm, and returns how many seconds that took.
Peer = Callable[[int, Callable[..., object], Any, Any], float]


def _measured(calls: int, run: Callable[[int], object]) -> float:
    run(20)
    return seconds(lambda: run(calls))


def executor(make: Callable[[int], Any]) -> Peer:
    def measure(calls: int, fn: Callable[..., object], args: Any, kwargs: Any) -> float:
        def run(count: int) -> None:
            for future in [pool.submit(fn, *args, **kwargs) for _ in range(count)]:
                future.result()

        with make(WORKERS) as pool:
            return _measured(calls, run)

    return measure


def multiprocessing_pool(make: Callable[[int], Any]) -> Peer:
    def measure(calls: int, fn: Callable[..., object], args: Any, kwargs: Any) -> float:
        def run(count: int) -> None:
            for result in [pool.apply_async(fn, args, kwargs) for _ in range(count)]:
                result.get()

        with make(WORKERS) as pool:
            return _measured(calls, run)

    return measure


def pebble(kind: str) -> Peer:
    def measure(calls: int, fn: Callable[..., object], args: Any, kwargs: Any) -> float:
        def run(count: int) -> None:
            for future in [pool.schedule(fn, args=args, kwargs=kwargs) for _ in range(count)]:
                future.result()

        with getattr(importlib.import_module("pebble"), kind)(WORKERS) as pool:
            return _measured(calls, run)

    return measure


def joblib(backend: str) -> Peer:
    def measure(calls: int, fn: Callable[..., object], args: Any, kwargs: Any) -> float:
        library: Any = importlib.import_module("joblib")
        # Arguments of its own for each call: it pickles many calls at once, and so an argument of all of them once.
        copies = [pickle.loads(pickle.dumps(args)) for _ in range(calls)]
        tasks = [library.delayed(fn)(*each, **kwargs) for each in copies]
        with library.Parallel(n_jobs=WORKERS, backend=backend) as parallel:
            return _measured(calls, lambda count: parallel(tasks[:count]))

    return measure


def in_event_loop(library: str, where: str, loop: str) -> Peer:
    """anyio and trio-parallel: a task for each call, all in one group; as many run as there are workers."""

    def measure(calls: int, fn: Callable[..., object], args: Any, kwargs: Any) -> float:
        from functools import partial

        anyio: Any = importlib.import_module("anyio")
        run_sync: Any = importlib.import_module(f"{library}{where}").run_sync
        call = partial(fn, *args, **kwargs)

        async def run(count: int) -> None:
            limiter = anyio.CapacityLimiter(WORKERS)
            if loop == "trio":
                limiter = importlib.import_module("trio").CapacityLimiter(WORKERS)
            async with anyio.create_task_group() as group:
                for _ in range(count):
                    group.start_soon(partial(run_sync, call, limiter=limiter))

        async def program() -> float:
            import time

            await run(20)
            start = time.perf_counter()
            await run(calls)
            return time.perf_counter() - start

        taken: float = anyio.run(program, backend=loop)
        return taken

    return measure


def mpire(calls: int, fn: Callable[..., object], args: Any, kwargs: Any) -> float:
    pool: Any
    with importlib.import_module("mpire").WorkerPool(WORKERS, start_method="forkserver", keep_alive=True) as pool:

        def run(count: int) -> None:
            for result in [pool.apply_async(fn, args, kwargs) for _ in range(count)]:
                result.get()

        return _measured(calls, run)


#: Of each kind of worker: the name of a peer, what it needs besides the standard library, and how it is measured.
PEERS: dict[str, list[tuple[str, tuple[str, ...], Peer]]] = {
    "thread": [
        ("multiprocessing.pool.ThreadPool", (), multiprocessing_pool(multiprocessing.pool.ThreadPool)),
        ("joblib, threading", ("joblib",), joblib("threading")),
        ("pebble.ThreadPool", ("pebble",), pebble("ThreadPool")),
        ("anyio.to_thread", ("anyio",), in_event_loop("anyio", ".to_thread", "asyncio")),
    ],
    "process": [
        ("multiprocessing.Pool", (), multiprocessing_pool(multiprocessing.Pool)),
        ("loky", ("loky",), executor(lambda workers: importlib.import_module("loky").ProcessPoolExecutor(workers))),
        ("joblib, loky", ("joblib",), joblib("loky")),
        ("mpire", ("mpire",), mpire),
        ("pebble.ProcessPool", ("pebble",), pebble("ProcessPool")),
        ("anyio.to_process", ("anyio",), in_event_loop("anyio", ".to_process", "asyncio")),
        ("trio-parallel", ("trio_parallel", "anyio"), in_event_loop("trio_parallel", "", "trio")),
    ],
}


def rows(kind: str) -> Iterator[Row]:
    class_name = {"thread": "ThreadPoolExecutor", "process": "ProcessPoolExecutor"}[kind]
    for what, work in WORK.items():
        large = any(isinstance(argument, bytes) and len(argument) > 50_000 for argument in work[1])
        calls = LARGE_CALLS if large else CALLS[kind]

        def cost(peer: Peer, work: Any = work, calls: int = calls) -> Callable[[], float]:
            return lambda: peer(calls, *work) / calls * 1e6

        yield Row(
            what=what,
            unit="µs a call",
            ours=cost(executor(getattr(corefutures, class_name))),
            against=cost(executor(getattr(standard, class_name))),
            others={
                name: cost(peer)
                for name, needed, peer in PEERS[kind]
                if all(importlib.util.find_spec(package) is not None for package in needed)
            },
        )


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Threads: other libraries", rows=lambda: rows("thread"))
    yield Sheet(title="Processes: other libraries", rows=lambda: rows("process"))
