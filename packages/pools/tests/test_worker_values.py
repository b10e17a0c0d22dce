"""The values of a worker process: threads of its calls may need the first one at once."""

from __future__ import annotations

from typing import Any

import pytest

from corefutures._blocking import system
from corefutures_pools import worker_values
from corefutures_pools.workers import worker_loop


def test_threads_of_a_worker_that_need_values_at_once_have_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    callbacks: list[Any] = []
    monkeypatch.setattr(worker_values, "_own", {})
    monkeypatch.setattr(worker_values._blocking, "in_worker", lambda: True)
    monkeypatch.setattr(worker_loop, "exit_callbacks", callbacks)
    others: list[Any] = []

    class Late(worker_values.WorkerValues):
        def __init__(self) -> None:
            super().__init__()
            if not others:  # another thread comes meanwhile
                others.append(None)
                others.append(worker_values._values_here())

    monkeypatch.setattr(worker_values, "WorkerValues", Late)
    assert worker_values._values_here() is others[1]
    assert worker_values._own[system.getpid()] is others[1]
    assert callbacks == [others[1].close]
