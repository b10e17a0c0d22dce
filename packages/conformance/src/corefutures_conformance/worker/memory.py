"""What initializers do and what the calls after them find: a memory of the worker's own.

It is kept twice, for the thread and for the whole interpreter, because either may be the worker.
"""

from __future__ import annotations

import os
import threading
from typing import Any, NoReturn

from corefutures_conformance.worker import hostile
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal

_of_the_interpreter: list[tuple[Any, ...]] = []
_of_the_thread = threading.local()


def remember(*values: Any) -> Any:
    """Keep the arguments in the worker's memory; returns something, as initializers may."""
    _of_the_interpreter.append(values)
    vars(_of_the_thread).setdefault("kept", []).append(values)
    return values


def remembered(per_thread: bool) -> list[tuple[Any, ...]]:
    """Everything that this worker remembers: a tuple for each time.

    Args:
        per_thread: whether workers are threads of the caller's interpreter. (An interpreter that is entered
            anew for each call has nothing that belongs to a thread.)
    """
    return list(vars(_of_the_thread).get("kept", ()) if per_thread else _of_the_interpreter)


def pass_gate_and_tell(gate: Gate, per_thread: bool) -> list[tuple[Any, ...]]:
    """Wait at the gate, then return what this worker remembers."""
    gate.enter()
    return remembered(per_thread)


def fail_to_start(text: str) -> NoReturn:
    """Raise `HostileError(text)`."""
    hostile.fail(text)


def leave_at_start() -> NoReturn:
    """Raise `SystemExit`."""
    hostile.leave()


def pass_gate_and_fail(gate: Gate, text: str) -> NoReturn:
    """Wait at the gate, then raise `HostileError(text)`."""
    gate.enter()
    hostile.fail(text)


def fail_unless_first(folder: str, text: str, gate: Gate | None = None) -> None:
    """Raise `HostileError(text)` in every worker but the first to come, after waiting at the gate."""
    try:
        os.mkdir(os.path.join(folder, "first"))
    except FileExistsError:
        if gate is not None:
            gate.enter()
        hostile.fail(text)


def note_and_fail(journal: Journal, text: str) -> NoReturn:
    """Write "tried" into the journal and raise `HostileError(text)`."""
    journal.note("tried")
    hostile.fail(text)
