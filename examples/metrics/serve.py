"""Pools whose metrics Prometheus reads, and a page that shows them.

    python examples/metrics/serve.py --port 8000         works until Ctrl-C: / is the page, /metrics is for Prometheus
    python examples/metrics/serve.py --page pools.html   works for a moment, and writes the page with what was measured

Needs `pip install opentelemetry-sdk opentelemetry-exporter-prometheus`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import sys
import threading
from concurrent.futures import Future, wait
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider

import corefutures

# Imported so that type checkers do without what only `make tools` installs.
PrometheusMetricReader = import_module("opentelemetry.exporter.prometheus").PrometheusMetricReader
prometheus = import_module("prometheus_client")

DASHBOARD = Path(__file__).with_name("dashboard.html")


def fetch(seconds: float) -> int:
    """Waits, as for an answer of the network; one answer in fifty never comes."""
    if random.random() < 0.02:
        raise TimeoutError("no answer")
    threading.Event().wait(seconds)
    return len(str(seconds))


def digest(size: int) -> str:
    """Computes."""
    return hashlib.sha256(bytes(size)).hexdigest()


def compress(size: int) -> int:
    """Computes more."""
    import zlib

    return len(zlib.compress(random.randbytes(size), 6))


def run_out_of_memory() -> None:
    """Ends its worker, as the kernel does it to a process that takes too much."""
    os._exit(1)


def work(pools: list[corefutures.Executor], rounds: int | None, ends: threading.Event) -> None:
    """Submits calls in bursts, as requests come."""
    threads, processes = pools
    done = 0
    while not ends.is_set() and (rounds is None or done < rounds):
        futures: list[Future[Any]] = [threads.submit(fetch, random.expovariate(100)) for _ in range(40)]
        futures += [processes.submit(digest, random.randrange(1 << 20)) for _ in range(20)]
        futures += [processes.submit(compress, random.randrange(1 << 17)) for _ in range(10)]
        if done % 10 == 3:
            futures.append(processes.submit(run_out_of_memory))
        wait(futures)
        done += 1


class Handler(BaseHTTPRequestHandler):
    """Answers with the page, or with the metrics in the text format of Prometheus."""

    def do_GET(self) -> None:
        if self.path == "/metrics":
            kind, body = prometheus.CONTENT_TYPE_LATEST, prometheus.generate_latest()
        elif self.path == "/":
            kind, body = "text/html; charset=utf-8", DASHBOARD.read_bytes()
        else:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name is that of the base class)
        """Prints nothing."""


def page(text: str) -> str:
    """The page, with the metrics in it."""
    return DASHBOARD.read_text(encoding="utf-8").replace("<!--METRICS-->", text.replace("<", "&lt;"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8000, help="where to serve (8000); 0 takes a free one")
    parser.add_argument("--page", metavar="FILE", type=Path, help="write the page, and serve nothing")
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    random.seed(parsed.seed)

    metrics.set_meter_provider(MeterProvider(metric_readers=[PrometheusMetricReader()]))
    threads = corefutures.create_executor("thread", max_workers=8, thread_name_prefix="network")
    processes = corefutures.create_executor("process", max_workers=2, on_worker_loss="replace")
    with corefutures.instrument(threads) as network, corefutures.instrument(processes) as computing:
        if parsed.page is not None:
            work([network, computing], 5, threading.Event())
            parsed.page.write_text(page(prometheus.generate_latest().decode()), encoding="utf-8")
            return 0
        ends = threading.Event()
        worker = threading.Thread(target=work, args=([network, computing], None, ends))
        worker.start()
        with ThreadingHTTPServer(("127.0.0.1", parsed.port), Handler) as server:
            print(f"http://127.0.0.1:{server.server_port}/", flush=True)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                pass
            finally:
                ends.set()
                worker.join()
    return 0


if __name__ == "__main__":
    sys.exit(main())
