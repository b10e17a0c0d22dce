"""Tools replace the standard library's `submit`, to see or change what is submitted: our pool's calls go through it."""

from __future__ import annotations

import concurrent.futures as standard
import concurrent.futures.thread
import contextvars
import sys
import threading
from collections.abc import Callable, Iterator
from types import FunctionType
from typing import Any

import pytest
from races import LIMIT
from subprocesses import run_script

from corefutures import CancelledError, Future
from corefutures_thread import ThreadPoolExecutor, _executor

REQUEST: contextvars.ContextVar[str] = contextvars.ContextVar("REQUEST", default="none")
ORIGINAL = standard.ThreadPoolExecutor.submit


def carry(submit: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a `submit` that does what tools do: the call runs under its submitter's request."""

    def submit_with_request(self: Any, fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        request = REQUEST.get()

        def with_request(*args: Any, **kwargs: Any) -> Any:
            token = REQUEST.set(request)
            try:
                return fn(*args, **kwargs)
            finally:
                REQUEST.reset(token)

        return submit(self, with_request, *args, **kwargs)

    return submit_with_request


@pytest.fixture
def replace(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    return lambda submit: monkeypatch.setattr(standard.ThreadPoolExecutor, "submit", submit)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def requests_seen(pool: ThreadPoolExecutor) -> list[str]:
    seen = []
    for request in ("one", "two"):
        token = REQUEST.set(request)
        seen.append(pool.submit(REQUEST.get).result(LIMIT))
        seen += pool.map(lambda _: REQUEST.get(), [0])
        REQUEST.reset(token)
    return [*seen, pool.submit(REQUEST.get).result(LIMIT)]


CARRIED, LEFT = ["one", "one", "two", "two", "none"], ["none"] * 5


def test_a_function_that_replaces_submit_is_called(pool: ThreadPoolExecutor, replace: Any) -> None:
    assert requests_seen(pool) == LEFT
    replace(carry(ORIGINAL))
    assert requests_seen(pool) == CARRIED
    replace(carry(carry(ORIGINAL)))
    assert requests_seen(pool) == CARRIED
    replace(ORIGINAL)
    assert requests_seen(pool) == LEFT


def test_code_that_replaces_the_code_of_submit_runs(pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some tools do it, so that code that refers to the function already gets the replacement."""

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return _carried_submit(self, fn, *args, **kwargs)  # type: ignore[name-defined] # noqa: F821

    original: Any = ORIGINAL
    copy = FunctionType(original.__code__, vars(concurrent.futures.thread))
    monkeypatch.setattr(concurrent.futures.thread, "_carried_submit", carry(copy), raising=False)
    code = original.__code__
    original.__code__ = submit.__code__
    try:
        assert requests_seen(pool) == CARRIED
    finally:
        original.__code__ = code
    assert requests_seen(pool) == LEFT


def test_a_running_pool_finds_replaced_code(pool: ThreadPoolExecutor) -> None:
    """At once where a worker is idle, which it is before its call's result can be had."""
    original: Any = ORIGINAL
    code = original.__code__
    pool.submit(int).result(LIMIT)
    original.__code__ = (lambda self, fn, /, *args, **kwargs: "another").__code__
    try:
        assert pool.submit(int) == "another"
    finally:
        original.__code__ = code
    assert pool.submit(int).result(LIMIT) == 0


def test_submit_may_have_been_replaced_before_the_import() -> None:
    ended = run_script("""
        import concurrent.futures as standard

        original, seen = standard.ThreadPoolExecutor.submit, []

        def submit(self, fn, /, *args, **kwargs):
            seen.append(fn)
            return original(self, fn, *args, **kwargs)

        standard.ThreadPoolExecutor.submit = submit
        from corefutures import ThreadPoolExecutor

        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(int, "3").result() == 3
            assert seen == [int]
            standard.ThreadPoolExecutor.submit = original
            for _ in range(2):
                assert pool.submit(int, "3").result() == 3
            assert seen == [int]
            standard.ThreadPoolExecutor.submit = submit
            assert pool.submit(int, "3").result() == 3
            assert seen == [int, int]
        print("well")
        """)
    assert (ended.out, ended.err) == ("well\n", "")


def test_the_future_is_ours_and_has_the_callbacks_of_the_standard_one(pool: ThreadPoolExecutor, replace: Any) -> None:
    notified: list[Any] = []

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = ORIGINAL(self, fn, *args, **kwargs)
        future.add_done_callback(notified.append)
        return future

    replace(submit)
    future = pool.options(name="named").submit(int, "3")
    assert isinstance(future, Future)
    assert future.result(LIMIT) == 3
    pool.submit(int).result(LIMIT)
    assert notified[0] is future
    assert "named" in repr(future)
    assert not pool.request_cancel(future)


@pytest.mark.parametrize("way", ["result", "exception", "cancelled"])
def test_a_standard_future_that_is_kept_ends_like_ours(pool: ThreadPoolExecutor, replace: Any, way: str) -> None:
    kept: list[Any] = []

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        kept.append(ORIGINAL(self, fn, *args, **kwargs))
        return kept[-1]

    gate = threading.Event()
    busy = pool.submit(gate.wait, LIMIT)
    replace(submit)
    ours = pool.submit(int, "x" if way == "exception" else "3")
    assert isinstance(ours, Future)
    if way == "cancelled":
        assert kept[0].cancel()
        assert ours.cancelled()
    gate.set()
    busy.result(LIMIT)
    standard.wait([kept[0]], LIMIT)
    if way == "result":
        assert kept[0].result(0) == ours.result(0) == 3
    elif way == "exception":
        assert kept[0].exception(0) is ours.exception(0)
    else:
        with pytest.raises(CancelledError):
            kept[0].result(0)


def test_the_return_value_of_the_replacement_is_returned(pool: ThreadPoolExecutor, replace: Any) -> None:
    class Wrapped:
        def __init__(self, future: Any) -> None:
            self.future = future

    replace(lambda self, fn, /, *args, **kwargs: Wrapped(ORIGINAL(self, fn, *args, **kwargs)))
    wrapped: Any = pool.submit(int, "3")
    assert isinstance(wrapped, Wrapped)
    assert wrapped.future.result(LIMIT) == 3
    replace(lambda self, fn, /, *args, **kwargs: fn(*args, **kwargs))
    assert pool.submit(int, "3") == 3


def test_the_replacement_reads_the_pool(replace: Any) -> None:
    class Mine(ThreadPoolExecutor):
        mine = "an attribute"

    seen: list[Any] = []

    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        seen.append((self.mine, self._max_workers, isinstance(self, standard.ThreadPoolExecutor), fn, args, kwargs))
        return ORIGINAL(self, fn, *args, **kwargs)

    replace(submit)
    with Mine(3) as pool:
        assert pool.submit(dict, [], self=1).result(LIMIT) == {"self": 1}
        assert pool.submit(sorted, [1], reverse=True).result(LIMIT) == [1]
    assert [part[:3] for part in seen] == [("an attribute", 3, True)] * 2
    assert seen[1][3:] == (sorted, ([1],), {"reverse": True})


def test_an_exception_of_the_replacement_is_raised(pool: ThreadPoolExecutor, replace: Any) -> None:
    def submit(self: Any, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        raise OSError("refused")

    replace(submit)
    with pytest.raises(OSError, match="refused"):
        pool.submit(int)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(int)


def test_options_apply_to_the_call_of_the_replacement(replace: Any) -> None:
    replace(carry(ORIGINAL))
    with ThreadPoolExecutor(1, context="copy", max_pending=2, when_full="caller_runs") as pool:
        gate = threading.Event()
        futures = [pool.submit(gate.wait, LIMIT)]
        token = REQUEST.set("one")
        futures += [pool.submit(REQUEST.get) for _ in range(10)]
        REQUEST.reset(token)
        gate.set()
        assert [future.result(LIMIT) for future in futures] == [True, *["one"] * 10]


def test_workers_start_under_no_request_context(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools also replace `Thread.start`: a worker is not to belong for ever to the request that it started in."""
    start = threading.Thread.start
    seen: list[str] = []

    def follow(thread: threading.Thread) -> None:
        seen.append(REQUEST.get())
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", follow)
    token = REQUEST.set("one")
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(REQUEST.get).result(LIMIT) == "none"
    REQUEST.reset(token)
    assert seen == ["none"]


def test_no_stand_in_is_made_without_a_replacement(pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_executor, "_stand_in", None)
    assert _executor._submit.function is ORIGINAL
    assert pool.submit(int, "3").result(LIMIT) == 3


def test_our_class_may_replace_the_standard_class(
    replace: Callable[[Any], None], pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A drop-in by assignment, beside a tool that has replaced the standard function before."""
    replace(carry(ORIGINAL))
    monkeypatch.delitem(sys.modules, "corefutures_thread._stand_in", raising=False)
    monkeypatch.setattr(standard, "ThreadPoolExecutor", ThreadPoolExecutor)
    monkeypatch.setattr(concurrent.futures.thread, "ThreadPoolExecutor", ThreadPoolExecutor)
    assert requests_seen(pool) == ["one", "one", "two", "two", "none"]
