"""What calls cost in memory: those that wait, and those of a long `map`."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

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


#: Its own program: CPython gives each future a place for every attribute that any future of its class has had.
PROGRAM = """
import threading, tracemalloc
from corefutures_thread import ThreadPoolExecutor

calls, release = 20_000, threading.Event()
with ThreadPoolExecutor(1) as pool:
    pool.submit(release.wait, 60)
    futures = [pool.submit(abs, -1) for _ in range(100)]
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for item in range(calls):
        futures.append(pool.submit(abs, item))
    print((tracemalloc.get_traced_memory()[0] - before) / calls)
    release.set()
"""


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="on a free-threaded build every object is larger, and each future has a lock of its own",
)
def test_a_pending_call_takes_at_most_250_bytes() -> None:
    printed = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, timeout=50).stdout
    assert float(printed) <= AT_MOST


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
