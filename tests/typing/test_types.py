"""The types of the public interface: mypy --strict and pyright infer what they must, and refuse what they must."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

needs_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None, reason="mypy is not in the free-threaded dependency group"
)
needs_pyright = pytest.mark.skipif(
    importlib.util.find_spec("pyright") is None, reason="pyright is in the dependency group of `make check` only"
)


def run(*command: str, limit: float = 110) -> tuple[int, str]:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
    return done.returncode, done.stdout + done.stderr


def mypy(path: Path, cache: Path) -> tuple[int, str]:
    return run(
        sys.executable, "-m", "mypy", "--strict", "--show-error-codes", "--no-error-summary",
        "--cache-dir", str(cache), "--python-executable", sys.executable, str(path),
    )  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mypy")


@needs_mypy
@pytest.mark.timeout(120)
def test_mypy_infers_what_it_must(cache: Path) -> None:
    status, output = mypy(HERE / "right.py", cache)
    assert status == 0, output


@needs_mypy
@pytest.mark.timeout(120)
def test_mypy_refuses_what_it_must(cache: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    shutil.copyfile(HERE / "wrong.py.txt", wrong)
    _, output = mypy(wrong, cache)
    found = {
        (int(line), code)
        for line, code in re.findall(r"wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", output, re.MULTILINE)
    }
    expected = {
        (number, match[1])
        for number, line in enumerate(wrong.read_text(encoding="utf-8").splitlines(), 1)
        if (match := re.search(r"# expect: ([a-z-]+)", line))
    }
    assert len(expected) > 10
    assert found == expected, output


@needs_pyright
@pytest.mark.timeout(120)
def test_pyright_infers_what_it_must() -> None:
    status, output = run(sys.executable, "-m", "pyright", "--pythonpath", sys.executable, str(HERE / "right.py"))
    assert status == 0, output


def test_what_is_checked_also_runs() -> None:
    status, output = run(sys.executable, "-W", "error", str(HERE / "right.py"), limit=50)
    assert status == 0, output
