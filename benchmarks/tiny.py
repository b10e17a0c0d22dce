"""Calls for workers that import this module anew: it imports nothing itself."""

from __future__ import annotations


def nothing() -> None:
    pass


def echo(item: object) -> object:
    return item


def interpreter_number(seconds: float = 0) -> int:
    """Stays for a moment, so that others take the next call; returns the number of its interpreter."""
    import sys

    if sys.version_info >= (3, 14):
        import time
        from concurrent import interpreters

        time.sleep(seconds)
        return interpreters.get_current().id
    raise NotImplementedError("needs Python 3.14")


def compute(steps: int) -> int:
    total = 0
    for step in range(steps):
        total += step * step % 7
    return total


def digest(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def pause(seconds: float) -> None:
    import time

    time.sleep(seconds)


def size_of(item: object) -> int:
    return len(item)  # type: ignore[arg-type]


def array(size: int) -> object:
    import numpy as np

    return np.ones(size)
