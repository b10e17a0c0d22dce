"""Bytecode instructions of a tiny call: of `submit` in the caller's thread, and of the worker. No clock, so no noise.

`sys.monitoring` counts them, which needs Python 3.12 and nothing else. A figure depends on the version of Python alone;
`make bench` writes them to benchmarks/results/instructions.json, and a test compares.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from typing import Any

import corefutures
from benchmarks import tiny
from benchmarks.measuring import Row, Sheet

CALLS = 200
#: Of several tries the least: a worker may have been idle for a moment in one of them.
TRIES = 3
BACKENDS = ("thread", "process", *(("interpreter",) if sys.version_info >= (3, 14) else ()))
TOOL = 4

#: Ident of a thread → the instructions that it has run.
counts: dict[int, int] = {}


def _count(code: Any, offset: int) -> Any:
    if code.co_filename == __file__:
        return sys.monitoring.DISABLE  # type: ignore[attr-defined, unused-ignore]
    ident = threading.get_ident()
    counts[ident] = counts.get(ident, 0) + 1
    return None


def begin() -> None:
    """Counts from now on, in this interpreter."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    counts.clear()
    monitoring.use_tool_id(TOOL, "corefutures benchmarks")
    monitoring.register_callback(TOOL, monitoring.events.INSTRUCTION, _count)
    monitoring.set_events(TOOL, monitoring.events.INSTRUCTION)


def end() -> int:
    """Stops, and returns how many instructions this thread has run."""
    monitoring: Any = sys.monitoring  # type: ignore[attr-defined, unused-ignore]
    counted = counts.get(threading.get_ident(), 0)
    monitoring.set_events(TOOL, 0)
    monitoring.register_callback(TOOL, monitoring.events.INSTRUCTION, None)
    monitoring.free_tool_id(TOOL)
    return counted


def of_submit(pool: Executor) -> float:
    held = pool.submit(tiny.pause, 0.2)
    submit = pool.submit
    begin()
    try:
        futures = [submit(tiny.nothing) for _ in range(CALLS)]
    finally:
        counted = end()
    for future in (held, *futures):
        future.result()
    return float(counted / CALLS)


def of_worker(pool: Executor) -> float:
    held = pool.submit(tiny.pause, 0.2)
    functions: tuple[Callable[[], Any], ...] = (begin, *[tiny.nothing] * CALLS, end)
    calls = [pool.submit(fn) for fn in functions]
    for future in (held, *calls):
        future.result()
    counted: Any = calls[-1].result()
    return float(counted / CALLS)


def least(backend: str, measure: Callable[[Executor], float]) -> float:
    with corefutures.create_executor(backend, max_workers=1) as pool:
        for _ in range(50):
            pool.submit(tiny.nothing).result()  # what the first calls import and learn is not counted
        return min(measure(pool) for _ in range(TRIES))


def rows() -> Iterator[Row]:
    for backend in BACKENDS:
        for what, measure in {"submit": of_submit, "the worker": of_worker}.items():
            yield Row(
                what=f"{backend}: {what}",
                unit="instructions a call",
                ours=lambda backend=backend, measure=measure: least(backend, measure),  # type: ignore[misc]
            )


def sheets() -> Iterator[Sheet]:
    if hasattr(sys, "monitoring"):
        yield Sheet(title="Bytecode instructions of a tiny call", rows=rows)
