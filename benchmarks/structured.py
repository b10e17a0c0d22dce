"""What works over any executor, beside the idioms of the standard library, on the same pools.

`scope`: what it costs a call more than a plain `submit` whose result is waited for. `completions`: what a future costs
among 100,000 beside what it costs among 1,000. `imap`: beside a loop with a window and `wait`.
"""

from __future__ import annotations

import concurrent.futures as standard
import functools
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import corefutures
from benchmarks import tiny
from benchmarks.measuring import Row, Sheet, seconds

WORKERS = 2
CALLS = {
    "thread": 4_000,
    "process": 2_000,
    "interpreter": 2_000,
    "concurrent.futures:ThreadPoolExecutor": 4_000,
}


@functools.cache
def pool_of(kind: str) -> Any:
    """The pool of all rows, warm; it ends with the program."""
    pool = corefutures.create_executor(kind, max_workers=WORKERS)
    for future in [pool.submit(tiny.pause, 0.05) for _ in range(WORKERS)]:
        future.result()
    return pool


def kinds() -> Iterator[str]:
    """Those of the pools that can run here."""
    for kind in CALLS:
        try:
            pool_of(kind)
        except corefutures.BackendError:
            continue
        yield kind


# ── scope ────────────────────────────────────────────────────────────────────────────────────────────────────


def plain(kind: str) -> float:
    """Submits calls, waits for all of them; returns the microseconds for each."""
    pool, calls = pool_of(kind), CALLS[kind]

    def run() -> None:
        for future in [pool.submit(tiny.echo, 1) for _ in range(calls)]:
            future.result()

    return seconds(run) / calls * 1e6


def scoped(kind: str) -> float:
    """The same in a scope, whose end waits."""
    pool, calls = pool_of(kind), CALLS[kind]

    def run() -> None:
        with corefutures.scope(pool) as scope:
            for _ in range(calls):
                scope.submit(tiny.echo, 1)

    return seconds(run) / calls * 1e6


def stopping_by_hand(kind: str) -> float:
    """What people write without a scope: wait for the first exception, cancel the rest, collect the results."""
    pool, calls = pool_of(kind), CALLS[kind]

    def run() -> None:
        futures = [pool.submit(tiny.echo, 1) for _ in range(calls)]
        _, left = standard.wait(futures, return_when=standard.FIRST_EXCEPTION)
        for future in left:
            future.cancel()
        for future in futures:
            future.result()

    return seconds(run) / calls * 1e6


def an_empty_block() -> float:
    """A scope without a call."""
    pool, blocks = pool_of("thread"), 2_000

    def run() -> None:
        for _ in range(blocks):
            with corefutures.scope(pool):
                pass

    return seconds(run) / blocks * 1e6


def scopes() -> Iterator[Row]:
    for kind in kinds():
        yield Row(
            what=f"a call in a scope beside submit: {kind}",
            unit="µs a call",
            ours=functools.partial(scoped, kind),
            against=functools.partial(plain, kind),
            at_most=1.0 if kind == "thread" else None,
            others={"wait(FIRST_EXCEPTION), cancel the rest": functools.partial(stopping_by_hand, kind)},
        )
    yield Row(what="a block without a call", unit="µs a block", ours=an_empty_block)


# ── completions ──────────────────────────────────────────────────────────────────────────────────────────────


def completing(total: int) -> float:
    """A crawler's loop with 16 futures at a time; returns the microseconds for each."""
    pool = pool_of("thread")

    def run() -> None:
        left = total - 16
        futures = corefutures.completions([pool.submit(tiny.echo, 1) for _ in range(16)])
        for future in futures:
            future.result()
            if left:
                left -= 1
                futures.add(pool.submit(tiny.echo, 1))

    return seconds(run) / total * 1e6


def waiting(total: int) -> float:
    """The same with the standard library: `wait` for the first of those that are left, again and again."""
    pool = pool_of("thread")

    def run() -> None:
        left = total - 16
        pending = {pool.submit(tiny.echo, 1) for _ in range(16)}
        while pending:
            done, pending = standard.wait(pending, return_when=standard.FIRST_COMPLETED)
            for future in done:
                future.result()
                if left:
                    left -= 1
                    pending.add(pool.submit(tiny.echo, 1))

    return seconds(run) / total * 1e6


def completion_rows() -> Iterator[Row]:
    many = functools.partial(completing, 100_000)
    few = functools.partial(completing, 1_000)
    # That it costs at most 1.2 times as much is: the few go at least 1 / 1.2 times into the many.
    yield Row(
        what="a future of 100,000 beside one of 1,000, window of 16", unit="µs each", ours=many, against=few,
        at_least=1 / 1.2, rounds=5,
    )  # fmt: skip
    yield Row(
        what="completions beside wait(FIRST_COMPLETED)", unit="µs each", ours=few,
        against=functools.partial(waiting, 1_000),
    )  # fmt: skip


# ── imap ─────────────────────────────────────────────────────────────────────────────────────────────────────


def mapped(kind: str, ordered: bool) -> float:
    """Results of calls over an input that is taken lazily; returns the microseconds for each."""
    pool, calls = pool_of(kind), CALLS[kind]
    return seconds(lambda: deque(corefutures.imap(pool, abs, range(calls), ordered=ordered), 0)) / calls * 1e6


def windowed(kind: str) -> float:
    """What people write: a deque of futures, filled as results are taken."""
    pool, calls = pool_of(kind), CALLS[kind]

    def run() -> None:
        queue: deque[Any] = deque()
        for number in range(calls):
            queue.append(pool.submit(abs, number))
            if len(queue) == 64:
                queue.popleft().result()
        while queue:
            queue.popleft().result()

    return seconds(run) / calls * 1e6


def imap_rows() -> Iterator[Row]:
    for kind in kinds():
        loop: Callable[[], float] = functools.partial(windowed, kind)
        yield Row(
            what=f"imap, ordered, beside a deque of futures: {kind}", unit="µs an item", against=loop,
            ours=functools.partial(mapped, kind, True),
        )  # fmt: skip
        yield Row(
            what=f"imap, as calls end, beside the same: {kind}", unit="µs an item", against=loop,
            ours=functools.partial(mapped, kind, False),
        )  # fmt: skip


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Scopes: what a call costs", rows=scopes)
    yield Sheet(title="completions: does a future cost more among many?", rows=completion_rows)
    yield Sheet(title="imap: what an item costs", rows=imap_rows)
