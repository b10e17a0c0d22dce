"""What docs/workers.md says that its own programs don't show."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, and needs every start method (Linux)")

pytestmark = pytest.mark.timeout(120)


def run(folder: Path, program: str, *arguments: str, **streams: str) -> str:
    path = folder / "program.py"
    path.write_text(program)
    done = subprocess.run(
        [sys.executable, str(path), *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        **streams,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@linux
def test_standard_input_is_empty_and_descriptor_0_is_the_programs(tmp_path: Path) -> None:
    program = """
import os, sys
from corefutures import create_executor
def look(): return sys.stdin.read(), os.readlink("/proc/self/fd/0")
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        with create_executor("process", max_workers=1, mp_context=method) as executor:
            print(method, executor.submit(look).result(30) == ("", os.readlink("/proc/self/fd/0")))
"""
    told = run(tmp_path, program, input="not for workers\n")
    assert told.splitlines()[:2] == ["fork True", "spawn True"]


@linux
@pytest.mark.skipif(importlib.util.find_spec("numpy") is None, reason="NumPy is not installed")
def test_numpys_global_generator_is_forked_along(tmp_path: Path) -> None:
    program = """
import threading
import numpy.random
from corefutures import create_executor
def draw(_): return numpy.random.rand()
if __name__ == "__main__":
    for method in ("fork", "forkserver", "spawn"):
        drawn = []
        for _ in range(2):
            with create_executor("process", max_workers=1, mp_context=method) as executor:
                drawn.append(executor.submit(draw, 0).result(30))
        print(method, drawn[0] == drawn[1])
"""
    told = run(tmp_path, program).splitlines()
    assert (told[0], told[2]) == ("fork True", "spawn False")
    if sys.version_info >= (3, 14):  # older fork nested_loops don't always find the main module
        assert told[1] == "forkserver True"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreter pools need Python 3.14")
@pytest.mark.skipif(os.name != "posix", reason="Windows has no resource tracker")
def test_shared_memory_that_an_interpreter_has_opened_goes_with_it(tmp_path: Path) -> None:
    program = """
import time
from multiprocessing.shared_memory import SharedMemory
from corefutures import create_executor
def look(name, track):
    memory = SharedMemory(name, track=track)
    seen = memory.buf[0]
    memory.close()
    return seen
if __name__ == "__main__":
    for track in (False, True):
        memory = SharedMemory(create=True, size=100, track=False)
        memory.buf[0] = 7
        with create_executor("interpreter", max_workers=1) as executor:
            assert executor.submit(look, memory.name, track).result(30) == 7
        deadline = time.monotonic() + (30 if track else 0.3)
        there = True
        while there and time.monotonic() < deadline:
            time.sleep(0.01)
            try:
                look(memory.name, False)
            except FileNotFoundError:
                there = False
        print(there)
        memory.close()
        if there:
            memory.unlink()
"""
    assert run(tmp_path, program).splitlines() == ["True", "False"]


def test_map_looks_in_the_current_folder_first(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text("def shout(text): return text.upper()\n")
    command = [sys.executable, "-m", "corefutures", "map", "json:shout", "here"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path, env=environment
    )
    assert done.stdout.strip() == "HERE", done.stderr
