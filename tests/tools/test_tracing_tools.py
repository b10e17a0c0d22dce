"""OpenTelemetry, Sentry and Datadog: each call runs under what was current where it was submitted, as in the standard
pools, whose `submit` they replace."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import pytest

#: What each program begins with: `on` and `off` have the tool follow requests from thread to thread, or not;
#: `under(user, function)` is a request, `current` says whose it is.
TOOLS = {
    "opentelemetry.instrumentation.threading": """
        from opentelemetry import baggage, context
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor

        on, off = ThreadingInstrumentor().instrument, ThreadingInstrumentor().uninstrument

        def current():
            return baggage.get_baggage("user")

        def under(user, function):
            token = context.attach(baggage.set_baggage("user", user))
            try:
                return function()
            finally:
                context.detach(token)
        """,
    "sentry_sdk": """
        import threading
        import concurrent.futures
        import sentry_sdk
        from sentry_sdk.integrations.threading import ThreadingIntegration

        before = concurrent.futures.ThreadPoolExecutor.submit, threading.Thread.start

        def on():
            if not sentry_sdk.get_client().is_active():
                sentry_sdk.init(dsn="http://key@localhost/1", transport=lambda _: None, default_integrations=False,
                                auto_session_tracking=False, integrations=[ThreadingIntegration(propagate_scope=True)])
            else:
                ThreadingIntegration.setup_once()

        def off():  # which it has no function for
            concurrent.futures.ThreadPoolExecutor.submit, threading.Thread.start = before

        def current():
            return (sentry_sdk.get_isolation_scope()._user or {}).get("id")

        def under(user, function):
            with sentry_sdk.isolation_scope() as scope:
                scope.set_user({"id": user})
                return function()
        """,
    "ddtrace": """
        from ddtrace.contrib.internal.futures.patch import patch as on, unpatch as off
        from ddtrace.trace import tracer

        tracer.enabled = True

        def current():
            context = tracer.current_trace_context()
            return None if context is None else context.get_baggage_item("user")

        def under(user, function):
            with tracer.trace("request") as span:
                span.context.set_baggage_item("user", user)
                return function()
        """,
}

Run = Callable[..., str]


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    try:
        found = find_spec(name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        pytest.skip(f"{name} is not installed")
    return TOOLS[name].rstrip() + "\n\n"


@pytest.mark.parametrize("order", ["the tool first", "the pools first"])
@pytest.mark.parametrize("package", ["concurrent.futures", "corefutures"])
def test_each_call_runs_under_its_own_submitter_s_context(run: Run, tool: str, package: str, order: str) -> None:
    start, imports = "        on()\n", f"        from {package} import ThreadPoolExecutor\n"
    first = start + imports if order == "the tool first" else imports + start
    printed = run(
        tool
        + first
        + """
        with ThreadPoolExecutor(1) as pool:
            seen = [under(user, lambda: pool.submit(current).result(30)) for user in ("one", "two")]
            seen.append(pool.submit(current).result(30))
            seen += under("three", lambda: list(pool.map(lambda _: current(), range(2))))
        print(*seen)
        """
    )
    assert printed.split() == ["one", "two", "None", "three", "three"]


def test_a_worker_belongs_to_nobody(run: Run, tool: str) -> None:
    """It starts in one request; its later calls belong to others or to none, also when the tool has gone."""
    printed = run(
        tool
        + """
        from corefutures import ThreadPoolExecutor

        on()
        with ThreadPoolExecutor(1) as pool:
            seen = [under("one", lambda: pool.submit(current).result(30))]
            off()
            seen.append(pool.submit(current).result(30))
            seen.append(under("two", lambda: pool.submit(current).result(30)))
            on()
            seen.append(under("two", lambda: pool.submit(current).result(30)))
            seen.append(pool.submit(current).result(30))
        print(*seen)
        """
    )
    assert printed.split() == ["one", "None", "None", "two", "None"]


def test_the_future_is_ours_and_keyword_arguments_have_any_names(run: Run, tool: str) -> None:
    run(
        tool
        + """
        import corefutures

        on()
        with corefutures.ThreadPoolExecutor(1) as pool:
            future = pool.options(name="a name").submit(int, "3")
            assert isinstance(future, corefutures.Future) and future.result(30) == 3 and "a name" in repr(future)
            told = []
            future.add_done_callback(told.append)
            assert told == [future]
            names = dict.fromkeys(("self", "fn", "func", "args", "kwargs", "instance", "wrapped", "executor"), 1)
            assert pool.submit(dict, **names).result(30) == names
            try:
                pool.submit(int, "x").result(30)
            except ValueError:
                pass
        try:
            pool.submit(int)
        except RuntimeError:
            pass
        """
    )
