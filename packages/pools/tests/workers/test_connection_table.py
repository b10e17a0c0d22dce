"""The table of the connections of a pool over a shared queue."""

from __future__ import annotations

import sys
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("only Linux has shared queues", allow_module_level=True)

from corefutures_pools.workers.shared_queue.connection_table import ConnectionTable


class Channel:
    """The pool's end of a payload channel."""

    def close(self) -> None: ...


class Watched(set[Any]):
    """A set of connections that is looked at as soon as one has left it."""

    def __init__(self) -> None:
        self.on_left: Any = None

    def discard(self, connection: Any) -> None:
        super().discard(connection)
        self.on_left()

    def remove(self, connection: Any) -> None:
        super().remove(connection)
        self.on_left()


@pytest.mark.parametrize("spare", [False, True])
def test_a_worker_can_be_started_as_soon_as_one_is_counted_less(spare: bool) -> None:
    serving, spares = Watched(), Watched()
    table = ConnectionTable(serving, spares, 1)
    lost = table.add(-1, Channel(), spare=spare)  # type: ignore[arg-type]
    started: list[Any] = []

    def start() -> None:
        if not started:
            started.append(table.add(-1, Channel(), spare=spare))  # type: ignore[arg-type]

    serving.on_left = spares.on_left = start
    assert table.release_index(lost) is spare
    assert started[0].index == lost.index
    assert list(spares if spare else serving) == started
    assert table.release_index(lost) is False
