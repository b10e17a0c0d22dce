"""What control costs those who ask for it: a pool with an option beside the very same pool without.

Two workers, calls that do nothing. What it costs those who don't ask is in the other suites, which measure pools
without options: `thread`, `process`, `interpreter`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import partial
from multiprocessing import get_context
from typing import Any

import corefutures
from benchmarks import tiny
from benchmarks.measuring import Row, Sheet, seconds

WORKERS = 2
CALLS = {"thread": 20_000, "process": 4_000}

tenant: ContextVar[str] = ContextVar("tenant", default="nobody")
TENANT = "benchmarks.control:tenant"


def cost(kind: str, view: Callable[[Any], Any] = lambda pool: pool, **options: Any) -> float:
    """Submits calls, waits for all of them; returns the microseconds for each."""
    calls = CALLS[kind]
    if kind == "process":
        options["mp_context"] = get_context("spawn")

    def run() -> None:
        futures = [submit(tiny.echo, 1) for _ in range(calls)]
        for future in futures:
            future.result()

    with corefutures.create_executor(kind, max_workers=WORKERS, **options) as pool:
        for future in [pool.submit(tiny.pause, 0.05) for _ in range(WORKERS)]:
            future.result()
        submit = view(pool).submit
        return seconds(run) / calls * 1e6


def asking(kind: str, asks: bool) -> float:
    """A call that asks whether it should stop, or does nothing, many times; returns the microseconds for each."""
    with corefutures.create_executor(kind, max_workers=1) as pool:
        return float(pool.submit(ask if asks else ask_nothing, 50_000).result())


def ask(times: int) -> float:
    asked = corefutures.cancel_requested
    return seconds(lambda: [asked() for _ in range(times)]) / times * 1e6


def ask_nothing(times: int) -> float:
    return seconds(lambda: [tiny.nothing() for _ in range(times)]) / times * 1e6  # type: ignore[func-returns-value]


def pools(kind: str) -> Iterator[Row]:
    plain = partial(cost, kind)
    unit = "µs a call"

    def row(what: str, ours: Callable[[], float]) -> Row:
        return Row(what=what, unit=unit, ours=ours, against=plain)

    yield row("nothing: the same twice", plain)
    yield row("options(name=…)", lambda: cost(kind, lambda pool: pool.options(name="name")))
    yield row("max_pending=, with room", lambda: cost(kind, max_pending=1_000_000))
    yield row('max_pending=100, when_full="block"', lambda: cost(kind, max_pending=100))
    yield row("context=[one name]", lambda: cost(kind, context=[TENANT]))
    if kind == "thread":
        yield row('context="copy"', lambda: cost(kind, context="copy"))
    else:
        yield row("options(timeout=…)", lambda: cost(kind, lambda pool: pool.options(timeout=60)))
    yield Row(
        what="cancel_requested() beside an empty function",
        unit="µs each",
        ours=lambda: asking(kind, True),
        against=lambda: asking(kind, False),
    )


def stats() -> Iterator[Row]:
    create: Any = corefutures.create_executor  # by a name that no type checker knows: not every executor has `stats`

    def told(kind: str) -> float:
        with create(kind, max_workers=WORKERS) as pool:
            pool.submit(tiny.nothing).result()
            return seconds(lambda: [pool.stats() for _ in range(1_000)]) / 1_000 * 1e6

    for kind in CALLS:
        yield Row(what=f"stats() of an idle pool: {kind}", unit="µs each", ours=partial(told, kind))


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Control: what it costs a call in a thread", rows=partial(pools, "thread"))
    yield Sheet(title="Control: what it costs a call in a process", rows=partial(pools, "process"))
    yield Sheet(title="Control: asking the pool", rows=stats)
