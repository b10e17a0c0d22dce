"""A program that uses the executor under test and leaves: what holds at interpreter exit, seen from outside.

Run by rules as `python -m corefutures_conformance.exit_program PLAN`, the plan as JSON. Spawned workers import
this module as their main module: at the top it imports next to nothing.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from typing import Any

_kept: list[Any] = []
"""The executor: alive until the interpreter is gone, for dropping it is another story."""


def main(plan: dict[str, Any]) -> None:
    """Make the executor, act as `plan["manner"]` says, return."""
    sys.path[:] = plan["path"]
    at_the_end = _when_the_end_has_begun()
    from corefutures_conformance.worker import calls

    gate, journal = pickle.loads(bytes.fromhex(plan["gate_and_journal"]))
    manner = plan["manner"]
    if manner == "without streams":
        sys.stdin = sys.stdout = sys.stderr = None
        for number in range(3):
            os.close(number)
    executor = _tests(plan).make_executor(1)
    _kept.append(executor)
    if manner == "without streams":
        journal.note(_without_streams(executor, plan["calls"]))
        executor.shutdown()
        return
    if manner == "submitting":
        threading.Thread(target=_submit_late, args=(executor, journal, plan["calls"], at_the_end)).start()
        journal.note("leaving")
        return
    if manner == "cancelling":
        executor.submit(calls.pass_gate_and_note, gate, journal, "running")
        gate.await_arrivals()
    _kept.extend(executor.submit(calls.note, journal, number) for number in range(plan["calls"]))
    if manner == "without waiting":
        executor.shutdown(wait=False)
    elif manner == "cancelling":
        executor.shutdown(wait=False, cancel_futures=True)
    journal.note("leaving")


def _when_the_end_has_begun() -> threading.Event:
    """Return an event that is set when the steps of the end, which pools have registered, have been taken.

    They run in the main thread, after its end; the first that is registered is the last.
    """
    event = threading.Event()
    register = getattr(threading, "_register_atexit", None)
    if register is None:
        event.set()
    else:
        register(event.set)
    return event


def _submit_late(executor: Any, journal: Any, count: int, at_the_end: threading.Event) -> None:
    """Submit calls, in a thread that outlives the main one."""
    from corefutures_conformance.worker import calls

    threading.main_thread().join()
    at_the_end.wait(20)
    try:
        futures = [executor.submit(calls.note, journal, number) for number in range(count)]
        for future in futures:
            future.result(timeout=20)
    except Exception as error:
        journal.note(f"{type(error).__name__}: {error}")


def _without_streams(executor: Any, count: int) -> str:
    """Let calls print that have arguments small and large; says what was wrong with what came back."""
    from corefutures_conformance.worker import carrying

    sizes = [(10, 40_000)[number % 2] for number in range(count)]
    futures = [executor.submit(carrying.print_and_sum, carrying.table(size), "x" * 300) for size in sizes]
    for size, future in zip(sizes, futures, strict=True):
        try:
            found = future.result(timeout=20)
        except Exception as error:
            return f"a call failed: {type(error).__name__}: {error}"
        if found != carrying.summary(carrying.payload(size)):
            return f"an argument of {size} bytes arrived damaged"
    return "right"


def start(tests: Any, manner: str, gate: Any, journal: Any, errors: str, calls: int) -> subprocess.Popen[bytes]:
    """Start the program.

    Args:
        tests: the test class's instance whose executor is used.
        manner: "at once", "without waiting", "cancelling", "submitting" (in a thread that outlives the main one) or
            "without streams".
        gate: a gate, on which the running call waits.
        journal: an account of what ran.
        errors: the file that standard error goes to.
        calls: how many calls are submitted.
    """
    import inspect

    kind = type(tests)
    plan = {
        "path": sys.path,
        "file": inspect.getfile(kind),
        "module": kind.__module__,
        "class": kind.__qualname__,
        "manner": manner,
        "gate_and_journal": pickle.dumps((gate, journal)).hex(),
        "calls": calls,
    }
    with open(errors, "wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "corefutures_conformance.exit_program", json.dumps(plan)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env={**os.environ, "PYTHONFAULTHANDLER": "1"},
        )


def _tests(plan: dict[str, Any]) -> Any:
    """Return an instance of the test class, whose module is found by its file."""
    import importlib.util

    spec = importlib.util.spec_from_file_location(plan["module"], plan["file"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[plan["module"]] = module
    spec.loader.exec_module(module)
    found: Any = module
    for name in plan["class"].split("."):
        found = getattr(found, name)
    return found()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
