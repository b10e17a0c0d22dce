"""The runner: has rules run in a process of their own, watches the clock, and replaces that process when it must.

It imports no pytest. A rule that is overdue is killed with everything that it started, its stacks are kept; a rule that
takes the process down with it has failed; the remaining rules run in a new one. However the runner ends, a guard ends
its process.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from corefutures_conformance import guard, tracebacks

START_SECONDS = 90.0
"""How long a runner process may take to import, collect and say that it is ready."""

END_SECONDS = 30.0
"""How long the guard may take to end a runner process and all that it started."""


class RunnerError(RuntimeError):
    """No runner process could be started, or it found no rules: nothing can be said about the target."""


@dataclass(frozen=True)
class Record:
    """What became of one rule (or probe)."""

    outcome: str
    """passed, failed, overdue or not-applicable"""
    message: str
    details: str
    seconds: float
    value: object = None
    """What a probe returned."""


class Runner:
    """Runs rules, each by its key (pytest's node id), in a runner process.

    Thread safety: for one thread.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        deadline: float,
        target: str = "",
        folder: str | None = None,
    ) -> None:
        """Prepare; the runner process starts with the first rule.

        Args:
            arguments: what pytest is to collect, and its settings.
            deadline: seconds for each rule.
            target: what a named target's rules are run on, as `Target.to_text` says it.
            folder: where it runs; here by default.
        """
        self._arguments = list(arguments)
        self.deadline = deadline
        self._target = target
        self._seed: int | None = None
        self._folder = folder
        self._process: _RunnerProcess | None = None
        self._capabilities: dict[str, bool] = {}

    def collected(self) -> list[str]:
        """Return the keys of everything collected, rules and probes.

        Raises:
            RunnerError: when collecting failed.
        """
        return list(self._ready().keys)

    def set_target(self, target: str, deadline: float, seed: int | None = None) -> None:
        """Go on with another named target, in the same runner process while it is fit.

        Args:
            target: as `Target.to_text` says it.
            deadline: seconds for each rule.
            seed: where random histories start.
        """
        self._target = target
        self._seed = seed
        self.deadline = deadline
        self._inform()

    def set_capabilities(self, capabilities: Mapping[str, bool]) -> None:
        """Tell the rules what the target can do."""
        self._capabilities = dict(capabilities)
        self._inform()

    def _inform(self) -> None:
        if self._process is not None:
            self._process.command({"settings": self._settings()})

    def _settings(self) -> dict[str, Any]:
        return {
            "deadline": self.deadline,
            "capabilities": self._capabilities,
            "target": self._target,
            "seed": self._seed,
        }

    def run(self, key: str, *, patience: float = 1.0, next_key: str | None = None) -> Record:
        """Run one rule and say what became of it.

        Args:
            key: the rule's key.
            patience: by how much its deadline is longer than usual.
            next_key: the key that will be run next, if known: then fixtures that both share are kept.

        Raises:
            RunnerError: when no runner process could be started.
        """
        process = self._ready()
        record, fit = process.run(key, next_key, self.deadline * patience, min(self.deadline, 5.0))
        if not fit:
            self._end(graceful=False)
        return record

    def close(self) -> None:
        """End the runner process."""
        self._end(graceful=True)

    def _end(self, *, graceful: bool) -> None:
        if self._process is not None:
            self._process.end(graceful=graceful)
            self._process = None

    def _ready(self) -> _RunnerProcess:
        if self._process is None:
            self._process = _RunnerProcess({"arguments": self._arguments, **self._settings()}, self._folder)
        return self._process


class _RunnerProcess:
    """One runner process, seen from outside."""

    def __init__(self, settings: dict[str, Any], folder: str | None) -> None:
        files = tempfile.mkdtemp(prefix="corefutures-runner-")
        self._stacks = os.path.join(files, "stacks")
        self._noise = os.path.join(files, "noise")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "COV_"))}
        own_session: dict[str, Any] = {}
        if sys.platform == "win32":
            own_session["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
        else:
            own_session["start_new_session"] = True
        with open(self._noise, "wb") as noise:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "corefutures_conformance.runner_process",
                    json.dumps({**settings, "stacks": self._stacks}),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=noise,
                env={**inherited, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
                cwd=folder,
                encoding="utf-8",
                **own_session,
            )
        # If the runner ends right here, its process reads the end of its commands and leaves: it runs no rule yet.
        try:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", guard.__file__, str(self._process.pid), files],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                **own_session,
            )
        except BaseException:
            self._process.kill()
            raise
        self._records: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="runner", daemon=True).start()
        try:
            ready = self._next(START_SECONDS)
        except BaseException:
            self.end(graceful=False)
            raise
        if ready is None or not ready.get("ready"):
            found = "\n".join(ready["problems"]) if ready else self._account()
            self.end(graceful=False)
            raise RunnerError(f"the rules could not be run: {found.strip() or 'none was collected'}")
        self.keys: list[str] = ready["ready"]

    def command(self, command: dict[str, Any]) -> None:
        """Send a command."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has just died: whoever reads its records finds that out
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()

    def run(self, key: str, next_key: str | None, deadline: float, taking_down: float) -> tuple[Record, bool]:
        """Run one rule; also say whether the process is fit to run another.

        Args:
            key: the rule's key.
            next_key: the key of the rule that follows.
            deadline: seconds for the rule itself.
            taking_down: seconds for taking down what it made.
        """
        started = time.monotonic()
        self.command({"run": key, "next": next_key})
        record = self._next(deadline + taking_down)
        seconds = time.monotonic() - started
        if record is not None:
            return (
                Record(
                    record["outcome"],
                    record["message"],
                    record["details"],
                    record["seconds"],
                    record["value"],
                ),
                not record["tainted"],
            )
        status = self._process.poll()
        if status is None and seconds < deadline + taking_down:  # its pipe is closed: it is about to end
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = self._process.wait(5.0)
        if status is None:
            dump = self._read_file(self._stacks)
            message = tracebacks.with_place(f"not finished after {deadline:g} s", dump)
            return Record("overdue", message, tracebacks.stacks(dump), seconds), False
        message = f"the process that used the executor died: {_how_it_ended(status)}"
        return Record("failed", message, self._account(), seconds), False

    def end(self, *, graceful: bool) -> None:
        """End the process and everything that it started.

        Args:
            graceful: whether to let it leave by itself first: exit hooks and trackers get their chance.
        """
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if graceful:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(2.0)
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._guard.wait(END_SECONDS)
        self._guard.kill()
        self._guard.wait()
        self._process.kill()  # as a rule it has ended, unless somebody has killed the guard
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self._records.put(json.loads(line))
        self._records.put(None)

    def _next(self, seconds: float) -> dict[str, Any] | None:
        """Return the next record, or None when the process died or the time is up."""
        end = time.monotonic() + seconds
        while True:
            with contextlib.suppress(queue.Empty):
                return self._records.get(timeout=max(0.0, min(0.25, end - time.monotonic())))
            if self._process.poll() is not None:  # a worker may hold the pipe open, so its end alone is not enough
                with contextlib.suppress(queue.Empty):
                    return self._records.get(timeout=0.1)
                return None
            if time.monotonic() >= end:
                return None

    def _account(self) -> str:
        """Return what a process that has died left: its stacks, the end of what it printed."""
        return f"{tracebacks.stacks(self._read_file(self._stacks))}\n{self._read_file(self._noise)[-4000:]}".strip()

    @staticmethod
    def _read_file(path: str) -> str:
        with contextlib.suppress(OSError), open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
        return ""


def _how_it_ended(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"signal {signal.Signals(-status).name}"
    return f"exit status {status}"
