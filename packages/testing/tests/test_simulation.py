"""Simulated executors: the same seed gives the same run; waits of all kinds let calls run; the clock is theirs."""

from __future__ import annotations

import asyncio
import concurrent.futures as standard
import gc
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import corefutures
from corefutures import DeadlockError, WorkerLostError
from corefutures_testing import SimulatedExecutor
from corefutures_testing._choices import from_text, to_text

SEEDS = range(20)


def simulated(max_workers: int | None = None, **options: Any) -> SimulatedExecutor:
    """Make an executor that takes no call of these tests for one that blocks, however slow the machine is."""
    return SimulatedExecutor(max_workers, **{"patience": 60, **options})


def traced(executor: SimulatedExecutor) -> SimulatedExecutor:
    executor._cf_pool.simulation.traced = True
    return executor


def busy(executor: SimulatedExecutor) -> list[Any]:
    """A program that waits in every way there is, for calls that wait as well."""
    log: list[Any] = []

    def call(seconds: float) -> float:
        log.append(("in", seconds))
        executor.sleep(seconds)
        log.append(("out", seconds))
        return seconds

    def outer(seconds: float) -> float:
        return executor.submit(call, seconds).result() + 1

    with executor:
        futures = [executor.submit(call, seconds) for seconds in (3, 1, 2)]
        nested = executor.submit(outer, 1)
        done, _ = corefutures.wait(futures, timeout=2.5)
        log.append((sorted(future.result() for future in done), executor.time()))
        with pytest.raises(TimeoutError):
            executor.submit(call, 9).result(timeout=0.25)
        log += [future.result() for future in corefutures.as_completed(futures, timeout=100)]
        log += executor.map(call, [1, 2], timeout=100)
        log += [future.result() for future in standard.as_completed([executor.submit(call, 1)])]
        standard.wait([executor.submit(call, 1), nested])
        executor.submit(call, 1).add_done_callback(lambda future: log.append(future.result()))
    return log


def test_a_replay_is_identical_in_100_of_100_runs() -> None:
    options: dict[str, Any] = {"cancellations": 1, "losses": 1, "delays": 2}

    def outcome(executor: SimulatedExecutor) -> list[object]:
        try:
            log: object = busy(traced(executor))
        except BaseException as error:  # a cancellation is no Exception
            executor.shutdown()
            log = repr(error)
        return [log, executor.schedule, executor.events, executor.time(), executor.notes]

    for seed in range(5):
        first = outcome(simulated(2, seed=seed, **options))
        assert first[-1] == []
        for _ in range(10):
            assert outcome(simulated(2, seed=seed, **options)) == first
            assert outcome(simulated(2, replay=str(first[1]), **options)) == first


def test_seeds_differ() -> None:
    orders = set()
    for seed in SEEDS:
        order: list[int] = []
        with simulated(seed=seed) as executor:
            list(executor.map(order.append, range(3)))
        orders.add(tuple(order))
    assert len(orders) == 6


def test_without_decisions_calls_start_in_the_order_submitted() -> None:
    order: list[int] = []
    with simulated(replay="") as executor:
        futures = [executor.submit(order.append, number) for number in range(5)]
        assert order == []
        futures[0].result()
        assert order == [0]
    assert order == list(range(5))


@pytest.mark.parametrize("seed", SEEDS)
def test_time_limits_are_exact(seed: int) -> None:
    with simulated(3, seed=seed) as executor:
        futures = [executor.submit(executor.sleep, 10 * number) for number in range(1, 4)]
        done, pending = corefutures.wait(futures, timeout=20)
        assert (executor.time(), len(done), len(pending)) in [(20, 1, 2), (20, 2, 1)]
        with pytest.raises(TimeoutError):
            futures[2].result(timeout=0.5)
        assert executor.time() == 20.5
        with pytest.raises(TimeoutError):
            next(executor.map(executor.sleep, [100], timeout=30))
        assert executor.time() == 50.5
        with pytest.raises(TimeoutError):
            list(corefutures.as_completed([executor.submit(executor.sleep, 100)], timeout=40))
        assert executor.time() == 90.5


@pytest.mark.parametrize("seed", SEEDS)
def test_no_more_calls_run_at_once_than_there_are_workers(seed: int) -> None:
    running, most = set(), 0

    def call(number: int) -> None:
        nonlocal most
        running.add(number)
        most = max(most, len(running))
        executor.sleep(1)
        running.remove(number)

    with simulated(2, seed=seed) as executor:
        list(executor.map(call, range(6)))
    assert most == 2


@pytest.mark.parametrize("seed", SEEDS)
def test_a_call_that_waits_for_another_one_leaves_its_worker_to_that(seed: int) -> None:
    def depth(left: int) -> int:
        return 1 + executor.submit(depth, left - 1).result() if left else 0

    with simulated(1, seed=seed) as executor:
        assert executor.submit(depth, 5).result() == 5


def test_calls_that_wait_for_each_other_are_told() -> None:
    futures: dict[str, standard.Future[Any]] = {}

    def first() -> object:
        executor.wait_until(lambda: "second" in futures)
        return futures["second"].result()

    def second() -> object:
        return futures["first"].result()

    with simulated(seed=1) as executor:
        futures["first"] = executor.submit(first)
        futures["second"] = executor.submit(second)
        with pytest.raises(DeadlockError, match=r"wait for each other: call . .* → call . .* → call . "):
            futures["first"].result()


def test_a_wait_that_nothing_can_end_raises_at_once() -> None:
    executor = simulated(seed=1)
    with pytest.raises(DeadlockError, match="no simulated call can go on"):
        executor.wait_until(lambda: False)
    never = executor.submit(executor.wait_until, lambda: False)
    with pytest.raises(DeadlockError, match=r"call 1 \(SimulatedExecutor.wait_until\) waits for what no call"):
        never.result()
    executor._cf_close()
    assert never.done()


@pytest.mark.parametrize("seed", SEEDS)
def test_an_event_loop_takes_turns(seed: int) -> None:
    order: list[str] = []

    async def program() -> None:
        loop = asyncio.get_running_loop()

        async def ask(name: str) -> None:
            await loop.run_in_executor(executor, executor.sleep, 3600)
            order.append(name)

        await asyncio.gather(ask("a"), ask("b"), ask("c"))

    with simulated(2, seed=seed) as executor:
        asyncio.run(program())
        asyncio.run(program())  # another loop in the same thread
    assert sorted(order) == ["a", "a", "b", "b", "c", "c"]


def test_a_program_that_polls_goes_on() -> None:
    with simulated(replay="") as executor:
        future = executor.submit(executor.sleep, 1)
        while not future.done():
            pass
    assert executor.time() == 1


def test_faults_are_within_their_limits() -> None:
    outcomes: set[object] = set()
    for seed in range(60):
        ran: list[int] = []
        with simulated(seed=seed, cancellations=1, losses=1) as executor:
            futures = [executor.submit(ran.append, number) for number in range(4)]
        lost = [number for number, future in enumerate(futures) if not future.cancelled() and future.exception()]
        cancelled = [number for number, future in enumerate(futures) if future.cancelled()]
        assert len(lost) <= 1
        assert len(cancelled) <= 1
        assert all(isinstance(futures[number].exception(), WorkerLostError) for number in lost)
        assert not set(cancelled) & set(ran)
        outcomes |= {("lost", number in ran) for number in lost} | {"cancelled" for _ in cancelled}
    assert outcomes == {("lost", True), ("lost", False), "cancelled"}


def test_a_delay_lets_a_time_limit_end() -> None:
    late = 0
    for seed in range(60):
        with simulated(seed=seed, delays=1) as executor:
            future = executor.submit(int)
            try:
                future.result(timeout=5)
            except TimeoutError:
                late += 1
                assert executor.time() == 5
    assert 0 < late < 60


@pytest.mark.parametrize("seed", SEEDS)
def test_a_call_that_runs_too_long_is_stopped_where_it_waits(seed: int) -> None:
    reached: list[str] = []

    def slow() -> None:
        try:
            executor.sleep(10)
            reached.append("after")
        finally:
            reached.append("finally")

    with simulated(seed=seed) as executor:
        future = executor.options(timeout=3).submit(slow)
        with pytest.raises(TimeoutError, match="ran longer than its 3 s"):
            future.result()
        assert executor.time() == 3
    assert reached == ["finally"]


def test_a_callback_may_wait_for_a_thread_that_uses_the_executor() -> None:
    def submit_elsewhere(_: object) -> None:
        thread = threading.Thread(target=executor.submit, args=(int,))
        thread.start()
        thread.join()

    for seed in range(10):
        with simulated(seed=seed, cancellations=1) as executor:
            futures = [executor.submit(int), executor.options(timeout=1).submit(executor.sleep, 5)]
            for future in futures:
                future.add_done_callback(submit_elsewhere)
            corefutures.wait(futures)


def test_a_call_can_be_killed_and_asked_to_stop() -> None:
    def until_asked() -> str:
        executor.wait_until(corefutures.cancel_requested)
        return "asked"

    with simulated(seed=3) as executor:
        victim, asked = executor.submit(executor.sleep, 100), executor.submit(until_asked)
        executor.sleep(1)
        assert victim.running()
        assert executor.kill(victim)
        assert isinstance(victim.exception(), WorkerLostError)
        assert executor.request_cancel(asked)
        assert asked.result() == "asked"
        assert not executor.kill(victim)
    assert executor.time() == 1


def test_an_error_of_a_predicate_is_raised_where_it_is_awaited() -> None:
    with simulated(seed=1) as executor:
        broken = executor.submit(executor.wait_until, lambda: 1 / 0 > 0)
        other = executor.submit(executor.sleep, 1)
        other.result()
        assert isinstance(broken.exception(), ZeroDivisionError)
        with pytest.raises(ZeroDivisionError):
            executor.wait_until(lambda: 1 / 0 > 0)


def test_executors_of_one_simulation_share_clock_and_order() -> None:
    with simulated(seed=4) as executor, executor.make_executor(1, thread_name_prefix="io") as other:
        futures = [executor.submit(executor.sleep, 2), other.submit(other.sleep, 1), other.submit(other.sleep, 1)]
        corefutures.wait(futures)
        assert (executor.time(), other.time()) == (2, 2)


def test_a_call_that_blocks_in_something_unknown_holds_up_nobody() -> None:
    opened = threading.Event()
    with simulated(seed=5, patience=0.05) as executor:
        blocked = executor.submit(opened.wait)
        assert executor.submit(int).result() == 0
        corefutures.wait([executor.submit(opened.set)])
        assert blocked.result() is True
    assert any("blocks in what the simulation doesn't know" in note for note in executor.notes)


def test_a_program_that_blocks_in_something_unknown_goes_on() -> None:
    opened = threading.Event()
    with simulated(replay="", patience=0.05) as executor:
        executor.submit(opened.set)
        assert opened.wait(30)
    assert any("the program has not waited for a call" in note for note in executor.notes)


def test_futures_of_other_executors_are_awaited_as_ever() -> None:
    opened = threading.Event()
    with simulated(seed=8) as executor, standard.ThreadPoolExecutor(1) as pool:
        ours = executor.submit(executor.sleep, 3)
        ours.add_done_callback(lambda _: opened.set())
        theirs = pool.submit(lambda: opened.wait(30) and time.sleep(0.05))
        done, pending = corefutures.wait([ours, theirs])
        assert (done, pending) == ({ours, theirs}, set())
        ours = executor.submit(executor.sleep, 3)
        assert set(corefutures.as_completed([ours, pool.submit(time.sleep, 0.05)])) >= {ours}
    assert executor.time() == 6


def test_a_dropped_executor_runs_its_calls() -> None:
    ran = threading.Event()
    executor = simulated(replay="", patience=0.05)
    gone = weakref.ref(executor)
    executor.submit(ran.set)
    del executor
    gc.collect()
    assert ran.wait(30)
    assert gone() is None


def test_other_threads_may_use_it() -> None:
    results: list[int] = []
    with simulated(seed=6, patience=0.05) as executor:
        threads = [threading.Thread(target=lambda: results.append(sum(executor.map(abs, range(20))))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert results == [190] * 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patience": 0}, "patience"),
        ({"losses": -1}, "losses"),
        ({"cancellations": "2"}, "cancellations"),
        ({"seed": 1.5}, "seed must be an int"),
        ({"replay": "1,2"}, "a schedule to replay is a text such as '0x3.2.1', not '1,2'"),
        ({"max_workers": 0}, "max_workers"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        SimulatedExecutor(**options)


@pytest.mark.parametrize("decisions", [(), (1,), (0, 0, 0, 3), (2, 2, 2, 0, 11)])
def test_decisions_as_text(decisions: tuple[int, ...]) -> None:
    assert from_text(to_text(decisions)) == decisions or to_text(decisions) == "0"
    assert to_text((*decisions, 0, 0)) == to_text(decisions)


def test_what_is_refused_at_submit() -> None:
    refused: Callable[..., Any] = simulated(seed=7).submit
    with pytest.raises(TypeError, match="callable"):
        refused(3)
    executor = simulated(seed=7)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(int)
