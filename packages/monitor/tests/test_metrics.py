"""The metrics of `instrument`: how long calls wait and run, how they end, and what their pool has."""

from __future__ import annotations

import concurrent.futures
import gc
import importlib.util
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import corefutures
from corefutures import instrument
from corefutures_pools.instrumentation import instrumentation

pytest.importorskip("opentelemetry.sdk", reason="the extra corefutures[opentelemetry], and its SDK, are not installed")

from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

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
PREFIX = "corefutures.executor."


@pytest.fixture(autouse=True)
def nobody_listens_afterwards() -> Iterator[None]:
    yield
    instrumentation.always_enabled = instrumentation.enabled = False


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    provider = MeterProvider(metric_readers=[reader], shutdown_on_exit=False)
    yield provider
    provider.shutdown()


def metrics(reader: InMemoryMetricReader) -> dict[str, Any]:
    """The metrics by name, without the prefix."""
    data: Any = reader.get_metrics_data()
    return {
        metric.name.removeprefix(PREFIX): metric
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    metric = metrics(reader).get(name)
    return [] if metric is None else list(metric.data.data_points)


def numbers(reader: InMemoryMetricReader, name: str, attribute: str) -> dict[Any, int]:
    return {point.attributes[attribute]: point.value for point in points(reader, name)}


def fail() -> None:
    raise LookupError("not here")


def die() -> None:
    signal.raise_signal(signal.SIGKILL)


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_are_timed_and_counted(backend: str, provider: MeterProvider, reader: InMemoryMetricReader) -> None:
    with instrument(corefutures.create_executor(backend, max_workers=1), meter_provider=provider) as executor:
        assert executor.submit(pow, 2, 3).result(timeout=30) == 8
        with pytest.raises(LookupError):
            executor.submit(fail).result(timeout=30)
    seen = metrics(reader)
    assert {"task.wait_time": "s", "task.duration": "s", "task.ended": "{task}"}.items() <= {
        name: metric.unit for name, metric in seen.items()
    }.items()
    waits, durations = (
        {point.attributes["code.function.name"]: point for point in seen[name].data.data_points}
        for name in ("task.wait_time", "task.duration")
    )
    assert {name: point.count for name, point in waits.items()} == {"pow": 1, "fail": 1}
    assert all(0 <= point.sum < 60 for point in [*waits.values(), *durations.values()])
    assert durations["pow"].attributes["corefutures.outcome"] == "returned"
    assert "error.type" not in durations["pow"].attributes
    assert durations["fail"].attributes["corefutures.outcome"] == "raised"
    assert durations["fail"].attributes["error.type"] == "LookupError"
    assert durations["pow"].explicit_bounds[0] == 1e-5
    assert {point.attributes["corefutures.outcome"]: point.value for point in seen["task.ended"].data.data_points} == {
        "returned": 1,
        "raised": 1,
    }


@pytest.mark.parametrize("backend", ["thread", pytest.param("process", marks=with_processes)])
def test_the_pool_is_read_when_it_is_asked_for(
    backend: str, provider: MeterProvider, reader: InMemoryMetricReader, tmp_path: Any
) -> None:
    gate = tmp_path / "gate"
    pool: Any = corefutures.create_executor(backend, max_workers=2)
    with instrument(pool, meter_provider=provider) as executor:
        running = [executor.submit(wait_for, str(gate), str(tmp_path / f"began{number}")) for number in range(2)]
        while not all((tmp_path / f"began{number}").exists() for number in range(2)):
            threading.Event().wait(0.005)
        waiting = [executor.submit(pow, 2, 3) for _ in range(3)]
        executor.submit(pow, 1, 1).cancel()
        counts = {
            name: numbers(reader, name, "corefutures.executor").popitem()[1]
            for name in ("queue.size", "task.active", "worker.count", "worker.max", "worker.lost")
        }
        assert counts == {"queue.size": 3, "task.active": 2, "worker.count": 2, "worker.max": 2, "worker.lost": 0}
        gate.touch()
        for future in [*running, *waiting]:
            future.result(timeout=30)
    ended = {
        (point.attributes["code.function.name"], point.attributes["corefutures.outcome"]): point.value
        for point in points(reader, "task.ended")
    }
    assert ended == {("wait_for", "returned"): 2, ("pow", "returned"): 3, ("pow", "cancelled"): 1}
    assert numbers(reader, "queue.size", "corefutures.executor").popitem()[1] == 0
    assert numbers(reader, "worker.count", "corefutures.executor").popitem()[1] == 0
    pools = len(points(reader, "queue.size"))
    del pool, executor, future, running, waiting
    gc.collect()
    assert len(points(reader, "queue.size")) < pools  # a pool that is gone is not told of


def wait_for(gate: str, began: str) -> None:
    import pathlib

    pathlib.Path(began).touch()
    while not pathlib.Path(gate).exists():
        threading.Event().wait(0.005)


@with_processes
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals that kill")
def test_losses_are_counted(provider: MeterProvider, reader: InMemoryMetricReader) -> None:
    pool = corefutures.create_executor("process", max_workers=1, on_worker_loss="replace")
    with instrument(pool, meter_provider=provider) as executor:
        with pytest.raises(corefutures.WorkerLostError):
            executor.submit(die).result(timeout=30)
        assert executor.submit(pow, 2, 3).result(timeout=30) == 8
        assert numbers(reader, "worker.lost", "corefutures.executor").popitem()[1] == 1
    assert numbers(reader, "task.ended", "corefutures.outcome") == {"lost": 1, "returned": 1}
    assert numbers(reader, "task.ended", "code.function.name") == {"die": 1, "pow": 1}


def test_refused_calls_are_counted(provider: MeterProvider, reader: InMemoryMetricReader) -> None:
    executor = instrument(corefutures.create_executor("thread", max_workers=1), meter_provider=provider)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(fail)
    assert numbers(reader, "task.rejected", "error.type") == {"RuntimeError": 1}
    assert not points(reader, "task.ended")


def test_views_and_map_count_as_their_pool(provider: MeterProvider, reader: InMemoryMetricReader) -> None:
    pool = corefutures.create_executor("thread", max_workers=2, thread_name_prefix="viewed")
    with instrument(pool, meter_provider=provider) as executor:
        assert list(executor.map(abs, [-1, 2])) == [1, 2]
        assert executor.options(name="named").submit(abs, -3).result(timeout=30) == 3  # type: ignore[attr-defined]
        assert list(numbers(reader, "worker.max", "corefutures.executor").values()) == [2]
    (point,) = points(reader, "task.ended")
    assert point.value == 3
    assert point.attributes["corefutures.executor"].startswith("viewed")


def test_an_adapted_executor_has_no_counts_of_its_workers(
    provider: MeterProvider, reader: InMemoryMetricReader
) -> None:
    with instrument(concurrent.futures.ThreadPoolExecutor(1), meter_provider=provider) as executor:
        assert executor.submit(abs, -1).result(timeout=30) == 1
    assert numbers(reader, "task.ended", "corefutures.outcome") == {"returned": 1}
    assert not points(reader, "queue.size")


def test_executors_of_one_provider_share_their_instruments(
    provider: MeterProvider, reader: InMemoryMetricReader, caplog: pytest.LogCaptureFixture
) -> None:
    names = []
    for _ in range(2):
        pool = corefutures.create_executor("thread", max_workers=1)
        executor = instrument(pool, meter_provider=provider)
        executor.submit(abs, -1).result(timeout=30)
        names.append(executor)
    assert len(numbers(reader, "worker.count", "corefutures.executor")) == 2
    assert len(numbers(reader, "task.ended", "corefutures.executor")) == 2
    assert not caplog.records
    for executor in names:
        executor.shutdown()


def test_what_is_no_provider_is_refused() -> None:
    with (
        corefutures.create_executor("thread", max_workers=1) as executor,
        pytest.raises(TypeError, match="meter_provider must be a MeterProvider"),
    ):
        instrument(executor, meter_provider="no provider")  # type: ignore[arg-type]
    with instrument(corefutures.create_executor("thread"), meter_provider=NoOpMeterProvider()) as executor:
        assert executor.submit(abs, -1).result(timeout=30) == 1


def test_the_global_provider_may_be_set_later() -> None:
    program = """
        import corefutures
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        early = corefutures.instrument(corefutures.create_executor("thread", max_workers=1))
        early.submit(abs, -1).result(timeout=30)
        reader = InMemoryMetricReader()
        metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
        late = corefutures.instrument(corefutures.create_executor("thread", max_workers=1))
        for executor in (early, late):
            executor.submit(abs, -1).result(timeout=30)
        for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
            if metric.name.endswith(("worker.count", "task.ended")):
                print(metric.name, sorted(point.value for point in metric.data.data_points))
        early.shutdown()
        late.shutdown()
    """
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "corefutures.executor.task.ended [1, 1]",
        "corefutures.executor.worker.count [1, 1]",
    ]
    assert "Overriding" not in done.stderr, done.stderr
