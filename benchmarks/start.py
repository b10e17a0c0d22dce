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
import {module}
print((time.perf_counter() - start) * 1e3)
"""


def milliseconds(module: str) -> float:
    # A child may be told not to write bytecode; without it this would measure the compiler.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(module=module)],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return float(done.stdout)


def rows() -> Iterator[Row]:
    milliseconds("corefutures")  # compiles
    milliseconds("concurrent.futures")
    yield Row(
        what="import corefutures, beside concurrent.futures",
        unit="ms",
        ours=lambda: milliseconds("corefutures"),
        against=lambda: milliseconds("concurrent.futures"),
        at_most=3,
    )


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Starting", rows=rows)
