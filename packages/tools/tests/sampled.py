"""Functions to compare: what each does shows in the table, however fast the machine is."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
import time
from array import array
from collections.abc import Iterator
from typing import Any

ended = threading.Event()
numbers: Iterator[int] = iter(range(10**9))


def double(number: Any) -> Any:
    return number * 2


def refuse(number: int) -> int:
    raise ValueError(f"no {number}")


def refuse_odd(number: int) -> int:
    if number % 2:
        raise ValueError(f"no {number}")
    return number


def nap(_: Any) -> None:
    time.sleep(0.005)  # what a call that waits for something else does


def hang(_: Any) -> None:
    ended.wait()


def hold_the_line(port: int) -> None:
    """Hangs in a worker process, not in the trial's own."""
    if multiprocessing.current_process().name != "corefutures-trial":
        with socket.create_connection(("127.0.0.1", port)) as line:
            line.recv(1)


def crash(_: Any) -> None:
    os._exit(7)


def crash_outside_a_worker_thread(number: int) -> int:
    """Ends the process where it runs in the main thread, as it does on the loop and in worker processes."""
    if threading.current_thread() is threading.main_thread():
        os._exit(7)
    return number


def count_on(_: Any) -> int:
    return next(numbers)


def nested(number: int) -> Any:
    return lambda: number


class Plain:
    """Equal to nothing but itself."""

    def __init__(self, number: int) -> None:
        self.number = number


def peculiar(number: int) -> Any:
    """Values that equal nothing, or tell of equality in a way of their own."""
    return [float("nan"), Plain(3), [array("d", [1.0]), {2, 1}]][number]


def grow(numbers: list[int]) -> int:
    """Changes its argument: right only with a fresh one each time."""
    numbers.append(0)
    return len(numbers)


class Slow:
    """An item that hangs the process that loads it."""

    def __reduce__(self) -> Any:
        return hang, (0,)
