"""Calls that take memory, for `test_memory_limits`: workers import them from here."""

from __future__ import annotations

import mmap
import os
import time
from pathlib import Path

KEPT: list[bytearray] = []


def take(size: int, path: str | None = None) -> int:
    """Have so much private memory in all, filled page by page, return its size; or keep it until a file is there."""
    memory = bytearray(size)
    memory[:: mmap.PAGESIZE] = b"\1" * len(memory[:: mmap.PAGESIZE])
    if path is not None:
        Path(path + ".begun").touch()
        while not os.path.exists(path):
            time.sleep(0.002)
    return len(memory)


def grow(step: int) -> None:
    """Take more and more memory, until this worker is killed."""
    while True:
        KEPT.append(bytearray(b"\1") * step)
        time.sleep(0.001)


def read_parcel(content: bytes) -> int:
    """Return the length of an argument."""
    return len(content)


def map_shared(size: int) -> int:
    """Fill so much memory that others may map as well."""
    with mmap.mmap(-1, size) as shared:  # shared and anonymous: no private memory
        for start in range(0, size, 1 << 20):
            shared[start : start + (1 << 20)] = b"\1" * (1 << 20)
        time.sleep(0.1)
        return len(shared)
