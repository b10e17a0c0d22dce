"""What the tests with real tools share: each runs a program of its own, so that what a tool patches stays there."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

LIMIT = 100.0


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Returns what runs a program from a file until it ends well, and returns what it printed."""

    def run_program(text: str, *arguments: str) -> str:
        program = tmp_path / "program.py"
        program.write_text(textwrap.dedent(text), encoding="utf-8")
        try:
            done = subprocess.run(
                [sys.executable, program, *arguments],
                cwd=tmp_path, capture_output=True, text=True, timeout=LIMIT, check=False, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        except subprocess.TimeoutExpired as exc:
            raise AssertionError(f"the program hangs; it printed {exc.stdout!r} and {exc.stderr!r}") from None
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run_program
