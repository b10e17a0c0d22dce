"""Calls that wait for calls of their own pool: their worker helps; a cycle is an error, not a deadlock."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from races import LIMIT, frequent_switches

import corefutures
from corefutures import DeadlockError, ThreadPoolExecutor, wait
from corefutures_pools.helping import WorkerThread


@pytest.fixture(params=[1, 2, 3])
def pool(request: pytest.FixtureRequest) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(request.param) as executor:
        yield executor


def test_the_manuals_wait_on_future_finishes() -> None:
    with ThreadPoolExecutor(max_workers=1) as executor:
        assert executor.submit(lambda: executor.submit(pow, 5, 2).result()).result(LIMIT) == 25


def with_result(futures: list[Any]) -> int:
    return sum(future.result() for future in futures)


def with_a_time_limit(futures: list[Any]) -> int:
    return sum(future.result(LIMIT) for future in futures)


def with_wait(futures: list[Any]) -> int:
    return sum(future.result() for future in corefutures.wait(futures).done)


def with_as_completed(futures: list[Any]) -> int:
    return sum(future.result() for future in corefutures.as_completed(futures, LIMIT))


@pytest.mark.parametrize("gather", [with_result, with_a_time_limit, with_wait, with_as_completed])
def test_a_tree_of_nested_calls_is_deeper_than_there_are_workers(
    pool: ThreadPoolExecutor, gather: Callable[[list[Any]], int]
) -> None:
    def tree(depth: int) -> int:
        return 1 if depth == 0 else gather([pool.submit(tree, depth - 1) for _ in range(2)])

    with frequent_switches():
        assert pool.submit(tree, 6).result(LIMIT) == 64


def test_map_inside_of_a_call(pool: ThreadPoolExecutor) -> None:
    def tree(depth: int) -> int:
        return 1 if depth == 0 else sum(pool.map(tree, [depth - 1] * 2))

    assert pool.submit(tree, 5).result(LIMIT) == 32


def test_the_manuals_wait_on_each_other_is_an_error() -> None:
    both_run = threading.Barrier(2)
    futures: list[corefutures.Future[object]] = []

    def wait_on_b() -> object:
        both_run.wait(LIMIT)
        return futures[1].result()

    def wait_on_a() -> object:
        both_run.wait(LIMIT)
        return futures[0].result()

    def after(gate: threading.Event, call: Callable[[], object]) -> object:
        gate.wait(LIMIT)
        return call()

    for _ in range(50):
        both_run.reset()
        gate = threading.Event()
        with ThreadPoolExecutor(2) as pool:
            futures[:] = [pool.submit(after, gate, call) for call in (wait_on_b, wait_on_a)]
            gate.set()
            errors = [future.exception(LIMIT) for future in futures]
        assert all(isinstance(error, DeadlockError) for error in errors), errors


def test_the_message_draws_the_cycle() -> None:
    ready = threading.Event()
    futures: list[corefutures.Future[object]] = []

    def wait_on_myself() -> object:
        ready.wait(LIMIT)
        return futures[0].result()

    with ThreadPoolExecutor(1) as pool:
        futures.append(pool.submit(wait_on_myself))
        ready.set()
        with pytest.raises(DeadlockError, match=r"wait_on_myself → .*wait_on_myself$"):
            futures[0].result(LIMIT)


def test_a_cycle_through_wait_and_a_helping_worker_is_an_error() -> None:
    ready = threading.Event()
    futures: list[corefutures.Future[object]] = []

    with ThreadPoolExecutor(1) as pool:

        def outer() -> object:
            ready.wait(LIMIT)
            return pool.submit(inner).result()  # runs in the same thread

        def inner() -> object:
            corefutures.wait(futures)
            return None

        futures.append(pool.submit(outer))
        ready.set()
        with pytest.raises(DeadlockError, match=r"outer → .*outer$"):
            futures[0].result(LIMIT)


def test_a_time_limit_is_kept_while_another_worker_is_busy() -> None:
    started, done = threading.Event(), threading.Event()
    with ThreadPoolExecutor(2) as pool:

        def busy() -> None:
            started.set()
            done.wait(LIMIT)

        def impatient() -> str:
            started.wait(LIMIT)
            waiting = pool.submit(done.wait, LIMIT)
            try:
                waiting.result(0.01)
            except TimeoutError:
                return "in time"
            finally:
                done.set()
            return "too late"

        pool.submit(busy)
        assert pool.submit(impatient).result(LIMIT) == "in time"


def test_a_call_run_by_a_helping_worker_behaves_like_any_other() -> None:
    seen: list[object] = []
    with ThreadPoolExecutor(1) as pool:

        def outer() -> None:
            failing = pool.submit(int, "x")
            failing.add_done_callback(seen.append)
            with pytest.raises(ValueError, match="invalid literal"):
                failing.result()
            assert seen == [failing]
            cancelled = pool.submit(int)
            assert cancelled.cancel()
            with pytest.raises(corefutures.CancelledError):
                cancelled.result()

        pool.submit(outer).result(LIMIT)


def test_a_worker_helps_no_other_pool() -> None:
    with ThreadPoolExecutor(1) as pool, ThreadPoolExecutor(1) as other:
        idents = pool.submit(lambda: (threading.get_ident(), other.submit(threading.get_ident).result(LIMIT))).result(
            LIMIT
        )
    assert idents[0] != idents[1]


def test_nested_calls_race_with_workers_and_submitters() -> None:
    def tree(depth: int) -> int:
        return 1 if depth == 0 else with_result([pool.submit(tree, depth - 1) for _ in range(3)])

    with frequent_switches():
        for workers in range(1, 5):
            with ThreadPoolExecutor(workers) as pool:
                futures = [pool.submit(tree, 3) for _ in range(20)]
                assert [future.result(LIMIT) for future in futures] == [27] * 20


def test_of_two_workers_that_block_together_one_helps() -> None:
    """Each has a time limit, and leaves the call that it waits for to the other one, which it has seen running."""
    awaited, ran = object(), list[object]()
    other = WorkerThread([object()], lambda _: False, ran.append, list)

    class BlocksWithTheOther(WorkerThread):
        def begin_blocking(self, awaited: tuple[Any, ...], *, needs_all: bool) -> None:
            super().begin_blocking(awaited, needs_all=needs_all)
            other.awaited = (object(),)

    worker = BlocksWithTheOther([object()], lambda _: True, ran.append, lambda: [worker, other])
    worker.runs_calls = other.runs_calls = True
    worker.help_until((awaited,), lambda: bool(ran), timed=True, needs_all=False)
    assert ran == [awaited]
    assert not worker.awaited


def test_a_call_may_wait_for_a_foreign_future() -> None:
    """One that has the public methods only, and of which no worker knows anything."""

    class Foreign:
        def __init__(self) -> None:
            self.callbacks: list[Any] = []

        def add_done_callback(self, fn: Any) -> None:
            self.callbacks.append(fn)

        def done(self) -> bool:
            return False

    with ThreadPoolExecutor(1) as pool:
        done, not_done = pool.submit(lambda: wait([Foreign()], 0.01)).result(LIMIT)  # type: ignore[list-item, misc]
        assert (len(done), len(not_done)) == (0, 1)
