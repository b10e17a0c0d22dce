"""`explore` finds planted races within 1,000 schedules, shrinks them, and says how to repeat them."""

from __future__ import annotations

import asyncio
import concurrent.futures as standard
import inspect
from collections.abc import Callable
from typing import Any

import pytest

import corefutures
from corefutures import DeadlockError, WorkerLostError
from corefutures_testing import SimulatedExecutor, explore

#: Name → the program, the options under which it fails, the error.
RACES: dict[str, tuple[Callable[..., Any], dict[str, Any], type[BaseException]]] = {}


def race(error: type[BaseException] = AssertionError, **options: Any) -> Callable[[Callable[..., Any]], None]:
    def add(program: Callable[..., Any]) -> None:
        RACES[program.__name__] = program, options, error

    return add


@race()
def lost_update(executor: SimulatedExecutor) -> None:
    account = {"balance": 100}

    def withdraw(amount: int) -> None:
        balance = account["balance"]
        executor.submit(int).result()  # asks another service meanwhile
        account["balance"] = balance - amount

    list(executor.map(withdraw, [10, 20]))
    assert account["balance"] == 70


@race()
def results_in_the_order_of_completion(executor: SimulatedExecutor) -> None:
    futures = [executor.submit(abs, number) for number in range(4)]
    assert [future.result() for future in corefutures.as_completed(futures)] == [0, 1, 2, 3]


@race()
def a_callback_before_its_state(executor: SimulatedExecutor) -> None:
    seen: list[Any] = []
    state: dict[str, list[Any]] = {}
    future = executor.submit(int)
    future.add_done_callback(lambda future: state.get("seen", []).append(future.result()))
    state["seen"] = seen
    future.result()
    assert seen == [0]


@race()
def a_cache_that_is_filled_twice(executor: SimulatedExecutor) -> None:
    cache: dict[str, int] = {}
    loads: list[str] = []

    def load(key: str) -> int:
        loads.append(key)
        executor.sleep(1)
        return len(key)

    def get(key: str) -> int:
        if key not in cache:
            cache[key] = load(key)
        return cache[key]

    list(executor.map(get, ["one", "one"]))
    assert loads == ["one"]


@race()
def three_calls_in_one_certain_order(executor: SimulatedExecutor) -> None:
    order: list[int] = []
    list(executor.map(order.append, range(5)))
    assert order[:3] != [4, 2, 3]  # 1 of 60 orders


@race(DeadlockError)
def two_locks(executor: SimulatedExecutor) -> None:
    held: set[str] = set()

    def transfer(first: str, second: str) -> None:
        for name in (first, second):
            executor.wait_until(lambda name=name: name not in held)  # type: ignore[misc]
            held.add(name)
            executor.sleep(0)
        held.clear()

    corefutures.wait([executor.submit(transfer, "a", "b"), executor.submit(transfer, "b", "a")])


@race(standard.CancelledError, cancellations=1)
def a_cancellation_that_nobody_expects(executor: SimulatedExecutor) -> None:
    futures = [executor.submit(abs, number) for number in range(3)]
    assert sum(future.result() for future in corefutures.as_completed(futures)) == 3


@race(losses=1)
def a_call_that_is_tried_again_though_it_ran(executor: SimulatedExecutor) -> None:
    sent: list[int] = []
    for number in range(3):
        while True:
            try:
                executor.submit(sent.append, number).result()
                break
            except WorkerLostError:
                continue
    assert sent == [0, 1, 2]


@race(TimeoutError, delays=1)
def a_time_limit_that_nobody_expects(executor: SimulatedExecutor) -> None:
    for _ in range(3):
        executor.submit(executor.sleep, 1).result(timeout=5)


@race()
async def tasks_that_share_a_counter(executor: SimulatedExecutor) -> None:
    loop = asyncio.get_running_loop()
    counter = 0

    async def count() -> None:
        nonlocal counter
        before = counter
        await loop.run_in_executor(executor, int)
        counter = before + 1

    await asyncio.gather(count(), count())
    assert counter == 2


@pytest.mark.parametrize("name", RACES)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_planted_race_is_found(name: str, seed: int) -> None:
    program, options, error = RACES[name]
    with pytest.raises(error) as raised:
        explore(schedules=1000, seed=seed, patience=60, **options)(program)()
    (note,) = raised.value.__notes__
    assert f"of 1000 fails, seed {seed}" in note
    assert "call 1" in note
    replay = note.rpartition("--corefutures-replay=")[2]
    with pytest.raises(error) as again:
        explore(replay=replay, patience=60, **options)(program)()
    events = [
        one.__notes__[0].partition("what happened:")[2].partition("run that")[0] for one in (raised.value, again.value)
    ]
    assert events[0] == events[1]


def test_a_right_program_passes() -> None:
    runs: list[str] = []

    @explore(schedules=50, seed=1, patience=60, cancellations=1, losses=1, delays=1)
    def program(executor: SimulatedExecutor) -> None:
        done, pending = corefutures.wait([executor.submit(abs, number) for number in range(3)])
        runs.append(executor.schedule)
        assert not pending
        assert len(done) == 3

    program()
    assert len(runs) == 50
    assert len(set(runs)) > 20


def test_the_failing_schedule_is_shrunk_to_the_smallest() -> None:
    @explore(schedules=1000, seed=5, max_workers=1, patience=60)
    def program(executor: SimulatedExecutor) -> None:
        order: list[int] = []
        futures = [executor.submit(order.append, number) for number in range(8)]
        corefutures.wait(futures)
        assert order.index(1) < order.index(3)

    with pytest.raises(AssertionError) as raised:
        program()
    (note,) = raised.value.__notes__
    assert "differs from that of submission by 1 decision\n" in note
    starts = [line for line in note.splitlines() if line.endswith("starts")]
    before = next(place for place, line in enumerate(starts) if "call 4 " in line)
    assert not any("call 2 " in line for line in starts[:before])


def test_without_shrinking_the_schedule_is_the_one_that_failed() -> None:
    @explore(schedules=1000, seed=5, shrink=False, patience=60)
    def program(executor: SimulatedExecutor) -> None:
        order: list[int] = []
        list(executor.map(order.append, range(5)))
        assert order == sorted(order)

    with pytest.raises(AssertionError) as raised:
        program()
    assert "shortest" not in raised.value.__notes__[0]


def test_a_failure_that_does_not_repeat_is_told() -> None:
    runs = 0

    @explore(schedules=10, seed=1, patience=60)
    def program(executor: SimulatedExecutor) -> None:
        nonlocal runs
        runs += 1
        assert runs != 4

    with pytest.raises(AssertionError) as raised:
        program()
    assert "passes with the same decisions: the test depends on something besides the executor" in str(
        raised.value.__notes__
    )


def test_a_skip_is_no_failure() -> None:
    @explore(seed=1)
    def program(executor: SimulatedExecutor) -> None:
        pytest.skip("not here")

    with pytest.raises(pytest.skip.Exception):
        program()


def test_other_arguments_remain() -> None:
    @explore(schedules=2, seed=1)
    def program(number: int, executor: SimulatedExecutor, *, text: str = "") -> None:
        assert executor.submit(abs, -number).result() == len(text)

    assert list(inspect.signature(program).parameters) == ["number", "text"]
    program(3, text="abc")  # type: ignore[call-arg]


def test_what_is_refused() -> None:
    with pytest.raises(TypeError, match=r"write @explore\(\) or @explore\(schedules=500\)"):
        explore(lambda executor: None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="has no argument executor"):
        explore()(lambda pool: None)
    with pytest.raises(ValueError, match="schedules"):
        explore(schedules=0)
    with pytest.raises(ValueError, match="a schedule to replay is a text"):
        explore(replay="first")
    with pytest.raises(ValueError, match="losses"):
        explore(losses=-1)
