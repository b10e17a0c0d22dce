"""Imports within functions: none on the path of a call once its pool is made; one that is interrupted is made again.

A handler that uses a pool can't import what it has interrupted the import of, so the paths that handlers take do
without.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PATHS = """
import sys, threading, time
from operator import truediv
import corefutures

class Finder:
    def find_spec(self, name, path=None, target=None):
        if threading.current_thread() is threading.main_thread():
            found.append(name)

found = []

def use(pool):
    future = pool.submit(abs, -1)
    assert future.result() == 1
    pool.submit(abs, -1).add_done_callback(lambda future: None)
    pool.submit(abs, -1).cancel()
    slow = pool.submit(time.sleep, 0.05)
    try:
        slow.result(0.001)
    except TimeoutError:
        pass
    try:
        pool.submit(truediv, 1, 0).result()
    except ZeroDivisionError:
        pass
    pool.request_cancel(pool.submit(time.sleep, 0.001))

if __name__ == "__main__":
    backend, class_name = sys.argv[1:]
    make = getattr(corefutures, class_name)
    for options in ({}, {"max_pending": 3}):
        if backend == "process" and sys.platform != "win32":  # workers that are forked can't be killed
            options["mp_context"] = "forkserver"
        pool = make(2, **options)
        sys.meta_path.insert(0, Finder())
        use(pool)
        if backend == "process":
            pool.kill(pool.submit(time.sleep, 1))
            assert pool.options(timeout=30).submit(abs, -1).result() == 1
        pool.shutdown()
        del sys.meta_path[0]
    print(found)
"""

INTERRUPTED = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
import corefutures
from signals import Interruption

class Interrupted(BaseException): pass

def interrupt():
    raise Interrupted

ACTIONS = {
    "map": lambda pool: list(pool.map(abs, range(3))) == [0, 1, 2],
    "wait": lambda pool: not corefutures.wait([pool.submit(abs, 1)]).not_done,
    "stats": lambda pool: pool.stats().submitted >= 0,
    "snapshot": lambda pool: pool.snapshot() is not None,
}

def attempt(action, number, files):
    pool = corefutures.ThreadPoolExecutor(1)
    interruption = Interruption(number, interrupt, *files, raises=True)
    try:
        with interruption:
            action(pool)
    except Interrupted:
        pass
    assert action(pool)
    pool.shutdown()
    return interruption.happened

if __name__ == "__main__":
    import corefutures_pools, corefutures_thread
    corefutures.ThreadPoolExecutor(1).shutdown()
    packages = [Path(package.__file__).parent for package in (corefutures, corefutures_pools, corefutures_thread)]
    files = [SimpleNamespace(__file__=str(file)) for package in packages for file in package.rglob("*.py")]
    for name, action in ACTIONS.items():
        number, status = 0, 1
        while status == 1:
            pid = os.fork()
            if not pid:
                try:
                    os._exit(attempt(action, number, files))
                except BaseException as exc:
                    sys.stderr.write(f"{name}, interrupted at point {number}: {exc!r}\\n")
                    sys.stderr.flush()
                    os._exit(2)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            number += 7
        assert status == 0, status
        print(name, number)
"""


def run(script: Path, *arguments: str) -> str:
    paths = [str(ROOT / "tests" / "support"), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, str(script), *arguments], capture_output=True, text=True, timeout=50, check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("backend", "class_name"),
    [
        ("thread", "ThreadPoolExecutor"),
        ("process", "ProcessPoolExecutor"),
        pytest.param(
            *("interpreter", "InterpreterPoolExecutor"),
            marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14"),
        ),
    ],
)
def test_the_path_of_a_call_imports_nothing_once_its_pool_is_made(
    backend: str, class_name: str, tmp_path: Path
) -> None:
    script = tmp_path / "paths.py"
    script.write_text(PATHS)
    assert run(script, backend, class_name) == "[]\n"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork: each attempt begins with nothing imported")
def test_an_import_that_was_interrupted_is_made_again_by_the_next_call(tmp_path: Path) -> None:
    script = tmp_path / "interrupted.py"
    script.write_text(INTERRUPTED)
    points = dict(line.split() for line in run(script).splitlines())
    assert set(points) == {"map", "wait", "stats", "snapshot"}
    assert all(int(number) > 20 for number in points.values()), points
