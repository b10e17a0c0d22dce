"""E1-E3, E7, F6: what becomes of calls: each runs once, in order, in the right number of threads."""

from __future__ import annotations

import concurrent.futures as standard
import contextvars
import gc
import sysconfig
import threading
import traceback
import weakref
from typing import Any

import pytest
from races import LIMIT, Parking, frequent_switches, together

from corefutures import CancelledError, Future, as_completed, wait
from corefutures_thread import ThreadPoolExecutor

FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def echo(*args: object, **kwargs: object) -> tuple[object, object]:
    return args, kwargs


def test_every_argument_reaches_the_call_under_its_own_name() -> None:
    """The manual: submit(fn, /, *args, **kwargs) takes keywords of any names."""
    names = ["self", "fn", "future", "args", "kwargs", "call", "pool", "timeout", "executor"]
    with ThreadPoolExecutor(2) as pool:
        assert pool.submit(echo, 1, 2, **dict.fromkeys(names, 3)).result(LIMIT) == (
            (1, 2),
            dict.fromkeys(names, 3),
        )
        assert pool.submit(echo).result(LIMIT) == ((), {})


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, CancelledError])
def test_every_kind_of_exception_of_a_call_reaches_the_caller(error: type[BaseException]) -> None:
    """E1, E7: a BaseException ends the future, not the worker; the traceback leads into the call."""

    def deep(depth: int) -> None:
        if depth:
            deep(depth - 1)
        raise error("on purpose")

    with ThreadPoolExecutor(1) as pool:
        worker = pool.submit(threading.get_ident).result(LIMIT)
        future = pool.submit(deep, 3)
        with pytest.raises(error, match="on purpose") as caught:
            future.result(LIMIT)
        frames = [frame.name for frame in traceback.extract_tb(caught.tb)]
        assert frames[-4:] == ["deep"] * 4
        assert "_run_calls" not in frames
        assert pool.submit(threading.get_ident).result(LIMIT) == worker


def test_a_timeout_of_the_call_is_the_calls() -> None:
    def late() -> None:
        raise TimeoutError("of the call")

    with ThreadPoolExecutor(1) as pool, pytest.raises(TimeoutError, match="of the call"):
        pool.submit(late).result(LIMIT)


def test_calls_start_in_the_order_submitted() -> None:
    """E2"""
    started: list[int] = []
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.wait, LIMIT)
        for number in range(500):
            pool.submit(started.append, number)
        gate.set()
    assert started == list(range(500))


def test_no_more_than_max_workers_run_at_once() -> None:
    """E2"""
    inside = 0
    most = 0
    lock = threading.Lock()
    full = threading.Barrier(3)

    def call() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        full.wait(LIMIT)
        with lock:
            inside -= 1

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(call) for _ in range(60)]
        assert wait(futures, LIMIT).not_done == set()
        assert all(future.exception() is None for future in futures)
    assert most == 3
    assert len(pool._threads) == 3


@pytest.mark.parametrize("rounds", [100])
def test_calls_that_need_each_other_run_at_once(rounds: int) -> None:
    """E2: no call waits while another worker is idle or could be started, whatever the workers did before."""
    workers = 4
    with ThreadPoolExecutor(workers) as pool:
        for number in range(rounds):
            parties = number % workers + 1
            meeting = threading.Barrier(parties)
            met = [pool.submit(meeting.wait, LIMIT) for _ in range(parties)]
            assert sorted(future.result(LIMIT) for future in met) == list(range(parties))


def test_an_idle_worker_is_taken_before_a_new_one_starts() -> None:
    """The manual; and a thread that has seen a result finds its worker idle."""
    futures = []  # a worker that drops the last reference to a future is not idle: see the next tests
    with ThreadPoolExecutor(8) as pool:
        for _ in range(200):
            futures.append(pool.submit(int))
            futures[-1].result(LIMIT)
        assert len(pool._threads) == 1


def test_a_worker_busy_with_callbacks_keeps_no_call_waiting() -> None:
    """E2: while it runs a callback another worker takes the next call."""
    in_callback, release = threading.Event(), threading.Event()

    def dawdle(_: object) -> None:
        in_callback.set()
        release.wait(LIMIT)

    gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(gate.wait, LIMIT)
        slow.add_done_callback(dawdle)
        gate.set()
        assert in_callback.wait(LIMIT)
        try:
            assert pool.submit(int).result(LIMIT) == 0
            assert len(pool._threads) == 2
        finally:
            release.set()


def test_a_short_call_is_not_stuck_behind_a_long_one() -> None:
    """E2"""
    release = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(release.wait, LIMIT)
        assert [pool.submit(int).result(LIMIT) for _ in range(50)] == [0] * 50
        assert not long.done()
        release.set()


def test_a_waiting_call_can_be_cancelled_and_a_running_one_cannot() -> None:
    """E3, F5: cancel wakes every waiter before it returns."""
    release, started = threading.Event(), threading.Event()

    def run() -> int:
        started.set()
        release.wait(LIMIT)
        return 1

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        waiting = [pool.submit(echo, number) for number in range(20)]
        assert started.wait(LIMIT)
        assert running.running()
        assert not running.cancel()
        assert not any(future.running() for future in waiting)
        assert all(future.cancel() for future in waiting[::2])
        assert standard.wait(waiting[::2], LIMIT).not_done == set()
        assert list(as_completed(waiting[::2], LIMIT)) == waiting[::2]
        release.set()
        assert [future.result(LIMIT)[0] for future in waiting[1::2]] == [(n,) for n in range(1, 20, 2)]
        assert running.result() == 1


def test_cancel_against_start() -> None:
    """E1, E3: each call runs exactly once or is cancelled, never both, never neither."""
    with frequent_switches(), ThreadPoolExecutor(2) as pool:
        for _ in range(150):
            ran: list[int] = []
            futures = [pool.submit(ran.append, number) for number in range(8)]

            def cancel_all(futures: list[Future[None]] = futures) -> list[bool]:
                return [future.cancel() for future in futures]

            said = together(cancel_all, cancel_all)
            assert wait(futures, LIMIT).not_done == set()
            for number, future in enumerate(futures):
                assert future.cancelled() == said[0][number] == said[1][number]
                assert ran.count(number) == (0 if future.cancelled() else 1)


def test_result_against_finish() -> None:
    """F5, F7: threads that wait for the same call at any moment around its end all wake."""
    with frequent_switches(), ThreadPoolExecutor(2) as pool:
        for number in range(200):
            future = pool.submit(echo, number)
            results = together(
                lambda future=future: future.result(LIMIT)[0][0],
                lambda future=future: next(iter(wait([future], LIMIT).done)).result()[0][0],
                lambda future=future: next(as_completed([future], LIMIT)).result()[0][0],
                lambda future=future: next(iter(standard.wait([future], LIMIT).done)).result()[0][0],
            )
            assert results == [number] * 4


def test_as_completed_against_finish() -> None:
    """F5: nothing is missed and nothing comes twice while calls end."""
    with frequent_switches(), ThreadPoolExecutor(4) as pool:
        for _ in range(100):
            futures = [pool.submit(echo, number) for number in range(20)]
            assert sorted(map(id, as_completed(futures, LIMIT))) == sorted(map(id, futures))


def test_callbacks_against_finish() -> None:
    """F4, F5"""
    with frequent_switches(), ThreadPoolExecutor(2) as pool:
        for _ in range(300):
            future = pool.submit(int)
            calls: list[object] = []
            for _ in range(5):
                future.add_done_callback(calls.append)
            future.result(LIMIT)
            Parking.until(lambda calls=calls: len(calls) == 5)


def test_many_threads_submit_many_calls() -> None:
    """E1, F7: every call runs exactly once."""
    ran: list[tuple[int, int]] = []
    with frequent_switches(), ThreadPoolExecutor(3) as pool:

        def submit(thread: int) -> list[Future[None]]:
            return [pool.submit(ran.append, (thread, number)) for number in range(2000)]

        futures = together(*(lambda thread=thread: submit(thread) for thread in range(4)))
    assert all(future.done() for some in futures for future in some)
    assert sorted(ran) == [(thread, number) for thread in range(4) for number in range(2000)]
    assert len(pool._threads) == 3
    assert {thread.name.rpartition("_")[2] for thread in pool._threads} == {"0", "1", "2"}


def test_a_call_may_submit_to_its_own_pool_and_wait_for_a_finished_future() -> None:
    with ThreadPoolExecutor(2) as pool:
        inner = pool.submit(lambda: pool.submit(echo, 1)).result(LIMIT)
        assert inner.result(LIMIT) == ((1,), {})


def is_gone(reference: weakref.ref[Any], pool: ThreadPoolExecutor) -> bool:
    """Whether an object is gone: without the GIL, once the thread that made it runs again."""
    if FREE_THREADED:
        pool.submit(int).result(LIMIT)
    return reference() is None


@pytest.mark.parametrize("outcome", ["returns", "raises", "cancelled"])
def test_a_finished_call_keeps_nothing_alive(outcome: str) -> None:
    """F6: neither the callable nor its arguments, nor the result, nor the future."""

    class Thing:
        def __call__(self, *args: object, **kwargs: object) -> object:
            if outcome == "raises":
                raise ValueError
            return Thing()

    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.wait, LIMIT)
        things = [Thing() for _ in range(3)]
        kept = [weakref.ref(thing) for thing in things]
        future = pool.submit(things[0], things[1], key=things[2])
        if outcome == "cancelled":
            future.cancel()
        gate.set()
        wait([future], LIMIT)
        if outcome == "returns":
            kept.append(weakref.ref(future.result()))
        if outcome == "raises":
            assert future.exception() is not None
            future.exception().__traceback__ = None  # whose frames are the call's own
        del things
        gc.disable()
        try:
            pool.submit(int).result(LIMIT)  # the worker is done with the other one
            Parking.until(lambda: not any(thing() for thing in kept[:3]))
            reference = weakref.ref(future)
            del future
            Parking.until(lambda: is_gone(reference, pool))
            assert all(is_gone(thing, pool) for thing in kept)
        finally:
            gc.enable()


def test_an_idle_worker_holds_no_result() -> None:
    """F6"""

    class Thing:
        pass

    with ThreadPoolExecutor(1) as pool:
        reference = weakref.ref(pool.submit(Thing).result(LIMIT))
        Parking.until(lambda: is_gone(reference, pool))


class Weak(Exception):
    """Unlike the built-in ones it can be watched."""


def test_raising_leaves_no_reference_cycle() -> None:
    """F6"""

    def fail() -> None:
        raise Weak("no cycle")

    with ThreadPoolExecutor(1) as pool:
        gc.collect()
        gc.disable()
        try:
            future = pool.submit(fail)
            try:
                future.result(LIMIT)
            except Weak as exc:
                reference = weakref.ref(exc)
            del future
            Parking.until(lambda: is_gone(reference, pool))
        finally:
            gc.enable()


variable = contextvars.ContextVar("variable", default="nobody's")


def read_variable() -> str:
    return variable.get()


def test_context_variables_are_as_in_the_standard_pool() -> None:
    """The manual says nothing; what the running version's own pool does is what users expect."""

    def seen(pool_class: type[standard.Executor]) -> list[str]:
        with pool_class(1) as pool:  # type: ignore[call-arg]
            variable.set("starter's")
            first = pool.submit(read_variable).result(LIMIT)
            variable.set("later")
            second = pool.submit(read_variable).result(LIMIT)
            pool.submit(variable.set, "worker's").result(LIMIT)
            return [first, second, pool.submit(read_variable).result(LIMIT), read_variable()]

    ours, theirs = (
        contextvars.Context().run(seen, pool_class) for pool_class in (ThreadPoolExecutor, standard.ThreadPoolExecutor)
    )
    assert ours == theirs


@pytest.mark.parametrize("number", [0, -1, -(10**9)])
def test_max_workers_must_be_positive(number: int) -> None:
    with pytest.raises(ValueError, match="max_workers"):
        ThreadPoolExecutor(number)


@pytest.mark.parametrize("number", ["1", [], {}], ids=repr)
def test_max_workers_must_be_a_number(number: object) -> None:
    with pytest.raises(TypeError):
        ThreadPoolExecutor(number)  # type: ignore[arg-type]


def test_other_bad_input() -> None:
    with pytest.raises(TypeError, match="initializer"):
        ThreadPoolExecutor(initializer=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        ThreadPoolExecutor(initargs=1)  # type: ignore[arg-type]
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(TypeError, match="callable"):
            pool.submit(42)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            pool.submit()  # type: ignore[call-arg]
        with pytest.raises(TypeError):
            pool.submit(fn=int)  # type: ignore[call-arg]
    assert len(pool._threads) == 0


def test_the_default_number_of_workers() -> None:
    """The manual: min(32, (os.process_cpu_count() or 1) + 4); a container may allow fewer."""
    with ThreadPoolExecutor() as ours, standard.ThreadPoolExecutor() as theirs:
        assert 5 <= ours._max_workers <= theirs._max_workers


def test_the_names_of_the_threads() -> None:
    with ThreadPoolExecutor(2, thread_name_prefix="mine") as pool, ThreadPoolExecutor(1) as other:
        meeting = threading.Barrier(3)
        for _ in range(2):
            pool.submit(meeting.wait, LIMIT)
        meeting.wait(LIMIT)
        other.submit(int).result(LIMIT)
        assert sorted(thread.name for thread in pool._threads) == ["mine_0", "mine_1"]
        assert all(thread.name.startswith("ThreadPoolExecutor-") for thread in other._threads)


def test_all_calls_of_a_long_queue_run() -> None:
    """E1, E10: submit takes what comes, without waiting for a worker."""
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        pool.submit(gate.wait, LIMIT)
        for _ in range(100_000):
            last = pool.submit(int)
        assert pool._work_queue.qsize() >= 100_000
        gate.set()
        assert last.result(LIMIT) == 0
