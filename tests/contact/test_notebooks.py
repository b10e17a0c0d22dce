"""Functions of a notebook: its main module has no file, and its cells are compiled one by one, as ipykernel does."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

# `-m ipykernel_launcher` puts a module of its own in the place of the main module, before any cell.
LAUNCHER = """
import builtins, sys, types

cells = [{cells}]
if __name__ == "__main__":
    shell = types.ModuleType("__main__", "Automatically created module for IPython interactive environment")
    vars(shell).update(__builtin__=builtins, __builtins__=builtins, In=[""], Out={{}})
    sys.modules["__main__"] = shell
    for number, cell in enumerate(cells):
        exec(compile(cell, f"/tmp/ipykernel_1/{{number}}.py", "exec"), vars(shell))
"""

STARTS = [
    ("process", method)
    for method in ("fork", "forkserver", "spawn")
    if method in multiprocessing.get_all_start_methods()
]
STARTS += [("interpreter", None)] * (sys.version_info >= (3, 14))

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=STARTS, ids=lambda start: start[1] or start[0])
def notebook(request: pytest.FixtureRequest, tmp_path: Path):
    backend, method = request.param

    def run(*cells: str, serializer: str = "pickle") -> list[str]:
        options = {"max_workers": 1, "serializer": serializer} | ({"mp_context": method} if method else {})
        first = f"import corefutures\npool = corefutures.create_executor({backend!r}, **{options!r})"
        last = "pool.shutdown()"
        texts = [textwrap.dedent(cell) for cell in (first, *cells, last)]
        (tmp_path / "launcher.py").write_text(LAUNCHER.format(cells=", ".join(map(repr, texts))), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "launcher", "-f", "connection.json"],
            cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False, stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.splitlines()

    run.method = method  # type: ignore[attr-defined]
    return run


DEFINITIONS = """
    factor = 3

    def times(number):
        return number * factor

    class Shape:
        def __init__(self, side):
            self.side = side

        def area(self):
            return self.side * factor

    def make():
        return lambda number: number * factor
"""
# One worker, which is started with the first call: before the functions are defined.
EARLY = "assert pool.submit(abs, -1).result(60) == 1"
CALLS = {
    "times": "pool.submit(times, 2)",
    "lambda": "pool.submit(lambda number: number * factor, 2)",
    "closure": "pool.submit(make(), 2)",
    "method": "pool.submit(Shape(2).area)",
    "key": "pool.submit(max, [2, 1], key=lambda number: number * factor)",
}


@pytest.mark.parametrize("early", [EARLY, ""], ids=["early", "late"])
def test_what_can_not_be_sent_is_named_with_what_helps(notebook, early: str) -> None:
    asked = "\n".join(f"print({call}.exception(60))" for call in CALLS.values())
    told = dict(zip(CALLS, notebook(early, DEFINITIONS, asked), strict=True))
    for name, text in told.items():
        if text == "None":  # a worker that was forked later has what is in the main module
            assert name in ("times", "method"), told
            assert notebook.method == "fork", told
            assert not early, told
            continue
        assert "serializer='cloudpickle'" in text, told
    for name, culprit in {
        "times": "times",
        "lambda": "<function <lambda>",
        "closure": "<lambda>",
        "key": "argument 'key'",
    }.items():
        assert told[name] == "None" or culprit in told[name], told


@pytest.mark.parametrize("early", [EARLY, ""], ids=["early", "late"])
def test_with_cloudpickle_it_works(notebook, early: str) -> None:
    asked = "\n".join(f"print({call}.result(60))" for call in CALLS.values())
    mapped = "print(*pool.map(lambda number: times(number), range(3), chunksize=2, timeout=60))"
    changed = "factor = 5; print(pool.submit(times, 2).result(60))"
    lines = notebook(early, DEFINITIONS, asked, mapped, changed, serializer="cloudpickle")
    assert lines == ["6", "6", "6", "6", "2", "0 3 6", "10"]
