"""Scripts in child processes: what they print comes back, a hanging one is killed and fails the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import traceback
from collections.abc import Callable
from typing import NamedTuple

LIMIT = 40.0


class Ended(NamedTuple):
    status: int
    out: str
    err: str


def run_script(script: str, *arguments: str, options: tuple[str, ...] = ()) -> Ended:
    """Runs a Python script in a fresh interpreter until it ends."""
    try:
        done = subprocess.run(
            [sys.executable, "-W", "error", *options, "-c", textwrap.dedent(script), *arguments],
            capture_output=True, text=True, timeout=LIMIT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as exc:
        raise AssertionError(f"the script hangs; it printed {exc.stdout!r} and {exc.stderr!r}") from None
    return Ended(done.returncode, done.stdout, done.stderr)


def _tell_where_it_hangs(signum: int, frame: object) -> None:
    signal.signal(signum, signal.SIG_DFL)  # the next one kills
    raise AssertionError("the child hangs")


def in_fork(check: Callable[[], object]) -> None:
    """Forks, calls `check` in the child, and fails unless it returns there in time."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        status = 1
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(int(LIMIT / 2))  # a child that hangs is killed; pytest's watchdog stayed with the parent
            check()
            status = 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-4000:])
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading, "rb") as report:
        text = report.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child ended with {os.waitstatus_to_exitcode(status)}: {text}"
