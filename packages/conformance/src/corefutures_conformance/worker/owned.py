"""What rules on worker-local values and shared objects submit: values and objects that note what becomes of them."""

from __future__ import annotations

import contextlib
import os
import pickle
from collections.abc import Iterator
from typing import Any

from corefutures_conformance.worker.calls import place
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal


def worker() -> str:
    """Return where this runs, as one word."""
    return "-".join(map(str, place()))


# Worker-local values


class Value:
    """Notes where it is made, and that it is closed."""

    def __init__(self, journal: Journal, name: str) -> None:
        self.journal, self.name = journal, name
        journal.note(f"made {name} by {worker()}")

    def close(self) -> None:
        """Note it."""
        self.journal.note(f"closed {self.name}")


def get(local: Any) -> Any:
    """Return the value."""
    return local.get()


def worker_of_value(local: Any) -> str:
    """Get the value; return the worker."""
    local.get()
    return worker()


def leave_alone(local: Any, number: int) -> int:
    """Return the number."""
    return number


def fails_twice(journal: Journal) -> str:
    """Raise LookupError twice, then return "made"."""
    journal.note("called")
    if len(journal.entries) <= 2:
        raise LookupError("not yet")
    return "made"


@contextlib.contextmanager
def entered(journal: Journal) -> Iterator[str]:
    """Note that it is entered and left."""
    journal.note("entered")
    yield "the value"
    journal.note("left")


# Shared objects


class Table:
    """Has a buffer that is pickled out of band; notes that it is pickled, loaded and freed."""

    def __init__(self, content: Any, journal: Journal, *, loaded: bool = False) -> None:
        self.content, self.journal, self.loaded = content, journal, loaded

    def __reduce_ex__(self, protocol: Any) -> Any:
        self.journal.note("pickled")
        return load, (pickle.PickleBuffer(self.content), self.journal)

    def __len__(self) -> int:
        return len(self.content)

    def __del__(self) -> None:
        if self.loaded:
            self.journal.note("freed")


def load(content: Any, journal: Journal) -> Table:
    """Return a table, and note where."""
    journal.note(f"loaded by {worker()}")
    return Table(content, journal, loaded=True)


def size(table: Any) -> int:
    """Return the size."""
    return len(table)


def worker_with(table: Any) -> str:
    """Use the table; return the worker."""
    len(table)
    return worker()


def sizes_within(listed: list[Any], by_name: dict[str, Any], nested: tuple[Any, ...], *, named: Any) -> list[int]:
    """Return the sizes of four tables."""
    return [len(listed[0]), len(by_name["a"]), len(nested[0][0]), len(named)]


def size_behind(gate: Gate, table: Any) -> int:
    """Return the size once the gate is open."""
    gate.enter()
    return len(table)


def write_into(table: Any) -> None:
    """Write the first byte."""
    table.content[0] = 1


def identity(value: Any) -> int:
    """Return the id."""
    return id(value)


class Latecomer:
    """Can't be loaded before a file is there."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return load_if, (self.path,)


def load_if(path: str) -> list[str]:
    """Return a list if the file is there; raise LookupError otherwise."""
    if not os.path.exists(path):
        raise LookupError("not yet")
    return ["loaded"]
