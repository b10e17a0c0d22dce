"""Retries: attempts, pauses, cancelling between them, over any executor."""

from __future__ import annotations

import concurrent.futures as standard
import itertools
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scoped_calls as calls
from races import Parking

import corefutures
from corefutures.backend import hookimpl
from corefutures_structured import RetryingExecutor, RetryState, retrying, scope

Executors = Callable[..., standard.Executor]
LOCAL = ["thread", "process", *(["interpreter"] if sys.version_info >= (3, 14) else [])]


def test_a_call_is_tried_again(executor: standard.Executor, tmp_path: Path) -> None:
    future = retrying(executor, retries=3).submit(calls.flaky, str(tmp_path / "count"), 2)
    assert future.result() == 3
    assert future.attempts == 3
    assert [str(error) for error in future.failures] == ["attempt 1", "attempt 2"]


def test_the_last_error_is_the_calls(executor: standard.Executor, tmp_path: Path) -> None:
    future = retrying(executor, retries=2).submit(calls.flaky, str(tmp_path / "count"), 9)
    assert str(future.exception()) == "attempt 3"
    assert future.attempts == 3


def test_other_errors_are_not_tried_again(executor: standard.Executor, tmp_path: Path) -> None:
    future = retrying(executor, retry_on=(KeyError, ConnectionError)).submit(calls.flaky, str(tmp_path / "count"), 9)
    assert isinstance(future.exception(), OSError)
    assert future.attempts == 1


def test_a_lost_worker_can_be_a_reason(tmp_path: Path) -> None:
    with corefutures.create_executor("process", max_workers=1, on_worker_loss="replace") as pool:
        executor = retrying(pool, retry_on=corefutures.WorkerLostError)
        future = executor.submit(calls.dies_at_first, str(tmp_path / "died"))
        assert future.result() == "alive"
        assert future.attempts == 2


def test_a_time_limit_counts_for_each_attempt(tmp_path: Path) -> None:
    import multiprocessing

    method = "spawn" if "forkserver" not in multiprocessing.get_all_start_methods() else "forkserver"
    context = multiprocessing.get_context(method)
    with corefutures.create_executor("process", max_workers=1, mp_context=context) as pool:
        executor = retrying(pool.options(timeout=1.0), retries=1, retry_on=TimeoutError)
        future = executor.submit(calls.slow_at_first, str(tmp_path / "slow"))
        assert future.result() == "fast"
        assert future.attempts == 2


def test_the_pause_holds_no_worker_and_can_be_computed(executors: Executors, tmp_path: Path) -> None:
    states: list[tuple[int, float, bool]] = []

    def backoff(state: RetryState) -> float:
        states.append((state.attempt_number, state.idle_for, isinstance(state.outcome.exception(), OSError)))
        assert state.fn is calls.flaky
        assert state.args[1] == 2
        assert state.seconds_since_start >= state.idle_for
        return 0.05 * state.attempt_number

    pool = executors("thread", 1)
    future = retrying(pool, backoff=backoff).submit(calls.flaky, str(tmp_path / "count"), 2)
    while future.attempts == 1 and not future.failures:
        pass
    assert pool.submit(abs, -1).result() == 1  # the only worker is free meanwhile
    assert future.result() == 3
    assert states == [(1, 0.0, True), (2, 0.05, True)]


def test_tenacitys_strategies_are_taken(executors: Executors, tmp_path: Path) -> None:
    tenacity = pytest.importorskip("tenacity", reason="tenacity is not installed in this environment")
    executor = retrying(executors("thread"), backoff=tenacity.wait_exponential(multiplier=0.001, max=0.01))
    assert executor.submit(calls.flaky, str(tmp_path / "count"), 3).result() == 4


def test_a_call_can_be_cancelled_between_attempts(executors: Executors, tmp_path: Path) -> None:
    pool = executors("thread", 1)
    failed = threading.Event()

    def backoff(_: RetryState) -> float:
        failed.set()
        return 3600

    future = retrying(pool, backoff=backoff).submit(calls.flaky, str(tmp_path / "count"), 9)
    failed.wait()
    waiter = threading.Thread(target=lambda: corefutures.wait([future]))
    waiter.start()
    assert future.cancel()
    assert future.cancelled()
    waiter.join()
    with pytest.raises(corefutures.CancelledError):
        future.result()
    assert future.attempts == 1


def test_a_call_that_waits_for_a_worker_can_be_cancelled(executors: Executors) -> None:
    pool = executors("thread", 1)
    release = threading.Event()
    running = retrying(pool).submit(release.wait)
    waiting = retrying(pool).submit(calls.echo)
    while not running.running():
        pass
    assert not running.cancel()
    assert waiting.cancel()
    release.set()
    assert running.result() is True


def test_a_wrong_backoff_fails_the_call_with_its_error(executors: Executors, tmp_path: Path) -> None:
    path = str(tmp_path / "count")
    future = retrying(executors("thread"), backoff=lambda _: "1").submit(calls.flaky, path, 9)  # type: ignore[arg-type,return-value]
    error = future.exception()
    assert isinstance(error, TypeError)
    assert error.__notes__ == ["raised by the backoff of the call 'flaky'"]


def test_a_pool_that_ends_meanwhile_fails_the_call_with_its_last_error(executors: Executors, tmp_path: Path) -> None:
    pool = corefutures.create_executor("thread", max_workers=1)

    def backoff(_: RetryState) -> float:
        pool.shutdown(wait=False)
        return 0.01

    future = retrying(pool, backoff=backoff).submit(calls.flaky, str(tmp_path / "count"), 9)
    error = future.exception()
    assert isinstance(error, OSError)
    assert "not tried again: RuntimeError: cannot schedule new futures after shutdown" in error.__notes__


def test_its_shutdown_waits_for_its_calls_and_leaves_the_pool_alone(executors: Executors, tmp_path: Path) -> None:
    pool = executors("thread", 1)
    with retrying(pool, backoff=0.02) as executor:
        future = executor.submit(calls.flaky, str(tmp_path / "count"), 2)
    assert future.done()
    assert future.result() == 3
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, 1)
    assert pool.submit(abs, -1).result() == 1


def test_map_tries_again_too(executors: Executors, tmp_path: Path) -> None:
    results = retrying(executors("thread")).map(lambda n: calls.flaky(str(tmp_path / str(n)), n), range(3))
    assert list(results) == [1, 2, 3]


@pytest.mark.thread_unsafe(reason="observers are told of all threads")
def test_observers_are_told_of_each_attempt(executors: Executors, tmp_path: Path) -> None:
    ended: list[int] = []

    class Observer:
        @hookimpl
        def corefutures_call_finished(self, call: Any) -> None:
            ended.append(call.attempt)

    corefutures.add_observer(observer := Observer())
    try:
        retrying(executors("thread")).submit(calls.flaky, str(tmp_path / "count"), 2).result()
    finally:
        corefutures.remove_observer(observer)
    assert ended == [1, 2, 3]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"retries": -1}, ValueError, "retries must not be negative, not -1"),
        ({"retries": "3"}, TypeError, "retries must be an integer, not str"),
        ({"retry_on": "OSError"}, TypeError, "retry_on must be exception classes, not 'OSError'"),
        ({"backoff": -1}, ValueError, "backoff must not be negative, not -1"),
        ({"backoff": "1"}, TypeError, "backoff must be a finite number of seconds or a callable, not '1'"),
    ],
)
def test_a_wrong_option_is_told_at_once(
    options: dict[str, Any], error: type[Exception], text: str, executors: Executors
) -> None:
    with pytest.raises(error, match=text):
        retrying(executors("thread"), **options)
    with pytest.raises(TypeError, match="needs an executor"):
        retrying("thread")  # type: ignore[arg-type]


# ── `options` of our executors, and what an executor can do underneath ───────────────────────────────────


@pytest.mark.parametrize("kind", LOCAL)
def test_options_of_a_pool_try_again(kind: str, executors: Executors, tmp_path: Path) -> None:
    pool: Any = executors(kind, 1)
    view = pool.options(retries=3, retry_on=(OSError,), backoff=0.001, name="the name")
    future = view.submit(calls.flaky, str(tmp_path / "count"), 2)
    assert future.result() == 3
    assert future.attempts == 3
    more = view.options(retries=1)
    assert isinstance(more, RetryingExecutor)
    assert str(more.submit(calls.flaky, str(tmp_path / "other"), 9).exception()) == "attempt 2"


def test_options_of_an_adapted_executor_try_again(executors: Executors, tmp_path: Path) -> None:
    view = executors("adapted").options(retry_on=OSError)  # type: ignore[attr-defined]
    future = view.options(name="the name").submit(calls.flaky, str(tmp_path / "count"), 3)
    assert (future.result(), future.attempts) == (4, 4)


def test_options_without_retries_are_as_they_were(executors: Executors) -> None:
    pool: Any = executors("thread")
    assert not isinstance(pool.options(name="the name"), RetryingExecutor)
    with pytest.raises(ValueError, match="retries must not be negative"):
        pool.options(retries=-1)
    with pytest.raises(TypeError, match="unexpected keyword"):
        pool.options(retrys=1)


def test_a_view_of_an_executor_without_options_refuses_them(executors: Executors) -> None:
    view = retrying(executors("concurrent.futures:ThreadPoolExecutor"))
    assert view.options(retries=1).submit(calls.echo, 1).result() == 1
    for refused in (lambda: view.options(timeout=1), view.stats, view.snapshot):
        with pytest.raises(corefutures.UnsupportedError, match="whose calls are tried again here, can"):
            refused()


def test_a_killed_call_is_not_tried_again(tmp_path: Path) -> None:
    import multiprocessing

    method = "spawn" if "forkserver" not in multiprocessing.get_all_start_methods() else "forkserver"
    with corefutures.create_executor("process", max_workers=1, mp_context=multiprocessing.get_context(method)) as pool:
        executor = pool.options(retries=3)
        future = executor.submit(calls.until_asked, str(tmp_path / "started"))
        calls.until_exists(tmp_path / "started")
        assert executor.kill(future)
        assert isinstance(future.exception(), corefutures.WorkerLostError)
        assert future.attempts == 1
        assert not executor.kill(future)
        assert executor.stats().failed == 1
        assert executor.snapshot().waiting == 0


def test_a_call_that_is_asked_to_stop_is_not_tried_again(executors: Executors, tmp_path: Path) -> None:
    executor = retrying(executors("thread", 1))

    def stops() -> None:
        calls.until_asked(str(tmp_path / "started"))
        raise OSError("asked")

    future = executor.submit(stops)
    calls.until_exists(tmp_path / "started")
    with pytest.raises(corefutures.UnsupportedError):
        executor.kill(future)
    assert executor.request_cancel(future)
    assert str(future.exception()) == "asked"
    assert future.attempts == 1
    with pytest.raises(TypeError, match="takes a future that submit"):
        executor.request_cancel(standard.Future())


def test_a_call_between_attempts_is_cancelled_by_a_request(executors: Executors, tmp_path: Path) -> None:
    failed = threading.Event()
    executor = retrying(executors("thread", 1), backoff=lambda _: (failed.set(), 3600.0)[1])
    future = executor.submit(calls.flaky, str(tmp_path / "count"), 9)
    failed.wait()
    assert executor.request_cancel(future)
    assert future.cancelled()


def test_a_scope_stops_calls_that_are_tried_again(executors: Executors, tmp_path: Path) -> None:
    executor = retrying(executors("thread", 2), backoff=0.001)
    with pytest.raises(ExceptionGroup) as caught, scope(executor) as s:  # noqa: PT012
        asked = s.submit(calls.until_asked, str(tmp_path / "started"))
        calls.until_exists(tmp_path / "started")
        raise KeyError
    assert asked.result() == "asked"
    assert caught.value.__notes__ == ["the call 'until_asked' was asked to stop"]


@pytest.mark.parametrize("backoff", [0.0, 0.02])
def test_a_worker_that_waits_for_a_call_of_its_own_pool_runs_the_attempts(
    backoff: float, executors: Executors, tmp_path: Path
) -> None:
    pool = executors("thread", 1)
    executor = retrying(pool, backoff=backoff)

    def by_scope() -> object:
        with scope(executor) as s:
            s.submit(calls.flaky, str(tmp_path / "second"), 2)
        return s.results()

    def by_shutdown() -> object:
        with retrying(pool, backoff=backoff) as own:
            future = own.submit(calls.flaky, str(tmp_path / "third"), 2)
        return future.done() and future.result()

    assert pool.submit(lambda: executor.submit(calls.flaky, str(tmp_path / "count"), 2).result()).result() == 3
    assert pool.submit(by_scope).result() == [3]
    assert pool.submit(by_shutdown).result() == 3


def test_a_result_with_a_time_limit_is_not_waited_for_longer(executors: Executors, tmp_path: Path) -> None:
    executor = retrying(executors("thread", 1), backoff=3600)
    future = executor.submit(calls.flaky, str(tmp_path / "count"), 9)
    for ask in (future.result, future.exception):
        with pytest.raises(TimeoutError):
            ask(0.02)
    future.cancel()


def test_a_future_keeps_nothing_of_a_call_that_paused_and_ended(executors: Executors, tmp_path: Path) -> None:
    """F6: the alarm of its pause held the function, its arguments and the executor, whose threads then never ended."""
    import weakref

    class Argument(str):
        __slots__ = ("__weakref__",)

    argument = Argument(tmp_path / "count")
    reference = weakref.ref(argument)
    executor = retrying(executors("thread", 1), backoff=0.001)
    future = executor.submit(calls.flaky, argument, 1)
    assert future.result() == 2
    del argument
    for error in future.failures:
        error.__traceback__ = None

    def is_forgotten() -> bool:
        # Another call and another pause: a free-threaded build has a thread free what is its own when that thread runs.
        executor.submit(calls.flaky, str(tmp_path / str(next(numbers))), 1).result()
        return reference() is None

    numbers = itertools.count()
    Parking.until(is_forgotten)  # the thread of alarms forgets it once it has called
