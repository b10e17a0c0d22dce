"""`instrument`: a span of OpenTelemetry for each call, whose context travels with it, and metrics of all calls.

Touches the adapter, the instrumentation, and `opentelemetry`, the extra of that name. Guarantees: a span is ended, and
its call counted, exactly once, however the call ends; no worker needs to be configured.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from corefutures import Executor
from corefutures.backend import clock, describe_error, shown
from corefutures_monitor._metrics import EXECUTOR, FUNCTION, OUTCOME, Metrics, metrics_of
from corefutures_monitor._span_context import InContext
from corefutures_pools.adapter import adapt, check_adaptable
from corefutures_pools.executor import ForwardingExecutor, OptionsView, PoolExecutor, with_retries
from corefutures_pools.instrumentation import executor_info, instrumentation, name_of
from corefutures_pools.options import not_callable
from corefutures_pools.workers.chunking import run_chunk

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from corefutures import Future

_P = ParamSpec("_P")
_T = TypeVar("_T")


def instrument(
    executor: Any, /, *, tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> Executor:
    """Return an executor that runs its calls by `executor`, and makes a span of OpenTelemetry for each, and metrics.

    The span lasts from the submission of a call to its end, and has an event `started`, made when a worker began with
    it. Its parent is the span that was current where the call was submitted; in the call it is the current span itself,
    also in another process or interpreter. There the parts of the trace that the call makes are exported by what is
    configured there, in an `initializer` for instance; the call's own span is made and exported here.

    The metrics are histograms of how long the calls wait and run, counts of the calls that ended, by their outcomes,
    and of those that were refused, and for pools that count their calls (`PoolExecutor.stats`) the length of the
    queue, the calls that run, the workers, and the workers that were lost.

    Args:
        executor: Any executor; `adapt` makes those of others ours.
        tracer_provider: Where the spans go; the global one if None.
        meter_provider: Where the metrics go; the global one if None.

    Returns:
        An executor whose `shutdown` shuts `executor` down.

    Raises:
        ImportError: OpenTelemetry is not installed: `pip install opentelemetry-api`.
        TypeError: `executor` is none, `tracer_provider` no TracerProvider, or `meter_provider` no MeterProvider.

    Thread safety: may be called from any thread.
    """
    try:
        from opentelemetry import trace
    except ImportError as exc:
        raise ImportError(
            "instrument() needs OpenTelemetry, which is not installed: pip install opentelemetry-api"
        ) from exc
    if tracer_provider is not None and not callable(getattr(tracer_provider, "get_tracer", None)):
        raise TypeError(
            f"tracer_provider must be a TracerProvider of OpenTelemetry or None, not {shown(tracer_provider)}"
        )
    if meter_provider is not None and not callable(getattr(meter_provider, "get_meter", None)):
        raise TypeError(f"meter_provider must be a MeterProvider of OpenTelemetry or None, not {shown(meter_provider)}")
    if not isinstance(executor, PoolExecutor):
        check_adaptable("instrument", executor)
        executor = adapt(executor)
    # From now on workers report which of them started a call, and when.
    instrumentation.always_enabled = instrumentation.enabled = True
    metrics = metrics_of(meter_provider)
    metrics.observe(_viewed(executor))
    return InstrumentedExecutor(executor, trace.get_tracer("corefutures", tracer_provider=tracer_provider), metrics)


class InstrumentedExecutor(ForwardingExecutor):
    """The executor that `instrument` returns.

    Thread safety: as the executor that runs the calls.
    """

    def __init__(self, executor: PoolExecutor, tracer: Any, metrics: Metrics) -> None:
        super().__init__(executor)
        self._tracer = tracer
        self._metrics = metrics

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Submit a call, in a span; see `Executor.submit`."""
        from opentelemetry.trace import set_span_in_context

        if not callable(fn):  # an annotation is no proof
            raise not_callable("submit", fn)
        named = name_of(args[0] if fn is run_chunk else fn)
        executor = executor_info(_viewed(self._cf_target)).name
        span = self._tracer.start_span(
            getattr(self._cf_target, "_cf_name", None) or named, attributes={FUNCTION: named, EXECUTOR: executor}
        )
        try:
            future: Future[_T] = self._cf_target.submit(InContext(fn, set_span_in_context(span)), *args, **kwargs)
        except BaseException as exc:
            _fail(span, exc)
            span.end()
            self._metrics.call_refused(executor, named, exc)
            raise
        future.add_done_callback(partial(_end, span, self._metrics, named))
        return future

    def options(self, **options: Any) -> Any:
        """Return a view with options, as the executor has them; its calls have spans as well, one for each attempt."""
        retrying = [options.pop(name, None) for name in ("retries", "retry_on", "backoff")]
        return with_retries(InstrumentedExecutor(super().options(**options), self._tracer, self._metrics), *retrying)


def _viewed(executor: PoolExecutor) -> PoolExecutor:
    return executor._cf_target if isinstance(executor, OptionsView) else executor


def _end(span: Span, metrics: Metrics, function: str, future: Future[Any]) -> None:
    """End the span of a call that has ended, and record the call."""
    call = getattr(future, "_cf_observed", None)
    finished = None
    if call is not None and call.record_end(future):
        finished = call.finished
        if call.started is not None:
            span.add_event("started", timestamp=_at(call.started))
        if call.worker is not None:
            span.set_attribute("corefutures.worker", call.worker)
        span.set_attribute(OUTCOME, call.outcome)
        metrics.call_ended(call, function)
    if not future.cancelled() and (error := future.exception()) is not None:
        _fail(span, error)
    span.end(None if finished is None else _at(finished))


def _fail(span: Span, error: BaseException) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, describe_error(error)))


def _at(moment: float) -> int:
    """Convert a time of `time.perf_counter` to nanoseconds since the epoch."""
    return clock.time_ns() - int((clock.perf_counter() - moment) * 1e9)
