"""Calls that hold slots, for `test_slots`: workers import them from here."""

from __future__ import annotations

import os
import time
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import corefutures

TENANT: ContextVar[str] = ContextVar("TENANT", default="")


def held(_: object = None) -> dict[str, tuple[Any, ...]]:
    """Return the slots that this call holds."""
    return corefutures.held_slots()


def held_while(seconds: float) -> tuple[float, float, dict[str, tuple[Any, ...]]]:
    """Return when this call began and ended, by the clock of the machine, and the slots that it held."""
    begun, slots = time.monotonic(), corefutures.held_slots()
    time.sleep(seconds)
    return begun, time.monotonic(), slots


def await_file(path: str, told: object = None) -> object:
    """Wait until there is a file; a file next to it, with `.begun` in its name, tells that this call has begun."""
    Path(path + ".begun").touch()
    while not os.path.exists(path):
        time.sleep(0.002)
    return told


def note(path: str, entry: str) -> None:
    """Add a line to a file."""
    with open(path, "a") as file:
        file.write(entry + "\n")


def tenant() -> tuple[int, dict[str, tuple[Any, ...]]]:
    """Return the length of the value of a context variable, and the slots that this call holds."""
    return len(TENANT.get()), corefutures.held_slots()


def fail() -> None:
    """Raise."""
    raise LookupError("on purpose")


def fail_once(path: str) -> tuple[Any, ...]:
    """Raise the first time; return the ids of the slots "gpu" the second time."""
    if not os.path.exists(path):
        Path(path).touch()
        raise LookupError("the first time")
    return corefutures.held_slots()["gpu"]


def end_worker() -> None:
    """End the process of this worker."""
    os._exit(3)


def visible_devices() -> str | None:
    """Return the environment variable, as this worker sees it."""
    return os.environ.get("CUDA_VISIBLE_DEVICES")


def items(number: int) -> Any:
    """Yield the slots that this call holds, so many times."""
    for _ in range(number):
        yield corefutures.held_slots()


def length_and_slots(content: Any) -> tuple[int, dict[str, tuple[Any, ...]]]:
    """Return the length of an argument, and the slots that this call holds."""
    return len(content), corefutures.held_slots()
