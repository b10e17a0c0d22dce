"""The standard names of a future's private parts work for whoever pokes at them."""

from __future__ import annotations

import threading

import pytest
from racing import LIMIT, Parking

from corefutures import Future


@pytest.mark.parametrize("parked_first", [True, False])
@pytest.mark.parametrize("wake", ["notify", "notify_all"])
def test_ending_a_future_by_hand_wakes_who_waits(wake: str, parked_first: bool) -> None:
    future: Future[int] = Future()
    if not parked_first:
        assert future._condition
    outcome: list[object] = []
    waiter = threading.Thread(target=lambda: outcome.append(future.exception(LIMIT)), daemon=True)
    waiter.start()
    Parking.until(lambda: bool(future._parked))

    error = OSError("by hand")
    with future._condition:
        future._exception = error
        future._state = "FINISHED"
        getattr(future._condition, wake)()

    waiter.join(LIMIT / 2)
    assert outcome == [error]


def test_notifying_without_ending_wakes_nobody() -> None:
    future: Future[int] = Future()
    outcome: list[object] = []
    waiter = threading.Thread(target=lambda: outcome.append(future.result(LIMIT)), daemon=True)
    waiter.start()
    Parking.until(lambda: bool(future._parked))

    with future._condition:
        future._condition.notify_all()
    assert future._parked

    future.set_result(3)
    waiter.join(LIMIT / 2)
    assert outcome == [3]
