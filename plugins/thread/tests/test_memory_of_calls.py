"""What calls cost in memory: those that wait, and those of a long `map`."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from corefutures_thread import ThreadPoolExecutor

#: Bytes for each pending call, its argument and the references to its future included.
AT_MOST = 250


@contextmanager
def traced() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="on a free-threaded build every object is larger, and each future has a lock of its own",
)
def test_a_pending_call_takes_at_most_250_bytes() -> None:
    calls, release = 20_000, threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(release.wait, 60)
        futures: list[Any] = [pool.submit(abs, -1) for _ in range(100)]  # the class knows its attributes now
        with traced():
            try:
                before = tracemalloc.get_traced_memory()[0]
                for item in range(calls):
                    futures.append(pool.submit(abs, item))  # noqa: PERF401 - the list is measured with it
                cost = (tracemalloc.get_traced_memory()[0] - before) / calls
            finally:
                release.set()
        assert cost <= AT_MOST
        assert [future.result() for future in futures[100:]] == list(range(calls))


def test_a_map_with_a_buffer_keeps_no_more_than_the_buffer() -> None:
    """However long the input is: the memory after 20,000 calls is that after 200."""
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(abs, iter(range(20_000)), buffersize=32)
        with traced():
            for _ in range(200):
                next(results)
            tracemalloc.reset_peak()
            early = tracemalloc.get_traced_memory()[0]
            assert sum(1 for _ in results) == 19_800
            assert tracemalloc.get_traced_memory()[1] - early < 20_000 * AT_MOST / 10
