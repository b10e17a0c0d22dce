"""Waiting in the tests: for conditions that need polling, and for calls in other processes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

#: Seconds in which a process must start on a busy machine.
PATIENCE = 40.0


def await_that(condition: Callable[[], object], what: str) -> None:
    """Wait until a condition holds; fail if that takes too long."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come"
        time.sleep(0.02)


class Gate:
    """Blocks calls until it is opened: made of files, so that it works between any processes."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        path.mkdir()

    def arrivals(self) -> list[str]:
        return [name for name in os.listdir(self.path) if name != "open"]

    def await_arrivals(self, count: int) -> list[str]:
        await_that(lambda: len(self.arrivals()) >= count, f"{count} calls at the gate")
        return self.arrivals()

    def open(self) -> None:
        Path(self.path, "open").touch()
