"""What `adapt` adds to a call of the executor behind it: the same pools of the standard library, bare and adapted.

`one by one`: the result of each call is waited for before the next one, so that the figure is what a call has to pay;
the median of the calls, so that those don't count during which another program had the processor.
`many at once`: with `max_workers`, workers wait for the thread that hands calls over, which `one by one` does not need.
"""

from __future__ import annotations

import concurrent.futures as standard
import functools
import statistics
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from typing import Any

from benchmarks import tiny
from benchmarks.measuring import Row, Sheet, seconds
from corefutures import adapt
from corefutures.backend import Capabilities

WORKERS = 2
#: Many short rounds: what else goes on in the system changes between them more than within.
ROUNDS = 51
CALLS = {"thread": 200, "process": 100}
#: How much `adapt` may add to a call, in microseconds.
AT_MOST = 25
THREADS = Capabilities(same_process=True, shares_memory=True)
#: The ways of adapting, by kind of pool: what is shown → the options.
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "thread": {
        "adapt(…)": {},
        "adapt(…, max_workers)": {"max_workers": WORKERS},
        "adapt(…, initializer)": {"initializer": int, "capabilities": THREADS},
    },
    "process": {
        "adapt(…)": {},
        "adapt(…, serializer)": {"serializer": "cloudpickle"},
        "adapt(…, max_workers, serializer)": {"max_workers": WORKERS, "serializer": "cloudpickle"},
    },
}


@functools.cache
def pool_of(kind: str, way: str) -> Any:
    """The pool of the rows, warm; it ends with the program."""
    pool: Any
    if kind == "thread":
        pool = standard.ThreadPoolExecutor(WORKERS)
    else:
        pool = standard.ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn"))
    if way:
        pool = adapt(pool, **WAYS[kind][way])
    for future in [pool.submit(tiny.pause, 0.05) for _ in range(WORKERS)]:
        future.result()
    return pool


def one_by_one(kind: str, way: str) -> float:
    """Waits for each call; returns the microseconds of the median one."""
    pool = pool_of(kind, way)
    return statistics.median(seconds(lambda: pool.submit(tiny.echo, 1).result()) for _ in range(CALLS[kind])) * 1e6


def many_at_once(kind: str, way: str) -> float:
    """Submits calls, and waits for all of them; returns the microseconds for each."""
    pool, calls = pool_of(kind, way), CALLS[kind]

    def run() -> None:
        for future in [pool.submit(tiny.echo, 1) for _ in range(calls)]:
            future.result()

    return seconds(run) / calls * 1e6


def rows(block: Callable[[str, str], float], at_most: float | None) -> Iterator[Row]:
    for kind, ways in WAYS.items():
        for way in ways:
            yield Row(
                what=f"{kind}: {way}",
                unit="µs a call",
                ours=functools.partial(block, kind, way),
                against=functools.partial(block, kind, ""),
                at_most=at_most,
                rounds=ROUNDS,
            )


def sheets() -> Iterator[Sheet]:
    yield Sheet("adapt, beside the executor itself: one by one", lambda: rows(one_by_one, AT_MOST))
    yield Sheet("adapt, beside the executor itself: many at once", lambda: rows(many_at_once, None))
