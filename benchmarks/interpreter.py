"""The interpreter backend beside the standard library's, issue 5's table.

Two workers. The calls are functions of a module that is quick to import, because every interpreter imports it.
"""

from __future__ import annotations

import concurrent.futures as standard
import sys
from collections.abc import Callable, Iterator

from benchmarks import tiny
from benchmarks.measuring import Row, Sheet, seconds

WORKERS = 2
MEGABYTES = 64

Pool = Callable[[int], standard.Executor]


def warm(pool: standard.Executor) -> None:
    """Returns when all workers of `pool` have started and imported the calls."""
    numbers: set[int] = set()
    while len(numbers) < WORKERS:
        futures = [pool.submit(tiny.interpreter_number, 0.05) for _ in range(WORKERS)]
        numbers.update(future.result() for future in futures)


def submit_many(pool_class: Pool, calls: int) -> float:
    def run() -> None:
        futures = [submit(tiny.nothing) for _ in range(calls)]
        for future in futures:
            future.result()

    with pool_class(WORKERS) as pool:
        warm(pool)
        submit = pool.submit
        return seconds(run) / calls * 1e6


def map_many(pool_class: Pool, calls: int) -> float:
    with pool_class(WORKERS) as pool:
        warm(pool)
        return seconds(lambda: list(pool.map(tiny.echo, range(calls)))) / calls * 1e6


def submit_and_wait(pool_class: Pool, calls: int) -> float:
    def run() -> None:
        for _ in range(calls):
            submit(tiny.nothing).result()

    with pool_class(WORKERS) as pool:
        warm(pool)
        submit = pool.submit
        return seconds(run) / calls * 1e6


def carry(pool_class: Pool, call: Callable[..., object], payload: object) -> float:
    with pool_class(WORKERS) as pool:
        warm(pool)
        return seconds(lambda: pool.submit(call, payload).result()) * 1e3


def start_call_stop(pool_class: Pool) -> float:
    def run() -> None:
        with pool_class(WORKERS) as pool:
            pool.submit(tiny.nothing).result()

    return seconds(run) * 1e3


def compute(pool_class: Pool) -> float:
    def run() -> None:
        for future in [pool.submit(tiny.compute, 400_000) for _ in range(WORKERS)]:
            future.result()

    with pool_class(WORKERS) as pool:
        warm(pool)
        return seconds(run) * 1e3


def compute_here() -> float:
    return seconds(lambda: tiny.compute(400_000)) * 1e3


def rows() -> Iterator[Row]:
    if sys.version_info < (3, 14):
        return
    import corefutures_interpreter

    ours: Pool = corefutures_interpreter.InterpreterPoolExecutor
    theirs: Pool = standard.InterpreterPoolExecutor
    yield Row(
        what="submit 5,000 tiny calls, read all results",
        unit="µs a call",
        ours=lambda: submit_many(ours, 5_000),
        against=lambda: submit_many(theirs, 5_000),
        at_least=12,
    )
    yield Row(
        what="map over 5,000 tiny calls",
        unit="µs a call",
        ours=lambda: map_many(ours, 5_000),
        against=lambda: map_many(theirs, 5_000),
        at_least=12,
    )
    yield Row(
        what="submit one, wait for it, repeat",
        unit="µs a call",
        ours=lambda: submit_and_wait(ours, 1_000),
        against=lambda: submit_and_wait(theirs, 1_000),
        at_least=2.5,
    )
    content = bytes(MEGABYTES << 20)
    yield Row(
        what=f"echo {MEGABYTES} MB of bytes",
        unit="ms",
        ours=lambda: carry(ours, tiny.echo, content),
        against=lambda: carry(theirs, tiny.echo, content),
        at_least=1,
    )
    changeable = bytearray(content)
    yield Row(
        what=f"send a bytearray of {MEGABYTES} MB",
        unit="ms",
        ours=lambda: carry(ours, len, changeable),
        against=lambda: carry(theirs, len, changeable),
        at_least=5,
    )
    listed = [content]
    yield Row(
        what=f"echo a list with {MEGABYTES} MB of bytes in it",
        unit="ms",
        ours=lambda: carry(ours, tiny.echo, listed),
        against=lambda: carry(theirs, tiny.echo, listed),
        at_least=5,
    )
    yield Row(
        what="start the pool, one call, stop it",
        unit="ms",
        ours=lambda: start_call_stop(ours),
        against=lambda: start_call_stop(theirs),
        at_least=1,
    )
    yield Row(
        what="two CPU-bound calls on two cores",
        unit="ms",
        ours=lambda: compute(ours),
        against=lambda: compute(theirs),
        at_least=1,
        others={"raw: one of them, here": compute_here},
    )


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Interpreters: what a call costs", rows=rows)
