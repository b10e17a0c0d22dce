"""Private names of the standard library work for programs that use them; all others of ours have a prefix."""

from __future__ import annotations

import concurrent.futures as standard
import concurrent.futures.thread
import math
import queue
import sys
import threading
import weakref
from typing import Any

import pytest
from races import LIMIT, Parking

import corefutures
from corefutures import Future
from corefutures_pools.future import PoolFuture
from corefutures_pools.workers.executor import IsolatedExecutor

#: What the standard library has as well, on some Python, or gives an instance only as it goes along.
STANDARD = {"_force_shutting_down", "_force_shutdown", "_get_snapshot", "_processes", "_initializer", "_initargs"}
PREFIX = "_cf_"
standard_thread: Any = concurrent.futures.thread  # its private parts as well


def private_names(kind: type, *instances: object) -> set[str]:
    """The private names that a class of ours adds to those of the standard library."""
    found = {name for base in kind.__mro__ if "corefutures" in base.__module__ for name in vars(base)}
    for instance in instances:
        found |= set(vars(instance))
    return {name for name in found if name.startswith("_") and not name.startswith("__") and name != "_abc_impl"}


@pytest.mark.parametrize("kind", [Future, PoolFuture, corefutures.Executor, IsolatedExecutor])
def test_private_names_of_base_classes_have_our_prefix(kind: type) -> None:
    future: standard.Future[int] = standard.Future()
    known = {*dir(standard.Future), *vars(future), *STANDARD}
    assert {name for name in private_names(kind) - known if not name.startswith(PREFIX)} == set()


POOLS = ["ThreadPoolExecutor", "ProcessPoolExecutor"] + ["InterpreterPoolExecutor"] * (sys.version_info >= (3, 14))


@pytest.mark.parametrize("name", POOLS)
def test_private_names_of_pools_have_our_prefix(name: str) -> None:
    kinds: list[Any] = [getattr(standard, name), getattr(corefutures, name)]
    theirs, ours = [kind(1) for kind in kinds]
    known = {*dir(kinds[0]), *vars(theirs), *STANDARD}
    assert {name for name in private_names(kinds[1], ours) - known if not name.startswith(PREFIX)} == set()
    theirs.shutdown()
    ours.shutdown()


def test_a_future_may_have_a_lock_of_its_own_and_end_under_it() -> None:
    class Progress(Future[list[int]]):
        def __init__(self) -> None:
            super().__init__()
            self._lock = threading.Lock()
            self._name, self._fn, self._args, self._seen, self._watched = "parts", None, (), True, queue.Queue[int]()
            self._parts: list[int] = []

        def add(self, part: int, *, last: bool = False) -> None:
            with self._lock:
                self._parts.append(part)
                if last:
                    self.set_result(self._parts)

        def _finish(self, *_: object) -> None:
            raise AssertionError("one of its own")

        _announce = _pass = _subscribe = _await_end = _close_list = _settle = _finish

    future = Progress()
    ended: list[object] = []
    future.add_done_callback(ended.append)
    thread = threading.Thread(target=lambda: (future.add(1), future.add(2, last=True)), daemon=True)
    thread.start()
    assert future.result(timeout=LIMIT) == [1, 2]
    thread.join(LIMIT)
    assert ended == [future]
    assert list(corefutures.as_completed([future])) == [future]
    assert "name=" not in repr(future)


@pytest.mark.parametrize("name", POOLS)
def test_a_pool_may_have_attributes_and_methods_of_its_own(name: str) -> None:
    base: Any = getattr(corefutures, name)

    class Counting(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self._pool = self._crew = self._context = self._room = self._carried = []
            super().__init__(1)
            self._pool = self._crew = self._context = self._serializer = self._at_exit = {"submitted": 0}

        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            self._pool["submitted"] += 1
            return super().submit(fn, *args, **kwargs)

        def _begin(self) -> None:
            raise AssertionError("one of its own")

        _make_pool = _assemble = _withdraw = _after_fork_in_child = _renew_pool = _submit_with = _has_run_here = _begin

    with Counting() as pool:
        assert pool.submit(abs, -3).result(timeout=LIMIT) == 3
        assert list(pool.map(abs, [-1, -2], timeout=LIMIT)) == [1, 2]
        assert pool._pool == {"submitted": 3}
        assert pool.options(name="named").submit(abs, -4).result(timeout=LIMIT) == 4
        assert pool.stats().finished == 4


@pytest.mark.parametrize("parked_first", [True, False])
@pytest.mark.parametrize("wake", ["notify", "notify_all"])
def test_a_future_that_is_ended_by_hand_wakes_waiting_threads(wake: str, parked_first: bool) -> None:
    future: Future[int] = Future()
    if not parked_first:
        assert future._condition
    outcome: list[object] = []
    waiter = threading.Thread(target=lambda: outcome.append(future.exception(LIMIT)), daemon=True)
    waiter.start()
    Parking.until(lambda: bool(future._cf_parked))

    error = OSError("by hand")
    with future._condition:
        future._exception = error
        future._state = "FINISHED"
        getattr(future._condition, wake)()

    waiter.join(LIMIT / 2)
    assert outcome == [error]


def test_a_notification_without_an_end_wakes_no_thread() -> None:
    future: Future[int] = Future()
    outcome: list[object] = []
    waiter = threading.Thread(target=lambda: outcome.append(future.result(LIMIT)), daemon=True)
    waiter.start()
    Parking.until(lambda: bool(future._cf_parked))

    with future._condition:
        future._condition.notify_all()
    assert future._cf_parked

    future.set_result(3)
    waiter.join(LIMIT / 2)
    assert outcome == [3]


def test_recipes_that_use_private_names_of_a_thread_pool_work_or_name_the_option() -> None:

    gate = threading.Event()

    class Bounded(corefutures.ThreadPoolExecutor):
        def __init__(self) -> None:
            super().__init__(1)
            self._work_queue = queue.Queue(maxsize=2)

    with pytest.warns(UserWarning, match="max_pending=2"):
        bounded = Bounded()
    with bounded:
        assert [bounded.submit(int).result(LIMIT) for _ in range(10)] == [0] * 10
        with pytest.raises(AttributeError, match="in the order submitted"):
            bounded._work_queue = queue.LifoQueue(2)
    with corefutures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(gate.wait)
        waiting = [pool.submit(gate.wait) for _ in range(3)]
        while not running.running():
            pass
        while not pool._work_queue.empty():
            pool._work_queue.get_nowait().future.cancel()  # type: ignore[attr-defined]
        del standard_thread._threads_queues[next(iter(pool._threads))]
        gate.set()
    assert all(future.cancelled() for future in waiting)


def test_a_subclass_may_start_the_threads_itself() -> None:
    """The recipe of many programs for daemon threads, which needs the standard pool's parts."""

    def adjust(self: Any) -> None:
        if not self._idle_semaphore.acquire(timeout=0) and len(self._threads) < self._max_workers:
            if sys.version_info >= (3, 14):
                args = weakref.ref(self, lambda _: None), self._create_worker_context(), self._work_queue
            else:
                args = weakref.ref(self, lambda _: None), self._work_queue, self._initializer, self._initargs
            thread = threading.Thread(target=standard_thread._worker, args=args, daemon=True)
            thread.start()
            self._threads.add(thread)
            standard_thread._threads_queues[thread] = self._work_queue

    with pytest.warns(UserWarning, match="at_exit='cancel'"):
        kind: Any = type("Daemon", (corefutures.ThreadPoolExecutor,), {"_adjust_thread_count": adjust})
    with kind(2) as pool:
        assert pool.submit(lambda: threading.current_thread().daemon).result(LIMIT)
        assert list(pool.map(abs, range(-3, 0))) == [3, 2, 1]
        with pytest.raises(corefutures.UnsupportedError, match="since it starts its threads itself"):
            pool.stats()
        with pytest.raises(ValueError):  # noqa: PT011 - its text differs from version to version
            pool.submit(math.sqrt, -1).result(LIMIT)
    with pytest.raises(RuntimeError, match="shutdown"):
        pool.submit(abs, 1)
    with pytest.raises(corefutures.UnsupportedError, match="take max_pending="):
        kind(2, max_pending=5)


def test_pending_calls_of_a_process_pool_can_be_counted() -> None:
    with corefutures.ProcessPoolExecutor(1) as pool:
        futures = [pool.submit(abs, number) for number in range(3)]
        assert {item.future for item in pool._pending_work_items.values()} <= set(futures)
        assert [future.result(LIMIT) for future in futures] == [0, 1, 2]


def test_an_adapted_executor_has_max_workers() -> None:
    with standard.ThreadPoolExecutor(3) as executor:
        assert corefutures.adapt(executor)._max_workers == 3  # type: ignore[attr-defined]
