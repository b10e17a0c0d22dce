"""A trial's process: started, watched, and ended with everything that it started.

Uses `multiprocessing`, and psutil where it is installed. Guarantees: `run_trial` returns within the time limit and a
moment, whatever the function does: hangs, raises, crashes, or fills its memory.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import time
import warnings
from multiprocessing.connection import Connection
from typing import Any, Final

from corefutures_tools._comparing.trial import Plan, Work, run

#: The error of a trial that took too long; the time limit goes in.
NO_END: Final = "no end within {:g} s"

#: Seconds between two looks at the channel, and at the memory; the latter at most this part of the time, because
#: the trial may need this processor too.
_PAUSE: Final = 0.05
_SHARE: Final = 0.02

#: Seconds until a process must have ended after it was killed, or has sent its last message.
_GRACE: Final = 5.0


def run_trial(work: Work, plan: Plan, timeout: float) -> dict[str, Any]:
    """Run one trial in a process of its own: a fresh one, or a forked one for work that can't be pickled.

    Args:
        work: What to call, and with what.
        plan: How.
        timeout: Seconds until the process and all it started are killed.

    Returns:
        What the trial found, by name; with `error` if it did not come to its end.
    """
    context: Any = multiprocessing.get_context("fork" if work.needs_fork else "spawn")
    channel, their_end = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(their_end, work, plan), name="corefutures-trial")
    found: dict[str, Any] = {}
    began = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside threads: the limit is for that
            process.start()
        their_end.close()
        memory = _Memory(process.pid)
        deadline = time.monotonic() + timeout
        while True:
            if channel.poll(_PAUSE):
                message = _next_message(channel)
                if message is None:
                    break
                began = True
                found.update(message)
            memory.look()
            if time.monotonic() > deadline:
                found.setdefault("error", NO_END.format(timeout))
                break
        if memory.peak:
            found.update(memory=memory.peak, memory_source="psutil")
        process.join(0.0 if "error" in found else _GRACE)
        if process.exitcode not in (0, None) and "error" not in found:
            found["error"] = _how_it_ended(process.exitcode, began)
    except BrokenPipeError:  # it ended before it had read what it is to do
        process.join(_GRACE)
        found["error"] = _how_it_ended(process.exitcode or 1, began=False)
    finally:
        _end(process)
        channel.close()
    return found


def _next_message(channel: Connection) -> dict[str, Any] | None:
    """Return the next message of the trial; None after the last one."""
    try:
        message: dict[str, Any] = channel.recv()
    except (EOFError, OSError):
        return None
    return message


def _how_it_ended(exitcode: int, began: bool) -> str:
    if exitcode < 0:
        try:
            return f"its process was ended by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"its process was ended by signal {-exitcode}"
    if not began:
        return (
            f"its process ended with exit status {exitcode} before it began "
            "(a script that compares needs `if __name__ == '__main__':`)"
        )
    return f"its process ended with exit status {exitcode}"


def _end(process: Any) -> None:
    """Kill the process, and where it still runs all that it started; wait until it is gone."""
    if process.pid is None:  # it was never started
        return
    if process.exitcode is None:
        if sys.platform == "win32":
            tree = ["taskkill", "/T", "/F", "/PID", str(process.pid)]
            subprocess.run(tree, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
        else:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):  # it has no session of its own yet
                pass
        process.kill()
    process.join(_GRACE)


class _Memory:
    """The most memory that a process and its descendants held at once, where psutil is installed.

    Args:
        pid: The process.
    """

    def __init__(self, pid: int) -> None:
        self.peak = 0
        self._look_at = 0.0
        self._process: Any = None
        self._psutil: Any = None
        if importlib.util.find_spec("psutil") is not None:
            self._psutil = importlib.import_module("psutil")
            try:
                self._process = self._psutil.Process(pid)
            except self._psutil.Error:  # it has ended already
                pass

    def look(self) -> None:
        """Take a sample, if it is time for one."""
        begun = time.monotonic()
        if self._process is None or begun < self._look_at:
            return
        total = 0
        try:
            for process in (self._process, *self._process.children(recursive=True)):
                try:
                    total += process.memory_info().rss
                except self._psutil.Error:  # it ended a moment ago
                    continue
        except self._psutil.Error:
            self._process = None
        self.peak = max(self.peak, total)
        now = time.monotonic()
        self._look_at = now + max(_PAUSE, (now - begun) / _SHARE)
