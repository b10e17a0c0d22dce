"""Programs that must leave no process behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import psutil  # type: ignore[import-untyped]

_NAME = "COREFUTURES_TEST_PROGRAM"


def run_alone(cwd: Path, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, and return it; fail if a process that it has started, or theirs, is alive after that.

    Such processes are killed; they are told by a variable of their environment.
    """
    token = uuid.uuid4().hex
    try:
        return subprocess.run(
            [str(word) for word in command],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | environment | {_NAME: token},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        deadline = time.monotonic() + 20
        while (left := _living(token)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in left:
            process.kill()
        assert not left, [process.cmdline() for process in left]


def _living(token: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(_NAME) == token and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found
