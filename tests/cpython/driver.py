"""Starts runners, hands out what they report case by case, and ends those that stand still.

Touches `runner.py` and `left_out.toml`. Guarantees: each case has a time limit; whoever overruns it is killed
with everything that it has started, and its threads' stacks are in the report; no runner outlives the suite.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RUNNER = HERE / "runner.py"
SUITE = "test.test_concurrent_futures"
LIMIT = 120  # seconds for a case, and for loading the suite; CPython's own is 300 for the slowest
GRACE = 10  # seconds more until a runner is killed: time to print its stacks
VERSION = sys.version_info[:3]


@dataclasses.dataclass(frozen=True)
class Case:
    """A case of CPython's suite: its name after `test.test_concurrent_futures`, and what it is about."""

    name: str
    kind: str

    @property
    def group(self) -> str:
        """The class that it belongs to: its cases share a runner, as they share set-up in the suite."""
        return self.name.rpartition(".")[0]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a case: passed, failed, skipped, overdue or crashed."""

    result: str
    detail: str


@dataclasses.dataclass(frozen=True)
class Exemption:
    """An entry of the list of cases that are left out: they must fail, and the failure must show a phrase."""

    cases: str
    because: str
    shows: str
    reason: str
    since: Sequence[str] = ()
    unsteady: bool = False

    #: The only grounds: a check of private internals, bad input that ours refuses at once, or a promise of the design.
    GROUNDS = ("internals", "input", "E3", "E4", "E9")

    def applies(self, version: tuple[int, ...]) -> bool:
        """Returns whether that version has the case: new enough on a branch of `since`, or newer than all."""
        branches = [tuple(map(int, since.split("."))) for since in self.since]
        return not branches or any(
            version >= since and (version[:2] == since[:2] or since == max(branches)) for since in branches
        )

    def matches(self, case: Case) -> bool:
        return fnmatch.fnmatchcase(case.name, self.cases)


def read_exemptions() -> list[Exemption]:
    entries = tomllib.loads((HERE / "left_out.toml").read_text(encoding="utf-8")).get("entry", [])
    return [Exemption(**entry) for entry in entries]


def find_cases() -> list[Case]:
    """Returns the cases of the running interpreter's own suite.

    Raises:
        RuntimeError: Some of it can't be loaded with our classes.
    """
    command = [sys.executable, RUNNER, SUITE]
    listing = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    if listing.returncode:
        raise RuntimeError(f"CPython's suite could not be listed:\n{listing.stderr}")
    found = json.loads(listing.stdout)
    if found["errors"]:
        raise RuntimeError("with our classes CPython's suite does not load:\n" + "\n".join(found["errors"]))
    return [Case(**case) for case in found["cases"]]


class Suite:
    """The selected cases; runs them group by group, in the order in which they are asked for."""

    def __init__(self, cases: Sequence[Case], name: str = SUITE, limit: float = LIMIT) -> None:
        self._name = name
        self._limit = limit
        self._waiting = list(cases)
        self._runner: Runner | None = None
        self.strays: list[str] = []

    def outcome_of(self, case: Case) -> Outcome:
        runner = self._runner
        if runner is None or case.name not in runner.expected:
            self.finish()
            group = [other.name for other in self._waiting if other.group == case.group]
            runner = self._runner = Runner(self._name, group, self._limit)
        self._waiting.remove(case)
        outcome = runner.outcome_of(case.name)
        if not runner.expected:
            self.finish()
        return outcome

    def finish(self) -> None:
        """Lets the runner end, if there is one, and keeps what it says after its last case."""
        if self._runner is not None:
            self.strays += self._runner.finish()
            self._runner = None

    def abandon(self) -> None:
        """Kills the runner, if there is one."""
        if self._runner is not None:
            self._runner.kill()
            self._runner = None


class Runner:
    """A process that runs some cases, in a process group of its own."""

    def __init__(self, suite: str, names: Sequence[str], limit: float) -> None:
        self.expected = list(names)
        self._limit = limit
        self._strays: list[str] = []
        self._given_up = False
        self._folder = tempfile.TemporaryDirectory(prefix="cpython-suite-", ignore_cleanup_errors=True)
        folder = Path(self._folder.name)
        self._log = folder / "log"
        for name in ("evidence", "work"):
            (folder / name).mkdir()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "faulthandler", RUNNER, suite, folder / "evidence", str(limit)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=folder / "work",
                start_new_session=True,
            )
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        with self._process.stdin as names_of_cases:
            names_of_cases.write(json.dumps(self.expected).encode())

    def outcome_of(self, name: str) -> Outcome:
        """Waits for what becomes of the case; the next ones run on meanwhile."""
        self.expected.remove(name)
        while True:
            try:
                event = self._events.get(timeout=self._limit + GRACE)
            except queue.Empty:
                return self._give_up("overdue", f"{name} has not ended after {self._limit} s")
            if event is None:
                return self._give_up("crashed", f"the process that ran {name} has ended")
            if event["case"] == name:
                return Outcome(event["outcome"], event["detail"])
            self._strays.append(f"{event['case']}: {event['detail']}")

    def finish(self) -> list[str]:
        """Waits for the end; returns what went wrong outside the cases."""
        if self._given_up:
            return self._strays
        if self.expected:  # they were not asked for after all
            self.kill()
            return self._strays
        try:
            while (event := self._events.get(timeout=self._limit)) is not None:
                self._strays.append(f"{event['case']}: {event['detail']}")
            status = self._process.wait(self._limit)
        except (queue.Empty, subprocess.TimeoutExpired):
            self._strays.append(self._give_up("overdue", "the runner does not end after its last case").detail)
        else:
            if status:
                self._strays.append(f"the runner ended with status {status}\n{self._read_log()}")
        self.kill()
        return self._strays

    def kill(self) -> None:
        """Ends the runner and whatever it has started; harmless if that has happened."""
        self._signal("SIGKILL")
        self._process.kill()
        self._process.wait()
        self._reader.join(GRACE)
        if not self._reader.is_alive():
            assert self._process.stdout is not None
            self._process.stdout.close()
        self._folder.cleanup()

    def _give_up(self, result: str, what: str) -> Outcome:
        self.expected.clear()
        self._given_up = True
        if result == "overdue":
            self._signal("SIGABRT")  # its children print their stacks too
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            pass
        outcome = Outcome(result, f"{what}\n{self._read_log()}")
        self.kill()
        return outcome

    def _signal(self, name: str) -> None:
        if hasattr(os, "killpg"):
            try:
                os.killpg(self._process.pid, getattr(signal, name))
            except ProcessLookupError:  # all have ended
                pass

    def _read(self, stdout: Any) -> None:
        for line in stdout:
            self._events.put(json.loads(line))
        self._events.put(None)

    def _read_log(self) -> str:
        return self._log.read_text(encoding="utf-8", errors="replace")[-20_000:]
