"""The calls of a chaos, which write a journal of their own; imported by every worker.

An entry is one number of eight bytes, appended in one write: the number of the call, and what happened to it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from struct import Struct
from typing import Any

BEGUN, ENDED, TAKEN, SETTLED = range(4)
ENTRY = Struct("=Q")

_files: dict[tuple[int, str], int] = {}


class Planned(Exception):
    """What a call raises because it is to."""


class Unpicklable:
    """A result that can't be pickled."""

    def __reduce__(self) -> Any:
        raise Planned("can't be pickled")


class Buffered:
    """A value whose content travels out of band."""

    def __init__(self, content: Any) -> None:
        self.content = content

    def __reduce_ex__(self, protocol: int) -> Any:
        from pickle import PickleBuffer

        return Buffered, (PickleBuffer(self.content) if protocol >= 5 else bytes(self.content),)


def note(journal: str, number: int, what: int) -> None:
    """Append an entry to a journal, which stays open in this process."""
    key = os.getpid(), journal
    descriptor = _files.get(key)
    if descriptor is None:
        _files.clear()  # those of the process that this one was forked from: they are shared, and stay open
        descriptor = _files[key] = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.write(descriptor, ENTRY.pack(number << 2 | what))


def read_journal(journal: str) -> dict[int, list[int]]:
    """Return how many times each thing happened to each call."""
    counts: dict[int, list[int]] = {}
    try:
        with open(journal, "rb") as file:
            for (entry,) in ENTRY.iter_unpack(file.read()):
                counts.setdefault(entry >> 2, [0, 0, 0, 0])[entry & 3] += 1
    except FileNotFoundError:
        pass
    return counts


def work(journal: str, number: int, kind: str, content: Any = None) -> Any:
    """Do what a kind of call does, and return a value that tells the call."""
    note(journal, number, BEGUN)
    result: Any = number
    if kind == "slow":
        time.sleep(0.0005 * (1 + number % 5))
    elif kind == "large":
        result = Buffered(bytearray(b"%08d" % (number % 10**8) * (4 << number % 14)))
    elif kind == "echo":
        result = len(content.content)
    elif kind == "long":
        wait_until_asked(0.02 * (1 + number % 5))
    elif kind == "crash":
        os.kill(os.getpid(), signal.SIGKILL if number % 2 else signal.SIGSEGV)
    elif kind == "exit":
        os._exit(3)
    elif kind == "fork":
        pid = os.fork()
        if not pid:
            time.sleep(0.001)
            os._exit(0)
        os.waitpid(pid, 0)
    note(journal, number, ENDED)
    if kind == "raise":
        raise Planned(number)
    if kind == "system exit":
        sys.exit(number)
    if kind == "unpicklable":
        return Unpicklable()
    return result


def wait_until_asked(seconds: float) -> bool:
    """Wait for a request to stop, or so many seconds."""
    from corefutures import cancel_requested

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if cancel_requested():
            return True
        time.sleep(0.001)
    return False


def item(journal: str, number: int) -> int:
    """Be an item of a map."""
    note(journal, number, BEGUN)
    note(journal, number, ENDED)
    return number


def prepare() -> None:
    """Be an initializer."""
    time.sleep(0)
