"""The calls that people make, on every local backend, beside the standard library's pools: issue 16's table.

Two workers, warm pools, small enough for every row to be repeated. Each row names the call; the sheets, the backend.
"""

from __future__ import annotations

import asyncio
import concurrent.futures as standard
import functools
import importlib.util
import itertools
import math
import operator
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import corefutures
from benchmarks import tiny
from benchmarks.measuring import Row, Sheet, seconds

WORKERS = 2
#: The share of the promised ratios that a free-threaded Python is to reach; with the GIL, all of them.
SHARE = 0.7 if sysconfig.get_config_var("Py_GIL_DISABLED") else 1
MEGABYTE = 1 << 20

Pools = Callable[[int], standard.Executor]
Wait = Callable[..., Any]


@dataclass(frozen=True)
class Backend:
    """One backend, how many calls are enough to measure it, and what its rows must reach."""

    name: str
    title: str
    class_name: str
    calls: int

    @property
    def ours(self) -> Pools:
        return getattr(corefutures, self.class_name)  # type: ignore[no-any-return]

    @property
    def theirs(self) -> Pools:
        return getattr(standard, self.class_name)  # type: ignore[no-any-return]


#: Those that are installed: on a free-threaded Python, threads alone.
BACKENDS = tuple(
    backend
    for backend in (
        Backend("thread", "Threads", "ThreadPoolExecutor", 10_000),
        Backend("process", "Processes", "ProcessPoolExecutor", 2_000),
        Backend("interpreter", "Interpreters", "InterpreterPoolExecutor", 2_000),
    )
    if importlib.util.find_spec(f"corefutures_{backend.name}") is not None
    and (backend.name != "interpreter" or sys.version_info >= (3, 14))
)


# ── the calls ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Point:
    """An argument as programs have them."""

    x: float
    y: float
    name: str = "a point"

    def length(self) -> float:
        return math.hypot(self.x, self.y)


def length_of(point: Point) -> float:
    return point.length()


def add(a: int, b: int = 1, *, scale: int = 1) -> int:
    return (a + b) * scale


def of_the_main_module(item: object) -> object:
    return item


def fail(item: object = None) -> object:
    raise ValueError("no such item")


# ── how calls are made ───────────────────────────────────────────────────────────────────────────────────


def warm(pool: standard.Executor) -> None:
    """Returns when the workers have started and know the calls."""
    standard.wait([pool.submit(tiny.pause, 0.05) for _ in range(WORKERS)])
    standard.wait([pool.submit(call, *args, **kwargs) for call, args, kwargs, _ in CALLS.values() for _ in range(20)])


def submit_many(pools: Pools, calls: int, fn: Callable[..., object], args: Any, kwargs: Any, fails: bool) -> float:
    def run() -> None:
        futures = [submit(fn, *args, **kwargs) for _ in range(calls)]
        if fails:
            for future in futures:
                future.exception()
        else:
            for future in futures:
                future.result()

    with pools(WORKERS) as pool:
        warm(pool)
        submit = pool.submit
        return seconds(run) / calls * 1e6


def in_the_main_module(class_name: str, module: str, calls: int) -> float:
    """Has a program that is its own main module measure it."""
    program = [sys.executable, "-m", "benchmarks.real", class_name, module, str(calls)]
    return float(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


def window(pools: Pools, calls: int, wait: Wait) -> float:
    """Keeps 16 calls on their way, one more for each that has ended."""

    def run() -> None:
        numbers = iter(range(calls))
        waiting = {submit(tiny.echo, number) for number in itertools.islice(numbers, 16)}
        while waiting:
            done, waiting = wait(waiting, return_when=standard.FIRST_COMPLETED)
            waiting.update(submit(tiny.echo, number) for number in itertools.islice(numbers, len(done)))

    with pools(WORKERS) as pool:
        warm(pool)
        submit = pool.submit
        return seconds(run) / calls * 1e6


def completed(pools: Pools, calls: int) -> float:
    def run() -> None:
        for future in standard.as_completed([submit(tiny.echo, number) for number in range(calls)]):
            future.result()

    with pools(WORKERS) as pool:
        warm(pool)
        submit = pool.submit
        return seconds(run) / calls * 1e6


def map_in_window(pools: Pools, calls: int) -> float:
    with pools(WORKERS) as pool:
        warm(pool)
        more: dict[str, Any] = {"buffersize": 32}
        return seconds(lambda: list(pool.map(tiny.echo, range(calls), **more))) / calls * 1e6


def gathered(pools: Pools, calls: int, at_once: int) -> float:
    async def run(pool: standard.Executor) -> float:
        loop = asyncio.get_running_loop()
        start = time.perf_counter()
        for _ in range(calls // at_once):
            if at_once == 1:
                await loop.run_in_executor(pool, tiny.nothing)
            else:
                await asyncio.gather(*[loop.run_in_executor(pool, tiny.nothing) for _ in range(at_once)])
        return (time.perf_counter() - start) / calls * 1e6

    with pools(WORKERS) as pool:
        warm(pool)
        return asyncio.run(run(pool))


def round_trips(pools: Pools, calls: int, percentile: int) -> float:
    with pools(WORKERS) as pool:
        warm(pool)
        costs = [seconds(lambda: pool.submit(tiny.nothing).result()) for _ in range(calls)]
    return statistics.quantiles(costs, n=100)[percentile - 1] * 1e6


def pools_in_a_row(pools: Pools, count: int) -> float:
    def run() -> None:
        for _ in range(count):
            with pools(WORKERS) as pool:
                pool.submit(tiny.nothing).result()

    return seconds(run) / count * 1e6


def large(pools: Pools, there: bool) -> float:
    import numpy as np

    array = np.ones(64 * MEGABYTE // 8)
    call: Callable[..., object] = tiny.size_of if there else tiny.array
    with pools(WORKERS) as pool:
        warm(pool)
        pool.submit(call, array if there else array.size).result()
        return seconds(lambda: pool.submit(call, array if there else array.size).result()) * 1e3


def first_use(program: str) -> float:
    """Milliseconds from the start of a fresh Python to the end of a program."""
    return seconds(lambda: subprocess.run([sys.executable, "-c", program], check=True)) * 1e3


# ── the rows ─────────────────────────────────────────────────────────────────────────────────────────────

#: what → (function, arguments, keywords, targets for thread, process, interpreter)
CALLS: dict[str, tuple[Callable[..., object], tuple[object, ...], dict[str, object], tuple[float, float, float]]] = {
    "a tiny function of a module": (tiny.nothing, (), {}, (7, 22, 17)),
    "a C function": (operator.neg, (1,), {}, (5, 15, 13)),
    "keywords": (add, (1,), {"b": 2, "scale": 3}, (5, 15, 13)),
    "a functools.partial": (functools.partial(add, 1, scale=2), (), {}, (5, 15, 13)),
    "a bound method": (Point(3, 4).length, (), {}, (5, 15, 13)),
    "a dataclass as argument": (length_of, (Point(3, 4),), {}, (5, 15, 13)),
    "a call that raises": (fail, (), {}, (5, 10, 8)),
    "1 KB of bytes, there and back": (tiny.echo, (bytes(1_000),), {}, (5, 10, 8)),
    "10 KB of bytes, there and back": (tiny.echo, (bytes(10_000),), {}, (5, 10, 8)),
    "100 KB of bytes, there and back": (tiny.echo, (bytes(100_000),), {}, (3.5, 4, 3)),
    "1 MB of bytes, there and back": (tiny.echo, (bytes(MEGABYTE),), {}, (3.5, 4, 3)),
    "a list of 1,000 ints, there and back": (tiny.echo, (list(range(1_000, 2_000)),), {}, (3, 4, 4)),
}


def rows(backend: Backend) -> Iterator[Row]:
    place = ("thread", "process", "interpreter").index(backend.name)

    def target(ratios: tuple[float, float, float]) -> float | None:
        """Return the ratio that this backend is to reach; without the GIL, threads alone are to reach one."""
        return ratios[place] * SHARE if SHARE == 1 or backend.name == "thread" else None

    def row(
        what: str, cost: Callable[[Pools], float], targets: tuple[float, float, float], unit: str = "µs a call"
    ) -> Row:
        return Row(
            what=what,
            unit=unit,
            ours=lambda: cost(backend.ours),
            against=lambda: cost(backend.theirs),
            at_least=target(targets),
        )

    for what, (fn, args, kwargs, targets) in CALLS.items():
        size = sum(len(arg) for arg in args if isinstance(arg, bytes))
        calls = backend.calls if size < 50_000 else backend.calls // (10 if size < MEGABYTE else 40)
        cost = functools.partial(submit_many, calls=calls, fn=fn, args=args, kwargs=kwargs, fails=fn is fail)
        yield row(what, cost, targets)
    calls = backend.calls
    yield Row(
        what="a function of the main module",
        unit="µs a call",
        ours=lambda: in_the_main_module(backend.class_name, "corefutures", calls),
        against=lambda: in_the_main_module(backend.class_name, "concurrent.futures", calls),
        at_least=target((5, 15, 13)),
    )
    yield row("a window of 16, the standard wait", lambda pools: window(pools, calls // 2, standard.wait), (2, 8, 6))
    yield Row(
        what="a window of 16, wait of ours beside the standard one",
        unit="µs a call",
        ours=lambda: window(backend.ours, calls // 2, corefutures.wait),
        against=lambda: window(backend.theirs, calls // 2, standard.wait),
        at_least=target((3, 8, 6)),
    )
    yield row("the standard as_completed", lambda pools: completed(pools, calls), (2, 10, 10))
    if sys.version_info >= (3, 14):
        yield row("map(buffersize=32)", lambda pools: map_in_window(pools, calls), (4, 12, 10))
    yield row("run_in_executor, 500 gathered", lambda pools: gathered(pools, calls, 500), (2, 7, 7))
    yield row("run_in_executor, one by one", lambda pools: gathered(pools, calls // 4, 1), (1.5, 5, 2.5))
    yield row("submit and wait, median", lambda pools: round_trips(pools, calls // 4, 50), (1.2, 8, 5))
    yield row("submit and wait, 99 of 100", lambda pools: round_trips(pools, calls // 4, 99), (1.2, 8, 5))
    yield row("make a pool, one call, end it", lambda pools: pools_in_a_row(pools, 1), (1.2, 2, 2), "µs")
    many = 300 if backend.name == "thread" else 10
    yield row(f"{many} pools in a row", lambda pools: pools_in_a_row(pools, many), (1.2, 2, 2), "µs a pool")
    if backend.name == "process":
        yield row("an array of 64 MB there", lambda pools: large(pools, there=True), (1, 6, 1), "ms")
        yield row("an array of 64 MB back", lambda pools: large(pools, there=False), (1, 5, 1), "ms")
    if backend.name == "thread":
        yield Row(
            what="import and first pool, in a fresh Python",
            unit="ms",
            ours=lambda: first_use("import corefutures; corefutures.create_executor('thread', max_workers=2)"),
            against=lambda: first_use("import concurrent.futures as f; f.ThreadPoolExecutor(max_workers=2)"),
            at_most=5,
        )


def sheets() -> Iterator[Sheet]:
    for backend in BACKENDS:
        yield Sheet(title=f"{backend.title}: the calls that people make", rows=functools.partial(rows, backend))


if __name__ == "__main__":
    class_name, module, calls = sys.argv[1:]
    pools: Pools = getattr(importlib.import_module(module), class_name)
    print(submit_many(pools, int(calls), of_the_main_module, (1,), {}, fails=False))
