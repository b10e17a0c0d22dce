"""`instrument`: one span for each call, wherever it runs, with the right parent, outcome and times."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import corefutures
from corefutures import Executor, instrument
from corefutures_pools.instrumentation import instrumentation

pytest.importorskip("opentelemetry.sdk", reason="the extra corefutures[opentelemetry], and its SDK, are not installed")

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

with_processes = pytest.mark.skipif(
    importlib.util.find_spec("corefutures_process") is None, reason="the process backend is not installed here"
)
BACKENDS = [
    "thread",
    pytest.param("process", marks=with_processes),
    pytest.param(
        "interpreter",
        marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="the interpreter backend needs Python 3.14"),
    ),
]


@pytest.fixture(autouse=True)
def nobody_listens_afterwards() -> Iterator[None]:
    yield
    instrumentation.always_enabled = instrumentation.enabled = False


@pytest.fixture
def exported() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def provider(exported: InMemorySpanExporter) -> TracerProvider:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    return provider


def current_ids() -> tuple[int, int]:
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    return context.trace_id, context.span_id


def fail() -> None:
    raise LookupError("not here")


def stay_on_the_line(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.recv(1)


def spans_of(exported: InMemorySpanExporter, name: str) -> list[Any]:
    return [span for span in exported.get_finished_spans() if span.name == name]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_runs_in_its_span(backend: str, provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    executor = instrument(corefutures.create_executor(backend, max_workers=1), tracer_provider=provider)
    with executor, provider.get_tracer("test").start_as_current_span("request") as request:
        seen = executor.submit(current_ids).result(timeout=30)
    (span,) = spans_of(exported, "current_ids")
    assert seen == (span.context.trace_id, span.context.span_id)
    assert span.parent.span_id == request.get_span_context().span_id
    assert span.attributes["corefutures.outcome"] == "returned"
    assert span.attributes["corefutures.worker"]
    assert span.attributes["corefutures.executor"]
    (started,) = span.events
    assert started.name == "started"
    assert span.start_time <= started.timestamp <= span.end_time


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_a_call_raises_is_in_its_span(
    backend: str, provider: TracerProvider, exported: InMemorySpanExporter
) -> None:
    executor = instrument(corefutures.create_executor(backend, max_workers=1), tracer_provider=provider)
    with executor, pytest.raises(LookupError):
        executor.submit(fail).result(timeout=30)
    (span,) = spans_of(exported, "fail")
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "LookupError: not here"
    assert span.attributes["corefutures.outcome"] == "raised"
    assert [event.attributes["exception.type"] for event in span.events if event.name == "exception"] == ["LookupError"]


def test_a_cancelled_call_ends_its_span(provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    go_on = threading.Event()
    with instrument(corefutures.create_executor("thread", max_workers=1), tracer_provider=provider) as executor:
        executor.submit(go_on.wait, 30)
        waiting = executor.submit(fail)
        assert waiting.cancel()
        go_on.set()
    (span,) = spans_of(exported, "fail")
    assert span.attributes["corefutures.outcome"] == "cancelled"
    assert span.status.status_code is StatusCode.UNSET
    assert not span.events


def test_a_call_that_is_refused_ends_its_span(provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    executor = instrument(corefutures.create_executor("thread", max_workers=1), tracer_provider=provider)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(fail)
    (span,) = spans_of(exported, "fail")
    assert span.status.status_code is StatusCode.ERROR


def test_each_attempt_has_a_span(provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    results = iter([OSError("not yet"), None])

    def succeed_the_second_time() -> str:
        if (error := next(results)) is not None:
            raise error
        return "done"

    with instrument(corefutures.create_executor("thread"), tracer_provider=provider) as executor:
        pool = executor.options(name="attempt", retries=2, backoff=0)  # type: ignore[attr-defined]
        assert pool.submit(succeed_the_second_time).result(timeout=30) == "done"
    spans = exported.get_finished_spans()
    assert [span.name for span in spans] == ["attempt", "attempt"]
    assert [span.status.status_code for span in spans] == [StatusCode.ERROR, StatusCode.UNSET]


def test_calls_in_map_and_with_options_have_spans(provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    with instrument(corefutures.create_executor("thread", max_workers=2), tracer_provider=provider) as executor:
        assert list(executor.map(abs, [-1, 2])) == [1, 2]
        assert executor.options(name="the answer").submit(abs, -42).result(timeout=30) == 42
        assert executor.stats().finished == 3
    assert len(spans_of(exported, "abs")) == 2
    (named,) = spans_of(exported, "the answer")
    assert named.attributes["code.function.name"] == "abs"


def test_foreign_executors_are_adapted(provider: TracerProvider, exported: InMemorySpanExporter) -> None:
    with instrument(concurrent.futures.ThreadPoolExecutor(1), tracer_provider=provider) as executor:
        assert isinstance(executor, Executor)
        trace_id, span_id = executor.submit(current_ids).result(timeout=30)
    (span,) = spans_of(exported, "current_ids")
    assert (trace_id, span_id) == (span.context.trace_id, span.context.span_id)
    with pytest.raises(TypeError, match="takes an executor"):
        instrument("no executor")


def test_the_callers_own_span_stays_current(provider: TracerProvider) -> None:
    executor = instrument(corefutures.create_executor("thread", max_workers=1), tracer_provider=provider)
    with executor, provider.get_tracer("test").start_as_current_span("request") as request:
        executor.submit(current_ids).result(timeout=30)
        assert trace.get_current_span() is request
    assert current_ids() == (0, 0)


def test_without_opentelemetry_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    executor = corefutures.create_executor("thread", max_workers=1)
    with executor, pytest.raises(ImportError, match="pip install opentelemetry-api"):
        instrument(executor)


def test_a_worker_without_opentelemetry_runs_the_call(
    monkeypatch: pytest.MonkeyPatch, provider: TracerProvider
) -> None:
    from corefutures_monitor import _span_context

    monkeypatch.setitem(sys.modules, "opentelemetry.propagate", None)
    assert _span_context._arrive(current_ids, {}) is current_ids


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_snapshot_names_the_function_and_not_what_carries_it(backend: str, provider: TracerProvider) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        instrument(corefutures.create_executor(backend, max_workers=1), tracer_provider=provider) as executor,
    ):
        listener.settimeout(30)
        executor.submit(stay_on_the_line, listener.getsockname()[1])
        line, _ = listener.accept()
        executor.submit(fail)
        seen = executor.snapshot(timeout=30)
        line.close()
    assert [call.name for call in seen.workers[0].calls] == ["stay_on_the_line"]
    assert seen.first_waiting == ("fail",)
