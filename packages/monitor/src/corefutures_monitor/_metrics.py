"""The metrics of `instrument`: histograms of calls, recorded as they end, and counts of pools, read when asked for.

Touches `opentelemetry`, and the counts of pools. Guarantees: without a MeterProvider nothing is recorded; no pool is
kept alive; the instruments of a MeterProvider are made once, as its SDK would ignore the callbacks of a second set.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from corefutures.backend import UnsupportedError
from corefutures_pools.blocking import threading
from corefutures_pools.foreign_code import LiveObjects, class_name
from corefutures_pools.instrumentation import executor_info

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider, Observation

    from corefutures_pools import CallRecord
    from corefutures_pools.executor import PoolExecutor
    from corefutures_pools.stats import Stats

#: Attributes of spans and metrics. `code.function.name` and `error.type` are stable semantic conventions.
EXECUTOR: Final = "corefutures.executor"
FUNCTION: Final = "code.function.name"
OUTCOME: Final = "corefutures.outcome"
_ERROR: Final = "error.type"

#: Seconds that divide the classes of both histograms: from a tiny call in a thread to one of minutes.
_BOUNDARIES: Final = (
    1e-5, 1e-4, 1e-3, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip


class Metrics:
    """The instruments of one MeterProvider.

    The conventions for executors are those of the JVM (`jvm.executor.*`), whose names these follow after the prefix.

    Thread safety: every method may be called from any thread.
    """

    def __init__(self, meter: Meter) -> None:
        self._pools = LiveObjects()  # whose counts are observed
        self._waits = meter.create_histogram(
            "corefutures.executor.task.wait_time",
            "s",
            "Time from the submission of a call until a worker starts it.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._durations = meter.create_histogram(
            "corefutures.executor.task.duration",
            "s",
            "Time for which a call runs.",
            explicit_bucket_boundaries_advisory=_BOUNDARIES,
        )
        self._ended = meter.create_counter(
            "corefutures.executor.task.ended", "{task}", "Calls that have ended, by their outcomes."
        )
        self._rejected = meter.create_counter(
            "corefutures.executor.task.rejected", "{task}", "Calls that submit refused."
        )
        observe, count = self._observe, meter.create_observable_up_down_counter
        count("corefutures.executor.queue.size", [observe(_waiting)], "{task}", "Calls that wait for a worker.")
        count("corefutures.executor.task.active", [observe(_running)], "{task}", "Calls that run.")
        count("corefutures.executor.worker.count", [observe(_workers)], "{worker}", "Workers that are alive.")
        count("corefutures.executor.worker.max", [observe(_max_workers)], "{worker}", "Most workers that may be alive.")
        meter.create_observable_counter(
            "corefutures.executor.worker.lost", [observe(_lost)], "{worker}", "Workers that ended without being asked."
        )

    def observe(self, pool: PoolExecutor) -> None:
        """Observe the counts of a pool as long as it lives; one that does not count has none."""
        try:
            pool.stats()
        except UnsupportedError:
            return
        self._pools.add(pool)

    def call_ended(self, call: CallRecord, function: str) -> None:
        """Record a call that has ended."""
        attributes: dict[str, str] = {EXECUTOR: call.executor_info.name, FUNCTION: function}
        if call.started is not None:
            self._waits.record(max(0.0, call.started - call.submitted), attributes)
        assert call.outcome is not None
        attributes[OUTCOME] = call.outcome
        if call.error is not None:
            attributes[_ERROR] = call.error
        if call.started is not None and call.finished is not None:
            self._durations.record(max(0.0, call.finished - call.started), attributes)
        self._ended.add(1, attributes)

    def call_refused(self, executor: str, function: str, error: BaseException) -> None:
        """Record a call that `submit` refused."""
        self._rejected.add(1, {EXECUTOR: executor, FUNCTION: function, _ERROR: class_name(error)})

    def _observe(self, read: Callable[[Any, Stats], int]) -> Callable[[CallbackOptions], Iterator[Observation]]:
        from opentelemetry.metrics import Observation

        pools = self._pools

        def callback(_: CallbackOptions) -> Iterator[Observation]:
            for pool in pools.all():
                yield Observation(read(pool, pool.stats()), {EXECUTOR: executor_info(pool).name})

        return callback


def _waiting(_: Any, stats: Stats) -> int:
    return stats.waiting


def _running(_: Any, stats: Stats) -> int:
    return stats.running


def _workers(_: Any, stats: Stats) -> int:
    return stats.workers


def _lost(_: Any, stats: Stats) -> int:
    return stats.lost_workers


def _max_workers(pool: Any, stats: Stats) -> int:
    return getattr(pool, "_max_workers", stats.workers)  # the name that `concurrent.futures` gave it


# Guards the two below: a MeterProvider gets one set of instruments. Nothing of ours is called under it. Reentrant,
# because a signal handler may interrupt its holder.
_lock = threading.RLock()
_of_providers: WeakKeyDictionary[Any, Metrics] = WeakKeyDictionary()
_of_global: Metrics | None = None


def metrics_of(provider: MeterProvider | None) -> Metrics:
    """Return the instruments of a MeterProvider; of the global one, which may be set later, if it is None."""
    global _of_global
    from opentelemetry.metrics import get_meter_provider

    current = get_meter_provider()
    provider = current if provider is None else provider
    with _lock:
        known = _of_providers.get(provider)
        if known is None and provider is current:
            known = _of_global  # made before the provider was set: the API has made its instruments real since
        if known is None:
            known = Metrics(provider.get_meter("corefutures"))
        if provider is current:
            _of_global = known
        _of_providers[provider] = known
        return known


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
