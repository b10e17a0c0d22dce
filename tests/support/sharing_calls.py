"""Calls with shared objects, for worker processes and interpreters: imports nothing of the tests."""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.worker_local_calls import write

pickles = 0


class Table:
    """Has a large buffer; says in the journal where it was loaded, and counts here how often it was pickled."""

    def __init__(self, content: Any, journal: str = "") -> None:
        self.content, self.journal = content, journal

    def __reduce_ex__(self, protocol: Any) -> Any:
        global pickles
        pickles += 1
        return load, (pickle.PickleBuffer(self.content), self.journal)


def worker() -> str:
    return f"{os.getpid()} {threading.get_ident()}"


def load(content: Any, journal: str) -> Table:
    if journal:
        write(journal, f"load {worker()}")
    return Table(content, journal)


@dataclass
class Holder:
    table: Any
    name: str = "holder"


def size(table: Any) -> int:
    return len(table.content)


def sizes(*tables: Any, **named: Any) -> list[int]:
    return [size(table) for table in (*tables, *named.values())]


def sizes_within(holder: Any, listed: list[Any], by_name: dict[str, Any], again: tuple[Any, ...]) -> list[int]:
    return sizes(holder.table, *listed, *by_name.values(), again[0][0])


def size_and_worker(table: Any, number: int) -> tuple[int, str]:
    return size(table) + number, worker()


def identity(table: Any) -> int:
    return id(table)


def count_to_size(table: Any) -> Iterator[int]:
    yield from range(size(table))


def write_into(table: Any) -> None:
    table.content[0] = 7


def told(view: Any) -> tuple[Any, ...]:
    return type(view).__name__, view.format, view.shape, view.readonly, view.tolist()


def kind_and_list(value: Any) -> tuple[str, list[Any]]:
    return type(value).__name__, list(value)


def mapped() -> list[str]:
    """The files, by device and inode, that are the memory of shared objects in this process; Linux only."""
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    return sorted({f"{line[3]} {line[4]}" for line in lines if line[1] == "r--s" and "corefutures" in line[5]})


def mapped_with(table: Any) -> list[str]:
    return mapped()


def wait_for(path: str) -> None:
    while not os.path.exists(path):
        time.sleep(0.002)


def size_once(table: Any, arrived: str, path: str) -> int:
    Path(arrived).touch()
    wait_for(path)
    return size(table)


class Kills:
    """Kills the process that loads it for the first time."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return load_or_die, (self.marker,)


def load_or_die(marker: str) -> Kills:
    if not os.path.exists(marker):
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL if sys.platform != "win32" else signal.SIGTERM)
    return Kills(marker)


class Fails:
    """Can't be loaded until there is a file."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return load_if, (self.path,)


def load_if(path: str) -> str:
    if not os.path.exists(path):
        raise LookupError("the file is missing")
    return "loaded"


def returned(value: Any) -> Any:
    return value


def kind_of(value: Any) -> str:
    return type(value).__name__


def flags_of(arrays: dict[str, Any], name: str) -> tuple[Any, ...]:
    array = arrays[name]
    return array.flags.writeable, array.flags.owndata, array.shape, float(array.sum())
