"""`imap` and `completions`: endless input, bounded memory, each future once, whichever executor."""

from __future__ import annotations

import concurrent.futures as standard
import gc
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import scoped_calls as calls

import corefutures
from corefutures_structured import ItemOutcome, completions, imap

Executors = Callable[..., standard.Executor]


# ── imap ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ordered", [False, True])
def test_each_item_has_its_result(executor: standard.Executor, ordered: bool) -> None:
    results = list(imap(executor, abs, range(-200, 0), ordered=ordered, window=7))
    assert (results if ordered else sorted(results, reverse=True)) == list(range(200, 0, -1))


@pytest.mark.parametrize("ordered", [False, True])
def test_an_endless_input_is_taken_as_results_are(executor: standard.Executor, ordered: bool) -> None:
    taken = []

    def numbers() -> Iterator[int]:
        for number in calls.endless():
            taken.append(number)
            yield number

    with imap(executor, abs, numbers(), ordered=ordered, window=5) as results:
        for count, _ in enumerate(results, 1):
            assert len(taken) <= count + 5
            if count == 50:
                break


def test_nothing_is_taken_before_the_first_result_is_asked_for(executor: standard.Executor) -> None:
    numbers = calls.endless()
    results = imap(executor, abs, numbers)
    assert next(numbers) == 0
    results.close()


def test_results_come_in_the_order_in_which_calls_end(executors: Executors) -> None:
    gates = [threading.Event() for _ in range(3)]

    def wait_for(number: int) -> int:
        gates[number].wait()
        return number

    results = imap(executors("thread", 3), wait_for, range(3))
    seen = []
    for number in (2, 0, 1):
        gates[number].set()
        seen.append(next(results))
    assert seen == [2, 0, 1]


@pytest.mark.parametrize("ordered", [False, True])
def test_an_error_is_raised_at_its_place_and_the_iteration_goes_on(executors: Executors, ordered: bool) -> None:
    results = imap(executors("thread", 1), lambda n: 12 // n, [3, 0, 4], ordered=ordered)
    assert next(results) == 4
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert next(results) == 3
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("ordered", [False, True])
def test_errors_can_be_yielded(executors: Executors, ordered: bool) -> None:
    results = list(imap(executors("thread", 1), lambda n: 12 // n, [3, 0], ordered=ordered, errors="yield"))
    assert all(isinstance(result, ItemOutcome) for result in results)
    good, bad = results
    assert (good.item, good.value, good.error) == (3, 4, None)
    assert (bad.item, bad.value, type(bad.error)) == (0, None, ZeroDivisionError)
    assert repr(good) == "ItemOutcome(item=3, value=4)"
    assert repr(bad).startswith("ItemOutcome(item=0, error=ZeroDivisionError(")


@pytest.mark.parametrize("ordered", [False, True])
def test_an_error_of_the_input_comes_after_the_results_before_it(executors: Executors, ordered: bool) -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise LookupError("no more input")

    results = imap(executors("thread"), abs, numbers(), ordered=ordered)
    assert next(results) == 1
    with pytest.raises(LookupError, match="no more input"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("how", ["close", "drop", "break"])
def test_leaving_early_cancels_what_waits(executors: Executors, ordered: bool, how: str) -> None:
    release, begun = threading.Event(), []

    def call(number: int) -> int:
        if number:
            begun.append(number)
            release.wait()
        return number

    pool = executors("thread", 1)
    results = imap(pool, call, range(50), ordered=ordered, window=50)
    assert next(results) == 0
    if how == "close":
        results.close()
        assert list(results) == []
    elif how == "break":
        with results:
            pass
    del results
    gc.collect()
    release.set()
    pool.submit(abs, 1).result()
    assert len(begun) <= 1


def test_a_call_may_iterate_over_calls_of_its_own_pool(executors: Executors) -> None:
    pool = executors("thread", 1)
    assert pool.submit(lambda: sorted(imap(pool, abs, range(-40, 0)))).result() == list(range(1, 41))


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"window": 0}, ValueError, "window must be greater than 0, not 0"),
        ({"window": "9"}, TypeError, "window must be an integer, not str"),
        ({"errors": "drop"}, ValueError, "errors must be one of 'raise', 'yield', not 'drop'"),
    ],
)
def test_a_wrong_option_is_told_at_once(
    options: dict[str, Any], error: type[Exception], text: str, executors: Executors
) -> None:
    with pytest.raises(error, match=text):
        imap(executors("thread"), abs, [], **options)


def test_what_is_no_executor_or_function_is_told_at_once(executors: Executors) -> None:
    with pytest.raises(TypeError, match=r"imap\(\) needs an executor, an object with submit\(\), not str"):
        imap("thread", abs, [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"imap\(\) needs a callable, not str"):
        imap(executors("thread"), "abs", [])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not iterable"):
        imap(executors("thread"), abs, 5)  # type: ignore[arg-type]


# ── completions ──────────────────────────────────────────────────────────────────────────────────────────


def test_futures_may_be_added_while_they_are_taken(executor: standard.Executor) -> None:
    done = completions([executor.submit(calls.echo, 8)])
    seen = []
    for future in done:
        depth = future.result()
        seen.append(depth)
        if depth:  # a page that links to two others
            done.add(executor.submit(calls.echo, depth // 2))
            done.add(executor.submit(calls.echo, depth // 3))
    assert sorted(seen) == sorted(links(8))


def links(depth: int) -> list[int]:
    return [depth, *links(depth // 2), *links(depth // 3)] if depth else [0]


def test_each_future_is_reported_once(executors: Executors) -> None:
    pool = executors("thread")
    futures = [pool.submit(abs, number) for number in range(100)]
    done = completions(futures + futures)
    assert len(done) == 100
    for future in futures:
        done.add(future)
    assert sorted(map(id, done)) == sorted(map(id, futures))
    assert len(done) == 0


def test_futures_of_every_kind_mix(executors: Executors) -> None:
    foreign: standard.Future[int] = standard.Future()
    foreign.set_result(1)
    cancelled: corefutures.Future[int] = corefutures.Future()
    cancelled.cancel()
    cancelled.set_running_or_notify_cancel()
    mixed = [foreign, cancelled, executors("process").submit(abs, -2), executors("thread").submit(calls.fail)]
    assert set(completions(mixed)) == set(mixed)


def test_the_iterator_goes_on_after_its_end(executors: Executors) -> None:
    pool = executors("thread")
    done = completions([pool.submit(abs, 1)])
    assert len(list(done)) == 1
    done.add(pool.submit(abs, 2))
    assert [future.result() for future in done] == [2]


def test_another_thread_may_add_while_this_one_waits(executors: Executors) -> None:
    pool = executors("thread", 1)
    gate: corefutures.Future[str] = corefutures.Future()
    done = completions([gate])

    def add() -> None:
        done.add(pool.submit(calls.echo, "added"))

    threading.Timer(0.05, add).start()
    assert next(done).result() == "added"
    gate.set_result("gate")
    assert next(done).result() == "gate"


def test_the_time_limit_counts_from_the_call(executors: Executors) -> None:
    never: corefutures.Future[None] = corefutures.Future()
    done = completions([never, executors("thread").submit(abs, 1)], timeout=0.1)
    assert next(done).result() == 1
    for _ in range(2):
        with pytest.raises(TimeoutError, match=r"1 futures have not ended after 0\.1 s"):
            next(done)
    never.set_result(None)
    assert next(done) is never  # nothing is lost


def test_a_future_that_was_handed_out_is_not_kept_alive(executors: Executors) -> None:
    pool = executors("thread")
    done = completions([pool.submit(abs, 1), pool.submit(abs, 2)])
    first = weakref.ref(next(done))
    pool.submit(abs, 1).result()  # the worker has let go of it as well
    gc.collect()
    assert first() is None


def test_a_call_may_wait_for_calls_of_its_own_pool(executors: Executors) -> None:
    pool = executors("thread", 1)

    def crawl() -> int:
        done = completions([pool.submit(abs, 5)])
        total = 0
        for future in done:
            total += future.result()
            if future.result() > 1:
                done.add(pool.submit(abs, future.result() - 1))
        return total

    assert pool.submit(crawl).result() == 15


@pytest.mark.thread_unsafe(reason="a program has few tools of sys.monitoring")
def test_the_work_for_a_future_does_not_grow_with_their_number() -> None:
    """Bytecode steps are counted, with a window of 16 as a crawler has it; and with as many pending as there are."""
    if sys.version_info < (3, 12):
        pytest.skip("counting needs sys.monitoring of Python 3.12")

    def steps(count: int, window: int) -> float:
        counted = 0

        def line(*_: object) -> None:
            nonlocal counted
            counted += 1

        waiting: list[corefutures.Future[int]] = [corefutures.Future() for _ in range(window)]
        done = completions(waiting)
        tool, monitoring = 4, sys.monitoring
        monitoring.use_tool_id(tool, "counting")
        monitoring.register_callback(tool, monitoring.events.LINE, line)
        monitoring.set_events(tool, monitoring.events.LINE)
        try:
            for number in range(count):
                waiting[number % window].set_result(number)
                assert next(done).result() == number
                done.add(fresh := corefutures.Future())
                waiting[number % window] = fresh
        finally:
            monitoring.set_events(tool, 0)
            monitoring.free_tool_id(tool)
        return counted / count

    few = steps(500, 16)
    assert steps(5_000, 16) <= 1.2 * few
    assert steps(2_000, 2_000) <= 1.2 * few


@pytest.mark.parametrize("wrong", [5, "text"])
def test_what_is_no_future_is_told_at_once(wrong: object) -> None:
    with pytest.raises(TypeError, match=rf"needs a future, not {type(wrong).__name__}"):
        completions([wrong])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not str"):
        completions(timeout="1")  # type: ignore[arg-type]
