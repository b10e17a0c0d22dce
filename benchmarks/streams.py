"""Streams: what an item costs, beside a queue and a sentinel written by hand.

One worker, items that are small integers; the consumer does nothing with them. The queues have as many places as the
stream's buffer. `multiprocessing.Queue` pickles in a thread of its own in the worker, and that is what many programs
do by hand.
"""

from __future__ import annotations

import multiprocessing
import queue
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import corefutures
from benchmarks.measuring import Row, Sheet, seconds

ITEMS = 20_000
BUFFERS = (100, 1_000, 1)


def numbers(end: int) -> Iterator[int]:
    yield from range(end)


def put_numbers(items: Any, end: int) -> None:
    for number in numbers(end):
        items.put(number)
    items.put(None)


def take(items: Any) -> None:
    while items.get() is not None:
        pass


def count_for(buffer: int) -> int:
    return ITEMS if buffer > 1 else ITEMS // 10


def stream(kind: str, buffer: int) -> float:
    """Takes a stream to its end; returns the microseconds for each item."""
    count = count_for(buffer)
    options: dict[str, Any] = {}
    if kind == "process":
        options["mp_context"] = multiprocessing.get_context("spawn")
    create: Any = corefutures.create_executor  # by a name that no type checker knows: not every executor has `stream`
    with create(kind, max_workers=1, **options) as pool:
        for _ in pool.stream(numbers, 10):
            pass

        def run() -> None:
            for _ in pool.stream(numbers, count, buffer=buffer):
                pass

        return seconds(run) / count * 1e6


def queue_of_threads(buffer: int) -> float:
    """The same by hand, between two threads."""
    count = count_for(buffer)
    items: queue.Queue[int | None] = queue.Queue(buffer)
    producer = threading.Thread(target=put_numbers, args=(items, count))
    producer.start()
    cost = seconds(lambda: take(items)) / count * 1e6
    producer.join()
    return cost


def queue_of_processes(buffer: int) -> float:
    """The same by hand, between two processes."""
    count = count_for(buffer)
    context = multiprocessing.get_context("spawn")
    items: Any = context.Queue(buffer)
    producer = context.Process(target=put_twice, args=(items, count))
    producer.start()
    take(items)  # the process has started then
    cost = seconds(lambda: take(items)) / count * 1e6
    producer.join()
    return cost


def put_twice(items: Any, count: int) -> None:
    put_numbers(items, 10)
    put_numbers(items, count)


def streams(kind: str) -> Iterator[Row]:
    for buffer in BUFFERS:
        yield Row(
            what=f"an item of a stream: {kind}, buffer={buffer}",
            unit="µs an item",
            ours=partial(stream, kind, buffer),
            against=partial(queue_of_threads if kind == "thread" else queue_of_processes, buffer),
        )


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Streams of a thread, beside queue.Queue", rows=partial(streams, "thread"))
    yield Sheet(title="Streams of a process, beside multiprocessing.Queue", rows=partial(streams, "process"))
    if sys.version_info >= (3, 14):
        yield Sheet(
            title="Streams of an interpreter, beside multiprocessing.Queue", rows=partial(streams, "interpreter")
        )
