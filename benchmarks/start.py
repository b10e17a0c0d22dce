"""What importing `corefutures` costs beside `concurrent.futures`: fresh interpreters, bytecode compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measuring import Row, Sheet

PROGRAM = """
import time
start = time.perf_counter()
{statement}
print((time.perf_counter() - start) * 1e3)
"""


def milliseconds(statement: str) -> float:
    # A child may be told not to write bytecode; without it this would measure the compiler.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(statement=statement)],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return float(done.stdout)


def rows() -> Iterator[Row]:
    # Ours is imported when it is first used: the second row has both do the same.
    names = "import Executor, Future, as_completed, wait"
    for statement in ("import {}", "from {} " + names):
        ours, theirs = statement.format("corefutures"), statement.format("concurrent.futures")
        milliseconds(ours)  # compiles
        milliseconds(theirs)
        yield Row(
            what=ours,
            unit="ms",
            ours=lambda ours=ours: milliseconds(ours),  # type: ignore[misc]
            against=lambda theirs=theirs: milliseconds(theirs),  # type: ignore[misc]
            at_most=3,
        )


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Starting", rows=rows)
