"""`instrument`: a span of OpenTelemetry for each call, whose context travels with it.

Touches `_adapting`, `_audience`, and `opentelemetry`, the extra of that name. Guarantees: a span is ended exactly once,
however its call ends; no worker needs to be configured.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from corefutures import Executor, adapt
from corefutures._adapting import check_adaptable
from corefutures._audience import audience, name_of, origin_of
from corefutures._isolated.chunks import run_chunk
from corefutures._options import not_callable, shown
from corefutures._originals import clock
from corefutures_monitor._span_context import InContext

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span, TracerProvider

    from corefutures import Future, Snapshot, Stats

_P = ParamSpec("_P")
_T = TypeVar("_T")


def instrument(executor: Any, /, *, tracer_provider: TracerProvider | None = None) -> Executor:
    """Return an executor that runs its calls by `executor`, and makes a span of OpenTelemetry for each.

    The span lasts from the submission of a call to its end, and has an event `started`, made when a worker began with
    it. Its parent is the span that was current where the call was submitted; in the call it is the current span itself,
    also in another process or interpreter. There the parts of the trace that the call makes are exported by what is
    configured there, in an `initializer` for instance; the call's own span is made and exported here.

    Args:
        executor: Any executor; `adapt` makes those of others ours.
        tracer_provider: Where the spans go; the global one if None.

    Returns:
        An executor whose `shutdown` shuts `executor` down.

    Raises:
        ImportError: OpenTelemetry is not installed: `pip install opentelemetry-api`.
        TypeError: `executor` is none, or `tracer_provider` no TracerProvider.

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
    if not isinstance(executor, Executor):
        check_adaptable("instrument", executor)
        executor = adapt(executor)
    audience.always = audience.present = True  # who began with a call and when is asked of workers from now on
    return InstrumentedExecutor(executor, trace.get_tracer("corefutures", tracer_provider=tracer_provider))


class InstrumentedExecutor(Executor):
    """The executor that `instrument` returns.

    Thread safety: as the executor that runs the calls.
    """

    def __init__(self, executor: Executor, tracer: Any) -> None:
        self._instrumented = executor
        self._tracer = tracer

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Submit a call, in a span; see `Executor.submit`."""
        from opentelemetry.trace import set_span_in_context

        if not callable(fn):  # an annotation is no proof
            raise not_callable("submit", fn)
        viewed = getattr(self._instrumented, "_cf_viewed", self._instrumented)
        named = name_of(args[0] if fn is run_chunk else fn)
        span = self._tracer.start_span(
            getattr(self._instrumented, "_cf_name", None) or named,
            attributes={"code.function.name": named, "corefutures.executor": origin_of(viewed).name},
        )
        try:
            future: Future[_T] = self._instrumented.submit(InContext(fn, set_span_in_context(span)), *args, **kwargs)
        except BaseException as exc:
            _fail(span, exc)
            span.end()
            raise
        future.add_done_callback(partial(_end, span))
        return future

    def _cf_map(self, submit: Callable[..., Future[Any]], *rest: Any) -> Any:
        return self._instrumented._cf_map(submit, *rest)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, **options: Any) -> None:
        """Shut down the executor that runs the calls; see there."""
        self._instrumented.shutdown(wait, cancel_futures=cancel_futures, **options)

    def options(self, **options: Any) -> Executor:
        """Return a view with options, as the executor has them; its calls have spans as well."""
        return InstrumentedExecutor(self._instrumented.options(**options), self._tracer)

    def kill(self, future: Future[Any]) -> bool:
        """See `Executor.kill`."""
        return self._instrumented.kill(future)

    def request_cancel(self, future: Future[Any]) -> bool:
        """See `Executor.request_cancel`."""
        return self._instrumented.request_cancel(future)

    def stats(self) -> Stats:
        """See `Executor.stats`."""
        return self._instrumented.stats()

    def snapshot(self, *, timeout: float = 1.0) -> Snapshot:
        """See `Executor.snapshot`."""
        return self._instrumented.snapshot(timeout=timeout)


def _end(span: Span, future: Future[Any]) -> None:
    """End the span of a call that has ended."""
    call = getattr(future, "_cf_observed", None)
    finished = None
    if call is not None and call.note_end(future):
        finished = call.finished
        if call.started is not None:
            span.add_event("started", timestamp=_at(call.started))
        if call.worker is not None:
            span.set_attribute("corefutures.worker", call.worker)
        span.set_attribute("corefutures.outcome", call.outcome)
    if not future.cancelled() and (error := future.exception()) is not None:
        _fail(span, error)
    span.end(None if finished is None else _at(finished))


def _fail(span: Span, error: BaseException) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"))


def _at(moment: float) -> int:
    """Convert a time of `time.perf_counter` to nanoseconds since the epoch."""
    return clock.time_ns() - int((clock.perf_counter() - moment) * 1e9)
