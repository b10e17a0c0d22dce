"""Scopes: nothing outlives the block, whichever way it ends, over any executor."""

from __future__ import annotations

import asyncio
import concurrent.futures as standard
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import scoped_calls as calls

import corefutures
from corefutures_structured import Scope, scope

Executors = Callable[..., standard.Executor]
LOCAL = ["thread", "process", *(["interpreter"] if sys.version_info >= (3, 14) else [])]


def waits(condition: Callable[[], bool]) -> None:
    """Returns once a condition holds; the test's time limit ends it otherwise."""
    while not condition():
        time.sleep(0.002)


# ── without trouble ──────────────────────────────────────────────────────────────────────────────────────


def test_all_calls_are_done_after_the_block(executor: standard.Executor) -> None:
    with scope(executor) as s:
        futures = [s.submit(calls.echo, number) for number in range(20)]
    assert all(future.done() for future in futures)
    assert s.results() == list(range(20)) == [future.result() for future in futures]
    assert s.futures == tuple(futures)


def test_keywords_reach_the_call(executor: standard.Executor) -> None:
    with scope(executor) as s:
        s.submit(calls.echo, a=1, fn=2, self=3)
    assert s.results() == [{"a": 1, "fn": 2, "self": 3}]


def test_a_scope_mixes_executors(executors: Executors) -> None:
    with scope(executors("thread")) as s:
        s.submit(calls.echo, 1)
        s.submit(calls.echo, 2, on=executors("process"))
        s.submit(calls.echo, 3, on=executors("concurrent.futures:ThreadPoolExecutor"))
    assert s.results() == [1, 2, 3]


@pytest.mark.parametrize("kind", LOCAL)
def test_a_snapshot_names_the_functions_of_a_scope_and_not_what_carries_them(
    kind: str, executors: Executors, tmp_path: Path
) -> None:
    pool: Any = executors(kind, 1)
    with scope(pool) as s:
        running = s.submit(calls.until_file, str(tmp_path / "go on"))
        s.submit(calls.echo, 1)
        waits(running.running)
        seen = pool.snapshot(timeout=30)
        (tmp_path / "go on").touch()
    assert [call.name for call in seen.workers[0].calls] == ["until_file"]
    assert seen.first_waiting == ("echo",)


def test_without_an_executor_the_default_one_runs_the_calls() -> None:
    with scope() as s:
        s.submit(calls.echo, 1)
    assert s.results() == [1]


def test_a_call_may_submit_to_its_scope(executors: Executors) -> None:
    with scope(executors("thread", 1)) as s:
        s.submit(lambda: s.submit(calls.echo, "more"))
    assert s.results()[1] == "more"


def test_a_callback_may_submit_to_the_scope(executor: standard.Executor) -> None:
    submitted = threading.Event()
    with scope(executor) as s:
        first = s.submit(calls.echo, 1)
        first.add_done_callback(lambda _: (s.submit(calls.echo, 2), submitted.set()))
        submitted.wait()  # callbacks may run after the waiters were woken: the block must still be open
    assert s.results() == [1, 2]


def test_submit_after_the_end_raises(executor: standard.Executor) -> None:
    with scope(executor) as s:
        pass
    with pytest.raises(RuntimeError, match="its block has ended"):
        s.submit(calls.echo)


def test_submit_before_the_block_raises(executor: standard.Executor) -> None:
    s = scope(executor)
    with pytest.raises(RuntimeError, match="its block has not begun"):
        s.submit(calls.echo)


def test_a_scope_is_entered_once(executor: standard.Executor) -> None:
    with scope(executor) as s:
        pass
    with pytest.raises(RuntimeError, match="entered once"):
        s.__enter__()


def test_results_are_there_at_the_end(executor: standard.Executor) -> None:
    with scope(executor) as s, pytest.raises(RuntimeError, match="when its block has ended"):
        s.results()


def test_a_future_of_a_scope_is_an_ordinary_one(executor: standard.Executor) -> None:
    with scope(executor) as s:
        future = s.submit(calls.echo, 1)
        assert next(iter(corefutures.as_completed([future]))).result() == 1
    assert standard.wait([future]).done == {future}


def test_a_refused_submit_leaves_the_scope_in_order(executor: standard.Executor) -> None:
    dead = corefutures.create_executor("thread")
    dead.shutdown()
    with scope(executor) as s:
        with pytest.raises(RuntimeError, match="shutdown"):
            s.submit(calls.echo, on=dead)
        s.submit(calls.echo, 1)
    assert s.results() == [1]


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_of_a_call_is_in_a_group_with_its_name(executor: standard.Executor) -> None:
    with pytest.raises(ExceptionGroup) as caught, scope(executor) as s:
        s.submit(calls.fail, "one")
    (error,) = caught.value.exceptions
    assert isinstance(error, ValueError)
    assert error.__notes__ == ["raised by the call 'fail' of the scope"]


def test_except_star_takes_it(executor: standard.Executor) -> None:
    seen = []
    try:
        with scope(executor, name="orders") as s:
            s.submit(calls.fail)
    except* ValueError as group:
        seen.append(str(group))
    assert seen == ["the scope 'orders' failed (1 sub-exception)"]


def test_the_first_error_stops_the_rest(executors: Executors, tmp_path: Path) -> None:
    started, submitted = tmp_path / "started", threading.Event()
    with pytest.raises(ExceptionGroup) as caught, scope(executors("thread", 2)) as s:
        running = s.submit(calls.until_asked, str(started))
        waits(started.exists)
        s.submit(lambda: (submitted.wait(), calls.fail()))
        waiting = [s.submit(calls.until_asked) for _ in range(3)]
        submitted.set()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert caught.value.__notes__ == [
        "the call 'until_asked' was asked to stop",
        *["the call 'until_asked' was withdrawn before it started"] * 3,
    ]
    assert running.result() == "asked"
    assert all(future.cancelled() for future in waiting)


@pytest.mark.parametrize("method", [m for m in ("forkserver", "spawn") if sys.platform != "win32" or m == "spawn"])
def test_processes_are_killed(method: str, tmp_path: Path) -> None:
    import multiprocessing

    context = multiprocessing.get_context(method)
    started = str(tmp_path / "started")
    with corefutures.create_executor("process", max_workers=2, mp_context=context) as pool:
        with pytest.raises(ExceptionGroup) as caught, scope(pool) as s:
            killed = s.submit(calls.until_file, str(tmp_path / "never"))
            s.submit(calls.until_asked, started)
            waits(lambda: Path(started).exists() and killed.running())
            raise KeyError("the body")
        assert [type(error) for error in caught.value.exceptions] == [KeyError]
        assert caught.value.__notes__ == [
            "the call 'until_file' was killed with its worker",
            "the call 'until_asked' was killed with its worker",
        ]
        assert isinstance(killed.exception(), corefutures.WorkerLostError)
        assert pool.submit(calls.echo, 1).result() == 1  # the pool goes on


def test_the_bodys_error_comes_with_those_of_calls(executors: Executors) -> None:
    with pytest.raises(ExceptionGroup) as caught, scope(executors("thread"), until="all_settled") as s:
        s.submit(calls.echo, 1).result()
        raise KeyError("the body")
    assert [type(error) for error in caught.value.exceptions] == [KeyError]


def test_an_error_that_the_body_passes_on_is_there_once(executor: standard.Executor) -> None:
    with pytest.raises(ExceptionGroup) as caught, scope(executor) as s:
        s.submit(calls.fail).result()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


def test_that_the_body_waited_for_a_stopped_call_is_no_error_of_its_own(executors: Executors) -> None:
    submitted = threading.Event()
    with pytest.raises(ExceptionGroup) as caught, scope(executors("thread", 1)) as s:
        s.submit(lambda: (submitted.wait(), calls.fail()))
        waiting = s.submit(calls.echo)
        submitted.set()
        waiting.result()  # is withdrawn
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


def test_the_bodys_own_interrupt_is_raised_as_it_is(executor: standard.Executor) -> None:
    with pytest.raises(KeyboardInterrupt), scope(executor) as s:
        s.submit(calls.echo)
        raise KeyboardInterrupt


def test_system_exit_of_a_call_is_in_a_group(executors: Executors) -> None:
    with pytest.raises(BaseExceptionGroup) as caught, scope(executors("thread")) as s:
        s.submit(calls.leave)
    assert [type(error) for error in caught.value.exceptions] == [SystemExit]


def test_no_frame_is_kept_by_what_is_raised(executors: Executors) -> None:
    import gc
    import weakref

    class Thing:
        pass

    thing = Thing()
    reference = weakref.ref(thing)
    gc.disable()
    try:
        with pytest.raises(ExceptionGroup), scope(executors("thread")) as s:
            s.submit(calls.fail)
            local = thing
        del thing, local, s
        assert reference() is None
    finally:
        gc.enable()


# ── until ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_success_stops_the_rest(executors: Executors) -> None:
    with scope(executors("thread", 2), until="first_success") as s:
        slow = s.submit(calls.until_asked)
        s.submit(calls.fail)
        s.submit(calls.echo, 1)
    assert s.results() in (["asked", 1], [1])
    assert slow.done()


def test_without_a_success_all_errors_are_raised(executor: standard.Executor) -> None:
    with pytest.raises(ExceptionGroup) as caught, scope(executor, until="first_success") as s:
        s.submit(calls.fail, "one")
        s.submit(calls.fail, "two")
    assert sorted(map(str, caught.value.exceptions)) == ["one", "two"]


def test_all_settled_leaves_errors_to_the_futures(executor: standard.Executor) -> None:
    with scope(executor, until="all_settled") as s:
        failed = s.submit(calls.fail)
        s.submit(calls.echo, 1)
    assert s.results() == [1]
    assert isinstance(failed.exception(), ValueError)


def test_a_callable_is_asked_at_each_end(executors: Executors) -> None:
    seen = []

    def enough(future: standard.Future[Any]) -> bool:
        seen.append(future)
        return len(seen) == 3

    with scope(executors("thread", 1), until=enough) as s:
        futures = [s.submit(calls.echo, number) for number in range(3)]
        never = s.submit(calls.until_asked)
    assert seen == futures
    assert never.cancelled() or never.result() == "asked"


def test_an_error_of_the_callable_stops_and_is_raised(executors: Executors) -> None:
    def broken(_: standard.Future[Any]) -> bool:
        raise LookupError("asked too much")

    with pytest.raises(ExceptionGroup) as caught, scope(executors("thread", 1), until=broken) as s:
        s.submit(calls.echo)
        s.submit(calls.until_asked)
    assert [type(error) for error in caught.value.exceptions] == [LookupError]


# ── deadlines ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_deadline_stops_calls_while_the_block_waits(executors: Executors) -> None:
    with pytest.raises(ExceptionGroup) as caught, scope(executors("thread"), deadline=0.05) as s:
        s.submit(calls.until_asked)
    assert [str(error) for error in caught.value.exceptions] == ["the deadline of the scope has passed (0.05 s)"]
    assert isinstance(caught.value.exceptions[0], TimeoutError)


def test_the_deadline_wakes_a_body_that_waits_for_a_call(executors: Executors) -> None:
    with pytest.raises(ExceptionGroup) as caught, scope(executors("thread", 1), deadline=0.05) as s:
        s.submit(calls.until_asked)
        s.submit(calls.echo).result()  # it never starts
    assert [type(error) for error in caught.value.exceptions] == [TimeoutError]


@pytest.mark.parametrize("kind", ["thread", "process", "concurrent.futures:ThreadPoolExecutor"])
def test_calls_know_the_time_that_is_left(kind: str, executors: Executors) -> None:
    executor = executors(kind)
    assert executor.submit(calls.left).result() is None
    with scope(executor, deadline=500) as s:
        future = s.submit(calls.left)
    assert 0 < future.result() <= 500


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_nested_scope_has_the_earlier_deadline(kind: str, executors: Executors) -> None:
    executor = executors(kind)
    with scope(executor, deadline=500) as s:
        shorter = s.submit(calls.nested_left, 300)
        longer = s.submit(calls.nested_left, 10_000)
    outside, inside = shorter.result()
    assert inside <= 300 < outside <= 500
    outside, inside = longer.result()
    assert inside <= 500
    assert outside <= 500


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_worker_that_is_forked_in_a_block_is_not_in_it() -> None:
    with corefutures.create_executor("process", max_workers=1, mp_context="fork") as pool:
        with scope(pool, deadline=500) as s:
            inside = s.submit(calls.left)
        assert 0 < inside.result() <= 500  # type: ignore[operator]
        assert pool.submit(calls.left).result() is None


def test_a_worker_with_another_clock_reckons_by_the_time_of_day() -> None:
    from corefutures_structured._deadline import arrive

    now, offset = time.monotonic(), time.time() - time.monotonic()
    there = arrive(calls.left, now - 7_000 + 500, offset + 7_000)  # a machine that was started 7,000 s later
    assert 490 < there() <= 500  # type: ignore[operator]


# ── nested scopes ────────────────────────────────────────────────────────────────────────────────────────


def test_stopping_a_scope_stops_those_inside_it(executors: Executors) -> None:
    pool = executors("thread", 3)
    inner_started = threading.Event()

    def inner() -> None:
        with scope(pool) as nested:
            nested.submit(calls.until_asked)
            inner_started.set()

    with pytest.raises(ExceptionGroup) as caught, scope(pool) as s:
        s.submit(inner)
        s.submit(lambda: (inner_started.wait(), calls.fail()))
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


def test_a_scope_in_the_body_of_another_one_is_stopped_with_it(executors: Executors) -> None:
    pool = executors("thread", 2)
    with pytest.raises(ExceptionGroup) as caught, scope(pool) as outer:
        failing = threading.Event()
        outer.submit(lambda: (failing.wait(), calls.fail()))
        with scope(pool) as inner:
            inner.submit(calls.until_asked)
            assert outer.children == (inner,)
            failing.set()
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


def test_scopes_in_the_calls_of_a_small_pool_do_not_deadlock(executors: Executors) -> None:
    pool = executors("thread", 1)

    def tree(depth: int) -> int:
        if not depth:
            return 1
        with scope(pool) as s:
            for _ in range(2):
                s.submit(tree, depth - 1)
        return sum(s.results())

    assert pool.submit(tree, 5).result() == 32


def test_a_scope_in_a_process_that_is_asked_to_stop_stops(executors: Executors, tmp_path: Path) -> None:
    pool = executors("process", 1)
    started = tmp_path / "started"
    future = pool.submit(calls.nested_until_asked, str(started))
    waits(started.exists)
    assert pool.request_cancel(future)  # type: ignore[attr-defined]
    assert future.result() == ["CancelledError"]


# ── leaving ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_thread_that_does_not_react_keeps_the_block_open(executors: Executors, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    threading.Timer(0.1, flag.touch).start()
    with pytest.raises(ExceptionGroup) as caught, scope(executors("thread")) as s:
        stubborn = s.submit(calls.until_file, str(flag))
        waits(stubborn.running)
        raise KeyError
    assert stubborn.done()
    assert caught.value.__notes__ == ["the call 'until_file' was asked to stop"]


@pytest.mark.parametrize("kind", ["concurrent.futures:ThreadPoolExecutor", "adapted"])
def test_threads_of_any_pool_are_asked(kind: str, executors: Executors, tmp_path: Path) -> None:
    started = tmp_path / "started"
    with pytest.raises(ExceptionGroup) as caught, scope(executors(kind)) as s:
        asked = s.submit(calls.until_asked, str(started))
        calls.until_exists(started)
        raise KeyError
    assert asked.result() == "asked"
    # A thread that sees at once that its scope stops may have ended before it is asked.
    notes = getattr(caught.value, "__notes__", [])
    assert notes in ([], ["the call 'until_asked' was asked to stop"])
    assert not corefutures.cancel_requested()


def test_the_body_learns_that_its_scope_is_stopped(executors: Executors) -> None:
    with pytest.raises(ExceptionGroup) as caught, scope(executors("thread")) as s:
        s.submit(calls.fail)
        waits(corefutures.cancel_requested)
    assert [type(error) for error in caught.value.exceptions] == [ValueError]


def test_an_abandoned_call_is_named(executors: Executors, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    with pytest.raises(ExceptionGroup) as caught, scope(executors("thread"), leave="abandon") as s:
        stubborn = s.submit(calls.until_file, str(flag))
        waits(stubborn.running)
        raise KeyError
    assert not stubborn.done()
    assert caught.value.__notes__ == ["the call 'until_file' could not be stopped, and was abandoned: it still runs"]
    flag.touch()
    stubborn.result()


@pytest.mark.thread_unsafe(reason="signals are for the main thread")
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="this platform has no timer that sends a signal")
def test_an_interrupt_while_the_block_waits_stops_the_calls(executors: Executors) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt) as caught, scope(executors("thread")) as s:
            future = s.submit(calls.until_asked)
            waits(future.running)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
        assert future.result() == "asked"
        assert caught.value.__notes__ == ["the call 'until_asked' was asked to stop"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_stop_by_hand_ends_the_block_without_an_error(executors: Executors) -> None:
    with scope(executors("thread", 1)) as s:
        future = s.submit(calls.until_asked)
        waiting = s.submit(calls.echo)
        waits(future.running)
        s.stop()
        late = s.submit(calls.echo)  # is stopped at once
        waiting.result()  # raises, which is the scope's own doing
    assert s.results() == ["asked"]
    assert late.cancelled()


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_nothing_is_written_after_the_block_has_ended(kind: str, executors: Executors, tmp_path: Path) -> None:
    pool = executors(kind)
    for round_ in range(5):
        path = tmp_path / f"journal-{round_}"
        try:
            with scope(pool, deadline=0.05 if round_ % 2 else None) as s:
                for number in range(6):
                    s.submit(calls.journal, str(path), number, 0.05)
                if not round_ % 2:
                    waits(path.exists)
                    s.submit(calls.fail)
        except* (ValueError, TimeoutError):
            pass
        ended = time.monotonic()
        pool.submit(calls.echo).result()
        written = path.read_text() if path.exists() else ""  # the deadline may come before the first call
        assert all(float(line.split()[1]) <= ended for line in written.splitlines())


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.thread_unsafe(reason="it shows the scopes of all threads")
def test_dump_shows_the_tree_of_scopes(executors: Executors) -> None:
    import io

    pool = executors("thread", 1)
    with scope(pool, name="outer", deadline=100) as outer, scope(pool, name="inner") as inner:
        future = inner.submit(calls.until_asked)
        waits(future.running)
        outer.submit(calls.echo)
        page = io.StringIO()
        corefutures.dump(page)
        pool.request_cancel(future)  # type: ignore[attr-defined]
    text = page.getvalue()
    assert "scope 'outer' (open, " in text
    assert "\n  'echo' waits\n  scope 'inner' (open): 1 calls\n    'until_asked' runs" in text
    corefutures.dump(page := io.StringIO())
    assert "outer" not in page.getvalue()


# ── asyncio ──────────────────────────────────────────────────────────────────────────────────────────────


def test_async_with_awaits_the_calls(executor: standard.Executor) -> None:
    async def main() -> list[Any]:
        async with scope(executor) as s:
            first = s.submit(calls.echo, 1)
            assert await asyncio.wrap_future(first) == 1
            s.submit(calls.echo, 2)
        return s.results()

    assert asyncio.run(main()) == [1, 2]


def test_the_event_loop_goes_on_while_a_block_waits(executors: Executors, tmp_path: Path) -> None:
    flag = tmp_path / "flag"

    async def main() -> None:
        async with scope(executors("thread")) as s:
            s.submit(calls.until_file, str(flag))
            asyncio.get_running_loop().call_soon(flag.touch)

    asyncio.run(main())


def test_a_cancelled_task_stops_the_scope(executors: Executors) -> None:
    pool = executors("thread", 1)
    futures: list[standard.Future[Any]] = []

    async def block() -> None:
        async with scope(pool) as s:
            futures.append(s.submit(calls.until_asked))

    async def main() -> None:
        task = asyncio.create_task(block())
        while not (futures and futures[0].running()):
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert futures[0].result() == "asked"


def test_an_error_interrupts_the_body_of_an_async_block(executors: Executors) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup) as caught:
            async with scope(executors("thread")) as s:
                s.submit(calls.fail)
                await asyncio.sleep(3600)
        assert [type(error) for error in caught.value.exceptions] == [ValueError]
        task = asyncio.current_task()
        assert task is not None
        assert not task.cancelling()
        await asyncio.sleep(0)  # no cancellation is left

    asyncio.run(main())


def test_a_deadline_interrupts_the_body_of_an_async_block() -> None:
    async def main() -> None:
        async with scope(deadline=0.02):
            await asyncio.sleep(3600)

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert [type(error) for error in caught.value.exceptions] == [TimeoutError]


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"deadline": "5"}, TypeError, "deadline must be a number of seconds or None, not str"),
        ({"deadline": 0}, ValueError, "deadline must be greater than 0 seconds, not 0"),
        ({"deadline": True}, TypeError, "deadline must be a number"),
        (
            {"until": "any"},
            ValueError,
            "until must be a callable or one of 'all', 'first_success', 'all_settled', not 'any'",
        ),
        ({"leave": "run"}, ValueError, "leave must be one of 'wait', 'abandon', not 'run'"),
        ({"name": 1}, TypeError, "name must be a str or None, not int"),
    ],
)
def test_a_wrong_option_is_told_at_once(options: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        scope(**options)


def test_what_is_no_executor_is_told_at_once(executors: Executors) -> None:
    with pytest.raises(TypeError, match=r"scope\(\) needs an executor, an object with submit\(\), not str"):
        scope("thread")  # type: ignore[arg-type]
    with scope(executors("thread")) as s:
        with pytest.raises(TypeError, match="on needs an executor"):
            s.submit(calls.echo, on="thread")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="needs a callable, not int"):
            s.submit(5)  # type: ignore[arg-type]


def test_it_says_what_it_is(executors: Executors) -> None:
    s = scope(executors("thread"), name="load")
    assert isinstance(s, Scope)
    assert repr(s) == "<Scope 'load': 0 calls, not entered>"
    with s:
        s.submit(calls.echo)
        assert repr(s) == "<Scope 'load': 1 calls, open>"
    assert repr(s) == "<Scope 'load': 1 calls, closed>"


# ── executors that break ─────────────────────────────────────────────────────────────────────────────────


# One call only in the standard library's pool: it sets the error on cancelled calls as well, and stumbles there.
@pytest.mark.parametrize(("kind", "number"), [("thread", 3), ("concurrent.futures:ThreadPoolExecutor", 1)])
def test_a_pool_that_breaks_stops_the_rest(kind: str, number: int, executors: Executors) -> None:
    other = executors("thread", 1)
    with corefutures.create_executor(kind, max_workers=1, initializer=calls.fail) as pool:
        with pytest.raises(ExceptionGroup) as caught, scope(other) as s:
            asked = s.submit(calls.until_asked)
            for _ in range(number):
                try:
                    s.submit(calls.echo, on=pool)
                except standard.BrokenExecutor:
                    break
        assert asked.result() == "asked"
        assert all(isinstance(error, standard.BrokenExecutor) for error in caught.value.exceptions)
