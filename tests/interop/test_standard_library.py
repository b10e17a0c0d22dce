"""The rest of the standard library that takes executors and futures: ours go everywhere."""

from __future__ import annotations

import concurrent.futures as standard
import copy
import logging.handlers
import queue
import socketserver
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from races import LIMIT

import corefutures
from corefutures import Future, ThreadPoolExecutor, create_executor


def test_isinstance_checks_accept_ours() -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(int)
        assert isinstance(pool, standard.Executor)
        assert isinstance(pool, standard.ThreadPoolExecutor)
        assert isinstance(future, standard.Future)
        assert isinstance(future, Future)


def test_waiting_over_both_sorts_of_pools() -> None:
    with ThreadPoolExecutor(2) as ours, standard.ThreadPoolExecutor(2) as theirs:
        futures: list[Any] = [pool.submit(abs, -1) for pool in (ours, theirs) for _ in range(50)]
        for module in (standard, corefutures):
            assert module.wait(futures, LIMIT).not_done == set()
            assert set(module.as_completed(futures, LIMIT)) == set(futures)
    with pytest.raises(TimeoutError):
        list(standard.as_completed([Future()], timeout=0.001))


def test_code_written_for_the_standard_library_runs_unchanged() -> None:
    """The manual's own pattern, with the module taken from here."""
    program = """
with futures.ThreadPoolExecutor(max_workers=5) as executor:
    future_to_item = {executor.submit(pow, 2, item): item for item in range(20)}
    for future in futures.as_completed(future_to_item):
        results[future_to_item[future]] = future.result()
try:
    futures.Future().result(timeout=0)
except futures.TimeoutError:
    results["timeout"] = True
try:
    raise futures.BrokenExecutor
except futures.thread.BrokenThreadPool if hasattr(futures, "thread") else futures.BrokenExecutor:
    results["broken"] = True
except futures.BrokenExecutor:
    results["broken"] = True
"""
    results: list[dict[object, object]] = []
    for futures in (standard, corefutures):
        results.append({})
        exec(program, {"futures": futures, "results": results[-1]})
    assert results[0] == results[1]


def test_a_server_may_run_its_requests_in_a_pool() -> None:
    class Answering(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(threading.current_thread().name.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            pass

    class Pooled(socketserver.ThreadingMixIn, HTTPServer):
        pool = ThreadPoolExecutor(2, thread_name_prefix="serving")

        def process_request(self, request: Any, address: Any) -> None:
            self.pool.submit(self.process_request_thread, request, address)

    with Pooled(("127.0.0.1", 0), Answering) as server, server.pool:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with ThreadPoolExecutor(4) as asking:
            url = f"http://127.0.0.1:{server.server_port}/"
            answers = list(asking.map(lambda _: opener.open(url, timeout=LIMIT).read(), range(20)))
        server.shutdown()
        serving.join(LIMIT)
    assert all(answer.startswith(b"serving_") for answer in answers)


def test_logging_through_a_queue_from_calls() -> None:
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    logger = logging.getLogger("corefutures.tests.interop")
    logger.addHandler(handler := logging.handlers.QueueHandler(records))
    try:
        with ThreadPoolExecutor(3, thread_name_prefix="logging") as pool:
            list(pool.map(logger.warning, ["a call"] * 30))
    finally:
        logger.removeHandler(handler)
    assert records.qsize() == 30
    assert (records.get().threadName or "").startswith("logging_")


def test_an_executor_that_nobody_packaged() -> None:
    """`create_executor` over the standard library's own pool."""
    with create_executor("concurrent.futures:ThreadPoolExecutor", max_workers=2) as pool:
        futures = [pool.submit(abs, -number) for number in range(10)]
        assert [future.result() for future in corefutures.as_completed(futures, LIMIT)]
        assert corefutures.wait(futures, LIMIT).not_done == set()


def test_futures_cannot_be_copied_by_accident() -> None:
    """As the standard library's: what a thread may be waiting on has one identity."""
    for kind in (Future, standard.Future):
        with pytest.raises(TypeError):
            copy.deepcopy(kind())
