"""`request_cancel` and `cancel_requested` across processes and interpreters."""

from __future__ import annotations

import threading
from typing import Any

import control_calls
import pytest
from races import LIMIT, Parking, frequent_switches, together

import corefutures

Make = Any


def running(future: Any) -> Any:
    Parking.until(future.running)
    return future


def test_a_call_learns_that_it_should_stop(make: Make) -> None:
    pool = make(2, initializer=control_calls.asked_before_any_call)
    assert not corefutures.cancel_requested()
    calls = [running(pool.submit(control_calls.until_asked, number)) for number in range(2)]
    waiting = pool.submit(control_calls.until_asked)
    assert pool.request_cancel(waiting)
    assert waiting.cancelled()
    assert not pool.request_cancel(waiting)
    for number, call in enumerate(calls):
        assert not call.done()
        assert pool.request_cancel(call)
        assert call.result(LIMIT) == number
        assert not pool.request_cancel(call)
    assert [pool.submit(control_calls.asked).result(LIMIT) for _ in range(4)] == [False] * 4
    with pytest.raises(TypeError):
        pool.request_cancel(corefutures.Future())


def test_only_the_call_that_is_meant_is_asked(make: Make) -> None:
    pool = make(2)
    first, second = (running(pool.submit(control_calls.until_asked, number)) for number in range(2))
    assert pool.request_cancel(second)
    assert second.result(LIMIT) == 1
    assert pool.submit(control_calls.asked).result(LIMIT) is False
    assert not first.done()
    assert pool.request_cancel(first)
    assert pool.request_cancel(first) in (True, False)  # once more does no harm
    assert first.result(LIMIT) == 0
    assert pool.submit(control_calls.asked).result(LIMIT) is False


def test_any_thread_of_the_worker_may_ask(make: Make) -> None:
    pool = make(1)
    call = running(pool.submit(control_calls.until_asked_in_threads))
    assert pool.request_cancel(call)
    assert call.result(LIMIT) == ["stopped"] * 3


def test_threads_that_a_call_left_take_nothing_that_is_for_others(make: Make) -> None:
    pool = make(1)
    for _ in range(3):
        pool.submit(control_calls.leave_thread_that_asks).result(LIMIT)
    large = b"x" * 200_000
    for number in range(100):
        assert pool.submit(abs, -number).result(LIMIT) == number
        assert pool.submit(control_calls.asked, large).result(LIMIT) is False


def test_a_request_from_a_callback(make: Make) -> None:
    pool = make(2)
    call = running(pool.submit(control_calls.until_asked))
    said: list[bool] = []
    pool.submit(abs, -1).add_done_callback(lambda _: said.append(pool.request_cancel(call)))
    assert call.result(LIMIT) == "stopped"
    Parking.until(lambda: bool(said))
    assert said == [True]


def test_a_worker_that_takes_the_place_of_another_is_not_asked(make: Make) -> None:
    if "Interpreter" in type(make()).__name__:
        pytest.skip("interpreters are not replaced")
    pool = make(1, max_tasks_per_child=1)
    for number in range(3):
        call = running(pool.submit(control_calls.until_asked, number))
        assert pool.request_cancel(call)
        assert call.result(LIMIT) == number
        assert pool.submit(control_calls.asked).result(LIMIT) is False


def race_requests(pool: Any, rounds: int) -> None:
    """Requests against calls that are ending: each answer fits, and no other call is asked."""

    def ask() -> None:
        for _ in range(rounds):
            call = pool.submit(control_calls.asked)
            said = pool.request_cancel(call)
            assert said or call.done()
            if not call.cancelled():
                assert call.result(LIMIT) in (True, False)

    def mind() -> None:
        for _ in range(rounds):
            assert pool.submit(control_calls.asked).result(LIMIT) is False

    with frequent_switches():
        together(ask, mind, ask)


def test_requests_race_with_the_end_of_calls(make: Make) -> None:
    race_requests(make(2), 60)


@pytest.mark.chaos_long
@pytest.mark.timeout(600)
def test_requests_race_with_the_end_of_calls_for_long(make: Make) -> None:
    race_requests(make(2), 3000)


def test_requests_while_large_arguments_are_under_way(make: Make) -> None:
    pool = make(1)
    large = b"x" * 3_000_000
    for _ in range(10):
        call = pool.submit(control_calls.asked, large)
        answers = together(lambda call=call: pool.request_cancel(call), lambda call=call: pool.request_cancel(call))
        assert call.cancelled() or call.result(LIMIT) in (True, False)
        assert any(answers) or call.done()
    assert pool.submit(control_calls.asked).result(LIMIT) is False


def test_at_exit_cancel_asks_what_runs(make: Make) -> None:
    executor = make(1, at_exit="cancel")
    call = running(executor.submit(control_calls.until_asked))
    waiting = executor.submit(control_calls.asked)

    def end() -> None:
        executor._cf_pool.close_at_exit()
        executor._cf_pool.finish()

    ending = threading.Thread(target=end)
    ending.start()
    ending.join(LIMIT)
    assert not ending.is_alive()
    assert call.result(0) == "stopped"
    assert waiting.cancelled()
