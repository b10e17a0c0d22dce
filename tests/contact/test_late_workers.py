"""Workers that start after the main thread has run the program: CPython has taken `__file__` away by then."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import pytest

LATE = """
import sys, threading, corefutures

def add_one(number):
    return number + one()

def one():
    return 1

def submit_late(pool):
    threading.main_thread().join()
    print(pool.submit(add_one, 1).result(40), flush=True)

if __name__ == "__main__":
    kind, *method = sys.argv[1:]
    pool = corefutures.create_executor(kind, max_workers=1, **({"mp_context": method[0]} if method else {}))
    threading.Thread(target=submit_late, args=(pool,)).start()
"""

METHODS = [method for method in ("fork", "forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]
KINDS = [["thread"], *(["process", method] for method in METHODS)]
if sys.version_info >= (3, 14):
    KINDS.append(["interpreter"])


@pytest.mark.parametrize("portable", ["0", "1"], ids=["fast", "portable"])
@pytest.mark.parametrize("kind", KINDS, ids=" ".join)
def test_workers_that_start_late_know_the_main_module(tmp_path: Path, kind: list[str], portable: str) -> None:
    """Calls of its functions failed: workers could not import them."""
    assert run(tmp_path, LATE, portable, *kind) == "2\n"


def run(folder: Path, program: str, portable: str, *arguments: str) -> str:
    """Run a program from a file, as users do; return what it prints."""
    file = folder / "program.py"
    file.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(file), *arguments], capture_output=True, text=True, timeout=50, check=True,
        env={**os.environ, "COREFUTURES_PORTABLE": portable},
    )  # fmt: skip
    return done.stdout


AT_THE_END = """
import corefutures

def add_one(number):
    return number + 1

if __name__ == "__main__":
    pool = corefutures.create_executor("interpreter", max_workers=2)
    for number in range(8):
        pool.submit(add_one, number).add_done_callback(lambda future: print(future.exception(), flush=True))
"""


@pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters can be used from Python 3.14 on")
def test_calls_that_wait_at_the_end_of_the_program_run(tmp_path: Path) -> None:
    """A third of them failed: their workers were started while the program ended."""
    for _ in range(3):
        assert run(tmp_path, AT_THE_END, "0") == "None\n" * 8
